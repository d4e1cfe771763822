//! Bytes and characters: which are allowed where (XML 1.0, fifth edition, §2.2, §2.3, §4.1) and how UTF-8 spells them
//! (RFC 3629 §4).
//!
//! Invariant: every answer depends on the bytes alone and never on where a read ended. What is not yet decidable is
//! [`Decoded::Cut`] or [`Reference::Cut`], and the caller comes back with more.

use crate::error::StreamCondition;

/// Bytes of a reference between `&` and `;`. Every code point fits, with leading zeros to spare; a bound is needed
/// because a reference cut by a read is looked at again from its start.
pub(super) const REFERENCE_BYTES_MAX: usize = 16;

const TEXT: u8 = 1;
const VALUE: u8 = 2;
const NAME: u8 = 4;
const NAME_START: u8 = 8;
const SPACE: u8 = 16;
const CDATA: u8 = 32;

/// Roles of the ASCII bytes. Bytes from 0x80 have none: they are decoded.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 0x80 {
        let b = byte as u8;
        let mut class = 0;
        let space = matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        if space || b >= 0x20 {
            if !matches!(b, b'<' | b'&' | b'>') {
                class |= TEXT;
            }
            if !matches!(b, b'<' | b'&' | b'\'' | b'"') {
                class |= VALUE;
            }
            if b != b'>' {
                class |= CDATA;
            }
        }
        if space {
            class |= SPACE;
        }
        if b.is_ascii_alphabetic() || b == b'_' || b == b':' {
            class |= NAME | NAME_START;
        }
        if b.is_ascii_digit() || b == b'-' || b == b'.' {
            class |= NAME;
        }
        table[byte] = class;
        byte += 1;
    }
    table
}

pub(super) fn is_space(byte: u8) -> bool {
    CLASS[usize::from(byte)] & SPACE != 0
}

pub(super) fn is_ascii_name_start(byte: u8) -> bool {
    CLASS[usize::from(byte)] & NAME_START != 0
}

/// The first position from `pos` that is not white space.
pub(super) fn skip_space(buf: &[u8], pos: usize) -> usize {
    skip_class(buf, pos, SPACE)
}

/// The first position from `pos` that is not an ASCII name character.
pub(super) fn skip_name(buf: &[u8], pos: usize) -> usize {
    skip_class(buf, pos, NAME)
}

/// The first position from `pos` with a byte that text must look at: `<`, `&`, `>`, a control or a byte from 0x80.
pub(super) fn skip_text(buf: &[u8], pos: usize) -> usize {
    let pos = skip_blocks(buf, pos, |b| (b == b'<') | (b == b'&') | (b == b'>'));
    skip_class(buf, pos, TEXT)
}

/// The first position from `pos` with a byte that an attribute value must look at: `<`, `&`, either quote, a control
/// or a byte from 0x80.
pub(super) fn skip_value(buf: &[u8], pos: usize) -> usize {
    skip_class(buf, pos, VALUE)
}

/// The first position from `pos` with a byte that a CDATA section must look at: `>`, a control or a byte from 0x80.
pub(super) fn skip_cdata(buf: &[u8], pos: usize) -> usize {
    let pos = skip_blocks(buf, pos, |b| b == b'>');
    skip_class(buf, pos, CDATA)
}

fn skip_class(buf: &[u8], mut pos: usize, class: u8) -> usize {
    while buf.get(pos).is_some_and(|&b| CLASS[usize::from(b)] & class != 0) {
        pos += 1;
    }
    pos
}

/// The first position from `pos` that does not begin a complete character of a script written in two bytes, or in three
/// below U+D800 or from U+E000 to U+EFFF. XML allows all of them in text; [`decode`] looks at the rest.
pub(super) fn skip_scripts(buf: &[u8], mut pos: usize) -> usize {
    loop {
        pos += match buf.get(pos..) {
            Some([0xC2..=0xDF, 0x80..=0xBF, ..]) => 2,
            Some([0xE1..=0xEC | 0xEE, 0x80..=0xBF, 0x80..=0xBF, ..]) => 3,
            _ => return pos,
        };
    }
}

/// Skips whole blocks that hold nothing odd. Written without branches inside so that it becomes vector code.
fn skip_blocks(buf: &[u8], mut pos: usize, odd: impl Fn(u8) -> bool) -> usize {
    const BLOCK: usize = 32;
    while let Some(block) = buf.get(pos..pos + BLOCK) {
        let mut found = false;
        for &b in block {
            found |= !(0x20..0x80).contains(&b) | odd(b);
        }
        if found {
            break;
        }
        pos += BLOCK;
    }
    pos
}

/// One character read from UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// A code point and the number of its bytes.
    Char(u32, usize),
    /// Good so far, but the bytes end here.
    Cut,
    /// Not UTF-8: overlong, a surrogate, beyond U+10FFFF, a stray or missing continuation byte.
    Bad,
}

/// Reads the character at `pos`, by the table of RFC 3629 §4. A wrong byte is reported as soon as it is there, also
/// when the sequence it belongs to is not complete.
pub(super) fn decode(buf: &[u8], pos: usize) -> Decoded {
    let Some(&first) = buf.get(pos) else { return Decoded::Cut };
    let (len, low, high) = match first {
        0x00..=0x7F => return Decoded::Char(u32::from(first), 1),
        0xC2..=0xDF => (2, 0x80, 0xBF),
        0xE0 => (3, 0xA0, 0xBF),
        0xE1..=0xEC | 0xEE..=0xEF => (3, 0x80, 0xBF),
        0xED => (3, 0x80, 0x9F),
        0xF0 => (4, 0x90, 0xBF),
        0xF1..=0xF3 => (4, 0x80, 0xBF),
        0xF4 => (4, 0x80, 0x8F),
        _ => return Decoded::Bad,
    };
    let lead_bits = if len == 2 { 0x1F } else { 0x0F };
    let mut code = u32::from(first & lead_bits);
    for at in 1..len {
        let Some(&next) = buf.get(pos + at) else { return Decoded::Cut };
        let (low, high) = if at == 1 { (low, high) } else { (0x80, 0xBF) };
        if next < low || next > high {
            return Decoded::Bad;
        }
        code = (code << 6) | u32::from(next & 0x3F);
    }
    Decoded::Char(code, len)
}

