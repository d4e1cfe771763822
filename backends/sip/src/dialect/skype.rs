//! Text in sessions, as the 2019 pool and its clients have it (requirements 17 to 21): INVITE with `m=message … sip null`, then
//! MESSAGE within the dialog, one at a time; BYE when it was quiet for long.
//!
//! Two INVITEs that cross: theirs is accepted as always, and ours is let go on, so no text of either end is lost. When both
//! dialogs stand, texts go through the one with the lower Call-ID, which both ends can see; the other ends when it is idle. When
//! ours is refused, theirs is used.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;

use super::{Heard, StanzaId, Stuck, address, told};
use crate::asking::Failure;
use crate::backend::{SipBackend, Timer};
use crate::dialog::{Dialog, Dialogs};
use crate::parse::{HeaderName, MediaType, Message, Scheme, Vitals};
use crate::receive::Users;
use crate::sdp;
use crate::session::{DIALOGS_PER_SESSION_MAX, Flight, Session};
use crate::slab::Key;
use crate::text::{self, Content};
use crate::transaction::{Purpose, Verb};
use crate::typing::DOCUMENT_TYPE;
use crate::write::{Builder, USER_AGENT, WriteError, name_addr, subject};

/// Longest first text carried in a header of the INVITE; a longer one follows as MESSAGE.
const FIRST_TEXT_BYTES_MAX: usize = 4096;

impl SipBackend {
    /// Sends the head of a queue through a dialog, or opens one. `false`: it has to wait.
    pub(crate) fn converse(&mut self, now: Instant, id: Key, out: &mut Outbox) -> Result<bool, Stuck> {
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (named, none) = (session.link, session.dialogs.is_empty());
        let is_sure = |key: &&Key| self.dialogs.get(**key).is_some_and(|dialog| dialog.unconfirmed.is_none());
        match session.dialogs.iter().rev().find(is_sure).copied() {
            Some(dialog) => self.send_text(now, id, dialog, named, out),
            None if none => self.invite(now, id, named, out),
            // Accepted and its ACK not here yet; a timer ends it if none comes.
            None => Ok(false),
        }
    }

    fn send_text(
        &mut self,
        now: Instant,
        id: Key,
        key: Key,
        named: LinkId,
        out: &mut Outbox,
    ) -> Result<bool, Stuck> {
        let last = self.dialogs.get(key).map_or(LinkId::NONE, |dialog| dialog.link);
        let link = self.way(last, named, out).ok_or(Stuck::NoWay)?;
        let (token, via) = (self.random.token(), self.via_start(out));
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (Some(head), Some(dialog)) = (session.queue.front(), self.dialogs.get_mut(key)) else {
            return Ok(false);
        };
        let bytes = dialog.message(&via, token, head.text.of(&head.stanza), &mut self.paper)?;
        dialog.link = link;
        dialog.used = now;
        session.flight = Flight::Sending { dialog: Some(key) };
        self.ask(now, link, (token, Verb::Message), bytes, Purpose::Text(id), out);
        Ok(true)
    }

