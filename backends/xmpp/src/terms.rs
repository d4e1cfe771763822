//! What holds between us and a peer's domain. Invariant: on each side the domains we speak for and the domains peers speak for
//! have none in common, so a peer never proves to be one of ours, and what one side allows is never looked up for the other.

use std::sync::Arc;

use turnout_core::io::{ClientTls, Identity, Side, Target, TrustId};
use turnout_core::jid::Domain;
use turnout_core::policy::{Methods, Negotiation};
use turnout_core::world::World;

use crate::identity::{self, Vouched};
use turnout_core::io::Secured;

/// The settings of one domain a peer may speak for on one side.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// STARTTLS.
    pub(crate) tls: Negotiation,
    /// How the peer may prove who it is.
    pub(crate) methods: Methods,
    /// Whose anchors count.
    pub(crate) trust: TrustId,
    /// Keys that count alone.
    pub(crate) pins: Vec<[u8; 32]>,
    /// Most streams of this partner.
    pub(crate) connections_max: u32,
    /// The partner's primary domain: one count for all its domains.
    pub(crate) account: Domain,
    /// Whether the configuration names it, and not just admits anybody.
    pub(crate) is_listed: bool,
    /// Whether its silence is asked about with pings; never that of the gateway, which white space has to do for.
    pub(crate) keep_alive: bool,
    /// Whether a stream may carry stanzas both ways; never one of the gateway, which knows nothing of it.
    pub(crate) bidi: bool,
}

impl Terms {
    /// The terms for `theirs`, prepared; `None` where nobody may speak for it on this side: a stream that tries is closed with
    /// policy-violation, a dialback key refused with the same condition.
    pub(crate) fn of(world: &World, side: Side, theirs: &Domain) -> Option<Self> {
        match side {
            Side::Partners => Self::of_partner(world, theirs),
            Side::Home(id) => {
                let inside = world.inside.get(&id)?;
                if !world.is_local(theirs) {
                    return None;
                }
                // The gateway holds no certificate that we would know a partner by, nor we one of a partner: dialback it is
                // (domain requirement 13). TLS only decides over what it runs.
                let methods = Methods {
                    sasl_over_tls: false,
                    tls_dialback: inside.tls != Negotiation::NotSupported,
                    tcp_dialback: inside.tls != Negotiation::Required,
                };
                Some(Self {
                    tls: inside.tls,
                    methods,
                    trust: inside.trust,
                    pins: Vec::new(),
                    connections_max: world.policy.limits().connections_max,
                    account: theirs.clone(),
                    is_listed: true,
                    keep_alive: false,
                    bidi: false,
                })
            }
        }
    }

    fn of_partner(world: &World, theirs: &Domain) -> Option<Self> {
        if world.is_local(theirs) {
            return None;
        }
        let view = world.policy.find(theirs)?;
        let mut methods = view.methods;
        if !view.pins.is_empty() {
            // Whoever pins a key wants that key and no other; without TLS there is none to look at.
            methods.tcp_dialback = false;
        }
        Some(Self {
            tls: view.tls,
            methods,
            trust: view.trust.unwrap_or(TrustId::FEDERATION),
            pins: view.pins.to_vec(),
            connections_max: view.connections_max,
            account: view.primary_domain.unwrap_or(theirs).clone(),
            is_listed: view.primary_domain.is_some(),
            keep_alive: view.keep_alive,
            bidi: view.bidi,
        })
    }

    /// Whether anything may be said without TLS beside asking for it.
    pub(crate) fn plain_allowed(&self) -> bool {
        self.methods.tcp_dialback
    }

    /// Whether dialback may run on a stream that is secured, or is not. With pins only under a pinned key.
    pub(crate) fn dialback_allowed(&self, secured: Option<&Secured>, theirs: &Domain) -> bool {
        match secured {
            None => self.methods.tcp_dialback,
            Some(secured) => {
                self.methods.tls_dialback && (self.pins.is_empty() || self.vouches(secured, theirs).is_ok())
            }
        }
    }

    /// Judges the certificate of a handshake.
    ///
    /// # Errors
    /// What is wrong and the cure.
    pub(crate) fn vouches(&self, secured: &Secured, theirs: &Domain) -> Result<Vouched, String> {
        identity::judge(secured.certificate.as_deref(), theirs, self.trust, &self.pins)
    }
}

/// Whether we speak for a domain on a side: local domains towards partners, partners' domains towards the gateway.
pub(crate) fn is_ours(world: &World, side: Side, domain: &Domain) -> bool {
    match side {
        Side::Partners => world.is_local(domain),
        Side::Home(_) => !world.is_local(domain) && world.policy.find(domain).is_some(),
    }
}

/// Where the server of `theirs` is found: its proxy where one is set, else by DNS; the gateway at its nodes.
pub(crate) fn target(world: &World, side: Side, theirs: &Domain) -> Target {
    match side {
        Side::Partners => match world.policy.find(theirs).and_then(|view| view.proxy) {
            Some(proxy) => Target::Hosts(vec![proxy.clone()]),
            None => Target::XmppService(theirs.clone()),
        },
        Side::Home(id) => {
            Target::Hosts(world.homes.get(id).map(|home| home.connect.clone()).unwrap_or_default())
        }
    }
}

/// How to be a TLS client towards `theirs`: the server name is the XMPP domain, never the host found by DNS (XEP-0368 §3).
pub(crate) fn client_tls(
    side: Side,
    ours: &Domain,
    theirs: &Domain,
    trust: TrustId,
    direct: bool,
) -> ClientTls {
    let server_name: Arc<str> = theirs.to_ascii().map_or_else(|| theirs.as_str().into(), Into::into);
    let identity = match side {
        Side::Partners => Identity::Domain(ours.clone()),
        Side::Home(id) => Identity::Home(id),
    };
    ClientTls { server_name, trust, identity, alpn_xmpp: direct }
}
