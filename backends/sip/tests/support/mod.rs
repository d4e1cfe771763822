//! A SIP backend on one or more shards, a scripted pool and a clock that stands still until it is told to go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use turnout_core::backend::{Backend, Destination, Sent, Verdict};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort};
use turnout_core::io::{
    Door, Event, Handoff, LinkId, Outbox, Output, PeerCertificate, Secured, Side, TrustId,
};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::Partner;
use turnout_core::policy::{GatewayLimits, PartnerDefaults, Policy, Unlisted};
use turnout_core::refusal::Refusal;
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_core::world::{SipHome, World};
use turnout_sip::SipBackend;
use turnout_sip::frame::{Frame, Framer, Limits};
use turnout_sip::parse::{HeaderName, Message};

pub const HOME: Side = Side::Home(HomeId(0));
pub const TRUST: TrustId = TrustId(3);

/// What may be varied.
#[derive(Clone)]
pub struct Setup {
    pub dialect: Dialect,
    pub shards: u16,
    pub tls: bool,
    pub first_message_in_invite: bool,
    pub xhtml_im: bool,
    pub calendar: Option<turnout_core::world::Calendar>,
    pub room: turnout_core::flow::Room,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dialect: Dialect::Skype,
            shards: 1,
            tls: true,
            first_message_in_invite: false,
            xhtml_im: false,
            calendar: None,
            room: turnout_core::flow::Room::default(),
        }
    }
}

pub fn world(setup: &Setup) -> Arc<World> {
    let home = Home {
        name: "sfb2019".to_owned(),
        backend: BackendKind::Sip,
        dialect: setup.dialect,
        registrar_pools: vec!["pool2019.contoso.com".to_owned()],
        connect: vec![HostPort { host: "pool2019.contoso.com".to_owned(), port: 5061 }],
    };
    let settings = SipHome {
        our_name: "turnout.contoso.com".into(),
        our_port: 5061,
        tls: setup.tls,
        trusted_names: vec!["pool2019.contoso.com".into()],
        trust: TRUST,
        idle: Duration::from_secs(600),
        message_bytes_max: 65_536,
        first_message_in_invite: setup.first_message_in_invite,
        xhtml_im: setup.xhtml_im,
        calendar: setup.calendar,
    };
    let defaults = PartnerDefaults::default();
    let partner = Partner::with_defaults(Domain::parse("partner.example").unwrap(), &defaults);
    Arc::new(World {
        generation: 1,
        domains: vec![Domain::parse("contoso.com").unwrap()],
        policy: Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap(),
        homes: Homes::new(vec![home], &[]).unwrap(),
        sip: HashMap::from_iter([(HomeId(0), settings)]),
        inside: HashMap::new(),
        dialback_secret: Arc::from(&b"0123456789abcdef"[..]),
        stanza_bytes_max: 262_144,
        enforce_introductions: false,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits { room: setup.room, ..Default::default() },
        shards: setup.shards,
    })
}

struct Shard {
    backend: SipBackend,
    out: Outbox,
}

/// Backends on all shards and what came out of them.
pub struct Rig {
    pub now: Instant,
    shards: Vec<Shard>,
    framers: HashMap<LinkId, Framer>,
    wire: HashMap<LinkId, VecDeque<Message>>,
    pub raw: HashMap<LinkId, Vec<u8>>,
    pub arrivals: VecDeque<Stanza>,
    pub done: VecDeque<(Stanza, Result<(), Refusal>)>,
    pub ready: Vec<LinkId>,
    pub unready: Vec<LinkId>,
    pub introduced: Vec<(Jid, Jid)>,
    pub closed: Vec<LinkId>,
    pub handoffs: usize,
    pub notes: Vec<String>,
    links: u64,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    pub fn new(setup: &Setup) -> Self {
        let world = world(setup);
        let shard = |index: u16| Shard {
            backend: SipBackend::new(HOME, Arc::clone(&world), [u8::try_from(index).unwrap() + 1; 32]),
            out: Outbox::new(index),
        };
        Self {
            now: Instant::now(),
            shards: (0..setup.shards).map(shard).collect(),
            framers: HashMap::new(),
            wire: HashMap::new(),
            raw: HashMap::new(),
            arrivals: VecDeque::new(),
            done: VecDeque::new(),
            ready: Vec::new(),
            unready: Vec::new(),
            introduced: Vec::new(),
            closed: Vec::new(),
            handoffs: 0,
            notes: Vec::new(),
            links: 0,
        }
    }

