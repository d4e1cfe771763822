//! What the admin API says and is told, as JSON. Invariant: the server writes and the command line reads these same types, so
//! the two cannot drift apart; names end in their unit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::views::PartnerHealth;
use crate::router::ReloadDiff;

/// An error: every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// `GET /api/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// The driver in use.
    pub driver: String,
    /// When the router started, in seconds since 1970.
    pub started_unix: u64,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// Generation of the configuration: 1, and one more after each reload.
    pub generation: u64,
    /// Whether it is stopping.
    pub draining: bool,
    /// Whether every shard's loop turns.
    pub alive: bool,
    /// The local domains.
    pub domains: Vec<String>,
    /// Bound addresses by configuration key.
    pub listeners: Vec<Listener>,
    /// The users.
    pub directory: DirectoryStatus,
    /// What became of every stanza.
    pub stanzas: Stanzas,
    /// Stanzas refused, by condition; conditions that did not occur are left out.
    pub refusals: BTreeMap<String, u64>,
    /// Partners first, then the homes.
    pub sides: Vec<SideStatus>,
    /// By number.
    pub shards: Vec<ShardStatus>,
    /// Bytes of stanzas in spools.
    pub spool_bytes: u64,
    /// Users held for a move.
    pub moving_users: u64,
    /// Contacts of local users, by state: `none`, `to`, `from` and `both` make up the whole; `asked`, `asking` and `vetoed` are
    /// marks beside.
    pub contacts: BTreeMap<String, u64>,
    /// Presence stanzas that wait for the store or for their turn.
    pub presence_waiting: u64,
    /// Questions of the router's own about presence that wait for their turn, or for a home that could not be reached.
    pub wishes_waiting: u64,
}

/// A bound address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Listener {
    /// The key of the configuration.
    pub key: String,
    /// The address, with the port in use.
    pub address: String,
}

/// The directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DirectoryStatus {
    /// Users as the source gave them.
    pub users: u64,
    /// Users moved by hand whom the source does not show in their new home yet.
    pub changed_users: u64,
    /// When its source was known to say so, in seconds since 1970.
    pub loaded_unix: u64,
    /// How long ago that was.
    pub age_seconds: u64,
    /// `csv` or `ldap`.
    pub source: String,
    /// The directory server that was read last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The users are those of the last good load, from the disk: the source could not be had at the start.
    pub from_disk: bool,
    /// Why the last look at the source failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Users by class: `home`, `cloud`, `unassigned`, `branch`, `unknown_pool`; those whom a server is moving are `moving` as well.
    pub classes: BTreeMap<String, u64>,
}

/// The sum check: `received = delivered + bounced + dropped + held + between_shards`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Stanzas {
    /// From outside.
    pub passed: FlowStatus,
    /// Answers and bounces of the router's own.
    pub made: FlowStatus,
    /// Held now, of both.
    pub held: u64,
    /// Stanzas the sums cannot explain; anything but 0 is a fault of the router.
    pub unaccounted: u64,
    /// Whether the sums are right.
    pub sums_agree: bool,
}

/// One class of stanzas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlowStatus {
    /// Entered the router.
    pub received: u64,
    /// The next hop has it.
    pub delivered: u64,
    /// Answered with an error.
    pub bounced: u64,
    /// Dropped, all rules together.
    pub dropped: u64,
    /// Dropped, by rule; rules that were not used are left out.
    pub dropped_by_rule: BTreeMap<String, u64>,
    /// Handed from one shard to another and not taken yet; the copies of two shards may be 100 ms apart, so this may be
    /// off by as much, and below 0.
    pub between_shards: i64,
}

