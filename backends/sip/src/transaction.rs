//! Transactions over reliable transports (RFC 3261 §17, RFC 6026). Invariant: a request we sent ends in one outcome, a final
//! response, silence or a lost link, and a request that came gets one final response however often it comes.
//!
//! Timers A, D, E, G, I, J and K are 0 or off on a reliable transport; what is left is B and F (silence), H and L (the ACK), M
//! (2xx that come again). The shard that owns a transaction stands in its branch, so that a response read on a link of
//! another shard finds home.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash, Hasher};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use turnout_core::io::LinkId;
use turnout_core::timers::TimerId;

use crate::parse::{HeaderName, Malformed, Message, Vitals};
use crate::random::Token;
use crate::slab::{Key, Slab};

/// RFC 3261 §17.1.1.1.
pub(crate) const T1_MILLIS: u64 = 500;
/// RFC 3261 §17.1.2.1.
pub(crate) const T2_MILLIS: u64 = 4_000;
/// 64*T1: Timers B, F, H, L and M.
pub(crate) const TIMEOUT_MILLIS: u64 = 64 * T1_MILLIS;
/// How long an INVITE may ring before we cancel it; clients of the pool give up after a minute too.
pub(crate) const RING_MILLIS: u64 = 60_000;
/// An INVITE not answered by then gets 100 Trying (RFC 3261 §17.2.1).
pub(crate) const TRYING_MILLIS: u64 = 200;

const COOKIE: &str = "z9hG4bK";

/// What every branch of shard `shard` starts with; a token follows.
pub(crate) fn branch_start(shard: u16) -> String {
    format!("{COOKIE}{shard:04x}")
}

/// The shard and the token of a branch; `None` if it was not made here.
pub(crate) fn read_branch(branch: &str) -> Option<(u16, Token)> {
    let rest = branch.strip_prefix(COOKIE)?.as_bytes();
    Some((shard_of(rest)?, Token::read(&rest[SHARD_DIGITS..])?))
}

/// Digits of the shard in a branch.
pub(crate) const SHARD_DIGITS: usize = 4;

/// The shard that made a branch; `rest` is what follows the cookie, and may go on behind the branch.
pub(crate) fn shard_of(rest: &[u8]) -> Option<u16> {
    let digits = rest.get(..SHARD_DIGITS)?;
    let digit = |digit: &u8| match digit {
        b'0'..=b'9' => Some(u16::from(digit - b'0')),
        b'a'..=b'f' => Some(u16::from(digit - b'a' + 10)),
        _ => None,
    };
    digits.iter().try_fold(0, |shard, byte| Some(shard << 4 | digit(byte)?))
}

/// The methods of requests we send and wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    /// INVITE.
    Invite,
    /// MESSAGE.
    Message,
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// SUBSCRIBE.
    Subscribe,
    /// NOTIFY.
    Notify,
    /// INFO.
    Info,
}

impl Verb {
    /// The verb of a method.
    pub(crate) fn of(method: &[u8]) -> Option<Self> {
        match method {
            b"INVITE" => Some(Self::Invite),
            b"MESSAGE" => Some(Self::Message),
            b"BYE" => Some(Self::Bye),
            b"CANCEL" => Some(Self::Cancel),
            b"SUBSCRIBE" => Some(Self::Subscribe),
            b"NOTIFY" => Some(Self::Notify),
            b"INFO" => Some(Self::Info),
            _ => None,
        }
    }
}

/// What an answer is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The INVITE of a session.
    Invite(Key),
    /// The text at the head of a session, sent within a dialog.
    Text(Key),
    /// The text at the head of a session, sent outside of any dialog.
    Page(Key),
    /// The SUBSCRIBE of a watch.
    Watch(Key),
    /// A NOTIFY of a subscription.
    Notify(Key),
    /// A request whose answer changes nothing: BYE, CANCEL, a last NOTIFY.
    /// Whether the user of this session is typing.
    Typing(Key),
    /// A request whose answer changes nothing: BYE, CANCEL, a notification of delivery.
    Farewell,
}

