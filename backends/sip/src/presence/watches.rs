//! All watches of one instance. Invariant: a pair of users has one watch that is not over, and every dialog one watch; both are
//! bounded.

use turnout_core::flow::Room;
use turnout_core::jid::Jid;
use turnout_core::limits::LOOKS_PER_DOMAIN_MAX;

use hashbrown::HashMap;

use super::pairs::Pairs;
use super::usage::Usage;
use super::watch::{Goal, Watch};
use crate::random::Token;
use crate::slab::{Key, Slab};

/// The watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    all: Slab<Watch>,
    pairs: Pairs,
    by_tag: HashMap<Token, Key>,
    /// Those that only look, by the watcher's domain.
    looks: HashMap<String, usize>,
    /// How many there may be.
    pub(crate) room: Room,
}

impl Watches {
    /// Puts one in. `None`: there are too many.
    pub(crate) fn insert(&mut self, watch: Watch) -> Option<Key> {
        if self.all.len() >= self.room.sip_watches || !self.pairs.has_room(watch.local.bare_str()) {
            return None;
        }
        if watch.goal == Goal::Look {
            let looks = self.looks.entry_ref(watch.partner.domain()).or_insert(0);
            if *looks >= LOOKS_PER_DOMAIN_MAX {
                return None;
            }
            *looks += 1;
        }
        let (local, partner) = (watch.local.clone(), watch.partner.clone());
        let key = self.all.insert(watch);
        self.pairs.insert(&local, &partner, key);
        Some(key)
    }

    /// The watch of a pair.
    pub(crate) fn find(&self, local: &Jid, partner: &Jid) -> Option<Key> {
        if self.pairs.is_empty() {
            return None;
        }
        self.pairs.find(local.bare_str(), partner.bare_str())
    }

    /// The watch whose dialog has this tag of ours.
    pub(crate) fn tagged(&self, tag: Token) -> Option<Key> {
        self.by_tag.get(&tag).copied()
    }

    /// The watch of this key.
    pub(crate) fn get(&self, key: Key) -> Option<&Watch> {
        self.all.get(key)
    }

    /// The same, to be changed; its dialog is changed by [`Watches::use_dialog`] and [`Watches::drop_dialog`].
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Watch> {
        self.all.get_mut(key)
    }

    /// Gives a watch a dialog.
    pub(crate) fn use_dialog(&mut self, key: Key, usage: Usage) {
        self.drop_dialog(key);
        if let Some(watch) = self.all.get_mut(key) {
            self.by_tag.insert(usage.local_tag, key);
            watch.usage = Some(usage);
        }
    }

    /// Takes a watch its dialog, and all that was agreed in it.
    pub(crate) fn drop_dialog(&mut self, key: Key) {
        let Some(watch) = self.all.get_mut(key) else { return };
        watch.forget_terms();
        if let Some(usage) = watch.usage.take() {
            self.by_tag.remove(&usage.local_tag);
        }
    }

    /// A watch is over but for its last NOTIFY: its pair is free for another.
    pub(crate) fn retire(&mut self, key: Key) {
        let Some(watch) = self.all.get_mut(key) else { return };
        looked(&mut self.looks, watch);
        watch.goal = Goal::Leave;
        watch.shown.clear();
        watch.trouble = None;
        self.pairs.remove(watch.local.bare_str(), watch.partner.bare_str(), key);
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Watch> {
        let watch = self.all.remove(key)?;
        looked(&mut self.looks, &watch);
        if let Some(usage) = &watch.usage {
            self.by_tag.remove(&usage.local_tag);
        }
        self.pairs.remove(watch.local.bare_str(), watch.partner.bare_str(), key);
        Some(watch)
    }

    /// Those of a local user.
    pub(crate) fn of(&self, local: &str) -> Vec<Key> {
        self.pairs.of(local)
    }

    /// Those in so many places from this one on, and whether there are more.
    pub(crate) fn page(&self, from: usize, places: usize) -> (impl Iterator<Item = &Watch>, bool) {
        self.all.page(from, places)
    }

    /// All, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Watch)> {
        self.all.iter()
    }

    /// How many there are, those that are over and await their last NOTIFY included.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }
}

/// A watch that only looked does so no more.
fn looked(looks: &mut HashMap<String, usize>, watch: &Watch) {
    if watch.goal != Goal::Look {
        return;
    }
    if let Some(count) = looks.get_mut(watch.partner.domain()) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            looks.remove(watch.partner.domain());
        }
    }
}
