//! What a pool may ask for and what it may not: answers of the transaction layer, trust, refusals, the dialect `simple`, shards.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

mod support;

use std::time::Duration;

use support::*;
use turnout_core::backend::Sent;
use turnout_core::home::Dialect;
use turnout_core::io::{LinkId, TrustId};
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_sip::parse::{HeaderName as H, Message};

const BOB: &str = "bob@partner.example/phone";

/// A request of the pool outside of any dialog.
fn request(method: &str, from: &str, to: &str, extra: &str, body: &str) -> String {
    let to = to.to_owned();
    format!(
        "{method} {to} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKr{}\r\nFrom: <{from}>;tag=ft\r\nTo: <{to}>\r\n\
         Call-ID: rules@contoso.com\r\nCSeq: 1 {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        method.len() + extra.len(),
        body.len()
    )
}

fn one_answer(text: &str) -> Message {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, text);
    assert!(rig.arrivals.is_empty());
    rig.next(link)
}

const ALICE_URI: &str = "sip:alice@contoso.com";
const BOB_URI: &str = "sip:bob@partner.example";

#[test]
fn what_is_not_served_is_refused_with_the_right_code() {
    let check = |text: &str, code: u16, name: Option<(H, &str)>| {
        let answer = one_answer(text);
        assert_eq!(answer.status(), Some(code), "{text}");
        if let Some((name, value)) = name {
            assert_eq!(header(&answer, name), value, "{text}");
        }
    };
    let simple = |method: &str, extra: &str, body: &str| request(method, ALICE_URI, BOB_URI, extra, body);
    let allow =
        Some((H::Allow, "INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, SUBSCRIBE, NOTIFY, BENOTIFY"));
    check(&simple("OPTIONS", "", ""), 200, allow);
    check(&request("OPTIONS", "sip:fe1.contoso.com", "sip:turnout.contoso.com", "", ""), 200, allow);
    check(&simple("NEGOTIATE", "Compression: LZ77-8K\r\n", ""), 405, allow);
    check(&simple("REGISTER", "", ""), 405, allow);
    check(&simple("OPTIONS", "", ""), 200, Some((H::AllowEvents, "presence")));
    check(&simple("NOTIFY", "Event: presence\r\n", ""), 481, None);
    check(&simple("UPDATE", "", ""), 405, allow);
    check(&simple("PUBLISH", "Event: presence\r\n", ""), 405, allow);
    check(&simple("REFER", "", ""), 405, allow);
    check(&simple("FROBNICATE", "", ""), 501, allow);
    check(&simple("MESSAGE", "Require: foo\r\n", ""), 420, Some((H::Unsupported, "foo")));
    check(&simple("MESSAGE", "Max-Forwards: 0\r\n", ""), 483, None);
    check(&simple("BYE", "", ""), 481, None);
    check(&simple("INFO", "", ""), 481, None);
    check(&simple("CANCEL", "", ""), 481, None);
    let types = "text/plain, multipart/alternative, text/html, application/im-iscomposing+xml";
    let accept = format!("application/sdp, {types}");
    let rtf = simple("MESSAGE", "Content-Type: text/rtf\r\n", "{\\rtf1 x}");
    assert_eq!(one_answer(&rtf).status(), Some(415));
    let only_rtf = "--b\r\nContent-Type: text/rtf\r\n\r\n{\\rtf1 x}\r\n--b--\r\n";
    let multipart = simple("MESSAGE", "Content-Type: multipart/alternative;boundary=b\r\n", only_rtf);
    check(&multipart, 415, Some((H::Accept, &accept)));
    check(
        &simple("MESSAGE", "Content-Type: text/x-msmsgsinvite\r\n", "Application-Name: File Transfer"),
        603,
        None,
    );
    check(
        &simple("MESSAGE", "Content-Type: application/im-iscomposing+xml\r\n", "<isComposing/>"),
        200,
        None,
    );
    check(&simple("MESSAGE", "Content-Type: image/gif\r\n", "GIF89a"), 415, None);
    check(&simple("MESSAGE", "Content-Type: text/plain; charset=klingon\r\n", "x"), 415, None);
    check(&simple("MESSAGE", "Content-Type: multipart/alternative\r\n", "x"), 400, None);
}

