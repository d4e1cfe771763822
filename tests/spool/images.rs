//! Crashes at every point: what was confirmed and not done comes back whole, what is known on disk to be done does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout::spool::journal::{Act, Journal, Settings, Step};
use turnout_core::durable::{Entry, EntryKey};
use turnout_core::jid::Jid;
use turnout_core::random::Random;
use turnout_core::stanza::{Kind, Payload};

use crate::disk::Disk;

const SHARDS: u16 = 3;

struct World {
    random: Random,
    now: Instant,
    disk: Disk,
    journal: Journal,
    counts: [u64; SHARDS as usize],
    /// Given and not done.
    waiting: BTreeMap<EntryKey, Entry>,
    /// Of these, what a sender may have been told of.
    confirmed: BTreeSet<EntryKey>,
    done: BTreeSet<EntryKey>,
    /// Done, and the disk knows it.
    surely_done: BTreeSet<EntryKey>,
    came_back: usize,
    /// The process dies at one in so many points.
    dies: u64,
    /// Segments that were read again, to carry what is wanted out of them.
    carried: usize,
}

fn settings() -> Settings {
    Settings {
        segment_bytes: 3000,
        bytes_max: 40_000,
        commit_delay: Duration::from_millis(2),
        commit_bytes: 1500,
        done_delay: Duration::from_millis(20),
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn new(seed: u64) -> Self {
        let mut disk = Disk::default();
        let journal = Journal::new(settings(), &disk.recover());
        Self {
            random: Random::new(seed),
            now: Instant::now(),
            disk,
            journal,
            counts: [0; SHARDS as usize],
            waiting: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            done: BTreeSet::new(),
            surely_done: BTreeSet::new(),
            came_back: 0,
            dies: 6,
            carried: 0,
        }
    }

    fn give(&mut self) {
        let shard = u16::try_from(self.random.below(u64::from(SHARDS))).unwrap();
        let count = &mut self.counts[usize::from(shard)];
        *count += 1;
        let key = EntryKey::new(self.journal.epoch(), shard, *count);
        let length = usize::try_from(self.random.below(700)).unwrap();
        let body = format!("<message id='{}'>{}</message>", key.get(), "x".repeat(length));
        let entry = Entry {
            key,
            order: *count,
            replaces: None,
            unix_millis: 1_767_000_000_000 + *count,
            home: (self.random.below(2) == 0).then(|| "sfb2019".into()),
            made: false,
            kind: Kind::message(Some("chat")),
            payload: Payload::None,
            from: Jid::parse("anna@contoso.com").unwrap(),
            to: Jid::parse("bob@partner.example").unwrap(),
            bytes: Bytes::from(body),
            insert_at: 8,
            insert: None,
            spans: [0..0, 0..0, 13..14],
        };
        self.waiting.insert(key, entry.clone());
        self.journal.spool(self.now, Box::new(entry));
    }

    fn end_one(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        // The oldest mostly, so that segments come to their end; and a few wait for long.
        let at = self.random.below(self.waiting.len() as u64);
        let at = if self.random.below(3) > 0 { at / 8 } else { at };
        let key = *self.waiting.keys().nth(usize::try_from(at).unwrap()).unwrap();
        self.waiting.remove(&key);
        self.done.insert(key);
        self.journal.unspool(self.now, key);
    }

    /// One thing the log wants, with something else between any two. Says whether the process lives still.
    fn work(&mut self, crashes: bool) -> bool {
        let Step::Act(act) = self.journal.next(self.now, false) else { return true };
        let mut next = Some(act);
        while let Some(act) = next {
            if crashes && self.random.below(self.dies) == 0 {
                return false;
            }
            self.carried += usize::from(matches!(act, Act::Read(_)));
            let result = self.disk.act(&act, &mut self.random);
            if crashes && self.random.below(self.dies) == 0 {
                return false;
            }
            next = self.journal.acted(self.now, result);
            match self.random.below(6) {
                0 => self.end_one(),
                1 => self.give(),
                _ => (),
            }
            self.look();
        }
        true
    }

    /// What may be told, and what is known.
    fn look(&mut self) {
        for (shard, key) in self.journal.take_confirmed() {
            let of_shard = self.waiting.keys().filter(|given| {
                given.shard() == shard && given.epoch() == self.journal.epoch() && **given <= key
            });
            self.confirmed.extend(of_shard);
        }
        if self.journal.unwritten_done() == 0 {
            self.surely_done.clone_from(&self.done);
        }
    }

    fn crash(&mut self) {
        if self.random.below(2) == 0 {
            self.disk.kill();
        } else {
            self.disk.lose_power(&mut self.random);
        }
        let found = self.disk.recover();
        for key in &self.confirmed {
            if let Some(entry) = self.waiting.get(key) {
                let found =
                    found.entries.get(key).unwrap_or_else(|| panic!("{key:?} was confirmed and is lost"));
                assert_eq!(&found.entry, entry);
            }
        }
        for key in found.entries.keys() {
            assert!(self.waiting.contains_key(key) || self.done.contains(key), "{key:?} was never given");
            assert!(!self.surely_done.contains(key), "{key:?} was done on disk, and came back");
            self.came_back += usize::from(self.done.contains(key));
        }
        self.journal = Journal::new(settings(), &found);
        let epoch = self.journal.epoch();
        assert!(found.entries.keys().all(|key| key.epoch() < epoch), "no key is given twice");
        // What waited and was not found was never confirmed. All that was found waits again.
        self.counts = [0; SHARDS as usize];
        self.waiting = found.entries.into_iter().map(|(key, found)| (key, found.entry)).collect();
        self.confirmed = self.waiting.keys().copied().collect();
        // Where nothing is left on disk, starts are counted anew.
        self.done.retain(|key| !self.waiting.contains_key(key) && key.epoch() < epoch);
        self.surely_done.clone_from(&self.done);
    }

    fn step(&mut self) -> bool {
        self.now += Duration::from_micros(self.random.below(3000));
        match self.random.below(10) {
            0..=2 => self.give(),
            3..=5 if self.waiting.len() > 20 => self.end_one(),
            3 => self.end_one(),
            _ => return self.work(true),
        }
        true
    }

    /// With a disk that works, everything is confirmed, and when all is done nothing is left.
    fn rest(&mut self) {
        (self.disk.failing, self.disk.room) = (0, None);
        for drained in [false, true] {
            if drained {
                while !self.waiting.is_empty() {
                    self.end_one();
                }
            }
            for _ in 0..10_000 {
                self.now += Duration::from_secs(1);
                self.work_calmly();
                let gauges = self.journal.gauges();
                if self.journal.is_quiet() && (!drained || gauges.segments <= 1) {
                    break;
                }
                if gauges.full && !drained {
                    break;
                }
            }
            self.look();
            let gauges = self.journal.gauges();
            let all = self.waiting.keys().all(|key| self.confirmed.contains(key));
            assert!(all || gauges.full, "not confirmed at rest: {gauges:?}");
        }
        let gauges = self.journal.gauges();
        assert!(gauges.entries == 0 && gauges.segments <= 1, "left at rest: {gauges:?}");
        assert!(self.disk.bytes() < 8000, "left on disk: {}", self.disk.bytes());
    }

    fn work_calmly(&mut self) {
        while let Step::Act(act) = self.journal.next(self.now, false) {
            let mut next = Some(act);
            while let Some(act) = next {
                let result = self.disk.act(&act, &mut self.random);
                next = self.journal.acted(self.now, result);
            }
            self.look();
        }
    }
}

#[test]
fn crashes_lose_nothing_that_was_confirmed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let recoveries = number("RECOVERIES").unwrap_or(1500);
    let (mut recovered, mut confirmed, mut came_back, mut carried, mut failures) = (0, 0, 0, 0, [0; 2]);
    for seed in number("SEED").into_iter().chain(0..) {
        if recovered >= recoveries {
            break;
        }
        let mut world = World::new(seed);
        for life in 0..12 {
            world.disk.failing = [0, 0, 9, 4][usize::try_from(world.random.below(4)).unwrap()];
            world.dies = [6, 40, 300][usize::try_from(world.random.below(3)).unwrap()];
            world.disk.room = (world.random.below(4) == 0).then_some(20_000);
            for _ in 0..world.random.below(1200) {
                if !world.step() {
                    break;
                }
            }
            confirmed += world.confirmed.iter().filter(|key| world.waiting.contains_key(key)).count();
            if life % 4 == 3 && !world.journal.is_acting() {
                world.rest();
            }
            world.crash();
            recovered += 1;
        }
        came_back += world.came_back;
        carried += world.carried;
        failures = [0, 1].map(|at| failures[at] + world.disk.failures[at]);
    }
    let counts = [confirmed, came_back, carried, failures[0], failures[1]];
    eprintln!(
        "{recovered} recoveries; confirmed, delivered and back, carried, syncs failed, disks full: {counts:?}"
    );
    assert!(
        confirmed as u64 > recovered && counts.iter().all(|count| *count > 50),
        "little happened: {counts:?}"
    );
}
