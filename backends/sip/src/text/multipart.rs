//! Cuts a multipart body (RFC 2046 §5.1). Invariant: each byte is looked at a bounded number of times.

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// `Content-Type`, if given.
    pub(super) kind: Option<&'a [u8]>,
    /// `Content-Transfer-Encoding`, if given.
    pub(super) encoding: Option<&'a [u8]>,
    /// What it holds.
    pub(super) body: &'a [u8],
}

/// Parts a body may have.
const PARTS_MAX: usize = 16;

/// Longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The parts, in order. A body without its closing delimiter is taken as far as it goes: nothing is missing that could
/// be told.
///
/// # Errors
/// A boundary of no or too many characters, no part at all, or more parts than anybody sends.
pub(super) fn parts<'a>(boundary: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, &'static str> {
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return Err("the boundary of a multipart body is empty or too long");
    }
    let mut found = Vec::new();
    let mut start = None;
    let mut at = 0;
    while at < body.len() {
        let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |found| at + found + 1);
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
    if let Some(start) = start
        && found.len() < PARTS_MAX
    {
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
    let mut found = Part { kind: None, encoding: None, body: bytes };
    let mut at = 0;
    while at < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found + 1);
        let line = bytes[at..end].trim_ascii_end();
        at = end;
        if line.is_empty() {
            break;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"Content-Type") {
            found.kind = Some(value);
        } else if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            found.encoding = Some(value);
        }
    }
    found.body = &bytes[at..];
    found
}
