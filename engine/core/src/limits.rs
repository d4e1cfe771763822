//! Every bound of the core in one room. Invariant: a queue, table or text that outside input can grow has its limit here or in
//! a value derived from here; a limit that depends on another is asserted against it at compile time.

/// Longest part (local, domain or resource) of an address, in octets (RFC 7622 §3.1).
pub const JID_PART_BYTES_MAX: usize = 1023;

/// Smallest value allowed for the largest accepted stanza, in bytes (RFC 6120 §13.12 point 4).
pub const STANZA_BYTES_FLOOR: usize = 10_000;

/// Largest accepted stanza unless configured, in bytes.
pub const STANZA_BYTES_MAX: usize = 256 * 1024;

/// Bytes that may be handed to the driver for one link and not yet be written, before its stanzas wait in the spool.
pub const LINK_CREDIT_BYTES: u64 = 1024 * 1024;

/// Stanzas that may be handed to the driver for one link and not yet be written.
pub const LINK_CREDIT_STANZAS: usize = 8192;

/// Bytes that may be given to a link that acknowledges and not yet be acknowledged, before its stanzas wait in the spool: what is on
/// the way to a peer 100 ms away at 40 MB/s.
pub const LINK_UNACKNOWLEDGED_BYTES: u64 = 4 * 1024 * 1024;

/// Stanzas one destination may have waiting in one shard.
pub const SPOOL_STANZAS_MAX: usize = 262_144;

/// Bytes one destination may have waiting in one shard.
pub const SPOOL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes all destinations of one shard may have waiting together.
pub const SHARD_SPOOL_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Destinations (domain pairs and pool nodes) one shard remembers.
pub const DESTINATIONS_MAX: usize = 65_536;

/// Seconds a stanza may wait for a destination before it is bounced.
pub const SPOOL_AGE_SECONDS: u64 = 60;

/// Seconds an error or answer of the router's own may wait in a durable spool, at least.
pub const SPOOL_AGE_MADE_SECONDS: u64 = 600;

/// Seconds a stanza that came over SIP may wait: its transaction must be answered before Timer F ends (RFC 3261 §17.1.2.2, 32 s).
pub const SPOOL_AGE_SIP_SECONDS: u64 = 20;

/// Seconds from the wish to connect until the link carries stanzas, else the attempt has failed.
pub const CONNECT_SECONDS: u64 = 30;

/// Seconds a link that takes no more stanzas may take to close before it is cut, so that its destination can be dialed anew.
pub const CLOSE_SECONDS: u64 = 10;

/// Longest wait between two attempts to reach a destination, in seconds (RFC 6120 §3.3: truncated exponential back-off).
pub const BACKOFF_SECONDS_MAX: u64 = 60;

/// Longest time stanzas are held while their user moves, in milliseconds.
pub const HOLD_MILLIS_MAX: u64 = 5_000;

/// Milliseconds of quiet a move waits for, once nothing for its users is under way here: XMPP tells nobody when the gateway has read
/// what the kernel took, and an answer written on the old side must not be overtaken by one from the new.
pub const MOVE_SETTLE_MILLIS: u64 = 100;

/// Seconds after a move during which the old home may still speak for the user: what was under way when he moved.
pub const MOVE_GRACE_SECONDS: u64 = 60;

/// Users one move order may name.
pub const MOVE_USERS_MAX: usize = 100_000;

/// Contacts (pairs of a local and a partner's user) one shard remembers.
pub const CONTACTS_MAX: usize = 4_000_000;

/// Contacts one local user may have; a pool allows 1,000.
pub const CONTACTS_PER_USER_MAX: usize = 10_000;

/// Contacts told of when an administrator asks about a user.
pub const TOLD_CONTACTS_MAX: usize = 1_000;

/// Presence stanzas one shard may have waiting for the store or for their turn.
pub const PRESENCE_WAITING_MAX: usize = 262_144;

/// Longest text of an error told to a peer, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 256;

/// How often a stanza that a next hop gave back is offered again before it is bounced.
pub const ATTEMPTS_MAX: u8 = 3;

/// Shards one process may have.
pub const SHARDS_MAX: usize = 256;

const _: () = assert!(STANZA_BYTES_MAX >= STANZA_BYTES_FLOOR);
const _: () = assert!(SPOOL_BYTES_MAX >= 64 * STANZA_BYTES_MAX);
const _: () = assert!(LINK_UNACKNOWLEDGED_BYTES >= LINK_CREDIT_BYTES);
const _: () = assert!(SHARD_SPOOL_BYTES_MAX >= SPOOL_BYTES_MAX);
const _: () = assert!(SPOOL_AGE_SIP_SECONDS < 32 && SPOOL_AGE_SIP_SECONDS < SPOOL_AGE_SECONDS);
const _: () = assert!(MOVE_SETTLE_MILLIS < HOLD_MILLIS_MAX && HOLD_MILLIS_MAX < SPOOL_AGE_SIP_SECONDS * 1000);
