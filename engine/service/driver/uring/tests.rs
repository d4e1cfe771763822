//! What only a ring can get wrong; what it has to do like every driver is tested beside the trait.

use std::io::{Read, Write};
use std::net::TcpListener;

use bytes::Bytes;
use turnout_core::home::HomeId;

use super::*;
use crate::driver::share::{Account, SHARED_READ_BYTES};
use crate::mail::post_office;
use crate::resolve::Resolver;
use crate::tls::TlsContext;

const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    driver: Uring,
    post: Post,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (post, mut boxes) = post_office(1);
        let (reports, _) = tokio::sync::mpsc::channel(1);
        let tls = Arc::new(TlsContext::without_certificates());
        let resolver = Resolver::new(&[]).unwrap();
        let outside = Outside::new(runtime.handle().clone(), tls, resolver, reports, 1);
        let mut driver = Uring::new(0, boxes.remove(0), post.clone(), Arc::new(outside)).unwrap();
        // As if it had been published in a minute's time: a turn waits as long as it is told.
        driver.published = Some(crate::clock::now() + Duration::from_secs(60));
        Self { driver, post, _runtime: runtime }
    }

    /// A connection and the peer's end of it.
    fn connect(&mut self) -> (LinkId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let door = Door { side: Side::Home(HomeId(0)), direct_tls: false };
        self.post.try_send(0, Mail::Accepted(stream, door, "peer".into(), Admission::default())).unwrap();
        let link = self.until(|input| match input {
            Input::Accepted { link, .. } => Some(*link),
            _ => None,
        });
        (link, peer)
    }

    fn turn(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        self.driver.wait(Some(crate::clock::now() + Duration::from_millis(20)), &mut inputs);
        inputs
    }

    fn until<T>(&mut self, mut found: impl FnMut(&Input) -> Option<T>) -> T {
        let deadline = crate::clock::now() + PATIENCE;
        while crate::clock::now() < deadline {
            if let Some(result) = self.turn().iter().find_map(&mut found) {
                return result;
            }
        }
        panic!("it did not come");
    }

    fn submit(&mut self, output: Output) {
        let mut out = Outbox::new(0);
        out.outputs.push(output);
        self.driver.submit(&mut out);
    }

    /// Takes what comes until it is so much, and keeps it.
    fn hoard(&mut self, length: usize) -> Vec<Bytes> {
        let (mut hoard, mut came) = (Vec::new(), 0);
        let deadline = crate::clock::now() + PATIENCE;
        while came < length && crate::clock::now() < deadline {
            for input in self.turn() {
                if let Input::Received(_, bytes) = input {
                    came += bytes.len();
                    hoard.push(bytes);
                }
            }
        }
        assert_eq!(came, length);
        hoard
    }
}

/// Bytes that say where they are.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn a_completion_of_an_earlier_life_touches_nobody() {
    let mut rig = Rig::new();
    let (link, peer) = rig.connect();
    let old = rig.driver.table.find(link).unwrap();
    drop(peer);
    rig.until(|input| matches!(input, Input::Closed(gone, _) if *gone == link).then_some(()));
    let (link, mut peer) = rig.connect();
    let new = rig.driver.table.find(link).unwrap();
    assert_eq!(old.slot(), new.slot(), "the slot is used again");
    for (operation, result) in [
        (Operation::Receive, 0),
        (Operation::Receive, -libc::ECONNRESET),
        (Operation::Send, 17),
        (Operation::Cancel, 0),
    ] {
        let token = old.token(operation);
        rig.driver.complete(Completion { token, result, more: false, filled: None });
    }
    peer.write_all(b"still here").unwrap();
    rig.until(|input| {
        assert!(!matches!(input, Input::Closed(..) | Input::Written(..)), "{input:?}");
        matches!(input, Input::Received(came, bytes) if *came == link && &bytes[..] == b"still here")
            .then_some(())
    });
}

