//! What every driver does alike: each test runs on `poll` and on `io_uring`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use turnout_core::home::HomeId;
use turnout_core::io::{
    ClientTls, Close, Closed, Door, Handoff, Identity, LinkId, Output, Secured, Side, TlsRole, TrustId,
};

use super::*;
use crate::mail::{MAIL_MAX, post_office};
use crate::resolve::Resolver;
use crate::router::{backends, standard_backend};
use crate::tls::TlsContext;

mod silence;

use silence::first_words_are_written_when_they_arrive;

/// More than the kernel takes on both ends of a loopback connection, less than may wait.
const MUCH: usize = 48 * 1024 * 1024;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

const GATEWAY: Side = Side::Home(HomeId(0));

/// A driver, with one accepted connection whose other end the test holds.
struct Rig {
    driver: Box<dyn Driver>,
    post: Post,
    peer: TcpStream,
    link: LinkId,
    shard: Shard,
    /// What came while something else was looked for.
    seen: Vec<Input>,
    others: Vec<Receiver<Mail>>,
    _runtime: Runtime,
}

/// Both ends of a connection; the second for a driver.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    (peer, stream)
}

fn accepted(stream: TcpStream, side: Side) -> Mail {
    Mail::Accepted(stream, Door { side, direct_tls: false }, "peer".into(), crate::mail::Admission::default())
}

/// A shard that has nothing to do, for drivers that want to show one.
fn idle_shard() -> Shard {
    let look = crate::look::example::look();
    let backends = backends(&look.world, &standard_backend).unwrap();
    Shard::new(0, look.world, look.directory, backends, 1)
}

impl Rig {
    fn new(kind: Kind, side: Side) -> Self {
        Self::with(kind, side, TlsContext::without_certificates())
    }

    fn with(kind: Kind, side: Side, tls: TlsContext) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (post, mut boxes) = post_office(2);
        let (reports, _) = tokio::sync::mpsc::channel(1);
        let resolver = Resolver::new(&[]).unwrap();
        let outside = Outside::new(runtime.handle().clone(), Arc::new(tls), resolver, reports, 2);
        let driver = kind.open(0, boxes.remove(0), post.clone(), Arc::new(outside)).unwrap();
        let (peer, stream) = connection();
        post.try_send(0, accepted(stream, side)).unwrap();
        let (shard, link, seen) = (idle_shard(), LinkId::NONE, Vec::new());
        let mut rig = Self { driver, post, peer, link, shard, seen, others: boxes, _runtime: runtime };
        rig.link = rig.until(|input| match input {
            Input::Accepted { link, .. } => Some(*link),
            _ => None,
        });
        rig
    }

    /// One turn.
    fn turn(&mut self, millis: u64) -> Vec<Input> {
        let mut inputs = Vec::new();
        let soon = crate::clock::now() + Duration::from_millis(millis);
        self.driver.wait(Some(soon), &mut inputs);
        self.driver.publish(crate::clock::now(), &mut self.shard);
        inputs
    }

    fn until<T>(&mut self, mut found: impl FnMut(&Input) -> Option<T>) -> T {
        let deadline = crate::clock::now() + PATIENCE;
        while crate::clock::now() < deadline {
            let mut result = None;
            for input in self.turn(50) {
                result = result.or_else(|| found(&input));
                self.seen.push(input);
            }
            if let Some(result) = result {
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

    /// Sends back what comes on this link, for so many bytes; gives what was written in all.
    fn echo(&mut self, bytes: u64) -> u64 {
        let (mut came, mut written) = (0, 0);
        let deadline = crate::clock::now() + PATIENCE;
        while written < bytes && crate::clock::now() < deadline {
            let mut out = Outbox::new(0);
            for input in self.turn(50) {
                match input {
                    Input::Received(link, bytes) => {
                        came += bytes.len() as u64;
                        out.outputs.push(Output::Transmit(link, bytes));
                    }
                    Input::Written(_, total) => written = total,
                    Input::Closed(_, why) => panic!("{why:?}"),
                    _ => (),
                }
            }
            self.driver.submit(&mut out);
        }
        assert_eq!(came, bytes);
        written
    }
}

/// Bytes in which a piece that is missing, doubled or moved shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn nothing_is_written_once_the_shard_knows_that_a_connection_is_gone(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; MUCH])));
    // He says that he will say no more, and goes on reading.
    rig.peer.shutdown(Shutdown::Write).unwrap();
    let mut peer = rig.peer.try_clone().unwrap();
    rig.until(|input| matches!(input, Input::Closed(_, Closed::Eof)).then_some(()));
    let reader = std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()).unwrap());
    for _ in 0..20 {
        let soon = crate::clock::now() + Duration::from_millis(5);
        rig.driver.wait(Some(soon), &mut Vec::new());
    }
    let read = reader.join().unwrap();
    assert!(read < MUCH as u64, "the rest of what the shard now sends elsewhere was written too");
}

