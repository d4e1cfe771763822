//! Reading everything anew. Invariant: what is new is complete before anything is swapped, so a reload happens as a whole or not at all;
//! a preview does the same work up to that point and answers what would change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use turnout_core::directory::{Change, Snapshot};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::Side;
use turnout_core::world::World;

use super::threads::more_backends;
use super::{Router, apart, gone, random_bytes, users};
use crate::access::Access;
use crate::config::{Config, KeyChange};
use crate::control::{Command, Moved};
use crate::directory::source::{Loaded, Source};
use crate::resolve::Resolver;
use crate::tls::TlsContext;
use crate::tls::admin::AdminKey;
use crate::tls::shown::{Shown, shown};

/// Keys told in a diff.
const KEYS_MAX: usize = 500;

/// Users told in a diff.
const USERS_MAX: usize = 100;

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// The new generation of the configuration.
    pub generation: u64,
    /// Users in the directory.
    pub users: usize,
    /// The move that followed from changed homes.
    pub moved: Moved,
    /// What is different now.
    pub diff: ReloadDiff,
}

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReloadDiff {
    /// Keys of the configuration, the first so many.
    pub keys: Vec<KeyChange>,
    /// How many keys differ.
    pub keys_total: u64,
    /// Certificates that are others than before, or new or gone.
    pub certificates: Vec<CertificateChange>,
    /// Users who are new in the directory.
    pub users_added: u64,
    /// Users who are no longer in it.
    pub users_removed: u64,
    /// Users whose home is another one.
    pub users_moved: u64,
    /// Some of them.
    pub users: Vec<UserChange>,
    /// What cannot change while the router runs, and so stands against the reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_restart: Option<String>,
}

/// A user whose place changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserChange {
    /// The bare address.
    pub user: String,
    /// The home, or another place, he had; absent for a new one.
    pub before: Option<String>,
    /// That he will have; absent where he is gone.
    pub after: Option<String>,
}

/// A certificate that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CertificateChange {
    /// The file.
    pub file: String,
    /// When the old one ends, in seconds since 1970.
    pub before_not_after_unix: Option<i64>,
    /// When the new one ends.
    pub after_not_after_unix: Option<i64>,
}

/// Everything new, not yet in use.
struct Fresh {
    config: Config,
    /// Homes that are configured no more.
    gone: Vec<HomeId>,
    world: Arc<World>,
    tls: Arc<TlsContext>,
    resolver: Resolver,
    access: Access,
    admin_key: Option<Arc<CertifiedKey>>,
    certificates: Vec<Shown>,
    /// Where the users come from now on; absent where that is as before.
    source: Option<Source>,
    loaded: Loaded,
    changes: Changes,
}

/// Users whose place has changed.
#[derive(Default)]
pub(super) struct Changes {
    /// All of them.
    pub(super) names: Vec<Arc<str>>,
    /// Those who had a home and have another, by the new one.
    pub(super) moved: BTreeMap<String, u64>,
    added: u64,
    removed: u64,
    some: Vec<UserChange>,
    /// Users whose home is configured no more and whose pool nobody has taken over, and one of them.
    stranded: u64,
    one_stranded: Option<String>,
}