#[test]
fn receives_that_found_no_buffer_go_on() {
    const COUNT: usize = 200;
    let mut rig = Rig::new();
    let before = rig.driver.ring.buffers.given();
    let mut peers: Vec<TcpStream> = (0..COUNT).map(|_| rig.connect().1).collect();
    // All are there before the kernel is called: far more than there are buffers.
    for peer in &mut peers {
        peer.write_all(&pattern(10_000)).unwrap();
    }
    let mut starved = 0;
    let mut inputs = Vec::new();
    let deadline = crate::clock::now() + PATIENCE;
    let mut came = 0;
    while came < COUNT * 10_000 && crate::clock::now() < deadline {
        rig.driver.wait(Some(crate::clock::now() + Duration::from_millis(20)), &mut inputs);
        starved = starved.max(rig.driver.starved.len());
        for input in inputs.drain(..) {
            if let Input::Received(_, bytes) = input {
                came += bytes.len();
            }
        }
    }
    assert_eq!(came, COUNT * 10_000);
    assert!(starved > 0 || rig.driver.ring.buffers.given() > before, "nobody ever found no buffer");
    assert_eq!(rig.driver.starved.len(), 0);
    // And all of them receive again.
    for peer in &mut peers {
        peer.write_all(b"again").unwrap();
    }
    rig.hoard(COUNT * 5);
}

#[test]
fn floods_keep_nobody_waiting() {
    let mut rig = Rig::new();
    let mut floods: Vec<TcpStream> = (0..20).map(|_| rig.connect().1).collect();
    let (quiet, mut peer) = rig.connect();
    let bytes = pattern(256 * 1024);
    // What came of the floods while a word of his waited.
    let (mut said, mut waited, mut longest, mut most) = (None, 0, [0, 0], 0);
    for turn in 0..800 {
        for flood in &mut floods {
            flood.set_nonblocking(true).unwrap();
            // As much as the socket takes.
            while flood.write(&bytes).is_ok() {}
        }
        if said.is_none() {
            peer.write_all(b"a word").unwrap();
            (said, waited) = (Some(turn), 0);
        }
        let mut came = 0;
        for input in rig.turn() {
            if let Input::Received(link, bytes) = input {
                came += bytes.len();
                waited += bytes.len();
                if link == quiet {
                    said = None;
                    // Before, nobody knows who floods, and later, who says words.
                    let known = [50..400, 400..800].iter().position(|turns| turns.contains(&turn));
                    known.into_iter().for_each(|at| longest[at] = longest[at].max(waited));
                }
            }
        }
        if turn > 50 {
            most = most.max(came);
        }
    }
    assert!(said.is_none_or(|turn| turn >= 780), "last said in {said:?}");
    assert!(longest[0] <= 1024 * 1024 && longest[1] <= 64 * 1024, "{longest:?} bytes before a word");
    assert!(most <= 1024 * 1024, "{most} bytes in one turn");
}

#[test]
fn who_is_taken_for_modest_has_no_more_than_others_at_once() {
    let mut rig = Rig::new();
    let (link, mut peer) = rig.connect();
    let place = rig.driver.table.find(link).unwrap();
    // A receive that began while turns were long has what there is.
    peer.write_all(b"a word").unwrap();
    rig.hoard(6);
    rig.submit(Output::Pause(link));
    rig.turn();
    rig.driver.table.get(place).unwrap().account = Account::modest();
    rig.driver.share.shorten();
    peer.write_all(&pattern(300_000)).unwrap();
    rig.submit(Output::Resume(link));
    let mut came = 0;
    while came < 300_000 {
        let turn: usize = rig
            .turn()
            .iter()
            .map(|input| if let Input::Received(_, bytes) = input { bytes.len() } else { 0 })
            .sum();
        assert!(turn <= SHARED_READ_BYTES, "{turn} bytes in a turn after {came}");
        came += turn;
    }
}

#[test]
fn however_many_say_words_a_flood_is_heard() {
    let mut rig = Rig::new();
    let (flood, mut loud) = rig.connect();
    loud.set_nonblocking(true).unwrap();
    // Each has one word under way.
    let mut others: Vec<(LinkId, TcpStream, bool)> =
        (0..600).map(|_| rig.connect()).map(|(link, peer)| (link, peer, false)).collect();
    let bytes = pattern(64 * 1024);
    let (mut came, mut longest, mut silent) = (0, 0, 0);
    for turn in 0..1500 {
        while loud.write(&bytes).is_ok() {}
        for (_, peer, said) in others.iter_mut().filter(|(_, _, said)| !said) {
            peer.write_all(&bytes[..3000]).unwrap();
            *said = true;
        }
        silent += 1;
        for input in rig.turn() {
            let Input::Received(link, _) = input else { continue };
            if link == flood {
                (came, silent) = (came + 1, 0);
            } else if let Some((_, _, said)) = others.iter_mut().find(|(other, ..)| *other == link) {
                *said = false;
            }
        }
        if turn > 700 {
            longest = longest.max(silent);
        }
    }
    assert!(came > 0 && longest <= 60, "{came} times, and not for {longest} turns");
}

