//! Spans of stanzas at a collector: a listener that knows HTTP only, and the types that the OpenTelemetry project generates from its own
//! schema, which share nothing with what the router writes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::estate::{Ground, Plan};
use crate::peers::inbox::Inbox;
use crate::peers::stream::chat;
use crate::process::Process;

const WORDS: &str = "sesquipedalian-4419";

/// A collector that refuses so many requests for now, and keeps the others.
struct Collector {
    address: SocketAddr,
    requests: Inbox<String>,
}

impl Collector {
    fn start(busy: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Inbox::default());
        let kept = requests.clone();
        std::thread::spawn(move || {
            for (number, socket) in listener.incoming().map_while(Result::ok).enumerate() {
                let body = read(&socket);
                let status = if number < busy { "503 Service Unavailable" } else { "200 OK" };
                if number >= busy {
                    kept.push(body);
                }
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
                );
                (&socket).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { address, requests }
    }

    /// Spans by the recipient's address as it is told, once there are so many.
    fn spans(&self, count: usize) -> BTreeMap<String, Span> {
        let mut spans = BTreeMap::new();
        crate::estate::wait("spans", || {
            spans = self
                .requests
                .all()
                .iter()
                .flat_map(|body| decoded(body))
                .map(|span| (told(&span.attributes, "turnout.to"), span))
                .collect();
            if spans.len() >= count { Ok(()) } else { Err(format!("{spans:#?}")) }
        });
        spans
    }
}

/// The body of one request.
fn read(socket: &TcpStream) -> String {
    let mut reader = BufReader::new(socket);
    let mut length = 0;
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{head}");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn decoded(body: &str) -> Vec<Span> {
    let request: ExportTraceServiceRequest = serde_json::from_str(body).unwrap();
    let [resource] = request.resource_spans.try_into().unwrap();
    assert_eq!(told(&resource.resource.unwrap().attributes, "service.name"), "turnout");
    let [scope] = resource.scope_spans.try_into().unwrap();
    assert_eq!(scope.scope.unwrap().name, "turnout");
    scope.spans
}

fn told(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        None => "-".to_owned(),
        other => panic!("{key}: {other:?}"),
    }
}

/// What the collector is told while messages go to each track and to nobody.
fn spans(engine: &str) -> (BTreeMap<String, Span>, Collector) {
    let collector = Collector::start(1);
    let more = format!("[otlp]\ncollector = \"http://{}\"\none_in = 1\n", collector.address);
    let plan = Plan { more, drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let path = ground.configure(&plan);
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("[engine]\n", &format!("[engine]\n{engine}\n"));
    std::fs::write(&path, &text).unwrap();
    let mut process = Process::start(&path);
    let mut wire = process.partner_stream(&ground);
    for (id, user) in [("m1", "anna@contoso.com"), ("m2", "carla@contoso.com"), ("m3", "nobody@contoso.com")]
    {
        wire.send(chat("bob@partner.example/phone", user, id, WORDS));
    }
    let found = collector.spans(3);
    process.says("spans cannot be sent: it answers 503");
    process.says("the collector takes spans again");
    // Without a collector in the configuration nothing is sampled any more.
    std::fs::write(&path, text.split("[otlp]").next().unwrap()).unwrap();
    process.signal("-HUP");
    process.says("reloaded");
    std::thread::sleep(std::time::Duration::from_millis(700));
    wire.send(chat("bob@partner.example/phone", "bert@contoso.com", "m4", WORDS));
    ground.gateway.stanzas.at_least(2);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    process.signal("-TERM");
    process.wait();
    (found, collector)
}

#[test]
fn a_collector_is_told_what_became_of_each_stanza_and_never_what_was_said() {
    let (spans, collector) = spans("");
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for body in collector.requests.all() {
        assert!(!body.contains(WORDS) && !body.contains("/phone") && !body.contains("bert"), "{body}");
    }
    let rows = [
        ("anna@contoso.com", "m1", "legacy", "delivered", StatusCode::Ok),
        ("carla@contoso.com", "m2", "sfb2019", "delivered", StatusCode::Ok),
        ("nobody@contoso.com", "m3", "-", "bounced", StatusCode::Error),
    ];
    for (user, id, side, outcome, status) in rows {
        let span = &spans[user];
        let of = |key| told(&span.attributes, key);
        let told =
            (of("turnout.from"), of("turnout.stanza.id"), of("turnout.side.in"), of("turnout.side.out"));
        assert_eq!(
            told,
            ("bob@partner.example".into(), id.into(), "partners".into(), side.into()),
            "{span:#?}"
        );
        assert_eq!((of("turnout.outcome").as_str(), span.name.as_str()), (outcome, "message"));
        assert_eq!(span.status.as_ref().unwrap().code(), status);
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0));
        assert!(span.trace_id.iter().any(|byte| *byte != 0));
        let steps: Vec<&str> = span.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!((steps.first(), steps.last()), (Some(&"arrived"), Some(&outcome)), "{steps:?}");
        let times: Vec<u64> = span.events.iter().map(|event| event.time_unix_nano).collect();
        assert!(times.is_sorted());
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (times[0], times[times.len() - 1]));
        let now = turnout::clock::unix_seconds();
        assert!((now - 120..=now).contains(&(times[0] / 1_000_000_000)), "{} at {now}", times[0]);
    }
    let last = spans["nobody@contoso.com"].events.last().unwrap();
    assert!(told(&last.attributes, "turnout.why").contains("service-unavailable"), "{last:?}");
    let ids: std::collections::BTreeSet<_> = spans.values().map(|span| span.trace_id.clone()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_collector_knows_no_users_where_the_log_knows_none() {
    let (spans, collector) = spans("log_users = \"redacted\"");
    assert_eq!(spans.len(), 3);
    for body in collector.requests.all() {
        for user in ["bob", "anna", "carla", "nobody"] {
            assert!(!body.contains(user), "{user} in {body}");
        }
    }
    assert!(spans.keys().all(|user| user.starts_with('~') && user.ends_with("@contoso.com")), "{spans:#?}");
}
