//! A side of the router at which presence is spoken as such, without a protocol: the partners' and the gateway's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use turnout_core::backend::{Backend, Composed, Destination, Fault, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Closed, Door, Event, LinkId, Outbox, Secured, Side};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Kind, Origin, Payload, PresenceType, Stanza};
use turnout_core::world::World;

/// A presence stanza.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub kind: PresenceType,
    pub from: String,
    pub to: String,
    /// `<show/>`; empty for none.
    pub show: String,
}

impl Word {
    pub fn new(kind: PresenceType, from: &str, to: &str) -> Self {
        Self { kind, from: from.to_owned(), to: to.to_owned(), show: String::new() }
    }

    fn xml(&self) -> String {
        let kind = match self.kind {
            PresenceType::Available => String::new(),
            kind => format!(" type='{}'", format!("{kind:?}").to_lowercase()),
        };
        let show = if self.show.is_empty() { String::new() } else { format!("<show>{}</show>", self.show) };
        format!("<presence from='{}' to='{}'{kind}>{show}</presence>", self.from, self.to)
    }

    fn stanza(&self, now: Instant, side: Side, link: LinkId, made: bool) -> Stanza {
        Stanza {
            kind: Kind::Presence(self.kind),
            from: Jid::parse(&self.from).unwrap(),
            to: Jid::parse(&self.to).unwrap(),
            bytes: self.xml().into(),
            insert_at: 9,
            insert: None,
            from_span: 0..0,
            to_span: 0..0,
            id_span: 0..0,
            payload: Payload::None,
            origin: Origin { side, link, ticket: 0 },
            arrived: now,
            made,
            attempts: 0,
            disk: Default::default(),
        }
    }

    fn of(stanza: &Stanza) -> Option<Self> {
        let Kind::Presence(kind) = stanza.kind else { return None };
        let text = std::str::from_utf8(&stanza.bytes).unwrap();
        let show =
            text.split_once("<show>").and_then(|(_, rest)| rest.split_once('<')).map_or("", |(s, _)| s);
        let (from, to) = (stanza.from.as_str(), stanza.to.as_str());
        Some(Self { show: show.to_owned(), ..Self::new(kind, from, to) })
    }
}

/// What the backends of a side share with the world.
#[derive(Default)]
pub struct Desk {
    /// To be read from a link, in order.
    pub said: BTreeMap<LinkId, VecDeque<Word>>,
    /// Written by the router.
    pub heard: VecDeque<Word>,
    /// Domains that cannot be reached.
    pub down: BTreeSet<String>,
    /// Links the router dialed, with the domain.
    pub links: BTreeMap<LinkId, String>,
}

/// One shard's backend.
pub struct Clerk {
    pub side: Side,
    pub desk: Arc<Mutex<Desk>>,
}

fn unreachable() -> Refusal {
    Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "down")
}

impl Backend for Clerk {
    fn accepted(&mut self, _: Instant, _: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {}

    fn dial(
        &mut self,
        _: Instant,
        link: LinkId,
        destination: &Destination,
        _: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        let Destination::Pair { theirs, .. } = destination else { return };
        let mut desk = self.desk.lock().unwrap();
        let down = desk.down.contains(theirs.as_str());
        if !down {
            desk.links.insert(link, theirs.as_str().to_owned());
        }
        out.events.push_back(if down {
            Event::Unready(link, Some(unreachable()))
        } else {
            Event::Ready(link)
        });
    }

    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}
    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}

    fn receive(&mut self, now: Instant, link: LinkId, _: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let word = self.desk.lock().unwrap().said.get_mut(&link).and_then(VecDeque::pop_front);
        out.arrivals.push_back(word.unwrap().stanza(now, self.side, link, false));
        Ok(())
    }

    fn send(&mut self, _: Instant, _: LinkId, stanza: Stanza, _: &mut Outbox) -> Sent {
        self.desk.lock().unwrap().heard.extend(Word::of(&stanza));
        Sent::Answered(stanza)
    }

    fn compose(&mut self, now: Instant, composed: &Composed, out: &mut Outbox) {
        let word = Word::new(composed.kind, composed.from.as_str(), composed.to.as_str());
        out.arrivals.push_back(word.stanza(now, Side::Partners, LinkId::NONE, true));
    }

    fn closed(&mut self, _: Instant, link: LinkId, _: &Closed, _: &mut Outbox) {
        self.desk.lock().unwrap().links.remove(&link);
    }

    /// Only a request to see somebody is answered (RFC 6121 §3.1.3).
    fn settle(&mut self, _: Instant, _: &Origin, verdict: Verdict<'_>, _: &mut Outbox) {
        if let Verdict::Refused(Some(stanza), _) = verdict
            && stanza.kind == Kind::Presence(PresenceType::Subscribe)
        {
            let word = Word::new(PresenceType::Error, stanza.to.bare_str(), stanza.from.bare_str());
            self.desk.lock().unwrap().heard.push_back(word);
        }
    }

    fn answer(&mut self, _: Instant, _: &Stanza, _: &mut Outbox) -> Result<(), Refusal> {
        Err(unreachable())
    }
    fn adopt(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) {}
    fn kept_for(&self, _: &str) -> usize {
        0
    }
    fn kept(&self) -> usize {
        0
    }
    fn configure(&mut self, _: Instant, _: &Arc<World>, _: &mut Outbox) {}
    fn drain(&mut self, _: Instant, _: &mut Outbox) {}
    fn wake(&mut self, _: Instant, _: &mut Outbox) {}
    fn deadline(&self) -> Option<Instant> {
        None
    }
}
