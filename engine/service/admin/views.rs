//! What the dashboard and the newer parts of the API are told, as JSON. Invariant: every list is bounded and says where to go on; names
//! end in their unit; nothing holds a body or a secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Role;
use crate::router::ReloadDiff;

/// `GET /api/whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The name of the token; `local` where the listener has no tokens.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether this listener asks for tokens.
    pub tokens: bool,
}

/// `GET /api/live`: the estate at this moment, with rates. Sent once a second as the event `live` of `GET /api/events/stream`, there
/// without `history`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Live {
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// Version of the program.
    pub version: String,
    /// How long the router has been running.
    pub uptime_seconds: u64,
    /// Generation of the configuration.
    pub generation: u64,
    /// The local domains.
    pub domains: Vec<String>,
    /// Whether every shard's loop turns.
    pub alive: bool,
    /// Whether it is stopping.
    pub draining: bool,
    /// Stanzas the sums cannot explain; anything but 0 is a fault of the router.
    pub unaccounted: u64,
    /// Stanzas held now.
    pub held: u64,
    /// Bytes of stanzas in spools.
    pub spool_bytes: u64,
    /// Users held for a move.
    pub moving_users: u64,
    /// Partners first, then the homes.
    pub sides: Vec<LiveSide>,
    /// Users in all.
    pub users: u64,
    /// Users whom no home serves.
    pub users_elsewhere: u64,
    /// How long ago the directory's source was known to say so.
    pub directory_age_seconds: u64,
    /// The users come from the disk, as the directory's source could not be had at the start.
    pub directory_from_disk: bool,
    /// Why the last look at the directory's source failed.
    pub directory_failing: Option<String>,
    /// Users moved by hand whom the directory's source does not show in their new home yet.
    pub changed_users: u64,
    /// Why the store of contacts cannot be written, if it cannot.
    pub store_failing: Option<String>,
    /// The durable spool, where there is one.
    pub spool: Option<LiveSpool>,
    /// Moves that are running, and those that ended in the last minute.
    pub moves: Vec<MoveJob>,
    /// What is remembered of stanzas: `off`, `failures` or `all`.
    pub trace: String,
    /// The filter of the log.
    pub log: String,
    /// The last two minutes, a point a second, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<LivePoint>,
}

/// The durable spool at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveSpool {
    /// Stanzas on disk that have not found their end.
    pub waiting: u64,
    /// Stanzas that are to be written.
    pub queued: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// How long the oldest has waited.
    pub oldest_seconds: Option<u64>,
    /// `bytes_max` is reached: what waits now is in memory alone.
    pub full: bool,
    /// Why the disk cannot be written, if it cannot.
    pub failing: Option<String>,
}

/// A side at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveSide {
    /// `partners` or the name of a home.
    pub name: String,
    /// `xmpp` or `sip`.
    pub backend: String,
    /// Links open now.
    pub links: u64,
    /// Stanzas from it in the last ten seconds, a second.
    pub received_per_second: f64,
    /// Stanzas to it in the last ten seconds, a second.
    pub delivered_per_second: f64,
    /// Stanzas from it that were answered with an error in the last minute.
    pub bounced_last_minute: u64,
    /// Half of the deliveries of the last minute took no longer, as far as the buckets tell.
    pub delivery_p50_us: Option<u64>,
    /// 99 of 100 took no longer.
    pub delivery_p99_us: Option<u64>,
    /// Users who live there; of partners 0.
    pub users: u64,
    /// Users moved there today (UTC).
    pub moved_today: u64,
    /// Its nodes.
    pub nodes: u64,
    /// Of these, those that failed last.
    pub nodes_failing: u64,
}

/// One second of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LivePoint {
    /// When, in seconds since 1970.
    pub at_unix: u64,
    /// Stanzas received in that second.
    pub received: u64,
    /// Stanzas delivered in it.
    pub delivered: u64,
    /// Stanzas answered with an error in it.
    pub bounced: u64,
    /// Stanzas held at its end.
    pub held: u64,
}

/// The body of `POST /api/moves`: `users`, or all who live in the home `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveJobRequest {
    /// Bare addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// All who live in this home.
    #[schema(example = "legacy")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of those, the ones whose address begins with this.
    #[serde(default)]
    pub prefix: String,
    /// The name of the new home.
    #[schema(example = "sfb2019")]
    pub home: String,
    /// Users moved at a time; their stanzas are held together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub batch: Option<u32>,
    /// Only count who would be moved.
    #[serde(default)]
    pub dry_run: bool,
}

