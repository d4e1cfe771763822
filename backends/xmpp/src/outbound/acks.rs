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
pub(crate) struct Acks {
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
    /// The name by which the peer remembers the stream when its connection is gone, and for how long.
    id: Option<(String, Duration)>,
    /// It goes on with a stream that had broken off.
    resumed: bool,
}

/// A stream that broke and that the peer may remember.
#[derive(Debug)]
pub(crate) struct Broken {
    id: String,
    sent: u64,
    acknowledged: u64,
    until: Instant,
}

impl Broken {
    /// Whether the peer has forgotten it.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

impl Acks {
    pub(crate) fn new(header: Box<StreamHeader>) -> Self {
        Self {
            header,
            sent: 0,
            acknowledged: 0,
            asked: None,
            asked_about: 0,
            again: None,
            id: None,
            resumed: false,
        }
    }

    /// Whether it goes on with a stream that had broken off.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// So many stanzas were written. Whether to ask about them now.
    pub(crate) fn carried(&mut self, count: u64) -> bool {
        self.sent += count;
        self.asked.is_none()
    }

    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        self.asked_about = self.sent;
        self.again = None;
    }

    /// Asks; gives what is to be written.
    pub(crate) fn request(&mut self, now: Instant) -> &'static [u8] {
        self.ask(now);
        management::REQUEST
    }

    /// Whether an answer is due.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Stanzas written.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many more a peer has that says it has so many; `None` where it was never sent that many.
    pub(crate) fn newly(&self, handled: u32) -> Option<u32> {
        management::newly(handled, self.acknowledged, self.sent)
    }

    /// The peer has so many more. Whether to ask at once: for what was written since it was asked.
    pub(crate) fn answered(&mut self, new: u32, now: Instant) -> bool {
        self.acknowledged += u64::from(new);
        self.asked = None;
        let open = self.acknowledged < self.sent;
        self.again = open.then(|| now + AGAIN);
        open && self.asked_about < self.sent
    }

    /// When something is to be done without any input.
    pub(crate) fn due(&self) -> Option<Instant> {
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
        if let Some(broken) = self.broken.as_ref().filter(|_| self.back.is_none()) {
            // Nothing comes in on a stream out, so nothing is handled.
            turn.send(management::resumption("resume", &broken.id, 0));
            self.phase = Phase::ResumeAsked(header);
            return None;
        }
        let resumes = turn.world.policy.limits().resumption_seconds > 0 && self.back.is_none();
        turn.send(if resumes { management::ENABLE_RESUME } else { management::ENABLE });
        self.phase = Phase::EnableAsked(header);
        None
    }

    /// The peer's answer to `<resume/>`. Whether it goes on with the stream or has forgotten it, it may say how much of it has arrived.
    pub(super) fn resumed(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let Phase::ResumeAsked(header) = std::mem::replace(&mut self.phase, Phase::Header) else {
            return Ok(Flow::On);
        };
        let Some(broken) = self.broken.take() else { return Ok(Flow::On) };
        let goes_on = element.name().local == "resumed";
        let handled = management::handled(element, &header);
        if goes_on
            && (management::previd(element, &header).as_deref() != Some(&*broken.id) || handled.is_none())
        {
            self.phase = Phase::Features(header);
            let text = "<resumed/> needs 'h', and 'previd' as it was asked for";
            return self.fail(turn, StreamCondition::BadFormat, text, false);
        }
        let new = match handled
            .map(|handled| (handled, management::newly(handled, broken.acknowledged, broken.sent)))
        {
            Some((handled, None)) => {
                let sent = on_the_wire(broken.sent);
                let text = format!("it acknowledges {handled} stanzas, and was sent {sent}");
                self.acks = Some(Acks { sent: broken.sent, ..Acks::new(header) });
                return self.too_high(handled, &text, turn);
            }
            Some((_, Some(new))) => new,
            None => 0,
        };
        if goes_on {
            let count = broken.acknowledged + u64::from(new);
            let id = Some((broken.id, broken.until.saturating_duration_since(turn.now)));
            self.acks = Some(Acks {
                sent: count,
                acknowledged: count,
                id,
                resumed: true,
                ..Acks::new(header.clone())
            });
            turn.out.events.push_back(Event::Acknowledging(turn.link));
            let text = format!("{} goes on with the stream that broke off", self.theirs);
            turn.note(Notice::StreamResumed, &self.theirs, text);
        }
        if new > 0 {
            turn.out.events.push_back(Event::Resumed(turn.link, new));
        }
        Ok(if goes_on { self.established(header, turn) } else { self.ready(header, turn) })
    }

    /// Goes on where another stream of the same pair broke off, if the peer remembers that.
    pub(crate) fn go_on_from(&mut self, broken: Broken) {
        self.broken = Some(broken);
    }

    /// Whether the peer may remember the stream when its connection is gone.
    pub(crate) fn is_resumable(&self) -> bool {
        matches!(self.phase, Phase::Ready(_)) && self.acks.as_ref().is_some_and(|acks| acks.id.is_some())
    }

    /// The connection is gone: what another stream needs to go on.
    pub(crate) fn broken(&self, now: Instant) -> Option<Broken> {
        let acks = self.acks.as_ref().filter(|_| self.is_resumable())?;
        let (id, remembered) = acks.id.clone()?;
        Some(Broken { id, sent: acks.sent, acknowledged: acks.acknowledged, until: now + remembered })
    }

    /// The peer's answer to `<enable/>`, which it may refuse.
    pub(super) fn enabled(&mut self, element: &Element, turn: &mut Turn<'_>) -> Flow {
        let Phase::EnableAsked(header) = std::mem::replace(&mut self.phase, Phase::Header) else {
            return Flow::On;
        };
        if element.name().local == "enabled" {
            let resumes = turn.world.policy.limits().resumption_seconds > 0 && self.back.is_none();
            let id = management::resumable(element, &header).filter(|_| resumes);
            self.acks = Some(Acks { id, ..Acks::new(header.clone()) });
            turn.out.events.push_back(Event::Acknowledging(turn.link));
            self.count_back(turn);
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
            turn.send(acks.request(turn.now));
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
        let Some(new) = acks.newly(handled) else {
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
