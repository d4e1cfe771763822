//! Every file in `tests/plays` is given over the in-memory driver with the real backends; see `support::play` for the words.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
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

/// The rows of the mapping tables: table, what the row is called, and the plays that show it.
const ROWS: &[(&str, &str, &[&str])] = &[
    ("A.3.5", "subscribe", &["a35-subscribe", "a35-subscribe-without-document", "a35-subscribe-again"]),
    ("A.3.5", "unsubscribe", &["a35-unsubscribe"]),
    (
        "A.3.5",
        "probe",
        &["a35-probe-of-the-watched", "a35-probe-of-a-stranger", "a35-probe-of-one-forgotten"],
    ),
    ("A.3.5", "initial presence", &["a35-initial-presence"]),
    ("A.3.5", "refresh due", &["a35-refresh", "a35-absent-watcher"]),
    ("A.3.5", "403, 489, 603", &["a35-subscribe-refused", "a35-grant-taken"]),
    ("A.3.5", "423", &["a35-interval-too-brief"]),
    ("A.3.5", "481, 408, 5xx", &["a35-trouble"]),
    ("A.3.5", "SE-03", &["a35-watch-ended-anew", "a35-watch-ended-later", "a35-watch-denied"]),
    ("A.3.5", "SIP SUBSCRIBE", &["a35-pool-subscribes", "a35-pool-is-granted", "a35-pool-is-refused"]),
    ("A.3.5", "SE-13", &["a35-pool-asks-for-other-things"]),
    ("A.3.5", "SIP refresh", &["a35-pool-refreshes"]),
    ("A.3.5", "SIP Expires", &["a35-pool-leaves", "a35-pool-is-silent"]),
    ("A.3.5", "SIP fetch", &["a35-pool-fetches", "a35-pool-fetches-what-is-known"]),
    ("A.3.5", "XMPP unsubscribed later", &["a35-pool-loses-grant"]),
    ("A.3.5", "XMPP S2S down", &["a35-partner-down"]),
    ("A.3.5", "SIP pool down", &["a35-pool-down"]),
    ("A.3.5", "turnout restart", &["a35-restart"]),
    ("A.3.6", "type", &["a36-closed-in", "a36-resources-out", "a36-resources-out-one"]),
    (
        "A.3.6",
        "show",
        &["a36-activities-in", "a36-activities-in-more", "a36-show-out", "a36-show-out-simple"],
    ),
    ("A.3.6", "status", &["a36-notes-in", "a36-notes-to-public-partners", "a36-rest-out"]),
    ("A.3.6", "priority", &["a36-notes-in", "a36-rest-out"]),
    ("A.3.6", "resource", &["a36-tuple-ids-out", "a36-resources-in"]),
    ("A.3.6", "several resources", &["a36-resources-in", "a36-resources-in-one"]),
    ("A.3.6", "several resources", &["a36-resources-out", "a36-resources-out-one"]),
    ("A.3.6", "caps", &["a36-activities-in", "a36-rest-out"]),
    ("A.3.6", "delay", &["a36-delay-in", "a36-rest-out"]),
    ("A.3.6", "nick", &["a36-notes-in", "a36-rest-out"]),
    ("A.3.7", "composing", &["a37-composing-out", "a37-composing-out-ends", "a37-typing-alone"]),
    ("A.3.7", "paused, active", &["a37-composing-out"]),
    ("A.3.7", "active", &["a37-typing-in", "a37-documents-in"]),
    ("A.3.7", "idle", &["a37-typing-in", "a37-documents-in"]),
    ("A.3.7", "timeout", &["a37-typing-in-times-out", "a37-documents-in"]),
    ("A.3.7", "gone", &["a37-gone-out"]),
    ("A.3.7", "BYE", &["a37-bye-in"]),
    ("A.3.7", "content", &["a37-content-out", "a37-content-in"]),
    (
        "A.3.7",
        "receipts",
        &["a37-receipt-of-pools-text", "a37-receipt-of-partners-text", "a37-receipts-skype"],
    ),
    ("A.3.7", "Failure-Report", &["a37-failure-of-pools-text", "a37-failure-unasked"]),
    ("A.3.7", "IMDN failed", &["a37-failure-of-partners-text"]),
    ("A.3.7", "dialect simple", &["a37-typing-simple"]),
    ("A.3.7", "XEP-0085", &["a37-silent-partner"]),
];

#[test]
fn every_row_has_its_plays() {
    let scripts: BTreeMap<String, String> = scripts().into_iter().collect();
    let mut named = BTreeSet::new();
    for (table, row, plays) in ROWS {
        for play in *plays {
            let text = scripts.get(*play).unwrap_or_else(|| panic!("{table} {row}: there is no {play}.play"));
            let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).collect();
            let head = head.concat();
            assert!(
                head.starts_with(&format!(" {table}")),
                "{play}.play does not begin with its table, {table}"
            );
            assert!(head.contains(row), "{play}.play does not say that it shows the row {row}");
            named.insert(*play);
        }
    }
    let unnamed = scripts.keys().find(|name| name.starts_with("a3") && !named.contains(name.as_str()));
    assert_eq!(unnamed, None, "this play belongs to a row and is not in the list of rows");
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
