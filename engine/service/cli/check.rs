//! `turnout check`: everything that can be known before a router runs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use turnout_core::home::BackendKind;
use turnout_core::io::TrustId;
use turnout_core::policy::Negotiation;

mod users;

use super::{GREEN, Loaded, RED, YELLOW, load, painted};
use crate::config::{Config, ConfigErrors, KeyPair, Mistake};
use crate::directory::standing::Classes;
use crate::driver::Kind;
use crate::spool::folder::{Folder, Seen as Spool};
use crate::store::file::{ContactFile, Seen};
use crate::tls::facts::{Names, facts, names};
use crate::tls::identity::read_chain;
use crate::tls::{TlsContext, TrustTable};

/// A certificate that ends within this is worth a warning, in seconds.
const EXPIRY_WARNING_SECONDS: i64 = 30 * 86_400;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The router would not start, or something would not work.
    Error,
    /// It works; somebody should look.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where, what, and what to do.
    #[serde(flatten)]
    pub mistake: Mistake,
}

/// What the configuration amounts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What would move bytes on this machine: `io_uring` or `poll`.
    pub driver: &'static str,
    /// Local domains.
    pub domains: usize,
    /// Entries in the table of partners.
    pub partners: usize,
    /// Homes with the number of their users, in the order of the file.
    pub homes: Vec<(String, u64)>,
    /// Users in the directory.
    pub users: u64,
    /// Contacts in the store; `None` where there is no store, or it is not there yet, or a running turnout has it.
    pub contacts: Option<u64>,
    /// Stanzas that wait in the durable spool; `None` where there is none, or it is not there yet, or a running turnout has it.
    pub spooled: Option<u64>,
    /// Users no home serves: in the cloud, without a pool, on branch appliances, on unknown pools.
    pub users_without_home: u64,
    /// Users by class.
    pub classes: Classes,
    /// Users by granted policy (`7=6`), where the source is a directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policies: BTreeMap<String, u64>,
    /// The directory server that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// No finding is an error: exit code 0.
    pub good: bool,
    /// What was found, errors and warnings.
    pub findings: Vec<Finding>,
    /// What the configuration amounts to, where it could be read.
    pub summary: Option<Summary>,
}

/// Checks a configuration (or the embedded default), its certificates at this time, and its directory.
pub fn check(file: Option<&Path>, now: SystemTime) -> Checked {
    let mut findings =
        Findings { all: Vec::new(), file: file.unwrap_or_else(|| Path::new("(embedded default)")) };
    let summary = match load(file, now) {
        Ok(loaded) => Some(check_loaded(&loaded, now, &mut findings)),
        Err(errors) => {
            findings.errors(errors);
            None
        }
    };
    let findings = findings.all;
    Checked { good: findings.iter().all(|finding| finding.severity != Severity::Error), findings, summary }
}

impl Checked {
    pub(super) fn print(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        for Finding { severity, mistake } in &self.findings {
            let (word, code) = match severity {
                Severity::Error => ("error", RED),
                Severity::Warning => ("warning", YELLOW),
            };
            writeln!(out, "{}: {mistake}", painted(word, code, colour))?;
        }
        if let Some(summary) = &self.summary {
            let homes: Vec<String> =
                summary.homes.iter().map(|(name, users)| format!("{name} {users}")).collect();
            writeln!(
                out,
                "{} local domain(s), {} partner(s), {} user(s): {}, {} without a home; driver {}",
                summary.domains,
                summary.partners,
                summary.users,
                homes.join(", "),
                summary.users_without_home,
                summary.driver
            )?;
            summary.print_classes(out)?;
            if let Some(contacts) = summary.contacts {
                writeln!(out, "{contacts} contact(s) in the store")?;
            }
            if let Some(spooled) = summary.spooled {
                writeln!(out, "{spooled} stanza(s) wait in the spool")?;
            }
        }
        if self.good {
            writeln!(out, "{}", painted("good", GREEN, colour))?;
        }
        Ok(())
    }
}

/// Gathers findings.
struct Findings<'a> {
    all: Vec<Finding>,
    file: &'a Path,
}

impl Findings<'_> {
    fn errors(&mut self, errors: ConfigErrors) {
        let as_finding = |mistake| Finding { severity: Severity::Error, mistake };
        self.all.extend(errors.0.into_iter().map(as_finding));
    }

    fn add(&mut self, severity: Severity, key: &str, what: impl Into<String>, cure: &str) {
        let mistake = Mistake {
            file: self.file.to_owned(),
            line: None,
            key: key.to_owned(),
            what: what.into(),
            cure: cure.to_owned(),
        };
        self.all.push(Finding { severity, mistake });
    }
}

