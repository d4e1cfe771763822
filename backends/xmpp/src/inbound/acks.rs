//! What we acknowledge to a peer that brings stanzas (XEP-0198). Invariant: `h` covers only stanzas whose end is known, in the order
//! they came: delivered to the next hop, bounced, answered, or dropped by a rule. So an acknowledgement is a promise that the
//! router no longer has to keep, and what dies with it was never acknowledged.
//!
//! Which stanza ended is told by when it arrived ([`Ended::arrived`]): all of one read bear the same time, and a read counts when
//! all of it has ended and all before it has.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use turnout_core::io::{Close, Ended};
use turnout_core::notice::Notice;

use super::{Inbound, Phase};
use crate::error::StreamCondition;
use crate::frame::Element;
use crate::management::{self, on_the_wire};
use crate::negotiate;
use crate::sessions::{self, Claim, Session};
use crate::turn::{Flow, Step, Turn, fault};

/// Reads told apart; the stanzas of later ones count together.
const READS_MAX: usize = 4096;

/// After so many stanzas a peer that does not ask is told all the same, so that what it keeps stays small.
const UNTOLD_MAX: u64 = 256;

/// Stanzas that arrived at one time, or at several where there are too many to tell apart.
#[derive(Debug)]
struct Read {
    /// The last time of them.
    at: Instant,
    /// How many stanzas came before these.
    before: u64,
    /// How many have not ended.
    open: u64,
}

/// The count of one stream in, from `<enable/>` on.
#[derive(Debug)]
pub(crate) struct Acks {
    /// No stanza that counts arrived before this time.
    since: Instant,
    received: u64,
    /// Reads with stanzas that have not ended, or that wait for earlier ones; the oldest first.
    reads: VecDeque<Read>,
    /// What the peer was told last.
    told: u64,
    /// It has asked when so many had been received, and was told of fewer.
    asked: Option<u64>,
    /// The secret in the id by which the peer may resume, where it may.
    secret: Option<String>,
    /// It goes on with a stream that had broken off.
    resumed: bool,
}

impl Acks {
    /// Begins to count. What arrived until now, this very instant included, does not.
    pub(crate) fn new(now: Instant) -> Self {
        let since = now + Duration::from_nanos(1);
        Self {
            since,
            received: 0,
            reads: VecDeque::new(),
            told: 0,
            asked: None,
            secret: None,
            resumed: false,
        }
    }

    /// Whether it goes on with a stream that had broken off.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The peer asks what is handled.
    pub(crate) fn ask(&mut self) {
        self.asked = Some(self.received);
    }

    /// Whether it is time to say so: it was promised, or much is untold.
    pub(crate) fn is_due(&self) -> bool {
        let handled = self.handled();
        self.asked.is_some_and(|asked| handled >= asked) || handled - self.told >= UNTOLD_MAX
    }

    /// Says it.
    pub(crate) fn tell(&mut self) -> Bytes {
        let handled = self.handled();
        self.told = handled;
        if self.asked.is_some_and(|asked| handled >= asked) {
            self.asked = None;
        }
        management::answer(on_the_wire(handled))
    }

    /// Whether more is handled than was told.
    pub(crate) fn is_untold(&self) -> bool {
        self.handled() > self.told
    }

    /// Goes on counting where another stream broke off. All that came on that one has ended.
    fn resumed(now: Instant, handled: u64) -> Self {
        Self { received: handled, told: handled, resumed: true, ..Self::new(now) }
    }

    /// Whether the peer may resume.
    pub(crate) fn is_resumable(&self) -> bool {
        self.secret.is_some()
    }

    /// The secret by which it may.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// Whether stanzas came in that have not ended.
    pub(crate) fn owes(&self) -> bool {
        self.handled() < self.received
    }

    /// How much there is to remember.
    pub(crate) fn reads(&self) -> usize {
        self.reads.len()
    }

    /// So many stanzas came in; gives the time they are to be stamped with.
    fn receive(&mut self, now: Instant, count: u64) -> Instant {
        let at = now.max(self.since);
        let full = self.reads.len() >= READS_MAX;
        match self.reads.back_mut() {
            Some(read) if read.at == at || full => {
                read.at = at;
                read.open += count;
            }
            _ => self.reads.push_back(Read { at, before: self.received, open: count }),
        }
        self.received += count;
        at
    }

    /// So many that were stamped with this time have ended.
    pub(crate) fn end(&mut self, at: Instant, count: u64) {
        if at < self.since {
            return;
        }
        let place = self.reads.partition_point(|read| read.at < at);
        if let Some(read) = self.reads.get_mut(place) {
            read.open = read.open.saturating_sub(count);
        }
        while self.reads.front().is_some_and(|read| read.open == 0) {
            self.reads.pop_front();
        }
    }

    /// Stanzas handled: all before the first that has not ended.
    pub(crate) fn handled(&self) -> u64 {
        self.reads.front().map_or(self.received, |read| read.before)
    }
}

