//! Destinations: the way from a route to a link. Invariant: a destination has at most one link, one spool and one timer; a stanza
//! goes to the link only when nothing older waits in the spool, so the order of arrival is the order of delivery.

use std::time::{Duration, Instant};

use super::parting::Parting;
use super::pressure::{Full, beyond_share};
use super::refusals::{full, too_late, unreachable};
use super::{Shard, Timer};
use crate::backend::{Destination, Sent};
use crate::home::BackendKind;
use crate::io::{Close, Handoff, LinkId, Outbox, Output, Side, Unreachable};
use crate::jid::Domain;
use crate::limits::{CLOSE_SECONDS, CONNECT_SECONDS, FLUSH_BYTES};
use crate::link::Link;
use crate::placement::{owner_of_domain, owner_of_user};
use crate::refusal::Refusal;
use crate::route::Route;
use crate::run::Load;
use crate::spool::Spool;
use crate::stanza::{Kind, Stanza};
use crate::timers::TimerId;
use crate::trace::Step;

/// A destination and what waits for it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) spool: Spool,
    pub(super) state: State,
    pub(super) failures: u32,
    /// Why the last attempt failed: what waits is told this when its time is up.
    pub(super) last_failure: Option<Box<Refusal>>,
    /// The node of the pool the link was dialed to.
    pub(super) node: Option<u16>,
    timer: Option<TimerId>,
    /// The last link it had, gone and perhaps to be resumed: what that holds is older than the spool.
    pub(super) suspended: Option<LinkId>,
    /// Links whose share of the spool is full.
    pub(super) full: Vec<Full>,
}

/// Where a destination stands.
#[derive(Debug, Default)]
pub(super) enum State {
    /// No link, none wanted.
    #[default]
    Idle,
    /// Dialed at this time; not ready yet.
    Opening(LinkId, Instant),
    /// Carries stanzas.
    Ready(LinkId),
    /// Carried stanzas and takes none until its backend says `Ready` again.
    Blocked(LinkId),
    /// Takes no more stanzas since this time; what it has not written may still be. The destination is dialed anew when the link
    /// is gone, so that nothing overtakes that.
    Closing(LinkId, Instant),
    /// The last attempt failed: not before this.
    Resting(Instant),
}

impl Waiting {
    /// Whether it has to be reached anew: the last attempt failed, or the link broke.
    pub(super) fn is_away(&self) -> bool {
        self.failures > 0 || matches!(self.state, State::Resting(_))
    }

    /// The link it has, whatever that can do.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Idle | State::Resting(_) => None,
            State::Opening(link, _) | State::Ready(link) | State::Blocked(link) | State::Closing(link, _) => {
                Some(link)
            }
        }
    }
}

impl Shard {
    /// Goes the way of a route: here, or on the shard that owns it.
    pub(super) fn forward(&mut self, now: Instant, stanza: Stanza, route: Route, out: &mut Outbox) {
        let side = match route {
            Route::Home(home) => Side::Home(home),
            Route::Own | Route::Partner { .. } => Side::Partners,
        };
        if !stanza.made {
            let (from, to) = (stanza.from.domain(), stanza.to.domain());
            self.note_brought(now, side, (stanza.origin.link, 1), from, to);
        }
        match route {
            Route::Own => self.follow(now, stanza, out),
            Route::Home(home) if self.is_retired(Side::Home(home)) => self.no_such_home(now, stanza, out),
            Route::Partner { ours, theirs } => {
                let owner = owner_of_domain(theirs.as_str(), self.world.shards);
                if owner == self.index {
                    self.deliver(now, Destination::Pair { side: Side::Partners, ours, theirs }, stanza, out);
                } else {
                    self.hand_over(now, owner, stanza, Route::Partner { ours, theirs }, out);
                }
            }
            Route::Home(home) => match self.world.homes.get(home).map(|home| home.backend) {
                Some(BackendKind::Sip) => {
                    let owner = owner_of_user(stanza.to.bare_str(), self.world.shards);
                    if owner == self.index {
                        self.admit(now, home, stanza, out);
                    } else {
                        self.hand_over(now, owner, stanza, Route::Home(home), out);
                    }
                }
                _ => {
                    let (ours, theirs) = (Domain::from(&stanza.from), Domain::from(&stanza.to));
                    if let Some(owner) = self.detour(&ours, &theirs) {
                        return self.hand_over(now, owner, stanza, Route::Home(home), out);
                    }
                    self.deliver(
                        now,
                        Destination::Pair { side: Side::Home(home), ours, theirs },
                        stanza,
                        out,
                    );
                }
            },
        }
    }

