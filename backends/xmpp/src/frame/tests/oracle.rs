//! The framer beside rxml, which was written for XMPP by others: over generated and damaged documents both must let
//! through the same elements, ending at the same bytes, and refuse the same.
//!
//! Deliberate differences, each with its test below or in `refused`:
//!
//! We refuse, rxml does not:
//! 1. what is well-formed but no XMPP: text between stanzas, another root, a prefix on `jabber:server`, a bad version;
//! 2. references, tabs and line ends in namespace declarations;
//! 3. `xmlns` given twice in one tag, and the namespace of `xmlns` declared under a prefix, which XML 1.0 and Namespaces
//!    in XML forbid and rxml 0.14 does not check;
//! 4. everything [`FrameLimits`] bounds.
//!
//! rxml refuses, we do not:
//! 5. name characters U+FDF0 to U+FFFD, which its table lacks (XML 1.0 §2.3 has them);
//! 6. numeric references of more than a few bytes (`&#0000000065;`);
//! 7. XML declarations with `standalone='no'`;
//! 8. a carriage return in an attribute value that no line feed follows;
//! 9. white space before the stream header where no XML declaration precedes it (XML 1.0 §2.8 allows it).
//!
//! Neither is let off for anything else. On a document cut inside a token one may notice an error earlier than the
//! other; then the later one must not let anything more through, whatever follows.

use super::super::{Frame, FrameLimits, Framer};
use super::{HEADER, runs, traffic};
use crate::error::StreamCondition;
use bytes::Bytes;
use proptest::prelude::*;
use rxml::error::EndOrError;
use rxml::parser::WithOptions;
use rxml::{Event, Options, Parse, Parser};

/// Where each first-level element ends, and the end of the stream; and whether an error came after them.
#[derive(Debug, PartialEq)]
struct Verdict {
    ends: Vec<usize>,
    refused: Option<String>,
}

fn ours(input: &[u8]) -> (Verdict, Option<StreamCondition>) {
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::copy_from_slice(input));
    let mut ends = Vec::new();
    loop {
        match framer.next() {
            Ok(None) => return (Verdict { ends, refused: None }, None),
            Ok(Some(Frame::Element(_) | Frame::Close)) => ends.push(input.len() - framer.buffered_bytes()),
            Ok(Some(_)) => {}
            Err(error) => {
                let refused = Some(error.to_string());
                return (Verdict { ends, refused }, Some(error.condition));
            }
        }
    }
}

fn theirs(input: &[u8]) -> Verdict {
    let options = Options { max_token_length: 1 << 20, ..Options::default() };
    let mut parser = Parser::with_options(options);
    let (mut ends, mut depth, mut rest) = (Vec::new(), 0usize, input);
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(Event::StartElement(..))) => depth += 1,
            Ok(Some(Event::EndElement(..))) => {
                depth -= 1;
                if depth < 2 {
                    ends.push(input.len() - rest.len());
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(EndOrError::NeedMoreData) => return Verdict { ends, refused: None },
            Err(EndOrError::Error(error)) => return Verdict { ends, refused: Some(error.to_string()) },
        }
    }
}

/// Differences 1 to 4 by what we answered.
fn we_may_be_stricter(verdict: &Verdict, condition: Option<StreamCondition>) -> bool {
    use StreamCondition::*;
    let said = verdict.refused.as_deref().unwrap_or_default();
    let rules = ["namespace of xmlns declared", "attribute 'xmlns' twice"];
    matches!(
        condition,
        Some(BadFormat | InvalidNamespace | BadNamespacePrefix | UnsupportedVersion | PolicyViolation)
    ) || rules.iter().any(|rule| said.contains(rule))
}

/// Differences 5 to 9 by what stands in the input.
fn they_may_be_stricter(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let long_reference = text.split("&#").skip(1).any(|tail| tail.find(';').is_some_and(|len| len > 6));
    let names = text.chars().any(|c| matches!(c, '\u{FDF0}'..='\u{FFFC}'));
    let lone_return = text.replace("\r\n", "").contains('\r');
    long_reference
        || names
        || lone_return
        || text.starts_with(char::is_whitespace)
        || text.contains("standalone")
}

const SUFFIXES: [&[u8]; 7] =
    [b">", b"'>", b"\">", b"='>'/>", b"]]></a></message>", b";<a/></message>", b"/><message/>"];

