//! `poll` and `io_uring` against each other: a relay without a router over loopback, each driver in turn, several rounds. What counts is
//! the CPU time of the shard's thread for what passed, as the wall clock belongs to the generators too.
//!
//! `cargo bench --bench drivers -- [rounds] [milliseconds]`
#![allow(clippy::unwrap_used, reason = "a bench may fail anywhere")]
#![allow(clippy::too_many_lines, reason = "one run is one story")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turnout::clock::{now, system_time};
use turnout::driver::{Kind, Turn};
use turnout::mail::{Admission, Mail, post_office};
use turnout::outside::Outside;
use turnout::resolve::Resolver;
use turnout::tls::{TlsContext, provider};
use turnout_core::backend::Backend;
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder};
use turnout_core::home::HomeId;
use turnout_core::io::{Door, Input, LinkId, Outbox, Output, Side};
use turnout_core::shard::Shard;
use turnout_xmpp::XmppBackend;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes a generator may be ahead of what came back, over all pairs.
const WINDOW: u64 = 2 * 1024 * 1024;

#[derive(Clone, Copy)]
struct Case {
    pairs: usize,
    write: usize,
    tls: bool,
    /// One write at a time, and wait for it: what a quiet connection costs.
    ping: bool,
}

struct Score {
    bytes: u64,
    seconds: f64,
    cpu: f64,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

struct World {
    tls: Arc<TlsContext>,
    client: Arc<ClientConfig>,
    routes: Arc<turnout_core::world::World>,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(5);
    let time = Duration::from_millis(numbers.get(1).copied().unwrap_or(700));
    let loaded = turnout::cli::load(None, system_time()).unwrap();
    let mut roots = RootCertStore::empty();
    let authority = loaded.trial.as_ref().unwrap().path().join("ca.pem");
    for root in CertificateDer::pem_file_iter(authority).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let routes = Arc::new(loaded.config.world(1, Arc::from([0; 32])).unwrap());
    let world =
        World { tls: Arc::new(TlsContext::load(&loaded.config).unwrap()), client: Arc::new(client), routes };
    println!(
        "pairs  write  tls    poll MB/s  uring MB/s  wall ratio   poll ns  uring ns  cpu ratio (ns of shard CPU a write)"
    );
    let only = std::env::var("CASE").ok();
    for (pairs, write, tls, ping) in [
        (1, 65_536, false, false),
        (1, 250, false, false),
        (1, 250, false, true),
        (64, 65_536, false, false),
        (64, 250, false, false),
        (64, 250, false, true),
        (1000, 250, false, false),
        (1, 65_536, true, false),
        (1, 250, true, false),
        (1, 250, true, true),
        (64, 65_536, true, false),
        (64, 250, true, false),
    ] {
        let name = format!("{pairs} {write} {tls} {ping}");
        if only.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let case = Case { pairs, write, tls, ping };
        let (mut poll, mut uring) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            poll.push(run(Kind::Poll, case, &world, time));
            uring.push(run(Kind::IoUring, case, &world, time));
        }
        let rate =
            |scores: &[Score]| median(scores.iter().map(|score| score.bytes as f64 / score.seconds / 1e6));
        let cpu = |scores: &[Score]| {
            median(scores.iter().map(|score| score.cpu * 1e9 / (score.bytes as f64 / write as f64)))
        };
        println!(
            "{pairs:5} {write:6} {tls:5}{} {:9.0} {:11.0} {:11.2} {:9.0} {:9.0} {:10.2}",
            if ping { " ping" } else { "     " },
            rate(&poll),
            rate(&uring),
            rate(&uring) / rate(&poll),
            cpu(&poll),
            cpu(&uring),
            cpu(&poll) / cpu(&uring),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn connect(address: std::net::SocketAddr, tls: bool, world: &World) -> Box<dyn Stream> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    if !tls {
        return Box::new(socket);
    }
    let name = ServerName::try_from("contoso.com").unwrap();
    Box::new(StreamOwned::new(ClientConnection::new(Arc::clone(&world.client), name).unwrap(), socket))
}

fn run(kind: Kind, case: Case, world: &World, time: Duration) -> Score {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (post, mut boxes) = post_office(1);
    let (reports, _) = tokio::sync::mpsc::channel(1);
    let resolver = Resolver::new(&[]).unwrap();
    let outside = Outside::new(runtime.handle().clone(), Arc::clone(&world.tls), resolver, reports, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = || {
        let peer = connect(address, case.tls, world);
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let side = if case.tls { Side::Partners } else { Side::Home(HomeId(0)) };
        let door = Door { side, direct_tls: case.tls };
        post.try_send(0, Mail::Accepted(socket, door, "peer".into(), Admission::default())).unwrap();
        peer
    };
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for _ in 0..case.pairs {
        from.push(accept());
        to.push(accept());
    }
    let (mail, outside) = (boxes.remove(0), Arc::new(outside));
    let (shard_post, measured) = (post.clone(), Arc::new(AtomicBool::new(false)));
    let (flag, routes) = (Arc::clone(&measured), Arc::clone(&world.routes));
    let shard = std::thread::spawn(move || relay(kind, mail, shard_post, outside, &routes, &flag));
    if case.tls {
        // The second of a pair says something, or its handshake would not begin.
        for stream in from.iter_mut().chain(&mut to) {
            stream.write_all(b"").unwrap();
            stream.flush().unwrap();
        }
    }
    let (sent, got, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (sent, got, stop) = (&sent, &got, &stop);
    let window = if case.ping { (case.write * case.pairs) as u64 } else { WINDOW };
    let mut score = Score { bytes: 0, seconds: 0.0, cpu: 0.0 };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let bytes = vec![b'x'; case.write];
            while !stop.load(Ordering::Relaxed) {
                for stream in &mut from {
                    while sent.load(Ordering::Relaxed) + case.write as u64
                        > got.load(Ordering::Relaxed) + window
                    {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        std::thread::yield_now();
                    }
                    stream.write_all(&bytes).unwrap();
                    sent.fetch_add(case.write as u64, Ordering::Relaxed);
                }
            }
        });
        let reader = scope.spawn(move || {
            let mut bytes = vec![0; if case.pairs == 1 && !case.ping { 256 * 1024 } else { case.write }];
            loop {
                for stream in &mut to {
                    let count = if case.pairs == 1 && !case.ping {
                        stream.read(&mut bytes).unwrap_or(0)
                    } else {
                        match stream.read_exact(&mut bytes) {
                            Ok(()) => bytes.len(),
                            Err(_) => 0,
                        }
                    };
                    if count == 0 {
                        return;
                    }
                    got.fetch_add(count as u64, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        measured.store(true, Ordering::Relaxed);
        let (begin, before) = (now(), got.load(Ordering::Relaxed));
        std::thread::sleep(time);
        measured.store(false, Ordering::Relaxed);
        score.bytes = got.load(Ordering::Relaxed) - before;
        score.seconds = (now() - begin).as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        // A reader that waits is freed by the end of the relay.
        while !reader.is_finished() && got.load(Ordering::Relaxed) < sent.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        post.try_send(0, Mail::Stop).unwrap();
        score.cpu = shard.join().unwrap();
    });
    score
}

/// Sends what comes from one of a pair to the other; gives the CPU seconds used while `measured`.
fn relay(
    kind: Kind,
    mail: tokio::sync::mpsc::Receiver<Mail>,
    post: turnout::mail::Post,
    outside: Arc<Outside>,
    routes: &Arc<turnout_core::world::World>,
    measured: &AtomicBool,
) -> f64 {
    let mut driver = kind.open(0, mail, post, outside).unwrap();
    let side = |side| -> Box<dyn Backend> { Box::new(XmppBackend::new(side, Arc::clone(routes), [1; 32])) };
    let homes = routes.homes.iter().map(|(id, _)| side(Side::Home(id)));
    let backends = std::iter::once(side(Side::Partners)).chain(homes).collect();
    let directory = Directory::new(Arc::new(SnapshotBuilder::new().finish()), Arc::new(Overlay::new(1)));
    let mut shard = Shard::new(0, Arc::clone(routes), directory, backends, 1);
    let (mut inputs, mut out) = (Vec::new(), Outbox::new(0));
    let (mut was, mut begin, mut used) = (false, 0.0, 0.0);
    loop {
        driver.publish(now(), &mut shard);
        let turn = driver.wait(Some(now() + Duration::from_millis(20)), &mut inputs);
        for input in inputs.drain(..) {
            if let Input::Received(link, bytes) = input {
                let number = (link.get() & 0xffff_ffff) - 1;
                out.outputs.push(Output::Transmit(LinkId::accepted(0, (number ^ 1) + 1), bytes));
            }
        }
        driver.submit(&mut out);
        let is = measured.load(Ordering::Relaxed);
        if is != was {
            if is {
                begin = cpu_seconds()
            } else {
                used = cpu_seconds() - begin
            }
            was = is;
        }
        if turn == Turn::Over {
            return used;
        }
    }
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
