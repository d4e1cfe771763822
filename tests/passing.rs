//! Zero allocations for each stanza that is passed on, in one shard with real backends: counted, not timed.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

#[path = "../benches/support/passing.rs"]
mod passing;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use passing::{Passing, reads, users};
use std::sync::Arc;
use turnout_core::io::{Input, Output};
use turnout_core::survey::{Survey, Surveyed};
use turnout_core::trace::{Step, TraceMode, TraceQuery, TraceRules};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches a plain thread-local number that needs no
// allocation itself.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while so many rounds of reads are passed on, and the stanzas in them.
fn count(passing: &mut Passing, reads: &[bytes::Bytes], rounds: usize) -> (u64, u64) {
    let (before, delivered) = (COUNT.get(), passing.delivered());
    for _ in 0..rounds {
        for read in reads {
            passing.read(read.clone());
            passing.write();
        }
    }
    let allocations = COUNT.get() - before;
    (allocations, passing.delivered() - delivered)
}

#[test]
fn passing_on_allocates_nothing() {
    let mut passing = Passing::new(turnout::clock::now(), users(1_000));
    let (reads, stanzas) = reads(250, 1_000);
    // The first rounds make room.
    let (made_room, _) = count(&mut passing, &reads, 2);
    assert!(made_room > 0, "the allocator does not count");
    let (allocations, delivered) = count(&mut passing, &reads, 10);
    assert_eq!(delivered, stanzas * 10);
    assert_eq!(allocations, 0, "for {delivered} stanzas");
}

#[test]
fn a_trace_of_all_of_them_allocates_nothing_either() {
    let mut passing = Passing::new(turnout::clock::now(), users(1_000));
    let rules = TraceRules { mode: TraceMode::All, ..TraceRules::default() };
    passing.shard.handle(passing.now, Input::Trace(Arc::new(rules)), &mut passing.out);
    let (reads, stanzas) = reads(250, 1_000);
    count(&mut passing, &reads, 2);
    let (allocations, delivered) = count(&mut passing, &reads, 10);
    assert_eq!((allocations, delivered), (0, stanzas * 10));
    let query = TraceQuery { who: Some("partner.example".to_owned()), limit: 3, ..TraceQuery::default() };
    passing.shard.handle(passing.now, Input::Survey(7, Arc::new(Survey::Trace(query))), &mut passing.out);
    let Some(Output::Surveyed(7, found)) = passing.out.outputs.pop() else { panic!("no answer") };
    let Surveyed::Trace(found) = *found else { panic!("another answer") };
    assert_eq!(found.iter().map(|traced| traced.step).collect::<Vec<_>>(), [Step::Delivered; 3]);
}
