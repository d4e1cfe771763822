use turnout_core::io::{LinkId, Side};

use super::*;

fn envelope() -> Envelope {
    Envelope {
        from: Jid::parse("alice@contoso.com").unwrap(),
        to: Jid::parse("o\\27malley@partner.example/a'b<c").unwrap(),
        origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
        arrived: instant(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test needs one instant")]
fn instant() -> Instant {
    Instant::now()
}

fn message(text: &str, insert: Option<&'static str>) -> Stanza {
    let words = Words { body: "", thread: None, subject: None, id: "1", extra: &[] };
    let mut stanza = write_message(envelope(), MessageType::Chat, &words);
    stanza.bytes = Bytes::copy_from_slice(text.as_bytes());
    stanza.insert_at = u32::try_from(text.find([' ', '>']).unwrap()).unwrap();
    stanza.insert = insert.map(|insert| Bytes::from_static(insert.as_bytes()));
    stanza
}

fn texts<'a>(spoken: &'a Spoken, stanza: &'a Stanza) -> (Option<&'a str>, Option<&'a str>) {
    let text = |text: &'a Option<Text>| text.as_ref().map(|text| text.of(stanza));
    (text(&spoken.body), text(&spoken.subject))
}

#[test]
fn bodies_are_those_of_the_stanza() {
    let check = |text: &str, insert: Option<&'static str>, body: Option<&str>, subject: Option<&str>| {
        let stanza = message(text, insert);
        for spoken in [read_message(&stanza).unwrap(), read_any(&stanza).unwrap()] {
            assert_eq!(texts(&spoken, &stanza), (body, subject), "{text}");
        }
    };
    check(
        "<message><body>a &lt; b &#x1F642; <![CDATA[<c>]]></body></message>",
        None,
        Some("a < b 🙂 <c>"),
        None,
    );
    check("<message><subject>s</subject><body>x\r\ny</body></message>", None, Some("x\ny"), Some("s"));
    check("<message><body/></message>", None, None, None);
    check("<message><body></body></message>", None, None, None);
    check("<message xmlns='jabber:server'><body>x</body></message>", None, Some("x"), None);
    check("<m:message xmlns:m='jabber:server'><m:body>x</m:body></m:message>", None, Some("x"), None);
    check("<m:message><m:body>x</m:body></m:message>", Some(" xmlns:m='jabber:server'"), Some("x"), None);
    let xhtml = "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>h</body></html>";
    check(&format!("<message>{xhtml}</message>"), None, None, None);
    check(&format!("<message>{xhtml}<body>x</body></message>"), None, Some("x"), None);
    check("<message><body xmlns='urn:other'>x</body></message>", None, None, None);
    check("<message><x xmlns='urn:o'><body xmlns='jabber:server'>x</body></x></message>", None, None, None);
    check(
        "<message xml:lang='de'><body xml:lang='en'>e</body><body xml:lang='de'>d</body></message>",
        None,
        Some("d"),
        None,
    );
    check(
        "<message xml:lang='fr'><body xml:lang='en'>e</body><body xml:lang='de'>d</body></message>",
        None,
        Some("e"),
        None,
    );
    check(
        "<message xml:lang='fr'><body xml:lang='en'>e</body><body>f</body></message>",
        None,
        Some("f"),
        None,
    );
    let link = "<x xmlns='jabber:x:oob'><url>https://u.example/f</url></x>";
    check(&format!("<message>{link}</message>"), None, Some("https://u.example/f"), None);
    check(
        &format!("<message><body>see</body>{link}</message>"),
        None,
        Some("see\nhttps://u.example/f"),
        None,
    );
    check(
        &format!("<message><body>https://u.example/f</body>{link}</message>"),
        None,
        Some("https://u.example/f"),
        None,
    );
    check("<message><active xmlns='http://jabber.org/protocol/chatstates'/></message>", None, None, None);
    assert_eq!(read_message(&message("<message><body>&nbsp;</body></message>", None)), None);
}

#[test]
fn hints_are_read_in_their_own_namespaces() {
    let check = |inside: &str, expected: Hints| {
        let stanza = message(&format!("<message><body>x</body>{inside}</message>"), None);
        for spoken in [read_message(&stanza).unwrap(), read_any(&stanza).unwrap()] {
            assert_eq!(spoken.hints, expected, "{inside}");
        }
    };
    for state in
        [ChatState::Active, ChatState::Composing, ChatState::Paused, ChatState::Inactive, ChatState::Gone]
    {
        check(state.element(), Hints { state: Some(state), ..Hints::default() });
        // The first one counts.
        check(&[state.element(), ACTIVE].concat(), Hints { state: Some(state), ..Hints::default() });
        check(&state.element().replace("chatstates", "other"), Hints::default());
        check(&format!("<o xmlns='o'>{}</o>", state.element()), Hints::default());
    }
    check("<composing/>", Hints::default());
    check(
        "<o:composing xmlns:o='http://jabber.org/protocol/chatstates'/>",
        Hints { state: Some(ChatState::Composing), ..Hints::default() },
    );
    check("<request xmlns='urn:xmpp:receipts'/>", Hints { wants_receipt: true, ..Hints::default() });
    let received = |id: &str| Hints { received: Some(id.into()), ..Hints::default() };
    check("<received xmlns='urn:xmpp:receipts' id='a&amp;b'/>", received("a&b"));
    check("<received xmlns='urn:xmpp:receipts' id=''/>", Hints::default());
    check(&format!("<received xmlns='urn:xmpp:receipts' id='{}'/>", "x".repeat(257)), Hints::default());
    let invited = |invited| Hints { invited: Some(invited), ..Hints::default() };
    check("<x xmlns='jabber:x:conference' jid='r@c'/>", invited(Invited::Directly));
    let room = |inside: &str| format!("<x xmlns='http://jabber.org/protocol/muc#user'>{inside}</x>");
    check(&room("<invite from='a@b'><reason>r</reason></invite>"), invited(Invited::ByRoom));
    check(&room("<invite from='a@b'/>"), invited(Invited::ByRoom));
    check(&room("<item affiliation='none'/>"), Hints::default());
}

#[test]
fn shared_files_are_their_addresses() {
    let check = |inside: &str, expected: &str| {
        let stanza = message(&format!("<message>{inside}</message>"), None);
        let spoken = read_message(&stanza).unwrap();
        assert_eq!(texts(&spoken, &stanza), (Some(expected), None), "{inside}");
    };
    let sources = "<sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https://u.example/f'/></sources>";
    let file = format!("<file-sharing xmlns='urn:xmpp:sfs:0'>{sources}</file-sharing>");
    check(&file, "https://u.example/f");
    check(&format!("<body>my cat</body>{file}"), "my cat\nhttps://u.example/f");
    check(&format!("<body>https://u.example/f</body>{file}"), "https://u.example/f");
    let media = "<reference xmlns='urn:xmpp:reference:0' type='data'><media-sharing xmlns='urn:xmpp:sims:1'><sources>\
        <reference xmlns='urn:xmpp:reference:0' type='data' uri='https://u.example/g'/>\
        <reference xmlns='urn:xmpp:reference:0' type='data' uri='xmpp:a@b'/></sources></media-sharing></reference>";
    check(&format!("<body>look</body>{media}"), "look\nhttps://u.example/g");
    check(
        "<body>@bob</body><reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:bob@p'/>",
        "@bob",
    );
}

#[test]
fn spans_name_what_was_written() {
    let words = Words { body: "b", thread: Some("t"), subject: Some("s"), id: "i-1", extra: &["<x/>"] };
    let stanza = write_message(envelope(), MessageType::Chat, &words);
    let text = std::str::from_utf8(&stanza.bytes).unwrap();
    assert_eq!(
        text,
        "<message from='alice@contoso.com' to='o\\27malley@partner.example/a&#39;b&lt;c' id='i-1' type='chat'>\
         <subject>s</subject><body>b</body><thread>t</thread><x/></message>"
    );
    assert_eq!(stanza.raw(&stanza.from_span), b"alice@contoso.com");
    assert_eq!(stanza.raw(&stanza.to_span), b"o\\27malley@partner.example/a&#39;b&lt;c");
    assert_eq!(stanza.raw(&stanza.id_span), b"i-1");
    assert_eq!(&text[..stanza.insert_at as usize], "<message");
}

proptest::proptest! {
    /// B-51: whatever a peer writes, the stanza holds one body and reads back as it was, as far as XML can say it.
    #[test]
    fn any_text_comes_back(body in "\\PC*|.*", thread: String, subject: String) {
        let words = Words { body: &body, thread: Some(&thread), subject: Some(&subject), id: "1", extra: &[] };
        let stanza = write_message(envelope(), MessageType::Normal, &words);
        let spoken = read_message(&stanza).unwrap();
        let clean = |text: &str| -> Option<String> {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let text: String = text.chars().map(xml_char).collect();
            (!text.is_empty()).then_some(text)
        };
        let (body, subject) = (clean(&body), clean(&subject));
        proptest::prop_assert_eq!(texts(&spoken, &stanza), (body.as_deref(), subject.as_deref()));
        proptest::prop_assert_eq!(stanza.bytes.windows(7).filter(|w| *w == b"</body>").count(), 1);
    }

    /// The reader of plain messages says what the reader of any message says, or leaves it to that.
    #[test]
    fn plain_messages_read_as_any_do(root in root(), children in proptest::collection::vec(child(), 0..5), tail in "[ \n]?") {
        let stanza = message(&format!("<message{root}>{}</message>{tail}", children.concat()), None);
        let general = read_any(&stanza);
        if let Some(plain) = plain::read(&stanza) {
            let general = general.unwrap();
            proptest::prop_assert_eq!(texts(&plain, &stanza), texts(&general, &stanza));
            proptest::prop_assert_eq!(plain.hints, general.hints);
        } else {
            // What partners mostly send must not need the other.
            proptest::prop_assert!(!children.iter().all(|child| PLAIN.contains(&child.as_str())) || root.contains("other") || root.contains(['"', '>']) || !tail.is_empty()
                || children.iter().filter(|child| child.starts_with("<b")).count() > 1);
        }
    }

    #[test]
    fn escaping_in_runs_is_escaping_by_character(text in "[ -~é\u{fffd}-\u{ffff}\r\n\t\u{0}-\u{1f}]{0,80}|.*") {
        let mut runs = Vec::new();
        escape(&text, &mut runs);
        let one = |char: char| {
            let mut out = Vec::new();
            escape(char.encode_utf8(&mut [0; 4]), &mut out);
            out
        };
        let text = text.replace("\r\n", "\n");
        let single: Vec<u8> = text.chars().flat_map(one).collect();
        proptest::prop_assert_eq!(runs, single);
        proptest::prop_assert_eq!(plain_bytes(text.as_bytes()), text.find(|char: char| char < ' ' || "&<>'\"".contains(char)
            || char.encode_utf8(&mut [0; 4]).as_bytes()[0] == 0xef).unwrap_or(text.len()));
    }
}

/// Children that are read without the other reader.
const PLAIN: [&str; 7] = [
    "<body>hello &amp; &#x1F642; good&lt;bye</body>",
    "<body>plain é text</body>",
    "<active xmlns='http://jabber.org/protocol/chatstates'/>",
    "<composing xmlns=\"http://jabber.org/protocol/chatstates\"></composing>",
    "<request xmlns='urn:xmpp:receipts'/>",
    "<thread>t</thread>",
    "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'><p>x</p><br/></body></html>",
];

/// Attributes of a message.
fn root() -> impl proptest::strategy::Strategy<Value = String> {
    let attribute = "( from='a@b/c')?( to=\"d@e/f'g\")?( id='a>b')?( xmlns='jabber:(server|client|other)')?( xml:lang='(de|en)')?( x='o/')?";
    proptest::string::string_regex(attribute).unwrap()
}

/// Children of a message, well-formed as the backend that accepts stanzas makes sure.
fn child() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        4 => proptest::sample::select(&PLAIN[..]).prop_map(str::to_owned),
        2 => "<(body|subject|url)>([a-z \r\n\t>\"']|&(amp|lt|gt|quot|apos|#13|#x1F642|#10);|<!\\[CDATA\\[<x>\\]\\]>|<i>j</i>){0,6}</(body|subject|url)>"
            .prop_map(|text| { let name = &text[1..text.find('>').unwrap()]; format!("{}</{name}>", &text[..text.rfind("</").unwrap()]) }),
        1 => "<(body|subject)( xml:lang='(de|en)')?( xmlns='(jabber:server|urn:other)')?>x</body>"
            .prop_map(|text| { let name = &text[1..text.find([' ', '>']).unwrap()]; text.replace("</body>", &format!("</{name}>")) }),
        1 => Just("<x xmlns='jabber:x:oob'><url>https://u.example/f</url></x>".to_owned()),
        1 => Just("<o:x xmlns:o='jabber:x:oob'><o:url>https://u.example/f</o:url></o:x>".to_owned()),
        3 => "<(active|composing|paused|inactive|gone|request|received)( id='i&amp;j')?( xmlns='(http://jabber.org/protocol/chatstates|urn:xmpp:receipts|urn:xmpp&#58;receipts|o)')?( xmlns:o='urn:xmpp:receipts')?/>",
        1 => "<x xmlns='(http://jabber.org/protocol/muc#user|jabber:x:conference)'>(<invite from='a@b'/>|<invite><reason/></invite>|<o xmlns='o'><invite xmlns='http://jabber.org/protocol/muc#user'/></o>)?</x>",
        1 => "<file-sharing xmlns='urn:xmpp:sfs:0'><sources><url-data xmlns='http://jabber.org/protocol/url-data' target='https?://u.example/[a-z]?'/></sources></file-sharing>",
        1 => Just("<body/>".to_owned()),
        1 => Just("<body ></body >".to_owned()),
        1 => Just("<a b='>' c=\"'\"><body>inner</body></a>".to_owned()),
        1 => Just("text &amp; more".to_owned()),
        1 => Just("<!-- <body>no</body> -->".to_owned()),
    ]
}
