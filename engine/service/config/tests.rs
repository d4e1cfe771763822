use std::path::Path;

use turnout_core::flow::FlowLimits;
use turnout_core::home::{BackendKind, HomeId};
use turnout_core::io::TrustId;
use turnout_core::policy::{Negotiation, PartnerType};
use turnout_core::presence::{PresenceRules, Show};

use super::*;

/// The smallest configuration; tables a case wants to change are left to the case.
const HEAD: &str = "domains = [\"contoso.com\"]\n";
const FEDERATION: &str = "[federation]\ncertificate = \"c.pem\"\nkey = \"c.key\"\n";
const LEGACY: &str = "[home.legacy]\nbackend = \"xmpp\"\nconnect = [\"edge.contoso.com:5269\"]\nlisten = \"10.0.0.5:5269\"\n\
                      registrar_pools = [\"sfb2015.contoso.com\"]\n";
const POOL: &str = "[home.sfb2019]\nbackend = \"sip\"\nconnect = [\"pool2019.contoso.com:5061\"]\nlisten = \"10.0.0.5:5061\"\n\
                    certificate = \"t.pem\"\nkey = \"t.key\"\nca_file = \"ca.pem\"\n\
                    registrar_pools = [\"pool2019.contoso.com\"]\n";
const DIRECTORY: &str = "[directory]\nfile = \"users.csv\"\n";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Path::new("t.toml"), Path::new("/base"))
}

fn small() -> String {
    [HEAD, FEDERATION, LEGACY, POOL, DIRECTORY].concat()
}

/// Every part must be in the same mistake's line.
fn check(text: &str, expected: &[&str]) {
    let errors = parse(text).expect_err("a mistake goes unnoticed").to_string();
    let found = errors.lines().any(|line| expected.iter().all(|part| line.contains(part)));
    assert!(found, "expected {expected:?} in:\n{errors}");
}

/// Exactly this one mistake.
fn check_only(text: &str, expected: &str) {
    assert_eq!(parse(text).expect_err("a mistake goes unnoticed").to_string(), expected);
}

#[test]
fn the_smallest_configuration_has_the_legacy_defaults() {
    let config = parse(&small()).unwrap();
    assert_eq!(config.federation.listen, ["[::]:5269".parse().unwrap()]);
    assert!(config.federation.listen_tls.is_empty());
    let limits = config.policy.limits();
    let figures = (limits.connections_max, limits.connections_per_partner_max, limits.establishment_seconds);
    assert_eq!(figures, (1000, 20, 60));
    assert_eq!((limits.idle_seconds, limits.keep_alive_seconds), (600, 300));
    assert!(limits.stream_management);
    assert!(config.policy.find("partner.example").is_none());
    let legacy = &config.home_configs[0];
    assert_eq!(
        (legacy.backend, legacy.tls, legacy.trust),
        (BackendKind::Xmpp, Negotiation::Optional, TrustId(0))
    );
    let pool = &config.home_configs[1];
    assert_eq!(pool.tls, Negotiation::Required);
    assert_eq!(pool.trusted_names, ["pool2019.contoso.com"]);
    assert_eq!(config.trusts()[usize::from(pool.trust.0)].files, [Path::new("/base/ca.pem")]);
    assert_eq!(config.admin.listen, "127.0.0.1:9280".parse().unwrap());
    assert!(config.shards() >= 1);
    assert_eq!(config.identity_of(&config.domains[0]).unwrap().key, Path::new("/base/c.key"));
}

