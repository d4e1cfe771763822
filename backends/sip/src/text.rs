//! The bodies of SIP messages, read down to plain text (SM-07). Invariant: linear in the bytes, bounded in depth and parts, and
//! never a guess: what cannot be read is refused with 415 so that the sender's client says so.

mod html;
mod multipart;
mod xhtml;

use std::borrow::Cow;
use turnout_core::limits::MULTIPART_DEPTH_MAX as DEPTH_MAX;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::parse::MediaType;

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// Text for a person.
    Text(Cow<'a, str>),
    /// A document about typing or delivery where nobody reads it: taken, and that is all.
    Signal,
    /// An invitation to a file transfer or another application, which is declined.
    Invitation,
    /// Nothing we can read: 415.
    Unsupported,
    /// Of a type we read, and broken: 400.
    Broken(&'static str),
}

/// Reads a body by its media type and transfer encoding.
pub(crate) fn read<'a>(kind: Option<&MediaType<'_>>, encoding: Option<&[u8]>, body: &'a [u8]) -> Content<'a> {
    Reader::default().read(kind, encoding, body, 0)
}

/// As [`read`]; also the text as XHTML-IM (XEP-0071) where it was sent as HTML, whole, to be put into a message.
pub(crate) fn read_rich<'a>(
    kind: Option<&MediaType<'_>>,
    encoding: Option<&[u8]>,
    body: &'a [u8],
) -> (Content<'a>, Option<String>) {
    let mut reader = Reader { wants_html: true, html: None };
    let content = reader.read(kind, encoding, body, 0);
    let html = reader.html.filter(|_| matches!(content, Content::Text(_)));
    (content, html)
}

/// Reads a body that is plain text in UTF-8 and not encoded.
pub(crate) fn plain(body: &[u8]) -> Content<'_> {
    match characters(None, body) {
        Ok(text) => Content::Text(text),
        Err(content) => content,
    }
}

/// Whether bodies of this type are what [`plain`] reads.
pub(crate) fn is_plain(kind: &MediaType<'_>) -> bool {
    kind.is("text/plain") && kind.params.get("charset").is_none_or(|charset| is_utf8(&charset))
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|utf8| charset.eq_ignore_ascii_case(utf8))
}

/// Reads a body and, where it is wanted, what it is as HTML.
#[derive(Debug, Default)]
struct Reader {
    wants_html: bool,
    /// The first HTML met, made harmless.
    html: Option<String>,
}

impl Reader {
    fn read<'a>(
        &mut self,
        kind: Option<&MediaType<'_>>,
        encoding: Option<&[u8]>,
        body: &'a [u8],
        depth: usize,
    ) -> Content<'a> {
        let Some(kind) = kind else {
            // RFC 3261 §20.15: a body must have a type; nothing at all is an empty text.
            return if body.is_empty() { Content::Text(Cow::Borrowed("")) } else { Content::Unsupported };
        };
        if kind.is("text/plain") || kind.is("text/html") {
            return self.text(kind, encoding, body);
        }
        // The parts of multipart/mixed all count, and what is not text among them would be lost: 415.
        if kind.is("multipart/alternative") || kind.is("multipart/related") {
            return match kind.params.get("boundary") {
                Some(_) if kind.params.is_repeated("boundary") => {
                    Content::Broken("a multipart body has two boundaries")
                }
                Some(boundary) if depth < DEPTH_MAX => self.alternative(&boundary, body, depth),
                Some(_) => Content::Unsupported,
                None => Content::Broken("a multipart body has no boundary"),
            };
        }
        if kind.is("application/im-iscomposing+xml")
            || kind.is("application/ms-imdn+xml")
            || kind.is("message/imdn+xml")
        {
            return Content::Signal;
        }
        if kind.is("text/x-msmsgsinvite") {
            return Content::Invitation;
        }
        Content::Unsupported
    }

    fn text<'a>(&mut self, kind: &MediaType<'_>, encoding: Option<&[u8]>, body: &'a [u8]) -> Content<'a> {
        let decoded = match transfer(encoding, body) {
            Ok(decoded) => decoded,
            Err(content) => return content,
        };
        let charset = kind.params.get("charset");
        let text = match decoded {
            Cow::Borrowed(decoded) => characters(charset.as_deref(), decoded),
            Cow::Owned(decoded) => {
                characters(charset.as_deref(), &decoded).map(|text| text.into_owned().into())
            }
        };
        match text {
            Ok(text) if kind.is("text/html") => {
                if self.wants_html && self.html.is_none() {
                    self.html = xhtml::sanitise(&text);
                }
                Content::Text(html::strip(&text).into())
            }
            Ok(text) => Content::Text(text),
            Err(content) => content,
        }
    }

    /// The part that is plain text, else the first that can be read as text.
    fn alternative<'a>(&mut self, boundary: &str, body: &'a [u8], depth: usize) -> Content<'a> {
        let parts = match multipart::parts(boundary, body) {
            Ok(parts) => parts,
            Err(what) => return Content::Broken(what),
        };
        let (mut first, mut second) = (None, None);
        for part in &parts {
            // RFC 2046 §5.1: a part without a type is text/plain.
            let kind = MediaType::parse(part.kind.as_deref().unwrap_or(b"text/plain"));
            let (Ok(kind), Some(body)) = (kind, part.body) else { continue };
            let Content::Text(text) = self.read(Some(&kind), part.encoding.as_deref(), body, depth + 1)
            else {
                continue;
            };
            let place = if kind.is("text/plain") { &mut first } else { &mut second };
            place.get_or_insert(text);
            if first.is_some() && !self.wants_html {
                break;
            }
        }
        first.or(second).map_or(Content::Unsupported, Content::Text)
    }
}

