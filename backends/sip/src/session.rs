//! What is remembered of a pair of users: the texts that wait for the pool and the dialogs they may go through.
//! Invariant: the texts of a pair leave one at a time and in order; the one at the head stays at the head until its final
//! answer, so that no text overtakes another and none is forgotten.

use std::collections::VecDeque;
use std::hash::BuildHasher;
pub(crate) use turnout_core::limits::SIP_DIALOGS_PER_SESSION_MAX as DIALOGS_PER_SESSION_MAX;
pub(crate) use turnout_core::limits::SIP_QUEUE_MAX as QUEUE_MAX;

use hashbrown::{DefaultHashBuilder, HashTable};
use turnout_core::flow::Room;
use turnout_core::io::LinkId;
use turnout_core::jid::Jid;
use turnout_core::stanza::Stanza;

use crate::slab::{Key, Slab};
use crate::talk::{States, Talk};
use crate::translate::Text;

/// Bytes of stanzas one pair may have waiting, and one instance.
pub(crate) const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A stanza on its way to the pool, as text.
#[derive(Debug)]
pub(crate) struct Item {
    /// The stanza, to be given back at its end.
    pub(crate) stanza: Stanza,
    /// What it says.
    pub(crate) text: Text,
    /// Its subject.
    pub(crate) subject: Option<Text>,
    /// Its sender asks for a receipt.
    pub(crate) wants_receipt: bool,
    /// It was sent once and the session turned out dead; it is not sent a third time.
    pub(crate) resent: bool,
}

/// What the head of the queue is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flight {
    /// Nothing is under way.
    #[default]
    Idle,
    /// The INVITE of this transaction carries it, or goes before it when the text is too long for a header.
    Inviting {
        /// The client transaction.
        key: Key,
        /// The INVITE holds the text.
        embedded: bool,
    },
    /// A MESSAGE carries it.
    Sending {
        /// The dialog it went through; `None` for a MESSAGE outside of any.
        dialog: Option<Key>,
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
    /// Both users are known to have an address in SIP.
    pub(crate) addressable: bool,
    /// Texts for the local user, the head first.
    pub(crate) queue: VecDeque<Item>,
    /// Bytes of their stanzas.
    bytes: usize,
    /// What the head is doing.
    pub(crate) flight: Flight,
    /// The dialogs, the preferred one last.
    pub(crate) dialogs: Vec<Key>,
    /// The link the shard named last.
    pub(crate) link: LinkId,
    /// What the partner's user has shown of chat states.
    pub(crate) states: States,
    /// Typing and receipts, once there are any.
    pub(crate) talk: Option<Box<Talk>>,
    hash: u64,
    /// Its local user among all.
    user: Key,
}

impl Session {
    /// Whether nothing of it is under way or open.
    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.dialogs.is_empty() && self.flight == Flight::Idle
    }

    /// Texts go through this dialog first from now on.
    pub(crate) fn prefer(&mut self, dialog: Key) {
        if self.dialogs.last() == Some(&dialog) {
            return;
        }
        if let Some(at) = self.dialogs.iter().position(|other| *other == dialog) {
            let dialog = self.dialogs.remove(at);
            self.dialogs.push(dialog);
        }
    }
}

/// A local user with sessions.
#[derive(Debug)]
struct User {
    jid: Jid,
    sessions: usize,
    kept: usize,
    hash: u64,
}

/// All sessions of one instance.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    all: Slab<Session>,
    by_pair: HashTable<(u64, Key)>,
    users: Slab<User>,
    by_user: HashTable<(u64, Key)>,
    hasher: DefaultHashBuilder,
    kept: usize,
    kept_bytes: usize,
    talks: usize,
    /// How many there may be.
    pub(crate) room: Room,
    /// Of a session that ended, to be used again.
    spare: Option<VecDeque<Item>>,
}

