//! The messages of RFC 4475 and of RFC 5118, each with what turnout makes of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;

use super::*;
use crate::frame::{Fault, Frame, Framer, Limits};
use crate::write::Builder;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/wire/sip/torture"))
}

fn read(name: &str) -> Bytes {
    std::fs::read(folder().join(name).with_extension("dat")).expect("a torture message").into()
}

fn parsed(name: &str) -> Message {
    Message::parse(read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Status of the answer; 0 for a message that passes, 1 for one that is dropped.
const PASS: u16 = 0;
const DROP: u16 = 1;

/// Every message and the answer to it.
const EXPECTED: [(&str, u16); 50] = [
    ("wsinv", PASS),
    ("intmeth", 501),
    ("esc01", PASS),
    ("escnull", 405),
    ("esc02", 501),
    ("lwsdisp", PASS),
    ("longreq", PASS),
    ("dblreq", 405),
    ("semiuri", PASS),
    ("transports", PASS),
    ("mpart01", PASS),
    ("unreason", PASS),
    ("noreason", PASS),
    ("badinv01", 400),
    ("clerr", 400),
    ("ncl", 400),
    ("scalar02", 400),
    ("quotbal", 400),
    ("ltgtruri", 400),
    ("lwsruri", 400),
    ("lwsstart", 400),
    ("trws", 400),
    ("escruri", 400),
    ("regbadct", 400),
    ("badaspec", 400),
    ("baddn", 400),
    ("mismatch01", 400),
    ("insuf", 400),
    ("multi01", 400),
    ("mcl01", 400),
    ("badvers", 505),
    ("mismatch02", 501),
    ("unkscm", 416),
    ("novelsc", 416),
    ("bext01", 420),
    ("invut", 415),
    ("sdp01", 406),
    ("zeromf", PASS),
    ("scalarlg", DROP),
    ("bigcode", DROP),
    ("bcast", DROP),
    ("badbranch", 400),
    ("baddate", PASS),
    ("inv2543", PASS),
    ("unksm2", 405),
    ("regaut01", 405),
    ("cparam01", 405),
    ("cparam02", 405),
    ("regescrt", 405),
    ("test", DROP),
];

#[test]
fn every_message_gets_its_answer() {
    for (name, expected) in EXPECTED {
        let message = parsed(name);
        let got = match check(&message, &Capabilities::default()) {
            Ok(()) => PASS,
            Err(Problem::Drop(_)) => DROP,
            Err(Problem::Answer(answer)) => answer.status,
        };
        assert_eq!(got, expected, "{name}: {:?}", check(&message, &Capabilities::default()));
    }
}

#[test]
fn the_table_names_every_file() {
    let named: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| format!("{name}.dat")).collect();
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".dat"))
        .collect();
    assert_eq!(named, there);
}

/// The messages of RFC 5118 and the answer to each, as [`EXPECTED`].
const IPV6: [(&str, u16); 12] = [
    ("ipv6-good", 405),
    ("ipv6-bad", 405),
    ("port-ambiguous", 405),
    ("port-unambiguous", 405),
    ("via-received-param-with-delim", PASS),
    ("via-received-param-no-delim", PASS),
    ("ipv6-in-sdp", PASS),
    ("mult-ip-in-header", PASS),
    ("mult-ip-in-sdp", PASS),
    ("ipv4-mapped-ipv6", PASS),
    ("ipv6-bug-abnf-3-colons", PASS),
    ("ipv6-correct-abnf-2-colons", PASS),
];

fn ipv6(name: &str) -> Message {
    let path = folder().with_file_name("ipv6").join(name).with_extension("dat");
    Message::parse(std::fs::read(path).expect("a message of RFC 5118").into()).unwrap()
}

