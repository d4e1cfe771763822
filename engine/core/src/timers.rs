//! Timers of one shard or backend. Invariant: each timer fires at most once, never before its time, in order of time and, for
//! equal times, in the order they were set.
//!
//! Nearly every timer is taken back before it fires: a transaction is answered, a stream is busy. So setting and cancelling cost the
//! same however many are set, and only those that do fire are sorted. A hierarchical wheel: level `n` has 64 slots of 64ⁿ ticks
//! each. A timer lies on the level of the highest digit (base 64) in which its tick differs from the tick reached, in the slot of
//! that digit, in a doubly linked list; when that slot's first tick is reached, its timers go to lower levels. What lies
//! in the tick reached or before it is in `near`, sorted. Hence all of `near` comes before all of the wheel, lower levels
//! come before higher ones, and within a level slots are in the order of time and never wrap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names a set timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    number: u64,
    index: u32,
}

/// Timers that carry a `T`.
#[derive(Debug)]
pub struct Timers<T> {
    entries: Vec<Entry<T>>,
    /// First of the entries that are free, linked by `next`.
    free: u32,
    /// First entry of each slot.
    heads: Vec<u32>,
    /// A bit for each slot that has entries, by level.
    occupied: [u64; LEVELS],
    /// Timers of the tick reached and before.
    near: BTreeMap<(Instant, u64), u32>,
    /// The instant at which tick [`MARGIN_TICKS`] begins: the time of the timer set first.
    base: Option<Instant>,
    /// The tick reached.
    reached: u64,
    count: u64,
    len: usize,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    /// 0 while it is free.
    number: u64,
    next: u32,
    previous: u32,
    place: Place,
    what: Option<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Near,
    Slot { level: u8, slot: u8 },
}

/// One tick, as a power of two of nanoseconds: about a millisecond.
const TICK_BITS: u32 = 20;
/// Bits of a digit: 64 slots on each level.
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// 64⁸ ticks are some thousand years.
const LEVELS: usize = 8;
const TICK_MAX: u64 = (1 << (DIGIT_BITS * LEVELS as u32)) - 1;
/// How far before the timer set first others may lie and still be on the wheel; earlier ones are kept sorted.
const MARGIN_TICKS: u64 = 1 << 22;
/// Entries of a slot looked at for the exact deadline; of a fuller slot its beginning is told.
const LOOKED_AT_MAX: usize = 32;
/// No entry.
const NONE: u32 = u32::MAX;

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            heads: Vec::new(),
            occupied: [0; LEVELS],
            near: BTreeMap::new(),
            base: None,
            reached: 0,
            count: 0,
            len: 0,
        }
    }
}

impl<T> Timers<T> {
    /// Sets a timer.
    pub fn set(&mut self, at: Instant, what: T) -> TimerId {
        if self.base.is_none() {
            self.base = Some(at);
            self.heads = vec![NONE; LEVELS * SLOTS];
        }
        self.count += 1;
        self.len += 1;
        let number = self.count;
        let entry = Entry { at, number, next: NONE, previous: NONE, place: Place::Near, what: Some(what) };
        let index = self.allocate(entry);
        self.put(index);
        TimerId { number, index }
    }

