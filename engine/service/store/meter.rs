//! How the store does, for everybody to see, and the word to stop. Invariant: atomics and one short lock; nobody waits here for the disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::file::Written;

/// Shared by the store's thread and whoever looks.
#[derive(Debug, Default)]
pub struct Meter {
    rows: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
    written: AtomicU64,
    taken: AtomicU64,
    failures: AtomicU64,
    failing: AtomicBool,
    why: Mutex<String>,
    stopping: Mutex<bool>,
    stop: Condvar,
}

/// A copy of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StoreLook {
    /// Pairs of users it holds.
    pub contacts: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
    /// Transactions on disk since the start.
    pub commits: u64,
    /// Changes on disk since the start; several of one pair in one transaction count once.
    pub written: u64,
    /// Changes taken from the shards since the start.
    pub taken: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Why the last attempt failed; `None` if it did not.
    pub failing: Option<String>,
}

impl Meter {
    /// What there is now.
    pub fn look(&self) -> StoreLook {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let failing = self.failing.load(Ordering::Acquire);
        StoreLook {
            contacts: get(&self.rows),
            bytes: get(&self.bytes),
            commits: get(&self.commits),
            written: get(&self.written),
            taken: get(&self.taken),
            failures: get(&self.failures),
            failing: failing.then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        }
    }

    /// The store's thread shall write what is queued, and end.
    pub fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless it is to stop.
    pub(super) fn rest(&self, pause: Duration) {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.stop.wait_timeout_while(stopping, pause, |stopping| !*stopping));
    }

    pub(super) fn took(&self, records: usize) {
        self.taken.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// What the file holds, without a change.
    pub(super) fn holds(&self, rows: u64, bytes: u64) {
        self.rows.store(rows, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, records: usize, written: Written) {
        self.holds(written.rows, written.bytes);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.written.fetch_add(records as u64, Ordering::Relaxed);
        self.failing.store(false, Ordering::Release);
    }

    pub(super) fn failed(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Release);
    }
}
