//! A disk that may lose what was not synced, tear it, fail, and be full. Invariant: what was synced is there after any crash, and nothing
//! else is promised.

use std::collections::BTreeMap;

use turnout::spool::journal::Act;
use turnout::spool::recovery::Found;
use turnout_core::random::Random;

/// What is lost in one piece.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    content: Vec<u8>,
    /// So much of it is on disk.
    synced: usize,
    /// The folder knows of it, on disk.
    listed: bool,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    /// Removed, and not known to be gone.
    removed: BTreeMap<u64, File>,
    /// Bytes it has room for; no limit if `None`.
    pub room: Option<usize>,
    /// One in so many things fails; none if 0.
    pub failing: u64,
    /// Syncs that failed, and writes that found it full.
    pub failures: [usize; 2],
}

impl Disk {
    /// Does it, or fails.
    pub fn act(&mut self, act: &Act, random: &mut Random) -> Result<Vec<u8>, String> {
        let fails = self.failing > 0 && random.below(self.failing) == 0;
        let full = |used: usize, more: usize| self.room.is_some_and(|room| used + more > room);
        let used = self.files.values().map(|file| file.content.len()).sum::<usize>();
        match act {
            Act::Create(number, header) => {
                assert!(!self.files.contains_key(number), "a segment is made once");
                if fails && random.below(2) == 0 {
                    return Err("no file".to_owned());
                }
                let fits = !full(used, header.len()) && !fails;
                let content =
                    if fits { header.to_vec() } else { header[..random_len(header.len(), random)].to_vec() };
                self.files.insert(*number, File { content, ..File::default() });
                if fits { Ok(Vec::new()) } else { Err("full".to_owned()) }
            }
            Act::Append(number, octets) => {
                let full = full(used, octets.len());
                let file = self.files.get_mut(number).expect("what is appended to is there");
                if full || fails {
                    self.failures[1] += usize::from(full);
                    file.content.extend_from_slice(&octets[..random_len(octets.len(), random)]);
                    return Err("full".to_owned());
                }
                file.content.extend_from_slice(octets);
                Ok(Vec::new())
            }
            Act::Sync(number) => {
                let file = self.files.get_mut(number).expect("what is synced is there");
                if fails {
                    // The kernel forgets that it has anything to write; the next sync would say that all is well.
                    self.failures[0] += 1;
                    return Err("sync".to_owned());
                }
                file.synced = file.content.len();
                Ok(Vec::new())
            }
            Act::SyncFolder => {
                if fails {
                    return Err("sync of the folder".to_owned());
                }
                self.files.values_mut().for_each(|file| file.listed = true);
                self.removed.clear();
                Ok(Vec::new())
            }
            Act::Remove(number) => {
                if fails {
                    return Err("remove".to_owned());
                }
                if let Some(file) =
                    self.files.remove(number).filter(|file| file.listed || random.below(2) == 0)
                {
                    self.removed.insert(*number, file);
                }
                Ok(Vec::new())
            }
            Act::Read(number) => {
                if fails {
                    return Err("read".to_owned());
                }
                Ok(self.files[number].content.clone())
            }
        }
    }

    /// The process dies: the kernel keeps what it was given.
    pub fn kill(&mut self) {
        self.removed.clear();
    }

    /// Power is lost.
    pub fn lose_power(&mut self, random: &mut Random) {
        for (number, file) in std::mem::take(&mut self.removed) {
            if random.below(2) == 0 {
                self.files.insert(number, file);
            }
        }
        for (number, mut file) in std::mem::take(&mut self.files) {
            if !file.listed && file.synced == 0 && random.below(2) == 0 {
                continue;
            }
            file.tear(random);
            self.files.insert(number, file);
        }
    }

    /// What a start finds, and does: as `Folder::open`.
    pub fn recover(&mut self) -> Found {
        let mut found = Found::default();
        for (number, file) in &self.files {
            found.read(*number, &file.content).expect("nobody else has written here");
        }
        for old in &found.segments {
            let file = self.files.get_mut(&old.number).expect("it was read");
            file.content.truncate(usize::try_from(old.good).unwrap());
        }
        for number in &found.unwritten {
            self.files.remove(number);
        }
        for file in self.files.values_mut() {
            (file.synced, file.listed) = (file.content.len(), true);
        }
        found
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> usize {
        self.files.values().map(|file| file.content.len()).sum()
    }
}

impl File {
    /// What was not synced is there in part: each sector as written, or as nothing; the length may be what it was to become or less.
    fn tear(&mut self, random: &mut Random) {
        let tail = self.content.split_off(self.synced);
        let kept = random_len(tail.len(), random);
        for (at, octet) in tail[..kept].iter().enumerate() {
            let first = at == 0 || (self.synced + at).is_multiple_of(SECTOR);
            if first && random.below(3) == 0 {
                let sector = SECTOR - (self.synced + at) % SECTOR;
                let lost = sector.min(kept - at);
                self.content.resize(self.synced + at + lost, 0);
            }
            if self.content.len() == self.synced + at {
                self.content.push(*octet);
            }
        }
    }
}

/// A length up to this; often all or nothing.
fn random_len(most: usize, random: &mut Random) -> usize {
    match random.below(4) {
        0 => 0,
        1 => most,
        _ => usize::try_from(random.below(most as u64 + 1)).unwrap(),
    }
}
