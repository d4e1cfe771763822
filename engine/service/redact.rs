//! Users' names in the log, for operators who want none there. Invariant: with a key, no local part and no resource of an address reaches
//! the log; the same user is the same word in every line, and nobody without the key can tell which.
//!
//! It works on whole lines, just before they are written, so that no line has to be thought of. What is no address stays. A resource
//! ends at the first space, as nobody can tell where it does.

use std::borrow::Cow;
use std::io::Write;

use arc_swap::ArcSwapOption;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tracing_subscriber::fmt::MakeWriter;

/// What the words are made with.
pub type Key = [u8; 32];

/// The key in use: one log, one key.
static KEY: ArcSwapOption<Key> = ArcSwapOption::const_empty();

/// From now on lines are written with this key, or as they are.
pub fn use_key(key: Option<Key>) {
    KEY.store(key.map(Into::into));
}

/// A text as the log would have it.
pub fn shown(text: &str) -> String {
    match &*KEY.load() {
        Some(key) => redact(key, text).into_owned(),
        None => text.to_owned(),
    }
}

/// The key in use, if users are words.
pub fn key() -> Option<Key> {
    KEY.load().as_deref().copied()
}

/// Makes writers that see to it.
pub struct Redacted<M>(pub M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Redacted<M> {
    type Writer = Lines<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(self.0.make_writer())
    }
}

/// Writes lines, each given whole.
pub struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match &*KEY.load() {
            Some(key) => self.0.write_all(redact(key, &String::from_utf8_lossy(line)).as_bytes())?,
            None => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A line without users: `alice@contoso.com/x` becomes `~5ad3b1c90f7e2a46@contoso.com`.
pub fn redact<'a>(key: &Key, line: &'a str) -> Cow<'a, str> {
    let mut out = String::new();
    let mut done = 0;
    for at in line.match_indices(['@', '%']).map(|(at, _)| at) {
        // Paths of requests have it escaped.
        let sign = if line[at..].starts_with('@') { 1 } else { "%40".len() };
        if sign > 1 && !line[at..].starts_with("%40") {
            continue;
        }
        let Some(before) = line.get(done..at) else { continue };
        let start = done + local_start(before);
        let domain = domain_len(&line[at + sign..]);
        if start == at || domain == 0 {
            continue;
        }
        let end = at + sign + domain;
        out.push_str(&line[done..start]);
        out.push_str(&word(key, &format!("{}@{}", &line[start..at], &line[at + sign..end])));
        out.push_str(&line[at..end]);
        done = end + if sign == 1 { resource_len(&line[end..]) } else { escaped_resource_len(&line[end..]) };
    }
    if done == 0 {
        return line.into();
    }
    out.push_str(&line[done..]);
    out.into()
}

/// Where the local part begins that ends `before`: behind the last character that none may hold (RFC 7622 §3.3.1), and behind
/// punctuation in front of it.
fn local_start(before: &str) -> usize {
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"&'/:<>@".contains(c);
    let start =
        before.rfind(is_end).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let mut local = &before[start..];
    // The rest of what sets a colour.
    if before[..start].ends_with('\u{1b}') {
        local = local.split_once('m').map_or(local, |(_, local)| local);
    }
    before.len() - local.trim_start_matches(['(', '[', '{', ',', '=', ';']).len()
}

fn domain_len(text: &str) -> usize {
    let len = text.find(|c: char| !(c.is_alphanumeric() || ".-_[]:".contains(c))).unwrap_or(text.len());
    text[..len].trim_end_matches(['.', ':', ']']).len()
        + usize::from(text.starts_with('[') && text[..len].contains(']'))
}

fn resource_len(text: &str) -> usize {
    if !text.starts_with('/') {
        return 0;
    }
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"'<>,;)".contains(c);
    // What escapes a quotation mark stays with it, or a line of JSON would be none.
    text[..text.find(is_end).unwrap_or(text.len())].trim_end_matches('\\').len()
}

/// In the path of a request, where a slash ends the address.
fn escaped_resource_len(text: &str) -> usize {
    if !text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2f")) {
        return 0;
    }
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"'<>,;)/?&".contains(c);
    text.find(is_end).unwrap_or(text.len())
}

