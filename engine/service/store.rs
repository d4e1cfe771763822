//! The store of contacts: what holds between local users and partners' users, on disk. Invariant: nothing waits for it but what is told to
//! others; a shard hears [`Input::Persisted`] only of what survives the loss of power, and starts with all of what it heard of.
//!
//! A shard's `Output::Persist` goes into its [`outlet`], from there through one bounded queue to the thread of the [`keeper`], which
//! writes all that is queued in one transaction of the [`file`] and answers by mail.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use turnout_core::contact::Record;
use turnout_core::io::Input;
use turnout_core::placement::owner_of_user;

use crate::mail::{Mail, Post};

pub mod file;
pub mod keeper;
mod medium;
pub mod meter;
pub mod moves;
pub mod outlet;

use file::ContactFile;
use keeper::{Keeper, Tell};
use meter::{Meter, StoreLook};
use outlet::Delivery;

/// Deliveries that may wait for the store; a delivery is what one turn of a shard gave, in pieces.
const QUEUE_MAX: usize = 256;

/// Contacts a shard is given at once when it starts.
const CHUNK_RECORDS: usize = 10_000;

/// The queue to the store.
pub fn queue() -> (SyncSender<Delivery>, Receiver<Delivery>) {
    sync_channel(QUEUE_MAX)
}

/// The running store.
#[derive(Debug)]
pub struct Store {
    meter: Arc<Meter>,
    thread: JoinHandle<()>,
}

impl Store {
    /// Gives every shard what it owns of the file's contacts, then keeps what comes from `queue`. Blocks while it reads; call it within a
    /// tokio runtime, on a thread that may.
    ///
    /// # Errors
    /// A row that cannot be understood, or no thread. Shards may have been given some contacts by then.
    pub fn start(file: ContactFile, queue: Receiver<Delivery>, post: &Post) -> Result<Self, String> {
        let meter = Arc::new(Meter::default());
        let rows = hand_out(&file, post)?;
        let bytes = std::fs::metadata(file.path()).map_or(0, |file| file.len());
        meter.holds(rows, bytes);
        tracing::info!(contacts = rows, bytes, "presence.store: {}", file.path().display());
        let post = post.clone();
        let tell = move |shard, seq| post.try_send(shard, Mail::Control(Input::Persisted(seq))).is_ok();
        Self::spawn(file, queue, Box::new(tell), meter)
    }

    /// Keeps what comes from `queue`, and says so by `tell`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn(
        file: ContactFile,
        queue: Receiver<Delivery>,
        tell: Box<Tell>,
        meter: Arc<Meter>,
    ) -> Result<Self, String> {
        let keeper = Keeper::new(file, queue, tell, Arc::clone(&meter));
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let _last = crate::router::LastWords("the store's thread");
            keeper.run();
        });
        Ok(Self { meter, thread: thread.map_err(|error| format!("the store: no thread: {error}"))? })
    }

    /// How it does.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// How it does.
    pub fn look(&self) -> StoreLook {
        self.meter.look()
    }

    /// Writes what is queued and ends. To be called when no shard gives anything more. Blocks.
    pub fn stop(self) {
        self.meter.stop();
        if self.thread.join().is_err() {
            tracing::error!("the store's thread could not be joined");
        }
    }
}

/// Opens the file of a configuration that has one. Blocks.
///
/// # Errors
/// As [`ContactFile::open`], with the key.
pub fn open(path: Option<&Path>) -> Result<Option<ContactFile>, String> {
    path.map(ContactFile::open).transpose().map_err(|error| format!("presence.store: {error}"))
}

/// Gives every shard its contacts.
fn hand_out(file: &ContactFile, post: &Post) -> Result<u64, String> {
    let (handle, shards) = (Handle::current(), post.shards());
    let mut chunks: Vec<Vec<Record>> = (0..shards).map(|_| Vec::new()).collect();
    let send = |shard: u16, chunk: Vec<Record>| {
        handle.block_on(post.send(shard, Mail::Control(Input::Contacts(chunk))));
    };
    let rows = file.read(&mut |record| {
        let shard = owner_of_user(&record.pair.local, shards);
        if let Some(chunk) = chunks.get_mut(usize::from(shard)) {
            chunk.push(record);
            if chunk.len() == CHUNK_RECORDS {
                send(shard, std::mem::take(chunk));
            }
        }
        Ok(())
    });
    let rows = rows.map_err(|error| format!("presence.store: {error}"))?;
    for (shard, chunk) in (0_u16..).zip(chunks).filter(|(_, chunk)| !chunk.is_empty()) {
        send(shard, chunk);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
