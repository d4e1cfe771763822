//! What is known of a stream a peer opened, for the administrator.

use std::time::Instant;

use turnout_core::survey::StreamFacts;

use super::acks::Acks;
use super::{Inbound, Phase};

impl Inbound {
    pub(crate) fn facts(&self, now: Instant) -> StreamFacts {
        let state = match self.phase {
            Phase::Handshake => "TLS handshake",
            Phase::Header | Phase::Challenged => "opening",
            Phase::Open if self.pairs.any_proven() => "open",
            Phase::Open => "not proven",
            Phase::Leaving(_) | Phase::Closing(_) => "closing",
        };
        let mut theirs: Vec<String> = self.pairs.proven().map(ToString::to_string).collect();
        theirs.dedup();
        let proof = match (theirs.is_empty(), self.authenticated) {
            (true, _) => "",
            (false, true) => "certificate",
            (false, false) => "dialback",
        };
        if theirs.is_empty() {
            theirs.extend(self.theirs.as_ref().map(ToString::to_string));
        }
        let certificate = self.secured.as_ref().and_then(|secured| secured.certificate.as_ref());
        StreamFacts {
            ours: self.ours.as_ref().map(ToString::to_string).unwrap_or_default(),
            theirs,
            state,
            tls: self.secured.as_ref().map_or("", |secured| secured.version),
            proof,
            address: self.peer.to_string(),
            issuer: certificate.map(|certificate| certificate.issuer.to_string()).unwrap_or_default(),
            certificate_until_unix: certificate.and_then(|certificate| certificate.until_unix),
            resumed: self.acks.as_ref().is_some_and(Acks::is_resumed),
            both_ways: self.goes_back(),
            silent: Some(now.saturating_duration_since(self.heard)),
        }
    }
}
