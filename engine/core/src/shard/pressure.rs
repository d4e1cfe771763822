//! Back-pressure: who brings more than goes out is not read, or told. Invariant: a link is stopped only while more than
//! `share_bytes_resume` of what it brought waits for some destination, so what stops it ends: the destination takes it, fails, or the
//! age limit is reached, and none of these needs anything to be read from a stopped link.
//!
//! Each destination counts what waits in its spool by the link that brought it: that link's *share*. The rule for one that has grown
//! to `share_bytes_max`:
//!
//! * The link brings for nobody else: it is not read until the share is down to `share_bytes_resume`. TCP does the rest, and the sender
//!   waits; nothing is refused.
//! * It brings for others too: the same, but for [`PAUSE_SHARED_MILLIS`] at most. Then it is read again, and what it brings for
//!   this destination beyond its share is refused (`resource-constraint`, wait), until the share is down.
//! * It is a link of a SIP home, which brings the answers to our own requests as well: it is never stopped. What is beyond the share is
//!   refused at once, which the pool hears as 500. So is what comes while a link is stopped that carries stanzas out as well, after
//!   the same time.
//!
//! What is held while users are moved ([`super::moving`]) counts as waiting for one more destination, which takes it when the moves are over:
//! a move ends by itself.
//!
//! When half of what the shard may hold is taken, [`SHARE_BYTES_PRESSED`] counts as the full share.
//!
//! The destination may lie on another shard than the link ([`Pressure`]). There it is counted, here it is obeyed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::{Shard, Timer};
use crate::backend::Destination;
use crate::flow::Pressure;
use crate::home::BackendKind;
use crate::io::{Handoff, LinkId, Outbox, Output, Side};
use crate::limits::{PAUSE_SHARED_MILLIS, SHARE_BYTES_PRESSED, SHARED_SECONDS};
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::timers::TimerId;

/// A link whose share of a destination is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    link: LinkId,
    /// It is read all the same: what is beyond the share is refused.
    refusing: bool,
}

/// A link this shard's destinations have stopped, wherever it is.
#[derive(Debug)]
struct Stopped {
    turn: u64,
    destinations: Vec<Destination>,
    /// For what is held of it, too.
    held: bool,
}

/// A link of this shard that is not read.
#[derive(Debug)]
struct Paused {
    /// The shards that want it so, each with the number of its stop.
    by: Vec<(u16, u64)>,
    timer: TimerId,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Pressures {
    stopped: HashMap<LinkId, Stopped>,
    paused: HashMap<LinkId, Paused>,
    turns: u64,
}

impl Pressures {
    /// Links of this shard that are not read.
    pub(super) fn paused(&self) -> usize {
        self.paused.len()
    }
}

/// What a link brought last, to know whether it brings for one destination alone.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    last: Option<(Side, Arc<str>, Arc<str>)>,
    changed: Option<Instant>,
}

impl Brought {
    /// Something came for this destination, told by its side and the two domains.
    pub(crate) fn note(&mut self, now: Instant, side: Side, from: &str, to: &str) {
        match &self.last {
            Some((last, ours, theirs)) if *last == side && **ours == *from && **theirs == *to => return,
            Some(_) => self.changed = Some(now),
            None => {}
        }
        self.last = Some((side, from.into(), to.into()));
    }

    /// Whether it has brought for several of late.
    fn is_shared(&self, now: Instant) -> bool {
        self.changed.is_some_and(|at| now < at + Duration::from_secs(SHARED_SECONDS))
    }
}

impl Shard {
    /// Whether this much more of what the link brought may wait for a known destination.
    pub(super) fn may_wait(
        &self,
        destination: &Destination,
        (side, link): (Side, LinkId),
        bytes: usize,
    ) -> bool {
        if link == LinkId::NONE {
            return true;
        }
        let Some(waiting) = self.destinations.get(destination) else { return true };
        let refusing = waiting.full.iter().any(|full| full.link == link && full.refusing);
        let share = waiting.spool.share(link);
        (!refusing && self.may_be_stopped(side)) || share == 0 || share + bytes <= self.share_max()
    }

    /// Something the link brought has begun to wait: is it too much?
    pub(super) fn press(
        &mut self,
        now: Instant,
        destination: &Destination,
        (side, link): (Side, LinkId),
        out: &mut Outbox,
    ) {
        if link == LinkId::NONE || self.draining.is_some() || !self.may_be_stopped(side) {
            return;
        }
        let share_max = self.share_max();
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        if waiting.spool.share(link) < share_max || waiting.full.iter().any(|full| full.link == link) {
            return;
        }
        waiting.full.push(Full { link, refusing: false });
        self.ask_to_stop(now, link, out).destinations.push(destination.clone());
    }

    /// The same for what is held while users are moved.
    pub(super) fn press_held(&mut self, now: Instant, side: Side, link: LinkId, out: &mut Outbox) {
        if link == LinkId::NONE || self.draining.is_some() || !self.may_be_stopped(side) {
            return;
        }
        if self.holds.share(link) < self.share_max() || self.holds.full.iter().any(|full| full.link == link) {
            return;
        }
        self.holds.full.push(Full { link, refusing: false });
        self.ask_to_stop(now, link, out).held = true;
    }

