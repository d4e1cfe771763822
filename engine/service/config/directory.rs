//! `[directory]`: where the users come from.

use std::path::PathBuf;
use std::time::Duration;

use turnout_core::home::HostPort;

use super::read::{At, Table};
use crate::directory::ldap::filter::Filter;

/// `[directory]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// Where the users come from.
    pub source: UserSource,
    /// Whether users without an external access policy may use XMPP federation.
    pub default_xmpp_access: bool,
    /// External access policies whose users may use XMPP federation: names, or pairs `7=6` where the source is LDAP.
    pub xmpp_access_policies: Vec<String>,
    /// A load that loses more than this share of the users is refused, in percent.
    pub shrink_percent_max: u8,
}

/// `directory.source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSource {
    /// A file, written by `Get-CsUser | Export-Csv`.
    Csv {
        /// The file.
        file: PathBuf,
        /// How often it is looked at; `None`: at a reload only.
        poll: Option<Duration>,
    },
    /// Active Directory, or another directory with its attributes.
    Ldap(Box<LdapConfig>),
}

/// `[directory.ldap]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapConfig {
    /// The servers, the preferred first.
    pub servers: Vec<HostPort>,
    /// The account.
    pub bind_dn: String,
    /// Its password; read anew for each connection.
    pub password_file: PathBuf,
    /// Where the users are.
    pub base: String,
    /// Which of the entries there are users.
    pub filter: Filter,
    /// How the connection is protected.
    pub tls: LdapTls,
    /// Authorities to trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Entries in one page.
    pub page_size: u32,
    /// How often is asked what has changed.
    pub poll: Duration,
    /// How often everything is read anew.
    pub full_reload: Duration,
    /// How long a server may take to connect, to answer, to go on answering.
    pub timeout: Duration,
    /// How changes are found.
    pub mode: LdapMode,
    /// Where the users of the last good load are kept.
    pub last_good: Option<PathBuf>,
}

/// `directory.ldap.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapTls {
    /// TLS first, port 636.
    Ldaps,
    /// StartTLS, port 389.
    StartTls,
    /// In the clear, port 389.
    None,
}

/// `directory.ldap.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapMode {
    /// By the DirSync control.
    Dirsync,
    /// By uSNChanged.
    Usn,
    /// Everything each time.
    Full,
}

impl LdapMode {
    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dirsync => "dirsync",
            Self::Usn => "usn",
            Self::Full => "full",
        }
    }
}

impl UserSource {
    /// The name used in the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Csv { .. } => "csv",
            Self::Ldap(_) => "ldap",
        }
    }
}

/// The entries that are users, where the file does not say it.
const FILTER: &str = "(&(objectClass=user)(msRTCSIP-PrimaryUserAddress=*))";

/// The table, and the pools that are branch appliances.
pub(super) fn directory(table: &Table<'_, '_>) -> Option<(DirectoryConfig, Vec<String>)> {
    let given = table.text("source");
    let is_ldap = match given.as_ref().map(|at| at.value.as_str()) {
        None | Some("csv") => false,
        Some("ldap") => true,
        Some(other) => {
            table.book.wrong(&table.spot_of("source"), format!("{other:?} is not one of: csv, ldap"), "");
            false
        }
    };
    let source = if is_ldap { ldap(table).map(Box::new).map(UserSource::Ldap) } else { csv(table) };
    let texts = |key| -> Vec<At<String>> { table.list(key).unwrap_or_default() };
    let branch_pools = texts("branch_pools").into_iter().map(|at| at.value).collect();
    let policies = texts("xmpp_access_policies");
    for At { value, spot } in policies.iter().filter(|_| is_ldap) {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !value.split_once('=').is_some_and(|(kind, policy)| is_number(kind) && is_number(policy)) {
            let what = format!("{value:?} is not what a directory holds of a policy");
            let cure = "write kind and policy as msRTCSIP-UserPolicies has them, \"7=6\"; `turnout check` lists those it finds";
            table.book.wrong(spot, what, cure);
        }
    }
    let default_xmpp_access = table.flag("default_xmpp_access").unwrap_or(false);
    let shrink_percent_max =
        table.number("shrink_percent_max", 0..=100).and_then(|n| u8::try_from(n).ok()).unwrap_or(20);
    table.finish();
    let xmpp_access_policies = policies.into_iter().map(|at| at.value).collect();
    let config =
        DirectoryConfig { source: source?, default_xmpp_access, xmpp_access_policies, shrink_percent_max };
    Some((config, branch_pools))
}

