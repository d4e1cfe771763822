//! What stands before every request: who asks, what he may, and whether it is a web page of somebody else's that speaks through an
//! administrator's browser. Invariant: no page of another origin can make the API do or tell anything, and without a token, where there are
//! tokens, nobody can.
//!
//! | against | by |
//! |---|---|
//! | DNS rebinding | the Host header has to be an address, `localhost`, or one of `admin.names`: a rebound name is none of these |
//! | forged requests of other sites | nothing is believed that a browser adds by itself: there is no cookie, the token travels in a header that a page of another origin cannot set without asking first, and nothing here answers such a question. Where there are no tokens, Origin and Sec-Fetch-Site have to be our own, and changes are JSON only |
//! | scripts in the page | a policy that allows scripts, styles and data from here alone |
//! | guessing tokens | 256 random bits, compared in constant time |

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::audit::Said;
use super::problem::Failure;
use super::server::Peer;
use super::views::AuditEntry;
use super::{App, page};
use crate::access::{Access, Caller, Role};
use crate::redact;

/// Largest body: a move of `limits::MOVE_USERS_MAX` users with addresses of a usual length.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest time a question may take, and a body.
const READ_SECONDS: u64 = 30;

/// Longest time a change may take: a reload reads the whole directory.
const WRITE_SECONDS: u64 = 300;

/// Scripts, styles and data from here alone, and no frame around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Checks a request, limits its time, writes a change down, and marks the answer.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&app, request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

async fn admit(app: &App, mut request: Request, next: Next) -> Result<Response, Failure> {
    let access = app.access.load_full();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    check(&method, &path, request.headers(), &access)?;
    let from = request.extensions().get::<Peer>().map_or_else(String::new, |peer| peer.0.ip().to_string());
    if !is_public(&method, &path, &access) {
        let caller = access.caller(bearer(request.headers())).ok_or_else(|| {
            app.audit.stranger(&from, crate::clock::unix_millis());
            let shown = request.headers().contains_key(header::AUTHORIZATION);
            Failure::unauthorized(if shown { "this token is not known here" } else { "a token is needed" })
        })?;
        request.extensions_mut().insert(caller);
    }
    let (patience, late) = if changes(&method) {
        (WRITE_SECONDS, "it may still happen; look at /api/status")
    } else {
        (READ_SECONDS, "ask again, or for less")
    };
    let words = request.extensions().get::<Caller>().and_then(|caller| app.words_for(caller));
    if words.is_some() && path == "/api/users" {
        // Its pages go on behind a name.
        let hint = "use a token with the role operate, or ask for one user: /api/users/anna@contoso.com";
        return Err(Failure::forbidden("who may only read is not told the names of users here", hint));
    }
    let caller = request.extensions().get::<Caller>().cloned().filter(|_| changes(&method));
    let answered =
        within(patience, late, answer(request, caller.as_ref(), next)).await.and_then(|answered| answered);
    let Some(caller) = caller else { return without_users(words, &path, answered).await };
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    let result = response.extensions().get::<Said>().map_or("done", |said| &said.0);
    let entry = AuditEntry {
        number: 0,
        at_unix_millis: crate::clock::unix_millis(),
        who: caller.name.to_string(),
        from,
        action: format!("{method} {}", path.chars().take(300).collect::<String>()),
        result: result.chars().take(500).collect(),
        status: response.status().as_u16(),
    };
    app.audit.add(entry, &app.feed);
    without_users(words, &path, Ok(response)).await
}

/// The answer to whoever is told words in the place of users. Events are told as they happen, and made so where they are.
async fn without_users(
    words: Option<redact::Key>,
    path: &str,
    answered: Result<Response, Failure>,
) -> Result<Response, Failure> {
    let Some(key) = words.filter(|_| path != "/api/openapi.json") else { return answered };
    let response = answered.unwrap_or_else(IntoResponse::into_response);
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.map_err(|error| Failure::unavailable(error.to_string(), "ask again"))?;
    let text = redact::redact(&key, &String::from_utf8_lossy(&body)).into_owned();
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, text.into()))
}

