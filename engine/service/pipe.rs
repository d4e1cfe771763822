//! A shard's way to a thread that keeps things on disk. Invariant: a shard never waits for the disk; what the queue has no room for is kept here, in
//! front of all that its owner gives later, so nothing overtakes; only at its end, when it has left its loop, a shard waits for a while.

use std::sync::mpsc::{SyncSender, TrySendError};

/// Tries at the end, and the pause between two.
const LAST_TRIES: u32 = 400;
const LAST_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// The way of deliveries.
#[derive(Debug)]
pub struct Pipe<D> {
    queue: Option<SyncSender<D>>,
    /// What the queue had no room for.
    ready: Option<D>,
}

impl<D> Pipe<D> {
    /// Into this queue; without one there is nobody to give anything to.
    pub fn new(queue: Option<SyncSender<D>>) -> Self {
        Self { queue, ready: None }
    }

    /// Whether there is anybody.
    pub fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Gives what had no room, then what `next` has, as far as there is room.
    pub fn give(&mut self, mut next: impl FnMut() -> Option<D>) {
        let Some(queue) = &self.queue else { return };
        while let Some(delivery) = self.ready.take().or_else(&mut next) {
            match queue.try_send(delivery) {
                Ok(()) => (),
                // Whoever is gone confirms nothing; the process is ending.
                Err(TrySendError::Full(delivery) | TrySendError::Disconnected(delivery)) => {
                    self.ready = Some(delivery);
                    return;
                }
            }
        }
    }

    /// What had no room.
    pub fn ready(&self) -> Option<&D> {
        self.ready.as_ref()
    }
}

/// The last words of a shard that has left its loop: tries until `is_done`, for two seconds. False if it was in vain.
pub fn at_the_end(mut is_done: impl FnMut() -> bool) -> bool {
    for _ in 0..LAST_TRIES {
        if is_done() {
            return true;
        }
        std::thread::sleep(LAST_PAUSE);
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn what_had_no_room_goes_before_what_comes_later() {
        let (queue, taken) = sync_channel(1);
        let mut pipe = Pipe::new(Some(queue));
        let mut numbers = 0..5;
        let mut got = Vec::new();
        while got.len() < 5 {
            pipe.give(|| numbers.next());
            got.push(taken.recv().unwrap());
        }
        assert!(pipe.ready().is_none());
        assert_eq!(got, [0, 1, 2, 3, 4]);
        assert!(!Pipe::<u8>::new(None).is_open());
    }
}
