//! Links that take nothing of what is given to them. Invariant: no byte waits longer than [`STALL_SECONDS`], and the step by which it is
//! looked, for a peer that does not read; then its link is cut, and what it had not taken goes back to its spool and its age limit.

use std::time::{Duration, Instant};

use super::deliver::State;
use super::{Shard, Timer};
use crate::io::{Close, Level, LinkId, Outbox, Side};
use crate::limits::STALL_SECONDS;

/// How often it is looked.
const STEP: Duration = Duration::from_secs(10);

impl Shard {
    /// Something was given to a link: from now on it is looked, until nothing waits any more.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.transmitted && !self.watching {
            self.watching = true;
            self.timers.set(now + STEP, Timer::Stalls);
        }
        self.transmitted = false;
    }

    /// Cuts what has not moved.
    pub(super) fn look_for_stalls(&mut self, now: Instant, out: &mut Outbox) {
        self.watching = false;
        let mut stalled: Vec<LinkId> = Vec::new();
        for (link, state) in &mut self.links {
            let Some(since) = state.stalled_since(now).filter(|_| state.is_opened()) else { continue };
            self.transmitted = true;
            if now >= since + Duration::from_secs(STALL_SECONDS) {
                stalled.push(*link);
            }
        }
        stalled.sort_unstable();
        for link in stalled {
            self.cut_stalled(now, link, out);
        }
        self.watch(now);
    }

    fn cut_stalled(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(state) = self.links.get(&link) else { return };
        let (side, waiting, destination) =
            (state.side(), state.unwritten_bytes(), state.destination().cloned());
        self.side(side).stalled += 1;
        let about =
            destination.as_ref().map_or_else(|| "a peer".to_owned(), super::deliver::destination_name);
        let text = format!(
            "took none of {waiting} bytes for {STALL_SECONDS} s: the connection is cut, and opened anew where something waits; look \
             whether its server is stuck or the way to it is cut"
        );
        out.note(Level::Warn, side, link, &about, text);
        out.close(link, Close::Abort);
        let Some(destination) = destination else { return };
        let node = self.destinations.get_mut(&destination).filter(|waiting| waiting.link() == Some(link));
        let Some(waiting) = node else { return };
        // Dialed anew when the link is gone, so that nothing overtakes what comes back from it.
        waiting.state = State::Closing(link, now);
        let node = waiting.node;
        if let (Side::Home(home), Some(node)) = (side, node)
            && let Some(pool) = self.pools.get_mut(usize::from(home.0))
        {
            pool.fail(node, now, &mut self.random);
        }
        self.set_timer(&destination);
    }
}
