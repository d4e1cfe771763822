//! Typing, from the first key to the end of the conversation.

use std::time::Duration;

use turnout_core::backend::{Backend, Sent};
use turnout_core::home::Dialect;
use turnout_core::io::LinkId;
use turnout_sip::parse::{HeaderName as H, Message};

use crate::support::*;
use crate::*;

const TYPES: &str = "<KeyboardActivity><status status=\"type\"/></KeyboardActivity>";
const IDLES: &str = "<KeyboardActivity><status status=\"idle\"/></KeyboardActivity>";
const XML: &str = "Content-Type: application/xml\r\n";
const DOCUMENT: &str = "Content-Type: application/im-iscomposing+xml\r\n";

fn document(inside: &str) -> String {
    format!("<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'>{inside}</isComposing>")
}

/// The next request is INFO with this status; it is answered.
fn told(rig: &mut Rig, link: LinkId, status: &str) -> Message {
    let info = rig.next(link);
    assert_eq!(info.method(), Some(b"INFO".as_slice()));
    assert_eq!(header(&info, H::ContentType), "application/xml");
    assert!(body(&info).contains(&format!("<status status=\"{status}\"/>")), "{}", body(&info));
    rig.says(link, &answer(&info, 200, "OK", "", ""));
    info
}

/// The pool says something within the dialog and hears 200 at once.
fn says(rig: &mut Rig, link: LinkId, ok: &Message, method: &str, number: u32, kind: &str, body: &str) {
    rig.says(link, &within(ok, method, number, &format!("z9hG4bKn{number}"), kind, body));
    assert_eq!(rig.next(link).status(), Some(200));
}

fn rig() -> (Rig, LinkId) {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    (rig, link)
}

