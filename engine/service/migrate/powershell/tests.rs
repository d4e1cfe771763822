use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::dev_certs::Trial;

/// What PowerShell makes of a single-quoted string at the start of `text`: its value and what follows. By PowerShell's own rule any
/// of these is a single quote, and two of them are one.
fn tokenized(text: &str) -> Option<(String, &str)> {
    const QUOTES: [char; 5] = ['\'', '\u{2018}', '\u{2019}', '\u{201A}', '\u{201B}'];
    let mut rest = text.strip_prefix(QUOTES)?;
    let mut value = String::new();
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        if !QUOTES.contains(&c) {
            value.push(c);
        } else if rest.starts_with(QUOTES) {
            value.push(c);
            rest = rest.strip_prefix(QUOTES)?;
        } else {
            return Some((value, rest));
        }
    }
}

/// What an expression that [`literal`] wrote has as its value.
fn value(expression: &str) -> String {
    let Some(inside) = expression.strip_prefix('(') else {
        let (value, rest) = tokenized(expression).unwrap();
        assert_eq!(rest, "", "{expression}");
        return value;
    };
    let mut rest = inside;
    let mut whole = String::new();
    loop {
        if rest.starts_with('\'') {
            let (part, after) = tokenized(rest).unwrap();
            whole.push_str(&part);
            rest = after;
        } else {
            let digits = rest.split_once("0x").unwrap().1;
            let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap();
            whole.push(char::from_u32(u32::from_str_radix(&digits[..end], 16).unwrap()).unwrap());
            rest = digits[end..].trim_start_matches(')');
            if rest.is_empty() {
                return whole;
            }
        }
        match rest.strip_prefix(" + ") {
            Some(after) => rest = after,
            None => {
                assert_eq!(rest, ")", "{expression}");
                return whole;
            }
        }
    }
}

const NASTY: [&str; 12] = [
    "pool2019.contoso.com",
    "",
    "o'brien.example",
    "'; Remove-CsUser *; '",
    "''",
    "a\u{2019}; calc; \u{2018}b",
    "$(calc) `n \"x\" #>",
    "line\r\nRemove-CsUser",
    "tab\tnul\0end",
    "\u{451}",
    "bücher\u{1F600}",
    "\u{2028}x\u{85}",
];

#[test]
fn a_literal_is_one_value_whatever_the_text() {
    for text in NASTY {
        let expression = literal(text);
        assert!(expression.is_ascii() && !expression.contains(['\r', '\n', '\0']), "{expression}");
        assert_eq!(value(&expression), text, "{expression}");
    }
    assert_eq!(literal("o'brien"), "'o''brien'");
    assert_eq!(literal("ä"), "([string][char]0x00E4)");
}

#[test]
fn a_comment_is_one_line_whatever_the_text() {
    for text in NASTY {
        let line = comment(text);
        assert!(line.starts_with('#') && line.is_ascii() && !line.contains(['\r', '\n', '\0']), "{line}");
    }
}

/// The embedded configuration, changed.
fn config(trial: &Trial, change: impl Fn(String) -> String) -> (Config, World) {
    let text = change(crate::config::EMBEDDED.to_owned());
    let config = Config::parse(&text, Path::new("turnout.toml"), trial.path()).unwrap();
    let world = config.world(1, Arc::from([0_u8; 32].as_slice())).unwrap();
    (config, world)
}

fn trial() -> Trial {
    Trial::new(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000)).unwrap()
}

const ALL: Wanted<'static> = Wanted { part: Part::All, rollback: false, proxy: None, site: None };

#[test]
fn the_script_attaches_pool_and_gateway() {
    let trial = trial();
    let more = "additional_domains = [\"chat.partner.example\", \"bücher.example\"]";
    let (config, world) = config(&trial, |text| {
        text.replace("additional_domains = []", more)
            .replace("127.0.0.1:5369", "127.0.0.1:5269")
            .replace("listen = [\"127.0.0.1:5269\"]", "listen = [\"127.0.0.1:5268\"]")
    });
    let made = script(&config, &world, &ALL);
    assert_eq!(made.findings, [""; 0]);
    for part in [
        "$Router = 'turnout.contoso.com'\n$Registrar = 'pool2019.contoso.com'\n$Site = (Get-CsSite",
        "New-CsTrustedApplicationPool -Identity $Router -Registrar $Registrar -Site $Site -RequiresReplication $false \
         -ThrottleAsServer $true -TreatAsAuthenticated $true -OutboundOnly $false\n",
        "New-CsTrustedApplication -ApplicationId 'turnout' -TrustedApplicationPoolFqdn $Router -Port 5061\n",
        "$Domains = @(\n    'partner.example'\n    'chat.partner.example'\n    'xn--bcher-kva.example'\n)",
        "$Scopes = @(\n    'service:Registrar:pool2019.contoso.com'\n)",
        "New-CsStaticRoute -TLSRoute -Destination $Router -Port 5061 -MatchUri $Domain -UseDefaultCertificate $true",
        "\nEnable-CsTopology\n",
        "$Partners = @(\n    'partner.example'\n)",
        "-TlsNegotiation Optional -SaslNegotiation NotSupported -SupportDialbackNegotiation $true -ProxyFqdn $Proxy",
        "$Proxy = 'turnout.contoso.com'",
    ] {
        assert!(made.text.contains(part), "{part:?} in {}", made.text);
    }
    assert!(made.text.is_ascii());
    // The global routes are read, for a new collection takes their place, and never written.
    let global: Vec<&str> = made.text.lines().filter(|line| line.contains("-Identity Global")).collect();
    assert!(
        global.len() == 1 && global[0].contains("Get-CsStaticRoutingConfiguration -Identity Global).Route"),
        "{global:?}"
    );
    // The way back is there, and nothing of it would run.
    let (_, back) = made.text.split_once("==== The way back").unwrap();
    assert!(back.contains("Remove-CsTrustedApplicationPool") && back.contains("Import-Clixml"));
    assert!(back.lines().skip(1).all(|line| line.starts_with('#')), "{back}");
}

