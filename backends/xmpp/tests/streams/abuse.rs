//! What peers must not do, and what they get for it.

use turnout_core::io::{LinkId, Side};
use turnout_core::policy::Negotiation::{self, NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{certificate, partner, world};
use crate::raw::{Raw, answering, attribute, header};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

fn raw(tls: Negotiation) -> Raw {
    let partners =
        vec![partner("partner.example", tls, Opt, true), partner("second.example", tls, Opt, true)];
    Raw::new(Side::Partners, world(&["contoso.com", "fabrikam.com"], partners, No))
}

/// A stream on which (partner.example, contoso.com) is proven by EXTERNAL.
fn proven() -> (Raw, LinkId) {
    let mut raw = raw(Req);
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["partner.example"])));
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tell(link, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
    raw.tell(link, &header("partner.example", "contoso.com"));
    (raw, link)
}

/// The first thing a peer says, and the stream error it gets: always inside a stream of ours.
#[track_caller]
fn check_header(given: &str, condition: &str) {
    let mut raw = raw(Req);
    let link = raw.accept();
    let (said, fault) = raw.try_tell(link, given);
    assert!(said.starts_with("<?xml version='1.0'?><stream:stream "), "{given}: {said}");
    assert!(said.contains(" from='contoso.com'") && attribute(&said, "id").len() == 32, "{said}");
    assert!(said.contains(&format!("<stream:error><{condition} ")), "{given}: {said}");
    assert!(said.ends_with("</stream:error></stream:stream>"), "{said}");
    assert_eq!(fault.map(|fault| fault.condition), Some(condition));
    assert!(raw.is_closed(link));
    assert_eq!(raw.backend.streams(), 0);
    // Nothing more is heard on that link.
    assert_eq!(raw.tell(link, STARTTLS), "");
}

#[test]
fn headers_that_are_refused() {
    let good = header("partner.example", "contoso.com");
    check_header(&good.replace("contoso.com", "elsewhere.example"), "host-unknown");
    check_header(&good.replace(" to='contoso.com'", ""), "improper-addressing");
    check_header(&good.replace("contoso.com", "@"), "improper-addressing");
    check_header(&good.replace("xmlns='jabber:server'", "xmlns='jabber:client'"), "invalid-namespace");
    check_header(
        &good.replace("http://etherx.jabber.org/streams", "http://example.org/"),
        "invalid-namespace",
    );
    check_header(&good.replace(" version='1.0'>", ">"), "unsupported-version");
    check_header(&good.replace("partner.example", "stranger.example"), "policy-violation");
    check_header(&good.replace("partner.example", "fabrikam.com"), "policy-violation");
    check_header(&good.replace("partner.example", "a@b@c"), "invalid-from");
    check_header("GET / HTTP/1.1\r\n\r\n", "not-well-formed");
    check_header("<!DOCTYPE x><stream:stream/>", "restricted-xml");
}

#[test]
fn headers_that_are_taken() {
    let check = |given: &str| {
        let mut raw = raw(Req);
        let link = raw.accept();
        let said = raw.tell(link, given);
        assert!(said.ends_with("</stream:features>") && said.contains("<required/>"), "{given}: {said}");
        assert!(!said.contains("dialback>") && !said.contains("mechanisms"), "nothing before TLS: {said}");
        assert_eq!(attribute(&said, "to"), "partner.example");
    };
    let good = header("partner.example", "contoso.com");
    check(&good);
    check(&good.replace("version='1.0'>", "version='1.10'>"));
    check(&good.replace("version='1.0'>", "version='2.0'>"));
    check(&good.replace(" xmlns:db='jabber:server:dialback'", ""));
    check(
        "<stream xmlns='http://etherx.jabber.org/streams' from='partner.example' to='CONTOSO.com.' version='1.0'>",
    );
    check(good.split_once("?>").unwrap().1);
}

