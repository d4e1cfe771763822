//! What is remembered of a pair of users: the texts that wait for the pool and the dialogs they may go through.
//! Invariant: the texts of a pair leave one at a time and in order; the one at the head stays at the head until its final
//! answer, so that no text overtakes another and none is forgotten.

use std::collections::VecDeque;

use hashbrown::HashMap;
use turnout_core::io::LinkId;
use turnout_core::jid::Jid;
use turnout_core::stanza::Stanza;

/// Texts one pair may have waiting.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Texts one instance may hold.
pub(crate) const KEPT_MAX: usize = 65_536;
/// Sessions one instance may hold.
pub(crate) const SESSIONS_MAX: usize = 65_536;
/// Dialogs one pair may have: one for each device of the local user that wrote lately.
pub(crate) const DIALOGS_PER_SESSION_MAX: usize = 4;

/// A stanza on its way to the pool, as text.
#[derive(Debug)]
pub(crate) struct Item {
    /// The stanza, to be given back at its end.
    pub(crate) stanza: Stanza,
    /// What it says.
    pub(crate) text: String,
    /// Its subject.
    pub(crate) subject: Option<String>,
    /// It was sent once and the session turned out dead; it is not sent a third time.
    pub(crate) resent: bool,
}

/// What the head of the queue is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Flight {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The INVITE of this transaction carries it, or goes before it when the text is too long for a header.
    Inviting {
        /// The key of the client transaction.
        key: String,
        /// The INVITE holds the text.
        embedded: bool,
    },
    /// A MESSAGE carries it.
    Sending {
        /// The tag of the dialog it went through; empty for a MESSAGE outside of any.
        tag: String,
    },
}

/// A pair of users who talk.
#[derive(Debug)]
pub(crate) struct Session {
    /// The local user, bare.
    pub(crate) local: Jid,
    /// The partner's user, bare.
    pub(crate) partner: Jid,
    /// The full JID the partner's user last wrote from.
    pub(crate) writer: Jid,
    /// The local user has written.
    pub(crate) introduced: bool,
    /// Texts for the local user, the head first.
    pub(crate) queue: VecDeque<Item>,
    /// What the head is doing.
    pub(crate) flight: Flight,
    /// Local tags of the dialogs, the preferred one last.
    pub(crate) dialogs: Vec<String>,
    /// The link the shard named last.
    pub(crate) link: LinkId,
}

impl Session {
    /// Texts go through this dialog first from now on.
    pub(crate) fn prefer(&mut self, tag: &str) {
        if let Some(at) = self.dialogs.iter().position(|other| other == tag) {
            let tag = self.dialogs.remove(at);
            self.dialogs.push(tag);
        }
    }
}

/// All sessions of one instance.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: HashMap<u64, Session>,
    by_pair: HashMap<(Jid, Jid), u64>,
    kept_by_local: HashMap<Jid, usize>,
    kept: usize,
    count: u64,
}

impl Sessions {
    /// The session of a pair, made if there is none. `None`: there are too many.
    pub(crate) fn open(&mut self, local: &Jid, partner: &Jid) -> Option<u64> {
        let pair = (local.bare(), partner.bare());
        if let Some(id) = self.by_pair.get(&pair) {
            return Some(*id);
        }
        if self.by_id.len() >= SESSIONS_MAX {
            return None;
        }
        self.count += 1;
        let session = Session {
            local: pair.0.clone(),
            partner: pair.1.clone(),
            writer: partner.clone(),
            introduced: false,
            queue: VecDeque::new(),
            flight: Flight::Idle,
            dialogs: Vec::new(),
            link: LinkId::NONE,
        };
        self.by_id.insert(self.count, session);
        self.by_pair.insert(pair, self.count);
        Some(self.count)
    }

    /// The full JID the partner's user of a pair last wrote from.
    pub(crate) fn writer(&self, local: &Jid, partner: &Jid) -> Option<Jid> {
        let id = self.by_pair.get(&(local.bare(), partner.bare()))?;
        self.by_id.get(id).map(|session| session.writer.clone())
    }

    /// Notes that the local user has written; whether that was not known. Without a session it is news each time.
    pub(crate) fn introduce(&mut self, local: &Jid, partner: &Jid) -> bool {
        let id = self.by_pair.get(&(local.bare(), partner.bare()));
        let session = id.and_then(|id| self.by_id.get_mut(id));
        session.is_none_or(|session| !std::mem::replace(&mut session.introduced, true))
    }

    /// The session of this number.
    pub(crate) fn get(&mut self, id: u64) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    /// Numbers of all sessions, oldest first.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Puts a text at the end of a queue; gives it back when there is no room.
    pub(crate) fn push(&mut self, id: u64, item: Item) -> Result<(), Box<Item>> {
        let Some(session) = self.by_id.get_mut(&id) else { return Err(Box::new(item)) };
        if session.queue.len() >= QUEUE_MAX || self.kept >= KEPT_MAX {
            return Err(Box::new(item));
        }
        *self.kept_by_local.entry(session.local.clone()).or_default() += 1;
        self.kept += 1;
        session.queue.push_back(item);
        Ok(())
    }

    /// Takes the head of a queue.
    pub(crate) fn pop(&mut self, id: u64) -> Option<Item> {
        let session = self.by_id.get_mut(&id)?;
        let item = session.queue.pop_front()?;
        self.kept = self.kept.saturating_sub(1);
        if let Some(count) = self.kept_by_local.get_mut(&session.local) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.kept_by_local.remove(&session.local);
            }
        }
        Some(item)
    }

    /// Forgets a session that holds nothing.
    pub(crate) fn tidy(&mut self, id: u64) {
        let Some(session) = self.by_id.get(&id) else { return };
        if !session.queue.is_empty() || !session.dialogs.is_empty() || session.flight != Flight::Idle {
            return;
        }
        if let Some(session) = self.by_id.remove(&id) {
            self.by_pair.remove(&(session.local, session.partner));
        }
    }

    /// Texts kept for a local user.
    pub(crate) fn kept_for(&self, bare: &str) -> usize {
        self.kept_by_local.get(bare).copied().unwrap_or(0)
    }

    /// Texts kept in all.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }
}
