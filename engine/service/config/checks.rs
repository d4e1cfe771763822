//! Whether the parts of a configuration fit each other. Invariant: no configuration passes in which a stanza could be sent round
//! in a circle by the configuration alone (XR-14), or in which two parts claim one thing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use turnout_core::home::{Home, HomeId, Homes, HostPort};
use turnout_core::jid::Domain;
use turnout_core::policy::{GatewayLimits, Negotiation, PartnerDefaults, Policy, PolicyError, Unlisted};

use super::partners::PartnerEntry;
use super::parts::HomeEntry;
use super::read::{At, Book, Spot, Table};
use super::{Federation, HomeConfig};

/// The parts to hold against each other.
pub(super) struct Cross<'x, 'b, 'a> {
    pub(super) root: &'x Table<'b, 'a>,
    pub(super) domains: &'x [At<Domain>],
    pub(super) partners: &'x [PartnerEntry],
    pub(super) homes: &'x [HomeEntry],
}

impl Cross<'_, '_, '_> {
    /// Runs all checks.
    pub(super) fn check(&self, federation: Option<&Federation>, admin: SocketAddr) {
        if let Some(federation) = federation {
            self.listeners(federation, admin);
            self.identities(federation);
        }
        self.partner_domains();
        self.proxies();
        self.nodes();
    }

    fn wrong(&self, spot: &Spot, what: String, cure: &str) {
        self.root.book.wrong(spot, what, cure);
    }

    /// No two listeners on one address; nobody connects to one of ours.
    fn listeners(&self, federation: &Federation, admin: SocketAddr) {
        let outside = self.root.table("federation");
        let mut all: Vec<(SocketAddr, Spot)> = Vec::new();
        all.extend(federation.listen.iter().map(|&address| (address, outside.spot_of("listen"))));
        all.extend(federation.listen_tls.iter().map(|&address| (address, outside.spot_of("listen_tls"))));
        all.extend(self.homes.iter().map(|home| (home.config.listen, home.listen_spot.clone())));
        all.push((admin, self.root.table("admin").spot_of("listen")));
        let mut seen: HashMap<SocketAddr, &Spot> = HashMap::new();
        for (address, spot) in &all {
            if address.port() == 0 {
                continue;
            }
            if let Some(first) = seen.insert(*address, spot) {
                let what = format!("{address} is the address of {} already", first.key);
                self.wrong(spot, what, "give each listener an address of its own");
            }
        }
        let own = |target: &HostPort| all.iter().find(|(address, _)| leads_to(target, *address));
        let loops = |spot: &Spot, target: &HostPort| {
            if let Some((_, listener)) = own(target) {
                let what =
                    format!("{target} is our own listener {}: stanzas would come back to us", listener.key);
                self.wrong(spot, what, "give the address of the other side");
            }
        };
        for home in self.homes {
            home.connect.iter().for_each(|at| loops(&at.spot, &at.value));
        }
        for entry in self.partners {
            entry.partner.proxy.iter().for_each(|proxy| loops(&entry.proxy_spot, proxy));
        }
    }

    /// Every local domain has a certificate, unless TLS is used with nobody.
    fn identities(&self, federation: &Federation) {
        if federation.default_identity.is_some() {
            return;
        }
        let federation_table = self.root.table("federation");
        if federation_table.has("certificate") || federation_table.has("key") {
            return;
        }
        let defaults = self.root.table("partner_defaults").text("tls");
        let no_tls = defaults.is_some_and(|at| at.value == Negotiation::NotSupported.as_str())
            && self.partners.iter().all(|entry| entry.partner.tls == Negotiation::NotSupported);
        if no_tls && federation.listen_tls.is_empty() {
            return;
        }
        for At { value, .. } in self.domains {
            if !federation.identities.iter().any(|(domain, _)| domain == value) {
                federation_table.missing(
                    "certificate",
                    format!(
                        "give certificate and key of {value}, here or in [[federation.identity]]; \
                         `turnout dev-certs` makes some to try things out"
                    ),
                );
            }
        }
    }

    /// A partner is not one of us.
    fn partner_domains(&self) {
        for entry in self.partners {
            let partner = &entry.partner;
            for domain in std::iter::once(&partner.domain).chain(&partner.additional_domains) {
                if self.domains.iter().any(|local| local.value == *domain) {
                    let what =
                        format!("{:?} is a local domain, so it cannot be a partner's", domain.as_str());
                    self.wrong(&entry.spot, what, "remove it here or from `domains`");
                }
            }
        }
    }

    /// What goes to a partner does not go to a home.
    fn proxies(&self) {
        for entry in self.partners {
            let Some(proxy) = &entry.partner.proxy else { continue };
            for home in self.homes {
                if home.connect.iter().any(|node| node.value == *proxy) {
                    let name = &home.config.name;
                    let what =
                        format!("{proxy} is a node of home.{name}: the partner's stanzas would go inside");
                    self.wrong(&entry.proxy_spot, what, "give the partner's own server");
                }
            }
        }
    }

    /// A node serves one home.
    fn nodes(&self) {
        let mut seen: HashMap<&HostPort, &str> = HashMap::new();
        for home in self.homes {
            for At { value, spot } in &home.connect {
                match seen.insert(value, &home.config.name) {
                    Some(first) if first != home.config.name => {
                        let what = format!("{value} is a node of home.{first} already");
                        self.wrong(
                            spot,
                            what,
                            "a node can serve one home only: merge the homes, or correct one",
                        );
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Whether connecting to `target` surely reaches a listener of ours at `address`.
fn leads_to(target: &HostPort, address: SocketAddr) -> bool {
    if target.port != address.port() {
        return false;
    }
    let ip = match target.host.as_str() {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical(),
            Err(_) => return false,
        },
    };
    let own = address.ip().to_canonical();
    ip == own || (own.is_unspecified() && ip.is_loopback()) || ip.is_unspecified()
}

/// Builds the table of partners; notes every partner that nothing can authenticate and every domain given twice.
pub(super) fn policy(
    book: &Book<'_>,
    partners: Vec<PartnerEntry>,
    unlisted: Unlisted,
    defaults: PartnerDefaults,
    limits: GatewayLimits,
) -> Option<Policy> {
    let defaults_spot = |key: &str| Spot { line: None, key: key.to_owned() };
    if let Err(error) = Policy::new(Vec::new(), unlisted, defaults, limits) {
        note(book, &defaults_spot("partner_defaults"), &error);
        return None;
    }
    let mut owners: HashMap<Domain, Domain> = HashMap::new();
    let mut good = true;
    for PartnerEntry { partner, spot, .. } in &partners {
        let mut alone = partner.clone();
        alone.additional_domains.clear();
        if let Err(error) = Policy::new(vec![alone], unlisted, defaults, limits) {
            note(book, spot, &error);
            good = false;
        }
        for domain in std::iter::once(&partner.domain).chain(&partner.additional_domains) {
            if let Some(first) = owners.insert(domain.clone(), partner.domain.clone()) {
                let second = partner.domain.clone();
                note(book, spot, &PolicyError::DuplicateDomain { domain: domain.clone(), first, second });
                good = false;
            }
        }
    }
    if !good {
        return None;
    }
    let all = partners.into_iter().map(|entry| entry.partner).collect();
    Policy::new(all, unlisted, defaults, limits)
        .inspect_err(|error| note(book, &defaults_spot("partner"), error))
        .ok()
}

fn note(book: &Book<'_>, spot: &Spot, error: &impl std::fmt::Display) {
    let text = error.to_string();
    let (what, cure) = text.split_once("; ").unwrap_or((&text, ""));
    book.wrong(spot, what, cure);
}

/// Builds the table of homes; notes every pool named twice.
pub(super) fn homes(
    book: &Book<'_>,
    entries: Vec<HomeEntry>,
    branch_pools: &[String],
    branch_spot: &Spot,
) -> Option<(Homes, Vec<HomeConfig>)> {
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut good = true;
    for HomeEntry { config, registrar_pools, .. } in &entries {
        for At { value, spot } in registrar_pools {
            let pool = value.trim().trim_end_matches('.').to_lowercase();
            let what = match owners.insert(pool.clone(), config.name.clone()) {
                _ if pool.is_empty() => "is empty text".to_owned(),
                Some(first) => format!("the pool {pool:?} is named by home.{first} already"),
                None => continue,
            };
            good = false;
            book.wrong(spot, what, "a user can live in one place only: remove it from one of them");
        }
    }
    if !good {
        return None;
    }
    let (mut homes, mut configs) = (Vec::new(), Vec::new());
    for (id, HomeEntry { config, connect, registrar_pools, .. }) in (0_u16..).map(HomeId).zip(entries) {
        homes.push(Home {
            name: config.name.clone(),
            backend: config.backend,
            dialect: config.dialect,
            registrar_pools: registrar_pools.into_iter().map(|at| at.value).collect(),
            connect: connect.into_iter().map(|at| at.value).collect(),
        });
        configs.push(HomeConfig { id, ..config });
    }
    match Homes::new(homes, branch_pools) {
        Ok(homes) => Some((homes, configs)),
        Err(error) => {
            note(book, branch_spot, &error);
            None
        }
    }
}
