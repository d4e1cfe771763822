//! What the test files share. Invariant: everything here is deterministic: the only sources of time and chance are the arguments.
#![allow(unreachable_pub, reason = "a test file has no outside")]
#![allow(dead_code, reason = "each test file uses its own part of what is shared")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

pub mod bench;
pub mod disk;
pub mod estate;
pub mod ledger;
pub mod net;
pub mod peer;
pub mod play;
pub mod real;
pub mod sim;
pub mod toy;

/// The one instant all tests count from.
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs one instant to count from; only differences matter"
)]
pub fn epoch() -> std::time::Instant {
    static EPOCH: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}
