//! How a pool talks: [`skype`] in sessions opened by INVITE, [`simple`] by single MESSAGE requests. What both share is here:
//! the queue of a pair, and the way out of it.

mod simple;
mod skype;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use turnout_core::backend::Sent;
use turnout_core::home::Dialect;
use turnout_core::io::{Event, LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{MessageType, Stanza};

pub(crate) use skype::contact;

use crate::address::{uri_of, uri_with_resource};
use crate::asking::Failure;
use crate::backend::{SipBackend, no_way};
use crate::memo::Memo;
use crate::parse::{HeaderName, MediaType, Message, Uri, Vitals};
use crate::presence;
use crate::random::{Hex, TOKEN_BYTES, digest};
use crate::receive::Users;
use crate::session::{Flight, Item};
use crate::slab::Key;
use crate::talk::States;
use crate::text::{self, Content};
use crate::translate::{ACTIVE, Envelope, Invited, REQUEST, Spoken, Words, read_message, write_message};
use crate::write::WriteError;

/// Why the head of a queue cannot leave.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// No link leads to the pool.
    NoWay,
    /// The request cannot be written.
    Unwritable(WriteError),
}

impl From<WriteError> for Stuck {
    fn from(error: WriteError) -> Self {
        Self::Unwritable(error)
    }
}

impl SipBackend {
    /// Whether text goes in sessions.
    pub(crate) fn has_sessions(&self) -> bool {
        self.dialect == Dialect::Skype
    }

    /// A message for a local user.
    pub(crate) fn say(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        let Some(spoken) = read_message(&stanza) else {
            let text = "the message cannot be read";
            let refusal = Refusal::new(Condition::BadRequest, Blame::Sender, Retry::Never, Bounce::Yes, text);
            return Sent::Refused(stanza, refusal);
        };
        self.watcher_heard(now, &stanza.to, &stanza.from, None);
        let Spoken { body, subject, hints } = spoken;
        if let Some(invited) = hints.invited
            && (body.is_none() || invited == Invited::ByRoom)
        {
            return Sent::Refused(stanza, presence::unavailable("this user cannot be part of a group chat"));
        }
        let Some(text) = body else { return self.hint(now, link, stanza, &hints, out) };
        if text.of(&stanza).len() > self.settings.message_bytes_max {
            let why =
                format!("the text is longer than the {} bytes taken here", self.settings.message_bytes_max);
            let refusal =
                Refusal::new(Condition::PolicyViolation, Blame::Sender, Retry::Never, Bounce::Yes, why);
            return Sent::Refused(stanza, refusal);
        }
        let Some(id) = self.sessions.open(&stanza.to, &stanza.from) else {
            return Sent::Refused(stanza, full("too many conversations"));
        };
        if let Some(session) = self.sessions.get(id) {
            if !session.addressable {
                if uri(&mut self.uris, &stanza.from).is_err() || uri(&mut self.uris, &stanza.to).is_err() {
                    self.sessions.tidy(id);
                    let why = "an address of the message has no counterpart in SIP";
                    let refusal =
                        Refusal::new(Condition::JidMalformed, Blame::Sender, Retry::Never, Bounce::Yes, why);
                    return Sent::Refused(stanza, refusal);
                }
                session.addressable = true;
            }
            if session.writer != stanza.from {
                session.writer = stanza.from.clone();
                session.states = States::Unknown;
            }
            session.link = link;
            session.said(hints.state.is_some());
        }
        self.remember_talk(now, id, &hints, out);
        let item = Item { stanza, text, subject, wants_receipt: hints.wants_receipt, resent: false };
        if let Err(item) = self.sessions.push(id, item) {
            self.sessions.tidy(id);
            return Sent::Refused(item.stanza, full("too many messages wait for this user"));
        }
        self.pump(now, id, out);
        Sent::Kept
    }

