//! Stanza to text and text to stanza (RFC 7572, RFC 7573). Invariant: what is written is one well-formed stanza whatever the
//! text holds, and what is read is only what stands in the namespaces of RFC 6121: a `<body/>` of XHTML is not a body.

mod hints;
mod plain;

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::{NsReader, XmlVersion};
use turnout_core::jid::Jid;
use turnout_core::stanza::{IqType, Kind, MessageType, Origin, Payload, Stanza};

pub(crate) use hints::{ACTIVE, ChatState, Hints, Invited, RECEIPTS, REQUEST};

/// Text of a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// As it stands in the bytes of the stanza: it holds no reference and no line end to be changed.
    Here(Range<u32>),
    /// Made of them.
    Made(String),
}

impl Text {
    /// The text, of the stanza it was read from.
    pub(crate) fn of<'a>(&'a self, stanza: &'a Stanza) -> &'a str {
        match self {
            Self::Here(span) => std::str::from_utf8(stanza.raw(span)).unwrap_or_default(),
            Self::Made(text) => text,
        }
    }
}

/// What a message says, as far as SIP can carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Spoken {
    /// The text; `None` when the message says nothing (chat states, receipts, markers).
    pub(crate) body: Option<Text>,
    /// The subject, if there is one.
    pub(crate) subject: Option<Text>,
    /// What it says beside.
    pub(crate) hints: Hints,
}

/// Reads a message. Where there are several bodies, the one in the language of the stanza is taken, else the first; a link
/// beside the text (XEP-0066, XEP-0385, XEP-0447) is put behind it unless the text names it. `None` when the stanza cannot be read, which the
/// backend that accepted it has ruled out.
pub(crate) fn read_message(stanza: &Stanza) -> Option<Spoken> {
    plain::read(stanza).or_else(|| read_any(stanza))
}

/// Reads any message.
fn read_any(stanza: &Stanza) -> Option<Spoken> {
    let whole = whole(stanza);
    let mut reader = NsReader::from_str(std::str::from_utf8(&whole).ok()?);
    let mut found = Found::default();
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        match event {
            Event::Start(start) => found.open(&namespace, &start),
            Event::Empty(start) => found.look(&namespace, &start),
            Event::End(_) => found.close(),
            Event::Text(text) => found.text(&text.xml10_content()),
            Event::CData(text) => found.text(&text.xml10_content()),
            Event::GeneralRef(reference) => found.text(entity(&reference)?.encode_utf8(&mut [0; 4])),
            Event::Eof => return Some(found.choose()),
            _ => {}
        }
    }
}

/// What goes into a message made of text that came over SIP.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    /// The text.
    pub(crate) body: &'a str,
    /// `Call-ID`, or what stands for it.
    pub(crate) thread: Option<&'a str>,
    /// The subject.
    pub(crate) subject: Option<&'a str>,
    /// `id`, unique.
    pub(crate) id: &'a str,
    /// More elements, as XML written here.
    pub(crate) extra: &'a [&'a str],
}

/// Who sends a made stanza to whom, when, and whose it is.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// The sender.
    pub(crate) from: Jid,
    /// The recipient.
    pub(crate) to: Jid,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// Now.
    pub(crate) arrived: Instant,
}

/// Writes a message stanza.
pub(crate) fn write_message(envelope: Envelope, kind: MessageType, words: &Words<'_>) -> Stanza {
    let texts = words.body.len() + words.thread.map_or(0, str::len) + words.subject.map_or(0, str::len);
    let more = words.extra.iter().map(|extra| extra.len()).sum::<usize>();
    let mut out = Writer::open("message", words.id.as_bytes(), &envelope, texts + texts / 16 + more);
    out.bytes.extend_from_slice(match kind {
        MessageType::Chat => b" type='chat'>",
        _ => b">",
    });
    for (name, text) in [("subject", words.subject), ("body", Some(words.body)), ("thread", words.thread)] {
        let Some(text) = text else { continue };
        out.element(name, text);
    }
    words.extra.iter().for_each(|extra| out.bytes.extend_from_slice(extra.as_bytes()));
    out.bytes.extend_from_slice(b"</message>");
    out.finish(Kind::Message(kind), envelope, false)
}

