//! The way from the hash of an address to its entry: an open table of slots.
//!
//! A slot holds the upper half of a hash and the offset of an entry; 0 is an empty slot, as no offset is 0. A slot's
//! home is the hash times the number of homes, so any number of homes will do and the order of homes is the order of
//! hashes. Invariant: along a segment hashes never descend, a slot is never before its home, and between its home and
//! itself no slot is empty. So a search ends at the first greater hash or empty slot, whether it finds or not, and
//! a segment is made anew, smaller or larger, by reading it once from start to end.
//!
//! The upper bits of a hash choose one of [`SEGMENTS`], which grow one by one: growing needs a little of the table
//! twice, never all of it.

/// Bits of a hash that choose the segment.
const SEGMENT_BITS: u32 = 5;

/// Parts the table has.
const SEGMENTS: usize = 1 << SEGMENT_BITS;

/// Slots behind the last home when a segment is made, so that few of them have to grow for what runs over their end.
const TAIL: usize = 8;

/// Homes in a hundred that are taken when a segment has to grow.
const LOAD_MAX: usize = 82;

/// Homes in a hundred that are taken just after.
const LOAD_GROWN: usize = 66;

/// Homes in a hundred that are taken in a table that grows no more.
const LOAD_FINAL: usize = 75;

/// Offsets by hash.
#[derive(Clone, Default)]
pub(super) struct Table {
    /// None before the first slot, then all.
    segments: Vec<Segment>,
}

#[derive(Clone, Default)]
struct Segment {
    slots: Vec<u64>,
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

    /// The slot where a search is: brings it near without waiting for it.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u64 {
        self.segments.get(segment_of(place.hash)).map_or(0, |segment| segment.slot(place.at as usize))
    }

    /// The next entry that may be the one searched for.
    #[inline]
    pub(super) fn next(&self, place: &mut Place) -> Option<u32> {
        let segment = self.segments.get(segment_of(place.hash))?;
        loop {
            let slot = segment.slot(place.at as usize);
            if slot == 0 || hash_of(slot) > place.hash {
                return None;
            }
            place.at += 1;
            if hash_of(slot) == place.hash {
                return Some(slot as u32);
            }
        }
    }

    /// Adds an entry under a hash. The offset is not 0.
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
            + self.segments.iter().map(|segment| segment.slots.capacity() * size_of::<u64>()).sum::<usize>()
    }
}

impl Segment {
    #[inline]
    fn slot(&self, at: usize) -> u64 {
        self.slots.get(at).copied().unwrap_or(0)
    }

    fn insert(&mut self, hash: u32, offset: u32) {
        if (self.taken as usize + 1) * 100 > self.homes as usize * LOAD_MAX {
            self.remake(LOAD_GROWN);
        }
        let mut carried = slot(hash, offset);
        let mut at = home(hash, self.homes);
        // Behind all that are not greater; from there on everything moves up by one, to the next empty slot.
        while self.slot(at) != 0 && hash_of(self.slot(at)) <= hash {
            at += 1;
        }
        while let Some(slot) = self.slots.get_mut(at)
            && carried != 0
        {
            std::mem::swap(slot, &mut carried);
            at += 1;
        }
        if carried != 0 {
            self.push(carried);
        }
        self.taken += 1;
    }

    /// Gives the segment so many homes that with one entry more this many in a hundred are taken.
    fn remake(&mut self, load: usize) {
        let homes = (self.taken as usize + 1) * 100 / load + 1;
        let mut made = Self { slots: Vec::new(), homes: homes as u32, taken: self.taken };
        made.slots.reserve_exact(homes + TAIL);
        made.slots.resize(homes, 0);
        let mut next = 0;
        for &slot in self.slots.iter().filter(|&&slot| slot != 0) {
            next = home(hash_of(slot), made.homes).max(next);
            match made.slots.get_mut(next) {
                Some(place) => *place = slot,
                None => made.push(slot),
            }
            next += 1;
        }
        *self = made;
    }

    /// Adds a slot behind the end.
    fn push(&mut self, slot: u64) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(TAIL.max(self.slots.len() / 8));
        }
        self.slots.push(slot);
    }
}

#[inline]
fn segment_of(hash: u32) -> usize {
    (hash >> (u32::BITS - SEGMENT_BITS)) as usize
}

/// The home of a hash among so many: 0 where there is none.
#[inline]
fn home(hash: u32, homes: u32) -> usize {
    (u64::from(hash << SEGMENT_BITS) * u64::from(homes) >> u32::BITS) as usize
}

#[inline]
fn slot(hash: u32, offset: u32) -> u64 {
    u64::from(hash) << u32::BITS | u64::from(offset)
}

#[inline]
fn hash_of(slot: u64) -> u32 {
    (slot >> u32::BITS) as u32
}
