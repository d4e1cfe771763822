//! The users of an export as the legacy gateway has them, and as the directory would.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use turnout_core::directory::{AccessPolicies, Snapshot, User};
use turnout_core::home::{BackendKind, Residence};
use turnout_core::jid::prepare;

use super::{Exports, Rehearsal, Weight, count};
use crate::clock;
use crate::config::{Config, UserSource};
use crate::directory::address::jid_text;
use crate::directory::csv::{self, CsvLimits};
use crate::directory::meter::{Audience, Meter};
use crate::directory::report::Report;
use crate::exports::{self, ExportError, Format, Record};
use crate::migrate::users::{Access, access, convert};

/// Skipped rows that are told one by one.
const ROWS_LISTED_MAX: usize = 20;

/// What becomes of a user's XMPP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// He has it and loses it.
    Loses,
    /// He gets it.
    Gains,
    /// He has it and keeps it.
    Keeps,
    /// He has none, today and then.
    None,
}

impl Turn {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loses => "loses",
            Self::Gains => "gains",
            Self::Keeps => "keeps",
            Self::None => "none",
        }
    }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserRow {
    /// His address.
    pub user: String,
    /// The home he gets; `None` where he has none.
    pub home: Option<String>,
    /// Where he lives: a home's name, `cloud`, `unassigned`, `branch`, `unknown pool NAME`, `skipped`.
    pub place: String,
    /// What becomes of his XMPP.
    pub turn: Turn,
    /// Why it is none today; empty where he has it.
    pub today: String,
    /// Why it would be none; empty where he would have it.
    pub then: String,
}

/// How many users of one place come off how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// As [`UserRow::place`].
    pub place: String,
    /// Who keep XMPP.
    pub keep: u64,
    /// Who gain it.
    pub gain: u64,
    /// Who lose it.
    pub lose: u64,
    /// Who have none, today and then.
    pub none: u64,
}

/// All users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    /// Rows of the export.
    pub total: u64,
    /// Whether the exports say who may use XMPP today.
    pub policies_known: bool,
    /// By place, in the order of the configuration's homes.
    pub groups: Vec<Group>,
    /// Those who lose XMPP, gain it, or live in no home; with `--all` everybody.
    pub rows: Vec<UserRow>,
}

/// Compares.
pub(super) fn compare(
    config: &Config,
    exports: &Exports,
    all: bool,
    told: &mut Rehearsal,
) -> Result<(), String> {
    let path = match (&exports.users, &config.directory.source) {
        (Some(path), UserSource::Csv { .. }) => path,
        (None, UserSource::Csv { file, .. }) => file,
        (Some(path), UserSource::Ldap(_)) => {
            if !config.directory.xmpp_access_policies.is_empty() {
                let what = "xmpp_access_policies are numbers of the directory (7=6) where directory.source is ldap, and the export has names: \
                            those who get XMPP by a policy count as if they had none";
                told.finding(Weight::Note, what);
            }
            path
        }
        (None, UserSource::Ldap(_)) => {
            return Err(
                "directory.source is ldap: give the users of the old estate with --users (Get-CsUser)"
                    .to_owned(),
            );
        }
    };
    let named = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let access = match &exports.policies {
        Some(path) => {
            let file = File::open(path).map_err(|error| named(path, &error))?;
            Some(access(file).map_err(|error| named(path, &error))?)
        }
        None => {
            let what = "without --policies (Get-CsExternalAccessPolicy) it is not known who may use XMPP today: those are taken whom the \
                        configuration allows";
            told.finding(Weight::Note, what);
            None
        }
    };
    told.users.policies_known = access.is_some();
    let (snapshot, report) = loaded(path, config).map_err(|error| named(path, &error))?;
    let mut judge = Judge {
        config,
        snapshot: &snapshot,
        access: access.as_ref(),
        groups: Groups::default(),
        domains: BTreeMap::new(),
        jid: String::new(),
        scratch: String::new(),
    };
    let file = File::open(path).map_err(|error| named(path, &error))?;
    exports::read(file, &mut |record| {
        let row = judge
            .judge(&record)
            .map_err(|why| ExportError::from(std::io::Error::other(format!("{}: {why}", record.place))))?;
        judge.groups.add(&row);
        told.users.total += 1;
        if all || row.home.is_none() || matches!(row.turn, Turn::Loses | Turn::Gains) {
            told.users.rows.push(row);
        }
        Ok(())
    })
    .map_err(|error| named(path, &error))?;
    told.users.rows.sort_by(|a, b| (a.turn, &a.user).cmp(&(b.turn, &b.user)));
    let (groups, domains) = (judge.groups, judge.domains);
    told.users.groups = groups.in_order(config);
    findings(&report, &domains, told);
    Ok(())
}

