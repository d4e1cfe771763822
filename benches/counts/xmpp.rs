//! Work of the XMPP side whose instructions are counted: see `benches/counts/run`. Invariant: what is counted is checked.

#[path = "../support/passing.rs"]
mod passing;
#[path = "scenario.rs"]
mod scenario;

use bytes::Bytes;
use passing::{Passing, reads, users};
use turnout_xmpp::frame::{Frame, FrameLimits, Framer};

const HEADER: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server' \
    from='partner.example' to='contoso.com' version='1.0'>";

fn main() {
    scenario::main(&[
        ("frame_runs", frame_runs),
        ("frame_runs_2048", frame_runs_2048),
        ("frame_general", frame_general),
        ("one_shard", one_shard),
    ]);
}

fn framer() -> Framer {
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from_static(HEADER.as_bytes()));
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
    framer
}

fn runs(size: usize, rounds: usize) -> usize {
    let (reads, stanzas) = reads(size, 1_000);
    let (mut framer, mut heads, mut found) = (framer(), Vec::new(), 0);
    for _ in 0..rounds {
        for read in &reads {
            framer.feed(read.clone());
            while framer.next_run(&mut heads).is_some() {
                found += heads.len();
                heads.clear();
            }
            assert!(matches!(framer.next(), Ok(None)));
        }
    }
    assert_eq!(found, stanzas as usize * rounds, "every stanza is found");
    found
}

/// Framing and checking of plain stanzas of 250 B in runs; a unit is one stanza.
fn frame_runs(rounds: usize) -> usize {
    runs(250, rounds)
}

/// The same of 2 KiB.
fn frame_runs_2048(rounds: usize) -> usize {
    runs(2048, rounds)
}

/// Framing and checking of any stanza, 250 B; a unit is one stanza.
fn frame_general(rounds: usize) -> usize {
    let (reads, stanzas) = reads(250, 1_000);
    let (mut framer, mut found) = (framer(), 0);
    for _ in 0..rounds {
        for read in &reads {
            framer.feed(read.clone());
            while let Ok(Some(frame)) = framer.next() {
                found += usize::from(matches!(frame, Frame::Element(_)));
            }
        }
    }
    assert_eq!(found, stanzas as usize * rounds, "every stanza is found");
    found
}

/// The whole way of stanzas of 250 B through a shard; a unit is one stanza.
fn one_shard(rounds: usize) -> usize {
    let mut passing = Passing::new(start(), users(1_000));
    let (reads, stanzas) = reads(250, 1_000);
    let before = passing.delivered();
    for _ in 0..rounds {
        for read in &reads {
            passing.read(read.clone());
            passing.write();
        }
    }
    let delivered = (passing.delivered() - before) as usize;
    assert_eq!(delivered, stanzas as usize * rounds, "every stanza is delivered");
    delivered
}

#[expect(clippy::disallowed_methods, reason = "a shard needs one instant to count from")]
fn start() -> std::time::Instant {
    std::time::Instant::now()
}