#[test]
fn the_whole_example_is_understood() {
    let text = r#"
        domains = ["contoso.com"]
        [federation]
        listen = ["[::]:5269"]
        listen_tls = ["[::]:5270"]
        certificate = "contoso.pem"
        key = "contoso.key"
        ca_file = "extra-roots.pem"
        crl_file = "revoked.pem"
        unlisted_partners = "allow"
        [[partner]]
        domain = "partner.example"
        additional_domains = ["chat.partner.example"]
        type = "federated"
        proxy = "xmpp.partner.example"
        ca_file = "partner-ca.pem"
        connections_max = 5
        [home.legacy]
        backend = "xmpp"
        connect = ["edge2015.contoso.com:5269"]
        listen = "10.0.0.5:5269"
        tls = "none"
        registrar_pools = ["lync2013.contoso.com", "sfb2015.contoso.com"]
        [home.other]
        backend = "sip"
        dialect = "simple"
        transport = "tcp"
        name = "Turnout.contoso.com"
        connect = ["10.0.0.9:5060"]
        listen = "10.0.0.5:5060"
        registrar_pools = ["other.contoso.com"]
        [directory]
        file = "users.csv"
        branch_pools = ["sba.contoso.com"]
        [dns]
        servers = ["10.0.0.2", "[::1]:5353"]
        [engine]
        shards = 3
    "#;
    let config = parse(text).unwrap();
    let partner = config.policy.find("chat.partner.example").unwrap();
    assert_eq!((partner.kind, partner.connections_max), (PartnerType::Federated, 5));
    assert_eq!(partner.proxy.unwrap().to_string(), "xmpp.partner.example:5269");
    assert_eq!(partner.trust, Some(TrustId(1)));
    assert_eq!(config.trusts()[0].files, [Path::new("/base/extra-roots.pem")]);
    assert_eq!(config.federation.connections_per_address_max, 62);
    assert_eq!(config.federation.crl_file.as_deref(), Some(Path::new("/base/revoked.pem")));
    assert!(config.policy.find("somebody.example").is_some());
    assert_eq!(config.dns_servers, ["10.0.0.2:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    let world = config.world(7, config.dialback_secret([9; 32]).unwrap()).unwrap();
    assert_eq!((world.generation, world.shards), (7, 3));
    assert_eq!(*world.dialback_secret, [9; 32]);
    let other = &world.sip[&HomeId(1)];
    assert_eq!((&*other.our_name, other.our_port, other.tls), ("turnout.contoso.com", 5060, false));
    assert_eq!(world.inside[&HomeId(0)].tls, Negotiation::NotSupported);
}

#[test]
fn the_default_file_documents_every_key() {
    let file = Path::new("turnout.toml");
    let book = Book::new(EMBEDDED, file, file);
    let document = DeTable::parse(EMBEDDED).unwrap();
    assert!(read_config(&Table::root(&book, document.get_ref()), file).is_some());
    for path in book.known() {
        let key = path.rsplit('.').next().unwrap();
        let documented = EMBEDDED.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{key} = "))
                || line.contains(&format!("[{key}"))
                || line.contains(&format!("{key}]"))
        });
        assert!(documented, "{path} is not in config/turnout.toml");
    }
    Config::parse(EMBEDDED, file, file).unwrap();
}

#[test]
fn commented_defaults_are_the_defaults() {
    let config = Config::parse(EMBEDDED, Path::new("t"), Path::new("t")).unwrap();
    let bare = parse(&small()).unwrap();
    assert_eq!(config.policy.limits(), bare.policy.limits());
    assert_eq!(config.federation.stanza_bytes_max, bare.federation.stanza_bytes_max);
    assert_eq!(config.engine.hold_millis, bare.engine.hold_millis);
    assert_eq!(config.engine.drain_seconds, bare.engine.drain_seconds);
    assert_eq!(config.directory.shrink_percent_max, bare.directory.shrink_percent_max);
    assert_eq!((&config.presence, &config.store), (&bare.presence, &None));
    assert_eq!(bare.presence, PresenceRules::default());
    assert_eq!(config.home_configs[1].idle_seconds, bare.home_configs[1].idle_seconds);
    assert_eq!((config.flow, bare.flow), (FlowLimits::default(), FlowLimits::default()));
    assert_eq!(config.home_configs[1].message_bytes_max, bare.home_configs[1].message_bytes_max);
}

#[test]
fn single_mistakes_are_told_with_place_and_cure() {
    check_only(
        &small().replace("backend = \"xmpp\"", "backend = \"xmpp\"\ntls = \"maybe\""),
        "t.toml:7: home.legacy.tls: \"maybe\" is not one of: required, optional, none",
    );
    check_only(
        &small().replace("certificate = \"c.pem\"", "certifcate = \"c.pem\""),
        "t.toml:2: federation.certificate: missing; give the certificate that belongs to `key`\n\
         t.toml:3: federation.certifcate: unknown key; did you mean `certificate`?",
    );
    check_only(
        &small().replace("listen = \"10.0.0.5:5061\"", "listen = 5061"),
        "t.toml:13: home.sfb2019.listen: is a whole number; write a text in quotes",
    );
}

