//! How the spool does, for everybody to see, and the word to stop. Invariant: one short lock; nobody waits here for the disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use turnout_core::tally::Histogram;

use super::journal::Gauges;

/// Shared by the spool's thread and whoever looks.
#[derive(Debug, Default)]
pub struct Meter {
    look: Mutex<SpoolLook>,
    stopping: AtomicBool,
}

/// A copy of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolLook {
    /// What the log says of itself.
    pub gauges: Gauges,
    /// Entries that were found at the start.
    pub recovered: u64,
    /// Entries given by shards since the start.
    pub given: u64,
    /// Entries that became done.
    pub done: u64,
    /// Syncs of segments since the start, and how long each took.
    pub syncs: Histogram,
    /// Bytes appended since the start.
    pub appended: u64,
    /// What was done to the disk and failed.
    pub failures: u64,
    /// Why the last thing failed; `None` if it did not.
    pub failing: Option<String>,
}

impl Meter {
    /// What there is now.
    pub fn look(&self) -> SpoolLook {
        self.look.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spool's thread shall write what is queued, and end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut SpoolLook)) {
        change(&mut self.look.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn synced(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.change(|look| look.syncs.observe_us(micros));
    }
}
