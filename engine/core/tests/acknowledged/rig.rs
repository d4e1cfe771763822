//! Shards with backends whose every link out acknowledges when it is told to. A message is its number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::durable::{Entry, EntryKey, Opened, hand_out};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{
    Closed, Door, Ended, Event, Input, LinkId, Outbox, Output, Secured, Side, Unreachable,
};
use turnout_core::jid::{Domain, Jid};
use turnout_core::placement::owner_of_domain;
use turnout_core::policy::{GatewayLimits, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::presence::PresenceRules;
use turnout_core::refusal::Refusal;
use turnout_core::shard::Shard;
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_core::tally::Flow;
use turnout_core::world::World;

pub(crate) const ANNA: &str = "anna@contoso.com";
pub(crate) const BOB: &str = "bob@partner.example";

const SIDES: [Side; 2] = [Side::Partners, Side::Home(HomeId(0))];

#[derive(Default)]
struct Seen {
    dialed: Vec<LinkId>,
    /// Dials that are not answered yet.
    opening: Vec<(LinkId, Side)>,
    dials_wait: bool,
    /// Links that are gone may be resumed.
    outlives: bool,
    heard: BTreeMap<LinkId, Vec<u32>>,
    ended: BTreeMap<LinkId, u32>,
    bounced: BTreeSet<u32>,
}

struct Counting {
    side: Side,
    seen: Arc<Mutex<Seen>>,
}

impl Backend for Counting {
    fn accepted(&mut self, _: Instant, _: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {}

    fn dial(&mut self, _: Instant, link: LinkId, _: &Destination, _: Option<&HostPort>, out: &mut Outbox) {
        let mut seen = self.seen.lock().unwrap();
        seen.dialed.push(link);
        if seen.dials_wait {
            seen.opening.push((link, self.side));
        } else {
            out.events.extend([Event::Acknowledging(link), Event::Ready(link)]);
        }
    }

    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}
    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}

    /// `back`, `chain`, `unchain LINK`, `open`, `resume COUNT`, `ack COUNT`, or `say FROM TO NUMBER…`.
    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        match words[0] {
            "back" => {
                let domain = |text| Domain::parse(text).unwrap();
                let (ours, theirs) = (domain("contoso.com"), domain("partner.example"));
                let back = Destination::Pair { side: self.side, ours, theirs };
                out.events.extend([Event::Acknowledging(link), Event::WayBack(link, back)]);
            }
            "chain" => out.chained.push(link),
            "unchain" => out.unchained.push(LinkId::accepted(link.shard(), words[1].parse().unwrap())),
            "resume" => out.events.extend([
                Event::Acknowledging(link),
                Event::Resumed(link, words[1].parse().unwrap()),
                Event::Ready(link),
            ]),
            "open" => out.events.extend([Event::Acknowledging(link), Event::Ready(link)]),
            "ack" => out.events.push_back(Event::Acknowledged(link, words[1].parse().unwrap())),
            _ => out.arrivals.extend(words[3..].iter().map(|number| Stanza {
                kind: Kind::message(None),
                from: Jid::parse(words[1]).unwrap(),
                to: Jid::parse(words[2]).unwrap(),
                bytes: Bytes::copy_from_slice(number.as_bytes()),
                insert_at: 0,
                insert: None,
                from_span: 0..0,
                to_span: 0..0,
                id_span: 0..0,
                payload: Payload::None,
                origin: Origin { side: self.side, link, ticket: 0 },
                arrived: now,
                made: false,
                attempts: 0,
                disk: Default::default(),
            })),
        }
        Ok(())
    }

    fn send(&mut self, _: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        let number = std::str::from_utf8(&stanza.bytes).unwrap().parse().unwrap();
        self.seen.lock().unwrap().heard.entry(link).or_default().push(number);
        out.transmit(link, stanza.bytes.clone());
        Sent::OnWrite(stanza)
    }

    fn ended(&mut self, _: Instant, ended: &Ended, _: &mut Outbox) {
        assert_eq!(ended.side, self.side);
        *self.seen.lock().unwrap().ended.entry(ended.link).or_default() += ended.count;
    }

    fn outlives(&self, _: LinkId) -> bool {
        self.seen.lock().unwrap().outlives
    }

    fn closed(&mut self, _: Instant, _: LinkId, _: &Closed, _: &mut Outbox) {}
    fn settle(&mut self, _: Instant, _: &Origin, verdict: Verdict<'_>, _: &mut Outbox) {
        if let Verdict::Refused(Some(stanza), _) = verdict {
            let number = std::str::from_utf8(&stanza.bytes).unwrap().parse().unwrap();
            assert!(self.seen.lock().unwrap().bounced.insert(number));
        }
    }
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