#[test]
fn values_that_cannot_be_used() {
    let with = |extra: &str| [HEAD, FEDERATION, extra, "\n", LEGACY, POOL, DIRECTORY].concat();
    check("domains = [\"contoso.com\"", &["t.toml:1", "TOML"]);
    check("x = ", &["t.toml:1"]);
    check(&small().replace("[\"contoso.com\"]", "[]"), &["t.toml:1: domains: is empty", "at least one"]);
    check(&small().replace("[\"contoso.com\"]", "\"contoso.com\""), &["domains", "is a text", "list"]);
    check(
        &small().replace("[\"contoso.com\"]", "[\"contoso.com\", \"CONTOSO.com\"]"),
        &["domains[1]", "twice"],
    );
    check(&small().replace("[\"contoso.com\"]", "[\"con toso\"]"), &["t.toml:1: domains[0]", "con toso"]);
    check(&small().replace("domains", "# domains"), &["domains: missing", "list the local"]);
    check(
        &with("connections_max = 0"),
        &["t.toml:5: federation.connections_max", "0 is out of bounds", "from 1 to"],
    );
    check(&with("connections_max = -3"), &["-3 is out of bounds"]);
    check(
        &with("connections_max = 10"),
        &["connections_per_partner_max", "20 is more than connections_max = 10"],
    );
    check(&with("keep_alive_seconds = 600"), &["keep_alive_seconds", "600 is not below idle_seconds = 600"]);
    check(&with("stanza_bytes_max = 9999"), &["stanza_bytes_max", "from 10000 to 1048576"]);
    check(&with("listen = [\"5269\"]"), &["federation.listen[0]", "IP address and a port"]);
    check(&with("unlisted_partners = \"perhaps\""), &["unlisted_partners", "refuse, allow"]);
    check(&with("enforce_introductions = \"yes\""), &["enforce_introductions", "is a text", "true or false"]);
    check(
        &with("[[federation.identity]]\ndomain = \"x.example\"\ncertificate = \"x\"\nkey = \"y\""),
        &["federation.identity[0].domain", "not one of `domains`"],
    );
    check(&with("[engine]\nshards = 1000"), &["engine.shards", "from 0 to 256"]);
    check(&with("reconnect_seconds = 61"), &["reconnect_seconds", "from 0 to 60"]);
    check(&with("[engine]\nhold_millis = 5001"), &["engine.hold_millis", "from 0 to 5000"]);
    check(&with("[engine]\ndriver = \"epoll\""), &["engine.driver", "\"epoll\"", "auto, io_uring, poll"]);
    check(&with("[engine]\nlog_users = \"hashed\""), &["log_users", "plain, redacted"]);
    check(&with("[engine]\nlog_message_bodies = 1"), &["log_message_bodies"]);
    check(&with("[spool]\nmode = \"disk\""), &["spool.mode", "\"disk\"", "memory, durable"]);
    check(&with("[spool]\nbytes_max = 1000"), &["spool.bytes_max", "from 67108864"]);
    flow_that_cannot_be(&|extra: &str| with(&format!("[flow]\n{extra}")));
    presence_that_cannot_be(&|extra: &str| with(&format!("[presence]\n{extra}")));
    check(&with("[dns]\nservers = [\"ns.contoso.com\"]"), &["dns.servers[0]", "10.0.0.2:53"]);
    check(&with("[admin]\nlisten = \"localhost\""), &["admin.listen", "IP address"]);
    check(&with("[surprise]\nx = 1"), &["surprise: unknown key", "allowed here: admin, directory"]);
}

fn flow_that_cannot_be(with: &dyn Fn(&str) -> String) {
    check(&with("share_bytes_max = 262143"), &["flow.share_bytes_max", "from 262144 to 16777216"]);
    check(&with("share_bytes_max = 16777217"), &["flow.share_bytes_max", "from 262144 to 16777216"]);
    check(&with("partner_per_second = 1000001"), &["flow.partner_per_second", "from 0 to 1000000"]);
    check(&with("sender_burst = 0"), &["flow.sender_burst", "from 1 to 10000000"]);
    check(
        &with("sender_per_second = 100\nsender_burst = 9"),
        &["flow.sender_burst", "9 is less than a tenth"],
    );
}

