//! The log without a disk: it says what is to be done to which segment, and is told how that went. Invariant: a key is confirmed when its
//! entry, and all entries its shard gave before, are on disk or done. A segment is written at its end only, and never again after
//! anything about it has failed; it is removed when it is the oldest and all its entries are done, so that what says that an entry
//! is done never goes before the entry.
//!
//! One commit takes all keys that are done and the oldest entries, up to a limit, as one write and one sync: what is given meanwhile
//! gathers for the next. An entry that is done before it was written is never written. A full disk and a failing one are the
//! same to it: what is not confirmed stays in its queue, and is written to a new segment when its pause is over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use turnout_core::durable::{Entry, EntryKey};

use super::format::{Frame, Frames, HEADER_BYTES, header, put_done, put_entry};
use super::recovery::Found;

mod queue;

use queue::{Pending, Queue};

/// The pause after the first failure; it doubles from one to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Keys in one frame.
const KEYS_MAX: usize = 65_536;

/// How the log behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment that is as long as this gets nothing more, in bytes.
    pub segment_bytes: u64,
    /// All segments together, in bytes: beyond that no entries are written, and they wait in memory, unconfirmed.
    pub bytes_max: u64,
    /// How long the first entry of a commit waits for others.
    pub commit_delay: Duration,
    /// Entries of so many bytes wait no longer.
    pub commit_bytes: usize,
    /// How long the knowledge that an entry is done may wait for a commit. What is done and was not written down before a crash is
    /// delivered again.
    pub done_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            bytes_max: 1 << 30,
            commit_delay: Duration::from_millis(2),
            commit_bytes: 1 << 20,
            done_delay: Duration::from_millis(100),
        }
    }
}

/// Something to do to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Make this segment, which is not there, with this header.
    Create(u64, [u8; HEADER_BYTES]),
    /// Append to it.
    Append(u64, Vec<u8>),
    /// Bring what was appended to the disk.
    Sync(u64),
    /// Bring to the disk which segments there are.
    SyncFolder,
    /// Remove it; one that is not there is removed.
    Remove(u64),
    /// Read all of it.
    Read(u64),
}

/// What the log wants.
#[derive(Debug)]
pub enum Step {
    /// This done, and [`Journal::acted`] called.
    Act(Act),
    /// Nothing before this time, unless something is given.
    Wait(Option<Instant>),
}

/// What can be seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Entries on disk and not done.
    pub entries: u64,
    /// Entries that are not on disk yet.
    pub queued: u64,
    /// When the oldest entry of the oldest segment in use was accepted, in milliseconds since 1970.
    pub oldest_unix_millis: Option<u64>,
    /// `bytes_max` is reached.
    pub full: bool,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    bytes: u64,
    /// Entries of it that are not done.
    live: u64,
    oldest: Option<u64>,
    /// Something in it was confirmed.
    confirmed: bool,
    /// What of it is not done could not be read, so it cannot be carried elsewhere.
    stuck: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Creating,
    SyncingCreation,
    Appending,
    Syncing,
    Removing(u64),
    SyncingRemoval,
    Reading(u64),
}

/// A commit under way.
#[derive(Debug, Default)]
struct Batch {
    segment: u64,
    octets: Vec<u8>,
    entries: Vec<(Pending, u64)>,
    /// Keys that are done, with the segment the entry is in.
    done: Vec<(EntryKey, u64)>,
    /// Entries of the batch that have become done meanwhile.
    dead: Vec<EntryKey>,
}

/// The log.
#[derive(Debug)]
pub struct Journal {
    settings: Settings,
    epoch: u32,
    next_number: u64,
    /// Oldest first; the last is written to while `open`.
    segments: VecDeque<Segment>,
    open: bool,
    places: HashMap<EntryKey, Place>,
    live_bytes: u64,
    queue: Queue,
    /// Done and not written, with the last segment the entry is in.
    done: BTreeMap<EntryKey, u64>,
    done_since: Option<Instant>,
    batch: Batch,
    phase: Phase,
    rest_until: Option<Instant>,
    pause: Duration,
    /// Segments that failed before anything in them was confirmed.
    junk: Vec<u64>,
    /// A segment was removed, and it is not known to be gone from the disk.
    unsynced: bool,
    /// Clearing away has failed, and rests.
    untidy: bool,
    confirmed: BTreeMap<u16, EntryKey>,
}

