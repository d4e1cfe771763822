//! Work of the SIP side whose instructions are counted: see `benches/counts/run`. Invariant: what is counted is checked.

#[path = "../support/pool.rs"]
mod pool;
#[path = "scenario.rs"]
mod scenario;

use pool::{Meter, Rig};
use turnout_core::home::Dialect;

fn main() {
    scenario::main(&[
        ("sip_skype_out", |rounds| work(Dialect::Skype, Rig::outwards, rounds)),
        ("sip_skype_in", |rounds| work(Dialect::Skype, Rig::inwards, rounds)),
        ("sip_simple_out", |rounds| work(Dialect::Simple, Rig::outwards, rounds)),
        ("sip_simple_in", |rounds| work(Dialect::Simple, Rig::inwards, rounds)),
    ]);
}

/// Only counts messages: the instructions are those within `measured_*`.
#[derive(Default)]
struct Count(u64);

impl Meter for Count {
    fn add(&mut self, work: impl FnOnce()) {
        work();
    }

    fn done(&mut self, messages: u64) {
        self.0 += messages;
    }
}

/// A message one way and its answer, of a hundred pairs of users; a unit is one message.
fn work(dialect: Dialect, direction: fn(&mut Rig, &mut Count), rounds: usize) -> usize {
    let mut rig = Rig::new(start(), dialect, 100);
    let mut count = Count::default();
    for _ in 0..rounds * 100 {
        direction(&mut rig, &mut count);
    }
    count.0 as usize
}

#[expect(clippy::disallowed_methods, reason = "a backend needs one instant to count from")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}
