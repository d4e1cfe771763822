//! The adapter for server-to-server XMPP: one for the partners and one for each legacy gateway, on every shard. Invariant: one
//! stream's fault ends that stream and no other; what streams need of each other (a key to be verified, the answer) is carried
//! here and matched by names that only the right stream knows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use turnout_core::backend::{Backend, Composed, Destination, Fault, Sent, SentRun, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Close, Closed, Connect, Door, Ended, Event, LinkId, Outbox, Secured, Side, Target};
use turnout_core::jid::Domain;
use turnout_core::notice::Notice;
use turnout_core::refusal::Refusal;
use turnout_core::run::Run;
use turnout_core::stanza::{Origin, Stanza};
use turnout_core::survey::StreamFacts;
use turnout_core::timers::{TimerId, Timers};
use turnout_core::trial::Trial;
use turnout_core::world::World;

use crate::addresses::Addresses;
use crate::dialback::{Answer, Ask};
use crate::frame::{FrameLimits, Shapes};
use crate::inbound::Inbound;
use crate::issuers::Issuers;
use crate::liveness::{Alive, Lives, Pong};
use crate::outbound::{self, Broken, Outbound, Purpose};
use crate::random::Random;
use crate::refusals::{shutting_down, wrong};
use crate::sessions::{Claim, Claimed, Sessions};
use crate::terms::{self, Terms};
use crate::trials::Trials;
use crate::turn::{Flow, Step, Turn};
use crate::{answer, made};

/// Pairs remembered for which a partner refused our certificate.
const EXTERNAL_REFUSED_MAX: usize = 4096;

/// How long they are: then the partner may have learnt to trust it.
const EXTERNAL_REFUSED_FOR: Duration = Duration::from_secs(3600);

mod questions;
mod resuming;

/// A stream, by who opened it.
#[derive(Debug)]
enum Stream {
    In(Box<Inbound>),
    Out(Box<Outbound>),
}

/// A stream and the timer that is set for it.
#[derive(Debug)]
struct Slot {
    stream: Stream,
    timer: TimerId,
    due: Instant,
}

/// Our domain and theirs.
type Pair = (Domain, Domain);

/// Server-to-server XMPP on one side of one shard.
///
/// The limits on connections hold for each side of each shard.
///
/// Towards partners it speaks for the local domains, by the policy of each partner. Towards a legacy gateway it speaks for the
/// partners' domains, and is the authoritative server for them there and only there.
#[derive(Debug)]
pub struct XmppBackend {
    pub(crate) side: Side,
    pub(crate) world: Arc<World>,
    pub(crate) random: Random,
    streams: HashMap<LinkId, Slot>,
    /// Streams on which keys are verified.
    verifiers: HashMap<Pair, LinkId>,
    /// Streams that verify, those that are full or closing and stand in the table no more included.
    verifying: usize,
    /// Streams in, by the partner they count for.
    accounts: HashMap<Domain, u32>,
    /// How many streams are inbound.
    inbound: usize,
    /// Where EXTERNAL failed lately, and when: dialback is tried at once.
    external_refused: HashMap<Pair, Instant>,
    addresses: Addresses,
    shapes: Shapes,
    /// Streams in that broke and may be resumed.
    sessions: Sessions,
    /// Streams out that broke and may be resumed.
    broken: HashMap<Pair, Broken>,
    /// Partners that streams go out to.
    lives: Lives,
    /// Pings an administrator ordered.
    pub(crate) trials: Trials,
    /// Who vouched for partners.
    issuers: Issuers,
    timers: Timers<LinkId>,
    asks: Vec<Ask>,
    answers: Vec<Answer>,
    claims: Vec<Claim>,
    draining: bool,
    leaving: bool,
}

