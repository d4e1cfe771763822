//! A new binary takes the place of a running one: nobody who connects is refused, nothing a partner sent is lost, nothing is sent
//! twice.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;

use crate::estate::{Ground, Plan, wait};
use crate::peers::server::{Manner, Server};
use crate::peers::stream::{Item, body, chat, header};
use crate::peers::wire::{End, Wire};
use crate::process::{Process, signal};

/// Stops others also when the thread that has it fails: they would run on.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pids of successors; whichever test fails leaves none behind.
pub struct Successor(pub u32);

impl Drop for Successor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            signal(self.0, "-KILL");
        }
    }
}

impl Successor {
    /// The `count`th the processes speak of.
    pub fn of(process: &Process, count: usize) -> Self {
        let line = &process.says_times(count, "is ready to go on")[count - 1];
        let pid = line.split("pid=").nth(1).unwrap().split(' ').next().unwrap();
        Self(pid.parse().unwrap())
    }
}

/// A stream of partner.example that may be cut off before it is one, as the router may end just now.
fn try_stream(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Wire> {
    let mut wire = Wire::new(TcpStream::connect(address).expect("nobody is refused"));
    let expect = |wire: &mut Wire, part: &str| loop {
        match wire.next() {
            Item::Header(_) => (),
            Item::Element(text) if text.contains(part) => return Some(()),
            Item::Close | Item::End(End::Eof | End::Notified) => return None,
            other => panic!("expected {part}, came {other:?}"),
        }
    };
    let open = header("partner.example", "contoso.com", "");
    wire.send(&open);
    expect(&mut wire, "<starttls")?;
    wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    expect(&mut wire, "<proceed")?;
    wire.secure_as_client(Arc::clone(config), "contoso.com").ok()?;
    wire.send(&open);
    expect(&mut wire, "EXTERNAL")?;
    wire.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    expect(&mut wire, "<success")?;
    wire.send(&open);
    expect(&mut wire, "<stream:features")?;
    Some(wire)
}

/// Writes numbered messages, on a new stream whenever one ends, until it is told to stop; says how many.
pub fn write_on(address: SocketAddr, config: &Arc<ClientConfig>, stop: &AtomicBool, sent: &AtomicU64) {
    let mut wire: Option<Wire> = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut wire else {
            wire = try_stream(address, config);
            continue;
        };
        let number = sent.fetch_add(1, Ordering::Relaxed);
        open.send(chat("bob@partner.example/phone", "anna@contoso.com", "m", &number.to_string()));
        open.pump(Duration::from_millis(1));
        match open.poll() {
            None => (),
            Some(Item::Close) => {
                open.send("</stream:stream>");
                open.until_end();
                wire = None;
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    if let Some(mut wire) = wire {
        wire.send("</stream:stream>");
        wire.until_end();
    }
}

#[test]
fn an_upgrade_refuses_nobody_and_loses_nothing() {
    let more = "[presence]\nstore = \"contacts.redb\"\n[spool]\nmode = \"durable\"\npath = \"spool\"";
    let plan = Plan { drain_seconds: 20, more: more.to_owned(), ..Plan::default() };
    let ground = Ground::new(&plan);
    let mut process = Process::start(&ground.configure(&plan));
    let outside = process.at("federation.listen");
    let everywhere =
        [outside, process.at("federation.listen_tls"), process.at("home.legacy.listen"), ground.sip()];
    let config = ground.client("partner.example");
    let (stop, sent, knocked) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let last = std::thread::scope(|scope| {
        scope.spawn(|| write_on(outside, &config, &stop, &sent));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for address in everywhere {
                    TcpStream::connect(address).expect("nobody is refused");
                    knocked.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let some_more = |what: &str| {
            let (messages, knocks) =
                (ground.gateway.stanzas.all().len() + 50, knocked.load(Ordering::Relaxed) + 50);
            wait(what, || {
                let now = (ground.gateway.stanzas.all().len(), knocked.load(Ordering::Relaxed));
                if now.0 >= messages && now.1 >= knocks { Ok(()) } else { Err(format!("{now:?}")) }
            });
        };
        let _stop = Stop(&stop);
        some_more("traffic through the first");
        process.signal("-USR2");
        let second = Successor::of(&process, 1);
        assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
        some_more("traffic through the second");
        signal(second.0, "-USR2");
        let third = Successor::of(&process, 2);
        some_more("traffic through the third");
        third
    });
    let sent = usize::try_from(sent.into_inner()).unwrap();
    let mut got: Vec<usize> =
        ground.gateway.stanzas.at_least(sent).iter().map(|stanza| body(stanza).parse().unwrap()).collect();
    got.sort_unstable();
    assert!(got.iter().copied().eq(0..sent), "{} of {sent} came", got.len());
    signal(last.0, "-TERM");
    assert_eq!(process.says_times(3, "nothing accepted is left").len(), 3);
}

#[test]
fn an_upgrade_to_what_cannot_begin_changes_nothing() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let process = Process::start(&ground.configure(&plan));
    let mut wire = process.partner_stream(&ground);
    ground.configure(&Plan { federation: "colour = \"red\"".to_owned(), ..Plan::default() });
    process.signal("-USR2");
    process.says("federation.colour");
    let refused = process.says("upgrade refused");
    assert!(
        refused.contains("everything stays as it was") && refused.contains("it says above why"),
        "{refused}"
    );
    process.serves_and_leaves(&ground, &mut wire);
}

#[test]
fn a_home_is_added_by_an_upgrade() {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let mut process = Process::start(&ground.configure(&plan));
    let outside = process.at("federation.listen");
    let config = ground.client("partner.example");
    let mut before = try_stream(outside, &config).unwrap();
    before.send(chat("bob@partner.example", "anna@contoso.com", "m1", "1"));
    ground.gateway.stanzas.at_least(1);
    let second = Server::start(Manner::default());
    let more = format!(
        "[home.second]\nbackend = \"xmpp\"\nconnect = [\"{}\"]\nlisten = \"127.0.0.1:0\"\ntls = \"optional\"\nregistrar_pools = [\"second.contoso.com\"]",
        second.address
    );
    let mut plan = Plan { more, ..plan };
    plan.users.push(("dora@contoso.com".to_owned(), "second.contoso.com"));
    ground.configure(&plan);
    process.signal("-USR2");
    let successor = Successor::of(&process, 1);
    assert_eq!(before.next(), Item::Close);
    before.send("</stream:stream>");
    before.until_end();
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    let mut after = loop {
        if let Some(wire) = try_stream(outside, &config) {
            break wire;
        }
    };
    after.send(chat("bob@partner.example", "dora@contoso.com", "m2", "2"));
    assert_eq!(body(&second.stanzas.at_least(1)[0]), "2");
    after.send("</stream:stream>");
    after.until_end();
    signal(successor.0, "-TERM");
    process.says("nothing accepted is left");
}
