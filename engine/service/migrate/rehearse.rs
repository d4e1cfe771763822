//! `turnout rehearse`: the estate as its exports describe it, beside what a configuration would make of it.
//!
//! Invariant: what would be is asked of the router's own reader, directory and policy, never worked out a second time; what is today
//! follows from the exports alone. Nothing is written and nobody is asked over the network.

use std::path::PathBuf;

use serde::Serialize;
use turnout_core::policy::GatewayLimits;

use super::{Finding, Weight, count};
use crate::config::Config;

mod gateway;
mod partners;
mod users;

pub use partners::{Change, Effect, Fate, PartnerRow};
pub use users::{Group, Turn, UserRow, Users};

/// Pairs of a local and a partner's domain beyond which a legacy gateway with its usual settings has no room.
const PAIRS_USUAL_MAX: u64 = 1000;

/// The exports.
#[derive(Clone, Debug, Default)]
pub struct Exports {
    /// `Get-CsUser`; without it the users of the configuration's own directory.
    pub users: Option<PathBuf>,
    /// `Get-CsExternalAccessPolicy`.
    pub policies: Option<PathBuf>,
    /// `Get-CsXmppAllowedPartner`.
    pub partners: Option<PathBuf>,
    /// `Get-CsXmppGatewayConfiguration`.
    pub gateway: Option<PathBuf>,
}

/// Streams turnout would open to the legacy gateway, one for each pair of a local and a partner's domain, and what the gateway allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Streams {
    /// Of whom: a partner's domain, or `all partners`.
    pub of: String,
    /// Pairs of domains.
    pub pairs: u64,
    /// What the legacy gateway allows.
    pub allowed: u64,
}

/// What would change.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rehearsal {
    /// Nobody loses anything and nothing is looser than today: exit code 0.
    pub good: bool,
    /// The users.
    pub users: Users,
    /// The partners, those of the export in its order, then those only the configuration has.
    pub partners: Vec<PartnerRow>,
    /// Settings of the gateway that would be others.
    pub gateway: Vec<Change>,
    /// What the legacy gateway would have to allow, where it does not; then all partners together.
    pub streams: Vec<Streams>,
    /// What somebody has to look at, the errors first.
    pub findings: Vec<Finding>,
}

impl Rehearsal {
    fn finding(&mut self, weight: Weight, what: impl Into<String>) {
        self.findings.push(Finding { weight, place: String::new(), what: what.into() });
    }
}

/// Compares. With `all` every user is listed, otherwise those who lose something or have no home.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn rehearse(config: &Config, exports: &Exports, all: bool) -> Result<Rehearsal, String> {
    let mut told = Rehearsal::default();
    users::compare(config, exports, all, &mut told)?;
    let limits = gateway::compare(config, exports, &mut told)?;
    partners::compare(config, exports, &limits, &mut told)?;
    told.findings.sort_by_key(|finding| finding.weight == Weight::Note);
    told.good = told.findings.iter().all(|finding| finding.weight == Weight::Note);
    Ok(told)
}

/// What one stream for each pair of domains means for the gateway. `partners` are the names of each partner with its own limit.
fn streams(
    domains: usize,
    partners: &[(String, usize, Option<u32>)],
    limits: &GatewayLimits,
    told: &mut Rehearsal,
) {
    let domains = domains as u64;
    let mut total = 0;
    for (name, theirs, own) in partners {
        let pairs = domains * *theirs as u64;
        total += pairs;
        let allowed = u64::from(own.unwrap_or(limits.connections_per_partner_max));
        if pairs > allowed {
            told.finding(
                Weight::Error,
                format!(
                    "{name}: turnout opens {pairs} streams to the legacy gateway, one for each pair of domains, and it allows {allowed}: \
                     Set-CsXmppAllowedPartner -Identity {name} -ConnectionLimit {pairs}"
                ),
            );
            told.streams.push(Streams { of: name.clone(), pairs, allowed });
        }
    }
    let allowed = u64::from(limits.connections_max);
    if total > allowed {
        let what = format!(
            "there are {} of a local and a partner's domain, each a stream to the legacy gateway, which allows {allowed} in all: \
             Set-CsXmppGatewayConfiguration -ConnectionLimit {total}",
            count(total, "pair"),
        );
        told.finding(Weight::Error, what);
    } else if total > PAIRS_USUAL_MAX {
        let what = format!(
            "{total} pairs of domains are more than the {PAIRS_USUAL_MAX} a legacy gateway usually has room for"
        );
        told.finding(Weight::Note, what);
    }
    told.streams.push(Streams { of: "all partners".to_owned(), pairs: total, allowed });
}
