//! What happens to a stanza on each track, in both directions.

use crate::estate::{Estate, Plan};
use crate::peers::sip::{self, page, within};
use crate::peers::stream::{body, chat, dialback};
use crate::peers::wire::{End, Wire};

const BOB: &str = "bob@partner.example";

/// An authenticated stream of the legacy gateway, speaking for contoso.com to partner.example.
pub fn gateway_stream(estate: &Estate) -> Wire {
    let mut wire = Wire::dial(estate.inside());
    wire.open("contoso.com", "partner.example");
    let key = estate.gateway.key("the gateway's own key");
    assert_eq!(dialback(&mut wire, "contoso.com", "partner.example", &key), "valid");
    wire
}

#[test]
fn the_legacy_track_keeps_every_byte() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    let stanzas = [
        "<message\n  to=\"anna@contoso.com/Office\"   id='&lt;1&gt;'\tfrom='bob@partner.example/a b' xml:lang='de' \
         type=\"chat\"><subject>Gr\u{fc}\u{df}e</subject><body>1 &lt; 2 &amp;&amp; 3 &#x3e; 2 \u{1f642}</body>\
         <x:a xmlns:x='urn:x' x:b=\"'\"><x:c/></x:a ><thread  /></message >",
        "<message from='bob@partner.example' to='anna@contoso.com'><body><![CDATA[<raw> & ]]></body></message>",
        "<presence from='bob@partner.example/x' to='anna@contoso.com'><show>away</show><priority>-1</priority></presence>",
        "<iq from='bob@partner.example/x' to='anna@contoso.com/y' type='get' id='i1'><query xmlns='jabber:iq:version'/></iq>",
        "<message from='bob@partner.example' to='anna@contoso.com' type='error'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    ];
    for stanza in stanzas {
        wire.send(stanza);
    }
    assert_eq!(estate.gateway.stanzas.at_least(stanzas.len()), stanzas);
    let passed = estate.finish(stanzas.len() as u64);
    assert_eq!(passed.delivered, stanzas.len() as u64);
}

#[test]
fn a_thousand_stanzas_keep_their_order() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    let sent: Vec<String> = (0..1000)
        .map(|n| {
            chat(BOB, if n % 3 == 0 { "bert@contoso.com" } else { "anna@contoso.com" }, "m", &n.to_string())
        })
        .collect();
    wire.send(sent.concat());
    assert_eq!(estate.gateway.stanzas.at_least(1000), sent);
    estate.finish(1000);
}

