//! The conversation with one server: stream, TLS, certificate, what it offers, whether it takes us for who we are.

use std::time::{Instant, UNIX_EPOCH};

use turnout_core::io::{ClientTls, Identity, PeerCertificate};
use turnout_core::policy::Negotiation;
use turnout_xmpp::probe::{Features, Probe, Seen, vouch};

use super::diagnosis::Trouble;
use super::line::Line;
use super::{Asked, Outcome, Steps, Terms};
use crate::clock;
use crate::tls::{TlsContext, facts};

/// A certificate that ends within so many days is worth a note.
const EXPIRY_DAYS: i64 = 30;

/// What every conversation needs.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) terms: &'a Terms,
    pub(super) context: &'a TlsContext,
}

/// An open stream.
struct Opened {
    features: Features,
    /// Dialback is known there: by feature or by namespace.
    dialback: bool,
}

/// The conversation ended before its end; the step that did it is told.
struct Over;

struct Talk<'p, 's, 't> {
    plan: Plan<'p>,
    about: String,
    line: Line,
    probe: Probe,
    secured: bool,
    steps: &'s mut Steps<'t>,
}

/// Talks to one server.
pub(super) async fn talk(plan: Plan<'_>, about: String, line: Line, direct_tls: bool, steps: &mut Steps<'_>) {
    let probe = Probe::new(plan.asked.from.clone(), plan.asked.partner.clone());
    let mut talk = Talk { plan, about, line, probe, secured: false, steps };
    // What ended it is told already.
    drop(talk.whole(direct_tls).await);
    let goodbye = talk.probe.close();
    if talk.line.send(&goodbye).await.is_ok() {
        talk.line.finish().await;
    }
}

