//! Finds the lines and header fields of a message, once, and keeps their places. Invariant: each byte of the head is looked at a
//! bounded number of times, and nothing is kept for a field but its name and two spans.

use std::ops::Range;

use memchr::{memchr, memchr2};

use super::lexer::{Malformed, TOKEN, controls, has_naked_control, is_token, run, trim};
use super::name::NAMES;
use super::{HeaderName, NotSip, values};

/// A place in the bytes of a message, or in its unfolded values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A message longer than this is none: spans hold 32 bits.
const MESSAGE_BYTES_MAX: usize = u32::MAX as usize;

pub(super) fn span(range: Range<usize>) -> Span {
    // `Parts::read` refuses what is longer.
    Span { start: range.start as u32, end: range.end.max(range.start) as u32 }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Line {
    Request { method: Span, uri: Span },
    Status { code: u16, reason: Span },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) is_unfolded: bool,
    /// The line is known to be as we would write it: the name in our spelling, a colon, a space, the value, the line end.
    pub(super) is_usual: bool,
    pub(super) label: Span,
    pub(super) value: Span,
}

/// Where everything is in a message.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Values of folded lines, unfolded.
    pub(super) unfolded: Vec<u8>,
    pub(super) start: Line,
    pub(super) headers: Vec<Header>,
    pub(super) body: Span,
    pub(super) version_known: bool,
    pub(super) flaw: Option<Malformed>,
    /// For each name where to begin to look: at its first header, or one before it. With [`AGAIN`] where there are more than one.
    first: [u16; NAMES],
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            unfolded: Vec::new(),
            start: Line::Request { method: Span::default(), uri: Span::default() },
            headers: Vec::with_capacity(24),
            body: Span::default(),
            version_known: true,
            flaw: None,
            first: [NOWHERE; NAMES],
        }
    }
}

/// There is none of this name.
const NOWHERE: u16 = 0x7fff;
/// The last header that is found at once.
const FAR: u16 = NOWHERE - 1;
/// There is more than one of this name.
const AGAIN: u16 = 0x8000;

/// Headers and unfolded bytes a message may have had whose memory is used again.
const SMALL: usize = 512;

impl Parts {
    /// Whether its memory is worth keeping.
    pub(super) fn is_small(&self) -> bool {
        self.headers.capacity() <= SMALL && self.unfolded.capacity() <= SMALL
    }

    /// The headers, from the first of this name on, to the last of them or further; none if there is none.
    pub(super) fn named(&self, name: HeaderName) -> &[Header] {
        let place = self.first.get(name as usize).copied().unwrap_or(NOWHERE);
        let first = usize::from(place & !AGAIN);
        if place < FAR {
            return self.headers.get(first..=first).unwrap_or_default();
        }
        if place == NOWHERE { &[] } else { self.headers.get(first..).unwrap_or_default() }
    }

    /// Forgets what was read.
    pub(super) fn clear(&mut self) {
        self.unfolded.clear();
        self.headers.clear();
        (self.version_known, self.flaw) = (true, None);
        self.first = [NOWHERE; NAMES];
    }

