//! What is written is valid and comes back, whatever stands in it; what is read never panics.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

/// Text of any characters, those XML forbids among them.
fn text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        any::<char>(),
        prop::sample::select(
            "<>&'\"]\r\n\t\0\u{b}\u{fffe}\u{ffff}\u{202e} aé€😀".chars().collect::<Vec<_>>()
        )
    ];
    prop::collection::vec(char, 0..12).prop_map(|chars| chars.into_iter().collect())
}

/// A resource as it stands in an address.
fn resource() -> impl Strategy<Value = String> {
    text().prop_map(|text| {
        let (full, mut scratch) = (format!("a.example/{text}"), String::new());
        prepare(&full, &mut scratch)
            .ok()
            .and_then(|jid| jid.resource().map(str::to_owned))
            .unwrap_or_default()
    })
}

fn presence() -> impl Strategy<Value = Presence> {
    let show = prop::option::of(prop::sample::select(vec![Show::Chat, Show::Away, Show::Xa, Show::Dnd]));
    let lang = prop::option::of(prop_oneof![
        prop::sample::select(vec!["en", "de-AT", "x-y"]).prop_map(str::to_owned),
        text()
    ]);
    let statuses = prop::collection::vec((lang, text()), 0..4);
    let since = any::<bool>();
    (resource(), show, statuses, any::<Option<i8>>(), prop::option::of(text()), since).prop_map(
        |(resource, show, statuses, priority, nick, since)| {
            let mut presence = Presence { show, priority, ..Presence::available(&resource) };
            for (lang, text) in statuses {
                presence.add_status(lang.as_deref(), &text);
            }
            presence.set_nick(&nick.unwrap_or_default());
            if since {
                presence.set_since("2026-11-22T22:02:03.25+01:00");
            }
            presence
        },
    )
}

/// A text as XML carries it.
fn carried(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").chars().map(crate::translate::xml_char).collect()
}

/// What comes back of a presence: the texts as XML carries them, the name of the user, no negative priority.
fn expected(presence: &Presence, nick: Option<&str>) -> Presence {
    let statuses = presence.statuses.iter().map(|(lang, text)| (lang.clone(), carried(text))).collect();
    let nick = nick.map(carried).map(|nick| nick.trim().to_owned()).filter(|nick| !nick.is_empty());
    let priority = presence.priority.filter(|priority| *priority >= 0);
    Presence { statuses, nick, priority, ..presence.clone() }
}

fn distinct(all: Vec<Presence>) -> Vec<Presence> {
    let mut kept: Vec<Presence> = Vec::new();
    for presence in all {
        if kept.iter().all(|known| known.resource != presence.resource) {
            kept.push(presence);
        }
    }
    kept
}

/// Holds a document against the schema of RFC 3863: the code xmllint ends with and what it says.
fn lint(document: &str) -> (Option<i32>, String) {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/wire/pidf.xsd");
    let mut child = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema", schema, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xmllint runs (package libxml2-utils)");
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn validate(document: &str) {
    let (code, said) = lint(document);
    assert_eq!(code, Some(0), "{document}\n{said}");
}

