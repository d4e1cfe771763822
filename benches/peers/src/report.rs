//! Figures as JSON, and the measuring of spans. Invariant: a span's figures are taken at its own two ends, not at those of the run.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::hist::Histogram;
use crate::ledger::Shared;
use crate::{Outcome, sys};

/// One object, written as it is filled.
#[derive(Debug)]
pub struct Json {
    text: String,
    medians: Vec<(String, f64)>,
}

impl Default for Json {
    fn default() -> Self {
        Self { text: "{".to_owned(), medians: Vec::new() }
    }
}

impl Json {
    fn key(&mut self, name: &str) {
        if self.text.len() > 1 {
            self.text.push_str(", ");
        }
        // Writing to a string cannot fail.
        _ = write!(self.text, "\"{name}\": ");
    }

    /// A number, with as many digits as mean something.
    #[must_use]
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.key(name);
        self.text.push_str(&figure(value));
        self
    }

    /// Numbers.
    #[must_use]
    pub fn numbers(mut self, name: &str, values: &[f64]) -> Self {
        self.key(name);
        self.medians.push((name.to_owned(), median(values)));
        let values: Vec<String> = values.iter().map(|value| figure(*value)).collect();
        _ = write!(self.text, "[{}]", values.join(", "));
        self
    }

    /// A text that needs no escapes.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.key(name);
        _ = write!(self.text, "\"{}\"", value.replace(['"', '\\'], "'"));
        self
    }

    /// Objects.
    #[must_use]
    pub fn objects(mut self, name: &str, values: Vec<Self>) -> Self {
        self.key(name);
        let values: Vec<String> = values.into_iter().map(Self::finish).collect();
        _ = write!(self.text, "[{}]", values.join(", "));
        self
    }

    /// The median of numbers that were put in.
    #[must_use]
    pub fn median(&self, name: &str) -> Option<f64> {
        self.medians.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The whole.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

fn figure(value: f64) -> String {
    if !value.is_finite() {
        "null".to_owned()
    } else if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.4}")
    }
}

/// The middle value.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: u64,
    received: u64,
    bytes: u64,
    cpu: f64,
    own: f64,
    machine: f64,
}

impl Reading {
    /// Now.
    #[must_use]
    pub fn take(shared: &Shared, pids: &[u32]) -> Self {
        Self {
            at: sys::now(),
            received: shared.received.load(Ordering::Acquire),
            bytes: shared.bytes.load(Ordering::Relaxed),
            cpu: sys::cpu_seconds(pids),
            own: sys::cpu_seconds(&[std::process::id()]),
            machine: sys::machine_seconds(),
        }
    }
}

/// What spans showed.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    per_second: Vec<f64>,
    megabytes: Vec<f64>,
    cpu_per_million: Vec<f64>,
    cores: Vec<f64>,
    load_cores: Vec<f64>,
    other_cores: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    max: Vec<f64>,
}

impl Spans {
    /// Adds the span between two readings.
    pub fn add(&mut self, from: &Reading, to: &Reading) {
        let seconds = (to.at - from.at) as f64 / 1e9;
        let messages = (to.received - from.received) as f64;
        self.per_second.push(messages / seconds);
        self.megabytes.push((to.bytes - from.bytes) as f64 / seconds / 1e6);
        self.cpu_per_million.push((to.cpu - from.cpu) * 1e6 / messages);
        self.cores.push((to.cpu - from.cpu) / seconds);
        self.load_cores.push((to.own - from.own) / seconds);
        let ours = to.cpu - from.cpu + to.own - from.own;
        self.other_cores.push(((to.machine - from.machine - ours) / seconds).max(0.0));
    }

    /// Adds a span's times.
    pub fn add_times(&mut self, times: &Histogram) {
        self.p50.push(times.percentile(0.5) as f64 / 1e3);
        self.p99.push(times.percentile(0.99) as f64 / 1e3);
        self.max.push(times.max() as f64 / 1e3);
    }

    /// The middle of the messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        median(&self.per_second)
    }

    /// The middle of the CPU seconds a million messages.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        median(&self.cpu_per_million)
    }

    /// All of it.
    #[must_use]
    pub fn json(&self, json: Json) -> Json {
        let json = json
            .numbers("per_second", &self.per_second)
            .numbers("mb_per_second", &self.megabytes)
            .numbers("cpu_s_per_million", &self.cpu_per_million)
            .numbers("cores", &self.cores)
            .numbers("load_cores", &self.load_cores)
            .numbers("other_cores", &self.other_cores);
        if self.p50.is_empty() {
            return json;
        }
        json.numbers("p50_us", &self.p50).numbers("p99_us", &self.p99).numbers("max_us", &self.max)
    }
}

/// Waits until so many have arrived, or been answered, as `counter` says.
///
/// # Errors
/// When the run failed, or nothing arrives for a long time: then something was lost.
pub fn settle(shared: &Shared, counter: &AtomicU64, wanted: u64) -> Outcome<()> {
    let (mut last, mut since) = (0, sys::now());
    loop {
        shared.check()?;
        let received = counter.load(Ordering::Acquire);
        if received >= wanted {
            return Ok(());
        }
        if received != last {
            (last, since) = (received, sys::now());
        }
        if sys::now() - since > 15_000_000_000 {
            return Err(format!("{} of {wanted} messages are lost", wanted - received));
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Takes the times gathered since it was called last.
#[must_use]
pub fn take_times(shared: &Shared) -> Histogram {
    std::mem::take(&mut shared.times.lock().unwrap_or_else(PoisonError::into_inner))
}