fn who_asks_without_reading_the_answers_is_cut(kind: Kind) {
    let mut rig = Rig::new(kind, Side::Partners);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; MUCH])));
    let why = rig.until(|input| match input {
        Input::Closed(_, Closed::Broken(why)) => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("does not read"), "{why}");
}

fn a_handshake_that_cannot_begin_leaves_no_socket_behind(kind: Kind) {
    let mut rig = Rig::new(kind, Side::Partners);
    let link = rig.link;
    rig.submit(Output::StartTls(link, TlsRole::Server(Side::Partners)));
    rig.until(|input| matches!(input, Input::Closed(_, Closed::Broken(_))).then_some(()));
    let mut byte = [0];
    for _ in 0..4 {
        rig.driver.wait(Some(crate::clock::now()), &mut Vec::new());
    }
    assert_eq!(rig.peer.read(&mut byte).unwrap(), 0, "the socket is closed");
}

fn what_is_queued_leaves_before_an_orderly_end(kind: Kind) {
    let mut rig = Rig::new(kind, Side::Partners);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from_static(b"</stream:stream>")));
    rig.submit(Output::Close(link, Close::Flush));
    rig.peer.set_nonblocking(true).unwrap();
    let mut read = Vec::new();
    for _ in 0..100 {
        let soon = crate::clock::now() + Duration::from_millis(10);
        rig.driver.wait(Some(soon), &mut Vec::new());
        if rig.peer.read_to_end(&mut read).is_ok() {
            break;
        }
    }
    assert_eq!(read, b"</stream:stream>");
    assert_eq!(rig.peer.read(&mut [0]).unwrap(), 0, "our half is closed");
}

fn large_bodies_come_back_whole(kind: Kind) {
    const LENGTH: usize = 20 * 1024 * 1024 + 7;
    let mut rig = Rig::new(kind, GATEWAY);
    let (mut writer, mut reader) = (rig.peer.try_clone().unwrap(), rig.peer.try_clone().unwrap());
    let writer = std::thread::spawn(move || writer.write_all(&pattern(LENGTH)).unwrap());
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; LENGTH];
        reader.read_exact(&mut read).unwrap();
        read
    });
    assert_eq!(rig.echo(LENGTH as u64), LENGTH as u64, "what is written is told, and no more");
    writer.join().unwrap();
    assert!(reader.join().unwrap() == pattern(LENGTH), "the same bytes in the same order");
}

fn many_small_pieces_keep_their_order(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let link = rig.link;
    let mut out = Outbox::new(0);
    for number in 0..5000_u32 {
        out.outputs.push(Output::Transmit(link, Bytes::copy_from_slice(&number.to_be_bytes())));
    }
    rig.driver.submit(&mut out);
    let total = rig.until(|input| match input {
        Input::Written(_, total) if *total == 20_000 => Some(*total),
        _ => None,
    });
    let mut read = vec![0; total as usize];
    rig.peer.read_exact(&mut read).unwrap();
    let numbers: Vec<u32> = read.chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect();
    assert!(numbers.iter().copied().eq(0..5000));
}

fn hundreds_of_connections_are_served_at_once(kind: Kind) {
    const COUNT: usize = 400;
    const EACH: usize = 40_000;
    let mut rig = Rig::new(kind, GATEWAY);
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        let (peer, stream) = connection();
        rig.post.try_send(0, accepted(stream, GATEWAY)).unwrap();
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.write_all(&pattern(EACH)).unwrap();
    }
    let (mut received, mut full) = (hashbrown::HashMap::<LinkId, Vec<u8>>::new(), 0);
    let deadline = crate::clock::now() + PATIENCE;
    while full < COUNT && crate::clock::now() < deadline {
        for input in rig.turn(50) {
            if let Input::Received(link, bytes) = input {
                let all = received.entry(link).or_default();
                all.extend_from_slice(&bytes);
                full += usize::from(all.len() == EACH);
            }
        }
    }
    assert_eq!(full, COUNT);
    assert!(received.values().all(|all| *all == pattern(EACH)));
}

