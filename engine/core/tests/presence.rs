//! Contacts on their way through whole shards: what is stored before it is told, what a move and a restart do.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]
#![allow(clippy::disallowed_methods, reason = "a test needs one instant to count from")]

#[path = "presence/gateway.rs"]
mod gateway;
#[path = "presence/rig.rs"]
mod rig;

use std::time::Duration;

use rig::{ANNA, BOB, CARLA, Rig};
use turnout_core::contact::{Contact, Pair, Record};
use turnout_core::contacts::{ContactCounts, Forget};
use turnout_core::io::{Input, Told};
use turnout_core::stanza::PresenceType::{
    Available, Probe, Subscribe, Subscribed, Unavailable, Unsubscribe, Unsubscribed,
};
use turnout_core::tally::DropRule;

fn record(local: &str, contact: Contact) -> Record {
    Record { pair: Pair { local: local.into(), partner: BOB.into() }, contact }
}

fn watcher() -> Contact {
    Contact { from: true, ..Contact::default() }
}

#[test]
fn a_request_reaches_the_pool_when_it_is_stored() {
    let mut rig = Rig::new(1, true);
    rig.partner_says(Subscribe, BOB, CARLA);
    assert_eq!(rig.pool_hears(), [] as [String; 0]);
    assert_eq!(rig.held(), 1, "it waits for the store");
    rig.partner_says(Available, "bob@partner.example/phone", CARLA);
    assert_eq!(rig.pool_hears(), [] as [String; 0], "nothing of the pair overtakes it");
    rig.persist();
    assert_eq!(
        rig.pool_hears(),
        [
            "subscribe bob@partner.example carla@contoso.com none+in",
            "available bob@partner.example/phone carla@contoso.com none+in",
        ]
    );
    rig.pool_says(Subscribed, CARLA, BOB);
    assert_eq!(rig.partner_hears(), [] as [String; 0]);
    rig.pool_says(Available, "carla@contoso.com/sfb", BOB);
    assert_eq!(rig.partner_hears(), [] as [String; 0], "presence does not come before the grant");
    rig.persist();
    assert_eq!(
        rig.partner_hears(),
        [
            "subscribed carla@contoso.com bob@partner.example",
            "available carla@contoso.com/sfb bob@partner.example",
        ]
    );
    assert_eq!(rig.stored(CARLA).unwrap().subscription(), "from");
    rig.check();
}

#[test]
fn without_a_store_nothing_waits() {
    let mut rig = Rig::new(1, false);
    rig.partner_says(Subscribe, BOB, CARLA);
    assert_eq!(rig.pool_hears(), ["subscribe bob@partner.example carla@contoso.com none+in"]);
    rig.pool_says(Subscribed, CARLA, BOB);
    assert_eq!(rig.partner_hears(), ["subscribed carla@contoso.com bob@partner.example"]);
    rig.check();
}

#[test]
fn what_nobody_asked_for_and_nobody_may_see_is_dropped() {
    let mut rig = Rig::new(1, false);
    rig.partner_says(Subscribed, BOB, CARLA);
    rig.partner_says(Unsubscribed, BOB, CARLA);
    assert_eq!(rig.pool_hears(), [] as [String; 0]);
    rig.pool_says(Available, "carla@contoso.com/sfb", BOB);
    assert_eq!(rig.partner_hears(), [] as [String; 0]);
    assert_eq!(rig.dropped(DropRule::ContactUnasked), 3);
    rig.check();
}

#[test]
fn a_partner_who_has_granted_is_not_asked_again() {
    let mut rig = Rig::new(1, false);
    rig.pool_says(Subscribe, CARLA, BOB);
    rig.partner_says(Subscribed, BOB, CARLA);
    assert_eq!(rig.partner_hears(), ["subscribe carla@contoso.com bob@partner.example"]);
    assert_eq!(rig.pool_hears(), ["subscribed bob@partner.example carla@contoso.com to"]);
    // His pool has lost its dialogs and asks anew.
    rig.pool_says(Subscribe, CARLA, BOB);
    assert_eq!(rig.pool_hears(), ["subscribed bob@partner.example carla@contoso.com to"]);
    assert_eq!(
        rig.partner_hears(),
        ["probe carla@contoso.com bob@partner.example"],
        "he is looked at instead"
    );
    assert_eq!(rig.dropped(DropRule::ContactKnown), 1);
    rig.partner_says(Unsubscribed, BOB, CARLA);
    rig.pool_says(Subscribe, CARLA, BOB);
    assert_eq!(
        rig.pool_hears(),
        [
            "unsubscribed bob@partner.example carla@contoso.com none+veto",
            "unsubscribed bob@partner.example carla@contoso.com none+veto",
        ]
    );
    assert_eq!(rig.partner_hears(), [] as [String; 0], "a veto is remembered");
    rig.check();
}

