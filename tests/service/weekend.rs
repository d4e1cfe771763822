//! The way of docs/migrating.md, from the exports to the last user moved and back again, with the binary and scripted servers.

use std::process::{Command, Output};

use crate::estate::{Ground, Plan};
use crate::migration::{GATEWAY, PARTNERS, USERS};
use crate::peers::stream::chat;
use crate::process::Process;

/// Everybody may use XMPP.
const POLICIES: &str =
    "\"Identity\",\"EnableXmppAccess\"\r\n\"Global\",\"True\"\r\n\"Tag:Sales\",\"True\"\r\n";

/// A configuration without its partners and its directory, which the imports bring.
fn without_imports(text: &str) -> String {
    let (before, rest) = text.split_once("[[partner]]").unwrap();
    let (_, homes) = rest.split_once("[home.legacy]").unwrap();
    let (homes, rest) = homes.split_once("[directory]").unwrap();
    let (_, engine) = rest.split_once("[engine]").unwrap();
    format!("{before}[home.legacy]{homes}[engine]{engine}")
}

#[test]
fn from_the_exports_to_the_last_user_and_back() {
    let plan = Plan::default();
    let ground = Ground::new(&plan);
    let folder = &ground.folder;
    let turnout = |args: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_turnout")).args(args).current_dir(folder.path()).output().unwrap()
    };
    let good = |args: &[&str]| {
        let output = turnout(args);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}{err}");
        said
    };
    // 1 Export.
    let (partners, _) = PARTNERS.split_once(" <Obj RefId=\"5\">").unwrap();
    folder.write("partners.xml", format!("{partners}</Objs>"));
    folder.write("gateway.json", GATEWAY);
    folder.write("users.json", USERS);
    folder.write("policies.csv", POLICIES);
    // 2 Import.
    let partners = good(&["import", "partners", "partners.xml"]);
    let users = ["import", "users", "users.json", "--csv", "imported.csv", "--policies", "policies.csv"];
    let directory = good(&users);
    let limits = good(&["import", "gateway", "gateway.json"]);
    let (limits, presence) = limits.split_once("[federation]\n").unwrap().1.split_once("[presence]").unwrap();
    // 3 Put together, check, ask.
    let text = std::fs::read_to_string(ground.configure(&plan)).unwrap();
    let whole = without_imports(&text).replacen("[federation]\n", &format!("[federation]\n{limits}"), 1);
    let config =
        folder.write("turnout.toml", format!("{whole}\n{partners}\n{directory}\n[presence]{presence}"));
    good(&["check", "--config", "turnout.toml"]);
    let explained = good(&["explain", "--config", "turnout.toml", "bob@partner.example", "anna@contoso.com"]);
    assert!(explained.contains("home legacy"), "{explained}");
    // 5 Attach.
    assert!(
        good(&["export", "powershell", "--config", "turnout.toml", "--part", "pool"])
            .contains("'chat.partner.example'")
    );
    // 4, 6 Run, in the path.
    let mut process = Process::start(&config);
    let up = process.says("turnout is up");
    let admin = up.split("admin=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let mut wire = process.partner_stream(&ground);
    let mut say = |text: &str| wire.send(chat("bob@partner.example/phone", "anna@contoso.com", text, text));
    let at_the_gateway = |text: &str| ground.gateway.stanzas.first(text, |stanza| stanza.contains(text));
    let at_the_pool = |text: &str| {
        ground
            .pool
            .requests
            .first(text, |message| message.method() == "MESSAGE" && message.body.contains(text))
    };
    say("before");
    at_the_gateway("before");
    // 7 The pilot, by name.
    good(&["user", "move", "--to", "sfb2019", "anna@contoso.com", "--admin", &admin]);
    assert!(good(&["user", "show", "anna@contoso.com", "--admin", &admin]).contains("sfb2019"));
    say("moved");
    at_the_pool("moved");
    // 8 A batch, by file; and the way back.
    folder.write("batch.txt", "# everybody\nanna@contoso.com\ncarla@contoso.com\n");
    good(&["user", "move", "--to", "legacy", "--file", "batch.txt", "--admin", &admin]);
    let listed = good(&["user", "list", "--limit", "0", "--admin", &admin]);
    let on_legacy = listed.lines().filter(|line| line.contains("@contoso.com  legacy")).count();
    assert_eq!((on_legacy, listed.lines().count()), (2, 2), "{listed}");
    say("back");
    at_the_gateway("back");
    // The whole way back ends with a stop that loses nothing.
    good(&["export", "powershell", "--config", "turnout.toml", "--part", "pool", "--rollback"]);
    process.signal("-TERM");
    wire.send("</stream:stream>");
    assert_eq!(process.wait().code(), Some(0));
}
