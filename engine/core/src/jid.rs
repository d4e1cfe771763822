//! XMPP addresses (RFC 7622): splitting, preparation, comparison.
//!
//! Invariant: every [`Jid`], [`JidRef`] and [`Domain`] holds a *prepared* address. Two addresses name the same
//! entity exactly when their prepared texts are equal byte for byte, and preparing a prepared text changes
//! nothing. The prepared form is a key for looking up and comparing; the bytes of a stanza that is passed on
//! are never replaced by it.
//!
//! | part | prepared by |
//! |---|---|
//! | local | PRECIS UsernameCaseMapped (RFC 8265 §3.3), then without `" & ' / : < > @` (RFC 7622 §3.3.1) |
//! | domain | UTS 46 to U-labels; IPv4 and `[IPv6]` literals; one trailing dot removed (RFC 7622 §3.2) |
//! | resource | PRECIS OpaqueString (RFC 8265 §4.2), with the fallback told at [`JidRef::resource`] |
//!
//! Each part holds 1 to [`PART_BYTES_MAX`] octets after preparation. Raw parts above [`RAW_PART_BYTES_MAX`] are
//! refused before anything looks at them, so that no address costs more than a bounded amount of work.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

mod parts;
#[cfg(test)]
mod tests;

/// Most octets a prepared part may hold (RFC 7622 §3.1).
pub const PART_BYTES_MAX: usize = 1023;

/// Most octets a part may hold before preparation. Mapping can shorten a part to a third of its length (a
/// full-width letter has three octets, its mapped form one), never to less.
pub const RAW_PART_BYTES_MAX: usize = 3 * PART_BYTES_MAX;

/// Which part of an address an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JidPart {
    /// What stands before the first `@`.
    Local,
    /// What stands between `@` and `/`.
    Domain,
    /// What stands after the first `/`.
    Resource,
}

/// What is wrong with a part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JidProblem {
    /// The part is there (its delimiter is) but holds nothing.
    Empty,
    /// The part is longer than the standard allows, before or after preparation.
    TooLong,
    /// The part holds a character the standard forbids in this place.
    Forbidden(char),
    /// The part breaks a rule on the whole string: direction of writing, joiners, Punycode, label form.
    Invalid,
}

/// Why a text is no address. The stanza error for it is `jid-malformed` (RFC 6120 §8.3.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JidError {
    /// The part at fault.
    pub part: JidPart,
    /// What is wrong with it.
    pub problem: JidProblem,
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            JidPart::Local => "local part",
            JidPart::Domain => "domain",
            JidPart::Resource => "resource",
        };
        match self.problem {
            JidProblem::Empty => write!(f, "the {part} of the address is empty"),
            JidProblem::TooLong => {
                write!(f, "the {part} of the address is longer than {PART_BYTES_MAX} octets")
            }
            JidProblem::Forbidden(c) => {
                write!(
                    f,
                    "the {part} of the address holds U+{:04X}, which is not allowed there",
                    u32::from(c)
                )
            }
            JidProblem::Invalid => write!(f, "the {part} of the address is not well formed (RFC 7622)"),
        }
    }
}

impl std::error::Error for JidError {}

/// A prepared address that borrows its text: from the input where that was prepared already, else from the
/// scratch buffer given to [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JidRef<'a> {
    text: &'a str,
    /// Octets of the local part; 0 where there is none, as a local part is never empty.
    local_bytes: u16,
    /// Octets of `local@domain` or `domain`.
    bare_bytes: u16,
}

/// Prepares an address. Allocates nothing when `raw` is ASCII and prepared already, which is nearly always so;
/// otherwise `scratch` is overwritten, and a buffer that is reused stops allocating after a few calls.
///
/// # Errors
/// [`JidError`] names the part and the rule broken. XJ-01: the text is split at the first `/`, then at the first
/// `@` to its left (RFC 7622 §3.1).
pub fn prepare<'a>(raw: &'a str, scratch: &'a mut String) -> Result<JidRef<'a>, JidError> {
    let split = parts::split(raw)?;
    if split.is_prepared() {
        return Ok(JidRef::over(raw, split.local.map_or(0, str::len), raw.len() - split.resource_tail()));
    }
    scratch.clear();
    if let Some(local) = split.local {
        parts::prepare_local(local, scratch)?;
    }
    let local_bytes = scratch.len();
    if local_bytes > 0 {
        scratch.push('@');
    }
    parts::prepare_domain(split.domain, scratch)?;
    let bare_bytes = scratch.len();
    if let Some(resource) = split.resource {
        scratch.push('/');
        parts::prepare_resource(resource, scratch)?;
    }
    Ok(JidRef::over(scratch, local_bytes, bare_bytes))
}

/// Whether a part is plain: ASCII, neither empty nor too long, and such that [`prepare`] leaves it as it is. A domain may be
/// prepared without being plain (A-labels, literals, names beyond ASCII).
pub fn is_plain(part: JidPart, octets: &[u8]) -> bool {
    match part {
        JidPart::Local => !octets.is_empty() && parts::is_prepared_local(octets),
        JidPart::Domain => parts::is_prepared_domain(octets),
        JidPart::Resource => !octets.is_empty() && parts::is_prepared_resource(octets),
    }
}

impl<'a> JidRef<'a> {
    fn over(text: &'a str, local_bytes: usize, bare_bytes: usize) -> Self {
        // Each part is bounded by PART_BYTES_MAX, so both lengths fit.
        Self { text, local_bytes: local_bytes as u16, bare_bytes: bare_bytes as u16 }
    }

