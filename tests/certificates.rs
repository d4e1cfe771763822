//! Whose word a certificate is: every certificate of the table is really made and signed, read as a handshake reads it, and shown to the
//! XMPP side in both roles. Inbound it is believed if SASL EXTERNAL succeeds, outbound if we go on to speak.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test code, shared with others"
)]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, TrustAnchor};
use turnout::tls::{TrustTable, facts::facts};
use turnout_core::io::{PeerCertificate, Side, TrustId};
use turnout_core::policy::Negotiation::{NotSupported as No, Required as Req};
use turnout_core::policy::Partner;
use webpki::OwnedCertRevocationList;

use net::{partner, world};
use raw::{Raw, answering, header};

#[path = "../backends/xmpp/tests/streams/net.rs"]
mod net;
#[path = "../backends/xmpp/tests/streams/raw.rs"]
mod raw;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// Within 2027.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn authority_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    CertifiedIssuer::self_signed(authority_params(name, change), KeyPair::generate().unwrap()).unwrap()
}

fn intermediate(by: &Issuer, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    CertifiedIssuer::signed_by(authority_params(name, change), KeyPair::generate().unwrap(), by).unwrap()
}

fn anchor(of: &Issuer) -> TrustAnchor<'static> {
    webpki::anchor_from_trusted_cert(of.der()).unwrap().to_owned()
}

/// A certificate with these names in their encoding.
fn leaf(
    by: &Issuer,
    names: &[Vec<u8>],
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    if !names.is_empty() {
        let extension = der(0x30, &names.concat());
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], extension));
    }
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), by).unwrap().der().clone()
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut made = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => made.push(short),
        _ => made.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()]),
    }
    made.extend(content);
    made
}

fn dns(name: &str) -> Vec<u8> {
    der(0x82, name.as_bytes())
}

/// otherName 1.3.6.1.5.5.7.8.`last`: 5 is xmppAddr, 7 is SRVName.
fn other(last: u8, tag: u8, text: &[u8]) -> Vec<u8> {
    let oid = der(0x06, &[0x2b, 6, 1, 5, 5, 7, 8, last]);
    der(0xa0, &[oid, der(0xa0, &der(tag, text))].concat())
}

fn xmpp(name: &str) -> Vec<u8> {
    other(5, 0x0c, name.as_bytes())
}

fn srv(name: &str) -> Vec<u8> {
    other(7, 0x16, name.as_bytes())
}

/// Whether a peer with this certificate is believed to be the domain, and by both roles alike.
#[track_caller]
fn believed(shown: &PeerCertificate, policy: &Partner) -> bool {
    const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    let theirs = policy.domain.as_str().to_owned();
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], vec![policy.clone()], No));
    let link = raw.accept_by(true);
    raw.secure(link, Some(shown.clone()));
    raw.tell(link, &header(&theirs, "contoso.com"));
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    let inbound = raw.tell(link, auth).contains("<success");
    assert_eq!(raw.is_closed(link), !inbound, "believed, or closed: XC-09");
    let link = raw.dial("contoso.com", &theirs);
    let offer = format!("<stream:features>{STARTTLS}</stream:features>");
    raw.tell(link, &(answering(&theirs, "contoso.com", "1") + &offer));
    raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.said(link);
    raw.secure(link, Some(shown.clone()));
    let outbound = raw.said(link).contains("<stream:stream ");
    assert_eq!(inbound, outbound, "{shown:?}");
    inbound
}

fn required(domain: &str) -> Partner {
    partner(domain, Req, Req, false)
}

#[track_caller]
fn check_names(domain: &str, names: &[Vec<u8>], expected: bool) {
    let ca = root("ca", |_| ());
    let chain = [leaf(&ca, names, |_| ())];
    let shown = facts(&chain, &TrustTable::new(vec![vec![anchor(&ca)]]), now());
    assert_eq!(shown.trusted, [TrustId(0)], "only names are in question: {:?}", shown.untrusted_because);
    assert_eq!(believed(&shown, &required(domain)), expected, "{domain}: {shown:?}");
}

#[test]
fn xc01_three_kinds_of_names_count() {
    check_names("victim.test", &[dns("victim.test")], true);
    check_names("victim.test", &[srv("_xmpp-server.victim.test")], true);
    check_names("victim.test", &[xmpp("victim.test")], true);
    check_names("victim.test", &[dns("other.test"), dns("third.test"), xmpp("victim.test")], true);
    check_names("victim.test", &[dns("other.test")], false);
    check_names("victim.test", &[], false);
}

