//! Commands that talk to a running router. Invariant: they know it only through its admin API.

mod http;
pub mod user;
