//! Bytes from socket to socket: a driver with a shard stand-in that passes on what it gets, beside a loop of one read and one write
//! as the floor. Modes take turns within one run. CPU is that of the relay's thread alone.
//!
//! `cargo bench --bench driver -- [megabytes] [rounds]`. Reads Linux's schedstat of a thread for its CPU time.

#![allow(clippy::unwrap_used, reason = "a bench")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use turnout::buffers::Buffers;
use turnout::clock::{now, system_time};
use turnout::config::Config;
use turnout::driver::poll::Poll;
use turnout::driver::{Driver, Turn};
use turnout::mail::{Admission, Mail, Post, post_office};
use turnout::outside::Outside;
use turnout::resolve::Resolver;
use turnout::tls::{TlsContext, TlsSession};
use turnout_core::home::HomeId;
use turnout_core::io::{ClientTls, Door, Identity, Input, LinkId, Outbox, Side, TrustId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STANZA: usize = 250;

fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// What is sent: bytes in all, at once, and without having come out at the other end.
#[derive(Clone, Copy)]
struct Load {
    total: usize,
    chunk: usize,
    window: usize,
}

/// What one mode has shown.
struct Shown {
    wall: Duration,
    cpu: Duration,
    stanzas: u64,
}

#[derive(Clone)]
struct World {
    tls: Arc<TlsContext>,
    handle: tokio::runtime::Handle,
    secured: bool,
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// An end of the generator: plain or TLS.
struct End {
    socket: TcpStream,
    tls: Option<TlsSession>,
    plain: Buffers,
    cipher: Vec<u8>,
}

impl End {
    fn new(socket: TcpStream, world: &World) -> Self {
        let tls = world.secured.then(|| {
            let tls = ClientTls {
                server_name: "contoso.com".into(),
                trust: TrustId(0),
                identity: Identity::Anonymous,
                alpn_xmpp: false,
            };
            world.tls.connect(&tls).unwrap()
        });
        let mut end = Self { socket, tls, plain: Buffers::new(), cipher: vec![0; 256 * 1024] };
        while end.tls.as_ref().is_some_and(|tls| !tls.handshake_done()) {
            end.flush();
            let count = end.socket.read(&mut end.cipher).unwrap();
            end.tls.as_mut().unwrap().feed(&end.cipher[..count], &mut end.plain).unwrap();
        }
        end.flush();
        end
    }

    fn flush(&mut self) {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_to(&mut self.socket).unwrap();
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.socket.write_all(bytes).unwrap(),
            Some(tls) => {
                tls.write(bytes).unwrap();
                self.flush();
            }
        }
    }

    fn read(&mut self) -> usize {
        let count = self.socket.read(&mut self.cipher).unwrap();
        match &mut self.tls {
            None => count,
            Some(tls) => {
                self.plain.rewind();
                tls.feed(&self.cipher[..count], &mut self.plain).unwrap();
                self.plain.take().len()
            }
        }
    }
}

fn send_and_receive(from: TcpStream, to: TcpStream, load: Load, world: &World) {
    let Load { total, chunk, window } = load;
    let sender_world = world.clone();
    let (credit, granted) = std::sync::mpsc::channel::<usize>();
    let sender = std::thread::spawn(move || {
        let mut end = End::new(from, &sender_world);
        let bytes = vec![b'x'; chunk];
        let (mut sent, mut allowed) = (0, window);
        while sent < total {
            while sent + chunk > allowed {
                allowed += granted.recv().unwrap();
            }
            end.write(&bytes);
            sent += chunk;
        }
        end
    });
    let mut end = End::new(to, world);
    let mut got = 0;
    while got < total {
        let count = end.read();
        assert!(count > 0 || world.secured);
        got += count;
        // The sender may have sent its last.
        credit.send(count).unwrap_or(());
    }
    drop(sender.join().unwrap());
}

fn floor(load: Load, world: &World) -> Shown {
    let (from, mut near) = pair();
    let (mut far, to) = pair();
    let relay = std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            let before = cpu();
            loop {
                let count = near.read(&mut buffer).unwrap();
                if count == 0 {
                    return cpu() - before;
                }
                far.write_all(&buffer[..count]).unwrap();
            }
        })
        .unwrap();
    let begin = now();
    send_and_receive(from, to, load, world);
    let wall = now() - begin;
    Shown { wall, cpu: relay.join().unwrap(), stanzas: (load.total / STANZA) as u64 }
}

type Make<D> = fn(mpsc::Receiver<Mail>, Post, Arc<Outside>) -> D;

