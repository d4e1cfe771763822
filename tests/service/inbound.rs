//! How partners come in: every way to authenticate that policy knows, and the certificate they are shown.

use crate::estate::{Estate, Plan};
use crate::peers::stream::{chat, dialback, external, starttls};
use crate::peers::wire::Wire;

const TEXT: &str = "hello";

fn message(to: &str) -> String {
    chat("bob@partner.example/phone", to, "m1", TEXT)
}

/// A stanza on this stream reaches the gateway, and that was all.
fn carries(estate: Estate, mut wire: Wire) {
    wire.send(message("anna@contoso.com"));
    assert_eq!(estate.gateway.stanzas.at_least(1), [message("anna@contoso.com")]);
    let passed = estate.finish(1);
    assert_eq!((passed.delivered, passed.bounced), (1, 0));
}

#[test]
fn starttls_and_external() {
    let estate = Estate::new();
    let wire = estate.partner_stream("contoso.com");
    carries(estate, wire);
}

fn direct_tls(alpn: &[&[u8]], agreed: Option<&[u8]>) {
    let estate = Estate::new();
    let mut wire = Wire::dial(estate.at("federation.listen_tls"));
    let config = estate.roots.client(Some(&estate.card("partner.example")), alpn);
    wire.secure_as_client(config, "contoso.com").unwrap();
    assert_eq!(wire.alpn().as_deref(), agreed);
    let (features, _) = wire.open("partner.example", "contoso.com");
    assert!(!features.contains("starttls") && features.contains("EXTERNAL"), "{features}");
    external(&mut wire, "partner.example", "contoso.com");
    carries(estate, wire);
}

#[test]
fn direct_tls_with_alpn() {
    direct_tls(&[b"xmpp-server"], Some(b"xmpp-server"));
}

#[test]
fn direct_tls_without_alpn() {
    direct_tls(&[], None);
}

/// A partner that may use dialback, over TLS, and not EXTERNAL.
fn dialback_plan() -> Plan {
    Plan {
        partner: "type = \"federated\"\ntls = \"required\"\nsasl = \"none\"\ndialback = true".to_owned(),
        ..Plan::default()
    }
}

#[test]
fn dialback_over_tls_asks_the_partners_own_server() {
    let estate = Estate::with(&dialback_plan());
    let anonymous = estate.roots.client(None, &[]);
    let (mut wire, features) = starttls(estate.outside(), anonymous, "partner.example", "contoso.com");
    assert!(features.contains("urn:xmpp:features:dialback") && !features.contains("EXTERNAL"), "{features}");
    let key = estate.partner.key("0123456789abcdef");
    assert_eq!(dialback(&mut wire, "partner.example", "contoso.com", &key), "valid");
    let steps = estate.partner.steps.all();
    assert_eq!(steps[..2], ["starttls", "verify"]);
    carries(estate, wire);
}

#[test]
fn a_forged_dialback_key_proves_nothing() {
    let estate = Estate::with(&dialback_plan());
    let anonymous = estate.roots.client(None, &[]);
    let (mut wire, _) = starttls(estate.outside(), anonymous, "partner.example", "contoso.com");
    assert_eq!(dialback(&mut wire, "partner.example", "contoso.com", "forged"), "invalid");
    wire.send(message("anna@contoso.com"));
    wire.dies_with("not-authorized");
    assert!(estate.gateway.stanzas.all().is_empty());
    estate.finish(0);
}

#[test]
fn each_domain_shows_its_own_certificate() {
    let estate = Estate::new();
    let shown = |name: &str| {
        let mut wire = Wire::dial(estate.at("federation.listen_tls"));
        wire.secure_as_client(estate.roots.trusting_client(), name).unwrap();
        wire.certificate()
    };
    for (name, expected) in [
        ("contoso.com", "contoso.com"),
        ("fabrikam.com", "fabrikam.com"),
        ("FABRIKAM.com", "fabrikam.com"),
        ("nowhere.example", "contoso.com"),
        ("127.0.0.1", "contoso.com"),
    ] {
        assert!(shown(name) == estate.card(expected).chain[0], "{name}");
    }
    // By STARTTLS as well, and checked as a partner checks it.
    let mut wire = estate.partner_stream("fabrikam.com");
    assert!(wire.certificate() == estate.card("fabrikam.com").chain[0]);
    wire.send(message("frida@fabrikam.com"));
    estate.gateway.stanzas.at_least(1);
    estate.finish(1);
}

#[test]
fn a_certificate_for_another_name_is_no_proof() {
    let estate = Estate::new();
    let mut wire = Wire::dial(estate.at("federation.listen_tls"));
    wire.secure_as_client(estate.client("stranger.example"), "contoso.com").unwrap();
    wire.send(crate::peers::stream::header("partner.example", "contoso.com", ""));
    wire.dies_with("not-authorized");
    estate.finish(0);
}
