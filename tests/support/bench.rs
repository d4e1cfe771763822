//! One backend and one scripted server, joined by links whose bytes may be cut anywhere. For the suite that all backends pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Closed, Door, Event, LinkId, Outbox, Output, Secured, Side};
use turnout_core::random::Random;
use turnout_core::stanza::Stanza;
use turnout_core::world::World;

use super::ledger::Ledger;
use super::peer::{Peer, PeerAct, PeerOut, Words};

/// Where what the server sends is cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    Never,
    /// Once, after so many bytes of all.
    After(usize),
    /// After every byte.
    Always,
}

/// The pair.
pub struct Bench {
    /// Under test.
    pub backend: Box<dyn Backend>,
    /// The clock.
    pub now: Instant,
    out: Outbox,
    peer: Box<dyn Peer>,
    side: Side,
    cut: Cut,
    links: BTreeMap<u64, LinkId>,
    random: Random,
    count: u64,
    calm_ledger: Ledger,
    /// Bytes that reached the backend.
    pub received: usize,
    /// All that the backend wrote, in order.
    pub written: Vec<u8>,
    /// Stanzas that arrived, as text.
    pub arrived: Vec<String>,
    /// Kept stanzas that ended.
    pub done: Vec<(Stanza, bool)>,
    /// Links said to be ready.
    pub ready: Vec<LinkId>,
    /// Links the backend closed.
    pub closed: Vec<LinkId>,
    /// Faults.
    pub faults: usize,
    /// The server's part is not played: what it sends is not delivered.
    pub mute: bool,
}

impl Bench {
    /// A quiet pair.
    pub fn new(side: Side, backend: Box<dyn Backend>, peer: Box<dyn Peer>, cut: Cut) -> Self {
        Self {
            backend,
            now: super::epoch(),
            out: Outbox::new(0),
            peer,
            side,
            cut,
            links: BTreeMap::new(),
            random: Random::new(1),
            count: 0,
            calm_ledger: Ledger::default(),
            received: 0,
            written: Vec::new(),
            arrived: Vec::new(),
            done: Vec::new(),
            ready: Vec::new(),
            closed: Vec::new(),
            faults: 0,
            mute: false,
        }
    }

    /// The server says something.
    pub fn speak(&mut self, words: Words) {
        self.with_peer(|peer, out| peer.speak(words, out));
    }

    /// Dials a destination.
    pub fn dial(&mut self, destination: &Destination, node: Option<&HostPort>) -> LinkId {
        let link = self.out.next_link();
        self.backend.dial(self.now, link, destination, node, &mut self.out);
        self.pump();
        link
    }

    /// Gives the backend a stanza.
    pub fn send(&mut self, link: LinkId, stanza: Stanza) -> Sent {
        let sent = self.backend.send(self.now, link, stanza, &mut self.out);
        self.pump();
        sent
    }

    /// Bytes out of nowhere on a link.
    pub fn feed(&mut self, link: LinkId, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.faults += usize::from(self.backend.receive(self.now, link, bytes, &mut self.out).is_err());
        self.pump();
    }

    /// A new configuration.
    pub fn configure(&mut self, world: &Arc<World>) {
        self.backend.configure(self.now, world, &mut self.out);
        self.pump();
    }

    /// The process ends.
    pub fn drain(&mut self) {
        self.backend.drain(self.now, &mut self.out);
        self.pump();
    }

    /// All links, oldest first.
    pub fn links(&self) -> Vec<LinkId> {
        self.links.values().copied().collect()
    }

    /// A connection breaks.
    pub fn lose(&mut self, link: LinkId) {
        self.end(link, &Closed::Broken("reset".into()));
        self.pump();
    }

