//! The snapshot: all users of a source, packed.
//!
//! A user costs a record of [`RECORD_BYTES`], the octets of the local part, and five to nine octets of hash table.
//! Domains and unknown pools are kept once. The hash only finds candidates; the whole address is compared, so a
//! collision is slow and never wrong. It is seeded per process, so nobody can prepare collisions.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use super::User;
use crate::home::{HomeId, PoolId, Residence, pool_key};
use crate::jid::JidRef;

/// Size of a record.
const RECORD_BYTES: usize = 16;

/// Unknown pools beyond this many share one number; a source with more than this is not worth telling apart.
const UNKNOWN_POOLS_MAX: u16 = 4096;

/// What the shared number is called.
const MORE_POOLS: &str = "(further unknown pools)";

#[derive(Debug, Clone, Copy)]
struct Record {
    domain: u32,
    offset: u32,
    local_bytes: u16,
    /// Number of the home or pool, by `residence`.
    place: u16,
    residence: u8,
    flags: u8,
}

const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

const HOME: u8 = 0;
const CLOUD: u8 = 1;
const UNASSIGNED: u8 = 2;
const BRANCH: u8 = 3;
const UNKNOWN_POOL: u8 = 4;

const FEDERATION_ENABLED: u8 = 1;
const XMPP_ENABLED: u8 = 2;
const ENABLED: u8 = 4;

/// All users as a source gave them at one time. Immutable. See [`SnapshotBuilder`].
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    table: HashTable<u32>,
    records: Vec<Record>,
    locals: String,
    domains: Vec<Box<str>>,
    pools: Vec<Box<str>>,
    seed: RandomState,
}

impl Snapshot {
    /// How many users there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no user.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
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
        self.records.iter().map(|record| (self.local(record), self.domain(record), record.user()))
    }

    /// Octets of memory taken, near enough.
    pub fn memory_bytes(&self) -> usize {
        self.table.allocation_size() + self.records.capacity() * RECORD_BYTES + self.locals.capacity()
    }

    pub(super) fn find(&self, local: &str, domain: &str) -> Option<User> {
        let hash = hash(&self.seed, local, domain);
        let index = self.table.find(hash, |&index| self.is_at(index, local, domain))?;
        self.records.get(*index as usize).map(Record::user)
    }

    fn is_at(&self, index: u32, local: &str, domain: &str) -> bool {
        self.records
            .get(index as usize)
            .is_some_and(|record| self.local(record) == local && self.domain(record) == domain)
    }

    fn local(&self, record: &Record) -> &str {
        let start = record.offset as usize;
        self.locals.get(start..start + usize::from(record.local_bytes)).unwrap_or_default()
    }

    fn domain(&self, record: &Record) -> &str {
        self.domains.get(record.domain as usize).map_or("", |domain| domain)
    }
}

impl Record {
    fn user(&self) -> User {
        let residence = match self.residence {
            HOME => Residence::Home(HomeId(self.place)),
            CLOUD => Residence::Cloud,
            UNASSIGNED => Residence::Unassigned,
            BRANCH => Residence::Branch,
            _ => Residence::UnknownPool(PoolId(self.place)),
        };
        User {
            residence,
            federation_enabled: self.flags & FEDERATION_ENABLED != 0,
            xmpp_enabled: self.flags & XMPP_ENABLED != 0,
            enabled: self.flags & ENABLED != 0,
        }
    }
}

/// Why a user cannot be added to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// The address has no local part, or has a resource.
    NotAUser,
    /// The address is there already; the first one stays.
    Duplicate,
    /// The snapshot holds all it can: 2^32 users or 4 GiB of local parts.
    Full,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAUser => "a user's address is local@domain, with no resource",
            Self::Duplicate => "the address stands in an earlier row already",
            Self::Full => "the directory holds all the users it can",
        })
    }
}

impl std::error::Error for AddError {}

/// Makes a [`Snapshot`], user by user.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    made: Snapshot,
    domain_ids: HashMap<Box<str>, u32>,
    pool_ids: HashMap<Box<str>, PoolId>,
}

