//! The framer beside rxml, which was written for XMPP by others: over generated and damaged documents both must let
//! through the same elements, ending at the same bytes, and refuse the same.
//!
//! Deliberate differences, each with its test below or in `refused`:
//!
//! We refuse, rxml does not:
//! 1. what is well-formed but no XMPP: text between stanzas, another root, a prefix on `jabber:server`, a bad version;
//! 2. references, tabs and line ends in namespace declarations;
//! 3. misuse of the prefixes `xml` and `xmlns`, `xmlns:a=''`, and `xmlns` given twice in one tag, which Namespaces in
//!    XML and XML 1.0 forbid and rxml 0.14 does not check;
//! 4. everything [`FrameLimits`] bounds.
//!
//! rxml refuses, we do not:
//! 5. name characters U+FDF0 to U+FFFD, which its table lacks (XML 1.0 §2.3 has them);
//! 6. numeric references of more than a few bytes (`&#0000000065;`);
//! 7. XML declarations with `standalone`.
//!
//! Neither is let off for anything else. On a document cut inside a token one may notice an error earlier than the
//! other; then the later one must not let anything more through, whatever follows.

use super::super::{Frame, FrameLimits, Framer};
use super::HEADER;
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
    let rules = [
        "prefix xml bound",
        "prefix xmlns declared",
        "namespace of xml",
        "bound to no namespace",
        "attribute 'xmlns",
    ];
    matches!(
        condition,
        Some(BadFormat | InvalidNamespace | BadNamespacePrefix | UnsupportedVersion | PolicyViolation)
    ) || rules.iter().any(|rule| said.contains(rule))
}

/// Differences 5 to 7 by what stands in the input.
fn they_may_be_stricter(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let long_reference = text.split("&#").skip(1).any(|tail| tail.find(';').is_some_and(|len| len > 6));
    let names = text.chars().any(|c| matches!(c, '\u{FDF0}'..='\u{FFFC}'));
    long_reference || names || text.contains("standalone")
}

const SUFFIXES: [&[u8]; 7] =
    [b">", b"'>", b"\">", b"='>'/>", b"]]></a></message>", b";<a/></message>", b"/><message/>"];

fn compare(input: &[u8]) {
    let ((mine, condition), yours) = (ours(input), theirs(input));
    let shown = input.escape_ascii();
    match (&mine.refused, &yours.refused) {
        (Some(_), Some(_)) | (None, None) => {
            assert_eq!(mine.ends, yours.ends, "{shown}\n{mine:?}\n{yours:?}")
        }
        (Some(_), None) if we_may_be_stricter(&mine, condition) => {
            assert!(yours.ends.starts_with(&mine.ends), "{shown}\n{mine:?}\n{yours:?}");
        }
        (None, Some(_)) if they_may_be_stricter(input) => {
            assert!(mine.ends.starts_with(&yours.ends), "{shown}\n{mine:?}\n{yours:?}");
        }
        _ => {
            assert_eq!(mine.ends, yours.ends, "{shown}\n{mine:?}\n{yours:?}");
            for suffix in SUFFIXES {
                let longer = [input, suffix].concat();
                assert_eq!(ours(&longer).0.ends, mine.ends, "{shown} then {}", suffix.escape_ascii());
                assert_eq!(theirs(&longer).ends, mine.ends, "{shown} then {}", suffix.escape_ascii());
            }
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "message", "body", "x", "q"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["p:a", "p:b", "q:a", "stream:x", "db:y", "xml:z", "u:n"]).prop_map(str::to_owned),
        1 => "[a-z_:\u{e9}\u{b7}.-][a-z0-9_.:\u{4f60}\u{300}-]{0,3}",
    ]
}

fn characters() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z \n\t\r]{0,8}",
        1 => "\\PC{0,3}".prop_map(|text| text.replace(['<', '&'], "")),
        1 => prop::sample::select(vec![
            "&amp;", "&#65;", "&#x1F600;", "]]", "]", ">", "]]>", "&nope;", "&#1;", "\u{fffe}", "\u{1}", "\u{feff}", "&",
            "&#xD800;", "&#x0;", "\u{85}",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn attributes() -> impl Strategy<Value = String> {
    let declared = prop::sample::select(vec![
        " xmlns='jabber:server'",
        " xmlns=''",
        " xmlns:p='urn:p'",
        " xmlns:q='urn:p'",
        " xmlns:q='urn:q'",
        " xmlns:p=''",
        " xmlns:xml='x'",
        " xmlns='&amp;'",
        " xml:lang='de'",
        " xmlns:p = \"urn:p\"",
    ]);
    let plain = (
        name(),
        characters(),
        prop::sample::select(vec!['\'', '"']),
        prop::sample::select(vec![" ", "\n", "", "  "]),
    )
        .prop_map(|(name, value, quote, gap)| {
            format!("{gap}{name}{gap}={quote}{}{quote}", value.replace(quote, ""))
        });
    let one = prop_oneof![3 => declared.prop_map(str::to_owned), 2 => plain];
    prop::collection::vec(one, 0..4).prop_map(|all| all.concat())
}

fn element() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => characters(),
        2 => (name(), attributes()).prop_map(|(name, attributes)| format!("<{name}{attributes}/>")),
        1 => characters().prop_map(|text| format!("<![CDATA[{text}]]>")),
        1 => prop::sample::select(vec!["<!-- -->", "<?pi?>", "<!DOCTYPE a>", "<![CDATA[", "</a>"]).prop_map(str::to_owned),
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
        .prop_map(|stanzas| format!("{HEADER}{}<iq/></stream:stream>", stanzas.join(" ")).into_bytes())
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
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_documents(document in document()) {
        compare(&document);
    }

    #[test]
    fn damaged_documents(document in document(), damages in prop::collection::vec(damage(), 1..3)) {
        compare(&damaged(document, damages));
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
    check("<a xmlns:xml='b'/>", true, false);
    check("<a xmlns:xmlns='b'/>", true, false);
    check("<a xmlns:b=''/>", true, false);
    check("<a xmlns='b' xmlns='b'/>", true, false);
    check(&"<a>".repeat(65), true, false);
    check("<a\u{fdf0}/>", false, true);
    check("<a>&#0000000065;</a>", false, true);
}
