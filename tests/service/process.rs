//! The binary: signals, exit codes, the demo.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use turnout::clock::now;

use crate::estate::{Ground, Plan, wait};
use crate::peers::inbox::{Inbox, PATIENCE};
use crate::peers::stream::{Item, chat, external, starttls};
use crate::peers::wire::{End, Wire};

/// `turnout run` with a configuration.
fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
    command.args(["run", "--config"]).arg(config);
    command
}

/// A running `turnout run`.
pub struct Process {
    child: Child,
    /// Its log.
    pub lines: Inbox<String>,
}

impl Process {
    pub fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    /// As [`Self::start`], with more arguments.
    pub fn start_with(config: &Path, more: &[&str]) -> Self {
        Self::start_by(command(config).args(more).env_remove("TURNOUT_LOG"))
    }

    /// As [`Self::start`], with a log of this level.
    pub fn start_telling(config: &Path, level: &str) -> Self {
        Self::start_by(command(config).env("TURNOUT_LOG", level))
    }

    /// By a command that becomes `turnout run`.
    pub fn start_by(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = Inbox::default();
        let (log, stderr) = (lines.clone(), BufReader::new(child.stderr.take().unwrap()));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| log.push(line)));
        let process = Self { child, lines };
        process.says("turnout is up");
        process
    }

    pub fn says(&self, text: &str) -> String {
        self.lines.first(text, |line| line.contains(text))
    }

    /// Waits until so many lines say that, those of processes that took its place among them; gives these.
    pub fn says_times(&self, count: usize, text: &str) -> Vec<String> {
        let found =
            || -> Vec<String> { self.lines.all().into_iter().filter(|line| line.contains(text)).collect() };
        wait(text, || {
            let found = found().len();
            if found >= count { Ok(()) } else { Err(format!("{found} of {count}: {:?}", self.lines.all())) }
        });
        found()
    }

    /// A listener's address, as logged.
    pub fn at(&self, key: &str) -> SocketAddr {
        let line = self.lines.first(key, |line| line.contains(&format!(" {key} ")));
        let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap();
        address.parse().unwrap()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(now() < deadline, "it does not end; log: {:?}", self.lines.all());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// It still takes what a partner says, ends his stream in order when it is told to stop, and itself with it.
    pub fn serves_and_leaves(mut self, ground: &Ground, wire: &mut Wire) {
        wire.send(chat("bob@partner.example", "anna@contoso.com", "m1", "still here"));
        ground.gateway.stanzas.at_least(1);
        self.signal("-TERM");
        assert_eq!(wire.next(), Item::Close);
        wire.send("</stream:stream>");
        assert_eq!(self.wait().code(), Some(0));
    }

    pub fn partner_stream(&self, ground: &Ground) -> Wire {
        let address = self.at("federation.listen");
        let config = ground.client("partner.example");
        let (mut wire, _) = starttls(address, config, "partner.example", "contoso.com");
        external(&mut wire, "partner.example", "contoso.com");
        wire
    }
}

/// Signals a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended in every test that went well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn sigterm_delivers_what_was_accepted_and_says_goodbye() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let mut process = Process::start(&ground.configure(&plan));
    let mut wire = process.partner_stream(&ground);
    let users = ["anna@contoso.com", "carla@contoso.com"];
    let messages: Vec<String> =
        (0..400).map(|n| chat("bob@partner.example/phone", users[n % 2], "m", &n.to_string())).collect();
    wire.send(messages.concat());
    ground.gateway.stanzas.at_least(1);
    process.signal("-TERM");
    // Whatever we said before we answer the end of the stream counts (RFC 6120 §4.4).
    assert_eq!(wire.next(), Item::Close);
    wire.send("</stream:stream>");
    assert_eq!(wire.until_end(), End::Notified);
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{:?}", process.lines.all());
    assert_eq!(ground.gateway.stanzas.at_least(200).len(), 200);
    assert_eq!(ground.pool.texts().len(), 200);
    // The streams the router opened end in order as well.
    assert!(ground.gateway.steps.at_least(3).contains(&"closed".to_owned()));
    process.says("stopped; nothing accepted is left");
}

