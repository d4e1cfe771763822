//! One SIP message as spans over the bytes it came in.
//!
//! Invariant: a value handed out never holds a line end, for folded lines are unfolded when the message is read, and no
//! value is ever merged with another: a header that may stand once and stands twice makes the message malformed. Nothing is
//! repaired. A malformed message can still be read, so that a request can be answered with 400; only [`check()`] says
//! whether it may be used.

mod check;
mod hops;
mod lexer;
mod marks;
mod name;
mod scan;
mod uri;
mod values;
mod whole;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

pub use check::{Answer, Capabilities, Problem, check};
pub(crate) use check::{Familiar, Vitals, accepts, vet};
pub(crate) use hops::Hops;
pub use lexer::{Malformed, Params};
pub use name::HeaderName;
pub use uri::{Scheme, Uri};
pub(crate) use values::number_of;
pub use values::{CSeq, MediaType, NameAddr, Via, Word};

use lexer::Items;
pub(crate) use lexer::{has_naked_control, is_token, trim};
pub(crate) use scan::Parts;
use scan::{Line, Span};

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

/// A header line for one who writes it again.
#[derive(Debug)]
pub(crate) enum Written<'a> {
    /// The whole line, at this place of the message.
    Line(Range<usize>),
    /// Its value alone.
    Value(&'a [u8]),
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

/// A message. Its getters read values anew at each call and borrow from it; cloning it copies nothing.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Bytes,
    parts: Arc<Parts>,
}

impl Message {
    /// Reads a message that was cut by [`crate::frame::Framer`], or a datagram: there the body is as long as
    /// `Content-Length` says, what follows is ignored, and without one it is the rest (RFC 3261 §18.3).
    ///
    /// # Errors
    /// The first line can be neither a request nor a response.
    pub fn parse(bytes: Bytes) -> Result<Self, NotSip> {
        Self::parse_with(bytes, Arc::default())
    }

    /// As [`Message::parse`], with the memory of a message that is no longer wanted: see [`Message::into_parts`].
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub(crate) fn parse_with(bytes: Bytes, mut parts: Arc<Parts>) -> Result<Self, NotSip> {
        match Arc::get_mut(&mut parts) {
            Some(parts) => parts.read(&bytes)?,
            None => {
                let mut own = Parts::default();
                own.read(&bytes)?;
                parts = Arc::new(own);
            }
        }
        Ok(Self { bytes, parts })
    }

    /// A message whose parts were read already, from these bytes.
    pub(crate) fn of_parts(bytes: Bytes, parts: Arc<Parts>) -> Self {
        Self { bytes, parts }
    }

    /// What [`Message::of_parts`] makes it of; nothing is copied.
    pub(crate) fn to_pieces(&self) -> (Bytes, Arc<Parts>) {
        (self.bytes.clone(), Arc::clone(&self.parts))
    }

    /// The memory of this message for the next; `None` if a clone still needs it, or it is more than is worth keeping.
    pub(crate) fn into_parts(self) -> Option<Arc<Parts>> {
        let mut parts = self.parts;
        Arc::get_mut(&mut parts).is_some_and(|parts| parts.is_small()).then_some(parts)
    }

    /// The first line.
    pub fn start(&self) -> Start<'_> {
        match self.parts.start {
            Line::Request { method, uri } => {
                Start::Request { method: self.span(method, false), uri: self.span(uri, false) }
            }
            Line::Status { code, reason } => Start::Status { code, reason: self.span(reason, false) },
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
        self.bytes.slice(self.parts.body.range())
    }

    /// The body, borrowed.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        self.span(self.parts.body, false)
    }

    /// Every header field in the order of the message.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.parts.headers.iter().map(|header| Field {
            name: header.name,
            label: self.span(header.label, false),
            value: self.span(header.value, header.is_unfolded),
        })
    }

    /// Header lines of this name, each as it was written, commas and all: what is echoed (Via, Record-Route).
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let found = self.parts.named(name).iter().filter(move |header| header.name == name);
        found.map(|header| self.span(header.value, header.is_unfolded))
    }

    /// As [`Message::lines`]; a line that is as we would write it comes with its name and its line end, and its place in the message.
    pub(crate) fn written_lines(&self, name: HeaderName) -> impl Iterator<Item = Written<'_>> {
        let found = self.parts.named(name).iter().filter(move |header| header.name == name);
        let found = found.take(if name.is_single() { 1 } else { usize::MAX });
        found.map(|header| {
            if header.is_usual {
                return Written::Line(header.label.range().start..header.value.range().end + 2);
            }
            Written::Value(self.span(header.value, header.is_unfolded))
        })
    }

    /// Values of this name, in order, comma lists taken apart, each byte for byte as written.
    pub fn headers(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines(name).flat_map(move |line| Items::new(line, name.is_list()))
    }

    /// The first value of this name.
    pub fn header(&self, name: HeaderName) -> Option<&[u8]> {
        let line = self.lines(name).next()?;
        Items::new(line, name.is_list()).next()
    }

    /// Values of a header that has no [`HeaderName`] of its own, by its name in any case.
    pub fn unknown<'a>(&'a self, label: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |field: &Field<'_>| field.label.eq_ignore_ascii_case(label.as_bytes());
        self.fields().filter(same).map(|field| field.value)
    }

    /// Whether there is a header of one of these names.
    pub(crate) fn has_any(&self, names: &[HeaderName]) -> bool {
        names.iter().any(|name| !self.parts.named(*name).is_empty())
    }

    /// The value of the only line of this name; `None` if there is none or more than one.
    pub(crate) fn only_line(&self, name: HeaderName) -> Option<&[u8]> {
        let mut lines = self.lines(name);
        lines.next().filter(|_| lines.next().is_none())
    }

    /// Whether an option tag stands in this list header, case aside: `Supported: timer`.
    pub fn lists(&self, name: HeaderName, tag: &str) -> bool {
        self.headers(name).any(|value| value.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// What makes the message unreadable in places, if anything: a start line, a header line, a length.
    pub fn flaw(&self) -> Option<Malformed> {
        self.parts.flaw
    }

    /// Whether the first line says SIP/2.0.
    pub fn is_version_known(&self) -> bool {
        self.parts.version_known
    }

    fn span(&self, span: Span, unfolded: bool) -> &[u8] {
        let bytes: &[u8] = if unfolded { &self.parts.unfolded } else { &self.bytes };
        bytes.get(span.range()).unwrap_or_default()
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
        let at = memchr(b'@', value).unwrap_or(0);
        let two = at > 0 && memchr(b'@', &value[at + 1..]).is_some();
        let fits = lexer::run(value, lexer::CALL_ID) == value.len();
        if value.is_empty() || two || !fits || value[0] == b'@' || value.ends_with(b"@") {
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
        let hops = number_of(value).and_then(|hops| u8::try_from(hops).ok());
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
            number_of(code.trim_ascii())
        })
    }

    /// The code of the first Warning (RFC 3261 §20.43).
    pub fn warning(&self) -> Option<u16> {
        let value = self.header(HeaderName::Warning)?;
        let code = &value[..memchr(b' ', value)?];
        number_of(code).and_then(|code| u16::try_from(code).ok()).filter(|_| code.len() == 3)
    }

    fn need(&self, name: HeaderName, missing: &'static str) -> Result<&[u8], Malformed> {
        self.header(name).ok_or(Malformed(missing))
    }
}

/// What an absent Max-Forwards stands for.
const MAX_FORWARDS: u8 = 70;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod torture;
