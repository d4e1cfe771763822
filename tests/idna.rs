//! Domains beside the conformance test of UTS 46, IdnaTestV2, and the Punycode that is none, which the crate `idna` brings along in its
//! sources (B-38). What the standard calls an error is no domain; anything else is, and its prepared form is the standard's.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::PathBuf;
use std::process::Command;

use turnout_core::jid::Domain;

/// The folder of the crate's own tests.
fn folder() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let idna = packages.iter().find(|package| package["name"] == "idna").unwrap();
    PathBuf::from(idna["manifest_path"].as_str().unwrap()).with_file_name("tests")
}

/// `\uXXXX` and `\x{XXXX}` as they are written in the file; `None` for what is no character.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (digits, after) = match &rest[at + 1..] {
            long if long.starts_with("x{") => long[2..].split_once('}')?,
            short => short.get(1..5).zip(short.get(5..))?,
        };
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// Whether an error of the test is none for an address: lengths are asked of the DNS alone.
fn is_of_the_dns(status: &str) -> bool {
    status.starts_with("A4")
}

#[test]
fn domains_are_those_of_the_conformance_test() {
    let text = std::fs::read_to_string(folder().join("IdnaTestV2.txt")).unwrap();
    let (mut good, mut bad, mut newer, mut wrong) = (0, 0, 0, Vec::new());
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let fields: Vec<&str> = line.split(';').map(str::trim).collect();
        let [source, unicode, status, ..] = fields[..] else { continue };
        let Some(source) = unescaped(source).filter(|source| !source.is_empty() && source != "\"\"") else {
            continue;
        };
        let unicode =
            if unicode.is_empty() { source.clone() } else { unescaped(unicode).unwrap_or_default() };
        let errors: Vec<&str> = status
            .trim_matches(['[', ']'])
            .split(',')
            .map(str::trim)
            .filter(|error| !error.is_empty())
            .collect();
        // Punycode is not decoded beyond what a label may have, which for the test is an error of the DNS.
        if source.split('.').any(|label| label.len() > 63 && label.to_lowercase().starts_with("xn--")) {
            continue;
        }
        let ours = Domain::parse(&source);
        if errors.iter().all(|error| is_of_the_dns(error)) {
            let name = unicode.strip_suffix('.').unwrap_or(&unicode);
            if ours.as_ref().map(Domain::as_str) != Ok(name) {
                wrong.push(format!("{line}: {ours:?}"));
            }
            good += 1;
        } else if let Ok(domain) = ours {
            // Two hyphens in the third and fourth place are in names that are in use. What was no character when the test was made
            // may be one since, as the tables are newer.
            match errors[..] {
                ["V2"] => {}
                ["V7"] => newer += 1,
                _ => wrong.push(format!("{line}: {domain:?}")),
            }
        } else {
            bad += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of them: {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    assert!(good > 500 && bad > 5_000 && newer < 20, "{good} good, {bad} bad, {newer} newer");
}

#[test]
fn punycode_that_is_none_is_no_domain() {
    let cases = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    for case in cases("bad_punycode_tests.json") {
        let decoded = case["decoded"].as_str().unwrap();
        assert!(Domain::parse(decoded).is_err() && Domain::parse(&format!("a.{decoded}.example")).is_err());
    }
    let mut count = 0;
    for case in cases("punycode_tests.json") {
        let encoded = case["encoded"].as_str().unwrap();
        for name in [format!("xn--{encoded}"), format!("a.xn--{encoded}.example"), format!("XN--{encoded}")] {
            // What is Punycode is not always a domain. If it is one, it stands still, and comes back.
            if let Ok(domain) = Domain::parse(&name) {
                assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain), "{name}");
                if let Some(ascii) = domain.to_ascii() {
                    assert_eq!(Domain::parse(&ascii).as_ref(), Ok(&domain), "{name}");
                }
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
