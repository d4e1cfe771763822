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

/// Bytes of what waits for a link that are handed to the driver in one turn: a link that takes much at once after a while is not to keep all
/// others waiting for the time that takes.
pub const FLUSH_BYTES: u64 = 64 * 1024;

/// Stanzas that may be handed to the driver for one link and not yet be written.
pub const LINK_CREDIT_STANZAS: usize = 8192;

/// Bytes that may be given to a link that acknowledges and not yet be acknowledged, before its stanzas wait in the spool: what is on
/// the way to a peer 100 ms away at 40 MB/s.
pub const LINK_UNACKNOWLEDGED_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes that what one link brought may have waiting for one destination in one shard, unless configured: beyond it the link is not
/// read, or what it brings for that destination is refused.
pub const SHARE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of such a share at which the link is read again. Beside it the destination's own link has its credit to work on.
pub const SHARE_BYTES_RESUME: usize = 128 * 1024;

/// Bytes of a share that count as too many once the spools of the shard are half full.
pub const SHARE_BYTES_PRESSED: usize = 256 * 1024;

/// Smallest and largest share that may be configured.
pub const SHARE_BYTES_FLOOR: usize = SHARE_BYTES_PRESSED;
/// See [`SHARE_BYTES_FLOOR`].
pub const SHARE_BYTES_CEILING: usize = SPOOL_BYTES_MAX / 4;

/// Milliseconds one destination may stop a link that brings for others too. After that the link is read, and what it brings for
/// that destination beyond its share is refused.
pub const PAUSE_SHARED_MILLIS: u64 = 1_000;

/// Seconds for which a link that has brought for a second destination counts as one that brings for several.
pub const SHARED_SECONDS: u64 = 60;

/// Seconds after which a link that takes nothing of what waits for it is cut. Longer than anything waits in a spool, as a peer that is
/// itself held up takes as long at the most to let go.
pub const STALL_SECONDS: u64 = 90;

/// Most stanzas a second that a rate may be configured to; more is no limit.
pub const RATE_PER_SECOND_MAX: u32 = 1_000_000;

/// Senders one shard keeps count of.
pub const SENDERS_MAX: usize = 65_536;

/// Partners one shard keeps count of.
pub const PARTNER_RATES_MAX: usize = 65_536;

/// Stanzas one destination may have waiting in one shard, unless configured.
pub const SPOOL_STANZAS_MAX: usize = 262_144;

/// Bytes one destination may have waiting in one shard, unless configured.
pub const SPOOL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes all destinations of one shard may have waiting together, unless configured.
pub const SHARD_SPOOL_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Destinations (domain pairs and pool nodes) one shard remembers, unless configured.
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

/// Longest wait between two attempts to reach a destination, in seconds (RFC 6120 §3.3: truncated exponential back-off). A quarter of what
/// a stanza may wait, so that one who is back is found before what waits for him is given up.
pub const BACKOFF_SECONDS_MAX: u64 = 15;

/// Longest random wait before a partner whose stream broke is dialed again, in seconds, that may be configured (RFC 6120 §3.3).
pub const RECONNECT_SECONDS_CEILING: u64 = 60;

/// Longest time stanzas are held while their user moves, in milliseconds.
pub const HOLD_MILLIS_MAX: u64 = 5_000;

/// Milliseconds of quiet a move waits for, once nothing for its users is under way here: XMPP tells nobody when the gateway has read
/// what the kernel took, and an answer written on the old side must not be overtaken by one from the new.
pub const MOVE_SETTLE_MILLIS: u64 = 100;

/// Seconds after a move during which the old home may still speak for the user: what was under way when he moved.
pub const MOVE_GRACE_SECONDS: u64 = 60;

/// Users one move order may name.
pub const MOVE_USERS_MAX: usize = 100_000;

/// Contacts (pairs of a local and a partner's user) one shard remembers, unless configured.
pub const CONTACTS_MAX: usize = 4_000_000;

/// Contacts one local user may have, unless configured; a pool allows 1,000.
pub const CONTACTS_PER_USER_MAX: usize = 10_000;

