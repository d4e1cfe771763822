//! A whole estate under one seed: partners, gateway and pool with their people, a router of several shards, and its store. Invariant:
//! the same seed gives the same run. Each step does one thing, chosen by the seed, among all that could be done next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use turnout_core::backend::Backend;
use turnout_core::contact::{Contact, Pair, Record};
use turnout_core::directory::{Directory, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::{
    Closed, Door, Input, LinkId, Outbox, Output, PeerCertificate, Secured, Side, TrustId, Unreachable,
};
use turnout_core::jid::Jid;
use turnout_core::moves::{Act, Mover};
use turnout_core::presence::PresenceRules;
use turnout_core::random::Random;
use turnout_core::shard::Shard;
use turnout_core::stanza::PresenceType;
use turnout_core::tally::Flow;
use turnout_core::world::World;
use turnout_sip::SipBackend;

use super::desk::{Clerk, Desk, Word};
use super::people::{Friend, Person};
use super::pool::Pool;
use crate::support;
use crate::support::estate::{self, LEGACY, LOCAL, Options, PARTNERS, POOL, POOL_HOSTS, local};

/// Local users: half begin on either side.
pub const USERS: usize = 4;
/// Within so long everything anybody sees is true again.
pub const T: Duration = Duration::from_secs(1_200);

/// A connection between the pool and the router.
pub(super) struct Wire {
    pub(super) link: LinkId,
    pub(super) to_router: VecDeque<String>,
    pub(super) from_router: String,
}

/// The router, from one start to its end.
pub(super) struct Router {
    pub(super) shards: Vec<(Shard, Outbox)>,
    pub(super) mail: Vec<VecDeque<Input>>,
    pub(super) unconfirmed: Vec<VecDeque<(u64, Record)>>,
    pub(super) mover: Mover,
    pub(super) moving: BTreeMap<u64, (String, HomeId)>,
    pub(super) accepted: u64,
}

pub struct Estate {
    pub(super) random: Random,
    pub(super) now: Instant,
    pub(super) world: Arc<World>,
    pub(super) directory: Directory,
    pub(super) router: Router,
    pub(super) outside: Arc<Mutex<Desk>>,
    pub(super) inside: Arc<Mutex<Desk>>,
    /// What partners, by domain, and the gateway have written and the router has not read.
    pub(super) written: BTreeMap<String, VecDeque<Word>>,
    pub(super) entrances: BTreeMap<String, LinkId>,
    pub(super) wires: BTreeMap<usize, Wire>,
    pub(super) wire_count: usize,
    pub(super) store: BTreeMap<Pair, Contact>,
    pub(super) people: BTreeMap<String, Person>,
    pub(super) friends: BTreeMap<String, Friend>,
    pub(super) pool: Pool,
    pub(super) pool_is_down: bool,
    /// How often a local user asked to see a friend.
    pub(super) asked: BTreeMap<(String, String), usize>,
    /// Pairs of whom a word about a subscription was lost with the router: the two sides may differ, as in any XMPP
    /// without acknowledgements.
    pub(super) blurred: BTreeSet<(String, String)>,
    pub(super) starts: u64,
    /// Partners' domains that were down once.
    pub(super) were_down: BTreeSet<String>,
    pub log: Vec<String>,
}

pub(super) const GATE: &str = "gateway";

pub(super) fn bare(jid: &str) -> String {
    jid.split('/').next().unwrap_or_default().to_owned()
}

pub(super) fn domain(jid: &str) -> String {
    bare(jid).split_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default()
}

impl Estate {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let shards = 1 + u16::try_from(random.below(3)).unwrap();
        let presence = PresenceRules {
            durable: true,
            check: Duration::from_secs(60),
            subscription: Duration::from_secs(600),
            stale: Duration::from_secs(10),
            ..PresenceRules::default()
        };
        let world = estate::world(&Options { shards, presence, ..Options::default() });
        let directory = estate::directory(USERS);
        let (outside, inside) = (Arc::default(), Arc::default());
        let router = start(&world, &directory, &outside, &inside, 0);
        let friends = PARTNERS.iter().map(|domain| (format!("u@{domain}"), Friend::default())).collect();
        Self {
            random,
            now: support::epoch(),
            world,
            directory,
            router,
            outside,
            inside,
            written: BTreeMap::new(),
            entrances: BTreeMap::new(),
            wires: BTreeMap::new(),
            wire_count: 0,
            store: BTreeMap::new(),
            people: (0..USERS).map(|n| (local(n), Person::default())).collect(),
            friends,
            pool: Pool::default(),
            pool_is_down: false,
            asked: BTreeMap::new(),
            blurred: BTreeSet::new(),
            starts: 0,
            were_down: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn seconds(&self) -> u64 {
        self.now.duration_since(support::epoch()).as_secs()
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let text = format!("{:>6} {}", self.seconds(), text());
        self.log.push(text);
    }

    pub(super) fn home(&self, local: &str) -> HomeId {
        match self.directory.look_up(local).map(|user| user.residence) {
            Some(Residence::Home(home)) => home,
            _ => panic!("{local} has no home"),
        }
    }

    /// Storm, then calm, then the truth.
    pub fn run(&mut self, events: usize) {
        for _ in 0..events {
            for _ in 0..self.random.below(12) {
                self.step();
            }
            self.event();
            self.account();
        }
        self.calm();
        self.check();
    }

    /// Everything is there again, and nobody does anything new.
    fn calm(&mut self) {
        self.note(|| "calm".to_owned());
        self.pool_is_down = false;
        self.outside.lock().unwrap().down.clear();
        self.inside.lock().unwrap().down.clear();
        let end = self.now + T;
        while self.now < end {
            let mut steps = 0;
            while self.step() {
                steps += 1;
                assert!(steps < 200_000, "it never comes to rest");
            }
            self.pass(Duration::from_secs(5));
        }
        while self.step() {}
        self.account();
    }

    /// Time passes, at most so much.
    pub(super) fn pass(&mut self, most: Duration) {
        let mut to = self.now + most;
        for deadline in self.router.shards.iter().filter_map(|(shard, _)| shard.deadline()) {
            to = to.min(deadline.max(self.now + Duration::from_millis(1)));
        }
        if let Some(deadline) = self.router.mover.deadline() {
            to = to.min(deadline.max(self.now + Duration::from_millis(1)));
        }
        self.now = to;
        for index in 0..self.router.shards.len() {
            let (shard, out) = &mut self.router.shards[index];
            shard.wake(self.now, out);
            self.outputs(index);
        }
        for act in self.router.mover.expire(self.now) {
            self.act(act);
        }
        if !self.pool_is_down {
            let wire = self.pool_wire();
            let (directory, seconds) = (self.directory.clone(), self.seconds());
            let here = |local: &str| lives(&directory, local) == Some(POOL);
            self.pool.wakes(seconds, wire, &self.people, here);
        }
        self.write_wires();
    }

    /// A connection the pool opened.
    fn pool_wire(&mut self) -> usize {
        let open = self.wires.iter().find(|(_, wire)| wire.link.is_accepted()).map(|(number, _)| *number);
        open.unwrap_or_else(|| {
            let shard = self.random.below(self.router.shards.len() as u64) as u16;
            self.router.accepted += 1;
            let link = LinkId::accepted(shard, self.router.accepted);
            self.wire_count += 1;
            let wire = Wire { link, to_router: VecDeque::new(), from_router: String::new() };
            self.wires.insert(self.wire_count, wire);
            let door = Door { side: Side::Home(POOL), direct_tls: true };
            self.handle(usize::from(shard), Input::Accepted { link, door, peer: "pool".into() });
            self.handle(usize::from(shard), Input::Secured(link, pool_facts()));
            self.wire_count
        })
    }

    pub(super) fn write_wires(&mut self) {
        while let Some((wire, text)) = self.pool.out.pop_front() {
            if let Some(wire) = self.wires.get_mut(&wire) {
                wire.to_router.push_back(text);
            }
        }
    }

    /// Does one of the things that could be done next. `false`: there is none.
    fn step(&mut self) -> bool {
        let mut todo: Vec<(u8, String, usize)> = Vec::new();
        for (index, mail) in self.router.mail.iter().enumerate() {
            if !mail.is_empty() {
                todo.push((0, String::new(), index));
            }
            if !self.router.unconfirmed[index].is_empty() {
                todo.push((1, String::new(), index));
            }
        }
        let written = self.written.iter().filter(|(_, words)| !words.is_empty());
        todo.extend(written.map(|(who, _)| (2, who.clone(), 0)));
        if !self.outside.lock().unwrap().heard.is_empty() {
            todo.push((3, String::new(), 0));
        }
        if !self.inside.lock().unwrap().heard.is_empty() {
            todo.push((4, String::new(), 0));
        }
        for (number, wire) in &self.wires {
            if !wire.to_router.is_empty() {
                todo.push((5, String::new(), *number));
            }
            if !wire.from_router.is_empty() {
                todo.push((6, String::new(), *number));
            }
        }
        if todo.is_empty() {
            return false;
        }
        let (what, who, number) = todo.swap_remove(self.random.below(todo.len() as u64) as usize);
        match what {
            0 => {
                let input = self.router.mail[number].pop_front().unwrap();
                self.handle(number, input);
            }
            1 => self.confirm(number),
            2 => self.enter(&who),
            3 => self.friends_hear(),
            4 => self.gateway_hears(),
            5 => {
                let wire = self.wires.get_mut(&number).unwrap();
                let (link, text) = (wire.link, wire.to_router.pop_front().unwrap());
                self.handle(usize::from(link.shard()), Input::Received(link, text.into()));
            }
            _ => self.pool_hears(number),
        }
        true
    }

    /// The store has written some of what it was given.
    fn confirm(&mut self, shard: usize) {
        let count = 1 + self.random.below(self.router.unconfirmed[shard].len() as u64);
        let mut last = 0;
        for _ in 0..count {
            let Some((number, record)) = self.router.unconfirmed[shard].pop_front() else { break };
            last = number;
            if record.contact.is_empty() {
                self.store.remove(&record.pair);
            } else {
                self.store.insert(record.pair, record.contact);
            }
        }
        self.handle(shard, Input::Persisted(last));
    }

    /// A partner or the gateway gets a word through to the router.
    fn enter(&mut self, who: &str) {
        let shards = self.router.shards.len() as u64;
        let (side, desk) = match who == GATE {
            true => (Side::Home(LEGACY), Arc::clone(&self.inside)),
            false => (Side::Partners, Arc::clone(&self.outside)),
        };
        if !self.entrances.contains_key(who) {
            let shard = self.random.below(shards) as u16;
            self.router.accepted += 1;
            let link = LinkId::accepted(shard, self.router.accepted);
            self.entrances.insert(who.to_owned(), link);
            let door = Door { side, direct_tls: false };
            self.handle(usize::from(shard), Input::Accepted { link, door, peer: "peer".into() });
        }
        let link = self.entrances[who];
        let word = self.written.get_mut(who).and_then(VecDeque::pop_front).unwrap();
        self.note(|| format!("{who} says {word:?}"));
        // The gateway is told that it did not arrive, and does not say it again.
        if who == GATE && self.outside.lock().unwrap().down.contains(&domain(&word.to)) {
            self.blur(&word);
        }
        // What waits for the gateway may be overtaken by what a user of it says meanwhile, as in any XMPP.
        if who != GATE && self.gateway_is_down() && self.home(&bare(&word.to)) == LEGACY {
            self.blur(&word);
        }
        desk.lock().unwrap().said.entry(link).or_default().push_back(word);
        self.handle(usize::from(link.shard()), Input::Received(link, "x".into()));
    }

    pub(super) fn write(&mut self, words: Vec<Word>) {
        for word in words {
            let who = if domain(&word.from) == LOCAL { GATE.to_owned() } else { domain(&word.from) };
            self.written.entry(who).or_default().push_back(word);
        }
    }

    fn friends_hear(&mut self) {
        let Some(word) = self.outside.lock().unwrap().heard.pop_front() else { return };
        self.note(|| format!("partner hears {word:?}"));
        let name = bare(&word.to);
        let mut out = Vec::new();
        if let Some(friend) = self.friends.get_mut(&name) {
            friend.hears(&name, &word, &mut out);
        }
        self.write(out);
    }

    fn gateway_hears(&mut self) {
        let Some(word) = self.inside.lock().unwrap().heard.pop_front() else { return };
        self.note(|| format!("gateway hears {word:?}"));
        let name = bare(&word.to);
        let mut out = Vec::new();
        if self.home(&name) == LEGACY
            && let Some(person) = self.people.get_mut(&name)
        {
            person.hears(&name, &word, &mut out);
        }
        self.write(out);
    }

    fn pool_hears(&mut self, number: usize) {
        let wire = self.wires.get_mut(&number).unwrap();
        let Some(head) = wire.from_router.find("\r\n\r\n") else {
            panic!("half a message: {}", wire.from_router);
        };
        let length = wire.from_router[..head]
            .split("\r\n")
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let text: String = wire.from_router.drain(..head + 4 + length).collect();
        self.note(|| format!("pool hears on {number}: {}", text.replace("\r\n", " | ")));
        let (directory, seconds) = (self.directory.clone(), self.seconds());
        let here = |local: &str| lives(&directory, local) == Some(POOL);
        self.pool.hears(seconds, number, &text, &mut self.people, here);
        self.write_wires();
    }

    pub(super) fn handle(&mut self, index: usize, input: Input) {
        let (shard, out) = &mut self.router.shards[index];
        shard.handle(self.now, input, out);
        self.outputs(index);
    }

    fn outputs(&mut self, index: usize) {
        for output in std::mem::take(&mut self.router.shards[index].1.outputs) {
            match output {
                Output::Handoff(to, handoff) => {
                    self.router.mail[usize::from(to)].push_back(Input::Handoff(handoff));
                }
                Output::Persist(number, record) => {
                    self.router.unconfirmed[index].push_back((number, *record));
                }
                Output::Connect(connect) => self.connect(index, connect.link),
                Output::Transmit(link, bytes) => {
                    let text = std::str::from_utf8(&bytes).unwrap();
                    if let Some(wire) = self.wires.values_mut().find(|wire| wire.link == link) {
                        wire.from_router.push_str(text);
                    }
                }
                Output::Close(link, _) => {
                    self.wires.retain(|_, wire| wire.link != link);
                    self.router.mail[index].push_back(Input::Closed(link, Closed::Ours));
                }
                Output::Holding(id) => {
                    if let Some(act) = self.router.mover.holding(id) {
                        self.act(act);
                    }
                }
                Output::Settled(id) => {
                    if let Some(act) = self.router.mover.settled(id) {
                        self.act(act);
                    }
                }
                Output::Note(note) => self.note(|| format!("router: {}: {}", note.about, note.text)),
                Output::Spool(_) | Output::Unspool(_) => {}
                Output::Drained
                | Output::StartTls(..)
                | Output::Told(..)
                | Output::Surveyed(..)
                | Output::Pause(_)
                | Output::Resume(_) => {}
            }
        }
    }

    fn connect(&mut self, shard: usize, link: LinkId) {
        if self.pool_is_down {
            let failed = Input::Failed { link, why: Unreachable::NoAnswer, text: "refused".into() };
            self.router.mail[shard].push_back(failed);
            return;
        }
        self.wire_count += 1;
        let wire = Wire { link, to_router: VecDeque::new(), from_router: String::new() };
        self.wires.insert(self.wire_count, wire);
        let connected = Input::Connected { link, direct_tls: true, peer: "pool".into() };
        self.router.mail[shard].extend([connected, Input::Secured(link, pool_facts())]);
    }

    pub(super) fn act(&mut self, act: Act) {
        let input: Box<dyn Fn() -> Input> = match act {
            Act::Hold(order) => Box::new(move || Input::Hold(Arc::clone(&order))),
            Act::Settle(id) => Box::new(move || Input::Settle(id)),
            Act::Commit { id, .. } => {
                self.commit(id);
                Box::new(move || Input::Release(id))
            }
        };
        for mail in &mut self.router.mail {
            mail.push_back(input());
        }
    }

    /// The registrar has moved the user, with his contacts and watchers.
    fn commit(&mut self, id: u64) {
        let Some((name, home)) = self.router.moving.remove(&id) else { return };
        self.note(|| format!("{name} moves to {home:?}"));
        self.directory
            .overlay()
            .set(Jid::parse(&name).unwrap().view(), User::at(Residence::Home(home)))
            .unwrap();
        self.pool.forgets(|local| local == name);
        let (mut out, down) = (Vec::new(), self.gateway_is_down());
        let person = self.people.get_mut(&name).unwrap();
        person.seen.clear();
        if home == LEGACY && !down {
            person.show(&name, &mut out);
            let contacts = person.contacts.iter().filter(|friend| !person.refused_by.contains(*friend));
            // The gateway asks for the presence of its users' contacts, as it does when they sign in.
            out.extend(contacts.map(|friend| Word::new(PresenceType::Probe, &name, friend)));
        }
        self.write(out);
    }

    /// Every stanza is somewhere.
    fn account(&mut self) {
        let (mut passed, mut made) = (Flow::default(), Flow::default());
        let (mut held, mut held_made) = (0, 0);
        for (shard, _) in &mut self.router.shards {
            held += shard.held();
            held_made += shard.held_made();
            passed.add(&shard.tally().passed);
            made.add(&shard.tally().made);
        }
        assert_eq!(passed.expected_held(), (held - held_made) as i128);
        assert_eq!(made.expected_held(), held_made as i128);
    }
}

fn lives(directory: &Directory, local: &str) -> Option<HomeId> {
    match directory.look_up(local).map(|user| user.residence) {
        Some(Residence::Home(home)) => Some(home),
        _ => None,
    }
}

fn pool_facts() -> Secured {
    let certificate = PeerCertificate {
        trusted: vec![TrustId(2)],
        dns: POOL_HOSTS.iter().map(|host| Arc::from(*host)).collect(),
        ..PeerCertificate::default()
    };
    Secured { certificate: Some(Box::new(certificate)), version: "TLSv1.3" }
}

pub(super) fn start(
    world: &Arc<World>,
    directory: &Directory,
    outside: &Arc<Mutex<Desk>>,
    inside: &Arc<Mutex<Desk>>,
    starts: u64,
) -> Router {
    let shards: Vec<_> = (0..world.shards)
        .map(|index| {
            let seed = [u8::try_from(index).unwrap() + 100 + starts as u8; 32];
            let backends: Vec<Box<dyn Backend>> = vec![
                Box::new(Clerk { side: Side::Partners, desk: Arc::clone(outside) }),
                Box::new(Clerk { side: Side::Home(LEGACY), desk: Arc::clone(inside) }),
                Box::new(SipBackend::new(Side::Home(POOL), Arc::clone(world), seed)),
            ];
            let shard = Shard::new(index, Arc::clone(world), directory.clone(), backends, starts);
            (shard, Outbox::new(index))
        })
        .collect();
    Router {
        mail: shards.iter().map(|_| VecDeque::new()).collect(),
        unconfirmed: shards.iter().map(|_| VecDeque::new()).collect(),
        mover: Mover::new(world.shards),
        moving: BTreeMap::new(),
        accepted: starts << 32,
        shards,
    }
}
