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
    let words = Words { body: "", thread: None, subject: None, id: "1" };
    let mut stanza = write_message(envelope(), MessageType::Chat, &words);
    stanza.bytes = Bytes::copy_from_slice(text.as_bytes());
    stanza.insert_at = u32::try_from(text.find([' ', '>']).unwrap()).unwrap();
    stanza.insert = insert.map(|insert| Bytes::from_static(insert.as_bytes()));
    stanza
}

#[test]
fn bodies_are_those_of_the_stanza() {
    let check = |text: &str, insert: Option<&'static str>, body: Option<&str>, subject: Option<&str>| {
        let spoken = read_message(&message(text, insert)).unwrap();
        assert_eq!((spoken.body.as_deref(), spoken.subject.as_deref()), (body, subject), "{text}");
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
fn spans_name_what_was_written() {
    let words = Words { body: "b", thread: Some("t"), subject: Some("s"), id: "i-1" };
    let stanza = write_message(envelope(), MessageType::Chat, &words);
    let text = std::str::from_utf8(&stanza.bytes).unwrap();
    assert_eq!(
        text,
        "<message from='alice@contoso.com' to='o\\27malley@partner.example/a&#39;b&lt;c' id='i-1' type='chat'>\
         <subject>s</subject><body>b</body><thread>t</thread></message>"
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
        let words = Words { body: &body, thread: Some(&thread), subject: Some(&subject), id: "1" };
        let stanza = write_message(envelope(), MessageType::Normal, &words);
        let spoken = read_message(&stanza).unwrap();
        let clean = |text: &str| -> Option<String> {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let text: String = text.chars().map(xml_char).collect();
            (!text.is_empty()).then_some(text)
        };
        proptest::prop_assert_eq!(spoken.body, clean(&body));
        proptest::prop_assert_eq!(spoken.subject, clean(&subject));
        proptest::prop_assert_eq!(stanza.bytes.windows(7).filter(|w| *w == b"</body>").count(), 1);
    }
}