/// Writes a message without text: a chat state, a receipt, an error. `inside` is what it holds beside the thread, already XML; `id` is
/// escaped already.
pub(crate) fn write_signal(
    envelope: Envelope,
    kind: MessageType,
    id: &str,
    thread: Option<&str>,
    inside: &str,
) -> Stanza {
    let texts = inside.len() + thread.map_or(0, str::len);
    let mut out = Writer::open("message", id.as_bytes(), &envelope, texts);
    out.bytes.extend_from_slice(match kind {
        MessageType::Chat => b" type='chat'>",
        MessageType::Error => b" type='error'>",
        _ => b">",
    });
    if let Some(thread) = thread {
        out.element("thread", thread);
    }
    out.bytes.extend_from_slice(inside.as_bytes());
    out.bytes.extend_from_slice(b"</message>");
    out.finish(Kind::Message(kind), envelope, false)
}

/// Writes the result of an iq, made by the router: `inside` is what the result holds, already XML.
pub(crate) fn write_result(asked: &Stanza, inside: &str, origin: Origin, now: Instant) -> Stanza {
    let envelope = Envelope { from: asked.to.clone(), to: asked.from.clone(), origin, arrived: now };
    // The raw value is escaped already; only the quote it stood in may differ from ours.
    let id: Vec<u8> = asked
        .raw(&asked.id_span)
        .iter()
        .flat_map(|byte| if *byte == b'\'' { b"&#39;".as_slice() } else { std::slice::from_ref(byte) })
        .copied()
        .collect();
    let mut out = Writer::open("iq", &id, &envelope, inside.len());
    out.bytes.extend_from_slice(b" type='result'>");
    out.bytes.extend_from_slice(inside.as_bytes());
    out.bytes.extend_from_slice(b"</iq>");
    out.finish(Kind::Iq(IqType::Result), envelope, true)
}

/// The characters XML 1.0 allows, anything else as U+FFFD; the vertical tab and the form feed, which word processors put for
/// line ends, as line ends.
pub(crate) fn xml_char(char: char) -> char {
    match char {
        '\u{b}' | '\u{c}' => '\n',
        '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => char,
        _ => '\u{fffd}',
    }
}

/// Writes one stanza, the places of its addresses noted.
pub(crate) struct Writer {
    /// What is written so far.
    pub(crate) bytes: Vec<u8>,
    insert_at: u32,
    from: Range<u32>,
    to: Range<u32>,
    id: Range<u32>,
}

impl Writer {
    /// `id` is written as it is: escaped by the caller, or of characters that need no escape.
    /// `texts`: bytes that will be written besides.
    pub(crate) fn open(element: &str, id: &[u8], envelope: &Envelope, texts: usize) -> Self {
        let mut out = Self::open_without_id(element, envelope, texts + id.len());
        out.id = out.attribute("id", |bytes| bytes.extend_from_slice(id));
        out
    }

    /// As [`Self::open`], for what needs no `id`.
    pub(crate) fn open_without_id(element: &str, envelope: &Envelope, texts: usize) -> Self {
        let (from, to) = (envelope.from.as_str(), envelope.to.as_str());
        let bytes = Vec::with_capacity(from.len() + to.len() + texts + TAGS_BYTES);
        let mut out = Self { bytes, insert_at: 0, from: 0..0, to: 0..0, id: 0..0 };
        out.bytes.push(b'<');
        out.bytes.extend_from_slice(element.as_bytes());
        out.insert_at = out.at();
        out.from = out.attribute("from", |bytes| escape(from, bytes));
        out.to = out.attribute("to", |bytes| escape(to, bytes));
        out
    }

    fn at(&self) -> u32 {
        // A stanza made here is bounded by the largest SIP body, far below 4 GiB.
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn attribute(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"='");
        let start = self.at();
        value(&mut self.bytes);
        let end = self.at();
        self.bytes.push(b'\'');
        start..end
    }

    /// XML as it is, or what ends a tag.
    pub(crate) fn raw(&mut self, xml: &str) {
        self.bytes.extend_from_slice(xml.as_bytes());
    }

