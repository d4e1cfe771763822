//! A partner that says anything.
#![no_main]
#![allow(dead_code)]

#[path = "../../../backends/xmpp/tests/streams/net.rs"]
mod net;
#[path = "../../../backends/xmpp/tests/streams/raw.rs"]
mod raw;
#[path = "../subjects/stream.rs"]
mod subject;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| subject::stream(bytes));
