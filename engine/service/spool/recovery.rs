//! What segments say after a crash. Invariant: every entry that was known to be on disk and not known to be done is found, once; a segment is
//! read up to the first frame that is not whole, and what follows it counts as never written.
//!
//! That is right because what is confirmed was on disk with all that stands before it in its segment: the first bad frame can only be among
//! what was never confirmed. Frames that are read and were never confirmed do no harm: their senders were told nothing, and may
//! send again.

use std::collections::BTreeMap;

use turnout_core::durable::{Entry, EntryKey};

use super::format::{Frame, Frames, HEADER_BYTES, Header, read_header};

/// A segment that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// Its number.
    pub number: u64,
    /// Octets of it that are good.
    pub good: u64,
    /// Octets behind them.
    pub bad: u64,
}

/// An entry that was found.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    /// The segment it is in.
    pub segment: u64,
    /// Octets its frame takes.
    pub frame_bytes: usize,
    /// It.
    pub entry: Entry,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Segments with something in them, oldest first.
    pub segments: Vec<Old>,
    /// Segments with nothing in them that can be read: to be removed.
    pub unwritten: Vec<u64>,
    /// What is not done, by key.
    pub entries: BTreeMap<EntryKey, FoundEntry>,
    /// The highest number of a start; 0 where there is nothing.
    pub epoch: u32,
}

impl Found {
    /// Reads the next segment: in the order of their numbers.
    ///
    /// # Errors
    /// It was written by another version of turnout.
    pub fn read(&mut self, number: u64, octets: &[u8]) -> Result<(), String> {
        match read_header(number, octets) {
            Header::Epoch(epoch) => self.epoch = self.epoch.max(epoch),
            Header::Unwritten => {
                self.unwritten.push(number);
                return Ok(());
            }
            Header::Foreign => {
                return Err(
                    "was written by another version of turnout; run that one until the spool is empty, \
                            or move the directory away and lose what waits in it"
                        .to_owned(),
                );
            }
        }
        let mut frames = Frames::new(number, octets);
        for (frame, frame_bytes) in &mut frames {
            match frame {
                Frame::Entry(entry) => {
                    self.epoch = self.epoch.max(entry.key.epoch());
                    if let Some(replaced) = entry.replaces {
                        self.entries.remove(&replaced);
                    }
                    // Written a second time when it was carried out of an old segment, or when a disk had failed.
                    let found = FoundEntry { segment: number, frame_bytes, entry: *entry };
                    self.entries.insert(found.entry.key, found);
                }
                Frame::Done(keys) => {
                    for key in keys {
                        self.entries.remove(&key);
                    }
                }
            }
        }
        let good = frames.good();
        if good == HEADER_BYTES && octets.len() == good {
            self.unwritten.push(number);
        } else {
            self.segments.push(Old { number, good: good as u64, bad: (octets.len() - good) as u64 });
        }
        Ok(())
    }
}
