//! The operator's log. Invariant: text that came from a peer is escaped before it is written, so one event is one line; message
//! bodies never get here (requirement 12).

use turnout_core::io::{Level, Note};

/// Writes a shard's note.
pub fn note(shard: u16, note: &Note) {
    let link = note.link.map(|link| link.to_string()).unwrap_or_default();
    let (about, text) = (escape(&note.about), escape(&note.text));
    match note.level {
        Level::Debug => tracing::debug!(shard, link, about, "{text}"),
        Level::Info => tracing::info!(shard, link, about, "{text}"),
        Level::Warn => tracing::warn!(shard, link, about, "{text}"),
        Level::Error => tracing::error!(shard, link, about, "{text}"),
    }
}

/// Control characters and line ends as escapes; no longer than a line should be (B-37).
pub fn escape(text: &str) -> String {
    const MAX: usize = 1000;
    let mut escaped = String::with_capacity(text.len().min(MAX));
    for c in text.chars() {
        if escaped.len() >= MAX {
            escaped.push('…');
            break;
        }
        // Bidirectional controls are no control characters to `char`, and turn a line around just the same.
        if c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn one_event_is_one_line() {
        assert_eq!(escape("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
        assert_eq!(escape("\u{202e}x"), "\\u{202e}x");
        assert_eq!(escape("grüße 🎉"), "grüße 🎉");
        assert!(escape(&"x".repeat(5000)).len() < 1010);
    }
}
