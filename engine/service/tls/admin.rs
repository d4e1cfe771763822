//! The certificate of the admin listener. Invariant: what a handshake shows is what the configuration in use names; a reload changes it
//! under a listener that goes on.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::identity::read_pair;
use super::provider;
use crate::config::AdminConfig;

/// Certificate and key, if there are any.
#[derive(Debug, Default)]
pub struct AdminKey(ArcSwapOption<CertifiedKey>);

impl AdminKey {
    /// With these.
    pub fn new(key: Option<Arc<CertifiedKey>>) -> Self {
        Self(ArcSwapOption::new(key))
    }

    /// Those a configuration names. Blocks.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(config: &AdminConfig) -> Result<Option<Arc<CertifiedKey>>, String> {
        let read = config.identity.as_ref().map(|pair| read_pair(pair, &provider()));
        Ok(read.transpose().map_err(|error| format!("admin.certificate: {error}"))?.map(Arc::new))
    }

    /// From now on these.
    pub fn set(&self, key: Option<Arc<CertifiedKey>>) {
        self.0.store(key);
    }

    /// What shakes hands, where there is a certificate.
    ///
    /// # Errors
    /// The library has no protocol version in common with itself.
    pub fn acceptor(self: Arc<Self>) -> Result<Option<TlsAcceptor>, String> {
        if self.0.load().is_none() {
            return Ok(None);
        }
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(self);
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

impl ResolvesServerCert for AdminKey {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}
