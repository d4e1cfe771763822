//! A node of a legacy gateway: the stream a partner's domain would open to ours, up to what proves it.

use std::time::Instant;

use tokio::net::TcpStream;
use turnout_core::home::HomeId;
use turnout_core::io::{ClientTls, Identity};
use turnout_core::jid::Domain;
use turnout_core::policy::Negotiation;
use turnout_xmpp::probe::{Features, Probe, Seen};

use super::super::line::Line;
use super::{Look, Outcome};
use crate::clock;
use crate::config::HomeConfig;

/// A conversation.
struct Talk {
    home: HomeId,
    tls: Negotiation,
    name: String,
    about: String,
    ours: Domain,
    line: Line,
    probe: Probe,
}

/// Talks to one node.
pub(super) async fn talk(
    look: &mut Look<'_, '_>,
    (id, home): (HomeId, &HomeConfig),
    about: String,
    stream: TcpStream,
) {
    let since = clock::now();
    let partner = look.config.policy.iter().next().map(|(_, partner)| partner.domain.clone());
    let (Some(partner), Some(ours)) = (partner, look.config.domains.first().cloned()) else {
        look.steps.add(
            "stream",
            &about,
            Outcome::Skipped,
            "there is no [[partner]] in whose name to open one",
            since,
        );
        return;
    };
    let probe = Probe::new(partner, ours.clone());
    let mut talk = Talk {
        home: id,
        tls: home.tls,
        name: home.name.clone(),
        about,
        ours,
        line: Line::new(stream),
        probe,
    };
    if let Err((what, cure)) = talk.whole(look).await {
        look.wrong(format!("home {}: {what}", talk.name), cure);
    }
    let goodbye = talk.probe.close();
    if talk.line.send(&goodbye).await.is_ok() {
        talk.line.finish().await;
    }
}

