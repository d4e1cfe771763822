//! The service: everything that touches the world.
//!
//! Invariant: it knows no XML and no SIP; it names a backend only where it builds one. What decides is in `turnout-core`.
//!
//! Where to begin: [`turn`] is the one loop, [`driver`] what joins it to sockets, [`router`] puts everything together.

pub mod cli;
pub mod config;
pub mod dev_certs;
pub mod directory;
pub mod resolve;
pub mod tls;
