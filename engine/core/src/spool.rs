//! Stanzas that wait for one destination. Invariant: first in, first out, and what a backend took and gave back goes before
//! everything that was never given; never more than its limits in count and bytes; nothing leaves it but through the hands of the
//! caller, so nothing in it can be lost silently.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::flow::Room;
use crate::io::LinkId;
use crate::limits::{SPOOL_AGE_SECONDS, SPOOL_AGE_SIP_SECONDS};
use crate::placement::score;
use crate::run::{Load, Run};
use crate::stanza::{Kind, PresenceType, Stanza};

/// A bounded queue of stanzas.
#[derive(Debug, Default)]
pub struct Spool {
    /// Given back by a backend: older than all of `queue` that is of the same two users.
    returned: VecDeque<Stanza>,
    /// How many of those were given back since anything was taken out or put back, by when they arrived.
    fresh: Vec<(Instant, usize)>,
    queue: VecDeque<Load>,
    /// Stanzas in `queue`.
    queued: usize,
    /// How many wait of each pair of users; those of runs are not counted, as the order of a run is kept by its stream.
    pairs: HashMap<u64, u32>,
    bytes: usize,
    /// Bytes by the link they arrived on.
    shares: Shares,
    made: usize,
    next_expiry: Option<Instant>,
}

/// Bytes that wait, by the link that brought them. What the router makes is of none.
#[derive(Debug, Default)]
pub(crate) struct Shares(HashMap<LinkId, usize>);

impl Shares {
    /// Bytes of what this link brought.
    pub(crate) fn of(&self, link: LinkId) -> usize {
        self.0.get(&link).copied().unwrap_or(0)
    }

    /// The most bytes of what one link brought.
    pub(crate) fn largest(&self) -> usize {
        self.0.values().copied().max().unwrap_or(0)
    }

    /// Bytes of all that was brought.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Nothing waits.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// So much more waits.
    pub(crate) fn add(&mut self, link: LinkId, bytes: usize) {
        if link != LinkId::NONE {
            *self.0.entry(link).or_default() += bytes;
        }
    }

    /// So much has gone.
    pub(crate) fn remove(&mut self, link: LinkId, bytes: usize) {
        if let Some(share) = self.0.get_mut(&link) {
            *share = share.saturating_sub(bytes);
            if *share == 0 {
                self.0.remove(&link);
            }
        }
    }
}

/// Stanzas whose time is up are looked for no more often than this.
pub const EXPIRY_STEP: Duration = Duration::from_millis(250);

/// When a waiting stanza is given up: its transaction has less patience where it came over SIP, a durable spool may have more.
pub fn expiry(stanza: &Stanza) -> Instant {
    match &stanza.disk.kept {
        Some(kept) => kept.expires,
        None => expiry_of(stanza.arrived, stanza.origin.ticket),
    }
}

fn expiry_of(arrived: Instant, ticket: u64) -> Instant {
    let seconds = if ticket == 0 { SPOOL_AGE_SECONDS } else { SPOOL_AGE_SIP_SECONDS };
    arrived + Duration::from_secs(seconds)
}

impl Spool {
    /// Appends.
    ///
    /// # Errors
    /// The stanza itself when the spool is full.
    #[expect(clippy::result_large_err, reason = "the stanza must go back to the caller whole")]
    pub fn push(&mut self, mut stanza: Stanza, room: &Room) -> Result<(), Stanza> {
        if self.len() >= room.spool_stanzas || self.bytes + stanza.len() > room.spool_bytes {
            return Err(stanza);
        }
        stanza.settle_down();
        self.count_in(&stanza);
        self.queued += 1;
        self.queue.push_back(Load::One(stanza));
        Ok(())
    }

