//! A histogram of times with a bounded relative error. Invariant: every value counted lies in a bucket whose width is at most
//! 1/64 of it, so a percentile is right to 1.6 %.

/// Buckets an octave, as a power of two.
const FINE: u32 = 6;

/// Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 64 << FINE], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Counts all that another one has counted.
    pub fn add_all(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value that this share of all is not above, in nanoseconds; 0 where nothing was counted.
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(at).min(self.max);
            }
        }
        self.max
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let value = value.max(1);
    let octave = 63 - value.leading_zeros();
    let index = if octave < FINE {
        value
    } else {
        (u64::from(octave - FINE + 1) << FINE) + ((value >> (octave - FINE)) - (1 << FINE))
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The greatest value of a bucket.
fn upper(at: usize) -> u64 {
    let at = at as u64;
    let octave = at >> FINE;
    if octave == 0 {
        return at;
    }
    let shift = octave - 1;
    let base = (1 << FINE) + (at & ((1 << FINE) - 1));
    (base << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, upper};

    #[test]
    fn every_value_is_in_a_bucket_that_is_narrow_and_next_to_the_last() {
        for value in (1..100_000).chain((20..63).map(|bit| (1_u64 << bit) - 1)) {
            let at = bucket(value);
            assert!(upper(at) >= value && (at == 0 || upper(at - 1) < value), "{value}");
            assert!(upper(at) - value <= value / 64, "{value}");
        }
    }

    #[test]
    fn percentiles_of_a_row() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), 0);
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        let close = |value: u64, wanted: u64| value >= wanted && value <= wanted + wanted / 64;
        assert!(close(histogram.percentile(0.5), 500_000) && close(histogram.percentile(0.99), 990_000));
        assert_eq!((histogram.percentile(1.0), histogram.total()), (1_000_000, 1000));
    }
}
