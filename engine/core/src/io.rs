//! What goes into a shard and what comes out. Invariant: both are closed enums, and everything that needs the world is an output
//! that comes back as an input: `Connect` comes back as `Connected` or `Failed`, `StartTls` as `Secured` or `Closed`, `Transmit`
//! as `Written`, `Persist` as `Persisted`, `Spool` as `Spooled`, `Handoff` arrives at another shard.

mod arrivals;
mod link_id;
mod outbox;
mod told;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::backend::{Backend, Destination};
use crate::contact::{Pair, Record};
use crate::contacts::{Forget, Toward};
use crate::directory::Snapshot;
use crate::durable::{Entry, EntryKey, Opened};
use crate::home::{HomeId, HostPort};
use crate::jid::{Domain, Jid};
use crate::notice::Notice;
use crate::refusal::Refusal;
use crate::run::Run;
use crate::stanza::{Origin, PresenceType, Stanza};
use crate::survey::{Survey, Surveyed};
pub use crate::timers::earlier;
use crate::trace::TraceRules;
use crate::trial::Trial;
use crate::world::World;

pub use arrivals::Arrivals;
pub use link_id::LinkId;
pub use outbox::Outbox;
pub use told::Told;

/// One side of the router: the partners outside, or one home inside. Each side has one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// XMPP federation with partner domains.
    Partners,
    /// A home of local users.
    Home(HomeId),
}

/// How an accepted connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// Whose listener it was.
    pub side: Side,
    /// TLS comes first, before any byte of the protocol (XEP-0368, SIP over TLS): the driver secures it and says `Secured`.
    pub direct_tls: bool,
}

/// A set of trust anchors and checks the service knows by number. 0 is the federation's own (the system's roots and
/// `federation.ca_file`); partners and homes with a `ca_file` of their own have further ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustId(pub u16);

impl TrustId {
    /// The trust of partners that name no other.
    pub const FEDERATION: Self = Self(0);
}

/// Which certificate of ours to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The one of this local domain.
    Domain(Domain),
    /// The one configured for the home.
    Home(HomeId),
    /// None.
    Anonymous,
}

/// How to be a TLS client. The driver finishes the handshake whatever the certificate is and reports the facts; the backend
/// judges them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Server name indication: the XMPP domain (XEP-0368) or the pool's host.
    pub server_name: Arc<str>,
    /// The anchors to hold the chain against.
    pub trust: TrustId,
    /// Our certificate, if the server asks for one.
    pub identity: Identity,
    /// Offer ALPN `xmpp-server`.
    pub alpn_xmpp: bool,
}

/// How a plain link becomes a secured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// We answer the handshake with the certificates of this side.
    Server(Side),
    /// We begin it.
    Client(ClientTls),
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The XMPP service of a domain: `_xmpps-server._tcp` and `_xmpp-server._tcp` merged by priority and weight, addresses of
    /// the domain itself on 5269 only where no SRV record exists (RFC 6120 §3.2, XEP-0368).
    XmppService(Domain),
    /// These hosts, in this order; no SRV look-up.
    Hosts(Vec<HostPort>),
}

/// A wish to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The name the connection will have.
    pub link: LinkId,
    /// Where.
    pub target: Target,
    /// Used at once when the address found (or `direct`) asks for TLS first; kept by the backend for STARTTLS otherwise.
    pub tls: ClientTls,
    /// TLS from the first byte at `Hosts` (SIP over TLS). For `XmppService` DNS decides.
    pub direct: bool,
}

/// Why no connection came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// The name does not exist, or says it has no such service (target `.`).
    NotFound,
    /// The name could not be looked up just now.
    Unresolved,
    /// Addresses were found and none answered.
    NoAnswer,
    /// The TLS handshake failed.
    Tls,
    /// A limit of our own.
    Limit,
}

