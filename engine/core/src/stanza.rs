//! One stanza on its way through the router. Invariant: `bytes` are the bytes that were accepted, in full and unchanged; nothing
//! in this crate edits them, and only waiting copies them. What another stream needs to read them alike (namespace declarations, an inherited
//! language) stands beside them in `insert`, to be written at `insert_at`.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;

use crate::durable::OnDisk;
use crate::io::{LinkId, Side};
use crate::jid::Jid;

/// What a stanza is: its element name and its type, RFC 6120 §8.1 and RFC 6121.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `<message/>`, RFC 6121 §5.2.2.
    Message(MessageType),
    /// `<presence/>`, RFC 6121 §4.7.1.
    Presence(PresenceType),
    /// `<iq/>`, RFC 6120 §8.2.3.
    Iq(IqType),
}

/// Type of a message; an unknown value is `Normal` (RFC 6121 §5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 6121 §5.2.2")]
pub enum MessageType {
    Normal,
    Chat,
    Headline,
    Groupchat,
    Error,
}

/// Type of a presence stanza; `Available` is the absent attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 6121 §4.7.1")]
pub enum PresenceType {
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

/// Type of an iq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 6120 §8.2.3")]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

impl Kind {
    /// The kind a `<message/>` with this `type` attribute has.
    pub fn message(value: Option<&str>) -> Self {
        Self::Message(match value {
            Some("chat") => MessageType::Chat,
            Some("headline") => MessageType::Headline,
            Some("groupchat") => MessageType::Groupchat,
            Some("error") => MessageType::Error,
            _ => MessageType::Normal,
        })
    }

    /// The kind a `<presence/>` with this `type` attribute has, or `None` for a value RFC 6121 does not define.
    pub fn presence(value: Option<&str>) -> Option<Self> {
        Some(Self::Presence(match value {
            None => PresenceType::Available,
            Some("unavailable") => PresenceType::Unavailable,
            Some("subscribe") => PresenceType::Subscribe,
            Some("subscribed") => PresenceType::Subscribed,
            Some("unsubscribe") => PresenceType::Unsubscribe,
            Some("unsubscribed") => PresenceType::Unsubscribed,
            Some("probe") => PresenceType::Probe,
            Some("error") => PresenceType::Error,
            Some(_) => return None,
        }))
    }

    /// The kind an `<iq/>` with this `type` attribute has, or `None` for a missing or undefined value (RFC 6120 §8.2.3).
    pub fn iq(value: Option<&str>) -> Option<Self> {
        Some(Self::Iq(match value {
            Some("get") => IqType::Get,
            Some("set") => IqType::Set,
            Some("result") => IqType::Result,
            Some("error") => IqType::Error,
            _ => return None,
        }))
    }

    /// The element's local name.
    pub fn element(self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Presence(_) => "presence",
            Self::Iq(_) => "iq",
        }
    }

    /// Whether it reports an error: such a stanza is never answered with another (RFC 6120 §8.3.1).
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Self::Message(MessageType::Error) | Self::Presence(PresenceType::Error) | Self::Iq(IqType::Error)
        )
    }
}

/// What an iq asks, as far as a router answers it itself. The backend that read the stanza fills it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// No child, or not an iq.
    None,
    /// `{http://jabber.org/protocol/disco#info}query`, XEP-0030.
    DiscoInfo,
    /// `{http://jabber.org/protocol/disco#items}query`, XEP-0030.
    DiscoItems,
    /// `{urn:xmpp:ping}ping`, XEP-0199.
    Ping,
    /// Anything else.
    Other,
}

/// Where a stanza came from, and how its arrival backend knows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The side it arrived on.
    pub side: Side,
    /// The link it arrived on; its shard is the one that read it.
    pub link: LinkId,
    /// Given by the arrival backend when it wants to hear the verdict (a SIP transaction waits for its final response);
    /// 0 when a refusal is answered without state, as XMPP does.
    pub ticket: u64,
}

/// A stanza: accepted bytes plus what routing needs of them.
#[derive(Clone, Debug)]
pub struct Stanza {
    /// Element and type.
    pub kind: Kind,
    /// Sender, prepared.
    pub from: Jid,
    /// Recipient, prepared.
    pub to: Jid,
    /// The whole element as it was accepted; default namespace `jabber:server` unless `insert` says otherwise.
    pub bytes: Bytes,
    /// Where `insert` belongs: right after the element's qualified name.
    pub insert_at: u32,
    /// Attributes to write at `insert_at`, with a leading space; `None` in the usual case.
    pub insert: Option<Bytes>,
    /// The raw (still escaped) value of `from` within `bytes`.
    pub from_span: Range<u32>,
    /// The raw value of `to` within `bytes`.
    pub to_span: Range<u32>,
    /// The raw value of `id` within `bytes`; empty when there is none.
    pub id_span: Range<u32>,
    /// What an iq asks.
    pub payload: Payload,
    /// Where it came from.
    pub origin: Origin,
    /// When it arrived.
    pub arrived: Instant,
    /// Made by the router itself (a bounce, an answer): counted apart, never bounced.
    pub made: bool,
    /// How often a next hop took it and gave it back; bounded by `limits::ATTEMPTS_MAX`.
    pub attempts: u8,
    /// What of it is on disk.
    pub disk: OnDisk,
}

impl Stanza {
    /// The raw (escaped) text of a span of this stanza; empty if the span does not lie within it.
    pub fn raw(&self, span: &Range<u32>) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Lets go of the read it came in, which is many times larger: for a stanza that has to wait.
    pub fn settle_down(&mut self) {
        // An entry of the durable spool shares the bytes, which were copied for it.
        let settled = self.disk.kept.as_ref().is_some_and(|kept| kept.key.is_some());
        if !settled && !self.bytes.is_unique() {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
        }
    }

    /// Bytes this stanza takes on a stream and in a spool.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.insert.as_ref().map_or(0, Bytes::len)
    }

    /// Never true: a stanza has at least its tag. Present because `len` is.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The slices to write, in order: the accepted bytes, cut only where something must be declared.
    pub fn slices(&self) -> [Bytes; 3] {
        match &self.insert {
            None => [self.bytes.clone(), Bytes::new(), Bytes::new()],
            Some(insert) => {
                let at = (self.insert_at as usize).min(self.bytes.len());
                [self.bytes.slice(..at), insert.clone(), self.bytes.slice(at..)]
            }
        }
    }
}
