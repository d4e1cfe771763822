//! When three readings of a stream agree: see the differences that main.rs lists. Shared with the fuzzer.

use bytes::Bytes;
use sipx_sip::parser::{Limits as TheirLimits, StreamParser};
use turnout_sip::frame::{Frame, FrameError, Framer, Limits};
use turnout_sip::parse::{Capabilities, HeaderName as H, Message, Scheme, Start, check};

/// Bytes of messages, and whether the stream broke.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    pub messages: Vec<Bytes>,
    pub broken: Option<String>,
}

pub fn ours(pieces: &[&[u8]]) -> Cut {
    let mut framer = Framer::new(Limits::default());
    let mut messages = Vec::new();
    for piece in pieces {
        framer.feed(Bytes::copy_from_slice(piece));
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(message))) => messages.push(message),
                Ok(Some(Frame::Ping | Frame::Blank)) => {}
                Ok(None) => break,
                Err(FrameError { fault, .. }) => return Cut { messages, broken: Some(format!("{fault:?}")) },
            }
        }
    }
    Cut { messages, broken: None }
}

fn theirs(pieces: &[&[u8]]) -> Cut {
    let limits =
        TheirLimits { max_header_bytes: 64 * 1024, max_folding_lines: 1000, ..TheirLimits::stream() };
    let mut parser = StreamParser::new(limits);
    let mut messages = Vec::new();
    for piece in pieces {
        // One octet at a time, so that what came before a fault is not lost with it.
        for octet in piece.chunks(1) {
            match parser.push(octet) {
                Ok(more) => messages.extend(more.iter().map(sipx_sip::Message::to_bytes)),
                Err(error) => return Cut { messages, broken: Some(error.to_string()) },
            }
        }
    }
    Cut { messages, broken: None }
}

/// Whether turnout would make something of a message, were every method served.
fn is_used(bytes: &Bytes) -> bool {
    const METHODS: &[&str] = &[
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "MESSAGE",
        "INFO",
        "SUBSCRIBE",
        "NOTIFY",
        "REGISTER",
        "PUBLISH",
        "UPDATE",
        "REFER",
        "PRACK",
    ];
    let able = Capabilities { methods: METHODS, ..Capabilities::default() };
    Message::parse(bytes.clone()).is_ok_and(|message| check(&message, &able).is_ok())
}

/// What sipx says of a message that is used all the same.
fn sipx_is_stricter(said: &str) -> bool {
    SIPX_IS_STRICTER.iter().any(|known| said.contains(known))
}

const SIPX_IS_STRICTER: [&str; 0] = [];

#[track_caller]
pub fn agree(bytes: &[u8]) {
    let (ours, theirs) = (ours(&[bytes]), theirs(&[bytes]));
    let shown = || format!("{}\nours: {ours:?}\ntheirs: {theirs:?}", bytes.escape_ascii());
    for (at, mine) in ours.messages.iter().enumerate() {
        match theirs.messages.get(at) {
            Some(other) => assert_eq!(mine, other, "message {at} of {}", shown()),
            None => {
                let said = theirs.broken.as_deref().unwrap_or("nothing");
                assert!(!is_used(mine) || sipx_is_stricter(said), "message {at} of {}", shown());
                return;
            }
        }
    }
    if theirs.messages.len() > ours.messages.len() {
        let fault = ours.broken.as_deref();
        let listed =
            matches!(fault, Some("LengthRepeated" | "LengthMalformed" | "BareLineEnd" | "HeadersTooMany"));
        assert!(listed, "they take more: {}", shown());
    }
    for mine in &ours.messages {
        same_by_rsip(mine);
    }
}

/// What rsip reads of a message that is used is what we read.
#[track_caller]
fn same_by_rsip(bytes: &Bytes) {
    use rsip::headers::ToTypedHeader;
    use rsip::message::HeadersExt;
    if !is_used(bytes) {
        return;
    }
    let message = Message::parse(bytes.clone()).unwrap();
    let Ok(other) = rsip::SipMessage::try_from(bytes.to_vec()) else { return };
    let shown = bytes.escape_ascii();
    match (&other, message.start()) {
        (rsip::SipMessage::Request(request), Start::Request { method, .. }) => {
            assert_eq!(request.method.to_string().as_bytes(), method, "{shown}");
        }
        (rsip::SipMessage::Response(response), Start::Status { code, .. }) => {
            assert_eq!(u16::from(response.status_code.clone()), code, "{shown}");
        }
        _ => panic!("a request is a response: {shown}"),
    }
    let long = |name: &str| {
        message.fields().filter(|field| field.label.eq_ignore_ascii_case(name.as_bytes())).count()
    };
    if long("call-id") == 1
        && let Ok(id) = other.call_id_header()
    {
        assert_eq!(Ok(rsip::headers::UntypedHeader::value(id).trim()), message.call_id(), "{shown}");
    }
    if long("cseq") == 1
        && let Some(cseq) = other.cseq_header().ok().and_then(|header| header.clone().into_typed().ok())
    {
        assert_eq!(Ok(cseq.seq), message.cseq().map(|cseq| cseq.number), "{shown}");
    }
    if long("from") == 1
        && message.header(H::From).is_some_and(is_simple)
        && let Some(from) = other.from_header().ok().and_then(|header| header.clone().into_typed().ok())
    {
        let mine = message.from().unwrap().uri;
        if mine.scheme != Scheme::Other {
            assert_eq!(from.uri.host().to_string(), mine.host, "{shown}");
            assert_eq!(from.uri.user(), mine.user, "{shown}");
        }
    }
    assert_eq!(other.body(), &message.body().to_vec(), "{shown}");
}

/// A name in tokens and an address in brackets: others rsip reads as something else.
fn is_simple(value: &[u8]) -> bool {
    let at = value.iter().position(|b| *b == b'@').unwrap_or(value.len());
    let (before, behind) = value.split_at(at);
    before.contains(&b'<')
        && before.iter().all(|b| b.is_ascii_alphanumeric() || b"<: ".contains(b))
        && behind.iter().all(|b| b.is_ascii_alphanumeric() || b">;@.=-".contains(b))
}
