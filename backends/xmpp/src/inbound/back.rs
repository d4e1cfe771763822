//! The way back on a stream a peer opened (XEP-0288). Invariant: it was asked for before the peer proved who it is; nothing goes back before
//! it has, and then only from the domain the stream's header was for to the domain it is from, once that very pair is proven (XB-02,
//! B-29). Pairs that are proven later on the same stream get no way back on it.
//!
//! It is offered where the partner's policy allows it, and only on the shard that sends to his domain: two users have one order, so a domain
//! has one place where stanzas to it wait.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use turnout_core::backend::Destination;
use turnout_core::io::{Close, Event, Side};
use turnout_core::jid::Domain;
use turnout_core::notice::Notice;
use turnout_core::placement::owner_of_domain;

use super::{Inbound, Phase};
use crate::error::StreamCondition;
use crate::negotiate;
use crate::outbound::SentAcks;
use crate::turn::{Flow, Step, Turn};

/// How long the way back waits for the peer to ask for stream management, which it may do once, before the first stanza.
const ENABLE_PATIENCE: Duration = Duration::from_secs(1);

/// The way back of one stream.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// It waits since this time for `<enable/>`.
    waits: Option<Instant>,
    /// Stanzas go.
    is_open: bool,
    /// The peer acknowledges them.
    acks: Option<SentAcks>,
}

impl Inbound {
    /// Whether a way back is to be had: before any proof, and not where TLS comes first.
    pub(super) fn offers_back(&self, turn: &Turn<'_>) -> bool {
        let (Some(terms), Some(theirs)) = (&self.terms, &self.theirs) else { return false };
        terms.bidi
            && turn.side == Side::Partners
            && !self.tls_required()
            && !self.pairs.any_proven()
            && owner_of_domain(theirs.as_str(), turn.world.shards) == turn.out.shard()
    }

    /// The peer wants one.
    pub(super) fn ask_back(&mut self, turn: &mut Turn<'_>) -> Step {
        if !self.offers_back(turn) || self.back.is_some() {
            let text = "stanzas both ways were not offered, or not now".to_owned();
            return self.fail_with(turn, (StreamCondition::UnsupportedStanzaType, text));
        }
        self.back = Some(Back::default());
        Ok(Flow::On)
    }

    /// The stream was opened anew after SASL: the peer has seen what is offered now, and may ask for acknowledgements first.
    pub(super) fn wait_for_enable(&mut self, turn: &mut Turn<'_>) {
        if !self.authenticated {
            return;
        }
        if !turn.world.policy.limits().stream_management {
            self.open_back(turn);
        } else if let Some(back) = &mut self.back {
            back.waits = Some(turn.now);
        }
    }

    /// The peer counts: what goes back is acknowledged.
    pub(super) fn count_back(&mut self, turn: &mut Turn<'_>) {
        let Some(header) = &self.header else { return };
        if let Some(back) = self.back.as_mut().filter(|back| !back.is_open) {
            back.acks = Some(SentAcks::new(header.clone()));
            turn.out.events.push_back(Event::Acknowledging(turn.link));
            self.open_back(turn);
        }
    }

    /// Stanzas may go back, if it is proven who is there.
    pub(super) fn open_back(&mut self, turn: &mut Turn<'_>) {
        let (Some(ours), Some(theirs), Some(back)) = (&self.ours, &self.theirs, &mut self.back) else {
            return;
        };
        if back.is_open || self.phase != Phase::Open || !self.pairs.is_proven(ours.as_str(), theirs.as_str())
        {
            return;
        }
        (back.is_open, back.waits) = (true, None);
        let acks = if back.acks.is_some() { ", acknowledged" } else { "" };
        turn.note(
            Notice::StreamBothWays,
            theirs,
            format!("the stream of {theirs} takes what {ours} sends back{acks}"),
        );
        let (side, ours, theirs) = (turn.side, ours.clone(), theirs.clone());
        turn.out.events.push_back(Event::WayBack(turn.link, Destination::Pair { side, ours, theirs }));
    }

    /// Whether the peer asked for it.
    pub(super) fn wants_back(&self) -> bool {
        self.back.is_some()
    }

    /// Whether stanzas go back.
    pub(super) fn goes_back(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.is_open)
    }

    /// Whether a stanza of this domain of ours to this one of theirs would be taken now.
    pub(crate) fn takes_back(&self, ours: &str, theirs: &str) -> bool {
        let fits = |is: &Option<Domain>, wanted| is.as_ref().is_some_and(|is| is.as_str() == wanted);
        self.phase == Phase::Open && self.goes_back() && fits(&self.ours, ours) && fits(&self.theirs, theirs)
    }

    /// Writes a stanza's slices; the caller has seen that it [is taken](Self::takes_back).
    pub(crate) fn carry_back(&mut self, slices: [Bytes; 3], turn: &mut Turn<'_>) {
        for slice in slices {
            turn.send(slice);
        }
        self.heard = turn.now;
        if let Some(acks) = self.back.as_mut().and_then(|back| back.acks.as_mut())
            && acks.carried(1)
        {
            turn.send(acks.request(turn.now));
        }
    }

    /// `<a/>`: whether the peer may have so many.
    pub(super) fn heard_back(&mut self, handled: u32, turn: &mut Turn<'_>) -> bool {
        let Some(acks) = self.back.as_mut().and_then(|back| back.acks.as_mut()) else { return false };
        let Some(new) = acks.newly(handled) else { return false };
        let ask = acks.answered(new, turn.now);
        if new > 0 {
            turn.out.events.push_back(Event::Acknowledged(turn.link, new));
        }
        if ask && self.phase == Phase::Open {
            turn.send(acks.request(turn.now));
        }
        true
    }

    /// Stanzas that went back and are counted.
    pub(super) fn sent_back(&self) -> u64 {
        self.back.as_ref().and_then(|back| back.acks.as_ref()).map_or(0, SentAcks::sent)
    }

    /// When [`Self::look_after_back`] is wanted.
    pub(super) fn back_due(&self) -> Option<Instant> {
        let back = self.back.as_ref().filter(|_| self.phase == Phase::Open)?;
        let acks = back.acks.as_ref().and_then(SentAcks::due);
        turnout_core::io::earlier(acks, back.waits.map(|since| since + ENABLE_PATIENCE))
    }

    /// The peer has not asked for acknowledgements, or does not give any (XM-03).
    pub(super) fn look_after_back(&mut self, turn: &mut Turn<'_>) -> Flow {
        if self.back_due().is_none_or(|due| turn.now < due) {
            return Flow::On;
        }
        let Some(back) = &mut self.back else { return Flow::On };
        if back.waits.is_some() {
            self.open_back(turn);
            return Flow::On;
        }
        let Some(acks) = &mut back.acks else { return Flow::On };
        if !acks.is_asked() {
            turn.send(acks.request(turn.now));
            return Flow::On;
        }
        let text = format!(
            "{} has not answered what it has of the stanzas sent back; they are sent again on another stream",
            self.about()
        );
        turn.note(Notice::StreamUnanswered, self.about(), text);
        let (condition, text) = (StreamCondition::ConnectionTimeout, "no answer to <r/>");
        turn.send(negotiate::last_words(BytesMut::new(), condition, text, false));
        turn.out.close(turn.link, Close::Abort);
        Flow::Over
    }
}
