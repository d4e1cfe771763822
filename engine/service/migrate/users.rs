//! `Get-CsUser` to `[directory]`, and to the CSV file it names where the export is JSON or CLIXML.
//!
//! Invariant: what is said of the users is what the router's own reader ([`crate::directory::csv`]) finds in the file that will be used.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use turnout_core::directory::AccessPolicies;
use turnout_core::home::Homes;

use super::{Imported, Weight, count, list, one_line, quoted};
use crate::directory::csv::{self, CsvLimits};
use crate::directory::report::Report;
use crate::exports::{self, ExportError, Format, Record, shown};

/// Columns the router reads.
const COLUMNS: [&str; 6] = [
    "SipAddress",
    "RegistrarPool",
    "HostingProvider",
    "EnabledForFederation",
    "Enabled",
    "ExternalAccessPolicy",
];

/// Different policies that are told apart, and pools that are listed.
const LISTED_MAX: usize = 1000;

/// Bad rows that are reported one by one.
const ROWS_LISTED_MAX: usize = 20;

/// What external access policies allow, out of `Get-CsExternalAccessPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `EnableXmppAccess` by identity, `Tag:` taken off.
    policies: BTreeMap<String, bool>,
}

/// Reads `Get-CsExternalAccessPolicy`.
///
/// # Errors
/// The file cannot be read, or is another cmdlet's.
pub fn access(source: impl Read) -> Result<Access, ExportError> {
    let mut access = Access::default();
    exports::read(source, &mut |record| {
        let wrong =
            |why: String| ExportError::from(std::io::Error::other(format!("{}: {why}", record.place)));
        let name = record.text("Identity").map_err(wrong)?;
        let name = name
            .ok_or_else(|| wrong("there is no Identity; is this Get-CsExternalAccessPolicy?".to_owned()))?;
        let allowed = record.flag("EnableXmppAccess").map_err(wrong)?;
        let allowed = allowed.ok_or_else(|| wrong("there is no EnableXmppAccess".to_owned()))?;
        let name = name.strip_prefix("Tag:").unwrap_or(name);
        if access.policies.len() < LISTED_MAX {
            access.policies.insert(name.to_owned(), allowed);
        }
        Ok(())
    })?;
    Ok(access)
}

/// The files of an import.
#[derive(Debug)]
pub struct UserFiles<'a> {
    /// What the export is called.
    pub name: &'a str,
    /// What the policies allow, where they were exported.
    pub access: Option<&'a Access>,
    /// Where the configuration will find the users.
    pub csv_name: &'a str,
}

/// Reads an export, and writes its users to `rows` where there is one, as CSV. Gives the format and the policies found with how
/// many users have each.
pub(super) fn convert(
    source: impl Read,
    rows: Option<&mut dyn Write>,
) -> Result<(Format, BTreeMap<String, u64>), ExportError> {
    let mut policies: BTreeMap<String, u64> = BTreeMap::new();
    let mut rows =
        rows.map(|rows| ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(rows));
    let failed = |error: &dyn std::fmt::Display| {
        ExportError::from(std::io::Error::other(format!("the users cannot be written: {error}")))
    };
    // The header says which values the export has: one it lacks must not look like one that is empty everywhere.
    let mut columns: Option<Vec<&str>> = None;
    let format = exports::read(source, &mut |record: Record| {
        let place = record.place.clone();
        let at = |why: String| ExportError::from(std::io::Error::other(format!("{place}: {why}")));
        let policy = record.text("ExternalAccessPolicy").map_err(at)?.unwrap_or_default();
        let policy = policy.strip_prefix("Tag:").unwrap_or(policy);
        let room = policies.len() < LISTED_MAX;
        match policies.get_mut(policy) {
            Some(users) => *users += 1,
            None if room => drop(policies.insert(policy.to_owned(), 1)),
            None => {}
        }
        let Some(rows) = &mut rows else { return Ok(()) };
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let there: Vec<&str> = COLUMNS.into_iter().filter(|name| record.has(name)).collect();
                rows.write_record(&there).map_err(|error| failed(&error))?;
                columns.insert(there)
            }
        };
        for name in columns {
            let text = record.text(name).map_err(at)?.unwrap_or_default();
            rows.write_field(one_line(text)).map_err(|error| failed(&error))?;
        }
        rows.write_record(None::<&[u8]>).map_err(|error| failed(&error))
    })?;
    if let Some(mut rows) = rows {
        rows.flush().map_err(|error| failed(&error))?;
    }
    Ok((format, policies))
}

