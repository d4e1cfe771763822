//! What a stanza is, read from its raw `type`, and whether it has the shape the standard asks for. Invariant: only values that the
//! standards define, written as they define them, are known here; `arrival` decides on all others.

use turnout_core::stanza::{IqType, Kind, MessageType, PresenceType};

pub(super) fn message(value: &[u8]) -> Option<MessageType> {
    Some(match value {
        b"normal" => MessageType::Normal,
        b"chat" => MessageType::Chat,
        b"groupchat" => MessageType::Groupchat,
        b"headline" => MessageType::Headline,
        b"error" => MessageType::Error,
        _ => return None,
    })
}

pub(super) fn presence(value: &[u8]) -> Option<PresenceType> {
    Some(match value {
        b"unavailable" => PresenceType::Unavailable,
        b"subscribe" => PresenceType::Subscribe,
        b"subscribed" => PresenceType::Subscribed,
        b"unsubscribe" => PresenceType::Unsubscribe,
        b"unsubscribed" => PresenceType::Unsubscribed,
        b"probe" => PresenceType::Probe,
        b"error" => PresenceType::Error,
        _ => return None,
    })
}

pub(super) fn iq(value: &[u8]) -> Option<IqType> {
    Some(match value {
        b"get" => IqType::Get,
        b"set" => IqType::Set,
        b"result" => IqType::Result,
        b"error" => IqType::Error,
        _ => return None,
    })
}

/// The rules of RFC 6120 §8.1.3 and §8.2.3 on iq stanzas.
#[inline(always)]
pub(super) fn well_shaped(kind: Kind, has_id: bool, children: usize) -> bool {
    match kind {
        Kind::Iq(IqType::Get | IqType::Set) => has_id && children == 1,
        Kind::Iq(IqType::Result) => has_id && children <= 1,
        Kind::Iq(IqType::Error) => has_id,
        Kind::Message(_) | Kind::Presence(_) => true,
    }
}
