//! What was found when users were read, whatever their source.

use std::collections::BTreeMap;
use std::fmt;

use turnout_core::home::Residence;

/// Most characters of a value that an error repeats.
const VALUE_CHARS_MAX: usize = 120;

/// Where in a source something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The line a row starts on, the first of the file being 1; where blank lines go before it, the first of them.
    Line(u64),
    /// The GUID or the DN of an entry.
    Object(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Object(name) => f.write_str(name),
        }
    }
}

/// A user that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where he stands.
    pub place: Place,
    /// What is wrong with him.
    pub why: String,
}

/// What was found in a source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Rows of a file, without the header, or entries of a directory.
    pub rows: u64,
    /// Users taken.
    pub users: u64,
    /// Rows skipped.
    pub skipped_rows: u64,
    /// The first of the skipped rows.
    pub skipped: Vec<Skipped>,
    /// Users by home, in the order of home ids.
    pub homes: Vec<u64>,
    /// Users in the cloud.
    pub cloud: u64,
    /// Users with no pool.
    pub unassigned: u64,
    /// Users on survivable branch appliances.
    pub branch: u64,
    /// Users by pool, for pools that no home names.
    pub unknown_pools: BTreeMap<String, u64>,
    /// Users whom a server is moving; they count where they still live as well.
    pub moving: u64,
    /// Users by granted policy, as a directory has it: kind and policy, `7=6`.
    pub policies: BTreeMap<String, u64>,
}

impl Report {
    /// Counts a user who was taken; `pool` is the name of an unknown pool.
    pub(super) fn count(&mut self, residence: Residence, pool: Option<&str>) {
        self.users += 1;
        match residence {
            Residence::Home(id) => {
                if let Some(users) = self.homes.get_mut(usize::from(id.0)) {
                    *users += 1;
                }
            }
            Residence::Cloud => self.cloud += 1,
            Residence::Unassigned => self.unassigned += 1,
            Residence::Branch => self.branch += 1,
            Residence::UnknownPool(_) => {
                let name = pool.unwrap_or_default();
                match self.unknown_pools.get_mut(name) {
                    Some(users) => *users += 1,
                    None => drop(self.unknown_pools.insert(name.to_owned(), 1)),
                }
            }
        }
    }

    /// Notes a user who was passed over; beyond `listed_max` he is only counted.
    pub(super) fn skip(&mut self, place: Place, why: String, listed_max: usize) {
        self.skipped_rows += 1;
        if self.skipped.len() < listed_max {
            self.skipped.push(Skipped { place, why });
        }
    }
}

/// A value as errors show it: in quotes, controls escaped, cut to a bearable length.
pub(in crate::directory) fn quoted(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}
