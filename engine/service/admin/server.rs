//! Connections of the admin listener. Invariant: at most [`CONNECTIONS_MAX`] at a time, none without a deadline: a client that
//! sends its header slowly, rests between requests or does not read its answer loses its place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::{App, Desk, health, paths};
use crate::access::Access;
use crate::feed::Feed;
use crate::redact;

/// Connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 32;

/// Longest time until the header of a (further) request is complete.
const HEADER_SECONDS: u64 = 15;

/// After this a connection is asked to end when its request is answered.
const CONNECTION_SECONDS: u64 = 600;

/// After this more it is cut.
const FAREWELL_SECONDS: u64 = 330;

/// Largest header, in bytes.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Pause after an accept failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest TLS handshake.
const HANDSHAKE_SECONDS: u64 = 10;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What is served, and how.
pub struct Listening {
    /// The bound listener.
    pub listener: TcpListener,
    /// The way to the router.
    pub desk: Desk,
    /// Who may do what.
    pub access: Arc<ArcSwap<Access>>,
    /// What happens.
    pub feed: Feed,
    /// TLS, where it is spoken.
    pub tls: Option<TlsAcceptor>,
    /// Users are words made with this for whoever may only read.
    pub words: Option<redact::Key>,
}

/// Binds the admin listener.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("admin.listen: cannot listen on {address}: {error}; is another turnout running?")
    })
}

/// Answers requests until `stop` is true or its sender is gone.
pub async fn serve(listening: Listening, mut stop: watch::Receiver<bool>) {
    let Listening { listener, desk, access, feed, tls, words } = listening;
    let app = Arc::new(App { words, ..App::new(desk, access, feed) });
    let paths = paths(Arc::clone(&app));
    let watch = tokio::spawn(health::watch(app));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let service = TowerToHyperService::new(paths.clone().layer(Extension(Peer(peer))));
                tokio::spawn(secured(stream, tls.clone(), service, permit));
            }
            Err(error) => {
                tracing::warn!(event = "admin.accept_failed", %error, "admin: a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    watch.abort();
}

/// Shakes hands, where TLS is spoken, and answers.
async fn secured(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: TowerToHyperService<axum::Router>,
    permit: OwnedSemaphorePermit,
) {
    let Some(tls) = tls else { return connection(stream, service, permit).await };
    let patience = Duration::from_secs(HANDSHAKE_SECONDS);
    match tokio::time::timeout(patience, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, service, permit).await,
        Ok(Err(error)) => tracing::debug!(event = "admin.tls_failed", %error, "admin: no TLS"),
        Err(_) => tracing::debug!(event = "admin.tls_failed", "admin: a TLS handshake took too long"),
    }
}

/// The next connection, once there is a place for it; until then it waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: TowerToHyperService<axum::Router>,
    permit: OwnedSemaphorePermit,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEADER_SECONDS))
        .max_buf_size(HEADER_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = tokio::time::sleep(Duration::from_secs(CONNECTION_SECONDS)) => None,
    };
    let ended = match ended {
        Some(result) => Some(result),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(Duration::from_secs(FAREWELL_SECONDS), connection).await.ok()
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(event = "admin.connection_ended", %error, "admin: connection ended");
    }
    drop(permit);
}
