//! Senders, moves, contacts and presence.

use std::sync::Arc;

use turnout_core::contact::{Contact, Pair, Record};
use turnout_core::directory::User;
use turnout_core::flow::{FlowLimits, Rate, Room};
use turnout_core::home::{HomeId, Residence};
use turnout_core::io::{Input, MoveOrder, Side};
use turnout_core::jid::Jid;
use turnout_core::limits::{
    HOLD_MILLIS_MAX, MOVE_GRACE_SECONDS, MOVE_SETTLE_MILLIS, PARTNER_RATES_MAX, PRESENCE_WAITING_MAX,
    RATE_PER_SECOND_MAX, SENDERS_MAX, TOLD_CONTACTS_MAX,
};
use turnout_core::moves::{Act, Mover};
use turnout_core::presence::PresenceRules;
use turnout_core::refusal::Condition;
use turnout_core::stanza::{Kind, PresenceType, Stanza};

use crate::rig::{ANNA, BOB, CARLA, LEGACY, POOL, Rig, link_of, world};

#[test]
fn no_rate_is_faster_than_the_fastest() {
    let fastest = Rate { per_second: RATE_PER_SECOND_MAX, burst: 1 };
    assert_eq!(Rate::new(RATE_PER_SECOND_MAX, 1), Some(fastest));
    assert_eq!(Rate::new(RATE_PER_SECOND_MAX + 1, 1), Some(fastest));
    assert_eq!(Rate::new(u32::MAX, 0), Some(fastest), "nor is a burst nothing");
    assert_eq!(Rate::new(0, 10), None);
}

/// Everybody of `name` writes twice where one may; gives how many were refused.
fn twice(rig: &mut Rig, count: usize, name: impl Fn(usize) -> String) -> usize {
    let before = rig.refused();
    for n in 0..count {
        rig.say(Side::Partners, &name(n), ANNA, 2);
    }
    rig.refused() - before
}

#[test]
fn counts_are_kept_of_so_many_senders_and_the_next_is_not_held_back() {
    let flow = FlowLimits { sender_rate: Rate::new(1, 1), ..FlowLimits::default() };
    let mut rig = Rig::with(flow);
    rig.seen().dials_wait = true;
    let name = |n: usize| format!("u{n}@partner.example");
    assert_eq!(twice(&mut rig, SENDERS_MAX, name), SENDERS_MAX, "each has his own count");
    assert_eq!(twice(&mut rig, 1, |_| "more@partner.example".to_owned()), 0, "one more has none");
    assert_eq!(twice(&mut rig, 1, |_| name(0)), 2, "who has one is held to it");
    rig.seconds(2);
    assert_eq!(twice(&mut rig, 1, |_| "more@partner.example".to_owned()), 1, "the quiet make room");
    rig.check();
}

#[test]
fn counts_are_kept_of_so_many_partners_and_the_next_is_not_held_back() {
    let flow = FlowLimits { partner_rate: Rate::new(1, 1), ..FlowLimits::default() };
    let room = Room { destinations: 2 * PARTNER_RATES_MAX, ..Room::default() };
    let mut rig = Rig::with(FlowLimits { room, ..flow });
    rig.seen().dials_wait = true;
    let name = |n: usize| format!("u@p{n}.example");
    assert_eq!(twice(&mut rig, PARTNER_RATES_MAX, name), PARTNER_RATES_MAX);
    assert_eq!(twice(&mut rig, 1, |_| "u@more.example".to_owned()), 0, "one more has none");
    assert_eq!(twice(&mut rig, 1, |_| name(0)), 2);
    rig.seconds(2);
    assert_eq!(twice(&mut rig, 1, |_| "u@more.example".to_owned()), 1, "the quiet make room");
    rig.check();
}

fn order(rig: &mut Rig, id: u64, user: &str) {
    rig.handle(Input::Hold(Arc::new(MoveOrder { id, users: vec![user.into()] })));
    rig.handle(Input::Settle(id));
}

