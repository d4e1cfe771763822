//! Receives: which connections may bring something, and what they brought. Invariant: a connection has one multishot receive under way or
//! none; one that found no buffer waits in its order for one, and what came while nothing is to be read waits in `parked`.

use super::Uring;
use super::connection::{Connection, broken};
use super::ring::{Completion, Operation, buffers};
use super::table::Place;
use crate::driver::limits::{OVERFLOW_MAX, READ_BYTES, SHARED_READ_BYTES, SHARED_TURNS, UNSTORED_MAX};

/// Who receives so much at once has more to say: he comes behind those who say little when there are no buffers.
const MUCH: usize = 16 * 1024;

impl Uring {
    /// Begins to receive, or begins anew.
    pub(super) fn receive(&mut self, place: Place) {
        let may = |connection: &&mut Connection| !connection.is_ending() && !connection.paused;
        if let Some(connection) = self.table.get(place).filter(may) {
            connection.under_way += 1;
            connection.receiving = true;
            self.ring.receive(connection.descriptor(), place.token(Operation::Receive));
        }
    }

    /// A receive has brought something, or has ended.
    pub(super) fn received(&mut self, place: Place, completion: Completion) {
        let Completion { result, more, filled, .. } = completion;
        let found = self.table.get(place);
        let ending = found.as_ref().is_none_or(|connection| connection.is_ending());
        if self.paused && !ending {
            return self.parked.push(Completion { filled, ..completion });
        }
        if let Some(connection) = found
            && !more
        {
            connection.under_way -= 1;
            connection.receiving = false;
        }
        if ending {
            if let Some(filled) = filled {
                self.ring.buffers.discard(filled);
            }
            return self.bury(place);
        }
        match (result, filled) {
            (1.., Some(filled)) => {
                let length = usize::try_from(result).unwrap_or(0);
                let much = length >= MUCH.min(self.ring.buffers.piece());
                self.came.bytes += length;
                self.came.much |= much;
                self.came.little |= length < SHARED_READ_BYTES;
                if let Some(connection) = self.table.get(place) {
                    connection.much = much;
                }
                self.take_in(place, filled);
                if !more {
                    self.receive(place);
                }
            }
            (result, filled) => {
                if let Some(filled) = filled {
                    self.ring.buffers.discard(filled);
                }
                self.received_nothing(place, -result, more);
            }
        }
    }

    fn take_in(&mut self, place: Place, filled: buffers::Filled) {
        let Some(connection) = self.table.get(place) else { return };
        match connection.take_in(filled, &mut self.ring, &mut self.texts, &mut self.pending) {
            Ok(false) => (),
            Ok(true) => self.flush(place),
            Err(why) => {
                // Alerts go out whatever became of the input.
                self.flush(place);
                self.end(place, why);
            }
        }
    }

    fn received_nothing(&mut self, place: Place, error: i32, more: bool) {
        match error {
            0 => {
                if let Some(connection) = self.table.get(place) {
                    let why = connection.end_of_stream();
                    self.end(place, why);
                }
            }
            libc::ENOBUFS if !more => self.starve(place),
            libc::ENOBUFS => (),
            libc::EINTR | libc::EAGAIN | libc::ECANCELED => {
                if !more {
                    self.receive(place);
                }
            }
            error => self.end(place, broken(error)),
        }
    }

    /// Turns are short from now on if somebody says little while others always have more, and long again when that was some time ago.
    pub(super) fn share(&mut self) {
        if self.came.little && (self.came.much || self.starved.has_much()) {
            self.shared = SHARED_TURNS;
            self.ring.buffers.cut_to(SHARED_READ_BYTES);
        } else if self.shared > 0 {
            self.shared -= 1;
            if self.shared == 0 {
                self.ring.buffers.cut_to(READ_BYTES);
            }
        }
    }

    /// While hand-offs do not fit, nothing is received.
    pub(super) fn pause(&mut self) {
        let unstored = self.outlet.len() + self.spool.len();
        let paused = self.overflow.len() > OVERFLOW_MAX || unstored > UNSTORED_MAX;
        if paused != self.paused {
            self.paused = paused;
            if paused {
                self.ring.buffers.withhold();
            } else {
                self.ring.buffers.release();
            }
        }
    }
}
