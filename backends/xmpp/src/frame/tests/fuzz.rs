//! A seeded fuzzer: inputs grow out of a small corpus by cutting, doubling, swapping and changing octets, and those that lead to a
//! new length of what is taken are kept to grow from. Every input has to give the same by the fast way and by the scanner.

use super::super::FrameLimits;
use super::{HEADER, runs};
use std::collections::HashSet;

const ITERATIONS: usize = 20_000;
const INPUT_BYTES_MAX: usize = 1_500;

const CORPUS: [&str; 6] = [
    "<message from='a@b' to='c@d/e' type='chat' id='1'><body>it's &lt;3 \u{e9}</body><x xmlns='y' z=\"w\"/></message>",
    "<iq type='get' id='2' to='c@d' from='a@b/f'><ping xmlns='urn:xmpp:ping'/></iq><presence from='a@b' to='c@d'/>",
    "<presence to=\"c@d\" xml:lang='de' from='a@b'><show>away</show>\n<c xmlns='http://x' hash='sha-1' ver='='/></presence >",
    "<message xmlns='jabber:server' from='a@b' to='c@d'>]] > &#x41;<a><b xmlns=''><c/></b></a></message> <iq/>",
    "<message from='a@b' to='c@d'>\u{ffe5}\u{fffd}\u{4f60}\u{1f600}<![CDATA[x]]></message>",
    "<iq from='a@b' to='c@d' type='result' id=''/></stream:stream>",
];

const WORDS: [&[u8]; 26] = [
    b"<",
    b">",
    b"/>",
    b"</",
    b"'",
    b"\"",
    b"&",
    b";",
    b"&amp;",
    b"]]>",
    b" ",
    b"\n",
    b"=",
    b"@",
    b"/",
    b":",
    b"\0",
    b"\x80",
    b"\xef\xbf\xbe",
    b"xmlns=",
    b" xml:lang='",
    b" from='",
    b"<a>",
    b"</a>",
    b"<![CDATA[",
    b"A",
];

struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        start..(start + self.below(24)).min(len)
    }
}

/// One more step away from the corpus.
fn mutated(mut input: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let place = random.range(input.len());
        match random.below(6) {
            0 => drop(input.splice(place, [])),
            1 => {
                let doubled = input[place.clone()].to_vec();
                drop(input.splice(place.end..place.end, doubled));
            }
            2 => {
                drop(input.splice(place.start..place.start, WORDS[random.below(WORDS.len())].iter().copied()))
            }
            3 => drop(input.splice(place, WORDS[random.below(WORDS.len())].iter().copied())),
            4 => drop(input.splice(place, other[random.range(other.len())].iter().copied())),
            _ => {
                if let Some(octet) = input.get_mut(place.start) {
                    *octet ^= 1 << random.below(8);
                }
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

#[test]
fn whatever_grows_out_of_stanzas_gives_the_same_both_ways() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut grown: Vec<Vec<u8>> = CORPUS.iter().map(|input| input.as_bytes().to_vec()).collect();
    let (mut seen, mut taken) = (HashSet::new(), 0);
    for _ in 0..ITERATIONS {
        let other = grown[random.below(grown.len())].clone();
        let inside = mutated(grown[random.below(grown.len())].clone(), &other, &mut random);
        let input = [HEADER.as_bytes(), &inside].concat();
        let cut = HEADER.len() + random.below(inside.len());
        let plain = runs::check(FrameLimits::default(), &input, std::iter::once(cut));
        taken += plain;
        if plain > 0 && grown.len() < 400 && seen.insert((plain, inside.len())) {
            grown.push(inside);
        }
    }
    assert!(taken > ITERATIONS / 4, "{taken}: the fast way is hardly seen");
}
