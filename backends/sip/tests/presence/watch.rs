//! A partner's user watches a local user: A.3.5 to the pool, SE-01 to SE-03, SE-09.

use turnout_core::backend::Sent;
use turnout_core::contact::Contact;
use turnout_core::home::Dialect;
use turnout_core::policy::PartnerType;
use turnout_core::refusal::Condition;
use turnout_sip::parse::HeaderName as H;

use crate::stage::*;
use crate::support::{first_line, header};

#[test]
fn who_asks_is_told_when_the_pool_says_yes() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(first_line(&subscribe), "SUBSCRIBE sip:alice@contoso.com SIP/2.0");
    assert_eq!(header(&subscribe, H::Event), "presence");
    assert_eq!(header(&subscribe, H::Accept), "application/pidf+xml");
    assert_eq!(header(&subscribe, H::Expires), "28800");
    assert_eq!(header(&subscribe, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tls>");
    assert!(header(&subscribe, H::From).starts_with("<sip:bob@partner.example>;tag="));
    assert_eq!(header(&subscribe, H::To), "<sip:alice@contoso.com>");
    stage.accept(&subscribe, 3600);
    assert!(stage.told().is_empty(), "200 says nothing about the grant");
    assert_eq!(stage.notify(&subscribe, "pending;expires=3600", ""), 200);
    assert!(stage.told().is_empty());
    let busy = open("<ep:activities><ep:activity>busy</ep:activity></ep:activities>");
    assert_eq!(stage.notify(&subscribe, "active;expires=3500", &busy), 200);
    assert_eq!(
        stage.told(),
        ["subscribed alice@contoso.com", "available alice@contoso.com/sfb dnd hidden where it must be"]
    );
    assert_eq!(stage.notify(&subscribe, "active;expires=3400", &busy), 200);
    assert!(stage.told().is_empty(), "nothing is said twice");
    assert_eq!(stage.notify(&subscribe, "active;expires=3300", &closed()), 200);
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb"]);
    assert!(stage.is_quiet());
}

#[test]
fn yes_without_a_document_is_yes_and_nobody_there() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    stage.answer(&subscribe, 202, "Expires: 3600\r\nContact: <sip:alice@contoso.com;gruu>\r\n");
    assert_eq!(stage.notify(&subscribe, "active;expires=3600", ""), 200);
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "unavailable alice@contoso.com"]);
    assert_eq!(stage.notify(&subscribe, "active;expires=3600", &plain("open")), 200);
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb"]);
}

#[test]
fn who_may_see_already_is_told_so_and_shown() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    stage.bob("subscribe", &granted());
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "available alice@contoso.com/sfb"]);
    stage.bob("probe", &granted());
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb"]);
    assert_eq!(stage.notify(&first, "active;expires=60", &plain("closed")), 200);
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb"]);
    stage.bob("probe", &granted());
    assert_eq!(stage.told(), ["unavailable alice@contoso.com"]);
    assert!(stage.is_quiet());
}

#[test]
fn every_no_of_the_pool_is_told() {
    for code in [403, 489, 603] {
        let mut stage = Stage::new();
        stage.bob("subscribe", &asking());
        let subscribe = stage.next("SUBSCRIBE");
        stage.answer(&subscribe, code, "");
        assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"], "{code}");
        assert!(stage.described().is_empty());
        // The same to a refresh, for one who was shown something.
        let mut stage = Stage::new();
        stage.watched_plainly();
        let (refresh, _) = stage.later("SUBSCRIBE");
        stage.answer(&refresh, code, "");
        assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb", "unsubscribed alice@contoso.com"]);
        assert!(stage.described().is_empty());
    }
    for reason in ["rejected", "noresource", "Rejected"] {
        let mut stage = Stage::new();
        let subscribe = stage.watched_plainly();
        assert_eq!(stage.notify(&subscribe, &format!("terminated;reason={reason}"), ""), 200);
        assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb", "unsubscribed alice@contoso.com"]);
        assert!(stage.described().is_empty());
        stage.pass(100_000);
        assert!(stage.is_quiet() && stage.told().is_empty());
    }
}

