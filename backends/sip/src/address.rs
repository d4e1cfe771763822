//! Addresses of users, SIP to XMPP and back (RFC 7247 §6, XEP-0106).
//!
//! Invariant: the two directions undo each other. A local part that [`uri_of`] accepts comes back from [`jid_of`] as it was (its
//! ASCII hex digits in escapes in lower case), a user part that `jid_of` accepts comes back as an equivalent one (RFC 3261
//! §19.1.4), and so no two users ever share an address on the other side. Where that cannot be had, the address is
//! refused. The part in front of the `@` never leaks into the domain, whatever its escapes decode to.
//!
//! Deliberately absent: case folding and PRECIS. `turnout-core` prepares the JID that comes out of here.

mod escape;

use crate::parse::{Malformed, Scheme, Uri};

/// Why an address has no counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// The address does not follow the grammar.
    Malformed(Malformed),
    /// The scheme is none of `sip`, `sips`, `im` and `pres`.
    Scheme,
    /// A telephone number: `tel:`, `user=phone` or a `phone-context`. It names no XMPP user.
    Telephone,
    /// There is no user part, or no local part.
    NoUser,
    /// The user part holds a password.
    Password,
    /// A part holds a control character, escaped or not.
    Control,
    /// What the escapes decode to is not UTF-8.
    NotUtf8,
    /// A part begins or ends with a space, which XEP-0106 §4.3 does not allow.
    Space,
    /// A local part holds a character that may only stand there escaped (RFC 7622 §3.3.1).
    Forbidden,
    /// A local part is escaped in a way that XEP-0106 never does, so that it would share its address with another user.
    Escape,
    /// A domain is not a valid name (IDNA) or address.
    Domain,
    /// A part is longer than 1023 bytes (RFC 7622 §3.3).
    TooLong,
}

impl std::fmt::Display for AddressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed(what) => what.0,
            Self::Scheme => "the scheme of an address is none of sip, sips, im and pres",
            Self::Telephone => "a telephone number names no XMPP user",
            Self::NoUser => "an address names no user",
            Self::Password => "an address holds a password",
            Self::Control => "an address holds a control character",
            Self::NotUtf8 => "an address is not UTF-8 when its escapes are decoded",
            Self::Space => "the user of an address begins or ends with a space",
            Self::Forbidden => "a local part holds a character that must be escaped",
            Self::Escape => "a local part holds an escape that no address translates to",
            Self::Domain => "a domain is not a valid name",
            Self::TooLong => "a part of an address is longer than 1023 bytes",
        })
    }
}

impl std::error::Error for AddressError {}

/// The SIP address of a JID without resource: `sip:user@domain`, ASCII only.
///
/// # Errors
/// The local part is empty, holds what RFC 7622 forbids there, or is escaped as XEP-0106 never does; the domain is no valid name.
pub fn uri_of(local: &str, domain: &str) -> Result<String, AddressError> {
    let user = percent_encoded(&escape::undo(bounded(local)?)?, is_user_byte);
    Ok(format!("sip:{user}@{}", domain_to_sip(domain)?))
}

/// As [`uri_of`], with the resource as `gr` (RFC 7247 §6.3). For peers that know GRUUs of RFC 5627 only: a Skype for Business
/// pool does not.
///
/// # Errors
/// As [`uri_of`], or the resource holds a control character.
pub fn uri_with_resource(local: &str, domain: &str, resource: &str) -> Result<String, AddressError> {
    let resource = checked(bounded(resource)?)?;
    Ok(format!("{};gr={}", uri_of(local, domain)?, percent_encoded(resource, is_parameter_byte)))
}

/// Local part, domain and resource of the JID that stands for a SIP address: the parts are unescaped, the domain in Unicode,
/// nothing is prepared. The resource comes from `gr`, or from the endpoint id in `opaque=user:epid:ID;gruu`. A port says
/// where a user is reached and not who it is; it is not looked at.
///
/// # Errors
/// The address names no XMPP user, or one that could not be told from another.
pub fn jid_of(uri: &str) -> Result<(String, String, Option<String>), AddressError> {
    let uri = Uri::parse(uri).map_err(AddressError::Malformed)?;
    let (user, host, resource) = match uri.scheme {
        Scheme::Sip | Scheme::Sips => sip_parts(&uri)?,
        Scheme::Other => (plain_user(&uri)?.0, plain_user(&uri)?.1, None),
    };
    let native = percent_decoded(user)?;
    let local = escape::apply(checked(&native)?)?;
    Ok((bounded(&local)?.to_owned(), domain_of_sip(host)?, resource))
}