/// Undoes a Content-Transfer-Encoding (RFC 2045 §6).
fn transfer<'a>(encoding: Option<&[u8]>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Content<'a>> {
    let Some(encoding) = encoding else { return Ok(body.into()) };
    if [b"7bit".as_slice(), b"8bit", b"binary"].iter().any(|plain| encoding.eq_ignore_ascii_case(plain)) {
        return Ok(body.into());
    }
    if encoding.eq_ignore_ascii_case(b"base64") {
        let packed: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        return STANDARD
            .decode(packed)
            .map(Into::into)
            .map_err(|_| Content::Broken("a body said to be base64 is not"));
    }
    if encoding.eq_ignore_ascii_case(b"quoted-printable") {
        return unquote(body)
            .map(Into::into)
            .ok_or(Content::Broken("a body said to be quoted-printable is not"));
    }
    Err(Content::Unsupported)
}

/// Quoted-printable (RFC 2045 §6.7).
fn unquote(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'=' {
            out.push(first);
            continue;
        }
        match rest {
            [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] => rest = after,
            [] => {}
            [high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                out.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
                rest = after;
            }
            [_] => return None,
        }
    }
    Some(out)
}

/// Text in a charset we know; UTF-8 unless said otherwise (RFC 3428 §5).
fn characters<'a>(charset: Option<&str>, bytes: &'a [u8]) -> Result<Cow<'a, str>, Content<'static>> {
    let charset = charset.unwrap_or("utf-8");
    if is_utf8(charset) {
        return std::str::from_utf8(bytes)
            .map(|text| Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)))
            .map_err(|_| Content::Broken("a text body is not in the charset it names"));
    }
    decoded(charset, bytes).map(Cow::Owned)
}

/// Text in a charset other than UTF-8.
fn decoded(charset: &str, bytes: &[u8]) -> Result<String, Content<'static>> {
    match charset.to_ascii_lowercase().as_str() {
        "iso-8859-1" | "latin1" => Ok(bytes.iter().map(|&byte| char::from(byte)).collect()),
        "iso-8859-15" | "latin9" | "latin-9" => Ok(bytes.iter().map(|&byte| latin_9(byte)).collect()),
        "windows-1252" | "cp1252" => Ok(bytes.iter().map(|&byte| windows_1252(byte)).collect()),
        "utf-16le" => sixteen(bytes, u16::from_le_bytes),
        "utf-16be" => sixteen(bytes, u16::from_be_bytes),
        "utf-16" => match bytes {
            [0xff, 0xfe, rest @ ..] => sixteen(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => sixteen(rest, u16::from_be_bytes),
            // RFC 2781 §4.3: big endian without a mark.
            rest => sixteen(rest, u16::from_be_bytes),
        },
        _ => Err(Content::Unsupported),
    }
}

fn sixteen(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Content<'static>> {
    let broken = Content::Broken("a text body is not in the charset it names");
    let (pairs, []) = bytes.as_chunks::<2>() else { return Err(broken) };
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16(&units).map_err(|_| broken)
}

/// ISO 8859-15: ISO 8859-1 with eight other characters.
fn latin_9(byte: u8) -> char {
    match byte {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        _ => char::from(byte),
    }
}

fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).copied().unwrap_or('\u{fffd}'),
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests;
