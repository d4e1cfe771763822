//! The stream header (RFC 6120 §4.2, §4.7, §4.8).

use super::element::{Attributes, Span, text};
use super::namespaces::{Binding, Namespace};
use super::value::attribute_value;
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// A version of XMPP. Compared number by number, so 1.10 is later than 1.9 (RFC 6120 §4.7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The number before the dot.
    pub major: u32,
    /// The number after the dot.
    pub minor: u32,
}

impl Version {
    /// What a header without `version` means (RFC 6120 §4.7.5): no stream features, only legacy dialback.
    pub const MISSING: Self = Self { major: 0, minor: 9 };
    /// The version RFC 6120 defines.
    pub const RFC6120: Self = Self { major: 1, minor: 0 };

    /// Reads `major.minor`; leading zeros do not count, anything but two decimal numbers is `None`.
    pub fn parse(value: &str) -> Option<Self> {
        let (major, minor) = value.split_once('.')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }

    /// Whether the peer sends and expects stream features (RFC 6120 §4.7.5).
    pub fn has_features(self) -> bool {
        self >= Self::RFC6120
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A checked stream header: its element is `stream` in the stream namespace, under whatever prefix or none.
///
/// Whether its domains, version and content namespace are wanted here is the caller's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHeader {
    pub(super) bytes: Bytes,
    pub(super) prefix: Span,
    pub(super) attributes: Attributes,
    pub(super) version: Version,
    pub(super) bindings: Vec<Binding>,
}

impl StreamHeader {
    /// The start tag exactly as received, without an XML declaration.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of `to`.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.to)
    }

    /// The value of `from`.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.from)
    }

    /// The value of `id`.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.id)
    }

    /// The value of `xml:lang`, which stanzas without one inherit (RFC 6120 §4.7.4).
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        self.value(self.attributes.lang)
    }

    /// The version; [`Version::MISSING`] where the header has none.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The prefix of the stream element, empty in the prefix-free form (RFC 6120 §4.8.2).
    pub fn prefix(&self) -> &str {
        text(self.prefix.of(&self.bytes))
    }

    /// The content namespace: `None` where the header declares none because its default is the stream namespace
    /// itself (the prefix-free form) or nothing (RFC 6120 §4.8.2). A server port refuses anything but `None` and
    /// `Server` with invalid-namespace.
    pub fn content_namespace(&self) -> Option<Namespace> {
        let (_, name) = self.bindings().find(|(prefix, _)| prefix.is_empty())?;
        match Namespace::of(name.as_bytes()) {
            Namespace::None | Namespace::Streams => None,
            namespace => Some(namespace),
        }
    }

    /// The prefix under which the dialback namespace is declared, if it is: the sign that the peer knows dialback
    /// (XEP-0220 §2.1.1), and the only prefix its dialback elements may carry. Empty if it is the default.
    pub fn dialback_prefix(&self) -> Option<&str> {
        self.bindings().find(|(_, name)| *name == Namespace::Dialback.name()).map(|(prefix, _)| prefix)
    }

    /// Every namespace declaration of the header: prefix (empty for the default) and namespace name.
    pub fn bindings(&self) -> impl Iterator<Item = (&str, &str)> {
        let bytes: &[u8] = &self.bytes;
        self.bindings
            .iter()
            .map(move |binding| (text(binding.prefix.of(bytes)), text(binding.name.of(bytes))))
    }

    fn value(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        span.map(|span| attribute_value(span.of(&self.bytes)))
    }
}
