//! Plays: who says what, and who hears what, in a file a newcomer can read. Invariant: whatever an actor hears must be in the play;
//! what is left unheard at the end fails it.
//!
//! ```text
//! # One line that says what is shown.
//! given partners are public-unverified           the estate differs from the usual one
//! each                                           the rest is played once a row; {1}, {2} … stand for its columns
//!     480 Temporarily Unavailable | recipient-unavailable
//! p0.example says                                a partner; the domains are those of the addresses in the stanza
//!     <message …/>
//! legacy hears                                   the gateway; `*` stands for anything
//!     <message …/>
//! pool says new@contoso.com to u@p0.example      a user of the 2019 pool writes
//!     Hello
//! pool hears                                     its next request or final answer; each line is found in it, in this order
//!     MESSAGE *
//! legacy hears nothing
//! pool answers INVITE 480 Temporarily Unavailable
//!     ms-diagnostics: 4141;reason="x"
//! p0.example is down                             and `is up`
//! 60 seconds pass
//! old@contoso.com moves to sfb2019               or to legacy
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use turnout_core::backend::Backend;
use turnout_core::io::{Side, TrustId};
use turnout_core::policy::PartnerType;
use turnout_sip::SipBackend;
use turnout_xmpp::XmppBackend;

use super::estate::{self, GATEWAY_HOSTS, LEGACY, Options, PARTNERS, POOL, POOL_HOSTS};
use super::ledger::Ledger;
use super::peer::{Peer, Reply, Words};
use super::real::pool::PoolPeer;
use super::real::xmpp::{Manner, XmppPeer, attribute};
use super::sim::{Cast, Sim};

/// One step: its line, and the lines that belong to it.
#[derive(Clone, Debug)]
struct Step {
    line: String,
    body: Vec<String>,
}

/// Plays a whole file.
///
/// # Panics
/// Where it goes otherwise than written.
pub fn play(name: &str, text: &str) {
    let mut steps = read(text);
    let mut rows = vec![Vec::new()];
    if let Some(at) = steps.iter().position(|step| step.line == "each") {
        let table = steps.remove(at).body;
        rows = table.iter().map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect()).collect();
    }
    assert!(steps.iter().any(|step| step.line.contains(" hears")), "{name}: nobody hears anything");
    for row in rows {
        let filled: Vec<Step> = steps.iter().map(|step| step.fill(&row)).collect();
        let title = if row.is_empty() { name.to_owned() } else { format!("{name} with {}", row.join(" | ")) };
        Stage::new(title, &filled).run(&filled);
    }
}

fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(body) => steps.last_mut().expect("a line belongs to a step").body.push(body.to_owned()),
            None => steps.push(Step { line: line.trim().to_owned(), body: Vec::new() }),
        }
    }
    steps
}

impl Step {
    fn fill(&self, row: &[String]) -> Self {
        let fill = |text: &str| {
            let cells = row.iter().enumerate();
            cells.fold(text.to_owned(), |text, (at, cell)| text.replace(&format!("{{{}}}", at + 1), cell))
        };
        Self { line: fill(&self.line), body: self.body.iter().map(|line| fill(line)).collect() }
    }
}

/// Where a play is given.
struct Stage {
    title: String,
    sim: Sim,
    /// What each server heard and the play has not come to.
    heard: Vec<VecDeque<String>>,
}

impl Stage {
    fn new(title: String, steps: &[Step]) -> Self {
        let given = |what: &str| steps.iter().any(|step| step.line == format!("given {what}"));
        let unverified = given("partners are public-unverified");
        let options = Options {
            kind: if unverified { PartnerType::PublicUnverified } else { PartnerType::Federated },
            enforce_introductions: unverified,
            ..Options::default()
        };
        let world = estate::world(&options);
        let mut peers: Vec<Box<dyn Peer>> = Vec::new();
        for name in PARTNERS {
            peers.push(Box::new(XmppPeer::new(Manner::External, &[name], TrustId::FEDERATION)));
        }
        for name in GATEWAY_HOSTS {
            peers.push(Box::new(XmppPeer::new(Manner::Plain, &[name], TrustId(1))));
        }
        for name in POOL_HOSTS {
            peers.push(Box::new(PoolPeer::new(name, TrustId(2))));
        }
        let heard = peers.iter().map(|_| VecDeque::new()).collect();
        let backends: Vec<Box<dyn Backend>> = vec![
            Box::new(XmppBackend::new(Side::Partners, Arc::clone(&world), [1; 32])),
            Box::new(XmppBackend::new(Side::Home(LEGACY), Arc::clone(&world), [2; 32])),
            Box::new(SipBackend::new(Side::Home(POOL), Arc::clone(&world), [3; 32])),
        ];
        let cast = Cast { peers, backends: vec![backends], kinds: ["m", "m"] };
        let sim = Sim::new(1, &world, estate::cast_list(), cast, Ledger::default());
        Self { title, sim, heard }
    }

