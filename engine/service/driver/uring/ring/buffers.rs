//! Receive buffers. Invariant: the kernel writes only into buffers that are in `given`, and a buffer in `given` is touched by nobody
//! until the kernel has said that it filled it. What is lent to the shard is read-only and keeps its buffer from being given again.
//!
//! A buffer that is not full goes back at once with the room behind what was received, so a large buffer serves many small receives. What is
//! small is copied out: the copy costs less than the counting of owners, and a stanza that waits for long keeps its neighbours
//! in a shared buffer of copies and not a receive buffer. When the shard keeps so much that no buffer may be made any more, everything is
//! copied out: a destination that is away must not stop the receiving of all others.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::{Bytes, BytesMut};
use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::driver::share::{READ_BYTES, SHARED_TURN_BYTES};

/// The group of the ring's only buffers.
pub(super) const GROUP: u16 = 0;

/// Places in the ring of buffers; a power of two.
const PLACES: u16 = 256;

/// Buffers given at first: few, so that they stay in the processor's cache, and as much as one message carries away in a turn, so that
/// one connection that floods another waits in its socket and not in our spool. More when several connections run out of them that bring
/// little.
const GIVEN_AT_FIRST: usize = 4;

/// Buffers given at first while turns are short. Floods are not to take more than half of them: see `feed_starved`.
const GIVEN_WHEN_SHORT: usize = 8;

/// Bytes of a buffer.
const SIZE: usize = READ_BYTES;

/// A buffer with less room than this is not given again before it is empty.
const ROOM_MIN: usize = 16 * 1024;

/// What is smaller is copied.
const LENT_MIN: usize = 2 * 1024;

/// Buffers there may be: 64 MiB a shard.
const BUFFERS_MAX: usize = 1024;

/// Resting buffers looked at to find one that the shard has let go.
const TRIES: usize = 4;

/// Alignment the kernel asks of the ring.
const PAGE: usize = 4096;

/// A buffer the kernel filled, and how far. Whoever has it must lend it, look at it, or drop it through [`Buffers`].
#[derive(Debug)]
pub(in super::super) struct Filled {
    id: u16,
    length: usize,
}

/// All buffers of one ring.
pub(in super::super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    tail: u16,
    published: u16,
    /// By id: what the kernel has.
    given: Vec<Option<BytesMut>>,
    /// Ids without a buffer.
    spare: Vec<u16>,
    /// How many are to be given.
    target: usize,
    /// How much of a buffer the kernel may fill at once.
    piece: usize,
    /// Lent to the shard, in whole or in part; the oldest in front.
    resting: VecDeque<BytesMut>,
    made: usize,
    /// Where small receives are copied to.
    copies: Option<BytesMut>,
    /// Ids whose buffers are kept from the kernel while no socket is to be read.
    withheld: Option<Vec<u16>>,
}

