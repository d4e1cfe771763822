//! Work of the XMPP side whose instructions are counted: see `benches/counts/run`. Invariant: what is counted is checked.

#[path = "../support/passing.rs"]
mod passing;
#[path = "scenario.rs"]
mod scenario;

use bytes::Bytes;
use passing::{Passing, reads, users};
use turnout_xmpp::frame::{Frame, FrameLimits, Framer, Shapes};

const HEADER: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server' \
    from='partner.example' to='contoso.com' version='1.0'>";

fn main() {
    scenario::main(&[
        ("frame_runs", frame_runs),
        ("frame_runs_2048", frame_runs_2048),
        ("frame_runs_mixed", frame_runs_mixed),
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
    runs_of(reads(size, 1_000), rounds)
}

fn runs_of((reads, stanzas): (Vec<Bytes>, u64), rounds: usize) -> usize {
    let (mut framer, mut shapes, mut heads, mut found) = (framer(), Shapes::default(), Vec::new(), 0);
    for _ in 0..rounds {
        for read in &reads {
            framer.feed(read.clone());
            while framer.next_run(&mut shapes, &mut heads).is_some() {
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

/// Framing and checking of plain stanzas of a dozen kinds, in no order; a unit is one stanza.
fn frame_runs_mixed(rounds: usize) -> usize {
    runs_of(mixed(), rounds)
}

/// Reads of 64 KiB of messages, receipts, chat states, presence and questions as a federation carries them.
fn mixed() -> (Vec<Bytes>, u64) {
    const KINDS: [(&str, &str); 12] = [
        ("<message type='chat' id='#' from='", "'><body>it's fine, see you</body></message>"),
        (
            "<message type='chat' id='#' from='",
            "'><body>&lt;3</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        ),
        (
            "<message type='chat' from='",
            "' id='#'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        ),
        ("<message from='", "' id=\"#\"><received xmlns='urn:xmpp:receipts' id='x#'/></message>"),
        (
            "<message xml:lang='de' type='chat' from='",
            "' id='#'><body>ja</body><request xmlns='urn:xmpp:receipts'/></message>",
        ),
        (
            "<message type='normal' from='",
            "'><subject>so</subject><body>long text, and then more of it</body><thread>#</thread></message>",
        ),
        ("<presence from='", "'><show>away</show><priority>5</priority></presence>"),
        ("<presence from='", "'/>"),
        ("<presence type='unavailable' from='", "'><status>gone home</status></presence>"),
        (
            "<presence from='",
            "'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://x.y' ver='q#='/></presence>",
        ),
        ("<iq type='get' id='#' from='", "'><ping xmlns='urn:xmpp:ping'/></iq>"),
        ("<iq type='result' from='", "' id='#'/>"),
    ];
    let (mut seed, mut count, mut reads) = (0x9E37_79B9_7F4A_7C15_u64, 0, Vec::new());
    for _ in 0..16 {
        let mut read = String::new();
        while read.len() < 64 * 1024 - 512 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let (before, behind) = KINDS[(seed % 12) as usize];
            let stanza =
                format!("{before}juliet@partner.example/balcony' to='user{}@contoso.com{behind}", seed % 997);
            read.push_str(&stanza.replace('#', &count.to_string()));
            count += 1;
        }
        reads.push(Bytes::from(read));
    }
    (reads, count)
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
