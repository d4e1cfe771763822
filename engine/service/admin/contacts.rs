//! One user in full: his place, his contacts, and what is open for him; and taking back a contact or a veto. Invariant: what is shown
//! of contacts comes from the shard that owns the user, in one piece, and is true of one moment.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use turnout_core::contact::{Contact, Pair};
use turnout_core::contacts::Forget;
use turnout_core::io::{Side, Told};
use turnout_core::jid::Jid;

use super::answers::{ContactAnswer, ForgottenAnswer, Problem, UserDetail};
use super::audit::Said;
use super::problem::Failure;
use super::users::{answer, unknown, user};
use super::{Ask, Shared};
use crate::look::Look;

/// One user in full: his place, his contacts, and what is open for him.
#[utoipa::path(get, path = "/api/users/{jid}", tag = "users", params(("jid" = String, Path, description = "The local user", example = "anna@contoso.com")), responses(
    (status = 200, body = UserDetail), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn show(
    State(app): Shared,
    jid: Result<Path<String>, PathRejection>,
) -> Result<Json<UserDetail>, Failure> {
    let Path(jid) = jid.map_err(|rejection| Failure::bad_request(rejection.body_text(), ""))?;
    let jid = user(&jid)?;
    let look = app.desk.look().await?;
    let found = look.directory.look_up(jid.bare_str()).ok_or_else(|| unknown(&jid))?;
    let user = answer(&look.world, &look.directory, jid.bare_str(), &found);
    let told = app.desk.ask(|done| Ask::Tell(jid, done)).await?.map_err(stuck)?;
    let open = told.open.iter();
    Ok(Json(UserDetail {
        user,
        contacts_total: told.contacts_total as u64,
        held: told.held as u64,
        open: open
            .map(|(home, lines)| (look.world.side_name(Side::Home(*home)).to_owned(), lines.clone()))
            .collect(),
        contacts: contacts(told),
    }))
}

/// Ends what holds between the two, on both sides.
#[utoipa::path(delete, path = "/api/users/{jid}/contacts/{partner}", tag = "users", params(
    ("jid" = String, Path, description = "The local user", example = "anna@contoso.com"), ("partner" = String, Path, description = "The partner's user", example = "bob@partner.example")
), responses(
    (status = 200, body = ForgottenAnswer), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn forget(
    app: Shared,
    pair: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    take_back(app, pair, Forget::Contact).await
}

/// The partner's user may be asked again.
#[utoipa::path(delete, path = "/api/users/{jid}/contacts/{partner}/veto", tag = "users", params(
    ("jid" = String, Path, description = "The local user", example = "anna@contoso.com"), ("partner" = String, Path, description = "The partner's user", example = "bob@partner.example")
), responses(
    (status = 200, body = ForgottenAnswer), (status = 400, body = Problem), (status = 404, body = Problem),
    (status = 503, body = Problem)
))]
pub(super) async fn lift_veto(
    app: Shared,
    pair: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    take_back(app, pair, Forget::Veto).await
}

async fn take_back(
    State(app): Shared,
    pair: Result<Path<(String, String)>, PathRejection>,
    what: Forget,
) -> Result<Response, Failure> {
    let Path((local, partner)) = pair.map_err(|rejection| Failure::bad_request(rejection.body_text(), ""))?;
    let (local, partner) = (user(&local)?, contact_address(&partner)?);
    let look = app.desk.look().await?;
    if look.draining {
        return Err(Failure::unavailable("the router is stopping", "ask again when it has started anew"));
    }
    our_own(&look, &local)?;
    let pair = Pair { local: local.as_str().into(), partner: partner.as_str().into() };
    let before = app.desk.ask(|done| Ask::Forget(pair, what, done)).await?.map_err(stuck)?;
    let forgot = match what {
        Forget::Contact => "contact",
        Forget::Veto => "veto",
    };
    let before = before.ok_or_else(|| {
        Failure::not_found(
            format!("there is no {forgot} between {local} and {partner}"),
            format!("GET /api/users/{local} shows what there is"),
        )
    })?;
    let was = contact(partner.as_str(), &before);
    let said = Said(format!("{forgot} of {local} and {partner} taken back"));
    let answer = ForgottenAnswer { user: local.as_str().to_owned(), forgot: forgot.to_owned(), was };
    Ok((Extension(said), Json(answer)).into_response())
}

/// A contact of somebody who has left the directory may be taken back too; one of another domain's user is not ours.
fn our_own(look: &Look, local: &Jid) -> Result<(), Failure> {
    if look.world.domains.iter().any(|domain| domain.as_str() == local.domain()) {
        return Ok(());
    }
    Err(Failure::not_found(
        format!("{local} is no local user"),
        "the local user comes first, then the partner's",
    ))
}

/// The bare address of a contact; gateways and services have no part before the @.
fn contact_address(text: &str) -> Result<Jid, Failure> {
    let shown: String = text.chars().take(200).collect();
    let hint = "write it as bob@partner.example";
    let jid = Jid::parse(text).map_err(|error| Failure::bad_request(format!("{shown:?}: {error}"), hint))?;
    if jid.resource().is_some() {
        return Err(Failure::bad_request(format!("{shown:?} has a resource"), hint));
    }
    Ok(jid)
}

fn contacts(told: Told) -> Vec<ContactAnswer> {
    told.contacts.iter().map(|record| contact(&record.pair.partner, &record.contact)).collect()
}

fn contact(partner: &str, contact: &Contact) -> ContactAnswer {
    ContactAnswer {
        partner: partner.to_owned(),
        subscription: contact.subscription().to_owned(),
        asked: contact.asked,
        asking: contact.asking,
        vetoed: contact.vetoed,
        introduced: contact.introduced,
        shown: contact.shown.iter().map(|resource| resource.to_string()).collect(),
    }
}

fn stuck(error: String) -> Failure {
    Failure::unavailable(error, "look at /healthz, and ask again")
}
