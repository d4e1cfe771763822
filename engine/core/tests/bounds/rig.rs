//! One shard between partners, a legacy gateway and a pool, whose backends do what the test tells them and write down what they see. A
//! stanza's bytes begin with its number.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::flow::FlowLimits;
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{Closed, Door, Event, Input, LinkId, Outbox, Output, Secured, Side};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{GatewayLimits, PartnerDefaults, PartnerType, Policy, Unlisted};
use turnout_core::presence::PresenceRules;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::shard::Shard;
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_core::world::World;

/// Lives on the legacy gateway.
pub(crate) const ANNA: &str = "anna@contoso.com";
/// Lives on the pool.
pub(crate) const CARLA: &str = "carla@contoso.com";
pub(crate) const BOB: &str = "bob@partner.example";

pub(crate) const LEGACY: Side = Side::Home(HomeId(0));
pub(crate) const POOL: Side = Side::Home(HomeId(1));
pub(crate) const SIDES: [Side; 3] = [Side::Partners, LEGACY, POOL];

/// What a backend does with what it is given.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Writes it.
    #[default]
    Writes,
    /// Keeps it.
    Keeps,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// What the next read brings.
    pending: VecDeque<Stanza>,
    pub(crate) dialed: Vec<LinkId>,
    /// Dials stay without an answer.
    pub(crate) dials_wait: bool,
    pub(crate) manner: Manner,
    /// Every link out acknowledges.
    pub(crate) acknowledges: bool,
    /// Given to a backend, by link.
    pub(crate) given: BTreeMap<LinkId, Vec<u32>>,
    pub(crate) kept: Vec<Stanza>,
    /// Refused: number, condition, and what is said of it.
    pub(crate) refused: Vec<(u32, Condition, String)>,
    /// Links read and not read.
    pub(crate) paused: Vec<LinkId>,
    pub(crate) closed: Vec<LinkId>,
    pub(crate) told: Option<(usize, usize)>,
    pub(crate) persisted: u64,
    pub(crate) settled: Vec<u64>,
    pub(crate) spooled: usize,
}

struct Toy {
    side: Side,
    seen: Arc<Mutex<Seen>>,
}

fn number(stanza: &Stanza) -> u32 {
    u32::from_be_bytes(stanza.bytes[..4].try_into().unwrap())
}

impl Toy {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

impl Backend for Toy {
    fn accepted(&mut self, _: Instant, _: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {}
    fn dial(&mut self, _: Instant, link: LinkId, _: &Destination, _: Option<&HostPort>, out: &mut Outbox) {
        let mut seen = self.seen();
        seen.dialed.push(link);
        if !seen.dials_wait {
            out.events.extend(seen.acknowledges.then_some(Event::Acknowledging(link)));
            out.events.push_back(Event::Ready(link));
        }
    }
    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}
    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}
    fn receive(&mut self, _: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        match &bytes[..] {
            b"ready" => out.events.push_back(Event::Ready(link)),
            b"close" => out.events.push_back(Event::Unready(link, None)),
            b"acknowledge" => out.events.push_back(Event::Acknowledged(link, 1)),
            _ => out.arrivals.extend(self.seen().pending.drain(..)),
        }
        Ok(())
    }
    fn send(&mut self, _: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        let mut seen = self.seen();
        seen.given.entry(link).or_default().push(number(&stanza));
        if seen.manner == Manner::Keeps {
            seen.kept.push(stanza);
            return Sent::Kept;
        }
        out.transmit(link, stanza.bytes.clone());
        Sent::OnWrite(stanza)
    }
    fn closed(&mut self, _: Instant, _: LinkId, _: &Closed, _: &mut Outbox) {}
    fn settle(&mut self, _: Instant, _: &Origin, verdict: Verdict<'_>, _: &mut Outbox) {
        if let Verdict::Refused(stanza, refusal) = verdict {
            let number = stanza.map_or(u32::MAX, number);
            let text = refusal.to_string();
            self.seen().refused.push((number, refusal.condition, text));
        }
    }
    fn answer(&mut self, _: Instant, _: &Stanza, _: &mut Outbox) -> Result<(), Refusal> {
        Ok(())
    }
    fn adopt(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) {}
    fn kept_for(&self, bare: &str) -> usize {
        self.seen().kept.iter().filter(|stanza| stanza.to.bare_str() == bare).count()
    }
    fn kept(&self) -> usize {
        self.seen().kept.iter().filter(|stanza| self.side == side_of(stanza)).count()
    }
    fn configure(&mut self, _: Instant, _: &Arc<World>, _: &mut Outbox) {}
    fn drain(&mut self, _: Instant, _: &mut Outbox) {}
    fn wake(&mut self, _: Instant, _: &mut Outbox) {}
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

fn side_of(stanza: &Stanza) -> Side {
    match stanza.to.bare_str() {
        ANNA => LEGACY,
        CARLA => POOL,
        _ => Side::Partners,
    }
}

pub(crate) fn world(flow: FlowLimits, presence: PresenceRules) -> Arc<World> {
    let home = |name: &str, backend| Home {
        name: name.to_owned(),
        backend,
        dialect: Dialect::Skype,
        registrar_pools: vec![format!("{name}.contoso.com")],
        connect: vec![HostPort { host: format!("{name}.internal"), port: 5269 }],
    };
    let defaults = PartnerDefaults { kind: PartnerType::Federated, ..PartnerDefaults::default() };
    let homes = vec![home("legacy", BackendKind::Xmpp), home("pool", BackendKind::Sip)];
    Arc::new(World {
        generation: 1,
        domains: vec![Domain::parse("contoso.com").unwrap()],
        policy: Policy::new(Vec::new(), Unlisted::Allow, defaults, GatewayLimits::default()).unwrap(),
        homes: Homes::new(homes, &[]).unwrap(),
        sip: Default::default(),
        inside: Default::default(),
        dialback_secret: Arc::from([0_u8; 32].as_slice()),
        stanza_bytes_max: 262_144,
        enforce_introductions: false,
        presence,
        flow,
        shards: 1,
    })
}

pub(crate) struct Rig {
    pub(crate) now: Instant,
    pub(crate) shard: Shard,
    pub(crate) out: Outbox,
    seen: Arc<Mutex<Seen>>,
    transmitted: BTreeMap<LinkId, u64>,
    count: u32,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(FlowLimits::default())
    }