proptest! {
    #[test]
    fn tuples_come_back_as_they_were(all in prop::collection::vec(presence(), 1..5)) {
        let all = distinct(all);
        let nick = most_available(&all).and_then(|shown| shown.nick);
        let nick = nick.as_deref().or_else(|| all.iter().find_map(|presence| presence.nick.as_deref()));
        let document = simple(&write("sip:a@b.example", &all, Layout::Tuples, true)).unwrap();
        let wanted: Vec<Presence> = all.iter().map(|presence| expected(presence, nick)).collect();
        prop_assert_eq!(&document.open, &wanted);
        prop_assert_eq!(document.entity.as_str(), "sip:a@b.example");
        let public = simple(&write("sip:a@b.example", &all, Layout::Tuples, false)).unwrap();
        prop_assert!(public.open.iter().all(|presence| presence.statuses.is_empty()));
    }

    #[test]
    fn the_one_tuple_of_a_pool_comes_back_as_it_was(one in presence()) {
        let document = skype(&write("sip:a@b.example", std::slice::from_ref(&one), Layout::Single, true));
        let wanted = expected(&one, one.nick.as_deref());
        prop_assert_eq!(&document.open, &[Presence { resource: SKYPE_RESOURCE.into(), priority: None, ..wanted }]);
    }

    #[test]
    fn an_id_is_of_one_resource(one in text(), two in text()) {
        prop_assert_eq!(decoded(tuple_id(&one).strip_prefix("ID-").unwrap()), Some(one.clone()));
        prop_assert_eq!(tuple_id(&one) == tuple_id(&two), one == two);
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(bytes: Vec<u8>) {
        for dialect in [Dialect::Simple, Dialect::Skype] {
            prop_assert!(matches!(as_pidf(&bytes, dialect), Err(Flaw::Broken(_))) || bytes.is_empty());
        }
    }

    /// Pieces of documents in any order come nearer to what the reader knows.
    #[test]
    fn pieces_of_documents_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        let text = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='e'>{}</presence>", pieces.concat());
        for text in [pieces.concat(), text] {
            if let Ok(document) = simple(&text) {
                prop_assert_eq!(document.has_basic, !(document.open.is_empty() && document.closed.is_empty()));
            }
        }
    }

    #[test]
    fn a_document_with_a_byte_changed_is_read_or_refused(at in 0..TWO_TUPLES.len(), byte: u8, cut: bool) {
        let mut bytes = TWO_TUPLES.as_bytes().to_vec();
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
            prop_assert!(as_pidf(&bytes, Dialect::Simple).is_err() || bytes.is_empty());
        }
        if let Ok(document) = as_pidf(&bytes, Dialect::Simple) {
            prop_assert!(document.open.len() <= 2);
        }
    }
}

const PIECES: &[&str] = &[
    "<tuple id='a'>",
    "<tuple id='ID-_c3'>",
    "</tuple>",
    "<status>",
    "</status>",
    "<basic>open</basic>",
    "<basic>closed</basic>",
    "<basic>",
    "</basic>",
    "<note xml:lang='x'>",
    "</note>",
    "&#65;",
    "&lt;",
    "&x;",
    "&#0;",
    "text",
    "<![CDATA[x]]>",
    "<!-- c -->",
    "<?p?>",
    "<!DOCTYPE a>",
    "<contact priority='0.5'/>",
    "<timestamp>2001-10-27T16:49:29Z</timestamp>",
    "<a:b xmlns:a='u'>",
    "</a:b>",
    "<p:c/>",
    "<presence ",
    "xmlns='urn:ietf:params:xml:ns:pidf' ",
    "entity='e'>",
    "</presence>",
    "<",
    ">",
    "'",
    "\u{feff}",
    "<dm:person xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'>",
    "</dm:person>",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_valid(all in prop::collection::vec(presence(), 0..4), with_notes: bool, user in "[a-z0-9é.%_=+;?$,-]{1,12}") {
        let uri = crate::address::uri_of(&user, "b.example").unwrap();
        for layout in [Layout::Single, Layout::Tuples] {
            validate(&write(&uri, &all, layout, with_notes));
        }
    }
}

#[test]
fn the_schema_refuses_what_rfc_3863_refuses() {
    validate(TWO_TUPLES);
    for wrong in [
        TWO_TUPLES.replace("entity=", "entitled="),
        TWO_TUPLES.replace("\"0.8\"", "\"0.8888\""),
        TWO_TUPLES.replace(">open<", ">ajar<"),
        TWO_TUPLES.replace("m3x9", "k7q2"),
        TWO_TUPLES.replace("m3x9", "9"),
        TWO_TUPLES.replace("2001-10-27", "2001-02-29"),
        TWO_TUPLES.replace("xml:lang=\"fr\"", "xml:lang=\"a b\""),
    ] {
        // 3: it does not validate.
        assert_eq!(lint(&wrong).0, Some(3), "{wrong}");
    }
}
