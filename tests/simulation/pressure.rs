//! What happens to one who brings more than goes out, step by step.

use std::time::Duration;

use turnout_core::flow::{FlowLimits, Rate};
use turnout_core::home::HomeId;

use crate::support::estate::{self, LEGACY, Options, PARTNERS, POOL, local};
use crate::support::ledger::Ledger;
use crate::support::sim::{Cast, Sim, USERS};
use crate::{real_cast, toy_cast};

/// Servers, as the cast has them.
const PARTNER: usize = 0;
const GATEWAYS: [usize; 2] = [3, 4];
const POOLS: [usize; 2] = [5, 6];

struct Stage {
    sim: Sim,
    ledger: Ledger,
}

impl Stage {
    fn new(
        shards: u16,
        flow: FlowLimits,
        cast: impl FnOnce(&std::sync::Arc<turnout_core::world::World>, &Ledger) -> Cast,
    ) -> Self {
        let ledger = Ledger::default();
        let world = estate::world(&Options { shards, flow, ..Options::default() });
        let cast = cast(&world, &ledger);
        let mut sim = Sim::new(7, &world, estate::directory(USERS), cast, ledger.clone());
        sim.narrow();
        Self { sim, ledger }
    }

    fn toys(shards: u16) -> Self {
        Self::new(shards, estate::narrow(), |world, ledger| toy_cast(world.shards, ledger))
    }

    /// A server says so many messages; nothing is waited for.
    fn say(&mut self, peer: usize, from: &str, to: &str, home: Option<HomeId>, count: usize) {
        for _ in 0..count {
            let number = self.ledger.say('m', from, to, home);
            self.sim.direct(peer, |peer, out| peer.say(number, out));
        }
    }

    fn in_from_partner(&mut self, user: usize, count: usize) {
        let from = format!("u0@{}", PARTNERS[PARTNER]);
        let home = if user.is_multiple_of(2) { LEGACY } else { POOL };
        self.say(PARTNER, &from, &local(user), Some(home), count);
    }

    fn deaf(&mut self, peers: [usize; 2], deaf: bool) {
        peers.into_iter().for_each(|peer| self.sim.set_deaf(peer, deaf));
    }

    /// Read and bounced so far.
    fn ends(&self) -> (usize, usize) {
        let [_, _, read, bounced] = self.ledger.totals();
        (read, bounced)
    }

    fn seconds(&mut self, seconds: u64) {
        self.sim.pass(Duration::from_secs(seconds));
    }
}

#[test]
fn who_brings_for_one_alone_waits_as_long_as_it_takes() {
    let mut stage = Stage::toys(1);
    stage.in_from_partner(0, 1);
    stage.sim.settle();
    stage.deaf(GATEWAYS, true);
    stage.in_from_partner(0, 100);
    stage.sim.settle();
    assert_eq!((stage.sim.paused(), stage.sim.tally(0).paused_links), (1, 1));
    stage.seconds(50);
    assert_eq!((stage.sim.paused(), stage.ends()), (1, (1, 0)), "he waits, and nothing is refused");
    stage.deaf(GATEWAYS, false);
    stage.sim.settle();
    assert_eq!((stage.sim.paused(), stage.ends()), (0, (101, 0)));
    stage.sim.rest();
    stage.sim.check_rest();
}

#[test]
fn who_brings_for_others_too_waits_a_second_and_then_hears_what_is_too_much() {
    let mut stage = Stage::toys(1);
    stage.in_from_partner(0, 1);
    stage.in_from_partner(1, 1);
    stage.sim.settle();
    stage.deaf(GATEWAYS, true);
    stage.in_from_partner(0, 40);
    stage.in_from_partner(1, 10);
    stage.sim.settle();
    assert_eq!((stage.sim.paused(), stage.ends()), (1, (2, 0)), "the pool's user waits behind the gateway's");
    stage.seconds(1);
    let (read, bounced) = stage.ends();
    assert_eq!((stage.sim.paused(), read), (0, 12), "and not for long");
    assert!(bounced > 0, "what is beyond the share of the gateway is answered");
    // As long as the gateway takes nothing, so is whatever else is for it; the pool's users hear all.
    stage.in_from_partner(0, 5);
    stage.in_from_partner(1, 5);
    stage.sim.settle();
    assert_eq!((stage.sim.paused(), stage.ends()), (0, (17, bounced + 5)));
    stage.deaf(GATEWAYS, false);
    stage.sim.settle();
    stage.in_from_partner(0, 5);
    stage.sim.settle();
    assert_eq!(
        stage.ends(),
        (62 - bounced - 5 + 5, bounced + 5),
        "when it takes what waits, it is as before"
    );
    stage.sim.rest();
    stage.sim.check_rest();
}