impl Buffers {
    /// Makes the ring of buffers, known to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let layout = layout();
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        let Some(ring) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let mut buffers = Self {
            ring,
            tail: 0,
            published: 0,
            given: (0..PLACES).map(|_| None).collect(),
            spare: (0..PLACES).rev().collect(),
            target: GIVEN_AT_FIRST,
            piece: SIZE,
            resting: VecDeque::new(),
            made: 0,
            copies: None,
            withheld: None,
        };
        // SAFETY: the memory is page-aligned, zeroed, of the right size, and lives as long as the ring: see `Drop` of `Ring`.
        unsafe { submitter.register_buf_ring_with_flags(ring.as_ptr() as u64, PLACES, GROUP, 0)? };
        buffers.fill();
        buffers.publish();
        Ok(buffers)
    }

    /// The kernel says that it filled a buffer so far. `None` if it has no such buffer.
    pub(super) fn filled(&mut self, id: u16, length: usize) -> Option<Filled> {
        let buffer = self.given.get(usize::from(id))?.as_ref()?;
        Some(Filled { id, length: length.min(buffer.capacity()) })
    }

    /// What was received, for the shard to keep as long as it likes.
    pub(in super::super) fn lend(&mut self, filled: Filled) -> Bytes {
        let id = filled.id;
        let mut buffer = self.take(filled);
        let length = buffer.len();
        if length < LENT_MIN {
            let copy = self.copy(&buffer);
            buffer.clear();
            self.offer(id, buffer);
            return copy;
        }
        if buffer.capacity() - length >= ROOM_MIN {
            let bytes = buffer.split().freeze();
            self.offer(id, buffer);
            return bytes;
        }
        let Some(next) = self.obtain() else {
            let copy = Bytes::copy_from_slice(&buffer);
            buffer.clear();
            self.offer(id, buffer);
            return copy;
        };
        let bytes = buffer.split().freeze();
        self.resting.push_back(buffer);
        self.offer(id, next);
        bytes
    }

    /// Lets `look` see what was received; the buffer goes back to the kernel at once.
    pub(in super::super) fn look<T>(&mut self, filled: Filled, look: impl FnOnce(&[u8]) -> T) -> T {
        let id = filled.id;
        let mut buffer = self.take(filled);
        let result = look(&buffer);
        buffer.clear();
        self.offer(id, buffer);
        result
    }

    /// Nobody wants what was received.
    pub(in super::super) fn discard(&mut self, filled: Filled) {
        self.look(filled, |_| ());
    }

    /// Buffers the kernel may fill.
    pub(in super::super) fn given(&self) -> usize {
        self.given.len() - self.spare.len() - self.withheld.as_ref().map_or(0, Vec::len)
    }

    /// Buffers there are.
    #[cfg(test)]
    pub(in super::super) fn made(&self) -> usize {
        self.made
    }

    /// From now on the kernel may fill so much of a buffer at once. What it has already stays as it is.
    pub(in super::super) fn cut_to(&mut self, piece: usize) {
        if self.piece != piece.min(SIZE) {
            self.piece = piece.min(SIZE);
            self.target = self.target_min();
            if self.withheld.is_none() {
                self.fill();
            }
        }
    }

    /// So many connections found no buffer in a turn that brought so many bytes: more are given if they are many and bring little. If they
    /// bring much, fewer are: what one turn brings keeps everybody else waiting.
    pub(in super::super) fn starved(&mut self, connections: usize, bytes: usize) {
        if bytes > if self.piece < SIZE { SHARED_TURN_BYTES } else { GIVEN_AT_FIRST * SIZE } {
            self.target = (self.target / 2).max(self.target_min());
        } else if connections > self.target / 4 {
            self.target = (self.target * 2).min(usize::from(PLACES));
        }
        if self.withheld.is_none() {
            self.fill();
        }
    }

    fn target_min(&self) -> usize {
        if self.piece < SIZE { GIVEN_WHEN_SHORT } else { GIVEN_AT_FIRST }
    }

    /// No buffer goes to the kernel any more: it fills those it has, and receives end one by one.
    pub(in super::super) fn withhold(&mut self) {
        if self.withheld.is_none() {
            self.withheld = Some(Vec::new());
        }
    }

    /// Buffers go to the kernel again.
    pub(in super::super) fn release(&mut self) {
        for id in self.withheld.take().unwrap_or_default() {
            self.put(id);
        }
        self.fill();
    }

    /// Frees what a burst needed and nobody needs now. Called now and then.
    pub(in super::super) fn trim(&mut self) {
        while self.resting.len() > 2 * self.target {
            let Some(mut buffer) = self.resting.pop_front() else { return };
            if !buffer.try_reclaim(SIZE) {
                return self.resting.push_back(buffer);
            }
            self.made -= 1;
        }
    }

    /// Lets the kernel see what was given since the last time.
    pub(super) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        self.published = self.tail;
        // SAFETY: the memory is that of the ring, whose tail is a number of 16 bits that the kernel reads only.
        let tail = unsafe { &*BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// The buffer, holding what was received.
    fn take(&mut self, filled: Filled) -> BytesMut {
        let Some(mut buffer) = self.given[usize::from(filled.id)].take() else { return BytesMut::new() };
        // SAFETY: `Filled` is made from a completion only, and used once: the kernel has written so many bytes from the buffer's start on,
        // where its empty `BytesMut` begins, and `filled` held them against its capacity.
        unsafe { buffer.set_len(filled.length) };
        buffer
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if self.copies.as_ref().is_none_or(|copies| copies.capacity() < bytes.len()) {
            let Some(next) = self.obtain() else { return Bytes::copy_from_slice(bytes) };
            if let Some(full) = self.copies.replace(next) {
                self.resting.push_back(full);
            }
        }
        let Some(copies) = &mut self.copies else { return Bytes::copy_from_slice(bytes) };
        copies.extend_from_slice(bytes);
        copies.split().freeze()
    }

    /// An empty buffer: one the shard has let go, or a new one.
    fn obtain(&mut self) -> Option<BytesMut> {
        for _ in 0..TRIES.min(self.resting.len()) {
            let mut buffer = self.resting.pop_front()?;
            if buffer.try_reclaim(SIZE) {
                return Some(buffer);
            }
            self.resting.push_back(buffer);
        }
        (self.made < BUFFERS_MAX).then(|| {
            self.made += 1;
            BytesMut::with_capacity(SIZE)
        })
    }

    /// Gives as many as are to be given.
    fn fill(&mut self) {
        while self.given() < self.target {
            let Some(id) = self.spare.pop() else { return };
            let Some(buffer) = self.obtain() else { return self.spare.push(id) };
            self.given[usize::from(id)] = Some(buffer);
            self.put(id);
        }
    }

    fn offer(&mut self, id: u16, buffer: BytesMut) {
        if self.withheld.is_none() && self.given() > self.target {
            self.resting.push_back(buffer);
            return self.spare.push(id);
        }
        self.given[usize::from(id)] = Some(buffer);
        match &mut self.withheld {
            Some(withheld) => withheld.push(id),
            None => self.put(id),
        }
    }

    /// Puts a buffer of `given` into the ring.
    fn put(&mut self, id: u16) {
        let piece = self.piece;
        let Some(buffer) = self.given.get_mut(usize::from(id)).and_then(Option::as_mut) else { return };
        let room = buffer.spare_capacity_mut();
        let place = usize::from(self.tail & (PLACES - 1));
        // SAFETY: the place is within the ring, and the kernel does not read it before the tail passes it: there are as many places as
        // ids, and an id is in the ring once. The address stays valid while the buffer is in `given`.
        unsafe {
            let entry = &mut *self.ring.as_ptr().add(place);
            entry.set_addr(room.as_mut_ptr() as u64);
            entry.set_len(room.len().min(piece) as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with this layout; `Ring` drops the buffers when the kernel has done with them.
        unsafe { dealloc(self.ring.as_ptr().cast(), layout()) };
    }
}

fn layout() -> Layout {
    let size = usize::from(PLACES) * size_of::<BufRingEntry>();
    Layout::from_size_align(size, PAGE).unwrap_or(Layout::new::<[u8; PAGE]>())
}
