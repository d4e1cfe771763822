//! The running router: shards on their threads, listeners, control task, and the handle the admin API and the command line use.
//! Invariant: [`Router::start`] either brings everything up or nothing; [`Router::drain`] returns when every accepted stanza has
//! found its end or the configured time is up, and says which.

mod ledger;
mod prepared;
mod reload;
mod threads;
mod users;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot, watch};
use turnout_core::contact::{Contact, Pair};
use turnout_core::contacts::Forget;
use turnout_core::directory::{Directory, User};
use turnout_core::io::{Input, Told};
use turnout_core::jid::Jid;
use turnout_core::placement::{owner_of_domain, owner_of_user};
use turnout_core::survey::{Survey, Surveyed};
use turnout_core::trace::TraceRules;
use turnout_core::trial::{Trial, Tried};
use turnout_core::world::World;

use crate::access::Access;
use crate::config::Config;
use crate::control::{Command, Moved, SharedDirectory, current};
use crate::directory::source::Source;
use crate::directory::standing::Standing;
use crate::driver::Kind;
use crate::feed::Feed;
use crate::handover::Sockets;
use crate::listen::Listening;
use crate::mail::{Mail, Post};
use crate::outside::{Outside, Published};
use crate::spool::SpoolStore;
use crate::spool::meter::{Meter as SpoolMeter, SpoolLook};
use crate::store::Store;
use crate::store::meter::{Meter, StoreLook};
use crate::tls::admin::AdminKey;
use crate::tls::shown::Shown;

use ledger::Ledger;
pub use ledger::MovedToday;
pub use prepared::Prepared;
pub use reload::{CertificateChange, ReloadDiff, Reloaded, UserChange};
pub use threads::MakeBackend;
#[cfg(test)]
pub(crate) use threads::backends;
pub(crate) use threads::random_bytes;
pub(crate) use threads::standard_backend;

/// How long a message of a trial may wait for its end: a little longer than one waits for a partner that is away.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(75);

/// How long a ping may take: the partner may have to open a stream to us for the answer.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What came of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Stanzas that had found no end when the time was up.
    pub left: u64,
}

struct State {
    config: Config,
    world: Arc<World>,
    certificates: Arc<Vec<Shown>>,
    standing: Standing,
}

struct Inner {
    post: Post,
    outside: Arc<Outside>,
    directory: SharedDirectory,
    commands: Sender<Command>,
    state: Mutex<State>,
    generation: AtomicU64,
    secret: Arc<[u8]>,
    /// Who may use the admin listener.
    access: Arc<ArcSwap<Access>>,
    admin_key: Arc<AdminKey>,
    /// What is remembered of stanzas.
    trace: Mutex<Arc<TraceRules>>,
    ledger: Ledger,
    /// Somebody asked through the API that the process end.
    stop_asked: watch::Sender<bool>,
    /// Where the users come from. One at a time has it, be it for a reload: two would mix what each of them swaps in.
    source: tokio::sync::Mutex<Option<Source>>,
    /// Woken by a reload.
    reloaded: Notify,
    driver: Kind,
    draining: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    drained: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Ends after the shards.
    store: Mutex<Option<Store>>,
    store_meter: Option<Arc<Meter>>,
    /// Ends after the shards.
    spool: Mutex<Option<SpoolStore>>,
    spool_meter: Option<Arc<SpoolMeter>>,
    /// Nothing once the router drains.
    listening: Mutex<Listening>,
    started_unix: u64,
}

