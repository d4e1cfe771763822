//! What may wait, for how long, and whom it stops.

use std::sync::Arc;
use std::time::Duration;

use turnout_core::durable::Opened;
use turnout_core::flow::{FlowLimits, Room};
use turnout_core::io::{Input, LinkId, MoveOrder, Side};
use turnout_core::limits::{
    PAUSE_SHARED_MILLIS, SHARE_BYTES_MAX, SHARE_BYTES_PRESSED, SHARE_BYTES_RESUME, SHARED_SECONDS,
    SPOOL_AGE_MADE_SECONDS, SPOOL_AGE_SECONDS, SPOOL_AGE_SIP_SECONDS,
};
use turnout_core::refusal::Condition;
use turnout_core::stanza::Stanza;

use crate::rig::{ANNA, BOB, CARLA, LEGACY, POOL, Rig, large, link_of};

/// Nothing is connected to, and there is room for so much.
fn shut(room: Room) -> Rig {
    let rig = Rig::with(FlowLimits { room, ..FlowLimits::default() });
    rig.seen().dials_wait = true;
    rig
}

#[test]
fn so_many_wait_for_one_destination_and_one_more_is_refused() {
    let mut rig = shut(Room { spool_stanzas: 50, ..Room::default() });
    rig.say(Side::Partners, BOB, ANNA, 50);
    assert_eq!((rig.shard.held(), rig.refused()), (50, 0));
    rig.say(Side::Partners, BOB, ANNA, 1);
    assert_eq!((rig.shard.held(), rig.refused()), (50, 1));
    let (condition, text) = rig.refusal();
    assert_eq!(condition, Condition::ResourceConstraint);
    assert!(text.contains("too many stanzas wait"), "{text}");
    rig.say(LEGACY, ANNA, BOB, 1);
    assert_eq!((rig.shard.held(), rig.refused()), (51, 1), "another destination has room of its own");
    let first = rig.seen().dialed[0];
    rig.event(first, "ready");
    assert_eq!(rig.given(first), 50, "in the end all that was taken goes out");
    rig.check();
}

#[test]
fn so_many_bytes_wait_for_one_destination() {
    let mut rig = shut(Room { spool_bytes: 4 * large().len(), ..Room::default() });
    rig.say_large(Side::Partners, link_of(Side::Partners, 0), BOB, ANNA, 4);
    assert_eq!((rig.shard.held(), rig.refused()), (4, 0));
    rig.say(Side::Partners, BOB, ANNA, 1);
    assert_eq!((rig.shard.held(), rig.refused(), rig.refusal().0), (4, 1, Condition::ResourceConstraint));
    rig.check();
}

#[test]
fn so_many_bytes_wait_in_a_shard() {
    let mut rig = shut(Room { shard_spool_bytes: 4 * large().len(), ..Room::default() });
    rig.say_large(Side::Partners, link_of(Side::Partners, 0), BOB, ANNA, 1);
    for n in 0..3 {
        rig.say_large(LEGACY, link_of(LEGACY, 0), ANNA, &format!("u@p{n}.example"), 1);
    }
    assert_eq!((rig.shard.held(), rig.refused()), (4, 0));
    rig.say(LEGACY, ANNA, "u@other.example", 1);
    let (condition, text) = rig.refusal();
    assert_eq!((rig.shard.held(), condition), (4, Condition::ResourceConstraint));
    assert!(text.contains("too much waits in the router"), "{text}");
    // One destination takes what is for it: there is room again.
    let first = rig.seen().dialed[0];
    rig.event(first, "ready");
    rig.write_all(first);
    rig.shard.tally();
    rig.say(LEGACY, ANNA, "u@other.example", 1);
    assert_eq!((rig.shard.held(), rig.refused()), (4, 1));
    rig.check();
}

#[test]
fn what_is_held_for_a_move_counts_to_what_waits_in_a_shard() {
    let mut rig = shut(Room { shard_spool_bytes: 4 * large().len(), ..Room::default() });
    let hold = |id| Input::Hold(Arc::new(MoveOrder { id, users: vec![ANNA.into()] }));
    rig.handle(hold(1));
    rig.say_large(Side::Partners, link_of(Side::Partners, 0), BOB, ANNA, 4);
    assert_eq!((rig.shard.held(), rig.refused()), (4, 0));
    rig.shard.tally();
    rig.say(Side::Partners, BOB, ANNA, 1);
    let (condition, text) = rig.refusal();
    assert_eq!((rig.shard.held(), condition), (4, Condition::ResourceConstraint));
    assert!(text.contains("too much waits in the router"), "{text}");
    // Let go they are counted once: all four wait for the gateway, and none is refused.
    rig.handle(Input::Release(1));
    assert_eq!((rig.shard.held(), rig.refused()), (4, 1));
    rig.check();
}

