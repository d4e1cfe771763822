//! The control plane's one task: moves and directory changes. Invariant: the directory changes nowhere else, so what the shards
//! are told about it is told in one order.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use turnout_core::directory::{Directory, Snapshot, User};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::{Input, NewBackends};
use turnout_core::jid::Jid;
use turnout_core::moves::{Act, Mover};
use turnout_core::shard::DRAIN_ROUNDS;
use turnout_core::world::World;

use crate::directory::graveyard::Graveyard;
use crate::mail::{Mail, Post};
use crate::outside::Report;
use crate::store::moves::{MoveOutlet, MovedTo};

/// Commands that may wait.
const COMMANDS_MAX: usize = 64;

/// How often it is looked whether a replaced snapshot is still read.
const BURY_EVERY: Duration = Duration::from_millis(250);

/// How often a store that takes nothing is asked again.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// How long the answer to a move waits until the move is on disk.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// A change that is on its way, or its result.
#[derive(Debug)]
pub enum Command {
    /// Give users another home, whose name is this.
    Move(Vec<(Jid, User)>, String, oneshot::Sender<Result<Moved, String>>),
    /// Take a new snapshot. The users named, whose home it changes, are moved.
    Snapshot(Arc<Snapshot>, Vec<Arc<str>>, oneshot::Sender<Result<Moved, String>>),
    /// Take a new configuration, and for each shard the backends of homes that are new in it.
    World(Arc<World>, Vec<NewBackends>, oneshot::Sender<()>),
    /// These homes are configured no more, and the directory has nobody there.
    Retire(Vec<HomeId>, oneshot::Sender<()>),
}

/// What a move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Users with another home than before.
    pub users: usize,
    /// Whether nothing was under way on the old side when the directory changed.
    pub in_time: bool,
    /// How long their stanzas were held, in milliseconds.
    pub held_millis: u64,
    /// Whether a restart will know of it: it is in the source, or in the store.
    pub remembered: bool,
}

enum Change {
    Users(Vec<(Jid, User)>, String),
    Snapshot(Arc<Snapshot>),
}

struct Pending {
    change: Change,
    users: usize,
    begun: std::time::Instant,
    done: oneshot::Sender<Result<Moved, String>>,
}

/// The directory as the control plane sees it; the shards' own copies follow by mail.
pub type SharedDirectory = Arc<Mutex<Directory>>;

