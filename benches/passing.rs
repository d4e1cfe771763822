//! One shard in memory: frame, check in full, route by user, send, say it is delivered. Stanzas of a partner for users of the legacy
//! home, all different, recipients at random, in reads of 64 KiB. Invariant: every stanza that went in is delivered, or the bench fails.

#[path = "support/passing.rs"]
mod passing;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use passing::{Passing, users};

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// Reads that are prepared, so that neither look-ups nor bytes stay in the nearest cache.
const READS: usize = 64;

/// Reads of whole stanzas of about `size` bytes, for random ones of `users`, and how many stanzas those are.
fn reads(size: usize, users: usize) -> (Vec<Bytes>, u64) {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut reads, mut count) = (Vec::new(), 0);
    for _ in 0..READS {
        let mut read = String::with_capacity(READ_BYTES + size);
        while read.len() + size <= READ_BYTES.max(size) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let user = seed as usize % users;
            let head = format!(
                "<message type='chat' id='m{count}' from='juliet@partner.example/balcony' to='user{user}@contoso.com'><body>"
            );
            let tail = "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
            read.push_str(&head);
            let text = size.saturating_sub(head.len() + tail.len());
            read.extend("O Romeo, Romeo! wherefore art thou Romeo? ".chars().cycle().take(text));
            read.push_str(tail);
            count += 1;
        }
        reads.push(Bytes::from(read));
    }
    (reads, count)
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("passing");
    for (size, count) in [
        (250, 1_000),
        (250, 100_000),
        (250, 1_000_000),
        (250, 10_000_000),
        (2_048, 1_000),
        (64 * 1024, 1_000),
    ] {
        if count > 1_000_000 && std::env::var_os("TURNOUT_BENCH_SMALL").is_some() {
            continue;
        }
        let mut passing = Passing::new(users(count));
        let (reads, stanzas) = reads(size, count);
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

criterion_group!(benches, bench);
criterion_main!(benches);
