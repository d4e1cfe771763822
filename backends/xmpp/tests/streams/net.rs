//! A network of backends in memory. Every byte goes through queues; TLS is a pair of flags and the certificates tests chose.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Sent};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort};
use turnout_core::io::{
    Closed, Door, Event, LinkId, Outbox, Output, PeerCertificate, Secured, Side, Target, TrustId,
};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{GatewayLimits, Negotiation, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::refusal::Refusal;
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_core::world::{InsideHome, World};
use turnout_xmpp::XmppBackend;

pub const INSIDE: HomeId = HomeId(0);

pub fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
pub fn start() -> Instant {
    Instant::now()
}

pub fn partner(name: &str, tls: Negotiation, sasl: Negotiation, dialback: bool) -> Partner {
    let defaults = PartnerDefaults { tls, sasl, dialback, ..PartnerDefaults::default() };
    Partner::with_defaults(domain(name), &defaults)
}

/// A world with local domains, partners, and one legacy gateway whose inside leg has this TLS setting.
pub fn world(domains: &[&str], partners: Vec<Partner>, inside: Negotiation) -> World {
    let home = Home {
        name: "legacy".to_owned(),
        backend: BackendKind::Xmpp,
        dialect: Dialect::Skype,
        registrar_pools: vec!["lync.contoso.com".to_owned()],
        connect: vec![HostPort::parse("gateway.internal:5269", None).unwrap()],
    };
    let policy =
        Policy::new(partners, Unlisted::Refuse, PartnerDefaults::default(), GatewayLimits::default())
            .unwrap();
    World {
        generation: 1,
        domains: domains.iter().map(|name| domain(name)).collect(),
        policy,
        homes: Homes::new(vec![home], &[]).unwrap(),
        sip: Default::default(),
        inside: [(INSIDE, InsideHome { tls: inside, trust: TrustId(7) })].into_iter().collect(),
        dialback_secret: Arc::from(format!("secret of {domains:?}, long enough").into_bytes()),
        stanza_bytes_max: 256 * 1024,
        enforce_introductions: false,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards: 1,
    }
}

/// A certificate everybody trusts.
pub fn certificate(names: &[&str]) -> PeerCertificate {
    PeerCertificate {
        trusted: vec![TrustId::FEDERATION],
        dns: names.iter().map(|&name| name.into()).collect(),
        spki_sha256: [5; 32],
        issuer: "Test CA".into(),
        ..PeerCertificate::default()
    }
}

/// A certificate nobody trusts.
pub fn self_signed(names: &[&str]) -> PeerCertificate {
    PeerCertificate {
        trusted: Vec::new(),
        untrusted_because: Some("self-signed".into()),
        ..certificate(names)
    }
}

pub fn secured(certificate: Option<PeerCertificate>) -> Secured {
    Secured { certificate: certificate.map(Box::new), version: "TLSv1.3" }
}

/// A stanza as a shard would hand it over.
pub fn stanza(now: Instant, from: &str, to: &str, text: &str) -> Stanza {
    let head = format!("<message from='{from}' to='{to}' id='m1' type='chat'>");
    let at = |needle: &str| u32::try_from(head.find(needle).unwrap()).unwrap();
    let (from_at, to_at, id_at) = (at(from), at(&format!("'{to}'")) + 1, at("m1"));
    Stanza {
        kind: Kind::message(Some("chat")),
        from: Jid::parse(from).unwrap(),
        to: Jid::parse(to).unwrap(),
        bytes: format!("{head}<body>{text}</body></message>").into(),
        insert_at: 8,
        insert: None,
        from_span: from_at..from_at + u32::try_from(from.len()).unwrap(),
        to_span: to_at..to_at + u32::try_from(to.len()).unwrap(),
        id_span: id_at..id_at + 2,
        payload: Payload::None,
        origin: Origin { side: Side::Home(INSIDE), link: LinkId::NONE, ticket: 0 },
        arrived: now,
        attempts: 0,
        disk: Default::default(),
        made: false,
    }
}

pub struct Node {
    pub backend: XmppBackend,
    pub side: Side,
    pub out: Outbox,
    /// Shown in every handshake.
    pub certificate: Option<PeerCertificate>,
    /// Dials with TLS first.
    pub direct_tls: bool,
    pub ready: Vec<LinkId>,
    pub unready: Vec<(LinkId, Option<Refusal>)>,
    pub acknowledging: Vec<LinkId>,
    pub acknowledged: Vec<(LinkId, u32)>,
    pub arrivals: Vec<Stanza>,
    pub notes: Vec<String>,
    accepted: u64,
}

struct End {
    node: usize,
    link: LinkId,
    other: Option<(usize, LinkId)>,
    wants_tls: bool,
    has_tls: bool,
}

pub struct Net {
    pub now: Instant,
    pub nodes: Vec<Node>,
    /// Who serves a domain or host.
    pub names: BTreeMap<String, usize>,
    /// Bytes are delivered one at a time.
    pub split: bool,
    /// What every link wrote, secured or not.
    pub said: BTreeMap<(usize, LinkId), String>,
    ends: Vec<End>,
    queue: VecDeque<(usize, Output)>,
}

impl Net {
    pub fn new() -> Self {
        Self {
            now: start(),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            split: false,
            said: BTreeMap::new(),
            ends: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    pub fn add(
        &mut self,
        side: Side,
        world: World,
        names: &[&str],
        certificate: Option<PeerCertificate>,
    ) -> usize {
        let index = self.nodes.len();
        let seed = [u8::try_from(index).unwrap() + 1; 32];
        self.nodes.push(Node {
            backend: XmppBackend::new(side, Arc::new(world), seed),
            side,
            out: Outbox::new(u16::try_from(index).unwrap()),
            certificate,
            direct_tls: false,
            ready: Vec::new(),
            unready: Vec::new(),
            acknowledging: Vec::new(),
            acknowledged: Vec::new(),
            arrivals: Vec::new(),
            notes: Vec::new(),
            accepted: 0,
        });
        for name in names {
            self.names.insert((*name).to_owned(), index);
        }
        index
    }

    /// Dials a pair and lets everything happen that follows.
    pub fn dial(&mut self, node: usize, ours: &str, theirs: &str) -> LinkId {
        let at = &mut self.nodes[node];
        let link = at.out.next_link();
        let destination = Destination::Pair { side: at.side, ours: domain(ours), theirs: domain(theirs) };
        let host = match at.side {
            Side::Partners => None,
            Side::Home(_) => Some(HostPort::parse("gateway.internal:5269", None).unwrap()),
        };
        self.ends.push(End { node, link, other: None, wants_tls: false, has_tls: false });
        at.backend.dial(self.now, link, &destination, host.as_ref(), &mut at.out);
        self.run();
        link
    }

    pub fn send(&mut self, node: usize, link: LinkId, stanza: Stanza) -> Sent {
        let at = &mut self.nodes[node];
        let sent = at.backend.send(self.now, link, stanza, &mut at.out);
        self.run();
        sent
    }

    pub fn advance(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            let next = self.nodes.iter().filter_map(|node| node.backend.deadline()).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                node.backend.wake(self.now, &mut node.out);
            }
            self.run();
        }
        self.now = end;
    }

    /// Works until nothing is left to do.
    pub fn run(&mut self) {
        loop {
            self.collect();
            let Some((node, output)) = self.queue.pop_front() else { return };
            self.act(node, output);
        }
    }

    pub fn is_open(&self, node: usize, link: LinkId) -> bool {
        self.ends.iter().any(|end| end.node == node && end.link == link)
    }

    /// All that a node wrote on all links.
    pub fn said_by(&self, node: usize) -> String {
        self.said.iter().filter(|((by, _), _)| *by == node).map(|(_, said)| said.as_str()).collect()
    }

    fn collect(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            for output in node.out.outputs.drain(..) {
                self.queue.push_back((index, output));
            }
            for (link, _) in node.out.dialed.drain(..) {
                self.ends.push(End { node: index, link, other: None, wants_tls: false, has_tls: false });
            }
            node.arrivals.extend(node.out.arrivals.drain(..));
            for event in node.out.events.drain(..) {
                match event {
                    Event::Ready(link) => node.ready.push(link),
                    Event::Unready(link, refusal) => node.unready.push((link, refusal)),
                    Event::Acknowledging(link) => node.acknowledging.push(link),
                    Event::Acknowledged(link, count) => node.acknowledged.push((link, count)),
                    Event::Seen(_) => {}
                    Event::Done(..) | Event::Introduced(..) => panic!("XMPP keeps nothing"),
                    Event::Resumed(..) | Event::WayBack(..) => panic!("nothing breaks or goes back here"),
                }
            }
        }
    }

    fn end(&mut self, node: usize, link: LinkId) -> Option<&mut End> {
        self.ends.iter_mut().find(|end| end.node == node && end.link == link)
    }

    fn act(&mut self, node: usize, output: Output) {
        match output {
            Output::Connect(connect) => {
                let name = match &connect.target {
                    Target::XmppService(domain) => domain.as_str().to_owned(),
                    Target::Hosts(hosts) => hosts[0].host.clone(),
                };
                self.connect(node, connect.link, &name);
            }
            Output::StartTls(link, _) => {
                if let Some(end) = self.end(node, link) {
                    end.wants_tls = true;
                }
                self.handshake(node, link);
            }
            Output::Transmit(link, bytes) => self.transmit(node, link, &bytes),
            Output::Close(link, _) => {
                let other = self.end(node, link).and_then(|end| end.other);
                self.drop_end(node, link, Closed::Ours);
                if let Some((node, link)) = other {
                    self.drop_end(node, link, Closed::Eof);
                }
            }
            Output::Note(note) => self.nodes[node].notes.push(format!("{}: {}", note.about, note.text)),
            Output::Pause(_)
            | Output::Resume(_)
            | Output::Handoff(..)
            | Output::Holding(_)
            | Output::Settled(_)
            | Output::Persist(..)
            | Output::Spool(_)
            | Output::Unspool(_)
            | Output::Told(..)
            | Output::Surveyed(..)
            | Output::Drained => {
                panic!("not a backend's")
            }
        }
    }

    fn connect(&mut self, node: usize, link: LinkId, name: &str) {
        let Some(&other) = self.names.get(name) else {
            self.drop_end(node, link, Closed::Broken("no answer".into()));
            return;
        };
        let direct_tls = self.nodes[node].direct_tls;
        let server = &mut self.nodes[other];
        server.accepted += 1;
        let accepted = LinkId::accepted(u16::try_from(other).unwrap(), server.accepted);
        let door = Door { side: server.side, direct_tls };
        server.backend.accepted(self.now, accepted, door, &"192.0.2.1:40000".into(), &mut server.out);
        self.ends.push(End {
            node: other,
            link: accepted,
            other: Some((node, link)),
            wants_tls: direct_tls,
            has_tls: false,
        });
        if let Some(end) = self.end(node, link) {
            end.other = Some((other, accepted));
            end.wants_tls = direct_tls;
        }
        let client = &mut self.nodes[node];
        client.backend.connected(self.now, link, direct_tls, &mut client.out);
        self.handshake(node, link);
    }

    fn handshake(&mut self, node: usize, link: LinkId) {
        let Some((other, peer)) = self.end(node, link).filter(|end| end.wants_tls).and_then(|end| end.other)
        else {
            return;
        };
        if !self.end(other, peer).is_some_and(|end| end.wants_tls && !end.has_tls) {
            return;
        }
        for (node, link, shown) in [
            (node, link, self.nodes[other].certificate.clone()),
            (other, peer, self.nodes[node].certificate.clone()),
        ] {
            if let Some(end) = self.end(node, link) {
                end.has_tls = true;
            }
            let at = &mut self.nodes[node];
            at.backend.secured(self.now, link, secured(shown), &mut at.out);
        }
    }

    fn transmit(&mut self, node: usize, link: LinkId, bytes: &Bytes) {
        let said = self.said.entry((node, link)).or_default();
        said.push_str(std::str::from_utf8(bytes).unwrap());
        let Some((other, peer)) = self.end(node, link).and_then(|end| end.other) else { return };
        let pieces: Vec<Bytes> = match self.split {
            true => bytes.iter().map(|&byte| Bytes::copy_from_slice(&[byte])).collect(),
            false => vec![bytes.clone()],
        };
        for piece in pieces {
            let at = &mut self.nodes[other];
            if let Err(fault) = at.backend.receive(self.now, peer, piece, &mut at.out) {
                at.notes.push(format!("fault: {} {}", fault.condition, fault.text));
            }
        }
    }

    fn drop_end(&mut self, node: usize, link: LinkId, why: Closed) {
        let Some(at) = self.ends.iter().position(|end| end.node == node && end.link == link) else { return };
        self.ends.swap_remove(at);
        let at = &mut self.nodes[node];
        at.backend.closed(self.now, link, &why, &mut at.out);
    }
}
