//! The durable spool against disks that lose, tear, fail and fill up. `RECOVERIES=n cargo test --test spool` sets how many crashes are
//! recovered from; `SEED=n` repeats one run.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

#[path = "../support/disk.rs"]
#[allow(unreachable_pub, reason = "shared with the simulation")]
mod disk;
mod images;