    fn run(mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
            self.sim.settle();
            self.listen();
        }
        for (at, heard) in self.heard.iter().enumerate() {
            assert!(
                heard.is_empty(),
                "{}: server {at} heard what is not in the play: {heard:#?}",
                self.title
            );
        }
    }

    fn listen(&mut self) {
        for (at, heard) in self.heard.iter_mut().enumerate() {
            let pool = at >= PARTNERS.len() + GATEWAY_HOSTS.len();
            let (sim, mut words) = (&mut self.sim, Vec::new());
            sim.direct(at, |peer, _| words = peer.heard());
            // What a session is made of goes without saying; a play that is about it prepares an answer to it.
            heard.extend(words.into_iter().filter(|text| !pool || is_of_interest(text)));
        }
    }

    fn step(&mut self, step: &Step) {
        let words: Vec<&str> = step.line.split(' ').collect();
        match words[..] {
            ["given", ..] => {}
            [from, "says"] => {
                let text = join(&step.body);
                let (ours, theirs) = (attribute(&text, "from"), attribute(&text, "to"));
                let bare = |jid: &str| jid.split('/').next().unwrap_or_default().to_owned();
                self.say(from, Words { from: bare(&ours), to: bare(&theirs), text });
            }
            [from, "says", "towards", domain] => {
                let text = join(&step.body);
                self.say(from, Words { from: from.to_owned(), to: domain.to_owned(), text });
            }
            ["pool", "says", from, "to", to] => {
                let text = step.body.join("\n");
                self.say("pool", Words { from: from.to_owned(), to: to.to_owned(), text });
            }
            ["pool", "answers", method, ..] => {
                let status = words[3..].join(" ");
                let headers = step.body.iter().map(|line| format!("{line}\r\n")).collect();
                for node in actors("pool") {
                    let reply = Reply {
                        method: method.to_owned(),
                        status: status.clone(),
                        headers: String::clone(&headers),
                    };
                    self.sim.direct(node, |peer, _| peer.prepare(reply));
                }
            }
            [who, "hears", "nothing"] => {
                let heard: Vec<_> = actors(who).into_iter().flat_map(|at| self.heard[at].iter()).collect();
                assert!(heard.is_empty(), "{}: {who} hears {heard:#?}", self.title);
            }
            [who, "hears"] => self.hears(who, &step.body),
            [who, "is", state @ ("down" | "up")] => {
                for at in actors(who) {
                    self.sim.set_down(at, state == "down");
                }
            }
            [seconds, "seconds", "pass"] => self.sim.pass(Duration::from_secs(seconds.parse().unwrap())),
            [user, "moves", "to", home] => {
                self.sim.move_user(user, if home == "legacy" { LEGACY } else { POOL });
            }
            _ => panic!("{}: what is {:?}?", self.title, step.line),
        }
    }

    fn say(&mut self, who: &str, words: Words) {
        let at = actors(who)[0];
        self.sim.direct(at, |peer, out| peer.speak(words, out));
    }

    fn hears(&mut self, who: &str, body: &[String]) {
        let pool = who == "pool";
        let heard = actors(who).into_iter().find_map(|at| self.heard[at].pop_front());
        let Some(heard) = heard else {
            panic!("{}: {who} hears nothing, and should: {body:#?}\n{}", self.title, self.sim.report())
        };
        if pool {
            let mut lines = heard.lines();
            for wanted in body {
                assert!(
                    lines.any(|line| matches(wanted, line)),
                    "{}: {who} hears no {wanted:?} (in this order) in\n{heard}",
                    self.title
                );
            }
        } else {
            let wanted = join(body);
            assert!(matches(&wanted, &heard), "{}: {who} hears\n{heard}\nand not\n{wanted}", self.title);
        }
    }
}

/// Whether a play has to mention it: texts, and answers that refuse.
fn is_of_interest(message: &str) -> bool {
    let words: Vec<&str> = message.lines().next().unwrap_or_default().split(' ').collect();
    match words[..] {
        ["SIP/2.0", code, ..] => code >= "300" || (code >= "200" && message.contains("MESSAGE\r\n")),
        [method, ..] => matches!(method, "MESSAGE"),
        [] => false,
    }
}

/// The servers behind a name.
fn actors(who: &str) -> Vec<usize> {
    match who {
        "legacy" => vec![3, 4],
        "pool" => vec![5, 6],
        name => {
            let at = PARTNERS.iter().position(|partner| *partner == name);
            // A server may speak for more domains than one; the last partner's does.
            vec![at.unwrap_or(2)]
        }
    }
}

fn join(body: &[String]) -> String {
    body.iter().map(|line| line.trim()).collect()
}

/// Whether a text is what a pattern says; `*` stands for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
