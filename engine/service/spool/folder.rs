//! The directory of the spool. Invariant: one process has it at a time; nothing in it is changed but segments, and a segment that could not be
//! synced is not asked to do so again.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::journal::Act;
use super::recovery::{Found, Old};

/// How the names of segments end.
const SUFFIX: &str = "segment";

/// Whoever has this locked has the directory.
const LOCK: &str = "lock";

/// What to do about a directory that cannot be used.
const CURE: &str = "correct spool.path, or what keeps turnout from using it";

/// The open directory.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: File,
    /// Kept as long as the directory is ours.
    _lock: File,
    /// Segments that are written to.
    open: HashMap<u64, File>,
}

/// What `turnout check` can say of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is not there, and can be made.
    Absent,
    /// A running turnout has it.
    InUse,
    /// It can be used. So many stanzas wait in it, in so many bytes.
    Stanzas(usize, u64),
}

impl Folder {
    /// Opens the directory, makes it where there is none, and reads what is in it. What is found is on disk when this returns, and cut
    /// where it is not whole.
    ///
    /// # Errors
    /// Where, what, and what to do.
    pub fn open(path: &Path) -> Result<(Self, Found), String> {
        let is_new = !path.is_dir();
        if is_new && path.exists() {
            return Err(told(path, &ErrorKind::NotADirectory.into()));
        }
        // What people wrote is in it: nobody else is to read it, whatever the umask.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| told(path, &error))?;
        let path = fs::canonicalize(path).map_err(|error| told(path, &error))?;
        if let Some(above) = path.parent().filter(|_| is_new) {
            // A directory just made has to be there after a loss of power too.
            File::open(above).and_then(|above| above.sync_all()).map_err(|error| told(above, &error))?;
        }
        let lock = lock(&path)?.ok_or_else(|| {
            format!(
                "{}: another turnout has it; stop that one, or give this one another spool.path",
                path.display()
            )
        })?;
        let folder = File::open(&path).map_err(|error| told(&path, &error))?;
        let found = read(&path)?;
        for old in &found.segments {
            let file = path.join(name(old.number));
            secure(&file, *old).map_err(|error| told(&file, &error))?;
        }
        for number in &found.unwritten {
            let file = path.join(name(*number));
            fs::remove_file(&file).map_err(|error| told(&file, &error))?;
        }
        folder.sync_all().map_err(|error| told(&path, &error))?;
        Ok((Self { path, folder, _lock: lock, open: HashMap::new() }, found))
    }

    /// Looks at a directory without changing it.
    ///
    /// # Errors
    /// What would keep a router from starting with it.
    pub fn inspect(path: &Path) -> Result<Seen, String> {
        if !fs::exists(path).map_err(|error| told(path, &error))? {
            let above =
                path.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or_else(|| Path::new("."));
            return probe(above).map(|()| Seen::Absent).map_err(|error| told(path, &error));
        }
        if !path.is_dir() {
            return Err(told(path, &ErrorKind::NotADirectory.into()));
        }
        probe(path).map_err(|error| told(path, &error))?;
        if path.join(LOCK).exists() && lock(path)?.is_none() {
            return Ok(Seen::InUse);
        }
        let found = read(path)?;
        let bytes = found.segments.iter().map(|old| old.good).sum();
        Ok(Seen::Stanzas(found.entries.len(), bytes))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does what the log wants. Blocks.
    ///
    /// # Errors
    /// What failed.
    pub fn act(&mut self, act: &Act) -> Result<Vec<u8>, String> {
        let at = |number: u64| self.path.join(name(number));
        let result = match act {
            Act::Create(number, header) => {
                let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(at(*number));
                file.and_then(|mut file| {
                    file.write_all(header)?;
                    self.open.clear();
                    self.open.insert(*number, file);
                    Ok(Vec::new())
                })
            }
            Act::Append(number, octets) => match self.open.get_mut(number) {
                Some(file) => file.write_all(octets).map(|()| Vec::new()),
                None => Err(ErrorKind::NotFound.into()),
            },
            Act::Sync(number) => match self.open.get(number) {
                Some(file) => file.sync_data().map(|()| Vec::new()),
                None => Err(ErrorKind::NotFound.into()),
            },
            Act::SyncFolder => self.folder.sync_all().map(|()| Vec::new()),
            Act::Remove(number) => match fs::remove_file(at(*number)) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                removed => removed.map(|()| Vec::new()),
            },
            Act::Read(number) => fs::read(at(*number)),
        };
        result.map_err(|error| told(&self.path, &error))
    }
}

/// Reads all segments, oldest first.
fn read(path: &Path) -> Result<Found, String> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| told(path, &error))? {
        let entry = entry.map_err(|error| told(path, &error))?;
        numbers.extend(entry.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    let mut found = Found::default();
    for number in numbers {
        let file = path.join(name(number));
        let octets = fs::read(&file).map_err(|error| told(&file, &error))?;
        found.read(number, &octets).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(found)
}

/// Cuts a segment where it is not whole. What was read may have been in the kernel's memory alone.
fn secure(path: &Path, old: Old) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if old.bad > 0 {
        file.set_len(old.good)?;
    }
    file.sync_all()
}

/// Locks the directory; `None` if somebody has.
fn lock(path: &Path) -> Result<Option<File>, String> {
    let at = path.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&at);
    let file = file.map_err(|error| told(&at, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(told(&at, &error)),
    }
}

/// Whether files can be made and brought to the disk there.
fn probe(path: &Path) -> std::io::Result<()> {
    let at = path.join(format!(".turnout-probe-{}", std::process::id()));
    let mut file = File::create(&at)?;
    let tried = file.write_all(b"turnout").and_then(|()| file.sync_data());
    let folder = File::open(path).and_then(|folder| folder.sync_all());
    fs::remove_file(&at)?;
    tried.and(folder)
}

fn name(number: u64) -> String {
    format!("{number:016x}.{SUFFIX}")
}

fn number(name: &str) -> Option<u64> {
    let (number, suffix) = name.split_once('.')?;
    (suffix == SUFFIX && number.len() == 16).then(|| u64::from_str_radix(number, 16).ok())?
}

fn told(path: &Path, error: &std::io::Error) -> String {
    let what = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full; make room".to_owned(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            format!("{error}: turnout has to be able to write there; {CURE}")
        }
        ErrorKind::NotADirectory => format!("is no directory; {CURE}"),
        _ if error.raw_os_error() == Some(libc::EIO) => format!("{error}: look at the disk"),
        _ => format!("{error}; {CURE}"),
    };
    format!("{}: {what}", path.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::format::HEADER_BYTES;
    use super::*;

    #[test]
    fn what_waits_is_for_nobody_else_to_read() {
        let path = std::env::temp_dir().join(format!("turnout-folder-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (mut folder, _) = Folder::open(&path).unwrap();
        folder.act(&Act::Create(1, [0; HEADER_BYTES])).unwrap();
        assert_eq!((mode(&path), mode(&path.join(name(1)))), (0o700, 0o600));
        drop(folder);
        // A directory that was there stays as its owner made it; what is put in it is for nobody else all the same.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(path.join(name(1))).unwrap();
        let (mut folder, _) = Folder::open(&path).unwrap();
        folder.act(&Act::Create(2, [0; HEADER_BYTES])).unwrap();
        assert_eq!((mode(&path), mode(&path.join(name(2)))), (0o755, 0o600));
        fs::remove_dir_all(&path).unwrap();
    }
}