#[test]
fn only_local_users_speak_and_only_to_partners() {
    let check = |from: &str, to: &str, code: u16| {
        let text = request("MESSAGE", from, to, PLAIN, "x");
        assert_eq!(one_answer(&text).status(), Some(code), "{from} {to}");
    };
    check("sip:mallory@evil.example", BOB_URI, 403);
    check("sip:bob@partner.example", BOB_URI, 403);
    check("sip:alice@contoso.com.evil.example", BOB_URI, 403);
    check("sip:alice%40contoso.com@evil.example", BOB_URI, 403);
    check("sip:contoso.com", BOB_URI, 403);
    check("sip:+1555@contoso.com;user=phone", BOB_URI, 403);
    check("sip:a%00b@contoso.com", BOB_URI, 403);
    check(ALICE_URI, "sip:bob@stranger.example", 404);
    check(ALICE_URI, "sip:carol@contoso.com", 404);
    check(ALICE_URI, "sip:partner.example", 404);
    check(ALICE_URI, "sip:bob@partner.example%2f.evil.example", 400);
}

#[test]
fn strangers_are_turned_away() {
    let check = |dns: &[&str], trusted: &[TrustId]| {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.accept_as(0, dns, trusted);
        rig.says(link, &request("MESSAGE", ALICE_URI, BOB_URI, PLAIN, "x"));
        assert_eq!(rig.next(link).status(), Some(403), "{dns:?}");
        assert_eq!(rig.closed, [link]);
        assert!(rig.arrivals.is_empty());
        rig.says(link, &request("MESSAGE", ALICE_URI, BOB_URI, PLAIN, "again"));
        assert!(rig.is_quiet(link) && rig.arrivals.is_empty());
    };
    check(&["pool2019.contoso.com"], &[]);
    check(&["evil.contoso.com"], &[TRUST]);
    check(&["*.contoso.com"], &[TRUST]);
    check(&[], &[TRUST]);
}

#[test]
fn audio_and_the_like_are_not_acceptable_here() {
    let check = |kind: &str, body: &str| {
        let text = invite("alice", "c", "z9hG4bKn", "", body).replace("application/sdp;call-type=im", kind);
        let answer = one_answer(&text);
        assert_eq!(answer.status(), Some(488), "{kind}");
        assert_eq!(
            header(&answer, H::Warning),
            "304 turnout.contoso.com \"Only instant messages are taken\""
        );
    };
    check("application/sdp", &SDP.replace("m=message 5060 sip null", "m=audio 4000 RTP/AVP 0"));
    check(
        "application/sdp",
        &SDP.replace("m=message 5060 sip null", "m=applicationsharing 4000 TCP/RTP/SAVP 127"),
    );
    check("application/sdp", &format!("{SDP}m=video 4000 RTP/AVP 31\r\n"));
    check(
        "multipart/mixed;boundary=b",
        &format!("--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b--\r\n"),
    );
    check("application/sdp", "");
    check("application/sdp", "nonsense");
}

#[test]
fn an_accepted_invite_is_repeated_until_its_ack_and_then_given_up() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    // A retransmission is absorbed: the 200 is repeated by time alone.
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_millis(500));
    assert_eq!(rig.next(link).bytes(), ok.bytes());
    rig.pass(Duration::from_millis(1000));
    assert_eq!(rig.next(link).bytes(), ok.bytes());
    rig.pass(Duration::from_secs(31));
    let mut last = rig.next(link);
    while !rig.is_quiet(link) {
        last = rig.next(link);
    }
    assert_eq!(last.method(), Some(b"BYE".as_slice()), "a session without ACK is ended");
}

