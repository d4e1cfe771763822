//! Plays: who says what, and who hears what, in a file a newcomer can read. Invariant: whatever an actor hears must be in the play;
//! what is left unheard at the end fails it.
//!
//! ```text
//! # One line that says what is shown.
//! given partners are public-unverified           the estate differs from the usual one; also: public-verified
//! given the pool speaks simple                   its dialect
//! given new@contoso.com has u@p0.example with from asking    what the store holds when the play begins: names of `Contact`
//! given ends of sessions are heard               otherwise BYE goes without saying
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
//!     *Message-ID: $its_id                       `$name` is whatever stands there, and later stands for it
//! legacy hears nothing
//! pool answers INVITE 480 Temporarily Unavailable
//!     ms-diagnostics: 4141;reason="x"
//! pool subscribes new@contoso.com to u@p0.example            SUBSCRIBE; below: headers beside the usual, or in their place
//! pool refreshes new@contoso.com to u@p0.example             the same in the dialog of the last one
//! pool notifies u@p0.example of new@contoso.com active;expires=3600     NOTIFY in the last dialog of the pair; below: the document
//! pool sends INFO from new@contoso.com to u@p0.example       in their session, or alone where the pool has none;
//!     Content-Type: application/xml              below: headers, and behind a line with a dot the body; further dots are empty lines
//!     .
//!     <KeyboardActivity>…
//! p0.example is down                             and `is up`
//! the router restarts                            it dies, and begins with what is on disk
//! 60 seconds pass
//! old@contoso.com moves to sfb2019               or to legacy
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use turnout_core::backend::Backend;
use turnout_core::contact::{Contact, Pair, Record};
use turnout_core::home::Dialect;
use turnout_core::io::{Side, TrustId};
use turnout_core::policy::PartnerType;
use turnout_core::presence::PresenceRules;
use turnout_core::world::{Calendar, World};
use turnout_sip::SipBackend;
use turnout_xmpp::XmppBackend;

use super::estate::{self, GATEWAY_HOSTS, LEGACY, Options, PARTNERS, POOL, POOL_HOSTS};
use super::ledger::Ledger;
use super::peer::{Act, Deed, Peer, Reply, Words};
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
    world: Arc<World>,
    /// BYE is heard.
    with_ends: bool,
    /// What the names of the play stand for.
    names: BTreeMap<String, String>,
    /// The pool's node that heard a SUBSCRIBE last.
    asked: Option<usize>,
}

impl Stage {
    fn new(title: String, steps: &[Step]) -> Self {
        let given = |what: &str| steps.iter().any(|step| step.line == format!("given {what}"));
        let (unverified, simple) = (given("partners are public-unverified"), given("the pool speaks simple"));
        let verified = given("partners are public-verified");
        let options = Options {
            kind: match (unverified, verified) {
                (true, _) => PartnerType::PublicUnverified,
                (_, true) => PartnerType::PublicVerified,
                _ => PartnerType::Federated,
            },
            enforce_introductions: unverified,
            presence: PresenceRules { durable: true, ..PresenceRules::default() },
            dialect: if simple { Dialect::Simple } else { Dialect::Skype },
            calendar: Some(Calendar { at: super::epoch(), unix_seconds: 1_767_323_045 }),
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
            let pool = PoolPeer::new(name, TrustId(2));
            peers.push(Box::new(if simple { pool.without_sessions() } else { pool }));
        }
        let heard = peers.iter().map(|_| VecDeque::new()).collect();
        let cast = Cast { peers, backends: vec![backends(&world)], kinds: ["m", "m"] };
        let mut sim = Sim::new(1, &world, estate::cast_list(), cast, Ledger::default());
        let records: Vec<Record> = steps.iter().filter_map(|step| record(&step.line)).collect();
        if !records.is_empty() {
            sim.remember(records);
        }
        Self {
            title,
            sim,
            heard,
            world,
            with_ends: given("ends of sessions are heard"),
            names: BTreeMap::new(),
            asked: None,
        }
    }

