//! Names that were translated before. Invariant: it holds at most as many as it has places, whoever names whom; what is not
//! there is translated anew, so nothing depends on what is.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// Places: a name has two beside each other, and of three names that share them the oldest goes.
const PLACES: usize = 65_536;

/// Longer names are not kept.
const NAME_BYTES_MAX: usize = 256;

/// What names translate to.
#[derive(Debug)]
pub(crate) struct Memo<V> {
    places: Vec<Option<(Box<str>, V)>>,
    hasher: DefaultHashBuilder,
}

impl<V> Default for Memo<V> {
    fn default() -> Self {
        Self { places: Vec::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<V> Memo<V> {
    /// What this name was last translated to, if that is still known.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        let place = self.place(name);
        let found = self.places.get(place..place + 2)?.iter().flatten().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value)
    }

    /// Remembers what a name translates to.
    pub(crate) fn put(&mut self, name: &str, value: V) {
        if name.len() > NAME_BYTES_MAX {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let place = self.place(name);
        if let Some([first, second]) = self.places.get_mut(place..place + 2) {
            *second = first.replace((name.into(), value));
        }
    }

    /// The first of the two places of a name.
    fn place(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % (PLACES / 2) * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_itself_however_many_there_are() {
        let mut memo = Memo::default();
        assert_eq!(memo.get("a"), None);
        for n in 0..3 * PLACES {
            memo.put(&n.to_string(), n);
            assert_eq!(memo.get(&n.to_string()), Some(&n));
        }
        let kept = (0..3 * PLACES).filter(|n| memo.get(&n.to_string()).is_some_and(|found| found == n));
        assert!((1..=PLACES).contains(&kept.count()));
        memo.put(&"x".repeat(NAME_BYTES_MAX + 1), 0);
        assert_eq!(memo.get(&"x".repeat(NAME_BYTES_MAX + 1)), None);
    }
}
