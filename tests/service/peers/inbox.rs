//! What a peer received, in order, for a test to wait on.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use turnout_core::limits::SPOOL_AGE_SECONDS;

/// How long anything may take before a test fails: generous, as machines that build and test at once are slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take until what waits for a server that is away is given up: its age, and then as long as anything.
pub const OUTAGE: Duration = Duration::from_secs(SPOOL_AGE_SECONDS + PATIENCE.as_secs());

/// A list that grows and can be waited on.
#[derive(Debug)]
pub struct Inbox<T>(Arc<(Mutex<Vec<T>>, Condvar)>);

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self(Arc::new((Mutex::new(Vec::new()), Condvar::new())))
    }
}

impl<T: Clone + std::fmt::Debug> Inbox<T> {
    pub fn push(&self, item: T) {
        self.0.0.lock().unwrap().push(item);
        self.0.1.notify_all();
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<T> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits until there are so many, and gives all.
    pub fn at_least(&self, count: usize) -> Vec<T> {
        self.at_least_within(PATIENCE, count)
    }

    /// As [`Self::at_least`], of what takes its time.
    pub fn at_least_within(&self, patience: Duration, count: usize) -> Vec<T> {
        let (list, _) = self
            .0
            .1
            .wait_timeout_while(self.0.0.lock().unwrap(), patience, |list| list.len() < count)
            .unwrap();
        assert!(list.len() >= count, "{} of {count} came; the last: {:?}", list.len(), list.last());
        list.clone()
    }

    /// Waits for the first that fits.
    pub fn first(&self, what: &str, fits: impl Fn(&T) -> bool) -> T {
        let (list, _) = self
            .0
            .1
            .wait_timeout_while(self.0.0.lock().unwrap(), PATIENCE, |list| !list.iter().any(&fits))
            .unwrap();
        list.iter().find(|item| fits(item)).cloned().unwrap_or_else(|| panic!("no {what} came in {list:?}"))
    }
}