    /// Calls a backend, then works off everything that came out, across shards.
    pub fn with<T>(
        &mut self,
        shard: u16,
        call: impl FnOnce(Instant, &mut SipBackend, &mut Outbox) -> T,
    ) -> T {
        let now = self.now;
        let state = &mut self.shards[usize::from(shard)];
        let result = call(now, &mut state.backend, &mut state.out);
        self.settle();
        result
    }

    fn settle(&mut self) {
        loop {
            let mut outputs = Vec::new();
            for state in &mut self.shards {
                outputs.append(&mut state.out.outputs);
                self.arrivals.extend(state.out.arrivals.drain(..));
                for event in state.out.events.drain(..) {
                    match event {
                        Event::Ready(link) => self.ready.push(link),
                        Event::Unready(link, _) => self.unready.push(link),
                        Event::Done(stanza, end) => self.done.push_back((*stanza, end)),
                        Event::Introduced(local, partner) => self.introduced.push((local, partner)),
                        Event::Acknowledging(_)
                        | Event::Acknowledged(..)
                        | Event::Resumed(..)
                        | Event::Seen(_)
                        | Event::WayBack(..) => {
                            panic!("SIP answers each request")
                        }
                    }
                }
            }
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.output(output);
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Transmit(link, bytes) => self.transmitted(link, bytes),
            Output::Handoff(shard, Handoff::Message { link, bytes, .. }) => {
                self.handoffs += 1;
                let now = self.now;
                let state = &mut self.shards[usize::from(shard)];
                state.backend.adopt(now, link, bytes, &mut state.out);
            }
            Output::Handoff(shard, Handoff::Read { link, bytes, found, .. }) => {
                self.handoffs += 1;
                let now = self.now;
                let state = &mut self.shards[usize::from(shard)];
                state.backend.adopt_read(now, link, bytes, found, &mut state.out);
            }
            Output::Handoff(shard, Handoff::Transmit { link, bytes }) => {
                assert_eq!(shard, link.shard());
                self.transmitted(link, bytes);
            }
            Output::Close(link, _) => self.closed.push(link),
            Output::Note(note) => self.notes.push(note.text),
            Output::Connect(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn transmitted(&mut self, link: LinkId, bytes: Bytes) {
        self.raw.entry(link).or_default().extend_from_slice(&bytes);
        let framer = self.framers.entry(link).or_insert_with(|| Framer::new(Limits::default()));
        framer.feed(bytes);
        while let Some(frame) = framer.next().unwrap() {
            if let Frame::Message(bytes) = frame {
                let message = Message::parse(bytes).unwrap();
                assert_eq!(message.flaw(), None);
                self.wire.entry(link).or_default().push_back(message);
            }
        }
    }

    /// A connection the pool opened, secured as the pool.
    pub fn accept(&mut self, shard: u16) -> LinkId {
        self.accept_as(shard, &["pool2019.contoso.com"], &[TRUST])
    }

    pub fn accept_as(&mut self, shard: u16, dns: &[&str], trusted: &[TrustId]) -> LinkId {
        self.links += 1;
        let link = LinkId::accepted(shard, self.links);
        let door = Door { side: HOME, direct_tls: true };
        let facts = secured(dns, trusted);
        self.with(shard, |now, backend, out| {
            backend.accepted(now, link, door, &"192.0.2.1:5061".into(), out);
            backend.secured(now, link, facts, out);
        });
        link
    }

    /// A connection we opened to the pool.
    pub fn dial(&mut self, shard: u16) -> LinkId {
        let facts = secured(&["pool2019.contoso.com"], &[TRUST]);
        let link = self.with(shard, |now, backend, out| {
            let link = out.next_link();
            backend.dial(now, link, &Destination::Node { side: HOME, node: 0 }, None, out);
            backend.connected(now, link, true, out);
            backend.secured(now, link, facts, out);
            link
        });
        assert_eq!(self.ready.pop(), Some(link));
        link
    }

    /// The pool sends bytes.
    pub fn says(&mut self, link: LinkId, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.with(link.shard(), |now, backend, out| {
            let _fault = backend.receive(now, link, bytes, out);
        });
    }

    /// The next message we sent on a link.
    pub fn next(&mut self, link: LinkId) -> Message {
        self.wire.get_mut(&link).and_then(VecDeque::pop_front).expect("nothing was sent")
    }

    pub fn is_quiet(&self, link: LinkId) -> bool {
        self.wire.get(&link).is_none_or(VecDeque::is_empty)
    }

    /// Whether the next message we sent on a link is a request.
    pub fn wire_has_request(&self, link: LinkId) -> bool {
        self.wire.get(&link).and_then(VecDeque::front).is_some_and(|message| message.method().is_some())
    }

    /// A stanza for the pool.
    pub fn send(&mut self, link: LinkId, stanza: Stanza) -> Sent {
        self.with(link.shard(), |now, backend, out| backend.send(now, link, stanza, out))
    }

    /// Sends a chat message; it must be kept.
    pub fn chat(&mut self, link: LinkId, from: &str, to: &str, body: &str) {
        let stanza = self
            .stanza(&format!("<message type='chat' from='{from}' to='{to}'><body>{body}</body></message>"));
        let sent = self.send(link, stanza);
        assert!(matches!(sent, Sent::Kept), "{sent:?}");
    }

    /// A stanza of these bytes; addresses and kind are taken out of them.
    pub fn stanza(&self, text: &str) -> Stanza {
        let attribute = |name: &str| {
            let start = text.find(&format!(" {name}='"))? + name.len() + 3;
            let end = start + text[start..].find('\'')?;
            Some((start, end))
        };
        let tag_end = text.find('>').unwrap();
        let value =
            |name: &str| attribute(name).filter(|(start, _)| *start < tag_end).map(|(a, b)| &text[a..b]);
        let span = |name: &str| {
            let (start, end) = attribute(name).filter(|(start, _)| *start < tag_end).unwrap_or((0, 0));
            u32::try_from(start).unwrap()..u32::try_from(end).unwrap()
        };
        let kind = match &text[1..4] {
            "mes" => Kind::message(value("type")),
            "pre" => Kind::presence(value("type")).unwrap(),
            _ => Kind::iq(value("type")).unwrap(),
        };
        let payload = if text.contains("urn:xmpp:ping") {
            Payload::Ping
        } else if text.contains("disco#info") {
            Payload::DiscoInfo
        } else if kind.element() == "iq" {
            Payload::Other
        } else {
            Payload::None
        };
        Stanza {
            kind,
            from: Jid::parse(value("from").unwrap()).unwrap(),
            to: Jid::parse(value("to").unwrap()).unwrap(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            insert_at: u32::try_from(text.find([' ', '>']).unwrap()).unwrap(),
            insert: None,
            from_span: span("from"),
            to_span: span("to"),
            id_span: span("id"),
            payload,
            origin: Origin { side: Side::Partners, link: LinkId::dialed(0, 999), ticket: 0 },
            arrived: self.now,
            made: false,
            attempts: 0,
            disk: Default::default(),
        }
    }

    /// The next stanza that came from the pool.
    pub fn arrived(&mut self) -> (Stanza, String) {
        let stanza = self.arrivals.pop_front().expect("no stanza arrived");
        let text = String::from_utf8(stanza.bytes.to_vec()).unwrap();
        (stanza, text)
    }

    /// The router's verdict, brought to the shard the origin names.
    pub fn verdict(&mut self, stanza: &Stanza, verdict: Result<(), &Refusal>) {
        let origin = stanza.origin;
        self.with(origin.link.shard(), |now, backend, out| match verdict {
            Ok(()) => backend.settle(now, &origin, Verdict::Delivered, out),
            Err(refusal) => backend.settle(now, &origin, Verdict::Refused(None, refusal), out),
        });
    }

    /// The next end of a kept stanza: its body, and how it ended.
    pub fn ended(&mut self) -> (String, Result<(), Refusal>) {
        let (stanza, end) = self.done.pop_front().expect("nothing ended");
        let text = String::from_utf8(stanza.bytes.to_vec()).unwrap();
        let body = text.split("<body>").nth(1).unwrap().split("</body>").next().unwrap().to_owned();
        (body, end)
    }

    /// Time goes on, timer by timer.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = self.shards.iter().filter_map(|state| state.backend.deadline()).min();
            match next {
                Some(at) if at <= end => self.now = at.max(self.now),
                _ => break,
            }
            for shard in 0..self.shards.len() {
                self.with(u16::try_from(shard).unwrap(), |now, backend, out| backend.wake(now, out));
            }
        }
        self.now = end;
    }

    pub fn lose(&mut self, link: LinkId) {
        self.with(link.shard(), |now, backend, out| {
            backend.closed(now, link, &turnout_core::io::Closed::Broken("reset".into()), out);
        });
    }

    pub fn kept(&self) -> usize {
        self.shards.iter().map(|state| state.backend.kept()).sum()
    }
}

fn secured(dns: &[&str], trusted: &[TrustId]) -> Secured {
    let certificate = PeerCertificate {
        trusted: trusted.to_vec(),
        dns: dns.iter().map(|&name| name.into()).collect(),
        ..PeerCertificate::default()
    };
    Secured { certificate: Some(Box::new(certificate)), version: "TLSv1.3" }
}

/// A header's first line, as text.
pub fn header(message: &Message, name: HeaderName) -> String {
    let value = message.lines(name).next().unwrap_or_else(|| panic!("no {}", name.as_str()));
    String::from_utf8(value.to_vec()).unwrap()
}

pub fn body(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).unwrap()
}

/// The start line.
pub fn first_line(message: &Message) -> String {
    let text = String::from_utf8(message.bytes().to_vec()).unwrap();
    text.lines().next().unwrap().to_owned()
}

/// The answer of the pool to a request of ours; To gets a tag if it has none.
pub fn answer(request: &Message, code: u16, reason: &str, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {code} {reason}\r\n");
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        let mut value = header(request, name);
        if name == HeaderName::To && !value.contains(";tag=") && code > 100 {
            value.push_str(";tag=pooltag;epid=b84a59c035");
        }
        text.push_str(&format!("{}: {value}\r\n", name.as_str()));
    }
    format!("{text}{extra}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Headers of a 200 to INVITE as an endpoint of the pool gives them.
pub const ROUTES: &str = "Record-Route: <sip:pool2019.contoso.com:5061;transport=tls;opaque=state:F:Ci.R2;lr;ms-route-sig=aa>\r\n\
    Record-Route: <sip:fe1.contoso.com:5061;transport=tls;opaque=state:T;lr;ms-route-sig=bb/+=>\r\n\
    Contact: <sip:alice@contoso.com;opaque=user:epid:hYns;gruu>\r\n";

pub const SDP: &str = "v=0\r\no=- 0 0 IN IP4 10.0.1.9\r\ns=session\r\nc=IN IP4 10.0.1.9\r\nt=0 0\r\nm=message 5060 sip null\r\n\
    a=accept-types:text/plain multipart/alternative image/gif text/rtf text/html application/x-ms-ink application/ms-imdn+xml text/x-msmsgsinvite\r\n";

/// An INVITE as a client of the pool sends it.
pub fn invite(user: &str, call_id: &str, branch: &str, extra: &str, body: &str) -> String {
    format!(
        "INVITE sip:bob@partner.example SIP/2.0\r\n\
         Record-Route: <sip:fe1.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R3f0c00;lr;ms-route-sig=fZ+/=>;tag=12AB\r\n\
         Record-Route: <sip:pool2019.contoso.com:5061;lr;ms-route-sig=xx>\r\n\
         Via: SIP/2.0/TLS 10.0.0.7:5061;branch={branch};branched=FALSE;ms-internal-info=\"cd,x\"\r\n\
         Via: SIP/2.0/TLS 10.0.1.9:37737;ms-received-port=37737;ms-received-cid=3E8A00\r\n\
         Max-Forwards: 69\r\n\
         From: \"Alice\"<sip:{user}@contoso.com>;tag=9d5c2a38ba;epid=b84a59c035\r\n\
         To: <sip:bob@partner.example>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:{user}@contoso.com;opaque=user:epid:hYnsAA;gruu>\r\n\
         User-Agent: UCCAPI/16.0.4417.1000 OC/16.0.4417.1000 (Skype for Business)\r\n\
         Supported: ms-dialog-route-set-update\r\n\
         {extra}\
         Supported: ms-embedded-first-message\r\nSupported: ms-delayed-accept\r\n\
         Ms-Conversation-ID: AdKjt1Xy9lDJ8KRjRYaBRsRaq4N/vw==\r\n\
         Supported: timer\r\nRoster-Manager: sip:{user}@contoso.com\r\n\
         EndPoints: <sip:{user}@contoso.com>, <sip:bob@partner.example>\r\n\
         ms-keep-alive: UAC;hop-hop=yes\r\n\
         Allow: INVITE, BYE, ACK, CANCEL, INFO, MESSAGE, UPDATE, REFER, NOTIFY, BENOTIFY\r\n\
         ms-subnet: 10.0.1.0\r\nContent-Type: application/sdp;call-type=im\r\n\
         history-info: <sip:bob@partner.example>;index=1\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request of the pool within the dialog that this 200 of ours made.
pub fn within(ok: &Message, method: &str, number: u32, branch: &str, extra: &str, body: &str) -> String {
    let (from, to) = (header(ok, HeaderName::From), header(ok, HeaderName::To));
    let call_id = header(ok, HeaderName::CallId);
    format!(
        "{method} sip:bob@turnout.contoso.com:5061;transport=tls SIP/2.0\r\n\
         Via: SIP/2.0/TLS 10.0.0.7:5061;branch={branch}\r\nMax-Forwards: 69\r\n\
         From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} {method}\r\n{extra}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub const PLAIN: &str = "Content-Type: text/plain; charset=UTF-8;msgr=WAAtAE0\r\n";
