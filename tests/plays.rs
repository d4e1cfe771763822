//! Every file in `tests/plays` is given over the in-memory driver with the real backends; see `support::play` for the words.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod support;

use std::path::PathBuf;

use support::play::{matches, play};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plays")
}

fn scripts() -> Vec<(String, String)> {
    let mut scripts: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "play"))
        .map(|path| {
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    scripts.sort();
    scripts
}

#[test]
fn every_play_goes_as_written() {
    let only = std::env::var("PLAY").ok();
    let mut failed = Vec::new();
    for (name, text) in scripts() {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        if std::panic::catch_unwind(|| play(&name, &text)).is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "these plays went otherwise: {failed:?}; PLAY=NAME gives one alone");
}

#[test]
fn every_rule_has_a_play() {
    let all: String = scripts().into_iter().map(|(_, text)| text).collect();
    for rule in ["P-1", "P-2", "P-3", "P-4", "P-5", "P-6", "H-1", "H-2", "H-3", "H-4", "M-1"] {
        assert!(all.contains(&format!("# {rule}")), "no play shows rule {rule}");
    }
}

#[test]
fn patterns_match_as_they_say() {
    let check = |pattern: &str, text: &str, expected: bool| {
        assert_eq!(matches(pattern, text), expected, "{pattern:?} and {text:?}");
    };
    check("a", "a", true);
    check("a", "ab", false);
    check("a*", "ab", true);
    check("*b", "ab", true);
    check("a*c*e", "abcde", true);
    check("a*e*c", "abcde", false);
    check("*", "", true);
    check("", "a", false);
}
