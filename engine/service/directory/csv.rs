//! Users from a CSV file, as Windows PowerShell writes it: `Get-CsUser | … | Export-Csv FILE`.
//!
//! Taken as they come: the `#TYPE` line at the top or none, every field in quotes or not, CRLF or LF, UTF-8 with or
//! without byte order mark, UTF-16 with one, ASCII. Columns are found by name, without regard to case; others than
//! these are passed over:
//!
//! | column | |
//! |---|---|
//! | `SipAddress` | needed; `sip:user@domain` |
//! | `RegistrarPool` | needed; empty means unassigned |
//! | `HostingProvider` | anything but `SRV:` and nothing means cloud |
//! | `EnabledForFederation`, `Enabled` | `True` or `False`; without the column everybody is |
//! | `ExternalAccessPolicy` | name of a policy; without the column everybody has the global one |
//!
//! Invariant: memory grows with the users kept, never with the file: a record is bounded, and the file is read
//! once, from start to end. A row that cannot be read is skipped, counted and reported with its line; when too many
//! are, the file is refused as a whole, because then it is more likely the file that is wrong than the rows.

use std::collections::BTreeMap;
use std::io::{self, Read};

use turnout_core::directory::{AccessPolicies, AddError, Snapshot, SnapshotBuilder, User};
use turnout_core::home::{Homes, Residence};
use turnout_core::jid::prepare;

mod address;
mod columns;
mod error;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub(crate) use address::jid_text;
pub use error::CsvError;
pub(crate) use text::Text;
pub use text::TextFault;

use columns::Columns;
use words::Words;

/// Most octets of one record, its line ends included.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;

/// How much of a bad file is put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvLimits {
    /// Most rows of a hundred that may be skipped.
    pub skipped_percent_max: u8,
    /// Most skipped rows that are reported one by one; the others are only counted.
    pub skipped_listed_max: usize,
    /// Most users taken.
    pub users_max: usize,
}

impl Default for CsvLimits {
    fn default() -> Self {
        Self { skipped_percent_max: 10, skipped_listed_max: 100, users_max: 20_000_000 }
    }
}

/// A row that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The line it starts on, the first of the file being 1; where blank lines go before it, the first of them.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Rows, without the header.
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
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Rows read, without the header.
    pub rows: u64,
    /// Octets taken from the file.
    pub bytes: u64,
}

/// After how many rows [`read`] tells how far it has come.
const PROGRESS_ROWS: u64 = 4096;

/// Octets the reader of rows takes at a time.
const BUFFER_BYTES: usize = 32 * 1024;

/// Reads all users of a file, and tells `progress` now and then how far it has come.
///
/// # Errors
/// [`CsvError`]: the file cannot be read or is no such export, or too much of it is bad. The caller knows the
/// file's name and puts it in front.
pub fn read(
    source: impl Read,
    homes: &Homes,
    policies: &AccessPolicies,
    limits: CsvLimits,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Snapshot, Report), CsvError> {
    let mut rows = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(Text::new(source).map_err(|error| CsvError::reading(error, 1))?);
    let mut record = ::csv::ByteRecord::new();
    let columns = header(&mut rows, &mut record)?;
    let report = Report { homes: vec![0; homes.len()], ..Report::default() };
    let mut load = Load {
        words: Words::new(homes, policies),
        columns,
        builder: SnapshotBuilder::new(),
        report,
        jid: String::new(),
        scratch: String::new(),
    };
    while next(&mut rows, &mut record)? {
        load.report.rows += 1;
        if load.report.rows.is_multiple_of(PROGRESS_ROWS) {
            progress(Progress { rows: load.report.rows, bytes: rows.get_ref().source_bytes() });
        }
        let added = load.row(&record);
        let line = record.position().map_or(0, ::csv::Position::line);
        match added {
            Ok(()) => {}
            Err(RowFault::Full) => {
                return Err(CsvError::TooManyUsers { line, users_max: load.builder.len() });
            }
            Err(RowFault::Bad(why)) => load.skip(line, why, limits.skipped_listed_max),
        }
        if load.builder.len() > limits.users_max {
            return Err(CsvError::TooManyUsers { line, users_max: limits.users_max });
        }
    }
    let report = load.report;
    if u128::from(report.skipped_rows) * 100
        > u128::from(report.rows) * u128::from(limits.skipped_percent_max)
    {
        return Err(CsvError::TooManySkipped {
            report: Box::new(report),
            percent_max: limits.skipped_percent_max,
        });
    }
    Ok((load.builder.finish(), report))
}

