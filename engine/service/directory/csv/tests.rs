use std::collections::BTreeMap;

use turnout_core::directory::User;
use turnout_core::home::{BackendKind, Dialect, Home, HomeId, Residence};

use super::*;
use crate::directory::address;

const LEGACY: Residence = Residence::Home(HomeId(0));
const SFB2019: Residence = Residence::Home(HomeId(1));

fn homes() -> Homes {
    let home = |name: &str, pool: &str| Home {
        name: name.into(),
        backend: BackendKind::Xmpp,
        dialect: Dialect::Skype,
        registrar_pools: vec![pool.into()],
        connect: vec![],
    };
    let homes = vec![home("legacy", "lync2013.contoso.com"), home("sfb2019", "pool2019.contoso.com")];
    Homes::new(homes, &["sba.contoso.com".into()]).unwrap()
}

fn load_with(file: &[u8], limits: CsvLimits) -> Result<(Snapshot, Report), CsvError> {
    let mut policies = AccessPolicies::new(false);
    policies.set("AllowXmpp", true);
    read(file, &homes(), &policies, limits, &mut |_| ())
}

fn load(file: &[u8]) -> (Snapshot, Report) {
    load_with(file, CsvLimits { skipped_percent_max: 100, ..CsvLimits::default() }).unwrap()
}

/// As Windows writes it, with line ends of the host system turned into its own.
const EXPORT: &str = "#TYPE Selected.Microsoft.Rtc.Management.ADConnect.Schema.OCSADUser\r
\"SipAddress\",\"DisplayName\",\"RegistrarPool\",\"HostingProvider\",\"EnabledForFederation\",\"Enabled\",\"ExternalAccessPolicy\"\r
\"sip:Ann@contoso.com\",\"Ann, \"\"the\"\" First\",\"lync2013.contoso.com\",\"SRV:\",\"True\",\"True\",\"AllowXmpp\"\r
\"SIP:bob@Contoso.com\",\"Bob\",\"Pool2019.contoso.com\",\"SRV:\",\"True\",\"True\",\"Tag:AllowXmpp\"\r
\"sip:tsch\u{fc}ss@contoso.com\",\"T\u{1f600}\",\"pool2019.contoso.com\",\"SRV:\",\"False\",\"True\",\"\"\r
\"sip:carl@contoso.com\",\"Carl\",\"\",\"sipfed.online.lync.com\",\"True\",\"True\",\"AllowXmpp\"\r
\"sip:dora@contoso.com\",\"Dora\",\"\",\"SRV:\",\"True\",\"False\",\"Other\"\r
\"sip:emil@contoso.com\",\"Emil\nand more\",\"sba.contoso.com\",\"SRV:\",\"True\",\"True\",\"AllowXmpp\"\r
\"sip:fred@contoso.com\",\"Fred\",\"Elsewhere.contoso.com\",\"SRV:\",\"True\",\"True\",\"AllowXmpp\"\r
";

fn check_export(file: &[u8]) {
    let (snapshot, report) = load(file);
    let user = |residence, federation_enabled, xmpp_enabled, enabled| {
        Some(User { residence, federation_enabled, xmpp_enabled, enabled, moving: false })
    };
    assert_eq!(snapshot.look_up("ann@contoso.com"), user(LEGACY, true, true, true));
    assert_eq!(snapshot.look_up("bob@contoso.com"), user(SFB2019, true, true, true));
    assert_eq!(snapshot.look_up("tsch\u{fc}ss@contoso.com"), user(SFB2019, false, false, true));
    assert_eq!(snapshot.look_up("carl@contoso.com"), user(Residence::Cloud, true, true, true));
    assert_eq!(snapshot.look_up("dora@contoso.com"), user(Residence::Unassigned, true, false, false));
    assert_eq!(snapshot.look_up("emil@contoso.com"), user(Residence::Branch, true, true, true));
    let fred = snapshot.look_up("fred@contoso.com").map(|user| user.residence);
    let Some(Residence::UnknownPool(pool)) = fred else { panic!("{fred:?}") };
    assert_eq!(snapshot.pool_name(pool), Some("elsewhere.contoso.com"));
    let unknown_pools = BTreeMap::from([("elsewhere.contoso.com".to_owned(), 1)]);
    let expected = Report {
        rows: 7,
        users: 7,
        homes: vec![1, 2],
        cloud: 1,
        unassigned: 1,
        branch: 1,
        unknown_pools,
        ..Report::default()
    };
    assert_eq!(report, expected);
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(unit).collect()
}

