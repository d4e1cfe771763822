//! The one loop. Invariant: this is the only caller of `Shard::handle` outside of tests; the clock is read once a batch.

use turnout_core::io::{Input, Outbox};
use turnout_core::shard::Shard;

use crate::clock::Clock;
use crate::driver::{Driver, Turn};

/// Runs a shard over a driver until the driver says that it is over.
pub fn run(shard: &mut Shard, out: &mut Outbox, driver: &mut dyn Driver, clock: &impl Clock) {
    let mut inputs: Vec<Input> = Vec::new();
    loop {
        let turn = driver.wait(shard.deadline(), &mut inputs);
        let now = clock.now();
        for input in inputs.drain(..) {
            shard.handle(now, input, out);
        }
        shard.wake(now, out);
        shard.count_turn();
        driver.submit(out);
        driver.publish(now, shard);
        if turn == Turn::Over {
            return;
        }
    }
}
