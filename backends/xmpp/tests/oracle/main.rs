//! Stanza smuggling needs two readers that differ. Here three read the same: turnout's, expat and rxml. What turnout takes, the
//! others take and see the same tree in it, as it came and as it goes on; what either refuses, turnout refused.
//!
//! Deliberate differences. Turnout is stricter, and refuses what a reader takes:
//! 1. comments, processing instructions and document types (RFC 6120 §11.1), of which expat knows nothing else;
//! 2. what is well-formed but no XMPP, and what goes over a limit: by the conditions in `stricter`;
//! 3. two rules rxml 0.14 does not check: `xmlns` twice in one tag, and the namespace of `xmlns` under a prefix.
//!
//! A reader is stricter, and refuses what turnout takes:
//! 4. expat has the names of XML 1.0's fourth edition, turnout those of the fifth, which RFC 6120 refers to: it reads on over them, and
//!    refuses the stanza that holds them;
//! 5. rxml lacks the name characters U+FDF0 to U+FFFD, refuses numeric references of more than a few digits, and a carriage return in a
//!    value that no line feed follows; where it is the last of the value rxml drops it, against XML 1.0 §2.11, so that documents with
//!    one are compared with expat alone.
//!
//! A reader is wrong:
//! 6. rxml leaves a line end as it came where it follows a bracket in a CDATA section, against XML 1.0 §2.11: those documents are compared
//!    with expat alone.
//!
//! Nobody is let off for anything else.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "test code")]

mod families;
mod mutants;
mod ours;
mod readers;
mod trees;
mod verdict;

use families::{Expect, Family};
use ours::{HEADER, Taken, onward, take};
use trees::Reading;
use verdict::{compare, compare_onward, document, lone_return, newer_names, rxml_is_stricter};

/// Every document by every reader; how many elements were taken.
fn agree(documents: &[Vec<u8>]) -> usize {
    let taken: Vec<Taken> = documents.iter().map(|document| take([&document[..]])).collect();
    let onward: Vec<Vec<u8>> = taken.iter().map(|taken| onward(&taken.elements)).collect();
    let (came, goes) = (readers::expat(documents), readers::expat(&onward));
    for (at, document) in documents.iter().enumerate() {
        // It refuses an element for its names exactly where we would not pass it on.
        let newer = newer_names(&taken[at]);
        compare(document, &taken[at], &came[at], newer.is_some());
        if let Some(first) = newer {
            assert!(came[at].shapes.len() <= first, "{}", document.escape_ascii());
        }
        compare_onward(&taken[at], &came[at], &goes[at]);
        if lone_return(document) {
            continue;
        }
        let (came, goes) = (readers::rxml(document), readers::rxml(&onward[at]));
        compare(document, &taken[at], &came, rxml_is_stricter(document));
        compare_onward(&taken[at], &came, &goes);
    }
    taken.iter().map(|taken| taken.elements.len()).sum()
}

fn family(id: &str) -> Vec<Family> {
    families::all().into_iter().filter(|family| family.id == id).collect()
}

/// A family as expected, by all readers, and the same wherever a read cuts it.
fn check(id: &str) {
    for Family { name, expect, inputs, .. } in family(id) {
        let documents: Vec<Vec<u8>> = inputs.iter().map(|inside| document(inside)).collect();
        agree(&documents);
        for document in &documents {
            let whole = take([&document[..]]);
            let shown = || format!("{id}, {name}: {}\n{whole:?}", document.escape_ascii());
            match expect {
                Expect::Refused => assert!(whole.error.is_some() && whole.elements.is_empty(), "{}", shown()),
                Expect::Taken => assert!(whole.error.is_none() && whole.elements.len() == 1, "{}", shown()),
                Expect::Either => {}
            }
            assert_eq!(take(document.chunks(1)), whole, "octet by octet: {}", shown());
            if document.len() < 1_500 {
                for at in HEADER.len()..document.len() {
                    let (left, right) = document.split_at(at);
                    assert_eq!(take([left, right]), whole, "cut at {at}: {}", shown());
                }
            }
        }
        // What is cut off for good gives nothing that the whole does not give, to any reader.
        let ends = documents.iter().step_by(1 + documents.len() / 40).filter(|document| document.len() < 600);
        let cut: Vec<Vec<u8>> = ends
            .flat_map(|document| (HEADER.len()..document.len()).map(|at| document[..at].to_vec()))
            .collect();
        agree(&cut);
    }
}

#[test]
fn b01_octets_that_are_no_utf8() {
    check("B-01");
}

#[test]
fn b02_separators_in_namespaces() {
    check("B-02");
    // None of them is taken for the namespace it resembles.
    for Family { inputs, .. } in family("B-02") {
        for inside in inputs {
            for element in take([&document(&inside)[..]]).elements {
                let name = element.name();
                let is_server = name.namespace == turnout_xmpp::frame::Namespace::Server;
                assert_eq!(is_server, name.namespace_name == "jabber:server", "{}", inside.escape_ascii());
            }
        }
    }
}

#[test]
fn b03_confused_namespaces() {
    check("B-03");
}

#[test]
fn b04_entities_and_document_types() {
    check("B-04");
    for inside in family("B-04").iter().flat_map(|family| &family.inputs) {
        // Also before the stream: there is no place for a document type.
        let early = [inside, HEADER.as_bytes()].concat();
        assert!(take([&early[..]]).header.is_none(), "{}", early.escape_ascii());
    }
}

