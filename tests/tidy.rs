//! Holds the tree to its rules: which crate may know which, what may be depended on, how a file looks.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/licence.rs"]
mod licence;

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;

/// What a crate that decides may not be able to link: runtimes, sockets, thread pools, clocks, TLS, DNS, logs and metrics.
const WORLD: &[&str] = &[
    "async-io",
    "axum",
    "compio",
    "crossbeam-channel",
    "hickory-resolver",
    "hyper",
    "io-uring",
    "metrics",
    "mimalloc",
    "mio",
    "polling",
    "quanta",
    "rayon",
    "redb",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tracing",
];

/// Crates whose manifest names a file in place of a licence, and what stands in it.
const LICENCE_IN_FILE: &[(&str, &str)] = &[("rsip", "MIT"), ("rsip-derives", "MIT")];

/// Files every backend has.
const BACKEND_FILES: &[&str] = &["lib.rs", "frame.rs", "parse.rs", "write.rs", "error.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Everything a package can link or builds with, as it is really resolved: name and licence.
fn closure(package: &str, edges: &str) -> BTreeMap<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args = [
        "tree",
        "--locked",
        "--package",
        package,
        "--edges",
        edges,
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ];
    let text = run(&cargo, &args).expect("cargo tree works");
    let lines = text.lines().filter(|line| !line.is_empty());
    let packages = lines.map(|line| {
        let (package, licence) = line.split_once('|').unwrap();
        (package.split(' ').next().unwrap().to_owned(), licence.trim_end_matches(" (*)").to_owned())
    });
    packages.collect()
}

/// Files that belong to the project: tracked, or new and not ignored.
fn files() -> Vec<PathBuf> {
    match run("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]) {
        Some(names) => {
            let names = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
            names.filter(|name| root().join(name).is_file()).collect()
        }
        None => {
            let mut found = Vec::new();
            walk(root(), &mut found);
            found
        }
    }
}

/// A tree that is no checkout, as unpacked from an archive.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git", "__pycache__", "out"].contains(&name.as_str()) {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path.strip_prefix(root()).unwrap().to_owned());
        }
    }
}

/// Texts of the project, by path.
fn texts() -> BTreeMap<String, String> {
    let read = |path: PathBuf| {
        let text = String::from_utf8(std::fs::read(root().join(&path)).unwrap()).ok()?;
        Some((path.to_str().unwrap().to_owned(), text))
    };
    let texts: BTreeMap<String, String> = files().into_iter().filter_map(read).collect();
    assert!(texts.contains_key("Cargo.toml") && texts.contains_key("tests/tidy.rs"), "this is not the tree");
    texts
}

fn rust() -> BTreeMap<String, String> {
    texts().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Lines that are no comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn deny() -> toml::Table {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

#[test]
fn arrows_between_crates() {
    let siblings = ["turnout", "turnout-core", "turnout-sip", "turnout-xmpp"];
    for (package, may_know) in
        [("turnout-core", &[][..]), ("turnout-xmpp", &["turnout-core"]), ("turnout-sip", &["turnout-core"])]
    {
        let known = closure(package, "normal,build");
        assert!(known.contains_key(package), "{package} is not there");
        let wrong: Vec<String> = known
            .into_keys()
            .filter(|name| name != package && !may_know.contains(&name.as_str()))
            .filter(|name| siblings.contains(&name.as_str()) || WORLD.contains(&name.as_str()))
            .collect();
        none(&format!("{package} may not depend on"), &wrong);
    }
    // A load generator that shared code with the router would share its misreadings.
    let known = closure("turnout-bench", "normal,build");
    let wrong: Vec<String> = known.into_keys().filter(|name| siblings.contains(&name.as_str())).collect();
    none("turnout-bench may not depend on", &wrong);
    // What the rule looks for is there to be found.
    assert!(closure("turnout", "normal,build").contains_key("tokio"));
}

#[test]
fn banned_crates_are_absent() {
    let known = closure("turnout", "normal,build,dev");
    let deny = deny();
    let banned = deny["bans"]["deny"].as_array().unwrap();
    assert!(banned.len() > 10);
    let found: Vec<String> = banned
        .iter()
        .filter(|ban| known.contains_key(ban["crate"].as_str().unwrap()))
        .map(|ban| format!("{}: {}", ban["crate"], ban["reason"]))
        .collect();
    none("deny.toml bans", &found);
}

#[test]
fn licences_are_allowed() {
    let deny = deny();
    let allowed: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|licence| licence.as_str().unwrap())
        .collect();
    let wrong: Vec<String> = closure("turnout", "normal,build,dev")
        .into_iter()
        .map(|(name, licence)| {
            let in_file = LICENCE_IN_FILE.iter().find(|(crate_name, _)| *crate_name == name);
            let licence = in_file.map_or(licence, |(_, licence)| (*licence).to_owned());
            (name, licence)
        })
        .filter(|(_, licence)| !licence::is_allowed(licence, &allowed))
        .map(|(name, licence)| format!("{name}: {licence:?}"))
        .collect();
    none("licences that deny.toml does not allow", &wrong);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (path, text) in rust() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{path}: {lines} lines; {FILE_LINES_MAX} are allowed"));
        }
        let is_unit_test = path.ends_with("/tests.rs") || path.contains("/src/") && is_test(&path);
        if !text.starts_with("//!") && !is_unit_test {
            wrong.push(format!("{path}: begins without //! documentation"));
        }
    }
    none("files", &wrong);
}

