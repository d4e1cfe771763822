//! One connection to the pool. Invariant: no request is served on a link whose peer has not shown that it is the pool (SC-02).

use std::sync::Arc;

use turnout_core::io::Secured;
use turnout_core::limits::SIP_STRANGER_BYTES_MAX;
use turnout_core::world::SipHome;

use crate::frame::{Framer, Limits};

/// Whether the peer may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not yet known: the connection or its TLS is coming up.
    Opening,
    /// It may.
    Trusted,
    /// It may not: its first request is answered 403, then the link is closed.
    Stranger,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Cuts what it brings.
    pub(crate) framer: Framer,
    /// Whether the peer may speak.
    pub(crate) standing: Standing,
    /// For a dialed link, the host we wanted: the name its certificate must hold.
    pub(crate) host: Option<Arc<str>>,
}

impl Link {
    /// A new one. `body_bytes_max` holds once it is trusted.
    pub(crate) fn new(standing: Standing, host: Option<Arc<str>>, body_bytes_max: usize) -> Self {
        let limits = Limits {
            header_bytes_max: SIP_STRANGER_BYTES_MAX,
            body_bytes_max: SIP_STRANGER_BYTES_MAX.min(body_bytes_max),
            ..Limits::default()
        };
        let mut link = Self { framer: Framer::new(limits), standing: Standing::Opening, host };
        link.stand(standing, body_bytes_max);
        link
    }

    /// Whether the peer may speak is known; who may is given the room that a pool needs.
    pub(crate) fn stand(&mut self, standing: Standing, body_bytes_max: usize) {
        self.standing = standing;
        if standing == Standing::Trusted {
            self.framer.set_limits(Limits { body_bytes_max, ..Limits::default() });
        }
    }
}

/// Whether the peer of a handshake is one of `names` (RFC 5922 §7): its chain is trusted by the home's anchors, and a `sip:`
/// URI or, only where there is none, a DNS name of its certificate is one of the names. No wildcards, no suffixes.
///
/// # Errors
/// Why not, for the log.
pub(crate) fn is_named(secured: &Secured, settings: &SipHome, names: &[Arc<str>]) -> Result<(), String> {
    let Some(certificate) = &secured.certificate else {
        return Err("it showed no certificate".to_owned());
    };
    if !certificate.trusted.contains(&settings.trust) {
        let why = certificate.untrusted_because.as_deref().unwrap_or("its issuer is not in ca_file");
        return Err(format!("its certificate is not trusted: {why}"));
    }
    let uris: Vec<&str> = certificate.uris.iter().filter_map(|uri| sip_domain(uri)).collect();
    let shown = || -> Vec<&str> {
        if uris.is_empty() { certificate.dns.iter().map(|name| &**name).collect() } else { uris.clone() }
    };
    if shown().iter().any(|name| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))) {
        return Ok(());
    }
    Err(format!("its certificate names {:?} and none of {names:?}", shown()))
}

/// The domain of a `sip:` URI without a user (RFC 5922 §7.1).
fn sip_domain(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let plain = !rest.is_empty() && !rest.contains(['@', ';', '?', ':']);
    (scheme.eq_ignore_ascii_case("sip") && plain).then_some(rest)
}

#[cfg(test)]
mod tests {
    use turnout_core::io::{PeerCertificate, TrustId};

    use super::*;

    #[test]
    fn names_are_exact_and_uris_come_first() {
        let settings = crate::backend::settings_without_home();
        let trusted = vec![settings.trust];
        let wanted: Vec<Arc<str>> = vec!["pool2019.contoso.com".into()];
        let check = |uris: &[&str], dns: &[&str], trusted: &[TrustId], expected: bool| {
            let certificate = PeerCertificate {
                uris: uris.iter().map(|&uri| uri.into()).collect(),
                dns: dns.iter().map(|&name| name.into()).collect(),
                trusted: trusted.to_vec(),
                ..PeerCertificate::default()
            };
            let secured = Secured { certificate: Some(Box::new(certificate)), version: "TLSv1.3" };
            assert_eq!(is_named(&secured, &settings, &wanted).is_ok(), expected, "{uris:?} {dns:?}");
        };
        check(&[], &["pool2019.contoso.com"], &trusted, true);
        check(&[], &["POOL2019.contoso.com"], &trusted, true);
        check(&[], &["other.contoso.com", "pool2019.contoso.com"], &trusted, true);
        check(&[], &["*.contoso.com"], &trusted, false);
        check(&[], &["contoso.com"], &trusted, false);
        check(&[], &["fe1.pool2019.contoso.com"], &trusted, false);
        check(&[], &["pool2019.contoso.com"], &[], false);
        check(&[], &["pool2019.contoso.com"], &[TrustId(9)], false);
        check(&["sip:pool2019.contoso.com"], &[], &trusted, true);
        check(&["sip:other.contoso.com"], &["pool2019.contoso.com"], &trusted, false);
        check(&["sip:user@pool2019.contoso.com"], &["pool2019.contoso.com"], &trusted, true);
        check(&["https://x.example"], &["pool2019.contoso.com"], &trusted, true);
        assert!(is_named(&Secured::default(), &settings, &wanted).is_err());
    }
}
