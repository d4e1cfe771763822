//! Which way a stanza would go. Invariant: the answer is the core's own `route`, asked on the configuration and the directory in
//! use; nothing is decided here.

#![expect(unused_qualifications, reason = "utoipa names the query's type with its path in what it makes")]

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::refusal::Refusal;
use turnout_core::route::{Asked, Route, View, explain as ask, unanswerable};
use turnout_core::stanza::Kind;
use turnout_core::world::World;
use utoipa::IntoParams;

use super::Shared;
use super::answers::{ExplainAnswer, Problem, RefusalAnswer, StepAnswer};
use super::problem::Failure;
use crate::look::Look;

/// What `GET /api/explain` is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// The sender.
    #[param(example = "bob@partner.example")]
    from: String,
    /// The recipient.
    #[param(example = "anna@contoso.com")]
    to: String,
    /// `message`, `presence` or `iq`, with a type after a colon.
    #[param(example = "message:chat")]
    kind: Option<String>,
}

/// Which way a stanza would go, and why.
#[utoipa::path(get, path = "/api/explain", tag = "status", params(Question), responses(
    (status = 200, body = ExplainAnswer), (status = 400, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn explain(
    State(app): Shared,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<ExplainAnswer>, Failure> {
    let Query(question) = question?;
    let kind = question.kind.as_deref().unwrap_or("message");
    let kind = parse_kind(kind).ok_or_else(|| {
        let shown: String = kind.chars().take(80).collect();
        Failure::bad_request(
            format!("{shown:?} is no kind of stanza"),
            "give message, presence or iq, with a type after a colon: message:chat, presence:subscribe, iq:get",
        )
    })?;
    let from = address("from", &question.from)?;
    let to = address("to", &question.to)?;
    let look = app.desk.look().await?;
    Ok(Json(of(&look, &from, &to, kind)))
}

/// Reads `message`, `presence` or `iq`, with a type after a colon or the usual one: chat, available, get.
pub fn parse_kind(text: &str) -> Option<Kind> {
    let (element, value) = match text.split_once(':') {
        Some((element, value)) => (element, Some(value)),
        None => (text, None),
    };
    match element {
        "message" => {
            let value = value.unwrap_or("chat");
            let known = ["chat", "normal", "headline", "groupchat", "error"].contains(&value);
            known.then(|| Kind::message(Some(value)))
        }
        "presence" => Kind::presence(value.filter(|value| *value != "available")),
        "iq" => Kind::iq(Some(value.unwrap_or("get"))),
        _ => None,
    }
}

/// The answer for addresses that were read.
fn of(look: &Look, from: &Jid, to: &Jid, kind: Kind) -> ExplainAnswer {
    let world = &look.world;
    let side = side(look, from);
    let asked = Asked { side, kind, from, to, made: false, was_home: None };
    let (decision, steps) = ask(View { world, directory: &look.directory }, &asked);
    let (route, refusal) = match decision {
        Ok(route) => (Some(describe(world, &route)), None),
        Err(refusal) => (None, Some(refused(&refusal, kind))),
    };
    let steps =
        steps.into_iter().map(|step| StepAnswer { rule: step.rule.to_owned(), finding: step.finding });
    ExplainAnswer {
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        side: world.side_name(side).to_owned(),
        route,
        refusal,
        steps: steps.collect(),
    }
}

/// Where a stanza of this sender would come from: a local user's home, else the partners.
fn side(look: &Look, from: &Jid) -> Side {
    if !look.world.domains.iter().any(|domain| domain.as_str() == from.domain()) {
        return Side::Partners;
    }
    match look.directory.look_up(from.bare_str()).map(|user| user.residence) {
        Some(Residence::Home(home)) => Side::Home(home),
        // He has none, which the steps will say, whichever home is asked.
        _ => Side::Home(HomeId(0)),
    }
}

fn describe(world: &World, route: &Route) -> String {
    match route {
        Route::Home(home) => format!("home {}", world.side_name(Side::Home(*home))),
        Route::Partner { theirs, .. } => format!("partner {}", theirs.as_str()),
        Route::Own => "router".to_owned(),
    }
}

fn refused(refusal: &Refusal, kind: Kind) -> RefusalAnswer {
    RefusalAnswer {
        condition: refusal.condition.as_str().to_owned(),
        error_type: refusal.error_type.as_str().to_owned(),
        blame: refusal.blame.as_str().to_owned(),
        text: refusal.text.clone().into_owned(),
        detail: refusal.detail.as_deref().map(str::to_owned),
        dropped_by: unanswerable(kind).map(|rule| rule.as_str().to_owned()),
    }
}

fn address(name: &str, text: &str) -> Result<Jid, Failure> {
    let shown: String = text.chars().take(200).collect();
    Jid::parse(text).map_err(|error| {
        Failure::bad_request(format!("{name}={shown:?}: {error}"), "write it as alice@contoso.com")
    })
}