    /// Whether this much more of what the link brought may be held.
    pub(super) fn may_be_held(&self, side: Side, link: LinkId, bytes: usize) -> bool {
        let share = self.holds.share(link);
        let refusing = self.holds.full.iter().any(|full| full.link == link && full.refusing);
        (!refusing && self.may_be_stopped(side)) || share == 0 || share + bytes <= self.share_max()
    }

    /// The link is not to be read, if that has not been said already.
    fn ask_to_stop(&mut self, now: Instant, link: LinkId, out: &mut Outbox) -> &mut Stopped {
        if !self.pressures.stopped.contains_key(&link) {
            self.pressures.turns += 1;
            let stop = Pressure::Stop { link, shard: self.index, turn: self.pressures.turns };
            self.tell_pressure(now, link, stop, out);
        }
        let turn = self.pressures.turns;
        self.pressures.stopped.entry(link).or_insert(Stopped { turn, destinations: Vec::new(), held: false })
    }

    /// Something has left the spool of a destination: whoever was stopped for it goes on when little of his is left.
    pub(super) fn relieve(&mut self, now: Instant, destination: &Destination, out: &mut Outbox) {
        let Some(waiting) = self.destinations.get_mut(destination) else { return };
        if waiting.full.is_empty() {
            return;
        }
        let resume = self.world.flow.share_bytes_resume;
        let mut gone = Vec::new();
        let spool = &waiting.spool;
        waiting.full.retain(|full| {
            let stays = spool.share(full.link) > resume;
            if !stays && !full.refusing {
                gone.push(full.link);
            }
            stays
        });
        for link in gone {
            if let Some(stopped) = self.pressures.stopped.get_mut(&link) {
                stopped.destinations.retain(|other| other != destination);
            }
            self.let_go(now, link, out);
        }
    }

    /// Moves are over: whoever was stopped for what was held goes on when little of his is left.
    pub(super) fn relieve_held(&mut self, now: Instant, out: &mut Outbox) {
        let resume = self.world.flow.share_bytes_resume;
        for full in std::mem::take(&mut self.holds.full) {
            if self.holds.share(full.link) > resume {
                self.holds.full.push(full);
                continue;
            }
            if let Some(stopped) = self.pressures.stopped.get_mut(&full.link) {
                stopped.held = false;
            }
            self.let_go(now, full.link, out);
        }
    }

    /// The link may be read if nothing of it is too much any more.
    fn let_go(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let over = |stopped: &mut Stopped| stopped.destinations.is_empty() && !stopped.held;
        if self.pressures.stopped.get_mut(&link).is_some_and(over) {
            self.pressures.stopped.remove(&link);
            self.tell_pressure(now, link, Pressure::Go { link, shard: self.index }, out);
        }
    }

    /// What another shard, or this one, says.
    pub(super) fn pressure(&mut self, now: Instant, pressure: Pressure, out: &mut Outbox) {
        match pressure {
            Pressure::Stop { link, shard, turn } => self.stop(now, link, shard, turn, out),
            Pressure::Go { link, shard } => {
                let Some(paused) = self.pressures.paused.get_mut(&link) else { return };
                paused.by.retain(|(by, _)| *by != shard);
                if paused.by.is_empty() {
                    self.read_again(now, link, out);
                }
            }
            Pressure::Refuse { link, turn } => {
                let Some(stopped) = self.pressures.stopped.remove(&link) else { return };
                if stopped.turn != turn {
                    self.pressures.stopped.insert(link, stopped);
                    return;
                }
                for full in self.holds.full.iter_mut().filter(|full| full.link == link) {
                    full.refusing = true;
                }
                for destination in &stopped.destinations {
                    let full = self.destinations.get_mut(destination).map(|waiting| &mut waiting.full);
                    for full in full.into_iter().flatten().filter(|full| full.link == link) {
                        full.refusing = true;
                    }
                }
            }
        }
    }

    fn stop(&mut self, now: Instant, link: LinkId, shard: u16, turn: u64, out: &mut Outbox) {
        let Some(state) = self.links.get(&link) else { return };
        let side = state.side();
        if self.draining.is_some() {
            return;
        }
        if let Some(paused) = self.pressures.paused.get_mut(&link) {
            paused.by.retain(|(by, _)| *by != shard);
            paused.by.push((shard, turn));
            return;
        }
        let timer = self.timers.set(now + pause(), Timer::Paused(link));
        self.pressures.paused.insert(link, Paused { by: vec![(shard, turn)], timer });
        self.tally.pauses += 1;
        out.outputs.push(Output::Pause(link));
        self.backend(side).paused(now, link, true, out);
    }

