//! The start of the router, in two steps. Invariant: the first, [`Prepared::new`], does all that may fail for a mistake of the operator's
//! and touches nothing that a process which runs already owns; so it can be made while that one still carries traffic. The second,
//! [`Prepared::start`], opens the store and the spool and begins.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::{Notify, oneshot, watch};
use turnout_core::directory::{Directory, Overlay};
use turnout_core::trace::TraceRules;
use turnout_core::world::World;

use super::ledger::Ledger;
use super::threads::{MakeBackend, random_bytes, spawn_shards};
use super::{Inner, LastWords, Router, State, apart, trace_by, users};
use crate::access::Access;
use crate::config::Config;
use crate::control::{Command, Control, SharedDirectory, commands};
use crate::desk;
use crate::directory::source::{Loaded, Source};
use crate::directory::standing::Standing;
use crate::driver::Kind;
use crate::handover::Sockets;
use crate::listen::{self, Bound, Limits, Listening};
use crate::mail::{Mail, Post, post_office};
use crate::outside::{Outside, Report};
use crate::resolve::Resolver;
use crate::spool::folder::Folder;
use crate::spool::{self, Durable, SpoolStore};
use crate::store::file::ContactFile;
use crate::store::outlet::Delivery;
use crate::store::{self, Store};
use crate::tls::TlsContext;
use crate::tls::admin::AdminKey;
use crate::tls::shown::{Shown, shown};

/// Users an overlay may hold: moves not yet seen in the directory source.
const OVERLAY_MAX: usize = 1_000_000;

/// Reports that may wait for the control task.
const REPORTS_MAX: usize = 4096;

/// A router that is ready to begin.
pub struct Prepared {
    config: Config,
    secret: Arc<[u8]>,
    world: Arc<World>,
    tls: Arc<TlsContext>,
    resolver: Resolver,
    driver: Kind,
    source: Source,
    loaded: Loaded,
    access: Arc<ArcSwap<Access>>,
    admin_key: Arc<AdminKey>,
    certificates: Arc<Vec<Shown>>,
    limits: Limits,
    bound: Vec<Bound>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Reads and binds everything a configuration names; sockets that came with the process are taken for what they were bound for.
    ///
    /// # Errors
    /// What could not be set up, where, and what to do.
    pub async fn new(config: Config, sockets: &mut Sockets) -> Result<Self, String> {
        let secret = config.dialback_secret(random_bytes()?).map_err(|errors| errors.to_string())?;
        let world = Arc::new(config.world(1, Arc::clone(&secret)).map_err(|errors| errors.to_string())?);
        let tls = Arc::new(TlsContext::load(&config).map_err(|errors| errors.to_string())?);
        let resolver = Resolver::new(&config.dns_servers)?;
        let driver = Kind::choose(config.engine.driver).map_err(|error| format!("engine.driver: {error}"))?;
        let (access, admin_key, certificates) = apart({
            let config = config.clone();
            move || Ok((Access::load(&config.admin)?, AdminKey::read(&config.admin)?, shown(&config)))
        })
        .await?;
        let (access, admin_key) = (ArcSwap::from_pointee(access), AdminKey::new(admin_key));
        let (source, loaded) = users::first(&config).await?;
        if sockets.are_of_predecessor() {
            // It has them still: what cannot be used is to be found before it lets go.
            let (store, spool) = (config.store.clone(), config.spool.clone());
            apart(move || inspect(store.as_deref(), spool.as_ref())).await?;
        }
        let limits = Limits::of(&config);
        let bound = listen::bind(&config, &limits, sockets)?;
        Ok(Self {
            config,
            secret,
            world,
            tls,
            resolver,
            driver,
            source,
            loaded,
            access: Arc::new(access),
            admin_key: Arc::new(admin_key),
            certificates: Arc::new(certificates),
            limits,
            bound,
        })
    }

    /// Whether the admin listener may be served at that address.
    ///
    /// # Errors
    /// As [`desk::guard`].
    pub fn guard_admin(&self, address: SocketAddr) -> Result<(), String> {
        desk::guard(&self.access, &self.admin_key, address).map(drop)
    }

