//! A stream a peer opened to us: it brings stanzas. Invariant: no stanza leaves this module but of a pair of domains that was
//! proven on this stream since it was opened last, and the domains of the header never change (RFC 6120 §4.3.3, XS-12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use turnout_core::backend::Fault;
use turnout_core::io::{Close, Output, Secured, TlsRole};
use turnout_core::jid::Domain;
use turnout_core::notice::Notice;
use turnout_core::policy::Negotiation;
use turnout_core::world::World;

use crate::arrival::{self, Arrival};
use crate::error::StreamCondition;
use crate::frame::{Element, Frame, FrameLimits, Framer, Namespace, StreamHeader};
use crate::negotiate;
use crate::pairs::Pairs;
use crate::terms::{self, Terms};
use crate::turn::{Flow, Step, Turn, fault};
use crate::write;

pub(crate) mod acks;
mod back;
mod facts;
mod header;
mod opening;
mod proof;
mod runs;
mod unread;

use acks::Acks;
use back::Back;

/// How long a peer may take to answer our end of the stream with its own (RFC 6120 §4.4).
pub(crate) const LINGER: Duration = Duration::from_secs(10);

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// TLS is being agreed on; no byte of the protocol is expected.
    Handshake,
    /// The peer has to open the stream, or to open it anew.
    Header,
    /// Open.
    Open,
    /// Open, and an empty challenge waits for its response.
    Challenged,
    /// The peer said its last word at this time, and is still to hear of the end of what it brought.
    Leaving(Instant),
    /// We said the last word at this time; what the peer still says counts (XS-13).
    Closing(Instant),
}

/// What a first-level element is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Stanza,
    StartTls,
    Auth,
    Response,
    Abort,
    Result,
    Verify,
    StreamError,
    Management,
    Bidi,
    WrongNamespace,
    Unknown,
}

/// A stream a peer opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    framer: Framer,
    peer: Arc<str>,
    phase: Phase,
    /// The header of the stream as it was opened last.
    header: Option<Box<StreamHeader>>,
    ours: Option<Domain>,
    theirs: Option<Domain>,
    terms: Option<Terms>,
    id: String,
    lang: Option<Bytes>,
    secured: Option<Secured>,
    /// SASL has succeeded.
    authenticated: bool,
    /// The partner among whose connections it is counted.
    counted: Option<Domain>,
    pairs: Pairs,
    sasl_failures: u32,
    dialback_failures: u32,
    started: Instant,
    heard: Instant,
    /// What we acknowledge, once the peer has asked us to.
    acks: Option<Acks>,
    /// The id of the stream it wants to resume, while it is not known whether that can be.
    resuming: Option<String>,
    /// The way back, where the peer has asked for one.
    back: Option<Back>,
    /// It is not read; when the peer was last shown that we live.
    unread: Option<Instant>,
}

type Refused = (StreamCondition, String);

impl Inbound {
    /// A connection that was just accepted.
    pub(crate) fn new(now: Instant, peer: &Arc<str>, direct_tls: bool, limits: FrameLimits) -> Self {
        Self {
            framer: Framer::new(limits),
            peer: Arc::clone(peer),
            phase: if direct_tls { Phase::Handshake } else { Phase::Header },
            header: None,
            ours: None,
            theirs: None,
            terms: None,
            id: String::new(),
            lang: None,
            secured: None,
            authenticated: false,
            counted: None,
            pairs: Pairs::default(),
            sasl_failures: 0,
            dialback_failures: 0,
            started: now,
            heard: now,
            acks: None,
            resuming: None,
            back: None,
            unread: None,
        }
    }

    /// The partner this stream counts for: one that has proven to be his.
    pub(crate) fn account(&self) -> Option<&Domain> {
        self.counted.as_ref()
    }

    /// The peer has proven to be `theirs`, so from now on it counts among the partner's connections. Not before: else anybody could
    /// take up all of a partner's places by claiming his name. Not by what the header says alone: it need not say anything.
    fn count(&mut self, theirs: &Domain, turn: &mut Turn<'_>) -> Result<(), Refused> {
        if self.counted.is_some() {
            return Ok(());
        }
        let Some(terms) = Terms::of(turn.world, turn.side, theirs) else { return Ok(()) };
        let count = turn.accounts.get(&terms.account).copied().unwrap_or(0);
        if count >= terms.connections_max {
            return Err(too_many(count));
        }
        turn.accounts.insert(terms.account.clone(), count + 1);
        self.counted = Some(terms.account);
        Ok(())
    }

