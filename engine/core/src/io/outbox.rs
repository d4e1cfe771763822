//! What a shard and its backends want done. Invariant: it is done in the order it was put there; links are numbered once.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Arrivals, Close, Connect, Event, Handoff, Level, LinkId, Note, Output, Side};
use crate::run::Head;

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
    /// Links that [outlived](crate::backend::Backend::outlives) their connections, and of which their backend wants to hear no more.
    pub unchained: Vec<LinkId>,
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
            unchained: Vec::new(),
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
