//! What waits, in memory and on disk: how much goes in and out in a second, and how long one stanza takes until its sender may be told,
//! at several settings of the group commit. Invariant: everything given is confirmed, and done at the end.
//!
//! The directory is `BENCH_SPOOL`, or one in the temporary directory: a figure is worth as much as the disk it was measured on.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout::clock::now;
use turnout::spool::folder::Folder;
use turnout::spool::journal::{Journal, Settings};
use turnout::spool::outlet::{Item, Outlet};
use turnout::spool::{SpoolStore, queue};
use turnout_core::durable::{Entry, EntryKey, OnDisk};
use turnout_core::io::{LinkId, Side};
use turnout_core::jid::Jid;
use turnout_core::spool::Spool;
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stanzas of one measurement of throughput.
const MANY: u64 = 200_000;
/// Of these, how many may be unconfirmed at a time.
const AHEAD: u64 = 20_000;
/// Stanzas given one after the other, each when the one before is confirmed.
const ALONE: u64 = 300;

fn stanza(at: Instant, n: u64) -> Stanza {
    let text = format!(
        "<message from='anna@contoso.com/desk' to='bob{n:07}@partner.example' id='m{n:07}' type='chat'><body>{}</body></message>",
        "What stands in a message of the usual length. ".repeat(4)
    );
    Stanza {
        kind: Kind::message(Some("chat")),
        from: Jid::parse("anna@contoso.com/desk").expect("an address"),
        to: Jid::parse(&format!("bob{n:07}@partner.example")).expect("an address"),
        bytes: Bytes::from(text),
        insert_at: 8,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 0..0,
        payload: Payload::None,
        origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
        arrived: at,
        made: false,
        attempts: 0,
        disk: OnDisk::default(),
    }
}

fn entry(stanza: &Stanza, key: EntryKey, n: u64) -> Box<Entry> {
    Box::new(Entry {
        key,
        order: n,
        replaces: None,
        unix_millis: 1_767_323_045_123,
        home: None,
        made: false,
        kind: stanza.kind,
        payload: stanza.payload,
        from: stanza.from.clone(),
        to: stanza.to.clone(),
        bytes: stanza.bytes.clone(),
        insert_at: stanza.insert_at,
        insert: None,
        spans: [0..0, 0..0, 0..0],
    })
}

fn per_second(count: u64, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64()) as u64
}

/// Into the queue in memory and out again, which a durable spool does as well.
fn memory() {
    let at = now();
    let stanzas: Vec<Stanza> = (0..MANY).map(|n| stanza(at, n)).collect();
    let octets: usize = stanzas.iter().map(Stanza::len).sum();
    let began = now();
    let (mut spool, room) = (Spool::default(), turnout_core::flow::Room::default());
    for stanza in stanzas {
        spool.push(stanza, &room).expect("there is room");
    }
    while spool.pop().is_some() {}
    let took = now().duration_since(began);
    println!(
        "memory: {} stanzas/s in and out, {} B each; confirmed at its end only",
        per_second(MANY, took),
        octets as u64 / MANY
    );
}

struct Running {
    store: SpoolStore,
    outlet: Outlet,
    told: Receiver<EntryKey>,
    epoch: u32,
}

fn start(path: &Path, settings: Settings) -> Running {
    let (folder, found) = Folder::open(path).expect("a directory");
    let journal = Journal::new(settings, &found);
    let epoch = journal.epoch();
    let ((queue, taken), (tell, told)) = (queue(), sync_channel(100_000));
    let tell = Box::new(move |_, key| tell.try_send(key).is_ok());
    let store = SpoolStore::spawn(folder, journal, taken, tell, 0).expect("a thread");
    Running { store, outlet: Outlet::new(0, Some(queue)), told, epoch }
}

fn durable(path: &Path, millis: u64, commit_bytes: usize) {
    let settings =
        Settings { commit_delay: Duration::from_millis(millis), commit_bytes, ..Settings::default() };
    let mut running = start(path, settings);
    let at = now();
    let key = |running: &Running, n: u64| EntryKey::new(running.epoch, 0, n);
    let mut alone: Vec<Duration> = Vec::new();
    for n in 1..=ALONE {
        let (stanza, key) = (stanza(at, n), key(&running, n));
        let began = now();
        running.outlet.take(Item::Entry(entry(&stanza, key, n)));
        running.outlet.flush();
        while running.told.recv().expect("the spool runs") < key {}
        alone.push(now().duration_since(began));
        running.outlet.take(Item::Done(key));
    }
    alone.sort_unstable();

    let entries: Vec<Box<Entry>> =
        (ALONE + 1..=ALONE + MANY).map(|n| entry(&stanza(at, n), key(&running, n), n)).collect();
    let before = running.store.meter().look();
    let began = now();
    let (mut given, mut confirmed) = (ALONE, ALONE);
    for entry in entries {
        let key = entry.key;
        running.outlet.take(Item::Entry(entry));
        given += 1;
        if given % 200 == 0 || given == ALONE + MANY {
            running.outlet.flush();
        }
        while given - confirmed >= AHEAD || (given == ALONE + MANY && confirmed < given) {
            running.outlet.flush();
            let Ok(told) = running.told.recv_timeout(Duration::from_millis(1)) else { continue };
            let told = told.get() - EntryKey::new(running.epoch, 0, 0).get();
            for n in confirmed + 1..=told {
                running.outlet.take(Item::Done(EntryKey::new(running.epoch, 0, n)));
            }
            confirmed = confirmed.max(told);
        }
        debug_assert!(key.get() > 0, "keys begin at 1");
    }
    let took = now().duration_since(began);
    let after = running.store.meter().look();
    let syncs = after.syncs.count() - before.syncs.count();
    let busy = Duration::from_micros(after.syncs.sum_us - before.syncs.sum_us);
    println!(
        "durable, {millis:>2} ms or {:>4} KiB: {:>7} stanzas/s confirmed and done, {syncs} syncs of {} us, {:.1} MB/s; \
         alone p50 {} us, p99 {} us",
        commit_bytes / 1024,
        per_second(MANY, took),
        busy.as_micros() as u64 / syncs.max(1),
        (after.appended - before.appended) as f64 / took.as_secs_f64() / 1e6,
        alone[alone.len() / 2].as_micros(),
        alone[alone.len() * 99 / 100].as_micros(),
    );
    let meter = std::sync::Arc::clone(running.store.meter());
    drop(running.outlet);
    running.store.stop();
    let left = meter.look().gauges;
    assert_eq!((left.entries, left.queued), (0, 0), "all of it is done");
}

fn main() {
    let path = std::env::var_os("BENCH_SPOOL").map_or_else(
        || std::env::temp_dir().join(format!("turnout-bench-spool-{}", std::process::id())),
        Into::into,
    );
    memory();
    for (millis, kib) in [(0, 1024), (2, 1024), (2, 64), (10, 1024), (10, 4096)] {
        durable(&path, millis, kib * 1024);
        std::fs::remove_dir_all(&path).expect("it was ours");
    }
}
