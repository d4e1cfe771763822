//! The users: following their source, and what becomes of what it says. Invariant: one at a time reads the source, and what it says
//! comes into use by one way: not too much of it has changed, and whoever changes homes is moved as by hand.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::oneshot;
use turnout_core::directory::{Directory, Snapshot, diff, guard};
use turnout_core::home::Homes;

use super::{Router, gone};
use crate::config::Config;
use crate::control::{Command, Moved};
use crate::directory::meter::Audience;
use crate::directory::source::{Loaded, Polled, Source};
use crate::directory::standing::Standing;
use crate::store::file::ContactFile;
use crate::store::moves::{MoveOutlet, restore};
use crate::store::outlet::Delivery;

/// How often it is looked whether a pool did not know a user whom the directory says it has; so often at most does that make us ask
/// the source.
const STRAYS_EVERY: Duration = Duration::from_secs(5);

/// Does what may take long, or for ever, on a thread of its own: the end of the process does not wait for it.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, result) = oneshot::channel();
    let thread =
        std::thread::Builder::new().name("directory".to_owned()).spawn(move || drop(done.send(work())));
    thread.map_err(|error| format!("the directory: no thread: {error}"))?;
    result.await.map_err(|_| "reading the directory broke off; the log says why".to_owned())
}

/// Reads the users at the start.
pub(super) async fn first(config: &Config) -> Result<(Source, Loaded), String> {
    let config = config.clone();
    let (source, loaded) = aside(move || Source::start(&config, Audience::Start)).await??;
    tell(&loaded);
    Ok((source, loaded))
}

/// Says in the log what was found.
fn tell(loaded: &Loaded) {
    let report = &loaded.report;
    if let Some(why) = &loaded.failing {
        tracing::error!(
            users = report.users,
            confirmed_unix = loaded.confirmed_unix,
            from_disk = loaded.from_disk,
            "the directory cannot be used, so its users are those of the last good load: {why}"
        );
    } else {
        tracing::info!(
            users = report.users,
            rows = report.rows,
            skipped = report.skipped_rows,
            moving = report.moving,
            server = loaded.server.as_deref(),
            bytes = loaded.snapshot.memory_bytes(),
            "directory loaded"
        );
    }
    for skipped in &report.skipped {
        let place = crate::log::escape(&skipped.place.to_string());
        tracing::warn!("directory: {place} skipped: {}", crate::log::escape(&skipped.why));
    }
    for note in &loaded.notes {
        tracing::warn!("directory: {}", crate::log::escape(note));
    }
}

/// A directory that is away keeps no other change of the configuration from being made: where the source is the same one, its users go on as they
/// are known.
fn go_on(
    known: Option<&Source>,
    (before, config): (&Config, &Config),
    standing: &Standing,
    why: String,
) -> Result<Loaded, String> {
    let Some(users) = known.and_then(|known| known.known(before, config)) else { return Err(why) };
    let mut loaded = users?;
    loaded.confirmed_unix = standing.confirmed_unix;
    loaded.from_disk = standing.from_disk;
    loaded.server.clone_from(&standing.server);
    loaded.failing = Some(why);
    Ok(loaded)
}

/// Names those whose home has changed; refused when too much has.
fn judge(config: &Config, old: &Snapshot, new: &Snapshot) -> Result<Vec<Arc<str>>, String> {
    guard(old, new, config.directory.shrink_percent_max)
        .map_err(|refusal| format!("directory.shrink_percent_max: {refusal}"))?;
    let mut names = Vec::new();
    diff(old, new, |change| names.push(change.bare.into()));
    Ok(names)
}

/// Puts the moves by name that the store remembers over the source's users, before anybody sees these. Without a store there is nothing
/// to remember with.
pub(super) fn remember(
    file: Option<&ContactFile>,
    queue: SyncSender<Delivery>,
    directory: &Directory,
    homes: &Homes,
) -> Result<Option<MoveOutlet>, String> {
    let Some(file) = file else { return Ok(None) };
    let rows = file.moves().map_err(|error| format!("presence.store: {error}"))?;
    let mut outlet = MoveOutlet::new(queue);
    let forgotten = restore(&rows, directory.overlay(), directory.snapshot(), homes);
    for (bare, why) in &forgotten {
        tracing::info!(user = bare, "a move by name is forgotten: {why}");
        outlet.set(bare, None);
    }
    if !directory.overlay().is_empty() {
        tracing::info!(
            users = directory.overlay().len(),
            "users moved by name, whom the source does not show there yet"
        );
    }
    Ok(Some(outlet))
}

impl Router {
    /// How the directory does.
    pub fn standing(&self) -> Standing {
        self.state().standing.clone()
    }

