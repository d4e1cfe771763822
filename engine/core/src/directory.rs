//! The directory: which local user lives where, and what he may do.
//!
//! Two layers. A [`Snapshot`] is everything a source said at one time; it is immutable, every shard holds it by a
//! shared pointer and reads it without writing anything. An [`Overlay`] holds what has been changed since by hand,
//! is asked first while it is not empty, and gives way once a snapshot says the same.
//!
//! Invariant: keys are prepared bare addresses (`crate::jid`). The answer for a user depends on the two layers
//! alone, never on how often or in which order they were asked. How old the snapshot is, and when to load the
//! next, is the caller's business: there is no clock here.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::home::{PoolId, Residence};

mod access;
mod arena;
mod builder;
mod compare;
mod overlay;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;

pub use access::AccessPolicies;
pub use builder::{AddError, SnapshotBuilder};
pub use compare::{Change, GuardRefusal, diff, guard};
pub use overlay::{Overlay, OverlayError};
pub use snapshot::Snapshot;

use snapshot::GROUP;

/// Most users one page of a listing holds.
pub const LIST_MAX: usize = 10_000;

/// What the directory knows about a local user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct User {
    /// Where he lives.
    pub residence: Residence,
    /// `EnabledForFederation`: he may talk to the outside at all.
    pub federation_enabled: bool,
    /// `EnableXmppAccess` of his external access policy: he may talk to XMPP partners.
    pub xmpp_enabled: bool,
    /// `Enabled`: the account is in use.
    pub enabled: bool,
    /// `msRTCSIP-TargetHomeServer` is set: a server is moving him just now. Says nothing about the way: he lives at `residence`
    /// until the source says otherwise.
    pub moving: bool,
}

impl User {
    /// A user in good standing, for whom nothing is switched off.
    pub fn at(residence: Residence) -> Self {
        Self { residence, federation_enabled: true, xmpp_enabled: true, enabled: true, moving: false }
    }

    /// Whether nothing stands against his talking to XMPP partners.
    pub fn may_federate(&self) -> bool {
        self.enabled && self.federation_enabled && self.xmpp_enabled
    }
}

/// One page of a listing, in the order of the addresses' octets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Bare address and user.
    pub users: Vec<(String, User)>,
    /// Whether there are users after the last of these.
    pub more: bool,
}

/// Snapshot and overlay together. Cloning copies two pointers.
#[derive(Debug, Clone)]
pub struct Directory {
    snapshot: Arc<Snapshot>,
    overlay: Arc<Overlay>,
}

impl Directory {
    /// Puts an overlay over a snapshot.
    pub fn new(snapshot: Arc<Snapshot>, overlay: Arc<Overlay>) -> Self {
        Self { snapshot, overlay }
    }

    /// The user with this prepared bare address. Allocates nothing; takes no lock while the overlay is empty.
    pub fn look_up(&self, bare: &str) -> Option<User> {
        if !self.overlay.is_empty()
            && let Some(user) = self.overlay.look_up(bare)
        {
            return Some(user);
        }
        self.snapshot.look_up(bare)
    }

    /// Looks up many users of one domain, and overwrites `found` with what is known of them, in their order. `domain` is
    /// prepared, and each of `bares` is a prepared bare address in that domain; one in another domain is not found. Gives the
    /// same answers as [`Directory::look_up`] for one after the other, and pays for memory once where that pays for each:
    /// hand over all that are at hand.
    pub fn look_up_all<'a>(
        &self,
        domain: &str,
        mut bares: impl Iterator<Item = &'a [u8]>,
        found: &mut Vec<Option<User>>,
    ) {
        found.clear();
        let domain_id = self.snapshot.domain_id(domain);
        let changed = !self.overlay.is_empty();
        let mut group: [&[u8]; GROUP] = [&[]; GROUP];
        loop {
            let taken = group.iter_mut().zip(&mut bares).map(|(place, bare)| *place = bare).count();
            let (group, begin) = (&group[..taken], found.len());
            match domain_id {
                Some(id) => self.snapshot.find_group((domain, id), group, found),
                None => found.resize(begin + taken, None),
            }
            if changed {
                self.overlay.speak_first(domain, group, &mut found[begin..]);
            }
            if taken < GROUP {
                return;
            }
        }
    }

    /// The same overlay over a newer snapshot.
    pub fn with_snapshot(&self, snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, overlay: Arc::clone(&self.overlay) }
    }

    /// The lower layer.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The upper layer.
    pub fn overlay(&self) -> &Arc<Overlay> {
        &self.overlay
    }

    /// The name of a pool that no home names.
    pub fn pool_name(&self, pool: PoolId) -> Option<&str> {
        self.snapshot.pool_name(pool)
    }

    /// Users whose bare address starts with `prefix` (compared in lower case) and comes after `after`, the first
    /// `limit` of them, at most [`LIST_MAX`]. Looks at every user, so it is for the control plane only.
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Page {
        let limit = limit.min(LIST_MAX);
        let prefix = prefix.to_lowercase();
        // One more than the page holds, so that `more` is known.
        let mut page = Bounded { users: BTreeMap::new(), size: limit + 1, prefix: &prefix, after };
        // The overlay goes first: where both layers have a user its entry is the one that stays.
        self.overlay.for_each(|bare, user| page.offer((bare, "", ""), user));
        for (local, domain, user) in self.snapshot.iter() {
            page.offer((local, "@", domain), user);
        }
        let more = page.users.len() > limit;
        Page { users: page.users.into_iter().take(limit).collect(), more }
    }
}

/// The smallest matching users seen so far.
struct Bounded<'a> {
    users: BTreeMap<String, User>,
    size: usize,
    prefix: &'a str,
    after: Option<&'a str>,
}

impl Bounded<'_> {
    /// Takes a user in unless he does not match or lies behind a full page. The address comes in three pieces so
    /// that the many who are passed over cost no allocation.
    fn offer(&mut self, (a, b, c): (&str, &str, &str), user: User) {
        let bytes = || a.bytes().chain(b.bytes()).chain(c.bytes());
        let is_after = |mark: &str| bytes().gt(mark.bytes());
        if !bytes().take(self.prefix.len()).eq(self.prefix.bytes()) || !self.after.is_none_or(is_after) {
            return;
        }
        if self.users.len() >= self.size {
            match self.users.last_key_value() {
                Some((last, _)) if !is_after(last) => {}
                _ => return,
            }
        }
        self.users.entry([a, b, c].concat()).or_insert(user);
        if self.users.len() > self.size {
            self.users.pop_last();
        }
    }
}
