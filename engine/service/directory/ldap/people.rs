//! The users of a directory, as it told them: what changes are applied to, what snapshots are made of, and what is kept on disk. Invariant: an identity
//! is there once; what users have in common is kept once.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use turnout_core::directory::{AccessPolicies, Snapshot};
use turnout_core::home::Homes;

use super::person::{self, Traits};
use crate::config::DirectoryConfig;
use crate::directory::report::{Place, Report};
use crate::directory::roll::{Facts, Fault, Roll};

/// Most users.
pub(in crate::directory) const USERS_MAX: usize = 20_000_000;

/// Most combinations of traits that nobody has any more before they are swept out.
const IDLE_TRAITS_MAX: usize = 100_000;

/// Most users of a hundred that may be unusable.
const SKIPPED_PERCENT_MAX: u64 = 10;

/// Most unusable users that are told one by one, and most policies that are counted.
const LISTED_MAX: usize = 100;
const POLICIES_LISTED_MAX: usize = 1000;

/// All users.
#[derive(Debug, Clone, Default)]
pub struct People {
    by_id: BTreeMap<Box<[u8]>, Person>,
    traits: Vec<Traits>,
    numbers: HashMap<Traits, u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Person {
    address: Box<str>,
    traits: u32,
}

impl PartialEq for People {
    fn eq(&self, other: &Self) -> bool {
        self.by_id.len() == other.by_id.len() && self.iter().eq(other.iter())
    }
}

impl People {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether there is one with this identity.
    pub(super) fn has(&self, id: &[u8]) -> bool {
        self.by_id.contains_key(id)
    }

    /// Identity, address and traits of all, in the order of their identities.
    pub(in crate::directory) fn iter(&self) -> impl Iterator<Item = (&[u8], &str, &Traits)> {
        let traits = |person: &Person| self.traits.get(person.traits as usize);
        self.by_id.iter().filter_map(move |(id, person)| Some((&**id, &*person.address, traits(person)?)))
    }

    /// Takes a user in, or what is new of him. `false` if nothing is.
    pub(in crate::directory) fn set(&mut self, id: &[u8], address: &str, traits: Traits) -> bool {
        let traits = self.number(traits);
        match self.by_id.get_mut(id) {
            Some(person) if person.traits == traits && *person.address == *address => false,
            Some(person) => {
                *person = Person { address: address.into(), traits };
                true
            }
            None => {
                self.by_id.insert(id.into(), Person { address: address.into(), traits });
                true
            }
        }
    }

    /// Lets a user go. `false` if he was not there.
    pub(super) fn remove(&mut self, id: &[u8]) -> bool {
        self.by_id.remove(id).is_some()
    }

    /// The pools they live on.
    pub(super) fn pools(&self) -> BTreeSet<String> {
        self.traits.iter().map(|traits| traits.pool.clone()).collect()
    }

    /// Gives a pool another name.
    pub(super) fn call_pool(&mut self, pool: &str, name: &str) {
        if pool == name {
            return;
        }
        // Two DNs may stand for one pool; traits that become equal by that stay apart, which nobody sees.
        self.numbers.retain(|traits, _| traits.pool != pool);
        for (number, traits) in (0..).zip(&mut self.traits).filter(|(_, traits)| traits.pool == pool) {
            name.clone_into(&mut traits.pool);
            self.numbers.insert(traits.clone(), number);
        }
    }

