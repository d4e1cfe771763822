//! One generation of the configuration, as the shards see it. Invariant: immutable; a reload builds a new one and swaps it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::flow::FlowLimits;
use crate::home::{HomeId, Homes};
use crate::io::{Side, TrustId};
use crate::jid::Domain;
use crate::policy::Policy;
use crate::presence::PresenceRules;

/// Everything a shard may ask the configuration.
pub struct World {
    /// Counts reloads, from 1.
    pub generation: u64,
    /// The local domains.
    pub domains: Vec<Domain>,
    /// Partners, their defaults and the federation's limits.
    pub policy: Policy,
    /// Homes of local users.
    pub homes: Homes,
    /// Per SIP home: what its backend needs beside the home itself.
    pub sip: HashMap<HomeId, SipHome>,
    /// Per XMPP home: what the inside leg needs.
    pub inside: HashMap<HomeId, InsideHome>,
    /// Secret of dialback keys (XEP-0185), the same on every shard; at least 128 bits.
    pub dialback_secret: Arc<[u8]>,
    /// Largest stanza accepted, in bytes.
    pub stanza_bytes_max: usize,
    /// Whether users of partners of type `public-unverified` may write to a 2019 user only after he wrote to them (requirement 11).
    pub enforce_introductions: bool,
    /// Presence and subscriptions.
    pub presence: PresenceRules,
    /// How much may wait and how fast it may come.
    pub flow: FlowLimits,
    /// Number of shards.
    pub shards: u16,
}

impl fmt::Debug for World {
    /// Never shows the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("generation", &self.generation)
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

/// Settings of a SIP home.
#[derive(Clone, Debug)]
pub struct SipHome {
    /// The name in our certificate: used in Via, Contact and Record-Route, never an address (requirement 15).
    pub our_name: Arc<str>,
    /// Port of our listener, for Contact.
    pub our_port: u16,
    /// TLS (else TCP).
    pub tls: bool,
    /// Names whose certificates may speak SIP to us.
    pub trusted_names: Vec<Arc<str>>,
    /// The trust set of the home.
    pub trust: TrustId,
    /// IM dialogs without traffic are ended after this.
    pub idle: Duration,
    /// Largest text sent to the pool in one message, in bytes.
    pub message_bytes_max: usize,
    /// Answer `Supported: ms-text-format` and take the first message from the INVITE (requirement 19; default false).
    pub first_message_in_invite: bool,
    /// Pass HTML of the pool on as XHTML-IM (XEP-0071) beside the plain text; default false.
    pub xhtml_im: bool,
    /// What dates are counted from; without it no message carries one.
    pub calendar: Option<Calendar>,
}

/// What the wall clock said at an instant, for dates in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// The instant.
    pub at: std::time::Instant,
    /// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    pub unix_seconds: u64,
}

impl Calendar {
    /// The seconds since 1970 at another instant.
    pub fn unix_seconds_at(&self, now: std::time::Instant) -> u64 {
        self.unix_seconds.saturating_add(now.saturating_duration_since(self.at).as_secs())
    }
}

/// Settings of the inside leg to a legacy gateway.
#[derive(Clone, Debug)]
pub struct InsideHome {
    /// TLS towards the gateway.
    pub tls: crate::policy::Negotiation,
    /// The trust set of the home.
    pub trust: TrustId,
}

impl World {
    /// Whether this is one of our domains.
    pub fn is_local(&self, domain: &Domain) -> bool {
        self.domains.contains(domain)
    }

    /// The short name of a side, for logs and metrics.
    pub fn side_name(&self, side: Side) -> &str {
        match side {
            Side::Partners => "partners",
            Side::Home(id) => self.homes.get(id).map_or("unknown", |home| &home.name),
        }
    }
}
