//! Stanzas that come in runs: nearly all of them. Invariant: a run that leaves here lies between two domains that were proven on
//! this stream; a stanza between any others is read again, alone, by the rules that know what to say of it.

use bytes::Bytes;
use turnout_core::run::{Head, Run};

use super::{Inbound, Phase, acks};
use crate::error::StreamCondition;
use crate::turn::{Flow, Step, Turn};

impl Inbound {
    /// Whether stanzas may be taken in runs now: nothing else than stanzas and the end is expected.
    pub(super) fn takes_runs(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing(_))
            && self.pairs.any_proven()
            && self.resuming.is_none()
            && !self.tls_required()
    }

    /// Takes plain stanzas, in order; `heads` lie in `bytes`.
    pub(super) fn run(&mut self, bytes: &Bytes, heads: Vec<Head>, turn: &mut Turn<'_>) -> Step {
        let mut done = 0;
        while let Some(head) = heads.get(done) {
            let of = |head: &Head| {
                (
                    bytes.get(head.to.domain()).unwrap_or_default(),
                    bytes.get(head.from.domain()).unwrap_or_default(),
                )
            };
            let (to, from) = of(head);
            let Some((ours, theirs)) = self.pairs.proven_pair(to, from) else {
                if self.alone(bytes.slice(head.whole()), turn)? == Flow::Over {
                    turn.out.give_back(heads);
                    return Ok(Flow::Over);
                }
                done += 1;
                continue;
            };
            let rest = heads.get(done..).unwrap_or_default();
            let count = 1 + rest.iter().skip(1).take_while(|other| of(other) == (to, from)).count();
            let arrived = acks::stamp(&mut self.acks, count, turn.now);
            let run = Run {
                bytes: bytes.clone(),
                heads: Vec::new(),
                gone: 0,
                from: theirs.clone(),
                to: ours.clone(),
                side: turn.side,
                link: turn.link,
                arrived,
                order: 0,
                lang: self.lang.clone(),
            };
            if count == heads.len() {
                turn.out.arrivals.push_run(Run { heads, ..run });
                return Ok(Flow::On);
            }
            let mut part = turn.out.heads();
            part.extend(rest.iter().take(count));
            turn.out.arrivals.push_run(Run { heads: part, ..run });
            done += count;
        }
        turn.out.give_back(heads);
        Ok(Flow::On)
    }

    /// A stanza between domains that were not proven as they are written.
    fn alone(&mut self, bytes: Bytes, turn: &mut Turn<'_>) -> Step {
        match self.framer.reread(bytes) {
            Some(element) => self.element(element, turn),
            None => {
                let text = "a stanza was read in two ways";
                self.fail(turn, StreamCondition::InternalServerError, text, false)
            }
        }
    }
}
