//! Which pairs of domains one inbound stream may carry stanzas for (XEP-0220 §2.2.1, XD-05). Invariant: a pair carries stanzas
//! only if it was proven itself, on this stream and since it was opened last; a proof of one pair says nothing of another.

use turnout_core::jid::Domain;
pub(crate) use turnout_core::limits::STREAM_PAIRS_MAX as PAIRS_MAX;

#[derive(Debug)]
struct Pair {
    ours: Domain,
    theirs: Domain,
    proven: bool,
}

/// What is known of a pair that a peer wants to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not known and is now being proven.
    New,
    /// It is being proven already.
    Pending,
    /// It is proven.
    Proven,
    /// There are too many.
    Full,
}

/// The pairs of one stream.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    list: Vec<Pair>,
    /// Where the last stanza's pair was: nearly always where the next one's is.
    last: usize,
}

impl Pairs {
    /// Whether stanzas may flow between two domains, both prepared.
    pub(crate) fn is_proven(&mut self, ours: &str, theirs: &str) -> bool {
        let fits = |pair: &Pair| pair.proven && *pair.theirs == *theirs && *pair.ours == *ours;
        if self.list.get(self.last).is_some_and(fits) {
            return true;
        }
        match self.list.iter().position(fits) {
            Some(at) => {
                self.last = at;
                true
            }
            None => false,
        }
    }

    /// The proven pair of two domains as they are written.
    pub(crate) fn proven_pair(&mut self, ours: &[u8], theirs: &[u8]) -> Option<(&Domain, &Domain)> {
        let fits =
            |pair: &Pair| pair.proven && pair.theirs.as_bytes() == theirs && pair.ours.as_bytes() == ours;
        if !self.list.get(self.last).is_some_and(fits) {
            self.last = self.list.iter().position(fits)?;
        }
        self.list.get(self.last).map(|pair| (&pair.ours, &pair.theirs))
    }

    /// Whether any pair is proven.
    pub(crate) fn any_proven(&self) -> bool {
        self.list.iter().any(|pair| pair.proven)
    }

    /// The peer's domains of the proven pairs.
    pub(crate) fn proven(&self) -> impl Iterator<Item = &Domain> {
        self.list.iter().filter(|pair| pair.proven).map(|pair| &pair.theirs)
    }

    /// Notes that a proof has been offered.
    pub(crate) fn offered(&mut self, ours: &Domain, theirs: &Domain) -> Standing {
        match self.find(ours, theirs) {
            Some(pair) if pair.proven => Standing::Proven,
            Some(_) => Standing::Pending,
            None if self.list.len() >= PAIRS_MAX => Standing::Full,
            None => {
                self.list.push(Pair { ours: ours.clone(), theirs: theirs.clone(), proven: false });
                Standing::New
            }
        }
    }

    /// Ends a pending proof. False where none was pending: then nothing changes.
    pub(crate) fn settle(&mut self, ours: &Domain, theirs: &Domain, valid: bool) -> bool {
        let Some(at) =
            self.list.iter().position(|pair| !pair.proven && pair.ours == *ours && pair.theirs == *theirs)
        else {
            return false;
        };
        if valid {
            if let Some(pair) = self.list.get_mut(at) {
                pair.proven = true;
            }
        } else {
            self.list.remove(at);
        }
        true
    }

    /// A pair that was proven by other means than dialback. All others are forgotten: the stream begins anew.
    pub(crate) fn only(&mut self, ours: Domain, theirs: Domain) {
        self.clear();
        self.list.push(Pair { ours, theirs, proven: true });
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.last = 0;
    }

    /// Whether every domain known here may still be spoken for.
    pub(crate) fn all(&self, mut may: impl FnMut(&Domain, &Domain) -> bool) -> bool {
        self.list.iter().all(|pair| may(&pair.ours, &pair.theirs))
    }

    fn find(&self, ours: &Domain, theirs: &Domain) -> Option<&Pair> {
        self.list.iter().find(|pair| pair.ours == *ours && pair.theirs == *theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn a_proof_is_for_its_pair() {
        let (x, y, a, b) = (domain("x.test"), domain("y.test"), domain("a.test"), domain("b.test"));
        let mut pairs = Pairs::default();
        assert!(!pairs.settle(&x, &a, true), "nothing was asked");
        assert_eq!(pairs.offered(&x, &a), Standing::New);
        assert!(!pairs.is_proven(&x, &a));
        assert!(pairs.settle(&x, &a, true));
        assert!(pairs.is_proven(&x, &a) && pairs.is_proven(&x, &a));
        assert!(!pairs.is_proven(&x, &b) && !pairs.is_proven(&y, &a) && !pairs.is_proven(&a, &x));
        assert!(!pairs.settle(&x, &a, false), "late answers change nothing");
        assert!(pairs.is_proven(&x, &a));
        assert_eq!(pairs.offered(&y, &a), Standing::New);
        assert!(pairs.settle(&y, &a, false));
        assert!(!pairs.is_proven(&y, &a));
    }

    #[test]
    fn there_is_an_end_to_them() {
        let mut pairs = Pairs::default();
        for n in 0..PAIRS_MAX {
            assert_eq!(pairs.offered(&domain("x.test"), &domain(&format!("a{n}.test"))), Standing::New);
        }
        assert_eq!(pairs.offered(&domain("x.test"), &domain("more.test")), Standing::Full);
    }
}