/// Every key of `[limits]`, with its floor and its ceiling.
const ROOM: [(&str, u64, u64); 12] = [
    ("waiting_stanzas_max", 8192, 4_194_304),
    ("waiting_bytes_max", 16 << 20, 1 << 30),
    ("waiting_bytes_total_max", 64 << 20, 16 << 30),
    ("destinations_max", 1024, 1 << 20),
    ("contacts_max", 10_000, 64_000_000),
    ("contacts_per_user_max", 2000, 100_000),
    ("home_connections_max", 16, 65_536),
    ("verify_streams_max", 16, 8192),
    ("sip_transactions_max", 4096, 4_194_304),
    ("sip_sessions_max", 1024, 4_194_304),
    ("sip_messages_max", 4096, 4_194_304),
    ("sip_subscriptions_max", 1024, 4_194_304),
];

#[test]
fn limits_lie_between_their_floor_and_their_ceiling() {
    let with = |extra: &str| format!("{}\n[limits]\n{extra}", small());
    for (key, floor, ceiling) in ROOM {
        let bounds = format!("from {floor} to {ceiling}");
        for beyond in [floor - 1, ceiling + 1] {
            let key = format!("limits.{key}");
            check(&with(&format!("{} = {beyond}", &key[7..])), &[&key, &bounds]);
        }
    }
    let all = |pick: fn(&(&str, u64, u64)) -> u64| -> String {
        ROOM.iter().map(|row| format!("{} = {}\n", row.0, pick(row))).collect()
    };
    let (low, high) = (parse(&with(&all(|row| row.1))).unwrap(), parse(&with(&all(|row| row.2))).unwrap());
    let (low, high) = (low.flow.room, high.flow.room);
    assert_eq!((low.spool_stanzas, low.spool_bytes, low.shard_spool_bytes), (8192, 16 << 20, 64 << 20));
    assert_eq!((low.destinations, low.contacts, low.contacts_per_user), (1024, 10_000, 2000));
    assert_eq!((low.home_connections, low.verify_streams, low.verify_streams_unlisted), (16, 16, 8));
    assert_eq!((low.sip_transactions, low.sip_sessions, low.sip_kept), (4096, 1024, 4096));
    assert_eq!((low.sip_watches, low.sip_subscriptions), (1024, 1024));
    assert_eq!((high.spool_bytes, high.contacts, high.verify_streams_unlisted), (1 << 30, 64_000_000, 4096));
}

#[test]
fn limits_have_to_fit_each_other() {
    let with = |flow: &str, extra: &str| format!("{}\n[flow]\n{flow}\n[limits]\n{extra}", small());
    check(
        &with("share_bytes_max = 16777216", "waiting_bytes_max = 67108863"),
        &["limits.waiting_bytes_max", "four shares", "give 67108864 or more"],
    );
    parse(&with("share_bytes_max = 16777216", "waiting_bytes_max = 67108864")).unwrap();
    let total = "waiting_bytes_max = 100000000\nwaiting_bytes_total_max = 99999999";
    check(&with("", total), &["limits.waiting_bytes_total_max", "give 100000000 or more"]);
    check(
        &with("", "contacts_max = 10000\ncontacts_per_user_max = 10001"),
        &["limits.contacts_max", "give 10001 or more"],
    );
}

fn presence_that_cannot_be(with: &dyn Fn(&str) -> String) {
    check(&with("check_seconds = 4"), &["presence.check_seconds", "from 5 to 86400"]);
    check(&with("subscription_seconds = 59"), &["presence.subscription_seconds", "from 60 to 604800"]);
    check(&with("lease_seconds = 59"), &["presence.lease_seconds", "from 60 to 604800"]);
    check(&with("stale_seconds = 0"), &["presence.stale_seconds", "from 1 to 3600"]);
    check(&with("requests_per_second = 0"), &["presence.requests_per_second", "from 1 to 100000"]);
    check(&with("store = \"\""), &["presence.store", "is empty"]);
    check(&with("sotre = \"x\""), &["presence.sotre: unknown key", "did you mean `store`?"]);
    check(&with("rich = 1"), &["presence.rich", "true or false"]);
    let word = |line: &str| with(&format!("[presence.activities]\n{line}"));
    check(&word("lunch = \"busy\""), &["t.toml:7: presence.activities.lunch", "away, xa, dnd, chat, none"]);
    check(&word("lunch = true"), &["presence.activities.lunch", "write a text"]);
    check(&word("Lunch = \"away\""), &["presence.activities.Lunch", "cannot be the name", "RFC 4480"]);
    let many: String = (0..300).map(|n| format!("a{n} = \"dnd\"\n")).collect();
    check(&word(&many), &["presence.activities", "321 activities"]);
}

