//! Preparing the three parts of an address.
//!
//! Invariant: the ASCII path and the general path of a part give the same answer for every ASCII input; a
//! property test holds them together. Each function appends to `out` and leaves it unspecified on error.

use core::net::Ipv6Addr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use precis_profiles::precis_core::profile::Profile;
use precis_profiles::{OpaqueString, UsernameCaseMapped};

use super::{JidError, JidPart, JidProblem, PART_BYTES_MAX, RAW_PART_BYTES_MAX};

/// How often a PRECIS profile is applied until the text stands still (RFC 8264 §7 asks for stability).
const PASSES_MAX: usize = 4;

/// Most characters of a part that are allowed in some surroundings only (RFC 5892 appendix A). The profiles look
/// at the whole part for each of them, so without a bound the work would grow with the square of the length.
const CONTEXTUAL_MAX: usize = 64;

/// Most octets of an A-label (RFC 5890 §2.3.2.1); Punycode is not decoded beyond it.
const A_LABEL_BYTES_MAX: usize = 63;

/// What no domain may hold, ASCII: everything but letters, digits, hyphen, dot and the underscore, which Active
/// Directory allows in DNS names.
const DOMAIN_DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// The raw parts of an address.
pub(super) struct Split<'a> {
    pub(super) local: Option<&'a str>,
    pub(super) domain: &'a str,
    pub(super) resource: Option<&'a str>,
}

/// XJ-01: at the first `/`, then at the first `@` to its left. Empty and oversized raw parts are refused here.
pub(super) fn split(raw: &str) -> Result<Split<'_>, JidError> {
    let (bare, resource) = match memchr::memchr(b'/', raw.as_bytes()) {
        Some(slash) => (&raw[..slash], Some(&raw[slash + 1..])),
        None => (raw, None),
    };
    let (local, domain) = match memchr::memchr(b'@', bare.as_bytes()) {
        Some(at) => (Some(&bare[..at]), &bare[at + 1..]),
        None => (None, bare),
    };
    if let Some(local) = local {
        check_raw(local, JidPart::Local)?;
    }
    check_raw(domain, JidPart::Domain)?;
    if let Some(resource) = resource {
        check_raw(resource, JidPart::Resource)?;
    }
    Ok(Split { local, domain, resource })
}

impl Split<'_> {
    /// Whether every part is ASCII and prepared as it stands.
    pub(super) fn is_prepared(&self) -> bool {
        self.local.is_none_or(|local| is_prepared_local(local.as_bytes()))
            && is_prepared_domain(self.domain.as_bytes())
            && self.resource.is_none_or(|resource| is_prepared_resource(resource.as_bytes()))
    }

    /// Octets of the resource with its `/`.
    pub(super) fn resource_tail(&self) -> usize {
        self.resource.map_or(0, |resource| resource.len() + 1)
    }
}

/// Appends the prepared local part.
pub(super) fn prepare_local(raw: &str, out: &mut String) -> Result<(), JidError> {
    check_raw(raw, JidPart::Local)?;
    if raw.is_ascii() {
        if let Some(bad) = raw.bytes().find(|&b| CLASS[usize::from(b)] & (LOCAL | LOCAL_UPPER) == 0) {
            return Err(forbidden(JidPart::Local, char::from(bad)));
        }
        check_length(raw, JidPart::Local)?;
        out.extend(raw.chars().map(|c| c.to_ascii_lowercase()));
        return Ok(());
    }
    let prepared = general_local(raw)?;
    out.push_str(&prepared);
    Ok(())
}

/// The local part by the profile, whatever it holds.
pub(super) fn general_local(raw: &str) -> Result<String, JidError> {
    let prepared = enforce(&UsernameCaseMapped::new(), raw).ok_or_else(|| invalid(JidPart::Local))?;
    // Looked for after mapping: a full-width commercial at becomes a plain one.
    match prepared.chars().find(|&c| "\"&'/:<>@".contains(c)) {
        Some(bad) => Err(forbidden(JidPart::Local, bad)),
        None => check_length(&prepared, JidPart::Local).map(|()| prepared),
    }
}

