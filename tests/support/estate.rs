//! A small estate: one local domain, a legacy gateway with two nodes, a pool with two nodes, three partners.

use std::sync::Arc;
use std::time::Duration;

use turnout_core::directory::{Directory, Overlay, SnapshotBuilder, User};
use turnout_core::flow::FlowLimits;
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Homes, HostPort, Residence};
use turnout_core::io::TrustId;
use turnout_core::jid::{Domain, Jid};
use turnout_core::policy::{
    GatewayLimits, Negotiation, Partner, PartnerDefaults, PartnerType, Policy, Unlisted,
};
use turnout_core::world::{Calendar, InsideHome, SipHome, World};

/// The local domain.
pub const LOCAL: &str = "contoso.com";
/// The home of users on old pools.
pub const LEGACY: HomeId = HomeId(0);
/// The home of users on the new pool.
pub const POOL: HomeId = HomeId(1);
/// Partner domains.
pub const PARTNERS: [&str; 3] = ["p0.example", "p1.example", "p2.example"];
/// Hosts of the legacy gateway.
pub const GATEWAY_HOSTS: [&str; 2] = ["edge0.contoso.com", "edge1.contoso.com"];
/// Hosts of the pool.
pub const POOL_HOSTS: [&str; 2] = ["pool0.contoso.com", "pool1.contoso.com"];

/// How an estate may differ.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shards.
    pub shards: u16,
    /// STARTTLS with partners.
    pub tls: Negotiation,
    /// SASL EXTERNAL with partners.
    pub sasl: Negotiation,
    /// Type of the partners.
    pub kind: PartnerType,
    /// Requirement 11 is enforced.
    pub enforce_introductions: bool,
    /// Presence and subscriptions.
    pub presence: turnout_core::presence::PresenceRules,
    /// How the pool talks.
    pub dialect: Dialect,
    /// What dates are counted from.
    pub calendar: Option<Calendar>,
    /// How much may wait.
    pub flow: FlowLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shards: 1,
            tls: Negotiation::Optional,
            sasl: Negotiation::Optional,
            kind: PartnerType::Federated,
            enforce_introductions: false,
            presence: turnout_core::presence::PresenceRules::default(),
            dialect: Dialect::Skype,
            calendar: None,
            flow: FlowLimits::default(),
        }
    }
}

/// Limits so small that a handful of stanzas reaches them.
pub fn narrow() -> FlowLimits {
    FlowLimits {
        share_bytes_max: 1500,
        share_bytes_resume: 400,
        link_credit_bytes: 900,
        link_credit_stanzas: 6,
        ..FlowLimits::default()
    }
}

/// The configuration.
pub fn world(options: &Options) -> Arc<World> {
    let defaults = PartnerDefaults {
        kind: options.kind,
        tls: options.tls,
        sasl: options.sasl,
        ..PartnerDefaults::default()
    };
    let partners =
        PARTNERS.iter().map(|name| Partner::with_defaults(Domain::parse(name).unwrap(), &defaults)).collect();
    let policy = Policy::new(partners, Unlisted::Refuse, defaults, GatewayLimits::default()).unwrap();
    let home = |name: &str, backend, port, hosts: &[&str]| Home {
        name: name.to_owned(),
        backend,
        dialect: options.dialect,
        registrar_pools: vec![format!("{name}.pools.contoso.com")],
        connect: hosts.iter().map(|host| HostPort { host: (*host).to_owned(), port }).collect(),
    };
    let homes = vec![
        home("legacy", BackendKind::Xmpp, 5269, &GATEWAY_HOSTS),
        home("sfb2019", BackendKind::Sip, 5061, &POOL_HOSTS),
    ];
    let sip = SipHome {
        our_name: "turnout.contoso.com".into(),
        our_port: 5061,
        tls: true,
        trusted_names: POOL_HOSTS.iter().map(|host| Arc::from(*host)).collect(),
        trust: TrustId(2),
        idle: Duration::from_secs(600),
        message_bytes_max: 64 * 1024,
        first_message_in_invite: false,
        xhtml_im: false,
        calendar: options.calendar,
    };
    Arc::new(World {
        generation: 1,
        domains: vec![Domain::parse(LOCAL).unwrap()],
        policy,
        homes: Homes::new(homes, &[]).unwrap(),
        sip: std::iter::once((POOL, sip)).collect(),
        inside: std::iter::once((LEGACY, InsideHome { tls: Negotiation::Optional, trust: TrustId(1) }))
            .collect(),
        dialback_secret: Arc::from(&b"0123456789abcdef0123456789abcdef"[..]),
        stanza_bytes_max: 64 * 1024,
        enforce_introductions: options.enforce_introductions,
        presence: options.presence.clone(),
        flow: options.flow,
        shards: options.shards,
    })
}

/// The bare address of the `n`th local user: even ones begin on the legacy side, odd ones on the pool.
pub fn local(n: usize) -> String {
    format!("user{n}@{LOCAL}")
}

/// A directory with so many local users, for whom nothing is switched off.
pub fn directory(users: usize) -> Directory {
    let mut builder = SnapshotBuilder::new();
    for n in 0..users {
        let user = User::at(Residence::Home(first_home(n)));
        builder.add(Jid::parse(&local(n)).unwrap().view(), user).unwrap();
    }
    Directory::new(Arc::new(builder.finish()), Arc::new(Overlay::new(10_000)))
}

/// Where the `n`th local user lives at first.
pub fn first_home(n: usize) -> HomeId {
    if n.is_multiple_of(2) { LEGACY } else { POOL }
}

/// The directory of the plays: whom a rule is about is in his name.
pub fn cast_list() -> Directory {
    let mut builder = SnapshotBuilder::new();
    let nowhere = builder.pool_id("forgotten.contoso.com");
    let home = |home| User::at(Residence::Home(home));
    let users = [
        ("old", home(LEGACY)),
        ("new", home(POOL)),
        ("disabled", User { enabled: false, ..home(LEGACY) }),
        ("inward", User { federation_enabled: false, ..home(POOL) }),
        ("silent", User { xmpp_enabled: false, ..home(LEGACY) }),
        ("cloud", User::at(Residence::Cloud)),
        ("homeless", User::at(Residence::Unassigned)),
        ("branch", User::at(Residence::Branch)),
        ("forgotten", User::at(Residence::UnknownPool(nowhere))),
    ];
    for (name, user) in users {
        builder.add(Jid::parse(&format!("{name}@{LOCAL}")).unwrap().view(), user).unwrap();
    }
    Directory::new(Arc::new(builder.finish()), Arc::new(Overlay::new(10)))
}