#[test]
fn what_passes_is_tried_again_and_takes_nothing_away() {
    for code in [408, 500, 503, 504, 480, 404, 405] {
        let mut stage = Stage::new();
        stage.bob("probe", &granted());
        let subscribe = stage.next("SUBSCRIBE");
        stage.answer(&subscribe, code, "");
        assert!(stage.told().is_empty() && stage.is_quiet(), "{code}");
        stage.pass(7);
        let again = stage.next("SUBSCRIBE");
        assert_ne!(header(&again, H::CallId), header(&subscribe, H::CallId));
        stage.accept(&again, 3600);
        assert_eq!(stage.notify(&again, "active;expires=3600", &plain("open")), 200);
        assert_eq!(stage.told(), ["available alice@contoso.com/sfb"], "{code}");
    }
    // Nobody answers at all.
    let mut stage = Stage::new();
    stage.bob("probe", &granted());
    stage.next("SUBSCRIBE");
    stage.pass(32 + 7);
    stage.next("SUBSCRIBE");
    assert!(stage.told().is_empty());
}

#[test]
fn retry_after_is_kept() {
    let mut stage = Stage::new();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    stage.answer(&subscribe, 503, "Retry-After: 120 (busy)\r\n");
    stage.pass(119);
    assert!(stage.is_quiet());
    stage.pass(2);
    stage.next("SUBSCRIBE");
}

#[test]
fn an_interval_too_brief_is_made_longer() {
    let mut rules = Scene::default();
    rules.rules.subscription = 600 * SECOND;
    let mut stage = rules.open();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(header(&subscribe, H::Expires), "600");
    stage.answer(&subscribe, 423, "Min-Expires: 1800\r\n");
    let again = stage.next("SUBSCRIBE");
    assert_eq!(header(&again, H::Expires), "1800");
    stage.answer(&again, 423, "Min-Expires: 1800\r\n");
    assert!(stage.is_quiet(), "no pool makes us ask for ever");
}

#[test]
fn a_user_nobody_knows_is_refused_after_some_time() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    for _ in 0..3 {
        assert!(stage.told().is_empty());
        let (subscribe, _) = stage.later("SUBSCRIBE");
        stage.answer(&subscribe, 404, "");
    }
    assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"]);
    assert!(stage.described().is_empty() && stage.is_quiet());
}

#[test]
fn who_is_asked_about_a_user_who_moved_away_has_time_until_the_directory_knows() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let mut waited = 0;
    for _ in 0..7 {
        assert!(stage.told().is_empty());
        let (subscribe, seconds) = stage.later("SUBSCRIBE");
        waited += seconds;
        stage.answer(&subscribe, 404, "ms-diagnostics: 4006;reason=\"not in this pool\"\r\n");
    }
    assert!(waited > 240, "{waited} s");
    assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"]);
}

#[test]
fn a_dialog_the_pool_forgot_is_made_anew() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    let (refresh, seconds) = stage.later("SUBSCRIBE");
    assert!((2700..=3150).contains(&seconds), "{seconds}");
    assert_eq!(header(&refresh, H::CallId), header(&first, H::CallId));
    assert_eq!(first_line(&refresh), "SUBSCRIBE sip:alice@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
    let routes: Vec<&[u8]> = refresh.lines(H::Route).collect();
    assert!(!routes.is_empty(), "those of the 200, as the NOTIFY had no Record-Route");
    stage.answer(&refresh, 481, "");
    let anew = stage.next("SUBSCRIBE");
    assert_ne!(header(&anew, H::CallId), header(&first, H::CallId));
    stage.accept(&anew, 3600);
    assert_eq!(stage.notify(&anew, "active;expires=3600", &plain("open")), 200);
    assert!(stage.told().is_empty(), "nothing changed for who looks on");
    assert_eq!(stage.notify(&first, "active;expires=3600", &plain("closed")), 481);
    assert!(stage.told().is_empty());
}

#[test]
fn ends_that_are_none_are_taken_up_again() {
    for reason in ["deactivated", "timeout"] {
        let mut stage = Stage::new();
        let first = stage.watched_plainly();
        stage.pass(10);
        assert_eq!(stage.notify(&first, &format!("terminated;reason={reason}"), ""), 200);
        let anew = stage.next("SUBSCRIBE");
        stage.accept(&anew, 3600);
        assert_eq!(stage.notify(&anew, "active;expires=3600", &plain("open")), 200);
        assert!(stage.told().is_empty(), "{reason}");
        // One that ends again and again is not begun again and again.
        assert_eq!(stage.notify(&anew, &format!("terminated;reason={reason}"), ""), 200);
        assert!(stage.is_quiet());
        stage.pass(7);
        stage.next("SUBSCRIBE");
    }
    for (state, wait) in [
        ("terminated;reason=probation;retry-after=90", 90),
        ("terminated;reason=giveup;retry-after=200", 200),
        ("terminated;reason=giveup", 60),
        ("terminated;reason=invariant", 3600),
    ] {
        let mut stage = Stage::new();
        let first = stage.watched_plainly();
        stage.pass(10);
        assert_eq!(stage.notify(&first, state, ""), 200);
        stage.pass(wait - 1);
        assert!(stage.is_quiet(), "{state}");
        stage.pass(2);
        stage.next("SUBSCRIBE");
        let told = stage.told();
        assert!(told.is_empty() || told == ["unavailable alice@contoso.com/sfb"], "{state} {told:?}");
    }
    for state in ["terminated", "terminated;reason=weather"] {
        let mut stage = Stage::new();
        let first = stage.watched_plainly();
        stage.pass(10);
        assert_eq!(stage.notify(&first, state, ""), 200);
        assert!(stage.is_quiet());
        stage.pass(7);
        stage.next("SUBSCRIBE");
        assert!(stage.told().is_empty());
    }
}