    /// Sends the head of a queue, if nothing is under way.
    pub(crate) fn pump(&mut self, now: Instant, id: Key, out: &mut Outbox) {
        loop {
            let Some(session) = self.sessions.get(id) else { return };
            if session.flight != Flight::Idle || session.queue.is_empty() {
                break;
            }
            if !self.may_ask() {
                self.finish_all(id, &full("too many requests wait for the pool"), out);
                break;
            }
            let step =
                if self.has_sessions() { self.converse(now, id, out) } else { self.page(now, id, out) };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(Stuck::NoWay) => self.give_back(id, "no link to the pool is open", false, out),
                Err(Stuck::Unwritable(why)) => {
                    let text = "the message cannot be written as SIP";
                    let refusal = Refusal::new(
                        Condition::InternalServerError,
                        Blame::Router,
                        Retry::Never,
                        Bounce::Yes,
                        text,
                    );
                    self.finish_head(id, Err(refusal.with_detail(why.to_string())), out);
                }
            }
        }
        self.leave_if_done(now, id, out);
    }

    /// The head of a queue has found its end.
    pub(crate) fn finish_head(&mut self, id: Key, end: Result<(), Refusal>, out: &mut Outbox) {
        if let Some(item) = self.sessions.pop(id) {
            out.events.push_back(Event::Done(Box::new(item.stanza), end));
        }
    }

    /// Every text of a queue has the same end.
    pub(crate) fn finish_all(&mut self, id: Key, refusal: &Refusal, out: &mut Outbox) {
        while let Some(item) = self.sessions.pop(id) {
            out.events.push_back(Event::Done(Box::new(item.stanza), Err(refusal.clone())));
        }
    }

    /// Gives a queue back in order, to go another way. A head that may have arrived is given back once, not twice: then its
    /// sender is told that nobody knows.
    pub(crate) fn give_back(&mut self, id: Key, why: &str, head_was_sent: bool, out: &mut Outbox) {
        if head_was_sent && let Some(item) = self.sessions.pop(id) {
            let mut refusal = no_way(why);
            if item.resent || item.stanza.attempts > 0 {
                refusal.retry = Retry::Never;
            }
            out.events.push_back(Event::Done(Box::new(item.stanza), Err(refusal)));
        }
        self.finish_all(id, &no_way(why), out);
    }

    /// The link under a request of a session is gone. `invite`: the key, if it was an INVITE; one the session no longer
    /// waits for does not matter.
    pub(crate) fn way_lost(&mut self, now: Instant, id: Key, invite: Option<Key>, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        let waits = match (session.flight, invite) {
            (Flight::Inviting { key, .. }, Some(invite)) => key == invite,
            (Flight::Sending { .. }, None) => true,
            (Flight::Idle | Flight::Sending { .. } | Flight::Inviting { .. }, _) => false,
        };
        if waits {
            session.flight = Flight::Idle;
            self.give_back(id, "the connection to the pool was lost", true, out);
            self.pump(now, id, out);
        }
    }

    /// Text of a local user for a partner's user becomes a stanza; `key` is the transaction that waits for its verdict.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        key: Key,
        users: &Users,
        words: &Heard<'_>,
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        let link = server.link;
        let ticket = self.servers.ticket(key);
        let kind = if self.has_sessions() { MessageType::Chat } else { MessageType::Normal };
        let session = self.sessions.of(&users.local, &users.partner);
        let session = session.and_then(|session| self.sessions.get(session));
        // What is shown better must not make the stanza too large for what is said.
        let xhtml = words.xhtml.filter(|xhtml| xhtml.len() <= self.world.stanza_bytes_max / 4);
        let mut extra = [xhtml.unwrap_or_default(), "", if words.wants_receipt { REQUEST } else { "" }];
        let states = session.as_ref().map_or(States::Unknown, |session| session.states);
        if kind == MessageType::Chat && states != States::Silent {
            extra[1] = ACTIVE;
        }
        let (to, is_known) = match session {
            // Without a session it is news each time that the local user has written.
            None => (users.partner.clone(), false),
            Some(session) => {
                session.wrote();
                (session.writer.clone(), std::mem::replace(&mut session.introduced, true))
            }
        };
        let origin = self.origin(link, ticket, out);
        let envelope = Envelope { from: users.local.clone(), to, origin, arrived: now };
        if !is_known {
            out.events.push_back(Event::Introduced(users.local.clone(), users.partner.clone()));
        }
        let words = Words {
            body: words.text,
            thread: Some(words.call_id),
            subject: words.subject,
            id: &words.id,
            extra: &extra,
        };
        let stanza = write_message(envelope, kind, &words);
        if stanza.len() > self.world.stanza_bytes_max {
            // No XMPP server would take it; escaping makes text grow.
            return self.reply(now, key, 413, &[], out);
        }
        out.arrivals.push_back(stanza);
    }

    /// Reads the body of a MESSAGE; what is not text is answered here. `None`: it was.
    pub(crate) fn hear<'a>(
        &mut self,
        now: Instant,
        key: Key,
        (request, vitals): (&'a Message, &Vitals<'_>),
        out: &mut Outbox,
    ) -> Option<Said<'a>> {
        let encoding = request.header(HeaderName::ContentTransferEncoding);
        if vitals.is_plain_text && encoding.is_none() {
            return self.understand(now, key, (text::plain(request.body_bytes()), None), out);
        }
        let again = vitals.is_plain_text.then(|| request.content_type().ok().flatten()).flatten();
        let kind = again.as_ref().or(vitals.content_type.as_ref());
        let content = self.content(kind, encoding, request.body_bytes());
        self.understand(now, key, content, out)
    }

    /// What a body says, with its HTML where that is passed on.
    pub(crate) fn content<'a>(
        &self,
        kind: Option<&MediaType<'_>>,
        encoding: Option<&[u8]>,
        body: &'a [u8],
    ) -> (Content<'a>, Option<String>) {
        if self.settings.xhtml_im {
            text::read_rich(kind, encoding, body)
        } else {
            (text::read(kind, encoding, body), None)
        }
    }

    /// Text, or an answer to what is none.
    pub(crate) fn understand<'a>(
        &mut self,
        now: Instant,
        key: Key,
        (content, xhtml): (Content<'a>, Option<String>),
        out: &mut Outbox,
    ) -> Option<Said<'a>> {
        let code = match content {
            Content::Text(text) if !text.is_empty() => return Some(Said { text, xhtml }),
            Content::Text(_) | Content::Signal => 200,
            Content::Invitation => 603,
            Content::Broken(_) => 400,
            Content::Unsupported => {
                let accept = self.accept();
                self.reply(now, key, 415, &[(HeaderName::Accept, &accept)], out);
                return None;
            }
        };
        self.reply(now, key, code, &[], out);
        None
    }
}

