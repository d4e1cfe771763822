//! A durable spool under the shards, on a disk that fails, fills up and loses what it may, and a process that dies at any step.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout::spool::journal::{Act, Journal, Settings, Step};
use turnout_core::backend::Backend;
use turnout_core::durable::{Entry, EntryKey, Opened, hand_out};
use turnout_core::io::{Input, Output};
use turnout_core::limits::SPOOL_AGE_MADE_SECONDS;
use turnout_core::moves::Mover;
use turnout_core::shard::Shard;
use turnout_core::world::World;

use super::Sim;
use crate::support::disk::Disk;
use crate::support::real::number;

/// Makes the backends of all shards, as a start does.
pub type Make = Box<dyn Fn() -> Vec<Vec<Box<dyn Backend>>>>;

/// The spool.
pub struct Spool {
    world: Arc<World>,
    make: Make,
    disk: Disk,
    journal: Journal,
    /// What each shard has given and the log has not taken.
    outlets: Vec<VecDeque<Output>>,
    /// What the log wants done and was not done yet.
    act: Option<Act>,
    age: Duration,
    /// Entries that are done, and of these those of which the disk knows.
    done: BTreeSet<EntryKey>,
    surely_done: BTreeSet<EntryKey>,
    /// What the wall clock says more than the time since the epoch, in milliseconds.
    wall_millis: u64,
    /// Crashes; stanzas recovered from them; stanzas that came back although they were delivered.
    pub counts: [usize; 3],
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 4000,
        bytes_max: 40_000,
        commit_delay: Duration::from_millis(2),
        commit_bytes: 3000,
        done_delay: Duration::from_millis(30),
    }
}

impl Sim {
    /// Puts a durable spool under the shards.
    pub fn with_spool(&mut self, world: &Arc<World>, age: Duration, make: Make) {
        let mut disk = Disk::default();
        let journal = Journal::new(settings(), &disk.recover());
        let spool = Spool {
            world: Arc::clone(world),
            make,
            disk,
            journal,
            outlets: self.cells.iter().map(|_| VecDeque::new()).collect(),
            act: None,
            age,
            done: BTreeSet::new(),
            surely_done: BTreeSet::new(),
            wall_millis: 1_767_000_000_000,
            counts: [0; 3],
        };
        self.spool = Some(spool);
        self.ledger.is_durable();
        self.open(Vec::new());
    }

    /// What its crashes did.
    pub fn spool_counts(&self) -> [usize; 3] {
        self.spool.as_ref().map_or([0; 3], |spool| spool.counts)
    }

    pub(super) fn give_spool(&mut self, shard: usize, output: Output) {
        self.spool.as_mut().expect("only a durable spool is given anything").outlets[shard].push_back(output);
    }

    /// Something happens between the shards and the disk.
    pub(super) fn spool_step(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        match self.random.below(4) {
            0 => {
                let shard = usize::try_from(self.random.below(spool.outlets.len() as u64)).unwrap();
                for _ in 0..self.random.below(8) {
                    spool.take(shard, self.now);
                }
            }
            _ => drop(self.disk_step()),
        }
    }

    /// One thing for the spool to do, if any.
    pub(super) fn busy_spool(&mut self) -> bool {
        let Some(spool) = &mut self.spool else { return false };
        (spool.disk.failing, spool.disk.room) = (0, None);
        if let Some(shard) = spool.outlets.iter().position(|outlet| !outlet.is_empty()) {
            spool.take(shard, self.now);
            return true;
        }
        self.disk_step()
    }

    fn disk_step(&mut self) -> bool {
        let Some(spool) = &mut self.spool else { return false };
        let act = match spool.act.take() {
            Some(act) => act,
            None => match spool.journal.next(self.now, false) {
                Step::Act(act) => act,
                Step::Wait(_) => return false,
            },
        };
        let result = spool.disk.act(&act, &mut self.random);
        spool.act = spool.journal.acted(self.now, result);
        if spool.journal.unwritten_done() == 0 {
            spool.surely_done.clone_from(&spool.done);
        }
        for (shard, key) in spool.journal.take_confirmed() {
            self.cells[usize::from(shard)].mail.push_back(Input::Spooled(key));
        }
        true
    }

    /// When the log wants to be asked.
    pub(super) fn spool_due(&mut self) -> Option<Instant> {
        let spool = self.spool.as_mut()?;
        if spool.act.is_some() || spool.outlets.iter().any(|outlet| !outlet.is_empty()) {
            return Some(self.now);
        }
        match spool.journal.next(self.now, false) {
            Step::Act(act) => {
                spool.act = Some(act);
                Some(self.now)
            }
            Step::Wait(due) => due,
        }
    }

    /// The disk becomes worse or better.
    pub(super) fn spool_trouble(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        spool.disk.failing = [0, 0, 8, 3][usize::try_from(self.random.below(4)).unwrap()];
        spool.disk.room = (self.random.below(4) == 0).then(|| spool.disk.bytes() + 500);
    }

