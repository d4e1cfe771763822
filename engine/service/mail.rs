//! What reaches a shard's thread from other threads. Invariant: one bounded queue a shard, first in first out per sender, so a
//! control message sent after a hand-off is read after it. Shards never wait on a full queue: they keep what did not fit, in
//! order, and stop reading sockets until it is gone. A shard that sleeps in the kernel is woken once per burst: whoever finds it asleep
//! rings, all others see that somebody has.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use turnout_core::io::{Door, Handoff, Input, LinkId, Unreachable};

use crate::places::Place;

/// Messages that may wait for one shard.
pub const MAIL_MAX: usize = 32_768;

/// What lets a connection be: its place at its listener and that of the address it comes from. Given back when dropped.
#[derive(Debug, Default)]
pub struct Admission {
    _of_all: Option<Place>,
    _of_address: Option<Place>,
}

impl Admission {
    /// One that counts for the address too.
    pub fn new(of_all: Place, of_address: Option<Place>) -> Self {
        Self { _of_all: Some(of_all), _of_address: of_address }
    }
}

/// A message to a shard's thread.
#[derive(Debug)]
pub enum Mail {
    /// From another shard.
    Handoff(Handoff),
    /// From the control plane.
    Control(Input),
    /// A connection was accepted for this shard; it counts against its limits as long as its admission lives.
    Accepted(TcpStream, Door, Arc<str>, Admission),
    /// A wished connection is there.
    Connected(LinkId, TcpStream, bool, Arc<str>),
    /// A wished connection will not be.
    Failed(LinkId, Unreachable, Arc<str>),
    /// Leave the loop now.
    Stop,
}

/// What wakes a shard whose driver sleeps in a ring and not on its queue.
#[derive(Debug)]
pub struct Alarm {
    /// An event file the ring reads: for threads without a ring.
    pub event: File,
    /// The ring's descriptor, valid as long as its shard runs: for other rings.
    pub ring: RawFd,
}

/// One shard's sleep. A driver that sleeps on the queue itself never says that it sleeps, and nobody rings for it.
#[derive(Debug, Default)]
struct Bell {
    asleep: AtomicBool,
    alarm: OnceLock<Alarm>,
}

/// The sending end, one a shard, shared by all.
#[derive(Clone, Debug)]
pub struct Post {
    boxes: Arc<[Sender<Mail>]>,
    bells: Arc<[Bell]>,
    /// Links of each shard, for placing new connections.
    load: Arc<[AtomicU64]>,
}

/// Makes the queues of so many shards.
pub fn post_office(shards: u16) -> (Post, Vec<Receiver<Mail>>) {
    let (boxes, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| channel(MAIL_MAX)).unzip();
    let load = (0..shards).map(|_| AtomicU64::new(0)).collect();
    let bells = (0..shards).map(|_| Bell::default()).collect();
    (Post { boxes: boxes.into(), bells, load }, receivers)
}

