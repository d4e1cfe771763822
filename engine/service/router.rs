//! The running router: shards on their threads, listeners, control task, and the handle the admin API and the command line use.
//! Invariant: [`Router::start`] either brings everything up or nothing; [`Router::drain`] returns when every accepted stanza has
//! found its end or the configured time is up, and says which.

mod threads;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{oneshot, watch};
use turnout_core::contact::{Contact, Pair};
use turnout_core::contacts::Forget;
use turnout_core::directory::{Directory, Overlay, Snapshot, User, diff, guard};
use turnout_core::io::{Input, Told};
use turnout_core::jid::Jid;
use turnout_core::placement::owner_of_user;
use turnout_core::world::World;

use crate::config::Config;
use crate::control::{Command, Control, Moved, SharedDirectory, commands, current};
use crate::directory::meter::Audience;
use crate::driver::Kind;
use crate::listen::{self, Bound};
use crate::mail::{Mail, Post, post_office};
use crate::outside::{Outside, Published, Report};
use crate::resolve::Resolver;
use crate::spool::meter::{Meter as SpoolMeter, SpoolLook};
use crate::spool::{self, SpoolStore};
use crate::store::file::ContactFile;
use crate::store::meter::{Meter, StoreLook};
use crate::store::outlet::Delivery;
use crate::store::{self, Store};
use crate::tls::TlsContext;

pub use threads::MakeBackend;
#[cfg(test)]
pub(crate) use threads::backends;
pub(crate) use threads::standard_backend;
use threads::{random_bytes, spawn_shards};

/// Users an overlay may hold: moves not yet seen in the directory source.
const OVERLAY_MAX: usize = 1_000_000;

/// Reports that may wait for the control task.
const REPORTS_MAX: usize = 4096;

/// What came of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Stanzas that had found no end when the time was up.
    pub left: u64,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// The new generation of the configuration.
    pub generation: u64,
    /// Users in the directory.
    pub users: usize,
    /// The move that followed from changed homes.
    pub moved: Moved,
}

struct State {
    config: Config,
    world: Arc<World>,
    directory_loaded_unix: u64,
}

struct Inner {
    post: Post,
    outside: Arc<Outside>,
    directory: SharedDirectory,
    commands: Sender<Command>,
    state: Mutex<State>,
    generation: AtomicU64,
    secret: Arc<[u8]>,
    /// One reload at a time: two would mix what each of them swaps in.
    reloading: tokio::sync::Mutex<()>,
    driver: Kind,
    stop_listening: watch::Sender<bool>,
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
    addresses: Vec<(String, SocketAddr)>,
    started_unix: u64,
}

/// A handle to the running router.
#[derive(Clone)]
pub struct Router {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("addresses", &self.inner.addresses).finish_non_exhaustive()
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
        let secret = config.dialback_secret(random_bytes()?).map_err(|errors| errors.to_string())?;
        let world = Arc::new(config.world(1, Arc::clone(&secret)).map_err(|errors| errors.to_string())?);
        let tls = Arc::new(TlsContext::load(&config).map_err(|errors| errors.to_string())?);
        let resolver = Resolver::new(&config.dns_servers)?;
        let driver = Kind::choose(config.engine.driver).map_err(|error| format!("engine.driver: {error}"))?;
        let snapshot = apart({
            let config = config.clone();
            move || load_directory(&config, Audience::Start)
        })
        .await?;
        let (contacts, waiting) = apart({
            let (store, spool) = (config.store.clone(), config.spool.clone());
            move || Ok((store::open(store.as_deref())?, spool::open(spool.as_ref())?))
        })
        .await?;
        let bound = listen::bind(&config)?;
        let addresses =
            bound.iter().filter_map(|bound| Some((bound.name.clone(), bound.address()?))).collect::<Vec<_>>();

        let shards = config.shards();
        let (post, boxes) = post_office(shards);
        let (reports, reported) = channel(REPORTS_MAX);
        let (to_store, stored) = store::queue();
        let (to_spool, spooled) = spool::queue();
        let outside = Outside::new(Handle::current(), tls, resolver, reports, shards)
            .with_store(contacts.as_ref().map(|_| to_store))
            .with_spool(waiting.as_ref().map(|_| to_spool));
        let outside = Arc::new(outside);
        let directory = Directory::new(snapshot, Arc::new(Overlay::new(OVERLAY_MAX)));
        let threads = spawn_shards(driver, &world, &directory, &post, &outside, boxes, make)?;
        // Contacts come by the same mail as connections, and before the first of these.
        let store = start_store(contacts, stored, &post).await?;
        // What waited follows them.
        let spool = start_spool(waiting, spooled, &post, &world, &directory).await?;

