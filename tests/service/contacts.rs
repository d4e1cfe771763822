//! The store of contacts in the whole router: what it has written is there after kill -9, and what it cannot use keeps it from
//! starting.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::estate::{Estate, Ground, Plan, wait};
use crate::process::Process;

fn plan() -> Plan {
    Plan { drain_seconds: 20, more: "[presence]\nstore = \"contacts.redb\"".to_owned(), ..Plan::default() }
}

pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The admin listener of a process, from its log.
pub fn admin(process: &Process) -> SocketAddr {
    let line = process.says("turnout is up");
    line.split("admin=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Waits until the store has so many contacts.
fn holds(process: &Process, contacts: usize) {
    let address = admin(process);
    wait("contacts in the store", || {
        let text = get(address, "/metrics");
        let found = text.contains(&format!("\nturnout_store_contacts {contacts}\n"));
        if found { Ok(()) } else { Err(text) }
    });
}

pub fn check(config: &Path) -> (Option<i32>, String) {
    let turnout =
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(["check", "--config"]).arg(config).output();
    let output = turnout.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_users_allow_each_other_survives_kill_9() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    assert!(!check(&config).1.contains("presence.store"), "there is a store");
    let mut process = Process::start(&config);
    holds(&process, 0);
    let mut wire = process.partner_stream(&ground);
    for (n, to) in ["anna@contoso.com", "bert@contoso.com", "anna@contoso.com"].iter().enumerate() {
        wire.send(format!("<presence from='bob{}@partner.example' to='{to}' type='subscribe'/>", n % 3));
    }
    ground.gateway.stanzas.at_least(3);
    holds(&process, 3);
    let running = check(&config);
    assert!(running.0 == Some(0) && !running.1.contains("in the store"), "{}", running.1);
    process.signal("-KILL");
    process.wait();

    let (code, said) = check(&config);
    assert!(code == Some(0) && said.contains("3 contact(s) in the store"), "{said}");
    let mut process = Process::start(&config);
    assert!(process.says("presence.store: ").contains("contacts=3"));
    holds(&process, 3);
    assert!(get(admin(&process), "/readyz").starts_with("HTTP/1.1 200"));
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    assert!(check(&config).1.contains("3 contact(s) in the store"));
}

#[test]
fn a_store_that_cannot_be_used_keeps_it_from_starting() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    let file = ground.folder.write("contacts.redb", "no database");
    let output =
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(["run", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("presence.store: ") && said.contains("contacts.redb: is damaged or no store"),
        "{said}"
    );
    assert!(said.contains("bring back a backup"), "{said}");
    let (code, said) = check(&config);
    assert!(
        code == Some(1) && said.contains("presence.store") && said.contains("is damaged or no"),
        "{said}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"no database", "it is left as it was");

    // Two routers and one file.
    std::fs::remove_file(&file).unwrap();
    let estate = Estate::with(&plan);
    let second = Ground::new(&plan);
    let more = format!("[presence]\nstore = \"{}\"", estate.folder.path().join("contacts.redb").display());
    let config = second.configure(&Plan { more, ..plan });
    let output =
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(["run", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("another process has it open"), "{said}");
    estate.finish(0);
}

#[test]
fn a_router_without_a_store_says_so_and_cannot_get_one_by_a_reload() {
    let estate = Estate::new();
    let config = estate.folder.path().join("turnout.toml");
    let (code, said) = check(&config);
    assert!(
        code == Some(0) && said.contains("warning: ") && said.contains("presence.store: is not set"),
        "{said}"
    );
    estate.configure(&plan());
    let error = estate.reload().unwrap_err();
    assert!(error.contains("presence.store") && error.contains("restart"), "{error}");
    assert!(estate.router.store().is_none());
    estate.finish(0);
}
