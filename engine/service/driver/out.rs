//! What is queued on one connection, of either driver. Invariant: what [`Out`] says is written is plain text of which every byte, or
//! every byte of the cipher text made of it, was given to the kernel; never more.
//!
//! Plain text goes to `wire` as the slices it came in. With TLS it waits in `plain` until the wire is free and is then sealed, some
//! records at a time: what a slow peer does not take is held once, as the slices it came in. Two ways lead out of a session:
//! [`Out::seal`] puts cipher text on the wire, for a driver whose bytes must lie still until the kernel says so;
//! [`Out::push_sealed`] writes it from the session's own buffers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::{Buf, Bytes};

use crate::buffers::{Buffers, PIECE_BYTES};
use crate::tls::{TlsError, TlsSession};

/// Slices in one gathered write: what the kernel takes (`IOV_MAX`).
pub(crate) const SLICES_MAX: usize = 1024;

/// Most writes are of few slices; a thousand are not set up for them.
const SLICES_FEW: usize = 16;

/// Plain text sealed at once: full records, and no more than stays in the cache until it is written.
const SEAL_BYTES: usize = 128 * 1024;

/// Bytes that a slice in a queue takes beside its text: its place, and what shares the text with others.
const SLICE_COST: u64 = 64;

/// Room for more slices than this is given back by [`Out::rest`].
const KEPT_SLICES: usize = 8;

/// The queue of one connection.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Plain text not yet encrypted, with TLS.
    plain: VecDeque<Bytes>,
    /// Bytes for the socket.
    wire: VecDeque<Bytes>,
    /// TLS has begun: bytes of the wire are no longer bytes of plain text.
    secured: bool,
    /// Our close_notify is in the session.
    ended: bool,
    /// Plain text queued in all.
    queued: u64,
    /// Plain text put on the wire or into the session in all.
    sealed: u64,
    /// Bytes put on the wire in all.
    wired: u64,
    /// Bytes of the wire written in all.
    sent: u64,
    /// Plain text written in all.
    written: u64,
    /// With TLS: (bytes of the wire, plain text that ends there).
    marks: VecDeque<(u64, u64)>,
}

impl Out {
    /// Queues plain text.
    pub(crate) fn queue(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.queued += bytes.len() as u64;
        if self.secured {
            self.plain.push_back(bytes);
        } else {
            self.sealed = self.queued;
            self.put_on_wire(bytes);
        }
    }

    /// From now on what is queued is encrypted; what was queued before leaves in plain text, first.
    pub(crate) fn begin_tls(&mut self) {
        self.secured = true;
        self.mark();
    }

