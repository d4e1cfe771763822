//! A new binary takes the place of a running one that has something on disk: the spool and the contacts are one process's at a time, and the
//! next one finds what the last one left.

use crate::contacts::{admin, get};
use crate::estate::{Ground, Plan, quiet_address, wait};
use crate::peers::stream::{Item, chat};
use crate::process::{Process, signal};
use crate::upgrade::Successor;

const COUNT: usize = 40;

fn plan() -> Plan {
    let more = "[presence]\nstore = \"contacts.redb\"\n[spool]\nmode = \"durable\"\npath = \"spool\"";
    Plan { drain_seconds: 20, more: more.to_owned(), ..Plan::default() }
}

#[test]
fn what_waits_on_disk_is_taken_over_once_and_in_its_order() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let config = ground.configure(&plan);
    let text = std::fs::read_to_string(&config).unwrap();
    let gateway = format!("connect = [\"{}\"]", ground.gateway.address);
    let nobody = format!("connect = [\"{}\"]", quiet_address());
    assert!(text.contains(&gateway));
    std::fs::write(&config, text.replacen(&gateway, &nobody, 1)).unwrap();

    let mut process = Process::start(&config);
    assert!(process.says("spool.opened").contains("stanzas=0"));
    assert!(process.says("store.opened").contains("contacts=0"));
    let mut wire = process.partner_stream(&ground);
    wire.send("<enable xmlns='urn:xmpp:sm:3'/>");
    wire.element("<enabled");
    let messages: Vec<String> = (0..COUNT)
        .map(|n| chat("bob@partner.example/phone", "anna@contoso.com", &format!("m{n}"), &n.to_string()))
        .collect();
    wire.send(messages.concat());
    // A contact is kept too.
    wire.send("<presence from='bob@partner.example' to='carla@contoso.com' type='subscribe' id='s'/>");
    wait("an acknowledgement of all", || {
        wire.send("<r xmlns='urn:xmpp:sm:3'/>");
        let answer = wire.element("<a ");
        if answer.contains(&format!("h='{}'", COUNT + 1)) { Ok(()) } else { Err(answer) }
    });

    // The next one has the gateway's right address.
    ground.configure(&plan);
    process.signal("-USR2");
    let next = Successor::of(&process, 1);
    // What it was asked last may be answered before.
    while wire.next() != Item::Close {}
    wire.send("</stream:stream>");
    wire.until_end();
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    let opened = |what: &str, found: &str| {
        process.lines.first(what, |line| line.contains(what) && line.contains(found));
    };
    opened("spool.opened", &format!("stanzas={COUNT}"));
    opened("store.opened", "contacts=1");
    let got = ground.gateway.stanzas.at_least(COUNT);
    let expected: Vec<&String> = messages.iter().collect();
    assert_eq!(got.iter().collect::<Vec<_>>(), expected, "byte for byte, once and in order");
    let lines = process.lines.all();
    let at = |part: &str| lines.iter().rposition(|line| line.contains(part)).unwrap();
    assert!(at("nothing accepted is left") < at("spool.opened"), "one has it at a time: {lines:?}");

    let address = admin(&process);
    wait("an empty spool", || {
        let text = get(address, "/metrics");
        let holds = |line: &str| text.contains(&format!("\n{line}\n"));
        let done = holds("turnout_spool_disk_stanzas 0")
            && holds(&format!("turnout_stanzas_recovered_total{{flow=\"passed\"}} {COUNT}"))
            && holds("turnout_stanzas_unaccounted 0");
        if done { Ok(()) } else { Err(text) }
    });
    signal(next.0, "-TERM");
    process.says_times(2, "nothing accepted is left");
    assert_eq!(ground.gateway.stanzas.all().len(), COUNT, "nothing came twice");
}

#[test]
fn an_upgrade_to_a_disk_that_cannot_be_used_changes_nothing() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let process = Process::start(&ground.configure(&plan));
    let mut wire = process.partner_stream(&ground);
    let refused = |process: &Process, count: usize, key: &str| {
        wait("a refusal", || {
            let lines = process.lines.all();
            let refusals = lines.iter().filter(|line| line.contains("upgrade refused")).count();
            let named = lines.iter().any(|line| line.contains(key));
            if refusals == count && named { Ok(()) } else { Err(format!("{lines:?}")) }
        });
    };
    for (count, (from, to, key)) in [
        ("path = \"spool\"", "path = \"/proc/spool\"", "spool.path"),
        ("store = \"contacts.redb\"", "store = \"/proc/contacts.redb\"", "presence.store"),
        ("path = \"spool\"", "path = \"users.csv\"", "is no directory"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = std::fs::read_to_string(ground.configure(&plan)).unwrap();
        assert!(text.contains(from));
        ground.folder.write("turnout.toml", text.replace(from, to));
        process.signal("-USR2");
        refused(&process, count + 1, key);
    }
    process.serves_and_leaves(&ground, &mut wire);
}

#[test]
fn a_log_in_json_stays_one() {
    let plan = plan();
    let ground = Ground::new(&plan);
    let mut process = Process::start_with(&ground.configure(&plan), &["--log-format", "json"]);
    process.signal("-USR2");
    let ready = process.says("is ready to go on");
    let pid = serde_json::from_str::<serde_json::Value>(&ready).unwrap()["pid"].as_u64().unwrap();
    assert_eq!(process.wait().code(), Some(0), "{:?}", process.lines.all());
    process.says_times(2, "turnout is up");
    signal(u32::try_from(pid).unwrap(), "-TERM");
    process.says_times(2, "nothing accepted is left");
    for line in process.lines.all() {
        let object =
            serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(object["event"].is_string() && object["level"].is_string(), "{line}");
    }
}