#[test]
fn what_is_not_renewed_in_time_is_shown_no_more() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    stage.pass(10);
    assert_eq!(stage.notify(&first, "terminated;reason=probation;retry-after=600", ""), 200);
    stage.pass(59);
    assert!(stage.told().is_empty());
    stage.pass(2);
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb"], "never unsubscribed");
    let (anew, seconds) = stage.later("SUBSCRIBE");
    assert!((535..=545).contains(&seconds), "{seconds}");
    stage.accept(&anew, 3600);
    stage.notify(&anew, "active;expires=3600", &plain("open"));
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb"]);
}

#[test]
fn the_first_notify_may_come_before_the_answer() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(stage.notify(&subscribe, "active;expires=600", &plain("open")), 200);
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "available alice@contoso.com/sfb"]);
    stage.accept(&subscribe, 3600);
    // The smaller of the two counts (SE-02).
    stage.pass(440);
    assert!(stage.is_quiet());
    stage.pass(100);
    let refresh = stage.next("SUBSCRIBE");
    assert_eq!(header(&refresh, H::CallId), header(&subscribe, H::CallId));
}

#[test]
fn a_notify_without_expires_moves_no_clock() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    stage.pass(2000);
    assert_eq!(stage.notify(&first, "active", &plain("open")), 200);
    assert_eq!(stage.notify(&first, "active;expires=36000", &plain("open")), 200);
    stage.pass(1200);
    stage.next("SUBSCRIBE");
}

#[test]
fn another_fork_is_told_that_it_is_none() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    // The answer was of one fork, the first NOTIFY is of another: that is the dialog (RFC 6665 §4.4.1).
    stage.notify_by("NOTIFY", "other", &subscribe, "active;expires=3600", &plain("open"));
    assert_eq!(stage.rig.next(stage.link).status(), Some(200));
    assert_eq!(stage.told().len(), 2);
    assert_eq!(stage.notify(&subscribe, "active;expires=3600", &plain("closed")), 481);
    assert!(stage.told().is_empty());
}

#[test]
fn without_a_notify_there_is_no_subscription() {
    let mut stage = Stage::new();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    stage.pass(31);
    assert!(stage.is_quiet());
    stage.pass(9);
    let again = stage.next("SUBSCRIBE");
    assert_ne!(header(&again, H::CallId), header(&subscribe, H::CallId));
}

#[test]
fn who_leaves_is_told_at_once_and_the_pool_too() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    stage.bob("unsubscribe", &strangers());
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb", "unsubscribed alice@contoso.com"]);
    let over = stage.next("SUBSCRIBE");
    assert_eq!(header(&over, H::Expires), "0");
    assert_eq!(header(&over, H::CallId), header(&first, H::CallId));
    assert!(stage.described().is_empty());
    stage.answer(&over, 200, "Expires: 0\r\nContact: <sip:alice@contoso.com>\r\n");
    assert_eq!(stage.notify(&first, "terminated;reason=timeout", &plain("open")), 200, "and no 481");
    assert_eq!(stage.notify(&first, "terminated;reason=timeout", ""), 481, "it is over");
    assert!(stage.told().is_empty() && stage.is_quiet());
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 0);
}

#[test]
fn who_leaves_before_the_answer_leaves_all_the_same() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    stage.bob("unsubscribe", &strangers());
    assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"]);
    assert!(stage.is_quiet());
    // He may ask again meanwhile.
    stage.bob("subscribe", &asking());
    let second = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    let over = stage.next("SUBSCRIBE");
    assert_eq!(
        (header(&over, H::Expires), header(&over, H::CallId)),
        ("0".into(), header(&subscribe, H::CallId))
    );
    stage.answer(&over, 200, "Contact: <sip:alice@contoso.com>\r\n");
    assert_eq!(stage.notify(&subscribe, "terminated;reason=timeout", ""), 200);
    stage.answer(&second, 603, "");
    assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"]);
    stage.pass(100);
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 0);
}

