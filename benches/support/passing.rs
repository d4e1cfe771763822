//! One shard in memory with real XMPP backends, a partner's stream in and the stream to the legacy gateway, both proven by dialback
//! and open. Invariant: it counts what leaves, so that whoever measures can say that nothing was lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::Backend;
use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::{Door, Input, LinkId, Outbox, Output, Side, TrustId};
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{GatewayLimits, Negotiation, Partner, PartnerDefaults, Policy, Unlisted};
use turnout_core::shard::Shard;
use turnout_core::world::{InsideHome, World};
use turnout_xmpp::XmppBackend;

const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
    xmlns:db='jabber:server:dialback' xmlns='jabber:server' from='FROM' to='TO' id='ours' version='1.0'>";
const FEATURES: &str = "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";

/// The shard and what is known of its links.
pub(crate) struct Passing {
    /// The shard.
    pub(crate) shard: Shard,
    /// Its outbox.
    pub(crate) out: Outbox,
    /// The time it is told.
    pub(crate) now: Instant,
    /// The partner's stream in.
    pub(crate) partner: LinkId,
    /// The stream to the gateway.
    pub(crate) gateway: LinkId,
    /// Plain text written to the gateway, all in all.
    pub(crate) written: u64,
}

/// One partner and one legacy gateway, both without TLS.
pub(crate) fn world() -> World {
    let domain = |name: &str| Domain::parse(name).expect("a domain");
    let none = Negotiation::NotSupported;
    let defaults = PartnerDefaults { tls: none, sasl: none, ..PartnerDefaults::default() };
    let partner = Partner::with_defaults(domain("partner.example"), &defaults);
    let policy = Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default());
    let home = Home {
        name: "legacy".to_owned(),
        backend: BackendKind::Xmpp,
        dialect: Dialect::Skype,
        registrar_pools: vec!["lync.contoso.com".to_owned()],
        connect: vec![HostPort::parse("gateway.internal:5269", None).expect("a host")],
    };
    World {
        generation: 1,
        domains: vec![domain("contoso.com")],
        policy: policy.expect("a policy"),
        homes: Homes::new(vec![home], &[]).expect("a home"),
        sip: Default::default(),
        inside: [(HomeId(0), InsideHome { tls: none, trust: TrustId(1) })].into_iter().collect(),
        dialback_secret: Arc::from([7_u8; 32].as_slice()),
        stanza_bytes_max: 256 * 1024,
        enforce_introductions: false,
        presence: turnout_core::presence::PresenceRules::default(),
        flow: turnout_core::flow::FlowLimits::default(),
        shards: 1,
    }
}

/// So many users `user0@contoso.com` …, all on the legacy home.
pub(crate) fn users(count: usize) -> Directory {
    let mut builder = SnapshotBuilder::new();
    for n in 0..count {
        let jid = Jid::parse(&format!("user{n}@contoso.com")).expect("a plain address");
        builder.add(jid.view(), User::at(Residence::Home(HomeId(0)))).expect("no user twice");
    }
    Directory::new(Arc::new(builder.finish()), Arc::new(Overlay::new(1000)))
}

impl Passing {
    /// Opens both streams. `now` is any time: only steps from it count.
    pub(crate) fn new(now: Instant, directory: Directory) -> Self {
        let world = Arc::new(world());
        let xmpp = |side, seed| -> Box<dyn Backend> {
            Box::new(XmppBackend::new(side, Arc::clone(&world), [seed; 32]))
        };
        let backends = vec![xmpp(Side::Partners, 1), xmpp(Side::Home(HomeId(0)), 2)];
        let partner = LinkId::accepted(0, 1);
        let mut passing = Self {
            shard: Shard::new(0, Arc::clone(&world), directory, backends, 1),
            out: Outbox::new(0),
            now,
            partner,
            gateway: LinkId::NONE,
            written: 0,
        };
        passing.prove();
        passing.reach();
        passing
    }

    /// Hands over a read of the partner's stream. What goes to the gateway stands in `out.outputs`.
    pub(crate) fn read(&mut self, bytes: Bytes) {
        self.now += Duration::from_micros(10);
        self.shard.handle(self.now, Input::Received(self.partner, bytes), &mut self.out);
    }

    /// Says that everything is written, and gives back how many bytes and slices those were.
    pub(crate) fn write(&mut self) -> (usize, usize) {
        let (mut bytes, mut slices) = (0, 0);
        for output in self.out.outputs.drain(..) {
            if let Output::Transmit(link, slice) = output {
                assert_eq!(link, self.gateway, "only the gateway is written to");
                bytes += slice.len();
                slices += 1;
            }
        }
        self.written += bytes as u64;
        self.shard.handle(self.now, Input::Written(self.gateway, self.written), &mut self.out);
        (bytes, slices)
    }

