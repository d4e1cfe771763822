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
use turnout_core::stanza::{IqType, Origin, PresenceType, Stanza};

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

/// An iq for a user of the pool.
pub(crate) fn iq(now: Instant, kind: IqType, stanza: Stanza, origin: Origin, out: &mut Outbox) -> Sent {
    disco::answer(now, kind, stanza, origin, &disco::About::default(), out)
}

/// Not served here.
pub(crate) fn unavailable(text: &'static str) -> Refusal {
    Refusal::new(Condition::ServiceUnavailable, Blame::Recipient, Retry::Never, Bounce::Yes, text)
}
