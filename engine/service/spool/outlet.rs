//! A shard's end of the way to the spool. Invariant: a shard never waits for the disk; what the spool's queue does not take is kept here, in
//! order, so that an entry never comes after the word that it is done.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use turnout_core::durable::{Entry, EntryKey};

use crate::pipe::{Pipe, at_the_end};

/// Items in one delivery.
const DELIVERY_ITEMS_MAX: usize = 1024;

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
    pipe: Pipe<Delivery>,
    waiting: VecDeque<Item>,
}

impl Outlet {
    /// Of shard `shard`; without a queue the spool is in memory, and nothing is given.
    pub fn new(shard: u16, queue: Option<SyncSender<Delivery>>) -> Self {
        Self { shard, pipe: Pipe::new(queue), waiting: VecDeque::new() }
    }

    /// Takes something for the next [`Outlet::flush`].
    pub fn take(&mut self, item: Item) {
        if self.pipe.is_open() {
            self.waiting.push_back(item);
        }
    }

    /// Gives the spool what it takes.
    pub fn flush(&mut self) {
        let waiting = &mut self.waiting;
        self.pipe.give(|| {
            let count = waiting.len().min(DELIVERY_ITEMS_MAX);
            (count > 0).then(|| waiting.drain(..count).collect())
        });
    }

    /// How many things wait.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.pipe.ready().map_or(0, Vec::len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.pipe.ready().is_none()
    }
}

/// The shard has left its loop: now it may wait, for a while.
impl Drop for Outlet {
    fn drop(&mut self) {
        let is_done = at_the_end(|| {
            self.flush();
            self.is_empty()
        });
        if !is_done {
            tracing::error!(
                event = "spool.gone",
                shard = self.shard,
                items = self.len(),
                "the spool did not take what was given last: nobody was told that it is on disk, and what was delivered last may be \
                 delivered again after the next start"
            );
        }
    }
}