#[test]
fn cancel_and_merged_requests() {
    let setup = Setup { first_message_in_invite: true, ..Setup::default() };
    let mut rig = Rig::new(&setup);
    let link = rig.accept(0);
    let extra = "ms-text-format: text/plain; charset=UTF-8; ms-body=cXdl\r\n";
    let text = invite("alice", "c", "z9hG4bKm1", extra, SDP);
    rig.says(link, &text);
    let (stanza, _) = rig.arrived();
    // The same request by another path.
    rig.says(link, &text.replace("z9hG4bKm1", "z9hG4bKm2"));
    assert_eq!(rig.next(link).status(), Some(482));
    assert!(rig.arrivals.is_empty());
    let cancel = text.replace("INVITE sip:", "CANCEL sip:").replace("1 INVITE", "1 CANCEL");
    let cancel = cancel.split("Content-Type").next().unwrap().to_owned() + "Content-Length: 0\r\n\r\n";
    rig.says(link, &cancel);
    assert_eq!(rig.next(link).status(), Some(200));
    let gone = rig.next(link);
    assert_eq!(gone.status(), Some(487));
    // The refusal is repeated for a retransmission until the ACK ends it.
    rig.says(link, &text);
    assert_eq!(rig.next(link).bytes(), gone.bytes());
    rig.verdict(&stanza, Ok(()));
    assert!(rig.is_quiet(link), "one final answer");
    let ack = cancel.replace("CANCEL", "ACK");
    rig.says(link, &ack);
    assert!(rig.is_quiet(link));
    rig.pass(Duration::from_secs(60));
    assert!(rig.is_quiet(link));
}

#[test]
fn numbers_within_a_dialog_only_grow() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKx1", "", ""));
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bKx2", PLAIN, "x"));
    // Sent again while its verdict is awaited: absorbed.
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bKx2", PLAIN, "x"));
    let (stanza, _) = rig.arrived();
    assert!(rig.arrivals.is_empty() && rig.is_quiet(link));
    rig.verdict(&stanza, Ok(()));
    assert_eq!(rig.next(link).status(), Some(200));
    for number in [3, 2, 1] {
        rig.says(link, &within(&ok, "MESSAGE", number, &format!("z9hG4bKy{number}"), PLAIN, "x"));
        assert_eq!(rig.next(link).status(), Some(500));
    }
    // Typing is taken and goes no further; another tag is another dialog; a re-INVITE keeps the session.
    let typing = "Content-Type: application/xml\r\n";
    rig.says(link, &within(&ok, "INFO", 4, "z9hG4bKz1", typing, "<KeyboardActivity/>"));
    assert_eq!(rig.next(link).status(), Some(200));
    rig.says(
        link,
        &within(&ok, "MESSAGE", 5, "z9hG4bKz2", PLAIN, "x").replace("tag=9d5c2a38ba", "tag=other"),
    );
    assert_eq!(rig.next(link).status(), Some(481));
    let sdp =
        "Contact: <sip:alice@contoso.com;opaque=user:epid:new;gruu>\r\nContent-Type: application/sdp\r\n";
    rig.says(link, &within(&ok, "INVITE", 6, "z9hG4bKz3", sdp, SDP));
    assert_eq!(rig.next(link).status(), Some(200));
    rig.says(link, &within(&ok, "ACK", 6, "z9hG4bKz4", "", ""));
    let out = rig.dial(0);
    rig.chat(out, BOB, "alice@contoso.com", "hi");
    let text = rig.next(link);
    assert_eq!(first_line(&text), "MESSAGE sip:alice@contoso.com;opaque=user:epid:new;gruu SIP/2.0");
    assert!(rig.arrivals.is_empty());
}

