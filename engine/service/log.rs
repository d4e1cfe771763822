//! The operator's log. Invariant: text that came from a peer is escaped before it is written, so one event is one line; message
//! bodies get here only where the operator has switched that on (requirement 12).

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use turnout_core::io::{Level, Note};

/// Lines one shard may write in a second.
const LINES_MAX: u32 = 500;

/// Of these, lines about one peer: one that makes noise does not drown what is said of the others.
const LINES_PER_PEER_MAX: u32 = 50;

/// The log of one shard. Invariant: peers make it write at most [`LINES_MAX`] lines a second, and what was left out is counted
/// and said; errors, which are faults of our own, are always written.
#[derive(Debug, Default)]
pub struct Log {
    since: Option<Instant>,
    lines: u32,
    by_peer: HashMap<String, u32>,
    left_out: u64,
}

impl Log {
    /// Writes a shard's note, or counts it as left out.
    pub fn note(&mut self, now: Instant, shard: u16, note: &Note) {
        if note.level == Level::Debug && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let before = self.left_out;
        if self.admits(now, note) {
            if before > 0 && self.left_out == 0 {
                tracing::warn!(
                    shard,
                    left_out = before,
                    "too many lines about one peer, or in all: some were left out"
                );
            }
            write(shard, note);
        }
    }

    fn admits(&mut self, now: Instant, note: &Note) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.lines = 0;
            self.by_peer.clear();
            self.left_out = 0;
        }
        if note.level == Level::Error {
            return true;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return false;
        }
        let of_peer = self.by_peer.entry_ref(&*note.about).or_default();
        if *of_peer >= LINES_PER_PEER_MAX {
            self.left_out += 1;
            return false;
        }
        *of_peer += 1;
        self.lines += 1;
        true
    }
}

fn write(shard: u16, note: &Note) {
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
    use turnout_core::io::Side;

    use super::*;

    #[test]
    fn a_peer_cannot_flood_the_log_nor_drown_another() {
        let note = |about: &str, level| Note {
            level,
            side: Some(Side::Partners),
            link: None,
            about: about.into(),
            text: String::new(),
        };
        let begin = crate::clock::now();
        let mut log = Log::default();
        let admitted = |log: &mut Log, about: &str, count: u32| {
            (0..count).filter(|_| log.admits(begin, &note(about, Level::Warn))).count()
        };
        assert_eq!(admitted(&mut log, "noisy.example", 10_000), 50);
        assert_eq!(admitted(&mut log, "quiet.example", 10), 10);
        assert_eq!(log.left_out, 9_950);
        let rest = (0..10_000).filter(|n| log.admits(begin, &note(&format!("p{n}.example"), Level::Info)));
        assert_eq!(rest.count(), 440);
        assert!(log.by_peer.len() <= LINES_MAX as usize, "bounded");
        assert!(log.admits(begin, &note("noisy.example", Level::Error)));
        let later = begin + Duration::from_secs(1);
        assert!(log.admits(later, &note("noisy.example", Level::Warn)));
        assert_eq!(log.left_out, 0);
    }

    #[test]
    fn one_event_is_one_line() {
        assert_eq!(escape("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
        assert_eq!(escape("\u{202e}x"), "\\u{202e}x");
        assert_eq!(escape("grüße 🎉"), "grüße 🎉");
        assert!(escape(&"x".repeat(5000)).len() < 1010);
    }
}