impl Router {
    /// Reads configuration and directory again and swaps them in; nothing changes when anything is wrong.
    ///
    /// # Errors
    /// Everything that is wrong, or what cannot change without a restart.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let mut place = self.inner.source.lock().await;
        let (diff, fresh) = self.prepare(&mut place).await?;
        let Some(fresh) = fresh else {
            let what = diff.needs_restart.unwrap_or_default();
            return Err(format!("{what} cannot change while the router runs; restart it"));
        };
        let Fresh { mut config, gone: homes_gone, world, tls, resolver, access, admin_key, .. } = fresh;
        let Fresh { certificates, source, loaded, changes, .. } = fresh;
        // What may fail comes before the first thing that is swapped.
        let listeners = self.listening().prepare(&config)?;
        let backends = more_backends(&world, self.world().homes.places())?;
        if source.is_some() {
            *place = source;
        }
        self.inner.outside.swap(tls, resolver);
        self.inner.access.store(Arc::new(access));
        self.inner.admin_key.set(admin_key);
        let (done, changed) = oneshot::channel();
        self.send(Command::World(Arc::clone(&world), backends, done)).await?;
        changed.await.map_err(|_| gone())?;
        // From here on nobody is moved to a home that is gone.
        self.state().world = Arc::clone(&world);
        let closing = self.listening().change(listeners, &config);
        for listener in closing {
            listener.ended().await;
        }
        let users = loaded.snapshot.len();
        let moved = self.take(&config, &loaded, changes).await?;
        if !homes_gone.is_empty() {
            let (done, retired) = oneshot::channel();
            self.send(Command::Retire(homes_gone, done)).await?;
            retired.await.map_err(|_| gone())?;
            config.part();
        }
        let generation = world.generation;
        self.inner.generation.store(generation, Ordering::Relaxed);
        let settled = match loaded.failing {
            None => users::settled(&config, &mut place).await,
            Some(_) => Ok(()),
        };
        {
            let mut state = self.state();
            state.config = config;
            state.certificates = Arc::new(certificates);
        }
        self.inner.reloaded.notify_waiters();
        settled?;
        Ok(Reloaded { generation, users, moved, diff })
    }

    /// What [`Router::reload`] would change.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub async fn preview(&self) -> Result<ReloadDiff, String> {
        let mut place = self.inner.source.lock().await;
        Ok(self.prepare(&mut place).await?.0)
    }

    /// What would change, and all that is new unless something stands against it.
    async fn prepare(&self, place: &mut Option<Source>) -> Result<(ReloadDiff, Option<Fresh>), String> {
        let (old, before) = {
            let state = self.state();
            (state.config.clone(), Arc::clone(&state.certificates))
        };
        let mut config = apart({
            let old = old.clone();
            move || old.reread().map_err(|errors| errors.to_string())
        })
        .await?;
        let keys = old.changes(&config);
        if let Some(what) = needs_restart(&old, &config) {
            // The directory would be read for nothing.
            let diff = ReloadDiff { needs_restart: Some(what.to_owned()), ..diff_of_keys(keys) };
            return Ok((diff, None));
        }
        let homes_gone = config.follow(&old)?;
        let generation = self.inner.generation.load(Ordering::Relaxed) + 1;
        // A new file gives a new secret; without one the secret made at the start goes on, or every key under way would fail.
        let secret = match &config.federation.dialback_secret_file {
            Some(_) => config.dialback_secret(random_bytes()?).map_err(|errors| errors.to_string())?,
            None => Arc::clone(&self.inner.secret),
        };
        let world = Arc::new(config.world(generation, secret).map_err(|errors| errors.to_string())?);
        let tls = Arc::new(TlsContext::load(&config).map_err(|errors| errors.to_string())?);
        let resolver = Resolver::new(&config.dns_servers)?;
        let (access, admin_key, certificates) = apart({
            let config = config.clone();
            move || Ok((Access::load(&config.admin)?, AdminKey::read(&config.admin)?, shown(&config)))
        })
        .await?;
        let (source, loaded, changes) = self.read_anew(&config, &world, place).await?;
        self.nobody_is_left(&world, &loaded, &changes)?;
        let diff = ReloadDiff {
            certificates: changed_certificates(&before, &certificates),
            users_added: changes.added,
            users_removed: changes.removed,
            users_moved: changes.moved.values().sum(),
            users: changes.some.clone(),
            ..diff_of_keys(keys)
        };
        Ok((
            diff,
            Some(Fresh {
                config,
                gone: homes_gone,
                world,
                tls,
                resolver,
                access,
                admin_key,
                certificates,
                source,
                loaded,
                changes,
            }),
        ))
    }
}

