//! The way from the hash of an address to its entry: an open table of slots, eight to a line of memory.
//!
//! A slot holds the upper half of a hash and the offset of an entry. The home of a hash is a line: the hash times the number of
//! homes, so any number of homes will do and the order of homes is the order of hashes. Invariant: along a segment
//! slots never descend but for empty ones, a slot is never before its home, and between the start of its home and itself no slot
//! is empty. So a search is one comparison of a whole line nearly always, it ends at the first greater hash or empty slot,
//! whether it finds or not, and a segment is made anew, smaller or larger, by reading it once from start to end.
//!
//! The upper bits of a hash choose one of [`SEGMENTS`], which grow one by one: growing needs a little of the table
//! twice, never all of it.

/// Bits of a hash that choose the segment.
const SEGMENT_BITS: u32 = 5;

/// Parts the table has.
const SEGMENTS: usize = 1 << SEGMENT_BITS;

/// Slots of a line.
const SLOTS: usize = 8;

/// Lines behind the last home when a segment is made, so that few of them have to grow for what runs over their end.
const TAIL: usize = 1;

/// Slots in a hundred that are taken when a segment has to grow.
const LOAD_MAX: usize = 82;

/// Slots in a hundred that are taken just after.
const LOAD_GROWN: usize = 66;

/// Slots in a hundred that are taken in a table that grows no more.
const LOAD_FINAL: usize = 75;

/// An empty slot: greater than all others. No entry begins at the very last octet of 4 GiB.
const EMPTY: u64 = u64::MAX;

/// Offsets by hash.
#[derive(Clone, Default)]
pub(super) struct Table {
    /// None before the first slot, then all.
    segments: Vec<Segment>,
}

/// What memory is read in.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; SLOTS]);

#[derive(Clone, Default)]
struct Segment {
    lines: Vec<Line>,
    homes: u32,
    taken: u32,
}

/// Where a search is.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    hash: u32,
    at: u32,
}

impl Table {
    /// Where a search for a hash begins. Reads nothing that is large.
    #[inline]
    pub(super) fn begin(&self, hash: u32) -> Place {
        let homes = self.segments.get(segment_of(hash)).map_or(0, |segment| segment.homes);
        Place { hash, at: home(hash, homes) as u32 }
    }

    /// Reads something of the line where a search is, to bring it near without waiting for it.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u64 {
        self.segments.get(segment_of(place.hash)).map_or(EMPTY, |segment| segment.slot(place.at as usize))
    }

    /// The first entry that may be the one searched for, from where [`Table::begin`] was: no step depends on a comparison
    /// that could be guessed wrong, but for what ran over its home.
    #[inline]
    pub(super) fn first(&self, place: &mut Place) -> Option<u32> {
        let segment = self.segments.get(segment_of(place.hash))?;
        let line = segment.lines.get(place.at as usize / SLOTS)?;
        let least = slot(place.hash, 0);
        let less = line.0.iter().map(|&slot| u32::from(slot < least)).sum::<u32>();
        place.at += less;
        self.next(place)
    }

    /// The next entry that may be the one searched for.
    #[inline]
    pub(super) fn next(&self, place: &mut Place) -> Option<u32> {
        let segment = self.segments.get(segment_of(place.hash))?;
        loop {
            let slot = segment.slot(place.at as usize);
            if slot == EMPTY || hash_of(slot) > place.hash {
                return None;
            }
            place.at += 1;
            if hash_of(slot) == place.hash {
                return Some(slot as u32);
            }
        }
    }

    /// Adds an entry under a hash. The offset is less than `u32::MAX`.
    pub(super) fn insert(&mut self, hash: u32, offset: u32) {
        if self.segments.is_empty() {
            self.segments.resize_with(SEGMENTS, Segment::default);
        }
        if let Some(segment) = self.segments.get_mut(segment_of(hash)) {
            segment.insert(hash, offset);
        }
    }

    /// Makes every segment as large as it should stay, one after the other.
    pub(super) fn shrink(&mut self) {
        self.segments.iter_mut().for_each(|segment| segment.remake(LOAD_FINAL));
    }

    /// Octets of memory taken.
    pub(super) fn memory_bytes(&self) -> usize {
        self.segments.capacity() * size_of::<Segment>()
            + self.segments.iter().map(|segment| segment.lines.capacity() * size_of::<Line>()).sum::<usize>()
    }
}

impl Segment {
    #[inline]
    fn slot(&self, at: usize) -> u64 {
        self.lines.get(at / SLOTS).map_or(EMPTY, |line| line.0[at % SLOTS])
    }

    fn insert(&mut self, hash: u32, offset: u32) {
        if (self.taken as usize + 1) * 100 > self.homes as usize * SLOTS * LOAD_MAX {
            self.remake(LOAD_GROWN);
        }
        let mut carried = slot(hash, offset);
        let mut at = home(hash, self.homes);
        // Behind all that are less; from there on everything moves up by one, to the next empty slot.
        while self.slot(at) < carried {
            at += 1;
        }
        while carried != EMPTY {
            carried = self.put(at, carried);
            at += 1;
        }
        self.taken += 1;
    }

    /// Gives the segment so many homes that with one entry more this many slots in a hundred are taken.
    fn remake(&mut self, load: usize) {
        let homes = ((self.taken as usize + 1) * 100).div_ceil(load * SLOTS);
        let mut made = Self { lines: Vec::new(), homes: homes as u32, taken: self.taken };
        made.lines.reserve_exact(homes + TAIL);
        made.lines.resize(homes, Line([EMPTY; SLOTS]));
        let mut next = 0;
        for &slot in self.lines.iter().flat_map(|line| &line.0).filter(|&&slot| slot != EMPTY) {
            next = home(hash_of(slot), made.homes).max(next);
            made.put(next, slot);
            next += 1;
        }
        *self = made;
    }

    /// Puts a slot in a place, at most one behind the last line, and gives what was there.
    fn put(&mut self, at: usize, slot: u64) -> u64 {
        if at / SLOTS == self.lines.len() {
            if self.lines.len() == self.lines.capacity() {
                self.lines.reserve_exact(TAIL.max(self.lines.len() / 8));
            }
            self.lines.push(Line([EMPTY; SLOTS]));
        }
        self.lines.get_mut(at / SLOTS).map_or(EMPTY, |line| std::mem::replace(&mut line.0[at % SLOTS], slot))
    }
}

#[inline]
fn segment_of(hash: u32) -> usize {
    (hash >> (u32::BITS - SEGMENT_BITS)) as usize
}

/// The first slot of the home of a hash among so many: 0 where there is none.
#[inline]
fn home(hash: u32, homes: u32) -> usize {
    ((u64::from(hash << SEGMENT_BITS) * u64::from(homes)) >> u32::BITS) as usize * SLOTS
}

#[inline]
fn slot(hash: u32, offset: u32) -> u64 {
    u64::from(hash) << u32::BITS | u64::from(offset)
}

#[inline]
fn hash_of(slot: u64) -> u32 {
    (slot >> u32::BITS) as u32
}
