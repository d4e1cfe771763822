//! Where the directory's snapshots come from, and where they go.

use std::fs::File;

use turnout_core::directory::{AccessPolicies, Snapshot};

use crate::clock;
use crate::config::Config;

mod address;
pub mod csv;
pub mod graveyard;
pub mod meter;
pub mod report;
mod roll;
mod words;

use meter::{Audience, Meter};
use report::Report;

/// Reads the users a configuration names, and tells the audience how far it has come if that takes long. Blocks.
///
/// # Errors
/// The file, and what is wrong with it where.
pub fn load(config: &Config, audience: Audience) -> Result<(Snapshot, Report), String> {
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
    // What is no regular file has no length that means anything.
    let bytes_total = file.metadata().ok().filter(|of| of.is_file()).map_or(0, |of| of.len());
    let mut meter = Meter::new(audience, bytes_total, clock::now());
    let mut progress = |progress| meter.tell(clock::now(), progress);
    csv::read(file, &config.homes, &policies, csv::CsvLimits::default(), &mut progress)
        .map_err(|error| format!("{}: {error}", path.display()))
}
