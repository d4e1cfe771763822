//! A new configuration, and homes that come and go with it. Invariant: a home keeps its number, and with it its backend, its pool and its
//! counters, as long as the process lives; one that is gone is asked for nothing any more, what waited for it goes the way the directory
//! has now, and its streams end when what was under way on them has ended.
//!
//! A home that goes is retired after the users it had are elsewhere: until then it is served as before. A backend that was told to drain
//! stays that way, so a home that comes back under the same name is another one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::deliver::State;
use super::refusals::unreachable;
use super::{Shard, Timer, side_index};
use crate::backend::Destination;
use crate::home::{BackendKind, HomeId};
use crate::io::{Close, LinkId, NewBackends, Outbox, Side, Unreachable};
use crate::link::Link;
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::stanza::Stanza;
use crate::tally::SideTally;
use crate::world::World;

/// How long what is under way with a home that is gone may take before its links are closed.
const RETIRE_SECONDS: u64 = 5;

/// How often it is looked whether anything is.
const LOOK: Duration = Duration::from_millis(50);

/// Homes that are gone, and until when what is under way with them is waited for; nothing where that is over.
#[derive(Debug, Default)]
pub(super) struct Retired {
    homes: HashMap<HomeId, Option<Instant>>,
}

impl Shard {
    /// Backends of homes that are new; the world that knows these follows.
    pub(super) fn add_homes(&mut self, backends: NewBackends) {
        self.backends.extend(backends.0);
        self.tally.sides.resize(self.backends.len(), SideTally::default());
    }

    /// A new configuration.
    pub(super) fn configure(&mut self, now: Instant, world: Arc<World>, out: &mut Outbox) {
        for (id, home) in world.homes.all() {
            match self.pools.get_mut(usize::from(id.0)) {
                Some(pool) if pool.nodes().iter().map(|node| &node.host).eq(&home.connect) => {}
                Some(pool) => *pool = Pool::new(&home.connect),
                None => self.pools.push(Pool::new(&home.connect)),
            }
        }
        self.keeps_contacts |= world.homes.iter().any(|(_, home)| home.backend == BackendKind::Sip);
        self.presences.contacts.make_room(world.flow.room);
        self.world = world;
        for index in 0..self.backends.len() {
            // What a configuration says that does not know it is nothing to a backend that is about to end.
            let side = index.checked_sub(1).and_then(|home| u16::try_from(home).ok());
            if side.is_some_and(|home| self.is_retired(Side::Home(HomeId(home)))) {
                continue;
            }
            let world = Arc::clone(&self.world);
            self.backends[index].configure(now, &world, out);
            self.pump(now, out);
        }
    }

    /// Whether a side is that of a home that is gone.
    pub(super) fn is_retired(&self, side: Side) -> bool {
        match side {
            Side::Home(home) => !self.retired.homes.is_empty() && self.retired.homes.contains_key(&home),
            Side::Partners => false,
        }
    }

    /// A home is configured no more, and its users are elsewhere.
    pub(super) fn retire(&mut self, now: Instant, home: HomeId, out: &mut Outbox) {
        let (side, index) = (Side::Home(home), side_index(Side::Home(home)));
        if self.is_retired(side) || index >= self.backends.len() || self.draining.is_some() {
            return;
        }
        self.retired.homes.insert(home, Some(now + Duration::from_secs(RETIRE_SECONDS)));
        self.backends[index].drain(now, out);
        self.pump(now, out);
        for destination in self.destinations_of(side) {
            if !matches!(
                self.destinations.get(&destination).map(|waiting| &waiting.state),
                Some(State::Ready(_) | State::Blocked(_))
            ) {
                self.go_elsewhere(now, &destination, out);
            }
        }
        self.timers.set(now + LOOK, Timer::Retired(home));
    }

    /// Time to look whether anything is under way with a home that is gone.
    pub(super) fn retire_due(&mut self, now: Instant, home: HomeId, out: &mut Outbox) {
        let (side, index) = (Side::Home(home), side_index(Side::Home(home)));
        let Some(Some(until)) = self.retired.homes.get(&home).copied() else { return };
        if self.draining.is_some() || index >= self.backends.len() {
            return;
        }
        let is_late = now >= until;
        let waits = self.destinations_of(side).iter().any(|destination| {
            self.destinations
                .get(destination)
                .is_some_and(|waiting| !waiting.spool.is_empty() || waiting.suspended.is_some())
        });
        let under_way = waits
            || self.links.values().any(|link| link.side() == side && link.unwritten_len() > 0)
            || self.backends[index].kept() > 0
            || self.backends[index].is_listening();
        if under_way && !is_late {
            self.timers.set(now + LOOK, Timer::Retired(home));
            return;
        }
        self.retired.homes.insert(home, None);
        self.backends[index].leave(now, out);
        self.pump(now, out);
        let of_side = |(link, state): (&LinkId, &Link)| (state.side() == side).then_some(*link);
        let mut links: Vec<LinkId> = self.links.iter().filter_map(of_side).collect();
        links.sort_unstable();
        for link in links {
            out.close(link, Close::Flush);
        }
        for destination in self.destinations_of(side) {
            self.go_elsewhere(now, &destination, out);
        }
    }

    /// In an order that does not hang on how the table lies in memory.
    fn destinations_of(&self, side: Side) -> Vec<Destination> {
        let mut found: Vec<Destination> =
            self.destinations.keys().filter(|destination| destination.side() == side).cloned().collect();
        found.sort_by_cached_key(|destination| match destination {
            Destination::Pair { ours, theirs, .. } => (0, ours.to_string(), theirs.to_string()),
            Destination::Node { node, .. } => (*node, String::new(), String::new()),
        });
        found
    }

    /// What waits for a home that is gone goes the way that holds now.
    pub(super) fn go_elsewhere(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        self.call_off(destination, out);
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        if matches!(waiting.state, State::Resting(_)) {
            waiting.state = State::Idle;
        }
        for mut stanza in waiting.spool.take() {
            // It waited its turn once already.
            stanza.attempts = stanza.attempts.max(1);
            self.follow(now, stanza, out);
            self.pump(now, out);
        }
        self.relieve(now, destination, out);
        self.set_timer(destination);
    }

    /// The directory names a home that is gone: nobody is there.
    pub(super) fn no_such_home(&mut self, now: Instant, stanza: Stanza, out: &mut Outbox) {
        let refusal =
            gone_home().with_detail("the home of the recipient is not in the configuration any more");
        self.refuse(now, stanza, refusal, out);
    }
}

fn gone_home() -> Refusal {
    unreachable(Unreachable::NoAnswer, "the recipient's server")
}
