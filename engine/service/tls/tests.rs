use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rcgen::{CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use turnout_core::io::{Closed, PeerCertificate, TrustId};

use super::*;
use crate::buffers::Buffers;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// An authority for tests.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn anchor(&self) -> Vec<rustls::pki_types::TrustAnchor<'static>> {
        vec![webpki::anchor_from_trusted_cert(self.0.der()).unwrap().to_owned()]
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Arc<CertifiedKey> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.0).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![der], key, &provider()).unwrap())
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// A context for one domain, with its authority as set 0 and another as set 1.
struct Estate {
    ca: Ca,
    context: TlsContext,
}

impl Estate {
    fn new() -> Self {
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let domains = vec![
            (domain("contoso.com"), ca.issue(&["contoso.com"], |_| ())),
            (domain("bücher.example"), ca.issue(&["xn--bcher-kva.example"], |_| ())),
        ];
        let homes = vec![(HomeId(0), Some(ca.issue(&["turnout.contoso.com"], |_| ())))];
        let trusts = TrustTable::new(vec![ca.anchor(), other.anchor()]);
        let context = TlsContext::build(&provider(), &domains, None, &homes, trusts).unwrap();
        Self { ca, context }
    }

    fn client(&self, name: &str, identity: Identity) -> End {
        let tls = ClientTls { server_name: name.into(), trust: TrustId(0), identity, alpn_xmpp: true };
        self.context.connect(&tls).unwrap().into()
    }
}

/// A session with the plain text that came out of it.
struct End {
    session: TlsSession,
    plain: Buffers,
}

impl End {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.session.feed(bytes, &mut self.plain)
    }

    fn take_plaintext(&mut self) -> Option<Bytes> {
        (!self.plain.is_empty()).then(|| self.plain.take())
    }
}

impl std::ops::Deref for End {
    type Target = TlsSession;

    fn deref(&self) -> &TlsSession {
        &self.session
    }
}

impl std::ops::DerefMut for End {
    fn deref_mut(&mut self) -> &mut TlsSession {
        &mut self.session
    }
}

impl From<TlsSession> for End {
    fn from(session: TlsSession) -> Self {
        Self { session, plain: Buffers::new() }
    }
}

/// Carries bytes between two sessions until neither has any, in pieces of `piece` bytes.
fn pump(a: &mut End, b: &mut End, piece: usize) -> Result<(), TlsError> {
    loop {
        let (mut to_b, mut to_a) = (Vec::new(), Vec::new());
        a.take_ciphertext(&mut to_b);
        b.take_ciphertext(&mut to_a);
        if to_a.is_empty() && to_b.is_empty() {
            return Ok(());
        }
        let fed: Result<(), TlsError> = to_b.chunks(piece).try_for_each(|bytes| b.feed(bytes));
        let back = to_a.chunks(piece).try_for_each(|bytes| a.feed(bytes));
        fed.and(back)?;
    }
}

fn certificate(session: &TlsSession, now: SystemTime) -> PeerCertificate {
    *session.secured(now).unwrap().certificate.unwrap()
}