#[test]
fn xc02_wildcards_stand_for_one_label() {
    check_names("chat.victim.test", &[dns("*.victim.test")], true);
    check_names("victim.test", &[dns("*.victim.test")], false);
    check_names("a.chat.victim.test", &[dns("*.victim.test")], false);
    check_names("victim.test", &[dns("*.test")], false);
    check_names("victim.test", &[dns("*")], false);
    check_names("chat.victim.test", &[dns("chat.*.test")], false);
    check_names("chat.victim.test", &[dns("c*.victim.test")], false);
    check_names("chat.victim.test", &[dns("*.*.test")], false);
    check_names("chat.victim.test", &[srv("_xmpp-server.*.victim.test")], false);
    check_names("chat.victim.test", &[xmpp("*.victim.test")], false);
}

/// A subject that reads like a name, in each attribute that people put names in.
#[track_caller]
fn check_subject(kind: DnType, text: &str) {
    let ca = root("ca", |_| ());
    for names in [vec![], vec![dns("evil.test")]] {
        let subject = |params: &mut CertificateParams| params.distinguished_name.push(kind.clone(), text);
        let chain = [leaf(&ca, &names, subject)];
        let shown = facts(&chain, &TrustTable::new(vec![vec![anchor(&ca)]]), now());
        assert_eq!(shown.trusted, [TrustId(0)]);
        assert!(!believed(&shown, &required("victim.test")), "{shown:?}");
    }
}

#[test]
fn xc03_the_subject_names_nobody() {
    check_subject(DnType::CommonName, "victim.test");
    check_subject(DnType::CommonName, "*.victim.test");
    check_subject(DnType::OrganizationalUnitName, "CN=victim.test");
    check_subject(DnType::OrganizationName, "x, CN=victim.test");
    check_subject(DnType::OrganizationName, "x/CN=victim.test");
    check_subject(DnType::CommonName, "evil.test, CN=victim.test");
    check_subject(DnType::CommonName, "evil.test\nCN=victim.test");
}

#[test]
fn xc04_international_names_are_compared_as_a_labels() {
    check_names("bücher.example", &[dns("xn--bcher-kva.example")], true);
    check_names("bücher.example", &[dns("XN--BCHER-KVA.example")], true);
    check_names("bücher.example", &[srv("_xmpp-server.xn--bcher-kva.example")], true);
    check_names("bücher.example", &[xmpp("bücher.example")], true);
    check_names("bücher.example", &[xmpp("BÜCHER.example")], true);
    check_names("bücher.example", &[dns("bucher.example")], false);
    check_names("bucher.example", &[dns("xn--bcher-kva.example")], false);
    check_names("bücher.example", &[xmpp("xn--bcher-kva\u{301}.example")], false);
}

#[test]
fn xc05_names_that_resemble_do_not_match() {
    for names in [
        vec![dns("victim.test\0.evil.test")],
        vec![dns("victim.test\0")],
        vec![dns("victim.test.evil.test")],
        vec![dns("evilvictim.test")],
        vec![dns("evil.test,victim.test")],
        vec![dns("evil.test,CN=victim.test")],
        vec![dns("CN=victim.test")],
        vec![dns(" victim.test")],
        vec![dns("victim.test/")],
        vec![dns(".victim.test")],
        vec![dns("user@victim.test")],
        vec![other(5, 0x16, b"victim.test")],
        vec![other(5, 0x1e, b"\0v\0i\0c\0t\0i\0m\0.\0t\0e\0s\0t")],
        vec![other(5, 0x13, b"victim.test")],
        vec![other(5, 0x0c, b"victim.test\0")],
        vec![xmpp("user@victim.test")],
        vec![xmpp("victim.test/resource")],
        vec![other(7, 0x0c, b"_xmpp-server.victim.test")],
        vec![srv("victim.test")],
        vec![srv("_xmpp-client.victim.test")],
        vec![srv("_xmpp-server._tcp.victim.test")],
        vec![srv("_xmpp-server.victim.test.evil.test")],
        vec![other(8, 0x0c, b"victim.test")],
        vec![der(0x87, &[127, 0, 0, 1])],
        vec![der(0x86, b"xmpp:victim.test")],
        vec![der(0x81, b"user@victim.test")],
    ] {
        let ca = root("ca", |_| ());
        let chain = [leaf(&ca, &names, |_| ())];
        let shown = facts(&chain, &TrustTable::new(vec![vec![anchor(&ca)]]), now());
        // What webpki cannot read at all is not trusted either; what it can is trusted and names somebody else.
        assert!(!believed(&shown, &required("victim.test")), "{names:?}: {shown:?}");
    }
}

/// A chain of a root, so many intermediates and a leaf, each made special by its change.
struct Chain {
    root: Issuer,
    chain: Vec<CertificateDer<'static>>,
}

type Change = fn(&mut CertificateParams);

