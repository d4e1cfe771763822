//! Words that look right and count for nothing: answers on the wrong stream, steps of a negotiation in the wrong namespace, names that are
//! no names. Each is sent as octets to a backend, and nothing may come of it.

use turnout_core::io::{LinkId, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{certificate, partner, stanza, world};
use crate::raw::{Raw, answering, attribute, header};

const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>";

/// Dialback over TCP is allowed here, so that nothing but the rule in question stands in the way.
fn raw() -> Raw {
    let partners =
        vec![partner("partner.example", Opt, Opt, true), partner("second.example", Opt, Opt, true)];
    Raw::new(Side::Partners, world(&["contoso.com", "fabrikam.com"], partners, No))
}

fn accepted(raw: &mut Raw, from: &str) -> (LinkId, String) {
    let link = raw.accept();
    let said = raw.tell(link, &header(from, "contoso.com"));
    (link, attribute(&said, "id"))
}

/// Offers a key and brings the stream that asks about it to where the question is put: that stream, and the id asked for.
fn asked(raw: &mut Raw, link: LinkId, theirs: &str) -> (LinkId, String) {
    raw.tell(link, &format!("<db:result from='{theirs}' to='contoso.com'>k</db:result>"));
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering(theirs, "contoso.com", "v") + "<stream:features/>"));
    (verify, attribute(&said[said.find("<db:verify").unwrap()..], "id"))
}

fn verdict(theirs: &str, id: &str, kind: &str) -> String {
    format!("<db:verify from='{theirs}' to='contoso.com' id='{id}' type='{kind}'/>")
}

#[track_caller]
fn refused(raw: &mut Raw, link: LinkId, from: &str) {
    let (said, fault) = raw.try_tell(link, &format!("<message from='a@{from}' to='b@contoso.com'/>"));
    assert!(fault.is_some() && said.contains("<stream:error>"), "{said}");
    assert!(raw.arrivals().is_empty());
}

#[test]
fn a_verdict_counts_on_the_stream_that_was_asked() {
    // B-20: the right words from the server of another partner, which has a question of its own open.
    let mut raw = raw();
    let (first, _) = accepted(&mut raw, "partner.example");
    let (second, _) = accepted(&mut raw, "second.example");
    let (first_verify, first_id) = asked(&mut raw, first, "partner.example");
    let (second_verify, second_id) = asked(&mut raw, second, "second.example");
    assert_ne!(first_verify, second_verify);
    raw.tell(second_verify, &verdict("partner.example", &first_id, "valid"));
    raw.tell(second_verify, &verdict("second.example", &first_id, "valid"));
    raw.tell(first_verify, &verdict("partner.example", &second_id, "valid"));
    raw.tell(first_verify, &verdict("second.example", &second_id, "valid"));
    assert_eq!((raw.said(first), raw.said(second)), (String::new(), String::new()));
    raw.tell(second_verify, &verdict("second.example", &second_id, "valid"));
    assert!(raw.said(second).contains("type='valid'"));
    raw.tell(second, "<message from='a@second.example' to='b@contoso.com'/>");
    assert_eq!(raw.arrivals().len(), 1);
    refused(&mut raw, first, "partner.example");
}

#[test]
fn names_without_number_leave_room_for_partners_who_are_known() {
    use turnout_core::limits::{VERIFY_STREAMS_MAX, VERIFY_STREAMS_UNLISTED_MAX};
    use turnout_core::policy::{GatewayLimits, PartnerDefaults, Policy, Unlisted};
    // Everybody may federate here, and somebody claims hundreds of names whose servers never answer.
    let mut everybody = world(&["contoso.com"], Vec::new(), No);
    let listed = (0..=VERIFY_STREAMS_MAX).map(|n| partner(&format!("p{n}.example"), Opt, Opt, true));
    let defaults = PartnerDefaults { tls: Opt, sasl: Opt, dialback: true, ..PartnerDefaults::default() };
    everybody.policy =
        Policy::new(listed.collect(), Unlisted::Allow, defaults, GatewayLimits::default()).unwrap();
    let mut raw = Raw::new(Side::Partners, everybody);
    let claim = |raw: &mut Raw, name: &str| {
        let link = raw.accept();
        raw.tell(link, &header(name, "contoso.com"));
        let said = raw.tell(link, &format!("<db:result from='{name}' to='contoso.com'>k</db:result>"));
        said.contains("<resource-constraint ")
    };
    for n in 0..VERIFY_STREAMS_UNLISTED_MAX {
        assert!(!claim(&mut raw, &format!("n{n}.test")), "{n}");
    }
    assert!(claim(&mut raw, "onemore.test"));
    for n in VERIFY_STREAMS_UNLISTED_MAX..VERIFY_STREAMS_MAX {
        assert!(!claim(&mut raw, &format!("p{n}.example")), "{n}");
    }
    assert_eq!(raw.connects.len(), VERIFY_STREAMS_MAX);
    assert!(claim(&mut raw, &format!("p{VERIFY_STREAMS_MAX}.example")));
    // They end, and there is room again.
    raw.advance(600);
    assert!(!claim(&mut raw, "late.test"));
}

