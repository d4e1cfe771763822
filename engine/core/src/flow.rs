//! How much may wait and how fast it may come. Invariant: every figure has bounds in [`crate::limits`], and what the configuration
//! gives lies within them.

use crate::limits::{
    LINK_CREDIT_BYTES, LINK_CREDIT_STANZAS, RATE_PER_SECOND_MAX, SHARE_BYTES_MAX, SHARE_BYTES_RESUME,
};

/// Back-pressure and rates, as the configuration has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    /// Bytes that what one link brought may have waiting for one destination in one shard before the link is not read, or what more it
    /// brings for that destination is refused.
    pub share_bytes_max: usize,
    /// Bytes of such a share at which the link is read again.
    pub share_bytes_resume: usize,
    /// Bytes that may be handed to the driver for one link and not yet be written.
    pub link_credit_bytes: u64,
    /// Stanzas that may be handed to the driver for one link and not yet be written.
    pub link_credit_stanzas: usize,
    /// What all users of one partner together may send to one shard; `None`: as much as they can.
    pub partner_rate: Option<Rate>,
    /// What one user (bare JID), partner's or local, may send to one shard; `None`: as much as he can.
    pub sender_rate: Option<Rate>,
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self {
            share_bytes_max: SHARE_BYTES_MAX,
            share_bytes_resume: SHARE_BYTES_RESUME,
            link_credit_bytes: LINK_CREDIT_BYTES,
            link_credit_stanzas: LINK_CREDIT_STANZAS,
            partner_rate: None,
            sender_rate: None,
        }
    }
}

/// A rate of stanzas, for a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Stanzas a second.
    pub per_second: u32,
    /// Stanzas at once, after a time of quiet.
    pub burst: u32,
}

impl Rate {
    /// A rate, or none where `per_second` is 0. `burst` is at least one stanza.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let per_second = per_second.min(RATE_PER_SECOND_MAX);
        (per_second > 0).then_some(Self { per_second, burst: burst.max(1) })
    }
}
