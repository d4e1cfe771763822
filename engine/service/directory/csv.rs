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

use std::io::{self, Read};

use turnout_core::directory::{AccessPolicies, Snapshot};
use turnout_core::home::Homes;

use super::report::{Place, Report};
use super::roll::{Facts, Fault, Roll};

mod columns;
mod error;
#[cfg(test)]
mod tests;
mod text;

pub use error::CsvError;
pub(crate) use text::Text;
pub use text::TextFault;

use columns::Columns;

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
    let mut load = Load { columns, roll: Roll::new(homes, policies) };
    while next(&mut rows, &mut record)? {
        load.roll.report.rows += 1;
        if load.roll.report.rows.is_multiple_of(PROGRESS_ROWS) {
            progress(Progress { rows: load.roll.report.rows, bytes: rows.get_ref().source_bytes() });
        }
        let added = load.row(&record);
        let line = record.position().map_or(0, ::csv::Position::line);
        match added {
            Ok(()) => {}
            Err(Fault::Full) => {
                return Err(CsvError::TooManyUsers { line, users_max: load.roll.len() });
            }
            Err(Fault::Bad(why)) => load.roll.report.skip(Place::Line(line), why, limits.skipped_listed_max),
        }
        if load.roll.len() > limits.users_max {
            return Err(CsvError::TooManyUsers { line, users_max: limits.users_max });
        }
    }
    let (snapshot, report) = load.roll.finish();
    if u128::from(report.skipped_rows) * 100
        > u128::from(report.rows) * u128::from(limits.skipped_percent_max)
    {
        return Err(CsvError::TooManySkipped {
            report: Box::new(report),
            percent_max: limits.skipped_percent_max,
        });
    }
    Ok((snapshot, report))
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

/// A file being read.
struct Load<'a> {
    columns: Columns,
    roll: Roll<'a>,
}

impl Load<'_> {
    fn row(&mut self, record: &::csv::ByteRecord) -> Result<(), Fault> {
        let cells = self.columns.cells(record).map_err(Fault::Bad)?;
        let xmpp_enabled = self.roll.words.xmpp_enabled(cells.external_access_policy);
        let facts = Facts {
            address: cells.sip_address,
            pool: cells.registrar_pool,
            hosting_provider: cells.hosting_provider,
            federation_enabled: cells.enabled_for_federation,
            xmpp_enabled,
            enabled: cells.enabled,
            moving: false,
        };
        self.roll.add("SipAddress", &facts)
    }
}
