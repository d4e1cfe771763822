//! From exports of the old estate to a running configuration and the cmdlets, with the binary; and the manners of its command line.

use std::path::Path;
use std::process::{Command, Output};

use crate::estate::{Folder, Ground, Plan, issue};

fn turnout(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnout")).args(args).current_dir(folder).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// All that imports do not bring.
const MINIMAL: &str = r#"domains = ["contoso.com"]

[[federation.identity]]
domain = "contoso.com"
certificate = "contoso.com.pem"
key = "contoso.com.key"

[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:15269"]
listen = "127.0.0.1:5269"
registrar_pools = ["sfb2015.contoso.com"]

[home.sfb2019]
backend = "sip"
connect = ["pool2019.contoso.com:5061"]
listen = "127.0.0.1:5061"
certificate = "turnout.contoso.com.pem"
key = "turnout.contoso.com.key"
ca_file = "ca.pem"
registrar_pools = ["pool2019.contoso.com"]

"#;

pub const PARTNERS: &str = r#"<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">
 <Obj RefId="0"><TN RefId="0"><T>Microsoft.Rtc.Management.WritableConfig.Settings.XmppFederation.XmppAllowedPartner</T></TN>
  <Props><S N="Identity">partner.example</S><S N="Domain">partner.example</S>
   <Obj N="AdditionalDomains" RefId="1"><TN RefId="1"><T>System.Collections.Generic.List`1[[System.String]]</T></TN>
    <LST><S>chat.partner.example</S></LST></Obj>
   <Obj N="PartnerType" RefId="2"><TN RefId="2"><T>PartnerType</T></TN><ToString>Federated</ToString><I32>0</I32></Obj>
   <Obj N="TlsNegotiation" RefId="3"><TN RefId="3"><T>Negotiation</T></TN><ToString>Required</ToString><I32>2</I32></Obj>
   <Obj N="SaslNegotiation" RefId="4"><TNRef RefId="3"/><ToString>Optional</ToString><I32>1</I32></Obj>
   <B N="SupportDialbackNegotiation">true</B><Nil N="ProxyFqdn"/><B N="EnableKeepAlive">true</B><Nil N="ConnectionLimit"/>
   <S N="Description">the Smiths' firm</S></Props></Obj>
 <Obj RefId="5"><TNRef RefId="0"/>
  <Props><S N="Identity">broken.example</S><S N="Domain">broken.example</S>
   <Obj N="TlsNegotiation" RefId="6"><TNRef RefId="3"/><ToString>NotSupported</ToString><I32>0</I32></Obj>
   <Obj N="SaslNegotiation" RefId="7"><TNRef RefId="3"/><ToString>NotSupported</ToString><I32>0</I32></Obj>
   <B N="SupportDialbackNegotiation">false</B></Props></Obj>
</Objs>"#;

pub const GATEWAY: &str = r#"{"Identity":"Global","ConnectionLimit":500,"PartnerConnectionLimit":10,"StreamEstablishmentTimeout":60,
 "StreamInactivityTimeout":600,"KeepAliveInterval":300,"SubscriptionRefreshInterval":28800,"DialbackPassphrase":"hunter2",
 "EnableLoggingAllMessageBodies":false}"#;

pub const USERS: &str = r#"[{"SipAddress":"sip:anna@contoso.com","RegistrarPool":"sfb2015.contoso.com","HostingProvider":"SRV:",
 "EnabledForFederation":true,"Enabled":true,"ExternalAccessPolicy":"Sales"},
 {"SipAddress":"sip:carla@contoso.com","RegistrarPool":"pool2019.contoso.com","HostingProvider":"SRV:",
 "EnabledForFederation":true,"Enabled":true,"ExternalAccessPolicy":null}]"#;

const POLICIES: &str =
    "\u{feff}\"Identity\",\"EnableXmppAccess\"\r\n\"Global\",\"False\"\r\n\"Tag:Sales\",\"True\"\r\n";

/// A folder with certificates and exports, and nothing else.
fn estate() -> Folder {
    let folder = Folder::new();
    let authority = turnout::dev_certs::Authority::new(turnout::clock::system_time()).unwrap();
    folder.write("ca.pem", authority.pem());
    issue(&folder, &authority, "contoso.com");
    issue(&folder, &authority, "turnout.contoso.com");
    // As Windows PowerShell writes it: UTF-16 with a mark.
    let utf16: Vec<u8> =
        std::iter::once(0xFEFF).chain(PARTNERS.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    folder.write("partners.xml", utf16);
    folder.write("gateway.json", GATEWAY);
    folder.write("users.json", USERS);
    folder.write("policies.csv", POLICIES);
    folder
}

#[test]
fn exports_become_a_configuration_that_check_takes() {
    let folder = estate();
    let run = |args: &[&str]| turnout(folder.path(), args);
    let partners = run(&["import", "partners", "partners.xml"]);
    assert_eq!(partners.status.code(), Some(1), "one partner is invalid: {}", err(&partners));
    assert!(
        err(&partners).contains("error: object 2: broken.example: TlsNegotiation NotSupported"),
        "{}",
        err(&partners)
    );
    assert!(err(&partners).contains("1 carried over; 1 error(s)"), "{}", err(&partners));
    let gateway = run(&["import", "gateway", "gateway.json"]);
    assert_eq!(gateway.status.code(), Some(0), "{}", err(&gateway));
    assert!(!format!("{}{}", out(&gateway), err(&gateway)).contains("hunter2"));
    let args = [
        "import",
        "users",
        "users.json",
        "--csv",
        "users.csv",
        "--policies",
        "policies.csv",
        "--output",
        "directory.toml",
    ];
    let users = run(&args);
    assert_eq!((users.status.code(), out(&users).as_str()), (Some(0), ""), "{}", err(&users));
    let directory = std::fs::read_to_string(folder.path().join("directory.toml")).unwrap();
    let whole = format!("{MINIMAL}{}{}{directory}", out(&partners), out(&gateway));
    folder.write("turnout.toml", &whole);
    let check = run(&["check", "--config", "turnout.toml"]);
    assert_eq!(check.status.code(), Some(0), "{}\n{whole}", out(&check));
    assert!(out(&check).contains("1 partner(s), 2 user(s): legacy 1, sfb2019 1"), "{}", out(&check));
    for (from, to, code) in [
        ("bob@partner.example", "anna@contoso.com", 0),
        ("bob@chat.partner.example", "anna@contoso.com", 0),
        ("bob@broken.example", "anna@contoso.com", 1),
        // The global policy does not allow XMPP.
        ("bob@partner.example", "carla@contoso.com", 1),
    ] {
        let explained = run(&["explain", "--config", "turnout.toml", from, to]);
        assert_eq!(explained.status.code(), Some(code), "{from} {to}: {}", out(&explained));
    }
}

#[test]
fn imports_overwrite_nothing_and_say_what_is_wrong() {
    let folder = estate();
    let run = |args: &[&str]| turnout(folder.path(), args);
    let first = run(&["import", "gateway", "gateway.json", "--output", "gateway.toml"]);
    assert_eq!(first.status.code(), Some(0));
    let second = run(&["import", "gateway", "gateway.json", "--output", "gateway.toml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        err(&second).contains("gateway.toml") && err(&second).contains("name another"),
        "{}",
        err(&second)
    );
    let own = run(&["import", "users", "users.json", "--csv", "users.json"]);
    assert_eq!(own.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join("users.json")).unwrap(), USERS);
    let json = run(&["import", "users", "users.json"]);
    assert_eq!(json.status.code(), Some(1));
    assert!(err(&json).contains("--csv"), "{}", err(&json));
    let gone = run(&["import", "partners", "nowhere.xml", "--json"]);
    assert_eq!(gone.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&gone.stdout).unwrap();
    assert!(told["error"].as_str().unwrap().contains("nowhere.xml"));
    let told: serde_json::Value =
        serde_json::from_slice(&run(&["import", "partners", "partners.xml", "--json"]).stdout).unwrap();
    assert_eq!((told["good"].as_bool(), told["taken"].as_u64()), (Some(false), Some(1)));
    assert!(told["toml"].as_str().unwrap().contains("[[partner]]"));
    assert!(told["findings"].as_array().unwrap().iter().any(|finding| finding["weight"] == "error"));
    // The csv of the router's own users is taken as it is.
    folder.write("users.csv", "SipAddress,RegistrarPool\nsip:a@contoso.com,p.contoso.com\n");
    let csv = run(&["import", "users", "users.csv"]);
    assert_eq!(csv.status.code(), Some(0), "{}", err(&csv));
    assert!(
        out(&csv).contains("file = \"users.csv\"") && out(&csv).contains("\"p.contoso.com\": 1 user"),
        "{}",
        out(&csv)
    );
}

#[test]
fn the_cmdlets_are_printed_for_a_configuration() {
    let ground = Ground::new(&Plan {
        partner: "additional_domains = [\"x.partner.example\"]".to_owned(),
        ..Plan::default()
    });
    let folder = ground.folder.path();
    let all = turnout(folder, &["export", "powershell", "--config", "turnout.toml", "--site", "H'Q"]);
    // The inside listener of a test has a port of its own, and that is told.
    assert_eq!(all.status.code(), Some(1));
    assert!(err(&all).contains("missing: home.legacy.listen has port"), "{}", err(&all));
    for part in [
        "$Site = 'H''Q'",
        "    'x.partner.example'\n",
        "'service:Registrar:pool2019.contoso.com'",
        "Enable-CsTopology",
    ] {
        assert!(out(&all).contains(part), "{part} in {}", out(&all));
    }
    let pool = turnout(
        folder,
        &["export", "powershell", "--config", "turnout.toml", "--part", "pool", "--output", "pool.ps1"],
    );
    assert_eq!((pool.status.code(), out(&pool).as_str()), (Some(0), ""), "{}", err(&pool));
    let script = std::fs::read_to_string(folder.join("pool.ps1")).unwrap();
    assert!(
        script.is_ascii()
            && script.contains("New-CsTrustedApplicationPool")
            && !script.contains("Set-CsXmpp")
    );
    let back = turnout(
        folder,
        &["export", "powershell", "--config", "turnout.toml", "--rollback", "--part", "legacy"],
    );
    assert!(
        out(&back).contains("foreach ($Was in Import-Clixml -Path $Before)")
            && !out(&back).contains("TrustedApplication")
    );
    let wrong = turnout(folder, &["export", "powershell", "--config", "nowhere.toml"]);
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn misspelt_commands_get_a_suggestion() {
    let folder = Folder::new();
    for (args, meant) in [
        (&["chek"][..], "check"),
        (&["prob", "partner.example"], "probe"),
        (&["import", "partner", "x"], "partners"),
        (&["export", "powershel"], "powershell"),
        (&["check", "--confg", "x"], "--config"),
        (&["explain", "--kind", "mesage", "a@b", "c@d"], "message"),
    ] {
        let output = turnout(folder.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            err(&output).contains("similar") && err(&output).contains(meant),
            "{args:?}: {}",
            err(&output)
        );
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    let folder = Folder::new();
    let help = out(&turnout(folder.path(), &["--help"]));
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(names.len() > 10, "{help}");
    for name in names {
        let args = if name == "export" { vec![name, "powershell"] } else { vec![name] };
        let output = turnout(folder.path(), &[&args[..], &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0));
        let said = out(&output);
        assert!(said.contains("Examples:\n  turnout "), "{name}: {said}");
        let prints_a_result = !["completions", "man"].contains(&name);
        assert!(said.contains("Exit codes: 0 ") || !prints_a_result, "{name}: {said}");
    }
    assert!(
        out(&turnout(folder.path(), &["--help"])).contains("Exit codes: 0 good, 1 a finding, 2 wrong usage")
    );
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let folder = Folder::new();
    let commands = [
        "run",
        "demo",
        "check",
        "explain",
        "dev-certs",
        "user",
        "probe",
        "selftest",
        "import",
        "rehearse",
        "export",
    ];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = turnout(folder.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(commands.iter().all(|command| out(&output).contains(command)), "{shell}");
    }
    let sourced = Command::new("bash")
        .args(["-n", "-c", &out(&turnout(folder.path(), &["completions", "bash"]))])
        .status();
    assert!(sourced.unwrap().success(), "bash does not take its completions");
    assert_eq!(turnout(folder.path(), &["completions", "tcsh"]).status.code(), Some(2));
    let page = out(&turnout(folder.path(), &["man"]));
    assert!(page.contains(".TH") && page.contains("turnout"), "{page}");
    let written = turnout(folder.path(), &["man", "pages"]);
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    for name in [
        "turnout.1",
        "turnout-check.1",
        "turnout-import-users.1",
        "turnout-export-powershell.1",
        "turnout-user-move.1",
    ] {
        let page = std::fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
        assert!(out(&written).contains(name), "{name}");
    }
}
