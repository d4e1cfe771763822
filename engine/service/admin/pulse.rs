//! The estate at this moment: rates, percentiles of the last minute, users by home. Invariant: it is made of copies taken once a second
//! ([`Look`]), so watching costs the shards nothing, however many watch.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use axum::Json;
use axum::extract::State;
use turnout_core::directory::{Directory, Overlay, Snapshot};
use turnout_core::home::{HomeId, Residence};
use turnout_core::tally::{Histogram, SideTally};

use super::Shared;
use super::problem::Failure;
use super::status::quantile_us;
use super::views::{Live, LivePoint, LiveSide, MoveJob};
use crate::look::Look;

/// Points kept, one a second.
const POINTS: usize = 120;

/// Seconds a rate is taken over.
const RATE_SECONDS: usize = 10;

/// Seconds percentiles are taken over.
const RECENT_SECONDS: usize = 60;

/// Changed users up to which they are counted anew every second.
const RECOUNT_AT_ONCE: usize = 20_000;

/// Seconds between counts where there are more.
const RECOUNT_SECONDS: u64 = 30;

/// What was so at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at_unix_millis: u64,
    sides: Vec<(String, SideTally)>,
    received: u64,
    delivered: u64,
    bounced: u64,
    held: u64,
}

/// Users by home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    homes: Vec<u64>,
    elsewhere: u64,
}

/// Which directory a census is of.
#[derive(Clone, Debug, Default)]
struct Edition {
    /// Weak: its users may go, and no other snapshot comes to its place in memory.
    snapshot: Weak<Snapshot>,
    homes: usize,
}

impl PartialEq for Edition {
    fn eq(&self, other: &Self) -> bool {
        self.snapshot.ptr_eq(&other.snapshot) && self.homes == other.homes
    }
}

/// The last two minutes.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    samples: VecDeque<Sample>,
    /// Of the snapshot alone.
    base: Option<(Edition, Census)>,
    census: Census,
    counted_unix: u64,
    live: Option<Arc<Live>>,
}

