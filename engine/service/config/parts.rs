//! The tables of the file, one function each. What a function returns is usable; what it could not use it has noted.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use turnout_core::home::{BackendKind, Dialect, HomeId, HostPort};
use turnout_core::io::TrustId;
use turnout_core::jid::Domain;
use turnout_core::limits;
use turnout_core::policy::{GatewayLimits, Negotiation};

use super::partners::PartnerEntry;
use super::read::{At, Spot, Table};
use super::{DriverChoice, EngineConfig, Federation, HomeConfig, KeyPair, LogConfig};
use crate::spool::Durable;
use crate::spool::journal::Settings;

/// Largest text of one SIP message that may be configured: well under the pool's 128 KB.
const MESSAGE_BYTES_CEILING: u64 = 100_000;

/// `domains`.
pub(super) fn domains(root: &Table<'_, '_>) -> Vec<At<Domain>> {
    let domains: Vec<At<Domain>> = match root.list("domains") {
        Some(domains) => domains,
        None => {
            if !root.has("domains") {
                root.missing("domains", "list the local SIP/XMPP domains, domains = [\"contoso.com\"]");
            }
            return Vec::new();
        }
    };
    if domains.is_empty() && !root.book.has_mistakes() {
        root.book.wrong(&root.spot_of("domains"), "is empty", "list at least one local domain");
    }
    let mut seen = HashSet::new();
    for At { value, spot } in &domains {
        if !seen.insert(value.as_str().to_owned()) {
            root.book.wrong(spot, format!("{:?} is listed twice", value.as_str()), "remove one");
        }
    }
    domains
}

/// An address to listen on.
#[derive(Clone, Copy)]
pub(super) struct Listen(pub(super) SocketAddr);

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(
            |_| "is no address with port; write an IP address and a port, \"10.0.0.5:5269\" or \"[::]:5269\"",
        )
    }
}

/// The limits within `[federation]`.
pub(super) fn limits(table: &Table<'_, '_>) -> GatewayLimits {
    let otherwise = GatewayLimits::default();
    let number = |key, allowed, or: u32| {
        table.number(key, allowed).and_then(|number| u32::try_from(number).ok()).unwrap_or(or)
    };
    let made = GatewayLimits {
        connections_max: number("connections_max", 1..=1_000_000, otherwise.connections_max),
        connections_per_partner_max: number(
            "connections_per_partner_max",
            1..=1_000_000,
            otherwise.connections_per_partner_max,
        ),
        establishment_seconds: number("establishment_seconds", 1..=3600, otherwise.establishment_seconds),
        idle_seconds: number("idle_seconds", 10..=604_800, otherwise.idle_seconds),
        keep_alive_seconds: number("keep_alive_seconds", 5..=604_800, otherwise.keep_alive_seconds),
        stream_management: table.flag("stream_management").unwrap_or(otherwise.stream_management),
        // It is a key of another table.
        log_message_bodies: otherwise.log_message_bodies,
        resumption_seconds: number("resumption_seconds", 0..=600, otherwise.resumption_seconds),
        reconnect_seconds: number(
            "reconnect_seconds",
            0..=limits::RECONNECT_SECONDS_CEILING,
            otherwise.reconnect_seconds,
        ),
    };
    if made.connections_per_partner_max > made.connections_max {
        table.book.wrong(
            &table.spot_of("connections_per_partner_max"),
            format!(
                "{} is more than connections_max = {}",
                made.connections_per_partner_max, made.connections_max
            ),
            "lower it, or raise connections_max",
        );
    }
    if made.keep_alive_seconds >= made.idle_seconds {
        table.book.wrong(
            &table.spot_of("keep_alive_seconds"),
            format!("{} is not below idle_seconds = {}", made.keep_alive_seconds, made.idle_seconds),
            "a stream would be cut before its keep-alive is due: lower it, or raise idle_seconds",
        );
    }
    made
}