impl Talk<'_, '_, '_> {
    async fn whole(&mut self, direct_tls: bool) -> Result<(), Over> {
        if direct_tls {
            self.tls(true).await?;
        }
        let mut opened = self.open("stream").await?;
        if !self.secured {
            opened = self.starttls(opened).await?;
        }
        let external = self.external(&opened).await?;
        self.dialback(&opened, external);
        let why = "not from here: between servers an answer comes on a stream of its own, to the running router; ask that with --running";
        self.told("ping", Outcome::Skipped, why, clock::now());
        Ok(())
    }

    /// Opens a stream.
    async fn open(&mut self, step: &'static str) -> Result<Opened, Over> {
        let since = clock::now();
        let header = self.probe.open();
        let sent = self.line.send(&header).await;
        sent.map_err(|why| self.broken(step, why, since))?;
        let mut dialback = false;
        loop {
            match self.heard(step, since).await? {
                Seen::Header { has_features: false, dialback, .. } => {
                    self.told(
                        step,
                        Outcome::Note,
                        "open, before XMPP 1.0: there is no TLS and no EXTERNAL",
                        since,
                    );
                    return Ok(Opened { features: Features::default(), dialback });
                }
                Seen::Header { dialback: declared, has_id, .. } => dialback = declared && has_id,
                Seen::Features(features) => {
                    let dialback = dialback || features.dialback;
                    self.told(
                        step,
                        Outcome::Good,
                        format!("open; offered are {}", offers(&features, dialback)),
                        since,
                    );
                    return Ok(Opened { features, dialback });
                }
                other => return Err(self.unexpected(step, &other, since)),
            }
        }
    }

    async fn starttls(&mut self, opened: Opened) -> Result<Opened, Over> {
        let since = clock::now();
        match (opened.features.starttls, self.plan.terms.tls) {
            (true, Negotiation::NotSupported) if opened.features.starttls_required => {
                self.told("starttls", Outcome::Bad, "required there, and tls = \"none\" here", since);
                self.steps.trouble(Trouble::TlsDemanded);
                Err(Over)
            }
            (true, Negotiation::NotSupported) => {
                self.told("starttls", Outcome::Skipped, "offered; policy has tls = \"none\"", since);
                Ok(opened)
            }
            (true, _) => {
                let request = self.probe.starttls();
                let sent = self.line.send(&request).await;
                sent.map_err(|why| self.broken("starttls", why, since))?;
                match self.heard("starttls", since).await? {
                    Seen::Proceed => self.told("starttls", Outcome::Good, "offered and begun", since),
                    Seen::TlsRefused => {
                        self.told("starttls", Outcome::Bad, "offered, and then refused", since);
                        self.steps.trouble(Trouble::TlsRefused);
                        return Err(Over);
                    }
                    other => return Err(self.unexpected("starttls", &other, since)),
                }
                self.tls(false).await?;
                self.open("stream").await
            }
            (false, Negotiation::Required) => {
                self.told("starttls", Outcome::Bad, "not offered, and policy has tls = \"required\"", since);
                self.steps.trouble(Trouble::NoTls);
                Err(Over)
            }
            (false, _) => {
                self.told("starttls", Outcome::Note, "not offered: everything can be read on the way", since);
                Ok(opened)
            }
        }
    }

    /// The handshake, and the certificate.
    async fn tls(&mut self, direct: bool) -> Result<(), Over> {
        let since = clock::now();
        let Asked { partner, from, own, now, .. } = self.plan.asked;
        let server_name = partner.to_ascii().unwrap_or_else(|| partner.as_str().to_owned());
        let tls = ClientTls {
            server_name: server_name.into(),
            trust: self.plan.terms.trust,
            identity: if own { Identity::Domain(from.clone()) } else { Identity::Anonymous },
            alpn_xmpp: direct,
        };
        let done = match self.plan.context.connect(&tls) {
            Ok(session) => self.line.secure(session).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = done {
            self.told("tls", Outcome::Bad, why, since);
            self.steps.trouble(Trouble::Handshake);
            return Err(Over);
        }
        self.secured = true;
        let Some((secured, chain)) = self.line.secured(now) else { return Err(Over) };
        self.told("tls", Outcome::Good, secured.version, since);
        let names = chain.first().and_then(|leaf| facts::names(leaf).ok());
        self.certificate(secured.certificate.as_deref(), names.as_ref(), since)
    }

    fn certificate(
        &mut self,
        certificate: Option<&PeerCertificate>,
        names: Option<&facts::Names>,
        since: Instant,
    ) -> Result<(), Over> {
        let Asked { partner, now, .. } = self.plan.asked;
        let terms = self.plan.terms;
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let days = names.map(|names| (names.validity.1 - seconds) / 86_400);
        let lasts = days.map_or(String::new(), |days| match days {
            ..0 => format!(", expired {} days ago", -days),
            _ => format!(", good for {days} days"),
        });
        match vouch(certificate, partner, terms.trust, &terms.pins) {
            Ok(fit) => {
                let issuer = certificate.map_or("", |certificate| &certificate.issuer);
                let name = if fit.name.is_empty() { String::new() } else { format!(" {:?}", fit.name) };
                let soon = days.is_some_and(|days| days < EXPIRY_DAYS);
                let outcome = if soon { Outcome::Note } else { Outcome::Good };
                self.told(
                    "certificate",
                    outcome,
                    format!("fits by {}{name}, issuer {issuer:?}{lasts}", fit.rule),
                    since,
                );
                if let (true, Some(days)) = (soon, days) {
                    self.steps.trouble(Trouble::Expiring(days));
                }
                Ok(())
            }
            Err(why) => {
                let tolerated = terms.methods.tls_dialback && terms.listed;
                let outcome = if tolerated { Outcome::Note } else { Outcome::Bad };
                let more = if tolerated { "; dialback can do without" } else { "" };
                self.told("certificate", outcome, format!("{why}{lasts}{more}"), since);
                self.steps.trouble(trouble_of(certificate, self.plan));
                // Without --config nothing is decided: go on and look.
                if tolerated || !self.plan.asked.own { Ok(()) } else { Err(Over) }
            }
        }
    }

    /// Shows our certificate, where that may be and can be; whether the peer takes it, `None` where that was not tried.
    async fn external(&mut self, opened: &Opened) -> Result<Option<bool>, Over> {
        let since = clock::now();
        let Opened { features, dialback } = opened;
        let allowed = self.plan.terms.methods.sasl_over_tls;
        let other_way = *dialback && self.plan.terms.methods.dialback();
        let fault = if other_way { Outcome::Note } else { Outcome::Bad };
        if !self.secured {
            self.told("external", Outcome::Skipped, "needs TLS", since);
            return Ok(None);
        }
        if !features.external {
            if !allowed {
                self.told(
                    "external",
                    Outcome::Skipped,
                    "not offered; policy has sasl = \"none\" anyway",
                    since,
                );
                return Ok(None);
            }
            if !self.plan.asked.own {
                let text = "not offered: without --config no certificate of ours was shown, and many servers offer it only then";
                self.told("external", Outcome::Skipped, text, since);
                return Ok(None);
            }
            self.told("external", fault, "not offered: it does not want the certificate we showed", since);
            self.steps.trouble(Trouble::ExternalMissing);
            return Ok(Some(false));
        }
        if !allowed || !self.plan.asked.own {
            let why = if allowed { "not tried without --config" } else { "policy has sasl = \"none\"" };
            self.told("external", Outcome::Skipped, format!("offered; {why}"), since);
            return Ok(None);
        }
        let request = self.probe.external();
        let sent = self.line.send(&request).await;
        sent.map_err(|why| self.broken("external", why, since))?;
        match self.heard("external", since).await? {
            Seen::Accepted => {
                let text = format!("it takes us for {} by our certificate", self.plan.asked.from);
                self.told("external", Outcome::Good, text, since);
                self.open("stream").await?;
                Ok(Some(true))
            }
            Seen::Refused(condition) => {
                self.told("external", fault, format!("it refused our certificate: {condition}"), since);
                self.steps.trouble(Trouble::ExternalRefused(condition));
                Ok(Some(false))
            }
            other => Err(self.unexpected("external", &other, since)),
        }
    }

    fn dialback(&mut self, opened: &Opened, external: Option<bool>) {
        let since = clock::now();
        let methods = self.plan.terms.methods;
        let allowed = if self.secured { methods.tls_dialback } else { methods.tcp_dialback };
        match (allowed, opened.dialback) {
            (true, true) => {
                let text = "offered; not tried, because it would ask the running router at our own domain about the key";
                self.told("dialback", Outcome::Good, text, since);
            }
            (false, true) => {
                self.told("dialback", Outcome::Skipped, "offered; policy does not allow it here", since)
            }
            (_, false) => self.told("dialback", Outcome::Note, "not offered", since),
        }
        let hopeless = external.is_none_or(|accepted| !accepted) && !(allowed && opened.dialback);
        if hopeless && self.plan.asked.own && external != Some(false) {
            self.told("proof", Outcome::Bad, "there is no way left to prove who we are", since);
        }
        if hopeless && self.plan.asked.own {
            self.steps.trouble(Trouble::NoWay);
        }
    }

    /// The next thing the peer says.
    async fn heard(&mut self, step: &'static str, since: Instant) -> Result<Seen, Over> {
        loop {
            // What was said in one go is taken one by one: only what ends a phase has something behind it, which then does not count.
            if let Some(seen) = self.probe.next() {
                return match seen {
                    Seen::Error { condition, text } => Err(self.ended(step, &condition, &text, since)),
                    seen => Ok(seen),
                };
            }
            match self.line.receive().await {
                Ok(Some(bytes)) => {
                    if let Err(why) = self.probe.receive(bytes) {
                        self.told(step, Outcome::Bad, format!("this is no XMPP server: {why}"), since);
                        self.steps.trouble(Trouble::NotXmpp);
                        return Err(Over);
                    }
                }
                Ok(None) => {
                    return Err(self.broken(
                        step,
                        "it closed the connection without a word".to_owned(),
                        since,
                    ));
                }
                Err(why) => return Err(self.broken(step, why, since)),
            }
        }
    }

    fn told(&mut self, step: &'static str, outcome: Outcome, text: impl Into<String>, since: Instant) {
        self.steps.add(step, &self.about, outcome, text, since);
    }

    fn broken(&mut self, step: &'static str, why: String, since: Instant) -> Over {
        self.told(step, Outcome::Bad, why, since);
        self.steps.trouble(if self.secured { Trouble::BrokenAfterTls } else { Trouble::Broken });
        Over
    }

    fn ended(&mut self, step: &'static str, condition: &str, text: &str, since: Instant) -> Over {
        self.told(step, Outcome::Bad, format!("it ended the stream with {condition} {text}"), since);
        self.steps.trouble(Trouble::StreamError(condition.to_owned()));
        Over
    }

    fn unexpected(&mut self, step: &'static str, seen: &Seen, since: Instant) -> Over {
        let what = match seen {
            Seen::Closed => "it ended the stream",
            _ => "it said something that has no place here",
        };
        self.broken(step, what.to_owned(), since)
    }
}

