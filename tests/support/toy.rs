//! Two small line protocols that are as unkind to the shard as XMPP and SIP are, without their grammar: `stream` delivers when the
//! bytes are written, `ask` keeps each stanza until the peer has answered.

pub mod ask;
pub mod peers;
pub mod stream;

use std::time::Instant;

use bytes::Bytes;
use turnout_core::jid::Jid;
use turnout_core::stanza::{IqType, Kind, MessageType, Origin, Payload, PresenceType, Stanza};

/// Cuts whole lines off the front of a buffer.
pub fn lines(buffer: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    let Some(end) = buffer.iter().rposition(|&b| b == b'\n') else { return lines };
    let rest = buffer.split_off(end + 1);
    for line in std::mem::replace(buffer, rest).split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        lines.push(String::from_utf8_lossy(line).into_owned());
    }
    lines
}

/// The text of a stanza: `kind from to [number]`.
pub fn line(kind: char, from: &str, to: &str, number: usize) -> String {
    let padding = "x".repeat(number % 7 * 9);
    format!("{kind} {from} {to} [{number}] {padding}")
}

/// The number in a line or in anything else that carries one.
pub fn number(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']')?.0.parse().ok()
}

/// Reads a stanza.
pub fn stanza(now: Instant, line: &str, origin: Origin, made: bool) -> Option<Stanza> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "m" => Kind::Message(MessageType::Chat),
        "h" => Kind::Message(MessageType::Headline),
        "e" => Kind::Message(MessageType::Error),
        "p" => Kind::Presence(PresenceType::Probe),
        "q" => Kind::Iq(IqType::Get),
        "r" => Kind::Iq(IqType::Result),
        _ => return None,
    };
    let (from, to) = (Jid::parse(words.next()?).ok()?, Jid::parse(words.next()?).ok()?);
    number(line)?;
    Some(Stanza {
        kind,
        from,
        to,
        bytes: Bytes::copy_from_slice(line.as_bytes()),
        insert_at: 1,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 0..0,
        payload: Payload::None,
        origin,
        arrived: now,
        made,
        attempts: 0,
        disk: Default::default(),
    })
}

/// The number of a stanza.
pub fn number_of(stanza: &Stanza) -> usize {
    std::str::from_utf8(&stanza.bytes).ok().and_then(number).unwrap_or(usize::MAX)
}
