//! The name of a connection. Invariant: no two connections of a process have the same.

use std::fmt;

/// One connection, never reused: the owning shard in the top 16 bits, then a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(u64);

impl LinkId {
    /// No link: the origin of stanzas the router makes.
    pub const NONE: Self = Self(0);
    /// Set on the counter of links the driver names (accepted ones), so that they never meet those the shard names.
    const ACCEPTED: u64 = 1 << 47;

    /// The `count`th link that shard `shard` asks for. `count` starts at 1.
    pub fn dialed(shard: u16, count: u64) -> Self {
        Self((u64::from(shard) << 48) | (count & (Self::ACCEPTED - 1)))
    }

    /// The `count`th connection that was accepted for shard `shard`.
    pub fn accepted(shard: u16, count: u64) -> Self {
        Self((u64::from(shard) << 48) | Self::ACCEPTED | (count & (Self::ACCEPTED - 1)))
    }

    /// The shard that owns it.
    pub fn shard(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Whether the peer opened it.
    pub fn is_accepted(self) -> bool {
        self.0 & Self::ACCEPTED != 0
    }

    /// What a shard's own trials come from ([`crate::trial`]): no connection. Shard 0's is [`Self::NONE`], which has no tickets otherwise.
    pub fn trial(shard: u16) -> Self {
        Self(u64::from(shard) << 48)
    }

    /// Whether it is [`Self::trial`]'s.
    pub fn is_trial(self) -> bool {
        self.0 & ((1 << 48) - 1) == 0
    }

    /// As a number, for logs.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}{}",
            self.shard(),
            if self.is_accepted() { "i" } else { "o" },
            self.0 & (Self::ACCEPTED - 1)
        )
    }
}