    /// Opens the store and the durable spool and starts the shards, on the current tokio runtime and one thread a shard.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub async fn start(self, make: &MakeBackend) -> Result<Router, String> {
        let Self { config, secret, world, tls, resolver, driver, source, loaded, .. } = self;
        let Self { access, admin_key, certificates, limits, bound, .. } = self;
        let (contacts, waiting) = apart({
            let (store, spool) = (config.store.clone(), config.spool.clone());
            move || Ok((store::open(store.as_deref())?, spool::open(spool.as_ref())?))
        })
        .await?;
        let bound = listen::Ready::new(bound)?;

        let shards = config.shards();
        let (post, boxes) = post_office(shards);
        let (reports, reported) = channel(REPORTS_MAX);
        let (to_store, stored) = store::queue();
        let (to_spool, spooled) = spool::queue();
        let outside = Outside::new(Handle::current(), tls, resolver, reports, shards)
            .with_store(contacts.as_ref().map(|_| to_store.clone()))
            .with_spool(waiting.as_ref().map(|_| to_spool));
        let outside = Arc::new(outside);
        let directory = Directory::new(Arc::clone(&loaded.snapshot), Arc::new(Overlay::new(OVERLAY_MAX)));
        let memory = users::remember(contacts.as_ref(), to_store, &directory, &world.homes)?;
        let threads = spawn_shards(driver, &world, &directory, &post, &outside, boxes, make)?;
        let rules = Arc::new(TraceRules { mode: config.admin.trace, only: Vec::new() });
        trace_by(&post, &rules).await;
        // Contacts come by the same mail as connections, and before the first of these.
        let store = start_store(contacts, stored, &post).await?;
        // What waited follows them.
        let spool = start_spool(waiting, spooled, &post, &world, &directory).await?;

        let directory: SharedDirectory = Arc::new(Mutex::new(directory));
        let (commands, commanded) = commands();
        let (all_drained, drained) = oneshot::channel();
        let control = Control::new(post.clone(), Arc::clone(&directory), all_drained, memory);
        tokio::spawn(run_control(control, commanded, reported));
        let mut listening = Listening::new(post.clone(), limits);
        listening.open(bound);
        let mut standing = Standing::default();
        standing.took(config.directory.source.as_str(), &loaded);
        let state = State { config, world, certificates, standing };
        let inner = Inner {
            post,
            outside,
            directory,
            commands,
            state: Mutex::new(state),
            generation: AtomicU64::new(1),
            secret,
            access,
            admin_key,
            trace: Mutex::new(rules),
            ledger: Ledger::default(),
            stop_asked: watch::channel(false).0,
            source: tokio::sync::Mutex::new(Some(source)),
            reloaded: Notify::new(),
            driver,
            draining: watch::channel(false).0,
            stopped: watch::channel(false).0,
            drained: tokio::sync::Mutex::new(Some(drained)),
            threads: Mutex::new(threads),
            store_meter: store.as_ref().map(|store| Arc::clone(store.meter())),
            store: Mutex::new(store),
            spool_meter: spool.as_ref().map(|spool| Arc::clone(spool.meter())),
            spool: Mutex::new(spool),
            listening: Mutex::new(listening),
            started_unix: crate::clock::unix_seconds(),
        };
        let router = Router { inner: Arc::new(inner) };
        tokio::spawn(router.clone().follow());
        Ok(router)
    }
}

/// Looks at what is on disk, and changes nothing there. Blocks.
fn inspect(store: Option<&Path>, spool: Option<&Durable>) -> Result<(), String> {
    if let Some(path) = store {
        ContactFile::inspect(path).map_err(|error| format!("presence.store: {error}"))?;
    }
    if let Some(durable) = spool {
        Folder::inspect(&durable.path).map_err(|error| format!("spool.path: {error}"))?;
    }
    Ok(())
}

async fn run_control(control: Control, commands: Receiver<Command>, reports: Receiver<Report>) {
    let _last = LastWords("the control task");
    control.run(commands, reports).await;
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
