//! A first-level child of the stream: the bytes as they came, and where the parts a router asks for are in them.

use super::namespaces::{NameBytes, Namespace};
use super::value::attribute_value;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// A range of bytes inside an element or a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// Positions come from buffers the limits keep far below 4 GiB; beyond that they would saturate.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// The bytes of `source` the span covers; empty where it does not fit.
    pub fn of(self, source: &[u8]) -> &[u8] {
        source.get(self.range()).unwrap_or_default()
    }

    /// The span as a range of indices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An element's expanded name (Namespaces in XML §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpandedName {
    pub(super) namespace: Namespace,
    pub(super) name: NameBytes,
    pub(super) local: Span,
}

/// The attributes of a start tag that routing and negotiation read: raw values, between the quotes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `from`
    pub from: Option<Span>,
    /// `to`
    pub to: Option<Span>,
    /// `id`
    pub id: Option<Span>,
    /// `type`
    pub stanza_type: Option<Span>,
    /// `version`
    pub version: Option<Span>,
    /// `xml:lang`
    pub lang: Option<Span>,
}

/// A complete, checked first-level element (RFC 6120 §4.1: a stanza, or a step of a negotiation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub(super) bytes: Bytes,
    pub(super) name: ExpandedName,
    pub(super) attributes: Attributes,
    pub(super) child: Option<ExpandedName>,
    pub(super) children: u32,
    pub(super) insert_at: u32,
    pub(super) declare: Option<Bytes>,
    pub(super) prefixed_content: bool,
    pub(super) newer_names: bool,
}

/// An element name: its namespace, the namespace's name where it is not a known one, and the local name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The namespace.
    pub namespace: Namespace,
    /// The name of the namespace, also where it is a known one.
    pub namespace_name: &'a str,
    /// The local name.
    pub local: &'a str,
}

impl Element {
    /// The bytes from `<` to `>` exactly as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The element's own name.
    pub fn name(&self) -> Name<'_> {
        self.resolve(&self.name)
    }

    /// The name of the first child element, which tells what an iq asks (RFC 6120 §8.2.3).
    pub fn child(&self) -> Option<Name<'_>> {
        self.child.as_ref().map(|child| self.resolve(child))
    }

    /// How many child elements there are; an iq `get` or `set` must have one (RFC 6120 §8.2.3).
    pub fn children(&self) -> u32 {
        self.children
    }

    /// Where the raw values of the common attributes are in [`bytes`](Self::bytes).
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The value of `from`.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.from)
    }

    /// The value of `to`.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.to)
    }

    /// The value of `id`.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.id)
    }

    /// The value of `type`.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.stanza_type)
    }

    /// The value of `version`.
    pub fn version(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.version)
    }

    /// The element's own `xml:lang`. One inherited from the header is not looked up (RFC 6120 §4.7.4).
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.lang)
    }

    /// The unescaped value of an attribute whose span is in [`attributes`](Self::attributes); borrowed unless it
    /// holds a reference.
    pub fn value(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        span.map(|span| attribute_value(span.of(&self.bytes)))
    }

    /// The offset right behind the element's name in its start tag, where attributes may be inserted.
    pub fn insert_at(&self) -> u32 {
        self.insert_at
    }

    /// The declarations, each with a leading space, to insert at [`insert_at`](Self::insert_at) so that the element
    /// means the same on a stream whose header binds only the default namespace to `jabber:server` and `stream` to the
    /// stream namespace (RFC 6120 §4.8.5). `None` in the usual case: it means the same as it is.
    ///
    /// Only prefixes in element and attribute names are seen. A prefix used inside a value or text and declared only
    /// on the stream header is lost; RFC 6120 §4.8.5 forbids senders to rely on that.
    pub fn declare(&self) -> Option<&Bytes> {
        self.declare.as_ref()
    }

    /// An element inside carries a prefix bound to `jabber:server`. Such a stanza must not be passed on (RFC 6120
    /// §4.8.5): refuse the stream with `bad-namespace-prefix`, as the framer does for the first-level element itself.
    pub fn has_prefixed_content(&self) -> bool {
        self.prefixed_content
    }

    /// Whether a name in it holds a character that names have had since the fifth edition of XML 1.0 only: readers of the fourth
    /// refuse it.
    pub fn has_newer_names(&self) -> bool {
        self.newer_names
    }

    fn resolve<'a>(&'a self, name: &'a ExpandedName) -> Name<'a> {
        let namespace_name = match &name.name {
            NameBytes::Known => name.namespace.name(),
            NameBytes::Element(span) => text(span.of(&self.bytes)),
            NameBytes::Header(bytes) => text(bytes),
        };
        Name { namespace: name.namespace, namespace_name, local: text(name.local.of(&self.bytes)) }
    }
}

/// Checked bytes as text.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