#[test]
fn whoever_keeps_what_he_was_lent_starves_nobody() {
    // More than the shard has buffers for, and no slice of it is let go.
    const LENGTH: usize = 80 * 1024 * 1024;
    let mut rig = Rig::new();
    let (_, mut peer) = rig.connect();
    let sent = pattern(LENGTH);
    let writer = std::thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer
    });
    let hoard = rig.hoard(LENGTH);
    let mut peer = writer.join().unwrap();
    let expected = pattern(LENGTH);
    let mut at = 0;
    for bytes in &hoard {
        assert!(bytes[..] == expected[at..at + bytes.len()], "a slice was written over, at {at}");
        at += bytes.len();
    }
    let made = rig.driver.ring.buffers.made();
    drop(hoard);
    for _ in 0..3 {
        rig.driver.ring.buffers.trim();
    }
    assert!(rig.driver.ring.buffers.made() < made / 4, "what a burst needed goes back");
    peer.write_all(&expected[..100_000]).unwrap();
    let again: Vec<u8> = rig.hoard(100_000).concat();
    assert!(again == expected[..100_000]);
}

#[test]
fn what_is_cancelled_leaves_no_operation_behind() {
    let mut rig = Rig::new();
    let idle = rig.driver.ring.under_way();
    let mut peers = Vec::new();
    for _ in 0..20 {
        let (link, peer) = rig.connect();
        rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; 16 * 1024 * 1024])));
        peers.push((link, peer));
    }
    rig.turn();
    for (link, _) in &peers {
        rig.submit(Output::Close(*link, Close::Abort));
    }
    let mut closed = 0;
    let deadline = crate::clock::now() + PATIENCE;
    while closed < 20 && crate::clock::now() < deadline {
        closed += rig.turn().iter().filter(|input| matches!(input, Input::Closed(_, Closed::Ours))).count();
    }
    assert_eq!((closed, rig.driver.table.len(), rig.driver.ring.under_way()), (20, 0, idle));
    for (_, mut peer) in peers {
        // He reads what the kernel had, and then the end.
        let mut read = Vec::new();
        drop(peer.read_to_end(&mut read));
        assert!(read.len() < 16 * 1024 * 1024);
    }
}

#[test]
fn the_end_of_a_ring_waits_for_its_operations() {
    let mut rig = Rig::new();
    let (link, mut peer) = rig.connect();
    rig.submit(Output::Transmit(link, Bytes::from_static(b"</stream:stream>")));
    // Nothing has been handed to the kernel yet: the end does it.
    drop(rig);
    let mut read = Vec::new();
    peer.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"</stream:stream>");
}

#[test]
fn small_receives_leave_the_buffers_where_they_are() {
    let mut rig = Rig::new();
    let (_, mut peer) = rig.connect();
    let mut kept = Vec::new();
    for _ in 0..2000 {
        peer.write_all(&[b'x'; 250]).unwrap();
        kept.extend(rig.hoard(250));
    }
    // Half a megabyte kept, in buffers of 64 KiB shared by all, and those the kernel has.
    assert!(rig.driver.ring.buffers.made() <= 16 + 10, "{}", rig.driver.ring.buffers.made());
}

#[test]
fn a_message_that_went_in_part_gives_the_rest_back_in_order() {
    let mut message = ring::message::Message::default();
    for part in ["abc", "def", "ghi"] {
        message.add(Bytes::from_static(part.as_bytes()));
    }
    let mut rest = Vec::new();
    message.empty(4, |bytes| rest.insert(0, bytes));
    assert_eq!(rest.concat(), b"efghi");
    assert!(message.is_empty());
}
