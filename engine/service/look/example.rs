//! A router as the tests of metrics and admin API see it. Invariant: its sums agree.

use std::sync::Arc;

use crate::directory::standing::{Classes, Standing};
use turnout_core::contact::{Contact, Pair, Record};
use turnout_core::contacts::{ContactCounts, Forget};
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{LinkId, Side, Told};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{Partner, PartnerDefaults, PartnerType, Policy, Unlisted};
use turnout_core::refusal::Condition;
use turnout_core::survey::{
    LinkFact, OpenFact, OpenPage, PeerFact, QueueFact, StreamFacts, Survey, Surveyed,
};
use turnout_core::tally::{DropRule, Flow, SideTally, Tally};
use turnout_core::trace::{Step, TraceMode, TraceQuery, TraceRules, Traced};
use turnout_core::world::World;

use super::{Look, ShardLook};
use crate::otlp::OtlpLook;
use crate::router::MovedToday;
use crate::spool::journal::Gauges;
use crate::spool::meter::SpoolLook;
use crate::store::meter::StoreLook;
use crate::tls::shown::Shown;

fn home(name: &str, backend: BackendKind, node: &str) -> Home {
    Home {
        name: name.to_owned(),
        backend,
        dialect: Dialect::default(),
        registrar_pools: vec![format!("{name}.contoso.com")],
        connect: vec![HostPort::parse(node, None).unwrap()],
    }
}

fn world() -> World {
    let homes = vec![
        home("legacy", BackendKind::Xmpp, "edge.contoso.com:5269"),
        home("sfb2019", BackendKind::Sip, "pool2019.contoso.com:5061"),
    ];
    let defaults = PartnerDefaults::default();
    let mut partner = Partner::with_defaults(Domain::parse("partner.example").unwrap(), &defaults);
    partner.kind = PartnerType::Federated;
    World {
        generation: 7,
        domains: vec![Domain::parse("contoso.com").unwrap()],
        policy: Policy::new(vec![partner], Unlisted::Refuse, defaults, Default::default()).unwrap(),
        homes: Homes::new(homes, &[]).unwrap(),
        sip: Default::default(),
        inside: Default::default(),
        dialback_secret: Arc::from([7; 32]),
        stanza_bytes_max: 65_536,
        enforce_introductions: true,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards: 2,
    }
}

fn directory() -> Directory {
    let mut users = SnapshotBuilder::new();
    let pool = users.pool_id("lost.contoso.com");
    let rows = [
        ("alice@contoso.com", User::at(Residence::Home(HomeId(0)))),
        ("bob@contoso.com", User { xmpp_enabled: false, ..User::at(Residence::Home(HomeId(1))) }),
        ("lost@contoso.com", User::at(Residence::UnknownPool(pool))),
    ];
    for (jid, user) in rows {
        users.add(Jid::parse(jid).unwrap().view(), user).unwrap();
    }
    Directory::new(Arc::new(users.finish()), Arc::new(Overlay::new(100)))
}

/// 20 stanzas in, 4 of them handed to the other shard, 5 held.
fn first() -> Tally {
    let mut dropped = [0; DropRule::ALL.len()];
    dropped[DropRule::PresenceUnanswered as usize] = 3;
    let mut refusals = [0; Condition::ALL.len()];
    refusals[Condition::ALL.iter().position(|c| *c == Condition::ServiceUnavailable).unwrap()] = 2;
    let mut legacy = SideTally { delivered: 6, links: 1, stalled: 3, ..SideTally::default() };
    (0..6).for_each(|_| legacy.latency.observe_us(80));
    Tally {
        passed: Flow {
            received: 20,
            delivered: 6,
            bounced: 2,
            dropped,
            handed_in: 0,
            handed_out: 4,
            ..Flow::default()
        },
        made: Flow { received: 2, delivered: 2, ..Flow::default() },
        sides: vec![
            SideTally { received: 20, links: 2, ..SideTally::default() },
            legacy,
            SideTally { watches: 5, subscriptions: 2, ..SideTally::default() },
        ],
        refusals,
        held: 5,
        spooled_bytes: 900,
        moving_users: 1,
        too_fast_partners: 1,
        too_fast_senders: 2,
        paused_links: 2,
        pauses: 9,
        contacts: ContactCounts { none: 1, to: 2, both: 4, asked: 1, vetoed: 1, ..ContactCounts::default() },
        presence_waiting: 1,
        wishes_waiting: 6,
        strays: 0,
        turns: 100,
    }
}

