//! Users being moved. Invariant: while a user is held, every stanza for him waits here in the order it came, bounded by count;
//! after the release they follow in that order before any later one. What one link brought of it is bounded like what waits for one
//! destination: [`super::pressure`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::deliver::Waiting;
use super::pressure::{Full, beyond_share_of_held};
use super::refusals::full;
use super::{Shard, Timer};
use crate::backend::Destination;
use crate::home::{HomeId, Residence};
use crate::io::{LinkId, MoveOrder, Outbox, Output, Side};
use crate::limits::{MOVE_GRACE_SECONDS, MOVE_SETTLE_MILLIS};
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::spool::{Shares, Spool, source};
use crate::stanza::Stanza;
use crate::trace::Step;

/// How often a shard looks whether a move has settled.
const LOOK_MILLIS: u64 = 2;

/// What is held on this shard.
#[derive(Debug, Default)]
pub(super) struct Holds {
    users: HashMap<Arc<str>, Held>,
    /// What is held, by the link that brought it.
    shares: Shares,
    /// Links whose share is full.
    pub(super) full: Vec<Full>,
    orders: HashMap<u64, Order>,
    /// A timer to look again is set.
    looking: bool,
    /// Homes just left, and until when what is under way from there is let through.
    left: HashMap<Arc<str>, (HomeId, Instant)>,
}

#[derive(Debug, Default)]
struct Held {
    spool: Spool,
    was_home: Option<HomeId>,
    /// Moves under way that name him: he is let go with the last of them, as each counts on nothing being under way.
    orders: usize,
}

#[derive(Debug)]
struct Order {
    order: Arc<MoveOrder>,
    /// `Settle` was asked; the answer is owed.
    settling: bool,
    /// Since when nothing for its users is under way here.
    quiet_since: Option<Instant>,
}

impl Holds {
    /// Users held.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// Stanzas held.
    pub(super) fn stanzas(&self) -> usize {
        if self.users.is_empty() { 0 } else { self.users.values().map(|held| held.spool.len()).sum() }
    }

    /// Stanzas held for this user.
    pub(super) fn waiting_for(&self, bare: &str) -> usize {
        self.users.get(bare).map_or(0, |held| held.spool.len())
    }

    /// Stanzas held that the router made.
    pub(super) fn made(&self) -> usize {
        if self.users.is_empty() { 0 } else { self.users.values().map(|held| held.spool.made()).sum() }
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        if self.users.is_empty() { 0 } else { self.users.values().map(|held| held.spool.bytes()).sum() }
    }

    /// Octets held of what this link brought.
    pub(super) fn share(&self, link: LinkId) -> usize {
        self.shares.of(link)
    }

    /// The most octets held of what one link brought.
    pub(super) fn largest_share(&self) -> usize {
        self.shares.largest()
    }

    /// Bytes held of what links brought.
    pub(super) fn brought_bytes(&self) -> usize {
        self.shares.total()
    }

    /// Takes all that is held; the users stay held.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Stanza> {
        self.shares.clear();
        self.users.values_mut().flat_map(|held| held.spool.take())
    }

    /// Whether a stanza between these two, bare, is to be looked at closely: its recipient is held, or its sender spoke from another
    /// home until just now.
    pub(super) fn concern(&self, to: &str, from: &str, side: Side) -> bool {
        (!self.users.is_empty() && (self.users.contains_key(to) || self.users.contains_key(from)))
            || (side != Side::Partners && !self.left.is_empty() && self.left.contains_key(from))
    }

    /// Whether [`Self::concern`] is no for everybody.
    pub(super) fn concern_nobody(&self, side: Side) -> bool {
        self.users.is_empty() && (side == Side::Partners || self.left.is_empty())
    }

    /// The home the sender of a stanza left just now.
    pub(super) fn was_home(&self, stanza: &Stanza, now: Instant) -> Option<HomeId> {
        if (self.left.is_empty() && self.users.is_empty()) || stanza.origin.side == Side::Partners {
            return None;
        }
        // The directory changes before the release comes here: until then the home he had when the hold came is still his.
        if let Some(held) = self.users.get(stanza.from.bare_str()) {
            return held.was_home;
        }
        self.left.get(stanza.from.bare_str()).filter(|(_, until)| *until > now).map(|(home, _)| *home)
    }
}

impl Shard {
    /// Keeps a stanza whose recipient is being moved. `None`: it is kept. Otherwise it comes back, to go on or to be refused.
    pub(super) fn hold_back(
        &mut self,
        now: Instant,
        mut stanza: Stanza,
        out: &mut Outbox,
    ) -> Option<Result<Stanza, (Stanza, Refusal)>> {
        if self.holds.users.is_empty() {
            return Some(Ok(stanza));
        }
        if !self.holds.users.contains_key(stanza.to.bare_str()) {
            return Some(Ok(stanza));
        }
        // What is held counts to what the shard may have waiting, as whoever brings it is not stopped.
        let len = stanza.len();
        if self.spooled_bytes_bound + len > self.world.flow.room.shard_spool_bytes {
            return Some(Err((stanza, full("too much waits in the router"))));
        }
        let (side, link) = (stanza.origin.side, source(&stanza));
        let towards = self.side_towards(&stanza);
        if let Some(link) = self.links.get_mut(&link) {
            link.brought.note(now, towards, stanza.from.domain(), stanza.to.domain());
        }
        if !self.may_be_held(side, link, len) {
            return Some(Err((stanza, beyond_share_of_held())));
        }
        self.put_held_on_disk(&mut stanza, out);
        let Some(held) = self.holds.users.get_mut(stanza.to.bare_str()) else { return Some(Ok(stanza)) };
        self.spooled_bytes_bound += len;
        self.trace.step(now, &stanza, Step::Held, side);
        match held.spool.push(stanza, &self.world.flow.room) {
            Ok(()) => {
                self.holds.shares.add(link, len);
                self.press_held(now, side, link, out);
                None
            }
            Err(stanza) => Some(Err((
                stanza,
                Refusal::new(
                    Condition::ResourceConstraint,
                    Blame::Router,
                    Retry::Later,
                    Bounce::Yes,
                    "too many stanzas wait for this user",
                ),
            ))),
        }
    }

