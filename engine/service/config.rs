//! The configuration: one TOML file, read whole, checked whole, immutable afterwards.
//!
//! Invariant: a [`Config`] exists only if every key in its file is known and usable and the parts fit each other; whoever holds
//! one needs no further check but that of the outside (files, addresses, certificates) changing under it. All mistakes of a file
//! are reported at once.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use turnout_core::flow::FlowLimits;
use turnout_core::home::{BackendKind, Dialect, HomeId, Homes};
use turnout_core::io::TrustId;
use turnout_core::jid::Domain;
use turnout_core::policy::{Negotiation, Policy};
use turnout_core::presence::PresenceRules;

use crate::spool::Durable;

mod admin;
mod checks;
mod directory;
mod flat;
mod flow;
mod mistakes;
mod otlp;
mod partners;
mod parts;
mod presence;
mod read;
mod room;
mod world;

#[cfg(test)]
mod tests;

pub use admin::AdminConfig;
pub use directory::{DirectoryConfig, LdapConfig, LdapMode, LdapTls, UserSource};
pub use flat::KeyChange;
pub use mistakes::{ConfigErrors, Mistake};
pub use otlp::{Collector, OtlpConfig};
pub use world::TrustSource;

use read::{At, Book, Spot, Table};

/// The annotated default configuration, also what `turnout run` uses without a file.
pub const EMBEDDED: &str = include_str!("../../config/turnout.toml");

/// Largest configuration file read, in bytes: far beyond any estate, small against memory.
const CONFIG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A certificate chain and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPair {
    /// The chain, our own certificate first.
    pub certificate: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// `[federation]`: the outside.
#[derive(Clone, Debug)]
pub struct Federation {
    /// Where partners connect (STARTTLS).
    pub listen: Vec<SocketAddr>,
    /// Where partners connect with TLS first (XEP-0368).
    pub listen_tls: Vec<SocketAddr>,
    /// Certificate of every local domain that has none of its own in `identities`; shown also for unknown server names.
    pub default_identity: Option<KeyPair>,
    /// Certificates of single domains.
    pub identities: Vec<(Domain, KeyPair)>,
    /// Roots beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Lists of revoked certificates, of whichever authorities (RFC 5280 §5).
    pub crl_file: Option<PathBuf>,
    /// Most connections from one address, or one IPv6 network of 64 bits.
    pub connections_per_address_max: usize,
    /// Where the secret of dialback keys is kept; without it a random one is made at each start.
    pub dialback_secret_file: Option<PathBuf>,
    /// Largest stanza accepted, in bytes.
    pub stanza_bytes_max: usize,
    /// Whether unverified partners may only write to 2019 users who wrote first.
    pub enforce_introductions: bool,
}

/// One `[home.NAME]`, beside what [`Homes`] says of it.
#[derive(Clone, Debug)]
pub struct HomeConfig {
    /// Its number; a reload keeps it.
    pub id: HomeId,
    /// It is configured no more, and served until its users are elsewhere.
    pub leaving: bool,
    /// The NAME.
    pub name: String,
    /// Which adapter serves it.
    pub backend: BackendKind,
    /// How a SIP home talks.
    pub dialect: Dialect,
    /// Where its nodes connect to us.
    pub listen: SocketAddr,
    /// TLS towards it: for SIP required or none, by `transport`.
    pub tls: Negotiation,
    /// The certificate we show there. Always there for SIP over TLS.
    pub identity: Option<KeyPair>,
    /// The anchors for this home alone; without it those of the federation hold.
    pub ca_file: Option<PathBuf>,
    /// The number of its trust set.
    pub trust: TrustId,
    /// The name we have there, where the certificate does not say it.
    pub our_name: Option<String>,
    /// Names whose certificates may speak to us.
    pub trusted_names: Vec<String>,
    /// Seconds without traffic after which an IM dialog is ended.
    pub idle_seconds: u64,
    /// Largest text in one SIP message, in bytes.
    pub message_bytes_max: usize,
    /// Take the first message from the INVITE (`ms-text-format`).
    pub first_message_in_invite: bool,
    /// Pass HTML of the pool on as XHTML-IM beside the plain text.
    pub xhtml_im: bool,
}

/// Which driver moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    /// The best this machine has.
    Auto,
    /// io_uring, or no start.
    IoUring,
    /// tokio.
    Poll,
}

