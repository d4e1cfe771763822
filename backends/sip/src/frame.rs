//! Cuts a byte stream into SIP messages.
//!
//! Invariant: the length of a message is decided once, here, by exactly one `Content-Length` of digits only; the parser
//! never sees more or fewer bytes than that. A stream on which the length is in doubt is dead: there is no search for a
//! place to start again (RFC 3261 §18.3), because whatever follows may be the body of the message that was in doubt.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;
use turnout_core::limits;

use crate::parse::Parts;

/// Bounds of one message; the framer holds no more than one incomplete message of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest start line plus headers plus blank line, in bytes.
    pub header_bytes_max: usize,
    /// Most header fields in a message; a folded one counts once.
    pub header_count_max: usize,
    /// Longest body, in bytes.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: limits::SIP_HEADER_BYTES_MAX,
            header_count_max: limits::SIP_HEADERS_MAX,
            body_bytes_max: limits::SIP_BODY_BYTES_MAX,
        }
    }
}

/// What was found on the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message: start line, headers, blank line and exactly as much body as it declared.
    Message(Bytes),
    /// A keep-alive of two line ends between messages; the peer wants one line end back (RFC 5626 §3.5.1).
    Ping,
    /// A lone line end between messages: the answer to a ping, or padding (RFC 3261 §7.5). Nothing to do. It is reported
    /// when the next byte shows that no second line end belongs to it.
    Blank,
}

/// Why a stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A carriage return without line feed, or the reverse, where a line ends (RFC 3261 §7).
    BareLineEnd,
    /// The headers are longer than [`Limits::header_bytes_max`].
    HeadersTooLong,
    /// There are more headers than [`Limits::header_count_max`].
    HeadersTooMany,
    /// The declared body is longer than [`Limits::body_bytes_max`].
    BodyTooLong,
    /// No `Content-Length`, which a stream requires (RFC 3261 §18.3).
    LengthMissing,
    /// A `Content-Length` that is not just digits: a sign, a word, a space, nothing at all.
    LengthMalformed,
    /// More than one `Content-Length`, equal or not.
    LengthRepeated,
}

/// The end of a stream: answer if there is a head, then close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameError {
    /// What is wrong.
    pub fault: Fault,
    /// Start line, headers and blank line of the message, where they are whole, so that an answer can be built from
    /// them; the caller answers a request with [`FrameError::status`] and closes. `None`: close without an answer.
    pub head: Option<Bytes>,
}

impl FrameError {
    /// The status code of the answer, if one can be given: 400, or 413 for a body past the limit.
    pub fn status(&self) -> u16 {
        if self.fault == Fault::BodyTooLong { 413 } else { 400 }
    }
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.fault {
            Fault::BareLineEnd => "a SIP line ends in a bare CR or LF; lines must end in CRLF",
            Fault::HeadersTooLong => "the headers of a SIP message are longer than the limit",
            Fault::HeadersTooMany => "a SIP message has more headers than the limit",
            Fault::BodyTooLong => "the Content-Length of a SIP message is past the limit",
            Fault::LengthMissing => "a SIP message on a stream has no Content-Length",
            Fault::LengthMalformed => "the Content-Length of a SIP message is not a plain number",
            Fault::LengthRepeated => "a SIP message has more than one Content-Length",
        })
    }
}

impl std::error::Error for FrameError {}