#[test]
fn both_sides_learn_the_other_and_bytes_flow_at_any_split() {
    let estate = Estate::new();
    for piece in [1, 7, 100_000] {
        let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
        let mut client = estate.client("contoso.com", Identity::Domain(domain("contoso.com")));
        assert!(client.secured(now()).is_none());
        pump(&mut client, &mut server, piece).unwrap();
        assert!(client.handshake_done() && server.handshake_done());
        assert_eq!(client.secured(now()).unwrap().version, "TLSv1.3");
        assert_eq!(server.alpn(), Some(&b"xmpp-server"[..]));
        assert_eq!(server.server_name(), Some("contoso.com"));
        for seen in [certificate(&client, now()), certificate(&server, now())] {
            assert_eq!((seen.trusted, seen.untrusted_because), (vec![TrustId(0)], None));
            assert_eq!(seen.dns, ["contoso.com".into()]);
            assert_ne!(seen.spki_sha256, [0; 32]);
        }
        let long = vec![b'x'; 100_000];
        client.write(&long).unwrap();
        server.write(b"<ok/>").unwrap();
        pump(&mut client, &mut server, piece).unwrap();
        assert_eq!(server.take_plaintext().unwrap(), long);
        assert_eq!(client.take_plaintext().unwrap(), "<ok/>");
        assert_eq!(client.take_plaintext(), None);
        assert!(matches!(server.end_of_stream(), Closed::Broken(why) if why.contains("truncated")));
        client.write(b"last").unwrap();
        client.close_notify();
        pump(&mut client, &mut server, piece).unwrap();
        assert_eq!(server.take_plaintext().unwrap(), "last");
        assert!(server.wants_close() && !client.wants_close());
        assert_eq!(server.end_of_stream(), Closed::Eof);
    }
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let estate = Estate::new();
    let check = |asked: &str, expected: &str| {
        let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
        let mut client = estate.client(asked, Identity::Anonymous);
        pump(&mut client, &mut server, 4096).unwrap();
        assert_eq!(certificate(&client, now()).dns, [expected.into()], "{asked}");
        assert_eq!(server.secured(now()).unwrap().certificate, None);
    };
    check("contoso.com", "contoso.com");
    check("CONTOSO.com.", "contoso.com");
    check("bücher.example", "xn--bcher-kva.example");
    check("unknown.example", "contoso.com");
    check("127.0.0.1", "contoso.com");
    assert!(estate.context.accept(Side::Home(HomeId(9))).is_err());
    let odd = ClientTls {
        server_name: "a b".into(),
        trust: TrustId(0),
        identity: Identity::Anonymous,
        alpn_xmpp: false,
    };
    assert!(estate.context.connect(&odd).is_err());
    let mut home: End = estate.context.accept(Side::Home(HomeId(0))).unwrap().into();
    let mut pool: End =
        estate.context.connect(&ClientTls { server_name: "x.example".into(), ..odd }).unwrap().into();
    pump(&mut pool, &mut home, 4096).unwrap();
    assert_eq!(certificate(&pool, now()).dns, ["turnout.contoso.com".into()]);
}

#[test]
fn a_wrong_alpn_list_is_refused_and_none_is_fine() {
    let estate = Estate::new();
    for (list, good) in [(vec![], true), (vec![b"h2".to_vec()], false), (vec![b"xmpp-server".to_vec()], true)]
    {
        let mut config = (*client_config(&provider(), None, false).unwrap()).clone();
        config.alpn_protocols = list;
        let name = ServerName::try_from("contoso.com").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut client: End = TlsSession::new(connection.into(), Arc::clone(estate.context.trusts())).into();
        let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
        assert_eq!(pump(&mut client, &mut server, 4096).is_ok(), good);
        assert_eq!(server.handshake_done(), good);
    }
}

#[test]
fn renegotiation_ends_the_session() {
    let estate = Estate::new();
    let mut config = (*client_config(&provider(), None, true).unwrap()).clone();
    config = {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap();
        let verifier = Arc::new(verify::RecordOnly::new(&provider()));
        let mut twelve = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        twelve.alpn_protocols = config.alpn_protocols;
        twelve
    };
    let name = ServerName::try_from("contoso.com").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut client: End = TlsSession::new(connection.into(), Arc::clone(estate.context.trusts())).into();
    let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
    pump(&mut client, &mut server, 11).unwrap();
    assert_eq!(server.secured(now()).unwrap().version, "TLSv1.2");
    client.write(b"<a/>").unwrap();
    pump(&mut client, &mut server, 3).unwrap();
    assert_eq!(server.take_plaintext().unwrap(), "<a/>");
    let again = server.feed(&[22, 3, 3, 0, 4, 0, 0, 0, 0]).unwrap_err();
    assert!(again.to_string().contains("renegotiate"), "{again}");
    assert!(server.wants_close());
    assert_eq!(server.feed(b"more"), Err(again.clone()));
    assert_eq!(server.write(b"more"), Err(again));
}

