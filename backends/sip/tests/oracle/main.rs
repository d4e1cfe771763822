//! Two readers of SIP that others wrote, beside ours: sipx-sip for where messages end on a stream and which are refused, at every place
//! a stream can be cut; rsip for what a message says. Invariant: what turnout uses, both read to the same; what either refuses,
//! turnout refused, but for the differences listed here.
//!
//! Deliberate differences. Turnout is stricter:
//! 1. `Content-Length` stands once, also where both say the same, and is no list;
//! 2. lines end in both marks, within quotes as well;
//! 3. headers that may stand once stand once.
//!
//! Sipx is stricter, where a message is not used for what it refuses, or a pool writes it so: see [`sipx_is_stricter`]. Rsip knows no
//! folding, no compact forms and few shapes of what we read ourselves; it only has a say where it has read something.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "tests")]

use std::path::Path;

use verdict::{agree, ours};

mod verdict;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let wire = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/wire/sip"));
    let mut found = Vec::new();
    for folder in ["torture", "ipv6", "known"] {
        let entries = std::fs::read_dir(wire.join(folder)).unwrap();
        for path in entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "dat"))
        {
            found.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
            ));
        }
    }
    found.sort();
    assert!(found.len() >= 105, "{}", found.len());
    found
}

#[test]
fn messages_of_the_rfcs_are_cut_and_read_alike_at_every_place() {
    for (name, bytes) in corpus() {
        agree(&bytes);
        let whole = ours(&[&bytes]);
        for at in 0..=bytes.len() {
            assert_eq!(ours(&[&bytes[..at], &bytes[at..]]), whole, "{name} cut at {at}");
        }
        // One behind the other, and each cut off.
        let twice = [&bytes[..], b"\r\n\r\n", &bytes[..]].concat();
        agree(&twice);
        for at in (0..bytes.len()).step_by(7) {
            agree(&bytes[..at]);
        }
    }
}

/// Seeded mutation: a failure comes back.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }
}

const WORDS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\r\n ",
    b"\r\n\t",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%00",
    b"%0d%0a",
    b"l: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length : 4\r\n",
    b"Via: SIP/2.0/TLS h;branch=z9hG4bKx\r\n",
    b"f: <sip:x@y>\r\n",
    b"SIP/2.0",
    b"SIP/2.0 200 OK\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\x80",
    b"\xc3\xbc",
    b"99999999999",
    b"tag=",
];

fn mutated(mut bytes: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(end..end, again));
            }
            2 => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
            3 => {
                let start = random.below(other.len());
                drop(bytes.splice(at..end, other[start..(start + 20).min(other.len())].iter().copied()));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

#[test]
fn what_grows_out_of_them_is_read_alike() {
    let seeds: Vec<Vec<u8>> = corpus().into_iter().map(|(_, bytes)| bytes).collect();
    let mut random = Random(0x5eed);
    let many = std::env::var("MUTANTS").ok().and_then(|many| many.parse().ok()).unwrap_or(6_000);
    for _ in 0..many {
        let (one, other) = (random.below(seeds.len()), random.below(seeds.len()));
        agree(&mutated(seeds[one].clone(), &seeds[other], &mut random));
    }
}

/// What the fuzzer found worth keeping, and each of it cut at every octet.
#[test]
fn the_corpus_of_the_fuzzer() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/sip");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        agree(&bytes);
        let whole = ours(&[&bytes]);
        for at in 0..bytes.len() {
            assert_eq!(ours(&[&bytes[..at], &bytes[at..]]), whole, "{}", bytes.escape_ascii());
        }
        count += 1;
    }
    assert!(count >= 20, "{count}");
}
