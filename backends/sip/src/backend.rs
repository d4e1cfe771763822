//! The SIP side of one home on one shard. Invariant: everything about a local user happens on the shard that owns him
//! (`placement::owner_of_user`); a message read elsewhere is handed over whole, and whatever we write goes on a link the peer
//! opened to us or we opened to the pool, never to an address found in a message (B-57, B-58).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::contact::Contact;
use turnout_core::home::{Dialect, HomeId, HostPort};
use turnout_core::io::{
    ClientTls, Close, Closed, Connect, Door, Event, Found, Handoff, Identity, LinkId, Outbox, Output,
    Secured, Side, Target, TrustId,
};
use turnout_core::jid::Jid;
use turnout_core::notice::Notice;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Kind, MessageType, Origin, Stanza};
use turnout_core::survey::{OpenPage, StreamFacts};
use turnout_core::timers::{TimerId, Timers};
use turnout_core::world::{SipHome, World};

use crate::dialog::Dialogs;
use crate::link::{Link, Standing, is_named};
use crate::memo::Memo;
use crate::parse::{Message, Parts};
use crate::presence::{self, Events, TICKET};
use crate::random::Random;
use crate::session::Sessions;
use crate::slab::Key;
use crate::transaction::{Clients, Servers};

/// The SIP backend of a home.
#[derive(Debug)]
pub struct SipBackend {
    pub(crate) side: Side,
    pub(crate) world: Arc<World>,
    pub(crate) settings: SipHome,
    pub(crate) dialect: Dialect,
    pub(crate) random: Random,
    pub(crate) links: HashMap<LinkId, Link>,
    pub(crate) timers: Timers<Timer>,
    pub(crate) sessions: Sessions,
    pub(crate) dialogs: Dialogs,
    pub(crate) clients: Clients,
    pub(crate) servers: Servers,
    pub(crate) events: Events,
    pub(crate) draining: bool,
    /// What every Via of ours starts with, once it was needed.
    pub(crate) via_start: Option<Arc<str>>,
    /// Messages that go out at once are written here, one behind the other.
    pub(crate) paper: BytesMut,
    /// Memory of messages that are done with, at most [`SPARE_MAX`].
    spare: Vec<Arc<Parts>>,
    /// Users by the addresses a pool gave them.
    pub(crate) jids: Memo<Jid>,
    /// Addresses for a pool, by JID.
    pub(crate) uris: Memo<Arc<str>>,
}

/// Messages whose memory is kept for others.
const SPARE_MAX: usize = 256;

/// How long a peer may stay that has not shown to be the pool: to show it, or to hear that it is not.
const STRANGER_MILLIS: u64 = 10_000;

/// What a timer is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    /// A stage of this client transaction has lasted long enough.
    Client(Key),
    /// The same of a server transaction.
    Server(Key),
    /// This INVITE wants a 100.
    Trying(Key),
    /// The 2xx to this INVITE is sent again; then again after twice as many milliseconds.
    Repeat(Key, u64),
    /// This dialog may have been idle too long.
    Idle(Key),
    /// Something of the typing and the receipts of this session is due.
    Talk(Key),
    /// The peer of this link has had the time to show that it is the pool.
    Stranger(LinkId),
    /// This watch waits for something.
    Watch(Key),
    /// This subscription of the pool ends, or its watcher may be told again.
    Subscription(Key),
    /// The partner's user of this audience is to be asked again.
    Check(Key),
    /// A SUBSCRIBE that waits has its turn.
    Turns,
    /// A link to the pool is asked for again.
    Knock,
    /// The pool has been lost for too long for what is shown of its users.
    Stale,
    /// What is shown of more of its users ends.
    Fade,
}

impl SipBackend {
    /// The backend of the home `side` on one shard. `seed` makes tags, branches and Call-IDs: 256 bits from the system's generator,
    /// other ones for each shard and home. A home the world does not know serves nobody.
    pub fn new(side: Side, world: Arc<World>, seed: [u8; 32]) -> Self {
        let mut backend = Self {
            side,
            settings: settings_without_home(),
            dialect: Dialect::Skype,
            world: Arc::clone(&world),
            random: Random::new(seed),
            links: HashMap::new(),
            timers: Timers::default(),
            sessions: Sessions::default(),
            dialogs: Dialogs::default(),
            clients: Clients::default(),
            servers: Servers::default(),
            events: Events::default(),
            draining: false,
            via_start: None,
            paper: BytesMut::new(),
            spare: Vec::new(),
            jids: Memo::default(),
            uris: Memo::default(),
        };
        backend.take(&world);
        backend
    }