fn check_loaded(loaded: &Loaded, now: SystemTime, findings: &mut Findings<'_>) -> Summary {
    let config = &loaded.config;
    match TlsContext::load(config) {
        Ok(context) => {
            certificates(config, context.trusts(), now, findings);
            if config.policy.iter().count() > 0 && context.trusts().anchors(TrustId::FEDERATION) == 0 {
                let cure = "install ca-certificates, or give federation.ca_file";
                findings.add(Severity::Warning, "federation.ca_file", "there are no roots at all", cure);
            }
        }
        Err(errors) => findings.errors(errors),
    }
    for (_, home) in config.homes_with_ids() {
        if home.backend == BackendKind::Sip && home.tls == Negotiation::NotSupported {
            let what = format!(
                "whoever reaches {} may speak for every local user: tcp shows nobody's name",
                home.listen
            );
            let cure = "let a firewall admit the pool alone, or set transport = \"tls\"";
            findings.add(Severity::Warning, &format!("home.{}.transport", home.name), what, cure);
        }
    }
    let secret = config.dialback_secret([0; 32]);
    if let Err(errors) = secret.and_then(|secret| config.world(1, secret)) {
        findings.errors(errors);
    }
    let contacts = contacts(loaded, findings);
    let spooled = spool(config, findings);
    Summary { contacts, spooled, ..users(config, findings) }
}

/// Looks into the store, and changes nothing.
fn contacts(loaded: &Loaded, findings: &mut Findings<'_>) -> Option<u64> {
    let (config, key) = (&loaded.config, "presence.store");
    let Some(path) = &config.store else {
        // The embedded default is a trial and says so when it runs.
        let has_sip = config.home_configs.iter().any(|home| home.backend == BackendKind::Sip);
        if has_sip && loaded.trial.is_none() {
            let what = "is not set: a restart forgets who may see whom, and users are asked again";
            findings.add(Severity::Warning, key, what, "write store = \"contacts.redb\" in [presence]");
        }
        return None;
    };
    match ContactFile::inspect(path) {
        Ok(Seen::Contacts(contacts)) => return Some(contacts),
        Ok(Seen::Absent | Seen::InUse) => (),
        Err(what) => findings.add(Severity::Error, key, what, ""),
    }
    None
}

/// Looks into the spool's directory, and changes nothing that is in it.
fn spool(config: &Config, findings: &mut Findings<'_>) -> Option<u64> {
    let (path, key) = (&config.spool.as_ref()?.path, "spool.path");
    if let Some(kind) = file_system(path)
        && let Some(what) = unfit(&kind)
    {
        let what = format!("{} lies on a file system of type {kind}: {what}", path.display());
        findings.add(Severity::Warning, key, what, "give it a directory on a disk of this machine");
    }
    match Folder::inspect(path) {
        Ok(Spool::Stanzas(stanzas, _)) => return Some(stanzas as u64),
        Ok(Spool::Absent | Spool::InUse) => (),
        Err(what) => findings.add(Severity::Error, key, what, ""),
    }
    None
}

/// What is wrong with a kind of file system for what is to survive the loss of power.
fn unfit(kind: &str) -> Option<&'static str> {
    match kind {
        "tmpfs" | "ramfs" | "devtmpfs" => Some("it is in memory, and gone with the machine"),
        "overlay" | "aufs" => Some("it is a layer of a container, and goes with the container"),
        _ if kind.starts_with("nfs") || kind.starts_with("cifs") || kind.starts_with("fuse") => {
            Some("whether a sync reaches a disk is not known, and the network is waited for")
        }
        _ => None,
    }
}

