//! Microsoft's categories to presence: the numbers a 2019 pool tells availability with, finer than its PIDF. Invariant: as for PIDF, what
//! nobody asked for changes nothing. Only the sum over all devices is read, as only that is true of the user.

use turnout_core::presence::{PresenceRules, Show};

use super::pidf::{Document, Flaw};
use super::shown::{Presence, bounded};
use super::tree::{self, Element};

const CATEGORIES: &str = "http://schemas.microsoft.com/2006/09/sip/categories";
const STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
const NOTE: &str = "http://schemas.microsoft.com/2006/09/sip/note";
const CARD: &str = "http://schemas.microsoft.com/2006/09/sip/contactcard";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Categories of a document.
const CATEGORIES_MAX: usize = 256;

/// What categories were told. A pool tells all of them once and then those that have changed, so what is not told stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Told {
    state: Option<State>,
    /// Language and text; none in it: there is no note now.
    note: Option<Option<(Option<String>, String)>>,
    name: Option<String>,
}

impl Told {
    /// These, and from before what they do not tell.
    pub(super) fn after(self, before: &Self) -> Self {
        Self {
            state: self.state.or_else(|| before.state.clone()),
            note: self.note.or_else(|| before.note.clone()),
            name: self.name.or_else(|| before.name.clone()),
        }
    }

    /// What they come to. The user is shown under his bare address here.
    pub(super) fn document(self, entity: String) -> Document {
        let mut document = Document { entity, ..Document::default() };
        match self.state.as_ref().map(|state| state.availability) {
            None | Some(Availability::Unknown) => {}
            Some(Availability::Offline) => document.closed.push("".into()),
            Some(Availability::Available(show)) => {
                let mut presence = Presence { show, ..Presence::available("") };
                if let Some(since) = self.state.as_ref().and_then(|state| state.since.as_deref()) {
                    presence.set_since(since);
                }
                if let Some((lang, text)) = self.note.iter().flatten().next() {
                    presence.add_status(lang.as_deref(), text);
                }
                presence.set_nick(self.name.as_deref().unwrap_or_default());
                document.open.push(presence);
            }
        }
        document.has_basic = !(document.open.is_empty() && document.closed.is_empty());
        document.categories = Some(Box::new(self));
        document
    }
}

/// Reads categories.
pub(super) fn read(body: &[u8], _rules: &PresenceRules) -> Result<Document, Flaw> {
    let root = tree::read(body, &[CATEGORIES, STATE, NOTE, CARD, INSTANCE])?;
    if !root.is(CATEGORIES, "categories") {
        return Err(Flaw::Broken("the document holds no categories"));
    }
    if root.all(CATEGORIES, "category").count() > CATEGORIES_MAX {
        return Err(Flaw::Broken("the document has too many categories"));
    }
    let cards = of_kind(&root, "contactCard").flat_map(|category| category.all(CARD, "contactCard"));
    let mut names = cards
        .filter_map(|card| card.first(CARD, "identity")?.first(CARD, "name")?.first(CARD, "displayName"));
    let told = Told {
        state: state(&root),
        note: of_kind(&root, "note").next().map(|_| note(&root)),
        name: names.next().map(|name| bounded(&name.text).to_owned()),
    };
    Ok(told.document(root.attribute("", "uri").unwrap_or_default().to_owned()))
}

fn of_kind<'a>(root: &'a Element, kind: &'a str) -> impl Iterator<Item = &'a Element> {
    let all = root.all(CATEGORIES, "category");
    all.filter(move |category| {
        category.attribute("", "name").is_some_and(|name| name.eq_ignore_ascii_case(kind))
    })
}

/// The state that counts: the aggregated one, else the first that tells a number. A number that is none, and 0, tell nothing.
fn state(root: &Element) -> Option<State> {
    let mut first = None;
    for category in of_kind(root, "state") {
        let unknown = State { availability: Availability::Unknown, since: None };
        let best = first.get_or_insert(unknown);
        let Some(state) = category.first(STATE, "state") else { continue };
        let number = state.first(STATE, "availability").and_then(|number| number.text.trim().parse().ok());
        let found = State {
            availability: availability(number.unwrap_or(0)),
            since: category.attribute("", "publishTime").map(|time| bounded(time).to_owned()),
        };
        let kind = state.attribute(INSTANCE, "type").unwrap_or_default();
        if kind.rsplit(':').next() == Some("aggregateState") {
            return Some(found);
        }
        if best.availability == Availability::Unknown {
            *best = found;
        }
    }
    first
}

/// What the user wrote himself, else what he wrote for his absence.
fn note(root: &Element) -> Option<(Option<String>, String)> {
    let bodies = |kind: &'static str| {
        of_kind(root, "note")
            .flat_map(|category| category.all(NOTE, "note"))
            .flat_map(|note| note.all(NOTE, "body"))
            .find(move |body| {
                body.attribute("", "type").unwrap_or("personal").eq_ignore_ascii_case(kind)
                    && !body.text.trim().is_empty()
            })
    };
    let body = bodies("personal").or_else(|| bodies("OOF"))?;
    Some((body.lang.as_deref().map(|lang| bounded(lang).to_owned()), bounded(&body.text).to_owned()))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    availability: Availability,
    since: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Availability {
    Unknown,
    Available(Option<Show>),
    Offline,
}

/// The ranges of availability numbers as Microsoft gives them. Idle is what XMPP clients call away; one who is busy and idle is busy.
fn availability(number: u32) -> Availability {
    Availability::Available(match number {
        0 => return Availability::Unknown,
        1..4500 => None,
        4500..6000 => Some(Show::Away),
        6000..12_000 => Some(Show::Dnd),
        12_000..18_000 => Some(Show::Away),
        _ => return Availability::Offline,
    })
}

#[cfg(test)]
mod tests;