/// The framer of one connection. Feed it what was read, then call [`Framer::next`] until it gives `None`.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    /// Start of a message whose end was not in the chunks seen so far; every byte of it has been scanned.
    carry: BytesMut,
    chunk: Bytes,
    queue: VecDeque<Bytes>,
    scan: Scan,
    failed: Option<Fault>,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            carry: BytesMut::new(),
            chunk: Bytes::new(),
            queue: VecDeque::new(),
            scan: Scan::default(),
            failed: None,
        }
    }

    /// From now on other bounds hold, also for a message that has begun.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes that were read. They are not copied unless a message began in an earlier chunk.
    pub fn feed(&mut self, bytes: Bytes) {
        if self.failed.is_none() && !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
    }

    /// The next frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// The stream is broken. The first call that fails carries the head; every later call fails the same way without it.
    #[expect(clippy::should_implement_trait, reason = "an iterator would end for good at the first None")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(fault) = self.failed {
            return Err(FrameError { fault, head: None });
        }
        loop {
            if self.chunk.is_empty() {
                let Some(chunk) = self.queue.pop_front() else { return Ok(None) };
                self.chunk = chunk;
            }
            // While only the headers are missing their end is unknown, so a bounded piece is copied and any surplus
            // given back; a known length copies exactly what is missing.
            let piece = if self.carry.is_empty() {
                0
            } else {
                self.scan.missing(self.carry.len()).min(self.chunk.len())
            };
            self.carry.extend_from_slice(&self.chunk[..piece]);
            let view: &[u8] = if self.carry.is_empty() { &self.chunk } else { &self.carry };
            match self.scan.run(view, &self.limits) {
                Ok(None) if self.carry.is_empty() => {
                    self.carry.extend_from_slice(&self.chunk);
                    self.chunk.clear();
                }
                Ok(None) => self.chunk.advance(piece),
                Ok(Some(cut)) => return Ok(Some(self.take(cut, piece))),
                Err(fault) => return Err(self.fail(fault)),
            }
        }
    }

    /// As [`Framer::next`]. A message that lies whole in what was fed is read in the same walk: `true` says that `parts` hold what
    /// is in it.
    ///
    /// # Errors
    /// As [`Framer::next`].
    pub(crate) fn next_read(&mut self, parts: &mut Parts) -> Result<Option<(Frame, bool)>, FrameError> {
        if self.failed.is_none() && self.carry.is_empty() && !self.scan.started {
            if self.chunk.is_empty() {
                match self.queue.pop_front() {
                    Some(chunk) => self.chunk = chunk,
                    None => return Ok(None),
                }
            }
            if let Some(total) = parts.read_whole(&self.chunk, &self.limits) {
                return Ok(Some((Frame::Message(self.chunk.split_to(total)), true)));
            }
        }
        Ok(self.next()?.map(|frame| (frame, false)))
    }

    /// Whether the start of a message has come and its end has not. A caller that sees this for too long closes
    /// (RFC 4475 §3.1.2.2). A line end that waits for a second one is not the start of a message.
    pub fn is_partial(&self) -> bool {
        self.scan.started
    }

    fn take(&mut self, cut: Cut, piece: usize) -> Frame {
        self.scan = Scan::default();
        let bytes = if self.carry.is_empty() {
            self.chunk.split_to(cut.len())
        } else {
            let surplus = self.carry.len() - cut.len();
            self.chunk.advance(piece.saturating_sub(surplus));
            self.carry.truncate(cut.len());
            self.carry.split().freeze()
        };
        match cut {
            Cut::Message(_) => Frame::Message(bytes),
            Cut::Ping => Frame::Ping,
            Cut::Blank => Frame::Blank,
        }
    }

    fn fail(&mut self, fault: Fault) -> FrameError {
        let view: &[u8] = if self.carry.is_empty() { &self.chunk } else { &self.carry };
        let head = self.scan.head.map(|end| Bytes::copy_from_slice(&view[..end]));
        self.failed = Some(fault);
        self.scan = Scan::default();
        self.carry = BytesMut::new();
        self.chunk = Bytes::new();
        self.queue = VecDeque::new();
        FrameError { fault, head }
    }
}

/// Bytes copied at a time while the end of the headers is not known.
const PIECE_BYTES: usize = 2048;

/// What ends where.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Message(usize),
    Ping,
    Blank,
}

impl Cut {
    fn len(self) -> usize {
        match self {
            Self::Message(total) => total,
            Self::Ping => 4,
            Self::Blank => 2,
        }
    }
}

/// How far one message has been read. Offsets count from the start of the message.
#[derive(Debug, Default)]
struct Scan {
    /// First byte not yet searched for a line end.
    at: usize,
    /// Start of the line being searched.
    line: usize,
    /// The header field that continuation lines would belong to.
    field: Option<(usize, usize)>,
    started: bool,
    count: usize,
    length: Option<u64>,
    /// A fault of the length, kept until the whole head is here to answer with.
    fault: Option<Fault>,
    head: Option<usize>,
    total: Option<usize>,
}

impl Scan {
    fn missing(&self, have: usize) -> usize {
        self.total.map_or(PIECE_BYTES, |total| total.saturating_sub(have))
    }

