//! Subscriptions and looks without end, of a pool and of a partner: bounded, and gone when their time is over.

use turnout_core::backend::Sent;
use turnout_core::limits::LOOKS_PER_DOMAIN_MAX;
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
