//! The durable spool as a shard sees it. Invariant: a stanza has an entry while it waits in a spool or for the end of a move, and keeps it
//! to its end; the peer it came from may be told as soon as the entry is on disk, and else when the end is known, once. Where its
//! sender is told an error, the entry is done when the error has found its own end.
//!
//! Nothing here waits for the disk. A stanza goes on when it can, whether its entry is written or not, and a disk that takes nothing
//! for a while costs acknowledgements that come later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shard;
use crate::backend::Destination;
use crate::durable::{Entry, EntryKey, Kept, OnDisk, Opened};
use crate::home::HomeId;
use crate::io::{Ended, Handoff, LinkId, Outbox, Output, Side};
use crate::jid::Domain;
use crate::limits::{SPOOL_AGE_MADE_SECONDS, SPOOL_AGE_SECONDS};
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::route::Route;
use crate::run::Run;
use crate::stanza::{Kind, Origin, Stanza};

/// What a shard knows of the disk.
#[derive(Debug)]
pub(super) struct Disk {
    opened: Opened,
    /// Entries given.
    count: u64,
    /// Everything this shard gave up to this key is on disk.
    written: Option<EntryKey>,
    /// Whom to tell when an entry is on disk, or its stanza at its end before that.
    owed: BTreeMap<EntryKey, Ended>,
}

impl Disk {
    /// Milliseconds since 1970 at an instant, which may be before the one the calendar is counted from.
    fn unix_millis(&self, at: Instant) -> u64 {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Opened { at: anchor, unix_millis, .. } = self.opened;
        match at.checked_duration_since(anchor) {
            Some(since) => unix_millis.saturating_add(millis(since)),
            None => unix_millis.saturating_sub(millis(anchor.saturating_duration_since(at))),
        }
    }

    /// How long a stanza may wait.
    fn age(&self, kind: Kind, made: bool) -> Duration {
        match kind {
            // What the router owes to somebody it has acknowledged something to.
            _ if made => self.opened.age.max(Duration::from_secs(SPOOL_AGE_MADE_SECONDS)),
            Kind::Message(_) => self.opened.age,
            // Who asked has given up by then, and presence is of yesterday.
            Kind::Presence(_) | Kind::Iq(_) => self.opened.age.min(Duration::from_secs(SPOOL_AGE_SECONDS)),
        }
    }
}

impl Shard {
    /// The spool is durable.
    pub(super) fn opened(&mut self, opened: Opened) {
        self.disk = Some(Disk { opened, count: 0, written: None, owed: BTreeMap::new() });
    }

    /// A stanza is going to wait: it is given an entry, if it has none. One whose sender waits for a verdict needs none: he has been
    /// told nothing.
    pub(super) fn put_on_disk(&mut self, stanza: &mut Stanza, out: &mut Outbox) {
        if let Some(entry) = self.entry(stanza) {
            out.outputs.push(Output::Spool(entry));
        }
    }

    /// The entry of a stanza that has none and is to have one.
    fn entry(&mut self, stanza: &mut Stanza) -> Option<Box<Entry>> {
        let disk = self.disk.as_mut()?;
        let kept = &stanza.disk.kept;
        if stanza.origin.ticket != 0 || kept.as_ref().is_some_and(|kept| kept.key.is_some()) {
            return None;
        }
        disk.count += 1;
        let key = EntryKey::new(disk.opened.epoch, self.index, disk.count);
        let (replaces, owed) = match stanza.disk.kept.take() {
            Some(kept) => (kept.replaces, kept.owed),
            None => (None, Some(arrival(stanza)).filter(|ended| self.chained.contains(&ended.link))),
        };
        if let Some(owed) = owed {
            disk.owed.insert(key, owed);
        }
        stanza.settle_down();
        let unix_millis = disk.unix_millis(stanza.arrived);
        let expires = stanza.arrived + disk.age(stanza.kind, stanza.made);
        stanza.disk.kept = Some(Box::new(Kept {
            key: Some(key),
            replaces,
            owed: None,
            expires,
            unix_millis,
            recovered: false,
        }));
        let home = match stanza.origin.side {
            Side::Partners => None,
            side @ Side::Home(_) => Some(Arc::from(self.world.side_name(side))),
        };
        Some(Box::new(Entry {
            key,
            replaces,
            order: stanza.disk.order,
            unix_millis,
            home,
            made: stanza.made,
            kind: stanza.kind,
            payload: stanza.payload,
            from: stanza.from.clone(),
            to: stanza.to.clone(),
            bytes: stanza.bytes.clone(),
            insert_at: stanza.insert_at,
            insert: stanza.insert.clone(),
            spans: [stanza.from_span.clone(), stanza.to_span.clone(), stanza.id_span.clone()],
        }))
    }

