//! A stream we opened to a peer: it carries stanzas of one pair of domains, or questions to an authoritative server. Invariant:
//! no stanza is written before the peer took us for who we are, and none on a stream less safe than policy demands. Where policy
//! demands TLS and the peer's features do not offer it, it is not tried all the same, as RFC 7590 §3.1 would allow: the operator
//! is told, and the attempt ends.

use std::time::{Duration, Instant};
use turnout_core::limits::VERIFY_ASKS_MAX as ASKS_MAX;

use bytes::{Bytes, BytesMut};
use turnout_core::io::{Close, Event, Level, Output, Secured, TlsRole, TrustId};
use turnout_core::jid::Domain;
use turnout_core::policy::Negotiation;
use turnout_core::refusal::{Condition, Retry};
use turnout_core::run::Run;
use turnout_core::world::World;

use crate::bounds::Bounds;
use crate::dialback::{Ask, Outcome};
use crate::error::StreamCondition;
use crate::frame::{Element, Frame, FrameLimits, Framer, Namespace, StreamHeader};
use crate::inbound::LINGER;
use crate::liveness::Pulse;
use crate::negotiate::{self, Offered};
use crate::terms::{self, Terms};
use crate::turn::{Flow, Step, Turn};
use crate::write::{self, Header};

mod acks;
mod alive;
mod back;
mod end;
mod proof;

pub(crate) use end::not_allowed;

use acks::Acks;
pub(crate) use acks::{Acks as SentAcks, Broken};
use back::Back;
use end::Failure;

/// How long a verify stream without a question stays open for the next one.
const VERIFY_IDLE: Duration = Duration::from_secs(5);

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Stanzas.
    Deliver,
    /// Dialback keys, asked of the authoritative server (XEP-0220 §2.3).
    Verify,
}

/// Where a stream stands.
#[derive(Debug)]
enum Phase {
    /// There is no connection yet.
    Dialing,
    /// TLS is being agreed on.
    Handshake,
    /// Our header is out, the peer's is not in.
    Header,
    /// The peer's header is in, its features are not.
    Features(Box<StreamHeader>),
    /// We asked for TLS.
    TlsAsked(Box<StreamHeader>),
    /// We presented our certificate.
    SaslAsked(Box<StreamHeader>),
    /// We gave a dialback key.
    DialbackAsked(Box<StreamHeader>),
    /// We asked for stream management.
    EnableAsked(Box<StreamHeader>),
    /// We asked to go on with a stream that broke off.
    ResumeAsked(Box<StreamHeader>),
    /// It carries what it is for.
    Ready(Box<StreamHeader>),
    /// We said the last word at this time.
    Closing(Instant),
}

/// A stream we opened.
#[derive(Debug)]
pub(crate) struct Outbound {
    ours: Domain,
    theirs: Domain,
    purpose: Purpose,
    terms: Terms,
    framer: Framer,
    phase: Phase,
    secured: Option<Secured>,
    /// EXTERNAL has succeeded.
    authenticated: bool,
    /// EXTERNAL has failed, on this stream or lately on another one.
    external_failed: bool,
    /// Questions, and whether they were put. Empty on a stream that delivers.
    asks: Vec<(Ask, bool)>,
    started: Instant,
    /// When anything was written last.
    sent: Instant,
    /// When something it is for was written last.
    used: Instant,
    /// Where runs are put together that cannot leave as they came.
    room: BytesMut,
    /// Signs of life of the peer.
    pulse: Pulse,
    /// The features the peer showed last offer stream management.
    offers_acks: bool,
    /// What the peer says it takes.
    bounds: Bounds,
    /// The peer acknowledges.
    acks: Option<Acks>,
    /// What it is to go on from.
    broken: Option<Broken>,
    /// What the peer sends back on it, where we asked it to.
    back: Option<Back>,
}

