//! A load generator for stanza routers, byte relays and SIP gateways.
//!
//! It plays the partner and, at the other end, the gateway, the component or the pool; what it measures is what arrives there,
//! and nothing counts that is not checked: every message carries the number of its stream, of its pair of users and its own, and
//! a gap, a repetition or a wrong order ends the run with an error.

pub mod args;
pub mod floor;
pub mod hist;
pub mod jobs;
pub mod ledger;
pub mod load;
pub mod partner;
pub mod report;
pub mod run;
pub mod sheet;
pub mod sink;
pub mod sip;
pub mod sys;
pub mod tls;
pub mod wire;
pub mod xml;

/// A result whose error says what went wrong, for people.
pub type Outcome<T> = Result<T, String>;
