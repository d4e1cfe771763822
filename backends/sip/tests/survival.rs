//! What must be survived: clients that start anew, plain TCP, floods of markup, bytes that mean nothing, and stanza text in headers.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unreachable_pub, missing_docs, dead_code, reason = "support is shared between test files")]

#[path = "../../../tests/fuzz/subjects/jid.rs"]
mod addresses;
#[path = "../../../tests/fuzz/subjects/pool.rs"]
mod pool;
mod support;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use support::*;
use turnout_core::backend::Backend;
use turnout_core::io::{Door, LinkId};
use turnout_sip::parse::HeaderName as H;

const BOB: &str = "bob@partner.example/phone";
const ALICE: &str = "alice@contoso.com";

#[test]
fn a_client_that_started_anew_keeps_its_new_session() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    rig.says(link, &invite("alice", "old", "z9hG4bKo1", "", SDP));
    let old = rig.next(link);
    rig.says(link, &within(&old, "ACK", 1, "z9hG4bKo2", "", ""));
    rig.chat(link, BOB, ALICE, "hi");
    let text = rig.next(link);
    assert_eq!(header(&text, H::CallId), "old");
    rig.pass(Duration::from_secs(1));
    rig.says(link, &invite("alice", "new", "z9hG4bKo3", "", SDP));
    let new = rig.next(link);
    rig.says(link, &within(&new, "ACK", 1, "z9hG4bKo4", "", ""));
    rig.says(link, &answer(&text, 481, "Call/Transaction Does Not Exist", "", ""));
    let bye = rig.next(link);
    assert_eq!((bye.method().unwrap(), header(&bye, H::CallId).as_str()), (b"BYE".as_slice(), "old"));
    let text = rig.next(link);
    assert_eq!((body(&text).as_str(), header(&text, H::CallId).as_str()), ("hi", "new"));
    rig.says(link, &answer(&text, 200, "OK", "", ""));
    assert_eq!(rig.ended(), ("hi".to_owned(), Ok(())));
}

#[test]
fn only_so_many_dialogs_for_a_pair() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    for n in 0..6 {
        rig.says(link, &invite("alice", &format!("c{n}"), &format!("z9hG4bKn{n}"), "", SDP));
        let ok = rig.next(link);
        assert_eq!(ok.status(), Some(200));
        rig.says(link, &within(&ok, "ACK", 1, &format!("z9hG4bKm{n}"), "", ""));
        if n >= 4 {
            let bye = rig.next(link);
            assert_eq!(bye.method(), Some(b"BYE".as_slice()));
            assert_eq!(header(&bye, H::CallId), format!("c{}", n - 4));
        }
        assert!(rig.is_quiet(link));
    }
}

#[test]
fn plain_tcp_inside() {
    let setup = Setup { tls: false, ..Setup::default() };
    let mut rig = Rig::new(&setup);
    let link = rig.with(0, |now, backend, out| {
        let link = out.next_link();
        let node = turnout_core::backend::Destination::Node { side: HOME, node: 0 };
        backend.dial(now, link, &node, None, out);
        backend.connected(now, link, false, out);
        link
    });
    assert_eq!(rig.ready, [link]);
    rig.chat(link, BOB, ALICE, "hi");
    let invite_sent = rig.next(link);
    assert!(header(&invite_sent, H::Via).starts_with("SIP/2.0/TCP turnout.contoso.com:5061;"));
    assert_eq!(header(&invite_sent, H::Contact), "<sip:bob@turnout.contoso.com:5061;transport=tcp>");
    let inside = LinkId::accepted(0, 77);
    rig.with(0, |now, backend, out| {
        backend.accepted(now, inside, Door { side: HOME, direct_tls: false }, &"192.0.2.1:5060".into(), out);
    });
    rig.says(inside, &invite("alice", "c", "z9hG4bKx", "", SDP));
    assert_eq!(rig.next(inside).status(), Some(200));
}

#[test]
fn strangers_who_say_nothing_do_not_stay() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept_as(0, &["evil.example"], &[TRUST]);
    rig.pass(Duration::from_secs(9));
    assert!(rig.closed.is_empty());
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.closed, [link]);
}

