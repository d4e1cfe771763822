//! One SIP message as spans over the bytes it came in.
//!
//! Invariant: a value handed out never holds a line end, for folded lines are unfolded when the message is read, and no
//! value is ever merged with another: a header that may stand once and stands twice makes the message malformed. Nothing is
//! repaired. A malformed message can still be read, so that a request can be answered with 400; only [`check()`] says
//! whether it may be used.

mod check;
mod lexer;
mod name;
mod uri;
mod values;

use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memchr2};

pub use check::{Answer, Capabilities, Problem, check};
pub use lexer::{Malformed, Params};
pub use name::HeaderName;
pub use uri::{Scheme, Uri};
pub use values::{CSeq, MediaType, NameAddr, Via, Word};

use lexer::Items;
pub(crate) use lexer::{has_naked_control, is_token, trim};

/// The first line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request.
    Request {
        /// The method, case kept: `Invite` is not `INVITE` (RFC 3261 §7.1).
        method: &'a [u8],
        /// The Request-URI as it was written.
        uri: &'a [u8],
    },
    /// A response.
    Status {
        /// The status code; 0 if it is not three digits from 100 to 699.
        code: u16,
        /// The reason phrase, which may be empty.
        reason: &'a [u8],
    },
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, if turnout knows it.
    pub name: HeaderName,
    /// Its name as it was written.
    pub label: &'a [u8],
    /// Its value: byte for byte, but without white space around it and with a fold as one space (RFC 3261 §7.3.1).
    pub value: &'a [u8],
}

/// Bytes that are no SIP message at all; nobody could be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSip;

impl std::fmt::Display for NotSip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the bytes start neither with a method nor with a SIP version")
    }
}

impl std::error::Error for NotSip {}

/// A message. Its getters read values anew at each call and borrow from it.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Bytes,
    /// Values of folded lines, unfolded.
    unfolded: Vec<u8>,
    start: Line,
    headers: Vec<Header>,
    body: Range<usize>,
    version_known: bool,
    flaw: Option<Malformed>,
    /// A bit for each name in `headers` that may stand once.
    seen: u128,
}

#[derive(Debug, Clone)]
enum Line {
    Request { method: Range<usize>, uri: Range<usize> },
    Status { code: u16, reason: Range<usize> },
}

#[derive(Debug, Clone)]
struct Header {
    name: HeaderName,
    label: Range<usize>,
    value: Range<usize>,
    is_unfolded: bool,
}

impl Message {
    /// Reads a message that was cut by [`crate::frame::Framer`], or a datagram: there the body is as long as
    /// `Content-Length` says, what follows is ignored, and without one it is the rest (RFC 3261 §18.3).
    ///
    /// # Errors
    /// The first line can be neither a request nor a response.
    pub fn parse(bytes: Bytes) -> Result<Self, NotSip> {
        let mut at = 0;
        while bytes.get(at..at + 2) == Some(b"\r\n") {
            at += 2;
        }
        let line = next_line(&bytes, at);
        let mut message = Self {
            start: Line::Request { method: 0..0, uri: 0..0 },
            unfolded: Vec::new(),
            headers: Vec::with_capacity(24),
            body: line.next..line.next,
            version_known: true,
            flaw: None,
            seen: 0,
            bytes,
        };
        if line.is_bare {
            message.flawed("a line ends in a bare CR or LF");
        }
        message.read_start(line.start..line.end)?;
        message.read_headers(line.next);
        message.read_body();
        Ok(message)
    }