#[test]
fn a_probe_of_one_who_is_not_known_to_be_allowed_is_a_fetch() {
    // The pool shows him all the same.
    let mut stage = Stage::new();
    stage.bob("probe", &strangers());
    let fetch = stage.next("SUBSCRIBE");
    assert_eq!(header(&fetch, H::Expires), "0");
    stage.accept(&fetch, 0);
    assert_eq!(stage.notify(&fetch, "terminated;reason=timeout", &plain("open")), 200);
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "available alice@contoso.com/sfb"]);
    let kept = stage.next("SUBSCRIBE");
    assert_eq!(header(&kept, H::Expires), "28800");
    // It does not.
    for (state, body) in [
        ("terminated;reason=rejected", ""),
        ("terminated;reason=timeout", ""),
        ("pending", ""),
        ("active;expires=0", ""),
    ] {
        let mut stage = Stage::new();
        stage.bob("probe", &strangers());
        let fetch = stage.next("SUBSCRIBE");
        stage.accept(&fetch, 0);
        assert_eq!(stage.notify(&fetch, state, body), 200);
        assert_eq!(stage.told(), ["unsubscribed alice@contoso.com"], "{state}");
        assert!(stage.described().is_empty());
    }
    for (code, told) in [(403, true), (404, true), (503, false), (408, false)] {
        let mut stage = Stage::new();
        stage.bob("probe", &strangers());
        let fetch = stage.next("SUBSCRIBE");
        stage.answer(&fetch, code, "");
        assert_eq!(!stage.told().is_empty(), told, "{code}");
        assert!(stage.described().is_empty());
    }
}

#[test]
fn a_probe_of_one_who_waits_goes_on_waiting() {
    let mut stage = Stage::new();
    stage.bob("probe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(header(&subscribe, H::Expires), "28800");
    stage.accept(&subscribe, 28_800);
    stage.notify(&subscribe, "pending", "");
    stage.bob("probe", &asking());
    assert!(stage.told().is_empty() && stage.is_quiet());
}

#[test]
fn what_was_shown_before_a_restart_is_set_right() {
    let shown = Contact { shown: vec!["sfb".into(), "old".into()], ..granted() };
    let mut stage = Stage::new();
    stage.bob("probe", &shown);
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    stage.notify(&subscribe, "active;expires=3600", &plain("open"));
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/old", "available alice@contoso.com/sfb"]);
    // And not later than the time stated, if the pool does not say.
    let mut stage = Stage::new();
    stage.bob("probe", &shown);
    stage.next("SUBSCRIBE");
    stage.pass(61);
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/old", "unavailable alice@contoso.com/sfb"]);
}

#[test]
fn a_grant_whose_word_may_be_lost_is_said_again() {
    let mut stage = Stage::new();
    let text = format!("<presence from='{BOB}' to='{ALICE}' type='probe'></presence>");
    let mut probe = stage.rig.stanza(&text);
    probe.made = true;
    let sent = stage.present_stanza(probe, &granted());
    assert!(matches!(sent, Sent::Answered(_)), "{sent:?}");
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    stage.notify(&subscribe, "active;expires=3600", &plain("open"));
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "available alice@contoso.com/sfb"]);
    stage.notify(&subscribe, "active;expires=3600", &plain("closed"));
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb"]);
}

#[test]
fn a_pool_that_grants_no_time_is_not_asked_all_the_time() {
    for (granted_seconds, state) in
        [(0, "pending;expires=0"), (1, "pending;expires=1"), (3600, "pending;expires=0")]
    {
        let mut stage = Stage::new();
        stage.bob("probe", &granted());
        let mut asked = 0;
        for _ in 0..600 {
            while !stage.is_quiet() {
                let subscribe = stage.next("SUBSCRIBE");
                asked += 1;
                stage.accept(&subscribe, granted_seconds);
                assert_eq!(stage.notify(&subscribe, state, ""), 200);
            }
            stage.pass(1);
        }
        assert!((2..=121).contains(&asked), "{asked} in 600 s");
    }
}

