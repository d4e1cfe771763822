//! Loss of the pool, its return, moves and many at once.

use std::collections::BTreeMap;

use turnout_core::backend::{Backend, Sent};
use turnout_core::io::LinkId;
use turnout_sip::parse::{HeaderName as H, Message};

use crate::stage::*;
use crate::support::header;

impl Stage {
    /// Everything sent on this link that nobody has looked at.
    fn all_sent(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while !self.is_quiet() {
            all.push(self.rig.next(self.link));
        }
        all
    }

    /// Many watches that stand, each shown as available.
    fn watched_by(&mut self, count: usize) {
        for n in 0..count {
            let text = format!("<presence from='p{n}@partner.example' to='{ALICE}' type='probe'></presence>");
            let stanza = self.rig.stanza(&text);
            assert!(matches!(self.present_stanza(stanza, &granted()), Sent::Answered(_)));
        }
        self.pass(10);
        let asked = self.all_sent();
        assert_eq!(asked.len(), count);
        for subscribe in asked {
            self.accept(&subscribe, 3600);
            assert_eq!(self.notify(&subscribe, "active;expires=3600", &plain("open")), 200);
        }
        assert_eq!(self.told().len(), count);
    }
}

#[test]
fn a_lost_pool_is_asked_for_and_what_it_showed_ends_in_time() {
    let mut stage = Stage::new();
    let first = stage.watched();
    stage.rig.lose(stage.link);
    assert!(stage.told().is_empty(), "a moment is no loss");
    stage.pass(1);
    assert_eq!(stage.told(), ["probe bob@partner.example (made)"], "a way to get a link");
    stage.pass(58);
    let told = stage.told();
    assert!((3..=8).contains(&told.len()) && told.iter().all(|told| told.ends_with("(made)")), "{told:?}");
    stage.pass(2);
    let told = stage.told();
    assert!(told.contains(&"unavailable alice@contoso.com/sfb".to_owned()), "{told:?}");
    stage.pass(600);
    let told = stage.told();
    assert!(told.len() <= 45 && told.iter().all(|told| told.ends_with("(made)")), "never unsubscribed");
    // It is back: the dialog is looked after, and what is so is shown again.
    stage.link = stage.rig.dial(0);
    stage.pass(3);
    let refresh = stage.next("SUBSCRIBE");
    assert_eq!(header(&refresh, H::CallId), header(&first, H::CallId));
    stage.accept(&refresh, 3600);
    stage.notify(&first, "active;expires=3600", &plain("open"));
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb"]);
    stage.pass(600);
    assert!(stage.told().is_empty() && stage.is_quiet(), "nobody asks any more");
}

#[test]
fn a_pool_that_is_back_soon_changes_nothing_shown() {
    let mut stage = Stage::new();
    stage.watched();
    stage.rig.lose(stage.link);
    stage.pass(20);
    stage.stanzas();
    stage.link = stage.rig.dial(0);
    stage.pass(3);
    let refresh = stage.next("SUBSCRIBE");
    stage.answer(&refresh, 481, "");
    let anew = stage.next("SUBSCRIBE");
    stage.accept(&anew, 3600);
    stage.notify(&anew, "active;expires=3600", &open(""));
    assert!(stage.told().is_empty());
}

#[test]
fn a_request_under_way_on_a_lost_link_goes_again() {
    let mut stage = Stage::new();
    stage.bob("subscribe", &asking());
    stage.next("SUBSCRIBE");
    stage.rig.lose(stage.link);
    stage.link = stage.rig.dial(0);
    stage.pass(3);
    let again = stage.next("SUBSCRIBE");
    stage.accept(&again, 3600);
    stage.notify(&again, "active;expires=3600", "");
    assert_eq!(stage.told(), ["subscribed alice@contoso.com", "unavailable alice@contoso.com"]);
    assert!(stage.is_quiet());
}

#[test]
fn another_link_serves_as_well() {
    let mut stage = Stage::new();
    let first = stage.watched();
    let other = stage.rig.dial(0);
    stage.rig.lose(stage.link);
    stage.pass(600);
    assert!(stage.told().is_empty(), "no loss");
    stage.link = other;
    let (refresh, _) = stage.later("SUBSCRIBE");
    assert_eq!(header(&refresh, H::CallId), header(&first, H::CallId));
}

#[test]
fn many_go_in_turns() {
    let mut stage = Stage::new();
    stage.watched_by(700);
    stage.rig.lose(stage.link);
    stage.pass(70);
    let told = stage.told();
    assert_eq!(told.iter().filter(|told| told.starts_with("unavailable")).count(), 700);
    assert!(told.len() < 720, "one pair at a time asks for a link");
    stage.link = stage.rig.dial(0);
    let mut each_second = BTreeMap::new();
    let start = stage.rig.now;
    for _ in 0..790 {
        stage.rig.pass(std::time::Duration::from_millis(10));
        let sent = stage.all_sent();
        *each_second.entry((stage.rig.now - start).as_secs()).or_insert(0) += sent.len();
        for subscribe in sent {
            stage.answer(&subscribe, 481, "");
        }
    }
    // Each is answered 481 and asks once more, then rests: 1,400 in all.
    assert!(each_second.values().all(|count| *count <= 222), "{each_second:?}");
    assert_eq!(each_second.values().sum::<usize>(), 1400, "{each_second:?}");
}

