//! The ends of a stream we opened, and of an attempt to open one. Invariant: the shard hears once that no more stanzas are taken,
//! before the connection is closed.

use bytes::BytesMut;
use turnout_core::io::{Close, Event};
use turnout_core::notice::Notice;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};

use super::{Outbound, Phase, Purpose};
use crate::dialback::{Answer, Outcome};
use crate::error::StreamCondition;
use crate::negotiate;
use crate::turn::{Flow, Step, Turn, fault};
use crate::write;

/// How an attempt ended.
pub(super) struct Failure {
    pub(super) condition: Condition,
    pub(super) retry: Retry,
    /// Told to the sender.
    pub(super) told: &'static str,
    /// For the operator: what, why, what to do.
    pub(super) detail: String,
}

impl Outbound {
    /// The connection is gone, or never came.
    pub(crate) fn closed(&mut self, why: &str, turn: &mut Turn<'_>) {
        if self.purpose == Purpose::Verify && !self.asks.is_empty() {
            let text =
                format!("the server of {} could not be asked about a dialback key: {why}", self.theirs);
            turn.note(Notice::DialbackUnverified, &self.theirs, text);
        }
        self.unanswered(Condition::RemoteServerTimeout, turn);
    }

    /// Ends the stream politely.
    pub(crate) fn finish(&mut self, refusal: Option<Refusal>, turn: &mut Turn<'_>) -> Flow {
        if matches!(self.phase, Phase::Closing(_)) {
            return Flow::On;
        }
        self.tell(refusal, turn);
        if matches!(self.phase, Phase::Dialing | Phase::Handshake) {
            turn.out.close(turn.link, Close::Abort);
            return Flow::Over;
        }
        self.request_last(turn);
        self.tell_last(turn);
        turn.send(negotiate::bytes(write::stream_end));
        self.phase = Phase::Closing(turn.now);
        Flow::On
    }

    /// The peer ended the stream, in order or with an error.
    pub(super) fn ended(&mut self, error: Option<(StreamCondition, String)>, turn: &mut Turn<'_>) -> Flow {
        if !matches!(self.phase, Phase::Closing(_)) {
            let was_ready = matches!(self.phase, Phase::Ready(_));
            let said = error
                .as_ref()
                .map_or_else(String::new, |(condition, text)| format!(" with {condition} {text}"));
            if !was_ready || error.is_some() {
                let text = format!("{} ended the stream from {}{said}", self.theirs, self.ours);
                turn.note(Notice::StreamEnded, &self.theirs, text);
            }
            let refusal = (!was_ready).then(|| {
                let (condition, retry) = match error {
                    Some((StreamCondition::HostUnknown | StreamCondition::HostGone, _)) => {
                        (Condition::RemoteServerNotFound, Retry::Never)
                    }
                    // What it thinks of our certificate, or of us: another attempt would hear the same.
                    Some((StreamCondition::NotAuthorized | StreamCondition::PolicyViolation, _)) => {
                        (Condition::RemoteServerTimeout, Retry::Never)
                    }
                    _ => (Condition::RemoteServerTimeout, Retry::Later),
                };
                refusal(
                    condition,
                    retry,
                    "the remote server ended the negotiation",
                    format!("{}{said}", self.theirs),
                )
            });
            self.tell(refusal, turn);
            self.tell_last(turn);
            turn.send(negotiate::bytes(write::stream_end));
        }
        self.unanswered(Condition::RemoteServerTimeout, turn);
        turn.out.close(turn.link, Close::Flush);
        Flow::Over
    }

    /// The peer broke a rule.
    pub(super) fn fail(
        &mut self,
        turn: &mut Turn<'_>,
        condition: StreamCondition,
        text: &str,
        too_big: bool,
    ) -> Step {
        if !matches!(self.phase, Phase::Closing(_)) {
            turn.send(negotiate::last_words(BytesMut::new(), condition, text, too_big));
            turn.note(
                Notice::StreamClosed,
                &self.theirs,
                format!("closed the stream to {}: {condition}: {text}", self.theirs),
            );
            let was_ready = matches!(self.phase, Phase::Ready(_));
            let told = "the remote server broke a rule of the protocol";
            self.tell(
                (!was_ready).then(|| refusal(Condition::RemoteServerTimeout, Retry::Later, told, text)),
                turn,
            );
        }
        self.unanswered(Condition::RemoteServerTimeout, turn);
        turn.out.close(turn.link, Close::Flush);
        Err(fault(condition, text))
    }

    /// The attempt led nowhere: says so to the shard and the operator, closes.
    pub(super) fn give_up(
        &mut self,
        failure: Failure,
        error: Option<StreamCondition>,
        turn: &mut Turn<'_>,
    ) -> Flow {
        turn.note(Notice::StreamFailed, &self.theirs, failure.detail.as_str());
        let close = match (&self.phase, error) {
            (Phase::Dialing | Phase::Handshake, _) => Close::Abort,
            (_, Some(condition)) => {
                turn.send(negotiate::last_words(BytesMut::new(), condition, "", false));
                Close::Flush
            }
            (_, None) => {
                turn.send(negotiate::bytes(write::stream_end));
                Close::Flush
            }
        };
        self.tell(Some(refusal(failure.condition, failure.retry, failure.told, failure.detail)), turn);
        self.unanswered(failure.condition, turn);
        turn.out.close(turn.link, close);
        Flow::Over
    }

    pub(super) fn refused(&self, detail: String) -> Failure {
        Failure {
            condition: Condition::RemoteServerTimeout,
            retry: Retry::Never,
            told: "no acceptable stream to the remote server could be negotiated",
            detail,
        }
    }

    /// Tells the shard that no more stanzas are taken.
    pub(super) fn tell(&mut self, refusal: Option<Refusal>, turn: &mut Turn<'_>) {
        match self.purpose {
            Purpose::Deliver => turn.out.events.push_back(Event::Unready(turn.link, refusal)),
            Purpose::Verify => self.unanswered(Condition::RemoteServerTimeout, turn),
        }
    }

    /// Questions that will get no answer any more (XD-09).
    fn unanswered(&mut self, condition: Condition, turn: &mut Turn<'_>) {
        for (ask, _) in self.asks.drain(..) {
            turn.answers.push(Answer { ask, outcome: Outcome::Error(condition) });
        }
    }
}

fn refusal(condition: Condition, retry: Retry, told: &'static str, detail: impl Into<Box<str>>) -> Refusal {
    Refusal::new(condition, Blame::NextHop, retry, Bounce::Yes, told).with_detail(detail)
}

/// Policy does not let us write there.
pub(crate) fn not_allowed() -> Refusal {
    let text = "this domain is not allowed to federate with us";
    Refusal::new(Condition::PolicyViolation, Blame::Router, Retry::Never, Bounce::Yes, text)
}