fn chain(of_root: Change, of_middle: &[Change], of_leaf: Change) -> Chain {
    let root = root("root", of_root);
    let mut issuers: Vec<Issuer> = Vec::new();
    for (at, change) in of_middle.iter().enumerate() {
        let name = format!("intermediate {at}");
        let made = intermediate(issuers.last().unwrap_or(&root), &name, change);
        issuers.push(made);
    }
    let mut chain = vec![leaf(issuers.last().unwrap_or(&root), &[dns("victim.test")], of_leaf)];
    chain.extend(issuers.iter().rev().map(|issuer| issuer.der().clone()));
    Chain { root, chain }
}

#[track_caller]
fn check_chain(of_root: Change, of_middle: &[Change], of_leaf: Change, refused_because: Option<&str>) {
    let Chain { root, chain } = chain(of_root, of_middle, of_leaf);
    let shown = facts(&chain, &TrustTable::new(vec![vec![anchor(&root)]]), now());
    assert_eq!(believed(&shown, &required("victim.test")), refused_because.is_none(), "{shown:?}");
    if let Some(part) = refused_because {
        let why = shown.untrusted_because.unwrap();
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn xc06_purpose_time_and_constraints_are_enforced() {
    let plain: Change = |_| ();
    let middle: &[Change] = &[plain];
    check_chain(plain, &[], plain, None);
    check_chain(plain, middle, plain, None);
    check_chain(plain, &[plain, plain, plain], plain, None);
    check_chain(
        plain,
        middle,
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        None,
    );
    let client: Change = |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    check_chain(plain, middle, client, Some("purpose"));
    check_chain(plain, &[client], plain, Some("purpose"));
    check_chain(plain, middle, |leaf| leaf.not_after = date_time_ymd(2026, 1, 1), Some("expired"));
    check_chain(plain, middle, |leaf| leaf.not_before = date_time_ymd(2028, 1, 1), Some("not valid yet"));
    check_chain(plain, &[|middle| middle.not_after = date_time_ymd(2026, 1, 1)], plain, Some("expired"));
    check_chain(plain, &[|middle| middle.is_ca = IsCa::ExplicitNoCa], plain, Some("no authority"));
    check_chain(plain, &[|middle| middle.is_ca = IsCa::NoCa], plain, Some("no authority"));
    check_chain(
        plain,
        middle,
        |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        Some("authority itself"),
    );
    let shortest: Change = |middle| middle.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    check_chain(plain, &[shortest], plain, None);
    check_chain(plain, &[shortest, plain], plain, Some("longer than"));
    check_chain(plain, &[|middle| middle.name_constraints = subtrees(&["victim.test"], &[])], plain, None);
    check_chain(
        plain,
        &[|middle| middle.name_constraints = subtrees(&["evil.test"], &[])],
        plain,
        Some("may vouch for"),
    );
    check_chain(
        plain,
        &[|middle| middle.name_constraints = subtrees(&[], &["victim.test"])],
        plain,
        Some("may vouch for"),
    );
    check_chain(
        |root| root.name_constraints = subtrees(&["evil.test"], &[]),
        middle,
        plain,
        Some("may vouch for"),
    );
}

#[test]
fn xc06_a_constrained_authority_vouches_for_no_names_beside_its_constraints() {
    // Constraints on dNSNames say nothing of the other kinds; an authority of evil.test must not get to name others by them.
    let evil: Change = |authority| authority.name_constraints = subtrees(&["evil.test"], &[]);
    let check = |of_root: Change, of_middle: Change, names: &[Vec<u8>], domain: &str, expected: bool| {
        let top = root("root", of_root);
        let middle = intermediate(&top, "intermediate", of_middle);
        let chain = [leaf(&middle, names, |_| ()), middle.der().clone()];
        let shown = facts(&chain, &TrustTable::new(vec![vec![anchor(&top)]]), now());
        assert_eq!(shown.trusted, [TrustId(0)], "{:?}", shown.untrusted_because);
        assert_eq!(believed(&shown, &required(domain)), expected, "{shown:?}");
    };
    for other in [xmpp("victim.test"), srv("_xmpp-server.victim.test")] {
        let names = [dns("evil.test"), other];
        check(|_| (), |_| (), &names, "victim.test", true);
        check(|_| (), evil, &names, "victim.test", false);
        check(evil, |_| (), &names, "victim.test", false);
        check(|_| (), evil, &names, "evil.test", true);
    }
}

fn subtrees(permitted: &[&str], excluded: &[&str]) -> Option<NameConstraints> {
    let made = |names: &[&str]| names.iter().map(|&name| GeneralSubtree::DnsName(name.to_owned())).collect();
    Some(NameConstraints { permitted_subtrees: made(permitted), excluded_subtrees: made(excluded) })
}

#[test]
fn xc06_a_chain_that_does_not_hold_is_no_chain() {
    let Chain { root: good, chain } = chain(|_| (), &[|_| ()], |_| ());
    let table = || TrustTable::new(vec![vec![anchor(&good)]]);
    let of =
        |chain: &[CertificateDer<'_>]| believed(&facts(chain, &table(), now()), &required("victim.test"));
    assert!(of(&chain));
    assert!(!of(&chain[..1]), "without its intermediate");
    assert!(!of(&chain[1..]), "the intermediate alone");
    assert!(!of(&[]), "nothing");
    // The names of the authority, and another key: whoever can make certificates can make these.
    let forger = root("root", |_| ());
    let forged_middle = intermediate(&forger, "intermediate 0", |_| ());
    let forged = leaf(&forged_middle, &[dns("victim.test")], |_| ());
    assert!(!of(&[forged.clone(), forged_middle.der().clone()]));
    assert!(
        !of(&[forged.clone(), forged_middle.der().clone(), forger.der().clone()]),
        "its root comes along"
    );
    assert!(!of(&[forged, chain[1].clone()]), "under the true intermediate");
    // Trusted certificates of others beside it add nothing to it.
    let by_itself = leaf(&forger, &[dns("victim.test")], |_| ());
    assert!(!of(&[by_itself, chain[0].clone(), chain[1].clone()]));
    assert!(
        !of(&[leaf(&good, &[dns("evil.test")], |_| ()), chain[0].clone(), chain[1].clone()]),
        "the first is meant"
    );
}

#[test]
fn xc07_partners_have_roots_and_pins_of_their_own() {
    let (common, own) = (root("common", |_| ()), root("own", |_| ()));
    let table = TrustTable::new(vec![vec![anchor(&common)], vec![anchor(&own)]]);
    let shown = |by: &Issuer, name: &str| facts(&[leaf(by, &[dns(name)], |_| ())], &table, now());
    let (usual, private) =
        (required("victim.test"), Partner { trust: Some(TrustId(1)), ..required("victim.test") });
    let cases =
        [(&common, &usual, true), (&own, &usual, false), (&common, &private, false), (&own, &private, true)];
    for (by, policy, expected) in cases {
        assert_eq!(believed(&shown(by, "victim.test"), policy), expected, "{:?}", policy.trust);
    }
    let good = shown(&common, "victim.test");
    let renewed = shown(&common, "victim.test");
    let pinned = Partner { pins: vec![good.spki_sha256], ..required("victim.test") };
    assert!(believed(&good, &pinned));
    assert!(!believed(&renewed, &pinned), "as good as the other, and another key");
    let stranger = facts(&[leaf(&root("x", |_| ()), &[dns("victim.test")], |_| ())], &table, now());
    assert!(believed(&stranger, &Partner { pins: vec![stranger.spki_sha256], ..required("victim.test") }));
}

fn crl(by: &Issuer, serials: &[u64], next: (i32, u8, u8)) -> OwnedCertRevocationList {
    let revoked = |&serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2026, 6, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 6, 2),
        next_update: date_time_ymd(next.0, next.1, next.2),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    OwnedCertRevocationList::from_der(params.signed_by(by).unwrap().der()).unwrap()
}

#[test]
fn xc08_what_an_authority_took_back_is_not_believed() {
    const LEAF: u64 = 42;
    const MIDDLE: u64 = 7;
    let top = root("root", |_| ());
    let middle =
        intermediate(&top, "intermediate", |params| params.serial_number = Some(SerialNumber::from(MIDDLE)));
    let end =
        leaf(&middle, &[dns("victim.test")], |params| params.serial_number = Some(SerialNumber::from(LEAF)));
    let chain = [end, middle.der().clone()];
    let (soon, past) = ((2030, 1, 1), (2026, 7, 1));
    let elsewhere = root("elsewhere", |_| ());
    let forger = intermediate(&elsewhere, "intermediate", |_| ());
    let check = |crls: Vec<OwnedCertRevocationList>, expected: bool| {
        let table = TrustTable::new(vec![vec![anchor(&top)]]).with_crls(crls);
        let shown = facts(&chain, &table, now());
        assert_eq!(believed(&shown, &required("victim.test")), expected, "{shown:?}");
        shown.untrusted_because
    };
    check(vec![], true);
    check(vec![crl(&middle, &[], soon)], true);
    check(vec![crl(&middle, &[41, 43], soon), crl(&top, &[LEAF], soon)], true);
    check(vec![crl(&elsewhere, &[LEAF, MIDDLE], soon)], true);
    let why = check(vec![crl(&middle, &[41, LEAF], soon)], false);
    assert!(why.unwrap().contains("revoked"));
    check(vec![crl(&elsewhere, &[], soon), crl(&top, &[MIDDLE], soon)], false);
    check(vec![crl(&middle, &[LEAF], past)], false);
    // A list that somebody else signed in the authority's name does not clear a certificate; it is not believed at all.
    check(vec![crl(&forger, &[], soon)], false);
}