#[test]
fn a_move_waits_for_quiet_and_no_longer_than_it_may() {
    let mut rig = Rig::new();
    order(&mut rig, 1, ANNA);
    rig.millis(MOVE_SETTLE_MILLIS - 1);
    assert!(rig.seen().settled.is_empty(), "an answer may still be on its way");
    rig.millis(3);
    assert_eq!(rig.seen().settled, [1]);
    // What is under way holds it up, until whoever runs the move has waited long enough.
    let mut mover = Mover::new(1);
    let (id, _) = mover.begin(rig.now, vec![ANNA.into()]);
    assert_eq!(mover.deadline(), Some(rig.now + std::time::Duration::from_millis(HOLD_MILLIS_MAX)));
    let just_before = rig.now + std::time::Duration::from_millis(HOLD_MILLIS_MAX - 1);
    assert!(mover.expire(just_before).is_empty());
    let acts = mover.expire(rig.now + std::time::Duration::from_millis(HOLD_MILLIS_MAX));
    assert!(matches!(acts[..], [Act::Commit { id: ended, in_time: false }] if ended == id));
}

#[test]
fn the_old_home_may_speak_for_who_moved_for_so_long() {
    let mut rig = Rig::new();
    rig.seen().dials_wait = true;
    order(&mut rig, 1, ANNA);
    let modern = User::at(Residence::Home(HomeId(1)));
    rig.shard.directory().overlay().set(Jid::parse(ANNA).unwrap().view(), modern).unwrap();
    rig.handle(Input::Release(1));
    rig.say(LEGACY, ANNA, BOB, 1);
    assert_eq!((rig.refused(), rig.shard.held()), (0, 1));
    rig.seconds(MOVE_GRACE_SECONDS - 1);
    let before = rig.refused();
    rig.say(LEGACY, ANNA, BOB, 1);
    assert_eq!(rig.refused(), before);
    rig.seconds(1);
    let before = rig.refused();
    rig.say(LEGACY, ANNA, BOB, 1);
    assert_eq!(rig.refused(), before + 1, "then he lives elsewhere");
    rig.say(POOL, ANNA, BOB, 1);
    assert_eq!(rig.refused(), before + 1, "and speaks from there");
    rig.check();
}

fn contact(local: &str, partner: &str) -> Record {
    let pair = Pair { local: local.into(), partner: partner.into() };
    Record { pair, contact: Contact { to: true, from: true, ..Contact::default() } }
}

fn presence(rig: &mut Rig, kind: PresenceType, from: &str, to: &str) -> Stanza {
    let stanza = rig.message(from, to, &bytes::Bytes::new());
    Stanza { kind: Kind::Presence(kind), ..stanza }
}

#[test]
fn so_many_contacts_are_remembered_and_one_more_is_refused() {
    // Of one user, and in all: what the store remembers counts as well.
    for (contacts, contacts_per_user) in [(100, 20), (30, 25)] {
        let room = Room { contacts, contacts_per_user, ..Room::default() };
        let mut rig = Rig::with(FlowLimits { room, ..FlowLimits::default() });
        let asks = |rig: &mut Rig, n: usize| {
            let stanza = presence(rig, PresenceType::Subscribe, &format!("u{n}@p{n}.example"), CARLA);
            rig.bring(Side::Partners, link_of(Side::Partners, 0), [stanza]);
            let grant = presence(rig, PresenceType::Subscribed, CARLA, &format!("u{n}@p{n}.example"));
            rig.bring(POOL, link_of(POOL, 0), [grant]);
        };
        let stored = (0..10).map(|n| contact(&format!("l{n}@contoso.com"), BOB));
        rig.handle(Input::Contacts(stored.collect()));
        for n in 0..20 {
            asks(&mut rig, n);
        }
        let counts = |rig: &mut Rig| rig.shard.tally().contacts.both + rig.shard.tally().contacts.from;
        assert_eq!((rig.refused(), counts(&mut rig)), (0, 30));
        asks(&mut rig, 20);
        assert_eq!((rig.refused(), rig.refusal().0), (1, Condition::ResourceConstraint), "{contacts}");
        assert_eq!(counts(&mut rig), 30);
        asks(&mut rig, 3);
        assert_eq!(rig.refused(), 1, "who is remembered goes on to be served");
        rig.check();
    }
}