#[test]
fn after_a_restart_every_watcher_is_served_and_nobody_is_asked() {
    let mut rig = Rig::new(2, true);
    rig.remember(vec![
        record(CARLA, Contact { shown: vec!["sfb".into()], ..watcher() }),
        record(ANNA, watcher()),
        record("cleo@contoso.com", Contact { asking: true, ..Contact::default() }),
    ]);
    rig.pass(Duration::from_secs(1));
    let mut served = rig.pool_hears();
    served.sort();
    assert_eq!(
        served,
        [
            "probe bob@partner.example carla@contoso.com from",
            "subscribe bob@partner.example cleo@contoso.com none+in",
        ]
    );
    assert_eq!(rig.partner_hears(), [] as [String; 0]);
    let asked = ["probe bob@partner.example anna@contoso.com"];
    assert_eq!(rig.gateway_hears(), asked, "only the gateway knows how its users are");
    rig.check();
}

#[test]
fn a_pool_that_is_not_there_shows_nobody_and_is_asked_again() {
    let mut rig = Rig::new(1, true);
    rig.pool_is_down(true);
    rig.remember(vec![record(CARLA, Contact { shown: vec!["sfb".into()], ..watcher() })]);
    rig.pass(Duration::from_secs(61));
    assert_eq!(rig.partner_hears(), ["unavailable carla@contoso.com/sfb bob@partner.example"]);
    rig.persist();
    assert_eq!(rig.stored(CARLA).unwrap().shown.len(), 0);
    rig.pool_is_down(false);
    rig.pass(Duration::from_secs(70));
    assert_eq!(rig.pool_hears(), ["probe bob@partner.example carla@contoso.com from"]);
    rig.check();
}

#[test]
fn a_move_ends_the_old_side_and_starts_the_new_one() {
    for shards in [1, 3] {
        let mut rig = Rig::new(shards, false);
        rig.gateway_says(Available, "anna@contoso.com/old", BOB);
        rig.partner_says(Subscribe, BOB, ANNA);
        rig.gateway_says(Subscribed, ANNA, BOB);
        rig.gateway_says(Subscribe, ANNA, BOB);
        rig.partner_says(Subscribed, BOB, ANNA);
        assert_eq!(rig.partner_hears().len(), 3, "the gateway's presence passes");
        assert_eq!(rig.gateway_hears().len(), 2);

        rig.move_user(ANNA, true);
        assert_eq!(rig.partner_hears(), ["unavailable anna@contoso.com/old bob@partner.example"]);
        assert_eq!(rig.pool_hears(), ["probe bob@partner.example anna@contoso.com both"]);
        rig.gateway_says(Available, "anna@contoso.com/old", BOB);
        rig.gateway_says(Unavailable, "anna@contoso.com/old", BOB);
        assert_eq!(rig.partner_hears(), [] as [String; 0], "the old side speaks no more for her");
        assert_eq!(rig.dropped(DropRule::HomeLeft), 2);
        rig.pool_says(Available, "anna@contoso.com/sfb", BOB);
        assert_eq!(rig.partner_hears(), ["available anna@contoso.com/sfb bob@partner.example"]);
        rig.pool_says(Subscribe, ANNA, BOB);
        assert_eq!(rig.pool_hears(), ["subscribed bob@partner.example anna@contoso.com both"]);
        assert_eq!(rig.partner_hears(), ["probe anna@contoso.com bob@partner.example"]);

        rig.move_user(ANNA, false);
        assert_eq!(rig.parted(), [ANNA]);
        assert_eq!(
            rig.partner_hears(),
            [
                "unavailable anna@contoso.com/sfb bob@partner.example",
                "probe anna@contoso.com bob@partner.example",
            ]
        );
        assert_eq!(rig.gateway_hears(), ["probe bob@partner.example anna@contoso.com"]);
        rig.partner_says(Unsubscribe, BOB, ANNA);
        rig.move_user(ANNA, true);
        assert_eq!(rig.pool_hears(), [] as [String; 0], "he does not want to see her any more");
        rig.check();
    }
}

