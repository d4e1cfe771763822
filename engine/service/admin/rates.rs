//! How much goes from and to each partner. Invariant: two earlier countings are kept and no more, so it costs nothing when nobody asks; a rate
//! is taken over [`APART_MILLIS`] at least, and none is told where the last counting is too long ago to say something of now.
//!
//! Streams count for themselves and take their count along when they end. A rate is then too low for once, and never too high.

use std::collections::HashMap;

/// Shortest time a rate is taken over.
const APART_MILLIS: u64 = 5_000;

/// What is older says nothing of now.
const OLD_MILLIS: u64 = 60_000;

/// Stanzas received from and delivered to each partner's domain, by streams that are open.
pub(super) type Counts = HashMap<String, (u64, u64)>;

/// The countings.
#[derive(Debug, Default)]
pub(super) struct Rates {
    older: Option<(u64, Counts)>,
    newer: Option<(u64, Counts)>,
}

/// Stanzas from and to some domains together, a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) received: f64,
    pub(super) delivered: f64,
}

impl Rates {
    /// Takes a counting of this moment.
    pub(super) fn take(&mut self, now_millis: u64, counts: Counts) {
        if self.newer.as_ref().is_none_or(|(at, _)| now_millis.saturating_sub(*at) >= APART_MILLIS) {
            self.older = self.newer.take();
            self.newer = Some((now_millis, counts));
        }
    }

    /// What goes from and to these domains, counted just now, against the counting that is far enough back.
    pub(super) fn of(&self, now_millis: u64, names: &[&str], counts: &Counts) -> Option<Rate> {
        let back = |at: u64| now_millis.saturating_sub(at);
        let known = [&self.newer, &self.older].into_iter().flatten();
        let (at, before) = known.into_iter().find(|(at, _)| back(*at) >= APART_MILLIS)?;
        if back(*at) > OLD_MILLIS {
            return None;
        }
        let mut more = (0, 0);
        for name in names {
            let (now, then) = (counts.get(*name), before.get(*name));
            let ((received, delivered), (old_received, old_delivered)) =
                (now.copied().unwrap_or_default(), then.copied().unwrap_or_default());
            more.0 += received.saturating_sub(old_received);
            more.1 += delivered.saturating_sub(old_delivered);
        }
        // One decimal is what a person reads.
        let rate = |count: u64| ((count as f64) * 10_000.0 / (back(*at) as f64)).round() / 10.0;
        Some(Rate { received: rate(more.0), delivered: rate(more.1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(received: u64, delivered: u64) -> Counts {
        [("partner.example".to_owned(), (received, delivered)), ("x.example".to_owned(), (7, 7))].into()
    }

    #[test]
    fn a_rate_is_taken_over_seconds_and_is_of_now() {
        let mut rates = Rates::default();
        let names = ["partner.example", "chat.partner.example"];
        assert_eq!(rates.of(1_000, &names, &counts(5, 5)), None, "nothing to hold it against");
        rates.take(1_000, counts(5, 5));
        // Whoever asks often does not make it coarse.
        for millis in (2_000..6_000).step_by(500) {
            assert_eq!(rates.of(millis, &names, &counts(500, 50)), None);
            rates.take(millis, counts(500, 50));
        }
        let rate = rates.of(6_000, &names, &counts(1_005, 105)).unwrap();
        assert_eq!((rate.received, rate.delivered), (200.0, 20.0));
        rates.take(6_000, counts(1_005, 105));
        assert_eq!(
            rates.of(8_000, &names, &counts(1_005, 105)).unwrap().received,
            142.9,
            "over seven seconds"
        );
        // A stream that ended took its count along.
        assert_eq!(rates.of(11_000, &names, &counts(3, 0)).unwrap(), Rate { received: 0.0, delivered: 0.0 });
        assert_eq!(rates.of(90_000, &names, &counts(9_000, 0)), None, "nobody has looked for long");
        rates.take(90_000, counts(9_000, 0));
        assert_eq!(rates.of(95_000, &names, &counts(9_050, 0)).unwrap().received, 10.0);
    }
}
