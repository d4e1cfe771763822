//! What partners may do and how we talk to them: the table of partners, the defaults, the gateway-wide limits.
//!
//! Invariant: a [`Policy`] exists only if every partner in it can be authenticated in some way; the combinations
//! the legacy gateway calls invalid are refused when the table is built. A domain belongs to one partner at most.
//! Domains are matched exactly: subdomains have to be listed, as with the legacy gateway.

use std::fmt;
use std::str::FromStr;

use hashbrown::HashMap;

use crate::home::{HostPort, NameError};
use crate::io::TrustId;
use crate::jid::Domain;

mod matrix;
#[cfg(test)]
mod tests;

pub use matrix::{MATRIX, MatrixRow, Methods};

/// A partner of the running configuration; the index into [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartnerId(pub u32);

/// How far a partner's users are trusted (`PartnerType` of the legacy gateway).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PartnerType {
    /// May add local users, see their presence and status text, and write first.
    Federated,
    /// As federated, but never sees the status text.
    PublicVerified,
    /// May do nothing with a local user who has not added the partner's user first; never sees the status text.
    #[default]
    PublicUnverified,
}

impl PartnerType {
    /// Whether a partner's user may write to, or ask for the presence of, a local user who has not added him.
    pub fn may_start(self) -> bool {
        match self {
            Self::Federated | Self::PublicVerified => true,
            Self::PublicUnverified => false,
        }
    }

    /// Whether a partner's user is shown the free text of a local user's presence.
    pub fn sees_status_text(self) -> bool {
        match self {
            Self::Federated => true,
            Self::PublicVerified | Self::PublicUnverified => false,
        }
    }

    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Federated => "federated",
            Self::PublicVerified => "public-verified",
            Self::PublicUnverified => "public-unverified",
        }
    }
}

impl FromStr for PartnerType {
    type Err = NameError;

    /// Reads the configuration's words and the cmdlets', the latter without regard to case as PowerShell does.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        if is("federated") {
            Ok(Self::Federated)
        } else if is("public-verified") || is("PublicVerified") {
            Ok(Self::PublicVerified)
        } else if is("public-unverified") || is("PublicUnverified") {
            Ok(Self::PublicUnverified)
        } else {
            Err(NameError::new(name, "federated, public-verified, public-unverified"))
        }
    }
}

/// Whether a stream feature has to be used, may be, or is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Negotiation {
    /// The stream does not go on without it.
    #[default]
    Required,
    /// Used where the partner has it.
    Optional,
    /// Never offered and never used.
    NotSupported,
}

impl Negotiation {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::NotSupported => "none",
        }
    }
}

impl FromStr for Negotiation {
    type Err = NameError;

    /// Reads the configuration's words and the cmdlets', without regard to case.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        if is("required") {
            Ok(Self::Required)
        } else if is("optional") {
            Ok(Self::Optional)
        } else if is("none") || is("NotSupported") {
            Ok(Self::NotSupported)
        } else {
            Err(NameError::new(name, "required, optional, none"))
        }
    }
}

/// One partner, with nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partner {
    /// Its primary domain, the name operators know it by.
    pub domain: Domain,
    /// Further domains with the same policy; each is matched exactly.
    pub additional_domains: Vec<Domain>,
    /// How far its users are trusted.
    pub kind: PartnerType,
    /// STARTTLS.
    pub tls: Negotiation,
    /// SASL EXTERNAL, which runs over TLS only.
    pub sasl: Negotiation,
    /// Whether server dialback (XEP-0220) is used and answered.
    pub dialback: bool,
    /// Dialback only inside TLS: takes dialback over plain TCP out of what the matrix allows.
    pub require_tls_for_dialback: bool,
    /// Whether the partner's silence is looked into with pings, and a stream to it cut when it stops answering them.
    pub keep_alive: bool,
    /// Whether one stream may carry stanzas both ways (XEP-0288), whoever opened it.
    pub bidi: bool,
    /// Most connections to and from this partner; `None` means the gateway-wide figure.
    pub connections_max: Option<u32>,
    /// Where to connect instead of asking the DNS.
    pub proxy: Option<HostPort>,
    /// Trust anchors for this partner alone; `None` means the common ones.
    pub trust: Option<TrustId>,
    /// SHA-256 of the SubjectPublicKeyInfo of certificates accepted; empty means any that the anchors vouch for.
    pub pins: Vec<[u8; 32]>,
}

impl Partner {
    /// A partner of which only the domain is given.
    pub fn with_defaults(domain: Domain, defaults: &PartnerDefaults) -> Self {
        Self {
            domain,
            additional_domains: Vec::new(),
            kind: defaults.kind,
            tls: defaults.tls,
            sasl: defaults.sasl,
            dialback: defaults.dialback,
            require_tls_for_dialback: defaults.require_tls_for_dialback,
            keep_alive: defaults.keep_alive,
            bidi: defaults.bidi,
            connections_max: None,
            proxy: None,
            trust: None,
            pins: Vec::new(),
        }
    }
}

