//! A new configuration takes effect as a whole or not at all, and open streams live through it.

use std::sync::atomic::{AtomicBool, AtomicU64};

use turnout_core::home::{HomeId, Residence};

use crate::estate::{Estate, LEGACY, Plan, SFB2019, issue, wait};
use crate::peers::stream::{body, chat, external, header, starttls};
use crate::peers::wire::Wire;
use crate::upgrade::{Stop, write_on};

fn message(to: &str, id: &str) -> String {
    chat("bob@partner.example/phone", to, id, "hello")
}

#[test]
fn a_partner_and_a_certificate_come_in_while_streams_stay() {
    let estate = Estate::new();
    let mut old = estate.partner_stream("contoso.com");
    old.send(message("anna@contoso.com", "m1"));
    estate.gateway.stanzas.at_least(1);
    let first = old.certificate();

    let mut refused = Wire::dial(estate.outside());
    refused.send(header("other.example", "contoso.com", ""));
    refused.dies_with("policy-violation");

    issue(&estate.folder, &estate.authority, "contoso.com");
    let more = "[[partner]]\ndomain = \"other.example\"\ntype = \"federated\"\nproxy = \"127.0.0.1:1\"";
    estate.configure(&Plan { more: more.to_owned(), ..Plan::default() });
    let reloaded = estate.reload().unwrap();
    assert_eq!((reloaded.generation, reloaded.users, reloaded.moved.users), (2, 4, 0));

    old.send(message("anna@contoso.com", "m2"));
    estate.gateway.stanzas.at_least(2);
    let (mut new, features) =
        starttls(estate.outside(), estate.client("other.example"), "other.example", "contoso.com");
    assert!(features.contains("EXTERNAL"), "{features}");
    assert!(new.certificate() == estate.card("contoso.com").chain[0] && new.certificate() != first);
    external(&mut new, "other.example", "contoso.com");
    new.send(chat("olga@other.example", "anna@contoso.com", "o1", "hello"));
    estate.gateway.stanzas.at_least(3);
    old.send(message("anna@contoso.com", "m3"));
    assert_eq!(estate.gateway.stanzas.at_least(4)[3], message("anna@contoso.com", "m3"));
    estate.finish(4);
}

#[test]
fn a_broken_configuration_changes_nothing() {
    let check = |federation: &str, more: &str, parts: &[&str]| {
        let estate = Estate::new();
        let mut wire = estate.partner_stream("contoso.com");
        estate.configure(&Plan {
            federation: federation.to_owned(),
            more: more.to_owned(),
            users: vec![("carla@contoso.com".to_owned(), SFB2019)],
            ..Plan::default()
        });
        let error = estate.reload().unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part:?} in {error}");
        }
        assert_eq!((estate.router.world().generation, estate.router.directory().snapshot().len()), (1, 4));
        wire.send(message("anna@contoso.com", "m1"));
        estate.gateway.stanzas.at_least(1);
        estate.partner_stream("contoso.com");
        estate.finish(1);
    };
    check("lisen = []", "", &["turnout.toml:9", "federation.lisen"]);
    check("idle_seconds = 1", "", &["federation.idle_seconds"]);
    check("", "[[partner]]\ndomain = \"contoso.com\"", &["contoso.com", "local domain"]);
    check("dialback_secret_file = \"none.secret\"", "", &["federation.dialback_secret_file", "none.secret"]);
    // Well-formed, but more than half of the users are gone.
    check("", "", &["shrink_percent_max"]);
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused() {
    let estate = Estate::new();
    let first = estate.card("contoso.com").chain[0].clone();
    // The key of another one.
    std::fs::copy(
        estate.folder.path().join("fabrikam.com.key"),
        estate.folder.path().join("contoso.com.key"),
    )
    .unwrap();
    let error = estate.reload().unwrap_err();
    assert!(error.contains("federation.certificate") || error.contains("contoso.com"), "{error}");
    let wire = estate.partner_stream("contoso.com");
    assert!(wire.certificate() == first);
    estate.finish(0);
}

#[test]
fn what_needs_a_restart_is_said() {
    let estate = Estate::new();
    estate.configure(&Plan { shards: 3, ..Plan::default() });
    let error = estate.reload().unwrap_err();
    assert!(error.contains("engine.shards") && error.contains("restart"), "{error}");
    estate.finish(0);
}

