//! Tokens nobody outside can guess: tags, branches, Call-IDs. Invariant: a function of the seed and of how many were drawn, so
//! that a simulation with one seed repeats itself; with a secret seed one token says nothing about the next (SHA-256 of seed
//! and counter).

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A source of tokens.
#[derive(Debug)]
pub(crate) struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    /// `seed` must be secret in production and differ between instances.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// 128 bits as 32 lower-case hex digits. RFC 3261 §19.3 asks for 32 bits in a tag.
    pub(crate) fn token(&mut self) -> String {
        let block = self.bytes();
        let mut text = String::with_capacity(32);
        for byte in block {
            // Writing to a String cannot fail.
            let _written = write!(text, "{byte:02x}");
        }
        text
    }

    /// 128 bits.
    pub(crate) fn bytes(&mut self) -> [u8; 16] {
        self.drawn = self.drawn.wrapping_add(1);
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let mut block = [0; 16];
        block.copy_from_slice(&digest[..16]);
        block
    }
}

/// A short name for any text: 128 bits of its SHA-256 in hex. For stanza ids, which need no secret.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut text = String::with_capacity(32);
    for byte in &hasher.finalize()[..16] {
        let _written = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_with_its_seed_only() {
        let mut one = Random::new([7; 32]);
        let mut same = Random::new([7; 32]);
        let mut other = Random::new([8; 32]);
        let first = one.token();
        assert_eq!(first.len(), 32);
        assert_eq!(first, same.token());
        assert_ne!(first, other.token());
        assert_ne!(first, one.token());
    }

    #[test]
    fn digest_keeps_parts_apart() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
    }
}
