use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HEAD: &str = "MESSAGE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n";

fn framer(chunks: &[&[u8]]) -> Framer {
    let mut framer = Framer::new(Limits::default());
    for chunk in chunks {
        framer.feed(Bytes::copy_from_slice(chunk));
    }
    framer
}

fn drain(framer: &mut Framer) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    loop {
        match framer.next() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

#[test]
fn a_length_is_one_plain_number() {
    let check = |length: &str, expected: Result<usize, Fault>| {
        let head = format!("{HEAD}{length}\r\n\r\n");
        let (frames, error) = drain(&mut framer(&[head.as_bytes(), b"12345"]));
        let got = match (&frames[..], &error) {
            ([Frame::Message(message), ..], _) => Ok(message.len() - head.len()),
            (_, Some(error)) => {
                assert_eq!(error.head.as_deref(), Some(head.as_bytes()), "{length}");
                Err(error.fault)
            }
            other => panic!("{length}: {other:?}"),
        };
        assert_eq!(got, expected, "{length}");
    };
    check("Content-Length: 5", Ok(5));
    check("content-LENGTH:5", Ok(5));
    check("Content-Length : 5", Ok(5));
    check("l:\t005 ", Ok(5));
    check("L \t: 0", Ok(0));
    check("Content-Length:\r\n 4", Ok(4));
    check("X: 1\r\n Content-Length: 9\r\nl: 3", Ok(3));
    check("X: 1", Err(Fault::LengthMissing));
    check("Content-Length\u{b}: 5", Err(Fault::LengthMissing));
    check("Content-Length\u{c}: 5", Err(Fault::LengthMissing));
    check("Content-Length\u{a0}: 5", Err(Fault::LengthMissing));
    check(" Content-Length: 5", Err(Fault::LengthMissing));
    check("Content-Length:", Err(Fault::LengthMalformed));
    check("Content-Length: -5", Err(Fault::LengthMalformed));
    check("Content-Length: +5", Err(Fault::LengthMalformed));
    check("Content-Length: 5;x", Err(Fault::LengthMalformed));
    check("Content-Length: 5, 5", Err(Fault::LengthMalformed));
    check("Content-Length: 5 5", Err(Fault::LengthMalformed));
    check("Content-Length: 5\r\n 5", Err(Fault::LengthMalformed));
    check("Content-Length: 0x5", Err(Fault::LengthMalformed));
    check("Content-Length: 5\u{c}", Err(Fault::LengthMalformed));
    check("Content-Length: five", Err(Fault::LengthMalformed));
    check("Content-Length: 5\r\nl: 5", Err(Fault::LengthRepeated));
    check("Content-Length: 5\r\nContent-Length: 4", Err(Fault::LengthRepeated));
    check("Content-Length: 1048577", Err(Fault::BodyTooLong));
    check("Content-Length: 18446744073709551621", Err(Fault::BodyTooLong));
    check("Content-Length: 99999999999999999999999999999999999999999", Err(Fault::BodyTooLong));
}

#[test]
fn lines_end_in_both_marks() {
    let check = |bytes: &[u8]| {
        let (frames, error) = drain(&mut framer(&[bytes]));
        assert_eq!(
            (frames.len(), error.map(|error| (error.fault, error.head))),
            (0, Some((Fault::BareLineEnd, None)))
        );
    };
    check(b"OPTIONS sip:x SIP/2.0\nl: 0\n\n");
    check(b"OPTIONS sip:x SIP/2.0\r\nl: 0\nVia: x\r\n\r\n");
    check(b"OPTIONS sip:x SIP/2.0\r\nSubject: a\rVia: x\r\nl: 0\r\n\r\n");
    check(b"OPTIONS sip:x SIP/2.0\r\r\n");
    check(b"\n");
    check(b"\rx");
    check(b"\r\n\rx");
}

#[test]
fn keep_alives_are_told_from_padding() {
    let message = format!("{HEAD}l: 2\r\n\r\nhi");
    let check = |input: &[u8], expected: &str| {
        for split in 0..=input.len() {
            let mut framer = framer(&[&input[..split], &input[split..]]);
            let (frames, error) = drain(&mut framer);
            let kinds: String = frames
                .iter()
                .map(|frame| match frame {
                    Frame::Message(bytes) => {
                        assert_eq!(bytes, message.as_bytes());
                        'm'
                    }
                    Frame::Ping => 'p',
                    Frame::Blank => 'b',
                })
                .collect();
            assert_eq!((kinds.as_str(), error), (expected, None));
            assert!(!framer.is_partial(), "a line end alone is no start of a message");
        }
    };
    check(b"\r\n\r\n", "p");
    check(b"\r\n", "");
    check(b"\r\n\r\n\r\n\r\n\r\n\r\n", "ppp");
    check(format!("\r\n\r\n{message}").as_bytes(), "pm");
    check(format!("\r\n{message}").as_bytes(), "bm");
    check(format!("{message}\r\n{message}\r\n\r\n").as_bytes(), "mbmp");
    check(format!("{message}{message}{message}").as_bytes(), "mmm");
}

#[test]
fn limits_hold() {
    let limits = Limits { header_bytes_max: 200, header_count_max: 5, body_bytes_max: 10 };
    let check = |input: &str, expected: Option<Fault>| {
        for chunk in [1, 7, input.len()] {
            let mut framer = Framer::new(limits);
            let mut fault = None;
            for part in input.as_bytes().chunks(chunk) {
                framer.feed(Bytes::copy_from_slice(part));
                fault = fault.or_else(|| drain(&mut framer).1.map(|error| error.fault));
            }
            assert_eq!(fault, expected, "{input}");
        }
    };
    check(&format!("{HEAD}l: 10\r\n\r\n0123456789"), None);
    check(&format!("{HEAD}l: 11\r\n\r\n"), Some(Fault::BodyTooLong));
    check(&format!("{HEAD}{}\r\n", "X:".repeat(100)), Some(Fault::HeadersTooLong));
    check(&"x".repeat(300), Some(Fault::HeadersTooLong));
    check(&format!("{HEAD}{}", "X:\r\n".repeat(5)), Some(Fault::HeadersTooMany));
    check(&format!("{HEAD}{}l:0\r\n\r\n", "X:\r\n y\r\n".repeat(3)), None);
}

#[test]
fn a_broken_stream_stays_broken() {
    let good = format!("{HEAD}l: 0\r\n\r\n");
    let mut framer = framer(&[b"OPTIONS sip:x SIP/2.0\r\n\r\n", good.as_bytes()]);
    let first = framer.next().unwrap_err();
    assert_eq!((first.fault, first.status(), first.head.is_some()), (Fault::LengthMissing, 400, true));
    framer.feed(Bytes::from(good));
    let again = framer.next().unwrap_err();
    assert_eq!((again.fault, again.head), (Fault::LengthMissing, None));
    assert!(!framer.is_partial(), "nothing is kept");
}

#[test]
fn a_message_in_one_chunk_is_not_copied() {
    let message = format!("{HEAD}l: 4\r\n\r\nbody");
    let chunk = Bytes::from(format!("{message}{message}"));
    let mut framer = Framer::new(Limits::default());
    framer.feed(chunk.slice(..message.len() - 2));
    assert_eq!(framer.next(), Ok(None));
    assert!(framer.is_partial());
    framer.feed(chunk.slice(message.len() - 2..));
    assert_eq!(framer.next(), Ok(Some(Frame::Message(chunk.slice(..message.len())))));
    let Ok(Some(Frame::Message(second))) = framer.next() else { panic!("no second message") };
    assert_eq!(second.as_ptr(), chunk[message.len()..].as_ptr(), "the second lies in the chunk it came in");
}

#[test]
fn work_is_linear_however_the_bytes_come() {
    let limits = Limits { header_bytes_max: 4 << 20, header_count_max: 1 << 20, body_bytes_max: 4 << 20 };
    let input = format!("{HEAD}X: {}\r\nl: {}\r\n\r\n{}", ";,".repeat(1 << 19), 1 << 20, "b".repeat(1 << 20));
    let started = clock();
    let mut framer = Framer::new(limits);
    let mut frames = 0;
    for part in input.as_bytes().chunks(16) {
        framer.feed(Bytes::copy_from_slice(part));
        frames += drain(&mut framer).0.len();
    }
    assert_eq!(frames, 1);
    assert!(
        clock() - started < Duration::from_secs(20),
        "a scan from the start for each chunk takes minutes"
    );
}

#[expect(clippy::disallowed_methods, reason = "the test measures its own run time")]
fn clock() -> std::time::Instant {
    std::time::Instant::now()
}

proptest! {
    #[test]
    fn bytes_of_any_kind_never_panic(chunks in proptest::collection::vec("[\\r\\nlA: 0-9\\x00-\\xff]{0,40}", 0..20)) {
        let mut framer = Framer::new(Limits { header_bytes_max: 100, header_count_max: 4, body_bytes_max: 20 });
        for chunk in chunks {
            framer.feed(Bytes::from(chunk));
            let (frames, _) = drain(&mut framer);
            for frame in frames {
                if let Frame::Message(bytes) = frame {
                    prop_assert!(bytes.len() <= 120);
                }
            }
        }
    }

    #[test]
    fn any_split_gives_the_same_messages(bodies in proptest::collection::vec(".{0,60}", 1..6), size in 1_usize..90) {
        let messages: Vec<String> =
            bodies.iter().map(|body| format!("{HEAD}l: {}\r\n\r\n{body}", body.len())).collect();
        let mut framer = Framer::new(Limits::default());
        let mut got = Vec::new();
        for part in messages.concat().into_bytes().chunks(size) {
            framer.feed(Bytes::copy_from_slice(part));
            let (frames, error) = drain(&mut framer);
            prop_assert_eq!(error, None);
            got.extend(frames);
        }
        let expected: Vec<Frame> = messages.into_iter().map(|message| Frame::Message(message.into())).collect();
        prop_assert_eq!(got, expected);
    }
}
