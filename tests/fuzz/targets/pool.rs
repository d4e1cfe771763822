//! A pool that says anything.
#![no_main]
#![allow(dead_code)]

#[path = "../../../backends/sip/tests/support/mod.rs"]
mod support;
#[path = "../subjects/pool.rs"]
mod subject;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| subject::pool(bytes));
