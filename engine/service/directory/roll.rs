//! From what a source says of users to a snapshot and a report. Invariant: the same facts make the same user, whichever source
//! they come from; a user who cannot be taken leaves nothing behind.

use turnout_core::directory::{AccessPolicies, AddError, Snapshot, SnapshotBuilder, User};
use turnout_core::home::{Homes, Residence};
use turnout_core::jid::prepare;

use super::address;
use super::report::{Report, quoted};
use super::words::Words;

/// What a source says of one user, in its own words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// `sip:user@domain`.
    pub(super) address: &'a str,
    /// The registrar pool; empty for none.
    pub(super) pool: &'a str,
    /// `SRV:` or nothing for a user on premises.
    pub(super) hosting_provider: &'a str,
    pub(super) federation_enabled: bool,
    pub(super) xmpp_enabled: bool,
    pub(super) enabled: bool,
    /// A server is moving him.
    pub(super) moving: bool,
}

/// Why a user is not taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// What is said of him cannot be used.
    Bad(String),
    /// There is no room for more.
    Full,
}

/// Users being taken.
pub(super) struct Roll<'a> {
    pub(super) words: Words<'a>,
    pub(super) report: Report,
    builder: SnapshotBuilder,
    /// The address of the user, before and after it is prepared.
    jid: String,
    scratch: String,
}

impl<'a> Roll<'a> {
    pub(super) fn new(homes: &'a Homes, policies: &'a AccessPolicies) -> Self {
        Self {
            words: Words::new(homes, policies),
            report: Report { homes: vec![0; homes.places()], ..Report::default() },
            builder: SnapshotBuilder::new(),
            jid: String::new(),
            scratch: String::new(),
        }
    }

    /// How many users were taken.
    pub(super) fn len(&self) -> usize {
        self.builder.len()
    }

    /// Takes a user. `called` is what the source calls the address.
    pub(super) fn add(&mut self, called: &str, facts: &Facts<'_>) -> Result<(), Fault> {
        let bad_address =
            |why: &dyn std::fmt::Display| Fault::Bad(format!("{called} {}: {why}", quoted(facts.address)));
        address::jid_text(facts.address, &mut self.jid).map_err(|why| bad_address(&why))?;
        let residence = self.words.residence(facts.pool, facts.hosting_provider, &mut self.builder);
        let user = User {
            residence,
            federation_enabled: facts.federation_enabled,
            xmpp_enabled: facts.xmpp_enabled,
            enabled: facts.enabled,
            moving: facts.moving,
        };
        let jid = prepare(&self.jid, &mut self.scratch).map_err(|why| bad_address(&why))?;
        self.builder.add(jid, user).map_err(|fault| match fault {
            AddError::Full => Fault::Full,
            AddError::Duplicate | AddError::NotAUser => bad_address(&fault),
        })?;
        let pool = match residence {
            Residence::UnknownPool(id) => self.builder.pool_name(id),
            _ => None,
        };
        self.report.count(residence, pool);
        Ok(())
    }

    pub(super) fn finish(self) -> (Snapshot, Report) {
        (self.builder.finish(), self.report)
    }
}
