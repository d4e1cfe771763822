//! Whose turn it is to be read. Invariant: in one turn a connection is read once, unless no other has been read since the turn before or
//! turns are short; and they are read in the order of their [`Share`]. So however many connections flood, one that says little
//! waits for one turn at most.
//!
//! Everything of a turn is written when the turn is over, so what counts for the others is how much a turn may hold, and in which turn
//! one is read. While some say words and others always have more, turns are short, and every other one is brief: those who go first are
//! read and nobody else, so that what they said goes out before the next piece of a flood is looked at. Of the turns between, half is for the
//! others, however many go first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::driver::share::{Account, Share};

/// Connections that are ready, by their slots; each stands in it once.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    share: Share,
    /// Those that go first.
    first: VecDeque<usize>,
    /// The others, by rank and then in the order in which they became ready.
    ready: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// How many have become ready.
    count: u64,
    /// Of each slot. A connection goes on with the account of the one before it, and soon has its own.
    accounts: Vec<Account>,
    /// Were read in this turn and have more.
    served: Vec<usize>,
    room: usize,
    /// How much of it those have who go first, while others wait.
    first_room: usize,
    /// One that goes first is being read.
    is_first: bool,
    /// Nobody else is read in this turn.
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
        if self.accounts.len() <= slot {
            self.accounts.resize(slot + 1, Account::default());
        }
        let rank = self.share.rank(&mut self.accounts[slot]);
        if self.accounts[slot].goes_first() {
            return self.first.push_back(slot);
        }
        self.count += 1;
        self.ready.push(Reverse((rank, self.count, slot)));
    }

    /// It is not to be read.
    pub(super) fn remove(&mut self, slot: usize) {
        self.first.retain(|other| *other != slot);
        self.ready.retain(|Reverse((_, _, other))| *other != slot);
        self.served.retain(|other| *other != slot);
    }

    /// It is held up from now on, or read again.
    pub(super) fn hold(&mut self, slot: usize, held: bool) {
        let Some(account) = self.accounts.get_mut(slot) else { return };
        if held { self.share.hold(account) } else { self.share.release(account) }
    }

    /// Whether one is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.ready.is_empty()
    }

    /// A turn begins.
    pub(super) fn begin(&mut self) {
        self.room = self.share.turn_bytes();
        // Two in a row would keep those waiting that are late already.
        self.brief = self.share.is_short() && !self.brief && !self.first.is_empty();
        self.first_room = self.room / 2;
    }

    /// How much is to be read at once.
    pub(super) fn piece(&self) -> usize {
        self.share.piece()
    }

    /// Who is read next in this turn.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.room == 0 {
            return None;
        }
        let before_others = self.brief || self.first_room > 0 || self.ready.is_empty();
        let first = if before_others { self.first.pop_front() } else { None };
        self.is_first = first.is_some();
        if first.is_none() && self.brief {
            return None;
        }
        if let Some(slot) = first.or_else(|| self.next_by_rank()) {
            self.seen = if self.seen == Seen::Nobody { Seen::One(slot) } else { Seen::Several };
            return Some(slot);
        }
        // Whoever is alone may have all of the turn.
        match (self.served.as_slice(), self.seen) {
            ([slot], Seen::One(_))
                if self.share.is_short() || self.before == Seen::Nobody || self.before == self.seen =>
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
        self.count(slot, bytes.max(1));
        self.served.push(slot);
    }

    /// So many bytes were read from it, and it has no more.
    pub(super) fn drained(&mut self, slot: usize, bytes: usize) {
        let words = self.accounts.get(slot).is_some_and(Account::says_words);
        if words && !(self.ready.is_empty() && self.served.is_empty()) {
            self.share.shorten();
            self.room = self.room.min(self.share.turn_bytes());
        }
        self.count(slot, bytes);
    }

    /// The turn is over.
    pub(super) fn end(&mut self) {
        self.before = std::mem::take(&mut self.seen);
        let mut served = std::mem::take(&mut self.served);
        if !served.is_empty() {
            self.share.had_more();
        }
        served.drain(..).for_each(|slot| self.push(slot));
        self.served = served;
    }

    fn count(&mut self, slot: usize, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
        if self.is_first {
            self.first_room = self.first_room.saturating_sub(bytes);
        }
        let others_wait = self.others_wait();
        match self.accounts.get_mut(slot) {
            Some(account) if others_wait => self.share.read(account, bytes),
            Some(account) => self.share.read_alone(account, bytes),
            None => (),
        }
    }

    /// Whether somebody has something beside the one that was read just now.
    fn others_wait(&self) -> bool {
        !(self.is_empty() && self.served.is_empty())
    }

    fn next_by_rank(&mut self) -> Option<usize> {
        let Reverse((rank, _, slot)) = self.ready.pop()?;
        self.share.reach(rank);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::share::{
        CREDIT_BYTES, READ_BYTES, SHARED_READ_BYTES, SHARED_TURN_BYTES, SHARED_TURNS,
    };

    /// One turn in which `floods` always have more, and all others say little: who was read, in order.
    fn turn(rounds: &mut Rounds, floods: std::ops::Range<usize>) -> Vec<usize> {
        let mut read = Vec::new();
        rounds.begin();
        while let Some(slot) = rounds.next() {
            read.push(slot);
            if floods.contains(&slot) {
                rounds.more(slot, rounds.piece());
            } else {
                rounds.drained(slot, 400);
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

    /// So many floods and one more who says a little every turn, until turns are short.
    fn short(floods: usize) -> Rounds {
        let mut rounds = Rounds::default();
        (0..floods).for_each(|slot| rounds.push(slot));
        for _ in 0..1000 {
            // At first the floods are as fresh as he is.
            let waits = rounds.ready.iter().any(|Reverse((_, _, slot))| *slot == floods);
            if !waits && !rounds.first.contains(&floods) {
                rounds.push(floods);
            }
            turn(&mut rounds, 0..floods);
            if rounds.piece() == SHARED_READ_BYTES {
                return rounds;
            }
        }
        panic!("nobody sees who says words");
    }

    #[test]
    fn who_says_little_beside_a_flood_has_every_other_turn_for_himself() {
        let mut rounds = short(1);
        for _ in 0..10 {
            rounds.push(1);
            assert_eq!(turn(&mut rounds, 0..1), [1]);
            rounds.push(1);
            assert_eq!(turn(&mut rounds, 0..1), [1, 0], "a flood is not starved");
        }
        for _ in 0..10 {
            let all = vec![0; SHARED_TURN_BYTES / SHARED_READ_BYTES];
            assert_eq!(turn(&mut rounds, 0..1), all, "all of a short turn");
        }
    }

    #[test]
    fn turns_are_long_again_when_nobody_says_little() {
        let mut rounds = short(2);
        let bytes = |rounds: &mut Rounds| {
            let piece = rounds.piece();
            turn(rounds, 0..2).len() * piece
        };
        for _ in 1..SHARED_TURNS {
            assert_eq!(bytes(&mut rounds), 2 * SHARED_READ_BYTES);
        }
        assert_eq!(bytes(&mut rounds), 2 * READ_BYTES);
    }

    #[test]
    fn twenty_floods_keep_nobody_waiting_for_more_than_a_short_turn() {
        let mut rounds = short(20);
        for _ in 0..100 {
            rounds.push(20);
            let read = turn(&mut rounds, 0..20);
            assert!(read[0] == 20 && (read.len() - 1) * rounds.piece() <= SHARED_TURN_BYTES, "{read:?}");
        }
    }

    #[test]
    fn streams_that_are_as_busy_as_each_other_have_long_turns() {
        let mut rounds = Rounds::default();
        (0..10).for_each(|slot| rounds.push(slot));
        for count in 0..1000_usize {
            rounds.begin();
            let mut silent = Vec::new();
            while let Some(slot) = rounds.next() {
                // Now and then one has nothing more, and then has again.
                if (slot + count).is_multiple_of(3) {
                    rounds.drained(slot, 30_000);
                    silent.push(slot);
                } else {
                    rounds.more(slot, rounds.piece());
                }
            }
            rounds.end();
            silent.into_iter().for_each(|slot| rounds.push(slot));
            assert_eq!(rounds.piece(), READ_BYTES);
        }
    }

    #[test]
    fn after_a_pause_what_has_come_meanwhile_is_read_at_once() {
        let mut rounds = short(20);
        // Twenty thousand octets wait for him, more than he is read at once.
        rounds.push(20);
        let mut left = 20_000_usize;
        for _ in 0..2 {
            rounds.begin();
            while let Some(slot) = rounds.next() {
                let bytes = if slot == 20 { left.min(rounds.piece()) } else { rounds.piece() };
                if slot != 20 {
                    rounds.more(slot, bytes);
                    continue;
                }
                left -= bytes;
                if left > 0 { rounds.more(slot, bytes) } else { rounds.drained(slot, bytes) }
            }
            rounds.end();
        }
        // One piece a turn.
        assert_eq!(left, 20_000 - 2 * SHARED_READ_BYTES);
        assert_eq!(turn(&mut rounds, 0..20)[0], 20, "the third piece comes before the next of any flood");
    }

    /// The bytes each has been read in so many turns: the first `floods` always have more, the others have `others` bytes again as soon as they
    /// were read.
    fn shares(floods: usize, all: usize, turns: usize, others: usize) -> Vec<usize> {
        let mut rounds = Rounds::default();
        let mut shares = vec![0; all];
        (0..all).for_each(|slot| rounds.push(slot));
        for _ in 0..turns {
            rounds.begin();
            let mut silent = Vec::new();
            while let Some(slot) = rounds.next() {
                if slot < floods {
                    shares[slot] += rounds.piece();
                    rounds.more(slot, rounds.piece());
                } else {
                    shares[slot] += others;
                    rounds.drained(slot, others);
                    silent.push(slot);
                }
            }
            rounds.end();
            silent.into_iter().for_each(|slot| rounds.push(slot));
        }
        shares
    }

    #[test]
    fn all_have_the_same_who_have_always_something() {
        for (floods, all, others) in [(20, 28, READ_BYTES), (20, 20, 1), (20, 220, 20_000), (1, 300, 20_000)]
        {
            let shares = shares(floods, all, 20_000, others);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            let apart = 2 * READ_BYTES.max(others) + usize::try_from(CREDIT_BYTES).unwrap();
            assert!(*least > 0 && most - least <= apart, "{floods} of {all}: {least} to {most}");
        }
    }

    #[test]
    fn however_many_say_words_a_flood_has_its_part() {
        for (floods, all) in [(20, 220), (1, 300), (1, 2)] {
            let shares = shares(floods, all, 20_000, 4000);
            let (flood, words) = (shares[..floods].iter().min(), shares[floods..].iter().max());
            assert!(flood >= words, "{floods} of {all}: {flood:?}, and of those who say words {words:?}");
            for class in [&shares[..floods], &shares[floods..]] {
                let (least, most) = (class.iter().min().unwrap(), class.iter().max().unwrap());
                assert!(most - least <= 2 * READ_BYTES, "{floods}: {least} to {most}");
            }
        }
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
