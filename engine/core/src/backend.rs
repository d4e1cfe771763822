//! The contract of a protocol adapter. Invariant: a backend owns the protocol state of the links of its side on one shard and
//! nothing else; it never decides where a stanza goes, and it never loses one: each stanza given to [`Backend::send`] comes back
//! in the result or, when kept, as one `Event::Done`. Kept stanzas of the same two users go out in the order they were given,
//! whichever links they were given for, and when one is given back, those behind it are too, in that order.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::contact::Contact;
use crate::home::HostPort;
use crate::io::{Closed, Door, Ended, Found, LinkId, Outbox, Secured, Side};
use crate::jid::{Domain, Jid};
use crate::refusal::Refusal;
use crate::run::Run;
use crate::stanza::{Origin, PresenceType, Stanza};
use crate::world::World;

/// What a dialed link is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The XMPP stream from one of the domains we speak for to one of the domains we reach on that side. Order between two
    /// users is the order on this stream.
    Pair {
        /// The side.
        side: Side,
        /// The domain we speak for: a local domain towards partners, a partner's domain towards the gateway.
        ours: Domain,
        /// The domain we reach.
        theirs: Domain,
    },
    /// One node of a SIP home.
    Node {
        /// The side, always a home.
        side: Side,
        /// Index into the home's `connect` list.
        node: u16,
    },
}

impl Destination {
    /// The side it lies on.
    pub fn side(&self) -> Side {
        match self {
            Self::Pair { side, .. } | Self::Node { side, .. } => *side,
        }
    }
}

/// What became of a stanza given to a backend.
#[derive(Debug)]
#[must_use]
pub enum Sent {
    /// Its bytes are in the outbox, last of this link: it is delivered when the link has written them, or when its peer has
    /// acknowledged it. Protocol elements that are no stanzas may follow it.
    OnWrite(Stanza),
    /// The backend keeps it and will say `Event::Done` once.
    Kept,
    /// It was answered in place of the recipient (a ping to a user of a home without XMPP): delivered.
    Answered(Stanza),
    /// The link cannot take it now; the shard keeps it and offers it again after `Event::Ready`.
    NotNow(Stanza),
    /// It cannot be sent.
    Refused(Stanza, Refusal),
}

/// What became of a run given to a backend: of all of it alike.
#[derive(Debug)]
#[must_use]
pub enum SentRun {
    /// As [`Sent::OnWrite`].
    OnWrite(Run),
    /// As [`Sent::NotNow`].
    NotNow(Run),
    /// The backend takes its stanzas one by one.
    Alone(Run),
}

/// A presence stanza the router wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// Its type.
    pub kind: PresenceType,
    /// Who speaks.
    pub from: Jid,
    /// To whom.
    pub to: Jid,
}

/// A fault of the peer that ends its link. The backend has already written what the protocol wants said (a stream error, a 400)
/// and closed the link in the outbox; this is for the counters and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The condition as the protocol names it: `not-well-formed`, `400`.
    pub condition: &'static str,
    /// What was wrong, where.
    pub text: String,
}

/// A protocol adapter: `xmpp` towards partners and the legacy gateway, `sip` towards a 2019 pool.
pub trait Backend: Send {
    /// A peer connected; for a door with TLS first `secured` comes before any bytes.
    fn accepted(&mut self, now: Instant, link: LinkId, door: Door, peer: &Arc<str>, out: &mut Outbox);

    /// Dials a destination: emits `Output::Connect` with this link. `node` is the pool's choice for a home; `None` towards
    /// partners, where policy and DNS decide.
    fn dial(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    );

    /// A dialed connection is up. With `direct_tls`, `secured` follows before any bytes.
    fn connected(&mut self, now: Instant, link: LinkId, direct_tls: bool, out: &mut Outbox);

    /// TLS is up on this link.
    fn secured(&mut self, now: Instant, link: LinkId, secured: Secured, out: &mut Outbox);

    /// Plain text arrived. Whole stanzas go to `out.arrivals`.
    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault>;

    /// From now on the link is not read, or it is read again: while it is not, its peer's silence means nothing. What was read
    /// before may still come.
    fn paused(&mut self, _now: Instant, _link: LinkId, _paused: bool, _out: &mut Outbox) {}

