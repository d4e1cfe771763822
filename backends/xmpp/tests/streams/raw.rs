//! One backend against scripted bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::backend::{Backend, Destination, Fault};
use turnout_core::io::{
    Close, Closed, Connect, Door, Event, Handoff, LinkId, Outbox, Output, PeerCertificate, Side, TlsRole,
};
use turnout_core::refusal::Refusal;
use turnout_core::stanza::Stanza;
use turnout_core::world::World;
use turnout_xmpp::XmppBackend;

use crate::net::{domain, secured, start};

pub struct Raw {
    pub now: Instant,
    pub side: Side,
    pub backend: XmppBackend,
    pub out: Outbox,
    pub notes: Vec<String>,
    pub closed: Vec<(LinkId, Close)>,
    pub tls: Vec<(LinkId, TlsRole)>,
    pub connects: Vec<Connect>,
    pub ready: Vec<LinkId>,
    pub unready: Vec<Option<Refusal>>,
    pub acknowledging: Vec<LinkId>,
    pub resumed: Vec<(LinkId, u32)>,
    pub ways_back: Vec<(LinkId, String, String)>,
    /// What it gave to other shards.
    pub handoffs: Vec<(u16, Handoff)>,
    pub said: Vec<(LinkId, String)>,
    count: u64,
}

impl Raw {
    pub fn new(side: Side, world: World) -> Self {
        Self::on_shard(0, side, world)
    }

    pub fn on_shard(shard: u16, side: Side, world: World) -> Self {
        Self {
            now: start(),
            side,
            backend: XmppBackend::new(side, Arc::new(world), [3 + u8::try_from(shard).unwrap(); 32]),
            out: Outbox::new(shard),
            notes: Vec::new(),
            closed: Vec::new(),
            tls: Vec::new(),
            connects: Vec::new(),
            ready: Vec::new(),
            unready: Vec::new(),
            acknowledging: Vec::new(),
            resumed: Vec::new(),
            ways_back: Vec::new(),
            handoffs: Vec::new(),
            said: Vec::new(),
            count: 0,
        }
    }

    pub fn accept(&mut self) -> LinkId {
        self.accept_by(false)
    }

    pub fn accept_by(&mut self, direct_tls: bool) -> LinkId {
        self.count += 1;
        let link = LinkId::accepted(self.out.shard(), self.count);
        let door = Door { side: self.side, direct_tls };
        self.backend.accepted(self.now, link, door, &"192.0.2.9:1234".into(), &mut self.out);
        self.collect();
        link
    }

    /// Dials a pair and says that the connection is up.
    pub fn dial(&mut self, ours: &str, theirs: &str) -> LinkId {
        let link = self.out.next_link();
        let destination = Destination::Pair { side: self.side, ours: domain(ours), theirs: domain(theirs) };
        self.backend.dial(self.now, link, &destination, None, &mut self.out);
        self.connected(link);
        link
    }

    pub fn connected(&mut self, link: LinkId) {
        self.backend.connected(self.now, link, false, &mut self.out);
        self.collect();
    }

    pub fn secure(&mut self, link: LinkId, certificate: Option<PeerCertificate>) {
        self.backend.secured(self.now, link, secured(certificate), &mut self.out);
        self.collect();
    }

    /// Feeds bytes and gives back what was written on that link.
    pub fn tell(&mut self, link: LinkId, bytes: &str) -> String {
        self.try_tell(link, bytes).0
    }

    pub fn try_tell(&mut self, link: LinkId, bytes: &str) -> (String, Option<Fault>) {
        let fault = self.backend.receive(self.now, link, bytes.to_owned().into(), &mut self.out).err();
        self.collect();
        (self.said(link), fault)
    }

    /// What was written on a link since this was asked last.
    pub fn said(&mut self, link: LinkId) -> String {
        let mut all = String::new();
        self.said.retain(|(by, said)| {
            if *by == link {
                all.push_str(said);
            }
            *by != link
        });
        all
    }

    pub fn gone(&mut self, link: LinkId) {
        self.backend.closed(self.now, link, &Closed::Eof, &mut self.out);
        self.collect();
    }

    pub fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(next) = self.backend.deadline().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.backend.wake(self.now, &mut self.out);
            self.collect();
        }
        self.now = end;
    }

    pub fn arrivals(&mut self) -> Vec<Stanza> {
        self.out.arrivals.drain(..).collect()
    }

    pub fn is_closed(&self, link: LinkId) -> bool {
        self.closed.iter().any(|(closed, _)| *closed == link)
    }

    pub fn collect(&mut self) {
        for output in self.out.outputs.drain(..) {
            match output {
                Output::Transmit(link, bytes) => {
                    self.said.push((link, String::from_utf8(bytes.to_vec()).unwrap()));
                }
                Output::Close(link, how) => self.closed.push((link, how)),
                Output::StartTls(link, role) => self.tls.push((link, role)),
                Output::Connect(connect) => self.connects.push(*connect),
                Output::Note(note) => self.notes.push(format!("{}: {}", note.about, note.text)),
                Output::Handoff(shard, handoff) => self.handoffs.push((shard, handoff)),
                other => panic!("not a backend's: {other:?}"),
            }
        }
        for event in self.out.events.drain(..) {
            match event {
                Event::Ready(link) => self.ready.push(link),
                Event::Unready(_, refusal) => self.unready.push(refusal),
                Event::Acknowledging(link) => self.acknowledging.push(link),
                Event::Resumed(link, count) => self.resumed.push((link, count)),
                Event::WayBack(link, Destination::Pair { side, ours, theirs }) => {
                    assert_eq!(side, self.side);
                    self.ways_back.push((link, ours.to_string(), theirs.to_string()));
                }
                Event::Seen(_) => {}
                Event::Acknowledged(..) => {}
                other => panic!("not XMPP's: {other:?}"),
            }
        }
    }
}

/// A stream header of a peer.
pub fn header(from: &str, to: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='{from}' to='{to}' version='1.0'>"
    )
}

/// The header of a server that answers one of ours.
pub fn answering(from: &str, to: &str, id: &str) -> String {
    header(from, to).replace(" version='1.0'>", &format!(" id='{id}' version='1.0'>"))
}

/// The value of an attribute in what was written.
pub fn attribute(said: &str, name: &str) -> String {
    let start =
        said.find(&format!(" {name}='")).unwrap_or_else(|| panic!("no {name} in {said}")) + name.len() + 3;
    said[start..].split('\'').next().unwrap().to_owned()
}
