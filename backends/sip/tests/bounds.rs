//! Limits of one instance on the side of a pool: at it all is well, one over it is answered as it should be, and nobody else suffers.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

mod support;

use std::time::Duration;

use support::*;
use turnout_core::backend::Sent;
use turnout_core::flow::Room;
use turnout_core::io::LinkId;
use turnout_core::refusal::Condition;

const ALICE: &str = "alice@contoso.com";

fn rig(room: Room) -> (Rig, LinkId) {
    let mut rig = Rig::new(&Setup { room, ..Setup::default() });
    let link = rig.dial(0);
    (rig, link)
}

/// A text of a partner's user for Alice; whether it was taken. What is not is refused for want of room.
fn writes(rig: &mut Rig, link: LinkId, name: &str) -> bool {
    let done = rig.done.len();
    let from = format!("{name}@partner.example/x");
    let text = format!("<message type='chat' from='{from}' to='{ALICE}'><body>hi</body></message>");
    let stanza = rig.stanza(&text);
    let refusal = match rig.send(link, stanza) {
        Sent::Kept if rig.done.len() == done => return true,
        Sent::Kept => rig.done.pop_back().unwrap().1.unwrap_err(),
        Sent::Refused(_, refusal) => refusal,
        sent => panic!("{sent:?}"),
    };
    assert_eq!(refusal.condition, Condition::ResourceConstraint);
    false
}

#[test]
fn so_many_requests_of_ours_are_under_way_and_one_more_text_is_refused() {
    let (mut rig, link) = rig(Room { sip_transactions: 20, ..Room::default() });
    for n in 0..20 {
        assert!(writes(&mut rig, link, &format!("u{n}")), "{n}");
    }
    assert!(!writes(&mut rig, link, "more"));
    assert_eq!(rig.kept(), 20, "what is under way stays so");
    let first = rig.next(link);
    rig.says(link, &answer(&first, 486, "Busy Here", "", ""));
    assert!(writes(&mut rig, link, "more"), "one ended, and there is room for one");
}

#[test]
fn so_many_requests_of_the_pool_are_under_way_and_one_more_hears_480() {
    let (mut rig, link) = rig(Room { sip_transactions: 20, ..Room::default() });
    let invites = |rig: &mut Rig, n: usize| {
        let user = format!("u{n}");
        rig.says(link, &invite(&user, &format!("c{n}"), &format!("z9hG4bKb{n}"), "", SDP));
        rig.next(link).status()
    };
    for n in 0..20 {
        // 200 goes on being repeated until the ACK, which never comes.
        assert_eq!(invites(&mut rig, n), Some(200), "{n}");
    }
    assert_eq!(invites(&mut rig, 20), Some(480));
    rig.pass(Duration::from_secs(60));
    while !rig.is_quiet(link) {
        rig.next(link);
    }
    assert_eq!(invites(&mut rig, 21), Some(200), "they end, and there is room again");
}

#[test]
fn so_many_pairs_converse_and_one_more_is_refused() {
    let (mut rig, link) = rig(Room { sip_sessions: 20, sip_talks: 4, ..Room::default() });
    for n in 0..24 {
        assert!(writes(&mut rig, link, &format!("u{n}")), "{n}");
    }
    assert!(!writes(&mut rig, link, "more"));
    assert!(writes(&mut rig, link, "u3"), "who converses goes on");
    rig.says(link, &invite("carla", "c", "z9hG4bKx", "", SDP));
    while rig.wire_has_request(link) {
        rig.next(link);
    }
    assert_eq!(rig.next(link).status(), Some(480), "the other way as well");
}

#[test]
fn so_many_texts_are_kept_and_one_more_is_refused() {
    let (mut rig, link) = rig(Room { sip_kept: 20, ..Room::default() });
    for n in 0..20 {
        assert!(writes(&mut rig, link, &format!("u{}", n % 3)), "{n}");
    }
    assert!(!writes(&mut rig, link, "u0") && !writes(&mut rig, link, "more"));
    assert_eq!(rig.kept(), 20);
    let first = rig.next(link);
    rig.says(link, &answer(&first, 486, "Busy Here", "", ""));
    assert!(rig.kept() < 20 && writes(&mut rig, link, "more"));
}

#[test]
fn typing_is_remembered_of_so_many_pairs_and_the_others_write_without() {
    const STATES: &str = "http://jabber.org/protocol/chatstates";
    let (mut rig, link) = rig(Room { sip_talks: 4, ..Room::default() });
    let mut told = 0;
    for n in 0..5 {
        assert!(writes(&mut rig, link, &format!("u{n}")));
        let request = rig.next(link);
        let ok = answer(&request, 200, "OK", &format!("{ROUTES}Supported: ms-text-format\r\n"), SDP);
        rig.says(link, &ok);
        assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
        rig.done.clear();
        let from = format!("u{n}@partner.example/x");
        let state = rig.stanza(&format!(
            "<message type='chat' from='{from}' to='{ALICE}'><composing xmlns='{STATES}'/></message>"
        ));
        assert!(matches!(rig.send(link, state), Sent::Answered(_)));
        if !rig.is_quiet(link) {
            assert_eq!(rig.next(link).method(), Some(b"INFO".as_slice()));
            told += 1;
        }
    }
    assert_eq!(told, 4, "of the fifth nobody is told that he types");
    assert!(writes(&mut rig, link, "u4"), "what he writes goes on");
    assert_eq!(rig.next(link).method(), Some(b"MESSAGE".as_slice()));
}

#[test]
fn a_reload_changes_how_much_there_is_room_for_and_takes_nothing_away() {
    use turnout_core::backend::Backend;
    let room = |sip_kept| Room { sip_kept, ..Room::default() };
    let (mut rig, link) = rig(room(2));
    assert!(writes(&mut rig, link, "u0") && writes(&mut rig, link, "u1") && !writes(&mut rig, link, "u2"));
    for (kept, more) in [(3, true), (1, false)] {
        let world = world(&Setup { room: room(kept), ..Setup::default() });
        rig.with(0, |now, backend, out| backend.configure(now, &world, out));
        assert_eq!(writes(&mut rig, link, "u2"), more, "{kept}");
    }
    assert_eq!(rig.kept(), 3);
}
