//! One connection as the shard sees it. Invariant: a stanza written to a link stays in `unwritten` until the driver has given
//! its last byte to the kernel; then it is delivered, and if the link dies before, it goes back to the spool in its order.

use std::collections::VecDeque;

use crate::backend::Destination;
use crate::io::Side;
use crate::limits::{LINK_CREDIT_BYTES, LINK_CREDIT_STANZAS};
use crate::stanza::Stanza;

/// State, credit and counters of a connection.
#[derive(Debug)]
pub struct Link {
    side: Side,
    destination: Option<Destination>,
    queued: u64,
    written: u64,
    unwritten: VecDeque<(u64, Stanza)>,
    made: usize,
    opened: bool,
}

impl Link {
    /// A link that nothing has been written to; `destination` for one the shard dialed.
    pub fn new(side: Side, destination: Option<Destination>) -> Self {
        Self { side, destination, queued: 0, written: 0, unwritten: VecDeque::new(), made: 0, opened: false }
    }

    /// The side it belongs to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the shard dialed it for.
    pub fn destination(&self) -> Option<&Destination> {
        self.destination.as_ref()
    }

    /// The connection exists (it was accepted or the dial came back).
    pub fn set_opened(&mut self) {
        self.opened = true;
    }

    /// Whether the connection exists.
    pub fn is_opened(&self) -> bool {
        self.opened
    }

    /// So many bytes more were given to the driver.
    pub fn queue(&mut self, bytes: usize) {
        self.queued += bytes as u64;
    }

    /// The last bytes queued were those of this stanza.
    pub fn push(&mut self, stanza: Stanza) {
        self.made += usize::from(stanza.made);
        self.unwritten.push_back((self.queued, stanza));
    }

    /// The driver has written `total` bytes in all; [`Link::pop_written`] yields what that delivers.
    pub fn set_written(&mut self, total: u64) {
        self.written = self.written.max(total.min(self.queued));
    }

    /// The next stanza that is written in full.
    pub fn pop_written(&mut self) -> Option<Stanza> {
        if self.unwritten.front()?.0 > self.written {
            return None;
        }
        let (_, stanza) = self.unwritten.pop_front()?;
        self.made -= usize::from(stanza.made);
        Some(stanza)
    }

    /// What was not written when the link died, oldest first.
    pub fn take_unwritten(&mut self) -> impl DoubleEndedIterator<Item = Stanza> + use<> {
        self.made = 0;
        std::mem::take(&mut self.unwritten).into_iter().map(|(_, stanza)| stanza)
    }

    /// Whether it may be given more.
    pub fn has_credit(&self) -> bool {
        self.queued - self.written < LINK_CREDIT_BYTES && self.unwritten.len() < LINK_CREDIT_STANZAS
    }

    /// Stanzas not yet written.
    pub fn unwritten(&self) -> impl Iterator<Item = &Stanza> {
        self.unwritten.iter().map(|(_, stanza)| stanza)
    }

    /// How many stanzas are not yet written.
    pub fn unwritten_len(&self) -> usize {
        self.unwritten.len()
    }

    /// How many of those the router made.
    pub fn unwritten_made(&self) -> usize {
        self.made
    }
}