/// Appends the prepared domain.
pub(super) fn prepare_domain(raw: &str, out: &mut String) -> Result<(), JidError> {
    check_raw(raw, JidPart::Domain)?;
    if is_prepared_domain(raw.as_bytes()) {
        out.push_str(raw);
        return Ok(());
    }
    let prepared = general_domain(raw)?;
    out.push_str(&prepared);
    Ok(())
}

/// The domain by UTS 46, or as an IPv6 literal (RFC 7622 §3.2).
pub(super) fn general_domain(raw: &str) -> Result<String, JidError> {
    if let Some(literal) = raw.strip_prefix('[') {
        let address = literal.strip_suffix(']').ok_or_else(|| invalid(JidPart::Domain))?;
        let address: Ipv6Addr = address.parse().map_err(|_| invalid(JidPart::Domain))?;
        return Ok(format!("[{address}]"));
    }
    let long_a_label = |label: &str| {
        label.len() > A_LABEL_BYTES_MAX
            && label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
    };
    if raw.split('.').any(long_a_label) {
        return Err(invalid(JidPart::Domain));
    }
    let (mapped, verdict) = Uts46::new().to_unicode(raw.as_bytes(), DOMAIN_DENIED, Hyphens::CheckFirstLast);
    if verdict.is_err() {
        let bad = raw.chars().find(|&c| c.is_ascii() && CLASS[c as usize] & (DOMAIN | DOMAIN_UPPER) == 0);
        return Err(bad.map_or_else(|| invalid(JidPart::Domain), |c| forbidden(JidPart::Domain, c)));
    }
    // A dot may come out of the mapping too (U+3002), so it is looked for afterwards.
    let name = mapped.strip_suffix('.').unwrap_or(&mapped);
    if name.is_empty() || name.split('.').any(str::is_empty) {
        return Err(JidError { part: JidPart::Domain, problem: JidProblem::Empty });
    }
    // An A-label that decodes to what looks like one (UTS 46 §4.1, rule 4): preparing it once more would give something else.
    if name.split('.').any(|label| label.starts_with("xn--")) {
        return Err(invalid(JidPart::Domain));
    }
    check_length(name, JidPart::Domain)?;
    Ok(name.to_owned())
}

/// The form for the DNS: A-labels, with the lengths the DNS allows.
pub(super) fn domain_to_ascii(prepared: &str) -> Option<String> {
    let ascii =
        Uts46::new().to_ascii(prepared.as_bytes(), DOMAIN_DENIED, Hyphens::CheckFirstLast, DnsLength::Verify);
    ascii.ok().map(std::borrow::Cow::into_owned)
}

/// Appends the prepared resource.
pub(super) fn prepare_resource(raw: &str, out: &mut String) -> Result<(), JidError> {
    check_raw(raw, JidPart::Resource)?;
    if is_prepared_resource(raw.as_bytes()) {
        out.push_str(raw);
        return Ok(());
    }
    let prepared = general_resource(raw)?;
    out.push_str(&prepared);
    Ok(())
}

/// The resource by the profile, or as it is where only the profile's tables stand against it (XJ-04).
pub(super) fn general_resource(raw: &str) -> Result<String, JidError> {
    let prepared = match enforce(&OpaqueString::new(), raw) {
        Some(prepared) => prepared,
        None => match raw.chars().find(|&c| is_unfit_for_resource(c)) {
            Some(bad) => return Err(forbidden(JidPart::Resource, bad)),
            None => raw.to_owned(),
        },
    };
    check_length(&prepared, JidPart::Resource)?;
    Ok(prepared)
}

