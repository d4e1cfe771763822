//! `turnout probe`: the way to a partner, step by step, and what to do where it ends.
//!
//! Invariant: it goes the router's own way – the same resolver, the same TLS, the same judgement of certificates, the policy of the same
//! configuration – and carries no stanza. A step that was not made says so and why; a finding names who has to do what.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use turnout_core::io::TrustId;
use turnout_core::jid::Domain;
use turnout_core::policy::{Methods, Negotiation};
use turnout_core::trial::Tried;

use crate::clock;
use crate::config::Config;
use crate::resolve::{Candidate, Resolver};
use crate::tls::TlsContext;

mod diagnosis;
pub mod inside;
mod line;
mod reach;
mod talk;

pub use diagnosis::Diagnosis;

use diagnosis::Trouble;

/// Servers of a partner that are talked to.
const TALKS_MAX: usize = 4;

/// How long a peer may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Good,
    /// It works; somebody should know.
    Note,
    /// A finding.
    Bad,
    /// Not made; the text says why.
    Skipped,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    /// What was looked at: policy, dns, address, tcp, stream, starttls, tls, certificate, external, dialback, ping.
    pub step: Cow<'static, str>,
    /// Of whom: a DNS name, a server with its address.
    pub about: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// The partner's domain.
    pub partner: String,
    /// The local domain in whose name it was done.
    pub from: String,
    /// No step was a finding: exit code 0.
    pub good: bool,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// What is wrong, the decisive first, each with a cure.
    pub diagnosis: Vec<Diagnosis>,
}

impl Report {
    /// Adds what became of a ping on the running router's own stream, in place of why there was none.
    pub fn pinged(&mut self, tried: &Result<Tried, String>, since: Instant) {
        let (outcome, text) = match tried {
            Ok(Tried::Answered) => {
                (Outcome::Good, "answered, there and back over the running router's streams".to_owned())
            }
            Ok(Tried::Refused(refusal)) => {
                (Outcome::Bad, format!("the running router could not deliver it: {refusal}"))
            }
            Ok(Tried::Delivered | Tried::Homeless) => (Outcome::Note, "sent, and not answered".to_owned()),
            // A server need not answer pings.
            Err(why) => (Outcome::Note, why.clone()),
        };
        self.steps.retain(|step| step.step != "ping");
        let millis = u64::try_from(clock::now().duration_since(since).as_millis()).unwrap_or(u64::MAX);
        self.steps.push(Step { step: "ping".into(), about: self.partner.clone(), outcome, text, millis });
        if outcome != Outcome::Good {
            self.good = outcome != Outcome::Bad;
            self.diagnosis.push(Diagnosis {
                what: format!("{} accepts us, and a ping does not come back", self.partner),
                cure: format!(
                    "it has to open a stream of its own to {}: does _xmpp-server._tcp.{} lead here (turnout check --connect), and may it \
                     reach us? The log says what came of it (about = {})",
                    self.from, self.from, self.partner
                ),
            });
        }
    }
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// It is the operator's own: its policy holds and its certificates are shown. Otherwise only what anybody could see is looked at.
    pub own: bool,
    /// The partner's domain.
    pub partner: &'a Domain,
    /// The local domain in whose name.
    pub from: &'a Domain,
    /// The time at which certificates are judged.
    pub now: SystemTime,
}

/// What policy says of the partner.
struct Terms {
    listed: bool,
    tls: Negotiation,
    methods: Methods,
    proxy: Option<Candidate>,
    trust: TrustId,
    pins: Vec<[u8; 32]>,
}

/// The steps so far.
struct Steps<'a> {
    all: Vec<Step>,
    troubles: Vec<Trouble>,
    tell: &'a mut (dyn FnMut(&Step) + Send),
}

impl Steps<'_> {
    fn add(
        &mut self,
        step: &'static str,
        about: &str,
        outcome: Outcome,
        text: impl Into<String>,
        since: Instant,
    ) {
        let millis = u64::try_from(clock::now().duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let step = Step { step: step.into(), about: about.to_owned(), outcome, text: text.into(), millis };
        (self.tell)(&step);
        self.all.push(step);
    }

    fn trouble(&mut self, trouble: Trouble) {
        if !self.troubles.contains(&trouble) {
            self.troubles.push(trouble);
        }
    }
}

