//! Cuts a multipart body (RFC 2046 §5.1). Invariant: each byte is looked at a bounded number of times.

use std::borrow::Cow;
use turnout_core::limits::MULTIPART_BOUNDARY_BYTES_MAX as BOUNDARY_BYTES_MAX;
use turnout_core::limits::MULTIPART_PARTS_MAX as PARTS_MAX;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// `Content-Type`, if given, in one line.
    pub(super) kind: Option<Cow<'a, [u8]>>,
    /// `Content-Transfer-Encoding`, if given, in one line.
    pub(super) encoding: Option<Cow<'a, [u8]>>,
    /// What it holds; `None` where nothing ends its headers, or one that may stand once stands twice: nobody can say what it is.
    pub(super) body: Option<&'a [u8]>,
}

/// The parts, in order. A body without its closing delimiter is taken as far as it goes: nothing is missing that could
/// be told.
///
/// # Errors
/// A boundary of no or too many characters, no part at all, or more parts than anybody sends.
pub(super) fn parts<'a>(boundary: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, &'static str> {
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return Err("the boundary of a multipart body is empty or too long");
    }
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    if !boundary.bytes().all(is_fit) || boundary.ends_with(' ') {
        return Err("the boundary of a multipart body holds what none may hold");
    }
    #[cfg(test)]
    WORK.with(|work| work.set(work.get() + body.len()));
    let mut found = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at < body.len() {
        let end = line(body, at);
        let Some(closing) = delimiter(boundary.as_bytes(), &body[at..end]) else {
            at = end;
            continue;
        };
        if let Some(start) = start {
            if found.len() == PARTS_MAX {
                return Err("a multipart body has too many parts");
            }
            found.push(part(line_end_cut(&body[start..at])));
        }
        if closing {
            return not_empty(found);
        }
        start = Some(end);
        at = end;
    }
    if let Some(start) = start {
        if found.len() == PARTS_MAX {
            return Err("a multipart body has too many parts");
        }
        found.push(part(&body[start..]));
    }
    not_empty(found)
}

fn not_empty(found: Vec<Part<'_>>) -> Result<Vec<Part<'_>>, &'static str> {
    if found.is_empty() { Err("a multipart body has no part") } else { Ok(found) }
}

/// Whether a line is a delimiter, and if so whether the last.
fn delimiter(boundary: &[u8], line: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?.trim_ascii_end();
    match rest {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// The line end before a delimiter belongs to the delimiter.
fn line_end_cut(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn part(bytes: &[u8]) -> Part<'_> {
    let mut found = Part { kind: None, encoding: None, body: None };
    let mut is_clear = true;
    let mut at = 0;
    while at < bytes.len() {
        let end = line(bytes, at);
        let first = bytes[at..end].trim_ascii_end();
        at = end;
        if first.is_empty() {
            found.body = Some(&bytes[at..]).filter(|_| is_clear);
            break;
        }
        // A line that begins with white space goes on with the one before (RFC 5322 §2.2.3).
        let mut whole = Cow::Borrowed(first);
        while at < bytes.len() && matches!(bytes[at], b' ' | b'\t') {
            let end = line(bytes, at);
            let more = bytes[at..end].trim_ascii();
            if more.is_empty() {
                break;
            }
            whole.to_mut().push(b' ');
            whole.to_mut().extend_from_slice(more);
            at = end;
        }
        is_clear &= header(&mut found, whole);
    }
    found
}

/// The end of the line that begins at `at`.
fn line(bytes: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found + 1)
}

/// Notes a header of a part; false where it stands twice.
fn header<'a>(part: &mut Part<'a>, line: Cow<'a, [u8]>) -> bool {
    let Some(colon) = memchr::memchr(b':', &line) else { return true };
    let name = line[..colon].trim_ascii();
    let place = if name.eq_ignore_ascii_case(b"Content-Type") {
        &mut part.kind
    } else if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
        &mut part.encoding
    } else {
        return true;
    };
    let value = match line {
        Cow::Borrowed(line) => Cow::Borrowed(line[colon + 1..].trim_ascii()),
        Cow::Owned(line) => Cow::Owned(line[colon + 1..].trim_ascii().to_vec()),
    };
    place.replace(value).is_none()
}

#[cfg(test)]
thread_local! {
    /// Octets that were cut so far.
    pub(super) static WORK: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