/// Characters no resource may hold under either standard: controls, separators of lines, characters that turn
/// the direction of writing (RFC 3454 C.8 and their successors), noncharacters.
fn is_unfit_for_resource(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{340}' | '\u{341}' | '\u{61C}' | '\u{200E}' | '\u{200F}')
        || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFC}')
        || matches!(c, '\u{FDD0}'..='\u{FDEF}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// Applies a profile until its output stands still; `None` where it refuses, never does, or would cost too much.
fn enforce<P: Profile>(profile: &P, raw: &str) -> Option<String> {
    if raw.chars().filter(|&c| is_contextual(c)).nth(CONTEXTUAL_MAX).is_some() {
        return None;
    }
    let mut text = profile.enforce(raw).ok()?.into_owned();
    for _ in 0..PASSES_MAX {
        let again = profile.enforce(text.as_str()).ok()?;
        if again == text {
            return Some(text);
        }
        text = again.into_owned();
    }
    None
}

/// Whether RFC 5892 has a rule on the surroundings of a character, or of what it is mapped to.
fn is_contextual(c: char) -> bool {
    matches!(
        c,
        '\u{B7}' | '\u{375}' | '\u{5F3}' | '\u{5F4}' | '\u{200C}' | '\u{200D}' | '\u{30FB}' | '\u{FF65}'
    ) || matches!(c, '\u{660}'..='\u{669}' | '\u{6F0}'..='\u{6F9}')
}

pub(super) fn is_prepared_local(part: &[u8]) -> bool {
    part.len() <= PART_BYTES_MAX && part.iter().all(|&b| CLASS[usize::from(b)] & LOCAL != 0)
}

pub(super) fn is_prepared_resource(part: &[u8]) -> bool {
    part.len() <= PART_BYTES_MAX && part.iter().all(|&b| CLASS[usize::from(b)] & RESOURCE != 0)
}

/// Plain lower-case labels only; A-labels, literals and a trailing dot go the general way.
pub(super) fn is_prepared_domain(part: &[u8]) -> bool {
    let plain_label = |label: &[u8]| match label {
        [] | [b'-', ..] | [.., b'-'] => false,
        label => !label.starts_with(b"xn--") && label.iter().all(|&b| CLASS[usize::from(b)] & DOMAIN != 0),
    };
    part.len() <= PART_BYTES_MAX && part.split(|&b| b == b'.').all(plain_label)
}

const LOCAL: u8 = 1;
const LOCAL_UPPER: u8 = 2;
const DOMAIN: u8 = 4;
const DOMAIN_UPPER: u8 = 8;
const RESOURCE: u8 = 16;

/// What each octet may be part of, as it stands or after lower-casing. Octets above 0x7F are in no class.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0x20_u8;
    while byte < 0x7F {
        let mut class = RESOURCE;
        if byte.is_ascii_uppercase() {
            class |= LOCAL_UPPER | DOMAIN_UPPER;
        } else if !matches!(byte, b' ' | b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@') {
            class |= LOCAL;
        }
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.') {
            class |= DOMAIN;
        }
        table[byte as usize] = class;
        byte += 1;
    }
    table
}

fn check_raw(raw: &str, part: JidPart) -> Result<(), JidError> {
    match raw.len() {
        0 => Err(JidError { part, problem: JidProblem::Empty }),
        1..=RAW_PART_BYTES_MAX => Ok(()),
        _ => Err(JidError { part, problem: JidProblem::TooLong }),
    }
}

fn check_length(prepared: &str, part: JidPart) -> Result<(), JidError> {
    if prepared.len() > PART_BYTES_MAX {
        return Err(JidError { part, problem: JidProblem::TooLong });
    }
    Ok(())
}

fn invalid(part: JidPart) -> JidError {
    JidError { part, problem: JidProblem::Invalid }
}

fn forbidden(part: JidPart, c: char) -> JidError {
    JidError { part, problem: JidProblem::Forbidden(c) }
}
