//! The entries of a snapshot: what is known of each user, and the local part of his address.
//!
//! An entry is a head of [`HEAD_BYTES`] and the octets of the local part. The head holds the length of the local part
//! in its lower [`LENGTH_BITS`] bits and the number of what is known of the user above them.
//!
//! Entries lie in chunks that never move, so growing copies nothing and never needs memory twice. Invariant: an entry
//! starts where its line of [`LINE_BYTES`] still holds the whole of it, or else at the start of a line, so that reading
//! one costs one miss to memory; the octets left out in between are 0, which no head begins with, because a local part
//! is never empty.

use super::AddError;

/// Size of the head of an entry.
const HEAD_BYTES: usize = 4;

/// Bits of a head that hold the length of the local part.
const LENGTH_BITS: u32 = 10;

/// Longest local part that fits; the longest an address may have (RFC 7622 §3.1).
const LOCAL_BYTES_MAX: usize = (1 << LENGTH_BITS) - 1;

/// Most numbers a head can tell apart.
pub(super) const KINDS_MAX: usize = 1 << (u32::BITS - LENGTH_BITS);

/// What the memory is read in.
const LINE_BYTES: usize = 64;

/// Bits of an offset that stand for the place within a chunk.
const CHUNK_BITS: u32 = 22;

/// Octets of a chunk.
const CHUNK_BYTES: usize = 1 << CHUNK_BITS;

/// Chunks that offsets of 32 bits can tell apart: 4 GiB.
const CHUNKS_MAX: usize = 1 << (u32::BITS - CHUNK_BITS);

const _: () = assert!(LOCAL_BYTES_MAX == crate::jid::PART_BYTES_MAX);
const _: () = assert!(HEAD_BYTES + LOCAL_BYTES_MAX + LINE_BYTES < CHUNK_BYTES);

/// All entries, one behind the other in the order they came.
#[derive(Clone)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    chunks_max: usize,
}

/// Memory that was taken at once.
#[derive(Clone)]
struct Chunk {
    octets: Vec<u8>,
    /// Octets in front that belong to no entry: the place of the first line, and never 0, as an offset of 0 stands
    /// for no entry.
    skipped: usize,
}

/// What lies at an offset.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Number of what is known of the user.
    pub(super) kind: usize,
    /// The local part.
    pub(super) local: &'a [u8],
}

impl Default for Arena {
    fn default() -> Self {
        Self { chunks: Vec::new(), chunks_max: CHUNKS_MAX }
    }
}

impl Arena {
    /// The entry at an offset that [`Arena::push`] gave.
    #[inline]
    pub(super) fn entry(&self, offset: u32) -> Option<Entry<'_>> {
        let octets = self.chunks.get((offset >> CHUNK_BITS) as usize)?.octets.as_slice();
        let (head, rest) = octets.get(offset as usize % CHUNK_BYTES..)?.split_first_chunk()?;
        let head = u32::from_le_bytes(*head);
        let local = rest.get(..head as usize & LOCAL_BYTES_MAX)?;
        Some(Entry { kind: (head >> LENGTH_BITS) as usize, local })
    }

    /// The head at an offset, 0 where there is none: brings the entry near without waiting for it.
    #[inline]
    pub(super) fn touch(&self, offset: u32) -> u8 {
        let chunk = self.chunks.get((offset >> CHUNK_BITS) as usize);
        chunk.and_then(|chunk| chunk.octets.get(offset as usize % CHUNK_BYTES)).copied().unwrap_or(0)
    }

    /// Adds an entry and gives its offset, which is never 0.
    ///
    /// # Errors
    /// [`AddError::Full`]; nothing has been added then.
    pub(super) fn push(&mut self, kind: usize, local: &[u8]) -> Result<u32, AddError> {
        if local.is_empty() || local.len() > LOCAL_BYTES_MAX || kind >= KINDS_MAX {
            return Err(AddError::Full);
        }
        let size = HEAD_BYTES + local.len();
        let at = match self.chunks.last() {
            Some(chunk) if chunk.place(size) + size <= CHUNK_BYTES => chunk.place(size),
            _ => self.begin_chunk()?,
        };
        let number = self.chunks.len() - 1;
        let chunk = self.chunks.last_mut().ok_or(AddError::Full)?;
        chunk.octets.resize(at, 0);
        let head = (kind as u32) << LENGTH_BITS | local.len() as u32;
        chunk.octets.extend_from_slice(&head.to_le_bytes());
        chunk.octets.extend_from_slice(local);
        Ok((number as u32) << CHUNK_BITS | at as u32)
    }

    /// All entries in the order they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.chunks.iter().enumerate().flat_map(move |(number, chunk)| {
            let mut at = chunk.skipped;
            std::iter::from_fn(move || {
                while at < chunk.octets.len() {
                    let left = chunk.left_of_line(at);
                    let entry = self.entry((number << CHUNK_BITS | at) as u32);
                    match entry.filter(|entry| left >= HEAD_BYTES && !entry.local.is_empty()) {
                        Some(entry) => {
                            at += HEAD_BYTES + entry.local.len();
                            return Some(entry);
                        }
                        None => at += left,
                    }
                }
                None
            })
        })
    }

    /// Gives back the room left for growing.
    pub(super) fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.octets.shrink_to_fit();
        }
    }

    /// Octets of memory taken.
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Chunk>()
            + self.chunks.iter().map(|chunk| chunk.octets.capacity()).sum::<usize>()
    }

    /// Takes the next chunk; gives the place of its first entry.
    fn begin_chunk(&mut self) -> Result<usize, AddError> {
        if self.chunks.len() >= self.chunks_max {
            return Err(AddError::Full);
        }
        let octets: Vec<u8> = Vec::with_capacity(CHUNK_BYTES);
        let aside = octets.as_ptr().addr() % LINE_BYTES;
        let skipped = LINE_BYTES - aside;
        self.chunks.push(Chunk { octets, skipped });
        Ok(skipped)
    }

    /// An arena that is full sooner.
    #[cfg(test)]
    pub(super) fn limit(&mut self, chunks_max: usize) {
        self.chunks_max = chunks_max;
    }
}

impl Chunk {
    /// Where an entry of this size would begin.
    fn place(&self, size: usize) -> usize {
        let end = self.octets.len();
        let left = self.left_of_line(end);
        if size <= left || left == LINE_BYTES { end } else { end + left }
    }

    /// Octets from a place to the end of its line.
    fn left_of_line(&self, at: usize) -> usize {
        LINE_BYTES - at.wrapping_sub(self.skipped) % LINE_BYTES
    }
}
