//! Chance for things that need none to be secret: jitter and tie-breaks. Invariant: the same seed gives the same sequence, so a
//! simulated run can be repeated. Never used for ids, tags or keys.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A sequence.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0. The bias is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_stays_below() {
        let (mut a, mut b) = (Random::new(3), Random::new(3));
        for bound in 1..200 {
            let value = a.below(bound);
            assert_eq!(value, b.below(bound));
            assert!(value < bound);
        }
        assert_eq!(a.below(0), 0);
    }
}
