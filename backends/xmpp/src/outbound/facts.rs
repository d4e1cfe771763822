//! What is known of a stream we opened, for the administrator.

use turnout_core::survey::StreamFacts;

use super::acks::Acks;
use super::{Outbound, Phase, Purpose};

impl Outbound {
    pub(crate) fn facts(&self) -> StreamFacts {
        let is_ready = matches!(self.phase, Phase::Ready(_));
        let state = match self.phase {
            Phase::Dialing => "connecting",
            Phase::Handshake | Phase::TlsAsked(_) => "TLS handshake",
            Phase::Header | Phase::Features(_) | Phase::EnableAsked(_) | Phase::ResumeAsked(_) => "opening",
            Phase::SaslAsked(_) | Phase::DialbackAsked(_) => "proving",
            Phase::Ready(_) if self.purpose == Purpose::Verify => "verifying",
            Phase::Ready(_) => "open",
            Phase::Closing(_) => "closing",
        };
        let proof = match (is_ready && self.purpose == Purpose::Deliver, self.authenticated) {
            (false, _) => "",
            (true, true) => "certificate",
            (true, false) => "dialback",
        };
        let certificate = self.secured.as_ref().and_then(|secured| secured.certificate.as_ref());
        StreamFacts {
            ours: self.ours.to_string(),
            theirs: vec![self.theirs.to_string()],
            state,
            tls: self.secured.as_ref().map_or("", |secured| secured.version),
            proof,
            address: String::new(),
            issuer: certificate.map(|certificate| certificate.issuer.to_string()).unwrap_or_default(),
            silent: None,
            certificate_until_unix: certificate.and_then(|certificate| certificate.until_unix),
            resumed: self.acks.as_ref().is_some_and(Acks::is_resumed),
            both_ways: self.comes_back(),
        }
    }
}