impl Outbound {
    /// A stream that is being dialed.
    pub(crate) fn new(
        now: Instant,
        ours: Domain,
        theirs: Domain,
        purpose: Purpose,
        terms: Terms,
        limits: FrameLimits,
    ) -> Self {
        Self {
            ours,
            theirs,
            purpose,
            terms,
            framer: Framer::new(limits),
            phase: Phase::Dialing,
            secured: None,
            authenticated: false,
            external_failed: false,
            asks: Vec::new(),
            started: now,
            sent: now,
            used: now,
            room: BytesMut::new(),
            pulse: Pulse::new(now),
            offers_acks: false,
            bounds: Bounds::default(),
            acks: None,
            broken: None,
            back: None,
        }
    }

    /// EXTERNAL was refused before, on a stream the peer then closed: dialback is tried at once (XE-04).
    pub(crate) fn without_external(&mut self) {
        self.external_failed = true;
    }

    /// Whether EXTERNAL has failed here.
    pub(crate) fn external_failed(&self) -> bool {
        self.external_failed
    }

    /// The pair, as (ours, theirs).
    pub(crate) fn pair(&self) -> (&Domain, &Domain) {
        (&self.ours, &self.theirs)
    }

    /// Whose anchors count for the peer.
    pub(crate) fn trust(&self) -> TrustId {
        self.terms.trust
    }

    /// Whether it carries stanzas, now or later.
    pub(crate) fn is_for_stanzas(&self) -> bool {
        self.purpose == Purpose::Deliver
    }

    /// Whether stanzas are taken.
    pub(crate) fn is_ready(&self) -> bool {
        self.purpose == Purpose::Deliver && matches!(self.phase, Phase::Ready(_))
    }

    /// What the peer says it takes.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Writes a stanza's slices; the caller has seen that the stream [is ready](Self::is_ready).
    pub(crate) fn carry(&mut self, slices: [Bytes; 3], turn: &mut Turn<'_>) {
        for slice in slices {
            turn.send(slice);
        }
        self.sent = turn.now;
        self.used = turn.now;
        self.carried(1, turn);
    }

    /// Writes a run; the caller has seen that the stream [is ready](Self::is_ready). Neighbouring stanzas are one slice of the bytes
    /// that came, unless a language has to be written into them.
    pub(crate) fn carry_run(&mut self, run: &Run, turn: &mut Turn<'_>) {
        match &run.lang {
            Some(lang) if run.left().iter().any(|head| !head.has_lang) => {
                self.room.reserve(run.bytes_left());
                for head in run.left() {
                    let at = (head.insert_at as usize).clamp(head.start as usize, head.end as usize);
                    self.room.extend_from_slice(run.text(head.start as usize..at));
                    if !head.has_lang {
                        self.room.extend_from_slice(lang);
                    }
                    self.room.extend_from_slice(run.text(at..head.end as usize));
                }
                turn.send(self.room.split());
            }
            _ => {
                for piece in run.pieces() {
                    let piece = if piece.end <= run.bytes.len() { piece } else { 0..0 };
                    turn.send(run.bytes.slice(piece));
                }
            }
        }
        self.sent = turn.now;
        self.used = turn.now;
        self.carried(run.len(), turn);
    }

    /// Puts a question to the authoritative server; gives it back when the stream takes no more.
    pub(crate) fn ask(&mut self, ask: Ask, turn: &mut Turn<'_>) -> Option<Ask> {
        if matches!(self.phase, Phase::Closing(_)) || self.asks.len() >= ASKS_MAX {
            return Some(ask);
        }
        self.asks.push((ask, false));
        if matches!(self.phase, Phase::Ready(_)) {
            self.put_questions(turn);
        }
        None
    }

    /// The connection is up.
    pub(crate) fn connected(&mut self, direct_tls: bool, turn: &mut Turn<'_>) {
        if direct_tls {
            self.phase = Phase::Handshake;
        } else {
            self.open(turn);
        }
    }

