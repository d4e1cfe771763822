//! The pool's subscriptions: local users who watch partners' users (RFC 6665 §4.2, RFC 3856 §6). Invariant: what the watchers of
//! one pair of users are told comes from one place, their audience; an audience without subscriptions is forgotten, and with
//! it what was known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub(crate) use turnout_core::limits::SIP_SUBSCRIPTIONS_PER_PAIR_MAX as PER_PAIR_MAX;

use hashbrown::HashMap;
use turnout_core::flow::Room;
use turnout_core::io::earlier;
use turnout_core::jid::Jid;
use turnout_core::timers::TimerId;

use super::pairs::Pairs;
use super::shown::Presence;
use super::usage::Usage;
use crate::random::Token;
use crate::slab::{Key, Slab};

/// Resources of a partner's user that are remembered.
pub(crate) const RESOURCES_MAX: usize = 16;
/// Status texts that are kept of one resource, in bytes together.
pub(crate) const TEXTS_BYTES_MAX: usize = 8192;
/// A watcher is told of a new presence no more often than this (RFC 3856 §6.10).
pub(crate) const RATE: Duration = Duration::from_secs(5);
/// A watcher who could not be told is told again after this.
pub(crate) const RETRY: Duration = Duration::from_secs(30);

/// What is kept of a presence: the first of its texts, as far as there is room.
pub(crate) fn lean(mut presence: Presence) -> Presence {
    let mut bytes = 0_usize;
    presence.statuses.retain(|(_, text)| {
        bytes = bytes.saturating_add(text.len());
        bytes <= TEXTS_BYTES_MAX
    });
    presence
}

/// The subscriptions of a local user to one partner's user, and what is known of him.
#[derive(Debug)]
pub(crate) struct Audience {
    /// The local user, bare.
    pub(crate) local: Jid,
    /// The partner's user, bare.
    pub(crate) partner: Jid,
    /// The subscriptions, the oldest first.
    pub(crate) members: Vec<Key>,
    /// The partner's user has allowed it.
    pub(crate) granted: bool,
    /// Something is known of him: what is not in `open` is unavailable.
    pub(crate) known: bool,
    /// His available resources.
    pub(crate) open: BTreeMap<Arc<str>, Presence>,
    /// The request to him did not arrive.
    pub(crate) in_vain: bool,
    /// He could not be asked how he is, and has not said since.
    pub(crate) lost: bool,
    /// When he is asked again.
    pub(crate) check: Option<TimerId>,
}

/// What a watcher was told last of where his subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Nothing.
    Nothing,
    /// That it waits for the partner's user.
    Pending,
    /// That it is allowed.
    Active,
}

/// One subscription of the pool.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// What it is of.
    pub(crate) audience: Key,
    /// Its dialog.
    pub(crate) usage: Usage,
    /// The value of Event, as the pool wrote it.
    pub(crate) event: Box<str>,
    /// When it ends unless it is refreshed.
    pub(crate) ends: Instant,
    /// What the watcher was told.
    pub(crate) told: Told,
    /// There is something he was not told.
    pub(crate) changed: bool,
    /// When he may be told of a new presence.
    pub(crate) not_before: Option<Instant>,
    /// The transaction of the NOTIFY under way.
    pub(crate) flight: Option<Key>,
    /// Its timer.
    pub(crate) timer: Option<TimerId>,
}

impl Subscription {
    /// When something is to be done by itself.
    pub(crate) fn next(&self) -> Option<Instant> {
        let tell = self.not_before.filter(|_| self.changed && self.flight.is_none());
        earlier(Some(self.ends), tell)
    }

    /// Whether the watcher may be told now; a change of where the subscription stands is told at once.
    pub(crate) fn may_tell(&self, now: Instant, state: Told) -> bool {
        self.told != state || self.not_before.is_none_or(|at| at <= now)
    }
}

/// Why a subscription ends, as Subscription-State says it (RFC 6665 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was not refreshed, or the watcher ended it.
    Timeout,
    /// The partner's user does not allow it.
    Rejected,
    /// It goes on elsewhere: the watcher should subscribe anew at once.
    Deactivated,
    /// The watcher should subscribe anew after so many seconds.
    Probation(u32),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Rejected => f.write_str("rejected"),
            Self::Deactivated => f.write_str("deactivated"),
            Self::Probation(seconds) => write!(f, "probation;retry-after={seconds}"),
        }
    }
}

