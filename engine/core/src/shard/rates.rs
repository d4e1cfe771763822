//! How fast partners and users may send. Invariant: who keeps to his rate is never refused for it, whatever others do; and the tables
//! are bounded.
//!
//! A token bucket for each partner, charged once for a run, and one for each sender (bare JID). Both are a shard's own: who sends on
//! streams of several shards may send as much on each. What is beyond is answered with `resource-constraint`, of type wait: RFC 6120
//! also has `policy-violation`, but that is first of all told to change what he says, and to a pool it becomes 403, after which its
//! users' clients do not try again.

use std::hash::{BuildHasher, Hash};
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::Shard;
use crate::flow::Rate;
use crate::io::{Outbox, Side};
use crate::limits::{PARTNER_RATES_MAX, SENDERS_MAX};
use crate::policy::PartnerView;
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::run::Run;
use crate::stanza::Stanza;

/// Tokens are counted in millionths, so that a slow rate adds up.
const UNIT: u64 = 1_000_000;

/// Tokens, and when they were counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    tokens: u64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant, rate: Rate) -> Self {
        Self { tokens: u64::from(rate.burst) * UNIT, at: now }
    }

    fn refill(&mut self, now: Instant, rate: Rate) {
        let micros = u64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(u64::from(rate.per_second));
        self.tokens = self.tokens.saturating_add(gained).min(u64::from(rate.burst) * UNIT);
        self.at = self.at.max(now);
    }

    /// Takes so many tokens, or none when there are fewer.
    fn take(&mut self, now: Instant, rate: Rate, count: usize) -> bool {
        self.refill(now, rate);
        let wanted = (count as u64).saturating_mul(UNIT);
        let enough = self.tokens >= wanted;
        if enough {
            self.tokens -= wanted;
        }
        enough
    }

    fn is_full(&mut self, now: Instant, rate: Rate) -> bool {
        self.refill(now, rate);
        self.tokens >= u64::from(rate.burst) * UNIT
    }
}

/// The buckets of one kind. Who is not in the table has not sent for so long that his bucket is full.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    known: HashMap<u64, Bucket>,
    hasher: DefaultHashBuilder,
    /// When the table was last found full of those who had sent lately.
    crowded: Option<Instant>,
}

impl Buckets {
    /// Charges somebody. True when he has that many left, and when the table has no room for him: more senders than it holds are
    /// for the rate of their partner to hold.
    pub(super) fn take(
        &mut self,
        now: Instant,
        rate: Rate,
        who: impl Hash,
        count: usize,
        most: usize,
    ) -> bool {
        let key = self.hasher.hash_one(who);
        if let Some(bucket) = self.known.get_mut(&key) {
            return bucket.take(now, rate, count);
        }
        if self.known.len() >= most && !self.make_room(now, rate) {
            return true;
        }
        let mut bucket = Bucket::full(now, rate);
        let taken = bucket.take(now, rate, count);
        self.known.insert(key, bucket);
        taken
    }

    /// Forgets whose bucket is full again. Not more often than twice a second, as it looks at all.
    fn make_room(&mut self, now: Instant, rate: Rate) -> bool {
        if self.crowded.is_some_and(|at| now.saturating_duration_since(at).as_millis() < 500) {
            return false;
        }
        self.crowded = Some(now);
        let before = self.known.len();
        self.known.retain(|_, bucket| !bucket.is_full(now, rate));
        self.known.len() < before
    }
}

/// All buckets of a shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    partners: Buckets,
    senders: Buckets,
}

/// Whose rate was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Partner,
    Sender,
}

impl Shard {
    /// Charges a stanza that came from outside; why it is refused, if it is.
    pub(super) fn charge(&mut self, now: Instant, stanza: &Stanza) -> Option<Refusal> {
        let flow = &self.world.flow;
        if stanza.made || (flow.partner_rate.is_none() && flow.sender_rate.is_none()) {
            return None;
        }
        let whose = match self.charge_partner(now, stanza.origin.side, stanza.from.domain(), 1) {
            true if self.charge_sender(now, stanza.from.bare_str()) => return None,
            true => Whose::Sender,
            false => Whose::Partner,
        };
        Some(self.too_fast(whose, stanza.from.bare_str()))
    }