impl Post {
    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.boxes.len()).unwrap_or(u16::MAX)
    }

    /// Sends without waiting; the message comes back when the queue is full.
    ///
    /// # Errors
    /// The queue is full. A shard that is gone swallows what is sent to it: the process is ending.
    #[expect(clippy::result_large_err, reason = "the message must go back to the caller whole")]
    pub fn try_send(&self, shard: u16, mail: Mail) -> Result<(), Mail> {
        self.put(shard, mail)?;
        self.ring(shard);
        Ok(())
    }

    /// As [`Post::try_send`], and leaves the waking to the caller, who has more to send.
    #[expect(clippy::result_large_err, reason = "the message must go back to the caller whole")]
    fn put(&self, shard: u16, mail: Mail) -> Result<(), Mail> {
        match self.boxes.get(usize::from(shard)).map(|sender| sender.try_send(mail)) {
            Some(Err(TrySendError::Full(mail))) => Err(mail),
            Some(Ok(()) | Err(TrySendError::Closed(_))) | None => Ok(()),
        }
    }

    /// Sends, waiting for room. For the control plane only.
    pub async fn send(&self, shard: u16, mail: Mail) {
        if let Some(sender) = self.boxes.get(usize::from(shard)) {
            // A closed queue means the process is ending.
            drop(sender.send(mail).await);
            self.ring(shard);
        }
    }

    /// A driver that sleeps in a ring says how it is woken. Once; a second alarm is not heard.
    pub fn install(&self, shard: u16, alarm: Alarm) {
        if let Some(bell) = self.bells.get(usize::from(shard)) {
            drop(bell.alarm.set(alarm));
        }
    }

    /// The shard is about to sleep in its ring. It looks into its queue once more after this: what is sent later rings.
    pub fn asleep(&self, shard: u16) {
        if let Some(bell) = self.bells.get(usize::from(shard)) {
            bell.asleep.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// The shard does not sleep any more.
    pub fn awake(&self, shard: u16) {
        if let Some(bell) = self.bells.get(usize::from(shard)) {
            bell.asleep.store(false, Ordering::Relaxed);
        }
    }

    /// Wakes a shard that sleeps in its ring, from a thread without one.
    pub fn ring(&self, shard: u16) {
        if self.must_wake(shard) {
            self.sound(shard);
        }
    }

    /// Wakes a shard that sleeps in its ring by its event file, asleep or not.
    pub fn sound(&self, shard: u16) {
        if let Some(alarm) = self.alarm(shard) {
            // It fails only when the count is full: then the shard has been rung for already.
            drop((&alarm.event).write(&1_u64.to_ne_bytes()));
        }
    }

    /// Whether the shard sleeps and the caller is the first to notice: then he must wake it.
    pub fn must_wake(&self, shard: u16) -> bool {
        fence(Ordering::SeqCst);
        let bell = self.bells.get(usize::from(shard));
        bell.is_some_and(|bell| {
            bell.asleep.load(Ordering::Relaxed) && bell.asleep.swap(false, Ordering::AcqRel)
        })
    }

    /// How a shard is woken, if it sleeps in a ring.
    pub fn alarm(&self, shard: u16) -> Option<&Alarm> {
        self.bells.get(usize::from(shard))?.alarm.get()
    }

    /// The shard with the fewest links; counts the new one at once, so that a burst spreads.
    pub fn place(&self) -> u16 {
        let least = self.load.iter().enumerate().min_by_key(|(_, load)| load.load(Ordering::Relaxed));
        let index = least.map_or(0, |(index, _)| index);
        if let Some(load) = self.load.get(index) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        u16::try_from(index).unwrap_or(0)
    }

    /// A shard says how many links it has.
    pub fn set_load(&self, shard: u16, links: u64) {
        if let Some(load) = self.load.get(usize::from(shard)) {
            load.store(links, Ordering::Relaxed);
        }
    }
}

/// Hand-offs that did not fit yet, in order per shard.
#[derive(Debug, Default)]
pub struct Overflow {
    waiting: Vec<VecDeque<Handoff>>,
    count: usize,
    /// Shards that were sent to and not yet rung for.
    written: Vec<bool>,
}

impl Overflow {
    /// Sends, or keeps what does not fit behind what already waits.
    pub fn send(&mut self, post: &Post, shard: u16, handoff: Handoff) {
        let index = usize::from(shard);
        if self.waiting.len() <= index {
            self.waiting.resize_with(index + 1, VecDeque::new);
            self.written.resize(index + 1, false);
        }
        if self.waiting[index].is_empty() {
            match post.put(shard, Mail::Handoff(handoff)) {
                Ok(()) => {
                    self.written[index] = true;
                    return;
                }
                Err(Mail::Handoff(handoff)) => self.waiting[index].push_back(handoff),
                Err(_) => return,
            }
        } else {
            self.waiting[index].push_back(handoff);
        }
        self.count += 1;
    }

    /// Sends what fits now.
    pub fn flush(&mut self, post: &Post) {
        if self.count == 0 {
            return;
        }
        for ((shard, waiting), written) in (0_u16..).zip(&mut self.waiting).zip(&mut self.written) {
            while let Some(handoff) = waiting.pop_front() {
                match post.put(shard, Mail::Handoff(handoff)) {
                    Ok(()) => {
                        self.count -= 1;
                        *written = true;
                    }
                    Err(Mail::Handoff(handoff)) => {
                        waiting.push_front(handoff);
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }

    /// Calls `wake` for each shard that something was sent to since the last time, if it sleeps in a ring.
    pub fn wake(&mut self, post: &Post, mut wake: impl FnMut(u16)) {
        for (shard, written) in (0_u16..).zip(&mut self.written) {
            if std::mem::take(written) && post.must_wake(shard) {
                wake(shard);
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