    /// TLS is up: everything said before is forgotten, but not whom the peer said it was (RFC 6120 §5.4.3.3).
    pub(crate) fn secured(&mut self, secured: Secured) {
        self.framer.restart();
        self.pairs.clear();
        self.back = None;
        self.secured = Some(secured);
        self.phase = Phase::Header;
    }

    /// Whether a stanza on this stream would be taken: also after our end of it, until the peer's is in (RFC 6120 §4.4).
    pub(crate) fn may_speak(&self) -> bool {
        self.pairs.any_proven()
    }

    /// Bytes arrived.
    pub(crate) fn receive(&mut self, bytes: Bytes, turn: &mut Turn<'_>) -> Step {
        self.heard = turn.now;
        for theirs in self.pairs.proven() {
            turn.lives.heard(theirs, turn.now);
        }
        if matches!(self.phase, Phase::Handshake | Phase::Leaving(_)) {
            return Ok(Flow::On);
        }
        self.framer.feed(bytes);
        loop {
            if self.takes_runs() {
                let mut heads = turn.out.heads();
                if let Some(bytes) = self.framer.next_run(turn.shapes, &mut heads) {
                    if self.run(&bytes, heads, turn)? == Flow::Over {
                        return Ok(Flow::Over);
                    }
                    continue;
                }
                turn.out.give_back(heads);
            }
            let flow = match self.framer.next() {
                Ok(None) => return Ok(Flow::On),
                Ok(Some(Frame::KeepAlive)) => Flow::On,
                Ok(Some(Frame::Open(header))) => self.open(header, turn)?,
                Ok(Some(Frame::Element(element))) => self.element(element, turn)?,
                Ok(Some(Frame::Close)) => return Ok(self.leave(turn)),
                Err(error) => return self.fail(turn, error.condition, &error.text, error.too_big),
            };
            if flow == Flow::Over {
                return Ok(Flow::Over);
            }
        }
    }

    /// Ends the stream politely.
    pub(crate) fn finish(&mut self, turn: &mut Turn<'_>) -> Flow {
        match self.phase {
            Phase::Handshake | Phase::Header => {
                turn.out.close(turn.link, Close::Flush);
                Flow::Over
            }
            Phase::Open | Phase::Challenged => {
                self.tell_last(turn);
                turn.send(negotiate::bytes(write::stream_end));
                self.phase = Phase::Closing(turn.now);
                Flow::On
            }
            Phase::Leaving(_) | Phase::Closing(_) => Flow::On,
        }
    }

    /// A new configuration: a stream whose domains are no longer allowed ends.
    pub(crate) fn configure(&mut self, turn: &mut Turn<'_>) -> Step {
        let (world, side) = (turn.world, turn.side);
        let federates = |ours: &Domain, theirs: &Domain| {
            terms::is_ours(world, side, ours) && Terms::of(world, side, theirs).is_some()
        };
        // What was proven by a method that is no longer allowed, or without the TLS that is now required, is proven no more.
        let still_proven = |ours: &Domain, theirs: &Domain| {
            let secured = self.secured.as_ref();
            let terms = Terms::of(world, side, theirs).filter(|_| terms::is_ours(world, side, ours));
            terms.is_some_and(|terms| {
                let external = self.authenticated
                    && terms.methods.sasl_over_tls
                    && secured.is_some_and(|secured| terms.vouches(secured, theirs).is_ok());
                external || terms.dialback_allowed(secured, theirs)
            })
        };
        let header_allowed = match (&self.ours, &self.theirs) {
            (Some(ours), Some(theirs)) => federates(ours, theirs),
            _ => true,
        };
        if !header_allowed || !self.pairs.all(still_proven) {
            let text = "the configuration no longer allows this stream";
            return self.fail(turn, StreamCondition::PolicyViolation, text, false);
        }
        // It goes on being counted for the partner it was counted for.
        if let (Some(terms), Some(theirs)) = (&mut self.terms, &self.theirs)
            && let Some(new) = Terms::of(world, side, theirs)
        {
            *terms = new;
        }
        Ok(Flow::On)
    }

    /// When [`Self::wake`] is wanted.
    pub(crate) fn wake_at(&self, world: &World) -> Instant {
        let due = self.beat_at().unwrap_or_else(|| self.end_at(world));
        self.back_due().map_or(due, |back| back.min(due))
    }

