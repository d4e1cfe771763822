//! How the directory does, for everybody to see. Invariant: plain data, changed by the control plane alone.

use serde::Serialize;

use super::report::Report;
use super::source::Loaded;

/// How the directory does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// `csv` or `ldap`.
    pub source: &'static str,
    /// The server that was read last.
    pub server: Option<String>,
    /// When the source was known to say what is in use, in seconds since 1970; 0 before the first time.
    pub confirmed_unix: u64,
    /// The users come from the disk, as the source could not be had at the start.
    pub from_disk: bool,
    /// Why the last look at the source failed.
    pub failing: Option<String>,
    /// Looks at the source that failed, since the start.
    pub failures: u64,
    /// Users by class.
    pub classes: Classes,
}

/// Users by what keeps them from a home, or makes them special.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Classes {
    /// On a home.
    pub home: u64,
    /// In the cloud.
    pub cloud: u64,
    /// With no pool.
    pub unassigned: u64,
    /// On survivable branch appliances.
    pub branch: u64,
    /// On pools that no home names.
    pub unknown_pool: u64,
    /// Being moved by a server; they are in one of the other classes as well.
    pub moving: u64,
}

impl Classes {
    /// Of what was found.
    pub fn of(report: &Report) -> Self {
        Self {
            home: report.homes.iter().sum(),
            cloud: report.cloud,
            unassigned: report.unassigned,
            branch: report.branch,
            unknown_pool: report.unknown_pools.values().sum(),
            moving: report.moving,
        }
    }

    /// Users that no home serves.
    pub fn without_home(&self) -> u64 {
        self.cloud + self.unassigned + self.branch + self.unknown_pool
    }

    /// By name.
    pub fn by_name(&self) -> [(&'static str, u64); 6] {
        [
            ("home", self.home),
            ("cloud", self.cloud),
            ("unassigned", self.unassigned),
            ("branch", self.branch),
            ("unknown_pool", self.unknown_pool),
            ("moving", self.moving),
        ]
    }
}

impl Standing {
    /// Users have been taken into use.
    pub fn took(&mut self, source: &'static str, loaded: &Loaded) {
        self.source = source;
        self.server.clone_from(&loaded.server);
        self.confirmed_unix = loaded.confirmed_unix;
        self.from_disk = loaded.from_disk;
        self.failing.clone_from(&loaded.failing);
        self.failures += u64::from(loaded.failing.is_some());
        self.classes = Classes::of(&loaded.report);
    }

    /// The source still says what is in use; `None` where it was not asked for everything.
    pub fn confirmed(&mut self, unix: Option<u64>) {
        if let Some(unix) = unix {
            self.confirmed_unix = unix;
            self.failing = None;
        }
    }

    /// A look at the source failed. Returns whether that is worth a line of the log: the first time, and now and then.
    pub fn failed(&mut self, why: &str) -> bool {
        const EVERY: u64 = 30;
        let is_new = self.failing.as_deref() != Some(why);
        self.failures += 1;
        self.failing = Some(why.to_owned());
        is_new || self.failures.is_multiple_of(EVERY)
    }
}
