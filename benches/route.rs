//! The decision for one stanza, with 1,000 to 1,000,000 users in the directory, beside the floor: a look-up in a hash map.
//! Invariant: every decision is compared with the one expected before anything is measured.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hashbrown::HashMap;
use turnout::config::Config;
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::Side;
use turnout_core::jid::Jid;
use turnout_core::route::{Asked, Route, View, route};
use turnout_core::stanza::Kind;
use turnout_core::world::World;

fn world() -> World {
    // The name stands in the certificate otherwise, and there is none here.
    let text = turnout::config::EMBEDDED.replace("# name = ", "name = ");
    let config =
        Config::parse(&text, "bench.toml".as_ref(), "".as_ref()).expect("the embedded configuration is good");
    config.world(1, Arc::from([7_u8; 32].as_slice())).expect("the embedded configuration makes a world")
}

fn users(count: usize) -> (Directory, HashMap<String, HomeId>, Vec<Jid>) {
    let mut builder = SnapshotBuilder::new();
    let mut map = HashMap::new();
    let mut asked = Vec::new();
    for n in 0..count {
        let jid = Jid::parse(&format!("user{n}@contoso.com")).expect("a plain address");
        let home = HomeId(u16::from(n % 2 == 1));
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

fn bench(criterion: &mut Criterion) {
    let world = world();
    let from = Jid::parse("juliet@partner.example/balcony").expect("a plain address");
    let mut group = criterion.benchmark_group("route");
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

criterion_group!(benches, bench);
criterion_main!(benches);