/// A handle to the running router.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Router {
    /// Starts everything a configuration says, on the current tokio runtime and one thread a shard.
    ///
    /// # Errors
    /// What could not be set up, where, and what to do.
    pub async fn start(config: Config) -> Result<Self, String> {
        Self::start_with(config, &standard_backend).await
    }

    /// As [`Router::start`], with other backends for the homes: the demo's peers are routers whose users are made of code.
    ///
    /// # Errors
    /// As [`Router::start`].
    pub async fn start_with(config: Config, make: &MakeBackend) -> Result<Self, String> {
        let mut sockets = Sockets::none();
        let prepared = Prepared::new(config, &mut sockets).await?;
        sockets.finish()?;
        prepared.start(make).await
    }

    /// The listening sockets once more, to be given to another process; none once the router drains.
    ///
    /// # Errors
    /// Too many open files.
    pub fn sockets(&self) -> Result<Vec<(String, OwnedFd)>, String> {
        self.listening().sockets().map_err(|error| error.to_string())
    }

    /// The configuration in use.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.state().world)
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Arc<Vec<Shown>> {
        Arc::clone(&self.state().certificates)
    }

    /// Who may use the admin listener, now and after each reload.
    pub fn access(&self) -> Arc<ArcSwap<Access>> {
        Arc::clone(&self.inner.access)
    }

    /// Certificate and key of the admin listener, now and after each reload.
    pub fn admin_key(&self) -> Arc<AdminKey> {
        Arc::clone(&self.inner.admin_key)
    }

    /// What happens.
    pub fn feed(&self) -> Feed {
        self.inner.outside.feed.clone()
    }

    /// Users moved today.
    pub fn moved_today(&self) -> MovedToday {
        self.inner.ledger.today(crate::clock::unix_seconds())
    }

    /// What is remembered of stanzas.
    pub fn trace(&self) -> Arc<TraceRules> {
        Arc::clone(&self.inner.trace.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers other things of stanzas from now on.
    pub async fn set_trace(&self, rules: Arc<TraceRules>) {
        *self.inner.trace.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&rules);
        trace_by(&self.inner.post, &rules).await;
    }

    /// Asks a shard what it holds.
    ///
    /// # Errors
    /// The shard does not answer.
    pub async fn survey(&self, shard: u16, survey: Arc<Survey>) -> Result<Surveyed, String> {
        let Inner { post, outside, .. } = &*self.inner;
        if shard >= post.shards() {
            return Err(format!("there is no shard {shard}"));
        }
        outside.surveys.put(post, shard, |number| Input::Survey(number, survey)).await
    }

    /// Asks that the process end in order, as SIGTERM does.
    pub fn ask_to_stop(&self) {
        self.inner.stop_asked.send_replace(true);
    }

    /// Becomes true when [`Router::ask_to_stop`] was called.
    pub fn stop_asked(&self) -> watch::Receiver<bool> {
        self.inner.stop_asked.subscribe()
    }

    /// The users.
    pub fn directory(&self) -> Directory {
        current(&self.inner.directory)
    }

    /// When the router started, in seconds since 1970.
    pub fn started_unix(&self) -> u64 {
        self.inner.started_unix
    }

    /// Listening addresses by configuration key, with the ports the kernel chose.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listening().addresses()
    }

    /// The driver in use.
    pub fn driver(&self) -> &'static str {
        self.inner.driver.name()
    }

    /// What every shard published last; at most 100 ms old.
    pub fn published(&self) -> Vec<Published> {
        self.inner.outside.published()
    }

    /// How the store of contacts does, where there is one.
    pub fn store(&self) -> Option<StoreLook> {
        self.inner.store_meter.as_ref().map(|meter| meter.look())
    }

    /// How the durable spool does, where there is one.
    pub fn spool(&self) -> Option<SpoolLook> {
        self.inner.spool_meter.as_ref().map(|meter| meter.look())
    }

    /// Whether the router is stopping.
    pub fn is_draining(&self) -> bool {
        *self.inner.draining.borrow()
    }

    /// Becomes true when the shards have left.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.inner.stopped.subscribe()
    }

    /// Moves users to a home, in order and without loss; returns when their stanzas flow again.
    ///
    /// # Errors
    /// A home that is not configured, a user that is not in the directory, or a full overlay.
    pub async fn move_users(&self, users: &[Jid], home: &str) -> Result<Moved, String> {
        let world = self.world();
        let Some((home, configured)) = world.homes.by_name(home) else {
            let names: Vec<&str> = world.homes.iter().map(|(_, home)| home.name.as_str()).collect();
            return Err(format!("there is no home {home:?}; configured are: {}", names.join(", ")));
        };
        if users.len() > turnout_core::limits::MOVE_USERS_MAX {
            return Err(format!("at most {} users in one move", turnout_core::limits::MOVE_USERS_MAX));
        }
        let directory = self.directory();
        let mut changes = Vec::with_capacity(users.len());
        for jid in users {
            let Some(user) = directory.look_up(jid.bare_str()) else {
                return Err(format!("{} is not in the directory", jid.bare_str()));
            };
            let residence = turnout_core::home::Residence::Home(home);
            if user.residence != residence {
                changes.push((jid.bare(), User { residence, ..user }));
            }
        }
        if changes.is_empty() {
            return Ok(Moved { users: 0, in_time: true, held_millis: 0, remembered: true });
        }
        let name = configured.name.clone();
        let moved = self.command(|done| Command::Move(changes, name, done)).await?;
        self.inner.ledger.count(crate::clock::unix_seconds(), &configured.name, moved.users as u64);
        Ok(moved)
    }

    /// What is known of a local user and what is open for him, from the shard that owns him.
    ///
    /// # Errors
    /// The shard does not answer.
    pub async fn tell(&self, user: &Jid) -> Result<Told, String> {
        let bare: Arc<str> = user.bare_str().into();
        self.question(&Arc::clone(&bare), |number| Input::Ask(number, bare)).await
    }

    /// Takes back what holds between two users; the contact as it was, if there was something to take back.
    ///
    /// # Errors
    /// The shard does not answer.
    pub async fn forget(&self, pair: Pair, what: Forget) -> Result<Option<Contact>, String> {
        let local = Arc::clone(&pair.local);
        let told = self.question(&local, |number| Input::Forget(number, pair, what)).await?;
        Ok(told.contacts.into_iter().next().map(|record| record.contact))
    }

    /// Sends a trial, and says what became of it.
    ///
    /// # Errors
    /// That is not known in time.
    pub async fn attempt(&self, trial: Trial) -> Result<Tried, String> {
        let Inner { post, outside, .. } = &*self.inner;
        let (shard, patience, late) = match &trial {
            Trial::Message { from, .. } => {
                (owner_of_user(from.bare_str(), post.shards()), MESSAGE_PATIENCE, "the message still waits")
            }
            Trial::Ping { to, .. } => {
                (owner_of_domain(to.as_str(), post.shards()), PING_PATIENCE, "it was sent, and not answered")
            }
        };
        let make = |number| Input::Try(number, Box::new(trial));
        let told = outside.questions.put_within(patience, post, shard, make).await;
        match told.map(|told| told.tried) {
            Ok(Some(tried)) => Ok(tried),
            _ => Err(format!("{late} after {} seconds", patience.as_secs())),
        }
    }

    /// A copy of the configuration in use.
    pub fn config(&self) -> Config {
        self.state().config.clone()
    }

    async fn question(&self, local: &str, make: impl FnOnce(u64) -> Input) -> Result<Told, String> {
        let Inner { post, outside, .. } = &*self.inner;
        outside.questions.put(post, owner_of_user(local, post.shards()), make).await
    }

    /// Stops in order: no new connections, streams end after what is queued, then the shards leave.
    pub async fn drain(&self) -> Drained {
        self.inner.draining.send_replace(true);
        // Else the kernel would go on to let in whom nobody answers.
        let closing = self.listening().close();
        for listener in closing {
            // Whoever was let in by now is known to a shard before that is told to drain.
            listener.ended().await;
        }
        for shard in 0..self.inner.post.shards() {
            self.inner.post.send(shard, Mail::Control(Input::Drain)).await;
        }
        let patience = Duration::from_secs(self.state().config.engine.drain_seconds);
        if let Some(drained) = self.inner.drained.lock().await.take() {
            // Whether in time or not, the counters say what is left.
            drop(tokio::time::timeout(patience, drained).await);
        }
        // The last bytes and close_notify leave after the shards said so.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let left = self.published().iter().map(|shard| shard.tally.held).sum();
        for shard in 0..self.inner.post.shards() {
            self.inner.post.send(shard, Mail::Stop).await;
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
                tracing::error!(event = "shard.lost", "a shard's thread could not be joined");
            }
        }
        // What the shards gave it last is in its queue by now.
        let store = self.inner.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = store
            && tokio::task::spawn_blocking(move || store.stop()).await.is_err()
        {
            tracing::error!(event = "store.lost", "the store could not be stopped");
        }
        let spool = self.inner.spool.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(spool) = spool
            && tokio::task::spawn_blocking(move || spool.stop()).await.is_err()
        {
            tracing::error!(event = "spool.lost", "the spool could not be stopped");
        }
        self.inner.stopped.send_replace(true);
        Drained { left }
    }

    async fn command<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
    ) -> Result<T, String> {
        let (done, result) = oneshot::channel();
        self.send(make(done)).await?;
        result.await.map_err(|_| gone())?
    }

    async fn send(&self, command: Command) -> Result<(), String> {
        self.inner.commands.send(command).await.map_err(|_| gone())
    }

    fn listening(&self) -> std::sync::MutexGuard<'_, Listening> {
        self.inner.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells every shard what it remembers of stanzas.
