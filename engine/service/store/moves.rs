//! Moves by name, in the store: who was moved by hand and where to, until the directory's source says the same. Invariant: whoever
//! waits here for the disk keeps nobody else waiting; of several moves of one user the newest is kept.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, TrySendError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use turnout_core::directory::{Overlay, Snapshot, User};
use turnout_core::home::{Homes, Residence};
use turnout_core::jid::prepare;

use super::outlet::Delivery;

/// Rows in one delivery.
const DELIVERY_ROWS_MAX: usize = 4096;

/// Where a user was moved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedTo {
    /// The home's name: numbers change with the configuration.
    pub home: String,
    /// When, in seconds since 1970.
    pub unix: u64,
}

/// The control plane's end of the way to the store.
#[derive(Debug)]
pub struct MoveOutlet {
    queue: SyncSender<Delivery>,
    waiting: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    told: Vec<oneshot::Sender<()>>,
}

impl MoveOutlet {
    /// To the store at the other end of this queue.
    pub fn new(queue: SyncSender<Delivery>) -> Self {
        Self { queue, waiting: BTreeMap::new(), told: Vec::new() }
    }

    /// Has it remembered where a user was moved to, or forgotten that he was.
    pub fn set(&mut self, bare: &str, to: Option<&MovedTo>) {
        // What is encoded is two plain values: it cannot fail.
        let value = to.and_then(|to| serde_json::to_vec(to).ok());
        self.waiting.insert(super::file::move_key(bare), value);
    }

    /// Is told when all that was set so far is on disk.
    pub fn when_on_disk(&mut self) -> oneshot::Receiver<()> {
        let (told, hears) = oneshot::channel();
        self.told.push(told);
        hears
    }

    /// Gives the store what it takes. `true` if it has to be asked again.
    pub fn flush(&mut self) -> bool {
        self.told.retain(|told| !told.is_closed());
        while !self.waiting.is_empty() || !self.told.is_empty() {
            let behind = match self.waiting.keys().nth(DELIVERY_ROWS_MAX).cloned() {
                Some(key) => self.waiting.split_off(&key),
                None => BTreeMap::new(),
            };
            let told = if behind.is_empty() { std::mem::take(&mut self.told) } else { Vec::new() };
            let moves = std::mem::replace(&mut self.waiting, behind);
            match self.queue.try_send(Delivery { shard: 0, seq: 0, records: Vec::new(), moves, told }) {
                Ok(()) => {}
                Err(TrySendError::Full(mut delivery) | TrySendError::Disconnected(mut delivery)) => {
                    self.waiting.append(&mut delivery.moves);
                    self.told.append(&mut delivery.told);
                    return true;
                }
            }
        }
        false
    }
}

/// Puts remembered moves over the source's users; gives those that are to be forgotten, with the reason.
pub fn restore(
    rows: &[(String, MovedTo)],
    overlay: &Overlay,
    snapshot: &Snapshot,
    homes: &Homes,
) -> Vec<(String, &'static str)> {
    let mut forgotten = Vec::new();
    let mut scratch = String::new();
    for (bare, to) in rows {
        let home = homes.by_name(&to.home).map(|(id, _)| Residence::Home(id));
        let why = match (snapshot.look_up(bare), home) {
            (None, _) => "he is not in the source any more",
            (_, None) => "his home is not configured any more",
            (Some(user), Some(residence)) if user.residence == residence => "the source says the same",
            (Some(user), Some(residence)) => match prepare(bare, &mut scratch) {
                Ok(jid) if overlay.set(jid, User { residence, ..user }).is_ok() => continue,
                _ => "there is no room for more",
            },
        };
        forgotten.push((bare.clone(), why));
    }
    forgotten
}

#[cfg(test)]
mod tests {
    use turnout_core::directory::SnapshotBuilder;
    use turnout_core::home::{BackendKind, Dialect, Home, HomeId};

    use super::super::queue;
    use super::*;

    fn to(home: &str) -> MovedTo {
        MovedTo { home: home.to_owned(), unix: 7 }
    }

    #[test]
    fn what_still_differs_is_restored() {
        let home = |name: &str| Home {
            name: name.into(),
            backend: BackendKind::Xmpp,
            dialect: Dialect::Skype,
            registrar_pools: vec![format!("{name}.contoso.com")],
            connect: vec![],
        };
        let homes = Homes::new(vec![home("legacy"), home("sfb2019")], &[]).unwrap();
        let mut builder = SnapshotBuilder::new();
        let mut scratch = String::new();
        let closed = User { enabled: false, ..User::at(Residence::Home(HomeId(0))) };
        for bare in ["a@x.example", "b@x.example", "c@x.example"] {
            builder.add(prepare(bare, &mut scratch).unwrap(), closed).unwrap();
        }
        let snapshot = builder.finish();
        let overlay = Overlay::new(10);
        let rows = [("a", "sfb2019"), ("b", "legacy"), ("c", "gone"), ("d", "sfb2019")];
        let rows = rows.map(|(name, home)| (format!("{name}@x.example"), to(home)));
        let forgotten = restore(&rows, &overlay, &snapshot, &homes);
        // The account is closed for him as well, as the source says by now.
        let moved = User { residence: Residence::Home(HomeId(1)), ..closed };
        assert_eq!((overlay.look_up("a@x.example"), overlay.len()), (Some(moved), 1));
        assert_eq!(
            forgotten.iter().map(|(bare, _)| bare.as_str()).collect::<Vec<_>>(),
            ["b@x.example", "c@x.example", "d@x.example"]
        );
    }

    #[test]
    fn a_full_queue_keeps_the_newest_of_each_user() {
        let (queue, store) = queue();
        let mut outlet = MoveOutlet::new(queue);
        while outlet
            .queue
            .try_send(Delivery { shard: 0, seq: 0, records: vec![], moves: BTreeMap::new(), told: vec![] })
            .is_ok()
        {}
        outlet.set("a@x", Some(&to("legacy")));
        let heard = outlet.when_on_disk();
        assert!(outlet.flush());
        outlet.set("a@x", Some(&to("sfb2019")));
        outlet.set("b@x", None);
        assert!(outlet.flush());
        while store.try_recv().is_ok() {}
        assert!(!outlet.flush());
        let delivery = store.try_recv().unwrap();
        let rows: Vec<_> = delivery.moves.values().collect();
        assert_eq!(rows, [&Some(serde_json::to_vec(&to("sfb2019")).unwrap()), &None]);
        assert_eq!(delivery.told.len(), 1);
        drop((delivery, heard));
    }
}
