//! What an idle, authenticated inbound stream holds in the whole program, counted by the allocator and not by the system's pages: with
//! both drivers. What the peers of the test hold is not counted.

#![expect(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use tokio::runtime::Builder;
use turnout::config::Config;
use turnout::driver::uring::probe;
use turnout::router::Router;

/// Counts what the threads of the router hold.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// This thread is not the router's.
    static OURS: Cell<bool> = const { Cell::new(false) };
}

fn count(more: usize, less: usize) {
    // A thread that ends has no mark any more, and is none of ours.
    if !OURS.try_with(Cell::get).unwrap_or(false) {
        HELD.fetch_add(more.cast_signed() - less.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: everything is done by the system's allocator; counting neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads until this was said.
fn until(socket: &mut TcpStream, said: &str) {
    let mut heard = Vec::new();
    let mut chunk = [0; 2048];
    while !String::from_utf8_lossy(&heard).contains(said) {
        let count = socket.read(&mut chunk).unwrap();
        assert!(count > 0, "the stream ended after {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&chunk[..count]);
    }
}

fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
         xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0' id='x'>"
    )
}

/// The partner's own server, which says that every key is its own.
fn says_valid(socket: &mut TcpStream) {
    let mut heard = String::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(count @ 1..) = socket.read(&mut chunk) else { return };
        heard.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        if heard.contains("<stream:stream") && heard.contains("version=") {
            heard.clear();
            let features =
                "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
            socket
                .write_all(format!("{}{features}", header("partner.example", "contoso.com")).as_bytes())
                .unwrap();
        }
        while let Some(end) = heard.find("</db:verify>") {
            let asked: String = heard.drain(..end + "</db:verify>".len()).collect();
            let id = asked.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
            let valid =
                format!("<db:verify from='partner.example' to='contoso.com' id='{id}' type='valid'/>");
            socket.write_all(valid.as_bytes()).unwrap();
        }
    }
}

/// Opens an authenticated stream.
fn open(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(header("partner.example", "contoso.com").as_bytes()).unwrap();
    until(&mut socket, "</stream:features>");
    socket
        .write_all(b"<db:result from='partner.example' to='contoso.com'>0123456789abcdef</db:result>")
        .unwrap();
    until(&mut socket, "type='valid'");
    socket
}

/// The most a stream may hold, in octets.
const EACH_MAX: isize = 4 * 1024;

/// Streams that are there before, so that what the first make room for is not counted, and those that are counted. Tables grow by
/// doubling: with so many they have just grown, and are half empty, which is the worst there is.
const BEFORE: usize = 116;
const STREAMS: usize = 464 - BEFORE;

fn router(folder: &Path, driver: &str, partner: u16) -> Router {
    turnout::dev_certs::write(folder, &[], turnout::clock::system_time()).unwrap();
    let users = "SipAddress,RegistrarPool\r\nsip:anna@contoso.com,pool.contoso.com\r\n";
    std::fs::write(folder.join("users.csv"), users).unwrap();
    let text = format!(
        r#"domains = ["contoso.com"]
[federation]
listen = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
connections_max = 4096
connections_per_partner_max = 4096
[[partner]]
domain = "partner.example"
proxy = "127.0.0.1:{partner}"
type = "federated"
tls = "none"
sasl = "none"
[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:1"]
listen = "127.0.0.1:0"
tls = "none"
registrar_pools = ["pool.contoso.com"]
[directory]
source = "csv"
file = "users.csv"
default_xmpp_access = true
[engine]
driver = "{driver}"
shards = 1
drain_seconds = 1
[admin]
listen = "127.0.0.1:0"
"#
    );
    std::fs::write(folder.join("turnout.toml"), text).unwrap();
    let config = Config::load(&folder.join("turnout.toml")).unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let router = runtime.block_on(Router::start(config)).unwrap();
    // It lives as long as the process: a router that ends is no matter of this test.
    std::mem::forget(runtime);
    router
}

/// The partner's own server, on a port of its own.
fn partner() -> u16 {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        OURS.set(true);
        for mut socket in server.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                OURS.set(true);
                says_valid(&mut socket);
            });
        }
    });
    port
}

fn a_stream_holds_little(driver: &str) {
    OURS.set(true);
    let folder = std::env::temp_dir().join(format!("turnout-idle-{driver}-{}", std::process::id()));
    let router = router(&folder, driver, partner());
    std::fs::remove_dir_all(&folder).unwrap();
    let address = router.addresses().iter().find(|(name, _)| name == "federation.listen").unwrap().1;
    let mut streams: Vec<TcpStream> = (0..BEFORE).map(|_| open(address)).collect();
    let before = HELD.load(Ordering::Relaxed);
    streams.extend((0..STREAMS).map(|_| open(address)));
    // What it took to open them is given back when they have been quiet for a while.
    let deadline = turnout::clock::now() + PATIENCE;
    let mut each = isize::MAX;
    while each > EACH_MAX && turnout::clock::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        each = (HELD.load(Ordering::Relaxed) - before) / STREAMS.cast_signed();
    }
    println!("{driver}: {each} octets");
    assert!((500..=EACH_MAX).contains(&each), "{each} octets a stream, and {EACH_MAX} at most");
}

/// One after the other: everything that is held is counted.
#[test]
fn an_idle_stream_holds_little_with_either_driver() {
    a_stream_holds_little("poll");
    match probe::probe() {
        Ok(()) => a_stream_holds_little("io_uring"),
        Err(why) => eprintln!("not counted with io_uring, which this machine has not: {why}"),
    }
}
