//! Making a snapshot, user by user. Invariant: what has been added can be found at once, so that an address that comes
//! twice is seen; what is refused leaves nothing behind.

use std::fmt;

use hashbrown::HashMap;

use super::arena::KINDS_MAX;
use super::snapshot::Kind;
use super::{Snapshot, User};
use crate::home::{PoolId, pool_key};
use crate::jid::JidRef;

/// Unknown pools beyond this many share one number; a source with more than this is not worth telling apart.
const UNKNOWN_POOLS_MAX: u16 = 4096;

/// What the shared number is called.
const MORE_POOLS: &str = "(further unknown pools)";

/// Why a user cannot be added to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// The address has no local part, or has a resource.
    NotAUser,
    /// The address is there already; the first one stays.
    Duplicate,
    /// The snapshot holds all it can: 4 GiB of entries, or four million different combinations of domain, residence
    /// and permissions.
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

/// Makes a [`Snapshot`], user by user. Takes no more memory than the snapshot will, and a few hundredths of that.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    made: Snapshot,
    kind_ids: HashMap<Kind, u32>,
    /// The kind of the user added last: the next one is often of the same.
    last: Option<(Kind, u32)>,
    pool_ids: HashMap<Box<str>, PoolId>,
}

impl SnapshotBuilder {
    /// An empty snapshot to be.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty snapshot to be whose table looks the same in every process, for counting what a look-up costs: where
    /// users stand differs by seed, and with it how far a search goes, by a tenth and more. Not for users from outside,
    /// who could prepare collisions.
    #[doc(hidden)]
    pub fn counted(seed: u64) -> Self {
        Self { made: Snapshot::counted(seed), ..Self::default() }
    }

    /// How many users have been added.
    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// Whether no user has been added.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The number of a pool no home names, for [`Residence::UnknownPool`](crate::home::Residence::UnknownPool); the
    /// same for the same name, whatever its case.
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
        let local = local.as_bytes();
        let known = self.made.domain_id(domain);
        // A domain nobody has yet gets the next number, once its first user is in.
        let id = match known {
            Some(id) => id,
            None => u32::try_from(self.made.domains.len()).map_err(|_| AddError::Full)?,
        };
        let hash = self.made.hash(id, local);
        if known.is_some() && self.made.search(self.made.table.begin(hash), id, local).is_some() {
            return Err(AddError::Duplicate);
        }
        let kind = self.kind(Kind { domain: id, user })?;
        let offset = self.made.arena.push(kind as usize, local)?;
        self.made.table.insert(hash, offset);
        self.made.users += 1;
        if known.is_none() {
            self.made.domains.push(domain.into());
            self.made.domain_ids.insert(domain.into(), id);
        }
        Ok(())
    }

    /// The snapshot, without the room left for growing.
    pub fn finish(mut self) -> Snapshot {
        self.made.table.shrink();
        self.made.arena.shrink();
        self.made.kinds.shrink_to_fit();
        self.made
    }

    /// The number of what is known of a user.
    fn kind(&mut self, kind: Kind) -> Result<u32, AddError> {
        if let Some((last, id)) = self.last
            && last == kind
        {
            return Ok(id);
        }
        let id = match self.kind_ids.get(&kind) {
            Some(&id) => id,
            None if self.made.kinds.len() < KINDS_MAX => {
                let id = self.made.kinds.len() as u32;
                self.made.kinds.push(kind);
                self.kind_ids.insert(kind, id);
                id
            }
            None => return Err(AddError::Full),
        };
        self.last = Some((kind, id));
        Ok(id)
    }

    /// A builder whose hashes keep these bits only.
    #[cfg(test)]
    pub(super) fn with_hash_bits(bits: u32) -> Self {
        let mut builder = Self::default();
        builder.made.hash_bits = Some(bits);
        builder
    }

    /// Lets the snapshot be full after so many chunks of entries.
    #[cfg(test)]
    pub(super) fn limit(&mut self, chunks_max: usize) {
        self.made.arena.limit(chunks_max);
    }
}