#[test]
fn garbage_ends_the_session_and_an_early_end_is_told() {
    let estate = Estate::new();
    let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
    assert!(matches!(server.end_of_stream(), Closed::Broken(why) if why.contains("handshake")));
    assert!(server.feed(b"<?xml version='1.0'?><stream:stream>").is_err());
    let mut alert = Vec::new();
    server.take_ciphertext(&mut alert);
    assert_eq!(alert.first(), Some(&21), "an alert is left to write");
    assert!(matches!(server.end_of_stream(), Closed::Broken(_)));
}

#[test]
fn a_certificate_without_its_key_is_no_certificate() {
    let estate = Estate::new();
    let mut stolen = (*estate.ca.issue(&["victim.example"], |_| ())).clone();
    let own = estate.ca.issue(&["thief.example"], |_| ());
    stolen.key = Arc::clone(&own.key);
    let config = client_config(&provider(), Some(&Arc::new(stolen)), true).unwrap();
    let connection = ClientConnection::new(config, ServerName::try_from("contoso.com").unwrap()).unwrap();
    let mut client: End = TlsSession::new(connection.into(), Arc::clone(estate.context.trusts())).into();
    let mut server: End = estate.context.accept(Side::Partners).unwrap().into();
    assert!(pump(&mut client, &mut server, 4096).is_err());
    assert!(server.secured(now()).is_none());
}

/// The facts of a certificate that `change` has made special, at a time.
fn judged(at: SystemTime, change: impl FnOnce(&mut CertificateParams)) -> PeerCertificate {
    let ca = Ca::new("ca");
    let key = ca.issue(&["a.example"], change);
    facts::facts(&key.cert, &TrustTable::new(vec![Vec::new(), ca.anchor()]), at)
}

#[test]
fn purpose_time_and_authority_decide_on_trust() {
    let usual = now();
    let check = |at: SystemTime, change: fn(&mut CertificateParams), expected: Option<&str>| {
        let found = judged(at, change);
        match expected {
            None => assert_eq!((found.trusted, found.untrusted_because), (vec![TrustId(1)], None)),
            Some(part) => {
                assert!(found.trusted.is_empty());
                let why = found.untrusted_because.unwrap();
                assert!(why.contains(part), "{why}");
            }
        }
    };
    let until_2020 = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let from_2090 = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    check(usual, |_| (), None);
    check(usual, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth], None);
    check(
        usual,
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Some("purpose"),
    );
    check(usual, until_2020, Some("expired"));
    check(SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000), until_2020, None);
    check(usual, from_2090, Some("not valid yet"));
    check(
        usual,
        |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
        Some("authority itself"),
    );
    let stranger = Ca::new("stranger").issue(&["a.example"], |_| ());
    let found = facts::facts(&stranger.cert, &TrustTable::new(vec![Ca::new("ca").anchor()]), usual);
    assert!(found.untrusted_because.unwrap().contains("no authority"));
    assert!(found.trusted.is_empty());
    let broken = facts::facts(&[CertificateDer::from(vec![0x30, 0])], &TrustTable::new(Vec::new()), usual);
    assert!(broken.untrusted_because.unwrap().contains("cannot be read"));
    assert!(facts::facts(&[], &TrustTable::new(Vec::new()), usual).untrusted_because.is_some());
}

/// A DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut made = vec![tag];
    match content.len() {
        length @ 0..=0x7f => made.push(u8::try_from(length).unwrap()),
        length => {
            made.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()])
        }
    }
    made.extend(content);
    made
}

/// An otherName of arc 1.3.6.1.5.5.7.8.`last` with a string of this tag.
fn other(last: u8, tag: u8, text: &[u8]) -> Vec<u8> {
    let oid = der(0x06, &[0x2b, 6, 1, 5, 5, 7, 8, last]);
    der(0xa0, &[oid, der(0xa0, &der(tag, text))].concat())
}