/// Contacts told of when an administrator asks about a user.
pub const TOLD_CONTACTS_MAX: usize = 1_000;

/// Presence stanzas one shard may have waiting for the store or for their turn.
pub const PRESENCE_WAITING_MAX: usize = 262_144;

/// Contacts of one partner domain that are nothing but questions without an answer, in one shard: whoever has users without number
/// is not to take the places of other domains.
pub const ASKING_PER_DOMAIN_MAX: usize = 4_096;

/// The same for one local user, of all domains: strangers' questions are not to take the places of his contacts.
pub const ASKING_PER_USER_MAX: usize = 1_000;

/// Users' presence that watchers nobody has granted it ask for at a time, of one partner domain, in one shard: each is a request to a
/// pool, and takes its turn among those of watchers who may see.
pub const LOOKS_PER_DOMAIN_MAX: usize = 256;

/// Streams on which dialback keys are verified, on one side of one shard, unless configured.
pub const VERIFY_STREAMS_MAX: usize = 512;

/// How many there may be when one is opened for a domain that is no configured partner: anybody can claim names without number, and
/// those who are known are to be heard all the same.
pub const VERIFY_STREAMS_UNLISTED_MAX: usize = 256;

/// Bytes of the headers, and of the body, of what somebody says over SIP who has not shown to be the pool.
pub const SIP_STRANGER_BYTES_MAX: usize = 16 * 1024;

/// Elements inside each other in a stanza, the stanza counting one.
pub const STANZA_DEPTH_MAX: usize = 64;

/// Attributes of one tag, declarations of namespaces included. Looking for one that comes twice costs up to its square a tag.
pub const TAG_ATTRIBUTES_MAX: usize = 64;

/// Declarations of namespaces in scope at one point. Resolving a prefix costs up to as many comparisons.
pub const NAMESPACES_MAX: usize = 64;

/// Bytes of the name of an element or attribute, prefix included.
pub const NAME_BYTES_MAX: usize = 1024;

/// Bytes of one tag.
pub const TAG_BYTES_MAX: usize = 32 * 1024;

/// Bytes of a stream header, and of the XML declaration in front of it.
pub const STREAM_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a SIP message in front of its body.
pub const SIP_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Header fields of a SIP message; a folded one counts once.
pub const SIP_HEADERS_MAX: usize = 256;

/// Bytes of the body of a SIP message, unless the configuration takes larger texts.
pub const SIP_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Connections one home's servers may have open to us, unless configured.
pub const HOME_CONNECTIONS_MAX: usize = 4096;

/// Most bytes of namespace declarations on a header, prefixes and names. What a stanza borrows of them is written on it when it goes
/// on, so they bound by how much a stanza grows (B-08). Servers declare about a hundred.
pub const STREAM_DECLARED_BYTES_MAX: usize = 512;

/// Most bytes of a header's `xml:lang`, which goes on with every stanza that has none. RFC 5646 §4.4.1 asks for room for 35.
pub const STREAM_LANG_BYTES_MAX: usize = 64;

/// Pairs one stream may have, proven or asked for.
pub const STREAM_PAIRS_MAX: usize = 64;

/// SASL failures after which a stream is closed (RFC 6120 §6.4.5 recommends 2 to 5 retries).
pub const SASL_FAILURES_MAX: u32 = 3;

/// Longest dialback key that is taken to its server, in bytes. XEP-0185 makes keys of 64; each waits here for its answer, up
/// to 64 on a stream of somebody who has proven nothing.
pub const DIALBACK_KEY_BYTES_MAX: usize = 1024;

/// Dialback keys that may fail on one stream before it is closed.
pub const DIALBACK_FAILURES_MAX: u32 = 16;

/// Keys one verify stream may be asked to show at a time.
pub const VERIFY_ASKS_MAX: usize = 256;

/// Transactions of each side one instance holds, unless configured.
pub const SIP_TRANSACTIONS_MAX: usize = 131_072;