/// What holds for a partner that does not say otherwise, and for unlisted partners where they are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartnerDefaults {
    /// How far users are trusted.
    pub kind: PartnerType,
    /// STARTTLS.
    pub tls: Negotiation,
    /// SASL EXTERNAL.
    pub sasl: Negotiation,
    /// Server dialback.
    pub dialback: bool,
    /// Dialback only inside TLS.
    pub require_tls_for_dialback: bool,
    /// Silence looked into.
    pub keep_alive: bool,
    /// Both ways on one stream.
    pub bidi: bool,
}

impl Default for PartnerDefaults {
    /// The defaults of the legacy gateway's `New-CsXmppAllowedPartner`.
    fn default() -> Self {
        Self {
            kind: PartnerType::default(),
            tls: Negotiation::default(),
            sasl: Negotiation::default(),
            dialback: true,
            require_tls_for_dialback: false,
            keep_alive: true,
            bidi: false,
        }
    }
}

/// Limits over all partners (`CsXmppGatewayConfiguration`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Most connections of all partners together.
    pub connections_max: u32,
    /// Most connections of one partner that has no figure of its own.
    pub connections_per_partner_max: u32,
    /// How long a new stream may take until it is authenticated.
    pub establishment_seconds: u32,
    /// How long a stream may be idle before it is closed.
    pub idle_seconds: u32,
    /// Longest silence of a partner whose silence is looked into; white space is sent at half of it.
    pub keep_alive_seconds: u32,
    /// Acknowledge, and have acknowledged, what passes on streams whose peer can (XEP-0198).
    pub stream_management: bool,
    /// Write every message to the log as it comes in, its text included (the legacy gateway's EnableLoggingAllMessageBodies).
    pub log_message_bodies: bool,
    /// How long a stream whose connection broke may be resumed (XEP-0198 §5); 0: never.
    pub resumption_seconds: u32,
    /// Longest random wait before a partner whose stream broke is dialed again; 0: none.
    pub reconnect_seconds: u32,
}

impl Default for GatewayLimits {
    /// The defaults of the legacy gateway.
    fn default() -> Self {
        Self {
            connections_max: 1000,
            connections_per_partner_max: 20,
            establishment_seconds: 60,
            idle_seconds: 600,
            keep_alive_seconds: 300,
            stream_management: true,
            log_message_bodies: false,
            resumption_seconds: 60,
            reconnect_seconds: 5,
        }
    }
}

/// What happens to a domain that is in no partner entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unlisted {
    /// It is refused; how the legacy gateway does it.
    #[default]
    Refuse,
    /// It is taken with the defaults.
    Allow,
}

impl FromStr for Unlisted {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match name {
            "refuse" => Ok(Self::Refuse),
            "allow" => Ok(Self::Allow),
            _ => Err(NameError::new(name, "refuse, allow")),
        }
    }
}

/// The policy that holds for a domain, every default resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartnerView<'a> {
    /// The entry it comes from; `None` for an unlisted partner.
    pub id: Option<PartnerId>,
    /// The primary domain of the entry; `None` for an unlisted partner.
    pub primary_domain: Option<&'a Domain>,
    /// How far users are trusted.
    pub kind: PartnerType,
    /// STARTTLS.
    pub tls: Negotiation,
    /// SASL EXTERNAL.
    pub sasl: Negotiation,
    /// The ways of authentication that are left.
    pub methods: Methods,
    /// Silence looked into.
    pub keep_alive: bool,
    /// Both ways on one stream.
    pub bidi: bool,
    /// Most connections to and from this partner.
    pub connections_max: u32,
    /// Where to connect instead of asking the DNS.
    pub proxy: Option<&'a HostPort>,
    /// Trust anchors for this partner alone.
    pub trust: Option<TrustId>,
    /// SHA-256 of accepted SubjectPublicKeyInfos; empty means no pinning.
    pub pins: &'a [[u8; 32]],
}

