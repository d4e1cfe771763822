//! Timers of one shard or backend. Invariant: each timer fires at most once, never before its time, in order of time and, for
//! equal times, in the order they were set.

use std::collections::BTreeMap;
use std::time::Instant;

/// Names a set timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    at: Instant,
    number: u64,
}

/// Timers that carry a `T`.
#[derive(Debug)]
pub struct Timers<T> {
    set: BTreeMap<TimerId, T>,
    count: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { set: BTreeMap::new(), count: 0 }
    }
}

impl<T> Timers<T> {
    /// Sets a timer.
    pub fn set(&mut self, at: Instant, what: T) -> TimerId {
        self.count += 1;
        let id = TimerId { at, number: self.count };
        self.set.insert(id, what);
        id
    }

    /// Takes a timer back; `None` when it has fired.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.set.remove(&id)
    }

    /// The next timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let (id, _) = self.set.first_key_value()?;
        if id.at > now {
            return None;
        }
        self.set.pop_first().map(|(_, what)| what)
    }

    /// When the next one fires.
    pub fn deadline(&self) -> Option<Instant> {
        self.set.first_key_value().map(|(id, _)| id.at)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn fires_in_order_and_once() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let second = timers.set(start + Duration::from_secs(2), "second");
        timers.set(start + Duration::from_secs(1), "first");
        timers.set(start + Duration::from_secs(2), "third");
        assert_eq!(timers.deadline(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.pop(start), None);
        assert_eq!(timers.pop(start + Duration::from_secs(5)), Some("first"));
        assert_eq!(timers.cancel(second), Some("second"));
        assert_eq!(timers.cancel(second), None);
        assert_eq!(timers.pop(start + Duration::from_secs(5)), Some("third"));
        assert_eq!(timers.pop(start + Duration::from_secs(5)), None);
    }
}
