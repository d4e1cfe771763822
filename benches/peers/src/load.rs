//! The sending side. Invariant: every pair's messages, and every stream's, are numbered without gaps over the whole run, whatever
//! spans it consists of.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ledger::Shared;
use crate::sheet::Sheet;
use crate::wire::Wire;
use crate::{Outcome, sys};

/// Windows that may be on their way when messages are sent at a rate.
const PACED_WINDOWS: u64 = 4;

/// How messages are written.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Messages that may be on their way.
    pub window: u64,
    /// Messages in one write.
    pub batch: usize,
    /// A write (and a TLS record) for each message.
    pub single: bool,
}

/// Where a stream is.
#[derive(Clone, Debug)]
struct Stream {
    wire: Wire,
    /// Messages written.
    written: u64,
}

/// The sender.
#[derive(Debug)]
pub struct Sender {
    streams: Vec<Stream>,
    sheet: Sheet,
    manner: Manner,
    shared: Arc<Shared>,
    /// The number of everybody's first message.
    first: u64,
    /// Messages written on all streams.
    pub sent: u64,
    turn: usize,
}

impl Sender {
    /// One that writes these messages on these streams in turn.
    #[must_use]
    pub fn new(wires: Vec<Wire>, sheet: Sheet, manner: Manner, first: u64, shared: Arc<Shared>) -> Self {
        let streams = wires.into_iter().map(|wire| Stream { wire, written: 0 }).collect();
        Self { streams, sheet, manner, shared, first, sent: 0, turn: 0 }
    }

    /// Writes the next messages of the stream whose turn it is, as many as fit to the end of the sheet; how many.
    fn write(&mut self, count: usize) -> io::Result<usize> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.streams.len();
        let stream = &mut self.streams[turn];
        let messages = self.sheet.len() as u64;
        let from = usize::try_from(stream.written % messages).unwrap_or(0);
        let to = (from + count).min(self.sheet.len());
        let sequence = self.first + stream.written / messages;
        if self.manner.single {
            for message in from..to {
                stream.wire.send(self.sheet.run(message..message + 1, turn, sequence))?;
            }
        } else {
            stream.wire.send(self.sheet.run(from..to, turn, sequence))?;
        }
        stream.written += (to - from) as u64;
        self.sent += (to - from) as u64;
        Ok(to - from)
    }

    /// Writes as fast as the window allows until told to stop.
    ///
    /// # Errors
    /// When a connection is broken.
    pub fn flood(&mut self, enough: &AtomicBool) -> Outcome<()> {
        *self.shared.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(std::thread::current());
        let ends = |shared: &Shared| enough.load(Ordering::Relaxed) || shared.stop.load(Ordering::Relaxed);
        let window = self.manner.window;
        while !ends(&self.shared) {
            let received = self.shared.received.load(Ordering::Acquire);
            let room = (received + window).saturating_sub(self.sent);
            if room >= (self.manner.batch as u64).min(window / 2) {
                let count = usize::try_from(room).unwrap_or(usize::MAX).min(self.manner.batch);
                self.write(count).map_err(|error| format!("writing: {error}"))?;
                continue;
            }
            // Woken when half of what is on its way has arrived: that is one wake-up for many batches.
            self.shared.wake_at.store(self.sent.saturating_sub(window / 2).max(1), Ordering::Release);
            if self.shared.received.load(Ordering::Acquire) < self.sent.saturating_sub(window / 2) {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Writes so many messages at a rate, with a bound on what is on its way, each when it is due, or as soon as the peer takes it.
    ///
    /// # Errors
    /// When a connection is broken.
    pub fn pace(&mut self, rate: f64, total: u64) -> Outcome<()> {
        sys::exact_sleep();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive")]
        let interval = (1e12 / rate) as u64;
        let shared = Arc::clone(&self.shared);
        let start = sys::now() + 2_000_000;
        let base = self.first * self.sheet.len() as u64 + self.streams[0].written;
        shared.pace_base.store(base, Ordering::Relaxed);
        shared.pace_interval.store(interval, Ordering::Relaxed);
        shared.pace_start.store(start, Ordering::Release);
        let mut done = 0;
        while done < total && !shared.stop.load(Ordering::Relaxed) {
            let now = sys::now();
            let due = start + done * interval / 1000;
            if now < due {
                sys::sleep_until(due);
                continue;
            }
            // A relay that cannot take more says so by not reading; a router with a spool does not, and must not be drowned in what
            // nobody could have sent over a real line. Lateness counts from when a message was due, whoever waited.
            if self.sent.saturating_sub(shared.received.load(Ordering::Acquire))
                > PACED_WINDOWS * self.manner.window
            {
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            let many = ((now - start) * 1000 / interval.max(1) + 1).min(total) - done;
            let count = usize::try_from(many).unwrap_or(1).clamp(1, self.manner.batch);
            done += self.write(count).map_err(|error| format!("writing: {error}"))? as u64;
        }
        Ok(())
    }
}