/// Why a table of partners cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// The three keys leave no way to authenticate the partner.
    NoMethod {
        /// The partner's domain; `None` where the defaults are at fault.
        partner: Option<Domain>,
        /// `tls` as given.
        tls: Negotiation,
        /// `sasl` as given.
        sasl: Negotiation,
        /// `dialback` as given.
        dialback: bool,
        /// `require_tls_for_dialback` as given.
        require_tls_for_dialback: bool,
    },
    /// A domain stands in two entries, or twice in one.
    DuplicateDomain {
        /// The domain.
        domain: Domain,
        /// The primary domain of the entry that had it first.
        first: Domain,
        /// The primary domain of the entry that has it again.
        second: Domain,
    },
    /// More partners than ids.
    TooMany,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMethod { partner, tls, sasl, dialback, require_tls_for_dialback } => {
                match partner {
                    Some(domain) => write!(f, "partner {:?}: ", domain.as_str())?,
                    None => f.write_str("partner_defaults: ")?,
                }
                write!(
                    f,
                    "tls = {:?}, sasl = {:?} and dialback = {dialback} leave no way to authenticate it; ",
                    tls.as_str(),
                    sasl.as_str()
                )?;
                if *dialback && *require_tls_for_dialback {
                    f.write_str("allow tls, or set require_tls_for_dialback = false")
                } else {
                    f.write_str(
                        "set dialback = true, or let both tls and sasl be \"required\" or \"optional\"",
                    )
                }
            }
            Self::DuplicateDomain { domain, first, second } => write!(
                f,
                "the domain {:?} is given to partner {:?} and again to partner {:?}; remove it from one of them",
                domain.as_str(),
                first.as_str(),
                second.as_str()
            ),
            Self::TooMany => f.write_str("there are more partners than can be numbered"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// All partners of a configuration. Immutable; a reload builds a new one.
#[derive(Debug, Clone)]
pub struct Policy {
    partners: Vec<(Partner, Methods)>,
    by_domain: HashMap<Domain, PartnerId>,
    unlisted: Unlisted,
    defaults: PartnerDefaults,
    default_methods: Methods,
    limits: GatewayLimits,
}

impl Policy {
    /// Builds the table; ids are the positions in `partners`.
    ///
    /// # Errors
    /// [`PolicyError`]: an entry, or the defaults, that no method can serve; a domain given twice.
    pub fn new(
        partners: Vec<Partner>,
        unlisted: Unlisted,
        defaults: PartnerDefaults,
        limits: GatewayLimits,
    ) -> Result<Self, PolicyError> {
        let default_methods = check_defaults(&defaults)?;
        let mut by_domain: HashMap<Domain, PartnerId> = HashMap::new();
        let mut checked: Vec<(Partner, Methods)> = Vec::with_capacity(partners.len());
        for partner in partners {
            let methods = check_partner(&partner)?;
            let id = PartnerId(u32::try_from(checked.len()).map_err(|_| PolicyError::TooMany)?);
            for domain in std::iter::once(&partner.domain).chain(&partner.additional_domains) {
                if let Some(first) = by_domain.insert(domain.clone(), id) {
                    let first = checked.get(first.0 as usize).map_or(&partner, |(first, _)| first);
                    return Err(PolicyError::DuplicateDomain {
                        domain: domain.clone(),
                        first: first.domain.clone(),
                        second: partner.domain.clone(),
                    });
                }
            }
            checked.push((partner, methods));
        }
        Ok(Self { partners: checked, by_domain, unlisted, defaults, default_methods, limits })
    }

    /// What holds for a partner's domain, given prepared; `None` means it is refused.
    pub fn find(&self, domain: &str) -> Option<PartnerView<'_>> {
        if let Some(&id) = self.by_domain.get(domain) {
            return self.get(id);
        }
        match self.unlisted {
            Unlisted::Refuse => None,
            Unlisted::Allow => Some(PartnerView {
                id: None,
                primary_domain: None,
                kind: self.defaults.kind,
                tls: self.defaults.tls,
                sasl: self.defaults.sasl,
                methods: self.default_methods,
                keep_alive: self.defaults.keep_alive,
                bidi: self.defaults.bidi,
                connections_max: self.limits.connections_per_partner_max,
                proxy: None,
                trust: None,
                pins: &[],
            }),
        }
    }

    /// The view of one entry.
    pub fn get(&self, id: PartnerId) -> Option<PartnerView<'_>> {
        let (partner, methods) = self.partners.get(id.0 as usize)?;
        Some(PartnerView {
            id: Some(id),
            primary_domain: Some(&partner.domain),
            kind: partner.kind,
            tls: partner.tls,
            sasl: partner.sasl,
            methods: *methods,
            keep_alive: partner.keep_alive,
            bidi: partner.bidi,
            connections_max: partner.connections_max.unwrap_or(self.limits.connections_per_partner_max),
            proxy: partner.proxy.as_ref(),
            trust: partner.trust,
            pins: &partner.pins,
        })
    }

    /// All entries with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (PartnerId, &Partner)> {
        (0_u32..).map(PartnerId).zip(self.partners.iter().map(|(partner, _)| partner))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.partners.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.partners.is_empty()
    }

    /// The limits over all partners.
    pub fn limits(&self) -> &GatewayLimits {
        &self.limits
    }

    /// What happens to unlisted domains.
    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }
}

fn check_partner(partner: &Partner) -> Result<Methods, PolicyError> {
    Methods::of(partner.tls, partner.sasl, partner.dialback, partner.require_tls_for_dialback).ok_or_else(
        || PolicyError::NoMethod {
            partner: Some(partner.domain.clone()),
            tls: partner.tls,
            sasl: partner.sasl,
            dialback: partner.dialback,
            require_tls_for_dialback: partner.require_tls_for_dialback,
        },
    )
}

fn check_defaults(defaults: &PartnerDefaults) -> Result<Methods, PolicyError> {
    Methods::of(defaults.tls, defaults.sasl, defaults.dialback, defaults.require_tls_for_dialback).ok_or(
        PolicyError::NoMethod {
            partner: None,
            tls: defaults.tls,
            sasl: defaults.sasl,
            dialback: defaults.dialback,
            require_tls_for_dialback: defaults.require_tls_for_dialback,
        },
    )
}
