//! The pool watches a partner's user: A.3.5 from the pool, SE-04 to SE-06, SE-13.

use std::time::Duration;

use turnout_core::backend::{Backend, Verdict};
use turnout_core::home::Dialect;
use turnout_core::io::LinkId;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_sip::parse::{HeaderName as H, Message};

use crate::stage::*;
use crate::support::{body, header, within};

const CONTACT: &str = "Contact: <sip:alice@contoso.com;opaque=user:epid:hYns;gruu>\r\n";
const ACCEPT: &str = "Accept: application/msrtc-event-categories+xml, application/pidf+xml\r\n";
const ROUTE: &str = "Record-Route: <sip:pool2019.contoso.com:5061;lr;ms-route-sig=xx>\r\n";

/// A SUBSCRIBE of the pool as its clients send it; `extra` is added.
fn subscribe(call_id: &str, extra: &str) -> String {
    format!(
        "SUBSCRIBE sip:bob@partner.example SIP/2.0\r\n{ROUTE}\
         Via: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK{call_id}\r\nMax-Forwards: 69\r\n\
         From: \"Alice\"<sip:alice@contoso.com>;tag=9d5c;epid=b84a\r\nTo: <sip:bob@partner.example>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 SUBSCRIBE\r\n{extra}Content-Length: 0\r\n\r\n"
    )
}

/// The usual headers.
fn usual(expires: u32) -> String {
    format!("{CONTACT}{ACCEPT}Event: presence\r\nExpires: {expires}\r\n")
}

impl Stage {
    /// What the pool says, and our answer to it.
    fn says(&mut self, text: &str) -> Message {
        let link = self.link;
        self.rig.says(link, text);
        self.rig.next(link)
    }

    /// A subscription that waits for Bob: the 200 and the first NOTIFY, which is answered.
    fn subscribed(&mut self, call_id: &str) -> Message {
        let ok = self.says(&subscribe(call_id, &usual(3600)));
        assert_eq!(ok.status(), Some(200));
        let notify = self.next("NOTIFY");
        assert!(header(&notify, H::SubscriptionState).starts_with("pending;expires="));
        self.answer(&notify, 200, "");
        ok
    }

    /// One that Bob allowed, who is seen on his phone.
    fn seen(&mut self, call_id: &str) -> Message {
        let ok = self.subscribed(call_id);
        self.bob("subscribed", &strangers());
        self.told_pool("active;expires=3600", None);
        self.present(BOBS_PHONE, "", "<show>away</show>", &strangers());
        self.told_pool("active;expires=3600", Some("open"));
        self.stanzas();
        ok
    }

    /// The next NOTIFY, which is answered: where the subscription stands, and what is shown.
    fn told_pool(&mut self, state: &str, basic: Option<&str>) -> String {
        let notify = self.next("NOTIFY");
        assert_eq!(header(&notify, H::SubscriptionState), state);
        let body = body(&notify);
        match basic {
            Some(basic) => assert!(body.contains(&format!("<basic>{basic}</basic>")), "{body}"),
            None => assert_eq!(body, ""),
        }
        self.answer(&notify, 200, "");
        body
    }

    fn subscriptions(&mut self) -> usize {
        self.rig.with(0, |_, backend, _| backend.subscriptions())
    }
}