/// How far a request we sent has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No response yet: Calling or Trying.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// An INVITE that rings too long was cancelled; its final response is still awaited.
    Cancelled,
    /// An INVITE answered 2xx: this ACK is sent again for each copy (RFC 6026 §7.2).
    Accepted(Bytes),
}

/// A request we sent.
#[derive(Debug)]
pub(crate) struct Client {
    /// What for.
    pub(crate) purpose: Purpose,
    /// The link it went out on, where its ACK and CANCEL go too (RFC 3261 §17.1.1.3).
    pub(crate) link: LinkId,
    /// How far it is.
    pub(crate) stage: Stage,
    /// The timer that ends this stage.
    pub(crate) timer: Option<TimerId>,
    /// The request, to make ACK and CANCEL of; empty unless it is an INVITE.
    pub(crate) invite: Bytes,
    /// The token of its branch, and its method: a CANCEL has the branch of what it cancels.
    pub(crate) branch: (Token, Verb),
}

/// Client transactions.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Slab<Client>,
    by_branch: HashMap<(Token, Verb), Key>,
}

impl Clients {
    /// Begins one.
    pub(crate) fn begin(&mut self, client: Client) -> Key {
        let branch = client.branch;
        let key = self.all.insert(client);
        self.by_branch.insert(branch, key);
        key
    }

    /// The transaction a response belongs to.
    pub(crate) fn find(&self, branch: Token, verb: Verb) -> Option<Key> {
        self.by_branch.get(&(branch, verb)).copied()
    }

    /// The transaction of this key.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Client> {
        self.all.get_mut(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Ends one.
    pub(crate) fn end(&mut self, key: Key) -> Option<Client> {
        let client = self.all.remove(key)?;
        self.by_branch.remove(&client.branch);
        Some(client)
    }

    /// Those whose request went out on this link.
    pub(crate) fn on(&self, link: LinkId) -> Vec<Key> {
        self.all.iter().filter(|(_, client)| client.link == link).map(|(key, _)| key).collect()
    }
}

/// How far a request that came has been answered.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Not finally. `provisional` is sent again for a retransmission.
    Not {
        /// The last provisional response.
        provisional: Option<Bytes>,
    },
    /// An INVITE, with 300 or more; the ACK is awaited.
    Refused(Bytes),
    /// An INVITE, with 2xx: sent again until the ACK comes (RFC 3261 §13.3.1.4). `None`: the ACK came.
    Accepted(Option<Bytes>),
}

/// A request that came.
#[derive(Debug)]
pub(crate) struct Server {
    /// The request.
    pub(crate) request: Message,
    /// The link it came on, where every response goes.
    pub(crate) link: LinkId,
    /// Our tag in responses.
    pub(crate) tag: Tag,
    /// How far it is answered.
    pub(crate) answered: Answered,
    /// A stanza was made of it whose verdict is awaited.
    pub(crate) awaits_verdict: bool,
    /// The timer that ends this stage.
    pub(crate) timer: Option<TimerId>,
    key_hash: u64,
    request_hash: u64,
}

/// Our tag in the responses to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Its To has none: this one is added.
    New(Token),
    /// Its To has the tag of one of our dialogs, or what looks like one.
    Own(Token),
    /// Its To has a tag that we never gave.
    Foreign,
}

impl Tag {
    /// The dialog it may name.
    pub(crate) fn token(self) -> Option<Token> {
        match self {
            Self::New(token) | Self::Own(token) => Some(token),
            Self::Foreign => None,
        }
    }
}

impl Server {
    /// Whether it is an INVITE.
    pub(crate) fn is_invite(&self) -> bool {
        self.request.method() == Some(b"INVITE")
    }

