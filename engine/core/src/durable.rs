//! What of a waiting stanza is on disk, and how the core talks to a disk without knowing it. Invariant: an entry is written once for a
//! stanza that waits, and done once, when the stanza – or the error its sender is told instead – has found its end; what lies
//! between is enough to deliver it, or to tell its sender, after the process has died.
//!
//! `Output::Spool` writes an [`Entry`], `Input::Spooled` says that everything up to a key is on disk, `Output::Unspool` says that an entry
//! is done. After a crash the entries that were not done come back by `Input::Recovered`.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;

use crate::directory::Directory;
use crate::home::{BackendKind, Residence};
use crate::io::Ended;
use crate::jid::{Domain, Jid};
use crate::placement::{owner_of_domain, owner_of_user};
use crate::stanza::{Kind, Payload};
use crate::world::World;

mod codec;

pub use codec::ENTRY_BYTES_MAX;

/// Names an entry: the start of the process that wrote it (20 bits), its shard (8 bits), its number there (36 bits). Keys of one shard
/// grow, and those of a later start are higher than all of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryKey(u64);

/// Bits of a key for the number.
const COUNT_BITS: u32 = 36;
/// Bits for the shard.
const SHARD_BITS: u32 = 8;

impl EntryKey {
    /// The highest number a start can have.
    pub const EPOCH_MAX: u32 = (1 << (64 - COUNT_BITS - SHARD_BITS)) - 1;

    /// The `count`th entry of a shard since this start.
    pub fn new(epoch: u32, shard: u16, count: u64) -> Self {
        let (epoch, shard) = (u64::from(epoch.min(Self::EPOCH_MAX)), u64::from(shard) & 0xff);
        Self((epoch << (COUNT_BITS + SHARD_BITS)) | (shard << COUNT_BITS) | (count & ((1 << COUNT_BITS) - 1)))
    }

    /// As it was stored.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// To be stored.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Which start of the process wrote it.
    pub fn epoch(self) -> u32 {
        (self.0 >> (COUNT_BITS + SHARD_BITS)) as u32
    }

    /// Which shard wrote it.
    pub fn shard(self) -> u16 {
        (self.0 >> COUNT_BITS) as u16 & 0xff
    }
}

/// What a stanza remembers of the disk. Empty for one that never waited.
#[derive(Clone, Debug, Default)]
pub struct OnDisk {
    /// When it came, among all that came to the shard that read it: the order of a pair of users that came in on one stream.
    pub order: u64,
    /// Its entry, and what else hangs on its end.
    pub kept: Option<Box<Kept>>,
}

impl OnDisk {
    /// For a stanza that came as the `order`th.
    pub fn came(order: u64) -> Self {
        Self { order, kept: None }
    }
}

/// What hangs on the end of a stanza.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The entry that is done with it.
    pub key: Option<EntryKey>,
    /// It is the error that tells the sender of this entry's stanza: done as well.
    pub replaces: Option<EntryKey>,
    /// What the peer it came from, or the peer that is told by it, may be told then.
    pub owed: Option<Ended>,
    /// When it is given up.
    pub expires: Instant,
    /// When it was accepted, in milliseconds since 1970.
    pub unix_millis: u64,
    /// It waited while the process died, and may have been delivered before.
    pub recovered: bool,
}

/// A stanza as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: EntryKey,
    /// See [`OnDisk::order`].
    pub order: u64,
    /// As soon as this entry is on disk, that one is done: this is the error that tells its stanza's sender.
    pub replaces: Option<EntryKey>,
    /// When it was accepted, in milliseconds since 1970.
    pub unix_millis: u64,
    /// The home it came from; `None` for a partner.
    pub home: Option<Arc<str>>,
    /// The router made it.
    pub made: bool,
    /// As in `Stanza`.
    pub kind: Kind,
    /// As in `Stanza`.
    pub payload: Payload,
    /// As in `Stanza`.
    pub from: Jid,
    /// As in `Stanza`.
    pub to: Jid,
    /// As in `Stanza`.
    pub bytes: Bytes,
    /// As in `Stanza`.
    pub insert_at: u32,
    /// As in `Stanza`.
    pub insert: Option<Bytes>,
    /// As in `Stanza`: of `from`, `to` and `id`.
    pub spans: [Range<u32>; 3],
}

impl Entry {
    /// What entries are put in order by before they are given back: within what came in on one stream this is the order it came in.
    pub fn rank(&self) -> (u32, u64, u64) {
        (self.key.epoch(), self.unix_millis, self.order)
    }

    /// Octets of the stanza.
    pub fn stanza_bytes(&self) -> usize {
        self.bytes.len() + self.insert.as_ref().map_or(0, Bytes::len)
    }
}

/// What a shard has to know of the durable spool before anything else reaches it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The number of this start; higher than that of all entries there are.
    pub epoch: u32,
    /// An instant.
    pub at: Instant,
    /// What the wall clock said then, in milliseconds since 1970.
    pub unix_millis: u64,
    /// How long a message may wait that is on disk.
    pub age: Duration,
    /// Pairs of domains, sender's and recipient's, for whose gateway stanzas have been recovered, with the shard that has them: what comes
    /// later goes there too as long as this process lives, so that it overtakes nothing.
    pub detours: Arc<Detours>,
}

/// See [`Opened::detours`].
pub type Detours = HashMap<(Domain, Domain), u16>;

impl Entry {
    /// The shard where it will wait: the one that owns what it goes to, and for a gateway the one that has its pair of domains.
    fn shard(&self, world: &World, directory: &Directory) -> (u16, bool) {
        let home = match directory.look_up(self.to.bare_str()).map(|user| user.residence) {
            Some(Residence::Home(home)) => world.homes.get(home).map(|home| home.backend),
            _ => None,
        };
        match home {
            Some(BackendKind::Sip) => (owner_of_user(self.to.bare_str(), world.shards), false),
            Some(BackendKind::Xmpp) => (owner_of_domain(self.from.domain(), world.shards), true),
            None => (owner_of_domain(self.to.domain(), world.shards), false),
        }
    }
}

/// Puts entries in the order they are to go on, and says for each shard which are its own, and which detours follow from that.
pub fn hand_out(world: &World, directory: &Directory, mut entries: Vec<Entry>) -> (Vec<Vec<Entry>>, Detours) {
    entries.sort_by_key(Entry::rank);
    let mut shards: Vec<Vec<Entry>> = (0..world.shards.max(1)).map(|_| Vec::new()).collect();
    let mut detours = Detours::new();
    for entry in entries {
        let (shard, of_gateway) = entry.shard(world, directory);
        if of_gateway {
            detours.insert((Domain::from(&entry.from), Domain::from(&entry.to)), shard);
        }
        if let Some(own) = shards.get_mut(usize::from(shard)) {
            own.push(entry);
        }
    }
    (shards, detours)
}

/// A time in UTC as XEP-0082 writes it, to the millisecond.
pub fn utc(unix_millis: u64) -> String {
    let (seconds, millis) = (unix_millis / 1000, unix_millis % 1000);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, so that the leap day is the last; 400 of them are 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_exist() {
        for (unix_millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_767_323_045_123, "2026-01-02T03:04:05.123Z"),
        ] {
            assert_eq!(utc(unix_millis), expected);
        }
    }
}