fn word(key: &Key, bare: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return "~".to_owned() };
    mac.update(bare.to_lowercase().as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().take(8).fold("~".to_owned(), |word, byte| format!("{word}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, hidden: &[&str], shown: &[&str]) {
        let redacted = redact(&[7; 32], line);
        for word in hidden {
            assert!(!redacted.contains(word), "{word} is in {redacted}");
        }
        for word in shown {
            assert!(redacted.contains(word), "{word} is not in {redacted}");
        }
        assert_eq!(redact(&[7; 32], &redacted).matches('~').count(), redacted.matches('~').count());
    }

    #[test]
    fn no_user_is_left_in_a_line() {
        check("alice@contoso.com moved", &["alice"], &["@contoso.com moved"]);
        check(
            "from=alice@contoso.com/Phone to=\"b.o'b@partner.example\"",
            &["alice", "Phone"],
            &["@contoso.com to=", "@partner.example\""],
        );
        check("<sip:alice@contoso.com;tag=1>", &["alice"], &["<sip:~", "@contoso.com;tag=1>"]);
        check("(a(b)c@contoso.com): refused", &["b)c"], &["(~", "@contoso.com): refused"]);
        check(
            "\u{1b}[3mabout\u{1b}[0m\u{1b}[2m=\u{1b}[0malice@contoso.com",
            &["alice"],
            &["\u{1b}[0m~", "@contoso.com"],
        );
        check("grüße@münchen.example, näxt", &["grüße"], &["@münchen.example, näxt"]);
        check("x@[2001:db8::1] y@192.0.2.1:5061.", &["x@", "y@"], &["@[2001:db8::1]", "@192.0.2.1:5061."]);
        check("alice\\40x@contoso.com/a b", &["alice", "/a"], &["@contoso.com b"]);
        check("two: a1@x.test a2@x.test", &["a1", "a2"], &[]);
        check("GET /api/users/bob%40contoso.com%2Fphone/contacts", &["bob", "phone"], &["/contacts"]);
        check(
            "DELETE /api/users/bob%40contoso.com/contacts/eve%40partner.example/veto 50% of 100%",
            &["bob", "eve"],
            &["/api/users/~", "%40contoso.com", "%40partner.example", " 50% of 100%"],
        );
        check(
            "no address: @ a@ @b x.test 192.0.2.1:5269",
            &[],
            &["no address: @ a@ @b x.test 192.0.2.1:5269"],
        );
    }

    #[test]
    fn a_line_of_json_stays_one() {
        for resource in ["a", "a\"b", "a\\", "a\\\"b", "\"", "\\", "a\tb"] {
            let text = format!("alice@contoso.com/{resource}");
            let line = serde_json::json!({ "message": format!("to {text}"), "about": text, "event": "a.b" });
            let redacted = redact(&[7; 32], &line.to_string()).into_owned();
            let read: serde_json::Value = serde_json::from_str(&redacted).unwrap();
            assert_eq!((&read["event"], redacted.contains("alice")), (&"a.b".into(), false), "{redacted}");
        }
    }

    #[test]
    fn the_same_user_is_the_same_word_and_needs_the_key() {
        let word = |key: u8, text: &str| redact(&[key; 32], text).split('@').next().unwrap().to_owned();
        assert_eq!(word(1, "Alice@contoso.com/a"), word(1, "alice@contoso.com"));
        assert_eq!(
            word(1, "alice@contoso.com"),
            word(1, "alice%40contoso.com").replace("%40contoso.com", "")
        );
        assert_ne!(word(1, "alice@contoso.com"), word(2, "alice@contoso.com"));
        assert_ne!(word(1, "alice@contoso.com"), word(1, "alice@fabrikam.com"));
        assert_eq!(word(1, "alice@contoso.com").len(), 17);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "[a-c@/:<> .\u{1b}m\\[\\]ü(=]{0,60}") {
            let redacted = redact(&[7; 32], &line);
            proptest::prop_assert_eq!(redacted.matches('@').count() <= line.matches('@').count(), true);
        }
    }
}
