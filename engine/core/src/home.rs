//! Homes: the places local users live, and which of them a registrar pool stands for.
//!
//! Invariant: a pool name leads to one home at most, and a user whose pool is not named by the configuration is
//! never given a home by guessing; [`Residence`] says instead what is known about him.

use std::fmt;
use std::str::FromStr;

use hashbrown::HashMap;

#[cfg(test)]
mod tests;

/// Most homes a configuration may name.
pub const HOMES_MAX: usize = 1024;

/// A home of the running configuration; the index into [`Homes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HomeId(pub u16);

/// A registrar pool that some user has and the configuration does not name; the index into the pool names of the
/// snapshot that gave it, see `Snapshot::pool_name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u16);

/// Which protocol adapter serves a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Server-to-server XMPP: the legacy gateway.
    Xmpp,
    /// SIP: a Skype for Business Server pool or another SIP server.
    Sip,
}

impl BackendKind {
    /// The name used in the configuration and in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xmpp => "xmpp",
            Self::Sip => "sip",
        }
    }
}

/// How a SIP home talks instant messages. Means nothing for an XMPP home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// INVITE sessions with `m=message … sip null`, as the 2019 pool has them.
    #[default]
    Skype,
    /// MESSAGE requests outside of a dialog (RFC 3428, RFC 7572).
    Simple,
}

impl Dialect {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skype => "skype",
            Self::Simple => "simple",
        }
    }
}

impl FromStr for Dialect {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match name {
            "skype" => Ok(Self::Skype),
            "simple" => Ok(Self::Simple),
            _ => Err(NameError::new(name, "skype, simple")),
        }
    }
}

impl FromStr for BackendKind {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        match name {
            "xmpp" => Ok(Self::Xmpp),
            "sip" => Ok(Self::Sip),
            _ => Err(NameError::new(name, "xmpp, sip")),
        }
    }
}

/// A word of a configuration or export that is none of the words allowed in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    given: String,
    allowed: &'static str,
}

impl NameError {
    /// `allowed` lists the words, separated by commas.
    pub(crate) fn new(given: &str, allowed: &'static str) -> Self {
        Self { given: given.chars().take(80).collect(), allowed }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not one of: {}", self.given, self.allowed)
    }
}

impl std::error::Error for NameError {}

/// A host name or address literal with a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Lower case, without trailing dot; an IPv6 literal without its brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
}

/// A text that is no host with port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPortError(String);

impl fmt::Display for HostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no host and port; write it as host.example:5269 or [2001:db8::1]:5269", self.0)
    }
}

impl std::error::Error for HostPortError {}

