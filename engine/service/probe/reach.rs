//! From a domain to connections: every record and every address is looked at and told, not only the first that works.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use turnout_core::io::Unreachable;
use turnout_core::jid::Domain;

use super::diagnosis::Trouble;
use super::{Outcome, Steps, about};
use crate::clock;
use crate::resolve::{Answer, Candidate, Resolver, select, system_random};

/// How long one address may take to answer.
const TCP: Duration = Duration::from_secs(5);

/// Servers whose addresses are looked at.
const CANDIDATES_MAX: usize = 8;

/// Of which address, when begun, and what came of it.
type Attempt = (usize, SocketAddr, Instant, Result<TcpStream, (bool, String)>);

/// Asks for both sets of SRV records; gives the servers in the order the router would try them.
pub(super) async fn services(resolver: &Resolver, domain: &Domain, steps: &mut Steps<'_>) -> Vec<Candidate> {
    let since = clock::now();
    let Some(ascii) = domain.to_ascii() else {
        steps.add("dns", domain.as_str(), Outcome::Bad, "has no form for the DNS", since);
        steps.trouble(Trouble::NoService);
        return Vec::new();
    };
    let (plain, direct) =
        tokio::join!(resolver.services(&ascii, "_xmpp-server"), resolver.services(&ascii, "_xmpps-server"));
    for (service, answer, usual) in [("_xmpp-server", &plain, true), ("_xmpps-server", &direct, false)] {
        let (outcome, text) = match answer {
            Answer::Servers(servers) => {
                let shown =
                    servers.iter().map(|of| format!("{} {} {}:{}", of.priority, of.weight, of.host, of.port));
                let shown: Vec<String> = shown.collect();
                (
                    Outcome::Good,
                    format!("{} record(s), as priority, weight, server: {}", shown.len(), shown.join(", ")),
                )
            }
            Answer::Denied => {
                (Outcome::Bad, "the domain declares that it has no such service (target \".\")".to_owned())
            }
            Answer::Empty if usual => (
                Outcome::Note,
                "no records: the addresses of the domain itself are tried, port 5269".to_owned(),
            ),
            Answer::Empty => {
                (Outcome::Good, "no records, as usual: it has no port for TLS from the first byte".to_owned())
            }
            Answer::Failed(why) => (Outcome::Bad, why.clone()),
        };
        // That there is no direct TLS is no fault, whatever the reason.
        let outcome = if outcome == Outcome::Bad && !usual { Outcome::Note } else { outcome };
        steps.add("dns", &format!("{service}._tcp.{ascii}"), outcome, text, since);
    }
    match select(&ascii, plain, direct, &mut system_random()) {
        Ok(candidates) => candidates,
        Err((Unreachable::NotFound, _)) => {
            steps.trouble(Trouble::NoService);
            Vec::new()
        }
        Err((_, why)) => {
            steps.trouble(Trouble::DnsFailed(why));
            Vec::new()
        }
    }
}

/// Tries every address of every server; gives for each server the first connection that came about.
pub(super) async fn reach(
    resolver: &Resolver,
    candidates: &[Candidate],
    steps: &mut Steps<'_>,
) -> Vec<(Candidate, SocketAddr, TcpStream)> {
    let mut reached = Vec::new();
    let (mut tried, mut failed) = (0, 0);
    for candidate in candidates.iter().take(CANDIDATES_MAX) {
        let since = clock::now();
        let addresses = match resolver.addresses(&candidate.host).await {
            Ok(addresses) => addresses,
            Err((_, why)) => {
                steps.add("address", &candidate.host, Outcome::Bad, why, since);
                steps.trouble(Trouble::NoAddress(candidate.host.clone()));
                continue;
            }
        };
        if candidate.host.parse::<std::net::IpAddr>().is_err() {
            let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            steps.add("address", &candidate.host, Outcome::Good, shown.join(", "), since);
        }
        let mut attempts: JoinSet<Attempt> = JoinSet::new();
        for (n, ip) in addresses.into_iter().enumerate() {
            let address = SocketAddr::from((ip, candidate.port));
            attempts.spawn(async move { (n, address, clock::now(), dial(address).await) });
        }
        let mut streams = Vec::new();
        while let Some(ended) = attempts.join_next().await {
            let Ok((n, address, since, result)) = ended else { continue };
            let name = about(candidate, address);
            tried += 1;
            match result {
                Ok(stream) => {
                    steps.add("tcp", &name, Outcome::Good, "connected", since);
                    streams.push((n, address, stream));
                }
                Err((ours, why)) => {
                    let outcome = if ours { Outcome::Note } else { Outcome::Bad };
                    failed += usize::from(!ours);
                    steps.add("tcp", &name, outcome, why, since);
                }
            }
        }
        streams.sort_by_key(|(n, _, _)| *n);
        reached.extend(
            streams.into_iter().next().map(|(_, address, stream)| (candidate.clone(), address, stream)),
        );
    }
    match (reached.is_empty(), failed) {
        (true, _) if tried > 0 => steps.trouble(Trouble::NothingAnswers),
        (false, 1..) => steps.trouble(Trouble::SomeAddressesDead),
        _ => {}
    }
    reached
}

/// Connects; the error says whether it is this machine that has no way there.
async fn dial(address: SocketAddr) -> Result<TcpStream, (bool, String)> {
    match timeout(TCP, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if address.is_ipv6() && error.kind() == ErrorKind::NetworkUnreachable => {
            Err((true, "this machine has no way to IPv6".to_owned()))
        }
        Ok(Err(error)) => Err((false, error.to_string())),
        Err(_) => Err((false, format!("no answer within {} s", TCP.as_secs()))),
    }
}