    /// TLS is up: the certificate is judged before another word (XC-01).
    pub(crate) fn secured(&mut self, secured: Secured, turn: &mut Turn<'_>) -> Step {
        self.framer.restart();
        let judged = self.terms.vouches(&secured, &self.theirs);
        self.secured = Some(secured);
        if let Err(why) = judged {
            if !self.terms.dialback_allowed(self.secured.as_ref(), &self.theirs) {
                let failure = Failure {
                    condition: Condition::RemoteServerTimeout,
                    retry: Retry::Never,
                    told: "the remote server's certificate is not acceptable",
                    detail: why,
                };
                return Ok(self.give_up(failure, None, turn));
            }
            turn.note(Level::Info, &self.theirs, format!("going on by dialback, as policy allows: {why}"));
        } else {
            turn.vouched(&self.theirs, self.secured.as_ref());
        }
        self.open(turn);
        Ok(Flow::On)
    }

    /// Bytes arrived.
    pub(crate) fn receive(&mut self, bytes: Bytes, turn: &mut Turn<'_>) -> Step {
        if matches!(self.phase, Phase::Dialing | Phase::Handshake) {
            return Ok(Flow::On);
        }
        if matches!(self.phase, Phase::Ready(_)) {
            self.pulse.heard(turn.now);
            turn.lives.heard(&self.theirs, turn.now);
        }
        self.framer.feed(bytes);
        loop {
            let flow = match self.framer.next() {
                Ok(None) => return Ok(Flow::On),
                Ok(Some(Frame::KeepAlive)) => Flow::On,
                Ok(Some(Frame::Open(header))) => self.header(header, turn),
                Ok(Some(Frame::Element(element))) if self.takes(&element) => self.stanza(element, turn)?,
                Ok(Some(Frame::Element(element))) => self.element(&element, turn)?,
                Ok(Some(Frame::Close)) => self.ended(None, turn),
                Err(error) => return self.fail(turn, error.condition, &error.text, error.too_big),
            };
            if flow == Flow::Over {
                return Ok(Flow::Over);
            }
        }
    }

    /// A new configuration: a stream to where we may no longer write ends, and one that would now be negotiated in another way
    /// ends politely, to be opened anew.
    pub(crate) fn configure(&mut self, turn: &mut Turn<'_>) -> Flow {
        let allowed = terms::is_ours(turn.world, turn.side, &self.ours);
        let Some(terms) = Terms::of(turn.world, turn.side, &self.theirs).filter(|_| allowed) else {
            return self.finish(Some(not_allowed()), turn);
        };
        self.terms = terms;
        let dialback = self.terms.dialback_allowed(self.secured.as_ref(), &self.theirs);
        let external = self.authenticated && self.terms.methods.sasl_over_tls && self.vouched();
        if self.is_ready() && !dialback && !external { self.finish(None, turn) } else { Flow::On }
    }

    fn vouched(&self) -> bool {
        self.secured.as_ref().is_some_and(|secured| self.terms.vouches(secured, &self.theirs).is_ok())
    }

    /// When [`Self::wake`] is wanted.
    pub(crate) fn wake_at(&self, world: &World) -> Instant {
        let limits = world.policy.limits();
        match (&self.phase, self.purpose) {
            (Phase::Closing(since), _) => *since + LINGER,
            (Phase::Ready(_), Purpose::Deliver) => {
                let idle = self.used + Duration::from_secs(limits.idle_seconds.into());
                idle.min(self.alive_at(world))
            }
            (Phase::Ready(_), Purpose::Verify) if self.asks.is_empty() => self.used + VERIFY_IDLE,
            (Phase::Ready(_), Purpose::Verify) => {
                self.used + Duration::from_secs(limits.establishment_seconds.into())
            }
            _ => self.started + Duration::from_secs(limits.establishment_seconds.into()),
        }
    }

