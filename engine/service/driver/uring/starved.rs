//! Connections that are not received on: those that wait for a buffer, and those the shard has paused. Invariant: those that wait are received
//! on again in the order of their [`Share`](crate::driver::share::Share).

use std::collections::BTreeMap;

use turnout_core::io::LinkId;

use super::Uring;
use super::ring::Operation;
use super::table::Place;
use crate::driver::share::{SHARED_READ_BYTES, SHARED_TURN_BYTES};

/// All that wait for a buffer, by rank and then in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Starved {
    waiting: BTreeMap<(u64, u64), Place>,
    count: u64,
}

impl Starved {
    /// One more.
    fn push(&mut self, rank: u64, place: Place) {
        self.count += 1;
        self.waiting.insert((rank, self.count), place);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether it waits.
    pub(super) fn contains(&self, place: Place) -> bool {
        self.waiting.values().any(|other| *other == place)
    }

    /// The rank of who is next.
    fn first(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((rank, _), _)| *rank)
    }

    /// The rank of who is last.
    fn last(&self) -> Option<u64> {
        self.waiting.last_key_value().map(|((rank, _), _)| *rank)
    }

    fn pop(&mut self) -> Option<Place> {
        self.waiting.pop_first().map(|(_, place)| place)
    }
}

impl Uring {
    /// A connection waits for a buffer.
    pub(super) fn starve(&mut self, place: Place) {
        if let Some(connection) = self.table.get(place) {
            let rank = self.share.rank(&mut connection.account);
            self.starved.push(rank, place);
        }
    }

    /// Whether somebody waits who has always more.
    pub(super) fn somebody_floods(&self) -> bool {
        self.starved.last().is_some_and(|rank| !self.share.is_little(rank))
    }

    /// Receives no more on a connection, or again. What the kernel had received before it heard of it is handed on in its order: a few
    /// buffers at most.
    pub(super) fn pause_one(&mut self, link: LinkId, paused: bool) {
        let Some(place) = self.table.find(link) else { return };
        let Some(connection) = self.table.get(place).filter(|connection| !connection.is_ending()) else {
            return;
        };
        if std::mem::replace(&mut connection.paused, paused) != paused {
            match paused {
                true => self.share.hold(&mut connection.account),
                false => self.share.release(&mut connection.account),
            }
        }
        // A receive that is still ending begins anew when it has ended, if by then it is to.
        if paused && connection.receiving {
            self.ring.stop(place.token(Operation::Receive));
        } else if !paused && !connection.receiving && !self.starved.contains(place) {
            self.receive(place);
        }
    }

    /// Receives that found no buffer begin anew, as many as there are buffers: one more would end at once. While turns are short, those that
    /// flood are no more than a turn has room for, and every other turn none, so that what others said goes out first.
    pub(super) fn feed_starved(&mut self) {
        let was_brief = std::mem::take(&mut self.brief);
        self.unfed = false;
        let starved = self.starved.len();
        if starved == 0 || self.paused {
            return;
        }
        self.ring.buffers.starved(starved, self.came.bytes);
        let short = self.share.is_short();
        // Two such turns in a row would keep those waiting that are late already.
        self.brief = short && !was_brief && self.came.little && self.somebody_floods();
        let mut floods = match (short, self.brief) {
            (false, _) => starved,
            (true, false) => SHARED_TURN_BYTES / SHARED_READ_BYTES,
            (true, true) => 0,
        };
        let given = self.ring.buffers.given();
        for _ in 0..given.min(starved) {
            let Some(rank) = self.starved.first() else { break };
            if !self.share.is_little(rank) {
                if floods == 0 {
                    break;
                }
                floods -= 1;
            }
            if let Some(place) = self.starved.pop() {
                self.receive(place);
            }
        }
        // Those that were begun may have nothing now, and then nobody else wakes us for the rest.
        self.unfed = given > 0 && self.starved.len() > 0;
    }
}
