//! Places for connections. Invariant: no more are taken than there are; there may be more or fewer from one moment to the next, and who has one
//! keeps it: with fewer than are taken nobody gets one until enough were given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places that are counted together.
#[derive(Debug)]
pub struct Places {
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// One that is taken, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// So many.
    pub fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) }
    }

    /// Takes one, if there is one.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Ordering::Relaxed);
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// From now on there are so many.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_may_be_more_or_fewer() {
        let places = Arc::new(Places::new(2));
        let mut held = vec![places.take().unwrap(), places.take().unwrap()];
        assert!(places.take().is_none());
        places.set_most(3);
        held.push(places.take().unwrap());
        assert!(places.take().is_none());
        places.set_most(1);
        held.pop();
        held.pop();
        assert!(places.take().is_none(), "one is taken, and there is one");
        held.pop();
        assert_eq!(places.taken(), 0);
        assert!(places.take().is_some());
    }
}
