//! The file of contacts: a redb database. Invariant: a change is on disk when [`ContactFile::write`] returns, all of its batch or
//! nothing; a file that cannot be understood is refused and left as it is.
//!
//! One table: local user, a zero octet, partner's user (bare JIDs; neither can hold a zero octet) → [`Contact::encode`]. A second
//! table says the version of this format. A commit is one fsync: every page has a checksum, and after a crash the newest state that
//! is whole counts. Nothing is stored to make that quicker, as the database would grow by it; the rows are read at a start anyway.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use redb::{StorageBackend, TableDefinition, TableError, WriteTransaction};
use turnout_core::contact::{Contact, Pair, Record};

use super::medium::{Scratch, Trouble, Watched};
use super::moves::MovedTo;

/// The rows.
const CONTACTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("contacts");

/// Users moved by name: bare address → [`MovedTo`] as JSON. A file of before has no such table.
const MOVES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("moves");

/// What is known of the file itself.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// The key of [`ABOUT`] for the version of the format.
const FORMAT: &str = "format";

/// The version of the format this turnout reads and writes.
const FORMAT_VERSION: u64 = 1;

/// Memory for pages of the database, in bytes. What is beyond it comes from the system's cache.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Rows in one transaction while a file is written anew.
const COPY_ROWS: usize = 50_000;

/// Bytes written to see whether a file could be made.
const PROBE_BYTES: usize = 64 * 1024;

/// What to do about a file that cannot be used.
const CURE: &str = "bring back a backup, or move the file away to begin without contacts (docs/operating.md says what is lost then)";

/// Changes by key, in the order of the keys; no value means that the row goes. A key that begins with a zero octet, as no address does, is
/// that of a move.
pub type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The open file.
#[derive(Debug)]
pub struct ContactFile {
    path: PathBuf,
    database: Database,
    trouble: Arc<Trouble>,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows there are now.
    pub rows: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// What `turnout check` can say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is not there; the directory is, and can be written to.
    Absent,
    /// A running turnout has it.
    InUse,
    /// It can be read whole.
    Contacts(u64),
}

impl ContactFile {
    /// Opens the file, or makes it where there is none. Every page's checksum is verified: a file that was damaged while nobody had
    /// it open is refused.
    ///
    /// # Errors
    /// Where, what, and what to do: it is open elsewhere, damaged, of another version, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !fs::exists(&path).map_err(|error| told(&path, &error.into()))? {
            write_anew(&path, &Arc::default(), &mut |_| Ok(()))?;
        }
        let trouble = Arc::new(Trouble::default());
        let database = open_by(&path, &mut |file| Ok(Watched::new(file, Arc::clone(&trouble))))?;
        Ok(Self { path, database, trouble })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at a file without changing it.
    ///
    /// # Errors
    /// What would keep a router from starting with it.
    pub fn inspect(path: &Path) -> Result<Seen, String> {
        if !fs::exists(path).map_err(|error| told(path, &error.into()))? {
            let probe = beside(path, "probe");
            let made = File::create(&probe).and_then(|mut file| {
                // About as much as a new file takes: on a full disk it could be made, and nothing written to it.
                let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_data());
                fs::remove_file(&probe).and(written)
            });
            return made.map(|()| Seen::Absent).map_err(|error| told(path, &error.into()));
        }
        match open_by(path, &mut |file| Ok(Scratch::new(file)?)) {
            Ok(database) => read(path, &database, &mut |_| Ok(())).map(Seen::Contacts),
            Err(error) if error.ends_with(IN_USE) => Ok(Seen::InUse),
            Err(error) => Err(error),
        }
    }

    /// Reads all rows, and says how many.
    ///
    /// # Errors
    /// A row that cannot be understood, with its key, a file that cannot be read, or what `visit` says.
    pub fn read(&self, visit: &mut dyn FnMut(Record) -> Result<(), String>) -> Result<u64, String> {
        read(&self.path, &self.database, visit)
    }

    /// The users who were moved by name.
    ///
    /// # Errors
    /// A row that cannot be understood, or a file that cannot be read.
    pub fn moves(&self) -> Result<Vec<(String, MovedTo)>, String> {
        let mut moves = Vec::new();
        each_move(&self.path, &self.database, &mut |key, value| {
            let row = std::str::from_utf8(key).ok().zip(serde_json::from_slice(value).ok());
            let (bare, to) = row.ok_or_else(|| {
                let key = crate::log::escape(&String::from_utf8_lossy(key));
                format!("{}: the move of {key} cannot be understood; {CURE}", self.path.display())
            })?;
            moves.push((bare.to_owned(), to));
            Ok(())
        })?;
        Ok(moves)
    }

    /// Writes a batch and waits until it is on disk.
    ///
    /// # Errors
    /// What failed. Whether the batch is on disk is not known then; [`ContactFile::fail`] and
    /// [`ContactFile::recover`] it, then write it again.
    pub fn write(&self, batch: &Batch) -> Result<Written, String> {
        let write = || -> Result<u64, redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let rows = change(&transaction, batch)?;
            transaction.commit()?;
            Ok(rows)
        };
        let rows = write().map_err(|error| told(&self.path, &error))?;
        let bytes = fs::metadata(&self.path).map_or(0, |file| file.len());
        Ok(Written { rows, bytes })
    }

    /// Gives the file up after an error, as the database takes nothing more by then.
    pub fn fail(self) -> Closed {
        let Self { path, database, trouble } = self;
        // It has failed already; what its end says is nothing new.
        drop(database.close());
        Closed { path, trouble }
    }

    /// Opens a file again that was given up.
    ///
    /// After a failed fsync the file is not to be trusted, however it reads: what could not be written may never be written, and what is
    /// built on it would be lost with it. Then all rows are written to a new file, which takes the place of the old one when it is
    /// on disk.
    ///
    /// # Errors
    /// Why it cannot be opened yet.
    pub fn recover(closed: Closed) -> Result<Self, (Closed, String)> {
        let Closed { path, trouble } = &closed;
        let recovered = || {
            // One that vanished meanwhile would come back empty.
            if !fs::exists(path).map_err(|error| told(path, &error.into()))? {
                return Err(format!("{}: has been removed; stop turnout, and {CURE}", path.display()));
            }
            if trouble.is_unsynced() {
                rewrite(path, trouble)?;
                trouble.forget();
            }
            open_by(path, &mut |file| Ok(Watched::new(file, Arc::clone(trouble))))
        };
        match recovered() {
            Ok(database) => Ok(Self { path: closed.path, database, trouble: closed.trouble }),
            Err(error) => Err((closed, error)),
        }
    }

    /// Closes it in order.
    ///
    /// # Errors
    /// What failed; everything that was written is on disk all the same.
    pub fn close(self) -> Result<(), String> {
        self.database.close().map_err(|error| told(&self.path, &error.into()))
    }

    #[cfg(test)]
    pub(super) fn trouble(&self) -> &Arc<Trouble> {
        &self.trouble
    }
}

