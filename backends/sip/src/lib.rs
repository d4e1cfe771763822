//! SIP as turnout speaks it: no sockets, no clock; bytes come in and go out.
#![forbid(unsafe_code)]

mod answers;
mod asking;
mod backend;
mod cpim;
mod dialect;
mod dialog;
mod link;
mod memo;
mod presence;
mod random;
mod receipts;
mod receive;
mod sdp;
mod session;
mod slab;
#[cfg(any(test, fuzzing))]
pub mod subjects;
mod talk;
mod text;
mod transaction;
mod translate;
mod typing;

pub mod address;
pub mod error;
pub mod frame;
pub mod parse;
pub mod write;

pub use backend::SipBackend;
