//! Runs on their way through a shard. Invariant: a stanza of a run goes exactly the way it would go alone; where the way of one is
//! not plain it leaves its run and takes the general path, and as that hangs on its two users alone, nothing of one pair of users
//! overtakes anything else of it.

use std::time::Instant;

use super::Shard;
use super::deliver::State;
use crate::backend::{Destination, SentRun};
use crate::home::BackendKind;
use crate::io::{Handoff, LinkId, Outbox, Output, Side};
use crate::placement::owner_of_domain;
use crate::route::{View, Way, route_run};
use crate::run::Run;
use crate::stanza::{Kind, PresenceType};
use crate::trace::Step;

impl Shard {
    /// A run entered the router.
    pub(super) fn arrive_run(&mut self, now: Instant, mut run: Run, out: &mut Outbox) {
        run.order = self.came;
        self.came += run.bytes.len() as u64;
        let count = run.len() as u64;
        self.tally.passed.received += count;
        self.side(run.side).received += count;
        if self.trace.watches() {
            self.trace.run(now, &run, run.left(), Step::Arrived, run.side);
        }
        self.record_run(&run, out);
        if !self.charge_run(now, &run) {
            self.arrive_each(now, &run, out);
            return out.give_back(run.heads);
        }
        let mut ways = std::mem::take(&mut self.ways);
        let view = View { world: &self.world, directory: &self.directory };
        route_run(view, &run, &mut self.found, &mut ways);
        self.leave_out(&run, &mut ways);
        match ways.first() {
            Some(Way::Alone) => self.split(now, run, &mut ways, out),
            Some(&way) if ways.iter().all(|other| *other == way) => self.forward_run(now, run, way, out),
            Some(_) => self.split(now, run, &mut ways, out),
            None => out.give_back(run.heads),
        }
        self.ways = ways;
    }

    /// Takes out of the run what a backend that knows no runs will send, presence that changes a contact, and what a move
    /// concerns.
    fn leave_out(&self, run: &Run, ways: &mut [Way]) {
        let nobody = self.holds.concern_nobody(run.side);
        let mut last = (Way::Alone, Way::Alone);
        for (head, way) in run.left().iter().zip(ways) {
            if *way != last.0 {
                let takes_runs = match *way {
                    Way::Home(home) => {
                        self.world.homes.get(home).is_some_and(|home| home.backend == BackendKind::Xmpp)
                            && !self.is_retired(Side::Home(home))
                    }
                    Way::Partner => true,
                    Way::Alone | Way::Gone => false,
                };
                last = (*way, if takes_runs { *way } else { Way::Alone });
            }
            *way = last.1;
            if self.keeps_contacts && is_heeded(run.side, head.kind) {
                *way = Way::Alone;
            }
            if !nobody {
                let text = |range| std::str::from_utf8(run.text(range)).unwrap_or_default();
                if self.holds.concern(text(head.to.bare()), text(head.from.bare()), run.side) {
                    *way = Way::Alone;
                }
            }
        }
    }

    /// Sends the stanzas of a run their several ways.
    fn split(&mut self, now: Instant, run: Run, ways: &mut [Way], out: &mut Outbox) {
        while let Some(way) = ways.iter().copied().find(|way| *way != Way::Alone && *way != Way::Gone) {
            let mut heads = out.heads();
            for (head, own) in run.left().iter().zip(ways.iter_mut()) {
                if *own == way {
                    *own = Way::Gone;
                    heads.push(*head);
                }
            }
            let part = Run { heads, gone: 0, ..run.without_heads() };
            self.forward_run(now, part, way, out);
        }
        for (head, way) in run.left().iter().zip(ways.iter()) {
            if *way == Way::Alone {
                self.arrive_uncounted(now, run.stanza(head), out);
            }
        }
        out.give_back(run.heads);
    }

