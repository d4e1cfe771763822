//! Every class of attack has its row, every row its tests, and the two documents that say so are made from the rows. A test that is named
//! and is not there, a document that says something else, or a named test that did not run fails here.
//!
//! `TURNOUT_WRITE=1 cargo test --test security` writes the documents anew. With `TURNOUT_TEST_LOG` naming what `cargo test` printed,
//! as tests/run does it, every test named has to be in there as passed.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rows::{ADVISORIES, Held, LIMITS, PARTS, Partly, Row, Tests, WHOLE};

const REPORT: &str = "docs/security-tests.md";
const POLICY: &str = "SECURITY.md";
const BEGIN: &str = "<!-- made by tests/security: begin -->\n";
const END: &str = "<!-- made by tests/security: end -->\n";

const ADVISORIES_BEGIN: &str = "<!-- made by tests/security: advisories begin -->\n";
const ADVISORIES_END: &str = "<!-- made by tests/security: advisories end -->\n";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn all() -> impl Iterator<Item = &'static Row> {
    PARTS.iter().flat_map(|(_, rows)| rows.iter())
}

fn named() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lists: Vec<Tests> = all()
        .map(|row| row.tests)
        .chain(WHOLE.iter().map(|(_, tests)| *tests))
        .chain(LIMITS.iter().map(|(_, _, tests)| *tests))
        .collect();
    lists.into_iter().flatten().flat_map(|(file, names)| names.iter().map(move |name| (*file, *name)))
}

