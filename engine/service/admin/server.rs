//! Connections of the admin listener. Invariant: at most [`CONNECTIONS_MAX`] at a time, none without a deadline: a client that
//! sends its header slowly, rests between requests or does not read its answer loses its place.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{App, Desk, health, paths};

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

/// Binds the admin listener, with a warning where it can be reached from other machines.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    if !address.ip().is_loopback() {
        tracing::warn!(event = "admin.exposed", %address, "admin.listen is not on loopback: whoever reaches it can move users");
    }
    TcpListener::bind(address).await.map_err(|error| {
        format!("admin.listen: cannot listen on {address}: {error}; is another turnout running?")
    })
}

/// Answers requests until `stop` is true or its sender is gone.
pub async fn serve(listener: TcpListener, desk: Desk, mut stop: watch::Receiver<bool>) {
    let app = Arc::new(App::new(desk));
    let paths = paths(Arc::clone(&app));
    let watch = tokio::spawn(health::watch(app));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let service = TowerToHyperService::new(paths.clone());
                tokio::spawn(connection(stream, service, permit));
            }
            Err(error) => {
                tracing::warn!(event = "admin.accept_failed", %error, "admin: a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    watch.abort();
}

/// The next connection, once there is a place for it; until then it waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn connection(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
    permit: OwnedSemaphorePermit,
) -> Result<(), Infallible> {
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
    Ok(())
}