    pub(crate) fn with(flow: FlowLimits) -> Self {
        Self::of(flow, PresenceRules::default())
    }

    /// The partner's server, the gateway and the pool have connected.
    pub(crate) fn of(flow: FlowLimits, presence: PresenceRules) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut users = SnapshotBuilder::new();
        for (user, home) in [(ANNA, 0), (CARLA, 1)] {
            users.add(Jid::parse(user).unwrap().view(), User::at(Residence::Home(HomeId(home)))).unwrap();
        }
        let directory = Directory::new(Arc::new(users.finish()), Arc::new(Overlay::new(1)));
        let backend = |side| -> Box<dyn Backend> { Box::new(Toy { side, seen: Arc::clone(&seen) }) };
        let shard = Shard::new(0, world(flow, presence), directory, SIDES.map(backend).into(), 1);
        let (transmitted, out) = (BTreeMap::new(), Outbox::new(0));
        let mut rig = Self { now: Instant::now(), shard, out, seen, transmitted, count: 0 };
        for side in SIDES {
            rig.accept(side, 0);
        }
        rig
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Another connection of a side, of this number; 0 is there from the start.
    pub(crate) fn accept(&mut self, side: Side, number: u64) -> LinkId {
        let link = link_of(side, number);
        let door = Door { side, direct_tls: false };
        self.handle(Input::Accepted { link, door, peer: "peer".into() });
        link
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.shard.handle(self.now, input, &mut self.out);
        self.collect();
    }

    fn collect(&mut self) {
        for output in std::mem::take(&mut self.out.outputs) {
            let mut seen = self.seen.lock().unwrap();
            match output {
                Output::Transmit(link, bytes) => {
                    *self.transmitted.entry(link).or_default() += bytes.len() as u64;
                }
                Output::Pause(link) => seen.paused.push(link),
                Output::Resume(link) => seen.paused.retain(|other| *other != link),
                Output::Close(link, _) => seen.closed.push(link),
                Output::Told(_, told) => seen.told = Some((told.contacts.len(), told.contacts_total)),
                Output::Persist(number, _) => seen.persisted = number,
                Output::Settled(id) => seen.settled.push(id),
                Output::Spool(_) => seen.spooled += 1,
                _ => {}
            }
        }
    }

