use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use turnout_core::io::{LinkId, Side};
use turnout_core::jid::Jid;
use turnout_core::stanza::{Origin, Payload};

use super::*;

#[expect(clippy::disallowed_methods, reason = "a stanza needs some time")]
fn envelope() -> Envelope {
    Envelope {
        from: Jid::parse("anna@corp.example/sfb").unwrap(),
        to: Jid::parse("ben@partner.example").unwrap(),
        origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
        arrived: Instant::now(),
    }
}

fn stanza(xml: &str) -> Stanza {
    let envelope = envelope();
    Stanza {
        kind: Kind::Presence(PresenceType::Available),
        from: envelope.from,
        to: envelope.to,
        bytes: Bytes::copy_from_slice(xml.as_bytes()),
        insert_at: 9,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 0..0,
        payload: Payload::None,
        origin: envelope.origin,
        arrived: envelope.arrived,
        made: false,
        attempts: 0,
        disk: Default::default(),
    }
}

fn text(stanza: &Stanza) -> &str {
    std::str::from_utf8(&stanza.bytes).unwrap()
}

#[test]
fn a_presence_is_read_in_full() {
    let found = read(&stanza(
        "<presence xml:lang='de' from='a' to='b'><show>xa</show><status>fort &amp; weg</status>\
         <status xml:lang='en'>a<b xmlns='x'>no</b>way</status><priority> -5 </priority>\
         <nick xmlns='http://jabber.org/protocol/nick'>Anna</nick><c xmlns='http://jabber.org/protocol/caps' ver='v'/>\
         <x xmlns='vcard-temp:x:update'><show>dnd</show></x><delay xmlns='urn:xmpp:delay' stamp='2026-11-22T21:02:03Z'/></presence>",
    ));
    let wanted = Presence {
        show: Some(Show::Xa),
        statuses: vec![(Some("de".into()), "fort & weg".into()), (Some("en".into()), "away".into())],
        priority: Some(-5),
        nick: Some("Anna".into()),
        since: Some("2026-11-22T21:02:03Z".into()),
        ..Presence::available("sfb")
    };
    assert_eq!(found, wanted);
}

#[test]
fn what_a_gateway_declared_elsewhere_is_read_too() {
    let mut one = stanza("<presence><s:show>dnd</s:show></presence>");
    one.insert = Some(Bytes::from_static(b" xmlns:s='jabber:client' xml:lang='fr'"));
    assert_eq!(read(&one).show, Some(Show::Dnd));
}

/// B-11: one odd presence harms nobody.
#[test]
fn what_is_odd_is_left_out() {
    let bare = Presence::available("sfb");
    for odd in [
        "<presence><show>dancing</show></presence>",
        "<presence><show/></presence>",
        "<presence><priority>128</priority></presence>",
        "<presence><priority>1e1</priority></presence>",
        "<presence><priority>99999999999999999999</priority></presence>",
        "<presence><show xmlns='urn:x'>dnd</show></presence>",
        "<presence><x xmlns='urn:x'><show xmlns='jabber:server'>dnd</show></x></presence>",
        "<presence><status> \n</status></presence>",
        "<presence><delay xmlns='urn:xmpp:delay' stamp='yesterday'/></presence>",
        "<presence><nick xmlns='http://jabber.org/protocol/nick'/></presence>",
        "<presence/>",
        "<presence><show>dnd",
        "",
    ] {
        assert_eq!(read(&stanza(odd)), bare, "{odd}");
    }
    let two =
        "<presence><show>away</show><show>dnd</show><priority>1</priority><priority>2</priority></presence>";
    assert_eq!(read(&stanza(two)), Presence { show: Some(Show::Away), priority: Some(1), ..bare });
}

#[test]
fn plain_presence_says_its_type_alone() {
    let probe = write_plain(envelope(), PresenceType::Probe, Some("a'b"));
    let wanted =
        "<presence from='anna@corp.example/sfb' to='ben@partner.example' id='a&#39;b' type='probe'/>";
    assert_eq!(text(&probe), wanted);
    assert_eq!(probe.raw(&probe.from_span), b"anna@corp.example/sfb");
    assert_eq!(probe.raw(&probe.to_span), b"ben@partner.example");
    assert_eq!(probe.raw(&probe.id_span), b"a&#39;b");
    for (kind, word) in [
        (PresenceType::Unavailable, "unavailable"),
        (PresenceType::Subscribe, "subscribe"),
        (PresenceType::Subscribed, "subscribed"),
        (PresenceType::Unsubscribe, "unsubscribe"),
        (PresenceType::Unsubscribed, "unsubscribed"),
        (PresenceType::Error, "error"),
    ] {
        let stanza = write_plain(envelope(), kind, None);
        let wanted =
            format!("<presence from='anna@corp.example/sfb' to='ben@partner.example' type='{word}'/>");
        assert_eq!((text(&stanza), stanza.kind), (wanted.as_str(), Kind::Presence(kind)));
        assert!(stanza.id_span.is_empty());
    }
}

#[test]
fn an_available_presence_says_what_it_is_given() {
    let mut presence = Presence { show: Some(Show::Dnd), priority: Some(3), ..Presence::available("") };
    presence.add_status(None, "a<b");
    presence.add_status(Some("en"), "c'd");
    presence.set_nick("Anna");
    presence.set_since("2026-11-22T21:02:03Z");
    let plain = write_available(envelope(), &presence, Extras::default());
    let body =
        "<show>dnd</show><status>a&lt;b</status><status xml:lang='en'>c&#39;d</status><priority>3</priority>";
    let head = "<presence from='anna@corp.example/sfb' to='ben@partner.example'>";
    assert_eq!(text(&plain), format!("{head}{body}</presence>"));
    let more = write_available(envelope(), &presence, Extras { caps: Some("<c/>"), nick: true, delay: true });
    assert_eq!(
        text(&more),
        format!(
            "{head}{body}<nick xmlns='http://jabber.org/protocol/nick'>Anna</nick><c/>\
             <delay xmlns='urn:xmpp:delay' stamp='2026-11-22T21:02:03Z'/></presence>"
        )
    );
}

proptest! {
    #[test]
    fn what_is_written_comes_back(
        show in prop::option::of(prop::sample::select(vec![Show::Chat, Show::Away, Show::Xa, Show::Dnd])),
        statuses in prop::collection::vec((any::<Option<String>>(), prop::collection::vec(any::<char>(), 0..12)), 0..4),
        priority: Option<i8>,
        nick in prop::collection::vec(any::<char>(), 0..12),
    ) {
        let carried = |text: &str| -> String {
            text.replace("\r\n", "\n").replace('\r', "\n").chars().map(crate::translate::xml_char).collect()
        };
        let mut presence = Presence { show, priority, ..Presence::available("sfb") };
        for (lang, text) in statuses {
            presence.add_status(lang.as_deref(), &text.into_iter().collect::<String>());
        }
        presence.set_nick(&nick.into_iter().collect::<String>());
        let written = write_available(envelope(), &presence, Extras { nick: true, ..Extras::default() });
        for (_, text) in &mut presence.statuses {
            *text = carried(text);
        }
        if let Some(nick) = &mut presence.nick {
            *nick = carried(nick);
        }
        prop_assert_eq!(read(&written), presence);
        let tree = crate::presence::tree::read(&written.bytes, &[]).unwrap();
        prop_assert!(tree.is("", "presence"));
    }

    #[test]
    fn bytes_of_any_kind_are_survived(bytes: Vec<u8>) {
        let mut one = stanza("");
        one.bytes = bytes.into();
        prop_assert_eq!(read(&one).resource, "sfb".into());
    }
}