impl XmppBackend {
    /// A backend without streams. `seed` comes from the system's source of randomness and is another one for every backend: stream
    /// ids are made from it, and whoever knows it can foretell them.
    pub fn new(side: Side, world: Arc<World>, seed: [u8; 32]) -> Self {
        Self {
            side,
            world,
            random: Random::new(seed),
            streams: HashMap::new(),
            verifiers: HashMap::new(),
            verifying: 0,
            accounts: HashMap::new(),
            inbound: 0,
            external_refused: HashMap::new(),
            addresses: Addresses::default(),
            shapes: Shapes::default(),
            sessions: Sessions::default(),
            broken: HashMap::new(),
            lives: Lives::default(),
            trials: Trials::default(),
            issuers: Issuers::default(),
            timers: Timers::default(),
            asks: Vec::new(),
            answers: Vec::new(),
            claims: Vec::new(),
            draining: false,
            leaving: false,
        }
    }

    /// How many streams there are, in both directions.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn limits(&self) -> FrameLimits {
        FrameLimits { stanza_bytes_max: self.world.stanza_bytes_max, ..FrameLimits::default() }
    }

    fn insert(&mut self, link: LinkId, stream: Stream) {
        let due = stream.wake_at(&self.world);
        let timer = self.timers.set(due, link);
        self.streams.insert(link, Slot { stream, timer, due });
    }

    /// Lets a stream work, then sees to its timer, and to its end.
    fn with(
        &mut self,
        now: Instant,
        link: LinkId,
        out: &mut Outbox,
        work: impl FnOnce(&mut Stream, &mut Turn<'_>) -> Step,
    ) -> Result<(), Fault> {
        let Some(slot) = self.streams.get_mut(&link) else { return Ok(()) };
        let mut turn = Turn {
            now,
            side: self.side,
            link,
            world: &self.world,
            random: &mut self.random,
            out,
            asks: &mut self.asks,
            answers: &mut self.answers,
            claims: &mut self.claims,
            addresses: &mut self.addresses,
            shapes: &mut self.shapes,
            accounts: &mut self.accounts,
            lives: &mut self.lives,
            issuers: &mut self.issuers,
        };
        let step = work(&mut slot.stream, &mut turn);
        if matches!(step, Ok(Flow::On)) {
            let due = slot.stream.wake_at(&self.world);
            if due < slot.due {
                self.timers.cancel(slot.timer);
                slot.timer = self.timers.set(due, link);
                slot.due = due;
            }
        } else {
            self.remove(now, link);
        }
        step.map(|_| ())
    }

    /// As [`Self::with`], for inputs whose faults nobody waits for, with what follows from it.
    fn run(
        &mut self,
        now: Instant,
        link: LinkId,
        out: &mut Outbox,
        work: impl FnOnce(&mut Stream, &mut Turn<'_>) -> Step,
    ) {
        if let Err(fault) = self.with(now, link, out, work) {
            out.note(Notice::PeerFaultAside, self.side, link, fault.condition, fault.text);
        }
        self.carry_questions(now, out);
    }

    fn remove(&mut self, now: Instant, link: LinkId) -> Option<Stream> {
        let slot = self.streams.remove(&link)?;
        self.timers.cancel(slot.timer);
        match &slot.stream {
            Stream::In(stream) => {
                self.inbound = self.inbound.saturating_sub(1);
                if let Some(account) = stream.account()
                    && let Some(count) = self.accounts.get_mut(account)
                {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        self.accounts.remove(account);
                    }
                }
            }
            Stream::Out(stream) => {
                if stream.is_for_stanzas() {
                    self.lives.close(stream.pair().1);
                } else {
                    self.verifying = self.verifying.saturating_sub(1);
                }
                let pair = (stream.pair().0.clone(), stream.pair().1.clone());
                if stream.external_failed() && self.external_refused.len() < EXTERNAL_REFUSED_MAX {
                    self.external_refused.insert(pair.clone(), now);
                }
                if self.verifiers.get(&pair) == Some(&link) {
                    self.verifiers.remove(&pair);
                }
            }
        }
        Some(slot.stream)
    }

    fn connect(
        &self,
        link: LinkId,
        pair: &Pair,
        node: Option<&HostPort>,
        stream: &Outbound,
        out: &mut Outbox,
    ) {
        let target = match (self.side, node) {
            (Side::Home(_), Some(node)) => Target::Hosts(vec![node.clone()]),
            _ => terms::target(&self.world, self.side, &pair.1),
        };
        let tls = terms::client_tls(self.side, &pair.0, &pair.1, stream.trust(), true);
        out.connect(Connect { link, target, tls, direct: false });
    }

    /// Whether this partner refused our certificate within [`EXTERNAL_REFUSED_FOR`].
    fn was_external_refused(&mut self, now: Instant, pair: &Pair) -> bool {
        let Some(&at) = self.external_refused.get(pair) else { return false };
        let recent = now.saturating_duration_since(at) < EXTERNAL_REFUSED_FOR;
        if !recent {
            self.external_refused.remove(pair);
        }
        recent
    }

    /// Takes an answer to the stream whose id it bears, which judges whether it is one to its own ping.
    pub(crate) fn stream_pong(&mut self, now: Instant, link: LinkId, pong: &Pong, out: &mut Outbox) {
        self.run(now, link, out, |stream, turn| {
            if let Stream::Out(stream) = stream {
                stream.pong(pong, turn);
            }
            Ok(Flow::On)
        });
    }

    fn links(&self) -> Vec<LinkId> {
        let mut links: Vec<LinkId> = self.streams.keys().copied().collect();
        links.sort_unstable();
        links
    }
}

