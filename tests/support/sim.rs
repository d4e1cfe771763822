//! The seeded world: shards, a clock, a network and the servers at its other ends, in one thread. Invariant: the same seed gives the
//! same run, to the byte.
//!
//! Each step does one thing, chosen by the seed: a shard takes a turn over a few of its inputs, some bytes move on some
//! connection, a connection breaks, a server speaks, a user is moved, time passes. A shard's mail (hand-offs and moves) is one
//! queue in the order of posting, as `Post` in the service is.

mod check;
mod moves;
mod restart;
pub mod spool;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::backend::Backend;
use turnout_core::contact::{Pair, Record};
use turnout_core::directory::Directory;
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::{Connect, Handoff, Input, LinkId, Outbox, Output, Side, Unreachable};
use turnout_core::jid::Jid;
use turnout_core::moves::Mover;
use turnout_core::random::Random;
use turnout_core::shard::{DRAIN_ROUNDS, Shard};
use turnout_core::world::World;

use super::estate::{LEGACY, LOCAL, PARTNERS, POOL, local};
use super::ledger::Ledger;
use super::net::Conn;
use super::peer::{Peer, PeerOut};

/// Local users.
pub const USERS: usize = 6;
/// Users of each partner.
const PARTNER_USERS: u64 = 2;
/// How soon a server tries again what it put off.
const PATIENCE: Duration = Duration::from_millis(200);
/// Steps after which a world that does not come to rest has failed.
const REST_STEPS_MAX: usize = 400_000;

