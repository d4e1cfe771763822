//! Linear work, counted and not timed: bytes passed by the state machine, names compared and bindings searched.

use super::super::{FrameLimits, Framer};
use super::HEADER;
use bytes::Bytes;

/// Units of work for an input in pieces of `size`.
fn work(input: &str, size: usize) -> u64 {
    let mut framer = Framer::new(FrameLimits { stanza_bytes_max: 1 << 22, ..FrameLimits::default() });
    for chunk in input.as_bytes().chunks(size) {
        framer.feed(Bytes::copy_from_slice(chunk));
        while framer.next().is_ok_and(|frame| frame.is_some()) {}
    }
    framer.scanner.work + framer.scanner.bindings.work
}

/// Twice the input is at most a little more than twice the work, whole and byte by byte, and never much a byte.
fn check(unit: impl Fn(usize) -> String) {
    for size in [1, 3, 1 << 22] {
        let (short, long) = (format!("{HEADER}{}", unit(2_000)), format!("{HEADER}{}", unit(4_000)));
        let (once, twice) = (work(&short, size), work(&long, size));
        assert!(twice * 10 < once * 23, "pieces of {size}: {once} then {twice}: {:.60}", unit(10));
        assert!(twice < long.len() as u64 * 80, "pieces of {size}: {twice} for {} bytes", long.len());
    }
}

#[test]
fn long_tokens_and_many_small_ones_cost_what_they_weigh() {
    check(|n| format!("<a>{}</a>", "x".repeat(n)));
    check(|n| format!("<a>{}", "]".repeat(n)));
    check(|n| format!("<a>{}</a>", "&amp;".repeat(n)));
    check(|n| format!("<a>{}</a>", "\u{1f600}".repeat(n)));
    check(|n| format!("<a b='{}'/>", "&#65;".repeat(n)));
    check(|n| format!("<a><![CDATA[{}]]></a>", "]]x>".repeat(n)));
    check(|n| format!("<a>{}</a>", "<b/>".repeat(n)));
    check(|n| format!("<a>{}</a>", "<b c='' d='' xmlns:e='f' e:g=''></b>".repeat(n)));
    check(|n| format!("<a>{}</a>", "<![CDATA[]]>&#9;".repeat(n)));
    check(|n| "<a/>".repeat(n));
    check(|n| " ".repeat(n));
    check(|n| format!("<a {}", " ".repeat(n)));
}

#[test]
fn tags_full_of_attributes_and_declarations_cost_a_bounded_amount_a_byte() {
    // B-07, B-08
    let attributes: String = (0..60).map(|at| format!(" a{at}=''")).collect();
    check(|n| format!("<a>{}</a>", format!("<b{attributes}/>").repeat(n / 100)));
    let declarations: String = (0..60).map(|at| format!(" xmlns:p{at}='u'")).collect();
    check(|n| format!("<a{declarations}>{}</a>", "<p0:b/><c/>".repeat(n)));
}

#[test]
fn hostile_counts_are_refused_early() {
    let attributes: String = (0..80_000).map(|at| format!(" a{at}=''")).collect();
    let declarations: String = (0..100_000).map(|at| format!(" xmlns:a{at}='u'")).collect();
    for tag in [format!("<a{attributes}/>"), format!("<a{declarations}/>")] {
        assert!(work(&format!("{HEADER}{tag}"), 1 << 22) < 10_000);
    }
}
