//! Text in sessions, as the 2019 pool and its clients have it (requirements 17 to 21): INVITE with `m=message … sip null`, then
//! MESSAGE within the dialog, one at a time; BYE when it was quiet for long.
//!
//! Two INVITEs that cross: theirs is accepted as always, and ours is let go on, so no text of either end is lost. When both
//! dialogs stand, texts go through the one with the lower Call-ID, which both ends can see; the other ends when it is idle. When
//! ours is refused, theirs is used.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;

use super::{Heard, Stuck, address, told};
use crate::asking::Failure;
use crate::backend::{SipBackend, Timer};
use crate::dialog::Dialog;
use crate::parse::{HeaderName, MediaType, Message, Scheme};
use crate::receive::Users;
use crate::sdp;
use crate::session::{DIALOGS_PER_SESSION_MAX, Flight};
use crate::text::{self, Content};
use crate::transaction::Purpose;
use crate::write::{Builder, WriteError, name_addr, subject};

/// How we name ourselves.
pub(crate) const USER_AGENT: &str = "turnout";

/// Longest first text carried in a header of the INVITE; a longer one follows as MESSAGE.
const FIRST_TEXT_BYTES_MAX: usize = 4096;

impl SipBackend {
    /// Sends the head of a queue through a dialog, or opens one. `false`: it has to wait.
    pub(crate) fn converse(&mut self, now: Instant, id: u64, out: &mut Outbox) -> Result<bool, Stuck> {
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (named, tags) = (session.link, session.dialogs.clone());
        let sure =
            tags.iter().rev().find(|tag| self.dialogs.get(*tag).is_some_and(|d| d.unconfirmed.is_none()));
        match sure {
            Some(tag) => self.send_text(now, id, tag, named, out),
            None if tags.is_empty() => self.invite(now, id, named, out),
            // Accepted and its ACK not here yet; a timer ends it if none comes.
            None => Ok(false),
        }
    }

    fn send_text(
        &mut self,
        now: Instant,
        id: u64,
        tag: &str,
        named: LinkId,
        out: &mut Outbox,
    ) -> Result<bool, Stuck> {
        let last = self.dialogs.get(tag).map_or(LinkId::NONE, |dialog| dialog.link);
        let link = self.way(last, named, out).ok_or(Stuck::NoWay)?;
        let (branch, via) = self.via(out);
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (Some(head), Some(dialog)) = (session.queue.front(), self.dialogs.get_mut(tag)) else {
            return Ok(false);
        };
        let bytes = dialog
            .request("MESSAGE", &via)?
            .header(HeaderName::UserAgent, USER_AGENT)?
            .finish_with("text/plain; charset=UTF-8", head.text.as_bytes())?;
        dialog.link = link;
        dialog.used = now;
        session.flight = Flight::Sending { tag: tag.to_owned() };
        self.ask(now, link, (&branch, "MESSAGE"), bytes, Purpose::Text(id), out);
        Ok(true)
    }

