//! Streams that go on where another broke off (XEP-0198 §5). Invariant: a suspended link holds what its peer may have and has not said so, all
//! of it older than what waits in the spool of its destination; before anything of that destination goes anywhere, each stanza of it is
//! either settled, as the peer says on the next link that it has it, or back in front of the spool. So a suspension lasts no longer than a
//! short rest and one attempt to connect, and a stanza in it is held like any other that was written and not acknowledged.

use std::time::Instant;

use super::Shard;
use super::deliver::State;
use crate::backend::Destination;
use crate::io::{LinkId, Outbox};
use crate::link::Link;

impl Shard {
    /// A connection is gone and its backend hopes to resume. Gives the link back where there is nothing to gain from it: an accepted one,
    /// one that holds nothing, or one that was not the way of its destination any more.
    pub(super) fn suspend(&mut self, link: LinkId, mut state: Link) -> Option<Link> {
        let waiting = state.destination().and_then(|destination| self.destinations.get_mut(destination));
        match waiting {
            Some(waiting)
                if state.unwritten_len() > 0
                    && waiting.suspended.is_none()
                    && matches!(waiting.state, State::Ready(current) | State::Blocked(current) if current == link) =>
            {
                waiting.suspended = Some(link);
                state.suspend();
                self.links.insert(link, state);
                None
            }
            _ => Some(state),
        }
    }

    /// Dials for a destination whose link was suspended, when it has rested.
    pub(super) fn look_for_another(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(state) = self.links.get(&link) else { return };
        let at_once = state.began_after_silence();
        let Some(destination) = state.destination().cloned() else { return };
        if at_once || !self.rest_after_loss(now, &destination) {
            self.dial(now, &destination, out);
        }
    }

    /// A link that is about to be ready resumes the suspended one of its destination, and its peer has so many stanzas of that.
    pub(super) fn resumed(&mut self, now: Instant, link: LinkId, count: u32, out: &mut Outbox) {
        let destination = self.links.get(&link).and_then(Link::destination);
        let suspended = destination.and_then(|destination| self.destinations.get(destination)?.suspended);
        if let Some(suspended) = suspended {
            self.acknowledged(now, suspended, count, out);
        }
    }

    /// What a suspended link still holds goes to the front of the spool.
    pub(super) fn call_off(&mut self, destination: &Destination, out: &mut Outbox) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        let Some(mut state) = waiting.suspended.take().and_then(|link| self.links.remove(&link)) else {
            return;
        };
        let (side, doubtful) = (state.side(), state.doubtful());
        let unwritten = self.put_all_on_disk(state.take_unwritten(), out);
        if let Some(waiting) = self.destinations.get_mut(destination) {
            waiting.spool.put_back(unwritten);
        }
        self.side(side).repeated += doubtful as u64;
    }

    /// As [`Self::call_off`], for all destinations.
    pub(super) fn call_off_all(&mut self, out: &mut Outbox) {
        let suspended: Vec<Destination> = self
            .destinations
            .iter()
            .filter(|(_, waiting)| waiting.suspended.is_some())
            .map(|(destination, _)| destination.clone())
            .collect();
        for destination in suspended {
            self.call_off(&destination, out);
        }
    }
}
