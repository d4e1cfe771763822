//! A toy of the SIP kind. Either side says `s NUMBER STANZA` and is answered `a NUMBER` (taken), `d NUMBER` (declined) or
//! `t NUMBER` (try later). One question per pair of users is open at a time; what follows waits here. A question without an answer
//! is given back after some seconds. Questions of the peer are decided on the shard that owns the local user.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Close, Closed, Door, Event, Handoff, LinkId, Outbox, Output, Secured, Side, earlier};
use turnout_core::placement::owner_of_user;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Origin, Stanza};
use turnout_core::world::World;

use super::stream::connect;
use super::{lines, number_of, stanza};
use crate::support::ledger::Ledger;

/// Stanzas kept for one link before it takes no more.
const WINDOW: usize = 6;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug)]
struct Kept {
    stanza: Stanza,
    link: LinkId,
    question: u64,
    asked: Option<Instant>,
}

impl Kept {
    fn is_of(&self, pair: &Stanza) -> bool {
        self.stanza.to.bare_str() == pair.to.bare_str() && self.stanza.from.bare_str() == pair.from.bare_str()
    }
}

/// The backend.
#[derive(Debug)]
pub struct Ask {
    side: Side,
    shard: u16,
    shards: u16,
    links: BTreeMap<LinkId, Vec<u8>>,
    blocked: BTreeSet<LinkId>,
    kept: VecDeque<Kept>,
    /// Questions of the peer: link and number.
    tickets: BTreeMap<u64, (LinkId, u64)>,
    count: u64,
    ledger: Ledger,
}

impl Ask {
    /// For a side and a shard of so many.
    pub fn new(side: Side, shard: u16, shards: u16, ledger: Ledger) -> Self {
        Self {
            side,
            shard,
            shards,
            links: BTreeMap::new(),
            blocked: BTreeSet::new(),
            kept: VecDeque::new(),
            tickets: BTreeMap::new(),
            count: 0,
            ledger,
        }
    }

    /// Asks the first question of every pair that has none open.
    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        for at in 0..self.kept.len() {
            let this = &self.kept[at];
            let first = !self.kept.iter().take(at).any(|earlier| earlier.is_of(&this.stanza));
            if this.asked.is_none() && first {
                let this = &mut self.kept[at];
                this.asked = Some(now);
                self.ledger
                    .log(|| format!("ask {} on {}", number_of(&self.kept[at].stanza), self.kept[at].link));
                let this = &mut self.kept[at];
                let text = String::from_utf8_lossy(&this.stanza.bytes).into_owned();
                out.transmit(this.link, Bytes::from(format!("s {} {text}\n", this.question)));
            }
        }
    }

    fn end(&mut self, kept: Kept, result: Result<(), Refusal>, out: &mut Outbox) {
        if kept.stanza.made {
            self.ledger.keep_made(self.shard, -1);
        }
        self.ledger.log(|| format!("end {} on {}: {}", number_of(&kept.stanza), kept.link, result.is_ok()));
        out.events.push_back(Event::Done(Box::new(kept.stanza), result));
    }

    /// Gives back what is kept of these pairs, on whatever link, in order.
    fn give_back(&mut self, pairs: &[Stanza], out: &mut Outbox) {
        let (back, rest): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|kept| pairs.iter().any(|pair| kept.is_of(pair)));
        self.kept = rest;
        for kept in back {
            if kept.asked.is_some() {
                self.ledger.doubt(number_of(&kept.stanza));
            }
            self.end(kept, Err(refusal(Retry::Later)), out);
        }
    }

    /// Gives back every pair that has something on a link that is lost.
    fn give_back_of(&mut self, link: LinkId, out: &mut Outbox) {
        let pairs: Vec<Stanza> =
            self.kept.iter().filter(|kept| kept.link == link).map(|kept| kept.stanza.clone()).collect();
        self.give_back(&pairs, out);
    }

    fn unblock(&mut self, out: &mut Outbox) {
        let (kept, blocked) = (&self.kept, &mut self.blocked);
        blocked.retain(|link| {
            let full = kept.iter().filter(|kept| kept.link == *link).count() >= WINDOW;
            if !full {
                out.events.push_back(Event::Ready(*link));
            }
            full
        });
    }

    fn answered(&mut self, now: Instant, link: LinkId, text: &str, out: &mut Outbox) -> Option<()> {
        let (answer, question) = text.split_once(' ')?;
        let question: u64 = question.parse().ok()?;
        let Some(at) = self.kept.iter().position(|kept| kept.link == link && kept.question == question)
        else {
            return Some(());
        };
        match answer {
            "a" | "d" => {
                let kept = self.kept.remove(at)?;
                let result = if answer == "a" { Ok(()) } else { Err(refusal(Retry::Never)) };
                self.end(kept, result, out);
            }
            "t" => {
                let pair = self.kept[at].stanza.clone();
                self.kept[at].asked = None;
                self.give_back(&[pair], out);
            }
            _ => return None,
        }
        self.unblock(out);
        self.ask(now, out);
        Some(())
    }

    fn line(&mut self, now: Instant, link: LinkId, text: &str, out: &mut Outbox) -> Option<()> {
        if text == "bye" {
            out.events.push_back(Event::Unready(link, None));
            self.links.remove(&link);
            self.blocked.remove(&link);
            self.give_back_of(link, out);
            self.unblock(out);
            out.close(link, Close::Flush);
            return Some(());
        }
        let Some(question) = text.strip_prefix("s ") else { return self.answered(now, link, text, out) };
        let (_, line) = question.split_once(' ')?;
        let from = line.split(' ').nth(1)?;
        let owner = owner_of_user(from, self.shards);
        let bytes = Bytes::copy_from_slice(question.as_bytes());
        if owner == self.shard {
            self.adopt(now, link, bytes, out);
        } else {
            let handoff = Handoff::Message { side: self.side, link, bytes };
            out.outputs.push(Output::Handoff(owner, handoff));
        }
        Some(())
    }
}

