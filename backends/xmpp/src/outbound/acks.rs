//! What a peer acknowledges of what we send it (XEP-0198). Invariant: at most one `<r/>` is unanswered; it follows the stanzas
//! it asks about at once, the answer to it brings the next one where there is more to ask, and so a burst is asked about once a
//! round trip, whatever its size. A peer that leaves one unanswered for [`PATIENCE`] is dead (XM-03).

use std::time::{Duration, Instant};

use bytes::BytesMut;
use turnout_core::io::{Close, Event};
use turnout_core::notice::Notice;

use super::{Outbound, Phase, Purpose};
use crate::error::StreamCondition;
use crate::frame::{Element, StreamHeader};
use crate::management::{self, on_the_wire};
use crate::negotiate;
use crate::turn::{Flow, Step, Turn, fault};

/// How long the answer to an `<r/>` may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer that answered and had not everything yet is asked again after this: acknowledgements that wait for a next hop may come
/// unasked, and need not.
const AGAIN: Duration = Duration::from_secs(1);

/// The count of one stream out, from `<enable/>` on.
#[derive(Debug)]
pub(super) struct Acks {
    /// Of the stream: what its elements are read by, also after our end of it.
    header: Box<StreamHeader>,
    sent: u64,
    acknowledged: u64,
    /// When an `<r/>` went out that is not answered.
    asked: Option<Instant>,
    /// How many had been sent when it did.
    asked_about: u64,
    /// When to ask again about what was asked about before.
    again: Option<Instant>,
}

impl Acks {
    fn new(header: Box<StreamHeader>) -> Self {
        Self { header, sent: 0, acknowledged: 0, asked: None, asked_about: 0, again: None }
    }

    /// So many stanzas were written. Whether to ask about them now.
    fn carried(&mut self, count: u64) -> bool {
        self.sent += count;
        self.asked.is_none()
    }

    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        self.asked_about = self.sent;
        self.again = None;
    }

    /// The peer has so many more. Whether to ask at once: for what was written since it was asked.
    fn answered(&mut self, new: u32, now: Instant) -> bool {
        self.acknowledged += u64::from(new);
        self.asked = None;
        let open = self.acknowledged < self.sent;
        self.again = open.then(|| now + AGAIN);
        open && self.asked_about < self.sent
    }

    /// When something is to be done without any input.
    fn due(&self) -> Option<Instant> {
        match self.asked {
            Some(at) => Some(at + PATIENCE),
            None => self.again,
        }
    }
}

