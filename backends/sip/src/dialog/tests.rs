use super::*;
use crate::parse::{Capabilities, vet};
use crate::random::Random;

fn tag() -> Token {
    Random::new([7; 32]).token()
}

#[expect(clippy::disallowed_methods, reason = "a test needs one instant")]
fn dialog(route: &str) -> Dialog {
    let invite = format!(
        "INVITE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\n{route}From: <sip:a@contoso.com>;tag=r\r\n\
         To: sip:bob@partner.example\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:a@10.0.0.1;opaque=x>\r\nContent-Length: 0\r\n\r\n"
    );
    let invite = Message::parse(Bytes::from(invite)).unwrap();
    let session = Slab::default().insert(());
    Dialog::accepted(session, &invite, tag(), LinkId::NONE, Instant::now()).unwrap()
}

#[test]
fn routes_strict_and_loose() {
    let check = |routes: &str, expected: &str| {
        let request = dialog(routes).request("BYE", "SIP/2.0/TLS t;branch=z9hG4bKb").unwrap().finish();
        assert_eq!(std::str::from_utf8(&request).unwrap(), expected);
    };
    let rest = format!(
        "From: sip:bob@partner.example;tag={}\r\nTo: <sip:a@contoso.com>;tag=r\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\
         Content-Length: 0\r\n\r\n",
        &*tag().hex()
    );
    let via = "SIP/2.0\r\nVia: SIP/2.0/TLS t;branch=z9hG4bKb\r\nMax-Forwards: 70\r\n";
    check("", &format!("BYE sip:a@10.0.0.1;opaque=x {via}{rest}"));
    check(
        "Record-Route: <sip:p1;lr>, <sip:p2>;tag=1\r\n",
        &format!("BYE sip:a@10.0.0.1;opaque=x {via}Route: <sip:p1;lr>\r\nRoute: <sip:p2>;tag=1\r\n{rest}"),
    );
    check(
        "Record-Route: <sip:p1>\r\nRecord-Route: <sip:p2;lr>\r\n",
        &format!("BYE sip:p1 {via}Route: <sip:p2;lr>\r\nRoute: <sip:a@10.0.0.1;opaque=x>\r\n{rest}"),
    );
}

#[test]
fn numbers_of_the_peer_only_grow() {
    let mut dialog = dialog("");
    assert!(!dialog.take_number(7));
    assert!(dialog.take_number(8));
    assert!(!dialog.take_number(8));
    assert!(dialog.take_number(u32::MAX));
}

#[test]
fn a_message_from_parts_is_the_message_built() {
    let via: Arc<str> = "SIP/2.0/TLS turnout.contoso.com:5061;branch=z9hG4bK0000".into();
    let mut random = Random::new([9; 32]);
    let mut out = BytesMut::new();
    for routes in ["", "Record-Route: <sip:p1;lr>, <sip:p2>;tag=1\r\n", "Record-Route: <sip:p1>\r\n"] {
        let (mut one, mut other) = (dialog(routes), dialog(routes));
        for (turn, text) in ["", "hi", "two\nlines \u{1f642}", &"x".repeat(70_000)].into_iter().enumerate() {
            let token = random.token();
            let built = other
                .request("MESSAGE", &format!("{via}{}", &*token.hex()))
                .unwrap()
                .header(HeaderName::UserAgent, USER_AGENT)
                .unwrap()
                .finish_with(TEXT_TYPE, text.as_bytes())
                .unwrap();
            assert_eq!(one.message(&via, token, text, &mut out).unwrap(), built);
            if turn == 1 {
                one.sent = 0x7fff_fffe;
                other.sent = 0x7fff_fffe;
            }
        }
    }
    let mut dialog = dialog("");
    let first = dialog.message(&via, random.token(), "x", &mut out).unwrap();
    let other: Arc<str> = "SIP/2.0/TCP elsewhere:5060;branch=z9hG4bK0001".into();
    let second = dialog.message(&other, random.token(), "x", &mut out).unwrap();
    let has = |bytes: &Bytes, via: &str| std::str::from_utf8(bytes).unwrap().contains(&format!("Via: {via}"));
    assert!(has(&first, &via) && has(&second, &other));
}

/// A MESSAGE of the peer in the dialog made by [`dialog`], with headers beside the usual ones.
fn peers_message(number: u32, more: &str) -> String {
    format!(
        "MESSAGE sip:t@turnout:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.1.9:5061;branch=z9hG4bKx{number};i=\"a,b\"\r\n\
         Max-Forwards: 69\r\nFrom: <sip:a@contoso.com>;tag=r\r\nTo: sip:bob@partner.example;tag={}\r\nCall-ID: c\r\n\
         CSeq: {number} MESSAGE\r\nContact: <sip:a@contoso.com;opaque=user:epid:Q-9;gruu>\r\n{more}\
         Content-Type: text/plain; charset=UTF-8; msgr=WAAtAE0A\r\nContent-Length: 2\r\n\r\nhi",
        &*tag().hex()
    )
}

