//! Messages between XMPP and a pool, in memory: a stanza becomes a MESSAGE and its 200 ends the stanza; a MESSAGE becomes a stanza
//! and its verdict becomes the 200. Both dialects, one pair of users to many, time and allocations for each message.
//!
//! Invariant: what the pool's side of the bench says is made before the clock runs, and every answer is checked after it has stopped:
//! the numbers in CSeq, the branch, the tags, the text and the end of each stanza; a message that is lost ends the bench.
//!
//! `cargo bench --bench sip` measures; `-- once` runs a fixed number of messages of each kind for callgrind, to be collected within
//! `*measured*`; a further word picks the rows whose names hold it.

#![expect(unsafe_code, reason = "counting allocations takes a global allocator, whose trait is unsafe")]

#[path = "support/pool.rs"]
mod pool;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pool::{Meter, Rig};
use turnout::clock::now;
use turnout_core::home::Dialect;

/// The allocator of the program, with a count of what was asked of it.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes on to an allocator that keeps the contract; the count touches no memory it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from the same allocator with the same `layout`.
        unsafe { mimalloc::MiMalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `at` came from the same allocator with the same `layout`.
        unsafe { mimalloc::MiMalloc.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one kind of message costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    messages: u64,
    time: Duration,
    allocations: u64,
}

impl Meter for Cost {
    fn add(&mut self, work: impl FnOnce()) {
        let (start, allocations) = (now(), ALLOCATIONS.load(Ordering::Relaxed));
        work();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - allocations;
        self.time += now() - start;
    }

    fn done(&mut self, messages: u64) {
        self.messages += messages;
    }
}

impl Cost {
    fn nanos(&self) -> f64 {
        self.time.as_nanos() as f64 / self.messages as f64
    }
}

/// A direction.
type Direction = fn(&mut Rig, &mut Cost);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let once = words.iter().any(|word| word == "once");
    println!("{:<44} {:>12} {:>14}", "a message and its answer", "ns", "allocations");
    for dialect in [Dialect::Skype, Dialect::Simple] {
        for pairs in [1, 100, 10_000] {
            let directions: [(&str, Direction); 2] =
                [("XMPP to SIP", Rig::outwards), ("SIP to XMPP", Rig::inwards)];
            let mut rig = None;
            for (name, direction) in directions {
                let name = format!("{name}, {}, {pairs} pairs", dialect.as_str());
                if words.iter().any(|word| word != "once" && !name.contains(word.as_str())) {
                    continue;
                }
                measure(&name, rig.get_or_insert_with(|| Rig::new(now(), dialect, pairs)), direction, once);
            }
        }
    }
}

/// The median of many short runs: on a machine that does other work too, most of them are not interrupted.
fn measure(name: &str, rig: &mut Rig, direction: Direction, once: bool) {
    let messages = if once { 2048 } else { 60_000 };
    let mut rows: Vec<Cost> = Vec::new();
    let mut all = Cost::default();
    // As many again before anything is written down.
    for warm in [false, true] {
        let mut count = 0;
        while count < messages {
            let mut cost = Cost::default();
            direction(rig, &mut cost);
            count += cost.messages;
            if warm {
                all.messages += cost.messages;
                all.allocations += cost.allocations;
                rows.push(cost);
            }
        }
    }
    rows.sort_by(|a, b| a.nanos().total_cmp(&b.nanos()));
    let (median, allocations) = (rows[rows.len() / 2], all.allocations as f64 / all.messages as f64);
    println!("{name:<44} {:>12.0} {allocations:>14.2}", median.nanos());
}