impl Backend for XmppBackend {
    fn accepted(&mut self, now: Instant, link: LinkId, door: Door, peer: &Arc<str>, out: &mut Outbox) {
        let most = usize::try_from(self.world.policy.limits().connections_max).unwrap_or(usize::MAX);
        let open = self.inbound;
        if self.draining || open >= most {
            if !self.draining {
                let text = format!("refused a connection: {open} are open, and connections_max is {most}");
                out.note(Notice::ConnectionsFull, self.side, link, peer, text);
            }
            out.close(link, Close::Abort);
            return;
        }
        let stream = Inbound::new(now, peer, door.direct_tls, self.limits());
        self.inbound += 1;
        self.insert(link, Stream::In(Box::new(stream)));
    }

    fn dial(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        let refusal = match destination {
            Destination::Pair { ours, theirs, .. } => {
                let terms = Terms::of(&self.world, self.side, theirs);
                match terms.filter(|_| terms::is_ours(&self.world, self.side, ours)) {
                    Some(_) if self.leaving => shutting_down(),
                    Some(terms) => {
                        let pair = (ours.clone(), theirs.clone());
                        let (ours, theirs) = pair.clone();
                        let mut stream =
                            Outbound::new(now, ours, theirs, Purpose::Deliver, terms, self.limits());
                        if self.was_external_refused(now, &pair) {
                            stream.without_external();
                        }
                        self.go_on(now, &pair, &mut stream);
                        if self.draining {
                            stream.without_back();
                        }
                        self.lives.open(&pair.1);
                        self.connect(link, &pair, node, &stream, out);
                        self.insert(link, Stream::Out(Box::new(stream)));
                        return;
                    }
                    None => outbound::not_allowed(),
                }
            }
            Destination::Node { .. } => wrong("an XMPP backend has no SIP nodes"),
        };
        out.events.push_back(Event::Unready(link, Some(refusal)));
        out.close(link, Close::Abort);
    }

    fn connected(&mut self, now: Instant, link: LinkId, direct_tls: bool, out: &mut Outbox) {
        if !self.streams.contains_key(&link) {
            out.close(link, Close::Abort);
        }
        self.run(now, link, out, |stream, turn| {
            if let Stream::Out(stream) = stream {
                stream.connected(direct_tls, turn);
            }
            Ok(Flow::On)
        });
    }

