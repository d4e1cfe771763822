//! The ends of stanzas. Invariant: each stanza ends here once, is counted once, and where it arrived on a link whose peer counts
//! on hearing of it (XEP-0198), the backend of that link is told once, wherever it is.

use std::time::Instant;

use super::Shard;
use crate::backend::{Destination, Verdict};
use crate::io::{Ended, Handoff, LinkId, Outbox, Output, Side};
use crate::link::{Link, Written};
use crate::notice::Notice;
use crate::refusal::{Bounce, Refusal, Retry};
use crate::route::unanswerable;
use crate::stanza::Stanza;
use crate::tally::DropRule;
use crate::trace::Step;

impl Shard {
    /// The driver has written more.
    pub(super) fn written(&mut self, now: Instant, link: LinkId, total: u64, out: &mut Outbox) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.set_written(total);
        self.settle_link(now, link, out);
    }

    /// The peer of a link that acknowledges has so many stanzas more.
    pub(super) fn acknowledged(&mut self, now: Instant, link: LinkId, count: u32, out: &mut Outbox) {
        let Some(state) = self.links.get_mut(&link) else { return };
        state.acknowledge(count);
        self.settle_link(now, link, out);
    }

    /// Takes from a link what the next hop has, and gives it what waits.
    fn settle_link(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(side) = self.links.get(&link).map(Link::side) else { return };
        while let Some(written) = self.links.get_mut(&link).and_then(Link::pop_written) {
            match written {
                Written::One(stanza) => self.delivered_to(now, stanza, side, out),
                Written::All(run) => {
                    if self.trace.watches() {
                        self.trace.run(now, &run, run.left(), Step::Delivered, side);
                    }
                    self.delivered_many(now, run.len(), run.arrived, side);
                    self.ended_many(now, (run.side, run.link), run.arrived, run.len(), out);
                    out.give_back(run.heads);
                }
                Written::Some { count, arrived, side: from, link: origin } => {
                    if self.trace.watches()
                        && let Some((run, heads)) =
                            self.links.get(&link).and_then(|link| link.just_gone(count))
                    {
                        self.trace.run(now, run, heads, Step::Delivered, side);
                    }
                    self.delivered_many(now, count, arrived, side);
                    self.ended_many(now, (from, origin), arrived, count, out);
                }
            }
        }
        let waits = |destination: &&Destination| {
            self.destinations.get(*destination).is_some_and(|waiting| !waiting.spool.is_empty())
        };
        if let Some(destination) = self.links.get(&link).and_then(Link::destination).filter(waits).cloned() {
            self.flush(now, &destination, out);
        }
    }

    /// The next hop has it.
    pub(super) fn delivered(&mut self, now: Instant, stanza: Stanza, out: &mut Outbox) {
        let side = self.side_towards(&stanza);
        self.delivered_to(now, stanza, side, out);
    }

    /// The next hop, on this side, has it.
    pub(super) fn delivered_to(&mut self, now: Instant, stanza: Stanza, side: Side, out: &mut Outbox) {
        self.trace.step(now, &stanza, Step::Delivered, side);
        if stanza.made {
            self.tally.made.delivered += 1;
            self.heard_of(now, side, out);
        } else {
            self.delivered_many(now, 1, stanza.arrived, side);
        }
        self.ended(now, &stanza, out);
        if stanza.origin.ticket != 0 {
            self.tell(now, stanza.origin, Ok(()), out);
        }
    }

    /// It is not delivered: its sender is told, or it is dropped by the rule that forbids telling.
    pub(super) fn refuse(&mut self, now: Instant, mut stanza: Stanza, refusal: Refusal, out: &mut Outbox) {
        if stanza.made && self.draining.is_some() && self.may_be_left(&stanza) {
            return self.leave(&stanza);
        }
        self.count_refusal(&refusal);
        if let Some(detail) = &refusal.detail {
            let text = format!("{} refused: {}: {detail}", stanza.kind.element(), refusal.condition.as_str());
            out.note(
                Notice::StanzaRefused,
                stanza.origin.side,
                stanza.origin.link,
                stanza.from.domain(),
                text,
            );
        }
        if refusal.retry == Retry::Later {
            self.presence_in_vain(now, &stanza, out);
        }
        let rule = if stanza.made { Some(DropRule::MadeUndeliverable) } else { unanswerable(stanza.kind) };
        let rule = rule.or_else(|| (refusal.bounce == Bounce::No).then_some(DropRule::ForRouter));
        let step = rule.map_or(Step::Bounced, Step::Dropped);
        self.trace.failed(now, &stanza, step, &|| refusal.to_string());
        if let Some(rule) = rule {
            self.flow(stanza.made).dropped[rule as usize] += 1;
        } else {
            self.flow(stanza.made).bounced += 1;
            let side = stanza.origin.side;
            self.side(side).bounced += 1;
        }
        if stanza.origin.ticket != 0 {
            self.tell(now, stanza.origin, Err(refusal), out);
        } else if rule.is_none() {
            let (origin, arrivals) = (stanza.origin, out.arrivals.pieces());
            self.backend(origin.side).settle(now, &origin, Verdict::Refused(Some(&stanza), &refusal), out);
            if out.arrivals.pieces() > arrivals && self.pass_on(&mut stanza, out) {
                return;
            }
        }
        self.ended(now, &stanza, out);
    }

    /// So many stanzas of a run are delivered.
    pub(super) fn delivered_many(&mut self, now: Instant, count: usize, arrived: Instant, side: Side) {
        let count = count as u64;
        self.tally.passed.delivered += count;
        let waited = now.saturating_duration_since(arrived);
        let tally = self.side(side);
        tally.delivered += count;
        tally.latency.observe_many_us(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), count);
    }

    /// A stanza found its end.
    pub(super) fn ended(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) {
        if let Some(kept) = &stanza.disk.kept {
            self.off_disk(now, kept, out);
        } else if !stanza.made {
            self.ended_many(now, (stanza.origin.side, stanza.origin.link), stanza.arrived, 1, out);
        }
    }

    /// What was owed to a link that is gone is owed to nobody.
    pub(super) fn tell_ended(&mut self, now: Instant, ended: Ended, out: &mut Outbox) {
        let count = ended.count as usize;
        self.ended_many(now, (ended.side, ended.link), ended.arrived, count, out);
    }

    /// So many stanzas that arrived together found their end: the backend they came by is told, if it wants to know.
    fn ended_many(
        &mut self,
        now: Instant,
        (side, link): (Side, LinkId),
        arrived: Instant,
        count: usize,
        out: &mut Outbox,
    ) {
        if self.chained.is_empty() || !self.chained.contains(&link) {
            return;
        }
        let ended = Ended { side, link, arrived, count: u32::try_from(count).unwrap_or(u32::MAX) };
        if link.shard() == self.index {
            self.backend(side).ended(now, &ended, out);
        } else {
            out.outputs.push(Output::Handoff(link.shard(), Handoff::Ended(ended)));
        }
    }

    /// A link is chained: every shard has to know, before it is handed what arrived on it.
    pub(super) fn chain(&mut self, link: LinkId, out: &mut Outbox) {
        if self.links.contains_key(&link) && self.chained.insert(link) {
            self.tell_chained(link, true, out);
        }
    }

    /// A link is gone, so nobody counts on hearing of what arrived on it.
    pub(super) fn unchain(&mut self, link: LinkId, out: &mut Outbox) {
        if self.chained.remove(&link) {
            self.tell_chained(link, false, out);
        }
    }

    fn tell_chained(&self, link: LinkId, chained: bool, out: &mut Outbox) {
        let others = (0..self.world.shards).filter(|shard| *shard != self.index);
        out.outputs.extend(others.map(|shard| Output::Handoff(shard, Handoff::Chained(link, chained))));
    }
}
