//! Subscriptions and looks without end, of a pool and of a partner: bounded, and gone when their time is over.

use turnout_core::backend::{Backend, Sent};
use turnout_core::flow::Room;
use turnout_core::limits::{LOOKS_PER_DOMAIN_MAX, SIP_PAIRS_PER_USER_MAX};
use turnout_core::refusal::Condition;
use turnout_sip::parse::HeaderName as H;

use crate::stage::*;
use crate::support::header;

/// SUBSCRIBEs of one flood; a million were tried by hand.
fn many() -> usize {
    std::env::var("SUBSCRIBES").ok().and_then(|many| many.parse().ok()).unwrap_or(5_000)
}

fn subscribe(n: usize, partner: &str) -> String {
    format!(
        "SUBSCRIBE sip:{partner} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK{n}\r\nMax-Forwards: 69\r\n\
         From: <sip:alice@contoso.com>;tag=t{n}\r\nTo: <sip:{partner}>\r\nCall-ID: c{n}\r\nCSeq: 1 SUBSCRIBE\r\n\
         Contact: <sip:alice@contoso.com;opaque=user:epid:hYns;gruu>\r\nAccept: application/pidf+xml\r\n\
         Event: presence\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
    )
}

/// How a flood of SUBSCRIBEs was answered.
#[derive(Debug, Default)]
struct Flood {
    accepted: usize,
    refused: usize,
    ended: usize,
    /// Subscriptions open at a time.
    most: usize,
}

/// Each SUBSCRIBE begins another dialog; NOTIFYs are answered if `answers`.
fn flood(stage: &mut Stage, partner: impl Fn(usize) -> String, answers: bool) -> Flood {
    let mut flood = Flood::default();
    let link = stage.link;
    for n in 0..many() {
        stage.rig.says(link, &subscribe(n, &partner(n)));
        while !stage.is_quiet() {
            let message = stage.rig.next(link);
            match message.status() {
                Some(200) => flood.accepted += 1,
                Some(480) => flood.refused += 1,
                Some(other) => panic!("{other}"),
                None => {
                    flood.ended +=
                        usize::from(header(&message, H::SubscriptionState).starts_with("terminated"));
                    if answers {
                        stage.answer(&message, 200, "");
                    }
                }
            }
        }
        stage.rig.raw.clear();
        stage.stanzas();
        flood.most = flood.most.max(stage.rig.with(0, |_, backend, _| backend.subscriptions()));
    }
    flood
}

#[test]
fn a_pool_that_subscribes_without_end_has_so_many_for_a_pair() {
    // B-59: the same pair of users, another Call-ID each time. The oldest is asked to come back later, in its own dialog alone.
    for answers in [true, false] {
        let mut stage = Stage::new();
        let flood = flood(&mut stage, |_| BOB.to_owned(), answers);
        assert_eq!(flood.accepted + flood.refused, many(), "{flood:?}");
        let pair = usize::from(flood.accepted > 0);
        assert!(flood.most <= 17 + pair, "{flood:?}");
        // A pool that answers no NOTIFY is told of the end as long as there is room to wait for its answers.
        assert!(!answers || flood.ended >= flood.accepted - 16, "{flood:?}");
        // Time takes what is left.
        stage.pass(4000);
        assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 0);
    }
}

#[test]
fn a_pool_that_subscribes_to_everybody_has_an_end() {
    let mut stage = Stage::new();
    let flood = flood(&mut stage, |n| format!("u{n}@partner.example"), true);
    assert_eq!(flood.accepted + flood.refused, many());
    assert!(flood.accepted <= 10_000, "{flood:?}");
    assert!(flood.most <= 2 * 10_000, "{flood:?}");
    stage.pass(4000);
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 0);
}

#[test]
fn looks_of_one_domain_do_not_take_the_turns_of_watchers() {
    // B-36: each probe of one who was granted nothing costs the pool a request, so there are only so many at a time.
    let mut stage = Stage::new();
    let mut refused = 0;
    let more = 500;
    for n in 0..LOOKS_PER_DOMAIN_MAX + more {
        match stage.offer(&format!("stranger{n}@partner.example"), "probe", "", &strangers()) {
            Sent::Answered(_) => {}
            Sent::Refused(_, refusal) => {
                assert_eq!(refusal.condition, Condition::ResourceConstraint);
                refused += 1;
            }
            sent => panic!("{sent:?}"),
        }
    }
    assert_eq!(refused, more);
    // Who may see is served all the same.
    stage.bob("probe", &granted());
    assert!(stage.described().iter().any(|line| line.contains("bob@partner.example")));
    // They end by themselves, and then others may look.
    stage.pass(400);
    assert!(matches!(stage.offer("late@partner.example", "probe", "", &strangers()), Sent::Answered(_)));
}

/// A watcher of this name asks to see; whether he was refused for want of room.
fn is_full(stage: &mut Stage, name: &str) -> bool {
    match stage.offer(name, "probe", "", &granted()) {
        Sent::Answered(_) => false,
        Sent::Refused(_, refusal) => {
            assert_eq!(refusal.condition, Condition::ResourceConstraint);
            true
        }
        sent => panic!("{sent:?}"),
    }
}

#[test]
fn so_many_watches_are_held_and_one_more_is_refused() {
    let room = Room { sip_watches: 20, ..Room::default() };
    let mut stage = Scene { room, ..Scene::default() }.open();
    for n in 0..20 {
        assert!(!is_full(&mut stage, &format!("u{n}@partner.example")), "{n}");
    }
    assert!(is_full(&mut stage, "more@partner.example"));
    assert!(!is_full(&mut stage, "u3@partner.example"), "who has one keeps it");
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.presence_open()).0, 20);
    // One ends, and there is room for another.
    stage.present("u3@partner.example", "unsubscribe", "", &strangers());
    stage.pass(400);
    assert!(!is_full(&mut stage, "more@partner.example"));
}

#[test]
fn so_many_subscriptions_are_held_and_one_more_is_refused() {
    let room = Room { sip_subscriptions: 20, ..Room::default() };
    let mut stage = Scene { room, ..Scene::default() }.open();
    let link = stage.link;
    let asks = |stage: &mut Stage, n: usize| {
        stage.rig.says(link, &subscribe(n, &format!("u{n}@partner.example")));
        let mut answer = 0;
        while !stage.is_quiet() {
            let message = stage.rig.next(link);
            match message.status() {
                Some(code) => answer = code,
                None => stage.answer(&message, 200, ""),
            }
        }
        answer
    };
    for n in 0..20 {
        assert_eq!(asks(&mut stage, n), 200, "{n}");
    }
    assert_eq!(asks(&mut stage, 20), 480);
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 20);
    stage.pass(4000);
    assert_eq!(asks(&mut stage, 21), 200, "they end, and there is room again");
}

#[test]
fn one_user_has_so_many_pairs_and_others_have_their_own() {
    let mut stage = Stage::new();
    for n in 0..SIP_PAIRS_PER_USER_MAX {
        assert!(!is_full(&mut stage, &format!("u{n}@partner.example")), "{n}");
    }
    assert!(is_full(&mut stage, "more@partner.example"));
    let other = stage
        .rig
        .stanza("<presence from='more@partner.example' to='carla@contoso.com' type='probe'></presence>");
    assert!(matches!(stage.present_stanza(other, &granted()), Sent::Answered(_)), "another local user");
}
