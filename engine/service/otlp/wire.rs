//! Spans as OTLP has them in JSON (`ExportTraceServiceRequest` of opentelemetry-proto). Invariant: names of fields in camel case, ids in
//! hexadecimal, 64-bit numbers as strings, kinds and codes as numbers, as the specification of OTLP/HTTP demands. What may name users
//! goes through [`crate::redact`], as lines of the log do.

use std::fmt::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use turnout_core::trace::Step;
use turnout_core::world::World;

use super::assembly::{Moment, Span};

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;

/// `STATUS_CODE_UNSET`.
const UNSET: u8 = 0;

/// `STATUS_CODE_OK`.
const OK: u8 = 1;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The machine's two clocks at one moment: shards know the one, collectors the other.
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) time: SystemTime,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { now: crate::clock::now(), time: crate::clock::system_time() }
    }

    fn unix_nanos(&self, at: Instant) -> String {
        let then = self.time.checked_sub(self.now.saturating_duration_since(at)).unwrap_or(UNIX_EPOCH);
        then.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
    }
}

/// One span, with 24 random bytes for its ids.
pub(super) fn span(span: &Span, world: &World, clock: &Clock, random: &[u8; 32]) -> String {
    let (trace_id, rest) = random.split_at(16);
    let (first, last) = (span.steps.first().unwrap_or(&span.last), &span.last);
    let mut attributes = vec![
        text("turnout.stanza.id", &shown(&span.id)),
        text("turnout.from", &shown(&span.from)),
        text("turnout.to", &shown(&span.to)),
        text("turnout.outcome", if span.has_ended() { last.step.as_str() } else { "unknown" }),
        number("turnout.shard", last.shard),
    ];
    if first.step == Step::Arrived {
        attributes.push(text("turnout.side.in", world.side_name(first.side)));
    }
    // What is refused bears the side it came from.
    let way = |moment: &&Moment| matches!(moment.step, Step::Waits | Step::Given | Step::Delivered);
    if let Some(moment) = span.steps.iter().chain([last]).rev().find(way) {
        attributes.push(text("turnout.side.out", world.side_name(moment.side)));
    }
    let why = last.why.as_deref().map(shown).unwrap_or_default();
    let status = match last.step {
        Step::Delivered => json!({ "code": OK }),
        Step::Bounced => json!({ "code": ERROR, "message": why }),
        _ => json!({ "code": UNSET }),
    };
    let events: Vec<Value> = span.steps.iter().map(|moment| event(moment, world, clock)).collect();
    let value = json!({
        "traceId": hex(trace_id),
        "spanId": hex(rest.get(..8).unwrap_or_default()),
        "name": span.element,
        "kind": INTERNAL,
        "startTimeUnixNano": clock.unix_nanos(first.at),
        "endTimeUnixNano": clock.unix_nanos(last.at),
        "attributes": attributes,
        "events": events,
        "droppedEventsCount": span.left_out,
        "status": status,
    });
    value.to_string()
}

/// The request that carries these spans.
pub(super) fn request(spans: &[String]) -> String {
    let resource = json!({ "attributes": [text("service.name", "turnout"), text("service.version", env!("CARGO_PKG_VERSION"))] });
    let scope = json!({ "name": "turnout", "version": env!("CARGO_PKG_VERSION") });
    let spans = spans.join(",");
    format!(
        r#"{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{scope},"spans":[{spans}]}}]}}]}}"#
    )
}

fn event(moment: &Moment, world: &World, clock: &Clock) -> Value {
    let mut attributes =
        vec![number("turnout.shard", moment.shard), text("turnout.side", world.side_name(moment.side))];
    if let Some(why) = &moment.why {
        attributes.push(text("turnout.why", &shown(why)));
    }
    if let Step::HandedTo(other) = moment.step {
        attributes.push(number("turnout.to_shard", other));
    }
    json!({ "timeUnixNano": clock.unix_nanos(moment.at), "name": moment.step.as_str(), "attributes": attributes })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u16) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

/// As the log would show it.
fn shown(text: &str) -> String {
    crate::redact::shown(&crate::log::escape(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string takes everything.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
