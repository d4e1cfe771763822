use bytes::Bytes;
use turnout_core::io::{LinkId, Side};
use turnout_core::jid::Jid;
use turnout_core::stanza::{Kind, Payload};

use super::*;
use crate::presence::tree;

const ALL: Features = Features { chat_states: true, receipts: true };

const ABOUT: About<'_> = About { features: ALL, is_shown: true, name: None };

/// What is answered to an iq with this inside: the result, or the condition.
fn asked(to: &str, kind: IqType, inside: &str, about: &About<'_>) -> Result<Option<String>, Condition> {
    #[expect(clippy::disallowed_methods, reason = "a stanza needs some time")]
    let now = Instant::now();
    let origin = Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 };
    let bytes = format!("<iq id='q1'>{inside}</iq>");
    let stanza = Stanza {
        kind: Kind::Iq(kind),
        from: Jid::parse("ben@partner.example/desk").unwrap(),
        to: Jid::parse(to).unwrap(),
        bytes: Bytes::from(bytes),
        insert_at: 3,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 8..10,
        payload: Payload::Other,
        origin,
        arrived: now,
        made: false,
        attempts: 0,
        disk: Default::default(),
    };
    let mut out = Outbox::new(0);
    let sent = answer(now, kind, stanza, origin, about, &mut out);
    let told = out.arrivals.pop_front().map(|load| load.into_stanzas().remove(0));
    let told = told.map(|stanza| String::from_utf8(stanza.bytes.to_vec()).unwrap());
    match sent {
        Sent::Answered(_) => Ok(told),
        Sent::Refused(_, refusal) => {
            assert_eq!(told, None);
            Err(refusal.condition)
        }
        _ => panic!("an iq is answered or refused"),
    }
}

fn get(to: &str, inside: &str, about: &About<'_>) -> Result<String, Condition> {
    asked(to, IqType::Get, inside, about).map(Option::unwrap)
}

const BARE: &str = "anna@corp.example";
const FULL: &str = "anna@corp.example/sfb";
const ASK_INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";

/// Identities and features of an answer, and the node in it.
fn info(answer: &str) -> (Vec<String>, Vec<String>, Option<String>) {
    let root = tree::read(answer.as_bytes(), &[INFO]).unwrap();
    let query = root.first(INFO, "query").unwrap();
    let of = |element: &tree::Element, name: &str| element.attribute("", name).unwrap_or_default().to_owned();
    let identities = query.all(INFO, "identity");
    let identities = identities.map(|one| {
        format!(
            "{}/{}/{}/{}",
            of(one, "category"),
            of(one, "type"),
            one.lang.as_deref().unwrap_or(""),
            of(one, "name")
        )
    });
    let features = query.all(INFO, "feature").map(|one| of(one, "var"));
    (identities.collect(), features.collect(), query.attribute("", "node").map(str::to_owned))
}

/// XEP-0115 §5.1, from what was answered alone.
fn recomputed(answer: &str) -> String {
    let (mut identities, mut features, _) = info(answer);
    identities.sort();
    features.sort();
    let all: String = identities.iter().chain(&features).map(|one| format!("{one}<")).collect();
    STANDARD.encode(Sha1::digest(all))
}

/// Node and hash of a `<c/>`.
fn told(features: Features) -> (String, String) {
    let c = tree::read(caps(features).as_bytes(), &[CAPS]).unwrap();
    assert!(c.is(CAPS, "c"));
    assert_eq!(c.attribute("", "hash"), Some("sha-1"));
    (c.attribute("", "node").unwrap().to_owned(), c.attribute("", "ver").unwrap().to_owned())
}