impl Sessions {
    /// The session of a pair, made if there is none. `None`: there are too many.
    pub(crate) fn open(&mut self, local: &Jid, partner: &Jid) -> Option<Key> {
        let hash = self.hash(local, partner);
        if let Some(key) = self.find(hash, local, partner) {
            return Some(key);
        }
        if self.all.len() >= self.room.sip_sessions + self.room.sip_talks {
            return None;
        }
        let local = local.bare();
        let user = self.user(&local);
        let key = self.all.insert(Session {
            local,
            partner: partner.bare(),
            writer: partner.clone(),
            introduced: false,
            addressable: false,
            queue: self.spare.take().unwrap_or_default(),
            bytes: 0,
            flight: Flight::Idle,
            dialogs: Vec::new(),
            link: LinkId::NONE,
            states: States::Unknown,
            talk: None,
            hash,
            user,
        });
        self.by_pair.insert_unique(hash, (hash, key), |(hash, _)| *hash);
        Some(key)
    }

    /// The session of a pair, if there is one.
    pub(crate) fn of(&self, local: &Jid, partner: &Jid) -> Option<Key> {
        self.find(self.hash(local, partner), local, partner)
    }

    /// Typing and receipts of a session, begun if there are none yet. `None`: too much is remembered already.
    pub(crate) fn talk(&mut self, key: Key) -> Option<&mut Talk> {
        let session = self.all.get_mut(key)?;
        if session.talk.is_none() {
            if self.talks >= self.room.sip_talks {
                return None;
            }
            self.talks += 1;
        }
        Some(session.talk.get_or_insert_default())
    }

    /// Forgets typing and receipts of a session.
    pub(crate) fn hush(&mut self, key: Key) -> Option<Box<Talk>> {
        let talk = self.all.get_mut(key)?.talk.take()?;
        self.talks -= 1;
        Some(talk)
    }

    /// The session of this key.
    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Session> {
        self.all.get_mut(key)
    }

