//! Who gets a stanza in, as one table (B-24): what TLS showed, what the policy asks for, and what the peer tries. Every policy the
//! configuration can hold, every kind of handshake, every way of speaking; each cell is played out, octet for octet.

use turnout_core::io::{LinkId, PeerCertificate, Side};
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt, Required as Req};
use turnout_core::policy::{MATRIX, Partner};

use crate::net::{certificate, partner, self_signed, world};
use crate::raw::{Raw, answering, attribute, header};

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
const STANZA: &str = "<message from='a@partner.example' to='b@contoso.com'><body>x</body></message>";

/// What a handshake showed of the peer.
#[derive(Clone, Copy, Debug)]
enum Tls {
    /// There was none.
    Plain,
    /// One without a certificate.
    Anonymous,
    /// Trusted, and the partner's name.
    Good,
    /// The partner's name, and nobody trusts it.
    Untrusted,
    /// Trusted, and somebody else's name.
    OtherName,
}

const HANDSHAKES: [Tls; 5] = [Tls::Plain, Tls::Anonymous, Tls::Good, Tls::Untrusted, Tls::OtherName];

impl Tls {
    fn shown(self) -> Option<PeerCertificate> {
        match self {
            Self::Plain | Self::Anonymous => None,
            Self::Good => Some(certificate(&["partner.example"])),
            Self::Untrusted => Some(self_signed(&["partner.example"])),
            Self::OtherName => Some(certificate(&["second.example"])),
        }
    }
}

/// What a peer tries in order to be heard.
#[derive(Clone, Copy, Debug)]
enum Try {
    /// Nothing: it sends a stanza.
    Stanza,
    /// A key, which the partner's own server confirms.
    Dialback,
    /// Its certificate, offered or not.
    External,
}

/// A stream as far as the handshake leads; `None` where it was closed on the way.
fn stream(raw: &mut Raw, tls: Tls) -> Option<LinkId> {
    let link = raw.accept();
    raw.tell(link, &header("partner.example", "contoso.com"));
    if !matches!(tls, Tls::Plain) {
        raw.tell(link, STARTTLS);
        raw.tls.pop()?;
        raw.secure(link, tls.shown());
        raw.tell(link, &header("partner.example", "contoso.com"));
    }
    (!raw.is_closed(link)).then_some(link)
}

/// Plays the partner's own server, which has a good certificate and calls every key valid.
fn confirm(raw: &mut Raw) {
    let Some(connect) = raw.connects.pop() else { return };
    let verify = connect.link;
    raw.connected(verify);
    let offer = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>";
    let mut said = raw.tell(verify, &(answering("partner.example", "contoso.com", "v1") + offer));
    if said.contains("<starttls") {
        raw.tell(verify, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        raw.secure(verify, Some(certificate(&["partner.example"])));
        said = raw.tell(verify, &(answering("partner.example", "contoso.com", "v2") + "<stream:features/>"));
    }
    if let Some(at) = said.find("<db:verify") {
        let id = attribute(&said[at..], "id");
        raw.tell(
            verify,
            &format!("<db:verify from='partner.example' to='contoso.com' id='{id}' type='valid'/>"),
        );
    }
}

/// Whether the stanza got in.
fn gets_in(policy: &Partner, tls: Tls, what: Try) -> bool {
    let second = partner("second.example", Opt, Opt, true);
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], vec![policy.clone(), second], No));
    let Some(link) = stream(&mut raw, tls) else { return false };
    match what {
        Try::Stanza => {}
        Try::Dialback => {
            raw.tell(link, "<db:result from='partner.example' to='contoso.com'>k</db:result>");
            confirm(&mut raw);
        }
        Try::External => {
            if raw.tell(link, AUTH).contains("<success") {
                raw.tell(link, &header("partner.example", "contoso.com"));
            }
        }
    }
    let (_, fault) = raw.try_tell(link, STANZA);
    let arrived = raw.arrivals().len();
    assert_eq!(
        arrived == 0,
        fault.is_some() || raw.is_closed(link),
        "in, or closed: {policy:?} {tls:?} {what:?}"
    );
    arrived == 1
}