    /// Appends a run: for the stream of a pair of domains.
    ///
    /// # Errors
    /// The run itself when it does not fit.
    #[expect(clippy::result_large_err, reason = "the run must go back to the caller whole")]
    pub fn push_run(&mut self, mut run: Run, room: &Room) -> Result<(), Run> {
        let bytes = run.bytes_left();
        if self.len() + run.len() > room.spool_stanzas || self.bytes + bytes > room.spool_bytes {
            return Err(run);
        }
        run.settle_down();
        self.bytes += bytes;
        self.shares.add(run.link, bytes);
        self.expire_by(expiry_of(run.arrived, 0));
        self.queued += run.len();
        self.queue.push_back(Load::Run(run));
        Ok(())
    }

    /// Puts back a run that was just taken.
    pub fn put_back_run(&mut self, run: Run) {
        self.bytes += run.bytes_left();
        self.shares.add(run.link, run.bytes_left());
        self.expire_by(expiry_of(run.arrived, 0));
        self.queued += run.len();
        self.queue.push_front(Load::Run(run));
    }

    /// Puts back what was taken out and not delivered, in front and in its order. Not limited: it was within the limits of the
    /// link before.
    pub fn put_back(&mut self, stanzas: impl DoubleEndedIterator<Item = Stanza>) {
        self.fresh.clear();
        for stanza in stanzas.rev() {
            self.count_in(&stanza);
            if stanza.attempts > 0 {
                self.returned.push_front(stanza);
            } else {
                self.queued += 1;
                self.queue.push_front(Load::One(stanza));
            }
        }
    }

    /// Takes in what a backend kept and gives back just now: before everything that was never given, among its like in the order of
    /// arrival. Of what came in the same read, what waits here meanwhile is younger. Not limited: it was within the limits of the
    /// backend before.
    pub fn restore(&mut self, stanza: Stanza) {
        let (later, alike) = self.later_and_alike(stanza.arrived);
        let place = match self.fresh.iter_mut().find(|(arrived, _)| *arrived == stanza.arrived) {
            Some((_, count)) => {
                *count += 1;
                (*count - 1).min(alike)
            }
            None => {
                self.fresh.push((stanza.arrived, 1));
                0
            }
        };
        self.count_in(&stanza);
        self.returned.insert(self.returned.len() - later - alike + place, stanza);
    }

    /// The same for what was given back before and comes from another spool: of what came in the same read, it is the youngest.
    pub fn restore_behind(&mut self, stanza: Stanza) {
        let (later, _) = self.later_and_alike(stanza.arrived);
        self.count_in(&stanza);
        self.returned.insert(self.returned.len() - later, stanza);
    }