#[test]
fn a_reload_changes_how_much_there_is_room_for_and_takes_nothing_away() {
    let of = |contacts| FlowLimits { room: Room { contacts, ..Room::default() }, ..FlowLimits::default() };
    let mut rig = Rig::with(of(3));
    let asks = |rig: &mut Rig, n: usize| {
        let before = rig.refused();
        let stanza = presence(rig, PresenceType::Subscribe, &format!("u{n}@p{n}.example"), CARLA);
        rig.bring(Side::Partners, link_of(Side::Partners, 0), [stanza]);
        rig.refused() == before
    };
    assert!((0..3).all(|n| asks(&mut rig, n)) && !asks(&mut rig, 3));
    rig.handle(Input::World(world(of(4), PresenceRules::default())));
    assert!(asks(&mut rig, 3) && !asks(&mut rig, 4));
    rig.handle(Input::World(world(of(2), PresenceRules::default())));
    assert!((0..4).all(|n| asks(&mut rig, n)), "those who were there stay");
    assert!(!asks(&mut rig, 4));
    rig.check();
}

#[test]
fn an_administrator_is_told_of_so_many_contacts() {
    for more in [0, 1] {
        let mut rig = Rig::new();
        let all = TOLD_CONTACTS_MAX + more;
        let stored = (0..all).map(|n| contact(CARLA, &format!("u{n}@partner.example")));
        rig.handle(Input::Contacts(stored.collect()));
        rig.handle(Input::Ask(1, CARLA.into()));
        assert_eq!(rig.seen().told, Some((TOLD_CONTACTS_MAX, all)));
    }
}

#[test]
fn so_much_presence_waits_for_the_store_and_one_more_is_refused() {
    let rules = PresenceRules { durable: true, ..PresenceRules::default() };
    let mut rig = Rig::of(FlowLimits::default(), rules);
    let asks = presence(&mut rig, PresenceType::Subscribe, BOB, CARLA);
    rig.bring(Side::Partners, link_of(Side::Partners, 0), [asks]);
    let first = rig.seen().persisted;
    assert_eq!((first, rig.shard.held()), (1, 1), "what changes a contact waits for the store");
    let (link, batch) = (link_of(Side::Partners, 0), 4096);
    for _ in 0..PRESENCE_WAITING_MAX / batch {
        let more: Vec<Stanza> =
            (0..batch).map(|_| presence(&mut rig, PresenceType::Available, BOB, CARLA)).collect();
        rig.bring(Side::Partners, link, more);
    }
    assert_eq!(rig.shard.held(), PRESENCE_WAITING_MAX, "and what comes behind it; one was too many");
    let dropped: u64 = rig.shard.tally().passed.dropped.iter().sum();
    assert_eq!((dropped, rig.refused()), (1, 0), "presence itself is answered by nothing");
    let asks = presence(&mut rig, PresenceType::Subscribe, "eve@partner.example", CARLA);
    rig.bring(Side::Partners, link, [asks]);
    assert_eq!(rig.refused(), 1, "a question is");
    assert_eq!(rig.shard.tally().contacts.asking, 1, "and has not been asked: the first one alone has");
    assert_eq!(rig.refusal().0, Condition::ResourceConstraint);
    rig.say(Side::Partners, BOB, CARLA, 1);
    assert_eq!(rig.refused(), 1, "messages go on");
    rig.seen().dials_wait = false;
    rig.handle(Input::Persisted(first));
    assert_eq!(rig.shard.tally().presence_waiting, 0);
    let asks = presence(&mut rig, PresenceType::Subscribe, "eve@partner.example", CARLA);
    rig.bring(Side::Partners, link, [asks]);
    assert_eq!((rig.refused(), rig.shard.tally().contacts.asking), (1, 2), "there is room again");
    rig.check();
}