/// A file that could not be opened again.
#[derive(Debug)]
pub struct Closed {
    path: PathBuf,
    trouble: Arc<Trouble>,
}

/// The key and the value of a record. `None` for a pair with a zero octet, which no address has.
pub fn row(record: &Record) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let Pair { local, partner } = &record.pair;
    if local.is_empty() || partner.is_empty() || local.contains('\0') || partner.contains('\0') {
        return None;
    }
    let value = (!record.contact.is_empty()).then(|| record.contact.encode());
    Some(([local.as_bytes(), b"\0", partner.as_bytes()].concat(), value))
}

/// The key of a move in a [`Batch`].
pub fn move_key(bare: &str) -> Vec<u8> {
    [b"\0", bare.as_bytes()].concat()
}

/// The record of a row.
fn record(key: &[u8], value: &[u8]) -> Option<Record> {
    let (local, partner) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    if local.is_empty() || partner.is_empty() || partner.contains('\0') {
        return None;
    }
    let pair = Pair { local: local.into(), partner: partner.into() };
    Some(Record { pair, contact: Contact::decode(value)? })
}

/// Opens an existing file. What is in it was written by nobody we know: a panic of the database over it is an error like any other.
fn open_by<B: StorageBackend>(
    path: &Path,
    medium: &mut dyn FnMut(FileBackend) -> Result<B, redb::Error>,
) -> Result<Database, String> {
    let open = || -> Result<Database, redb::Error> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() == 0 {
            // The database would make an empty one of it, and everybody would be a stranger.
            return Err(redb::Error::Corrupted("it is empty".to_owned()));
        }
        let medium = medium(FileBackend::new(file)?)?;
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(medium)?)
    };
    let database = match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| told(path, &error))?,
        Err(_) => return Err(format!("{}: is damaged in a way that cannot be told; {CURE}", path.display())),
    };
    match format(&database) {
        Ok(Some(FORMAT_VERSION)) => Ok(database),
        Ok(Some(other)) => Err(format!(
            "{}: has format {other}, and this turnout knows {FORMAT_VERSION}; run the turnout that wrote it, or {CURE}",
            path.display()
        )),
        Ok(None) => Err(format!("{}: is no store of contacts; correct presence.store", path.display())),
        Err(error) => Err(told(path, &error)),
    }
}

