//! Who is typing: chat states (XEP-0085) on the side of XMPP, INFO with KeyboardActivity or isComposing documents (RFC 3994) on the
//! side of SIP (RFC 7573 §6). Invariant: typing opens no dialog, and never delays, reorders or stands for a text; a state goes
//! only to a partner's user who has sent one; whoever was said to be typing is said to have stopped, writes, or is timed out.

use std::time::{Duration, Instant};

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;
use turnout_core::backend::Sent;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::stanza::{MessageType, Stanza};

use crate::asking::Failure;
use crate::backend::{SipBackend, Timer};
use crate::cpim::Fate;
use crate::parse::{HeaderName, MediaType, Message, Vitals};
use crate::session::Flight;
use crate::slab::Key;
use crate::talk::{Asking, COMPOSING, States};
use crate::transaction::{Purpose, Verb};
use crate::translate::{ChatState, Envelope, Hints, write_signal};
use crate::write::USER_AGENT;

/// How a peer speaks of typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// INFO with KeyboardActivity, as the clients of the 2019 pool do.
    Keyboard,
    /// An isComposing document in a MESSAGE.
    Document,
    /// An isComposing document in INFO.
    DocumentInInfo,
    /// It refused what it was told, so it is told nothing.
    Deaf,
}

/// What a peer says of typing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typing {
    /// The user types, and will for this long unless it is said again.
    Active(Duration),
    /// He does not.
    Idle,
}

/// KeyboardActivity is said again about every five seconds; three times that is silence.
const KEYBOARD_SILENCE: Duration = Duration::from_secs(15);
/// How often it is said again by us.
const KEYBOARD_AGAIN: Duration = Duration::from_secs(5);
/// How long an isComposing document counts that does not say (RFC 3994 §3.3).
const REFRESH: Duration = Duration::from_secs(120);
/// The longest we believe.
const REFRESH_SECONDS_MAX: u64 = 600;
/// How often a document of ours is sent again: before the 90 s it names are over.
const DOCUMENT_AGAIN: Duration = Duration::from_secs(80);
/// A document about typing has a few hundred bytes.
const DOCUMENT_BYTES_MAX: usize = 8192;

/// The type of isComposing documents.
pub(crate) const DOCUMENT_TYPE: &str = "application/im-iscomposing+xml";
const DOCUMENT_NAMESPACE: &str = "urn:ietf:params:xml:ns:im-iscomposing";

impl Form {
    /// How often it is said again that somebody types.
    fn again(self) -> Duration {
        match self {
            Self::Keyboard | Self::Deaf => KEYBOARD_AGAIN,
            Self::Document | Self::DocumentInInfo => DOCUMENT_AGAIN,
        }
    }

    fn verb(self) -> (Verb, &'static str) {
        match self {
            Self::Document => (Verb::Message, "MESSAGE"),
            Self::Keyboard | Self::DocumentInInfo | Self::Deaf => (Verb::Info, "INFO"),
        }
    }

    /// Type and body.
    fn write(self, active: bool) -> (&'static str, &'static str) {
        match (self, active) {
            (Self::Keyboard | Self::Deaf, true) => (
                "application/xml",
                "<?xml version=\"1.0\"?><KeyboardActivity><status status=\"type\"/></KeyboardActivity>",
            ),
            (Self::Keyboard | Self::Deaf, false) => (
                "application/xml",
                "<?xml version=\"1.0\"?><KeyboardActivity><status status=\"idle\"/></KeyboardActivity>",
            ),
            (Self::Document | Self::DocumentInInfo, true) => (
                DOCUMENT_TYPE,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
                 <state>active</state><contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>",
            ),
            (Self::Document | Self::DocumentInInfo, false) => (
                DOCUMENT_TYPE,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\
                 <state>idle</state></isComposing>",
            ),
        }
    }
}

/// Reads what a body says of typing. `None`: nothing that can be read, which is no fault of anybody's text.
pub(crate) fn read(kind: &MediaType<'_>, body: &[u8]) -> Option<Typing> {
    if body.len() > DOCUMENT_BYTES_MAX {
        return None;
    }
    if kind.is(DOCUMENT_TYPE) {
        return read_document(std::str::from_utf8(body).ok()?);
    }
    if kind.is("application/xml") { read_keyboard(std::str::from_utf8(body).ok()?) } else { None }
}

/// `<KeyboardActivity><status status="type"/></KeyboardActivity>`; any other status is idle.
fn read_keyboard(text: &str) -> Option<Typing> {
    let mut reader = NsReader::from_str(text);
    let mut depth = 0_usize;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if depth == 0 && start.local_name().as_ref() == "KeyboardActivity" => {
                depth = 1
            }
            Event::Start(start) | Event::Empty(start)
                if depth == 1 && start.local_name().as_ref() == "status" =>
            {
                let status = start.attributes().flatten().find(|attribute| attribute.key.0 == "status")?;
                let types = &*status.value == "type";
                return Some(if types { Typing::Active(KEYBOARD_SILENCE) } else { Typing::Idle });
            }
            Event::Decl(_) | Event::Text(_) | Event::Comment(_) => {}
            _ => return None,
        }
    }
}