/// What was learnt of a peer in a TLS handshake. A presented certificate is not an authenticated peer: whoever reads this must
/// match names and look at `trusted`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Trust sets whose anchors the chain leads to, valid at the time of the handshake, with a purpose fit for the role (a
    /// serverAuth-only certificate is accepted of an XMPP client too).
    pub trusted: Vec<TrustId>,
    /// Why no set trusts it, for the log; `None` where one does.
    pub untrusted_because: Option<Arc<str>>,
    /// dNSName entries, lower case, wildcards as written.
    pub dns: Vec<Arc<str>>,
    /// SRVName entries (`_xmpp-server.example.com`), lower case.
    pub srv: Vec<Arc<str>>,
    /// xmppAddr entries (UTF8String otherName 1.3.6.1.5.5.7.8.5).
    pub xmpp_addresses: Vec<Arc<str>>,
    /// uniformResourceIdentifier entries.
    pub uris: Vec<Arc<str>>,
    /// The last common name of the subject. Names no identity unless a policy says so.
    pub common_name: Option<Arc<str>>,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
    /// Issuer, for the log.
    pub issuer: Arc<str>,
}

/// Facts of a finished handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secured {
    /// The peer's certificate, if it showed one.
    pub certificate: Option<Box<PeerCertificate>>,
    /// The protocol version, for the log and the metrics: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer ended it in order (close_notify where there is TLS).
    Eof,
    /// It broke: reset, truncated TLS, failed handshake.
    Broken(Arc<str>),
    /// We asked for it.
    Ours,
}

/// A change of homes on its way: while it lasts, stanzas for these users wait.
#[derive(Debug)]
pub struct MoveOrder {
    /// Its number, unique in the process.
    pub id: u64,
    /// The users, bare JIDs as prepared text.
    pub users: Vec<Arc<str>>,
}

/// Presence that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The local user; in full where he is the sender.
    pub local: Jid,
    /// The partner's user.
    pub partner: Jid,
    /// Which way it went.
    pub toward: Toward,
    /// Its type.
    pub kind: PresenceType,
}

/// The end of stanzas that arrived on a chained link together: delivered, bounced, answered or dropped by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The side they arrived on.
    pub side: Side,
    /// The link they arrived on.
    pub link: LinkId,
    /// When they arrived, as their backend stamped them.
    pub arrived: Instant,
    /// How many.
    pub count: u32,
}

/// What a backend found in a message, for the instance of it on another shard.
pub type Found = Arc<dyn Any + Send + Sync>;

/// What one shard sends another, over a bounded ring that keeps order.
#[derive(Debug)]
pub enum Handoff {
    /// A routed stanza for a destination this shard owns.
    Stanza(Stanza, crate::route::Route),
    /// A routed run for a partner whose streams this shard owns.
    Run(Run),
    /// Presence passed between the legacy gateway and a partner: for the shard that owns the local user.
    Fact(Box<Fact>),
    /// What the router asked in a user's name did not arrive: for the shard that owns the local user.
    InVain(Box<Fact>),
    /// A connection with this legacy gateway has ended: is it still there?
    Doubt(HomeId),
    /// A partner has opened a stream to us: for the shard that sends to his domain.
    Seen(Domain),
    /// The verdict on a stanza, for the backend that waits for it.
    Verdict(Origin, Result<(), Refusal>),
    /// A link of the sender's shard is chained ([`Outbox::chained`]), or is no more.
    Chained(LinkId, bool),
    /// Stanzas that arrived on a chained link found their end.
    Ended(Ended),
    /// A stanza with this entry, which the receiving shard wrote, found its end.
    Unspooled(EntryKey),
    /// Back-pressure between the shard of a link and those of the destinations it brings for.
    Pressure(crate::flow::Pressure),
    /// Bytes a backend read on a link of its own and another shard must decide on (a SIP message, whole; the answer to an XMPP ping).
    Message {
        /// The side it came in on.
        side: Side,
        /// The link it came in on.
        link: LinkId,
        /// The message.
        bytes: Bytes,
    },
    /// As [`Handoff::Message`], with what the backend that read it found in it: what it is to mean is for the same backend to know, and
    /// nothing of it is read or copied twice.
    Read {
        /// The side it came in on.
        side: Side,
        /// The link it came in on.
        link: LinkId,
        /// The message.
        bytes: Bytes,
        /// What was found.
        found: Found,
    },
    /// Bytes to write on a link the receiving shard owns.
    Transmit {
        /// The link.
        link: LinkId,
        /// What to write.
        bytes: Bytes,
    },
}

