//! A shard's end of the way to the spool. Invariant: a shard never waits for the disk; what the spool's queue does not take is kept here, in
//! order, so that an entry never comes after the word that it is done.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use turnout_core::durable::{Entry, EntryKey};

/// Items in one delivery.
const DELIVERY_ITEMS_MAX: usize = 1024;

/// Tries at the end, and the pause between two.
const LAST_TRIES: u32 = 400;
const LAST_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// One thing a shard says.
#[derive(Debug)]
pub enum Item {
    /// Write this.
    Entry(Box<Entry>),
    /// This is done.
    Done(EntryKey),
}

/// What a shard gives at once.
pub type Delivery = Vec<Item>;

/// The end that belongs to one shard.
#[derive(Debug)]
pub struct Outlet {
    shard: u16,
    queue: Option<SyncSender<Delivery>>,
    ready: Option<Delivery>,
    waiting: VecDeque<Item>,
}

impl Outlet {
    /// Of shard `shard`; without a queue the spool is in memory, and nothing is given.
    pub fn new(shard: u16, queue: Option<SyncSender<Delivery>>) -> Self {
        Self { shard, queue, ready: None, waiting: VecDeque::new() }
    }

    /// Takes something for the next [`Outlet::flush`].
    pub fn take(&mut self, item: Item) {
        if self.queue.is_some() {
            self.waiting.push_back(item);
        }
    }

    /// Gives the spool what it takes.
    pub fn flush(&mut self) {
        while let Some(delivery) = self.ready.take().or_else(|| self.next()) {
            let Some(queue) = &self.queue else { return };
            match queue.try_send(delivery) {
                Ok(()) => (),
                // A spool that is gone confirms nothing; the process is ending.
                Err(TrySendError::Full(delivery) | TrySendError::Disconnected(delivery)) => {
                    self.ready = Some(delivery);
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Option<Delivery> {
        let count = self.waiting.len().min(DELIVERY_ITEMS_MAX);
        (count > 0).then(|| self.waiting.drain(..count).collect())
    }

    /// How many things wait.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.ready.as_ref().map_or(0, Vec::len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_none()
    }
}

/// The shard has left its loop: now it may wait, for a while.
impl Drop for Outlet {
    fn drop(&mut self) {
        for _ in 0..LAST_TRIES {
            self.flush();
            if self.is_empty() {
                return;
            }
            std::thread::sleep(LAST_PAUSE);
        }
        tracing::error!(
            event = "spool.gone",
            shard = self.shard,
            items = self.len(),
            "the spool did not take what was given last: nobody was told that it is on disk, and what was delivered last may be \
             delivered again after the next start"
        );
    }
}
