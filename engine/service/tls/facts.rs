//! What a certificate says, and who vouches for it.
//!
//! Invariant: only names of the right ASN.1 type are reported, and only names that could be a name: a NUL, a control character or
//! a comma in a host name makes it vanish instead of half match (CVE-2025-59154 and its kin). Nothing here compares names.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use turnout_core::io::PeerCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::trust::{Judged, TrustTable};

/// id-on-xmppAddr (RFC 6120 §13.7.1.4).
const XMPP_ADDR: &str = "1.3.6.1.5.5.7.8.5";

/// id-on-dnsSRV (RFC 4985).
const SRV_NAME: &str = "1.3.6.1.5.5.7.8.7";

/// Longest issuer text kept for the log, in bytes.
const ISSUER_BYTES_MAX: usize = 256;

/// Names of one kind that are read from one certificate.
const NAMES_MAX: usize = 1000;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// dNSName entries, lower case.
    pub dns: Vec<String>,
    /// SRVName entries, lower case.
    pub srv: Vec<String>,
    /// xmppAddr entries.
    pub xmpp_addresses: Vec<String>,
    /// uniformResourceIdentifier entries.
    pub uris: Vec<String>,
    /// The last common name.
    pub common_name: Option<String>,
    /// Seconds since 1970 from which, and until which, it is valid.
    pub validity: (i64, i64),
    /// The issuer's name, for logs.
    pub issuer: String,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
}

/// A certificate that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate cannot be read: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

/// The facts of the chain a peer showed, leaf first, at this time.
pub fn facts(chain: &[CertificateDer<'_>], trusts: &TrustTable, now: SystemTime) -> PeerCertificate {
    let Some(leaf) = chain.first() else {
        return untrusted("an empty chain");
    };
    let mut names = match names(leaf) {
        Ok(names) => names,
        Err(error) => return untrusted(&error.to_string()),
    };
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Judged { trusted, reason, constrained } =
        trusts.judge(chain, UnixTime::since_unix_epoch(since_epoch));
    if constrained || chain.iter().skip(1).any(is_constrained) {
        names.srv.clear();
        names.xmpp_addresses.clear();
    }
    let shared = |texts: Vec<String>| texts.into_iter().map(Arc::from).collect();
    PeerCertificate {
        trusted,
        untrusted_because: reason.map(|error| reason_text(&error).into()),
        dns: shared(names.dns),
        srv: shared(names.srv),
        xmpp_addresses: shared(names.xmpp_addresses),
        uris: shared(names.uris),
        common_name: names.common_name.map(Arc::from),
        spki_sha256: names.spki_sha256,
        issuer: names.issuer.into(),
        until_unix: Some(names.validity.1),
    }
}

/// Whether an authority on the way may vouch for some names only. Such constraints are written and checked for dNSNames; an SRVName
/// or an xmppAddr slips through beside them (RFC 5280 §4.2.1.10 lets kinds without a constraint pass), so under a
/// constrained authority these name nobody.
fn is_constrained(authority: &CertificateDer<'_>) -> bool {
    match X509Certificate::from_der(authority) {
        Ok((_, certificate)) => !matches!(certificate.name_constraints(), Ok(None)),
        Err(_) => true,
    }
}

fn untrusted(why: &str) -> PeerCertificate {
    PeerCertificate { untrusted_because: Some(why.into()), ..PeerCertificate::default() }
}

/// The names and the validity of one certificate.
///
/// # Errors
/// When it is no X.509 certificate, or holds an extension twice.
pub fn names(der: &CertificateDer<'_>) -> Result<Names, Unreadable> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| Unreadable(error.to_string()))?;
    let mut names = Names {
        common_name: common_name(&certificate),
        validity: (
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        ),
        issuer: printable(&certificate.issuer().to_string(), ISSUER_BYTES_MAX),
        spki_sha256: Sha256::digest(certificate.public_key().raw).into(),
        ..Names::default()
    };
    let alternatives =
        certificate.subject_alternative_name().map_err(|error| Unreadable(error.to_string()))?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names).take(NAMES_MAX) {
        match name {
            GeneralName::DNSName(name) if is_host(name) => names.dns.push(name.to_ascii_lowercase()),
            GeneralName::URI(uri) if is_clean(uri) => names.uris.push((*uri).to_owned()),
            GeneralName::OtherName(oid, value) => other_name(&oid.to_id_string(), value, &mut names),
            _ => {}
        }
    }
    Ok(names)
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let last = certificate.subject().iter_common_name().last()?;
    last.as_str().ok().filter(|name| is_clean(name)).map(ToOwned::to_owned)
}

fn other_name(oid: &str, value: &[u8], names: &mut Names) {
    const IA5_STRING: u8 = 0x16;
    const UTF8_STRING: u8 = 0x0c;
    match oid {
        SRV_NAME => {
            let text = explicit(value, IA5_STRING).filter(|text| is_host(text) && !text.contains('*'));
            names.srv.extend(text.map(str::to_ascii_lowercase));
        }
        XMPP_ADDR => {
            let text = explicit(value, UTF8_STRING).filter(|text| is_clean(text));
            names.xmpp_addresses.extend(text.map(ToOwned::to_owned));
        }
        _ => {}
    }
}

/// The text of a string with this tag inside `[0] EXPLICIT`, if that is all there is.
fn explicit(value: &[u8], tag: u8) -> Option<&str> {
    const CONTEXT_0: u8 = 0xa0;
    let text = std::str::from_utf8(element(element(value, CONTEXT_0)?, tag)?).ok()?;
    (tag != 0x16 || text.is_ascii()).then_some(text)
}

/// The content of one DER element that fills `der` to the end.
fn element(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, content) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    (content.len() == length).then_some(content)
}

/// Letters, digits, `-`, `_`, dots between labels, and `*`: what can stand in a dNSName.
fn is_host(text: &str) -> bool {
    let fit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(fit) && !text.split('.').any(str::is_empty)
}

fn is_clean(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3071 && !text.chars().any(char::is_control)
}

/// For a log: no control characters, bounded.
fn printable(text: &str, bytes_max: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    clean[..clean.floor_char_boundary(bytes_max)].to_owned()
}

fn reason_text(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "it has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "it is not valid yet".to_owned(),
        webpki::Error::CertRevoked => "its authority has revoked it".to_owned(),
        webpki::Error::UnknownIssuer => "no authority we trust vouches for it".to_owned(),
        webpki::Error::CaUsedAsEndEntity => "it is the certificate of an authority itself".to_owned(),
        webpki::Error::EndEntityUsedAsCa => {
            "its chain leads over a certificate that is no authority".to_owned()
        }
        webpki::Error::PathLenConstraintViolated => "its chain is longer than an authority allows".to_owned(),
        webpki::Error::NameConstraintViolation => {
            "its names are not among those its authority may vouch for".to_owned()
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => "its purpose is not that of a server".to_owned(),
        webpki::Error::InvalidSignatureForPublicKey => "a signature in its chain is wrong".to_owned(),
        other => format!("its chain does not hold: {other}"),
    }
}
