//! Octets as words. Invariant: two names of up to eight octets are equal exactly if their words are, since no name holds NUL.

pub(super) const fn key(name: &[u8]) -> u64 {
    let mut key = 0;
    let mut at = 0;
    while at < name.len() && at < 8 {
        key |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    key
}

/// Such a word as [`Walk::short`] makes it: the octets at its upper end.
pub(super) const fn short(name: &[u8]) -> u64 {
    key(name) << (64 - 8 * name.len())
}

pub(super) const FROM: u64 = short(b"from");
pub(super) const TO: u64 = short(b"to");
pub(super) const TYPE: u64 = short(b"type");
pub(super) const ID: u64 = short(b"id");
pub(super) const XMLNS_NAME: u64 = short(b"xmlns");
pub(super) const AMP_LT: u64 = short(b"&lt;");
pub(super) const AMP_GT: u64 = short(b"&gt;");
pub(super) const AMP_QUOT: u64 = short(b"&quot;");
pub(super) const AMP_APOS: u64 = short(b"&apos;");

/// The octets from `at` as a word, where they are less than eight.
#[cold]
#[inline(never)]
pub(super) fn last_word(buf: &[u8], at: usize) -> u64 {
    key(buf.get(at..).unwrap_or_default())
}
