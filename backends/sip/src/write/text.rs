//! Makes header values out of free text. Whatever goes in, what comes out fits on one line and is bounded.

/// Longest reason phrase written, in bytes.
const REASON_BYTES_MAX: usize = 200;

/// Longest subject written, in bytes.
const SUBJECT_BYTES_MAX: usize = 1024;

/// Longest display name written, in bytes without quotes and escapes.
const DISPLAY_BYTES_MAX: usize = 256;

/// A Reason-Phrase (RFC 3261 §25.1): control characters become spaces, ASCII marks outside the grammar become escapes, and it is
/// cut at a character.
pub fn reason_phrase(text: &str) -> String {
    let mut phrase = String::new();
    for char in clean(text, REASON_BYTES_MAX).chars() {
        let fits = !char.is_ascii() || char.is_ascii_alphanumeric() || " -_.!~*'();/?:@&=+$,".contains(char);
        let more = if fits { char.len_utf8() } else { 3 };
        if phrase.len() + more > REASON_BYTES_MAX {
            break;
        }
        if fits {
            phrase.push(char);
        } else {
            phrase.push_str(&format!("%{:02X}", u32::from(char)));
        }
    }
    phrase
}

/// A Subject: UTF-8 as it is, control characters as spaces, no white space around it, cut at a character (RFC 3261 §20.36).
pub fn subject(text: &str) -> String {
    clean(text, SUBJECT_BYTES_MAX)
}

/// A display name, cleaned and in quotes; empty if nothing is left of it (RFC 3261 §20.10).
pub fn display_name(text: &str) -> String {
    let name = clean(text, DISPLAY_BYTES_MAX);
    if name.is_empty() { name } else { quoted(&name) }
}

/// A quoted string: control characters become spaces, quotes and backslashes are escaped (RFC 3261 §25.1).
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            out.push('\\');
        }
        out.push(if is_breaking(char) { ' ' } else { char });
    }
    out.push('"');
    out
}

fn clean(text: &str, bytes_max: usize) -> String {
    // Only as much is read as can be kept, however long the text is.
    let fits = |(at, char): &(usize, char)| at + char.len_utf8() <= bytes_max;
    let kept = text.char_indices().take_while(fits).map(|(_, char)| char);
    let spaced: String = kept.map(|char| if is_breaking(char) { ' ' } else { char }).collect();
    spaced.trim_matches(' ').to_owned()
}

/// Control characters, the second set included, and the separators that some readers take for line ends.
fn is_breaking(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}')
}
