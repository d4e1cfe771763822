//! Whose turn it is to be read. Invariant: in one turn a connection is read once, unless no other has been read since the turn before; one
//! that has just become ready is read before those that had more than their share last time, though never at the price of all of the turn; and
//! among these it goes round. So however many connections flood, one that says little waits for one turn at most.
//!
//! Everything of a turn is written when the turn is over, so what counts for the others is how much a turn may hold, and in which turn
//! one is read.

use std::collections::VecDeque;

/// Bytes read in one turn, unless the last read brings a little more: what passes through the shard together stays in the cache.
pub(super) const TURN_BYTES: usize = 256 * 1024;

/// Connections that are ready, by their slots; each stands in it once.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Became ready since they were read last.
    fresh: VecDeque<usize>,
    /// Had more when they were read last.
    backlog: VecDeque<usize>,
    /// Were read in this turn and have more.
    served: Vec<usize>,
    room: usize,
    /// Who was read in the turn before.
    before: Seen,
    /// Who was read in this one.
    seen: Seen,
}

/// Who was read in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Nobody,
    One(usize),
    Several,
}

impl Rounds {
    /// It has become ready.
    pub(super) fn push(&mut self, slot: usize) {
        self.fresh.push_back(slot);
    }

    /// It is not to be read.
    pub(super) fn remove(&mut self, slot: usize) {
        self.fresh.retain(|other| *other != slot);
        self.backlog.retain(|other| *other != slot);
        self.served.retain(|other| *other != slot);
    }

    /// Whether one is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.backlog.is_empty()
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.room = TURN_BYTES;
    }

    /// Who is read next in this turn.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.room == 0 {
            return None;
        }
        // Half of the turn is kept for those that are late already.
        let fresh_first = self.backlog.is_empty() || self.room > TURN_BYTES / 2;
        let next = if fresh_first {
            self.fresh.pop_front().or_else(|| self.backlog.pop_front())
        } else {
            self.backlog.pop_front().or_else(|| self.fresh.pop_front())
        };
        if let Some(slot) = next {
            self.seen = if self.seen == Seen::Nobody { Seen::One(slot) } else { Seen::Several };
            return next;
        }
        // Whoever is alone may have all of the turn.
        match (self.served.as_slice(), self.seen) {
            ([slot], Seen::One(_)) if self.before == Seen::Nobody || self.before == self.seen => {
                let slot = *slot;
                self.served.clear();
                Some(slot)
            }
            _ => None,
        }
    }

    /// So many bytes were read from it, and it may have more.
    pub(super) fn more(&mut self, slot: usize, bytes: usize) {
        self.room = self.room.saturating_sub(bytes.max(1));
        self.served.push(slot);
    }

    /// So many bytes were read from it, and it has no more.
    pub(super) fn drained(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// The turn is over.
    pub(super) fn end(&mut self) {
        self.before = std::mem::take(&mut self.seen);
        self.backlog.extend(self.served.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: usize = 64 * 1024;

    /// One turn in which `floods` always have more, and all others say little: who was read, in order.
    fn turn(rounds: &mut Rounds, floods: std::ops::Range<usize>) -> Vec<usize> {
        let mut read = Vec::new();
        rounds.begin();
        while let Some(slot) = rounds.next() {
            read.push(slot);
            if floods.contains(&slot) {
                rounds.more(slot, READ);
            } else {
                rounds.drained(400);
            }
        }
        rounds.end();
        read
    }

    #[test]
    fn whoever_is_alone_has_the_whole_turn() {
        let mut rounds = Rounds::default();
        rounds.push(0);
        for _ in 0..3 {
            assert_eq!(turn(&mut rounds, 0..1), [0, 0, 0, 0]);
        }
    }

    #[test]
    fn a_flood_has_one_read_a_turn_while_others_speak() {
        let mut rounds = Rounds::default();
        rounds.push(0);
        turn(&mut rounds, 0..1);
        for _ in 0..10 {
            rounds.push(1);
            assert_eq!(turn(&mut rounds, 0..1), [1, 0]);
        }
        assert_eq!(turn(&mut rounds, 0..1), [0], "the other may speak again any moment");
        assert_eq!(turn(&mut rounds, 0..1), [0, 0, 0, 0]);
    }

    #[test]
    fn twenty_floods_keep_nobody_waiting_for_more_than_a_turn() {
        let mut rounds = Rounds::default();
        (0..20).for_each(|slot| rounds.push(slot));
        // At first the floods are as fresh as anybody.
        (0..10).for_each(|_| drop(turn(&mut rounds, 0..20)));
        for _ in 0..100 {
            rounds.push(20);
            let read = turn(&mut rounds, 0..20);
            assert!(read[0] == 20 && read.len() == 5, "{read:?}");
        }
    }

    #[test]
    fn floods_take_turns_and_are_not_starved() {
        let mut rounds = Rounds::default();
        (0..20).for_each(|slot| rounds.push(slot));
        let mut reads = [0; 20];
        for _ in 0..50 {
            // A hundred others speak a little each turn, 8 of them with all a read may hold.
            for slot in 0..8 {
                rounds.push(100 + slot);
            }
            rounds.begin();
            while let Some(slot) = rounds.next() {
                match reads.get_mut(slot) {
                    Some(reads) => {
                        *reads += 1;
                        rounds.more(slot, READ);
                    }
                    None => rounds.drained(READ),
                }
            }
            rounds.end();
        }
        let (least, most) = (reads.iter().min().unwrap(), reads.iter().max().unwrap());
        assert!(*least >= 4 && most - least <= 2, "{reads:?}");
    }

    #[test]
    fn who_is_removed_is_not_read() {
        let mut rounds = Rounds::default();
        (0..3).for_each(|slot| rounds.push(slot));
        turn(&mut rounds, 0..3);
        rounds.remove(1);
        assert_eq!(turn(&mut rounds, 0..3), [0, 2]);
        (0..3).for_each(|slot| rounds.remove(slot));
        assert!(rounds.is_empty() && turn(&mut rounds, 0..3).is_empty());
    }
}
