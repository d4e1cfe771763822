//! Two partners, one floods: what the other's messages wait for, alone and beside the flood. Invariant: both times are measured in one process of
//! the router, by turns, and each message carries the time it was due.
//!
//!     cargo bench --bench fair [-- poll|io_uring]…
//!
//! The quiet partner sends at half of what the router passes on when it is flooded, by one shard, or at what he can. Everything runs on one
//! machine: the router has a core to itself, from which the kernel's own threads are kept away, all others share another one, and there the quiet partner and his recipient go before all others,
//! and who floods goes last, as on machines of their own. Without that the figures would say how a kernel shares a core among thirty threads:
//! a slice of its scheduler is three milliseconds. What is left of that is measured, too: beside a flood that goes past the router to the same
//! recipients, which costs the other core as much.
//!
//! A virtual machine stops its cores for milliseconds when both are busy, which a flood makes them, whatever runs there: how often, and how
//! long, is told first, of threads that do nothing but look at the clock. So *alone* is measured twice, on cores that have nothing else to do
//! and on cores that are kept busy, at the lowest of all priorities; they are kept so beside the floods, too. And each round is looked at in windows of a
//! tenth of a second, most of which have no such stop in them: the middle of all windows is told, and beside it the p99 of all messages.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use turnout_bench::hist::Histogram;
use turnout_bench::partner::{self, Proof};
use turnout_bench::wire::Wire;
use turnout_bench::{Outcome, sys, xml};

/// Times that each is measured.
const ROUNDS: usize = 9;
/// Seconds of each.
const SECONDS: f64 = 1.0;
/// A round is looked at in windows of so many nanoseconds, by the time that messages were due.
const WINDOW: u64 = 100_000_000;
/// Connections of the partner that floods: as many as he may have.
const FLOODS: usize = 20;

const QUIET: &str = "partner.example";
const LOUD: &str = "flood.example";

/// A process that ends with its measurement.
struct Router(Child);

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What the recipients saw.
#[derive(Default)]
struct Seen {
    /// By window.
    times: Mutex<BTreeMap<u64, Histogram>>,
    messages: AtomicU64,
}

fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A server that takes every stream and every key, and counts messages.
fn server(seen: Arc<Seen>) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            // A stream that breaks ends with its measurement.
            std::thread::spawn(move || drop(serve(socket, &seen)));
        }
    });
    Ok(address)
}

fn serve(mut socket: TcpStream, seen: &Seen) -> Outcome<()> {
    socket.set_nodelay(true).map_err(failed)?;
    let (mut buffer, mut room, mut open, mut first) = (Vec::new(), vec![0; 256 * 1024], false, true);
    loop {
        let count = socket.read(&mut room).map_err(failed)?;
        if count == 0 {
            return Ok(());
        }
        let now = sys::now();
        buffer.extend_from_slice(&room[..count]);
        let mut taken = 0;
        while let Some((text, length)) = xml::item(&buffer[taken..])? {
            if text.starts_with("<message") {
                open = true;
            } else {
                answer(&mut socket, text)?;
            }
            if open {
                break;
            }
            taken += length;
        }
        if open {
            taken += messages(&buffer[taken..], now, seen);
            // Each pair of domains has its stream: this is the quiet partner's.
            if first && memchr::memmem::find(&buffer[..taken], QUIET.as_bytes()).is_some() {
                sys::step_forward();
            }
            first = false;
        }
        buffer.drain(..taken);
    }
}

fn answer(socket: &mut TcpStream, text: &str) -> Outcome<()> {
    let value = |name| xml::attribute(text, name).unwrap_or_default();
    let (from, to) = (value("to"), value("from"));
    let said = if text.starts_with("<stream:stream") {
        format!(
            "{}<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>",
            xml::header(from, to, " id='s1'")
        )
    } else if text.starts_with("<db:result") {
        format!("<db:result from='{from}' to='{to}' type='valid'/>")
    } else if text.starts_with("<db:verify") {
        format!("<db:verify from='{from}' to='{to}' id='{}' type='valid'/>", value("id"))
    } else {
        return Ok(());
    };
    socket.write_all(said.as_bytes()).map_err(failed)
}

