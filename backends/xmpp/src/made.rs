//! Stanzas the router makes: error stanzas and answers. Invariant: an error is never answered with an error, an iq result with
//! nothing (RFC 6120 §8.3.1, XR-06), and no payload of a peer is echoed.

use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use turnout_core::backend::Composed;
use turnout_core::io::{LinkId, Side};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Bounce, Condition, Refusal};
use turnout_core::stanza::{IqType, Kind, MessageType, Origin, Payload, PresenceType, Stanza};

use crate::write;

/// An address with the text it is written as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    /// The address.
    pub(crate) jid: &'a Jid,
    /// As it stood between quotes in an accepted stanza.
    pub(crate) raw: &'a [u8],
}

/// What a made stanza consists of.
pub(crate) struct Parts<'a> {
    /// Element and type.
    pub(crate) kind: Kind,
    /// Who speaks.
    pub(crate) from: Address<'a>,
    /// Who is spoken to.
    pub(crate) to: Address<'a>,
    /// The raw id, where there is one.
    pub(crate) id: Option<&'a [u8]>,
    /// The side it is given to the router on.
    pub(crate) side: Side,
    /// The time.
    pub(crate) now: Instant,
}

/// Writes a stanza whose content `fill` writes.
pub(crate) fn stanza(parts: &Parts<'_>, fill: impl FnOnce(&mut BytesMut)) -> Stanza {
    let name = parts.kind.element();
    let mut out = BytesMut::with_capacity(320 + parts.from.raw.len() + parts.to.raw.len());
    out.extend_from_slice(b"<");
    out.extend_from_slice(name.as_bytes());
    let insert_at = narrow(out.len());
    let from_span = raw_attribute(&mut out, "from", parts.from.raw);
    let to_span = raw_attribute(&mut out, "to", parts.to.raw);
    let id_span = parts.id.map_or(0..0, |id| raw_attribute(&mut out, "id", id));
    if let Some(value) = type_of(parts.kind) {
        write::raw_attribute(&mut out, "type", value.as_bytes());
    }
    out.extend_from_slice(b">");
    fill(&mut out);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">");
    Stanza {
        kind: parts.kind,
        from: parts.from.jid.clone(),
        to: parts.to.jid.clone(),
        bytes: out.freeze(),
        insert_at,
        insert: None,
        from_span,
        to_span,
        id_span,
        payload: Payload::None,
        origin: Origin { side: parts.side, link: LinkId::NONE, ticket: 0 },
        arrived: parts.now,
        attempts: 0,
        disk: Default::default(),
        made: true,
    }
}

/// Presence the router has to say in the place of one user to another.
pub(crate) fn presence(composed: &Composed, now: Instant) -> Stanza {
    let (raw_from, raw_to) = (escaped(composed.from.as_str()), escaped(composed.to.as_str()));
    let parts = Parts {
        kind: Kind::Presence(composed.kind),
        from: Address { jid: &composed.from, raw: &raw_from },
        to: Address { jid: &composed.to, raw: &raw_to },
        id: None,
        side: Side::Partners,
        now,
    };
    stanza(&parts, |_| ())
}

/// What tells the sender of `stanza` that it was refused: an error stanza that says why, but `unsubscribed` to a partner's user
/// who asked to see a local user that cannot be reached (RFC 6121 §3.1.3, XR-09); `None` where nothing may be sent.
pub(crate) fn bounce(stanza: &Stanza, refusal: &Refusal, side: Side, now: Instant) -> Option<Stanza> {
    if stanza.made || refusal.bounce == Bounce::No {
        return None;
    }
    let id = stanza.raw(&stanza.id_span);
    if side == Side::Partners
        && stanza.kind == Kind::Presence(PresenceType::Subscribe)
        && refusal.condition == Condition::ServiceUnavailable
    {
        let (from, to) = (stanza.to.bare(), stanza.from.bare());
        let (raw_from, raw_to) = (escaped(from.as_str()), escaped(to.as_str()));
        let parts = Parts {
            kind: Kind::Presence(PresenceType::Unsubscribed),
            from: Address { jid: &from, raw: &raw_from },
            to: Address { jid: &to, raw: &raw_to },
            id: (!id.is_empty()).then_some(id),
            side,
            now,
        };
        return Some(self::stanza(&parts, |_| {}));
    }
    let parts = Parts {
        kind: error_kind(stanza.kind)?,
        from: Address { jid: &stanza.to, raw: stanza.raw(&stanza.to_span) },
        to: Address { jid: &stanza.from, raw: stanza.raw(&stanza.from_span) },
        id: (!id.is_empty()).then_some(id),
        side,
        now,
    };
    Some(error(&parts, refusal))
}

/// An error stanza.
pub(crate) fn error(parts: &Parts<'_>, refusal: &Refusal) -> Stanza {
    stanza(parts, |out| {
        write::stanza_error(out, refusal.condition.as_str(), refusal.error_type.as_str(), &refusal.text);
    })
}

/// The kind of the error that answers a stanza of this kind; `None` where nothing may answer it.
pub(crate) fn error_kind(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Iq(IqType::Get | IqType::Set) => Some(Kind::Iq(IqType::Error)),
        Kind::Message(of) if of != MessageType::Error => Some(Kind::Message(MessageType::Error)),
        Kind::Presence(of) if of != PresenceType::Error => Some(Kind::Presence(PresenceType::Error)),
        Kind::Iq(IqType::Result | IqType::Error) | Kind::Message(_) | Kind::Presence(_) => None,
    }
}

/// The value of `type`; `None` where the attribute is left out.
fn type_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Message(MessageType::Normal) | Kind::Presence(PresenceType::Available) => None,
        Kind::Message(MessageType::Chat) => Some("chat"),
        Kind::Message(MessageType::Headline) => Some("headline"),
        Kind::Message(MessageType::Groupchat) => Some("groupchat"),
        Kind::Message(MessageType::Error) | Kind::Presence(PresenceType::Error) | Kind::Iq(IqType::Error) => {
            Some("error")
        }
        Kind::Presence(PresenceType::Unavailable) => Some("unavailable"),
        Kind::Presence(PresenceType::Subscribe) => Some("subscribe"),
        Kind::Presence(PresenceType::Subscribed) => Some("subscribed"),
        Kind::Presence(PresenceType::Unsubscribe) => Some("unsubscribe"),
        Kind::Presence(PresenceType::Unsubscribed) => Some("unsubscribed"),
        Kind::Presence(PresenceType::Probe) => Some("probe"),
        Kind::Iq(IqType::Get) => Some("get"),
        Kind::Iq(IqType::Set) => Some("set"),
        Kind::Iq(IqType::Result) => Some("result"),
    }
}

/// Writes ` name='value'` and says where the value is.
fn raw_attribute(out: &mut BytesMut, name: &str, value: &[u8]) -> Range<u32> {
    let start = out.len() + name.len() + 3;
    write::raw_attribute(out, name, value);
    narrow(start)..narrow(out.len().saturating_sub(1))
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A text as it is written between quotes.
pub(crate) fn escaped(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 8);
    write::attribute(&mut out, "x", text);
    let inside = 4..out.len().saturating_sub(1);
    out.freeze().get(inside.clone()).map_or_else(Bytes::new, Bytes::copy_from_slice)
}
