//! One resource of a user, as others see it, between the two protocols. Invariant: every text in it is bounded and every language
//! a language tag (BCP 47 in the shape of xs:language), so whatever holds one can be written on either side.

use std::cmp::Reverse;
use std::sync::Arc;

use turnout_core::presence::Show;

use super::stamp;

/// Status texts kept of one resource; each has another language.
pub(crate) const STATUSES_MAX: usize = 16;

/// Longest status text or name kept, in bytes; what is longer is cut there, between two characters.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// Longest language tag kept, in bytes (RFC 5646 §4.4.1 asks for 35).
const LANGUAGE_BYTES_MAX: usize = 64;

/// An available resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Presence {
    /// The resource; empty for the bare address.
    pub(crate) resource: Arc<str>,
    /// `<show/>`; none means available without more.
    pub(crate) show: Option<Show>,
    /// Status texts, each with its `xml:lang`; no language stands twice.
    pub(crate) statuses: Vec<(Option<Box<str>>, String)>,
    /// Priority, if it was said (RFC 6121 §4.7.2.3).
    pub(crate) priority: Option<i8>,
    /// The name the user goes by (XEP-0172, CIPID).
    pub(crate) nick: Option<String>,
    /// Since when it is so: RFC 3339, in UTC.
    pub(crate) since: Option<String>,
}

impl Presence {
    /// Available, and nothing more is known.
    pub(crate) fn available(resource: &str) -> Self {
        Self {
            resource: resource.into(),
            show: None,
            statuses: Vec::new(),
            priority: None,
            nick: None,
            since: None,
        }
    }

    /// Adds a status text, unless there is one in that language or there are enough. A language that is none is left out.
    pub(crate) fn add_status(&mut self, lang: Option<&str>, text: &str) {
        let lang = lang.filter(|lang| is_language(lang));
        let same = |known: &Option<Box<str>>| match (known.as_deref(), lang) {
            (Some(known), Some(lang)) => known.eq_ignore_ascii_case(lang),
            (known, lang) => known.is_none() && lang.is_none(),
        };
        let is_known = self.statuses.iter().any(|(known, _)| same(known));
        if is_known || self.statuses.len() >= STATUSES_MAX || text.trim().is_empty() {
            return;
        }
        self.statuses.push((lang.map(Into::into), bounded(text).to_owned()));
    }

    /// Sets the name, unless the text is empty.
    pub(crate) fn set_nick(&mut self, text: &str) {
        let text = bounded(text).trim();
        if !text.is_empty() {
            self.nick = Some(text.to_owned());
        }
    }

    /// Sets since when it is so, unless the text is no timestamp.
    pub(crate) fn set_since(&mut self, text: &str) {
        if let Some(since) = stamp::utc(text.trim()) {
            self.since = Some(since);
        }
    }

    /// The greater, the more available: a resource that takes messages before one of negative priority, then the show, then the priority.
    fn rank(&self) -> (bool, Reverse<u8>, i8) {
        let priority = self.priority.unwrap_or(0);
        let away = match self.show {
            Some(Show::Chat) => 0,
            None => 1,
            Some(Show::Away) => 2,
            Some(Show::Xa) => 3,
            Some(Show::Dnd) => 4,
        };
        (priority >= 0, Reverse(away), priority)
    }
}

/// The resource to show where only one can be: the most available; of equals the one whose name comes first.
pub(crate) fn most_available(open: &[Presence]) -> Option<Presence> {
    open.iter().max_by_key(|presence| (presence.rank(), Reverse(&presence.resource))).cloned()
}

/// As much of a text as is kept.
pub(crate) fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// xs:language, the type of `xml:lang` in the schema of PIDF.
fn is_language(tag: &str) -> bool {
    let is_word = |word: &str| (1..=8).contains(&word.len());
    tag.len() <= LANGUAGE_BYTES_MAX
        && tag.split('-').enumerate().all(|(at, word)| {
            is_word(word)
                && word.bytes().all(|byte| {
                    if at == 0 { byte.is_ascii_alphabetic() } else { byte.is_ascii_alphanumeric() }
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(resource: &str, show: Option<Show>, priority: Option<i8>) -> Presence {
        Presence { show, priority, ..Presence::available(resource) }
    }

    #[test]
    fn the_most_available_is_free_before_away_and_takes_messages() {
        let away = of("a", Some(Show::Away), Some(127));
        let plain = of("b", None, None);
        let low = of("c", None, Some(-1));
        let chat = of("d", Some(Show::Chat), Some(-1));
        let same = of("e", None, Some(0));
        let higher = of("f", None, Some(3));
        let all = [away.clone(), chat.clone(), same, low, plain.clone()];
        assert_eq!(most_available(&all), Some(plain.clone()));
        assert_eq!(most_available(&[chat, away.clone()]), Some(away));
        assert_eq!(most_available(&[plain, higher.clone()]), Some(higher));
        assert_eq!(most_available(&[]), None);
    }

    #[test]
    fn a_language_stands_once_and_only_if_it_is_one() {
        let mut presence = Presence::available("");
        for (lang, text) in [
            (None, "one"),
            (Some("de"), "two"),
            (Some("DE"), "again"),
            (Some("not a tag"), "bare again"),
            (Some(""), "bare again"),
            (Some("zh-Hant-TW"), "three"),
            (Some("fr"), " "),
        ] {
            presence.add_status(lang, text);
        }
        let texts: Vec<&str> = presence.statuses.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
    }

    #[test]
    fn texts_are_cut_between_characters_and_counted() {
        let mut presence = Presence::available("");
        presence.add_status(None, &format!("{}ß", "x".repeat(TEXT_BYTES_MAX - 1)));
        assert_eq!(presence.statuses[0].1.len(), TEXT_BYTES_MAX - 1);
        for n in 0..100 {
            presence.add_status(Some(&format!("x-{n}")), "text");
        }
        assert_eq!(presence.statuses.len(), STATUSES_MAX);
    }
}