/// Something that happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "what shards hand each other is most of it, and is not boxed for that"
)]
pub enum Input {
    /// A peer connected. With `direct_tls` the door is secured first: `Secured` follows before any bytes.
    Accepted {
        /// Its name.
        link: LinkId,
        /// How it came in.
        door: Door,
        /// The peer's address, for the log.
        peer: Arc<str>,
    },
    /// A wished connection is there (not yet secured, also when TLS comes first).
    Connected {
        /// The link.
        link: LinkId,
        /// TLS was begun at once; `Secured` follows.
        direct_tls: bool,
        /// The peer's address, for the log.
        peer: Arc<str>,
    },
    /// A wished connection will not be.
    Failed {
        /// The link.
        link: LinkId,
        /// The class of failure.
        why: Unreachable,
        /// What was tried, for the log.
        text: Arc<str>,
    },
    /// The handshake is done.
    Secured(LinkId, Secured),
    /// Plain text arrived.
    Received(LinkId, Bytes),
    /// So many bytes of plain text, in all, were given to the kernel.
    Written(LinkId, u64),
    /// The connection is gone; nothing more comes from it.
    Closed(LinkId, Closed),
    /// From another shard.
    Handoff(Handoff),
    /// What the store knows of local users this shard owns. Before any stanza; may come in several pieces.
    Contacts(Vec<Record>),
    /// What is open for this user (bare JID)? Answered by [`Output::Told`] with this number, from the shard that owns him; put to
    /// any other it is answered with nothing.
    Ask(u64, Arc<str>),
    /// An administrator takes back what holds between these two. Answered by [`Output::Told`] with this number, from the shard that
    /// owns the local user: `contacts` is the contact as it was, or empty where there was nothing to take back.
    Forget(u64, Pair, Forget),
    /// An administrator wants to know what is here. Answered by [`Output::Surveyed`] with this number.
    Survey(u64, Arc<Survey>),
    /// What is to be remembered of stanzas from now on.
    Trace(Arc<TraceRules>),
    /// Send this. Its end is told by [`Output::Told`] with this number, in `tried`; of a ping the answer is.
    Try(u64, Box<Trial>),
    /// Everything this shard gave the store with a number up to this one is on disk.
    Persisted(u64),
    /// The spool is durable, and this is what has to be known of it. Before any stanza.
    Opened(Box<Opened>),
    /// Stanzas that waited when the process died or was stopped, in the order they are to go on. After `Opened` and the contacts and
    /// before any other stanza; to the shard [`hand_out`](crate::durable::hand_out) names; may come in several pieces.
    Recovered(Vec<Entry>),
    /// Every entry this shard gave up to this key is on disk, or is done.
    Spooled(EntryKey),
    /// A new directory.
    Directory(Arc<Snapshot>),
    /// Backends of homes that are new in the world that follows, in the order of their numbers, behind those of all homes there have been.
    Homes(NewBackends),
    /// A new configuration.
    World(Arc<World>),
    /// A home that is gone from the configuration has no users any more: what waits for it goes the way that holds now, and its
    /// streams end.
    Retire(HomeId),
    /// Step 1 of a move: keep stanzas for these users back. Answered by `Output::Holding`.
    Hold(Arc<MoveOrder>),
    /// Step 2, when every shard holds: answered by `Output::Settled` when nothing for these users is under way here.
    Settle(u64),
    /// Step 3, when every shard has settled or time is up: the directory knows the new homes, let go.
    Release(u64),
    /// Stop taking connections, end the streams that bring stanzas, finish what was accepted; then say [`Output::Drained`]. Given
    /// again, it asks again: another shard may have handed over something meanwhile.
    Drain,
    /// Every shard has drained: close politely what was kept open for stanzas on their way out, and say [`Output::Drained`] again.
    Leave,
}

