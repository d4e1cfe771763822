//! A run: streams are set up once, then the maximum is measured in spans, then times at fixed rates. Invariant: between two spans of
//! times, and at the end, everything that was sent has arrived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::args::Args;
use crate::ledger::Shared;
use crate::load::{Manner, Sender};
use crate::report::{Json, Reading, Spans, settle, take_times};
use crate::{Outcome, sys};

/// Bytes that may be on their way, where nothing else is said.
const WINDOW_BYTES: usize = 4 << 20;
/// Longest a span of times takes to send, whatever its rate.
const PACED_MESSAGES_MAX: f64 = 20e6;

/// A rate to measure times at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Messages a second.
    Fixed(f64),
    /// Percent of the maximum.
    Share(f64),
}

impl std::str::FromStr for Rate {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%') {
            Some(share) => share.parse().map(Self::Share),
            None => text.parse().map(Self::Fixed),
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Course {
    /// Bytes of a stanza.
    pub size: usize,
    /// How messages are written.
    pub manner: Manner,
    /// Spans of the maximum; 0: it is not measured.
    pub spans: usize,
    /// Length of each.
    pub seconds: f64,
    /// What goes before them.
    pub warmup: f64,
    /// Rates.
    pub rates: Vec<Rate>,
    /// Spans of each rate.
    pub rate_spans: usize,
    /// Length of each.
    pub rate_seconds: f64,
    /// The peer's processes.
    pub pids: Vec<u32>,
}

impl Course {
    /// Of the options `--size --window --batch --single --spans --seconds --warmup --rates --rate-spans --rate-seconds --pids`.
    ///
    /// # Errors
    /// When one of them is none.
    pub fn read(args: &mut Args) -> Outcome<Self> {
        let size = args.get("size")?.unwrap_or(250);
        let window = args.get("window")?.unwrap_or_else(|| (WINDOW_BYTES / size).clamp(64, 16_384) as u64);
        // Several streams each want their share of it, in smaller writes.
        let batch = args.get::<usize>("batch")?.unwrap_or(256).min((1 << 20) / size).max(1);
        let single = args.get("single")?.unwrap_or(false);
        Ok(Self {
            size,
            manner: Manner { window, batch, single },
            spans: args.get("spans")?.unwrap_or(5),
            seconds: args.get("seconds")?.unwrap_or(1.0),
            warmup: args.get("warmup")?.unwrap_or(0.5),
            rates: args.list("rates")?,
            rate_spans: args.get("rate-spans")?.unwrap_or(3),
            rate_seconds: args.get("rate-seconds")?.unwrap_or(2.0),
            pids: args.list("pids")?,
        })
    }

    /// Measures.
    ///
    /// # Errors
    /// When a message was lost, came twice, in the wrong order or changed, or a connection broke.
    pub fn run(&self, sender: &mut Sender, shared: &Arc<Shared>) -> Outcome<Json> {
        let mut json = Json::default().number("size", self.size as f64);
        let mut max = Spans::default();
        if self.spans > 0 {
            max = self.max(sender, shared)?;
            json = max.json(json);
        }
        let mut rates = Vec::new();
        for rate in &self.rates {
            let (rate, share) = match *rate {
                Rate::Fixed(rate) => (rate, 0.0),
                Rate::Share(share) => (max.rate() * share / 100.0, share),
            };
            if rate.is_finite() && rate > 0.0 && (share > 0.0 || self.spans == 0 || rate <= max.rate()) {
                rates.push(self.paced(sender, shared, rate)?.number("share", share));
            }
        }
        if let Ok(memory) = sys::memory(&self.pids) {
            json = json.number("rss_kib", memory.rss_kib as f64).number("pss_kib", memory.pss_kib as f64);
        }
        Ok(json.objects("rates", rates).number("sent", sender.sent as f64))
    }

    fn max(&self, sender: &mut Sender, shared: &Arc<Shared>) -> Outcome<Spans> {
        let enough = AtomicBool::new(false);
        let mut spans = Spans::default();
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| sender.flood(&enough));
            let result = (|| {
                nap(self.warmup, shared)?;
                let mut last = Reading::take(shared, &self.pids);
                for _ in 0..self.spans {
                    nap(self.seconds, shared)?;
                    let next = Reading::take(shared, &self.pids);
                    spans.add(&last, &next);
                    last = next;
                }
                Ok(())
            })();
            enough.store(true, Ordering::Release);
            let flood = flood.join().unwrap_or_else(|_| Err("the sender panicked".to_owned()));
            // What the receiver saw says more than that writing failed.
            result.and_then(|()| shared.check()).and(flood)
        })?;
        settle(shared, &shared.received, sender.sent)?;
        Ok(spans)
    }

    fn paced(&self, sender: &mut Sender, shared: &Arc<Shared>, rate: f64) -> Outcome<Json> {
        let mut spans = Spans::default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let total = (rate * self.rate_seconds).min(PACED_MESSAGES_MAX) as u64;
        for _ in 0..self.rate_spans {
            drop(take_times(shared));
            let from = Reading::take(shared, &self.pids);
            let paced = std::thread::scope(|scope| {
                let pace = scope.spawn(|| sender.pace(rate, total));
                pace.join().unwrap_or_else(|_| Err("the sender panicked".to_owned()))
            });
            shared.check().and(paced)?;
            settle(shared, &shared.received, sender.sent)?;
            shared.pace_start.store(0, Ordering::Release);
            spans.add(&from, &Reading::take(shared, &self.pids));
            spans.add_times(&take_times(shared));
        }
        Ok(spans.json(Json::default().number("rate", rate)))
    }
}

/// Sleeps, unless the run has failed.
fn nap(seconds: f64, shared: &Shared) -> Outcome<()> {
    let until = sys::now() + Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap_or(u64::MAX);
    while sys::now() < until {
        shared.check()?;
        sys::sleep_until(until.min(sys::now() + 50_000_000));
    }
    Ok(())
}
