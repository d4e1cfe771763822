//! Stanzas both ways on one stream (XEP-0288): rows XB-01 to XB-04 and B-29, on streams of either direction.

use turnout_core::backend::{Backend, Sent};
use turnout_core::io::{Ended, LinkId, Side};
use turnout_core::placement::owner_of_domain;
use turnout_core::policy::Negotiation::{self, NotSupported as No, Required};
use turnout_core::policy::Partner;
use turnout_core::world::World;

use crate::net::{INSIDE, certificate, partner, stanza, world};
use crate::raw::{Raw, answering, header};
use crate::smacks::{ENABLED, R, THEM, a, in_between, message, prove, tell};

const OFFER: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";
const ASK: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
const EXTERNAL: &str =
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";

fn friend(tls: Negotiation, dialback: bool) -> Partner {
    Partner { bidi: true, ..partner(THEM, tls, tls, dialback) }
}

fn raw(tls: Negotiation, dialback: bool) -> Raw {
    let evil = partner("evil.example", No, No, true);
    Raw::new(Side::Partners, world(&["contoso.com", "fabrikam.com"], vec![friend(tls, dialback), evil], No))
}

/// A stream in, secured by the partner's certificate; the features then.
fn secured(raw: &mut Raw) -> (LinkId, String) {
    let link = raw.accept();
    assert!(!raw.tell(link, &header(THEM, "contoso.com")).contains("bidi"), "TLS first");
    raw.tell(link, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(&[THEM])));
    let features = raw.tell(link, &header(THEM, "contoso.com"));
    (link, features)
}

/// One that has asked for the way back and has proven who it is.
fn both_ways(raw: &mut Raw) -> LinkId {
    let (link, features) = secured(raw);
    assert!(features.contains(OFFER), "{features}");
    assert_eq!(raw.tell(link, ASK), "");
    assert!(raw.ways_back.is_empty() && !back(raw, link, "contoso.com", THEM), "nothing before the proof");
    assert!(!raw.backend.facts(raw.now, link).unwrap().both_ways);
    raw.tell(link, AUTH);
    assert!(
        raw.ways_back.is_empty() && !back(raw, link, "contoso.com", THEM),
        "nor before the stream is open"
    );
    let features = raw.tell(link, &header(THEM, "contoso.com"));
    assert!(features.contains(SM) && !features.contains("bidi"), "{features}");
    link
}

/// Whether a stanza is taken for the way back.
fn back(raw: &mut Raw, link: LinkId, from: &str, to: &str) -> bool {
    let one = stanza(raw.now, &format!("a@{from}"), &format!("b@{to}"), "1");
    let sent = raw.backend.send(raw.now, link, one, &mut raw.out);
    raw.collect();
    matches!(sent, Sent::OnWrite(_))
}

#[test]
fn xb01_it_is_offered_by_policy_and_before_the_proof() {
    let partners = vec![partner(THEM, No, No, true)];
    let mut off = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let link = off.accept();
    assert!(!off.tell(link, &header(THEM, "contoso.com")).contains("bidi"));
    assert!(off.try_tell(link, ASK).0.contains("<unsupported-stanza-type"));

    let mut plain = raw(No, true);
    let link = plain.accept();
    assert!(plain.tell(link, &header(THEM, "contoso.com")).contains(OFFER));
    // The name of the feature is not the name of the wish (ejabberd #4300).
    assert!(plain.try_tell(link, OFFER).0.contains("<unsupported-stanza-type"));

    // The domain's stanzas wait on one shard: only there.
    let owner = owner_of_domain(THEM, 2);
    for shard in 0..2 {
        let two = World { shards: 2, ..world(&["contoso.com"], vec![friend(No, true)], No) };
        let mut raw = Raw::on_shard(shard, Side::Partners, two);
        let link = raw.accept();
        assert_eq!(raw.tell(link, &header(THEM, "contoso.com")).contains(OFFER), shard == owner);
    }
}

#[test]
fn xb02_the_gateway_never_hears_of_it() {
    let mut raw = Raw::new(Side::Home(INSIDE), world(&["contoso.com"], vec![friend(No, true)], No));
    let link = raw.accept();
    assert!(!raw.tell(link, &header("contoso.com", THEM)).contains("bidi"));
    assert!(raw.try_tell(link, ASK).0.contains("<unsupported-stanza-type"));
    let link = raw.dial(THEM, "contoso.com");
    let said = raw.tell(
        link,
        &(answering("contoso.com", THEM, "s") + &format!("<stream:features>{OFFER}</stream:features>")),
    );
    assert!(said.contains("<db:result") && !said.contains("bidi"), "{said}");
}

