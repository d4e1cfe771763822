//! The users: connecting to their source, and what was found there.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use super::{Findings, Severity, Summary};
use crate::config::{Config, LdapConfig, LdapTls, UserSource};
use crate::directory::last_good;
use crate::directory::meter::Audience;
use crate::directory::report::Report;
use crate::directory::source::Source;
use crate::directory::standing::Classes;

/// Users that cannot be taken who are reported one by one.
const LISTED_MAX: usize = 20;

/// Reads the users and counts them.
pub(super) fn read(config: &Config, summary: &mut Summary, findings: &mut Findings<'_>) {
    let source = &config.directory.source;
    let key = match source {
        UserSource::Csv { .. } => "directory.file",
        UserSource::Ldap(ldap) => {
            settings(ldap, findings);
            "directory.ldap"
        }
    };
    let loaded = match Source::load(config, Audience::Command) {
        Ok((_, loaded)) => loaded,
        Err(what) => return unreadable(source, key, what, findings),
    };
    for note in loaded.notes {
        findings.add(Severity::Warning, key, note, "");
    }
    let report = loaded.report;
    for ((_, count), users) in summary.homes.iter_mut().zip(&report.homes) {
        *count = *users;
    }
    summary.server = loaded.server;
    summary.users = report.users;
    summary.classes = Classes::of(&report);
    summary.users_without_home = summary.classes.without_home();
    summary.policies.clone_from(&report.policies);
    not_taken(source, key, &report, findings);
}

/// The source cannot be read. Where a start would go on with what was kept, that keeps nothing from starting.
fn unreadable(source: &UserSource, key: &str, what: String, findings: &mut Findings<'_>) {
    let kept = match source {
        UserSource::Ldap(ldap) => {
            ldap.last_good.as_ref().and_then(|path| last_good::read(path, ldap).ok()?)
        }
        UserSource::Csv { .. } => None,
    };
    match kept {
        Some(kept) => {
            let kept = format!("a start would take the {} users of the last good load", kept.people.len());
            findings.add(Severity::Warning, key, what, &kept);
        }
        None => findings.add(Severity::Error, key, what, ""),
    }
}

/// Users that were skipped, and those whom no home serves though they have a pool.
fn not_taken(source: &UserSource, key: &str, report: &Report, findings: &mut Findings<'_>) {
    let file = match source {
        UserSource::Csv { file, .. } => format!("{}: ", file.display()),
        UserSource::Ldap(_) => String::new(),
    };
    for skipped in report.skipped.iter().take(LISTED_MAX) {
        let what = format!("{file}{} skipped: {}", skipped.place, skipped.why);
        findings.add(Severity::Warning, key, what, "correct it in the source");
    }
    if report.skipped_rows > LISTED_MAX as u64 {
        let what = format!("{} users skipped in all", report.skipped_rows);
        findings.add(Severity::Warning, key, what, "see those above");
    }
    for (pool, users) in &report.unknown_pools {
        let what = format!("{users} user(s) live on {pool:?}, which no home names: they cannot be reached");
        let cure = if pool.contains('=') {
            "this is a DN, as the name of its pool (dNSHostName) cannot be read: let the account read it, or add the DN to the \
             registrar_pool_dns of a home"
        } else {
            "add the pool to the registrar_pools of a home, or to branch_pools"
        };
        findings.add(Severity::Warning, key, what, cure);
    }
    if report.users == 0 {
        findings.add(Severity::Warning, key, "there are no users", "check the source");
    }
}

/// What of the settings is dangerous, and whether the last good users can be kept.
fn settings(ldap: &LdapConfig, findings: &mut Findings<'_>) {
    if ldap.tls == LdapTls::None {
        let what = "the password and all users go over the network in the clear";
        findings.add(Severity::Warning, "directory.ldap.tls", what, "write tls = \"ldaps\" or \"starttls\"");
    }
    if let Ok(metadata) = std::fs::metadata(&ldap.password_file)
        && metadata.permissions().mode() & 0o007 != 0
    {
        let what =
            format!("{} can be read or written by every user of this machine", ldap.password_file.display());
        findings.add(Severity::Warning, "directory.ldap.password_file", what, "chmod o-rwx");
    }
    let key = "directory.ldap.last_good";
    match &ldap.last_good {
        None => {
            let what = "is not set: a start while the directory is away fails";
            findings.add(
                Severity::Warning,
                key,
                what,
                "write last_good = \"directory.users\" in [directory.ldap]",
            );
        }
        Some(path) => {
            if let Err(what) = last_good::read(path, ldap) {
                findings.add(Severity::Warning, key, what, "");
            }
        }
    }
}

impl Summary {
    /// Why users have no home, and what else there is to know of them.
    pub(super) fn print_classes(&self, out: &mut dyn Write) -> io::Result<()> {
        let of = &self.classes;
        let classes = [
            (of.cloud, "in the cloud"),
            (of.unassigned, "with no pool"),
            (of.branch, "on branch appliances"),
            (of.unknown_pool, "on pools no home names"),
            (of.moving, "being moved by a server"),
        ];
        let told: Vec<String> = classes
            .iter()
            .filter(|(users, _)| *users > 0)
            .map(|(users, what)| format!("{users} {what}"))
            .collect();
        if !told.is_empty() {
            writeln!(out, "of the users: {}", told.join(", "))?;
        }
        if let Some(server) = &self.server {
            writeln!(out, "read from {server}")?;
        }
        if !self.policies.is_empty() {
            let policies: Vec<String> =
                self.policies.iter().map(|(pair, users)| format!("{pair} {users}")).collect();
            writeln!(out, "policies granted (kind=policy users): {}", policies.join(", "))?;
        }
        Ok(())
    }
}