/// The header, which may follow a `#TYPE` line.
fn header<R: Read>(
    rows: &mut ::csv::Reader<Text<R>>,
    record: &mut ::csv::ByteRecord,
) -> Result<Columns, CsvError> {
    let mut found = next(rows, record)?;
    if found && record.get(0).is_some_and(|field| field.starts_with(b"#TYPE")) {
        found = next(rows, record)?;
    }
    if !found {
        return Err(CsvError::NoHeader);
    }
    Columns::find(record)
}

fn next<R: Read>(
    rows: &mut ::csv::Reader<Text<R>>,
    record: &mut ::csv::ByteRecord,
) -> Result<bool, CsvError> {
    // The reader's own buffer is refilled at most once more than the record needs.
    rows.get_mut().allow(RECORD_BYTES_MAX);
    let line = rows.position().line();
    rows.read_byte_record(record).map_err(|error| match error.into_kind() {
        ::csv::ErrorKind::Io(error) => CsvError::reading(error, line),
        other => CsvError::reading(io::Error::other(format!("{other:?}")), line),
    })
}

/// Why a row adds no user.
enum RowFault {
    /// The row is bad and is passed over.
    Bad(String),
    /// There is no room for more.
    Full,
}

/// A file being read.
struct Load<'a> {
    words: Words<'a>,
    columns: Columns,
    builder: SnapshotBuilder,
    report: Report,
    /// The address of the row, before and after it is prepared.
    jid: String,
    scratch: String,
}

impl Load<'_> {
    fn row(&mut self, record: &::csv::ByteRecord) -> Result<(), RowFault> {
        let cells = self.columns.cells(record).map_err(RowFault::Bad)?;
        let bad_address = |why: &dyn std::fmt::Display| {
            RowFault::Bad(format!("SipAddress {}: {why}", error::quoted(cells.sip_address)))
        };
        jid_text(cells.sip_address, &mut self.jid).map_err(|why| bad_address(&why))?;
        let residence = self.words.residence(cells.registrar_pool, cells.hosting_provider, &mut self.builder);
        let user = User {
            residence,
            federation_enabled: cells.enabled_for_federation,
            xmpp_enabled: self.words.xmpp_enabled(cells.external_access_policy),
            enabled: cells.enabled,
        };
        let jid = prepare(&self.jid, &mut self.scratch).map_err(|why| bad_address(&why))?;
        self.builder.add(jid, user).map_err(|fault| match fault {
            AddError::Full => RowFault::Full,
            AddError::Duplicate | AddError::NotAUser => bad_address(&fault),
        })?;
        self.count(residence);
        Ok(())
    }

    fn count(&mut self, residence: Residence) {
        let report = &mut self.report;
        report.users += 1;
        match residence {
            Residence::Home(id) => {
                if let Some(users) = report.homes.get_mut(usize::from(id.0)) {
                    *users += 1;
                }
            }
            Residence::Cloud => report.cloud += 1,
            Residence::Unassigned => report.unassigned += 1,
            Residence::Branch => report.branch += 1,
            Residence::UnknownPool(id) => {
                let name = self.builder.pool_name(id).unwrap_or_default();
                match report.unknown_pools.get_mut(name) {
                    Some(users) => *users += 1,
                    None => drop(report.unknown_pools.insert(name.to_owned(), 1)),
                }
            }
        }
    }

    fn skip(&mut self, line: u64, why: String, listed_max: usize) {
        self.report.skipped_rows += 1;
        if self.report.skipped.len() < listed_max {
            self.report.skipped.push(Skipped { line, why });
        }
    }
}