impl Journal {
    /// Goes on from what was found. The number of this start is [`Journal::epoch`].
    pub fn new(settings: Settings, found: &Found) -> Self {
        let mut segments: VecDeque<Segment> = found
            .segments
            .iter()
            .map(|old| Segment {
                number: old.number,
                bytes: old.good,
                live: 0,
                oldest: None,
                confirmed: true,
                stuck: false,
            })
            .collect();
        let mut places = HashMap::new();
        let mut live_bytes = 0;
        for (key, entry) in &found.entries {
            let bytes = entry.frame_bytes as u64;
            places.insert(*key, Place { segment: entry.segment, bytes });
            live_bytes += bytes;
            if let Ok(at) = segments.binary_search_by_key(&entry.segment, |segment| segment.number) {
                let segment = &mut segments[at];
                segment.live += 1;
                segment.note(entry.entry.unix_millis);
            }
        }
        let highest =
            found.segments.iter().map(|old| old.number).chain(found.unwritten.iter().copied()).max();
        Self {
            settings,
            epoch: found.epoch.saturating_add(1).min(EntryKey::EPOCH_MAX),
            next_number: highest.map_or(1, |number| number + 1),
            segments,
            open: false,
            places,
            live_bytes,
            queue: Queue::default(),
            done: BTreeMap::new(),
            done_since: None,
            batch: Batch::default(),
            phase: Phase::Idle,
            rest_until: None,
            pause: PAUSE,
            junk: Vec::new(),
            unsynced: false,
            untidy: false,
            confirmed: BTreeMap::new(),
        }
    }

    /// The number of this start.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Takes an entry.
    pub fn spool(&mut self, now: Instant, entry: Box<Entry>) {
        self.queue.push_back(now, Pending { entry, tried: None, carried: false });
    }

    /// An entry is done.
    pub fn unspool(&mut self, now: Instant, key: EntryKey) {
        let mut segment = self.queue.remove(key).and_then(|pending| pending.tried);
        if self.batch.entries.iter().any(|(pending, _)| pending.entry.key == key) {
            self.batch.dead.push(key);
            segment = Some(self.batch.segment);
        }
        if let Some(place) = self.places.remove(&key) {
            self.live_bytes -= place.bytes;
            if let Some(of) = self.segment(place.segment) {
                of.live -= 1;
            }
            segment = segment.max(Some(place.segment));
        }
        if let Some(segment) = segment {
            self.done.insert(key, segment);
            self.done_since.get_or_insert(now);
        }
    }

