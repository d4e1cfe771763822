//! What holds between a local user and a partner's user. Invariant: it changes by the rules of RFC 6121, appendix A, and by
//! nothing else, whichever home the local user lives on: that is why it outlives a move and a restart.

use std::fmt;
use std::sync::Arc;

/// A pair of users, bare JIDs as prepared text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The local user.
    pub local: Arc<str>,
    /// The partner's user.
    pub partner: Arc<str>,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.local, self.partner)
    }
}

/// Resources of a local user remembered as shown to one partner's user.
pub const SHOWN_MAX: usize = 16;

/// The state of a pair, from the local user's side (RFC 6121 §3 and appendix A: none, to, from, both, each with what is asked and
/// not answered).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// The local user may see the partner's user ("to").
    pub to: bool,
    /// The partner's user may see the local user ("from"): he is a watcher.
    pub from: bool,
    /// The local user has asked and has no answer ("pending out").
    pub asked: bool,
    /// The partner's user has asked and has no answer ("pending in").
    pub asking: bool,
    /// The partner's user has refused, or taken back what he had granted: he is not asked again until he asks himself.
    pub vetoed: bool,
    /// The local user has written to him first (requirement 11).
    pub introduced: bool,
    /// Resources of the local user that the partner's user was shown as available and not yet as gone; empty text stands for
    /// the bare address. At most [`SHOWN_MAX`].
    pub shown: Vec<Arc<str>>,
}

/// Longest encoded contact, in bytes.
pub const CONTACT_BYTES_MAX: usize = 1 + SHOWN_MAX * (2 + crate::limits::JID_PART_BYTES_MAX);

impl Contact {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The name RFC 6121 §2.1.2.5 has for the subscription: none, to, from, both.
    pub fn subscription(&self) -> &'static str {
        match (self.to, self.from) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    fn flags(&self) -> [bool; 6] {
        [self.to, self.from, self.asked, self.asking, self.vetoed, self.introduced]
    }

    /// As bytes for the store: one octet of flags, then each resource behind its length in two octets, big end first.
    pub fn encode(&self) -> Vec<u8> {
        let flags = self.flags().iter().enumerate().fold(0_u8, |all, (bit, on)| all | (u8::from(*on) << bit));
        let mut bytes = vec![flags];
        for resource in &self.shown {
            let Ok(len) = u16::try_from(resource.len()) else { continue };
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(resource.as_bytes());
        }
        bytes
    }

    /// From the bytes of [`Contact::encode`]; `None` if they are not such.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        let on = |bit: u8| flags & (1 << bit) != 0;
        if flags >= 1 << 6 {
            return None;
        }
        let mut shown = Vec::new();
        while let Some((len, tail)) = rest.split_first_chunk::<2>() {
            let (text, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
            shown.push(std::str::from_utf8(text).ok()?.into());
            rest = tail;
        }
        if !rest.is_empty() || shown.len() > SHOWN_MAX {
            return None;
        }
        Some(Self {
            to: on(0),
            from: on(1),
            asked: on(2),
            asking: on(3),
            vetoed: on(4),
            introduced: on(5),
            shown,
        })
    }
}

/// A pair and its state, as stored. An empty state means that the pair is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub pair: Pair,
    /// What holds.
    pub contact: Contact,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_alike_and_nothing_else_is() {
        let mut contact = Contact { from: true, introduced: true, ..Contact::default() };
        contact.shown = vec!["".into(), "d\u{e9}sk".into()];
        let bytes = contact.encode();
        assert_eq!(Contact::decode(&bytes), Some(contact));
        for cut in 1..bytes.len() {
            let decoded = Contact::decode(&bytes[..cut]);
            assert!(decoded.is_none_or(|decoded| decoded.encode() == bytes[..cut]), "cut at {cut}");
        }
        assert_eq!(Contact::decode(&[]), None);
        assert_eq!(Contact::decode(&[0x40]), None, "a flag of a later version");
        assert_eq!(Contact::decode(&[0, 0, 1, 0xff]), None, "no UTF-8");
        assert_eq!(Contact::default().encode(), [0]);
    }

    #[test]
    fn subscriptions_have_their_names() {
        let named = |to, from| Contact { to, from, ..Contact::default() }.subscription();
        assert_eq!(
            [named(false, false), named(true, false), named(false, true), named(true, true)],
            ["none", "to", "from", "both"]
        );
    }
}