/// Connections one address may have unless the configuration says: a sixteenth of all, or what the largest partner may have.
pub(super) fn connections_per_address(limits: &GatewayLimits, partners: &[PartnerEntry]) -> usize {
    let of_partners = partners.iter().filter_map(|entry| entry.partner.connections_max).max().unwrap_or(0);
    let most = (limits.connections_max / 16).max(limits.connections_per_partner_max).max(of_partners);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The rest of `[federation]`.
pub(super) fn federation(
    table: &Table<'_, '_>,
    domains: &[At<Domain>],
    connections_per_address: usize,
) -> Option<Federation> {
    let listens = |key| -> Vec<SocketAddr> {
        let given: Option<Vec<At<Listen>>> = table.list(key);
        given.unwrap_or_default().into_iter().map(|at| at.value.0).collect()
    };
    let listen = if table.has("listen") {
        listens("listen")
    } else {
        vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 5269))]
    };
    let made = Federation {
        listen,
        listen_tls: listens("listen_tls"),
        default_identity: key_pair(table),
        identities: identities(table, domains),
        ca_file: table.file("ca_file"),
        crl_file: table.file("crl_file"),
        connections_per_address_max: table
            .number("connections_per_address_max", 1..=1_000_000)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(connections_per_address),
        dialback_secret_file: table.file("dialback_secret_file"),
        stanza_bytes_max: table
            .number(
                "stanza_bytes_max",
                limits::STANZA_BYTES_FLOOR as u64..=limits::SPOOL_BYTES_MAX as u64 / 64,
            )
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(limits::STANZA_BYTES_MAX),
        enforce_introductions: table.flag("enforce_introductions").unwrap_or(true),
    };
    table.finish();
    Some(made)
}

fn identities(table: &Table<'_, '_>, domains: &[At<Domain>]) -> Vec<(Domain, KeyPair)> {
    let mut made: Vec<(Domain, KeyPair)> = Vec::new();
    for identity in table.tables("identity") {
        let domain: Option<At<Domain>> = identity.parsed("domain");
        let pair = key_pair(&identity);
        identity.finish();
        let Some(At { value: domain, spot }) = domain else {
            if !identity.has("domain") {
                identity.missing("domain", "name the local domain the certificate is for");
            }
            continue;
        };
        if !domains.iter().any(|local| local.value == domain) {
            let what = format!("{:?} is not one of `domains`", domain.as_str());
            table.book.wrong(&spot, what, "add it there, or remove this identity");
        }
        if made.iter().any(|(earlier, _)| *earlier == domain) {
            table.book.wrong(&spot, format!("{:?} has an identity already", domain.as_str()), "remove one");
        }
        match pair {
            Some(pair) => made.push((domain, pair)),
            None if !identity.has("certificate") && !identity.has("key") => {
                identity.missing("certificate", "give certificate and key");
            }
            None => {}
        }
    }
    made
}

/// `certificate` and `key`, both or neither.
pub(super) fn key_pair(table: &Table<'_, '_>) -> Option<KeyPair> {
    let (certificate, key) = (table.file("certificate"), table.file("key"));
    match (table.has("certificate"), table.has("key")) {
        (true, false) => table.missing("key", "give the private key that belongs to `certificate`"),
        (false, true) => table.missing("certificate", "give the certificate that belongs to `key`"),
        _ => {}
    }
    Some(KeyPair { certificate: certificate?, key: key? })
}

/// One `[home.NAME]` as read, with the places needed to judge it together with the others.
pub(super) struct HomeEntry {
    pub(super) config: HomeConfig,
    pub(super) connect: Vec<At<HostPort>>,
    pub(super) registrar_pools: Vec<At<String>>,
    pub(super) listen_spot: Spot,
}

/// All homes.
pub(super) fn homes(root: &Table<'_, '_>) -> Vec<HomeEntry> {
    let tables = root.named_tables("home");
    if tables.is_empty() {
        root.missing("home", "describe at least one home of local users, [home.NAME]");
    }
    tables.iter().filter_map(|(name, table)| home(name, table)).collect()
}

