//! One connection as the shard sees it. Invariant: a stanza written to a link stays in `unwritten` until the next hop has it; if
//! the link dies before, it goes back to the spool in its order. On a link that acknowledges, the next hop has what its peer said
//! it has (XEP-0198); on any other, what the driver has given to the kernel to the last byte.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backend::Destination;
use crate::flow::FlowLimits;
use crate::io::{LinkId, Side};
use crate::limits::LINK_UNACKNOWLEDGED_BYTES;
use crate::run::{Head, Load, Run};
use crate::shard::Brought;
use crate::stanza::Stanza;

/// After so long without a stanza a connection may be taken for idle, as drivers take it.
const SILENCE: Duration = Duration::from_secs(1);

/// State, credit and counters of a connection.
#[derive(Debug)]
pub struct Link {
    side: Side,
    destination: Option<Destination>,
    queued: u64,
    written: u64,
    /// Each with the count of octets queued behind its last.
    unwritten: VecDeque<(u64, Load)>,
    /// Stanzas in `unwritten`.
    stanzas: usize,
    made: usize,
    opened: bool,
    acks: Option<Acks>,
    /// What it brings.
    pub(crate) brought: Brought,
    /// Stanzas that came on it.
    received: u64,
    /// Stanzas the next hop has.
    delivered: u64,
    /// When what was pushed last had arrived.
    pushed: Option<Instant>,
    /// What stands first in `unwritten` was pushed after a silence of [`SILENCE`].
    woken: bool,
    /// Octets written when it was last seen to take some, and when that was; nothing while nothing waits.
    seen: Option<(u64, Instant)>,
}

/// What is known on a link that acknowledges.
#[derive(Debug, Default)]
struct Acks {
    /// Stanzas the peer has acknowledged and that stand in `unwritten` still.
    new: usize,
    /// Octets queued behind the last one taken out.
    settled: u64,
}

impl Link {
    /// A link that nothing has been written to; `destination` for one the shard dialed.
    pub fn new(side: Side, destination: Option<Destination>) -> Self {
        Self {
            side,
            destination,
            queued: 0,
            written: 0,
            unwritten: VecDeque::new(),
            stanzas: 0,
            made: 0,
            opened: false,
            acks: None,
            brought: Brought::default(),
            received: 0,
            delivered: 0,
            pushed: None,
            woken: false,
            seen: None,
        }
    }

    /// So many stanzas came on it.
    pub fn receive(&mut self, count: u64) {
        self.received += count;
    }

    /// Stanzas that came on it, and those the next hop has.
    pub fn carried(&self) -> (u64, u64) {
        (self.received, self.delivered)
    }

    /// The side it belongs to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the shard dialed it for, or uses it for.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// From now on it is the way to this destination. Only of a link that carried nothing.
    pub fn set_destination(&mut self, destination: Destination) {
        self.destination = Some(destination);
    }

    /// The connection exists (it was accepted or the dial came back).
    pub fn set_opened(&mut self) {
        self.opened = true;
    }

    /// Whether the connection exists.
    pub fn is_opened(&self) -> bool {
        self.opened
    }

    /// The connection is gone, and what was sent on it may yet be acknowledged on another.
    pub fn suspend(&mut self) {
        self.opened = false;
    }

    /// So many bytes more were given to the driver.
    pub fn queue(&mut self, bytes: usize) {
        self.queued += bytes as u64;
    }

    /// From now on a stanza counts as delivered when [`Link::acknowledge`] says so. Before anything was pushed.
    pub fn set_acknowledging(&mut self) {
        self.acks = Some(Acks { new: 0, settled: self.queued });
    }

    /// The peer has so many stanzas more; [`Link::pop_written`] yields them.
    pub fn acknowledge(&mut self, count: u32) {
        let stanzas = self.stanzas;
        if let Some(acks) = &mut self.acks {
            acks.new = acks.new.saturating_add(count as usize).min(stanzas);
        }
    }

    /// The last bytes queued were those of this stanza.
    pub fn push(&mut self, mut stanza: Stanza) {
        if self.acks.is_some() {
            stanza.settle_down();
        }
        self.wake(stanza.arrived);
        self.made += usize::from(stanza.made);
        self.stanzas += 1;
        self.unwritten.push_back((self.queued, Load::One(stanza)));
    }

    /// Something that arrived then is pushed.
    fn wake(&mut self, arrived: Instant) {
        if self.unwritten.is_empty() {
            self.woken = self.pushed.is_some_and(|at| arrived >= at + SILENCE);
        }
        self.pushed = self.pushed.max(Some(arrived));
    }

    /// Whether all it holds was pushed behind a silence: if it is gone, it may have been closed for being idle before that was written
    /// (XS-18).
    pub fn began_after_silence(&self) -> bool {
        self.woken && !self.unwritten.is_empty()
    }

    /// The last bytes queued were those of this run.
    pub fn push_run(&mut self, mut run: Run) {
        if self.acks.is_some() {
            run.settle_down();
        }
        self.wake(run.arrived);
        self.stanzas += run.len();
        self.unwritten.push_back((self.queued, Load::Run(run)));
    }

    /// The driver has written `total` bytes in all; [`Link::pop_written`] yields what that delivers.
    pub fn set_written(&mut self, total: u64) {
        self.written = self.written.max(total.min(self.queued));
    }

