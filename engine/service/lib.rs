//! The service: everything that touches the world.
//!
//! Invariant: it knows no XML and no SIP of peers; it names a backend only where it builds one, or lets one read what a peer said. What decides is in `turnout-core`.
//!
//! Where to begin: [`turn`] is the one loop, [`driver`] what joins it to sockets, [`router`] puts everything together.

pub mod access;
pub mod admin;
pub mod buffers;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod control;
pub mod demo;
pub mod desk;
pub mod dev_certs;
pub mod directory;
pub mod driver;
pub mod exports;
pub mod feed;
pub mod handover;
pub mod listen;
pub mod log;
pub mod look;
pub mod mail;
pub mod metrics;
pub mod migrate;
pub mod outside;
pub mod pipe;
pub mod places;
pub mod probe;
pub mod questions;
pub mod redact;
pub mod resolve;
pub mod router;
pub mod run;
pub mod spool;
pub mod store;
pub mod systemd;
pub mod tls;
pub mod turn;
