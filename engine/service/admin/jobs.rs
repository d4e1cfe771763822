//! Moves of many users, with progress and cancel. Invariant: users are moved a batch at a time, each batch whole or not at all; who was moved
//! when a job is cancelled or fails stays where he is then, and the job says how many those are. At most [`RUNNING_MAX`] jobs run, and
//! [`JOBS_MAX`] are remembered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use turnout_core::directory::{Directory, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::jid::Jid;
use turnout_core::limits::MOVE_USERS_MAX;

use super::audit::Said;
use super::problem::Failure;
use super::users::{home, unknown, user};
use super::views::{MoveJob, MoveJobRequest, MovesAnswer};
use super::{App, Ask, Shared};
use crate::access::Caller;

/// Jobs remembered.
const JOBS_MAX: usize = 50;

/// Jobs that run at a time.
const RUNNING_MAX: usize = 4;

/// Users in a batch unless asked otherwise.
const BATCH: u32 = 100;

/// Most users in a batch.
const BATCH_MAX: u32 = 1_000;

/// Users whose names a job shows.
const SHOWN_MAX: usize = 20;

/// How long a job that has ended is told of among what is live, in milliseconds.
const FRESH_MILLIS: u64 = 60_000;

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    kept: Mutex<(u64, VecDeque<MoveJob>)>,
}

impl Jobs {
    /// Those that run, and those that have just ended; the newest first.
    pub(super) fn live(&self, now_unix_millis: u64) -> Vec<MoveJob> {
        let is_fresh = |job: &MoveJob| {
            job.ended_unix_millis.is_none_or(|ended| now_unix_millis.saturating_sub(ended) < FRESH_MILLIS)
        };
        self.with(|jobs| jobs.iter().rev().filter(|job| is_fresh(job)).take(10).cloned().collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut VecDeque<MoveJob>) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Begins a job; `None` where too many run.
    fn begin(&self, mut job: MoveJob) -> Option<MoveJob> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let running = kept.1.iter().filter(|job| job.ended_unix_millis.is_none()).count();
        if running >= RUNNING_MAX {
            return None;
        }
        kept.0 += 1;
        job.id = kept.0;
        if kept.1.len() >= JOBS_MAX
            && let Some(oldest) = kept.1.iter().position(|job| job.ended_unix_millis.is_some())
        {
            kept.1.remove(oldest);
        }
        kept.1.push_back(job.clone());
        Some(job)
    }

    fn change<T>(&self, id: u64, work: impl FnOnce(&mut MoveJob) -> T) -> Option<T> {
        self.with(|jobs| jobs.iter_mut().find(|job| job.id == id).map(work))
    }
}

/// Moves of many users, the newest first.
#[utoipa::path(get, path = "/api/moves", tag = "moves", responses((status = 200, body = MovesAnswer)))]
pub(super) async fn list(State(app): Shared) -> Json<MovesAnswer> {
    Json(MovesAnswer { moves: app.jobs.with(|jobs| jobs.iter().rev().cloned().collect()) })
}

