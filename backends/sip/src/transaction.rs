//! Transactions over reliable transports (RFC 3261 §17, RFC 6026). Invariant: a request we sent ends in one outcome, a final
//! response, silence or a lost link, and a request that came gets one final response however often it comes.
//!
//! Timers A, D, E, G, I, J and K are 0 or off on a reliable transport; what is left is B and F (silence), H and L (the ACK), M
//! (2xx that come again). The shard that owns a transaction stands in its branch, so that a response read on a link of
//! another shard finds home.

use bytes::Bytes;
use hashbrown::HashMap;
use turnout_core::io::LinkId;
use turnout_core::timers::TimerId;

use crate::parse::{HeaderName, Message};

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
/// Transactions of each side one instance holds.
pub(crate) const TRANSACTIONS_MAX: usize = 131_072;

const COOKIE: &str = "z9hG4bK";

/// A branch of shard `shard`.
pub(crate) fn branch(shard: u16, token: &str) -> String {
    format!("{COOKIE}{shard:04x}{token}")
}

/// The shard whose branch this is; `None` if it was not made here.
pub(crate) fn shard_of(branch: &str) -> Option<u16> {
    u16::from_str_radix(branch.strip_prefix(COOKIE)?.get(..4)?, 16).ok()
}

/// What an answer is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The INVITE of a session.
    Invite(u64),
    /// The text at the head of a session, sent within a dialog.
    Text(u64),
    /// The text at the head of a session, sent outside of any dialog.
    Page(u64),
    /// A request whose answer changes nothing: BYE, CANCEL.
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
}

/// Client transactions by branch.
pub(crate) type Clients = HashMap<String, Client>;

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
    pub(crate) tag: String,
    /// How far it is answered.
    pub(crate) answered: Answered,
    /// The ticket of the stanza whose verdict is awaited; 0 if none is.
    pub(crate) ticket: u64,
    /// The timer that ends this stage.
    pub(crate) timer: Option<TimerId>,
}

/// Server transactions, by key, by ticket and by what a merged request would repeat.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    by_key: HashMap<String, Server>,
    by_ticket: HashMap<u64, String>,
    by_request: HashMap<String, String>,
    tickets: u64,
}

impl Servers {
    /// The transaction of this key.
    pub(crate) fn get(&mut self, key: &str) -> Option<&mut Server> {
        self.by_key.get_mut(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Keys of the requests that came on this link and have no final answer yet.
    pub(crate) fn unanswered_on(&self, link: LinkId) -> Vec<String> {
        let waits = |server: &Server| server.link == link && matches!(server.answered, Answered::Not { .. });
        self.by_key.iter().filter(|(_, server)| waits(server)).map(|(key, _)| key.clone()).collect()
    }

    /// Begins one.
    pub(crate) fn begin(&mut self, key: String, request: Message, link: LinkId, tag: String) {
        self.by_request.entry(request_id(&request)).or_insert_with(|| key.clone());
        let server = Server {
            request,
            link,
            tag,
            answered: Answered::Not { provisional: None },
            ticket: 0,
            timer: None,
        };
        self.by_key.insert(key, server);
    }

    /// Whether the same request is under way by another path (RFC 3261 §8.2.2.2).
    pub(crate) fn is_merged(&self, request: &Message) -> bool {
        self.by_request.contains_key(&request_id(request))
    }

    /// A ticket for the stanza made of this request.
    pub(crate) fn ticket(&mut self, key: &str) -> u64 {
        self.tickets += 1;
        if let Some(server) = self.by_key.get_mut(key) {
            server.ticket = self.tickets;
            self.by_ticket.insert(self.tickets, key.to_owned());
        }
        self.tickets
    }

    /// The key of the request a ticket was given for. A ticket is good once.
    pub(crate) fn redeem(&mut self, ticket: u64) -> Option<String> {
        let key = self.by_ticket.remove(&ticket)?;
        if let Some(server) = self.by_key.get_mut(&key) {
            server.ticket = 0;
        }
        Some(key)
    }

    /// Ends one.
    pub(crate) fn end(&mut self, key: &str) -> Option<Server> {
        let server = self.by_key.remove(key)?;
        let id = request_id(&server.request);
        if self.by_request.get(&id).is_some_and(|found| found == key) {
            self.by_request.remove(&id);
        }
        self.by_ticket.remove(&server.ticket);
        Some(server)
    }

    /// The accepted INVITE an ACK confirms: same Call-ID and CSeq number, tags aside, for its branch is new (RFC 3261 §17.1.1.3).
    pub(crate) fn confirm(&mut self, ack: &Message) -> Option<&mut Server> {
        let key = self.by_request.get(&request_id(ack))?;
        self.by_key.get_mut(key)
    }
}

/// What a request and its ACK or CANCEL have in common: RFC 3261 §17.2.3, for branches with the magic cookie and without.
pub(crate) fn server_key(request: &Message, method: &str) -> Option<String> {
    let via = request.via().ok()?;
    let branch = via.branch().unwrap_or_default();
    if branch.starts_with(COOKIE) {
        return Some(format!(
            "{branch}|{}|{}|{method}",
            via.host.to_ascii_lowercase(),
            via.port.unwrap_or(0)
        ));
    }
    let top = request.lines(HeaderName::Via).next().unwrap_or_default();
    Some(format!("{}|{}|{method}", String::from_utf8_lossy(top), request_id(request)))
}

/// Call-ID, CSeq number and From tag. An INVITE and its ACK share one on purpose; other methods do not.
fn request_id(request: &Message) -> String {
    let (Ok(call_id), Ok(cseq), Ok(from)) = (request.call_id(), request.cseq(), request.from()) else {
        return String::new();
    };
    let method = match cseq.method {
        b"ACK" => b"INVITE",
        method => method,
    };
    format!(
        "{call_id}|{}|{}|{}",
        cseq.number,
        String::from_utf8_lossy(method),
        from.tag().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_knows_its_shard() {
        for shard in [0, 7, 255, u16::MAX] {
            assert_eq!(shard_of(&branch(shard, "abc")), Some(shard));
        }
        for other in ["", "z9hG4bK", "z9hG4bKxyzw", "abc", "z9hG4bK\u{fc}\u{fc}"] {
            assert_eq!(shard_of(other), None, "{other}");
        }
    }
}