#[test]
fn composing_is_active_again_every_five_seconds_and_paused_is_idle() {
    for stop in ["paused", "active", "inactive"] {
        let (mut rig, link) = rig();
        opened(&mut rig, link, &active());
        state(&mut rig, link, "composing");
        let info = told(&mut rig, link, "type");
        assert_eq!(first_line(&info), "INFO sip:alice@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
        assert_eq!(header(&info, H::CSeq), "2 INFO");
        state(&mut rig, link, "composing");
        assert!(rig.is_quiet(link), "it is known");
        rig.pass(Duration::from_secs(5));
        told(&mut rig, link, "type");
        state(&mut rig, link, stop);
        told(&mut rig, link, "idle");
        rig.pass(Duration::from_secs(60));
        assert!(rig.is_quiet(link), "once is enough");
        state(&mut rig, link, "paused");
        assert!(rig.is_quiet(link), "it is known");
        assert!(rig.arrivals.is_empty());
    }
}

#[test]
fn composing_that_is_never_taken_back_ends() {
    let (mut rig, link) = rig();
    opened(&mut rig, link, &active());
    state(&mut rig, link, "composing");
    let mut count = 0;
    for _ in 0..40 {
        while !rig.is_quiet(link) {
            let info = rig.next(link);
            rig.says(link, &answer(&info, 200, "OK", "", ""));
            count += 1;
            if body(&info).contains("idle") {
                assert_eq!(count, 25, "24 times within 120 s, and the end");
                return;
            }
        }
        rig.pass(Duration::from_secs(5));
    }
    panic!("it never ended");
}

#[test]
fn typing_alone_opens_nothing() {
    for dialect in [Dialect::Skype, Dialect::Simple] {
        let mut rig = Rig::new(&Setup { dialect, ..Setup::default() });
        let link = rig.dial(0);
        for name in ["composing", "paused", "active", "inactive", "gone"] {
            state(&mut rig, link, name);
        }
        hint(&mut rig, link, BOB, "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>");
        hint(&mut rig, link, BOB, "<received xmlns='urn:xmpp:receipts' id='x'/>");
        assert!(rig.is_quiet(link));
        assert_eq!(rig.with(0, |_, backend, _| backend.deadline()), None, "nothing is remembered");
    }
}

#[test]
fn a_text_is_idle_without_words_and_states_never_overtake_it() {
    let (mut rig, link) = rig();
    opened(&mut rig, link, &active());
    state(&mut rig, link, "composing");
    told(&mut rig, link, "type");
    text(&mut rig, link, "two", &active());
    let two = rig.next(link);
    assert_eq!(body(&two), "two");
    // He types on while the text is under way: that is told after it.
    state(&mut rig, link, "composing");
    text(&mut rig, link, "three", &active());
    state(&mut rig, link, "composing");
    assert!(rig.is_quiet(link));
    rig.says(link, &answer(&two, 200, "OK", "", ""));
    let three = rig.next(link);
    assert_eq!(body(&three), "three");
    assert!(rig.is_quiet(link));
    rig.says(link, &answer(&three, 200, "OK", "", ""));
    told(&mut rig, link, "type");
    assert!(rig.is_quiet(link));
    // A state that is not answered yet does not hold a text back.
    state(&mut rig, link, "paused");
    let idle = rig.next(link);
    text(&mut rig, link, "four", "");
    assert_eq!(body(&rig.next(link)), "four");
    rig.says(link, &answer(&idle, 200, "OK", "", ""));
}

#[test]
fn a_flood_of_states_is_one_request_at_a_time() {
    let (mut rig, link) = rig();
    opened(&mut rig, link, &active());
    for _ in 0..100 {
        state(&mut rig, link, "composing");
        state(&mut rig, link, "paused");
    }
    let first = rig.next(link);
    assert!(rig.is_quiet(link));
    rig.says(link, &answer(&first, 200, "OK", "", ""));
    told(&mut rig, link, "idle");
    assert!(rig.is_quiet(link));
}

#[test]
fn the_form_of_the_peer_is_used() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, &active());
    says(
        &mut rig,
        link,
        &ok,
        "MESSAGE",
        1,
        DOCUMENT,
        &document("<state>active</state><refresh>60</refresh>"),
    );
    shown(&mut rig, "composing");
    state(&mut rig, link, "composing");
    let document_sent = rig.next(link);
    assert_eq!(document_sent.method(), Some(b"MESSAGE".as_slice()));
    assert_eq!(header(&document_sent, H::ContentType), "application/im-iscomposing+xml");
    assert!(body(&document_sent).contains("<state>active</state>"));
    assert!(body(&document_sent).contains("<refresh>90</refresh>"));
    rig.says(link, &answer(&document_sent, 200, "OK", "", ""));
    assert!(rig.done.is_empty(), "no text ended with it");
    rig.pass(Duration::from_secs(79));
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_secs(1));
    let again = rig.next(link);
    assert!(body(&again).contains("<state>active</state>"));
    rig.says(link, &answer(&again, 200, "OK", "", ""));
    // The same peer by INFO, then by KeyboardActivity: each is answered in kind.
    says(&mut rig, link, &ok, "INFO", 2, DOCUMENT, &document("<state>idle</state>"));
    state(&mut rig, link, "paused");
    let idle = rig.next(link);
    assert_eq!(idle.method(), Some(b"INFO".as_slice()));
    assert!(body(&idle).contains("<state>idle</state>"));
    rig.says(link, &answer(&idle, 200, "OK", "", ""));
    says(&mut rig, link, &ok, "INFO", 3, XML, IDLES);
    state(&mut rig, link, "composing");
    told(&mut rig, link, "type");
}

#[test]
fn a_dead_dialog_is_found_out_by_typing_too() {
    for code in [408, 481] {
        let (mut rig, link) = rig();
        opened(&mut rig, link, &active());
        state(&mut rig, link, "composing");
        let info = rig.next(link);
        rig.says(link, &answer(&info, code, "Gone", "", ""));
        assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
        assert!(rig.is_quiet(link), "nothing opens for typing");
        rig.chat(link, BOB, ALICE, "again");
        assert_eq!(rig.next(link).method(), Some(b"INVITE".as_slice()));
    }
    // Silence is 408.
    let (mut rig, link) = rig();
    opened(&mut rig, link, &active());
    state(&mut rig, link, "composing");
    rig.next(link);
    rig.pass(Duration::from_secs(32));
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
}

#[test]
fn a_peer_that_refuses_typing_is_left_in_peace() {
    for code in [405, 415, 501] {
        let (mut rig, link) = rig();
        opened(&mut rig, link, &active());
        state(&mut rig, link, "composing");
        let info = rig.next(link);
        rig.says(link, &answer(&info, code, "No", "", ""));
        state(&mut rig, link, "paused");
        state(&mut rig, link, "composing");
        rig.pass(Duration::from_secs(30));
        assert!(rig.is_quiet(link));
        rig.chat(link, BOB, ALICE, "text");
        assert_eq!(body(&rig.next(link)), "text", "the dialog lives");
    }
}