#[test]
fn sigterm_waits_for_what_is_still_on_its_way() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let mut process = Process::start(&ground.configure(&plan));
    let mut wire = process.partner_stream(&ground);
    // More than a link takes at once, to users of both tracks and to one who is not there.
    let filler = "x".repeat(2_000);
    let users = ["anna@contoso.com", "carla@contoso.com", "bert@contoso.com", "nobody@contoso.com"];
    let messages: Vec<String> = (0..2_000)
        .map(|n| chat("bob@partner.example/phone", users[n % 4], &n.to_string(), &filler))
        .collect();
    process.signal("-TERM");
    wire.send(messages.concat());
    // The router ends its stream; everything we said before we end ours counts.
    while wire.next() != Item::Close {}
    wire.send("</stream:stream>");
    wire.until_end();
    let status = process.wait();
    assert_eq!(status.code(), Some(0), "{:?}", process.lines.all());
    let told = ground.partner.stanzas.all().len();
    let got = (ground.gateway.stanzas.all().len(), ground.pool.texts().len(), told);
    assert_eq!(got, (1000, 500, 500), "legacy, 2019 and bounced; {:?}", process.lines.all());
}

#[test]
fn an_idle_router_ends_at_once() {
    for signal in ["-TERM", "-INT"] {
        let plan = Plan { drain_seconds: 20, ..Plan::default() };
        let ground = Ground::new(&plan);
        let mut process = Process::start(&ground.configure(&plan));
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    }
}

#[test]
fn sighup_reloads() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let process = Process::start(&ground.configure(&plan));
    let mut wire = process.partner_stream(&ground);
    ground.configure(&Plan { federation: "colour = \"red\"".to_owned(), ..Plan::default() });
    process.signal("-HUP");
    let refused = process.says("reload refused");
    assert!(
        refused.contains("everything stays as it was") && refused.contains("federation.colour"),
        "{refused}"
    );
    let more = "[[partner]]\ndomain = \"other.example\"\ntype = \"federated\"";
    ground.configure(&Plan { more: more.to_owned(), ..Plan::default() });
    process.signal("-HUP");
    process.says("reloaded ");
    let address = process.at("federation.listen");
    let (_, features) = starttls(address, ground.client("other.example"), "other.example", "contoso.com");
    assert!(features.contains("EXTERNAL"), "{features}");
    process.serves_and_leaves(&ground, &mut wire);
}

#[test]
fn machines_read_one_object_a_line() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let file = ground.configure(&plan);
    let mut process = Process::start_with(&file, &["--log-format", "json"]);
    // A domain that is no partner's.
    let listener = process.lines.first("listener", |line| line.contains("\"federation.listen\""));
    let listener: serde_json::Value = serde_json::from_str(&listener).unwrap();
    let address: SocketAddr = listener["address"].as_str().unwrap().parse().unwrap();
    let mut stranger = TcpStream::connect(address).unwrap();
    let header = crate::peers::stream::header("stranger.example", "contoso.com", "");
    stranger.write_all(header.as_bytes()).unwrap();
    process.says("partner.unknown");
    std::fs::write(&file, "domains = [").unwrap();
    process.signal("-HUP");
    process.says("router.reload_refused");
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    process.says("router.stopped");
    for line in process.lines.all() {
        let event: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        for key in ["timestamp", "level", "message", "event"] {
            assert!(event[key].is_string(), "no {key} in {line}");
        }
    }
    // What ends it is an event as well.
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["run", "--log-format", "json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let last: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(last["event"], "router.failed");
}

#[test]
fn a_taken_port_is_named() {
    let holder = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let file = ground.configure(&plan);
    let text = std::fs::read_to_string(&file).unwrap();
    let taken = holder.local_addr().unwrap();
    std::fs::write(&file, text.replacen("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{taken}\"]"), 1))
        .unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(["run", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("federation.listen") && said.contains(&taken.to_string()), "{said}");
    assert!(said.contains("free the port or change the key"), "{said}");
}

#[test]
fn the_demo_loses_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["demo", "--seconds", "3", "--rate", "200", "--json", "--admin", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{json} {said}");
    let number = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("no {key} in {json}"));
    for key in ["lost", "reordered", "bounced", "presence_wrong", "prompts"] {
        assert_eq!(number(key), 0, "{key}: {json} {said}");
    }
    assert!(number("sent") > 0 && number("delivered_legacy") > 0 && number("delivered_sip") > 0, "{json}");
    assert_eq!(number("delivered_legacy") + number("delivered_sip"), number("sent"), "{json}");
    assert_eq!(number("replies"), number("sent"), "{json}");
    assert!(number("presence_told") > 0 && number("presence_seen") > number("presence_told"), "{json}");
    assert!(number("p50_us") <= number("p99_us"), "{json}");
}

