//! One thread's world: links, destinations, spools, users being moved. Invariant: nothing in here waits, locks or looks at a
//! clock; each stanza that enters is in exactly one place (a spool, a link's unwritten queue, a hold, a backend) until it is
//! delivered, bounced, dropped by a named rule or handed to another shard, and `Tally` counts each of these once.
//!
//! > Hand a shard one batch of inputs and the time; submit everything it put in the outbox; sleep until its deadline.

mod back;
mod deliver;
mod disk;
mod drain;
mod ends;
mod moving;
mod nodes;
mod pace;
mod parting;
mod presence;
mod pressure;
mod rates;
mod recorded;
mod refusals;
mod resume;
mod retiring;
mod runs;
mod stalls;
mod survey;
mod trials;
mod vigil;
mod wishes;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};

use crate::backend::{Backend, Destination, Verdict};
use crate::directory::{Directory, User};
use crate::home::{BackendKind, HomeId};
use crate::io::{Close, Closed, Door, Event, Handoff, Input, LinkId, Outbox, Output, Secured, Side, earlier};
use crate::link::Link;
use crate::notice::Notice;
use crate::pool::Pool;
use crate::random::Random;
use crate::refusal::{Condition, Refusal};
use crate::route::{Asked, Route, View, Way, route};
use crate::run::Load;
use crate::stanza::{Origin, Stanza};
use crate::tally::{Flow, SideTally, Tally};
use crate::timers::Timers;
use crate::trace::{Step, Trace};
use crate::world::World;

use deliver::Waiting;
use disk::Disk;
use drain::Draining;
use moving::Holds;
use presence::Presences;
pub(crate) use pressure::Brought;
use pressure::Pressures;
use rates::Rates;
use retiring::Retired;
use vigil::Vigils;

/// What a shard's own timers are for.
#[derive(Debug)]
enum Timer {
    /// A destination may be tried again, or its attempt has taken too long.
    Destination(Destination),
    /// Look whether moves have settled.
    Moves,
    /// Look whether draining is done.
    Drain,
    /// Presence that waits for its turn may go on.
    Presence,
    /// Look whether this gateway is there.
    Vigil(HomeId),
    /// A link has not been read for some time.
    Paused(LinkId),
    /// Look whether links take what waits for them.
    Stalls,
    /// Look whether a home that is gone has nothing under way any more.
    Retired(HomeId),
}

/// How often every shard has to say that nothing is left before they may leave. A stanza crosses threads at most once, its bounce
/// and the verdict on it once each: a shard that is asked after all others have said so has read what they handed over before.
pub const DRAIN_ROUNDS: u8 = 4;