    /// Keys of all sessions.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.all.iter().map(|(key, _)| key).collect()
    }

    /// Puts a text at the end of a queue; gives it back when there is no room.
    pub(crate) fn push(&mut self, key: Key, mut item: Item) -> Result<(), Box<Item>> {
        let Some(session) = self.all.get_mut(key) else { return Err(Box::new(item)) };
        let bytes = item.stanza.len();
        let waits = !session.queue.is_empty();
        if session.queue.len() >= QUEUE_MAX
            || self.kept >= self.room.sip_kept
            || (waits && session.bytes + bytes > QUEUE_BYTES_MAX)
            || self.kept_bytes + bytes > KEPT_BYTES_MAX
        {
            return Err(Box::new(item));
        }
        if waits {
            // What waits behind others lets go of the read it came in, which is many times larger.
            item.stanza.settle_down();
        }
        session.bytes += bytes;
        self.kept_bytes += bytes;
        if let Some(user) = self.users.get_mut(session.user) {
            user.kept += 1;
        }
        self.kept += 1;
        session.queue.push_back(item);
        Ok(())
    }

    /// Takes the head of a queue.
    pub(crate) fn pop(&mut self, key: Key) -> Option<Item> {
        let session = self.all.get_mut(key)?;
        let item = session.queue.pop_front()?;
        self.kept = self.kept.saturating_sub(1);
        self.kept_bytes = self.kept_bytes.saturating_sub(item.stanza.len());
        session.bytes = session.bytes.saturating_sub(item.stanza.len());
        if let Some(user) = self.users.get_mut(session.user) {
            user.kept = user.kept.saturating_sub(1);
        }
        Some(item)
    }

    /// Forgets a session that holds nothing.
    pub(crate) fn tidy(&mut self, key: Key) {
        let Some(session) = self.all.get(key) else { return };
        if !session.is_over() || session.talk.is_some() {
            return;
        }
        let Some(session) = self.all.remove(key) else { return };
        take_out(&mut self.by_pair, session.hash, key);
        if session.queue.capacity() <= SPARE_MAX {
            self.spare = Some(session.queue);
        }
        let Some(user) = self.users.get_mut(session.user) else { return };
        user.sessions -= 1;
        if user.sessions == 0 {
            let hash = user.hash;
            take_out(&mut self.by_user, hash, session.user);
            self.users.remove(session.user);
        }
    }

    /// Texts kept for a local user.
    pub(crate) fn kept_for(&self, bare: &str) -> usize {
        let hash = self.hasher.hash_one(bare);
        self.find_user(hash, bare).and_then(|key| self.users.get(key)).map_or(0, |user| user.kept)
    }

    /// The conversations of a local user that are open, a line each, by the partner's user. Looks at all sessions: for an
    /// administrator's question, not for what stanzas wait for.
    pub(crate) fn describe(&self, bare: &str) -> Vec<String> {
        if self.find_user(self.hasher.hash_one(bare), bare).is_none() {
            return Vec::new();
        }
        let own = self.all.iter().map(|(_, session)| session);
        let own = own.filter(|session| session.local.as_str() == bare && !session.is_over());
        let mut lines: Vec<String> = own
            .map(|session| {
                let (partner, dialogs) = (session.partner.as_str(), session.dialogs.len());
                format!("talks to {partner}: dialogs: {dialogs}, texts waiting: {}", session.queue.len())
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    /// The sessions in so many places from this one on, and whether there are more.
    pub(crate) fn page(&self, from: usize, places: usize) -> (impl Iterator<Item = &Session>, bool) {
        self.all.page(from, places)
    }

    /// Texts kept in all.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    fn hash(&self, local: &Jid, partner: &Jid) -> u64 {
        self.hasher.hash_one((local.bare_str(), partner.bare_str()))
    }

    fn find(&self, hash: u64, local: &Jid, partner: &Jid) -> Option<Key> {
        let same = |(other, key): &(u64, Key)| {
            *other == hash
                && self.all.get(*key).is_some_and(|session| {
                    session.local.as_str() == local.bare_str()
                        && session.partner.as_str() == partner.bare_str()
                })
        };
        self.by_pair.find(hash, same).map(|(_, key)| *key)
    }

    /// Counts one more session of a local user.
    fn user(&mut self, local: &Jid) -> Key {
        let hash = self.hasher.hash_one(local.as_str());
        if let Some(key) = self.find_user(hash, local.as_str()) {
            if let Some(user) = self.users.get_mut(key) {
                user.sessions += 1;
            }
            return key;
        }
        let key = self.users.insert(User { jid: local.clone(), sessions: 1, kept: 0, hash });
        self.by_user.insert_unique(hash, (hash, key), |(hash, _)| *hash);
        key
    }

    fn find_user(&self, hash: u64, bare: &str) -> Option<Key> {
        let same = |(other, key): &(u64, Key)| {
            *other == hash && self.users.get(*key).is_some_and(|user| user.jid.as_str() == bare)
        };
        self.by_user.find(hash, same).map(|(_, key)| *key)
    }
}

/// A longer queue is not kept for the next session.
const SPARE_MAX: usize = 16;

fn take_out(table: &mut HashTable<(u64, Key)>, hash: u64, key: Key) {
    if let Ok(found) = table.find_entry(hash, |(_, other)| *other == key) {
        found.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_found_by_their_pair_and_forgotten() {
        let jid = |text: &str| Jid::parse(text).unwrap();
        let (local, partner) = (jid("a@contoso.com"), jid("b@partner.example/home"));
        let mut sessions = Sessions::default();
        let key = sessions.open(&local, &partner).unwrap();
        assert_eq!(sessions.open(&local, &partner.bare()), Some(key));
        let other = sessions.open(&local, &jid("c@partner.example")).unwrap();
        assert_ne!(other, key);
        assert_eq!(sessions.get(key).unwrap().writer, partner);
        assert_eq!(sessions.of(&local, &partner.bare()), Some(key));
        assert_eq!(sessions.of(&partner, &local), None);
        assert!(sessions.talk(key).is_some());
        sessions.tidy(key);
        assert!(sessions.get(key).is_some(), "it is remembered for its talk");
        assert!(sessions.hush(key).is_some());
        assert_eq!(sessions.talks, 0);
        sessions.tidy(key);
        assert!(sessions.get(key).is_none());
        assert_eq!(sessions.of(&local, &partner), None);
        assert!(sessions.get(other).is_some());
        assert_eq!(sessions.keys(), [other]);
        sessions.tidy(other);
        assert_eq!((sessions.users.len(), sessions.by_user.len(), sessions.by_pair.len()), (0, 0, 0));
    }
}
