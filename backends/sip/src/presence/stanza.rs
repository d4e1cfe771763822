//! Presence stanzas: what one says of a resource, and one that says it (RFC 6121 §4.7). Invariant: reading takes what it
//! understands and leaves the rest, so one odd stanza of one user never harms another; writing gives one well-formed stanza
//! whatever the texts hold.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use turnout_core::presence::Show;
use turnout_core::stanza::{Kind, PresenceType, Stanza};

use super::shown::Presence;
use crate::translate::{Envelope, Writer, attribute, entity, escaped, is, is_stanza, whole};

/// XEP-0172.
const NICK: &str = "http://jabber.org/protocol/nick";

/// XEP-0203.
const DELAY: &str = "urn:xmpp:delay";

/// Reads an available presence. An unknown show and a priority that is no number are as if they were not there; of two of one
/// kind the first counts.
pub(crate) fn read(stanza: &Stanza) -> Presence {
    let mut found = Found::new(stanza.from.resource().unwrap_or_default());
    let whole = whole(stanza);
    if let Ok(text) = std::str::from_utf8(&whole) {
        let mut reader = NsReader::from_str(text);
        // The bytes were accepted as well-formed; if they are not, what was read until there counts.
        while let Ok((namespace, event)) = reader.read_resolved_event() {
            match event {
                Event::Start(start) => found.open(&namespace, &start),
                Event::Empty(start) => {
                    found.open(&namespace, &start);
                    found.close();
                }
                Event::End(_) => found.close(),
                Event::Text(text) => found.text(&text.xml10_content()),
                Event::CData(text) => found.text(&text.xml10_content()),
                Event::GeneralRef(reference) => match entity(&reference) {
                    Some(char) => found.text(char.encode_utf8(&mut [0; 4])),
                    None => break,
                },
                Event::Eof => break,
                _ => {}
            }
        }
    }
    found.presence
}

/// What an available presence may say beside the resource itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    /// `<c/>` (XEP-0115) as [`super::disco::caps`] writes it, if disco is answered for this resource.
    pub(crate) caps: Option<&'a str>,
    /// Whether the name is told (XEP-0172).
    pub(crate) nick: bool,
    /// Whether it is told since when it is so (XEP-0203): for a state that is not new.
    pub(crate) delay: bool,
}

/// Writes an available presence. `from` of the envelope is the full address; the resource of `presence` does not matter here.
pub(crate) fn write_available(envelope: Envelope, presence: &Presence, extras: Extras<'_>) -> Stanza {
    let mut out = Writer::open_without_id("presence", &envelope, 256);
    out.bytes.push(b'>');
    if let Some(show) = presence.show {
        out.element("show", show.as_str());
    }
    for (lang, text) in &presence.statuses {
        match lang {
            Some(lang) => {
                out.raw(&format!("<status xml:lang='{}'>{}</status>", escaped(lang), escaped(text)))
            }
            None => out.element("status", text),
        }
    }
    if let Some(priority) = presence.priority {
        out.element("priority", &priority.to_string());
    }
    if let Some(nick) = presence.nick.as_deref().filter(|_| extras.nick) {
        out.raw(&format!("<nick xmlns='{NICK}'>{}</nick>", escaped(nick)));
    }
    if let Some(caps) = extras.caps {
        out.raw(caps);
    }
    if let Some(since) = presence.since.as_deref().filter(|_| extras.delay) {
        out.raw(&format!("<delay xmlns='{DELAY}' stamp='{}'/>", escaped(since)));
    }
    out.raw("</presence>");
    out.finish(Kind::Presence(PresenceType::Available), envelope, false)
}

/// Writes a presence that says only its type. `id` is text, escaped here.
pub(crate) fn write_plain(envelope: Envelope, kind: PresenceType, id: Option<&str>) -> Stanza {
    let mut out = match id {
        Some(id) => Writer::open("presence", escaped(id).as_bytes(), &envelope, 0),
        None => Writer::open_without_id("presence", &envelope, 0),
    };
    match word(kind) {
        Some(word) => out.raw(&format!(" type='{word}'/>")),
        None => out.raw("/>"),
    }
    out.finish(Kind::Presence(kind), envelope, false)
}

fn word(kind: PresenceType) -> Option<&'static str> {
    match kind {
        PresenceType::Available => None,
        PresenceType::Unavailable => Some("unavailable"),
        PresenceType::Subscribe => Some("subscribe"),
        PresenceType::Subscribed => Some("subscribed"),
        PresenceType::Unsubscribe => Some("unsubscribe"),
        PresenceType::Unsubscribed => Some("unsubscribed"),
        PresenceType::Probe => Some("probe"),
        PresenceType::Error => Some("error"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Show,
    Status,
    Priority,
    Nick,
}

/// What was met so far.
#[derive(Debug)]
struct Found {
    presence: Presence,
    depth: usize,
    lang: Option<String>,
    open: Option<(Field, Option<String>, String)>,
    has_show: bool,
}

impl Found {
    fn new(resource: &str) -> Self {
        Self { presence: Presence::available(resource), depth: 0, lang: None, open: None, has_show: false }
    }

    fn open(&mut self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) {
        let depth = self.depth;
        self.depth += 1;
        if depth == 0 {
            self.lang = attribute(start, "xml:lang");
        }
        if depth != 1 {
            return;
        }
        let name = start.local_name();
        let name: &str = name.as_ref();
        let field = match name {
            "show" if is_stanza(namespace) => Some(Field::Show),
            "status" if is_stanza(namespace) => Some(Field::Status),
            "priority" if is_stanza(namespace) => Some(Field::Priority),
            "nick" if is(namespace, NICK) => Some(Field::Nick),
            "delay" if is(namespace, DELAY) && self.presence.since.is_none() => {
                self.presence.set_since(&attribute(start, "stamp").unwrap_or_default());
                None
            }
            _ => None,
        };
        self.open = field.map(|field| (field, attribute(start, "xml:lang"), String::new()));
    }

    fn text(&mut self, text: &str) {
        if self.depth == 2
            && let Some((.., into)) = &mut self.open
        {
            into.push_str(text);
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth != 1 {
            return;
        }
        let Some((field, lang, text)) = self.open.take() else { return };
        let presence = &mut self.presence;
        match field {
            Field::Show if !self.has_show => {
                self.has_show = true;
                presence.show = Show::of(text.trim());
            }
            Field::Priority if presence.priority.is_none() => presence.priority = text.trim().parse().ok(),
            Field::Status => {
                presence.add_status(lang.as_deref().or(self.lang.as_deref()), &text);
            }
            Field::Nick if presence.nick.is_none() => presence.set_nick(&text),
            Field::Show | Field::Priority | Field::Nick => {}
        }
    }
}

#[cfg(test)]
mod tests;