/// What a body said.
#[derive(Debug)]
pub(crate) struct Said<'a> {
    /// In plain text.
    pub(crate) text: Cow<'a, str>,
    /// As XHTML-IM, if it is to be passed on.
    pub(crate) xhtml: Option<String>,
}

/// Text that came over SIP.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// Its subject.
    pub(crate) subject: Option<&'a str>,
    /// Call-ID of the request.
    pub(crate) call_id: &'a str,
    /// What the stanza made of it is called.
    pub(crate) id: StanzaId,
    /// The text as XHTML-IM.
    pub(crate) xhtml: Option<&'a str>,
    /// A receipt is to be asked for.
    pub(crate) wants_receipt: bool,
}

/// The id of a stanza made of a request: the same for the same request, and for no other. The dialog (Call-ID and the sender's tag) in
/// 128 bits of a digest, then the number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StanzaId {
    text: [u8; TOKEN_BYTES + 11],
    len: usize,
}

impl StanzaId {
    /// The id for the request of this number in a dialog.
    pub(crate) fn within(dialog: &Hex, number: u32) -> Self {
        let mut id = Self { text: [b'-'; TOKEN_BYTES + 11], len: 0 };
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        id.len = TOKEN_BYTES + 1 + digits;
        id.text[..TOKEN_BYTES].copy_from_slice(dialog.as_bytes());
        let mut rest = number;
        for digit in id.text[TOKEN_BYTES + 1..id.len].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        id
    }

    /// The id for any request.
    pub(crate) fn of(request: &Vitals<'_>) -> Self {
        let dialog = digest(&[request.call_id.as_bytes(), request.from_tag.as_bytes()]).hex();
        Self::within(&dialog, request.cseq.number)
    }
}

impl std::ops::Deref for StanzaId {
    type Target = str;

    fn deref(&self) -> &str {
        // Digits and a dash are ASCII.
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// The SIP address of a JID, its resource aside.
pub(crate) fn address(jid: &Jid) -> Result<String, WriteError> {
    let malformed = WriteError::Address(crate::parse::Malformed("an address has no counterpart in SIP"));
    uri_of(jid.local().unwrap_or_default(), jid.domain()).map_err(|_| malformed)
}

/// As [`address`], remembered.
pub(crate) fn uri(uris: &mut Memo<Arc<str>>, jid: &Jid) -> Result<Arc<str>, WriteError> {
    remembered(uris, jid.bare_str(), || address(jid))
}

/// As [`address`], with the resource where that can be told, remembered.
pub(crate) fn full_uri(uris: &mut Memo<Arc<str>>, jid: &Jid) -> Result<Arc<str>, WriteError> {
    let (Some(resource), Some(user)) = (jid.resource(), jid.local()) else { return uri(uris, jid) };
    remembered(uris, jid.as_str(), || {
        uri_with_resource(user, jid.domain(), resource).or_else(|_| address(jid))
    })
}

fn remembered(
    uris: &mut Memo<Arc<str>>,
    name: &str,
    address: impl FnOnce() -> Result<String, WriteError>,
) -> Result<Arc<str>, WriteError> {
    if let Some(known) = uris.get(name) {
        return Ok(Arc::clone(known));
    }
    let uri: Arc<str> = address()?.into();
    // What is kept may be written without another look.
    Uri::parse(&uri).map_err(WriteError::Address)?;
    uris.put(name, Arc::clone(&uri));
    Ok(uri)
}

/// A limit of our own.
fn full(text: &'static str) -> Refusal {
    Refusal::new(Condition::ResourceConstraint, Blame::Router, Retry::Never, Bounce::Yes, text)
}

/// What a lone failure of a text means for its sender.
pub(crate) fn told(outcome: Result<(), Failure>) -> Result<(), Refusal> {
    outcome.map_err(Failure::refusal)
}
