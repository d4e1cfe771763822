//! SIP streams beside sipx-sip and rsip: where messages end, which are used, and what they say.
#![no_main]

use verdict::{agree, ours};

#[path = "../../../backends/sip/tests/oracle/verdict.rs"]
mod verdict;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    agree(bytes);
    let whole = ours(&[bytes]);
    let at = usize::from(bytes.first().copied().unwrap_or(0)) % (bytes.len() + 1);
    assert_eq!(ours(&[&bytes[..at], &bytes[at..]]), whole);
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(ours(&octets), whole);
});
