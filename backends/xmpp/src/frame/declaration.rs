//! The XML declaration (XML 1.0 §2.8), allowed only as the very first bytes of a stream (RFC 6120 §11.5).

use super::characters::skip_space;
use crate::error::StreamCondition;

/// Why a declaration is refused.
pub(super) type Refused = (StreamCondition, &'static str);

const MALFORMED: Refused = (StreamCondition::NotWellFormed, "malformed XML declaration");

/// Checks what stands between `<?xml` and `?>`: version 1.0 (RFC 6120 §11.8); encoding, if given, UTF-8 in any case
/// (§11.6); `standalone`, if given, is `yes` or `no` and ignored (§11.5).
pub(super) fn check(inside: &[u8]) -> Result<(), Refused> {
    let mut rest = inside;
    let version = pseudo_attribute(&mut rest, b"version")?.ok_or(MALFORMED)?;
    let encoding = pseudo_attribute(&mut rest, b"encoding")?;
    let standalone = pseudo_attribute(&mut rest, b"standalone")?;
    if !trimmed(rest).is_empty() {
        return Err(MALFORMED);
    }
    let minor = version.strip_prefix(b"1.").ok_or(MALFORMED)?;
    if minor.is_empty() || !minor.iter().all(u8::is_ascii_digit) {
        return Err(MALFORMED);
    }
    if minor != b"0" {
        return Err((StreamCondition::RestrictedXml, "XML version other than 1.0"));
    }
    if let Some(encoding) = encoding {
        let named = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !encoding.first().is_some_and(u8::is_ascii_alphabetic) || !encoding.iter().all(named) {
            return Err(MALFORMED);
        }
        if !encoding.eq_ignore_ascii_case(b"utf-8") {
            return Err((StreamCondition::UnsupportedEncoding, "encoding other than UTF-8 declared"));
        }
    }
    match standalone {
        None | Some(b"yes" | b"no") => Ok(()),
        Some(_) => Err(MALFORMED),
    }
}

/// Takes white space, `name`, `=` and a quoted value off the front of `rest`. `None`, with `rest` untouched, where
/// another name or nothing comes next.
fn pseudo_attribute<'a>(rest: &mut &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Refused> {
    let spaced = trimmed(rest);
    let Some(after) = spaced.strip_prefix(name) else { return Ok(None) };
    if spaced.len() == rest.len() {
        return Err(MALFORMED);
    }
    let after = trimmed(trimmed(after).strip_prefix(b"=").ok_or(MALFORMED)?);
    let (&quote, body) = after.split_first().ok_or(MALFORMED)?;
    if quote != b'\'' && quote != b'"' {
        return Err(MALFORMED);
    }
    let end = memchr::memchr(quote, body).ok_or(MALFORMED)?;
    let (value, tail) = body.split_at_checked(end).ok_or(MALFORMED)?;
    *rest = tail.get(1..).unwrap_or_default();
    Ok(Some(value))
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.get(skip_space(bytes, 0)..).unwrap_or_default()
}