/// Pages the process holds, in KiB.
fn resident_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One stranger: connects and goes; talks rubbish; half a handshake; half a stream; asks for TLS and goes.
fn stranger(number: usize, plain: SocketAddr, tls: SocketAddr) {
    let mut socket = TcpStream::connect(if number % 5 == 2 { tls } else { plain }).unwrap();
    let header = crate::peers::stream::header("partner.example", "contoso.com", "");
    let said = match number % 5 {
        0 => Vec::new(),
        1 => vec![b'!'; 3_000],
        2 => [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 300]].concat(),
        3 => format!("{header}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").into_bytes(),
        _ => format!("{header}<message>{}", "x".repeat(3_000)).into_bytes(),
    };
    // Cut off in the middle of it is as good.
    drop(socket.write_all(&said));
    if number % 10 < 5 {
        let mut answer = [0; 4096];
        drop(socket.set_read_timeout(Some(Duration::from_millis(2))));
        drop(socket.read(&mut answer));
    }
}

fn count(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|many| many.parse().ok()).unwrap_or(usual)
}

#[test]
fn slow_senders_are_cut_off_and_keep_nobody_out() {
    // An octet a second on each of many connections. By hand with 5,000 and the minute that is usual: docs/decisions/0029-hostile.md.
    let (many, seconds) = (count("SLOW", 40), count("SLOW_SECONDS", 1));
    let federation = format!("connections_max = 20000\nestablishment_seconds = {seconds}");
    let plan = Plan { federation, ..Plan::default() };
    let ground = Ground::new(&plan);
    let process = Process::start(&ground.configure(&plan));
    let plain = process.at("federation.listen");
    let text = crate::peers::stream::header("partner.example", "contoso.com", "");
    let round = || {
        let mut slow: Vec<TcpStream> = (0..many).map(|_| TcpStream::connect(plain).unwrap()).collect();
        let deadline = now() + Duration::from_secs(seconds as u64) + PATIENCE;
        let mut most = 0;
        for octet in text.as_bytes().iter().cycle() {
            // Whoever is cut off shows when he is written to.
            slow.retain_mut(|socket| socket.write_all(&[*octet]).is_ok());
            if slow.is_empty() {
                break;
            }
            assert!(now() < deadline, "{} are still there", slow.len());
            most = most.max(resident_kib(&process));
            // A partner is served meanwhile.
            let mut wire = process.partner_stream(&ground);
            wire.send("</stream:stream>");
            wire.until_end();
            std::thread::sleep(Duration::from_secs(1));
        }
        most
    };
    // What the first leave are buffers that stay; what others leave on top of it would be a leak.
    round();
    let before = resident_kib(&process);
    let most = round();
    let mut after = resident_kib(&process);
    let deadline = now() + PATIENCE;
    while after * 100 > before * 105 && now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        after = resident_kib(&process);
    }
    println!("{before} KiB after {many} slow senders, {most} KiB with as many more, {after} KiB after them");
    assert!(after * 100 <= before * 105, "{before} KiB before, {after} KiB after");
}

#[test]
fn storms_of_strangers_leave_no_memory_behind() {
    // B-33, on real sockets. What a first storm leaves are buffers that stay; what a second leaves on top of it would be a leak.
    // By hand with 500,000, so that two storms are a million: docs/decisions/0029-hostile.md.
    let strangers = count("STRANGERS", 3_000);
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let process = Process::start(&ground.configure(&plan));
    let (plain, tls) = (process.at("federation.listen"), process.at("federation.listen_tls"));
    let storm = || {
        for number in 0..strangers {
            stranger(number, plain, tls);
        }
        // A stream that works is heard after all of them.
        let mut wire = process.partner_stream(&ground);
        wire.send("</stream:stream>");
        wire.until_end();
        resident_kib(&process)
    };
    let before = storm();
    let mut after = storm();
    // The last ones may still be on their way out.
    let deadline = now() + PATIENCE;
    while after * 100 > before * 105 && now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        after = resident_kib(&process);
    }
    println!("{before} KiB after {strangers} strangers, {after} KiB after as many more");
    assert!(after * 100 <= before * 105, "{before} KiB after one storm, {after} KiB after two");
}

/// What `turnout` says with this filter; one that goes on running is ended.
fn refused(args: &[&str], filter: &str) -> std::process::Output {
    let mut timed = Command::new("timeout");
    timed.arg("20").arg(env!("CARGO_BIN_EXE_turnout")).args(args).env("TURNOUT_LOG", filter).output().unwrap()
}

#[test]
fn a_log_that_cannot_be_filtered_as_asked_is_no_start() {
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    for (wrong, says) in [
        ("wran", "\"wran\" is no level"),
        ("turnout=loud", "error parsing level filter"),
        ("info,", "missing"),
    ] {
        let output = refused(&["run", "--config", config.to_str().unwrap()], wrong);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{wrong}: {said}");
        let shown = format!("error: TURNOUT_LOG={wrong}: ");
        assert!(
            said.starts_with(&shown) && said.contains(says) && said.contains("Write off, error"),
            "{said}"
        );
    }
    assert_eq!(refused(&["demo"], "wran").status.code(), Some(2));
}
