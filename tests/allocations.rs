//! What a driver allocates per read and write once it is warm: nothing without TLS; with TLS what the session makes for its records.
//! Bytes go over real loopback sockets; a stand-in for the shard sends each back on the link it came from.

#![expect(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, Receiver};
use turnout::buffers::Buffers;
use turnout::config::Config;
use turnout::driver::poll::Poll;
use turnout::driver::uring::{Uring, probe};
use turnout::driver::{Driver, Turn};
use turnout::mail::{Admission, Mail, Post, post_office};
use turnout::outside::Outside;
use turnout::resolve::Resolver;
use turnout::tls::{TlsContext, TlsSession};
use turnout_core::home::HomeId;
use turnout_core::io::{ClientTls, Door, Identity, Input, Outbox, Side, TrustId};

/// Counts on the threads that want it.
struct Counting;

thread_local! {
    /// `None`: this thread is not looked at.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

fn count() {
    // A thread that ends has no counter any more, and nothing to prove.
    COUNT.try_with(|count| count.set(count.get().map(|count| count + 1))).unwrap_or(());
}

// SAFETY: everything is done by the system's allocator; counting neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How a driver is made on its thread.
type Make<D> = fn(Receiver<Mail>, Post, Arc<Outside>) -> D;

/// A driver on a thread of its own that sends back what it gets, and the other end of its one connection.
struct Rig {
    peer: TcpStream,
    tls: Option<TlsSession>,
    plain: Buffers,
    read: Vec<u8>,
    allocated: Arc<AtomicU64>,
    post: Post,
    thread: Option<std::thread::JoinHandle<()>>,
    _runtime: Runtime,
}

impl Rig {
    fn new<D: Driver + 'static>(make: Make<D>, secured: bool, name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("turnout-allocations-{name}-{}", std::process::id()));
        turnout::dev_certs::write(&folder, &[], turnout::clock::system_time()).unwrap();
        let tls = Arc::new(TlsContext::load(&Config::embedded(&folder).unwrap()).unwrap());
        std::fs::remove_dir_all(&folder).unwrap();
        let client = ClientTls {
            server_name: "contoso.com".into(),
            trust: TrustId(0),
            identity: Identity::Anonymous,
            alpn_xmpp: false,
        };
        let session = secured.then(|| tls.connect(&client).unwrap());
        let runtime = Runtime::new().unwrap();
        let (post, mut boxes) = post_office(1);
        let mail = boxes.remove(0);
        let (reports, _) = mpsc::channel(1);
        let resolver = Resolver::new(&[]).unwrap();
        let outside = Arc::new(Outside::new(runtime.handle().clone(), tls, resolver, reports, 1));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let door = Door { side: Side::Home(HomeId(0)), direct_tls: secured };
        post.try_send(0, Mail::Accepted(stream, door, "peer".into(), Admission::default())).unwrap();
        let allocated = Arc::new(AtomicU64::new(0));
        let (office, counted) = (post.clone(), Arc::clone(&allocated));
        let thread = std::thread::spawn(move || send_back(make(mail, office, outside), &counted));
        let (plain, read) = (Buffers::new(), vec![0; 256 * 1024]);
        let mut rig = Self {
            peer,
            tls: session,
            plain,
            read,
            allocated,
            post,
            thread: Some(thread),
            _runtime: runtime,
        };
        while rig.tls.as_ref().is_some_and(|tls| !tls.handshake_done()) {
            rig.flush();
            rig.take();
        }
        rig.flush();
        rig
    }

    fn flush(&mut self) {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.wants_write()) {
            tls.write_to(&mut self.peer).unwrap();
        }
    }

    fn take(&mut self) {
        let count = self.peer.read(&mut self.read).unwrap();
        assert!(count > 0, "the driver has closed the connection");
        let bytes = &self.read[..count];
        match &mut self.tls {
            Some(tls) => tls.feed(bytes, &mut self.plain).unwrap(),
            None => self.plain.put(bytes),
        }
    }

    /// Sends so many bytes and waits until they are back.
    fn round(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => tls.write(bytes).unwrap(),
            None => self.peer.write_all(bytes).unwrap(),
        }
        self.flush();
        self.plain.rewind();
        self.plain.reserve(bytes.len() + 64 * 1024);
        let mut back = 0;
        while back < bytes.len() {
            self.take();
            let more = self.plain.take();
            assert_eq!(more, bytes[back..back + more.len()]);
            back += more.len();
        }
    }

    /// What the driver allocated in so many rounds.
    fn allocations(&mut self, rounds: usize, bytes: usize) -> u64 {
        let text: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let before = self.allocated.load(Ordering::SeqCst);
        for _ in 0..rounds {
            self.round(&text);
        }
        self.allocated.load(Ordering::SeqCst) - before
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.post.try_send(0, Mail::Stop));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the driver's thread panicked");
        }
    }
}

