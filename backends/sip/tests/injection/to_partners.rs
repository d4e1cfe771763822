//! What a pool says, as partners read it.

use bytes::Bytes;
use proptest::prelude::*;
use turnout_core::backend::Backend;
use turnout_core::home::Dialect;

use crate::readers::{Xml, stanza};
use crate::stage::{Stage, granted};
use crate::support::{Rig, SDP, Setup, invite, within};
use crate::{cases, octets};

/// The fields of a request of the pool.
const FIELDS: [&str; 12] = [
    "{request}",
    "{via}",
    "{from}",
    "{user}",
    "{to}",
    "{call}",
    "{contact}",
    "{agent}",
    "{subject}",
    "{asserted}",
    "{kind}",
    "{reason}",
];

/// What stands in a field when it is not the one tried.
fn harmless(field: &str) -> &'static [u8] {
    match field {
        "{user}" => b"alice",
        "{kind}" => b"UTF-8",
        _ => b"word",
    }
}

const REQUEST: &str = "MESSAGE sip:bob@partner.example;x={request} SIP/2.0\r\n\
    Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK1;x={via}\r\nMax-Forwards: 69\r\n\
    From: \"{from}\" <sip:{user}@contoso.com>;tag=t\r\nTo: \"{to}\" <sip:bob@partner.example>\r\n\
    Call-ID: {call}\r\nCSeq: 1 MESSAGE\r\nContact: <sip:{contact}@contoso.com>\r\nUser-Agent: {agent}\r\nSubject: {subject}\r\n\
    P-Asserted-Identity: \"{asserted}\" <sip:alice@contoso.com>\r\nReason: SIP;cause=200;text=\"{reason}\"\r\n\
    Content-Type: text/plain; charset={kind}\r\n";