/// 10 stanzas in and 4 taken over, all delivered.
fn second() -> Tally {
    let mut legacy = SideTally { delivered: 6, ..SideTally::default() };
    (0..5).for_each(|_| legacy.latency.observe_us(80));
    legacy.latency.observe_us(40_000_000);
    Tally {
        passed: Flow { received: 10, delivered: 14, handed_in: 4, ..Flow::default() },
        sides: vec![
            SideTally { received: 10, links: 1, ..SideTally::default() },
            legacy,
            SideTally::default(),
        ],
        moving_users: 1,
        contacts: ContactCounts { both: 3, ..ContactCounts::default() },
        strays: 0,
        turns: 50,
        ..Tally::default()
    }
}

/// The router.
pub(crate) fn look() -> Look {
    let resting = |failures| vec![(1, "pool2019.contoso.com:5061".to_owned(), failures)];
    Look {
        world: Arc::new(world()),
        directory: directory(),
        shards: vec![
            ShardLook { tally: first(), resting: resting(4) },
            ShardLook { tally: second(), resting: resting(2) },
        ],
        driver: "poll",
        addresses: vec![("federation.listen".to_owned(), "127.0.0.1:5269".parse().unwrap())],
        started_unix: 1_000,
        standing: Standing {
            source: "csv",
            confirmed_unix: 1_060,
            classes: Classes { home: 3, branch: 1, ..Classes::default() },
            ..Standing::default()
        },
        store: Some(StoreLook {
            contacts: 12,
            bytes: 4096,
            commits: 3,
            written: 9,
            taken: 11,
            ..StoreLook::default()
        }),
        spool: Some(SpoolLook {
            gauges: Gauges {
                bytes: 5000,
                entries: 7,
                oldest_unix_millis: Some(1_090_000),
                ..Gauges::default()
            },
            recovered: 2,
            given: 31,
            ..SpoolLook::default()
        }),
        certificates: Arc::new(vec![Shown {
            file: "contoso.pem".into(),
            used_by: vec!["federation.certificate".to_owned()],
            names: vec!["contoso.com".to_owned()],
            issuer: "CN=Test".to_owned(),
            not_after_unix: 1_100 + 3 * 86_400 + 5,
            spki_sha256: [1; 32],
        }]),
        moved_today: MovedToday::default(),
        trace: Arc::new(TraceRules { mode: TraceMode::Failures, ..TraceRules::default() }),
        otlp: OtlpLook { sent: 40, dropped: [0, 0, 3, 1], failing: true },
        draining: false,
        now_unix: 1_100,
    }
}

fn records(local: &str) -> Vec<Record> {
    let record = |partner: &str, contact| Record {
        pair: Pair { local: local.into(), partner: partner.into() },
        contact,
    };
    let shown = |resources: &[&str]| resources.iter().map(|resource| (*resource).into()).collect();
    vec![
        record(
            "eve@partner.example",
            Contact { asked: true, vetoed: true, introduced: true, ..Contact::default() },
        ),
        record(
            "mallory\u{202e}@partner.example",
            Contact { to: true, from: true, shown: shown(&["sfb"]), ..Contact::default() },
        ),
        record(
            "partner.example",
            Contact {
                from: true,
                asking: true,
                shown: shown(&["a-very-long-resource", ""]),
                ..Contact::default()
            },
        ),
    ]
}