fn relay<D: Driver + 'static>(make: Make<D>, load: Load, world: &World) -> Shown {
    let (from, near) = pair();
    let (far, to) = pair();
    let (post, mut boxes) = post_office(1);
    let mail = boxes.remove(0);
    let (reports, _kept) = mpsc::channel(1);
    let outside =
        Outside::new(world.handle.clone(), Arc::clone(&world.tls), Resolver::new(&[]).unwrap(), reports, 1);
    for stream in [near, far] {
        stream.set_nonblocking(true).unwrap();
        let door = Door { side: Side::Home(HomeId(0)), direct_tls: world.secured };
        post.try_send(0, Mail::Accepted(stream, door, "peer".into(), Admission::default())).unwrap();
    }
    let stop = post.clone();
    let relay = std::thread::Builder::new()
        .name("relay".into())
        .spawn(move || {
            let mut driver = make(mail, post, Arc::new(outside));
            let (mut inputs, mut out) = (Vec::new(), Outbox::new(0));
            let mut links: Vec<LinkId> = Vec::new();
            let before = cpu();
            loop {
                let turn = driver.wait(None, &mut inputs);
                for input in inputs.drain(..) {
                    match input {
                        Input::Accepted { link, .. } => links.push(link),
                        Input::Received(link, bytes) => pass(&links, link, bytes, &mut out),
                        _ => (),
                    }
                }
                driver.submit(&mut out);
                if turn == Turn::Over {
                    return cpu() - before;
                }
            }
        })
        .unwrap();
    let begin = now();
    send_and_receive(from, to, load, world);
    let wall = now() - begin;
    stop.try_send(0, Mail::Stop).unwrap();
    Shown { wall, cpu: relay.join().unwrap(), stanzas: (load.total / STANZA) as u64 }
}

fn pass(links: &[LinkId], link: LinkId, bytes: Bytes, out: &mut Outbox) {
    if let Some(other) = links.iter().find(|other| **other != link) {
        out.transmit(*other, bytes);
    }
}

/// A name and how to run it.
type Mode<'a> = (&'a str, Box<dyn Fn() -> Shown + 'a>);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (numbers, names): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.parse::<usize>().is_ok());
    let number = |at: usize, usual| numbers.get(at).and_then(|word| word.parse().ok()).unwrap_or(usual);
    let (megabytes, rounds): (usize, usize) = (number(0, 1000), number(1, 5));
    let folder = std::env::temp_dir().join(format!("turnout-relay-{}", std::process::id()));
    turnout::dev_certs::write(&folder, &[], system_time()).unwrap();
    let tls = Arc::new(TlsContext::load(&Config::embedded(&folder).unwrap()).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let runtime = Runtime::new().unwrap();
    let plain = World { tls, handle: runtime.handle().clone(), secured: false };
    let secured = World { secured: true, ..plain.clone() };
    let poll: Make<Poll> = |mail, post, outside| Poll::new(0, mail, post, outside).unwrap();
    let (flood, alone) = (
        Load { total: megabytes * 1_000_000, chunk: 64_000, window: 1 << 40 },
        Load { total: megabytes * 10_000, chunk: STANZA, window: STANZA },
    );
    let modes: Vec<Mode<'_>> = vec![
        ("floor, plain", Box::new(|| floor(flood, &plain))),
        ("poll, plain", Box::new(|| relay(poll, flood, &plain))),
        ("poll, TLS", Box::new(|| relay(poll, flood, &secured))),
        ("floor, one", Box::new(|| floor(alone, &plain))),
        ("poll, one", Box::new(|| relay(poll, alone, &plain))),
        ("poll, one TLS", Box::new(|| relay(poll, alone, &secured))),
    ];
    let wanted = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let mut shown: Vec<Vec<Shown>> = modes.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((_, mode), shown) in modes.iter().zip(&mut shown).filter(|((name, _), _)| wanted(name)) {
            shown.push(mode());
        }
    }
    println!("{:16}{:>10}{:>16}{:>12}  min..max CPU-s/M", "mode", "MB/s", "CPU-s/M stanzas", "CPU us/MB");
    for ((name, _), shown) in modes.iter().zip(shown).filter(|(_, shown)| !shown.is_empty()) {
        print(name, shown);
    }
}

/// The median by CPU.
fn print(name: &str, mut shown: Vec<Shown>) {
    shown.sort_by_key(|shown| shown.cpu);
    let per = |shown: &Shown| shown.cpu.as_secs_f64() * 1e6 / shown.stanzas as f64;
    let middle = &shown[shown.len() / 2];
    let megabytes = middle.stanzas as f64 * STANZA as f64 / 1e6;
    println!(
        "{name:16}{:10.0}{:16.3}{:12.1}  {:.3}..{:.3}",
        megabytes / middle.wall.as_secs_f64(),
        per(middle),
        middle.cpu.as_secs_f64() * 1e6 / megabytes,
        per(&shown[0]),
        per(&shown[shown.len() - 1]),
    );
}
