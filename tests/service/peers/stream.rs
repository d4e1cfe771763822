//! The XML streams of a scripted XMPP server: cut into first-level elements, nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use turnout::clock::now;

use super::inbox::PATIENCE;
use super::wire::{End, Wire};

/// What a stream brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `<stream:stream …>`.
    Header(String),
    /// One whole element.
    Element(String),
    /// `</stream:stream>`.
    Close,
    /// The connection is gone.
    End(End),
}

/// The value of an attribute of the first tag.
pub fn attribute(text: &str, name: &str) -> Option<String> {
    let tag = &text[..text.find('>')?];
    let at = tag.find(&format!(" {name}="))? + name.len() + 2;
    let quote = tag[at..].chars().next()?;
    tag[at + 1..].split(quote).next().map(str::to_owned)
}

/// A header as a server sends it.
pub fn header(from: &str, to: &str, more: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'{more}>"
    )
}

/// A chat message.
pub fn chat(from: &str, to: &str, id: &str, body: &str) -> String {
    format!("<message from='{from}' to='{to}' id='{id}' type='chat'><body>{body}</body></message>")
}

/// The text between `<body>` and `</body>`.
pub fn body(stanza: &str) -> &str {
    stanza.split("<body>").nth(1).and_then(|rest| rest.split("</body>").next()).unwrap_or_default()
}

/// Where the tag that begins at `from` ends, past its `>`.
fn tag_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => (),
        }
    }
    None
}

/// The end of the first item in the bytes, which begin with `<`.
fn item_end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        if bytes[at..].starts_with(b"<![CDATA[") {
            let end = at + bytes[at..].windows(3).position(|part| part == b"]]>")? + 3;
            at = end + bytes[end..].iter().position(|byte| *byte == b'<')?;
            continue;
        }
        let end = tag_end(bytes, at)?;
        let tag = &bytes[at..end];
        if tag.starts_with(b"<stream:stream") || tag.starts_with(b"</stream:stream") {
            return Some(end);
        }
        match (tag[1], tag[tag.len() - 2]) {
            (b'?', _) => return Some(end),
            (b'/', _) => depth -= 1,
            (_, b'/') => (),
            _ => depth += 1,
        }
        if depth == 0 {
            return Some(end);
        }
        at = end + bytes[end..].iter().position(|byte| *byte == b'<')?;
    }
}

impl Wire {
    /// The next thing on the stream.
    pub fn next(&mut self) -> Item {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(item) = self.poll() {
                return item;
            }
            assert!(now() < deadline, "nothing comes; unread: {:?}", self.text());
            self.pump(Duration::from_secs(1));
        }
    }

    /// The next thing on the stream, if it is whole.
    pub fn poll(&mut self) -> Option<Item> {
        loop {
            let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.buffer.drain(..blank);
            let Some(end) = (!self.buffer.is_empty()).then(|| item_end(&self.buffer)).flatten() else {
                return self.end.clone().map(Item::End);
            };
            let text = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
            return Some(match &text {
                text if text.starts_with("<?") => continue,
                text if text.starts_with("</stream:stream") => Item::Close,
                _ if text.starts_with("<stream:stream") => Item::Header(text),
                _ => Item::Element(text),
            });
        }
    }

    /// The next element, which has to hold this text.
    pub fn element(&mut self, part: &str) -> String {
        match self.next() {
            Item::Element(text) if text.contains(part) => text,
            other => panic!("expected {part:?}, came {other:?}"),
        }
    }

    /// Opens a stream; gives the other side's features and keeps the id of its header.
    pub fn open(&mut self, from: &str, to: &str) -> (String, String) {
        self.send(header(from, to, ""));
        let Item::Header(answer) = self.next() else { panic!("no header: {:?}", self.text()) };
        (self.element("<stream:features"), attribute(&answer, "id").unwrap())
    }

    /// The stream error that ends this stream, and that it then really ends: the error, `</stream:stream>`, the end of TLS.
    pub fn dies_with(&mut self, condition: &str) -> String {
        let error = loop {
            match self.next() {
                Item::Element(text) if text.starts_with("<stream:error") => break text,
                Item::Element(_) | Item::Header(_) => (),
                other => panic!("expected {condition}, came {other:?}"),
            }
        };
        assert!(error.contains(&format!("<{condition} ")), "expected {condition}, came {error}");
        assert_eq!(self.next(), Item::Close);
        let end = self.until_end();
        assert!(matches!(end, End::Notified | End::Eof), "{end:?}");
        error
    }
}

/// A stream of `from` to `to` with STARTTLS, before it has proven anything; its features.
pub fn starttls(address: SocketAddr, config: Arc<ClientConfig>, from: &str, to: &str) -> (Wire, String) {
    let mut wire = Wire::dial(address);
    let (features, _) = wire.open(from, to);
    assert!(features.contains("<starttls"), "{features}");
    wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    wire.element("<proceed");
    wire.secure_as_client(config, to).unwrap();
    let (features, _) = wire.open(from, to);
    (wire, features)
}

/// SASL EXTERNAL on a secured stream, and the stream opened anew.
pub fn external(wire: &mut Wire, from: &str, to: &str) {
    wire.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    wire.element("<success");
    wire.open(from, to);
}

/// A key offered by dialback; the other side's verdict, `valid`, `invalid` or `error`.
pub fn dialback(wire: &mut Wire, from: &str, to: &str, key: &str) -> String {
    wire.send(format!("<db:result from='{from}' to='{to}'>{key}</db:result>"));
    attribute(&wire.element("<db:result"), "type").unwrap()
}
