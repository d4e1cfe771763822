//! Dialogs (RFC 3261 §12). Invariant: what came in From, To, Contact and Record-Route goes back byte for byte, `ms-route-sig`,
//! `opaque` and `epid` included (requirement 22); and none of it ever decides where we connect (B-58).

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use turnout_core::io::LinkId;
use turnout_core::timers::TimerId;

use crate::parse::{Familiar, HeaderName, Hops, Message, NameAddr, Start, Vitals};
use crate::random::{Hex, TOKEN_BYTES, Token, digest};
use crate::slab::{Key, Slab};
use crate::text;
use crate::typing::Form;
use crate::write::{Builder, TEXT_TYPE, USER_AGENT, WriteError, push_number};

/// A dialog.
#[derive(Debug)]
pub(crate) struct Dialog {
    /// The session it belongs to.
    pub(crate) session: Key,
    /// Call-ID.
    pub(crate) call_id: Box<str>,
    /// Our tag.
    pub(crate) local_tag: Token,
    /// The peer's tag; empty for peers of RFC 2543.
    pub(crate) remote_tag: Box<str>,
    /// Our From value, with our tag.
    local: Vec<u8>,
    /// The To value: what the peer called himself, with his tag.
    remote: Vec<u8>,
    /// The peer's Contact address.
    target: String,
    /// Values for Route, in the order to write them.
    routes: Vec<Vec<u8>>,
    /// Number of our last request.
    pub(crate) sent: u32,
    /// Number of the peer's last request, once there was one.
    pub(crate) received: Option<u32>,
    /// The link of the last message.
    pub(crate) link: LinkId,
    /// When the last message went or came.
    pub(crate) used: Instant,
    /// The text an INVITE brought, until the first MESSAGE has been compared with it.
    pub(crate) first_text: Option<String>,
    /// The INVITE that made it, while its ACK is awaited.
    pub(crate) unconfirmed: Option<Key>,
    /// Looks whether it is idle.
    pub(crate) idle: Option<TimerId>,
    /// How the peer speaks of typing, once it did.
    pub(crate) typing: Option<Form>,
    /// What ids of stanzas made of its requests start with.
    pub(crate) stanza_id: Hex,
    /// The generation of the configuration by which the users in `local` and `remote` were last found to be those of the session.
    pub(crate) vetted: Option<u64>,
    /// Everything of a MESSAGE but what changes; made for the first.
    head: Option<Head>,
    /// Where the tags lie in `remote` and `local`, if both can be told so.
    tags: Option<(Range<usize>, Range<usize>)>,
    habits: Habits,
}

/// Values the peer's last MESSAGE had, which was checked in full. Empty ones are like no value.
#[derive(Debug, Default)]
struct Habits {
    uri: Vec<u8>,
    contact: Vec<u8>,
    /// Content-Type, when it was that of plain text in UTF-8.
    plain_text: Vec<u8>,
    /// The way it came.
    hops: Option<Hops>,
    /// How often another way came than the one before.
    hops_missed: u8,
}

/// A MESSAGE without its branch, its number, its length and its text.
#[derive(Debug)]
struct Head {
    /// The start of our Via it was made with.
    via: Arc<str>,
    bytes: Vec<u8>,
    /// Where the token of the branch goes.
    token_at: usize,
    /// Where the number goes.
    number_at: usize,
}

/// Longer values are read each time.
const HABIT_BYTES_MAX: usize = 512;

/// A peer whose requests came by so many ways is one whose ways are not worth remembering.
const HOPS_MISSED_MAX: u8 = 16;

/// All dialogs of one instance.
#[derive(Debug, Default)]
pub(crate) struct Dialogs {
    all: Slab<Dialog>,
    by_tag: HashMap<Token, Key>,
    by_call_id: HashTable<(u64, Key)>,
    hasher: DefaultHashBuilder,
}

impl Dialogs {
    /// Puts one in.
    pub(crate) fn insert(&mut self, dialog: Dialog) -> Key {
        let tag = dialog.local_tag;
        let hash = self.hasher.hash_one(dialog.call_id.as_bytes());
        let key = self.all.insert(dialog);
        self.by_tag.insert(tag, key);
        self.by_call_id.insert_unique(hash, (hash, key), |(hash, _)| *hash);
        key
    }

