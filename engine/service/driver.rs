//! What joins a shard to the world. Invariant: a driver decides nothing; it turns readiness into inputs and outputs into system
//! calls, in order. `poll` is epoll on the shard's own thread; `uring` will stand beside it and pass the same tests.

use std::time::Instant;

use turnout_core::io::{Input, Outbox};
use turnout_core::shard::Shard;

mod out;
pub mod poll;

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn follows.
    Next,
    /// The router stops: submit what is there, then leave.
    Over,
}

/// A source of inputs and a sink of outputs.
pub trait Driver {
    /// Waits until something happened or the deadline has passed, and appends what happened.
    fn wait(&mut self, deadline: Option<Instant>, inputs: &mut Vec<Input>) -> Turn;

    /// Does everything in `out.outputs`, in order, and empties it.
    fn submit(&mut self, out: &mut Outbox);

    /// A turn is over: now and then, let the outside see the counters.
    fn publish(&mut self, now: Instant, shard: &mut Shard);
}
