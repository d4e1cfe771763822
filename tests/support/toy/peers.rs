//! The other ends of the two toys.

use std::collections::{BTreeMap, VecDeque};

use super::{line, lines, number};
use crate::support::peer::{Peer, PeerAct, PeerOut};

/// A partner's server, or a node of the legacy gateway.
#[derive(Debug, Default)]
pub struct StreamPeer {
    /// Streams of the router: what came and is no whole line yet.
    inbound: BTreeMap<u64, Vec<u8>>,
    /// Streams to the router, by the domain spoken for.
    outbound: BTreeMap<String, u64>,
    /// Streams of the router that were not answered yet.
    unanswered: Vec<u64>,
}

impl StreamPeer {
    fn line(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        if text.starts_with("hello ") {
            if out.rarely(12) {
                out.send(conn, "no\n");
            } else if out.rarely(4) {
                self.unanswered.push(conn);
            } else {
                out.send(conn, "ok\n");
            }
        } else if matches!(text.as_bytes().first(), Some(b'm' | b'h' | b'p' | b'q'))
            && let Some(number) = number(text)
        {
            out.acts.push(PeerAct::Read(conn, number));
        }
    }
}

impl Peer for StreamPeer {
    fn opened(&mut self, conn: u64, ours: bool, _out: &mut PeerOut<'_>) {
        if !ours {
            self.inbound.insert(conn, Vec::new());
        }
    }

    fn receive(&mut self, conn: u64, bytes: &[u8], out: &mut PeerOut<'_>) {
        let Some(buffer) = self.inbound.get_mut(&conn) else { return };
        buffer.extend_from_slice(bytes);
        for text in lines(buffer) {
            self.line(conn, &text, out);
        }
    }

    fn closed(&mut self, conn: u64, _out: &mut PeerOut<'_>) {
        self.inbound.remove(&conn);
        self.outbound.retain(|_, out| *out != conn);
        self.unanswered.retain(|waiting| *waiting != conn);
    }

    fn say(&mut self, number: usize, out: &mut PeerOut<'_>) {
        let Some(said) = out.ledger.get(number) else { return };
        let domain = said.from.split_once('@').map_or(&*said.from, |(_, domain)| domain).to_owned();
        let conn = match self.outbound.get(&domain) {
            Some(conn) => *conn,
            None => {
                let conn = out.open();
                out.send(conn, format!("hello {domain}\n"));
                self.outbound.insert(domain, conn);
                conn
            }
        };
        out.ledger.said_on(number, conn);
        out.send(conn, line(said.kind, &said.from, &said.to, number) + "\n");
    }

    fn whim(&mut self, out: &mut PeerOut<'_>) {
        for conn in std::mem::take(&mut self.unanswered) {
            if out.rarely(3) {
                self.unanswered.push(conn);
            } else {
                out.send(conn, "ok\n");
            }
        }
        if out.rarely(20)
            && let Some(conn) = self.inbound.keys().next().copied()
        {
            out.send(conn, "bye\n");
        }
        if out.rarely(30)
            && let Some((domain, conn)) = self.outbound.pop_first()
        {
            drop(domain);
            match out.random.below(3) {
                0 => out.send(conn, "?? nonsense\n"),
                1 => out.send(conn, "m other@elsewhere.example user0@contoso.com [0]\n"),
                _ => out.acts.push(PeerAct::Close(conn)),
            }
        }
    }

    fn waiting(&self) -> usize {
        self.unanswered.len()
    }
}

/// A node of the pool.
#[derive(Debug, Default)]
pub struct AskPeer {
    conns: BTreeMap<u64, Vec<u8>>,
    outbound: Option<u64>,
    /// Answers put off.
    later: VecDeque<(u64, String)>,
}

impl AskPeer {
    fn line(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        let Some((question, line)) = text.strip_prefix("s ").and_then(|rest| rest.split_once(' ')) else {
            return;
        };
        if out.rarely(25) {
            out.send(conn, format!("d {question}\n"));
            return;
        }
        if out.rarely(25) {
            out.send(conn, format!("t {question}\n"));
            return;
        }
        if !line.starts_with(['e', 'r'])
            && let Some(number) = number(line)
        {
            out.acts.push(PeerAct::Read(conn, number));
        }
        let answer = format!("a {question}\n");
        if out.rarely(40) {
            // Never answered: the router's patience ends.
        } else if out.rarely(3) {
            self.later.push_back((conn, answer));
        } else {
            out.send(conn, answer);
        }
    }
}

impl Peer for AskPeer {
    fn opened(&mut self, conn: u64, _ours: bool, _out: &mut PeerOut<'_>) {
        self.conns.insert(conn, Vec::new());
    }

    fn receive(&mut self, conn: u64, bytes: &[u8], out: &mut PeerOut<'_>) {
        let Some(buffer) = self.conns.get_mut(&conn) else { return };
        buffer.extend_from_slice(bytes);
        for text in lines(buffer) {
            self.line(conn, &text, out);
        }
    }

    fn closed(&mut self, conn: u64, _out: &mut PeerOut<'_>) {
        self.conns.remove(&conn);
        self.later.retain(|(on, _)| *on != conn);
        if self.outbound == Some(conn) {
            self.outbound = None;
        }
    }

    fn say(&mut self, number: usize, out: &mut PeerOut<'_>) {
        let Some(said) = out.ledger.get(number) else { return };
        let conn = match self.outbound {
            Some(conn) => conn,
            None => out.open(),
        };
        self.outbound = Some(conn);
        out.ledger.said_on(number, conn);
        out.send(conn, format!("s {number} {}\n", line(said.kind, &said.from, &said.to, number)));
    }

    fn whim(&mut self, out: &mut PeerOut<'_>) {
        for _ in 0..self.later.len() {
            let Some((conn, answer)) = self.later.pop_front() else { return };
            if out.rarely(3) {
                self.later.push_back((conn, answer));
            } else {
                out.send(conn, answer);
            }
        }
        if out.rarely(25)
            && let Some(conn) = self.conns.keys().next().copied()
        {
            out.send(conn, "bye\n");
            if self.outbound == Some(conn) {
                self.outbound = None;
            }
        }
    }

    fn waiting(&self) -> usize {
        self.later.len()
    }
}