#[test]
fn an_export_is_read_in_every_encoding() {
    check_export(EXPORT.as_bytes());
    check_export(format!("\u{feff}{EXPORT}").as_bytes());
    check_export(&utf16(EXPORT, u16::to_le_bytes));
    check_export(&utf16(EXPORT, u16::to_be_bytes));
}

#[test]
fn an_export_is_read_in_every_layout() {
    check_export(EXPORT.replace("\r\n", "\n").as_bytes());
    check_export(EXPORT.trim_end().as_bytes());
    let (_, without_type) = EXPORT.split_once("\r\n").unwrap();
    check_export(without_type.as_bytes());
    check_export(format!("\u{feff}{without_type}").as_bytes());
    check_export(EXPORT.replace("\"RegistrarPool\"", "registrarpool").as_bytes());
    check_export(EXPORT.replace("\"sip:", "\"").as_bytes());
}

/// A source that gives one octet at a time, and one that is interrupted.
#[test]
fn where_the_source_breaks_off_does_not_matter() {
    struct Drip<'a>(&'a [u8], bool);
    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(1);
            out[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    for file in [EXPORT.as_bytes().to_vec(), utf16(EXPORT, u16::to_le_bytes), utf16(EXPORT, u16::to_be_bytes)]
    {
        let (snapshot, report) =
            read(Drip(&file, false), &homes(), &AccessPolicies::default(), CsvLimits::default(), &mut |_| ())
                .unwrap();
        assert_eq!((snapshot.len(), report.users, report.skipped_rows), (7, 7, 0));
    }
}

#[test]
fn two_columns_are_enough() {
    let file = b"registrarpool,sipaddress\nlync2013.contoso.com,sip:ann@contoso.com\n";
    let (snapshot, _) = load(file);
    let expected = User { xmpp_enabled: false, ..User::at(LEGACY) };
    assert_eq!(snapshot.look_up("ann@contoso.com"), Some(expected));
}

#[test]
fn bad_rows_are_skipped_with_line_and_reason() {
    let file = b"#TYPE X\r
SipAddress,RegistrarPool,Enabled\r
sip:ann@contoso.com,lync2013.contoso.com,True\r
,lync2013.contoso.com,True\r
sip:ANN@contoso.com,pool2019.contoso.com,True\r
sip:bob@contoso.com,\"pool2019.contoso.com\r
\",True\r
sip:carl@contoso.com,lync2013.contoso.com,Yes\r
sip:dora@contoso.com,lync2013.contoso.com\r
sip:e\xE9@contoso.com,lync2013.contoso.com,True\r
sip:f%00@contoso.com,lync2013.contoso.com,True\r
\"sip:a\rb@contoso.com\",lync2013.contoso.com,True\r
sip:fred@contoso.com,lync2013.contoso.com,False\r
";
    let (snapshot, report) = load(file);
    assert_eq!((report.rows, report.users, report.skipped_rows), (10, 3, 7));
    assert_eq!(snapshot.look_up("ann@contoso.com").map(|user| user.residence), Some(LEGACY));
    assert_eq!(snapshot.look_up("bob@contoso.com").map(|user| user.residence), Some(SFB2019));
    let expected = [
        (4, "SipAddress \"\": is not of the form sip:user@domain"),
        (5, "SipAddress \"sip:ANN@contoso.com\": the address stands in an earlier row already"),
        (8, "Enabled is \"Yes\", neither True nor False"),
        (9, "the row has 2 fields, the header 3"),
        (10, "SipAddress is not UTF-8; export with"),
        (11, "SipAddress \"sip:f%00@contoso.com\": the local part of the address holds U+0000"),
        (12, "SipAddress \"sip:a\\rb@contoso.com\": has a character"),
    ];
    assert_eq!(report.skipped.len(), expected.len());
    for (skipped, (line, why)) in report.skipped.iter().zip(expected) {
        assert!(
            skipped.place == Place::Line(line) && skipped.why.starts_with(why),
            "{skipped:?}, expected {line} {why}"
        );
    }
}

