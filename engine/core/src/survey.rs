//! What an administrator may ask a shard about what it holds. Invariant: an answer is a copy, bounded by [`SURVEY_MAX`] rows whatever
//! is asked, and asking changes nothing.

use std::time::Duration;

use crate::io::{LinkId, Side};
use crate::trace::{TraceQuery, Traced};

/// Most rows of one answer of one shard.
pub const SURVEY_MAX: usize = 1_000;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Survey {
    /// Links with a number above this one, in the order of their numbers, the first so many.
    Links(u64, usize),
    /// Destinations that something waits for or that have a link, those with most waiting first, so many.
    Queues(usize),
    /// Partners that there are streams with or that something waits for, so many.
    Peers(usize),
    /// What the backend of each home has open between pairs of users, from this place on, so many places.
    Open(u64, usize),
    /// What is remembered of stanzas.
    Trace(TraceQuery),
    /// Steps of sampled stanzas, from this number on.
    Samples(u64),
}

/// The answer, of the same name.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "see the question of the same name")]
pub enum Surveyed {
    Links(Vec<LinkFact>),
    Queues(Vec<QueueFact>),
    Peers(Vec<PeerFact>),
    Open(OpenPage),
    Trace(Vec<Traced>),
    Samples(Vec<Traced>),
}

/// What a backend knows of one of its links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// Who we are on it: a domain, or empty where it has not been said.
    pub ours: String,
    /// Who the peer is, as far as it has proven it: domains, or a host.
    pub theirs: Vec<String>,
    /// Where it stands, in a word or two.
    pub state: &'static str,
    /// `TLSv1.2`, `TLSv1.3`, or empty without TLS.
    pub tls: &'static str,
    /// How it proved who it is: `certificate`, `dialback`, or empty.
    pub proof: &'static str,
    /// The address of the peer, where it came to us.
    pub address: String,
    /// Who issued the certificate it showed.
    pub issuer: String,
    /// Until when that is valid, in seconds since 1970.
    pub certificate_until_unix: Option<i64>,
    /// It goes on with a stream that had broken off.
    pub resumed: bool,
    /// Stanzas go both ways on it.
    pub both_ways: bool,
    /// How long it has said nothing.
    pub silent: Option<Duration>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct LinkFact {
    /// Its name.
    pub link: LinkId,
    /// Its side.
    pub side: Side,
    /// Stanzas written to it that the next hop does not have yet.
    pub stanzas: usize,
    /// Octets given to the driver and not yet to the kernel.
    pub octets: u64,
    /// It counts as delivered what its peer acknowledges.
    pub acknowledged: bool,
    /// Stanzas that came on it.
    pub received: u64,
    /// Stanzas its peer has.
    pub delivered: u64,
    /// What its backend knows.
    pub stream: StreamFacts,
}

/// What waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFact {
    /// Its side.
    pub side: Side,
    /// The domain we speak for; empty for a node of a pool.
    pub ours: String,
    /// The domain or the node reached.
    pub theirs: String,
    /// `idle`, `connecting`, `open`, `blocked`, `closing` or `resting`.
    pub state: &'static str,
    /// Stanzas that wait.
    pub stanzas: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When it is tried again, where it rests.
    pub again: Option<Duration>,
}

/// A partner, as one shard sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerFact {
    /// One of its domains.
    pub domain: String,
    /// Streams it has opened and proven itself on.
    pub streams_in: usize,
    /// Streams to it that carry stanzas.
    pub streams_out: usize,
    /// Streams to it that are being opened.
    pub opening: usize,
    /// Stanzas that wait for it.
    pub stanzas: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Attempts to reach it that failed, in a row, of the stream that failed most.
    pub failures: u32,
    /// Stanzas that came on its streams, as far as those are open.
    pub received: u64,
    /// Stanzas it has, of those that went on streams that are open.
    pub delivered: u64,
    /// Until when the certificate is valid that it showed, in seconds since 1970; of several the one that ends first.
    pub certificate_until_unix: Option<i64>,
}

/// Something open between a local user and a partner's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFact {
    /// `dialog`, `watch` or `subscription`.
    pub what: &'static str,
    /// The side of the home.
    pub side: Side,
    /// The local user, bare.
    pub local: String,
    /// The partner's user, bare.
    pub partner: String,
    /// How it stands, in the words of the protocol.
    pub text: String,
}

/// A page of what is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenPage {
    /// The rows.
    pub rows: Vec<OpenFact>,
    /// Where to go on, if there is more.
    pub next: Option<u64>,
}
