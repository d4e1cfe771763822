//! When many SUBSCRIBEs are due at once. Invariant: no more leave in a second than the configuration says, a tenth of them at
//! once at the most; each that waits has its turn, in the order they came.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use turnout_core::timers::TimerId;

use crate::slab::Key;

/// What may leave at once is what is allowed in so long.
const BURST: Duration = Duration::from_millis(100);

/// Turns to send.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    waiting: VecDeque<Key>,
    /// When all that has left would have left, had it done so evenly.
    level: Option<Instant>,
    /// Wakes the first that waits.
    pub(crate) timer: Option<TimerId>,
}

impl Turns {
    /// Takes a turn. `false`: it is not time yet, or others wait; see [`Turns::wait`].
    pub(crate) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        self.waiting.is_empty() && self.spend(now, per_second)
    }

    /// Waits for a turn. `false`: too many do. Who may: as many as there may be watches, and as many that are over meanwhile.
    pub(crate) fn wait(&mut self, key: Key, watches: usize) -> bool {
        let fits = self.waiting.len() < 2 * watches;
        if fits {
            self.waiting.push_back(key);
        }
        fits
    }

    /// The next whose turn it is; one who no longer wants it takes none.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        per_second: u32,
        mut wants: impl FnMut(Key) -> bool,
    ) -> Option<Key> {
        while self.waiting.front().is_some_and(|key| !wants(*key)) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() || !self.spend(now, per_second) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// When the next turn is, if anybody waits.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        // A moment later than that it is surely time.
        let at = self.level.and_then(|level| level.checked_sub(BURST)).unwrap_or(now);
        Some(at.max(now) + Duration::from_millis(1))
    }

    fn spend(&mut self, now: Instant, per_second: u32) -> bool {
        let level = self.level.map_or(now, |level| level.max(now));
        if level.saturating_duration_since(now) > BURST {
            return false;
        }
        self.level = Some(level + Duration::from_secs(1) / per_second.max(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn no_more_than_allowed_and_in_order() {
        let mut now = Instant::now();
        let end = now + Duration::from_secs(10);
        let mut turns = Turns::default();
        for n in 1..=3000_u64 {
            assert!(turns.wait(Key::of_number(1 << 32 | n), 1500));
        }
        let mut left = Vec::new();
        while let Some(at) = turns.due(now).filter(|at| *at <= end) {
            now = at;
            while let Some(key) = turns.next(now, 200, |_| true) {
                left.push((now, key));
            }
        }
        assert!((1990..=2025).contains(&left.len()), "{}", left.len());
        assert!(left.is_sorted(), "first come, first served");
        for window in left.windows(222) {
            assert!(window[221].0 - window[0].0 >= Duration::from_secs(1));
        }
        assert!(!turns.take(now + Duration::from_secs(5), 200), "others wait");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn one_alone_does_not_wait() {
        let now = Instant::now();
        let mut turns = Turns::default();
        assert!(turns.take(now, 1));
        assert!(!turns.take(now, 1));
        assert!(turns.take(now + Duration::from_secs(1), 1));
        assert_eq!(turns.due(now), None);
    }
}
