//! What partners' users write, as a pool reads it.

use proptest::prelude::*;
use turnout_core::home::Dialect;
use turnout_core::io::LinkId;
use turnout_core::jid::Jid;
use turnout_core::stanza::Stanza;

use crate::readers::{Sip, sip};
use crate::stage::{self, Scene, Stage};
use crate::support::{ROUTES, Rig, SDP, Setup, answer};
use crate::{cases, octets, text};

const ALICE: &str = "alice@contoso.com";

/// What a partner's user says, field by field.
#[derive(Clone, Debug)]
struct Words {
    local: String,
    resource: String,
    id: String,
    lang: String,
    thread: String,
    subject: String,
    body: String,
    nick: String,
    /// The body stands in the stanza as it is, markup or not.
    raw: Option<Vec<u8>>,
}

impl Default for Words {
    fn default() -> Self {
        let word = || "word".to_owned();
        Self {
            local: "bob".to_owned(),
            resource: "phone".to_owned(),
            id: word(),
            lang: "en".to_owned(),
            thread: word(),
            subject: word(),
            body: word(),
            nick: word(),
            raw: None,
        }
    }
}

fn words() -> impl Strategy<Value = Words> {
    let fields = (text(), text(), text(), text(), text(), text(), text(), text());
    (fields, proptest::option::weighted(0.2, octets())).prop_map(|(fields, raw)| {
        let (local, resource, id, lang, thread, subject, body, nick) = fields;
        Words { local, resource, id, lang, thread, subject, body, nick, raw }
    })
}

/// As text stands in a stanza that the framer has let through.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            char => out.push(char),
        }
    }
    out
}

fn stanza(rig: &Rig, words: &Words) -> Stanza {
    let head = format!(
        "<message type='chat' from='bob@partner.example/phone' to='{ALICE}' id='{}' xml:lang='{}'>",
        escaped(&words.id),
        escaped(&words.lang)
    );
    let mut stanza = rig.stanza(&(head.clone() + "</message>"));
    let body = words.raw.clone().unwrap_or_else(|| escaped(&words.body).into_bytes());
    let inside = format!(
        "<thread>{}</thread><subject>{}</subject><nick xmlns='http://jabber.org/protocol/nick'>{}</nick>\
         <request xmlns='urn:xmpp:receipts'/><body>",
        escaped(&words.thread),
        escaped(&words.subject),
        escaped(&words.nick)
    );
    stanza.bytes = [head.as_bytes(), inside.as_bytes(), &body, b"</body></message>"].concat().into();
    // An address that is none never gets so far.
    if let Ok(from) = Jid::parse(&format!("{}@partner.example/{}", words.local, words.resource)) {
        stanza.from = from;
    }
    stanza
}

/// All that a pool hears of two messages, the second within the session the first has opened: as sent, message by message.
fn hears(dialect: Dialect, words: &Words) -> Vec<Sip> {
    let mut rig = Rig::new(&Setup { dialect, ..Setup::default() });
    let link = rig.dial(0);
    let mut all = Vec::new();
    for _ in 0..2 {
        let stanza = stanza(&rig, words);
        let _taken = rig.send(link, stanza);
        for _ in 0..4 {
            if rig.is_quiet(link) {
                break;
            }
            let message = rig.next(link);
            if message.method() != Some(b"ACK") {
                // Rsip knows no parameter of a URI without a value.
                let routes = ROUTES.replace(";opaque=user:epid:hYns;gruu", "");
                let extra = format!("{routes}Supported: ms-text-format\r\n");
                let body = if message.method() == Some(b"INVITE") { SDP } else { "" };
                let ok = answer(&message, 200, "OK", &extra, body);
                rig.says(link, &ok);
            }
        }
        all.extend(take(&mut rig, link));
    }
    all
}

fn take(rig: &mut Rig, link: LinkId) -> Vec<Sip> {
    rig.raw.remove(&link).map(|bytes| sip(&bytes)).unwrap_or_default()
}

