//! TLS 1.3 with AES-128-GCM only, on both sides, so that all peers do the same work. Invariant: certificates of those who are dialed are
//! held against the authority of the run.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Outcome;

/// A folder of certificates as `turnout dev-certs` writes it.
#[derive(Clone, Copy, Debug)]
pub struct Certificates<'a>(pub &'a Path);

type Card = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn provider() -> Arc<CryptoProvider> {
    let cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
}

impl Certificates<'_> {
    fn card(&self, name: &str) -> Outcome<Card> {
        let file = |end: &str| self.0.join(format!("{name}.{end}"));
        let wrong = |error: rustls::pki_types::pem::Error| format!("certificate of {name}: {error:?}");
        let chain = CertificateDer::pem_file_iter(file("pem")).map_err(wrong)?;
        let chain: Result<Vec<_>, _> = chain.collect();
        Ok((chain.map_err(wrong)?, PrivateKeyDer::from_pem_file(file("key")).map_err(wrong)?))
    }

    /// Of one who is dialed and shows this name's certificate.
    ///
    /// # Errors
    /// When the files are not as expected.
    pub fn server(&self, name: &str) -> Outcome<Arc<ServerConfig>> {
        let (chain, key) = self.card(name)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        config.map(Arc::new).map_err(|error| error.to_string())
    }

    /// Of one who dials, with this name's certificate if there is one.
    ///
    /// # Errors
    /// When the files are not as expected.
    pub fn client(&self, name: Option<&str>, alpn: &[&[u8]]) -> Outcome<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.0.join("ca.pem"))
            .map_err(|error| format!("ca.pem: {error:?}"))?;
        roots.add(ca).map_err(|error| error.to_string())?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match name {
            Some(name) => {
                let (chain, key) = self.card(name)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