#[test]
fn so_many_destinations_are_remembered_and_the_idle_make_room() {
    let most = Room::default().destinations;
    let mut rig = shut(Room::default());
    for n in 0..most {
        rig.say(LEGACY, ANNA, &format!("u@p{n}.example"), 1);
    }
    assert_eq!((rig.shard.held(), rig.refused(), rig.dials()), (most, 0, most));
    rig.say(LEGACY, ANNA, "u@more.example", 1);
    let (condition, text) = rig.refusal();
    assert_eq!((condition, rig.dials()), (Condition::ResourceConstraint, most));
    assert!(text.contains("too many destinations"), "{text}");
    rig.say(LEGACY, ANNA, "u@p7.example", 1);
    assert_eq!((rig.refused(), rig.shard.held()), (1, most + 1), "those that are known are served");
    // All is told that it waited too long; then none of them is wanted, and others may be.
    rig.seconds(SPOOL_AGE_SECONDS + 1);
    assert_eq!((rig.refused(), rig.shard.held()), (most + 2, 0));
    rig.seconds(SPOOL_AGE_SECONDS);
    rig.say(LEGACY, ANNA, "u@more.example", 1);
    assert_eq!((rig.refused(), rig.shard.held()), (most + 2, 1));
    rig.check();
}

#[test]
fn what_came_over_sip_waits_less_than_its_transaction() {
    let mut rig = shut(Room::default());
    let asked = rig.message(CARLA, BOB, &bytes::Bytes::new());
    let asked = Stanza { origin: turnout_core::stanza::Origin { ticket: 7, ..asked.origin }, ..asked };
    rig.bring(POOL, link_of(POOL, 0), [asked]);
    rig.say(LEGACY, ANNA, BOB, 1);
    rig.seconds(SPOOL_AGE_SIP_SECONDS - 1);
    assert_eq!((rig.shard.held(), rig.refused()), (2, 0));
    rig.seconds(2);
    assert_eq!((rig.shard.held(), rig.refused()), (1, 1), "its sender is told while he still listens");
    // The other one has the whole time.
    rig.check();
}

#[test]
fn an_error_of_the_routers_own_waits_longer_on_a_disk() {
    // The spool keeps messages for no longer than a minute; what is owed to a sender waits for ten.
    for (made, most) in [(false, 60), (true, SPOOL_AGE_MADE_SECONDS)] {
        let mut rig = shut(Room::default());
        let opened = Opened {
            epoch: 1,
            at: rig.now,
            unix_millis: 1_767_323_045_000,
            age: Duration::from_secs(60),
            detours: Arc::default(),
        };
        rig.handle(Input::Opened(Box::new(opened)));
        let stanza = Stanza { made, ..rig.message(BOB, ANNA, &bytes::Bytes::new()) };
        rig.bring(Side::Partners, link_of(Side::Partners, 0), [stanza]);
        assert_eq!(rig.seen().spooled, 1);
        // The gateway is tried again and again, and never answers.
        rig.seconds(most - 1);
        assert_eq!(rig.shard.held(), 1, "made {made}");
        rig.seconds(2);
        assert_eq!(rig.shard.held(), 0, "made {made}");
        rig.check();
    }
}

/// A link brings what fills its share, so many large messages, and is stopped; another one is not.
fn bring_a_share(rig: &mut Rig, one: LinkId, most: usize) {
    rig.say_large(Side::Partners, one, BOB, ANNA, most - 1);
    assert!(!rig.is_paused(one));
    rig.say_large(Side::Partners, one, BOB, ANNA, 1);
    assert!(rig.is_paused(one), "who has brought a share is not read");
    let other = rig.accept(Side::Partners, 1);
    rig.say_large(Side::Partners, other, "x@other.example", ANNA, 1);
    assert!(!rig.is_paused(other) && rig.refused() == 0, "another link is");
}

#[test]
fn a_full_share_stops_its_link_until_little_of_it_is_left() {
    let mut rig = shut(Room::default());
    let (one, size) = (link_of(Side::Partners, 0), large().len());
    let most = SHARE_BYTES_MAX / size;
    bring_a_share(&mut rig, one, most);
    // It goes on when no more than the rest is left, and not before. The link has a credit of four such stanzas.
    let link = rig.dialed();
    let gateway = rig.seen().dialed[0];
    assert_ne!(link, gateway, "each pair of domains has its own");
    rig.event(gateway, "ready");
    let mut left = most - rig.given(gateway);
    while rig.is_paused(one) {
        assert!(left * size > SHARE_BYTES_RESUME, "{left}");
        rig.write_all(gateway);
        left = most - rig.given(gateway);
    }
    assert!(left * size <= SHARE_BYTES_RESUME, "{left}");
    rig.check();
}

