//! One request to the collector. Invariant: it ends within [`ANSWER`], and no more than [`ANSWER_BYTES_MAX`] of an answer are read.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::config::Collector;

/// Longest time a request may take, connecting included.
const ANSWER: Duration = Duration::from_secs(10);

/// Largest answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A request that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// How.
    pub(super) what: String,
    /// It is no use to try again with the same.
    pub(super) for_good: bool,
}

impl Failed {
    fn now(what: impl ToString) -> Self {
        Self { what: what.to_string(), for_good: false }
    }
}

/// Sends a request. Gives how many of its spans the collector did not want.
pub(super) async fn post(collector: &Collector, body: Bytes) -> Result<u64, Failed> {
    match tokio::time::timeout(ANSWER, exchange(collector, body)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failed::now(format!("no answer within {} seconds", ANSWER.as_secs()))),
    }
}

async fn exchange(collector: &Collector, body: Bytes) -> Result<u64, Failed> {
    let stream = TcpStream::connect((&*collector.host, collector.port)).await.map_err(Failed::now)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failed::now)?;
    let request = Request::post(&collector.path)
        .header(header::HOST, collector.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("turnout/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Full::new(body))
        .map_err(Failed::now)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(Failed::now)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(Failed::now)?.to_bytes();
        judge(status, &body)
    };
    let driving = async {
        // Its errors reach whoever asks too.
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = asking => answer,
        () = driving => Err(Failed::now("the connection ended")),
    }
}

/// What an answer means, by the specification of OTLP/HTTP.
fn judge(status: StatusCode, body: &[u8]) -> Result<u64, Failed> {
    if status == StatusCode::OK {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let refused = &answer["partialSuccess"]["rejectedSpans"];
        // A 64-bit number is a string in JSON.
        let count = refused.as_u64().or_else(|| refused.as_str().and_then(|text| text.parse().ok()));
        return Ok(count.unwrap_or_default());
    }
    let again = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    Err(Failed { what: format!("it answers {status}"), for_good: !again.contains(&status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_as_the_specification_says() {
        assert_eq!(judge(StatusCode::OK, b""), Ok(0));
        assert_eq!(judge(StatusCode::OK, b"{}"), Ok(0));
        assert_eq!(judge(StatusCode::OK, br#"{"partialSuccess":{"rejectedSpans":"3"}}"#), Ok(3));
        assert_eq!(judge(StatusCode::OK, br#"{"partialSuccess":{"rejectedSpans":2}}"#), Ok(2));
        for (status, for_good) in
            [(400, true), (404, true), (301, true), (429, false), (503, false), (500, true)]
        {
            let judged = judge(StatusCode::from_u16(status).unwrap(), b"no");
            assert_eq!(judged.unwrap_err().for_good, for_good, "{status}");
        }
    }
}