#[test]
fn presence_is_what_the_shards_see() {
    let text = "[presence]\nstore = \"state/contacts.redb\"\ncheck_seconds = 30\nsubscription_seconds = 3600\nlease_seconds = 90\n\
                stale_seconds = 9\nrequests_per_second = 7\nrich = true\n\
                [presence.activities]\nworking = \"dnd\"\nmeal = \"chat\"\nshopping = \"none\"\n";
    let config = parse(&[&small(), text].concat()).unwrap();
    assert_eq!(config.store.as_deref(), Some(Path::new("/base/state/contacts.redb")));
    let rules = &config.presence;
    assert!(rules.durable && rules.rich);
    let seconds = [rules.check, rules.subscription, rules.lease, rules.stale].map(|time| time.as_secs());
    assert_eq!((seconds, rules.per_second), ([30, 3600, 90, 9], 7));
    let shows = ["working", "meal", "shopping", "vacation", "unheard-of"].map(|word| rules.show_of(word));
    assert_eq!(shows, [Some(Show::Dnd), Some(Show::Chat), None, Some(Show::Xa), None]);
    assert_eq!(rules.activities.len(), PresenceRules::default().activities.len());
}

#[test]
fn partners_that_cannot_be() {
    let with =
        |extra: &str| [HEAD, FEDERATION, "[[partner]]\n", extra, "\n", LEGACY, POOL, DIRECTORY].concat();
    check(&with("type = \"federated\""), &["partner[0].domain: missing"]);
    check(
        &with("domain = \"p.example\"\ntls = \"none\"\ndialback = false"),
        &["p.example", "no way to authenticate"],
    );
    check(&with("domain = \"contoso.com\""), &["partner[0].domain", "is a local domain"]);
    check(&with("domain = \"p.example\"\nadditional_domains = [\"p.example\"]"), &["p.example", "again"]);
    check(&with("domain = \"p.example\"\nproxy = \"host:0\""), &["partner[0].proxy", "host.example:5269"]);
    check(&with("domain = \"p.example\"\npins = [\"abc\"]"), &["partner[0].pins[0]", "64 hexadecimal"]);
    check(
        &with("domain = \"p.example\"\nproxy = \"127.0.0.1:5269\""),
        &["partner[0].proxy", "our own listener"],
    );
    check(
        &with("domain = \"p.example\"\nproxy = \"edge.contoso.com:5269\""),
        &["partner[0].proxy", "home.legacy"],
    );
    let defaults = "[partner_defaults]\ntls = \"none\"\ndialback = false\n";
    check(&[HEAD, FEDERATION, defaults, LEGACY, POOL, DIRECTORY].concat(), &["partner_defaults", "no way"]);
}

#[test]
fn homes_that_cannot_be() {
    check(&[HEAD, FEDERATION, DIRECTORY].concat(), &["home: missing", "[home.NAME]"]);
    check(&small().replace("[home.legacy]", "[home.\"a b\"]"), &["cannot be the name"]);
    check(&small().replace("backend = \"xmpp\"\n", ""), &["home.legacy.backend: missing"]);
    check(
        &small().replace("backend = \"xmpp\"", "backend = \"smtp\""),
        &["home.legacy.backend", "xmpp, sip"],
    );
    check(&small().replace("[\"edge.contoso.com:5269\"]", "[]"), &["home.legacy.connect: missing"]);
    check(
        &small().replace("edge.contoso.com:5269", "10.0.0.5:5269"),
        &["home.legacy.connect[0]", "our own listener"],
    );
    check(&small().replace("edge.contoso.com:5269", "127.0.0.1:9280"), &["connect[0]", "admin.listen"]);
    check(
        &small().replace("10.0.0.5:5061", "10.0.0.5:5269"),
        &["home.sfb2019.listen", "home.legacy.listen already"],
    );
    check(
        &small().replace("pool2019.contoso.com\"]", "SFB2015.contoso.com\"]"),
        &["registrar_pools[0]", "home.legacy"],
    );
    check(
        &small().replace("pool2019.contoso.com:5061", "10.1.1.1:5061"),
        &["trusted_names: missing", "names"],
    );
    check(
        &small().replace("backend = \"sip\"", "backend = \"sip\"\ntrusted_names = [\"*.contoso.com\"]"),
        &["wildcard"],
    );
    check(
        &small().replace("certificate = \"t.pem\"\nkey = \"t.key\"\n", ""),
        &["home.sfb2019.certificate: missing"],
    );
    check(
        &small().replace("backend = \"sip\"", "backend = \"sip\"\ntransport = \"udp\""),
        &["transport", "tls, tcp"],
    );
    check(
        &small().replace("backend = \"xmpp\"", "backend = \"xmpp\"\ndialect = \"skype\""),
        &["dialect: unknown key"],
    );
    let twice =
        LEGACY.replace("home.legacy", "home.second").replace("10.0.0.5", "10.0.0.6").replace("sfb2015", "b");
    check(&[&small(), &*twice].concat(), &["home.second.connect[0]", "node of home.legacy already"]);
    check(
        &small().replace("file = ", "branch_pools = [\"sfb2015.contoso.com\"]\nfile = "),
        &["branch_pools", "legacy"],
    );
}

