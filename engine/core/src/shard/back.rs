//! Ways back: streams of partners that carry stanzas both ways (XEP-0288). Invariant: a destination still has one link; an accepted one
//! stands in the place of a dialed one, is begun only where none was being used or dialed, and is given up like any other when it is gone.

use std::time::Instant;

use super::Shard;
use super::deliver::State;
use crate::backend::Destination;
use crate::io::{Event, LinkId, Outbox, Side};
use crate::placement::owner_of_domain;

impl Shard {
    /// A partner's stream takes stanzas for his domain. Whoever was waiting for a better moment to be dialed for waits no more.
    pub(super) fn way_back(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: Destination,
        out: &mut Outbox,
    ) {
        let Destination::Pair { side: Side::Partners, theirs, .. } = &destination else { return };
        let is_ours = owner_of_domain(theirs.as_str(), self.world.shards) == self.index;
        if !is_ours || !link.is_accepted() || !self.links.contains_key(&link) {
            return;
        }
        self.ways_back.entry(destination.clone()).or_insert(link);
        let rests = |waiting: &super::Waiting| {
            matches!(waiting.state, State::Resting(_) | State::Idle)
                && (!waiting.spool.is_empty() || waiting.suspended.is_some())
        };
        if self.destinations.get(&destination).is_some_and(rests) {
            self.dial(now, &destination, out);
        }
    }

    /// Takes the way back to a destination, where there is one, in the place of a dial. Not at the end: what brings stanzas is ending.
    pub(super) fn go_back(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) -> bool {
        let Some(&link) = self.ways_back.get(destination).filter(|_| self.draining.is_none()) else {
            return false;
        };
        let (Some(state), Some(waiting)) =
            (self.links.get_mut(&link), self.destinations.get_mut(destination))
        else {
            return false;
        };
        state.set_destination(destination.clone());
        waiting.state = State::Opening(link, now);
        self.set_timer(destination);
        out.events.push_back(Event::Ready(link));
        true
    }

    /// A link is gone.
    pub(super) fn no_way_back(&mut self, link: LinkId) {
        if link.is_accepted() && !self.ways_back.is_empty() {
            self.ways_back.retain(|_, back| *back != link);
        }
    }
}
