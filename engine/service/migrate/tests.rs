use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::config::Config;
use crate::exports::ExportError;
use turnout_core::policy::{MATRIX, Negotiation};

/// A configuration with all that imports do not bring.
const MINIMAL: &str = r#"
domains = ["contoso.com"]
[[federation.identity]]
domain = "contoso.com"
certificate = "contoso.com.pem"
key = "contoso.com.key"
[home.legacy]
backend = "xmpp"
connect = ["127.0.0.1:15269"]
listen = "127.0.0.1:5369"
registrar_pools = ["sfb2015.contoso.com"]
"#;

const DIRECTORY: &str = "[directory]\nfile = \"users.csv\"\n";

fn with(fragment: &str) -> Config {
    let text = format!("{MINIMAL}\n{fragment}");
    Config::parse(&text, Path::new("t.toml"), Path::new(""))
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn partners_of(text: &str) -> Imported {
    let made = partners(text.as_bytes(), "partners.xml").unwrap();
    assert_eq!(with(&format!("{DIRECTORY}\n{}", made.toml)).policy.len() as u64, made.taken, "{}", made.toml);
    made
}

fn has(made: &Imported, weight: Weight, part: &str) {
    let found =
        made.findings.iter().any(|finding| finding.weight == weight && finding.to_string().contains(part));
    assert!(found, "{weight:?} {part:?} in {:#?}", made.findings);
    let comment = made.toml.lines().any(|line| line.starts_with("# ") && line.contains(part));
    assert!(comment, "{part:?} in {}", made.toml);
}

#[test]
fn every_row_of_the_matrix() {
    let word = |of: Negotiation| match of {
        Negotiation::Required => "Required",
        Negotiation::Optional => "optional",
        Negotiation::NotSupported => "NotSupported",
    };
    let mut invalid = 0;
    for row in MATRIX {
        let text = format!(
            "Domain,AdditionalDomains,PartnerType,TlsNegotiation,SaslNegotiation,SupportDialbackNegotiation,EnableKeepAlive\n\
             partner.example,,Federated,{},{},{},False\n",
            word(row.tls),
            word(row.sasl),
            if row.dialback { "True" } else { "False" },
        );
        let made = partners_of(&text);
        match row.methods {
            None => {
                invalid += 1;
                assert_eq!((made.taken, made.good()), (0, false));
                has(&made, Weight::Error, "leave no way to authenticate");
                assert!(!made.toml.lines().any(|line| line.starts_with("[[partner]]")), "{}", made.toml);
            }
            Some(methods) => {
                assert!(made.good() && made.taken == 1, "{:?}", made.findings);
                let config = with(&format!("{DIRECTORY}\n{}", made.toml));
                let view = config.policy.find("partner.example").unwrap();
                assert_eq!((view.tls, view.sasl, view.methods), (row.tls, row.sasl, methods));
                assert!(!view.keep_alive);
            }
        }
    }
    assert_eq!(invalid, 5);
}

#[test]
fn all_settings_of_a_partner() {
    let made = partners_of(
        r##"[{"Identity":"partner.example","Domain":"partner.example",
        "AdditionalDomains":["Chat.partner.example","bücher.example"],"PartnerType":"PublicVerified",
        "TlsNegotiation":"Optional","SaslNegotiation":"NotSupported","SupportDialbackNegotiation":true,"ProxyFqdn":"Proxy.partner.example",
        "EnableKeepAlive":true,"ConnectionLimit":7,"Description":"one\n[[partner]]\ndomain = \"evil.example\"","Anchor":null,"Odd":1},
        {"Domain":"other.example"}]"##,
    );
    assert!(made.good(), "{:?}", made.findings);
    assert_eq!(made.taken, 2);
    let config = with(&format!("{DIRECTORY}\n{}", made.toml));
    let (_, partner) = config.policy.iter().next().unwrap();
    let domains: Vec<&str> = partner.additional_domains.iter().map(|domain| domain.as_str()).collect();
    assert_eq!(domains, ["chat.partner.example", "bücher.example"]);
    assert_eq!((partner.kind.as_str(), partner.connections_max), ("public-verified", Some(7)));
    assert_eq!(partner.proxy.as_ref().unwrap().to_string(), "proxy.partner.example:5269");
    assert!(config.policy.find("evil.example").is_none());
    assert!(made.toml.contains("# one [[partner]] domain"));
    has(&made, Weight::Note, "passed over: Odd");
    has(&made, Weight::Note, "without TLS");
    // Absent settings are the cmdlet's defaults, and that is said.
    let other = config.policy.find("other.example").unwrap();
    assert_eq!(
        (other.kind.as_str(), other.tls, other.sasl),
        ("public-unverified", Negotiation::Required, Negotiation::Required)
    );
    has(&made, Weight::Note, "other.example: the export has no TlsNegotiation");
}