    /// Step 1 of a move.
    pub(super) fn hold(&mut self, order: &Arc<MoveOrder>, out: &mut Outbox) {
        for user in &order.users {
            let was_home = match self.directory.look_up(user).map(|user| user.residence) {
                Some(Residence::Home(home)) => Some(home),
                _ => None,
            };
            let held = self.holds.users.entry(Arc::clone(user)).or_default();
            if held.orders == 0 {
                held.was_home = was_home;
            }
            held.orders += 1;
        }
        self.holds
            .orders
            .insert(order.id, Order { order: Arc::clone(order), settling: false, quiet_since: None });
        out.outputs.push(Output::Holding(order.id));
    }

    /// Step 2 of a move.
    pub(super) fn begin_settling(&mut self, now: Instant, id: u64, out: &mut Outbox) {
        if let Some(order) = self.holds.orders.get_mut(&id) {
            order.settling = true;
            self.settle_moves(now, out);
        }
    }

    /// The timer that was set to look again is due.
    pub(super) fn look_again(&mut self, now: Instant, out: &mut Outbox) {
        self.holds.looking = false;
        self.settle_moves(now, out);
    }

    /// Says `Settled` for every move that has nothing under way here any more.
    fn settle_moves(&mut self, now: Instant, out: &mut Outbox) {
        let mut open: Vec<u64> =
            self.holds.orders.iter().filter(|(_, order)| order.settling).map(|(id, _)| *id).collect();
        open.sort_unstable();
        let mut again = false;
        for id in open {
            let under_way = self.under_way(id);
            let Some(order) = self.holds.orders.get_mut(&id) else { continue };
            if under_way {
                order.quiet_since = None;
            }
            if under_way
                || now < *order.quiet_since.get_or_insert(now) + Duration::from_millis(MOVE_SETTLE_MILLIS)
            {
                again = true;
                continue;
            }
            order.settling = false;
            out.outputs.push(Output::Settled(id));
        }
        // The coordinator gives a move up after its time; until its release comes, looking costs little.
        if again && !self.holds.looking {
            self.holds.looking = true;
            self.timers.set(now + Duration::from_millis(LOOK_MILLIS), Timer::Moves);
        }
    }

    /// Step 3 of a move: the directory knows the new homes.
    pub(super) fn release(&mut self, now: Instant, id: u64, out: &mut Outbox) {
        let Some(order) = self.holds.orders.remove(&id) else { return };
        self.holds.left.retain(|_, (_, until)| *until > now);
        for user in &order.order.users {
            let Some(held) = self.holds.users.get_mut(user) else { continue };
            held.orders = held.orders.saturating_sub(1);
            if held.orders > 0 {
                continue;
            }
            let Some(mut held) = self.holds.users.remove(user) else { continue };
            self.resettle(now, user, held.was_home, out);
            self.pump(now, out);
            if let Some(home) = held.was_home {
                self.holds
                    .left
                    .insert(Arc::clone(user), (home, now + Duration::from_secs(MOVE_GRACE_SECONDS)));
            }
            self.spooled_bytes_bound = self.spooled_bytes_bound.saturating_sub(held.spool.bytes());
            for stanza in held.spool.take() {
                self.holds.shares.remove(source(&stanza), stanza.len());
                self.follow(now, stanza, out);
                self.pump(now, out);
            }
        }
        self.relieve_held(now, out);
    }

    /// Whether a stanza for one of the users, or an answer of one, is still on its way on this shard.
    fn under_way(&self, id: u64) -> bool {
        let Some(order) = self.holds.orders.get(&id) else { return false };
        let users: HashSet<&str> = order.order.users.iter().map(|user| &**user).collect();
        let waits = |to: &str, from: &str| users.contains(to) || users.contains(from);
        // What waits for a partner who is away keeps its place there whatever home its sender has, and would outlast any move.
        let counts = |destination: &Destination, waiting: &Waiting| {
            destination.side() != Side::Partners || !waiting.is_away()
        };
        self.destinations
            .iter()
            .any(|(destination, waiting)| counts(destination, waiting) && waiting.spool.any_between(waits))
            || self.presences.any_between(waits)
            || self.links.values().any(|link| link.any_between(waits))
            || self.backends.iter().any(|backend| {
                backend.kept() > 0 && order.order.users.iter().any(|user| backend.kept_for(user) > 0)
            })
    }
}