/// All subscriptions of one instance.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    audiences: Slab<Audience>,
    pairs: Pairs,
    subscriptions: Slab<Subscription>,
    by_tag: HashMap<Token, Key>,
    /// How many there may be.
    pub(crate) room: Room,
}

impl Audiences {
    /// The audience of a pair, made if there is none. `None`: there is no room for another subscription.
    pub(crate) fn open(&mut self, local: &Jid, partner: &Jid) -> Option<Key> {
        if self.subscriptions.len() >= self.room.sip_subscriptions {
            return None;
        }
        if let Some(key) = self.find(local, partner) {
            return Some(key);
        }
        if !self.pairs.has_room(local.bare_str()) {
            return None;
        }
        let key = self.audiences.insert(Audience {
            local: local.bare(),
            partner: partner.bare(),
            members: Vec::new(),
            granted: false,
            known: false,
            open: BTreeMap::new(),
            in_vain: false,
            lost: false,
            check: None,
        });
        self.pairs.insert(local, partner, key);
        Some(key)
    }

    /// The audience of a pair.
    pub(crate) fn find(&self, local: &Jid, partner: &Jid) -> Option<Key> {
        if self.pairs.is_empty() {
            return None;
        }
        self.pairs.find(local.bare_str(), partner.bare_str())
    }

    /// The audience of this key.
    pub(crate) fn get(&self, key: Key) -> Option<&Audience> {
        self.audiences.get(key)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Audience> {
        self.audiences.get_mut(key)
    }

    /// The members of an audience.
    pub(crate) fn members(&self, key: Key) -> Vec<Key> {
        self.audiences.get(key).map(|audience| audience.members.clone()).unwrap_or_default()
    }

    /// The subscription of this key.
    pub(crate) fn member(&self, key: Key) -> Option<&Subscription> {
        self.subscriptions.get(key)
    }

    /// The same, to be changed.
    pub(crate) fn member_mut(&mut self, key: Key) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(key)
    }

    /// The subscription whose dialog has this tag of ours.
    pub(crate) fn tagged(&self, tag: Token) -> Option<Key> {
        self.by_tag.get(&tag).copied()
    }

    /// Puts a subscription in; its audience must be there.
    pub(crate) fn join(&mut self, subscription: Subscription) -> Key {
        let (audience, tag) = (subscription.audience, subscription.usage.local_tag);
        let key = self.subscriptions.insert(subscription);
        self.by_tag.insert(tag, key);
        if let Some(audience) = self.audiences.get_mut(audience) {
            audience.members.push(key);
        }
        key
    }

    /// Takes a subscription out. With the last of an audience that goes too, and its timer is given back to be cancelled.
    pub(crate) fn part(&mut self, key: Key) -> (Option<Subscription>, Option<TimerId>) {
        let Some(subscription) = self.subscriptions.remove(key) else { return (None, None) };
        self.by_tag.remove(&subscription.usage.local_tag);
        let mut check = None;
        if let Some(audience) = self.audiences.get_mut(subscription.audience) {
            audience.members.retain(|member| *member != key);
            if audience.members.is_empty() {
                check = audience.check.take();
                let (local, partner) = (audience.local.clone(), audience.partner.clone());
                self.pairs.remove(local.bare_str(), partner.bare_str(), subscription.audience);
                self.audiences.remove(subscription.audience);
            }
        }
        (Some(subscription), check)
    }

    /// Audiences of a local user.
    pub(crate) fn of(&self, local: &str) -> Vec<Key> {
        self.pairs.of(local)
    }

    /// The subscriptions in so many places from this one on, and whether there are more.
    pub(crate) fn page(&self, from: usize, places: usize) -> (impl Iterator<Item = &Subscription>, bool) {
        self.subscriptions.page(from, places)
    }

    /// All subscriptions, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Subscription)> {
        self.subscriptions.iter()
    }

    /// How many subscriptions there are.
    pub(crate) fn len(&self) -> usize {
        self.subscriptions.len()
    }
}