fn format(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(ABOUT) {
        Ok(about) => Ok(about.get(FORMAT)?.map(|version| version.value())),
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(
    path: &Path,
    database: &Database,
    visit: &mut dyn FnMut(Record) -> Result<(), String>,
) -> Result<u64, String> {
    let mut rows = 0;
    each_row(path, database, &mut |key, value| {
        rows += 1;
        let Some(record) = record(key, value) else {
            let key = String::from_utf8_lossy(key).replace('\0', " and ");
            let key = crate::log::escape(&key);
            return Err(format!("{}: the row of {key} cannot be understood; {CURE}", path.display()));
        };
        visit(record)
    })?;
    Ok(rows)
}

/// Takes the key and the value of one row.
type TakeRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;

/// Gives all rows as they are.
fn each_row(path: &Path, database: &Database, visit: &mut TakeRow<'_>) -> Result<(), String> {
    let failed = |error: redb::Error| told(path, &error);
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let contacts = transaction.open_table(CONTACTS).map_err(|error| failed(error.into()))?;
    for row in contacts.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = row.map_err(|error| failed(error.into()))?;
        visit(key.value(), value.value())?;
    }
    Ok(())
}

/// Gives all moves, by their users.
fn each_move(path: &Path, database: &Database, visit: &mut TakeRow<'_>) -> Result<(), String> {
    let failed = |error: redb::Error| told(path, &error);
    let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
    let moves = match transaction.open_table(MOVES) {
        Ok(moves) => moves,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    for row in moves.iter().map_err(|error| failed(error.into()))? {
        let (key, value) = row.map_err(|error| failed(error.into()))?;
        visit(key.value(), value.value())?;
    }
    Ok(())
}

fn change(transaction: &WriteTransaction, batch: &Batch) -> Result<u64, redb::Error> {
    let (mut contacts, mut moves) = (transaction.open_table(CONTACTS)?, transaction.open_table(MOVES)?);
    for (key, value) in batch {
        let (table, key) = match key.split_first() {
            Some((0, bare)) => (&mut moves, bare),
            _ => (&mut contacts, key.as_slice()),
        };
        match value {
            Some(value) => drop(table.insert(key, value.as_slice())?),
            None => drop(table.remove(key)?),
        }
    }
    Ok(contacts.len()?)
}

/// Copies all rows of a file to a new one that takes its place. The old one is not written to.
fn rewrite(path: &Path, trouble: &Arc<Trouble>) -> Result<(), String> {
    let old = open_by(path, &mut |file| Ok(Scratch::new(file)?))?;
    write_anew(path, trouble, &mut |add| {
        each_row(path, &old, add)?;
        each_move(path, &old, &mut |bare, value| add(&[b"\0", bare].concat(), value))
    })
}

/// Writes a file with the rows that `fill` gives, under another name; it gets its own when all of it is on disk. So nobody ever sees
/// half a file under that name, and an empty one there is a mistake.
fn write_anew(
    path: &Path,
    trouble: &Arc<Trouble>,
    fill: &mut dyn FnMut(&mut TakeRow<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let new = beside(path, "new");
    let failed = |error: redb::Error| told(&new, &error);
    // What is there is half of one that was not finished.
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&new);
    let medium =
        file.map_err(redb::Error::from).and_then(|file| Ok(FileBackend::new(file)?)).map_err(failed)?;
    let medium = Watched::new(medium, Arc::clone(trouble));
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(medium)
        .map_err(|error| failed(error.into()))?;
    let begin = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ABOUT)?.insert(FORMAT, FORMAT_VERSION)?;
        drop(transaction.open_table(CONTACTS)?);
        Ok(transaction.commit()?)
    };
    begin().map_err(failed)?;
    let mut batch = Batch::new();
    let flush = |batch: &mut Batch| -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        change(&transaction, batch)?;
        batch.clear();
        Ok(transaction.commit()?)
    };
    fill(&mut |key, value| {
        batch.insert(key.to_owned(), Some(value.to_owned()));
        if batch.len() < COPY_ROWS { Ok(()) } else { flush(&mut batch).map_err(failed) }
    })?;
    flush(&mut batch).map_err(failed)?;
    database.close().map_err(|error| failed(error.into()))?;
    let place = || -> std::io::Result<()> {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        // The name is on disk when its directory is.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };
    place().map_err(|error| told(path, &error.into()))
}

/// A file beside this one.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

const IN_USE: &str = "stop the other, or give each a file of its own";

/// An error as one line: where, what, and what to do.
fn told(path: &Path, error: &redb::Error) -> String {
    let path = path.display();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            format!("{path}: another process has it open; {IN_USE}")
        }
        redb::Error::Corrupted(what) => format!("{path}: is damaged: {what}; {CURE}"),
        redb::Error::UpgradeRequired(version) => {
            format!("{path}: was written by an older database, format {version}; {CURE}")
        }
        redb::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                format!("{path}: the disk is full ({error}); make room")
            }
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                format!("{path}: is damaged or no store of contacts ({error}); {CURE}")
            }
            std::io::ErrorKind::NotFound => format!("{path}: {error}; make its directory"),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                format!("{path}: {error}; turnout has to write the file and beside it")
            }
            _ => format!("{path}: {error}; look at the disk"),
        },
        error => format!("{path}: {error}"),
    }
}