    /// Opens a session for the head of the queue. Call-ID and Ms-Conversation-ID are new each time: a pool answers a known one
    /// with an error.
    fn invite(&mut self, now: Instant, id: Key, named: LinkId, out: &mut Outbox) -> Result<bool, Stuck> {
        let link = self.way(LinkId::NONE, named, out).ok_or(Stuck::NoWay)?;
        let (branch, via) = self.via(out);
        let (tag, call_id) = (self.random.token().hex(), self.random.token().hex());
        let conversation = STANDARD.encode(self.random.token().bytes());
        let allow = self.allow();
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (to, from) = (address(&session.local)?, address(&session.partner)?);
        let Some(head) = session.queue.front() else { return Ok(false) };
        let text = head.text.of(&head.stanza);
        let embedded = text.len() <= FIRST_TEXT_BYTES_MAX;
        let mut builder = Builder::request("INVITE", &to)?
            .header(HeaderName::Via, &via)?
            .header(HeaderName::MaxForwards, "70")?
            .header(HeaderName::From, &format!("{};tag={}", name_addr(None, &from)?, &*tag))?
            .header(HeaderName::To, &name_addr(None, &to)?)?
            .header(HeaderName::CallId, &call_id)?
            .header(HeaderName::CSeq, "1 INVITE")?
            .header(HeaderName::Contact, &contact(&self.settings, &session.partner)?)?
            .header(HeaderName::UserAgent, USER_AGENT)?
            .header(HeaderName::Allow, &allow)?
            .header(HeaderName::MsConversationId, &conversation)?;
        let about = head.subject.as_ref().map(|about| subject(about.of(&head.stanza)));
        if let Some(about) = about.filter(|about| !about.is_empty()) {
            builder = builder.header(HeaderName::Subject, &about)?;
        }
        if embedded {
            let body = STANDARD.encode(text);
            builder = builder
                .header(HeaderName::MsTextFormat, &format!("text/plain; charset=UTF-8; ms-body={body}"))?
                .header(HeaderName::Supported, "ms-embedded-first-message")?;
        }
        let bytes = builder.finish_with("application/sdp", sdp::offer(&self.settings.our_name).as_bytes())?;
        let key = self.ask(now, link, (branch, Verb::Invite), bytes, Purpose::Invite(id), out);
        if let Some(session) = self.sessions.get(id) {
            session.flight = Flight::Inviting { key, embedded };
        }
        Ok(true)
    }

    /// Our INVITE was accepted and acknowledged. `claims_text`: the peer has shown the text the INVITE held, so it is not sent
    /// again (requirement 19).
    pub(crate) fn session_opened(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        dialog: Dialog,
        claims_text: bool,
        out: &mut Outbox,
    ) {
        let waited = self.sessions.get(id).and_then(|session| match session.flight {
            Flight::Inviting { key: awaited, embedded } if awaited == key => Some(embedded),
            Flight::Inviting { .. } | Flight::Sending { .. } | Flight::Idle => None,
        });
        let Some(embedded) = waited else {
            // Nobody waits any more: it rang too long, or its link was lost.
            return self.say_goodbye(now, dialog, out);
        };
        if let Some(session) = self.sessions.get(id) {
            session.flight = Flight::Idle;
        }
        self.add_dialog(now, id, dialog, out);
        if embedded && claims_text {
            self.finish_head(id, Ok(()), out);
        }
        self.pump(now, id, out);
    }

    /// Our INVITE came to nothing. What waited is refused, unless the other end opened a session meanwhile.
    pub(crate) fn invite_failed(
        &mut self,
        now: Instant,
        key: Key,
        id: Key,
        failure: Failure,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        if !matches!(session.flight, Flight::Inviting { key: awaited, .. } if awaited == key) {
            return;
        }
        session.flight = Flight::Idle;
        if session.dialogs.is_empty() {
            self.finish_all(id, &failure.refusal(), out);
        }
        self.pump(now, id, out);
    }

    /// A MESSAGE within a dialog was answered, or not. A dead dialog is left, with those that were silent for longer than it,
    /// and the text goes once more: in a dialog that came meanwhile (the client was started anew), else in a new one.
    pub(crate) fn text_ended(
        &mut self,
        now: Instant,
        id: Key,
        outcome: Result<(), Failure>,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let flight = std::mem::take(&mut session.flight);
        let dead = matches!(outcome, Err(failure) if failure.ends_dialog());
        let again = match session.queue.front_mut() {
            Some(head) if dead && !head.resent => {
                head.resent = true;
                true
            }
            _ => false,
        };
        if let (true, Flight::Sending { dialog: Some(dialog) }) = (dead, flight) {
            let used = |dialogs: &Dialogs, key: Key| dialogs.get(key).map(|dialog| dialog.used);
            let last = used(&self.dialogs, dialog);
            for other in session.dialogs.clone() {
                if other == dialog || used(&self.dialogs, other) < last {
                    self.drop_dialog(now, other, true, out);
                }
            }
        }
        if !again {
            self.finish_head(id, told(outcome), out);
        }
        self.pump(now, id, out);
    }