    /// Time passes, timer by timer; a timer that does not move on fails.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let Some(at) = self.backend.deadline().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.backend.wake(self.now, &mut self.out);
            assert!(
                self.backend.deadline().is_none_or(|next| next > at),
                "what was due is still due after wake"
            );
            self.pump();
        }
        panic!("the backend's timers never rest");
    }

    fn end(&mut self, link: LinkId, why: &Closed) {
        let Some(conn) = self.conn(link) else { return };
        self.links.remove(&conn);
        self.backend.closed(self.now, link, why, &mut self.out);
        self.with_peer(|peer, out| peer.closed(conn, out));
    }

    fn conn(&self, link: LinkId) -> Option<u64> {
        self.links.iter().find(|(_, other)| **other == link).map(|(conn, _)| *conn)
    }

    fn with_peer(&mut self, act: impl FnOnce(&mut dyn Peer, &mut PeerOut<'_>)) {
        let mut out = PeerOut {
            acts: Vec::new(),
            random: &mut self.random,
            count: &mut self.count,
            calm: true,
            over: false,
            ledger: self.calm_ledger.clone(),
        };
        act(&mut *self.peer, &mut out);
        for act in out.acts {
            match act {
                PeerAct::Send(conn, bytes) => self.deliver(conn, &bytes),
                PeerAct::Close(conn) => {
                    if let Some(link) = self.links.get(&conn).copied() {
                        self.end(link, &Closed::Eof);
                    }
                }
                PeerAct::Open(conn) => self.accept(conn),
                PeerAct::Read(..) | PeerAct::Told(_) => {}
            }
        }
        self.pump();
    }

    fn accept(&mut self, conn: u64) {
        let link = LinkId::accepted(0, conn);
        self.links.insert(conn, link);
        let direct_tls = self.peer.direct_tls();
        let door = Door { side: self.side, direct_tls };
        self.backend.accepted(self.now, link, door, &Arc::from("192.0.2.1:5061"), &mut self.out);
        self.with_peer(|peer, out| peer.opened(conn, true, out));
        if direct_tls {
            self.secure(link);
        }
    }

    fn secure(&mut self, link: LinkId) {
        let Some(conn) = self.conn(link) else { return };
        let secured = Secured { certificate: self.peer.certificate().map(Box::new), version: "TLSv1.3" };
        self.backend.secured(self.now, link, secured, &mut self.out);
        self.with_peer(|peer, out| peer.secured(conn, out));
    }

    /// The backend reads what the server sent, cut as the test has it.
    fn deliver(&mut self, conn: u64, bytes: &[u8]) {
        if self.mute {
            return;
        }
        let pieces: Vec<&[u8]> = match self.cut {
            Cut::Never => vec![bytes],
            Cut::Always => bytes.chunks(1).collect(),
            Cut::After(at) => match at.checked_sub(self.received) {
                Some(at) if at > 0 && at < bytes.len() => vec![&bytes[..at], &bytes[at..]],
                _ => vec![bytes],
            },
        };
        self.received += bytes.len();
        for piece in pieces {
            let Some(link) = self.links.get(&conn).copied() else { return };
            let piece = Bytes::copy_from_slice(piece);
            self.faults += usize::from(self.backend.receive(self.now, link, piece, &mut self.out).is_err());
            self.pump();
        }
    }

    /// Works off what the backend put in its outbox.
    fn pump(&mut self) {
        for stanza in self.out.arrivals.drain(..) {
            self.arrived.push(String::from_utf8_lossy(&stanza.bytes).into_owned());
            if stanza.origin.ticket != 0 {
                // The other side took it at once.
                self.backend.settle(self.now, &stanza.origin, Verdict::Delivered, &mut self.out);
            }
        }
        self.out.dialed.clear();
        for event in self.out.events.drain(..) {
            match event {
                Event::Ready(link) => self.ready.push(link),
                Event::Done(stanza, end) => self.done.push((*stanza, end.is_ok())),
                Event::Unready(..)
                | Event::Introduced(..)
                | Event::Acknowledging(_)
                | Event::Acknowledged(..)
                | Event::Resumed(..)
                | Event::Seen(_)
                | Event::WayBack(..) => {}
            }
        }
        for output in std::mem::take(&mut self.out.outputs) {
            match output {
                Output::Transmit(link, bytes) => {
                    self.written.extend_from_slice(&bytes);
                    if let Some(conn) = self.conn(link) {
                        self.with_peer(|peer, out| peer.receive(conn, &bytes, out));
                    }
                }
                Output::Connect(connect) => {
                    self.count += 1;
                    let conn = self.count;
                    self.links.insert(conn, connect.link);
                    self.backend.connected(self.now, connect.link, connect.direct, &mut self.out);
                    self.with_peer(|peer, out| peer.opened(conn, false, out));
                    if connect.direct {
                        self.secure(connect.link);
                    }
                }
                Output::StartTls(link, _) => self.secure(link),
                Output::Close(link, _) => {
                    self.closed.push(link);
                    self.end(link, &Closed::Ours);
                }
                Output::Note(_) => {}
                other => panic!("not a backend's on one shard: {other:?}"),
            }
        }
        if !(self.out.outputs.is_empty() && self.out.events.is_empty() && self.out.arrivals.is_empty()) {
            self.pump();
        }
    }
}
