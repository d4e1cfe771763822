//! What happens to what is for a server that is away, and how it is come back to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::home::HomeId;
use turnout_core::io::Unreachable;
use turnout_core::limits::{BACKOFF_SECONDS_MAX, SPOOL_AGE_SECONDS, SPOOL_AGE_SIP_SECONDS};
use turnout_core::world::World;

use crate::support::estate::{self, LEGACY, Options, PARTNERS, POOL, local};
use crate::support::ledger::Ledger;
use crate::support::sim::{Cast, Sim, USERS};
use crate::{real_cast, toy_cast};

/// Servers, as the cast has them.
const PARTNER: usize = 0;
const GATEWAY: usize = 3;
const POOLS: [usize; 2] = [5, 6];

/// Longest random wait after the loss of a stream, as the worlds here have it: the default.
const RECONNECT: Duration = Duration::from_secs(5);

struct Stage {
    sim: Sim,
    ledger: Ledger,
}

impl Stage {
    fn new(seed: u64, shards: u16, cast: impl FnOnce(&Arc<World>, &Ledger) -> Cast) -> Self {
        let ledger = Ledger::default();
        let world = estate::world(&Options { shards, ..Options::default() });
        let cast = cast(&world, &ledger);
        let sim = Sim::new(seed, &world, estate::directory(USERS), cast, ledger.clone());
        Self { sim, ledger }
    }

    fn toys(seed: u64) -> Self {
        Self::new(seed, 1 + u16::try_from(seed % 3).unwrap(), |world, ledger| toy_cast(world.shards, ledger))
    }

    fn real(seed: u64) -> Self {
        Self::new(seed, 1 + u16::try_from(seed % 3).unwrap(), |world, ledger| real_cast(seed, world, ledger))
    }

    fn say(&mut self, peer: usize, from: &str, to: &str, home: Option<HomeId>) {
        let number = self.ledger.say('m', from, to, home);
        self.sim.direct(peer, |peer, out| peer.say(number, out));
    }

    /// A user of the gateway's, or of the pool's, writes to the partner.
    fn out(&mut self, user: usize) {
        let speaker = if user.is_multiple_of(2) { GATEWAY } else { POOLS[0] };
        self.say(speaker, &local(user), &abroad(), None);
    }

    fn inward(&mut self, user: usize) {
        let home = if user.is_multiple_of(2) { LEGACY } else { POOL };
        self.say(PARTNER, &abroad(), &local(user), Some(home));
    }

    /// Read and bounced so far.
    fn ends(&self) -> (usize, usize) {
        let [_, _, read, bounced] = self.ledger.totals();
        (read, bounced)
    }

    fn seconds(&mut self, seconds: u64) {
        self.sim.pass(Duration::from_secs(seconds));
    }

    fn dials(&self, since: Instant) -> Vec<Duration> {
        self.sim.dials_since(PARTNER, since)
    }

    fn end(mut self) {
        self.sim.rest();
        self.sim.check_rest();
    }
}

fn abroad() -> String {
    format!("u0@{}", PARTNERS[PARTNER])
}

fn each_way(run: impl Fn(Stage)) {
    for seed in 0..12 {
        run(Stage::toys(seed));
        run(Stage::real(seed));
    }
}

#[test]
fn a_partner_out_for_half_a_minute_costs_nobody_a_bounce() {
    each_way(|mut stage| {
        stage.out(0);
        stage.seconds(1);
        stage.sim.set_down(PARTNER, true);
        for _ in 0..30 {
            stage.out(0);
            stage.seconds(1);
        }
        assert_eq!(stage.ends(), (1, 0), "all wait");
        stage.sim.set_down(PARTNER, false);
        stage.seconds(BACKOFF_SECONDS_MAX);
        // In their order: the ledger looks.
        assert_eq!(stage.ends(), (31, 0), "and are found when he is back");
        stage.end();
    });
}

#[test]
fn a_pools_users_wait_for_a_partner_as_long_as_their_transactions_do() {
    each_way(|mut stage| {
        stage.sim.set_down(PARTNER, true);
        stage.out(1);
        stage.seconds(3);
        stage.sim.set_down(PARTNER, false);
        stage.seconds(10);
        assert_eq!(stage.ends(), (1, 0), "out for three seconds");
        stage.sim.set_down(PARTNER, true);
        stage.out(1);
        stage.seconds(SPOOL_AGE_SIP_SECONDS - 1);
        assert_eq!(stage.ends(), (1, 0));
        stage.seconds(2);
        assert_eq!(stage.ends(), (1, 1), "the answer is in before the transaction gives up");
        stage.end();
    });
}

#[test]
fn a_partner_out_for_longer_than_anything_waits_costs_everybody_a_bounce_in_time() {
    each_way(|mut stage| {
        stage.sim.set_down(PARTNER, true);
        let began = stage.sim.now();
        for _ in 0..10 {
            stage.out(0);
            stage.seconds(1);
        }
        stage.seconds(SPOOL_AGE_SECONDS - 11);
        assert_eq!(stage.ends(), (0, 0));
        let dials = stage.dials(began);
        let gaps: Vec<Duration> = dials.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(BACKOFF_SECONDS_MAX)), "{gaps:?}");
        assert!((6..=20).contains(&dials.len()), "longer each time, and not too long: {dials:?}");
        stage.seconds(12);
        assert_eq!(stage.ends(), (0, 10));
        stage.sim.set_down(PARTNER, false);
        stage.out(0);
        stage.seconds(BACKOFF_SECONDS_MAX);
        assert_eq!(stage.ends(), (1, 10), "whoever writes later is delivered");
        stage.end();
    });
}

