//! Reads messages of the shape nearly all have, without a copy: `<body>` and `<subject>` once at most and without attributes, beside
//! elements that say nothing to SIP. Invariant: for a well-formed stanza this says what the reader of any message says, or nothing: then
//! that one is asked.

use memchr::{memchr, memchr2};
use turnout_core::stanza::Stanza;

use super::{Hints, Spoken, Text};

/// What the message says; `None` if it is not of the plain shape.
pub(super) fn read(stanza: &Stanza) -> Option<Spoken> {
    let bytes = &stanza.bytes[..];
    if stanza.insert.is_some() || !matches!(bytes.strip_prefix(b"<message")?.first()?, b' ' | b'>') {
        return None;
    }
    let root = tag(bytes, 0)?;
    if !has_usual_namespace(&bytes[..root]) {
        return None;
    }
    let mut spoken = Spoken::default();
    let mut at = root;
    if bytes[at - 2] == b'/' {
        return (at == bytes.len()).then_some(spoken);
    }
    loop {
        let rest = bytes.get(at..)?;
        if rest == b"</message>" {
            break;
        }
        if let Some(inner) = rest.strip_prefix(b"<body>") {
            at += b"<body>".len() + field(bytes, at + b"<body>".len(), inner, b"</body>", &mut spoken.body)?;
        } else if let Some(inner) = rest.strip_prefix(b"<subject>") {
            let start = at + b"<subject>".len();
            at = start + field(bytes, start, inner, b"</subject>", &mut spoken.subject)?;
        } else {
            at = skip(bytes, at, &mut spoken.hints)?;
        }
    }
    for text in [&mut spoken.body, &mut spoken.subject] {
        if text.as_ref().is_some_and(is_empty) {
            *text = None;
        }
    }
    Some(spoken)
}

fn is_empty(text: &Text) -> bool {
    match text {
        Text::Here(span) => span.is_empty(),
        Text::Made(text) => text.is_empty(),
    }
}

/// One past the tag that starts at `at`; `None` where finding it takes more than counting quotes of one kind.
fn tag(bytes: &[u8], at: usize) -> Option<usize> {
    let inner = bytes.get(at..)?;
    let inner = &inner[..memchr(b'>', inner)?];
    let count = |quote: u8| -> usize {
        // Sums of so few fit a byte, which lets the compiler count many bytes at once.
        inner
            .chunks(128)
            .map(|part| usize::from(part.iter().map(|byte| u8::from(*byte == quote)).sum::<u8>()))
            .sum()
    };
    let (single, double) = (count(b'\''), count(b'"'));
    // With one kind of quote alone, and all of them closed, the bracket stands outside of them.
    (single.min(double) == 0 && (single + double).is_multiple_of(2)).then_some(at + inner.len() + 1)
}

/// Whether what has no prefix is in the namespace of stanzas.
fn has_usual_namespace(root: &[u8]) -> bool {
    let mut rest = root;
    while let Some(at) = memchr(b'x', rest) {
        rest = &rest[at..];
        if rest.starts_with(b"xmlns") {
            let value = &rest[b"xmlns".len()..];
            let usual: [&[u8]; 4] =
                [b"='jabber:server'", b"=\"jabber:server\"", b"='jabber:client'", b"=\"jabber:client\""];
            if !usual.iter().any(|usual| value.starts_with(usual)) {
                return false;
            }
        }
        rest = &rest[1..];
    }
    true
}

/// Reads a field whose content is text alone; gives how many bytes content and end tag take.
fn field(bytes: &[u8], start: usize, inner: &[u8], end_tag: &[u8], into: &mut Option<Text>) -> Option<usize> {
    let end = memchr(b'<', inner)?;
    if !inner[end..].starts_with(end_tag) || into.is_some() {
        return None;
    }
    let content = &inner[..end];
    *into = Some(match memchr2(b'&', b'\r', content) {
        None => {
            std::str::from_utf8(content).ok()?;
            Text::Here(u32::try_from(start).ok()?..u32::try_from(start + end).ok()?)
        }
        Some(_) if bytes.len() <= u32::MAX as usize => Text::Made(resolve(content)?),
        Some(_) => return None,
    });
    Some(end + end_tag.len())
}

/// Text with its references resolved; `None` where there is more to do.
fn resolve(content: &[u8]) -> Option<String> {
    let mut rest = std::str::from_utf8(content).ok()?;
    if memchr(b'\r', content).is_some() {
        return None;
    }
    let mut text = String::with_capacity(rest.len());
    while let Some((plain, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';')?;
        text.push_str(plain);
        text.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "apos" => '\'',
            "quot" => '"',
            _ => character(name)?,
        });
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

/// A character reference, of digits alone.
fn character(name: &str) -> Option<char> {
    let number = name.strip_prefix('#')?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().filter(|code| *code != 0).and_then(char::from_u32)
}

/// One past the element that starts at `at`, if it holds no text for SIP; what its name says is noted.
fn skip(bytes: &[u8], at: usize, hints: &mut Hints) -> Option<usize> {
    let name = bytes.get(at..)?.strip_prefix(b"<")?;
    let name = &name[..name.iter().position(|byte| b" \t\r\n/>".contains(byte))?];
    // A prefix may stand for any namespace, `x` and two more may hold a link (XEP-0066), and a receipt has an attribute to read.
    if matches!(name, b"" | b"x" | b"body" | b"subject" | b"received" | b"reference" | b"file-sharing")
        || memchr(b':', name).is_some()
    {
        return None;
    }
    if Hints::is_known(name) {
        hints.look_at_tag(name, &bytes[at..tag(bytes, at)?])?;
    }
    let (mut at, mut depth) = (at, 0_usize);
    loop {
        let end = tag(bytes, at)?;
        match (bytes.get(at + 1)?, bytes[end - 2]) {
            (b'!' | b'?', _) => return None,
            (b'/', _) => depth = depth.checked_sub(1)?,
            (_, b'/') => {}
            (_, _) => depth += 1,
        }
        at = end;
        if depth == 0 {
            return Some(at);
        }
        let text = bytes.get(at..)?;
        let text = &text[..memchr(b'<', text)?];
        if memchr(b'&', text).is_some() {
            return None;
        }
        at += text.len();
    }
}