    /// Reads a message.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), NotSip> {
        self.clear();
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(NotSip);
        }
        let mut at = 0;
        while bytes.get(at..at + 2) == Some(b"\r\n") {
            at += 2;
        }
        let line = next_line(bytes, at);
        self.body = span(line.next..line.next);
        if line.is_bare {
            self.flawed("a line ends in a bare CR or LF");
        }
        self.read_start(bytes, line.start..line.end)?;
        self.read_headers(bytes, line.next);
        self.read_body(bytes);
        Ok(())
    }

    fn flawed(&mut self, what: &'static str) {
        self.flaw.get_or_insert(Malformed(what));
    }

    /// `Method SP Request-URI SP SIP-Version` or `SIP-Version SP Status-Code SP Reason-Phrase` (RFC 3261 §7.1, §7.2).
    pub(super) fn read_start(&mut self, bytes: &[u8], line: Range<usize>) -> Result<(), NotSip> {
        let text = &bytes[line.clone()];
        let first = memchr(b' ', text).unwrap_or(text.len());
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
            self.read_version(&text[..first]);
            let code = text.get(first + 1..).unwrap_or_default();
            let end = memchr(b' ', code).unwrap_or(code.len());
            let (code, reason) = (&code[..end], line.start + first + 1 + end + 1);
            let code = values::number_of(code).filter(|_| code.len() == 3).unwrap_or_default();
            let code = u16::try_from(code).ok().filter(|code| (100..700).contains(code)).unwrap_or_default();
            if code == 0 {
                self.flawed("the status code is not three digits from 100 to 699");
            }
            self.start = Line::Status { code, reason: span(reason.min(line.end)..line.end) };
            return Ok(());
        }
        if !is_token(&text[..first]) || first == text.len() {
            return Err(NotSip);
        }
        let rest = &text[first + 1..];
        let uri = memchr(b' ', rest).unwrap_or(rest.len());
        match rest.get(uri + 1..) {
            Some(version) => self.read_version(version),
            None => self.flawed("the request line has no SIP version"),
        }
        let uri_start = line.start + first + 1;
        self.start = Line::Request {
            method: span(line.start..line.start + first),
            uri: span(uri_start..uri_start + uri),
        };
        Ok(())
    }

    fn read_version(&mut self, version: &[u8]) {
        self.version_known = version.eq_ignore_ascii_case(b"SIP/2.0");
        if self.version_known {
            return;
        }
        let numbers = version.get(4..).and_then(|numbers| {
            let dot = memchr(b'.', numbers)?;
            Some((&numbers[..dot], &numbers[dot + 1..]))
        });
        let whole = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        let is_sip = version.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"));
        if !is_sip || !numbers.is_some_and(|(major, minor)| whole(major) && whole(minor)) {
            self.version_known = true;
            self.flawed("the first line does not follow the grammar, to the single space");
        }
    }

    fn read_headers(&mut self, bytes: &[u8], start: usize) {
        let mut at = start;
        // Every line that ends in CR LF holds these two control characters. If the head holds no others, no value does.
        let mut line_ends = 0;
        loop {
            let line = next_line(bytes, at);
            if line.is_bare {
                self.flawed("a line ends in a bare CR or LF");
                self.body = span(bytes.len()..bytes.len());
                break;
            }
            line_ends += 2;
            if line.start == line.end {
                if line.is_open {
                    self.flawed("no blank line ends the headers");
                }
                self.body = span(line.next..bytes.len());
                break;
            }
            let (mut end, mut next, mut folded) = (line.end, line.next, false);
            while matches!(bytes.get(next), Some(b' ' | b'\t')) {
                let more = next_line(bytes, next);
                if more.is_bare {
                    break;
                }
                line_ends += 2;
                (end, next, folded) = (more.end, more.next, true);
            }
            self.read_header(bytes, line.start..end, folded);
            at = next;
        }
        let head = bytes.get(start..self.body.range().start).unwrap_or_default();
        if controls(head) != line_ends {
            self.check_values(bytes);
        }
    }

    /// Looks for control characters that no quoted-pair excuses.
    fn check_values(&mut self, bytes: &[u8]) {
        let naked = self.headers.iter().any(|header| {
            let from: &[u8] = if header.is_unfolded { &self.unfolded } else { bytes };
            from.get(header.value.range()).is_some_and(has_naked_control)
        });
        if naked {
            self.flawed("a header value holds a control character");
        }
    }

    fn read_header(&mut self, bytes: &[u8], field: Range<usize>, folded: bool) {
        let text = &bytes[field.clone()];
        let token = run(text, TOKEN);
        let (label, colon) = if token > 0 && text.get(token) == Some(&b':') {
            (&text[..token], token)
        } else {
            let Some(colon) = memchr(b':', text) else {
                return self.flawed("a header line has no colon");
            };
            let spaces = text[..colon].iter().rev().take_while(|byte| b" \t".contains(byte)).count();
            let label = &text[..colon - spaces];
            if !is_token(label) {
                return self.flawed("the name of a header is not a token");
            }
            (label, colon)
        };
        let name = HeaderName::of(label);
        if !self.mark(name) && name.is_single() {
            self.flawed("a header that may stand once stands twice");
        }
        let raw = &text[colon + 1..];
        let value = if folded {
            let start = self.unfolded.len();
            unfold(raw, &mut self.unfolded);
            start..self.unfolded.len()
        } else {
            let skip = raw.iter().take_while(|byte| b" \t".contains(byte)).count();
            let start = field.start + colon + 1 + skip;
            start..start + trim(raw).len()
        };
        let label = span(field.start..field.start + label.len());
        self.headers.push(Header { name, is_unfolded: folded, is_usual: false, label, value: span(value) });
    }

    /// Notes that the next header has this name; whether it is the first.
    pub(super) fn mark(&mut self, name: HeaderName) -> bool {
        let next = u16::try_from(self.headers.len()).unwrap_or(FAR).min(FAR);
        let Some(place) = self.first.get_mut(name as usize) else { return true };
        let is_first = *place == NOWHERE;
        *place = if is_first { next } else { *place | AGAIN };
        is_first
    }

    fn read_body(&mut self, bytes: &[u8]) {
        let Some(header) = self.named(HeaderName::ContentLength).first().copied() else { return };
        let from: &[u8] = if header.is_unfolded { &self.unfolded } else { bytes };
        let length = from.get(header.value.range()).map(trim).unwrap_or_default();
        match values::number_of(length).and_then(|length| usize::try_from(length).ok()) {
            None => self.flawed("the Content-Length is not a plain number"),
            Some(length) if length > self.body.len() => {
                self.flawed("the body is shorter than its Content-Length")
            }
            Some(length) => self.body = span(self.body.range().start..self.body.range().start + length),
        }
    }
}

/// One line: its text is `start..end`, the next one starts at `next`.
struct LineSpan {
    start: usize,
    end: usize,
    next: usize,
    /// It ends in CR or LF alone.
    is_bare: bool,
    /// The bytes end before the line does.
    is_open: bool,
}

fn next_line(bytes: &[u8], start: usize) -> LineSpan {
    let Some(found) = memchr2(b'\r', b'\n', bytes.get(start..).unwrap_or_default()) else {
        let end = bytes.len();
        return LineSpan { start, end, next: end, is_bare: false, is_open: true };
    };
    let end = start + found;
    let is_bare = bytes.get(end..end + 2) != Some(b"\r\n");
    LineSpan { start, end, next: end + if is_bare { 1 } else { 2 }, is_bare, is_open: false }
}

/// Appends a folded value with each fold, and the white space around it, as one space (RFC 3261 §7.3.1).
fn unfold(raw: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    for part in raw.split(|byte| *byte == b'\n').map(trim) {
        if !part.is_empty() {
            if out.len() > start {
                out.push(b' ');
            }
            out.extend_from_slice(part);
        }
    }
}
