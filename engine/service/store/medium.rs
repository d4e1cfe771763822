//! What the database reads and writes. Invariant: a failed fsync is remembered, as nobody can tell afterwards what of the file is on
//! disk; and who only looks changes nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend, backends::FileBackend};

/// What went wrong with a file, and in tests what shall.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    unsynced: AtomicBool,
    #[cfg(test)]
    pub(super) refuse_writes: AtomicBool,
    #[cfg(test)]
    pub(super) refuse_syncs: AtomicBool,
    #[cfg(test)]
    pub(super) log: Mutex<Vec<Op>>,
}

/// What was done to a file.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    Resize(u64),
    Sync,
    /// The test says that so many batches are confirmed.
    Confirmed(usize),
}

impl Trouble {
    /// Whether an fsync has failed. The kernel may have thrown away what it could not write and call it written from then on, so
    /// that reading the file shows what is not on disk.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Acquire)
    }

    /// A new file is there, and nothing is known against it.
    pub(super) fn forget(&self) {
        self.unsynced.store(false, Ordering::Release);
    }

    #[cfg(test)]
    pub(super) fn note(&self, op: Op) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(op);
    }

    fn permit_write(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.refuse_writes.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn permit_sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.refuse_syncs.load(Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
}

/// A file that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    file: FileBackend,
    trouble: Arc<Trouble>,
}

impl Watched {
    /// Tells `trouble` of what fails.
    pub(super) fn new(file: FileBackend, trouble: Arc<Trouble>) -> Self {
        Self { file, trouble }
    }
}

/// Locking is the file's own business.
macro_rules! lock_the_file {
    () => {
        fn close(&self) -> io::Result<()> {
            self.file.close()
        }

        fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.file.try_lock_range(start, end)
        }

        fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.file.try_lock_shared_range(start, end)
        }

        fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.file.lock_range(start, end)
        }

        fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.file.lock_shared_range(start, end)
        }

        fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
            self.file.unlock_range(start, end)
        }

        fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
            self.file.query_lock_range(start, end)
        }
    };
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.trouble.permit_write()?;
        #[cfg(test)]
        self.trouble.note(Op::Resize(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.trouble.permit_sync().and_then(|()| self.file.sync_data());
        if synced.is_err() {
            self.trouble.unsynced.store(true, Ordering::Release);
        }
        #[cfg(test)]
        self.trouble.note(Op::Sync);
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.trouble.permit_write()?;
        #[cfg(test)]
        self.trouble.note(Op::Write(offset, data.to_vec()));
        self.file.write(offset, data)
    }

    lock_the_file!();
}

/// Bytes that are kept together of what is written beside a file.
const BLOCK: u64 = 4096;

/// A file that is read, while what is written stays in memory: the database repairs itself when it is opened, and this lets it do so
/// without the file being changed.
#[derive(Debug)]
pub(super) struct Scratch {
    file: FileBackend,
    beside: Mutex<Beside>,
}

#[derive(Debug)]
struct Beside {
    len: u64,
    /// So much of the file still counts.
    of_file: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Scratch {
    /// # Errors
    /// The length of the file cannot be had.
    pub(super) fn new(file: FileBackend) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, beside: Mutex::new(Beside { len, of_file: len, blocks: BTreeMap::new() }) })
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has there, and nothing behind its end.
    fn read_file(&self, of_file: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(of_file.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (file, behind) = out.split_at_mut(there);
        behind.fill(0);
        if file.is_empty() { Ok(()) } else { self.file.read(offset, file) }
    }
}

/// The pieces of a range by block: its number, where the piece begins in it, and which bytes of the range it is.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK) as usize;
        let from = done;
        done += (BLOCK as usize - within).min(len - done);
        (from < len).then_some((at / BLOCK, within, from..done))
    })
}

impl StorageBackend for Scratch {
    fn len(&self) -> io::Result<u64> {
        Ok(self.beside().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let beside = self.beside();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > beside.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(beside.of_file, offset, out)?;
        for (number, within, range) in pieces(offset, out.len()) {
            if let Some(block) = beside.blocks.get(&number) {
                let len = range.len();
                out[range].copy_from_slice(&block[within..within + len]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut beside = self.beside();
        if len < beside.len {
            // What is cut off must read as nothing, should the file grow again.
            beside.blocks.retain(|number, _| number * BLOCK < len);
            if let Some(block) = beside.blocks.get_mut(&(len / BLOCK)) {
                block[(len % BLOCK) as usize..].fill(0);
            }
        }
        beside.len = len;
        beside.of_file = beside.of_file.min(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut beside = self.beside();
        let of_file = beside.of_file;
        for (number, within, range) in pieces(offset, data.len()) {
            let block = match beside.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => {
                    let mut block = vec![0; BLOCK as usize].into_boxed_slice();
                    self.read_file(of_file, number * BLOCK, &mut block)?;
                    place.insert(block)
                }
            };
            block[within..within + range.len()].copy_from_slice(&data[range]);
        }
        Ok(())
    }

    lock_the_file!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_reads_what_was_written_and_the_file_stays() {
        let path = std::env::temp_dir().join(format!("turnout-scratch-{}", std::process::id()));
        let before: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &before).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let scratch = Scratch::new(FileBackend::new(file).unwrap()).unwrap();
        let read = |offset: u64, len: usize| {
            let mut out = vec![1; len];
            scratch.read(offset, &mut out).map(|()| out)
        };
        assert_eq!(read(0, 10_000).unwrap(), before);
        assert!(read(9_999, 2).is_err());
        let mut expected = before.clone();
        scratch.write(4_000, &[7; 5_000]).unwrap();
        expected[4_000..9_000].fill(7);
        assert_eq!(read(0, 10_000).unwrap(), expected);
        assert_eq!(read(4_095, 3).unwrap(), [7; 3]);
        scratch.set_len(4_100).unwrap();
        scratch.set_len(20_000).unwrap();
        expected.truncate(4_100);
        expected.resize(20_000, 0);
        assert_eq!(read(0, 20_000).unwrap(), expected);
        scratch.write(19_999, &[9]).unwrap();
        assert_eq!(read(19_990, 10).unwrap(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_file(&path).unwrap();
    }
}