/// Reads the shared directory.
pub fn current(directory: &SharedDirectory) -> Directory {
    directory.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Makes the command channel.
pub fn commands() -> (Sender<Command>, Receiver<Command>) {
    channel(COMMANDS_MAX)
}

/// Runs until the command channel is closed.
pub struct Control {
    post: Post,
    directory: SharedDirectory,
    /// Snapshots the shards may still read: none of them is to be freed by a shard.
    graveyard: Graveyard<Snapshot>,
    mover: Mover,
    pending: HashMap<u64, Pending>,
    drained: usize,
    drain_rounds: u8,
    all_drained: Option<oneshot::Sender<()>>,
    /// Where moves by name are remembered.
    memory: Option<MoveOutlet>,
}

impl Control {
    /// `all_drained` is told when every shard has drained; `memory` remembers moves by name.
    pub fn new(
        post: Post,
        directory: SharedDirectory,
        all_drained: oneshot::Sender<()>,
        memory: Option<MoveOutlet>,
    ) -> Self {
        let mover = Mover::new(post.shards());
        let graveyard = Graveyard::new(Arc::clone(current(&directory).snapshot()));
        Self {
            post,
            directory,
            graveyard,
            mover,
            pending: HashMap::new(),
            drained: 0,
            drain_rounds: 0,
            all_drained: Some(all_drained),
            memory,
        }
    }

    /// The task.
    pub async fn run(mut self, mut commands: Receiver<Command>, mut reports: Receiver<Report>) {
        loop {
            let deadline = self.mover.deadline();
            let due = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let is_waiting = self.graveyard.is_waiting();
            let bury = async {
                match is_waiting {
                    true => tokio::time::sleep(BURY_EVERY).await,
                    false => std::future::pending().await,
                }
            };
            let is_full = self.memory.as_mut().is_some_and(MoveOutlet::flush);
            let again = async {
                match is_full {
                    true => tokio::time::sleep(FLUSH_EVERY).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = again => {}
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                report = reports.recv() => match report {
                    Some(report) => self.report(report).await,
                    None => return,
                },
                () = due => {
                    for act in self.mover.expire(crate::clock::now()) {
                        self.act(act).await;
                    }
                }
                () = bury => self.bury(),
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Move(users, home, done) => {
                let names = users.iter().map(|(jid, _)| Arc::from(jid.bare_str())).collect();
                self.begin(names, Change::Users(users, home), done).await;
            }
            Command::Snapshot(snapshot, mut names, done) => {
                // A user an administrator moved by hand stays where the overlay has him.
                let old = current(&self.directory);
                names.retain(|name| old.overlay().look_up(name).is_none());
                self.begin(names, Change::Snapshot(snapshot), done).await;
            }
            Command::World(world, backends, done) => {
                for (shard, backends) in (0..self.post.shards()).zip(backends) {
                    if !backends.0.is_empty() {
                        self.post.send(shard, Mail::Control(Input::Homes(backends))).await;
                    }
                }
                self.broadcast(|| Input::World(Arc::clone(&world))).await;
                // Whoever asked may have given up waiting.
                done.send(()).unwrap_or_default();
            }
            Command::Retire(homes, done) => {
                self.retire(&homes).await;
                done.send(()).unwrap_or_default();
            }
        }
    }

    /// Users who were moved there by name while that was decided are where the source has them.
    async fn retire(&mut self, homes: &[HomeId]) {
        let directory = current(&self.directory);
        let mut stray = Vec::new();
        directory.overlay().for_each(|bare, user| {
            if matches!(user.residence, Residence::Home(home) if homes.contains(&home)) {
                stray.push(bare.to_owned());
            }
        });
        for bare in &stray {
            directory.overlay().remove(bare);
            if let Some(memory) = &mut self.memory {
                memory.set(bare, None);
            }
        }
        for home in homes {
            self.broadcast(|| Input::Retire(*home)).await;
        }
    }

    async fn begin(
        &mut self,
        users: Vec<Arc<str>>,
        change: Change,
        done: oneshot::Sender<Result<Moved, String>>,
    ) {
        let begun = crate::clock::now();
        let count = users.len();
        let (id, act) = self.mover.begin(begun, users);
        self.pending.insert(id, Pending { change, users: count, begun, done });
        self.act(act).await;
    }

    async fn report(&mut self, report: Report) {
        let act = match report {
            Report::Holding(id) => self.mover.holding(id),
            Report::Settled(id) => self.mover.settled(id),
            Report::Drained(_) => {
                self.drained += 1;
                if self.drained == usize::from(self.post.shards()) {
                    self.all_drained().await;
                }
                None
            }
        };
        if let Some(act) = act {
            self.act(act).await;
        }
    }

    /// Every shard has said that nothing is left: asks again, then lets them leave.
    async fn all_drained(&mut self) {
        self.drained = 0;
        self.drain_rounds = self.drain_rounds.saturating_add(1);
        if self.drain_rounds < DRAIN_ROUNDS {
            self.broadcast(|| Input::Drain).await;
        } else if self.drain_rounds == DRAIN_ROUNDS {
            self.broadcast(|| Input::Leave).await;
        } else if let Some(done) = self.all_drained.take() {
            // Whoever waited may have given up.
            done.send(()).unwrap_or_default();
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Hold(order) => self.broadcast(|| Input::Hold(Arc::clone(&order))).await,
            Act::Settle(id) => self.broadcast(|| Input::Settle(id)).await,
            Act::Commit { id, in_time } => self.commit(id, in_time).await,
        }
    }

    async fn commit(&mut self, id: u64, in_time: bool) {
        let Some(Pending { change, users, begun, done }) = self.pending.remove(&id) else { return };
        let mut is_by_name = false;
        let result = match change {
            Change::Users(users, home) => {
                is_by_name = true;
                self.change_users(&users, home)
            }
            Change::Snapshot(snapshot) => {
                self.graveyard.keep(Arc::clone(&snapshot));
                let older = current(&self.directory);
                let newer = older.with_snapshot(Arc::clone(&snapshot));
                let mut gone = Vec::new();
                newer.overlay().settle(older.snapshot(), &snapshot, |bare| gone.push(bare.to_owned()));
                if let Some(memory) = &mut self.memory {
                    gone.iter().for_each(|bare| memory.set(bare, None));
                }
                *self.directory.lock().unwrap_or_else(PoisonError::into_inner) = newer;
                self.broadcast(|| Input::Directory(Arc::clone(&snapshot))).await;
                Ok(())
            }
        };
        self.broadcast(|| Input::Release(id)).await;
        let held = crate::clock::now().saturating_duration_since(begun);
        if !in_time {
            tracing::warn!(
                event = "move.late",
                users,
                "moved before everything under way had arrived: is the old side slow or down?"
            );
        }
        let held_millis = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        let moved = Moved { users, in_time, held_millis, remembered: !is_by_name };
        if !is_by_name || result.is_err() {
            // Whoever asked may be gone.
            drop(done.send(result.map(|()| moved)));
            return;
        }
        let on_disk = self.memory.as_mut().map(MoveOutlet::when_on_disk);
        // The disk keeps nobody waiting but who asked, and him not for long.
        tokio::spawn(async move {
            let remembered = match on_disk {
                Some(on_disk) => matches!(tokio::time::timeout(DISK_PATIENCE, on_disk).await, Ok(Ok(()))),
                None => false,
            };
            drop(done.send(Ok(Moved { remembered, ..moved })));
        });
    }

    /// Frees the snapshots nobody reads any more, on a thread that may take its time.
    fn bury(&mut self) {
        let unread = self.graveyard.bury();
        if !unread.is_empty() {
            tokio::task::spawn_blocking(move || drop(unread));
        }
    }

    fn change_users(&mut self, users: &[(Jid, User)], home: String) -> Result<(), String> {
        let directory = current(&self.directory);
        let mut before: Vec<(&Jid, Option<User>)> = Vec::with_capacity(users.len());
        for (jid, user) in users {
            match directory.overlay().set(jid.view(), *user) {
                Ok(old) => before.push((jid, old)),
                Err(error) => {
                    // All of a move or nothing of it: what was set goes back. Those entries exist, so there is room for them.
                    for (jid, old) in before {
                        match old {
                            Some(old) => drop(directory.overlay().set(jid.view(), old)),
                            None => drop(directory.overlay().remove(jid.bare_str())),
                        }
                    }
                    return Err(format!("{jid}: {error}"));
                }
            }
        }
        let to = MovedTo { home, unix: crate::clock::unix_seconds() };
        for (jid, user) in users {
            let bare = jid.bare_str();
            let agrees =
                directory.snapshot().look_up(bare).is_some_and(|known| known.residence == user.residence);
            if agrees {
                // He is back where the source has him all the time.
                directory.overlay().remove(bare);
            }
            if let Some(memory) = &mut self.memory {
                memory.set(bare, (!agrees).then_some(&to));
            }
        }
        Ok(())
    }

    async fn broadcast(&self, input: impl Fn() -> Input) {
        for shard in 0..self.post.shards() {
            self.post.send(shard, Mail::Control(input())).await;
        }
    }
}