    /// Our tag as it is written.
    pub(crate) fn tag_text(&self) -> Cow<'_, str> {
        match self.tag {
            Tag::New(token) | Tag::Own(token) => Cow::Owned(str::to_owned(&token.hex())),
            Tag::Foreign => self.request.to().ok().and_then(|to| to.tag()).unwrap_or_default(),
        }
    }
}

/// Server transactions, by key and by what a merged request would repeat.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    all: Slab<Server>,
    by_key: HashTable<(u64, Key)>,
    by_request: HashTable<(u64, Key)>,
    hasher: DefaultHashBuilder,
}

impl Servers {
    /// The transaction of this key.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Server> {
        self.all.get_mut(key)
    }

    /// The transaction a request belongs to, as one of this method.
    pub(crate) fn find(&self, identity: &Identity<'_>, method: &[u8]) -> Option<Key> {
        let hash = identity.key_hash(method, &self.hasher);
        let same = |(other, key): &(u64, Key)| {
            *other == hash
                && self.all.get(*key).is_some_and(|server| {
                    server.request.method() == Some(method)
                        && Identity::of(&server.request).is_ok_and(|other| identity.is_same(&other))
                })
        };
        self.by_key.find(hash, same).map(|(_, key)| *key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Keys of the requests that came on this link and have no final answer yet.
    pub(crate) fn unanswered_on(&self, link: LinkId) -> Vec<Key> {
        let waits = |server: &Server| server.link == link && matches!(server.answered, Answered::Not { .. });
        self.all.iter().filter(|(_, server)| waits(server)).map(|(key, _)| key).collect()
    }

    /// Begins one. `identity` is that of the request.
    pub(crate) fn begin(&mut self, identity: &Identity<'_>, request: Message, link: LinkId, tag: Tag) -> Key {
        let key_hash = identity.key_hash(request.method().unwrap_or_default(), &self.hasher);
        let request_hash = identity.request_hash(&self.hasher);
        let is_merged = self.same_request(identity, request_hash).is_some();
        let key = self.all.insert(Server {
            request,
            link,
            tag,
            answered: Answered::Not { provisional: None },
            awaits_verdict: false,
            timer: None,
            key_hash,
            request_hash,
        });
        self.by_key.insert_unique(key_hash, (key_hash, key), |(hash, _)| *hash);
        if !is_merged {
            self.by_request.insert_unique(request_hash, (request_hash, key), |(hash, _)| *hash);
        }
        key
    }

    /// Whether the same request is under way by another path (RFC 3261 §8.2.2.2).
    pub(crate) fn is_merged(&self, identity: &Identity<'_>) -> bool {
        self.same_request(identity, identity.request_hash(&self.hasher)).is_some()
    }

    /// A ticket for the stanza made of this request.
    pub(crate) fn ticket(&mut self, key: Key) -> u64 {
        if let Some(server) = self.all.get_mut(key) {
            server.awaits_verdict = true;
        }
        key.number()
    }

    /// The key of the request a ticket was given for. A ticket is good once.
    pub(crate) fn redeem(&mut self, ticket: u64) -> Option<Key> {
        let key = Key::of_number(ticket);
        let server = self.all.get_mut(key)?;
        std::mem::take(&mut server.awaits_verdict).then_some(key)
    }

    /// Ends one.
    pub(crate) fn end(&mut self, key: Key) -> Option<Server> {
        let server = self.all.remove(key)?;
        for (table, hash) in
            [(&mut self.by_key, server.key_hash), (&mut self.by_request, server.request_hash)]
        {
            if let Ok(found) = table.find_entry(hash, |(_, other)| *other == key) {
                found.remove();
            }
        }
        Some(server)
    }

    /// The accepted INVITE an ACK confirms: same Call-ID and CSeq number, tags aside, for its branch is new (RFC 3261 §17.1.1.3).
    pub(crate) fn confirm(&mut self, ack: &Identity<'_>) -> Option<&mut Server> {
        let key = self.same_request(ack, ack.request_hash(&self.hasher))?;
        self.all.get_mut(key)
    }

    fn same_request(&self, identity: &Identity<'_>, hash: u64) -> Option<Key> {
        let same = |(other, key): &(u64, Key)| {
            *other == hash
                && self.all.get(*key).is_some_and(|server| {
                    Identity::of(&server.request).is_ok_and(|other| identity.is_same_request(&other))
                })
        };
        self.by_request.find(hash, same).map(|(_, key)| *key)
    }
}

/// What a request and its ACK or CANCEL have in common: RFC 3261 §17.2.3, for branches with the magic cookie and without.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    branch: Cow<'a, str>,
    host: &'a str,
    port: Option<u16>,
    /// The topmost line of Via.
    top: &'a [u8],
    call_id: &'a str,
    number: u32,
    method: &'a [u8],
    from_tag: Cow<'a, str>,
}

