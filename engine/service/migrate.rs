//! From a Skype for Business estate to a configuration, and back to the cmdlets that attach turnout to it.
//!
//! Invariant: nothing is carried over that was not understood. What cannot be is named in the text that is written, beside what it
//! concerns, and once more among the findings; nothing from an export or a configuration can end the comment or the string it stands in.

use std::fmt;

use serde::Serialize;

mod gateway;
mod partners;
pub mod powershell;
pub mod rehearse;
#[cfg(test)]
mod tests;
mod users;

pub use gateway::gateway;
pub use partners::partners;
pub use users::{Access, UserFiles, access, users};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Something was not carried over that has to be: exit code 1.
    Error,
    /// Somebody should know.
    Note,
}

/// Something that was not, or not simply, carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// Where it stands in the export: `line 3`, `object 2`; empty where it concerns all of it.
    pub place: String,
    /// What, and what to do.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}: {}", self.place, self.what)
        }
    }
}

/// What an import made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Configuration, with comments.
    pub toml: String,
    /// How many objects of the export are in it.
    pub taken: u64,
    /// What is not.
    pub findings: Vec<Finding>,
}

impl Imported {
    /// Whether everything that has to be was carried over: exit code 0.
    pub fn good(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight == Weight::Note)
    }

    /// Adds a line.
    fn line(&mut self, line: impl AsRef<str>) {
        self.toml.push_str(line.as_ref());
        self.toml.push('\n');
    }

    /// Adds a comment.
    fn comment(&mut self, text: impl AsRef<str>) {
        let text = format!("# {}", one_line(text.as_ref()));
        self.line(text.trim_end());
    }

    /// Notes a finding, also as a comment where it stands.
    fn finding(&mut self, weight: Weight, place: &str, what: impl Into<String>) {
        let what = one_line(&what.into());
        let word = if weight == Weight::Error { "NOT CARRIED OVER" } else { "Note" };
        self.comment(format!("{word}: {what}"));
        self.findings.push(Finding { weight, place: place.to_owned(), what });
    }
}

/// A text in which nothing ends a line: for comments.
fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().map(|c| if breaks(c) { ' ' } else { c }).collect()
}

/// A text as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Texts as a TOML array.
fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

/// `1 user`, `2 users`.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
