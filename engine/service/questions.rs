//! Questions put to one shard from the control plane, and who waits for the answers. Invariant: a question has one asker and at most
//! one answer; an asker who has gone leaves nothing behind, so the table holds no more than there are requests under way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use turnout_core::io::Input;

use crate::mail::{Mail, Post};

/// How long a shard may take to answer before it counts as stuck.
pub const ANSWER_SECONDS: u64 = 5;

/// The table. Shards look into it when an administrator has asked something, and never wait: it is held for one insertion or removal.
#[derive(Debug)]
pub struct Questions<T> {
    last: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<T>>>,
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self { last: AtomicU64::new(0), waiting: Mutex::default() }
    }
}

/// The place of one asker; empty again when he goes.
struct Place<'a, T> {
    number: u64,
    questions: &'a Questions<T>,
}

impl<T> Questions<T> {
    /// Puts a question to a shard; `make` is told its number.
    ///
    /// # Errors
    /// The shard has not answered within [`ANSWER_SECONDS`], or is gone.
    pub async fn put(&self, post: &Post, shard: u16, make: impl FnOnce(u64) -> Input) -> Result<T, String> {
        self.put_within(Duration::from_secs(ANSWER_SECONDS), post, shard, make).await
    }

    /// As [`Self::put`], with a patience of one's own.
    ///
    /// # Errors
    /// As there.
    pub async fn put_within(
        &self,
        patience: Duration,
        post: &Post,
        shard: u16,
        make: impl FnOnce(u64) -> Input,
    ) -> Result<T, String> {
        let (place, answer) = self.place();
        let exchange = async {
            post.send(shard, Mail::Control(make(place.number))).await;
            answer.await
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(_)) => Err(format!("shard {shard} is gone")),
            Err(_) => Err(format!("shard {shard} has not answered within {} seconds", patience.as_secs())),
        }
    }

    /// A shard answers.
    pub fn answer(&self, number: u64, told: T) {
        if let Some(asker) = self.waiting().remove(&number) {
            // He may have gone this moment; then nobody misses the answer.
            drop(asker.send(told));
        }
    }

    fn place(&self) -> (Place<'_, T>, oneshot::Receiver<T>) {
        let (asker, answer) = oneshot::channel();
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.waiting().insert(number, asker);
        (Place { number, questions: self }, answer)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.questions.waiting().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use turnout_core::io::Told;

    use super::*;
    use crate::mail::post_office;

    fn told(held: usize) -> Told {
        Told { held, ..Told::default() }
    }

    #[tokio::test]
    async fn each_asker_gets_his_own_answer_and_leaves_nothing() {
        let (post, mut boxes) = post_office(1);
        let questions = Questions::default();
        let ask = |patience| {
            let ask = |number| Input::Ask(number, "anna@contoso.com".into());
            questions.put_within(patience, &post, 0, ask)
        };
        let (long, short) = (Duration::from_secs(20), Duration::ZERO);
        let shard = async {
            let mut numbers = Vec::new();
            while numbers.len() < 2 {
                if let Some(Mail::Control(Input::Ask(number, _))) = boxes[0].recv().await {
                    numbers.push(number);
                }
            }
            // The later one first, and one that nobody asked for.
            questions.answer(numbers[1], told(2));
            questions.answer(99, told(99));
            questions.answer(numbers[0], told(1));
        };
        let (first, second, ()) = tokio::join!(ask(long), ask(long), shard);
        assert_eq!((first.unwrap().held, second.unwrap().held), (1, 2));
        assert_eq!(ask(short).await.unwrap_err(), "shard 0 has not answered within 0 seconds");
        assert!(tokio::time::timeout(short, ask(long)).await.is_err(), "an asker who goes");
        assert!(questions.waiting().is_empty());
    }
}