    /// The next that is written in full, or what is written in full of the next run; on a link that acknowledges, what the peer
    /// has.
    pub fn pop_written(&mut self) -> Option<Written> {
        if self.acks.is_some() {
            return self.pop_acknowledged();
        }
        let (end, load) = self.unwritten.front_mut()?;
        if *end <= self.written {
            return self.pop_whole();
        }
        let Load::Run(run) = load else { return None };
        let start = end.saturating_sub(run.bytes_left() as u64);
        let (count, _) = run.go(self.written.saturating_sub(start));
        self.stanzas -= count;
        self.delivered += count as u64;
        (count > 0).then_some(Written::Some { count, arrived: run.arrived, side: run.side, link: run.link })
    }

    /// The stanzas of the first run that [`Link::pop_written`] has just given as [`Written::Some`] so many.
    pub fn just_gone(&self, count: usize) -> Option<(&Run, &[Head])> {
        let Some((_, Load::Run(run))) = self.unwritten.front() else { return None };
        Some((run, run.heads.get(run.gone.checked_sub(count)?..run.gone)?))
    }

    fn pop_acknowledged(&mut self) -> Option<Written> {
        let acks = self.acks.as_mut().filter(|acks| acks.new > 0)?;
        let (end, load) = self.unwritten.front_mut()?;
        if load.len() <= acks.new {
            acks.new -= load.len();
            acks.settled = *end;
            return self.pop_whole();
        }
        let Load::Run(run) = load else { return None };
        let count = std::mem::take(&mut acks.new);
        run.gone += count;
        acks.settled = end.saturating_sub(run.bytes_left() as u64);
        self.stanzas -= count;
        self.delivered += count as u64;
        Some(Written::Some { count, arrived: run.arrived, side: run.side, link: run.link })
    }

    fn pop_whole(&mut self) -> Option<Written> {
        let (_, load) = self.unwritten.pop_front()?;
        self.stanzas -= load.len();
        self.delivered += load.len() as u64;
        Some(match load {
            Load::One(stanza) => {
                self.made -= usize::from(stanza.made);
                Written::One(stanza)
            }
            Load::Run(run) => Written::All(run),
        })
    }

    /// Stanzas that were written in full and not acknowledged: when the link is gone they are written again, and its peer may
    /// have them already. Nothing on a link that does not acknowledge.
    pub fn doubtful(&self) -> usize {
        if self.acks.is_none() {
            return 0;
        }
        let doubtful = |(end, load): &(u64, Load)| {
            if *end <= self.written {
                return load.len();
            }
            let Load::Run(run) = load else { return 0 };
            let start = end.saturating_sub(run.bytes_left() as u64);
            run.count_within(self.written.saturating_sub(start)).0
        };
        self.unwritten.iter().map(doubtful).sum()
    }

    /// What was not written, or not acknowledged, when the link died, oldest first.
    pub fn take_unwritten(&mut self) -> impl DoubleEndedIterator<Item = Stanza> + use<> {
        self.made = 0;
        self.stanzas = 0;
        let all: Vec<Stanza> = std::mem::take(&mut self.unwritten)
            .into_iter()
            .flat_map(|(_, load)| load.into_stanzas())
            .collect();
        all.into_iter()
    }

    /// Whether it may be given more.
    pub fn has_credit(&self, flow: &FlowLimits) -> bool {
        self.queued - self.written < flow.link_credit_bytes
            && self.stanzas < flow.link_credit_stanzas
            && self.acks.as_ref().is_none_or(|acks| self.queued - acks.settled < LINK_UNACKNOWLEDGED_BYTES)
    }

    /// Since when it has taken nothing of what waits for it, as far as was looked.
    pub fn stalled_since(&mut self, now: Instant) -> Option<Instant> {
        if self.queued == self.written {
            self.seen = None;
        } else if self.seen.is_none_or(|(written, _)| written != self.written) {
            self.seen = Some((self.written, now));
        }
        self.seen.map(|(_, at)| at)
    }

    /// Bytes given to the driver and not written.
    pub fn unwritten_bytes(&self) -> u64 {
        self.queued - self.written
    }

    /// Whether a stanza not yet written is between users for whom `is` says yes: asked with bare addresses, the recipient's and
    /// the sender's.
    pub fn any_between(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        self.unwritten.iter().any(|(_, load)| load.any_between(&is))
    }

    /// Whether what was sent counts as delivered when the peer has acknowledged it.
    pub fn is_acknowledging(&self) -> bool {
        self.acks.is_some()
    }

    /// How many stanzas are not yet written.
    pub fn unwritten_len(&self) -> usize {
        self.stanzas
    }

    /// How many of those the router made.
    pub fn unwritten_made(&self) -> usize {
        self.made
    }
}

/// What was written to a link in full.
#[derive(Debug)]
pub enum Written {
    /// One stanza.
    One(Stanza),
    /// All that was left of a run.
    All(Run),
    /// The first ones of a run.
    Some {
        /// How many.
        count: usize,
        /// When they arrived.
        arrived: Instant,
        /// The side they arrived on.
        side: Side,
        /// The link they arrived on.
        link: LinkId,
    },
}
