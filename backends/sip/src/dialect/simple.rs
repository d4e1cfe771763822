//! Text as single MESSAGE requests (RFC 3428, RFC 7572). Invariant: one is outstanding per pair of users, so that they arrive in
//! order (SM-02), and a failed one is told to its sender and not sent again (SM-04).
//!
//! RFC 3428 §8 bounds a MESSAGE to 1300 bytes where congestion is not controlled; our links are TCP or TLS, so the bound is the
//! home's `message_bytes_max`.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use turnout_core::io::{LinkId, Outbox};

use super::{Heard, Said, StanzaId, Stuck, full_uri, told, uri};
use crate::asking::Failure;
use crate::backend::SipBackend;
use crate::cpim::{self, CPIM_TYPE, IMDN_TYPE};
use crate::parse::{HeaderName, MediaType, Message, Vitals};
use crate::random::Token;
use crate::receive::Users;
use crate::session::Flight;
use crate::slab::Key;
use crate::transaction::{Purpose, Verb};
use crate::typing::{self, DOCUMENT_TYPE};
use crate::write::{Builder, TEXT_TYPE, USER_AGENT, WriteError, push_number, subject};

impl SipBackend {
    /// Sends the head of a queue as a MESSAGE of its own.
    pub(crate) fn page(&mut self, now: Instant, id: Key, out: &mut Outbox) -> Result<bool, Stuck> {
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let named = session.link;
        let link = self.way(LinkId::NONE, named, out).ok_or(Stuck::NoWay)?;
        let (token, via) = (self.random.token(), self.via_start(out));
        let (tag, call_id) = (self.random.token(), self.random.token());
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let asks = session.talk.is_some() && session.queue.front().is_some_and(|head| head.wants_receipt);
        let wrapped = if asks { self.wrapped(now, id) } else { None };
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (to, from) = (uri(&mut self.uris, &session.local)?, full_uri(&mut self.uris, &session.writer)?);
        let Some(head) = session.queue.front() else { return Ok(false) };
        let about = head.subject.as_ref().map(|about| subject(about.of(&head.stanza)));
        let page = Page {
            via: &via,
            token,
            from: (&from, tag),
            to: &to,
            call_id,
            subject: about.as_deref().filter(|about| !about.is_empty()),
            kind: if wrapped.is_some() { CPIM_TYPE } else { TEXT_TYPE },
            text: wrapped.as_deref().unwrap_or_else(|| head.text.of(&head.stanza)),
        };
        let bytes = page.write(&mut self.paper)?;
        if let Some(session) = self.sessions.get(id) {
            session.flight = Flight::Sending { dialog: None };
        }
        self.ask(now, link, (token, Verb::Message), bytes, Purpose::Page(id), out);
        Ok(true)
    }

    /// Sends what is no text in a MESSAGE of its own, beside the texts. `None`: it could not be sent.
    pub(crate) fn notify(
        &mut self,
        now: Instant,
        id: Key,
        kind: &str,
        body: &[u8],
        purpose: Purpose,
        out: &mut Outbox,
    ) -> Option<()> {
        if !self.may_ask() {
            return None;
        }
        let named = self.sessions.get(id)?.link;
        let link = self.way(LinkId::NONE, named, out)?;
        let (token, via) = self.via(out);
        let (tag, call_id) = (self.random.token().hex(), self.random.token().hex());
        let session = self.sessions.get(id)?;
        let to = uri(&mut self.uris, &session.local).ok()?;
        let from = full_uri(&mut self.uris, &session.writer).ok()?;
        let request = Builder::request("MESSAGE", &to)
            .and_then(|request| request.header(HeaderName::Via, &via))
            .and_then(|request| request.header(HeaderName::MaxForwards, "70"))
            .and_then(|request| request.header(HeaderName::From, &format!("<{from}>;tag={}", &*tag)))
            .and_then(|request| request.header(HeaderName::To, &format!("<{to}>")))
            .and_then(|request| request.header(HeaderName::CallId, &call_id))
            .and_then(|request| request.header(HeaderName::CSeq, "1 MESSAGE"))
            .and_then(|request| request.header(HeaderName::UserAgent, USER_AGENT))
            .and_then(|request| request.finish_with(kind, body));
        self.ask(now, link, (token, Verb::Message), request.ok()?, purpose, out);
        Some(())
    }

    /// A MESSAGE of its own was answered, or not.
    pub(crate) fn page_ended(
        &mut self,
        now: Instant,
        id: Key,
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
        key: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        users: &Users,
        out: &mut Outbox,
    ) {
        let (kind, body) = (vitals.content_type.as_ref(), request.body_bytes());
        if let Some(kind) = kind.filter(|_| !vitals.is_plain_text)
            && request.header(HeaderName::ContentTransferEncoding).is_none()
        {
            if kind.is(CPIM_TYPE) {
                return self.paged_wrapped(now, key, (request, vitals), users, out);
            }
            if self.signalled(now, key, kind, body, users, out) {
                return;
            }
        }
        let Some(said) = self.hear(now, key, (request, vitals), out) else { return };
        self.deliver_page(now, key, (request, vitals), users, (&said, false), out);
    }

