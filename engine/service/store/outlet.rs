//! A shard's end of the way to the store. Invariant: a shard never waits for the disk. What the store's queue does not take is kept
//! here in order, each pair once with its newest state, so that a store that stands still costs memory for pairs and not for
//! changes; a number is passed on only with everything that was given before it.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use hashbrown::HashMap;
use tokio::sync::oneshot;
use turnout_core::contact::{Pair, Record};

use super::file::Batch;
use crate::pipe::{Pipe, at_the_end};

/// Records in one delivery.
const DELIVERY_RECORDS_MAX: usize = 4096;

/// What a shard gives the store at once.
#[derive(Debug)]
pub struct Delivery {
    /// Which shard.
    pub shard: u16,
    /// Everything the shard numbered up to this is in this delivery or an earlier one.
    pub seq: u64,
    /// The records, oldest first.
    pub records: Vec<Record>,
    /// Moves by name, by [`move_key`](super::file::move_key); the control plane's, which is no shard.
    pub moves: Batch,
    /// Who is told when all of this is on disk.
    pub told: Vec<oneshot::Sender<()>>,
}

/// The end that belongs to one shard.
#[derive(Debug)]
pub struct Outlet {
    pipe: Pipe<Delivery>,
    behind: Behind,
}

/// What waits behind what the queue had no room for.
#[derive(Debug)]
struct Behind {
    shard: u16,
    /// Records, with the number of the oldest change in them.
    waiting: VecDeque<(u64, Record)>,
    /// Where the record of a pair is, counted from the first that ever waited.
    places: HashMap<Pair, u64>,
    /// How many have gone.
    gone: u64,
    seq: u64,
}

impl Outlet {
    /// Of shard `shard`; without a queue there is no store.
    pub fn new(shard: u16, queue: Option<SyncSender<Delivery>>) -> Self {
        let behind = Behind { shard, waiting: VecDeque::new(), places: HashMap::new(), gone: 0, seq: 0 };
        Self { pipe: Pipe::new(queue), behind }
    }

    /// Takes a record for the next [`Outlet::flush`]. Where there is no store, gives the number back: it is all the same to nobody,
    /// so the shard may go on at once.
    pub fn take(&mut self, seq: u64, record: Record) -> Option<u64> {
        if !self.pipe.is_open() {
            return Some(seq);
        }
        self.behind.take(seq, record);
        None
    }

    /// Gives the store what it takes.
    pub fn flush(&mut self) {
        self.pipe.give(|| self.behind.next());
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.behind.waiting.len() + self.pipe.ready().map_or(0, |ready| ready.records.len())
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.behind.waiting.is_empty() && self.pipe.ready().is_none()
    }
}

impl Behind {
    fn take(&mut self, seq: u64, record: Record) {
        self.seq = seq;
        let place = self.places.get(&record.pair).and_then(|place| usize::try_from(place - self.gone).ok());
        if let Some((_, older)) = place.and_then(|place| self.waiting.get_mut(place)) {
            older.contact = record.contact;
        } else {
            self.places.insert(record.pair.clone(), self.gone + self.waiting.len() as u64);
            self.waiting.push_back((seq, record));
        }
    }

    /// The oldest that wait, as one delivery.
    fn next(&mut self) -> Option<Delivery> {
        let count = self.waiting.len().min(DELIVERY_RECORDS_MAX);
        let mut records = Vec::with_capacity(count);
        for (_, record) in self.waiting.drain(..count) {
            self.places.remove(&record.pair);
            records.push(record);
        }
        self.gone += count as u64;
        // What stays was first changed with this number: everything before it goes now.
        let seq = self.waiting.front().map_or(self.seq, |(first, _)| first.saturating_sub(1));
        (count > 0).then_some(Delivery {
            shard: self.shard,
            seq,
            records,
            moves: Batch::new(),
            told: Vec::new(),
        })
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
                event = "store.changes_lost",
                shard = self.behind.shard,
                contacts = self.len(),
                "the store did not take the last changes: they are lost, and nobody was told that they hold"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use turnout_core::contact::Contact;

    use super::*;

    fn record(user: u32, to: bool) -> Record {
        let pair = Pair { local: format!("u{user}@a").into(), partner: "p@b".into() };
        Record { pair, contact: Contact { to, from: true, ..Contact::default() } }
    }

    #[test]
    fn without_a_store_the_number_comes_back() {
        let mut outlet = Outlet::new(0, None);
        assert_eq!(outlet.take(7, record(1, true)), Some(7));
        assert!(outlet.is_empty());
    }

    #[test]
    fn what_does_not_fit_waits_once_a_pair_and_in_order() {
        let (queue, taken) = sync_channel(1);
        let mut outlet = Outlet::new(3, Some(queue));
        let mut seq = 0;
        let mut give = |outlet: &mut Outlet, user, to| {
            seq += 1;
            assert_eq!(outlet.take(seq, record(user, to)), None);
        };
        give(&mut outlet, 1, false);
        outlet.flush();
        assert!(outlet.is_empty());
        // The queue is full: the first is ready to go, and nine more changes of two users are two records.
        for n in 0..10 {
            give(&mut outlet, n % 2, n >= 8);
            outlet.flush();
        }
        assert_eq!(outlet.len(), 3);
        let first = taken.recv().unwrap();
        assert_eq!((first.shard, first.seq, first.records), (3, 1, vec![record(1, false)]));
        outlet.flush();
        let second = taken.recv().unwrap();
        assert_eq!((second.seq, second.records), (2, vec![record(0, false)]));
        outlet.flush();
        let third = taken.recv().unwrap();
        assert_eq!((third.seq, third.records), (11, vec![record(1, true), record(0, true)]));
        assert!(outlet.is_empty() && outlet.behind.places.is_empty());
    }

    #[test]
    fn a_number_never_runs_ahead_of_its_records() {
        let (queue, taken) = sync_channel(1);
        let mut outlet = Outlet::new(0, Some(queue));
        let users = DELIVERY_RECORDS_MAX as u32 + 5;
        for user in 0..users {
            outlet.take(u64::from(user) + 1, record(user, false));
        }
        // The oldest pair changes once more; its place stays, and its newer state goes with it.
        outlet.take(u64::from(users) + 1, record(0, true));
        outlet.flush();
        let first = taken.recv().unwrap();
        assert_eq!((first.records.len(), first.seq), (DELIVERY_RECORDS_MAX, DELIVERY_RECORDS_MAX as u64));
        assert_eq!(first.records[0], record(0, true));
        outlet.flush();
        let second = taken.recv().unwrap();
        assert_eq!((second.records.len(), second.seq), (5, u64::from(users) + 1));
        outlet.take(u64::from(users) + 2, record(2, true));
        outlet.flush();
        assert_eq!(taken.recv().unwrap().records, [record(2, true)]);
    }

    #[test]
    fn the_end_waits_until_the_store_has_taken_all() {
        let (queue, taken) = sync_channel(1);
        let mut outlet = Outlet::new(0, Some(queue));
        outlet.take(1, record(1, true));
        outlet.flush();
        outlet.take(2, record(2, true));
        let store = std::thread::spawn(move || taken.iter().map(|delivery| delivery.seq).collect::<Vec<_>>());
        drop(outlet);
        assert_eq!(store.join().unwrap(), [1, 2]);
    }
}
