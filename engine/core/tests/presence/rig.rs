//! Shards with backends that only write down what they are given, one line a stanza.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Composed, Destination, Fault, Sent, Verdict};
use turnout_core::contact::{Contact, Record};
use turnout_core::contacts::ContactCounts;
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{Closed, Door, Event, Input, LinkId, MoveOrder, Outbox, Output, Secured, Side, Told};
use turnout_core::jid::{Domain, Jid};
use turnout_core::placement::owner_of_user;
use turnout_core::policy::{GatewayLimits, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::presence::PresenceRules;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::shard::Shard;
use turnout_core::stanza::{Kind, Origin, Payload, PresenceType, Stanza};
use turnout_core::tally::{DropRule, Flow};
use turnout_core::world::World;

pub(crate) const ANNA: &str = "anna@contoso.com";
pub(crate) const BOB: &str = "bob@partner.example";
pub(crate) const CARLA: &str = "carla@contoso.com";

const LEGACY: HomeId = HomeId(0);
const MODERN: HomeId = HomeId(1);

/// What the backends of all shards have seen.
#[derive(Default)]
struct Seen {
    sent: BTreeMap<&'static str, Vec<String>>,
    parted: Vec<String>,
    pool_is_down: bool,
    partner_is_down: bool,
    gateway_is_down: bool,
    /// Streams to the gateway.
    to_gateway: Vec<LinkId>,
}

struct Recorder {
    side: Side,
    seen: Arc<Mutex<Seen>>,
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Partners => "partner",
        Side::Home(LEGACY) => "gateway",
        Side::Home(_) => "pool",
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Presence(PresenceType::Available) => "available",
        Kind::Presence(PresenceType::Unavailable) => "unavailable",
        Kind::Presence(PresenceType::Subscribe) => "subscribe",
        Kind::Presence(PresenceType::Subscribed) => "subscribed",
        Kind::Presence(PresenceType::Unsubscribe) => "unsubscribe",
        Kind::Presence(PresenceType::Unsubscribed) => "unsubscribed",
        Kind::Presence(PresenceType::Probe) => "probe",
        _ => "error",
    }
}

fn stanza(now: Instant, kind: PresenceType, from: &str, to: &str, side: Side, made: bool) -> Stanza {
    Stanza {
        kind: Kind::Presence(kind),
        from: Jid::parse(from).unwrap(),
        to: Jid::parse(to).unwrap(),
        bytes: Bytes::from_static(b"<presence/>"),
        insert_at: 9,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 0..0,
        payload: Payload::None,
        origin: Origin { side, link: LinkId::NONE, ticket: 0 },
        arrived: now,
        made,
        attempts: 0,
        disk: Default::default(),
    }
}

impl Recorder {
    fn write(&self, line: String) {
        self.seen.lock().unwrap().sent.entry(name(self.side)).or_default().push(line);
    }
}