/// A side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SideStatus {
    /// `partners` or the name of a home.
    pub name: String,
    /// Links open now.
    pub links: u64,
    /// Subscriptions to presence we have there.
    pub watches: u64,
    /// Subscriptions to presence it has here.
    pub subscriptions: u64,
    /// Stanzas received from it.
    pub received: u64,
    /// Stanzas delivered to it.
    pub delivered: u64,
    /// Stanzas from it that were answered with an error.
    pub bounced: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections dialed.
    pub dialed: u64,
    /// Dialed connections that failed.
    pub failed: u64,
    /// Links ended by a fault of the peer.
    pub faults: u64,
    /// Half of the deliveries took no longer, as far as the buckets tell; absent before the first.
    pub delivery_p50_us: Option<u64>,
    /// 99 of 100 deliveries took no longer, as far as the buckets tell; absent before the first.
    pub delivery_p99_us: Option<u64>,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShardStatus {
    /// Turns of its loop.
    pub turns: u64,
    /// Links open on it.
    pub links: u64,
    /// Stanzas it holds.
    pub held: u64,
    /// Stanzas that entered the router on it.
    pub received: u64,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserAnswer {
    /// The bare address.
    pub user: String,
    /// The home, where he has one.
    pub home: Option<String>,
    /// `home`, `cloud`, `unassigned`, `branch` or `unknown_pool`.
    pub residence: String,
    /// The pool, where no home names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The account is in use.
    pub enabled: bool,
    /// He may talk to the outside.
    pub federation_enabled: bool,
    /// He may talk to XMPP partners.
    pub xmpp_enabled: bool,
    /// He was moved by hand, and the directory's source does not say so yet.
    pub changed: bool,
    /// Where the source has him, if he was moved by hand: a home's name, or as `residence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_says: Option<String>,
    /// A server is moving him; until it is done he lives where he lived.
    #[serde(default)]
    pub moving: bool,
}

/// `GET /api/users/{jid}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserDetail {
    /// As in a listing.
    #[serde(flatten)]
    pub user: UserAnswer,
    /// His contacts by name; the first so many, if he has very many.
    pub contacts: Vec<ContactAnswer>,
    /// How many contacts he has.
    pub contacts_total: u64,
    /// Stanzas that wait because he is being moved.
    pub held: u64,
    /// Watches, subscriptions and dialogs open for him, by home; a line each, in the words of the protocol his home speaks.
    pub open: BTreeMap<String, Vec<String>>,
}

/// What holds between a local user and a partner's user, seen from the local user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContactAnswer {
    /// The partner's user, bare.
    pub partner: String,
    /// `none`, `to` (the local user may see him), `from` (he may see the local user: he is a watcher) or `both`.
    pub subscription: String,
    /// The local user has asked and has no answer.
    pub asked: bool,
    /// The partner's user has asked and has no answer.
    pub asking: bool,
    /// The partner's user has refused and is not asked again.
    pub vetoed: bool,
    /// The local user has written to him first.
    pub introduced: bool,
    /// Resources of the local user he was shown as available and not yet as gone; empty text is the bare address.
    pub shown: Vec<String>,
}

/// The answer to `DELETE /api/users/{jid}/contacts/{partner}` and `…/veto`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ForgottenAnswer {
    /// The local user.
    pub user: String,
    /// `contact` or `veto`.
    pub forgot: String,
    /// The contact as it was.
    pub was: ContactAnswer,
}

/// `GET /api/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsersAnswer {
    /// One page, in the order of the addresses.
    pub users: Vec<UserAnswer>,
    /// There are more; ask again with this as `after`.
    pub next_after: Option<String>,
}

/// The body of `POST /api/users/move`: one of `user` and `users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// One bare address.
    #[schema(example = "anna@contoso.com")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<String>>,
    /// The name of the new home.
    #[schema(example = "sfb2019")]
    pub home: String,
}

/// The answer to a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MovedAnswer {
    /// Users who have another home than before.
    pub users: u64,
    /// Whether all that was under way on the old side had arrived when they changed.
    pub in_time: bool,
    /// How long their stanzas were held.
    pub held_millis: u64,
    /// Whether a restart will know of it: the source says so, or the store has it on disk.
    pub remembered: bool,
}