/// The stand-in: one turn after the other, counting what the thread allocates.
fn send_back(mut driver: impl Driver, counted: &AtomicU64) {
    let (mut inputs, mut out) = (Vec::new(), Outbox::new(0));
    COUNT.set(Some(0));
    loop {
        let turn = driver.wait(None, &mut inputs);
        for input in inputs.drain(..) {
            if let Input::Received(link, bytes) = input {
                out.transmit(link, bytes);
            }
        }
        // Before the bytes are out, so that whoever has them back sees all that came before; what writing allocates shows one later.
        counted.store(COUNT.get().unwrap_or_default(), Ordering::SeqCst);
        driver.submit(&mut out);
        if turn == Turn::Over {
            return;
        }
    }
}

/// One stanza at a time, then whole batches: reads that fill a buffer and writes of several slices.
fn steady<D: Driver + 'static>(make: Make<D>, secured: bool, name: &str) -> [(u64, usize); 3] {
    let mut rig = Rig::new(make, secured, name);
    [(2_000, 250), (500, 10_000), (100, 150_000)].map(|(rounds, bytes)| {
        rig.allocations(rounds, bytes);
        (rig.allocations(rounds, bytes), rounds)
    })
}

/// Nothing at all without TLS.
fn passes_plain_bytes_without_allocating<D: Driver + 'static>(make: Make<D>, name: &str) {
    for (allocated, rounds) in steady(make, false, name) {
        assert_eq!(allocated, 0, "in {rounds} rounds");
    }
}

/// With TLS only the session allocates: a buffer for each record either way, and lists of slices. One record in and one out are two.
fn passes_secured_bytes_with_a_few_allocations<D: Driver + 'static>(make: Make<D>, name: &str) {
    let found = steady(make, true, name);
    assert!(found.iter().all(|(allocated, _)| *allocated > 0), "the allocator does not count: {found:?}");
    for ((allocated, rounds), most) in found.into_iter().zip([3, 8, 40]) {
        let each = allocated as f64 / rounds as f64;
        assert!(each <= f64::from(most), "{each} in a round, at most {most}: {found:?}");
    }
}

fn poll(mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) -> Poll {
    Poll::new(0, mail, post, outside).unwrap()
}

#[test]
fn poll_passes_plain_bytes_without_allocating() {
    passes_plain_bytes_without_allocating(poll, "poll-plain");
}

#[test]
fn poll_passes_secured_bytes_with_a_few_allocations() {
    passes_secured_bytes_with_a_few_allocations(poll, "poll-tls");
}

fn io_uring(mail: Receiver<Mail>, post: Post, outside: Arc<Outside>) -> Uring {
    Uring::new(0, mail, post, outside).unwrap()
}

/// Whether this machine has io_uring; where it has none, the reason is told and nothing is proven.
fn has_io_uring() -> bool {
    probe::probe().map_err(|why| eprintln!("not counted, this machine has no io_uring: {why}")).is_ok()
}

#[test]
fn io_uring_passes_plain_bytes_without_allocating() {
    if has_io_uring() {
        passes_plain_bytes_without_allocating(io_uring, "uring-plain");
    }
}

#[test]
fn io_uring_passes_secured_bytes_with_a_few_allocations() {
    if has_io_uring() {
        passes_secured_bytes_with_a_few_allocations(io_uring, "uring-tls");
    }
}