fn home(name: &str, table: &Table<'_, '_>) -> Option<HomeEntry> {
    let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 63 || !name.chars().all(fit) || name == "partners" {
        let what = format!("{name:?} cannot be the name of a home");
        table.book.wrong(&table.spot(), what, "use up to 63 letters, digits, - and _; not `partners`");
    }
    let backend: Option<At<BackendKind>> = table.parsed("backend");
    if backend.is_none() && !table.has("backend") {
        table.missing("backend", "write backend = \"xmpp\" for a legacy gateway, \"sip\" for a 2019 pool");
    }
    let connect = connect(table);
    let mut registrar_pools: Vec<At<String>> = table.list("registrar_pools").unwrap_or_default();
    registrar_pools.extend(table.list("registrar_pool_dns").unwrap_or_default());
    if registrar_pools.is_empty() {
        table.missing("registrar_pools", "list the pools whose users live here, as Get-CsUser shows them");
    }
    let listen: Option<At<Listen>> = table.parsed("listen");
    if listen.is_none() && !table.has("listen") {
        table.missing("listen", "give the address where this home connects to us, \"10.0.0.5:5269\"");
    }
    let identity = key_pair(table);
    let ca_file = table.file("ca_file");
    let backend = backend?.value;
    let tls = match backend {
        BackendKind::Xmpp => table.parsed("tls").map_or(Negotiation::Optional, |at| at.value),
        BackendKind::Sip => transport(table, identity.is_some()),
    };
    let sip = SipKeys::read(table, backend, tls, &connect);
    table.finish();
    let config = HomeConfig {
        // Given when all homes are known.
        id: HomeId(0),
        leaving: false,
        name: name.to_owned(),
        backend,
        dialect: sip.dialect,
        listen: listen?.value.0,
        tls,
        identity,
        ca_file,
        trust: TrustId::FEDERATION,
        our_name: sip.our_name,
        trusted_names: sip.trusted_names,
        idle_seconds: sip.idle_seconds,
        message_bytes_max: sip.message_bytes_max,
        first_message_in_invite: sip.first_message_in_invite,
        xhtml_im: sip.xhtml_im,
    };
    Some(HomeEntry { config, connect, registrar_pools, listen_spot: table.spot_of("listen") })
}

fn connect(table: &Table<'_, '_>) -> Vec<At<HostPort>> {
    let connect: Vec<At<HostPort>> = table.list("connect").unwrap_or_default();
    if connect.is_empty() && (!table.has("connect") || !table.book.has_mistakes()) {
        table.missing("connect", "list the nodes to connect to, [\"host.example:5061\"]");
    }
    let mut seen = HashSet::new();
    for At { value, spot } in &connect {
        if !seen.insert(value.clone()) {
            table.book.wrong(spot, format!("\"{value}\" is listed twice"), "remove one");
        }
    }
    connect
}

/// `transport` of a SIP home, as what TLS is then.
fn transport(table: &Table<'_, '_>, has_identity: bool) -> Negotiation {
    let transport = table.text("transport");
    match transport.as_ref().map(|at| at.value.as_str()) {
        None | Some("tls") => {
            if !has_identity && !table.has("certificate") && !table.has("key") {
                table.missing(
                    "certificate",
                    "SIP over TLS is mutual: give certificate and key; the name in it is the trusted application's FQDN",
                );
            }
            Negotiation::Required
        }
        Some("tcp") => Negotiation::NotSupported,
        Some(other) => {
            table.book.wrong(&table.spot_of("transport"), format!("{other:?} is not one of: tls, tcp"), "");
            Negotiation::Required
        }
    }
}

/// The keys only a SIP home has.
struct SipKeys {
    dialect: Dialect,
    our_name: Option<String>,
    trusted_names: Vec<String>,
    idle_seconds: u64,
    message_bytes_max: usize,
    first_message_in_invite: bool,
    xhtml_im: bool,
}

impl SipKeys {
    fn read(table: &Table<'_, '_>, backend: BackendKind, tls: Negotiation, connect: &[At<HostPort>]) -> Self {
        let mut made = Self {
            dialect: Dialect::default(),
            our_name: None,
            trusted_names: Vec::new(),
            idle_seconds: 600,
            message_bytes_max: 65_536,
            first_message_in_invite: false,
            xhtml_im: false,
        };
        if backend != BackendKind::Sip {
            return made;
        }
        made.dialect = table.parsed("dialect").map(|at| at.value).unwrap_or_default();
        made.our_name = table.text("name").map(|at| at.value.to_ascii_lowercase());
        if made.our_name.is_none() && tls == Negotiation::NotSupported && !table.has("certificate") {
            table.missing("name", "without a certificate, give the FQDN the pool knows us by");
        }
        made.trusted_names = trusted_names(table, tls, connect);
        made.idle_seconds = table.number("idle_seconds", 10..=86_400).unwrap_or(made.idle_seconds);
        made.message_bytes_max = table
            .number("message_bytes_max", 1024..=MESSAGE_BYTES_CEILING)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(made.message_bytes_max);
        made.first_message_in_invite = table.flag("first_message_in_invite").unwrap_or(false);
        made.xhtml_im = table.flag("xhtml_im").unwrap_or(false);
        made
    }
}