/// XML 1.0 §2.2, production `Char`.
pub(super) fn is_char(code: u32) -> bool {
    matches!(code, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x1_0000..=0x10_FFFF)
}

/// XML 1.0 §2.3, production `NameStartChar`.
pub(super) fn is_name_start(code: u32) -> bool {
    match code {
        0x00..=0x7F => CLASS[code as usize] & NAME_START != 0,
        0xC0..=0xD6
        | 0xD8..=0xF6
        | 0xF8..=0x2FF
        | 0x370..=0x37D
        | 0x37F..=0x1FFF
        | 0x200C..=0x200D
        | 0x2070..=0x218F
        | 0x2C00..=0x2FEF
        | 0x3001..=0xD7FF
        | 0xF900..=0xFDCF
        | 0xFDF0..=0xFFFD
        | 0x1_0000..=0xE_FFFF => true,
        _ => false,
    }
}

/// XML 1.0 §2.3, production `NameChar`.
pub(super) fn is_name_char(code: u32) -> bool {
    match code {
        0x00..=0x7F => CLASS[code as usize] & NAME != 0,
        0xB7 | 0x300..=0x36F | 0x203F..=0x2040 => true,
        _ => is_name_start(code),
    }
}

/// Where the colon of a qualified name stands: `Ok(0)` where there is none, `Err` where the name is not a `QName`
/// (Namespaces in XML §4). Every character of `name` is already known to be a name character.
pub(super) fn colon(name: &[u8]) -> Result<usize, ()> {
    let Some(at) = memchr::memchr(b':', name) else { return Ok(0) };
    let local = name.get(at + 1..).unwrap_or_default();
    match decode(local, 0) {
        Decoded::Char(code, _) if at > 0 && is_name_start(code) && memchr::memchr(b':', local).is_none() => {
            Ok(at)
        }
        _ => Err(()),
    }
}

/// What stands at an `&`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// A character, and the bytes of the reference from `&` to `;`.
    Char(u32, usize),
    /// Good so far, but the bytes end here.
    Cut,
    /// Refused: the condition, the reason, and how many bytes after `&` it shows.
    Bad(StreamCondition, &'static str, usize),
}

/// Reads the reference whose `&` is at `pos`. Only the five entities XML predefines are known (RFC 6120 §11.1), and
/// a number must be that of a character XML allows (XML 1.0 §4.1, "Legal Character").
pub(super) fn reference(buf: &[u8], pos: usize) -> Reference {
    let body = buf.get(pos + 1..).unwrap_or_default();
    for (at, &b) in body.iter().enumerate() {
        let numeric = body.first() == Some(&b'#');
        let hex = numeric && body.get(1) == Some(&b'x');
        let good = match at {
            _ if b == b';' => return resolve(body.get(..at).unwrap_or_default()),
            0 => b == b'#' || CLASS[usize::from(b)] & NAME_START != 0,
            1 if numeric => b == b'x' || b.is_ascii_digit(),
            _ if hex => b.is_ascii_hexdigit(),
            _ if numeric => b.is_ascii_digit(),
            _ => CLASS[usize::from(b)] & NAME != 0,
        };
        if !good {
            return Reference::Bad(StreamCondition::NotWellFormed, "'&' that begins no reference", at + 1);
        }
        if at >= REFERENCE_BYTES_MAX {
            return if numeric {
                Reference::Bad(StreamCondition::PolicyViolation, "numeric reference too long", at + 1)
            } else {
                Reference::Bad(
                    StreamCondition::RestrictedXml,
                    "reference to an entity that is not predefined",
                    at + 1,
                )
            };
        }
    }
    Reference::Cut
}

fn resolve(body: &[u8]) -> Reference {
    let len = body.len() + 2;
    let code = match body {
        b"amp" => 0x26,
        b"lt" => 0x3C,
        b"gt" => 0x3E,
        b"quot" => 0x22,
        b"apos" => 0x27,
        [b'#', b'x', digits @ ..] if !digits.is_empty() => number(digits, 16),
        [b'#', digits @ ..] if !digits.is_empty() && digits != b"x" => number(digits, 10),
        [] | [b'#', ..] => {
            return Reference::Bad(StreamCondition::NotWellFormed, "empty reference", len - 1);
        }
        _ => {
            let reason = "reference to an entity that is not predefined";
            return Reference::Bad(StreamCondition::RestrictedXml, reason, len - 1);
        }
    };
    if is_char(code) {
        Reference::Char(code, len)
    } else {
        Reference::Bad(
            StreamCondition::NotWellFormed,
            "reference to a character that XML does not allow",
            len - 1,
        )
    }
}

/// The value of digits that are already known to be digits; beyond Unicode it stays beyond.
fn number(digits: &[u8], base: u32) -> u32 {
    digits.iter().fold(0u32, |sum, &d| {
        let digit = char::from(d).to_digit(base).unwrap_or_default();
        sum.saturating_mul(base).saturating_add(digit)
    })
}
