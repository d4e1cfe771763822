//! The dialect `skype` against a scripted pool, both directions.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

mod support;

use std::time::Duration;

use support::*;
use turnout_core::refusal::{Condition, ErrorType};
use turnout_sip::parse::HeaderName as H;

const BOB: &str = "bob@partner.example/phone";
const ALICE: &str = "alice@contoso.com";

#[test]
fn a_first_text_opens_a_session_header_by_header() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, BOB, ALICE, "hi &amp; \u{1f642}");
    assert_eq!(rig.kept(), 1);
    let invite = rig.next(link);
    assert_eq!(first_line(&invite), "INVITE sip:alice@contoso.com SIP/2.0");
    let via = header(&invite, H::Via);
    assert!(via.starts_with("SIP/2.0/TLS turnout.contoso.com:5061;branch=z9hG4bK0000"), "{via}");
    assert_eq!(header(&invite, H::MaxForwards), "70");
    assert!(header(&invite, H::From).starts_with("<sip:bob@partner.example>;tag="));
    assert_eq!(header(&invite, H::To), "<sip:alice@contoso.com>");
    assert_eq!(header(&invite, H::CSeq), "1 INVITE");
    assert_eq!(header(&invite, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tls>");
    assert_eq!(
        header(&invite, H::Allow),
        "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, SUBSCRIBE, NOTIFY, BENOTIFY"
    );
    assert_eq!(header(&invite, H::MsTextFormat), "text/plain; charset=UTF-8; ms-body=aGkgJiDwn5mC");
    assert!(invite.lists(H::Supported, "ms-embedded-first-message"));
    assert!(!invite.lists(H::Supported, "ms-text-format"));
    assert_eq!(header(&invite, H::MsConversationId).len(), 24);
    assert_eq!(header(&invite, H::ContentType), "application/sdp");
    assert!(
        body(&invite)
            .contains("\r\nm=message 5060 sip null\r\na=accept-types:text/plain multipart/alternative ")
    );
    assert!(!body(&invite).contains("10."));
    assert!(rig.is_quiet(link));

    rig.says(link, &answer(&invite, 101, "Progress Report", "ms-diagnostics: 13004;reason=\"x\"\r\n", ""));
    rig.says(link, &answer(&invite, 200, "OK", ROUTES, SDP));
    let ack = rig.next(link);
    assert_eq!(first_line(&ack), "ACK sip:alice@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
    assert_eq!(header(&ack, H::CSeq), "1 ACK");
    let routes: Vec<_> =
        ack.lines(H::Route).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect();
    assert_eq!(
        routes,
        [
            "<sip:fe1.contoso.com:5061;transport=tls;opaque=state:T;lr;ms-route-sig=bb/+=>",
            "<sip:pool2019.contoso.com:5061;transport=tls;opaque=state:F:Ci.R2;lr;ms-route-sig=aa>"
        ]
    );
    // The 200 does not claim ms-text-format: the text follows as MESSAGE.
    let text = rig.next(link);
    assert_eq!(first_line(&text), "MESSAGE sip:alice@contoso.com;opaque=user:epid:hYns;gruu SIP/2.0");
    assert_eq!(header(&text, H::To), "<sip:alice@contoso.com>;tag=pooltag;epid=b84a59c035");
    assert_eq!(header(&text, H::From), header(&invite, H::From));
    assert_eq!(header(&text, H::CallId), header(&invite, H::CallId));
    assert_eq!(header(&text, H::CSeq), "2 MESSAGE");
    assert_eq!(header(&text, H::ContentType), "text/plain; charset=UTF-8");
    assert_eq!(text.lines(H::Contact).count(), 0);
    assert_eq!(body(&text), "hi & \u{1f642}");
    assert!(rig.done.is_empty());
    rig.says(link, &answer(&text, 200, "OK", "", ""));
    assert_eq!(rig.ended(), ("hi &amp; \u{1f642}".to_owned(), Ok(())));
    assert_eq!(rig.kept(), 0);
    // A copy of the 200 to the INVITE gets its ACK again.
    rig.says(link, &answer(&invite, 200, "OK", ROUTES, SDP));
    assert_eq!(rig.next(link).bytes(), ack.bytes());
}

/// A session that stands, opened by us. Gives the INVITE.
fn opened(rig: &mut Rig, link: turnout_core::io::LinkId) -> turnout_sip::parse::Message {
    rig.chat(link, BOB, ALICE, "first");
    let invite = rig.next(link);
    let extra = format!("{ROUTES}Supported: ms-text-format\r\n");
    rig.says(link, &answer(&invite, 200, "OK", &extra, SDP));
    assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
    assert_eq!(rig.ended(), ("first".to_owned(), Ok(())));
    assert!(rig.is_quiet(link));
    invite
}

#[test]
fn a_claimed_first_text_is_not_repeated_and_one_is_outstanding() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    opened(&mut rig, link);
    for body in ["two", "three", "four"] {
        rig.chat(link, BOB, ALICE, body);
    }
    for (body_sent, number) in [("two", 2), ("three", 3), ("four", 4)] {
        let text = rig.next(link);
        assert!(rig.is_quiet(link), "one is outstanding");
        assert_eq!(body(&text), body_sent);
        assert_eq!(header(&text, H::CSeq), format!("{number} MESSAGE"));
        rig.says(link, &answer(&text, 200, "OK", "", ""));
        assert_eq!(rig.ended(), (body_sent.to_owned(), Ok(())));
    }
}

#[test]
fn texts_wait_while_the_invite_is_open() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    for body in ["one", "two"] {
        rig.chat(link, BOB, ALICE, body);
    }
    let invite = rig.next(link);
    assert!(rig.is_quiet(link));
    rig.says(link, &answer(&invite, 200, "OK", ROUTES, SDP));
    assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
    let one = rig.next(link);
    assert_eq!(body(&one), "one");
    rig.says(link, &answer(&one, 202, "Accepted", "", ""));
    assert_eq!(body(&rig.next(link)), "two");
}