fn csv(table: &Table<'_, '_>) -> Option<UserSource> {
    let file = table.file("file");
    if file.is_none() && !table.has("file") {
        table.missing("file", "give the users, as Get-CsUser | Export-Csv wrote them");
    }
    let poll = table.number("poll_seconds", 0..=86_400).unwrap_or(10);
    if table.has("ldap") {
        table.book.wrong(
            &table.spot_of("ldap"),
            "is not used while source is \"csv\"",
            "write source = \"ldap\", or remove the table",
        );
    }
    Some(UserSource::Csv { file: file?, poll: (poll > 0).then(|| Duration::from_secs(poll)) })
}

fn ldap(outer: &Table<'_, '_>) -> Option<LdapConfig> {
    for key in ["file", "poll_seconds"].into_iter().filter(|key| outer.has(key)) {
        let cure = "remove it; the keys of LDAP stand in [directory.ldap]";
        outer.book.wrong(&outer.spot_of(key), "is not used while source is \"ldap\"", cure);
    }
    let table = outer.table("ldap");
    let tls = word(
        &table,
        "tls",
        &[("ldaps", LdapTls::Ldaps), ("starttls", LdapTls::StartTls), ("none", LdapTls::None)],
    );
    let mode = word(
        &table,
        "mode",
        &[LdapMode::Usn, LdapMode::Dirsync, LdapMode::Full].map(|mode| (mode.as_str(), mode)),
    );
    let servers = servers(&table, tls?);
    let bind_dn = needed(&table, "bind_dn", "name the account turnout signs in with: its DN, or user@domain");
    let password_file = table.file("password_file");
    if password_file.is_none() && !table.has("password_file") {
        table.missing(
            "password_file",
            "give a file that holds the account's password and that turnout alone can read",
        );
    }
    let base = needed(&table, "base", "say where the users are, \"DC=contoso,DC=com\"");
    let filter = match table.has("filter") {
        true => table.parsed("filter").map(|at| at.value),
        false => FILTER.parse().ok(),
    };
    let seconds =
        |key, allowed, otherwise| Duration::from_secs(table.number(key, allowed).unwrap_or(otherwise));
    let made = LdapConfig {
        servers,
        bind_dn: bind_dn.unwrap_or_default(),
        password_file: password_file.unwrap_or_default(),
        base: base.unwrap_or_default(),
        // A mistake that was noted: nothing is made of the rest.
        filter: filter.unwrap_or_else(|| Filter::present("objectClass")),
        tls: tls?,
        ca_file: table.file("ca_file"),
        page_size: table.number("page_size", 1..=10_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(500),
        poll: seconds("poll_seconds", 1..=86_400, 60),
        full_reload: seconds("full_reload_seconds", 10..=604_800, 21_600),
        timeout: seconds("timeout_seconds", 1..=300, 10),
        mode: mode?,
        last_good: table.path("last_good"),
    };
    table.finish();
    Some(made)
}

/// One of these words; the first without any.
fn word<T: Copy>(table: &Table<'_, '_>, key: &'static str, words: &[(&str, T)]) -> Option<T> {
    let given = table.text(key).map(|at| at.value);
    let found = words.iter().find(|(word, _)| given.as_deref().is_none_or(|given| given == *word));
    if found.is_none() {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("{:?} is not one of: {}", given.unwrap_or_default(), all.join(", "));
        table.book.wrong(&table.spot_of(key), what, "");
    }
    found.or_else(|| words.first()).map(|(_, meaning)| *meaning)
}

/// A text that has to be there.
fn needed(table: &Table<'_, '_>, key: &'static str, cure: &str) -> Option<String> {
    if !table.has(key) {
        table.missing(key, cure);
    }
    let At { value, spot } = table.text(key)?;
    if value.trim().is_empty() {
        table.book.wrong(&spot, "is empty", cure);
        return None;
    }
    Some(value)
}

fn servers(table: &Table<'_, '_>, tls: LdapTls) -> Vec<HostPort> {
    let port = if tls == LdapTls::Ldaps { 636 } else { 389 };
    let named: Vec<At<String>> = table.list("servers").unwrap_or_default();
    if named.is_empty() && (!table.has("servers") || !table.book.has_mistakes()) {
        table.missing("servers", "list the directory servers, [\"dc1.contoso.com\", \"dc2.contoso.com\"]");
    }
    let mut servers: Vec<HostPort> = Vec::new();
    for At { value, spot } in &named {
        match HostPort::parse(value, Some(port)) {
            Ok(server) if servers.contains(&server) => {
                table.book.wrong(spot, format!("{value:?} is listed twice"), "remove one");
            }
            Ok(server) => servers.push(server),
            Err(_) => {
                let cure = "write it as dc1.contoso.com or dc1.contoso.com:636";
                table.book.wrong(spot, format!("{value:?} is no host"), cure);
            }
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, EMBEDDED};

    /// The embedded configuration with users from LDAP, and these keys of it.
    fn parse(outer: &str, keys: &str) -> Result<Config, String> {
        let (before, rest) = EMBEDDED.split_once("source = \"csv\"").unwrap();
        let rest = rest.replacen("file = \"users.csv\"", "", 1).replacen("poll_seconds = 10", "", 1);
        let rest = rest.replacen("xmpp_access_policies = []", "", 1);
        let text = format!("{before}source = \"ldap\"{rest}\n[directory.ldap]\n{keys}\n");
        let text = text.replacen("[directory]", &format!("[directory]\n{outer}"), 1);
        Config::parse(&text, Path::new("t.toml"), Path::new("/base")).map_err(|errors| errors.to_string())
    }

    const LEAST: &str = "servers = [\"dc1.contoso.com\"]\nbind_dn = \"turnout@contoso.com\"\npassword_file = \"p\"\nbase = \"DC=contoso\"";

    fn ldap(keys: &str) -> LdapConfig {
        match parse("", keys).unwrap().directory.source {
            UserSource::Ldap(ldap) => *ldap,
            UserSource::Csv { .. } => panic!("no LDAP"),
        }
    }

    #[test]
    fn what_the_default_file_shows_of_ldap_are_the_defaults() {
        let (_, shown) = EMBEDDED.split_once("# [directory.ldap]").unwrap();
        let (shown, _) = shown.split_once("# ----").unwrap();
        let keys: Vec<&str> = shown
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
            .collect();
        assert_eq!(keys.len(), 13, "{keys:#?}");
        let shown = ldap(&keys.join("\n"));
        let least = ldap(LEAST);
        assert_eq!(
            shown.servers,
            ["dc1.contoso.com:636", "dc2.contoso.com:636"].map(|server| server.parse().unwrap())
        );
        assert_eq!((&shown.filter, shown.tls, shown.mode), (&least.filter, least.tls, least.mode));
        assert_eq!(
            (shown.poll, shown.full_reload, shown.timeout),
            (least.poll, least.full_reload, least.timeout)
        );
        assert_eq!((shown.page_size, &least.last_good, &least.ca_file), (least.page_size, &None, &None));
        assert_eq!(shown.password_file, Path::new("/base/directory.password"));
        assert_eq!(shown.last_good.as_deref(), Some(Path::new("/base/directory.users")));
    }

    #[test]
    fn mistakes_are_told_with_place_and_cure() {
        for (outer, keys, parts) in [
            (
                "",
                "",
                &[
                    "directory.ldap.servers: missing",
                    "directory.ldap.bind_dn: missing",
                    "password_file: missing",
                    "base: missing",
                ][..],
            ),
            ("file = \"users.csv\"", LEAST, &["directory.file: is not used while source is \"ldap\""]),
            (
                "xmpp_access_policies = [\"XmppUsers\"]",
                LEAST,
                &["\"XmppUsers\" is not what a directory holds of a policy", "turnout check"],
            ),
            (
                "",
                &format!("{LEAST}\ntls = \"yes\""),
                &["directory.ldap.tls: \"yes\" is not one of: ldaps, starttls, none"],
            ),
            ("", &format!("{LEAST}\nmode = \"fast\""), &["\"fast\" is not one of: usn, dirsync, full"]),
            (
                "",
                &format!("{LEAST}\nfilter = \"(mail=*\""),
                &["directory.ldap.filter:", "a ) is missing at octet 7", "RFC 4515"],
            ),
            (
                "",
                &LEAST.replace("dc1.contoso.com", "ldap://dc1"),
                &["directory.ldap.servers[0]: \"ldap://dc1\" is no host"],
            ),
            ("", &LEAST.replace("DC=contoso", " "), &["directory.ldap.base: is empty"]),
            ("", &format!("{LEAST}\npage_sise = 7"), &["unknown key; did you mean `page_size`?"]),
        ] {
            let errors = parse(outer, keys).unwrap_err();
            assert!(parts.iter().all(|part| errors.contains(part)), "{parts:?} not in {errors}");
        }
        let both = EMBEDDED.replace("# [directory.ldap]", "[directory.ldap]");
        let errors = Config::parse(&both, Path::new("t.toml"), Path::new("/base")).unwrap_err().to_string();
        assert!(errors.contains("directory.ldap: is not used while source is \"csv\""), "{errors}");
    }

    #[test]
    fn a_home_may_name_pools_by_their_dns() {
        let text = EMBEDDED.replace("# registrar_pool_dns", "registrar_pool_dns");
        let config = Config::parse(&text, Path::new("t.toml"), Path::new("/base")).unwrap();
        let dn = "cn=lc services,CN=Microsoft,CN=1:2,CN=Pools,CN=RTC Service,CN=Services,CN=Configuration,DC=contoso,DC=com";
        let (id, _) = config.homes.by_name("sfb2019").unwrap();
        let expected = turnout_core::home::PoolMeaning::Known(turnout_core::home::Residence::Home(id));
        assert_eq!(config.homes.meaning(dn, "SRV:"), expected);
    }
}