#[test]
fn who_never_begins_tls_does_not_stay_and_the_pool_does() {
    let mut rig = Rig::new(&Setup::default());
    let pool = rig.accept(0);
    let silent = LinkId::accepted(0, 78);
    rig.with(0, |now, backend, out| {
        backend.accepted(now, silent, Door { side: HOME, direct_tls: true }, &"192.0.2.1:5061".into(), out);
    });
    rig.pass(Duration::from_secs(9));
    assert!(rig.closed.is_empty());
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.closed, [silent]);
    rig.says(pool, &invite("alice", "c", "z9hG4bKx", "", SDP));
    assert_eq!(rig.next(pool).status(), Some(200));
}

#[test]
fn strangers_are_given_little_room_and_no_answers_to_keep_alives() {
    // B-63: neither the memory of a large message nor an answer to each four octets is had without a certificate.
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept_as(0, &["evil.example"], &[TRUST]);
    rig.says(link, &"\r\n\r\n".repeat(10_000));
    assert!(rig.raw.is_empty() && rig.closed.is_empty());
    let head = "MESSAGE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bKq\r\n";
    let within = turnout_core::limits::SIP_STRANGER_BYTES_MAX;
    rig.says(link, &format!("{head}Content-Length: {}\r\n\r\n", within + 1));
    assert_eq!(rig.closed, [link], "it is not waited for");
    let other = rig.accept_as(0, &["evil.example"], &[TRUST]);
    rig.says(other, &format!("{head}X: {}", "x".repeat(within)));
    assert_eq!(rig.closed, [link, other]);
    // Nor while TLS has not told who it is.
    let silent = LinkId::accepted(0, 78);
    rig.with(0, |now, backend, out| {
        backend.accepted(now, silent, Door { side: HOME, direct_tls: true }, &"192.0.2.1:5061".into(), out);
    });
    rig.says(silent, &format!("{head}X: {}", "x".repeat(within)));
    assert_eq!(rig.closed, [link, other, silent]);
    // The pool has the room it needs.
    let pool = rig.accept(0);
    rig.says(pool, &format!("{head}X: {}", "x".repeat(2 * within)));
    assert_eq!(rig.closed.len(), 3);
}

#[test]
fn a_flood_of_keep_alives_is_answered_in_few_pieces() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.with(0, |now, backend, out| {
        let flood = Bytes::from("\r\n\r\n".repeat(5_000));
        backend.receive(now, link, flood, out).unwrap();
        assert!(out.outputs.len() <= 10, "{}", out.outputs.len());
    });
    assert_eq!(rig.raw[&link], "\r\n".repeat(5_000).as_bytes());
    // In order with what else there is to say.
    rig.raw.clear();
    let options = "OPTIONS sip:turnout.contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.7:5061;branch=z9hG4bKo\r\n\
        From: <sip:pool2019.contoso.com>;tag=1\r\nTo: <sip:turnout.contoso.com>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
        Content-Length: 0\r\n\r\n";
    rig.says(link, &format!("\r\n\r\n{options}\r\n\r\n"));
    let said = String::from_utf8(rig.raw[&link].clone()).unwrap();
    assert!(said.starts_with("\r\nSIP/2.0 200 ") && said.ends_with("\r\n\r\n\r\n"), "{said:?}");
}

#[test]
fn text_that_no_server_would_take_is_too_large() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    rig.says(link, &within(&ok, "ACK", 1, "z9hG4bKx1", "", ""));
    rig.says(link, &within(&ok, "MESSAGE", 2, "z9hG4bKx2", PLAIN, &"<".repeat(70_000)));
    assert_eq!(rig.next(link).status(), Some(413));
    assert!(rig.arrivals.is_empty());
    rig.says(link, &within(&ok, "MESSAGE", 3, "z9hG4bKx3", PLAIN, &"x".repeat(70_000)));
    assert_eq!(rig.arrivals.len(), 1);
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    for _ in 0..4096 {
        rig.chat(link, BOB, ALICE, "x");
    }
    let one_more = rig.stanza(&format!("<message from='{BOB}' to='{ALICE}'><body>x</body></message>"));
    match rig.send(link, one_more) {
        turnout_core::backend::Sent::Refused(_, refusal) => {
            assert_eq!(refusal.condition, turnout_core::refusal::Condition::ResourceConstraint);
        }
        sent => panic!("{sent:?}"),
    }
    assert_eq!(rig.kept(), 4096);
    rig.with(0, |_, backend, _| {
        assert_eq!((backend.kept_for(ALICE), backend.kept_for("carol@contoso.com")), (4096, 0));
    });
    let invite_sent = rig.next(link);
    rig.says(link, &answer(&invite_sent, 486, "Busy Here", "", ""));
    assert_eq!(rig.kept(), 0);
    assert_eq!(rig.done.len(), 4096);
    rig.with(0, |_, backend, _| assert_eq!(backend.kept_for(ALICE), 0));
}