fn trusted_names(table: &Table<'_, '_>, tls: Negotiation, connect: &[At<HostPort>]) -> Vec<String> {
    let given: Option<Vec<At<String>>> = table.list("trusted_names");
    let mut names: Vec<String> = match given {
        Some(names) => {
            for At { value, spot } in &names {
                if value.is_empty() || value.contains('*') {
                    let what = format!("{value:?} is no whole name");
                    table.book.wrong(spot, what, "SIP knows no wildcards: list each name");
                }
            }
            names.into_iter().map(|at| at.value.to_ascii_lowercase()).collect()
        }
        None => connect
            .iter()
            .filter(|at| at.value.host.parse::<std::net::IpAddr>().is_err())
            .map(|at| at.value.host.clone())
            .collect(),
    };
    names.sort();
    names.dedup();
    if names.is_empty() && tls != Negotiation::NotSupported && !connect.is_empty() {
        table.missing(
            "trusted_names",
            "`connect` holds addresses only, and a certificate is held against names: list the names in the pool's certificates",
        );
    }
    names
}

/// What `[engine]` says of the log.
pub(super) fn log(table: &Table<'_, '_>) -> LogConfig {
    let redacted = match table.text("log_users").as_ref().map(|at| at.value.as_str()) {
        None | Some("plain") => false,
        Some("redacted") => true,
        Some(other) => {
            table.book.wrong(
                &table.spot_of("log_users"),
                format!("{other:?} is not one of: plain, redacted"),
                "",
            );
            false
        }
    };
    LogConfig { redacted, key_file: table.file("log_users_key_file") }
}

/// `[engine]`.
pub(super) fn engine(table: &Table<'_, '_>) -> EngineConfig {
    let driver = match table.text("driver").as_ref().map(|at| at.value.as_str()) {
        None | Some("auto") => DriverChoice::Auto,
        Some("poll") => DriverChoice::Poll,
        Some("io_uring") => DriverChoice::IoUring,
        Some(other) => {
            table.book.wrong(
                &table.spot_of("driver"),
                format!("{other:?} is not one of: auto, io_uring, poll"),
                "",
            );
            DriverChoice::Auto
        }
    };
    let shards = table.number("shards", 0..=limits::SHARDS_MAX as u64);
    let made = EngineConfig {
        shards: shards.and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        driver,
        hold_millis: table
            .number("hold_millis", 0..=limits::HOLD_MILLIS_MAX)
            .unwrap_or(limits::HOLD_MILLIS_MAX),
        drain_seconds: table.number("drain_seconds", 0..=600).unwrap_or(10),
    };
    table.finish();
    made
}

/// `[spool]`: where stanzas wait. `None` is memory alone.
pub(super) fn spool(table: &Table<'_, '_>) -> Option<Durable> {
    let durable = match table.text("mode").as_ref().map(|at| at.value.as_str()) {
        None | Some("memory") => false,
        Some("durable") => true,
        Some(other) => {
            let what = format!("{other:?} is not one of: memory, durable");
            table.book.wrong(&table.spot_of("mode"), what, "");
            false
        }
    };
    let path = table.path("path").unwrap_or_else(|| table.book.base.join("spool"));
    let age = table.number("age_seconds", 10..=604_800).unwrap_or(600);
    let least = 4 * Settings::default().segment_bytes;
    let bytes_max = table.number("bytes_max", least..=1 << 40);
    let commit_millis = table.number("commit_millis", 0..=1000);
    let commit_bytes = table.number("commit_bytes", 4096..=16 << 20);
    table.finish();
    let settings = Settings::default();
    let settings = Settings {
        bytes_max: bytes_max.unwrap_or(settings.bytes_max),
        commit_delay: commit_millis.map_or(settings.commit_delay, Duration::from_millis),
        commit_bytes: commit_bytes
            .map_or(settings.commit_bytes, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        ..settings
    };
    durable.then(|| Durable { path, age: Duration::from_secs(age), settings })
}

/// `[dns]`.
pub(super) fn dns(table: &Table<'_, '_>) -> Vec<SocketAddr> {
    let servers: Vec<At<NameServer>> = table.list("servers").unwrap_or_default();
    table.finish();
    servers.into_iter().map(|at| at.value.0).collect()
}

/// The address of a name server, port 53 unless given.
struct NameServer(SocketAddr);

impl FromStr for NameServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let with_port = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        let alone = || text.parse::<std::net::IpAddr>().ok().map(|ip| SocketAddr::from((ip, 53)));
        with_port.or_else(alone).map(Self).ok_or("is no address of a name server; write \"10.0.0.2:53\"")
    }
}
