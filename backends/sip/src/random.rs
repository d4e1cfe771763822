//! Tokens nobody outside can guess: tags, branches, Call-IDs. Invariant: a function of the seed and of how many were drawn, so
//! that a simulation with one seed repeats itself; with a secret seed one token says nothing about the next (the halves of SHA-256 of
//! seed and counter).

use sha2::{Digest, Sha256};

/// 128 bits, and the way they are written: 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u128);

/// Bytes of a written token.
pub(crate) const TOKEN_BYTES: usize = 32;

impl Token {
    /// The token as it is written.
    pub(crate) fn hex(self) -> Hex {
        let mut text = [0; TOKEN_BYTES];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        Hex(text)
    }

    /// Reads a token back; `None` for what was not written by [`Token::hex`].
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text: &[u8; TOKEN_BYTES] = text.try_into().ok()?;
        let mut token = 0_u128;
        for byte in text {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            token = token << 4 | u128::from(digit);
        }
        Some(Self(token))
    }

    /// The 128 bits.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A written token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hex([u8; TOKEN_BYTES]);

impl std::ops::Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        // Hex digits are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A source of tokens.
pub(crate) struct Random {
    seed: [u8; 32],
    drawn: u64,
    /// The second half of the last digest.
    spare: Option<Token>,
}

impl std::fmt::Debug for Random {
    /// Never shows the seed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Random").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Random {
    /// `seed` must be secret in production and differ between instances.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0, spare: None }
    }

    /// 128 bits. RFC 3261 §19.3 asks for 32 bits in a tag.
    pub(crate) fn token(&mut self) -> Token {
        if let Some(token) = self.spare.take() {
            return token;
        }
        self.drawn = self.drawn.wrapping_add(1);
        let digest = Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize();
        let [token, spare] = halves(&digest.into());
        self.spare = Some(spare);
        token
    }
}

/// A short name for any text: 128 bits of its SHA-256. For stanza ids, which need no secret.
pub(crate) fn digest(parts: &[&[u8]]) -> Token {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    halves(&hasher.finalize().into())[0]
}

fn halves(digest: &[u8; 32]) -> [Token; 2] {
    let half = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[at..at + 16]);
        Token(u128::from_be_bytes(bytes))
    };
    [half(0), half(16)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_with_its_seed_only() {
        let draw = |seed: u8| {
            let mut random = Random::new([seed; 32]);
            [random.token(), random.token(), random.token(), random.token()]
        };
        let first = draw(7);
        assert_eq!(first, draw(7));
        let mut all: Vec<Token> = first.into_iter().chain(draw(8)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn digest_keeps_parts_apart() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    }

    #[test]
    fn a_token_is_written_in_one_way() {
        let token = Random::new([7; 32]).token();
        let hex = token.hex();
        assert_eq!(&*hex, token.bytes().map(|byte| format!("{byte:02x}")).concat());
        assert_eq!(Token::read(hex.as_bytes()), Some(token));
        for other in
            [hex.to_uppercase(), format!("{}0", &*hex), hex[1..].to_owned(), format!("+{}", &hex[1..])]
        {
            assert_eq!(Token::read(other.as_bytes()).filter(|_| other != *hex), None, "{other}");
        }
    }
}