#[test]
fn a_dead_session_is_rebuilt_once() {
    for code in [408, 480, 481] {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.dial(0);
        let first = opened(&mut rig, link);
        rig.chat(link, BOB, ALICE, "again");
        let text = rig.next(link);
        rig.says(link, &answer(&text, code, "Gone", "", ""));
        let bye = rig.next(link);
        assert_eq!(bye.method(), Some(b"BYE".as_slice()));
        assert_eq!(header(&bye, H::CallId), header(&first, H::CallId));
        assert_eq!(header(&bye, H::CSeq), "3 BYE");
        let invite = rig.next(link);
        assert_eq!(invite.method(), Some(b"INVITE".as_slice()));
        assert_ne!(header(&invite, H::CallId), header(&first, H::CallId));
        assert_ne!(header(&invite, H::MsConversationId), header(&first, H::MsConversationId));
        assert!(rig.done.is_empty());
        rig.says(link, &answer(&invite, 200, "OK", ROUTES, SDP));
        assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
        let text = rig.next(link);
        assert_eq!(body(&text), "again");
        // The second time it is told to the sender.
        rig.says(link, &answer(&text, code, "Gone", "", ""));
        assert!(rig.ended().1.is_err(), "{code}");
        assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
        assert!(rig.is_quiet(link));
    }
}

#[test]
fn silence_is_408() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    opened(&mut rig, link);
    rig.chat(link, BOB, ALICE, "hello?");
    assert_eq!(rig.next(link).method(), Some(b"MESSAGE".as_slice()));
    rig.pass(Duration::from_millis(31_999));
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
    assert_eq!(rig.next(link).method(), Some(b"INVITE".as_slice()));
    rig.pass(Duration::from_secs(32));
    let (_, end) = rig.ended();
    assert_eq!(end.unwrap_err().condition, Condition::RemoteServerTimeout);
    assert!(rig.is_quiet(link));
}

