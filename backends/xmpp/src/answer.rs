//! What the router answers in its own name: service discovery and ping of a domain it speaks for (XEP-0030, XEP-0199; XI-01,
//! XI-02). Invariant: it claims no more than is true, and answers nothing on behalf of a user.

use std::time::Instant;

use bytes::BytesMut;
use turnout_core::io::Side;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{IqType, Kind, Payload, Stanza};

use crate::made::{self, Address, Parts};
use crate::write;

/// What a domain says of itself: a gateway between two servers, and the three questions it answers.
const FEATURES: [&str; 3] =
    ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "urn:xmpp:ping"];

/// The answer to a stanza addressed to a domain itself; `None` where the stanza asks for nothing.
///
/// # Errors
/// `service-unavailable` for what is not offered (RFC 6120 §8.4, XR-07); told only where the standard allows an answer.
pub(crate) fn answer(stanza: &Stanza, side: Side, now: Instant) -> Result<Option<Stanza>, Refusal> {
    let asked = match stanza.kind {
        Kind::Iq(IqType::Get) => stanza.payload,
        Kind::Iq(IqType::Set) | Kind::Message(_) => return Err(not_offered(Bounce::Yes)),
        Kind::Iq(IqType::Result | IqType::Error) => return Ok(None),
        // Presence to a server says nothing a server needs to know (RFC 6121 §8.1: no error is sent).
        Kind::Presence(_) => return Err(not_offered(Bounce::No)),
    };
    // A resource of the domain would be a service of its own; there is none.
    if stanza.to.local().is_some() || stanza.to.resource().is_some() {
        return Err(not_offered(Bounce::Yes));
    }
    let id = stanza.raw(&stanza.id_span);
    let parts = Parts {
        kind: Kind::Iq(IqType::Result),
        from: Address { jid: &stanza.to, raw: stanza.raw(&stanza.to_span) },
        to: Address { jid: &stanza.from, raw: stanza.raw(&stanza.from_span) },
        id: (!id.is_empty()).then_some(id),
        side,
        now,
    };
    match asked {
        Payload::Ping => Ok(Some(made::stanza(&parts, |_| {}))),
        Payload::DiscoInfo => Ok(Some(made::stanza(&parts, info))),
        Payload::DiscoItems => Ok(Some(made::stanza(&parts, |out| {
            out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#items'/>");
        }))),
        Payload::None | Payload::Other => Err(not_offered(Bounce::Yes)),
    }
}

fn info(out: &mut BytesMut) {
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#info'>");
    out.extend_from_slice(b"<identity category='server' type='im' name='turnout'/>");
    for feature in FEATURES {
        out.extend_from_slice(b"<feature");
        write::attribute(out, "var", feature);
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</query>");
}

fn not_offered(bounce: Bounce) -> Refusal {
    Refusal::new(
        Condition::ServiceUnavailable,
        Blame::Sender,
        Retry::Never,
        bounce,
        "this server does not offer that",
    )
}
