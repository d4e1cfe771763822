//! `turnout rehearse`: exports of the old estate beside a configuration.

use std::process::{Command, Output};

use serde_json::Value;

use crate::estate::{Ground, Plan};

/// One of each kind: the names say what should become of them.
const USERS: &str = "SipAddress,RegistrarPool,HostingProvider,Enabled,EnabledForFederation,ExternalAccessPolicy\n\
    sip:keeps@contoso.com,sfb2015.contoso.com,SRV:,True,True,Sales\n\
    sip:gains@contoso.com,pool2019.contoso.com,SRV:,True,True,Sales\n\
    sip:loses-by-policy@contoso.com,sfb2015.contoso.com,SRV:,True,True,Board\n\
    sip:loses-by-pool@contoso.com,forgotten.contoso.com,SRV:,True,True,Sales\n\
    sip:loses-by-domain@tailspin.com,sfb2015.contoso.com,SRV:,True,True,Sales\n\
    sip:never-by-policy@contoso.com,sfb2015.contoso.com,SRV:,True,True,\n\
    sip:never-disabled@contoso.com,sfb2015.contoso.com,SRV:,False,True,Sales\n\
    sip:on-branch@contoso.com,sba1.contoso.com,SRV:,True,True,Sales\n\
    sip:cloud@contoso.com,,sipfed.online.lync.com,True,True,Sales\n\
    sip:nowhere@contoso.com,,SRV:,True,True,Sales\n";

const POLICIES: &str =
    "Identity,EnableXmppAccess\nGlobal,False\nTag:Sales,True\nTag:Board,True\nTag:Nobody,False\n";

const PARTNERS: &str = "Domain,AdditionalDomains,PartnerType,TlsNegotiation,SaslNegotiation,SupportDialbackNegotiation,ProxyFqdn,EnableKeepAlive,ConnectionLimit\n\
    partner.example,chat.partner.example,PublicVerified,Optional,Required,True,,True,1\n\
    same.example,,Federated,Required,Required,True,,True,\n\
    gone.example,,Federated,Required,Required,True,,True,\n\
    broken.example,,Federated,NotSupported,NotSupported,False,,True,\n";

/// The configuration's partners, and the gateway: 2 local domains with 2 partners are 4 pairs.
const MORE: &str = "[[partner]]\ndomain = \"same.example\"\ntype = \"federated\"\n\n\
    [[partner]]\ndomain = \"new.example\"\ntype = \"federated\"\n";

const GATEWAY: &str = "Identity,ConnectionLimit,PartnerConnectionLimit,StreamEstablishmentTimeout,StreamInactivityTimeout,KeepAliveInterval,SubscriptionRefreshInterval\n\
    Global,5,20,60,700,300,28800\n";

/// An estate with exports.
pub struct Stage {
    pub ground: Ground,
}

impl Stage {
    pub fn new() -> Self {
        let plan = Plan {
            partner: "type = \"federated\"\ntls = \"required\"\nsasl = \"required\"".to_owned(),
            more: MORE.to_owned(),
            ..Plan::default()
        };
        let ground = Ground::new(&plan);
        let file = ground.configure(&plan);
        let text = std::fs::read_to_string(&file).unwrap();
        let directory = "default_xmpp_access = false\nxmpp_access_policies = [\"Sales\"]\nbranch_pools = [\"sba1.contoso.com\"]";
        std::fs::write(&file, text.replacen("default_xmpp_access = true", directory, 1)).unwrap();
        for (name, text) in [
            ("u.csv", USERS),
            ("policies.csv", POLICIES),
            ("partners.csv", PARTNERS),
            ("gateway.csv", GATEWAY),
        ] {
            ground.folder.write(name, text);
        }
        Self { ground }
    }

    fn run(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_turnout"))
            .args(["rehearse", "--config", "turnout.toml"])
            .args(more)
            .current_dir(self.ground.folder.path())
            .output()
            .unwrap()
    }

    fn json(&self, more: &[&str]) -> (i32, Value) {
        let output = self.run(&[more, &["--json"]].concat());
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    }
}

const ALL: [&str; 8] = [
    "--users",
    "u.csv",
    "--policies",
    "policies.csv",
    "--partners",
    "partners.csv",
    "--gateway",
    "gateway.csv",
];

