//! What must be true after every step, and at the end.

use std::time::Duration;

use turnout_core::limits::{SPOOL_AGE_SECONDS, STALL_SECONDS};
use turnout_core::spool::EXPIRY_STEP;
use turnout_core::tally::Flow;

use super::Sim;

/// What one link may have waiting for one destination in a narrow world, with stanzas of up to 700 bytes: its share (1500), what a link that
/// broke gives back (its credit, 900, and a stanza), what was read before anybody heard that the share is full (three reads of 512) and
/// what was on its way between shards (eight stanzas).
pub const SHARE_CAP: usize = 1500 + 900 + 3 * 512 + 9 * 700;

/// What links brought that may wait in one shard of it: whatever is flooded, and however long. What each may have waiting bounds it already,
/// and far less is seen: 13,860 octets at most in ten thousand seeds. This is to notice should that change.
pub const SHARD_CAP: usize = 24 * 1024;

/// The longest that anything waits in a spool, of what came to be then: its age, which is looked at every [`EXPIRY_STEP`] and once more when the
/// timer is late by as much; and as long as a link may take nothing before it is cut, which then gives back what it was given.
const AGE: Duration = Duration::from_secs(SPOOL_AGE_SECONDS + STALL_SECONDS)
    .saturating_add(EXPIRY_STEP)
    .saturating_add(EXPIRY_STEP);

impl Sim {
    /// After every input of a shard: what its counters say it holds is what its queues hold.
    pub(super) fn check(&mut self, index: usize) {
        let cell = &mut self.cells[index];
        let (held, held_made) = (cell.shard.held() as i128, cell.shard.held_made() as i128);
        let kept_made = i128::from(self.ledger.kept_made(u16::try_from(index).unwrap()));
        let tally = cell.shard.tally();
        let (passed, made) = (tally.passed, tally.made);
        assert_eq!(
            passed.expected_held() + made.expected_held(),
            held,
            "shard {index} holds other than it counts: {passed:?} {made:?}"
        );
        assert_eq!(made.expected_held(), held_made + kept_made, "shard {index}, made stanzas: {made:?}");
        let pressure = cell.shard.check_pressure();
        assert_eq!(pressure, Ok(()), "shard {index}");
        if self.narrow {
            let (share, (brought, waiting_made)) = (cell.shard.largest_share(), cell.shard.waiting());
            assert!(share <= SHARE_CAP, "shard {index}: {share} bytes of one link wait for one destination");
            assert!(brought <= SHARD_CAP, "shard {index}: {brought} bytes wait");
            // An error is made of what was counted above, and waits no longer than that did: no flood keeps more of them waiting.
            let now = self.now;
            let came = made.received + made.handed_in;
            if cell.made.back().is_none_or(|(_, before)| *before < came) {
                cell.made.push_back((now, came));
            }
            while cell.made.get(1).is_some_and(|(at, _)| *at + AGE <= now) {
                cell.made.pop_front();
            }
            let lately = cell
                .made
                .front()
                .map_or(0, |(at, before)| if *at + AGE <= now { came - before } else { came });
            assert!(
                waiting_made as u64 <= lately,
                "shard {index}: {waiting_made} made stanzas wait of {lately} that came lately"
            );
        }
        assert!(cell.out.arrivals.is_empty() && cell.out.events.is_empty() && cell.out.dialed.is_empty());
    }

    fn flows(&mut self) -> [Flow; 2] {
        let mut sums = [Flow::default(); 2];
        for cell in &mut self.cells {
            let tally = cell.shard.tally();
            sums[0].add(&tally.passed);
            sums[1].add(&tally.made);
        }
        sums
    }

    /// After hand-offs were posted: what left one shard is on its way to another.
    pub(super) fn check_in_flight(&mut self) {
        for (flow, in_flight) in self.flows().into_iter().zip(self.in_flight) {
            let between = i128::from(flow.handed_out) - i128::from(flow.handed_in);
            assert_eq!(between, in_flight, "a stanza got lost between shards");
        }
    }

    /// At rest: received is delivered, bounced or dropped, and the ledger agrees.
    pub fn check_rest(&mut self) {
        self.check_in_flight();
        assert_eq!(self.held(), 0, "held at rest: {}", self.report());
        for flow in self.flows() {
            let ends = flow.delivered + flow.bounced + flow.dropped_total() + flow.left;
            assert_eq!(flow.received + flow.recovered, ends, "{flow:?}");
        }
        let arrived = self.ledger.arrived_in_this_life();
        assert_eq!(self.flows()[0].received, arrived as u64, "the shards took in what arrived");
        assert!(self.over || self.conns.values().all(|conn| !conn.paused), "a link is not read at rest");
        for cell in &mut self.cells {
            assert_eq!(cell.shard.tally().moving_users, 0, "nobody is held at rest");
        }
        self.ledger.check_complete();
        self.check_spool();
    }

    /// What a failed run was about.
    pub fn report(&self) -> String {
        let held: Vec<_> = self.cells.iter().map(|cell| cell.shard.held()).collect();
        let waiting: Vec<_> = self.cells.iter().map(|cell| (cell.io.len(), cell.mail.len())).collect();
        format!(
            "step {}, held {held:?}, inputs {waiting:?}, wishes {}, connections {}, moves {:?}\n{}",
            self.steps,
            self.wishes.len(),
            self.conns.values().filter(|conn| !conn.is_quiet()).count(),
            self.moving,
            self.ledger.tail(std::env::var("TAIL").ok().and_then(|n| n.parse().ok()).unwrap_or(60))
        )
    }

    /// How many steps were taken.
    pub fn steps(&self) -> usize {
        self.steps
    }
}