impl Outbound {
    /// Whether the peer acknowledges what it is sent.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acks.is_some()
    }

    /// Asks the peer to acknowledge, where it offered to; gives the header back where it did not.
    pub(super) fn ask_to_enable(
        &mut self,
        header: Box<StreamHeader>,
        turn: &mut Turn<'_>,
    ) -> Option<Box<StreamHeader>> {
        let wanted = self.offers_acks
            && self.purpose == Purpose::Deliver
            && turn.world.policy.limits().stream_management;
        if !wanted {
            return Some(header);
        }
        turn.send(management::ENABLE);
        self.phase = Phase::EnableAsked(header);
        None
    }

    /// The peer's answer to `<enable/>`, which it may refuse.
    pub(super) fn enabled(&mut self, agreed: bool, turn: &mut Turn<'_>) -> Flow {
        let Phase::EnableAsked(header) = std::mem::replace(&mut self.phase, Phase::Header) else {
            return Flow::On;
        };
        if agreed {
            self.acks = Some(Acks::new(header.clone()));
            turn.out.events.push_back(Event::Acknowledging(turn.link));
        } else {
            let text = format!("{} offered stream management and refused it: going on without", self.theirs);
            turn.note(Notice::StreamUnacknowledged, &self.theirs, text);
        }
        self.established(header, turn)
    }

    /// So many stanzas were written.
    pub(super) fn carried(&mut self, count: usize, turn: &mut Turn<'_>) {
        if self.acks.as_mut().is_some_and(|acks| acks.carried(count as u64)) {
            self.request(turn);
        }
    }

    /// Asks what the peer has.
    pub(super) fn request(&mut self, turn: &mut Turn<'_>) {
        if let Some(acks) = &mut self.acks {
            acks.ask(turn.now);
            turn.send(management::REQUEST);
            self.sent = turn.now;
        }
    }

    /// The last question before our end of the stream; an answer to it still counts.
    pub(super) fn request_last(&mut self, turn: &mut Turn<'_>) {
        let open = |acks: &Acks| acks.acknowledged < acks.sent && acks.asked_about < acks.sent;
        if self.acks.as_ref().is_some_and(open) {
            self.request(turn);
        }
    }

    /// `<a/>`: the peer says what it has.
    pub(super) fn acknowledged(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let closing = matches!(self.phase, Phase::Closing(_));
        let Some(acks) = &mut self.acks else { return Ok(Flow::On) };
        let Some(handled) = management::handled(element, &acks.header) else {
            return self.fail(turn, StreamCondition::BadFormat, "<a/> needs 'h', a number", false);
        };
        let Some(new) = management::newly(handled, acks.acknowledged, acks.sent) else {
            let sent = on_the_wire(acks.sent);
            let text = format!("it acknowledges {handled} stanzas, and was sent {sent}");
            return self.too_high(handled, &text, turn);
        };
        let ask = acks.answered(new, turn.now);
        if new > 0 {
            turn.out.events.push_back(Event::Acknowledged(turn.link, new));
        }
        if ask && !closing {
            self.request(turn);
        }
        Ok(Flow::On)
    }

    /// XM-01: whoever acknowledges what it was never sent is not believed in anything.
    fn too_high(&mut self, handled: u32, text: &str, turn: &mut Turn<'_>) -> Step {
        if !matches!(self.phase, Phase::Closing(_)) {
            let sent = self.acks.as_ref().map_or(0, |acks| acks.sent);
            turn.send(management::too_high(handled, sent));
            turn.note(
                Notice::StreamClosed,
                &self.theirs,
                format!("closed the stream to {}: {text}", self.theirs),
            );
            self.tell(None, turn);
        }
        turn.out.close(turn.link, Close::Flush);
        Err(fault(StreamCondition::UndefinedCondition, text))
    }

    /// When [`Self::look_after_acks`] is wanted, on a stream whose peer acknowledges.
    pub(super) fn acks_due(&self, silence: Option<Instant>) -> Option<Instant> {
        let acks = self.acks.as_ref()?;
        let quiet = silence.filter(|_| acks.asked.is_none());
        turnout_core::io::earlier(acks.due(), quiet)
    }

    /// The answer may be overdue, or it is time to ask: about what was sent, or whether anybody is there.
    pub(super) fn look_after_acks(&mut self, silence: Option<Instant>, turn: &mut Turn<'_>) -> Flow {
        if self.acks_due(silence).is_none_or(|due| turn.now < due) {
            return Flow::On;
        }
        let Some(acks) = &self.acks else { return Flow::On };
        if acks.asked.is_none() {
            self.request(turn);
            return Flow::On;
        }
        let open = acks.sent.saturating_sub(acks.acknowledged);
        let text = format!(
            "{} has not answered for {} s what it has of our stanzas; {open} of them are sent again on the next stream. Look whether its \
             server is up, and no firewall forgets connections",
            self.theirs,
            PATIENCE.as_secs()
        );
        turn.note(Notice::StreamDead, &self.theirs, text);
        let condition = StreamCondition::ConnectionTimeout;
        turn.send(negotiate::last_words(BytesMut::new(), condition, "no answer to <r/>", false));
        self.tell(None, turn);
        turn.out.close(turn.link, Close::Abort);
        Flow::Over
    }
}
