//! A small client for the admin API. Invariant: every exchange ends, within [`ANSWER_SECONDS`] and [`ANSWER_BYTES_MAX`]; an answer
//! that is no success becomes an [`Fault`] with what the router said.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::admin::answers::Problem;

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
#[derive(Clone, Debug)]
pub(super) struct Client {
    address: String,
}

impl Client {
    /// `address` is a host and port.
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
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
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.fault(&error, hint))?;
        let request = Request::builder()
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