#[test]
fn a_server_without_a_version_may_use_dialback_where_tcp_is_allowed() {
    let mut raw = raw(No);
    let link = raw.accept();
    let said = raw.tell(link, &header("partner.example", "contoso.com").replace(" version='1.0'>", ">"));
    assert!(said.starts_with("<?xml version='1.0'?>") && !said.contains("features"), "{said}");
    assert_eq!(said.matches("version").count(), 1, "the declaration's alone: {said}");
    raw.tell(link, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
    assert_eq!(raw.connects.len(), 1);
}

#[test]
fn nothing_but_starttls_where_tls_is_required() {
    for given in [
        "<db:result from='partner.example' to='contoso.com'>k</db:result>",
        "<db:verify from='partner.example' to='contoso.com' id='1'>k</db:verify>",
        "<message from='a@partner.example' to='b@contoso.com'><body>x</body></message>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>",
        "<iq type='get' id='1' from='partner.example' to='contoso.com'><ping xmlns='urn:xmpp:ping'/></iq>",
    ] {
        let mut raw = raw(Req);
        let link = raw.accept();
        raw.tell(link, &header("partner.example", "contoso.com"));
        let (said, fault) = raw.try_tell(link, given);
        assert!(said.starts_with("<stream:error><policy-violation "), "{given}: {said}");
        assert!(
            fault.is_some() && raw.is_closed(link) && raw.connects.is_empty() && raw.arrivals().is_empty()
        );
    }
}

#[test]
fn what_comes_behind_starttls_is_not_read() {
    let mut raw = raw(Req);
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    let injected = format!("{STARTTLS}<db:result from='partner.example' to='contoso.com'>k</db:result>");
    assert_eq!(raw.tell(link, &injected), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(raw.tls.len(), 1);
    raw.secure(link, None);
    assert!(raw.said(link).is_empty() && raw.connects.is_empty());
    assert!(raw.notes.iter().any(|note| note.contains("behind <starttls/>")), "{:?}", raw.notes);
    let said = raw.tell(link, &header("partner.example", "contoso.com"));
    assert!(said.contains("<stream:features>"), "{said}");
    // TLS is not begun twice.
    assert!(raw.tell(link, STARTTLS).contains("<failure"));
    assert!(raw.is_closed(link));
}

#[test]
fn what_comes_behind_proceed_is_not_read() {
    let mut raw = raw(Req);
    let link = raw.dial("contoso.com", "partner.example");
    let offer = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    raw.tell(link, &(answering("partner.example", "contoso.com", "s") + offer));
    let injected = answering("partner.example", "contoso.com", "forged") + "<stream:features/>";
    raw.said(link);
    raw.tell(link, &format!("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>{injected}"));
    raw.secure(link, None);
    let said = raw.said(link);
    assert!(said.starts_with("<?xml") && !said.contains("<db:result"), "{said}");
    assert!(raw.ready.is_empty());
}

#[test]
fn a_partner_that_offers_no_tls_gets_nothing() {
    let mut raw = raw(Req);
    let link = raw.dial("contoso.com", "partner.example");
    raw.said(link);
    let said = raw.tell(link, &(answering("partner.example", "contoso.com", "s") + "<stream:features/>"));
    assert_eq!(said, "</stream:stream>");
    let refusal = raw.unready[0].as_ref().unwrap();
    assert_eq!(refusal.condition.as_str(), "remote-server-timeout");
    assert!(raw.notes[0].contains("offers no TLS"), "{:?}", raw.notes);
}

#[test]
fn domains_never_change_on_a_stream() {
    let check = |from: &str, to: &str, condition: &str| {
        let mut raw = raw(Req);
        let link = raw.accept();
        raw.tell(link, &header("partner.example", "contoso.com"));
        raw.tell(link, STARTTLS);
        raw.secure(link, Some(certificate(&["partner.example", "second.example"])));
        let (said, _) = raw.try_tell(link, &header(from, to));
        assert!(said.contains(&format!("<{condition} ")), "after TLS: {said}");
        let (mut raw, link) = {
            let mut raw = self::raw(Req);
            let link = raw.accept_by(true);
            raw.secure(link, Some(certificate(&["partner.example", "second.example"])));
            raw.tell(link, &header("partner.example", "contoso.com"));
            raw.tell(link, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>");
            (raw, link)
        };
        let (said, _) = raw.try_tell(link, &header(from, to));
        assert!(said.contains(&format!("<{condition} ")), "after SASL: {said}");
        assert!(raw.is_closed(link));
    };
    check("second.example", "contoso.com", "invalid-from");
    check("partner.example", "fabrikam.com", "improper-addressing");
}

#[test]
fn addresses_of_stanzas() {
    let check = |given: &str, condition: &str| {
        let (mut raw, link) = proven();
        let (said, fault) = raw.try_tell(link, given);
        assert!(said.starts_with(&format!("<stream:error><{condition} ")), "{given}: {said}");
        assert!(fault.is_some() && raw.arrivals().is_empty());
    };
    check("<message to='b@contoso.com'/>", "improper-addressing");
    check("<message from='a@partner.example'/>", "improper-addressing");
    check("<message from='' to='b@contoso.com'/>", "improper-addressing");
    check("<message from='a@' to='b@contoso.com'/>", "improper-addressing");
    check("<message from='a&quot;@partner.example' to='b@contoso.com'/>", "improper-addressing");
    check("<message from='a@partner.example/&#x202E;\t' to='b@contoso.com'/>", "improper-addressing");
    check("<presence from='a@partner.example/' to='b&quot;@contoso.com'/>", "improper-addressing");
    check("<message from='a&quot;@second.example' to='b@contoso.com'/>", "invalid-from");
    check("<message from='a@second.example' to='b@contoso.com'/>", "invalid-from");
    check("<message from='a@contoso.com' to='b@contoso.com'/>", "invalid-from");
    check("<message from='a@partner.example' to='b@fabrikam.com'/>", "invalid-from");
    check("<message from='a@partner.example' to='b@third.example'/>", "host-unknown");
    check("<message from='a@partner.example' to='b@partner.example'/>", "host-unknown");
    check(
        "<message xmlns='jabber:client' from='a@partner.example' to='b@contoso.com'/>",
        "invalid-namespace",
    );
    check("<note from='a@partner.example' to='b@contoso.com'/>", "unsupported-stanza-type");
    check(
        "<message from='a@partner.example' to='b@contoso.com'><body>&nbsp;</body></message>",
        "restricted-xml",
    );
}

#[test]
fn prefixes_for_the_content_namespace_end_the_stream() {
    // RFC 6120 §4.8.5, on the stanza and anywhere in it.
    let check = |content: &str| {
        let (mut raw, link) = proven();
        let given = format!("<message from='a@partner.example' to='b@contoso.com'>{content}</message>");
        let (said, fault) = raw.try_tell(link, &given);
        assert!(said.starts_with("<stream:error><bad-namespace-prefix "), "{given}: {said}");
        assert!(said.ends_with("</stream:stream>") && raw.is_closed(link));
        assert_eq!(fault.unwrap().condition, "bad-namespace-prefix");
        assert!(raw.arrivals().is_empty());
    };
    check("<s:body xmlns:s='jabber:server'>x</s:body>");
    check("<x xmlns='urn:x'><y><s:body xmlns:s='jabber:server'/></y></x>");
    let (mut raw, link) = proven();
    let fit = "<message from='a@partner.example' to='b@contoso.com'><c:x xmlns:c='urn:c'/></message>";
    assert_eq!(raw.try_tell(link, fit), (String::new(), None), "other prefixes are free");
    assert_eq!(raw.arrivals().len(), 1);
}

#[test]
fn one_odd_address_does_not_end_the_stream() {
    let (mut raw, link) = proven();
    let given =
        "<message from='a@partner.example/r' to='b&quot;@contoso.com' id='7'><body>x</body></message>";
    assert_eq!(raw.try_tell(link, given), (String::new(), None));
    let answers = raw.arrivals();
    let answer = std::str::from_utf8(&answers[0].bytes).unwrap();
    assert!(answers[0].made && answer.contains("<jid-malformed"), "{answer}");
    assert!(
        answer.starts_with("<message from='contoso.com' to='a@partner.example/r' id='7' type='error'>"),
        "{answer}"
    );
    // Nothing answers an error, not even this: a line for the operator is all.
    raw.tell(link, "<message from='a@partner.example' to='b&quot;@contoso.com' type='error'/>");
    assert!(raw.arrivals().is_empty() && raw.notes.iter().any(|note| note.contains("dropped")));
    raw.tell(link, "<message from='a@partner.example/\u{1F600}' to='b@contoso.com'><body>x</body></message>");
    assert_eq!(raw.arrivals().len(), 1);
}

#[test]
fn names_the_next_hop_may_not_know_end_no_stream() {
    // B-11: a legacy gateway, and every server that reads with expat, closes a stream over names of the fifth edition.
    let (mut raw, link) = proven();
    for inside in ["<x\u{2c00}/>", "<x \u{2c00}='1'/>", "<x xmlns:\u{2c00}='urn:x'/>", "<\u{1F600}/>"] {
        let given = format!(
            "<message from='a@partner.example/r' to='b@contoso.com' id='7'><body>x</body>{inside}</message>"
        );
        assert_eq!(raw.try_tell(link, &given), (String::new(), None), "{inside}");
        let answers = raw.arrivals();
        let answer = std::str::from_utf8(&answers[0].bytes).unwrap();
        assert!(answers.len() == 1 && answers[0].made && answer.contains("<bad-request"), "{answer}");
        assert!(answer.contains(" to='a@partner.example/r' id='7' type='error'"), "{answer}");
    }
    // Names all editions have, and any character that is no name, go on.
    let given = "<message from='a@partner.example' to='b@contoso.com'><body>\u{2c00}\u{1F600}</body>\
        <gr\u{fc}\u{df}e \u{4f60}\u{597d}='\u{2c00}'/></message>";
    raw.tell(link, given);
    assert!(!raw.arrivals()[0].made);
}

#[test]
fn a_fault_on_one_stream_leaves_the_others_alone() {
    let (mut raw, first) = proven();
    let second = raw.accept_by(true);
    raw.secure(second, Some(certificate(&["partner.example"])));
    raw.tell(second, &header("partner.example", "contoso.com"));
    let (_, fault) = raw.try_tell(second, "<a></b>");
    assert!(fault.is_some() && raw.is_closed(second) && !raw.is_closed(first));
    raw.tell(first, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert_eq!(raw.arrivals().len(), 1);
}

#[test]
fn only_streams_that_proved_whose_they_are_take_a_partners_places() {
    const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
    let (mut raw, first) = proven();
    let claim = |raw: &mut Raw| {
        let link = raw.accept_by(true);
        raw.secure(link, Some(certificate(&["partner.example"])));
        let said = raw.tell(link, &header("partner.example", "contoso.com"));
        (link, said)
    };
    // Whoever just says the name keeps nobody out.
    let mut claims: Vec<LinkId> = (0..30).map(|_| claim(&mut raw).0).collect();
    for _ in 1..20 {
        let (link, said) = claim(&mut raw);
        assert!(said.contains("features"), "{said}");
        assert!(raw.tell(link, AUTH).contains("<success "));
    }
    // Twenty have proven it: there is no place for another, whether it asks now or has asked before.
    assert!(claim(&mut raw).1.contains("<resource-constraint "));
    let late = claims.pop().unwrap();
    let said = raw.tell(late, AUTH);
    assert!(said.contains("<resource-constraint ") && !said.contains("<success"), "{said}");
    // When one ends there is room again, for one.
    raw.tell(first, "</stream:stream>");
    let again = claims.pop().unwrap();
    assert!(raw.tell(again, AUTH).contains("<success "));
    assert!(claim(&mut raw).1.contains("<resource-constraint "));
}

#[test]
fn who_names_nobody_in_his_header_takes_a_place_all_the_same() {
    // A header need not say who it is from before TLS, nor ever where dialback proves it: the proof counts, not the header.
    let mut raw = raw(No);
    let nameless = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
        xmlns:db='jabber:server:dialback' to='contoso.com' version='1.0'>";
    let prove = |raw: &mut Raw| {
        let link = raw.accept();
        let id = attribute(&raw.tell(link, nameless), "id");
        let before = raw.connects.len();
        raw.tell(link, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
        let verify = raw.connects.last().unwrap().link;
        if raw.connects.len() > before {
            let header = answering("partner.example", "contoso.com", "v");
            raw.connected(verify);
            raw.tell(verify, &(header + "<stream:features/>"));
        }
        raw.tell(
            verify,
            &format!("<db:verify from='partner.example' to='contoso.com' id='{id}' type='valid'/>"),
        );
        let said = raw.said(link);
        (link, said)
    };
    let mut first = None;
    for n in 0..20 {
        let (link, said) = prove(&mut raw);
        assert!(said.contains("type='valid'"), "{n}: {said}");
        first.get_or_insert(link);
    }
    let (_, said) = prove(&mut raw);
    assert!(said.contains("<resource-constraint ") && !said.contains("type='valid'"), "{said}");
    raw.tell(first.unwrap(), "</stream:stream>");
    assert!(prove(&mut raw).1.contains("type='valid'"));
    assert!(prove(&mut raw).1.contains("<resource-constraint "));
}

#[test]
fn keys_are_bounded_in_length_and_number() {
    let mut raw = raw(No);
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    let long = "k".repeat(1025);
    let said =
        raw.tell(link, &format!("<db:result from='partner.example' to='contoso.com'>{long}</db:result>"));
    assert!(said.contains("type='error'") && said.contains("<bad-request "), "{said}");
    let other = raw.accept();
    assert!(raw.tell(other, &header("second.example", "contoso.com")).contains("features"));
    // Keys that lead nowhere are not taken for ever.
    let mut last = String::new();
    for _ in 0..32 {
        last = raw.tell(other, "<db:result from='stranger.example' to='contoso.com'>k</db:result>");
        if last.contains("stream:error") {
            break;
        }
    }
    assert!(last.contains("<policy-violation ") && raw.is_closed(other), "{last}");
}

#[test]
fn stream_ids_are_never_the_same() {
    let mut raw = raw(Req);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..500 {
        let link = raw.accept();
        let said = raw.tell(link, &header("partner.example", "contoso.com"));
        assert!(seen.insert(attribute(&said, "id")));
        raw.tell(link, "</stream:stream>");
    }
}