    /// When it ends, if nothing happens.
    fn end_at(&self, world: &World) -> Instant {
        let limits = world.policy.limits();
        match self.phase {
            Phase::Leaving(since) | Phase::Closing(since) => since + LINGER,
            _ if self.pairs.any_proven() => self.heard + Duration::from_secs(limits.idle_seconds.into()),
            _ => self.started + Duration::from_secs(limits.establishment_seconds.into()),
        }
    }

    /// The time may be up.
    pub(crate) fn wake(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.look_after_back(turn) == Flow::Over {
            return Ok(Flow::Over);
        }
        if let Some(beat) = self.beat_at() {
            if turn.now >= beat {
                self.beat(turn);
            }
            return Ok(Flow::On);
        }
        if turn.now < self.end_at(turn.world) {
            return Ok(Flow::On);
        }
        match self.phase {
            Phase::Leaving(_) => Ok(self.ended(turn)),
            Phase::Closing(_) | Phase::Handshake => {
                turn.out.close(turn.link, Close::Abort);
                Ok(Flow::Over)
            }
            _ if self.pairs.any_proven() => Ok(self.finish(turn)),
            _ => self.fail(
                turn,
                StreamCondition::ConnectionTimeout,
                "the stream was not authenticated in time",
                false,
            ),
        }
    }

    /// Whether our end of the stream is still to come.
    fn says(&self) -> bool {
        !matches!(self.phase, Phase::Closing(_))
    }

    fn about(&self) -> &str {
        self.theirs.as_ref().map_or(&*self.peer, |theirs| theirs.as_str())
    }

    /// The peer ended the stream.
    fn ended(&mut self, turn: &mut Turn<'_>) -> Flow {
        if self.says() {
            self.tell_last(turn);
            turn.send(negotiate::bytes(write::stream_end));
        }
        turn.out.close(turn.link, Close::Flush);
        Flow::Over
    }

    /// Says what is wrong, inside a stream as the standard demands even where the peer's header was never read (RFC 6120
    /// §4.9.1.2), and closes.
    fn fail(&mut self, turn: &mut Turn<'_>, condition: StreamCondition, text: &str, too_big: bool) -> Step {
        let before = match self.phase {
            Phase::Header => Some(self.answer_header(None, turn)),
            Phase::Open | Phase::Challenged | Phase::Leaving(_) => Some(BytesMut::new()),
            Phase::Handshake | Phase::Closing(_) => None,
        };
        if let Some(before) = before {
            self.tell_last(turn);
            turn.send(negotiate::last_words(before, condition, text, too_big));
        }
        turn.note(
            Notice::StreamClosed,
            self.about(),
            format!("closed the stream from {}: {condition}: {text}", self.peer),
        );
        turn.out.close(turn.link, Close::Flush);
        Err(fault(condition, text))
    }

    fn fail_with<T>(&mut self, turn: &mut Turn<'_>, (condition, text): Refused) -> Result<T, Fault> {
        match self.fail(turn, condition, &text, false) {
            Err(fault) => Err(fault),
            Ok(_) => Err(fault(condition, text)),
        }
    }

    fn element(&mut self, element: Element, turn: &mut Turn<'_>) -> Step {
        let what = what(&element);
        if self.tls_required() && !matches!(what, What::StartTls | What::StreamError) {
            let text = "TLS is required before anything else".to_owned();
            return self.fail_with(turn, (StreamCondition::PolicyViolation, text));
        }
        if self.phase == Phase::Challenged
            && !matches!(what, What::Response | What::Abort | What::StreamError)
        {
            let text = "the SASL challenge has to be answered first".to_owned();
            return self.fail_with(turn, (StreamCondition::NotAuthorized, text));
        }
        if self.resuming.is_some() && matches!(what, What::Stanza | What::Management) {
            let text = "nothing is to be sent before the answer to <resume/>".to_owned();
            return self.fail_with(turn, (StreamCondition::PolicyViolation, text));
        }
        match what {
            What::Stanza => self.stanza(element, turn),
            What::StartTls => self.start_tls(turn),
            What::Auth => self.auth(&element, turn),
            What::Response => self.response(&element, turn),
            What::Abort => self.sasl_failed("aborted", turn),
            What::Result => self.dialback_result(&element, turn),
            What::Verify => self.dialback_verify(&element, turn),
            What::StreamError => {
                if let Some(header) = &self.header {
                    let (condition, text) = negotiate::stream_error(&element, header);
                    let text =
                        format!("{} ended its stream to us with the error {condition} {text}", self.peer);
                    turn.note(Notice::StreamEnded, self.about(), text);
                }
                Ok(self.ended(turn))
            }
            What::Management => self.manage(&element, turn),
            What::Bidi => self.ask_back(turn),
            What::WrongNamespace => {
                let text = "stanzas between servers are in the namespace jabber:server".to_owned();
                self.fail_with(turn, (StreamCondition::InvalidNamespace, text))
            }
            What::Unknown => {
                let text = "that element is not known here, or not now".to_owned();
                self.fail_with(turn, (StreamCondition::UnsupportedStanzaType, text))
            }
        }
    }

