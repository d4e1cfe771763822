//! `turnout probe` against servers that behave, and servers that do not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::Value;

use crate::estate::{Ground, Plan, issue, quiet_address};
use crate::peers::dns::Zone;
use crate::peers::inbox::PATIENCE;
use crate::peers::server::{Manner, Server};

/// What it says, as JSON, and its exit code.
fn probe(ground: &Ground, plan: &Plan, more: &[&str]) -> (i32, Value) {
    let config = ground.configure(plan);
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["probe", "partner.example", "--json", "--config"])
        .arg(config)
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code().unwrap(), report)
}

/// The steps of this name, as `outcome text`.
fn steps(report: &Value, name: &str) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap().iter().filter(|step| step["step"] == name);
    steps
        .map(|step| format!("{} {}", step["outcome"].as_str().unwrap(), step["text"].as_str().unwrap()))
        .collect()
}

fn has(report: &Value, name: &str, part: &str) {
    let found = steps(report, name);
    assert!(found.iter().any(|step| step.contains(part)), "{name}: {part:?} in {report:#}");
}

/// The decisive diagnosis: what and cure.
fn diagnosis(report: &Value) -> (String, String) {
    let text = |of: &str| report["diagnosis"][0][of].as_str().unwrap_or_default().to_owned();
    (text("what"), text("cure"))
}

/// A server that says this to whoever connects and nothing more, and then reads to the end.
fn says(text: impl Into<String>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let text = text.into();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            // The prober may be gone already.
            drop(socket.set_read_timeout(Some(PATIENCE)));
            drop(socket.write_all(text.as_bytes()));
            drop(socket.shutdown(Shutdown::Write));
            drop(socket.read_to_end(&mut Vec::new()));
        }
    });
    address
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
    xmlns:stream='http://etherx.jabber.org/streams' from='partner.example' to='contoso.com' id='p1' version='1.0'>";

/// A plan whose partner is somewhere else. Its `proxy` line stands before these, so it is named anew in a table of its own.
fn at(address: SocketAddr, partner: &str) -> Plan {
    let more = format!("[[partner]]\ndomain = \"partner.example\"\nproxy = \"{address}\"\n{partner}");
    Plan { partner: "additional_domains = []".to_owned(), more, ..Plan::default() }
}

/// As [`probe`], with the estate's own entry for the partner renamed.
fn probe_at(ground: &Ground, address: SocketAddr, partner: &str) -> (i32, Value) {
    let plan = at(address, partner);
    let file = ground.configure(&plan);
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("domain = \"partner.example\"", "domain = \"elsewhere.example\"", 1);
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["probe", "partner.example", "--json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

fn server(ground: &Ground, card: &str) -> (Server, SocketAddr) {
    let tls: Arc<ServerConfig> = ground.roots.server(&ground.card(card));
    let server = Server::start(Manner { tls: Some(tls) });
    let address = server.address;
    (server, address)
}

#[test]
fn a_partner_in_order_is_good() {
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let (code, report) = probe(&ground, &plan, &[]);
    assert_eq!((code, report["good"].as_bool()), (0, Some(true)), "{report:#}");
    assert_eq!(report["diagnosis"].as_array().unwrap().len(), 0);
    has(
        &report,
        "policy",
        "good partner partner.example, federated; he may prove himself by EXTERNAL over TLS",
    );
    has(&report, "dns", "skipped not asked: the configuration says proxy");
    has(&report, "tcp", "good connected");
    has(&report, "starttls", "good offered and begun");
    has(&report, "tls", "good TLSv1.3");
    has(&report, "certificate", "good fits by dNSName \"partner.example\", issuer");
    has(&report, "certificate", "good for 39");
    has(&report, "external", "good it takes us for contoso.com");
    has(&report, "dialback", "");
    has(&report, "ping", "skipped not possible");
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["millis"].is_u64()));
    // It left the partner in order, and sent no stanza.
    let asked = ground.partner.steps.at_least(3);
    assert_eq!(asked[..2], ["starttls", "auth"]);
    assert!(ground.partner.stanzas.all().is_empty());
    let (code, report) = probe(&ground, &plan, &["--from", "fabrikam.com"]);
    assert_eq!((code, report["from"].as_str()), (0, Some("fabrikam.com")));
    has(&report, "external", "good it takes us for fabrikam.com");
}

