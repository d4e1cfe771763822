//! Work of the core whose instructions are counted: see `benches/counts/run`. Invariant: what is counted is checked.

#[path = "scenario.rs"]
mod scenario;

use std::sync::Arc;

use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::jid::Jid;

/// Users in the directory.
const USERS: usize = 50_000;

/// Seed of the directory's table: with another one for every run the figures differ by a tenth and more.
const SEED: u64 = 1;

/// Look-ups of one batch: as many as a read of 64 KiB has stanzas.
const BATCH: usize = 256;

fn main() {
    scenario::main(&[
        ("directory_batch", look_ups_together),
        ("directory_single", look_ups_alone),
        ("address", addresses),
    ]);
}

fn directory() -> (Directory, Vec<String>) {
    let mut builder = SnapshotBuilder::counted(SEED);
    for n in 0..USERS {
        let jid = Jid::parse(&format!("user{n}@contoso.com")).expect("a plain address");
        builder.add(jid.view(), User::at(Residence::Home(HomeId(0)))).expect("no user twice");
    }
    let asked = (0..BATCH).map(|n| format!("user{}@contoso.com", n * 7919 % USERS)).collect();
    (Directory::new(Arc::new(builder.finish()), Arc::new(Overlay::new(1000))), asked)
}

/// Look-ups of a batch; a unit is one look-up.
fn look_ups_together(rounds: usize) -> usize {
    let (directory, asked) = directory();
    let mut found = Vec::new();
    for _ in 0..rounds * 20 {
        directory.look_up_all("contoso.com", asked.iter().map(String::as_bytes), &mut found);
        assert!(found.iter().all(Option::is_some));
    }
    rounds * 20 * BATCH
}

/// Look-ups one by one; a unit is one look-up.
fn look_ups_alone(rounds: usize) -> usize {
    let (directory, asked) = directory();
    for _ in 0..rounds * 20 {
        assert!(asked.iter().all(|bare| directory.look_up(bare).is_some()));
    }
    rounds * 20 * BATCH
}

/// Preparing addresses; a unit is one address.
fn addresses(rounds: usize) -> usize {
    let mut scratch = String::new();
    let asked: Vec<String> = (0..BATCH).map(|n| format!("user{n}@contoso.com/client-{n}")).collect();
    for _ in 0..rounds * 20 {
        for raw in &asked {
            assert_eq!(
                turnout_core::jid::prepare(raw, &mut scratch).map(|jid| jid.as_str() == raw),
                Ok(true)
            );
        }
    }
    rounds * 20 * BATCH
}