#[test]
fn what_a_link_brought_for_who_is_being_moved_is_a_share_too() {
    let mut rig = shut(Room::default());
    let one = link_of(Side::Partners, 0);
    let most = SHARE_BYTES_MAX / large().len();
    rig.handle(Input::Hold(Arc::new(MoveOrder { id: 1, users: vec![ANNA.into()] })));
    bring_a_share(&mut rig, one, most);
    rig.check();
    // Now it waits for the gateway, and is a share of what waits there.
    rig.handle(Input::Release(1));
    assert!(rig.is_paused(one) && rig.refused() == 0);
    rig.check();
    let gateway = rig.seen().dialed[0];
    rig.event(gateway, "ready");
    while rig.given(gateway) < most {
        rig.write_all(gateway);
    }
    rig.write_all(gateway);
    assert!(!rig.is_paused(one));
    rig.check();
}

#[test]
fn a_move_that_takes_long_costs_others_a_second_and_not_their_traffic() {
    let one = link_of(Side::Partners, 0);
    let most = SHARE_BYTES_MAX / large().len();
    let mut rig = shut(Room::default());
    rig.say(Side::Partners, BOB, CARLA, 1);
    rig.handle(Input::Hold(Arc::new(MoveOrder { id: 1, users: vec![ANNA.into()] })));
    flood(&mut rig, most);
    rig.say(Side::Partners, BOB, CARLA, 1);
    assert!(rig.is_paused(one));
    rig.millis(PAUSE_SHARED_MILLIS);
    assert!(!rig.is_paused(one), "it brings for others too");
    let before = rig.refused();
    rig.say(Side::Partners, BOB, ANNA, 1);
    let (condition, text) = rig.refusal();
    assert_eq!((rig.refused() - before, condition), (1, Condition::ResourceConstraint));
    assert!(text.contains("being moved"), "{text}");
    rig.say(Side::Partners, BOB, CARLA, 1);
    assert_eq!(rig.refused() - before, 1, "what is for others is not refused");
    rig.handle(Input::Release(1));
    rig.check();
    // A link of the pool brings answers too and is never stopped: what is beyond its share is refused at once.
    let mut rig = shut(Room::default());
    let pool = link_of(POOL, 0);
    rig.handle(Input::Hold(Arc::new(MoveOrder { id: 1, users: vec![ANNA.into()] })));
    rig.say_large(POOL, pool, CARLA, ANNA, most);
    assert_eq!(rig.refused(), 0);
    rig.say(POOL, CARLA, ANNA, 1);
    assert!(!rig.is_paused(pool) && rig.refused() == 1);
    rig.check();
}

#[test]
fn shares_are_small_when_the_shard_is_half_full() {
    let size = large().len();
    let share = SHARE_BYTES_PRESSED / size;
    let mut rig = shut(Room { shard_spool_bytes: 16 * size, ..Room::default() });
    let one = link_of(Side::Partners, 0);
    // Nine links have one share of the small kind each; the shard is more than half full, and each was within the large share.
    for n in 1..10 {
        let link = rig.accept(Side::Partners, n);
        rig.say_large(Side::Partners, link, BOB, ANNA, share);
        assert_eq!(rig.is_paused(link), n > 8, "{n}");
    }
    rig.say_large(Side::Partners, one, BOB, ANNA, share);
    assert!(rig.is_paused(one) && rig.refused() == 0, "now a small share is a full one");
    rig.check();
}

/// Brings so many shares at once, as one read may.
fn flood(rig: &mut Rig, count: usize) {
    let bytes = large();
    let stanzas: Vec<Stanza> = (0..count).map(|_| rig.message(BOB, ANNA, &bytes)).collect();
    rig.bring(Side::Partners, link_of(Side::Partners, 0), stanzas);
}

#[test]
fn who_brings_for_others_too_is_stopped_for_so_long() {
    let one = link_of(Side::Partners, 0);
    let most = SHARE_BYTES_MAX / large().len();
    // Who brought for another within the time counts as one that brings for several; who did before does not.
    for (ago, shared) in [(SHARED_SECONDS - 2, true), (SHARED_SECONDS, false)] {
        let mut rig = shut(Room::default());
        rig.say(Side::Partners, BOB, ANNA, 1);
        rig.say(Side::Partners, BOB, CARLA, 1);
        rig.say(Side::Partners, BOB, ANNA, 1);
        rig.seconds(ago);
        flood(&mut rig, most);
        assert!(rig.is_paused(one), "{ago}");
        rig.millis(PAUSE_SHARED_MILLIS - 1);
        assert!(rig.is_paused(one), "{ago}");
        rig.millis(1);
        assert_eq!(rig.is_paused(one), !shared, "{ago}");
        let before = rig.refused();
        rig.say(Side::Partners, BOB, ANNA, 1);
        assert_eq!(rig.refused() - before, usize::from(shared), "what is beyond the share is refused");
        rig.say(Side::Partners, BOB, CARLA, 1);
        assert_eq!(rig.refused() - before, usize::from(shared), "what is for others is not");
        rig.check();
    }
}
