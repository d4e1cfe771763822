//! What an administrator has the router send to see what becomes of it: a message in a local user's name, or a ping to a partner.
//!
//! Invariant: a trial goes the way of any stanza of its kind – it is counted, waits and is refused like one – and its end is told once, to
//! whoever gave its number. Who may order one is the control plane's business.

use std::sync::Arc;

use crate::jid::{Domain, Jid};
use crate::refusal::Refusal;

/// A trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// A message from a local user (bare address), as if his home had sent it, to a partner's user.
    Message {
        /// The local user.
        from: Jid,
        /// The partner's user.
        to: Jid,
        /// What it says.
        text: Arc<str>,
    },
    /// A ping (XEP-0199) from one of our domains to a partner's, whose answer comes on the partner's own stream.
    Ping {
        /// Our domain.
        from: Domain,
        /// The partner's, one that policy knows.
        to: Domain,
    },
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The next hop has the message.
    Delivered,
    /// The partner answered the ping, in whatever words.
    Answered,
    /// It could not be delivered.
    Refused(Refusal),
    /// The sender lives in no home, so there is nobody to send it for.
    Homeless,
}

/// Set in the ticket of a ping: that it was delivered is not its end.
pub(crate) const AWAITS_ANSWER: u64 = 1 << 63;

/// The ticket by which the end of a trial is known again.
pub fn ticket(number: u64, awaits_answer: bool) -> u64 {
    if awaits_answer { number | AWAITS_ANSWER } else { number }
}