#[test]
fn the_text_has_one_line_a_step_and_a_cure() {
    let plan = Plan { partner_is_up: false, ..Plan::default() };
    let ground = Ground::new(&plan);
    let run = |args: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_turnout"))
            .args(args)
            .current_dir(ground.folder.path())
            .output()
            .unwrap()
    };
    let output = run(&["probe", "partner.example", "--config", "turnout.toml"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with("bad  tcp")).unwrap();
    assert!(line.contains(" 127.") && line.ends_with(" ms)"), "{line}");
    assert!(said.contains("diagnosis: no address answers\n     cure: let our firewall"), "{said}");
    for wrong in [
        &["probe"][..],
        &["probe", "bob@partner.example", "--config", "turnout.toml"],
        &["probe", "contoso.com", "--config", "turnout.toml"],
        &["probe", "partner.example", "--config", "turnout.toml", "--from", "partner.example"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(run(&["probe", "partner.example", "--config", "nowhere.toml"]).status.code(), Some(1));
}

#[test]
fn certificates_that_do_not_fit_are_told_apart() {
    let ground = Ground::new(&Plan::default());
    let check = |address: SocketAddr, policy: &str, step: &str, what: &str, cure: &str| {
        let (code, report) = probe_at(&ground, address, policy);
        assert_eq!(code, 1, "{report:#}");
        has(&report, "certificate", step);
        let told = diagnosis(&report);
        assert!(told.0.contains(what) && told.1.contains(cure), "{told:?}");
    };
    let (_other, other) = server(&ground, "other.example");
    check(
        other,
        "",
        "it names \"other.example\"",
        "for other names than partner.example",
        "_xmpp-server.partner.example",
    );
    let (_right, right) = server(&ground, "partner.example");
    check(
        right,
        &format!("pins = [\"{}\"]", "00".repeat(32)),
        "not one of the pinned keys",
        "another key",
        "pins",
    );
    // An authority of its own.
    let strangers = turnout::dev_certs::Authority::new(turnout::clock::system_time()).unwrap();
    ground.folder.write("strangers.pem", strangers.pem());
    check(right, "ca_file = \"strangers.pem\"", "not trusted", "no authority we trust", "ca_file");
    // One that ran out two years ago.
    let long_ago = turnout::clock::system_time() - std::time::Duration::from_secs(2 * 397 * 86_400);
    let old = turnout::dev_certs::Authority::new(long_ago).unwrap();
    issue(&ground.folder, &old, "partner.example");
    ground.folder.write("old.pem", old.pem());
    let (_old, old) = server(&ground, "partner.example");
    check(old, "ca_file = \"old.pem\"", "expired 3", "expired", "renew");
}

#[test]
fn dialback_can_do_without_a_fitting_certificate() {
    let ground = Ground::new(&Plan::default());
    let (_other, address) = server(&ground, "other.example");
    let (_, report) = probe_at(&ground, address, "tls = \"required\"\nsasl = \"optional\"");
    has(&report, "certificate", "note");
    has(&report, "certificate", "dialback can do without");
    has(&report, "external", "it takes us for contoso.com");
    assert!(diagnosis(&report).0.contains("for other names"));
}

#[test]
fn servers_that_are_not_what_they_should_be() {
    let ground = Ground::new(&Plan::default());
    let check = |text: &str, policy: &str, step: (&str, &str), what: &str| {
        let (code, report) = probe_at(&ground, says(text), policy);
        assert_eq!(code, 1, "{report:#}");
        has(&report, step.0, step.1);
        let told = diagnosis(&report);
        assert!(told.0.contains(what), "{told:?}");
        assert!(!told.1.is_empty());
    };
    let features = |inside: &str| format!("{HEADER}<stream:features>{inside}</stream:features>");
    check(
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "",
        ("stream", "no XMPP server"),
        "something else than an XMPP server",
    );
    let unknown = format!(
        "{HEADER}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    );
    check(&unknown, "", ("stream", "host-unknown"), "ends the stream with host-unknown");
    check(&features(""), "", ("starttls", "bad not offered"), "offers no TLS, and policy requires it");
    check(
        &features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"),
        "tls = \"none\"\nsasl = \"none\"",
        ("starttls", "required there"),
        "demands TLS, and policy forbids it",
    );
    let tls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let refused = format!("{}<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", features(tls));
    check(&refused, "", ("starttls", "then refused"), "offers TLS and then refuses it");
    let broken = format!("{}<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", features(tls));
    let (code, report) = probe_at(&ground, says(broken), "");
    assert_eq!(code, 1);
    has(&report, "tls", "bad");
    // A header without an id or the namespace: there is no dialback, and without TLS nothing else.
    let bare = features("").replace(" xmlns:db='jabber:server:dialback'", "");
    check(&bare, "tls = \"optional\"\nsasl = \"none\"", ("proof", "no way left"), "no way left");
}

#[test]
fn plain_dialback_is_good_where_policy_says_so() {
    let ground = Ground::new(&Plan::default());
    let features =
        format!("{HEADER}<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>");
    let (code, report) = probe_at(&ground, says(features), "tls = \"optional\"\nsasl = \"none\"");
    assert_eq!(code, 0, "{report:#}");
    has(&report, "starttls", "note not offered");
    has(&report, "dialback", "good offered; not tried");
}

/// A probe of a domain, with this name server.
fn probe_by_dns(ground: &Ground, zone: Zone, domain: &str, policy: &str) -> (i32, Value) {
    let file = ground.configure(&Plan::default());
    let text = std::fs::read_to_string(&file).unwrap();
    let more =
        format!("[[partner]]\ndomain = \"dns.example\"\n{policy}\n[dns]\nservers = [\"{}\"]\n", zone.serve());
    std::fs::write(&file, format!("{text}\n{more}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["probe", domain, "--json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_record_and_every_address_is_looked_at() {
    let ground = Ground::new(&Plan::default());
    issue(&ground.folder, &ground.authority, "dns.example");
    let (_server, address) = server(&ground, "dns.example");
    let dead = quiet_address();
    let zone = Zone::default()
        .service("_xmpp-server._tcp.dns.example", 20, "xmpp.dns.example", address.port())
        .service("_xmpp-server._tcp.dns.example", 10, "old.dns.example", dead.port())
        .service("_xmpp-server._tcp.dns.example", 30, "gone.dns.example", 5269)
        .host("xmpp.dns.example", Ipv4Addr::new(127, 0, 0, 9))
        .host("xmpp.dns.example", Ipv4Addr::LOCALHOST)
        .host("old.dns.example", *dead.ip());
    let (code, report) = probe_by_dns(&ground, zone, "dns.example", "");
    assert_eq!(code, 1, "dead servers are a finding: {report:#}");
    has(&report, "dns", "good 3 record(s)");
    has(&report, "dns", &format!("10 0 old.dns.example:{}", dead.port()));
    has(&report, "dns", "good no records, as usual");
    has(&report, "address", "good 127.0.0.");
    has(&report, "address", "bad gone.dns.example has no address");
    assert_eq!(steps(&report, "tcp").iter().filter(|step| step.starts_with("bad")).count(), 2, "{report:#}");
    assert_eq!(steps(&report, "tcp").iter().filter(|step| step.starts_with("good")).count(), 1);
    has(&report, "external", "good it takes us for contoso.com");
    let told: Vec<&str> =
        report["diagnosis"].as_array().unwrap().iter().map(|of| of["what"].as_str().unwrap()).collect();
    assert!(
        told[0].contains("gone.dns.example has no address") && told[1].contains("some of the addresses"),
        "{told:?}"
    );
}

#[test]
fn what_the_dns_says_is_believed() {
    let ground = Ground::new(&Plan::default());
    let denied = Zone::default().service("_xmpp-server._tcp.dns.example", 0, ".", 0);
    let (code, report) = probe_by_dns(&ground, denied, "dns.example", "");
    assert_eq!(code, 1);
    has(&report, "dns", "bad the domain declares that it has no such service");
    assert!(diagnosis(&report).0.contains("says that it has no XMPP service"), "{report:#}");
    assert!(steps(&report, "tcp").is_empty());
    let (_, report) = probe_by_dns(&ground, Zone::default(), "dns.example", "");
    has(&report, "dns", "note no records: the addresses of the domain itself are tried");
    assert!(diagnosis(&report).0.contains("neither SRV records nor an address"), "{report:#}");
}

#[test]
fn a_partner_nobody_listed_is_a_finding_and_is_looked_at_all_the_same() {
    let ground = Ground::new(&Plan::default());
    let (code, report) = probe_by_dns(&ground, Zone::refusing(), "nobody.example", "");
    assert_eq!(code, 1);
    has(&report, "policy", "bad is no [[partner]]");
    assert_eq!(steps(&report, "dns").len(), 2, "both sets: {report:#}");
    assert!(diagnosis(&report).0.contains("is in no [[partner]]"), "{report:#}");
    assert!(
        report["diagnosis"][1]["what"].as_str().unwrap().contains("the DNS gives no answer"),
        "{report:#}"
    );
}