#[test]
fn nobody_is_called_where_a_message_says() {
    // SD-02 and B-58: whatever Contact, Via and Record-Route name, bytes go on links only.
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    let text = invite("alice", "c", "z9hG4bKx", "", SDP)
        .replace("Contact: <sip:alice@contoso.com;", "Contact: <sip:alice@192.0.2.66;")
        .replace("10.0.0.7:5061", "255.255.255.255:5061");
    rig.says(link, &text);
    let ok = rig.next(link);
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKx1", "", ""));
    let out = rig.dial(0);
    rig.chat(out, BOB, "alice@contoso.com", "hi");
    assert_eq!(body(&rig.next(link)), "hi");
    // That link gone, the one the shard names.
    rig.lose(link);
    assert_eq!(rig.ended().1.unwrap_err().retry, Retry::Later);
    rig.chat(out, BOB, "alice@contoso.com", "there?");
    assert_eq!(body(&rig.next(out)), "there?");
}

#[test]
fn streams_are_cut_at_every_byte() {
    let whole = format!(
        "\r\n\r\n{}{}",
        request("OPTIONS", "sip:fe1.contoso.com", "sip:turnout.contoso.com", "", ""),
        request("MESSAGE", ALICE_URI, BOB_URI, PLAIN, "caf\u{e9} & co")
    );
    let mut expected = None;
    for cut in 0..=whole.len() {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.accept(0);
        for part in [&whole.as_bytes()[..cut], &whole.as_bytes()[cut..]] {
            let bytes = bytes::Bytes::copy_from_slice(part);
            rig.with(0, |now, backend, out| {
                turnout_core::backend::Backend::receive(backend, now, link, bytes, out).unwrap();
            });
        }
        let (stanza, text) = rig.arrived();
        rig.verdict(&stanza, Ok(()));
        assert!(rig.raw[&link].starts_with(b"\r\nSIP/2.0 200 OK\r\n"), "the keep-alive is answered first");
        assert_eq!(rig.next(link).status(), Some(200));
        assert_eq!(rig.next(link).status(), Some(200));
        assert_eq!(expected.get_or_insert_with(|| text.clone()), &text, "{cut}");
    }
}

#[test]
fn a_broken_stream_is_answered_and_closed() {
    for (length, code) in [
        ("Content-Length: -1", 400),
        ("Content-Length: 1\r\nl: 2", 400),
        ("X: y", 400),
        ("Content-Length: 99999999", 413),
    ] {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.accept(0);
        let text = request("MESSAGE", ALICE_URI, BOB_URI, PLAIN, "").replace("Content-Length: 0", length);
        rig.says(link, &text);
        assert_eq!(rig.next(link).status(), Some(code), "{length}");
        assert_eq!(rig.closed, [link]);
    }
}

#[test]
fn two_shards_share_a_user() {
    let setup = Setup { shards: 2, ..Setup::default() };
    let owner = turnout_core::placement::owner_of_user("alice@contoso.com", 2);
    let other = 1 - owner;
    let mut rig = Rig::new(&setup);
    // Everything of Alice read on the other shard is decided by her owner, and answered where it came from.
    let link = rig.accept(other);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    assert_eq!(ok.status(), Some(200));
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKx1", "", ""));
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKx2", PLAIN, "x"));
    assert_eq!(rig.handoffs, 3);
    let (stanza, _) = rig.arrived();
    assert_eq!(stanza.origin.link.shard(), owner, "the verdict comes back to the owner");
    assert_ne!(stanza.origin.link, LinkId::NONE);
    rig.verdict(&stanza, Ok(()));
    assert_eq!(rig.next(link).status(), Some(200));
    // Keep-alives are answered where they are read.
    rig.says(link, &request("OPTIONS", "sip:fe1.contoso.com", "sip:turnout.contoso.com", "", ""));
    assert_eq!(rig.next(link).status(), Some(200));
    assert_eq!(rig.handoffs, 3);
    // Once her name is known, whoever reads a message of hers looks no further: what is wrong with it is told by the owner, once.
    let text = request("MESSAGE", ALICE_URI, BOB_URI, PLAIN, "x").replace("CSeq: ", "CSeq: x");
    rig.says(link, &text);
    assert_eq!(rig.next(link).status(), Some(400));
    assert_eq!((rig.is_quiet(link), rig.handoffs), (true, 4));

    // A text for her goes out on the owner's link; its answer may be read anywhere.
    let out = rig.dial(owner);
    rig.chat(out, BOB, "alice@contoso.com", "hi");
    let text = rig.next(out);
    assert!(header(&text, H::Via).contains(&format!("branch=z9hG4bK{owner:04x}")));
    rig.says(link, &answer(&text, 200, "OK", "", ""));
    assert_eq!(rig.handoffs, 5);
    assert_eq!(rig.ended(), ("hi".to_owned(), Ok(())));
    assert_eq!(rig.kept(), 0);
}

