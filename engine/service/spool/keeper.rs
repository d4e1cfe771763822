//! The spool's thread. Invariant: it does what the log says, one thing after the other, and tells the shards what the log has confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use turnout_core::durable::EntryKey;

use super::folder::Folder;
use super::journal::{Act, Journal, Step};
use super::meter::Meter;
use super::outlet::{Delivery, Item};
use crate::clock::now;

/// How long the thread sleeps at most: then it looks whether it is to stop.
const PATIENCE: Duration = Duration::from_millis(250);

/// How soon a shard whose mail was full is told again.
const AGAIN: Duration = Duration::from_millis(5);

/// Things that may fail while it stops, before it ends without them.
const LAST_FAILURES_MAX: u32 = 3;

/// Failures between two lines of the log.
const FAILURES_PER_LINE: u32 = 20;

/// Tells a shard that everything up to a key is on disk; `false` if it cannot be told just now.
pub type Tell = dyn FnMut(u16, EntryKey) -> bool + Send;

/// What the thread runs.
pub struct Keeper {
    folder: Folder,
    journal: Journal,
    queue: Receiver<Delivery>,
    tell: Box<Tell>,
    meter: Arc<Meter>,
    /// What each shard may be told and was not.
    owed: BTreeMap<u16, EntryKey>,
    /// Failures since the last commit.
    failures: u32,
    /// Failures since the start.
    failures_total: u32,
    /// Nobody is left who could give anything.
    alone: bool,
}

impl Keeper {
    /// Keeps what comes from `queue`.
    pub fn new(
        folder: Folder,
        journal: Journal,
        queue: Receiver<Delivery>,
        tell: Box<Tell>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            folder,
            journal,
            queue,
            tell,
            meter,
            owed: BTreeMap::new(),
            failures: 0,
            failures_total: 0,
            alone: false,
        }
    }

    /// The thread: runs until it is told to stop and everything is written.
    pub fn run(mut self) {
        let mut last_failures = 0;
        loop {
            // Looked at before the queue: whoever stops us has put everything in by then.
            let stopping = self.meter.is_stopping() || self.alone;
            let failures = self.failures_total;
            let due = self.work(stopping);
            self.confirm();
            self.show();
            if stopping {
                let failed = self.failures_total - failures;
                last_failures += failed;
                // What could not be written although nothing failed has no room.
                if !self.gather(Duration::ZERO) && (failed == 0 || last_failures >= LAST_FAILURES_MAX) {
                    break;
                }
                continue;
            }
            let patience = due.map_or(PATIENCE, |due| due.saturating_duration_since(now()).min(PATIENCE));
            self.gather(if self.owed.is_empty() { patience } else { patience.min(AGAIN) });
        }
        if !self.journal.is_quiet() {
            let gauges = self.journal.gauges();
            tracing::error!(
                event = "spool.unwritten",
                stanzas = gauges.queued,
                "spool: these last stanzas are not on disk; nobody was told that they are"
            );
        }
    }

    /// Takes what is queued; waits for the first. `false` if there was nothing.
    fn gather(&mut self, patience: Duration) -> bool {
        match self.queue.recv_timeout(patience) {
            Ok(delivery) => self.take(delivery),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => {
                self.alone = true;
                return false;
            }
        }
        while let Ok(delivery) = self.queue.try_recv() {
            self.take(delivery);
        }
        true
    }

    fn take(&mut self, delivery: Delivery) {
        let now = now();
        let (mut given, mut done) = (0, 0);
        for item in delivery {
            match item {
                Item::Entry(entry) => {
                    given += 1;
                    self.journal.spool(now, entry);
                }
                Item::Done(key) => {
                    done += 1;
                    self.journal.unspool(now, key);
                }
            }
        }
        self.meter.change(|look| {
            look.given += given;
            look.done += done;
        });
    }

    /// Does what is due; says when something is due again.
    fn work(&mut self, hurry: bool) -> Option<std::time::Instant> {
        loop {
            let act = match self.journal.next(now(), hurry) {
                Step::Act(act) => act,
                Step::Wait(due) => return due,
            };
            let mut next = Some(act);
            let mut failed = false;
            while let Some(act) = next {
                let result = self.act(&act);
                failed |= result.is_err();
                next = self.journal.acted(now(), result);
            }
            if failed && hurry {
                return None;
            }
            self.confirm();
            while let Ok(delivery) = self.queue.try_recv() {
                self.take(delivery);
            }
        }
    }

    fn act(&mut self, act: &Act) -> Result<Vec<u8>, String> {
        let began = now();
        let result = self.folder.act(act);
        match (act, &result) {
            (Act::Sync(_), Ok(_)) => {
                self.meter.synced(now().saturating_duration_since(began));
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(event = "spool.recovered", "spool: is written again");
                    self.meter.change(|look| look.failing = None);
                }
            }
            (Act::Append(_, octets), Ok(_)) => {
                self.meter.change(|look| look.appended += octets.len() as u64);
            }
            (_, Ok(_)) => (),
            (_, Err(error)) => {
                if self.failures.is_multiple_of(FAILURES_PER_LINE) {
                    tracing::error!(
                        event = "spool.failing",
                        "spool: {error}; what waits is kept in memory and confirmed to nobody, and it is tried again"
                    );
                }
                self.failures += 1;
                self.failures_total += 1;
                let why = error.clone();
                self.meter.change(|look| {
                    look.failures += 1;
                    look.failing = Some(why);
                });
            }
        }
        result
    }

    /// Tells the shards.
    fn confirm(&mut self) {
        self.owed.append(&mut self.journal.take_confirmed());
        let tell = &mut self.tell;
        self.owed.retain(|shard, key| !tell(*shard, *key));
    }

    fn show(&self) {
        let gauges = self.journal.gauges();
        self.meter.change(|look| look.gauges = gauges);
    }
}