std::thread_local! {
    /// Stanzas said in trouble at the most, to find how few it takes for something to go wrong.
    pub static STANZAS_MAX: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// What plays the other ends, and what stands in the shards.
pub struct Cast {
    /// Three partners, two gateway nodes, two pool nodes.
    pub peers: Vec<Box<dyn Peer>>,
    /// Backends of a shard.
    pub backends: Vec<Vec<Box<dyn Backend>>>,
    /// Kinds of stanzas partners say, and homes say.
    pub kinds: [&'static str; 2],
}

struct Cell {
    shard: Shard,
    out: Outbox,
    io: VecDeque<Input>,
    mail: VecDeque<Input>,
    accepted: u64,
    drained: bool,
    /// How many stanzas made by routers had come to be here, and when that was.
    made: VecDeque<(Instant, u64)>,
}

/// The world.
pub struct Sim {
    random: Random,
    now: Instant,
    directory: Directory,
    cells: Vec<Cell>,
    conns: BTreeMap<u64, Conn>,
    links: BTreeMap<LinkId, u64>,
    wishes: BTreeMap<LinkId, Connect>,
    peers: Vec<Box<dyn Peer>>,
    down: Vec<bool>,
    /// What the DNS says of servers that are down, where that is not an address.
    unknown: BTreeMap<usize, Unreachable>,
    /// When somebody was dialed, and who.
    dials: Vec<(Instant, usize)>,
    /// When a server that put something off looks at it again, in the calm.
    patience: Vec<Instant>,
    mover: Mover,
    moving: BTreeMap<u64, Vec<(String, HomeId)>>,
    mover_mail: VecDeque<Output>,
    ledger: Ledger,
    count: u64,
    calm: bool,
    over: bool,
    kinds: [&'static str; 2],
    /// Stanzas between shards: from outside, and made.
    in_flight: [i128; 2],
    steps: usize,
    /// Drivers read little at a time, servers stop reading for a while, and stanzas come in floods.
    narrow: bool,
    /// Servers do not read while what they say is not read.
    stubborn: bool,
    /// Times a link was paused.
    pauses: usize,
    /// What the shards keep on disk.
    store: BTreeMap<Pair, Record>,
    /// The durable spool, if there is one.
    spool: Option<spool::Spool>,
}

impl Sim {
    /// A world at rest.
    pub fn new(seed: u64, world: &Arc<World>, directory: Directory, cast: Cast, ledger: Ledger) -> Self {
        let cells = (0_u16..)
            .zip(cast.backends)
            .map(|(index, backends)| Cell {
                shard: Shard::new(
                    index,
                    Arc::clone(world),
                    directory.clone(),
                    backends,
                    seed ^ u64::from(index),
                ),
                out: Outbox::new(index),
                io: VecDeque::new(),
                mail: VecDeque::new(),
                accepted: 0,
                drained: false,
                made: VecDeque::new(),
            })
            .collect();
        let down = vec![false; cast.peers.len()];
        Self {
            random: Random::new(seed),
            now: super::epoch(),
            directory,
            cells,
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            wishes: BTreeMap::new(),
            peers: cast.peers,
            down,
            unknown: BTreeMap::new(),
            dials: Vec::new(),
            patience: vec![super::epoch(); 7],
            mover: Mover::new(world.shards),
            moving: BTreeMap::new(),
            mover_mail: VecDeque::new(),
            ledger,
            count: 0,
            calm: false,
            over: false,
            kinds: cast.kinds,
            in_flight: [0; 2],
            steps: 0,
            narrow: false,
            stubborn: false,
            pauses: 0,
            store: BTreeMap::new(),
            spool: None,
        }
    }

    /// From now on more is said than goes out: see the fields of that name.
    pub fn press(&mut self, stubborn: bool) {
        (self.narrow, self.stubborn) = (true, stubborn);
    }

    /// How often a link was paused.
    pub fn pauses(&self) -> usize {
        self.pauses
    }

    /// Lets so many stanzas be said amid trouble, then brings the world to rest and looks whether anything is missing.
    pub fn run(&mut self, stanzas: usize) {
        self.trouble(stanzas);
        self.rest();
        self.check_rest();
    }

    /// Lets so many stanzas be said while servers, connections and users come and go.
    pub fn trouble(&mut self, stanzas: usize) {
        self.calm = false;
        let mut left = stanzas.min(STANZAS_MAX.get());
        while left > 0 {
            if self.one_in(24) {
                self.say();
                left -= 1;
            }
            if self.narrow && self.one_in(60) {
                let flood = (4 + self.pick(20)).min(left);
                self.flood(flood);
                left -= flood;
            }
            if self.narrow && self.one_in(150) {
                self.some_deafness();
            }
            self.step();
        }
    }

    /// Says to all shards that the process ends, as often as the control plane does, and lets them leave; everything must come to
    /// its end and every shard must say so.
    pub fn drain(&mut self) {
        self.calm = true;
        self.rest_moves();
        self.over = true;
        for _ in 0..DRAIN_ROUNDS {
            self.ask_to_drain(|| Input::Drain, |cells| cells.iter().all(|cell| cell.drained));
        }
        // The error for what was given up last may still wait for a server that does not answer; it too comes to an end.
        let quiet = |cell: &Cell| {
            cell.drained && cell.io.is_empty() && cell.mail.is_empty() && cell.shard.held() == 0
        };
        self.ask_to_drain(|| Input::Leave, |cells| cells.iter().all(quiet));
        if self.spool.is_some() {
            self.start_again();
            self.rest();
        }
        self.check_rest();
    }

    fn ask_to_drain(&mut self, input: impl Fn() -> Input, done: impl Fn(&[Cell]) -> bool) {
        for cell in &mut self.cells {
            cell.drained = false;
            cell.mail.push_back(input());
        }
        for _ in 0..REST_STEPS_MAX {
            if done(&self.cells) {
                return;
            }
            if !self.calm_step() && !self.jump() {
                break;
            }
        }
        panic!("not drained: {}", self.report());
    }

    /// Lets everything happen that can happen now.
    pub fn settle(&mut self) {
        self.calm = true;
        for _ in 0..REST_STEPS_MAX {
            if !self.calm_step() {
                return;
            }
        }
        panic!("never quiet: {}", self.report());
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while self.next_due().is_some_and(|at| at <= end) {
            self.jump();
            self.settle();
        }
        self.now = end;
    }

    /// Cuts a server off, or lets it come back.
    pub fn set_down(&mut self, peer: usize, down: bool) {
        if self.down[peer] != down {
            self.switch(peer);
        }
    }

    /// Cuts a server off; whoever dials it is told this.
    pub fn set_unreachable(&mut self, peer: usize, why: Unreachable) {
        self.unknown.insert(peer, why);
        self.set_down(peer, true);
    }

    /// Every connection with a server breaks; it can be dialed at once.
    pub fn break_all(&mut self, peer: usize) {
        self.set_down(peer, true);
        self.set_down(peer, false);
    }

    /// When a server was dialed, counted from now.
    pub fn dials_since(&self, peer: usize, since: Instant) -> Vec<Duration> {
        let dials = self.dials.iter().filter(|(at, who)| *who == peer && *at >= since);
        dials.map(|(at, _)| at.saturating_duration_since(since)).collect()
    }

    /// Whether a move is under way.
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A server reads nothing on the connections it has, or reads again.
    pub fn set_deaf(&mut self, peer: usize, deaf: bool) {
        self.conns.values_mut().filter(|conn| conn.peer == peer).for_each(|conn| conn.deaf = deaf);
    }

    /// Connections that are not read.
    pub fn paused(&self) -> usize {
        self.conns.values().filter(|conn| conn.paused).count()
    }

    /// Counters of a shard.
    pub fn tally(&mut self, shard: usize) -> &turnout_core::tally::Tally {
        self.cells[shard].shard.tally()
    }

    /// Lets a server act.
    pub fn direct(&mut self, peer: usize, act: impl FnOnce(&mut dyn Peer, &mut PeerOut<'_>)) {
        self.with_peer(peer, act);
    }

    /// Moves a user in the three steps of a move.
    pub fn move_user(&mut self, user: &str, home: HomeId) {
        self.start_move(vec![(user.to_owned(), home)]);
        self.pass(Duration::from_millis(100));
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.random.below(times) == 0
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn step(&mut self) {
        self.steps += 1;
        self.now += Duration::from_micros(self.random.below(400));
        match self.random.below(1000) {
            0..=299 => self.some_turn(),
            300..=799 => self.some_conn(),
            800..=869 => self.some_wish(),
            870..=929 => self.mover_step(),
            930..=979 => self.some_whim(),
            980..=984 => self.begin_move(),
            985..=988 => self.break_some(),
            989..=991 => self.some_outage(),
            992..=994 => self.now += Duration::from_millis(self.random.below(3000)),
            995 => self.spool_trouble(),
            996 if self.spool.is_some() && self.one_in(6) => self.crash(),
            _ => {}
        }
        if self.spool.is_some() && self.one_in(3) {
            self.spool_step();
        }
    }

    /// Brings everything to rest: no more trouble, and time passes only when nothing else can happen.
    pub fn rest(&mut self) {
        self.calm = true;
        self.down.fill(false);
        self.conns.values_mut().for_each(|conn| conn.deaf = false);
        for _ in 0..REST_STEPS_MAX {
            if !self.calm_step() {
                if self.held() == 0 && self.moving.is_empty() && self.spool_due().is_none() {
                    return;
                }
                assert!(self.jump(), "stuck: {}", self.report());
            }
        }
        panic!("no rest: {}", self.report());
    }

    fn rest_moves(&mut self) {
        for _ in 0..REST_STEPS_MAX {
            if self.moving.is_empty() {
                return;
            }
            if !self.calm_step() {
                assert!(self.jump(), "a move never ends: {}", self.report());
            }
        }
    }

    fn held(&self) -> usize {
        self.cells.iter().map(|cell| cell.shard.held()).sum()
    }

    /// One thing that can happen, if any.
    fn calm_step(&mut self) -> bool {
        self.steps += 1;
        let before = self.pick(5);
        for way in 0..5 {
            let done = match (before + way) % 5 {
                0 => self.busy_turn(),
                1 => self.busy_conn(),
                2 => {
                    !self.wishes.is_empty() && {
                        self.some_wish();
                        true
                    }
                }
                3 => {
                    !self.mover_mail.is_empty() && {
                        self.mover_step();
                        true
                    }
                }
                _ => self.busy_peer() || self.busy_spool(),
            };
            if done {
                return true;
            }
        }
        false
    }

    /// Drivers read little at a time; see [`Sim::press`].
    pub fn narrow(&mut self) {
        self.narrow = true;
    }

    fn next_due(&mut self) -> Option<Instant> {
        let spool = self.spool_due();
        let shards = self.cells.iter().filter_map(|cell| cell.shard.deadline());
        let waiting = self.peers.iter().zip(&self.patience).filter(|(peer, _)| peer.waiting() > 0);
        let peers = waiting.map(|(_, at)| *at);
        shards.chain(peers).chain(self.mover.deadline()).chain(spool).min()
    }

    /// Lets time pass until something is due.
    fn jump(&mut self) -> bool {
        let Some(at) = self.next_due() else { return false };
        self.now = self.now.max(at);
        self.expire_moves();
        true
    }

    fn busy_turn(&mut self) -> bool {
        let first = self.pick(self.cells.len());
        for at in 0..self.cells.len() {
            let index = (first + at) % self.cells.len();
            let cell = &self.cells[index];
            let due = cell.shard.deadline().is_some_and(|at| at <= self.now);
            if due || !cell.io.is_empty() || !cell.mail.is_empty() {
                self.turn(index);
                return true;
            }
        }
        false
    }

    fn busy_peer(&mut self) -> bool {
        let mut peers = self.peers.iter().zip(&self.patience);
        let Some(at) = peers.position(|(peer, at)| peer.waiting() > 0 && *at <= self.now) else {
            return false;
        };
        self.patience[at] = self.now + PATIENCE;
        self.with_peer(at, |peer, out| peer.whim(out));
        true
    }

    fn some_turn(&mut self) {
        let index = self.pick(self.cells.len());
        self.turn(index);
    }

    /// A shard takes some of its inputs, as `turn.rs` does.
    fn turn(&mut self, index: usize) {
        let batch = 1 + self.random.below(6);
        for _ in 0..batch {
            let mail_first = self.random.below(2) == 0;
            let cell = &mut self.cells[index];
            let input = match mail_first {
                true => cell.mail.pop_front().or_else(|| cell.io.pop_front()),
                false => cell.io.pop_front().or_else(|| cell.mail.pop_front()),
            };
            let Some(input) = input else { break };
            if let Input::Handoff(Handoff::Stanza(stanza, _)) = &input {
                self.in_flight[usize::from(stanza.made)] -= 1;
            }
            if let Input::Handoff(Handoff::Run(run)) = &input {
                self.in_flight[0] -= run.len() as i128;
            }
            cell.shard.handle(self.now, input, &mut cell.out);
            self.check(index);
        }
        let cell = &mut self.cells[index];
        cell.shard.wake(self.now, &mut cell.out);
        cell.shard.count_turn();
        self.check(index);
        self.submit(index);
    }

    fn some_whim(&mut self) {
        let peer = self.pick(self.peers.len());
        self.with_peer(peer, |peer, out| peer.whim(out));
    }

    /// Somebody says something to somebody.
    fn say(&mut self) {
        self.flood(1);
    }

    /// The same one says as much to the same one.
    fn flood(&mut self, count: usize) {
        let user = self.pick(USERS);
        let user = if self.one_in(40) { "nobody@contoso.com".to_owned() } else { local(user) };
        let partner = self.pick(PARTNERS.len());
        let abroad = format!("u{}@{}", self.random.below(PARTNER_USERS), PARTNERS[partner]);
        let home = self.home_of(&user);
        let out = home.is_some() && self.random.below(3) == 0;
        let kinds = self.kinds[usize::from(out)].as_bytes();
        let kind = char::from(kinds[usize::try_from(self.random.below(kinds.len() as u64)).unwrap()]);
        let node = if home.is_some() && out { self.pick(2) } else { 0 };
        for _ in 0..count {
            let (speaker, number) = match home {
                Some(home) if out => (
                    PARTNERS.len() + 2 * usize::from(home.0) + node,
                    self.ledger.say(kind, &user, &abroad, None),
                ),
                _ if kind == 'q' => (partner, self.ledger.say(kind, &abroad, LOCAL, None)),
                _ => (partner, self.ledger.say(kind, &abroad, &user, home)),
            };
            self.with_peer(speaker, |peer, out| peer.say(number, out));
        }
    }

    fn home_of(&self, user: &str) -> Option<HomeId> {
        match self.directory.look_up(user)?.residence {
            Residence::Home(home) => Some(home),
            _ => None,
        }
    }

    fn set_home(&self, user: &str, home: HomeId) {
        let jid = Jid::parse(user).unwrap();
        let user = turnout_core::directory::User::at(Residence::Home(home));
        self.directory.overlay().set(jid.view(), user).unwrap();
    }

    /// The home a peer belongs to; `None` for partners.
    fn peer_home(peer: usize) -> Option<HomeId> {
        match peer {
            0..=2 => None,
            3..=4 => Some(LEGACY),
            _ => Some(POOL),
        }
    }

    fn peer_side(peer: usize) -> Side {
        Self::peer_home(peer).map_or(Side::Partners, Side::Home)
    }

    fn with_peer(&mut self, at: usize, act: impl FnOnce(&mut dyn Peer, &mut PeerOut<'_>)) {
        let mut out = PeerOut {
            acts: Vec::new(),
            random: &mut self.random,
            count: &mut self.count,
            calm: self.calm,
            over: self.over,
            ledger: self.ledger.clone(),
        };
        act(&mut *self.peers[at], &mut out);
        let acts = out.acts;
        self.follow_peer(at, acts);
    }
}