#[test]
fn one_verify_stream_is_asked_so_much_at_a_time() {
    use turnout_core::limits::VERIFY_ASKS_MAX;
    // The server that is asked never answers, and many streams claim the one name. There is room for few that ask.
    let mut few = world(&["contoso.com"], vec![partner("partner.example", Opt, Opt, true)], No);
    few.flow.room.verify_streams = 3;
    let mut raw = Raw::new(Side::Partners, few);
    let claim = |raw: &mut Raw| {
        let link = raw.accept();
        raw.tell(link, &header("partner.example", "contoso.com"));
        let said = raw.tell(link, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
        said.contains("<resource-constraint ")
    };
    for n in 0..VERIFY_ASKS_MAX {
        assert!(!claim(&mut raw), "{n}");
    }
    assert_eq!(raw.connects.len(), 1, "all are asked on one stream");
    assert!(!claim(&mut raw));
    assert_eq!(raw.connects.len(), 2, "one more is asked on another");
    // Streams that are full count as others do: there are so many, and no more.
    for n in VERIFY_ASKS_MAX + 1..3 * VERIFY_ASKS_MAX {
        assert!(!claim(&mut raw), "{n}");
    }
    assert_eq!(raw.connects.len(), 3);
    assert!(claim(&mut raw), "{}", raw.connects.len());
    assert_eq!(raw.connects.len(), 3);
    raw.advance(600);
    assert!(!claim(&mut raw), "they end, and there is room again");
}

#[test]
fn a_verdict_counts_once_and_for_one_stream() {
    let mut raw = raw();
    let (first, first_id) = accepted(&mut raw, "partner.example");
    let (second, second_id) = accepted(&mut raw, "partner.example");
    let (verify, id) = asked(&mut raw, first, "partner.example");
    assert_eq!(id, first_id);
    raw.tell(verify, &verdict("partner.example", &id, "valid"));
    raw.tell(verify, &verdict("partner.example", &id, "valid"));
    assert_eq!(raw.said(first).matches("type='valid'").count(), 1);
    // The other stream of the same partner has offered nothing, and its id proves nothing either.
    raw.tell(verify, &verdict("partner.example", &second_id, "valid"));
    refused(&mut raw, second, "partner.example");
    // One denied later is not undone by what comes after.
    let (third, _) = accepted(&mut raw, "partner.example");
    raw.tell(third, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
    let said = raw.said(verify);
    let third_id = attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(verify, &verdict("partner.example", &third_id, "invalid"));
    raw.tell(verify, &verdict("partner.example", &third_id, "valid"));
    refused(&mut raw, third, "partner.example");
}

#[test]
fn a_result_counts_for_the_pair_that_was_offered() {
    // B-20, the other way: we are told that we are believed, and have offered nothing, or something else.
    let mut raw = raw();
    let link = raw.dial("contoso.com", "partner.example");
    let result = |from: &str, to: &str| format!("<db:result from='{from}' to='{to}' type='valid'/>");
    raw.tell(link, &answering("partner.example", "contoso.com", "s"));
    raw.tell(link, &result("partner.example", "contoso.com"));
    assert!(raw.ready.is_empty(), "before a key was given");
    let said = raw.tell(link, "<stream:features/>");
    assert!(said.contains("<db:result"), "{said}");
    for (from, to) in [
        ("second.example", "contoso.com"),
        ("partner.example", "fabrikam.com"),
        ("contoso.com", "partner.example"),
        ("partner.example", "partner.example"),
    ] {
        raw.tell(link, &result(from, to));
        assert!(raw.ready.is_empty(), "{from} {to}");
    }
    raw.tell(link, &result("partner.example", "contoso.com"));
    assert_eq!(raw.ready, [link]);
}

#[test]
fn steps_in_the_wrong_namespace_are_no_steps() {
    // B-03, outbound: a peer that answers with words of its own making is not believed to have agreed to anything.
    for words in [
        "<proceed/>",
        "<proceed xmlns='jabber:server'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<success/>",
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<x:proceed xmlns:x='evil'/>",
        "<db:result xmlns:db='evil' from='partner.example' to='contoso.com' type='valid'/>",
        "<result from='partner.example' to='contoso.com' type='valid'/>",
        "<message><proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></message>",
    ] {
        let mut raw = raw();
        let link = raw.dial("contoso.com", "partner.example");
        let offer = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
        raw.tell(link, &(answering("partner.example", "contoso.com", "s") + offer));
        raw.tell(link, words);
        assert!(raw.tls.is_empty() && raw.ready.is_empty(), "{words}");
    }
    for features in [
        "<features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></features>",
        "<stream:features xmlns:stream='evil'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
        "<stream:features><starttls/></stream:features>",
        "<stream:features><starttls xmlns='evil'/></stream:features>",
    ] {
        let partners = vec![partner("partner.example", Req, Req, true)];
        let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
        let link = raw.dial("contoso.com", "partner.example");
        raw.said(link);
        raw.tell(link, &(answering("partner.example", "contoso.com", "s") + features));
        assert!(!raw.said(link).contains("<starttls") && raw.ready.is_empty(), "{features}");
    }
}

#[test]
fn elements_in_the_wrong_namespace_are_not_acted_on() {
    // B-03, inbound, on a stream that is proven: nothing of this is a stanza, a step or an address.
    for words in [
        "<x:message xmlns:x='evil' from='a@partner.example' to='b@contoso.com'/>",
        "<message xmlns='evil' from='a@partner.example' to='b@contoso.com'/>",
        "<message xmlns:x='evil' x:from='a@partner.example' x:to='b@contoso.com'/>",
        "<message xmlns:x='jabber:server' x:from='a@partner.example' x:to='b@contoso.com'/>",
        "<stream:message from='a@partner.example' to='b@contoso.com'/>",
        "<starttls/>",
        "<auth xmlns='jabber:server' mechanism='EXTERNAL'>=</auth>",
        "<result from='second.example' to='contoso.com'>k</result>",
    ] {
        let (mut raw, link) = proven();
        let before = raw.connects.len();
        let (said, fault) = raw.try_tell(link, words);
        assert!(fault.is_some() && said.contains("<stream:error>"), "{words}: {said}");
        assert!(raw.arrivals().is_empty() && raw.tls.is_empty() && raw.connects.len() == before, "{words}");
    }
    // As a payload all of that is a payload.
    let (mut raw, link) = proven();
    let inner = "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error><error xmlns='evil'/>\
                 <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><x xmlns='evil' to='c@fabrikam.com'/>";
    let given = format!("<message from='a@partner.example' to='b@contoso.com'>{inner}</message>");
    assert_eq!(raw.try_tell(link, &given), (String::new(), None));
    let arrived = raw.arrivals();
    assert_eq!(arrived[0].to.to_string(), "b@contoso.com");
    assert!(raw.tls.is_empty() && !raw.is_closed(link));
}

/// A stream on which (partner.example, contoso.com) is proven by EXTERNAL.
fn proven() -> (Raw, LinkId) {
    let mut raw = raw();
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tell(link, &format!("{AUTH}=</auth>"));
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tls.clear();
    raw.said(link);
    (raw, link)
}

#[test]
fn an_identity_is_asked_for_once() {
    // B-27: a second <auth/> while the first waits for its response, and one without anybody to be.
    let mut raw = raw();
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    raw.tell(link, &header("partner.example", "contoso.com"));
    assert!(raw.tell(link, &format!("{AUTH}</auth>")).contains("<challenge"));
    let (said, _) = raw.try_tell(link, &format!("{AUTH}c2Vjb25kLmV4YW1wbGU=</auth>"));
    assert!(!said.contains("<success"), "{said}");
    raw.try_tell(link, "<message from='a@second.example' to='b@contoso.com'/>");
    assert!(raw.is_closed(link) && raw.arrivals().is_empty());
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    let nobody = header("partner.example", "contoso.com").replace(" from='partner.example'", "");
    let said = raw.tell(link, &nobody);
    assert!(!said.contains("EXTERNAL"), "{said}");
    let said = raw.tell(link, &format!("{AUTH}cGFydG5lci5leGFtcGxl</auth>"));
    assert!(!said.contains("<success"), "{said}");
    refused(&mut raw, link, "partner.example");
}

#[test]
fn streams_carry_one_way_whatever_is_asked() {
    // B-29: bidirectional streams are not offered, asking for one changes nothing, and no stanza ever goes out on a stream that came in.
    let (mut raw, link) = proven();
    let (said, fault) = raw.try_tell(link, "<bidi xmlns='urn:xmpp:bidi'/>");
    assert!(fault.is_some() && said.contains("<stream:error>"), "{said}");
    let (mut raw, link) = proven();
    let back = stanza(raw.now, "b@contoso.com", "a@partner.example", "x");
    let sent = turnout_core::backend::Backend::send(&mut raw.backend, raw.now, link, back, &mut raw.out);
    assert!(matches!(sent, turnout_core::backend::Sent::NotNow(_)), "{sent:?}");
    // And none comes in on a stream that went out.
    let link = raw.dial("contoso.com", "partner.example");
    raw.tell(link, &(answering("partner.example", "contoso.com", "s") + "<stream:features/>"));
    raw.tell(link, "<db:result from='partner.example' to='contoso.com' type='valid'/>");
    assert_eq!(raw.ready, [link]);
    raw.try_tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert!(raw.arrivals().is_empty());
}

#[test]
fn compression_is_neither_offered_nor_agreed_to() {
    // B-10
    let mut raw = raw();
    let link = raw.accept();
    let said = raw.tell(link, &header("partner.example", "contoso.com"));
    assert!(!said.contains("compress"), "{said}");
    let (said, fault) = raw.try_tell(
        link,
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    );
    assert!(fault.is_some() && !said.contains("<compressed"), "{said}");
    let (mut raw, link) = proven();
    let (said, fault) = raw.try_tell(
        link,
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    );
    assert!(fault.is_some() && !said.contains("<compressed"), "{said}");
}

#[test]
fn a_stanza_grows_by_a_bounded_amount() {
    // B-08, on the way out: what a stanza borrows from its stream's header is written on every one of them.
    let long = "u".repeat(9_000);
    for (what, with) in [
        ("a namespace", format!(" xmlns:x='{long}' ")),
        (
            "many namespaces",
            (0..40).map(|at| format!(" xmlns:x{at}='urn:{at}:{}'", "u".repeat(300))).collect(),
        ),
        ("a language", format!(" xml:lang='{long}' ")),
    ] {
        let mut raw = raw();
        let link = raw.accept();
        let header = header("partner.example", "contoso.com").replace(" to=", &format!("{with} to="));
        let (said, fault) = raw.try_tell(link, &header);
        assert!(said.contains("<policy-violation ") && fault.is_some(), "{what}: {said}");
    }
    // What servers really declare there is taken.
    let mut raw = raw();
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    let with = " xmlns:a='urn:xmpp:features:dialback' xmlns:b='http://jabber.org/protocol/caps' xml:lang='sr-Latn-RS'";
    let header = header("partner.example", "contoso.com").replace(" to=", &format!("{with} to="));
    raw.tell(link, &header);
    raw.tell(link, &format!("{AUTH}=</auth>"));
    raw.tell(link, &header);
    raw.tell(link, "<message from='a@partner.example' to='b@contoso.com'><a:x b:y=''/></message>");
    let arrived = raw.arrivals();
    let grown = arrived[0].insert.as_ref().unwrap();
    assert!(grown.len() < 512, "{}", grown.len());
}

#[test]
fn names_that_are_none_or_too_long_are_refused() {
    // B-38: in the header and in stanzas. None of them may cost more than it weighs or end another stream.
    let (long, label) = ("x".repeat(100_000), "x".repeat(64));
    let zalgo = format!("a{}", "\u{301}".repeat(2_000));
    let names = [
        "xn--0000h",
        "xn--",
        "xn--a",
        "xn--99999999999",
        "a..b",
        ".",
        "-a.example",
        "a\u{200d}b.example",
        "\u{200c}a.example",
        "a\u{2024}b/c",
        "ex\u{ad}ample.\u{3000}com",
        "\u{1F600}.example/x",
        label.as_str(),
        long.as_str(),
        zalgo.as_str(),
    ];
    for name in names {
        let mut raw = raw();
        let link = raw.accept();
        let (said, fault) = raw.try_tell(link, &header(name, "contoso.com"));
        assert!(fault.is_some() && said.contains("<stream:error>"), "{name:.40}: {said}");
        let (mut raw, link) = proven();
        let (_, fault) = raw.try_tell(link, &format!("<message from='a@{name}' to='b@contoso.com'/>"));
        assert!(fault.is_some() && raw.arrivals().is_empty(), "{name:.40}");
    }
    // One that grows eighteenfold when it is prepared is measured after that.
    let grows = "\u{fdfa}".repeat(200);
    let (mut raw, link) = proven();
    raw.tell(link, &format!("<message from='a@partner.example/{grows}' to='b@contoso.com' id='1'/>"));
    for arrived in raw.arrivals() {
        let (local, resource) = (arrived.from.to_string().len(), arrived.to.to_string().len());
        assert!(local < 3_072 && resource < 3_072, "{local} {resource}");
    }
}

#[test]
fn what_a_stranger_is_told_says_nothing_of_us() {
    // B-37: the reason goes to the operator; the peer learns that he was refused.
    let partners = vec![
        partner("partner.example", Req, Req, false),
        turnout_core::policy::Partner { pins: vec![[9; 32]], ..partner("second.example", Req, Req, false) },
    ];
    for (from, shown) in [
        ("partner.example", certificate(&["other.example"])),
        ("partner.example", crate::net::self_signed(&["partner.example"])),
        ("second.example", certificate(&["second.example"])),
    ] {
        let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners.clone(), No));
        let link = raw.accept_by(true);
        raw.secure(link, Some(shown));
        let (said, fault) = raw.try_tell(link, &header(from, "contoso.com"));
        assert!(said.contains("<not-authorized ") && fault.is_some(), "{said}");
        for word in ["ca_file", "pin", "anchor", "Test CA", "gateway", "internal"] {
            assert!(!said.contains(word), "{word}: {said}");
        }
        assert!(
            raw.notes.iter().any(|note| note.contains("issuer") || note.contains("names")),
            "{:?}",
            raw.notes
        );
    }
}