    /// The whole prepared address.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// `local@domain`, or the domain where there is no local part: the key users are looked up by.
    pub fn bare(&self) -> &'a str {
        &self.text[..usize::from(self.bare_bytes)]
    }

    /// The local part.
    pub fn local(&self) -> Option<&'a str> {
        (self.local_bytes > 0).then(|| &self.text[..usize::from(self.local_bytes)])
    }

    /// The domain, in U-label form, lower case, without trailing dot.
    pub fn domain(&self) -> &'a str {
        let start = if self.local_bytes > 0 { usize::from(self.local_bytes) + 1 } else { 0 };
        &self.text[start..usize::from(self.bare_bytes)]
    }

    /// The resource.
    ///
    /// XJ-04: peers that still use stringprep (RFC 6122) may send resources that PRECIS refuses, for example an
    /// emoji newer than our Unicode tables or one built with joiners. A resource PRECIS refuses is therefore
    /// taken as it is, compared byte for byte, if it holds no control character, no line or paragraph separator,
    /// no character that changes the direction of writing and no noncharacter. A local part gets no such grace:
    /// taken as it is, it could stand for another user at a server that maps it.
    pub fn resource(&self) -> Option<&'a str> {
        self.text.get(usize::from(self.bare_bytes) + 1..)
    }

    /// An owned copy.
    pub fn to_jid(&self) -> Jid {
        Jid { text: Arc::from(self.text), local_bytes: self.local_bytes, bare_bytes: self.bare_bytes }
    }
}

impl fmt::Display for JidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A prepared address that owns its text; cloning it copies no text.
#[derive(Clone)]
pub struct Jid {
    text: Arc<str>,
    local_bytes: u16,
    bare_bytes: u16,
}

impl Jid {
    /// Prepares `raw` and keeps the result.
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn parse(raw: &str) -> Result<Self, JidError> {
        let mut scratch = String::new();
        prepare(raw, &mut scratch).map(|jid| jid.to_jid())
    }

    /// An address that is known to be prepared, with the octets of its local part (0: none) and of its bare form. Wrong lengths
    /// give the whole text as a domain.
    pub(crate) fn of_prepared(text: &str, local_bytes: usize, bare_bytes: usize) -> Self {
        let fits = local_bytes <= PART_BYTES_MAX
            && bare_bytes <= 2 * PART_BYTES_MAX + 1
            && text.is_char_boundary(local_bytes)
            && text.is_char_boundary(bare_bytes)
            && (local_bytes == 0 || local_bytes + 1 < bare_bytes)
            && bare_bytes <= text.len();
        debug_assert!(fits, "{text}: {local_bytes}, {bare_bytes}");
        let (local, bare) =
            if fits { (local_bytes, bare_bytes) } else { (0, text.len().min(PART_BYTES_MAX)) };
        Self { text: Arc::from(text), local_bytes: local as u16, bare_bytes: bare as u16 }
    }

    /// The same address, borrowed.
    pub fn view(&self) -> JidRef<'_> {
        JidRef { text: &self.text, local_bytes: self.local_bytes, bare_bytes: self.bare_bytes }
    }

    /// The whole prepared address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The address without its resource.
    pub fn bare(&self) -> Self {
        if self.resource().is_none() {
            return self.clone();
        }
        Self { text: Arc::from(self.bare_str()), local_bytes: self.local_bytes, bare_bytes: self.bare_bytes }
    }

    /// The text of the address without its resource.
    pub fn bare_str(&self) -> &str {
        self.view().bare()
    }

    /// The local part.
    pub fn local(&self) -> Option<&str> {
        self.view().local()
    }

    /// The domain, in U-label form, lower case, without trailing dot.
    pub fn domain(&self) -> &str {
        self.view().domain()
    }

    /// The resource; see [`JidRef::resource`] for what is accepted.
    pub fn resource(&self) -> Option<&str> {
        self.view().resource()
    }
}

impl PartialEq for Jid {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Jid {}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Borrow<str> for Jid {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(raw: &str) -> Result<Self, JidError> {
        Self::parse(raw)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jid({:?})", &*self.text)
    }
}

/// A prepared domain; cloning it copies no text. Derefs to its text, so it can stand wherever a prepared domain
/// is asked for as `&str`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Prepares a domain alone: no `@`, no `/`.
    ///
    /// # Errors
    /// [`JidError`] with [`JidPart::Domain`].
    pub fn parse(raw: &str) -> Result<Self, JidError> {
        let mut prepared = String::new();
        parts::prepare_domain(raw, &mut prepared)?;
        Ok(Self(prepared.into()))
    }

    /// The domain, in U-label form, lower case, without trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form the DNS and certificates use (A-labels), or `None` where the name is longer than the DNS allows
    /// (RFC 1035 §2.3.4) or is an address literal in brackets.
    pub fn to_ascii(&self) -> Option<String> {
        parts::domain_to_ascii(&self.0)
    }
}

impl From<JidRef<'_>> for Domain {
    /// The domain of an address, which is prepared already.
    fn from(jid: JidRef<'_>) -> Self {
        Self(Arc::from(jid.domain()))
    }
}

impl From<&Jid> for Domain {
    /// The domain of an address, which is prepared already.
    fn from(jid: &Jid) -> Self {
        Self(Arc::from(jid.domain()))
    }
}

impl Deref for Domain {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Domain {
    type Err = JidError;

    fn from_str(raw: &str) -> Result<Self, JidError> {
        Self::parse(raw)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domain({:?})", &*self.0)
    }
}
