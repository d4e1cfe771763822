//! What the running router looks like, as plain data. Invariant: a [`Look`] is a copy; whoever holds one holds no lock and keeps
//! no shard waiting. Each shard's counters were copied in one piece, so its sum check is exact; the copies of two shards may
//! be 100 ms apart, so sums over shards may be that old.

use std::net::SocketAddr;
use std::sync::Arc;

use turnout_core::contacts::ContactCounts;
use turnout_core::directory::Directory;
use turnout_core::home::HomeId;
use turnout_core::io::Side;
use turnout_core::refusal::Condition;
use turnout_core::tally::{Flow, SideTally, Tally};
use turnout_core::trace::TraceRules;
use turnout_core::world::World;

use crate::directory::standing::Standing;
use crate::router::MovedToday;
use crate::spool::meter::SpoolLook;
use crate::store::meter::StoreLook;
use crate::tls::shown::Shown;

#[cfg(test)]
pub(crate) mod example;

/// One shard.
#[derive(Clone, Debug, Default)]
pub struct ShardLook {
    /// Its counters.
    pub tally: Tally,
    /// Nodes it lets rest after failures: number of the home, node, failures in a row.
    pub resting: Vec<(u16, String, u32)>,
}

/// The router.
#[derive(Clone, Debug)]
pub struct Look {
    /// The configuration in use.
    pub world: Arc<World>,
    /// The users.
    pub directory: Directory,
    /// The shards, by number.
    pub shards: Vec<ShardLook>,
    /// The driver in use.
    pub driver: &'static str,
    /// Listening addresses by configuration key.
    pub addresses: Vec<(String, SocketAddr)>,
    /// When the router started, in seconds since 1970.
    pub started_unix: u64,
    /// How the directory does.
    pub standing: Standing,
    /// The store of contacts, where there is one.
    pub store: Option<StoreLook>,
    /// The durable spool, where there is one.
    pub spool: Option<SpoolLook>,
    /// The certificates we show.
    pub certificates: Arc<Vec<Shown>>,
    /// Users moved today.
    pub moved_today: MovedToday,
    /// What is remembered of stanzas.
    pub trace: Arc<TraceRules>,
    /// Whether it is stopping.
    pub draining: bool,
    /// When this copy was made, in seconds since 1970.
    pub now_unix: u64,
}

/// The counters of all shards together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Stanzas from outside.
    pub passed: Flow,
    /// Stanzas the router made.
    pub made: Flow,
    /// By name of the side: `partners` first, then the homes.
    pub sides: Vec<(String, SideTally)>,
    /// Refusals, in the order of `Condition::ALL`.
    pub refusals: [u64; Condition::ALL.len()],
    /// Stanzas held.
    pub held: u64,
    /// Bytes in spools.
    pub spooled_bytes: u64,
    /// Users held for a move. Every shard holds all of them, so this is no sum.
    pub moving_users: u64,
    /// Stanzas refused because their partner, or their sender, sent more than his rate.
    pub too_fast: [u64; 2],
    /// Links not read now, as what they brought does not go out.
    pub paused_links: u64,
    /// Times a link was no longer read for that reason.
    pub pauses: u64,
    /// What holds between users, by state.
    pub contacts: ContactCounts,
    /// Presence that waits for the store or for its turn.
    pub presence_waiting: u64,
    /// Questions of the router's own about presence that wait.
    pub wishes_waiting: u64,
    /// Stanzas that came in, went nowhere and are not held, or the other way round. Anything but 0 is a fault of the router.
    pub unaccounted: u64,
}

/// A node of a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLook<'a> {
    /// Name of the home.
    pub home: &'a str,
    /// The node, as host and port.
    pub node: String,
    /// Failures in a row, on the shard that saw most.
    pub failures: u32,
    /// Shards that let it rest.
    pub resting_shards: usize,
}

impl ShardLook {
    /// Stanzas the counters expect to be held, less those that are.
    pub fn unaccounted(&self) -> i128 {
        self.tally.passed.expected_held() + self.tally.made.expected_held() - i128::from(self.tally.held)
    }

    /// Links open.
    pub fn links(&self) -> u64 {
        self.tally.sides.iter().map(|side| side.links).sum()
    }
}

impl Look {
    /// Seconds since the directory's source was known to say what is in use.
    pub fn directory_age_seconds(&self) -> u64 {
        self.now_unix.saturating_sub(self.standing.confirmed_unix)
    }

    /// Sums over the shards.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        totals.sides.push((self.world.side_name(Side::Partners).to_owned(), SideTally::default()));
        for (_, home) in self.world.homes.all() {
            totals.sides.push((home.name.clone(), SideTally::default()));
        }
        for shard in &self.shards {
            let tally = &shard.tally;
            totals.passed.add(&tally.passed);
            totals.made.add(&tally.made);
            for ((_, total), side) in totals.sides.iter_mut().zip(&tally.sides) {
                add_side(total, side);
            }
            for (total, count) in totals.refusals.iter_mut().zip(tally.refusals) {
                *total += count;
            }
            totals.held += tally.held;
            totals.spooled_bytes += tally.spooled_bytes;
            totals.moving_users = totals.moving_users.max(tally.moving_users);
            totals.too_fast[0] += tally.too_fast_partners;
            totals.too_fast[1] += tally.too_fast_senders;
            totals.paused_links += tally.paused_links;
            totals.pauses += tally.pauses;
            totals.contacts.add(&tally.contacts);
            totals.presence_waiting += tally.presence_waiting;
            totals.wishes_waiting += tally.wishes_waiting;
            let off = u64::try_from(shard.unaccounted().unsigned_abs()).unwrap_or(u64::MAX);
            totals.unaccounted = totals.unaccounted.saturating_add(off);
        }
        // Another home may have the name of one that is gone.
        let mut place = (0_u16..).map(|place| place.checked_sub(1).map(HomeId));
        totals.sides.retain(|_| !place.next().flatten().is_some_and(|home| self.world.homes.is_gone(home)));
        totals
    }

    /// Every configured node of every home.
    pub fn nodes(&self) -> Vec<NodeLook<'_>> {
        let homes = self.world.homes.iter();
        homes
            .flat_map(|(id, home)| {
                home.connect.iter().map(move |host| self.node(id, &home.name, host.to_string()))
            })
            .collect()
    }

    fn node<'a>(&'a self, id: HomeId, home: &'a str, node: String) -> NodeLook<'a> {
        let resting = self.shards.iter().flat_map(|shard| &shard.resting);
        let failures = resting
            .filter(|(home, name, _)| *home == id.0 && *name == node)
            .map(|(_, _, failures)| *failures);
        let (most, shards) =
            failures.fold((0, 0), |(most, shards), failures| (failures.max(most), shards + 1));
        NodeLook { home, node, failures: most, resting_shards: shards }
    }
}

fn add_side(total: &mut SideTally, side: &SideTally) {
    total.received += side.received;
    total.delivered += side.delivered;
    total.bounced += side.bounced;
    total.accepted += side.accepted;
    total.dialed += side.dialed;
    total.failed += side.failed;
    total.repeated += side.repeated;
    total.faults += side.faults;
    total.stalled += side.stalled;
    total.links += side.links;
    total.watches += side.watches;
    total.subscriptions += side.subscriptions;
    total.latency.add(&side.latency);
}