#[test]
fn nothing_is_left_undone_or_without_bounds() {
    // In pieces, so that this file does not hold them.
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("un", "bounded_channel"),
        concat!("un", "bounded("),
        concat!("#[ig", "nore"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in rust() {
        for (number, line) in code(&text) {
            wrong.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{path}:{number}: {word}")),
            );
        }
    }
    none("not in this tree", &wrong);
}

#[test]
fn only_the_clock_reads_clocks() {
    let words = [concat!("Instant", "::now"), concat!("SystemTime", "::now"), concat!(".elap", "sed()")];
    let mut wrong = Vec::new();
    let mut clock = 0;
    for (path, text) in rust() {
        // Tests may take one instant to count from; clippy wants the reason written there.
        let tests_from = text.lines().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(usize::MAX);
        for (number, line) in code(&text) {
            if !words.iter().any(|word| line.contains(word)) {
                continue;
            }
            if path.starts_with("benches/counts/") {
                continue;
            }
            if path == "engine/service/clock.rs" {
                clock += 1;
            } else if !is_test(&path) && number <= tests_from {
                wrong.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    none("time is an argument; only clock.rs reads it", &wrong);
    assert!(clock > 0, "clock.rs reads no clock: does this rule still look for the right words?");
}

#[test]
fn what_decides_is_safe_and_backends_are_siblings() {
    let texts = texts();
    let mut wrong = Vec::new();
    // The one exception: vector instructions. An exception to a lint cannot be made from `forbid`.
    const WIDE: &str = "backends/xmpp/src/frame/wide.rs";
    for (folder, lint) in
        [("engine/core/src", "forbid"), ("backends/xmpp/src", "deny"), ("backends/sip/src", "forbid")]
    {
        let lib = texts.get(&format!("{folder}/lib.rs")).map_or("", String::as_str);
        if !lib.contains(&format!("#![{lint}(unsafe_code)]")) {
            wrong.push(format!("{folder}/lib.rs does not {lint} unsafe code"));
        }
        for (path, text) in texts.iter().filter(|(path, _)| path.starts_with(folder) && *path != WIDE) {
            let lines = code(text).filter(|(_, line)| line.contains("unsafe"));
            let lines = lines.filter(|(_, line)| *line != format!("#![{lint}(unsafe_code)]"));
            wrong.extend(lines.map(|(number, line)| format!("{path}:{number}: {}", line.trim())));
        }
    }
    assert!(
        texts.get(WIDE).is_some_and(|text| text.contains("unsafe {")),
        "{WIDE} needs its exception no more"
    );
    for backend in ["xmpp", "sip"] {
        let missing = BACKEND_FILES.iter().map(|file| format!("backends/{backend}/src/{file}"));
        wrong.extend(
            missing.filter(|path| !texts.contains_key(path)).map(|path| format!("{path} is missing")),
        );
    }
    none("backends and core", &wrong);
}

#[test]
fn nothing_of_this_machine_is_in_the_tree() {
    let mut words: BTreeSet<String> =
        [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")]
            .map(str::to_owned)
            .into();
    words.insert(root().to_str().unwrap().to_owned());
    words.extend(registries());
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        // The lock file names the index it was made from.
        if path == "Cargo.lock" {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            wrong.extend(
                words
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{path}:{number}: {word}")),
            );
        }
    }
    none("paths and hosts of one machine", &wrong);
}

/// Hosts of the registries this machine's cargo, pip and npm are pointed at, and of the usual index.
fn registries() -> BTreeSet<String> {
    let mut hosts: BTreeSet<String> =
        [concat!("index.crates", ".io"), concat!("static.crates", ".io")].map(str::to_owned).into();
    let home = |variable: &str, folder: &str| {
        let home = std::env::var(variable).map(PathBuf::from);
        home.unwrap_or_else(|_| PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(folder))
    };
    let cargo = home("CARGO_HOME", ".cargo");
    let pip = home("XDG_CONFIG_HOME", ".config").join("pip/pip.conf");
    let npm = home("NPM_CONFIG_USERCONFIG", ".npmrc");
    let places = [cargo.join("config.toml"), cargo.join("config"), pip, npm, PathBuf::from("/etc/pip.conf")];
    for text in places.iter().filter_map(|path| std::fs::read_to_string(path).ok()) {
        for (at, _) in text.match_indices("://") {
            let authority = text[at + 3..].split(['/', '"', '\'', '\n', ' ', ':']).next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            // Public hosts may be cited, as may loopback.
            if host.contains('.') && !["github.com", "crates.io", "127.0.0.1"].contains(&host) {
                hosts.insert(host.to_owned());
            }
        }
    }
    hosts
}
