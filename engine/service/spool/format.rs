//! What a segment looks like. Invariant: a segment is a header and frames, each with a checksum over the segment's number, the frame's length
//! and its body; [`Frames`] yields frames up to the first octet that is not so and says where that is, whatever the octets are.
//!
//! Header: 8 octets of magic, the segment's number (8), the number of the start that wrote it (4), crc32c of these (4). Frame: length
//! of the body (4), crc32c (4), body. A body is its kind (1) and an [`Entry`], or its kind and the keys (8 each) of entries
//! that are done. All numbers are little-endian. The segment's number in the checksum makes a block that belonged to another file
//! a bad one.

use turnout_core::durable::{ENTRY_BYTES_MAX, Entry, EntryKey};

/// The first octets of every segment; the last one is the version of the format.
const MAGIC: [u8; 8] = *b"turnspl\x01";

/// Octets of a header.
pub const HEADER_BYTES: usize = 24;

/// Octets of a frame before its body.
const FRAME_BYTES: usize = 8;

/// A body that is an entry.
const ENTRY: u8 = 1;
/// A body that lists keys.
const DONE: u8 = 2;

/// No body is longer.
const BODY_BYTES_MAX: usize = ENTRY_BYTES_MAX + 1;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A segment of this format, written by this start.
    Epoch(u32),
    /// A segment of another version of turnout.
    Foreign,
    /// Nothing that can be read: its writer died, or lost power, before it was on disk.
    Unwritten,
}

/// The header of a segment.
pub fn header(number: u64, epoch: u32) -> [u8; HEADER_BYTES] {
    let mut octets = [0; HEADER_BYTES];
    octets[..8].copy_from_slice(&MAGIC);
    octets[8..16].copy_from_slice(&number.to_le_bytes());
    octets[16..20].copy_from_slice(&epoch.to_le_bytes());
    let crc = crc32c::crc32c(&octets[..20]);
    octets[20..].copy_from_slice(&crc.to_le_bytes());
    octets
}

/// Reads the header of segment `number`.
pub fn read_header(number: u64, octets: &[u8]) -> Header {
    let Some(head) = octets.first_chunk::<HEADER_BYTES>() else { return Header::Unwritten };
    let (said, crc) = head.split_at(20);
    if crc != crc32c::crc32c(said).to_le_bytes() {
        return Header::Unwritten;
    }
    if said[..8] != MAGIC {
        return if said[..7] == MAGIC[..7] { Header::Foreign } else { Header::Unwritten };
    }
    if said[8..16] != number.to_le_bytes() {
        return Header::Unwritten;
    }
    let epoch = said[16..].first_chunk().map_or(0, |epoch| u32::from_le_bytes(*epoch));
    Header::Epoch(epoch)
}

/// Appends a frame with an entry to what is going to segment `number`; says how long it is.
pub fn put_entry(number: u64, entry: &Entry, out: &mut Vec<u8>) -> usize {
    frame(number, out, |out| {
        out.push(ENTRY);
        entry.encode(out);
    })
}

/// Appends a frame with the keys of entries that are done.
pub fn put_done(number: u64, keys: impl Iterator<Item = u64>, out: &mut Vec<u8>) -> usize {
    frame(number, out, |out| {
        out.push(DONE);
        for key in keys {
            out.extend_from_slice(&key.to_le_bytes());
        }
    })
}

fn frame(number: u64, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    body(out);
    let length = u32::try_from(out.len() - start - FRAME_BYTES).unwrap_or(u32::MAX);
    let crc = checksum(number, length, &out[start + FRAME_BYTES..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
    out.len() - start
}

fn checksum(number: u64, length: u32, body: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&number.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &length.to_le_bytes());
    crc32c::crc32c_append(crc, body)
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stanza that waits.
    Entry(Box<Entry>),
    /// Entries that are done.
    Done(Vec<EntryKey>),
}

/// The frames of a segment whose header is good.
#[derive(Debug)]
pub struct Frames<'a> {
    number: u64,
    octets: &'a [u8],
    good: usize,
}

impl<'a> Frames<'a> {
    /// Of segment `number`; `octets` are all of it, with the header.
    pub fn new(number: u64, octets: &'a [u8]) -> Self {
        Self { number, octets, good: HEADER_BYTES.min(octets.len()) }
    }

    /// Octets that were good so far.
    pub fn good(&self) -> usize {
        self.good
    }
}

impl Iterator for Frames<'_> {
    /// The frame, and how many octets it takes.
    type Item = (Frame, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.octets.get(self.good..)?;
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (crc, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let body = after.get(..length as usize).filter(|body| body.len() <= BODY_BYTES_MAX)?;
        if checksum(self.number, length, body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let frame = match body.split_first()? {
            (&ENTRY, entry) => Frame::Entry(Box::new(Entry::decode(entry)?)),
            (&DONE, keys) if keys.len().is_multiple_of(8) => {
                let (keys, _) = keys.as_chunks::<8>();
                Frame::Done(keys.iter().map(|key| EntryKey::from_raw(u64::from_le_bytes(*key))).collect())
            }
            _ => return None,
        };
        let taken = FRAME_BYTES + body.len();
        self.good += taken;
        Some((frame, taken))
    }
}