    /// Stanzas delivered so far.
    pub(crate) fn delivered(&mut self) -> u64 {
        let tally = self.shard.tally();
        assert_eq!(tally.passed.expected_held(), i128::from(tally.held));
        tally.passed.delivered
    }

    fn tell(&mut self, link: LinkId, text: &str) {
        let text = Bytes::copy_from_slice(text.as_bytes());
        self.shard.handle(self.now, Input::Received(link, text), &mut self.out);
    }

    /// Takes what was said on a link.
    fn said(&mut self, link: LinkId) -> String {
        let mut said = String::new();
        self.out.outputs.retain(|output| match output {
            Output::Transmit(to, bytes) if *to == link => {
                said.push_str(&String::from_utf8_lossy(bytes));
                false
            }
            _ => true,
        });
        said
    }

    /// Takes the wish to connect that must be there.
    fn connect(&mut self) -> LinkId {
        let mut link = None;
        for output in self.out.outputs.drain(..) {
            if let Output::Connect(connect) = output {
                link = Some(connect.link);
            }
        }
        let link = link.expect("a wish to connect");
        let connected = Input::Connected { link, direct_tls: false, peer: "127.0.0.1:1".into() };
        self.shard.handle(self.now, connected, &mut self.out);
        link
    }

    /// The partner's stream in, proven by dialback.
    fn prove(&mut self) {
        let (partner, door) = (self.partner, Door { side: Side::Partners, direct_tls: false });
        let accepted = Input::Accepted { link: partner, door, peer: "127.0.0.1:2".into() };
        self.shard.handle(self.now, accepted, &mut self.out);
        self.tell(partner, &OPEN.replace("FROM", "partner.example").replace("TO", "contoso.com"));
        assert!(self.said(partner).contains("<stream:features"));
        self.tell(partner, "<db:result from='partner.example' to='contoso.com'>key</db:result>");
        let verify = self.connect();
        self.tell(verify, &OPEN.replace("FROM", "partner.example").replace("TO", "contoso.com"));
        self.tell(verify, FEATURES);
        let asked = self.said(verify);
        let id = asked.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).expect("an id");
        let yes = format!("<db:verify from='partner.example' to='contoso.com' id='{id}' type='valid'/>");
        self.tell(verify, &yes);
        let proven = self.said(partner);
        assert!(proven.contains("type='valid'"), "{proven}");
    }

    /// The stream to the gateway, opened by a first message.
    fn reach(&mut self) {
        self.tell(
            self.partner,
            "<message from='a@partner.example/r' to='user0@contoso.com'><body>first</body></message>",
        );
        let gateway = self.connect();
        self.gateway = gateway;
        self.tell(gateway, &OPEN.replace("FROM", "contoso.com").replace("TO", "partner.example"));
        self.tell(gateway, FEATURES);
        let asked = self.said(gateway);
        assert!(asked.contains("<db:result"), "{asked}");
        self.tell(gateway, "<db:result from='contoso.com' to='partner.example' type='valid'/>");
        self.written = asked.len() as u64;
        let (bytes, _) = self.write();
        assert!(bytes > 0 && self.delivered() == 1, "{bytes} bytes");
    }
}

/// Reads of about 64 KiB of whole stanzas of about `size` bytes each, all different, for random ones of `users`; and how many stanzas
/// those are. Enough of them that neither look-ups nor bytes stay in the nearest cache.
pub(crate) fn reads(size: usize, users: usize) -> (Vec<Bytes>, u64) {
    const READ_BYTES: usize = 64 * 1024;
    const READS: usize = 64;
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut reads, mut count) = (Vec::new(), 0);
    for _ in 0..READS {
        let mut read = String::with_capacity(READ_BYTES + size);
        while read.len() + size <= READ_BYTES.max(size) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let user = seed as usize % users;
            let head = format!(
                "<message type='chat' id='m{count}' from='juliet@partner.example/balcony' \
                 to='user{user}@contoso.com'><body>"
            );
            let tail = "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
            read.push_str(&head);
            let text = size.saturating_sub(head.len() + tail.len());
            read.extend("O Romeo, Romeo! wherefore art thou Romeo? ".chars().cycle().take(text));
            read.push_str(tail);
            count += 1;
        }
        reads.push(Bytes::from(read));
    }
    (reads, count)
}
