//! Receives: which connections may bring something, and what they brought. Invariant: a connection has one receive under way or
//! none; one that found no buffer waits in its order for one, and what came while nothing is to be read waits in `parked`.

use super::Uring;
use super::connection::{Connection, broken};
use super::ring::{Completion, Operation, buffers};
use super::table::Place;
use crate::driver::limits::{OVERFLOW_MAX, UNSTORED_MAX};
use crate::driver::share::SHARED_READ_BYTES;

impl Uring {
    /// Begins to receive, or begins anew.
    pub(super) fn receive(&mut self, place: Place) {
        let may = |connection: &&mut Connection| !connection.is_ending() && !connection.paused;
        let Some(connection) = self.table.get(place).filter(may) else { return };
        connection.under_way += 1;
        connection.receiving = true;
        let (socket, token) = (connection.descriptor(), place.token(Operation::Receive));
        let rank = self.share.rank(&mut connection.account);
        connection.begun = Some(rank);
        // Who floods would take all buffers there are, and so would a flood that is taken for modest.
        if self.share.is_short() && !(self.share.is_little(rank) && connection.account.says_words()) {
            self.ring.receive_once(socket, token, SHARED_READ_BYTES as u32);
        } else {
            self.ring.receive(socket, token);
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
                self.came.bytes += length;
                let little = self.count(place, length);
                self.take_in(place, filled);
                if !more && self.share.is_short() && !little {
                    self.starve(place);
                } else if !more {
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

    /// So much came on a connection. Whether it says little.
    fn count(&mut self, place: Place, length: usize) -> bool {
        let Some(connection) = self.table.get(place) else { return false };
        let rank = self.share.rank(&mut connection.account);
        // Where nobody waits, whoever speaks is where all are. Else all are where the one began that is received on now: by how much he
        // takes, he comes after those who wait.
        let begun = connection.begun.take();
        if self.starved.len() == 0 {
            self.share.reach(rank);
            self.share.read_alone(&mut connection.account, length);
        } else {
            begun.into_iter().for_each(|rank| self.share.reach(rank));
            self.share.read(&mut connection.account, length);
        }
        let little = self.share.is_little(rank);
        self.came.little |= little;
        self.came.words |= connection.account.says_words();
        little
    }

    /// Turns are short from now on if somebody says a word while others always have more, and long again when that was some time ago.
    pub(super) fn share(&mut self) {
        if self.somebody_floods() {
            self.share.had_more();
            if self.came.words {
                self.share.shorten();
            }
        }
        self.ring.buffers.cut_to(self.share.piece());
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
