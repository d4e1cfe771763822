//! Presence to PIDF.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use turnout_core::presence::Show;

use super::names::{CIPID, CLIENT, DATA_MODEL, PIDF, RPID, RPID_STATUS};
use super::{Layout, tuple_id};
use crate::presence::shown::{Presence, most_available};
use crate::translate::escaped;

/// As [`super::write()`].
pub(super) fn write(entity: &str, open: &[Presence], layout: Layout, with_notes: bool) -> String {
    let mut out = String::with_capacity(512);
    out.push_str("<?xml version='1.0' encoding='UTF-8'?>\n");
    let activities = match layout {
        Layout::Single => format!(" xmlns:ep='{RPID_STATUS}'"),
        Layout::Tuples => format!(" xmlns:dm='{DATA_MODEL}' xmlns:rpid='{RPID}'"),
    };
    element(
        &mut out,
        format_args!("<presence xmlns='{PIDF}'{activities} xmlns:ci='{CIPID}' entity='{}'>", escaped(entity)),
    );
    let shown = most_available(open);
    let nick = shown.as_ref().and_then(|shown| shown.nick.as_deref());
    let nick = nick.or_else(|| open.iter().find_map(|presence| presence.nick.as_deref()));
    match (layout, &shown) {
        (Layout::Single, shown) => single(&mut out, shown.as_ref(), with_notes),
        (Layout::Tuples, None) => tuple_closed(&mut out, &tuple_id("")),
        (Layout::Tuples, Some(shown)) => {
            let mut ids = BTreeSet::new();
            for presence in open {
                let id = tuple_id(&presence.resource);
                if ids.insert(id.clone()) {
                    tuple_of(&mut out, &id, entity, presence, with_notes);
                }
            }
            // A resource that is simply there would be taken for away by who finds no word about it but the person's.
            if open.iter().all(|presence| presence.show.and_then(activity).is_some()) {
                person(&mut out, shown.show);
            }
        }
    }
    if let Some(nick) = nick {
        element(&mut out, format_args!("<ci:display-name>{}</ci:display-name>", escaped(nick)));
    }
    out.push_str("</presence>\n");
    out
}

/// The one tuple a pool shows.
fn single(out: &mut String, shown: Option<&Presence>, with_notes: bool) {
    let Some(shown) = shown else { return tuple_closed(out, "ID-0") };
    out.push_str("<tuple id='ID-0'><status><basic>open</basic>");
    if let Some(activity) = shown.show.and_then(activity) {
        element(out, format_args!("<ep:activities><ep:activity>{activity}</ep:activity></ep:activities>"));
    }
    show(out, shown.show);
    out.push_str("</status>");
    end_of_tuple(out, shown, with_notes);
}

fn tuple_of(out: &mut String, id: &str, entity: &str, presence: &Presence, with_notes: bool) {
    element(out, format_args!("<tuple id='{id}'><status><basic>open</basic>"));
    show(out, presence.show);
    out.push_str("</status>");
    if let Some(priority) = presence.priority.and_then(|priority| u32::try_from(priority).ok()) {
        // RFC 8048 §5.2.1 (6): 0 to 127 becomes 0 to 1 in three decimals, each another; rounded to the nearest.
        let thousandths = (priority * 2000 + 127) / 254;
        let (whole, decimals) = (thousandths / 1000, thousandths % 1000);
        element(out, format_args!("<contact priority='{whole}.{decimals:03}'>{}</contact>", escaped(entity)));
    }
    end_of_tuple(out, presence, with_notes);
}

/// Notes, the timestamp and the end tag.
fn end_of_tuple(out: &mut String, presence: &Presence, with_notes: bool) {
    let statuses = if with_notes { presence.statuses.as_slice() } else { &[] };
    for (lang, text) in statuses {
        match lang {
            Some(lang) => {
                element(out, format_args!("<note xml:lang='{}'>{}</note>", escaped(lang), escaped(text)))
            }
            None => element(out, format_args!("<note>{}</note>", escaped(text))),
        }
    }
    if let Some(since) = &presence.since {
        element(out, format_args!("<timestamp>{}</timestamp>", escaped(since)));
    }
    out.push_str("</tuple>");
}

fn tuple_closed(out: &mut String, id: &str) {
    element(out, format_args!("<tuple id='{id}'><status><basic>closed</basic></status></tuple>"));
}

/// The activity of the most available resource, with the person (RFC 4480 §3.2).
fn person(out: &mut String, show: Option<Show>) {
    if let Some(activity) = show.and_then(activity) {
        element(
            out,
            format_args!(
                "<dm:person id='person'><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>"
            ),
        );
    }
}

/// `<show/>` as an extension of the status (RFC 8048 §5.2.1 (7)).
fn show(out: &mut String, show: Option<Show>) {
    if let Some(show) = show {
        element(out, format_args!("<show xmlns='{CLIENT}'>{}</show>", show.as_str()));
    }
}

/// The activity that tells a show to who does not know the extension; both layouts have these two words.
fn activity(show: Show) -> Option<&'static str> {
    match show {
        Show::Chat => None,
        Show::Away | Show::Xa => Some("away"),
        Show::Dnd => Some("busy"),
    }
}

fn element(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes whatever is written to it.
    out.write_fmt(text).unwrap_or_default();
}
