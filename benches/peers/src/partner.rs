//! Streams that we open: as the partner to the server under load, and as a component of it. Invariant: a stream handed out is
//! authenticated, and nothing that was read from it is lost.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::Outcome;
use crate::wire::{ROOM, Wire};
use crate::xml;

/// How a partner proves who he is.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A dialback key over plain TCP.
    Dialback,
    /// TLS from the first byte, then SASL EXTERNAL.
    Direct(Arc<ClientConfig>),
    /// STARTTLS, then SASL EXTERNAL.
    StartTls(Arc<ClientConfig>),
}

/// A stream being negotiated, which may wait.
struct Talk {
    wire: Wire,
    buffer: Vec<u8>,
}

impl Talk {
    fn say(&mut self, text: &str) -> Outcome<()> {
        self.wire.send(text.as_bytes()).map_err(|error| error.to_string())
    }

    /// The next item.
    fn hear(&mut self) -> Outcome<String> {
        let mut room = vec![0; ROOM];
        loop {
            if let Some((text, length)) = xml::item(&self.buffer)? {
                let text = text.to_owned();
                self.buffer.drain(..length);
                if text.starts_with("<stream:error") {
                    return Err(format!("the peer says {text}"));
                }
                if !text.is_empty() {
                    return Ok(text);
                }
            }
            let got = self.wire.receive(&mut room).map_err(|error| error.to_string())?;
            self.buffer.extend_from_slice(&room[..got.bytes]);
            if got.end && got.bytes == 0 {
                return Err(format!("the peer ends; unread: {}", String::from_utf8_lossy(&self.buffer)));
            }
            if got.bytes == 0 {
                self.wire.until_readable().map_err(|error| error.to_string())?;
            }
        }
    }

    /// The next item that begins so.
    fn until(&mut self, start: &str) -> Outcome<String> {
        loop {
            let text = self.hear()?;
            if text.starts_with(start) {
                return Ok(text);
            }
        }
    }

    fn open(&mut self, from: &str, to: &str) -> Outcome<String> {
        self.say(&xml::header(from, to, ""))?;
        self.until("<stream:stream")?;
        self.until("<stream:features")
    }

    fn external(&mut self, from: &str, to: &str) -> Outcome<()> {
        self.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")?;
        let answer = self.hear()?;
        if !answer.starts_with("<success") {
            return Err(format!("EXTERNAL as {from}: {answer}"));
        }
        self.open(from, to).map(|_| ())
    }
}

/// A stream from a partner's domain to a local one.
///
/// # Errors
/// When the server is not there or refuses.
pub fn open(address: SocketAddr, from: &str, to: &str, proof: &Proof) -> Outcome<Wire> {
    let mut talk = Talk { wire: Wire::dial(address)?, buffer: Vec::new() };
    match proof {
        Proof::Dialback => {
            talk.open(from, to)?;
            talk.say(&format!(
                "<db:result from='{from}' to='{to}'>6b6579206f662074686520706172746e6572</db:result>"
            ))?;
            let answer = talk.until("<db:result")?;
            if xml::attribute(&answer, "type") != Some("valid") {
                return Err(format!("dialback as {from}: {answer}"));
            }
        }
        Proof::Direct(config) => {
            talk.wire.secure_as_client(config, to)?;
            talk.open(from, to)?;
            talk.external(from, to)?;
        }
        Proof::StartTls(config) => {
            talk.open(from, to)?;
            talk.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
            talk.until("<proceed")?;
            talk.wire.secure_as_client(config, to)?;
            talk.open(from, to)?;
            talk.external(from, to)?;
        }
    }
    Ok(talk.wire)
}

/// A component's stream (XEP-0114).
///
/// # Errors
/// When the server is not there or refuses.
pub fn component(address: SocketAddr, domain: &str, secret: &str) -> Outcome<Wire> {
    let mut talk = Talk { wire: Wire::dial(address)?, buffer: Vec::new() };
    talk.say(&format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
    ))?;
    let header = talk.until("<stream:stream")?;
    let id = xml::attribute(&header, "id").ok_or("a header without id")?.to_owned();
    talk.say(&format!("<handshake>{}</handshake>", xml::component_key(&id, secret)))?;
    talk.until("<handshake")?;
    Ok(talk.wire)
}
