//! Which domain a certificate speaks for (RFC 6120 §13.7.1.2, RFC 9525, XEP-0178). Invariant: a name is compared as a whole,
//! with the reference identity only: the domain we asked for, or the `from` of the stream. The common name is never one.

use turnout_core::io::{PeerCertificate, TrustId};
use turnout_core::jid::Domain;

/// How a certificate became acceptable for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vouched {
    /// A trust set vouches for it and it names the domain.
    Trusted,
    /// Its key is pinned for the partner.
    Pinned,
}

/// Judges the certificate a peer showed for `domain`: where keys are pinned the key alone counts, else the chain has to lead to
/// an anchor of `trust` and a name has to fit.
///
/// # Errors
/// What is wrong, and the cure, for the operator's log.
pub(crate) fn judge(
    certificate: Option<&PeerCertificate>,
    domain: &Domain,
    trust: TrustId,
    pins: &[[u8; 32]],
) -> Result<Vouched, String> {
    let Some(certificate) = certificate else {
        return Err(format!(
            "the peer showed no certificate for {domain}; it must be set up to show one, or dialback allowed"
        ));
    };
    if !pins.is_empty() {
        return if pins.contains(&certificate.spki_sha256) {
            Ok(Vouched::Pinned)
        } else {
            Err(format!(
                "the key of the certificate (issuer {:?}) is not one of the pinned keys of {domain}; add its SHA-256 to the pins if the change is genuine",
                certificate.issuer
            ))
        };
    }
    if !certificate.trusted.contains(&trust) {
        let why = certificate
            .untrusted_because
            .as_deref()
            .unwrap_or("its chain leads to none of the anchors set for this partner");
        return Err(format!(
            "the certificate (issuer {:?}) is not trusted for {domain}: {why}; have it renewed or set ca_file for the partner",
            certificate.issuer
        ));
    }
    if !names(certificate, domain) {
        let shown = shown_names(certificate);
        return Err(format!(
            "the certificate is trusted and does not name {domain}, it names {shown}; the partner needs a certificate with dNSName {domain}"
        ));
    }
    Ok(Vouched::Trusted)
}

/// Whether a certificate names a domain: by dNSName, by SRVName `_xmpp-server.<domain>`, or by xmppAddr (RFC 6120 §13.7.1.2.1).
/// A wildcard counts in a dNSName only, as its whole left-most label, for exactly one label.
pub(crate) fn names(certificate: &PeerCertificate, domain: &Domain) -> bool {
    matched(certificate, domain).is_some()
}

/// The rule by which a certificate names a domain, and the name in it.
pub(crate) fn matched(certificate: &PeerCertificate, domain: &Domain) -> Option<(&'static str, String)> {
    if let Some(ascii) = domain.to_ascii() {
        if let Some(name) = certificate.dns.iter().find(|name| dns_fits(name, &ascii)) {
            let rule = if name.starts_with("*.") { "wildcard dNSName" } else { "dNSName" };
            return Some((rule, name.to_string()));
        }
        let srv_fits = |name: &str| {
            name.split_once('.').is_some_and(|(service, of)| {
                service.eq_ignore_ascii_case("_xmpp-server") && of.eq_ignore_ascii_case(&ascii)
            })
        };
        if let Some(name) = certificate.srv.iter().find(|name| srv_fits(name)) {
            return Some(("SRVName", name.to_string()));
        }
    }
    // An xmppAddr may be written with U-labels or A-labels; preparing it makes them one (RFC 6120 §13.7.1.4).
    let fits = |name: &str| Domain::parse(name).is_ok_and(|name| name == *domain);
    let found = certificate.xmpp_addresses.iter().find(|name| fits(name));
    found.map(|name| ("xmppAddr", name.to_string()))
}

fn dns_fits(name: &str, ascii: &str) -> bool {
    if name.eq_ignore_ascii_case(ascii) {
        return true;
    }
    let Some(parent) = name.strip_prefix("*.") else { return false };
    // A wildcard over a whole top-level domain vouches for nobody (RFC 6125 §7.2).
    if !parent.contains('.') || parent.contains('*') {
        return false;
    }
    ascii.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
}

/// The names of a certificate for the log, cut short.
fn shown_names(certificate: &PeerCertificate) -> String {
    const SHOWN_MAX: usize = 6;
    let all = certificate.dns.iter().chain(&certificate.srv).chain(&certificate.xmpp_addresses);
    let shown: Vec<String> = all.clone().take(SHOWN_MAX).map(|name| format!("{name:.100?}")).collect();
    match (shown.len(), all.count()) {
        (0, _) => "no domain at all (a common name does not count)".to_owned(),
        (few, many) if many > few => format!("{} and {} more", shown.join(", "), many - few),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests;
