//! Connections that are not received on: those that wait for a buffer, and those the shard has paused. Invariant, of the waiting: each kind leaves in the order it came, those that say little first, and those that
//! say much keep one place of several.

use std::collections::VecDeque;

use turnout_core::io::LinkId;

use super::Uring;
use super::ring::Operation;
use super::table::Place;

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Starved {
    much: VecDeque<Place>,
    little: VecDeque<Place>,
}

impl Starved {
    /// One more; `much` is what it said when it had a buffer.
    pub(super) fn push(&mut self, place: Place, much: bool) {
        if much { self.much.push_back(place) } else { self.little.push_back(place) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.much.len() + self.little.len()
    }

    /// Whether some wait that say much.
    pub(super) fn has_much(&self) -> bool {
        !self.much.is_empty()
    }

    /// Those that say little.
    fn pop_little(&mut self) -> Option<Place> {
        self.little.pop_front()
    }

    /// Whether it waits.
    pub(super) fn contains(&self, place: Place) -> bool {
        self.much.contains(&place) || self.little.contains(&place)
    }

    /// The next, with so many places left for it and others.
    pub(super) fn pop(&mut self, left: usize, first: bool) -> Option<Place> {
        let keep = left == 1 && !first && !self.much.is_empty();
        let little = if keep { None } else { self.little.pop_front() };
        little.or_else(|| self.much.pop_front()).or_else(|| self.little.pop_front())
    }
}

impl Uring {
    /// A connection waits for a buffer.
    pub(super) fn starve(&mut self, place: Place) {
        let much = self.table.get(place).is_some_and(|connection| connection.much);
        self.starved.push(place, much);
    }

    /// Receives no more on a connection, or again. What the kernel had received before it heard of it is handed on in its order: a few
    /// buffers at most.
    pub(super) fn pause_one(&mut self, link: LinkId, paused: bool) {
        let Some(place) = self.table.find(link) else { return };
        let Some(connection) = self.table.get(place).filter(|connection| !connection.is_ending()) else {
            return;
        };
        connection.paused = paused;
        // A receive that is still ending begins anew when it has ended, if by then it is to.
        if paused && connection.receiving {
            self.ring.stop(place.token(Operation::Receive));
        } else if !paused && !connection.receiving && !self.starved.contains(place) {
            self.receive(place);
        }
    }

    /// Receives that found no buffer begin anew, as many as there are buffers: one more would end at once.
    pub(super) fn feed_starved(&mut self) {
        let starved = self.starved.len();
        let was_brief = std::mem::take(&mut self.brief);
        if starved == 0 || self.paused {
            return;
        }
        // Two such turns in a row would keep those waiting that are late already.
        self.brief = self.shared > 0 && !was_brief && self.came.little && self.starved.has_much();
        if self.brief {
            for _ in 0..self.ring.buffers.given() {
                let Some(place) = self.starved.pop_little() else { return };
                self.receive(place);
            }
            return;
        }
        self.ring.buffers.starved(starved, self.came.bytes);
        let most = self.ring.buffers.given().min(starved);
        for left in (1..=most).rev() {
            if let Some(place) = self.starved.pop(left, left == most) {
                self.receive(place);
            }
        }
    }
}