#[test]
fn partners_that_cannot_be_carried_over() {
    const HEAD: &str = "Domain,AdditionalDomains,TlsNegotiation,ProxyFqdn,ConnectionLimit,EnableKeepAlive\n";
    let check = |row: &str, part: &str| {
        let made = partners_of(&format!("{HEAD}good.example,,Optional,,,True\n{row}\n"));
        assert_eq!(made.taken, 1, "{}", made.toml);
        has(&made, Weight::Error, part);
        assert!(made.findings.iter().any(|finding| finding.place == "line 3"));
    };
    check("-,,Optional,,,True", "is no domain");
    check(",,Optional,,,True", "neither Domain nor Identity");
    check("x.example,*.x.example,Optional,,,True", "no wildcards");
    check("x.example,,Sometimes,,,True", "TlsNegotiation");
    check("x.example,,Optional,a b,,True", "ProxyFqdn");
    check("x.example,,Optional,,many,True", "ConnectionLimit");
    check("x.example,,Optional,,2000000,True", "ConnectionLimit 2000000");
    check("x.example,,Optional,,,Perhaps", "EnableKeepAlive");
    check("x.example,good.example,Optional,,,True", "belongs to the partner good.example");
    check("GOOD.example,,Optional,,,True", "belongs to the partner good.example");
    check("x.example,y.example Y.example,Optional,,,True", "given twice");
    // A list that was lost: the entry counts, and the exit code says that something is missing.
    let made = partners_of(&format!(
        "{HEAD}good.example,System.Collections.Generic.List`1[System.String],Optional,,,True\n"
    ));
    assert_eq!((made.taken, made.good()), (1, false));
    has(&made, Weight::Error, "Until the domains are listed");
    let made = partners_of(r#"{"Domain":"x.example","TlsNegotiation":0}"#);
    assert_eq!(made.taken, 0);
    has(&made, Weight::Error, "-EnumsAsStrings");
    has(&partners_of("Domain\n"), Weight::Error, "no partners");
}

fn gateway_of(text: &str) -> Imported {
    let made = gateway(text.as_bytes(), "gateway.json").unwrap();
    let config = with(&format!("{DIRECTORY}\n{}", made.toml));
    assert!(config.policy.limits().keep_alive_seconds < config.policy.limits().idle_seconds);
    made
}

#[test]
fn settings_of_the_gateway() {
    let made = gateway_of(
        r#"{"Identity":"Global","ConnectionLimit":500,"PartnerConnectionLimit":10,"StreamEstablishmentTimeout":30,
        "StreamInactivityTimeout":900,"KeepAliveInterval":200,"SubscriptionRefreshInterval":3600,"DialbackPassphrase":"hunter2!",
        "EnableLoggingAllMessageBodies":false}"#,
    );
    let limits = *with(&format!("{DIRECTORY}\n{}", made.toml)).policy.limits();
    assert_eq!((limits.connections_max, limits.connections_per_partner_max), (500, 10));
    assert_eq!((limits.establishment_seconds, limits.idle_seconds), (30, 900));
    assert_eq!(limits.keep_alive_seconds, 200);
    assert!(made.toml.contains("[presence]\nsubscription_seconds = 3600\n"), "{}", made.toml);
    assert!(made.good());
    has(&made, Weight::Note, "DialbackPassphrase: not carried over");
    assert!(!made.toml.contains("hunter2") && !format!("{made:?}").contains("hunter2"), "the secret is told");
}