/// Texts one pair may have waiting.
pub const SIP_QUEUE_MAX: usize = 4096;

/// Texts one instance may hold, unless configured.
pub const SIP_KEPT_MAX: usize = 65_536;

/// Sessions one instance may hold, unless configured, beside those that only remember typing and receipts.
pub const SIP_SESSIONS_MAX: usize = 65_536;

/// Dialogs one pair may have: one for each device of the local user that wrote lately.
pub const SIP_DIALOGS_PER_SESSION_MAX: usize = 4;

/// Pairs of users of one instance for which typing and receipts are remembered; the others talk without.
pub const SIP_TALKS_MAX: usize = 16_384;

/// Watches one instance may hold, unless configured.
pub const SIP_WATCHES_MAX: usize = 262_144;

/// Subscriptions one instance may hold, unless configured.
pub const SIP_SUBSCRIPTIONS_MAX: usize = 262_144;

/// Subscriptions one pair of users may have: one for each device of the local user.
pub const SIP_SUBSCRIPTIONS_PER_PAIR_MAX: usize = 16;

/// Pairs one local user may have in one role.
pub const SIP_PAIRS_PER_USER_MAX: usize = 10_000;

/// How deep multiparts may nest.
pub const MULTIPART_DEPTH_MAX: usize = 4;

/// Parts a body may have.
pub const MULTIPART_PARTS_MAX: usize = 16;

/// Longest boundary (RFC 2046 §5.1.1).
pub const MULTIPART_BOUNDARY_BYTES_MAX: usize = 70;

/// Longest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// Elements within each other.
pub const DOCUMENT_DEPTH_MAX: usize = 32;

/// Elements of a document.
pub const DOCUMENT_ELEMENTS_MAX: usize = 4096;

/// Attributes of an element, declarations of namespaces among them.
pub const DOCUMENT_ATTRIBUTES_MAX: usize = 64;

/// Longest text of an error told to a peer, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 256;

/// How often a stanza that a next hop gave back is offered again before it is bounced.
pub const ATTEMPTS_MAX: u8 = 3;

/// Shards one process may have.
pub const SHARDS_MAX: usize = 256;

const _: () = assert!(STANZA_BYTES_MAX >= STANZA_BYTES_FLOOR);
const _: () = assert!(ASKING_PER_USER_MAX < CONTACTS_PER_USER_MAX && ASKING_PER_DOMAIN_MAX < CONTACTS_MAX);
const _: () = assert!(VERIFY_STREAMS_UNLISTED_MAX < VERIFY_STREAMS_MAX);
const _: () = assert!(SPOOL_BYTES_MAX >= 64 * STANZA_BYTES_MAX);
const _: () = assert!(SHARE_BYTES_RESUME < SHARE_BYTES_PRESSED && SHARE_BYTES_PRESSED <= SHARE_BYTES_MAX);
const _: () = assert!(SHARE_BYTES_FLOOR <= SHARE_BYTES_MAX && SHARE_BYTES_MAX <= SHARE_BYTES_CEILING);
const _: () = assert!(STALL_SECONDS > SPOOL_AGE_SECONDS && PAUSE_SHARED_MILLIS < SHARED_SECONDS * 1000);
const _: () =
    assert!(BACKOFF_SECONDS_MAX * 4 <= SPOOL_AGE_SECONDS && BACKOFF_SECONDS_MAX < SPOOL_AGE_SIP_SECONDS);
const _: () = assert!(LINK_UNACKNOWLEDGED_BYTES >= LINK_CREDIT_BYTES);
const _: () = assert!(SHARD_SPOOL_BYTES_MAX >= SPOOL_BYTES_MAX);
const _: () = assert!(SPOOL_AGE_SIP_SECONDS < 32 && SPOOL_AGE_SIP_SECONDS < SPOOL_AGE_SECONDS);
const _: () = assert!(MOVE_SETTLE_MILLIS < HOLD_MILLIS_MAX && HOLD_MILLIS_MAX < SPOOL_AGE_SIP_SECONDS * 1000);
