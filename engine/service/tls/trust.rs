//! The trust sets: anchors by number.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use turnout_core::io::TrustId;
use webpki::{EndEntityCert, KeyUsage};

use super::identity::read_chain;
use crate::config::TrustSource;

/// All trust sets of one configuration; the index is the [`TrustId`].
pub struct TrustTable {
    sets: Vec<Vec<TrustAnchor<'static>>>,
    algorithms: &'static [&'static dyn rustls::pki_types::SignatureVerificationAlgorithm],
}

impl TrustTable {
    /// Reads the anchors.
    ///
    /// # Errors
    /// For each set that cannot be read: its name and why. A system without a store of roots is no error: then only
    /// configured files count.
    pub fn load(sources: &[TrustSource]) -> Result<Self, Vec<(String, String)>> {
        let (mut sets, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            let mut set = Vec::new();
            if source.system {
                set.extend(
                    rustls_native_certs::load_native_certs().certs.iter().filter_map(|der| anchor(der).ok()),
                );
            }
            for file in &source.files {
                match read_anchors(file) {
                    Ok(anchors) => set.extend(anchors),
                    Err(what) => errors.push((format!("{} ca_file", source.name), what)),
                }
            }
            sets.push(set);
        }
        if errors.is_empty() { Ok(Self::new(sets)) } else { Err(errors) }
    }

    /// Of these sets.
    pub fn new(sets: Vec<Vec<TrustAnchor<'static>>>) -> Self {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        Self { sets, algorithms }
    }

    /// How many anchors a set has.
    pub fn anchors(&self, id: TrustId) -> usize {
        self.sets.get(usize::from(id.0)).map_or(0, Vec::len)
    }

    /// The sets a chain leads to at this time, and, where there is none, the most telling reason.
    ///
    /// The purpose asked for is that of a server in both roles: public authorities no longer issue for clients, and a
    /// certificate for clients alone names no service (XC-06). A certificate without a purpose fits.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> (Vec<TrustId>, Option<webpki::Error>) {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return (Vec::new(), None);
        };
        let leaf = match EndEntityCert::try_from(leaf) {
            Ok(leaf) => leaf,
            Err(error) => return (Vec::new(), Some(error)),
        };
        let (mut trusted, mut reason) = (Vec::new(), None);
        for (id, set) in (0_u16..).map(TrustId).zip(&self.sets) {
            let usage = KeyUsage::server_auth();
            match leaf.verify_for_usage(self.algorithms, set, intermediates, now, usage, None, None) {
                Ok(_) => trusted.push(id),
                Err(webpki::Error::UnknownIssuer) => {
                    reason = reason.or(Some(webpki::Error::UnknownIssuer));
                }
                Err(error) => reason = Some(error),
            }
        }
        let reason = if trusted.is_empty() { reason } else { None };
        (trusted, reason)
    }
}

impl std::fmt::Debug for TrustTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sets.iter().map(Vec::len)).finish()
    }
}

fn read_anchors(file: &std::path::Path) -> Result<Vec<TrustAnchor<'static>>, String> {
    read_chain(file)?
        .iter()
        .map(|der| {
            anchor(der)
                .map_err(|error| format!("{} holds a root that cannot be used: {error}", file.display()))
        })
        .collect()
}

fn anchor(der: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, webpki::Error> {
    webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned())
}
