//! Receipts (XEP-0184) and notifications of delivery (RFC 5438), each made of the other and of nothing else: a 200 says that a text
//! was accepted, not that anybody's client has it. Invariant: what is remembered of either is bounded in number, bytes and time.
//!
//! In dialect `simple` alone. `application/ms-imdn+xml` is what the conferencing server of a pool tells the participants of a meeting
//! ([MS-CONFIM] §2.2.2), about a message it has numbered itself; two users have no such server between them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use turnout_core::io::Outbox;
use turnout_core::stanza::{Kind, MessageType, Stanza};

use crate::backend::SipBackend;
use crate::cpim::{self, CPIM_TYPE, Fate, Wish};
use crate::dialect::{address, full_uri, uri};
use crate::receive::Users;
use crate::session::Item;
use crate::slab::Key;
use crate::transaction::Purpose;
use crate::translate::{Envelope, RECEIPTS, write_signal};

/// Receipts remembered for one pair of users, in each direction; the oldest are forgotten.
const RECEIPTS_MAX: usize = 16;
/// How long one may take. Longer than any client takes that is there, and an end for those that are not.
const RECEIPT_TIME: Duration = Duration::from_secs(3600);
/// The longest id of a stanza remembered.
const ID_BYTES_MAX: usize = 256;

/// Receipts of a pair of users.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// The peer takes wrapped messages: it has sent one.
    pub(crate) takes_cpim: bool,
    /// What local users want to hear of texts that became stanzas, oldest first.
    owed: VecDeque<Owed>,
    /// Texts of the partner's user that were sent with such a wish, oldest first.
    awaited: VecDeque<Awaited>,
}

#[derive(Debug)]
struct Owed {
    stanza_id: Box<str>,
    wish: Wish,
    until: Instant,
}

#[derive(Debug)]
struct Awaited {
    message_id: Box<str>,
    /// As it stood in the stanza, fit for an attribute in apostrophes.
    stanza_id: Box<str>,
    kind: MessageType,
    to: turnout_core::jid::Jid,
    until: Instant,
}

impl Receipts {
    /// When the oldest is forgotten.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let first = self.owed.front().map(|owed| owed.until);
        first.into_iter().chain(self.awaited.front().map(|awaited| awaited.until)).min()
    }

    /// Forgets the old ones.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.owed.retain(|owed| owed.until > now);
        self.awaited.retain(|awaited| awaited.until > now);
    }

    fn owe(&mut self, stanza_id: &str, wish: Wish, until: Instant) {
        if self.owed.len() >= RECEIPTS_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(Owed { stanza_id: stanza_id.into(), wish, until });
    }

    fn expect(&mut self, awaited: Awaited) {
        if self.awaited.len() >= RECEIPTS_MAX {
            self.awaited.pop_front();
        }
        self.awaited.push_back(awaited);
    }

    fn take_owed(&mut self, stanza_id: &str) -> Option<Wish> {
        let at = self.owed.iter().position(|owed| *owed.stanza_id == *stanza_id)?;
        self.owed.remove(at).map(|owed| owed.wish)
    }

    fn take_awaited(&mut self, message_id: &str) -> Option<Awaited> {
        let at = self.awaited.iter().position(|awaited| *awaited.message_id == *message_id)?;
        self.awaited.remove(at)
    }
}

impl SipBackend {
    /// The sender of a wrapped text wants to hear of it, or not. Whether a receipt is to be asked for: only where its answer will
    /// be understood.
    pub(crate) fn owe(&mut self, now: Instant, users: &Users, stanza_id: &str, wish: Wish) -> bool {
        let Some(id) = self.sessions.open(&users.local, &users.partner) else { return false };
        let Some(talk) = self.sessions.talk(id) else {
            self.sessions.tidy(id);
            return false;
        };
        talk.receipts.takes_cpim = true;
        // Only success is a receipt; that it failed can be told without having asked.
        let asks = wish.positive && !wish.message_id.is_empty();
        if asks || wish.negative && !wish.message_id.is_empty() {
            talk.receipts.owe(stanza_id, wish, now + RECEIPT_TIME);
        }
        self.keep_talk(now, id);
        asks
    }

