//! The paths of stanzas once more, with every router driven by `poll`: the tests of `tests/service`, whatever this machine has.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]
#![allow(missing_docs, unreachable_pub, reason = "nobody but this test sees these")]
#![allow(dead_code, reason = "some of the peers' tricks belong to tests that are not run twice")]

/// What these routers are driven by.
const DRIVER: &str = "poll";

#[path = "../service/errors.rs"]
mod errors;
#[path = "../service/estate.rs"]
mod estate;
#[path = "../service/faults.rs"]
mod faults;
#[path = "../service/inbound.rs"]
mod inbound;
#[path = "../service/moving.rs"]
mod moving;
#[path = "../service/peers/mod.rs"]
mod peers;
#[path = "../service/pressure.rs"]
mod pressure;
#[path = "../service/tracks.rs"]
mod tracks;
