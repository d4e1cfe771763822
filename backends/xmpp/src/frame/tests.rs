//! The framer's tests: each input is fed whole, cut at every byte, and byte by byte, and must always give the same.

mod accepted;
mod elements;
mod fuzz;
mod limits;
mod oracle;
mod refused;
mod runs;
mod shapes;
mod traffic;
mod work;

use super::{Frame, FrameLimits, Framer};
use crate::error::{FrameError, StreamCondition};
use bytes::Bytes;

pub(super) const HEADER: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns:db='jabber:server:dialback' to='contoso.com' from='partner.example' version='1.0'>";

/// Everything a stream gave: its frames, and the error that ended it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) frames: Vec<Frame>,
    pub(super) error: Option<FrameError>,
}

impl Outcome {
    pub(super) fn condition(&self) -> Option<StreamCondition> {
        self.error.as_ref().map(|error| error.condition)
    }

    pub(super) fn elements(&self) -> Vec<&super::Element> {
        let mut elements = Vec::new();
        for frame in &self.frames {
            if let Frame::Element(element) = frame {
                elements.push(element);
            }
        }
        elements
    }
}

/// Takes what the framer has; keepalives in a row count once, because a cut may divide them.
fn drain(framer: &mut Framer, outcome: &mut Outcome) {
    while outcome.error.is_none() {
        match framer.next() {
            Ok(None) => return,
            Ok(Some(Frame::KeepAlive)) if outcome.frames.last() == Some(&Frame::KeepAlive) => {}
            Ok(Some(frame)) => outcome.frames.push(frame),
            Err(error) => outcome.error = Some(error),
        }
    }
}

pub(super) fn feed<'a>(limits: FrameLimits, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut framer = Framer::new(limits);
    let mut outcome = Outcome { frames: Vec::new(), error: None };
    for chunk in chunks {
        framer.feed(Bytes::copy_from_slice(chunk));
        drain(&mut framer, &mut outcome);
    }
    outcome
}

/// What the input gives, however it is cut.
pub(super) fn read_with(limits: FrameLimits, input: &[u8]) -> Outcome {
    let whole = feed(limits, [input]);
    assert_eq!(feed(limits, input.chunks(1)), whole, "byte by byte: {}", input.escape_ascii());
    for at in 0..input.len().min(3000) {
        let (left, right) = input.split_at(at);
        assert_eq!(feed(limits, [left, right]), whole, "cut at {at}: {}", input.escape_ascii());
    }
    whole
}

pub(super) fn read(input: impl AsRef<[u8]>) -> Outcome {
    read_with(FrameLimits::default(), input.as_ref())
}

/// Like `read`, behind a stream header.
pub(super) fn read_inside(inside: impl AsRef<[u8]>) -> Outcome {
    read([HEADER.as_bytes(), inside.as_ref()].concat())
}

/// The input, behind a header, is refused with this condition, and nothing of it came out.
pub(super) fn check_refused(inside: impl AsRef<[u8]>, condition: StreamCondition) {
    let inside = inside.as_ref();
    let outcome = read_inside(inside);
    assert_eq!(outcome.condition(), Some(condition), "{}: {outcome:?}", inside.escape_ascii());
    assert!(outcome.elements().is_empty(), "{}: {outcome:?}", inside.escape_ascii());
    let error = outcome.error.unwrap();
    assert!(error.offset >= HEADER.len() as u64, "{error}");
    assert!(error.offset <= (HEADER.len() + inside.len()) as u64, "{error}");
    assert!(error.text.len() < 300 && error.text.bytes().all(|b| (0x20..0x7F).contains(&b)), "{error}");
}

/// The input, behind a header, is one element and comes out as the bytes it is.
pub(super) fn check_accepted(inside: impl AsRef<[u8]>) -> super::Element {
    let inside = inside.as_ref();
    let outcome = read_inside(inside);
    assert_eq!(outcome.error, None, "{}", inside.escape_ascii());
    let elements = outcome.elements();
    assert_eq!(elements.len(), 1, "{}", inside.escape_ascii());
    let element = elements.first().copied().unwrap().clone();
    assert_eq!(element.bytes(), inside, "{}", inside.escape_ascii());
    element
}