#[test]
fn a_queue_is_full_by_bytes_too() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.dial(0);
    let stanza = |rig: &Rig, from: &str| {
        rig.stanza(&format!(
            "<message from='{from}' to='{ALICE}'><body>{}</body></message>",
            "x".repeat(60_000)
        ))
    };
    let octets = stanza(&rig, BOB).len();
    let fill = |rig: &mut Rig, from: &str| -> usize {
        (0..)
            .take_while(|_| {
                let one = stanza(rig, from);
                matches!(rig.send(link, one), turnout_core::backend::Sent::Kept)
            })
            .count()
    };
    let pair = 2 * 1024 * 1024;
    assert_eq!(fill(&mut rig, BOB), pair / octets, "of one pair");
    let others: usize = (0..40).map(|n| fill(&mut rig, &format!("b{n}@partner.example"))).sum();
    let all = 64 * 1024 * 1024;
    assert!((all - pair..=all).contains(&((pair / octets + others) * octets)), "{others} of all pairs");
}

/// Every byte of a conversation, one after the other, made to mean something else: no panic, and no answer to a stranger.
#[test]
fn damaged_bytes_are_survived() {
    let mut rig = Rig::new(&Setup::default());
    let link = rig.accept(0);
    rig.says(link, &invite("alice", "c", "z9hG4bKx", "", SDP));
    let ok = rig.next(link);
    let texts = [
        invite("alice", "d", "z9hG4bKy", "ms-text-format: text/plain; ms-body=cXdl\r\n", SDP),
        within(&ok, "MESSAGE", 2, "z9hG4bKx2", PLAIN, "hello"),
    ];
    for text in &texts {
        for at in 0..text.len() {
            for byte in [0_u8, b'\n', b';', b'"', b'<', 0xff] {
                let mut damaged = text.clone().into_bytes();
                damaged[at] = byte;
                let setup = Setup { first_message_in_invite: true, ..Setup::default() };
                let mut rig = Rig::new(&setup);
                let link = rig.accept(0);
                rig.with(0, |now, backend, out| {
                    let _fault = backend.receive(now, link, Bytes::from(damaged), out);
                });
                assert!(rig.arrivals.len() <= 1);
                for stanza in rig.arrivals {
                    assert_eq!(stanza.from.domain(), "contoso.com");
                    assert_eq!(stanza.to.domain(), "partner.example");
                }
            }
        }
    }
}

/// RFC 4475 through the whole backend: at most one final answer each, and no stanza in a name that is not ours.
#[test]
fn the_torture_messages_are_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/wire/sip/torture");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "dat") {
            continue;
        }
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let mut rig = Rig::new(&Setup::default());
        let link = rig.accept(0);
        rig.with(0, |now, backend, out| {
            let _fault = backend.receive(now, link, bytes, out);
        });
        assert!(rig.arrivals.is_empty(), "{}", path.display());
        let mut answers = 0;
        while !rig.is_quiet(link) {
            assert!(rig.next(link).status().is_some_and(|code| code >= 200), "{}", path.display());
            answers += 1;
        }
        // Two of the files hold two messages.
        assert!(answers <= 2, "{}", path.display());
        count += 1;
    }
    assert!(count >= 49, "{count}");
}

/// What came of bytes of the pool, given in these pieces: codes of the answers, how many stanzas, and whether the link was closed.
fn outcome(pieces: [&[u8]; 2]) -> (Vec<u16>, usize, bool) {
    let mut rig = Rig::new(&Setup { first_message_in_invite: true, ..Setup::default() });
    let link = rig.accept(0);
    for piece in pieces {
        rig.with(0, |now, backend, out| {
            let _fault = backend.receive(now, link, Bytes::copy_from_slice(piece), out);
        });
    }
    for stanza in &rig.arrivals {
        assert_eq!((stanza.from.domain(), stanza.to.domain()), ("contoso.com", "partner.example"));
        assert_eq!(stanza.from.bare_str(), ALICE, "in nobody else's name");
    }
    let (stanzas, closed) = (rig.arrivals.len(), !rig.closed.is_empty());
    rig.arrivals.clear();
    let mut codes = Vec::new();
    while !rig.is_quiet(link) {
        codes.push(rig.next(link).status().expect("nothing is asked because of it"));
    }
    if pieces[1].is_empty() {
        is_served_after(&mut rig);
    }
    (codes, stanzas, closed)
}

