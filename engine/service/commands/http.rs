//! A small client for the admin API. Invariant: every exchange ends, within [`ANSWER_SECONDS`] and [`ANSWER_BYTES_MAX`]; an answer
//! that is no success becomes an [`Fault`] with what the router said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Place;
use crate::admin::answers::Problem;
use crate::tls::identity::read_chain;
use crate::tls::provider;

/// Longest wait for an answer: a bit longer than the router takes before it gives up.
const ANSWER_SECONDS: u64 = 310;

/// Longest wait for a connection.
const CONNECT_SECONDS: u64 = 5;

/// Largest answer: a page of the longest listing.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The status, when there was an answer.
    pub(super) status: Option<u16>,
    /// What is wrong, and what to do.
    pub(super) problem: Problem,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.problem.hint {
            Some(hint) => write!(f, "{}; {hint}", self.problem.error),
            None => f.write_str(&self.problem.error),
        }
    }
}

/// A router's admin API.
#[derive(Clone)]
pub(super) struct Client {
    address: String,
    token: Option<HeaderValue>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Client {
    /// # Errors
    /// A file that cannot be read, or the host is no name that a certificate could have.
    pub(super) fn new(place: &Place) -> Result<Self, String> {
        let token = place.token_file.as_deref().map(token).transpose()?;
        let tls = place.tls.then(|| connector(place)).transpose()?;
        Ok(Self { address: place.address.clone(), token, tls })
    }

    /// Asks.
    pub(super) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Fault> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Commands.
    pub(super) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, Fault> {
        let body =
            serde_json::to_vec(body).map_err(|error| self.fault(&error, "this is a fault of turnout"))?;
        self.exchange(Method::POST, path, body.into()).await
    }

    /// Takes back.
    pub(super) async fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, Fault> {
        self.exchange(Method::DELETE, path, Bytes::new()).await
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, Fault> {
        let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS), self.send(method, path, body));
        let late = format!("there was no answer within {ANSWER_SECONDS} seconds");
        let (status, body) = answer.await.map_err(|_| self.fault(&late, "look at the router's log"))??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                self.fault(&error, "is it a router of this version, and is --admin its admin address?")
            });
        }
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_| Problem {
            error: format!("{} answered {status}", self.address),
            hint: Some("is --admin the admin address of a turnout?".to_owned()),
        });
        Err(Fault { status: Some(status.as_u16()), problem })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Fault> {
        let hint = "is the router running, and is --admin its admin.listen?";
        let connecting =
            tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS), TcpStream::connect(&self.address));
        let connected = connecting.await.map_err(|_| self.fault(&"the connection takes too long", hint))?;
        let stream = connected.map_err(|error| self.fault(&error, hint))?;
        // The API answers to addresses, not to names.
        let host = stream.peer_addr().map_err(|error| self.fault(&error, hint))?.to_string();
        let Some((connector, name)) = &self.tls else {
            return self.ask(stream, &host, method, path, body).await;
        };
        let shaking = tokio::time::timeout(
            Duration::from_secs(CONNECT_SECONDS),
            connector.connect(name.clone(), stream),
        );
        let hint = "does its certificate name this host, and is its authority the system's or that of --ca?";
        let shaken = shaking.await.map_err(|_| self.fault(&"the TLS handshake takes too long", hint))?;
        let stream = shaken.map_err(|error| self.fault(&error, hint))?;
        self.ask(stream, &host, method, path, body).await
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let hint = "is the router running, and is --admin its admin.listen?";
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.fault(&error, hint))?;
        let mut request = Request::builder();
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| self.fault(&error, "this is a fault of turnout"))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.fault(&error, hint))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.fault(&error, "ask for less"))?;
            Ok((status, body.to_bytes()))
        };
        let drive = async {
            // Its errors reach the exchange too.
            drop(connection.await);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = exchange => answer,
            () = drive => Err(self.fault(&"the connection ended", hint)),
        }
    }

    fn fault(&self, error: &(impl ToString + ?Sized), hint: &str) -> Fault {
        let error = format!("{}: {}", self.address, error.to_string());
        Fault { status: None, problem: Problem { error, hint: Some(hint.to_owned()) } }
    }
}

/// The token in a file, which only its owner should be able to read.
fn token(path: &Path) -> Result<HeaderValue, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("--token-file {shown}: {error}"))?;
    let token = text.trim();
    if token.is_empty() || token.len() > 1000 || token.contains(char::is_whitespace) {
        return Err(format!("--token-file {shown}: holds no token; `turnout token --out FILE` writes one"));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| format!("--token-file {shown}: holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn connector(place: &Place) -> Result<(TlsConnector, ServerName<'static>), String> {
    let mut roots = rustls::RootCertStore::empty();
    match &place.ca_file {
        Some(path) => {
            for root in read_chain(path)? {
                roots.add(root).map_err(|error| format!("--ca {}: {error}", path.display()))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = place.address.rsplit_once(':').map_or(&*place.address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| format!("{host:?} is no name of a host"))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// A text as one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