/// One shard.
pub struct Shard {
    index: u16,
    world: Arc<World>,
    directory: Directory,
    /// Partners first, then homes by number.
    backends: Vec<Box<dyn Backend>>,
    links: HashMap<LinkId, Link>,
    destinations: HashMap<Destination, Waiting>,
    /// Accepted links that take stanzas for a destination, in use or not.
    ways_back: HashMap<Destination, LinkId>,
    /// Per home.
    pools: Vec<Pool>,
    timers: Timers<Timer>,
    holds: Holds,
    presences: Presences,
    vigils: Vigils,
    pressures: Pressures,
    rates: Rates,
    /// A backend is giving a stanza back.
    returning: bool,
    /// It is going to be looked whether links stall.
    watching: bool,
    /// Something was given to a link since it was looked last whether that is so.
    transmitted: bool,
    /// Links whose backends, here or on other shards, are told of the end of what arrived on them.
    chained: HashSet<LinkId>,
    /// The durable spool, where there is one.
    disk: Option<Disk>,
    /// What has come to this shard, counted so that what comes later has a higher number.
    came: u64,
    /// There is a SIP home, so contacts matter.
    keeps_contacts: bool,
    random: Random,
    tally: Tally,
    /// No less than what waits in all spools and is held for moves, in bytes: exact whenever the counters are read, since then what
    /// came was only added.
    spooled_bytes_bound: usize,
    /// Outputs already looked at for transmitted bytes.
    accounted: usize,
    /// Room for the look-ups of one run.
    found: Vec<Option<User>>,
    /// Room for its ways.
    ways: Vec<Way>,
    trace: Trace,
    draining: Option<Draining>,
    retired: Retired,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.index)
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard with its backends: the partners' first, then one per home in the order of their numbers. `seed` is for jitter.
    pub fn new(
        index: u16,
        world: Arc<World>,
        directory: Directory,
        backends: Vec<Box<dyn Backend>>,
        seed: u64,
    ) -> Self {
        debug_assert_eq!(backends.len(), world.homes.places() + 1);
        let pools = world.homes.all().map(|(_, home)| Pool::new(&home.connect)).collect();
        let keeps_contacts = world.homes.iter().any(|(_, home)| home.backend == BackendKind::Sip);
        let tally = Tally { sides: vec![SideTally::default(); backends.len()], ..Tally::default() };
        let mut presences = Presences::default();
        presences.contacts.make_room(world.flow.room);
        Self {
            index,
            world,
            directory,
            backends,
            links: HashMap::new(),
            destinations: HashMap::new(),
            ways_back: HashMap::new(),
            pools,
            timers: Timers::default(),
            holds: Holds::default(),
            presences,
            vigils: Vigils::default(),
            pressures: Pressures::default(),
            rates: Rates::default(),
            returning: false,
            watching: false,
            transmitted: false,
            chained: HashSet::new(),
            disk: None,
            came: 0,
            keeps_contacts,
            random: Random::new(seed),
            tally,
            spooled_bytes_bound: 0,
            accounted: 0,
            found: Vec::new(),
            ways: Vec::new(),
            trace: Trace::default(),
            draining: None,
            retired: Retired::default(),
        }
    }

    /// Takes one input and puts what follows from it in the outbox.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Outbox) {
        self.accounted = out.outputs.len();
        match input {
            Input::Accepted { link, door, peer } => self.accepted(now, link, door, &peer, out),
            Input::Connected { link, direct_tls, peer: _ } => self.connected(now, link, direct_tls, out),
            Input::Failed { link, why, text } => self.dial_failed(now, link, why, text, out),
            Input::Secured(link, secured) => self.secured(now, link, secured, out),
            Input::Received(link, bytes) => self.received(now, link, bytes, out),
            Input::Written(link, total) => self.written(now, link, total, out),
            Input::Closed(link, why) => self.closed(now, link, &why, out),
            Input::Handoff(handoff) => self.handed(now, handoff, out),
            Input::Contacts(records) => self.remember(now, records, out),
            Input::Ask(number, user) => {
                let told = Box::new(self.describe(now, &user));
                out.outputs.push(Output::Told(number, told));
            }
            Input::Forget(number, pair, what) => {
                let told = Box::new(self.forget(now, &pair, what, out));
                out.outputs.push(Output::Told(number, told));
            }
            Input::Survey(number, survey) => {
                let found = Box::new(self.survey(now, &survey));
                out.outputs.push(Output::Surveyed(number, found));
            }
            Input::Trace(rules) => self.trace.set(rules),
            Input::Try(number, trial) => self.attempt(now, number, &trial, out),
            Input::Persisted(number) => self.persisted(now, number, out),
            Input::Opened(opened) => self.opened(*opened),
            Input::Recovered(entries) => self.recovered(now, entries, out),
            Input::Spooled(key) => self.spooled(now, key, out),
            Input::Directory(snapshot) => self.directory = self.directory.with_snapshot(snapshot),
            Input::Homes(backends) => self.add_homes(backends),
            Input::World(world) => self.configure(now, world, out),
            Input::Retire(home) => self.retire(now, home, out),
            Input::Hold(order) => self.hold(&order, out),
            Input::Settle(id) => self.begin_settling(now, id, out),
            Input::Release(id) => self.release(now, id, out),
            Input::Drain => self.drain(now, false, out),
            Input::Leave => self.drain(now, true, out),
        }
        self.pump(now, out);
    }

    /// Fires what is due. Call when [`Shard::deadline`] has passed; harmless otherwise.
    pub fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.accounted = out.outputs.len();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Destination(destination) => self.destination_due(now, &destination, out),
                Timer::Moves => self.look_again(now, out),
                Timer::Drain => self.drain_due(now, out),
                Timer::Presence => self.presence_due(now, out),
                Timer::Vigil(home) => self.vigil_due(now, home, out),
                Timer::Paused(link) => self.pause_due(now, link, out),
                Timer::Retired(home) => self.retire_due(now, home, out),
                Timer::Stalls => self.look_for_stalls(now, out),
            }
            self.pump(now, out);
        }
        for index in 0..self.backends.len() {
            if self.backends[index].deadline().is_some_and(|at| at <= now) {
                self.backends[index].wake(now, out);
                self.pump(now, out);
            }
        }
    }

    /// When [`Shard::wake`] is next wanted.
    pub fn deadline(&self) -> Option<Instant> {
        self.backends.iter().fold(self.timers.deadline(), |at, backend| earlier(at, backend.deadline()))
    }

    /// The counters, with the gauges brought up to date.
    pub fn tally(&mut self) -> &Tally {
        self.tally.held = self.held() as u64;
        let spooled: usize = self.destinations.values().map(|waiting| waiting.spool.bytes()).sum();
        self.spooled_bytes_bound = spooled + self.holds.bytes();
        self.tally.spooled_bytes = spooled as u64;
        self.tally.moving_users = self.holds.users() as u64;
        self.tally.paused_links = self.pressures.paused() as u64;
        self.tally.contacts = self.presences.contacts.counts();
        self.tally.presence_waiting = self.presences.stanzas() as u64;
        self.tally.wishes_waiting = self.presences.wishes.len() as u64;
        for side in &mut self.tally.sides {
            side.links = 0;
        }
        for (side, backend) in self.tally.sides.iter_mut().zip(&self.backends) {
            (side.watches, side.subscriptions) = backend.presence_open();
        }
        for link in self.links.values().filter(|link| link.is_opened()) {
            let index = side_index(link.side());
            if let Some(side) = self.tally.sides.get_mut(index) {
                side.links += 1;
            }
        }
        &self.tally
    }

    /// Counts one turn of the loop.
    pub fn count_turn(&mut self) {
        self.tally.turns += 1;
    }

    /// Stanzas in this shard, counted from the queues themselves.
    pub fn held(&self) -> usize {
        let spooled: usize = self.destinations.values().map(|waiting| waiting.spool.len()).sum();
        let unwritten: usize = self.links.values().map(Link::unwritten_len).sum();
        let kept: usize = self.backends.iter().map(|backend| backend.kept()).sum();
        spooled + unwritten + kept + self.holds.stanzas() + self.presences.stanzas()
    }

    /// How many of the held stanzas the router made itself.
    pub fn held_made(&self) -> usize {
        let spooled: usize = self.destinations.values().map(|waiting| waiting.spool.made()).sum();
        let unwritten: usize = self.links.values().map(Link::unwritten_made).sum();
        spooled + unwritten + self.holds.made()
    }

    /// The users and homes as this shard sees them.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Health of the nodes of every home, by number.
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    fn accepted(&mut self, now: Instant, link: LinkId, door: Door, peer: &Arc<str>, out: &mut Outbox) {
        if self.draining.is_some() || self.is_retired(door.side) {
            out.close(link, Close::Abort);
            return;
        }
        let mut state = Link::new(door.side, None);
        state.set_opened();
        self.links.insert(link, state);
        self.side(door.side).accepted += 1;
        self.backend(door.side).accepted(now, link, door, peer, out);
    }

    fn connected(&mut self, now: Instant, link: LinkId, direct_tls: bool, out: &mut Outbox) {
        let Some(state) = self.links.get_mut(&link) else {
            out.close(link, Close::Abort);
            return;
        };
        state.set_opened();
        let side = state.side();
        self.side(side).dialed += 1;
        self.backend(side).connected(now, link, direct_tls, out);
    }

    fn secured(&mut self, now: Instant, link: LinkId, secured: Secured, out: &mut Outbox) {
        if let Some(side) = self.links.get(&link).map(Link::side) {
            self.backend(side).secured(now, link, secured, out);
        }
    }

    fn received(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) {
        let Some(side) = self.links.get(&link).map(Link::side) else { return };
        if let Err(fault) = self.backend(side).receive(now, link, bytes, out) {
            self.side(side).faults += 1;
            out.note(Notice::PeerFault, side, link, fault.condition, fault.text);
        }
    }

    fn handed(&mut self, now: Instant, handoff: Handoff, out: &mut Outbox) {
        match handoff {
            Handoff::Stanza(stanza, route) => {
                self.flow(stanza.made).handed_in += 1;
                self.forward(now, stanza, route, out);
            }
            Handoff::Run(run) => self.adopt_run(now, run, out),
            Handoff::Fact(fact) => self.learn(now, &fact, out),
            Handoff::InVain(fact) => self.wish_again(now, &fact, out),
            Handoff::Verdict(origin, verdict) if origin.link.is_trial() => {
                trials::verdict(origin.ticket, verdict, out);
            }
            Handoff::Seen(theirs) => self.seen(now, &theirs, out),
            Handoff::Doubt(home) => self.doubted(now, home),
            Handoff::Verdict(origin, verdict) => match verdict {
                Ok(()) => self.backend(origin.side).settle(now, &origin, Verdict::Delivered, out),
                Err(refusal) => {
                    self.backend(origin.side).settle(now, &origin, Verdict::Refused(None, &refusal), out);
                }
            },
            Handoff::Chained(link, true) => {
                self.chained.insert(link);
            }
            Handoff::Chained(link, false) => {
                self.chained.remove(&link);
            }
            Handoff::Pressure(pressure) => self.pressure(now, pressure, out),
            Handoff::Ended(ended) => self.backend(ended.side).ended(now, &ended, out),
            Handoff::Unspooled(key) => self.unspooled(now, key, out),
            Handoff::Message { side, link, bytes } => self.backend(side).adopt(now, link, bytes, out),
            Handoff::Read { side, link, bytes, found } => {
                self.backend(side).adopt_read(now, link, bytes, found, out);
            }
            Handoff::Transmit { link, bytes } => {
                if self.links.contains_key(&link) {
                    out.transmit(link, bytes);
                }
            }
        }
    }

    /// Works off what backends put in the outbox for the shard itself, until nothing is left.
    fn pump(&mut self, now: Instant, out: &mut Outbox) {
        loop {
            self.account(out);
            self.watch(now);
            for (link, side) in out.dialed.drain(..) {
                self.links.entry(link).or_insert_with(|| Link::new(side, None));
            }
            while let Some(link) = out.chained.pop() {
                self.chain(link, out);
            }
            while let Some(link) = out.unchained.pop() {
                self.unchain(link, out);
            }
            if let Some(load) = out.arrivals.pop_front() {
                match load {
                    Load::One(stanza) => self.arrive(now, stanza, out),
                    Load::Run(run) => self.arrive_run(now, run, out),
                }
            } else if let Some(event) = out.events.pop_front() {
                self.event(now, event, out);
            } else {
                return;
            }
        }
    }

    /// Adds what backends transmitted to the links' counts, so that a stanza knows at which byte it ends.
    fn account(&mut self, out: &Outbox) {
        for output in &out.outputs[self.accounted.min(out.outputs.len())..] {
            if let Output::Transmit(link, bytes) = output
                && let Some(link) = self.links.get_mut(link)
            {
                link.queue(bytes.len());
                self.transmitted = true;
            }
        }
        self.accounted = out.outputs.len();
    }

    fn event(&mut self, now: Instant, event: Event, out: &mut Outbox) {
        match event {
            Event::Ready(link) => self.ready(now, link, out),
            Event::Unready(link, refusal) => self.unready(now, link, refusal, out),
            Event::Acknowledging(link) => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.set_acknowledging();
                }
            }
            Event::Acknowledged(link, count) => self.acknowledged(now, link, count, out),
            Event::Resumed(link, count) => self.resumed(now, link, count, out),
            Event::WayBack(link, destination) => self.way_back(now, link, destination, out),
            Event::Seen(theirs) => self.seen(now, &theirs, out),
            Event::Done(stanza, Ok(())) => self.delivered(now, *stanza, out),
            Event::Done(stanza, Err(refusal)) => self.given_back(now, *stanza, refusal, out),
            Event::Introduced(local, partner) => self.introduce(&local, &partner, out),
        }
    }

    /// A stanza entered the router.
    fn arrive(&mut self, now: Instant, mut stanza: Stanza, out: &mut Outbox) {
        stanza.disk.order = self.came;
        self.came += 1;
        self.flow(stanza.made).received += 1;
        let side = stanza.origin.side;
        if !stanza.made {
            self.side(side).received += 1;
            self.record(&stanza, out);
        }
        self.trace.step(now, &stanza, Step::Arrived, side);
        self.arrive_charged(now, stanza, out);
    }

    /// A stanza that has been counted is charged to who sent it.
    fn arrive_charged(&mut self, now: Instant, stanza: Stanza, out: &mut Outbox) {
        match self.charge(now, &stanza) {
            None => self.arrive_uncounted(now, stanza, out),
            Some(refusal) => self.refuse(now, stanza, refusal, out),
        }
    }

    /// A stanza that has been counted and charged waits for the end of a move, or goes its way.
    fn arrive_uncounted(&mut self, now: Instant, stanza: Stanza, out: &mut Outbox) {
        if let Some(stanza) = self.hold_back(now, stanza, out) {
            match stanza {
                Ok(stanza) => self.follow(now, stanza, out),
                Err((stanza, refusal)) => self.refuse(now, stanza, refusal, out),
            }
        }
    }

    /// Asks which way, and goes it.
    fn follow(&mut self, now: Instant, stanza: Stanza, out: &mut Outbox) {
        let was_home = match (stanza.origin.side, &stanza.disk.kept) {
            // He spoke from there when it was accepted; who has moved meanwhile is known no more.
            (Side::Home(home), Some(kept)) if kept.recovered => Some(home),
            _ => self.holds.was_home(&stanza, now),
        };
        let view = View { world: &self.world, directory: &self.directory };
        match route(view, &Asked::of(&stanza, was_home), &mut |_, _| ()) {
            Ok(Route::Own) => {
                let side = stanza.origin.side;
                match self.backend(side).answer(now, &stanza, out) {
                    Ok(()) => self.delivered(now, stanza, out),
                    Err(refusal) => self.refuse(now, stanza, refusal, out),
                }
            }
            Ok(route) => {
                if let Some((stanza, route)) = self.heed(now, stanza, route, out) {
                    self.forward(now, stanza, route, out);
                }
            }
            Err(refusal) => self.refuse(now, stanza, refusal, out),
        }
    }

    /// Tells the backend that waits for a verdict, wherever it is.
    fn tell(&mut self, now: Instant, origin: Origin, verdict: Result<(), Refusal>, out: &mut Outbox) {
        if origin.link.shard() == self.index {
            self.handed(now, Handoff::Verdict(origin, verdict), out);
        } else {
            out.outputs.push(Output::Handoff(origin.link.shard(), Handoff::Verdict(origin, verdict)));
        }
    }

    fn count_refusal(&mut self, refusal: &Refusal) {
        if let Some(at) = Condition::ALL.iter().position(|condition| *condition == refusal.condition) {
            self.tally.refusals[at] += 1;
        }
    }

    /// Notes for whom a link of this shard brings.
    fn note_brought(&mut self, now: Instant, side: Side, by: (LinkId, usize), from: &str, to: &str) {
        if let Some(link) = self.links.get_mut(&by.0) {
            link.receive(by.1 as u64);
            link.brought.note(now, side, from, to);
        }
    }

    /// The side a stanza is delivered to, for the counters: the other one of a local user.
    fn side_towards(&self, stanza: &Stanza) -> Side {
        match stanza.origin.side {
            Side::Home(_) => Side::Partners,
            Side::Partners => match self.directory.look_up(stanza.to.bare_str()).map(|user| user.residence) {
                Some(crate::home::Residence::Home(home)) => Side::Home(home),
                _ => Side::Partners,
            },
        }
    }

    fn backend(&mut self, side: Side) -> &mut dyn Backend {
        let index = side_index(side).min(self.backends.len() - 1);
        &mut *self.backends[index]
    }

    fn side(&mut self, side: Side) -> &mut SideTally {
        let index = side_index(side).min(self.tally.sides.len() - 1);
        &mut self.tally.sides[index]
    }

    fn flow(&mut self, made: bool) -> &mut Flow {
        if made { &mut self.tally.made } else { &mut self.tally.passed }
    }

    /// A connection is gone.
    fn closed(&mut self, now: Instant, link: LinkId, why: &Closed, out: &mut Outbox) {
        let Some(state) = self.links.remove(&link) else { return };
        self.no_way_back(link);
        self.forget_pause(link);
        let side = state.side();
        if *why != Closed::Ours {
            self.doubt(now, side, out);
        }
        if !self.backend(side).outlives(link) {
            self.unchain(link, out);
            self.backend(side).closed(now, link, why, out);
            self.link_lost(now, link, state, why, out);
        } else if let Some(state) = self.suspend(link, state) {
            self.backend(side).closed(now, link, why, out);
            self.link_lost(now, link, state, why, out);
        } else {
            self.backend(side).closed(now, link, why, out);
            self.look_for_another(now, link, out);
        }
    }
}

/// Where a side's backend and counters stand.
pub fn side_index(side: Side) -> usize {
    match side {
        Side::Partners => 0,
        Side::Home(home) => usize::from(home.0) + 1,
    }
}