    /// An INVITE came.
    pub(crate) fn invited(
        &mut self,
        now: Instant,
        key: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        users: &Users,
        out: &mut Outbox,
    ) {
        if self.draining {
            return self.reply(now, key, 480, &[], out);
        }
        let is_sdp = vitals.content_type.is_some_and(|kind| kind.is("application/sdp"));
        if !is_sdp || sdp::message_medium(&request.body()).is_none() {
            let warning = format!("304 {} \"Only instant messages are taken\"", self.settings.our_name);
            return self.reply(now, key, 488, &[(HeaderName::Warning, &warning)], out);
        }
        let usable = request.contact().is_ok_and(|contact| {
            contact
                .is_some_and(|contact| contact.uri.scheme != Scheme::Other && contact.uri.headers.is_none())
        });
        if !usable {
            return self.reply_in_words(now, key, 400, "Contact is missing or no SIP address", &[], out);
        }
        match self.settings.first_message_in_invite.then(|| first_text(request)).flatten() {
            Some(text) => {
                let id = StanzaId::of(vitals);
                let words = Heard {
                    text: &text,
                    subject: None,
                    call_id: vitals.call_id,
                    id,
                    xhtml: None,
                    wants_receipt: false,
                };
                self.deliver(now, key, users, &words, out);
            }
            None => self.welcome(now, key, request, users, None, out),
        }
    }

    /// The text of an INVITE was delivered, so the INVITE is accepted and the text claimed.
    pub(crate) fn first_text_delivered(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        let request = server.request.clone();
        let Ok(users) = self.users(&request) else { return };
        let text = first_text(&request);
        self.welcome(now, key, &request, &users, text, out);
    }

    /// Accepts an INVITE.
    fn welcome(
        &mut self,
        now: Instant,
        key: Key,
        request: &Message,
        users: &Users,
        claimed: Option<String>,
        out: &mut Outbox,
    ) {
        let Some(id) = self.sessions.open(&users.local, &users.partner) else {
            return self.reply(now, key, 480, &[], out);
        };
        let Some(server) = self.servers.get(key) else { return };
        let (tag, link) = (server.tag.token(), server.link);
        let dialog = tag.and_then(|tag| {
            let answer = self.acceptance(request, &tag.hex(), &users.partner, claimed.is_some()).ok()?;
            Some((answer, Dialog::accepted(id, request, tag, link, now)?))
        });
        let Some((answer, mut dialog)) = dialog else {
            self.sessions.tidy(id);
            return self.reply(now, key, 400, &[], out);
        };
        dialog.first_text = claimed;
        dialog.unconfirmed = Some(key);
        self.accept_invite(now, key, answer, out);
        self.add_dialog(now, id, dialog, out);
    }

    fn acceptance(
        &self,
        request: &Message,
        tag: &str,
        partner: &Jid,
        claims_text: bool,
    ) -> Result<bytes::Bytes, WriteError> {
        let medium = sdp::message_medium(&request.body()).unwrap_or("message");
        let mut builder = Builder::answer(request, 200, "OK", Some(tag))?
            .header(HeaderName::Contact, &contact(&self.settings, partner)?)?
            .header(HeaderName::Allow, &self.allow())?
            .header(HeaderName::Server, USER_AGENT)?;
        if claims_text {
            builder = builder.header(HeaderName::Supported, "ms-text-format")?;
        }
        let answer = sdp::answer(&self.settings.our_name, medium, &address(partner)?);
        builder.finish_with("application/sdp", answer.as_bytes())
    }