    /// The path of nearly all bytes.
    fn stanza(&mut self, element: Element, turn: &mut Turn<'_>) -> Step {
        let pairs = &mut self.pairs;
        let (world, side) = (turn.world, turn.side);
        let arrival = arrival::read(element, self.lang.as_ref(), turn, |to, from| {
            if pairs.is_proven(to, from) {
                return Ok(());
            }
            if !Domain::parse(to).is_ok_and(|to| terms::is_ours(world, side, &to)) {
                return Err((
                    StreamCondition::HostUnknown,
                    "'to' of the stanza is not served here".to_owned(),
                ));
            }
            if !pairs.any_proven() {
                return Err((StreamCondition::NotAuthorized, "the stream is not authenticated".to_owned()));
            }
            let text = "the sender's domain was not proven on this stream towards the recipient's domain";
            Err((StreamCondition::InvalidFrom, text.to_owned()))
        });
        match arrival {
            Arrival::Stanza(mut stanza) => {
                stanza.arrived = acks::stamp(&mut self.acks, 1, turn.now);
                turn.out.arrivals.push_back(stanza);
            }
            Arrival::Refused(Some(answer)) => {
                turn.out.arrivals.push_back(answer);
                self.ended_here(turn);
            }
            Arrival::Refused(None) => {
                self.ended_here(turn);
                let text = "dropped a malformed stanza that nothing may answer: an error or a result";
                turn.note(Notice::StanzaDropped, self.about(), text);
            }
            Arrival::Fatal(condition, text) => return self.fail_with(turn, (condition, text)),
        }
        Ok(Flow::On)
    }

    fn start_tls(&mut self, turn: &mut Turn<'_>) -> Step {
        if self.secured.is_some() || self.tls(turn.world, turn.side) == Negotiation::NotSupported {
            let mut last = BytesMut::new();
            write::tls_failure(&mut last);
            write::stream_end(&mut last);
            turn.send(last);
            turn.note(
                Notice::StreamTlsUnoffered,
                self.about(),
                format!("{} asked for TLS where it was not offered", self.peer),
            );
            turn.out.close(turn.link, Close::Flush);
            return Ok(Flow::Over);
        }
        turn.send(negotiate::bytes(write::tls_proceed));
        // What came along with the wish was said before the handshake and is nobody's word (XT-03).
        let dropped = self.framer.restart();
        if dropped > 0 {
            let text = format!(
                "{} sent {dropped} bytes behind <starttls/>, dropped: an attempt to inject plain text, or a broken server",
                self.peer
            );
            turn.note(Notice::StreamInjected, self.about(), text);
        }
        self.pairs.clear();
        self.phase = Phase::Handshake;
        turn.out.outputs.push(Output::StartTls(turn.link, TlsRole::Server(turn.side)));
        Ok(Flow::On)
    }
}

fn too_many(count: u32) -> Refused {
    let text = format!("there are {count} connections of this partner already");
    (StreamCondition::ResourceConstraint, text)
}

fn what(element: &Element) -> What {
    let name = element.name();
    match (name.namespace, name.local) {
        (Namespace::Server, "message" | "presence" | "iq") => What::Stanza,
        (Namespace::Tls, "starttls") => What::StartTls,
        (Namespace::Sasl, "auth") => What::Auth,
        (Namespace::Sasl, "response") => What::Response,
        (Namespace::Sasl, "abort") => What::Abort,
        (Namespace::Dialback, "result") => What::Result,
        (Namespace::Dialback, "verify") => What::Verify,
        (Namespace::Streams, "error") => What::StreamError,
        (Namespace::StreamManagement, _) => What::Management,
        (Namespace::Bidi, "bidi") => What::Bidi,
        (Namespace::Client | Namespace::None, "message" | "presence" | "iq") => What::WrongNamespace,
        _ => What::Unknown,
    }
}