#[test]
fn a_pool_is_never_left_unread() {
    let mut stage = Stage::toys(1);
    let abroad = format!("u0@{}", PARTNERS[PARTNER]);
    stage.say(POOLS[0], &local(1), &abroad, None, 1);
    stage.sim.settle();
    stage.sim.set_deaf(PARTNER, true);
    stage.say(POOLS[0], &local(1), &abroad, None, 60);
    stage.sim.settle();
    let (read, bounced) = stage.ends();
    assert_eq!((stage.sim.paused(), read), (0, 1));
    assert!(bounced > 0, "what is beyond its share is refused, as it brings our own answers too");
    stage.sim.set_deaf(PARTNER, false);
    stage.sim.settle();
    assert_eq!(stage.ends(), (61 - bounced, bounced));
    stage.sim.rest();
    stage.sim.check_rest();
}

#[test]
fn links_and_destinations_on_different_shards_understand_each_other() {
    let mut crossed = 0;
    for user in [0, 2, 4] {
        for (peer, partner) in PARTNERS.iter().enumerate() {
            let mut stage = Stage::toys(3);
            let abroad = format!("u0@{partner}");
            stage.say(GATEWAYS[0], &local(user), &abroad, None, 1);
            stage.sim.settle();
            stage.sim.set_deaf(peer, true);
            stage.say(GATEWAYS[0], &local(user), &abroad, None, 100);
            stage.sim.settle();
            assert_eq!((stage.sim.paused(), stage.ends()), (1, (1, 0)));
            let reads = (0..3).position(|shard| stage.sim.tally(shard).paused_links == 1);
            let waits = (0..3).position(|shard| stage.sim.tally(shard).spooled_bytes > 0);
            crossed += usize::from(reads != waits);
            stage.sim.set_deaf(peer, false);
            stage.sim.settle();
            assert_eq!((stage.sim.paused(), stage.ends()), (0, (101, 0)));
            stage.sim.rest();
            stage.sim.check_rest();
        }
    }
    assert!(crossed > 0, "on other shards, some of the time");
}

#[test]
fn who_takes_nothing_is_left_by_and_by_and_everybody_is_told() {
    let mut stage = Stage::toys(1);
    stage.in_from_partner(0, 1);
    stage.sim.settle();
    stage.deaf(GATEWAYS, true);
    stage.in_from_partner(0, 100);
    stage.seconds(59);
    assert_eq!((stage.sim.paused(), stage.ends()), (1, (1, 0)));
    stage.seconds(5);
    let (_, bounced) = stage.ends();
    assert!(bounced > 0, "what has waited for a minute is answered, and what comes next is read");
    stage.seconds(36);
    assert_eq!(
        stage.sim.tally(0).sides[1].stalled,
        1,
        "the gateway's link, which took nothing for a minute and a half, is cut"
    );
    stage.sim.rest();
    stage.sim.check_rest();
    assert_eq!(stage.ends().0 + stage.ends().1, 101);
}

/// One partner's and another's, both may say three at once and one more a second.
fn rated(flow: FlowLimits, real: bool) -> Stage {
    let flow = FlowLimits {
        partner_rate: flow.partner_rate,
        sender_rate: flow.sender_rate,
        ..FlowLimits::default()
    };
    if real {
        Stage::new(1, flow, |world, ledger| real_cast(0, world, ledger))
    } else {
        Stage::new(1, flow, |world, ledger| toy_cast(world.shards, ledger))
    }
}

