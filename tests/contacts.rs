//! Subscriptions and presence of a whole estate under a seed: partners, the gateway and the pool come and go, users ask, grant,
//! refuse, leave and are moved, the router dies between any two steps. In the calm after it, within a stated time, what
//! everybody sees of everybody is what is, nobody was asked twice, and every stanza is accounted for.
//!
//! `SEED=n cargo test --test contacts` repeats one run; `SEEDS=n` sets how many are tried.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]
#![allow(unreachable_pub, reason = "a test file has no outside")]

#[path = "contacts/desk.rs"]
mod desk;
#[path = "contacts/estate.rs"]
mod estate;
#[path = "contacts/events.rs"]
mod events;
#[path = "contacts/people.rs"]
mod people;
#[path = "contacts/pool.rs"]
mod pool;
mod support;
#[path = "contacts/truth.rs"]
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use estate::Estate;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn in_the_calm_what_is_seen_is_what_is() {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("SEEDS").unwrap_or(150)),
    };
    let mut sights = 0;
    for seed in first..first + count {
        let mut estate = Estate::new(seed);
        let ran = catch_unwind(AssertUnwindSafe(|| estate.run(170)));
        if let Err(failure) = ran {
            let from = if count == 1 { 0 } else { estate.log.len().saturating_sub(60) };
            eprintln!("{}\nfailed with SEED={seed}", estate.log[from..].join("\n"));
            resume_unwind(failure);
        }
        sights += estate.sights();
    }
    assert!(count == 1 || sights as u64 > count, "little happened: {sights} sights in {count} runs");
}