fn compare(input: &[u8]) {
    // What is said of the scanner below holds for the fast way too, as both give the same.
    runs::check(FrameLimits::default(), input, std::iter::empty());
    let ((mine, condition), yours) = (ours(input), theirs(input));
    let shown = format!("{}\n{mine:?}\n{yours:?}", input.escape_ascii());
    let we_stricter = mine.refused.is_some() && we_may_be_stricter(&mine, condition);
    let they_stricter = yours.refused.is_some() && they_may_be_stricter(input);
    let within = |short: &Verdict, long: &Verdict| long.ends.starts_with(&short.ends);
    match (we_stricter, they_stricter) {
        (true, true) => assert!(within(&mine, &yours) || within(&yours, &mine), "{shown}"),
        (true, false) => assert!(within(&mine, &yours), "{shown}"),
        (false, true) => assert!(within(&yours, &mine), "{shown}"),
        (false, false) => {
            assert_eq!(mine.ends, yours.ends, "{shown}");
            if mine.refused.is_some() != yours.refused.is_some() {
                for suffix in SUFFIXES {
                    let longer = [input, suffix].concat();
                    assert_eq!(ours(&longer).0.ends, mine.ends, "{} behind {shown}", suffix.escape_ascii());
                    assert_eq!(theirs(&longer).ends, mine.ends, "{} behind {shown}", suffix.escape_ascii());
                }
            }
        }
    }
}

const PREFIXES: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns:db='jabber:server:dialback' xmlns:p='urn:p' xmlns:q='urn:q'>";

fn name() -> impl Strategy<Value = String> {
    let plain = vec!["a", "b", "message", "body", "x", "q"];
    let prefixed = vec!["p:a", "p:b", "q:a", "stream:x", "db:y", "xml:z"];
    prop_oneof![
        40 => prop::sample::select(plain).prop_map(str::to_owned),
        20 => prop::sample::select(prefixed).prop_map(str::to_owned),
        5 => "[a-z_\u{e9}][a-z0-9_.\u{4f60}\u{300}-]{0,3}",
        1 => Just("u:n".to_owned()),
        1 => "[a-z_:\u{e9}\u{b7}.-][a-z0-9_.:\u{4f60}\u{300}-]{0,3}",
    ]
}

fn characters() -> impl Strategy<Value = String> {
    let good = vec!["&amp;", "&#65;", "&#x1F600;", "]]", "]", ">", "\u{feff}", "\u{85}", "\r\n"];
    let bad = vec!["]]>", "&nope;", "&#1;", "\u{fffe}", "\u{1}", "&", "&#xD800;", "&#x0;"];
    let piece = prop_oneof![
        60 => "[a-z \n\t]{0,8}",
        20 => "\\PC{0,3}".prop_map(|text| text.replace(['<', '&'], "")),
        20 => prop::sample::select(good).prop_map(str::to_owned),
        1 => prop::sample::select(bad).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn attributes() -> impl Strategy<Value = String> {
    let declared = vec![
        " xmlns='jabber:server'",
        " xmlns=''",
        " xmlns:p='urn:p'",
        " xmlns:q='urn:p'",
        " xmlns:q='urn:q'",
        " xml:lang='de'",
        " xmlns:p = \"urn:p\"",
    ];
    let wrong =
        vec![" xmlns:p=''", " xmlns:xml='x'", " xmlns='&amp;'", " xmlns:xmlns='x'", "a='b'", " a", " a=b"];
    let quotes = prop::sample::select(vec!['\'', '"']);
    let gaps = prop::sample::select(vec![" ", "\n", "\t "]);
    let plain = (name(), characters(), quotes, gaps).prop_map(|(name, value, quote, gap)| {
        let value = value.replace(quote, "");
        format!("{gap}{name}{gap}={quote}{value}{quote}")
    });
    let one = prop_oneof![
        30 => prop::sample::select(declared).prop_map(str::to_owned),
        30 => plain,
        1 => prop::sample::select(wrong).prop_map(str::to_owned),
    ];
    prop::collection::vec(one, 0..4).prop_map(|all| all.concat())
}

fn element() -> impl Strategy<Value = String> {
    let markup = vec!["<!-- -->", "<?pi?>", "<!DOCTYPE a>", "<![CDATA[", "</a>"];
    let leaf = prop_oneof![
        30 => characters(),
        20 => (name(), attributes()).prop_map(|(name, attributes)| format!("<{name}{attributes}/>")),
        10 => characters().prop_map(|text| format!("<![CDATA[{text}]]>")),
        1 => prop::sample::select(markup).prop_map(str::to_owned),
    ];
    let content = leaf.prop_recursive(4, 24, 4, |inner| {
        (name(), attributes(), prop::collection::vec(inner, 0..4))
            .prop_map(|(name, attributes, inner)| format!("<{name}{attributes}>{}</{name} >", inner.concat()))
    });
    (attributes(), content)
        .prop_map(|(attributes, content)| format!("<message{attributes}>{content}</message>"))
}

fn document() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(element(), 1..4)
        .prop_map(|stanzas| format!("{PREFIXES}{}<iq/></stream:stream>", stanzas.join(" ")).into_bytes())
}

/// A place, as a share of the length; how many bytes go; what comes instead.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let bytes = prop::sample::select(vec![
        b"<".to_vec(),
        b">".to_vec(),
        b"/".to_vec(),
        b"&".to_vec(),
        b";".to_vec(),
        b"'".to_vec(),
        b"\"".to_vec(),
        b"=".to_vec(),
        b":".to_vec(),
        b" ".to_vec(),
        b"]".to_vec(),
        b"]]>".to_vec(),
        b"<![CDATA[".to_vec(),
        b"\0".to_vec(),
        b"\x80".to_vec(),
        b"\xc3".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        b"\xf4\x90".to_vec(),
        b"xmlns".to_vec(),
        b"a".to_vec(),
        b"!".to_vec(),
        b"?".to_vec(),
        b"\xef\xbf\xbe".to_vec(),
        b"#".to_vec(),
    ]);
    (any::<prop::sample::Index>(), 0usize..3, prop_oneof![4 => bytes, 1 => Just(Vec::new())])
}

