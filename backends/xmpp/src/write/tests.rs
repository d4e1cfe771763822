//! Everything written is read back by the framer and the tree reader.

use super::*;
use crate::frame::{Element, Frame, FrameLimits, Framer};
use crate::parse::{Scope, Tree};
use bytes::Bytes;

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

/// Frames what was written behind a header of ours.
fn framed(write: impl FnOnce(&mut BytesMut)) -> Element {
    let header = written(|out| stream_header(out, &Header { dialback: true, ..Header::default() }));
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from(header + &written(write)));
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
    let Ok(Some(Frame::Element(element))) = framer.next() else { panic!("no element") };
    assert_eq!(framer.buffered_bytes(), 0);
    element
}

#[test]
fn headers_are_read_back() {
    // XS-07, XS-08
    let values = Header {
        to: Some("a'b.example"),
        from: Some("contoso.com"),
        id: Some("<&>"),
        lang: Some("en"),
        dialback: true,
    };
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from(written(|out| {
        stream_header(out, &values);
        stream_end(out);
    })));
    let Ok(Some(Frame::Open(header))) = framer.next() else { panic!("no header") };
    assert_eq!(header.to().as_deref(), values.to);
    assert_eq!(header.from().as_deref(), values.from);
    assert_eq!(header.id().as_deref(), values.id);
    assert_eq!(header.lang().as_deref(), values.lang);
    assert_eq!(header.version(), Version::RFC6120);
    assert_eq!(header.content_namespace(), Some(Namespace::Server));
    assert_eq!((header.prefix(), header.dialback_prefix()), ("stream", Some("db")));
    assert_eq!(framer.next(), Ok(Some(Frame::Close)));
    let bare = written(|out| stream_header(out, &Header::default()));
    assert!(bare.starts_with("<?xml version='1.0'?><stream:stream xmlns='jabber:server'"), "{bare}");
    assert!(!bare.contains("dialback") && !bare.contains("id="), "{bare}");
}

#[test]
fn values_survive_escaping() {
    // B-12
    for value in [
        "",
        "plain",
        "\t\n\r<>&'\"",
        "a\r\nb",
        "]]>",
        "\u{e9}\u{1f600}\u{feff}",
        "&amp;&#10;",
        "\u{7f}\u{85}",
    ] {
        let element = framed(|out| {
            put(out, &["<a"]);
            attribute(out, "b", value);
            put(out, &[">"]);
            text(out, value);
            put(out, &["</a>"]);
        });
        let tree = Tree::read(element.bytes(), Scope::server()).unwrap();
        assert_eq!((tree.root().attribute("b"), tree.root().text()), (Some(value), value));
        assert!(is_xml(value));
    }
}

#[test]
fn what_xml_cannot_carry_is_replaced_and_can_be_told() {
    for c in ['\0', '\u{1}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
        let value = format!("a{c}b");
        assert!(!is_xml(&value));
        assert_eq!(written(|out| text(out, &value)), "a\u{fffd}b");
        assert_eq!(written(|out| attribute(out, "x", &value)), " x='a\u{fffd}b'");
    }
}

#[test]
fn raw_values_keep_their_meaning() {
    let check = |raw: &str, expected: &str| {
        assert_eq!(written(|out| raw_attribute(out, "a", raw.as_bytes())), expected);
    };
    check("it's &amp; \"so\"", " a='it&apos;s &amp; \"so\"'");
    check("", " a=''");
    check("''", " a='&apos;&apos;'");
}

#[test]
fn negotiation_elements_are_what_they_should_be() {
    let check = |write: &dyn Fn(&mut BytesMut), namespace: Namespace, local: &str, expected: &str| {
        let element = framed(write);
        assert_eq!((element.name().namespace, element.name().local), (namespace, local));
        assert_eq!(element.bytes(), expected);
    };
    let (tls, sasl) = (Namespace::Tls, Namespace::Sasl);
    check(&starttls, tls, "starttls", "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    check(&tls_proceed, tls, "proceed", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    check(&tls_failure, tls, "failure", "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    check(&sasl_success, sasl, "success", "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    check(
        &|out| sasl_failure(out, "not-authorized"),
        sasl,
        "failure",
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    );
    check(
        &|out| sasl_auth_external(out, Some("contoso.com")),
        sasl,
        "auth",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>Y29udG9zby5jb20=</auth>",
    );
    check(
        &|out| sasl_auth_external(out, None),
        sasl,
        "auth",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
    );
}

#[test]
fn features_say_what_is_offered() {
    let all = Features {
        bidi: true,
        starttls: true,
        starttls_required: true,
        sasl_external: true,
        dialback: true,
        acks: true,
        bounds: None,
    };
    let element = framed(|out| features(out, &all));
    let tree = Tree::read(element.bytes(), Scope::server()).unwrap();
    let root = tree.root();
    assert!(root.is(Namespace::Streams, "features"));
    let tls = root.child(Namespace::Tls, "starttls").unwrap();
    assert!(tls.child(Namespace::Tls, "required").is_some());
    let mechanisms = root.child(Namespace::Sasl, "mechanisms").unwrap();
    assert_eq!(mechanisms.child(Namespace::Sasl, "mechanism").unwrap().text(), "EXTERNAL");
    let offered = root.child(Namespace::DialbackFeature, "dialback").unwrap();
    assert!(offered.child(Namespace::DialbackFeature, "errors").is_some());
    let none = framed(|out| features(out, &Features::default()));
    assert_eq!(none.bytes(), "<stream:features></stream:features>");
}

#[test]
fn dialback_says_each_thing() {
    // XEP-0220 §2
    let check = |element: Dialback<'_>, says: DialbackSays<'_>, expected: &str| {
        let framed = framed(|out| dialback(out, element, "a.example", "b.example", says));
        assert_eq!(framed.name().namespace, Namespace::Dialback);
        assert_eq!(framed.bytes(), expected);
    };
    let verify = Dialback::Verify { id: "i&d" };
    let (both, all) = ("from='a.example' to='b.example'", "from='a.example' to='b.example' id='i&amp;d'");
    check(Dialback::Result, DialbackSays::Key("1f"), &format!("<db:result {both}>1f</db:result>"));
    check(Dialback::Result, DialbackSays::Valid, &format!("<db:result {both} type='valid'/>"));
    check(verify, DialbackSays::Key("1f"), &format!("<db:verify {all}>1f</db:verify>"));
    check(verify, DialbackSays::Invalid, &format!("<db:verify {all} type='invalid'/>"));
    let error = DialbackSays::Error { condition: "item-not-found", error_type: "cancel" };
    let inside = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    check(Dialback::Result, error, &format!("<db:result {both} type='error'>{inside}</db:result>"));
}

#[test]
fn stream_errors_name_condition_and_reason() {
    for condition in StreamCondition::ALL {
        let element = framed(|out| stream_error(out, condition, "no <way>\u{1}", true));
        let tree = Tree::read(element.bytes(), Scope::server()).unwrap();
        assert!(tree.root().is(Namespace::Streams, "error"));
        assert!(tree.root().child(Namespace::StreamErrors, condition.name()).is_some());
        let text = tree.root().child(Namespace::StreamErrors, "text").unwrap();
        assert_eq!((text.text(), text.lang()), ("no <way>\u{fffd}", Some("en")));
        let too_big = tree.root().children().last().unwrap();
        assert_eq!((too_big.namespace_name(), too_big.local()), ("urn:xmpp:errors", "stanza-too-big"));
    }
    let plain = framed(|out| stream_error(out, StreamCondition::Reset, "", false));
    assert_eq!(
        plain.bytes(),
        "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    );
}