        let directory: SharedDirectory = Arc::new(Mutex::new(directory));
        let (commands, commanded) = commands();
        let (all_drained, drained) = oneshot::channel();
        let control = Control::new(post.clone(), Arc::clone(&directory), all_drained);
        tokio::spawn(run_control(control, commanded, reported));
        let (stop_listening, stop) = watch::channel(false);
        for bound in bound {
            spawn_listener(bound, &post, &stop);
        }
        let now = crate::clock::unix_seconds();
        let state = State { config, world, directory_loaded_unix: now };
        Ok(Self {
            inner: Arc::new(Inner {
                post,
                outside,
                directory,
                commands,
                state: Mutex::new(state),
                generation: AtomicU64::new(1),
                secret,
                reloading: tokio::sync::Mutex::new(()),
                driver,
                stop_listening,
                draining: watch::channel(false).0,
                stopped: watch::channel(false).0,
                drained: tokio::sync::Mutex::new(Some(drained)),
                threads: Mutex::new(threads),
                store_meter: store.as_ref().map(|store| Arc::clone(store.meter())),
                store: Mutex::new(store),
                spool_meter: spool.as_ref().map(|spool| Arc::clone(spool.meter())),
                spool: Mutex::new(spool),
                addresses,
                started_unix: now,
            }),
        })
    }

    /// The configuration in use.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.state().world)
    }

    /// The users.
    pub fn directory(&self) -> Directory {
        current(&self.inner.directory)
    }

    /// When the directory was loaded, in seconds since 1970.
    pub fn directory_loaded_unix(&self) -> u64 {
        self.state().directory_loaded_unix
    }

    /// When the router started, in seconds since 1970.
    pub fn started_unix(&self) -> u64 {
        self.inner.started_unix
    }

    /// Listening addresses by configuration key, with the ports the kernel chose.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.inner.addresses
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
        let Some((home, _)) = world.homes.by_name(home) else {
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
            return Ok(Moved { users: 0, in_time: true, held_millis: 0 });
        }
        self.command(|done| Command::Move(changes, done)).await
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

    async fn question(&self, local: &str, make: impl FnOnce(u64) -> Input) -> Result<Told, String> {
        let Inner { post, outside, .. } = &*self.inner;
        outside.questions.put(post, owner_of_user(local, post.shards()), make).await
    }

    /// Reads configuration and directory again and swaps them in; nothing changes when anything is wrong.
    ///
    /// # Errors
    /// Everything that is wrong, or what cannot change without a restart.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let _alone = self.inner.reloading.lock().await;
        let old = self.state().config.clone();
        let config = old.reread().map_err(|errors| errors.to_string())?;
        if let Some(what) = needs_restart(&old, &config) {
            return Err(format!("{what} cannot change while the router runs; restart it"));
        }
        let generation = self.inner.generation.load(Ordering::Relaxed) + 1;
        // A new file gives a new secret; without one the secret made at the start goes on, or every key under way would fail.
        let secret = match &config.federation.dialback_secret_file {
            Some(_) => config.dialback_secret(random_bytes()?).map_err(|errors| errors.to_string())?,
            None => Arc::clone(&self.inner.secret),
        };
        let world = Arc::new(config.world(generation, secret).map_err(|errors| errors.to_string())?);
        let tls = Arc::new(TlsContext::load(&config).map_err(|errors| errors.to_string())?);
        let resolver = Resolver::new(&config.dns_servers)?;
        let (snapshot, names) = apart({
            let (config, old) = (config.clone(), self.directory());
            move || load_anew(&config, old.snapshot())
        })
        .await?;

        self.inner.outside.swap(tls, resolver);
        let (done, changed) = oneshot::channel();
        self.send(Command::World(Arc::clone(&world), done)).await?;
        changed.await.map_err(|_| gone())?;
        let users = snapshot.len();
        let moved = self.command(|done| Command::Snapshot(snapshot, names, done)).await?;
        self.inner.generation.store(generation, Ordering::Relaxed);
        *self.state() = State { config, world, directory_loaded_unix: crate::clock::unix_seconds() };
        Ok(Reloaded { generation, users, moved })
    }

    /// Stops in order: no new connections, streams end after what is queued, then the shards leave.
    pub async fn drain(&self) -> Drained {
        self.inner.draining.send_replace(true);
        self.inner.stop_listening.send_replace(true);
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
                tracing::error!("a shard's thread could not be joined");
            }
        }
        // What the shards gave it last is in its queue by now.
        let store = self.inner.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = store
            && tokio::task::spawn_blocking(move || store.stop()).await.is_err()
        {
            tracing::error!("the store could not be stopped");
        }
        let spool = self.inner.spool.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(spool) = spool
            && tokio::task::spawn_blocking(move || spool.stop()).await.is_err()
        {
            tracing::error!("the spool could not be stopped");
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

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> String {
    "the router is stopping".to_owned()
}

async fn run_control(control: Control, commands: Receiver<Command>, reports: Receiver<Report>) {
    let _last = LastWords("the control task");
    control.run(commands, reports).await;
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

/// Gives the shards what the store knows and starts its thread. A shard that has begun is stopped again where that fails.
async fn start_store(
    contacts: Option<ContactFile>,
    stored: std::sync::mpsc::Receiver<Delivery>,
    post: &Post,
) -> Result<Option<Store>, String> {
    let Some(contacts) = contacts else { return Ok(None) };
    let started = apart({
        let post = post.clone();
        move || Store::start(contacts, stored, &post)
    })
    .await;
    if started.is_err() {
        for shard in 0..post.shards() {
            post.send(shard, Mail::Stop).await;
        }
    }
    started.map(Some)
}

/// As [`start_store`], for the spool.
async fn start_spool(
    waiting: Option<spool::Ready>,
    spooled: std::sync::mpsc::Receiver<spool::outlet::Delivery>,
    post: &Post,
    world: &Arc<World>,
    directory: &Directory,
) -> Result<Option<SpoolStore>, String> {
    let Some(waiting) = waiting else { return Ok(None) };
    let started = apart({
        let (post, world, directory) = (post.clone(), Arc::clone(world), directory.clone());
        move || SpoolStore::start(waiting, spooled, &post, &world, &directory)
    })
    .await;
    if started.is_err() {
        for shard in 0..post.shards() {
            post.send(shard, Mail::Stop).await;
        }
    }
    started.map(Some)
}

fn spawn_listener(bound: Bound, post: &Post, stop: &watch::Receiver<bool>) {
    tokio::spawn(listen::accept(bound, post.clone(), stop.clone()));
}

/// What a reload cannot change.
fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    let homes = |config: &Config| -> Vec<_> {
        config
            .home_configs
            .iter()
            .map(|home| (home.name.clone(), home.backend, home.dialect, home.listen))
            .collect()
    };
    if homes(old) != homes(new) {
        return Some("the set of homes, their backend, dialect or listen address");
    }
    let listens = |config: &Config| (config.federation.listen.clone(), config.federation.listen_tls.clone());
    if listens(old) != listens(new) {
        return Some("federation.listen and federation.listen_tls");
    }
    if old.policy.limits().connections_max != new.policy.limits().connections_max {
        return Some("federation.connections_max");
    }
    if old.federation.connections_per_address_max != new.federation.connections_per_address_max {
        return Some("federation.connections_per_address_max");
    }
    if old.shards() != new.shards() || old.engine.driver != new.engine.driver {
        return Some("engine.shards and engine.driver");
    }
    if old.store != new.store {
        return Some("presence.store");
    }
    if old.spool != new.spool {
        return Some("the table spool");
    }
    (old.admin_listen != new.admin_listen).then_some("admin.listen")
}

/// Does what takes long on a thread that may block, away from shards and control plane.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Reads the users. Blocks.
fn load_directory(config: &Config, audience: Audience) -> Result<Arc<Snapshot>, String> {
    let (snapshot, report) = crate::directory::load(config, audience)?;
    tracing::info!(
        users = report.users,
        rows = report.rows,
        skipped = report.skipped_rows,
        bytes = snapshot.memory_bytes(),
        "directory loaded"
    );
    for skipped in &report.skipped {
        tracing::warn!(line = skipped.line, "directory: row skipped: {}", crate::log::escape(&skipped.why));
    }
    Ok(Arc::new(snapshot))
}

/// Reads the users again and names those whose home has changed; refused when too much has. Blocks.
fn load_anew(config: &Config, old: &Snapshot) -> Result<(Arc<Snapshot>, Vec<Arc<str>>), String> {
    let snapshot = load_directory(config, Audience::Log)?;
    guard(old, &snapshot, config.directory.shrink_percent_max)
        .map_err(|refusal| format!("directory.shrink_percent_max: {refusal}"))?;
    let mut names = Vec::new();
    diff(old, &snapshot, |change| names.push(change.bare.into()));
    Ok((snapshot, names))
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