/// An isComposing document: any state but `active` is idle (RFC 3994 §3.5).
fn read_document(text: &str) -> Option<Typing> {
    let mut reader = NsReader::from_str(text);
    let (mut depth, mut field) = (0_usize, String::new());
    let (mut active, mut refresh) = (None, None);
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let ours = matches!(namespace, ResolveResult::Bound(bound) if bound.0 == DOCUMENT_NAMESPACE);
        match event {
            Event::Start(start) => {
                let name = start.local_name();
                let name: &str = name.as_ref();
                if depth == 0 && !(ours && name == "isComposing") {
                    return None;
                }
                depth += 1;
                field = if depth == 2 && ours { name.to_owned() } else { String::new() };
            }
            Event::Text(text) if depth == 2 && field == "state" => {
                active = Some(text.xml10_content().trim() == "active");
            }
            Event::Text(text) if depth == 2 && field == "refresh" => {
                refresh = text.xml10_content().trim().parse::<u64>().ok();
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
                field.clear();
            }
            Event::DocType(_) | Event::Eof => return None,
            _ => {}
        }
    }
    let refresh = refresh.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(REFRESH_SECONDS_MAX));
    Some(match active? {
        true => Typing::Active(refresh.map_or(REFRESH, Duration::from_secs)),
        false => Typing::Idle,
    })
}

impl SipBackend {
    /// A message of a partner's user that holds no text: it never reaches the pool as one and is never bounced.
    pub(crate) fn hint(
        &mut self,
        now: Instant,
        link: LinkId,
        stanza: Stanza,
        hints: &Hints,
        out: &mut Outbox,
    ) -> Sent {
        if let Some(id) = self.sessions.of(&stanza.to, &stanza.from) {
            if let Some(session) = self.sessions.get(id) {
                session.link = link;
            }
            if let Some(received) = &hints.received {
                self.receipt_came(now, id, received, Fate::Delivered, out);
            }
            if let Some(state) = hints.state {
                self.state_shown(now, id, &stanza.from, state, out);
            }
        }
        Sent::Answered(stanza)
    }

    fn state_shown(&mut self, now: Instant, id: Key, from: &Jid, state: ChatState, out: &mut Outbox) {
        let with_dialogs = self.has_sessions();
        let Some(session) = self.sessions.get(id) else { return };
        if session.writer.resource().is_none() {
            session.writer = from.clone();
        }
        let is_writer = session.writer == *from;
        if is_writer {
            session.states = if state == ChatState::Gone { States::Unknown } else { States::Shown };
        }
        let talk = match (state, &mut session.talk) {
            // Somebody else's client that closes a window ends no conversation.
            (ChatState::Gone, _) if !is_writer => return,
            (ChatState::Active | ChatState::Paused | ChatState::Inactive, None) => return,
            (_, Some(talk)) => Some(&mut **talk),
            (_, None) => self.sessions.talk(id),
        };
        let Some(talk) = talk else { return };
        talk.composing = (state == ChatState::Composing).then_some(now + COMPOSING);
        talk.leaving = state == ChatState::Gone && with_dialogs;
        self.keep_talk(now, id);
        self.tell_typing(now, id, out);
        self.leave_if_done(now, id, out);
    }

    /// What a text of the partner's user leaves to remember beside it.
    pub(crate) fn remember_talk(&mut self, now: Instant, id: Key, hints: &Hints, out: &mut Outbox) {
        if let Some(received) = &hints.received {
            self.receipt_came(now, id, received, Fate::Delivered, out);
        }
        // A session of the other dialect lives as long as its dialogs; here it would be forgotten with the text.
        if !self.has_sessions() && hints.state.is_some() && self.sessions.talk(id).is_some() {
            self.keep_talk(now, id);
        }
    }

