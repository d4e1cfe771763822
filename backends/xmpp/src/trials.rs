//! Pings and messages an administrator ordered, and whose answers are whose. Invariant: an answer counts for the one ping of that id
//! that was put to the domain it comes from, once; few wait at a time, and the oldest is forgotten first.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;
use turnout_core::io::{Handoff, LinkId, Outbox, Output, Side, Told};
use turnout_core::jid::{Domain, Jid};
use turnout_core::stanza::{IqType, Kind, MessageType, Origin, Stanza};
use turnout_core::trial::{Trial, Tried, ticket};

use crate::backend::XmppBackend;
use crate::liveness::{self, Pong};
use crate::made::{self, Address, Parts};
use crate::write;

/// Pings that may wait for their answers on one shard.
const WAITING_MAX: usize = 16;

/// A ping that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    id: String,
    theirs: Domain,
}

/// The pings that wait.
#[derive(Debug, Default)]
pub(crate) struct Trials(VecDeque<Waiting>);

impl Trials {
    fn put(&mut self, waiting: Waiting) {
        if self.0.len() >= WAITING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(waiting);
    }

    /// The number of the ping this answers, which waits no more.
    fn answered(&mut self, pong: &Pong) -> Option<u64> {
        let at = self.0.iter().position(|of| of.id == pong.id && of.theirs == pong.theirs)?;
        self.0.remove(at).map(|waiting| waiting.number)
    }
}

impl XmppBackend {
    /// Appends what a trial sends to the arrivals.
    pub(crate) fn send_trial(
        &mut self,
        now: Instant,
        (side, link): (Side, LinkId),
        number: u64,
        trial: &Trial,
        out: &mut Outbox,
    ) {
        let (kind, from, to) = match trial {
            Trial::Message { from, to, .. } => (Kind::Message(MessageType::Chat), from.clone(), to.clone()),
            Trial::Ping { from, to } => {
                let (Ok(from), Ok(to)) = (Jid::parse(from.as_str()), Jid::parse(to.as_str())) else { return };
                (Kind::Iq(IqType::Get), from, to)
            }
        };
        let is_ping = matches!(trial, Trial::Ping { .. });
        let secret = self.random.stream_id();
        let id = if is_ping { liveness::id(link, &secret) } else { format!("selftest-{secret}") };
        let (raw_from, raw_to) = (made::escaped(from.as_str()), made::escaped(to.as_str()));
        let parts = Parts {
            kind,
            from: Address { jid: &from, raw: &raw_from },
            to: Address { jid: &to, raw: &raw_to },
            id: Some(id.as_bytes()),
            side,
            now,
        };
        let fill = |out: &mut BytesMut| match trial {
            Trial::Message { text, .. } => {
                out.extend_from_slice(b"<body>");
                write::text(out, text);
                out.extend_from_slice(b"</body>");
            }
            Trial::Ping { .. } => out.extend_from_slice(b"<ping xmlns='urn:xmpp:ping'/>"),
        };
        let origin = Origin { side, link, ticket: ticket(number, is_ping) };
        // A message is a user's, and every rule for users holds for it.
        let stanza = Stanza { origin, made: is_ping, ..made::stanza(&parts, fill) };
        if let Trial::Ping { to, .. } = trial {
            self.trials.put(Waiting { number, id, theirs: to.clone() });
        }
        out.arrivals.push_back(stanza);
    }

    /// Carries what may be the answer to a ping to the shard that asked.
    pub(crate) fn carry(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) {
        let Some(pong) = Pong::of(stanza) else { return };
        let Some(link) = pong.link() else { return };
        if link.shard() == out.shard() {
            self.pong(now, &pong, out);
        } else if link.shard() < self.world.shards {
            let (side, bytes) = (self.side, pong.to_bytes());
            let message = Handoff::Message { side, link: stanza.origin.link, bytes };
            out.outputs.push(Output::Handoff(link.shard(), message));
        }
    }

    /// Takes an answer to whoever asked, which judges whether it is one to its own ping.
    pub(crate) fn pong(&mut self, now: Instant, pong: &Pong, out: &mut Outbox) {
        match pong.link() {
            Some(link) if link.is_trial() => {
                if let Some(number) = self.trials.answered(pong) {
                    let told = Told { tried: Some(Tried::Answered), ..Told::default() };
                    out.outputs.push(Output::Told(number, Box::new(told)));
                }
            }
            Some(link) => self.stream_pong(now, link, pong, out),
            None => {}
        }
    }
}