    /// Sends one stanza to the destination the link was dialed for.
    fn send(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent;

    /// Sends a run, from one domain to one other, to the destination the link was dialed for.
    fn send_run(&mut self, _now: Instant, _link: LinkId, run: Run, _out: &mut Outbox) -> SentRun {
        SentRun::Alone(run)
    }

    /// Sends presence to a user of this home, as [`Backend::send`] does; `contact` is what holds between the two users after this
    /// stanza. Only asked of a backend whose home is a SIP pool.
    fn presence(
        &mut self,
        now: Instant,
        link: LinkId,
        stanza: Stanza,
        _contact: &Contact,
        out: &mut Outbox,
    ) -> Sent {
        self.send(now, link, stanza, out)
    }

    /// Makes a presence stanza, without content, and appends it to the arrivals as one the router made. Asked of the partners'
    /// backend alone.
    fn compose(&mut self, _now: Instant, _composed: &Composed, _out: &mut Outbox) {}

    /// This user (bare JID) lives here no more: what is kept for his subscriptions and conversations ends, towards the home and
    /// without a word to partners. Nothing of his is kept for sending when this is called, unless a move ran out of time.
    fn part_with(&mut self, _now: Instant, _bare: &str, _out: &mut Outbox) {}

    /// What is open for this user (bare JID), one line each, for the administrator.
    fn describe(&self, _now: Instant, _bare: &str) -> Vec<String> {
        Vec::new()
    }

    /// Subscriptions to presence that are open: those we have at the home, and those it has with us. Asked ten times a second.
    fn presence_open(&self) -> (u64, u64) {
        (0, 0)
    }

    /// A connection is gone, and [`Backend::closed`] is about to say so: whether its peer may come back to what it carried (XEP-0198 §5). Then
    /// what a dialed link held is kept apart until the next one of its destination is ready, and `Event::Resumed` may say how much of it
    /// has arrived; and the ends of what came in on an accepted one go on to be told, until it is named in `Outbox::unchained`.
    fn outlives(&self, _link: LinkId) -> bool {
        false
    }

    /// A connection is gone or never came (`Failed` is told as `Closed::Broken`). For a dialed link that has stanzas depending
    /// on it the shard knows by itself; kept stanzas are the backend's to end or to move to another link.
    fn closed(&mut self, now: Instant, link: LinkId, why: &Closed, out: &mut Outbox);

    /// A stanza of this backend's found its end. `origin.ticket` says which; called for every refusal, and for a delivery
    /// only when the ticket is not 0. XMPP answers a refusal with an error stanza, made from the stanza given.
    fn settle(&mut self, now: Instant, origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox);

    /// Stanzas that arrived on a link of this backend found their end. Told of links the backend named in `Outbox::chained` alone;
    /// which stanzas they are is told by when they arrived, as the backend stamped them.
    fn ended(&mut self, _now: Instant, _ended: &Ended, _out: &mut Outbox) {}

    /// A stanza addressed to the router itself (a local domain without a user): answer it, or say why not.
    fn answer(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) -> Result<(), Refusal>;

    /// A message read by another shard's instance that this shard must decide on (see `Handoff::Message`).
    fn adopt(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox);

    /// The same, with what the other instance found in it (see `Handoff::Read`): this one may read it anew as well.
    fn adopt_read(&mut self, now: Instant, link: LinkId, bytes: Bytes, _found: Found, out: &mut Outbox) {
        self.adopt(now, link, bytes, out);
    }

    /// How many stanzas for this bare JID are kept, so that a move of that user waits for them.
    fn kept_for(&self, bare: &str) -> usize;

    /// Stanzas kept in all.
    fn kept(&self) -> usize;

    /// A new configuration.
    fn configure(&mut self, now: Instant, world: &Arc<World>, out: &mut Outbox);

    /// The process is going to end: nobody new is let in, and what brings stanzas is ended politely. What carries stanzas out goes
    /// on, and may be dialed, until [`Backend::leave`]: what was accepted is still to be delivered, or its sender to be told.
    fn drain(&mut self, now: Instant, out: &mut Outbox);

    /// While draining: whether a peer may still say what counts, as its own end of a stream is not in yet.
    fn is_listening(&self) -> bool {
        false
    }

    /// No shard holds anything: what is still open ends after what is queued.
    fn leave(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// Timers.
    fn wake(&mut self, now: Instant, out: &mut Outbox);

    /// When `wake` is wanted.
    fn deadline(&self) -> Option<Instant>;
}

/// The end of a stanza, told to the backend it arrived by.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The next hop has it.
    Delivered,
    /// It was refused; the stanza is given where it is at hand (always when `ticket` is 0).
    Refused(Option<&'a Stanza>, &'a Refusal),
}
