//! Every limit of the core that a whole shard has to hold: at it all is well, one over it is answered as it should be, and nobody else
//! suffers. Which test goes beyond which limit is in tests/security/rows/limits.rs.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]
#![allow(clippy::disallowed_methods, reason = "a test needs one instant to count from")]

#[path = "bounds/links.rs"]
mod links;
#[path = "bounds/people.rs"]
mod people;
#[path = "bounds/rig.rs"]
mod rig;
#[path = "bounds/waiting.rs"]
mod waiting;