    /// The first line.
    pub fn start(&self) -> Start<'_> {
        match &self.start {
            Line::Request { method, uri } => {
                Start::Request { method: self.span(method, false), uri: self.span(uri, false) }
            }
            Line::Status { code, reason } => Start::Status { code: *code, reason: self.span(reason, false) },
        }
    }

    /// The method of a request; `None` for a response.
    pub fn method(&self) -> Option<&[u8]> {
        match self.start() {
            Start::Request { method, .. } => Some(method),
            Start::Status { .. } => None,
        }
    }

    /// The status code of a response; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.start() {
            Start::Request { .. } => None,
            Start::Status { code, .. } => Some(code),
        }
    }

    /// The whole message as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The body; shares the memory of the message.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body.clone())
    }

    /// Every header field in the order of the message.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.headers.iter().map(|header| Field {
            name: header.name,
            label: self.span(&header.label, false),
            value: self.span(&header.value, header.is_unfolded),
        })
    }

    /// Header lines of this name, each as it was written, commas and all: what is echoed (Via, Record-Route).
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let found = self.headers.iter().filter(move |header| header.name == name);
        found.map(|header| self.span(&header.value, header.is_unfolded))
    }

    /// Values of this name, in order, comma lists taken apart, each byte for byte as written.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines(name).flat_map(move |line| Items::new(line, name.is_list()))
    }

    /// The first value of this name.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// Values of a header that has no [`HeaderName`] of its own, by its name in any case.
    pub fn unknown<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |field: &Field<'_>| field.label.eq_ignore_ascii_case(label.as_bytes());
        self.fields().filter(same).map(|field| field.value)
    }

    /// Whether an option tag stands in this list header, case aside: `Supported: timer`.
    pub fn lists(&self, name: HeaderName, tag: &str) -> bool {
        self.headers(name).any(|value| value.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// What makes the message unreadable in places, if anything: a start line, a header line, a length.
    pub fn flaw(&self) -> Option<Malformed> {
        self.flaw
    }

    /// Whether the first line says SIP/2.0.
    pub fn is_version_known(&self) -> bool {
        self.version_known
    }

    fn flawed(&mut self, what: &'static str) {
        self.flaw.get_or_insert(Malformed(what));
    }

    fn span(&self, range: &Range<usize>, unfolded: bool) -> &[u8] {
        let bytes: &[u8] = if unfolded { &self.unfolded } else { &self.bytes };
        bytes.get(range.clone()).unwrap_or_default()
    }

    /// `Method SP Request-URI SP SIP-Version` or `SIP-Version SP Status-Code SP Reason-Phrase` (RFC 3261 §7.1, §7.2).
    fn read_start(&mut self, line: Range<usize>) -> Result<(), NotSip> {
        let bytes = self.bytes.clone();
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
            self.start = Line::Status { code, reason: reason.min(line.end)..line.end };
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
        self.start =
            Line::Request { method: line.start..line.start + first, uri: uri_start..uri_start + uri };
        Ok(())
    }

    fn read_version(&mut self, version: &[u8]) {
        self.version_known = version.eq_ignore_ascii_case(b"SIP/2.0");
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

    fn read_headers(&mut self, mut at: usize) {
        let bytes = self.bytes.clone();
        loop {
            let line = next_line(&bytes, at);
            if line.is_bare {
                self.flawed("a line ends in a bare CR or LF");
                self.body = bytes.len()..bytes.len();
                return;
            }
            if line.start == line.end {
                if line.is_open {
                    self.flawed("no blank line ends the headers");
                }
                self.body = line.next..bytes.len();
                return;
            }
            let (mut end, mut next, mut folded) = (line.end, line.next, false);
            while matches!(bytes.get(next), Some(b' ' | b'\t')) {
                let more = next_line(&bytes, next);
                if more.is_bare {
                    break;
                }
                (end, next, folded) = (more.end, more.next, true);
            }
            self.read_header(&bytes, line.start..end, folded);
            at = next;
        }
    }

    fn read_header(&mut self, bytes: &Bytes, field: Range<usize>, folded: bool) {
        let text = &bytes[field.clone()];
        let Some(colon) = memchr(b':', text) else {
            return self.flawed("a header line has no colon");
        };
        let spaces = text[..colon].iter().rev().take_while(|byte| b" \t".contains(byte)).count();
        let label = &text[..colon - spaces];
        if !is_token(label) {
            return self.flawed("the name of a header is not a token");
        }
        let name = HeaderName::of(label);
        let mark = 1_u128 << name as u32;
        if name.is_single() && self.seen & mark != 0 {
            self.flawed("a header that may stand once stands twice");
        }
        self.seen |= mark;
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
        let label = field.start..field.start + label.len();
        let header = Header { name, label, value, is_unfolded: folded };
        if has_naked_control(self.span(&header.value, folded)) {
            self.flawed("a header value holds a control character");
        }
        self.headers.push(header);
    }

    fn read_body(&mut self) {
        let Some(length) = self.header(HeaderName::ContentLength) else { return };
        let have = self.body.len();
        match values::number_of(length).and_then(|length| usize::try_from(length).ok()) {
            None => self.flawed("the Content-Length is not a plain number"),
            Some(length) if length > have => self.flawed("the body is shorter than its Content-Length"),
            Some(length) => self.body.end = self.body.start + length,
        }
    }
}

/// Values that most code asks for.
impl Message {
    /// The Request-URI.
    ///
    /// # Errors
    /// It is malformed, or this is a response.
    pub fn uri(&self) -> Result<Uri<'_>, Malformed> {
        let Start::Request { uri, .. } = self.start() else {
            return Err(Malformed("a response has no Request-URI"));
        };
        Uri::parse(std::str::from_utf8(uri).map_err(|_| Malformed("the Request-URI is not ASCII"))?)
    }

    /// The topmost Via.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub fn via(&self) -> Result<Via<'_>, Malformed> {
        Via::parse(self.need(HeaderName::Via, "Via is missing")?)
    }

    /// From: who asserts to be speaking.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub fn from(&self) -> Result<NameAddr<'_>, Malformed> {
        NameAddr::parse(self.need(HeaderName::From, "From is missing")?)
    }

    /// To.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub fn to(&self) -> Result<NameAddr<'_>, Malformed> {
        NameAddr::parse(self.need(HeaderName::To, "To is missing")?)
    }

    /// The first Contact; `None` if there is none.
    ///
    /// # Errors
    /// It is malformed.
    pub fn contact(&self) -> Result<Option<NameAddr<'_>>, Malformed> {
        self.header(HeaderName::Contact).map(NameAddr::parse).transpose()
    }

    /// Call-ID, compared byte by byte (RFC 3261 §20.8).
    ///
    /// # Errors
    /// It is missing, or not one or two words around an `@`.
    pub fn call_id(&self) -> Result<&str, Malformed> {
        let value = self.need(HeaderName::CallId, "Call-ID is missing")?;
        let fits = |byte: &u8| lexer::is_token_byte(*byte) || b"()<>:\\\"/[]?{}@".contains(byte);
        let ats = value.iter().filter(|byte| **byte == b'@').count();
        if value.is_empty() || ats > 1 || !value.iter().all(fits) || value[0] == b'@' || value.ends_with(b"@")
        {
            return Err(Malformed("Call-ID is malformed"));
        }
        std::str::from_utf8(value).map_err(|_| Malformed("Call-ID is malformed"))
    }

    /// CSeq.
    ///
    /// # Errors
    /// It is missing or malformed.
    pub fn cseq(&self) -> Result<CSeq<'_>, Malformed> {
        CSeq::parse(self.need(HeaderName::CSeq, "CSeq is missing")?)
    }

    /// Hops this request may still take; 70 where it does not say (RFC 3261 §16.3).
    ///
    /// # Errors
    /// It is not a number from 0 to 255.
    pub fn max_forwards(&self) -> Result<u8, Malformed> {
        let Some(value) = self.header(HeaderName::MaxForwards) else { return Ok(MAX_FORWARDS) };
        let hops = values::number_of(value).and_then(|hops| u8::try_from(hops).ok());
        hops.ok_or(Malformed("Max-Forwards is not a number from 0 to 255"))
    }

    /// Content-Type; `None` if there is none.
    ///
    /// # Errors
    /// It is malformed.
    pub fn content_type(&self) -> Result<Option<MediaType<'_>>, Malformed> {
        self.header(HeaderName::ContentType).map(MediaType::parse).transpose()
    }

    /// The code of `ms-diagnostics`, or of `ms-diagnostics-public`, which is what a server shows to outsiders.
    pub fn diagnostics(&self) -> Option<u32> {
        [HeaderName::MsDiagnostics, HeaderName::MsDiagnosticsPublic].into_iter().find_map(|name| {
            let value = self.header(name)?;
            let code = &value[..memchr(b';', value).unwrap_or(value.len())];
            values::number_of(code.trim_ascii())
        })
    }

    /// The code of the first Warning (RFC 3261 §20.43).
    pub fn warning(&self) -> Option<u16> {
        let value = self.header(HeaderName::Warning)?;
        let code = &value[..memchr(b' ', value)?];
        values::number_of(code).and_then(|code| u16::try_from(code).ok()).filter(|_| code.len() == 3)
    }

    fn need(&self, name: HeaderName, missing: &'static str) -> Result<&[u8], Malformed> {
        self.header(name).ok_or(Malformed(missing))
    }
}

/// What an absent Max-Forwards stands for.
const MAX_FORWARDS: u8 = 70;

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

#[cfg(test)]
mod tests;
#[cfg(test)]
mod torture;