/// The answer to `POST /api/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReloadedAnswer {
    /// The new generation of the configuration.
    pub generation: u64,
    /// Users in the directory.
    pub users: u64,
    /// The move that followed from changed homes.
    pub moved: MovedAnswer,
    /// What is different now.
    pub diff: ReloadDiff,
}

/// `GET /api/partners`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartnersAnswer {
    /// What happens to domains that are not listed: `refuse` or `allow`.
    pub unlisted: String,
    /// The listed ones.
    pub partners: Vec<PartnerAnswer>,
}

/// A partner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartnerAnswer {
    /// Its primary domain.
    pub domain: String,
    /// Its further domains.
    pub additional_domains: Vec<String>,
    /// `federated`, `public-verified` or `public-unverified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `required`, `optional` or `none`.
    pub tls: String,
    /// `required`, `optional` or `none`.
    pub sasl: String,
    /// Whether dialback is used.
    pub dialback: bool,
    /// Whether it is used inside TLS only.
    pub require_tls_for_dialback: bool,
    /// Where to connect instead of asking the DNS.
    pub proxy: Option<String>,
    /// How it does.
    pub health: PartnerHealth,
}

/// `GET /api/homes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HomesAnswer {
    /// In the order of the configuration.
    pub homes: Vec<HomeAnswer>,
}

/// A home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HomeAnswer {
    /// Its name.
    pub name: String,
    /// `xmpp` or `sip`.
    pub backend: String,
    /// `skype` or `simple`, of a SIP home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// Pools whose users live here.
    pub registrar_pools: Vec<String>,
    /// Links open now.
    pub links: u64,
    /// Its nodes.
    pub nodes: Vec<NodeAnswer>,
}

/// A node of a home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NodeAnswer {
    /// Host and port.
    pub node: String,
    /// No failure since it last worked.
    pub healthy: bool,
    /// Failures in a row, on the shard that saw most.
    pub failures: u32,
    /// Shards that let it rest.
    pub resting_shards: usize,
}

/// `GET /api/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExplainAnswer {
    /// The sender, prepared.
    pub from: String,
    /// The recipient, prepared.
    pub to: String,
    /// The side it is taken to come from.
    pub side: String,
    /// `home NAME`, `partner DOMAIN`, or `router`; absent when it is refused.
    pub route: Option<String>,
    /// Why it is refused.
    pub refusal: Option<RefusalAnswer>,
    /// What was looked at, in order.
    pub steps: Vec<StepAnswer>,
}

/// `POST /api/selftest`, what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRequest {
    /// The local user in whose name.
    #[schema(example = "anna@contoso.com")]
    pub from: String,
    /// The partner's user.
    #[schema(example = "bob@partner.example")]
    pub to: String,
}

/// `POST /api/selftest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrialAnswer {
    /// The partner's server has the message.
    pub delivered: bool,
    /// How long that took, in milliseconds.
    pub millis: u64,
    /// Why it has not.
    pub refusal: Option<RefusalAnswer>,
}

/// `POST /api/probe`, what is asked. The answer is that of `turnout probe --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// The partner's domain.
    #[schema(example = "partner.example")]
    pub partner: String,
    /// The local domain in whose name; without it the first of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefusalAnswer {
    /// The condition of the stanza error.
    pub condition: String,
    /// Its type.
    pub error_type: String,
    /// Whose fault it is.
    pub blame: String,
    /// What the sender is told.
    pub text: String,
    /// What only the operator is told.
    pub detail: Option<String>,
    /// The rule by which the sender is not told at all.
    pub dropped_by: Option<String>,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StepAnswer {
    /// The row of `docs/routing.md`.
    pub rule: String,
    /// What it said.
    pub finding: String,
}

/// `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HealthAnswer {
    /// The answer in one word.
    pub ok: bool,
    /// What stands against it, if anything.
    pub because: Vec<String>,
}
