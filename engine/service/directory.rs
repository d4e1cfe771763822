//! Where the directory's snapshots come from.

use std::fs::File;

use turnout_core::directory::{AccessPolicies, Snapshot};

use crate::config::Config;

pub mod csv;

/// Reads the users a configuration names. Blocks.
///
/// # Errors
/// The file, and what is wrong with it where.
pub fn load(config: &Config) -> Result<(Snapshot, csv::Report), String> {
    let path = &config.directory.file;
    let file = File::open(path).map_err(|error| {
        format!(
            "directory.file: cannot open {}: {error}; correct the path or export the users",
            path.display()
        )
    })?;
    let mut policies = AccessPolicies::new(config.directory.default_xmpp_access);
    for name in &config.directory.xmpp_access_policies {
        policies.set(name, true);
    }
    csv::read(file, &config.homes, &policies, csv::CsvLimits::default())
        .map_err(|error| format!("{}: {error}", path.display()))
}