/// The type of the file system a path is on, or would be made on. `None` where the system does not say.
fn file_system(path: &Path) -> Option<String> {
    let above = path.ancestors().find(|above| above.exists() && !above.as_os_str().is_empty());
    let path = std::fs::canonicalize(above.unwrap_or_else(|| Path::new("."))).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    // 36 35 98:0 /root /mount/point options - type source options (proc(5)); of several at one point the last one counts.
    let mounts = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?.replace("\\040", " ");
        path.starts_with(&point)
            .then(|| (point.len(), after.split(' ').next().unwrap_or_default().to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// Dates and names of our own certificates.
fn certificates(config: &Config, trusts: &TrustTable, now: SystemTime, findings: &mut Findings<'_>) {
    for domain in &config.domains {
        let Some(pair) = config.identity_of(domain) else { continue };
        let key = format!("certificate of {domain}");
        let Some(names) = dated(&key, pair, now, findings) else { continue };
        let ascii = domain.to_ascii().unwrap_or_else(|| domain.as_str().to_owned());
        if !covers(&names, domain.as_str(), &ascii) {
            let what = format!(
                "{} does not name {domain}, so no partner would accept it",
                pair.certificate.display()
            );
            findings.add(Severity::Error, &key, what, "get one with the bare domain as subjectAltName");
        }
        let chain = read_chain(&pair.certificate).unwrap_or_default();
        if let Some(why) = facts(&chain, trusts, now).untrusted_because {
            let what = format!("{}: {why}", pair.certificate.display());
            findings.add(
                Severity::Warning,
                &key,
                what,
                "add the intermediate certificates to the file; partners need them",
            );
        }
    }
    private_keys(config, findings);
    for (_, home) in config.homes_with_ids() {
        let Some(pair) = &home.identity else { continue };
        let key = format!("home.{}.certificate", home.name);
        let Some(names) = dated(&key, pair, now, findings) else { continue };
        let (BackendKind::Sip, Negotiation::Required, Some(name)) = (home.backend, home.tls, &home.our_name)
        else {
            continue;
        };
        if !names.dns.contains(name) && names.common_name.as_ref() != Some(name) {
            let what =
                format!("{} does not name {name}, the `name` of this home", pair.certificate.display());
            findings.add(Severity::Error, &key, what, "the pool compares the two: change one");
        }
    }
}

/// Keys are nobody else's business.
fn private_keys(config: &Config, findings: &mut Findings<'_>) {
    let ours = config.federation.default_identity.iter();
    let ours = ours.chain(config.federation.identities.iter().map(|(_, pair)| pair));
    let all = ours.chain(config.home_configs.iter().filter_map(|home| home.identity.as_ref()));
    let mut keys: Vec<&Path> = all.map(|pair| pair.key.as_path()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let Ok(metadata) = std::fs::metadata(key) else { continue };
        if metadata.permissions().mode() & 0o007 != 0 {
            let what = format!("{} can be read or written by every user of this machine", key.display());
            findings.add(Severity::Warning, "key", what, "chmod o-rwx");
        }
    }
}

/// The names of a certificate that can be read; its dates are looked at.
fn dated(key: &str, pair: &KeyPair, now: SystemTime, findings: &mut Findings<'_>) -> Option<Names> {
    let chain = read_chain(&pair.certificate).ok()?;
    let names = match names(chain.first()?) {
        Ok(names) => names,
        Err(error) => {
            findings.add(Severity::Error, key, error.to_string(), "replace the file");
            return None;
        }
    };
    let seconds =
        now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let (from, until) = names.validity;
    let shown = pair.certificate.display();
    if seconds > until {
        findings.add(Severity::Error, key, format!("{shown} has expired"), "renew it");
    } else if seconds < from {
        findings.add(
            Severity::Error,
            key,
            format!("{shown} is not valid yet"),
            "check the clock of this machine",
        );
    } else if until - seconds < EXPIRY_WARNING_SECONDS {
        let what = format!("{shown} expires in {} days", (until - seconds) / 86_400);
        findings.add(Severity::Warning, key, what, "renew it; a reload takes it up without dropping streams");
    }
    Some(names)
}

/// Whether partners would find the domain in it (RFC 6120 §13.7.1.2, RFC 9525).
fn covers(names: &Names, domain: &str, ascii: &str) -> bool {
    let wildcard = ascii.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    names.dns.iter().any(|name| name == ascii || Some(name) == wildcard.as_ref())
        || names.srv.contains(&format!("_xmpp-server.{ascii}"))
        || names.xmpp_addresses.iter().any(|name| name == domain || name == ascii)
}

/// Tries the driver out, and reads the users.
fn users(config: &Config, findings: &mut Findings<'_>) -> Summary {
    let driver = match Kind::choose(config.engine.driver) {
        Ok(kind) => kind.name(),
        Err(what) => {
            findings.add(Severity::Error, "engine.driver", what, "");
            "none"
        }
    };
    let mut summary = Summary {
        driver,
        domains: config.domains.len(),
        partners: config.policy.len(),
        homes: config.home_configs.iter().map(|home| (home.name.clone(), 0)).collect(),
        users: 0,
        contacts: None,
        spooled: None,
        users_without_home: 0,
        classes: Classes::default(),
        policies: BTreeMap::new(),
        server: None,
    };
    users::read(config, &mut summary, findings);
    summary
}
