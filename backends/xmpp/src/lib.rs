//! The XMPP side of turnout: server-to-server streams of RFC 6120, to partners and to the legacy gateway.
//!
//! Invariant: bytes go in and bytes come out. Nothing here opens a socket, reads a clock, starts a thread or keeps
//! a lock, so every rule of the protocol can be tested by handing it bytes. What was received is checked in full
//! ([`frame`]) before anything looks at it, and is never repaired.

#![deny(unsafe_code)]

mod addresses;
mod answer;
mod arrival;
mod backend;
pub mod bounds;
mod delay;
mod dialback;
pub mod error;
pub mod frame;
mod identity;
mod inbound;
mod issuers;
mod liveness;
mod made;
mod management;
mod negotiate;
mod outbound;
mod pairs;
pub mod parse;
pub mod probe;
mod random;
mod refusals;
mod sessions;
mod terms;
mod trials;
mod turn;
pub mod write;

pub use backend::XmppBackend;