#[test]
fn responses_that_match_nothing_are_dropped() {
    let mut rig = Rig::new(&Setup { shards: 2, ..Setup::default() });
    let link = rig.accept(0);
    for branch in ["z9hG4bK0000deadbeef", "z9hG4bKffffdeadbeef", "z9hG4bKzzzz", "other", ""] {
        let param = if branch.is_empty() { String::new() } else { format!(";branch={branch}") };
        rig.says(link, &format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS turnout.contoso.com:5061{param}\r\nFrom: <sip:b@partner.example>;tag=1\r\n\
             To: <sip:a@contoso.com>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        ));
    }
    assert!(rig.is_quiet(link) && rig.closed.is_empty() && rig.handoffs == 0);
}

#[test]
fn single_messages_in_order_and_never_twice() {
    let setup = Setup { dialect: Dialect::Simple, tls: true, ..Setup::default() };
    let mut rig = Rig::new(&setup);
    let link = rig.dial(0);
    rig.chat(link, "f\u{fc}\\27s@partner.example/Ph one", "alice@contoso.com", "one");
    rig.chat(link, "f\u{fc}\\27s@partner.example/Ph one", "alice@contoso.com", "two");
    let one = rig.next(link);
    assert!(rig.is_quiet(link), "one is outstanding");
    assert_eq!(first_line(&one), "MESSAGE sip:alice@contoso.com SIP/2.0");
    assert!(
        header(&one, H::From).starts_with("<sip:f%C3%BC's@partner.example;gr=Ph%20one>;tag="),
        "{}",
        header(&one, H::From)
    );
    assert_eq!(header(&one, H::To), "<sip:alice@contoso.com>");
    assert_eq!(header(&one, H::CSeq), "1 MESSAGE");
    assert_eq!(header(&one, H::MaxForwards), "70");
    assert_eq!(header(&one, H::ContentType), "text/plain; charset=UTF-8");
    assert_eq!(one.lines(H::Contact).count(), 0);
    rig.says(link, &answer(&one, 480, "Temporarily Unavailable", "", ""));
    assert_eq!(rig.ended().1.unwrap_err().condition, Condition::RecipientUnavailable);
    let two = rig.next(link);
    assert_eq!(body(&two), "two", "a failed one is not sent again");
    assert_ne!(header(&two, H::CallId), header(&one, H::CallId));
    rig.says(link, &answer(&two, 200, "OK", "", ""));
    assert_eq!(rig.ended(), ("two".to_owned(), Ok(())));

    let inbound = rig.accept(0);
    let about = format!("Subject: lunch\r\n{PLAIN}");
    rig.says(inbound, &request("MESSAGE", ALICE_URI, BOB_URI, &about, "x"));
    let (stanza, text) = rig.arrived();
    assert!(text.contains("'><subject>lunch</subject><body>x</body>") && !text.contains("type="), "{text}");
    let refusal = Refusal::new(Condition::ItemNotFound, Blame::Sender, Retry::Never, Bounce::Yes, "nobody");
    rig.verdict(&stanza, Err(&refusal));
    assert_eq!(first_line(&rig.next(inbound)), "SIP/2.0 404 nobody");
    rig.says(inbound, &invite("alice", "c", "z9hG4bKx", "", SDP));
    assert_eq!(rig.next(inbound).status(), Some(405));
}