#[test]
fn b05_many_small_parts() {
    check("B-05");
}

#[test]
fn b07_attributes() {
    check("B-07");
}

#[test]
fn b08_declarations() {
    check("B-08");
}

#[test]
fn b09_depth() {
    check("B-09");
}

#[test]
fn b11_odd_and_harmless() {
    check("B-11");
}

/// The tables of names, character by character: what goes on is what expat takes.
#[test]
fn b11_names_of_all_editions() {
    let documents: Vec<Vec<u8>> = ('\u{80}'..='\u{10ffff}')
        .filter(|c| u32::from(*c) < 0x1_0000 || u32::from(*c) % 0x1003 == 0)
        .flat_map(|c| {
            [format!("<{c}/>"), format!("<a{c}/>"), format!("<p:{c}/>"), format!("<a b{c}='' p:{c}=''/>")]
        })
        .filter(|inside| take([&document(inside.as_bytes())[..]]).whole)
        .map(|inside| document(inside.as_bytes()))
        .collect();
    assert!(documents.len() > 100_000, "{}", documents.len());
    // Many in one process of expat's, and no more than fit in its pipe.
    let mut old = 0;
    for documents in documents.chunks(20_000) {
        for (document, reading) in documents.iter().zip(readers::expat(documents)) {
            let taken = take([&document[..]]);
            // Expat does not look at the first character behind a prefix; .NET does, as names there are without colons.
            let behind = document.windows(2).any(|pair| pair[0] == b':' && pair[1] >= 0x80);
            let newer = newer_names(&taken).is_some();
            assert!(newer != reading.whole || (newer && behind), "{}", document.escape_ascii());
            old += usize::from(!newer);
        }
    }
    assert!(old > 80_000, "{old}");
}

#[test]
fn b12_references_and_markup() {
    check("B-12");
}

/// The differences that are let pass really are there, and are what is said of them.
#[test]
fn the_list_of_differences_is_true() {
    let check = |inside: &str, ours: bool, expat: bool, rxml: bool| {
        let document = document(inside.as_bytes());
        let verdicts = (
            take([&document[..]]).whole,
            readers::expat(std::slice::from_ref(&document))[0].whole,
            readers::rxml(&document).whole,
        );
        assert_eq!(verdicts, (ours, expat, rxml), "{inside}");
    };
    check("<a/>", true, true, true);
    check("<!-- -->", false, true, false);
    check("<a><?b?></a>", false, true, false);
    check("text", false, true, true);
    check("<a xmlns='b' xmlns='b'/>", false, false, true);
    check("<a xmlns:b='http://www.w3.org/2000/xmlns/'/>", false, false, true);
    check("<a\u{fdf0}/>", true, false, false);
    check("<a\u{2c00}/>", true, false, true);
    check("<a>&#0000000065;</a>", true, true, false);
    check("<a b='\rc'/>", true, true, false);
    let bracket = document(b"<a><![CDATA[]\r\n]]></a>");
    let text = |reading: Reading| reading.shapes[0].flat.clone();
    let (expat, rxml) =
        (text(readers::expat(std::slice::from_ref(&bracket)).remove(0)), text(readers::rxml(&bracket)));
    assert!(expat.contains("\"]\\n\"") && rxml.contains("\"]\\r\\n\""), "{expat} {rxml}");
    let last = document(b"<a b='\r'/>");
    let flat = |reading: Reading| reading.shapes[0].flat.clone();
    let (expat, rxml) =
        (flat(readers::expat(std::slice::from_ref(&last)).remove(0)), flat(readers::rxml(&last)));
    assert!(expat.contains("\" \")]") && rxml.contains("\"\")]"), "{expat} {rxml}");
}

#[test]
fn b01_to_b12_whatever_grows_out_of_the_families() {
    // Of what is refused a part only: nearly all that grows out of it is refused as well.
    let step = |family: &Family| if family.expect == Expect::Refused { 60 } else { 1 };
    let mut seeds: Vec<Vec<u8>> = families::all()
        .iter()
        .flat_map(|family| family.inputs.iter().step_by(step(family)).cloned().collect::<Vec<_>>())
        .filter(|seed| seed.len() < 400)
        .collect();
    let mut taken = 0;
    for round in 0..10 {
        let grown = mutants::grow(&seeds, 0xD1B5_4A32_D192_ED03 + round, 2_000);
        let documents: Vec<Vec<u8>> = grown.iter().map(|inside| document(inside)).collect();
        taken += agree(&documents);
        // What still says something is what the next round grows from.
        let fit = |document: &&Vec<u8>| !take([&document[..]]).elements.is_empty();
        let kept = documents
            .iter()
            .filter(fit)
            .map(|document| document[HEADER.len()..document.len() - "</stream:stream>".len()].to_vec());
        seeds.extend(kept.filter(|seed| seed.len() < 400).take(500));
    }
    assert!(taken > 4_000, "{taken}: what grows is hardly ever taken");
}

/// What the fuzzer found worth keeping, read by expat as well, and cut at each octet.
#[test]
fn the_corpus_of_the_fuzzer() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/frame");
    let inputs: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(inputs.len() >= 20, "{}", inputs.len());
    let documents: Vec<Vec<u8>> = inputs.iter().map(|inside| document(inside)).collect();
    agree(&documents);
    for document in &documents {
        let whole = take([&document[..]]);
        for at in HEADER.len()..document.len() {
            assert_eq!(take([&document[..at], &document[at..]]), whole, "{}", document.escape_ascii());
        }
    }
}
