//! What peers must not do, and that it costs them their own stream and nobody else's.

use crate::estate::{Estate, Plan, wait};
use crate::peers::stream::{Item, chat, external, header};
use crate::peers::wire::{End, Wire};

fn message(id: &str) -> String {
    chat("bob@partner.example/phone", "anna@contoso.com", id, "hello")
}

fn federation(lines: &str) -> Estate {
    Estate::with(&Plan { federation: lines.to_owned(), shards: 1, ..Plan::default() })
}

#[test]
fn plain_text_where_tls_is_required() {
    let estate = Estate::new();
    let mut wire = Wire::dial(estate.outside());
    let (features, _) = wire.open("partner.example", "contoso.com");
    assert!(features.contains("<required"), "{features}");
    wire.send(message("m1"));
    wire.dies_with("policy-violation");
    assert!(estate.gateway.stanzas.all().is_empty());
    estate.finish(0);
}

#[test]
fn plain_text_behind_starttls_is_not_processed() {
    let estate = Estate::new();
    let mut wire = Wire::dial(estate.outside());
    wire.open("partner.example", "contoso.com");
    // In one segment: the router has read it all before the handshake begins (XT-03).
    let injected = message("injected");
    wire.send(format!("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{injected}"));
    wire.element("<proceed");
    wire.secure_as_client(estate.client("partner.example"), "contoso.com").unwrap();
    wire.open("partner.example", "contoso.com");
    external(&mut wire, "partner.example", "contoso.com");
    wire.send(message("honest"));
    assert_eq!(estate.gateway.stanzas.at_least(1), [message("honest")]);
    estate.finish(1);
}

#[test]
fn a_malformed_stanza_ends_its_own_stream() {
    for (bad, condition) in [
        ("<message from='bob@partner.example' to='anna@contoso.com'><body></message>", "not-well-formed"),
        ("<message from='bob@partner.example' to='anna@contoso.com'><!-- no --></message>", "restricted-xml"),
        ("<message from='bob@partner.example' to='anna@contoso.com'>&evil;</message>", "restricted-xml"),
        ("<message from='bob@stranger.example' to='anna@contoso.com'/>", "invalid-from"),
    ] {
        let estate = Estate::new();
        let (mut bad_wire, mut good) =
            (estate.partner_stream("contoso.com"), estate.partner_stream("contoso.com"));
        good.send(message("m1"));
        estate.gateway.stanzas.at_least(1);
        bad_wire.send(bad);
        bad_wire.dies_with(condition);
        good.send(message("m2"));
        assert_eq!(estate.gateway.stanzas.at_least(2), [message("m1"), message("m2")], "{bad}");
        estate.finish(2);
    }
}

#[test]
fn a_stanza_beyond_the_limit() {
    let estate = federation("stanza_bytes_max = 10000");
    let mut wire = estate.partner_stream("contoso.com");
    let fits = chat("bob@partner.example", "anna@contoso.com", "m1", &"x".repeat(9_800));
    wire.send(&fits);
    assert_eq!(estate.gateway.stanzas.at_least(1), [fits]);
    wire.send(chat("bob@partner.example", "anna@contoso.com", "m2", &"x".repeat(10_000)));
    let error = wire.dies_with("policy-violation");
    assert!(error.contains("stanza-too-big"), "{error}");
    estate.finish(1);
}

#[test]
fn whoever_is_slow_to_authenticate_is_cut() {
    let estate = federation("establishment_seconds = 1");
    let mut silent = Wire::dial(estate.outside());
    let mut silent_tls = Wire::dial(estate.at("federation.listen_tls"));
    let mut half = Wire::dial(estate.outside());
    half.open("partner.example", "contoso.com");
    half.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    half.element("<proceed");
    let mut opened = Wire::dial(estate.outside());
    opened.open("partner.example", "contoso.com");
    silent.dies_with("connection-timeout");
    opened.dies_with("connection-timeout");
    silent_tls.until_end();
    half.until_end();
    assert!(silent_tls.buffer.is_empty() && half.buffer.is_empty());
    estate.finish(0);
}

#[test]
fn an_authenticated_stream_outlives_the_establishment_time() {
    let estate = federation("establishment_seconds = 1");
    let mut wire = estate.partner_stream("contoso.com");
    // This one is cut when the time is up: then it is up for the other one as well.
    Wire::dial(estate.outside()).dies_with("connection-timeout");
    wire.send(message("m1"));
    estate.gateway.stanzas.at_least(1);
    estate.finish(1);
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let estate = federation("connections_max = 2\nconnections_per_partner_max = 2");
    let mut first = estate.partner_stream("contoso.com");
    let mut second = estate.partner_stream("contoso.com");
    let mut third = Wire::dial(estate.outside());
    third.send(header("partner.example", "contoso.com", ""));
    assert!(matches!(third.until_end(), End::Eof | End::Cut(_)));
    assert!(third.buffer.is_empty());
    second.send(message("m1"));
    estate.gateway.stanzas.at_least(1);
    first.send("</stream:stream>");
    assert_eq!(first.next(), Item::Close);
    first.finish();
    first.until_end();
    // Its place is free again.
    wait("a free place", || {
        let mut wire = Wire::dial(estate.outside());
        wire.send(header("partner.example", "contoso.com", ""));
        match wire.next() {
            Item::Header(_) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    estate.finish(1);
}

#[test]
fn a_partner_has_a_limit_of_its_own() {
    let estate = federation("connections_per_partner_max = 1");
    let mut first = estate.partner_stream("contoso.com");
    let mut second = Wire::dial(estate.outside());
    second.send(header("partner.example", "contoso.com", ""));
    second.dies_with("resource-constraint");
    first.send(message("m1"));
    estate.gateway.stanzas.at_least(1);
    estate.finish(1);
}
