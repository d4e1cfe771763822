//! What stands between the admin API and a web page in an administrator's browser. Invariant: no page of another origin can
//! make the API do or tell anything. A page that rebinds its own DNS name to this address gives itself away by the Host header,
//! which is then a name; so the API answers only to addresses and to `localhost`. A form of another site cannot send JSON without
//! asking first, and nothing here answers such a question; so changes are accepted as JSON only.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Failure;

/// Largest body: a move of `limits::MOVE_USERS_MAX` users with addresses of a usual length.
pub(super) const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest time a question may take, and a body.
const READ_SECONDS: u64 = 30;

/// Longest time a change may take: a reload reads the whole directory.
const WRITE_SECONDS: u64 = 300;

/// Scripts, styles and data from here alone, and no frame around it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Checks a request, limits its time, and marks the answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match admit(request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn admit(request: Request, next: Next) -> Result<Response, Failure> {
    check(request.method(), request.uri().path(), request.headers())?;
    let (patience, late) = if changes(request.method()) {
        (WRITE_SECONDS, "it may still happen; look at /api/status")
    } else {
        (READ_SECONDS, "ask again, or for less")
    };
    let (head, body) = request.into_parts();
    let body = within(READ_SECONDS, "send the body faster", read(&head.headers, body)).await??;
    within(patience, late, next.run(Request::from_parts(head, body.into()))).await
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

fn check(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
    // Scrapers and load balancers use names, change nothing and are told no names of users.
    if !changes(method) && matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return Ok(());
    }
    let host = text(headers, header::HOST);
    if !host.is_some_and(is_address) {
        return Err(Failure::forbidden(
            format!("the API does not answer to the name {:?}", host.unwrap_or_default()),
            "use the IP address of the admin listener, or localhost",
        ));
    }
    if !changes(method) {
        return Ok(());
    }
    if let Some(origin) = text(headers, header::ORIGIN)
        && origin.split_once("://").map(|(_, authority)| authority) != host
    {
        return Err(Failure::forbidden(
            format!("a page of {origin} may not change anything here"),
            "send the request from a program, or from the status page",
        ));
    }
    let content_type = text(headers, header::CONTENT_TYPE).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("changes are accepted as application/json, not as {essence:?}"),
            "set Content-Type: application/json",
        ));
    }
    Ok(())
}

/// A header that is there once and is text.
fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
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
        check(&method, path, &headers)
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
        ];
        for (method, path, headers, expected) in rows {
            assert_eq!(status(method.clone(), path, headers), *expected, "{method} {path} {headers:?}");
        }
    }
}