#[test]
fn too_many_bad_rows_refuse_the_file() {
    let file = |good: usize, bad: usize| {
        let good = (0..good).map(|n| format!("sip:user{n}@contoso.com,p\n"));
        let bad = std::iter::repeat_n("nobody,p\n".to_owned(), bad);
        format!("SipAddress,RegistrarPool\n{}", good.chain(bad).collect::<String>())
    };
    let limits = CsvLimits { skipped_percent_max: 10, skipped_listed_max: 3, users_max: 100 };
    for (good, bad, fits) in [(90, 10, true), (89, 11, false), (0, 1, false), (0, 0, true)] {
        match load_with(file(good, bad).as_bytes(), limits) {
            Ok((_, report)) => {
                assert!(fits, "{good} {bad}");
                assert_eq!(report.skipped.len(), bad.min(3));
            }
            Err(CsvError::TooManySkipped { report, .. }) => {
                assert!(!fits, "{good} {bad}");
                assert_eq!(report.skipped_rows, bad as u64);
            }
            Err(error) => panic!("{error}"),
        }
    }
    let error = load_with(file(101, 0).as_bytes(), limits).unwrap_err().to_string();
    assert_eq!(error, "line 102: there are more users than the 100 allowed");
}

#[test]
fn a_file_that_is_no_export_is_refused_with_the_cure() {
    let check = |file: &[u8], expected: &str| {
        let error = load_with(file, CsvLimits::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let cut = utf16("SipAddress,RegistrarPool\n\u{1f600}", u16::to_le_bytes);
    check(b"", "the file is empty");
    check(b"#TYPE X\r\n", "the file is empty");
    check(b"\xEF\xBB\xBF", "the file is empty");
    check(b"SipAddress,Name\n", "there is no column RegistrarPool; found are \"SipAddress\", \"Name\"");
    check(
        b"SipAddress;RegistrarPool\n",
        "there is no column SipAddress; found are \"SipAddress;RegistrarPool\"",
    );
    check(b"SipAddress,RegistrarPool,SIPADDRESS\n", "the column SipAddress is there twice");
    check(&utf16("SipAddress", u16::to_le_bytes)[2..], "UTF-16 without a byte order mark");
    check(&cut[..cut.len() - 1], "the UTF-16 is broken");
    check(&cut[..cut.len() - 2], "the UTF-16 is broken");
    check(&[&cut[..cut.len() - 2], b"a\0"].concat(), "the UTF-16 is broken");
    check(&[&cut[..cut.len() - 4], &cut[cut.len() - 2..]].concat(), "the UTF-16 is broken");
    let open = format!("SipAddress,RegistrarPool\na@b.example,p\n\"{}", "x,y\n".repeat(1 << 20));
    check(open.as_bytes(), "line 3: the record that begins here is longer than 65536 octets");
    let io = read(Broken, &homes(), &AccessPolicies::default(), CsvLimits::default(), &mut |_| ())
        .unwrap_err()
        .to_string();
    assert_eq!(io, "line 1: cannot be read: the disk is gone");
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

#[test]
fn sip_addresses_become_xmpp_addresses() {
    for (sip, expected) in [
        ("sip:ann@contoso.com", Some("ann@contoso.com")),
        ("SIP:Ann@Contoso.com", Some("Ann@Contoso.com")),
        ("ann@contoso.com", Some("ann@contoso.com")),
        ("sip:f%C3%BC@sip.example", Some("fü@sip.example")),
        ("sip:fü@sip.example", Some("fü@sip.example")),
        ("sip:o'malley@sip.example", Some("o\\27malley@sip.example")),
        ("sip:m&m@xmpp.example", Some("m\\26m@xmpp.example")),
        ("sip:a/b@x", Some("a\\2fb@x")),
        ("sip:alice%40corp.example@pool.example", Some("alice\\40corp.example@pool.example")),
        ("sip:c%3A%5Cnet@x", Some("c\\3a\\net@x")),
        ("sip:c%3a%5c5commas@x", Some("c\\3a\\5c5commas@x")),
        ("sip:a%5C2Fb@x", Some("a\\5c2Fb@x")),
        ("sip:a%20%22%3c%3eb@x", Some("a\\20\\22\\3c\\3eb@x")),
        ("sip:a%5C@x", Some("a\\@x")),
        ("sip:a%5C2\u{fc}@x", Some("a\\2\u{fc}@x")),
        ("sip:a;b=c@x", Some("a;b=c@x")),
        ("sip:%20a@x", None),
        ("sip:a%20@x", None),
        ("sip:a%2@x", None),
        ("sip:a%@x", None),
        ("sip:a%zz@x", None),
        ("sip:a%+1@x", None),
        ("sip:a%FF@x", None),
        ("sip:a b@x", None),
        ("sip:a:b@x", None),
        ("sip:a\\b@x", None),
        ("sip:a@x;transport=tls", None),
        ("sip:a@x?subject=y", None),
        ("sip:a@x/r", None),
        ("sip:contoso.com", None),
        ("tel:+15551234", None),
        ("", None),
    ] {
        let mut jid = "what was there before".to_owned();
        let made = address::jid_text(sip, &mut jid).ok();
        assert_eq!(made.map(|()| jid.as_str()), expected, "{sip}");
    }
}

/// A made file of many users, so that reading it shows whether memory follows the file.
#[test]
fn many_users_are_read() {
    struct Made {
        row: u32,
        waiting: Vec<u8>,
    }
    const USERS: u32 = 50_000;
    impl Read for Made {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.waiting.is_empty() && self.row < USERS {
                let pool = ["lync2013", "pool2019"][(self.row % 2) as usize];
                self.waiting = format!(
                    "\"sip:user.{}@contoso.com\",\"{pool}.contoso.com\",\"{}\"\r\n",
                    self.row,
                    "x".repeat(200)
                )
                .into_bytes();
                self.row += 1;
            }
            let count = self.waiting.len().min(out.len());
            out[..count].copy_from_slice(&self.waiting[..count]);
            self.waiting.drain(..count);
            Ok(count)
        }
    }
    let mut told: Vec<Progress> = Vec::new();
    let made = Made { row: 0, waiting: b"SipAddress,RegistrarPool,Notes\r\n".to_vec() };
    let (snapshot, report) =
        read(made, &homes(), &AccessPolicies::default(), CsvLimits::default(), &mut |at| told.push(at))
            .unwrap();
    assert_eq!((report.users, report.homes), (u64::from(USERS), vec![25_000, 25_000]));
    assert_eq!(snapshot.look_up("user.49999@contoso.com").map(|user| user.residence), Some(SFB2019));
    assert!(snapshot.memory_bytes() < USERS as usize * 64, "{} octets", snapshot.memory_bytes());
    assert_eq!(told.len(), (USERS as usize) / 4096);
    assert!(told.is_sorted_by(|one, next| one.rows < next.rows && one.bytes < next.bytes));
    let last = told.last().copied().unwrap_or_default();
    assert!(last.rows == 49_152 && last.bytes > 49_152 * 230, "{last:?}");
}
