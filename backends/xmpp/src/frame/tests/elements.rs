//! What is known of an element, and how a stream starts afresh.

use super::super::{Element, Frame, FrameLimits, Framer, Namespace};
use super::{HEADER, check_accepted, read};
use bytes::Bytes;
use std::borrow::Cow;

#[test]
fn names_attributes_and_children_are_known() {
    let stanza = "<iq type=\"get\" to='a&amp;b@contoso.com' from='x' id='1' xml:lang='de' version='2' x:to='no' \
         xmlns:x='urn:x'><query xmlns='jabber:iq:version'><to/></query><second/></iq>";
    let element = check_accepted(stanza);
    assert_eq!((element.name().namespace, element.name().local), (Namespace::Server, "iq"));
    assert_eq!(element.to(), Some(Cow::Owned("a&b@contoso.com".to_owned())));
    assert!(matches!(element.from(), Some(Cow::Borrowed("x"))));
    assert_eq!(element.id().as_deref(), Some("1"));
    assert_eq!(element.stanza_type().as_deref(), Some("get"));
    assert_eq!(element.version().as_deref(), Some("2"));
    assert_eq!(element.lang().as_deref(), Some("de"));
    assert_eq!(element.attributes().to.unwrap().of(element.bytes()), b"a&amp;b@contoso.com");
    let child = element.child().unwrap();
    assert_eq!((child.namespace, child.local), (Namespace::SoftwareVersion, "query"));
    assert_eq!(element.children(), 2);
    assert_eq!((element.insert_at(), element.declare()), (3, None));
}

#[test]
fn attributes_of_children_and_other_namespaces_are_not_taken_for_the_stanzas() {
    // B-03
    let element =
        check_accepted("<message xmlns:x='jabber:server' x:to='a' x:from='b'><c to='d' from='e'/></message>");
    assert_eq!((element.to(), element.from(), element.id()), (None, None, None));
}

fn name_of(inside: &str) -> (Namespace, String, String) {
    let element = check_accepted(inside);
    let name = element.name();
    (name.namespace, name.namespace_name.to_owned(), name.local.to_owned())
}

#[test]
fn namespaces_are_told_apart() {
    let check = |inside, namespace, name: &str, local: &str| {
        assert_eq!(name_of(inside), (namespace, name.to_owned(), local.to_owned()), "{inside}");
    };
    check("<message/>", Namespace::Server, "jabber:server", "message");
    check("<message xmlns='jabber:client'/>", Namespace::Client, "jabber:client", "message");
    check("<message xmlns=''/>", Namespace::None, "", "message");
    check("<x:message xmlns:x='evil'/>", Namespace::Other, "evil", "message");
    check("<stream:features/>", Namespace::Streams, "http://etherx.jabber.org/streams", "features");
    check("<stream:features xmlns:stream='evil'/>", Namespace::Other, "evil", "features");
    check("<db:verify/>", Namespace::Dialback, "jabber:server:dialback", "verify");
    check("<proceed/>", Namespace::Server, "jabber:server", "proceed");
    let tls = "urn:ietf:params:xml:ns:xmpp-tls";
    check("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", Namespace::Tls, tls, "starttls");
    check(
        "<p:message xmlns:p='jabber:server message'/>",
        Namespace::Other,
        "jabber:server message",
        "message",
    );
}

#[test]
fn a_prefix_on_inner_content_is_reported() {
    let flagged = |inside: &str| check_accepted(inside).has_prefixed_content();
    assert!(flagged("<message xmlns:a='jabber:server'><a:body/></message>"));
    assert!(flagged("<message><x xmlns='y'><a:body xmlns:a='jabber:server'/></x></message>"));
    assert!(!flagged("<message><x:body xmlns:x='y'/></message>"));
}

const BORROWING: &str = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns=\"jabber:server\" \
     xmlns:x=\"it's\" xmlns:y='urn:y' xmlns:db='jabber:server:dialback'>";

fn first(header: &str, inside: &str) -> Element {
    let outcome = read(format!("{header}{inside}"));
    assert_eq!(outcome.error, None, "{inside}");
    outcome.elements().first().copied().unwrap().clone()
}

