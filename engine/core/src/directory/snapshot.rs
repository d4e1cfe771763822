//! The snapshot: all users of a source, packed.
//!
//! A user costs an entry in the arena, about [4 octets and the local part](super::arena), and at 75 % load 10.7 octets
//! of [table](super::table). Domains, unknown pools and what is known of a user are kept once for all who share them.
//! Looking up reads one slot and one entry: two misses to memory where there are many users, and where several users are
//! asked for together the misses of all of them are under way at once. The hash only finds candidates; the whole
//! address is compared, so a collision is slow and never wrong. It is seeded per process, so nobody can prepare
//! collisions.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashMap;

use super::User;
use super::arena::{Arena, Entry};
use super::table::{Place, Table};
use crate::home::PoolId;

/// How many look-ups go through memory together: as many as a core can have misses under way, or a few more.
pub(super) const GROUP: usize = 32;

/// What users share: the number in the head of an entry stands for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) domain: u32,
    pub(super) user: User,
}

/// All users as a source gave them at one time. Immutable. See [`SnapshotBuilder`](super::SnapshotBuilder).
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(super) table: Table,
    pub(super) arena: Arena,
    pub(super) users: usize,
    pub(super) kinds: Vec<Kind>,
    pub(super) domains: Vec<Box<str>>,
    pub(super) domain_ids: HashMap<Box<str>, u32>,
    pub(super) pools: Vec<Box<str>>,
    seed: SeedableRandomState,
    /// Tests keep these bits of a hash only, so that there are collisions.
    #[cfg(test)]
    pub(super) hash_bits: Option<u32>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("users", &self.users)
            .field("domains", &self.domains.len())
            .field("memory_bytes", &self.memory_bytes())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// With a seed that anybody may know: see [`SnapshotBuilder::counted`](super::SnapshotBuilder::counted).
    pub(super) fn counted(seed: u64) -> Self {
        let seed = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Self { seed, ..Self::default() }
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.users == 0
    }

    /// The user with this prepared bare address.
    pub fn look_up(&self, bare: &str) -> Option<User> {
        let at = memchr::memchr(b'@', bare.as_bytes())?;
        self.find(&bare[..at], &bare[at + 1..])
    }

    /// The name of a pool that no home names, in lower case.
    pub fn pool_name(&self, pool: PoolId) -> Option<&str> {
        self.pools.get(usize::from(pool.0)).map(|name| &**name)
    }

    /// All users in the order the source gave them, as local part, domain and user.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, User)> {
        self.arena.iter().filter_map(|Entry { kind, local }| {
            let Kind { domain, user } = *self.kinds.get(kind)?;
            Some((str::from_utf8(local).ok()?, self.domains.get(domain as usize)?.as_ref(), user))
        })
    }

    /// Octets of memory taken, near enough.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.arena.memory_bytes() + self.kinds.capacity() * size_of::<Kind>()
    }

    pub(super) fn find(&self, local: &str, domain: &str) -> Option<User> {
        let domain = *self.domain_ids.get(domain)?;
        self.search(self.begin(domain, local.as_bytes()), domain, local.as_bytes())
    }

    /// The number of a domain some user has.
    pub(super) fn domain_id(&self, domain: &str) -> Option<u32> {
        self.domain_ids.get(domain).copied()
    }

    /// Appends the users with these bare addresses, at most [`GROUP`], all in one domain. Each step is a loop of its own
    /// over all of them, in which no round waits for the one before: that is what lets the misses overlap.
    pub(super) fn find_group(
        &self,
        (domain, id): (&str, u32),
        bares: &[&[u8]],
        found: &mut Vec<Option<User>>,
    ) {
        let mut group = [(Place::default(), 0, [].as_slice()); GROUP];
        let Some(group) = group.get_mut(..bares.len()) else { return };
        for ((place, _, local), bare) in group.iter_mut().zip(bares) {
            *local = local_of(bare, domain);
            *place = self.begin(id, local);
        }
        black_box(group.iter().fold(0, |near, (place, ..)| near | self.table.touch(*place)));
        for (place, candidate, _) in group.iter_mut() {
            *candidate = self.table.first(place).unwrap_or(0);
        }
        black_box(group.iter().fold(0, |near, (_, candidate, _)| near | self.arena.touch(*candidate)));
        found.extend(group.iter().map(|(place, candidate, local)| match *candidate {
            0 => None,
            offset => self.user_at(offset, id, local).or_else(|| self.search_on(*place, id, local)),
        }));
    }

    /// Where the search for an address begins.
    #[inline]
    pub(super) fn begin(&self, domain: u32, local: &[u8]) -> Place {
        self.table.begin(self.hash(domain, local))
    }

    /// Searches from where [`Snapshot::begin`] was.
    #[inline]
    pub(super) fn search(&self, mut place: Place, domain: u32, local: &[u8]) -> Option<User> {
        let offset = self.table.first(&mut place)?;
        self.user_at(offset, domain, local).or_else(|| self.search_on(place, domain, local))
    }

    /// Searches on: another address had the same hash.
    #[cold]
    fn search_on(&self, mut place: Place, domain: u32, local: &[u8]) -> Option<User> {
        std::iter::from_fn(|| self.table.next(&mut place))
            .find_map(|offset| self.user_at(offset, domain, local))
    }

    #[inline]
    fn user_at(&self, offset: u32, domain: u32, local: &[u8]) -> Option<User> {
        let entry = self.arena.entry(offset).filter(|entry| same(entry.local, local))?;
        self.kinds.get(entry.kind).filter(|kind| kind.domain == domain).map(|kind| kind.user)
    }

    #[inline]
    pub(super) fn hash(&self, domain: u32, local: &[u8]) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u32(domain);
        hasher.write(local);
        let hash = (hasher.finish() >> u32::BITS) as u32;
        #[cfg(test)]
        let hash = hash & self.hash_bits.unwrap_or(u32::MAX);
        hash
    }
}

/// The local part of a bare address in this domain; empty, which nobody's is, where it is none.
#[inline]
pub(super) fn local_of<'a>(bare: &'a [u8], domain: &str) -> &'a [u8] {
    let Some((local, rest)) = bare.len().checked_sub(domain.len() + 1).map(|at| bare.split_at(at)) else {
        return &[];
    };
    match rest.split_first() {
        Some((b'@', rest)) if same(rest, domain.as_bytes()) => local,
        _ => &[],
    }
}

/// Whether two texts are equal, with no call where they are as short as names mostly are.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    const HALF: usize = size_of::<u64>();
    if a.len() != b.len() {
        return false;
    }
    if !(HALF..=2 * HALF).contains(&a.len()) {
        return a == b;
    }
    // The halves overlap where there are fewer than sixteen octets.
    a.first_chunk::<HALF>() == b.first_chunk() && a.last_chunk::<HALF>() == b.last_chunk()
}

/// Overwrites `out` with the bare address.
pub(super) fn join(local: &str, domain: &str, out: &mut String) {
    out.clear();
    out.push_str(local);
    out.push('@');
    out.push_str(domain);
}
