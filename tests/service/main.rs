//! The whole router on real sockets: partners, a legacy gateway and a 2019 pool made of scripts talk to it over loopback, and every
//! test ends with the books balanced: what was received was delivered, bounced or dropped by rule, and nothing is held.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]
#![allow(missing_docs, unreachable_pub, reason = "nobody but this test sees these")]

/// What these routers are driven by: what this machine has.
const DRIVER: &str = "auto";

mod administration;
mod cli;
mod contacts;
mod disks;
mod errors;
mod estate;
mod faults;
mod homes;
mod inbound;
mod inside;
mod migration;
mod moving;
mod peers;
mod pictures;
mod pressure;
mod privacy;
mod probing;
mod process;
mod rehearsal;
mod reload;
mod scraped;
mod service_manager;
mod spool;
mod takeover;
mod tracks;
mod trials;
mod upgrade;
mod weekend;