/// What is wrong, and the cure; the step is told.
type Wrong = (String, &'static str);

impl Talk {
    async fn whole(&mut self, look: &mut Look<'_, '_>) -> Result<(), Wrong> {
        let (mut features, mut dialback) = self.open(look).await?;
        let since = clock::now();
        match (features.starttls, self.tls) {
            (true, Negotiation::Required | Negotiation::Optional) => {
                let request = self.probe.starttls();
                self.say(&request, look, "starttls", since).await?;
                match self.heard(look, "starttls", since).await? {
                    Seen::Proceed => {}
                    _ => {
                        return Err(self.bad(
                            look,
                            "starttls",
                            "offered, and then refused",
                            since,
                            CERTIFICATE,
                        ));
                    }
                }
                self.secure(look).await?;
                (features, dialback) = self.open(look).await?;
            }
            (true, Negotiation::NotSupported) => {
                self.told(look, "starttls", Outcome::Skipped, "offered; the home has tls = \"none\"", since);
            }
            (false, Negotiation::Required) => {
                return Err(self.bad(
                    look,
                    "starttls",
                    "not offered, and the home has tls = \"required\"",
                    since,
                    TLS,
                ));
            }
            (false, _) => self.told(
                look,
                "starttls",
                Outcome::Note,
                "not offered: the network between has to be trusted",
                since,
            ),
        }
        let since = clock::now();
        if dialback || features.dialback {
            let text = "offered; not tried, because the gateway would ask the running router about the key";
            self.told(look, "dialback", Outcome::Good, text, since);
            return Ok(());
        }
        Err(self.bad(
            look,
            "dialback",
            "not offered, and nothing else can prove us on this leg",
            since,
            DIALBACK,
        ))
    }

    async fn open(&mut self, look: &mut Look<'_, '_>) -> Result<(Features, bool), Wrong> {
        let since = clock::now();
        let header = self.probe.open();
        self.say(&header, look, "stream", since).await?;
        let mut dialback = false;
        loop {
            match self.heard(look, "stream", since).await? {
                Seen::Header { has_features: false, dialback, .. } => {
                    self.told(look, "stream", Outcome::Note, "open, before XMPP 1.0: there is no TLS", since);
                    return Ok((Features::default(), dialback));
                }
                Seen::Header { dialback: declared, has_id, .. } => dialback = declared && has_id,
                Seen::Features(features) => {
                    self.told(look, "stream", Outcome::Good, "open", since);
                    return Ok((features, dialback));
                }
                _ => {
                    return Err(self.bad(
                        look,
                        "stream",
                        "it said something that has no place here",
                        since,
                        LOG,
                    ));
                }
            }
        }
    }

    async fn secure(&mut self, look: &mut Look<'_, '_>) -> Result<(), Wrong> {
        let since = clock::now();
        let tls = ClientTls {
            server_name: self.ours.to_ascii().unwrap_or_default().into(),
            trust: look
                .config
                .home_configs
                .get(usize::from(self.home.0))
                .map_or(turnout_core::io::TrustId::FEDERATION, |home| home.trust),
            identity: Identity::Home(self.home),
            alpn_xmpp: false,
        };
        let done = match look.context.connect(&tls) {
            Ok(session) => self.line.secure(session).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = done {
            return Err(self.bad(look, "tls", &why, since, OLD_TLS));
        }
        if let Some((secured, _)) = self.line.secured(look.now) {
            let certificate = secured.certificate.as_deref();
            let names = certificate
                .map_or_else(|| "no certificate".to_owned(), |of| format!("certificate for {:?}", of.dns));
            let text =
                format!("{}, {names}; on this leg dialback proves, not the certificate", secured.version);
            self.told(look, "tls", Outcome::Good, &text, since);
        }
        Ok(())
    }

    async fn say(
        &mut self,
        bytes: &[u8],
        look: &mut Look<'_, '_>,
        step: &'static str,
        since: Instant,
    ) -> Result<(), Wrong> {
        match self.line.send(bytes).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.bad(look, step, &why, since, LOG)),
        }
    }

    async fn heard(
        &mut self,
        look: &mut Look<'_, '_>,
        step: &'static str,
        since: Instant,
    ) -> Result<Seen, Wrong> {
        loop {
            match self.probe.next() {
                Some(Seen::Error { condition, text }) => {
                    let cure = match condition.as_str() {
                        "host-unknown" | "host-gone" => HOST,
                        _ => LOG,
                    };
                    let text = format!("it ended the stream with {condition} {text}");
                    return Err(self.bad(look, step, &text, since, cure));
                }
                Some(Seen::Closed) => return Err(self.bad(look, step, "it ended the stream", since, LOG)),
                Some(seen) => return Ok(seen),
                None => {}
            }
            let received = self.line.receive().await;
            let fault = match received {
                Ok(Some(bytes)) => match self.probe.receive(bytes) {
                    Ok(()) => continue,
                    Err(why) => format!("this is no XMPP server: {why}"),
                },
                Ok(None) => "it closed the connection without a word".to_owned(),
                Err(why) => why,
            };
            return Err(self.bad(look, step, &fault, since, LOG));
        }
    }

    fn told(
        &self,
        look: &mut Look<'_, '_>,
        step: &'static str,
        outcome: Outcome,
        text: &str,
        since: Instant,
    ) {
        look.steps.add(step, &self.about, outcome, text, since);
    }

    fn bad(
        &self,
        look: &mut Look<'_, '_>,
        step: &'static str,
        text: &str,
        since: Instant,
        cure: &'static str,
    ) -> Wrong {
        self.told(look, step, Outcome::Bad, text, since);
        (format!("{step}: {text}"), cure)
    }
}

const TLS: &str = "Set-CsXmppAllowedPartner -TlsNegotiation Optional, or tls = \"optional\" in the home";
const CERTIFICATE: &str =
    "the gateway has no usable certificate; tls = \"none\" in the home on a network of its own, or renew it";
const DIALBACK: &str = "Set-CsXmppAllowedPartner -SupportDialbackNegotiation $true, for each partner";
const OLD_TLS: &str = "below TLS 1.2 nothing is spoken here: see \"Unproven on a real Edge\" in the README";
const HOST: &str = "that server does not serve this domain: is connect right?";
const LOG: &str =
    "is connect right, and is the partner allowed there (Get-CsXmppAllowedPartner)? See the gateway's log";