    /// How many were given back that arrived later, and how many in the same read. Backends give back in order, so this looks at few.
    fn later_and_alike(&self, arrived: Instant) -> (usize, usize) {
        let mut last = self.returned.iter().rev().map(|other| other.arrived).peekable();
        let mut later = 0;
        while last.next_if(|at| *at > arrived).is_some() {
            later += 1;
        }
        (later, last.take_while(|at| *at == arrived).count())
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Load> {
        self.fresh.clear();
        let load = match self.returned.pop_front() {
            Some(stanza) => Load::One(stanza),
            None => {
                let load = self.queue.pop_front()?;
                self.queued -= load.len();
                load
            }
        };
        match &load {
            Load::One(stanza) => self.count_out(stanza),
            Load::Run(run) => {
                self.bytes -= run.bytes_left();
                self.shares.remove(run.link, run.bytes_left());
            }
        }
        if self.is_empty() {
            self.next_expiry = None;
        }
        Some(load)
    }

    /// Takes all, oldest first, each alone.
    pub fn take(&mut self) -> VecDeque<Stanza> {
        self.fresh.clear();
        self.bytes = 0;
        self.made = 0;
        self.queued = 0;
        self.next_expiry = None;
        self.pairs.clear();
        self.shares.clear();
        let mut all = std::mem::take(&mut self.returned);
        all.extend(std::mem::take(&mut self.queue).into_iter().flat_map(Load::into_stanzas));
        all
    }

    /// Takes those whose time is up, oldest first.
    pub fn expired(&mut self, now: Instant) -> Vec<Stanza> {
        if self.next_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let expired = self.sift(|stanza| expiry(stanza) <= now);
        // Looking through a long queue for each stanza that came a microsecond after another would cost its square.
        self.next_expiry = self.next_expiry.map(|at| at.max(now + EXPIRY_STEP));
        expired
    }

    /// Takes the probes for which `is_ours` says yes, oldest first.
    pub fn take_probes(&mut self, is_ours: impl Fn(&Stanza) -> bool) -> Vec<Stanza> {
        let is_ours = |stanza: &Stanza| stanza.kind == Kind::Presence(PresenceType::Probe) && is_ours(stanza);
        let mut alone = self.queue.iter().filter_map(|load| match load {
            Load::One(stanza) => Some(stanza),
            Load::Run(_) => None,
        });
        if !self.returned.iter().any(is_ours) && !alone.any(is_ours) {
            return Vec::new();
        }
        self.sift(is_ours)
    }

    /// Takes those of a kind, oldest first; the others stay, each alone.
    fn sift(&mut self, goes: impl Fn(&Stanza) -> bool) -> Vec<Stanza> {
        let returned = self.returned.len();
        let mut gone = Vec::new();
        for (at, stanza) in self.take().into_iter().enumerate() {
            if goes(&stanza) {
                gone.push(stanza);
                continue;
            }
            self.count_in(&stanza);
            if at < returned {
                self.returned.push_back(stanza);
            } else {
                self.queued += 1;
                self.queue.push_back(Load::One(stanza));
            }
        }
        gone
    }

    /// When to look for stanzas whose time is up: early, or at most [`EXPIRY_STEP`] late.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// Stanzas waiting.
    pub fn len(&self) -> usize {
        self.returned.len() + self.queued
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.queue.is_empty()
    }

    /// Whether a stanza of the same two users waits. True now and then for strangers, never false for a pair that waits.
    pub fn holds_pair_of(&self, stanza: &Stanza) -> bool {
        !self.pairs.is_empty() && self.pairs.contains_key(&pair(stanza))
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes waiting of what this link brought.
    pub fn share(&self, link: LinkId) -> usize {
        self.shares.of(link)
    }

    /// The most bytes that wait of what one link brought.
    pub fn largest_share(&self) -> usize {
        self.shares.largest()
    }

    /// Bytes waiting of what links brought: all but what the router made itself.
    pub fn brought_bytes(&self) -> usize {
        self.shares.total()
    }

    /// Stanzas waiting that the router made itself.
    pub fn made(&self) -> usize {
        self.made
    }

    /// Whether a stanza waits that is between users for whom `is` says yes: asked with bare addresses, the recipient's and the
    /// sender's.
    pub fn any_between(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        self.returned.iter().any(|stanza| is(stanza.to.bare_str(), stanza.from.bare_str()))
            || self.queue.iter().any(|load| load.any_between(&is))
    }

    fn expire_by(&mut self, expiry: Instant) {
        self.next_expiry = Some(self.next_expiry.map_or(expiry, |at| at.min(expiry)));
    }

    fn count_in(&mut self, stanza: &Stanza) {
        self.shares.add(source(stanza), stanza.len());
        self.bytes += stanza.len();
        self.made += usize::from(stanza.made);
        self.expire_by(expiry(stanza));
        *self.pairs.entry(pair(stanza)).or_default() += 1;
    }

    fn count_out(&mut self, stanza: &Stanza) {
        self.shares.remove(source(stanza), stanza.len());
        self.bytes -= stanza.len();
        self.made -= usize::from(stanza.made);
        if let Some(count) = self.pairs.get_mut(&pair(stanza)) {
            *count -= 1;
            if *count == 0 {
                self.pairs.remove(&pair(stanza));
            }
        }
    }
}

/// The link whose share a stanza is of; what the router makes is of none.
pub(crate) fn source(stanza: &Stanza) -> LinkId {
    if stanza.made { LinkId::NONE } else { stanza.origin.link }
}

/// A number for two users and a direction.
fn pair(stanza: &Stanza) -> u64 {
    score(stanza.to.bare_str(), stanza.from.bare_str())
}

#[cfg(test)]
mod tests;
