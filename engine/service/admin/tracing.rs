//! What became of single stanzas. Invariant: an answer is made of what the shards remember, without bodies; what they remember is set
//! for all of them alike.

#![expect(unused_qualifications, reason = "utoipa names the query's type with its path in what it makes")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use turnout_core::jid::{Domain, Jid};
use turnout_core::survey::{SURVEY_MAX, Survey, Surveyed};
use turnout_core::trace::{Step, TRACE_ONLY_MAX, TraceMode, TraceQuery, TraceRules, Traced};
use turnout_core::world::World;
use utoipa::IntoParams;

use super::answers::Problem;
use super::audit::Said;
use super::problem::Failure;
use super::views::{TraceAnswer, TraceRequest, TraceStep};
use super::{Ask, Shared};

/// Steps on a page that asks for no number.
const PAGE: usize = 200;

/// What `GET /api/trace` may be asked. Each part that is given has to fit.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The id of the stanza.
    id: Option<String>,
    /// The bare address of the sender or the recipient, or the domain of one of them.
    who: Option<String>,
    /// Not before this, in milliseconds since 1970.
    since_unix_millis: Option<u64>,
    /// Not after this, in milliseconds since 1970.
    until_unix_millis: Option<u64>,
    /// Only what was bounced, dropped or given back.
    #[serde(default)]
    failures: bool,
    /// Most steps.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// What became of stanzas, the newest step first.
#[utoipa::path(get, path = "/api/trace", tag = "trace", params(Wanted), responses(
    (status = 200, body = TraceAnswer), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn find(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<TraceAnswer>, Failure> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(PAGE);
    if limit == 0 || limit > SURVEY_MAX {
        return Err(Failure::bad_request(
            format!("limit is {limit}"),
            format!("ask for 1 to {SURVEY_MAX} steps"),
        ));
    }
    let clock = Clock::new();
    let query = TraceQuery {
        id: wanted.id.filter(|id| !id.is_empty()),
        who: wanted.who.filter(|who| !who.is_empty()).map(|who| prepared(&who)).transpose()?,
        since: wanted.since_unix_millis.and_then(|millis| clock.instant(millis)),
        until: wanted.until_unix_millis.and_then(|millis| clock.instant(millis)),
        failures: wanted.failures,
        limit,
    };
    // A time before the machine's start is before everything.
    let nothing = wanted.until_unix_millis.is_some() && query.until.is_none();
    let look = app.desk.look().await?;
    let survey = Arc::new(Survey::Trace(query));
    let mut steps = Vec::new();
    for shard in 0..look.world.shards {
        let Surveyed::Trace(found) = app.survey(shard, Arc::clone(&survey)).await? else { continue };
        steps
            .extend(found.iter().filter(|_| !nothing).map(|traced| step(&look.world, &clock, shard, traced)));
    }
    steps.sort_by_key(|step: &TraceStep| std::cmp::Reverse(step.at_unix_millis));
    steps.truncate(limit);
    Ok(Json(TraceAnswer {
        mode: look.trace.mode.as_str().to_owned(),
        only: look.trace.only.iter().map(|who| who.to_string()).collect(),
        steps,
    }))
}

/// What is remembered from now on. It lasts until it is set anew or the process ends.
#[utoipa::path(put, path = "/api/trace", tag = "trace", request_body = TraceRequest, responses(
    (status = 200, body = TraceRequest), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn set(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let request: TraceRequest = serde_json::from_slice(&body?).map_err(|error| {
        let hint = r#"send {"mode": "off|failures|all", "only": ["anna@contoso.com", "partner.example"]}"#;
        Failure::bad_request(format!("the body is no rule for tracing: {error}"), hint)
    })?;
    let mode = TraceMode::parse(&request.mode).ok_or_else(|| {
        Failure::bad_request(
            "mode is none of: off, failures, all",
            "all remembers every step of every stanza",
        )
    })?;
    if request.only.len() > TRACE_ONLY_MAX {
        let error = format!("only names {} users and domains", request.only.len());
        return Err(Failure::bad_request(error, format!("name {TRACE_ONLY_MAX} at most")));
    }
    let only =
        request.only.iter().map(|who| prepared(who).map(Arc::from)).collect::<Result<Vec<Arc<str>>, _>>()?;
    let rules = Arc::new(TraceRules { mode, only, sampling: None });
    let told =
        TraceRequest { mode: request.mode, only: rules.only.iter().map(|who| who.to_string()).collect() };
    app.desk.ask(|done| Ask::Trace(rules, done)).await?;
    let of = if told.only.is_empty() { "everybody".to_owned() } else { told.only.join(", ") };
    let said = Said(format!("the trace remembers {} of {of}", told.mode));
    Ok((Extension(said), Json(told)).into_response())
}

/// A bare address or a domain, as stanzas are compared with it.
fn prepared(text: &str) -> Result<String, Failure> {
    let hint = "write a user as anna@contoso.com, a domain as partner.example";
    let shown: String = text.chars().take(200).collect();
    let wrong = |error: String| Failure::bad_request(format!("{shown:?}: {error}"), hint);
    if !text.contains('@') {
        return Domain::parse(text)
            .map(|domain| domain.as_str().to_owned())
            .map_err(|error| wrong(error.to_string()));
    }
    let jid = Jid::parse(text).map_err(|error| wrong(error.to_string()))?;
    Ok(jid.bare_str().to_owned())
}

fn step(world: &World, clock: &Clock, shard: u16, traced: &Traced) -> TraceStep {
    let why = match (traced.step, &traced.why) {
        (Step::Dropped(rule), Some(why)) if why != rule.as_str() => Some(format!("{}: {why}", rule.as_str())),
        (Step::HandedTo(other), _) => Some(format!("to shard {other}")),
        (_, why) => why.clone(),
    };
    TraceStep {
        at_unix_millis: clock.unix_millis(traced.at),
        shard,
        id: crate::log::escape(&traced.id),
        from: traced.from.clone(),
        to: traced.to.clone(),
        element: traced.kind.element().to_owned(),
        made: traced.made,
        step: traced.step.as_str().to_owned(),
        side: world.side_name(traced.side).to_owned(),
        why: why.map(|why| crate::log::escape(&why)),
    }
}

/// The machine's two clocks at one moment: shards know the one, people the other.
struct Clock {
    now: Instant,
    unix_millis: u64,
}

impl Clock {
    fn new() -> Self {
        Self { now: crate::clock::now(), unix_millis: crate::clock::unix_millis() }
    }

    fn unix_millis(&self, at: Instant) -> u64 {
        let ago = self.now.saturating_duration_since(at).as_millis();
        self.unix_millis.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
    }

    fn instant(&self, unix_millis: u64) -> Option<Instant> {
        match self.unix_millis.checked_sub(unix_millis) {
            Some(ago) => self.now.checked_sub(Duration::from_millis(ago)),
            None => self.now.checked_add(Duration::from_millis(unix_millis - self.unix_millis)),
        }
    }
}