#[test]
fn what_is_not_text_gets_an_honest_answer() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    let from_to = "from='bob@partner.example/x' to='alice@contoso.com'";
    let answered = |rig: &mut Rig, text: &str| {
        let stanza = rig.stanza(text);
        let sent = rig.send(link, stanza);
        assert!(matches!(sent, Sent::Answered(_)), "{text} {sent:?}");
    };
    let refused = |rig: &mut Rig, text: &str, condition: Condition| {
        let stanza = rig.stanza(text);
        match rig.send(link, stanza) {
            Sent::Refused(_, refusal) => assert_eq!(refusal.condition, condition, "{text}"),
            sent => panic!("{text} {sent:?}"),
        }
    };
    answered(&mut rig, &format!("<message type='error' {from_to}><body>x</body></message>"));
    answered(
        &mut rig,
        &format!(
            "<message type='chat' {from_to}><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
        ),
    );
    answered(&mut rig, &format!("<presence {from_to}></presence>"));
    answered(&mut rig, &format!("<iq type='result' id='1' {from_to}></iq>"));
    assert!(rig.arrivals.is_empty());
    let unavailable = Condition::ServiceUnavailable;
    refused(&mut rig, &format!("<message type='groupchat' {from_to}><body>x</body></message>"), unavailable);
    refused(
        &mut rig,
        &format!("<iq type='get' id='1' {from_to}><query xmlns='jabber:iq:version'/></iq>"),
        unavailable,
    );
    let long = "x".repeat(65_537);
    refused(
        &mut rig,
        &format!("<message {from_to}><body>{long}</body></message>"),
        Condition::PolicyViolation,
    );
    let ping = "<iq type='get' id='a&amp;\"b' from='bob@partner.example/x' to='alice@contoso.com'><ping xmlns='urn:xmpp:ping'/></iq>";
    answered(&mut rig, ping);
    let (stanza, text) = rig.arrived();
    assert!(stanza.made);
    assert_eq!(
        text,
        "<iq from='alice@contoso.com' to='bob@partner.example/x' id='a&amp;\"b' type='result'></iq>"
    );
    assert_eq!(stanza.raw(&stanza.id_span), b"a&amp;\"b");
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'";
    answered(&mut rig, &format!("<iq type='get' id='1' {from_to}>{info}/></iq>"));
    assert!(
        rig.arrived().1.contains("<feature var='urn:xmpp:ping'/><feature var='vcard-temp'/></query></iq>")
    );
    refused(
        &mut rig,
        &format!("<iq type='get' id='1' {from_to}>{info} node='n'/></iq>"),
        Condition::ItemNotFound,
    );
    assert!(rig.is_quiet(link));
}

#[test]
fn a_pool_without_its_certificate_is_not_used() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.with(0, |now, backend, out| {
        use turnout_core::backend::{Backend, Destination};
        let link = out.next_link();
        backend.dial(now, link, &Destination::Node { side: HOME, node: 0 }, None, out);
        backend.connected(now, link, true, out);
        backend.secured(now, link, turnout_core::io::Secured::default(), out);
        link
    });
    assert_eq!(rig.unready, [link]);
    assert_eq!(rig.closed, [link]);
    assert!(rig.ready.is_empty());
}

#[test]
fn draining_ends_sessions_and_takes_no_new_ones() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKx1", "", ""));
    rig.with(0, |now, backend, out| turnout_core::backend::Backend::drain(backend, now, out));
    assert_eq!(rig.next(link).method(), Some(b"BYE".as_slice()));
    rig.says(link, &invite("carol", "d", "z9hG4bKy", "", SDP));
    assert_eq!(rig.next(link).status(), Some(480));
}
