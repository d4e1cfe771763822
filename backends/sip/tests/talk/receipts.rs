//! Receipts: asked for, given, refused, and never made up.

use std::time::Duration;

use turnout_core::backend::{Backend, Sent};
use turnout_core::home::Dialect;
use turnout_core::io::LinkId;
use turnout_core::world::Calendar;
use turnout_sip::parse::{HeaderName as H, Message};

use crate::support::*;
use crate::*;

const WISH: &str = "imdn.Disposition-Notification: positive-delivery, negative-delivery\r\n";

/// A rig whose clock stands at 2026-01-02T03:04:05Z.
fn rig() -> (Rig, LinkId) {
    let now = Rig::new(&Setup::default()).now;
    let calendar = Some(Calendar { at: now, unix_seconds: 1_767_323_045 });
    let mut rig = Rig::new(&Setup { dialect: Dialect::Simple, calendar, ..Setup::default() });
    rig.now = now;
    let link = rig.dial(0);
    (rig, link)
}

/// A wrapped message of Alice's. The wrapper names other people, whom nobody believes.
fn wrapped(branch: &str, headers: &str, kind: &str, body: &str) -> String {
    let body = format!(
        "From: <sip:mallory@contoso.com>\r\nTo: <sip:eve@evil.example>\r\nDateTime: 2026-01-02T03:04:00Z\r\n\
         NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {branch}\r\n{headers}\r\nContent-Type: {kind}\r\n\r\n{body}"
    );
    format!(
        "MESSAGE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bK{branch}\r\nMax-Forwards: 69\r\n\
         From: <sip:alice@contoso.com>;tag=a\r\nTo: <sip:bob@partner.example>\r\nCall-ID: {branch}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: message/cpim\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A wrapped text of Alice's was delivered. Gives the stanza and its id.
fn heard(rig: &mut Rig, link: LinkId, branch: &str, headers: &str) -> (String, String) {
    rig.says(link, &wrapped(branch, headers, "text/plain", "hello"));
    let (stanza, text) = rig.arrived();
    assert_eq!((stanza.from.as_str(), stanza.to.bare().as_str()), (ALICE, "bob@partner.example"), "{text}");
    assert!(text.contains("<body>hello</body>") && !text.contains("mallory"), "{text}");
    rig.verdict(&stanza, Ok(()));
    assert_eq!(rig.next(link).status(), Some(200));
    assert!(rig.is_quiet(link), "a 200 is no receipt");
    (text.clone(), text.split(" id='").nth(1).unwrap().split('\'').next().unwrap().to_owned())
}

/// The next request is a notification; its body.
fn notification(rig: &mut Rig, link: LinkId) -> (Message, String) {
    let message = rig.next(link);
    assert_eq!(first_line(&message), "MESSAGE sip:alice@contoso.com SIP/2.0");
    assert_eq!(header(&message, H::ContentType), "message/cpim");
    rig.says(link, &answer(&message, 200, "OK", "", ""));
    let text = body(&message);
    assert!(text.starts_with("From: <sip:bob@partner.example>\r\nTo: <sip:alice@contoso.com>\r\n"), "{text}");
    assert!(
        text.contains("\r\nContent-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n"),
        "{text}"
    );
    (message, text)
}

fn received(rig: &mut Rig, link: LinkId, id: &str) {
    hint(rig, link, BOB, &format!("<received xmlns='urn:xmpp:receipts' id='{id}'/>"));
}

#[test]
fn a_wish_is_a_request_and_a_receipt_is_a_notification() {
    let (mut rig, link) = rig();
    let (text, id) = heard(&mut rig, link, "one", WISH);
    assert!(text.ends_with("<request xmlns='urn:xmpp:receipts'/></message>"), "{text}");
    received(&mut rig, link, "other");
    assert!(rig.is_quiet(link), "nobody asked for that");
    received(&mut rig, link, &id);
    let (_, text) = notification(&mut rig, link);
    for part in [
        "<message-id>one</message-id><datetime>2026-01-02T03:04:00Z</datetime>",
        "<recipient-uri>sip:bob@partner.example</recipient-uri>",
        "<delivery-notification><status><delivered/></status></delivery-notification>",
    ] {
        assert!(text.contains(part), "{text}");
    }
    received(&mut rig, link, &id);
    assert!(rig.is_quiet(link), "once");
}

#[test]
fn what_was_not_asked_for_is_not_told() {
    let (mut rig, link) = rig();
    for (branch, headers) in [("one", ""), ("two", "imdn.Disposition-Notification: negative-delivery\r\n")] {
        let (text, id) = heard(&mut rig, link, branch, headers);
        assert!(!text.contains("urn:xmpp:receipts"), "{text}");
        received(&mut rig, link, &id);
        assert!(rig.is_quiet(link));
    }
}

#[test]
fn an_error_after_the_200_is_a_notification_of_failure() {
    let (mut rig, link) = rig();
    let (_, id) = heard(&mut rig, link, "one", WISH);
    let error =
        rig.stanza(&format!("<message type='error' id='{id}' from='{BOB}' to='{ALICE}'><error/></message>"));
    assert!(matches!(rig.send(link, error), Sent::Answered(_)));
    let (_, text) = notification(&mut rig, link);
    assert!(text.contains("<message-id>one</message-id>") && text.contains("<failed/>"), "{text}");
}

/// Bob's text, asking for a receipt; gives its Message-ID in the wrapper.
fn asked(rig: &mut Rig, link: LinkId, body_sent: &str) -> String {
    text(rig, link, body_sent, "<request xmlns='urn:xmpp:receipts'/>");
    let message = rig.next(link);
    assert_eq!(header(&message, H::ContentType), "message/cpim");
    let text = body(&message);
    assert!(text.contains("\r\nDateTime: 2026-01-02T03:04:05Z\r\n") && text.contains(WISH), "{text}");
    assert!(text.ends_with(&format!("\r\nContent-Length: {}\r\n\r\n{body_sent}", body_sent.len())), "{text}");
    rig.says(link, &answer(&message, 200, "OK", "", ""));
    assert_eq!(rig.ended(), (body_sent.to_owned(), Ok(())));
    assert!(rig.arrivals.is_empty(), "a 200 is no receipt");
    text.split("imdn.Message-ID: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
}

fn notify(rig: &mut Rig, link: LinkId, branch: &str, id: &str, status: &str) {
    let document = format!(
        "<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>{id}</message-id>\
         <delivery-notification><status><{status}/></status></delivery-notification></imdn>"
    );
    rig.says(link, &wrapped(branch, "", "message/imdn+xml", &document));
    assert_eq!(rig.next(link).status(), Some(200));
}

#[test]
fn a_request_is_a_wish_and_a_notification_is_a_receipt() {
    let (mut rig, link) = rig();
    // The peer has not shown that it knows wrappers.
    text(&mut rig, link, "plain", "<request xmlns='urn:xmpp:receipts'/>");
    let plain = rig.next(link);
    assert_eq!(header(&plain, H::ContentType), "text/plain; charset=UTF-8");
    rig.says(link, &answer(&plain, 200, "OK", "", ""));
    assert_eq!(rig.ended(), ("plain".to_owned(), Ok(())));
    heard(&mut rig, link, "one", "");
    let id = asked(&mut rig, link, "two");
    notify(&mut rig, link, "n1", "unknown", "delivered");
    notify(&mut rig, link, "n2", &id, "processed");
    assert!(rig.arrivals.is_empty());
    notify(&mut rig, link, "n3", &id, "delivered");
    let (stanza, text) = rig.arrived();
    assert_eq!((stanza.from.as_str(), stanza.to.as_str()), (ALICE, BOB));
    assert!(
        text.ends_with(" type='chat'><received xmlns='urn:xmpp:receipts' id='m-two'/></message>"),
        "{text}"
    );
    notify(&mut rig, link, "n4", &id, "delivered");
    assert!(rig.arrivals.is_empty(), "once");
    let id = asked(&mut rig, link, "three");
    notify(&mut rig, link, "n5", &id, "failed");
    let (_, text) = rig.arrived();
    assert!(text.contains(" id='m-three' type='error'><error type='wait'><recipient-unavailable "), "{text}");
    // A text that asks for nothing is not wrapped.
    rig.chat(link, BOB, ALICE, "four");
    assert_eq!(header(&rig.next(link), H::ContentType), "text/plain; charset=UTF-8");
}

#[test]
fn receipts_are_bounded_and_end() {
    let (mut rig, link) = rig();
    let ids: Vec<String> =
        (0..17).map(|number| heard(&mut rig, link, &format!("b{number}"), WISH).1).collect();
    received(&mut rig, link, &ids[0]);
    assert!(rig.is_quiet(link), "the oldest is forgotten");
    received(&mut rig, link, &ids[1]);
    notification(&mut rig, link);
    rig.pass(Duration::from_secs(3599));
    received(&mut rig, link, &ids[2]);
    notification(&mut rig, link);
    rig.pass(Duration::from_secs(40));
    received(&mut rig, link, &ids[3]);
    assert!(rig.is_quiet(link), "it is too old");
    rig.pass(Duration::from_secs(1200));
    assert_eq!(rig.with(0, |_, backend, _| backend.deadline()), None, "all is forgotten");
}

#[test]
fn the_pool_of_sessions_has_no_receipts() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    let ok = opened(&mut rig, link, "<request xmlns='urn:xmpp:receipts'/>");
    assert!(rig.arrivals.is_empty(), "a claimed text is no receipt either");
    let theirs =
        "<imdn xmlns='http://schemas.microsoft.com/rtc/2005/08/imdn'><message-id>2</message-id></imdn>";
    let kind = "Content-Type: application/ms-imdn+xml\r\n";
    rig.says(link, &within(&ok, "MESSAGE", 1, "z9hG4bK1", kind, theirs));
    assert_eq!(rig.next(link).status(), Some(200));
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bK2", "Content-Type: message/cpim\r\n", "\r\n\r\nx"));
    assert_eq!(rig.next(link).status(), Some(415));
    assert!(rig.arrivals.is_empty());
}

#[test]
fn wrappers_that_are_none() {
    let (mut rig, link) = rig();
    let cut = wrapped("one", "", "text/plain", "x")
        .replace("\r\n\r\nx", "\r\n\nx")
        .replace("\r\nContent-Type: text/plain", "");
    let cut = cut.split("message/cpim").next().unwrap().to_owned();
    rig.says(link, &format!("{cut}message/cpim\r\nContent-Length: 7\r\n\r\nFrom: x"));
    assert_eq!(first_line(&rig.next(link)), "SIP/2.0 400 The message/cpim body is malformed");
    rig.says(link, &wrapped("two", "", "image/png", "x"));
    let refused = rig.next(link);
    assert_eq!(refused.status(), Some(415));
    assert!(header(&refused, H::Accept).ends_with("message/cpim, message/imdn+xml"));
    // Typing may be wrapped as well (RFC 3994 §3.5).
    text(&mut rig, link, "first", &active());
    let first = rig.next(link);
    rig.says(link, &answer(&first, 200, "OK", "", ""));
    let typing =
        "<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>active</state></isComposing>";
    rig.says(link, &wrapped("three", "", "application/im-iscomposing+xml", typing));
    assert_eq!(rig.next(link).status(), Some(200));
    shown(&mut rig, "composing");
}
