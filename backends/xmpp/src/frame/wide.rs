//! Looking at many octets at once, with what the processor has for that: AVX-512BW, AVX2, or plain words of 64 bits.
//!
//! Invariant: all ways give the same answers for the same octets, and none reads outside the slice it is given: blocks are
//! arrays, and the last octets of a slice are copied to one. This is the one module of the crate that may hold `unsafe`;
//! what makes it sound is that a value of [`Avx2`] or [`Avx512`] is made only by [`Instructions::run`], behind a look at the processor.
//! Nobody else can name the two.

use super::stops::Stops;
use turnout_core::jid::{JidPart, is_plain};

/// Octets looked at in one step.
pub(super) const BLOCK: usize = 64;

/// Places written at a time, however many are needed.
pub(super) const WRITTEN: usize = 16;

/// Which instructions a framer uses for the fast way; its answers do not depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instructions {
    /// Words of 64 bits; on every processor.
    Portable,
    /// AVX2, BMI1, BMI2, LZCNT and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Those, AVX-512F, AVX-512BW and AVX-512-VBMI2.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Work to be done with the instructions of a path. `run` has to be `#[inline(always)]`, and so has everything in it that calls a
/// [`Wide`], or it is compiled without those instructions.
pub(super) trait Task {
    type Output;

    fn run<W: Wide>(self, wide: W) -> Self::Output;
}

/// What 64 octets hold, a bit for each, the first one lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    /// `<`, `>`, `&`, either quote, and the controls that XML does not allow.
    pub(super) stops: u64,
    /// Tab, line feed, carriage return, and octets from 0x80.
    pub(super) rare: u64,
}

/// The steps a path has to know.
pub(super) trait Wide: Copy {
    fn marks(self, block: &[u8; BLOCK]) -> Marks;

    /// Writes `base` plus the number of each of the lowest bits that are set, [`WRITTEN`] of them; the others are returned. What is
    /// written where there are less bits means nothing.
    #[inline(always)]
    fn place(self, mut bits: u64, base: u32, places: &mut [u32; WRITTEN]) -> u64 {
        let (first, second) = places.split_at_mut(WRITTEN / 2);
        for half in [first, second] {
            for place in half {
                *place = base + bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
            }
            if bits == 0 {
                break;
            }
        }
        bits
    }

    /// Which octets are this one.
    fn equal(self, block: &[u8; BLOCK], octet: u8) -> u64;

    /// Which octets differ.
    fn differing(self, one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64;

    /// How many octets of ASCII name characters, colons left out, stand at `at`; at most 32 are counted.
    fn name_len(self, buf: &[u8], at: usize) -> usize;

    /// Where the `@` and the `/` of an address are, the latter at `end` where there is no resource; `None` if it has no local
    /// part or its parts are not plain. The domain is only known to be printable ASCII and not empty.
    fn address(self, buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)>;

    /// [`Stops::index`] with these instructions, as a function of its own.
    fn index(self, buf: &[u8], stops: &mut Stops);
}

impl Instructions {
    /// The best this processor has. The look is cached.
    pub fn best() -> Self {
        Self::all().last().copied().unwrap_or(Self::Portable)
    }

    /// Every path this processor has, the best one last.
    pub fn all() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            let all: &[Self] = &[Self::Portable, Self::Avx2, Self::Avx512];
            let has_avx2 = std::is_x86_feature_detected!("avx2")
                && std::is_x86_feature_detected!("bmi1")
                && std::is_x86_feature_detected!("bmi2")
                && std::is_x86_feature_detected!("lzcnt")
                && std::is_x86_feature_detected!("popcnt");
            let has_avx512 = has_avx2
                && std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vbmi2");
            let known = if has_avx512 { 3 } else { 1 + usize::from(has_avx2) };
            all.get(..known).unwrap_or(all)
        }
        #[cfg(not(target_arch = "x86_64"))]
        &[Self::Portable]
    }

    /// Does the work; with the portable steps where the processor lacks what this path needs.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Portable && Self::all().contains(&self) {
            return x86::run(self, task);
        }
        task.run(Portable)
    }
}

