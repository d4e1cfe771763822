//! Text as single MESSAGE requests (RFC 3428, RFC 7572). Invariant: one is outstanding per pair of users, so that they arrive in
//! order (SM-02), and a failed one is told to its sender and not sent again (SM-04).
//!
//! RFC 3428 §8 bounds a MESSAGE to 1300 bytes where congestion is not controlled; our links are TCP or TLS, so the bound is the
//! home's `message_bytes_max`.

use std::time::Instant;

use turnout_core::io::{LinkId, Outbox};

use super::{Heard, Stuck, address, told};
use crate::address::uri_with_resource;
use crate::asking::Failure;
use crate::backend::SipBackend;
use crate::parse::{HeaderName, Message};
use crate::receive::Users;
use crate::session::Flight;
use crate::transaction::Purpose;
use crate::write::{Builder, name_addr, subject};

impl SipBackend {
    /// Sends the head of a queue as a MESSAGE of its own.
    pub(crate) fn page(&mut self, now: Instant, id: u64, out: &mut Outbox) -> Result<bool, Stuck> {
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let named = session.link;
        let (local, writer) = (session.local.clone(), session.writer.clone());
        let Some(head) = session.queue.front() else { return Ok(false) };
        let (text, about) = (head.text.clone(), head.subject.as_deref().map(subject));
        let link = self.way(LinkId::NONE, named, out).ok_or(Stuck::NoWay)?;
        let to = address(&local)?;
        let from = match (writer.resource(), writer.local()) {
            (Some(resource), Some(user)) => {
                uri_with_resource(user, writer.domain(), resource).or_else(|_| address(&writer))?
            }
            _ => address(&writer)?,
        };
        let (branch, via) = self.via(out);
        let (tag, call_id) = (self.random.token(), self.random.token());
        let mut builder = Builder::request("MESSAGE", &to)?
            .header(HeaderName::Via, &via)?
            .header(HeaderName::MaxForwards, "70")?
            .header(HeaderName::From, &format!("{};tag={tag}", name_addr(None, &from)?))?
            .header(HeaderName::To, &name_addr(None, &to)?)?
            .header(HeaderName::CallId, &call_id)?
            .header(HeaderName::CSeq, "1 MESSAGE")?
            .header(HeaderName::UserAgent, super::skype::USER_AGENT)?;
        if let Some(about) = about.filter(|about| !about.is_empty()) {
            builder = builder.header(HeaderName::Subject, &about)?;
        }
        let bytes = builder.finish_with("text/plain; charset=UTF-8", text.as_bytes())?;
        if let Some(session) = self.sessions.get(id) {
            session.flight = Flight::Sending { tag: String::new() };
        }
        self.ask(now, link, (&branch, "MESSAGE"), bytes, Purpose::Page(id), out);
        Ok(true)
    }

    /// A MESSAGE of its own was answered, or not.
    pub(crate) fn page_ended(
        &mut self,
        now: Instant,
        id: u64,
        outcome: Result<(), Failure>,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        session.flight = Flight::Idle;
        self.finish_head(id, told(outcome), out);
        self.pump(now, id, out);
    }

    /// A MESSAGE outside of any dialog came. Its final answer waits for the verdict on the stanza (SM-03).
    pub(crate) fn paged(
        &mut self,
        now: Instant,
        key: &str,
        request: &Message,
        users: &Users,
        out: &mut Outbox,
    ) {
        let Some(text) = self.hear(now, key, request, out) else { return };
        let about = request.header(HeaderName::Subject).and_then(|value| std::str::from_utf8(value).ok());
        self.deliver(now, key, users, &Heard { text: &text, subject: about }, out);
    }
}
