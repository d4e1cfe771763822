//! Entries that are not on disk. Invariant: those of one shard go in the order they were given, and one that is taken out is gone.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use turnout_core::durable::{Entry, EntryKey};

/// An entry that is not on disk.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) entry: Box<Entry>,
    /// It stands in this segment too: a try to write it failed, and nobody knows how much of it is there, or it is carried from there.
    pub(super) tried: Option<u64>,
    /// It is on disk, in a segment that is to be removed.
    pub(super) carried: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: BTreeMap<i64, Pending>,
    places: HashMap<EntryKey, i64>,
    bytes: usize,
    carried: usize,
    since: Option<Instant>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Octets of stanzas in it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when something waits, that is not carried.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since.filter(|_| self.pending.len() > self.carried)
    }

    /// Whether something is carried.
    pub(super) fn carried(&self) -> bool {
        self.carried > 0
    }

    pub(super) fn push_back(&mut self, now: Instant, pending: Pending) {
        let at = self.pending.last_key_value().map_or(0, |(at, _)| at + 1);
        self.since.get_or_insert(now);
        self.put(at, pending);
    }

    /// Puts back what was taken out.
    pub(super) fn push_front(&mut self, now: Instant, pending: Pending) {
        self.since.get_or_insert(now);
        let at = self.pending.first_key_value().map_or(0, |(at, _)| at - 1);
        self.put(at, pending);
    }

    fn put(&mut self, at: i64, pending: Pending) {
        self.bytes += pending.entry.stanza_bytes();
        self.carried += usize::from(pending.carried);
        self.places.insert(pending.entry.key, at);
        self.pending.insert(at, pending);
    }

    pub(super) fn remove(&mut self, key: EntryKey) -> Option<Pending> {
        let at = self.places.remove(&key)?;
        let pending = self.pending.remove(&at)?;
        self.count_out(&pending);
        Some(pending)
    }

    /// Takes the oldest, or without `all` the oldest that is carried.
    pub(super) fn pop(&mut self, all: bool) -> Option<Pending> {
        let at = match all {
            true => *self.pending.first_key_value()?.0,
            false if self.carried > 0 => *self.pending.iter().find(|(_, pending)| pending.carried)?.0,
            false => return None,
        };
        let pending = self.pending.remove(&at)?;
        self.places.remove(&pending.entry.key);
        self.count_out(&pending);
        Some(pending)
    }

    fn count_out(&mut self, pending: &Pending) {
        self.bytes -= pending.entry.stanza_bytes();
        self.carried -= usize::from(pending.carried);
        if self.pending.is_empty() {
            self.since = None;
        }
    }
}