fn sip_parts<'a>(uri: &Uri<'a>) -> Result<(&'a str, &'a str, Option<String>), AddressError> {
    let is_phone = uri.param("user").is_some_and(|value| value.eq_ignore_ascii_case("phone"));
    let user = uri.user.ok_or(AddressError::NoUser)?;
    if is_phone || user.split(';').skip(1).any(is_phone_context) {
        return Err(AddressError::Telephone);
    }
    if uri.password.is_some() {
        return Err(AddressError::Password);
    }
    let gr = uri.param("gr").filter(|value| !value.is_empty());
    let epid = uri.param("opaque").and_then(epid).filter(|_| uri.param("gruu").is_some());
    let resource = gr.or(epid).map(percent_decoded).transpose()?;
    if let Some(resource) = &resource {
        checked(bounded(resource)?)?;
    }
    Ok((user, uri.host, resource))
}

/// `im:` and `pres:` addresses (RFC 3859, RFC 3860): a mailbox, then headers that mean nothing here.
fn plain_user<'a>(uri: &Uri<'a>) -> Result<(&'a str, &'a str), AddressError> {
    match uri.scheme_text.to_ascii_lowercase().as_str() {
        "im" | "pres" => {}
        "tel" => return Err(AddressError::Telephone),
        _ => return Err(AddressError::Scheme),
    }
    let mailbox = uri.opaque.split('?').next().unwrap_or_default();
    let (user, host) = mailbox.split_once('@').ok_or(AddressError::NoUser)?;
    if user.is_empty() {
        return Err(AddressError::NoUser);
    }
    Ok((user, host))
}

fn is_phone_context(param: &str) -> bool {
    param.get(..13).is_some_and(|name| name.eq_ignore_ascii_case("phone-context"))
}

/// The endpoint id in the value of `opaque`, as a pool writes it in a Contact.
fn epid(opaque: &str) -> Option<&str> {
    let prefix = "user:epid:";
    let (start, id) = opaque.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && !id.is_empty()).then_some(id)
}

/// The longest part of a JID, in bytes.
fn bounded(part: &str) -> Result<&str, AddressError> {
    match part.len() {
        0 => Err(AddressError::NoUser),
        len if len > turnout_core::limits::JID_PART_BYTES_MAX => Err(AddressError::TooLong),
        _ => Ok(part),
    }
}

fn checked(part: &str) -> Result<&str, AddressError> {
    if part.chars().any(char::is_control) { Err(AddressError::Control) } else { Ok(part) }
}

/// A-labels for SIP, whose grammar knows no other (RFC 7247 §6.4).
fn domain_to_sip(domain: &str) -> Result<String, AddressError> {
    if domain.starts_with('[') || domain.parse::<std::net::Ipv4Addr>().is_ok() {
        return host_checked(domain);
    }
    let ascii = idna::domain_to_ascii(domain).map_err(|_| AddressError::Domain)?;
    host_checked(&ascii)
}

/// U-labels for XMPP (RFC 7622 §3.2).
fn domain_of_sip(host: &str) -> Result<String, AddressError> {
    let host = host_checked(host)?;
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return Ok(host);
    }
    let (domain, result) = idna::domain_to_unicode(&host);
    result.map_err(|_| AddressError::Domain)?;
    // What decodes to a name that encodes differently is a look-alike, not an address.
    if idna::domain_to_ascii(&domain).map_err(|_| AddressError::Domain)? != host.to_ascii_lowercase() {
        return Err(AddressError::Domain);
    }
    Ok(domain)
}

fn host_checked(host: &str) -> Result<String, AddressError> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match inner {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.len() <= 253
                && host.split('.').all(|label| !label.is_empty() && label.len() <= 63)
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    if fits { Ok(host.to_owned()) } else { Err(AddressError::Domain) }
}

/// What may stand in a SIP user part as it is: unreserved and user-unreserved (RFC 3261 §25.1).
fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

/// What may stand in the value of a URI parameter as it is.
fn is_parameter_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte)
}

fn percent_encoded(text: &str, fits: fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if fits(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Decodes once, never twice (RFC 3986 §2.4).
fn percent_decoded(text: &str) -> Result<String, AddressError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let pair = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        let wrong = AddressError::Malformed(Malformed("a percent escape is not followed by two hex digits"));
        out.push(pair.ok_or(wrong)?);
    }
    String::from_utf8(out).map_err(|_| AddressError::NotUtf8)
}

#[cfg(test)]
mod tests;