fn able() -> Capabilities {
    Capabilities::default()
}

/// What a check says, in words, with everything it read.
fn outcome(message: &Message, familiar: &Familiar) -> String {
    match vet(message, &able(), familiar) {
        Err(problem) => format!("{problem:?}"),
        Ok(vitals) => {
            let kind = message.content_type().map(|kind| kind.is_some_and(|kind| text::is_plain(&kind)));
            assert!(!vitals.is_plain_text || kind == Ok(true), "{message:?}");
            format!(
                "{:?} {} {} {:?} {:?} {}",
                vitals.via, vitals.call_id, vitals.from_tag, vitals.to_tag, vitals.cseq, vitals.max_forwards
            )
        }
    }
}

fn trained() -> Dialogs {
    let mut dialogs = Dialogs::default();
    let key = dialogs.insert(dialog(""));
    let first = Message::parse(Bytes::from(peers_message(8, ""))).unwrap();
    let (found, known) = dialogs.of(&first).unwrap();
    assert_eq!((found, known.familiar(&first).contact), (key, false));
    let vitals = vet(&first, &able(), &Familiar::default()).unwrap();
    dialogs.get_mut(key).unwrap().learn(&first, &vitals);
    dialogs
}

#[test]
fn the_second_message_of_a_dialog_is_familiar() {
    let dialogs = trained();
    let second = Message::parse(Bytes::from(peers_message(9, ""))).unwrap();
    let familiar = dialogs.of(&second).unwrap().1.familiar(&second);
    assert!(familiar.users.is_some() && familiar.uri && familiar.contact && familiar.plain_text);
    let more = "Contact: <sip:b@c>\r\n";
    let twice = Message::parse(Bytes::from(peers_message(9, more))).unwrap();
    assert!(!dialogs.of(&twice).unwrap().1.familiar(&twice).contact);
}

proptest::proptest! {
    /// Whatever happens to a message on its way, comparing it with an earlier one and reading it in full come to the same.
    #[test]
    fn familiar_values_are_judged_as_in_full(
        at in 0_usize..620,
        byte in proptest::sample::select(b"\r\n\t :;,<>@\"\\=%/aZ0\x00\x7f\xff".as_slice()),
        cut in 0_usize..3,
        insert: bool,
        more in "(Contact: <sip:b@c>|Contact: x<|Content-Encoding: gzip|Route: <sip:x>|Route: <|Content-Disposition: render;handling=optional|X: y\r\n z)?",
    ) {
        let dialogs = trained();
        let more = if more.is_empty() { more } else { format!("{more}\r\n") };
        let mut bytes = peers_message(9, &more).into_bytes();
        let at = at.min(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, insert.then_some(byte));
        if let Ok(message) = Message::parse(Bytes::from(bytes)) {
            let familiar = dialogs.of(&message).map(|(_, dialog)| dialog.familiar(&message)).unwrap_or_default();
            proptest::prop_assert_eq!(outcome(&message, &familiar), outcome(&message, &Familiar::default()));
        }
    }

    /// A response taken for the usual one is one that reading it in full finds good.
    #[test]
    fn usual_answers_are_good_answers(at in 0_usize..300, byte: u8, more in "(Server: x|User-Agent: \\(|X: y)?") {
        let dialogs = trained();
        let more = if more.is_empty() { more } else { format!("{more}\r\n") };
        let mut bytes = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS t;branch=z9hG4bKb\r\nFrom: sip:bob@partner.example;tag={}\r\nTo: <sip:a@contoso.com>;tag=r\r\n\
             Call-ID: c\r\nCSeq: 1 MESSAGE\r\n{more}Content-Length: 0\r\n\r\n",
            &*tag().hex()
        )
        .into_bytes();
        let whole = Message::parse(Bytes::from(bytes.clone())).unwrap();
        let answers = |message: &Message| dialogs.all.iter().any(|(_, dialog)| dialog.is_answered_by(message));
        proptest::prop_assert!(answers(&whole));
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let Ok(message) = Message::parse(Bytes::from(bytes)) else { return Ok(()) };
        let sound = message.status().is_some() && message.flaw().is_none() && message.is_version_known();
        let via = message.only_line(HeaderName::Via) == Some(b"SIP/2.0/TLS t;branch=z9hG4bKb");
        let read = [HeaderName::MaxForwards, HeaderName::ContentType, HeaderName::Contact, HeaderName::Route, HeaderName::RecordRoute];
        if sound && via && message.cseq().is_ok() && !message.has_any(&read) && answers(&message) {
            proptest::prop_assert!(vet(&message, &able(), &Familiar::default()).is_ok());
        }
    }
}
