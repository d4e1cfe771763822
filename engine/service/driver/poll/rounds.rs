//! Whose turn it is to be read. Invariant: in one turn a connection is read once, unless no other has been read since the turn before; one
//! that has just become ready is read before those that had more than their share last time, though never at the price of all of the turn; and
//! among these it goes round. So however many connections flood, one that says little waits for one turn at most.
//!
//! Everything of a turn is written when the turn is over, so what counts for the others is how much a turn may hold, and in which turn
//! one is read. While some say little and others always have more, turns are short, and every other one is brief: who has just become
//! ready is read and nobody else, so that what he said goes out before the next piece of a flood is looked at.

use std::collections::VecDeque;

use crate::driver::limits::{READ_BYTES, SHARED_READ_BYTES, SHARED_TURN_BYTES, SHARED_TURNS, TURN_BYTES};

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
    /// Turns that stay short.
    shared: u32,
    /// Only who has become ready is read in this turn.
    brief: bool,
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
        self.shared = self.shared.saturating_sub(1);
        self.room = self.turn_bytes();
        // Two in a row would keep those waiting that are late already.
        self.brief = self.is_shared() && !self.brief && !self.fresh.is_empty() && !self.backlog.is_empty();
    }

    /// How much is to be read at once.
    pub(super) fn piece(&self) -> usize {
        if self.is_shared() { SHARED_READ_BYTES } else { READ_BYTES }
    }

    /// Who is read next in this turn.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.room == 0 || (self.brief && self.fresh.is_empty()) {
            return None;
        }
        // Half of the turn is kept for those that are late already.
        let fresh_first = self.backlog.is_empty() || self.brief || self.room > self.turn_bytes() / 2;
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
            ([slot], Seen::One(_))
                if self.is_shared() || self.before == Seen::Nobody || self.before == self.seen =>
            {
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
        if bytes < SHARED_READ_BYTES && !(self.backlog.is_empty() && self.served.is_empty()) {
            self.shared = SHARED_TURNS;
            self.room = self.room.min(SHARED_TURN_BYTES);
        }
        self.room = self.room.saturating_sub(bytes);
    }

    /// The turn is over.
    pub(super) fn end(&mut self) {
        self.before = std::mem::take(&mut self.seen);
        self.backlog.extend(self.served.drain(..));
    }

    fn is_shared(&self) -> bool {
        self.shared > 0
    }

    fn turn_bytes(&self) -> usize {
        if self.is_shared() { SHARED_TURN_BYTES } else { TURN_BYTES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One turn in which `floods` always have more, and all others say little: who was read, in order.
    fn turn(rounds: &mut Rounds, floods: std::ops::Range<usize>) -> Vec<usize> {
        let mut read = Vec::new();
        rounds.begin();
        while let Some(slot) = rounds.next() {
            read.push(slot);
            if floods.contains(&slot) {
                rounds.more(slot, rounds.piece());
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
    fn who_says_little_beside_a_flood_has_every_other_turn_for_himself() {
        let mut rounds = Rounds::default();
        rounds.push(0);
        turn(&mut rounds, 0..1);
        rounds.push(1);
        assert_eq!(turn(&mut rounds, 0..1), [1, 0], "nobody knew that there are two kinds");
        for _ in 0..10 {
            rounds.push(1);
            assert_eq!(turn(&mut rounds, 0..1), [1]);
            rounds.push(1);
            assert_eq!(turn(&mut rounds, 0..1), [1, 0], "a flood is not starved");
        }
        for _ in 0..10 {
            assert_eq!(turn(&mut rounds, 0..1), [0, 0, 0, 0], "all of a short turn");
        }
    }

    #[test]
    fn turns_are_long_again_when_nobody_says_little() {
        let mut rounds = Rounds::default();
        (0..2).for_each(|slot| rounds.push(slot));
        let bytes = |rounds: &mut Rounds| {
            let reads = turn(rounds, 0..2).len();
            reads * rounds.piece()
        };
        assert_eq!(bytes(&mut rounds), 2 * READ_BYTES);
        rounds.push(2);
        turn(&mut rounds, 0..2);
        for _ in 1..SHARED_TURNS {
            assert_eq!(bytes(&mut rounds), 2 * SHARED_READ_BYTES);
        }
        assert_eq!(bytes(&mut rounds), 2 * READ_BYTES);
    }

    #[test]
    fn twenty_floods_keep_nobody_waiting_for_more_than_a_short_turn() {
        let mut rounds = Rounds::default();
        (0..20).for_each(|slot| rounds.push(slot));
        // At first the floods are as fresh as anybody.
        (0..10).for_each(|_| drop(turn(&mut rounds, 0..20)));
        for _ in 0..100 {
            rounds.push(20);
            let read = turn(&mut rounds, 0..20);
            assert!(read[0] == 20 && (read.len() - 1) * rounds.piece() <= SHARED_TURN_BYTES, "{read:?}");
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
                        rounds.more(slot, rounds.piece());
                    }
                    None => rounds.drained(READ_BYTES),
                }
            }
            rounds.end();
        }
        let (least, most) = (reads.iter().min().unwrap(), reads.iter().max().unwrap());
        assert!(*least >= 4 && most - least <= 2, "{reads:?}");
    }

    #[test]
    fn floods_have_half_of_what_many_who_say_little_leave_them() {
        let mut rounds = Rounds::default();
        (0..20).for_each(|slot| rounds.push(slot));
        let mut reads = [0; 20];
        for _ in 0..200 {
            (100..300)
                .filter(|slot| !rounds.fresh.contains(slot))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|slot| rounds.push(slot));
            for slot in turn(&mut rounds, 0..20) {
                if let Some(reads) = reads.get_mut(slot) {
                    *reads += 1;
                }
            }
        }
        let (least, most) = (reads.iter().min().unwrap(), reads.iter().max().unwrap());
        assert!(*least >= 8 && most - least <= 3, "{reads:?}");
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
