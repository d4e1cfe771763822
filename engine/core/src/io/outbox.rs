//! What a shard and its backends want done. Invariant: it is done in the order it was put there; links are numbered once.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Close, Connect, Event, Handoff, Level, LinkId, Note, Output, Side};
use crate::run::{Head, Load, Run};
use crate::stanza::Stanza;

/// Stanzas that backends read or made and the shard has not looked at, in order.
#[derive(Debug, Default)]
pub struct Arrivals {
    queue: VecDeque<Load>,
}

impl Arrivals {
    /// Appends a stanza.
    pub fn push_back(&mut self, stanza: Stanza) {
        self.queue.push_back(Load::One(stanza));
    }

    /// Appends a run.
    pub fn push_run(&mut self, run: Run) {
        self.queue.push_back(Load::Run(run));
    }

    /// Takes the oldest.
    pub fn pop_front(&mut self) -> Option<Load> {
        self.queue.pop_front()
    }

    /// Takes all, each stanza alone.
    pub fn drain(&mut self, _all: std::ops::RangeFull) -> impl Iterator<Item = Stanza> + use<> {
        let stanzas: Vec<Stanza> = self.iter().collect();
        self.queue.clear();
        stanzas.into_iter()
    }

    /// All of them, each alone; copies what it shows.
    pub fn iter(&self) -> impl Iterator<Item = Stanza> {
        self.queue.iter().flat_map(|load| load.clone().into_stanzas())
    }

    /// How many stanzas there are.
    pub fn len(&self) -> usize {
        self.queue.iter().map(Load::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Extend<Stanza> for Arrivals {
    fn extend<T: IntoIterator<Item = Stanza>>(&mut self, stanzas: T) {
        self.queue.extend(stanzas.into_iter().map(Load::One));
    }
}

/// Where a shard and its backends put what they want done. One a shard; emptied by the driver.
#[derive(Debug)]
pub struct Outbox {
    /// To be done by the driver, in order.
    pub outputs: Vec<Output>,
    /// Whole stanzas that backends read or made, in order.
    pub arrivals: Arrivals,
    /// What backends tell the shard, in order.
    pub events: VecDeque<Event>,
    /// Links that backends dialed by themselves (dialback verification), with their side.
    pub dialed: Vec<(LinkId, Side)>,
    /// Accepted links whose backend is to hear of the end of every stanza that arrives on them from now on
    /// ([`Backend::ended`](crate::backend::Backend::ended)). Heeded before `arrivals`.
    pub chained: Vec<LinkId>,
    /// Room for heads that runs have given back, to be used again.
    spare: Vec<Vec<Head>>,
    shard: u16,
    count: u64,
}

/// Rooms for heads kept for use.
const SPARE_MAX: usize = 64;

impl Outbox {
    /// An empty outbox for shard `shard`.
    pub fn new(shard: u16) -> Self {
        Self {
            outputs: Vec::new(),
            arrivals: Arrivals::default(),
            events: VecDeque::new(),
            dialed: Vec::new(),
            chained: Vec::new(),
            spare: Vec::new(),
            shard,
            count: 0,
        }
    }

    /// The shard it belongs to.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Room for the heads of a run.
    pub fn heads(&mut self) -> Vec<Head> {
        self.spare.pop().unwrap_or_default()
    }

    /// Gives room back.
    pub fn give_back(&mut self, mut heads: Vec<Head>) {
        if heads.capacity() > 0 && self.spare.len() < SPARE_MAX {
            heads.clear();
            self.spare.push(heads);
        }
    }

    /// A name for a new link.
    pub fn next_link(&mut self) -> LinkId {
        self.count += 1;
        LinkId::dialed(self.shard, self.count)
    }

    /// Connects. `link` comes from [`Outbox::next_link`] or from the shard.
    pub fn connect(&mut self, connect: Connect) {
        self.outputs.push(Output::Connect(Box::new(connect)));
    }

    /// Writes bytes to a link, which may belong to another shard.
    pub fn transmit(&mut self, link: LinkId, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if link.shard() == self.shard {
            self.outputs.push(Output::Transmit(link, bytes));
        } else {
            self.outputs.push(Output::Handoff(link.shard(), Handoff::Transmit { link, bytes }));
        }
    }

    /// Ends a connection.
    pub fn close(&mut self, link: LinkId, close: Close) {
        self.outputs.push(Output::Close(link, close));
    }

    /// A line for the log.
    pub fn note(&mut self, level: Level, side: Side, link: LinkId, about: &str, text: impl Into<String>) {
        self.outputs.push(Output::Note(Note {
            level,
            side: Some(side),
            link: Some(link),
            about: about.into(),
            text: text.into(),
        }));
    }
}
