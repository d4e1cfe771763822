//! What is due to many and goes out evenly. Invariant: no lane lets more through in a tenth of a second than its share; what waits
//! in a lane leaves it in the order it came.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::home::HomeId;
use crate::jid::Domain;

/// The length of a slice of time.
pub(super) const SLICE: Duration = Duration::from_millis(100);

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Toward {
    /// To a home.
    Home(HomeId),
    /// To a partner's domain.
    Partner(Domain),
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    slice: Instant,
    gone: u32,
}

/// Lanes of things that wait for their turn.
#[derive(Debug)]
pub(super) struct Pacer<T> {
    lanes: BTreeMap<Toward, Lane<T>>,
    len: usize,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), len: 0 }
    }
}

impl<T> Pacer<T> {
    /// Lets a thing through at once if it is its turn, and gives it back then; else it waits.
    pub(super) fn offer(&mut self, now: Instant, toward: Toward, per_second: u32, thing: T) -> Option<T> {
        let lane = self.lanes.entry(toward).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            slice: now,
            gone: 0,
        });
        if lane.waiting.is_empty() && lane.may_go(now, per_second) {
            return Some(thing);
        }
        lane.waiting.push_back(thing);
        self.len += 1;
        None
    }

    /// Takes whatever has its turn now, lane by lane.
    pub(super) fn due(&mut self, now: Instant, per_second: u32) -> Vec<T> {
        let mut due = Vec::new();
        for lane in self.lanes.values_mut() {
            while !lane.waiting.is_empty() && lane.may_go(now, per_second) {
                due.extend(lane.waiting.pop_front());
            }
        }
        self.len -= due.len();
        self.lanes.retain(|_, lane| !lane.waiting.is_empty() || now < lane.slice + SLICE);
        due
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What waits, in no order that matters.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().flat_map(|lane| &lane.waiting)
    }

    /// Takes all that waits.
    pub(super) fn take(&mut self) -> Vec<T> {
        self.len = 0;
        std::mem::take(&mut self.lanes).into_values().flat_map(|lane| lane.waiting).collect()
    }
}

impl<T> Lane<T> {
    fn may_go(&mut self, now: Instant, per_second: u32) -> bool {
        if now >= self.slice + SLICE {
            (self.slice, self.gone) = (now, 0);
        }
        let goes = self.gone < (per_second / 10).max(1);
        self.gone += u32::from(goes);
        goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_burst_leaves_in_order_and_evenly() {
        let start = Instant::now();
        let lane = || Toward::Home(HomeId(1));
        let mut pacer = Pacer::default();
        let mut gone: Vec<u32> = (0..100).filter_map(|n| pacer.offer(start, lane(), 100, n)).collect();
        assert_eq!(gone.len(), 10);
        assert_eq!(pacer.offer(start, Toward::Home(HomeId(2)), 100, 1000), Some(1000), "a lane of its own");
        for slice in 1..=9 {
            let now = start + SLICE * slice;
            let due = pacer.due(now, 100);
            assert_eq!(due.len(), 10);
            assert!(pacer.due(now + SLICE / 2, 100).is_empty());
            gone.extend(due);
        }
        assert_eq!(gone, (0..100).collect::<Vec<_>>());
        assert_eq!(pacer.len(), 0);
        assert!(pacer.due(start + SLICE * 20, 100).is_empty());
        assert!(pacer.lanes.is_empty(), "nothing is kept of lanes that rest");
    }
}