#[test]
fn refusals_of_invite_and_message_are_told() {
    let check = |code: u16, extra: &str, condition: Condition, kind: ErrorType| {
        // Of the INVITE: everything that waits is refused, and the ACK goes on the branch of the INVITE.
        let mut rig = Rig::new(&Setup::default());
        let link = rig.dial(0);
        rig.chat(link, BOB, ALICE, "one");
        rig.chat(link, BOB, ALICE, "two");
        let invite = rig.next(link);
        rig.says(link, &answer(&invite, code, "No", extra, ""));
        let ack = rig.next(link);
        assert_eq!(first_line(&ack), "ACK sip:alice@contoso.com SIP/2.0");
        assert_eq!(header(&ack, H::Via), header(&invite, H::Via));
        assert_eq!(header(&ack, H::To), "<sip:alice@contoso.com>;tag=pooltag;epid=b84a59c035");
        for body in ["one", "two"] {
            let (ended, end) = rig.ended();
            let refusal = end.unwrap_err();
            assert_eq!(
                (ended.as_str(), refusal.condition, refusal.error_type),
                (body, condition, kind),
                "{code}"
            );
        }
        assert!(rig.is_quiet(link));
        assert_eq!(rig.kept(), 0);
        // Of a MESSAGE: that text alone, unless the code says that the session is dead.
        if [408, 480, 481].contains(&code) {
            return;
        }
        let mut rig = Rig::new(&Setup::default());
        let link = rig.dial(0);
        opened(&mut rig, link);
        rig.chat(link, BOB, ALICE, "one");
        rig.chat(link, BOB, ALICE, "two");
        let text = rig.next(link);
        rig.says(link, &answer(&text, code, "No", extra, ""));
        assert_eq!(rig.ended().1.unwrap_err().condition, condition);
        assert_eq!(body(&rig.next(link)), "two");
        assert!(rig.done.is_empty());
    };
    check(480, "", Condition::RecipientUnavailable, ErrorType::Wait);
    check(486, "", Condition::RecipientUnavailable, ErrorType::Wait);
    check(488, "", Condition::NotAcceptable, ErrorType::Modify);
    check(503, "", Condition::InternalServerError, ErrorType::Wait);
    check(
        606,
        "Warning: 309 lcs.microsoft.com \"Message contents not allowed by policy\"\r\n",
        Condition::PolicyViolation,
        ErrorType::Modify,
    );
}

#[test]
fn a_user_who_is_not_in_this_pool_is_tried_elsewhere() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, BOB, ALICE, "one");
    let invite = rig.next(link);
    rig.says(
        link,
        &answer(&invite, 404, "Not Found", "ms-diagnostics: 4006;reason=\"x\";source=\"fe\"\r\n", ""),
    );
    let refusal = rig.ended().1.unwrap_err();
    assert_eq!(refusal.retry, turnout_core::refusal::Retry::Elsewhere);
}

#[test]
fn a_session_that_is_idle_ends() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    opened(&mut rig, link);
    rig.pass(Duration::from_secs(400));
    rig.chat(link, BOB, ALICE, "still here");
    let text = rig.next(link);
    rig.says(link, &answer(&text, 200, "OK", "", ""));
    rig.pass(Duration::from_secs(599));
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
    rig.pass(Duration::from_secs(60));
    rig.chat(link, BOB, ALICE, "new");
    assert_eq!(rig.next(link).method(), Some(b"INVITE".as_slice()));
}

#[test]
fn an_invite_that_rings_too_long_is_cancelled() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, BOB, ALICE, "one");
    let invite = rig.next(link);
    rig.says(link, &answer(&invite, 180, "Ringing", "", ""));
    rig.pass(Duration::from_secs(61));
    let cancel = rig.next(link);
    assert_eq!(first_line(&cancel), "CANCEL sip:alice@contoso.com SIP/2.0");
    assert_eq!(header(&cancel, H::Via), header(&invite, H::Via));
    assert_eq!(header(&cancel, H::CSeq), "1 CANCEL");
    assert_eq!(rig.ended().1.unwrap_err().condition, Condition::RecipientUnavailable);
    rig.says(link, &answer(&cancel, 200, "OK", "", ""));
    // The 200 crossed the CANCEL: acknowledged and ended.
    rig.says(link, &answer(&invite, 200, "OK", ROUTES, SDP));
    assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
}

