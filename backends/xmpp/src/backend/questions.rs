//! What streams need of each other: a key is taken to the server it claims to come from, the answer to the stream that waits for it.
//! Invariant: a key is never shown on the stream it came on (XB-03).

use std::time::Instant;

use turnout_core::io::Outbox;
use turnout_core::notice::Notice;
use turnout_core::refusal::Condition;

use super::{Stream, XmppBackend};
use crate::dialback::{Answer, Ask, Outcome};
use crate::outbound::{Outbound, Purpose};
use crate::terms::Terms;
use crate::turn::Flow;

impl XmppBackend {
    /// Takes keys to the servers they claim to come from, and the answers back to the streams they were given on.
    pub(super) fn carry_questions(&mut self, now: Instant, out: &mut Outbox) {
        loop {
            if let Some(ask) = self.asks.pop() {
                self.verify(now, ask, out);
            } else if let Some(answer) = self.answers.pop() {
                let link = answer.ask.inbound;
                let told = self.with(now, link, out, |stream, turn| match stream {
                    Stream::In(stream) => stream.verdict(&answer, turn),
                    Stream::Out(_) => Ok(Flow::On),
                });
                if let Err(fault) = told {
                    out.note(Notice::PeerFaultAside, self.side, link, fault.condition, fault.text);
                }
            } else if let Some(claim) = self.claims.pop() {
                self.carry_claim(now, &claim, out);
            } else {
                return;
            }
        }
    }

    /// Role of the receiving server: asks the authoritative one, on a stream of its own (never on the one the key came on, XB-03).
    fn verify(&mut self, now: Instant, ask: Ask, out: &mut Outbox) {
        let pair = (ask.ours.clone(), ask.theirs.clone());
        let mut ask = Some(ask);
        if let Some(&link) = self.verifiers.get(&pair) {
            let told = self.with(now, link, out, |stream, turn| {
                if let (Stream::Out(stream), Some(question)) = (stream, ask.take()) {
                    ask = stream.ask(question, turn);
                }
                Ok(Flow::On)
            });
            if let Err(fault) = told {
                out.note(Notice::PeerFaultAside, self.side, link, fault.condition, fault.text);
            }
        }
        let Some(ask) = ask else { return };
        let terms = Terms::of(&self.world, self.side, &ask.theirs);
        let is_listed = terms.as_ref().is_some_and(|terms| terms.is_listed);
        let room = self.world.flow.room;
        let most = if is_listed { room.verify_streams } else { room.verify_streams_unlisted };
        let (Some(terms), true) = (terms, self.verifying < most) else {
            let outcome = Outcome::Error(Condition::ResourceConstraint);
            self.answers.push(Answer { ask, outcome });
            return;
        };
        let link = out.next_link();
        out.dialed.push((link, self.side));
        let (ours, theirs) = pair.clone();
        let stream = Outbound::new(now, ours, theirs, Purpose::Verify, terms, self.limits());
        self.connect(link, &pair, None, &stream, out);
        self.insert(link, Stream::Out(Box::new(stream)));
        self.verifying += 1;
        self.verifiers.insert(pair, link);
        let told = self.with(now, link, out, |stream, turn| {
            if let Stream::Out(stream) = stream
                && let Some(ask) = stream.ask(ask, turn)
            {
                turn.answers.push(Answer { ask, outcome: Outcome::Error(Condition::ResourceConstraint) });
            }
            Ok(Flow::On)
        });
        if let Err(fault) = told {
            out.note(Notice::PeerFaultAside, self.side, link, fault.condition, fault.text);
        }
    }
}
