//! The overlay: changes made to a running directory.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

use super::snapshot::local_of;
use super::{Snapshot, User};
use crate::home::Residence;
use crate::jid::JidRef;

/// Most counters of the sieve: 64 KiB of them.
const SIEVE_MAX: usize = 1 << 14;

/// Fewest.
const SIEVE_MIN: usize = 1 << 6;

/// Users changed since the snapshot. Shared by all shards; bounded.
#[derive(Debug)]
pub struct Overlay {
    /// By the octets of the prepared bare address.
    users: DashMap<Box<[u8]>, User, RandomState>,
    /// How many of the users fall on each counter, so that asking for one who is not here takes no lock while there are
    /// few. Counted before a user comes and until he goes, so 0 means that he is not here.
    sieve: Box<[AtomicU32]>,
    seed: RandomState,
    /// Counted apart, as the map's own count locks every part of it.
    entries: AtomicUsize,
    entries_max: usize,
}

/// Why a change cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayError {
    /// The overlay is full.
    Full {
        /// How many users it may hold.
        entries_max: usize,
    },
    /// The address has no local part, or has a resource.
    NotAUser,
    /// Nobody can be moved to a pool that no home names.
    UnknownPool,
}

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { entries_max } => write!(
                f,
                "{entries_max} users have been changed by hand since the directory was loaded and no more can be; \
                 export the users anew and reload the directory"
            ),
            Self::NotAUser => f.write_str("a user's address is local@domain, with no resource"),
            Self::UnknownPool => f.write_str("a user can be moved to a home of the configuration only"),
        }
    }
}

impl std::error::Error for OverlayError {}

impl Overlay {
    /// An empty overlay for at most `entries_max` users.
    pub fn new(entries_max: usize) -> Self {
        let counters = entries_max.clamp(SIEVE_MIN, SIEVE_MAX);
        Self {
            users: DashMap::default(),
            sieve: std::iter::repeat_with(AtomicU32::default).take(counters).collect(),
            seed: RandomState::default(),
            entries: AtomicUsize::new(0),
            entries_max,
        }
    }

    /// Whether nothing has been changed. One plain read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many users have been changed.
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// The changed user with this prepared bare address.
    pub fn look_up(&self, bare: &str) -> Option<User> {
        self.find(bare.as_bytes())
    }

    /// Overwrites what a snapshot said of these users, all with bare addresses in one domain, where one has been changed.
    pub(super) fn speak_first(&self, domain: &str, bares: &[&[u8]], found: &mut [Option<User>]) {
        for (bare, found) in bares.iter().zip(found) {
            if let Some(user) = self.find(bare)
                && !local_of(bare, domain).is_empty()
            {
                *found = Some(user);
            }
        }
    }

    fn find(&self, bare: &[u8]) -> Option<User> {
        if self.counter(bare).is_some_and(|counter| counter.load(Ordering::Acquire) == 0) {
            return None;
        }
        self.users.get(bare).map(|user| *user)
    }

    fn counter(&self, bare: &[u8]) -> Option<&AtomicU32> {
        let hash = self.seed.hash_one(bare) >> u32::BITS;
        self.sieve.get(((hash * self.sieve.len() as u64) >> u32::BITS) as usize)
    }

    fn count(&self, bare: &[u8]) {
        if let Some(counter) = self.counter(bare) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn uncount(&self, bare: &[u8]) {
        if let Some(counter) = self.counter(bare) {
            counter.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Changes a user, or adds one the snapshot does not know. Returns the change it replaces.
    ///
    /// # Errors
    /// [`OverlayError`]; the overlay is then as it was.
    pub fn set(&self, jid: JidRef<'_>, user: User) -> Result<Option<User>, OverlayError> {
        if jid.local().is_none() || jid.resource().is_some() {
            return Err(OverlayError::NotAUser);
        }
        if matches!(user.residence, Residence::UnknownPool(_)) {
            return Err(OverlayError::UnknownPool);
        }
        let bare = jid.bare().as_bytes();
        match self.users.entry(Box::from(bare)) {
            Entry::Occupied(mut entry) => Ok(Some(entry.insert(user))),
            Entry::Vacant(entry) => {
                let more = |entries| (entries < self.entries_max).then_some(entries + 1);
                self.entries
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
                    .map_err(|_| OverlayError::Full { entries_max: self.entries_max })?;
                self.count(bare);
                entry.insert(user);
                Ok(None)
            }
        }
    }

    /// Takes a change back; the snapshot speaks for the user again.
    pub fn remove(&self, bare: &str) -> Option<User> {
        let (_, user) = self.users.remove(bare.as_bytes())?;
        self.uncount(bare.as_bytes());
        self.entries.fetch_sub(1, Ordering::AcqRel);
        Some(user)
    }

    /// Drops the changes a newer snapshot has caught up with: those of users who live there too by now, and of users who were in
    /// the older one and are gone. A change the source does not show yet stays, as a source may lag behind; but what the user may
    /// do is the newer snapshot's to say. Calls `visit` for each that goes, and returns how many went. `visit` must not touch this
    /// overlay.
    pub fn settle(&self, older: &Snapshot, newer: &Snapshot, mut visit: impl FnMut(&str)) -> usize {
        let mut settled = 0;
        self.users.retain(|bare, user| {
            let Ok(text) = str::from_utf8(bare) else { return true };
            let stays = match newer.look_up(text) {
                Some(known) => {
                    let stays = known.residence != user.residence;
                    *user = User { residence: user.residence, ..known };
                    stays
                }
                None => older.look_up(text).is_none(),
            };
            if !stays {
                self.uncount(bare);
                settled += 1;
                visit(text);
            }
            stays
        });
        self.entries.fetch_sub(settled, Ordering::AcqRel);
        settled
    }

    /// Calls `visit` for every changed user, in no particular order. `visit` must not touch this overlay.
    pub fn for_each(&self, mut visit: impl FnMut(&str, User)) {
        for entry in &self.users {
            if let Ok(bare) = str::from_utf8(entry.key()) {
                visit(bare, *entry.value());
            }
        }
    }
}
