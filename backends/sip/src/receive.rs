//! What the pool says: cut, checked, and brought to the shard it concerns. Invariant: every request gets exactly one final answer, on the
//! link it came on; a response that matches nothing is dropped (RFC 3261 §18.1.2).

use std::time::Instant;

use bytes::Bytes;
use turnout_core::backend::Fault;
use turnout_core::io::{Close, Level, LinkId, Outbox};
use turnout_core::jid::{Domain, Jid};
use turnout_core::placement::owner_of_user;

use crate::address::{AddressError, jid_of};
use crate::backend::{SipBackend, Timer};
use crate::frame::{Frame, FrameError};
use crate::link::Standing;
use crate::parse::{Answer, Capabilities, HeaderName, Message, NameAddr, Problem, check};
use crate::sdp::ACCEPT_TYPES;
use crate::transaction::{Answered, TIMEOUT_MILLIS, TRANSACTIONS_MAX, TRYING_MILLIS, server_key, shard_of};
use crate::write::{Builder, usual_reason};

/// Methods served with sessions. NEGOTIATE, REGISTER, SUBSCRIBE and the like are answered 405 with this as `Allow`.
const SESSION_METHODS: &[&str] = &["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "INFO"];
/// Methods served without.
const PAGER_METHODS: &[&str] = &["OPTIONS", "MESSAGE"];

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
];