#[test]
fn a_request_is_answered_at_once_and_told_as_it_goes_on() {
    let mut stage = Stage::new();
    let ok = stage.says(&subscribe("c1", &usual(1800)));
    assert_eq!((ok.status(), header(&ok, H::Expires).as_str()), (Some(200), "1800"));
    assert_eq!(header(&ok, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tls>");
    assert!(header(&ok, H::RecordRoute).contains("ms-route-sig=xx"));
    let notify = stage.next("NOTIFY");
    assert_eq!(header(&notify, H::SubscriptionState), "pending;expires=1800");
    assert_eq!(header(&notify, H::Event), "presence");
    assert_eq!(header(&notify, H::To), header(&ok, H::From));
    assert_eq!(header(&notify, H::From), header(&ok, H::To));
    assert_eq!(header(&notify, H::Route), "<sip:pool2019.contoso.com:5061;lr;ms-route-sig=xx>");
    assert_eq!(header(&notify, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tls>");
    assert_eq!(body(&notify), "");
    let asked = stage.stanzas();
    assert_eq!((asked.len(), told(&asked[0]).as_str()), (1, "subscribe alice@contoso.com"));
    assert_eq!(asked[0].to.as_str(), BOB);
    // He agrees before the first NOTIFY is answered: the next waits for that, and for nothing else.
    stage.bob("subscribed", &strangers());
    assert!(stage.is_quiet());
    stage.answer(&notify, 200, "");
    stage.told_pool("active;expires=1800", None);
    stage.present(BOBS_PHONE, "", "<show>dnd</show><status>Not now</status>", &strangers());
    let text = stage.told_pool("active;expires=1800", Some("open"));
    assert!(text.contains("busy") && text.contains("Not now"), "{text}");
    stage.pass(6);
    stage.bob("unavailable", &strangers());
    stage.told_pool("active;expires=1794", Some("closed"));
    assert!(stage.is_quiet() && stage.told().is_empty());
}

#[test]
fn no_is_the_end_and_so_is_a_later_no() {
    let mut stage = Stage::new();
    stage.subscribed("c1");
    stage.bob("unsubscribed", &strangers());
    stage.told_pool("terminated;reason=rejected", None);
    assert_eq!(stage.subscriptions(), 0);
    let ok = stage.seen("c2");
    stage.bob("unsubscribed", &strangers());
    stage.told_pool("terminated;reason=rejected", None);
    assert_eq!(stage.subscriptions(), 0);
    let late = stage.says(&within(&ok, "SUBSCRIBE", 2, "z9hG4bKl", &usual(3600), ""));
    assert_eq!(late.status(), Some(481), "also after a restart");
    assert!(stage.told().is_empty());
}

#[test]
fn a_refresh_is_told_everything() {
    let mut stage = Stage::new();
    let waiting = stage.subscribed("c1");
    stage.stanzas();
    stage.pass(100);
    let ok = stage.says(&within(&waiting, "SUBSCRIBE", 2, "z9hG4bKr1", &usual(3600), ""));
    assert_eq!((ok.status(), header(&ok, H::Expires).as_str()), (Some(200), "3600"));
    stage.told_pool("pending;expires=3600", None);
    stage.bob("subscribed", &strangers());
    stage.told_pool("active;expires=3600", None);
    let ok = stage.says(&within(&waiting, "SUBSCRIBE", 3, "z9hG4bKr2", &usual(3600), ""));
    assert_eq!(ok.status(), Some(200));
    stage.told_pool("active;expires=3600", None);
    stage.present(BOBS_PHONE, "", "", &strangers());
    stage.told_pool("active;expires=3600", Some("open"));
    let ok = stage.says(&within(&waiting, "SUBSCRIBE", 4, "z9hG4bKr3", &usual(60), ""));
    assert_eq!(header(&ok, H::Expires), "60");
    stage.told_pool("active;expires=60", Some("open"));
    assert!(stage.told().is_empty(), "nobody is asked again");
    // Wrong numbers and words.
    for (number, extra, code) in [
        (4, usual(3600), 500),
        (5, usual(59), 423),
        (6, usual(3600).replace("3600", "soon"), 400),
        (7, usual(3600).replace("presence", "presence;id=2"), 481),
        (8, usual(3600).replace("presence", "dialog"), 489),
    ] {
        let text = within(&waiting, "SUBSCRIBE", number, &format!("z9hG4bKw{number}"), &extra, "");
        assert_eq!(stage.says(&text).status(), Some(code), "{extra}");
    }
    stage.pass(61);
    stage.told_pool("terminated;reason=timeout", Some("closed"));
    assert_eq!(stage.subscriptions(), 0);
}

#[test]
fn who_looks_no_longer_is_let_go_and_nobody_else_hears_of_it() {
    let mut stage = Stage::new();
    let ok = stage.seen("c1");
    let bye = stage.says(&within(&ok, "SUBSCRIBE", 2, "z9hG4bKe", &usual(0), ""));
    assert_eq!((bye.status(), header(&bye, H::Expires).as_str()), (Some(200), "0"));
    stage.told_pool("terminated;reason=timeout", Some("closed"));
    assert!(stage.told().is_empty() && stage.is_quiet());
    assert_eq!(stage.subscriptions(), 0);
}

#[test]
fn a_fetch_is_answered_with_what_is_known_and_leaves_nothing() {
    let mut stage = Stage::new();
    let ok = stage.says(&subscribe("f1", &usual(0)));
    assert_eq!((ok.status(), header(&ok, H::Expires).as_str()), (Some(200), "0"));
    stage.told_pool("terminated;reason=timeout", None);
    assert_eq!(stage.told(), ["probe alice@contoso.com"]);
    assert_eq!(stage.subscriptions(), 0);
    stage.seen("c1");
    let ok = stage.says(&subscribe("f2", &usual(0)));
    assert_eq!(ok.status(), Some(200));
    stage.told_pool("terminated;reason=timeout", Some("open"));
    assert!(stage.told().is_empty());
    assert_eq!(stage.subscriptions(), 1);
}

#[test]
fn lives_are_bounded() {
    let mut stage = Stage::new();
    let check = |stage: &mut Stage, n: u32, extra: &str, code: u16, name: Option<(H, &str)>| {
        let answer = stage.says(&subscribe(&format!("c{n}"), extra));
        assert_eq!(answer.status(), Some(code), "{extra}");
        if let Some((name, value)) = name {
            assert_eq!(header(&answer, name), value);
        }
        if code == 200 {
            stage.next("NOTIFY");
        }
    };
    let without = usual(1).replace("Expires: 1\r\n", "");
    check(&mut stage, 1, &without, 200, Some((H::Expires, "3600")));
    check(&mut stage, 2, &usual(60), 200, Some((H::Expires, "60")));
    check(&mut stage, 3, &usual(59), 423, Some((H::MinExpires, "60")));
    check(&mut stage, 4, &usual(4_000_000_000), 200, Some((H::Expires, "3600")));
    check(&mut stage, 5, &without.replace("Event", "Expires: 99999999999\r\nEvent"), 400, None);
    check(&mut stage, 6, &usual(3600).replace(CONTACT, ""), 400, None);
}

#[test]
fn what_is_not_served_is_refused_on_purpose() {
    let mut stage = Stage::new();
    let check = |stage: &mut Stage, n: u32, extra: &str, code: u16, name: H, value: &str| {
        let answer = stage.says(&subscribe(&format!("c{n}"), extra));
        assert_eq!((answer.status(), header(&answer, name).as_str()), (Some(code), value), "{extra}");
    };
    let with = |line: &str| format!("{}{line}\r\n", usual(3600));
    check(&mut stage, 1, &with("Proxy-Require: ms-benotify"), 420, H::Unsupported, "ms-benotify");
    check(
        &mut stage,
        2,
        &with("Require: adhoclist, categoryList"),
        420,
        H::Unsupported,
        "adhoclist, categoryList",
    );
    check(&mut stage, 3, &with("Require: eventlist"), 420, H::Unsupported, "eventlist");
    let other = usual(3600).replace("Event: presence", "Event: vnd-microsoft-roaming-contacts");
    check(&mut stage, 4, &other, 489, H::AllowEvents, "presence");
    let other = usual(3600).replace("Event: presence\r\n", "");
    check(&mut stage, 5, &other, 489, H::AllowEvents, "presence");
    let other = usual(3600).replace(ACCEPT, "Accept: application/msrtc-event-categories+xml\r\n");
    check(&mut stage, 6, &other, 406, H::Accept, "application/pidf+xml");
    assert!(stage.is_quiet() && stage.told().is_empty());
    assert_eq!(stage.subscriptions(), 0);
    // No Accept at all means PIDF (RFC 3856 §6.7).
    let ok = stage.says(&subscribe("c7", &usual(3600).replace(ACCEPT, "")));
    assert_eq!(ok.status(), Some(200));
}

#[test]
fn a_watcher_who_is_gone_is_told_no_more() {
    for code in [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604] {
        let mut stage = Stage::new();
        stage.seen("c1");
        stage.pass(10);
        stage.present(BOBS_PHONE, "", "", &strangers());
        let notify = stage.next("NOTIFY");
        stage.answer(&notify, code, "");
        assert_eq!(stage.subscriptions(), 0, "{code}");
        assert!(stage.described().is_empty());
    }
    for code in [400, 403, 500, 503, 603] {
        let mut stage = Stage::new();
        stage.seen("c1");
        stage.pass(10);
        stage.present(BOBS_PHONE, "", "", &strangers());
        let notify = stage.next("NOTIFY");
        stage.answer(&notify, code, "");
        assert_eq!(stage.subscriptions(), 1, "{code}");
        stage.pass(29);
        assert!(stage.is_quiet());
        stage.pass(2);
        stage.next("NOTIFY");
    }
    // Silence.
    let mut stage = Stage::new();
    stage.seen("c1");
    stage.pass(10);
    stage.present(BOBS_PHONE, "", "", &strangers());
    stage.next("NOTIFY");
    stage.pass(33);
    assert_eq!(stage.subscriptions(), 0);
}

#[test]
fn a_restless_partner_does_not_flood_the_pool_and_the_last_word_counts() {
    let mut stage = Stage::new();
    stage.seen("c1");
    let (mut sent, mut told) = (Vec::new(), String::new());
    for n in 0..666 {
        if n < 600 {
            stage.present(BOBS_PHONE, "", &format!("<status>status {n}</status>"), &strangers());
        }
        stage.rig.pass(Duration::from_millis(100));
        while !stage.is_quiet() {
            sent.push(stage.rig.now);
            told = stage.told_pool_anything();
        }
    }
    assert!((12..=14).contains(&sent.len()), "{}", sent.len());
    assert!(sent.windows(2).all(|two| two[1] - two[0] >= Duration::from_millis(4900)));
    assert!(told.contains("status 599"), "{told}");
    stage.pass(60);
    assert!(stage.is_quiet());
}

impl Stage {
    fn told_pool_anything(&mut self) -> String {
        let notify = self.next("NOTIFY");
        self.answer(&notify, 200, "");
        body(&notify)
    }
}

#[test]
fn every_device_is_told() {
    let mut stage = Stage::new();
    stage.seen("c1");
    // Another device: the router says yes in Bob's place, and what is known is told at once.
    let ok = stage.says(&subscribe("c2", &usual(600)));
    assert_eq!(ok.status(), Some(200));
    stage.told_pool("active;expires=600", Some("open"));
    assert_eq!(stage.told(), ["subscribe alice@contoso.com"]);
    stage.bob("subscribed", &strangers());
    assert!(stage.is_quiet(), "nothing is new");
    stage.pass(10);
    stage.bob("unavailable", &strangers());
    stage.told_pool("active;expires=3590", Some("closed"));
    stage.told_pool("active;expires=590", Some("closed"));
    // Only so many.
    for n in 3..=16 {
        stage.says(&subscribe(&format!("c{n}"), &usual(600)));
        stage.told_pool_anything();
    }
    assert_eq!(stage.subscriptions(), 16);
    stage.says(&subscribe("c17", &usual(600)));
    stage.told_pool_anything();
    let over = stage.next("NOTIFY");
    assert_eq!(header(&over, H::CallId), "c1");
    assert_eq!(header(&over, H::SubscriptionState), "terminated;reason=probation;retry-after=600");
    assert_eq!(stage.subscriptions(), 16);
}

#[test]
fn a_pool_of_tuples_is_told_every_resource() {
    let mut stage = Scene { dialect: Dialect::Simple, ..Scene::default() }.open();
    stage.subscribed("c1");
    stage.bob("subscribed", &strangers());
    stage.told_pool("active;expires=3600", None);
    stage.present(BOBS_PHONE, "", "<priority>5</priority>", &strangers());
    stage.told_pool("active;expires=3600", Some("open"));
    stage.pass(6);
    stage.present("bob@partner.example/desk", "", "<show>xa</show>", &strangers());
    let text = stage.told_pool("active;expires=3594", Some("open"));
    assert!(text.contains("ID-phone") && text.contains("ID-desk"), "{text}");
    stage.pass(6);
    stage.present(BOB, "unavailable", "", &strangers());
    stage.told_pool("active;expires=3588", Some("closed"));
}

#[test]
fn only_so_many_resources_are_remembered() {
    let mut stage = Scene { dialect: Dialect::Simple, ..Scene::default() }.open();
    stage.seen("c1");
    for n in 0..40 {
        stage.present(&format!("bob@partner.example/r{n}"), "", "", &strangers());
    }
    stage.pass(6);
    let text = stage.told_pool_anything();
    assert_eq!(text.matches("<basic>open").count(), 16);
    // Presence of one whom nobody watches is not kept.
    stage.present("carol@partner.example/x", "", "", &strangers());
    assert_eq!(stage.subscriptions(), 1);
}

#[test]
fn a_request_that_does_not_arrive_means_that_nobody_knows() {
    let refusal =
        Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "gone");
    let mut stage = Stage::new();
    stage.subscribed("c1");
    let asked = stage.stanzas().remove(0);
    assert_ne!(asked.origin.ticket, 0);
    stage.rig.verdict(&asked, Err(&refusal));
    assert!(stage.is_quiet(), "who waits goes on waiting");
    // Who is shown is asked again, and if that fails he is shown no more.
    let mut stage = Stage::new();
    stage.seen("c1");
    stage.pass(599);
    assert!(stage.told().is_empty());
    stage.pass(90);
    let asked = stage.stanzas();
    assert_eq!((asked.len(), told(&asked[0]).as_str()), (1, "probe alice@contoso.com"));
    stage.rig.verdict(&asked[0], Ok(()));
    assert!(stage.is_quiet());
    stage.pass(680);
    let asked = stage.stanzas();
    assert_eq!(asked.len(), 1);
    stage.rig.verdict(&asked[0], Err(&refusal));
    let notify = stage.next("NOTIFY");
    assert!(body(&notify).contains("<basic>closed</basic>"));
    stage.answer(&notify, 200, "");
    stage.pass(700);
    assert_eq!(stage.told(), ["probe alice@contoso.com"], "who could not be asked is asked again");
    stage.present(BOBS_PHONE, "unavailable", "", &granted());
    stage.pass(2000);
    assert!(stage.told().is_empty(), "who is known not to be there is not asked after");
    // The same when his server says so.
    let mut stage = Stage::new();
    stage.seen("c1");
    stage.pass(6);
    stage.bob("error", &strangers());
    stage.told_pool("active;expires=3594", Some("closed"));
}

#[test]
fn a_pending_request_that_did_not_arrive_is_sent_again_with_the_next_refresh() {
    let refusal =
        Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "gone");
    let mut stage = Stage::new();
    let ok = stage.subscribed("c1");
    let asked = stage.stanzas().remove(0);
    stage.rig.verdict(&asked, Err(&refusal));
    stage.says(&within(&ok, "SUBSCRIBE", 2, "z9hG4bKr1", &usual(3600), ""));
    stage.told_pool("pending;expires=3600", None);
    assert_eq!(stage.told(), ["subscribe alice@contoso.com"]);
    stage.says(&within(&ok, "SUBSCRIBE", 3, "z9hG4bKr2", &usual(3600), ""));
    assert!(stage.told().is_empty());
}

#[test]
fn tickets_of_requests_and_of_transactions_are_not_the_same() {
    let mut stage = Stage::new();
    stage.seen("c1");
    stage.pass(700);
    let probe = stage.stanzas().remove(0);
    let key = probe.origin.ticket & !(1 << 63);
    assert_ne!(key, probe.origin.ticket);
    let mut origin = probe.origin;
    origin.ticket = key;
    let refusal = Refusal::new(Condition::Gone, Blame::NextHop, Retry::Never, Bounce::Yes, "gone");
    stage
        .rig
        .with(0, |now, backend, out| backend.settle(now, &origin, Verdict::Refused(None, &refusal), out));
    assert!(stage.is_quiet(), "another's ticket");
}

#[test]
fn a_pool_that_ends_is_asked_to_come_back() {
    let mut stage = Stage::new();
    stage.seen("c1");
    stage.rig.with(0, |now, backend, out| backend.drain(now, out));
    let notify = stage.next("NOTIFY");
    assert!(header(&notify, H::SubscriptionState).starts_with("terminated;reason=probation;retry-after="));
    assert_eq!(stage.subscriptions(), 0);
    assert_eq!(stage.says(&subscribe("c2", &usual(600))).status(), Some(480));
}

#[test]
fn on_whatever_shard_it_is_read_its_user_is_on_one() {
    let scene = Scene { shards: 4, ..Scene::default() };
    let mut rig = scene.rig();
    let owner = turnout_core::placement::owner_of_user(ALICE, 4);
    let other = (owner + 1) % 4;
    let link: LinkId = rig.accept(other);
    rig.says(link, &subscribe("c1", &usual(3600)));
    let ok = rig.next(link);
    assert_eq!(ok.status(), Some(200));
    let notify = rig.next(link);
    assert_eq!(notify.method(), Some(b"NOTIFY".as_slice()));
    rig.says(link, &crate::support::answer(&notify, 200, "OK", "", ""));
    let lines = rig.with(owner, |now, backend, _| backend.describe(now, ALICE));
    assert_eq!(lines, ["subscribed to bob@partner.example: pending, 3600 s left, resources: 0"]);
    rig.says(link, &within(&ok, "SUBSCRIBE", 2, "z9hG4bKs", &usual(0), ""));
    assert_eq!(rig.next(link).status(), Some(200));
    let last = rig.next(link);
    assert_eq!(header(&last, H::SubscriptionState), "terminated;reason=timeout");
    assert!(rig.with(owner, |now, backend, _| backend.describe(now, ALICE)).is_empty());
}