    /// The partner's client has received a text of the pool, or an error says that it has not.
    pub(crate) fn receipt_came(
        &mut self,
        now: Instant,
        id: Key,
        stanza_id: &str,
        fate: Fate,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let Some(wish) = session.talk.as_mut().and_then(|talk| talk.receipts.take_owed(stanza_id)) else {
            return;
        };
        let wanted = match fate {
            Fate::Delivered => wish.positive,
            Fate::Failed => wish.negative,
        };
        let (Ok(from), Ok(to)) = (address(&session.partner), address(&session.local)) else { return };
        if wanted {
            let name = self.random.token().hex();
            let body = cpim::wrap_notification(&from, &to, &name, &wish, fate);
            // One that cannot be sent is lost as one on the way would be.
            let _sent = self.notify(now, id, CPIM_TYPE, body.as_bytes(), Purpose::Farewell, out);
        }
    }

    /// A stanza of type error came: if it is about a text of the pool, its sender may want to hear so.
    pub(crate) fn bounced(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) {
        let Some(id) = self.sessions.of(&stanza.to, &stanza.from) else { return };
        // Ids given here need no escape.
        let Ok(stanza_id) = std::str::from_utf8(stanza.raw(&stanza.id_span)) else { return };
        self.receipt_came(now, id, stanza_id, Fate::Failed, out);
    }

    /// The text at the head of a session, wrapped to ask for a notification; `None` where none is asked for or the peer has not
    /// shown that it understands.
    pub(crate) fn wrapped(&mut self, now: Instant, id: Key) -> Option<String> {
        let date = self.settings.calendar.map(|calendar| cpim::date(calendar.unix_seconds_at(now)))?;
        let session = self.sessions.get(id)?;
        let takes = session.talk.as_ref().is_some_and(|talk| talk.receipts.takes_cpim);
        let head = session.queue.front().filter(|head| head.wants_receipt && takes)?;
        let (message_id, awaited) = expected(head, Box::from(&*self.random.token().hex()), now)?;
        let from = full_uri(&mut self.uris, &session.writer).ok()?;
        let to = uri(&mut self.uris, &session.local).ok()?;
        let wrapped = cpim::wrap_text(&from, &to, &message_id, &date, head.text.of(&head.stanza));
        if let Some(talk) = &mut session.talk {
            talk.receipts.expect(awaited);
        }
        self.keep_talk(now, id);
        Some(wrapped)
    }

    /// A notification of delivery came from the pool.
    pub(crate) fn notified(&mut self, now: Instant, users: &Users, body: &[u8], out: &mut Outbox) {
        let Some((message_id, fate)) = cpim::read_notification(body) else { return };
        let Some(id) = self.sessions.of(&users.local, &users.partner) else { return };
        let name = self.random.token().hex();
        let Some(session) = self.sessions.get(id) else { return };
        let awaited = session.talk.as_mut().and_then(|talk| talk.receipts.take_awaited(&message_id));
        let Some(awaited) = awaited else { return };
        let (from, link) = (session.local.clone(), session.link);
        let envelope = Envelope { from, to: awaited.to, origin: self.origin(link, 0, out), arrived: now };
        let stanza_id = &awaited.stanza_id;
        let stanza = match fate {
            Fate::Delivered => {
                let inside = format!("<received xmlns='{RECEIPTS}' id='{stanza_id}'/>");
                write_signal(envelope, awaited.kind, &name, None, &inside)
            }
            Fate::Failed => write_signal(envelope, MessageType::Error, stanza_id, None, NOT_DELIVERED),
        };
        out.arrivals.push_back(stanza);
    }
}

const NOT_DELIVERED: &str = "<error type='wait'><recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
    <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the recipient's side says that the message was not delivered</text></error>";

/// What to remember of a text that is sent with a wish. `None`: it has no id that a receipt could name.
fn expected(head: &Item, message_id: Box<str>, now: Instant) -> Option<(Box<str>, Awaited)> {
    let stanza = &head.stanza;
    let id = std::str::from_utf8(stanza.raw(&stanza.id_span)).ok()?;
    let Kind::Message(kind) = stanza.kind else { return None };
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        return None;
    }
    let awaited = Awaited {
        message_id: message_id.clone(),
        stanza_id: id.replace('\'', "&#39;").into(),
        kind,
        to: stanza.from.clone(),
        until: now + RECEIPT_TIME,
    };
    Some((message_id, awaited))
}
