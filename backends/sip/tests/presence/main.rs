//! Presence through event subscriptions: local users watched by partners' users, and the other way round, against a scripted pool.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

mod exhaustion;
mod notifier;
mod recovery;
mod stage;
mod storms;
#[path = "../support/mod.rs"]
mod support;
mod watch;
