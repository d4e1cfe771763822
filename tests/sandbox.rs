//! The shipped systemd unit confines the process: systemd's own tool scores it, without a systemd that runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Highest exposure, of 10.
const EXPOSURE_MAX: f64 = 2.0;

fn unit() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/turnout.service").to_str().unwrap().to_owned()
}

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg("--no-pager")
        .output()
        .expect("systemd-analyze scores the unit; it is in the package systemd");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_unit_is_confined() {
    let told = analyze(&["security", "--offline=true", &unit()]);
    let line =
        told.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{told}"));
    let exposure: f64 =
        line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(exposure <= EXPOSURE_MAX, "{line}");
}

/// Every set of system calls, as systemd knows them, with the sets inside taken apart.
fn system_calls() -> BTreeMap<String, BTreeSet<String>> {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in analyze(&["syscall-filter"]).lines() {
        match line.trim() {
            name if line.starts_with('@') => current = name.to_owned(),
            "" => {}
            comment if comment.starts_with('#') => {}
            member => sets.entry(current.clone()).or_default().push(member.to_owned()),
        }
    }
    let flat = |name: &String| {
        let (mut calls, mut open) = (BTreeSet::new(), vec![name.clone()]);
        while let Some(set) = open.pop() {
            for member in sets.get(&set).into_iter().flatten() {
                if member.starts_with('@') {
                    open.push(member.clone())
                } else {
                    calls.insert(member.clone());
                }
            }
        }
        calls
    };
    sets.keys().map(|name| (name.clone(), flat(name))).collect()
}

#[test]
fn the_unit_allows_what_the_router_does_and_not_what_an_intruder_would() {
    let text = std::fs::read_to_string(unit()).unwrap();
    let sets = system_calls();
    let mut allowed = sets["@default"].clone();
    for line in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (taken, names) = line.strip_prefix('~').map_or((false, line), |rest| (true, rest));
        for name in names.split(' ') {
            for call in &sets[name] {
                if taken {
                    allowed.remove(call)
                } else {
                    allowed.insert(call.clone())
                };
            }
        }
    }
    for call in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "epoll_wait",
        "accept4",
        "sendmsg",
        "clone3",
        "rename",
    ] {
        assert!(allowed.contains(call), "{call}");
    }
    for call in
        ["ptrace", "mount", "bpf", "kexec_load", "init_module", "setuid", "chroot", "reboot", "setrlimit"]
    {
        assert!(!allowed.contains(call), "{call}");
    }
}

#[test]
fn the_unit_needs_no_privilege() {
    let text = std::fs::read_to_string(unit()).unwrap();
    for line in [
        "User=turnout",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "LimitCORE=0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
}