    fn hand_over(&mut self, now: Instant, owner: u16, stanza: Stanza, route: Route, out: &mut Outbox) {
        self.flow(stanza.made).handed_out += 1;
        self.trace.step(now, &stanza, Step::HandedTo(owner), stanza.origin.side);
        out.outputs.push(Output::Handoff(owner, Handoff::Stanza(stanza, route)));
    }

    /// Gives a stanza to a destination: to its link when nothing older waits, else to its spool.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        destination: Destination,
        mut stanza: Stanza,
        out: &mut Outbox,
    ) {
        if !self.make_room(&destination) {
            self.refuse(now, stanza, full("too many destinations at once"), out);
            return;
        }
        if let Some(link) = self.open_link(&destination) {
            self.send(now, link, &destination, stanza, out);
            return;
        }
        let source = (stanza.origin.side, if stanza.made { LinkId::NONE } else { stanza.origin.link });
        if stanza.attempts == 0 && !self.may_wait(&destination, source, stanza.len()) {
            self.refuse(now, stanza, beyond_share(), out);
            return;
        }
        if self.spooled_bytes_bound + stanza.len() > self.world.flow.room.shard_spool_bytes {
            self.refuse(now, stanza, full("too much waits in the router"), out);
            return;
        }
        self.spooled_bytes_bound += stanza.len();
        self.put_on_disk(&mut stanza, out);
        self.trace.step(now, &stanza, Step::Waits, destination.side());
        let Some(waiting) = self.destinations.get_mut(&destination) else { return };
        if stanza.attempts > 0 && self.returning {
            waiting.spool.restore(stanza);
        } else if stanza.attempts > 0 {
            waiting.spool.restore_behind(stanza);
        } else if let Err(stanza) = waiting.spool.push(stanza, &self.world.flow.room) {
            self.refuse(now, stanza, full("too many stanzas wait for this server"), out);
            return;
        }
        if let State::Idle = waiting.state {
            self.dial(now, &destination, out);
        } else {
            self.set_timer(&destination);
        }
        self.press(now, &destination, source, out);
    }

    /// Sees to it that a destination is known. False: there are too many.
    fn make_room(&mut self, destination: &Destination) -> bool {
        if !self.destinations.contains_key(destination) {
            if self.destinations.len() >= self.world.flow.room.destinations && !self.forget_idle() {
                return false;
            }
            self.destinations.insert(destination.clone(), Waiting::default());
        }
        true
    }

    /// The link of a destination, if it takes something now and nothing older waits.
    pub(super) fn open_link(&self, destination: &Destination) -> Option<LinkId> {
        let waiting = self.destinations.get(destination)?;
        let State::Ready(link) = waiting.state else { return None };
        let open = waiting.spool.is_empty() && self.has_credit(link);
        open.then_some(link)
    }

    fn has_credit(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| link.has_credit(&self.world.flow))
    }

    fn send(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: &Destination,
        stanza: Stanza,
        out: &mut Outbox,
    ) {
        self.trace.step(now, &stanza, Step::Given, destination.side());
        match self.send_by_backend(now, link, destination.side(), stanza, out) {
            Sent::OnWrite(stanza) => {
                self.account(out);
                match self.links.get_mut(&link) {
                    Some(link) => link.push(stanza),
                    None => self.give_back(now, destination, stanza, out),
                }
            }
            Sent::Kept => (),
            Sent::Answered(stanza) => self.delivered(now, stanza, out),
            Sent::NotNow(mut stanza) => {
                self.put_on_disk(&mut stanza, out);
                let returning = self.returning && stanza.attempts > 0;
                if let Some(waiting) = self.destinations.get_mut(destination) {
                    if returning {
                        // Those of the same read that are given back after it are younger.
                        waiting.spool.restore(stanza);
                    } else {
                        waiting.spool.put_back(std::iter::once(stanza));
                    }
                    waiting.state = State::Blocked(link);
                    self.set_timer(destination);
                }
            }
            Sent::Refused(stanza, refusal) => self.refuse(now, stanza, refusal, out),
        }
    }

    /// Presence to a pool goes with what holds between the two users.
    fn send_by_backend(
        &mut self,
        now: Instant,
        link: LinkId,
        side: Side,
        stanza: Stanza,
        out: &mut Outbox,
    ) -> Sent {
        match (stanza.kind, side) {
            (Kind::Presence(_), Side::Home(home)) if self.is_pool(home) => {
                let (local, partner) = (stanza.to.bare_str(), stanza.from.bare_str());
                let contact = self.presences.contacts.get(local, partner).cloned().unwrap_or_default();
                self.backend(side).presence(now, link, stanza, &contact, out)
            }
            _ => self.backend(side).send(now, link, stanza, out),
        }
    }

    /// Sends what waits as long as the link takes it, and no more at once than others can wait for. When that is written, it goes on.
    pub(super) fn flush(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        let mut begun = None;
        loop {
            let Some(waiting) = self.destinations.get_mut(destination) else { return };
            let State::Ready(link) = waiting.state else { return self.relieve(now, destination, out) };
            let state = self.links.get(&link);
            let unwritten = state.map_or(0, Link::unwritten_bytes);
            let enough = unwritten >= *begun.get_or_insert(unwritten) + FLUSH_BYTES;
            let has_credit = !enough && state.is_some_and(|link| link.has_credit(&self.world.flow));
            let load = if has_credit { waiting.spool.pop() } else { None };
            match load {
                Some(Load::One(stanza)) => self.send(now, link, destination, stanza, out),
                Some(Load::Run(run)) => self.send_run(now, link, destination, run, out),
                None => return self.relieve(now, destination, out),
            }
        }
    }

    /// Begins an attempt to reach a destination.
    pub(super) fn dial(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        if self.is_retired(destination.side()) {
            return self.go_elsewhere(now, destination, out);
        }
        if self.go_back(now, destination, out) {
            return;
        }
        let node = match destination {
            Destination::Pair { side: Side::Partners, .. } => None,
            Destination::Pair { side: Side::Home(home), ours, theirs } => {
                let pool = self.pools.get_mut(usize::from(home.0));
                Some(pool.map_or(Err(None), |pool| pool.pick_to_dial(&format!("{ours} {theirs}"), now)))
            }
            Destination::Node { side, node } => {
                if let Side::Home(home) = side
                    && let Some(pool) = self.pools.get_mut(usize::from(home.0))
                {
                    pool.probe(*node, now);
                }
                Some(Ok(*node))
            }
        };
        if matches!(node, Some(Err(_))) {
            self.call_off(destination, out);
        }
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        let node = match node {
            None => None,
            Some(Ok(node)) => Some(node),
            Some(Err(again)) => {
                waiting.state = State::Resting(again.unwrap_or(now + Duration::from_secs(1)));
                self.set_timer(destination);
                return;
            }
        };
        let link = out.next_link();
        waiting.state = State::Opening(link, now);
        waiting.node = node;
        let host = match (destination.side(), node) {
            (Side::Home(home), Some(node)) => self
                .pools
                .get(usize::from(home.0))
                .and_then(|pool| pool.node(node))
                .map(|node| node.host.clone()),
            _ => None,
        };
        self.links.insert(link, Link::new(destination.side(), Some(destination.clone())));
        self.set_timer(destination);
        self.backend(destination.side()).dial(now, link, destination, host.as_ref(), out);
    }

    /// The link carries stanzas.
    pub(super) fn ready(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(destination) = self.links.get(&link).and_then(Link::destination).cloned() else { return };
        let Some(waiting) = self.destinations.get_mut(&destination) else { return };
        match waiting.state {
            State::Opening(current, _) | State::Blocked(current) if current == link => (),
            State::Idle
            | State::Resting(_)
            | State::Opening(..)
            | State::Ready(_)
            | State::Blocked(_)
            | State::Closing(..) => return,
        }
        waiting.state = State::Blocked(link);
        (waiting.failures, waiting.last_failure) = (0, None);
        let node = waiting.node;
        self.heard_of(now, destination.side(), out);
        if let (Side::Home(home), Some(node)) = (destination.side(), node)
            && let Some(pool) = self.pools.get_mut(usize::from(home.0))
        {
            pool.succeed(node);
        }
        // While the link is still closed to stanzas: what comes back now was given before what waits.
        self.call_off(&destination, out);
        self.take_back(now, out);
        if let Some(waiting) = self.destinations.get_mut(&destination)
            && waiting.link() == Some(link)
        {
            waiting.state = State::Ready(link);
        }
        self.set_timer(&destination);
        self.flush(now, &destination, out);
    }

    /// A destination's timer: an attempt took too long, a rest is over, or a stanza waited too long.
    pub(super) fn destination_due(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        waiting.timer = None;
        let name = destination_name(destination);
        let expired = waiting.spool.expired(now);
        if !expired.is_empty() {
            let refusal = match &waiting.last_failure {
                Some(refusal) => too_late(refusal),
                None => unreachable(Unreachable::NoAnswer, &name).with_detail("it waited too long"),
            };
            for stanza in expired {
                self.refuse(now, stanza, refusal.clone(), out);
            }
        }
        self.relieve(now, destination, out);
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        match waiting.state {
            State::Opening(link, since) if now >= since + Duration::from_secs(CONNECT_SECONDS) => {
                out.close(link, Close::Abort);
                let refusal = unreachable(Unreachable::NoAnswer, &name)
                    .with_detail(format!("no stream after {CONNECT_SECONDS} s"));
                self.part(now, destination, link, Parting::Failed(refusal), out);
            }
            State::Resting(until) if until <= now => {
                // What was for a node that failed goes to others meanwhile: nothing but an attempt shows that it is back.
                let probe = self.draining.is_none()
                    && match destination {
                        Destination::Node { side: Side::Home(home), node } => {
                            self.pools.get(usize::from(home.0)).is_some_and(|pool| pool.is_failing(*node))
                        }
                        Destination::Node { .. } | Destination::Pair { .. } => false,
                    };
                if waiting.spool.is_empty() && waiting.suspended.is_none() && !probe {
                    waiting.state = State::Idle;
                } else {
                    self.dial(now, destination, out);
                }
            }
            State::Closing(link, since) if now >= since + Duration::from_secs(CLOSE_SECONDS) => {
                out.close(link, Close::Abort);
                waiting.state = State::Closing(link, now);
                self.set_timer(destination);
            }
            State::Idle
            | State::Opening(..)
            | State::Ready(_)
            | State::Blocked(_)
            | State::Closing(..)
            | State::Resting(_) => self.set_timer(destination),
        }
    }

    /// Sets the one timer of a destination to the earliest thing it waits for.
    pub(super) fn set_timer(&mut self, destination: &Destination) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        if let Some(timer) = waiting.timer.take() {
            self.timers.cancel(timer);
        }
        let state = match waiting.state {
            State::Opening(_, since) => Some(since + Duration::from_secs(CONNECT_SECONDS)),
            State::Resting(until) => Some(until),
            State::Closing(_, since) => Some(since + Duration::from_secs(CLOSE_SECONDS)),
            State::Idle | State::Ready(_) | State::Blocked(_) => None,
        };
        if let Some(at) = crate::io::earlier(state, waiting.spool.next_expiry()) {
            waiting.timer = Some(self.timers.set(at, Timer::Destination(destination.clone())));
        }
    }

    /// Makes room among the destinations. False when none is idle.
    fn forget_idle(&mut self) -> bool {
        let before = self.destinations.len();
        self.destinations.retain(|_, waiting| {
            !matches!(waiting.state, State::Idle) || !waiting.spool.is_empty() || !waiting.full.is_empty()
        });
        self.destinations.len() < before
    }
}

/// How logs and errors call a destination.
pub(super) fn destination_name(destination: &Destination) -> String {
    match destination {
        Destination::Pair { theirs, .. } => theirs.to_string(),
        Destination::Node { node, .. } => format!("node {node}"),
    }
}
