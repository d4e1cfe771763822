use proptest::prelude::*;

use super::*;
use crate::frame::{Frame, Framer, Limits};
use crate::parse::{Capabilities, Start, check};

const REQUEST: &str = "INVITE sip:bob@partner.example SIP/2.0\r\n\
    Record-Route: <sip:fe1.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R1;lr;ms-route-sig=ab,c>;tag=7F\r\n\
    Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK1.2;branched=FALSE;ms-internal-info=\"a,b;c\", SIP/2.0/TLS 10.0.0.8\r\n\
    v: SIP/2.0/TLS 10.0.1.9:37737;ms-received-port=37737;ms-received-cid=3E8A00\r\n\
    Record-Route:   <sip:fe2.contoso.com;lr>\r\n\
    From: \"Al\\\"ice\"<sip:alice@contoso.com>;tag=9d5c;epid=b84a\r\n\
    To:\r\n  <sip:bob@partner.example>\r\n\
    Call-ID: ce878a8b\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// The one message in these bytes, as the framer and parser of the other side see it.
fn reread(bytes: &Bytes) -> Message {
    let mut framer = Framer::new(Limits::default());
    framer.feed(bytes.clone());
    let Ok(Some(Frame::Message(one))) = framer.next() else { panic!("no message in {bytes:?}") };
    assert_eq!(framer.next(), Ok(None), "more than one message in {bytes:?}");
    assert!(!framer.is_partial(), "more than one message in {bytes:?}");
    Message::parse(one).unwrap()
}

#[test]
fn an_answer_echoes_what_came() {
    let answer = Builder::answer(&message(REQUEST), 200, "OK", Some("mine")).unwrap().finish();
    let expected = "SIP/2.0 200 OK\r\n\
        Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK1.2;branched=FALSE;ms-internal-info=\"a,b;c\", SIP/2.0/TLS 10.0.0.8\r\n\
        Via: SIP/2.0/TLS 10.0.1.9:37737;ms-received-port=37737;ms-received-cid=3E8A00\r\n\
        Record-Route: <sip:fe1.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R1;lr;ms-route-sig=ab,c>;tag=7F\r\n\
        Record-Route: <sip:fe2.contoso.com;lr>\r\n\
        From: \"Al\\\"ice\"<sip:alice@contoso.com>;tag=9d5c;epid=b84a\r\n\
        To: <sip:bob@partner.example>;tag=mine\r\n\
        Call-ID: ce878a8b\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(std::str::from_utf8(&answer), Ok(expected));
}

#[test]
fn a_tag_is_added_once_and_never_to_a_100() {
    let check = |to: &str, code: u16, expected: &str| {
        let request = message(&REQUEST.replace("\r\n  <sip:bob@partner.example>", to));
        let answer = reread(&Builder::answer(&request, code, "", Some("mine")).unwrap().finish());
        assert_eq!(answer.header(HeaderName::To), Some(expected.as_bytes()));
    };
    check("<sip:b@x>;tag=theirs", 200, "<sip:b@x>;tag=theirs");
    check("<sip:b@x>", 100, "<sip:b@x>");
    check("sip:b@x", 180, "sip:b@x;tag=mine");
    check("\"unclosed <sip:b@x>", 400, "\"unclosed <sip:b@x>");
}