/// The directory as the router would have it.
fn loaded(path: &Path, config: &Config) -> Result<(Snapshot, Report), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut policies = AccessPolicies::new(config.directory.default_xmpp_access);
    for name in &config.directory.xmpp_access_policies {
        policies.set(name, true);
    }
    let open = || File::open(path).map_err(|error| said(&error));
    let source: Box<dyn Read> = match convert(open()?, None).map_err(|error| said(&error))?.0 {
        Format::Csv => Box::new(open()?),
        // What `turnout import users` would make of it.
        Format::Json | Format::Clixml => {
            let mut rows = Vec::new();
            convert(open()?, Some(&mut rows)).map_err(|error| said(&error))?;
            Box::new(std::io::Cursor::new(rows))
        }
    };
    let bytes = std::fs::metadata(path).map_or(0, |of| of.len());
    let mut meter = Meter::new(Audience::Command, bytes, clock::now());
    let mut progress = |progress| meter.tell(clock::now(), progress);
    csv::read(source, &config.homes, &policies, CsvLimits::default(), &mut progress)
        .map_err(|error| said(&error))
}

/// Judges one user after the other.
struct Judge<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    access: Option<&'a Access>,
    groups: Groups,
    /// Users by domain, for domains that are none of ours.
    domains: BTreeMap<String, u64>,
    jid: String,
    scratch: String,
}

impl Judge<'_> {
    fn judge(&mut self, record: &Record) -> Result<UserRow, String> {
        let sip = record.text("SipAddress")?.unwrap_or_default().to_owned();
        let Some(user) = self.bare(&sip) else {
            return Ok(skipped(sip));
        };
        let Some(known) = self.snapshot.look_up(&user) else { return Ok(skipped(user)) };
        let (home, place) = self.place(known.residence);
        let domain = user.split_once('@').map_or("", |(_, domain)| domain);
        let ours = self.config.domains.iter().any(|ours| ours.as_str() == domain);
        if !ours {
            *self.domains.entry(domain.to_owned()).or_default() += 1;
        }
        let today = self.today(&known, record)?;
        let then = then(&known, home.is_some(), ours);
        let turn = match (today.is_empty(), then.is_empty()) {
            (true, true) => Turn::Keeps,
            (true, false) => Turn::Loses,
            (false, true) => Turn::Gains,
            (false, false) => Turn::None,
        };
        Ok(UserRow { user, home, place, turn, today: today.to_owned(), then: then.to_owned() })
    }

    /// The prepared address, as the directory has it.
    fn bare(&mut self, sip: &str) -> Option<String> {
        jid_text(sip, &mut self.jid).ok()?;
        prepare(&self.jid, &mut self.scratch).ok().map(|jid| jid.bare().to_owned())
    }

    fn place(&self, residence: Residence) -> (Option<String>, String) {
        match residence {
            Residence::Home(id) => {
                let name = self.config.homes.get(id).map_or_else(String::new, |home| home.name.clone());
                (Some(name.clone()), name)
            }
            Residence::Cloud => (None, "cloud".to_owned()),
            Residence::Unassigned => (None, "unassigned".to_owned()),
            Residence::Branch => (None, "branch".to_owned()),
            Residence::UnknownPool(id) => {
                (None, format!("unknown pool {}", self.snapshot.pool_name(id).unwrap_or_default()))
            }
        }
    }

    /// Why the legacy gateway does not serve him today; empty where it does.
    fn today(&self, known: &User, record: &Record) -> Result<&'static str, String> {
        let backend = |id| self.config.homes.get(id).map(|home| home.backend);
        let flag = |name: &str| record.flag(name).map(|flag| flag.unwrap_or(true));
        Ok(match known.residence {
            Residence::Home(id) if backend(id) == Some(BackendKind::Sip) => {
                "lives on a 2019 pool, which has no XMPP"
            }
            Residence::Cloud => "lives in the cloud",
            Residence::Unassigned => "has no pool",
            Residence::Branch => "lives on a branch appliance, which the legacy gateway does not serve",
            _ if !flag("Enabled")? => "is disabled",
            _ if !flag("EnabledForFederation")? => "may not federate",
            Residence::Home(_) | Residence::UnknownPool(_) => {
                let policy = record.text("ExternalAccessPolicy")?.unwrap_or_default();
                let allowed = self.access.map_or(known.xmpp_enabled, |access| access.allows(policy));
                if allowed { "" } else { "his policy does not allow XMPP" }
            }
        })
    }
}

