//! Users: listing and moving. Invariant: a request names only users that are in the directory and a home
//! that is configured, or nothing of it is done.

#![expect(unused_qualifications, reason = "utoipa names the query's type with its path in what it makes")]

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use turnout_core::directory::{Directory, LIST_MAX, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::limits::MOVE_USERS_MAX;
use turnout_core::world::World;
use utoipa::IntoParams;

use super::answers::{MoveRequest, MovedAnswer, Problem, UserAnswer, UsersAnswer};
use super::audit::Said;
use super::problem::Failure;
use super::{Ask, Shared};

/// Users on a page that asks for no number.
const LIST_DEFAULT: usize = 100;

/// What `GET /api/users` may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those whose address begins with this.
    #[serde(default)]
    prefix: String,
    /// `next_after` of the page before.
    after: Option<String>,
    /// Most users.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
}

/// The users, in the order of their addresses. Refused to the role `read` where the log is redacted.
#[utoipa::path(get, path = "/api/users", tag = "users", params(Wanted), responses(
    (status = 200, body = UsersAnswer), (status = 400, body = Problem), (status = 403, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn list(
    State(app): Shared,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<UsersAnswer>, Failure> {
    let Query(wanted) = wanted?;
    let limit = wanted.limit.unwrap_or(LIST_DEFAULT);
    if limit == 0 || limit > LIST_MAX {
        return Err(Failure::bad_request(
            format!("limit is {limit}"),
            format!("a page holds 1 to {LIST_MAX} users; for more, ask again with next_after as after"),
        ));
    }
    let look = app.desk.look().await?;
    let closed = |_| Failure::unavailable("the router is stopping", "");
    let _place = app.listings.acquire().await.map_err(closed)?;
    let answer = tokio::task::spawn_blocking(move || {
        let page = look.directory.list(&wanted.prefix, wanted.after.as_deref(), limit);
        let next_after = page.users.last().filter(|_| page.more).map(|(bare, _)| bare.clone());
        let users =
            page.users.iter().map(|(bare, user)| answer(&look.world, &look.directory, bare, user)).collect();
        UsersAnswer { users, next_after }
    });
    let failed = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the listing failed", "see the log");
    Ok(Json(answer.await.map_err(failed)?))
}

/// Moves users together and answers when their stanzas flow again; for many, see `POST /api/moves`.
#[utoipa::path(post, path = "/api/users/move", tag = "users", request_body = MoveRequest, responses(
    (status = 200, body = MovedAnswer), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 409, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)
))]
pub(super) async fn relocate(
    State(app): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let request: MoveRequest = serde_json::from_slice(&body?).map_err(|error| {
        Failure::bad_request(
            format!("the body is no move: {error}"),
            r#"send {"user": "alice@contoso.com", "home": "NAME"} or {"users": [...], "home": "NAME"}"#,
        )
    })?;
    let names = match (request.user, request.users) {
        (Some(user), None) => vec![user],
        (None, Some(users)) if !users.is_empty() => users,
        _ => {
            return Err(Failure::bad_request(
                "the move names no users, or two ways",
                "give one of user and users",
            ));
        }
    };
    if names.len() > MOVE_USERS_MAX {
        let error = format!("the move names {} users", names.len());
        let hint = format!("move at most {MOVE_USERS_MAX} at a time");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, hint));
    }
    let look = app.desk.look().await?;
    if look.draining {
        return Err(Failure::unavailable("the router is stopping", "move users when it has started anew"));
    }
    home(&look.world, &request.home)?;
    let mut jids = Vec::with_capacity(names.len());
    for name in &names {
        let jid = user(name)?;
        look.directory.look_up(jid.bare_str()).ok_or_else(|| unknown(&jid))?;
        jids.push(jid);
    }
    let target = request.home.clone();
    let moved = app.desk.ask(|done| Ask::Move(jids, target, done)).await?.map_err(Failure::refused)?;
    let some = names.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    let said = Said(format!("{} of {} users moved to {}: {some}", moved.users, names.len(), request.home));
    Ok((Extension(said), Json(moved)).into_response())
}

/// The bare address of a local user.
pub(super) fn user(text: &str) -> Result<Jid, Failure> {
    let hint = "write it as alice@contoso.com";
    let shown: String = text.chars().take(200).collect();
    let jid = Jid::parse(text).map_err(|error| Failure::bad_request(format!("{shown:?}: {error}"), hint))?;
    if jid.local().is_none() || jid.resource().is_some() {
        return Err(Failure::bad_request(format!("{shown:?} is not a user's address"), hint));
    }
    Ok(jid)
}

pub(super) fn unknown(jid: &Jid) -> Failure {
    let hint = "is he in the directory's source? POST /api/reload reads it anew";
    Failure::not_found(format!("{} is not in the directory", jid.bare_str()), hint)
}

pub(super) fn home(world: &Arc<World>, name: &str) -> Result<HomeId, Failure> {
    if let Some((id, _)) = world.homes.by_name(name) {
        return Ok(id);
    }
    let names: Vec<&str> = world.homes.iter().map(|(_, home)| home.name.as_str()).collect();
    let shown: String = name.chars().take(200).collect();
    Err(Failure::not_found(
        format!("there is no home {shown:?}"),
        format!("configured are: {}", names.join(", ")),
    ))
}

/// A user of the directory.
pub(super) fn answer(world: &World, directory: &Directory, bare: &str, user: &User) -> UserAnswer {
    let place = |residence| match residence {
        Residence::Home(id) => ("home", Some(world.side_name(Side::Home(id))), None),
        Residence::Cloud => ("cloud", None, None),
        Residence::Unassigned => ("unassigned", None, None),
        Residence::Branch => ("branch", None, None),
        Residence::UnknownPool(pool) => ("unknown_pool", None, directory.pool_name(pool)),
    };
    let (residence, home, pool) = place(user.residence);
    let changed = directory.overlay().look_up(bare).is_some();
    let source = if changed { directory.snapshot().look_up(bare) } else { None };
    let source_says = source.map(|source| {
        let (residence, home, pool) = place(source.residence);
        home.or(pool).unwrap_or(residence).to_owned()
    });
    UserAnswer {
        user: bare.to_owned(),
        home: home.map(str::to_owned),
        residence: residence.to_owned(),
        pool: pool.map(str::to_owned),
        enabled: user.enabled,
        federation_enabled: user.federation_enabled,
        xmpp_enabled: user.xmpp_enabled,
        changed,
        source_says,
        moving: user.moving,
    }
}
