//! The legacy gateway's table of TLS, SASL and dialback settings, each valid row against four kinds of peers, in both directions.

use turnout_core::backend::Sent;
use turnout_core::io::{PeerCertificate, Side};
use turnout_core::policy::Negotiation::{self, NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{Net, certificate, partner, self_signed, stanza, world};

type Row = (Negotiation, Negotiation, bool);

const OURS: &str = "contoso.com";
const THEIRS: &str = "partner.example";

/// A peer that can do all, with a good certificate; the same, self-signed; one without TLS; one that takes certificates only.
fn peers() -> [(Row, Option<PeerCertificate>); 4] {
    [
        ((Opt, Opt, true), Some(certificate(&[THEIRS]))),
        ((Opt, Opt, true), Some(self_signed(&[THEIRS]))),
        ((No, No, true), None),
        ((Req, Req, false), Some(certificate(&[THEIRS]))),
    ]
}

/// How a stream was opened: by certificate, by dialback over TLS or over TCP, or not at all.
fn opened(net: &Net, node: usize) -> char {
    let Some(note) = net.nodes[node].notes.iter().find(|note| note.contains("is open by")) else {
        return '-';
    };
    match (note.contains("by certificate"), note.contains("without TLS")) {
        (true, _) => 'S',
        (false, false) => 'D',
        (false, true) => 'T',
    }
}

fn net(row: Row, peer: &(Row, Option<PeerCertificate>)) -> (Net, usize, usize) {
    let mut net = Net::new();
    let (tls, sasl, dialback) = row;
    let ours = world(&[OURS], vec![partner(THEIRS, tls, sasl, dialback)], No);
    let us = net.add(Side::Partners, ours, &[OURS], Some(certificate(&[OURS])));
    let (tls, sasl, dialback) = peer.0;
    let theirs = world(&[THEIRS], vec![partner(OURS, tls, sasl, dialback)], No);
    let them = net.add(Side::Partners, theirs, &[THEIRS], peer.1.clone());
    (net, us, them)
}

#[track_caller]
fn check(row: Row, out: &str, into: &str) {
    for (column, peer) in peers().iter().enumerate() {
        for (dialer_is_us, expected) in [(true, out), (false, into)] {
            let (mut net, us, them) = net(row, peer);
            let (dialer, other) = if dialer_is_us { (us, them) } else { (them, us) };
            let (from, to) = if dialer_is_us { (OURS, THEIRS) } else { (THEIRS, OURS) };
            let link = net.dial(dialer, from, to);
            let expected = expected.as_bytes()[column] as char;
            let told = || {
                format!(
                    "{row:?} peer {column} out {dialer_is_us}\n{:#?}\n{:#?}",
                    net.nodes[us].notes, net.nodes[them].notes
                )
            };
            assert_eq!(opened(&net, dialer), expected, "{}", told());
            assert_eq!(net.nodes[dialer].ready.contains(&link), expected != '-', "{}", told());
            let was_refused = net.nodes[dialer].unready.iter().any(|(of, why)| *of == link && why.is_some());
            assert_eq!(was_refused, expected == '-', "{}", told());
            let stanza = stanza(net.now, &format!("a@{from}"), &format!("b@{to}"), "hello");
            let bytes = stanza.bytes.clone();
            let sent = net.send(dialer, link, stanza);
            let arrived: Vec<_> =
                net.nodes[other].arrivals.iter().map(|stanza| stanza.bytes.clone()).collect();
            if expected == '-' {
                assert!(matches!(sent, Sent::NotNow(_)));
                assert!(arrived.is_empty());
            } else {
                assert!(matches!(sent, Sent::OnWrite(_)));
                assert_eq!(arrived, [bytes], "the bytes that were sent");
            }
        }
    }
}

// Columns: full peer, self-signed peer, peer without TLS, peer that takes certificates only. A self-signed peer that accepts our
// certificate is written to by EXTERNAL; it is itself accepted by dialback only.
#[test]
fn tls_required() {
    check((Req, Req, true), "S--S", "S--S");
    check((Req, Req, false), "S--S", "S--S");
    check((Req, Opt, true), "SS-S", "SD-S");
    check((Req, Opt, false), "S--S", "S--S");
    check((Req, No, true), "DD--", "DD--");
}

#[test]
fn tls_optional() {
    check((Opt, Req, true), "SSTS", "SDTS");
    check((Opt, Req, false), "S--S", "S--S");
    check((Opt, Opt, true), "SSTS", "SDTS");
    check((Opt, Opt, false), "S--S", "S--S");
    check((Opt, No, true), "DDT-", "DDT-");
}

#[test]
fn no_tls() {
    check((No, Req, true), "TTT-", "TTT-");
    check((No, Opt, true), "TTT-", "TTT-");
    check((No, No, true), "TTT-", "TTT-");
}

#[test]
fn every_way_survives_a_cut_at_every_byte() {
    for peer in &peers() {
        let (mut net, us, them) = net((Opt, Opt, true), peer);
        net.split = true;
        for (dialer, other, from, to) in [(us, them, OURS, THEIRS), (them, us, THEIRS, OURS)] {
            let link = net.dial(dialer, from, to);
            assert!(net.nodes[dialer].ready.contains(&link), "{:#?}", net.nodes[dialer].notes);
            for n in 0..3 {
                let sent = net.send(
                    dialer,
                    link,
                    stanza(net.now, &format!("a@{from}"), &format!("b@{to}"), &n.to_string()),
                );
                assert!(matches!(sent, Sent::OnWrite(_)));
            }
            assert_eq!(net.nodes[other].arrivals.len(), 3);
        }
    }
}

#[test]
fn direct_tls_with_and_without_certificates() {
    for peer in &peers()[..2] {
        let (mut net, us, them) = net((Req, Opt, true), peer);
        net.nodes[us].direct_tls = true;
        net.nodes[them].direct_tls = true;
        net.dial(us, OURS, THEIRS);
        assert_eq!(opened(&net, us), 'S');
        net.dial(them, THEIRS, OURS);
        assert_ne!(opened(&net, them), '-');
        assert!(!net.said_by(us).contains("<starttls") && !net.said_by(them).contains("<starttls"));
    }
}

#[test]
fn a_good_certificate_of_another_name_gets_no_stanza() {
    let (mut net, us, _) = net((Req, Req, true), &((Opt, Opt, true), Some(certificate(&["other.example"]))));
    let link = net.dial(us, OURS, THEIRS);
    assert!(matches!(
        net.send(us, link, stanza(net.now, "a@contoso.com", "b@partner.example", "x")),
        Sent::NotNow(_)
    ));
    let note = net.nodes[us].notes.iter().find(|note| note.contains("does not name")).unwrap();
    assert!(note.contains("partner.example") && note.contains("other.example"), "{note}");
}
