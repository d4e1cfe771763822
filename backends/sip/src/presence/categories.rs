//! Microsoft's categories to presence: the numbers a 2019 pool tells availability with, finer than its PIDF. Invariant: as for PIDF, what
//! nobody asked for changes nothing. Only the sum over all devices is read, as only that is true of the user.

use turnout_core::presence::{PresenceRules, Show};

use super::pidf::{Document, Flaw};
use super::shown::Presence;
use super::tree::{self, Element};

const CATEGORIES: &str = "http://schemas.microsoft.com/2006/09/sip/categories";
const STATE: &str = "http://schemas.microsoft.com/2006/09/sip/state";
const NOTE: &str = "http://schemas.microsoft.com/2006/09/sip/note";
const CARD: &str = "http://schemas.microsoft.com/2006/09/sip/contactcard";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Categories of a document.
const CATEGORIES_MAX: usize = 256;

/// Reads categories. The user is shown under his bare address here.
pub(super) fn read(body: &[u8], _rules: &PresenceRules) -> Result<Document, Flaw> {
    let root = tree::read(body, &[CATEGORIES, STATE, NOTE, CARD, INSTANCE])?;
    if !root.is(CATEGORIES, "categories") {
        return Err(Flaw::Broken("the document holds no categories"));
    }
    if root.all(CATEGORIES, "category").count() > CATEGORIES_MAX {
        return Err(Flaw::Broken("the document has too many categories"));
    }
    let entity = root.attribute("", "uri").unwrap_or_default();
    let mut document = Document { entity: entity.to_owned(), ..Document::default() };
    let Some((category, number)) = state(&root) else { return Ok(document) };
    document.has_basic = true;
    let Availability::Available(show) = availability(number) else {
        document.closed.push("".into());
        return Ok(document);
    };
    let mut presence = Presence { show, ..Presence::available("") };
    if let Some(time) = category.attribute("", "publishTime") {
        presence.set_since(time);
    }
    if let Some(note) = note(&root) {
        presence.add_status(note.lang.as_deref(), &note.text);
    }
    let cards = of_kind(&root, "contactCard").flat_map(|category| category.all(CARD, "contactCard"));
    let names = cards
        .filter_map(|card| card.first(CARD, "identity")?.first(CARD, "name")?.first(CARD, "displayName"));
    if let Some(name) = names.into_iter().next() {
        presence.set_nick(&name.text);
    }
    document.open.push(presence);
    Ok(document)
}

fn of_kind<'a>(root: &'a Element, kind: &'a str) -> impl Iterator<Item = &'a Element> {
    let all = root.all(CATEGORIES, "category");
    all.filter(move |category| {
        category.attribute("", "name").is_some_and(|name| name.eq_ignore_ascii_case(kind))
    })
}

/// The state that counts and the number it tells: the aggregated one, else the first. A state without a number tells nothing, nor does 0.
fn state(root: &Element) -> Option<(&Element, u32)> {
    let states = || {
        of_kind(root, "state").filter_map(|category| {
            let state = category.first(STATE, "state")?;
            let number = state.first(STATE, "availability")?.text.trim().parse().ok()?;
            let kind = state.attribute(INSTANCE, "type").unwrap_or_default();
            let kind = kind.rsplit(':').next().unwrap_or_default();
            (number > 0).then_some((category, number, kind == "aggregateState"))
        })
    };
    let found = states().find(|(.., is_sum)| *is_sum).or_else(|| states().next());
    found.map(|(category, number, _)| (category, number))
}

/// What the user wrote himself, else what he wrote for his absence.
fn note(root: &Element) -> Option<&Element> {
    let bodies = |kind: &'static str| {
        of_kind(root, "note")
            .flat_map(|category| category.all(NOTE, "note"))
            .flat_map(|note| note.all(NOTE, "body"))
            .find(move |body| {
                body.attribute("", "type").unwrap_or("personal").eq_ignore_ascii_case(kind)
                    && !body.text.trim().is_empty()
            })
    };
    bodies("personal").or_else(|| bodies("OOF"))
}

#[derive(Debug, PartialEq, Eq)]
enum Availability {
    Available(Option<Show>),
    Offline,
}

/// The ranges of availability numbers as Microsoft gives them. Idle is what XMPP clients call away; one who is busy and idle is busy.
fn availability(number: u32) -> Availability {
    Availability::Available(match number {
        0..4500 => None,
        4500..6000 => Some(Show::Away),
        6000..12_000 => Some(Show::Dnd),
        12_000..18_000 => Some(Show::Away),
        _ => return Availability::Offline,
    })
}

#[cfg(test)]
mod tests;
