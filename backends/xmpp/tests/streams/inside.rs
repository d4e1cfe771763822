//! The leg to a legacy gateway: we speak for partners, the gateway for local domains, by dialback.

use turnout_core::backend::Sent;
use turnout_core::io::{Side, Target};
use turnout_core::policy::Negotiation::{self, NotSupported as No, Optional as Opt, Required as Req};

use crate::net::{INSIDE, Net, certificate, partner, self_signed, stanza, world};
use crate::raw::{Raw, header};

/// A router's inside and the gateway behind it, which reaches the partner through the router alone (`ProxyFqdn`).
fn net(inside: Negotiation, gateway: Negotiation) -> (Net, usize, usize) {
    let mut net = Net::new();
    let partners = vec![partner("partner.example", Req, Req, true)];
    let router =
        net.add(Side::Home(INSIDE), world(&["contoso.com"], partners, inside), &["router.internal"], None);
    let mut through = partner("partner.example", gateway, No, true);
    through.proxy = Some("router.internal:5269".parse().unwrap());
    let shown = Some(self_signed(&["contoso.com"]));
    let gateway =
        net.add(Side::Partners, world(&["contoso.com"], vec![through], No), &["gateway.internal"], shown);
    (net, router, gateway)
}

#[test]
fn stanzas_pass_in_both_directions_by_dialback() {
    for (inside, gateway, open) in [
        (Opt, Opt, true),
        (No, Opt, true),
        (Req, Req, true),
        (Opt, No, true),
        (Req, No, false),
        (No, Req, false),
    ] {
        let (mut net, router, legacy) = net(inside, gateway);
        let to_gateway = net.dial(router, "partner.example", "contoso.com");
        let sent = net.send(
            router,
            to_gateway,
            stanza(net.now, "juliet@partner.example/b", "romeo@contoso.com", "hi"),
        );
        assert_eq!(
            matches!(sent, Sent::OnWrite(_)),
            open,
            "{inside:?} {gateway:?} {:?} {:?}",
            net.nodes[router].notes,
            net.nodes[legacy].notes
        );
        assert_eq!(net.nodes[legacy].arrivals.len(), usize::from(open));
        let to_partner = net.dial(legacy, "contoso.com", "partner.example");
        let sent = net.send(
            legacy,
            to_partner,
            stanza(net.now, "romeo@contoso.com", "juliet@partner.example", "ho"),
        );
        assert_eq!(matches!(sent, Sent::OnWrite(_)), open, "{inside:?} {gateway:?}");
        assert_eq!(net.nodes[router].arrivals.len(), usize::from(open));
        let secured = net.said_by(router).contains("<proceed");
        assert_eq!(secured, open && inside != No && gateway != No);
    }
}

#[test]
fn the_gateway_is_reached_at_its_nodes_and_nowhere_else() {
    let partners = vec![partner("partner.example", Req, Req, true)];
    let mut raw = Raw::new(Side::Home(INSIDE), world(&["contoso.com"], partners, No));
    let link = raw.accept();
    raw.tell(link, &header("contoso.com", "partner.example"));
    raw.tell(link, "<db:result from='contoso.com' to='partner.example'>k</db:result>");
    let Target::Hosts(hosts) = &raw.connects[0].target else { panic!("no DNS inside") };
    assert_eq!(hosts[0].to_string(), "gateway.internal:5269");
}

#[test]
fn each_side_speaks_for_its_own_domains_alone() {
    let check = |side: Side, from: &str, to: &str, expected: &str| {
        let mut partners = vec![partner("partner.example", No, No, true)];
        partners.push(partner("second.example", No, No, true));
        let mut raw = Raw::new(side, world(&["contoso.com"], partners, No));
        let link = raw.accept();
        let said = raw.tell(link, &header(from, to));
        assert!(said.contains(expected), "{side:?} {from} {to}: {said}");
    };
    let inside = Side::Home(INSIDE);
    check(inside, "contoso.com", "partner.example", "<stream:features>");
    check(inside, "contoso.com", "contoso.com", "<host-unknown ");
    check(inside, "contoso.com", "stranger.example", "<host-unknown ");
    check(inside, "partner.example", "second.example", "<policy-violation ");
    check(inside, "partner.example", "contoso.com", "<host-unknown ");
    check(Side::Partners, "partner.example", "contoso.com", "<stream:features>");
    check(Side::Partners, "partner.example", "second.example", "<host-unknown ");
    check(Side::Partners, "contoso.com", "contoso.com", "<policy-violation ");
}

#[test]
fn the_authoritative_role_for_partners_is_played_inside_alone() {
    // The same secret on both sides: the key is right, and yet nobody outside is told so.
    let made = || world(&["contoso.com"], vec![partner("partner.example", No, No, true)], No);
    let mut raw = Raw::new(Side::Home(INSIDE), made());
    let link = raw.dial("partner.example", "contoso.com");
    raw.said(link);
    let answer = crate::raw::answering("contoso.com", "partner.example", "s9") + "<stream:features/>";
    let said = raw.tell(link, &answer);
    let key = said.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned();
    let inside = raw.accept();
    raw.tell(inside, &header("contoso.com", "partner.example"));
    let said = raw.tell(
        inside,
        &format!("<db:verify from='contoso.com' to='partner.example' id='s9'>{key}</db:verify>"),
    );
    assert!(said.contains("type='valid'"), "{said}");
    let mut outside = Raw::new(Side::Partners, made());
    let link = outside.accept();
    outside.tell(link, &header("partner.example", "contoso.com"));
    let said = outside
        .tell(link, &format!("<db:verify from='contoso.com' to='partner.example' id='s9'>{key}</db:verify>"));
    assert!(said.contains("type='error'"), "{said}");
}

#[test]
fn a_certificate_opens_no_door_inside() {
    let partners = vec![partner("partner.example", Req, Req, true)];
    let mut raw = Raw::new(Side::Home(INSIDE), world(&["contoso.com"], partners, Req));
    let link = raw.accept_by(true);
    raw.secure(link, Some(certificate(&["contoso.com"])));
    let said = raw.tell(link, &header("contoso.com", "partner.example"));
    assert!(!said.contains("EXTERNAL") && said.contains("urn:xmpp:features:dialback"), "{said}");
}
