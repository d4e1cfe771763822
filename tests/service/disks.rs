//! Places on disk that cannot be used: `turnout check` says so, and a router that cannot begin with them begins with nothing.

use std::path::Path;
use std::process::{Command, Output};

use crate::contacts::check;
use crate::estate::{Ground, Plan};
use crate::process::Process;

/// Both on disk, at these places.
fn plan(store: impl std::fmt::Display, spool: impl std::fmt::Display) -> Plan {
    let more = format!("[presence]\nstore = \"{store}\"\n[spool]\nmode = \"durable\"\npath = \"{spool}\"");
    Plan { more, ..Plan::default() }
}

/// It does not begin, says why, and nothing of it was there for a moment.
fn does_not_begin(output: &Output, key: &str, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(key) && said.contains(why), "{said}");
    for sign in ["listener.open", "router.up", "spool.opened", "store.opened"] {
        assert!(!said.contains(sign), "{said}");
    }
}

fn run(config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnout")).args(["run", "--config"]).arg(config).output().unwrap()
}

#[test]
fn what_cannot_be_written_or_is_something_else_is_found_by_a_check_and_nothing_begins() {
    for (store, spool, key, why) in [
        // Nobody makes anything in there, whoever he is.
        ("contacts.redb", "/proc/spool", "spool.path", "/proc/spool"),
        ("/proc/contacts.redb", "spool", "presence.store", "/proc/contacts.redb"),
        ("contacts.redb", "users.csv", "spool.path", "is no directory"),
        ("contacts.redb", "users.csv/spool", "spool.path", "users.csv/spool"),
        ("none/contacts.redb", "spool", "presence.store", "none/contacts.redb"),
    ] {
        let ground = Ground::new(&plan(store, spool));
        let config = ground.folder.path().join("turnout.toml");
        let (code, said) = check(&config);
        assert!(code == Some(1) && said.contains(key) && said.contains(why), "{store} {spool}: {said}");
        does_not_begin(&run(&config), key, why);
    }
}

#[test]
fn what_another_process_has_is_not_taken_and_nothing_begins() {
    let first = Ground::new(&plan("contacts.redb", "spool"));
    let mut process = Process::start(&first.folder.path().join("turnout.toml"));
    let of_first = |name: &str| first.folder.path().join(name).display().to_string();
    for (store, spool, key, why) in [
        (of_first("contacts.redb"), "spool".to_owned(), "presence.store", "another process has it open"),
        ("contacts.redb".to_owned(), of_first("spool"), "spool.path", "another turnout has it"),
    ] {
        let second = Ground::new(&plan(store, spool));
        does_not_begin(&run(&second.folder.path().join("turnout.toml")), key, why);
    }
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
}

/// What `turnout` says with a file system of its own at a place, mounted with these options and filled to the last octet. `None` where this machine
/// lets nobody mount one.
fn on_a_full_disk(place: &Path, command: &str, config: &Path) -> Option<Output> {
    std::fs::create_dir_all(place).unwrap();
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$0" || exit 99
dd if=/dev/zero of="$0/filler" bs=1k 2>/dev/null
exec "$1" "$2" --config "$3""#;
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(place)
        .args([env!("CARGO_BIN_EXE_turnout"), command])
        .arg(config)
        .output()
        .ok()?;
    let mounted = !matches!(output.status.code(), Some(99) | None)
        && !String::from_utf8_lossy(&output.stderr).contains("unshare:");
    mounted.then_some(output)
}

#[test]
fn a_full_disk_is_found_by_a_check_and_a_store_does_not_begin_there() {
    for (store, spool, key) in
        [("contacts.redb", "full/spool", "spool.path"), ("full/contacts.redb", "spool", "presence.store")]
    {
        let ground = Ground::new(&plan(store, spool));
        let (place, config) = (ground.folder.path().join("full"), ground.folder.path().join("turnout.toml"));
        let Some(output) = on_a_full_disk(&place, "check", &config) else {
            eprintln!("this machine lets nobody mount a file system: nothing was tried");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(1) && said.contains(key) && said.contains("full"), "{said}");
        if key == "presence.store" {
            // A spool begins on a full disk and is written when there is room: that is how a router comes back to one it has filled.
            does_not_begin(&on_a_full_disk(&place, "run", &config).unwrap(), key, "full");
        }
    }
}