#[test]
fn every_message_of_ipv6_gets_its_answer() {
    for (name, expected) in IPV6 {
        let message = ipv6(name);
        let got = match check(&message, &Capabilities::default()) {
            Ok(()) => PASS,
            Err(Problem::Drop(_)) => DROP,
            Err(Problem::Answer(answer)) => answer.status,
        };
        assert_eq!(got, expected, "{name}: {:?}", check(&message, &Capabilities::default()));
    }
    let there = std::fs::read_dir(folder().with_file_name("ipv6")).unwrap();
    let there =
        there.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "dat"));
    assert_eq!(there.count(), IPV6.len());
    // REGISTER is not served, but what it says was read.
    let host_and_port = |name: &str| {
        let message = ipv6(name);
        let uri = message.uri().unwrap();
        (uri.host.to_owned(), uri.port)
    };
    assert_eq!(host_and_port("ipv6-good"), ("[2001:db8::10]".to_owned(), None));
    assert_eq!(host_and_port("port-ambiguous"), ("[2001:db8::10:5070]".to_owned(), None));
    assert_eq!(host_and_port("port-unambiguous"), ("[2001:db8::10]".to_owned(), Some(5070)));
    let registrar = Capabilities { methods: &["REGISTER"], ..Capabilities::default() };
    assert!(check(&ipv6("ipv6-good"), &registrar).is_ok());
    let Err(Problem::Answer(answer)) = check(&ipv6("ipv6-bad"), &registrar) else { panic!("it passes") };
    assert_eq!(answer.status, 400);
    let received = |name: &str| ipv6(name).via().unwrap().params.get("received").unwrap().into_owned();
    assert_eq!(received("via-received-param-with-delim"), "[2001:db8::9:255]");
    assert_eq!(received("via-received-param-no-delim"), "2001:db8::9:255");
    let message = ipv6("mult-ip-in-header");
    let hosts: Vec<_> = message.headers(HeaderName::Via).map(|via| Via::parse(via).unwrap().host).collect();
    assert_eq!(hosts, ["[2001:db8::9:1]", "192.0.2.1", "[2001:db8::9:255]"]);
    assert_eq!(ipv6("ipv4-mapped-ipv6").via().unwrap().port, Some(19823));
    // One colon too many is borne with there and nowhere else.
    let host = |text: &'static str| Uri::parse(text).map(|uri| uri.host);
    assert_eq!(host("sip:[2001:db8:::192.0.2.1]"), Ok("[2001:db8:::192.0.2.1]"));
    for wrong in [
        "sip:[2001:db8:::10]",
        "sip:[2001:db8::::192.0.2.1]",
        "sip:[1::2:::192.0.2.1]",
        "sip:[:::]",
        "sip:[::1%eth0]",
        "sip:[]",
        "sip:[::1",
    ] {
        assert!(host(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn answers_say_what_would_have_been_right() {
    let header = |name: &str| match check(&parsed(name), &Capabilities::default()) {
        Err(Problem::Answer(answer)) => answer.header.unwrap(),
        other => panic!("{name}: {other:?}"),
    };
    let unsupported =
        "nothingSupportsThis, nothingSupportsThisEither, noProxiesSupportThis, norDoAnyProxiesSupportThis";
    assert_eq!(header("bext01"), (HeaderName::Unsupported, unsupported.to_owned()));
    assert_eq!(header("invut").0, HeaderName::Accept);
    assert_eq!(header("intmeth").0, HeaderName::Allow);
    assert_eq!(header("regaut01").0, HeaderName::Allow);
}

/// On a stream, split at every byte: what comes out and whether the stream survives.
#[test]
fn streams_are_cut_the_same_wherever_they_are_split() {
    for (name, _) in EXPECTED {
        let bytes = read(name);
        let whole = frames(std::slice::from_ref(&bytes));
        for at in 0..bytes.len() {
            assert_eq!(frames(&[bytes.slice(..at), bytes.slice(at..)]), whole, "{name} split at {at}");
        }
        let single: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        assert_eq!(frames(&single), whole, "{name} byte by byte");
    }
}

#[test]
fn streams_break_where_the_length_is_in_doubt() {
    let fault = |name: &str| frames(&[read(name)]).1;
    assert_eq!(fault("ncl"), Some(Fault::LengthMalformed));
    assert_eq!(fault("mcl01"), Some(Fault::LengthRepeated));
    assert_eq!(fault("inv2543"), Some(Fault::LengthMissing));
    assert_eq!(frames(&[read("clerr")]), (vec![], None), "waits for the rest");
    assert_eq!(frames(&[read("baddn")]), (vec![], None), "waits for the blank line");
    let (double, fault) = frames(&[read("dblreq")]);
    let kinds: Vec<bool> = double.iter().map(|frame| matches!(frame, Frame::Message(_))).collect();
    assert_eq!(kinds, [true, false, true], "the second message starts where the first ends");
    assert_eq!(fault, Some(Fault::LengthMissing), "its body is five bytes longer than it says");
}

/// What cannot be used can still be answered, in one message that holds the Vias as they came.
#[test]
fn every_answer_is_one_whole_message() {
    let mut answered = 0;
    for (name, _) in EXPECTED {
        let request = parsed(name);
        let Err(Problem::Answer(refusal)) = check(&request, &Capabilities::default()) else { continue };
        let answer = Builder::refusal(&request, &refusal, Some("tag")).unwrap().finish();
        let (frames, fault) = frames(std::slice::from_ref(&answer));
        assert_eq!((frames, fault), (vec![Frame::Message(answer.clone())], None), "{name}");
        let answer = Message::parse(answer).unwrap();
        assert_eq!((answer.status(), answer.flaw()), (Some(refusal.status), None), "{name}");
        assert!(answer.lines(HeaderName::Via).eq(request.lines(HeaderName::Via)), "{name}");
        answered += 1;
    }
    assert_eq!(answered, EXPECTED.iter().filter(|(_, status)| *status > DROP).count());
}

/// The same for a stream that breaks: its head is enough to answer with.
#[test]
fn the_head_of_a_broken_stream_is_enough_to_answer() {
    for name in ["ncl", "mcl01", "inv2543"] {
        let mut framer = Framer::new(Limits::default());
        framer.feed(read(name));
        let error = framer.next().unwrap_err();
        let request = Message::parse(error.head.clone().unwrap()).unwrap();
        let answer = Builder::answer(&request, error.status(), "Bad Request", Some("tag")).unwrap().finish();
        let answer = Message::parse(answer).unwrap();
        assert_eq!((answer.status(), answer.flaw()), (Some(400), None), "{name}");
        assert_eq!(answer.header(HeaderName::Via), request.header(HeaderName::Via), "{name}");
    }
}

fn frames(chunks: &[Bytes]) -> (Vec<Frame>, Option<Fault>) {
    let mut framer = Framer::new(Limits::default());
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.feed(chunk.clone());
        loop {
            match framer.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.fault)),
            }
        }
    }
    (frames, None)
}