/// Goes the way to a partner; `tell` hears of each step when it is over.
///
/// # Errors
/// What of our own is missing: name servers that can be asked, certificates that can be read.
pub async fn probe(asked: Asked<'_>, tell: &mut (dyn FnMut(&Step) + Send)) -> Result<Report, String> {
    let context = TlsContext::load(asked.config).map_err(|errors| errors.to_string())?;
    let resolver = Resolver::new(&asked.config.dns_servers)?;
    let mut steps = Steps { all: Vec::new(), troubles: Vec::new(), tell };
    let terms = terms(&asked, &mut steps);
    let candidates = match &terms.proxy {
        Some(proxy) => {
            let text = format!("not asked: the configuration says proxy = {}:{}", proxy.host, proxy.port);
            steps.add("dns", asked.partner.as_str(), Outcome::Skipped, text, clock::now());
            vec![proxy.clone()]
        }
        None => reach::services(&resolver, asked.partner, &mut steps).await,
    };
    let reached = reach::reach(&resolver, &candidates, &mut steps).await;
    for (candidate, address, stream) in reached.into_iter().take(TALKS_MAX) {
        let about = about(&candidate, address);
        let line = line::Line::new(stream);
        talk::talk(
            talk::Plan { asked, terms: &terms, context: &context },
            about,
            line,
            candidate.direct_tls,
            &mut steps,
        )
        .await;
    }
    let good = steps.all.iter().all(|step| step.outcome != Outcome::Bad);
    Ok(Report {
        partner: asked.partner.as_str().to_owned(),
        from: asked.from.as_str().to_owned(),
        good,
        diagnosis: diagnosis::of(steps.troubles, &asked),
        steps: steps.all,
    })
}

/// What the configuration says of the partner.
fn terms(asked: &Asked<'_>, steps: &mut Steps<'_>) -> Terms {
    let since = clock::now();
    let anything = Methods { sasl_over_tls: true, tls_dialback: true, tcp_dialback: true };
    let open = Terms {
        listed: false,
        tls: Negotiation::Optional,
        methods: anything,
        proxy: None,
        trust: TrustId::FEDERATION,
        pins: Vec::new(),
    };
    let name = asked.partner.as_str();
    if !asked.own {
        let text = "no --config: only what anybody can see is looked at, and nothing of ours is shown";
        steps.add("policy", name, Outcome::Skipped, text, since);
        return open;
    }
    let Some(view) = asked.config.policy.find(name) else {
        steps.add(
            "policy",
            name,
            Outcome::Bad,
            "is no [[partner]], and unlisted_partners = \"refuse\"",
            since,
        );
        steps.trouble(Trouble::Unlisted);
        return open;
    };
    let ways = [
        (view.methods.sasl_over_tls, "EXTERNAL over TLS"),
        (view.methods.tls_dialback, "dialback over TLS"),
        (view.methods.tcp_dialback, "dialback without TLS"),
    ];
    let ways: Vec<&str> = ways.into_iter().filter(|(on, _)| *on).map(|(_, way)| way).collect();
    let entry = view
        .primary_domain
        .map_or_else(|| "not listed, taken by unlisted_partners".to_owned(), |of| format!("partner {of}"));
    let text = format!("{entry}, {}; he may prove himself by {}", view.kind.as_str(), ways.join(", "));
    steps.add("policy", name, Outcome::Good, text, since);
    Terms {
        listed: true,
        tls: view.tls,
        methods: view.methods,
        proxy: view.proxy.map(|at| Candidate { host: at.host.clone(), port: at.port, direct_tls: false }),
        trust: view.trust.unwrap_or(TrustId::FEDERATION),
        pins: view.pins.to_vec(),
    }
}

/// A server with its address.
fn about(candidate: &Candidate, address: SocketAddr) -> String {
    if candidate.host.parse::<std::net::IpAddr>().is_ok() {
        address.to_string()
    } else {
        format!("{} ({address})", candidate.host)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11} {}: {} ({} ms)", self.step, self.about, self.text, self.millis)
    }
}
