//! One SIP backend in memory with sessions that stand, and the pool's side of them. Invariant: what the pool says is made before the
//! measured work begins, and every answer is checked after it; a message that is lost ends the program.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Sent, Verdict};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort};
use turnout_core::io::{Event, LinkId, Outbox, Output, Side, TrustId};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{GatewayLimits, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_core::world::{SipHome, World};
use turnout_sip::SipBackend;

/// Measures a piece of work.
pub(crate) trait Meter {
    /// Does the work, and measures it.
    fn add(&mut self, work: impl FnOnce());
    /// So many messages were done.
    fn done(&mut self, messages: u64);
}

const POOL: HomeId = HomeId(0);
const SIDE: Side = Side::Home(POOL);
/// Messages on their way at once, at most: what one read of a busy socket brings.
const BATCH: usize = 64;
/// Text of a message; with its head about 250 bytes of stanza.
const TEXT: &str =
    "O Romeo, Romeo! wherefore art thou Romeo? Deny thy father and refuse thy name, or if thou wilt not";

/// One pair of users, as the pool knows it.
struct Pair {
    local: Jid,
    partner: Jid,
    /// How the pool writes From, To and Call-ID in requests of its own, and the target.
    from: String,
    to: String,
    call_id: String,
    target: String,
    cseq: u32,
    /// What we wrote last.
    our_cseq: u32,
}

pub(crate) struct Rig {
    backend: SipBackend,
    out: Outbox,
    now: Instant,
    link: LinkId,
    dialect: Dialect,
    pairs: Vec<Pair>,
    next: usize,
    count: u64,
}

fn world(dialect: Dialect) -> Arc<World> {
    let defaults = PartnerDefaults::default();
    let partner = Partner::with_defaults(Domain::parse("partner.example").expect("a domain"), &defaults);
    let policy = Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default());
    let home = Home {
        name: "sfb2019".to_owned(),
        backend: BackendKind::Sip,
        dialect,
        registrar_pools: vec!["pool2019.contoso.com".to_owned()],
        connect: vec![HostPort { host: "pool2019.contoso.com".to_owned(), port: 5061 }],
    };
    let sip = SipHome {
        our_name: "turnout.contoso.com".into(),
        our_port: 5061,
        tls: false,
        trusted_names: Vec::new(),
        trust: TrustId(1),
        idle: Duration::from_secs(600),
        message_bytes_max: 64 * 1024,
        first_message_in_invite: false,
        xhtml_im: false,
        calendar: None,
    };
    Arc::new(World {
        generation: 1,
        domains: vec![Domain::parse("contoso.com").expect("a domain")],
        policy: policy.expect("one partner"),
        homes: Homes::new(vec![home], &[]).expect("one home"),
        sip: std::iter::once((POOL, sip)).collect(),
        inside: std::iter::empty().collect(),
        dialback_secret: Arc::from([7_u8; 32].as_slice()),
        stanza_bytes_max: 256 * 1024,
        enforce_introductions: false,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards: 1,
    })
}

/// The value of a header of a message the router wrote.
fn value<'a>(message: &'a str, name: &str) -> &'a str {
    let mut lines = message.split("\r\n");
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn body(message: &str) -> &str {
    let (head, body) = message.split_once("\r\n\r\n").expect("a blank line");
    assert_eq!(value(head, "Content-Length"), body.len().to_string(), "the length is not that of the body");
    body
}