#[test]
fn a_short_tortuous_invite() {
    let message = parsed("wsinv");
    assert_eq!(message.to().unwrap().tag().as_deref(), Some("1918181833n"));
    let from = message.from().unwrap();
    assert_eq!((&*from.display(), from.uri_text), ("J Rosenberg \\\"", "sip:jdrosen@example.com"));
    assert_eq!(from.tag().as_deref(), Some("98asjd8"));
    assert_eq!(message.max_forwards(), Ok(68));
    assert_eq!(message.call_id(), Ok("wsinv.ndaksdj@192.0.2.1"));
    assert_eq!(message.cseq().unwrap(), CSeq { number: 9, method: b"INVITE" });
    let vias: Vec<Via<'_>> = message.headers(HeaderName::Via).map(|via| Via::parse(via).unwrap()).collect();
    let hops: Vec<_> = vias.iter().map(|via| (via.transport, via.host, via.branch().unwrap())).collect();
    assert_eq!(
        hops,
        [
            ("UDP", "192.0.2.2", "390skdjuw".into()),
            ("TCP", "spindle.example.com", "z9hG4bK9ikj8".into()),
            ("UDP", "192.168.255.111", "z9hG4bK30239".into()),
        ]
    );
    assert_eq!(message.header(HeaderName::Subject), Some(b"".as_slice()));
    let odd: Vec<&[u8]> = message.unknown("unknownheaderwithunusualvalue").collect();
    assert_eq!(odd, [b";;,,;;,;"]);
    let fangled: Vec<&[u8]> = message.unknown("NewFangledHeader").collect();
    assert_eq!(fangled, [b"newfangled value continued newfangled value"]);
    let contact = message.contact().unwrap().unwrap();
    assert_eq!(contact.display(), "Quoted string \"\"");
    let params: Vec<_> = contact.params.iter().collect();
    assert_eq!(params, [("newparam", Some("newvalue")), ("secondparam", None), ("q", Some("0.33"))]);
    assert_eq!(message.body().len(), 150);
}