#[test]
fn a_2019_user_gets_a_session() {
    let estate = Estate::new();
    let mut wire = estate.partner_stream("contoso.com");
    for n in 0..50 {
        wire.send(chat(
            "bob@partner.example/phone",
            "carla@contoso.com",
            "m",
            &format!("{n} &lt; \u{1f642}"),
        ));
    }
    let requests = estate.pool.requests.at_least(52);
    let invite = &requests[0];
    assert_eq!(invite.start, "INVITE sip:carla@contoso.com SIP/2.0");
    assert!(invite.header("From").starts_with("<sip:bob@partner.example>;tag="));
    assert_eq!(invite.header("To"), "<sip:carla@contoso.com>");
    assert!(invite.header("Via").starts_with("SIP/2.0/TLS turnout.contoso.com:"));
    assert!(invite.header("Contact").contains("@turnout.contoso.com:"));
    assert_eq!(invite.header("Content-Type"), "application/sdp");
    assert!(invite.body.contains("\r\nm=message 5060 sip null\r\n"));
    assert!(invite.has("Ms-Conversation-ID") && invite.has("ms-text-format"));
    let ack = &requests[1];
    assert_eq!(ack.start, "ACK sip:carla@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
    for (n, text) in requests[2..].iter().enumerate() {
        assert_eq!(text.start, "MESSAGE sip:carla@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
        assert_eq!(text.header("Content-Type"), "text/plain; charset=UTF-8");
        assert_eq!(text.header("Call-ID"), invite.header("Call-ID"));
        assert_eq!(text.header("CSeq"), format!("{} MESSAGE", n + 2));
        assert_eq!(text.body, format!("{n} < \u{1f642}"));
    }
    let passed = estate.finish(50);
    assert_eq!(passed.delivered, 50);
}

#[test]
fn a_2019_user_writes_to_a_partner() {
    let estate = Estate::new();
    let mut wire = sip::dial(estate.sip(), estate.client("pool2019.contoso.com"), "turnout.contoso.com");
    wire.send(sip::invite("carla@contoso.com", BOB));
    let ok = wire.final_response();
    assert_eq!(ok.start, "SIP/2.0 200 OK");
    assert!(ok.has("Record-Route") && ok.body.contains("m=message"));
    wire.send(within(&ok, "ACK", 1, BOB, ""));
    for n in 2..12 {
        wire.send(within(&ok, "MESSAGE", n, BOB, &format!("{n} < \u{1f642}")));
        assert_eq!(wire.final_response().status(), 200);
    }
    let stanzas = estate.partner.stanzas.at_least(10);
    for (n, stanza) in (2..12).zip(&stanzas) {
        assert!(stanza.contains("carla@contoso.com") && stanza.contains(BOB), "{stanza}");
        assert_eq!(body(stanza), format!("{n} &lt; \u{1f642}"));
    }
    wire.send(within(&ok, "BYE", 12, BOB, ""));
    assert_eq!(wire.final_response().status(), 200);
    let passed = estate.finish(10);
    assert_eq!(passed.delivered, 10);
}

#[test]
fn a_legacy_user_writes_to_a_partner() {
    let estate = Estate::new();
    let mut wire = gateway_stream(&estate);
    let stanza = chat("anna@contoso.com/Office", BOB, "a1", "hello &#65;");
    wire.send(&stanza);
    assert_eq!(estate.partner.stanzas.at_least(1), [stanza]);
    // The router proved by its certificate who it is, not by dialback.
    assert_eq!(estate.partner.steps.all()[..2], ["starttls", "auth"]);
    assert!(estate.gateway.steps.all().contains(&"verify".to_owned()));
    estate.finish(1);
}

#[test]
fn only_the_right_home_speaks_for_a_user() {
    let estate = Estate::new();
    let mut wire = gateway_stream(&estate);
    // carla lives on 2019.
    wire.send(chat("carla@contoso.com/x", BOB, "c1", "not mine"));
    estate.until("a verdict", |passed, _, held| {
        passed.received == 1 && passed.expected_held() == 0 && held == 0
    });
    assert!(estate.partner.stanzas.all().is_empty());
    let passed = estate.finish(1);
    assert_eq!(passed.delivered, 0);
    assert_eq!(passed.bounced + passed.dropped_total(), 1);
}

#[test]
fn a_stranger_may_not_speak_sip() {
    let estate = Estate::new();
    for config in [estate.client("stranger.example"), estate.roots.client(None, &[])] {
        let mut wire = sip::dial(estate.sip(), config, "turnout.contoso.com");
        wire.send(page("carla@contoso.com", BOB, "let me in"));
        assert_eq!(wire.final_response().status(), 403);
        assert_eq!(wire.until_end(), End::Notified);
    }
    assert!(estate.partner.stanzas.all().is_empty());
    estate.finish(0);
}

#[test]
fn a_pool_with_the_wrong_certificate_gets_nothing() {
    let estate = Estate::with(&Plan { pool_name: "stranger.example", drain_seconds: 20, ..Plan::default() });
    let mut wire = estate.partner_stream("contoso.com");
    wire.send(chat("bob@partner.example/phone", "carla@contoso.com", "m1", "secret"));
    // It is dialed, looked at and left; the stanza waits for a better pool, until there is no more waiting.
    estate.pool.ends.at_least(1);
    estate.until("one that waits", |passed, _, held| passed.received == 1 && held == 1);
    assert_eq!(estate.runtime.block_on(estate.router.drain()).left, 0);
    let error = estate.partner.stanzas.at_least(1).remove(0);
    assert!(error.contains("id='m1'") && error.contains("to='bob@partner.example/phone'"), "{error}");
    assert!(error.contains("<remote-server-timeout ") && !error.contains("secret"), "{error}");
    assert!(estate.pool.requests.all().is_empty());
    let (passed, made, held) = estate.tallies();
    assert_eq!((passed.delivered, passed.bounced, made.delivered, held), (0, 1, 1, 0));
}
