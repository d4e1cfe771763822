//! Refusals of what cannot be delivered.

use crate::io::Unreachable;
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};

/// RFC 6120 §8.3.3.16 and 17, XR-05: a domain that is not there, or that is and does not answer.
pub(super) fn unreachable(why: Unreachable, name: &str) -> Refusal {
    let (condition, text) = match why {
        Unreachable::NotFound => (Condition::RemoteServerNotFound, format!("{name} offers no such service")),
        Unreachable::Unresolved => {
            (Condition::RemoteServerNotFound, format!("{name} could not be looked up"))
        }
        Unreachable::NoAnswer => (Condition::RemoteServerTimeout, format!("{name} cannot be reached")),
        Unreachable::Tls => (Condition::RemoteServerTimeout, format!("{name} could not be secured")),
        Unreachable::Limit => (Condition::ResourceConstraint, "too many connections".to_owned()),
    };
    Refusal::new(condition, Blame::NextHop, Retry::Later, Bounce::Yes, text)
}

/// A limit of the router: the sender may try later.
pub(super) fn full(text: &'static str) -> Refusal {
    Refusal::new(Condition::ResourceConstraint, Blame::Router, Retry::Later, Bounce::Yes, text)
}

/// For a stanza whose time is up: what stood in its way last.
pub(super) fn too_late(last: &Refusal) -> Refusal {
    let why = last.detail.as_deref().unwrap_or(&last.text);
    last.clone().with_detail(format!("it waited too long; the last attempt: {why}"))
}
