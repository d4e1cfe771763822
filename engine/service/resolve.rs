//! Finding and reaching a peer: SRV records by RFC 2782 and XEP-0368, addresses, TCP connections.
//!
//! Invariant: names are asked for absolutely, with their final dot, so that the search list of the system is never tried; a service
//! that says it is not there (target `.`) is believed; and addresses of the domain itself are tried only where no SRV record
//! exists, never because the hosts in them are down (RFC 6120 §3.2).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use turnout_core::home::HostPort;
use turnout_core::io::{Target, Unreachable};
use turnout_core::jid::Domain;

mod connect;
mod order;

pub use connect::{Reached, connect};
pub use order::{Answer, Candidate, Service, order, select};

/// The S2S port where DNS does not say one.
const XMPP_PORT: u16 = 5269;

/// SRV records of one name that are looked at.
const RECORDS_MAX: usize = 64;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 16;

/// Names whose answers are remembered.
const CACHE_NAMES: u64 = 16_384;

/// Longest and shortest time an answer is remembered, whatever its TTL.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3600);
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);

/// What could not be found or reached, and what was tried, for the log.
pub type Failure = (Unreachable, String);

/// Asks the DNS. Cheap to clone; one for the process.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
}

impl Resolver {
    /// With these name servers, or the system's where there are none.
    ///
    /// # Errors
    /// When the system's settings cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let failed = |error: NetError| {
            format!("the system's name servers cannot be read ({error}); list some in [dns] servers")
        };
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = servers.iter().map(|&address| name_server(address)).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        bound(builder.options_mut());
        Ok(Self { inner: builder.build().map_err(failed)? })
    }

    /// Where to connect for a target, best first. `random` gives a number from 0 to its argument.
    ///
    /// # Errors
    /// [`Unreachable::NotFound`] when the domain has no such service, [`Unreachable::Unresolved`] when that cannot be said now.
    pub async fn candidates(
        &self,
        target: &Target,
        direct: bool,
        random: &mut (dyn FnMut(u64) -> u64 + Send),
    ) -> Result<Vec<Candidate>, Failure> {
        match target {
            Target::Hosts(hosts) if hosts.is_empty() => {
                Err((Unreachable::NotFound, "no host is configured".to_owned()))
            }
            Target::Hosts(hosts) => Ok(hosts
                .iter()
                .map(|HostPort { host, port }| Candidate {
                    host: host.clone(),
                    port: *port,
                    direct_tls: direct,
                })
                .collect()),
            Target::XmppService(domain) => self.xmpp_service(domain, random).await,
        }
    }

    /// The servers of an XMPP domain (XS-01 to XS-05).
    async fn xmpp_service(
        &self,
        domain: &Domain,
        random: &mut (dyn FnMut(u64) -> u64 + Send),
    ) -> Result<Vec<Candidate>, Failure> {
        let bare = domain.as_str().trim_matches(['[', ']']);
        if bare.parse::<IpAddr>().is_ok() {
            return Ok(vec![Candidate { host: bare.to_owned(), port: XMPP_PORT, direct_tls: false }]);
        }
        let Some(ascii) = domain.to_ascii() else {
            return Err((Unreachable::NotFound, format!("{domain} has no form for the DNS")));
        };
        let (plain, direct) =
            tokio::join!(self.services(&ascii, "_xmpp-server"), self.services(&ascii, "_xmpps-server"));
        select(&ascii, plain, direct, random)
    }

    /// What the DNS says of one service of a domain, both given in ASCII: `_xmpp-server` or `_xmpps-server` over TCP.
    pub async fn services(&self, domain: &str, service: &str) -> Answer {
        let name = format!("{service}._tcp.{domain}.");
        let Ok(name) = Name::from_ascii(&name) else {
            return Answer::Failed(format!("{name} is no name for the DNS"));
        };
        match self.inner.srv_lookup(name.clone()).await {
            Ok(lookup) => {
                let records = lookup.answers().iter().filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Service {
                        priority: srv.priority,
                        weight: srv.weight,
                        host: host_text(&srv.target),
                        port: srv.port,
                    }),
                    _ => None,
                });
                Answer::of(records.take(RECORDS_MAX).collect())
            }
            Err(error) if says_nothing(&error) => Answer::Empty,
            Err(error) => Answer::Failed(format!("{name}: {error}")),
        }
    }

    /// The addresses of a host, IPv6 and IPv4 taking turns.
    ///
    /// # Errors
    /// As [`Resolver::candidates`].
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let absolute = format!("{}.", host.trim_end_matches('.'));
        let Ok(name) = Name::from_ascii(&absolute) else {
            return Err((Unreachable::NotFound, format!("{host} is no name for the DNS")));
        };
        match self.inner.lookup_ip(name).await {
            Ok(found) => {
                let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(IpAddr::is_ipv6);
                let addresses = take_turns(six, four);
                if addresses.is_empty() {
                    Err((Unreachable::NotFound, format!("{host} has no address")))
                } else {
                    Ok(addresses)
                }
            }
            Err(error) if says_nothing(&error) => {
                Err((Unreachable::NotFound, format!("{host} has no address")))
            }
            Err(error) => Err((Unreachable::Unresolved, format!("{host}: {error}"))),
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn bound(options: &mut ResolverOpts) {
    options.cache_size = CACHE_NAMES;
    options.positive_min_ttl = Some(TTL_MIN);
    options.negative_min_ttl = Some(TTL_MIN);
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.ip_strategy = hickory_resolver::config::LookupIpStrategy::Ipv4AndIpv6;
}

/// Whether an error is the answer that there are no such records, in contrast to no answer.
fn says_nothing(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            matches!(response_code, ResponseCode::NXDomain | ResponseCode::NoError)
        }
        _ => false,
    }
}

/// A target as text without its final dot; empty for the root.
fn host_text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn take_turns(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut merged = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] || merged.len() >= ADDRESSES_MAX {
            return merged;
        }
        merged.extend(pair.into_iter().flatten());
    }
}

/// Numbers from the provider's generator, for [`connect`] and [`Resolver::candidates`].
pub fn system_random() -> impl FnMut(u64) -> u64 + Send {
    let provider: Arc<rustls::crypto::CryptoProvider> = crate::tls::provider();
    move |max| {
        let mut bytes = [0_u8; 8];
        // Without random numbers the order is merely the same each time.
        let filled = provider.secure_random.fill(&mut bytes).is_ok();
        let number = if filled { u64::from_le_bytes(bytes) } else { 0 };
        max.checked_add(1).map_or(number, |count| number % count)
    }
}

#[cfg(test)]
mod tests;
