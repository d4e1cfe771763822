//! The durable spool: what waits, on disk. Invariant: no shard waits for the disk; a shard hears [`Input::Spooled`] only of what survives the loss
//! of power, and a start gives the shards all of what was confirmed and not done, before anything else.
//!
//! What shards give and take back goes through an [`outlet`] each, and one bounded queue, to the thread of the [`keeper`]. What is written when
//! is decided by the [`journal`], which knows no disk and runs under the simulator; [`folder`] does it.
//!
//! There is one log for all shards, and not one each: what all of them gave is one write and one sync, where a log each would cost
//! the disk one for every shard; the order of a pair of users lies within one shard, whose entries stay in order; and a start with
//! another number of shards finds everything in one place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use turnout_core::directory::Directory;
use turnout_core::durable::{Opened, hand_out};
use turnout_core::io::Input;
use turnout_core::world::World;

use crate::clock;
use crate::mail::{Mail, Post};

pub mod folder;
pub mod format;
pub mod journal;
pub mod keeper;
pub mod meter;
pub mod outlet;
pub mod recovery;

use folder::Folder;
use journal::{Journal, Settings};
use keeper::{Keeper, Tell};
use meter::Meter;
use outlet::Delivery;
use recovery::Found;

/// Deliveries that may wait for the spool's thread.
const QUEUE_MAX: usize = 1024;

/// Stanzas a shard is given at once when it starts.
const CHUNK_ENTRIES: usize = 10_000;

/// A configured durable spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Its directory.
    pub path: PathBuf,
    /// How long a message may wait.
    pub age: Duration,
    /// How the log behaves.
    pub settings: Settings,
}

/// What was opened at a start, before there is anybody to give it to.
#[derive(Debug)]
pub struct Ready {
    folder: Folder,
    found: Found,
    durable: Durable,
}

/// The running spool.
#[derive(Debug)]
pub struct SpoolStore {
    meter: Arc<Meter>,
    thread: JoinHandle<()>,
}

/// The queue to the spool.
pub fn queue() -> (SyncSender<Delivery>, Receiver<Delivery>) {
    sync_channel(QUEUE_MAX)
}

/// Opens the directory of a configuration that has a durable spool. Blocks.
///
/// # Errors
/// As [`Folder::open`], with the key.
pub fn open(durable: Option<&Durable>) -> Result<Option<Ready>, String> {
    let Some(durable) = durable else { return Ok(None) };
    let (folder, found) = Folder::open(&durable.path).map_err(|error| format!("spool.path: {error}"))?;
    Ok(Some(Ready { folder, found, durable: durable.clone() }))
}

impl SpoolStore {
    /// Gives every shard what it has to know and what waits for it, then keeps what comes from `queue`. Blocks; call it within a tokio
    /// runtime, on a thread that may.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        ready: Ready,
        queue: Receiver<Delivery>,
        post: &Post,
        world: &World,
        directory: &Directory,
    ) -> Result<Self, String> {
        let Ready { folder, found, durable } = ready;
        let journal = Journal::new(durable.settings, &found);
        let recovered = found.entries.len();
        let cut: u64 = found.segments.iter().map(|old| old.bad).sum();
        tracing::info!(
            event = "spool.opened",
            stanzas = recovered,
            cut_bytes = cut,
            "spool.path: {}",
            folder.path().display()
        );
        let entries = found.entries.into_values().map(|found| found.entry).collect();
        let (shards, detours) = hand_out(world, directory, entries);
        let (at, unix_millis) = (clock::now(), clock::unix_millis());
        let opened =
            Opened { epoch: journal.epoch(), at, unix_millis, age: durable.age, detours: Arc::new(detours) };
        let handle = Handle::current();
        let send = |shard, input| handle.block_on(post.send(shard, Mail::Control(input)));
        for (shard, mut entries) in (0_u16..).zip(shards) {
            send(shard, Input::Opened(Box::new(opened.clone())));
            while !entries.is_empty() {
                let rest = entries.split_off(entries.len().min(CHUNK_ENTRIES));
                send(shard, Input::Recovered(std::mem::replace(&mut entries, rest)));
            }
        }
        let post = post.clone();
        let tell = move |shard, key| post.try_send(shard, Mail::Control(Input::Spooled(key))).is_ok();
        Self::spawn(folder, journal, queue, Box::new(tell), recovered as u64)
    }

    /// Keeps what comes from `queue`, and says so by `tell`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(
        folder: Folder,
        journal: Journal,
        queue: Receiver<Delivery>,
        tell: Box<Tell>,
        recovered: u64,
    ) -> Result<Self, String> {
        let meter = Arc::new(Meter::default());
        meter.change(|look| {
            look.recovered = recovered;
            look.gauges = journal.gauges();
        });
        let keeper = Keeper::new(folder, journal, queue, tell, Arc::clone(&meter));
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || {
            let _last = crate::router::LastWords("the spool's thread");
            keeper.run();
        });
        Ok(Self { meter, thread: thread.map_err(|error| format!("the spool: no thread: {error}"))? })
    }

    /// How it does.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Writes what is queued and ends. To be called when no shard gives anything more. Blocks.
    pub fn stop(self) {
        self.meter.stop();
        if self.thread.join().is_err() {
            tracing::error!(event = "spool.lost", "the spool's thread could not be joined");
        }
    }
}