    /// Event subscriptions that are open, both ways; one that is over counts until the pool has said its last about it.
    pub fn subscriptions(&self) -> usize {
        self.events.watches.len() + self.events.audiences.len()
    }

    /// Takes what the world says about this home.
    fn take(&mut self, world: &Arc<World>) {
        self.world = Arc::clone(world);
        let room = world.flow.room;
        self.sessions.room = room;
        self.events.watches.room = room;
        self.events.audiences.room = room;
        self.via_start = None;
        let Some(home) = self.home() else { return };
        if let Some(settings) = world.sip.get(&home) {
            self.settings = settings.clone();
        }
        if let Some(home) = world.homes.get(home) {
            self.dialect = home.dialect;
        }
    }

    fn home(&self) -> Option<HomeId> {
        match self.side {
            Side::Home(home) => Some(home),
            Side::Partners => None,
        }
    }

    /// Sets a timer.
    pub(crate) fn after(&mut self, now: Instant, millis: u64, timer: Timer) -> TimerId {
        self.timers.set(now + Duration::from_millis(millis), timer)
    }

    /// A line for the log.
    pub(crate) fn note(
        &self,
        notice: Notice,
        link: LinkId,
        about: &str,
        text: impl Into<String>,
        out: &mut Outbox,
    ) {
        out.note(notice, self.side, link, about, text);
    }

    /// Where stanzas made on this shard come from: a link of this shard, so that the verdict comes back to it, also where the
    /// message was read on another. Count 0 is never given to a connection.
    pub(crate) fn origin(&self, link: LinkId, ticket: u64, out: &Outbox) -> Origin {
        let link = if link.shard() == out.shard() { link } else { LinkId::accepted(out.shard(), 0) };
        Origin { side: self.side, link, ticket }
    }

    /// The link for a request: the one its dialog last used while that is open here (SD-02), else the one the shard named last,
    /// else any that leads to the pool, else a dialog's link of another shard, which may be open still.
    pub(crate) fn way(&self, dialog: LinkId, named: LinkId, out: &Outbox) -> Option<LinkId> {
        let open =
            |link: &LinkId| self.links.get(link).is_some_and(|link| link.standing == Standing::Trusted);
        let any = || {
            let trusted = self.links.iter().filter(|(_, link)| link.standing == Standing::Trusted);
            trusted.filter(|(id, _)| !id.is_accepted()).map(|(id, _)| *id).min()
        };
        let abroad = || (dialog != LinkId::NONE && dialog.shard() != out.shard()).then_some(dialog);
        [dialog, named].into_iter().find(open).or_else(any).or_else(abroad)
    }

    fn is_bad_peer(&mut self, link: LinkId, secured: &Secured, names: &[Arc<str>], out: &mut Outbox) -> bool {
        match is_named(secured, &self.settings, names) {
            Ok(()) => false,
            Err(why) => {
                let text =
                    format!("the peer is not the pool: {why}; see trusted_names and ca_file of the home");
                self.note(Notice::PoolStranger, link, "pool", text, out);
                true
            }
        }
    }
}

/// What holds for a home without settings: nobody is trusted.
pub(crate) fn settings_without_home() -> SipHome {
    SipHome {
        our_name: "localhost".into(),
        our_port: 5061,
        tls: true,
        trusted_names: Vec::new(),
        trust: TrustId::FEDERATION,
        idle: Duration::from_secs(600),
        message_bytes_max: 0,
        first_message_in_invite: false,
        xhtml_im: false,
        calendar: None,
    }
}

impl Backend for SipBackend {
    fn accepted(&mut self, now: Instant, link: LinkId, door: Door, _peer: &Arc<str>, _out: &mut Outbox) {
        let standing = match (self.settings.tls, door.direct_tls) {
            (_, true) => Standing::Opening,
            (false, false) => Standing::Trusted,
            (true, false) => Standing::Stranger,
        };
        let max = self.body_bytes_max();
        self.links.insert(link, Link::new(standing, None, max));
        // Also where TLS is still to come: who never begins it would keep his place for ever.
        if standing != Standing::Trusted {
            self.after(now, STRANGER_MILLIS, Timer::Stranger(link));
        }
    }