#[test]
fn gone_ends_the_dialog_after_the_texts() {
    let (mut rig, link) = rig();
    opened(&mut rig, link, &active());
    text(&mut rig, link, "two", "");
    text(&mut rig, link, "three", "");
    state(&mut rig, link, "gone");
    for body_sent in ["two", "three"] {
        let sent = rig.next(link);
        assert_eq!(body(&sent), body_sent);
        assert!(rig.is_quiet(link));
        rig.says(link, &answer(&sent, 200, "OK", "", ""));
        assert_eq!(rig.ended(), (body_sent.to_owned(), Ok(())));
    }
    let bye = rig.next(link);
    assert_eq!(bye.method(), Some(b"BYE".as_slice()));
    rig.says(link, &answer(&bye, 200, "OK", "", ""));
    rig.pass(Duration::from_secs(40));
    assert_eq!(rig.with(0, |_, backend, _| backend.deadline()), None, "nothing is remembered");
    // One that changes his mind in time stays.
    opened(&mut rig, link, &active());
    text(&mut rig, link, "two", "");
    state(&mut rig, link, "gone");
    text(&mut rig, link, "three", "");
    for _ in 0..2 {
        let sent = rig.next(link);
        rig.says(link, &answer(&sent, 200, "OK", "", ""));
    }
    assert!(rig.is_quiet(link));
    // Another client of his leaves: that is not he.
    hint(&mut rig, link, "bob@partner.example/other", &format!("<gone xmlns='{STATES}'/>"));
    assert!(rig.is_quiet(link));
    state(&mut rig, link, "gone");
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
}

#[test]
fn keyboard_activity_is_composing_until_idle_or_silence() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, &active());
    says(&mut rig, link, &ok, "INFO", 1, XML, TYPES);
    let stanza = shown(&mut rig, "composing");
    assert_eq!(stanza.from.as_str(), ALICE);
    let text = String::from_utf8(stanza.bytes.to_vec()).unwrap();
    assert!(text.contains(&format!("<thread>{}</thread>", header(&ok, H::CallId))), "{text}");
    for number in 2..6 {
        rig.pass(Duration::from_secs(5));
        says(&mut rig, link, &ok, "INFO", number, XML, TYPES);
        assert!(rig.arrivals.is_empty(), "he types on");
    }
    says(&mut rig, link, &ok, "INFO", 6, XML, IDLES);
    shown(&mut rig, "active");
    says(&mut rig, link, &ok, "INFO", 7, XML, IDLES);
    assert!(rig.arrivals.is_empty());
    says(&mut rig, link, &ok, "INFO", 8, XML, TYPES);
    shown(&mut rig, "composing");
    rig.pass(Duration::from_millis(14_900));
    assert!(rig.arrivals.is_empty());
    rig.pass(Duration::from_millis(200));
    shown(&mut rig, "active");
    // What says nothing is taken (SM-08).
    says(&mut rig, link, &ok, "INFO", 9, XML, "<other/>");
    says(&mut rig, link, &ok, "INFO", 10, XML, "\u{1}");
    assert!(rig.arrivals.is_empty());
}

#[test]
fn documents_are_composing_for_their_time() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, &active());
    for (number, refresh, seconds) in [(1, "", 120), (2, "<refresh>60</refresh>", 60)] {
        let body = document(&format!("<state>active</state>{refresh}"));
        says(&mut rig, link, &ok, "MESSAGE", number, DOCUMENT, &body);
        shown(&mut rig, "composing");
        rig.pass(Duration::from_secs(seconds - 1));
        assert!(rig.arrivals.is_empty());
        rig.pass(Duration::from_secs(1));
        shown(&mut rig, "active");
    }
    says(&mut rig, link, &ok, "MESSAGE", 3, DOCUMENT, &document("<state>active</state>"));
    shown(&mut rig, "composing");
    says(&mut rig, link, &ok, "MESSAGE", 4, DOCUMENT, &document("<state>pondering</state>"));
    shown(&mut rig, "active");
}

