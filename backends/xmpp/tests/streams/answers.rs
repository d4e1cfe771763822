//! What the router answers itself: discovery, ping, errors; and how a stanza is read.

use turnout_core::backend::{Backend, Verdict};
use turnout_core::io::{LinkId, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt, Required as Req};
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Kind, MessageType, Payload, Stanza};

use crate::net::{certificate, partner, world};
use crate::raw::{Raw, header};

/// A stream with a header of the test's choice, proven for (partner.example, contoso.com).
fn proven(header: &str) -> (Raw, LinkId) {
    let partners = vec![partner("partner.example", Req, Opt, true)];
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    raw.tell(link, header);
    raw.tell(link, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    raw.tell(link, header);
    (raw, link)
}

fn usual() -> (Raw, LinkId) {
    proven(&header("partner.example", "contoso.com"))
}

fn text(stanza: &Stanza) -> String {
    stanza.slices().iter().map(|slice| std::str::from_utf8(slice).unwrap().to_owned()).collect()
}

fn arrive(given: &str) -> (Raw, Vec<Stanza>) {
    let (mut raw, link) = usual();
    let (said, fault) = raw.try_tell(link, given);
    assert!(said.is_empty() && fault.is_none(), "{given}: {said}");
    let arrivals = raw.arrivals();
    (raw, arrivals)
}

#[test]
fn a_stanza_arrives_with_its_bytes_and_spans() {
    let given = "<message  to=\"b@contoso.com/It's\"\n from='A@Partner.example' id='x&amp;1' type='chat'><body>\u{20AC} &lt;</body></message>";
    let (_, arrivals) = arrive(given);
    let stanza = &arrivals[0];
    assert_eq!(stanza.bytes, given);
    assert_eq!(stanza.kind, Kind::Message(MessageType::Chat));
    assert_eq!((stanza.from.as_str(), stanza.to.as_str()), ("a@partner.example", "b@contoso.com/It's"));
    assert_eq!(stanza.raw(&stanza.from_span), b"A@Partner.example");
    assert_eq!(stanza.raw(&stanza.to_span), b"b@contoso.com/It's");
    assert_eq!(stanza.raw(&stanza.id_span), b"x&amp;1");
    assert_eq!(text(stanza), given, "nothing to insert");
}

#[test]
fn what_the_header_said_is_said_on_the_stanza() {
    let with = header("partner.example", "contoso.com")
        .replace(" version='1.0'>", " xmlns:x='urn:x&apos;' xml:lang='de' version='1.0'>")
        .replace("urn:x&apos;", "urn:x");
    let (mut raw, link) = proven(&with);
    raw.tell(link, "<message from='a@partner.example' to='b@contoso.com'><x:y/></message><message xml:lang='en' from='a@partner.example' to='b@contoso.com'/>");
    let arrivals = raw.arrivals();
    let first = text(&arrivals[0]);
    assert!(first.starts_with("<message xmlns:x='urn:x' xml:lang='de' from="), "{first}");
    assert!(text(&arrivals[1]).starts_with("<message xml:lang='en' from="));
    assert!(arrivals[1].insert.is_none());
}

#[test]
fn iq_rules() {
    let check = |attributes: &str, children: &str, expected: Option<&str>| {
        let given = format!("<iq from='a@partner.example' to='b@contoso.com' {attributes}>{children}</iq>");
        let (_, arrivals) = arrive(&given);
        let made: Vec<String> = arrivals.iter().filter(|stanza| stanza.made).map(text).collect();
        match expected {
            Some(condition) => assert!(made.len() == 1 && made[0].contains(condition), "{given}: {made:?}"),
            None => assert!(made.is_empty() && arrivals.len() == 1, "{given}: {made:?}"),
        }
    };
    check("type='get' id='1'", "<q xmlns='urn:q'/>", None);
    check("type='get'", "<q xmlns='urn:q'/>", Some("<bad-request"));
    check("type='get' id='1'", "", Some("<bad-request"));
    check("type='set' id='1'", "<q xmlns='urn:q'/><q xmlns='urn:q'/>", Some("<bad-request"));
    check("id='1'", "<q xmlns='urn:q'/>", Some("<bad-request"));
    check("type='fetch' id='1'", "<q xmlns='urn:q'/>", Some("<bad-request"));
    check("type='result' id='1'", "", None);
    // A broken result or error is dropped: nothing may answer it.
    let (_, arrivals) = arrive("<iq from='a@partner.example' to='b@contoso.com' type='result'/>");
    assert!(arrivals.is_empty());
    let (_, arrivals) = arrive("<presence from='a@partner.example' to='b@contoso.com' type='odd' id='9'/>");
    assert!(text(&arrivals[0]).contains("<bad-request"), "{}", text(&arrivals[0]));
}

#[test]
fn discovery_and_ping_of_our_own_domain() {
    let check = |child: &str, payload: Payload, expected: &str| {
        let given =
            format!("<iq from='a@partner.example/r' to='contoso.com' type='get' id='d1'>{child}</iq>");
        let (mut raw, arrivals) = arrive(&given);
        assert_eq!(arrivals[0].payload, payload);
        let answered = raw.backend.answer(raw.now, &arrivals[0], &mut raw.out);
        match answered {
            Ok(()) => {
                let answer = raw.arrivals().remove(0);
                let said = text(&answer);
                assert!(
                    said.starts_with(
                        "<iq from='contoso.com' to='a@partner.example/r' id='d1' type='result'>"
                    ),
                    "{said}"
                );
                assert!(said.contains(expected), "{said}");
                assert!(answer.made && answer.to.as_str() == "a@partner.example/r");
                assert_eq!(answer.raw(&answer.to_span), b"a@partner.example/r");
            }
            Err(refusal) => assert_eq!(refusal.condition.as_str(), expected),
        }
    };
    check(
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        Payload::DiscoInfo,
        "<identity category='server'",
    );
    check(
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        Payload::DiscoItems,
        "disco#items'/></iq>",
    );
    check("<ping xmlns='urn:xmpp:ping'/>", Payload::Ping, "</iq>");
    check("<query xmlns='jabber:iq:version'/>", Payload::Other, "service-unavailable");
    check("<query xmlns='jabber:iq:register'/>", Payload::Other, "service-unavailable");
}

#[test]
fn errors_go_back_to_the_sender_and_never_to_an_error() {
    let refusal = Refusal::new(
        Condition::ServiceUnavailable,
        Blame::Recipient,
        Retry::Never,
        Bounce::Yes,
        "no <such> user",
    );
    let check = |given: &str, expected: Option<&str>| {
        let (mut raw, arrivals) = arrive(given);
        raw.backend.settle(
            raw.now,
            &arrivals[0].origin,
            Verdict::Refused(Some(&arrivals[0]), &refusal),
            &mut raw.out,
        );
        let made: Vec<String> = raw.arrivals().iter().map(text).collect();
        assert_eq!(made.first().map(String::as_str), expected, "{given}");
    };
    let error = "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;such&gt; user</text></error>";
    check(
        "<message from=\"a@partner.example/it's\" to='b@contoso.com' id='1'><body>x</body></message>",
        Some(&format!(
            "<message from='b@contoso.com' to='a@partner.example/it&apos;s' id='1' type='error'>{error}</message>"
        )),
    );
    check(
        "<iq from='a@partner.example' to='b@contoso.com' type='get' id='1'><q xmlns='urn:q'/></iq>",
        Some(&format!("<iq from='b@contoso.com' to='a@partner.example' id='1' type='error'>{error}</iq>")),
    );
    check("<iq from='a@partner.example' to='b@contoso.com' type='result' id='1'/>", None);
    check("<iq from='a@partner.example' to='b@contoso.com' type='error' id='1'/>", None);
    check("<message from='a@partner.example' to='b@contoso.com' type='error'/>", None);
    check("<presence from='a@partner.example' to='b@contoso.com' type='error'/>", None);
    let silent = Refusal { bounce: Bounce::No, ..refusal.clone() };
    let (mut raw, arrivals) = arrive("<message from='a@partner.example' to='b@contoso.com'/>");
    raw.backend.settle(
        raw.now,
        &arrivals[0].origin,
        Verdict::Refused(Some(&arrivals[0]), &silent),
        &mut raw.out,
    );
    raw.backend.settle(raw.now, &arrivals[0].origin, Verdict::Delivered, &mut raw.out);
    assert!(raw.arrivals().is_empty());
}

#[test]
fn who_asks_to_see_a_user_that_cannot_be_reached_is_told_unsubscribed() {
    // RFC 6121 §3.1.3: between bare addresses; other reasons are errors, since they may pass.
    let check = |condition: Condition, expected: &str| {
        let refusal = Refusal::new(condition, Blame::Recipient, Retry::Never, Bounce::Yes, "no");
        let (mut raw, arrivals) = arrive(
            "<presence from='a@partner.example/r' to='b@contoso.com/s' type='subscribe' id='p&amp;1'/>",
        );
        let verdict = Verdict::Refused(Some(&arrivals[0]), &refusal);
        raw.backend.settle(raw.now, &arrivals[0].origin, verdict, &mut raw.out);
        let made = raw.arrivals();
        assert_eq!(made.len(), 1);
        assert!(made[0].made && text(&made[0]).starts_with(expected), "{}", text(&made[0]));
    };
    check(
        Condition::ServiceUnavailable,
        "<presence from='b@contoso.com' to='a@partner.example' id='p&amp;1' type='unsubscribed'></presence>",
    );
    check(
        Condition::ResourceConstraint,
        "<presence from='b@contoso.com/s' to='a@partner.example/r' id='p&amp;1' type='error'><error ",
    );
}
