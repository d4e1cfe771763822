//! Bytes, connections and their ends.

use std::sync::Arc;

use bytes::Bytes;
use turnout_core::home::HostPort;
use turnout_core::io::{Close, Closed, Door, Handoff, Input, LinkId, Output, Secured, Target, Unreachable};

use super::Sim;
use crate::support::estate::{GATEWAY_HOSTS, LOCAL, PARTNERS, POOL_HOSTS};
use crate::support::net::Conn;
use crate::support::peer::PeerAct;

/// What a narrow driver reads at once, how many of its reads may wait for their shard, and how much mail before none reads.
const READ_BYTES: usize = 512;
const READS_MAX: usize = 3;
const MAIL_MAX: usize = 8;

impl Sim {
    /// Does what a shard asked for, in order.
    pub(super) fn submit(&mut self, index: usize) {
        let outputs = std::mem::take(&mut self.cells[index].out.outputs);
        for output in outputs {
            match output {
                Output::Connect(connect) => {
                    self.dials.push((self.now, peer_at(&connect.target)));
                    self.wishes.insert(connect.link, *connect);
                }
                Output::Transmit(link, bytes) => {
                    if let Some(conn) = self.conn(link).filter(|conn| !conn.flushing) {
                        conn.to_peer.extend(bytes);
                    }
                }
                Output::Close(link, close) => self.close(link, close),
                Output::Pause(link) => self.pause(link, true),
                Output::Resume(link) => self.pause(link, false),
                Output::Handoff(to, handoff) => {
                    if let Handoff::Stanza(stanza, _) = &handoff {
                        self.in_flight[usize::from(stanza.made)] += 1;
                    }
                    if let Handoff::Run(run) = &handoff {
                        self.in_flight[0] += run.len() as i128;
                    }
                    self.cells[usize::from(to)].mail.push_back(Input::Handoff(handoff));
                }
                Output::Holding(_) | Output::Settled(_) => self.mover_mail.push_back(output),
                Output::Persist(number, record) => {
                    self.store.insert(record.pair.clone(), *record);
                    self.cells[index].mail.push_back(Input::Persisted(number));
                }
                Output::Spool(_) | Output::Unspool(_) => self.give_spool(index, output),
                Output::Told(..) | Output::Surveyed(..) => {}
                Output::Drained => self.cells[index].drained = true,
                Output::Note(note) => {
                    self.ledger.log(|| format!("shard {index}: {} {}", note.about, note.text))
                }
                Output::StartTls(link, _) => self.secure(link),
            }
        }
        self.check_in_flight();
    }

    fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        self.links.get(&link).and_then(|number| self.conns.get_mut(number))
    }

    fn pause(&mut self, link: LinkId, paused: bool) {
        if let Some(conn) = self.conn(link) {
            assert_ne!(conn.paused, paused, "{link} is told twice");
            conn.paused = paused;
            self.pauses += usize::from(paused);
        }
    }

    fn tell(&mut self, link: LinkId, input: Input) {
        self.cells[usize::from(link.shard())].io.push_back(input);
    }

    /// The handshake itself is not played: what was sent before is read, then both ends know the other.
    fn secure(&mut self, link: LinkId) {
        let Some(&number) = self.links.get(&link) else { return };
        if let Some(conn) = self.conns.get_mut(&number) {
            conn.deaf = false;
        }
        self.write(number, usize::MAX);
        let Some(conn) = self.conns.get(&number) else { return };
        let peer = conn.peer;
        let certificate = self.peers[peer].certificate().map(Box::new);
        self.tell(link, Input::Secured(link, Secured { certificate, version: "TLSv1.3" }));
        self.with_peer(peer, |peer, out| peer.secured(number, out));
    }

    fn close(&mut self, link: LinkId, close: Close) {
        if self.wishes.remove(&link).is_some() {
            self.tell(link, Input::Closed(link, Closed::Ours));
            return;
        }
        let Some(&number) = self.links.get(&link) else { return };
        match close {
            Close::Abort => self.end(number, Closed::Ours),
            Close::Flush => {
                if let Some(conn) = self.conns.get_mut(&number) {
                    conn.flushing = true;
                }
            }
        }
    }

    /// Ends a connection: what was under way is gone.
    fn end(&mut self, number: u64, why: Closed) {
        // Half of the time the last word on what was written still arrives.
        if self.random.below(2) == 0 {
            self.report_written(number);
        }
        let Some(conn) = self.conns.remove(&number) else { return };
        if !conn.link.is_accepted() {
            self.ledger.cut(domain_of(conn.peer));
        }
        self.links.remove(&conn.link);
        let keeps = self.peers[conn.peer].keeps() || conn.eager;
        for (read, stanza) in &conn.carried {
            if keeps {
                self.ledger.doubt_unless_done(*stanza);
            } else if *read > conn.told {
                self.ledger.doubt(*stanza);
            }
        }
        self.ledger.log(|| format!("connection {number} of {} ended: {why:?}", conn.link));
        self.tell(conn.link, Input::Closed(conn.link, why));
        self.with_peer(conn.peer, |peer, out| peer.closed(number, out));
    }

    fn report_written(&mut self, number: u64) -> bool {
        let Some(conn) = self.conns.get_mut(&number).filter(|conn| conn.taken() > conn.told) else {
            return false;
        };
        conn.told = conn.taken();
        let (link, told) = (conn.link, conn.told);
        self.tell(link, Input::Written(link, told));
        true
    }

    /// The peer reads up to so many bytes.
    fn write(&mut self, number: u64, bytes_max: usize) -> bool {
        if self.stubborn && self.is_held_up(number) {
            return false;
        }
        let reads = |conn: &&mut Conn| !conn.to_peer.is_empty() && !conn.deaf;
        let Some(conn) = self.conns.get_mut(&number).filter(reads) else { return false };
        let count = conn.to_peer.len().min(bytes_max);
        let bytes: Vec<u8> = conn.to_peer.drain(..count).collect();
        conn.read += bytes.len() as u64;
        let peer = conn.peer;
        self.with_peer(peer, |peer, out| peer.receive(number, &bytes, out));
        true
    }

    /// The shard gets up to so many bytes.
    fn deliver(&mut self, number: u64, bytes_max: usize) -> bool {
        let reads = |conn: &&mut Conn| !conn.to_shard.is_empty() && !conn.paused;
        let Some(conn) = self.conns.get_mut(&number).filter(reads) else { return false };
        // A driver reads so much at once, and gives what it has read to the shard before it reads on.
        let cell = &self.cells[usize::from(conn.link.shard())];
        let crowded = cell.io.len() >= READS_MAX || self.cells.iter().any(|cell| cell.mail.len() >= MAIL_MAX);
        if self.narrow && crowded {
            return false;
        }
        let bytes_max = if self.narrow { bytes_max.min(READ_BYTES) } else { bytes_max };
        let count = conn.to_shard.len().min(bytes_max);
        let bytes: Vec<u8> = conn.to_shard.drain(..count).collect();
        let link = conn.link;
        self.tell(link, Input::Received(link, Bytes::from(bytes)));
        true
    }

    /// Whether the server at the other end of a connection waits with something to say: one that does one thing at a time reads nothing
    /// meanwhile.
    fn is_held_up(&self, number: u64) -> bool {
        let Some(conn) = self.conns.get(&number) else { return false };
        self.conns.values().any(|other| other.peer == conn.peer && other.paused && !other.to_shard.is_empty())
    }

    /// A server stops reading on one of its connections, or goes on.
    pub(super) fn some_deafness(&mut self) {
        if self.conns.is_empty() {
            return;
        }
        let at = self.pick(self.conns.len());
        if let Some(conn) = self.conns.values_mut().nth(at) {
            conn.deaf = !conn.deaf;
        }
    }

    /// Ends what has nothing more to say.
    fn finish(&mut self, number: u64) -> bool {
        let Some(conn) = self.conns.get(&number) else { return false };
        if conn.flushing && conn.to_peer.is_empty() {
            self.report_written(number);
            self.end(number, Closed::Ours);
            return true;
        }
        if conn.peer_closing && conn.to_shard.is_empty() {
            self.end(number, Closed::Eof);
            return true;
        }
        false
    }

    pub(super) fn some_conn(&mut self) {
        if self.conns.is_empty() {
            return;
        }
        let at = self.pick(self.conns.len());
        let Some(number) = self.conns.keys().nth(at).copied() else { return };
        let amount = match self.random.below(4) {
            0 => 1,
            1 => 1 + self.pick(40),
            _ => usize::MAX,
        };
        match self.random.below(8) {
            0..=2 => drop(self.write(number, amount)),
            3 => drop(self.report_written(number)),
            4..=6 => drop(self.deliver(number, amount)),
            _ => drop(self.finish(number)),
        }
    }

    /// One thing that can happen on some connection, if any.
    pub(super) fn busy_conn(&mut self) -> bool {
        let numbers: Vec<u64> =
            self.conns.values().filter(|conn| !conn.is_quiet()).map(|conn| conn.number).collect();
        if numbers.is_empty() {
            return false;
        }
        let first = self.pick(numbers.len());
        (0..numbers.len()).map(|at| numbers[(first + at) % numbers.len()]).any(|number| {
            self.write(number, usize::MAX)
                || self.report_written(number)
                || self.deliver(number, usize::MAX)
                || self.finish(number)
        })
    }

    pub(super) fn break_some(&mut self) {
        if self.conns.is_empty() {
            return;
        }
        let at = self.pick(self.conns.len());
        if let Some(number) = self.conns.keys().nth(at).copied() {
            self.end(number, Closed::Broken("reset".into()));
        }
    }

    /// A server goes away with all its connections, or comes back.
    pub(super) fn some_outage(&mut self) {
        let peer = self.pick(self.peers.len());
        self.switch(peer);
    }

    pub(super) fn switch(&mut self, peer: usize) {
        self.down[peer] = !self.down[peer];
        if self.down[peer] {
            let lost: Vec<u64> =
                self.conns.values().filter(|conn| conn.peer == peer).map(|conn| conn.number).collect();
            for number in lost {
                self.end(number, Closed::Broken("gone".into()));
            }
        }
    }

    /// A wish to connect comes true, fails, or is left alone for now.
    pub(super) fn some_wish(&mut self) {
        if self.wishes.is_empty() {
            return;
        }
        let at = self.pick(self.wishes.len());
        let Some(link) = self.wishes.keys().nth(at).copied() else { return };
        let Some(wish) = self.wishes.remove(&link) else { return };
        let peer = peer_at(&wish.target);
        if self.down[peer] || (!self.calm && self.one_in(10)) {
            self.ledger.cut(domain_of(peer));
            let why = self.unknown.get(&peer).copied().unwrap_or(Unreachable::NoAnswer);
            self.tell(link, Input::Failed { link, why, text: "refused".into() });
            return;
        }
        self.count += 1;
        let number = self.count;
        let eager = self.peers[peer].acknowledges();
        self.conns.insert(number, Conn { eager, ..Conn::new(number, link, peer) });
        self.links.insert(link, number);
        self.tell(link, Input::Connected { link, direct_tls: wish.direct, peer: "192.0.2.1:5269".into() });
        self.with_peer(peer, |peer, out| peer.opened(number, false, out));
        if wish.direct {
            self.secure(link);
        }
    }

    pub(super) fn follow_peer(&mut self, peer: usize, acts: Vec<PeerAct>) {
        for act in acts {
            match act {
                PeerAct::Send(number, bytes) => {
                    if let Some(conn) = self.conns.get_mut(&number).filter(|conn| !conn.peer_closing) {
                        conn.to_shard.extend(bytes);
                    }
                }
                PeerAct::Close(number) => {
                    if let Some(conn) = self.conns.get_mut(&number) {
                        conn.peer_closing = true;
                    }
                }
                PeerAct::Open(number) => self.accept(peer, number),
                PeerAct::Told(stanza) => self.ledger.told(stanza),
                PeerAct::Read(number, stanza) => {
                    if let Some(conn) = self.conns.get_mut(&number) {
                        conn.carried.push((conn.read, stanza));
                    }
                    self.ledger.read(stanza, Self::peer_home(peer));
                }
            }
        }
    }

    /// A peer connects: some shard accepts.
    fn accept(&mut self, peer: usize, number: u64) {
        let shard = self.pick(self.cells.len());
        let cell = &mut self.cells[shard];
        cell.accepted += 1;
        let link = LinkId::accepted(u16::try_from(shard).unwrap(), cell.accepted);
        let direct_tls = self.peers[peer].direct_tls();
        let door = Door { side: Self::peer_side(peer), direct_tls };
        let address: Arc<str> = "192.0.2.1:40000".into();
        cell.io.push_back(Input::Accepted { link, door, peer: address });
        let eager = self.peers[peer].acknowledges();
        self.conns.insert(number, Conn { eager, ..Conn::new(number, link, peer) });
        self.links.insert(link, number);
        self.with_peer(peer, |peer, out| peer.opened(number, true, out));
        if direct_tls {
            self.secure(link);
        }
    }
}

/// Whose users a peer serves.
fn domain_of(peer: usize) -> &'static str {
    PARTNERS.get(peer).copied().unwrap_or(LOCAL)
}

/// Which peer answers at a target.
fn peer_at(target: &Target) -> usize {
    let name = match target {
        Target::XmppService(domain) => domain.as_str(),
        Target::Hosts(hosts) => hosts.first().map_or("", |HostPort { host, .. }| host),
    };
    let names = PARTNERS.iter().chain(&GATEWAY_HOSTS).chain(&POOL_HOSTS);
    names.clone().position(|known| *known == name).unwrap_or_else(|| panic!("nobody is at {name:?}"))
}
