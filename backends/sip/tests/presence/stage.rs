//! One pool, one partner's user, one local user.

use std::sync::Arc;
use std::time::Duration;

use turnout_core::backend::{Backend, Sent};
use turnout_core::contact::Contact;
use turnout_core::flow::Room;
use turnout_core::home::Dialect;
use turnout_core::io::LinkId;
use turnout_core::jid::Domain;
use turnout_core::policy::{GatewayLimits, Partner, PartnerDefaults, PartnerType, Policy, Unlisted};
use turnout_core::presence::PresenceRules;
use turnout_core::stanza::Stanza;
use turnout_core::world::World;
use turnout_sip::parse::{HeaderName as H, Message};

use crate::support::{Rig, Setup, header, world};

pub const BOB: &str = "bob@partner.example";
pub const BOBS_PHONE: &str = "bob@partner.example/phone";
pub const ALICE: &str = "alice@contoso.com";
pub const SECOND: Duration = Duration::from_secs(1);

/// A play.
pub struct Stage {
    pub rig: Rig,
    pub link: LinkId,
    /// Numbers of the NOTIFYs the pool sends.
    numbers: u32,
}

/// What a play may vary.
pub struct Scene {
    pub dialect: Dialect,
    pub kind: PartnerType,
    pub rules: PresenceRules,
    pub shards: u16,
    pub room: Room,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            dialect: Dialect::Skype,
            kind: PartnerType::Federated,
            rules: PresenceRules::default(),
            shards: 1,
            room: Room::default(),
        }
    }
}

impl Scene {
    pub fn world(&self) -> Arc<World> {
        let setup = Setup { dialect: self.dialect, shards: self.shards, room: self.room, ..Setup::default() };
        let mut world = Arc::into_inner(world(&setup)).unwrap();
        let defaults = PartnerDefaults::default();
        let domain = Domain::parse("partner.example").unwrap();
        let partner = Partner { kind: self.kind, ..Partner::with_defaults(domain, &defaults) };
        world.policy =
            Policy::new(vec![partner], Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap();
        world.presence = self.rules.clone();
        Arc::new(world)
    }

    pub fn rig(&self) -> Rig {
        let setup = Setup { dialect: self.dialect, shards: self.shards, room: self.room, ..Setup::default() };
        let mut rig = Rig::new(&setup);
        let world = self.world();
        for shard in 0..self.shards {
            rig.with(shard, |now, backend, out| backend.configure(now, &world, out));
        }
        rig
    }

    pub fn open(&self) -> Stage {
        let mut rig = self.rig();
        let link = rig.dial(0);
        Stage { rig, link, numbers: 0 }
    }
}

/// The partner's user may see the local user.
pub fn granted() -> Contact {
    Contact { from: true, ..Contact::default() }
}

/// He has asked.
pub fn asking() -> Contact {
    Contact { asking: true, ..Contact::default() }
}

/// Nothing holds.
pub fn strangers() -> Contact {
    Contact::default()
}

impl Stage {
    pub fn new() -> Self {
        Scene::default().open()
    }

    /// On a rig without a link so far.
    pub fn of(rig: Rig) -> Self {
        Self { rig, link: LinkId::NONE, numbers: 0 }
    }

    /// Presence from the partner's user, which must be taken: its type, empty for available, and what is in it.
    pub fn present(&mut self, from: &str, kind: &str, inside: &str, contact: &Contact) {
        let sent = self.offer(from, kind, inside, contact);
        assert!(matches!(sent, Sent::Answered(_)), "{sent:?}");
    }

    pub fn offer(&mut self, from: &str, kind: &str, inside: &str, contact: &Contact) -> Sent {
        let kind = if kind.is_empty() { String::new() } else { format!(" type='{kind}'") };
        let text = format!("<presence from='{from}' to='{ALICE}'{kind}>{inside}</presence>");
        let stanza = self.rig.stanza(&text);
        self.present_stanza(stanza, contact)
    }

    pub fn present_stanza(&mut self, stanza: Stanza, contact: &Contact) -> Sent {
        let link = self.link;
        self.rig.with(link.shard(), |now, backend, out| backend.presence(now, link, stanza, contact, out))
    }

    /// The same of Bob, without anything in it.
    pub fn bob(&mut self, kind: &str, contact: &Contact) {
        let from = if matches!(kind, "" | "unavailable") { BOBS_PHONE } else { BOB };
        self.present(from, kind, "", contact);
    }

    /// What the partner's users were told since: type, who from, and what was said.
    pub fn told(&mut self) -> Vec<String> {
        self.stanzas().iter().map(told).collect()
    }