/// Counts the whole messages at the front; how many bytes they take.
fn messages(bytes: &[u8], now: u64, seen: &Seen) -> usize {
    const END: &[u8] = b"</body></message>";
    let (mut from, mut count) = (0, 0);
    let mut times = None;
    while let Some(at) = memchr::memmem::find(&bytes[from..], END) {
        let message = &bytes[from..from + at];
        from += at + END.len();
        count += 1;
        // The quiet partner's begin their text with the time they were due.
        let due = memchr::memmem::find(message, b"<body>due ").and_then(|at| message.get(at + 10..at + 30));
        let due = due.and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
        if let Some(due) = due {
            let times =
                times.get_or_insert_with(|| seen.times.lock().unwrap_or_else(PoisonError::into_inner));
            times.entry(due / WINDOW).or_default().add(now.saturating_sub(due));
        }
    }
    seen.messages.fetch_add(count, Ordering::Relaxed);
    from
}

fn message(from: &str, text: &str) -> String {
    format!(
        "<message from='u1@{from}/x' to='u1@contoso.com' type='chat' id='m1'><body>{text:.<120}</body></message>"
    )
}

fn config(
    listen: SocketAddr,
    admin: SocketAddr,
    inside: SocketAddr,
    [server, gateway]: [SocketAddr; 2],
    driver: &str,
) -> String {
    let partner = |name| {
        format!(
            "[[partner]]\ndomain = \"{name}\"\ntype = \"federated\"\ntls = \"none\"\nsasl = \"none\"\ndialback = true\nproxy = \"{server}\"\n"
        )
    };
    format!(
        "domains = [\"contoso.com\"]\n[federation]\nlisten = [\"{listen}\"]\ncertificate = \"contoso.com.pem\"\nkey = \"contoso.com.key\"\n\
         {}{}[home.legacy]\nbackend = \"xmpp\"\nconnect = [\"{gateway}\"]\nlisten = \"{inside}\"\ntls = \"none\"\n\
         registrar_pools = [\"sfb2015.contoso.com\"]\n[directory]\nsource = \"csv\"\nfile = \"fair-users.csv\"\ndefault_xmpp_access = true\n\
         [engine]\ndriver = \"{driver}\"\nshards = 1\n[admin]\nlisten = \"{admin}\"\n",
        partner(QUIET),
        partner(LOUD)
    )
}

fn free() -> Outcome<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).map_err(failed)
}