impl Pulse {
    /// The newest.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.clone()
    }

    /// Whether the users are to be counted: what [`count`] is to be given.
    pub(super) fn wants_base(&self, look: &Look) -> Option<Directory> {
        let edition = edition(look);
        let is_known = self.base.as_ref().is_some_and(|(known, _)| *known == edition);
        (!is_known).then(|| look.directory.clone())
    }

    /// Takes the count of a look's directory.
    pub(super) fn set_base(&mut self, look: &Look, census: Census) {
        self.base = Some((edition(look), census));
        self.counted_unix = 0;
    }

    /// Takes a look.
    pub(super) fn take(&mut self, look: &Look, moves: Vec<MoveJob>, alive: bool) {
        let totals = look.totals();
        let bounced = totals.passed.bounced;
        let sample = Sample {
            at_unix_millis: crate::clock::unix_millis(),
            received: totals.passed.received,
            delivered: totals.passed.delivered,
            bounced,
            held: totals.held,
            sides: totals.sides.clone(),
        };
        if self.samples.len() > POINTS {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.recount(look);
        let sides = totals.sides.iter().map(|(name, tally)| self.side(look, name, tally));
        let live = Live {
            at_unix_millis: crate::clock::unix_millis(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: look.now_unix.saturating_sub(look.started_unix),
            generation: look.world.generation,
            domains: look.world.domains.iter().map(|domain| domain.as_str().to_owned()).collect(),
            alive,
            draining: look.draining,
            unaccounted: totals.unaccounted,
            held: totals.held,
            spool_bytes: totals.spooled_bytes,
            moving_users: totals.moving_users,
            sides: sides.collect(),
            users: self.census.homes.iter().sum::<u64>() + self.census.elsewhere,
            users_elsewhere: self.census.elsewhere,
            directory_age_seconds: look.directory_age_seconds(),
            directory_from_disk: look.standing.from_disk,
            directory_failing: look.standing.failing.clone(),
            changed_users: look.directory.overlay().len() as u64,
            store_failing: look.store.as_ref().and_then(|store| store.failing.clone()),
            moves,
            trace: look.trace.mode.as_str().to_owned(),
            log: crate::log::filter(),
            history: Vec::new(),
        };
        self.live = Some(Arc::new(live));
    }

    fn side(&self, look: &Look, name: &str, tally: &SideTally) -> LiveSide {
        let (id, home) = look.world.homes.by_name(name).unzip();
        let then = |seconds: usize| {
            let index = self.samples.len().saturating_sub(seconds + 1);
            let sample = self.samples.get(index)?;
            sample
                .sides
                .iter()
                .find(|(then, _)| then == name)
                .map(|(_, tally)| (sample.at_unix_millis, tally))
        };
        let now = self.samples.back().map_or(0, |sample| sample.at_unix_millis);
        let rate = |count: fn(&SideTally) -> u64| {
            let Some((at, before)) = then(RATE_SECONDS) else { return 0.0 };
            let millis = now.saturating_sub(at);
            if millis == 0 {
                return 0.0;
            }
            let more = count(tally).saturating_sub(count(before));
            // One decimal is what a person reads.
            ((more as f64) * 10_000.0 / (millis as f64)).round() / 10.0
        };
        // Before a minute is over, what came since the start is what is recent.
        let is_young = self.samples.len() <= RECENT_SECONDS;
        let recent = then(RECENT_SECONDS)
            .filter(|_| !is_young)
            .map_or(tally.latency, |(_, before)| less(&tally.latency, &before.latency));
        let nodes = look.nodes();
        let nodes: Vec<_> = nodes.iter().filter(|node| home.is_some() && node.home == name).collect();
        LiveSide {
            name: name.to_owned(),
            backend: home.map_or("xmpp", |home| home.backend.as_str()).to_owned(),
            links: tally.links,
            received_per_second: rate(|tally| tally.received),
            delivered_per_second: rate(|tally| tally.delivered),
            bounced_last_minute: then(RECENT_SECONDS)
                .map_or(0, |(_, before)| tally.bounced.saturating_sub(before.bounced)),
            delivery_p50_us: quantile_us(&recent, 50),
            delivery_p99_us: quantile_us(&recent, 99),
            users: id.and_then(|id| self.census.homes.get(usize::from(id.0))).copied().unwrap_or(0),
            moved_today: look.moved_today.by_home.get(name).copied().unwrap_or(0),
            nodes: nodes.len() as u64,
            nodes_failing: nodes.iter().filter(|node| node.failures > 0).count() as u64,
        }
    }

    /// The seconds of the last two minutes.
    fn history(&self) -> Vec<LivePoint> {
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
        let point = |(before, after): (&Sample, &Sample)| LivePoint {
            at_unix: after.at_unix_millis / 1000,
            received: after.received.saturating_sub(before.received),
            delivered: after.delivered.saturating_sub(before.delivered),
            bounced: after.bounced.saturating_sub(before.bounced),
            held: after.held,
        };
        pairs.map(point).collect()
    }

    fn recount(&mut self, look: &Look) {
        let Some((_, base)) = self.base.as_ref().filter(|(known, _)| *known == edition(look)) else { return };
        let overlay = look.directory.overlay();
        let is_recent = look.now_unix < self.counted_unix + RECOUNT_SECONDS;
        if overlay.len() > RECOUNT_AT_ONCE && is_recent {
            return;
        }
        self.counted_unix = look.now_unix;
        self.census = with_changes(base, &look.directory, overlay);
    }
}

fn edition(look: &Look) -> Edition {
    Edition { snapshot: Arc::downgrade(look.directory.snapshot()), homes: look.world.homes.places() }
}

/// Counts a snapshot's users. Looks at all of them: for a thread that may block.
pub(super) fn count(directory: &Directory, homes: usize) -> Census {
    let mut census = Census { homes: vec![0; homes], elsewhere: 0 };
    for (_, _, user) in directory.snapshot().iter() {
        *census.place(user.residence) += 1;
    }
    census
}

fn with_changes(base: &Census, directory: &Directory, overlay: &Overlay) -> Census {
    let mut census = base.clone();
    overlay.for_each(|bare, user| {
        if let Some(before) = directory.snapshot().look_up(bare) {
            let place = census.place(before.residence);
            *place = place.saturating_sub(1);
        }
        *census.place(user.residence) += 1;
    });
    census
}

impl Census {
    fn place(&mut self, residence: Residence) -> &mut u64 {
        match residence {
            Residence::Home(HomeId(home)) => {
                self.homes.get_mut(usize::from(home)).unwrap_or(&mut self.elsewhere)
            }
            Residence::Cloud | Residence::Unassigned | Residence::Branch | Residence::UnknownPool(_) => {
                &mut self.elsewhere
            }
        }
    }
}

/// What was observed since.
fn less(now: &Histogram, before: &Histogram) -> Histogram {
    let mut recent = *now;
    for (bucket, before) in recent.buckets.iter_mut().zip(before.buckets) {
        *bucket = bucket.saturating_sub(before);
    }
    recent.sum_us = now.sum_us.saturating_sub(before.sum_us);
    recent
}

/// The estate at this moment, with rates and the last two minutes.
#[utoipa::path(get, path = "/api/live", tag = "status", responses(
    (status = 200, body = Live), (status = 503, body = super::answers::Problem)
))]
pub(super) async fn live(State(app): Shared) -> Result<Json<Live>, Failure> {
    let pulse = app.pulse();
    let live = pulse
        .live()
        .ok_or_else(|| Failure::unavailable("nothing has been measured yet", "ask again in a second"))?;
    Ok(Json(Live { history: pulse.history(), ..(*live).clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::example;

    #[test]
    fn rates_percentiles_and_users_follow_the_looks() {
        let mut pulse = Pulse::default();
        let mut look = example::look();
        let directory = pulse.wants_base(&look).unwrap();
        pulse.set_base(&look, count(&directory, 2));
        assert!(pulse.wants_base(&look).is_none());
        pulse.take(&look, Vec::new(), true);
        let live = pulse.live().unwrap();
        assert_eq!(
            (live.users, live.sides[1].users, live.sides[2].users, live.users_elsewhere),
            (3, 1, 1, 1)
        );
        assert_eq!((live.sides[2].nodes, live.sides[2].nodes_failing), (1, 1));
        // The first look tells of all since the start, later ones of what came since.
        assert_eq!(live.sides[1].delivery_p50_us, Some(100));
        for _ in 0..RECENT_SECONDS {
            pulse.take(&look, Vec::new(), true);
        }
        assert_eq!(pulse.live().unwrap().sides[1].delivery_p50_us, None);
        look.shards[0].tally.sides[1].latency.observe_us(3_000);
        look.shards[0].tally.passed.received += 4;
        let alice = turnout_core::jid::Jid::parse("alice@contoso.com").unwrap();
        let moved = turnout_core::directory::User::at(Residence::Home(HomeId(1)));
        look.directory.overlay().set(alice.view(), moved).unwrap();
        pulse.take(&look, Vec::new(), true);
        let live = pulse.live().unwrap();
        assert_eq!(live.sides[1].delivery_p99_us, Some(3_500));
        assert_eq!((live.sides[1].users, live.sides[2].users, live.changed_users), (0, 2, 1));
        assert_eq!(pulse.history().last().unwrap().received, 4);
        for _ in 0..3 * POINTS {
            pulse.take(&look, Vec::new(), true);
        }
        assert_eq!(pulse.history().len(), POINTS);
    }
}