    /// The time may be up.
    pub(crate) fn wake(&mut self, turn: &mut Turn<'_>) -> Flow {
        if turn.now < self.wake_at(turn.world) {
            return Flow::On;
        }
        let idle = Duration::from_secs(turn.world.policy.limits().idle_seconds.into());
        match (&self.phase, self.purpose) {
            (Phase::Closing(_), _) => {
                turn.out.close(turn.link, Close::Abort);
                Flow::Over
            }
            (Phase::Ready(_), Purpose::Deliver) if turn.now < self.used + idle => self.keep_alive(turn),
            (Phase::Ready(_), Purpose::Deliver) => self.finish(None, turn),
            (Phase::Ready(_), Purpose::Verify) if self.asks.is_empty() => self.finish(None, turn),
            _ => {
                let at = match &self.phase {
                    Phase::Dialing => "no connection came about",
                    Phase::Handshake => "the TLS handshake did not end",
                    Phase::Header => "its stream header did not come",
                    Phase::Features(_) => "its stream features did not come",
                    Phase::TlsAsked(_) => "it did not answer <starttls/>",
                    Phase::SaslAsked(_) => "it did not answer <auth/>",
                    Phase::EnableAsked(_) => {
                        "it offered stream management and did not answer <enable/>; stream_management = false goes without"
                    }
                    Phase::ResumeAsked(_) => {
                        "it offered stream management and did not answer <resume/>; resumption_seconds = 0 goes without"
                    }
                    _ => "it did not answer our dialback element; can it reach us at our own domain?",
                };
                let failure = Failure {
                    condition: Condition::RemoteServerTimeout,
                    retry: Retry::Later,
                    told: "the remote server did not answer in time",
                    detail: format!("{} took too long: {at}", self.theirs),
                };
                self.give_up(failure, Some(StreamCondition::ConnectionTimeout), turn)
            }
        }
    }

    fn open(&mut self, turn: &mut Turn<'_>) {
        let said = Header {
            to: Some(&self.theirs),
            from: Some(&self.ours),
            id: None,
            lang: None,
            dialback: self.terms.methods.dialback(),
        };
        turn.send(negotiate::header(&said, true));
        self.sent = turn.now;
        self.phase = Phase::Header;
    }

    /// The peer's header.
    fn header(&mut self, header: Box<StreamHeader>, turn: &mut Turn<'_>) -> Flow {
        let legacy = !header.version().has_features();
        self.phase = Phase::Features(header);
        if legacy { self.prove(Offered::default(), turn) } else { Flow::On }
    }

    fn element(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let name = element.name();
        let answer = Outcome::read(element.stanza_type().as_deref());
        match (name.namespace, name.local, &self.phase) {
            (Namespace::StreamManagement, "a", _) if self.is_acknowledged() => {
                self.acknowledged(element, turn)
            }
            (_, _, Phase::Closing(_)) => Ok(Flow::On),
            (Namespace::StreamManagement, "enabled" | "failed", Phase::EnableAsked(_)) => {
                Ok(self.enabled(element, turn))
            }
            (Namespace::StreamManagement, "resumed" | "failed", Phase::ResumeAsked(_)) => {
                self.resumed(element, turn)
            }
            (Namespace::StreamManagement, "r", _) if self.is_acknowledged() => {
                self.tell_handled(turn);
                Ok(Flow::On)
            }
            (Namespace::Streams, "error", phase) => {
                let read = phase.header().map(|header| negotiate::stream_error(element, header));
                Ok(self.ended(read, turn))
            }
            (Namespace::Streams, "features", Phase::Features(header)) => {
                let offered = negotiate::offered(element, header);
                Ok(self.offered(offered, turn))
            }
            (Namespace::Tls, "proceed", Phase::TlsAsked(_)) => {
                // Whatever came behind it came before the handshake (XT-03).
                self.framer.restart();
                self.phase = Phase::Handshake;
                let tls = terms::client_tls(turn.side, &self.ours, &self.theirs, self.terms.trust, false);
                turn.out.outputs.push(Output::StartTls(turn.link, TlsRole::Client(tls)));
                Ok(Flow::On)
            }
            (Namespace::Tls, "failure", Phase::TlsAsked(_)) => {
                let failure = self.refused(format!("{} offered STARTTLS and then refused it", self.theirs));
                Ok(self.give_up(failure, None, turn))
            }
            (Namespace::Sasl, "success", Phase::SaslAsked(_)) => {
                self.framer.restart();
                self.authenticated = true;
                self.open(turn);
                Ok(Flow::On)
            }
            (Namespace::Sasl, "failure", Phase::SaslAsked(_)) => Ok(self.external_refused(element, turn)),
            (Namespace::Dialback, "result", _) if answer.is_some() => Ok(self.result(element, answer, turn)),
            (Namespace::Dialback, "verify", _) if answer.is_some() => {
                Ok(self.verified(element, answer, turn))
            }
            _ => {
                let text = format!(
                    "<{}/> is not expected on a stream that we opened",
                    name.local.get(..32).unwrap_or(name.local)
                );
                self.fail(turn, StreamCondition::UnsupportedStanzaType, &text, false)
            }
        }
    }