/// Backends on their way to a shard.
pub struct NewBackends(pub Vec<Box<dyn Backend>>);

impl fmt::Debug for NewBackends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewBackends").field(&self.0.len()).finish()
    }
}

/// Something for the operator's log. Never a message body.
#[derive(Clone, Debug)]
pub struct Note {
    /// Which kind of event.
    pub notice: Notice,
    /// The side it concerns.
    pub side: Option<Side>,
    /// The link it concerns.
    pub link: Option<LinkId>,
    /// The partner domain, pool node or user it concerns; escaped when written.
    pub about: Arc<str>,
    /// What happened, why, what to do.
    pub text: String,
}

/// How to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Write what is queued, close_notify, then close.
    Flush,
    /// At once.
    Abort,
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Connect.
    Connect(Box<Connect>),
    /// Begin TLS on a plain link. Everything received before and not yet processed is gone (RFC 6120 §5.4.3.3).
    StartTls(LinkId, TlsRole),
    /// Write. Neighbouring slices of one link are one gathered write.
    Transmit(LinkId, Bytes),
    /// End a connection. `Input::Closed` follows.
    Close(LinkId, Close),
    /// Read no more from this link until [`Output::Resume`]. What was read already may still come, in its order; what is written
    /// goes on. The link may be gone.
    Pause(LinkId),
    /// Read from this link again.
    Resume(LinkId),
    /// Give to another shard.
    Handoff(u16, Handoff),
    /// Give to the store; comes back as [`Input::Persisted`] with this number or a higher one. Numbers grow.
    Persist(u64, Box<Record>),
    /// Write to the durable spool; comes back as [`Input::Spooled`] with this key or a higher one. Keys grow.
    Spool(Box<Entry>),
    /// An entry is done: its stanza found its end, whichever start and shard wrote it.
    Unspool(EntryKey),
    /// The answer to [`Input::Ask`] and [`Input::Forget`].
    Told(u64, Box<Told>),
    /// The answer to [`Input::Survey`].
    Surveyed(u64, Box<Surveyed>),
    /// Step 1 of that move is done here.
    Holding(u64),
    /// Step 2 of that move is done here.
    Settled(u64),
    /// Nothing accepted is left here, or time is up; after [`Input::Leave`] every link is closing besides.
    Drained,
    /// For the log.
    Note(Note),
}

/// What a link's backend tells the shard.
#[derive(Debug)]
pub enum Event {
    /// A dialed link carries stanzas for its destination from now on.
    Ready(LinkId),
    /// A dialed link takes no more stanzas: it is closing or was refused. `None`: an orderly close, reconnect when needed.
    Unready(LinkId, Option<Refusal>),
    /// The peer of a dialed link acknowledges (XEP-0198): from now on what is sent on it counts as delivered when
    /// [`Event::Acknowledged`] says so, and not when it is written. Before [`Event::Ready`].
    Acknowledging(LinkId),
    /// The peer of such a link has so many stanzas more, in the order they were sent.
    Acknowledged(LinkId, u32),
    /// A dialed link goes on where a suspended one of the same destination broke off ([`Backend::outlives`]): its peer has so many stanzas
    /// more of what was sent on that one. Before [`Event::Ready`].
    ///
    /// [`Backend::outlives`]: crate::backend::Backend::outlives
    Resumed(LinkId, u32),
    /// An accepted link takes stanzas too, for this destination, from now on (XEP-0288).
    WayBack(LinkId, Destination),
    /// A partner has opened a stream to us and proven who he is: this domain is there.
    Seen(Domain),
    /// A kept stanza found its end.
    Done(Box<Stanza>, Result<(), Refusal>),
    /// A local user of a SIP home wrote to this partner user first (bare JIDs): he may answer (requirement 11).
    Introduced(Jid, Jid),
}
