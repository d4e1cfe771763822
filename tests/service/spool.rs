//! The durable spool in the whole router: what it has acknowledged while nobody could take it is there after kill -9, in its order and once.

use crate::contacts::{admin, check, get};
use crate::estate::{Ground, Plan, quiet_address, wait};
use crate::peers::stream::{Item, chat};
use crate::process::Process;

const COUNT: usize = 40;

fn plan() -> Plan {
    let spool = "[spool]\nmode = \"durable\"\npath = \"spool\"";
    Plan { drain_seconds: 20, more: spool.to_owned(), ..Plan::default() }
}

#[test]
fn what_is_acknowledged_survives_kill_9() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    let gateway = format!("connect = [\"{}\"]", ground.gateway.address);
    let text = std::fs::read_to_string(&config).unwrap();
    let nobody = format!("connect = [\"{}\"]", quiet_address());
    assert!(text.contains(&gateway));
    std::fs::write(&config, text.replacen(&gateway, &nobody, 1)).unwrap();

    let mut process = Process::start(&config);
    let mut wire = process.partner_stream(&ground);
    wire.send("<enable xmlns='urn:xmpp:sm:3'/>");
    wire.element("<enabled");
    let users = ["anna@contoso.com", "bert@contoso.com"];
    let messages: Vec<String> = (0..COUNT)
        .map(|n| chat("bob@partner.example/phone", users[n % 2], &format!("m{n}"), &n.to_string()))
        .collect();
    wire.send(messages.concat());
    // The gateway is not there. They are acknowledged all the same, as they are on disk.
    wait("an acknowledgement of all", || {
        wire.send("<r xmlns='urn:xmpp:sm:3'/>");
        let answer = wire.element("<a ");
        if answer.contains(&format!("h='{COUNT}'")) { Ok(()) } else { Err(answer) }
    });
    process.signal("-KILL");
    process.wait();
    let (code, said) = check(&config);
    assert!(said.contains(&format!("{COUNT} stanza(s) wait in the spool")), "{code:?} {said}");

    // With the gateway back they go on, and what comes now goes behind them.
    ground.configure(&plan);
    let mut process = Process::start(&config);
    let mut wire = process.partner_stream(&ground);
    let last = chat("bob@partner.example/phone", users[0], "last", "last");
    wire.send(&last);
    let mut expected = messages.clone();
    expected.push(last);
    let got = ground.gateway.stanzas.at_least(COUNT + 1);
    let of = |user: &str, all: &[String]| -> Vec<String> {
        all.iter().filter(|text| text.contains(user)).cloned().collect()
    };
    for user in users {
        assert_eq!(of(user, &got), of(user, &expected), "byte for byte, once and in order");
    }
    let address = admin(&process);
    wait("an empty spool", || {
        let text = get(address, "/metrics");
        let holds = |line: &str| text.contains(&format!("\n{line}\n"));
        let done = holds("turnout_spool_disk_stanzas 0")
            && holds(&format!("turnout_stanzas_recovered_total{{flow=\"passed\"}} {COUNT}"))
            && holds("turnout_stanzas_unaccounted 0");
        if done { Ok(()) } else { Err(text) }
    });
    process.signal("-TERM");
    assert_eq!(wire.next(), Item::Close);
    wire.send("</stream:stream>");
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    assert_eq!(ground.gateway.stanzas.all().len(), COUNT + 1, "nothing came twice");
}

#[test]
fn a_spool_that_cannot_be_used_is_named() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    let (code, said) = check(&config);
    assert_eq!(code, Some(0), "{said}");
    ground.folder.write("spool", "this is a file");
    let (code, said) = check(&config);
    assert!(code == Some(1) && said.contains("spool.path") && said.contains("is no directory"), "{said}");
    std::fs::remove_file(ground.folder.path().join("spool")).unwrap();
    let _process = Process::start(&config);
    // Another one, on other addresses, with the same spool.
    let (sip, text) = (ground.sip().to_string(), std::fs::read_to_string(&config).unwrap());
    assert!(text.contains(&sip));
    let config = ground.folder.write("second.toml", text.replace(&sip, &quiet_address().to_string()));
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_turnout"))
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another turnout has it"), "{said}");
}
