//! What the fuzzer cannot reach from outside: documents and bodies as they are read. Only there for it, and for the test that plays its
//! corpus again. Invariant: each function holds for any bytes, or there is a fault in what it reads with.

use quick_xml::NsReader;
use quick_xml::events::Event;
use turnout_core::home::Dialect;
use turnout_core::presence::PresenceRules;

use crate::parse::MediaType;
use crate::presence::pidf;
use crate::text::{Content, read, read_rich};
use crate::translate::{entity, xml_char};
use crate::{cpim, sdp, typing};

/// Presence documents, of both kinds and for both dialects: what is shown of them can be written and read again.
///
/// # Panics
/// A document is written that is not read as it was.
pub fn document(bytes: &[u8]) {
    let rules = PresenceRules { rich: true, ..PresenceRules::default() };
    for kind in [pidf::PIDF, pidf::CATEGORIES] {
        let kind = MediaType::parse(kind.as_bytes()).ok();
        for dialect in [Dialect::Skype, Dialect::Simple] {
            let Ok(document) = pidf::read(kind.as_ref(), bytes, &rules, dialect) else { continue };
            let written = pidf::write("sip:a@contoso.com", &document.open, pidf::Layout::Tuples, true);
            let media = MediaType::parse(pidf::PIDF.as_bytes()).ok();
            let again = pidf::read(media.as_ref(), written.as_bytes(), &rules, dialect);
            let again = again.unwrap_or_else(|flaw| panic!("{flaw:?} in {written}"));
            let names = |open: &[crate::presence::shown::Presence]| -> Vec<_> {
                open.iter().map(|presence| presence.resource.clone()).collect()
            };
            assert_eq!(names(&again.open), names(&document.open), "{written}");
        }
    }
}

/// Bodies: the first line is the media type, the rest the body. Whatever becomes text is text; whatever becomes XHTML is well-formed.
///
/// # Panics
/// What becomes XHTML is not well-formed, or reading a body for its XHTML changes its text.
pub fn body(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (kind, body) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let _medium = sdp::message_medium(body);
    let _unwrapped = cpim::unwrap(body);
    let _notification = cpim::read_notification(body);
    let Ok(kind) = MediaType::parse(kind.trim_ascii()) else { return };
    let _typing = typing::read(&kind, body);
    for encoding in [None, Some(b"base64".as_slice()), Some(b"quoted-printable")] {
        let (content, html) = read_rich(Some(&kind), encoding, body);
        assert_eq!(content, read(Some(&kind), encoding, body));
        if let Content::Text(text) = &content {
            assert!(text.len() <= 4 * body.len() + 8, "{} of {}", text.len(), body.len());
        }
        if let Some(html) = html {
            assert!(is_well_formed(&html), "{html}");
        }
    }
}

/// Whether this is one XML element of characters that XML allows.
fn is_well_formed(text: &str) -> bool {
    let mut reader = NsReader::from_str(text);
    let mut depth = 0_usize;
    loop {
        match reader.read_resolved_event() {
            Ok((_, Event::Start(start))) if start.attributes().all(|attribute| attribute.is_ok()) => {
                depth += 1
            }
            Ok((_, Event::Empty(start))) if start.attributes().all(|attribute| attribute.is_ok()) => {}
            Ok((_, Event::End(_))) => depth = depth.saturating_sub(1),
            Ok((_, Event::Text(_))) if depth > 0 => {}
            Ok((_, Event::GeneralRef(reference))) if depth > 0 && entity(&reference).is_some() => {}
            Ok((_, Event::Eof)) => return depth == 0 && text.chars().all(|char| xml_char(char) == char),
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(name: &str, subject: fn(&[u8])) {
        let folder = format!("{}/../../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            subject(&bytes);
            for at in (0..bytes.len()).step_by(1 + bytes.len() / 50) {
                subject(&bytes[..at]);
            }
            count += 1;
        }
        assert!(count >= 10, "{name}: {count}");
    }

    #[test]
    fn documents_of_the_fuzzer_are_read_or_refused() {
        corpus("document", document);
    }

    #[test]
    fn bodies_of_the_fuzzer_are_read_or_refused() {
        corpus("body", body);
    }
}
