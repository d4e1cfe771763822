//! What the log says, and what it must never say. Invariant: it is asked for everything it can tell (`TURNOUT_LOG=trace`).

use std::path::{Path, PathBuf};

use crate::estate::{Ground, Plan};
use crate::peers::stream::chat;
use crate::process::Process;

/// Nobody else would write it.
const WORDS: &str = "quincunx-7731";
const SECRET: &str = "a-secret-that-is-in-no-log-0123456789";

/// A configuration with these lines in `[engine]`.
fn configured(ground: &Ground, plan: &Plan, engine: &str) -> PathBuf {
    let path = ground.configure(plan);
    ground.folder.write("dialback.key", SECRET);
    ground.folder.write("users.key", "another-secret-for-the-names-of-users");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("[engine]\n", &format!("[engine]\n{engine}\n"));
    let text = text
        .replace("ca_file = \"ca.pem\"\n", "ca_file = \"ca.pem\"\ndialback_secret_file = \"dialback.key\"\n");
    // Once, for the federation; homes have roots of their own.
    let at = text.rfind("dialback_secret_file").unwrap();
    let end = at + text[at..].find('\n').unwrap() + 1;
    let text = [&text[..at], &text[end..]].concat();
    std::fs::write(&path, text).unwrap();
    path
}

/// What the log says while messages go to each track, to nobody, and from somebody who may not write.
fn log_of(engine: &str) -> Vec<String> {
    let plan = Plan { drain_seconds: 20, ..Plan::default() };
    let ground = Ground::new(&plan);
    let path = configured(&ground, &plan, engine);
    let mut process = Process::start_with(Path::new(&path), "trace");
    let mut wire = process.partner_stream(&ground);
    for user in ["anna@contoso.com", "carla@contoso.com", "nobody@contoso.com"] {
        wire.send(chat("bob@partner.example/phone", user, "m", WORDS));
    }
    // One that is no plain stanza, and one that ends the stream.
    wire.send(format!("<message from='bob@partner.example' to='anna@contoso.com' xmlns:p='urn:p'><body>{WORDS}</body></message>"));
    ground.gateway.stanzas.at_least(2);
    crate::estate::wait("a text for the pool", || match ground.pool.texts().len() {
        1 => Ok(()),
        n => Err(format!("{n}")),
    });
    wire.send(format!(
        "<message from='eve@stranger.example' to='anna@contoso.com'><body>{WORDS}</body></message>"
    ));
    wire.until_end();
    process.signal("-TERM");
    process.wait();
    process.lines.all()
}

#[test]
fn what_people_write_and_secrets_are_in_no_line_of_the_log() {
    let lines = log_of("");
    for line in &lines {
        assert!(!line.contains(WORDS), "{line}");
        assert!(!line.contains(SECRET) && !line.contains("PRIVATE KEY"), "{line}");
    }
    // It was asked for everything, and there was something to say.
    assert!(lines.iter().any(|line| line.contains("DEBUG")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("invalid-from")), "{lines:#?}");
}

#[test]
fn the_switch_of_the_legacy_gateway_writes_what_people_write() {
    let lines = log_of("log_message_bodies = true");
    let bodies = lines.iter().filter(|line| line.contains(WORDS)).count();
    assert_eq!(bodies, 4, "each message once, that ended the stream not at all: {lines:#?}");
    assert!(lines.iter().any(|line| line.contains(WORDS) && line.contains("bob@partner.example/phone")));
}

#[test]
fn users_are_in_no_line_of_the_log_where_they_are_redacted() {
    let engine = "log_users = \"redacted\"\nlog_users_key_file = \"users.key\"\nlog_message_bodies = true";
    let lines = log_of(engine);
    for line in &lines {
        for user in ["bob@", "anna@", "carla@", "nobody@", "eve@", "/phone"] {
            assert!(!line.contains(user), "{user} in {line}");
        }
    }
    // The same user is the same word, also after a restart.
    let word = |lines: &[String]| {
        let line = lines.iter().find(|line| line.contains(WORDS)).unwrap();
        line.split("from='").nth(1).unwrap().split('@').next().unwrap().to_owned()
    };
    let first = word(&lines);
    assert!(first.starts_with('~') && first.len() == 17, "{first}");
    assert_eq!(word(&log_of(engine)), first);
    assert_ne!(word(&log_of("log_users = \"redacted\"\nlog_message_bodies = true")), first);
}
