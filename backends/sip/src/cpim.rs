//! Messages within messages (RFC 3862), and the notifications of delivery that travel in them (RFC 5438). Invariant: what a wrapper
//! says of sender and recipient is never believed, and what goes into one can end no line.

use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;

use crate::translate::{entity, escape};

/// The type of a wrapped message.
pub(crate) const CPIM_TYPE: &str = "message/cpim";
/// The type of a notification of delivery.
pub(crate) const IMDN_TYPE: &str = "message/imdn+xml";

/// The namespace of headers about delivery (RFC 5438 §6).
const IMDN_HEADERS: &str = "urn:ietf:params:imdn";
/// The namespace of notifications (RFC 5438 §11).
const IMDN_DOCUMENT: &str = "urn:ietf:params:xml:ns:imdn";

/// Lines of headers looked at.
const LINES_MAX: usize = 64;
/// The longest Message-ID remembered.
const MESSAGE_ID_BYTES_MAX: usize = 256;
/// The longest DateTime remembered.
const DATE_BYTES_MAX: usize = 64;
/// A notification has a few hundred bytes.
const DOCUMENT_BYTES_MAX: usize = 8192;

/// A message without its wrapper.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unwrapped<'a> {
    /// What its sender wants to hear of it.
    pub(crate) wish: Wish,
    /// `Content-Type`, if given.
    pub(crate) kind: Option<&'a [u8]>,
    /// `Content-Transfer-Encoding`, if given.
    pub(crate) encoding: Option<&'a [u8]>,
    /// What it holds.
    pub(crate) body: &'a [u8],
}

/// What the sender of a message wants to hear of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// What he calls it; empty when it has no name, and then nothing can be said of it.
    pub(crate) message_id: Box<str>,
    /// When he wrote it, in his words.
    pub(crate) date: Box<str>,
    /// That it was delivered.
    pub(crate) positive: bool,
    /// That it was not.
    pub(crate) negative: bool,
}

/// Takes the wrapper off. `None`: there is no end of the headers, or the name of one is no text.
pub(crate) fn unwrap(bytes: &[u8]) -> Option<Unwrapped<'_>> {
    let mut found = Unwrapped::default();
    let (outer, inner) = headers(bytes)?;
    let (inner, body) = headers(inner)?;
    let prefix = outer.iter().find_map(|(name, value)| {
        let namespace = (*name == "NS").then(|| value.split_once('<'))??;
        let is_ours = namespace.1.strip_suffix('>') == Some(IMDN_HEADERS);
        is_ours.then(|| namespace.0.trim())
    });
    for (name, value) in outer {
        let own = prefix.and_then(|prefix| match prefix {
            "" => Some(name),
            prefix => name.strip_prefix(prefix)?.strip_prefix('.'),
        });
        match (name, own) {
            ("DateTime", _) => found.wish.date = sound(value, DATE_BYTES_MAX),
            (_, Some("Message-ID")) => found.wish.message_id = sound(value, MESSAGE_ID_BYTES_MAX),
            (_, Some("Disposition-Notification")) => {
                let mut wanted = value.split(',').map(str::trim);
                found.wish.positive = wanted.clone().any(|wanted| wanted == "positive-delivery");
                found.wish.negative = wanted.any(|wanted| wanted == "negative-delivery");
            }
            _ => {}
        }
    }
    for (name, value) in inner {
        if name.eq_ignore_ascii_case("Content-Type") {
            found.kind = Some(value.as_bytes());
        } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            found.encoding = Some(value.as_bytes());
        }
    }
    found.body = body;
    Some(found)
}

type Headers<'a> = Vec<(&'a str, &'a str)>;

/// Headers up to an empty line, and what follows it.
fn headers(bytes: &[u8]) -> Option<(Headers<'_>, &[u8])> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    for _ in 0..LINES_MAX {
        let end = memchr::memchr(b'\n', rest)?;
        let line = std::str::from_utf8(&rest[..end]).ok()?.trim_end_matches('\r');
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Some((found, rest));
        }
        if let Some((name, value)) = line.split_once(':') {
            found.push((name, value.trim()));
        }
    }
    None
}