    fn run(mut self, steps: &[Step]) {
        for step in steps {
            self.step(&self.filled(step));
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

    fn filled(&self, step: &Step) -> Step {
        let fill = |text: &str| {
            self.names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
        };
        Step { line: fill(&step.line), body: step.body.iter().map(|line| fill(line)).collect() }
    }

    /// The pattern with what stands in the text for the name in it.
    fn named(&mut self, pattern: &str, text: &str) -> String {
        let Some((before, rest)) = pattern.split_once('$') else { return pattern.to_owned() };
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let mark = before.rsplit('*').next().unwrap_or_default();
        let Some((_, found)) = text.split_once(mark) else { return pattern.to_owned() };
        let found = after.chars().next().map_or(found, |stop| found.split(stop).next().unwrap_or(found));
        self.names.insert(format!("${name}"), found.to_owned());
        format!("{before}{found}{after}")
    }

    fn listen(&mut self) {
        for (at, heard) in self.heard.iter_mut().enumerate() {
            let pool = at >= PARTNERS.len() + GATEWAY_HOSTS.len();
            let (sim, with_ends, mut words) = (&mut self.sim, self.with_ends, Vec::new());
            sim.direct(at, |peer, _| words = peer.heard());
            // What keeps a stream and what makes a session go without saying; a play about a session prepares an answer to it.
            let is_heard = |text: &String| match pool {
                true => is_of_interest(text, with_ends),
                false => !text.contains(" id='ping-"),
            };
            heard.extend(words.into_iter().filter(is_heard));
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
            ["pool", "subscribes", local, "to", partner] => {
                self.act(Act::Subscribe, local, partner, (&step.body, &[]));
            }
            ["pool", "refreshes", local, "to", partner] => {
                self.act(Act::Refresh, local, partner, (&step.body, &[]));
            }
            ["pool", "notifies", partner, "of", local, state] => {
                self.act(Act::Notify(state.to_owned()), local, partner, (&[], &step.body));
            }
            ["pool", "sends", method, "from", local, "to", partner] => {
                let dot = step.body.iter().position(|line| line == ".");
                let (headers, body) =
                    dot.map_or((&step.body[..], &[][..]), |dot| (&step.body[..dot], &step.body[dot + 1..]));
                self.act(Act::Send(method.to_owned()), local, partner, (headers, body));
            }
            ["the", "router", "restarts"] => self.sim.restart(&self.world, backends(&self.world)),
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

    fn act(&mut self, act: Act, local: &str, partner: &str, (headers, body): (&[String], &[String])) {
        let lines: Vec<&str> = body.iter().map(|line| if line == "." { "" } else { line }).collect();
        let deed = Deed {
            act,
            local: local.to_owned(),
            partner: partner.to_owned(),
            headers: headers.iter().map(|line| format!("{line}\r\n")).collect(),
            body: lines.join("\r\n"),
        };
        let mut done = false;
        let mut nodes = actors("pool");
        // The node that was asked last first: dialogs of before an outage are on the other one, perhaps.
        nodes.sort_by_key(|node| Some(*node) != self.asked);
        for node in nodes {
            if !done {
                self.sim.direct(node, |peer, out| done = peer.act(&deed, out));
            }
        }
        assert!(done, "{}: nothing to do this in: {deed:?}", self.title);
    }

    fn say(&mut self, who: &str, words: Words) {
        let at = actors(who)[0];
        self.sim.direct(at, |peer, out| peer.speak(words, out));
    }

    fn hears(&mut self, who: &str, body: &[String]) {
        let pool = who == "pool";
        let heard =
            actors(who).into_iter().find_map(|at| self.heard[at].pop_front().map(|heard| (at, heard)));
        if let Some((at, heard)) = &heard
            && heard.starts_with("SUBSCRIBE ")
        {
            self.asked = Some(*at);
        }
        let heard = heard.map(|(_, heard)| heard);
        let Some(heard) = heard else {
            panic!("{}: {who} hears nothing, and should: {body:#?}\n{}", self.title, self.sim.report())
        };
        if pool {
            let mut lines = heard.lines();
            for wanted in body {
                let found = lines.any(|line| {
                    let wanted = self.named(wanted, line);
                    matches(&wanted, line)
                });
                assert!(found, "{}: {who} hears no {wanted:?} (in this order) in\n{heard}", self.title);
            }
        } else {
            let wanted = self.named(&join(body), &heard);
            assert!(matches(&wanted, &heard), "{}: {who} hears\n{heard}\nand not\n{wanted}", self.title);
        }
    }
}

/// Whether a play has to mention it: texts, presence, and answers that refuse.
fn is_of_interest(message: &str, with_ends: bool) -> bool {
    let words: Vec<&str> = message.lines().next().unwrap_or_default().split(' ').collect();
    let of = |method: &str| message.contains(&format!(" {method}\r\n"));
    match words[..] {
        ["SIP/2.0", code, ..] => {
            let carries = ["MESSAGE", "SUBSCRIBE", "NOTIFY", "INFO"].into_iter().any(of);
            code >= "300" || (code >= "200" && carries) || (with_ends && of("BYE"))
        }
        ["BYE", ..] => with_ends,
        [method, ..] => matches!(method, "MESSAGE" | "SUBSCRIBE" | "NOTIFY" | "INFO"),
        [] => false,
    }
}

/// The real backends of a shard.
fn backends(world: &Arc<World>) -> Vec<Box<dyn Backend>> {
    vec![
        Box::new(XmppBackend::new(Side::Partners, Arc::clone(world), [1; 32])),
        Box::new(XmppBackend::new(Side::Home(LEGACY), Arc::clone(world), [2; 32])),
        Box::new(SipBackend::new(Side::Home(POOL), Arc::clone(world), [3; 32])),
    ]
}

/// `given LOCAL has PARTNER with …`
fn record(line: &str) -> Option<Record> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["given", local, "has", partner, "with", flags @ ..] = &words[..] else { return None };
    let has = |flag: &str| flags.contains(&flag);
    let contact = Contact {
        to: has("to"),
        from: has("from"),
        asked: has("asked"),
        asking: has("asking"),
        vetoed: has("vetoed"),
        introduced: has("introduced"),
        shown: flags.iter().filter_map(|flag| flag.strip_prefix("shown:")).map(Into::into).collect(),
    };
    Some(Record { pair: Pair { local: (*local).into(), partner: (*partner).into() }, contact })
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