/// Makes `[directory]` of an export.
///
/// `rows` is where the users are written as CSV; without it the export itself has to be CSV. `check` opens the file the configuration
/// will name, once it is written.
///
/// # Errors
/// A file cannot be read or written, the export is no CSV and there are no `rows`, or the router could not use the users.
pub fn users(
    source: impl Read,
    rows: Option<&mut dyn Write>,
    files: &UserFiles<'_>,
    check: impl FnOnce() -> std::io::Result<Box<dyn Read>>,
) -> Result<Imported, ExportError> {
    let written = rows.is_some();
    let (format, policies) = convert(source, rows)?;
    if format != Format::Csv && !written {
        let what = format!(
            "the export is {format}, and the router reads users from CSV; say with --csv where to write them"
        );
        return Err(std::io::Error::other(what).into());
    }
    let none = Homes::new(Vec::new(), &[]).map_err(|error| std::io::Error::other(error.to_string()))?;
    let (_, report) =
        csv::read(check()?, &none, &AccessPolicies::new(false), CsvLimits::default(), &mut |_| {}).map_err(
            |error| std::io::Error::other(format!("the router could not use {}: {error}", files.csv_name)),
        )?;
    let mut made = Imported { taken: report.users, ..Imported::default() };
    made.comment(format!(
        "Users out of {} ({format}): {} in {}.",
        files.name,
        count(report.users, "user"),
        files.csv_name
    ));
    found(&report, &mut made);
    made.line("[directory]");
    made.line("source = \"csv\"");
    made.comment("A relative path starts at the configuration file.");
    made.line(format!("file = {}", quoted(files.csv_name)));
    xmpp_access(&policies, files.access, &mut made);
    Ok(made)
}

/// What the router's reader found.
fn found(report: &Report, made: &mut Imported) {
    if report.users == 0 {
        made.finding(Weight::Error, "", "there are no users in the file");
    }
    made.comment("Pools they live on. Each has to stand in registrar_pools of one [home.NAME], or in branch_pools of [directory]:");
    for (pool, users) in report.unknown_pools.iter().take(LISTED_MAX) {
        made.comment(format!("  {}: {}", quoted(pool), count(*users, "user")));
    }
    let refused = [
        (report.cloud, "in the cloud (HostingProvider other than SRV:): turnout refuses what is for them"),
        (report.unassigned, "on no pool: turnout refuses what is for them"),
    ];
    for (users, what) in refused.into_iter().filter(|(users, _)| *users > 0) {
        made.finding(Weight::Note, "", format!("{} {what}", count(users, "user")));
    }
    for skipped in report.skipped.iter().take(ROWS_LISTED_MAX) {
        made.finding(Weight::Error, &skipped.place.to_string(), format!("user passed over: {}", skipped.why));
    }
    if report.skipped_rows > ROWS_LISTED_MAX as u64 {
        made.finding(Weight::Error, "", format!("{} passed over in all", count(report.skipped_rows, "user")));
    }
}

/// Who may use XMPP federation.
fn xmpp_access(found: &BTreeMap<String, u64>, access: Option<&Access>, made: &mut Imported) {
    made.comment("External access policies of the users:");
    for (policy, users) in found {
        let name = if policy.is_empty() {
            "no policy of their own".to_owned()
        } else {
            format!("policy {}", shown(policy))
        };
        made.comment(format!("  {}: {name}", count(*users, "user")));
    }
    let Some(access) = access else {
        made.finding(
            Weight::Note,
            "",
            "who may use XMPP is not known without Get-CsExternalAccessPolicy: nobody may, the legacy default. Import again with \
             --policies, or set the two keys below by hand (EnableXmppAccess of the global policy, and the policies where it is True)",
        );
        made.line("default_xmpp_access = false");
        made.line("xmpp_access_policies = []");
        return;
    };
    let is_global = |name: &str| name.eq_ignore_ascii_case("global");
    let global = access.policies.iter().find(|(name, _)| is_global(name)).map(|(_, allowed)| *allowed);
    if global.is_none() {
        made.finding(
            Weight::Note,
            "",
            "the export of policies has no Global; nobody without a policy may use XMPP",
        );
    }
    let global = global.unwrap_or(false);
    for (name, allowed) in access.policies.iter().filter(|(name, _)| name.to_lowercase().starts_with("site:"))
    {
        if *allowed != global {
            let what = format!(
                "the policy {} has EnableXmppAccess {allowed}, and Get-CsUser does not say which site a user belongs to: the \
                 global policy is taken for him; grant those users a policy of their own",
                shown(name)
            );
            made.finding(Weight::Error, "", what);
        }
    }
    for policy in found.keys().filter(|policy| !policy.is_empty() && !is_global(policy)) {
        if !access.policies.keys().any(|name| name.eq_ignore_ascii_case(policy)) {
            let what = format!(
                "the policy {} is not in the export of policies: its users may not use XMPP",
                shown(policy)
            );
            made.finding(Weight::Error, "", what);
        }
    }
    let named =
        access.policies.iter().filter(|(name, allowed)| **allowed && !is_global(name) && !name.contains(':'));
    made.line(format!("default_xmpp_access = {global}"));
    made.line(format!("xmpp_access_policies = {}", list(named.map(|(name, _)| name.as_str()))));
}
