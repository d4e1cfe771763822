//! Every decision of turnout, pure.
//!
//! Invariant: nothing in this crate reads a clock, opens a socket or a file, starts a thread or can link a runtime. Time and bytes
//! are arguments, so the whole router runs in one thread under a seeded simulator exactly as it runs in production.
//!
//! Where to begin: [`stanza`] is what travels, [`io`] what goes in and out of a [`shard`], [`backend`] the contract of a protocol
//! adapter, [`route`] the decision.

#![forbid(unsafe_code)]

pub mod backend;
pub mod contact;
pub mod contacts;
pub mod directory;
pub mod durable;
pub mod flow;
pub mod home;
pub mod io;
pub mod jid;
pub mod limits;
pub mod link;
pub mod moves;
pub mod notice;
pub mod placement;
pub mod policy;
pub mod pool;
pub mod presence;
pub mod random;
pub mod refusal;
pub mod route;
pub mod run;
pub mod shard;
pub mod spool;
pub mod stanza;
pub mod survey;
pub mod tally;
pub mod timers;
pub mod trace;
pub mod trial;
pub mod world;
