//! What is running: metrics, status, partners, homes. Invariant: answers are made from one [`Look`] each, so their parts agree.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use turnout_core::home::BackendKind;
use turnout_core::policy::Unlisted;
use turnout_core::refusal::Condition;
use turnout_core::tally::{DropRule, Flow, Histogram, LATENCY_BOUNDS_US, SideTally};

use super::Shared;
use super::answers::{
    DirectoryStatus, FlowStatus, HomeAnswer, HomesAnswer, Listener, NodeAnswer, PartnerAnswer,
    PartnersAnswer, ShardStatus, SideStatus, Stanzas, Status,
};
use super::problem::Failure;
use crate::look::{Look, ShardLook};
use crate::metrics;

/// `GET /metrics`.
pub(super) async fn metrics(State(app): Shared) -> Result<Response, Failure> {
    let look = app.desk.look().await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&look)).into_response())
}

/// `GET /api/status`.
pub(super) async fn status(State(app): Shared) -> Result<Json<Status>, Failure> {
    let look = app.desk.look().await?;
    let alive = app.watch().complaints(crate::clock::now()).is_empty();
    Ok(Json(of(&look, alive)))
}

/// `GET /api/partners`.
pub(super) async fn partners(State(app): Shared) -> Result<Json<PartnersAnswer>, Failure> {
    let look = app.desk.look().await?;
    let policy = &look.world.policy;
    let partners = policy.iter().map(|(_, partner)| PartnerAnswer {
        domain: partner.domain.as_str().to_owned(),
        additional_domains: partner
            .additional_domains
            .iter()
            .map(|domain| domain.as_str().to_owned())
            .collect(),
        kind: partner.kind.as_str().to_owned(),
        tls: partner.tls.as_str().to_owned(),
        sasl: partner.sasl.as_str().to_owned(),
        dialback: partner.dialback,
        require_tls_for_dialback: partner.require_tls_for_dialback,
        proxy: partner.proxy.as_ref().map(ToString::to_string),
    });
    let unlisted = match policy.unlisted() {
        Unlisted::Refuse => "refuse",
        Unlisted::Allow => "allow",
    };
    Ok(Json(PartnersAnswer { unlisted: unlisted.to_owned(), partners: partners.collect() }))
}

/// `GET /api/homes`.
pub(super) async fn homes(State(app): Shared) -> Result<Json<HomesAnswer>, Failure> {
    let look = app.desk.look().await?;
    let (totals, nodes) = (look.totals(), look.nodes());
    let homes = look.world.homes.iter().map(|(_, home)| HomeAnswer {
        name: home.name.clone(),
        backend: home.backend.as_str().to_owned(),
        dialect: (home.backend == BackendKind::Sip).then(|| home.dialect.as_str().to_owned()),
        registrar_pools: home.registrar_pools.clone(),
        links: totals.sides.iter().find(|(name, _)| *name == home.name).map_or(0, |(_, side)| side.links),
        nodes: nodes
            .iter()
            .filter(|node| node.home == home.name)
            .map(|node| NodeAnswer {
                node: node.node.clone(),
                healthy: node.failures == 0,
                failures: node.failures,
                resting_shards: node.resting_shards,
            })
            .collect(),
    });
    Ok(Json(HomesAnswer { homes: homes.collect() }))
}

/// The status of a look.
pub(super) fn of(look: &Look, alive: bool) -> Status {
    let totals = look.totals();
    let conditions = Condition::ALL.into_iter().zip(totals.refusals).filter(|(_, count)| *count > 0);
    let listeners = look.addresses.iter();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        driver: look.driver.to_owned(),
        started_unix: look.started_unix,
        uptime_seconds: look.now_unix.saturating_sub(look.started_unix),
        generation: look.world.generation,
        draining: look.draining,
        alive,
        domains: look.world.domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
        listeners: listeners
            .map(|(key, at)| Listener { key: key.clone(), address: at.to_string() })
            .collect(),
        directory: DirectoryStatus {
            users: look.directory.snapshot().len() as u64,
            changed_users: look.directory.overlay().len() as u64,
            loaded_unix: look.standing.confirmed_unix,
            age_seconds: look.directory_age_seconds(),
            source: look.standing.source.to_owned(),
            server: look.standing.server.clone(),
            from_disk: look.standing.from_disk,
            failing: look.standing.failing.clone(),
            classes: look.standing.classes.by_name().map(|(class, users)| (class.to_owned(), users)).into(),
        },
        stanzas: Stanzas {
            passed: flow(&totals.passed),
            made: flow(&totals.made),
            held: totals.held,
            unaccounted: totals.unaccounted,
            sums_agree: totals.unaccounted == 0,
        },
        refusals: conditions.map(|(condition, count)| (condition.as_str().to_owned(), count)).collect(),
        sides: totals.sides.iter().map(|(name, tally)| side(name, tally)).collect(),
        shards: look.shards.iter().map(shard).collect(),
        spool_bytes: totals.spooled_bytes,
        moving_users: totals.moving_users,
        contacts: totals.contacts.by_state().map(|(state, count)| (state.to_owned(), count)).into(),
        presence_waiting: totals.presence_waiting,
        wishes_waiting: totals.wishes_waiting,
    }
}

fn flow(flow: &Flow) -> FlowStatus {
    let rules = DropRule::ALL.into_iter().zip(flow.dropped).filter(|(_, count)| *count > 0);
    let dropped_by_rule: BTreeMap<String, u64> =
        rules.map(|(rule, count)| (rule.as_str().to_owned(), count)).collect();
    FlowStatus {
        received: flow.received,
        delivered: flow.delivered,
        bounced: flow.bounced,
        dropped: flow.dropped_total(),
        dropped_by_rule,
        between_shards: flow.handed_out.wrapping_sub(flow.handed_in).cast_signed(),
    }
}

fn side(name: &str, tally: &SideTally) -> SideStatus {
    SideStatus {
        name: name.to_owned(),
        links: tally.links,
        watches: tally.watches,
        subscriptions: tally.subscriptions,
        received: tally.received,
        delivered: tally.delivered,
        bounced: tally.bounced,
        accepted: tally.accepted,
        dialed: tally.dialed,
        failed: tally.failed,
        faults: tally.faults,
        delivery_p50_us: quantile_us(&tally.latency, 50),
        delivery_p99_us: quantile_us(&tally.latency, 99),
    }
}

fn shard(shard: &ShardLook) -> ShardStatus {
    ShardStatus {
        turns: shard.tally.turns,
        links: shard.links(),
        held: shard.tally.held,
        received: shard.tally.passed.received + shard.tally.made.received,
    }
}

/// The upper bound of the bucket that holds the observation at this percentage; for the last bucket, which has none, the lower.
pub(super) fn quantile_us(histogram: &Histogram, percent: u64) -> Option<u64> {
    let count = histogram.count();
    let rank = (u128::from(count) * u128::from(percent)).div_ceil(100).max(1);
    let mut below = 0_u128;
    let at = histogram.buckets.iter().position(|bucket| {
        below += u128::from(*bucket);
        below >= rank
    })?;
    LATENCY_BOUNDS_US.get(at).or(LATENCY_BOUNDS_US.last()).copied()
}
