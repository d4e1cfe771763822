//! PIDF to presence. Activities are read where RFC 4480 has them (with the person, or in a tuple) and where the draft before it had
//! them (within the status); `<show/>` within the status wins over all of them.

use std::sync::Arc;

use turnout_core::presence::{PresenceRules, Show};

use super::names::{ALL, CIPID, CLIENT, DATA_MODEL, PIDF, RPID, RPID_STATUS};
use super::{Document, Flaw, resource_of};
use crate::presence::shown::{Presence, most_available};
use crate::presence::tree::{self, Element};

/// Tuples of a document.
pub(super) const TUPLES_MAX: usize = 64;

/// Activities looked at in one place.
const ACTIVITIES_MAX: usize = 32;

/// Notes looked at in one place.
const NOTES_MAX: usize = 64;

/// Reads PIDF.
pub(super) fn read(body: &[u8], rules: &PresenceRules) -> Result<Document, Flaw> {
    let root = tree::read(body, &ALL)?;
    if !root.is(PIDF, "presence") {
        return Err(Flaw::Broken("the document is not PIDF"));
    }
    let entity =
        root.attribute("", "entity").ok_or(Flaw::Broken("the document does not say whose presence it is"))?;
    let mut document = Document { entity: entity.to_owned(), ..Document::default() };
    let persons: Vec<Person<'_>> =
        root.all(DATA_MODEL, "person").filter(|person| is_understood(person)).map(Person).collect();
    let around = Around { root: &root, persons: &persons, rules };
    for (count, tuple) in root.all(PIDF, "tuple").enumerate() {
        if count >= TUPLES_MAX {
            return Err(Flaw::Broken("the document has too many tuples"));
        }
        let id = tuple.attribute("", "id").ok_or(Flaw::Broken("a tuple has no id"))?;
        if is_of_another(tuple) {
            continue;
        }
        // Whether the tuple can be reached is told or not; a word nobody defined does not tell it (RFC 3863 §4.1.4).
        let status = tuple.first(PIDF, "status");
        match status.and_then(|status| status.first(PIDF, "basic")).map(|basic| basic.text.trim()) {
            Some("open") => add_open(&mut document, around.presence(resource_of(id), tuple, status)),
            Some("closed") => add_closed(&mut document, resource_of(id)),
            _ => {}
        }
    }
    document.has_basic = !(document.open.is_empty() && document.closed.is_empty());
    Ok(document)
}

/// Whether a tuple is about somebody near the user, as an assistant (RFC 4480 §3.7.1).
fn is_of_another(tuple: &Element) -> bool {
    let relationship = tuple.first(RPID, "relationship");
    relationship
        .and_then(|relationship| relationship.children.first())
        .is_some_and(|who| !who.is(RPID, "self"))
}

/// One more available resource; of two that are called alike the more available counts.
fn add_open(document: &mut Document, presence: Presence) {
    document.closed.retain(|resource| *resource != presence.resource);
    let known = document.open.iter_mut().find(|known| known.resource == presence.resource);
    match known {
        None => document.open.push(presence),
        Some(known) => {
            if let Some(more) = most_available(&[known.clone(), presence]) {
                *known = more;
            }
        }
    }
}

fn add_closed(document: &mut Document, resource: Arc<str>) {
    let is_open = document.open.iter().any(|presence| presence.resource == resource);
    if !is_open && !document.closed.contains(&resource) {
        document.closed.push(resource);
    }
}

/// What stands around a tuple.
struct Around<'a> {
    root: &'a Element,
    persons: &'a [Person<'a>],
    rules: &'a PresenceRules,
}

/// What is said of the person (RFC 4479 §3.2).
struct Person<'a>(&'a Element);

impl Around<'_> {
    /// What an open tuple says.
    fn presence(&self, resource: Arc<str>, tuple: &Element, status: Option<&Element>) -> Presence {
        let mut presence = Presence::available(&resource);
        presence.show = self.show(tuple, status);
        presence.priority = tuple
            .first(PIDF, "contact")
            .and_then(|contact| contact.attribute("", "priority"))
            .and_then(|priority| priority_of(priority.trim()));
        self.notes(tuple, &mut presence);
        let persons = || self.persons.iter().map(|person| person.0);
        let nick = status
            .into_iter()
            .chain([tuple])
            .chain(persons())
            .chain([self.root])
            .find_map(|place| place.first(CIPID, "display-name"));
        if let Some(nick) = nick {
            presence.set_nick(&nick.text);
        }
        let times = [tuple.first(PIDF, "timestamp")].into_iter();
        let times = times.chain(persons().map(|person| person.first(DATA_MODEL, "timestamp")));
        if let Some(since) = times.flatten().next() {
            presence.set_since(&since.text);
        }
        presence
    }

    fn show(&self, tuple: &Element, status: Option<&Element>) -> Option<Show> {
        let extension = status.and_then(|status| status.first(CLIENT, "show"));
        if let Some(show) = extension.and_then(|show| Show::of(show.text.trim())) {
            return Some(show);
        }
        let near = status.into_iter().chain([tuple]).find_map(|place| activity(place, self.rules));
        near.or_else(|| self.persons.iter().filter_map(|person| activity(person.0, self.rules)).max())
    }

    /// The notes of the person, else of the tuple, else of the document.
    fn notes(&self, tuple: &Element, presence: &mut Presence) {
        let root = self.root.lang.as_deref();
        for person in self.persons {
            add_notes(presence, person.0, DATA_MODEL, root);
        }
        for place in [tuple, self.root] {
            if presence.statuses.is_empty() {
                add_notes(presence, place, PIDF, root);
            }
        }
    }
}

fn add_notes(presence: &mut Presence, place: &Element, space: &str, lang: Option<&str>) {
    for note in place.all(space, "note").take(NOTES_MAX) {
        let lang = note.lang.as_deref().or(place.lang.as_deref()).or(lang);
        presence.add_status(lang, &note.text);
    }
}

/// What the activities of a place mean: of several that mean something the least available. Those of RFC 4480 are elements; the
/// draft before it had `<activity/>` with the word in it.
fn activity(place: &Element, rules: &PresenceRules) -> Option<Show> {
    let is_activities = |child: &&Element| {
        child.name == "activities" && matches!(child.space, RPID | RPID_STATUS) && is_understood(child)
    };
    let words = place.children.iter().filter(is_activities).flat_map(|activities| &activities.children);
    let shows = words.filter(|word| matches!(word.space, RPID | RPID_STATUS)).take(ACTIVITIES_MAX);
    shows
        .filter_map(|word| {
            rules.show_of(if word.name == "activity" { word.text.trim() } else { word.name.as_str() })
        })
        .max()
}

/// Whether an extension may be read: nothing in it must be understood that is not (RFC 3863 §4.2.3).
fn is_understood(extension: &Element) -> bool {
    !extension.children.iter().any(|child| {
        child.space.is_empty() && matches!(child.attribute(PIDF, "mustUnderstand"), Some("true" | "1"))
    })
}

/// 0 to 1 in at most three decimals as a priority from 0 to 127 (RFC 8048 §6.2).
fn priority_of(text: &str) -> Option<i8> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if decimals.len() > 3 || !is_number(decimals) || !matches!(whole, "0" | "1") {
        return None;
    }
    let thousandths: u32 = format!("{whole}{decimals:0<3}").parse().ok()?;
    i8::try_from((thousandths * 127 + 500) / 1000).ok().filter(|_| thousandths <= 1000)
}
