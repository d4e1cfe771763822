//! Whole streams, in memory: two backends against each other, and one against scripted bytes. No socket, no TLS: the harness
//! says `Secured` with the certificate a test chose.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, unreachable_pub, reason = "test code")]

mod abuse;
mod answers;
mod bidi;
mod bypass;
mod cuts;
mod forged;
mod inside;
mod life;
mod limits;
mod matrix;
mod net;
mod pings;
mod proofs;
mod raw;
mod resuming;
mod smacks;
#[path = "../../../../tests/fuzz/subjects/stream.rs"]
mod stream;

/// What the fuzzer found worth keeping.
#[test]
fn partners_of_the_fuzzer_are_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/stream");
    let inputs =
        std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let count = inputs.inspect(|input| stream::stream(input)).count();
    assert!(count >= 10, "{count}");
}
