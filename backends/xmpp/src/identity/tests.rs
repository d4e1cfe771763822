//! The table of certificate names (XC-01 to XC-05, B-25).

use std::sync::Arc;

use super::*;

fn list(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|&name| name.into()).collect()
}

fn certificate(dns: &[&str], srv: &[&str], xmpp: &[&str]) -> PeerCertificate {
    PeerCertificate {
        trusted: vec![TrustId::FEDERATION],
        dns: list(dns),
        srv: list(srv),
        xmpp_addresses: list(xmpp),
        spki_sha256: [9; 32],
        ..PeerCertificate::default()
    }
}

#[track_caller]
fn check(dns: &[&str], srv: &[&str], xmpp: &[&str], domain: &str, expected: bool) {
    let domain = Domain::parse(domain).unwrap();
    assert_eq!(
        names(&certificate(dns, srv, xmpp), &domain),
        expected,
        "{dns:?} {srv:?} {xmpp:?} for {domain}"
    );
}

#[test]
fn names_are_whole() {
    check(&["victim.test"], &[], &[], "victim.test", true);
    check(&["VICTIM.test"], &[], &[], "victim.test", true);
    check(&["victim.test.evil.test"], &[], &[], "victim.test", false);
    check(&["evilvictim.test"], &[], &[], "victim.test", false);
    check(&["victim.test\0.evil.test"], &[], &[], "victim.test", false);
    check(&["CN=victim.test"], &[], &[], "victim.test", false);
    check(&["evil.test,victim.test"], &[], &[], "victim.test", false);
    check(&["evil.test", "victim.test"], &[], &[], "victim.test", true);
    check(&[], &[], &[], "victim.test", false);
}

#[test]
fn wildcards_stand_for_one_left_most_label() {
    check(&["*.victim.test"], &[], &[], "chat.victim.test", true);
    check(&["*.victim.test"], &[], &[], "victim.test", false);
    check(&["*.victim.test"], &[], &[], "a.chat.victim.test", false);
    check(&["chat.*.test"], &[], &[], "chat.victim.test", false);
    check(&["c*.victim.test"], &[], &[], "chat.victim.test", false);
    check(&["*.*.test"], &[], &[], "chat.victim.test", false);
    check(&["*.test"], &[], &[], "victim.test", false);
    check(&["*"], &[], &[], "victim.test", false);
    check(&[], &["_xmpp-server.*.victim.test"], &[], "chat.victim.test", false);
    check(&[], &[], &["*.victim.test"], "chat.victim.test", false);
}

#[test]
fn service_names_and_xmpp_addresses() {
    check(&[], &["_xmpp-server.victim.test"], &[], "victim.test", true);
    check(&[], &["_xmpp-client.victim.test"], &[], "victim.test", false);
    check(&[], &["victim.test"], &[], "victim.test", false);
    check(&[], &[], &["victim.test"], "victim.test", true);
    check(&[], &[], &["user@victim.test"], "victim.test", false);
    check(&[], &[], &["victim.test/resource"], "victim.test", false);
}

#[test]
fn international_names_are_compared_as_a_labels() {
    check(&["xn--bcher-kva.example"], &[], &[], "bücher.example", true);
    check(&[], &["_xmpp-server.xn--bcher-kva.example"], &[], "BÜCHER.example", true);
    check(&[], &[], &["bücher.example"], "xn--bcher-kva.example", true);
    check(&[], &[], &["xn--bcher-kva.example"], "bücher.example", true);
    check(&["bucher.example"], &[], &[], "bücher.example", false);
}

#[test]
fn the_common_name_is_no_name_and_trust_is_by_set() {
    let domain = Domain::parse("victim.test").unwrap();
    let mut shown = certificate(&[], &[], &[]);
    shown.common_name = Some("victim.test".into());
    assert!(judge(Some(&shown), &domain, TrustId::FEDERATION, &[]).is_err());
    let named = certificate(&["victim.test"], &[], &[]);
    assert_eq!(judge(Some(&named), &domain, TrustId::FEDERATION, &[]), Ok(Vouched::Trusted));
    assert!(judge(Some(&named), &domain, TrustId(3), &[]).is_err());
    assert!(judge(None, &domain, TrustId::FEDERATION, &[]).is_err());
}

#[test]
fn a_pinned_key_counts_alone() {
    let domain = Domain::parse("victim.test").unwrap();
    let mut shown = certificate(&["other.test"], &[], &[]);
    shown.trusted.clear();
    assert_eq!(judge(Some(&shown), &domain, TrustId::FEDERATION, &[[1; 32], [9; 32]]), Ok(Vouched::Pinned));
    let named = certificate(&["victim.test"], &[], &[]);
    assert!(judge(Some(&named), &domain, TrustId::FEDERATION, &[[1; 32]]).is_err());
}