    /// Bytes of plain text that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.queued - self.written
    }

    /// What it costs to keep what waits: the bytes, and for each slice of them what remembering it takes. An answer of two bytes is
    /// not kept for two.
    pub(crate) fn weight(&self) -> u64 {
        self.waiting() + SLICE_COST * (self.plain.len() + self.wire.len()) as u64
    }

    /// Whether nothing is on the wire.
    pub(crate) fn wire_is_empty(&self) -> bool {
        self.wire.is_empty()
    }

    /// Encrypts into the session what comes next, in records as full as they can be; with `ending` and nothing left, close_notify
    /// too. True while more waits for another call.
    ///
    /// # Errors
    /// The session has failed.
    fn encrypt(&mut self, session: &mut TlsSession, ending: bool) -> Result<bool, TlsError> {
        if !session.handshake_done() {
            return Ok(false);
        }
        let (mut count, mut bytes) = (0, 0);
        for piece in pieces(&self.plain) {
            if count == SLICES_MAX || bytes + piece.len() > SEAL_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + piece.len());
        }
        if count > 0 {
            gather(pieces(&self.plain), count, |slices| session.write_slices(slices))?;
            self.sealed += bytes as u64;
            drop_front(&mut self.plain, bytes);
        }
        if !self.plain.is_empty() {
            return Ok(true);
        }
        if ending && !std::mem::replace(&mut self.ended, true) {
            session.close_notify();
        }
        Ok(false)
    }

    /// Puts what the session has to say on the wire, and of what is queued as much as makes a good write. To be called when the wire
    /// is empty: then everything queued before has left.
    ///
    /// # Errors
    /// The session has failed.
    pub(crate) fn seal(
        &mut self,
        session: &mut TlsSession,
        ending: bool,
        buffers: &mut Buffers,
    ) -> Result<(), TlsError> {
        let sealed = self.encrypt(session, ending);
        session.take_ciphertext(buffers);
        self.put_on_wire(buffers.take());
        self.mark();
        sealed.map(drop)
    }

    /// Hands the next slices of the wire to `write`.
    pub(crate) fn slices<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        gather(self.wire.iter().map(|bytes| &bytes[..]), self.wire.len().min(SLICES_MAX), write)
    }

    /// `count` bytes of the wire were written: the plain text that is out, in all, if that grew.
    pub(crate) fn advance(&mut self, count: usize) -> Option<u64> {
        drop_front(&mut self.wire, count);
        self.passed(count)
    }

    /// Moves the next slices of the wire out of it, for a driver that keeps them until the kernel has done with them: up to this many,
    /// with no more bytes than that. What is then written has to be [`Out::passed`], what is not to be put back.
    pub(crate) fn take(&mut self, slices_max: usize, bytes_max: usize, mut each: impl FnMut(Bytes)) {
        let (mut slices, mut bytes) = (0, 0);
        while slices < slices_max && bytes < bytes_max {
            let Some(first) = self.wire.front_mut() else { return };
            let next = first.split_to(first.len().min(bytes_max - bytes));
            if first.is_empty() {
                self.wire.pop_front();
            }
            slices += 1;
            bytes += next.len();
            each(next);
        }
    }

    /// Puts a slice that was taken and not written back in front; the last one first.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.wire.push_front(bytes);
    }

    /// Bytes given to the kernel in all.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// `count` bytes that were taken from the wire were written: the plain text that is out, in all, if that grew.
    pub(crate) fn passed(&mut self, count: usize) -> Option<u64> {
        self.sent += count as u64;
        let before = self.written;
        if !self.secured {
            self.written = self.sent;
        }
        while let Some((_, plain)) = self.marks.front().filter(|(wire, _)| *wire <= self.sent) {
            self.written = *plain;
            self.marks.pop_front();
        }
        (self.written > before).then_some(self.written)
    }

    /// Writes the wire as far as `socket` takes it. True: it is full and more waits. What is out in all is in `written` if that grew.
    ///
    /// # Errors
    /// Those of the socket other than that it is full.
    pub(crate) fn push(&mut self, socket: &mut impl Write, written: &mut Option<u64>) -> io::Result<bool> {
        while !self.wire.is_empty() {
            let result = match self.wire.front() {
                Some(only) if self.wire.len() == 1 => socket.write(only),
                _ => self.slices(|slices| socket.write_vectored(slices)),
            };
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written = self.advance(count).or(*written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Writes the wire and then, sealing it, all that waits behind it, as far as `socket` takes it. As [`Out::push`].
    ///
    /// # Errors
    /// Those of the socket, and that the session has failed.
    pub(crate) fn push_sealed(
        &mut self,
        session: &mut TlsSession,
        ending: bool,
        socket: &mut impl Write,
        written: &mut Option<u64>,
    ) -> io::Result<bool> {
        if self.push(socket, written)? {
            return Ok(true);
        }
        loop {
            while session.wants_write() {
                match session.write_to(socket) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(_) => (),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::Interrupted => (),
                    Err(error) => return Err(error),
                }
            }
            // The session holds nothing: all that went in is out.
            if self.sealed > self.written {
                self.written = self.sealed;
                *written = Some(self.written);
            }
            self.encrypt(session, ending).map_err(io::Error::other)?;
            if !session.wants_write() {
                return Ok(false);
            }
        }
    }

    /// Gives back the room that a burst has taken, if nothing waits. To be called when the connection has been quiet.
    pub(crate) fn rest(&mut self) {
        if self.wire.is_empty() && self.plain.is_empty() && self.marks.is_empty() {
            self.wire.shrink_to(KEPT_SLICES);
            self.plain.shrink_to(0);
            self.marks.shrink_to(0);
        }
    }

    fn put_on_wire(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.wired += bytes.len() as u64;
            self.wire.push_back(bytes);
        }
    }

    /// What was sealed so far ends where the wire ends.
    fn mark(&mut self) {
        let marked = self.marks.back().map_or(self.written, |(_, plain)| *plain);
        if self.sealed > marked {
            self.marks.push_back((self.wired, self.sealed));
        }
    }
}

/// Takes bytes off the front of a queue.
fn drop_front(queue: &mut VecDeque<Bytes>, mut bytes: usize) {
    while bytes > 0 {
        let Some(first) = queue.front_mut() else { break };
        if first.len() > bytes {
            first.advance(bytes);
            break;
        }
        bytes -= first.len();
        queue.pop_front();
    }
}

/// A queue as slices that are quick to copy.
fn pieces(queue: &VecDeque<Bytes>) -> impl Iterator<Item = &[u8]> {
    queue.iter().flat_map(|bytes| bytes.chunks(PIECE_BYTES))
}

/// Lists the first `count` slices for one call.
fn gather<'a, T>(
    slices: impl Iterator<Item = &'a [u8]>,
    count: usize,
    call: impl FnOnce(&[IoSlice<'_>]) -> T,
) -> T {
    if count <= SLICES_FEW {
        gather_in(&mut [IoSlice::new(&[]); SLICES_FEW], slices.take(count), call)
    } else {
        gather_in(&mut [IoSlice::new(&[]); SLICES_MAX], slices.take(count), call)
    }
}

fn gather_in<'a, T>(
    room: &mut [IoSlice<'a>],
    slices: impl Iterator<Item = &'a [u8]>,
    call: impl FnOnce(&[IoSlice<'_>]) -> T,
) -> T {
    let mut filled = 0;
    for (place, slice) in room.iter_mut().zip(slices) {
        *place = IoSlice::new(slice);
        filled += 1;
    }
    call(&room[..filled])
}

#[cfg(test)]
mod tests;
