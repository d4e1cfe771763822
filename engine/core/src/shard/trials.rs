//! Trials: stanzas an administrator ordered.

use std::time::Instant;

use super::Shard;
use crate::io::{LinkId, Outbox, Output, Side, Told};
use crate::refusal::Refusal;
use crate::trial::{AWAITS_ANSWER, Trial, Tried};

impl Shard {
    /// Sends one.
    pub(super) fn attempt(&mut self, now: Instant, number: u64, trial: &Trial, out: &mut Outbox) {
        let side = match trial {
            Trial::Message { from, .. } => match self.lives_on(from.bare_str()) {
                Some(home) => Side::Home(home),
                None => return tried(number, Tried::Homeless, out),
            },
            Trial::Ping { .. } => Side::Partners,
        };
        let link = LinkId::trial(self.index);
        self.backend(Side::Partners).attempt(now, (side, link), number, trial, out);
    }
}

/// A trial was delivered or refused.
pub(super) fn verdict(ticket: u64, verdict: Result<(), Refusal>, out: &mut Outbox) {
    match verdict {
        Ok(()) if ticket & AWAITS_ANSWER != 0 => {}
        Ok(()) => tried(ticket, Tried::Delivered, out),
        Err(refusal) => tried(ticket & !AWAITS_ANSWER, Tried::Refused(refusal), out),
    }
}

fn tried(number: u64, tried: Tried, out: &mut Outbox) {
    let told = Told { tried: Some(tried), ..Told::default() };
    out.outputs.push(Output::Told(number, Box::new(told)));
}
