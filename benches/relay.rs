//! Socket to socket: `turnout run` with each driver, plain and TLS, beside a plain epoll byte relay as the floor. Invariant: what arrives is
//! checked message by message, and a ratio is taken between runs that followed each other.
//!
//!     cargo bench --bench relay [-- plain|tls|single]…

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use turnout_bench::args::Args;
use turnout_bench::report::Json;
use turnout_bench::{Outcome, jobs};

/// Times that everybody's turn comes.
const ROUNDS: usize = 3;
/// How each is measured in its turn.
const TIMING: &str = "--spans 2 --seconds 1 --warmup 0.3";

/// A process that ends with its measurement.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder that goes with the bench.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on the folder being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Addresses nobody listens on at this moment.
fn free(count: usize) -> Outcome<Vec<SocketAddr>> {
    let held: Result<Vec<TcpListener>, _> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let held = held.map_err(|error| error.to_string())?;
    held.iter().map(|listener| listener.local_addr().map_err(|error| error.to_string())).collect()
}

fn wait_for(address: SocketAddr, peer: &mut Peer, log: &Path) -> Outcome<()> {
    for _ in 0..1000 {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        if peer.0.try_wait().is_ok_and(|status| status.is_some()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(std::fs::read_to_string(log).unwrap_or_default().trim().to_owned())
}

/// Certificates and users.
fn scratch() -> Outcome<Folder> {
    let folder = Folder(std::env::temp_dir().join(format!("turnout-relay-{}", std::process::id())));
    let made = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .arg("dev-certs")
        .arg(&folder.0)
        .stdout(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err("turnout dev-certs failed".to_owned());
    }
    let mut users = String::from(
        "#TYPE Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r\n\
         \"SipAddress\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\"\r\n",
    );
    for user in 0..1000 {
        users.push_str(&format!(
            "\"sip:u{user:08}@contoso.com\",\"sfb2015.contoso.com\",\"SRV:\",\"True\",\"True\"\r\n"
        ));
    }
    std::fs::write(folder.0.join("bench-users.csv"), users).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The router's configuration; the addresses are those of its listeners (plain, TLS, inside), the partner's and the gateway's.
fn config(at: &[SocketAddr], driver: &str, tls: bool, admin: SocketAddr) -> String {
    let terms = if tls {
        "tls = \"required\"\nsasl = \"required\"\ndialback = false"
    } else {
        "tls = \"none\"\nsasl = \"none\"\ndialback = true"
    };
    let gateway_tls = if tls { "required" } else { "none" };
    format!(
        "domains = [\"contoso.com\"]\n[federation]\nlisten = [\"{}\"]\nlisten_tls = [\"{}\"]\ncertificate = \"contoso.com.pem\"\n\
         key = \"contoso.com.key\"\nca_file = \"ca.pem\"\n[[partner]]\ndomain = \"partner.example\"\ntype = \"federated\"\n{terms}\n\
         proxy = \"{}\"\n[home.legacy]\nbackend = \"xmpp\"\nconnect = [\"{}\"]\nlisten = \"{}\"\ntls = \"{gateway_tls}\"\n\
         registrar_pools = [\"sfb2015.contoso.com\"]\n[directory]\nsource = \"csv\"\nfile = \"bench-users.csv\"\n\
         default_xmpp_access = true\n[engine]\ndriver = \"{driver}\"\n[admin]\nlisten = \"{admin}\"\n",
        at[0], at[1], at[3], at[4], at[2]
    )
}

fn measure(words: &str) -> Outcome<Json> {
    let words = format!("{words} {TIMING}");
    jobs::run(&mut Args::parse(words.split_whitespace().map(str::to_owned))?)
}

/// Through turnout; `Err` with what it said when it does not start.
fn turnout(folder: &Path, driver: &str, way: &str) -> Outcome<Json> {
    let tls = way == "tls";
    let at = free(6)?;
    let file = folder.join("bench.toml");
    std::fs::write(&file, config(&at, driver, tls, at[5])).map_err(|error| error.to_string())?;
    let log = folder.join("turnout.log");
    let out = std::fs::File::create(&log).map_err(|error| error.to_string())?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
    command.arg("run").arg("--config").arg(&file).stdout(Stdio::null()).stderr(Stdio::from(out));
    let mut peer = Peer(command.spawn().map_err(|error| error.to_string())?);
    wait_for(at[0], &mut peer, &log)?;
    let (target, more) = if tls {
        (at[1], format!("--in direct --out true --certs {}", folder.display()))
    } else {
        (at[0], format!("--single {}", way == "single"))
    };
    measure(&format!(
        "xmpp --target {target} --verify {} --gateway {} --pids {} {more}",
        at[3],
        at[4],
        peer.0.id()
    ))
}

/// Through this program itself as a byte relay.
fn floor(way: &str) -> Outcome<Json> {
    let at = free(2)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let command = Command::new(program).args(["byte-relay", &at[0].to_string(), &at[1].to_string()]).spawn();
    let mut peer = Peer(command.map_err(|error| error.to_string())?);
    wait_for(at[0], &mut peer, Path::new(""))?;
    let single = way == "single";
    measure(&format!("relay --target {} --sink {} --pids {} --single {single}", at[0], at[1], peer.0.id()))
}

fn median(runs: &[Json], name: &str) -> f64 {
    let values: Vec<f64> = runs.iter().filter_map(|run| run.median(name)).collect();
    turnout_bench::report::median(&values)
}

fn bench(way: &str, folder: &Path, out: &mut impl Write) -> Outcome<()> {
    let drivers = ["poll", "io_uring"];
    let (mut floors, mut runs) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut refused: [Option<String>; 2] = [None, None];
    for _ in 0..ROUNDS {
        floors.push(floor(way).map_err(|why| format!("the byte relay: {why}"))?);
        for (at, driver) in drivers.iter().enumerate() {
            if refused[at].is_some() {
                continue;
            }
            match turnout(folder, driver, way) {
                Ok(run) => runs[at].push(run),
                // A driver that this build or this kernel has not is no failure; anything else is.
                Err(why) if why.contains("io_uring") && runs[at].is_empty() => refused[at] = Some(why),
                Err(why) => return Err(format!("{way}, {driver}: {why}")),
            }
        }
    }
    let told = |error: std::io::Error| error.to_string();
    let (rate, cpu) = (median(&floors, "per_second"), median(&floors, "cpu_s_per_million"));
    writeln!(out, "{way:8} plain byte relay  {rate:>12.0} stanzas/s {cpu:>8.3} CPU-s/M").map_err(told)?;
    for (at, driver) in drivers.iter().enumerate() {
        if let Some(why) = &refused[at] {
            let why = why.lines().find(|line| line.contains("io_uring")).unwrap_or(why);
            writeln!(out, "{way:8} turnout {driver:8}  skipped: {}", why.trim()).map_err(told)?;
            continue;
        }
        let (mine, mine_cpu) = (median(&runs[at], "per_second"), median(&runs[at], "cpu_s_per_million"));
        writeln!(
            out,
            "{way:8} turnout {driver:8}  {mine:>12.0} stanzas/s {mine_cpu:>8.3} CPU-s/M   {:.2} x the relay, {:.1} x its CPU",
            mine / rate,
            mine_cpu / cpu
        )
        .map_err(told)?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [job, listen, to] = words.as_slice()
        && job == "byte-relay"
    {
        let addresses = listen.parse().and_then(|listen| to.parse().map(|to| (listen, to)));
        let why = addresses.map_or_else(
            |error: std::net::AddrParseError| error.to_string(),
            |(listen, to)| turnout_bench::floor::byte_relay(listen, to),
        );
        eprintln!("relay: {why}");
        return std::process::ExitCode::FAILURE;
    }
    let result = scratch().and_then(|folder| {
        let ways = ["plain", "tls", "single"];
        let wanted = ways.iter().filter(|way| words.is_empty() || words.iter().any(|word| word == *way));
        wanted.into_iter().try_for_each(|way| bench(way, &folder.0, &mut std::io::stdout()))
    });
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("relay: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
