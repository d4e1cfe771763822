//! docs/events.md names every event the log can hold, and no other, each with its level.
#![allow(clippy::unwrap_used, reason = "a test that cannot read the tree has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use turnout_core::notice::Notice;

/// Macros that write a line, with the level they write it at.
const MACROS: [(&str, &str); 4] = [
    ("tracing::error!(", "error"),
    ("tracing::warn!(", "warn"),
    ("tracing::info!(", "info"),
    ("tracing::debug!(", "debug"),
];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Name and level of every event in the code.
fn in_the_code() -> BTreeMap<String, String> {
    let mut events: BTreeMap<String, String> = BTreeMap::new();
    for notice in Notice::ALL {
        let level = format!("{:?}", notice.level()).to_lowercase();
        assert!(events.insert(notice.name().to_owned(), level).is_none(), "{} is named twice", notice.name());
    }
    let mut texts = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/service"), &mut texts);
    assert!(texts.len() > 50);
    for (path, text) in &texts {
        for (macro_name, level) in MACROS {
            for (at, _) in text.match_indices(macro_name) {
                let arguments = text[at + macro_name.len()..].trim_start();
                // A shard's notes bring their name along.
                if path.ends_with("service/log.rs") && arguments.starts_with("event, shard") {
                    continue;
                }
                let name = arguments.strip_prefix("event = \"").and_then(|rest| rest.split('"').next());
                let line = text[..at].lines().count();
                let name =
                    name.unwrap_or_else(|| panic!("{path}:{line}: a line in the log without an event"));
                let before = events.insert(name.to_owned(), level.to_owned());
                assert!(before.is_none_or(|before| before == level), "{path}:{line}: {name} has two levels");
            }
        }
    }
    events
}

#[test]
fn the_page_names_every_event_and_no_other() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md")).unwrap();
    let mut named = BTreeMap::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, level, what, _] = cells[..] else { panic!("not three cells: {row}") };
        assert!(!what.is_empty(), "{row}");
        let name = name.trim_matches('`').to_owned();
        assert!(named.insert(name, level.to_owned()).is_none(), "named twice: {row}");
    }
    assert_eq!(named, in_the_code(), "left the page, right the code");
}

#[test]
fn names_are_two_words_with_a_dot() {
    for name in in_the_code().keys() {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let parts: Vec<&str> = name.split('.').collect();
        assert!(matches!(parts[..], [about, what] if word(about) && word(what)), "{name}");
    }
}