#[test]
fn xb02_stanzas_go_back_after_the_proof_and_are_acknowledged() {
    let mut raw = raw(Required, false);
    let link = both_ways(&mut raw);
    assert_eq!(raw.tell(link, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"), ENABLED, "it is not resumed");
    assert_eq!(raw.ways_back, [(link, "contoso.com".to_owned(), THEM.to_owned())]);
    assert_eq!(raw.acknowledging, [link], "known before the first stanza");
    let facts = raw.backend.facts(raw.now, link).unwrap();
    assert!(facts.both_ways && !facts.resumed, "as the administrator is told: {facts:?}");
    assert!(back(&mut raw, link, "contoso.com", THEM));
    let said = raw.said(link);
    assert!(said.starts_with("<message ") && said.ends_with(&("</message>".to_owned() + R)), "{said}");
    assert_eq!(tell(&mut raw, link, &a(1)), (String::new(), vec![1]));
    assert!(raw.try_tell(link, &a(2)).0.contains("send-count='1'"), "no more than was sent");
    assert!(!raw.backend.outlives(link));
}

#[test]
fn xb02_a_peer_that_does_not_count_is_sent_to_all_the_same() {
    let mut raw = raw(Required, false);
    let link = both_ways(&mut raw);
    assert!(raw.ways_back.is_empty(), "it may still ask");
    raw.advance(1);
    assert_eq!(raw.ways_back.len(), 1);
    assert!(back(&mut raw, link, "contoso.com", THEM));
    assert!(!raw.said(link).contains(R) && raw.acknowledging.is_empty());
    let said = raw.tell(link, "<enable xmlns='urn:xmpp:sm:3'/>");
    assert!(said.contains("<unexpected-request"), "too late to begin to count: {said}");
    raw.tell(link, &message(1));
    assert_eq!(raw.arrivals().len(), 1, "and what comes in comes in");
}

#[test]
fn xm03_a_peer_that_does_not_answer_is_dead() {
    let mut raw = raw(Required, false);
    let link = both_ways(&mut raw);
    raw.tell(link, "<enable xmlns='urn:xmpp:sm:3'/>");
    back(&mut raw, link, "contoso.com", THEM);
    raw.advance(19);
    assert!(!raw.is_closed(link));
    raw.advance(1);
    assert!(raw.is_closed(link));
}

#[test]
fn b29_a_way_back_leads_from_and_to_the_proven_pair_alone() {
    let mut raw = raw(Required, true);
    let link = both_ways(&mut raw);
    raw.advance(1);
    for (from, to) in
        [("fabrikam.com", THEM), ("contoso.com", "evil.example"), ("fabrikam.com", "evil.example")]
    {
        assert!(!back(&mut raw, link, from, to), "{from} {to}");
    }
    let (said, _) = raw.try_tell(link, "<message from='x@evil.example' to='a@contoso.com'/>");
    assert!(said.contains("<invalid-from"), "nor does it let anybody speak for another: {said}");
    assert!(!back(&mut raw, link, "contoso.com", THEM), "it is over");

    // By dialback: the pair of the header when it is proven, and no other that is proven beside it.
    let mut raw = self::raw(No, true);
    let link = raw.accept();
    raw.tell(link, &(header(THEM, "contoso.com") + ASK));
    prove(&mut raw, link, "evil.example", "contoso.com");
    assert!(raw.ways_back.is_empty() && !back(&mut raw, link, "contoso.com", "evil.example"));
    assert!(!back(&mut raw, link, "contoso.com", THEM));
    prove(&mut raw, link, THEM, "contoso.com");
    assert_eq!(raw.ways_back, [(link, "contoso.com".to_owned(), THEM.to_owned())]);
    assert!(
        back(&mut raw, link, "contoso.com", THEM) && !back(&mut raw, link, "contoso.com", "evil.example")
    );
    assert!(!back(&mut raw, link, "fabrikam.com", THEM));
}

#[test]
fn b29_it_is_asked_for_in_time_or_not_at_all() {
    // Before TLS: forgotten with all that was said then.
    let mut raw = raw(Negotiation::Optional, true);
    let link = raw.accept();
    raw.tell(link, &(header(THEM, "contoso.com") + ASK));
    raw.tell(link, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(&[THEM])));
    raw.tell(link, &header(THEM, "contoso.com"));
    raw.tell(link, AUTH);
    raw.tell(link, &header(THEM, "contoso.com"));
    raw.advance(2);
    assert!(raw.ways_back.is_empty() && !back(&mut raw, link, "contoso.com", THEM));
    // After the proof, by certificate or by dialback; and twice.
    assert!(raw.try_tell(link, ASK).0.contains("<unsupported-stanza-type"));
    let mut raw = self::raw(No, true);
    let link = in_between(&mut raw, THEM, "contoso.com");
    assert!(raw.try_tell(link, ASK).0.contains("<unsupported-stanza-type"));
    let link = raw.accept();
    raw.tell(link, &(header(THEM, "contoso.com") + ASK));
    assert!(raw.try_tell(link, ASK).0.contains("<unsupported-stanza-type"));
}

/// What was said behind our header.
fn behind_header(said: &str) -> String {
    said.split_once(" version='1.0'>").unwrap().1.to_owned()
}

/// A stream out, secured, to a partner that offers all this; what was said then.
fn dial(raw: &mut Raw, features: &str, names: &[&str]) -> (LinkId, String) {
    let link = raw.dial("contoso.com", THEM);
    let starttls = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    raw.tell(
        link,
        &(answering(THEM, "contoso.com", "s") + &format!("<stream:features>{starttls}</stream:features>")),
    );
    raw.tell(link, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    raw.secure(link, Some(certificate(names)));
    let said = raw.tell(
        link,
        &(answering(THEM, "contoso.com", "t") + &format!("<stream:features>{features}</stream:features>")),
    );
    (link, behind_header(&said))
}

/// One that the peer may send back on, up to where it has taken us.
fn heard_back(raw: &mut Raw, features: &str) -> (LinkId, String) {
    let (link, said) = dial(raw, &format!("{EXTERNAL}{OFFER}"), &[THEM]);
    assert!(said.starts_with(ASK) && said.contains("<auth "), "before the proof: {said}");
    raw.tell(link, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    let said = raw.tell(
        link,
        &(answering(THEM, "contoso.com", "u") + &format!("<stream:features>{features}</stream:features>")),
    );
    (link, said)
}

#[test]
fn xb02_what_comes_back_is_taken_and_acknowledged() {
    let mut raw = raw(Required, false);
    let (link, said) = heard_back(&mut raw, SM);
    assert_eq!(said, "<enable xmlns='urn:xmpp:sm:3'/>", "it is not resumed");
    assert!(raw.backend.facts(raw.now, link).unwrap().both_ways);
    // The peer has taken us and may speak at once; what comes before it counts is not counted.
    raw.tell(link, &message(1));
    assert_eq!(raw.arrivals().len(), 1);
    raw.tell(link, ENABLED);
    assert_eq!((&raw.ready[..], &std::mem::take(&mut raw.out.chained)[..]), (&[link][..], &[link][..]));
    raw.advance(1);
    assert_eq!(raw.tell(link, &(message(2) + R)), a(0), "what became of it is not known");
    let came = raw.arrivals();
    assert_eq!(came[0].origin.link, link);
    let ended = Ended { side: Side::Partners, link, arrived: came[0].arrived, count: 1 };
    raw.backend.ended(raw.now, &ended, &mut raw.out);
    raw.collect();
    assert_eq!(raw.said(link), a(1));
    // Something malformed is answered and counted.
    raw.tell(link, &format!("<iq type='odd' from='b@{THEM}' to='a@contoso.com' id='2'/>"));
    assert_eq!(raw.tell(link, R), a(2));
    assert!(!raw.backend.outlives(link));
}

#[test]
fn b29_a_peer_speaks_back_from_and_to_the_pair_alone() {
    for forged in [
        "<message from='x@evil.example' to='a@contoso.com'/>".to_owned(),
        format!("<message from='b@{THEM}' to='a@fabrikam.com'/>"),
        format!("<message from='b@chat.{THEM}' to='a@contoso.com'/>"),
        format!("<message from='a@contoso.com' to='b@{THEM}'/>"),
    ] {
        let mut raw = raw(Required, false);
        let (link, _) = heard_back(&mut raw, "");
        assert_eq!(raw.ready, [link]);
        let (said, fault) = raw.try_tell(link, &forged);
        assert!(said.contains("<invalid-from") && fault.is_some(), "{forged}: {said}");
        assert!(raw.arrivals().is_empty() && raw.is_closed(link));
    }
}

#[test]
fn b29_nothing_comes_back_unasked_or_early() {
    // Not asked for: policy is against it, or it is not offered.
    let partners = vec![partner(THEM, Required, Required, false)];
    let mut off = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let (link, said) = dial(&mut off, &format!("{EXTERNAL}{OFFER}"), &[THEM]);
    assert!(!said.contains("bidi"), "{said}");
    off.tell(link, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    off.tell(link, &(answering(THEM, "contoso.com", "u") + "<stream:features/>"));
    assert!(off.try_tell(link, &message(1)).0.contains("<unsupported-stanza-type"));
    let mut raw = raw(Required, true);
    let (_, said) = dial(&mut raw, EXTERNAL, &[THEM]);
    assert!(!said.contains("bidi"), "{said}");
    // Before the peer has taken us for who we are.
    let (link, said) = dial(&mut raw, &format!("{EXTERNAL}{OFFER}"), &[THEM]);
    assert!(said.starts_with(ASK));
    assert!(raw.try_tell(link, &message(1)).0.contains("<unsupported-stanza-type"));
    assert!(raw.arrivals().is_empty());
}

#[test]
fn xb04_draining_ends_what_brings_stanzas() {
    let mut raw = raw(Required, false);
    let (link, _) = heard_back(&mut raw, "");
    assert!(raw.backend.is_listening());
    raw.backend.drain(raw.now, &mut raw.out);
    raw.collect();
    assert_eq!(raw.said(link), "</stream:stream>");
    assert_eq!(raw.unready, [None], "what is left to go out goes on another");
    raw.tell(link, &message(1));
    assert_eq!(raw.arrivals().len(), 1, "what the peer said before it read that counts");
    raw.tell(link, "</stream:stream>");
    assert!(!raw.backend.is_listening());
    let (_, said) = dial(&mut raw, &format!("{EXTERNAL}{OFFER}"), &[THEM]);
    assert!(!said.contains("bidi"), "{said}");
}