impl<'a> Identity<'a> {
    /// The identity of a request whose values were read already.
    pub(crate) fn new(request: &'a Message, vitals: &Vitals<'a>) -> Self {
        Self {
            branch: vitals.via.branch().unwrap_or_default(),
            host: vitals.via.host,
            port: vitals.via.port,
            top: request.lines(HeaderName::Via).next().unwrap_or_default(),
            call_id: vitals.call_id,
            number: vitals.cseq.number,
            method: base_method(vitals.cseq.method),
            from_tag: vitals.from_tag.clone(),
        }
    }

    /// The identity of any request.
    ///
    /// # Errors
    /// A value it is made of is missing or malformed.
    pub(crate) fn of(request: &'a Message) -> Result<Self, Malformed> {
        let (via, cseq) = (request.via()?, request.cseq()?);
        Ok(Self {
            branch: via.branch().unwrap_or_default(),
            host: via.host,
            port: via.port,
            top: request.lines(HeaderName::Via).next().unwrap_or_default(),
            call_id: request.call_id()?,
            number: cseq.number,
            method: base_method(cseq.method),
            from_tag: request.from()?.tag().unwrap_or_default(),
        })
    }

    /// Whether the other is of the same transaction, methods aside.
    fn is_same(&self, other: &Self) -> bool {
        if self.has_cookie() {
            return self.branch == other.branch
                && self.host.eq_ignore_ascii_case(other.host)
                && self.port == other.port;
        }
        self.top == other.top && self.is_same_request(other)
    }

    /// Whether the other is the same request, whatever way it came. An INVITE and its ACK share one on purpose; other methods do not.
    fn is_same_request(&self, other: &Self) -> bool {
        self.call_id == other.call_id
            && self.number == other.number
            && self.method == other.method
            && self.from_tag == other.from_tag
    }

    fn has_cookie(&self) -> bool {
        self.branch.starts_with(COOKIE)
    }

    fn key_hash(&self, method: &[u8], hasher: &DefaultHashBuilder) -> u64 {
        let mut state = hasher.build_hasher();
        method.hash(&mut state);
        if !self.has_cookie() {
            self.top.hash(&mut state);
            self.hash_request(&mut state);
            return state.finish();
        }
        self.branch.hash(&mut state);
        for part in self.host.as_bytes().chunks(64) {
            let mut lower = [0; 64];
            lower[..part.len()].copy_from_slice(part);
            lower.make_ascii_lowercase();
            state.write(&lower[..part.len()]);
        }
        self.port.hash(&mut state);
        state.finish()
    }

    fn request_hash(&self, hasher: &DefaultHashBuilder) -> u64 {
        let mut state = hasher.build_hasher();
        self.hash_request(&mut state);
        state.finish()
    }

    fn hash_request(&self, state: &mut impl Hasher) {
        (self.call_id, self.number, self.method).hash(state);
        self.from_tag.hash(state);
    }
}

fn base_method(method: &[u8]) -> &[u8] {
    if method == b"ACK" { b"INVITE" } else { method }
}

#[cfg(test)]
mod tests;
