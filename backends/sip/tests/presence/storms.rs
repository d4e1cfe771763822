//! Anything in any order: nothing panics, and nothing is left when everybody has gone.

use std::collections::VecDeque;
use std::time::Duration;

use turnout_core::backend::{Backend, Sent};
use turnout_core::contact::Contact;
use turnout_core::home::Dialect;
use turnout_core::policy::PartnerType;
use turnout_core::random::Random;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::Stanza;
use turnout_sip::parse::{HeaderName as H, Message};

use crate::stage::*;
use crate::support::{header, within};

const LOCALS: [&str; 2] = ["alice", "carol"];
const PARTNERS: [&str; 3] = ["bob", "dave", "erin"];
const KINDS: [&str; 8] =
    ["", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "error"];
const CODES: [u16; 14] = [200, 200, 200, 202, 403, 404, 408, 423, 481, 481, 489, 500, 503, 603];
const STATES: [&str; 14] = [
    "active;expires=3600",
    "active;expires=60",
    "active",
    "pending;expires=600",
    "pending",
    "terminated;reason=deactivated",
    "terminated;reason=timeout",
    "terminated;reason=rejected",
    "terminated;reason=noresource",
    "terminated;reason=probation;retry-after=5",
    "terminated;reason=giveup",
    "terminated",
    "moonlit;expires=4294967295",
    ";",
];

/// A pool, partners and a network that do as they like.
struct Storm {
    stage: Stage,
    random: Random,
    /// Requests of ours that nobody has answered.
    open: VecDeque<Message>,
    /// SUBSCRIBEs of ours, and 200s to the pool's.
    ours: Vec<Message>,
    theirs: Vec<Message>,
    /// Stanzas whose verdict is awaited.
    asked: Vec<Stanza>,
    count: u32,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let dialect = if random.below(2) == 0 { Dialect::Skype } else { Dialect::Simple };
        let kind = if random.below(2) == 0 { PartnerType::Federated } else { PartnerType::PublicVerified };
        let mut scene = Scene { dialect, kind, ..Scene::default() };
        scene.rules.per_second = [1, 5, 200][random.below(3) as usize];
        scene.rules.rich = random.below(2) == 0;
        Self {
            stage: scene.open(),
            random,
            open: VecDeque::new(),
            ours: Vec::new(),
            theirs: Vec::new(),
            asked: Vec::new(),
            count: 0,
        }
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn one_of(&mut self, messages: &[Message]) -> Option<Message> {
        let at = self.random.below(messages.len() as u64) as usize;
        messages.get(at).cloned()
    }