/// A move of many users, as far as it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveJob {
    /// Its number; 0 of a dry run.
    pub id: u64,
    /// Who asked for it.
    pub who: String,
    /// The new home.
    pub home: String,
    /// `running`, `cancelling`, `done`, `cancelled`, `failed` or `dry_run`.
    pub state: String,
    /// Users it is about.
    pub total: u64,
    /// Users looked after: moved, or there already.
    pub done: u64,
    /// Users who have another home than before.
    pub moved: u64,
    /// Batches that were moved before everything under way had arrived.
    pub late_batches: u64,
    /// Longest time a batch's stanzas were held.
    pub held_millis_max: u64,
    /// A restart remembers all who were moved.
    #[serde(default)]
    pub remembered: bool,
    /// When it began, in milliseconds since 1970.
    pub begun_unix_millis: u64,
    /// When it ended.
    pub ended_unix_millis: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The first users it is about.
    pub first_users: Vec<String>,
}

/// `GET /api/moves`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MovesAnswer {
    /// The newest first.
    pub moves: Vec<MoveJob>,
}

/// How a partner does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PartnerHealth {
    /// `good`, `connecting`, `idle` or `trouble`; `unknown` where a shard did not answer.
    pub state: String,
    /// Streams the partner has opened and proven itself on.
    pub streams_in: u64,
    /// Streams to it.
    pub streams_out: u64,
    /// Stanzas that wait for it.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Stanzas from it in the last seconds, a second; absent until it was asked for twice.
    pub received_per_second: Option<f64>,
    /// Stanzas to it, likewise.
    pub delivered_per_second: Option<f64>,
    /// Until when the certificate is valid that it shows, in seconds since 1970; of several the one that ends first.
    pub certificate_until_unix: Option<i64>,
    /// Days until then.
    pub certificate_days_left: Option<i64>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// The last good word about it.
    pub last_good: Option<Word>,
    /// The last error, in words.
    pub last_error: Option<Word>,
}

/// Something that was said, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Word {
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// What, as the log has it.
    pub text: String,
}

/// `GET /api/links`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinksAnswer {
    /// One page, by their names.
    pub links: Vec<LinkAnswer>,
    /// There may be more; ask again with this as `after`.
    pub next_after: Option<String>,
}

/// A connection, and the stream on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkAnswer {
    /// Its name, as the log has it.
    pub link: String,
    /// `partners` or the name of a home.
    pub side: String,
    /// `in`: the peer opened it; `out`: we did.
    pub direction: String,
    /// Who we are on it.
    pub ours: String,
    /// Who the peer is, as far as it has proven it.
    pub theirs: Vec<String>,
    /// Where the stream stands.
    pub state: String,
    /// The version of TLS; empty without.
    pub tls: String,
    /// `certificate` or `dialback`; empty where nothing is proven.
    pub proof: String,
    /// The address of a peer that came to us.
    pub address: String,
    /// Who issued its certificate.
    pub issuer: String,
    /// Until when that is valid, in seconds since 1970.
    pub certificate_until_unix: Option<i64>,
    /// It acknowledges stanzas.
    pub acknowledged: bool,
    /// It goes on with a stream that had broken off.
    pub resumed: bool,
    /// Stanzas go both ways on it.
    pub both_ways: bool,
    /// Stanzas that came on it and were given a way.
    pub received: u64,
    /// Stanzas that went on it and that the next hop has; 0 on those of a pool, as its sessions belong to no link.
    pub delivered: u64,
    /// Stanzas written to it that the next hop does not have yet.
    pub stanzas: u64,
    /// Bytes given to it and not yet to the kernel.
    pub unwritten_bytes: u64,
    /// How long the peer has said nothing, where that is known.
    pub silent_seconds: Option<u64>,
}

/// `GET /api/queues`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuesAnswer {
    /// Those with most waiting first.
    pub queues: Vec<QueueAnswer>,
    /// Stanzas held in all, wherever.
    pub held: u64,
    /// Bytes in spools in all.
    pub spool_bytes: u64,
}

