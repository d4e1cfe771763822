//! Peers made of raw sockets: they share no code with the router, so that a misreading of a standard on one side is not made up for by
//! the same misreading on the other.

pub mod cards;
pub mod dns;
pub mod inbox;
pub mod server;
pub mod sip;
pub mod stream;
pub mod wire;
