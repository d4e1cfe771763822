//! An entry as octets, all numbers little-endian. Invariant: what is decoded could have been encoded; whatever else the octets are, the answer
//! is `None`, and nothing is allocated by a length that is not there.

use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, EntryKey};
use crate::jid::Jid;
use crate::limits::JID_PART_BYTES_MAX;
use crate::stanza::{IqType, Kind, MessageType, Payload, PresenceType};

/// No entry is longer: the largest stanza that can be configured, what is inserted, and its addresses.
pub const ENTRY_BYTES_MAX: usize = 17 * 1024 * 1024;

/// Kinds by their number on disk: only ever appended to.
const KINDS: [Kind; 17] = [
    Kind::Message(MessageType::Normal),
    Kind::Message(MessageType::Chat),
    Kind::Message(MessageType::Headline),
    Kind::Message(MessageType::Groupchat),
    Kind::Message(MessageType::Error),
    Kind::Presence(PresenceType::Available),
    Kind::Presence(PresenceType::Unavailable),
    Kind::Presence(PresenceType::Subscribe),
    Kind::Presence(PresenceType::Subscribed),
    Kind::Presence(PresenceType::Unsubscribe),
    Kind::Presence(PresenceType::Unsubscribed),
    Kind::Presence(PresenceType::Probe),
    Kind::Presence(PresenceType::Error),
    Kind::Iq(IqType::Get),
    Kind::Iq(IqType::Set),
    Kind::Iq(IqType::Result),
    Kind::Iq(IqType::Error),
];

/// As [`KINDS`].
const PAYLOADS: [Payload; 5] =
    [Payload::None, Payload::DiscoInfo, Payload::DiscoItems, Payload::Ping, Payload::Other];

/// The router made it.
const MADE: u8 = 1;
/// It came from a home, whose name follows.
const OF_HOME: u8 = 2;
/// Something is to be inserted.
const INSERTS: u8 = 4;
/// It replaces another, whose key follows.
const REPLACES: u8 = 8;

impl Entry {
    /// Appends its octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key.get().to_le_bytes());
        out.extend_from_slice(&self.order.to_le_bytes());
        out.extend_from_slice(&self.unix_millis.to_le_bytes());
        out.push(
            u8::from(self.made) * MADE
                + u8::from(self.home.is_some()) * OF_HOME
                + u8::from(self.insert.is_some()) * INSERTS
                + u8::from(self.replaces.is_some()) * REPLACES,
        );
        out.push(number(&KINDS, &self.kind));
        out.push(number(&PAYLOADS, &self.payload));
        for span in &self.spans {
            out.extend_from_slice(&span.start.to_le_bytes());
            out.extend_from_slice(&span.end.to_le_bytes());
        }
        out.extend_from_slice(&self.insert_at.to_le_bytes());
        if let Some(replaces) = self.replaces {
            out.extend_from_slice(&replaces.get().to_le_bytes());
        }
        if let Some(home) = &self.home {
            put(out, home.as_bytes());
        }
        put(out, self.from.as_str().as_bytes());
        put(out, self.to.as_str().as_bytes());
        if let Some(insert) = &self.insert {
            put(out, insert);
        }
        put(out, &self.bytes);
    }

    /// Reads what [`Entry::encode`] wrote; `None` for anything else.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut rest = Rest(octets);
        let (key, order, unix_millis) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let flags = rest.u8()?;
        if flags & !(MADE | OF_HOME | INSERTS | REPLACES) != 0 {
            return None;
        }
        let kind = *KINDS.get(usize::from(rest.u8()?))?;
        let payload = *PAYLOADS.get(usize::from(rest.u8()?))?;
        let mut span = || Some(rest.u32()?..rest.u32()?);
        let spans = [span()?, span()?, span()?];
        let insert_at = rest.u32()?;
        let replaces = match flags & REPLACES {
            0 => None,
            _ => Some(EntryKey::from_raw(rest.u64()?)),
        };
        let home = match flags & OF_HOME {
            0 => None,
            _ => Some(Arc::from(std::str::from_utf8(rest.take()?).ok()?)),
        };
        let (from, to) = (rest.jid()?, rest.jid()?);
        let insert = match flags & INSERTS {
            0 => None,
            _ => Some(Bytes::copy_from_slice(rest.take()?)),
        };
        let bytes = Bytes::copy_from_slice(rest.take()?);
        let within = |at: u32| at as usize <= bytes.len();
        let sound = spans.iter().all(|span| span.start <= span.end && within(span.end))
            && within(insert_at)
            && rest.0.is_empty();
        let key = EntryKey::from_raw(key);
        sound.then_some(Self {
            key,
            order,
            replaces,
            unix_millis,
            home,
            made: flags & MADE != 0,
            kind,
            payload,
            from,
            to,
            bytes,
            insert_at,
            insert,
            spans,
        })
    }
}

fn number<T: PartialEq>(all: &[T], one: &T) -> u8 {
    // Every value is in its table, which a test says; what is not would be refused when it is read.
    all.iter().position(|other| other == one).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn put(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(piece);
}

/// What has not been read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (piece, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*piece)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn take(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }

    /// An address that is as it would be prepared.
    fn jid(&mut self) -> Option<Jid> {
        let text = std::str::from_utf8(self.take()?).ok()?;
        if text.len() > 3 * JID_PART_BYTES_MAX + 2 {
            return None;
        }
        Jid::parse(text).ok().filter(|jid| jid.as_str() == text)
    }
}

#[cfg(test)]
mod tests;
