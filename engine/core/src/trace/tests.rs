use bytes::Bytes;

use super::*;
use crate::io::LinkId;
use crate::jid::{Domain, Jid};
use crate::run::Address;
use crate::stanza::{Origin, Payload};

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

fn stanza(from: &str, to: &str, id: &str) -> Stanza {
    let text = format!("<message id='{id}'><body>nobody's business</body></message>");
    let id_start = 13;
    Stanza {
        disk: Default::default(),
        kind: Kind::message(Some("chat")),
        from: Jid::parse(from).unwrap(),
        to: Jid::parse(to).unwrap(),
        bytes: Bytes::from(text),
        insert_at: 8,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: id_start..id_start + id.len() as u32,
        payload: Payload::None,
        origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
        arrived: start(),
        made: false,
        attempts: 0,
    }
}

fn trace(mode: TraceMode, only: &[&str]) -> Trace {
    let mut trace = Trace::default();
    trace.set(Arc::new(TraceRules {
        mode,
        only: only.iter().map(|who| (*who).into()).collect(),
        sampling: None,
    }));
    trace
}

fn all() -> TraceQuery {
    TraceQuery { limit: usize::MAX, ..TraceQuery::default() }
}

#[test]
fn what_is_remembered_is_what_was_asked_for() {
    let now = start();
    let one = stanza("eve@partner.example/phone", "anna@contoso.com", "m1");
    let seen = |mode, only: &[&str]| {
        let mut trace = trace(mode, only);
        trace.step(now, &one, Step::Arrived, Side::Partners);
        trace.failed(now, &one, Step::Bounced, &|| "why".to_owned());
        trace.find(&all()).into_iter().map(|traced| traced.step).collect::<Vec<_>>()
    };
    assert_eq!(seen(TraceMode::Off, &[]), []);
    assert_eq!(seen(TraceMode::Failures, &[]), [Step::Bounced]);
    assert_eq!(seen(TraceMode::All, &[]), [Step::Bounced, Step::Arrived]);
    assert_eq!(seen(TraceMode::All, &["eve@partner.example"]).len(), 2);
    assert_eq!(seen(TraceMode::All, &["contoso.com"]).len(), 2);
    for nobody in ["ve@partner.example", "ontoso.com", "toso.com", "eve@partner.example/phone", ""] {
        assert_eq!(seen(TraceMode::All, &[nobody]), [], "{nobody}");
    }
}

#[test]
fn a_trace_is_found_by_id_user_domain_and_time_and_holds_no_body() {
    let now = start();
    let after = |seconds| now + std::time::Duration::from_secs(seconds);
    let mut trace = trace(TraceMode::All, &[]);
    for (seconds, from, id) in
        [(0, "eve@partner.example", "a"), (1, "bob@other.example", "b"), (2, "eve@partner.example", "")]
    {
        trace.step(after(seconds), &stanza(from, "anna@contoso.com", id), Step::Arrived, Side::Partners);
    }
    let count = |query: TraceQuery| trace.find(&TraceQuery { limit: 9, ..query }).len();
    assert_eq!(count(TraceQuery::default()), 3);
    assert_eq!(count(TraceQuery { id: Some("a".to_owned()), ..TraceQuery::default() }), 1);
    let who = |who: &str| TraceQuery { who: Some(who.to_owned()), ..TraceQuery::default() };
    assert_eq!(count(who("eve@partner.example")), 2);
    assert_eq!(count(who("other.example")), 1);
    assert_eq!(count(who("her.example")), 0);
    assert_eq!(
        count(TraceQuery { since: Some(after(1)), until: Some(after(1)), ..TraceQuery::default() }),
        1
    );
    assert_eq!(count(TraceQuery { failures: true, ..TraceQuery::default() }), 0);
    assert_eq!(trace.find(&TraceQuery { limit: 1, ..TraceQuery::default() })[0].at, after(2), "the newest");
    assert!(!format!("{:?}", trace.find(&all())).contains("business"));
}

#[test]
fn the_newest_take_the_places_of_the_oldest_and_long_texts_are_cut() {
    let now = start();
    let mut trace = trace(TraceMode::All, &[]);
    let long = format!("{}@contoso.com", "x".repeat(500));
    let one = stanza("eve@partner.example", &long, &"i".repeat(200));
    for _ in 0..TRACE_ENTRIES + 10 {
        trace.step(now, &one, Step::Arrived, Side::Partners);
    }
    assert_eq!((trace.ring.len(), trace.ring.capacity()), (TRACE_ENTRIES, TRACE_ENTRIES));
    let oldest = trace.ring.iter().map(|entry| entry.number).min();
    assert_eq!(oldest, Some(10));
    let found = trace.find(&TraceQuery {
        who: Some(long.clone()),
        id: Some("i".repeat(200)),
        limit: 1,
        ..TraceQuery::default()
    });
    assert_eq!((found[0].to.as_str(), found[0].id.len()), (&long[..ADDRESS_BYTES], ID_BYTES));
    assert!(trace.find(&all()).len() <= crate::survey::SURVEY_MAX);
    trace.failed(now, &one, Step::Bounced, &|| "ü".repeat(5_000));
    let why = trace.find(&TraceQuery { failures: true, ..all() })[0].why.clone().unwrap();
    assert!(why.len() <= WHY_BYTES_MAX && why.chars().all(|c| c == 'ü'));
    trace.set(Arc::new(TraceRules::default()));
    assert_eq!((trace.ring.capacity(), trace.find(&all()).len()), (0, 0), "off gives the room back");
    trace.set(Arc::new(TraceRules { mode: TraceMode::All, ..TraceRules::default() }));
    trace.step(now, &one, Step::Arrived, Side::Partners);
    assert_eq!(trace.find(&all()).len(), 1);
}