#[test]
fn settings_of_the_gateway_that_cannot_be() {
    let check = |text: &str, part: &str| {
        let made = gateway_of(text);
        assert!(!made.good());
        has(&made, Weight::Error, part);
    };
    for (least, most) in [
        ("ConnectionLimit", 1_000_000_u64),
        ("StreamEstablishmentTimeout", 3600),
        ("SubscriptionRefreshInterval", 604_800),
    ] {
        gateway_of(&format!("{{\"{least}\":{most}}}"));
        check(&format!("{{\"{least}\":{}}}", most + 1), "its default stays");
        check(&format!("{{\"{least}\":0}}"), "its default stays");
    }
    check(
        r#"{"StreamInactivityTimeout":300}"#,
        "KeepAliveInterval 300 is not below StreamInactivityTimeout 300",
    );
    check(r#"{"KeepAliveInterval":600}"#, "neither is taken");
    check(r#"{"ConnectionLimit":10}"#, "PartnerConnectionLimit 20 is above ConnectionLimit 10");
    check(r#"{"ConnectionLimit":"x"}"#, "not a whole number");
    check(
        r#"{"ConnectionLimit":100,"EnableLoggingAllMessageBodies":true}"#,
        "engine.log_message_bodies = true",
    );
    check(r#"{"Identity":"Global"}"#, "none of the settings");
    let error = gateway(&b"A\n1\n2\n"[..], "x").unwrap_err();
    assert!(error.to_string().contains("more than one object"));
}

const USERS: &str = r#"[{"SipAddress":"sip:anna@contoso.com","RegistrarPool":"sfb2015.contoso.com","HostingProvider":"SRV:",
  "EnabledForFederation":true,"Enabled":true,"ExternalAccessPolicy":null,"Odd":{"x":1}},
 {"SipAddress":"sip:bert@contoso.com","RegistrarPool":"pool2019.contoso.com","HostingProvider":"SRV:",
  "EnabledForFederation":true,"Enabled":true,"ExternalAccessPolicy":"Tag:Sales"},
 {"SipAddress":"sip:carla@contoso.com","RegistrarPool":null,"HostingProvider":"sipfed.online.lync.com",
  "EnabledForFederation":false,"Enabled":true,"ExternalAccessPolicy":"Lab"}]"#;

fn users_of(text: &str, access: Option<&Access>, csv: bool) -> Result<(Imported, String), ExportError> {
    let mut rows = Vec::new();
    let files = UserFiles { name: "users.json", access, csv_name: "users.csv" };
    // What is written can be looked at once the import is over; the check needs it before.
    let mut plain = Vec::new();
    let read =
        if csv { users::convert(text.as_bytes(), Some(&mut plain)).map(|_| plain)? } else { text.into() };
    let made =
        users(text.as_bytes(), csv.then_some(&mut rows as &mut dyn std::io::Write), &files, move || {
            Ok(Box::new(Cursor::new(read)) as Box<dyn std::io::Read>)
        })?;
    with(&made.toml);
    Ok((made, String::from_utf8(rows).unwrap()))
}

#[test]
fn users_of_other_formats_become_csv() {
    let (made, csv) = users_of(USERS, None, true).unwrap();
    assert_eq!((made.taken, made.good()), (3, true), "{:?}", made.findings);
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap().split(',').count(), 6);
    assert!(
        csv.contains(
            "\"sip:bert@contoso.com\",\"pool2019.contoso.com\",\"SRV:\",\"True\",\"True\",\"Tag:Sales\""
        ),
        "{csv}"
    );
    has(&made, Weight::Note, "1 user in the cloud");
    has(&made, Weight::Note, "Import again with --policies");
    assert!(made.toml.contains("#   \"pool2019.contoso.com\": 1 user\n"), "{}", made.toml);
    assert!(made.toml.contains("default_xmpp_access = false\nxmpp_access_policies = []\n"));
    let error = users_of(USERS, None, false).unwrap_err();
    assert!(error.to_string().contains("--csv"), "{error}");
    let (made, _) = users_of(&csv, None, false).unwrap();
    assert_eq!(made.taken, 3);
}

#[test]
fn policies_say_who_may_use_xmpp() {
    let policies = "Identity,EnableXmppAccess\nGlobal,True\nTag:Sales,True\nTag:Lab,False\nSite:North,False\nTag:Odd,True\n";
    let access = access(policies.as_bytes()).unwrap();
    let (made, _) = users_of(USERS, Some(&access), true).unwrap();
    assert!(
        made.toml.contains("default_xmpp_access = true\nxmpp_access_policies = [\"Odd\", \"Sales\"]\n"),
        "{}",
        made.toml
    );
    has(&made, Weight::Error, "the policy \"Site:North\"");
    let few = super::access(&b"Identity,EnableXmppAccess\nTag:Sales,True\n"[..]).unwrap();
    let (made, _) = users_of(USERS, Some(&few), true).unwrap();
    has(&made, Weight::Error, "the policy \"Lab\" is not in the export");
    has(&made, Weight::Note, "no Global");
    for wrong in ["Name\nx\n", "Identity\nGlobal\n", "Identity,EnableXmppAccess\nGlobal,maybe\n"] {
        assert!(super::access(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn bad_users_are_named() {
    let rows = |bad: usize| {
        let good: String = (0..100).map(|n| format!("sip:u{n}@contoso.com,p.contoso.com\n")).collect();
        format!("SipAddress,RegistrarPool\n{good}{}", "nonsense,p.contoso.com\n".repeat(bad))
    };
    let (made, _) = users_of(&rows(2), None, false).unwrap();
    assert_eq!((made.taken, made.good()), (100, false));
    has(&made, Weight::Error, "user passed over");
    let error = users_of(&rows(50), None, false).unwrap_err();
    assert!(error.to_string().contains("the router could not use users.csv"), "{error}");
    let error = users_of("Name,RegistrarPool\nx,y\n", None, false).unwrap_err();
    assert!(error.to_string().contains("no column SipAddress"), "{error}");
    let error = users_of(r#"[{"SipAddress":{"a":1},"RegistrarPool":"x"}]"#, None, true).unwrap_err();
    assert!(error.to_string().contains("object 1: SipAddress is an object"), "{error}");
}

#[test]
fn texts_in_toml() {
    for text in ["plain", "a\"b\\c", "x\ny\u{7f}\u{85}\0", "ü"] {
        let table: toml::Table = format!("a = {}", quoted(text)).parse().unwrap();
        assert_eq!(table["a"].as_str(), Some(text));
    }
    assert_eq!(one_line("a\r\nb\u{2028}c\0"), "a  b c ");
    assert_eq!(list(["a", "b"]), "[\"a\", \"b\"]");
}