/// The users of a request, as JIDs.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    /// The local user who asks, bare.
    pub(crate) local: Jid,
    /// The partner's user, bare.
    pub(crate) partner: Jid,
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
        loop {
            let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
            match state.framer.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Frame::Blank)) => {}
                // RFC 5626 §3.5.1.
                Ok(Some(Frame::Ping)) => out.transmit(link, Bytes::from_static(b"\r\n")),
                Ok(Some(Frame::Message(bytes))) => {
                    if state.standing != Standing::Trusted {
                        return self.turn_away(link, bytes, out);
                    }
                    self.message(now, link, bytes, false, out);
                }
                Err(error) => return self.broken(link, error, out),
            }
        }
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

    /// One whole message. `adopted`: another shard read it and found it to be ours.
    pub(crate) fn message(
        &mut self,
        now: Instant,
        link: LinkId,
        bytes: Bytes,
        adopted: bool,
        out: &mut Outbox,
    ) {
        let Ok(message) = Message::parse(bytes) else {
            self.note(Level::Info, link, "pool", "dropped what is no SIP message", out);
            return;
        };
        if let Err(problem) = check(&message, &self.capabilities()) {
            return self.problem(&message, link, problem, out);
        }
        if message.status().is_some() {
            return self.response(now, link, &message, adopted, out);
        }
        let method = message.method().unwrap_or_default().to_vec();
        // Keep-alives of the pool come from a server, not from a user (ST-05).
        if method == b"OPTIONS" {
            return self.options(&message, link, out);
        }
        let users = match self.users(&message) {
            Ok(users) => users,
            Err((code, why)) => {
                self.note(Level::Info, link, "pool", format!("answered {code}: {why}"), out);
                if method != b"ACK" {
                    self.refuse(&message, link, code, None, out);
                }
                return;
            }
        };
        let owner = owner_of_user(users.local.as_str(), self.world.shards);
        if owner != out.shard() && !adopted {
            return self.hand_over(owner, link, message.bytes().clone(), out);
        }
        self.request(now, link, message, users, out);
    }

    fn request(&mut self, now: Instant, link: LinkId, request: Message, users: Users, out: &mut Outbox) {
        let method = request.method().unwrap_or_default().to_vec();
        if method == b"ACK" {
            return self.confirmed(now, link, &request, out);
        }
        let Some(key) = String::from_utf8(method.clone()).ok().and_then(|name| server_key(&request, &name))
        else {
            return;
        };
        if let Some(server) = self.servers.get(&key) {
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
        if request.max_forwards() == Ok(0) {
            return self.refuse(&request, link, 483, None, out);
        }
        if method == b"CANCEL" {
            return self.cancelled(now, link, &request, out);
        }
        let tagged = request.to().ok().and_then(|to| to.tag().map(|tag| tag.into_owned()));
        if tagged.is_none() && self.servers.is_merged(&request) {
            return self.refuse(&request, link, 482, None, out);
        }
        if self.servers.len() >= TRANSACTIONS_MAX {
            return self.refuse(&request, link, 480, None, out);
        }
        let invite = method == b"INVITE";
        let tag = tagged.clone().unwrap_or_else(|| self.random.token());
        self.servers.begin(key.clone(), request.clone(), link, tag);
        let timer = self.after(now, TIMEOUT_MILLIS, Timer::Server(key.clone()));
        if let Some(server) = self.servers.get(&key) {
            server.timer = Some(timer);
        }
        match tagged {
            Some(tag) => self.within(now, &key, &tag, link, &request, out),
            None if method == b"INVITE" => self.invited(now, &key, &request, &users, out),
            None if method == b"MESSAGE" => self.paged(now, &key, &request, &users, out),
            None => self.reply(now, &key, 481, &[], out),
        }
        if invite
            && self.servers.get(&key).is_some_and(|server| matches!(server.answered, Answered::Not { .. }))
        {
            self.after(now, TRYING_MILLIS, Timer::Trying(key));
        }
    }

    fn response(&mut self, now: Instant, link: LinkId, response: &Message, adopted: bool, out: &mut Outbox) {
        let Some(branch) = response.via().ok().and_then(|via| via.branch()) else { return };
        match shard_of(&branch) {
            Some(owner) if owner != out.shard() && !adopted && owner < self.world.shards => {
                self.hand_over(owner, link, response.bytes().clone(), out);
            }
            Some(owner) if owner == out.shard() => self.answered(now, link, &branch, response, out),
            Some(_) | None => {}
        }
    }

    /// Who asks for whom. Only shape is judged here: that a local user speaks for himself, and to a partner of ours; what the
    /// partner's policy allows is the router's decision.
    pub(crate) fn users(&self, request: &Message) -> Result<Users, (u16, String)> {
        let from = request.from().map_err(|why| (400, why.0.to_owned()))?;
        let local = self.user(&from).map_err(|why| (403, why))?;
        if !self.world.is_local(&Domain::from(&local)) {
            return Err((
                403,
                format!("the domain of {local} is none of ours, so nobody here may speak for it"),
            ));
        }
        let to = request.to().map_err(|why| (400, why.0.to_owned()))?;
        // Within a dialog the Request-URI is our Contact; who is meant stands in To in any case.
        let partner = self.user(&to).map_err(|why| (404, why))?;
        let domain = Domain::from(&partner);
        if self.world.is_local(&domain) || self.world.policy.find(&domain).is_none() {
            return Err((404, format!("{domain} is no partner")));
        }
        Ok(Users { local, partner })
    }

    fn user(&self, address: &NameAddr<'_>) -> Result<Jid, String> {
        let (local, domain, _) = jid_of(address.uri_text).map_err(|why: AddressError| why.to_string())?;
        Jid::parse(&format!("{local}@{domain}")).map_err(|why| why.to_string())
    }

    fn problem(&mut self, message: &Message, link: LinkId, problem: Problem, out: &mut Outbox) {
        match problem {
            Problem::Answer(mut answer) => {
                // We know well what these are: they are refused, not unheard of.
                if answer.status == 501
                    && [Some(b"SUBSCRIBE".as_slice()), Some(b"UPDATE")].contains(&message.method())
                {
                    answer.status = 405;
                }
                let Answer { status, header, detail, .. } = answer;
                self.note(Level::Info, link, "pool", format!("answered {status}: {detail}"), out);
                self.refuse(message, link, status, header, out);
            }
            Problem::Drop(why) => {
                self.note(Level::Info, link, "pool", format!("dropped a message: {why}"), out)
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
        if !matches!(request.method(), Some(method) if method != b"ACK") {
            return;
        }
        let tag = self.random.token();
        let answer = Builder::answer(request, code, usual_reason(code), Some(&tag));
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
        let answer = Builder::answer(request, 200, "OK", Some(&tag))
            .and_then(|answer| answer.header(HeaderName::Allow, &self.allow()))
            .and_then(|answer| answer.header(HeaderName::Accept, &self.accept()))
            .and_then(|answer| answer.header(HeaderName::Supported, ""));
        if let Ok(answer) = answer {
            out.transmit(link, answer.finish());
        }
    }

    fn capabilities(&self) -> Capabilities {
        let methods = if self.has_sessions() { SESSION_METHODS } else { PAGER_METHODS };
        Capabilities { methods, extensions: &[], media_types: MEDIA_TYPES, events: &[] }
    }

    /// The value of Allow.
    pub(crate) fn allow(&self) -> String {
        self.capabilities().methods.join(", ")
    }

    /// The value of Accept.
    pub(crate) fn accept(&self) -> String {
        let sdp = if self.has_sessions() { "application/sdp, " } else { "" };
        format!("{sdp}{}", ACCEPT_TYPES.join(", "))
    }
}
