//! When two readings of a document agree: see the differences that main.rs lists. Shared with the fuzzer.

use turnout_xmpp::error::StreamCondition::{
    BadFormat, BadNamespacePrefix, InvalidNamespace, PolicyViolation, UnsupportedVersion,
};
use turnout_xmpp::frame::Element;

use crate::ours::{HEADER, Taken};
use crate::trees::Reading;

pub fn document(inside: &[u8]) -> Vec<u8> {
    [HEADER.as_bytes(), inside, b"</stream:stream>"].concat()
}

/// Differences 1 to 3.
pub fn stricter(taken: &Taken, reading: &Reading) -> bool {
    let said = taken.error.as_ref().map(ToString::to_string).unwrap_or_default();
    let rules = ["namespace of xmlns declared", "attribute 'xmlns' twice"];
    reading.restricted
        || rules.iter().any(|rule| said.contains(rule))
        || matches!(
            taken.condition(),
            Some(BadFormat | BadNamespacePrefix | InvalidNamespace | PolicyViolation | UnsupportedVersion)
        )
}

/// Difference 4: the first element with a name of the fifth edition, which is never passed on.
pub fn newer_names(taken: &Taken) -> Option<usize> {
    taken.elements.iter().position(Element::has_newer_names)
}

/// Difference 5.
pub fn rxml_is_stricter(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document);
    let long_reference = text.split("&#").skip(1).any(|tail| tail.find(';').is_some_and(|len| len > 6));
    let names = text.chars().any(|c| matches!(c, '\u{FDF0}'..='\u{FFFD}'));
    long_reference || names
}

/// Difference 5, of carriage returns, and 6.
pub fn lone_return(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document);
    text.replace("\r\n", "").contains('\r') || text.contains("]\r")
}

/// One document, read by all: `excused` says whether the reader may refuse what we take.
#[track_caller]
pub fn compare(document: &[u8], taken: &Taken, reading: &Reading, excused: bool) {
    let shown = format!("{}\n{:?}\n{reading:?}", document.escape_ascii(), taken.error);
    for (at, element) in taken.elements.iter().enumerate() {
        match (reading.shapes.get(at), taken.flat(element)) {
            (Some(theirs), Some(mine)) => assert_eq!(mine, theirs.flat, "element {at} of {shown}"),
            (Some(_), None) => {}
            (None, _) => {
                assert!(excused, "element {at} is taken and the reader refuses it: {shown}");
                break;
            }
        }
    }
    if taken.whole {
        assert!(reading.whole || excused, "taken whole: {shown}");
    } else if reading.whole {
        assert!(stricter(taken, reading), "refused, and by no rule that is ours: {shown}");
    }
}

/// What we take goes on as the same tree, under a header that binds less.
#[track_caller]
pub fn compare_onward(taken: &Taken, came: &Reading, goes: &Reading) {
    for (at, element) in taken.elements.iter().enumerate() {
        if let (Some(came), Some(goes)) = (came.shapes.get(at), goes.shapes.get(at)) {
            assert_eq!(came.placed, goes.placed, "{}", element.bytes().escape_ascii());
        }
    }
    if came.shapes.len() >= taken.elements.len() {
        assert_eq!(goes.shapes.len(), taken.elements.len());
        assert!(goes.whole);
    }
}