    /// Takes a timer back; `None` when it has fired.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let entry = self.entries.get(id.index as usize).filter(|entry| entry.number == id.number)?;
        match entry.place {
            Place::Near => {
                self.near.remove(&(entry.at, entry.number));
            }
            Place::Slot { level, slot } => self.unlink(id.index, level, slot),
        }
        self.release(id.index)
    }

    /// The next timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.advance(now);
        let first = self.near.first_entry().filter(|first| first.key().0 <= now)?;
        let index = first.remove();
        self.release(index)
    }

    /// When [`Timers::pop`] is next wanted: when the next timer fires, exactly; only where more than a few dozen lie in the slot that
    /// comes first is it the beginning of that slot, which is never later. Popping then takes the slot apart, so that whoever sleeps
    /// until the deadline wakes at most once for each level and slot without finding a timer due.
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(((at, _), _)) = self.near.first_key_value() {
            return Some(*at);
        }
        let (level, slot) = self.first_slot()?;
        let head = self.heads.get(level * SLOTS + slot).copied().unwrap_or(NONE);
        let (mut index, mut first, mut looked_at) = (head, None::<Instant>, 0);
        let begin = self.instant_of(self.slot_start(level, slot));
        while let Some(entry) = self.entries.get(index as usize) {
            if looked_at == LOOKED_AT_MAX && begin.is_some() {
                return begin;
            }
            first = Some(first.map_or(entry.at, |first| first.min(entry.at)));
            looked_at += 1;
            index = entry.next;
        }
        first
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Brings everything up to the tick of `now` near.
    fn advance(&mut self, now: Instant) {
        let tick = self.tick_of(now);
        if tick <= self.reached {
            return;
        }
        while let Some((level, slot)) = self.first_slot() {
            let start = self.slot_start(level, slot);
            if start > tick {
                break;
            }
            self.reached = start;
            self.occupied[level] &= !(1 << slot);
            let mut index = std::mem::replace(&mut self.heads[level * SLOTS + slot], NONE);
            while let Some(entry) = self.entries.get(index as usize) {
                let next = entry.next;
                self.put(index);
                index = next;
            }
        }
        self.reached = tick;
    }

    /// Puts an entry where its time belongs.
    fn put(&mut self, index: u32) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        let (at, number) = (entry.at, entry.number);
        let tick = self.tick_of(at);
        if tick <= self.reached {
            self.entries[index as usize].place = Place::Near;
            self.near.insert((at, number), index);
            return;
        }
        let level = ((tick ^ self.reached).ilog2() / DIGIT_BITS).min(LEVELS as u32 - 1);
        let slot = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        let level = level as usize;
        let head = std::mem::replace(&mut self.heads[level * SLOTS + slot], index);
        if let Some(head) = self.entries.get_mut(head as usize) {
            head.previous = index;
        }
        self.occupied[level] |= 1 << slot;
        let entry = &mut self.entries[index as usize];
        (entry.next, entry.previous) = (head, NONE);
        entry.place = Place::Slot { level: level as u8, slot: slot as u8 };
    }

    fn unlink(&mut self, index: u32, level: u8, slot: u8) {
        let (level, slot) = (usize::from(level), usize::from(slot));
        let entry = &self.entries[index as usize];
        let (next, previous) = (entry.next, entry.previous);
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.previous = previous;
        }
        if let Some(previous) = self.entries.get_mut(previous as usize) {
            previous.next = next;
            return;
        }
        self.heads[level * SLOTS + slot] = next;
        if next == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// The slot on the wheel that comes first.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot that has entries: the digits above its level are those of the tick reached.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = level as u32 * DIGIT_BITS;
        (self.reached >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS)) | ((slot as u64) << shift)
    }

    /// The tick an instant lies in.
    fn tick_of(&self, at: Instant) -> u64 {
        let Some(base) = self.base else { return 0 };
        let ticks = |span: Duration| {
            let whole = span.as_secs().min(TICK_MAX).saturating_mul(1_000_000_000);
            whole.saturating_add(u64::from(span.subsec_nanos()))
        };
        match at.checked_duration_since(base) {
            Some(after) => (MARGIN_TICKS + (ticks(after) >> TICK_BITS)).min(TICK_MAX),
            None => {
                let before = ticks(base.saturating_duration_since(at));
                MARGIN_TICKS.saturating_sub(before.div_ceil(1 << TICK_BITS))
            }
        }
    }

    /// The beginning of a tick, where there is such an instant.
    fn instant_of(&self, tick: u64) -> Option<Instant> {
        let span = |ticks: u64| Duration::from_nanos(ticks.saturating_mul(1 << TICK_BITS));
        let base = self.base?;
        if tick >= MARGIN_TICKS {
            base.checked_add(span(tick - MARGIN_TICKS))
        } else {
            base.checked_sub(span(MARGIN_TICKS - tick))
        }
    }

    fn allocate(&mut self, entry: Entry<T>) -> u32 {
        if let Some(slot) = self.entries.get_mut(self.free as usize) {
            let index = self.free;
            self.free = slot.next;
            *slot = entry;
            return index;
        }
        self.entries.push(entry);
        // Each entry takes more than 32 bytes, so memory ends long before the numbers do.
        (self.entries.len() - 1) as u32
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        entry.number = 0;
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        entry.what.take()
    }
}

/// The earlier of two deadlines.
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