#[test]
fn many_mistakes_are_told_at_once() {
    let text =
        "domains = 1\n[federation]\nlisten = 2\n[home.a]\nbackend = 3\n[directory]\nsource = 4\nx = 5\n";
    let errors = parse(text).unwrap_err();
    assert!(errors.0.len() >= 8, "{errors}");
    let lines: Vec<_> = errors.0.iter().filter_map(|mistake| mistake.line).collect();
    assert!(lines.is_sorted(), "{errors}");
}

#[test]
fn a_missing_file_is_told_with_its_key() {
    let directory = std::env::temp_dir().join(format!("turnout-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("turnout.toml");
    std::fs::write(&path, small()).unwrap();
    let errors = Config::load(&path).unwrap_err().to_string();
    assert_eq!(errors.lines().count(), 6, "{errors}");
    assert!(errors.contains("turnout.toml:3: federation.certificate: cannot read"), "{errors}");
    std::fs::write(&path, b"domains = [\"\xff\"]").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("is not UTF-8 (line 1)"));
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("cannot be read"));
}

proptest::proptest! {
    /// Any damage to a file gives mistakes with a place, or a usable configuration; never a panic.
    #[test]
    fn damaged_files_are_told_or_read(at in 0_usize..20_000, with in "[a-z\"\\[\\]=#\n.0-9-]{0,4}", cut in 0_usize..8) {
        let mut text = EMBEDDED.to_owned();
        let from = text.floor_char_boundary(at % text.len());
        let until = text.floor_char_boundary((from + cut).min(text.len()));
        text.replace_range(from.min(until)..until, &with);
        if let Err(errors) = parse(&text) {
            proptest::prop_assert!(!errors.0.is_empty());
            proptest::prop_assert!(errors.0.iter().all(|mistake| !mistake.what.is_empty()));
        }
    }
}

#[test]
fn an_admin_listener_that_others_can_reach_has_tokens() {
    use turnout_core::trace::TraceMode;
    let with = |admin: &str| format!("{}[admin]\n{admin}", small());
    let config = parse(&small()).unwrap();
    assert_eq!((config.admin.trace, config.admin.metrics_without_token), (TraceMode::Failures, false));
    for open in ["10.0.0.5:9280", "0.0.0.0:9280", "[::]:9280"] {
        check(&with(&format!("listen = \"{open}\"\n")), &["admin.listen", "no tokens", "tokens_file"]);
        assert!(parse(&with(&format!("listen = \"{open}\"\ntokens_file = \"tokens\"\n"))).is_ok(), "{open}");
    }
    assert!(parse(&with("listen = \"[::1]:9280\"\n")).is_ok());
    let all = "tokens_file = \"t\"\nnames = [\"T1.Contoso.com\"]\ncertificate = \"a.pem\"\nkey = \"a.key\"\ntrace = \"all\"\n";
    let config = parse(&with(all)).unwrap();
    assert_eq!((config.admin.names, config.admin.trace), (vec!["t1.contoso.com".to_owned()], TraceMode::All));
    check(&with("trace = \"some\"\n"), &["admin.trace", "off, failures, all"]);
    check(&with("names = [\"a.example:9280\"]\n"), &["admin.names[0]", "no host name"]);
    check(&with("certificate = \"a.pem\"\n"), &["admin.key", "missing"]);
}