    /// Charges a run once, and its senders where they have a rate. False, and its partner is not charged, when the stanzas have to be looked at
    /// one by one.
    pub(super) fn charge_run(&mut self, now: Instant, run: &Run) -> bool {
        let flow = &self.world.flow;
        if flow.sender_rate.is_some() {
            return false;
        }
        flow.partner_rate.is_none() || self.charge_partner(now, run.side, &run.from, run.len())
    }

    fn charge_partner(&mut self, now: Instant, side: Side, domain: &str, count: usize) -> bool {
        let (Some(rate), Side::Partners) = (self.world.flow.partner_rate, side) else { return true };
        let primary =
            self.world.policy.find(domain).and_then(|PartnerView { primary_domain, .. }| primary_domain);
        let who = primary.map_or(domain, |domain| domain.as_str());
        self.rates.partners.take(now, rate, who, count, PARTNER_RATES_MAX)
    }

    fn charge_sender(&mut self, now: Instant, bare: &str) -> bool {
        let Some(rate) = self.world.flow.sender_rate else { return true };
        self.rates.senders.take(now, rate, bare, 1, SENDERS_MAX)
    }

    fn too_fast(&mut self, whose: Whose, who: &str) -> Refusal {
        let (text, detail) = match whose {
            Whose::Partner => {
                self.tally.too_fast_partners += 1;
                (
                    "your server sends more than it may: wait",
                    "the partner is beyond [flow] partner_per_second",
                )
            }
            Whose::Sender => {
                self.tally.too_fast_senders += 1;
                ("you send more than you may: wait", "the user is beyond [flow] sender_per_second")
            }
        };
        Refusal::new(Condition::ResourceConstraint, Blame::Sender, Retry::Never, Bounce::Yes, text)
            .with_detail(format!("{who}: {detail}"))
    }

    /// The stanzas of a run, each charged alone.
    pub(super) fn arrive_each(&mut self, now: Instant, run: &Run, out: &mut Outbox) {
        for stanza in run.stanzas() {
            self.arrive_charged(now, stanza, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn one_over_the_burst_is_refused_and_the_rate_comes_back() {
        let start = Instant::now();
        let rate = Rate::new(10, 3).unwrap();
        let mut buckets = Buckets::default();
        let mut take = |at: Duration, who: &str, count| buckets.take(start + at, rate, who, count, 2);
        assert!((0..3).all(|_| take(Duration::ZERO, "a", 1)));
        assert!(!take(Duration::ZERO, "a", 1), "one over");
        assert!(!take(Duration::from_micros(99_999), "a", 1));
        assert!(take(Duration::from_millis(100), "a", 1), "a tenth of a second later there is one more");
        assert!(!take(Duration::from_millis(100), "a", 1));
        assert!(take(Duration::from_secs(9), "a", 3), "never more than the burst");
        assert!(!take(Duration::from_secs(9), "a", 1));
        assert!(!take(Duration::from_secs(9), "b", 4), "nothing is taken when it is not enough");
        assert!(take(Duration::from_secs(9), "b", 3));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn the_table_is_bounded_and_forgets_the_quiet() {
        let start = Instant::now();
        let rate = Rate::new(1, 2).unwrap();
        let mut buckets = Buckets::default();
        for who in 0..10_u32 {
            assert!(buckets.take(start, rate, who, 2, 4));
        }
        assert_eq!(buckets.known.len(), 4);
        assert!(!buckets.take(start, rate, 0_u32, 1, 4), "who is in it is held");
        assert!(buckets.take(start + Duration::from_secs(3), rate, 9_u32, 2, 4));
        assert_eq!(buckets.known.len(), 1, "whose bucket was full is forgotten");
        assert!(!buckets.take(start + Duration::from_secs(3), rate, 9_u32, 1, 4));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn a_clock_that_stands_still_or_goes_far_does_not_overflow() {
        let start = Instant::now();
        let rate = Rate::new(u32::MAX, u32::MAX).unwrap();
        let mut bucket = Bucket::full(start, rate);
        assert!(bucket.take(start + Duration::from_secs(1 << 33), rate, 1));
        assert!(bucket.take(start, rate, 1), "an earlier time adds nothing and takes nothing away");
        assert!(!bucket.take(start, rate, usize::MAX));
    }
}