#[test]
fn a_benotify_is_heard_and_not_answered() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    let away = open("<ep:activities><ep:activity>away</ep:activity></ep:activities>");
    stage.notify_by("BENOTIFY", "pooltag", &first, "active", &away);
    assert_eq!(stage.told().len(), 1);
    stage.notify_by("BENOTIFY", "nobody", &first, "active", &away);
    stage.notify_by("BENOTIFY", "pooltag", &first, "", &away);
    stage.notify_by("BENOTIFY", "pooltag", &first, "active", "<broken");
    assert!(stage.told().is_empty() && stage.is_quiet());
}

#[test]
fn a_notify_that_is_wrong_is_answered_so() {
    let mut stage = Stage::new();
    let first = stage.watched_plainly();
    assert_eq!(stage.notify(&first, "active", "<presence"), 400);
    assert_eq!(stage.notify(&first, ";=", ""), 400);
    assert_eq!(stage.notify(&first, "active", &plain("open")), 200, "what was known is still known");
    assert!(stage.told().is_empty());
}

#[test]
fn texts_are_for_federated_partners_alone() {
    for (kind, sees) in [
        (PartnerType::Federated, true),
        (PartnerType::PublicVerified, false),
        (PartnerType::PublicUnverified, false),
    ] {
        let mut stage = Scene { kind, ..Scene::default() }.open();
        stage.bob("probe", &granted());
        let subscribe = stage.next("SUBSCRIBE");
        stage.accept(&subscribe, 3600);
        stage.notify(&subscribe, "active;expires=3600", &open(""));
        let told = stage.told();
        assert_eq!(told[0].contains("hidden"), sees, "{kind:?} {told:?}");
    }
}

#[test]
fn a_pool_of_tuples_shows_a_resource_for_each() {
    let mut stage = Scene { dialect: Dialect::Simple, ..Scene::default() }.open();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    let tuple = |id: &str| format!("<tuple id='ID-{id}'><status><basic>open</basic></status></tuple>");
    let document = |tuples: &str| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@contoso.com'>{tuples}</presence>"
        )
    };
    stage.notify(
        &subscribe,
        "active;expires=3600",
        &document(&format!("{}{}", tuple("desk"), tuple("phone"))),
    );
    assert_eq!(stage.told(), ["available alice@contoso.com/desk", "available alice@contoso.com/phone"]);
    stage.notify(&subscribe, "active;expires=3600", &document(&tuple("phone")));
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/desk"]);
}

#[test]
fn nobody_is_watched_for_one_who_has_gone() {
    let mut scene = Scene::default();
    scene.rules.subscription = 4000 * SECOND;
    let mut stage = scene.open();
    let first = stage.watched_plainly();
    stage.bob("unavailable", &granted());
    let (refresh, _) = stage.later("SUBSCRIBE");
    stage.accept(&refresh, 3600);
    stage.notify(&first, "active;expires=3600", &plain("open"));
    stage.pass(3500);
    assert!(stage.is_quiet(), "he has gone, for longer than a subscription");
    stage.pass(200);
    assert!(stage.is_quiet());
    assert!(stage.told().is_empty(), "silently");
    assert!(stage.described().is_empty());
    // A word from him keeps it.
    let first = stage.watched_plainly();
    stage.bob("unavailable", &granted());
    let (refresh, _) = stage.later("SUBSCRIBE");
    stage.accept(&refresh, 3600);
    stage.notify(&first, "active;expires=3600", &plain("open"));
    let link = stage.link;
    stage.rig.chat(link, BOBS_PHONE, ALICE, "hi");
    stage.next("INVITE");
    stage.pass(3200);
    while stage.rig.next(link).method() != Some(b"SUBSCRIBE") {}
}

#[test]
fn addresses_without_a_counterpart_are_refused() {
    let mut stage = Stage::new();
    let sent = stage.offer("b\\5cob@partner.example", "subscribe", "", &asking());
    let Sent::Refused(_, refusal) = sent else { panic!("{sent:?}") };
    assert_eq!(refusal.condition, Condition::JidMalformed);
    assert!(stage.is_quiet() && stage.described().is_empty());
}

impl Stage {
    /// As [`Stage::watched`], without a text.
    fn watched_plainly(&mut self) -> turnout_sip::parse::Message {
        self.bob("probe", &granted());
        let subscribe = self.next("SUBSCRIBE");
        self.accept(&subscribe, 3600);
        assert_eq!(self.notify(&subscribe, "active;expires=3600", &plain("open")), 200);
        assert_eq!(self.told(), ["available alice@contoso.com/sfb"]);
        subscribe
    }
}
