//! Stanzas that wait for one destination. Invariant: first in, first out; never more than its limits in count and bytes; nothing
//! leaves it but through the hands of the caller, so nothing in it can be lost silently.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{SPOOL_AGE_SECONDS, SPOOL_AGE_SIP_SECONDS, SPOOL_BYTES_MAX, SPOOL_STANZAS_MAX};
use crate::stanza::Stanza;

/// A bounded queue of stanzas.
#[derive(Debug, Default)]
pub struct Spool {
    queue: VecDeque<Stanza>,
    bytes: usize,
    made: usize,
    next_expiry: Option<Instant>,
}

/// When a waiting stanza is given up: its transaction has less patience where it came over SIP.
pub fn expiry(stanza: &Stanza) -> Instant {
    let seconds = if stanza.origin.ticket == 0 { SPOOL_AGE_SECONDS } else { SPOOL_AGE_SIP_SECONDS };
    stanza.arrived + Duration::from_secs(seconds)
}

impl Spool {
    /// Appends.
    ///
    /// # Errors
    /// The stanza itself when the spool is full.
    #[expect(clippy::result_large_err, reason = "the stanza must go back to the caller whole")]
    pub fn push(&mut self, stanza: Stanza) -> Result<(), Stanza> {
        if self.queue.len() >= SPOOL_STANZAS_MAX || self.bytes + stanza.len() > SPOOL_BYTES_MAX {
            return Err(stanza);
        }
        self.count_in(&stanza);
        self.queue.push_back(stanza);
        Ok(())
    }

    /// Puts back what was taken out and not delivered, in front and in its order. Not limited: it was within the limits of the
    /// link before.
    pub fn put_back(&mut self, stanzas: impl DoubleEndedIterator<Item = Stanza>) {
        for stanza in stanzas.rev() {
            self.count_in(&stanza);
            self.queue.push_front(stanza);
        }
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Stanza> {
        let stanza = self.queue.pop_front()?;
        self.count_out(&stanza);
        Some(stanza)
    }

    /// Takes all, oldest first.
    pub fn take(&mut self) -> VecDeque<Stanza> {
        self.bytes = 0;
        self.made = 0;
        self.next_expiry = None;
        std::mem::take(&mut self.queue)
    }

    /// Takes those whose time is up, oldest first.
    pub fn expired(&mut self, now: Instant) -> Vec<Stanza> {
        if self.next_expiry.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut expired = Vec::new();
        for stanza in self.take() {
            if expiry(&stanza) <= now {
                expired.push(stanza);
            } else {
                self.count_in(&stanza);
                self.queue.push_back(stanza);
            }
        }
        expired
    }

    /// When the next one's time is up; may be early, never late.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.next_expiry
    }

    /// Stanzas waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stanzas waiting that the router made itself.
    pub fn made(&self) -> usize {
        self.made
    }

    /// All waiting stanzas, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Stanza> {
        self.queue.iter()
    }

    fn count_in(&mut self, stanza: &Stanza) {
        self.bytes += stanza.len();
        self.made += usize::from(stanza.made);
        let expiry = expiry(stanza);
        self.next_expiry = Some(self.next_expiry.map_or(expiry, |at| at.min(expiry)));
    }

    fn count_out(&mut self, stanza: &Stanza) {
        self.bytes -= stanza.len();
        self.made -= usize::from(stanza.made);
        if self.queue.is_empty() {
            self.next_expiry = None;
        }
    }
}
