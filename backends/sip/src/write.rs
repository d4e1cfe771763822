//! Builds SIP messages.
//!
//! Invariant: what leaves here holds exactly the header fields that were asked for. No value can end its line: one that holds a
//! control character is refused, and the functions that make values from free text take such characters out. Every
//! message says its length.

mod text;

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::parse::{
    Answer, HeaderName, Malformed, Message, NameAddr, Scheme, Uri, Written, has_naked_control, is_token,
};

pub use text::{display_name, quoted, reason_phrase, subject};

/// Why a message cannot be built from what was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The method or a header name is not a token.
    NotToken(String),
    /// The value of this header holds a line end or another control character.
    Control(String),
    /// The value of this header holds a byte outside ASCII, which its grammar has no place for.
    NotAscii(String),
    /// An address is malformed.
    Address(Malformed),
    /// A status code outside 100 to 699.
    Status(u16),
    /// `Content-Length` was given as a header; it is written by [`Builder::finish`].
    Length,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotToken(name) => {
                write!(f, "{name:?} is not a token, so it is neither a method nor a header name")
            }
            Self::Control(name) => {
                write!(f, "the value for {name} holds a control character; clean the text first")
            }
            Self::NotAscii(name) => write!(f, "the value for {name} is not ASCII"),
            Self::Address(what) => what.fmt(f),
            Self::Status(code) => write!(f, "{code} is not a SIP status code"),
            Self::Length => f.write_str("Content-Length is written when the message is finished"),
        }
    }
}

impl std::error::Error for WriteError {}

/// A message in the making: the first line, then headers in the order they are added, then the body.
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    out: Vec<u8>,
}

impl Builder {
    /// Starts a request.
    ///
    /// # Errors
    /// The method is not a token, or the Request-URI is malformed, not `sip:` or `sips:`, or holds headers.
    pub fn request(method: &str, uri: &str) -> Result<Self, WriteError> {
        if !is_token(method.as_bytes()) {
            return Err(WriteError::NotToken(method.to_owned()));
        }
        let parsed = Uri::parse(uri).map_err(WriteError::Address)?;
        if parsed.scheme == Scheme::Other || parsed.headers.is_some() {
            return Err(WriteError::Address(Malformed(
                "a Request-URI must be sip or sips and hold no headers",
            )));
        }
        let mut builder = Self { out: Vec::with_capacity(1024) };
        builder.push(&[method.as_bytes(), b" ", uri.as_bytes(), b" SIP/2.0\r\n"]);
        Ok(builder)
    }

    /// Starts a response with these words; they are cleaned and shortened by [`reason_phrase`].
    ///
    /// # Errors
    /// The code is not one from 100 to 699.
    pub fn status(code: u16, reason: &str) -> Result<Self, WriteError> {
        if !(100..700).contains(&code) {
            return Err(WriteError::Status(code));
        }
        let mut builder = Self { out: Vec::with_capacity(1024) };
        builder.push(&[format!("SIP/2.0 {code} ").as_bytes(), reason_phrase(reason).as_bytes(), b"\r\n"]);
        Ok(builder)
    }

    /// Starts the answer to a request (RFC 3261 §8.2.6.2, §12.1.1): all Via, Record-Route, From, To, Call-ID and CSeq as they came,
    /// byte for byte and in order. `to_tag` is added to To where it has no tag; it is left out of a 100.
    ///
    /// A header that holds a naked control character is left out rather than sent back.
    ///
    /// # Errors
    /// The code is not one from 100 to 699, or the tag is not a token.
    pub fn answer(
        request: &Message,
        code: u16,
        reason: &str,
        to_tag: Option<&str>,
    ) -> Result<Self, WriteError> {
        let mut builder = Self::status(code, reason)?;
        let tag = to_tag.filter(|_| code != 100);
        if let Some(tag) = tag.filter(|tag| !is_token(tag.as_bytes())) {
            return Err(WriteError::NotToken(tag.to_owned()));
        }
        for name in ECHOED {
            let single = name.is_single();
            for value in request.lines(name).take(if single { 1 } else { usize::MAX }) {
                if has_naked_control(value) {
                    continue;
                }
                builder.push(&[name.as_str().as_bytes(), b": ", value]);
                let untagged = name == HeaderName::To
                    && NameAddr::parse(value).is_ok_and(|address| address.params.get("tag").is_none());
                if let (true, Some(tag)) = (untagged, tag) {
                    builder.push(&[b";tag=", tag.as_bytes()]);
                }
                builder.push(&[b"\r\n"]);
            }
        }
        Ok(builder)
    }