#[test]
fn many_that_begin_go_in_turns() {
    let mut stage = Stage::new();
    for n in 0..500 {
        let text = format!("<presence from='p{n}@partner.example' to='{ALICE}' type='probe'></presence>");
        let stanza = stage.rig.stanza(&text);
        assert!(matches!(stage.present_stanza(stanza, &granted()), Sent::Answered(_)));
    }
    let mut sent = stage.all_sent().len();
    assert!(sent <= 21, "{sent}");
    for seconds in 1..=2 {
        stage.pass(1);
        sent += stage.all_sent().len();
        assert!(sent <= 21 + 201 * seconds, "{sent} in {seconds} s");
    }
    stage.pass(1);
    assert_eq!(sent + stage.all_sent().len(), 500);
}

#[test]
fn who_moves_is_let_go_without_a_word_to_partners() {
    let mut stage = Stage::new();
    stage.watched();
    stage.bob("subscribed", &strangers());
    stage.rig.with(0, |now, backend, out| backend.part_with(now, ALICE, out));
    let over = stage.next("SUBSCRIBE");
    assert_eq!(header(&over, H::Expires), "0");
    assert!(stage.told().is_empty() && stage.described().is_empty());
    stage.answer(&over, 200, "Expires: 0\r\n");
    stage.pass(70);
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.subscriptions()), 0);
    assert!(stage.is_quiet() && stage.told().is_empty());
}

#[test]
fn the_administrator_is_told_what_is_open() {
    let mut stage = Stage::new();
    assert!(stage.described().is_empty());
    stage.watched();
    stage.pass(100);
    assert_eq!(stage.described(), ["watched by bob@partner.example: active, 3500 s left, shown: sfb"]);
    assert_eq!(stage.rig.with(0, |_, backend, _| backend.presence_open()), (1, 0));
    let link = stage.link;
    stage.rig.chat(link, BOBS_PHONE, ALICE, "hi");
    let talk = "talks to bob@partner.example: dialogs: 0, texts waiting: 1";
    assert_eq!(stage.described().last().unwrap(), talk);
    let bobs = stage.rig.with(0, |now, backend, _| backend.describe(now, "bob@partner.example"));
    assert!(bobs.is_empty(), "he is no user of this home");
}

#[test]
fn a_notify_for_a_watch_is_read_on_any_shard() {
    let scene = Scene { shards: 4, ..Scene::default() };
    let owner = turnout_core::placement::owner_of_user(ALICE, 4);
    let mut stage = Stage::of(scene.rig());
    stage.link = stage.rig.dial(owner);
    stage.bob("subscribe", &asking());
    let subscribe = stage.next("SUBSCRIBE");
    stage.accept(&subscribe, 3600);
    let other: LinkId = stage.rig.accept((owner + 1) % 4);
    stage.link = other;
    assert_eq!(stage.notify(&subscribe, "active;expires=3600", &plain("open")), 200);
    let told = stage.stanzas();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|stanza| stanza.origin.link.shard() == owner));
}

/// A document of categories with an availability, if it is told, and a note.
fn categories(number: Option<u32>, note: &str) -> String {
    let base = "http://schemas.microsoft.com/2006/09/sip";
    let state = number.map(|number| {
        format!(
            "<category name='state' instance='1'><state xsi:type='aggregateState' \
             xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns='{base}/state'>\
             <availability>{number}</availability></state></category>"
        )
    });
    format!(
        "<categories xmlns='{base}/categories' uri='sip:alice@contoso.com'>{}<category name='note' instance='0'>\
         <note xmlns='{base}/note'><body type='personal' uri=''>{note}</body></note></category></categories>",
        state.unwrap_or_default()
    )
}

#[test]
fn categories_are_offered_where_wanted_and_tell_what_changed() {
    let mut stage = Stage::new();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(stage.notify(&subscribe, "active", &categories(Some(3500), "x")), 415, "not asked for");
    let mut scene = Scene::default();
    scene.rules.rich = true;
    let mut stage = scene.open();
    stage.bob("probe", &granted());
    let subscribe = stage.next("SUBSCRIBE");
    assert_eq!(header(&subscribe, H::Accept), "application/msrtc-event-categories+xml, application/pidf+xml");
    stage.accept(&subscribe, 3600);
    stage.notify(&subscribe, "active;expires=3600", &categories(Some(15_500), "In town"));
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb away In town"]);
    stage.notify(&subscribe, "active", &categories(None, "At sea"));
    assert_eq!(stage.told(), ["available alice@contoso.com/sfb away At sea"]);
    stage.notify(&subscribe, "active", "");
    assert!(stage.told().is_empty(), "nothing told is nothing changed");
    stage.notify(&subscribe, "active", &categories(Some(18_500), "At sea"));
    assert_eq!(stage.told(), ["unavailable alice@contoso.com/sfb"]);
    // A new dialog begins with nothing.
    stage.pass(10);
    stage.notify(&subscribe, "terminated;reason=deactivated", "");
    let anew = stage.next("SUBSCRIBE");
    stage.accept(&anew, 3600);
    stage.notify(&anew, "active;expires=3600", &categories(None, "Ashore"));
    assert!(stage.told().is_empty());
}