#[test]
fn a_burst_toward_a_partner_goes_out_evenly() {
    let mut rig = Rig::new(1, false);
    for n in 0..100 {
        rig.pool_says(Subscribe, CARLA, &format!("u{n}@partner.example"));
    }
    let at_once = rig.partner_hears().len();
    assert_eq!(at_once, 20, "a tenth of 200 a second");
    assert_eq!(rig.held(), 80);
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.partner_hears().len(), 20);
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.partner_hears().len(), 60);
    rig.pool_says(Probe, CARLA, BOB);
    assert_eq!(rig.partner_hears().len(), 1);
    rig.check();
}

#[test]
fn who_was_asked_is_not_asked_again_while_his_answer_may_be_on_its_way() {
    let mut rig = Rig::new(1, false);
    rig.pool_says(Subscribe, CARLA, BOB);
    rig.pool_says(Subscribe, CARLA, BOB);
    assert_eq!(rig.partner_hears(), ["subscribe carla@contoso.com bob@partner.example"]);
    assert_eq!(rig.dropped(DropRule::ContactKnown), 1);
    rig.partner_says(Unsubscribed, BOB, CARLA);
    rig.partner_says(Subscribe, BOB, CARLA);
    rig.pool_says(Subscribe, CARLA, BOB);
    assert_eq!(rig.partner_hears(), ["subscribe carla@contoso.com bob@partner.example"], "he has answered");
    rig.pass(Duration::from_secs(601));
    rig.pool_says(Subscribe, CARLA, BOB);
    assert_eq!(rig.partner_hears().len(), 1, "the request may have been lost");
    rig.check();
}

#[test]
fn a_partner_that_could_not_be_asked_is_asked_again() {
    for shards in [1, 3] {
        let mut rig = Rig::new(shards, false);
        rig.remember(vec![record(CARLA, Contact { to: true, ..Contact::default() })]);
        rig.partner_is_down(true);
        rig.pool_says(Subscribe, CARLA, BOB);
        rig.pass(Duration::from_secs(60));
        assert_eq!(rig.partner_hears(), [] as [String; 0]);
        rig.partner_is_down(false);
        rig.pass(Duration::from_secs(700));
        assert_eq!(rig.partner_hears(), ["probe carla@contoso.com bob@partner.example"]);
        rig.pass(Duration::from_secs(2_000));
        assert_eq!(rig.partner_hears(), [] as [String; 0]);
        rig.check();
    }
}

fn forget(local: &str, what: Forget) -> Input {
    Input::Forget(7, Pair { local: local.into(), partner: BOB.into() }, what)
}

#[test]
fn an_administrator_sees_what_is_open_and_takes_back_a_veto() {
    for shards in [1, 3] {
        let mut rig = Rig::new(shards, true);
        let vetoed = Contact { from: true, vetoed: true, introduced: true, ..Contact::default() };
        rig.remember(vec![record(CARLA, vetoed.clone())]);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.pool_hears().len(), 1, "the watcher is served");
        assert_eq!(rig.counts(), ContactCounts { from: 1, vetoed: 1, ..ContactCounts::default() });
        let told = rig.administer(CARLA, Input::Ask(1, CARLA.into()));
        assert_eq!((told.contacts, told.contacts_total), (vec![record(CARLA, vetoed.clone())], 1));

        let told = rig.administer(CARLA, forget(CARLA, Forget::Veto));
        assert_eq!((told.contacts, told.contacts_total), (vec![record(CARLA, vetoed)], 1), "as it was");
        rig.persist();
        assert_eq!(rig.stored(CARLA), Some(Contact { introduced: true, ..watcher() }));
        assert_eq!(rig.administer(CARLA, forget(CARLA, Forget::Veto)), Told::default(), "there is none more");
        assert_eq!(rig.partner_hears(), [] as [String; 0], "nobody is told of it");
        rig.pool_says(Subscribe, CARLA, BOB);
        rig.persist();
        assert_eq!(rig.partner_hears(), ["subscribe carla@contoso.com bob@partner.example"]);
        rig.check();
    }
}