    /// Starts the answer that [`crate::parse::check()`] asks for, with the header that says what would have been right.
    ///
    /// # Errors
    /// As [`Builder::answer`].
    pub fn refusal(request: &Message, refusal: &Answer, to_tag: Option<&str>) -> Result<Self, WriteError> {
        let builder = Self::answer(request, refusal.status, refusal.reason, to_tag)?;
        match &refusal.header {
            Some((name, value)) => builder.header(*name, value),
            None => Ok(builder),
        }
    }

    /// Adds a header. Its value must be valid as it stands: free text goes through [`subject`] or [`name_addr`] first.
    ///
    /// # Errors
    /// The value holds a control character other than a tab, or a character outside ASCII in a header that has no free text
    /// or name in it, or this is `Content-Length`, or the name is
    /// [`HeaderName::Other`].
    pub fn header(self, name: HeaderName, value: &str) -> Result<Self, WriteError> {
        self.named(name.as_str(), value)
    }

    /// Adds a header by the name it is to be written with.
    ///
    /// # Errors
    /// As [`Builder::header`], or the name is not a token.
    pub fn named(mut self, name: &str, value: &str) -> Result<Self, WriteError> {
        if !is_token(name.as_bytes()) {
            return Err(WriteError::NotToken(name.to_owned()));
        }
        if HeaderName::of(name.as_bytes()) == HeaderName::ContentLength {
            return Err(WriteError::Length);
        }
        if value.chars().any(|char| char.is_control() && char != '\t') {
            return Err(WriteError::Control(name.to_owned()));
        }
        if !value.is_ascii() && !takes_utf8(HeaderName::of(name.as_bytes())) {
            return Err(WriteError::NotAscii(name.to_owned()));
        }
        self.push(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        Ok(self)
    }

    /// Adds values that came in a message, byte for byte: the route set of a dialog, as Route.
    ///
    /// # Errors
    /// A value holds a control character that no quoted-pair excuses, or the name is not fit.
    pub fn raw(mut self, name: HeaderName, values: &[impl AsRef<[u8]>]) -> Result<Self, WriteError> {
        if matches!(name, HeaderName::ContentLength | HeaderName::Other) {
            return Err(WriteError::Length);
        }
        for value in values.iter().map(AsRef::as_ref) {
            if has_naked_control(value) || value.iter().any(|byte| b"\r\n".contains(byte)) {
                return Err(WriteError::Control(name.as_str().to_owned()));
            }
            self.push(&[name.as_str().as_bytes(), b": ", value, b"\r\n"]);
        }
        Ok(self)
    }

    /// Ends the message without a body.
    pub fn finish(mut self) -> Bytes {
        self.push(&[b"Content-Length: 0\r\n\r\n"]);
        self.out.into()
    }

    /// Ends the message with a body.
    ///
    /// # Errors
    /// The media type holds a control character.
    pub fn finish_with(self, content_type: &str, body: &[u8]) -> Result<Bytes, WriteError> {
        let mut builder = self.header(HeaderName::ContentType, content_type)?;
        builder.push(&[format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body]);
        Ok(builder.out.into())
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// What is written so far, to be ended by hand.
    pub(crate) fn into_unfinished(self) -> Vec<u8> {
        self.out
    }

    fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.out.extend_from_slice(part);
        }
    }
}

