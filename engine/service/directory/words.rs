//! What pools, providers and policies mean, remembered: millions of rows name a handful of them.
//!
//! Invariant: an answer is the one [`Homes::meaning`] and [`AccessPolicies::xmpp_enabled`] give for the same words. What is
//! remembered is bounded; words beyond that are worked out each time.

use hashbrown::HashMap;
use turnout_core::directory::{AccessPolicies, SnapshotBuilder};
use turnout_core::home::{Homes, PoolMeaning, Residence};

/// Most answers that are remembered of each kind.
const REMEMBERED_MAX: usize = 8192;

/// Separates two words in a key; no word holds it, as it is no character of UTF-8.
const BETWEEN: u8 = 0xFF;

pub(super) struct Words<'a> {
    homes: &'a Homes,
    policies: &'a AccessPolicies,
    residences: HashMap<Box<[u8]>, Residence>,
    accesses: HashMap<Box<str>, bool>,
    key: Vec<u8>,
}

impl<'a> Words<'a> {
    pub(super) fn new(homes: &'a Homes, policies: &'a AccessPolicies) -> Self {
        Self { homes, policies, residences: HashMap::new(), accesses: HashMap::new(), key: Vec::new() }
    }

    /// Where a user with this pool and hosting provider lives.
    pub(super) fn residence(
        &mut self,
        pool: &str,
        provider: &str,
        builder: &mut SnapshotBuilder,
    ) -> Residence {
        self.key.clear();
        self.key.extend_from_slice(pool.as_bytes());
        self.key.push(BETWEEN);
        self.key.extend_from_slice(provider.as_bytes());
        if let Some(&residence) = self.residences.get(self.key.as_slice()) {
            return residence;
        }
        let residence = match self.homes.meaning(pool, provider) {
            PoolMeaning::Known(residence) => residence,
            PoolMeaning::Unknown => Residence::UnknownPool(builder.pool_id(pool)),
        };
        if self.residences.len() < REMEMBERED_MAX {
            self.residences.insert(self.key.as_slice().into(), residence);
        }
        residence
    }

    /// Whether users with this external access policy may talk to XMPP partners.
    pub(super) fn xmpp_enabled(&mut self, policy: &str) -> bool {
        if let Some(&enabled) = self.accesses.get(policy) {
            return enabled;
        }
        let enabled = self.policies.xmpp_enabled(policy);
        if self.accesses.len() < REMEMBERED_MAX {
            self.accesses.insert(policy.into(), enabled);
        }
        enabled
    }
}
