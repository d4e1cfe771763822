//! `turnout check --connect`: names, gateway and pool as they should be, and as they should not.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use serde_json::Value;

use crate::estate::{Ground, Plan, quiet_address};
use crate::peers::dns::Zone;

/// The records that lead to this address.
fn zone(here: SocketAddrV4) -> Zone {
    let (host, port) = (*here.ip(), here.port());
    let zone = Zone::default().host("turnout.contoso.com", host);
    let zone = zone.service("_xmpp-server._tcp.contoso.com", 0, "turnout.contoso.com", port);
    zone.service("_xmpp-server._tcp.fabrikam.com", 0, "turnout.contoso.com", port)
}

/// Exit code and JSON, with partners let in at this address.
fn check(
    ground: &Ground,
    plan: &Plan,
    zone: Zone,
    here: SocketAddrV4,
    change: impl Fn(String) -> String,
) -> (i32, Value) {
    let dns = format!("[dns]\nservers = [\"{}\"]\n{}", zone.serve(), plan.more);
    let file = ground.configure(&Plan { more: dns, ..plan.clone() });
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{here}\"]"), 1);
    let text = text.replacen("listen_tls = [\"127.0.0.1:0\"]\n", "", 1);
    std::fs::write(&file, change(text)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["check", "--connect", "--json", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), told)
}

fn has(told: &Value, step: &str) {
    let steps = told["connect"]["steps"].as_array().unwrap_or_else(|| panic!("{told:#}")).iter();
    let text = |of: &Value, key: &str| of[key].as_str().unwrap().to_owned();
    let found = steps
        .map(|of| {
            format!(
                "{} {} {}: {}",
                text(of, "outcome"),
                text(of, "step"),
                text(of, "about"),
                text(of, "text")
            )
        })
        .any(|line| line.contains(step));
    assert!(found, "{step:?} in {told:#}");
}

fn cures(told: &Value, what: &str, cure: &str) {
    let all = told["connect"]["diagnosis"].as_array().unwrap().iter();
    let found = all
        .clone()
        .any(|of| of["what"].as_str().unwrap().contains(what) && of["cure"].as_str().unwrap().contains(cure));
    assert!(found, "{what:?} and {cure:?} in {told:#}");
}

#[test]
fn an_inside_in_order_is_good() {
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let here = quiet_address();
    let (code, told) = check(&ground, &plan, zone(here), here, |text| text);
    assert_eq!((code, told["good"].as_bool()), (0, Some(true)), "{told:#}");
    for step in [
        "good clock this machine",
        "good record _xmpp-server._tcp.contoso.com: turnout.contoso.com",
        "this machine and federation.listen",
        "good record _xmpps-server._tcp.fabrikam.com: no record, as there is no listen_tls",
        "good stream 127.0.0.1:",
        "good dialback 127.0.0.1:",
        "good certificate 127.0.0.1:",
        "is the pool's: [\"pool2019.contoso.com\"]",
        "answered 200 OK",
    ] {
        has(&told, step);
    }
    assert_eq!(told["connect"]["diagnosis"].as_array().unwrap().len(), 0);
    assert!(ground.gateway.stanzas.all().is_empty() && ground.pool.texts().is_empty());
    // Nothing of it is looked at without the switch, or where the configuration is no good.
    let offline = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["check", "--json", "--config"])
        .arg(ground.folder.path().join("turnout.toml"))
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&offline.stdout).contains("connect"), "{offline:?}");
    let (code, told) =
        check(&ground, &plan, zone(here), here, |text| text.replace("shards = 2", "shards = -1"));
    assert_eq!((code, &told["connect"]), (1, &Value::Null), "{told:#}");
}

#[test]
fn what_is_wrong_inside_has_a_cure() {
    let ground = Ground::new(&Plan { pool_name: "stranger.example", ..Plan::default() });
    let plan = Plan::default();
    let (here, dead) = (quiet_address(), quiet_address());
    // Names: one leads to another port, one is not there; a stranger stands where the pool should be; the gateway is dead.
    let named = Zone::default()
        .host("turnout.contoso.com", *here.ip())
        .host("edge.contoso.com", Ipv4Addr::new(192, 0, 2, 1))
        .service("_xmpp-server._tcp.contoso.com", 0, "turnout.contoso.com", dead.port())
        .service("_xmpp-server._tcp.contoso.com", 1, "edge.contoso.com", 5269)
        .service("_xmpps-server._tcp.contoso.com", 0, "turnout.contoso.com", 5270);
    let gateway = format!("127.0.0.1:{}", ground.gateway.address.port());
    let (code, told) = check(&ground, &plan, named, here, |text| text.replace(&gateway, &dead.to_string()));
    assert_eq!((code, told["good"].as_bool()), (1, Some(false)), "{told:#}");
    has(&told, "bad record _xmpp-server._tcp.contoso.com: turnout.contoso.com");
    has(
        &told,
        "note record _xmpp-server._tcp.contoso.com: edge.contoso.com:5269: 192.0.2.1 is no address of this machine",
    );
    has(
        &told,
        "bad record _xmpps-server._tcp.contoso.com: turnout.contoso.com:5270: there is no federation.listen_tls",
    );
    has(&told, "bad record _xmpp-server._tcp.fabrikam.com: no record");
    has(&told, "bad tcp ");
    has(&told, "bad certificate ");
    cures(&told, "partners do not find fabrikam.com", "_xmpp-server._tcp.fabrikam.com. SRV 0 0 5269");
    cures(&told, "of home legacy cannot be reached", "firewall");
    cures(&told, "is not believed to be the pool", "trusted_names");
    // A clock that is behind: a file comes from tomorrow.
    let tomorrow = turnout::clock::system_time() + std::time::Duration::from_secs(86_400);
    let users = std::fs::File::options().write(true).open(ground.folder.path().join("users.csv")).unwrap();
    users.set_modified(tomorrow).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["check", "--connect", "--config"])
        .arg(ground.folder.path().join("turnout.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.starts_with("bad  clock ") && said.contains("diagnosis: the clock of this machine is behind"),
        "{said}"
    );
}
