//! Stanzas beside rxml: what is taken is read alike, as it came and as it goes on, wherever reads cut it and by either way in.
#![no_main]

use std::collections::HashSet;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use turnout_xmpp::frame::{Frame, FrameLimits, Framer, Shapes};
use verdict::{compare, compare_onward, document, lone_return, rxml_is_stricter};

#[path = "../../../backends/xmpp/tests/oracle/ours.rs"]
mod ours;
#[path = "../../../backends/xmpp/tests/oracle/readers.rs"]
#[allow(dead_code)]
mod readers;
#[path = "../../../backends/xmpp/tests/oracle/trees.rs"]
mod trees;
#[path = "../../../backends/xmpp/tests/oracle/verdict.rs"]
#[allow(dead_code)]
mod verdict;

fuzz_target!(|inside: &[u8]| {
    let document = document(inside);
    let taken = ours::take([&document[..]]);
    let at = ours::HEADER.len() + usize::from(inside.first().copied().unwrap_or(0)) % (inside.len() + 1);
    assert_eq!(ours::take([&document[..at], &document[at..]]), taken);
    assert_eq!(ours::take(document.chunks(1)), taken);
    by_runs(&document, &taken);
    if lone_return(&document) {
        return;
    }
    let onward = ours::onward(&taken.elements);
    let (came, goes) = (readers::rxml(&document), readers::rxml(&onward));
    compare(&document, &taken, &came, rxml_is_stricter(&document));
    compare_onward(&taken, &came, &goes);
});

/// The fast way takes nothing that the other does not.
fn by_runs(document: &[u8], taken: &ours::Taken) {
    let mut framer = Framer::new(FrameLimits::default());
    let mut shapes = Shapes::default();
    framer.feed(Bytes::copy_from_slice(document));
    let known: HashSet<&[u8]> = taken.elements.iter().map(|element| &element.bytes()[..]).collect();
    let mut count = 0;
    loop {
        let mut heads = Vec::new();
        if let Some(bytes) = framer.next_run(&mut shapes, &mut heads) {
            for head in &heads {
                let bytes = &bytes[head.start as usize..head.end as usize];
                assert!(known.contains(bytes), "{}", bytes.escape_ascii());
                count += 1;
            }
            continue;
        }
        match framer.next() {
            Ok(Some(Frame::Element(_))) => count += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    assert_eq!(count, taken.elements.len());
}
