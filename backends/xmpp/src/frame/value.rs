//! What checked bytes mean: references replaced and white space normalised (XML 1.0 §2.11, §3.3.3).
//!
//! Invariant: the input has passed the framer. Bytes that have not are still handled without a panic, but their
//! meaning is not promised.

use super::characters::{Reference, reference};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// The value of a raw attribute value: references replaced; tab, line feed and carriage return are each a space, a
/// CR LF pair one (XML 1.0 §2.11 comes before §3.3.3). Borrowed where nothing had to change.
pub fn attribute_value(raw: &[u8]) -> Cow<'_, str> {
    if memchr2(b'&', b'\t', raw).is_none() && memchr2(b'\n', b'\r', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    expand(raw, true)
}

/// The value of raw character data outside CDATA: references replaced, CR LF and CR are LF (XML 1.0 §2.11). Borrowed
/// where nothing had to change.
pub fn text_value(raw: &[u8]) -> Cow<'_, str> {
    if memchr2(b'&', b'\r', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    expand(raw, false)
}

/// The value of the inside of a CDATA section: CR LF and CR are LF, nothing else changes.
pub fn cdata_value(raw: &[u8]) -> Cow<'_, str> {
    if memchr(b'\r', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    let text = String::from_utf8_lossy(raw).replace("\r\n", "\n").replace('\r', "\n");
    Cow::Owned(text)
}

fn expand(raw: &[u8], attribute: bool) -> Cow<'_, str> {
    let mut out = Vec::with_capacity(raw.len());
    let mut pos = 0;
    while let Some(&b) = raw.get(pos) {
        let mut len = 1;
        match b {
            b'&' => match reference(raw, pos) {
                Reference::Char(code, bytes) => {
                    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    len = bytes;
                }
                Reference::Cut | Reference::Bad(..) => out.push(b),
            },
            b'\r' if raw.get(pos + 1) == Some(&b'\n') => {}
            b'\r' | b'\n' | b'\t' if attribute => out.push(b' '),
            b'\r' => out.push(b'\n'),
            _ => out.push(b),
        }
        pos += len;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}
