//! The partners of the legacy gateway beside those of the configuration.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use serde::Serialize;
use turnout_core::home::HostPort;
use turnout_core::policy::{
    GatewayLimits, Methods, Negotiation, Partner, PartnerId, PartnerType, PartnerView,
};

use super::{Exports, Rehearsal, Weight, streams};
use crate::config::Config;
use crate::exports;
use crate::migrate::partners::object;

/// What a change means for who gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Less is let in than today.
    Tighter,
    /// More is let in than today.
    Looser,
    /// Another way, neither more nor less.
    Other,
}

impl Effect {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tighter => "tighter",
            Self::Looser => "looser",
            Self::Other => "other",
        }
    }
}

/// A setting that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Our key.
    pub setting: &'static str,
    /// As the export has it.
    pub today: String,
    /// As the configuration has it.
    pub then: String,
    /// What that means.
    pub effect: Effect,
}

/// What becomes of a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// As today.
    Same,
    /// Some settings are others.
    Changed,
    /// Of the export, and not in the configuration.
    Lost,
    /// What the export says cannot be carried over; it is not in the configuration, or differs for that reason.
    Broken,
    /// In the configuration only.
    New,
}

impl Fate {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::Lost => "lost",
            Self::Broken => "broken",
            Self::New => "new",
        }
    }
}

/// One partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartnerRow {
    /// Its primary domain, or the name the object goes by.
    pub partner: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Settings that would be others.
    pub changes: Vec<Change>,
    /// Domains nobody could write to or hear from any more.
    pub lost_domains: Vec<String>,
    /// Why it cannot be carried over.
    pub because: Vec<String>,
}

/// Compares, and counts streams.
pub(super) fn compare(
    config: &Config,
    exports: &Exports,
    limits: &GatewayLimits,
    told: &mut Rehearsal,
) -> Result<(), String> {
    let mut sizes: Vec<(String, usize, Option<u32>)> = Vec::new();
    let mut met: BTreeSet<PartnerId> = BTreeSet::new();
    let (mut pointed_here, ours) = (0, our_names(config));
    if let Some(path) = &exports.partners {
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| named(&error))?;
        exports::read(file, &mut |record| {
            let (name, read) = object(&record);
            let row = match read {
                Ok((partner, lacks)) => {
                    pointed_here += u64::from(is_pointed_here(&partner, &ours));
                    let domains = 1 + partner.additional_domains.len();
                    sizes.push((partner.domain.to_string(), domains, partner.connections_max));
                    known(&partner, lacks, config, limits, &mut met)
                }
                Err(because) => {
                    // It may have been put right by hand.
                    let there = config.policy.find(&name.to_ascii_lowercase()).and_then(|view| view.id);
                    met.extend(there);
                    let lost_domains = if there.is_none() { vec![name.clone()] } else { Vec::new() };
                    PartnerRow {
                        partner: name,
                        fate: Fate::Broken,
                        changes: Vec::new(),
                        lost_domains,
                        because,
                    }
                }
            };
            told.partners.push(row);
            Ok(())
        })
        .map_err(|error| named(&error))?;
    } else {
        told.finding(Weight::Note, "without --partners nothing can be said of what changes for partners");
    }
    for (id, partner) in config.policy.iter() {
        if met.contains(&id) {
            continue;
        }
        sizes.push((partner.domain.to_string(), 1 + partner.additional_domains.len(), None));
        if exports.partners.is_some() {
            told.partners.push(PartnerRow {
                partner: partner.domain.to_string(),
                fate: Fate::New,
                changes: Vec::new(),
                lost_domains: Vec::new(),
                because: Vec::new(),
            });
        }
    }
    findings(pointed_here, told);
    streams(config.domains.len(), &sizes, limits, told);
    Ok(())
}

/// A partner of the export.
fn known(
    partner: &Partner,
    because: Vec<String>,
    config: &Config,
    limits: &GatewayLimits,
    met: &mut BTreeSet<PartnerId>,
) -> PartnerRow {
    let name = partner.domain.to_string();
    let mut lost_domains = Vec::new();
    for domain in std::iter::once(&partner.domain).chain(&partner.additional_domains) {
        match config.policy.find(domain.as_str()) {
            Some(view) => met.extend(view.id),
            None => lost_domains.push(domain.to_string()),
        }
    }
    let Some(view) = config.policy.find(partner.domain.as_str()) else {
        let fate = if because.is_empty() { Fate::Lost } else { Fate::Broken };
        return PartnerRow { partner: name, fate, changes: Vec::new(), lost_domains, because };
    };
    let changes = changes(partner, &view, limits);
    let fate = match (because.is_empty(), changes.is_empty() && lost_domains.is_empty()) {
        (false, _) => Fate::Broken,
        (true, true) => Fate::Same,
        (true, false) => Fate::Changed,
    };
    PartnerRow { partner: name, fate, changes, lost_domains, because }
}

