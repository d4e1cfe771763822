//! How a pool talks: [`skype`] in sessions opened by INVITE, [`simple`] by single MESSAGE requests. What both share is here:
//! the queue of a pair, and the way out of it.

mod simple;
mod skype;

use std::time::Instant;

use turnout_core::backend::Sent;
use turnout_core::home::Dialect;
use turnout_core::io::{Event, LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{MessageType, Stanza};

use crate::address::uri_of;
use crate::asking::Failure;
use crate::backend::{SipBackend, no_way};
use crate::parse::{HeaderName, Message};
use crate::random::digest;
use crate::receive::Users;
use crate::session::{Flight, Item};
use crate::text::{self, Content};
use crate::transaction::TRANSACTIONS_MAX;
use crate::translate::{Envelope, Words, read_message, write_message};
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
        // Typing, receipts and markers are not carried yet; they ask for no answer either.
        let Some(text) = spoken.body else { return Sent::Answered(stanza) };
        if text.len() > self.settings.message_bytes_max {
            let why =
                format!("the text is longer than the {} bytes taken here", self.settings.message_bytes_max);
            let refusal =
                Refusal::new(Condition::PolicyViolation, Blame::Sender, Retry::Never, Bounce::Yes, why);
            return Sent::Refused(stanza, refusal);
        }
        if address(&stanza.from).is_err() || address(&stanza.to).is_err() {
            let why = "an address of the message has no counterpart in SIP";
            let refusal =
                Refusal::new(Condition::JidMalformed, Blame::Sender, Retry::Never, Bounce::Yes, why);
            return Sent::Refused(stanza, refusal);
        }
        let Some(id) = self.sessions.open(&stanza.to, &stanza.from) else {
            return Sent::Refused(stanza, full("too many conversations"));
        };
        if let Some(session) = self.sessions.get(id) {
            session.writer = stanza.from.clone();
            session.link = link;
        }
        let item = Item { stanza, text, subject: spoken.subject, resent: false };
        if let Err(item) = self.sessions.push(id, item) {
            self.sessions.tidy(id);
            return Sent::Refused(item.stanza, full("too many messages wait for this user"));
        }
        self.pump(now, id, out);
        Sent::Kept
    }

    /// Sends the head of a queue, if nothing is under way.
    pub(crate) fn pump(&mut self, now: Instant, id: u64, out: &mut Outbox) {
        loop {
            let Some(session) = self.sessions.get(id) else { return };
            if session.flight != Flight::Idle || session.queue.is_empty() {
                break;
            }
            if self.clients.len() >= TRANSACTIONS_MAX {
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
    pub(crate) fn finish_head(&mut self, id: u64, end: Result<(), Refusal>, out: &mut Outbox) {
        if let Some(item) = self.sessions.pop(id) {
            out.events.push_back(Event::Done(Box::new(item.stanza), end));
        }
    }

    /// Every text of a queue has the same end.
    pub(crate) fn finish_all(&mut self, id: u64, refusal: &Refusal, out: &mut Outbox) {
        while let Some(item) = self.sessions.pop(id) {
            out.events.push_back(Event::Done(Box::new(item.stanza), Err(refusal.clone())));
        }
    }

    /// Gives a queue back in order, to go another way. A head that may have arrived is given back once, not twice: then its
    /// sender is told that nobody knows.
    pub(crate) fn give_back(&mut self, id: u64, why: &str, head_was_sent: bool, out: &mut Outbox) {
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
    pub(crate) fn way_lost(&mut self, now: Instant, id: u64, invite: Option<&str>, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        let waits = match (&session.flight, invite) {
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
        key: &str,
        users: &Users,
        words: &Heard<'_>,
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        let link = server.link;
        let request = server.request.clone();
        let ticket = self.servers.ticket(key);
        let call_id = request.call_id().unwrap_or_default();
        let number = request.cseq().map_or(0, |cseq| cseq.number).to_string();
        let tag = request.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        let id = digest(&[call_id, &number, &tag]);
        let writer = self.sessions.writer(&users.local, &users.partner);
        let envelope = Envelope {
            from: users.local.clone(),
            to: writer.unwrap_or_else(|| users.partner.clone()),
            origin: self.origin(link, ticket, out),
            arrived: now,
        };
        if self.sessions.introduce(&users.local, &users.partner) {
            out.events.push_back(Event::Introduced(users.local.clone(), users.partner.clone()));
        }
        let words = Words { body: words.text, thread: Some(call_id), subject: words.subject, id: &id };
        let kind = if self.has_sessions() { MessageType::Chat } else { MessageType::Normal };
        let stanza = write_message(envelope, kind, &words);
        if stanza.len() > self.world.stanza_bytes_max {
            // No XMPP server would take it; escaping makes text grow.
            return self.reply(now, key, 413, &[], out);
        }
        out.arrivals.push_back(stanza);
    }

    /// Reads the body of a MESSAGE; what is not text is answered here. `None`: it was.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        key: &str,
        request: &Message,
        out: &mut Outbox,
    ) -> Option<String> {
        let kind = request.content_type().ok().flatten();
        let encoding = request.header(HeaderName::ContentTransferEncoding);
        let code = match text::read(kind.as_ref(), encoding, &request.body()) {
            Content::Text(text) if !text.is_empty() => return Some(text),
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

/// Text that came over SIP.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// Its subject.
    pub(crate) subject: Option<&'a str>,
}

/// The SIP address of a JID, its resource aside.
pub(crate) fn address(jid: &Jid) -> Result<String, WriteError> {
    let malformed = WriteError::Address(crate::parse::Malformed("an address has no counterpart in SIP"));
    uri_of(jid.local().unwrap_or_default(), jid.domain()).map_err(|_| malformed)
}

/// A limit of our own.
fn full(text: &'static str) -> Refusal {
    Refusal::new(Condition::ResourceConstraint, Blame::Router, Retry::Never, Bounce::Yes, text)
}

/// What a lone failure of a text means for its sender.
pub(crate) fn told(outcome: Result<(), Failure>) -> Result<(), Refusal> {
    outcome.map_err(Failure::refusal)
}