async fn trace_by(post: &Post, rules: &Arc<TraceRules>) {
    for shard in 0..post.shards() {
        post.send(shard, Mail::Control(Input::Trace(Arc::clone(rules)))).await;
    }
}

fn gone() -> String {
    "the router is stopping".to_owned()
}

/// Ends the process when the thread that holds it panics. A router that goes on without one of its shards looks healthy from
/// outside and swallows what is given to that shard; one that is started anew does not.
pub(crate) struct LastWords(pub(crate) &'static str);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "turnout: {} panicked (see above): aborting, so that the process is started anew",
                self.0
            );
            std::process::abort();
        }
    }
}

/// Does what takes long on a thread that may block, away from shards and control plane.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::{LastWords, random_bytes};

    #[test]
    fn every_start_has_a_secret_of_its_own() {
        // B-21: dialback keys and stream ids are made from these; a few that differ say at least that they are no constant.
        let made: std::collections::BTreeSet<[u8; 32]> = (0..100).map(|_| random_bytes().unwrap()).collect();
        assert_eq!(made.len(), 100);
        assert!((0..32).all(|at| made.iter().any(|bytes| bytes[at] != made.first().unwrap()[at])));
    }

    /// Runs itself once more, in a process of its own that may die.
    #[test]
    fn a_panic_of_a_shard_ends_the_process() {
        const CHILD: &str = "TURNOUT_TEST_PANIC";
        const NAME: &str = "router::tests::a_panic_of_a_shard_ends_the_process";
        if std::env::var_os(CHILD).is_some() {
            let thread = std::thread::spawn(|| {
                let _last = LastWords("a test");
                panic!("on purpose");
            });
            assert!(thread.join().is_ok(), "unreachable: the process has ended");
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(6), "SIGABRT: {text}");
        assert!(text.contains("a test panicked"), "{text}");
    }
}
