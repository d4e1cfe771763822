//! What happened, for whoever watches: notes of the shards, changes by administrators, moves, reloads. Invariant: a ring of
//! [`EVENTS_MAX`] events and one last word about each of [`ABOUT_MAX`] peers; a watcher that is slow misses events and can tell by
//! their numbers; nobody who adds one waits for a watcher.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use turnout_core::io::{Note, Side};
use turnout_core::notice::Level;

/// Events kept.
pub const EVENTS_MAX: usize = 1_000;

/// Peers of whom the last good and the last bad word are kept.
pub const ABOUT_MAX: usize = 4_096;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Grows by one with each event.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_unix_millis: u64,
    /// `note`, `audit`, `move` or `reload`.
    pub kind: &'static str,
    /// What it is, by kind.
    pub data: Value,
}

/// The last words about a peer: when, in milliseconds since 1970, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords {
    /// That something works.
    pub good: Option<(u64, String)>,
    /// That something does not.
    pub bad: Option<(u64, String)>,
}

/// The feed. Cloning copies a pointer.
#[derive(Clone, Debug)]
pub struct Feed {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    count: u64,
    about: HashMap<(Option<Side>, Arc<str>), LastWords>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { kept: Mutex::default(), newest: watch::channel(0).0 }) }
    }
}

impl Feed {
    /// Adds an event, at this time in milliseconds since 1970.
    pub fn add(&self, at_unix_millis: u64, kind: &'static str, data: Value) {
        let number = self.kept().add(at_unix_millis, kind, data);
        self.inner.newest.send_replace(number);
    }

    /// Adds a shard's note, if it is more than a detail. The text is that of the log, escaped.
    pub fn note(&self, at_unix_millis: u64, shard: u16, note: &Note) {
        let level = note.notice.level();
        if level == Level::Debug {
            return;
        }
        let (about, text) = (crate::log::escape(&note.about), crate::log::escape(&note.text));
        let link = note.link.map(|link| link.to_string());
        let word = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let data = serde_json::json!({
            "event": note.notice.name(), "level": word, "shard": shard, "link": link, "about": about, "text": text
        });
        let mut kept = self.kept();
        kept.remember((note.side, Arc::clone(&note.about)), at_unix_millis, level >= Level::Warn, text);
        let number = kept.add(at_unix_millis, "note", data);
        drop(kept);
        self.inner.newest.send_replace(number);
    }

    /// What happened after the event of this number, oldest first, at most so many.
    pub fn after(&self, number: u64, limit: usize) -> Vec<Arc<Event>> {
        let kept = self.kept();
        kept.events.iter().filter(|event| event.number > number).take(limit).cloned().collect()
    }

    /// The newest so many of one kind, or of all, newest first, before the event of this number.
    pub fn newest(&self, kind: Option<&str>, before: u64, limit: usize) -> Vec<Arc<Event>> {
        let kept = self.kept();
        let fits = |event: &&Arc<Event>| event.number < before && kind.is_none_or(|kind| event.kind == kind);
        kept.events.iter().rev().filter(fits).take(limit).cloned().collect()
    }

    /// The last words about a peer on a side.
    pub fn about(&self, side: Side, about: &str) -> LastWords {
        self.kept().about.get(&(Some(side), Arc::from(about))).cloned().unwrap_or_default()
    }

    /// Tells the number of the newest event, now and whenever there is a newer one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner.newest.subscribe()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, at_unix_millis: u64, kind: &'static str, data: Value) -> u64 {
        self.count += 1;
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Arc::new(Event { number: self.count, at_unix_millis, kind, data }));
        self.count
    }

    fn remember(&mut self, about: (Option<Side>, Arc<str>), at: u64, is_bad: bool, text: String) {
        if self.about.len() >= ABOUT_MAX && !self.about.contains_key(&about) {
            // Strangers come and go: who has been quiet for longest is forgotten.
            let last = |words: &LastWords| {
                let at = |word: &Option<(u64, String)>| word.as_ref().map_or(0, |(at, _)| *at);
                at(&words.good).max(at(&words.bad))
            };
            if let Some(quiet) =
                self.about.iter().min_by_key(|(_, words)| last(words)).map(|(about, _)| about.clone())
            {
                self.about.remove(&quiet);
            }
        }
        let words = self.about.entry(about).or_default();
        *if is_bad { &mut words.bad } else { &mut words.good } = Some((at, text));
    }
}

#[cfg(test)]
mod tests {
    use turnout_core::notice::Notice;

    use super::*;

    fn note(about: &str, notice: Notice, text: &str) -> Note {
        Note { notice, side: Some(Side::Partners), link: None, about: about.into(), text: text.to_owned() }
    }

    #[test]
    fn events_are_numbered_and_bounded_and_the_last_word_stays() {
        let feed = Feed::default();
        feed.note(1, 0, &note("partner.example", Notice::StreamFailed, "no\nanswer"));
        feed.note(2, 0, &note("partner.example", Notice::StanzaRefused, "a detail"));
        for n in 0..2 * EVENTS_MAX as u64 {
            feed.add(n, "move", Value::from(n));
        }
        let all = feed.after(0, usize::MAX);
        assert_eq!(all.len(), EVENTS_MAX);
        assert_eq!(all.last().unwrap().number, 2 * EVENTS_MAX as u64 + 1);
        assert_eq!(*feed.watch().borrow(), 2 * EVENTS_MAX as u64 + 1);
        assert_eq!(feed.after(all[0].number, 1)[0].number, all[1].number);
        assert_eq!(feed.newest(Some("note"), u64::MAX, 9), []);
        assert_eq!(feed.newest(None, all[3].number, 2)[0].number, all[2].number);
        let words = feed.about(Side::Partners, "partner.example");
        assert_eq!(words.bad, Some((1, "no\\nanswer".to_owned())), "one line");
        assert_eq!(words.good, None);
    }

    #[test]
    fn strangers_do_not_fill_the_memory_and_do_not_drive_out_who_is_heard_of() {
        let feed = Feed::default();
        for n in 0..3 * ABOUT_MAX as u64 {
            feed.note(n, 0, &note(&format!("stranger{n}.example"), Notice::StreamOpen, "x"));
            if n % 100 == 0 {
                feed.note(n, 0, &note("partner.example", Notice::StreamOpen, "open"));
            }
        }
        assert!(feed.kept().about.len() <= ABOUT_MAX);
        assert!(feed.about(Side::Partners, "partner.example").good.is_some());
    }
}
