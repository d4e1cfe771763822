//! Alive and ready. Invariant: alive means that every shard's loop turns. A shard that has nothing to do still turns once a second,
//! so one whose counter stands still for [`STALL_SECONDS`] is stuck; only a restart helps then. Ready means alive, listening,
//! knowing the users, able to write down what users allow each other, and not on the way out: a balancer looks at this one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answers::HealthAnswer;
use super::{App, Shared, pulse};
use crate::look::Look;

/// How long a shard's counter may stand still.
pub(super) const STALL_SECONDS: u64 = 10;

/// How often the counters are looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What is known of the shards' loops.
#[derive(Debug, Default)]
pub(super) struct Watch {
    shards: Vec<(u64, Instant)>,
    looked: Option<Instant>,
}

impl Watch {
    /// Takes note of the counters.
    pub(super) fn observe(&mut self, now: Instant, look: &Look) {
        self.looked = Some(now);
        self.shards.truncate(look.shards.len());
        for (index, shard) in look.shards.iter().enumerate() {
            let turns = shard.tally.turns;
            match self.shards.get_mut(index) {
                Some(seen) if seen.0 != turns => *seen = (turns, now),
                Some(_) => (),
                None => self.shards.push((turns, now)),
            }
        }
    }

    /// What stands against calling the process alive.
    pub(super) fn complaints(&self, now: Instant) -> Vec<String> {
        let stall = Duration::from_secs(STALL_SECONDS);
        let too_old = |at: Instant| now.saturating_duration_since(at) > stall;
        let mut complaints = Vec::new();
        if self.looked.is_some_and(too_old) {
            complaints.push(format!("the control task has not answered for {STALL_SECONDS} seconds"));
            return complaints;
        }
        for (shard, (_, moved)) in self.shards.iter().enumerate() {
            if too_old(*moved) {
                complaints.push(format!("shard {shard} has not turned for {STALL_SECONDS} seconds"));
            }
        }
        complaints
    }
}

/// Looks at the counters from time to time, until the desk is closed.
pub(super) async fn watch(app: Arc<App>) {
    while !app.desk.asks.is_closed() {
        if let Ok(look) = app.desk.look().await {
            app.watch().observe(crate::clock::now(), &look);
            feel(&app, &look).await;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Takes the pulse, and counts users where the directory is another one than before.
async fn feel(app: &App, look: &Look) {
    let wanted = app.pulse().wants_base(look);
    if let Some(directory) = wanted {
        let homes = look.world.homes.places();
        if let Ok(census) = tokio::task::spawn_blocking(move || pulse::count(&directory, homes)).await {
            app.pulse().set_base(look, census);
        }
    }
    let alive = app.watch().complaints(crate::clock::now()).is_empty();
    let moves = app.jobs.live(crate::clock::unix_millis());
    app.pulse().take(look, moves, alive);
}

/// Whether every shard's loop turns: restart the process when not.
#[utoipa::path(get, path = "/healthz", tag = "status", security(()), responses(
    (status = 200, body = HealthAnswer), (status = 503, body = HealthAnswer)
))]
pub(super) async fn healthz(State(app): Shared) -> Response {
    answer(app.watch().complaints(crate::clock::now()))
}

/// Whether it may be sent traffic.
#[utoipa::path(get, path = "/readyz", tag = "status", security(()), responses(
    (status = 200, body = HealthAnswer), (status = 503, body = HealthAnswer)
))]
pub(super) async fn readyz(State(app): Shared) -> Response {
    let mut complaints = app.watch().complaints(crate::clock::now());
    match app.desk.look().await {
        Ok(look) => complaints.extend(unready(&look)),
        Err(_) => complaints.push("the router does not answer".to_owned()),
    }
    answer(complaints)
}

/// What stands against sending traffic here.
fn unready(look: &Look) -> Vec<String> {
    let mut complaints = Vec::new();
    if look.draining {
        complaints.push("the router is stopping".to_owned());
    }
    if look.addresses.is_empty() {
        complaints.push("nothing is listening".to_owned());
    }
    if look.standing.confirmed_unix == 0 {
        complaints.push("the directory has not been loaded".to_owned());
    }
    if let Some(why) = look.store.as_ref().and_then(|store| store.failing.as_ref()) {
        complaints.push(format!("the store of contacts cannot be written: {why}"));
    }
    if let Some(why) = look.spool.as_ref().and_then(|spool| spool.failing.as_ref()) {
        complaints.push(format!("the spool cannot be written: {why}"));
    }
    complaints
}

fn answer(because: Vec<String>) -> Response {
    let ok = because.is_empty();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(HealthAnswer { ok, because })).into_response()
}
