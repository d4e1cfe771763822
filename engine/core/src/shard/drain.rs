//! The end of a shard. Invariant: it says that nothing is left once for each time it is asked, and only when nothing accepted is held here
//! or time is up; what the next hops have not taken by then is bounced, and the bounces have as long again to go out.

use std::time::{Duration, Instant};

use super::{Shard, Timer};
use crate::io::{Close, LinkId, Outbox, Output};

/// How long a draining shard waits for the next hops before it bounces what is left.
const DRAIN_SECONDS: u64 = 5;

/// The end of the process, as far as it has come.
#[derive(Debug)]
pub(super) struct Draining {
    /// When waiting ends.
    pub(super) deadline: Instant,
    /// Every shard has drained.
    pub(super) leaving: bool,
    /// It has not been said yet that nothing is left here.
    pub(super) owed: bool,
    /// What waited at the deadline was bounced. Once: the bounces need time to go out.
    pub(super) gave_up: bool,
}

impl Shard {
    pub(super) fn drain(&mut self, now: Instant, leaving: bool, out: &mut Outbox) {
        let first = self.draining.is_none();
        let deadline = now + Duration::from_secs(DRAIN_SECONDS);
        let draining =
            self.draining.get_or_insert(Draining { deadline, leaving, owed: true, gave_up: false });
        (draining.leaving, draining.owed) = (leaving, true);
        if first {
            self.read_all(now, out);
            for index in 0..self.backends.len() {
                self.backends[index].drain(now, out);
                self.pump(now, out);
            }
        }
        self.drain_due(now, out);
    }

    /// Ends when nothing accepted is left and nobody may add to it; what the next hops do not take in time is bounced, and the
    /// bounces go out.
    pub(super) fn drain_due(&mut self, now: Instant, out: &mut Outbox) {
        let Some(draining) = self.draining.as_mut().filter(|draining| draining.owed) else { return };
        let (deadline, leaving) = (draining.deadline, draining.leaving);
        let late = now >= deadline + Duration::from_secs(DRAIN_SECONDS);
        if late || (now >= deadline && !std::mem::replace(&mut draining.gave_up, true)) {
            self.give_up_waiting(now, late, out);
        }
        let listening = now < deadline && self.backends.iter().any(|backend| backend.is_listening());
        if (self.held() > 0 && !late) || listening {
            self.timers.set(now + Duration::from_millis(10), Timer::Drain);
            return;
        }
        if let Some(draining) = &mut self.draining {
            draining.owed = false;
        }
        if leaving {
            for index in 0..self.backends.len() {
                self.backends[index].leave(now, out);
                self.pump(now, out);
            }
            let mut links: Vec<LinkId> = self.links.keys().copied().collect();
            links.sort_unstable();
            for link in links {
                out.close(link, Close::Flush);
            }
        }
        out.outputs.push(Output::Drained);
    }
}
