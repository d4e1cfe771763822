//! How much may wait and how fast it may come. Invariant: every figure has bounds in [`crate::limits`], and what the configuration
//! gives lies within them.

use crate::io::LinkId;
use crate::limits::{
    CONTACTS_MAX, CONTACTS_PER_USER_MAX, DESTINATIONS_MAX, HOME_CONNECTIONS_MAX, LINK_CREDIT_BYTES,
    LINK_CREDIT_STANZAS, RATE_PER_SECOND_MAX, SHARD_SPOOL_BYTES_MAX, SHARE_BYTES_MAX, SHARE_BYTES_RESUME,
    SIP_KEPT_MAX, SIP_SESSIONS_MAX, SIP_SUBSCRIPTIONS_MAX, SIP_TALKS_MAX, SIP_TRANSACTIONS_MAX,
    SIP_WATCHES_MAX, SPOOL_BYTES_MAX, SPOOL_STANZAS_MAX, VERIFY_STREAMS_MAX, VERIFY_STREAMS_UNLISTED_MAX,
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
    /// How much there is room for.
    pub room: Room,
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
            room: Room::default(),
        }
    }
}

/// How much there is room for, as `[limits]` of the configuration has it; all but the connections of homes is for one shard. The
/// constants of the same names in [`crate::limits`] say what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// `SPOOL_STANZAS_MAX`.
    pub spool_stanzas: usize,
    /// `SPOOL_BYTES_MAX`.
    pub spool_bytes: usize,
    /// `SHARD_SPOOL_BYTES_MAX`.
    pub shard_spool_bytes: usize,
    /// `DESTINATIONS_MAX`.
    pub destinations: usize,
    /// `CONTACTS_MAX`.
    pub contacts: usize,
    /// `CONTACTS_PER_USER_MAX`.
    pub contacts_per_user: usize,
    /// `HOME_CONNECTIONS_MAX`.
    pub home_connections: usize,
    /// `VERIFY_STREAMS_MAX`.
    pub verify_streams: usize,
    /// `VERIFY_STREAMS_UNLISTED_MAX`.
    pub verify_streams_unlisted: usize,
    /// `SIP_TRANSACTIONS_MAX`.
    pub sip_transactions: usize,
    /// `SIP_SESSIONS_MAX`.
    pub sip_sessions: usize,
    /// `SIP_KEPT_MAX`.
    pub sip_kept: usize,
    /// `SIP_TALKS_MAX`; the configuration leaves it as it is.
    pub sip_talks: usize,
    /// `SIP_WATCHES_MAX`.
    pub sip_watches: usize,
    /// `SIP_SUBSCRIPTIONS_MAX`.
    pub sip_subscriptions: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            spool_stanzas: SPOOL_STANZAS_MAX,
            spool_bytes: SPOOL_BYTES_MAX,
            shard_spool_bytes: SHARD_SPOOL_BYTES_MAX,
            destinations: DESTINATIONS_MAX,
            contacts: CONTACTS_MAX,
            contacts_per_user: CONTACTS_PER_USER_MAX,
            home_connections: HOME_CONNECTIONS_MAX,
            verify_streams: VERIFY_STREAMS_MAX,
            verify_streams_unlisted: VERIFY_STREAMS_UNLISTED_MAX,
            sip_transactions: SIP_TRANSACTIONS_MAX,
            sip_sessions: SIP_SESSIONS_MAX,
            sip_kept: SIP_KEPT_MAX,
            sip_talks: SIP_TALKS_MAX,
            sip_watches: SIP_WATCHES_MAX,
            sip_subscriptions: SIP_SUBSCRIPTIONS_MAX,
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

/// What shards tell each other of links that bring more than goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// To the link's shard: too much of what the link brought waits on this shard.
    Stop {
        /// The link.
        link: LinkId,
        /// The shard that says so.
        shard: u16,
        /// Which stop of that shard's it is: answered with it.
        turn: u64,
    },
    /// To the link's shard: no longer.
    Go {
        /// The link.
        link: LinkId,
        /// The shard that says so.
        shard: u16,
    },
    /// The answer to `Stop` after some time: the link is read again, so what it brings beyond its share is to be refused.
    Refuse {
        /// The link.
        link: LinkId,
        /// The stop it answers.
        turn: u64,
    },
}
