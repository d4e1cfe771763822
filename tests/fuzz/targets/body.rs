//! Bodies of SIP messages: `media type LF body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| turnout_sip::subjects::body(bytes));
