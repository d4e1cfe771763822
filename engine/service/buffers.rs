//! The receive memory of one shard. Invariant: no two live slices overlap, and a chunk is written to again only where nobody holds a
//! slice of it.
//!
//! What was read is split off the front of the current chunk and lent out; the next read goes on behind it, so a small stanza that
//! stays pins its share of a chunk that others fill up. When every slice of a chunk is gone it begins anew: under load one and the
//! same piece of memory, warm in the cache, is used over and over, and nothing is allocated. A connection owns no buffer.

#![expect(unsafe_code, reason = "one call says how much of a chunk the kernel has filled")]

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;

/// Bytes of one chunk. Larger than a read, so that small reads share a chunk; small enough to stay in a core's own cache.
const CHUNK_BYTES: usize = 256 * 1024;

/// Copied at once at most. Longer copies are left to one instruction of the processor, which on some (AMD's, where the two pages lie
/// badly to each other) is many times slower than the loop for shorter ones.
pub(crate) const PIECE_BYTES: usize = 4096;

/// Chunks kept while somebody still holds slices of them; of those beyond, the memory goes back when the last slice does.
const CHUNKS_MAX: usize = 64;

/// Chunks of one shard.
#[derive(Debug, Default)]
pub struct Buffers {
    current: BytesMut,
    /// Slices of `current` were lent out.
    shared: bool,
    /// Chunks that are full and were lent out, the one used last at the end.
    lent: Vec<BytesMut>,
}

impl Buffers {
    /// Holds no memory before the first read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for `bytes` in one piece behind what was put in and not yet taken.
    pub fn reserve(&mut self, bytes: usize) {
        if self.current.capacity() - self.current.len() >= bytes {
            return;
        }
        if !self.current.is_empty() {
            // Rare: somebody puts in more than he had reserved. This copies.
            self.current.reserve(bytes);
            return;
        }
        let size = CHUNK_BYTES.max(bytes);
        if self.current.try_reclaim(size) {
            return;
        }
        if !self.shared {
            self.current = BytesMut::with_capacity(size);
            return;
        }
        let free = self.lent.iter_mut().rposition(|chunk| chunk.try_reclaim(size));
        let next = match free {
            Some(at) => self.lent.remove(at),
            None => BytesMut::with_capacity(size),
        };
        if self.lent.len() == CHUNKS_MAX {
            self.lent.remove(0);
        }
        self.lent.push(std::mem::replace(&mut self.current, next));
    }

    /// Goes back to the front of the chunk if nobody holds a slice of it; false where somebody does. To be called once a turn.
    pub fn rewind(&mut self) -> bool {
        self.current.is_empty() && self.current.try_reclaim(CHUNK_BYTES)
    }

    /// Reads from a socket behind what was put in, `bytes_max` at most: how much came, 0 at the end of the stream.
    ///
    /// # Errors
    /// Those of `recv`, [`io::ErrorKind::WouldBlock`] among them.
    pub fn receive(&mut self, socket: &SockRef<'_>, bytes_max: usize) -> io::Result<usize> {
        self.reserve(bytes_max);
        let room = self.current.spare_capacity_mut();
        let room = room.get_mut(..bytes_max).unwrap_or_default();
        let count = socket.recv(room)?;
        // SAFETY: `recv` has initialised the first `count` bytes of `room`, which is the front of the spare capacity.
        unsafe { self.current.advance_mut(count) };
        Ok(count)
    }

    /// Puts bytes behind what was put in.
    pub fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        for piece in bytes.chunks(PIECE_BYTES) {
            self.current.extend_from_slice(piece);
        }
    }

    /// Lends out what was put in since the last call.
    pub fn take(&mut self) -> Bytes {
        if self.current.is_empty() {
            return Bytes::new();
        }
        self.shared = true;
        self.current.split().freeze()
    }

    /// Whether nothing was put in since the last [`Buffers::take`].
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// Gives half of the chunks kept for later back. To be called now and then.
    pub fn trim(&mut self) {
        let keep = self.lent.len() / 2;
        self.lent.drain(keep..);
    }
}

impl io::Write for Buffers {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
