//! Presence documents of SIP: PIDF (RFC 3863) with RPID in both layouts, and Microsoft's categories. Invariant: what is written is
//! valid against the schema of RFC 3863 whatever the texts hold; what is read is either understood or refused as a whole, and
//! extensions nobody knows change nothing.

mod read;
mod write;

use std::sync::Arc;

use turnout_core::home::Dialect;
use turnout_core::jid::prepare;
use turnout_core::presence::PresenceRules;

use super::categories::{self, Told};
use super::shown::{Presence, most_available};
use crate::parse::MediaType;
use crate::random::digest;

/// The media type of PIDF (RFC 3863 §5).
pub(crate) const PIDF: &str = "application/pidf+xml";

/// The media type of Microsoft's categories.
pub(crate) const CATEGORIES: &str = "application/msrtc-event-categories+xml";

/// The one resource a user of a pool of dialect `skype` is shown under.
pub(crate) const SKYPE_RESOURCE: &str = "sfb";

/// What a document says about a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Document {
    /// Whom it is about, as written: a URI. Empty if it does not say.
    pub(crate) entity: String,
    /// Available resources, in the order of the document; no resource stands twice, here or in `closed`.
    pub(crate) open: Vec<Presence>,
    /// Resources said to be unavailable.
    pub(crate) closed: Vec<Arc<str>>,
    /// Whether availability was told at all; if not, it is unknown.
    pub(crate) has_basic: bool,
    /// What was told in categories, if it was: see [`Document::after`].
    pub(crate) categories: Option<Box<Told>>,
}

impl Document {
    /// The document that holds after this one has come, `before` being the one that held until now within the same subscription. PIDF
    /// tells all each time; categories tell only what has changed.
    pub(crate) fn after(self, before: &Self, dialect: Dialect) -> Self {
        match (self.categories, &before.categories) {
            (Some(told), Some(known)) => in_dialect(told.after(known).document(self.entity), dialect),
            (categories, _) => Self { categories, ..self },
        }
    }
}

/// Why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A type not read here: 415.
    Unsupported,
    /// Of a type that is read, and broken: 400. What is wrong.
    Broken(&'static str),
}

impl Flaw {
    /// The SIP status that says so.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Unsupported => 415,
            Self::Broken(_) => 400,
        }
    }
}

/// How a document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As a 2019 pool has it: one tuple, the activity within its status.
    Single,
    /// As RFC 3863 and RFC 4480 have it: a tuple for each resource, the activity with the person.
    Tuples,
}

/// Reads the body of a NOTIFY. No body at all tells nothing: availability is unknown.
///
/// # Errors
/// [`Flaw`]: of another type than [`PIDF`] (or [`CATEGORIES`], where the rules say that they are offered), not well-formed, with
/// a DTD, a processing instruction or entities, or beyond the bounds.
pub(crate) fn read(
    kind: Option<&MediaType<'_>>,
    body: &[u8],
    rules: &PresenceRules,
    dialect: Dialect,
) -> Result<Document, Flaw> {
    if body.is_empty() {
        return Ok(Document::default());
    }
    let kind = kind.ok_or(Flaw::Unsupported)?;
    let is_utf8 =
        |charset: &str| ["utf-8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    if kind.params.get("charset").is_some_and(|charset| !is_utf8(&charset)) {
        return Err(Flaw::Unsupported);
    }
    let document = if kind.is(PIDF) {
        read::read(body, rules)?
    } else if rules.rich && kind.is(CATEGORIES) {
        categories::read(body, rules)?
    } else {
        return Err(Flaw::Unsupported);
    };
    Ok(in_dialect(document, dialect))
}

/// Writes what is shown of a user. `entity` is his URI as [`crate::address`] makes it; none in `open` writes that he is
/// unavailable. Without `with_notes` no status text is written: partners of the public types are not told those (the caller knows
/// to whom this goes).
pub(crate) fn write(entity: &str, open: &[Presence], layout: Layout, with_notes: bool) -> String {
    write::write(entity, open, layout, with_notes)
}

fn in_dialect(document: Document, dialect: Dialect) -> Document {
    match dialect {
        Dialect::Skype => under_one_name(document),
        Dialect::Simple => document,
    }
}

/// All resources under the one a pool's user has: the most available, or unavailable if all are.
fn under_one_name(document: Document) -> Document {
    let resource: Arc<str> = SKYPE_RESOURCE.into();
    let open = most_available(&document.open);
    let closed =
        if open.is_none() && !document.closed.is_empty() { vec![resource.clone()] } else { Vec::new() };
    let open = open.map(|presence| Presence { resource, ..presence });
    Document { open: open.into_iter().collect(), closed, ..document }
}

/// What comes before the resource in the id of a tuple (RFC 8048 §5.2.1), as an id cannot begin with a digit.
const ID_PREFIX: &str = "ID-";

/// The id of the tuple of a resource: an xs:ID from which the resource can be had again, and of no other resource. Letters,
/// digits, dots and dashes of ASCII stand for themselves, every other byte as `_` and two digits.
fn tuple_id(resource: &str) -> String {
    let mut id = String::with_capacity(ID_PREFIX.len() + resource.len());
    id.push_str(ID_PREFIX);
    for byte in resource.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
            id.push(char::from(byte));
        } else {
            id.push('_');
            id.extend(
                [byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)),
            );
        }
    }
    id
}

/// The resource of the tuple of an id. What others wrote is taken as it stands, and a digest of it if that is no resource.
fn resource_of(id: &str) -> Arc<str> {
    let rest = id.strip_prefix(ID_PREFIX).unwrap_or(id);
    let ours = decoded(rest).filter(|resource| tuple_id(resource).strip_prefix(ID_PREFIX) == Some(rest));
    let resource = ours.unwrap_or_else(|| rest.to_owned());
    if resource.is_empty() {
        return resource.into();
    }
    let (full, mut scratch) = (format!("of.invalid/{resource}"), String::new());
    match prepare(&full, &mut scratch).ok().and_then(|jid| jid.resource()) {
        Some(prepared) => prepared.into(),
        None => (*digest(&[id.as_bytes()]).hex()).into(),
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'_' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        rest = tail;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

mod names {
    //! Namespaces of presence documents.

    /// RFC 3863.
    pub(super) const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
    /// RFC 4479.
    pub(super) const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
    /// RFC 4480.
    pub(super) const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
    /// The draft that became RFC 4480, as a 2019 pool writes it.
    pub(super) const RPID_STATUS: &str = "urn:ietf:params:xml:ns:pidf:status:rpid-status";
    /// RFC 4482.
    pub(super) const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
    /// RFC 8048 §5.3: `<show/>` as an extension.
    pub(super) const CLIENT: &str = "jabber:client";
    /// All of them.
    pub(super) const ALL: [&str; 6] = [PIDF, DATA_MODEL, RPID, RPID_STATUS, CIPID, CLIENT];
}

#[cfg(test)]
mod tests;
