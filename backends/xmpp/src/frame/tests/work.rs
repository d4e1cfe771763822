//! Linear work, counted and not timed: bytes passed by the state machine and by the fast way, names compared and bindings searched.

use super::super::{FrameLimits, Framer, Shapes};
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

/// The same where stanzas are taken in runs, in pieces of `size`: the fast way and all that is left to the scanner.
fn work_in_runs(input: &str, size: usize) -> u64 {
    let mut framer = Framer::new(FrameLimits { stanza_bytes_max: 1 << 22, ..FrameLimits::default() });
    let (mut heads, mut shapes) = (Vec::new(), Shapes::default());
    for chunk in input.as_bytes().chunks(size) {
        framer.feed(Bytes::copy_from_slice(chunk));
        while framer.next_run(&mut shapes, &mut heads).is_some()
            || framer.next().is_ok_and(|frame| frame.is_some())
        {
            // Asked in vain, it does no more.
            let before = framer.work;
            if framer.ahead != super::super::Ahead::New {
                assert_eq!((framer.next_run(&mut shapes, &mut heads), framer.work), (None, before));
            }
            heads.clear();
        }
    }
    framer.work + framer.scanner.work + framer.scanner.bindings.work
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

/// The same for stanzas in runs. What the fast way looks at ahead is more than what it takes, by a window at most.
fn check_runs(unit: impl Fn(usize) -> String) {
    for size in [1, 3, 1000, 1 << 22] {
        let (short, long) = (format!("{HEADER}{}", unit(2_000)), format!("{HEADER}{}", unit(4_000)));
        let (once, twice) = (work_in_runs(&short, size), work_in_runs(&long, size));
        assert!(twice * 10 < once * 23 + 10_000, "pieces of {size}: {once} then {twice}: {:.60}", unit(10));
        assert!(twice < long.len() as u64 * 150, "pieces of {size}: {twice} for {} bytes", long.len());
    }
}

#[test]
fn runs_cost_what_they_weigh() {
    const START: &str = "<message from='a@b' to='c@d'";
    check_runs(|n| format!("{START}>{}</message>", "x".repeat(n)));
    check_runs(|n| format!("{START}>{}</message>", "\u{1f600}".repeat(n)));
    check_runs(|n| format!("{START}>{}</message>", "&amp;&#65;'".repeat(n)));
    check_runs(|n| format!("{START}>{}</message>", "<b/>".repeat(n)));
    check_runs(|n| format!("{START}>{}</message>", "<b c='' d='' xmlns='f'></b>".repeat(n)));
    check_runs(|n| format!("{START} id='{}", "x".repeat(n)));
    check_runs(|n| format!("{START} id='{}'/>", "x&lt;".repeat(n)));
    check_runs(|n| format!("{START} id={}", "'' a=".repeat(n)));
    check_runs(|n| format!("{START}{}", " ".repeat(n)));
    check_runs(|n| format!("{START}/>").repeat(n));
    check_runs(|n| format!("{START}/> ").repeat(n));
    // Stanzas that are not plain, small and many: the look ahead is paid for each.
    check_runs(|n| format!("{START}><![CDATA[]]></message>").repeat(n));
    check_runs(|n| "<iq/>".repeat(n));
    check_runs(|n| "<a/>".repeat(n));
    check_runs(|n| format!("{START}/><iq/>").repeat(n));
    let attributes: String = (0..60).map(|at| format!(" a{at}=''")).collect();
    check_runs(|n| format!("{START}>{}</message>", format!("<b{attributes}/>").repeat(n / 100)));
    check_runs(|n| format!("{START}><b{attributes}/></message>").repeat(n / 100));
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

/// Without the limits on depth and size, so that what is measured is the reading and not the refusing.
fn check_unlimited(id: &str, unit: impl Fn(usize) -> String) {
    for size in [1, 7, 1 << 22] {
        let work = |n: usize| {
            let limits =
                FrameLimits { stanza_bytes_max: 1 << 24, depth_max: 1 << 20, ..FrameLimits::default() };
            let mut framer = Framer::new(limits);
            let input = format!("{HEADER}{}", unit(n));
            for chunk in input.as_bytes().chunks(size) {
                framer.feed(Bytes::copy_from_slice(chunk));
                while framer.next().is_ok_and(|frame| frame.is_some()) {}
            }
            assert!(framer.next().is_ok(), "{id}: refused, so nothing was measured");
            framer.scanner.work + framer.scanner.bindings.work
        };
        let (once, twice) = (work(3_000), work(6_000));
        assert!(twice * 10 < once * 23, "{id}, pieces of {size}: {once} then {twice}");
    }
}

#[test]
fn each_family_of_attacks_costs_what_it_weighs() {
    let attributes: String = (0..60).map(|at| format!(" a{at}=''")).collect();
    let declarations: String = (0..9).map(|at| format!(" xmlns:p{at}='u'")).collect();
    let prefixed: String = (0..9).map(|at| format!(" xmlns:p{at}='u{at}' p{at}:b=''")).collect();
    check_unlimited("B-05", |n| format!("<a>{}", "<b/>".repeat(n)));
    check_unlimited("B-05", |n| format!("<a>{}", "x<![CDATA[y]]>&#122;".repeat(n)));
    check_unlimited("B-06", |n| format!("<a>{}", "x".repeat(n)));
    check_unlimited("B-06", |n| format!("<a b='{}", "x".repeat(n)));
    check_unlimited("B-06", |n| format!("<a b='c'{}", " ".repeat(n)));
    check_unlimited("B-06", |n| format!("<a><![CDATA[{}", "]".repeat(n)));
    check_unlimited("B-07", |n| format!("<a>{}", format!("<b{attributes}/>").repeat(n / 100)));
    check_unlimited("B-07", |n| format!("<a>{}", format!("<b{prefixed}/>").repeat(n / 100)));
    check_unlimited("B-08", |n| format!("<a>{}", format!("<b{declarations}><p8:c/></b>").repeat(n / 100)));
    check_unlimited("B-08", |n| format!("<a{declarations}>{}", "<p8:b p0:c=''/>".repeat(n)));
    check_unlimited("B-09", |n| "<a>".repeat(n));
    check_unlimited("B-09", |n| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n)));
    check_unlimited("B-09", |n| format!("{}{}", "<a b='c'>d".repeat(n), "</a>".repeat(n)));
}

#[test]
fn hostile_counts_are_refused_early() {
    let attributes: String = (0..80_000).map(|at| format!(" a{at}=''")).collect();
    let declarations: String = (0..100_000).map(|at| format!(" xmlns:a{at}='u'")).collect();
    let deep = "<a>".repeat(1_000_000);
    for tag in [format!("<a{attributes}/>"), format!("<a{declarations}/>"), deep] {
        assert!(work(&format!("{HEADER}{tag}"), 1 << 22) < 10_000);
    }
}