#[test]
fn stanzas_of_a_run_are_remembered_one_by_one() {
    let now = start();
    let text = "<message from='eve@partner.example/x' to='anna@contoso.com' id='7'/>";
    let place = |part: &str| text.find(part).unwrap() as u32;
    let address = |whole: &str, bare: usize| {
        let start = place(whole);
        let at = start + whole.find('@').unwrap() as u32;
        Address { start, at, slash: start + bare as u32, end: start + whole.len() as u32 }
    };
    let head = Head {
        start: 0,
        end: text.len() as u32,
        insert_at: 8,
        id_start: place("7'"),
        id_end: place("7'") + 1,
        from: address("eve@partner.example/x", 19),
        to: address("anna@contoso.com", 16),
        kind: Kind::message(None),
        payload: Payload::None,
        has_lang: false,
    };
    let run = Run {
        order: 0,
        bytes: Bytes::from(text),
        heads: vec![head, head],
        gone: 0,
        from: Domain::parse("partner.example").unwrap(),
        to: Domain::parse("contoso.com").unwrap(),
        side: Side::Partners,
        link: LinkId::NONE,
        arrived: now,
        lang: None,
    };
    let seen = |only: &[&str]| {
        let mut trace = trace(TraceMode::All, only);
        trace.run(now, &run, run.left(), Step::Delivered, Side::Partners);
        trace.find(&all())
    };
    let found = seen(&[]);
    assert_eq!(found.len(), 2);
    let parts = (found[0].from.as_str(), found[0].to.as_str(), found[0].id.as_str(), found[0].step);
    assert_eq!(parts, ("eve@partner.example", "anna@contoso.com", "7", Step::Delivered));
    assert_eq!(seen(&["anna@contoso.com"]).len(), 2);
    assert_eq!(seen(&["partner.example"]).len(), 2);
    assert_eq!(seen(&["other@contoso.com"]), []);
    assert_eq!(seen(&["other.example"]), []);
}

fn sampled(one_in: u32, seed: u64) -> Trace {
    let mut trace = Trace::default();
    trace.set(Arc::new(TraceRules { sampling: Some(Sampling { one_in, seed }), ..TraceRules::default() }));
    trace
}

#[test]
fn one_stanza_in_so_many_is_sampled_at_every_step_and_on_every_shard() {
    let now = start();
    let ids = |trace: &Trace| {
        let mut ids = std::collections::BTreeMap::<String, usize>::new();
        let mut from = 0;
        loop {
            let page = trace.samples(from);
            let Some(last) = page.last() else { return ids };
            from = last.number + 1;
            page.into_iter().for_each(|traced| *ids.entry(traced.id).or_default() += 1);
        }
    };
    let (mut one, mut other, mut seeded) = (sampled(10, 7), sampled(10, 7), sampled(10, 8));
    for n in 0..5_000 {
        let stanza = stanza("eve@partner.example/x", "anna@contoso.com", &format!("m{n}"));
        one.step(now, &stanza, Step::Arrived, Side::Partners);
        one.step(now, &stanza, Step::HandedTo(1), Side::Partners);
        other.step(now, &stanza, Step::Given, Side::Partners);
        other.failed(now, &stanza, Step::Bounced, &|| "why".to_owned());
        seeded.step(now, &stanza, Step::Arrived, Side::Partners);
    }
    let (here, there, elsewhere) = (ids(&one), ids(&other), ids(&seeded));
    assert!((400..600).contains(&here.len()), "{} of 5000", here.len());
    assert_eq!(here, there, "the same stanzas");
    assert!(here.values().all(|steps| *steps == 2), "every step of each");
    assert_ne!(here.keys().collect::<Vec<_>>(), elsewhere.keys().collect::<Vec<_>>(), "the seed counts");
    assert_eq!(one.find(&all()), [], "the trace itself is off");
    let mut made = sampled(1, 0);
    let answer = Stanza { made: true, ..stanza("eve@partner.example", "anna@contoso.com", "m") };
    made.step(now, &answer, Step::Arrived, Side::Partners);
    assert_eq!(made.samples(0), [], "what the router makes is no traffic");
}

#[test]
fn samples_are_bounded_and_what_was_forgotten_shows() {
    let now = start();
    let mut trace = sampled(1, 0);
    let one = stanza("eve@partner.example", "anna@contoso.com", "m");
    for _ in 0..SAMPLES_MAX + 10 {
        trace.step(now, &one, Step::Arrived, Side::Partners);
    }
    let page = trace.samples(3);
    assert_eq!((page.len(), page[0].number), (crate::survey::SURVEY_MAX, 10), "three to nine are gone");
    assert_eq!(trace.samples(SAMPLES_MAX as u64 + 9).len(), 1);
    assert_eq!(trace.samples(SAMPLES_MAX as u64 + 10), []);
    assert_eq!(trace.samples(u64::MAX), []);
    trace.set(Arc::new(TraceRules::default()));
    assert_eq!((trace.samples(0), trace.samples.capacity()), (Vec::new(), 0), "off gives the room back");
    trace.set(Arc::new(TraceRules {
        sampling: Some(Sampling { one_in: 1, seed: 0 }),
        ..TraceRules::default()
    }));
    trace.step(now, &one, Step::Arrived, Side::Partners);
    assert_eq!(trace.samples(0)[0].number, SAMPLES_MAX as u64 + 10, "numbers go on");
}