#[test]
fn parts_and_the_way_back_alone() {
    let trial = trial();
    let (config, world) = config(&trial, |text| text);
    let of = |wanted: &Wanted<'_>| script(&config, &world, wanted);
    let pool = of(&Wanted { part: Part::Pool, site: Some("N'A"), ..ALL });
    assert!(pool.text.contains("$Site = 'N''A'") && !pool.text.contains("XmppAllowedPartner"));
    assert_eq!(pool.findings, [""; 0]);
    let legacy = of(&Wanted { part: Part::Legacy, proxy: Some("inside.contoso.com"), ..ALL });
    assert!(
        legacy.text.contains("$Proxy = 'inside.contoso.com'") && !legacy.text.contains("TrustedApplication")
    );
    assert!(legacy.findings[0].contains("home.legacy.listen has port 5369"), "{:?}", legacy.findings);
    let back = of(&Wanted { rollback: true, ..ALL });
    assert!(!back.text.contains("New-Cs") && back.text.contains("\nGet-CsTrustedApplication | Where-Object"));
    let (partners, routes) = (
        back.text.find("Import-Clixml").unwrap(),
        back.text.find("Remove-CsTrustedApplicationPool").unwrap(),
    );
    assert!(partners < routes, "partners go back first");
}

#[test]
fn what_cannot_be_scripted_is_said() {
    let trial = trial();
    let missing = |change: &dyn Fn(String) -> String, part: &str| {
        let (config, world) = config(&trial, change);
        let made = script(&config, &world, &ALL);
        assert!(made.findings.iter().any(|what| what.contains(part)), "{part:?} in {:?}", made.findings);
        assert!(made.text.contains("# MISSING: "), "{}", made.text);
    };
    missing(
        &|text| text.replace("transport = \"tls\"", "transport = \"tcp\"\nname = \"turnout.contoso.com\""),
        "transport = \"tcp\"",
    );
    missing(
        &|text| {
            let dn = "registrar_pools = [\"CN=Lc Services,CN=1\"]";
            text.replace("registrar_pools = [\"pool2019.contoso.com\"]", dn)
        },
        "has no FQDN",
    );
    missing(
        &|text| {
            let (before, rest) = text.split_once("\n[[partner]]").unwrap();
            let (_, after) = rest.split_once("# ------").unwrap();
            format!("{before}\n# ------{after}")
        },
        "no [[partner]]",
    );
}

#[test]
fn nothing_from_a_configuration_breaks_out() {
    let trial = trial();
    // Pools are any text; everything else in the script is a host name or a domain.
    for nasty in ["x'; calc; '", "x\u{2019}; calc", "a\\nRemove-CsUser", "$(calc)", "#> calc <#"] {
        let (config, world) = config(&trial, |text| {
            text.replace(
                "registrar_pools = [\"pool2019.contoso.com\"]",
                &format!("registrar_pools = [\"{nasty}\"]"),
            )
        });
        let made = script(&config, &world, &ALL);
        assert!(made.text.is_ascii());
        let pool = config.homes.by_name("sfb2019").unwrap().1.registrar_pools[0].clone();
        let registrar = made.text.lines().find_map(|line| line.strip_prefix("$Registrar = ")).unwrap();
        assert_eq!(value(registrar), pool);
        for line in made.text.lines() {
            let harmless = line.starts_with('#')
                || line.trim_start().starts_with(['\'', '('])
                || line.starts_with("$Registrar");
            assert!(harmless || !(line.contains("calc") || line.contains("Remove-CsUser")), "{line}");
        }
    }
}
