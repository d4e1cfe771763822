//! Writing our own XML: headers, features, negotiation, dialback, errors.
//!
//! Invariant: whatever strings come in, what goes out is well-formed and obeys RFC 6120 §11. Markup characters become
//! references; tab, line feed and carriage return in attributes too, so that they survive (XML 1.0 §3.3.3). A character
//! XML cannot carry becomes U+FFFD: it can only be in texts meant for people. Where the exact value matters (an
//! address, an id), ask [`is_xml`] first and refuse.

use crate::bounds::Bounds;
use crate::error::StreamCondition;
use crate::frame::{Namespace, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

/// Whether XML 1.0 can carry every character of `text` (XML 1.0 §2.2).
pub fn is_xml(text: &str) -> bool {
    text.chars().all(allowed)
}

fn allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => true,
        '\u{FFFE}' | '\u{FFFF}' => false,
        _ => c >= ' ',
    }
}

/// Appends `value` as character data.
pub fn text(out: &mut BytesMut, value: &str) {
    escape(out, value, false);
}

/// Appends ` name='value'`.
pub fn attribute(out: &mut BytesMut, name: &str, value: &str) {
    begin_attribute(out, name);
    escape(out, value, true);
    out.extend_from_slice(b"'");
}

/// Appends ` name='value'` where `raw` is a checked raw attribute value as received: only the single quote, which
/// double quotes may have let through, is escaped.
pub fn raw_attribute(out: &mut BytesMut, name: &str, raw: &[u8]) {
    begin_attribute(out, name);
    for (at, piece) in raw.split(|&b| b == b'\'').enumerate() {
        if at > 0 {
            out.extend_from_slice(b"&apos;");
        }
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"'");
}

fn begin_attribute(out: &mut BytesMut, name: &str) {
    put(out, &[" ", name, "='"]);
}

fn escape(out: &mut BytesMut, value: &str, in_attribute: bool) {
    let mut plain_from = 0;
    for (at, c) in value.char_indices() {
        let escaped = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' if in_attribute => "&apos;",
            '"' if in_attribute => "&quot;",
            '\t' if in_attribute => "&#x9;",
            '\n' if in_attribute => "&#xA;",
            '\r' => "&#xD;",
            _ if !allowed(c) => "\u{FFFD}",
            _ => continue,
        };
        put(out, &[value.get(plain_from..at).unwrap_or_default(), escaped]);
        plain_from = at + c.len_utf8();
    }
    put(out, &[value.get(plain_from..).unwrap_or_default()]);
}

fn put(out: &mut BytesMut, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// A stream header of ours (RFC 6120 §4.7, §4.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whom we speak to; absent only in an answer to a header without `from`.
    pub to: Option<&'a str>,
    /// Who we are; absent only in an answer to a header whose `to` is missing.
    pub from: Option<&'a str>,
    /// The stream id: in a response header only (§4.7.3).
    pub id: Option<&'a str>,
    /// The language of texts without one (§4.7.4).
    pub lang: Option<&'a str>,
    /// Declare the dialback namespace under the prefix `db`, which says that we know dialback (XEP-0220 §2.1.1).
    pub dialback: bool,
}

/// Appends an XML declaration and a stream header, version 1.0, content namespace `jabber:server`.
pub fn stream_header(out: &mut BytesMut, header: &Header<'_>) {
    put(out, &["<?xml version='1.0'?><stream:stream"]);
    attribute(out, "xmlns", Namespace::Server.name());
    attribute(out, "xmlns:stream", Namespace::Streams.name());
    if header.dialback {
        attribute(out, "xmlns:db", Namespace::Dialback.name());
    }
    let optional = [("from", header.from), ("to", header.to), ("id", header.id), ("xml:lang", header.lang)];
    for (name, value) in optional {
        if let Some(value) = value {
            attribute(out, name, value);
        }
    }
    attribute(out, "version", &Version::RFC6120.to_string());
    put(out, &[">"]);
}

/// Appends the end of the stream (RFC 6120 §4.4).
pub fn stream_end(out: &mut BytesMut) {
    put(out, &["</stream:stream>"]);
}

/// Appends a stream error (RFC 6120 §4.9.2); the text is left out where it is empty. With `too_big` it carries
/// `stanza-too-big` (the example of §4.9.3.14). The caller closes the stream.
pub fn stream_error(out: &mut BytesMut, condition: StreamCondition, why: &str, too_big: bool) {
    put(out, &["<stream:error>"]);
    condition_and_text(out, condition.name(), Namespace::StreamErrors, why);
    if too_big {
        put(out, &["<stanza-too-big xmlns='urn:xmpp:errors'/>"]);
    }
    put(out, &["</stream:error>"]);
}

/// Appends the `<error/>` of a stanza of type error (RFC 6120 §8.3.2). `condition` and `error_type` are names out of
/// §8.3.2 and §8.3.3; the text is left out where it is empty.
pub fn stanza_error(out: &mut BytesMut, condition: &str, error_type: &str, why: &str) {
    put(out, &["<error"]);
    attribute(out, "type", error_type);
    put(out, &[">"]);
    condition_and_text(out, condition, Namespace::StanzaErrors, why);
    put(out, &["</error>"]);
}

fn condition_and_text(out: &mut BytesMut, condition: &str, namespace: Namespace, why: &str) {
    put(out, &["<", condition, " xmlns='", namespace.name(), "'/>"]);
    if !why.is_empty() {
        put(out, &["<text xmlns='", namespace.name(), "' xml:lang='en'>"]);
        text(out, why);
        put(out, &["</text>"]);
    }
}

