//! Conditions and bounced stanzas.

use super::*;
use crate::frame::Namespace;
use crate::parse::{Scope, Tree};

#[test]
fn conditions_have_distinct_names_and_are_found_by_them() {
    for condition in StreamCondition::ALL {
        assert_eq!(StreamCondition::from_name(condition.name()), condition);
    }
    assert_eq!(StreamCondition::from_name("xml-not-well-formed"), StreamCondition::NotWellFormed);
    assert_eq!(StreamCondition::from_name("no-such-thing"), StreamCondition::UndefinedCondition);
}

#[test]
fn quoted_bytes_are_harmless_and_short() {
    assert_eq!(quoted(b"abc"), "'abc'");
    assert_eq!(quoted(b"<a'&\"\\>"), "'\\x3Ca\\x27\\x26\\x22\\x5C\\x3E'");
    assert_eq!(quoted("\u{e9}\n\0".as_bytes()), "'\\xC3\\xA9\\x0A\\x00'");
    assert!(quoted(&[0; 5000]).len() < 250);
}

const MESSAGE: Original<'_> = Original {
    kind: "message",
    stanza_type: Some(b"chat"),
    id: Some(b"it's &lt;1"),
    from: Some(b"a@partner.example/\"x\""),
    to: Some(b"b@contoso.com"),
};

#[test]
fn a_bounce_goes_back_with_the_same_id() {
    // XR-06
    let bytes = bounce(&MESSAGE, "service-unavailable", "cancel", "gone <home>").unwrap();
    let tree = Tree::read(&bytes, Scope::server()).unwrap();
    let root = tree.root();
    assert!(root.is(Namespace::Server, "message"));
    assert_eq!(root.attribute("to"), Some("a@partner.example/\"x\""));
    assert_eq!(root.attribute("from"), Some("b@contoso.com"));
    assert_eq!((root.attribute("id"), root.attribute("type")), (Some("it's <1"), Some("error")));
    assert_eq!(root.children().count(), 1);
    let error = root.child(Namespace::Server, "error").unwrap();
    assert_eq!(error.attribute("type"), Some("cancel"));
    assert!(error.child(Namespace::StanzaErrors, "service-unavailable").is_some());
    assert_eq!(error.child(Namespace::StanzaErrors, "text").map(|text| text.text()), Some("gone <home>"));
    let bare = bounce(&Original { id: None, to: None, ..MESSAGE }, "gone", "cancel", "").unwrap();
    let expected = "<message to='a@partner.example/\"x\"' id='' type='error'><error type='cancel'>\
         <gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>";
    assert_eq!(bare, expected);
}

#[test]
fn some_stanzas_get_no_answer() {
    // RFC 6120 §8.3.1 rule 8, §8.2.3
    let answered = |kind, stanza_type: Option<&'static [u8]>| {
        bounce(&Original { kind, stanza_type, ..MESSAGE }, "gone", "cancel", "").is_some()
    };
    for kind in ["message", "presence", "iq"] {
        assert!(!answered(kind, Some(b"error")), "{kind}");
        assert!(answered(kind, Some(b"get")), "{kind}");
    }
    assert!(!answered("iq", Some(b"result")));
    assert!(answered("presence", None));
    assert!(!answered("features", None));
    for from in [None, Some(b"".as_slice())] {
        assert_eq!(bounce(&Original { from, ..MESSAGE }, "gone", "cancel", ""), None);
    }
}
