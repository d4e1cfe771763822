//! What is told to the operator of the traffic: every kind of event has a name that stays, and a loudness.
//!
//! Invariant: a name never changes its meaning, because somebody's alarm waits for it; what a line says beside its name is for people and
//! may change. docs/events.md lists all names, and a test holds the two against each other.

/// How loud a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of interest when looking for something.
    Debug,
    /// Normal and rare.
    Info,
    /// Somebody should look, not at night.
    Warn,
    /// Somebody must act.
    Error,
}

macro_rules! notices {
    ($($(#[$doc:meta])* $notice:ident $name:literal $level:ident,)+) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Notice {
            $($(#[$doc])* $notice,)+
        }

        impl Notice {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$notice,)+];

            /// Its name: what it is about, a dot, what happened.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$notice => $name,)+
                }
            }

            /// How loud it is.
            pub fn level(self) -> Level {
                match self {
                    $(Self::$notice => Level::$level,)+
                }
            }
        }
    };
}

notices! {
    /// A connection that took nothing for too long was cut.
    LinkStalled "link.stalled" Warn,
    /// The legacy gateway was out of reach for so long that its users are shown as away.
    GatewayLost "gateway.lost" Warn,
    /// The legacy gateway is there again.
    GatewayBack "gateway.back" Info,
    /// A message, in full, as the operator wants it.
    MessageRecorded "message.recorded" Info,
    /// A partner's domain cannot be reached.
    PartnerDown "partner.down" Warn,
    /// Somebody speaks for a domain that is no partner's.
    PartnerUnknown "partner.unknown" Warn,
    /// A node of a home cannot be reached.
    NodeDown "node.down" Warn,
    /// A stream to a peer is open for stanzas.
    StreamOpen "stream.open" Info,
    /// A peer has proved which domain it is.
    StreamProved "stream.proved" Info,
    /// An attempt to open a stream came to nothing.
    StreamFailed "stream.failed" Warn,
    /// A peer ended a stream with an error, or before it was open.
    StreamEnded "stream.ended" Warn,
    /// A stream was closed here, because its peer broke a rule.
    StreamClosed "stream.closed" Warn,
    /// A peer does not answer any more.
    StreamDead "stream.dead" Warn,
    /// A peer answers no pings, and never did.
    StreamDeaf "stream.deaf" Info,
    /// A peer offered to acknowledge and then would not.
    StreamUnacknowledged "stream.unacknowledged" Info,
    /// A stream goes on where it broke off.
    StreamResumed "stream.resumed" Info,
    /// A stream in takes what is sent back, too.
    StreamBothWays "stream.both_ways" Info,
    /// A peer did not say what it has of the stanzas sent back to it.
    StreamUnanswered "stream.unanswered" Warn,
    /// Bytes came together with the wish for TLS.
    StreamInjected "stream.injected" Warn,
    /// TLS was asked for where it was not offered.
    StreamTlsUnoffered "stream.tls_unoffered" Warn,
    /// A peer's certificate was not accepted.
    CertificateRefused "certificate.refused" Warn,
    /// A peer's certificate comes from another authority than before.
    CertificateIssuerChanged "certificate.issuer_changed" Warn,
    /// A peer failed to prove itself by SASL EXTERNAL.
    ExternalFailed "external.failed" Warn,
    /// A peer refused our certificate.
    ExternalRefused "external.refused" Warn,
    /// Dialback is used, because the certificate does not do.
    DialbackInstead "dialback.instead" Info,
    /// The server of a domain denies that a dialback key is its own.
    DialbackDenied "dialback.denied" Warn,
    /// A dialback key could not be verified.
    DialbackUnverified "dialback.unverified" Warn,
    /// A peer offers dialback where policy does not allow it.
    DialbackForbidden "dialback.forbidden" Warn,
    /// A dialback answer came that nobody asked for.
    DialbackUnasked "dialback.unasked" Warn,
    /// There are as many connections as may be.
    ConnectionsFull "connections.full" Warn,
    /// A peer broke the protocol.
    PeerFault "peer.fault" Info,
    /// A peer broke the protocol, found while something else was done.
    PeerFaultAside "peer.fault_aside" Debug,
    /// A stanza was answered with an error.
    StanzaRefused "stanza.refused" Debug,
    /// A stanza was dropped by a rule.
    StanzaDropped "stanza.dropped" Debug,
    /// A user is not where the directory has him, and was tried elsewhere.
    UserElsewhere "user.elsewhere" Warn,
    /// Whoever speaks at a pool's listener is not that pool.
    PoolStranger "pool.stranger" Warn,
    /// The pool cannot route to us, or does not trust us.
    PoolDistrusts "pool.distrusts" Warn,
    /// The pool answered something that cannot be used.
    PoolBadAnswer "pool.bad_answer" Warn,
    /// A request of the pool was refused.
    PoolRefused "pool.refused" Info,
    /// Something of the pool was dropped.
    PoolDropped "pool.dropped" Info,
    /// A connection of the pool was closed, because the rules have changed.
    PoolClosed "pool.closed" Info,
    /// A shard was handed something it has no use for: a fault of the router.
    HandoffStray "handoff.stray" Error,
}