#[test]
fn a_contact_an_administrator_takes_back_ends_on_both_sides() {
    for shards in [1, 3] {
        let mut rig = Rig::new(shards, true);
        let both = Contact { to: true, shown: vec!["sfb".into()], ..watcher() };
        rig.remember(vec![record(CARLA, both)]);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.pool_hears(), ["probe bob@partner.example carla@contoso.com both"]);

        assert_eq!(rig.administer(CARLA, forget(CARLA, Forget::Contact)).contacts.len(), 1);
        assert_eq!(
            rig.partner_hears(),
            [
                "unavailable carla@contoso.com/sfb bob@partner.example",
                "unsubscribed carla@contoso.com bob@partner.example",
                "unsubscribe carla@contoso.com bob@partner.example",
            ]
        );
        assert_eq!(
            rig.pool_hears(),
            [
                "unsubscribe bob@partner.example carla@contoso.com none",
                "unsubscribed bob@partner.example carla@contoso.com none",
            ]
        );
        rig.persist();
        assert_eq!(rig.stored(CARLA), Some(Contact::default()), "an empty state: forgotten");
        assert_eq!(rig.counts(), ContactCounts::default());
        rig.pool_says(Available, "carla@contoso.com/sfb", BOB);
        assert_eq!(rig.partner_hears(), [] as [String; 0]);
        assert_eq!(rig.administer(CARLA, forget(CARLA, Forget::Contact)), Told::default());
        rig.check();
    }
}

/// A weekend's batch: everybody's watchers are served by the new home, evenly, and nobody at a partner is asked anything.
#[test]
fn ten_thousand_users_move_in_one_order() {
    const USERS: usize = 10_000;
    let mut rig = Rig::with_legacy_users(2, true, USERS);
    let users: Vec<String> = (0..USERS).map(Rig::legacy_user).collect();
    let both = Contact { to: true, from: true, shown: vec!["old".into()], ..Contact::default() };
    rig.remember(users.iter().map(|user| record(user, both.clone())).collect());
    rig.pass(Duration::from_secs(30));
    assert_eq!(rig.gateway_hears().len(), USERS, "after the start it is asked how each of them is");
    rig.move_users(users.iter().map(|user| user.as_str().into()).collect(), true);
    let gone = rig.partner_hears();
    assert_eq!(gone.len(), USERS, "what the old home showed ends at once");
    assert!(gone.iter().all(|line| line.starts_with("unavailable ") && line.contains("/old ")));
    // Two shards, 200 a second each.
    rig.pass(Duration::from_secs(10));
    let served = rig.pool_hears().len();
    assert!((3_500..=4_500).contains(&served), "{served} in 10 s");
    rig.pass(Duration::from_secs(30));
    assert_eq!(served + rig.pool_hears().len(), USERS);
    assert_eq!(rig.partner_hears(), [] as [String; 0]);
    rig.move_users(users.iter().map(|user| user.as_str().into()).collect(), false);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.gateway_hears().len(), USERS, "and back");
    let asked = rig.partner_hears();
    assert_eq!(asked.len(), USERS, "the gateway is told who is there");
    assert!(asked.iter().all(|line| line.starts_with("probe ")), "and nobody is asked to be seen");
    rig.check();
}

#[test]
fn what_a_partner_did_not_hear_is_said_again() {
    for shards in [1, 3] {
        let mut rig = Rig::new(shards, false);
        rig.partner_says(Subscribe, BOB, CARLA);
        rig.partner_is_down(true);
        rig.pool_says(Subscribed, CARLA, BOB);
        rig.pool_says(Available, "carla@contoso.com/sfb", BOB);
        rig.pass(Duration::from_secs(60));
        assert_eq!(rig.partner_hears(), [] as [String; 0]);
        rig.pool_hears();
        rig.partner_is_down(false);
        rig.pass(Duration::from_secs(700));
        assert_eq!(rig.partner_hears(), ["subscribed carla@contoso.com bob@partner.example"]);
        assert_eq!(rig.pool_hears(), ["probe bob@partner.example carla@contoso.com from"], "and how she is");
        rig.pass(Duration::from_secs(2_000));
        assert_eq!(rig.pool_hears(), [] as [String; 0], "once");
        rig.check();
    }
}
