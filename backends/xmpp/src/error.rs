//! Stream errors, and the stanza that tells a sender its stanza could not be delivered.
//!
//! Invariant: an error is never answered with an error ([`bounce`] returns `None`), and nothing a peer sent is echoed
//! in an error text without being made harmless first.

use crate::write;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::fmt;

/// Why a stream is closed: the conditions of RFC 6120 §4.9.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamCondition {
    /// XML that cannot be processed, where nothing more exact fits (§4.9.3.1).
    BadFormat,
    /// A prefix where none may stand, or none where one must (§4.9.3.2).
    BadNamespacePrefix,
    /// Another stream took the place of this one (§4.9.3.3).
    Conflict,
    /// The peer was silent for too long (§4.9.3.4).
    ConnectionTimeout,
    /// The `to` domain is no longer served here (§4.9.3.5).
    HostGone,
    /// The `to` domain is not served here (§4.9.3.6).
    HostUnknown,
    /// A stanza between servers lacks `to` or `from` (§4.9.3.7).
    ImproperAddressing,
    /// A fault of ours (§4.9.3.8).
    InternalServerError,
    /// A `from` the stream may not speak for (§4.9.3.9).
    InvalidFrom,
    /// The stream or content namespace is not the one this port speaks (§4.9.3.10).
    InvalidNamespace,
    /// XML that breaks a schema we check (§4.9.3.11).
    InvalidXml,
    /// Data before the stream was authenticated (§4.9.3.12).
    NotAuthorized,
    /// XML or namespaces that are not well-formed (§4.9.3.13).
    NotWellFormed,
    /// A local limit or rule was broken (§4.9.3.14).
    PolicyViolation,
    /// A server behind us cannot be reached (§4.9.3.15).
    RemoteConnectionFailed,
    /// The stream is closed so that it starts afresh (§4.9.3.16).
    Reset,
    /// We have no room for this stream (§4.9.3.17).
    ResourceConstraint,
    /// A comment, processing instruction, DTD or entity (§4.9.3.18).
    RestrictedXml,
    /// Go to another host (§4.9.3.19).
    SeeOtherHost,
    /// We are shutting down (§4.9.3.20).
    SystemShutdown,
    /// None of the others; also any condition we do not know (§4.9.3.21).
    UndefinedCondition,
    /// Not UTF-8 (§4.9.3.22).
    UnsupportedEncoding,
    /// A mandatory feature we do not have (§4.9.3.23).
    UnsupportedFeature,
    /// A first-level element that is no stanza (§4.9.3.24).
    UnsupportedStanzaType,
    /// A version of XMPP we do not speak (§4.9.3.25).
    UnsupportedVersion,
}

impl StreamCondition {
    /// Every condition, in the order of the RFC.
    pub const ALL: [Self; 25] = [
        Self::BadFormat,
        Self::BadNamespacePrefix,
        Self::Conflict,
        Self::ConnectionTimeout,
        Self::HostGone,
        Self::HostUnknown,
        Self::ImproperAddressing,
        Self::InternalServerError,
        Self::InvalidFrom,
        Self::InvalidNamespace,
        Self::InvalidXml,
        Self::NotAuthorized,
        Self::NotWellFormed,
        Self::PolicyViolation,
        Self::RemoteConnectionFailed,
        Self::Reset,
        Self::ResourceConstraint,
        Self::RestrictedXml,
        Self::SeeOtherHost,
        Self::SystemShutdown,
        Self::UndefinedCondition,
        Self::UnsupportedEncoding,
        Self::UnsupportedFeature,
        Self::UnsupportedStanzaType,
        Self::UnsupportedVersion,
    ];

    /// The name of the element on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::BadNamespacePrefix => "bad-namespace-prefix",
            Self::Conflict => "conflict",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidFrom => "invalid-from",
            Self::InvalidNamespace => "invalid-namespace",
            Self::InvalidXml => "invalid-xml",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SeeOtherHost => "see-other-host",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UnsupportedStanzaType => "unsupported-stanza-type",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }

    /// The condition a peer named. An unknown name is `UndefinedCondition` (RFC 6120 §4.9.2); the name RFC 3920 used
    /// for not-well-formed is known (§4.9.3.13).
    pub fn from_name(name: &str) -> Self {
        if name == "xml-not-well-formed" {
            return Self::NotWellFormed;
        }
        Self::ALL.into_iter().find(|condition| condition.name() == name).unwrap_or(Self::UndefinedCondition)
    }
}

