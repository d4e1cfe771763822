//! What the pool says: cut, checked, and brought to the shard it concerns. Invariant: every request gets exactly one final answer, on the
//! link it came on; a response that matches nothing is dropped (RFC 3261 §18.1.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use memchr::{memchr, memchr2};
use turnout_core::backend::Fault;
use turnout_core::io::{Close, LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::notice::Notice;
use turnout_core::placement::owner_of_user;

use crate::address::{AddressError, jid_of};
use crate::backend::{SipBackend, Timer};
use crate::frame::{Frame, FrameError};
use crate::link::Standing;
use crate::parse::{Answer, Capabilities, HeaderName, Message, NameAddr, Parts, Problem, Vitals, vet};
use crate::presence::{EVENT, pidf};
use crate::random::Token;
use crate::sdp::ACCEPT_TYPES;
use crate::session::Flight;
use crate::slab::Key;
use crate::transaction::{
    Answered, Identity, Purpose, SHARD_DIGITS, TRYING_MILLIS, Tag, Verb, read_branch, shard_of,
};
use crate::write::{Builder, usual_reason};

/// Methods served with sessions. NEGOTIATE, REGISTER, PUBLISH and the like are answered 405 with this as `Allow`.
const SESSION_METHODS: &[&str] =
    &["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "INFO", "SUBSCRIBE", "NOTIFY", "BENOTIFY"];
/// Methods served without.
const PAGER_METHODS: &[&str] = &["OPTIONS", "MESSAGE", "SUBSCRIBE", "NOTIFY"];
/// Event packages served.
const EVENTS: &[&str] = &[EVENT];

/// What is let through by the general check; what a MESSAGE may hold is judged again where it is read.
const MEDIA_TYPES: &[&str] = &[
    "application/sdp",
    "text/plain",
    "text/html",
    "text/x-msmsgsinvite",
    "multipart/alternative",
    "multipart/related",
    "multipart/mixed",
    "application/xml",
    "application/im-iscomposing+xml",
    "application/ms-imdn+xml",
    "message/imdn+xml",
    pidf::PIDF,
    pidf::CATEGORIES,
    "message/cpim",
];

/// What is read of a response beside what every message has; one that has any of it is read in full.
const READ_OF_RESPONSES: [HeaderName; 5] = [
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Contact,
    HeaderName::Route,
    HeaderName::RecordRoute,
];

/// The users of a request, as JIDs.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// The local user who asks, bare.
    pub(crate) local: Jid,
    /// The partner's user, bare.
    pub(crate) partner: Jid,
}

/// Whom a request is for.
#[derive(Debug)]
enum Addressee {
    /// A dialog, by the tag in To: one of ours, or none that there is.
    Dialog(Tag, Option<Key>),
    /// Users, outside of any dialog.
    Users(Users),
}

impl SipBackend {
    /// Takes bytes of a link.
    pub(crate) fn read(
        &mut self,
        now: Instant,
        link: LinkId,
        bytes: Bytes,
        out: &mut Outbox,
    ) -> Result<(), Fault> {
        match self.links.get_mut(&link) {
            Some(state) => state.framer.feed(bytes),
            None => return Ok(()),
        }
        let (mut pings, mut parts) = (0, self.parts());
        let end = loop {
            let Some(state) = self.links.get_mut(&link) else { break Ok(()) };
            let trusted = state.standing == Standing::Trusted;
            let Some(room) = Arc::get_mut(&mut parts) else {
                parts = Arc::default();
                continue;
            };
            let next = state.framer.next_read(room);
            // RFC 5626 §3.5.1. A run of them is answered at once, as a flood of them is not to become as many writes; strangers, who
            // have nothing to keep alive, not at all.
            if let Ok(Some((Frame::Ping, _))) = next {
                pings += usize::from(trusted);
                continue;
            }
            pong(link, std::mem::take(&mut pings), out);
            match next {
                Ok(None) => break Ok(()),
                Ok(Some((Frame::Blank | Frame::Ping, _))) => {}
                Ok(Some((Frame::Message(bytes), is_read))) => {
                    if !trusted {
                        break self.turn_away(link, bytes, out);
                    }
                    let next = self.parts();
                    let parts = std::mem::replace(&mut parts, next);
                    if is_read {
                        self.message(now, link, Message::of_parts(bytes, parts), false, out);
                    } else {
                        self.read_message(now, link, (bytes, parts), false, out);
                    }
                }
                Err(error) => break self.broken(link, error, out),
            }
        };
        self.put_back(parts);
        end
    }

    /// SC-02: a stranger's first request is answered 403, and that was it.
    fn turn_away(&mut self, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        self.links.remove(&link);
        if let Ok(request) = Message::parse(bytes) {
            self.refuse(&request, link, 403, None, out);
        }
        out.close(link, Close::Flush);
        Err(Fault { condition: "403", text: "the peer has not shown a certificate of the pool".to_owned() })
    }

    /// A stream whose messages cannot be told apart ends (RFC 3261 §18.3).
    fn broken(&mut self, link: LinkId, error: FrameError, out: &mut Outbox) -> Result<(), Fault> {
        self.links.remove(&link);
        if let Some(request) = error.head.clone().and_then(|head| Message::parse(head).ok()) {
            self.refuse(&request, link, error.status(), None, out);
        }
        out.close(link, Close::Flush);
        let condition = if error.status() == 413 { "413" } else { "400" };
        Err(Fault { condition, text: error.to_string() })
    }

    /// One whole message that is not read yet, and memory to read it.
    pub(crate) fn read_message(
        &mut self,
        now: Instant,
        link: LinkId,
        (bytes, parts): (Bytes, Arc<Parts>),
        adopted: bool,
        out: &mut Outbox,
    ) {
        match Message::parse_with(bytes, parts) {
            Ok(message) => self.message(now, link, message, adopted, out),
            Err(_) => self.note(Notice::PoolDropped, link, "pool", "dropped what is no SIP message", out),
        }
    }

    /// One whole message. `adopted`: another shard read it and found it to be ours.
    pub(crate) fn message(
        &mut self,
        now: Instant,
        link: LinkId,
        message: Message,
        adopted: bool,
        out: &mut Outbox,
    ) {
        if !self.answered_as_usual(now, link, &message, out) {
            self.read_in_full(now, link, &message, adopted, out);
        }
        self.recycle(message);
    }

    fn read_in_full(
        &mut self,
        now: Instant,
        link: LinkId,
        message: &Message,
        adopted: bool,
        out: &mut Outbox,
    ) {
        let known = self.dialogs.of(message).map(|(key, dialog)| (key, dialog.familiar(message)));
        if known.is_none() && !adopted && self.world.shards > 1 {
            match self.owner_at_sight(message, out) {
                Some(owner) if owner != out.shard() => return self.hand_over(owner, link, message, out),
                _ => {}
            }
        }
        let (dialog, familiar) = known.unzip();
        let familiar = familiar.unwrap_or_default();
        match vet(message, &self.capabilities(), &familiar) {
            Err(problem) => self.problem(message, link, problem, out),
            Ok(vitals) if message.status().is_some() => {
                self.response(now, link, (message, &vitals), adopted, out);
            }
            Ok(vitals) => self.asked(now, link, (message, &vitals), dialog, adopted, out),
        }
    }

    /// A response to a MESSAGE in a dialog whose values are, byte for byte, those that were written: they need no reading, only
    /// comparing. `false`: this is not one, or not surely.
    fn answered_as_usual(&mut self, now: Instant, link: LinkId, message: &Message, out: &mut Outbox) -> bool {
        let sound = message.flaw().is_none() && message.is_version_known();
        if message.status().is_none() || !sound || message.has_any(&READ_OF_RESPONSES) {
            return false;
        }
        let via = self.via_start(out);
        let token = message.only_line(HeaderName::Via).and_then(|value| value.strip_prefix(via.as_bytes()));
        let Some(token) = token.and_then(Token::read) else { return false };
        let Ok(cseq) = message.cseq() else { return false };
        let Some(client) = self.clients.find(token, Verb::Message).and_then(|key| self.clients.get(key))
        else {
            return false;
        };
        let Purpose::Text(session) = client.purpose else { return false };
        let flight = self.sessions.get(session).map(|session| session.flight);
        let Some(Flight::Sending { dialog: Some(dialog) }) = flight else { return false };
        if cseq.method != b"MESSAGE"
            || !self.dialogs.get(dialog).is_some_and(|dialog| dialog.is_answered_by(message))
        {
            return false;
        }
        self.answered(now, link, token, (message, Verb::Message), out);
        true
    }

    /// The shard a message belongs to, where that can be seen without a check of the whole: that is its owner's business, and then it is
    /// made once. A response has it in its branch, and a request in From, if the name in it was read before.
    fn owner_at_sight(&mut self, message: &Message, out: &Outbox) -> Option<u16> {
        if message.status().is_some() {
            let start = self.via_start(out);
            let start = start.get(..start.len().checked_sub(SHARD_DIGITS)?)?;
            let branch = message.only_line(HeaderName::Via)?.strip_prefix(start.as_bytes())?;
            return shard_of(branch).filter(|owner| *owner < self.world.shards);
        }
        let address = message.only_line(HeaderName::From)?;
        let start = memchr2(b'<', b'"', address).filter(|at| address.get(*at) == Some(&b'<'))?;
        if memchr(b';', &address[..start]).is_some() {
            return None;
        }
        let uri = &address[start + 1..];
        let uri = std::str::from_utf8(&uri[..memchr(b'>', uri)?]).ok()?;
        Some(owner_of_user(self.jids.get(uri)?.as_str(), self.world.shards))
    }

    /// A request.
    fn asked(
        &mut self,
        now: Instant,
        link: LinkId,
        (message, vitals): (&Message, &Vitals<'_>),
        dialog: Option<Key>,
        adopted: bool,
        out: &mut Outbox,
    ) {
        // Keep-alives of the pool come from a server, not from a user (ST-05).
        if vitals.cseq.method == b"OPTIONS" {
            return self.options(message, link, out);
        }
        let tag =
            vitals.to_tag.as_ref().map(|tag| Token::read(tag.as_bytes()).map_or(Tag::Foreign, Tag::Own));
        if let (Some(tag), true) = (tag, self.is_known(dialog)) {
            return self.request(now, link, (message, vitals), Addressee::Dialog(tag, dialog), out);
        }
        let users = match self.users(message) {
            Ok(users) => users,
            Err((code, why)) => {
                self.note(Notice::PoolRefused, link, "pool", format!("answered {code}: {why}"), out);
                if vitals.cseq.method != b"ACK" {
                    self.refuse(message, link, code, None, out);
                }
                return;
            }
        };
        let owner = owner_of_user(users.local.as_str(), self.world.shards);
        if owner != out.shard() && !adopted {
            return self.hand_over(owner, link, message, out);
        }
        self.know(dialog, &users);
        let dialog = tag.and_then(Tag::token).and_then(|tag| self.dialogs.find(tag));
        let to = tag.map_or(Addressee::Users(users), |tag| Addressee::Dialog(tag, dialog));
        self.request(now, link, (message, vitals), to, out);
    }

    /// Whether the words in which a request names its users were asked about before, under the same configuration: then nothing about
    /// them has to be asked again. `dialog` is the one that has these very words.
    fn is_known(&self, dialog: Option<Key>) -> bool {
        let dialog = dialog.and_then(|dialog| self.dialogs.get(dialog));
        dialog.is_some_and(|dialog| dialog.vetted == Some(self.world.generation))
    }

    /// Remembers that the words of this dialog name its users, if they do.
    fn know(&mut self, dialog: Option<Key>, users: &Users) {
        let Some(dialog) = dialog.and_then(|dialog| self.dialogs.get_mut(dialog)) else { return };
        let Some(session) = self.sessions.get(dialog.session) else { return };
        if session.local == users.local && session.partner == users.partner {
            dialog.vetted = Some(self.world.generation);
        }
    }

    fn request(
        &mut self,
        now: Instant,
        link: LinkId,
        (request, vitals): (&Message, &Vitals<'_>),
        to: Addressee,
        out: &mut Outbox,
    ) {
        let method = vitals.cseq.method;
        if method == b"ACK" {
            return self.confirmed(now, link, request, out);
        }
        let identity = Identity::new(request, vitals);
        if let Some(server) = self.servers.find(&identity, method).and_then(|key| self.servers.get(key)) {
            let again = match &server.answered {
                Answered::Not { provisional } => provisional.clone(),
                Answered::Refused(bytes) => Some(bytes.clone()),
                // RFC 6026 §7.1: the 2xx is the user agent's to repeat, which its own timer does.
                Answered::Accepted(_) => None,
            };
            if let Some(bytes) = again {
                out.transmit(link, bytes);
            }
            return;
        }
        if vitals.max_forwards == 0 {
            return self.refuse(request, link, 483, None, out);
        }
        if method == b"BENOTIFY" {
            if let Addressee::Dialog(tag, _) = to {
                self.told_by_pool(now, None, tag, link, (request, vitals), out);
            }
            return;
        }
        if method == b"CANCEL" {
            return self.cancelled(now, link, request, out);
        }
        if matches!(to, Addressee::Users(_)) && self.servers.is_merged(&identity) {
            return self.refuse(request, link, 482, None, out);
        }
        if self.servers.len() >= self.world.flow.room.sip_transactions {
            return self.refuse(request, link, 480, None, out);
        }
        let tag = match &to {
            Addressee::Dialog(tag, _) => *tag,
            Addressee::Users(_) => Tag::New(self.random.token()),
        };
        let key = self.servers.begin(&identity, request.clone(), link, tag);
        self.restart(now, key);
        match to {
            Addressee::Dialog(tag, _) if method == b"NOTIFY" => {
                self.told_by_pool(now, Some(key), tag, link, (request, vitals), out);
            }
            Addressee::Dialog(tag, _) if method == b"SUBSCRIBE" => {
                self.subscribed_again(now, key, tag, link, (request, vitals), out);
            }
            Addressee::Dialog(_, dialog) => self.within(now, key, dialog, link, (request, vitals), out),
            Addressee::Users(users) if method == b"INVITE" => {
                self.invited(now, key, (request, vitals), &users, out);
            }
            Addressee::Users(users) if method == b"MESSAGE" => {
                self.paged(now, key, (request, vitals), &users, out);
            }
            Addressee::Users(users) if method == b"SUBSCRIBE" => {
                self.subscribed_to(now, key, (request, vitals), &users, out);
            }
            Addressee::Users(_) => self.reply(now, key, 481, &[], out),
        }
        if method == b"INVITE"
            && self.servers.get(key).is_some_and(|server| matches!(server.answered, Answered::Not { .. }))
        {
            self.after(now, TRYING_MILLIS, Timer::Trying(key));
        }
    }

    fn response(
        &mut self,
        now: Instant,
        link: LinkId,
        (response, vitals): (&Message, &Vitals<'_>),
        adopted: bool,
        out: &mut Outbox,
    ) {
        let Some((owner, token)) = vitals.via.branch().and_then(|branch| read_branch(&branch)) else {
            return;
        };
        if owner == out.shard() {
            if let Some(verb) = Verb::of(vitals.cseq.method) {
                self.answered(now, link, token, (response, verb), out);
            }
        } else if !adopted && owner < self.world.shards {
            self.hand_over(owner, link, response, out);
        }
    }

    /// Who asks for whom. Only shape is judged here: that a local user speaks for himself, and to a partner of ours; what the
    /// partner's policy allows is the router's decision.
    pub(crate) fn users(&mut self, request: &Message) -> Result<Users, (u16, String)> {
        let from = request.from().map_err(|why| (400, why.0.to_owned()))?;
        let local = self.user(&from).map_err(|why| (403, why))?;
        if !self.world.domains.iter().any(|domain| domain.as_str() == local.domain()) {
            return Err((
                403,
                format!("the domain of {local} is none of ours, so nobody here may speak for it"),
            ));
        }
        // Within a dialog the Request-URI is our Contact; who is meant stands in To in any case.
        let to = request.to().map_err(|why| (400, why.0.to_owned()))?;
        let partner = self.user(&to).map_err(|why| (404, why))?;
        let domain = partner.domain();
        if self.world.domains.iter().any(|local| local.as_str() == domain)
            || self.world.policy.find(domain).is_none()
        {
            return Err((404, format!("{domain} is no partner")));
        }
        Ok(Users { local, partner })
    }

    fn user(&mut self, address: &NameAddr<'_>) -> Result<Jid, String> {
        if let Some(known) = self.jids.get(address.uri_text) {
            return Ok(known.clone());
        }
        let (local, domain, _) = jid_of(address.uri_text).map_err(|why: AddressError| why.to_string())?;
        let jid = Jid::parse(&format!("{local}@{domain}")).map_err(|why| why.to_string())?;
        self.jids.put(address.uri_text, jid.clone());
        Ok(jid)
    }

    fn problem(&mut self, message: &Message, link: LinkId, problem: Problem, out: &mut Outbox) {
        match problem {
            Problem::Answer(answer) => {
                let Answer { status, header, detail, .. } = answer;
                self.note(Notice::PoolRefused, link, "pool", format!("answered {status}: {detail}"), out);
                self.refuse(message, link, status, header, out);
            }
            Problem::Drop(why) => {
                self.note(Notice::PoolDropped, link, "pool", format!("dropped a message: {why}"), out)
            }
        }
    }

    /// A final answer without a transaction behind it: for what never came to be one.
    pub(crate) fn refuse(
        &mut self,
        request: &Message,
        link: LinkId,
        code: u16,
        header: Option<(HeaderName, String)>,
        out: &mut Outbox,
    ) {
        if !matches!(request.method(), Some(method) if ![b"ACK".as_slice(), b"BENOTIFY"].contains(&method)) {
            return;
        }
        let tag = self.random.token();
        let answer = Builder::answer(request, code, usual_reason(code), Some(&tag.hex()));
        let answer = match header {
            Some((name, value)) => answer.and_then(|answer| answer.header(name, &value)),
            None => answer,
        };
        if let Ok(answer) = answer {
            out.transmit(link, answer.finish());
        }
    }

    fn options(&mut self, request: &Message, link: LinkId, out: &mut Outbox) {
        if request.max_forwards() == Ok(0) {
            return self.refuse(request, link, 483, None, out);
        }
        let tag = self.random.token();
        let answer = Builder::answer(request, 200, "OK", Some(&tag.hex()))
            .and_then(|answer| answer.header(HeaderName::Allow, &self.allow()))
            .and_then(|answer| answer.header(HeaderName::Accept, &self.accept()))
            .and_then(|answer| answer.header(HeaderName::AllowEvents, &EVENTS.join(", ")))
            .and_then(|answer| answer.header(HeaderName::Supported, ""));
        if let Ok(answer) = answer {
            out.transmit(link, answer.finish());
        }
    }

    fn capabilities(&self) -> Capabilities {
        let methods = if self.has_sessions() { SESSION_METHODS } else { PAGER_METHODS };
        Capabilities { methods, extensions: &[], media_types: MEDIA_TYPES, events: EVENTS }
    }

    /// The value of Allow.
    pub(crate) fn allow(&self) -> String {
        self.capabilities().methods.join(", ")
    }

    /// The value of Accept.
    pub(crate) fn accept(&self) -> String {
        let types = ACCEPT_TYPES.join(", ");
        if self.has_sessions() {
            format!("application/sdp, {types}")
        } else {
            format!("{types}, message/cpim, message/imdn+xml")
        }
    }
}

/// Answers so many keep-alives, in as few pieces as there can be.
fn pong(link: LinkId, mut pings: usize, out: &mut Outbox) {
    const MANY: usize = 512;
    static PONGS: [[u8; 2]; MANY] = [*b"\r\n"; MANY];
    while pings > 0 {
        let now = pings.min(MANY);
        out.transmit(link, Bytes::from_static(PONGS.as_flattened()).slice(..2 * now));
        pings -= now;
    }
}