#[test]
fn a_lost_link_gives_texts_back_in_order() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    opened(&mut rig, link);
    rig.chat(link, BOB, ALICE, "one");
    rig.chat(link, BOB, ALICE, "two");
    let _one = rig.next(link);
    rig.lose(link);
    for body in ["one", "two"] {
        let (ended, end) = rig.ended();
        assert_eq!(ended, body);
        assert_eq!(end.unwrap_err().retry, turnout_core::refusal::Retry::Later);
    }
    let link = rig.dial(0);
    let mut again = rig.stanza(&format!("<message from='{BOB}' to='{ALICE}'><body>one</body></message>"));
    again.attempts = 1;
    assert!(matches!(rig.send(link, again), turnout_core::backend::Sent::Kept));
    let one = rig.next(link);
    assert_eq!((one.method().unwrap(), body(&one)), (b"MESSAGE".as_slice(), "one".to_owned()));
    rig.lose(link);
    assert_eq!(rig.ended().1.unwrap_err().retry, turnout_core::refusal::Retry::Never);
}

#[test]
fn a_session_of_a_local_user_brings_his_text() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "ce878a8b", "z9hG4bKa1", "", SDP));
    let ok = rig.next(link);
    assert_eq!(first_line(&ok), "SIP/2.0 200 OK");
    let vias: Vec<_> = ok.lines(H::Via).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect();
    assert_eq!(
        vias,
        [
            "SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKa1;branched=FALSE;ms-internal-info=\"cd,x\"",
            "SIP/2.0/TLS 10.0.1.9:37737;ms-received-port=37737;ms-received-cid=3E8A00"
        ]
    );
    assert_eq!(header(&ok, H::From), "\"Alice\"<sip:alice@contoso.com>;tag=9d5c2a38ba;epid=b84a59c035");
    assert!(header(&ok, H::To).starts_with("<sip:bob@partner.example>;tag="));
    assert_eq!(ok.lines(H::RecordRoute).count(), 2);
    assert_eq!(header(&ok, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tls>");
    assert!(!ok.lists(H::Supported, "ms-text-format"));
    assert!(body(&ok).contains("\r\nm=message 5060 sip sip:bob@partner.example\r\n"));
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKa2", "", ""));
    rig.pass(Duration::from_secs(40));
    assert!(rig.is_quiet(link), "an acknowledged 200 is not repeated");

    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKa3", PLAIN, "hello <b> & 'all'"));
    let (stanza, text) = rig.arrived();
    assert!(rig.is_quiet(link), "the answer waits for the verdict");
    assert_eq!(stanza.from.as_str(), "alice@contoso.com");
    assert_eq!(stanza.to.as_str(), "bob@partner.example");
    assert!(text.starts_with("<message from='alice@contoso.com' to='bob@partner.example' id='"), "{text}");
    assert!(text.ends_with(
        "' type='chat'><body>hello &lt;b&gt; &amp; &#39;all&#39;</body><thread>ce878a8b</thread><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    ), "{text}");
    assert_eq!(rig.introduced.len(), 1);
    rig.verdict(&stanza, Ok(()));
    assert_eq!(first_line(&rig.next(link)), "SIP/2.0 200 OK");

    // The partner answers from a resource: same dialog, and what follows goes to that resource.
    rig.chat(link, BOB, ALICE, "hi");
    let answer_text = rig.next(link);
    assert_eq!(
        first_line(&answer_text),
        "MESSAGE sip:alice@contoso.com;opaque=user:epid:hYnsAA;gruu SIP/2.0"
    );
    assert_eq!(
        header(&answer_text, H::Route),
        "<sip:fe1.contoso.com:5061;transport=tls;opaque=state:T:F:Ci.R3f0c00;lr;ms-route-sig=fZ+/=>;tag=12AB"
    );
    assert_eq!(
        header(&answer_text, H::To),
        "\"Alice\"<sip:alice@contoso.com>;tag=9d5c2a38ba;epid=b84a59c035"
    );
    rig.says(link, &answer(&answer_text, 200, "OK", "", ""));
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bKa4", PLAIN, "there?"));
    let (stanza, _) = rig.arrived();
    assert_eq!(stanza.to.as_str(), BOB);
    let refusal = turnout_core::refusal::Refusal::new(
        Condition::ServiceUnavailable,
        turnout_core::refusal::Blame::Recipient,
        turnout_core::refusal::Retry::Never,
        turnout_core::refusal::Bounce::Yes,
        "no\r\nsuch user",
    );
    rig.verdict(&stanza, Err(&refusal));
    let refused = rig.next(link);
    assert_eq!(refused.status(), Some(403));
    assert!(first_line(&refused).starts_with("SIP/2.0 403 no"), "{}", first_line(&refused));
    assert_eq!(rig.introduced.len(), 1);

    rig.says(link, &within(&ok, "BYE", 4, "z9hG4bKa5", "", ""));
    assert_eq!(rig.next(link).status(), Some(200));
    rig.says(link, &within(&ok, "MESSAGE", 5, "z9hG4bKa6", PLAIN, "late"));
    assert_eq!(rig.next(link).status(), Some(481));
}

#[test]
fn an_embedded_first_text_is_heard_once() {
    let setup = Setup { first_message_in_invite: true, ..Setup::default() };
    let mut rig = Rig::new(&setup);
    let link = rig.accept(0);
    let extra = "ms-text-format: text/plain; charset=UTF-8; ms-body=cXdl\r\n";
    rig.says(link, &invite("alice", "c1", "z9hG4bKb1", extra, SDP));
    let (stanza, text) = rig.arrived();
    assert!(text.contains("<body>qwe</body>"), "{text}");
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_millis(250));
    assert_eq!(rig.next(link).status(), Some(100));
    rig.verdict(&stanza, Ok(()));
    let ok = rig.next(link);
    assert_eq!(ok.status(), Some(200));
    assert!(ok.lists(H::Supported, "ms-text-format"));
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKb2", "", ""));
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKb3", PLAIN, "qwe"));
    assert_eq!(rig.next(link).status(), Some(200));
    assert!(rig.arrivals.is_empty(), "the repeated first text is heard once");
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bKb4", PLAIN, "qwe"));
    assert_eq!(rig.arrivals.len(), 1, "the second time it is meant");

    // Refused: the INVITE is.
    rig.arrivals.clear();
    rig.says(link, &invite("carol", "c2", "z9hG4bKb5", extra, SDP));
    let (stanza, _) = rig.arrived();
    let refusal = turnout_core::refusal::Refusal::new(
        Condition::RemoteServerNotFound,
        turnout_core::refusal::Blame::NextHop,
        turnout_core::refusal::Retry::Never,
        turnout_core::refusal::Bounce::Yes,
        "",
    );
    rig.verdict(&stanza, Err(&refusal));
    assert_eq!(first_line(&rig.next(link)), "SIP/2.0 404 Not Found");

    // By default it is left to the MESSAGE.
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c1", "z9hG4bKb1", extra, SDP));
    assert_eq!(rig.next(link).status(), Some(200));
    assert!(rig.arrivals.is_empty());
}

#[test]
fn crossing_invites_lose_nothing() {
    // Theirs has the lowest and the highest Call-ID there is.
    for (theirs, through_theirs) in [("0", true), ("zzzz", false)] {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.dial(0);
        rig.chat(link, BOB, ALICE, "ours");
        let ours = rig.next(link);
        rig.says(link, &invite("alice", theirs, "z9hG4bKg1", "", SDP));
        let ok = rig.next(link);
        assert_eq!(ok.status(), Some(200));
        rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKg2", "", ""));
        rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKg3", PLAIN, "theirs"));
        let (stanza, _) = rig.arrived();
        rig.verdict(&stanza, Ok(()));
        assert_eq!(rig.next(link).status(), Some(200));
        rig.says(link, &answer(&ours, 200, "OK", ROUTES, SDP));
        assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
        let text = rig.next(link);
        assert_eq!(body(&text), "ours");
        let expected = if through_theirs { theirs.to_owned() } else { header(&ours, H::CallId) };
        assert_eq!(header(&text, H::CallId), expected);
        rig.says(link, &answer(&text, 200, "OK", "", ""));
        assert_eq!(rig.ended(), ("ours".to_owned(), Ok(())));
    }
    // Ours is refused because of it: the text goes through theirs.
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.chat(link, BOB, ALICE, "ours");
    let ours = rig.next(link);
    rig.says(link, &invite("alice", "zz", "z9hG4bKg1", "", SDP));
    let ok = rig.next(link);
    rig.says(link, &answer(&ours, 491, "Request Pending", "", ""));
    assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
    assert!(rig.is_quiet(link), "their ACK is awaited");
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKg2", "", ""));
    assert_eq!(body(&rig.next(link)), "ours");
    assert!(rig.done.is_empty());
}
