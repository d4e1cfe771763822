//! Counters of one shard: plain integers, read by the metrics when asked. Invariant, for stanzas that came from outside:
//! `received + recovered + handed_in = delivered + bounced + dropped + left + handed_out + held`, where `held` is counted from the queues
//! themselves and not from these numbers; the same, apart, for stanzas the router made.

use crate::contacts::ContactCounts;

/// Rules by which a stanza may be dropped without a word. Each is named in `docs/routing.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropRule {
    /// An error is never answered with an error (RFC 6120 §8.3.1).
    ErrorUnanswered,
    /// An iq result is never answered (RFC 6120 §8.2.3).
    ResultUnanswered,
    /// Presence that cannot be delivered is not answered (RFC 6121 §4, XR-09).
    PresenceUnanswered,
    /// A headline that cannot be delivered is not answered (RFC 6121 §8.5.2); a groupchat message is.
    HeadlineUnanswered,
    /// Addressed to the router itself and asking for nothing.
    ForRouter,
    /// Made by the router and undeliverable.
    MadeUndeliverable,
    /// A request to see a partner's user who has granted or refused that before: answered from what is known.
    ContactKnown,
    /// A grant or refusal nobody asked for, or presence for somebody who may not see it (RFC 6121 §3.1.5, §4.2.2).
    ContactUnasked,
    /// What a home still shows of a user who has moved to another.
    HomeLeft,
}

impl DropRule {
    /// All rules, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::ErrorUnanswered,
        Self::ResultUnanswered,
        Self::PresenceUnanswered,
        Self::HeadlineUnanswered,
        Self::ForRouter,
        Self::MadeUndeliverable,
        Self::ContactKnown,
        Self::ContactUnasked,
        Self::HomeLeft,
    ];

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrorUnanswered => "error_unanswered",
            Self::ResultUnanswered => "result_unanswered",
            Self::PresenceUnanswered => "presence_unanswered",
            Self::HeadlineUnanswered => "headline_unanswered",
            Self::ForRouter => "for_router",
            Self::MadeUndeliverable => "made_undeliverable",
            Self::ContactKnown => "contact_known",
            Self::ContactUnasked => "contact_unasked",
            Self::HomeLeft => "home_left",
        }
    }
}

/// Bounds of the latency histogram in microseconds; the last bucket has no bound.
pub const LATENCY_BOUNDS_US: [u64; 20] = [
    10, 20, 50, 100, 200, 350, 500, 750, 1_000, 2_000, 3_500, 5_000, 10_000, 20_000, 50_000, 100_000,
    250_000, 1_000_000, 5_000_000, 30_000_000,
];

/// A histogram with fixed buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Observations per bucket (not cumulative); one more than there are bounds.
    pub buckets: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all observations, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Adds one observation.
    pub fn observe_us(&mut self, value_us: u64) {
        self.observe_many_us(value_us, 1);
    }

    /// Adds `count` observations of one value.
    pub fn observe_many_us(&mut self, value_us: u64, count: u64) {
        let bucket = LATENCY_BOUNDS_US.partition_point(|&bound| bound < value_us);
        self.buckets[bucket] += count;
        self.sum_us = self.sum_us.saturating_add(value_us.saturating_mul(count));
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another histogram.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

/// Counts of one class of stanzas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Entered the router here.
    pub received: u64,
    /// Was on disk when the process started.
    pub recovered: u64,
    /// The next hop has it.
    pub delivered: u64,
    /// Its sender was told.
    pub bounced: u64,
    /// Dropped, by rule, in the order of [`DropRule::ALL`].
    pub dropped: [u64; DropRule::ALL.len()],
    /// Left on disk for the next start.
    pub left: u64,
    /// Came from another shard.
    pub handed_in: u64,
    /// Went to another shard.
    pub handed_out: u64,
}

impl Flow {
    /// Dropped by any rule.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Adds another flow.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.recovered += other.recovered;
        self.delivered += other.delivered;
        self.bounced += other.bounced;
        for (mine, theirs) in self.dropped.iter_mut().zip(other.dropped) {
            *mine += theirs;
        }
        self.left += other.left;
        self.handed_in += other.handed_in;
        self.handed_out += other.handed_out;
    }

    /// What must still be held here if nothing was lost.
    pub fn expected_held(&self) -> i128 {
        i128::from(self.received) + i128::from(self.recovered) + i128::from(self.handed_in)
            - i128::from(self.delivered)
            - i128::from(self.bounced)
            - i128::from(self.dropped_total())
            - i128::from(self.left)
            - i128::from(self.handed_out)
    }
}

/// Counts of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideTally {
    /// Stanzas received from this side.
    pub received: u64,
    /// Stanzas delivered to this side.
    pub delivered: u64,
    /// Stanzas for or from this side that were bounced.
    pub bounced: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections dialed.
    pub dialed: u64,
    /// Dialed connections that failed before they carried a stanza.
    pub failed: u64,
    /// Stanzas written a second time, as the link they were written on was gone before its peer acknowledged them: it may have
    /// them twice.
    pub repeated: u64,
    /// Links ended by a fault of the peer.
    pub faults: u64,
    /// Links cut because they took nothing of what waited for them.
    pub stalled: u64,
    /// Links open now.
    pub links: u64,
    /// Subscriptions to presence open now towards this side: the home tells us of its users.
    pub watches: u64,
    /// Subscriptions to presence open now from this side: the home is told of partners' users.
    pub subscriptions: u64,
    /// Time from arrival to delivery to this side.
    pub latency: Histogram,
}

/// Counters of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Stanzas from outside.
    pub passed: Flow,
    /// Stanzas the router made.
    pub made: Flow,
    /// Per side: partners first, then homes by number.
    pub sides: Vec<SideTally>,
    /// Refusals by condition, in the order of `Condition::ALL`.
    pub refusals: [u64; 22],
    /// Stanzas held now: in spools, on links and not yet written, in sessions, for a move.
    pub held: u64,
    /// Bytes in spools now.
    pub spooled_bytes: u64,
    /// Users held for a move now.
    pub moving_users: u64,
    /// What holds between users, of the local users this shard owns.
    pub contacts: ContactCounts,
    /// Presence that waits for the store or for its turn; it is among the held.
    pub presence_waiting: u64,
    /// Questions of the router's own about presence that wait for their turn, or for a home that could not be reached.
    pub wishes_waiting: u64,
    /// Stanzas refused because their partner sent more than his rate.
    pub too_fast_partners: u64,
    /// Stanzas refused because their sender sent more than his rate.
    pub too_fast_senders: u64,
    /// Links not read now, as what they brought does not go out.
    pub paused_links: u64,
    /// Times a link was no longer read for that reason.
    pub pauses: u64,
    /// Stanzas for a user whom the pool does not know that the directory says he is on: it lags behind a move.
    pub strays: u64,
    /// Turns of the loop: a watchdog looks whether it moves.
    pub turns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_upper_bound() {
        let mut histogram = Histogram::default();
        histogram.observe_us(10);
        histogram.observe_us(11);
        histogram.observe_us(u64::MAX);
        assert_eq!(histogram.buckets[0], 1);
        assert_eq!(histogram.buckets[1], 1);
        assert_eq!(histogram.buckets[LATENCY_BOUNDS_US.len()], 1);
        assert_eq!(histogram.count(), 3);
    }
}