    fn secured(&mut self, now: Instant, link: LinkId, secured: Secured, out: &mut Outbox) {
        self.run(now, link, out, |stream, turn| match stream {
            Stream::In(stream) => {
                stream.secured(secured);
                Ok(Flow::On)
            }
            Stream::Out(stream) => stream.secured(secured, turn),
        });
    }

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let result = self.with(now, link, out, |stream, turn| match stream {
            Stream::In(stream) => stream.receive(bytes, turn),
            Stream::Out(stream) => stream.receive(bytes, turn),
        });
        self.carry_questions(now, out);
        result
    }

    fn paused(&mut self, now: Instant, link: LinkId, paused: bool, out: &mut Outbox) {
        self.run(now, link, out, |stream, turn| {
            if let Stream::In(stream) = stream {
                stream.set_unread(paused, turn);
            }
            Ok(Flow::On)
        });
    }

    fn send(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        let ready = match self.streams.get(&link) {
            Some(Slot { stream: Stream::Out(stream), .. }) if stream.is_ready() => {
                let (ours, theirs) = stream.pair();
                // Never relay: a stanza goes out on the stream of its own two domains only (XR-02).
                if stanza.from.domain() != ours.as_str() || stanza.to.domain() != theirs.as_str() {
                    return Sent::Refused(
                        stanza,
                        wrong("a stanza was given to the stream of another pair of domains"),
                    );
                }
                if !stream.bounds().take(stanza.len()) {
                    let refusal = stream.bounds().refusal(stanza.len());
                    return Sent::Refused(stanza, refusal);
                }
                true
            }
            Some(Slot { stream: Stream::In(stream), .. }) => {
                stream.takes_back(stanza.from.domain(), stanza.to.domain())
            }
            _ => false,
        };
        if !ready {
            return Sent::NotNow(stanza);
        }
        let slices = crate::delay::slices(self.side, &stanza, now);
        self.run(now, link, out, |stream, turn| {
            match stream {
                Stream::In(stream) => stream.carry_back(slices, turn),
                Stream::Out(stream) => stream.carry(slices, turn),
            }
            Ok(Flow::On)
        });
        Sent::OnWrite(stanza)
    }

    fn send_run(&mut self, now: Instant, link: LinkId, run: Run, out: &mut Outbox) -> SentRun {
        match self.streams.get(&link) {
            Some(Slot { stream: Stream::Out(stream), .. }) if stream.is_ready() => {
                if stream.pair() != (&run.from, &run.to) || !stream.bounds().take_all(&run) {
                    return SentRun::Alone(run);
                }
            }
            Some(Slot { stream: Stream::In(_), .. }) => return SentRun::Alone(run),
            _ => return SentRun::NotNow(run),
        }
        self.run(now, link, out, |stream, turn| {
            if let Stream::Out(stream) = stream {
                stream.carry_run(&run, turn);
            }
            Ok(Flow::On)
        });
        SentRun::OnWrite(run)
    }

    fn outlives(&self, link: LinkId) -> bool {
        self.is_resumable(link)
    }

    fn closed(&mut self, now: Instant, link: LinkId, why: &Closed, out: &mut Outbox) {
        if self.suspend(now, link) {
            return;
        }
        let text: Arc<str> = match why {
            Closed::Eof => "the peer closed the connection".into(),
            Closed::Broken(text) => Arc::clone(text),
            Closed::Ours => "the connection was closed here".into(),
        };
        self.run(now, link, out, |stream, turn| {
            if let Stream::Out(stream) = stream {
                stream.closed(&text, turn);
            }
            Ok(Flow::Over)
        });
    }

    fn facts(&self, now: Instant, link: LinkId) -> Option<StreamFacts> {
        match &self.streams.get(&link)?.stream {
            Stream::In(stream) => Some(stream.facts(now)),
            Stream::Out(stream) => Some(stream.facts()),
        }
    }

    fn settle(&mut self, now: Instant, _origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox) {
        if let Verdict::Refused(Some(stanza), refusal) = verdict
            && let Some(error) = made::bounce(stanza, refusal, self.side, now)
        {
            out.arrivals.push_back(error);
        }
    }

    fn ended(&mut self, now: Instant, ended: &Ended, out: &mut Outbox) {
        if self.sessions.keep(ended.link) {
            self.sessions.ended(ended);
            self.answer_claim(now, ended.link, out);
            return;
        }
        self.run(now, ended.link, out, |stream, turn| {
            match stream {
                Stream::In(stream) => return Ok(stream.end_of(ended, turn)),
                Stream::Out(stream) => stream.end_of(ended, turn),
            }
            Ok(Flow::On)
        });
    }

    fn answer(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) -> Result<(), Refusal> {
        if let Some(answer) = answer::answer(stanza, self.side, now)? {
            out.arrivals.push_back(answer);
        } else {
            self.carry(now, stanza, out);
        }
        Ok(())
    }

    fn compose(&mut self, now: Instant, composed: &Composed, out: &mut Outbox) {
        out.arrivals.push_back(made::presence(composed, now));
    }

    fn attempt(&mut self, now: Instant, from: (Side, LinkId), number: u64, trial: &Trial, out: &mut Outbox) {
        self.send_trial(now, from, number, trial, out);
    }

    /// What XMPP hands over: the answer to a ping, read on another shard than the one that asked; that a partner lives; the wish to go on with a stream, and the
    /// answer to it.
    fn adopt(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) {
        if let Some(claim) = Claim::from_bytes(&bytes, link) {
            self.claim(now, &claim, out);
        } else if let Some(claimed) = Claimed::from_bytes(&bytes, link) {
            self.claimed(now, claimed, out);
        } else if let Some(theirs) = Alive::from_bytes(&bytes) {
            self.lives.heard(&theirs, now);
        } else if let Some(pong) = Pong::from_bytes(&bytes) {
            self.pong(now, &pong, out);
        } else {
            let text = "an XMPP backend was given a message of another shard that it cannot read; dropped";
            out.note(Notice::HandoffStray, self.side, link, "handoff", text);
        }
    }

    fn kept_for(&self, _bare: &str) -> usize {
        0
    }

    fn kept(&self) -> usize {
        0
    }

    fn configure(&mut self, now: Instant, world: &Arc<World>, out: &mut Outbox) {
        self.world = Arc::clone(world);
        self.external_refused.clear();
        for link in self.links() {
            self.run(now, link, out, |stream, turn| match stream {
                Stream::In(stream) => stream.configure(turn),
                Stream::Out(stream) => Ok(stream.configure(turn)),
            });
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.draining = true;
        out.unchained.extend(self.sessions.clear());
        for link in self.links() {
            self.run(now, link, out, |stream, turn| match stream {
                Stream::In(stream) => Ok(stream.finish(turn)),
                // What brings stanzas ends; what is left to go out goes on another.
                Stream::Out(stream) if stream.is_heard_back() => Ok(stream.finish(None, turn)),
                Stream::Out(_) => Ok(Flow::On),
            });
        }
    }

    fn is_listening(&self) -> bool {
        self.streams.values().any(|slot| match &slot.stream {
            Stream::In(stream) => stream.may_speak(),
            Stream::Out(stream) => stream.is_heard_back(),
        })
    }

    fn leave(&mut self, now: Instant, out: &mut Outbox) {
        self.leaving = true;
        for link in self.links() {
            self.run(now, link, out, |stream, turn| match stream {
                Stream::In(stream) => Ok(stream.finish(turn)),
                Stream::Out(stream) => Ok(stream.finish(None, turn)),
            });
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(link) = self.timers.pop(now) {
            self.session_due(now, link, out);
            self.run(now, link, out, |stream, turn| match stream {
                Stream::In(stream) => stream.wake(turn),
                Stream::Out(stream) => Ok(stream.wake(turn)),
            });
            let world = Arc::clone(&self.world);
            if let Some(slot) = self.streams.get_mut(&link) {
                // Most timers find that the stream was busy meanwhile and are set again; cancelling is then no work.
                self.timers.cancel(slot.timer);
                slot.due = slot.stream.wake_at(&world);
                slot.timer = self.timers.set(slot.due, link);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }
}

impl Stream {
    fn wake_at(&self, world: &World) -> Instant {
        match self {
            Self::In(stream) => stream.wake_at(world),
            Self::Out(stream) => stream.wake_at(world),
        }
    }
}
