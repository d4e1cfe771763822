//! Where snapshots that were replaced wait until nobody reads them any more.
//!
//! Freeing hundreds of megabytes takes milliseconds, which a shard does not have. So whoever publishes a snapshot keeps
//! a pointer to it here. Invariant: as long as anybody else holds one, it stays; so the last pointer is always one that
//! [`Graveyard::bury`] gave out, and who drops it chooses the thread.

use std::sync::Arc;

/// All snapshots that were published and may still be read. The newest is the one in use.
#[derive(Debug)]
pub struct Graveyard<T> {
    published: Vec<Arc<T>>,
}

impl<T> Graveyard<T> {
    /// With the snapshot that is in use at the start.
    pub fn new(first: Arc<T>) -> Self {
        Self { published: vec![first] }
    }

    /// Keeps a snapshot that is about to be published.
    pub fn keep(&mut self, newest: Arc<T>) {
        self.published.push(newest);
    }

    /// Whether a replaced snapshot still waits: [`Graveyard::bury`] should be called again after a while.
    pub fn is_waiting(&self) -> bool {
        self.published.len() > 1
    }

    /// Takes out the replaced snapshots that nobody else holds, to be dropped where that disturbs nobody. There are no
    /// weak pointers to a snapshot, so one that nobody else holds stays so.
    #[must_use = "dropping these here and now is what this is there to avoid"]
    pub fn bury(&mut self) -> Vec<Arc<T>> {
        let newest = self.published.len().saturating_sub(1);
        let mut at = 0..;
        let unread = |snapshot: &mut Arc<T>| at.next() < Some(newest) && Arc::get_mut(snapshot).is_some();
        self.published.extract_if(.., unread).collect()
    }
}

#[cfg(test)]
mod tests;
