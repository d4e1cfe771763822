//! One shard in memory: frame, check in full, route by user, send, say it is delivered, with 1,000 to 10,000,000 users and
//! recipients at random; and apart from that the decision for one stanza, beside the floor: a look-up in a hash map. Invariant: every
//! decision is compared with the one expected, and every stanza that went in is delivered, or the bench fails.

#[path = "support/passing.rs"]
mod passing;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use passing::{Passing, world};
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::route::{Asked, Route, View, route};
use turnout_core::stanza::Kind;

fn users(count: usize) -> (Directory, HashMap<String, HomeId>, Vec<Jid>) {
    let mut builder = SnapshotBuilder::new();
    let mut map = HashMap::new();
    let mut asked = Vec::new();
    for n in 0..count {
        let jid = Jid::parse(&format!("user{n}@contoso.com")).expect("a plain address");
        let home = HomeId(0);
        builder.add(jid.view(), User::at(Residence::Home(home))).expect("no user twice");
        map.insert(jid.as_str().to_owned(), home);
        // A stride that is no divisor of any count visits users far apart, as real traffic does.
        if asked.len() < 4096 {
            asked
                .push(Jid::parse(&format!("user{}@contoso.com", n * 7919 % count)).expect("a plain address"));
        }
    }
    (Directory::new(Arc::new(builder.finish()), Arc::new(Overlay::new(1000))), map, asked)
}

fn decision(criterion: &mut Criterion) {
    let world = world();
    let from = Jid::parse("juliet@partner.example/balcony").expect("a plain address");
    let mut group = criterion.benchmark_group("decision");
    for count in [1_000, 100_000, 1_000_000] {
        let (directory, map, asked) = users(count);
        let view = View { world: &world, directory: &directory };
        let decide = |to: &Jid| {
            let kind = Kind::message(Some("chat"));
            let asked = Asked { side: Side::Partners, kind, from: &from, to, made: false, was_home: None };
            route(view, &asked, &mut |_, _| ())
        };
        for to in &asked {
            assert_eq!(decide(to), Ok(Route::Home(map[to.as_str()])));
        }
        let mut next = asked.iter().cycle();
        group.bench_with_input(BenchmarkId::new("turnout: whole decision", count), &count, |bencher, _| {
            bencher.iter(|| next.next().map(decide));
        });
        let mut next = asked.iter().cycle();
        group.bench_with_input(BenchmarkId::new("floor: one map look-up", count), &count, |bencher, _| {
            bencher.iter(|| next.next().and_then(|to| map.get(to.as_str())));
        });
    }
    group.finish();
}

fn one_shard(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one shard");
    let most = std::env::var("TURNOUT_BENCH_USERS_MAX").ok().and_then(|most| most.parse().ok());
    for (size, count) in [
        (250, 1_000),
        (250, 100_000),
        (250, 1_000_000),
        (250, 10_000_000),
        (2_048, 1_000),
        (64 * 1024, 1_000),
    ] {
        if most.is_some_and(|most: usize| count > most) {
            continue;
        }
        let mut passing = Passing::new(turnout::clock::now(), passing::users(count));
        let (reads, stanzas) = passing::reads(size, count);
        let pass = |passing: &mut Passing| {
            for read in &reads {
                passing.read(read.clone());
                passing.write();
            }
        };
        let before = passing.delivered();
        pass(&mut passing);
        assert_eq!(passing.delivered() - before, stanzas, "every stanza is delivered");
        group.throughput(Throughput::Elements(stanzas));
        let name = BenchmarkId::new(format!("{size} B"), format!("{count} users"));
        group.bench_function(name, |bencher| bencher.iter(|| pass(&mut passing)));
    }
    group.finish();
}

criterion_group!(benches, one_shard, decision);
criterion_main!(benches);
