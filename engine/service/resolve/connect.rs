//! Connecting: the best host first and the others soon after, the addresses of each with a short head start for the first. Whoever
//! answers first is taken; so a host that is down costs its head start, and not the time until it is given up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use turnout_core::io::{Target, Unreachable};
use turnout_core::limits::CONNECT_SECONDS;

use super::{Candidate, Failure, Resolver};

/// Head start of one address before the next of the same host is tried too (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Head start of one host before the next is tried too: long enough for a far server, and for one lost packet.
const HOST_STAGGER: Duration = Duration::from_secs(1);

/// How long one address may take.
const ADDRESS_SECONDS: u64 = 8;

/// A connection that came to be.
#[derive(Debug)]
pub struct Reached {
    /// The connection, with TCP_NODELAY.
    pub stream: TcpStream,
    /// TLS comes first.
    pub direct_tls: bool,
    /// Host and address, for the log.
    pub peer: Arc<str>,
}

/// Connects to a target: finds its hosts, then tries every address of each (XS-01). `direct` says whether TLS comes first at
/// configured hosts; for an XMPP service DNS says it.
///
/// # Errors
/// The class of failure and what was tried: [`Unreachable::NoAnswer`] when there were addresses and none answered.
pub async fn connect(
    resolver: &Resolver,
    target: &Target,
    direct: bool,
    random: &mut (dyn FnMut(u64) -> u64 + Send),
) -> Result<Reached, Failure> {
    let mut tried = Vec::new();
    let attempt = async {
        let candidates = resolver.candidates(target, direct, random).await?;
        let mut worst = Unreachable::NotFound;
        let mut waiting = candidates.into_iter();
        let mut attempts: JoinSet<Result<Reached, Failure>> = JoinSet::new();
        loop {
            let next = waiting.next();
            let last = next.is_none();
            if let Some(candidate) = next {
                let resolver = resolver.clone();
                attempts.spawn(async move { reach(&resolver, &candidate).await });
            }
            let ended = if last {
                attempts.join_next().await
            } else {
                match timeout(HOST_STAGGER, attempts.join_next()).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                }
            };
            match ended {
                // The others are given up where they are.
                Some(Ok(Ok(reached))) => return Ok(reached),
                Some(Ok(Err((why, text)))) => {
                    worst = worse(worst, why);
                    tried.push(text);
                }
                Some(Err(error)) => tried.push(error.to_string()),
                None => break,
            }
        }
        Err((worst, String::new()))
    };
    match timeout(Duration::from_secs(CONNECT_SECONDS), attempt).await {
        Ok(Ok(reached)) => Ok(reached),
        Ok(Err((why, text))) => {
            tried.extend((!text.is_empty()).then_some(text));
            Err((why, tried.join("; ")))
        }
        Err(_) => {
            tried.push(format!("no connection within {CONNECT_SECONDS} s"));
            Err((Unreachable::NoAnswer, tried.join("; ")))
        }
    }
}

/// What to say of several failures: an address that did not answer tells more than a name that could not be looked up, and that
/// more than one that does not exist.
fn worse(a: Unreachable, b: Unreachable) -> Unreachable {
    let rank = |why| match why {
        Unreachable::NotFound => 0,
        Unreachable::Unresolved => 1,
        Unreachable::Tls | Unreachable::Limit => 2,
        Unreachable::NoAnswer => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

async fn reach(resolver: &Resolver, candidate: &Candidate) -> Result<Reached, Failure> {
    let addresses = resolver.addresses(&candidate.host).await?;
    let mut waiting = addresses.into_iter().map(|ip| SocketAddr::from((ip, candidate.port)));
    let mut attempts: JoinSet<Result<TcpStream, String>> = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        let next = waiting.next();
        let last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(dial(address));
        }
        // With addresses left, the one under way has its head start; without, all get their full time.
        let ended = if last {
            attempts.join_next().await
        } else {
            match timeout(STAGGER, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(reached(stream, candidate)),
            Some(Ok(Err(text))) => failures.push(text),
            Some(Err(error)) => failures.push(error.to_string()),
            None => break,
        }
    }
    Err((Unreachable::NoAnswer, format!("{}: {}", candidate.host, failures.join(", "))))
}

async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = timeout(Duration::from_secs(ADDRESS_SECONDS), TcpStream::connect(address))
        .await
        .map_err(|_| format!("{address} did not answer within {ADDRESS_SECONDS} s"))?
        .map_err(|error| format!("{address}: {error}"))?;
    stream.set_nodelay(true).map_err(|error| format!("{address}: {error}"))?;
    Ok(stream)
}

fn reached(stream: TcpStream, candidate: &Candidate) -> Reached {
    let peer = match stream.peer_addr() {
        Ok(address) if candidate.host.parse::<IpAddr>().is_ok() => address.to_string(),
        Ok(address) => format!("{} ({address})", candidate.host),
        Err(_) => candidate.host.clone(),
    };
    Reached { stream, direct_tls: candidate.direct_tls, peer: peer.into() }
}