impl HostPort {
    /// Reads `host:port`, `[ipv6]:port` or, with `default_port`, the host alone.
    ///
    /// # Errors
    /// When the host is empty or holds what no host name holds, or the port is missing, 0 or no number.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostPortError> {
        let error = || HostPortError(text.chars().take(80).collect());
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(error)?;
                host.parse::<core::net::Ipv6Addr>().map_err(|_| error())?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(error)?),
                };
                (host, port)
            }
            None => {
                let (host, port) =
                    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                let host = host.strip_suffix('.').unwrap_or(host);
                let fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                if host.is_empty() || host.split('.').any(str::is_empty) || !host.bytes().all(fit) {
                    return Err(error());
                }
                (host, port)
            }
        };
        let port = match port {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None => default_port,
        };
        let port = port.filter(|&port| port != 0).ok_or_else(error)?;
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        Self::parse(text, None)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One `[home.NAME]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The NAME, as operators see it everywhere.
    pub name: String,
    /// Which adapter serves it.
    pub backend: BackendKind,
    /// How a SIP home talks; without meaning for XMPP.
    pub dialect: Dialect,
    /// The pools whose users live here: FQDNs as `Get-CsUser` shows them, or DNs as the directory service stores
    /// them. Compared without regard to case.
    pub registrar_pools: Vec<String>,
    /// The nodes to connect to.
    pub connect: Vec<HostPort>,
}

/// Where a local user lives, as far as the directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Residence {
    /// In a home of this configuration.
    Home(HomeId),
    /// In the cloud: the hosting provider is another than `SRV:`. Refused, not guessed.
    Cloud,
    /// Enabled, but with no pool.
    Unassigned,
    /// On a survivable branch appliance, which the legacy gateway does not serve.
    Branch,
    /// On a pool that no home names.
    UnknownPool(PoolId),
}

/// What a pool and a hosting provider say, before the name of an unknown pool has got its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMeaning {
    /// The residence is known.
    Known(Residence),
    /// No home and no branch list names the pool.
    Unknown,
}

/// Why a set of homes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomesError {
    /// Two `[home.*]` tables have one name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// Two homes, or a home and `branch_pools`, name one pool.
    DuplicatePool {
        /// The pool, lower case.
        pool: String,
        /// Who named it first: a home's name, or `branch_pools`.
        first: String,
        /// Who named it again.
        second: String,
    },
    /// A pool name is empty.
    EmptyPool {
        /// The home, or `branch_pools`.
        owner: String,
    },
    /// More homes than [`HOMES_MAX`].
    TooMany {
        /// How many there are.
        given: usize,
    },
}

impl fmt::Display for HomesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateName { name } => write!(f, "two homes are called {name:?}; rename one"),
            Self::DuplicatePool { pool, first, second } => write!(
                f,
                "the pool {pool:?} is named by {first:?} and by {second:?}; a user can live in one place only, \
                 so remove it from one of them"
            ),
            Self::EmptyPool { owner } => write!(f, "{owner:?} names a pool that is empty text; remove it"),
            Self::TooMany { given } => write!(f, "{given} homes are more than the {HOMES_MAX} allowed"),
        }
    }
}

impl std::error::Error for HomesError {}

/// What a pool name leads to.
#[derive(Debug, Clone, Copy)]
enum PoolOwner {
    Home(HomeId),
    Branch,
}

/// All homes of a configuration. Immutable; a reload builds a new one, in which homes that stay keep their ids and ids of homes that are
/// gone are not given again.
#[derive(Debug, Clone, Default)]
pub struct Homes {
    /// By id, those that are gone included: what they left under way still has to be called by a name.
    homes: Vec<Home>,
    gone: Vec<HomeId>,
    pools: HashMap<String, PoolOwner>,
}

/// The hosting provider of users on premises (`msRTCSIP-DeploymentLocator`).
const ON_PREMISES: &str = "SRV:";

/// How errors call the list of branch pools.
const BRANCH_POOLS: &str = "branch_pools";

impl Homes {
    /// Takes the homes in the order of their ids, and the pools that are survivable branch appliances.
    ///
    /// # Errors
    /// [`HomesError`]: a name or a pool given twice, an empty pool name, too many homes.
    pub fn new(mut homes: Vec<Home>, branch_pools: &[String]) -> Result<Self, HomesError> {
        if homes.len() > HOMES_MAX {
            return Err(HomesError::TooMany { given: homes.len() });
        }
        for home in &mut homes {
            home.registrar_pools = home.registrar_pools.iter().map(|pool| pool_key(pool)).collect();
        }
        let mut made = Self::default();
        for (id, home) in (0_u16..).map(HomeId).zip(&homes) {
            if homes[..usize::from(id.0)].iter().any(|earlier| earlier.name == home.name) {
                return Err(HomesError::DuplicateName { name: home.name.clone() });
            }
            for pool in &home.registrar_pools {
                made.own(&homes, pool, PoolOwner::Home(id))?;
            }
        }
        for pool in branch_pools {
            made.own(&homes, &pool_key(pool), PoolOwner::Branch)?;
        }
        made.homes = homes;
        Ok(made)
    }

    /// These homes as they follow on others: one that was there under the same name, served in the same way, keeps its id, one that is new gets
    /// an id that nobody had. Gives the new ids too, in the order of the old.
    ///
    /// # Errors
    /// [`HomesError::TooMany`], those that are gone counted.
    pub fn follow(self, before: &Self) -> Result<(Self, Vec<HomeId>), HomesError> {
        let mut made = Self { homes: before.homes.clone(), gone: Vec::new(), pools: HashMap::new() };
        let mut ids = Vec::with_capacity(self.homes.len());
        for home in self.homes {
            let alike = |old: &Home| {
                old.name == home.name && old.backend == home.backend && old.dialect == home.dialect
            };
            let known = before.iter().find(|(_, old)| alike(old)).map(|(id, _)| id);
            let id = known.unwrap_or_else(|| HomeId(u16::try_from(made.homes.len()).unwrap_or(u16::MAX)));
            match made.homes.get_mut(usize::from(id.0)) {
                Some(place) => *place = home,
                None => made.homes.push(home),
            }
            ids.push(id);
        }
        if made.homes.len() > HOMES_MAX {
            return Err(HomesError::TooMany { given: made.homes.len() });
        }
        made.gone = made.all().map(|(id, _)| id).filter(|id| !ids.contains(id)).collect();
        made.pools = self.pools;
        for owner in made.pools.values_mut() {
            if let PoolOwner::Home(id) = owner
                && let Some(new) = ids.get(usize::from(id.0))
            {
                *id = *new;
            }
        }
        Ok((made, ids))
    }

    /// The home with this id, also one that is gone.
    pub fn get(&self, id: HomeId) -> Option<&Home> {
        self.homes.get(usize::from(id.0))
    }

    /// The home of this name.
    pub fn by_name(&self, name: &str) -> Option<(HomeId, &Home)> {
        self.iter().find(|(_, home)| home.name == name)
    }

    /// All homes with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (HomeId, &Home)> {
        self.all().filter(|(id, _)| !self.is_gone(*id))
    }

    /// All ids that were given, with the homes that had them last.
    pub fn all(&self) -> impl Iterator<Item = (HomeId, &Home)> {
        (0_u16..).map(HomeId).zip(&self.homes)
    }

    /// Whether the home with this id is configured no more.
    pub fn is_gone(&self, id: HomeId) -> bool {
        self.gone.contains(&id)
    }

    /// Homes that are configured no more.
    pub fn gone(&self) -> &[HomeId] {
        &self.gone
    }

    /// How many ids were given.
    pub fn places(&self) -> usize {
        self.homes.len()
    }

    /// What a user's pool and hosting provider mean. Both are taken as exports and directory services write them;
    /// an empty provider says nothing, and then the pool decides.
    pub fn meaning(&self, pool: &str, hosting_provider: &str) -> PoolMeaning {
        let provider = hosting_provider.trim();
        if !provider.is_empty() && !provider.eq_ignore_ascii_case(ON_PREMISES) {
            return PoolMeaning::Known(Residence::Cloud);
        }
        let key = pool_key(pool);
        if key.is_empty() {
            return PoolMeaning::Known(Residence::Unassigned);
        }
        match self.pools.get(&key) {
            Some(PoolOwner::Home(id)) => PoolMeaning::Known(Residence::Home(*id)),
            Some(PoolOwner::Branch) => PoolMeaning::Known(Residence::Branch),
            None => PoolMeaning::Unknown,
        }
    }

    fn own(&mut self, homes: &[Home], pool: &str, owner: PoolOwner) -> Result<(), HomesError> {
        let name = |owner: PoolOwner| match owner {
            PoolOwner::Home(id) => homes[usize::from(id.0)].name.clone(),
            PoolOwner::Branch => BRANCH_POOLS.to_owned(),
        };
        if pool.is_empty() {
            return Err(HomesError::EmptyPool { owner: name(owner) });
        }
        match self.pools.insert(pool.to_owned(), owner) {
            None => Ok(()),
            Some(first) => Err(HomesError::DuplicatePool {
                pool: pool.to_owned(),
                first: name(first),
                second: name(owner),
            }),
        }
    }
}

/// The form pool names are compared in: no blanks around, lower case, no trailing dot.
pub(crate) fn pool_key(pool: &str) -> String {
    let pool = pool.trim();
    pool.strip_suffix('.').unwrap_or(pool).to_lowercase()
}