/// The messages are those of harmless words, or fewer; each has the same header fields, but for a subject of which nothing is left.
fn check(dialect: Dialect, words: &Words) -> Result<(), TestCaseError> {
    let expected = hears(dialect, &Words::default());
    let found = hears(dialect, words);
    prop_assert!(!expected.is_empty() && found.len() <= expected.len(), "{:?}", found);
    for message in &found {
        let without = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| *name != "Subject").cloned().collect()
        };
        let same = expected.iter().any(|other| {
            other.start == message.start
                && (other.names == message.names || without(&other.names) == message.names)
        });
        // Text that is too long for a header goes in a MESSAGE behind the INVITE; it never is here.
        prop_assert!(same, "{:?} and {:?}", message, expected);
        prop_assert!(message.from.contains("@partner.example"), "{:?}", message.from);
        prop_assert!(message.to.contains("<sip:alice@contoso.com>"), "{:?}", message.to);
        prop_assert!(!message.names.iter().any(|name| name.eq_ignore_ascii_case("evil")));
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_partners_write_adds_no_header(words in words()) {
        for dialect in [Dialect::Skype, Dialect::Simple] {
            check(dialect, &words)?;
        }
    }

    /// The same of the words in which a partner's server refuses, which become a reason phrase.
    #[test]
    fn words_of_a_refusal_add_no_header(words in text()) {
        let (expected, found) = (refused("word"), refused(&words));
        prop_assert_eq!(expected.len(), 1);
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!((&found[0].start, &found[0].names), (&expected[0].start, &expected[0].names));
    }

    /// The same of presence: what is in it is in the document, and nowhere else.
    #[test]
    fn what_partners_show_adds_no_header(
        status in text(), show in text(), resource in text(), priority in text(), nick in text(), raw in proptest::option::weighted(0.2, octets())
    ) {
        let (expected, _) = shown("word", "away", "phone", "1", "word", None);
        let (found, documents) = shown(&status, &show, &resource, &priority, &nick, raw.as_deref());
        prop_assert!(found.len() <= expected.len(), "{:?} {:?}", found, expected);
        for (start, names) in &found {
            prop_assert!(expected.iter().any(|(other, list)| other == start && list == names), "{names:?} {expected:?}");
        }
        for document in documents {
            let read = crate::readers::xml(&document);
            prop_assert!(!read.shape.iter().any(|element| element.contains("evil")), "{:?}", read);
        }
    }
}

/// The pool's MESSAGE is refused in these words: what it hears.
fn refused(words: &str) -> Vec<Sip> {
    use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(
        link,
        "MESSAGE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK1\r\nMax-Forwards: 69\r\n\
         From: <sip:alice@contoso.com>;tag=t\r\nTo: <sip:bob@partner.example>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
    );
    let (stanza, _) = rig.arrived();
    let refusal =
        Refusal::new(Condition::NotAcceptable, Blame::NextHop, Retry::Never, Bounce::Yes, words.to_owned());
    rig.verdict(&stanza, Err(&refusal));
    take(&mut rig, link)
}

/// Start and header fields of a message.
type Head = (String, Vec<String>);

/// The pool watches Bob, and Bob shows this. What the pool hears, and the documents in it.
fn shown(
    status: &str,
    show: &str,
    resource: &str,
    priority: &str,
    nick: &str,
    raw: Option<&[u8]>,
) -> (Vec<Head>, Vec<Vec<u8>>) {
    let mut stage: Stage = Scene::default().open();
    let link = stage.link;
    stage.rig.says(
        link,
        "SUBSCRIBE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK1\r\nMax-Forwards: 69\r\n\
         From: <sip:alice@contoso.com>;tag=t1\r\nTo: <sip:bob@partner.example>\r\nCall-ID: c1\r\nCSeq: 1 SUBSCRIBE\r\n\
         Contact: <sip:alice@contoso.com>\r\nAccept: application/pidf+xml\r\n\
         Event: presence\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n",
    );
    let settle = |stage: &mut Stage| {
        stage.pass(10);
        while !stage.is_quiet() {
            let message = stage.rig.next(link);
            if message.method().is_some() {
                stage.answer(&message, 200, "");
            }
            stage.pass(10);
        }
    };
    settle(&mut stage);
    stage.rig.raw.clear();
    let granted = stage::granted();
    stage.bob("subscribed", &turnout_core::contact::Contact { to: true, ..granted.clone() });
    let head = format!("<presence from='bob@partner.example/phone' to='{ALICE}'>");
    let mut stanza = stage.rig.stanza(&(head.clone() + "</presence>"));
    let status = raw.map_or_else(|| escaped(status).into_bytes(), <[u8]>::to_vec);
    let inside = format!(
        "<show>{}</show><priority>{}</priority><nick xmlns='http://jabber.org/protocol/nick'>{}</nick><status>",
        escaped(show),
        escaped(priority),
        escaped(nick)
    );
    stanza.bytes = [head.as_bytes(), inside.as_bytes(), &status, b"</status></presence>"].concat().into();
    if let Ok(from) = Jid::parse(&format!("bob@partner.example/{resource}")) {
        stanza.from = from;
    }
    let _taken = stage.present_stanza(stanza, &turnout_core::contact::Contact { to: true, ..granted });
    settle(&mut stage);
    let found = take(&mut stage.rig, link);
    let heads = found.iter().map(|message| (message.start.clone(), message.names.clone())).collect();
    let documents = found.into_iter().map(|message| message.body).filter(|body| !body.is_empty());
    (heads, documents.collect())
}

#[test]
fn harmless_words_are_heard() {
    let starts = |dialect| -> Vec<String> {
        hears(dialect, &Words::default()).into_iter().map(|message| message.start).collect()
    };
    assert_eq!(starts(Dialect::Simple), ["MESSAGE", "MESSAGE"]);
    assert_eq!(starts(Dialect::Skype), ["INVITE", "ACK", "MESSAGE"]);
    let (heads, documents) = shown("word", "away", "phone", "1", "word", None);
    assert!(!heads.is_empty() && heads.iter().all(|(start, _)| start == "NOTIFY"), "{heads:?}");
    assert!(documents.iter().any(|document| document.windows(4).any(|four| four == b"word")));
}
