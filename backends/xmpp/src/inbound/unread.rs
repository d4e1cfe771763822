//! A stream that is not read for a while, because what it brings does not go out (back-pressure). Invariant: while it lasts, the peer's silence
//! is ours: no clock that runs against a silent peer runs, neither here nor on the streams out to him, whose pings he answers on
//! this one; and he is shown that we live, as what he asks lies unread behind his stanzas.

use std::time::{Duration, Instant};

use turnout_core::io::{Handoff, Output};

use super::{Inbound, Phase};
use crate::liveness::Alive;
use crate::turn::Turn;

/// How often the peer is shown that we live, and his silence is excused: well within the patience for an answer to a ping (60 s), and to an
/// `<r/>` (20 s with another turnout).
const BEAT: Duration = Duration::from_secs(10);

impl Inbound {
    /// The stream is not read from now on, or it is read again.
    pub(crate) fn set_unread(&mut self, unread: bool, turn: &mut Turn<'_>) {
        self.heard = turn.now;
        self.unread = unread.then_some(turn.now);
        if unread {
            self.excuse(turn);
        }
    }

    /// When the next beat is due, while it is not read.
    pub(super) fn beat_at(&self) -> Option<Instant> {
        let open = matches!(self.phase, Phase::Open | Phase::Challenged) && self.pairs.any_proven();
        self.unread.filter(|_| open).map(|at| at + BEAT)
    }

    /// Shows the peer that we live, and excuses his silence.
    pub(super) fn beat(&mut self, turn: &mut Turn<'_>) {
        self.heard = turn.now;
        self.unread = Some(turn.now);
        if self.acks.is_some() {
            self.tell_handled(turn);
        } else {
            turn.send(&b" "[..]);
        }
        self.excuse(turn);
    }

    /// Whoever speaks on this stream counts as heard, on every shard, as the streams out to him may be on any.
    fn excuse(&self, turn: &mut Turn<'_>) {
        for theirs in self.pairs.proven() {
            turn.lives.heard(theirs, turn.now);
            let bytes = Alive::to_bytes(theirs);
            for shard in (0..turn.world.shards).filter(|shard| *shard != turn.link.shard()) {
                let message = Handoff::Message { side: turn.side, link: turn.link, bytes: bytes.clone() };
                turn.out.outputs.push(Output::Handoff(shard, message));
            }
        }
    }
}