fn what_a_peer_reads_slowly_is_written_in_full(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let link = rig.link;
    let mut peer = rig.peer.try_clone().unwrap();
    rig.submit(Output::Transmit(link, Bytes::from(pattern(MUCH))));
    for _ in 0..5 {
        rig.turn(5);
    }
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; MUCH];
        for part in read.chunks_mut(MUCH / 16) {
            std::thread::sleep(Duration::from_millis(5));
            peer.read_exact(part).unwrap();
        }
        read
    });
    rig.until(|input| matches!(input, Input::Written(_, total) if *total == MUCH as u64).then_some(()));
    assert!(reader.join().unwrap() == pattern(MUCH));
}

fn a_connection_cut_in_the_middle_of_a_write_is_closed_once(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let link = rig.link;
    rig.submit(Output::Transmit(link, Bytes::from(vec![b'x'; MUCH])));
    rig.turn(5);
    rig.submit(Output::Close(link, Close::Abort));
    rig.until(|input| matches!(input, Input::Closed(_, Closed::Ours)).then_some(()));
    let read = std::io::copy(&mut rig.peer, &mut std::io::sink()).unwrap_or(0);
    assert!(read < MUCH as u64);
    for _ in 0..5 {
        assert!(rig.turn(5).iter().all(|input| !matches!(input, Input::Closed(..))), "said once");
    }
}

fn a_peer_that_is_gone_is_told(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    rig.peer.write_all(b"<message/>").unwrap();
    rig.peer = connection().0;
    let link = rig.link;
    rig.seen.clear();
    rig.until(|input| matches!(input, Input::Closed(gone, Closed::Eof) if *gone == link).then_some(()));
    let [Input::Received(_, bytes), Input::Closed(..)] = &rig.seen[..] else { panic!("{:?}", rig.seen) };
    assert_eq!(&bytes[..], b"<message/>");
}

fn tls_goes_both_ways(kind: Kind) {
    let loaded = crate::cli::load(None, crate::clock::system_time()).unwrap();
    let tls = || TlsContext::load(&loaded.config).unwrap();
    let mut server = Rig::with(kind, Side::Partners, tls());
    let mut client = Rig::with(kind, GATEWAY, tls());
    // The peer of the one is a connection of the other.
    let link = LinkId::dialed(0, 1);
    let stream = std::mem::replace(&mut server.peer, connection().0);
    stream.set_nonblocking(true).unwrap();
    client.post.try_send(0, Mail::Connected(link, stream, false, "server".into())).unwrap();
    client.until(|input| matches!(input, Input::Connected { .. }).then_some(()));
    let accepted = server.link;
    server.submit(Output::Transmit(accepted, Bytes::from_static(b"proceed")));
    server.submit(Output::StartTls(accepted, TlsRole::Server(Side::Partners)));
    server.turn(5);
    client
        .until(|input| matches!(input, Input::Received(_, bytes) if &bytes[..] == b"proceed").then_some(()));
    let role = ClientTls {
        server_name: "contoso.com".into(),
        trust: TrustId::FEDERATION,
        identity: Identity::Anonymous,
        alpn_xmpp: false,
    };
    client.submit(Output::StartTls(link, TlsRole::Client(role)));
    let (mut here, mut there) = (None, None);
    let secured = |input: &Input| match input {
        Input::Secured(_, secured) => Some(secured.clone()),
        _ => None,
    };
    let deadline = crate::clock::now() + PATIENCE;
    while (here.is_none() || there.is_none()) && crate::clock::now() < deadline {
        here = client.turn(5).iter().find_map(secured).or(here);
        there = server.turn(5).iter().find_map(secured).or(there);
    }
    let certificate = here.and_then(|secured: Secured| secured.certificate).unwrap();
    assert!(certificate.trusted.contains(&TrustId::FEDERATION));
    assert!(there.is_some());
    passes(&mut client, link, &mut server, 3 * 1024 * 1024);
    passes(&mut server, accepted, &mut client, 3 * 1024 * 1024);
    client.submit(Output::Close(link, Close::Flush));
    for _ in 0..20 {
        client.turn(1);
    }
    server.until(|input| matches!(input, Input::Closed(_, Closed::Eof)).then_some(()));
}

