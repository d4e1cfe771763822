//! What came in and was not looked at yet. Invariant: stanzas leave in the order in which they came, alone or in the runs they came in.

use std::collections::VecDeque;

use crate::run::{Load, Run};
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

    /// How many pieces there are, runs counted as one.
    pub(crate) fn pieces(&self) -> usize {
        self.queue.len()
    }

    /// The newest, if it is a stanza alone.
    pub(crate) fn last_mut(&mut self) -> Option<&mut Stanza> {
        match self.queue.back_mut()? {
            Load::One(stanza) => Some(stanza),
            Load::Run(_) => None,
        }
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