/// Findings of a weight.
fn findings(told: &Value, weight: &str) -> Vec<String> {
    let all = told["findings"].as_array().unwrap().iter().filter(|finding| finding["weight"] == weight);
    all.map(|finding| finding["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_user_is_told_what_becomes_of_him() {
    let stage = Stage::new();
    let (code, told) = stage.json(&[&ALL[..], &["--all"]].concat());
    assert_eq!((code, told["good"].as_bool()), (1, Some(false)));
    let rows = told["users"]["rows"].as_array().unwrap();
    assert_eq!((rows.len() as u64, &told["users"]["total"]), (10, &Value::from(10)));
    for row in rows {
        let (user, turn) = (row["user"].as_str().unwrap(), row["turn"].as_str().unwrap());
        let expected = match user.split(['-', '@']).next().unwrap() {
            "never" | "on" | "cloud" | "nowhere" => "none",
            named => named,
        };
        assert_eq!(turn, expected, "{row:#}");
        assert_eq!(row["today"] == "", ["keeps", "loses"].contains(&turn), "{row:#}");
        assert_eq!(row["then"] == "", ["keeps", "gains"].contains(&turn), "{row:#}");
    }
    let row = |user: &str| rows.iter().find(|row| row["user"] == user).unwrap_or_else(|| panic!("no {user}"));
    assert_eq!(row("keeps@contoso.com")["home"], "legacy");
    assert_eq!(row("gains@contoso.com")["home"], "sfb2019");
    assert_eq!(row("loses-by-pool@contoso.com")["place"], "unknown pool forgotten.contoso.com");
    assert!(row("on-branch@contoso.com")["today"].as_str().unwrap().contains("branch appliance"));
    let groups = told["users"]["groups"].as_array().unwrap();
    let group = |place: &str| groups.iter().find(|group| group["place"] == place).unwrap();
    assert_eq!((&group("legacy")["keep"], &group("legacy")["lose"]), (&Value::from(1), &Value::from(2)));
    assert_eq!(group("sfb2019")["gain"], 1);
    let errors = findings(&told, "error");
    for part in [
        "3 users would lose XMPP",
        "1 user in no home, unknown pool forgotten.contoso.com: add it to registrar_pools",
        "1 user of tailspin.com, which is none of `domains`",
    ] {
        assert!(errors.iter().any(|what| what.contains(part)), "{part:?} in {errors:#?}");
    }
    let notes = findings(&told, "note");
    assert!(notes.iter().any(|what| what.starts_with("1 user in no home, branch")), "{notes:#?}");
    // Without --all those are left out for whom nothing changes and who have a home.
    let (_, told) = stage.json(&ALL);
    assert_eq!(told["users"]["rows"].as_array().unwrap().len(), 7, "{told:#}");
}

#[test]
fn every_partner_is_told_what_changes() {
    let stage = Stage::new();
    let (_, told) = stage.json(&ALL);
    let rows = told["partners"].as_array().unwrap();
    let fates: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["partner"].as_str().unwrap(), row["fate"].as_str().unwrap())).collect();
    let expected = [
        ("partner.example", "changed"),
        ("same.example", "same"),
        ("gone.example", "lost"),
        ("broken.example", "broken"),
        ("new.example", "new"),
    ];
    assert_eq!(fates, expected);
    let change = |setting: &str| {
        let all = rows[0]["changes"].as_array().unwrap();
        let found =
            all.iter().find(|change| change["setting"] == setting).unwrap_or_else(|| panic!("{all:#?}"));
        let text = |key: &str| found[key].as_str().unwrap().to_owned();
        (text("today"), text("then"), text("effect"))
    };
    let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(change("type"), owned("public-verified", "federated", "looser"));
    assert_eq!(change("tls"), owned("optional", "required", "tighter"));
    assert_eq!(
        change("proof"),
        owned("EXTERNAL, dialback over TLS, dialback without TLS", "EXTERNAL", "tighter")
    );
    assert_eq!(change("connections_max").2, "looser");
    assert!(change("proxy").1.starts_with("127.0.0.1:"));
    assert_eq!(rows[0]["lost_domains"][0], "chat.partner.example");
    let errors = findings(&told, "error");
    for part in [
        "partner.example: type is looser than today: public-verified, then federated",
        "partner.example: its domain chat.partner.example is in no [[partner]]",
        "gone.example: is in no [[partner]]",
        "broken.example: TlsNegotiation NotSupported",
        // 2 local domains with 2 of his are 4 streams, and he is allowed one.
        "Set-CsXmppAllowedPartner -Identity partner.example -ConnectionLimit 4",
        // And with 5 partners' domains of four partners 10, of 5.
        "Set-CsXmppGatewayConfiguration -ConnectionLimit 10",
    ] {
        assert!(errors.iter().any(|what| what.contains(part)), "{part:?} in {errors:#?}");
    }
    let gateway: Vec<&str> = told["gateway"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["setting"].as_str().unwrap())
        .collect();
    assert_eq!(gateway, ["connections_max", "idle_seconds"]);
    // An export made too late says what turnout needs of the partners.
    let late =
        PARTNERS.replace("Optional,Required,True,,", "Optional,NotSupported,True,turnout.contoso.com,");
    stage.ground.folder.write("late.csv", late);
    let (_, told) = stage.json(&["--partners", "late.csv"]);
    assert!(findings(&told, "error").iter().any(|what| what.contains("made after step 6")), "{told:#}");
}