/// What is wrong with a certificate that was not accepted.
fn trouble_of(certificate: Option<&PeerCertificate>, plan: Plan<'_>) -> Trouble {
    let Some(certificate) = certificate else { return Trouble::NoCertificate };
    if !plan.terms.pins.is_empty() {
        return Trouble::WrongKey;
    }
    if certificate.trusted.contains(&plan.terms.trust) {
        return Trouble::WrongName;
    }
    let why = certificate.untrusted_because.as_deref().unwrap_or_default();
    if why.contains("expired") || why.contains("not valid yet") {
        Trouble::WrongTime
    } else {
        Trouble::Untrusted
    }
}

/// What a server offers, in words.
fn offers(features: &Features, dialback: bool) -> String {
    let mut words = Vec::new();
    match (features.starttls, features.starttls_required) {
        (true, true) => words.push("STARTTLS (required)".to_owned()),
        (true, false) => words.push("STARTTLS".to_owned()),
        (false, _) => {}
    }
    if !features.mechanisms.is_empty() {
        words.push(format!("SASL {}", features.mechanisms.join(" ")));
    }
    for (on, word) in [(dialback, "dialback"), (features.bidi, "bidi")] {
        words.extend(on.then(|| word.to_owned()));
    }
    if words.is_empty() { "no features".to_owned() } else { words.join(", ") }
}