fn world(shards: u16) -> Arc<World> {
    let home = Home {
        name: "legacy".to_owned(),
        backend: BackendKind::Xmpp,
        dialect: Dialect::Skype,
        registrar_pools: vec!["lync.contoso.com".to_owned()],
        connect: vec![HostPort { host: "gateway.internal".to_owned(), port: 5269 }],
    };
    let domain = |text: &str| Domain::parse(text).unwrap();
    let defaults = PartnerDefaults::default();
    let partner = Partner::with_defaults(domain("partner.example"), &defaults);
    Arc::new(World {
        generation: 1,
        domains: vec![domain("contoso.com")],
        policy: Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap(),
        homes: Homes::new(vec![home], &[]).unwrap(),
        sip: Default::default(),
        inside: Default::default(),
        dialback_secret: Arc::from([0_u8; 32].as_slice()),
        stanza_bytes_max: 262_144,
        enforce_introductions: false,
        presence: PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards,
    })
}

pub(crate) struct Rig {
    now: Instant,
    shards: Vec<(Shard, Outbox)>,
    seen: Arc<Mutex<Seen>>,
    transmitted: BTreeMap<LinkId, u64>,
    /// What a durable spool was given, and which of it is done.
    pub(crate) spooled: Vec<Entry>,
    pub(crate) unspooled: Vec<EntryKey>,
}

