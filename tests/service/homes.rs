//! Homes and listeners that come and go with a reload, while stanzas flow.

use std::net::{SocketAddr, TcpStream};

use turnout_core::home::{HomeId, Residence};

use crate::estate::{Estate, LEGACY, Plan, quiet_address, wait};
use crate::peers::inbox::Inbox;
use crate::peers::server::{Manner, Server};
use crate::peers::stream::{attribute, chat, header};
use crate::peers::wire::Wire;

const SECOND: &str = "sfb2022.contoso.com";

/// The table of a second gateway.
fn second(server: &Server, listen: impl std::fmt::Display) -> String {
    format!(
        "[home.second]\nbackend = \"xmpp\"\nconnect = [\"127.0.0.1:{}\"]\nlisten = \"{listen}\"\ntls = \"optional\"\nregistrar_pools = [\"{SECOND}\"]\n",
        server.address.port()
    )
}

/// Changes the configuration's file.
fn edit(estate: &Estate, change: impl FnOnce(String) -> String) {
    let path = estate.folder.path().join("turnout.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert_ne!(changed, text);
    std::fs::write(path, changed).unwrap();
}

/// Without one table.
fn without(text: &str, table: &str) -> String {
    let (before, rest) = text.split_once(&format!("[{table}]\n")).unwrap();
    let (_, after) = rest.split_once("\n[").unwrap();
    format!("{before}[{after}")
}

fn ids(stanzas: &Inbox<String>) -> Vec<String> {
    stanzas.all().iter().map(|stanza| attribute(stanza, "id").unwrap()).collect()
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn a_home_comes_its_users_move_there_and_the_old_one_goes_while_they_are_written_to() {
    const STANZAS: usize = 1500;
    let mut plan = Plan { drain_seconds: 20, ..Plan::default() };
    plan.users.extend((0..20).map(|n| (format!("user{n}@contoso.com"), LEGACY)));
    let estate = Estate::with(&plan);
    let gateway = Server::start(Manner::default());
    let mut wire = estate.partner_stream("contoso.com");
    let writer = std::thread::spawn(move || {
        for n in 0..STANZAS {
            wire.send(chat("bob@partner.example/phone", "anna@contoso.com", &format!("l{n}"), "hello"));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        wire
    });
    estate.gateway.stanzas.at_least(50);
    let old_inside = estate.inside();

    // It comes.
    plan.more = second(&gateway, quiet_address());
    estate.configure(&plan);
    let reloaded = estate.reload().unwrap();
    assert_eq!((reloaded.generation, reloaded.moved.users), (2, 0));
    let inside = estate.at("home.second.listen");
    assert_eq!(estate.inside(), old_inside, "what stays is not touched");
    let mut greeted = Wire::dial(inside);
    greeted.send(header("contoso.com", "partner.example", ""));
    wait("an answer of the new listener", || {
        greeted.pump(std::time::Duration::from_millis(50));
        if greeted.text().contains("<stream:features") { Ok(()) } else { Err(greeted.text()) }
    });
    drop(greeted);

    // Its users move, and the old one goes, with one reload.
    for (_, pool) in plan.users.iter_mut().filter(|(_, pool)| *pool == LEGACY) {
        *pool = SECOND;
    }
    plan.directory = "poll_seconds = 0\nshrink_percent_max = 100";
    let before = estate.gateway.stanzas.all().len();
    estate.configure(&plan);
    edit(&estate, |text| without(&text, "home.legacy"));
    let reloaded = estate.reload().unwrap();
    assert!(reloaded.moved.users == 23 && reloaded.moved.in_time, "{reloaded:?}");
    assert!(is_refused(old_inside), "nobody listens there any more");
    let names: Vec<String> = estate.router.world().homes.iter().map(|(_, home)| home.name.clone()).collect();
    assert_eq!(names, ["sfb2019", "second"]);
    let anna = estate.router.directory().look_up("anna@contoso.com").map(|user| user.residence);
    assert_eq!(anna, Some(Residence::Home(HomeId(2))), "ids are not given again");

    let wire = writer.join().unwrap();
    estate.until("all at their end", |passed, _, held| passed.received == STANZAS as u64 && held == 0);
    let (first, then) = (ids(&estate.gateway.stanzas), ids(&gateway.stanzas));
    assert!(first.len() >= before && then.len() > 100, "{} and {}", first.len(), then.len());
    let expected: Vec<String> = (0..STANZAS).map(|n| format!("l{n}")).collect();
    assert_eq!([first, then].concat(), expected, "each once, in their order");
    // The old gateway's streams have ended in order.
    estate.gateway.steps.first("end of a stream", |step| step == "closed");

    // One comes again under the same name: it is another one.
    plan.more = second(&gateway, inside);
    plan.users.push(("late@contoso.com".to_owned(), LEGACY));
    estate.configure(&plan);
    estate.reload().unwrap();
    let late = estate.router.directory().look_up("late@contoso.com").map(|user| user.residence);
    assert_eq!(late, Some(Residence::Home(HomeId(3))));
    let mut wire = wire;
    wire.send(chat("bob@partner.example/phone", "late@contoso.com", "again", "hello"));
    estate.gateway.stanzas.first("to the home that is back", |stanza| stanza.contains("again"));
    estate.finish(STANZAS as u64 + 1);
}

#[test]
fn a_home_somebody_lives_on_is_not_taken_out() {
    let plan = Plan { directory: "poll_seconds = 0\nshrink_percent_max = 100", ..Plan::default() };
    let estate = Estate::with(&plan);
    let mut wire = estate.partner_stream("contoso.com");
    edit(&estate, |text| without(&text, "home.legacy"));
    let error = estate.reload().unwrap_err();
    assert!(error.contains("3 users") && error.contains("legacy") && error.contains("@"), "{error}");
    assert_eq!(estate.router.world().generation, 1);
    wire.send(chat("bob@partner.example/phone", "anna@contoso.com", "m1", "hello"));
    estate.gateway.stanzas.at_least(1);

    // Nor one that somebody was moved to by name.
    let gateway = Server::start(Manner::default());
    estate.configure(&Plan { more: second(&gateway, quiet_address()), ..plan.clone() });
    estate.reload().unwrap();
    estate.move_user("anna@contoso.com", "second");
    estate.configure(&plan);
    let error = estate.reload().unwrap_err();
    assert!(error.contains("1 who were moved by name") && error.contains("second"), "{error}");
    estate.move_user("anna@contoso.com", "legacy");
    estate.reload().unwrap();
    wire.send(chat("bob@partner.example/phone", "anna@contoso.com", "m2", "hello"));
    estate.gateway.stanzas.at_least(2);
    estate.finish(2);
}

#[test]
fn listeners_and_limits_change_and_streams_stay() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    let (first, tls) = (estate.outside(), estate.at("federation.listen_tls"));
    let more = quiet_address();
    edit(&estate, |text| {
        text.replace(
            "listen = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]",
            &format!(
                "listen = [\"127.0.0.1:0\", \"{more}\"]\nconnections_max = 2\nconnections_per_partner_max = 2"
            ),
        )
    });
    estate.reload().unwrap();
    assert_eq!(estate.outside(), first, "what stays is not touched");
    assert!(is_refused(tls), "what is gone is closed");
    wire.send(chat("bob@partner.example/phone", "anna@contoso.com", "m1", "hello"));
    estate.gateway.stanzas.at_least(1);
    let answers = |address: SocketAddr| {
        let mut wire = Wire::dial(address);
        wire.send(header("partner.example", "contoso.com", ""));
        while wire.pump(std::time::Duration::from_secs(2)) {
            if wire.text().contains("<stream:features") {
                return Some(wire);
            }
        }
        None
    };
    let second = answers(more.into()).expect("the new address answers");
    assert!(answers(more.into()).is_none(), "connections_max is 2");
    drop(second);

    // And back.
    estate.configure(&Plan::default());
    estate.reload().unwrap();
    assert!(is_refused(more.into()));
    let _held: Vec<Wire> = (0..4).map(|_| answers(first).expect("there is room again")).collect();
    wire.send(chat("bob@partner.example/phone", "anna@contoso.com", "m2", "hello"));
    estate.gateway.stanzas.at_least(2);
    estate.finish(2);
}
