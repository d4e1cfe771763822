//! Presence documents.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnout_sip::subjects::document(bytes));