/// `[engine]`.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Shards; 0 is one per core.
    pub shards: u16,
    /// The driver.
    pub driver: DriverChoice,
    /// Longest time stanzas of a moving user are held, in milliseconds.
    pub hold_millis: u64,
    /// Longest time a stop waits for what was accepted, in seconds.
    pub drain_seconds: u64,
}

/// What the log says of people, from `[engine]`.
#[derive(Clone, Debug, Default)]
pub struct LogConfig {
    /// Users' names are not written, but words made of them with a key.
    pub redacted: bool,
    /// The file of that key; without one it is another at each start.
    pub key_file: Option<PathBuf>,
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from, for messages.
    pub file: PathBuf,
    /// The local domains, at least one.
    pub domains: Vec<Domain>,
    /// The outside.
    pub federation: Federation,
    /// Partners, their defaults, the limits.
    pub policy: Policy,
    /// The homes by their numbers: at the start those of the file in its order.
    pub homes: Homes,
    /// What else is configured for each home, in the order of the file.
    pub home_configs: Vec<HomeConfig>,
    /// The users.
    pub directory: DirectoryConfig,
    /// What is told of users, and when.
    pub presence: PresenceRules,
    /// The file of the store of contacts; without it they are forgotten with the process.
    pub store: Option<PathBuf>,
    /// How much may wait and how fast it may come.
    pub flow: FlowLimits,
    /// The spool on disk; without it what waits is in memory alone.
    pub spool: Option<Durable>,
    /// Shards and driver.
    pub engine: EngineConfig,
    /// What the log says of people.
    pub log: LogConfig,
    /// Name servers; empty is the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Spans of stanzas for a collector; without it none are made.
    pub otlp: Option<OtlpConfig>,
    /// What the file says, line by line.
    flat: flat::Flat,
    trusts: Vec<TrustSource>,
    named_files: Vec<At<PathBuf>>,
    /// Set where the text is the embedded one: where its relative paths start.
    embedded_base: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file, and that the files it names are there.
    ///
    /// # Errors
    /// All mistakes found, each with file, line where there is one, key and cure.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let config = Self::parse(&read_file(path)?, path, base)?;
        config.require_files()?;
        Ok(config)
    }

    /// The embedded default; `base` holds the certificates and the users it names.
    ///
    /// # Errors
    /// When `base` lacks one of the files.
    pub fn embedded(base: &Path) -> Result<Self, ConfigErrors> {
        let mut config = Self::parse(EMBEDDED, Path::new("(embedded default) turnout.toml"), base)?;
        config.require_files()?;
        config.embedded_base = Some(base.to_owned());
        Ok(config)
    }

    /// Checks a text without looking whether the files it names are there. `file` is for messages, `base` is where relative paths
    /// start.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn parse(text: &str, file: &Path, base: &Path) -> Result<Self, ConfigErrors> {
        let book = Book::new(text, file, base);
        let (document, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let line = error.span().map(|span| book.line(span.start));
            book.wrong(
                &Spot { line, key: String::new() },
                error.message().trim(),
                "correct the TOML syntax there",
            );
        }
        let config =
            if syntax.is_empty() { read_config(&Table::root(&book, document.get_ref()), file) } else { None };
        match config {
            Some(config) if !book.has_mistakes() => {
                Ok(Self { flat: flat::flatten(document.get_ref()), ..config })
            }
            _ => Err(ConfigErrors(book.into_mistakes())),
        }
    }

    /// Reads again what it was read from, for a reload.
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::embedded`].
    pub fn reread(&self) -> Result<Self, ConfigErrors> {
        match &self.embedded_base {
            Some(base) => Self::embedded(base),
            None => Self::load(&self.file),
        }
    }

    /// The keys that `newer` has differently.
    pub fn changes(&self, newer: &Self) -> Vec<KeyChange> {
        flat::changes(&self.flat, &newer.flat)
    }

    /// How many shards to run.
    pub fn shards(&self) -> u16 {
        if self.engine.shards > 0 {
            return self.engine.shards;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u16::try_from(cores.min(turnout_core::limits::SHARDS_MAX)).unwrap_or(1)
    }

    fn require_files(&self) -> Result<(), ConfigErrors> {
        let mut mistakes = Vec::new();
        for At { value, spot } in &self.named_files {
            let Err(error) = std::fs::File::open(value) else { continue };
            mistakes.push(Mistake {
                file: self.file.clone(),
                line: spot.line,
                key: spot.key.clone(),
                what: format!("cannot read {}: {error}", value.display()),
                cure: "correct the path (relative ones start at the configuration file) or the file's permissions".to_owned(),
            });
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigErrors(mistakes)) }
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Poll => "poll",
        })
    }
}

fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let failed = |error: std::io::Error| {
        ConfigErrors::file(
            path,
            format!("cannot be read: {error}"),
            "give the path of a configuration with --config",
        )
    };
    if std::fs::metadata(path).map_err(failed)?.len() > CONFIG_BYTES_MAX {
        return Err(ConfigErrors::file(path, "is larger than 64 MiB", "this is not a turnout configuration"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|&&byte| byte == b'\n').count() + 1;
        ConfigErrors::file(path, format!("is not UTF-8 (line {line})"), "save it as UTF-8")
    })
}

fn read_config(root: &Table<'_, '_>, file: &Path) -> Option<Config> {
    let domains = parts::domains(root);
    let defaults = partners::defaults(&root.table("partner_defaults"));
    let mut trusts = vec![TrustSource::federation()];
    let federation_table = root.table("federation");
    let mut limits = parts::limits(&federation_table);
    let unlisted = federation_table.parsed("unlisted_partners").map(|at| at.value).unwrap_or_default();
    let partners = partners::partners(root, &defaults, &mut trusts);
    let per_address = parts::connections_per_address(&limits, &partners);
    let federation = parts::federation(&federation_table, &domains, per_address);
    if let (Some(federation), Some(trust)) = (&federation, trusts.first_mut()) {
        trust.files.extend(federation.ca_file.clone());
    }
    let homes = parts::homes(root);
    let directory = directory::directory(&root.table("directory"));
    let (presence, store) = presence::presence(&root.table("presence"));
    let mut flow = flow::flow(&root.table("flow"));
    flow.room =
        room::room(&root.table("limits"), &flow, federation.as_ref().map(|made| made.stanza_bytes_max));
    let engine_table = root.table("engine");
    let log = parts::log(&engine_table);
    limits.log_message_bodies = engine_table.flag("log_message_bodies").unwrap_or(false);
    let engine = parts::engine(&engine_table);
    let spool = parts::spool(&root.table("spool"));
    let dns_servers = parts::dns(&root.table("dns"));
    let admin = admin::admin(&root.table("admin"));
    let otlp = otlp::otlp(&root.table("otlp"));
    root.finish();

    let cross = checks::Cross { root, domains: &domains, partners: &partners, homes: &homes };
    cross.check(federation.as_ref(), admin.listen);
    let policy = checks::policy(root.book, partners, unlisted, defaults, limits);
    let branch_spot = root.table("directory").spot_of("branch_pools");
    let branch_pools = directory.as_ref().map(|(_, pools)| pools.as_slice()).unwrap_or_default();
    let (homes, mut home_configs) = checks::homes(root.book, homes, branch_pools, &branch_spot)?;
    let trusts = world::home_trusts(trusts, &mut home_configs);
    Some(Config {
        file: file.to_owned(),
        domains: domains.into_iter().map(|at| at.value).collect(),
        federation: federation?,
        policy: policy?,
        homes,
        home_configs,
        directory: directory?.0,
        presence,
        store,
        flow,
        spool,
        engine,
        log,
        dns_servers,
        admin,
        otlp,
        flat: flat::Flat::new(),
        trusts,
        named_files: root.book.files(),
        embedded_base: None,
    })
}
