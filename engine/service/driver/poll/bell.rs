//! Wakes a sleeping shard. Invariant: the kernel is asked only for a shard that sleeps or is about to; whoever sends mail to one that
//! is awake pays nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use mio::{Registry, Token};

/// What the shard's mailbox rings when mail comes.
pub(super) struct Bell {
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Bell {
    /// A bell that is heard as an event of this token.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub(super) fn new(registry: &Registry, token: Token) -> std::io::Result<Self> {
        Ok(Self { asleep: AtomicBool::new(false), waker: mio::Waker::new(registry, token)? })
    }

    /// Before the mailbox is asked for the last time: mail that it does not have by then rings.
    pub(super) fn arm(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    /// Awake again.
    pub(super) fn disarm(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            // The shard wakes by itself within a second.
            tracing::warn!(event = "shard.unwoken", "a shard could not be woken: {error}");
        }
    }
}
