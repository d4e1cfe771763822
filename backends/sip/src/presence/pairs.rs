//! What there is of pairs of users. Invariant: a pair has one key at most, and a local user no more pairs than he may; users
//! without pairs are forgotten. Walking it goes in the order of the partners' users.

use std::collections::BTreeMap;
use std::sync::Arc;
pub(crate) use turnout_core::limits::SIP_PAIRS_PER_USER_MAX as PAIRS_PER_USER_MAX;

use hashbrown::HashMap;
use turnout_core::jid::Jid;

use crate::slab::Key;

/// Keys by pair of users.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    users: HashMap<Arc<str>, BTreeMap<Arc<str>, Key>>,
}

impl Pairs {
    /// The key of a pair.
    pub(crate) fn find(&self, local: &str, partner: &str) -> Option<Key> {
        self.users.get(local)?.get(partner).copied()
    }

    /// Whether there is room for one more pair of this user.
    pub(crate) fn has_room(&self, local: &str) -> bool {
        self.users.get(local).is_none_or(|pairs| pairs.len() < PAIRS_PER_USER_MAX)
    }

    /// Puts one in.
    pub(crate) fn insert(&mut self, local: &Jid, partner: &Jid, key: Key) {
        if let Some(pairs) = self.users.get_mut(local.bare_str()) {
            pairs.insert(partner.bare_str().into(), key);
            return;
        }
        let pairs = BTreeMap::from([(partner.bare_str().into(), key)]);
        self.users.insert(local.bare_str().into(), pairs);
    }

    /// Takes one out, if it has this key.
    pub(crate) fn remove(&mut self, local: &str, partner: &str, key: Key) {
        let Some(pairs) = self.users.get_mut(local) else { return };
        if pairs.get(partner) == Some(&key) {
            pairs.remove(partner);
        }
        if pairs.is_empty() {
            self.users.remove(local);
        }
    }

    /// The keys of a local user's pairs.
    pub(crate) fn of(&self, local: &str) -> Vec<Key> {
        self.users.get(local).into_iter().flat_map(BTreeMap::values).copied().collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_found_until_it_is_taken_out() {
        let jid = |text: &str| Jid::parse(text).unwrap();
        let (alice, bob, carol) = (jid("a@contoso.com"), jid("b@partner.example"), jid("c@partner.example"));
        let (one, two) = (Key::of_number(1 << 32), Key::of_number(1 << 32 | 1));
        let mut pairs = Pairs::default();
        pairs.insert(&alice, &carol, two);
        pairs.insert(&alice, &bob, one);
        assert_eq!(pairs.of("a@contoso.com"), [one, two]);
        assert_eq!(pairs.find("a@contoso.com", "b@partner.example"), Some(one));
        pairs.remove("a@contoso.com", "b@partner.example", two);
        assert_eq!(pairs.find("a@contoso.com", "b@partner.example"), Some(one), "another's key");
        pairs.remove("a@contoso.com", "b@partner.example", one);
        pairs.remove("a@contoso.com", "c@partner.example", two);
        assert!(pairs.is_empty() && pairs.of("a@contoso.com").is_empty());
    }
}