/// Sends from one driver to the other.
fn passes(from: &mut Rig, link: LinkId, to: &mut Rig, length: usize) {
    let bytes = Bytes::from(pattern(length));
    let mut out = Outbox::new(0);
    for at in (0..length).step_by(250) {
        out.outputs.push(Output::Transmit(link, bytes.slice(at..length.min(at + 250))));
    }
    from.driver.submit(&mut out);
    let (mut came, mut written) = (Vec::new(), 0);
    let deadline = crate::clock::now() + PATIENCE;
    while (came.len() < length || written < length as u64) && crate::clock::now() < deadline {
        for input in from.turn(1) {
            if let Input::Written(_, total) = input {
                written = total;
            }
        }
        for input in to.turn(1) {
            if let Input::Received(_, bytes) = input {
                came.extend_from_slice(&bytes);
            }
        }
    }
    assert!(came == pattern(length) && written >= length as u64, "{} came, {written} written", came.len());
}

fn nothing_is_read_while_hand_offs_do_not_fit(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let handoff = || Handoff::Transmit { link: LinkId::NONE, bytes: Bytes::new() };
    let mut out = Outbox::new(0);
    for _ in 0..MAIL_MAX + 2000 {
        out.outputs.push(Output::Handoff(1, handoff()));
    }
    rig.driver.submit(&mut out);
    let mut sent = 0;
    rig.peer.set_nonblocking(true).unwrap();
    for _ in 0..200 {
        while let Ok(count) = rig.peer.write(&[b'x'; 4096]) {
            sent += count;
        }
        assert!(rig.turn(1).iter().all(|input| !matches!(input, Input::Received(..))));
        rig.submit(Output::Holding(1));
    }
    assert!(sent > 0);
    let mut other = rig.others.remove(0);
    for _ in 0..MAIL_MAX {
        other.try_recv().unwrap();
    }
    let (mut received, deadline) = (0, crate::clock::now() + PATIENCE);
    while received < sent && crate::clock::now() < deadline {
        rig.submit(Output::Holding(1));
        for input in rig.turn(5) {
            if let Input::Received(_, bytes) = input {
                assert!(bytes.iter().all(|byte| *byte == b'x'));
                received += bytes.len();
            }
        }
    }
    assert_eq!(received, sent);
}

fn mail_wakes_a_shard_that_sleeps(kind: Kind) {
    let mut rig = Rig::new(kind, GATEWAY);
    let post = rig.post.clone();
    let sender = std::thread::spawn(move || {
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(5));
            post.try_send(0, Mail::Control(Input::Settle(7))).unwrap();
        }
    });
    let begin = crate::clock::now();
    let mut came = 0;
    while came < 40 && crate::clock::now() < begin + PATIENCE {
        came += rig.turn(10_000).iter().filter(|input| matches!(input, Input::Settle(7))).count();
    }
    sender.join().unwrap();
    // Each would wait a hundred milliseconds, for the next publishing, if nobody rang.
    assert!(crate::clock::now() - begin < Duration::from_secs(2));
}