/// Whether a file has a test of that name, marked as one.
fn has_test(text: &str, name: &str, is_python: bool) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let kinds: &[(&str, &str)] = match is_python {
        true => &[("async def ", "@case(")],
        false => &[("fn ", "#[test]"), ("async fn ", "#[tokio::test]")],
    };
    kinds.iter().any(|(head, mark)| {
        let head = format!("{head}{name}(");
        let at = lines.iter().position(|line| line.starts_with(&head));
        at.is_some_and(|at| lines[at.saturating_sub(4)..at].iter().any(|line| line.starts_with(mark)))
    })
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut wrong = Vec::new();
    for (file, name) in named() {
        if !has_test(&read(file), name, file.ends_with(".py")) {
            wrong.push(format!("{file} has no test {name}"));
        }
    }
    for row in all() {
        if !path(row.ends_in).exists() {
            wrong.push(format!("{}: there is no {}", row.id, row.ends_in));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_class_has_one_row_with_tests() {
    let ids: Vec<&str> = all().map(|row| row.id).collect();
    let number = |prefix: &str, numbers: std::ops::RangeInclusive<u8>| {
        numbers.map(|number| format!("{prefix}-{number:02}")).collect::<Vec<_>>()
    };
    let classes = [
        number("B", 1..=12),
        number("B", 20..=38),
        number("XC", 1..=9),
        number("B", 50..=64),
        number("TL", 1..=8),
    ]
    .concat();
    assert_eq!(ids, classes);
    for row in all() {
        assert!(row.tests.iter().map(|(_, names)| names.len()).sum::<usize>() > 0, "{} has no test", row.id);
    }
}

#[test]
fn every_limit_has_its_row() {
    let text = read("engine/core/src/limits.rs");
    let names = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let (there, rows): (BTreeSet<&str>, BTreeSet<&str>) =
        (names.collect(), LIMITS.iter().map(|(name, ..)| *name).collect());
    assert_eq!(there, rows);
    assert_eq!(rows.len(), LIMITS.len(), "one stands twice");
    let untried: Vec<&str> = LIMITS
        .iter()
        .filter(|(_, _, tests)| tests.iter().map(|(_, names)| names.len()).sum::<usize>() == 0)
        .map(|(name, ..)| *name)
        .collect();
    assert!(untried.is_empty(), "no test goes beyond {untried:?}");
    let file = read("config/turnout.toml");
    for (name, key, _) in LIMITS.iter().filter(|(_, key, _)| !key.is_empty()) {
        let (table, key) = key.split_once('.').unwrap();
        let rest = file.split(&format!("[{table}]")).nth(1).unwrap_or_else(|| panic!("{name}: [{table}]"));
        assert!(rest.contains(&format!("\n{key} = ")), "{name}: {table}.{key} is not in config/turnout.toml");
    }
}

#[test]
fn advisories_are_answered() {
    let numbers = |version: &str| -> Vec<u64> {
        version.split(['.', '+', '-']).map_while(|number| number.parse().ok()).collect()
    };
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    for (id, name, fixed, _) in ADVISORIES {
        let packages = lock["package"].as_array().unwrap();
        let versions: Vec<&str> = packages
            .iter()
            .filter(|package| package["name"].as_str() == Some(name))
            .map(|package| package["version"].as_str().unwrap())
            .collect();
        assert!(!versions.is_empty(), "{id}: {name} is not in the tree any more");
        for version in
            versions.iter().filter(|version| !(*name == "hashbrown" && version.starts_with("0.14.")))
        {
            assert!(numbers(version) >= numbers(fixed), "{id}: {name} {version}, and {fixed} is needed");
        }
    }
}

/// What cargo printed of each test: the last word of `test some::path::name ... ok`.
fn verdicts(log: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut verdicts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in log.lines().filter_map(|line| line.strip_prefix("test ")) {
        if let Some((name, verdict)) = line.split_once(" ... ") {
            let name = name.rsplit("::").next().unwrap_or(name);
            verdicts.entry(name).or_default().insert(verdict.trim());
        }
    }
    verdicts
}

#[test]
fn every_test_that_is_named_has_passed() {
    let Some(file) = std::env::var_os("TURNOUT_TEST_LOG") else { return };
    let log = std::fs::read_to_string(file).unwrap();
    let verdicts = verdicts(&log);
    let passed = |name: &str| verdicts.get(name).is_some_and(|found| found.iter().eq(["ok"].iter()));
    let missing: Vec<_> = named().filter(|(file, name)| !file.ends_with(".py") && !passed(name)).collect();
    assert!(missing.is_empty(), "named, and not passed in this run: {missing:#?}");
}

#[test]
fn what_cargo_prints_is_understood() {
    let log = "running 2 tests\ntest a::b ... ok\ntest c ... ignored\ntest d::b ... FAILED\ntest result: ok. 1 passed\n";
    let verdicts = verdicts(log);
    assert_eq!(verdicts["b"].iter().copied().collect::<Vec<_>>(), ["FAILED", "ok"]);
    assert_eq!(verdicts["c"].iter().copied().collect::<Vec<_>>(), ["ignored"]);
    assert!(has_test("#[test]\nfn x() {}", "x", false) && !has_test("fn x() {}", "x", false));
    assert!(has_test("#[tokio::test]\nasync fn x() {}", "x", false));
    assert!(!has_test("async fn x() {}", "x", false));
    assert!(
        has_test("@case(9)\nasync def x() -> None:", "x", true)
            && !has_test("#[test]\nfn xy() {}", "x", false)
    );
}

fn links(tests: Tests, up: &str) -> String {
    let of = |(file, names): &(&str, &[&str])| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("[{file}]({up}{file}): {}", names.join(", "))
    };
    tests.iter().map(of).collect::<Vec<_>>().join("<br>")
}

fn report() -> String {
    let mut text = String::from(
        "# What is tried against turnout\n\n\
         Made by `tests/security` from its rows; a test fails when this page says something else, names a test that is not there, or\n\
         one that did not pass in the same run. *held* means that all the class names is tried; else it says what is left.\n",
    );
    for (title, rows) in PARTS {
        write!(text, "\n## {title}\n\n| id | attack | tried | tests | outcome |\n|---|---|---|---|---|\n")
            .unwrap();
        for row in rows {
            let outcome = match row.state {
                Held => "held".to_owned(),
                Partly(left) => format!("held as far as tried; left: {left}"),
            };
            let tests = links(row.tests, "../");
            writeln!(text, "| {} | {} | {} | {tests} | {outcome} |", row.id, row.attack, row.tried).unwrap();
        }
    }
    text.push_str("\n## The whole\n\n| rule | tests |\n|---|---|\n");
    for (rule, tests) in WHOLE {
        writeln!(text, "| {rule} | {} |", links(tests, "../")).unwrap();
    }
    text.push_str("\n## Limits\n\nAll of `engine/core/src/limits.rs`. None is without a test that goes beyond it.\n\n| limit | key | a test goes beyond it |\n|---|---|---|\n");
    for (name, key, tests) in LIMITS {
        let key = if key.is_empty() { String::new() } else { format!("`{key}`") };
        let tests = links(tests, "../");
        writeln!(text, "| `{name}` | {key} | {tests} |").unwrap();
    }
    text
}

fn advisories() -> String {
    let mut text = String::from("| advisory | crate | without it since | what it is |\n|---|---|---|---|\n");
    for (id, name, fixed, what) in ADVISORIES {
        writeln!(text, "| {id} | {name} | {fixed} | {what} |").unwrap();
    }
    text
}

fn summary() -> String {
    let mut text = String::from("| id | attack | where it ends | shown by |\n|---|---|---|---|\n");
    for row in all() {
        let first = row.tests.first().and_then(|(_, names)| names.first()).unwrap();
        let file = row.ends_in;
        writeln!(text, "| {} | {} | [{file}]({file}) | `{first}` |", row.id, row.attack).unwrap();
    }
    text
}

#[test]
fn the_documents_say_what_the_rows_say() {
    let policy = read(POLICY);
    let (before, rest) = policy.split_once(BEGIN).expect("SECURITY.md has a place for the rows");
    let (_, after) = rest.split_once(END).expect("and an end of it");
    let (between, rest) = after.split_once(ADVISORIES_BEGIN).expect("and one for the advisories");
    let (_, last) = rest.split_once(ADVISORIES_END).expect("and an end of that");
    let policy =
        [before, BEGIN, &summary(), END, between, ADVISORIES_BEGIN, &advisories(), ADVISORIES_END, last]
            .concat();
    let made = [(REPORT, report()), (POLICY, policy)];
    for (file, text) in made {
        if std::env::var_os("TURNOUT_WRITE").is_some() {
            std::fs::write(path(file), &text).unwrap();
        }
        assert!(
            read(file) == text,
            "{file} says something else than tests/security/rows; run with TURNOUT_WRITE=1"
        );
    }
}