    fn dial(
        &mut self,
        _now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        let named = match (node, destination) {
            (Some(node), _) => Some(node.clone()),
            (None, Destination::Node { node, .. }) => {
                let home = self.home().and_then(|home| self.world.homes.get(home));
                home.and_then(|home| home.connect.get(usize::from(*node))).cloned()
            }
            (None, Destination::Pair { .. }) => None,
        };
        let (Some(node), Some(home)) = (named, self.home()) else {
            out.events.push_back(Event::Unready(link, Some(no_way("the home has no such node"))));
            return;
        };
        let host: Arc<str> = node.host.as_str().into();
        let max = self.body_bytes_max();
        self.links.insert(link, Link::new(Standing::Opening, Some(Arc::clone(&host)), max));
        let tls = ClientTls {
            server_name: host,
            trust: self.settings.trust,
            identity: Identity::Home(home),
            alpn_xmpp: false,
        };

        out.connect(Connect { link, target: Target::Hosts(vec![node]), tls, direct: self.settings.tls });
    }

    fn connected(&mut self, now: Instant, link: LinkId, direct_tls: bool, out: &mut Outbox) {
        if direct_tls {
            return;
        }
        let (plain_allowed, max) = (!self.settings.tls, self.body_bytes_max());
        let Some(state) = self.links.get_mut(&link) else { return };
        if plain_allowed {
            state.stand(Standing::Trusted, max);
            out.events.push_back(Event::Ready(link));
            self.pool_found_by(now, link, out);
        } else {
            state.standing = Standing::Stranger;
            out.events
                .push_back(Event::Unready(link, Some(no_way("the pool is to be reached over TLS only"))));
            out.close(link, Close::Abort);
        }
    }