/// Whatever it was, the next one is served, and what is left of it ends.
fn is_served_after(rig: &mut Rig) {
    let next = rig.accept(0);
    rig.says(next, &invite("carla", "after", "z9hG4bKafter", "", SDP));
    assert_eq!(rig.next(next).status(), Some(200));
    rig.pass(Duration::from_secs(100));
}

/// B-54: after what was published of other programs, through all that reads the listener's octets, cut in two.
#[test]
fn messages_that_crashed_others_are_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/wire/sip/known");
    let listed = std::fs::read_to_string(format!("{folder}/README.md")).unwrap();
    let step = if std::env::var_os("EVERY_OCTET").is_some() { 1 } else { 5 };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "dat") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(listed.contains(&format!("| `{name}` | ")), "{name} is not in the list");
        let bytes = std::fs::read(&path).unwrap();
        let whole = outcome([&bytes, b""]);
        assert!(whole.1 <= 2, "{name}: {whole:?}");
        // At every octet the reader alone is tried, by tests/oracle; all that is behind it at every fifth, or at each by hand.
        for at in (1 + count % step..bytes.len()).step_by(step) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(outcome([head, tail]), whole, "{name} cut at {at}");
        }
        count += 1;
    }
    assert!(count >= 45, "{count}");
    assert_eq!(listed.matches("\n| `").count(), count, "a row without its file");
}

/// What the fuzzer found worth keeping.
fn corpus(name: &str, subject: fn(&[u8])) {
    let folder = format!("{}/../../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        subject(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 10, "{name}: {count}");
}

#[test]
fn pools_of_the_fuzzer_are_survived() {
    corpus("pool", pool::pool);
}

#[test]
fn addresses_of_the_fuzzer_stand_still() {
    corpus("jid", addresses::jid);
}

#[test]
fn a_reload_with_other_rules_of_trust_ends_connections() {
    let mut rig = Rig::new(&Setup::default());
    let (dialed, accepted) = (rig.dial(0), rig.accept(0));
    let same = world(&Setup::default());
    rig.with(0, |now, backend, out| backend.configure(now, &same, out));
    assert!(rig.closed.is_empty() && rig.unready.is_empty(), "nothing has changed");
    let other = world(&Setup { tls: false, ..Setup::default() });
    rig.with(0, |now, backend, out| backend.configure(now, &other, out));
    let mut closed = rig.closed.clone();
    closed.sort_unstable();
    assert_eq!(closed, {
        let mut all = vec![dialed, accepted];
        all.sort_unstable();
        all
    });
    assert_eq!(rig.unready.len(), 1, "the dialed one takes no more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// B-50: whatever stands in a stanza, the pool sees the header fields we meant and no other.
    #[test]
    fn stanza_text_adds_no_header(body in "\\PC{1,40}", subject in ".{0,40}", resource in "[a-z\u{e0}-\u{ff} ;:<>\"%]{0,10}") {
        let mut rig = Rig::new(&Setup::default());
        let link = rig.dial(0);
        let escape = |text: &str| {
            text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
                .chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect::<String>()
        };
        let from = format!("bob@partner.example/r{resource}");
        prop_assume!(turnout_core::jid::Jid::parse(&from).is_ok());
        let mut stanza = rig.stanza(&format!(
            "<message from='bob@partner.example/x' to='{ALICE}'><subject>{}&#13;&#10;Evil: yes</subject><body>{}</body></message>",
            escape(&subject), escape(&body)
        ));
        stanza.from = turnout_core::jid::Jid::parse(&from).unwrap();
        let _sent = rig.send(link, stanza);
        let invite = rig.next(link);
        let names: Vec<H> = invite.fields().map(|field| field.name).collect();
        let expected = [
            H::Via, H::MaxForwards, H::From, H::To, H::CallId, H::CSeq, H::Contact, H::UserAgent, H::Allow,
            H::MsConversationId, H::Subject, H::MsTextFormat, H::Supported, H::ContentType, H::ContentLength,
        ];
        prop_assert_eq!(names, expected);
    }
}
