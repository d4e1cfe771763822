//! Refusals of the adapter itself.

use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};

/// No new stream is opened while the old ones end.
pub(crate) fn shutting_down() -> Refusal {
    let text = "this server is shutting down";
    Refusal::new(Condition::ResourceConstraint, Blame::Router, Retry::Later, Bounce::Yes, text)
}

/// A fault of our own.
pub(crate) fn wrong(detail: &'static str) -> Refusal {
    let text = "an internal error";
    Refusal::new(Condition::InternalServerError, Blame::Router, Retry::Never, Bounce::Yes, text)
        .with_detail(detail)
}