#[test]
fn declarations_of_the_header_are_handed_on() {
    // RFC 6120 §4.8.5
    let declared = |header: &str, inside: &str| {
        first(header, inside).declare().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let check = |inside: &str, expected: Option<&str>| {
        assert_eq!(declared(BORROWING, inside).as_deref(), expected, "{inside}");
    };
    check("<message><body/></message>", None);
    check("<message><x:a/></message>", Some(" xmlns:x=\"it's\""));
    check("<message><a x:b='1'/></message>", Some(" xmlns:x=\"it's\""));
    check("<message y:b='1'><x:c/><x:d/></message>", Some(" xmlns:x=\"it's\" xmlns:y='urn:y'"));
    check("<message><x:a xmlns:x='other'/></message>", None);
    check("<message><x:a xmlns:x='other'/><x:b/></message>", Some(" xmlns:x=\"it's\""));
    check("<message><s:error/></message>", Some(" xmlns:s='http://etherx.jabber.org/streams'"));
    check("<db:result/>", Some(" xmlns:db='jabber:server:dialback'"));
    // The next stanza owes nothing to the one before.
    let outcome = read(format!("{BORROWING}<message><x:a/></message><message/>"));
    let declares: Vec<_> = outcome.elements().iter().map(|element| element.declare().is_some()).collect();
    assert_eq!(declares, [true, false]);
    // The prefix `stream` and the default are given by every header of ours, unless they mean something else.
    assert_eq!(declared(HEADER, "<message><stream:error/></message>"), None);
    let odd = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:stream='z' xmlns='jabber:client'>";
    assert_eq!(declared(odd, "<message/>").as_deref(), Some(" xmlns='jabber:client'"));
    assert_eq!(declared(odd, "<a xmlns='b'><stream:c/></a>").as_deref(), Some(" xmlns:stream='z'"));
    let none = "<s:stream xmlns:s='http://etherx.jabber.org/streams'>";
    assert_eq!(declared(none, "<message/>").as_deref(), Some(" xmlns=''"));
    assert_eq!(declared(none, "<message xmlns='jabber:server'/>"), None);
    let bare = "<stream xmlns='http://etherx.jabber.org/streams'>";
    assert_eq!(declared(bare, "<features/>").as_deref(), Some(" xmlns='http://etherx.jabber.org/streams'"));
    assert_eq!(declared(bare, "<message xmlns='jabber:server'><body/></message>"), None);
}

#[test]
fn a_stanza_with_its_declarations_means_the_same_elsewhere() {
    let element = first(BORROWING, "<message y:b='1'><x:c/></message>");
    let (head, tail) = element.bytes().split_at(element.insert_at() as usize);
    let moved = [head, element.declare().unwrap(), tail].concat();
    let there = first(HEADER, std::str::from_utf8(&moved).unwrap());
    assert_eq!(there.declare(), None);
    assert_eq!(there.name(), element.name());
    assert_eq!(there.child(), element.child());
}

#[test]
fn a_restart_drops_what_was_sent_before_it() {
    // XT-03
    let mut framer = Framer::new(FrameLimits::default());
    let injected = "<message from='evil'/><presence";
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    framer.feed(Bytes::from(format!("{HEADER}{starttls}{injected}")));
    framer.feed(Bytes::from_static(b"/>"));
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
    assert!(matches!(framer.next(), Ok(Some(Frame::Element(element))) if element.name().local == "starttls"));
    assert_eq!(framer.buffered_bytes(), injected.len() + 2);
    assert_eq!(framer.restart(), injected.len() + 2);
    assert_eq!((framer.buffered_bytes(), framer.next()), (0, Ok(None)));
    framer.feed(Bytes::from(format!("<?xml version='1.0'?>{HEADER}<iq/>")));
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
    assert!(matches!(framer.next(), Ok(Some(Frame::Element(element))) if element.name().local == "iq"));
}

#[test]
fn an_error_stays_until_the_restart() {
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from_static(b"<x/>"));
    let error = framer.next().unwrap_err();
    framer.feed(Bytes::from_static(HEADER.as_bytes()));
    assert_eq!((framer.next(), framer.buffered_bytes()), (Err(error), 0));
    framer.restart();
    framer.feed(Bytes::from_static(HEADER.as_bytes()));
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
}

#[test]
fn a_stanza_whole_in_one_read_is_not_copied() {
    let chunk = Bytes::from(format!("{HEADER}<message><body>a</body></message><iq/><presence>"));
    let inside = |bytes: &Bytes| chunk.as_ptr_range().contains(&bytes.as_ptr());
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(chunk.clone());
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(header))) if !inside(header.bytes())));
    assert!(matches!(framer.next(), Ok(Some(Frame::Element(element))) if inside(element.bytes())));
    assert!(matches!(framer.next(), Ok(Some(Frame::Element(element))) if inside(element.bytes())));
    assert_eq!(framer.next(), Ok(None));
    // The cut one is copied; the one behind it in the next read is not, even when both are short.
    let next = Bytes::from_static(b"</presence><message/>");
    framer.feed(next.clone());
    assert!(
        matches!(framer.next(), Ok(Some(Frame::Element(element))) if element.bytes() == "<presence></presence>")
    );
    let last = framer.next();
    assert!(
        matches!(last, Ok(Some(Frame::Element(element))) if next.as_ptr_range().contains(&element.bytes().as_ptr()))
    );
}

#[test]
fn chunks_fed_ahead_are_read_in_order() {
    let document = format!("{HEADER}<message><body>one</body></message> <iq/><presence/></stream:stream>");
    let mut framer = Framer::new(FrameLimits::default());
    for chunk in document.as_bytes().chunks(3) {
        framer.feed(Bytes::copy_from_slice(chunk));
    }
    assert_eq!(framer.buffered_bytes(), document.len());
    let mut outcome = super::Outcome { frames: Vec::new(), error: None };
    super::drain(&mut framer, &mut outcome);
    assert_eq!(outcome, read(&document));
    assert_eq!(framer.buffered_bytes(), 0);
}
