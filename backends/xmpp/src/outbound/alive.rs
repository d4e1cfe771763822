//! Keeping a stream alive, and finding out whether it is. Invariant: towards the gateway nothing but white space is ever sent for
//! it, and towards partners a ping, or an `<r/>` where the peer acknowledges, only after the keep-alive interval without a sign of life
//! (XI-02).

use std::time::{Duration, Instant};

use bytes::BytesMut;
use turnout_core::io::Close;
use turnout_core::notice::Notice;
use turnout_core::world::World;

use super::Outbound;
use crate::error::StreamCondition;
use crate::liveness::{self, Look, Pong};
use crate::negotiate;
use crate::turn::{Flow, Turn};

impl Outbound {
    /// When [`Self::keep_alive`] is wanted, on a stream that carries stanzas.
    pub(super) fn alive_at(&self, world: &World) -> Instant {
        let after = keep_alive(world);
        let space = self.sent + self.space_after(after);
        if self.is_acknowledged() {
            let look = self.acks_due(self.silence(after));
            return look.map_or(space, |look| look.min(space));
        }
        let look = self.pulse.due(after).filter(|_| self.terms.keep_alive);
        look.map_or(space, |look| look.min(space))
    }

    /// How long nothing may go out before white space does: half of what the peer allows, or of what we expect of it.
    fn space_after(&self, after: Duration) -> Duration {
        self.bounds().idle.map_or(after, |idle| idle.min(after)) / 2
    }

    /// When the peer has been silent for too long, where its silence is looked into.
    fn silence(&self, after: Duration) -> Option<Instant> {
        self.pulse.due(after).filter(|_| self.terms.keep_alive)
    }

    /// The stream carries nothing just now, or nothing comes back: white space keeps it open, a ping finds out whether
    /// anybody is there (XEP-0199 §4.4, RFC 6120 §4.6.4).
    pub(super) fn keep_alive(&mut self, turn: &mut Turn<'_>) -> Flow {
        let after = keep_alive(turn.world);
        if self.is_acknowledged() && self.look_after_acks(self.silence(after), turn) == Flow::Over {
            return Flow::Over;
        }
        let look = match self.terms.keep_alive && !self.is_acknowledged() {
            true => self.pulse.look(turn.now, after, &self.theirs, turn.lives),
            false => Look::Fine,
        };
        match look {
            Look::Dead => {
                let detail = format!(
                    "{} took what we sent and has neither answered a ping nor said anything else since; the stream is opened anew when \
                     it is needed. Look whether its server is up, can reach us at {}, and no firewall forgets idle connections",
                    self.theirs, self.ours
                );
                turn.note(Notice::StreamDead, &self.theirs, detail);
                turn.send(negotiate::last_words(
                    BytesMut::new(),
                    StreamCondition::ConnectionTimeout,
                    "no answer to a ping",
                    false,
                ));
                self.tell(None, turn);
                turn.out.close(turn.link, Close::Flush);
                return Flow::Over;
            }
            Look::Ask => {
                let id = liveness::id(turn.link, &turn.random.stream_id());
                turn.send(liveness::ping(&self.ours, &self.theirs, &id));
                self.pulse.asked(id, turn.now);
                self.sent = turn.now;
            }
            Look::Deaf => {
                let text = format!("{} answers no pings: white space has to do", self.theirs);
                turn.note(Notice::StreamDeaf, &self.theirs, text);
            }
            Look::Fine => {}
        }
        if turn.now >= self.sent + self.space_after(after) {
            turn.send(&b" "[..]);
            self.sent = turn.now;
        }
        Flow::On
    }

    /// Somebody answered a ping; nothing happens unless it is this stream's, and of the domain it was put to.
    pub(crate) fn pong(&mut self, pong: &Pong, turn: &mut Turn<'_>) {
        if pong.ours == self.ours
            && pong.theirs == self.theirs
            && self.pulse.is_answered_by(&pong.id, turn.now)
        {
            turn.lives.answered(&self.theirs, turn.now);
        }
    }
}

/// The longest silence before somebody is asked. White space goes out at half of it, since that is what a partner may expect at
/// the longest (domain section 4, point 5).
fn keep_alive(world: &World) -> Duration {
    Duration::from_secs(world.policy.limits().keep_alive_seconds.max(2).into())
}
