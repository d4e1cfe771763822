//! Whole streams, in memory: two backends against each other, and one against scripted bytes. No socket, no TLS: the harness
//! says `Secured` with the certificate a test chose.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, unreachable_pub, reason = "test code")]

mod abuse;
mod answers;
mod bidi;
mod bypass;
mod cuts;
mod forged;
mod inside;
mod life;
mod limits;
mod matrix;
mod net;
mod pings;
mod proofs;
mod raw;
mod resuming;
mod smacks;
