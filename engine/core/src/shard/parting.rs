//! Links and destinations part. Invariant: what a link had not written, or its peer not acknowledged, stands in front of what waits
//! before anything else is done with its destination.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use super::deliver::{State, destination_name};
use super::refusals::{full, unreachable};
use crate::backend::Destination;
use crate::io::{Closed, Event, LinkId, Outbox, Side, Unreachable};
use crate::link::Link;
use crate::notice::Notice;
use crate::pool::backoff;
use crate::refusal::Refusal;
use crate::stanza::Stanza;

impl Shard {
    /// The link takes no more stanzas: refused, or closing in order.
    pub(super) fn unready(&mut self, now: Instant, link: LinkId, refusal: Option<Refusal>, out: &mut Outbox) {
        let Some(destination) = self.links.get(&link).and_then(Link::destination).cloned() else { return };
        if let (None, Some(waiting)) = (&refusal, self.destinations.get_mut(&destination)) {
            if waiting.link() == Some(link) {
                waiting.state = State::Closing(link, now);
                self.set_timer(&destination);
            }
            return;
        }
        self.part(now, &destination, link, refusal, out);
    }

    /// A dial came to nothing.
    pub(super) fn dial_failed(
        &mut self,
        now: Instant,
        link: LinkId,
        why: Unreachable,
        text: Arc<str>,
        out: &mut Outbox,
    ) {
        let Some(state) = self.links.remove(&link) else { return };
        let side = state.side();
        self.side(side).failed += 1;
        self.backend(side).closed(now, link, &Closed::Broken(Arc::clone(&text)), out);
        if let Some(destination) = state.destination().cloned() {
            let name = destination_name(&destination);
            out.note(unreached(side), side, link, &name, format!("cannot be reached: {text}"));
            self.part(now, &destination, link, Some(unreachable(why, &name).with_detail(&*text)), out);
        }
    }

    /// A link is gone: what it had not written, or its peer not acknowledged, goes back in front of what waits.
    pub(super) fn link_lost(
        &mut self,
        now: Instant,
        link: LinkId,
        mut state: Link,
        why: &Closed,
        out: &mut Outbox,
    ) {
        let Some(destination) = state.destination().cloned() else { return };
        self.side(state.side()).repeated += state.doubtful() as u64;
        let unwritten = self.put_all_on_disk(state.take_unwritten(), out);
        let opening = match self.destinations.get_mut(&destination) {
            Some(waiting) => {
                waiting.spool.put_back(unwritten);
                matches!(waiting.state, State::Opening(opening, _) if opening == link)
            }
            None => false,
        };
        let text = match why {
            Closed::Eof => "the server closed the connection",
            Closed::Broken(text) => text,
            Closed::Ours => "closed here",
        };
        let refusal = opening.then(|| {
            let name = destination_name(&destination);
            let what = format!("cannot be reached: the connection ended before it could be used: {text}");
            out.note(unreached(state.side()), state.side(), link, &name, what);
            unreachable(Unreachable::NoAnswer, &name).with_detail(text)
        });
        self.part(now, &destination, link, refusal, out);
    }

    /// A destination and a link part. With a refusal the attempt has failed: it rests, and what waits for a partner is bounced;
    /// without one it was good until now, and is dialed again if anything waits.
    pub(super) fn part(
        &mut self,
        now: Instant,
        destination: &Destination,
        link: LinkId,
        refusal: Option<Refusal>,
        out: &mut Outbox,
    ) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        if waiting.link() != Some(link) {
            // An older link of this destination; what it gave back waits for the current one.
            if matches!(waiting.state, State::Idle) && !waiting.spool.is_empty() {
                self.dial(now, destination, out);
            }
            return;
        }
        let Some(refusal) = refusal else {
            waiting.state = State::Resting(now);
            self.call_off(destination, out);
            self.take_back(now, out);
            self.redial(now, destination, out);
            return;
        };
        waiting.failures = waiting.failures.saturating_add(1);
        self.call_off(destination, out);
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        let rest = backoff(waiting.failures, &mut self.random);
        waiting.state = State::Resting(now + rest);
        let home = match (destination.side(), waiting.node) {
            (Side::Home(home), Some(node)) => Some((home, node)),
            _ => None,
        };
        if let Some((home, node)) = home
            && let Some(pool) = self.pools.get_mut(usize::from(home.0))
        {
            pool.fail(node, now, &mut self.random);
        }
        self.not_reached(now, destination.side());
        self.take_back(now, out);
        if let Some((home, _)) = home {
            self.move_to_other_nodes(now, destination, home, out);
        } else if let Some(waiting) = self.destinations.get_mut(destination) {
            for stanza in waiting.spool.take() {
                self.refuse(now, stanza, refusal.clone(), out);
            }
        }
        self.relieve(now, destination, out);
        self.set_timer(destination);
    }

    /// Dials again if anything waits.
    pub(super) fn redial(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        waiting.state = State::Idle;
        if waiting.spool.is_empty() {
            self.set_timer(destination);
        } else {
            self.dial(now, destination, out);
        }
    }

    /// Takes what backends have just given back before anything else is done with the spools: it is older than what waits there.
    pub(super) fn take_back(&mut self, now: Instant, out: &mut Outbox) {
        let (given_back, rest): (VecDeque<Event>, VecDeque<Event>) = std::mem::take(&mut out.events)
            .into_iter()
            .partition(|event| matches!(event, Event::Done(_, Err(_))));
        out.events = rest;
        for event in given_back {
            if let Event::Done(stanza, Err(refusal)) = event {
                self.given_back(now, *stanza, refusal, out);
            }
        }
    }

    pub(super) fn give_back(&mut self, now: Instant, destination: &Destination, mut stanza: Stanza, out: &mut Outbox) {
        self.put_on_disk(&mut stanza, out);
        if let Some(waiting) = self.destinations.get_mut(destination) {
            waiting.spool.put_back(std::iter::once(stanza));
            waiting.state = State::Idle;
            self.dial(now, destination, out);
        } else {
            self.refuse(now, stanza, full("the way is gone"), out);
        }
    }
}

/// That a peer of that side cannot be reached.
fn unreached(side: Side) -> Notice {
    match side {
        Side::Partners => Notice::PartnerDown,
        Side::Home(_) => Notice::NodeDown,
    }
}