fn shards_wake_each_other(kind: Kind) {
    const ROUNDS: usize = 100;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (post, boxes) = post_office(2);
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let tls = Arc::new(TlsContext::without_certificates());
    let resolver = Resolver::new(&[]).unwrap();
    let outside = Arc::new(Outside::new(runtime.handle().clone(), tls, resolver, reports, 2));
    let begin = crate::clock::now();
    let threads: Vec<_> = (0_u16..)
        .zip(boxes)
        .map(|(index, mail)| {
            let (post, outside) = (post.clone(), Arc::clone(&outside));
            std::thread::spawn(move || ping_pong(kind, index, ROUNDS, mail, post, outside))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(crate::clock::now() - begin < Duration::from_secs(5));
}

fn ping_pong(kind: Kind, index: u16, rounds: usize, mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) {
    let mut driver = kind.open(index, mail, post.clone(), outside).unwrap();
    let (mut shard, mut inputs, mut out) = (idle_shard(), Vec::new(), Outbox::new(index));
    let ball = || Output::Handoff(1 - index, Handoff::Transmit { link: LinkId::NONE, bytes: Bytes::new() });
    if index == 0 {
        out.outputs.push(ball());
    }
    let mut returned = 0;
    while returned < rounds {
        driver.submit(&mut out);
        driver.publish(crate::clock::now(), &mut shard);
        driver.wait(None, &mut inputs);
        for input in inputs.drain(..) {
            if matches!(input, Input::Handoff(_)) {
                returned += 1;
                out.outputs.push(ball());
            }
        }
    }
    driver.submit(&mut out);
    driver.wait(Some(crate::clock::now()), &mut inputs);
}

fn contacts_go_to_the_store_and_are_confirmed_at_once_without_one(kind: Kind) {
    use turnout_core::contact::{Contact, Pair, Record};
    let record = |user: u64| {
        let pair = Pair { local: format!("u{user}@a.example").into(), partner: "p@b.example".into() };
        Output::Persist(user, Box::new(Record { pair, contact: Contact { to: true, ..Contact::default() } }))
    };
    let mut rig = Rig::new(kind, GATEWAY);
    rig.submit(record(7));
    rig.until(|input| matches!(input, Input::Persisted(7)).then_some(()));

    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (post, mut boxes) = post_office(1);
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let (tls, resolver) = (Arc::new(TlsContext::without_certificates()), Resolver::new(&[]).unwrap());
    let (queue, taken) = std::sync::mpsc::sync_channel(1);
    let outside = Outside::new(runtime.handle().clone(), tls, resolver, reports, 1).with_store(Some(queue));
    rig.driver = kind.open(0, boxes.remove(0), post, Arc::new(outside)).unwrap();
    // The queue has room for the first only.
    rig.submit(record(1));
    rig.submit(record(2));
    rig.submit(record(3));
    let mut told = rig.turn(10);
    assert_eq!(taken.recv().unwrap().seq, 1);
    let begin = crate::clock::now();
    // Nothing happens but that the shard tries again.
    while taken.try_recv().map(|delivery| delivery.seq) != Ok(3) {
        assert!(crate::clock::now() < begin + PATIENCE, "what did not fit was forgotten");
        told.extend(rig.turn(10_000));
        rig.driver.submit(&mut Outbox::new(0));
    }
    assert!(!told.iter().any(|input| matches!(input, Input::Persisted(_))), "who has a store waits for it");
}

#[test]
fn who_refuses_io_uring_gets_poll_if_anything_will_do() {
    let unsupported = || Err(Refused::Unsupported("forbidden here".to_owned()));
    let limit = || Err(Refused::Limit("raise LimitNOFILE".to_owned()));
    assert_eq!(Kind::choose_by(DriverChoice::Auto, || Ok(())), Ok(Kind::IoUring));
    assert_eq!(Kind::choose_by(DriverChoice::Auto, unsupported), Ok(Kind::Poll));
    assert_eq!(Kind::choose_by(DriverChoice::Poll, || panic!("nobody asked")), Ok(Kind::Poll));
    let error = Kind::choose_by(DriverChoice::IoUring, unsupported).unwrap_err();
    assert!(error.contains("\"auto\"") && error.contains("forbidden here"), "{error}");
    for choice in [DriverChoice::Auto, DriverChoice::IoUring] {
        assert!(Kind::choose_by(choice, limit).unwrap_err().contains("LimitNOFILE"));
    }
}

/// Runs each of these on both drivers.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod poll {
            $(#[test] fn $name() { super::$name(super::Kind::Poll); })*
        }
        mod io_uring {
            $(#[test] fn $name() { super::$name(super::Kind::IoUring); })*
        }
    };
}

on_both! {
    nothing_is_written_once_the_shard_knows_that_a_connection_is_gone
    who_asks_without_reading_the_answers_is_cut
    a_handshake_that_cannot_begin_leaves_no_socket_behind
    what_is_queued_leaves_before_an_orderly_end
    large_bodies_come_back_whole
    many_small_pieces_keep_their_order
    hundreds_of_connections_are_served_at_once
    what_a_peer_reads_slowly_is_written_in_full
    a_connection_cut_in_the_middle_of_a_write_is_closed_once
    a_peer_that_is_gone_is_told
    first_words_are_written_when_they_arrive
    tls_goes_both_ways
    nothing_is_read_while_hand_offs_do_not_fit
    mail_wakes_a_shard_that_sleeps
    shards_wake_each_other
    contacts_go_to_the_store_and_are_confirmed_at_once_without_one
}