impl SnapshotBuilder {
    /// An empty snapshot to be.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many users have been added.
    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// Whether no user has been added.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The number of a pool no home names, for [`Residence::UnknownPool`]; the same for the same name, whatever
    /// its case.
    pub fn pool_id(&mut self, name: &str) -> PoolId {
        let key = pool_key(name);
        if let Some(&id) = self.pool_ids.get(key.as_str()) {
            return id;
        }
        let next = self.made.pools.len().min(usize::from(UNKNOWN_POOLS_MAX)) as u16;
        if next == UNKNOWN_POOLS_MAX {
            if self.made.pools.len() == usize::from(UNKNOWN_POOLS_MAX) {
                self.made.pools.push(MORE_POOLS.into());
            }
            return PoolId(UNKNOWN_POOLS_MAX);
        }
        self.made.pools.push(key.as_str().into());
        self.pool_ids.insert(key.into(), PoolId(next));
        PoolId(next)
    }

    /// The name behind a number [`SnapshotBuilder::pool_id`] gave.
    pub fn pool_name(&self, pool: PoolId) -> Option<&str> {
        self.made.pool_name(pool)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`AddError`]; nothing has been added then.
    pub fn add(&mut self, jid: JidRef<'_>, user: User) -> Result<(), AddError> {
        let (Some(local), domain, None) = (jid.local(), jid.domain(), jid.resource()) else {
            return Err(AddError::NotAUser);
        };
        if self.made.find(local, domain).is_some() {
            return Err(AddError::Duplicate);
        }
        let index = u32::try_from(self.made.records.len()).map_err(|_| AddError::Full)?;
        let record = self.record(local, domain, user)?;
        self.made.records.push(record);
        self.made.locals.push_str(local);
        let Snapshot { table, records, locals, domains, seed, .. } = &mut self.made;
        let rehash = |&index: &u32| {
            let record = &records[index as usize];
            let start = record.offset as usize;
            let local = &locals[start..start + usize::from(record.local_bytes)];
            hash(seed, local, &domains[record.domain as usize])
        };
        table.insert_unique(hash(seed, local, domain), index, rehash);
        Ok(())
    }

    /// The snapshot, without the room left for growing.
    pub fn finish(mut self) -> Snapshot {
        self.made.records.shrink_to_fit();
        self.made.locals.shrink_to_fit();
        self.made
    }

    fn record(&mut self, local: &str, domain: &str, user: User) -> Result<Record, AddError> {
        let offset = u32::try_from(self.made.locals.len()).map_err(|_| AddError::Full)?;
        let local_bytes = u16::try_from(local.len()).map_err(|_| AddError::Full)?;
        let domain = match self.domain_ids.get(domain) {
            Some(&id) => id,
            None => {
                let id = u32::try_from(self.made.domains.len()).map_err(|_| AddError::Full)?;
                self.made.domains.push(domain.into());
                self.domain_ids.insert(domain.into(), id);
                id
            }
        };
        let (residence, place) = match user.residence {
            Residence::Home(id) => (HOME, id.0),
            Residence::Cloud => (CLOUD, 0),
            Residence::Unassigned => (UNASSIGNED, 0),
            Residence::Branch => (BRANCH, 0),
            Residence::UnknownPool(id) => (UNKNOWN_POOL, id.0),
        };
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = flag(user.federation_enabled, FEDERATION_ENABLED)
            | flag(user.xmpp_enabled, XMPP_ENABLED)
            | flag(user.enabled, ENABLED);
        Ok(Record { domain, offset, local_bytes, place, residence, flags })
    }
}

/// Overwrites `out` with the bare address.
pub(super) fn join(local: &str, domain: &str, out: &mut String) {
    out.clear();
    out.push_str(local);
    out.push('@');
    out.push_str(domain);
}

fn hash(seed: &RandomState, local: &str, domain: &str) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(local.as_bytes());
    hasher.write(domain.as_bytes());
    hasher.finish()
}