    /// A request within a dialog.
    pub(crate) fn within(
        &mut self,
        now: Instant,
        key: Key,
        place: Option<Key>,
        link: LinkId,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) {
        let found = place.and_then(|place| Some((place, self.dialogs.get_mut(place)?)));
        let Some((place, dialog)) = found.filter(|(_, dialog)| dialog.is_of(vitals)) else {
            return self.reply(now, key, 481, &[], out);
        };
        if !dialog.take_number(vitals.cseq.number) {
            return self.reply(now, key, 500, &[], out);
        }
        dialog.link = link;
        dialog.used = now;
        match request.method().unwrap_or_default() {
            b"BYE" => {
                self.reply(now, key, 200, &[], out);
                self.show_leaving(now, place, out);
                self.end_dialog(now, place, false, out);
            }
            b"MESSAGE" => self.texted(now, key, place, (request, vitals), out),
            b"INVITE" => self.invited_again(now, key, place, request, out),
            b"INFO" => self.informed(now, key, place, (request, vitals), out),
            _ => self.reply(now, key, 200, &[], out),
        }
    }

    fn texted(
        &mut self,
        now: Instant,
        key: Key,
        place: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) {
        if vitals.content_type.as_ref().is_some_and(|kind| kind.is(DOCUMENT_TYPE)) {
            return self.informed(now, key, place, (request, vitals), out);
        }
        let Some(said) = self.hear(now, key, (request, vitals), out) else { return };
        let Some(dialog) = self.dialogs.get_mut(place) else { return };
        let id = dialog.session;
        let stanza_id = StanzaId::within(&dialog.stanza_id, vitals.cseq.number);
        dialog.learn(request, vitals);
        // Requirement 19: a peer that repeats the text its INVITE brought is heard once.
        if dialog.first_text.take().is_some_and(|first| first == said.text) {
            return self.reply(now, key, 200, &[], out);
        }
        let Some(session) = self.sessions.get(id) else { return };
        session.prefer(place);
        let users = Users { local: session.local.clone(), partner: session.partner.clone() };
        let words = Heard {
            text: &said.text,
            subject: None,
            call_id: vitals.call_id,
            id: stanza_id,
            xhtml: said.xhtml.as_deref(),
            wants_receipt: false,
        };
        self.deliver(now, key, &users, &words, out);
    }

    /// A re-INVITE: nothing to change but the address (RFC 3261 §14.2).
    fn invited_again(&mut self, now: Instant, key: Key, place: Key, request: &Message, out: &mut Outbox) {
        if sdp::message_medium(&request.body()).is_none() {
            return self.reply(now, key, 488, &[], out);
        }
        let Some(dialog) = self.dialogs.get_mut(place) else { return };
        let (id, tag) = (dialog.session, dialog.local_tag.hex());
        dialog.refresh_target(request);
        let Some(partner) = self.sessions.get(id).map(|session| session.partner.clone()) else { return };
        match self.acceptance(request, &tag, &partner, false) {
            Ok(answer) => self.accept_invite(now, key, answer, out),
            Err(_) => self.reply(now, key, 400, &[], out),
        }
    }

    /// The ACK of an INVITE we accepted is here.
    pub(crate) fn dialog_confirmed(&mut self, now: Instant, link: LinkId, key: Key, out: &mut Outbox) {
        let Some(dialog) = self.dialogs.get_mut(key) else { return };
        dialog.unconfirmed = None;
        dialog.link = link;
        let id = dialog.session;
        self.pump(now, id, out);
    }

    fn add_dialog(&mut self, now: Instant, id: Key, dialog: Dialog, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        let crossed = dialog.unconfirmed.is_none() && !session.dialogs.is_empty();
        let key = self.dialogs.insert(dialog);
        session.dialogs.push(key);
        if crossed {
            // The lowest of all; the new one stands last already.
            let call_id = |key: &&Key| self.dialogs.get(**key).map(|dialog| &dialog.call_id);
            if let Some(lowest) = session.dialogs.iter().min_by_key(call_id).copied() {
                session.prefer(lowest);
            }
        }
        let oldest = session.dialogs.first().copied();
        let oldest = oldest.filter(|_| session.dialogs.len() > DIALOGS_PER_SESSION_MAX);
        let idle = self.timers.set(now + self.settings.idle, Timer::Idle(key));
        if let Some(dialog) = self.dialogs.get_mut(key) {
            dialog.idle = Some(idle);
        }
        if let Some(oldest) = oldest {
            self.drop_dialog(now, oldest, true, out);
        }
    }