/// What waits for one destination on one shard: its spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueAnswer {
    /// `partners` or the name of a home.
    pub side: String,
    /// The shard.
    pub shard: u16,
    /// The domain we speak for; empty for a node of a pool.
    pub ours: String,
    /// The domain or node.
    pub theirs: String,
    /// `idle`, `connecting`, `open`, `blocked`, `closing` or `resting`.
    pub state: String,
    /// Stanzas that wait.
    pub stanzas: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When it is tried again.
    pub again_seconds: Option<u64>,
}

/// `GET /api/dialogs` and `GET /api/subscriptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAnswer {
    /// One page; it may be short, or empty, before the last one.
    pub rows: Vec<OpenRow>,
    /// There may be more; ask again with this as `after`.
    pub next_after: Option<String>,
}

/// Something open between a local user and a partner's user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenRow {
    /// `dialog`, `watch` (we have subscribed at the home) or `subscription` (it has subscribed here).
    pub what: String,
    /// The home.
    pub home: String,
    /// The local user.
    pub user: String,
    /// The partner's user.
    pub partner: String,
    /// How it stands.
    pub text: String,
}

/// `GET /api/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceAnswer {
    /// What is remembered: `off`, `failures` or `all`.
    pub mode: String,
    /// Of whom alone; empty is everybody.
    pub only: Vec<String>,
    /// The newest first.
    pub steps: Vec<TraceStep>,
}

/// One step of one stanza.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceStep {
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// The shard it was on.
    pub shard: u16,
    /// The stanza's id; empty without one.
    pub id: String,
    /// The sender, bare.
    pub from: String,
    /// The recipient, bare.
    pub to: String,
    /// Its element: `message`, `presence` or `iq`.
    pub element: String,
    /// The router made it: an answer or a bounce.
    pub made: bool,
    /// `arrived`, `held`, `waits`, `handed over`, `given`, `delivered`, `given back`, `bounced` or `dropped`.
    pub step: String,
    /// Where: the side it came from, for what arrived or was refused, else the side it goes to.
    pub side: String,
    /// Why, where it was refused; the rule, where it was dropped.
    pub why: Option<String>,
}

/// The body of `PUT /api/trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// `off`, `failures` or `all`.
    #[schema(example = "failures")]
    pub mode: String,
    /// Only stanzas to or from these: bare addresses or domains, at most 32. Empty is everybody.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub only: Vec<String>,
}

/// `GET` and `PUT /api/log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    /// A level, `error`, `warn`, `info`, `debug`, `trace`, or filters in the manner of `RUST_LOG`.
    #[schema(max_length = 200, example = "info")]
    pub filter: String,
}

/// `GET /api/certificates`: those we show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificatesAnswer {
    /// The one that ends first, first.
    pub certificates: Vec<CertificateAnswer>,
}

/// A certificate of ours, as it is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateAnswer {
    /// The file.
    pub file: String,
    /// The keys of the configuration that name it.
    pub used_by: Vec<String>,
    /// The names in it.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub not_after_unix: i64,
    /// Whole days until then; below 0 when it has ended.
    pub days_left: i64,
}

/// `GET /api/audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditAnswer {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// There are older ones; ask again with this as `before`.
    pub next_before: Option<u64>,
    /// Requests turned away since the start, as they showed no token that is known.
    pub strangers: u64,
}

/// A change an administrator made, or wanted to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Grows by one with each.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// The name of the token.
    pub who: String,
    /// The address he came from.
    pub from: String,
    /// Method and path.
    pub action: String,
    /// What came of it, in words.
    pub result: String,
    /// The status of the answer.
    pub status: u16,
}

/// `GET /api/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventsAnswer {
    /// The newest first.
    pub events: Vec<EventAnswer>,
    /// There may be older ones; ask again with this as `before`.
    pub next_before: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventAnswer {
    /// Grows by one with each.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// `note` (a line of the log), `audit`, `move` or `reload`.
    pub kind: String,
    /// What it is, by kind.
    pub data: BTreeMap<String, serde_json::Value>,
}

/// The answer to `POST /api/reload/preview`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewAnswer {
    /// What a reload would change.
    pub diff: ReloadDiff,
}

/// The answer to a change that has nothing more to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// What was done, or is being done.
    pub accepted: String,
}