#[test]
fn another_issuer_is_told() {
    // B-32: both ways in which a certificate is believed, an intermediate of the same authority, and another authority.
    let by = |issuer: &str| {
        Some(turnout_core::io::PeerCertificate { issuer: issuer.into(), ..certificate(&["partner.example"]) })
    };
    let mut raw = raw();
    let mut told = |issuer: &str, outbound: bool| {
        raw.notes.clear();
        if outbound {
            let link = raw.dial("contoso.com", "partner.example");
            let offer =
                "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
            raw.tell(link, &(answering("partner.example", "contoso.com", "s") + offer));
            raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            raw.secure(link, by(issuer));
        } else {
            let link = raw.accept_by(true);
            raw.secure(link, by(issuer));
            raw.tell(link, &header("partner.example", "contoso.com"));
            assert!(raw.tell(link, &format!("{AUTH}=</auth>")).contains("<success"));
        }
        raw.notes.iter().any(|note| note.contains("another issuer than before"))
    };
    assert!(!told("C=US, O=Good, CN=R10", false));
    assert!(!told("C=US, O=Good, CN=R11", true));
    assert!(told("C=US, O=Evil, CN=R11", false));
    assert!(!told("C=US, O=Evil, CN=R11", true));
    assert!(told("CN=Own Root", true));
}