    /// Reads the users for a new configuration; gives them with the names of those who change homes, for [`Router::take`]. The source
    /// goes to its place.
    pub(super) async fn read_anew(
        &self,
        config: &Config,
        place: &mut Option<Source>,
    ) -> Result<(Loaded, Vec<Arc<str>>), String> {
        let (before, standing) = {
            let state = self.state();
            (state.config.clone(), state.standing.clone())
        };
        let (config, old, known) = (config.clone(), self.directory(), place.take());
        let (source, read) = aside(move || {
            let (fresh, loaded) = match Source::load(&config, Audience::Log) {
                Ok((source, loaded)) => (Some(source), Ok(loaded)),
                Err(why) => (None, go_on(known.as_ref(), (&before, &config), &standing, why)),
            };
            let read = loaded.and_then(|loaded| {
                tell(&loaded);
                let names = judge(&config, old.snapshot(), &loaded.snapshot)?;
                Ok((loaded, names))
            });
            (if read.is_ok() { fresh.or(known) } else { known }, read)
        })
        .await?;
        *place = source;
        read
    }

    /// Takes users into use, and moves those whose home is another.
    pub(super) async fn take(
        &self,
        config: &Config,
        loaded: &Loaded,
        names: Vec<Arc<str>>,
    ) -> Result<Moved, String> {
        let snapshot = Arc::clone(&loaded.snapshot);
        let moved = self.command(|done| Command::Snapshot(snapshot, names, done)).await?;
        self.state().standing.took(config.directory.source.as_str(), loaded);
        Ok(moved)
    }

    /// Follows the source until the router has stopped.
    pub(super) async fn follow(self) {
        let mut stopped = self.stopped();
        let mut looked = crate::clock::now();
        let mut strays = 0;
        loop {
            let pause = Source::pause(&self.state().config);
            let tick = async {
                match pause {
                    Some(pause) => tokio::time::sleep_until((looked + pause).into()).await,
                    None => std::future::pending().await,
                }
            };
            let is_due = tokio::select! {
                () = tick => true,
                // Somebody was not where the directory has him (requirement 5): it is worth a look before its time.
                () = tokio::time::sleep(STRAYS_EVERY), if pause.is_some() => {
                    let found: u64 = self.published().iter().map(|shard| shard.tally.strays).sum();
                    let is_more = found > strays;
                    strays = found;
                    is_more
                }
                // The pause may be another one.
                () = self.inner.reloaded.notified() => false,
                changed = stopped.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
            };
            if *stopped.borrow() || self.is_draining() {
                return;
            }
            if is_due {
                self.look_at_source().await;
                looked = crate::clock::now();
            }
        }
    }

    async fn look_at_source(&self) {
        let mut place = self.inner.source.lock().await;
        let (config, was_failing) = {
            let state = self.state();
            (state.config.clone(), state.standing.failing.is_some())
        };
        let looked = self.look_with(&config, &mut place).await;
        let failed = match looked {
            Ok(confirmed) => {
                let mut state = self.state();
                state.standing.confirmed(confirmed);
                if was_failing && state.standing.failing.is_none() {
                    tracing::info!("the directory can be used again");
                }
                return;
            }
            Err(why) => why,
        };
        if self.state().standing.failed(&failed) {
            tracing::error!("the directory stays as it was: {failed}");
        }
    }

    /// Asks the source; whoever asks holds its place. Tells when it was known to be in agreement.
    async fn look_with(&self, config: &Config, place: &mut Option<Source>) -> Result<Option<u64>, String> {
        let Some(mut source) = place.take() else {
            return Err("the directory's source was lost; reload to read it anew".to_owned());
        };
        let (asked, old) = (config.clone(), self.directory());
        let (source, polled) = aside(move || {
            let polled = source.poll(&asked).and_then(|polled| {
                Ok(match polled {
                    Polled::Same(unix) => (Polled::Same(unix), Vec::new()),
                    Polled::New(loaded) => {
                        tell(&loaded);
                        let names = judge(&asked, old.snapshot(), &loaded.snapshot)?;
                        (Polled::New(loaded), names)
                    }
                })
            });
            (source, polled)
        })
        .await?;
        *place = Some(source);
        let (loaded, names) = match polled? {
            (Polled::Same(unix), _) => return Ok(unix),
            (Polled::New(loaded), names) => (loaded, names),
        };
        let moved = self.take(config, &loaded, names).await?;
        tracing::info!(
            users = loaded.report.users,
            moved = moved.users,
            held_millis = moved.held_millis,
            "the directory has changed"
        );
        settled(config, place).await?;
        Ok(Some(loaded.confirmed_unix))
    }
}

/// Tells the source that what it gave is in use.
pub(super) async fn settled(config: &Config, place: &mut Option<Source>) -> Result<(), String> {
    let Some(mut source) = place.take() else { return Err(gone()) };
    let config = config.clone();
    let source = aside(move || {
        source.took(&config);
        source
    });
    *place = Some(source.await?);
    Ok(())
}