/// Fewer octets than a block, with white space behind them.
pub(super) fn tail<'a, const N: usize>(rest: &[u8], copy: &'a mut [u8; N]) -> &'a [u8; N] {
    for (to, from) in copy.iter_mut().zip(rest) {
        *to = *from;
    }
    copy
}

/// The eight octets at `at`, the first one lowest; `None` where there are less.
#[inline(always)]
#[expect(unsafe_code, reason = "two comparisons instead of one, several times for each attribute, are felt")]
pub(super) fn word(buf: &[u8], at: usize) -> Option<u64> {
    if at >= buf.len().saturating_sub(7) {
        return None;
    }
    // SAFETY: at + 8 <= buf.len(), so all eight octets are in the slice.
    Some(u64::from_le(unsafe { buf.as_ptr().add(at).cast::<u64>().read_unaligned() }))
}

/// [`Wide::address`], an octet at a time.
fn address(buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let value = buf.get(start..end)?;
    let slash = memchr::memchr(b'/', value).unwrap_or(value.len());
    let at = memchr::memchr(b'@', value.get(..slash)?)?;
    let domain = value.get(at + 1..slash)?;
    let plain = is_plain(JidPart::Local, value.get(..at)?)
        && !domain.is_empty()
        && domain.iter().all(|b| matches!(b, 0x20..=0x7E))
        && value.get(slash + 1..).is_none_or(|resource| is_plain(JidPart::Resource, resource));
    plain.then_some((start + at, start + slash))
}

/// Words of 64 bits.
#[derive(Clone, Copy, Debug)]
struct Portable;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The bit 0x80 of each octet of `word` that is 0. Exact: nothing is carried from one octet to the next.
const fn zeros(word: u64) -> u64 {
    !(((word & !HIGH) + !HIGH) | word) & HIGH
}

/// The bits 0x80 of eight octets, side by side.
const fn gather(word: u64) -> u64 {
    ((word >> 7).wrapping_mul(0x0102_0408_1020_4080)) >> 56
}

/// A bit for each octet of the block, from bits 0x80 of each word.
#[inline(always)]
fn each_word(block: &[u8; BLOCK], look: impl Fn(u64) -> u64) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    let bits = words.iter().rev().map(|word| gather(look(u64::from_le_bytes(*word))));
    bits.fold(0, |all, bits| all << 8 | bits)
}

impl Wide for Portable {
    #[inline(always)]
    fn marks(self, block: &[u8; BLOCK]) -> Marks {
        let is = |word: u64, octet: u8| zeros(word ^ (ONES * u64::from(octet)));
        let (words, _) = block.as_chunks::<8>();
        let mut marks = Marks { stops: 0, rare: 0 };
        for (at, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let sought = is(word, b'<') | is(word, b'>') | is(word, b'&') | is(word, b'\'') | is(word, b'"');
            let controls = zeros(word & (0xE0 * ONES));
            let high = word & HIGH;
            if sought | controls | high == 0 {
                continue;
            }
            let breaks = is(word, b'\t') | is(word, b'\n') | is(word, b'\r');
            marks.stops |= gather(sought | (controls & !breaks)) << (8 * at);
            marks.rare |= gather(breaks | high) << (8 * at);
        }
        marks
    }

    #[inline(always)]
    fn equal(self, block: &[u8; BLOCK], octet: u8) -> u64 {
        each_word(block, |word| zeros(word ^ (ONES * u64::from(octet))))
    }

    #[inline(always)]
    fn differing(self, one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64 {
        let (ones, others) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
        let words = ones.iter().zip(others).rev();
        words.fold(0, |all, (one, other)| {
            let equal = gather(zeros(u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other)));
            all << 8 | (equal ^ 0xFF)
        })
    }

    #[inline(always)]
    fn name_len(self, buf: &[u8], at: usize) -> usize {
        let rest = buf.get(at..).unwrap_or_default();
        let rest = rest.get(..32).unwrap_or(rest);
        rest.iter().position(|&b| !is_name(b)).unwrap_or(rest.len())
    }

    #[inline(always)]
    fn address(self, buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
        address(buf, start, end)
    }

    #[inline(always)]
    fn index(self, buf: &[u8], stops: &mut Stops) {
        stops.index(self, buf);
    }
}

/// A name character that is ASCII and no colon.
const fn is_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_')
}

