//! Where the octets stand that cut a head, 64 octets at a time. Invariant: a bit is set for exactly the octets named.

/// Octets looked at together.
pub(super) const BLOCK: usize = 64;

/// A bit for each octet, the first lowest, that is a control character, a tab included, or a colon.
pub(super) fn stops(block: &[u8; BLOCK]) -> u64 {
    // Written so that the compiler compares many at once. A bit of each octet is left, then eight are gathered by one multiplication: what
    // is carried from one product into another never reaches the highest octet.
    let mut flags = [0_u8; BLOCK];
    for (flag, octet) in flags.iter_mut().zip(block) {
        *flag = u8::from((*octet < b' ') | (*octet == b':') | (*octet == 0x7f));
    }
    let eight = flags.as_chunks::<8>().0.iter();
    let gathered = eight.map(|eight| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    gathered.enumerate().fold(0, |stops, (at, eight)| stops | eight << (at * 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_at_every_place_is_seen_as_it_is() {
        for octet in 0..=u8::MAX {
            for at in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[at] = octet;
                block[(at + 1) % BLOCK] = octet.wrapping_mul(7);
                let one_by_one = block.iter().rev().fold(0, |stops, octet| {
                    stops << 1 | u64::from(octet.is_ascii_control() || *octet == b':')
                });
                assert_eq!(stops(&block), one_by_one, "{octet} at {at}");
            }
        }
        assert_eq!(stops(&[b':'; BLOCK]), u64::MAX);
    }
}