/// What the shards tell of a user: bob has contacts and a watch, the shard that owns lost is stuck.
pub(crate) fn told(user: &str) -> Result<Told, String> {
    match user {
        "bob@contoso.com" => Ok(Told {
            contacts: records(user),
            contacts_total: 5,
            held: 2,
            open: vec![(HomeId(1), vec!["watch for eve@partner.example, active, ends in 3600 s".to_owned()])],
            ..Told::default()
        }),
        "lost@contoso.com" => Err("shard 1 has not answered within 5 seconds".to_owned()),
        _ => Ok(Told::default()),
    }
}

/// What was between two users before it was taken back.
pub(crate) fn forgotten(pair: &Pair, what: Forget) -> Option<Contact> {
    let record = records(&pair.local).into_iter().find(|record| record.pair == *pair)?;
    (what == Forget::Contact || record.contact.vetoed).then_some(record.contact)
}

/// What the shards hold: the first has a stream of the partner's in and one to it, the second waits for it.
pub(crate) fn surveyed(shard: u16, survey: &Survey) -> Surveyed {
    let facts = StreamFacts {
        ours: "contoso.com".to_owned(),
        theirs: vec!["partner.example".to_owned()],
        state: "open",
        tls: "TLSv1.3",
        proof: "certificate",
        ..StreamFacts::default()
    };
    match survey {
        Survey::Links(after, limit) => {
            let links = (1..=3).map(|count| LinkId::accepted(shard, count));
            let fact = |link| LinkFact {
                link,
                side: Side::Partners,
                stanzas: 1,
                octets: 10,
                acknowledged: true,
                received: 4,
                delivered: 3,
                stream: facts.clone(),
            };
            Surveyed::Links(links.filter(|link| link.get() > *after).take(*limit).map(fact).collect())
        }
        Survey::Queues(_) => Surveyed::Queues(vec![QueueFact {
            side: Side::Partners,
            ours: "contoso.com".to_owned(),
            theirs: "partner.example".to_owned(),
            state: "resting",
            stanzas: 3 * usize::from(shard),
            bytes: 900,
            failures: 2,
            again: Some(std::time::Duration::from_secs(4)),
        }]),
        Survey::Peers(_) if shard == 0 => Surveyed::Peers(vec![PeerFact {
            domain: "partner.example".to_owned(),
            streams_in: 1,
            streams_out: 1,
            received: 40,
            delivered: 20,
            certificate_until_unix: Some(4_102_444_800),
            ..PeerFact::default()
        }]),
        Survey::Peers(_) => Surveyed::Peers(vec![PeerFact {
            domain: "partner.example".to_owned(),
            stanzas: 3,
            bytes: 900,
            ..PeerFact::default()
        }]),
        Survey::Open(after, limit) => Surveyed::Open(open(*after, *limit)),
        Survey::Trace(query) => Surveyed::Trace(vec![traced(query); usize::from(shard == 0)]),
        Survey::Samples(_) => Surveyed::Samples(Vec::new()),
    }
}

fn open(after: u64, limit: usize) -> OpenPage {
    let row = |n: u64| OpenFact {
        what: if n.is_multiple_of(2) { "dialog" } else { "watch" },
        side: Side::Home(HomeId(1)),
        local: format!("user{n}@contoso.com"),
        partner: "eve@partner.example".to_owned(),
        text: "active".to_owned(),
    };
    let last = (after + limit as u64).min(5);
    OpenPage { rows: (after..last).map(row).collect(), next: (last < 5).then_some(last) }
}

fn traced(query: &TraceQuery) -> Traced {
    Traced {
        number: 1,
        at: crate::clock::now(),
        from: "eve@partner.example".to_owned(),
        to: query.who.clone().unwrap_or_default(),
        id: query.id.clone().unwrap_or_default(),
        kind: turnout_core::stanza::Kind::message(None),
        made: false,
        step: Step::Bounced,
        side: Side::Partners,
        why: Some("item-not-found (recipient): nobody\n [x]".to_owned()),
    }
}
