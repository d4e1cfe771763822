//! Where the octets are at which a walk over stanzas has to stop: found for some blocks ahead, taken one by one.
//!
//! Invariant: the stops come in order and none is left out: `<`, `>`, `&`, quotes, controls XML does not allow, and the last octet of
//! U+FFFE and U+FFFF. As the places are known before they are needed, the walk does not wait for one to find the next.

use super::wide::{BLOCK, WRITTEN, Wide, tail};

/// Blocks looked at ahead at first, and at most. Few at first, so that a walk which ends at once has not looked far.
const BLOCKS_FIRST: usize = 4;
const BLOCKS_MAX: usize = 12;

/// Room for a stop at every octet of a window, and for the places written beyond the last one.
const ROOM: usize = 1024;
const _: () = assert!(ROOM.is_power_of_two() && BLOCKS_MAX * BLOCK + WRITTEN <= ROOM);

/// Behind the last stop of a window.
const NONE: u32 = u32::MAX;

/// The stops of a window over the octets of a read, which moves ahead.
pub(super) struct Stops {
    places: [u32; ROOM],
    /// Stops of this window.
    count: usize,
    /// Windows so far.
    windows: u32,
    /// Where the window ends.
    indexed: usize,
    /// Blocks the next window has.
    blocks: usize,
    /// One past the last octet that is from 0x80, a tab or a line end, as far as was looked.
    last_rare: usize,
    /// Which octets of the block before are 0xEF and 0xBF.
    before: (u64, u64),
    /// Octets that were looked at and will be again.
    #[cfg(test)]
    again: usize,
}

impl Stops {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            places: [NONE; ROOM],
            count: 0,
            windows: 0,
            indexed: 0,
            blocks: BLOCKS_FIRST,
            last_rare: 0,
            before: (0, 0),
            #[cfg(test)]
            again: 0,
        }
    }

    /// The next stop, which is the one with the number `next` of this window; `None` where `buf` has no more.
    #[inline(always)]
    pub(super) fn take<W: Wide>(&mut self, wide: W, buf: &[u8], next: &mut usize) -> Option<usize> {
        loop {
            let place = self.places[*next & (ROOM - 1)];
            if place != NONE {
                *next += 1;
                return Some(place as usize);
            }
            if self.indexed >= buf.len() {
                return None;
            }
            *next = 0;
            wide.index(buf, self);
        }
    }

    /// Octets looked at so far, those looked at twice counted twice.
    #[cfg(test)]
    pub(super) fn work(&self) -> usize {
        self.indexed + self.again
    }

    /// Whether this window has so many stops from the one with the number `next` on.
    #[inline(always)]
    pub(super) fn has(&self, next: usize, stops: usize) -> bool {
        next + stops <= self.count
    }

    /// Windows so far: while the number stays, the stops taken can be taken again.
    #[inline(always)]
    pub(super) fn windows(&self) -> u32 {
        self.windows
    }

    /// Makes the next window begin at `start`, which was looked at, with its first stop being number 0. `start` is no place within a character.
    #[inline(always)]
    pub(super) fn rewind(&mut self, start: usize) {
        #[cfg(test)]
        {
            self.again += self.indexed - start;
        }
        (self.indexed, self.before, self.count) = (start, (0, 0), 0);
        self.places[0] = NONE;
    }

    /// Whether there may be octets from 0x80, tabs and line ends at or behind `start`, as far as was looked.
    #[inline(always)]
    pub(super) fn may_be_rare(&self, start: usize) -> bool {
        self.last_rare > start
    }

    /// Looks at the next window, which begins where the last one ended.
    #[inline(always)]
    pub(super) fn index<W: Wide>(&mut self, wide: W, buf: &[u8]) {
        let window = buf.get(self.indexed..).unwrap_or_default();
        let window = window.get(..self.blocks * BLOCK).unwrap_or(window);
        let (blocks, rest) = window.as_chunks::<BLOCK>();
        let mut len = 0;
        for block in blocks {
            len = self.note(wide, block, len);
            self.indexed += BLOCK;
        }
        if !rest.is_empty() {
            let mut copy = [b' '; BLOCK];
            len = self.note(wide, tail(rest, &mut copy), len);
            self.indexed += rest.len();
        }
        self.places[len & (ROOM - 1)] = NONE;
        self.count = len;
        self.windows = self.windows.wrapping_add(1);
        self.blocks = (self.blocks * 2).min(BLOCKS_MAX);
    }

    /// Notes the stops of the block at `indexed` behind the `len` there are; how many there are then.
    #[inline(always)]
    fn note<W: Wide>(&mut self, wide: W, block: &[u8; BLOCK], mut len: usize) -> usize {
        let marks = wide.marks(block);
        let mut bits = marks.stops;
        if marks.rare == 0 {
            self.before = (0, 0);
        } else {
            self.last_rare = self.indexed + BLOCK - marks.rare.leading_zeros() as usize;
            bits |= nonchars(wide, block, &mut self.before);
        }
        let mut left = bits.count_ones() as usize;
        let behind = len + left;
        while left > 0 {
            let Some(places) = self.places.get_mut(len..).and_then(|places| places.first_chunk_mut()) else {
                break;
            };
            bits = wide.place(bits, self.indexed as u32, places);
            len += WRITTEN;
            left = left.saturating_sub(WRITTEN);
        }
        behind
    }
}

/// Where U+FFFE and U+FFFF end: EF BF BE, EF BF BF. Whether all is UTF-8 is another question. `before` says which octets of the block
/// before are EF and BF.
#[inline(always)]
fn nonchars<W: Wide>(wide: W, block: &[u8; BLOCK], before: &mut (u64, u64)) -> u64 {
    let (first, second) = (wide.equal(block, 0xEF), wide.equal(block, 0xBF));
    let third = wide.equal(block, 0xBE) | second;
    let found = (first << 2 | before.0 >> 62) & (second << 1 | before.1 >> 63) & third;
    *before = (first, second);
    found
}
