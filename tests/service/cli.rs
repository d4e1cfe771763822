//! What the command line says of configurations that cannot be right, and how it ends.

use std::process::{Command, Output};

use crate::estate::{Ground, Plan};

fn turnout(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnout")).args(args).output().unwrap()
}

#[test]
fn check_names_file_key_and_cure() {
    let ground = Ground::new(&Plan::default());
    let file = ground.configure(&Plan::default());
    let good = std::fs::read_to_string(&file).unwrap();
    let path = file.to_str().unwrap();
    let check = |old: &str, new: &str, key: &str, cure: &str| {
        assert!(good.contains(old), "{old}");
        std::fs::write(&file, good.replacen(old, new, 1)).unwrap();
        let output = turnout(&["check", "--config", path]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{new}: {said}");
        let line = said.lines().find(|line| line.contains(path) && line.contains(key) && line.contains(cure));
        assert!(line.is_some_and(|line| line.starts_with("error: ")), "{key} and {cure} in:\n{said}");

        let output = turnout(&["check", "--json", "--config", path]);
        assert_eq!(output.status.code(), Some(1));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["good"], false);
        let findings = json["findings"].as_array().unwrap();
        let found = findings.iter().any(|finding| {
            finding["severity"] == "error"
                && finding["file"] == path
                && finding["key"].as_str().unwrap().contains(key)
                && finding["cure"].as_str().unwrap().contains(cure)
        });
        assert!(found, "{key} and {cure} in {json:#}");
    };
    check("domains = [\"contoso.com\", \"fabrikam.com\"]", "domains = []", "domains", "list at least one");
    check("domains = [", "domainz = [", "domains", "list the local");
    check("listen = [\"127.0.0.1:0\"]", "listen = [\"localhost\"]", "federation.listen", "");
    check(
        "certificate = \"contoso.com.pem\"",
        "certificate = \"nowhere.pem\"",
        "certificate",
        "correct the path",
    );
    check("key = \"contoso.com.key\"", "key = \"fabrikam.com.key\"", "certificate", "key");
    check("type = \"federated\"", "type = \"friends\"", "partner", "");
    check("type = \"federated\"", "tls = \"none\"\nsasl = \"required\"\ndialback = false", "partner", "");
    check("backend = \"sip\"", "backend = \"sips\"", "home.sfb2019.backend", "");
    check("trusted_names = [", "trusted_name = [", "trusted_name", "trusted_names");
    check(
        "registrar_pools = [\"pool2019",
        "registrar_pools = [\"sfb2015",
        "registrar_pools",
        "remove it from one",
    );
    check("file = \"users.csv\"", "file = \"missing.csv\"", "directory.file", "");
    check("source = \"csv\"", "source = \"sql\"", "directory.source", "");
    check("source = \"csv\"", "source = \"ldap\"", "directory.ldap.servers", "list the directory servers");
    check("shards = 2", "shards = \"two\"", "engine.shards", "");
    check("[engine]", "[engine", "", "");
    std::fs::write(&file, &good).unwrap();
    let output = turnout(&["check", "--config", path]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("good\n"));
}

#[test]
fn a_file_that_is_not_there() {
    let output = turnout(&["check", "--config", "/nonexistent/turnout.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("/nonexistent/turnout.toml"));
    let output = turnout(&["run", "--config", "/nonexistent/turnout.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/turnout.toml"));
}

#[test]
fn wrong_usage_is_two() {
    for args in [
        &[][..],
        &["fly"],
        &["run", "--colour"],
        &["demo", "--rate", "0"],
        &["demo", "--seconds", "soon"],
        &["explain", "a@b"],
        &["explain", "--kind", "letter", "a@b.example", "c@contoso.com"],
        &["check", "--config"],
        &["user", "move", "a@contoso.com"],
        &["user", "forget", "a@contoso.com"],
    ] {
        let output = turnout(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(turnout(&["--help"]).status.code(), Some(0));
}

#[test]
fn explain_agrees_with_the_directory() {
    let ground = Ground::new(&Plan::default());
    let file = ground.configure(&Plan::default());
    let path = file.to_str().unwrap();
    for (to, code, word) in [
        ("anna@contoso.com", 0, "legacy"),
        ("carla@contoso.com", 0, "sfb2019"),
        ("nobody@contoso.com", 1, "service-unavailable"),
    ] {
        let output = turnout(&["explain", "--config", path, "bob@partner.example", to]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
        let output = turnout(&["explain", "--json", "--config", path, "bob@partner.example", to]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json.to_string().contains(word), "{json}");
    }
}

/// What a command writes to a terminal, and to pipes.
fn both(folder: &std::path::Path, args: &str) -> (String, String) {
    let line = format!("stty cols 100; {} {args}", env!("CARGO_BIN_EXE_turnout"));
    let terminal = Command::new("script")
        .args(["--quiet", "--echo", "never", "--command", &line, "/dev/null"])
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script is in the package bsdutils");
    let words: Vec<&str> = args.split(' ').collect();
    let piped =
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(&words).current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&terminal.stdout), text(&piped.stdout) + &text(&piped.stderr))
}

#[test]
fn long_work_shows_a_bar_on_a_terminal_and_nowhere_else() {
    let folder = crate::estate::Folder::new();
    let mut csv = String::from("\"SipAddress\",\"RegistrarPool\",\"Enabled\"\r\n");
    (0..200_000)
        .for_each(|n| csv.push_str(&format!("\"sip:u{n}@contoso.com\",\"old.contoso.com\",\"True\"\r\n")));
    folder.write("users.csv", csv);
    let (terminal, piped) = both(folder.path(), "import users users.csv");
    assert!(terminal.contains("reading [") && terminal.contains(" % "), "{terminal}");
    assert!(!piped.contains("reading [") && piped.contains("200000 carried over"), "{piped}");
    let (terminal, piped) = both(folder.path(), "import users users.csv --json");
    assert!(!terminal.contains("reading [") && !piped.contains("reading ["), "{terminal}");
    // What is written is the same: the bar is on the other stream, and is taken away.
    assert!(terminal.contains("\"taken\": 200000"), "{terminal}");
}

#[test]
fn the_script_is_told_as_json_too() {
    let ground = Ground::new(&Plan::default());
    let file = ground.configure(&Plan::default());
    let path = file.to_str().unwrap();
    let text = turnout(&["export", "powershell", "--config", path]);
    let output = turnout(&["export", "powershell", "--config", path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["script"], String::from_utf8(text.stdout).unwrap());
    assert_eq!(json["good"], json["missing"].as_array().unwrap().is_empty());
    assert_eq!(output.status.code(), Some(i32::from(json["good"] != true)));
    let output = turnout(&["export", "powershell", "--config", "/nonexistent.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["error"].as_str().unwrap().contains("/nonexistent.toml"));
    assert_eq!(output.status.code(), Some(1));
}