#[test]
fn the_hash_is_that_of_the_published_example() {
    // XEP-0115 §5.2, without the name in its identity.
    let features = vec![
        "http://jabber.org/protocol/caps",
        "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items",
        "http://jabber.org/protocol/muc",
    ];
    let text = "client/pc//Exodus 0.9.1<http://jabber.org/protocol/caps<http://jabber.org/protocol/disco#info<\
                http://jabber.org/protocol/disco#items<http://jabber.org/protocol/muc<";
    assert_eq!(STANDARD.encode(Sha1::digest(text)), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    let nameless = STANDARD.encode(Sha1::digest(text.replace("Exodus 0.9.1", "")));
    assert_eq!(hash(&(("client", "pc"), features)), nameless);
}

#[test]
fn the_hash_in_the_presence_is_that_of_the_answer() {
    for chat_states in [false, true] {
        for receipts in [false, true] {
            let features = Features { chat_states, receipts };
            let about = About { features, ..ABOUT };
            let (node, ver) = told(features);
            let plain = get(FULL, ASK_INFO, &about).unwrap();
            let full_node = format!("{node}#{ver}");
            let ask = format!("<query xmlns='{INFO}' node='{full_node}'/>");
            let by_node = get(FULL, &ask, &about).unwrap();
            assert_eq!(recomputed(&plain), ver);
            assert_eq!(recomputed(&by_node), ver);
            assert_eq!((info(&plain).2, info(&by_node).2), (None, Some(full_node)));
            let (_, listed, _) = info(&plain);
            assert_eq!(listed.iter().any(|one| one == CHAT_STATES), chat_states);
            assert_eq!(listed.iter().any(|one| one == RECEIPTS), receipts);
        }
    }
}

#[test]
fn the_account_tells_what_it_answers() {
    let answer = get(BARE, ASK_INFO, &About::default()).unwrap();
    let (identities, features, _) = info(&answer);
    assert_eq!(
        (identities, features),
        (vec!["account/registered//".to_owned()], vec![INFO.into(), PING.into(), VCARD.into()])
    );
    assert!(
        answer
            .starts_with("<iq from='anna@corp.example' to='ben@partner.example/desk' id='q1' type='result'>")
    );
}

#[test]
fn ping_is_answered() {
    let ping = "<p:ping xmlns:p='urn:xmpp:ping'/>";
    for (to, about) in [(BARE, About::default()), (FULL, ABOUT)] {
        assert!(get(to, ping, &about).unwrap().ends_with(" type='result'></iq>"));
    }
}

#[test]
fn the_vcard_holds_the_name() {
    let ask = "<vCard xmlns='vcard-temp'/>";
    let card = |about: &About<'_>| get(BARE, ask, about).unwrap();
    assert!(card(&About::default()).contains("<vCard xmlns='vcard-temp'><FN>anna</FN></vCard>"));
    let name = "Anna <\u{1}& Co>";
    assert!(card(&About { name: Some(name), ..ABOUT }).contains("<FN>Anna &lt;\u{fffd}&amp; Co&gt;</FN>"));
    let long = "x".repeat(1 << 20);
    assert!(card(&About { name: Some(&long), ..ABOUT }).len() < 5000);
    assert_eq!(get(FULL, ask, &ABOUT), Err(Condition::ServiceUnavailable));
}

#[test]
fn nothing_is_told_of_a_resource_that_is_not_shown() {
    let hidden = About { is_shown: false, ..ABOUT };
    let node = format!("<query xmlns='{INFO}' node='{}'/>", node_of(ALL));
    for ask in [ASK_INFO, &node, "<ping xmlns='urn:xmpp:ping'/>", "<vCard xmlns='vcard-temp'/>"] {
        assert_eq!(get(FULL, ask, &hidden), Err(Condition::ServiceUnavailable));
    }
}

#[test]
fn what_nobody_serves_is_refused() {
    for inside in [
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "<query xmlns='jabber:iq:version'/>",
        "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'/>",
        "<si xmlns='http://jabber.org/protocol/si'/>",
        "<ping xmlns='urn:x'/>",
        "<ping/>",
        "<a xmlns='urn:x'><ping xmlns='urn:xmpp:ping'/></a>",
        "text",
        "",
    ] {
        for to in [BARE, FULL] {
            assert_eq!(get(to, inside, &ABOUT), Err(Condition::ServiceUnavailable), "{inside}");
        }
    }
    let set = "<vCard xmlns='vcard-temp'><FN>x</FN></vCard>";
    assert_eq!(asked(BARE, IqType::Set, set, &ABOUT), Err(Condition::ServiceUnavailable));
    let node = format!("<query xmlns='{INFO}' node='other'/>");
    assert_eq!(get(BARE, &node, &ABOUT), Err(Condition::ItemNotFound));
    assert_eq!(get(FULL, &node, &ABOUT), Err(Condition::ItemNotFound));
    for kind in [IqType::Result, IqType::Error] {
        assert_eq!(asked(BARE, kind, ASK_INFO, &ABOUT), Ok(None));
    }
}