/// How we name ourselves.
pub(crate) const USER_AGENT: &str = "turnout";

/// The type of the texts we send.
pub(crate) const TEXT_TYPE: &str = "text/plain; charset=UTF-8";

/// Writes a number in decimal digits.
pub(crate) fn push_number(mut number: u64, out: &mut BytesMut) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes the answer to a request as [`Builder::answer`] and [`Builder::finish`] do, without a header of its own and into a buffer
/// that other messages share. `new_tag` is added to To, which must have none then. The request must be without flaw: nothing in it
/// is looked at again.
pub(crate) fn push_answer(
    request: &Message,
    code: u16,
    reason: &str,
    new_tag: Option<&str>,
    out: &mut BytesMut,
) {
    out.reserve(request.bytes().len() + reason.len() + 128);
    out.extend_from_slice(b"SIP/2.0 ");
    push_number(u64::from(code), out);
    out.extend_from_slice(b" ");
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let bytes = &request.bytes()[..];
    // Lines that are as we write them go in one piece with their neighbours.
    let mut piece = 0..0;
    let flush = |piece: &mut Range<usize>, out: &mut BytesMut| {
        out.extend_from_slice(bytes.get(std::mem::take(piece)).unwrap_or_default());
    };
    for name in ECHOED {
        let new_tag = new_tag.filter(|_| name == HeaderName::To);
        for line in request.written_lines(name) {
            match (line, new_tag) {
                (Written::Line(line), None) if line.start == piece.end => piece.end = line.end,
                (Written::Line(line), None) => {
                    flush(&mut piece, out);
                    piece = line;
                }
                (Written::Line(line), Some(tag)) => {
                    flush(&mut piece, out);
                    out.extend_from_slice(bytes.get(line.start..line.end - 2).unwrap_or_default());
                    push_tag(tag, out);
                }
                (Written::Value(value), tag) => {
                    flush(&mut piece, out);
                    out.extend_from_slice(name.as_str().as_bytes());
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(value);
                    match tag {
                        Some(tag) => push_tag(tag, out),
                        None => out.extend_from_slice(b"\r\n"),
                    }
                }
            }
        }
    }
    flush(&mut piece, out);
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Ends a line of To with our tag.
fn push_tag(tag: &str, out: &mut BytesMut) {
    out.extend_from_slice(b";tag=");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What an answer copies, in the order it is written.
const ECHOED: [HeaderName; 6] = [
    HeaderName::Via,
    HeaderName::RecordRoute,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
];

/// Whether the grammar of this header has text or quoted strings, and so UTF-8, in it (RFC 3261 §25.1).
fn takes_utf8(name: HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Contact
            | HeaderName::ErrorInfo
            | HeaderName::From
            | HeaderName::MsDiagnostics
            | HeaderName::MsDiagnosticsPublic
            | HeaderName::Organization
            | HeaderName::Other
            | HeaderName::PAssertedIdentity
            | HeaderName::Reason
            | HeaderName::ReferredBy
            | HeaderName::Server
            | HeaderName::Subject
            | HeaderName::To
            | HeaderName::UserAgent
            | HeaderName::Warning
    )
}

/// The value of From, To or Contact: the name quoted and cleaned, the address in brackets (RFC 3261 §20.10). Parameters are
/// added behind it by the caller.
///
/// # Errors
/// The address is malformed.
pub fn name_addr(display: Option<&str>, uri: &str) -> Result<String, WriteError> {
    Uri::parse(uri).map_err(WriteError::Address)?;
    let display = display.map(display_name).unwrap_or_default();
    Ok(if display.is_empty() { format!("<{uri}>") } else { format!("{display} <{uri}>") })
}

/// The words RFC 3261 §21 and its extensions give a status code.
pub fn usual_reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match code / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            _ => "Error",
        },
    }
}

#[cfg(test)]
mod tests;
