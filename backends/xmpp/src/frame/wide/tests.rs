//! Every path gives what a look at each octet gives.

use super::{BLOCK, Instructions, Marks, Task, WRITTEN, Wide, is_name};
use turnout_core::jid::{JidPart, is_plain};

/// Asks a path for all it knows of some octets.
struct Ask<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
}

#[derive(Debug, PartialEq)]
struct Answers {
    marks: Marks,
    equal: u64,
    name_len: usize,
    address: Option<(usize, usize)>,
    places: Vec<u32>,
}

impl Task for Ask<'_> {
    type Output = Answers;

    #[inline(always)]
    fn run<W: Wide>(self, wide: W) -> Answers {
        let mut block = [b' '; BLOCK];
        for (to, from) in block.iter_mut().zip(self.buf) {
            *to = *from;
        }
        let marks = wide.marks(&block);
        let (mut bits, mut places) = (marks.stops, Vec::new());
        while bits != 0 {
            let (mut some, count) = ([0; WRITTEN], (bits.count_ones() as usize).min(WRITTEN));
            bits = wide.place(bits, 1000, &mut some);
            places.extend_from_slice(&some[..count]);
        }
        Answers {
            marks,
            equal: wide.equal(&block, b'='),
            name_len: wide.name_len(self.buf, self.at),
            address: wide.address(self.buf, self.at, self.end),
            places,
        }
    }
}

fn expected(ask: &Ask<'_>) -> Answers {
    let bits = |look: &dyn Fn(u8) -> bool| {
        let padded = ask.buf.iter().copied().chain([b' '; BLOCK]).take(BLOCK);
        padded.enumerate().fold(0, |bits, (at, octet)| bits | u64::from(look(octet)) << at)
    };
    let is_break = |octet| matches!(octet, b'\t' | b'\n' | b'\r');
    let stops = bits(&|octet| b"<>&'\"".contains(&octet) || (octet < 0x20 && !is_break(octet)));
    let rest = &ask.buf[ask.at..ask.buf.len().min(ask.at + 32)];
    let value = &ask.buf[ask.at..ask.end];
    let slash = value.iter().position(|&octet| octet == b'/').unwrap_or(value.len());
    let at = value[..slash].iter().position(|&octet| octet == b'@');
    let address = at.filter(|&at| {
        is_plain(JidPart::Local, &value[..at])
            && at + 1 < slash
            && value.iter().all(|octet| (0x20..0x7F).contains(octet))
            && (slash == value.len() || is_plain(JidPart::Resource, &value[slash + 1..]))
    });
    Answers {
        marks: Marks { stops, rare: bits(&|octet| octet >= 0x80 || is_break(octet)) },
        equal: bits(&|octet| octet == b'='),
        name_len: rest.iter().take_while(|&&octet| is_name(octet)).count(),
        address: address.map(|at| (ask.at + at, ask.at + slash)),
        places: (0..64).filter(|at| stops >> at & 1 == 1).map(|at| 1000 + at).collect(),
    }
}

fn check(buf: &[u8], at: usize, end: usize) {
    for instructions in Instructions::all() {
        let answers = instructions.run(Ask { buf, at, end });
        let expected = expected(&Ask { buf, at, end });
        assert_eq!(answers, expected, "{instructions:?}, {at}..{end} of {}", buf.escape_ascii());
    }
}

#[test]
fn every_octet_in_every_place_is_told_alike() {
    for octet in 0..=0xFF {
        for at in 0..BLOCK {
            let mut buf = *b"abc@example.org/resource-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKL";
            buf[at] = octet;
            check(&buf, 0, BLOCK);
            check(&buf, at, BLOCK);
            check(&buf[at..], 0, BLOCK - at);
        }
    }
}

#[test]
fn many_octets_at_once_are_told_alike() {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let favourites = b"<>&'\"\t\n\r\0\x1f @/:AZaz09-._\x7f\x80\xff=";
    for _ in 0..20_000 {
        let len = 1 + random() % 100;
        let crowded = random() % 8;
        let buf: Vec<u8> = (0..len)
            .map(|_| match random() % 8 {
                few if few < crowded => favourites[random() % favourites.len()],
                _ => b'a' + (random() % 26) as u8,
            })
            .collect();
        let at = random() % len;
        check(&buf, at, at + random() % (len - at + 1));
    }
}

#[test]
fn long_addresses_are_read() {
    for local in [1, 30, 31, 32, 33, 62, 63, 64, 65, 1023, 1024] {
        for resource in [1, 10, 1023, 1024] {
            let address = format!("'{}@b.example/{}'", "a".repeat(local), "r".repeat(resource));
            check(address.as_bytes(), 1, address.len() - 1);
        }
    }
}

#[test]
fn the_best_path_is_one_of_all() {
    assert!(Instructions::all().contains(&Instructions::best()));
    assert_eq!(Instructions::all().first(), Some(&Instructions::Portable));
}