fn damaged(mut document: Vec<u8>, damages: Vec<(prop::sample::Index, usize, Vec<u8>)>) -> Vec<u8> {
    for (place, gone, instead) in damages {
        let at = place.index(document.len());
        let end = (at + gone).min(document.len());
        document.splice(at..end, instead);
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_documents(document in document()) {
        compare(&document);
    }

    #[test]
    fn damaged_documents(document in document(), damages in prop::collection::vec(damage(), 1..3)) {
        compare(&damaged(document, damages));
    }

    #[test]
    fn generated_traffic(inside in traffic::stanzas()) {
        compare(format!("{HEADER}{inside}</stream:stream>").as_bytes());
    }

    #[test]
    fn damaged_traffic(inside in traffic::stanzas(), damages in prop::collection::vec(traffic::damage(), 1..4)) {
        let document = format!("{HEADER}{inside}<iq/></stream:stream>");
        compare(&traffic::damaged(document.into_bytes(), damages));
    }

    #[test]
    fn cutting_changes_nothing(document in document(), damages in prop::collection::vec(damage(), 0..2),
                               size in 1usize..40) {
        let document = damaged(document, damages);
        let whole = super::feed(FrameLimits::default(), [document.as_slice()]);
        prop_assert_eq!(super::feed(FrameLimits::default(), document.chunks(size)), whole);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let whole = super::feed(FrameLimits::default(), [bytes.as_slice()]);
        prop_assert_eq!(super::feed(FrameLimits::default(), bytes.chunks(1)), whole);
    }
}

#[test]
fn the_generator_makes_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let documents = document();
    let good = (0..300)
        .filter(|_| ours(&documents.new_tree(&mut runner).unwrap().current()).0.refused.is_none())
        .count();
    assert!((30..270).contains(&good), "{good} of 300 are well-formed: the comparison sees only one side");
}

#[test]
fn the_differences_are_the_listed_ones() {
    let check = |inside: &str, we: bool, they: bool| {
        let input = format!("{HEADER}{inside}");
        let verdicts =
            (ours(input.as_bytes()).0.refused.is_some(), theirs(input.as_bytes()).refused.is_some());
        assert_eq!(verdicts, (we, they), "{inside}");
    };
    check("text", true, false);
    check("<a:message xmlns:a='jabber:server'/>", true, false);
    check("<a xmlns='b&amp;c'/>", true, false);
    check("<a xmlns:b='http://www.w3.org/2000/xmlns/'/>", true, false);
    check("<a xmlns='b' xmlns='b'/>", true, false);
    check(&"<a>".repeat(65), true, false);
    check("<a\u{fdf0}/>", false, true);
    check("<a>&#0000000065;</a>", false, true);
    check("<a b='\rc'/>", false, true);
    let spaced = format!(" {HEADER}");
    assert!(ours(spaced.as_bytes()).0.refused.is_none() && theirs(spaced.as_bytes()).refused.is_some());
    let declared = format!("<?xml version='1.0' standalone='no'?>{HEADER}");
    assert!(ours(declared.as_bytes()).0.refused.is_none() && theirs(declared.as_bytes()).refused.is_some());
}
