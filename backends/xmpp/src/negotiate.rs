//! Reading and writing what two servers agree on before stanzas flow: headers, features, SASL (RFC 6120 §4.3, §6; XEP-0178).
//! Invariant: everything here is a function of one element; what may follow what is decided by the streams.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use crate::bounds::Bounds;
use crate::error::{StreamCondition, quoted};
use crate::frame::{Element, Namespace, StreamHeader};
use crate::parse::Tree;
use crate::write::{self, Header};

/// The wish for stanzas both ways (XEP-0288 §2): another namespace than that of the feature.
pub(crate) const BIDI: &[u8] = b"<bidi xmlns='urn:xmpp:bidi'/>";

/// What a peer offers that we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// STARTTLS.
    pub(crate) starttls: bool,
    /// The peer insists on STARTTLS.
    pub(crate) starttls_required: bool,
    /// SASL EXTERNAL.
    pub(crate) external: bool,
    /// Stream management (XEP-0198).
    pub(crate) acks: bool,
    /// Both ways on one stream (XEP-0288).
    pub(crate) bidi: bool,
    /// What the peer takes (XEP-0478).
    pub(crate) bounds: Bounds,
}

/// Reads `<stream:features/>`; what cannot be read is not offered.
pub(crate) fn offered(element: &Element, header: &StreamHeader) -> Offered {
    let Ok(tree) = Tree::of(element, header) else { return Offered::default() };
    let root = tree.root();
    let starttls = root.child(Namespace::Tls, "starttls");
    let external = root.child(Namespace::Sasl, "mechanisms").is_some_and(|mechanisms| {
        mechanisms.children().any(|mechanism| {
            mechanism.is(Namespace::Sasl, "mechanism") && mechanism.text().trim() == "EXTERNAL"
        })
    });
    Offered {
        starttls: starttls.is_some(),
        starttls_required: starttls.is_some_and(|node| node.child(Namespace::Tls, "required").is_some()),
        external,
        acks: root.child(Namespace::StreamManagement, "sm").is_some(),
        bidi: root.child(Namespace::BidiFeature, "bidi").is_some(),
        bounds: Bounds::offered(root),
    }
}

/// Reads `<stream:error/>`: the condition and the peer's text, made fit for a log line.
pub(crate) fn stream_error(element: &Element, header: &StreamHeader) -> (StreamCondition, String) {
    let Ok(tree) = Tree::of(element, header) else {
        return (StreamCondition::UndefinedCondition, String::new());
    };
    let mut condition = StreamCondition::UndefinedCondition;
    let mut text = String::new();
    for child in tree.root().children().filter(|child| child.namespace() == Namespace::StreamErrors) {
        if child.local() == "text" {
            text = quoted(child.text().as_bytes());
        } else {
            condition = StreamCondition::from_name(child.local());
        }
    }
    (condition, text)
}

/// The condition in a SASL `<failure/>`, for the log (RFC 6120 §6.5).
pub(crate) fn sasl_condition(element: &Element) -> String {
    element.child().map_or_else(|| "no condition".to_owned(), |child| quoted(child.local.as_bytes()))
}

/// The text directly in an element.
pub(crate) fn text(element: &Element, header: &StreamHeader) -> String {
    Tree::of(element, header).map(|tree| tree.root().text().to_owned()).unwrap_or_default()
}

/// The mechanism an `<auth/>` names.
pub(crate) fn mechanism(element: &Element, header: &StreamHeader) -> Option<String> {
    Tree::of(element, header).ok()?.root().attribute("mechanism").map(str::to_owned)
}

/// What the first words of EXTERNAL hold (RFC 6120 §6.4.2, XEP-0178 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Initial {
    /// No response was sent along: it has to be asked for.
    Absent,
    /// `=`: speak for whom the certificate and the stream name.
    Empty,
    /// An authorization identity.
    Identity(String),
}

/// Reads the text of `<auth/>` or `<response/>`.
///
/// # Errors
/// The SASL failure condition: `incorrect-encoding` for bad base64, `invalid-authzid` for what is no text.
pub(crate) fn initial(text: &str) -> Result<Initial, &'static str> {
    match text {
        "" => return Ok(Initial::Absent),
        "=" => return Ok(Initial::Empty),
        _ => {}
    }
    // White space is not tolerated inside base64 (RFC 6120 §6.4.2 with §13.9.1).
    let bytes = STANDARD.decode(text).map_err(|_| "incorrect-encoding")?;
    match String::from_utf8(bytes) {
        Ok(identity) if identity.is_empty() => Ok(Initial::Empty),
        Ok(identity) => Ok(Initial::Identity(identity)),
        Err(_) => Err("invalid-authzid"),
    }
}

/// A header of ours. `versioned` is false towards a peer of before XMPP 1.0: it is then not told of a version either, so that
/// it does not wait for features (RFC 6120 §4.7.5).
pub(crate) fn header(header: &Header<'_>, versioned: bool) -> BytesMut {
    const VERSION: &[u8] = b" version='1.0'>";
    let mut out = BytesMut::with_capacity(320);
    write::stream_header(&mut out, header);
    if !versioned && out.ends_with(VERSION) {
        out.truncate(out.len() - VERSION.len());
        out.extend_from_slice(b">");
    }
    out
}

/// A stream error and the end of the stream, behind what stands in `out` already.
pub(crate) fn last_words(mut out: BytesMut, condition: StreamCondition, text: &str, too_big: bool) -> Bytes {
    write::stream_error(&mut out, condition, text, too_big);
    write::stream_end(&mut out);
    out.freeze()
}

/// One element written by `fill`.
pub(crate) fn bytes(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(160);
    fill(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_of_external() {
        let check = |text: &str, expected: Result<Initial, &'static str>| {
            assert_eq!(initial(text), expected, "{text:?}")
        };
        check("", Ok(Initial::Absent));
        check("=", Ok(Initial::Empty));
        check("cGFydG5lci5leGFtcGxl", Ok(Initial::Identity("partner.example".to_owned())));
        check("cGFydG5lci5leGFtcGx", Err("incorrect-encoding"));
        check(" cGFydG5lci5leGFtcGxl", Err("incorrect-encoding"));
        check("!!!!", Err("incorrect-encoding"));
        check("==", Err("incorrect-encoding"));
        check("//79", Err("invalid-authzid"));
    }

    #[test]
    fn a_peer_without_a_version_is_told_none() {
        let said = Header { to: Some("a.test"), from: Some("b.test"), id: Some("1"), ..Header::default() };
        assert!(header(&said, true).ends_with(b" version='1.0'>"));
        let written = header(&said, false);
        let without = written.strip_prefix(b"<?xml version='1.0'?>").unwrap();
        assert!(
            without.ends_with(b">") && !without.windows(8).any(|part| part == b" version"),
            "{without:?}"
        );
    }
}
