//! Whether the time in which a dialback key is refused tells where it is wrong (B-22). To be run by hand on a quiet machine:
//! `cargo bench -p turnout-xmpp --bench keys`. Two kinds of wrong keys, in an order drawn by lot: one differs from the right one in its first
//! character, the other in its last. Welch's t beyond 4.5 would say that they can be told apart.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a measurement")]

use std::hint::black_box;
use std::time::Instant;

use turnout_core::backend::Backend;
use turnout_core::io::Side;
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt};
use turnout_core::random::Random;

use net::{partner, world};
use raw::{Raw, header};

#[path = "../../backends/xmpp/tests/streams/net.rs"]
mod net;
#[path = "../../backends/xmpp/tests/streams/raw.rs"]
mod raw;

const ROUNDS: usize = 400_000;

#[expect(clippy::disallowed_methods, reason = "this is what is measured")]
fn main() {
    let mut raw = Raw::new(
        Side::Partners,
        world(&["contoso.com"], vec![partner("partner.example", Opt, Opt, true)], No),
    );
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    let ask =
        |key: &str| format!("<db:verify from='partner.example' to='contoso.com' id='1'>{key}</db:verify>");
    // The right key is found by what we would offer: as the initiating server of the same pair, for that id.
    let out = raw.dial("contoso.com", "partner.example");
    let said = raw.tell(out, &(raw::answering("partner.example", "contoso.com", "1") + "<stream:features/>"));
    let right =
        said.split("<db:result").nth(1).unwrap().split('>').nth(1).unwrap().split('<').next().unwrap();
    assert!(raw.tell(link, &ask(right)).contains("type='valid'"), "the key is the right one");
    let other = |at: usize| {
        let mut key = right.as_bytes().to_vec();
        key[at] = if key[at] == b'0' { b'1' } else { b'0' };
        ask(std::str::from_utf8(&key).unwrap())
    };
    let questions = [other(0), other(right.len() - 1)];
    let mut lot = Random::new(7);
    let mut times: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let which = usize::from(lot.next_u64() & 1 == 1);
        let bytes = bytes::Bytes::copy_from_slice(questions[which].as_bytes());
        let begin = Instant::now();
        drop(black_box(raw.backend.receive(raw.now, link, bytes, &mut raw.out)));
        let took = begin.elapsed().as_nanos() as f64;
        raw.out.outputs.clear();
        if round > ROUNDS / 100 {
            times[which].push(took);
        }
    }
    // What an interrupt did says nothing of the key.
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * 95 / 100];
    let [(n1, m1, v1), (n2, m2, v2)] = times.map(|mut times| {
        times.retain(|time| *time <= limit);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        (count, mean, times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0))
    });
    let t = (m1 - m2) / (v1 / n1 + v2 / n2).sqrt();
    println!("wrong in the first character {m1:.1} ns ({n1}), in the last {m2:.1} ns ({n2}); t = {t:.2}");
}
