//! Our own certificates: reading them, and choosing one by the name a client asks for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use turnout_core::jid::Domain;
use webpki::OwnedCertRevocationList;

use crate::config::KeyPair;

/// Largest PEM file read, in bytes; a system's whole store of roots is a quarter of a megabyte.
const PEM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Reads the certificates of a PEM file, in its order.
///
/// # Errors
/// What is wrong with the file, naming it.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
    if chain.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(chain) }
}

/// Reads the lists of revoked certificates of a PEM file.
pub(super) fn read_crls(path: &Path) -> Result<Vec<OwnedCertRevocationList>, String> {
    let pem = read(path)?;
    let mut crls = Vec::new();
    for der in CertificateRevocationListDer::pem_slice_iter(&pem) {
        let der = der.map_err(|error| format!("{} is not PEM: {error}", path.display()))?;
        let crl = OwnedCertRevocationList::from_der(&der)
            .map_err(|error| format!("{} holds a list that cannot be used: {error}", path.display()))?;
        crls.push(crl);
    }
    if crls.is_empty() {
        Err(format!("{} holds no list of revoked certificates", path.display()))
    } else {
        Ok(crls)
    }
}

/// Reads a chain and its key, and checks that they belong together.
///
/// # Errors
/// What is wrong with which file.
pub fn read_pair(pair: &KeyPair, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = read_chain(&pair.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&pair.key)?)
        .map_err(|error| format!("{} holds no usable private key: {error}", pair.key.display()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!(
                "the key {} does not belong to the certificate {}",
                pair.key.display(),
                pair.certificate.display()
            )
        }
        error => format!("{} and {} cannot be used: {error}", pair.certificate.display(), pair.key.display()),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    if std::fs::metadata(path).map_err(failed)?.len() > PEM_BYTES_MAX {
        return Err(format!("{} is larger than 16 MiB", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

/// Chooses by server name; an unknown or missing name gets the fallback (XT-07).
#[derive(Debug)]
pub(super) struct ByServerName {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    fallback: Arc<CertifiedKey>,
}

impl ByServerName {
    pub(super) fn new(domains: &[(Domain, Arc<CertifiedKey>)], fallback: Arc<CertifiedKey>) -> Self {
        let key_of = |domain: &Domain| domain.to_ascii().unwrap_or_else(|| domain.as_str().to_owned());
        let by_name = domains.iter().map(|(domain, key)| (key_of(domain), Arc::clone(key))).collect();
        Self { by_name, fallback }
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = client_hello.server_name().and_then(|name| self.by_name.get(&name.to_ascii_lowercase()));
        Some(Arc::clone(named.unwrap_or(&self.fallback)))
    }
}
