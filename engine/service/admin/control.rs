//! The process itself: who asks, reload and what it would change, the log's filter, the way out. Invariant: nothing here is done without
//! the role `operate`, and each change says for the audit what came of it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::answers::{Problem, ReloadedAnswer};
use super::audit::Said;
use super::problem::Failure;
use super::views::{Accepted, LogFilter, PreviewAnswer, WhoAmI};
use super::{Ask, Shared};
use crate::access::Caller;

/// Longest filter.
const FILTER_BYTES_MAX: usize = 200;

/// Who the token stands for, and what it may do.
#[utoipa::path(get, path = "/api/whoami", tag = "admin", responses((status = 200, body = WhoAmI), (status = 401, body = Problem)))]
pub(super) async fn whoami(State(app): Shared, Extension(caller): Extension<Caller>) -> Json<WhoAmI> {
    let tokens = app.access.load().has_tokens();
    Json(WhoAmI { name: caller.name.to_string(), role: caller.role, tokens })
}

/// Configuration and directory are read anew and swapped in; nothing changes when anything is wrong.
#[utoipa::path(post, path = "/api/reload", tag = "admin", responses(
    (status = 200, body = ReloadedAnswer), (status = 400, body = Problem), (status = 409, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn reload(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    nothing(&body?, "a reload")?;
    let reloaded = app.desk.ask(Ask::Reload).await?.map_err(Failure::refused)?;
    let said = Said(format!("generation {}; {}", reloaded.generation, summary(&reloaded.diff)));
    app.feed.add(
        crate::clock::unix_millis(),
        "reload",
        serde_json::json!({ "generation": reloaded.generation, "summary": summary(&reloaded.diff) }),
    );
    Ok((Extension(said), Json(reloaded)).into_response())
}

/// What a reload would change. Reads everything, and changes nothing.
#[utoipa::path(post, path = "/api/reload/preview", tag = "admin", responses(
    (status = 200, body = PreviewAnswer), (status = 400, body = Problem), (status = 409, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn preview(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    nothing(&body?, "a preview")?;
    let diff = app.desk.ask(Ask::Preview).await?.map_err(Failure::refused)?;
    let said = Said(format!("only looked: {}", summary(&diff)));
    Ok((Extension(said), Json(PreviewAnswer { diff })).into_response())
}

/// The process ends in order, as on SIGTERM: what was accepted is delivered or answered first.
#[utoipa::path(post, path = "/api/drain", tag = "admin", responses(
    (status = 202, body = Accepted), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn drain(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    nothing(&body?, "a drain")?;
    app.desk.ask(Ask::Stop).await?;
    let accepted =
        "draining: no new connections; what was accepted is delivered or bounced, then the process ends";
    let said = Said(accepted.to_owned());
    Ok((StatusCode::ACCEPTED, Extension(said), Json(Accepted { accepted: accepted.to_owned() }))
        .into_response())
}

/// The filter of the log.
#[utoipa::path(get, path = "/api/log", tag = "admin", responses((status = 200, body = LogFilter)))]
pub(super) async fn log() -> Json<LogFilter> {
    Json(LogFilter { filter: crate::log::filter() })
}

/// Another filter for the log, until the process ends.
#[utoipa::path(put, path = "/api/log", tag = "admin", request_body = LogFilter, responses(
    (status = 200, body = LogFilter), (status = 400, body = Problem), (status = 409, body = Problem)
))]
pub(super) async fn set_log(body: Result<Bytes, BytesRejection>) -> Result<Response, Failure> {
    let hint = "write a level: error, warn, info, debug or trace; or filters in the manner of RUST_LOG";
    let LogFilter { filter } = serde_json::from_slice(&body?)
        .map_err(|error| Failure::bad_request(format!("the body is no filter: {error}"), hint))?;
    if filter.is_empty() || filter.len() > FILTER_BYTES_MAX {
        return Err(Failure::bad_request(format!("the filter has {} bytes", filter.len()), hint));
    }
    let before = crate::log::filter();
    match crate::log::set_filter(&filter) {
        Ok(()) => {}
        Err(crate::log::FilterError::Wrong(error)) => return Err(Failure::bad_request(error, hint)),
        Err(crate::log::FilterError::NoLog) => {
            return Err(Failure::refused("this process writes no log that could be changed".to_owned()));
        }
    }
    let said = Said(format!("the log's filter was {before:?} and is {filter:?}"));
    Ok((Extension(said), Json(LogFilter { filter })).into_response())
}

/// A change without parameters: no body, or an empty object.
fn nothing(body: &Bytes, what: &str) -> Result<(), Failure> {
    let says_nothing = body.is_empty()
        || matches!(serde_json::from_slice::<serde_json::Value>(body), Ok(serde_json::Value::Object(keys)) if keys.is_empty());
    if says_nothing {
        Ok(())
    } else {
        Err(Failure::bad_request(format!("{what} takes no parameters"), "send {} or nothing"))
    }
}

/// A diff in a line.
fn summary(diff: &crate::router::ReloadDiff) -> String {
    let crate::router::ReloadDiff {
        keys_total,
        certificates,
        users_added,
        users_removed,
        users_moved,
        needs_restart,
        ..
    } = diff;
    let restart = needs_restart.as_ref().map(|what| format!("; {what} cannot change without a restart"));
    format!(
        "{keys_total} keys and {} certificates changed, users: {users_added} new, {users_removed} gone, {users_moved} moved{}",
        certificates.len(),
        restart.unwrap_or_default()
    )
}