    /// The snapshot of them, and what was found.
    ///
    /// # Errors
    /// So many of them cannot be used that the directory is not to be believed, or there are too many.
    pub fn snapshot(&self, homes: &Homes, config: &DirectoryConfig) -> Result<(Snapshot, Report), String> {
        let policies = AccessPolicies::new(config.default_xmpp_access);
        let mut roll = Roll::new(homes, &policies);
        let granting = &config.xmpp_access_policies;
        let xmpp: Vec<bool> = self
            .traits
            .iter()
            .map(|traits| person::xmpp_enabled(&traits.policies, granting, config.default_xmpp_access))
            .collect();
        for (id, person) in &self.by_id {
            roll.report.rows += 1;
            let number = person.traits as usize;
            let (Some(traits), Some(&xmpp_enabled)) = (self.traits.get(number), xmpp.get(number)) else {
                continue;
            };
            let facts = Facts {
                address: &person.address,
                pool: &traits.pool,
                hosting_provider: &traits.provider,
                federation_enabled: traits.federation_enabled,
                xmpp_enabled,
                enabled: traits.enabled,
                moving: traits.moving,
            };
            match roll.add(person::ADDRESS, &facts) {
                Ok(()) => {
                    roll.report.moving += u64::from(traits.moving);
                    count_policies(&mut roll.report, &traits.policies);
                }
                Err(Fault::Bad(why)) => {
                    roll.report.skip(Place::Object(person::id_text(id)), why, LISTED_MAX);
                }
                Err(Fault::Full) => {
                    return Err(format!(
                        "the directory has more users than the {} turnout can hold",
                        roll.len()
                    ));
                }
            }
        }
        let (snapshot, report) = roll.finish();
        if report.skipped_rows * 100 > report.rows * SKIPPED_PERCENT_MAX {
            let first =
                report.skipped.first().map(|first| format!("; the first: {}: {}", first.place, first.why));
            return Err(format!(
                "{} of {} users cannot be used, more than {SKIPPED_PERCENT_MAX} %: nothing is taken{}",
                report.skipped_rows,
                report.rows,
                first.unwrap_or_default()
            ));
        }
        Ok((snapshot, report))
    }

    fn number(&mut self, traits: Traits) -> u32 {
        if let Some(&number) = self.numbers.get(&traits) {
            return number;
        }
        if self.traits.len() > IDLE_TRAITS_MAX + self.by_id.len() {
            self.sweep();
        }
        // There are fewer than 2^32 of them: each but some belongs to one of 20 million users.
        let number = self.traits.len() as u32;
        self.traits.push(traits.clone());
        self.numbers.insert(traits, number);
        number
    }

    /// Drops what nobody has.
    fn sweep(&mut self) {
        let old = std::mem::take(self);
        for (id, person) in old.by_id {
            if let Some(traits) = old.traits.get(person.traits as usize) {
                let traits = match self.numbers.get(traits) {
                    Some(&number) => number,
                    None => {
                        let number = self.traits.len() as u32;
                        self.traits.push(traits.clone());
                        self.numbers.insert(traits.clone(), number);
                        number
                    }
                };
                self.by_id.insert(id, Person { address: person.address, traits });
            }
        }
    }
}

fn count_policies(report: &mut Report, policies: &str) {
    for pair in policies.split(' ').filter(|pair| !pair.is_empty()) {
        if let Some(users) = report.policies.get_mut(pair) {
            *users += 1;
        } else if report.policies.len() < POLICIES_LISTED_MAX {
            report.policies.insert(pair.to_owned(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_equal_whatever_way_they_came() {
        let traits = |pool: &str| Traits { pool: pool.into(), ..Traits::default() };
        let mut a = People::default();
        assert!(a.set(b"1", "sip:a@x", traits("p")));
        assert!(!a.set(b"1", "sip:a@x", traits("p")));
        assert!(a.set(b"1", "sip:a@x", traits("q")));
        assert!(a.set(b"2", "sip:b@x", traits("p")));
        let mut b = People::default();
        b.set(b"2", "sip:b@x", traits("p"));
        assert_ne!(a, b);
        b.set(b"1", "sip:a@x", traits("q"));
        assert_eq!(a, b);
        assert!(b.remove(b"1") && !b.remove(b"1"));
        assert!(!b.has(b"1") && b.has(b"2"));
        assert_eq!(b.len(), 1);
    }

    #[test]
    fn what_nobody_has_is_swept_out() {
        let mut people = People::default();
        for n in 0..IDLE_TRAITS_MAX + 100 {
            people.set(b"1", "sip:a@x", Traits { pool: n.to_string(), ..Traits::default() });
        }
        assert!(people.traits.len() <= 200, "{}", people.traits.len());
        let pools: Vec<&str> = people.iter().map(|(_, _, traits)| traits.pool.as_str()).collect();
        assert_eq!(pools, [(IDLE_TRAITS_MAX + 99).to_string()]);
    }
}