    /// Ends a dialog and goes on with what waits.
    pub(crate) fn end_dialog(&mut self, now: Instant, key: Key, with_bye: bool, out: &mut Outbox) {
        if let Some(id) = self.drop_dialog(now, key, with_bye, out) {
            self.pump(now, id, out);
        }
    }

    /// Ends a dialog. Gives the session it was of.
    pub(crate) fn drop_dialog(
        &mut self,
        now: Instant,
        key: Key,
        with_bye: bool,
        out: &mut Outbox,
    ) -> Option<Key> {
        let dialog = self.dialogs.remove(key)?;
        if let Some(timer) = dialog.idle {
            self.timers.cancel(timer);
        }
        let id = dialog.session;
        if let Some(session) = self.sessions.get(id) {
            session.dialogs.retain(|other| *other != key);
        }
        if with_bye {
            self.say_goodbye(now, dialog, out);
        }
        Some(id)
    }

    fn say_goodbye(&mut self, now: Instant, mut dialog: Dialog, out: &mut Outbox) {
        let named = self.sessions.get(dialog.session).map_or(LinkId::NONE, |session| session.link);
        let Some(link) = self.way(dialog.link, named, out) else { return };
        let (branch, via) = self.via(out);
        if let Ok(bye) = dialog.request("BYE", &via) {
            self.ask(now, link, (branch, Verb::Bye), bye.finish(), Purpose::Farewell, out);
        }
    }

    /// A dialog may have been quiet for too long (SD-03).
    pub(crate) fn idle_due(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let idle = self.settings.idle;
        let Some(dialog) = self.dialogs.get_mut(key) else { return };
        dialog.idle = None;
        let end = dialog.used + idle;
        if end <= now && dialog.unconfirmed.is_none() {
            return self.end_dialog(now, key, true, out);
        }
        // One whose ACK is awaited is ended by the transaction's own timer.
        let again = end.max(now + Duration::from_secs(1));
        dialog.idle = Some(self.timers.set(again, Timer::Idle(key)));
    }

    /// Forgets a session that holds nothing; while draining, ends one that only waits.
    pub(crate) fn leave_if_done(&mut self, now: Instant, id: Key, out: &mut Outbox) {
        if self.sessions.get(id).is_some_and(|session| session.talk.is_some()) {
            self.tell_typing(now, id, out);
        }
        let Some(session) = self.sessions.get(id) else { return };
        if self.draining && session.queue.is_empty() && session.flight == Flight::Idle {
            for dialog in session.dialogs.clone() {
                self.drop_dialog(now, dialog, true, out);
            }
        }
        let forget = self.draining || self.has_sessions();
        let is_done = |session: &mut Session| {
            let talk = session.talk.as_ref();
            session.is_over() && talk.is_some_and(|talk| forget || talk.deadline().is_none())
        };
        if self.sessions.get(id).is_some_and(is_done) {
            self.hush(id);
        }
        self.sessions.tidy(id);
    }
}

/// Our Contact: the name in our certificate and the user who speaks (SD-01).
pub(crate) fn contact(settings: &turnout_core::world::SipHome, partner: &Jid) -> Result<String, WriteError> {
    let address = address(partner)?;
    let user = address.strip_prefix("sip:").and_then(|rest| rest.split('@').next()).unwrap_or_default();
    let transport = if settings.tls { "tls" } else { "tcp" };
    Ok(format!("<sip:{user}@{}:{};transport={transport}>", settings.our_name, settings.our_port))
}

/// The text in `ms-text-format`, if it can be read.
fn first_text(invite: &Message) -> Option<String> {
    let kind = MediaType::parse(invite.header(HeaderName::MsTextFormat)?).ok()?;
    let body = kind.params.get("ms-body")?;
    match text::read(Some(&kind), Some(b"base64"), body.as_bytes()) {
        Content::Text(text) if !text.is_empty() => Some(text.into_owned()),
        _ => None,
    }
}
