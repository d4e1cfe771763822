//! Presence and iq for users of the pool: for now the honest answer. Invariant: nothing is claimed that is not so. Presence is
//! not translated yet, so a request to see a user is refused with `service-unavailable` and never left to hang; what
//! asks for nothing ends here in silence, as RFC 6121 wants of a server that has nobody to give it to.

mod categories;
#[allow(dead_code, reason = "the dialogs that call it come next")]
pub(crate) mod disco;
#[allow(dead_code, reason = "the dialogs that call it come next")]
pub(crate) mod pidf;
#[allow(dead_code, reason = "the dialogs that call it come next")]
pub(crate) mod shown;
mod stamp;
#[allow(dead_code, reason = "the dialogs that call it come next")]
pub(crate) mod stanza;
mod tree;

use std::time::Instant;

use turnout_core::backend::Sent;
use turnout_core::io::Outbox;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{IqType, Origin, Payload, PresenceType, Stanza};

use crate::translate::{names_node, write_result};

/// What disco#info about a user of the pool says (XEP-0030 §3): that he is there, and what we answer for him.
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
    <identity category='account' type='registered'/>\
    <feature var='http://jabber.org/protocol/disco#info'/>\
    <feature var='urn:xmpp:ping'/></query>";

/// Presence for a user of the pool.
pub(crate) fn presence(kind: PresenceType, stanza: Stanza) -> Sent {
    match kind {
        PresenceType::Subscribe => {
            Sent::Refused(stanza, unavailable("presence of this user is not available over federation yet"))
        }
        PresenceType::Available
        | PresenceType::Unavailable
        | PresenceType::Subscribed
        | PresenceType::Unsubscribe
        | PresenceType::Unsubscribed
        | PresenceType::Probe
        | PresenceType::Error => Sent::Answered(stanza),
    }
}

/// An iq for a user of the pool: ping and disco#info are answered for his bare JID (XI-01, XI-02), nothing else is served
/// (RFC 6120 §8.4).
pub(crate) fn iq(now: Instant, kind: IqType, stanza: Stanza, origin: Origin, out: &mut Outbox) -> Sent {
    if matches!(kind, IqType::Result | IqType::Error) {
        return Sent::Answered(stanza);
    }
    let inside = match (kind, stanza.payload, stanza.to.resource()) {
        (IqType::Get, Payload::Ping, None) => "",
        (IqType::Get, Payload::DiscoInfo, None) if names_node(&stanza) => {
            let text = "this user has no such node";
            let refusal =
                Refusal::new(Condition::ItemNotFound, Blame::Sender, Retry::Never, Bounce::Yes, text);
            return Sent::Refused(stanza, refusal);
        }
        (IqType::Get, Payload::DiscoInfo, None) => INFO,
        _ => return Sent::Refused(stanza, unavailable("this user can be sent messages only")),
    };
    out.arrivals.push_back(write_result(&stanza, inside, origin, now));
    Sent::Answered(stanza)
}

/// Not served here.
pub(crate) fn unavailable(text: &'static str) -> Refusal {
    Refusal::new(Condition::ServiceUnavailable, Blame::Recipient, Retry::Never, Bounce::Yes, text)
}