impl Backend for Recorder {
    fn accepted(&mut self, _: Instant, _: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {}

    fn dial(&mut self, _: Instant, link: LinkId, _: &Destination, _: Option<&HostPort>, out: &mut Outbox) {
        let mut seen = self.seen.lock().unwrap();
        let down = match self.side {
            Side::Partners => seen.partner_is_down,
            Side::Home(MODERN) => seen.pool_is_down,
            Side::Home(_) => seen.gateway_is_down,
        };
        if self.side == Side::Home(LEGACY) && !down {
            seen.to_gateway.push(link);
        }
        let refusal = || {
            Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "down")
        };
        out.events.push_back(if down { Event::Unready(link, Some(refusal())) } else { Event::Ready(link) });
    }

    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}
    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}

    /// `kind from to`, where kind is the type's number.
    fn receive(&mut self, now: Instant, _: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        let kind = KINDS[words[0].parse::<usize>().unwrap()];
        out.arrivals.push_back(stanza(now, kind, words[1], words[2], self.side, false));
        Ok(())
    }

    fn send(&mut self, _: Instant, _: LinkId, stanza: Stanza, _: &mut Outbox) -> Sent {
        self.write(format!("{} {} {}", word(stanza.kind), stanza.from, stanza.to));
        Sent::Answered(stanza)
    }

    fn presence(&mut self, _: Instant, _: LinkId, stanza: Stanza, contact: &Contact, _: &mut Outbox) -> Sent {
        let mut state = contact.subscription().to_owned();
        for (on, word) in [(contact.asked, "+out"), (contact.asking, "+in"), (contact.vetoed, "+veto")] {
            state.push_str(if on { word } else { "" });
        }
        self.write(format!("{} {} {} {state}", word(stanza.kind), stanza.from, stanza.to));
        Sent::Answered(stanza)
    }

    fn compose(&mut self, now: Instant, composed: &Composed, out: &mut Outbox) {
        let (from, to) = (composed.from.as_str(), composed.to.as_str());
        out.arrivals.push_back(stanza(now, composed.kind, from, to, Side::Partners, true));
    }

    fn part_with(&mut self, _: Instant, bare: &str, _: &mut Outbox) {
        self.seen.lock().unwrap().parted.push(bare.to_owned());
    }

    fn closed(&mut self, _: Instant, _: LinkId, _: &Closed, _: &mut Outbox) {}
    fn settle(&mut self, _: Instant, _: &Origin, _: Verdict<'_>, _: &mut Outbox) {}
    fn answer(&mut self, _: Instant, _: &Stanza, _: &mut Outbox) -> Result<(), Refusal> {
        Ok(())
    }
    fn adopt(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) {}
    fn kept_for(&self, _: &str) -> usize {
        0
    }
    fn kept(&self) -> usize {
        0
    }
    fn configure(&mut self, _: Instant, _: &Arc<World>, _: &mut Outbox) {}
    fn drain(&mut self, _: Instant, _: &mut Outbox) {}
    fn wake(&mut self, _: Instant, _: &mut Outbox) {}
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

const KINDS: [PresenceType; 7] = [
    PresenceType::Available,
    PresenceType::Unavailable,
    PresenceType::Subscribe,
    PresenceType::Subscribed,
    PresenceType::Unsubscribe,
    PresenceType::Unsubscribed,
    PresenceType::Probe,
];

fn world(shards: u16, durable: bool) -> Arc<World> {
    let home = |name: &str, backend| Home {
        name: name.to_owned(),
        backend,
        dialect: Dialect::Skype,
        registrar_pools: vec![format!("{name}.contoso.com")],
        connect: vec![HostPort { host: format!("{name}.contoso.com"), port: 5061 }],
    };
    let domain = |text: &str| Domain::parse(text).unwrap();
    let defaults = PartnerDefaults::default();
    let partner = Partner::with_defaults(domain("partner.example"), &defaults);
    let homes = vec![home("legacy", BackendKind::Xmpp), home("sfb2019", BackendKind::Sip)];
    Arc::new(World {
        generation: 1,
        domains: vec![domain("contoso.com")],
        policy: Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap(),
        homes: Homes::new(homes, &[]).unwrap(),
        sip: Default::default(),
        inside: Default::default(),
        dialback_secret: Arc::from([0_u8; 32].as_slice()),
        stanza_bytes_max: 262_144,
        enforce_introductions: false,
        presence: PresenceRules { durable, ..PresenceRules::default() },
        flow: turnout_core::flow::FlowLimits::default(),
        shards,
    })
}

pub(crate) struct Rig {
    now: Instant,
    shards: Vec<(Shard, Outbox)>,
    directory: Directory,
    seen: Arc<Mutex<Seen>>,
    stored: BTreeMap<String, Contact>,
    /// Given to the store and not yet confirmed, by shard.
    unconfirmed: Vec<Vec<(u64, Record)>>,
    moves: u64,
    /// Answers to the administrator, by shard.
    told: Vec<(usize, Told)>,
}

impl Rig {
    pub(crate) fn new(shards: u16, durable: bool) -> Self {
        Self::with_legacy_users(shards, durable, 0)
    }

    /// The `n`th of the users that are added to the gateway's.
    pub(crate) fn legacy_user(n: usize) -> String {
        format!("l{n}@contoso.com")
    }

    /// With so many users of the gateway besides.
    pub(crate) fn with_legacy_users(shards: u16, durable: bool, more: usize) -> Self {
        let (now, world, seen) = (Instant::now(), world(shards, durable), Arc::<Mutex<Seen>>::default());
        let mut users = SnapshotBuilder::new();
        for (user, home) in [(ANNA, LEGACY), (CARLA, MODERN), ("cleo@contoso.com", MODERN)] {
            users.add(Jid::parse(user).unwrap().view(), User::at(Residence::Home(home))).unwrap();
        }
        for n in 0..more {
            users
                .add(Jid::parse(&Self::legacy_user(n)).unwrap().view(), User::at(Residence::Home(LEGACY)))
                .unwrap();
        }
        let directory = Directory::new(Arc::new(users.finish()), Arc::new(Overlay::new(more + 1)));
        let sides = [Side::Partners, Side::Home(LEGACY), Side::Home(MODERN)];
        let shards: Vec<_> = (0..shards)
            .map(|index| {
                let backends = sides
                    .map(|side| -> Box<dyn Backend> { Box::new(Recorder { side, seen: Arc::clone(&seen) }) });
                let shard = Shard::new(index, Arc::clone(&world), directory.clone(), backends.into(), 1);
                (shard, Outbox::new(index))
            })
            .collect();
        let unconfirmed = shards.iter().map(|_| Vec::new()).collect();
        let mut rig = Self {
            now,
            shards,
            directory,
            seen,
            stored: BTreeMap::new(),
            unconfirmed,
            moves: 0,
            told: Vec::new(),
        };
        for index in 0..rig.shards.len() {
            for (n, side) in (1..).zip(sides) {
                let link = LinkId::accepted(index as u16, n);
                let door = Door { side, direct_tls: false };
                rig.handle(index, Input::Accepted { link, door, peer: "peer".into() });
            }
        }
        rig
    }

    fn handle(&mut self, index: usize, input: Input) {
        let (shard, out) = &mut self.shards[index];
        shard.handle(self.now, input, out);
        self.drain_outputs();
    }

    fn drain_outputs(&mut self) {
        loop {
            let mut any = false;
            for index in 0..self.shards.len() {
                for output in std::mem::take(&mut self.shards[index].1.outputs) {
                    any = true;
                    match output {
                        Output::Handoff(to, handoff) => {
                            let (shard, out) = &mut self.shards[usize::from(to)];
                            shard.handle(self.now, Input::Handoff(handoff), out);
                        }
                        Output::Persist(number, record) => {
                            self.unconfirmed[index].push((number, *record));
                        }
                        Output::Told(_, told) => self.told.push((index, *told)),
                        _ => {}
                    }
                }
            }
            if !any {
                return;
            }
        }
    }

    fn receive(&mut self, shard: usize, side: u64, kind: PresenceType, from: &str, to: &str) {
        let number = KINDS.iter().position(|other| *other == kind).unwrap();
        let link = LinkId::accepted(shard as u16, side);
        self.handle(shard, Input::Received(link, format!("{number} {from} {to}").into()));
    }

    pub(crate) fn partner_says(&mut self, kind: PresenceType, from: &str, to: &str) {
        self.receive(0, 1, kind, from, to);
    }

    pub(crate) fn gateway_says(&mut self, kind: PresenceType, from: &str, to: &str) {
        self.receive(self.shards.len() - 1, 2, kind, from, to);
    }

    /// A SIP backend speaks on the shard that owns the user.
    pub(crate) fn pool_says(&mut self, kind: PresenceType, from: &str, to: &str) {
        let bare = Jid::parse(from).unwrap().bare();
        let owner = owner_of_user(bare.as_str(), self.shards.len() as u16);
        self.receive(usize::from(owner), 3, kind, from, to);
    }

    pub(crate) fn remember(&mut self, records: Vec<Record>) {
        let count = self.shards.len() as u16;
        for index in 0..count {
            let own = records.iter().filter(|record| owner_of_user(&record.pair.local, count) == index);
            let own = own.cloned().collect();
            self.handle(usize::from(index), Input::Contacts(own));
        }
    }

    /// The store has everything.
    pub(crate) fn persist(&mut self) {
        for index in 0..self.shards.len() {
            let records = std::mem::take(&mut self.unconfirmed[index]);
            let Some(last) = records.last().map(|(number, _)| *number) else { continue };
            for (_, record) in records {
                self.stored.insert(record.pair.local.to_string(), record.contact);
            }
            self.handle(index, Input::Persisted(last));
        }
    }

    pub(crate) fn stored(&self, local: &str) -> Option<Contact> {
        self.stored.get(local).cloned()
    }

    /// The administrator puts a question or a wish about a user to the shard that owns him, and gets one answer, from there.
    pub(crate) fn administer(&mut self, user: &str, input: Input) -> Told {
        let owner = usize::from(owner_of_user(user, self.shards.len() as u16));
        self.handle(owner, input);
        let [(from, told)] = std::mem::take(&mut self.told).try_into().unwrap();
        assert_eq!(from, owner);
        told
    }

    /// What all shards count of contacts.
    pub(crate) fn counts(&mut self) -> ContactCounts {
        let mut counts = ContactCounts::default();
        self.shards.iter_mut().for_each(|(shard, _)| counts.add(&shard.tally().contacts));
        counts
    }

    pub(crate) fn pool_is_down(&mut self, down: bool) {
        self.seen.lock().unwrap().pool_is_down = down;
    }

    pub(crate) fn partner_is_down(&mut self, down: bool) {
        self.seen.lock().unwrap().partner_is_down = down;
    }

    /// The gateway's process ends, and with it every stream.
    pub(crate) fn gateway_dies(&mut self) {
        let links = {
            let mut seen = self.seen.lock().unwrap();
            seen.gateway_is_down = true;
            std::mem::take(&mut seen.to_gateway)
        };
        for link in links {
            self.handle(usize::from(link.shard()), Input::Closed(link, Closed::Eof));
        }
    }

    pub(crate) fn gateway_is_back(&mut self) {
        self.seen.lock().unwrap().gateway_is_down = false;
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.shards.iter().filter_map(|(shard, _)| shard.deadline()).min() {
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            for (shard, out) in &mut self.shards {
                shard.wake(self.now, out);
            }
            self.drain_outputs();
        }
        self.now = end;
    }

    pub(crate) fn move_user(&mut self, user: &str, to_pool: bool) {
        self.move_users(vec![user.into()], to_pool);
        self.pass(Duration::from_millis(300));
    }

    /// Moves users in one order.
    pub(crate) fn move_users(&mut self, users: Vec<Arc<str>>, to_pool: bool) {
        self.moves += 1;
        let order = Arc::new(MoveOrder { id: self.moves, users });
        for index in 0..self.shards.len() {
            self.handle(index, Input::Hold(Arc::clone(&order)));
            self.handle(index, Input::Settle(self.moves));
        }
        self.pass(Duration::from_millis(300));
        let home = if to_pool { MODERN } else { LEGACY };
        for user in &order.users {
            let user = Jid::parse(user).unwrap();
            self.directory.overlay().set(user.view(), User::at(Residence::Home(home))).unwrap();
        }
        for index in 0..self.shards.len() {
            self.handle(index, Input::Release(self.moves));
        }
    }

    fn take(&mut self, side: &'static str) -> Vec<String> {
        self.seen.lock().unwrap().sent.remove(side).unwrap_or_default()
    }

    pub(crate) fn pool_hears(&mut self) -> Vec<String> {
        self.take("pool")
    }

    pub(crate) fn partner_hears(&mut self) -> Vec<String> {
        self.take("partner")
    }

    pub(crate) fn gateway_hears(&mut self) -> Vec<String> {
        self.take("gateway")
    }

    pub(crate) fn parted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap().parted)
    }

    pub(crate) fn held(&self) -> usize {
        self.shards.iter().map(|(shard, _)| shard.held()).sum()
    }

    pub(crate) fn dropped(&mut self, rule: DropRule) -> u64 {
        self.shards.iter_mut().map(|(shard, _)| shard.tally().passed.dropped[rule as usize]).sum()
    }

    /// Every stanza is accounted for.
    pub(crate) fn check(&mut self) {
        let (mut passed, mut made) = (Flow::default(), Flow::default());
        let (mut held, mut held_made) = (0, 0);
        for (shard, _) in &mut self.shards {
            held += shard.held();
            held_made += shard.held_made();
            passed.add(&shard.tally().passed);
            made.add(&shard.tally().made);
        }
        assert_eq!(passed.expected_held(), (held - held_made) as i128, "{passed:?}");
        assert_eq!(made.expected_held(), held_made as i128, "{made:?}");
    }
}
