//! XML streams as far as negotiating them takes: cut into first-level elements, a few attributes read. Invariant: this is used outside of
//! what is measured; messages in bulk are the ledger's.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::ServerConfig;

use crate::Outcome;
use crate::wire::Wire;

/// The value of an attribute of the first tag.
#[must_use]
pub fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let tag = &text[..text.find('>')?];
    let at = [' ', '\n'].iter().find_map(|space| tag.find(&format!("{space}{name}=")))? + name.len() + 2;
    let quote = tag[at..].chars().next()?;
    tag[at + 1..].split(quote).next()
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

/// The end of the first item: a header, a first-level element, or the end of the stream.
#[must_use]
pub fn item_end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        let end = tag_end(bytes, at)?;
        let tag = &bytes[at..end];
        if tag.starts_with(b"<?") || tag.starts_with(b"<stream:stream") || tag.starts_with(b"</stream:stream")
        {
            return Some(end);
        }
        if tag.starts_with(b"</") {
            depth = depth.saturating_sub(1);
        } else if !tag.ends_with(b"/>") {
            depth += 1;
        }
        if depth == 0 {
            return Some(end);
        }
        at = end + bytes[end..].iter().position(|byte| *byte == b'<')?;
    }
}

/// The next item of a stream as text, white space and XML declarations left out, and how many bytes to drop with it.
///
/// # Errors
/// When it is not UTF-8.
pub fn item(bytes: &[u8]) -> Outcome<Option<(&str, usize)>> {
    let mut at = 0;
    loop {
        at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if at == bytes.len() {
            return Ok((at > 0).then_some(("", at)));
        }
        let Some(end) = item_end(&bytes[at..]) else { return Ok(None) };
        if bytes[at..].starts_with(b"<?") {
            at += end;
            continue;
        }
        let text = std::str::from_utf8(&bytes[at..at + end]).map_err(|error| error.to_string())?;
        return Ok(Some((text, at + end)));
    }
}

/// A stream header between servers.
#[must_use]
pub fn header(from: &str, to: &str, more: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'{more}>"
    )
}

/// The digest of XEP-0114.
#[must_use]
pub fn component_key(id: &str, secret: &str) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{id}{secret}").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that is dialed: it takes everybody who offers a dialback key, and says of every key that it is valid.
#[derive(Clone, Debug)]
pub struct Server {
    /// What it secures streams with, when STARTTLS is wanted.
    pub tls: Option<Arc<ServerConfig>>,
    secured: bool,
    streams: u64,
}

impl Server {
    /// One that offers STARTTLS if it has certificates.
    #[must_use]
    pub fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self { tls, secured: false, streams: 0 }
    }

    /// Answers one item. True when from now on the stream may bring stanzas.
    ///
    /// # Errors
    /// When the peer ends the stream with an error, or says what this server does not know.
    pub fn answer(&mut self, text: &str, wire: &mut Wire) -> Outcome<bool> {
        let broken = |error: std::io::Error| error.to_string();
        let (from, to) =
            (attribute(text, "from").unwrap_or_default(), attribute(text, "to").unwrap_or_default());
        let mut ready = false;
        let reply = if text.starts_with("<stream:stream") {
            self.streams += 1;
            // Unique among the connections of a run by the socket's number, which lives as long as they do.
            let id = format!(" id='load{}x{}'", std::os::fd::AsRawFd::as_raw_fd(wire), self.streams);
            let features = match (&self.tls, self.secured) {
                (Some(_), false) => {
                    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>".to_owned()
                }
                _ => "<dialback xmlns='urn:xmpp:features:dialback'/>".to_owned(),
            };
            // A server of the old kind knows no features and gets none.
            let features = match attribute(text, "version") {
                Some(_) => format!("<stream:features>{features}</stream:features>"),
                None => String::new(),
            };
            format!("{}{features}", header(to, from, &id))
        } else if text.starts_with("<starttls") {
            let config = self.tls.clone().ok_or("STARTTLS without being offered")?;
            wire.queue(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").map_err(broken)?;
            wire.flush().map_err(broken)?;
            wire.secure_as_server(&config)?;
            self.secured = true;
            return Ok(false);
        } else if text.starts_with("<db:result") {
            ready = true;
            format!("<db:result from='{to}' to='{from}' type='valid'/>")
        } else if text.starts_with("<db:verify") {
            let id = attribute(text, "id").unwrap_or_default();
            format!("<db:verify from='{to}' to='{from}' id='{id}' type='valid'/>")
        } else if text.starts_with("</stream:stream") {
            "</stream:stream>".to_owned()
        } else if text.starts_with("<iq") && text.contains("urn:xmpp:ping") {
            let id = attribute(text, "id").unwrap_or_default();
            format!("<iq type='result' from='{to}' to='{from}' id='{id}'/>")
        } else if text.starts_with("<presence") || text.starts_with("<iq") || text.is_empty() {
            return Ok(false);
        } else {
            return Err(format!("the peer says {text}"));
        };
        wire.queue(reply.as_bytes()).map_err(broken)?;
        wire.flush().map_err(broken)?;
        Ok(ready)
    }
}