#[test]
fn one_over_the_rate_of_a_partner_is_refused() {
    for real in [false, true] {
        let flow = FlowLimits { partner_rate: Rate::new(1, 3), ..FlowLimits::default() };
        let mut stage = rated(flow, real);
        stage.in_from_partner(0, 4);
        stage.sim.settle();
        assert_eq!(stage.ends(), (3, 1), "real {real}");
        assert_eq!((stage.sim.tally(0).too_fast_partners, stage.sim.tally(0).too_fast_senders), (1, 0));
        stage.say(1, &format!("u0@{}", PARTNERS[1]), &local(0), Some(LEGACY), 3);
        stage.sim.settle();
        assert_eq!(stage.ends(), (6, 1), "another partner has his own");
        stage.seconds(1);
        stage.in_from_partner(0, 2);
        stage.sim.settle();
        assert_eq!(stage.ends(), (7, 2), "a second later there is one more");
    }
}

#[test]
fn one_over_the_rate_of_a_sender_is_refused() {
    for real in [false, true] {
        let flow = FlowLimits { sender_rate: Rate::new(1, 3), ..FlowLimits::default() };
        let mut stage = rated(flow, real);
        stage.in_from_partner(0, 4);
        stage.say(PARTNER, &format!("u1@{}", PARTNERS[PARTNER]), &local(0), Some(LEGACY), 3);
        stage.sim.settle();
        assert_eq!(stage.ends(), (6, 1), "another user of the same partner has his own");
        assert_eq!((stage.sim.tally(0).too_fast_partners, stage.sim.tally(0).too_fast_senders), (0, 1));
        let abroad = format!("u0@{}", PARTNERS[PARTNER]);
        stage.say(POOLS[0], &local(1), &abroad, None, 4);
        stage.sim.settle();
        assert_eq!(stage.sim.tally(0).too_fast_senders, 2, "a pool's user has one as well");
    }
}

#[test]
fn what_comes_while_a_partner_rests_waits_for_the_next_attempt() {
    let mut stage = Stage::toys(1);
    let abroad = format!("u0@{}", PARTNERS[PARTNER]);
    stage.sim.set_down(PARTNER, true);
    stage.say(GATEWAYS[0], &local(0), &abroad, None, 1);
    stage.sim.settle();
    assert_eq!(stage.ends(), (0, 0), "who waited for the attempt that failed waits for the next");
    stage.sim.set_down(PARTNER, false);
    stage.say(GATEWAYS[0], &local(0), &abroad, None, 2);
    stage.sim.settle();
    assert_eq!((stage.ends(), stage.sim.tally(0).held), ((0, 0), 3));
    stage.seconds(1);
    assert_eq!(stage.ends(), (3, 0));
}

#[test]
fn a_node_that_is_back_is_noticed_without_a_stanza() {
    let mut stage = Stage::toys(1);
    let say_all = |stage: &mut Stage| {
        for user in [1, 3, 5] {
            for writer in ["u0", "u1"] {
                let from = format!("{writer}@{}", PARTNERS[PARTNER]);
                stage.say(PARTNER, &from, &local(user), Some(POOL), 1);
            }
        }
        stage.sim.settle();
    };
    let nodes = |stage: &mut Stage| stage.sim.tally(0).sides[2].links;
    say_all(&mut stage);
    assert_eq!((stage.ends(), nodes(&mut stage)), ((6, 0), 2));
    stage.sim.set_down(POOLS[0], true);
    stage.sim.settle();
    say_all(&mut stage);
    assert_eq!((stage.ends(), nodes(&mut stage)), ((12, 0), 1), "the other node takes them at once");
    stage.seconds(120);
    assert_eq!(nodes(&mut stage), 1);
    stage.sim.set_down(POOLS[0], false);
    stage.seconds(61);
    assert_eq!(nodes(&mut stage), 2, "an attempt every minute at the longest");
    say_all(&mut stage);
    assert_eq!(stage.ends(), (18, 0));
}