/// The 200 to a request of the router's.
fn ok(request: &str, to: &str, more: &str) -> String {
    let line = |name| format!("{name}: {}\r\n", value(request, name));
    let (via, from, call_id, cseq) = (line("Via"), line("From"), line("Call-ID"), line("CSeq"));
    format!(
        "SIP/2.0 200 OK\r\n{via}{from}To: {to}\r\n{call_id}{cseq}User-Agent: UCCAPI/16.0.5000.1000 OC/16.0.5000.1000 \
         (Skype for Business)\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

impl Rig {
    /// So many pairs of users, in sessions where the dialect has them.
    pub(crate) fn new(now: Instant, dialect: Dialect, pairs: usize) -> Self {
        let mut rig = Self {
            backend: SipBackend::new(SIDE, world(dialect), [7; 32]),
            out: Outbox::new(0),
            now,
            link: LinkId::NONE,
            dialect,
            pairs: Vec::new(),
            next: 0,
            count: 0,
        };
        rig.link = rig.out.next_link();
        let node = Destination::Node { side: SIDE, node: 0 };
        rig.backend.dial(rig.now, rig.link, &node, None, &mut rig.out);
        rig.backend.connected(rig.now, rig.link, false, &mut rig.out);
        rig.clear();
        for n in 0..pairs {
            let jid = |text: String| Jid::parse(&text).expect("a plain address");
            rig.pairs.push(Pair {
                local: jid(format!("user{n}@contoso.com")),
                partner: jid(format!("juliet{n}@partner.example/balcony")),
                from: format!("<sip:user{n}@contoso.com>;tag=77aa{n};epid=0c1d2e3f4a"),
                to: format!("<sip:juliet{n}@partner.example>"),
                call_id: format!("{n}x0123456789abcdef0123456789abcdef"),
                target: format!("sip:juliet{n}@partner.example"),
                cseq: 1,
                our_cseq: 1,
            });
            if dialect == Dialect::Skype {
                rig.establish(n);
            }
        }
        rig
    }

    /// Empties the outbox; gives what was written.
    fn clear(&mut self) -> Vec<Bytes> {
        let written = self.out.outputs.drain(..).filter_map(|output| match output {
            Output::Transmit(_, bytes) => Some(bytes),
            _ => None,
        });
        let written = written.collect();
        self.out.events.clear();
        self.out.arrivals.drain(..).for_each(drop);
        written
    }

    fn stanza(&mut self, n: usize) -> Stanza {
        let pair = &self.pairs[n];
        self.count += 1;
        let head = format!("<message type='chat' id='m{}' from='", self.count);
        let text = format!(
            "{head}{}' to='{}'><body>{} {TEXT}</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
            pair.partner, pair.local, self.count
        );
        let from = u32::try_from(head.len()).expect("short");
        Stanza {
            kind: Kind::message(Some("chat")),
            from: pair.partner.clone(),
            to: pair.local.clone(),
            bytes: Bytes::from(text),
            insert_at: 8,
            insert: None,
            from_span: from..from,
            to_span: 0..0,
            id_span: 0..0,
            payload: Payload::None,
            origin: Origin { side: Side::Partners, link: LinkId::accepted(0, 1), ticket: 0 },
            arrived: self.now,
            made: false,
            attempts: 0,
            disk: Default::default(),
        }
    }

    /// Opens the session of a pair: INVITE, 200 with a route set as pools write it, ACK.
    fn establish(&mut self, n: usize) {
        let stanza = self.stanza(n);
        assert!(matches!(self.backend.send(self.now, self.link, stanza, &mut self.out), Sent::Kept));
        let invite = self.clear().pop().expect("an INVITE");
        let invite = std::str::from_utf8(&invite).expect("text").to_owned();
        let pair = &mut self.pairs[n];
        (pair.to, pair.call_id) = (value(&invite, "From").to_owned(), value(&invite, "Call-ID").to_owned());
        pair.target = value(&invite, "Contact").trim_matches(['<', '>']).to_owned();
        let more = format!(
            "Record-Route: <sip:pool2019.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R5a7700;lr;ms-route-sig=dq0-Zw_1>\r\n\
             Contact: <sip:user{n}@contoso.com;opaque=user:epid:QmFyRm9vX-9;gruu>\r\nSupported: ms-text-format\r\n"
        );
        let answer = Bytes::from(ok(&invite, &pair.from, &more));
        self.backend.receive(self.now, self.link, answer, &mut self.out).expect("a good stream");
        assert!(matches!(self.out.events.pop_front(), Some(Event::Done(_, Ok(())))));
        assert_eq!(self.clear().len(), 1, "one ACK");
    }

    /// The pairs that write next.
    fn turn(&mut self, batch: usize) -> Vec<usize> {
        (0..batch.min(self.pairs.len()))
            .map(|_| {
                self.next = (self.next + 1) % self.pairs.len();
                self.next
            })
            .collect()
    }

    /// Stanzas become MESSAGEs, and their 200 come.
    pub(crate) fn outwards(&mut self, cost: &mut impl Meter) {
        let whose = self.turn(BATCH);
        let first = self.count + 1;
        let stanzas: Vec<Stanza> = whose.iter().map(|n| self.stanza(*n)).collect();
        self.now += Duration::from_millis(1);
        cost.add(|| measured_send(self, stanzas));
        let written = self.clear();
        assert_eq!(written.len(), whose.len(), "a stanza is lost");
        let mut answers = String::new();
        for ((n, message), count) in whose.iter().zip(&written).zip(first..) {
            let message = std::str::from_utf8(message).expect("text");
            assert_eq!(body(message), format!("{count} {TEXT}"));
            let pair = &mut self.pairs[*n];
            let to = if self.dialect == Dialect::Skype {
                pair.our_cseq += 1;
                assert_eq!((value(message, "To"), value(message, "Call-ID")), (&*pair.from, &*pair.call_id));
                pair.from.clone()
            } else {
                format!("{};tag=1", value(message, "To"))
            };
            assert_eq!(value(message, "CSeq"), format!("{} MESSAGE", pair.our_cseq));
            answers.push_str(&ok(message, &to, ""));
        }
        let chunk = Bytes::from(answers);
        cost.add(|| measured_receive(self, chunk));
        assert_eq!(self.out.events.len(), whose.len(), "a stanza has no end");
        assert!(self.out.events.iter().all(|event| matches!(event, Event::Done(_, Ok(())))));
        self.clear();
        cost.done(whose.len() as u64);
    }

    /// MESSAGEs become stanzas, and their verdicts 200s.
    pub(crate) fn inwards(&mut self, cost: &mut impl Meter) {
        let whose = self.turn(BATCH);
        let mut requests = String::new();
        for n in &whose {
            let text = self.request(*n);
            requests.push_str(&text);
        }
        let first = self.count - whose.len() as u64 + 1;
        let chunk = Bytes::from(requests);
        self.now += Duration::from_millis(1);
        cost.add(|| measured_receive(self, chunk));
        assert_eq!(self.out.arrivals.len(), whose.len(), "a MESSAGE is lost");
        let stanzas: Vec<Stanza> = self.out.arrivals.drain(..).collect();
        for ((n, stanza), count) in whose.iter().zip(&stanzas).zip(first..) {
            let text = std::str::from_utf8(&stanza.bytes).expect("text");
            assert!(text.contains(&format!("<body>{count} {TEXT}</body>")), "{text}");
            let pair = &self.pairs[*n];
            let to = if self.dialect == Dialect::Skype { pair.partner.clone() } else { pair.partner.bare() };
            assert_eq!((&stanza.from, &stanza.to), (&pair.local, &to));
        }
        let origins: Vec<Origin> = stanzas.iter().map(|stanza| stanza.origin).collect();
        cost.add(|| measured_settle(self, &origins));
        let written = self.clear();
        assert_eq!(written.len(), whose.len(), "a MESSAGE has no answer");
        for (n, answer) in whose.iter().zip(&written) {
            let answer = std::str::from_utf8(answer).expect("text");
            assert!(answer.starts_with("SIP/2.0 200 OK\r\n") && body(answer).is_empty(), "{answer}");
            assert_eq!(value(answer, "CSeq"), format!("{} MESSAGE", self.pairs[*n].cseq));
        }
        cost.done(whose.len() as u64);
    }

    fn request(&mut self, n: usize) -> String {
        self.count += 1;
        let count = self.count;
        let text = format!("{count} {TEXT}");
        let pair = &mut self.pairs[n];
        if self.dialect == Dialect::Skype {
            pair.cseq += 1;
            return format!(
                "MESSAGE {} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.1.9:5061;branch=z9hG4bK{count:08X}.77A1;branched=FALSE;ms-internal-info=\"bcDE,f;g=\"\r\n\
                 Via: SIP/2.0/TLS 192.0.2.90:49152;branch=z9hG4bK{count:08X};ms-received-port=49152;ms-received-cid=5D1200\r\n\
                 Max-Forwards: 69\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} MESSAGE\r\n\
                 Contact: <sip:user{n}@contoso.com;opaque=user:epid:QmFyRm9vX-9;gruu>\r\n\
                 User-Agent: UCCAPI/16.0.5000.1000 OC/16.0.5000.1000 (Skype for Business)\r\nSupported: timer\r\n\
                 Content-Type: text/plain; charset=UTF-8; msgr=WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQA\r\nContent-Length: {}\r\n\r\n{text}",
                pair.target,
                pair.from,
                pair.to,
                pair.call_id,
                pair.cseq,
                text.len()
            );
        }
        format!(
            "MESSAGE {} SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.1.9:5061;branch=z9hG4bK{count:08x}\r\nMax-Forwards: 69\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {count}x{}\r\nCSeq: {} MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            pair.target,
            pair.from,
            pair.to,
            pair.call_id,
            pair.cseq,
            text.len()
        )
    }
}

#[inline(never)]
fn measured_send(rig: &mut Rig, stanzas: Vec<Stanza>) {
    for stanza in stanzas {
        let sent = rig.backend.send(rig.now, rig.link, stanza, &mut rig.out);
        assert!(matches!(sent, Sent::Kept), "a stanza is not taken");
    }
    rest(rig);
}

#[inline(never)]
fn measured_receive(rig: &mut Rig, chunk: Bytes) {
    rig.backend.receive(rig.now, rig.link, chunk, &mut rig.out).expect("a good stream");
    rest(rig);
}

#[inline(never)]
fn measured_settle(rig: &mut Rig, origins: &[Origin]) {
    for origin in origins {
        rig.backend.settle(rig.now, origin, Verdict::Delivered, &mut rig.out);
    }
    rest(rig);
}

/// What the loop of a shard does once for each batch.
fn rest(rig: &mut Rig) {
    if rig.backend.deadline().is_some_and(|at| at <= rig.now) {
        rig.backend.wake(rig.now, &mut rig.out);
    }
}