/// One of them.
#[utoipa::path(get, path = "/api/moves/{id}", tag = "moves", params(("id" = u64, Path, description = "Its number", example = 1)), responses(
    (status = 200, body = MoveJob), (status = 400, body = super::answers::Problem), (status = 404, body = super::answers::Problem)
))]
pub(super) async fn show(
    State(app): Shared,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<MoveJob>, Failure> {
    let id = number(id)?;
    app.jobs.change(id, |job| job.clone()).map(Json).ok_or_else(|| no_job(id))
}

/// Ends one after the batch that is under way. Who was moved stays moved.
#[utoipa::path(delete, path = "/api/moves/{id}", tag = "moves", params(("id" = u64, Path, description = "Its number", example = 1)), responses(
    (status = 200, body = MoveJob), (status = 400, body = super::answers::Problem),
    (status = 404, body = super::answers::Problem), (status = 409, body = super::answers::Problem)
))]
pub(super) async fn cancel(
    State(app): Shared,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, Failure> {
    let id = number(id)?;
    let cancelled = app.jobs.change(id, |job| {
        let was_running = job.ended_unix_millis.is_none();
        if was_running {
            "cancelling".clone_into(&mut job.state);
        }
        (was_running, job.clone())
    });
    match cancelled {
        None => Err(no_job(id)),
        Some((false, job)) => {
            let error = format!("move {id} has ended already: {}", job.state);
            Err(Failure::new(StatusCode::CONFLICT, error, "to move its users back, begin another move"))
        }
        Some((true, job)) => {
            let said = Said(format!("move {id} ends after {} of {} users", job.done, job.total));
            Ok((Extension(said), Json(job)).into_response())
        }
    }
}

/// Begins a move of many users, in batches.
#[utoipa::path(post, path = "/api/moves", tag = "moves", request_body = MoveJobRequest, responses(
    (status = 202, body = MoveJob), (status = 200, description = "A dry run", body = MoveJob),
    (status = 400, body = super::answers::Problem), (status = 404, body = super::answers::Problem),
    (status = 409, body = super::answers::Problem), (status = 413, body = super::answers::Problem),
    (status = 503, body = super::answers::Problem)
))]
pub(super) async fn begin(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let request: MoveJobRequest = serde_json::from_slice(&body?).map_err(|error| {
        Failure::bad_request(
            format!("the body is no move: {error}"),
            r#"send {"users": [...], "home": "NAME"} or {"from": "NAME", "home": "NAME"}"#,
        )
    })?;
    let batch = request.batch.unwrap_or(BATCH);
    if batch == 0 || batch > BATCH_MAX {
        let hint = format!("move 1 to {BATCH_MAX} users at a time");
        return Err(Failure::bad_request(format!("batch is {batch}"), hint));
    }
    let look = app.desk.look().await?;
    if look.draining && !request.dry_run {
        return Err(Failure::unavailable("the router is stopping", "move users when it has started anew"));
    }
    let target = home(&look.world, &request.home)?;
    let users = match (request.users, request.from) {
        (Some(users), None) if !users.is_empty() => named(&look.directory, &users)?,
        (None, Some(from)) => {
            let from = home(&look.world, &from)?;
            all_of(&app, look.directory.clone(), from, request.prefix).await?
        }
        _ => {
            let hint = "give one of users and from";
            return Err(Failure::bad_request("the move names no users, or two ways", hint));
        }
    };
    let is_there = |jid: &Jid| {
        look.directory.look_up(jid.bare_str()).map(|user| user.residence) == Some(Residence::Home(target))
    };
    let job = MoveJob {
        who: caller.name.to_string(),
        home: request.home,
        state: if request.dry_run { "dry_run" } else { "running" }.to_owned(),
        total: users.len() as u64,
        remembered: true,
        moved: if request.dry_run { users.iter().filter(|jid| !is_there(jid)).count() as u64 } else { 0 },
        begun_unix_millis: crate::clock::unix_millis(),
        first_users: users.iter().take(SHOWN_MAX).map(|jid| jid.as_str().to_owned()).collect(),
        ..MoveJob::default()
    };
    if request.dry_run {
        let said = Said(format!("only counted: {} users to {}", job.moved, job.home));
        return Ok((Extension(said), Json(job)).into_response());
    }
    let job = app.jobs.begin(job).ok_or_else(|| {
        let error = format!("{RUNNING_MAX} moves are running already");
        Failure::new(StatusCode::CONFLICT, error, "wait for one of them to end, or cancel it")
    })?;
    tell(&app, &job);
    let said = Said(format!("move {}: {} users to {}", job.id, job.total, job.home));
    tokio::spawn(run(Arc::clone(&app), job.id, job.home.clone(), users, batch as usize));
    Ok((StatusCode::ACCEPTED, Extension(said), Json(job)).into_response())
}

