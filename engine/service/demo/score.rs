//! What the demo counts: sent, delivered by track, answered, bounced, and whether the order of each pair was kept. Invariant: a
//! message is known by its pair and number alone, which travel in its text, so what is counted is what a user would have read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use turnout_core::tally::{Histogram, LATENCY_BOUNDS_US};

use super::presence::Stage;

/// Which way a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Through the legacy gateway.
    Legacy,
    /// Through the 2019 pool.
    Sip,
    /// An answer, at the partner.
    Reply,
}

/// A numbered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The pair of users.
    pub pair: usize,
    /// Its number within the pair, from 0.
    pub number: u64,
    /// When it was sent, in microseconds since the start.
    pub sent_us: u64,
}

impl Numbered {
    /// The text that carries it.
    pub fn text(self, greeting: &str) -> String {
        format!("{greeting} {} {} {}", self.pair, self.number, self.sent_us)
    }

    /// Reads it back.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.rsplit(' ');
        let sent_us = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let pair = words.next()?.parse().ok()?;
        Some(Self { pair, number, sent_us })
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// Next number expected at the local user.
    there: u64,
    /// Next number expected of the answers.
    back: u64,
}

/// The score of one run.
#[derive(Debug)]
pub struct Score {
    start: Instant,
    pairs: Box<[Mutex<Seen>]>,
    /// Messages the partner's users sent.
    pub sent: AtomicU64,
    /// Of these, read by users on the legacy pool.
    pub legacy: AtomicU64,
    /// Of these, read by users on the 2019 pool.
    pub sip: AtomicU64,
    /// Answers read by the partner's users.
    pub replies: AtomicU64,
    /// Answers local users sent.
    pub replies_sent: AtomicU64,
    /// Errors that came back.
    pub bounced: AtomicU64,
    /// Messages that came after a later one of their pair.
    pub reordered: AtomicU64,
    /// Times the partner was cut off.
    pub outages: AtomicU64,
    latency: Mutex<Histogram>,
    /// Who shows and sees what.
    pub stage: Stage,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Messages sent by the partner's users.
    pub sent: u64,
    /// Delivered on the legacy track.
    pub delivered_legacy: u64,
    /// Delivered on the SIP track.
    pub delivered_sip: u64,
    /// Answers that arrived at the partner.
    pub replies: u64,
    /// Messages and answers that came back as errors.
    pub bounced: u64,
    /// Messages and answers that are nowhere.
    pub lost: u64,
    /// Messages and answers that overtook an earlier one of their pair.
    pub reordered: u64,
    /// Times a user showed something else, towards one other user.
    pub presence_told: u64,
    /// Times somebody received presence.
    pub presence_seen: u64,
    /// Times what was seen was not what was so, 2 s after a change or a move; a pool, which is told of a contact every 5 s at the
    /// most, has 7 s.
    pub presence_wrong: u64,
    /// Times a user was asked whether somebody may see him whom he had allowed that.
    pub prompts: u64,
    /// Times the partner was cut off by whoever shows the demo.
    pub outages: u64,
    /// Median time from sending to reading, in microseconds (upper bound of the bucket).
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
}

impl Totals {
    /// Whether all went as it should. With a partner that was cut off, what could not be delivered meanwhile has to be told, and
    /// nothing to have overtaken anything.
    pub fn is_good(&self) -> bool {
        if self.outages > 0 {
            return self.reordered == 0;
        }
        let faults = [self.lost, self.reordered, self.bounced, self.presence_wrong, self.prompts];
        faults == [0; 5]
    }
}

impl Score {
    /// For so many pairs of users, and so many users of the partner in them.
    pub fn new(start: Instant, pairs: usize, partners: usize) -> Self {
        Self {
            start,
            pairs: (0..pairs).map(|_| Mutex::default()).collect(),
            sent: AtomicU64::new(0),
            legacy: AtomicU64::new(0),
            sip: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            replies_sent: AtomicU64::new(0),
            bounced: AtomicU64::new(0),
            reordered: AtomicU64::new(0),
            outages: AtomicU64::new(0),
            latency: Mutex::default(),
            stage: Stage::new(start, pairs, partners),
        }
    }

    /// Microseconds since the start.
    pub fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }

    /// Somebody read a message.
    pub fn read(&self, track: Track, message: Numbered, now: Instant) {
        let counter = match track {
            Track::Legacy => &self.legacy,
            Track::Sip => &self.sip,
            Track::Reply => &self.replies,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(seen) = self.pairs.get(message.pair) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let next = if track == Track::Reply { &mut seen.back } else { &mut seen.there };
            if message.number < *next {
                self.reordered.fetch_add(1, Ordering::Relaxed);
            } else {
                *next = message.number + 1;
            }
        }
        if track != Track::Reply {
            let waited = self.micros(now).saturating_sub(message.sent_us);
            self.latency.lock().unwrap_or_else(PoisonError::into_inner).observe_us(waited);
        }
    }

    /// Messages and answers on their way.
    pub fn in_flight(&self) -> u64 {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.sent) + load(&self.replies_sent))
            .saturating_sub(load(&self.legacy) + load(&self.sip) + load(&self.replies) + load(&self.bounced))
    }

    /// The numbers now; what is in flight counts as lost, so ask when nothing should be.
    pub fn totals(&self) -> Totals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let presence = self.stage.counts();
        let latency = *self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        Totals {
            sent: load(&self.sent),
            delivered_legacy: load(&self.legacy),
            delivered_sip: load(&self.sip),
            replies: load(&self.replies),
            bounced: load(&self.bounced),
            lost: self.in_flight(),
            reordered: load(&self.reordered),
            presence_told: presence.told,
            presence_seen: presence.seen,
            presence_wrong: presence.wrong,
            prompts: presence.prompts,
            outages: load(&self.outages),
            p50_us: quantile(&latency, 50),
            p99_us: quantile(&latency, 99),
        }
    }
}

/// The upper bound of the bucket in which so many percent of the observations end.
fn quantile(histogram: &Histogram, percent: u64) -> u64 {
    let wanted = (histogram.count() * percent).div_ceil(100);
    let mut seen = 0;
    for (count, bound) in histogram.buckets.iter().zip(LATENCY_BOUNDS_US) {
        seen += count;
        if seen >= wanted {
            return if wanted == 0 { 0 } else { bound };
        }
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_order_and_loss() {
        let start = crate::clock::now();
        let score = Score::new(start, 1, 1);
        score.sent.store(4, Ordering::Relaxed);
        let message = |number| Numbered { pair: 0, number, sent_us: 0 };
        for (track, number) in [(Track::Legacy, 0), (Track::Sip, 2), (Track::Legacy, 1)] {
            score.read(track, message(number), start);
        }
        let totals = score.totals();
        assert_eq!(
            (totals.delivered_legacy, totals.delivered_sip, totals.reordered, totals.lost),
            (2, 1, 1, 1)
        );
        assert_eq!(Numbered::parse(&message(7).text("hello there")), Some(message(7)));
        assert_eq!(Numbered::parse("no numbers here"), None);
    }

    #[test]
    fn quantiles_are_bucket_bounds() {
        let mut histogram = Histogram::default();
        assert_eq!(quantile(&histogram, 50), 0);
        for _ in 0..99 {
            histogram.observe_us(40);
        }
        histogram.observe_us(900);
        assert_eq!(quantile(&histogram, 50), 50);
        assert_eq!(quantile(&histogram, 99), 50);
        assert_eq!(quantile(&histogram, 100), 1_000);
    }
}