    /// Looks at what we sent and said.
    fn collect(&mut self) {
        while !self.stage.is_quiet() {
            let message = self.stage.rig.next(self.stage.link);
            match (message.method(), message.status()) {
                (Some(b"SUBSCRIBE"), _) => {
                    self.ours.push(message.clone());
                    self.open.push_back(message);
                }
                (Some(_), _) => self.open.push_back(message),
                (None, Some(200)) if header(&message, H::CSeq).ends_with("SUBSCRIBE") => {
                    self.theirs.push(message);
                }
                _ => {}
            }
        }
        for stanza in self.stage.stanzas() {
            if stanza.origin.ticket != 0 {
                self.asked.push(stanza);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => self.partner_speaks(),
            6..=8 => self.pool_answers(),
            9..=11 => self.pool_notifies(),
            12..=13 => self.pool_subscribes(),
            14 => self.pool_subscribes_again(),
            15 => self.network_fails(),
            16 => self.router_judges(),
            17 if self.random.below(4) == 0 => {
                let local = format!("{}@contoso.com", self.pick(&LOCALS));
                self.stage.rig.with(0, |now, backend, out| backend.part_with(now, &local, out));
            }
            _ => {
                let millis = [10, 100, 1000, 6000, 40_000, 700_000, 4_000_000][self.random.below(7) as usize];
                self.stage.rig.pass(Duration::from_millis(millis));
            }
        }
        self.collect();
    }

    fn partner_speaks(&mut self) {
        let (local, partner, kind) = (self.pick(&LOCALS), self.pick(&PARTNERS), self.pick(&KINDS));
        self.speak(local, partner, kind);
    }

    fn speak(&mut self, local: &str, partner: &str, kind: &str) {
        let resource = if self.random.below(2) == 0 { "" } else { "/r" };
        let kind = if kind.is_empty() { String::new() } else { format!(" type='{kind}'") };
        let text = format!(
            "<presence from='{partner}@partner.example{resource}' to='{local}@contoso.com'{kind}>\
             <status>{}</status></presence>",
            self.random.below(5)
        );
        let mut stanza = self.stage.rig.stanza(&text);
        stanza.made = self.random.below(8) == 0;
        let contact = Contact {
            from: self.random.below(2) == 0,
            asking: self.random.below(2) == 0,
            shown: if self.random.below(4) == 0 { vec!["sfb".into(), "".into()] } else { Vec::new() },
            ..Contact::default()
        };
        let sent = self.stage.present_stanza(stanza, &contact);
        assert!(matches!(sent, Sent::Answered(_)), "{sent:?}");
    }

    fn pool_answers(&mut self) {
        let Some(request) = self.open.pop_front() else { return };
        let code = CODES[self.random.below(CODES.len() as u64) as usize];
        let extra = match self.random.below(6) {
            0 => String::new(),
            1 => "Expires: 0\r\nContact: <tel:+1>\r\n".to_owned(),
            2 => "Min-Expires: 50000\r\nRetry-After: 7\r\n".to_owned(),
            _ => format!("Expires: {}\r\n{}", self.random.below(4000), crate::support::ROUTES),
        };
        self.stage.answer(&request, code, &extra);
    }

    fn pool_notifies(&mut self) {
        let ours = std::mem::take(&mut self.ours);
        let subscribe = self.one_of(&ours);
        self.ours = ours;
        let Some(subscribe) = subscribe else { return };
        let state = self.pick(&STATES);
        let body = match self.random.below(6) {
            0 => String::new(),
            1 => "<presence".to_owned(),
            2 => plain("closed"),
            3 => plain("odd"),
            _ => open(""),
        };
        let (method, tag) =
            (self.pick(&["NOTIFY", "NOTIFY", "BENOTIFY"]), self.pick(&["pooltag", "pooltag", "fork"]));
        self.stage.notify_by(method, tag, &subscribe, state, &body);
    }

    fn pool_subscribes(&mut self) {
        self.count += 1;
        let (local, partner) = (self.pick(&LOCALS), self.pick(&PARTNERS));
        let expires = [0, 30, 60, 3600, 100_000][self.random.below(5) as usize];
        let contact =
            self.pick(&["", "Contact: <sip:alice@contoso.com;gruu>\r\n", "Contact: <sip:a@b.example>\r\n"]);
        let text = format!(
            "SUBSCRIBE sip:{partner}@partner.example SIP/2.0\r\n\
             Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKp{n}\r\nMax-Forwards: 69\r\n\
             From: <sip:{local}@contoso.com>;tag=t{n}\r\nTo: <sip:{partner}@partner.example>\r\n\
             Call-ID: p{n}\r\nCSeq: 1 SUBSCRIBE\r\n{contact}Event: presence\r\nExpires: {expires}\r\n\
             Content-Length: 0\r\n\r\n",
            n = self.count
        );
        let link = self.stage.link;
        self.stage.rig.says(link, &text);
    }

    fn pool_subscribes_again(&mut self) {
        let theirs = std::mem::take(&mut self.theirs);
        let ok = self.one_of(&theirs);
        self.theirs = theirs;
        let Some(ok) = ok else { return };
        self.count += 1;
        let expires = [0, 10, 600][self.random.below(3) as usize];
        let extra = format!("Event: presence\r\nExpires: {expires}\r\nContact: <sip:x@contoso.com>\r\n");
        let text = within(&ok, "SUBSCRIBE", self.count + 1, &format!("z9hG4bKq{}", self.count), &extra, "");
        let link = self.stage.link;
        self.stage.rig.says(link, &text);
    }

    fn network_fails(&mut self) {
        let link = self.stage.link;
        self.stage.rig.lose(link);
        self.open.clear();
        if self.random.below(2) == 0 {
            let seconds = self.random.below(100);
            self.stage.pass(seconds);
            self.collect();
        }
        self.stage.link = self.stage.rig.dial(0);
    }

    fn router_judges(&mut self) {
        let Some(stanza) = self.asked.pop() else { return };
        let refusal =
            Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "gone");
        let verdict = if self.random.below(2) == 0 { Ok(()) } else { Err(&refusal) };
        self.stage.rig.verdict(&stanza, verdict);
    }

    /// Everybody goes, and the pool has forgotten everything.
    fn calm(&mut self) {
        self.stage.pass(400);
        self.collect();
        for local in LOCALS {
            for partner in PARTNERS {
                self.speak(local, partner, "unsubscribe");
                self.speak(local, partner, "unsubscribed");
            }
        }
        self.collect();
        while let Some(request) = self.open.pop_front() {
            self.stage.answer(&request, 481, "");
        }
        self.stage.pass(200);
        self.collect();
    }
}

#[test]
fn nothing_is_left_of_a_storm() {
    let mut stood = 0;
    for seed in 0..60 {
        let mut storm = Storm::new(seed);
        for _ in 0..250 {
            storm.step();
        }
        stood += storm.stage.rig.with(0, |_, backend, _| backend.subscriptions());
        storm.calm();
        let left = storm.stage.rig.with(0, |_, backend, _| backend.subscriptions());
        assert_eq!(left, 0, "seed {seed}");
        for local in LOCALS {
            let local = format!("{local}@contoso.com");
            let lines = storm.stage.rig.with(0, |now, backend, _| backend.describe(now, &local));
            assert!(lines.is_empty(), "seed {seed}: {lines:?}");
        }
        storm.stage.stanzas();
        storm.stage.pass(100_000);
        assert!(storm.stage.is_quiet() && storm.stage.told().is_empty(), "seed {seed}: somebody still talks");
    }
    assert!(stood > 100, "these were no storms: {stood}");
}

#[test]
fn the_same_storm_twice_is_the_same() {
    let run = |seed: u64| {
        let mut storm = Storm::new(seed);
        for _ in 0..200 {
            storm.step();
        }
        let link = storm.stage.link;
        storm.stage.rig.raw.get(&link).cloned().unwrap_or_default()
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