/// Moves the users of a job, a batch after the other.
async fn run(app: Arc<App>, id: u64, home: String, users: Vec<Jid>, batch: usize) {
    let mut state = "done";
    for part in users.chunks(batch) {
        if app.jobs.change(id, |job| job.state == "cancelling").unwrap_or(true) {
            state = "cancelled";
            break;
        }
        let (part, home) = (part.to_vec(), home.clone());
        let count = part.len() as u64;
        let moved = match app.desk.ask(|done| Ask::Move(part, home, done)).await {
            Ok(moved) => moved,
            Err(_) => Err("the router is stopping".to_owned()),
        };
        let failed = app.jobs.change(id, |job| match moved {
            Ok(moved) => {
                job.done += count;
                job.moved += moved.users;
                job.late_batches += u64::from(!moved.in_time);
                job.held_millis_max = job.held_millis_max.max(moved.held_millis);
                job.remembered &= moved.remembered;
                false
            }
            Err(error) => {
                job.error = Some(error);
                true
            }
        });
        if failed != Some(false) {
            state = "failed";
            break;
        }
    }
    app.jobs.change(id, |job| {
        state.clone_into(&mut job.state);
        job.ended_unix_millis = Some(crate::clock::unix_millis());
    });
    if let Some(job) = app.jobs.change(id, |job| job.clone()) {
        let MoveJob { who, home, state, total, done, moved, late_batches, .. } = &job;
        tracing::info!(
            event = "move.ended",
            id,
            who,
            home,
            state,
            total,
            done,
            moved,
            late_batches,
            "a move of many users has ended"
        );
        tell(&app, &job);
    }
}

fn tell(app: &App, job: &MoveJob) {
    let data = serde_json::to_value(job).unwrap_or_default();
    app.feed.add(crate::clock::unix_millis(), "move", data);
}

fn named(directory: &Directory, names: &[String]) -> Result<Vec<Jid>, Failure> {
    if names.len() > MOVE_USERS_MAX {
        return Err(too_many(names.len()));
    }
    let known = |name: &String| {
        let jid = user(name)?;
        directory.look_up(jid.bare_str()).map(|_| jid.clone()).ok_or_else(|| unknown(&jid))
    };
    names.iter().map(known).collect()
}

/// Everybody who lives there, in the order of the addresses.
async fn all_of(app: &App, directory: Directory, from: HomeId, prefix: String) -> Result<Vec<Jid>, Failure> {
    let closed = |_| Failure::unavailable("the router is stopping", "");
    let _place = app.listings.acquire().await.map_err(closed)?;
    let prefix = prefix.to_lowercase();
    let found = tokio::task::spawn_blocking(move || {
        let (mut found, mut bare) = (Vec::new(), String::new());
        let is_wanted =
            |bare: &str, user: &User| user.residence == Residence::Home(from) && bare.starts_with(&prefix);
        for (local, domain, user) in directory.snapshot().iter() {
            bare.clear();
            bare.extend([local, "@", domain]);
            let now = directory.overlay().look_up(&bare).unwrap_or(user);
            if is_wanted(&bare, &now) && found.len() <= MOVE_USERS_MAX {
                found.extend(Jid::parse(&bare).ok());
            }
        }
        directory.overlay().for_each(|bare, user| {
            let is_new = directory.snapshot().look_up(bare).is_none();
            if is_new && is_wanted(bare, &user) && found.len() <= MOVE_USERS_MAX {
                found.extend(Jid::parse(bare).ok());
            }
        });
        found.sort_unstable_by(|a: &Jid, b: &Jid| a.as_str().cmp(b.as_str()));
        found
    });
    let failed = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the listing failed", "see the log");
    let found = found.await.map_err(failed)?;
    if found.len() > MOVE_USERS_MAX {
        return Err(too_many(found.len()));
    }
    Ok(found)
}

fn too_many(count: usize) -> Failure {
    let error = format!("the move is about {count} users or more");
    let hint = format!("move at most {MOVE_USERS_MAX} in one job; a prefix makes it fewer");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, hint)
}

fn number(id: Result<Path<u64>, PathRejection>) -> Result<u64, Failure> {
    id.map(|Path(id)| id).map_err(|rejection| Failure::bad_request(rejection.body_text(), "give a number"))
}

fn no_job(id: u64) -> Failure {
    Failure::not_found(format!("there is no move {id}"), "GET /api/moves lists those that are remembered")
}
