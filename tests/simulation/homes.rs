//! A home that is taken out of the configuration.

use std::sync::Arc;
use std::time::Duration;

use turnout_core::home::Homes;
use turnout_core::world::World;

use crate::support::estate::{self, LEGACY, Options, PARTNERS, POOL, local};
use crate::support::ledger::Ledger;
use crate::support::sim::{Sim, USERS};
use crate::{real_cast, toy_cast};

const PARTNER: usize = 0;
const GATEWAYS: [usize; 2] = [3, 4];

/// The estate's configuration without the legacy gateway.
fn without_the_gateway(options: &Options, before: &World) -> Arc<World> {
    let mut world = Arc::try_unwrap(estate::world(options)).unwrap();
    let rest = before.homes.iter().filter(|(id, _)| *id != LEGACY).map(|(_, home)| home.clone()).collect();
    let (homes, ids) = Homes::new(rest, &[]).unwrap().follow(&before.homes).unwrap();
    assert_eq!((ids, homes.gone()), (vec![POOL], &[LEGACY][..]));
    (world.homes, world.generation) = (homes, 2);
    Arc::new(world)
}

fn goes(seed: u64, is_real: bool) {
    let options = Options { shards: 1 + u16::try_from(seed % 3).unwrap(), ..Options::default() };
    let (ledger, world) = (Ledger::default(), estate::world(&options));
    let cast = if is_real { real_cast(seed, &world, &ledger) } else { toy_cast(world.shards, &ledger) };
    let mut sim = Sim::new(seed, &world, estate::directory(USERS), cast, ledger.clone());
    let say = |sim: &mut Sim, user: usize, home| {
        let number = ledger.say('m', &format!("u0@{}", PARTNERS[PARTNER]), &local(user), Some(home));
        sim.direct(PARTNER, |peer, out| peer.say(number, out));
    };
    let ends = || {
        let [_, _, read, bounced] = ledger.totals();
        (read, bounced)
    };
    // A stream that is open, and then a gateway that takes nothing.
    say(&mut sim, 0, LEGACY);
    say(&mut sim, 1, POOL);
    sim.pass(Duration::from_secs(1));
    assert_eq!(ends(), (2, 0));
    GATEWAYS.into_iter().for_each(|node| sim.set_down(node, true));
    for _ in 0..3 {
        say(&mut sim, 0, LEGACY);
        say(&mut sim, 2, LEGACY);
    }
    sim.pass(Duration::from_secs(1));
    // The move does not get the three out of the gateway's spool in its time; the second user stays, which a reload would not allow.
    sim.move_user(&local(0), POOL);
    sim.pass(Duration::from_secs(6));
    assert_eq!(ends(), (2, 0));
    let changed = without_the_gateway(&options, &world);
    sim.configure(&changed);
    sim.retire(LEGACY);
    sim.pass(Duration::from_secs(2));
    assert_eq!(ends(), (5, 3), "what waited goes where its recipient is, or its sender is told");
    // Nobody dials it again, and it is let in no more.
    GATEWAYS.into_iter().for_each(|node| sim.set_down(node, false));
    let since = sim.now();
    say(&mut sim, 0, POOL);
    say(&mut sim, 2, LEGACY);
    sim.pass(Duration::from_secs(30));
    assert_eq!(ends(), (6, 4));
    assert!(GATEWAYS.iter().all(|node| sim.dials_since(*node, since).is_empty()));
    for shard in 0..usize::from(options.shards) {
        assert_eq!(sim.tally(shard).sides[1].links, 0, "its links are closed");
    }
    sim.rest();
    sim.check_rest();
}

#[test]
fn what_waits_for_a_home_that_goes_is_taken_elsewhere_or_told() {
    for seed in 0..12 {
        goes(seed, false);
        goes(seed, true);
    }
}