    /// At rest nothing is left on disk.
    pub(super) fn check_spool(&self) {
        let Some(spool) = &self.spool else { return };
        let gauges = spool.journal.gauges();
        assert!(gauges.entries == 0 && gauges.queued == 0, "left in the spool: {gauges:?}");
        assert!(spool.journal.is_quiet(), "the log is at rest");
    }

    /// The process is started again after it has ended in order.
    pub fn start_again(&mut self) {
        while self.busy_spool() {}
        while let Some(due) = self.spool_due() {
            self.now = self.now.max(due);
            self.busy_spool();
        }
        self.over = false;
        self.begin_anew();
    }

    /// The process dies, or the machine does, and is started again.
    pub fn crash(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        spool.counts[0] += 1;
        if self.random.below(2) == 0 {
            spool.disk.kill();
        } else {
            spool.disk.lose_power(&mut self.random);
        }
        self.ledger.log(|| "the process dies".to_owned());
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        let Some(spool) = &mut self.spool else { return };
        let found = spool.disk.recover();
        let entries: Vec<Entry> = found.entries.values().map(|found| found.entry.clone()).collect();
        let numbers: Vec<Option<usize>> = entries
            .iter()
            .map(|entry| {
                assert!(
                    !spool.surely_done.contains(&entry.key),
                    "{:?} was done on disk, and came back",
                    entry.key
                );
                spool.counts[2] += usize::from(spool.done.contains(&entry.key));
                number(std::str::from_utf8(&entry.bytes).unwrap()).filter(|_| !entry.made)
            })
            .collect();
        spool.counts[1] += entries.len();
        spool.journal = Journal::new(settings(), &found);
        let epoch = spool.journal.epoch();
        spool.done.retain(|key| key.epoch() < epoch && !found.entries.contains_key(key));
        spool.surely_done.clone_from(&spool.done);
        spool.act = None;
        spool.outlets.iter_mut().for_each(VecDeque::clear);
        // Clocks are set while a machine is down.
        spool.wall_millis = (spool.wall_millis + self.random.below(4000)).saturating_sub(2000);
        let backends = (spool.make)();
        let world = Arc::clone(&spool.world);
        self.mover = Mover::new(world.shards);
        self.moving.clear();
        self.mover_mail.clear();
        self.links.clear();
        self.wishes.clear();
        self.in_flight = [0; 2];
        for (cell, backends) in self.cells.iter_mut().zip(backends) {
            let index = cell.out.shard();
            cell.shard = Shard::new(
                index,
                Arc::clone(&world),
                self.directory.clone(),
                backends,
                self.random.below(99),
            );
            cell.out = turnout_core::io::Outbox::new(index);
            cell.io.clear();
            cell.mail.clear();
            cell.drained = false;
        }
        for (number, conn) in std::mem::take(&mut self.conns) {
            self.with_peer(conn.peer, |peer, out| peer.closed(number, out));
        }
        self.ledger.died(&numbers);
        self.now += Duration::from_millis(self.random.below(3000));
        self.excuse_the_old(&entries);
        self.open(entries);
    }

    /// An error that is on disk for as long as one may wait ends by its rule, and nobody is told of what it was about.
    fn excuse_the_old(&self, entries: &[Entry]) {
        let Some(spool) = &self.spool else { return };
        let most = spool.age.max(Duration::from_secs(SPOOL_AGE_MADE_SECONDS)).as_millis();
        for entry in entries.iter().filter(|entry| entry.made) {
            let waited = u128::from(self.unix_millis(spool).saturating_sub(entry.unix_millis));
            if waited >= most
                && let Some(number) = number(std::str::from_utf8(&entry.bytes).unwrap())
            {
                self.ledger.excuse(number);
            }
        }
    }

    fn unix_millis(&self, spool: &Spool) -> u64 {
        let since = self.now.saturating_duration_since(crate::support::epoch());
        spool.wall_millis + u64::try_from(since.as_millis()).unwrap()
    }

    /// Shards hear of the spool, and of what waited, before anything else.
    fn open(&mut self, entries: Vec<Entry>) {
        let Some(spool) = &self.spool else { return };
        let (shards, detours) = hand_out(&spool.world, &self.directory, entries);
        let opened = Opened {
            epoch: spool.journal.epoch(),
            at: self.now,
            unix_millis: self.unix_millis(spool),
            age: spool.age,
            detours: Arc::new(detours),
        };
        for (index, entries) in shards.into_iter().enumerate() {
            for input in [Input::Opened(Box::new(opened.clone())), Input::Recovered(entries)] {
                let cell = &mut self.cells[index];
                cell.shard.handle(self.now, input, &mut cell.out);
                self.check(index);
            }
            self.submit(index);
        }
    }
}

impl Spool {
    fn take(&mut self, shard: usize, now: Instant) {
        match self.outlets[shard].pop_front() {
            Some(Output::Spool(entry)) => self.journal.spool(now, entry),
            Some(Output::Unspool(key)) => {
                self.done.insert(key);
                self.journal.unspool(now, key);
            }
            _ => {}
        }
    }
}