impl fmt::Display for StreamCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that were refused. The stream they came on must be closed with `condition`; nothing after them can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// What to answer.
    pub condition: StreamCondition,
    /// What was wrong, for the log and for `<text/>`: bounded, and ASCII without markup.
    pub text: Cow<'static, str>,
    /// How many bytes of the stream, since it was opened or restarted, come before the fault.
    pub offset: u64,
    /// A limit on bytes was exceeded: the stream error should carry `stanza-too-big` (RFC 6120 §4.9.3.14).
    pub too_big: bool,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at byte {} of the stream", self.condition, self.text, self.offset)
    }
}

impl std::error::Error for FrameError {}

/// A peer's bytes made fit for an error text: printable ASCII but markup stays, the rest becomes `\xNN`, and after
/// 48 bytes it is cut.
pub fn quoted(raw: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 48;
    let mut shown = String::with_capacity(SHOWN_BYTES_MAX + 8);
    shown.push('\'');
    for &b in raw.iter().take(SHOWN_BYTES_MAX) {
        if (b.is_ascii_graphic() || b == b' ') && !matches!(b, b'<' | b'>' | b'&' | b'\'' | b'"' | b'\\') {
            shown.push(char::from(b));
        } else {
            shown.push_str(&format!("\\x{b:02X}"));
        }
    }
    shown.push_str(if raw.len() > SHOWN_BYTES_MAX { "'..." } else { "'" });
    shown
}

/// What [`bounce`] needs of the stanza that failed. Values are the raw attribute values as they stood between their
/// quotes, already checked by the framer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Original<'a> {
    /// `message`, `presence` or `iq`.
    pub kind: &'a str,
    /// The `type` attribute.
    pub stanza_type: Option<&'a [u8]>,
    /// The `id` attribute.
    pub id: Option<&'a [u8]>,
    /// The `from` attribute: who is told.
    pub from: Option<&'a [u8]>,
    /// The `to` attribute: who could not be reached.
    pub to: Option<&'a [u8]>,
}

/// The stanza that tells the sender of `original` why it failed (RFC 6120 §8.3.1): same kind and id, addresses
/// swapped, `type='error'`, and one `<error/>` of `error_type` with `condition` and, unless empty, `text`. The payload
/// is not echoed. For a stream whose default namespace is `jabber:server`.
///
/// `None` where no answer may be given: to an error, to an iq `result`, to a kind that is no stanza, or where there is
/// nobody to tell. `condition` and `error_type` must be names out of §8.3.2 and §8.3.3.
pub fn bounce(original: &Original<'_>, condition: &str, error_type: &str, text: &str) -> Option<Bytes> {
    let answerable = match original.kind {
        "iq" => !matches!(original.stanza_type, Some(b"error" | b"result")),
        "message" | "presence" => original.stanza_type != Some(b"error"),
        _ => false,
    };
    let sender = original.from.filter(|from| answerable && !from.is_empty())?;
    let mut out = BytesMut::with_capacity(256 + sender.len() + text.len());
    out.extend_from_slice(b"<");
    out.extend_from_slice(original.kind.as_bytes());
    if let Some(to) = original.to {
        write::raw_attribute(&mut out, "from", to);
    }
    write::raw_attribute(&mut out, "to", sender);
    write::raw_attribute(&mut out, "id", original.id.unwrap_or_default());
    out.extend_from_slice(b" type='error'>");
    write::stanza_error(&mut out, condition, error_type, text);
    out.extend_from_slice(b"</");
    out.extend_from_slice(original.kind.as_bytes());
    out.extend_from_slice(b">");
    Some(out.freeze())
}

#[cfg(test)]
mod tests;
