//! Certificates and TLS settings of peers: the checks are those of rustls and webpki, not of the router.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};
use turnout::tls::provider;

/// A certificate chain and its key.
#[derive(Debug)]
pub struct Card {
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Card {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Card {
    /// From PEM texts.
    pub fn new((chain, key): &(String, String)) -> Self {
        Self {
            chain: CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect(),
            key: PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        }
    }

    /// From `NAME.pem` and `NAME.key` of a folder.
    pub fn read(folder: &Path, name: &str) -> Self {
        let read = |end: &str| std::fs::read_to_string(folder.join(format!("{name}.{end}"))).unwrap();
        Self::new(&(read("pem"), read("key")))
    }
}

/// The one authority of a test.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    pub fn new(pem: &str) -> Self {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        Self(Arc::new(store))
    }

    /// Of one who dials: holds the router's certificate against the name he dials.
    pub fn client(&self, card: Option<&Card>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.0), provider()).build().unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_webpki_verifier(verifier);
        let mut config = match card {
            Some(card) => builder.with_client_auth_cert(card.chain.clone(), card.key.clone_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// Of one who takes any certificate, to look at it.
    pub fn trusting_client(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Of one who is dialed: the router has to show a certificate of the authority.
    pub fn server(&self, card: &Card) -> Arc<ServerConfig> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.0), provider()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(card.chain.clone(), card.key.clone_key());
        Arc::new(config.unwrap())
    }
}

/// Looks at the signature alone.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