/// Why turnout would not serve him; empty where it would.
fn then(known: &User, has_home: bool, ours: bool) -> &'static str {
    match () {
        () if !ours => "his domain is none of `domains`",
        () if !has_home => "no home serves the place he lives at",
        () if !known.enabled => "is disabled",
        () if !known.federation_enabled => "may not federate",
        () if !known.xmpp_enabled => "his policy is not among xmpp_access_policies",
        () => "",
    }
}

/// A row the directory would not take; why is said of the rows.
fn skipped(user: String) -> UserRow {
    UserRow {
        user,
        home: None,
        place: "skipped".to_owned(),
        turn: Turn::None,
        today: "not known: the row cannot be read".to_owned(),
        then: "the row would be skipped".to_owned(),
    }
}

/// Counts by place.
#[derive(Default)]
struct Groups(BTreeMap<String, Group>);

impl Groups {
    fn add(&mut self, row: &UserRow) {
        let group = self.0.entry(row.place.clone()).or_default();
        let counter = match row.turn {
            Turn::Keeps => &mut group.keep,
            Turn::Gains => &mut group.gain,
            Turn::Loses => &mut group.lose,
            Turn::None => &mut group.none,
        };
        *counter += 1;
    }

    /// The homes first, all of them, then what is none.
    fn in_order(mut self, config: &Config) -> Vec<Group> {
        let homes = config.homes.iter().map(|(_, home)| home.name.clone());
        let mut groups: Vec<Group> = homes
            .map(|place| Group { place: place.clone(), ..self.0.remove(&place).unwrap_or_default() })
            .collect();
        groups.extend(self.0.into_iter().map(|(place, group)| Group { place, ..group }));
        groups
    }
}

fn findings(report: &Report, domains: &BTreeMap<String, u64>, told: &mut Rehearsal) {
    let groups = told.users.groups.clone();
    let lose: u64 = groups.iter().map(|group| group.lose).sum();
    if lose > 0 {
        told.finding(Weight::Error, format!("{} would lose XMPP", count(lose, "user")));
    }
    for Group { place, keep, gain, lose, none } in groups {
        let users = keep + gain + lose + none;
        let (weight, what) = match place.as_str() {
            "cloud" | "unassigned" => {
                (Weight::Note, "turnout refuses what is for them, as the legacy gateway does")
            }
            "branch" => (Weight::Note, "branch appliances are served neither by the legacy gateway nor here"),
            place if place.starts_with("unknown pool ") => {
                (Weight::Error, "add it to registrar_pools of a home, or to branch_pools of [directory]")
            }
            _ => continue,
        };
        told.finding(weight, format!("{} in no home, {place}: {what}", count(users, "user")));
    }
    for (domain, users) in domains {
        let what = format!("{} of {domain}, which is none of `domains`", count(*users, "user"));
        told.finding(Weight::Error, what);
    }
    for skipped in report.skipped.iter().take(ROWS_LISTED_MAX) {
        told.finding(Weight::Error, format!("{}: the row would be skipped: {}", skipped.place, skipped.why));
    }
    if report.skipped_rows > ROWS_LISTED_MAX as u64 {
        told.finding(Weight::Error, format!("{} rows would be skipped in all", report.skipped_rows));
    }
    if report.users == 0 {
        told.finding(Weight::Error, "there are no users in the export");
    }
}
