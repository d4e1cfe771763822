//! Why a file of users cannot be used, and what to do about it.

use std::fmt;
use std::io;

use super::text::TextFault;
use crate::directory::report::Report;

/// Why a file cannot be used. The texts name line and column; the file is named by who opened it.
#[derive(Debug)]
pub enum CsvError {
    /// Reading failed.
    Io {
        /// What the system said.
        source: io::Error,
        /// The line of the record being read.
        line: u64,
    },
    /// The octets are no text of a kind that can be read.
    Encoding {
        /// What is wrong with them.
        fault: TextFault,
        /// The line of the record being read.
        line: u64,
    },
    /// There is nothing in it.
    NoHeader,
    /// A column that is needed is not there.
    MissingColumn {
        /// Its name.
        name: &'static str,
        /// The names that are there, in quotes.
        found: Vec<String>,
    },
    /// A column is there twice.
    DuplicateColumn {
        /// Its name.
        name: &'static str,
    },
    /// So many rows are bad that the file is not to be believed.
    TooManySkipped {
        /// What was found.
        report: Box<Report>,
        /// Most rows of a hundred that may be bad.
        percent_max: u8,
    },
    /// There are more users than allowed.
    TooManyUsers {
        /// The line of the first user too many.
        line: u64,
        /// How many are allowed.
        users_max: usize,
    },
}

impl CsvError {
    /// Tells faults of the text from faults of the system.
    pub(super) fn reading(source: io::Error, line: u64) -> Self {
        match source.get_ref().and_then(|inner| inner.downcast_ref::<TextFault>()) {
            Some(&fault) => Self::Encoding { fault, line },
            None => Self::Io { source, line },
        }
    }
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { source, line } => write!(f, "line {line}: cannot be read: {source}"),
            Self::Encoding { fault, line } => write!(f, "line {line}: {fault}"),
            Self::NoHeader => {
                f.write_str("the file is empty; a header with SipAddress and RegistrarPool is needed")
            }
            Self::MissingColumn { name, found } => write!(
                f,
                "there is no column {name}; found are {}. Export with Select-Object SipAddress, RegistrarPool, \
                 HostingProvider, EnabledForFederation, Enabled, ExternalAccessPolicy and Export-Csv, with commas",
                found.join(", ")
            ),
            Self::DuplicateColumn { name } => write!(f, "the column {name} is there twice; remove one"),
            Self::TooManySkipped { report, percent_max } => {
                write!(
                    f,
                    "{} of {} rows are bad, more than the {percent_max} % allowed; nothing is taken from the file",
                    report.skipped_rows, report.rows
                )?;
                match report.skipped.first() {
                    Some(first) => write!(f, ". The first: {}: {}", first.place, first.why),
                    None => Ok(()),
                }
            }
            Self::TooManyUsers { line, users_max } => {
                write!(f, "line {line}: there are more users than the {users_max} allowed")
            }
        }
    }
}

impl std::error::Error for CsvError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Encoding { fault, .. } => Some(fault),
            _ => None,
        }
    }
}
