//! A table that gives its entries their names. Invariant: a key is good for the entry it was given for and for no later one in the same
//! place; the order of places depends on nothing but what was put in and taken out, so that a simulation repeats itself.

/// Generations are below this, so that the top bit of a key's number is never set and may mark something else.
const GENERATIONS: u32 = 1 << 31;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    /// As a number that is never 0.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    /// The key of that number, be there such an entry or not.
    pub(crate) fn of_number(number: u64) -> Self {
        Self { place: number as u32, generation: (number >> 32) as u32 }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    /// Of what is there or will be next; never 0.
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts something in.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        if let Some(place) = self.free.pop()
            && let Some(found) = self.places.get_mut(place as usize)
        {
            found.value = Some(value);
            return Key { place, generation: found.generation };
        }
        // What is kept in a slab is bounded far below 2^32 by its owner.
        let place = self.places.len() as u32;
        self.places.push(Place { generation: 1, value: Some(value) });
        Key { place, generation: 1 }
    }

    /// What a key names.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.place as usize)?;
        place.value.as_ref().filter(|_| place.generation == key.generation)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.place as usize)?;
        place.value.as_mut().filter(|_| place.generation == key.generation)
    }

    /// Takes something out.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.place as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.checked_add(1).filter(|next| *next < GENERATIONS).unwrap_or(1);
        self.free.push(key.place);
        Some(value)
    }

    /// How much is in it.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// What is in so many places from this one on, and whether there are places behind them.
    pub(crate) fn page(&self, from: usize, places: usize) -> (impl Iterator<Item = &T>, bool) {
        let page = self.places.iter().skip(from).take(places).filter_map(|place| place.value.as_ref());
        (page, self.places.len() > from.saturating_add(places))
    }

    /// Everything, in the order of places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(at, place)| {
            let key = Key { place: at as u32, generation: place.generation };
            place.value.as_ref().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_entry_and_names_no_other() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!((slab.len(), slab.get(a), slab.get(b)), (2, Some(&"a"), Some(&"b")));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!((slab.remove(a), slab.get(a), slab.len()), (None, None, 1));
        let c = slab.insert("c");
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(slab.get(c), Some(&"c"));
        assert_eq!(slab.iter().map(|(_, value)| *value).collect::<Vec<_>>(), ["c", "b"]);
        let page = |from, places| {
            let (page, more) = slab.page(from, places);
            (page.copied().collect::<Vec<_>>(), more)
        };
        assert_eq!(
            (page(0, 1), page(1, 1), page(2, 9)),
            ((vec!["c"], true), (vec!["b"], false), (vec![], false))
        );
        assert_eq!(Key::of_number(c.number()), c);
        assert_ne!(Key::of_number(0), a);
        assert_eq!(slab.get(Key::of_number(u64::MAX)), None);
    }
}
