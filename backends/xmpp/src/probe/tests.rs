use std::sync::Arc;

use super::*;

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn probe() -> Probe {
    let mut probe = Probe::new(domain("contoso.com"), domain("partner.example"));
    let opening = probe.open();
    let text = std::str::from_utf8(&opening).unwrap();
    assert!(text.contains(" to='partner.example'") && text.contains(" from='contoso.com'"), "{text}");
    probe
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
    xmlns:stream='http://etherx.jabber.org/streams' from='partner.example' to='contoso.com' id='1' version='1.0'>";

fn said(probe: &mut Probe, text: &str) -> Vec<Seen> {
    // Octet by octet: nothing may depend on how the peer's bytes are cut.
    let mut seen = Vec::new();
    for byte in text.bytes() {
        probe.receive(Bytes::copy_from_slice(&[byte])).unwrap();
        seen.extend(std::iter::from_fn(|| probe.next()));
    }
    seen
}

#[test]
fn a_negotiation_is_read() {
    let mut probe = probe();
    let tls = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
    let seen = said(&mut probe, &format!("{HEADER}{tls}"));
    assert_eq!(seen[0], Seen::Header { has_features: true, dialback: true, has_id: true });
    let expected = Features { starttls: true, starttls_required: true, ..Features::default() };
    assert_eq!(seen[1..], [Seen::Features(expected)]);
    assert_eq!(&probe.starttls()[..9], b"<starttls");
    // What follows the consent came before TLS.
    let seen = said(&mut probe, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><evil/>");
    assert_eq!(seen, [Seen::Proceed]);
    probe.open();
    let features = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
        <mechanism>EXTERNAL</mechanism></mechanisms><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
        <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>";
    let seen = said(&mut probe, &format!("{HEADER}{features}"));
    let Seen::Features(found) = &seen[1] else { panic!("{seen:?}") };
    assert!(found.external && found.dialback && found.bidi && !found.starttls);
    assert_eq!(found.mechanisms, ["'PLAIN'", "'EXTERNAL'"]);
    assert!(probe.external().ends_with(b"</auth>"));
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    assert_eq!(said(&mut probe, refused), [Seen::Refused("'not-authorized'".to_owned())]);
    let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    assert_eq!(said(&mut probe, success), [Seen::Accepted]);
    probe.open();
    assert_eq!(said(&mut probe, &format!("{HEADER}</stream:stream>")).pop(), Some(Seen::Closed));
}

#[test]
fn errors_and_old_peers() {
    let mut peer = probe();
    let old = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' from='partner.example'>";
    let seen = said(&mut peer, old);
    assert_eq!(seen, [Seen::Header { has_features: false, dialback: false, has_id: false }]);
    let error = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
        <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>who?\u{1b}</text></stream:error></stream:stream>";
    let error = error.replace('\u{1b}', "\u{85}");
    let seen = said(&mut peer, &error);
    let Seen::Error { condition, text } = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(condition, "host-unknown");
    assert!(text.starts_with("'who?") && text.is_ascii(), "{text}");
    assert_eq!(seen[1], Seen::Closed);
    let mut web = probe();
    assert!(web.receive(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")).is_err());
    let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    assert_eq!(said(&mut probe(), &format!("{HEADER}{refused}")).pop(), Some(Seen::TlsRefused));
}

#[test]
fn certificates_fit_by_a_rule_that_is_told() {
    let check = |certificate: PeerCertificate, rule: &str, name: &str| {
        let certificate = PeerCertificate { trusted: vec![TrustId(0)], ..certificate };
        let fit = vouch(Some(&certificate), &domain("chat.partner.example"), TrustId(0), &[]).unwrap();
        assert_eq!((fit.rule, fit.name.as_str()), (rule, name));
        assert_eq!(named(&certificate, &domain("chat.partner.example")), Some(fit));
    };
    let names = |name: &str| -> Vec<Arc<str>> { vec!["other.example".into(), name.into()] };
    let nothing = PeerCertificate::default;
    check(
        PeerCertificate { dns: names("chat.partner.example"), ..nothing() },
        "dNSName",
        "chat.partner.example",
    );
    check(
        PeerCertificate { dns: names("*.partner.example"), ..nothing() },
        "wildcard dNSName",
        "*.partner.example",
    );
    let srv = "_xmpp-server.chat.partner.example";
    check(PeerCertificate { srv: names(srv), ..nothing() }, "SRVName", srv);
    check(
        PeerCertificate { xmpp_addresses: names("chat.partner.example"), ..nothing() },
        "xmppAddr",
        "chat.partner.example",
    );
    let other = PeerCertificate { trusted: vec![TrustId(0)], dns: names("partner.example"), ..nothing() };
    let error = vouch(Some(&other), &domain("chat.partner.example"), TrustId(0), &[]).unwrap_err();
    assert!(error.contains("does not name chat.partner.example"), "{error}");
    assert!(
        vouch(Some(&other), &domain("partner.example"), TrustId(1), &[]).unwrap_err().contains("not trusted")
    );
    let pinned = vouch(Some(&other), &domain("partner.example"), TrustId(1), &[[0; 32]]).unwrap();
    assert_eq!(pinned.rule, "pinned key");
    assert!(vouch(None, &domain("partner.example"), TrustId(0), &[]).is_err());
}