    fn run(&mut self, view: &[u8], limits: &Limits) -> Result<Option<Cut>, Fault> {
        if !self.started {
            match between(view)? {
                Between::Unsure => return Ok(None),
                Between::Found(cut) => return Ok(Some(cut)),
                Between::Start => self.started = true,
            }
        }
        if self.total.is_none() {
            self.headers(view, limits)?;
        }
        Ok(self.total.filter(|total| *total <= view.len()).map(Cut::Message))
    }

    /// Walks the lines that are here; sets `total` when the blank line is among them.
    fn headers(&mut self, view: &[u8], limits: &Limits) -> Result<(), Fault> {
        while let Some(found) = memchr2(b'\r', b'\n', view.get(self.at..).unwrap_or_default()) {
            let end = self.at + found;
            self.at = end;
            if view[end] == b'\n' {
                return Err(Fault::BareLineEnd);
            }
            match view.get(end + 1) {
                None => break,
                Some(b'\n') => {}
                Some(_) => return Err(Fault::BareLineEnd),
            }
            let start = self.line;
            self.at = end + 2;
            self.line = self.at;
            if self.at > limits.header_bytes_max {
                return Err(Fault::HeadersTooLong);
            }
            self.line_ended(view, start, end, limits)?;
            if start == end {
                return self.finish(limits);
            }
        }
        if view.len() > limits.header_bytes_max {
            return Err(Fault::HeadersTooLong);
        }
        if view.get(self.at) != Some(&b'\r') {
            self.at = view.len();
        }
        Ok(())
    }

    fn line_ended(&mut self, view: &[u8], start: usize, end: usize, limits: &Limits) -> Result<(), Fault> {
        if start == 0 {
            return Ok(());
        }
        let folded = matches!(view.get(start), Some(b' ' | b'\t')) && start != end;
        if let (true, Some((_, field_end))) = (folded, self.field.as_mut()) {
            *field_end = end;
            return Ok(());
        }
        if let Some((field_start, field_end)) = self.field.take() {
            self.length_of(&view[field_start..field_end]);
        }
        if start != end {
            self.field = Some((start, end));
            self.count += 1;
            if self.count > limits.header_count_max {
                return Err(Fault::HeadersTooMany);
            }
        }
        Ok(())
    }

    /// Notes the length if this header field, unfolded or not, is a `Content-Length`.
    fn length_of(&mut self, field: &[u8]) {
        // No other name begins so.
        if !matches!(field.first(), Some(b'C' | b'c' | b'L' | b'l')) {
            return;
        }
        let Some(colon) = memchr::memchr(b':', field) else { return };
        let spaces = field[..colon].iter().rev().take_while(|byte| b" \t".contains(byte)).count();
        let name = &field[..colon - spaces];
        if !name.eq_ignore_ascii_case(b"Content-Length") && !name.eq_ignore_ascii_case(b"l") {
            return;
        }
        if self.length.is_some() || self.fault.is_some() {
            self.fault = Some(Fault::LengthRepeated);
            return;
        }
        match digits(crate::parse::trim(&field[colon + 1..])) {
            Some(length) => self.length = Some(length),
            None => self.fault = Some(Fault::LengthMalformed),
        }
    }

    fn finish(&mut self, limits: &Limits) -> Result<(), Fault> {
        self.head = Some(self.at);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let length = self.length.ok_or(Fault::LengthMissing)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= limits.body_bytes_max);
        self.total = Some(self.at + length.ok_or(Fault::BodyTooLong)?);
        Ok(())
    }
}

/// Reads digits only; a number past 64 bits counts as the largest, which no limit allows.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        value.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

enum Between {
    Unsure,
    Found(Cut),
    Start,
}

/// Looks for keep-alives where a message may start.
fn between(view: &[u8]) -> Result<Between, Fault> {
    match view {
        [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => Ok(Between::Unsure),
        [b'\r', b'\n', b'\r', b'\n', ..] => Ok(Between::Found(Cut::Ping)),
        [b'\r', b'\n', b'\r', ..] => Err(Fault::BareLineEnd),
        [b'\r', b'\n', ..] => Ok(Between::Found(Cut::Blank)),
        [b'\r' | b'\n', ..] => Err(Fault::BareLineEnd),
        _ => Ok(Between::Start),
    }
}

#[cfg(test)]
mod tests;