/// One row: for each handshake, which of stanza, dialback and EXTERNAL gets in.
fn row(policy: &Partner) -> String {
    let cell = |tls: Tls| {
        let mut cell = String::new();
        for (letter, what) in [('!', Try::Stanza), ('D', Try::Dialback), ('S', Try::External)] {
            if gets_in(policy, tls, what) {
                cell.push(letter);
            }
        }
        if cell.is_empty() { "-".to_owned() } else { cell }
    };
    HANDSHAKES.map(cell).join(" ")
}

#[test]
fn who_gets_in() {
    // Columns: without TLS; TLS without a certificate; a good one; an untrusted one; a trusted one of another name.
    // D: by dialback, S: by SASL EXTERNAL, DS: by either, -: not at all. A stanza without proof (!) gets in nowhere.
    #[rustfmt::skip]
    let expected = [
        ((Req, Req, true),  "- - S - -"),
        ((Req, Req, false), "- - S - -"),
        ((Opt, Req, true),  "D D DS D D"),
        ((Opt, Req, false), "- - S - -"),
        ((No,  Req, true),  "D - - - -"),
        ((Req, Opt, true),  "- D DS D D"),
        ((Req, Opt, false), "- - S - -"),
        ((Opt, Opt, true),  "D D DS D D"),
        ((Opt, Opt, false), "- - S - -"),
        ((No,  Opt, true),  "D - - - -"),
        ((Req, No,  true),  "- D D D D"),
        ((Opt, No,  true),  "D D D D D"),
        ((No,  No,  true),  "D - - - -"),
    ];
    let valid =
        MATRIX.iter().filter(|row| row.methods.is_some()).map(|row| (row.tls, row.sasl, row.dialback));
    let asked: Vec<_> = expected.iter().map(|(policy, _)| *policy).collect();
    assert_eq!(
        asked,
        valid.collect::<Vec<_>>(),
        "every policy that can be configured, in the order of the matrix"
    );
    for ((tls, sasl, dialback), cells) in expected {
        let policy = partner("partner.example", tls, sasl, dialback);
        assert_eq!(row(&policy), cells, "tls {tls:?} sasl {sasl:?} dialback {dialback}");
    }
}

#[test]
fn who_gets_in_where_dialback_needs_tls() {
    for (tls, sasl, cells) in
        [(Opt, Req, "- D DS D D"), (Opt, Opt, "- D DS D D"), (Opt, No, "- D D D D"), (Req, Opt, "- D DS D D")]
    {
        let policy =
            Partner { require_tls_for_dialback: true, ..partner("partner.example", tls, sasl, true) };
        assert_eq!(row(&policy), cells, "tls {tls:?} sasl {sasl:?}");
    }
}

#[test]
fn who_gets_in_where_a_key_is_pinned() {
    // All certificates of these tests have one key, so what is told apart is having it pinned and not. A pinned key counts whoever
    // vouches for it and whatever it names; without one there is no way in, not even by dialback.
    let pinned =
        |pin: u8, tls, sasl| Partner { pins: vec![[pin; 32]], ..partner("partner.example", tls, sasl, true) };
    for (tls, sasl, fitting, other) in [
        (Req, Req, "- - S S S", "- - - - -"),
        (Opt, Opt, "- - DS DS DS", "- - - - -"),
        (Req, No, "- - D D D", "- - - - -"),
    ] {
        assert_eq!(row(&pinned(5, tls, sasl)), fitting, "tls {tls:?} sasl {sasl:?}");
        assert_eq!(row(&pinned(6, tls, sasl)), other, "tls {tls:?} sasl {sasl:?}");
    }
}

#[test]
fn who_gets_in_where_the_partner_has_roots_of_its_own() {
    let own =
        Partner { trust: Some(turnout_core::io::TrustId(3)), ..partner("partner.example", Req, Req, true) };
    assert_eq!(row(&own), "- - - - -", "the common roots do not count for it");
}