/// A value to be said again: short, of printable ASCII; else none.
fn sound(value: &str, bytes_max: usize) -> Box<str> {
    let fits = value.len() <= bytes_max && value.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { value.into() } else { "".into() }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was delivered, or even displayed.
    Delivered,
    /// It was not.
    Failed,
}

/// Reads a notification: the name of the message, and what became of it. `None`: it says nothing of that.
pub(crate) fn read_notification(body: &[u8]) -> Option<(String, Fate)> {
    if body.len() > DOCUMENT_BYTES_MAX {
        return None;
    }
    let mut reader = NsReader::from_str(std::str::from_utf8(body).ok()?);
    let (mut path, mut id, mut fate) = (Vec::<String>::new(), String::new(), None);
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let is_ours = matches!(namespace, ResolveResult::Bound(bound) if bound.0 == IMDN_DOCUMENT);
        let (start, is_empty) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::Text(text) if path == ["imdn", "message-id"] => {
                id.push_str(&text.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) if path == ["imdn", "message-id"] => {
                id.push(entity(&reference)?);
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Eof => break,
            Event::DocType(_) => return None,
            _ => continue,
        };
        let name = if is_ours { start.local_name().as_ref().to_owned() } else { String::new() };
        if path.is_empty() && name != "imdn" || path.len() > 8 {
            return None;
        }
        let within = path.iter().map(String::as_str).collect::<Vec<_>>();
        match (within.as_slice(), name.as_str()) {
            (["imdn", "delivery-notification", "status"], "delivered")
            | (["imdn", "display-notification", "status"], "displayed") => fate = Some(Fate::Delivered),
            (["imdn", "delivery-notification", "status"], "failed") => fate = Some(Fate::Failed),
            _ => {}
        }
        if !is_empty {
            path.push(name);
        }
    }
    let id = id.trim();
    (path.is_empty() && !id.is_empty() && id.len() <= MESSAGE_ID_BYTES_MAX).then_some((id.to_owned(), fate?))
}

/// Wraps a text that asks for notifications of delivery (RFC 5438 §7.1.1). `from` and `to` are addresses as they are written in SIP.
pub(crate) fn wrap_text(from: &str, to: &str, message_id: &str, date: &str, text: &str) -> String {
    format!(
        "From: <{from}>\r\nTo: <{to}>\r\nDateTime: {date}\r\nNS: imdn <{IMDN_HEADERS}>\r\nimdn.Message-ID: {message_id}\r\n\
         imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Writes a notification about the message of this wish, and wraps it (RFC 5438 §7.2.1).
pub(crate) fn wrap_notification(from: &str, to: &str, message_id: &str, wish: &Wish, fate: Fate) -> String {
    let escaped = |text: &str| {
        let mut out = Vec::new();
        escape(text, &mut out);
        String::from_utf8(out).unwrap_or_default()
    };
    let status = match fate {
        Fate::Delivered => "delivered",
        Fate::Failed => "failed",
    };
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"{IMDN_DOCUMENT}\"><message-id>{}</message-id>\
         <datetime>{}</datetime><recipient-uri>{}</recipient-uri>\
         <delivery-notification><status><{status}/></status></delivery-notification></imdn>",
        escaped(&wish.message_id),
        escaped(&wish.date),
        escaped(from),
    );
    format!(
        "From: <{from}>\r\nTo: <{to}>\r\nNS: imdn <{IMDN_HEADERS}>\r\nimdn.Message-ID: {message_id}\r\n\r\n\
         Content-Type: {IMDN_TYPE}\r\nContent-Disposition: notification\r\nContent-Length: {}\r\n\r\n{document}",
        document.len()
    )
}

/// A moment as RFC 3339 has it, in UTC, for the years 1970 to 9999.
pub(crate) fn date(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Days of eras of 400 years that begin on 1 March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let days = days.min(2_932_896) + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests;
