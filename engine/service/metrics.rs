//! What Prometheus sees. Invariant: nothing is recorded where stanzas flow; shards count in plain integers, and a scrape reads the
//! last copy of them. A scrape builds its registry anew, so a series whose home or node is gone from the configuration is gone
//! too, nothing accumulates between scrapes and no upkeep is owed. Labels hold words of the program and of the configuration
//! only, never anything a peer can choose.

use std::fmt::Write;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use turnout_core::tally::{Flow, Histogram, LATENCY_BOUNDS_US};

use crate::look::{Look, Totals};
use crate::spool::meter::SpoolLook;
use crate::store::meter::StoreLook;

mod table;
#[cfg(test)]
mod tests;

pub use table::METRICS;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

static METADATA: Metadata<'static> = Metadata::new("turnout", Level::INFO, None);

/// How the values of a metric go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
    /// Observations in fixed buckets, in seconds.
    Histogram,
}

/// One metric: a row of [`METRICS`].
#[derive(Clone, Copy)]
pub struct Metric {
    /// The name, unit last.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, for people.
    pub help: &'static str,
    read: fn(&Reading<'_>, &mut Sink<'_>),
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.kind, self.labels)
    }
}

/// What a row of the table reads from.
struct Reading<'a> {
    look: &'a Look,
    totals: Totals,
}

/// What the rows of the table have in common.
impl Reading<'_> {
    fn flows(&self) -> [(&'static str, &Flow); 2] {
        [("passed", &self.totals.passed), ("made", &self.totals.made)]
    }

    fn store(&self, out: &mut Sink<'_>, count: impl Fn(&StoreLook) -> u64) {
        if let Some(store) = &self.look.store {
            out.put(&[], count(store));
        }
    }

    fn spool(&self, out: &mut Sink<'_>, count: impl Fn(&SpoolLook) -> u64) {
        if let Some(spool) = &self.look.spool {
            out.put(&[], count(spool));
        }
    }

    fn shards(&self, mut visit: impl FnMut(&str, &crate::look::ShardLook)) {
        for (index, shard) in self.look.shards.iter().enumerate() {
            visit(&index.to_string(), shard);
        }
    }
}

/// Where a row of the table puts its values.
struct Sink<'a> {
    metric: &'static Metric,
    recorder: &'a PrometheusRecorder,
    histograms: &'a mut String,
}

/// The text for one scrape.
pub fn render(look: &Look) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let reading = Reading { look, totals: look.totals() };
    let mut histograms = String::new();
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
            Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
            Kind::Histogram => describe_histogram(metric, &mut histograms),
        }
        (metric.read)(&reading, &mut Sink { metric, recorder: &recorder, histograms: &mut histograms });
    }
    let mut text = recorder.handle().render();
    text.push_str(&histograms);
    text
}

impl Sink<'_> {
    /// The value of the series with these label values, in the order of the metric's label names.
    fn put(&mut self, labels: &[&str], value: u64) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{:?}", self.metric);
        let pairs = self.metric.labels.iter().zip(labels);
        let labels: Vec<Label> = pairs.map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        let key = Key::from_parts(self.metric.name, labels);
        match self.metric.kind {
            Kind::Counter => self.recorder.register_counter(&key, &METADATA).absolute(value),
            // Gauges are floating point; counts beyond 2^53 do not occur.
            Kind::Gauge => self.recorder.register_gauge(&key, &METADATA).set(value as f64),
            Kind::Histogram => debug_assert!(false, "{:?} is put by its buckets", self.metric),
        }
    }

    /// A classic histogram: the exporter would want every single observation, and the shards keep buckets.
    fn put_histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "{:?}", self.metric);
        let name = self.metric.name;
        let mut pairs = String::new();
        for (label, value) in self.metric.labels.iter().zip(labels) {
            pairs.push_str(label);
            pairs.push_str("=\"");
            escape(value, &mut pairs);
            pairs.push_str("\",");
        }
        let mut below = 0;
        let bounds = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound)).chain([String::from("+Inf")]);
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| text.write_fmt(args).unwrap_or_default();
        for (bound, count) in bounds.zip(histogram.buckets) {
            below += count;
            line(format_args!("{name}_bucket{{{pairs}le=\"{bound}\"}} {below}\n"));
        }
        let pairs = pairs.trim_end_matches(',');
        line(format_args!("{name}_sum{{{pairs}}} {}\n", seconds(histogram.sum_us)));
        line(format_args!("{name}_count{{{pairs}}} {below}\n"));
        self.histograms.push_str(&text);
    }
}

fn describe_histogram(metric: &Metric, text: &mut String) {
    let Metric { name, help, .. } = metric;
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} histogram\n"));
}

/// Microseconds as seconds, without a detour over floating point.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A label value as the text format wants it.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}
