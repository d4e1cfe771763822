//! The source of the users while a router runs. Invariant: a source gives out users only when they have changed, and whole; whatever goes
//! wrong, what was given out before stays in use. A source blocks: a thread of its own asks it.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use turnout_core::directory::{AccessPolicies, GuardRefusal, Snapshot, guard};

use super::csv;
use super::last_good::{self, Kept};
use super::ldap::sync::Follower;
use super::meter::{Audience, Meter};
use super::report::Report;
use crate::clock;
use crate::config::{Config, LdapConfig, UserSource};

/// How old the kept users may become while the directory says the same, in seconds.
const KEEP_EVERY_SECONDS: u64 = 600;

/// Users, and what was found.
#[derive(Debug)]
pub struct Loaded {
    /// The users.
    pub snapshot: Arc<Snapshot>,
    /// What was found.
    pub report: Report,
    /// When the source was known to say so, in seconds since 1970.
    pub confirmed_unix: u64,
    /// The server they came from, where there is one.
    pub server: Option<String>,
    /// They are those that were known before, because the source cannot be had.
    pub failing: Option<String>,
    /// They come from disk.
    pub from_disk: bool,
    /// What an administrator should know.
    pub notes: Vec<String>,
}

/// Where users come from, and how far that has been followed.
#[derive(Debug)]
pub enum Source {
    /// A file.
    Csv(Watch),
    /// A directory.
    Ldap(Box<Follower>, Given),
}

/// What of a directory's users has been given out and kept.
#[derive(Debug, Default)]
pub struct Given {
    /// They have changed since they were given out.
    is_stale: bool,
    kept_unix: u64,
    /// They were not loaded from the directory yet.
    from_disk: bool,
}

/// A file that may be written just now.
#[derive(Debug)]
pub struct Watch {
    /// The file whose users are in use, or that was refused.
    taken: Option<Stamp>,
    /// What it looked like when it was looked at last.
    seen: Option<Stamp>,
}

/// What is different when a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    file: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            file: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of)
    }
}

impl Watch {
    /// Whether the file is another than the one in use and has not been written to since the last look. One that is gone is not
    /// asked for: whoever writes it anew may have removed it first.
    fn is_ready(&mut self, found: Option<Stamp>) -> bool {
        let before = std::mem::replace(&mut self.seen, found);
        found.is_some() && found != self.taken && found == before
    }
}

impl Source {
    /// Reads the users a configuration names.
    ///
    /// # Errors
    /// What is wrong, where, and what to do.
    pub fn load(config: &Config, audience: Audience) -> Result<(Self, Loaded), String> {
        match &config.directory.source {
            UserSource::Csv { file, .. } => {
                let (snapshot, report, stamp) = read_csv(config, file, audience)?;
                let confirmed_unix = clock::unix_seconds();
                let source = Self::Csv(Watch { taken: Some(stamp), seen: Some(stamp) });
                Ok((source, Loaded::new(snapshot, report, confirmed_unix)))
            }
            UserSource::Ldap(ldap) => {
                let mut source = Self::Ldap(Box::default(), Given::default());
                let loaded = source.ask(config, ldap, audience, true)?;
                let loaded = loaded.ok_or("the directory gave nothing")?;
                Ok((source, loaded))
            }
        }
    }

    /// As [`Source::load`], for a start: where the directory cannot be read, or has lost too many of the users that were kept, those are
    /// taken.
    ///
    /// # Errors
    /// As [`Source::load`], and why there is nothing kept.
    pub fn start(config: &Config, audience: Audience) -> Result<(Self, Loaded), String> {
        let loaded = Self::load(config, audience);
        let UserSource::Ldap(ldap) = &config.directory.source else { return loaded };
        let Some(path) = &ldap.last_good else {
            let cure = "directory.ldap.last_good would keep the users of the last good load for such a day";
            return loaded.map_err(|why| format!("{why}. {cure}"));
        };
        let kept = last_good::read(path, ldap);
        let why = match loaded {
            Ok((source, loaded)) => {
                let refusal = match &kept {
                    Ok(Some(kept)) => refused(kept, &loaded.snapshot, config),
                    Ok(None) => None,
                    Err(why) => {
                        tracing::warn!("directory.ldap.last_good: {}", crate::log::escape(why));
                        None
                    }
                };
                match refusal {
                    None => {
                        let Self::Ldap(follower, mut given) = source else { return Ok((source, loaded)) };
                        keep(ldap, &follower, &mut given);
                        return Ok((Self::Ldap(follower, given), loaded));
                    }
                    Some(refusal) => format!("directory.shrink_percent_max: {refusal}"),
                }
            }
            Err(why) => why,
        };
        match kept {
            Ok(Some(kept)) => from_disk(config, kept, why),
            Ok(None) => Err(format!("{why}. Nothing was kept in {} yet", path.display())),
            Err(error) => Err(format!("{why}. And what was kept cannot be used: {error}")),
        }
    }

