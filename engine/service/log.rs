//! The operator's log. Invariant: text that came from a peer is escaped before it is written, so one event is one line; message
//! bodies get here only where the operator has switched that on (requirement 12).

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tracing_subscriber::{EnvFilter, Registry, reload};
use turnout_core::io::Note;
use turnout_core::notice::Level;

/// Lines one shard may write in a second.
const LINES_MAX: u32 = 500;

/// Of these, lines about one peer: one that makes noise does not drown what is said of the others.
const LINES_PER_PEER_MAX: u32 = 50;

/// The filter of this process, once its log has begun.
static FILTER: OnceLock<Filter> = OnceLock::new();

struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Mutex<String>,
}

/// Why the filter was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// It is no filter.
    Wrong(String),
    /// This process writes no log.
    NoLog,
}

/// Reads a filter.
///
/// # Errors
/// What is wrong with it. A word alone that is no level is wrong here, where `RUST_LOG` takes it for the name of a part of the program and
/// tells nothing of all others: `wran` is a mistake.
pub fn read_filter(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',').map(str::trim) {
        let is_word = part.chars().all(|c| c.is_ascii_alphanumeric() || "_-:".contains(c));
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
        if is_word && !is_level {
            return Err(match part {
                "" => "a level is missing".to_owned(),
                _ => format!("{part:?} is no level; of a part of the program write {part}=debug"),
            });
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// A layer that filters the log and can be changed while the process runs. For the one log of a process.
pub fn filter_layer(text: &str, filter: EnvFilter) -> reload::Layer<EnvFilter, Registry> {
    let (layer, handle) = reload::Layer::new(filter);
    // A second log of one process keeps its own filter.
    drop(FILTER.set(Filter { handle, text: Mutex::new(text.to_owned()) }));
    layer
}

/// The filter in use; empty where there is no log.
pub fn filter() -> String {
    let text = |filter: &Filter| filter.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
    FILTER.get().map(text).unwrap_or_default()
}

/// Uses another filter from now on.
///
/// # Errors
/// It is no filter, or there is no log.
pub fn set_filter(text: &str) -> Result<(), FilterError> {
    let new = read_filter(text).map_err(FilterError::Wrong)?;
    let filter = FILTER.get().ok_or(FilterError::NoLog)?;
    filter.handle.reload(new).map_err(|_| FilterError::NoLog)?;
    text.clone_into(&mut filter.text.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

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
    /// Writes a shard's note, or counts it as left out; whether it was written.
    pub fn note(&mut self, now: Instant, shard: u16, note: &Note) -> bool {
        if note.notice.level() == Level::Debug && !tracing::enabled!(tracing::Level::DEBUG) {
            return false;
        }
        let before = self.left_out;
        let admitted = self.admits(now, note);
        if admitted {
            if before > 0 && self.left_out == 0 {
                tracing::warn!(
                    event = "log.left_out",
                    shard,
                    left_out = before,
                    "too many lines about one peer, or in all: some were left out"
                );
            }
            write(shard, note);
        }
        admitted
    }

    fn admits(&mut self, now: Instant, note: &Note) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            self.since = Some(now);
            self.lines = 0;
            self.by_peer.clear();
            self.left_out = 0;
        }
        if note.notice.level() == Level::Error {
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
    let event = note.notice.name();
    match note.notice.level() {
        Level::Debug => tracing::debug!(event, shard, link, about, "{text}"),
        Level::Info => tracing::info!(event, shard, link, about, "{text}"),
        Level::Warn => tracing::warn!(event, shard, link, about, "{text}"),
        Level::Error => tracing::error!(event, shard, link, about, "{text}"),
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
    use turnout_core::notice::Notice;

    use super::*;

    #[test]
    fn a_peer_cannot_flood_the_log_nor_drown_another() {
        let note = |about: &str, notice| Note {
            notice,
            side: Some(Side::Partners),
            link: None,
            about: about.into(),
            text: String::new(),
        };
        let begin = crate::clock::now();
        let mut log = Log::default();
        let admitted = |log: &mut Log, about: &str, count: u32| {
            (0..count).filter(|_| log.admits(begin, &note(about, Notice::StreamClosed))).count()
        };
        assert_eq!(admitted(&mut log, "noisy.example", 10_000), 50);
        assert_eq!(admitted(&mut log, "quiet.example", 10), 10);
        assert_eq!(log.left_out, 9_950);
        let rest =
            (0..10_000).filter(|n| log.admits(begin, &note(&format!("p{n}.example"), Notice::StreamOpen)));
        assert_eq!(rest.count(), 440);
        assert!(log.by_peer.len() <= LINES_MAX as usize, "bounded");
        assert!(log.admits(begin, &note("noisy.example", Notice::HandoffStray)));
        let later = begin + Duration::from_secs(1);
        assert!(log.admits(later, &note("noisy.example", Notice::StreamClosed)));
        assert_eq!(log.left_out, 0);
    }

    #[test]
    fn a_filter_that_would_hide_the_log_is_none() {
        for good in ["info", "WARN", "off", "turnout=debug,warn", "info,turnout[x{a=1}]=trace"] {
            assert!(read_filter(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("wran", "\"wran\" is no level"),
            ("turnout=loud", "error parsing level filter"),
            ("info,,", "missing"),
            ("", "missing"),
            ("info,turnout::router", "turnout::router=debug"),
            ("a=b=c", "error parsing level filter"),
            ("warn, hyper=trace", "error parsing level filter"),
        ] {
            let error = read_filter(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn one_event_is_one_line() {
        assert_eq!(escape("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
        assert_eq!(escape("\u{202e}x"), "\\u{202e}x");
        assert_eq!(escape("grüße 🎉"), "grüße 🎉");
        assert!(escape(&"x".repeat(5000)).len() < 1010);
    }
}