fn refusal(retry: Retry) -> Refusal {
    Refusal::new(Condition::RecipientUnavailable, Blame::Recipient, retry, Bounce::Yes, "not taken")
}

impl Backend for Ask {
    fn accepted(&mut self, _now: Instant, link: LinkId, _door: Door, _peer: &Arc<str>, _out: &mut Outbox) {
        self.links.insert(link, Vec::new());
    }

    fn dial(
        &mut self,
        _now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        self.links.insert(link, Vec::new());
        out.connect(connect(link, destination, node));
    }

    fn connected(&mut self, _now: Instant, link: LinkId, _direct_tls: bool, out: &mut Outbox) {
        out.events.push_back(Event::Ready(link));
    }

    fn secured(&mut self, _now: Instant, _link: LinkId, _secured: Secured, _out: &mut Outbox) {}

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let Some(buffer) = self.links.get_mut(&link) else { return Ok(()) };
        buffer.extend_from_slice(&bytes);
        for text in lines(buffer) {
            if self.line(now, link, &text, out).is_none() {
                self.links.remove(&link);
                out.close(link, Close::Abort);
                return Err(Fault { condition: "line", text });
            }
        }
        Ok(())
    }

    fn send(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        let known = self.links.contains_key(&link);
        self.ledger.log(|| format!("send {} on {link}", number_of(&stanza)));
        if !known || self.kept.iter().filter(|kept| kept.link == link).count() >= WINDOW {
            if known {
                self.blocked.insert(link);
            }
            return Sent::NotNow(stanza);
        }
        if stanza.made {
            self.ledger.keep_made(self.shard, 1);
        }
        self.count += 1;
        self.kept.push_back(Kept { stanza, link, question: self.count, asked: None });
        self.ask(now, out);
        Sent::Kept
    }

    fn closed(&mut self, _now: Instant, link: LinkId, _why: &Closed, out: &mut Outbox) {
        self.links.remove(&link);
        self.blocked.remove(&link);
        self.give_back_of(link, out);
        self.unblock(out);
    }

    fn settle(&mut self, _now: Instant, origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox) {
        let (link, question) = self.tickets.remove(&origin.ticket).expect("one verdict for each ticket");
        let (answer, number) = match verdict {
            Verdict::Delivered => ("a", None),
            Verdict::Refused(..) => ("d", usize::try_from(question).ok()),
        };
        if let Some(number) = number {
            self.ledger.bounced(number);
        }
        out.transmit(link, Bytes::from(format!("{answer} {question}\n")));
    }

    fn answer(&mut self, _now: Instant, _stanza: &Stanza, _out: &mut Outbox) -> Result<(), Refusal> {
        Err(refusal(Retry::Never))
    }

    fn adopt(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.count += 1;
        // The verdict must come to the shard that decides, so the stanza says it came in here.
        let origin = Origin { side: self.side, link: LinkId::accepted(self.shard, 0), ticket: self.count };
        let question = text.split_once(' ').and_then(|(question, line)| Some((question.parse().ok()?, line)));
        let Some((question, line)) = question else { return };
        let Some(stanza) = stanza(now, line, origin, false) else { return };
        self.tickets.insert(self.count, (link, question));
        self.ledger.arrived(number_of(&stanza));
        out.arrivals.push_back(stanza);
    }

    fn kept_for(&self, bare: &str) -> usize {
        self.kept.iter().filter(|kept| kept.stanza.to.bare_str() == bare).count()
    }

    fn kept(&self) -> usize {
        self.kept.len()
    }

    fn configure(&mut self, _now: Instant, _world: &Arc<World>, _out: &mut Outbox) {}

    fn drain(&mut self, _now: Instant, _out: &mut Outbox) {}

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(late) =
            self.kept.iter().find(|kept| kept.asked.is_some_and(|asked| asked + PATIENCE <= now))
        {
            let pair = late.stanza.clone();
            self.give_back(&[pair], out);
            self.unblock(out);
            self.ask(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.kept
            .iter()
            .filter_map(|kept| kept.asked)
            .fold(None, |at, asked| earlier(at, Some(asked + PATIENCE)))
    }
}