/// The answer to a request of somebody who is known. `changer` is given where it would change something.
async fn answer(request: Request, changer: Option<&Caller>, next: Next) -> Result<Response, Failure> {
    if let Some(caller) = changer
        && caller.role < Role::Operate
    {
        let error = format!("the token {} may only read", caller.name);
        return Err(Failure::forbidden(error, "use a token with the role operate"));
    }
    let (head, body) = request.into_parts();
    let body = within(READ_SECONDS, "send the body faster", read(&head.headers, body)).await??;
    Ok(next.run(Request::from_parts(head, body.into())).await)
}

/// What is told without a token: the page, which is the same for everybody, and whether the process lives.
fn is_public(method: &Method, path: &str, access: &Access) -> bool {
    !changes(method)
        && (matches!(path, "/healthz" | "/readyz")
            || (path == "/metrics" && access.metrics_without_token)
            || page::FILES.iter().any(|(file, ..)| *file == path))
}

/// The token shown.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The whole body, which is small or refused.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    let too_large = || {
        let error = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "move fewer users at a time")
    };
    let announced = text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        if std::error::Error::source(&error)
            .is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>())
        {
            return too_large();
        }
        Failure::bad_request(error.to_string(), "send the whole body")
    })
}

async fn within<T>(seconds: u64, late: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::time::timeout(Duration::from_secs(seconds), work).await.map_err(|_| {
        let error = format!("this took longer than {seconds} seconds");
        Failure::new(StatusCode::GATEWAY_TIMEOUT, error, late)
    })
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn check(method: &Method, path: &str, headers: &HeaderMap, access: &Access) -> Result<(), Failure> {
    // Scrapers and load balancers use names, change nothing and are told no names of users.
    if !changes(method) && matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return Ok(());
    }
    let host = text(headers, header::HOST);
    if !host.is_some_and(|host| is_address(host) || is_named(host, &access.names)) {
        let shown: String = host.unwrap_or_default().chars().take(200).collect();
        return Err(Failure::forbidden(
            format!("the API does not answer to the name {shown:?}"),
            "use the IP address of the admin listener, or localhost; other names belong into admin.names",
        ));
    }
    let origin = text(headers, header::ORIGIN);
    let is_ours = |origin: &str| origin.split_once("://").map(|(_, authority)| authority) == host;
    if headers.contains_key(header::ORIGIN) && !origin.is_some_and(is_ours) {
        let shown: String = origin.unwrap_or_default().chars().take(200).collect();
        return Err(foreign(&format!("a page of {shown:?}")));
    }
    // Whoever follows a link comes from elsewhere, and may see the page; what it asks then comes from here.
    let site = text(headers, SEC_FETCH_SITE).unwrap_or("none");
    if (path.starts_with("/api/") || changes(method)) && !matches!(site, "same-origin" | "none") {
        return Err(foreign("a page of another origin"));
    }
    if !changes(method) {
        return Ok(());
    }
    let content_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let shown: String = essence.chars().take(200).collect();
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("changes are accepted as application/json, not as {shown:?}"),
            "set Content-Type: application/json",
        ));
    }
    Ok(())
}

/// What browsers say of who made a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn foreign(who: &str) -> Failure {
    Failure::forbidden(
        format!("{who} is told nothing here and may not change anything"),
        "send the request from a program, or from the dashboard",
    )
}

/// A header that is there once and is text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

