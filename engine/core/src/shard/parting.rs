//! Links and destinations part. Invariant: what a link had not written, or its peer not acknowledged, stands in front of what waits
//! before anything else is done with its destination; and what waits is given up for what time will not mend, or for its age, and for
//! nothing else.
//!
//! After an attempt that failed the destination rests, longer each time, at random and up to a bound (RFC 6120 §3.3). After the loss of a
//! stream that was good it rests for a random time too, so that all who lost a server do not come back to it together (XS-16); unless the
//! stream was closed in order, or what it last carried was the first after a silence: then an idle connection was closed just before,
//! and there is nothing to wait for (XS-18). A partner who opens a stream to us is there, so that ends a rest (`seen`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shard;
use super::deliver::{State, destination_name};
use super::refusals::{full, unreachable};
use crate::backend::Destination;
use crate::io::{Closed, Event, Handoff, LinkId, Outbox, Output, Side, Unreachable};
use crate::jid::Domain;
use crate::link::Link;
use crate::notice::Notice;
use crate::placement::owner_of_domain;
use crate::pool::backoff;
use crate::refusal::{Refusal, Retry};
use crate::stanza::Stanza;

/// Why a destination and its link part.
pub(super) enum Parting {
    /// The attempt failed; waiting may help.
    Failed(Refusal),
    /// It failed for something that time will not mend.
    Hopeless(Refusal),
    /// The link was good, and its end was in order or explains itself.
    Over,
    /// The link was good, and broke.
    Lost,
}

impl Parting {
    /// As a backend says it.
    fn of(refusal: Option<Refusal>) -> Self {
        match refusal {
            None => Self::Over,
            Some(refusal) if refusal.retry == Retry::Never => Self::Hopeless(refusal),
            Some(refusal) => Self::Failed(refusal),
        }
    }
}

/// The longest wait for a stream that may be resumed: its peer remembers it for as long as it likes, and what it carried is nowhere else.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(5);

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
        self.part(now, &destination, link, Parting::of(refusal), out);
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
            let refusal = unreachable(why, &name).with_detail(&*text);
            let why = if why == Unreachable::NotFound {
                Parting::Hopeless(refusal)
            } else {
                Parting::Failed(refusal)
            };
            self.part(now, &destination, link, why, out);
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
        let in_order = *why == Closed::Ours || state.began_after_silence();
        let unwritten = self.put_all_on_disk(state.take_unwritten(), out);
        let (opening, closing) = match self.destinations.get_mut(&destination) {
            Some(waiting) => {
                waiting.spool.put_back(unwritten);
                (
                    matches!(waiting.state, State::Opening(opening, _) if opening == link),
                    matches!(waiting.state, State::Closing(..)),
                )
            }
            None => (false, false),
        };
        let text = match why {
            Closed::Eof => "the server closed the connection",
            Closed::Broken(text) => text,
            Closed::Ours => "closed here",
        };
        let why = if opening {
            let name = destination_name(&destination);
            let what = format!("cannot be reached: the connection ended before it could be used: {text}");
            out.note(unreached(state.side()), state.side(), link, &name, what);
            Parting::Failed(unreachable(Unreachable::NoAnswer, &name).with_detail(text))
        } else if closing || in_order {
            Parting::Over
        } else {
            Parting::Lost
        };
        self.part(now, &destination, link, why, out);
    }

    /// A destination and a link part. What waits goes on waiting, and is dialed for when the destination has rested; what can be
    /// taken elsewhere goes there, and where there is no hope it is bounced.
    pub(super) fn part(
        &mut self,
        now: Instant,
        destination: &Destination,
        link: LinkId,
        why: Parting,
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
        match why {
            Parting::Over | Parting::Lost => {
                waiting.state = State::Resting(now);
                let lost = matches!(why, Parting::Lost);
                self.call_off(destination, out);
                self.take_back(now, out);
                if !(lost && self.rest_after_loss(now, destination)) {
                    self.redial(now, destination, out);
                }
            }
            Parting::Failed(refusal) => self.failed(now, destination, refusal, false, out),
            Parting::Hopeless(refusal) => self.failed(now, destination, refusal, true, out),
        }
    }

    /// An attempt to reach a destination failed.
    fn failed(
        &mut self,
        now: Instant,
        destination: &Destination,
        refusal: Refusal,
        hopeless: bool,
        out: &mut Outbox,
    ) {
        self.call_off(destination, out);
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        waiting.failures = waiting.failures.saturating_add(1);
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
            if hopeless {
                for stanza in waiting.spool.take() {
                    self.refuse(now, stanza, refusal.clone(), out);
                }
            } else {
                waiting.last_failure = Some(Box::new(refusal));
            }
        }
        self.relieve(now, destination, out);
        self.set_timer(destination);
    }

    /// A good stream to a partner broke: it is dialed again after a random time, whether something waits or not. False where there is nothing to
    /// wait for: a home has no other routers that would come back to it at the same time, a router that stops has no time, and a partner's own
    /// stream may be there to take its place.
    pub(super) fn rest_after_loss(&mut self, now: Instant, destination: &Destination) -> bool {
        let seconds = self.world.policy.limits().reconnect_seconds;
        let is_stopping = self.draining.is_some();
        let there_is_another = self.ways_back.contains_key(destination);
        if destination.side() != Side::Partners || seconds == 0 || is_stopping || there_is_another {
            return false;
        }
        let Some(waiting) = self.destinations.get_mut(destination) else { return false };
        let mut longest = Duration::from_secs(seconds.into());
        if waiting.suspended.is_some() {
            longest = longest.min(RESUME_WAIT_MAX);
        }
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        waiting.state =
            State::Resting(now + Duration::from_millis(self.random.below(millis.saturating_add(1))));
        self.set_timer(destination);
        true
    }

    /// A partner has opened a stream to us, on some shard, so he is there: what waits for him is dialed for now.
    pub(super) fn seen(&mut self, now: Instant, theirs: &Domain, out: &mut Outbox) {
        let owner = owner_of_domain(theirs.as_str(), self.world.shards);
        if owner != self.index {
            out.outputs.push(Output::Handoff(owner, Handoff::Seen(theirs.clone())));
            return;
        }
        for ours in self.world.domains.clone() {
            let destination = Destination::Pair { side: Side::Partners, ours, theirs: theirs.clone() };
            let Some(waiting) = self.destinations.get_mut(&destination) else { continue };
            if !matches!(waiting.state, State::Resting(_)) {
                continue;
            }
            if waiting.suspended.is_some() {
                self.dial(now, &destination, out);
            } else {
                self.redial(now, &destination, out);
            }
        }
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

    pub(super) fn give_back(
        &mut self,
        now: Instant,
        destination: &Destination,
        mut stanza: Stanza,
        out: &mut Outbox,
    ) {
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