#[test]
fn a_wide_range_of_valid_characters() {
    let message = parsed("intmeth");
    let method = b"!interesting-Method0123456789_*+`.%indeed'~";
    assert_eq!(message.method(), Some(method.as_slice()));
    let uri = message.uri().unwrap();
    assert_eq!(uri.user, Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password, Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(uri.host, "example.com");
    assert_eq!(message.to().unwrap().display(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    let from = message.from().unwrap();
    assert_eq!(from.display(), "token1~` token2'+_ token3*%!.-");
    assert_eq!(from.params.get("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    assert_eq!(from.tag().as_deref(), Some("_token~1'+`*%!-."));
    assert_eq!(message.call_id(), Ok("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(message.cseq().unwrap().method, method);
}

#[test]
fn escapes_are_kept_as_written() {
    let message = parsed("esc01");
    assert_eq!(message.uri().unwrap().user, Some("sips%3Auser%40example.com"));
    let contact = message.contact().unwrap().unwrap();
    assert_eq!(contact.uri.param("n%61me"), Some("v%61lue%25%34%31"));
    assert_eq!(parsed("esc02").headers(HeaderName::Contact).count(), 2);
    assert_eq!(parsed("esc02").to().unwrap().display(), "%Z%45");
    assert_eq!(parsed("lwsdisp").from().unwrap().display(), "caller");
    assert_eq!(parsed("semiuri").uri().unwrap().user, Some("user;par=u%40example.net"));
    assert_eq!(parsed("longreq").headers(HeaderName::Via).count(), 34);
    assert_eq!(parsed("transports").headers(HeaderName::Via).count(), 5);
    assert_eq!(parsed("mpart01").body().len(), 553);
    assert_eq!(parsed("dblreq").body().len(), 0);
    assert_eq!(parsed("noreason").start(), Start::Status { code: 100, reason: b"" });
    assert_eq!(parsed("unksm2").to().unwrap().uri.scheme, Scheme::Other);
    let register = parsed("cparam01");
    let contact = register.contact().unwrap().unwrap();
    assert_eq!((contact.params.as_str(), contact.uri.params), (";unknownparam", ""));
    let register = parsed("cparam02");
    let contact = register.contact().unwrap().unwrap();
    assert_eq!((contact.params.as_str(), contact.uri.params), ("", ";unknownparam"));
    let register = parsed("regescrt");
    assert_eq!(register.contact().unwrap().unwrap().uri.headers, Some("Route=%3Csip:sip.example.com%3E"));
    let answer = parsed("unreason");
    let Start::Status { code: 200, reason } = answer.start() else { panic!("not a 200") };
    assert!(std::str::from_utf8(reason).unwrap().starts_with("= 2**3 * 5**2 но"));
}
