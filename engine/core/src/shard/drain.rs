//! The end of the process. Invariant: a shard says that it has drained only when it holds nothing any more or it is late; what the next hops
//! do not take until then is left on disk where it is there already, and else bounced.

use std::time::{Duration, Instant};

use super::deliver::State;
use super::refusals::unreachable;
use super::{Shard, Timer};
use crate::io::{Close, LinkId, Outbox, Output, Unreachable};
use crate::stanza::Stanza;

/// How long a draining shard waits for the next hops before it bounces what is left.
const DRAIN_SECONDS: u64 = 5;

/// The end of the process, as far as it has come.
#[derive(Debug)]
pub(super) struct Draining {
    /// When waiting ends.
    deadline: Instant,
    /// Every shard has drained.
    leaving: bool,
    /// It has not been said yet that nothing is left here.
    owed: bool,
    /// What waited at the deadline was bounced. Once: the bounces need time to go out.
    gave_up: bool,
}

impl Shard {
    /// The process ends: nothing new is begun, and with `leaving` connections end as soon as nothing is left here.
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

    /// Bounces everything that waits: the shard is going away. Unless it is `late`, what a good link will take is left to it.
    fn give_up_waiting(&mut self, now: Instant, late: bool, out: &mut Outbox) {
        let mut left: Vec<Stanza> = Vec::new();
        left.extend(self.presences.take());
        self.call_off_all(out);
        for waiting in self.destinations.values_mut() {
            if late {
                left.extend(waiting.spool.take());
            } else if !matches!(waiting.state, State::Ready(_) | State::Blocked(_)) {
                // What we made are the very errors this makes more of, perhaps on another shard a moment ago: they have until
                // it is late to find their way.
                let (made, passed): (Vec<Stanza>, Vec<Stanza>) =
                    waiting.spool.take().into_iter().partition(|stanza| stanza.made);
                waiting.spool.put_back(made.into_iter());
                left.extend(passed);
            }
        }
        if late {
            left.extend(self.holds.take());
        }
        // In an order that does not hang on how tables lie in memory; stanzas of one pair stay as they were.
        let key = |stanza: &Stanza| (stanza.arrived, stanza.origin.link, stanza.origin.ticket);
        left.sort_by(|a, b| {
            key(a)
                .cmp(&key(b))
                .then_with(|| (a.from.as_str(), a.to.as_str()).cmp(&(b.from.as_str(), b.to.as_str())))
        });
        for stanza in left {
            if self.may_be_left(&stanza) {
                self.leave(&stanza);
                continue;
            }
            let refusal = unreachable(Unreachable::NoAnswer, "the server").with_detail("draining");
            self.refuse(now, stanza, refusal, out);
            self.pump(now, out);
        }
    }
}
