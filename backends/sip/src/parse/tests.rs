use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn outcome(text: &str) -> u16 {
    match check(&message(text), &Capabilities::default()) {
        Ok(()) => 0,
        Err(Problem::Drop(_)) => 1,
        Err(Problem::Answer(answer)) => answer.status,
    }
}

/// A request of this method with more header lines and a body.
fn request(method: &str, more: &str, body: &str) -> String {
    format!(
        "{method} sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:bob@partner.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The shape of an INVITE as Skype for Business sends it through a pool.
const INVITE: &str = "INVITE sip:dora@partner.example SIP/2.0\r\n\
    Record-Route: <sip:pool9.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R5a7700;lr;ms-route-sig=dq0-Zw_1>;tag=0A1B\r\n\
    Record-Route: <sip:fe3.contoso.com:5061;transport=tls;ms-fe=fe3.contoso.com;lr>\r\n\
    Via: SIP/2.0/TLS 192.0.2.20:5061;branch=z9hG4bK77A1.1;branched=FALSE;ms-internal-info=\"bcDE,f;g=\"\r\n\
    Via: SIP/2.0/TLS 192.0.2.90:49152;ms-received-port=49152;ms-received-cid=5D1200\r\n\
    Max-Forwards: 68\r\n\
    From: \"Carol, Sales\"<sip:carol@contoso.com>;tag=77aa01;epid=0c1d2e3f4a\r\n\
    To: <sip:dora@partner.example>\r\n\
    Call-ID: 0123456789abcdef0123456789abcdef\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:carol@contoso.com;opaque=user:epid:QmFyRm9vX-9;gruu>\r\n\
    User-Agent: UCCAPI/16.0.5000.1000 OC/16.0.5000.1000 (Skype for Business)\r\n\
    Supported: ms-dialog-route-set-update\r\n\
    ms-text-format: text/plain; charset=UTF-8; ms-body=SGkgRG9yYSE=\r\n\
    ms-im-format: text/html; charset=UTF-8; ms-body=PGI+SGk8L2I+\r\n\
    ms-im-format: text/rtf; charset=UTF-8; ms-body=e1xydGYx/Q==\r\n\
    Supported: ms-embedded-first-message\r\n\
    Ms-Conversation-ID: AdKk+9/aZ0q1Y2ZzTq6rDw==\r\n\
    Supported: timer, histinfo\r\n\
    Supported: ms-sender\r\n\
    Roster-Manager: sip:carol@contoso.com\r\n\
    EndPoints: <sip:carol@contoso.com>, <sip:dora@partner.example>\r\n\
    ms-keep-alive: UAC;hop-hop=yes\r\n\
    Allow: INVITE, BYE, ACK, CANCEL, INFO, MESSAGE, UPDATE, REFER, NOTIFY, BENOTIFY\r\n\
    ms-subnet: 192.0.2.0\r\n\
    P-Asserted-Identity: \"Carol, Sales\"<sip:carol@contoso.com>, <tel:+12025550123>\r\n\
    Content-Type: application/sdp;call-type=im\r\n\
    history-info: <sip:dora@partner.example>;index=1\r\n\
    X-Unheard-Of: kept, as it is\r\n\
    Content-Length: 6\r\n\r\nv=0\r\n.";

#[test]
fn an_invite_of_a_pool_is_read_whole() {
    let invite = message(INVITE);
    assert_eq!(check(&invite, &Capabilities::default()), Ok(()));
    let values = |name: HeaderName| -> Vec<&str> {
        invite.headers(name).map(|value| std::str::from_utf8(value).unwrap()).collect()
    };
    assert_eq!(
        values(HeaderName::RecordRoute),
        [
            "<sip:pool9.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R5a7700;lr;ms-route-sig=dq0-Zw_1>;tag=0A1B",
            "<sip:fe3.contoso.com:5061;transport=tls;ms-fe=fe3.contoso.com;lr>",
        ]
    );
    assert_eq!(values(HeaderName::Via).len(), 2);
    let via = invite.via().unwrap();
    assert_eq!((via.transport, via.host, via.port), ("TLS", "192.0.2.20", Some(5061)));
    assert_eq!(via.params.get("MS-internal-info").as_deref(), Some("bcDE,f;g="));
    assert_eq!(Via::parse(values(HeaderName::Via)[1].as_bytes()).unwrap().branch(), None);
    let from = invite.from().unwrap();
    assert_eq!((&*from.display(), from.uri_text), ("Carol, Sales", "sip:carol@contoso.com"));
    assert_eq!(from.params.get("epid").as_deref(), Some("0c1d2e3f4a"));
    assert_eq!(invite.max_forwards(), Ok(68));
    let contact = invite.contact().unwrap().unwrap();
    assert_eq!(contact.uri.param("opaque"), Some("user:epid:QmFyRm9vX-9"));
    assert_eq!(contact.uri.param("gruu"), Some(""));
    for tag in ["ms-embedded-first-message", "timer", "HistInfo", "ms-sender", "ms-dialog-route-set-update"] {
        assert!(invite.lists(HeaderName::Supported, tag), "{tag}");
    }
    assert!(!invite.lists(HeaderName::Supported, "time"));
    let text = MediaType::parse(invite.header(HeaderName::MsTextFormat).unwrap()).unwrap();
    assert!(text.is("TEXT/plain"));
    assert_eq!(text.params.get("ms-body").as_deref(), Some("SGkgRG9yYSE="));
    assert_eq!(values(HeaderName::MsImFormat).len(), 2);
    assert_eq!(values(HeaderName::MsConversationId), ["AdKk+9/aZ0q1Y2ZzTq6rDw=="]);
    assert_eq!(values(HeaderName::EndPoints), ["<sip:carol@contoso.com>", "<sip:dora@partner.example>"]);
    assert_eq!(values(HeaderName::PAssertedIdentity)[1], "<tel:+12025550123>");
    assert_eq!(values(HeaderName::HistoryInfo), ["<sip:dora@partner.example>;index=1"]);
    let sdp = invite.content_type().unwrap().unwrap();
    assert!(sdp.is("application/sdp"));
    assert_eq!(sdp.params.get("call-type").as_deref(), Some("im"));
    assert_eq!(invite.unknown("x-unheard-of").collect::<Vec<_>>(), [b"kept, as it is"]);
    assert_eq!(invite.fields().filter(|field| field.name == HeaderName::Other).count(), 1);
    assert_eq!(invite.fields().count(), 29);
    assert_eq!(&*invite.body(), b"v=0\r\n.");
}

#[test]
fn names_of_headers() {
    let check =
        |label: &str, expected: HeaderName| assert_eq!(HeaderName::of(label.as_bytes()), expected, "{label}");
    check("VIA", HeaderName::Via);
    check("v", HeaderName::Via);
    check("K", HeaderName::Supported);
    check("u", HeaderName::AllowEvents);
    check("o", HeaderName::Event);
    check("x", HeaderName::SessionExpires);
    check("MS-CONVERSATION-ID", HeaderName::MsConversationId);
    check("z", HeaderName::Other);
    check("", HeaderName::Other);
    check(&"v".repeat(300), HeaderName::Other);
    check("C%6Fntact", HeaderName::Other);
    check("Proxy-Require", HeaderName::ProxyRequire);
    check(HeaderName::SubscriptionState.as_str(), HeaderName::SubscriptionState);
}

#[test]
fn requests_get_the_answer_of_the_table() {
    let check = |text: String, expected: u16| assert_eq!(outcome(&text), expected, "{text}");
    check(request("OPTIONS", "", ""), 0);
    check(request("MESSAGE", "Content-Type: text/plain\r\n", "hi"), 0);
    check(request("MESSAGE", "", "hi"), 400);
    check(request("MESSAGE", "Content-Type: image/gif\r\n", "hi"), 415);
    check(request("MESSAGE", "Content-Type: nonsense\r\n", "hi"), 400);
    check(request("MESSAGE", "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "hi"), 415);
    check(request("MESSAGE", "c: image/gif\r\nContent-Disposition: render; handling=optional\r\n", "hi"), 0);
    check(request("BYE", "Content-Type: x/y\r\n", "hi"), 0);
    check(request("INVITE", "Accept: text/plain, application/*;q=0.1\r\n", ""), 0);
    check(request("INVITE", "Accept: text/plain\r\n", ""), 406);
    check(request("SUBSCRIBE", "Event: presence;id=1\r\n", ""), 0);
    check(request("SUBSCRIBE", "o: dialog\r\n", ""), 489);
    check(request("NOTIFY", "", ""), 489);
    check(request("REGISTER", "Contact: *\r\n", ""), 405);
    check(request("OPTIONS", "Contact: *\r\n", ""), 400);
    check(request("NEGOTIATE", "Compression: LZ77-64K\r\n", ""), 405);
    check(request("invite", "", ""), 501);
    check(request("ACKX", "", ""), 501);
    check(request("BENOTIFY", "", ""), 1);
    check(request("ACK", "Max-Forwards: 999\r\n", ""), 1);
    check(request("ACK", "Require: x\r\n", ""), 0);
    check(request("CANCEL", "Require: x\r\n", ""), 0);
    check(request("SUBSCRIBE", "Event: presence\r\nProxy-Require: ms-benotify\r\n", ""), 420);
    check(request("OPTIONS", "Require: a b\r\n", ""), 400);
    check(request("OPTIONS", "Max-Forwards: 0\r\n", ""), 0);
    check(request("OPTIONS", "Max-Forwards: 256\r\n", ""), 400);
    check(request("OPTIONS", "Max-Forwards: -1\r\n", ""), 400);
    check(request("OPTIONS", "Route: <sip:a\r\n", ""), 400);
    check(request("OPTIONS", "Record-Route: \"a <sip:a>\r\n", ""), 400);
    check(request("OPTIONS", "", "").replace("Call-ID: c", "Call-ID: a@b@c"), 400);
    check(request("OPTIONS", "", "").replace("CSeq: 1", "CSeq: 4294967296"), 400);
    check(request("OPTIONS", "", "").replace("CSeq: 1", "CSeq: 4294967295"), 0);
    check(request("OPTIONS", "", "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505);
    check(request("OPTIONS", "", "").replace("SIP/2.0\r\nVia", "HTTP/1.1\r\nVia"), 400);
    check(request("OPTIONS", "", "").replace("sip:bob@partner.example SIP", "tel:1 SIP"), 416);
}

/// Odd names and double headers are refused; nothing is ever merged (B-53).
#[test]
fn headers_cannot_be_smuggled() {
    let check =
        |line: &str, expected: u16| assert_eq!(outcome(&request("OPTIONS", line, "")), expected, "{line:?}");
    check("X: y\r\n", 0);
    check("X-Y : y\r\n", 0);
    check("To: <sip:c@x>\r\n", 400);
    check("t: <sip:c@x>\r\n", 400);
    check("f: <sip:c@x>\r\n", 400);
    check("i: c\r\n", 400);
    check("l: 0\r\n", 400);
    check("To\u{1}: x\r\n", 400);
    check("To\u{b}: x\r\n", 400);
    check("To\u{c}: x\r\n", 400);
    check("To\u{a0}: x\r\n", 400);
    check("To To: x\r\n", 400);
    check(": x\r\n", 400);
    check("no colon\r\n", 400);
    check("X: a\u{0}b\r\n", 400);
    check("X: a\u{c}\r\n", 400);
    check("X: a\\\u{0}b\r\n", 0);
    check("X: a\\\\\u{0}b\r\n", 400);
    check("X: a\rTo: b\r\n", 400);
    check("X: a\nTo: b\r\n", 400);
    check("X: a\r\n\tTo: b\r\n", 0);
    let folded = message(&request("OPTIONS", "X:\r\n\ta \r\n  b\r\n \r\n", ""));
    assert_eq!(folded.unknown("x").collect::<Vec<_>>(), [b"a b"]);
}

#[test]
fn responses_are_good_or_forgotten() {
    let good = "SIP/2.0 480 Gone\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n\
        Call-ID: c\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n";
    assert_eq!(outcome(good), 0);
    assert_eq!(outcome(&good.replace(" Gone", "")), 0, "no reason phrase, not even its space");
    for (from, to) in
        [("480", "48"), ("480", "4800"), ("480", "099"), ("SIP/2.0 480", "SIP/3.0 480"), ("tag=1", "tag=")]
    {
        assert_eq!(outcome(&good.replace(from, to)), 1, "{to}");
    }
    assert_eq!(outcome(&good.replace("Via", "Via: SIP/2.0/TLS g\r\nVia")), 1);
    assert!(Message::parse(Bytes::from_static(b"")).is_err());
    assert!(Message::parse(Bytes::from_static(b"\x16\x03\x01\x02\x00 x y")).is_err());
    assert!(Message::parse(Bytes::from_static(b"GET\r\n\r\n")).is_err());
}

#[test]
fn lists_are_split_outside_quotes_and_brackets() {
    let check = |line: &str, expected: &[&str]| {
        let message = message(&request("OPTIONS", &format!("{line}\r\n"), ""));
        let name = HeaderName::of(line.split(':').next().unwrap().as_bytes());
        let values: Vec<&str> =
            message.headers(name).map(|value| std::str::from_utf8(value).unwrap()).collect();
        assert_eq!(values, expected, "{line}");
    };
    check("Contact: \"a, \\\"b\" <sip:c,d@x>;q=1 ,<sip:e>", &["\"a, \\\"b\" <sip:c,d@x>;q=1", "<sip:e>"]);
    check("Supported: a,b ,\tc", &["a", "b", "c"]);
    check("Supported:", &[""]);
    check("Supported: a,,", &["a", "", ""]);
    check("Contact: \"a, <sip:b>, c", &["\"a, <sip:b>, c"]);
    check("Contact: <sip:a, \"b\"", &["<sip:a, \"b\""]);
    check("Contact: <sip:a\"b@x>, <sip:c>", &["<sip:a\"b@x>", "<sip:c>"]);
    check("Subject: a, b", &["a, b"]);
    check("Date: Sat, 13 Nov 2010 23:29:00 GMT", &["Sat, 13 Nov 2010 23:29:00 GMT"]);
    check("WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"", &["Digest realm=\"x\", nonce=\"y\""]);
    check("ms-diagnostics: 1;reason=a,b", &["1;reason=a,b"]);
}

#[test]
fn addresses_in_pieces() {
    let uri = Uri::parse("sips:a%40b;c=d:p@[2001:db8::1]:5061;transport=TLS;lr?X=y&z=%20").unwrap();
    assert_eq!((uri.scheme, uri.user, uri.password), (Scheme::Sips, Some("a%40b;c=d"), Some("p")));
    assert_eq!((uri.host, uri.port, uri.headers), ("[2001:db8::1]", Some(5061), Some("X=y&z=%20")));
    assert_eq!((uri.param("Transport"), uri.param("lr"), uri.param("x")), (Some("TLS"), Some(""), None));
    for bad in [
        "sip:",
        "sip:a@",
        "sip:@b",
        "sip:a@b:",
        "sip:a@b:x",
        "sip:a@b:65536",
        "sip:a@b;",
        "sip:a@b;;c",
        "sip:[::g]",
        "1:a",
        ":a",
        "sip:a b@c",
        "sip:a@b c",
        "sip:<a@b>",
        "sip:a%4@b",
        "sip:a\\b@c",
        "sip:a@b@c",
        "sip:a@b;=c",
        "sip:[::1]x",
    ] {
        assert!(Uri::parse(bad).is_err(), "{bad}");
    }
    for bad in [
        "<sip:a@b",
        "sip:a@b>",
        "\"a\" sip:a@b",
        "a, b <sip:a@b>",
        "<sip:a@b>x",
        "<sip:a@b>;",
        "<sip:a@b>;=x",
        "<sip:a@b>;x=",
        "sip:a@b?x=y",
        "ü <sip:a@b>",
        "<<sip:a@b>>",
        "",
        "*",
        "\"a",
        "<sip:a@b>;x=\"y",
    ] {
        assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for bad in [
        "SIP/2.0/TLS",
        "SIP/2.0 h",
        "XIP/2.0/TLS h",
        "SIP/2.0/TLS h;",
        "SIP/2.0/TLS ;branch=a",
        "SIP/2.0/T LS h",
        "",
        "SIP/2.0/TLS h:x",
    ] {
        assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// 1 MiB of what makes careless parsers slow (B-62).
#[test]
fn work_is_linear() {
    let mib = 1 << 20;
    let started = clock();
    for (unit, name) in [
        (";,;,", "Contact"),
        ("\"", "Contact"),
        ("\\\"", "To"),
        ("<", "Route"),
        ("a,", "Via"),
        (";a=b", "X"),
        ("SIP/2.0/TLS h;branch=z9hG4bKa,", "Via"),
        (",", "Require"),
        ("\r\n ", "From"),
        ("%41", "Subject"),
        ("\" <sip:a@b>,", "Contact"),
    ] {
        let text = request("INVITE", &format!("{name}: {}\r\n", unit.repeat(mib / unit.len())), "");
        outcome(&text);
        let read = message(&text);
        assert!(
            HeaderName::of(name.as_bytes()) == HeaderName::Other
                || read.headers(HeaderName::of(name.as_bytes())).count() > 0
        );
    }
    let params = format!("<sip:a@b{}>{}", ";c=d".repeat(mib / 4), ";c=\"d\"".repeat(mib / 6));
    let address = NameAddr::parse(params.as_bytes()).unwrap();
    assert_eq!((address.params.get("e"), address.uri.param("e")), (None, None));
    outcome(&request("OPTIONS", &"To: <sip:a@b>\r\n".repeat(mib / 15), ""));
    outcome(&request("OPTIONS", &"X: y\r\n".repeat(mib / 6), ""));
    assert!(clock() - started < Duration::from_secs(30), "one of these is not read in linear time");
}

#[expect(clippy::disallowed_methods, reason = "the test measures its own run time")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn bytes_of_any_kind_never_panic(head in "(INVITE |SIP/2.0 )?[ -~\\r\\n\\x00-\\xff]{0,200}", bytes in any::<Vec<u8>>()) {
        for input in [head.into_bytes(), bytes] {
            if let Ok(message) = Message::parse(input.into()) {
                let dropped = check(&message, &Capabilities::default());
                prop_assert!(dropped.is_err());
                prop_assert!(message.fields().all(|field| !field.value.contains(&b'\n') && !field.value.contains(&b'\r')));
            }
        }
    }

    #[test]
    fn a_damaged_invite_never_panics(at in 0..INVITE.len(), byte in any::<u8>(), cut in 0..INVITE.len()) {
        let mut bytes = INVITE.as_bytes().to_vec();
        bytes[at] = byte;
        bytes.truncate(cut.max(20));
        if let Ok(message) = Message::parse(bytes.into()) {
            let _outcome = check(&message, &Capabilities::default());
            for field in message.fields() {
                prop_assert!(!field.value.contains(&b'\n') && !field.value.contains(&b'\r'));
            }
        }
    }

    /// What rsip understands it understands as we do.
    #[test]
    fn rsip_reads_the_same_address(user in "[a-z][a-z0-9]{0,9}", host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", port in 1_u16.., value in "[a-z0-9]{1,8}") {
        let text = format!("sip:{user}@{host}:{port};transport=tls;x={value}");
        let ours = Uri::parse(&text).unwrap();
        let theirs = rsip::Uri::try_from(text.as_str()).unwrap();
        prop_assert_eq!(ours.user, theirs.user());
        prop_assert_eq!(ours.host, theirs.host().to_string());
        prop_assert_eq!(ours.port, theirs.port().map(|port| *port.value()));
        prop_assert_eq!(ours.param("x"), Some(value.as_str()));
    }
}