/// Counts stanzas that are about to be given away; gives the time to stamp them with.
pub(crate) fn stamp(acks: &mut Option<Acks>, count: usize, now: Instant) -> Instant {
    match acks {
        Some(acks) => acks.receive(now, count as u64),
        None => now,
    }
}

impl Inbound {
    /// A stanza that goes nowhere, as it was refused or dropped here, has ended at once.
    pub(super) fn ended_here(&mut self, turn: &mut Turn<'_>) {
        let at = stamp(&mut self.acks, 1, turn.now);
        self.count_ended(at, 1, turn);
    }

    /// Stanzas of this stream found their end.
    pub(crate) fn end_of(&mut self, ended: &Ended, turn: &mut Turn<'_>) -> Flow {
        self.count_ended(ended.arrived, u64::from(ended.count), turn);
        match self.phase {
            Phase::Leaving(_) if !self.owes() => self.ended(turn),
            _ => Flow::On,
        }
    }

    /// The peer ended the stream. Before we do it hears what became of all it brought, as far as that is known soon: what it has not
    /// heard of it would send again, or take for lost.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) -> Flow {
        if !self.says() || !self.owes() {
            return self.ended(turn);
        }
        self.phase = Phase::Leaving(turn.now);
        Flow::On
    }

    fn count_ended(&mut self, at: Instant, count: u64, turn: &mut Turn<'_>) {
        let Some(acks) = &mut self.acks else { return };
        acks.end(at, count);
        if acks.is_due() {
            self.tell_handled(turn);
        }
    }

    /// Says how many are handled, unless it is too late for that.
    pub(super) fn tell_handled(&mut self, turn: &mut Turn<'_>) {
        let says = self.says();
        let Some(acks) = self.acks.as_mut().filter(|_| says) else { return };
        turn.send(acks.tell());
    }

    /// The last word before our end of the stream: what was not told yet.
    pub(super) fn tell_last(&mut self, turn: &mut Turn<'_>) {
        if self.acks.as_ref().is_some_and(Acks::is_untold) {
            self.tell_handled(turn);
        }
    }

    /// Whether stanzas came in that have not ended.
    fn owes(&self) -> bool {
        self.acks.as_ref().is_some_and(Acks::owes)
    }

    /// An element of stream management.
    pub(super) fn manage(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        match element.name().local {
            "enable" => self.enable(element, turn),
            "resume" => self.resume(element, turn),
            "r" if self.acks.is_some() => {
                if let Some(acks) = &mut self.acks {
                    acks.ask();
                }
                self.tell_handled(turn);
                Ok(Flow::On)
            }
            "a" if self.acks.is_some() => self.answered(element, turn),
            _ => {
                let text = "that element of stream management is not expected now".to_owned();
                self.fail_with(turn, (StreamCondition::UnsupportedStanzaType, text))
            }
        }
    }

    fn enable(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        if let Some(condition) = self.unmanageable(turn) {
            turn.send(management::failed(condition));
            return Ok(Flow::On);
        }
        let mut acks = Acks::new(turn.now);
        let seconds = turn.world.policy.limits().resumption_seconds;
        let wanted = self.header.as_ref().is_some_and(|header| management::wants_resumption(element, header));
        if wanted && seconds > 0 && self.back.is_none() {
            let secret = turn.random.stream_id();
            turn.send(management::enabled(&sessions::id(turn.link, &secret), seconds));
            acks.secret = Some(secret);
        } else {
            turn.send(management::ENABLED);
        }
        self.acks = Some(acks);
        turn.out.chained.push(turn.link);
        self.count_back(turn);
        Ok(Flow::On)
    }

    /// Why there is nothing to count, or nothing more.
    fn unmanageable(&self, turn: &Turn<'_>) -> Option<&'static str> {
        if !turn.world.policy.limits().stream_management {
            Some("feature-not-implemented")
        } else if self.acks.is_some() || self.goes_back() || !self.pairs.any_proven() || !self.says() {
            Some("unexpected-request")
        } else {
            None
        }
    }

    /// The peer wants to go on where a stream of before broke off. Whether that is known is found out where it ended. This stream's own proof
    /// is what counts: the id opens nothing that was not proven here (B-27).
    fn resume(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        if let Some(condition) = self.unmanageable(turn) {
            turn.send(management::failed(condition));
            return Ok(Flow::On);
        }
        let Some(header) = &self.header else { return Ok(Flow::On) };
        let (id, handled) = (management::previd(element, header), management::handled(element, header));
        let (Some(id), Some(handled)) = (id, handled) else {
            let text = "<resume/> needs 'previd', and 'h', a number".to_owned();
            return self.fail_with(turn, (StreamCondition::BadFormat, text));
        };
        if handled != 0 {
            return self.never_sent(handled, turn);
        }
        let pair = self.ours.clone().zip(self.theirs.clone()).filter(|_| self.back.is_none());
        let pair = pair.filter(|(ours, theirs)| self.pairs.is_proven(ours.as_str(), theirs.as_str()));
        match pair.and_then(|(ours, theirs)| Claim::new(&id, turn.link, ours, theirs)) {
            Some(claim) => {
                self.resuming = Some(id);
                turn.claims.push(claim);
            }
            None => turn.send(management::failed("item-not-found")),
        }
        Ok(Flow::On)
    }

    /// What became of the stream this one wants to resume: how many of its stanzas were handled.
    pub(crate) fn claimed(&mut self, handled: Option<u64>, turn: &mut Turn<'_>) {
        let Some(id) = self.resuming.take().filter(|_| self.says()) else { return };
        match handled {
            Some(handled) => {
                self.acks = Some(Acks::resumed(turn.now, handled));
                turn.out.chained.push(turn.link);
                turn.send(management::resumption("resumed", &id, on_the_wire(handled)));
                let text = format!("{} goes on with its stream where it broke off", self.about());
                turn.note(Notice::StreamResumed, self.about(), text);
            }
            None => turn.send(management::failed("item-not-found")),
        }
    }

    /// The connection is gone. What is to be remembered, as the peer may come back to it.
    pub(crate) fn suspend(self, until: Instant) -> Option<Session> {
        Some(Session::new(self.acks?, self.ours?, self.theirs?, until))
    }

    /// Whether the peer may come back to this stream when its connection is gone.
    pub(crate) fn is_resumable(&self) -> bool {
        self.phase == Phase::Open && self.acks.as_ref().is_some_and(Acks::is_resumable)
    }

    /// Whether this is the stream that a claim is for.
    pub(crate) fn is_claimed_by(&self, claim: &Claim) -> bool {
        let secret = self.acks.as_ref().and_then(Acks::secret);
        let pair = (self.ours.as_ref(), self.theirs.as_ref());
        self.is_resumable() && claim.opens(secret) && pair == (Some(&claim.ours), Some(&claim.theirs))
    }

    /// The peer says that its connection is gone and has come back on another.
    pub(crate) fn replaced(&mut self, turn: &mut Turn<'_>) {
        let text = "resumed on another connection";
        turn.send(negotiate::last_words(BytesMut::new(), StreamCondition::Conflict, text, false));
        turn.out.close(turn.link, Close::Abort);
    }

    /// The peer acknowledges what went back, or what we never sent.
    fn answered(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let handled = self.header.as_ref().and_then(|header| management::handled(element, header));
        match handled {
            Some(0) if !self.goes_back() => Ok(Flow::On),
            None => {
                let text = "<a/> needs 'h', a number".to_owned();
                self.fail_with(turn, (StreamCondition::BadFormat, text))
            }
            Some(handled) if self.heard_back(handled, turn) => Ok(Flow::On),
            Some(handled) => self.never_sent(handled, turn),
        }
    }

    fn never_sent(&mut self, handled: u32, turn: &mut Turn<'_>) -> Step {
        if self.says() {
            turn.send(management::too_high(handled, self.sent_back()));
        }
        turn.out.close(turn.link, Close::Flush);
        Err(fault(StreamCondition::UndefinedCondition, "acknowledged a stanza that was never sent"))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn only_what_ended_in_front_counts() {
        let start = Instant::now();
        let mut acks = Acks::new(start);
        let later = |millis| start + Duration::from_millis(millis);
        let first = acks.receive(start, 2);
        assert!(first > start, "what came before <enable/> in the same read is told apart");
        let second = acks.receive(later(1), 3);
        let third = acks.receive(later(2), 1);
        acks.end(start, 2);
        assert_eq!(acks.handled(), 0);
        acks.end(third, 1);
        acks.end(second, 2);
        acks.end(first, 1);
        assert_eq!(acks.handled(), 0);
        acks.end(first, 1);
        assert_eq!(acks.handled(), 2);
        acks.end(second, 1);
        assert_eq!(acks.handled(), 6);
        assert_eq!(acks.receive(later(2), 1), third, "more of the same time");
        assert_eq!(acks.handled(), 6);
        acks.end(third, 1);
        assert_eq!(acks.handled(), 7);
    }

    #[test]
    fn reads_beyond_what_is_told_apart_count_together() {
        let start = Instant::now();
        let mut acks = Acks::new(start);
        let at = |n: usize| start + Duration::from_millis(1 + n as u64);
        for n in 0..READS_MAX + 10 {
            acks.receive(at(n), 1);
        }
        assert_eq!(acks.reads.len(), READS_MAX);
        for n in (1..READS_MAX + 10).rev() {
            acks.end(at(n), 1);
            assert_eq!(acks.handled(), 0);
        }
        acks.end(at(0), 1);
        assert_eq!(acks.handled(), READS_MAX as u64 + 10);
    }
}
