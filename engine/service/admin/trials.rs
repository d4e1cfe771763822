//! Trials an administrator orders: a message in a local user's name, and the way to a partner step by step. Invariant: of each kind one
//! runs at a time, and each ends; neither does what a user or the router could not do.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use turnout_core::jid::{Domain, Jid};
use turnout_core::trial::{Trial, Tried};

use super::answers::{ProbeRequest, Problem, RefusalAnswer, TrialAnswer, TrialRequest};
use super::audit::Said;
use super::problem::Failure;
use super::{Ask, Shared, users};
use crate::clock;
use crate::probe::Report;

/// Longest time a probe may take.
const PROBE: Duration = Duration::from_secs(120);

/// What is said in a user's name.
const TEXT: &str = "This is a test by the administrator of turnout. No answer is needed.";

/// What may run once at a time.
#[derive(Debug)]
pub(super) struct Turns {
    probe: Semaphore,
    selftest: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { probe: Semaphore::new(1), selftest: Semaphore::new(1) }
    }
}

/// Sends a message in a local user's name to a partner's user, and tells whether the partner's server took it. One at a time.
#[utoipa::path(post, path = "/api/selftest", tag = "trials", request_body = TrialRequest, responses(
    (status = 200, body = TrialAnswer), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem),
    (status = 504, body = Problem)
))]
pub(super) async fn selftest(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Extension<Said>, Json<TrialAnswer>), Failure> {
    let request: TrialRequest = serde_json::from_slice(&body?).map_err(|error| {
        Failure::bad_request(
            format!("the body is no trial: {error}"),
            r#"send {"from": "alice@contoso.com", "to": "bob@partner.example"}"#,
        )
    })?;
    let from = users::user(&request.from)?;
    let to = Jid::parse(&request.to)
        .map_err(|error| Failure::bad_request(format!("to: {error}"), "write it as bob@partner.example"))?;
    let look = app.desk.look().await?;
    if look.draining {
        return Err(Failure::unavailable("the router is stopping", "ask again when it has started anew"));
    }
    look.directory.look_up(from.bare_str()).ok_or_else(|| users::unknown(&from))?;
    if look.world.domains.iter().any(|ours| ours.as_str() == to.domain()) {
        return Err(Failure::bad_request(format!("{to} is one of our own"), "name a user of a partner"));
    }
    let _turn = turn(&app.turns.selftest)?;
    let begun = clock::now();
    let about = format!("a test message from {from} to {to}");
    let trial = Trial::Message { from, to, text: TEXT.into() };
    let tried = app.desk.ask(|done| Ask::Try(trial, done)).await?;
    let tried =
        tried.map_err(|error| Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "it may still happen"))?;
    let millis = u64::try_from(clock::now().duration_since(begun).as_millis()).unwrap_or(u64::MAX);
    let refusal = match tried {
        Tried::Delivered | Tried::Answered => None,
        Tried::Homeless => return Err(Failure::refused(format!("{} lives in no home", request.from))),
        Tried::Refused(refusal) => Some(RefusalAnswer {
            condition: refusal.condition.as_str().to_owned(),
            error_type: refusal.error_type.as_str().to_owned(),
            blame: refusal.blame.as_str().to_owned(),
            text: refusal.text.clone().into_owned(),
            detail: refusal.detail.as_deref().map(str::to_owned),
            dropped_by: None,
        }),
    };
    let came = refusal.as_ref().map_or("delivered", |refusal| &refusal.condition);
    let said = Said(format!("{about}: {came}"));
    Ok((Extension(said), Json(TrialAnswer { delivered: refusal.is_none(), millis, refusal })))
}

/// The way to a partner step by step, with a ping over the router's own stream. One at a time.
#[utoipa::path(post, path = "/api/probe", tag = "trials", request_body = ProbeRequest, responses(
    (status = 200, body = Report), (status = 400, body = Problem), (status = 409, body = Problem),
    (status = 429, body = Problem), (status = 503, body = Problem), (status = 504, body = Problem)
))]
pub(super) async fn probe(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Extension<Said>, Json<Report>), Failure> {
    let request: ProbeRequest = serde_json::from_slice(&body?).map_err(|error| {
        Failure::bad_request(
            format!("the body is no probe: {error}"),
            r#"send {"partner": "partner.example"}"#,
        )
    })?;
    let domain = |name: &str| {
        let shown: String = name.chars().take(200).collect();
        let hint = "give a domain, partner.example";
        Domain::parse(name).map_err(|error| Failure::bad_request(format!("{shown:?}: {error}"), hint))
    };
    let partner = domain(&request.partner)?;
    let look = app.desk.look().await?;
    let ours = &look.world.domains;
    let from = match &request.from {
        Some(name) => domain(name)?,
        None => ours.first().cloned().ok_or_else(|| Failure::unavailable("there is no local domain", ""))?,
    };
    if !ours.contains(&from) || ours.contains(&partner) {
        let error = format!("from {from} to {partner} is not from a local domain to a partner's");
        return Err(Failure::bad_request(error, "see /api/status for the local domains"));
    }
    let _turn = turn(&app.turns.probe)?;
    let probed = tokio::time::timeout(PROBE, app.desk.ask(|done| Ask::Probe { partner, from, done })).await;
    let late = || {
        let error = format!("the probe has taken longer than {} seconds", PROBE.as_secs());
        Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "its server is slow at every step")
    };
    let report = probed.map_err(|_| late())??.map_err(Failure::refused)?;
    let came = if report.good { "nothing wrong" } else { "a finding" };
    let said = Said(format!("from {} to {}: {came}", report.from, report.partner));
    Ok((Extension(said), Json(report)))
}

fn turn(of: &Semaphore) -> Result<SemaphorePermit<'_>, Failure> {
    of.try_acquire().map_err(|_| {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "another one is under way", "ask again when it has ended")
    })
}