    /// The users that are known already, for a new configuration that reads them where the old one did; `None` where that is not so, or
    /// the source is a file.
    ///
    /// # Errors
    /// As [`Source::load`].
    pub fn known(&self, old: &Config, new: &Config) -> Option<Result<Loaded, String>> {
        let Self::Ldap(follower, _) = self else { return None };
        if old.directory.source != new.directory.source {
            return None;
        }
        let made = follower.people().snapshot(&new.homes, &new.directory);
        Some(made.map(|(snapshot, report)| Loaded::new(snapshot, report, 0)))
    }

    /// How long to wait before the next look; `None` if there is none.
    pub fn pause(config: &Config) -> Option<Duration> {
        match &config.directory.source {
            UserSource::Csv { poll, .. } => *poll,
            UserSource::Ldap(ldap) => Some(ldap.poll),
        }
    }

    /// Looks whether the users have changed, and gives them if they have. What is given is taken as in use by [`Source::took`].
    ///
    /// # Errors
    /// As [`Source::load`]. A file that was refused is not read again before it changes.
    pub fn poll(&mut self, config: &Config) -> Result<Polled, String> {
        match (&config.directory.source, &mut *self) {
            (UserSource::Csv { file, .. }, Self::Csv(watch)) => {
                if !watch.is_ready(Stamp::at(file)) {
                    return Ok(Polled::Same(None));
                }
                watch.taken = watch.seen;
                let (snapshot, report, stamp) = read_csv(config, file, Audience::Log)?;
                if Some(stamp) != watch.taken {
                    // It was written to meanwhile.
                    watch.taken = None;
                    return Ok(Polled::Same(None));
                }
                Ok(Polled::New(Box::new(Loaded::new(snapshot, report, clock::unix_seconds()))))
            }
            (UserSource::Ldap(ldap), Self::Ldap(..)) => match self.ask(config, ldap, Audience::Log, false)? {
                Some(loaded) => Ok(Polled::New(Box::new(loaded))),
                None => Ok(Polled::Same(Some(clock::unix_seconds()))),
            },
            // The configuration names another source now; a reload will bring it.
            _ => Ok(Polled::Same(None)),
        }
    }

    /// What was given last is in use.
    pub fn took(&mut self, config: &Config) {
        if let (UserSource::Ldap(ldap), Self::Ldap(follower, given)) = (&config.directory.source, self) {
            given.is_stale = false;
            given.from_disk = false;
            keep(ldap, follower, given);
        }
    }

    fn ask(
        &mut self,
        config: &Config,
        ldap: &LdapConfig,
        audience: Audience,
        all: bool,
    ) -> Result<Option<Loaded>, String> {
        let Self::Ldap(follower, given) = self else { return Ok(None) };
        let now = clock::now();
        let mut meter = Meter::new(audience, 0, now);
        let mut told = |rows| meter.tell(clock::now(), csv::Progress { rows, bytes: 0 });
        let polled = match all {
            true => follower.load(ldap, &config.homes, now, &mut told),
            false => follower.poll(ldap, &config.homes, now, &mut told),
        };
        let polled =
            polled.map_err(|fault| format!("directory.ldap: {}", crate::log::escape(&fault.to_string())))?;
        given.is_stale |= polled.changed || all || given.from_disk;
        if !given.is_stale {
            if clock::unix_seconds().saturating_sub(given.kept_unix) >= KEEP_EVERY_SECONDS {
                keep(ldap, follower, given);
            }
            return Ok(None);
        }
        let (snapshot, report) = follower
            .people()
            .snapshot(&config.homes, &config.directory)
            .map_err(|why| format!("directory.ldap: {why}"))?;
        let mut loaded = Loaded::new(snapshot, report, clock::unix_seconds());
        loaded.server = Some(polled.server);
        loaded.notes = follower.notes().to_vec();
        Ok(Some(loaded))
    }
}