    fn secured(&mut self, now: Instant, link: LinkId, secured: Secured, out: &mut Outbox) {
        let Some(state) = self.links.get(&link) else { return };
        let dialed = state.host.clone();
        // A node answers with its own name or with its pool's: whoever may speak to us may also be reached (SC-01, SC-02).
        let mut names = self.settings.trusted_names.clone();
        names.extend(dialed.clone());
        let bad = self.is_bad_peer(link, &secured, &names, out);
        let max = self.body_bytes_max();
        if let Some(state) = self.links.get_mut(&link) {
            state.stand(if bad { Standing::Stranger } else { Standing::Trusted }, max);
        }
        match (dialed.is_some(), bad) {
            (true, false) => {
                out.events.push_back(Event::Ready(link));
                self.pool_found_by(now, link, out);
            }
            (true, true) => {
                let text = "the certificate of the pool is not the pool's";
                out.events.push_back(Event::Unready(link, Some(no_way(text))));
                out.close(link, Close::Abort);
            }
            // A stranger is told so when he asks for something (SC-02), and is not waited for long.
            (false, true) => {
                self.after(now, STRANGER_MILLIS, Timer::Stranger(link));
            }
            (false, false) => {}
        }
    }

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        self.read(now, link, bytes, out)
    }

    fn send(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        match stanza.kind {
            // An error is never answered with a message, nor made one (A.3.2); who asked to hear of it is notified.
            Kind::Message(MessageType::Error) => {
                self.bounced(now, &stanza, out);
                Sent::Answered(stanza)
            }
            Kind::Message(MessageType::Groupchat) => {
                Sent::Refused(stanza, presence::unavailable("this user cannot be part of a group chat"))
            }
            Kind::Message(MessageType::Normal | MessageType::Chat | MessageType::Headline) => {
                self.say(now, link, stanza, out)
            }
            Kind::Presence(_) => self.presence_for(now, link, stanza, &Contact::default(), out),
            Kind::Iq(kind) => self.iq_for(now, link, stanza, kind, out),
        }
    }

    fn presence(
        &mut self,
        now: Instant,
        link: LinkId,
        stanza: Stanza,
        contact: &Contact,
        out: &mut Outbox,
    ) -> Sent {
        self.presence_for(now, link, stanza, contact, out)
    }

    fn part_with(&mut self, now: Instant, bare: &str, out: &mut Outbox) {
        self.part_with_events(now, bare, out);
    }

    fn describe(&self, now: Instant, bare: &str) -> Vec<String> {
        let mut lines = self.describe_events(now, bare);
        lines.extend(self.sessions.describe(bare));
        lines
    }

    fn facts(&self, _now: Instant, link: LinkId) -> Option<StreamFacts> {
        self.stream_facts(link)
    }

    fn open(&self, now: Instant, after: u64, limit: usize) -> OpenPage {
        self.open_page(now, after, limit)
    }

    fn presence_open(&self) -> (u64, u64) {
        (self.events.watches.len() as u64, self.events.audiences.len() as u64)
    }

    fn closed(&mut self, now: Instant, link: LinkId, _why: &Closed, out: &mut Outbox) {
        let was_open = self.links.remove(&link).is_some_and(|link| link.standing == Standing::Trusted);
        self.link_lost(now, link, out);
        if was_open {
            self.events_without(now);
        }
    }

    fn settle(&mut self, now: Instant, origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox) {
        if origin.ticket & TICKET != 0 {
            if let Verdict::Refused(..) = verdict {
                self.asked_in_vain(now, origin.ticket, out);
            }
            return;
        }
        let Some(key) = self.servers.redeem(origin.ticket) else { return };
        match verdict {
            Verdict::Delivered => self.verdict(now, key, Ok(()), out),
            Verdict::Refused(_, refusal) => self.verdict(now, key, Err(refusal), out),
        }
    }

    fn answer(&mut self, _now: Instant, _stanza: &Stanza, _out: &mut Outbox) -> Result<(), Refusal> {
        // Nothing that comes from a pool is addressed to a domain alone: `from_pool` refuses it before it is a stanza.
        Err(presence::unavailable("the router itself is not spoken to over SIP"))
    }

    fn adopt(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) {
        let parts = self.parts();
        self.read_message(now, link, (bytes, parts), true, out);
    }

    fn adopt_read(&mut self, now: Instant, link: LinkId, bytes: Bytes, found: Found, out: &mut Outbox) {
        match found.downcast::<Parts>() {
            Ok(parts) => self.message(now, link, Message::of_parts(bytes, parts), true, out),
            Err(_) => self.adopt(now, link, bytes, out),
        }
    }

    fn kept_for(&self, bare: &str) -> usize {
        self.sessions.kept_for(bare)
    }

    fn kept(&self) -> usize {
        self.sessions.kept()
    }

    fn configure(&mut self, _now: Instant, world: &Arc<World>, out: &mut Outbox) {
        let trusted = |settings: &SipHome| (settings.tls, settings.trust, settings.trusted_names.clone());
        let before = trusted(&self.settings);
        self.take(world);
        if trusted(&self.settings) == before {
            return;
        }
        // Whoever was trusted by other rules has to show himself anew; sessions go on over new connections.
        let mut links: Vec<LinkId> = self.links.keys().copied().collect();
        links.sort_unstable();
        for link in links {
            if self.links.get(&link).is_some_and(|state| state.host.is_some()) {
                out.events.push_back(Event::Unready(link, None));
            }
            self.note(
                Notice::PoolClosed,
                link,
                "pool",
                "closed: the rules of who is trusted have changed",
                out,
            );
            out.close(link, Close::Flush);
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.draining = true;
        self.drain_events(now, out);
        for id in self.sessions.keys() {
            self.leave_if_done(now, id, out);
        }
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Client(key) => self.client_due(now, key, out),
                Timer::Server(key) => self.server_due(now, key, out),
                Timer::Trying(key) => self.trying(key, out),
                Timer::Repeat(key, millis) => self.repeat(now, key, millis, out),
                Timer::Idle(dialog) => self.idle_due(now, dialog, out),
                Timer::Watch(key) => self.watch_due(now, key, out),
                Timer::Subscription(key) => self.subscription_due(now, key, out),
                Timer::Check(key) => self.check_due(now, key, out),
                Timer::Turns => self.turns_due(now, out),
                Timer::Knock => self.knock_due(now, out),
                Timer::Stale => self.stale_due(now, out),
                Timer::Fade => self.fade_due(now, out),
                Timer::Talk(session) => self.talk_due(now, session, out),
                Timer::Stranger(link) => {
                    if self.links.get(&link).is_some_and(|state| state.standing != Standing::Trusted) {
                        self.links.remove(&link);
                        out.close(link, Close::Abort);
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }
}

impl SipBackend {
    /// Largest body taken: a text at its limit in its most wasteful encodings, never less than an INVITE needs.
    fn body_bytes_max(&self) -> usize {
        self.settings.message_bytes_max.saturating_mul(4).clamp(65_536, 5_000_000)
    }

    /// Memory for a message.
    pub(crate) fn parts(&mut self) -> Arc<Parts> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps the memory of a message that is done with.
    pub(crate) fn recycle(&mut self, message: Message) {
        if let Some(parts) = message.into_parts() {
            self.put_back(parts);
        }
    }

    /// Keeps memory that was not needed.
    pub(crate) fn put_back(&mut self, parts: Arc<Parts>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(parts);
        }
    }

    /// Gives a message to the shard it belongs to, as it was read.
    pub(crate) fn hand_over(&self, owner: u16, link: LinkId, message: &Message, out: &mut Outbox) {
        let (bytes, found) = message.to_pieces();
        out.outputs.push(Output::Handoff(owner, Handoff::Read { side: self.side, link, bytes, found }));
    }
}

/// The pool cannot be reached or agreed with.
pub(crate) fn no_way(detail: &str) -> Refusal {
    let text = "the recipient's server cannot be reached";
    Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, text)
        .with_detail(detail)
}
