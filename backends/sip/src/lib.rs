//! SIP as turnout speaks it: no sockets, no clock; bytes come in and go out.
#![forbid(unsafe_code)]

pub mod address;
pub mod error;
pub mod frame;
pub mod parse;
pub mod write;
