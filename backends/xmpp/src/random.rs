//! Unpredictable names for streams. Invariant: no value is given twice, and none can be told from the others without the seed,
//! so that a dialback key (XEP-0220 §1.2) is bound to one stream alone.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::dialback::hex;

/// A counter under HMAC-SHA256: given the seed it is a function, so that a simulation repeats itself.
pub(crate) struct Random {
    seed: [u8; 32],
    count: u64,
}

impl fmt::Debug for Random {
    /// Never shows the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Random {
    /// A generator; the seed comes from the system's source of randomness, one for each backend.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// A stream id of 128 bit (RFC 6120 §4.7.3: unique and not to be guessed), as hexadecimal text.
    pub(crate) fn stream_id(&mut self) -> String {
        self.count += 1;
        let mut id = match Hmac::<Sha256>::new_from_slice(&self.seed) {
            Ok(mut mac) => {
                mac.update(b"stream");
                mac.update(&self.count.to_be_bytes());
                hex(&mac.finalize().into_bytes())
            }
            // HMAC takes keys of every length; were it not so, no stream would be named twice all the same.
            Err(_) => format!("{:032x}", self.count),
        };
        id.truncate(32);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_128_bit_and_never_repeat() {
        let mut random = Random::new([7; 32]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..20_000 {
            let id = random.stream_id();
            assert_eq!(id.len(), 32);
            assert!(seen.insert(id));
        }
        assert_ne!(Random::new([1; 32]).stream_id(), Random::new([2; 32]).stream_id());
    }
}
