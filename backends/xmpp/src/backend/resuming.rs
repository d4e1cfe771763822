//! Streams that broke and go on (XEP-0198 §5), carried between the streams, and the shards, that know of them. Invariant: what a broken
//! stream out leaves is good for one attempt, and for the same pair of domains; see [`crate::sessions`] for streams in.

use std::time::{Duration, Instant};

use turnout_core::io::{Handoff, LinkId, Outbox, Output};

use super::{Pair, Slot, Stream, XmppBackend};
use crate::outbound::Outbound;
use crate::sessions::{Claim, Claimed};
use crate::turn::Flow;

/// Streams out that broke, remembered.
const BROKEN_MAX: usize = 4096;

impl XmppBackend {
    /// Whether what this link carried may be resumed when it is gone.
    pub(super) fn is_resumable(&self, link: LinkId) -> bool {
        match self.streams.get(&link) {
            Some(Slot { stream: Stream::In(stream), .. }) => {
                stream.is_resumable() && self.sessions.has_room() && !self.draining
            }
            Some(Slot { stream: Stream::Out(stream), .. }) => stream.is_resumable() && !self.leaving,
            None => self.sessions.keep(link),
        }
    }

    /// A connection is gone: remembers what its stream needs to go on. False where nothing of it is remembered.
    pub(super) fn suspend(&mut self, now: Instant, link: LinkId) -> bool {
        if !self.is_resumable(link) {
            return false;
        }
        match self.remove(now, link) {
            Some(Stream::In(stream)) => {
                let seconds = self.world.policy.limits().resumption_seconds;
                let until = now + Duration::from_secs(seconds.into());
                if let Some(session) = stream.suspend(until) {
                    self.sessions.insert(link, session);
                    self.timers.set(until, link);
                }
            }
            Some(Stream::Out(stream)) => {
                if self.broken.len() >= BROKEN_MAX {
                    self.broken.retain(|_, broken| !broken.is_over(now));
                }
                if let Some(broken) = stream.broken(now).filter(|_| self.broken.len() < BROKEN_MAX) {
                    let (ours, theirs) = stream.pair();
                    self.broken.insert((ours.clone(), theirs.clone()), broken);
                }
            }
            None => (),
        }
        true
    }

    /// A stream is dialed: it goes on where the last one of its pair broke off.
    pub(super) fn go_on(&mut self, now: Instant, pair: &Pair, stream: &mut Outbound) {
        if let Some(broken) = self.broken.remove(pair).filter(|broken| !broken.is_over(now)) {
            stream.go_on_from(broken);
        }
    }

    /// Takes a claim to the shard that would know the stream.
    pub(super) fn carry_claim(&mut self, now: Instant, claim: &Claim, out: &mut Outbox) {
        let shard = claim.link.shard();
        if shard == out.shard() {
            self.claim(now, claim, out);
        } else if shard < self.world.shards {
            let (side, link, bytes) = (self.side, claim.by, claim.to_bytes());
            out.outputs.push(Output::Handoff(shard, Handoff::Message { side, link, bytes }));
        } else {
            self.claimed(now, Claimed { by: claim.by, handled: None }, out);
        }
    }

    /// A stream somewhere wants to go on with one of this shard. That one may look alive still: its peer knows better.
    pub(super) fn claim(&mut self, now: Instant, claim: &Claim, out: &mut Outbox) {
        let link = claim.link;
        let is_open = match self.streams.get(&link) {
            Some(Slot { stream: Stream::In(stream), .. }) => link != claim.by && stream.is_claimed_by(claim),
            _ => false,
        };
        if is_open && self.is_resumable(link) {
            self.run(now, link, out, |stream, turn| {
                if let Stream::In(stream) = stream {
                    stream.replaced(turn);
                }
                Ok(Flow::On)
            });
            self.suspend(now, link);
        }
        if self.sessions.claim(now, link, claim) {
            if let Some(due) = self.sessions.due(link) {
                self.timers.set(due, link);
            }
            self.answer_claim(now, link, out);
        } else {
            self.claimed(now, Claimed { by: claim.by, handled: None }, out);
        }
    }

    /// Answers the claim for a session as soon as everything it brought has ended, or time is up.
    pub(super) fn answer_claim(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        if let Some(claimed) = self.sessions.answer(now, link) {
            out.unchained.push(link);
            self.claimed(now, claimed, out);
        }
    }

    /// Takes the answer to the stream that claimed.
    pub(super) fn claimed(&mut self, now: Instant, claimed: Claimed, out: &mut Outbox) {
        let link = claimed.by;
        if link.shard() != out.shard() {
            let message = Handoff::Message { side: self.side, link, bytes: claimed.to_bytes() };
            out.outputs.push(Output::Handoff(link.shard(), message));
            return;
        }
        self.run(now, link, out, |stream, turn| {
            if let Stream::In(stream) = stream {
                stream.claimed(claimed.handled, turn);
            }
            Ok(Flow::On)
        });
    }

    /// A session's time may be up.
    pub(super) fn session_due(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        self.answer_claim(now, link, out);
        if self.sessions.is_over(now, link) {
            self.sessions.remove(link);
            out.unchained.push(link);
        }
    }
}