impl Rig {
    /// Each shard has accepted a partner and the gateway.
    pub(crate) fn new(shards: u16) -> Self {
        let (world, seen) = (world(shards), Arc::<Mutex<Seen>>::default());
        let mut users = SnapshotBuilder::new();
        users.add(Jid::parse(ANNA).unwrap().view(), User::at(Residence::Home(HomeId(0)))).unwrap();
        let directory = Directory::new(Arc::new(users.finish()), Arc::new(Overlay::new(1)));
        let shards: Vec<_> = (0..shards)
            .map(|index| {
                let backend =
                    |side| -> Box<dyn Backend> { Box::new(Counting { side, seen: Arc::clone(&seen) }) };
                let backends = SIDES.map(backend).into();
                (Shard::new(index, Arc::clone(&world), directory.clone(), backends, 1), Outbox::new(index))
            })
            .collect();
        let now = Instant::now();
        let (transmitted, spooled, unspooled) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut rig = Self { now, shards, seen, transmitted, spooled, unspooled };
        for index in 0..rig.shards.len() {
            for (n, side) in (1..).zip(SIDES) {
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
        self.settle();
    }

    /// Time passes, and what is due is done.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += std::time::Duration::from_secs(seconds);
        for (shard, out) in &mut self.shards {
            shard.wake(self.now, out);
        }
        self.settle();
    }

    fn settle(&mut self) {
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
                        Output::Transmit(link, bytes) => {
                            *self.transmitted.entry(link).or_default() += bytes.len() as u64;
                        }
                        Output::Spool(entry) => self.spooled.push(*entry),
                        Output::Unspool(key) => self.unspooled.push(key),
                        _ => {}
                    }
                }
            }
            if !any {
                return;
            }
        }
    }

    fn tell(&mut self, link: LinkId, text: String) {
        self.handle(usize::from(link.shard()), Input::Received(link, text.into()));
    }

    fn say(&mut self, link: LinkId, numbers: &[u32], from: &str, to: &str) {
        self.now += std::time::Duration::from_millis(1);
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        self.tell(link, format!("say {from} {to} {}", numbers.join(" ")));
    }

    /// The spool is durable from now on, and holds these for each shard.
    pub(crate) fn open_spool(&mut self, epoch: u32, entries: Vec<Entry>) {
        let directory = self.shards[0].0.directory().clone();
        let (shards, detours) = hand_out(&world(self.shards.len() as u16), &directory, entries);
        let opened = Opened {
            epoch,
            at: self.now,
            unix_millis: 1_767_323_045_000,
            age: std::time::Duration::from_secs(600),
            detours: Arc::new(detours),
        };
        for (index, entries) in shards.into_iter().enumerate() {
            self.handle(index, Input::Opened(Box::new(opened.clone())));
            self.handle(index, Input::Recovered(entries));
        }
    }

    /// Everything given up to this is on disk.
    pub(crate) fn confirm(&mut self, key: EntryKey) {
        self.handle(usize::from(key.shard()), Input::Spooled(key));
    }

    /// The partner speaks on a shard, all in one read.
    pub(crate) fn says(&mut self, shard: u16, numbers: &[u32], from: &str, to: &str) {
        self.say(LinkId::accepted(shard, 1), numbers, from, to);
    }

    /// The gateway does.
    pub(crate) fn gateway_says(&mut self, shard: u16, numbers: &[u32], from: &str, to: &str) {
        self.say(LinkId::accepted(shard, 2), numbers, from, to);
    }

    /// Both streams in of a shard want to hear of ends.
    pub(crate) fn chain(&mut self, shard: u16) {
        for n in 1..=2 {
            self.tell(LinkId::accepted(shard, n), "chain".to_owned());
        }
    }

    /// The gateway's stream in of a shard is gone, and another one there.
    pub(crate) fn forget(&mut self, shard: u16) {
        let link = LinkId::accepted(shard, 2);
        self.handle(usize::from(shard), Input::Closed(link, Closed::Eof));
        let door = Door { side: SIDES[1], direct_tls: false };
        self.handle(usize::from(shard), Input::Accepted { link, door, peer: "peer".into() });
    }

    /// The shard that has the stream out to the partner.
    pub(crate) fn owner(&self) -> usize {
        usize::from(owner_of_domain("partner.example", self.shards.len() as u16))
    }

    /// The link a shard dialed last.
    pub(crate) fn dialed(&self, shard: usize) -> LinkId {
        let seen = self.seen.lock().unwrap();
        *seen.dialed.iter().rfind(|link| usize::from(link.shard()) == shard).unwrap()
    }

    pub(crate) fn has_dialed(&self, shard: usize) -> bool {
        self.seen.lock().unwrap().dialed.iter().any(|link| usize::from(link.shard()) == shard)
    }

    pub(crate) fn dials_wait(&mut self, wait: bool) {
        self.seen.lock().unwrap().dials_wait = wait;
    }

    /// Links that go from now on may be resumed.
    pub(crate) fn remember(&mut self) {
        self.seen.lock().unwrap().outlives = true;
    }

    /// The link resumes the one before it, of which so many have arrived.
    pub(crate) fn resume(&mut self, link: LinkId, count: u32) {
        self.tell(link, format!("resume {count}"));
    }

    /// The dial comes to nothing.
    pub(crate) fn fail(&mut self, link: LinkId) {
        let failed = Input::Failed { link, why: Unreachable::NoAnswer, text: "nobody".into() };
        self.handle(usize::from(link.shard()), failed);
    }

    /// Nobody wants to hear any more of what the partner's stream in of a shard brought that is gone.
    pub(crate) fn unchain(&mut self, shard: u16) {
        self.tell(LinkId::accepted(shard, 2), "unchain 1".to_owned());
    }

    /// The partner's stream in of a shard takes stanzas too; its link.
    pub(crate) fn goes_back(&mut self, shard: u16) -> LinkId {
        let link = LinkId::accepted(shard, 1);
        self.tell(link, "back".to_owned());
        link
    }

    /// How many links were dialed.
    pub(crate) fn dials(&self) -> usize {
        self.seen.lock().unwrap().dialed.len()
    }

    /// The partner's stream in of a shard is gone.
    pub(crate) fn partner_is_gone(&mut self, shard: u16) {
        self.lose(LinkId::accepted(shard, 1));
    }

    pub(crate) fn bounced(&self) -> usize {
        self.seen.lock().unwrap().bounced.len()
    }

    pub(crate) fn stop(&mut self) {
        for shard in 0..self.shards.len() {
            self.handle(shard, Input::Drain);
        }
        self.now += std::time::Duration::from_secs(20);
        for (shard, out) in &mut self.shards {
            shard.wake(self.now, out);
        }
    }

    pub(crate) fn open_all(&mut self) {
        let opening = std::mem::take(&mut self.seen.lock().unwrap().opening);
        for (link, _) in opening {
            self.tell(link, "open".to_owned());
        }
    }

    /// Numbers written to a link, in order.
    pub(crate) fn heard(&self, link: LinkId) -> Vec<u32> {
        self.seen.lock().unwrap().heard.get(&link).cloned().unwrap_or_default()
    }

    pub(crate) fn write_all(&mut self, link: LinkId) {
        let total = self.transmitted[&link];
        self.handle(usize::from(link.shard()), Input::Written(link, total));
    }

    pub(crate) fn acknowledge(&mut self, link: LinkId, count: u32) {
        self.tell(link, format!("ack {count}"));
    }

    pub(crate) fn lose(&mut self, link: LinkId) {
        self.handle(usize::from(link.shard()), Input::Closed(link, Closed::Broken("reset".into())));
    }

    fn flow(&mut self) -> Flow {
        let mut sum = Flow::default();
        for (shard, _) in &mut self.shards {
            sum.add(&shard.tally().passed);
        }
        sum
    }

    pub(crate) fn delivered(&mut self) -> u64 {
        self.flow().delivered
    }

    pub(crate) fn repeated(&mut self) -> u64 {
        let sides = |shard: &mut Shard| shard.tally().sides.iter().map(|side| side.repeated).sum::<u64>();
        self.shards.iter_mut().map(|(shard, _)| sides(shard)).sum()
    }

    pub(crate) fn held(&self) -> usize {
        self.shards.iter().map(|(shard, _)| shard.held()).sum()
    }

    /// How many ends were told.
    pub(crate) fn ended(&self) -> u32 {
        self.seen.lock().unwrap().ended.values().sum()
    }

    /// Every shard holds what it counts.
    pub(crate) fn check(&mut self) {
        for (shard, _) in &mut self.shards {
            let held = shard.held() as i128;
            let tally = shard.tally();
            assert_eq!(tally.passed.expected_held() + tally.made.expected_held(), held);
        }
    }
}