/// The request with these values, and this body.
fn request(values: &[(&str, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = REQUEST;
    while let Some(at) = rest.find('{') {
        let end = at + rest[at..].find('}').unwrap() + 1;
        let field = &rest[at..end];
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let value = values.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_slice());
        out.extend_from_slice(value.unwrap_or_else(|| harmless(field)));
        rest = &rest[end..];
    }
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

/// The stanzas that come of bytes of the pool; each is one, from a local user to a partner's.
fn heard(rig: &mut Rig, bytes: Vec<u8>) -> Vec<Xml> {
    let link = rig.accept(0);
    rig.with(0, |now, backend, out| drop(backend.receive(now, link, Bytes::from(bytes), out)));
    arrived(rig)
}

fn arrived(rig: &mut Rig) -> Vec<Xml> {
    let stanzas: Vec<_> = rig.arrivals.drain(..).collect();
    stanzas
        .iter()
        .map(|one| {
            assert_eq!((one.from.domain(), one.to.domain()), ("contoso.com", "partner.example"));
            stanza(&one.bytes)
        })
        .collect()
}

fn setup(dialect: Dialect) -> Rig {
    Rig::new(&Setup { dialect, xhtml_im: true, first_message_in_invite: true, ..Setup::default() })
}

/// As many stanzas as of a harmless value, or fewer, with the same elements and attributes; whole children may be missing.
fn check(expected: &[Xml], found: &[Xml]) -> Result<(), TestCaseError> {
    prop_assert!(!expected.is_empty() && found.len() <= expected.len(), "{:?}", found);
    for (expected, found) in expected.iter().zip(found) {
        let mut rest = expected.shape.iter();
        // In order, none added: what is found is left when some of what is expected is left out.
        let known = found.shape.iter().all(|element| rest.any(|other| other == element));
        prop_assert!(known, "{:?} is not within {:?}", found, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_a_pool_says_adds_no_element(
        fields in proptest::collection::vec((proptest::sample::select(&FIELDS[..]), octets()), 1..4), body in octets()
    ) {
        for dialect in [Dialect::Simple, Dialect::Skype] {
            let expected = heard(&mut setup(dialect), request(&[], b"word"));
            let found = heard(&mut setup(dialect), request(&fields, b"word"));
            check(&expected, &found)?;
            let found = heard(&mut setup(dialect), request(&[], &body));
            check(&expected, &found)?;
            let found = heard(&mut setup(dialect), request(&fields, &body));
            check(&expected, &found)?;
        }
    }

    /// Within a session: the text of the INVITE, what follows, HTML, typing.
    #[test]
    fn what_a_pool_says_in_a_session_adds_no_element(text in octets(), kind in octets()) {
        let expected = session(b"word", b"x");
        let found = session(&text, &kind);
        check(&expected, &found)?;
    }

    /// What a pool says when it refuses is told to nobody: the sender hears what we make of the code.
    #[test]
    fn words_of_a_refusal_are_not_passed_on(reason in octets(), warning in octets()) {
        let expected = refused(b"Busy Here", b"word");
        prop_assert!(expected.is_some());
        let found = refused(&reason, &warning);
        prop_assert!(found.is_none() || found == expected, "{:?}", found);
    }

    /// Presence: the note, and where it stands.
    #[test]
    fn what_a_pool_shows_adds_no_element(note in octets(), id in octets()) {
        let expected = noted(b"word", b"0");
        let found = noted(&note, &id);
        check(&expected, &found)?;
    }
}

/// An INVITE of ours is refused in these words: condition and text for its sender, if it was understood.
fn refused(reason: &[u8], warning: &[u8]) -> Option<(String, String)> {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, "bob@partner.example/phone", "alice@contoso.com", "hi");
    let asked = rig.next(link);
    let answer = crate::support::answer(&asked, 486, "REASON", "Warning: 399 pool \"WARNING\"\r\n", "");
    let mut bytes = Vec::new();
    for (place, value) in [("REASON", reason), ("WARNING", warning)] {
        let text = if bytes.is_empty() { answer.as_bytes() } else { &bytes[..] };
        let at = text.windows(place.len()).position(|window| window == place.as_bytes()).unwrap();
        bytes = [&text[..at], value, &text[at + place.len()..]].concat();
    }
    rig.with(0, |now, backend, out| drop(backend.receive(now, link, Bytes::from(bytes), out)));
    assert!(rig.arrivals.is_empty(), "an answer is no stanza");
    let (_, end) = rig.done.pop_front()?;
    let refusal = end.unwrap_err();
    Some((format!("{:?}", refusal.condition), refusal.text.to_string()))
}

fn session(text: &[u8], kind: &[u8]) -> Vec<Xml> {
    use base64::Engine as _;
    let mut rig = setup(Dialect::Skype);
    let link = rig.accept(0);
    let first = base64::engine::general_purpose::STANDARD.encode(text);
    let extra = format!("ms-text-format: text/plain; charset=UTF-8; ms-body={first}\r\n");
    rig.says(link, &invite("alice", "c", "z9hG4bKx", &extra, SDP));
    rig.pass(std::time::Duration::from_secs(1));
    let mut all = arrived(&mut rig);
    // Another session, whose INVITE says nothing, so that there is a dialog whatever became of that text.
    rig.raw.clear();
    while !rig.is_quiet(link) {
        rig.next(link);
    }
    rig.says(link, &invite("alice", "d", "z9hG4bKy", "", SDP));
    let ok = rig.next(link);
    assert_eq!(ok.status(), Some(200));
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKy1", "", ""));
    for (number, name) in (2..).zip(["text/plain", "text/html"]) {
        let head = within(&ok, "MESSAGE", number, &format!("z9hG4bKm{number}"), "", "");
        let head = head.strip_suffix("Content-Length: 0\r\n\r\n").unwrap();
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend_from_slice(format!("Content-Type: {name}; charset=UTF-8;x=\"").as_bytes());
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(format!("\"\r\nContent-Length: {}\r\n\r\n", text.len()).as_bytes());
        bytes.extend_from_slice(text);
        rig.with(0, |now, backend, out| drop(backend.receive(now, link, Bytes::from(bytes), out)));
        all.extend(arrived(&mut rig));
    }
    all
}

fn noted(note: &[u8], id: &[u8]) -> Vec<Xml> {
    let mut stage = Stage::new();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    let mut document =
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@contoso.com'><tuple id='".to_vec();
    document.extend_from_slice(id);
    document.extend_from_slice(b"'><status><basic>open</basic></status><note>");
    document.extend_from_slice(note);
    document.extend_from_slice(b"</note></tuple></presence>");
    let text = "NOTIFY sip:bob@turnout.contoso.com:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKn1\r\n\
         Max-Forwards: 69\r\n";
    let of = |name| crate::support::header(&subscribe, name);
    use turnout_sip::parse::HeaderName as H;
    let from = of(H::To);
    let from = from.split(";tag=").next().unwrap();
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(
        format!(
            "From: {from};tag=pooltag;epid=b84a59c035\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\n\
             Contact: <sip:alice@contoso.com;opaque=user:epid:hYns;gruu>\r\nEvent: presence\r\nSubscription-State: active;expires=3600\r\n\
             Content-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n",
            of(H::From),
            of(H::CallId),
            document.len()
        )
        .as_bytes(),
    );
    bytes.extend_from_slice(&document);
    let link = stage.link;
    stage.rig.with(0, |now, backend, out| drop(backend.receive(now, link, Bytes::from(bytes), out)));
    arrived(&mut stage.rig)
}

#[test]
fn harmless_words_are_told() {
    for dialect in [Dialect::Simple, Dialect::Skype] {
        let told = heard(&mut setup(dialect), request(&[], b"word"));
        assert_eq!(told.len(), 1);
        assert!(told[0].texts.iter().any(|text| text == "word"), "{told:?}");
    }
    assert!(session(b"word", b"x").len() >= 3);
    assert_eq!(noted(b"word", b"0").len(), 1);
}