#[test]
fn a_domain_that_is_not_there_is_told_at_once() {
    each_way(|mut stage| {
        stage.sim.set_unreachable(PARTNER, Unreachable::NotFound);
        stage.out(0);
        stage.sim.settle();
        assert_eq!(stage.ends(), (0, 1));
        stage.end();
    });
    each_way(|mut stage| {
        stage.sim.set_unreachable(PARTNER, Unreachable::Unresolved);
        stage.out(0);
        stage.seconds(30);
        assert_eq!(stage.ends(), (0, 0), "of one that could not be looked up nobody knows");
        stage.end();
    });
}

#[test]
fn homes_out_for_half_a_minute_cost_nobody_a_bounce() {
    each_way(|mut stage| {
        stage.inward(0);
        stage.inward(1);
        stage.seconds(1);
        assert_eq!(stage.ends(), (2, 0));
        let homes = [GATEWAY, GATEWAY + 1, POOLS[0], POOLS[1]];
        homes.into_iter().for_each(|node| stage.sim.set_down(node, true));
        for _ in 0..30 {
            stage.inward(0);
            stage.inward(1);
            stage.seconds(1);
        }
        assert_eq!(stage.ends(), (2, 0), "all nodes are down, and all wait");
        homes.into_iter().for_each(|node| stage.sim.set_down(node, false));
        stage.seconds(BACKOFF_SECONDS_MAX * 2);
        assert_eq!(stage.ends(), (62, 0));
        stage.end();
    });
}

#[test]
fn a_user_moves_while_what_he_wrote_waits_for_a_partner() {
    each_way(|mut stage| {
        stage.sim.set_down(PARTNER, true);
        stage.out(0);
        stage.seconds(2);
        let before = stage.sim.now();
        stage.sim.move_user(&local(0), POOL);
        stage.seconds(1);
        assert!(!stage.sim.is_moving(), "the move does not wait for the partner");
        assert!(stage.sim.now() < before + Duration::from_secs(3));
        stage.say(POOLS[0], &local(0), &abroad(), None);
        stage.seconds(2);
        stage.sim.set_down(PARTNER, false);
        stage.seconds(BACKOFF_SECONDS_MAX);
        assert_eq!(stage.ends(), (2, 0));
        stage.end();
    });
}

/// When a partner is dialed again after his stream broke, where something waits.
fn after_a_loss(seed: u64) -> Duration {
    let mut stage = Stage::toys(seed);
    stage.out(0);
    stage.sim.settle();
    assert_eq!(stage.ends(), (1, 0));
    stage.sim.pass(Duration::from_millis(10));
    let since = stage.sim.now();
    stage.sim.break_all(PARTNER);
    stage.out(0);
    stage.sim.settle();
    stage.sim.pass(RECONNECT);
    let dials = stage.dials(since);
    assert_eq!((dials.len(), stage.ends()), (1, (2, 0)));
    stage.end();
    dials[0]
}

#[test]
fn who_lost_a_partner_comes_back_at_random() {
    const SEEDS: u64 = 1000;
    let mut histogram = [0_usize; 10];
    for seed in 0..SEEDS {
        let waited = after_a_loss(seed).as_millis() * 10 / RECONNECT.as_millis();
        histogram[usize::try_from(waited).unwrap().min(9)] += 1;
    }
    eprintln!("dials after a loss, by tenths of {RECONNECT:?}: {histogram:?}");
    // A hundred each, give or take four standard deviations.
    assert!(histogram.iter().all(|count| (62..=138).contains(count)), "{histogram:?}");
}

#[test]
fn nothing_is_waited_for_where_there_is_nothing_to_wait_for() {
    for seed in 0..20 {
        // What was written first after a silence: the connection was closed for being idle.
        let mut stage = Stage::toys(seed);
        stage.out(0);
        stage.seconds(3);
        stage.sim.set_deaf(PARTNER, true);
        stage.out(0);
        stage.sim.settle();
        let since = stage.sim.now();
        stage.sim.break_all(PARTNER);
        stage.sim.settle();
        assert_eq!((stage.dials(since), stage.ends()), (vec![Duration::ZERO], (2, 0)));
        stage.end();
        // He comes by himself.
        let mut stage = Stage::real(seed);
        stage.out(0);
        stage.sim.settle();
        stage.sim.pass(Duration::from_millis(10));
        let since = stage.sim.now();
        stage.sim.break_all(PARTNER);
        stage.out(0);
        stage.sim.settle();
        assert_eq!((stage.dials(since), stage.ends()), (vec![], (1, 0)), "he is waited for");
        stage.inward(0);
        stage.sim.settle();
        assert_eq!(stage.ends(), (3, 0), "he is there, so he is dialed");
        stage.end();
    }
}