#[test]
fn the_page_names_what_somebody_has_to_look_at() {
    let stage = Stage::new();
    let output = stage.run(&ALL);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for part in [
        "10 user(s), by where they live:",
        "3 user(s) lose XMPP:",
        "5 partner(s), 1 of them as today:",
        "\nerror: 3 users would lose XMPP\n",
        "all partners",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    // Where nothing is lost it is good: the router's own users, and a policy for those of whom the exports say nothing.
    let good = stage.run(&[]);
    let said = String::from_utf8(good.stdout).unwrap();
    assert_eq!(good.status.code(), Some(0), "{said}");
    assert!(said.ends_with("good: nobody loses anything, and nothing is looser than today\n"), "{said}");
    for wrong in [
        &["--users", "nowhere.csv"][..],
        &["--policies", "u.csv"],
        &["--partners", "u.csv", "--gateway", "none"],
    ] {
        assert_eq!(stage.run(wrong).status.code(), Some(1), "{wrong:?}");
    }
}

/// The same configuration with its users in a directory; the exports are the old estate's all the same.
#[test]
fn with_a_directory_the_old_users_come_from_their_export() {
    let stage = Stage::new();
    let file = stage.ground.folder.path().join("turnout.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let csv = text.split("[directory]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let (plain, _) = csv.split_once("xmpp_access_policies").unwrap();
    assert!(plain.contains("default_xmpp_access = false"), "{plain}");
    // Nobody listens there: a rehearsal asks nobody.
    let ldap = |policies: &str| {
        let table = format!(
            "source = \"ldap\"\ndefault_xmpp_access = false\nxmpp_access_policies = [{policies}]\nbranch_pools = [\"sba1.contoso.com\"]\n\n\
             [directory.ldap]\nservers = [\"dc.contoso.com:9\"]\nbase = \"DC=contoso,DC=com\"\nbind_dn = \"CN=turnout,DC=contoso,DC=com\"\n\
             password_file = \"bind.password\"\n"
        );
        stage.ground.folder.write("bind.password", "secret");
        std::fs::write(&file, text.replacen(csv, &table, 1)).unwrap();
    };
    ldap("\"7=6\"");
    let output = stage.run(&["--policies", "policies.csv"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("directory.source is ldap: give the users of the old estate with --users"),
        "{said}"
    );
    let names = |told: &Value, turn: &str| -> Vec<String> {
        let rows = told["users"]["rows"].as_array().unwrap().iter().filter(|row| row["turn"] == turn);
        rows.map(|row| row["user"].as_str().unwrap().split('@').next().unwrap().to_owned()).collect()
    };
    let args = ["--users", "u.csv", "--policies", "policies.csv", "--all"];
    let (_, told) = stage.json(&args);
    // The policy is a number in the directory, and a name in the export: who has XMPP by it counts as without, and that is said.
    let noted =
        |told: &Value| {
            told["findings"].as_array().unwrap().iter().any(|finding| {
                finding["weight"] == "note" && finding["what"].as_str().unwrap().contains("7=6")
            })
        };
    assert!(noted(&told), "{told:#}");
    assert!(
        names(&told, "keeps").is_empty() && names(&told, "loses").contains(&"keeps".to_owned()),
        "{told:#}"
    );
    // Without policies of its own there is nothing to be taken wrongly.
    ldap("");
    let (_, told) = stage.json(&args);
    assert!(!noted(&told), "{told:#}");
    let group = |told: &Value, place: &str| {
        told["users"]["groups"].as_array().unwrap().iter().find(|group| group["place"] == place).cloned()
    };
    assert!(
        group(&told, "legacy").is_some() && group(&told, "sfb2019").is_some(),
        "the homes are those of the configuration: {told:#}"
    );
    assert_eq!(told["users"]["total"], 10);
}