    /// Goes the way of a whole run: here, or on the shard that owns it.
    fn forward_run(&mut self, now: Instant, run: Run, way: Way, out: &mut Outbox) {
        let side = match way {
            Way::Home(home) => Side::Home(home),
            Way::Partner | Way::Alone | Way::Gone => Side::Partners,
        };
        if side == Side::Partners {
            let owner = owner_of_domain(run.to.as_str(), self.world.shards);
            if owner != self.index {
                self.note_brought(now, side, (run.link, run.len()), &run.from, &run.to);
                self.tally.passed.handed_out += run.len() as u64;
                if self.trace.watches() {
                    self.trace.run(now, &run, run.left(), Step::HandedTo(owner), side);
                }
                out.outputs.push(Output::Handoff(owner, Handoff::Run(run)));
                return;
            }
        }
        self.note_brought(now, side, (run.link, run.len()), &run.from, &run.to);
        let run = match side {
            Side::Home(home) => match self.detour_run(now, home, run, out) {
                Some(run) => run,
                None => return,
            },
            Side::Partners => run,
        };
        let destination = Destination::Pair { side, ours: run.from.clone(), theirs: run.to.clone() };
        self.deliver_run(now, destination, run, out);
    }

    /// A run another shard has routed.
    pub(super) fn adopt_run(&mut self, now: Instant, run: Run, out: &mut Outbox) {
        self.tally.passed.handed_in += run.len() as u64;
        self.forward_run(now, run, Way::Partner, out);
    }

    /// As [`Self::deliver`], for a run.
    pub(super) fn deliver_run(&mut self, now: Instant, destination: Destination, run: Run, out: &mut Outbox) {
        if let Some(link) = self.open_link(&destination) {
            self.send_run(now, link, &destination, run, out);
            return;
        }
        let octets = run.bytes_left();
        let source = (run.side, run.link);
        let may_wait = self.may_wait(&destination, source, octets);
        let run = match self.destinations.get_mut(&destination) {
            // A destination that has to be dialed, or has no room, is seen to on the path of single stanzas.
            Some(waiting)
                if may_wait
                    && self.disk.is_none()
                    && !matches!(waiting.state, State::Idle)
                    && self.spooled_bytes_bound + octets <= self.world.flow.room.shard_spool_bytes =>
            {
                if self.trace.watches() {
                    self.trace.run(now, &run, run.left(), Step::Waits, destination.side());
                }
                match waiting.spool.push_run(run, &self.world.flow.room) {
                    Ok(()) => {
                        self.spooled_bytes_bound += octets;
                        self.set_timer(&destination);
                        self.press(now, &destination, source, out);
                        return;
                    }
                    Err(run) => run,
                }
            }
            _ => run,
        };
        self.deliver_each(now, &destination, &run, out);
    }

    /// Gives the stanzas of a run to a destination, each alone.
    pub(super) fn deliver_each(
        &mut self,
        now: Instant,
        destination: &Destination,
        run: &Run,
        out: &mut Outbox,
    ) {
        for stanza in run.stanzas() {
            self.deliver(now, destination.clone(), stanza, out);
        }
    }

    /// A link takes no run just now.
    pub(super) fn block(&mut self, destination: &Destination, link: LinkId, run: Run, out: &mut Outbox) {
        let run = if self.disk.is_some() {
            self.block_each(destination, &run, out);
            None
        } else {
            Some(run)
        };
        if let Some(waiting) = self.destinations.get_mut(destination) {
            if let Some(run) = run {
                waiting.spool.put_back_run(run);
            }
            waiting.state = State::Blocked(link);
            self.set_timer(destination);
        }
    }

    /// Gives a run to a link, when nothing older waits.
    pub(super) fn send_run(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: &Destination,
        run: Run,
        out: &mut Outbox,
    ) {
        if self.trace.watches() {
            self.trace.run(now, &run, run.left(), Step::Given, destination.side());
        }
        match self.backend(destination.side()).send_run(now, link, run, out) {
            SentRun::OnWrite(run) => {
                self.account(out);
                match self.links.get_mut(&link) {
                    Some(link) => link.push_run(run),
                    None => self.deliver_each(now, destination, &run, out),
                }
            }
            SentRun::NotNow(run) => self.block(destination, link, run, out),
            SentRun::Alone(run) => self.deliver_each(now, destination, &run, out),
        }
    }
}

/// Whether [`Shard::heed`] is to see it.
fn is_heeded(side: Side, kind: Kind) -> bool {
    let Kind::Presence(kind) = kind else { return false };
    match kind {
        PresenceType::Subscribe
        | PresenceType::Subscribed
        | PresenceType::Unsubscribe
        | PresenceType::Unsubscribed => true,
        PresenceType::Available | PresenceType::Unavailable => side != Side::Partners,
        PresenceType::Probe | PresenceType::Error => false,
    }
}
