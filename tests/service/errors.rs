//! Whom a stanza cannot reach, and what its sender is told.

use crate::estate::{Estate, Plan};
use crate::peers::inbox::OUTAGE;
use crate::peers::sip::{self, page};
use crate::peers::stream::chat;
use crate::tracks::gateway_stream;

const BOB: &str = "bob@partner.example";

#[test]
fn an_unknown_user_is_service_unavailable() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(chat("bob@partner.example/phone", "nobody@contoso.com", "m1", "hello"));
    let error = estate.partner.stanzas.at_least(1).remove(0);
    for part in [
        "from='nobody@contoso.com'",
        "to='bob@partner.example/phone'",
        "id='m1'",
        "type='error'",
        "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!error.contains("hello"), "{error}");
    // Presence and errors are dropped by rule, without a word.
    wire.send("<presence from='bob@partner.example' to='nobody@contoso.com'/>");
    wire.send("<message from='bob@partner.example' to='nobody@contoso.com' type='error'/>");
    let passed = estate.finish(3);
    assert_eq!((passed.delivered, passed.bounced, passed.dropped_total()), (0, 1, 2));
}

fn partner_down() -> Estate {
    Estate::with(&Plan { partner_is_up: false, ..Plan::default() })
}

#[test]
fn a_legacy_user_is_told_that_the_partner_is_down() {
    let estate = partner_down();
    let mut wire = gateway_stream(&estate);
    wire.send(chat("anna@contoso.com/Office", BOB, "a1", "hello"));
    let error = estate.gateway.stanzas.at_least_within(OUTAGE, 1).remove(0);
    assert!(error.contains("type='error'") && error.contains("id='a1'"), "{error}");
    assert!(
        error.contains("<remote-server-timeout ") || error.contains("<remote-server-not-found "),
        "{error}"
    );
    assert!(
        error.contains("from='bob@partner.example'") && error.contains("to='anna@contoso.com/Office'"),
        "{error}"
    );
    let passed = estate.finish(1);
    assert_eq!((passed.delivered, passed.bounced), (0, 1));
}

#[test]
fn a_2019_user_is_told_that_the_partner_is_down() {
    let estate = partner_down();
    let mut wire = sip::dial(estate.sip(), estate.client("pool2019.contoso.com"), "turnout.contoso.com");
    wire.send(page("carla@contoso.com", BOB, "hello"));
    // RFC 7247 table 2: remote-server-timeout is 408, remote-server-not-found 404.
    let status = wire.final_response().status();
    assert!([404, 408].contains(&status), "{status}");
    let passed = estate.finish(1);
    assert_eq!((passed.delivered, passed.bounced), (0, 1));
}

#[test]
fn what_the_pool_refuses_the_sender_learns() {
    for (status, condition) in
        [("404 Not Found", "item-not-found"), ("480 Temporarily Unavailable", "recipient-unavailable")]
    {
        let estate = Estate::new();
        *estate.pool.status.lock().unwrap() = Some(status);
        let mut wire = estate.partner_stream("contoso.com");
        wire.send(chat("bob@partner.example/phone", "carla@contoso.com", "m1", "hello"));
        let error = estate.partner.stanzas.at_least(1).remove(0);
        assert!(error.contains(&format!("<{condition} ")), "{status}: {error}");
        let passed = estate.finish(1);
        assert_eq!((passed.delivered, passed.bounced), (0, 1));
    }
}
