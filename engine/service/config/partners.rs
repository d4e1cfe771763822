//! `[partner_defaults]` and `[[partner]]`.

use std::path::PathBuf;
use std::str::FromStr;

use turnout_core::home::HostPort;
use turnout_core::io::TrustId;
use turnout_core::jid::Domain;
use turnout_core::policy::{Negotiation, Partner, PartnerDefaults};

use super::read::{At, Spot, Table};
use super::world::TrustSource;

/// One `[[partner]]`, and where it stands.
pub(super) struct PartnerEntry {
    pub(super) partner: Partner,
    pub(super) spot: Spot,
    pub(super) proxy_spot: Spot,
}

/// The keys partners and their defaults share.
pub(super) fn defaults(table: &Table<'_, '_>) -> PartnerDefaults {
    let read = shared(table, &PartnerDefaults::default());
    table.finish();
    read
}

fn shared(table: &Table<'_, '_>, otherwise: &PartnerDefaults) -> PartnerDefaults {
    let negotiation = |key, or: Negotiation| table.parsed(key).map_or(or, |at| at.value);
    PartnerDefaults {
        kind: table.parsed("type").map_or(otherwise.kind, |at| at.value),
        tls: negotiation("tls", otherwise.tls),
        sasl: negotiation("sasl", otherwise.sasl),
        dialback: table.flag("dialback").unwrap_or(otherwise.dialback),
        require_tls_for_dialback: table
            .flag("require_tls_for_dialback")
            .unwrap_or(otherwise.require_tls_for_dialback),
        keep_alive: table.flag("keep_alive").unwrap_or(otherwise.keep_alive),
        bidi: table.flag("bidi").unwrap_or(otherwise.bidi),
    }
}

/// All `[[partner]]` tables that name a domain.
pub(super) fn partners(
    root: &Table<'_, '_>,
    defaults: &PartnerDefaults,
    trusts: &mut Vec<TrustSource>,
) -> Vec<PartnerEntry> {
    let tables = root.tables("partner");
    tables.iter().filter_map(|table| partner(table, defaults, trusts)).collect()
}

fn partner(
    table: &Table<'_, '_>,
    defaults: &PartnerDefaults,
    trusts: &mut Vec<TrustSource>,
) -> Option<PartnerEntry> {
    let domain: Option<At<Domain>> = table.parsed("domain");
    if domain.is_none() && !table.has("domain") {
        table.missing("domain", "give the partner's XMPP domain");
    }
    let own = shared(table, defaults);
    let additional: Vec<At<Domain>> = table.list("additional_domains").unwrap_or_default();
    let connections_max =
        table.number("connections_max", 1..=1_000_000).and_then(|number| u32::try_from(number).ok());
    let proxy: Option<At<XmppHost>> = table.parsed("proxy");
    let ca_file = table.file("ca_file");
    let pins: Vec<At<Pin>> = table.list("pins").unwrap_or_default();
    table.finish();
    let domain = domain?;
    let trust = ca_file.and_then(|file| add_trust(table, trusts, &domain.value, file));
    let mut partner = Partner::with_defaults(domain.value, &own);
    partner.additional_domains = additional.into_iter().map(|at| at.value).collect();
    partner.connections_max = connections_max;
    partner.proxy = proxy.map(|at| at.value.0);
    partner.trust = trust.map(TrustId);
    partner.pins = pins.into_iter().map(|at| at.value.0).collect();
    Some(PartnerEntry { partner, spot: domain.spot, proxy_spot: table.spot_of("proxy") })
}

fn add_trust(
    table: &Table<'_, '_>,
    trusts: &mut Vec<TrustSource>,
    domain: &Domain,
    file: PathBuf,
) -> Option<u16> {
    let alike = |trust: &TrustSource| !trust.system && trust.files.as_slice() == std::slice::from_ref(&file);
    if let Some(id) = trusts.iter().position(alike) {
        return u16::try_from(id).ok();
    }
    if trusts.len() >= super::world::TRUSTS_MAX {
        table.book.wrong(
            &table.spot_of("ca_file"),
            format!("there are more than {} different ca_file", super::world::TRUSTS_MAX),
            "let partners share files",
        );
        return None;
    }
    trusts.push(TrustSource { name: format!("partner {domain}"), system: false, files: vec![file] });
    u16::try_from(trusts.len() - 1).ok()
}

/// A host with the S2S port as default.
struct XmppHost(HostPort);

impl FromStr for XmppHost {
    type Err = turnout_core::home::HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        HostPort::parse(text, Some(5269)).map(Self)
    }
}

/// SHA-256 of a public key, in hexadecimal.
struct Pin([u8; 32]);

impl FromStr for Pin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is no SHA-256 of a public key; give 64 hexadecimal digits, colons allowed \
                             (openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum)";
        let mut digits = text.bytes().filter(|&byte| byte != b':').map(|byte| (byte as char).to_digit(16));
        let mut pin = [0_u8; 32];
        for byte in &mut pin {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(WRONG);
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_| WRONG)?;
        }
        if digits.next().is_some() { Err(WRONG) } else { Ok(Self(pin)) }
    }
}