/// What a look at the source came to.
#[derive(Debug)]
pub enum Polled {
    /// Nothing new, as was known at this time, in seconds since 1970.
    Same(Option<u64>),
    /// Other users.
    New(Box<Loaded>),
}

impl Loaded {
    fn new(snapshot: Snapshot, report: Report, confirmed_unix: u64) -> Self {
        Self {
            snapshot: Arc::new(snapshot),
            report,
            confirmed_unix,
            server: None,
            failing: None,
            from_disk: false,
            notes: Vec::new(),
        }
    }
}

fn read_csv(config: &Config, path: &Path, audience: Audience) -> Result<(Snapshot, Report, Stamp), String> {
    let failed = |error: std::io::Error| {
        format!(
            "directory.file: cannot open {}: {error}; correct the path or export the users",
            path.display()
        )
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut policies = AccessPolicies::new(config.directory.default_xmpp_access);
    for name in &config.directory.xmpp_access_policies {
        policies.set(name, true);
    }
    // What is no regular file has no length that means anything.
    let bytes_total = if metadata.is_file() { metadata.len() } else { 0 };
    let mut meter = Meter::new(audience, bytes_total, clock::now());
    let mut progress = |progress| meter.tell(clock::now(), progress);
    let again = file.try_clone().map_err(failed)?;
    let (snapshot, report) =
        csv::read(file, &config.homes, &policies, csv::CsvLimits::default(), &mut progress)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((snapshot, report, Stamp::of(&again.metadata().map_err(failed)?)))
}

/// Whether so many of the kept users are missing that a directory is not to be believed.
fn refused(kept: &Kept, snapshot: &Snapshot, config: &Config) -> Option<GuardRefusal> {
    let (old, _) = kept.people.snapshot(&config.homes, &config.directory).ok()?;
    guard(&old, snapshot, config.directory.shrink_percent_max).err()
}

fn from_disk(config: &Config, kept: Kept, why: String) -> Result<(Source, Loaded), String> {
    let Kept { people, confirmed_unix } = kept;
    let (snapshot, report) = people.snapshot(&config.homes, &config.directory)?;
    let given = Given { is_stale: true, kept_unix: confirmed_unix, from_disk: true };
    let mut loaded = Loaded::new(snapshot, report, confirmed_unix);
    loaded.failing = Some(why);
    loaded.from_disk = true;
    Ok((Source::Ldap(Box::new(Follower::new(people)), given), loaded))
}

/// Keeps the users for a day on which the directory is away.
fn keep(ldap: &LdapConfig, follower: &Follower, given: &mut Given) {
    let Some(path) = &ldap.last_good else { return };
    let now = clock::unix_seconds();
    given.kept_unix = now;
    if let Err(error) = last_good::write(path, ldap, follower.people(), now) {
        tracing::error!("directory.ldap.last_good: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_when_it_is_another_and_nobody_writes_it() {
        let stamp = |bytes| Some(Stamp { device: 1, file: 2, bytes, changed: (3, 4) });
        let mut watch = Watch { taken: stamp(1), seen: stamp(1) };
        for (found, expected) in [
            (stamp(1), false),
            (stamp(2), false), // it grows
            (stamp(3), false), // and grows
            (stamp(3), true),
            (None, false), // gone, and there again
            (stamp(4), false),
            (None, false),
            (stamp(4), false),
            (stamp(4), true),
            (stamp(1), false), // what is in use
            (stamp(1), false),
        ] {
            assert_eq!(watch.is_ready(found), expected, "{found:?}");
        }
    }
}
