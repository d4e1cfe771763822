//! The API as an OpenAPI document. Invariant: it is made from the handlers and the types they answer with, so what is written there is what
//! is compiled; a test holds its paths against those that are served.

use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{
    audit, contacts, control, estate, explain, health, jobs, status, stream, tracing, trials, users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "turnout admin API",
        description = "Users, moves, partners, links, queues, traces of a running turnout. Changes are JSON and want the role `operate`; \
                       errors are a Problem. Where the listener has tokens, every request wants one: `Authorization: Bearer …`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        status::metrics, health::healthz, health::readyz, document,
        status::status, status::homes, estate::partners, estate::links, estate::queues, estate::dialogs,
        estate::subscriptions, estate::certificates, super::pulse::live, explain::explain,
        users::list, users::relocate, contacts::show, contacts::forget, contacts::lift_veto,
        jobs::list, jobs::begin, jobs::show, jobs::cancel,
        tracing::find, tracing::set,
        trials::selftest, trials::probe,
        stream::list, stream::stream,
        audit::list, control::whoami, control::reload, control::preview, control::drain, control::log, control::set_log,
    ),
    components(schemas(super::answers::Problem)),
    modifiers(&Tokens),
    security((), ("token" = [])),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of admin.tokens_file; `turnout token` makes one."))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        for (path, item) in &mut openapi.paths.paths {
            let reads = item.get.as_mut().map(|operation| (operation, false));
            let changes = [&mut item.post, &mut item.put, &mut item.delete];
            let changes = changes.into_iter().flatten().map(|operation| (operation, true));
            for (operation, changes) in reads.into_iter().chain(changes) {
                at_the_door(operation, path, changes);
            }
        }
    }
}

/// What the guard may answer before any handler is asked.
fn at_the_door(operation: &mut Operation, path: &str, changes: bool) {
    let public = matches!(path, "/healthz" | "/readyz");
    let all = [
        ("400", "The request cannot be read", !public),
        ("401", "No token, or one that is not known", !public),
        ("403", "A name, an origin or a role for which nothing is done here", !public),
        ("413", "The body is too large", changes),
        ("415", "The body is not JSON", changes),
        ("504", "It took too long", true),
    ];
    for (status, description, _) in all.into_iter().filter(|(_, _, may)| *may) {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response =
            ResponseBuilder::new().description(description).content("application/json", content).build();
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_owned()).or_insert_with(|| RefOr::T(response));
    }
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "admin", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn document() -> Response {
    axum::Json(Document::openapi()).into_response()
}

#[cfg(test)]
pub(super) fn paths() -> Vec<(String, Vec<&'static str>)> {
    let document = Document::openapi();
    let paths = document.paths.paths.iter().map(|(path, item)| {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        (path.clone(), methods.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect())
    });
    paths.collect()
}