    /// Time passes; the shard wakes whenever it wants to.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.shard.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.shard.wake(self.now, &mut self.out);
            self.collect();
        }
        self.now = end;
    }

    pub(crate) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(crate) fn millis(&mut self, millis: u64) {
        self.pass(Duration::from_millis(millis));
    }

    /// A message of so many bytes.
    pub(crate) fn message(&mut self, from: &str, to: &str, bytes: &Bytes) -> Stanza {
        self.count += 1;
        let bytes = match bytes.len() {
            // Large ones share their bytes, and their number says nothing.
            100.. => bytes.clone(),
            size => Bytes::from([&self.count.to_be_bytes()[..], &vec![b'x'; size]].concat()),
        };
        Stanza {
            kind: Kind::message(Some("chat")),
            from: Jid::parse(from).unwrap(),
            to: Jid::parse(to).unwrap(),
            bytes,
            insert_at: 0,
            insert: None,
            from_span: 0..0,
            to_span: 0..0,
            id_span: 0..0,
            payload: Payload::None,
            origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
            arrived: self.now,
            made: false,
            attempts: 0,
            disk: Default::default(),
        }
    }

    /// A link brings these, in one read.
    pub(crate) fn bring(&mut self, side: Side, link: LinkId, stanzas: impl IntoIterator<Item = Stanza>) {
        let of_link =
            |stanza: Stanza| Stanza { origin: Origin { side, link, ticket: stanza.origin.ticket }, ..stanza };
        self.seen().pending.extend(stanzas.into_iter().map(of_link));
        self.handle(Input::Received(link, Bytes::from_static(b"stanzas")));
    }

    /// So many small messages on the first connection of a side.
    pub(crate) fn say(&mut self, side: Side, from: &str, to: &str, count: usize) {
        for _ in 0..count {
            let stanza = self.message(from, to, &Bytes::new());
            self.bring(side, link_of(side, 0), [stanza]);
        }
    }

    /// So many of 256 KiB, on this connection.
    pub(crate) fn say_large(&mut self, side: Side, link: LinkId, from: &str, to: &str, count: usize) {
        let bytes = large();
        for _ in 0..count {
            let stanza = self.message(from, to, &bytes);
            self.bring(side, link, [stanza]);
        }
    }

    /// What a backend says of a link.
    pub(crate) fn event(&mut self, link: LinkId, what: &'static str) {
        self.handle(Input::Received(link, Bytes::from_static(what.as_bytes())));
    }

    /// The link dialed last.
    pub(crate) fn dialed(&self) -> LinkId {
        *self.seen().dialed.last().unwrap()
    }

    pub(crate) fn dials(&self) -> usize {
        self.seen().dialed.len()
    }

    pub(crate) fn closed(&self) -> Vec<LinkId> {
        self.seen().closed.clone()
    }

    pub(crate) fn given(&self, link: LinkId) -> usize {
        self.seen().given.get(&link).map_or(0, Vec::len)
    }

    pub(crate) fn write_all(&mut self, link: LinkId) {
        let total = self.transmitted[&link];
        self.handle(Input::Written(link, total));
    }

    pub(crate) fn refused(&self) -> usize {
        self.seen().refused.len()
    }

    /// Takes what was refused: its condition and the words, of the last.
    pub(crate) fn refusal(&self) -> (Condition, String) {
        let (_, condition, text) = self.seen().refused.last().cloned().unwrap();
        (condition, text)
    }

    pub(crate) fn is_paused(&self, link: LinkId) -> bool {
        self.seen().paused.contains(&link)
    }

    /// What the backend keeps comes back.
    pub(crate) fn give_back(&mut self) {
        let kept = std::mem::take(&mut self.seen().kept);
        for stanza in kept {
            let refusal = Refusal::new(
                Condition::RemoteServerTimeout,
                Blame::NextHop,
                Retry::Later,
                Bounce::Yes,
                "it went away",
            );
            self.out.events.push_back(Event::Done(Box::new(stanza), Err(refusal)));
        }
        self.handle(Input::Received(LinkId::NONE, Bytes::new()));
    }

    /// What the shard holds is what it counts.
    pub(crate) fn check(&mut self) {
        let held = self.shard.held() as i128;
        let tally = self.shard.tally();
        assert_eq!(tally.passed.expected_held() + tally.made.expected_held(), held);
    }
}

pub(crate) fn link_of(side: Side, number: u64) -> LinkId {
    let place = SIDES.iter().position(|other| *other == side).unwrap() as u64;
    LinkId::accepted(0, 1 + place + 3 * number)
}

/// 256 KiB, shared by all who have them.
pub(crate) fn large() -> Bytes {
    static LARGE: [u8; 256 * 1024] = [b'x'; 256 * 1024];
    Bytes::from_static(&LARGE)
}
