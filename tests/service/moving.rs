//! A user moves in mid-conversation.

use turnout_core::home::{HomeId, Residence};

use crate::estate::{Estate, LEGACY, Plan, SFB2019};
use crate::peers::stream::{body, chat};

const USER: &str = "anna@contoso.com";
const CHUNKS: usize = 20;
const CHUNK: usize = 100;

#[test]
fn a_conversation_goes_on_while_its_user_moves() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    let texts: Vec<String> = (0..CHUNKS * CHUNK).map(|n| n.to_string()).collect();
    for (turn, chunk) in texts.chunks(CHUNK).enumerate() {
        let home = if turn % 2 == 0 { "sfb2019" } else { "legacy" };
        let stanzas: Vec<String> =
            chunk.iter().map(|text| chat("bob@partner.example/phone", USER, "m", text)).collect();
        // The move happens while these are read, routed and delivered.
        let moved = std::thread::scope(|scope| {
            let moved = scope.spawn(|| estate.move_user(USER, home));
            wire.send(stanzas.concat());
            moved.join().unwrap()
        });
        assert!(moved.users == 1 && moved.in_time, "{moved:?}");
    }
    estate
        .until("everything delivered", |passed, _, held| passed.received == texts.len() as u64 && held == 0);
    let legacy: Vec<usize> =
        estate.gateway.stanzas.all().iter().map(|stanza| body(stanza).parse().unwrap()).collect();
    let sip: Vec<usize> = estate.pool.texts().iter().map(|text| text.parse().unwrap()).collect();
    assert!(!legacy.is_empty() && !sip.is_empty(), "{} and {}", legacy.len(), sip.len());
    for track in [&legacy, &sip] {
        assert!(track.is_sorted(), "order was lost: {track:?}");
    }
    let mut all = [legacy, sip].concat();
    all.sort_unstable();
    assert_eq!(all, (0..texts.len()).collect::<Vec<_>>(), "each exactly once");
    let passed = estate.finish(texts.len() as u64);
    assert_eq!((passed.delivered, passed.bounced), (texts.len() as u64, 0));
}

#[test]
fn a_user_cannot_move_to_where_there_is_nothing() {
    let estate = Estate::new();
    let jid = turnout_core::jid::Jid::parse(USER).unwrap();
    let error = estate.runtime.block_on(estate.router.move_users(&[jid], "elsewhere")).unwrap_err();
    assert!(error.contains("elsewhere") && error.contains("legacy, sfb2019"), "{error}");
    let nobody = turnout_core::jid::Jid::parse("nobody@contoso.com").unwrap();
    let error = estate.runtime.block_on(estate.router.move_users(&[nobody], "legacy")).unwrap_err();
    assert!(error.contains("nobody@contoso.com is not in the directory"), "{error}");
    estate.finish(0);
}

#[test]
fn a_move_by_name_survives_a_restart_until_the_source_agrees() {
    let users = |pool| {
        let mut users: Vec<(String, &'static str)> =
            (0..9).map(|n| (format!("user{n}@contoso.com"), LEGACY)).collect();
        users.push((USER.to_owned(), pool));
        users
    };
    let plan = Plan {
        drain_seconds: 20,
        more: "[presence]\nstore = \"contacts.redb\"".to_owned(),
        users: users(LEGACY),
        ..Plan::default()
    };
    let lives = |estate: &Estate| estate.router.directory().look_up(USER).map(|user| user.residence);
    let changed = |estate: &Estate| estate.router.directory().overlay().len();
    let estate = Estate::with(&plan);
    assert!(estate.move_user("user3@contoso.com", "sfb2019").remembered);
    assert!(estate.move_user(USER, "sfb2019").remembered);
    // Moved there and back: nothing to be remembered.
    assert!(estate.move_user("user3@contoso.com", "legacy").remembered);
    assert_eq!(changed(&estate), 1);

    let estate = estate.restarted();
    assert_eq!((lives(&estate), changed(&estate)), (Some(Residence::Home(HomeId(1))), 1));
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(chat("bob@partner.example/phone", USER, "m", "hello"));
    let invite = estate.pool.requests.at_least(1).remove(0);
    assert_eq!(invite.start, format!("INVITE sip:{USER} SIP/2.0"));
    drop(wire);

    // Now the source says the same, and later it has the last word.
    estate.configure(&Plan { users: users(SFB2019), ..plan.clone() });
    estate.reload().unwrap();
    assert_eq!((lives(&estate), changed(&estate)), (Some(Residence::Home(HomeId(1))), 0));
    let estate = estate.restarted();
    assert_eq!(changed(&estate), 0);
    estate.configure(&plan);
    let estate = estate.restarted();
    assert_eq!((lives(&estate), changed(&estate)), (Some(Residence::Home(HomeId(0))), 0));
    estate.finish(0);
}

#[test]
fn a_move_that_nothing_remembers_says_so() {
    let estate = Estate::new();
    assert!(!estate.move_user(USER, "sfb2019").remembered, "there is no store");
    assert!(estate.move_user(USER, "sfb2019").remembered, "nothing changed");
    estate.finish(0);
}