/// What we offer on a stream (RFC 6120 §4.3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// STARTTLS (§5.4.1).
    pub starttls: bool,
    /// STARTTLS is mandatory (§5.3.1).
    pub starttls_required: bool,
    /// SASL EXTERNAL (§6.4.1).
    pub sasl_external: bool,
    /// Dialback with error handling (XEP-0220 §2.5.1).
    pub dialback: bool,
    /// Stream management (XEP-0198 §2).
    pub acks: bool,
    /// Both ways on one stream (XEP-0288).
    pub bidi: bool,
    /// What is taken (XEP-0478).
    pub bounds: Option<Bounds>,
}

/// Appends stream features; empty ones too, which say that negotiation is over (RFC 6120 §4.3.2).
pub fn features(out: &mut BytesMut, features: &Features) {
    put(out, &["<stream:features>"]);
    if features.starttls {
        put(out, &["<starttls xmlns='", Namespace::Tls.name(), "'>"]);
        put(out, &[if features.starttls_required { "<required/>" } else { "" }, "</starttls>"]);
    }
    if features.sasl_external {
        put(out, &["<mechanisms xmlns='", Namespace::Sasl.name(), "'>"]);
        put(out, &["<mechanism>EXTERNAL</mechanism></mechanisms>"]);
    }
    if features.dialback {
        put(out, &["<dialback xmlns='", Namespace::DialbackFeature.name(), "'><errors/></dialback>"]);
    }
    if features.bidi {
        out.extend_from_slice(b"<bidi xmlns='urn:xmpp:features:bidi'/>");
    }
    if features.acks {
        empty(out, "sm", Namespace::StreamManagement);
    }
    if let Some(bounds) = &features.bounds {
        bounds.write(out);
    }
    put(out, &["</stream:features>"]);
}

/// Appends the request for TLS (RFC 6120 §5.4.2.1).
pub fn starttls(out: &mut BytesMut) {
    empty(out, "starttls", Namespace::Tls);
}

/// Appends the consent to TLS (RFC 6120 §5.4.2.3). Nothing may follow it before the handshake.
pub fn tls_proceed(out: &mut BytesMut) {
    empty(out, "proceed", Namespace::Tls);
}

/// Appends the refusal of TLS (RFC 6120 §5.4.2.2); the stream is closed after it.
pub fn tls_failure(out: &mut BytesMut) {
    empty(out, "failure", Namespace::Tls);
}

/// Appends `<auth/>` for EXTERNAL with an authorization identity, or `=` for an empty one (RFC 6120 §6.4.2; XEP-0178
/// §3 has servers send their domain).
pub fn sasl_auth_external(out: &mut BytesMut, identity: Option<&str>) {
    put(out, &["<auth xmlns='", Namespace::Sasl.name(), "' mechanism='EXTERNAL'>"]);
    match identity {
        None | Some("") => put(out, &["="]),
        Some(identity) => put(out, &[&STANDARD.encode(identity)]),
    }
    put(out, &["</auth>"]);
}

/// Appends the end of a SASL negotiation that worked (RFC 6120 §6.4.6).
pub fn sasl_success(out: &mut BytesMut) {
    empty(out, "success", Namespace::Sasl);
}

/// Appends the end of a SASL negotiation that failed (RFC 6120 §6.4.5); `condition` is a name out of §6.5.
pub fn sasl_failure(out: &mut BytesMut, condition: &str) {
    put(out, &["<failure xmlns='", Namespace::Sasl.name(), "'><", condition, "/></failure>"]);
}

fn empty(out: &mut BytesMut, name: &str, namespace: Namespace) {
    put(out, &["<", name, " xmlns='", namespace.name(), "'/>"]);
}

/// Which of the two dialback elements (XEP-0220 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialback<'a> {
    /// `db:result`: between the initiating and the receiving server.
    Result,
    /// `db:verify`: between the receiving and the authoritative server, with the id of the stream in question.
    Verify {
        /// The stream id the key was made for.
        id: &'a str,
    },
}

/// What a dialback element says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialbackSays<'a> {
    /// A key to verify.
    Key(&'a str),
    /// The key is right.
    Valid,
    /// The key is wrong.
    Invalid,
    /// No answer could be had (XEP-0220 §2.4): a stanza error condition and error type, as in RFC 6120 §8.3.
    Error {
        /// The name of the condition.
        condition: &'a str,
        /// The error type.
        error_type: &'a str,
    },
}

/// Appends a dialback element under the prefix `db`, which our header declares.
pub fn dialback(out: &mut BytesMut, element: Dialback<'_>, from: &str, to: &str, says: DialbackSays<'_>) {
    let name = match element {
        Dialback::Result => "db:result",
        Dialback::Verify { .. } => "db:verify",
    };
    put(out, &["<", name]);
    attribute(out, "from", from);
    attribute(out, "to", to);
    if let Dialback::Verify { id } = element {
        attribute(out, "id", id);
    }
    match says {
        DialbackSays::Key(key) => {
            put(out, &[">"]);
            text(out, key);
        }
        DialbackSays::Valid => return put(out, &[" type='valid'/>"]),
        DialbackSays::Invalid => return put(out, &[" type='invalid'/>"]),
        DialbackSays::Error { condition, error_type } => {
            put(out, &[" type='error'>"]);
            stanza_error(out, condition, error_type, "");
        }
    }
    put(out, &["</", name, ">"]);
}

#[cfg(test)]
mod tests;
