//! Server-sent events. Invariant: at most [`STREAMS_MAX`] listeners; each reads from the feed what it has not had, so nothing is kept
//! for one that does not read, and one that stays away too long has missed events and sees it by their numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::Query, extract::rejection::QueryRejection};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::OwnedSemaphorePermit;

use super::audit::Wanted;
use super::problem::Failure;
use super::views::{EventAnswer, EventsAnswer, Live};
use super::{App, Shared};
use crate::access::Caller;
use crate::feed::Event;
use crate::redact;

/// Listeners at a time.
pub(super) const STREAMS_MAX: usize = 8;

/// How often what is live is told.
const LIVE_EVERY: Duration = Duration::from_secs(1);

/// Events told in one go.
const CHUNK_MAX: usize = 200;

/// Longest time a listener may take to read what is there.
const READ_SECONDS: u64 = 20;

/// What happened, the newest first.
#[utoipa::path(get, path = "/api/events", tag = "events", params(Wanted), responses(
    (status = 200, body = EventsAnswer), (status = 400, body = super::answers::Problem)
))]
pub(super) async fn list(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<EventsAnswer>, Failure> {
    let (before, limit) = wanted?.0.page()?;
    let mut events = app.feed.newest(None, before, limit + 1);
    let more = events.len() > limit;
    events.truncate(limit);
    let next_before = events.last().filter(|_| more).map(|event| event.number);
    Ok(Json(EventsAnswer { events: events.iter().map(|event| answer(event)).collect(), next_before }))
}

/// What happens, as server-sent events: `live` once a second (see `GET /api/live`) and `event` for everything that `GET /api/events`
/// lists, with its number as id. A client that comes back with `Last-Event-ID` is told what it missed, as far as it is remembered.
#[utoipa::path(get, path = "/api/events/stream", tag = "events", responses(
    (status = 200, description = "A stream that ends with the connection", body = String, content_type = "text/event-stream"),
    (status = 503, body = super::answers::Problem)
))]
pub(super) async fn stream(
    State(app): Shared,
    caller: Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let words = app.words_for(&caller);
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let error = format!("{STREAMS_MAX} listen already");
        Failure::unavailable(error, "close another dashboard, or ask GET /api/live from time to time")
    })?;
    let last =
        headers.get("last-event-id").and_then(|last| last.to_str().ok()).and_then(|last| last.parse().ok());
    let last = last.unwrap_or_else(|| *app.feed.watch().borrow());
    let (sender, channel) = Channel::<Bytes, Failed>::new(4);
    tokio::spawn(tell(app, words, sender, last, place));
    let mut response = Body::new(channel).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// A stream is never ended by a fault of its own.
type Failed = std::convert::Infallible;

/// Writes until the listener is gone.
async fn tell(
    app: Arc<App>,
    words: Option<redact::Key>,
    mut sender: Sender<Bytes, Failed>,
    mut last: u64,
    _place: OwnedSemaphorePermit,
) {
    let mut newest = app.feed.watch();
    let mut live = tokio::time::interval(LIVE_EVERY);
    live.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let text = tokio::select! {
            _ = live.tick() => match app.pulse().live() {
                Some(live) => live_text(&live),
                // A line that is a comment keeps the connection from looking dead.
                None => ":\n\n".to_owned(),
            },
            changed = newest.wait_for(|newest| *newest > last) => {
                if changed.is_err() {
                    return;
                }
                drop(changed);
                let events = app.feed.after(last, CHUNK_MAX);
                last = events.last().map_or(last, |event| event.number);
                events.iter().map(|event| event_text(event)).collect()
            }
        };
        let text = match &words {
            Some(key) => redact::redact(key, &text).into_owned(),
            None => text,
        };
        let sent =
            tokio::time::timeout(Duration::from_secs(READ_SECONDS), sender.send_data(text.into())).await;
        if !matches!(sent, Ok(Ok(()))) || app.desk.asks.is_closed() {
            return;
        }
    }
}

fn live_text(live: &Live) -> String {
    let json = serde_json::to_string(live).unwrap_or_default();
    format!("event: live\ndata: {json}\n\n")
}

/// JSON holds no line ends, so one event is one line of data.
fn event_text(event: &Event) -> String {
    let json = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: event\ndata: {json}\n\n", event.number)
}

fn answer(event: &Event) -> EventAnswer {
    let data = event.data.as_object().cloned().unwrap_or_default();
    EventAnswer {
        number: event.number,
        at_unix_millis: event.at_unix_millis,
        kind: event.kind.to_owned(),
        data: data.into_iter().collect(),
    }
}