    /// A stanza is going to be held for the end of a move. Presence that has not been ruled yet is not written, as it would not be ruled
    /// when it comes back; it waits five seconds at most.
    pub(super) fn put_held_on_disk(&mut self, stanza: &mut Stanza, out: &mut Outbox) {
        if !matches!(stanza.kind, Kind::Presence(_)) || stanza.attempts > 0 {
            self.put_on_disk(stanza, out);
        }
    }

    /// What a link had not written is going to wait.
    pub(super) fn put_all_on_disk(
        &mut self,
        stanzas: impl DoubleEndedIterator<Item = Stanza>,
        out: &mut Outbox,
    ) -> std::vec::IntoIter<Stanza> {
        let mut stanzas: Vec<Stanza> = stanzas.collect();
        if self.disk.is_some() {
            for stanza in &mut stanzas {
                self.put_on_disk(stanza, out);
            }
        }
        stanzas.into_iter()
    }

    /// Everything up to this key is on disk.
    pub(super) fn spooled(&mut self, now: Instant, key: EntryKey, out: &mut Outbox) {
        let Some(disk) = &mut self.disk else { return };
        disk.written = disk.written.max(Some(key));
        let later = EntryKey::from_raw(key.get().saturating_add(1));
        let later = disk.owed.split_off(&later);
        for ended in std::mem::replace(&mut disk.owed, later).into_values() {
            self.tell_ended(now, ended, out);
        }
    }

    /// What hangs on the end of a stanza.
    pub(super) fn off_disk(&mut self, now: Instant, kept: &Kept, out: &mut Outbox) {
        for key in kept.key.into_iter().chain(kept.replaces) {
            self.unspooled(now, key, out);
        }
        if let Some(owed) = kept.owed {
            self.tell_ended(now, owed, out);
        }
    }

    /// An entry is done. The shard that gave it says so, behind the entry itself; what an earlier start gave is on disk.
    pub(super) fn unspooled(&mut self, now: Instant, key: EntryKey, out: &mut Outbox) {
        let Some(disk) = &mut self.disk else { return };
        if key.epoch() == disk.opened.epoch && key.shard() != self.index {
            out.outputs.push(Output::Handoff(key.shard(), Handoff::Unspooled(key)));
            return;
        }
        let owed = disk.owed.remove(&key);
        out.outputs.push(Output::Unspool(key));
        if let Some(owed) = owed {
            self.tell_ended(now, owed, out);
        }
    }

    /// The error that was made last tells the sender of this stanza: what hangs on the end of the stanza hangs on that of the error. An
    /// entry is replaced by one of the error, as a stanza that was given up must not come back behind later ones of its pair. False if
    /// nothing hangs on it.
    pub(super) fn pass_on(&mut self, stanza: &mut Stanza, out: &mut Outbox) -> bool {
        let Some(disk) = &self.disk else { return false };
        let Some(answer) = out.arrivals.last_mut().filter(|answer| answer.made) else { return false };
        let unix_millis = disk.unix_millis(answer.arrived);
        let expires = answer.arrived + disk.age(answer.kind, true);
        let (replaces, owed) = match stanza.disk.kept.take() {
            Some(kept) => (kept.key, kept.owed),
            None => {
                let owed = Some(arrival(stanza)).filter(|ended| self.chained.contains(&ended.link));
                (None, owed.filter(|_| !stanza.made))
            }
        };
        if replaces.is_none() && owed.is_none() {
            return false;
        }
        let kept = Kept { key: None, replaces, owed, expires, unix_millis, recovered: false };
        answer.disk.kept = Some(Box::new(kept));
        if replaces.is_some()
            && let Some(entry) = self.entry(answer)
        {
            out.outputs.push(Output::Spool(entry));
        }
        true
    }