#[test]
fn a_changed_export_moves_its_users() {
    let mut plan = Plan::default();
    // So many that one of them moving is no reason for alarm.
    plan.users.extend((0..6).map(|n| (format!("user{n}@contoso.com"), LEGACY)));
    let estate = Estate::with(&plan);
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(message("bert@contoso.com", "m1"));
    estate.gateway.stanzas.at_least(1);
    plan.users[1].1 = SFB2019;
    plan.users.push(("new@contoso.com".to_owned(), LEGACY));
    estate.configure(&plan);
    let reloaded = estate.reload().unwrap();
    // The new user is no mover, but his home changed from none.
    assert!(reloaded.users == 11 && reloaded.moved.users >= 1 && reloaded.moved.in_time, "{reloaded:?}");
    wire.send(message("bert@contoso.com", "m2"));
    let invite = estate.pool.requests.at_least(1).remove(0);
    assert_eq!(invite.start, "INVITE sip:bert@contoso.com SIP/2.0");
    wire.send(message("new@contoso.com", "m3"));
    estate.gateway.stanzas.at_least(2);
    let passed = estate.finish(3);
    assert_eq!(passed.delivered, 3);
}

#[test]
fn all_that_a_reload_changes_changes_under_load() {
    let mut plan = Plan::default();
    plan.users.extend((0..6).map(|n| (format!("user{n}@contoso.com"), LEGACY)));
    let estate = Estate::with(&plan);
    let config = estate.client("partner.example");
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let arrived = || estate.gateway.stanzas.all().len() + estate.pool.texts().len();
    std::thread::scope(|scope| {
        scope.spawn(|| write_on(estate.outside(), &config, &stop, &sent));
        let _stop = Stop(&stop);
        for round in 0..8 {
            // Directory, certificate, a partner that comes and goes, a limit of the one that stays.
            let mut plan = Plan::default();
            // One of many, or the reload would take it for a broken export.
            plan.users.extend((0..6).map(|n| (format!("user{n}@contoso.com"), LEGACY)));
            plan.users[0].1 = if round % 2 == 0 { SFB2019 } else { LEGACY };
            if round % 2 == 0 {
                plan.more = "[[partner]]\ndomain = \"other.example\"\nproxy = \"127.0.0.1:1\"".to_owned();
            }
            plan.partner = format!("type = \"federated\"\nconnections_max = {}", 10 + round);
            issue(&estate.folder, &estate.authority, "contoso.com");
            estate.configure(&plan);
            let reloaded = estate.reload().unwrap();
            assert_eq!((reloaded.generation, reloaded.moved.users), (2 + round, 1));
            let some_more = arrived() + 20;
            wait(
                "traffic goes on",
                || if arrived() >= some_more { Ok(()) } else { Err(arrived().to_string()) },
            );
        }
    });
    let sent = sent.into_inner();
    wait("the last of it", || {
        if arrived() as u64 >= sent { Ok(()) } else { Err(format!("{} of {sent}", arrived())) }
    });
    let stanzas = estate.gateway.stanzas.all();
    let mut got: Vec<u64> = stanzas.iter().map(|stanza| body(stanza).parse().unwrap()).collect();
    got.extend(estate.pool.texts().iter().map(|text| text.parse::<u64>().unwrap()));
    got.sort_unstable();
    assert!(got.iter().copied().eq(0..sent), "{} of {sent} came", got.len());
    assert!(estate.pool.texts().len() > 20 && stanzas.len() > 20, "to both homes");
    estate.finish(sent);
}

#[test]
fn a_file_is_watched_and_what_cannot_be_used_of_it_changes_nothing() {
    let mut plan = Plan { directory: "poll_seconds = 1", ..Plan::default() };
    plan.users.extend((0..6).map(|n| (format!("user{n}@contoso.com"), LEGACY)));
    let estate = Estate::with(&plan);
    let failing = |part: &str| {
        wait("a failure", || match estate.router.standing().failing {
            Some(why) if why.contains(part) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        assert_eq!(estate.router.directory().snapshot().len(), 10);
    };
    estate.folder.write("users.csv", "SipAddress\nsip:anna@contoso.com\n");
    failing("there is no column RegistrarPool");
    // Well-formed, but more than half of the users are gone.
    let whole = plan.users.clone();
    plan.users.truncate(3);
    estate.configure(&plan);
    failing("shrink_percent_max");

    plan.users = whole;
    plan.users[1].1 = SFB2019;
    estate.configure(&plan);
    let bert = || estate.router.directory().look_up("bert@contoso.com").map(|user| user.residence);
    wait("the move", || match bert() {
        Some(Residence::Home(HomeId(1))) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait("the end of the failure", || estate.router.standing().failing.map_or(Ok(()), Err));
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(message("bert@contoso.com", "m1"));
    let invite = estate.pool.requests.at_least(1).remove(0);
    assert_eq!(invite.start, "INVITE sip:bert@contoso.com SIP/2.0");
    assert_eq!(estate.router.world().generation, 1, "nobody reloaded");
    estate.finish(1);
}