    pub fn stanzas(&mut self) -> Vec<Stanza> {
        self.rig.arrivals.drain(..).collect()
    }

    /// The next request to the pool, which must be of this method.
    pub fn next(&mut self, method: &str) -> Message {
        let message = self.rig.next(self.link);
        assert_eq!(message.method(), Some(method.as_bytes()), "{message:?}");
        message
    }

    pub fn is_quiet(&self) -> bool {
        self.rig.is_quiet(self.link)
    }

    pub fn answer(&mut self, request: &Message, code: u16, extra: &str) {
        let text = crate::support::answer(request, code, "x", extra, "");
        self.rig.says(self.link, &text);
    }

    /// 200 to a SUBSCRIBE.
    pub fn accept(&mut self, subscribe: &Message, seconds: u32) {
        let extra = format!("Expires: {seconds}\r\n{}", crate::support::ROUTES);
        self.answer(subscribe, 200, &extra);
    }

    /// A NOTIFY in the dialog of this SUBSCRIBE of ours; gives our answer.
    pub fn notify(&mut self, subscribe: &Message, state: &str, body: &str) -> u16 {
        self.notify_by("NOTIFY", "pooltag;epid=b84a59c035", subscribe, state, body);
        self.rig.next(self.link).status().unwrap()
    }

    pub fn notify_by(&mut self, method: &str, tag: &str, subscribe: &Message, state: &str, body: &str) {
        self.numbers += 1;
        let number = self.numbers;
        let from = header(subscribe, H::To);
        let from = from.split(";tag=").next().unwrap().to_owned();
        let kind = match body {
            "" => "",
            body if body.starts_with("<categories") => {
                "Content-Type: application/msrtc-event-categories+xml\r\n"
            }
            _ => "Content-Type: application/pidf+xml\r\n",
        };
        let text = format!(
            "{method} sip:bob@turnout.contoso.com:5061;transport=tls SIP/2.0\r\n\
             Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKn{number}\r\nMax-Forwards: 69\r\n\
             From: {from};tag={tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\n\
             Contact: <sip:alice@contoso.com;opaque=user:epid:hYns;gruu>\r\nEvent: presence\r\n\
             Subscription-State: {state}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            header(subscribe, H::From),
            header(subscribe, H::CallId),
            body.len()
        );
        self.rig.says(self.link, &text);
    }

    /// A watch that stands: Bob sees Alice available. Gives its SUBSCRIBE.
    pub fn watched(&mut self) -> Message {
        self.bob("probe", &granted());
        let subscribe = self.next("SUBSCRIBE");
        self.accept(&subscribe, 3600);
        assert_eq!(self.notify(&subscribe, "active;expires=3600", &open("")), 200);
        assert_eq!(self.told(), ["available alice@contoso.com/sfb hidden where it must be"]);
        subscribe
    }

    /// The next request to the pool, when its time comes; how long that took, in seconds.
    pub fn later(&mut self, method: &str) -> (Message, u64) {
        let mut seconds = 0;
        while self.is_quiet() {
            assert!(seconds < 40_000, "nothing comes");
            self.pass(1);
            seconds += 1;
        }
        (self.next(method), seconds)
    }

    pub fn described(&mut self) -> Vec<String> {
        self.rig.with(0, |now, backend, _| backend.describe(now, ALICE))
    }

    pub fn pass(&mut self, seconds: u64) {
        self.rig.pass(Duration::from_secs(seconds));
    }
}

/// A stanza in a few words.
pub fn told(stanza: &Stanza) -> String {
    let text = String::from_utf8(stanza.bytes.to_vec()).unwrap();
    let inner = |name: &str| {
        let start = text.find(&format!("<{name}>"))? + name.len() + 2;
        Some(text[start..].split('<').next().unwrap().to_owned())
    };
    let kind = text.split(" type='").nth(1).map_or("available", |rest| rest.split('\'').next().unwrap());
    let mut words = vec![kind.to_owned(), stanza.from.as_str().to_owned()];
    words.extend(inner("show"));
    words.extend(inner("status"));
    if stanza.made {
        words.push("(made)".to_owned());
    }
    words.join(" ")
}

/// A document of a pool: open, with this in the status.
pub fn open(inside: &str) -> String {
    document("open", inside)
}

pub fn closed() -> String {
    document("closed", "")
}

fn document(basic: &str, inside: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' \
         entity='sip:alice@contoso.com'><tuple id='0'><status><basic>{basic}</basic>{inside}</status>\
         <note>hidden where it must be</note></tuple></presence>"
    )
}

/// Without the note.
pub fn plain(basic: &str) -> String {
    document(basic, "").replace("<note>hidden where it must be</note>", "")
}