#[test]
fn only_names_of_the_right_type_count() {
    let names = [
        der(0x82, b"Good.Example"),
        der(0x82, b"*.wild.example"),
        der(0x82, b"nul.example\0.evil.example"),
        der(0x82, b"a.example,CN=b.example"),
        der(0x82, b"dot..example"),
        der(0x87, &[10, 0, 0, 1]),
        der(0x86, b"xmpp:good.example"),
        other(7, 0x16, b"_xmpp-server.Good.example"),
        other(7, 0x0c, b"_xmpp-server.utf8.example"),
        other(7, 0x16, b"_xmpp-server.*.example"),
        other(5, 0x0c, "bücher.example".as_bytes()),
        other(5, 0x16, b"ia5.example"),
        other(5, 0x1e, b"\0b\0m\0p"),
        other(5, 0x0c, b"nul\0.example"),
        other(9, 0x0c, b"else.example"),
    ]
    .concat();
    let extension = der(0x30, &names);
    let found = judged(now(), |params| {
        params.subject_alt_names.clear();
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], extension));
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "x, CN=victim.test");
        params.distinguished_name.push(rcgen::DnType::CommonName, "Common.Example");
    });
    let texts = |list: &[Arc<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&found.dns), ["good.example", "*.wild.example"]);
    assert_eq!(texts(&found.srv), ["_xmpp-server.good.example"]);
    assert_eq!(texts(&found.xmpp_addresses), ["bücher.example"]);
    assert_eq!(texts(&found.uris), ["xmpp:good.example"]);
    assert_eq!(found.common_name.as_deref(), Some("Common.Example"));
}

#[test]
fn wrong_files_are_told_by_name() {
    let directory = std::env::temp_dir().join(format!("turnout-tls-{}", std::process::id()));
    crate::dev_certs::write(&directory, &[], now()).unwrap();
    let key = directory.join("contoso.com.key");
    std::fs::copy(directory.join("ca.key"), &key).unwrap();
    std::fs::write(directory.join("turnout.contoso.com.pem"), "nothing").unwrap();
    let config = Config::embedded(&directory).unwrap();
    let errors = TlsContext::load(&config).unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.0.len(), 2, "{text}");
    assert!(text.contains("contoso.com.key does not belong to"), "{text}");
    assert!(text.contains("turnout.contoso.com.pem holds no certificate"), "{text}");
    let mut config = config;
    config.federation.crl_file = Some(directory.join("ca.pem"));
    let text = TlsContext::load(&config).unwrap_err().to_string();
    assert!(text.contains("federation.crl_file") && text.contains("ca.pem holds no list"), "{text}");
    std::fs::write(directory.join("ca.pem"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
    assert!(TlsContext::load(&config).unwrap_err().to_string().contains("ca.pem"));
    std::fs::remove_dir_all(&directory).unwrap();
}

proptest::proptest! {
    /// Whatever a peer shows is read or refused, without a panic.
    #[test]
    fn odd_certificates_are_read_or_refused(at in 0_usize..600, flip in 1_u8.., cut in 0_usize..900) {
        let ca = Ca::new("ca");
        let key = ca.issue(&["a.example"], |params| {
            let names = [der(0x82, b"a.example"), other(7, 0x16, b"_xmpp-server.a.example"), other(5, 0x0c, b"a")].concat();
            params.subject_alt_names.clear();
            params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], der(0x30, &names)));
        });
        let mut bytes = key.cert[0].to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        bytes.truncate(cut.max(1));
        let changed = facts::facts(&[CertificateDer::from(bytes)], &TrustTable::new(vec![ca.anchor()]), now());
        // One changed byte breaks the authority's signature, wherever it is.
        proptest::prop_assert!(changed.trusted.is_empty());
        proptest::prop_assert!(changed.untrusted_because.is_some());
    }

    /// No bytes make a session panic, and no plain text comes of them.
    #[test]
    fn noise_never_becomes_plain_text(noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), piece in 1_usize..50) {
        let ca = Ca::new("ca");
        let domains = vec![(domain("contoso.com"), ca.issue(&["contoso.com"], |_| ()))];
        let context = TlsContext::build(&provider(), &domains, None, &[], TrustTable::new(Vec::new())).unwrap();
        let mut server: End = context.accept(Side::Partners).unwrap().into();
        let fed = noise.chunks(piece).try_for_each(|bytes| server.feed(bytes));
        proptest::prop_assert_eq!(fed.is_err(), server.wants_close());
        proptest::prop_assert_eq!(server.take_plaintext(), None);
        proptest::prop_assert!(!server.handshake_done());
    }
}