impl Router {
    /// A home goes when nobody lives there.
    fn nobody_is_left(&self, world: &World, loaded: &Loaded, changes: &Changes) -> Result<(), String> {
        let homes_gone = world.homes.gone();
        let names = || {
            let names: Vec<&str> = homes_gone.iter().map(|home| world.side_name(Side::Home(*home))).collect();
            names.join(", ")
        };
        let cure = "move them first, or have another home name their pool";
        if let Some(one) = &changes.one_stranded {
            let users = changes.stranded;
            return Err(format!(
                "the directory still has {users} users, {one} among them, on homes that are not configured any more ({}); {cure}",
                names()
            ));
        }
        let counted =
            homes_gone.iter().filter_map(|home| loaded.report.homes.get(usize::from(home.0))).sum::<u64>();
        let mut by_name = 0_u64;
        let directory = self.directory();
        directory.overlay().for_each(|_, user| {
            by_name +=
                u64::from(matches!(user.residence, Residence::Home(home) if world.homes.is_gone(home)));
        });
        match (counted, by_name) {
            (0, 0) => Ok(()),
            _ => Err(format!(
                "{counted} users of the directory and {by_name} who were moved by name live on homes that are not configured any more ({}); {cure}",
                names()
            )),
        }
    }
}

fn diff_of_keys(mut keys: Vec<KeyChange>) -> ReloadDiff {
    let keys_total = keys.len() as u64;
    keys.truncate(KEYS_MAX);
    ReloadDiff { keys, keys_total, ..ReloadDiff::default() }
}

fn changed_certificates(before: &[Shown], after: &[Shown]) -> Vec<CertificateChange> {
    let find = |all: &[Shown], file: &std::path::Path| all.iter().find(|shown| shown.file == file).cloned();
    let mut files: Vec<&std::path::Path> = before.iter().chain(after).map(|shown| &*shown.file).collect();
    files.sort_unstable();
    files.dedup();
    let changed = files.into_iter().filter_map(|file| {
        let (before, after) = (find(before, file), find(after, file));
        let facts =
            |shown: &Option<Shown>| shown.as_ref().map(|shown| (shown.not_after_unix, shown.spki_sha256));
        (facts(&before) != facts(&after)).then(|| CertificateChange {
            file: file.display().to_string(),
            before_not_after_unix: before.map(|shown| shown.not_after_unix),
            after_not_after_unix: after.map(|shown| shown.not_after_unix),
        })
    });
    changed.collect()
}

/// What a reload cannot change.
fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    if old.flow.room.home_connections != new.flow.room.home_connections {
        return Some("limits.home_connections_max");
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
    if (old.log.redacted, &old.log.key_file) != (new.log.redacted, &new.log.key_file) {
        return Some("engine.log_users and engine.log_users_key_file");
    }
    let admin = |config: &Config| (config.admin.listen, config.admin.identity.is_some());
    (admin(old) != admin(new)).then_some("admin.listen, and whether it speaks TLS,")
}

impl Changes {
    /// One more. Before and after, each as its configuration names it.
    pub(super) fn take(&mut self, change: &Change<'_>, old: (&World, &Snapshot), new: (&World, &Snapshot)) {
        self.names.push(change.bare.into());
        let before = change.before.map(|residence| place(residence, old));
        let after = change.after.map(|residence| place(residence, new));
        match (change.before, change.after) {
            (None, _) => self.added += 1,
            (_, None) => self.removed += 1,
            _ => *self.moved.entry(after.clone().unwrap_or_default()).or_default() += 1,
        }
        if let (Some(Residence::Home(home)), Some(Residence::UnknownPool(_))) = (change.before, change.after)
            && new.0.homes.is_gone(home)
        {
            self.stranded += 1;
            self.one_stranded.get_or_insert_with(|| change.bare.to_owned());
        }
        if self.some.len() < USERS_MAX {
            self.some.push(UserChange { user: change.bare.to_owned(), before, after });
        }
    }
}

/// Where a user lives, in words.
fn place(residence: Residence, (world, snapshot): (&World, &Snapshot)) -> String {
    match residence {
        Residence::Home(home) => world.side_name(Side::Home(home)).to_owned(),
        Residence::Cloud => "cloud".to_owned(),
        Residence::Unassigned => "no pool".to_owned(),
        Residence::Branch => "branch appliance".to_owned(),
        Residence::UnknownPool(pool) => snapshot.pool_name(pool).unwrap_or("unknown pool").to_owned(),
    }
}
