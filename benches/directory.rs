//! Looking users up: 1,000 to 10,000,000 of them, random recipients, one at a time and in batches, beside a hash map of strings.
//! Invariant: every look-up that is measured is compared with what was put in, before and while measuring.
//!
//! Printed before the times: what a user costs in memory, as the snapshot counts it and as the process has grown. The largest
//! sizes take a gigabyte for the map; `BENCH_USERS_MAX` leaves sizes out.

use std::fmt::Write;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use turnout_core::directory::{Directory, Overlay, Snapshot, SnapshotBuilder, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::jid::{Jid, prepare};

/// As in the program: memory is measured with the allocator it has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const DOMAIN: &str = "contoso.com";

/// Users of the sizes measured, the most first: what the process grows by means something only before memory is used again.
const SIZES: [usize; 5] = [10_000_000, 1_000_000, 100_000, 10_000, 1_000];

/// Random recipients, so many that what they touch is far larger than a cache.
const ASKED: usize = 1 << 20;

/// Recipients of one batch: what a read of 64 KiB brings.
const BATCH: usize = 256;

/// Users in the overlay, for the figure with some.
const CHANGED: usize = 1_000;

fn bare(out: &mut String, n: usize) {
    out.clear();
    write!(out, "first.last{n}@{DOMAIN}").expect("a string takes all");
}

fn user(n: usize) -> User {
    User::at(Residence::Home(HomeId((n % 5) as u16)))
}

fn snapshot(users: usize) -> Snapshot {
    let (mut builder, mut raw, mut scratch) = (SnapshotBuilder::new(), String::new(), String::new());
    for n in 0..users {
        bare(&mut raw, n);
        let jid = prepare(&raw, &mut scratch).expect("a plain address");
        builder.add(jid, user(n)).expect("no user twice");
    }
    builder.finish()
}

/// Recipients one behind the other in one text, as they stand in what a read brought, with the user expected for each.
struct Recipients {
    text: String,
    asked: Vec<(std::ops::Range<usize>, usize)>,
}

impl Recipients {
    fn random(users: usize) -> Self {
        let (mut text, mut one, mut asked) = (String::new(), String::new(), Vec::with_capacity(ASKED));
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..ASKED {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let n = (state >> 16) as usize % users;
            bare(&mut one, n);
            asked.push((text.len()..text.len() + one.len(), n));
            text.push_str(&one);
        }
        Self { text, asked }
    }

    fn batches(&self) -> impl Iterator<Item = &[(std::ops::Range<usize>, usize)]> + Clone {
        self.asked.chunks(BATCH)
    }
}

/// Resident memory of this process in octets.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

fn one_by_one(directory: &Directory, recipients: &Recipients, batch: &[(std::ops::Range<usize>, usize)]) {
    for (place, n) in batch {
        assert_eq!(directory.look_up(&recipients.text[place.clone()]), Some(user(*n)));
    }
}

fn together(
    directory: &Directory,
    recipients: &Recipients,
    batch: &[(std::ops::Range<usize>, usize)],
    found: &mut Vec<Option<User>>,
) {
    let bares = batch.iter().map(|(place, _)| &recipients.text.as_bytes()[place.clone()]);
    directory.look_up_all(DOMAIN, bares, found);
    assert!(found.iter().zip(batch).all(|(found, (_, n))| *found == Some(user(*n))));
}

fn bench(criterion: &mut Criterion) {
    let users_max =
        std::env::var("BENCH_USERS_MAX").ok().and_then(|max| max.parse().ok()).unwrap_or(usize::MAX);
    let mut group = criterion.benchmark_group("directory");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(30);
    let mut first = true;
    for users in SIZES.into_iter().filter(|users| *users <= users_max) {
        let before = resident();
        let snapshot = snapshot(users);
        let grown = resident().saturating_sub(before);
        println!(
            "{users} users: {:.1} octets a user as counted",
            snapshot.memory_bytes() as f64 / users as f64
        );
        if std::mem::take(&mut first) {
            println!(
                "{users} users: {:.1} octets a user as the process has grown",
                grown as f64 / users as f64
            );
        }
        let snapshot = Arc::new(snapshot);
        let plain = Directory::new(Arc::clone(&snapshot), Arc::new(Overlay::new(1_000_000)));
        let changed = Directory::new(snapshot, Arc::new(Overlay::new(1_000_000)));
        for n in 0..CHANGED {
            // Others than the users asked for, so that the answers stay: what is measured is asking in vain.
            let jid = Jid::parse(&format!("moved{n}@{DOMAIN}")).expect("a plain address");
            changed.overlay().set(jid.view(), user(n)).expect("there is room");
        }
        let recipients = Recipients::random(users);
        let mut found = Vec::new();
        for batch in recipients.batches() {
            one_by_one(&plain, &recipients, batch);
            together(&plain, &recipients, batch, &mut found);
            together(&changed, &recipients, batch, &mut found);
        }

        let mut next = recipients.batches().cycle();
        group.bench_function(BenchmarkId::new("one by one", users), |bencher| {
            bencher.iter(|| next.next().map(|batch| one_by_one(&plain, &recipients, batch)));
        });
        let mut next = recipients.batches().cycle();
        group.bench_function(BenchmarkId::new("together", users), |bencher| {
            bencher.iter(|| next.next().map(|batch| together(&plain, &recipients, batch, &mut found)));
        });
        let mut next = recipients.batches().cycle();
        group.bench_function(BenchmarkId::new("together, 1,000 changed by hand", users), |bencher| {
            bencher.iter(|| next.next().map(|batch| together(&changed, &recipients, batch, &mut found)));
        });
        drop((plain, changed));

        let mut text = String::new();
        let map: HashMap<String, User> = (0..users)
            .map(|n| {
                bare(&mut text, n);
                (text.clone(), user(n))
            })
            .collect();
        let mut next = recipients.batches().cycle();
        group.bench_function(BenchmarkId::new("a map of strings", users), |bencher| {
            bencher.iter(|| {
                for (place, n) in next.next().into_iter().flatten() {
                    assert_eq!(map.get(&recipients.text[place.clone()]), Some(&user(*n)));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
