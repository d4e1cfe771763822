//! Documents that grow out of others by cutting, doubling, crossing and changing octets. Seeded: a failure comes back.

const BYTES_MAX: usize = 800;

const WORDS: [&str; 34] = [
    "<",
    ">",
    "/>",
    "</",
    "'",
    "\"",
    "&",
    ";",
    "&amp;",
    "&#65;",
    "]]>",
    "<![CDATA[",
    " ",
    "\n",
    "\r",
    "\t",
    "=",
    ":",
    "p:",
    "q:",
    " xmlns=''",
    " xmlns='urn:q'",
    " xmlns:p='urn:q'",
    " xmlns:q=\"urn:p\"",
    " p:a='b'",
    " q:a='c'",
    " a='d'",
    "<p:x>",
    "</p:x>",
    "<x/>",
    "<message>",
    "</message>",
    "\u{4f60}",
    "<!-- -->",
];

const OCTETS: [&[u8]; 8] =
    [b"\0", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xef\xbf\xbe", b"\xf4\x90", b"\xff", b"\x1f"];

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
        start..(start + self.below(20)).min(len)
    }
}

/// So many that are new.
pub fn grow(seeds: &[Vec<u8>], seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let input = seeds[random.below(seeds.len())].clone();
            let other = &seeds[random.below(seeds.len())];
            mutated(input, other, &mut random)
        })
        .collect()
}

fn mutated(mut input: Vec<u8>, other: &[u8], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let place = random.range(input.len());
        match random.below(8) {
            0 => drop(input.splice(place, [])),
            1 => {
                let doubled = input[place.clone()].to_vec();
                drop(input.splice(place.end..place.end, doubled));
            }
            2 | 3 => {
                let word = WORDS[random.below(WORDS.len())];
                drop(input.splice(place.start..place.start, word.bytes()));
            }
            4 => drop(input.splice(place, WORDS[random.below(WORDS.len())].bytes())),
            5 => drop(input.splice(place, other[random.range(other.len())].iter().copied())),
            6 => {
                let octets = OCTETS[random.below(OCTETS.len())];
                drop(input.splice(place.start..place.start, octets.iter().copied()));
            }
            _ => {
                if let Some(octet) = input.get_mut(place.start) {
                    *octet ^= 1 << random.below(8);
                }
            }
        }
    }
    input.truncate(BYTES_MAX);
    input
}