    /// An element that holds text.
    pub(crate) fn element(&mut self, name: &str, text: &str) {
        self.bytes.push(b'<');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'>');
        escape(text, &mut self.bytes);
        self.bytes.extend_from_slice(b"</");
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'>');
    }

    /// The stanza.
    pub(crate) fn finish(self, kind: Kind, envelope: Envelope, made: bool) -> Stanza {
        Stanza {
            kind,
            from: envelope.from,
            to: envelope.to,
            bytes: Bytes::from(self.bytes),
            insert_at: self.insert_at,
            insert: None,
            from_span: self.from,
            to_span: self.to,
            id_span: self.id,
            payload: Payload::None,
            origin: envelope.origin,
            arrived: envelope.arrived,
            made,
            attempts: 0,
            disk: Default::default(),
        }
    }
}

/// Bytes of names, quotes and brackets in a message with every element we write.
const TAGS_BYTES: usize = 128;

/// XML text, good for content and for attributes in either quote. Line ends become one `\n`, as a parser would read them.
pub(crate) fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let plain = plain_bytes(rest.as_bytes());
        // What stops a run of plain bytes is the first byte of a character.
        let (head, tail) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        out.extend_from_slice(head.as_bytes());
        let Some(char) = tail.chars().next() else { return };
        rest = &tail[char.len_utf8()..];
        match char {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '\'' => out.extend_from_slice(b"&#39;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                out.push(b'\n');
            }
            char => out.extend_from_slice(xml_char(char).encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// As [`escape`], of its own.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + text.len() / 16);
    escape(text, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// How many bytes from the start stand for themselves. 0xEF begins U+FFFE and U+FFFF, which XML does not allow.
fn plain_bytes(bytes: &[u8]) -> usize {
    let special = |byte: &u8| {
        (*byte < b' ')
            | (*byte == b'&')
            | (*byte == b'<')
            | (*byte == b'>')
            | (*byte == b'\'')
            | (*byte == b'"')
            | (*byte == 0xef)
    };
    // Many bytes at once, as the compiler can compare them so, those that are left in a block of their own.
    let is_clean = |block: &[u8; 32]| !block.iter().fold(false, |any, byte| any | special(byte));
    let (blocks, rest) = bytes.as_chunks::<32>();
    let clean = blocks.iter().take_while(|block| is_clean(block)).count() * 32;
    if clean == blocks.len() * 32 {
        let mut last = [b' '; 32];
        last[..rest.len()].copy_from_slice(rest);
        if is_clean(&last) {
            return bytes.len();
        }
    }
    clean + bytes[clean..].iter().position(special).unwrap_or(bytes.len() - clean)
}

/// All bytes of a stanza, with what is declared for it.
pub(crate) fn whole(stanza: &Stanza) -> Bytes {
    match &stanza.insert {
        None => stanza.bytes.clone(),
        Some(_) => stanza.slices().concat().into(),
    }
}

/// The namespace of XEP-0066 out-of-band data.
const OOB: &str = "jabber:x:oob";
/// The namespace of what a room says to a user (XEP-0045).
const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// The namespaces of shared files (XEP-0447, XEP-0385 in XEP-0372) and of where they lie (XEP-0103).
const FILE_SHARING: &str = "urn:xmpp:sfs:0";
const REFERENCE: &str = "urn:xmpp:reference:0";
const URL_DATA: &str = "http://jabber.org/protocol/url-data";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Body,
    Subject,
    Link,
}

/// The child of the message whose children matter too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    /// None such.
    #[default]
    Nothing,
    /// XEP-0066.
    Link,
    /// XEP-0447, or a reference that may hold XEP-0385.
    Files,
    /// XEP-0045.
    Room,
}

/// What was met so far in a message.
#[derive(Debug, Default)]
struct Found {
    depth: usize,
    lang: Option<String>,
    hints: Hints,
    inside: Inside,
    open: Option<(Field, usize, Option<String>, String)>,
    bodies: Vec<(Option<String>, String)>,
    subjects: Vec<(Option<String>, String)>,
    link: Option<String>,
}

/// Bodies looked at; more than a few are an oddity.
const BODIES_MAX: usize = 16;

impl Found {
    fn open(&mut self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) {
        let depth = self.depth;
        if depth == 0 {
            self.depth = 1;
            self.lang = attribute(start, "xml:lang");
            return;
        }
        self.look(namespace, start);
        self.depth += 1;
        let name = start.local_name();
        let name: &str = name.as_ref();
        let field = match (depth, name) {
            (1, "body") if is_stanza(namespace) => Some(Field::Body),
            (1, "subject") if is_stanza(namespace) => Some(Field::Subject),
            (2, "url") if self.inside == Inside::Link && is(namespace, OOB) => Some(Field::Link),
            _ => None,
        };
        if let Some(field) = field {
            self.open = Some((field, depth, attribute(start, "xml:lang"), String::new()));
        }
        if depth == 1 {
            self.inside = match name {
                "x" if is(namespace, OOB) => Inside::Link,
                "x" if is(namespace, MUC_USER) => Inside::Room,
                "file-sharing" if is(namespace, FILE_SHARING) => Inside::Files,
                "reference" if is(namespace, REFERENCE) => Inside::Files,
                _ => Inside::Nothing,
            };
        }
    }

    /// Looks at a tag within the message, be it empty or not, for what its name and attributes say.
    fn look(&mut self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) {
        match self.depth {
            0 => {}
            1 => self.hints.look(namespace, start),
            _ => {
                let name = start.local_name();
                let name: &str = name.as_ref();
                let link = match (self.inside, name) {
                    (Inside::Room, "invite") if self.depth == 2 && is(namespace, MUC_USER) => {
                        self.hints.invited = Some(Invited::ByRoom);
                        None
                    }
                    (Inside::Files, "url-data") if is(namespace, URL_DATA) => attribute(start, "target"),
                    (Inside::Files, "reference") if is(namespace, REFERENCE) => attribute(start, "uri"),
                    _ => None,
                };
                let link = link.filter(|link| link.starts_with("https://") || link.starts_with("http://"));
                self.link = self.link.take().or(link);
            }
        }
    }

    fn text(&mut self, text: &str) {
        // Text of elements within a body is not the body's: RFC 6121 §5.2.3 allows none.
        if let Some((_, depth, _, into)) = &mut self.open
            && self.depth == *depth + 1
        {
            into.push_str(text);
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.depth <= 1 {
            self.inside = Inside::Nothing;
        }
        let depth = self.depth;
        let Some((field, _, lang, text)) = self.open.take_if(|(_, opened, ..)| *opened == depth) else {
            return;
        };
        match field {
            Field::Body if self.bodies.len() < BODIES_MAX => self.bodies.push((lang, text)),
            Field::Subject if self.subjects.len() < BODIES_MAX => self.subjects.push((lang, text)),
            Field::Link if self.link.is_none() => self.link = Some(text),
            _ => {}
        }
    }

    fn choose(self) -> Spoken {
        let pick = |mut texts: Vec<(Option<String>, String)>| {
            let own = texts.iter().position(|(lang, _)| lang.is_none() || *lang == self.lang);
            if texts.is_empty() { None } else { Some(texts.swap_remove(own.unwrap_or(0)).1) }
        };
        let body = pick(self.bodies).filter(|body| !body.is_empty());
        let link = self.link.filter(|link| !link.trim().is_empty());
        let body = match (body, link) {
            (Some(body), Some(link)) if !body.contains(link.trim()) => {
                Some(format!("{body}\n{}", link.trim()))
            }
            (None, Some(link)) => Some(link.trim().to_owned()),
            (body, _) => body,
        };
        let subject = pick(self.subjects).filter(|subject| !subject.is_empty());
        Spoken { body: body.map(Text::Made), subject: subject.map(Text::Made), hints: self.hints }
    }
}

/// Whether an element is in this namespace.
pub(crate) fn is(namespace: &ResolveResult<'_>, name: &str) -> bool {
    matches!(namespace, ResolveResult::Bound(bound) if bound.0 == name)
}

/// The namespace of the stanza itself; unbound is the stream's default, which the bytes need not repeat.
pub(crate) fn is_stanza(namespace: &ResolveResult<'_>) -> bool {
    matches!(namespace, ResolveResult::Unbound)
        || is(namespace, "jabber:server")
        || is(namespace, "jabber:client")
}

/// The value of an attribute, by its name as written.
pub(crate) fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = start.attributes().flatten().find(|attribute| attribute.key.0 == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

/// The character a reference stands for; `None` if it is none of the five entities and no number.
pub(crate) fn entity(reference: &BytesRef<'_>) -> Option<char> {
    if reference.is_char_ref() {
        return reference.resolve_char_ref().ok().flatten();
    }
    match &**reference {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
