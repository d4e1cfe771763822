//! How long streams live and how they end.

use std::sync::Arc;

use turnout_core::backend::{Backend, Sent};
use turnout_core::io::{Close, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{Net, partner, stanza, world};
use crate::raw::{Raw, answering, header};

fn plain() -> turnout_core::world::World {
    world(&["contoso.com"], vec![partner("partner.example", No, No, true)], No)
}

/// Two servers, dialback over TCP, a stream from us to them.
fn open() -> (Net, usize, usize, turnout_core::io::LinkId) {
    let mut net = Net::new();
    let us = net.add(Side::Partners, plain(), &["contoso.com"], None);
    let theirs = world(&["partner.example"], vec![partner("contoso.com", No, No, true)], No);
    let them = net.add(Side::Partners, theirs, &["partner.example"], None);
    let link = net.dial(us, "contoso.com", "partner.example");
    assert_eq!(net.nodes[us].ready, [link]);
    (net, us, them, link)
}

#[test]
fn a_stream_that_is_not_proven_in_time_is_closed() {
    let mut raw = Raw::new(Side::Partners, plain());
    let silent = raw.accept();
    let begun = raw.accept();
    let handshake = raw.accept_by(true);
    raw.tell(begun, &header("partner.example", "contoso.com"));
    for _ in 0..59 {
        raw.advance(1);
        raw.tell(begun, " ");
        assert!(raw.closed.is_empty());
    }
    raw.advance(2);
    assert!(raw.said(silent).contains("<connection-timeout "));
    assert!(raw.said(begun).contains("<connection-timeout "));
    assert_eq!(raw.said(handshake), "");
    assert_eq!(raw.backend.streams(), 0);
    assert_eq!(raw.backend.deadline(), None, "no timer is left");
}

#[test]
fn an_attempt_that_leads_nowhere_ends_in_time() {
    let mut raw = Raw::new(Side::Partners, plain());
    let link = raw.dial("contoso.com", "partner.example");
    raw.tell(link, &(answering("partner.example", "contoso.com", "s") + "<stream:features/>"));
    raw.advance(61);
    assert!(raw.is_closed(link));
    let refusal = raw.unready[0].as_ref().unwrap();
    assert_eq!(refusal.condition.as_str(), "remote-server-timeout");
    assert!(refusal.detail.as_ref().unwrap().contains("dialback"), "{refusal}");
}

#[test]
fn keep_alives_go_out_and_idle_streams_end_politely() {
    let (mut net, us, them, link) = open();
    let back = net.dial(them, "partner.example", "contoso.com");
    let before = net.said[&(us, link)].clone();
    net.advance(149);
    assert_eq!(net.said[&(us, link)], before);
    net.advance(2);
    assert_eq!(net.said[&(us, link)], format!("{before} "));
    net.advance(140);
    let answer = net.send(them, back, stanza(net.now, "b@partner.example", "a@contoso.com", "1"));
    assert!(matches!(answer, Sent::OnWrite(_)));
    net.advance(160);
    assert_eq!(net.said[&(us, link)], format!("{before}   "), "no ping: they wrote meanwhile");
    assert!(matches!(
        net.send(us, link, stanza(net.now, "a@contoso.com", "b@partner.example", "1")),
        Sent::OnWrite(_)
    ));
    net.advance(590);
    assert!(net.is_open(us, link));
    net.advance(20);
    assert!(!net.is_open(us, link), "600 s after the last stanza");
    assert!(net.nodes[us].unready.iter().any(|(of, why)| *of == link && why.is_none()));
    assert_eq!(net.nodes[us].backend.streams() + net.nodes[them].backend.streams(), 0);
    assert!(
        net.said[&(us, link)].ends_with("</stream:stream>") && !net.said_by(them).contains("stream:error")
    );
}

#[test]
fn an_inbound_stream_that_is_silent_ends_politely_and_late_stanzas_count() {
    let mut raw = Raw::new(Side::Partners, plain());
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    raw.tell(link, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
    let verify = raw.connects[0].link;
    raw.connected(verify);
    let said = raw.tell(verify, &(answering("partner.example", "contoso.com", "v") + "<stream:features/>"));
    let id = crate::raw::attribute(&said[said.find("<db:verify").unwrap()..], "id");
    raw.tell(verify, &format!("<db:verify from='partner.example' to='contoso.com' id='{id}' type='valid'/>"));
    raw.said(link);
    raw.advance(599);
    raw.tell(link, " ");
    raw.advance(599);
    assert_eq!(raw.said(link), "");
    raw.advance(2);
    assert_eq!(raw.said(link), "</stream:stream>");
    raw.tell(link, "<message from='a@partner.example' to='b@contoso.com'/>");
    assert_eq!(raw.arrivals().len(), 1, "sent before our end was read");
    assert!(!raw.is_closed(link));
    raw.tell(link, "</stream:stream>");
    assert_eq!(raw.closed.iter().filter(|(of, _)| *of == link).collect::<Vec<_>>(), [&(link, Close::Flush)]);
    assert_eq!(raw.said(link), "");
}

#[test]
fn a_verify_stream_ends_by_itself() {
    let (mut net, us, them, _) = open();
    let before = net.nodes[us].backend.streams() + net.nodes[them].backend.streams();
    assert_eq!(before, 4, "one stream for stanzas and one to verify, seen from both ends");
    net.advance(10);
    assert_eq!(net.nodes[us].backend.streams() + net.nodes[them].backend.streams(), 2);
}

#[test]
fn the_peers_end_of_a_stream_is_answered() {
    let (mut net, us, them, link) = open();
    let them_all = &mut net.nodes[them];
    them_all.backend.drain(net.now, &mut them_all.out);
    net.run();
    net.advance(15);
    assert!(!net.is_open(us, link));
    assert_eq!(net.nodes[them].backend.streams(), 0);
    let refused = net.dial(us, "contoso.com", "partner.example");
    assert!(!net.nodes[us].ready.contains(&refused), "who drains takes no connection");
}

#[test]
fn draining_ends_all_streams_after_what_was_queued() {
    let (mut net, us, them, link) = open();
    let now = net.now;
    let node = &mut net.nodes[us];
    for n in 0..5 {
        let one = stanza(now, "a@contoso.com", "b@partner.example", &n.to_string());
        assert!(matches!(node.backend.send(now, link, one, &mut node.out), Sent::OnWrite(_)));
    }
    node.backend.drain(now, &mut node.out);
    net.run();
    assert!(net.is_open(us, link), "what was accepted may still need it");
    let node = &mut net.nodes[us];
    node.backend.leave(now, &mut node.out);
    net.run();
    net.advance(15);
    assert_eq!(net.nodes[them].arrivals.len(), 5);
    assert_eq!(net.nodes[us].backend.streams(), 0);
    assert!(net.nodes[us].unready.iter().any(|(of, why)| *of == link && why.is_none()));
}

#[test]
fn a_partner_taken_out_of_the_configuration_is_cut_off() {
    let (mut net, us, them, link) = open();
    let back = net.dial(them, "partner.example", "contoso.com");
    let kept = Arc::new(plain());
    let now = net.now;
    let node = &mut net.nodes[us];
    node.backend.configure(now, &kept, &mut node.out);
    net.run();
    assert!(net.is_open(us, link) && net.is_open(them, back), "nothing changed for it");
    let without = Arc::new(world(&["contoso.com"], vec![partner("other.example", Req, Opt, true)], No));
    let node = &mut net.nodes[us];
    node.backend.configure(now, &without, &mut node.out);
    net.run();
    net.advance(15);
    assert!(!net.is_open(us, link) && !net.is_open(them, back));
    let refused = net.dial(us, "contoso.com", "partner.example");
    let (_, why) = net.nodes[us].unready.iter().find(|(of, _)| *of == refused).unwrap();
    assert_eq!(why.as_ref().unwrap().condition.as_str(), "policy-violation");
}

#[test]
fn a_stream_that_is_no_longer_safe_enough_ends() {
    let (mut net, us, them, link) = open();
    let back = net.dial(them, "partner.example", "contoso.com");
    let stricter = Arc::new(world(&["contoso.com"], vec![partner("partner.example", Req, Opt, true)], No));
    let now = net.now;
    let node = &mut net.nodes[us];
    node.backend.configure(now, &stricter, &mut node.out);
    net.run();
    net.advance(15);
    assert!(!net.is_open(us, link) && !net.is_open(them, back));
    assert!(
        net.nodes[us].unready.iter().any(|(of, why)| *of == link && why.is_none()),
        "opened anew when needed"
    );
    net.dial(us, "contoso.com", "partner.example");
    assert_eq!(net.nodes[us].ready, [link], "they offer no TLS");
}

#[test]
fn a_stream_error_of_the_peer_is_told_with_its_reason() {
    let mut raw = Raw::new(Side::Partners, plain());
    let link = raw.dial("contoso.com", "partner.example");
    let error = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    raw.tell(link, &(answering("partner.example", "contoso.com", "s") + error));
    assert_eq!(raw.unready[0].as_ref().unwrap().condition.as_str(), "remote-server-not-found");
    assert!(raw.notes.iter().any(|note| note.contains("host-unknown")), "{:?}", raw.notes);
    let link = raw.dial("contoso.com", "partner.example");
    let odd = "<stream:error><made-up xmlns='urn:ietf:params:xml:ns:xmpp-streams'/><text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>why\nnot</text></stream:error>";
    raw.tell(link, &(answering("partner.example", "contoso.com", "s") + odd));
    assert_eq!(raw.unready[1].as_ref().unwrap().condition.as_str(), "remote-server-timeout");
    assert!(raw.is_closed(link));
    assert!(raw.notes.iter().all(|note| !note.contains('\n')), "one line each: {:?}", raw.notes);
}

#[test]
fn nothing_is_sent_on_the_stream_of_another_pair() {
    let (mut net, us, _, link) = open();
    let sent = net.send(us, link, stanza(net.now, "a@fabrikam.com", "b@partner.example", "x"));
    assert!(matches!(sent, Sent::Refused(..)));
    let sent = net.send(us, link, stanza(net.now, "a@contoso.com", "b@third.example", "x"));
    assert!(matches!(sent, Sent::Refused(..)));
}
