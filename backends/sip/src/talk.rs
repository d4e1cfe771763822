//! What passes between two users beside their texts, and is remembered for it: who is typing, until when, and in what form the pool
//! was told. Invariant: whatever is remembered here ends by itself, and losing it loses no text.

use std::time::{Duration, Instant};

use turnout_core::timers::TimerId;

use crate::receipts::Receipts;
use crate::session::Session;
use crate::slab::Key;
use crate::typing::Form;

/// What the partner's user has shown of chat states (XEP-0085 §5.1): they are sent only to who has sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum States {
    /// He has not written yet: our texts say that we know them.
    #[default]
    Unknown,
    /// He has sent one.
    Shown,
    /// He wrote without.
    Silent,
}

/// The request about typing that the pool has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Asking {
    /// There is none.
    #[default]
    Nothing,
    /// Within this dialog.
    Within(Key),
    /// Outside of any.
    Alone,
}

/// Typing and receipts of a pair of users.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    /// The partner's user is typing, until then unless he says so again.
    pub(crate) composing: Option<Instant>,
    /// The pool was told that he is; it wants to hear it again by then.
    pub(crate) told: Option<Instant>,
    /// What the pool is being told.
    pub(crate) asking: Asking,
    /// The partner's user has left; the dialogs end once no text waits.
    pub(crate) leaving: bool,
    /// The local user is typing, as the partner's user was told, until then unless the pool says so again.
    pub(crate) heard: Option<Instant>,
    /// How the peer speaks of typing outside of dialogs, once it did.
    pub(crate) form: Option<Form>,
    /// Receipts.
    pub(crate) receipts: Receipts,
    /// Until when it is remembered where no dialog holds the session.
    pub(crate) until: Option<Instant>,
    /// Wakes when something of it is due, and when.
    pub(crate) timer: Option<(TimerId, Instant)>,
}

impl Talk {
    /// When something of it is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let again = self.told.filter(|_| self.composing.is_some());
        [self.composing, again, self.heard, self.until, self.receipts.deadline()].into_iter().flatten().min()
    }
}

impl Session {
    /// The partner's user wrote: that he was typing is over for both sides (RFC 3994 §3.3).
    pub(crate) fn said(&mut self, with_state: bool) {
        if with_state {
            self.states = States::Shown;
        } else if self.states == States::Unknown {
            self.states = States::Silent;
        }
        if let Some(talk) = &mut self.talk {
            talk.composing = None;
            talk.told = None;
            talk.leaving = false;
        }
    }

    /// The local user wrote: that he was typing is over.
    pub(crate) fn wrote(&mut self) {
        if let Some(talk) = &mut self.talk {
            talk.heard = None;
        }
    }
}

/// How long a chat state counts that is not said again: clients say it once and may be gone before they take it back.
pub(crate) const COMPOSING: Duration = Duration::from_secs(120);
