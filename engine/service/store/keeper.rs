//! The store's thread. Invariant: a shard is told a number only when everything it numbered up to there is on disk, each shard in its own
//! order; what could not be written is kept and tried again, and nobody is told anything meanwhile.
//!
//! Everything that is queued when a transaction begins goes into that one: while one fsync runs, the changes of all shards gather for the
//! next.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::file::{Batch, Closed, ContactFile, row};
use super::meter::Meter;
use super::outlet::Delivery;

/// Records that make a transaction full.
const TRANSACTION_RECORDS_MAX: usize = 65_536;

/// How long the thread sleeps at most: then it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// How soon a shard whose mail was full is told again.
const AGAIN: Duration = Duration::from_millis(5);

/// The pause after the first failure; it doubles from one to the next.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Failures between two lines of the log, once the pause is at its longest.
const FAILURES_PER_LINE: u32 = 6;

/// Tells a shard that everything up to a number is on disk; `false` if it cannot be told just now.
pub type Tell = dyn FnMut(u16, u64) -> bool + Send;

/// What the thread runs.
pub struct Keeper {
    file: State,
    queue: Receiver<Delivery>,
    tell: Box<Tell>,
    meter: Arc<Meter>,
    batch: Batch,
    /// The highest number each shard gave, once it is in the batch.
    given: Vec<u64>,
    /// The highest number each shard may be told and was not.
    owed: Vec<Option<u64>>,
    /// Who else is told when the batch is on disk.
    told: Vec<oneshot::Sender<()>>,
}

/// The file between two tries.
enum State {
    Open(ContactFile),
    Closed(Closed),
    /// Only while one becomes the other.
    Between,
}

impl Keeper {
    /// Keeps what comes from `queue` in `file`.
    pub fn new(file: ContactFile, queue: Receiver<Delivery>, tell: Box<Tell>, meter: Arc<Meter>) -> Self {
        Self {
            file: State::Open(file),
            queue,
            tell,
            meter,
            batch: Batch::new(),
            given: Vec::new(),
            owed: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The thread: runs until it is told to stop and the queue is empty.
    pub fn run(mut self) {
        loop {
            // Looked at before the queue: whoever stops us has put everything in by then.
            let stopping = self.meter.is_stopping();
            let empty = !self.gather(stopping);
            if !self.batch.is_empty() && !self.write_until_done() {
                break;
            }
            self.confirm();
            if stopping && empty {
                break;
            }
        }
        if let State::Open(file) = self.file
            && let Err(error) = file.close()
        {
            tracing::warn!("presence.store: {error}; everything is on disk all the same");
        }
    }

    /// Takes what is queued; waits for the first. `false` if there was nothing.
    fn gather(&mut self, stopping: bool) -> bool {
        let patience = match (stopping, self.owed.iter().any(Option::is_some)) {
            (true, _) => Duration::ZERO,
            (false, true) => AGAIN,
            (false, false) => PATIENCE,
        };
        match self.queue.recv_timeout(patience) {
            Ok(delivery) => self.take(delivery),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => {
                // Nobody is left who could give us anything.
                self.meter.stop();
                return false;
            }
        }
        while self.batch.len() < TRANSACTION_RECORDS_MAX {
            let Ok(delivery) = self.queue.try_recv() else { break };
            self.take(delivery);
        }
        true
    }

    fn take(&mut self, delivery: Delivery) {
        let index = usize::from(delivery.shard);
        if self.given.len() <= index {
            self.given.resize(index + 1, 0);
            self.owed.resize(index + 1, None);
        }
        self.given[index] = self.given[index].max(delivery.seq);
        self.meter.took(delivery.records.len());
        self.batch.extend(delivery.moves);
        self.told.extend(delivery.told);
        for record in &delivery.records {
            match row(record) {
                Some((key, value)) => drop(self.batch.insert(key, value)),
                // No address can be so; it would be read as another pair.
                None => tracing::error!("presence.store: a pair with a zero octet in it is not stored"),
            }
        }
    }

    /// Writes the batch, however long it takes. `false` if we are told to stop and it cannot be written.
    fn write_until_done(&mut self) -> bool {
        let (mut failures, mut pause) = (0, PAUSE);
        loop {
            // One more try is made after the word to stop.
            let last = self.meter.is_stopping();
            match self.write() {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "presence.store: is written again");
                    }
                    return true;
                }
                Err(error) => {
                    if failures == 0 || pause == PAUSE_MAX && failures % FAILURES_PER_LINE == 0 {
                        tracing::error!(
                            contacts = self.batch.len(),
                            "presence.store: {error}; changes are kept in memory, nobody is told of them, and it is tried again"
                        );
                    }
                    failures += 1;
                    self.meter.failed(error);
                }
            }
            if last {
                tracing::error!(contacts = self.batch.len(), "presence.store: these last changes are lost");
                return false;
            }
            self.meter.rest(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One try. After a failure the database takes nothing more: it is closed, and opened again by the next try.
    fn write(&mut self) -> Result<(), String> {
        let file = match std::mem::replace(&mut self.file, State::Between) {
            State::Open(file) => file,
            State::Closed(closed) => match ContactFile::recover(closed) {
                Ok(file) => file,
                Err((closed, error)) => {
                    self.file = State::Closed(closed);
                    return Err(error);
                }
            },
            State::Between => return Err("the file was lost between two tries".to_owned()),
        };
        match file.write(&self.batch) {
            Ok(written) => {
                self.meter.wrote(self.batch.len(), written);
                self.batch.clear();
                self.file = State::Open(file);
                for (owed, given) in self.owed.iter_mut().zip(&mut self.given) {
                    if *given > 0 {
                        *owed = Some(std::mem::take(given));
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.file = State::Closed(file.fail());
                Err(error)
            }
        }
    }

    /// Tells the shards, and whoever else asked.
    fn confirm(&mut self) {
        for told in self.told.drain(..) {
            // Whoever asked may have given up waiting.
            told.send(()).unwrap_or_default();
        }
        // A batch may be empty although something was given: then there is nothing to wait for.
        for (shard, (owed, given)) in (0_u16..).zip(self.owed.iter_mut().zip(&mut self.given)) {
            if *given > 0 {
                *owed = Some(std::mem::take(given));
            }
            if let Some(seq) = *owed
                && (self.tell)(shard, seq)
            {
                *owed = None;
            }
        }
    }
}