    fn deliver_page(
        &mut self,
        now: Instant,
        key: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        users: &Users,
        (said, wants_receipt): (&Said<'_>, bool),
        out: &mut Outbox,
    ) {
        let about = request.header(HeaderName::Subject).and_then(|value| std::str::from_utf8(value).ok());
        let words = Heard {
            text: &said.text,
            subject: about,
            call_id: vitals.call_id,
            id: StanzaId::of(vitals),
            xhtml: said.xhtml.as_deref(),
            wants_receipt,
        };
        self.deliver(now, key, users, &words, out);
    }

    /// A MESSAGE with another within (RFC 3862). Who speaks to whom stands in the headers of the MESSAGE, which the pool vouches
    /// for; what the wrapper says of that is not looked at.
    fn paged_wrapped(
        &mut self,
        now: Instant,
        key: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        users: &Users,
        out: &mut Outbox,
    ) {
        let Some(inner) = cpim::unwrap(request.body_bytes()) else {
            return self.reply_in_words(now, key, 400, "The message/cpim body is malformed", &[], out);
        };
        let kind = match inner.kind.map(MediaType::parse) {
            // RFC 2045 §5.2.
            None => MediaType::parse(b"text/plain"),
            Some(kind) => kind,
        };
        let Ok(kind) = kind else { return self.reply(now, key, 400, &[], out) };
        if inner.encoding.is_none() && self.signalled(now, key, &kind, inner.body, users, out) {
            return;
        }
        let content = self.content(Some(&kind), inner.encoding, inner.body);
        let Some(said) = self.understand(now, key, content, out) else { return };
        let wants_receipt = self.owe(now, users, &StanzaId::of(vitals), inner.wish);
        self.deliver_page(now, key, (request, vitals), users, (&said, wants_receipt), out);
    }

    /// Takes what is about texts and none itself. `false`: it is something else.
    fn signalled(
        &mut self,
        now: Instant,
        key: Key,
        kind: &MediaType<'_>,
        body: &[u8],
        users: &Users,
        out: &mut Outbox,
    ) -> bool {
        if kind.is(IMDN_TYPE) {
            self.reply(now, key, 200, &[], out);
            self.notified(now, users, body, out);
            return true;
        }
        if !kind.is(DOCUMENT_TYPE) {
            return false;
        }
        self.reply(now, key, 200, &[], out);
        let typing = typing::read(kind, body);
        if let (Some(typing), Some(id)) = (typing, self.sessions.of(&users.local, &users.partner)) {
            self.typed_alone(now, id, typing, out);
        }
        true
    }
}

/// A MESSAGE outside of any dialog. Its addresses are known to be sound, the rest of it is made here.
#[derive(Debug)]
struct Page<'a> {
    /// The start of our Via, and the token that ends it.
    via: &'a str,
    token: Token,
    from: (&'a str, Token),
    to: &'a str,
    call_id: Token,
    /// Cleaned, not empty.
    subject: Option<&'a str>,
    kind: &'a str,
    text: &'a str,
}

impl Page<'_> {
    /// Writes it, headers in the order of all our requests.
    ///
    /// # Errors
    /// Our name in the configuration cannot stand in a Via.
    fn write(&self, out: &mut BytesMut) -> Result<Bytes, WriteError> {
        if !self.via.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(WriteError::Control(HeaderName::Via.as_str().to_owned()));
        }
        let (from, tag) = self.from;
        let subject = self.subject.unwrap_or_default();
        out.reserve(self.via.len() + from.len() + 2 * self.to.len() + subject.len() + self.text.len() + 512);
        let mut push = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        push(&["MESSAGE ", self.to, " SIP/2.0\r\nVia: ", self.via, &self.token.hex(), "\r\n"]);
        push(&["Max-Forwards: 70\r\nFrom: <", from, ">;tag=", &tag.hex(), "\r\nTo: <", self.to, ">\r\n"]);
        push(&["Call-ID: ", &self.call_id.hex(), "\r\nCSeq: 1 MESSAGE\r\nUser-Agent: ", USER_AGENT, "\r\n"]);
        if let Some(subject) = self.subject {
            push(&["Subject: ", subject, "\r\n"]);
        }
        push(&["Content-Type: ", self.kind, "\r\nContent-Length: "]);
        push_number(self.text.len() as u64, out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(self.text.as_bytes());
        Ok(out.split().freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::write::name_addr;

    #[test]
    fn a_page_is_the_message_built() {
        let mut random = Random::new([3; 32]);
        let (token, tag, call_id) = (random.token(), random.token(), random.token());
        let via = "SIP/2.0/TLS turnout.contoso.com:5061;branch=z9hG4bK0000";
        let (from, to) = ("sip:juliet@partner.example;gr=b%20c", "sip:romeo@contoso.com");
        let mut out = BytesMut::new();
        for (about, text) in [(None, ""), (Some("a \u{fc}b"), "two\nlines \u{1f642}")] {
            let mut builder = Builder::request("MESSAGE", to)
                .unwrap()
                .header(HeaderName::Via, &format!("{via}{}", &*token.hex()))
                .unwrap()
                .header(HeaderName::MaxForwards, "70")
                .unwrap()
                .header(HeaderName::From, &format!("{};tag={}", name_addr(None, from).unwrap(), &*tag.hex()))
                .unwrap()
                .header(HeaderName::To, &name_addr(None, to).unwrap())
                .unwrap()
                .header(HeaderName::CallId, &call_id.hex())
                .unwrap()
                .header(HeaderName::CSeq, "1 MESSAGE")
                .unwrap()
                .header(HeaderName::UserAgent, USER_AGENT)
                .unwrap();
            if let Some(about) = about {
                builder = builder.header(HeaderName::Subject, about).unwrap();
            }
            let built = builder.finish_with(TEXT_TYPE, text.as_bytes()).unwrap();
            let page =
                Page { via, token, from: (from, tag), to, call_id, subject: about, kind: TEXT_TYPE, text };
            assert_eq!(page.write(&mut out).unwrap(), built);
            let broken = Page { via: "SIP/2.0/TLS a\r\nb", ..page };
            assert!(broken.write(&mut out).is_err());
        }
    }
}
