//! `turnout check --connect`: what lies between turnout and the names, the gateway and the pool that belong to it.
//!
//! Invariant: as towards partners, the router's own resolver, TLS and judgement; nothing is sent that makes a stream carry stanzas or a dialog.

use std::net::{SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use turnout_core::home::BackendKind;
use turnout_core::jid::Domain;

use super::diagnosis::Diagnosis;
use super::{Outcome, Step, Steps, reach};
use crate::clock;
use crate::config::{Config, UserSource};
use crate::resolve::{Answer, Candidate, Resolver, Service};
use crate::tls::TlsContext;

mod gateway;
mod pool;

/// A file may be so much younger than the clock says it is.
const SKEW_SECONDS: u64 = 120;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inside {
    /// No step was a finding.
    pub good: bool,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// What is wrong, each with a cure.
    pub diagnosis: Vec<Diagnosis>,
}

/// The steps so far, and what is wrong.
struct Look<'a, 't> {
    config: &'a Config,
    context: &'a TlsContext,
    now: SystemTime,
    steps: Steps<'t>,
    diagnosis: Vec<Diagnosis>,
}

impl Look<'_, '_> {
    fn wrong(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.diagnosis.push(Diagnosis { what: what.into(), cure: cure.into() });
    }
}

/// Looks; `tell` hears of each step when it is over.
///
/// # Errors
/// What of our own is missing: name servers that can be asked, certificates that can be read.
pub async fn inside(
    config: &Config,
    now: SystemTime,
    tell: &mut (dyn FnMut(&Step) + Send),
) -> Result<Inside, String> {
    let context = TlsContext::load(config).map_err(|errors| errors.to_string())?;
    let resolver = Resolver::new(&config.dns_servers)?;
    let steps = Steps { all: Vec::new(), troubles: Vec::new(), tell };
    let mut look = Look { config, context: &context, now, steps, diagnosis: Vec::new() };
    look.clock();
    for domain in &config.domains {
        look.names(&resolver, domain).await;
    }
    for (id, home) in config.homes_with_ids() {
        let nodes = config.homes.get(id).map_or(&[][..], |home| &home.connect);
        for node in nodes {
            let direct_tls = home.backend == BackendKind::Sip;
            let candidate = Candidate { host: node.host.clone(), port: node.port, direct_tls };
            let reached = reach::reach(&resolver, &[candidate], &mut look.steps).await;
            if reached.is_empty() {
                look.wrong(
                    format!("{node} of home {} cannot be reached", home.name),
                    "is the name right, the node up, and does a firewall let us through?",
                );
            }
            for (candidate, address, stream) in reached {
                let about = super::about(&candidate, address);
                match home.backend {
                    BackendKind::Xmpp => gateway::talk(&mut look, (id, home), about, stream).await,
                    BackendKind::Sip => {
                        pool::talk(&mut look, (id, home), (about, candidate.host), stream).await
                    }
                }
            }
        }
    }
    let good = look.steps.all.iter().all(|step| step.outcome != Outcome::Bad);
    Ok(Inside { good, steps: look.steps.all, diagnosis: look.diagnosis })
}

impl Look<'_, '_> {
    /// Files from the future betray a clock that is behind. The pool's `Date` is looked at later.
    fn clock(&mut self) {
        let since = clock::now();
        let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut files = vec![self.config.file.as_path()];
        if let UserSource::Csv { file, .. } = &self.config.directory.source {
            files.push(file);
        }
        let youngest =
            files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok()).map(unix).max();
        match youngest {
            Some(written) if written > unix(self.now) + SKEW_SECONDS => {
                let text = format!("files were written {} s from now", written - unix(self.now));
                self.steps.add("clock", "this machine", Outcome::Bad, text, since);
                self.wrong(
                    "the clock of this machine is behind",
                    "let chrony or systemd-timesyncd set it: certificates depend on it",
                );
            }
            _ => self.steps.add("clock", "this machine", Outcome::Good, "no file is from the future", since),
        }
    }

    /// Whether the records of a domain of ours lead here.
    async fn names(&mut self, resolver: &Resolver, domain: &Domain) {
        let Some(ascii) = domain.to_ascii() else { return };
        let federation = &self.config.federation;
        for (service, listeners, key) in [
            ("_xmpp-server", &federation.listen, "listen"),
            ("_xmpps-server", &federation.listen_tls, "listen_tls"),
        ] {
            let (since, about) = (clock::now(), format!("{service}._tcp.{ascii}"));
            let usual = key == "listen";
            match resolver.services(&ascii, service).await {
                Answer::Servers(servers) => {
                    for server in servers {
                        self.server(resolver, &about, &server, (listeners, key)).await;
                    }
                }
                Answer::Denied if usual => {
                    self.steps.add(
                        "record",
                        &about,
                        Outcome::Bad,
                        "says that there is no such service (target \".\")",
                        since,
                    );
                    self.wrong(
                        format!("partners are told that {domain} has no XMPP"),
                        format!("{about}. SRV 0 0 5269 and our name"),
                    );
                }
                Answer::Empty if usual => {
                    let text = "no record: partners try the addresses of the domain itself, port 5269";
                    self.steps.add("record", &about, Outcome::Bad, text, since);
                    self.wrong(
                        format!("partners do not find {domain}"),
                        format!("{about}. SRV 0 0 5269 and our name, step 6 of docs/migrating.md"),
                    );
                }
                Answer::Empty | Answer::Denied if listeners.is_empty() => {
                    self.steps.add(
                        "record",
                        &about,
                        Outcome::Good,
                        "no record, as there is no listen_tls",
                        since,
                    );
                }
                Answer::Empty | Answer::Denied => {
                    let text = "no record, so nobody uses federation.listen_tls";
                    self.steps.add("record", &about, Outcome::Note, text, since);
                }
                Answer::Failed(why) => self.steps.add("record", &about, Outcome::Bad, why, since),
            }
        }
    }

    /// One record, and where it leads.
    async fn server(
        &mut self,
        resolver: &Resolver,
        about: &str,
        server: &Service,
        (listeners, key): (&[SocketAddr], &str),
    ) {
        let since = clock::now();
        let place = format!("{}:{}", server.host, server.port);
        let found = match resolver.addresses(&server.host).await {
            Ok(addresses) => judge(&addresses, server.port, listeners, key),
            Err((_, why)) => Err((Outcome::Bad, why)),
        };
        let (outcome, text) = found.map_or_else(|wrong| wrong, |text| (Outcome::Good, text));
        self.steps.add("record", about, outcome, format!("{place}: {text}"), since);
        if outcome == Outcome::Bad {
            self.wrong(
                format!("{about} leads partners to {place}, where nothing is: {text}"),
                "correct the record",
            );
        }
    }
}

/// Whether what a record names is us.
fn judge(
    addresses: &[std::net::IpAddr],
    port: u16,
    listeners: &[SocketAddr],
    key: &str,
) -> Result<String, (Outcome, String)> {
    // Only an address of this machine can be bound.
    let here = |ip: &std::net::IpAddr| UdpSocket::bind((*ip, 0)).is_ok();
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let shown = shown.join(", ");
    if listeners.is_empty() {
        return Err((Outcome::Bad, format!("there is no federation.{key}")));
    }
    if !addresses.iter().any(here) {
        let text = format!(
            "{shown} is no address of this machine: right behind address translation, or before turnout is put in the path"
        );
        return Err((Outcome::Note, text));
    }
    if listeners.iter().all(|listener| listener.port() != port) {
        return Err((
            Outcome::Bad,
            format!("{shown} is this machine, and federation.{key} has another port"),
        ));
    }
    Ok(format!("{shown}, this machine and federation.{key}"))
}