    /// Remembers a talk for as long as a quiet dialog is.
    pub(crate) fn keep_talk(&mut self, now: Instant, id: Key) {
        let until = (!self.has_sessions()).then(|| now + self.settings.idle);
        if let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) {
            talk.until = until;
        }
        self.wake_talk(id);
    }

    /// Sets the timer of a talk to what is due first. One that wakes too early does no harm, so it is never set back.
    fn wake_talk(&mut self, id: Key) {
        let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) else { return };
        let Some(due) = talk.deadline() else { return };
        if talk.timer.is_some_and(|(_, at)| at <= due) {
            return;
        }
        if let Some((old, _)) = talk.timer.take() {
            self.timers.cancel(old);
        }
        talk.timer = Some((self.timers.set(due, Timer::Talk(id)), due));
    }

    /// Forgets a talk.
    pub(crate) fn hush(&mut self, id: Key) {
        if let Some((timer, _)) = self.sessions.hush(id).and_then(|talk| talk.timer) {
            self.timers.cancel(timer);
        }
    }

    /// Something of a talk is due.
    pub(crate) fn talk_due(&mut self, now: Instant, id: Key, out: &mut Outbox) {
        let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) else { return };
        talk.timer = None;
        let over = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        over(&mut talk.composing);
        over(&mut talk.until);
        talk.receipts.expire(now);
        let forget = talk.deadline().is_none();
        if over(&mut talk.heard) {
            self.show(now, id, ChatState::Active, out);
        }
        self.tell_typing(now, id, out);
        if let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) {
            // What could not be said now is said when the way is free, not when time passes.
            talk.told.take_if(|again| *again <= now);
        }
        let idle = self.sessions.get(id).is_none_or(|session| session.is_over());
        if forget && idle {
            self.hush(id);
            return self.sessions.tidy(id);
        }
        self.wake_talk(id);
        self.leave_if_done(now, id, out);
    }

    /// Tells the pool what it does not know of the partner's user's typing, once no text is under way: a text says that he has
    /// stopped, and one that waits must not be overtaken. One request at a time, so that a flood of states is none of requests.
    pub(crate) fn tell_typing(&mut self, now: Instant, id: Key, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        let waits = !session.queue.is_empty() || session.flight != Flight::Idle;
        let Some(talk) = session.talk.as_mut().filter(|_| !waits) else { return };
        if talk.leaving {
            return self.part(now, id, out);
        }
        if talk.asking != Asking::Nothing {
            return;
        }
        let types = talk.composing.is_some_and(|until| until > now);
        let say = match (types, talk.told) {
            (true, Some(again)) => again <= now,
            (true, None) | (false, Some(_)) => true,
            (false, None) => false,
        };
        if !say {
            return;
        }
        talk.told = None;
        let form = match self.has_sessions() {
            true => self.tell_within(now, id, types, out),
            false => self.tell_alone(now, id, types, out),
        };
        let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) else { return };
        match form {
            Some(form) => talk.told = types.then(|| now + form.again()),
            // Nobody to tell: it is not tried until he begins to type anew.
            None => talk.composing = None,
        }
        self.wake_talk(id);
    }

    /// Tells it in the dialog texts would go through, in the words of the peer.
    fn tell_within(&mut self, now: Instant, id: Key, types: bool, out: &mut Outbox) -> Option<Form> {
        let session = self.sessions.get(id)?;
        let named = session.link;
        let is_sure = |key: &&Key| self.dialogs.get(**key).is_some_and(|dialog| dialog.unconfirmed.is_none());
        let key = session.dialogs.iter().rev().find(is_sure).copied()?;
        let dialog = self.dialogs.get(key)?;
        let form = dialog.typing.unwrap_or(Form::Keyboard);
        let link = self.way(dialog.link, named, out)?;
        if form == Form::Deaf || !self.may_ask() {
            return None;
        }
        let (branch, via) = self.via(out);
        let (verb, method) = form.verb();
        let (kind, body) = form.write(types);
        let request = self.dialogs.get_mut(key)?.request(method, &via).ok()?;
        let request = request.header(HeaderName::UserAgent, USER_AGENT).ok()?;
        let bytes = request.finish_with(kind, body.as_bytes()).ok()?;
        self.sessions.talk(id)?.asking = Asking::Within(key);
        self.ask(now, link, (branch, verb), bytes, Purpose::Typing(id), out);
        Some(form)
    }

    /// Tells it in a MESSAGE of its own, if the peer has spoken so itself: one that does not know these documents would show them.
    fn tell_alone(&mut self, now: Instant, id: Key, types: bool, out: &mut Outbox) -> Option<Form> {
        let form = self.sessions.get(id)?.talk.as_ref()?.form.filter(|form| *form != Form::Deaf)?;
        let (kind, body) = form.write(types);
        self.notify(now, id, kind, body.as_bytes(), Purpose::Typing(id), out)?;
        self.sessions.talk(id)?.asking = Asking::Alone;
        Some(form)
    }

    /// The partner's user has left: the dialogs end, once those to come are there.
    fn part(&mut self, now: Instant, id: Key, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        let dialogs = session.dialogs.clone();
        let sure = |key: &Key| self.dialogs.get(*key).is_none_or(|dialog| dialog.unconfirmed.is_none());
        if !dialogs.iter().all(sure) {
            return;
        }
        for dialog in dialogs {
            self.drop_dialog(now, dialog, true, out);
        }
        self.hush(id);
    }

    /// What was said of typing is answered. 408, 480 and 481 say that the dialog is dead, as for a text (requirement 18); any
    /// other refusal, that the peer does not want to hear of it.
    pub(crate) fn typing_answered(
        &mut self,
        now: Instant,
        id: Key,
        outcome: Result<(), Failure>,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let flight = session.flight;
        let Some(talk) = session.talk.as_mut() else { return };
        let asked = std::mem::take(&mut talk.asking);
        if let Err(failure) = outcome {
            talk.told = None;
            talk.composing = None;
            match asked {
                Asking::Within(key) if failure.ends_dialog() => {
                    // A text that is under way in it finds out for itself, and goes again.
                    if flight != (Flight::Sending { dialog: Some(key) }) {
                        self.drop_dialog(now, key, true, out);
                    }
                }
                Asking::Within(key) => {
                    if let Some(dialog) = self.dialogs.get_mut(key) {
                        dialog.typing = Some(Form::Deaf);
                    }
                }
                Asking::Alone => talk.form = Some(Form::Deaf),
                Asking::Nothing => {}
            }
        }
        self.pump(now, id, out);
    }

    /// The link under it was lost.
    pub(crate) fn typing_unanswered(&mut self, id: Key) {
        if let Some(talk) = self.sessions.get(id).and_then(|session| session.talk.as_mut()) {
            talk.asking = Asking::Nothing;
            talk.told = None;
            talk.composing = None;
        }
    }

    /// INFO within a dialog, or a document about typing in a MESSAGE: taken whatever it holds (SM-08).
    pub(crate) fn informed(
        &mut self,
        now: Instant,
        key: Key,
        place: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) {
        let kind = vitals.content_type.as_ref();
        let typing = kind.filter(|_| request.header(HeaderName::ContentTransferEncoding).is_none());
        let typing = typing.and_then(|kind| read(kind, request.body_bytes()));
        self.reply(now, key, 200, &[], out);
        let (Some(typing), Some(kind)) = (typing, kind) else { return };
        let Some(dialog) = self.dialogs.get_mut(place) else { return };
        dialog.typing = Some(match (kind.is(DOCUMENT_TYPE), request.method()) {
            (false, _) => Form::Keyboard,
            (true, Some(b"INFO")) => Form::DocumentInInfo,
            (true, _) => Form::Document,
        });
        let id = dialog.session;
        self.heard_typing(now, id, typing, out);
    }

    /// A document about typing in a MESSAGE of its own.
    pub(crate) fn typed_alone(&mut self, now: Instant, id: Key, typing: Typing, out: &mut Outbox) {
        if let Some(talk) = self.sessions.talk(id) {
            talk.form = Some(Form::Document);
            self.keep_talk(now, id);
        }
        self.heard_typing(now, id, typing, out);
    }

    /// The local user types, or has stopped.
    fn heard_typing(&mut self, now: Instant, id: Key, typing: Typing, out: &mut Outbox) {
        let Some(session) = self.sessions.get(id) else { return };
        if session.states != States::Shown {
            return;
        }
        match typing {
            Typing::Active(duration) => {
                let Some(talk) = self.sessions.talk(id) else { return };
                let known = talk.heard.replace(now + duration).is_some();
                self.wake_talk(id);
                if !known {
                    self.show(now, id, ChatState::Composing, out);
                }
            }
            Typing::Idle => {
                if session.talk.as_mut().and_then(|talk| talk.heard.take()).is_some() {
                    self.show(now, id, ChatState::Active, out);
                }
            }
        }
    }

    /// The pool ends a dialog. If that was the conversation, the partner's user sees that it is over.
    pub(crate) fn show_leaving(&mut self, now: Instant, place: Key, out: &mut Outbox) {
        let Some(id) = self.dialogs.get(place).map(|dialog| dialog.session) else { return };
        let Some(session) = self.sessions.get(id) else { return };
        let last = session.dialogs.len() == 1 && session.queue.is_empty() && session.flight == Flight::Idle;
        if last && session.states == States::Shown {
            self.show(now, id, ChatState::Gone, out);
        }
    }

    /// Shows a chat state to the partner's user. It waits for no verdict and nobody hears of its end.
    fn show(&mut self, now: Instant, id: Key, state: ChatState, out: &mut Outbox) {
        let stanza_id = self.random.token().hex();
        let Some(session) = self.sessions.get(id) else { return };
        let (from, to, link) = (session.local.clone(), session.writer.clone(), session.link);
        let dialog = session.dialogs.last().and_then(|key| self.dialogs.get(*key));
        let thread = dialog.map(|dialog| dialog.call_id.clone());
        let envelope = Envelope { from, to, origin: self.origin(link, 0, out), arrived: now };
        let stanza =
            write_signal(envelope, MessageType::Chat, &stanza_id, thread.as_deref(), state.element());
        out.arrivals.push_back(stanza);
    }
}

#[cfg(test)]
mod tests;