/// Whether a Host header holds one of these names, with or without a port.
fn is_named(host: &str, names: &[String]) -> bool {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    port.parse::<u16>().is_ok() && names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a Host header holds an address or `localhost`, with or without a port.
fn is_address(host: &str) -> bool {
    let (name, rest) = match host.strip_prefix('[') {
        Some(literal) => {
            let Some((literal, rest)) = literal.split_once(']') else { return false };
            if literal.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            (None, rest)
        }
        None => host.find(':').map_or((Some(host), ""), |at| (Some(&host[..at]), &host[at..])),
    };
    let port_is_good =
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let name_is_good = name.is_none_or(|name| {
        name.eq_ignore_ascii_case("localhost") || matches!(name.parse(), Ok(IpAddr::V4(_)))
    });
    port_is_good && name_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9280",
            "10.0.0.5:1",
            "localhost",
            "LocalHost:9280",
            "[::1]",
            "[::1]:9280",
        ] {
            assert!(is_address(host), "{host}");
        }
        let names = [
            "",
            ":9280",
            "evil.example",
            "evil.example:9280",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ];
        let broken =
            ["[::1", "[evil]", "[::1]x", "::1", "127.0.0.1:99999", "127.0.0.1:", "127.1:80", "[127.0.0.1]"];
        for host in names.into_iter().chain(broken) {
            assert!(!is_address(host), "{host}");
        }
    }

    fn status(method: Method, path: &str, pairs: &[(&'static str, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        let mut access = Access::default();
        access.names.push("turnout1.contoso.com".to_owned());
        check(&method, path, &headers, &access)
            .map_or_else(|failure| failure.into_response().status().as_u16(), |()| 200)
    }

    #[test]
    fn a_foreign_page_gets_nothing() {
        const HOST: (&str, &str) = ("host", "127.0.0.1:9280");
        const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
        type Row<'a> = (Method, &'a str, &'a [(&'static str, &'a str)], u16);
        let rows: &[Row<'_>] = &[
            (Method::GET, "/metrics", &[("host", "turnout1.contoso.com:9280")], 200),
            (Method::GET, "/metrics", &[], 200),
            (Method::GET, "/api/users", &[HOST], 200),
            (Method::GET, "/api/users", &[("host", "rebound.example:9280")], 403),
            (Method::GET, "/", &[("host", "rebound.example")], 403),
            (Method::GET, "/api/status", &[], 403),
            (Method::GET, "/api/status", &[HOST, ("host", "rebound.example")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON], 200),
            (Method::POST, "/metrics", &[JSON], 403),
            (Method::POST, "/api/reload", &[("host", "rebound.example"), JSON], 403),
            (Method::POST, "/api/reload", &[HOST], 415),
            (Method::POST, "/api/reload", &[HOST, ("content-type", "text/plain")], 415),
            (
                Method::POST,
                "/api/reload",
                &[HOST, ("content-type", "application/x-www-form-urlencoded")],
                415,
            ),
            (Method::POST, "/api/reload", &[HOST, JSON, ("origin", "http://127.0.0.1:9280")], 200),
            (Method::POST, "/api/reload", &[HOST, JSON, ("origin", "http://evil.example")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON, ("origin", "null")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON, ("origin", "http://127.0.0.1:8080")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON, ("origin", "x"), ("origin", "y")], 403),
            (Method::GET, "/api/users", &[HOST, ("origin", "http://evil.example")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON, ("sec-fetch-site", "same-origin")], 200),
            (Method::POST, "/api/reload", &[HOST, JSON, ("sec-fetch-site", "cross-site")], 403),
            (Method::POST, "/api/reload", &[HOST, JSON, ("sec-fetch-site", "same-site")], 403),
            (Method::GET, "/api/users", &[HOST, ("sec-fetch-site", "cross-site")], 403),
            (Method::GET, "/", &[HOST, ("sec-fetch-site", "cross-site")], 200),
            (Method::GET, "/api/users", &[("host", "turnout1.contoso.com:9280")], 200),
            (Method::GET, "/api/users", &[("host", "TURNOUT1.contoso.com")], 200),
            (Method::GET, "/api/users", &[("host", "turnout1.contoso.com.evil.example")], 403),
            (Method::GET, "/api/users", &[("host", "turnout1.contoso.com:99999")], 403),
        ];
        for (method, path, headers, expected) in rows {
            assert_eq!(status(method.clone(), path, headers), *expected, "{method} {path} {headers:?}");
        }
    }
}