#[test]
fn a_malformed_request_can_still_be_answered() {
    let request = message(
        "INVITE  sip:x SIP/2.0\r\nVia: SIP/2.0/TLS h\r\nTo: <sip:a\u{1}@x>\r\nFrom: <sip:b@x>\r\nl: 0\r\n\r\n",
    );
    let answer = Builder::answer(&request, 400, "Bad Request", Some("t")).unwrap().finish();
    assert_eq!(
        &*answer,
        b"SIP/2.0 400 Bad Request\r\nVia: SIP/2.0/TLS h\r\nFrom: <sip:b@x>\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn unfit_parts_are_refused() {
    assert!(matches!(Builder::request("IN VITE", "sip:a@x"), Err(WriteError::NotToken(_))));
    assert!(matches!(Builder::request("", "sip:a@x"), Err(WriteError::NotToken(_))));
    for uri in ["sip:a@x SIP/2.0\r\nX: y", "sip:ü@x", "tel:1", "sip:a@x?b=c", "a@x", ""] {
        assert!(matches!(Builder::request("INVITE", uri), Err(WriteError::Address(_))), "{uri}");
    }
    assert!(matches!(Builder::status(99, ""), Err(WriteError::Status(99))));
    assert!(matches!(Builder::status(700, ""), Err(WriteError::Status(700))));
    let header = |name: &str, value: &str| Builder::status(200, "OK").unwrap().named(name, value).map(drop);
    assert_eq!(header("Subject", "a\tb ü"), Ok(()));
    assert_eq!(header("Call-ID", "ü"), Err(WriteError::NotAscii("Call-ID".to_owned())));
    for value in ["a\r\nX: y", "a\n", "a\r", "\0", "\u{7f}", "\u{85}", "\r\n folded"] {
        assert_eq!(header("Subject", value), Err(WriteError::Control("Subject".to_owned())), "{value:?}");
    }
    assert_eq!(header("X y", ""), Err(WriteError::NotToken("X y".to_owned())));
    assert_eq!(header("", ""), Err(WriteError::NotToken(String::new())));
    assert_eq!(header("l", "5"), Err(WriteError::Length));
    assert_eq!(header("Content-length", "5"), Err(WriteError::Length));
    let builder = || Builder::status(200, "OK").unwrap();
    assert!(builder().raw(HeaderName::Route, &[b"<sip:a>".as_slice(), b"x\r\ny"]).is_err());
    assert!(builder().raw(HeaderName::Route, &[b"\\\r\n"]).is_err());
    assert!(builder().raw(HeaderName::ContentLength, &[b"1"]).is_err());
    assert!(builder().finish_with("text/plain\r\nX: y", b"").is_err());
    assert!(name_addr(None, "sip:a@x>;tag=1,<sip:b").is_err());
    assert!(Builder::answer(&message(REQUEST), 200, "OK", Some("a;b")).is_err());
}

#[test]
fn free_text_is_made_to_fit() {
    assert_eq!(reason_phrase("Not <here>\r\nVia: x 100%"), "Not %3Chere%3E  Via: x 100%25");
    assert_eq!(reason_phrase("ü\u{85}\u{2028}\0"), "ü");
    assert_eq!(subject(" a\r\n b\u{7f} "), "a   b");
    assert_eq!(display_name("A \"B\" \\ <sip:victim@x>\n"), "\"A \\\"B\\\" \\\\ <sip:victim@x>\"");
    assert_eq!(display_name(" \r\n"), "");
    assert_eq!(name_addr(Some("\u{1}"), "sip:a@x").as_deref(), Ok("<sip:a@x>"));
    assert!(reason_phrase(&"ü%".repeat(1000)).len() <= 200);
    assert_eq!(subject(&"ü".repeat(1000)).len(), 1024);
    assert!(display_name(&"\\".repeat(1000)).len() <= 2 * 256 + 2);
}

/// Text of any kind with plenty of what ends lines and opens values.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\n".to_owned()),
        Just("\r\nVia: SIP/2.0/TLS evil\r\n\r\n".to_owned()),
        Just("\n ".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("<sip:victim@x>;tag=1,".to_owned()),
        Just("\0".to_owned()),
        any::<String>(),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever a stanza holds, the other side sees the headers that were meant and no others.
    #[test]
    fn no_text_adds_a_header(
        text in hostile(), display in hostile(), local in hostile(), resource in hostile(), body in hostile(), code in 100_u16..700,
    ) {
        let to = crate::address::uri_of(&local, "partner.example").unwrap_or_else(|_| "sip:b@x".to_owned());
        let from = crate::address::uri_with_resource("a", "contoso.com", &resource).unwrap_or_else(|_| "sip:a@y".to_owned());
        let bytes = Builder::request("MESSAGE", &to).unwrap()
            .header(HeaderName::Via, "SIP/2.0/TLS turnout;branch=z9hG4bKa").unwrap()
            .header(HeaderName::From, &format!("{};tag=a", name_addr(Some(&display), &from).unwrap())).unwrap()
            .header(HeaderName::To, &name_addr(None, &to).unwrap()).unwrap()
            .header(HeaderName::CallId, "c@x").unwrap()
            .header(HeaderName::CSeq, "1 MESSAGE").unwrap()
            .header(HeaderName::Subject, &subject(&text)).unwrap()
            .named("X-Thread", &quoted(&text)).unwrap()
            .finish_with("text/plain; charset=UTF-8", body.as_bytes()).unwrap();
        let read = reread(&bytes);
        prop_assert_eq!(check(&read, &Capabilities::default()), Ok(()));
        let labels: Vec<&[u8]> = read.fields().map(|field| field.label).collect();
        let meant: [&[u8]; 9] = [
            b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Subject", b"X-Thread", b"Content-Type", b"Content-Length",
        ];
        prop_assert_eq!(labels, meant);
        let sender = read.from().unwrap();
        let expected = unclean(&display);
        prop_assert!(expected.starts_with(sender.display().trim()), "{} from {}", sender.display(), expected);
        prop_assert_eq!(sender.uri_text, from.as_str());
        let tag = sender.tag();
        prop_assert_eq!(tag.as_deref(), Some("a"));
        prop_assert_eq!(read.body(), body.as_bytes());

        let answer = reread(&Builder::answer(&read, code, &text, Some("b")).unwrap().finish());
        let Start::Status { code: read_code, .. } = answer.start() else { panic!("no status") };
        prop_assert_eq!(read_code, code);
        prop_assert_eq!(check(&answer, &Capabilities::default()), Ok(()));
        prop_assert_eq!(answer.fields().count(), 6);
        prop_assert_eq!(answer.header(HeaderName::From), read.header(HeaderName::From));
    }

    /// A header value from outside either goes in as one line or is refused.
    #[test]
    fn a_value_is_one_line_or_refused(name in "[A-Za-z-]{1,12}|.{0,4}", value in hostile()) {
        let Ok(builder) = Builder::status(200, "OK").unwrap().named(&name, &value) else { return Ok(()) };
        let bytes = builder.finish();
        let read = reread(&bytes);
        prop_assert_eq!(read.fields().count(), 2);
        prop_assert_eq!(read.fields().next().unwrap().label, name.as_bytes());
        let kept = value.trim_matches([' ', '\t']);
        prop_assert_eq!(read.fields().next().unwrap().value, kept.as_bytes());
    }
}

/// The display name as it should arrive, before it is cut.
fn unclean(text: &str) -> String {
    let spaced = text
        .chars()
        .map(|char| if char.is_control() || "\u{2028}\u{2029}".contains(char) { ' ' } else { char });
    spaced.collect::<String>().trim().to_owned()
}