    /// Whether a stanza may be left to the next start: its entry is on disk.
    pub(super) fn may_be_left(&self, stanza: &Stanza) -> bool {
        let (Some(disk), Some(kept)) = (&self.disk, &stanza.disk.kept) else { return false };
        // Of what another shard gave we do not know. An error that cannot be delivered now would be dropped otherwise.
        kept.key.is_some_and(|key| {
            stanza.made
                || key.epoch() < disk.opened.epoch
                || (key.shard() == self.index && disk.written.is_some_and(|written| key <= written))
        })
    }

    /// The process ends, and the stanza goes on when it starts again.
    pub(super) fn leave(&mut self, stanza: &Stanza) {
        self.flow(stanza.made).left += 1;
    }

    /// What waited when the process died goes on.
    pub(super) fn recovered(&mut self, now: Instant, entries: Vec<Entry>, out: &mut Outbox) {
        for entry in entries {
            self.recover(now, entry, out);
            self.pump(now, out);
        }
    }

    fn recover(&mut self, now: Instant, entry: Entry, out: &mut Outbox) {
        let Some(disk) = &self.disk else { return };
        let waited = Duration::from_millis(disk.unix_millis(now).saturating_sub(entry.unix_millis));
        let left = disk.age(entry.kind, entry.made).saturating_sub(waited);
        let side = match &entry.home {
            None => Side::Partners,
            // One that is configured no more is nobody's; the rules refuse it, and its sender is told where he is now.
            Some(name) => self.world.homes.by_name(name).map_or(Side::Partners, |(home, _)| Side::Home(home)),
        };
        let kept = Kept {
            key: Some(entry.key),
            replaces: None,
            owed: None,
            expires: now + left,
            unix_millis: entry.unix_millis,
            recovered: true,
        };
        let [from_span, to_span, id_span] = entry.spans;
        let stanza = Stanza {
            kind: entry.kind,
            from: entry.from,
            to: entry.to,
            bytes: entry.bytes,
            insert_at: entry.insert_at,
            insert: entry.insert,
            from_span,
            to_span,
            id_span,
            payload: entry.payload,
            origin: Origin { side, link: LinkId::NONE, ticket: 0 },
            arrived: now,
            made: entry.made,
            // A next hop may have had it before.
            attempts: 1,
            disk: OnDisk { order: entry.order, kept: Some(Box::new(kept)) },
        };
        self.flow(stanza.made).recovered += 1;
        if left.is_zero() {
            let refusal = Refusal::new(
                Condition::RemoteServerTimeout,
                Blame::Router,
                Retry::Later,
                Bounce::Yes,
                "it waited too long, in part while the router was not running",
            );
            self.refuse(now, stanza, refusal, out);
        } else {
            self.follow(now, stanza, out);
        }
    }

    /// The shard that has the stream of this pair of domains to a gateway, if it is another.
    pub(super) fn detour(&self, from: &Domain, to: &Domain) -> Option<u16> {
        let detours = &self.disk.as_ref()?.opened.detours;
        if detours.is_empty() {
            return None;
        }
        detours.get(&(from.clone(), to.clone())).copied().filter(|shard| *shard != self.index)
    }

    /// A run for a gateway whose stream another shard has goes there, each stanza alone.
    pub(super) fn detour_run(
        &mut self,
        now: Instant,
        home: HomeId,
        run: Run,
        out: &mut Outbox,
    ) -> Option<Run> {
        if self.detour(&run.from, &run.to).is_none() {
            return Some(run);
        }
        for stanza in run.stanzas() {
            self.forward(now, stanza, Route::Home(home), out);
        }
        out.give_back(run.heads);
        None
    }

    /// A link takes no run just now: its stanzas wait.
    pub(super) fn block_each(&mut self, destination: &Destination, run: &Run, out: &mut Outbox) {
        let stanzas = self.put_all_on_disk(run.stanzas(), out);
        if let Some(waiting) = self.destinations.get_mut(destination) {
            waiting.spool.put_back(stanzas);
        }
    }
}

/// The end of a stanza, for the link it arrived on.
fn arrival(stanza: &Stanza) -> Ended {
    let Origin { side, link, .. } = stanza.origin;
    Ended { side, link, arrived: stanza.arrived, count: 1 }
}
