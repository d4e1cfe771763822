//! Users made of code: the home of the demo's partner and of its legacy gateway. Invariant: what reaches `send` has been read or seen by
//! a user; what a user writes enters the router as any stanza of a home does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Closed, Door, Event, LinkId, Outbox, Secured, Side};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Kind, MessageType, Origin, Payload, Stanza};
use turnout_core::world::World;

use super::score::{Numbered, Score, Track};
use presence::Turns;

pub(super) mod presence;

/// How often messages are made.
const TICK: Duration = Duration::from_millis(2);

/// How often it is looked whether somebody changes what he shows.
const PRESENCE_TICK: Duration = Duration::from_millis(25);

/// Messages on their way at which the demo stops adding to them.
const IN_FLIGHT_MAX: u64 = 20_000;

/// What the users of a home do.
#[derive(Clone, Debug)]
pub enum Habit {
    /// Write to the local users, in turn, so many messages a second in all until the end, and read answers.
    Write {
        /// (sender, recipient) of each pair.
        pairs: Arc<[(Jid, Jid)]>,
        /// Messages a second.
        rate: u64,
        /// How long.
        length: Duration,
    },
    /// Answer every message.
    Answer,
}

/// The backend.
pub struct Clients {
    side: Side,
    habit: Habit,
    score: Arc<Score>,
    begun: Option<Instant>,
    made: u64,
    numbers: Vec<u64>,
    turns: Turns,
    deadline: Option<Instant>,
}

impl Clients {
    /// Users on this side.
    pub fn new(side: Side, habit: Habit, score: Arc<Score>, start: Instant) -> Self {
        let numbers = match &habit {
            Habit::Write { pairs, .. } => vec![0; pairs.len()],
            Habit::Answer => Vec::new(),
        };
        let turns = Turns::default();
        Self { side, habit, score, begun: None, made: 0, numbers, turns, deadline: Some(start) }
    }

    fn write(&mut self, now: Instant, from: &Jid, to: &Jid, text: &str, out: &mut Outbox) {
        if let Some(stanza) = message(now, self.side, from, to, text) {
            out.arrivals.push_back(stanza);
        }
    }
}

impl Backend for Clients {
    fn accepted(&mut self, _: Instant, _: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {}

    fn dial(&mut self, _: Instant, link: LinkId, _: &Destination, _: Option<&HostPort>, out: &mut Outbox) {
        out.events.push_back(Event::Ready(link));
    }

    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}

    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}

    fn receive(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) -> Result<(), Fault> {
        Ok(())
    }

    fn send(&mut self, now: Instant, _: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        if let Kind::Presence(kind) = stanza.kind {
            self.heed(now, kind, &stanza, out);
            return Sent::Answered(stanza);
        }
        if stanza.kind == Kind::Message(MessageType::Error) {
            self.score.bounced.fetch_add(1, Ordering::Relaxed);
            return Sent::Answered(stanza);
        }
        let Some(message) = body(&stanza.bytes).and_then(Numbered::parse) else {
            return Sent::Answered(stanza);
        };
        match self.habit {
            Habit::Write { .. } => self.score.read(Track::Reply, message, now),
            Habit::Answer => {
                self.score.read(Track::Legacy, message, now);
                self.score.replies_sent.fetch_add(1, Ordering::Relaxed);
                let (from, to) = (stanza.to.bare(), stanza.from.clone());
                self.write(now, &from, &to, &message.text("got it"), out);
            }
        }
        Sent::Answered(stanza)
    }

    fn closed(&mut self, _: Instant, _: LinkId, _: &Closed, _: &mut Outbox) {}

    fn settle(&mut self, _: Instant, _: &Origin, verdict: Verdict<'_>, _: &mut Outbox) {
        // A message the peer's own router refused, before it ever reached the one under demonstration.
        if let Verdict::Refused(Some(stanza), _) = verdict
            && matches!(stanza.kind, Kind::Message(_))
        {
            self.score.bounced.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answer(&mut self, _: Instant, _: &Stanza, _: &mut Outbox) -> Result<(), Refusal> {
        Err(Refusal::new(
            Condition::ServiceUnavailable,
            Blame::Sender,
            Retry::Never,
            Bounce::No,
            "only users live here",
        ))
    }

    fn adopt(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) {}

    fn kept_for(&self, _: &str) -> usize {
        0
    }

    fn kept(&self) -> usize {
        0
    }

    fn configure(&mut self, _: Instant, _: &Arc<World>, _: &mut Outbox) {}

    fn drain(&mut self, _: Instant, _: &mut Outbox) {
        self.deadline = None;
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.show(now, out);
        let Habit::Write { pairs, rate, length } = self.habit.clone() else {
            self.deadline = Some(now + PRESENCE_TICK);
            return;
        };
        self.deadline = Some(now + TICK);
        if !self.score.stage.has_begun() {
            return;
        }
        let begun = *self.begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= length || pairs.is_empty() {
            self.deadline = Some(now + PRESENCE_TICK);
            return;
        }
        let elapsed_us = u64::try_from(now.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX);
        let due = elapsed_us.saturating_mul(rate) / 1_000_000;
        if self.score.in_flight() > IN_FLIGHT_MAX {
            // Not made up later: the machine cannot take the rate.
            self.made = due;
        }
        while self.made < due {
            let pair = usize::try_from(self.made % pairs.len() as u64).unwrap_or(0);
            self.made += 1;
            let number = self.numbers[pair];
            self.numbers[pair] += 1;
            let text = Numbered { pair, number, sent_us: self.score.micros(now) }.text("hello");
            self.score.sent.fetch_add(1, Ordering::Relaxed);
            let (from, to) = &pairs[pair];
            self.write(now, from, to, &text, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// A chat message as an XMPP server would pass it on. `text` holds nothing that needs escaping.
fn message(now: Instant, side: Side, from: &Jid, to: &Jid, text: &str) -> Option<Stanza> {
    let content = format!("><body>{text}</body></message>");
    let kind = Kind::Message(MessageType::Chat);
    stanza(now, side, kind, ("message", " type='chat'"), (from, to), &content)
}

/// A stanza as an XMPP server would pass it on: the name of its element with attributes, who writes to whom, and what follows,
/// further attributes first.
fn stanza(
    now: Instant,
    side: Side,
    kind: Kind,
    (name, attributes): (&str, &str),
    (from, to): (&Jid, &Jid),
    content: &str,
) -> Option<Stanza> {
    let head = format!("<{name}{attributes} from='");
    let bytes = format!("{head}{from}' to='{to}'{content}");
    let from_start = u32::try_from(head.len()).ok()?;
    let from_end = from_start + u32::try_from(from.as_str().len()).ok()?;
    let to_start = from_end + 6;
    let to_end = to_start + u32::try_from(to.as_str().len()).ok()?;
    Some(Stanza {
        kind,
        from: from.clone(),
        to: to.clone(),
        bytes: Bytes::from(bytes),
        insert_at: u32::try_from(name.len() + 1).ok()?,
        insert: None,
        from_span: from_start..from_end,
        to_span: to_start..to_end,
        id_span: 0..0,
        payload: Payload::None,
        origin: Origin { side, link: LinkId::NONE, ticket: 0 },
        arrived: now,
        made: false,
        attempts: 0,
        disk: Default::default(),
    })
}

/// The text of a message. The demo's texts hold no markup, so looking for the tags is enough.
fn body(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let start = text.find("<body>")? + "<body>".len();
    let end = start + text[start..].find("</body>")?;
    Some(&text[start..end])
}
