//! Each limit: at it, and one beyond it.

use super::super::{FrameLimits, Framer};
use super::{HEADER, Outcome, feed};
use crate::error::StreamCondition;
use bytes::Bytes;

fn small() -> FrameLimits {
    FrameLimits {
        stanza_bytes_max: 10_000,
        header_bytes_max: 400,
        depth_max: 5,
        attributes_max: 6,
        namespaces_max: 6,
        name_bytes_max: 20,
        tag_bytes_max: 200,
    }
}

fn read(input: &str) -> Outcome {
    let whole = feed(small(), [input.as_bytes()]);
    for size in [1, 2, 7, 100, 2048] {
        assert_eq!(feed(small(), input.as_bytes().chunks(size)), whole, "pieces of {size}: {input}");
    }
    whole
}

/// `at` is let through behind a header, `beyond` is refused; true where the refusal is one of size.
fn check(at: &str, beyond: &str) -> bool {
    assert_eq!(read(&format!("{HEADER}{at}")).error, None, "{at}");
    let outcome = read(&format!("{HEADER}{beyond}"));
    let error = outcome.error.expect(beyond);
    assert_eq!(error.condition, StreamCondition::PolicyViolation, "{beyond}");
    error.too_big
}

#[test]
fn stanza_bytes() {
    // XS-20
    let stanza = |bytes: usize| format!("<message>{}</message>", "x".repeat(bytes - 19));
    assert_eq!(stanza(10_000).len(), 10_000);
    assert!(check(&stanza(9_999), &stanza(10_001)));
    assert!(check(&stanza(10_000), &stanza(20_000)));
    check(&format!("{}{}", stanza(10_000), stanza(10_000)), &format!("<message>{}", "x".repeat(10_000)));
    check(&" ".repeat(30_000), &format!("<message>{}", "\u{e9}".repeat(5_000)));
}

#[test]
fn a_configured_limit_never_goes_under_the_standards_floor() {
    let limits = FrameLimits { stanza_bytes_max: 10, ..FrameLimits::default() };
    let stanza = format!("{HEADER}<message>{}</message>", "x".repeat(9_981));
    assert_eq!(feed(limits, [stanza.as_bytes()]).error, None);
}

#[test]
fn depth() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(!check(&nested(5), &nested(6)));
    check("<a><a><a><a><a/></a></a></a></a>", "<a><a><a><a><a><a/></a></a></a></a></a>");
    check(&nested(2), &"<a>".repeat(3_000));
}

#[test]
fn attributes_and_declarations() {
    check("<a a='' b='' c='' d='' e='' f=''/>", "<a a='' b='' c='' d='' e='' f='' g=''/>");
    // The header declares three.
    check("<a xmlns:a='a' xmlns:b='b' xmlns:c='c'/>", "<a xmlns:a='a' xmlns:b='b' xmlns:c='c' xmlns:d='d'/>");
    check(
        "<a xmlns:a='a'><b xmlns:b='b'><c xmlns:c='c'/><c xmlns:c='c'/></b></a>",
        "<a xmlns:a='a'><b xmlns:b='b'><c xmlns:c='c'><d xmlns='d'/></c></b></a>",
    );
}

#[test]
fn names_and_tags() {
    let name = "n".repeat(20);
    check(&format!("<{name} {name}=''></{name}>"), &format!("<{name}n/>"));
    check("<a/>", &format!("<a {name}n=''/>"));
    check(&format!("<{}/>", "\u{e9}".repeat(10)), &format!("<{}/>", "\u{e9}".repeat(11)));
    let tag = |bytes: usize| format!("<a b='{}'/>", "x".repeat(bytes - 9));
    assert_eq!(tag(200).len(), 200);
    check(&tag(200), &tag(201));
    check(&format!("<a></a{}>", " ".repeat(196)), &format!("<a></a{}>", " ".repeat(197)));
    check(&format!("<a>{}</a>", "<b/>".repeat(100)), &format!("<a><b {}", " ".repeat(300)));
}

#[test]
fn header_bytes() {
    let room = 400 - HEADER.len();
    let header = |bytes: usize| HEADER.replace(" to=", &format!("{} to=", " ".repeat(bytes)));
    assert_eq!(read(&header(room)).error, None);
    assert_eq!(read(&header(room + 1)).condition(), Some(StreamCondition::PolicyViolation));
    let declaration = |bytes: usize| format!("<?xml version='1.0'{}?>{HEADER}", " ".repeat(bytes));
    assert_eq!(read(&declaration(379)).error, None);
    assert_eq!(read(&declaration(380)).condition(), Some(StreamCondition::PolicyViolation));
    assert_eq!(read(&format!("{}{HEADER}", "\n".repeat(3_000))).error, None);
}

#[test]
fn references_too_long_to_be_needed() {
    let outcome = read(&format!("{HEADER}<a>&#{}65;</a>", "0".repeat(30)));
    assert_eq!(outcome.condition(), Some(StreamCondition::PolicyViolation));
}

#[test]
fn an_unfinished_stanza_holds_no_more_than_the_limit_and_one_read() {
    // B-06
    let mut framer = Framer::new(small());
    framer.feed(Bytes::from(format!("{HEADER}<message>")));
    let (mut most, mut reads) = (0, 0);
    while framer.next().is_ok_and(|frame| frame.is_some()) {}
    while framer.next().is_ok() && reads < 1_000 {
        framer.feed(Bytes::from_static(&[b'x'; 100]));
        most = most.max(framer.buffered_bytes());
        reads += 1;
    }
    assert!(framer.next().is_err());
    assert!(most <= 10_100, "{most}");
    assert_eq!(framer.buffered_bytes(), 0);
}