    /// A link has been stopped for some time.
    pub(super) fn pause_due(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(paused) = self.pressures.paused.get_mut(&link) else { return };
        let shared = self
            .links
            .get(&link)
            .is_none_or(|link| link.brought.is_shared(now) || link.destination().is_some());
        if !shared {
            paused.timer = self.timers.set(now + pause(), Timer::Paused(link));
            return;
        }
        let by = std::mem::take(&mut paused.by);
        self.read_again(now, link, out);
        for (shard, turn) in by {
            let refuse = Pressure::Refuse { link, turn };
            if shard == self.index {
                self.pressure(now, refuse, out);
            } else {
                out.outputs.push(Output::Handoff(shard, Handoff::Pressure(refuse)));
            }
        }
    }

    fn read_again(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        let Some(paused) = self.pressures.paused.remove(&link) else { return };
        self.timers.cancel(paused.timer);
        if let Some(side) = self.links.get(&link).map(|link| link.side()) {
            out.outputs.push(Output::Resume(link));
            self.backend(side).paused(now, link, false, out);
        }
    }

    /// The process ends: peers are asked to end their streams, so what they still say is read.
    pub(super) fn read_all(&mut self, now: Instant, out: &mut Outbox) {
        let mut links: Vec<LinkId> = self.pressures.paused.keys().copied().collect();
        links.sort_unstable();
        for link in links {
            self.read_again(now, link, out);
        }
    }

    /// The link is gone.
    pub(super) fn forget_pause(&mut self, link: LinkId) {
        if let Some(paused) = self.pressures.paused.remove(&link) {
            self.timers.cancel(paused.timer);
        }
    }

    /// Whether links of a side may be left unread: not those that bring answers to requests of ours.
    fn may_be_stopped(&self, side: Side) -> bool {
        match side {
            Side::Partners => true,
            Side::Home(home) => {
                self.world.homes.get(home).is_some_and(|home| home.backend == BackendKind::Xmpp)
            }
        }
    }

    fn share_max(&self) -> usize {
        let most = self.world.flow.share_bytes_max;
        if self.spooled_bytes_bound > self.world.flow.room.shard_spool_bytes / 2 {
            most.min(SHARE_BYTES_PRESSED)
        } else {
            most
        }
    }

    fn tell_pressure(&mut self, now: Instant, link: LinkId, pressure: Pressure, out: &mut Outbox) {
        if link.shard() == self.index {
            self.pressure(now, pressure, out);
        } else {
            out.outputs.push(Output::Handoff(link.shard(), Handoff::Pressure(pressure)));
        }
    }

    /// The largest share there is, in bytes.
    pub fn largest_share(&self) -> usize {
        let waiting = self.destinations.values().map(|waiting| waiting.spool.largest_share());
        waiting.chain([self.holds.largest_share()]).max().unwrap_or(0)
    }

    /// What waits here for servers and for moves: the bytes of what links brought, and how many stanzas the router made itself. For the
    /// simulator.
    pub fn waiting(&self) -> (usize, usize) {
        let spools = self.destinations.values().map(|waiting| &waiting.spool);
        spools.fold((self.holds.brought_bytes(), self.holds.made()), |(bytes, made), spool| {
            (bytes + spool.brought_bytes(), made + spool.made())
        })
    }

    /// Links that are not read though nothing of theirs waits for long, on a shard alone: none, ever. For the simulator.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_pressure(&self) -> Result<(), String> {
        let resume = self.world.flow.share_bytes_resume;
        if self.draining.is_some() {
            return Ok(());
        }
        for (link, stopped) in &self.pressures.stopped {
            for destination in &stopped.destinations {
                let waiting = self.destinations.get(destination);
                let share = waiting.map_or(0, |waiting| waiting.spool.share(*link));
                if share <= resume {
                    return Err(format!("{link} is stopped for {share} bytes to {destination:?}"));
                }
            }
            if stopped.held && self.holds.share(*link) <= resume {
                return Err(format!("{link} is stopped for {} bytes held", self.holds.share(*link)));
            }
        }
        for (link, paused) in &self.pressures.paused {
            let own = paused.by.iter().any(|(shard, _)| *shard == self.index);
            if own && !self.pressures.stopped.contains_key(link) {
                return Err(format!("{link} is not read and nobody has stopped it"));
            }
        }
        Ok(())
    }
}

/// How long a link is stopped before it is looked whether it brings for others too.
fn pause() -> Duration {
    Duration::from_millis(PAUSE_SHARED_MILLIS)
}

/// The answer to what is beyond the share of what is held.
pub(super) fn beyond_share_of_held() -> Refusal {
    let text = "the recipient is being moved, and too much waits for that";
    Refusal::new(Condition::ResourceConstraint, Blame::Router, Retry::Later, Bounce::Yes, text)
}

/// The answer to what is beyond a share.
pub(super) fn beyond_share() -> Refusal {
    let text = "the recipient's server takes less than is sent to it";
    Refusal::new(Condition::ResourceConstraint, Blame::NextHop, Retry::Later, Bounce::Yes, text)
}
