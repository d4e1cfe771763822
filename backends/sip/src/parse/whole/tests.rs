//! The walk against the framer and the parser: whatever comes, it says what they say or nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::frame::{Frame, FrameError, Framer, Limits};
use crate::parse::{HeaderName, Message, Parts};
use crate::write::{Builder, push_answer};

const MESSAGE: &str = "MESSAGE sip:juliet@partner.example SIP/2.0\r\n\
    Via: SIP/2.0/TLS 10.0.1.9:5061;branch=z9hG4bK01.77A1;branched=FALSE;ms-internal-info=\"bcDE,f;g=\"\r\n\
    Via: SIP/2.0/TLS 192.0.2.90:49152;branch=z9hG4bK01\r\nMax-Forwards:69\r\nf: <sip:anna@contoso.com>;tag=77aa\r\n\
    To: <sip:juliet@partner.example>;tag=0123\r\nCall-ID: \tx0123 \r\nCSeq: 2 MESSAGE\r\nX-Own : a:b\tc\r\n\
    Contact: <sip:anna@contoso.com>\r\nContent-Length: 5\r\n\r\nhello";

/// What a stream says, message by message, read in full: by the walk where it can, or never.
fn read(stream: &[u8], limits: Limits, by_walk: bool) -> (Vec<Message>, Option<FrameError>, usize) {
    let (mut framer, mut messages, mut walked) = (Framer::new(limits), Vec::new(), 0);
    framer.feed(Bytes::copy_from_slice(stream));
    loop {
        let mut parts = Arc::<Parts>::default();
        let next = match Arc::get_mut(&mut parts) {
            Some(room) if by_walk => framer.next_read(room),
            _ => framer.next().map(|frame| frame.map(|frame| (frame, false))),
        };
        match next {
            Ok(Some((Frame::Message(bytes), true))) => {
                walked += 1;
                messages.push(Message::of_parts(bytes, parts));
            }
            Ok(Some((Frame::Message(bytes), false))) => messages.extend(Message::parse(bytes).ok()),
            Ok(Some(_)) => {}
            Ok(None) => return (messages, None, walked),
            Err(error) => return (messages, Some(error), walked),
        }
    }
}

fn is_same(one: &Message, other: &Message) -> bool {
    let answer = |message: &Message| {
        let mut out = BytesMut::new();
        push_answer(message, 200, "OK", Some("tag"), &mut out);
        out
    };
    one.start() == other.start()
        && one.fields().eq(other.fields())
        && [HeaderName::Via, HeaderName::CSeq, HeaderName::Other]
            .iter()
            .all(|name| one.lines(*name).eq(other.lines(*name)))
        && (one.bytes(), one.body(), one.flaw()) == (other.bytes(), other.body(), other.flaw())
        && one.is_version_known() == other.is_version_known()
        && answer(one) == answer(other)
}

/// Holds both readings of a stream against each other; gives how many messages the walk read.
fn compare(stream: &[u8], limits: Limits) -> usize {
    let (walked, error, count) = read(stream, limits, true);
    let (parsed, expected, _) = read(stream, limits, false);
    let text = String::from_utf8_lossy(stream);
    assert_eq!(error, expected, "{text}");
    assert_eq!(walked.len(), parsed.len(), "{text}");
    assert!(walked.iter().zip(&parsed).all(|(one, other)| is_same(one, other)), "{text}");
    count
}

#[test]
fn usual_messages_are_read_by_the_walk() {
    let usual = MESSAGE.replace("X-Own :", "X-Own:");
    assert_eq!(compare(usual.repeat(3).as_bytes(), Limits::default()), 3);
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nl:0\r\n\r\n";
    assert_eq!(compare(response.as_bytes(), Limits::default()), 1);
}

#[test]
fn what_is_not_plain_is_left_to_others() {
    let usual = MESSAGE.replace("X-Own :", "X-Own:");
    for (from, to) in [
        ("CSeq: 2", "CSeq:\r\n 2"),
        ("CSeq: 2", "CSeq: \u{1}2"),
        ("CSeq: 2", "CSeq: \u{7f}2"),
        ("CSeq: 2", "CSeq 2"),
        ("\r\nX-Own", "\nX-Own"),
        ("\r\nX-Own", "\rX-Own"),
        ("X-Own:", "X-Own :"),
        ("X-Own:", ":"),
        ("X-Own:", "X(Own):"),
        ("X-Own: a", "CSeq: 1 A"),
        ("X-Own: a", "l: 5"),
        ("Length: 5", "Length: five"),
        ("Length: 5", "Length: 6"),
        ("Length: 5", "Length: 99999999999999999999"),
        ("Content-Length", "Content-Long"),
        ("SIP/2.0\r\n", "SIP/3.0\r\n"),
        ("MESSAGE sip:", "MESSAGE  sip:"),
        ("MESSAGE sip:", "MESS AGE sip:"),
    ] {
        let stream = usual.replacen(from, to, 1);
        assert_ne!(stream, usual, "{from}");
        assert_eq!(compare(stream.as_bytes(), Limits::default()), 0, "{from} {to}");
    }
    let head = usual.len() - 5;
    for (limits, walked) in [
        (Limits { header_bytes_max: head, header_count_max: 10, body_bytes_max: 5 }, 1),
        (Limits { header_bytes_max: head - 1, ..Limits::default() }, 0),
        (Limits { header_count_max: 9, ..Limits::default() }, 0),
        (Limits { body_bytes_max: 4, ..Limits::default() }, 0),
    ] {
        assert_eq!(compare(usual.as_bytes(), limits), walked, "{limits:?}");
    }
}

#[test]
fn an_answer_is_what_the_builder_makes() {
    for message in [
        MESSAGE.to_owned(),
        MESSAGE.replace("X-Own :", "X-Own:"),
        MESSAGE.replace("<sip:juliet@partner.example>;tag=0123", "<sip:j@p>"),
    ] {
        for by_walk in [true, false] {
            let (messages, _, _) = read(message.as_bytes(), Limits::default(), by_walk);
            let request = messages.first().expect("a message");
            let tagged = request.to().is_ok_and(|to| to.tag().is_some());
            let mut out = BytesMut::new();
            push_answer(request, 200, "OK", (!tagged).then_some("new"), &mut out);
            let built = Builder::answer(request, 200, "OK", Some("new")).expect("an answer").finish();
            assert_eq!(out.freeze(), built);
        }
    }
}

proptest! {
    /// Octets that matter are put, taken out and changed anywhere.
    #[test]
    fn changed_messages_are_read_alike(changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3, 0..20_usize), 0..4), plain: bool) {
        const OCTETS: &[u8; 20] = b"\r\n: \t,;<>\"\\\0\x7f\x80aL15=/";
        let mut stream = if plain { MESSAGE.replace("X-Own :", "X-Own:") } else { MESSAGE.to_owned() }.repeat(2).into_bytes();
        for (place, kind, octet) in changes {
            let at = place.index(stream.len());
            match kind {
                0 => stream.insert(at, OCTETS[octet]),
                1 => stream[at] = OCTETS[octet],
                _ => drop(stream.remove(at)),
            }
        }
        compare(&stream, Limits::default());
    }
}
