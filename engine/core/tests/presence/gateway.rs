//! The legacy gateway is lost, silent or back, and the router restarts beside it.

use std::time::Duration;

use turnout_core::contact::Contact;
use turnout_core::stanza::PresenceType::{Available, Subscribe, Subscribed, Unavailable};

use crate::rig::{ANNA, BOB, Rig};
use crate::{record, watcher};

const DESK: &str = "anna@contoso.com/desk";
const NOTHING: [String; 0] = [];
const ASKED: &str = "probe bob@partner.example anna@contoso.com";

/// Bob sees Anna at her desk.
fn seen(shards: u16) -> Rig {
    let mut rig = Rig::new(shards, false);
    rig.partner_says(Subscribe, BOB, ANNA);
    rig.gateway_says(Subscribed, ANNA, BOB);
    rig.gateway_says(Available, DESK, BOB);
    assert_eq!(rig.partner_hears().len(), 2);
    assert_eq!(rig.gateway_hears().len(), 1);
    rig
}

#[test]
fn users_of_a_gateway_that_is_lost_are_not_there_until_it_is_back() {
    for shards in [1, 3] {
        let mut rig = seen(shards);
        rig.gateway_dies();
        rig.pass(Duration::from_secs(55));
        assert_eq!(rig.partner_hears(), NOTHING, "it may be back in a moment");
        rig.pass(Duration::from_secs(10));
        assert_eq!(rig.partner_hears(), ["unavailable anna@contoso.com/desk bob@partner.example"]);
        rig.pass(Duration::from_secs(3_600));
        assert_eq!(rig.partner_hears(), NOTHING, "once, and never that he may not see her");
        rig.gateway_is_back();
        rig.pass(Duration::from_secs(100));
        let hears = rig.gateway_hears();
        assert!(!hears.is_empty() && hears.iter().all(|line| line == ASKED), "{hears:?}");
        rig.gateway_says(Available, DESK, BOB);
        assert_eq!(rig.partner_hears(), ["available anna@contoso.com/desk bob@partner.example"]);
        rig.check();
    }
}

#[test]
fn a_gateway_that_is_back_in_time_was_never_gone() {
    let mut rig = seen(2);
    rig.gateway_dies();
    rig.pass(Duration::from_secs(20));
    rig.gateway_is_back();
    rig.pass(Duration::from_secs(580));
    assert_eq!(rig.partner_hears(), NOTHING);
    assert_eq!(rig.gateway_hears(), [ASKED, ASKED], "one to find it, and each once it is found");
}

#[test]
fn a_silent_gateway_is_asked_for_one_of_its_users_and_that_is_all() {
    let mut rig = seen(1);
    rig.gateway_says(Available, "l1@contoso.com/desk", BOB);
    rig.partner_hears();
    rig.pass(Duration::from_secs(3_601));
    assert_eq!(rig.partner_hears(), NOTHING);
    assert_eq!(
        rig.gateway_hears(),
        vec![ASKED.to_owned(); 6],
        "once in ten minutes, whatever the number of users"
    );
    // Who looks whether our port is open does not make it more.
    for _ in 0..100 {
        rig.gateway_dies();
        rig.gateway_is_back();
        rig.pass(Duration::from_secs(1));
    }
    assert!(rig.gateway_hears().len() <= 5);
    // With nobody shown there is nothing to look after.
    rig.gateway_says(Unavailable, DESK, BOB);
    rig.partner_hears();
    rig.pass(Duration::from_secs(3_600));
    assert_eq!(rig.gateway_hears(), NOTHING);
}

#[test]
fn after_a_restart_what_the_gateway_does_not_say_again_ends() {
    let shown = || Contact { shown: vec!["desk".into(), "phone".into()], ..watcher() };
    // It is the same whether she is still at one of the two, or nowhere.
    for (kind, from, ended) in [(Available, DESK, &["phone"][..]), (Unavailable, ANNA, &[])] {
        let mut rig = Rig::new(1, true);
        rig.remember(vec![record(ANNA, shown())]);
        rig.pass(Duration::from_secs(1));
        assert_eq!(rig.gateway_hears(), [ASKED]);
        rig.gateway_says(kind, from, BOB);
        rig.persist();
        rig.partner_hears();
        rig.pass(Duration::from_secs(120));
        let ended: Vec<String> = ended
            .iter()
            .map(|name| format!("unavailable anna@contoso.com/{name} bob@partner.example"))
            .collect();
        assert_eq!(rig.partner_hears(), ended);
        rig.check();
    }
    let mut rig = Rig::new(1, true);
    rig.remember(vec![record(ANNA, shown())]);
    rig.pass(Duration::from_secs(120));
    assert_eq!(
        rig.partner_hears(),
        NOTHING,
        "a gateway that answers no such question is not taken at its silence"
    );
}

#[test]
fn a_gateway_that_died_beside_the_router_is_found_missing() {
    let mut rig = Rig::new(2, true);
    rig.gateway_dies();
    rig.remember(vec![record(ANNA, Contact { shown: vec!["desk".into()], ..watcher() })]);
    rig.pass(Duration::from_secs(65));
    assert_eq!(rig.partner_hears(), ["unavailable anna@contoso.com/desk bob@partner.example"]);
    rig.persist();
    assert_eq!(rig.stored(ANNA).unwrap().shown.len(), 0);
    rig.check();
}
