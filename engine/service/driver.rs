//! What joins a shard to the world. Invariant: a driver decides nothing; it turns readiness into inputs and outputs into system
//! calls, in order. `poll` is epoll on the shard's own thread, `uring` an io_uring; both pass the same tests. Which of them moves bytes is
//! decided once, for all shards.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::Receiver;
use turnout_core::io::{Input, Outbox};
use turnout_core::shard::Shard;

use crate::config::DriverChoice;
use crate::mail::{Mail, Post};
use crate::outside::Outside;
use uring::probe::Refused;

pub(crate) mod doubt;
mod limits;
pub(crate) mod out;
pub mod poll;
mod share;
pub mod uring;

/// A driver that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// epoll, asked by the shard itself.
    Poll,
    /// io_uring.
    IoUring,
}

impl Kind {
    /// Its name, as the configuration, the log and the metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::IoUring => "io_uring",
        }
    }

    /// Chooses, for all shards, by trying io_uring out.
    ///
    /// # Errors
    /// A limit of the system, or that io_uring is wished and cannot be had: what to do.
    pub fn choose(choice: DriverChoice) -> Result<Self, String> {
        Self::choose_by(choice, uring::probe::probe)
    }

    fn choose_by(choice: DriverChoice, probe: impl FnOnce() -> Result<(), Refused>) -> Result<Self, String> {
        if choice == DriverChoice::Poll {
            return Ok(Self::Poll);
        }
        match probe() {
            Ok(()) => Ok(Self::IoUring),
            Err(Refused::Unsupported(text)) if choice == DriverChoice::Auto => {
                tracing::info!(event = "driver.fallback", "io_uring is not used, poll is: {text}");
                Ok(Self::Poll)
            }
            Err(Refused::Unsupported(text)) => {
                Err(format!("io_uring is wished and cannot be had: {text}; write \"auto\" or \"poll\""))
            }
            Err(Refused::Limit(text)) => Err(format!("io_uring: {text}")),
        }
    }

    /// Makes a shard's driver, on the shard's own thread.
    ///
    /// # Errors
    /// The kernel gives no poller or ring: what it says, and which limit that usually is.
    pub fn open(
        self,
        index: u16,
        mail: Receiver<Mail>,
        post: Post,
        outside: Arc<Outside>,
    ) -> Result<Box<dyn Driver>, String> {
        match self {
            Self::Poll => match poll::Poll::new(index, mail, post, outside) {
                Ok(driver) => Ok(Box::new(driver)),
                Err(error) => Err(format!("{error}; is the limit of open files too low?")),
            },
            Self::IoUring => match uring::Uring::new(index, mail, post, outside) {
                Ok(driver) => Ok(Box::new(driver)),
                Err(error) => Err(uring::probe::judge("io_uring", &error).to_string()),
            },
        }
    }
}

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

#[cfg(test)]
mod tests;