#[test]
fn a_text_of_the_pool_is_active_without_words() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, &active());
    says(&mut rig, link, &ok, "INFO", 1, XML, TYPES);
    shown(&mut rig, "composing");
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKm", PLAIN, "hello"));
    let (_, text) = rig.arrived();
    assert!(text.contains("<body>hello</body>") && text.contains(&active()), "{text}");
    rig.pass(Duration::from_secs(30));
    assert!(rig.arrivals.is_empty(), "there is nothing to time out");
}

#[test]
fn states_go_to_who_has_shown_one() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, "");
    says(&mut rig, link, &ok, "INFO", 1, XML, TYPES);
    assert!(rig.arrivals.is_empty());
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKm", PLAIN, "hello"));
    assert!(!rig.arrived().1.contains(STATES), "he has written without");
    // He shows one alone, and is shown some from then on.
    state(&mut rig, link, "composing");
    told(&mut rig, link, "type");
    says(&mut rig, link, &ok, "INFO", 3, XML, TYPES);
    shown(&mut rig, "composing");
    // Another client of his, of which nothing is known yet.
    let other =
        rig.stanza(&format!("<message from='bob@partner.example/web' to='{ALICE}'><body>x</body></message>"));
    assert!(matches!(rig.send(link, other), Sent::Kept));
    rig.next(link);
    says(&mut rig, link, &ok, "INFO", 4, XML, TYPES);
    assert!(rig.arrivals.is_empty());
}

#[test]
fn bye_is_gone() {
    let (mut rig, link) = rig();
    let ok = opened(&mut rig, link, &active());
    says(&mut rig, link, &ok, "BYE", 1, "", "");
    let stanza = shown(&mut rig, "gone");
    let text = String::from_utf8(stanza.bytes.to_vec()).unwrap();
    assert!(text.contains(&format!("<thread>{}</thread>", header(&ok, H::CallId))), "{text}");
    assert!(rig.arrivals.is_empty());
    // Not to one that never showed a state.
    let ok = opened(&mut rig, link, "");
    says(&mut rig, link, &ok, "BYE", 1, "", "");
    assert!(rig.arrivals.is_empty());
}

#[test]
fn the_dialect_of_single_messages() {
    let mut rig = Rig::new(&Setup { dialect: Dialect::Simple, ..Setup::default() });
    let link = rig.dial(0);
    text(&mut rig, link, "first", &active());
    let first = rig.next(link);
    rig.says(link, &answer(&first, 200, "OK", "", ""));
    assert_eq!(rig.ended().1, Ok(()));
    state(&mut rig, link, "composing");
    assert!(rig.is_quiet(link), "the peer has not spoken of typing");
    let typed = |branch: &str, inside: &str| {
        let body = document(inside);
        format!(
            "MESSAGE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch={branch}\r\nMax-Forwards: 69\r\n\
             From: <sip:alice@contoso.com>;tag=a\r\nTo: <sip:bob@partner.example>\r\nCall-ID: {branch}\r\nCSeq: 1 MESSAGE\r\n\
             {DOCUMENT}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    rig.says(link, &typed("z9hG4bK1", "<state>active</state>"));
    assert_eq!(rig.next(link).status(), Some(200));
    shown(&mut rig, "composing");
    rig.says(link, &typed("z9hG4bK2", "<state>idle</state>"));
    assert_eq!(rig.next(link).status(), Some(200));
    shown(&mut rig, "active");
    state(&mut rig, link, "composing");
    let sent = rig.next(link);
    assert_eq!(first_line(&sent), "MESSAGE sip:alice@contoso.com SIP/2.0");
    assert_eq!(header(&sent, H::ContentType), "application/im-iscomposing+xml");
    assert!(
        header(&sent, H::From).starts_with("<sip:bob@partner.example;gr=phone>;tag="),
        "{}",
        header(&sent, H::From)
    );
    rig.says(link, &answer(&sent, 200, "OK", "", ""));
    state(&mut rig, link, "paused");
    let sent = rig.next(link);
    assert!(body(&sent).contains("<state>idle</state>"));
    rig.says(link, &answer(&sent, 415, "Unsupported Media Type", "", ""));
    state(&mut rig, link, "composing");
    assert!(rig.is_quiet(link), "it has refused");
    rig.pass(Duration::from_secs(1200));
    assert_eq!(rig.with(0, |_, backend, _| backend.deadline()), None, "all is forgotten");
}