    /// The dialog of this tag of ours.
    pub(crate) fn find(&self, tag: Token) -> Option<Key> {
        self.by_tag.get(&tag).copied()
    }

    /// The dialog whose Call-ID, From and To a request has, byte for byte.
    pub(crate) fn of(&self, request: &Message) -> Option<(Key, &Dialog)> {
        let call_id = request.lines(HeaderName::CallId).next()?;
        let hash = self.hasher.hash_one(call_id);
        let same = |(other, key): &(u64, Key)| {
            *other == hash
                && self.all.get(*key).is_some_and(|dialog| {
                    dialog.call_id.as_bytes() == call_id && dialog.has_users_of(request)
                })
        };
        let (_, key) = self.by_call_id.find(hash, same)?;
        Some((*key, self.all.get(*key)?))
    }

    /// The dialog of this key.
    pub(crate) fn get(&self, key: Key) -> Option<&Dialog> {
        self.all.get(key)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Dialog> {
        self.all.get_mut(key)
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Dialog> {
        let dialog = self.all.remove(key)?;
        self.by_tag.remove(&dialog.local_tag);
        let hash = self.hasher.hash_one(dialog.call_id.as_bytes());
        if let Ok(found) = self.by_call_id.find_entry(hash, |(_, other)| *other == key) {
            found.remove();
        }
        Some(dialog)
    }
}

impl Dialog {
    /// The dialog our 2xx to an INVITE makes (RFC 3261 §12.1.1). `None`: no Contact to answer to.
    pub(crate) fn accepted(
        session: Key,
        invite: &Message,
        tag: Token,
        link: LinkId,
        now: Instant,
    ) -> Option<Self> {
        let contact = invite.contact().ok()??;
        let from = invite.from().ok()?;
        let routes = invite.headers(HeaderName::RecordRoute).map(<[u8]>::to_vec).collect();
        let mut dialog = Self {
            local: with_tag(invite.lines(HeaderName::To).next()?, tag),
            remote: invite.lines(HeaderName::From).next()?.to_vec(),
            target: contact.uri_text.to_owned(),
            ..Self::new(session, invite.call_id().ok()?, tag, &from.tag().unwrap_or_default(), link, now)
        };
        (dialog.routes, dialog.received) = (routes, Some(invite.cseq().ok()?.number));
        dialog.find_tags();
        Some(dialog)
    }

    /// The dialog a 2xx to our INVITE makes (RFC 3261 §12.1.2): the route set is that of the response, last first.
    pub(crate) fn established(session: Key, response: &Message, link: LinkId, now: Instant) -> Option<Self> {
        let contact = response.contact().ok()??;
        let (from, to) = (response.from().ok()?, response.to().ok()?);
        let tag = Token::read(from.tag()?.as_bytes())?;
        let mut routes: Vec<Vec<u8>> =
            response.headers(HeaderName::RecordRoute).map(<[u8]>::to_vec).collect();
        routes.reverse();
        let mut dialog = Self {
            local: response.lines(HeaderName::From).next()?.to_vec(),
            remote: response.lines(HeaderName::To).next()?.to_vec(),
            target: contact.uri_text.to_owned(),
            ..Self::new(session, response.call_id().ok()?, tag, &to.tag().unwrap_or_default(), link, now)
        };
        (dialog.routes, dialog.sent) = (routes, response.cseq().ok()?.number);
        dialog.find_tags();
        Some(dialog)
    }

    fn new(session: Key, call_id: &str, tag: Token, remote_tag: &str, link: LinkId, now: Instant) -> Self {
        Self {
            session,
            call_id: call_id.into(),
            local_tag: tag,
            remote_tag: remote_tag.into(),
            local: Vec::new(),
            remote: Vec::new(),
            target: String::new(),
            routes: Vec::new(),
            sent: 0,
            received: None,
            link,
            used: now,
            first_text: None,
            unconfirmed: None,
            idle: None,
            typing: None,
            stanza_id: digest(&[call_id.as_bytes(), remote_tag.as_bytes()]).hex(),
            vetted: None,
            head: None,
            tags: None,
            habits: Habits::default(),
        }
    }

    /// Whether a request of the peer belongs to it.
    pub(crate) fn is_of(&self, request: &Vitals<'_>) -> bool {
        request.call_id == &*self.call_id && request.from_tag == *self.remote_tag
    }

    /// What of a request needs no reading again. Call-ID, From and To were compared by [`Dialogs::of`].
    pub(crate) fn familiar(&self, request: &Message) -> Familiar {
        let uri = match request.start() {
            Start::Request { uri, .. } => uri,
            Start::Status { .. } => return Familiar::default(),
        };
        let same = |name, value: &[u8]| !value.is_empty() && request.only_line(name) == Some(value);
        Familiar {
            users: self.tags.clone(),
            uri: !uri.is_empty() && uri == self.habits.uri,
            contact: same(HeaderName::Contact, &self.habits.contact),
            plain_text: same(HeaderName::ContentType, &self.habits.plain_text),
            top: self.habits.hops.as_ref().and_then(|hops| hops.top_of(request)),
        }
    }

    /// Remembers the values of a request that was checked in full.
    pub(crate) fn learn(&mut self, request: &Message, vitals: &Vitals<'_>) {
        if vitals.is_all_familiar {
            return;
        }
        let keep = |place: &mut Vec<u8>, value: &[u8]| {
            if place != value {
                place.clear();
                if value.len() <= HABIT_BYTES_MAX {
                    place.extend_from_slice(value);
                }
            }
        };
        if let Start::Request { uri, .. } = request.start() {
            keep(&mut self.habits.uri, uri);
        }
        keep(&mut self.habits.contact, request.only_line(HeaderName::Contact).unwrap_or_default());
        if !vitals.is_known_way && self.habits.hops_missed < HOPS_MISSED_MAX {
            self.habits.hops_missed += 1;
            self.habits.hops = Hops::of(request);
        }
        if !vitals.is_plain_text {
            let is_plain = vitals.content_type.as_ref().is_some_and(text::is_plain);
            let kind = request.only_line(HeaderName::ContentType).filter(|_| is_plain);
            keep(&mut self.habits.plain_text, kind.unwrap_or_default());
        }
    }

    /// Whether a response is one to a request in this dialog: Call-ID, From and To are, byte for byte, as we write them.
    pub(crate) fn is_answered_by(&self, response: &Message) -> bool {
        response.only_line(HeaderName::CallId) == Some(self.call_id.as_bytes())
            && response.only_line(HeaderName::From) == Some(&*self.local)
            && response.only_line(HeaderName::To) == Some(&*self.remote)
    }

    fn find_tags(&mut self) {
        let span = |value: &[u8]| NameAddr::parse(value).ok().and_then(|address| address.tag_span(value));
        self.tags = span(&self.remote).zip(span(&self.local));
    }

    /// Whether From and To of a request are, byte for byte, those of this dialog.
    pub(crate) fn has_users_of(&self, request: &Message) -> bool {
        request.lines(HeaderName::From).next() == Some(&*self.remote)
            && request.lines(HeaderName::To).next() == Some(&*self.local)
    }

    /// Takes the number of a request of the peer. `false`: it is not higher than the last (RFC 3261 §12.2.2: 500).
    pub(crate) fn take_number(&mut self, number: u32) -> bool {
        let is_next = self.received.is_none_or(|last| number > last);
        if is_next {
            self.received = Some(number);
        }
        is_next
    }

    /// Takes a new Contact from a re-INVITE (RFC 3261 §12.2).
    pub(crate) fn refresh_target(&mut self, request: &Message) {
        if let Ok(Some(contact)) = request.contact() {
            self.target = contact.uri_text.to_owned();
            self.head = None;
        }
    }

    /// Begins a request within the dialog (RFC 3261 §12.2.1.1); an ACK repeats the number of its INVITE.
    ///
    /// # Errors
    /// The peer's Contact or first route is no address a request can go to.
    pub(crate) fn request(&mut self, method: &str, via: &str) -> Result<Builder, WriteError> {
        if method != "ACK" {
            self.count();
        }
        self.open(method, via)?.header(HeaderName::CSeq, &format!("{} {method}", self.sent))
    }

    /// Writes a MESSAGE: what [`Dialog::request`] begins and a body ends, put together from what stays the same in all of them and
    /// what does not. `via` is the start of our Via, up to the token of the branch.
    ///
    /// # Errors
    /// As [`Dialog::request`].
    pub(crate) fn message(
        &mut self,
        via: &Arc<str>,
        token: Token,
        text: &str,
        out: &mut BytesMut,
    ) -> Result<Bytes, WriteError> {
        self.count();
        if !self.head.as_ref().is_some_and(|head| Arc::ptr_eq(&head.via, via)) {
            self.head = Some(self.head(via)?);
        }
        let Some(head) = &self.head else { return Err(WriteError::Length) };
        // Two numbers and a blank line besides.
        out.reserve(head.bytes.len() + text.len() + 64);
        out.extend_from_slice(&head.bytes[..head.token_at]);
        out.extend_from_slice(token.hex().as_bytes());
        out.extend_from_slice(&head.bytes[head.token_at..head.number_at]);
        push_number(u64::from(self.sent), out);
        out.extend_from_slice(&head.bytes[head.number_at..]);
        push_number(text.len() as u64, out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(text.as_bytes());
        Ok(out.split().freeze())
    }

    fn head(&self, via: &Arc<str>) -> Result<Head, WriteError> {
        let marked = [&**via, &*[b'0'; TOKEN_BYTES].map(char::from).iter().collect::<String>()].concat();
        let start = self.open("MESSAGE", &marked)?;
        let number_at = start.len() + "CSeq: ".len() - TOKEN_BYTES;
        let mut bytes = start
            .header(HeaderName::CSeq, " MESSAGE")?
            .header(HeaderName::UserAgent, USER_AGENT)?
            .header(HeaderName::ContentType, TEXT_TYPE)?
            .into_unfinished();
        bytes.extend_from_slice(b"Content-Length: ");
        // The Via is the second line.
        let line = memchr::memchr(b'\n', &bytes).unwrap_or_default() + 1;
        let token_at = line + "Via: ".len() + via.len();
        bytes.drain(token_at..token_at + TOKEN_BYTES);
        Ok(Head { via: Arc::clone(via), bytes, token_at, number_at })
    }

    fn count(&mut self) {
        self.sent = self.sent.wrapping_add(1) & 0x7fff_ffff;
    }

    /// Everything in front of CSeq.
    fn open(&self, method: &str, via: &str) -> Result<Builder, WriteError> {
        let heading = Heading {
            target: &self.target,
            routes: &self.routes,
            local: &self.local,
            remote: &self.remote,
            call_id: &self.call_id,
        };
        heading.open(method, via)
    }
}

/// What the requests within a dialog have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heading<'a> {
    /// The peer's Contact address.
    pub(crate) target: &'a str,
    /// Values for Route, in the order to write them.
    pub(crate) routes: &'a [Vec<u8>],
    /// Our From value.
    pub(crate) local: &'a [u8],
    /// The To value.
    pub(crate) remote: &'a [u8],
    /// Call-ID.
    pub(crate) call_id: &'a str,
}

impl Heading<'_> {
    /// Begins a request: everything in front of CSeq (RFC 3261 §12.2.1.1). A first route without `lr` is a strict router: it
    /// becomes the Request-URI, and the target the last route.
    ///
    /// # Errors
    /// The peer's Contact or first route is no address a request can go to.
    pub(crate) fn open(&self, method: &str, via: &str) -> Result<Builder, WriteError> {
        let strict = self.routes.first().and_then(|first| {
            let first = NameAddr::parse(first).ok()?;
            first.uri.param("lr").is_none().then(|| first.uri_text.to_owned())
        });
        let target = strict.as_deref().unwrap_or(self.target);
        let mut builder = Builder::request(method, target)?
            .header(HeaderName::Via, via)?
            .header(HeaderName::MaxForwards, "70")?
            .raw(HeaderName::Route, &self.routes[usize::from(strict.is_some())..])?;
        if strict.is_some() {
            builder = builder.header(HeaderName::Route, &format!("<{}>", self.target))?;
        }
        builder
            .raw(HeaderName::From, &[self.local])?
            .raw(HeaderName::To, &[self.remote])?
            .header(HeaderName::CallId, self.call_id)
    }
}

/// A To value with our tag behind it: its parameters are those of the header, also where it has no brackets (RFC 3261 §20).
pub(crate) fn with_tag(value: &[u8], tag: Token) -> Vec<u8> {
    [value, b";tag=", tag.hex().as_bytes()].concat()
}

#[cfg(test)]
mod tests;
