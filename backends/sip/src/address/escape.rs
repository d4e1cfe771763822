//! XEP-0106 between the local part of a JID and plain text, kept to the strings on which it can be undone.
//!
//! A backslash is escaped only where it would otherwise read as an escape, and `\20` at either end stands for itself,
//! since an escaped space may not stand there (XEP-0106 §4.3).

use super::AddressError;

/// Characters that a local part holds only as escapes, with the two digits of each; the backslash is the tenth.
const ESCAPES: [(char, [u8; 2]); 9] = [
    (' ', *b"20"),
    ('"', *b"22"),
    ('&', *b"26"),
    ('\'', *b"27"),
    ('/', *b"2f"),
    (':', *b"3a"),
    ('<', *b"3c"),
    ('>', *b"3e"),
    ('@', *b"40"),
];

const BACKSLASH: [u8; 2] = *b"5c";

/// Plain text to local part.
pub(super) fn apply(native: &str) -> Result<String, AddressError> {
    if native.is_empty() {
        return Err(AddressError::NoUser);
    }
    if native.starts_with(' ') || native.ends_with(' ') {
        return Err(AddressError::Space);
    }
    let mut local = String::with_capacity(native.len() + 8);
    for (at, char) in native.char_indices() {
        if let Some((_, digits)) = ESCAPES.iter().find(|(special, _)| *special == char) {
            push_escape(&mut local, *digits);
        } else if char == '\\' && reads_as_escape(native, at) {
            push_escape(&mut local, BACKSLASH);
        } else {
            local.push(char);
        }
    }
    Ok(local)
}

/// Local part to plain text.
pub(super) fn undo(local: &str) -> Result<String, AddressError> {
    let mut native = String::with_capacity(local.len());
    let mut skip = 0;
    for (at, char) in local.char_indices() {
        if at < skip {
            continue;
        }
        if char.is_control() {
            return Err(AddressError::Control);
        }
        if ESCAPES.iter().any(|(special, _)| *special == char) {
            return Err(AddressError::Forbidden);
        }
        match pair(local, at).filter(|_| char == '\\' && reads_as_escape(local, at)) {
            None => native.push(char),
            Some(BACKSLASH) => {
                // Only a backslash that needs it is ever escaped.
                if !reads_as_escape_at_ends(local, at + 3, at == 0) {
                    return Err(AddressError::Escape);
                }
                native.push('\\');
                skip = at + 3;
            }
            Some(digits) => {
                native
                    .extend(ESCAPES.iter().find(|(_, known)| *known == digits).map(|(special, _)| *special));
                skip = at + 3;
            }
        }
    }
    Ok(native)
}

fn push_escape(local: &mut String, digits: [u8; 2]) {
    local.push('\\');
    local.extend(digits.map(char::from));
}

/// The two bytes behind the one at `at`, in lower case.
fn pair(text: &str, at: usize) -> Option<[u8; 2]> {
    digits(text, at + 1)
}

fn digits(text: &str, at: usize) -> Option<[u8; 2]> {
    let pair: [u8; 2] = text.as_bytes().get(at..at + 2)?.try_into().ok()?;
    Some(pair.map(|byte| byte.to_ascii_lowercase()))
}

/// Whether the backslash at `at` starts an escape sequence.
fn reads_as_escape(text: &str, at: usize) -> bool {
    reads_as_escape_at_ends(text, at + 1, at == 0)
}

/// Whether the digits at `at` make an escape of the backslash in front of them, which is the first character if `is_first`.
fn reads_as_escape_at_ends(text: &str, at: usize, is_first: bool) -> bool {
    let Some(digits) = digits(text, at) else { return false };
    let is_last = at + 2 == text.len();
    if digits == *b"20" && (is_first || is_last) {
        return false;
    }
    digits == BACKSLASH || ESCAPES.iter().any(|(_, known)| *known == digits)
}