/// Sends at a rate, a message in each write; the last due time is the end.
fn pace(wire: &mut Wire, rate: f64) -> Outcome<()> {
    let (start, end) = (sys::now(), sys::now() + (SECONDS * 1e9) as u64);
    for number in 0.. {
        let due = start + (f64::from(number) * 1e9 / rate) as u64;
        if due >= end {
            return Ok(());
        }
        if sys::now() < due {
            sys::sleep_until(due);
        }
        wire.send(message(QUIET, &format!("due {due:020}")).as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// Sends what it is given. False when that cannot be done any more.
type Send = Box<dyn FnMut(&[u8]) -> bool + std::marker::Send>;

/// Where a flood goes.
#[derive(Clone, Copy)]
enum Flood {
    None,
    /// To the recipients, past the router.
    Past(SocketAddr),
    /// Through the router.
    Through(SocketAddr),
}

impl Flood {
    /// Connections that send all they can until told to stop.
    fn begin(self, enough: &Arc<AtomicBool>) -> Outcome<Vec<std::thread::JoinHandle<()>>> {
        let batch = message(LOUD, "").repeat(200);
        let mut threads = Vec::new();
        for _ in 0..FLOODS {
            let mut send: Send = match self {
                Self::None => break,
                Self::Past(server) => {
                    let mut stream = TcpStream::connect(server).map_err(failed)?;
                    stream.write_all(xml::header(LOUD, "contoso.com", "").as_bytes()).map_err(failed)?;
                    Box::new(move |bytes| stream.write_all(bytes).is_ok())
                }
                Self::Through(router) => {
                    let mut wire = partner::open(router, LOUD, "contoso.com", &Proof::Dialback)?;
                    Box::new(move |bytes| wire.send(bytes).is_ok())
                }
            };
            let (enough, batch) = (Arc::clone(enough), batch.clone());
            threads.push(std::thread::spawn(move || {
                sys::step_back();
                while !enough.load(Ordering::Relaxed) && send(batch.as_bytes()) {}
            }));
        }
        Ok(threads)
    }

    /// Works beside it.
    fn beside(self, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        let enough = Arc::new(AtomicBool::new(false));
        let threads = self.begin(&enough)?;
        std::thread::sleep(Duration::from_millis(300));
        let result = work();
        enough.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        std::thread::sleep(Duration::from_millis(300));
        result
    }
}

/// Threads that keep every core busy while nothing else wants it, and see when it stands still.
struct Busy {
    on: AtomicBool,
    over: AtomicBool,
}

/// What the clock leaps over at the least when a core stands still, in nanoseconds.
const STILL: u64 = 500_000;

impl Busy {
    /// Works while the cores are kept busy.
    fn during(cores: &[usize], work: impl FnOnce(&Self) -> Outcome<()>) -> Outcome<()> {
        let busy = Self { on: AtomicBool::new(false), over: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            for core in cores {
                let busy = &busy;
                scope.spawn(move || {
                    // Where neither is allowed the figures are worse for it.
                    drop(sys::pin(0, *core));
                    sys::stand_aside();
                    while !busy.over.load(Ordering::Relaxed) {
                        if busy.on.load(Ordering::Relaxed) {
                            std::hint::spin_loop();
                        } else {
                            std::thread::sleep(Duration::from_millis(10));
                        }
                    }
                });
            }
            let result = work(&busy);
            busy.over.store(true, Ordering::Relaxed);
            result
        })
    }

    fn set(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }
}

/// Tells how often each of these cores stands still while all of them are busy with nothing.
fn tell_of_the_machine(cores: &[usize]) {
    let end = sys::now() + 5_000_000_000;
    let watch = |core: usize| {
        drop(sys::pin(0, core));
        let (mut before, mut still) = (sys::now(), Vec::new());
        while before < end {
            let now = sys::now();
            if now - before >= STILL {
                still.push((now - before) as f64 / 1e6);
            }
            before = now;
        }
        still
    };
    let told = std::thread::scope(|scope| {
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(move || (*core, watch(*core)))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    for (core, still) in told {
        println!(
            "core {core}, busy with nothing for 5 s, stood still {} times for {:.1} ms in all, {:.1} ms at the longest",
            still.len(),
            still.iter().sum::<f64>(),
            still.iter().copied().fold(0.0, f64::max)
        );
    }
}

/// The windows of a round, but for a first and a last one of less than half the messages of the others.
fn windows(seen: &Seen) -> Vec<Histogram> {
    let windows = std::mem::take(&mut *seen.times.lock().unwrap_or_else(PoisonError::into_inner));
    let most = windows.values().map(Histogram::total).max().unwrap_or_default();
    windows.into_values().filter(|window| window.total() >= most / 2).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The router, on a core of its own; `None` when it does not start.
fn start(file: &Path, listen: SocketAddr, cores: &[usize]) -> Outcome<Option<Router>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
    command.arg("run").arg("--config").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    let mut router = Router(command.spawn().map_err(failed)?);
    while TcpStream::connect(listen).is_err() {
        if router.0.try_wait().is_ok_and(|status| status.is_some()) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if let [.., last] = *cores {
        sys::pin(router.0.id(), last)?;
        sys::favour(router.0.id())?;
    }
    Ok(Some(router))
}

/// What the quiet partner waits for each of these ways, which say whether the cores are kept busy.
fn tell(ways: &[(&str, Flood, bool)], times: [Vec<Histogram>; 4]) {
    let mut alone = [f64::NAN; 2];
    for ((what, _, busy), windows) in ways.iter().zip(times) {
        let micros = |window: &Histogram, share| window.percentile(share) as f64 / 1e3;
        let middle = |share| median(windows.iter().map(|window| micros(window, share)).collect());
        let mut all = Histogram::default();
        windows.iter().for_each(|window| all.add_all(window));
        let p99 = [middle(0.99), micros(&all, 0.99)];
        // All else is compared with what he waits alone on cores that are as busy.
        if !*busy || what.starts_with("alone") {
            alone = p99;
        }
        println!(
            "    {what:26} p50 {:6.0}  p90 {:6.0}  p99 {:6.0} ({:.2} x)  p99 of all {:6.0} ({:.2} x)",
            middle(0.5),
            middle(0.9),
            p99[0],
            p99[0] / alone[0],
            p99[1],
            p99[1] / alone[1]
        );
    }
}

fn bench(driver: &str, folder: &Path, cores: &[usize]) -> Outcome<()> {
    // The router and the recipients are started by this thread, and would go first as well.
    sys::step_aside();
    let seen = Arc::new(Seen::default());
    let (servers, listen) = ([server(Arc::default())?, server(Arc::clone(&seen))?], free()?);
    let file = folder.join("fair.toml");
    std::fs::write(&file, config(listen, free()?, free()?, servers, driver)).map_err(failed)?;
    let Some(_router) = start(&file, listen, cores)? else {
        println!("{driver:8} skipped: the router does not start with it");
        return Ok(());
    };
    sys::exact_sleep();
    if !sys::step_forward() {
        println!(
            "the quiet partner may not go first here: what follows says more of the kernel than of the router"
        );
    }
    let mut wire = partner::open(listen, QUIET, "contoso.com", &Proof::Dialback)?;
    wire.send(message(QUIET, "first").as_bytes()).map_err(failed)?;
    // How much passes when it is flooded.
    let mut most = 0.0;
    Flood::Through(listen).beside(|| {
        let before = seen.messages.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs_f64(SECONDS));
        most = (seen.messages.load(Ordering::Relaxed) - before) as f64 / SECONDS;
        Ok(())
    })?;
    // One message a write costs its sender more than the router: no more than he can do.
    let rate = (most / 2.0).min(20_000.0);
    windows(&seen);
    let ways = [
        ("alone, idle cores", Flood::None, false),
        ("alone, busy cores", Flood::None, true),
        ("beside floods past it", Flood::Past(servers[1]), true),
        ("beside floods through it", Flood::Through(listen), true),
    ];
    let mut times = [const { Vec::new() }; 4];
    let mut passed = 0;
    Busy::during(cores, |busy| {
        for _ in 0..ROUNDS {
            for ((_, flood, on), times) in ways.iter().zip(&mut times) {
                if sys::stopped() {
                    return Err("interrupted".into());
                }
                busy.set(*on);
                let before = seen.messages.load(Ordering::Relaxed);
                flood.beside(|| pace(&mut wire, rate))?;
                if let Flood::Through(_) = flood {
                    passed += seen.messages.load(Ordering::Relaxed) - before;
                }
                times.extend(windows(&seen));
            }
        }
        Ok(())
    })?;
    println!(
        "{driver}: flooded it passes {most:.0} messages/s; of {rate:.0}/s of the quiet partner's so much waits no longer than, in us:"
    );
    println!(
        "    of the flood {:.0} messages/s passed beside him",
        passed as f64 / (SECONDS + 0.3) / ROUNDS as f64
    );
    tell(&ways, times);
    Ok(())
}

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let folder = std::env::temp_dir().join(format!("turnout-fair-{}", std::process::id()));
    let made = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .arg("dev-certs")
        .arg(&folder)
        .stdout(Stdio::null())
        .status();
    let users = "#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n\
                 \"SipAddress\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\"\r\n\
                 \"sip:u1@contoso.com\",\"sfb2015.contoso.com\",\"SRV:\",\"True\",\"True\"\r\n";
    let result = match made {
        Ok(status) if status.success() => {
            std::fs::write(folder.join("fair-users.csv"), users).map_err(failed).and_then(|()| {
                let cores = sys::cores();
                sys::stop_in_order();
                let _cleared = cores.last().filter(|_| cores.len() > 1).map(|last| sys::Cleared::of(*last));
                if let [first, _, ..] = cores[..] {
                    sys::pin(0, first)?;
                }
                tell_of_the_machine(&cores);
                let wanted = |driver: &&str| words.is_empty() || words.iter().any(|word| word == *driver);
                ["poll", "io_uring"]
                    .iter()
                    .filter(|driver| wanted(driver))
                    .try_for_each(|driver| bench(driver, &folder, &cores))
            })
        }
        _ => Err("turnout dev-certs failed".to_owned()),
    };
    // Nothing depends on the folder being gone.
    drop(std::fs::remove_dir_all(&folder));
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fair: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