    /// Whether everything given is on disk, and all that is done is written down.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.done.is_empty() && matches!(self.phase, Phase::Idle)
    }

    /// Entries that are done, of which the disk does not know it: they come back if the process dies now.
    pub fn unwritten_done(&self) -> usize {
        self.done.len() + self.batch.done.len() + usize::from(self.unsynced)
    }

    /// Whether something is being done to the disk.
    pub fn is_acting(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    /// What each shard may be told since this was asked last.
    pub fn take_confirmed(&mut self) -> BTreeMap<u16, EntryKey> {
        std::mem::take(&mut self.confirmed)
    }

    /// What can be seen.
    pub fn gauges(&self) -> Gauges {
        let bytes = self.bytes();
        Gauges {
            bytes,
            segments: self.segments.len() as u64,
            entries: self.places.len() as u64,
            queued: (self.queue.len() + self.batch.entries.len()) as u64,
            oldest_unix_millis: self
                .segments
                .iter()
                .find(|segment| segment.live > 0)
                .and_then(|segment| segment.oldest),
            full: bytes >= self.settings.bytes_max,
        }
    }

    /// What is to be done next. With `hurry` nothing waits for company, and no pause is made.
    pub fn next(&mut self, now: Instant, hurry: bool) -> Step {
        debug_assert!(matches!(self.phase, Phase::Idle), "one thing at a time");
        if let Some(act) = self.clear_away() {
            return Step::Act(act);
        }
        if let Some(until) = self.rest_until.filter(|until| !hurry && now < *until) {
            return Step::Wait(Some(until));
        }
        self.untidy = false;
        if let Some(number) = self.pinned() {
            self.phase = Phase::Reading(number);
            return Step::Act(Act::Read(number));
        }
        let may_write = self.bytes() < self.settings.bytes_max;
        let entries_due = self.queue.since().filter(|_| may_write).map(|since| {
            let soon = hurry || self.queue.bytes() >= self.settings.commit_bytes;
            if soon { since } else { since + self.settings.commit_delay }
        });
        // What is carried out of an old segment makes room.
        let entries_due = entries_due.or_else(|| self.queue.carried().then_some(now));
        let done_due =
            self.done_since.map(|since| if hurry { since } else { since + self.settings.done_delay });
        match [entries_due, done_due].into_iter().flatten().min() {
            Some(due) if due <= now => self.commit(may_write),
            due => Step::Wait(due),
        }
    }

    /// One that failed, or else the oldest segment, when nothing in it is wanted. One after the other: what comes back after a loss of
    /// power must not do so without what says that its entries are done, and a later segment may be what says so.
    fn clear_away(&mut self) -> Option<Act> {
        if self.untidy {
            return None;
        }
        if self.unsynced {
            self.phase = Phase::SyncingRemoval;
            return Some(Act::SyncFolder);
        }
        let is_current = self.open && self.segments.len() == 1;
        let oldest = self.segments.front().filter(|oldest| oldest.live == 0 && !is_current);
        let number = *self.junk.first().or_else(|| oldest.map(|oldest| &oldest.number))?;
        self.phase = Phase::Removing(number);
        Some(Act::Remove(number))
    }

    /// The oldest segment, when little of much is wanted and it keeps the rest from being removed.
    fn pinned(&self) -> Option<u64> {
        let bytes = self.bytes();
        let oldest = self.segments.front().filter(|_| self.segments.len() > 1)?;
        let wasteful = bytes > self.settings.bytes_max / 2 && self.live_bytes < bytes / 2;
        (wasteful && !oldest.stuck && !self.queue.carried()).then_some(oldest.number)
    }

    /// Begins a commit.
    fn commit(&mut self, may_write: bool) -> Step {
        if self.open && self.segments.back().is_some_and(|last| last.bytes >= self.settings.segment_bytes) {
            self.open = false;
        }
        let number = match self.segments.back().filter(|_| self.open) {
            Some(last) => last.number,
            None => self.next_number,
        };
        let mut batch = Batch { segment: number, ..Batch::default() };
        batch.done = std::mem::take(&mut self.done).into_iter().collect();
        self.done_since = None;
        for keys in batch.done.chunks(KEYS_MAX) {
            put_done(number, keys.iter().map(|(key, _)| key.get()), &mut batch.octets);
        }
        while batch.octets.len() < self.settings.commit_bytes
            && let Some(pending) = self.queue.pop(may_write)
        {
            // What was carried behind its successor would come back.
            if let Some(replaced) = pending.entry.replaces {
                self.queue.remove(replaced);
            }
            let bytes = put_entry(number, &pending.entry, &mut batch.octets) as u64;
            batch.entries.push((pending, bytes));
        }
        self.batch = batch;
        if self.open {
            return self.append();
        }
        self.next_number += 1;
        self.phase = Phase::Creating;
        Step::Act(Act::Create(number, header(number, self.epoch)))
    }

    fn append(&mut self) -> Step {
        self.phase = Phase::Appending;
        Step::Act(Act::Append(self.batch.segment, self.batch.octets.clone()))
    }

    /// How the last act went: what was read, for one that reads. `Some` is the act that follows at once.
    pub fn acted(&mut self, now: Instant, result: Result<Vec<u8>, String>) -> Option<Act> {
        let phase = std::mem::take(&mut self.phase);
        let step = match (phase, result) {
            (Phase::Idle, _) => return None,
            (Phase::Removing(number), result) => return self.removed(now, number, result.is_ok()),
            (Phase::SyncingRemoval, Ok(_)) => {
                self.unsynced = false;
                return None;
            }
            (Phase::SyncingRemoval, Err(_)) => {
                self.untidy = true;
                self.fail(now);
                return None;
            }
            (Phase::Reading(number), result) => {
                self.carry(now, number, result.ok());
                return None;
            }
            (phase, Err(_)) => {
                self.give_up_segment(now, matches!(phase, Phase::Creating));
                self.fail(now);
                return None;
            }
            (Phase::Creating, Ok(_)) => {
                self.segments.push_back(Segment {
                    number: self.batch.segment,
                    bytes: HEADER_BYTES as u64,
                    live: 0,
                    oldest: None,
                    confirmed: false,
                    stuck: false,
                });
                self.open = true;
                self.phase = Phase::SyncingCreation;
                return Some(Act::SyncFolder);
            }
            (Phase::SyncingCreation, Ok(_)) => self.append(),
            (Phase::Appending, Ok(_)) => {
                self.phase = Phase::Syncing;
                return Some(Act::Sync(self.batch.segment));
            }
            (Phase::Syncing, Ok(_)) => {
                self.committed();
                return None;
            }
        };
        match step {
            Step::Act(act) => Some(act),
            Step::Wait(_) => None,
        }
    }

    fn removed(&mut self, now: Instant, number: u64, done: bool) -> Option<Act> {
        if !done {
            self.untidy = true;
            self.fail(now);
            return None;
        }
        let junk = self.junk.len();
        self.junk.retain(|junk| *junk != number);
        if self.junk.len() == junk {
            self.segments.retain(|segment| segment.number != number);
            // It was the oldest: nothing is left that could come back of what was nowhere later.
            self.done.retain(|_, segment| *segment != number);
        }
        if self.done.is_empty() {
            self.done_since = None;
        }
        self.unsynced = true;
        self.phase = Phase::SyncingRemoval;
        Some(Act::SyncFolder)
    }

    /// A commit is on disk.
    fn committed(&mut self) {
        self.rest_until = None;
        self.pause = PAUSE;
        let batch = std::mem::take(&mut self.batch);
        let number = batch.segment;
        for (pending, bytes) in batch.entries {
            let key = pending.entry.key;
            if !pending.carried {
                let confirmed = self.confirmed.entry(key.shard()).or_insert(key);
                *confirmed = key.max(*confirmed);
            }
            if batch.dead.contains(&key) {
                continue;
            }
            if let Some(replaced) = pending.entry.replaces
                && let Some(place) = self.places.remove(&replaced)
            {
                self.live_bytes -= place.bytes;
                if let Some(of) = self.segment(place.segment) {
                    of.live -= 1;
                }
            }
            if let Some(old) = self.places.insert(key, Place { segment: number, bytes }) {
                self.live_bytes -= old.bytes;
                if let Some(of) = self.segment(old.segment) {
                    of.live -= 1;
                }
            }
            self.live_bytes += bytes;
            if let Some(of) = self.segment(number) {
                of.live += 1;
                of.note(pending.entry.unix_millis);
            }
        }
        if let Some(of) = self.segment(number) {
            of.bytes += batch.octets.len() as u64;
            of.confirmed = true;
        }
    }

    /// The segment of the batch takes nothing more, and what was to be confirmed with it goes to another.
    fn give_up_segment(&mut self, now: Instant, unmade: bool) {
        self.open = false;
        let batch = std::mem::take(&mut self.batch);
        let number = batch.segment;
        let worthless = match self.segment(number) {
            // What follows its good part may be there all the same; it takes room in any case.
            Some(segment) if segment.confirmed => {
                segment.bytes += batch.octets.len() as u64;
                false
            }
            Some(_) => true,
            None => unmade,
        };
        if worthless {
            self.segments.retain(|segment| segment.number != number);
            self.junk.push(number);
        }
        for (key, segment) in batch.done {
            self.done.entry(key).or_insert(segment);
        }
        for (pending, _) in batch.entries.into_iter().rev() {
            if !batch.dead.contains(&pending.entry.key) {
                self.queue.push_front(now, Pending { tried: Some(number), ..pending });
            }
        }
    }

    fn fail(&mut self, now: Instant) {
        self.rest_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if !self.done.is_empty() {
            self.done_since.get_or_insert(now);
        }
    }

    /// What is wanted of an old segment is written again.
    fn carry(&mut self, now: Instant, number: u64, octets: Option<Vec<u8>>) {
        let mut wanted: BTreeMap<EntryKey, Box<Entry>> = BTreeMap::new();
        for (frame, _) in Frames::new(number, octets.as_deref().unwrap_or_default()) {
            if let Frame::Entry(entry) = frame
                && self.places.get(&entry.key).is_some_and(|place| place.segment == number)
            {
                wanted.insert(entry.key, entry);
            }
        }
        if let Some(segment) = self.segment(number) {
            segment.stuck = (wanted.len() as u64) < segment.live;
        }
        for entry in wanted.into_values() {
            self.queue.push_back(now, Pending { entry, tried: Some(number), carried: true });
        }
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        let at = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get_mut(at)
    }
}

impl Segment {
    fn note(&mut self, unix_millis: u64) {
        self.oldest = Some(self.oldest.map_or(unix_millis, |oldest| oldest.min(unix_millis)));
    }
}
