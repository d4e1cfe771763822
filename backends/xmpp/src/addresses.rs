//! Addresses read lately, so that the stanzas of a conversation do not prepare the same two over and over. Invariant: an entry
//! is what preparing its text gives; forgetting any costs time and nothing else.

use hashbrown::HashMap;
use turnout_core::jid::{Jid, JidError};

/// Addresses remembered; all are forgotten when there are more.
const KNOWN_MAX: usize = 8192;

/// Longer texts are not worth remembering, and are what a flood would bring.
const TEXT_BYTES_MAX: usize = 256;

/// Prepared addresses by the text they were written as.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    known: HashMap<Box<str>, Jid>,
}

impl Addresses {
    /// Prepares an address.
    ///
    /// # Errors
    /// As [`Jid::parse`].
    pub(crate) fn read(&mut self, text: &str) -> Result<Jid, JidError> {
        if let Some(jid) = self.known.get(text) {
            return Ok(jid.clone());
        }
        let jid = Jid::parse(text)?;
        if text.len() <= TEXT_BYTES_MAX {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(text.into(), jid.clone());
        }
        Ok(jid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_preparing_gives_and_is_bounded() {
        let mut addresses = Addresses::default();
        for _ in 0..2 {
            assert_eq!(addresses.read("A@B.test/C").unwrap().as_str(), "a@b.test/C");
            assert!(addresses.read("a@").is_err());
        }
        for n in 0..KNOWN_MAX * 2 {
            assert_eq!(addresses.read(&format!("u{n}@b.test")).unwrap().local(), Some(&*format!("u{n}")));
        }
        assert!(addresses.known.len() <= KNOWN_MAX);
    }
}