    /// The peer's features: TLS first, where there is any to be had (XT-04).
    fn offered(&mut self, offered: Offered, turn: &mut Turn<'_>) -> Flow {
        self.offers_acks = offered.acks;
        self.bounds = offered.bounds;
        if self.secured.is_some() {
            return self.prove(offered, turn);
        }
        let wanted = self.terms.tls != Negotiation::NotSupported;
        if wanted && offered.starttls {
            if let Phase::Features(header) = std::mem::replace(&mut self.phase, Phase::Header) {
                self.phase = Phase::TlsAsked(header);
            }
            turn.send(negotiate::bytes(write::starttls));
            return Flow::On;
        }
        let detail = if offered.starttls_required {
            format!("{} requires TLS and policy has tls = \"none\" for it; set \"optional\"", self.theirs)
        } else if !self.terms.plain_allowed() {
            format!(
                "{} offers no TLS and policy requires it; the partner has to switch it on, or a man in the middle took it out",
                self.theirs
            )
        } else {
            return self.prove(offered, turn);
        };
        let failure = self.refused(detail);
        self.give_up(failure, None, turn)
    }

    /// We are taken for who we are: what is left is to ask for acknowledgements.
    fn ready(&mut self, header: Box<StreamHeader>, turn: &mut Turn<'_>) -> Flow {
        self.open_back(&header);
        match self.ask_to_enable(header, turn) {
            Some(header) => self.established(header, turn),
            None => Flow::On,
        }
    }

    fn established(&mut self, header: Box<StreamHeader>, turn: &mut Turn<'_>) -> Flow {
        self.phase = Phase::Ready(header);
        self.used = turn.now;
        self.pulse.heard(turn.now);
        match self.purpose {
            Purpose::Deliver => {
                let how = if self.authenticated { "certificate" } else { "dialback" };
                let over = self.secured.as_ref().map_or("without TLS", |secured| secured.version);
                let acks = if self.is_acknowledged() { ", acknowledged" } else { "" };
                turn.note(
                    Level::Info,
                    &self.theirs,
                    format!("stream {} to {} is open by {how} ({over}{acks})", self.ours, self.theirs),
                );
                turn.out.events.push_back(Event::Ready(turn.link));
            }
            Purpose::Verify => self.put_questions(turn),
        }
        Flow::On
    }
}

impl Phase {
    fn header(&self) -> Option<&StreamHeader> {
        match self {
            Self::Features(header)
            | Self::TlsAsked(header)
            | Self::SaslAsked(header)
            | Self::DialbackAsked(header)
            | Self::EnableAsked(header)
            | Self::ResumeAsked(header)
            | Self::Ready(header) => Some(header),
            Self::Dialing | Self::Handshake | Self::Header | Self::Closing(_) => None,
        }
    }
}
