//! Steps of one stanza in so many. Invariant: whether a stanza is sampled hangs on who writes to whom and on its id, so that every shard
//! says the same of it at every step and nothing is kept with the stanza; at most [`SAMPLES_MAX`] steps are remembered, and a number
//! that is left out says that some were not.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use super::{Entry, Traced};
use crate::survey::SURVEY_MAX;

/// Steps of sampled stanzas that one shard remembers.
pub const SAMPLES_MAX: usize = 4_096;

/// Which stanzas are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One stanza in so many; at least 1.
    pub one_in: u32,
    /// Chosen at random, so that no peer can have all of his stanzas sampled, or none.
    pub seed: u64,
}

impl Sampling {
    /// Whether a stanza between these bare addresses and with this id, as it was written, is one of them.
    pub(super) fn takes(self, from: &[u8], to: &[u8], id: &[u8]) -> bool {
        if self.one_in <= 1 {
            return true;
        }
        let mut hasher = foldhash::fast::FixedState::with_seed(self.seed).build_hasher();
        // The lengths keep the parts apart.
        for part in [from, to, id] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish().is_multiple_of(u64::from(self.one_in))
    }
}

/// The steps.
#[derive(Default)]
pub(super) struct Samples {
    ring: VecDeque<Entry>,
    /// The number of the next.
    next: u64,
}

impl Samples {
    /// Makes room, or gives it back. Numbers go on.
    pub(super) fn set(&mut self, on: bool) {
        if on {
            self.ring.reserve_exact(SAMPLES_MAX - self.ring.len());
        } else {
            self.ring = VecDeque::new();
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    pub(super) fn put(&mut self, mut entry: Entry) {
        if self.ring.len() >= SAMPLES_MAX {
            self.ring.pop_front();
        }
        entry.number = self.next;
        self.next += 1;
        self.ring.push_back(entry);
    }

    pub(super) fn from(&self, number: u64) -> Vec<Traced> {
        let oldest = self.next - self.ring.len() as u64;
        let skip = usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
        self.ring.iter().skip(skip).take(SURVEY_MAX).map(Entry::copy).collect()
    }
}
