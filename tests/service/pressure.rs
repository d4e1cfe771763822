//! More comes than goes out: the sender waits at his own socket, nobody else does, and nothing is lost or refused for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::estate::{Estate, Plan, wait};
use crate::peers::inbox::OUTAGE;
use crate::peers::stream::chat;
use crate::peers::wire::Wire;
use crate::tracks::gateway_stream;

/// Octets of a message: large, as what all the sockets on the way hold has to be filled.
const BODY: usize = 16 * 1024;

/// More than a share and all sockets on the way hold together.
const FLOOD: usize = 4000;

/// What may lie in a spool beyond a share: what was read before the driver heard that it is full.
const SLACK: u64 = 2 * 1024 * 1024;

fn message(from: &str, to: &str, number: usize) -> String {
    chat(from, to, &format!("m{number}"), &"x".repeat(BODY))
}

/// Somebody who sends as fast as he is read.
struct Flood {
    sent: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Wire>,
}

impl Flood {
    fn begin(mut wire: Wire, from: &'static str, to: &'static str) -> Self {
        let (sent, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&sent), Arc::clone(&enough));
        // He waits until what he has sent before is too old to be kept.
        wire.send_within(OUTAGE);
        let thread = std::thread::spawn(move || {
            for number in 0..FLOOD {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                wire.send(message(from, to, number));
                count.fetch_add(1, Ordering::Relaxed);
            }
            wire
        });
        Self { sent, enough, thread }
    }

    /// It is over: the sender, for the end of the test, and how many went out.
    fn end(self) -> (Wire, usize) {
        let wire = self.thread.join().unwrap();
        (wire, self.sent.load(Ordering::Relaxed))
    }
}

fn sums(estate: &Estate) -> (u64, u64, u64) {
    let published = estate.router.published();
    let sum =
        |of: fn(&turnout_core::tally::Tally) -> u64| published.iter().map(|shard| of(&shard.tally)).sum();
    (sum(|tally| tally.paused_links), sum(|tally| tally.spooled_bytes), sum(|tally| tally.pauses))
}

fn until_paused(estate: &Estate) {
    wait("a link that is not read", || {
        let (paused, spooled, _) = sums(estate);
        if paused == 1 { Ok(()) } else { Err(format!("{paused} links are paused, {spooled} bytes wait")) }
    });
}

#[test]
fn a_recipient_that_stops_reading_stalls_his_sender_and_nobody_else() {
    let share = 256 * 1024;
    let estate =
        Estate::with(&Plan { more: format!("[flow]\nshare_bytes_max = {share}"), ..Plan::default() });
    let (bob, anna) = ("bob@partner.example/phone", "anna@contoso.com");
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(message(bob, anna, FLOOD));
    estate.gateway.stanzas.at_least(1);

    estate.gateway.deaf.store(true, Ordering::Relaxed);
    let flood = Flood::begin(wire, bob, anna);
    until_paused(&estate);
    assert!(!flood.thread.is_finished(), "the sender waits, as what he says is not read");
    let (_, spooled, _) = sums(&estate);
    assert!(spooled <= share + SLACK, "{spooled} bytes wait");

    // Others are not held up: on another stream of the same partner, to a pool.
    let mut other = estate.partner_stream("contoso.com");
    for _ in 0..10 {
        other.send(chat("rob@partner.example/phone", "carla@contoso.com", "m", "hello"));
    }
    estate.pool.requests.at_least(12);
    let (paused, spooled, _) = sums(&estate);
    assert!(paused == 1 && spooled <= share + SLACK, "{paused} links are paused, {spooled} bytes wait");

    estate.gateway.deaf.store(false, Ordering::Relaxed);
    let (wire, sent) = flood.end();
    assert_eq!(sent, FLOOD);
    let read = estate.gateway.stanzas.at_least(FLOOD + 1);
    for (number, stanza) in read[1..].iter().enumerate() {
        assert!(*stanza == message(bob, anna, number), "stanza {number} is another: {:.120}", stanza);
    }
    let passed = estate.finish(FLOOD as u64 + 11);
    assert_eq!((passed.delivered, passed.bounced), (FLOOD as u64 + 11, 0));
    drop((wire, other));
}

#[test]
fn a_recipient_that_never_comes_back_costs_his_sender_an_error_each() {
    // So large a share that what lies in the sockets when it is full is no more than another one.
    let more = "[flow]\nshare_bytes_max = 8388608".to_owned();
    let estate = Estate::with(&Plan { drain_seconds: 20, more, ..Plan::default() });
    let (anna, bob) = ("anna@contoso.com/Office", "bob@partner.example");
    let mut wire = gateway_stream(&estate);
    wire.send(message(anna, bob, FLOOD));
    estate.partner.stanzas.at_least(1);

    estate.partner.deaf.store(true, Ordering::Relaxed);
    let flood = Flood::begin(wire, anna, bob);
    until_paused(&estate);
    assert!(!flood.thread.is_finished(), "the sender waits");
    flood.enough.store(true, Ordering::Relaxed);
    estate.partner.vanish();
    let (wire, sent) = flood.end();
    assert!(sent < FLOOD);

    // Whatever had not gone out is answered when it has waited long enough, each once, and the sender is read again: what he had written
    // meanwhile, and the kernels kept, waits as long.
    estate.until_within(OUTAGE * 2, &format!("an end for each of {sent} and one"), |passed, made, held| {
        passed.received == sent as u64 + 1
            && passed.expected_held() == 0
            && made.expected_held() == 0
            && held == 0
    });
    let (paused, spooled, _) = sums(&estate);
    assert_eq!((paused, spooled), (0, 0));
    let (passed, ..) = estate.tallies();
    assert!(passed.bounced > 0 && passed.delivered + passed.bounced == sent as u64 + 1, "{passed:?}");
    let errors = estate.gateway.stanzas.at_least(passed.bounced as usize);
    assert_eq!(errors.len() as u64, passed.bounced);
    assert!(errors.iter().all(|error| error.contains("<remote-server-timeout ")), "{:.300}", errors[0]);
    estate.finish(sent as u64 + 1);
    drop(wire);
}
