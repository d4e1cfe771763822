//! Server dialback (XEP-0220): keys (XEP-0185) and what is asked and answered. Invariant: an answer counts only for a question
//! that was put on that very stream with the same three names (from, to, id), and only once.

use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use turnout_core::io::LinkId;
use turnout_core::jid::Domain;
use turnout_core::refusal::Condition;

use crate::write::{self, Dialback, DialbackSays};

/// The key of one stream for one pair, as XEP-0185 §2 has it: HMAC-SHA256 under the hexadecimal text of the secret's hash.
/// Without state, so every shard and every instance with the same secret answers for every other (XD-11).
pub(crate) fn key(secret: &[u8], receiving: &Domain, originating: &Domain, stream_id: &str) -> String {
    let hashed = hex(&Sha256::digest(secret));
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(hashed.as_bytes()) else { return String::new() };
    mac.update(receiving.as_bytes());
    mac.update(b" ");
    mac.update(originating.as_bytes());
    mac.update(b" ");
    mac.update(stream_id.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Whether `given` is that key. White space around it does not count (the examples of XEP-0220 break lines there); the time
/// taken does not depend on where they differ.
pub(crate) fn is_key(
    given: &str,
    secret: &[u8],
    receiving: &Domain,
    originating: &Domain,
    stream_id: &str,
) -> bool {
    let right = key(secret, receiving, originating, stream_id);
    !right.is_empty() && bool::from(given.trim().as_bytes().ct_eq(right.as_bytes()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// A key somebody gave us on a stream, to be shown to the server it claims to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The stream it came on.
    pub(crate) inbound: LinkId,
    /// The id we gave that stream when it was opened last.
    pub(crate) stream_id: String,
    /// The domain of ours it wants to write to.
    pub(crate) ours: Domain,
    /// The domain it claims.
    pub(crate) theirs: Domain,
    /// The key.
    pub(crate) key: String,
}

/// What became of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The question, as it was put.
    pub(crate) ask: Ask,
    /// What the authoritative server said, or why it could not be heard.
    pub(crate) outcome: Outcome,
}

/// The outcome of a dialback (XEP-0220 §2.1.1, §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The key is genuine.
    Valid,
    /// It is not.
    Invalid,
    /// Nobody could tell.
    Error(Condition),
}

impl Outcome {
    /// As it is written.
    pub(crate) fn says(&self) -> DialbackSays<'static> {
        match self {
            Self::Valid => DialbackSays::Valid,
            Self::Invalid => DialbackSays::Invalid,
            Self::Error(condition) => DialbackSays::Error {
                condition: condition.as_str(),
                error_type: condition.usual_type().as_str(),
            },
        }
    }

    /// The outcome a peer wrote: the value of `type`; `None` for an element without one, which is a question. A value we do not
    /// know is no consent.
    pub(crate) fn read(value: Option<&str>) -> Option<Self> {
        Some(match value? {
            "valid" => Self::Valid,
            "invalid" => Self::Invalid,
            _ => Self::Error(Condition::RemoteServerTimeout),
        })
    }
}

/// One dialback element as bytes.
pub(crate) fn element(which: Dialback<'_>, from: &Domain, to: &Domain, says: DialbackSays<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    write::dialback(&mut out, which, from, to, says);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn the_published_vector() {
        let made =
            key(b"s3cr3tf0rd14lb4ck", &domain("xmpp.example.com"), &domain("example.org"), "D60000229F");
        assert_eq!(made, "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643");
    }

    #[test]
    fn a_key_fits_its_own_names_only() {
        let secret = b"0123456789abcdef";
        let made = key(secret, &domain("a.b"), &domain("c.d"), "id");
        let check = |given: &str, receiving: &str, originating: &str, id: &str, expected: bool| {
            assert_eq!(is_key(given, secret, &domain(receiving), &domain(originating), id), expected);
        };
        check(&made, "a.b", "c.d", "id", true);
        check(&format!("\n  {made}\t\n"), "a.b", "c.d", "id", true);
        check(&made, "c.d", "a.b", "id", false);
        check(&made, "a", "b.c.d", "id", false);
        check(&made, "a.b", "c.d", "id2", false);
        check(&made[..63], "a.b", "c.d", "id", false);
        check("", "a.b", "c.d", "id", false);
        assert!(!is_key(&made, b"fedcba9876543210", &domain("a.b"), &domain("c.d"), "id"));
    }

    #[test]
    fn no_other_names_make_the_same_key() {
        // B-21: the same letters split elsewhere, and ids that carry names, as ids are the peer's to choose.
        let names = ["a", "b", "a.b", "b.c", "a.b.c", "c", "b.a", "ab", "aa"];
        let ids = ["", "1", " 1", "b 1", "c 1", "a.b c 1", "1 ", "b.c 1"];
        let mut made = std::collections::BTreeMap::new();
        for at in 0..names.len() * names.len() * ids.len() {
            let (pair, id) = (at / ids.len(), ids[at % ids.len()]);
            let (receiving, originating) = (names[pair / names.len()], names[pair % names.len()]);
            let key = key(b"secret", &domain(receiving), &domain(originating), id);
            let before = made.insert(key, (receiving, originating, id));
            assert_eq!(before, None, "{receiving} {originating} {id:?}");
        }
        assert_eq!(made.len(), names.len() * names.len() * ids.len());
    }

    #[test]
    fn only_valid_is_consent() {
        assert_eq!(Outcome::read(None), None);
        assert_eq!(Outcome::read(Some("valid")), Some(Outcome::Valid));
        assert_eq!(Outcome::read(Some("invalid")), Some(Outcome::Invalid));
        for other in ["", "Valid", "valid ", "error", "yes"] {
            assert!(matches!(Outcome::read(Some(other)), Some(Outcome::Error(_))), "{other:?}");
        }
    }
}
