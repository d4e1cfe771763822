use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;
use std::time::Duration;

use turnout_core::directory::{Directory, Overlay, Snapshot, SnapshotBuilder, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::jid::prepare;

use super::*;
use crate::clock::now;

/// Tells which thread dropped it.
struct Observed(u32, Sender<(u32, ThreadId)>);

impl Drop for Observed {
    fn drop(&mut self) {
        self.1.send((self.0, std::thread::current().id())).unwrap_or_default();
    }
}

#[test]
fn nothing_is_buried_that_is_read_or_in_use() {
    let (tell, dropped) = channel();
    let shards: Vec<Arc<Observed>> = {
        let first = Arc::new(Observed(1, tell.clone()));
        vec![Arc::clone(&first), first]
    };
    let mut graveyard = Graveyard::new(Arc::clone(&shards[0]));
    assert!(!graveyard.is_waiting());
    assert!(graveyard.bury().is_empty(), "the one in use");
    graveyard.keep(Arc::new(Observed(2, tell.clone())));
    graveyard.keep(Arc::new(Observed(3, tell)));
    let buried = graveyard.bury();
    assert_eq!(buried.iter().map(|one| one.0).collect::<Vec<_>>(), [2], "1 is read, 3 is in use");
    assert!(graveyard.is_waiting() && dropped.try_recv().is_err());
    drop(buried);
    assert_eq!(dropped.try_recv().map(|(which, _)| which), Ok(2));

    // The shards go on one after the other, each on its own thread; neither of them drops it.
    for shard in shards {
        assert!(graveyard.bury().is_empty());
        std::thread::spawn(move || drop(shard)).join().unwrap();
        assert!(dropped.try_recv().is_err(), "dropped by a shard");
    }
    drop(graveyard.bury());
    assert_eq!(dropped.try_recv(), Ok((1, std::thread::current().id())));
    assert!(!graveyard.is_waiting());
}

fn snapshot(users: usize, home: u16) -> Arc<Snapshot> {
    let (mut builder, mut scratch) = (SnapshotBuilder::new(), String::new());
    for n in 0..users {
        let bare = format!("user{n}@contoso.com");
        let user = User::at(Residence::Home(HomeId(home)));
        builder.add(prepare(&bare, &mut scratch).unwrap(), user).unwrap();
    }
    Arc::new(builder.finish())
}

/// What a shard does between two swaps, and what it saw.
struct Turning {
    turns: AtomicU64,
    stop: AtomicBool,
}

/// Looks users up, takes a new snapshot at the boundary of a turn, and gives back how long the quickest swap took.
fn shard(
    mut directory: Directory,
    mail: Receiver<Arc<Snapshot>>,
    turning: &Turning,
    homes: &AtomicU64,
) -> Duration {
    let asked: Vec<String> =
        (0..64).map(|n| format!("user{}@contoso.com", n * 15_485_863 % 1_000_000)).collect();
    let (mut found, mut quickest) = (Vec::new(), Duration::MAX);
    while !turning.stop.load(Ordering::Acquire) {
        if let Ok(snapshot) = mail.try_recv() {
            let begun = now();
            directory = directory.with_snapshot(snapshot);
            quickest = quickest.min(now().saturating_duration_since(begun));
        }
        directory.look_up_all("contoso.com", asked.iter().map(|bare| bare.as_bytes()), &mut found);
        let Some(Some(User { residence: Residence::Home(HomeId(home)), .. })) = found.first() else {
            panic!("{:?}", found.first());
        };
        let first = found[0];
        assert!(found.iter().all(|user| *user == first), "a turn sees one snapshot");
        homes.store(u64::from(*home), Ordering::Release);
        turning.turns.fetch_add(1, Ordering::AcqRel);
    }
    quickest
}

/// A million users are swapped again and again while a shard turns: it never waits for the loader, takes each snapshot at
/// the boundary of a turn, and frees none of them.
#[test]
fn a_shard_keeps_turning_while_a_million_users_are_swapped() {
    const SWAPS: u16 = 2;
    let first = snapshot(1_000_000, 0);
    let directory = Directory::new(Arc::clone(&first), Arc::new(Overlay::new(10)));
    let mut graveyard = Graveyard::new(first);
    let turning = Turning { turns: AtomicU64::new(0), stop: AtomicBool::new(false) };
    let (mail, inbox) = channel();
    let homes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (seen, counted) = (&homes, &turning);
        let shard = scope.spawn(move || shard(directory, inbox, counted, seen));
        let mut freeing = Duration::MAX;
        for home in 1..=SWAPS {
            let before = turning.turns.load(Ordering::Acquire);
            let newer = snapshot(1_000_000, home);
            assert!(
                turning.turns.load(Ordering::Acquire) > before + 10,
                "turns go on while a snapshot is made"
            );
            graveyard.keep(Arc::clone(&newer));
            mail.send(newer).unwrap();
            let buried = loop {
                let buried = graveyard.bury();
                if !buried.is_empty() {
                    break buried;
                }
                std::thread::yield_now();
            };
            assert_eq!(buried.len(), 1);
            while homes.load(Ordering::Acquire) != u64::from(home) {
                std::thread::yield_now();
            }
            let begun = now();
            drop(buried);
            freeing = freeing.min(now().saturating_duration_since(begun));
        }
        turning.stop.store(true, Ordering::Release);
        let swap = shard.join().unwrap();
        assert!(swap < freeing, "a swap took {swap:?}, freeing a snapshot {freeing:?}");
    });
}
