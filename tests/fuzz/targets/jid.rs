//! Addresses.
#![no_main]

#[path = "../subjects/jid.rs"]
mod subject;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| subject::jid(bytes));
