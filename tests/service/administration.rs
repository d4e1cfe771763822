//! What an administrator sees of a user, and takes back, through the command line and the API of a running router.

use std::process::{Command, Output};

use turnout::admin::answers::{ForgottenAnswer, UserDetail};

use crate::estate::{Estate, wait};
use crate::process::Process;
use crate::tracks::gateway_stream;

const ANNA: &str = "anna@contoso.com";
const BOB: &str = "bob@partner.example";

/// Runs `turnout user` against the router.
fn user(admin: &str, words: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_turnout");
    Command::new(binary).args(["user", "--json", "--admin", admin]).args(words).output().unwrap()
}

fn show(admin: &str) -> UserDetail {
    let output = user(admin, &["show", ANNA]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_administrator_sees_a_watcher_and_takes_him_back() {
    let estate = Estate::new();
    let admin = estate.runtime.block_on(turnout::desk::open(&estate.router, ([127, 0, 0, 1], 0).into()));
    let admin = admin.unwrap().to_string();
    assert_eq!(show(&admin).contacts_total, 0);

    let mut partner = estate.partner_stream("contoso.com");
    partner.send(format!("<presence type='subscribe' from='{BOB}' to='{ANNA}'/>"));
    estate.gateway.stanzas.at_least(1);
    let mut gateway = gateway_stream(&estate);
    gateway.send(format!("<presence type='subscribed' from='{ANNA}' to='{BOB}'/>"));
    gateway.send(format!("<presence from='{ANNA}/desk' to='{BOB}'/>"));
    estate.partner.stanzas.at_least(2);
    wait("the watcher", || {
        let shown = show(&admin);
        let state = shown.contacts.first().map(|contact| (contact.subscription.as_str(), &*contact.shown));
        let right = state == Some(("from", &["desk".to_owned()]));
        if right { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    assert_eq!(show(&admin).user.home.as_deref(), Some("legacy"));

    let output = user(&admin, &["forget", ANNA, BOB]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let forgotten: ForgottenAnswer = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((forgotten.was.partner.as_str(), forgotten.was.subscription.as_str()), (BOB, "from"));
    let told = estate.partner.stanzas.at_least(4);
    assert!(told[2].contains("unavailable") && told[2].contains("anna@contoso.com/desk"), "{told:?}");
    assert!(told[3].contains("unsubscribed"), "{told:?}");
    let told = estate.gateway.stanzas.at_least(2);
    assert!(told[1].contains("unsubscribe") && told[1].contains(BOB), "{told:?}");
    assert_eq!(show(&admin).contacts_total, 0);
    assert_eq!(user(&admin, &["forget", ANNA, BOB]).status.code(), Some(1), "there is none more");
    estate.finish(3);
}

/// A configuration in a folder of its own, with the certificates of `turnout dev-certs` and an admin listener that speaks TLS and asks for
/// tokens.
fn guarded(name: &str, engine: &str) -> Folder {
    let folder = Folder::new(name);
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_turnout")).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    run(&["dev-certs", &at(""), "--name", "contoso.com", "--name", "localhost"]);
    for (name, role) in [("anna", "operate"), ("grafana", "read")] {
        run(&["token", name, "--role", role, "--tokens", &at("tokens"), "--out", &at(name)]);
    }
    let users = "SipAddress,RegistrarPool,HostingProvider,Enabled,EnabledForFederation\r\n\
                 sip:anna@contoso.com,sfb2015.contoso.com,SRV:,True,True\r\n";
    std::fs::write(at("users.csv"), users).unwrap();
    let config = r#"
domains = ["contoso.com"]
[federation]
listen = ["127.0.0.1:0"]
certificate = "contoso.com.pem"
key = "contoso.com.key"
[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:1"]
listen = "127.0.0.1:0"
registrar_pools = ["sfb2015.contoso.com"]
[home.other]
backend = "xmpp"
connect = ["127.0.0.1:2"]
listen = "127.0.0.1:0"
registrar_pools = ["other.contoso.com"]
[directory]
file = "users.csv"
default_xmpp_access = true
[engine]
shards = 1
[admin]
listen = "127.0.0.1:0"
tokens_file = "tokens"
certificate = "localhost.pem"
key = "localhost.key"
"#;
    std::fs::write(at("turnout.toml"), config.replace("[engine]\n", &format!("[engine]\n{engine}\n")))
        .unwrap();
    folder
}

/// Gone with its test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnout-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// `turnout user` with somebody's token, over TLS.
fn over_tls(folder: &Folder, process: &Process, token: Option<&str>, words: &[&str]) -> (i32, String) {
    let port = port(process);
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let (admin, ca) = (format!("https://localhost:{port}"), at("ca.pem"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnout"));
    command.args(["user", "--admin", &admin, "--ca", &ca]).args(words);
    if let Some(token) = token {
        command.args(["--token-file", &at(token)]);
    }
    let output = command.output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

fn port(process: &Process) -> String {
    let line = process.says("turnout is up");
    line.split("admin=127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().trim().to_owned()
}

#[test]
fn who_may_only_read_is_told_the_words_of_the_log() {
    let folder = guarded("redacted", "log_users = \"redacted\"");
    let process = Process::start(&folder.0.join("turnout.toml"));
    let (code, text) = over_tls(&folder, &process, Some("anna"), &["move", "--to", "other", ANNA]);
    assert_eq!(code, 0, "{text}");
    let line = process.says("1 of 1 users moved to other: ");
    let word = line.split("moved to other: ").nth(1).unwrap().split('@').next().unwrap();
    assert!(word.starts_with('~'), "{line}");
    let (code, text) = over_tls(&folder, &process, Some("grafana"), &["show", ANNA, "--json"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(word) && !text.contains("anna@"), "the same word as in the log: {text}");
    let (code, text) = over_tls(&folder, &process, Some("grafana"), &["list"]);
    assert!(code == 1 && text.contains("not told the names of users"), "{text}");
    let (code, text) = over_tls(&folder, &process, Some("anna"), &["list"]);
    assert!(code == 0 && text.contains(ANNA), "{text}");
}

#[test]
fn the_command_line_shows_its_token_over_tls_and_a_reload_takes_it_back() {
    let folder = guarded("guarded", "");
    let process = Process::start(&folder.0.join("turnout.toml"));
    let port = port(&process);
    let at = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let run = |token: Option<&str>, words: &[&str]| over_tls(&folder, &process, token, words);
    let (code, text) = run(Some("grafana"), &["list"]);
    assert_eq!((code, text.trim()), (0, "anna@contoso.com  legacy"));
    let (code, text) = run(Some("grafana"), &["move", "--to", "other", ANNA]);
    assert!(code == 1 && text.contains("the token grafana may only read"), "{text}");
    let (code, text) = run(None, &["list"]);
    assert!(code == 1 && text.contains("a token is needed"), "{text}");
    let (code, text) = run(Some("anna"), &["move", "--to", "other", ANNA]);
    assert_eq!(code, 0, "{text}");
    process.says("1 of 1 users moved to other: anna@contoso.com");
    // TLS alone is spoken, and by its name.
    let plain = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["user", "--admin", &format!("127.0.0.1:{port}"), "list"])
        .output()
        .unwrap();
    assert_eq!(plain.status.code(), Some(1));
    let kept = std::fs::read_to_string(at("tokens")).unwrap();
    let others: String = kept.lines().filter(|line| !line.starts_with("anna")).collect::<Vec<_>>().join("\n");
    std::fs::write(at("tokens"), others).unwrap();
    process.signal("-HUP");
    process.says("reloaded ");
    let (code, text) = run(Some("anna"), &["list"]);
    assert!(code == 1 && text.contains("this token is not known here"), "{text}");
    assert_eq!(run(Some("grafana"), &["list"]).0, 0);
    let token = std::fs::read_to_string(at("anna")).unwrap();
    assert!(process.lines.all().iter().all(|line| !line.contains(token.trim())), "the log holds no token");
}