#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "vector instructions are only safe to call where the processor is known to have them"
)]
mod x86 {
    use super::super::stops::Stops;
    use super::{BLOCK, Instructions, Marks, Task, WRITTEN, Wide, address, is_name, tail};
    use std::arch::x86_64::*;

    /// A processor with AVX2, BMI1, BMI2, LZCNT and POPCNT. Made in [`run`] only.
    #[derive(Clone, Copy)]
    struct Avx2(());

    /// Such a one with AVX-512F, AVX-512BW and AVX-512-VBMI2 as well. Made in [`run`] only.
    #[derive(Clone, Copy)]
    struct Avx512(());

    /// Does the work with the instructions of `path`, which [`Instructions::all`] has found.
    pub(super) fn run<T: Task>(instructions: Instructions, task: T) -> T::Output {
        match instructions {
            // SAFETY: the only caller has found the path among those of this processor.
            Instructions::Avx512 => unsafe { run_avx512(task) },
            // SAFETY: as above; and `Portable` never comes here, whose work needs no more than this.
            Instructions::Avx2 | Instructions::Portable => unsafe { run_avx2(task) },
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn run_avx2<T: Task>(task: T) -> T::Output {
        task.run(Avx2(()))
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vbmi2")]
    fn run_avx512<T: Task>(task: T) -> T::Output {
        task.run(Avx512(()))
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    #[inline(never)]
    fn index_avx2(buf: &[u8], stops: &mut Stops) {
        stops.index(Avx2(()), buf);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vbmi2")]
    #[inline(never)]
    fn index_avx512(buf: &[u8], stops: &mut Stops) {
        stops.index(Avx512(()), buf);
    }

    /// For each low half of an octet the octet to be found that has it. The five stops and the three controls XML allows differ in
    /// their low halves, so one look-up and one comparison find all eight.
    const SOUGHT: [u8; 16] = {
        let mut table = [0xFF; 16];
        let mut at = 0;
        let sought = *b"<>&'\"\t\n\r";
        while at < sought.len() {
            table[(sought[at] & 15) as usize] = sought[at];
            at += 1;
        }
        table
    };

    /// For each high half of an octet its bit in the tables by low half; none beyond ASCII.
    const HALVES: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0];

    /// For each low half of an octet the high halves with which it is a name character.
    const NAME: [u8; 16] = {
        let mut table = [0; 16];
        let mut octet = 0u8;
        while octet < 0x80 {
            table[(octet & 15) as usize] |= (is_name(octet) as u8) << (octet >> 4);
            octet += 1;
        }
        table
    };

    /// The same for what a plain local part may hold (a test holds it against the core's own table).
    const LOCAL: [u8; 16] = {
        let mut table = [0; 16];
        let mut octet = 0x21u8;
        while octet < 0x7F {
            let odd = matches!(octet, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' | b'A'..=b'Z');
            table[(octet & 15) as usize] |= (!odd as u8) << (octet >> 4);
            octet += 1;
        }
        table
    };

    const NUMBERS: [u8; BLOCK] = {
        let mut numbers = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            numbers[at] = at as u8;
            at += 1;
        }
        numbers
    };

    /// Without the lowest [`WRITTEN`] bits that are set.
    #[inline(always)]
    fn clear_lowest(bits: u64) -> u64 {
        (0..WRITTEN).fold(bits, |bits, _| bits & bits.wrapping_sub(1))
    }

    #[inline(always)]
    fn block32(buf: &[u8], at: usize, copy: &mut [u8; 32]) -> __m256i {
        let rest = buf.get(at..).unwrap_or_default();
        let block: &[u8; 32] = rest.first_chunk().unwrap_or_else(|| tail(rest, copy));
        // SAFETY: 32 octets may be read where a reference to 32 octets points. The caller has an `Avx2` or `Avx512`.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }

    /// The octets of a vector that are in none of a table's classes.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn outside(octets: __m256i, table: &[u8; 16]) -> u32 {
        // SAFETY: 16 octets are read where a reference to as many points; AVX2 is promised.
        unsafe {
            let halves = _mm256_broadcastsi128_si256(_mm_loadu_si128(HALVES.as_ptr().cast()));
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(octets), _mm256_set1_epi8(15));
            let inside =
                _mm256_and_si256(_mm256_shuffle_epi8(table, octets), _mm256_shuffle_epi8(halves, high));
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(inside, _mm256_setzero_si256())).cast_unsigned()
        }
    }

    /// The highest bit of each octet.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn bits(octets: __m256i) -> u64 {
        // SAFETY: AVX2 is promised.
        u64::from(unsafe { _mm256_movemask_epi8(octets) }.cast_unsigned())
    }

    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn equal32(octets: __m256i, octet: u8) -> u64 {
        // SAFETY: AVX2 is promised.
        unsafe { bits(_mm256_cmpeq_epi8(octets, _mm256_set1_epi8(octet.cast_signed()))) }
    }

    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn name_len(buf: &[u8], at: usize) -> usize {
        let octets = block32(buf, at, &mut [0; 32]);
        // SAFETY: AVX2 is promised.
        let outside = unsafe { outside(octets, &NAME) };
        outside.trailing_zeros() as usize
    }

    /// The octets of an address, 32 from `start`: those that are `@`, are `/`, fit no local part, are no printable ASCII.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn address_marks(buf: &[u8], start: usize) -> [u64; 4] {
        let octets = block32(buf, start, &mut [0; 32]);
        // SAFETY: AVX2 is promised.
        unsafe {
            // As signed numbers controls and what is beyond ASCII are below the space.
            let low = _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), octets);
            let unprintable = bits(low) | equal32(octets, 0x7F);
            [equal32(octets, b'@'), equal32(octets, b'/'), u64::from(outside(octets, &LOCAL)), unprintable]
        }
    }

    /// # Safety
    /// The processor has AVX2, BMI1 and BMI2.
    #[inline(always)]
    unsafe fn short_address(buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
        let len = end.checked_sub(start)?;
        if len > 64 {
            return address(buf, start, end);
        }
        // SAFETY: AVX2 is promised.
        let mut marks = unsafe { address_marks(buf, start) };
        if len > 32 {
            // SAFETY: as above.
            let more = unsafe { address_marks(buf, start + 32) };
            for (low, high) in marks.iter_mut().zip(more) {
                *low |= high << 32;
            }
        }
        let [ats, slashes, not_local, unprintable] = marks;
        let at = ats.trailing_zeros() as usize;
        let slash = (slashes.trailing_zeros() as usize).min(len);
        let below = |bits: u64, count: usize| if count < 64 { bits & !(u64::MAX << count) } else { bits };
        let good = at > 0
            && at + 1 < slash
            && slash + 1 != len
            && below(not_local, at) | below(unprintable, len) == 0;
        good.then_some((start + at, start + slash))
    }

    impl Wide for Avx2 {
        #[inline(always)]
        fn marks(self, block: &[u8; BLOCK]) -> Marks {
            let (low, high) = block.split_at(32);
            // SAFETY: `self` says that the processor has AVX2.
            let (low, high) = unsafe { (marks32(low), marks32(high)) };
            Marks { stops: low.stops | high.stops << 32, rare: low.rare | high.rare << 32 }
        }

        #[inline(always)]
        fn equal(self, block: &[u8; BLOCK], octet: u8) -> u64 {
            let (low, high) = (block32(block, 0, &mut [0; 32]), block32(block, 32, &mut [0; 32]));
            // SAFETY: `self` says that the processor has AVX2.
            unsafe { equal32(low, octet) | equal32(high, octet) << 32 }
        }

        #[inline(always)]
        fn differing(self, one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64 {
            let half = |block, at| block32(block, at, &mut [0; 32]);
            // SAFETY: `self` says that the processor has AVX2.
            unsafe {
                let low = bits(_mm256_cmpeq_epi8(half(one, 0), half(other, 0)));
                !(low | bits(_mm256_cmpeq_epi8(half(one, 32), half(other, 32))) << 32)
            }
        }

        #[inline(always)]
        fn name_len(self, buf: &[u8], at: usize) -> usize {
            // SAFETY: `self` says that the processor has AVX2.
            unsafe { name_len(buf, at) }
        }

        #[inline(always)]
        fn address(self, buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
            // SAFETY: `self` says that the processor has AVX2, BMI1 and BMI2.
            unsafe { short_address(buf, start, end) }
        }

        #[inline(always)]
        fn index(self, buf: &[u8], stops: &mut Stops) {
            // SAFETY: `self` says that the processor has all this needs.
            unsafe { index_avx2(buf, stops) }
        }
    }

    /// The marks of 32 octets. An octet both sought and a control is one of the three that XML allows, one that is neither means
    /// nothing, so what differs is a stop.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn marks32(octets: &[u8]) -> Marks {
        let octets = block32(octets, 0, &mut [0; 32]);
        // SAFETY: 16 octets are read where a reference to as many points; AVX2 is promised.
        unsafe {
            let sought = _mm256_broadcastsi128_si256(_mm_loadu_si128(SOUGHT.as_ptr().cast()));
            let found = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(sought, octets), octets);
            let control = _mm256_cmpeq_epi8(_mm256_min_epu8(octets, _mm256_set1_epi8(0x1F)), octets);
            let rare = _mm256_or_si256(octets, _mm256_and_si256(found, control));
            Marks { stops: bits(_mm256_xor_si256(found, control)), rare: bits(rare) }
        }
    }

    impl Wide for Avx512 {
        #[inline(always)]
        fn marks(self, block: &[u8; BLOCK]) -> Marks {
            // SAFETY: 64 octets are read where a reference to as many points; `self` says that the processor has AVX-512BW.
            unsafe {
                let octets = _mm512_loadu_si512(block.as_ptr().cast());
                let sought = _mm512_broadcast_i32x4(_mm_loadu_si128(SOUGHT.as_ptr().cast()));
                let found = _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(sought, octets), octets);
                let controls = _mm512_cmplt_epu8_mask(octets, _mm512_set1_epi8(0x20));
                Marks { stops: found ^ controls, rare: found & controls | _mm512_movepi8_mask(octets) }
            }
        }

        #[inline(always)]
        fn place(self, bits: u64, base: u32, places: &mut [u32; WRITTEN]) -> u64 {
            // SAFETY: 16 numbers are written where a reference to as many points; `self` says that the processor has AVX-512F and
            // AVX-512-VBMI2.
            unsafe {
                let numbers = _mm512_loadu_si512(NUMBERS.as_ptr().cast());
                let numbers = _mm512_maskz_compress_epi8(bits, numbers);
                let numbers = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(numbers));
                let numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(base.cast_signed()));
                _mm512_storeu_si512(places.as_mut_ptr().cast(), numbers);
            }
            // More than these are rare.
            if bits.count_ones() as usize <= WRITTEN { 0 } else { clear_lowest(bits) }
        }

        #[inline(always)]
        fn equal(self, block: &[u8; BLOCK], octet: u8) -> u64 {
            // SAFETY: 64 octets are read where a reference to as many points; `self` says that the processor has AVX-512BW.
            unsafe {
                let octets = _mm512_loadu_si512(block.as_ptr().cast());
                _mm512_cmpeq_epi8_mask(octets, _mm512_set1_epi8(octet.cast_signed()))
            }
        }

        #[inline(always)]
        fn differing(self, one: &[u8; BLOCK], other: &[u8; BLOCK]) -> u64 {
            // SAFETY: 64 octets are read where a reference to as many points; `self` says that the processor has AVX-512BW.
            unsafe {
                let one = _mm512_loadu_si512(one.as_ptr().cast());
                _mm512_cmpneq_epi8_mask(one, _mm512_loadu_si512(other.as_ptr().cast()))
            }
        }

        #[inline(always)]
        fn name_len(self, buf: &[u8], at: usize) -> usize {
            // SAFETY: `self` says that the processor has AVX2 as well.
            unsafe { name_len(buf, at) }
        }

        #[inline(always)]
        fn address(self, buf: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
            // SAFETY: `self` says that the processor has AVX2, BMI1 and BMI2 as well.
            unsafe { short_address(buf, start, end) }
        }

        #[inline(always)]
        fn index(self, buf: &[u8], stops: &mut Stops) {
            // SAFETY: `self` says that the processor has all this needs.
            unsafe { index_avx512(buf, stops) }
        }
    }
}

#[cfg(test)]
mod tests;
