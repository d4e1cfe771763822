//! How peers prove who they are: EXTERNAL by its letters, dialback per pair, and what falls back to what.

use turnout_core::io::{PeerCertificate, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{Net, certificate, partner, self_signed, stanza, world};
use crate::raw::{Raw, answering, attribute, header};

const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>";

fn raw() -> Raw {
    let partners =
        vec![partner("partner.example", Req, Opt, true), partner("second.example", Req, Opt, true)];
    Raw::new(Side::Partners, world(&["contoso.com", "fabrikam.com"], partners, No))
}

/// A stream that is open over TLS with this certificate; gives the link and what was said last.
fn open(raw: &mut Raw, shown: Option<PeerCertificate>) -> (turnout_core::io::LinkId, String) {
    let link = raw.accept_by(true);
    raw.secure(link, shown);
    let said = raw.tell(link, &header("partner.example", "contoso.com"));
    (link, said)
}

#[test]
fn external_is_offered_to_a_fitting_certificate_alone() {
    let check = |shown: Option<PeerCertificate>, expected: bool| {
        let (_, said) = open(&mut raw(), shown.clone());
        assert_eq!(said.contains("EXTERNAL"), expected, "{shown:?}: {said}");
        assert!(said.contains("urn:xmpp:features:dialback"), "{said}");
    };
    check(Some(certificate(&["partner.example"])), true);
    check(Some(certificate(&["*.example"])), false);
    check(Some(certificate(&["second.example"])), false);
    check(Some(self_signed(&["partner.example"])), false);
    check(None, false);
}

#[test]
fn external_by_the_letter() {
    let check = |text: &str, expected: &str| {
        let mut raw = raw();
        let (link, _) = open(&mut raw, Some(certificate(&["partner.example", "second.example"])));
        let said = raw.tell(link, &format!("{AUTH}{text}</auth>"));
        assert!(said.contains(expected), "{text}: {said}");
        assert!(
            !said.contains(char::is_whitespace) || said.starts_with('<'),
            "no white space in SASL: {said:?}"
        );
    };
    check("=", "<success");
    check("cGFydG5lci5leGFtcGxl", "<success");
    check("c2Vjb25kLmV4YW1wbGU=", "<invalid-authzid/>");
    check("dXNlckBwYXJ0bmVyLmV4YW1wbGU=", "<invalid-authzid/>");
    check("cGFydG5lci5leGFtcGx", "<incorrect-encoding/>");
    check("", "<challenge");
    let mut raw = raw();
    let (link, _) = open(&mut raw, Some(certificate(&["partner.example"])));
    let said = raw.tell(link, &format!("{}=</auth>", AUTH.replace("EXTERNAL", "PLAIN")));
    assert!(said.contains("<invalid-mechanism/>"), "{said}");
    assert!(raw.tell(link, &format!("{AUTH}!</auth>")).contains("<failure"));
    let (said, fault) = raw.try_tell(link, &format!("{AUTH}!</auth>"));
    assert!(said.contains("policy-violation") && fault.is_some(), "{said}");
}

#[test]
fn an_empty_challenge_is_answered() {
    let mut raw = raw();
    let (link, _) = open(&mut raw, Some(certificate(&["partner.example"])));
    assert!(raw.tell(link, &format!("{AUTH}</auth>")).contains("<challenge"));
    let said = raw.tell(link, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert!(said.contains("<success"), "{said}");
}

#[test]
fn stanzas_count_after_success_and_a_new_header_only() {
    let mut raw = raw();
    let (link, _) = open(&mut raw, Some(certificate(&["partner.example"])));
    let said = raw.tell(link, &format!("{AUTH}=</auth>"));
    assert!(said.contains("<success"));
    let said = raw.tell(link, &header("partner.example", "contoso.com"));
    assert!(said.contains("<stream:features>") && !said.contains("EXTERNAL"), "{said}");
    raw.tell(link, "<message from='a@partner.example' to='b@contoso.com'><body>x</body></message>");
    assert_eq!(raw.arrivals().len(), 1);
    let (said, fault) = raw.try_tell(link, &format!("{AUTH}=</auth>"));
    assert!(said.contains("policy-violation") && fault.is_some(), "auth after success: {said}");
}

#[test]
fn a_stanza_before_any_proof_is_refused() {
    let mut raw = raw();
    let (link, _) = open(&mut raw, Some(certificate(&["partner.example"])));
    let (said, fault) = raw.try_tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert!(said.contains("<not-authorized"), "{said}");
    assert_eq!(fault.unwrap().condition, "not-authorized");
    assert!(raw.arrivals().is_empty() && raw.is_closed(link));
}

#[test]
fn a_refused_certificate_falls_back_to_dialback() {
    let mut raw = raw();
    let link = raw.dial("contoso.com", "partner.example");
    let mut said = raw.said(link);
    assert!(
        said.contains("to='partner.example'")
            && said.contains("from='contoso.com'")
            && !said.contains(" id=")
    );
    let starttls = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
    said = raw.tell(link, &(answering("partner.example", "contoso.com", "s1") + starttls));
    assert_eq!(said, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:features/>");
    assert_eq!(raw.tls.len(), 1);
    raw.secure(link, Some(certificate(&["partner.example"])));
    let offer = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>";
    said = raw.tell(link, &(answering("partner.example", "contoso.com", "s2") + offer));
    assert!(said.contains(">Y29udG9zby5jb20=</auth>"), "{said}");
    said = raw.tell(link, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><odd-condition/></failure>");
    assert!(said.starts_with("<db:result from='contoso.com' to='partner.example'>"), "{said}");
    assert!(raw.ready.is_empty());
    raw.tell(link, "<db:result from='partner.example' to='contoso.com' type='valid'/>");
    assert_eq!(raw.ready, [link]);
    // The next stream to the same partner does not try the certificate again.
    raw.gone(link);
    let link = raw.dial("contoso.com", "partner.example");
    raw.tell(link, &(answering("partner.example", "contoso.com", "s3") + starttls));
    raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(&["partner.example"])));
    said = raw.tell(link, &(answering("partner.example", "contoso.com", "s4") + offer));
    assert!(said.contains("<db:result") && !said.contains("<auth"), "{said}");
}

/// Takes a stream through dialback for a pair: gives the verify stream and the id that was asked for.
fn offer(
    raw: &mut Raw,
    link: turnout_core::io::LinkId,
    theirs: &str,
    ours: &str,
) -> (turnout_core::io::LinkId, String) {
    raw.tell(link, &format!("<db:result from='{theirs}' to='{ours}'>abc</db:result>"));
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    raw.tell(verify, &answering(theirs, ours, "v"));
    raw.tell(
        verify,
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
    );
    raw.tell(verify, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(verify, None);
    raw.said(verify);
    let said = raw.tell(verify, &(answering(theirs, ours, "v2") + "<stream:features/>"));
    assert!(said.contains(">abc</db:verify>"), "{said}");
    (verify, attribute(&said, "id"))
}

fn verdict(theirs: &str, ours: &str, id: &str, kind: &str) -> String {
    format!("<db:verify from='{theirs}' to='{ours}' id='{id}' type='{kind}'/>")
}

#[test]
fn each_pair_needs_its_own_proof() {
    let mut raw = raw();
    let (link, said) = open(&mut raw, None);
    let stream_id = attribute(&said, "id");
    let (verify, id) = offer(&mut raw, link, "partner.example", "contoso.com");
    assert_eq!(id, stream_id, "the key is for the stream it was given on");
    raw.tell(verify, &verdict("partner.example", "contoso.com", &id, "valid"));
    assert_eq!(raw.said(link), "<db:result from='contoso.com' to='partner.example' type='valid'/>");
    raw.tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert_eq!(raw.arrivals().len(), 1);
    // A second sender domain and a second recipient domain are proven apart, on the same stream.
    for (theirs, ours) in [("second.example", "contoso.com"), ("partner.example", "fabrikam.com")] {
        let (verify, id) = offer(&mut raw, link, theirs, ours);
        raw.tell(verify, &verdict(theirs, ours, &id, "valid"));
        raw.tell(link, &format!("<message from='a@{theirs}' to='b@{ours}'/>"));
        assert_eq!(raw.arrivals().len(), 1);
    }
    // Two proven domains on each side do not make the fourth pair.
    let (said, _) = raw.try_tell(link, "<message from='a@second.example' to='b@fabrikam.com'/>");
    assert!(said.contains("<invalid-from"), "{said}");
    assert!(raw.arrivals().is_empty());
}

#[test]
fn answers_nobody_asked_for_prove_nothing() {
    let mut raw = raw();
    let (link, said) = open(&mut raw, None);
    let stream_id = attribute(&said, "id");
    raw.tell(link, "<db:result from='partner.example' to='contoso.com' type='valid'/>");
    raw.tell(link, &verdict("partner.example", "contoso.com", &stream_id, "valid"));
    let (verify, id) = offer(&mut raw, link, "partner.example", "contoso.com");
    // The right words on the stream the key came on, and wrong words on the right stream.
    raw.tell(link, &verdict("partner.example", "contoso.com", &id, "valid"));
    raw.tell(verify, &verdict("contoso.com", "partner.example", &id, "valid"));
    raw.tell(verify, &verdict("second.example", "contoso.com", &id, "valid"));
    raw.tell(verify, &verdict("partner.example", "fabrikam.com", &id, "valid"));
    raw.tell(verify, &verdict("partner.example", "contoso.com", &format!("{id}0"), "valid"));
    raw.tell(verify, "<db:result from='partner.example' to='contoso.com' type='valid'/>");
    assert_eq!(raw.said(link), "");
    raw.tell(verify, &verdict("partner.example", "contoso.com", &id, "invalid"));
    assert!(raw.said(link).contains("type='invalid'"));
    // Late, after the answer was given.
    raw.tell(verify, &verdict("partner.example", "contoso.com", &id, "valid"));
    assert_eq!(raw.said(link), "");
    let (said, _) = raw.try_tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert!(said.contains("<not-authorized"), "{said}");
    assert!(raw.arrivals().is_empty());
}

#[test]
fn a_proof_ends_with_the_stream_it_was_for() {
    // The key is verified while the peer opens the stream anew: the answer is for a stream that is no more.
    let mut raw = Raw::new(
        Side::Partners,
        world(&["contoso.com"], vec![partner("partner.example", Opt, Opt, true)], No),
    );
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tell(link, "<db:result from='partner.example' to='contoso.com'>abc</db:result>");
    let verify = raw.connects.last().unwrap().link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering("partner.example", "contoso.com", "v") + "<stream:features/>"));
    let id = attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(link, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, None);
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tell(verify, &verdict("partner.example", "contoso.com", &id, "valid"));
    let (said, _) = raw.try_tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert!(said.contains("<not-authorized"), "{said}");
}

#[test]
fn a_key_cannot_be_verified() {
    let mut raw = raw();
    let (link, _) = open(&mut raw, None);
    raw.tell(link, "<db:result from='partner.example' to='contoso.com'>abc</db:result>");
    let verify = raw.connects.last().unwrap().link;
    raw.gone(verify);
    let said = raw.said(link);
    assert!(said.contains("type='error'") && said.contains("<remote-server-timeout"), "{said}");
    assert!(!raw.is_closed(link), "the stream lives on");
    // Domains that are not ours, and partners that are none.
    let said = raw.tell(link, "<db:result from='partner.example' to='elsewhere.example'>abc</db:result>");
    assert!(said.contains("type='error'") && said.contains("<item-not-found"), "{said}");
    let said = raw.tell(link, "<db:result from='stranger.example' to='contoso.com'>abc</db:result>");
    assert!(said.contains("type='error'") && said.contains("<policy-violation"), "{said}");
    let said = raw.tell(link, "<db:result from='fabrikam.com' to='contoso.com'>abc</db:result>");
    assert!(said.contains("type='error'"), "nobody speaks for one of our domains: {said}");
    assert_eq!(raw.connects.len(), 1);
}

#[test]
fn the_authoritative_role_needs_no_authentication() {
    let mut raw = raw();
    let link = raw.dial("contoso.com", "partner.example");
    raw.tell(
        link,
        &(answering("partner.example", "contoso.com", "s1")
            + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
    );
    raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, None);
    let said =
        raw.tell(link, &(answering("partner.example", "contoso.com", "the id") + "<stream:features/>"));
    let key = said.split('>').nth_back(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(key.len(), 64, "{said}");
    let (asked, _) = open(&mut raw, None);
    let mut check = |to: &str, id: &str, key: &str, expected: &str| {
        let said = raw
            .tell(asked, &format!("<db:verify from='partner.example' to='{to}' id='{id}'>{key}</db:verify>"));
        assert!(said.contains(expected), "{said}");
        assert!(said.contains(&format!(" id='{id}'")));
    };
    check("contoso.com", "the id", &key, "type='valid'");
    check("contoso.com", "the id", &format!("\n  {key}\n "), "type='valid'");
    check("contoso.com", "other", &key, "type='invalid'");
    check("fabrikam.com", "the id", &key, "type='invalid'");
    check("elsewhere.example", "the id", &key, "type='error'");
}

#[test]
fn an_invalid_key_ends_the_attempt() {
    // Two instances of our domain with two secrets: the partner is told invalid, and so are we.
    let mut net = Net::new();
    let row = |name| vec![partner(name, Req, No, true)];
    let us = net.add(Side::Partners, world(&["contoso.com"], row("partner.example"), No), &[], None);
    let mut other = world(&["contoso.com"], row("partner.example"), No);
    other.dialback_secret = std::sync::Arc::from(&b"another secret of 128 bit"[..]);
    net.add(Side::Partners, other, &["contoso.com"], None);
    let them = net.add(
        Side::Partners,
        world(&["partner.example"], row("contoso.com"), No),
        &["partner.example"],
        None,
    );
    let link = net.dial(us, "contoso.com", "partner.example");
    assert!(net.nodes[us].unready.iter().any(|(of, why)| *of == link && why.is_some()));
    assert!(
        net.nodes[us].notes.iter().any(|note| note.contains("invalid") && note.contains("secret")),
        "{:?}",
        net.nodes[us].notes
    );
    assert!(net.nodes[them].notes.iter().any(|note| note.contains("denies it")));
    let sent = net.send(us, link, stanza(net.now, "a@contoso.com", "b@partner.example", "x"));
    assert!(matches!(sent, turnout_core::backend::Sent::NotNow(_)));
    assert!(net.nodes[them].arrivals.is_empty());
}