    /// Opens a session for the head of the queue. Call-ID and Ms-Conversation-ID are new each time: a pool answers a known one
    /// with an error.
    fn invite(&mut self, now: Instant, id: u64, named: LinkId, out: &mut Outbox) -> Result<bool, Stuck> {
        let link = self.way(LinkId::NONE, named, out).ok_or(Stuck::NoWay)?;
        let (branch, via) = self.via(out);
        let (tag, call_id) = (self.random.token(), self.random.token());
        let conversation = STANDARD.encode(self.random.bytes());
        let allow = self.allow();
        let Some(session) = self.sessions.get(id) else { return Ok(false) };
        let (to, from) = (address(&session.local)?, address(&session.partner)?);
        let Some(head) = session.queue.front() else { return Ok(false) };
        let embedded = head.text.len() <= FIRST_TEXT_BYTES_MAX;
        let mut builder = Builder::request("INVITE", &to)?
            .header(HeaderName::Via, &via)?
            .header(HeaderName::MaxForwards, "70")?
            .header(HeaderName::From, &format!("{};tag={tag}", name_addr(None, &from)?))?
            .header(HeaderName::To, &name_addr(None, &to)?)?
            .header(HeaderName::CallId, &call_id)?
            .header(HeaderName::CSeq, "1 INVITE")?
            .header(HeaderName::Contact, &contact(&self.settings, &session.partner)?)?
            .header(HeaderName::UserAgent, USER_AGENT)?
            .header(HeaderName::Allow, &allow)?
            .header(HeaderName::MsConversationId, &conversation)?;
        if let Some(about) = head.subject.as_deref().map(subject).filter(|about| !about.is_empty()) {
            builder = builder.header(HeaderName::Subject, &about)?;
        }
        if embedded {
            let body = STANDARD.encode(&head.text);
            builder = builder
                .header(HeaderName::MsTextFormat, &format!("text/plain; charset=UTF-8; ms-body={body}"))?
                .header(HeaderName::Supported, "ms-embedded-first-message")?;
        }
        let bytes = builder.finish_with("application/sdp", sdp::offer(&self.settings.our_name).as_bytes())?;
        let key = self.ask(now, link, (&branch, "INVITE"), bytes, Purpose::Invite(id), out);
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
        key: &str,
        id: u64,
        dialog: Dialog,
        claims_text: bool,
        out: &mut Outbox,
    ) {
        let waited = self.sessions.get(id).and_then(|session| match &session.flight {
            Flight::Inviting { key: awaited, embedded } if awaited == key => Some(*embedded),
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
        key: &str,
        id: u64,
        failure: Failure,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        if !matches!(&session.flight, Flight::Inviting { key: awaited, .. } if awaited == key) {
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
        id: u64,
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
        if let (true, Flight::Sending { tag }) = (dead, flight) {
            let used =
                |dialogs: &HashMap<String, Dialog>, tag: &str| dialogs.get(tag).map(|dialog| dialog.used);
            let last = used(&self.dialogs, &tag);
            for other in session.dialogs.clone() {
                if other == tag || used(&self.dialogs, &other) < last {
                    self.drop_dialog(now, &other, true, out);
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
        key: &str,
        request: &Message,
        users: &Users,
        out: &mut Outbox,
    ) {
        if self.draining {
            return self.reply(now, key, 480, &[], out);
        }
        let is_sdp =
            request.content_type().is_ok_and(|kind| kind.is_some_and(|kind| kind.is("application/sdp")));
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
            Some(text) => self.deliver(now, key, users, &Heard { text: &text, subject: None }, out),
            None => self.welcome(now, key, request, users, None, out),
        }
    }

    /// The text of an INVITE was delivered, so the INVITE is accepted and the text claimed.
    pub(crate) fn first_text_delivered(&mut self, now: Instant, key: &str, out: &mut Outbox) {
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
        key: &str,
        request: &Message,
        users: &Users,
        claimed: Option<String>,
        out: &mut Outbox,
    ) {
        let Some(id) = self.sessions.open(&users.local, &users.partner) else {
            return self.reply(now, key, 480, &[], out);
        };
        let Some(server) = self.servers.get(key) else { return };
        let (tag, link) = (server.tag.clone(), server.link);
        let answer = self.acceptance(request, &tag, &users.partner, claimed.is_some());
        let dialog = Dialog::accepted(id, request, &tag, link, now);
        let (Ok(answer), Some(mut dialog)) = (answer, dialog) else {
            self.sessions.tidy(id);
            return self.reply(now, key, 400, &[], out);
        };
        dialog.first_text = claimed;
        dialog.unconfirmed = Some(key.to_owned());
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
        key: &str,
        tag: &str,
        link: LinkId,
        request: &Message,
        out: &mut Outbox,
    ) {
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let Some(dialog) = self.dialogs.get_mut(tag).filter(|dialog| dialog.is_of(request)) else {
            return self.reply(now, key, 481, &[], out);
        };
        if !dialog.take_number(number) {
            return self.reply(now, key, 500, &[], out);
        }
        dialog.link = link;
        dialog.used = now;
        match request.method().unwrap_or_default() {
            b"BYE" => {
                self.reply(now, key, 200, &[], out);
                self.end_dialog(now, tag, false, out);
            }
            b"MESSAGE" => self.texted(now, key, tag, request, out),
            b"INVITE" => self.invited_again(now, key, tag, request, out),
            // Typing comes as INFO with KeyboardActivity; it is taken and not passed on yet (SM-08).
            _ => self.reply(now, key, 200, &[], out),
        }
    }

    fn texted(&mut self, now: Instant, key: &str, tag: &str, request: &Message, out: &mut Outbox) {
        let Some(text) = self.hear(now, key, request, out) else { return };
        let Some(dialog) = self.dialogs.get_mut(tag) else { return };
        let id = dialog.session;
        // Requirement 19: a peer that repeats the text its INVITE brought is heard once.
        if dialog.first_text.take().is_some_and(|first| first == text) {
            return self.reply(now, key, 200, &[], out);
        }
        let Some(session) = self.sessions.get(id) else { return };
        session.prefer(tag);
        let users = Users { local: session.local.clone(), partner: session.partner.clone() };
        self.deliver(now, key, &users, &Heard { text: &text, subject: None }, out);
    }

    /// A re-INVITE: nothing to change but the address (RFC 3261 §14.2).
    fn invited_again(&mut self, now: Instant, key: &str, tag: &str, request: &Message, out: &mut Outbox) {
        if sdp::message_medium(&request.body()).is_none() {
            return self.reply(now, key, 488, &[], out);
        }
        let Some(dialog) = self.dialogs.get_mut(tag) else { return };
        let id = dialog.session;
        dialog.refresh_target(request);
        let Some(partner) = self.sessions.get(id).map(|session| session.partner.clone()) else { return };
        match self.acceptance(request, tag, &partner, false) {
            Ok(answer) => self.accept_invite(now, key, answer, out),
            Err(_) => self.reply(now, key, 400, &[], out),
        }
    }

    /// The ACK of an INVITE we accepted is here.
    pub(crate) fn dialog_confirmed(&mut self, now: Instant, link: LinkId, tag: &str, out: &mut Outbox) {
        let Some(dialog) = self.dialogs.get_mut(tag) else { return };
        dialog.unconfirmed = None;
        dialog.link = link;
        let id = dialog.session;
        self.pump(now, id, out);
    }

    fn add_dialog(&mut self, now: Instant, id: u64, mut dialog: Dialog, out: &mut Outbox) {
        let tag = dialog.local_tag.clone();
        let Some(session) = self.sessions.get(id) else { return };
        let crossed = dialog.unconfirmed.is_none() && !session.dialogs.is_empty();
        session.dialogs.push(tag.clone());
        if crossed {
            let call_id = |tag: &String| self.dialogs.get(tag).map(|other| other.call_id.as_str());
            let lower = session
                .dialogs
                .iter()
                .filter(|other| call_id(other).is_some_and(|id| id < dialog.call_id.as_str()));
            if let Some(lowest) = lower.min_by_key(|other| call_id(other)).cloned() {
                session.prefer(&lowest);
            }
        }
        let oldest = (session.dialogs.len() > DIALOGS_PER_SESSION_MAX).then(|| session.dialogs[0].clone());
        dialog.idle = Some(self.timers.set(now + self.settings.idle, Timer::Idle(tag.clone())));
        self.dialogs.insert(tag, dialog);
        if let Some(oldest) = oldest {
            self.drop_dialog(now, &oldest, true, out);
        }
    }

    /// Ends a dialog and goes on with what waits.
    pub(crate) fn end_dialog(&mut self, now: Instant, tag: &str, with_bye: bool, out: &mut Outbox) {
        if let Some(id) = self.drop_dialog(now, tag, with_bye, out) {
            self.pump(now, id, out);
        }
    }

    /// Ends a dialog. Gives the session it was of.
    fn drop_dialog(&mut self, now: Instant, tag: &str, with_bye: bool, out: &mut Outbox) -> Option<u64> {
        let dialog = self.dialogs.remove(tag)?;
        if let Some(timer) = dialog.idle {
            self.timers.cancel(timer);
        }
        let id = dialog.session;
        if let Some(session) = self.sessions.get(id) {
            session.dialogs.retain(|other| other != tag);
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
            self.ask(now, link, (&branch, "BYE"), bye.finish(), Purpose::Farewell, out);
        }
    }

    /// A dialog may have been quiet for too long (SD-03).
    pub(crate) fn idle_due(&mut self, now: Instant, tag: &str, out: &mut Outbox) {
        let idle = self.settings.idle;
        let Some(dialog) = self.dialogs.get_mut(tag) else { return };
        dialog.idle = None;
        let end = dialog.used + idle;
        if end <= now && dialog.unconfirmed.is_none() {
            return self.end_dialog(now, tag, true, out);
        }
        // One whose ACK is awaited is ended by the transaction's own timer.
        let again = end.max(now + Duration::from_secs(1));
        dialog.idle = Some(self.timers.set(again, Timer::Idle(tag.to_owned())));
    }

    /// Forgets a session that holds nothing; while draining, ends one that only waits.
    pub(crate) fn leave_if_done(&mut self, now: Instant, id: u64, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        if self.draining && session.queue.is_empty() && session.flight == Flight::Idle {
            for tag in session.dialogs.clone() {
                self.drop_dialog(now, &tag, true, out);
            }
        }
        self.sessions.tidy(id);
    }
}

/// Our Contact: the name in our certificate and the user who speaks (SD-01).
fn contact(settings: &turnout_core::world::SipHome, partner: &Jid) -> Result<String, WriteError> {
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
        Content::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