/// Settings that differ.
fn changes(partner: &Partner, view: &PartnerView<'_>, limits: &GatewayLimits) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut differ = |setting, today: String, then: String, effect| {
        if today != then {
            changes.push(Change { setting, today, then, effect });
        }
    };
    // What comes first is looser.
    let by = |today: u64, then: u64| if then > today { Effect::Tighter } else { Effect::Looser };
    let trust = |kind| match kind {
        PartnerType::Federated => 0,
        PartnerType::PublicVerified => 1,
        PartnerType::PublicUnverified => 2,
    };
    let (today, then) = (partner.kind, view.kind);
    differ("type", today.as_str().into(), then.as_str().into(), by(trust(today), trust(then)));
    let strict = |of| match of {
        Negotiation::NotSupported => 0,
        Negotiation::Optional => 1,
        Negotiation::Required => 2,
    };
    for (setting, today, then) in [("tls", partner.tls, view.tls), ("sasl", partner.sasl, view.sasl)] {
        differ(setting, today.as_str().into(), then.as_str().into(), by(strict(today), strict(then)));
    }
    let today = Methods::of(partner.tls, partner.sasl, partner.dialback, false);
    let (today, then) = (today.map_or_else(Vec::new, ways), ways(view.methods));
    let effect =
        match (then.iter().all(|way| today.contains(way)), today.iter().all(|way| then.contains(way))) {
            (true, _) => Effect::Tighter,
            (_, true) => Effect::Looser,
            // A way that is new is one more door.
            _ => Effect::Looser,
        };
    differ("proof", today.join(", "), then.join(", "), effect);
    differ("keep_alive", partner.keep_alive.to_string(), view.keep_alive.to_string(), Effect::Other);
    let (today, then) =
        (partner.connections_max.unwrap_or(limits.connections_per_partner_max), view.connections_max);
    let effect = if then < today { Effect::Tighter } else { Effect::Looser };
    differ("connections_max", today.to_string(), then.to_string(), effect);
    let at = |proxy: Option<&HostPort>| proxy.map_or_else(|| "by DNS".to_owned(), ToString::to_string);
    differ("proxy", at(partner.proxy.as_ref()), at(view.proxy), Effect::Other);
    let roots = |own: bool| if own { "of his own" } else { "the common ones" }.to_owned();
    differ("ca_file", roots(false), roots(view.trust.is_some()), Effect::Other);
    let pins = |pinned: bool| if pinned { "pinned" } else { "any" }.to_owned();
    differ("pins", pins(false), pins(!view.pins.is_empty()), Effect::Tighter);
    changes
}

/// The ways by which a partner may prove himself.
fn ways(methods: Methods) -> Vec<&'static str> {
    let ways = [
        (methods.sasl_over_tls, "EXTERNAL"),
        (methods.tls_dialback, "dialback over TLS"),
        (methods.tcp_dialback, "dialback without TLS"),
    ];
    ways.into_iter().filter(|(on, _)| *on).map(|(_, way)| way).collect()
}

/// Whether an entry says what turnout needs of it, and no more what was agreed with the partner.
fn is_pointed_here(partner: &Partner, ours: &[String]) -> bool {
    let here = |proxy: &HostPort| ours.contains(&proxy.host);
    partner.sasl == Negotiation::NotSupported && partner.proxy.as_ref().is_some_and(here)
}

/// The names pools know us by; none where a certificate cannot be read, which `check` says.
fn our_names(config: &Config) -> Vec<String> {
    let world = config.world(1, Arc::from([0_u8; 32].as_slice()));
    world.map_or_else(
        |_| Vec::new(),
        |world| world.sip.values().map(|home| home.our_name.to_string()).collect(),
    )
}

fn findings(pointed_here: u64, told: &mut Rehearsal) {
    if pointed_here > 0 {
        let what = "ProxyFqdn of some partners is turnout: the export was made after step 6, and does not say any more what you agreed \
                    with them; take the one from before";
        told.finding(Weight::Error, what);
    }
    let rows = std::mem::take(&mut told.partners);
    for row in &rows {
        let name = &row.partner;
        match row.fate {
            Fate::Lost => {
                let what =
                    format!("{name}: is in no [[partner]]: what comes from or goes to it would be refused");
                told.finding(Weight::Error, what);
                continue;
            }
            Fate::Broken => {
                row.because.iter().for_each(|why| told.finding(Weight::Error, format!("{name}: {why}")));
            }
            Fate::New => {
                let what = format!(
                    "{name}: is in the configuration only: users could talk to it, and could not today"
                );
                told.finding(Weight::Note, what);
            }
            Fate::Same | Fate::Changed => {}
        }
        for domain in row.lost_domains.iter().filter(|domain| *domain != name) {
            let what =
                format!("{name}: its domain {domain} is in no [[partner]]: add it to additional_domains");
            told.finding(Weight::Error, what);
        }
        for Change { setting, today, then, effect } in &row.changes {
            if *effect == Effect::Looser && *setting != "connections_max" {
                let what = format!("{name}: {setting} is looser than today: {today}, then {then}");
                told.finding(Weight::Error, what);
            }
        }
    }
    told.partners = rows;
}
