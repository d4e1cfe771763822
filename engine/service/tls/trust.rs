//! The trust sets: anchors by number, and what their authorities took back.

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use turnout_core::io::TrustId;
use webpki::{
    CertRevocationList, EndEntityCert, KeyUsage, OwnedCertRevocationList, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::identity::read_chain;
use crate::config::TrustSource;

/// All trust sets of one configuration; the index is the [`TrustId`].
pub struct TrustTable {
    sets: Vec<Vec<TrustAnchor<'static>>>,
    crls: Vec<CertRevocationList<'static>>,
    algorithms: &'static [&'static dyn rustls::pki_types::SignatureVerificationAlgorithm],
}

/// What the table says of a chain.
#[derive(Default)]
pub(super) struct Judged {
    /// The sets it leads to.
    pub(super) trusted: Vec<TrustId>,
    /// Where there is none, the most telling reason.
    pub(super) reason: Option<webpki::Error>,
    /// An anchor it leads to may vouch for some names only.
    pub(super) constrained: bool,
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
        Self { sets, crls: Vec::new(), algorithms }
    }

    /// With lists of revoked certificates. A list counts for the authority that signed it, in every set; certificates of
    /// authorities without a list are taken as not revoked, and a list counts also when its next one is due: what it
    /// revoked stays revoked (XC-08).
    #[must_use]
    pub fn with_crls(mut self, crls: Vec<OwnedCertRevocationList>) -> Self {
        self.crls = crls.into_iter().map(CertRevocationList::from).collect();
        self
    }

    /// How many anchors a set has.
    pub fn anchors(&self, id: TrustId) -> usize {
        self.sets.get(usize::from(id.0)).map_or(0, Vec::len)
    }

    /// Judges a chain at this time.
    ///
    /// The purpose asked for is that of a server in both roles: public authorities no longer issue for clients, and a
    /// certificate for clients alone names no service (XC-06). A certificate without a purpose fits.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Judged {
        let mut judged = Judged::default();
        let Some((leaf, intermediates)) = chain.split_first() else { return judged };
        let leaf = match EndEntityCert::try_from(leaf) {
            Ok(leaf) => leaf,
            Err(error) => return Judged { reason: Some(error), ..judged },
        };
        let crls: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        for (id, set) in (0_u16..).map(TrustId).zip(&self.sets) {
            let (usage, revoked) = (KeyUsage::server_auth(), revocation(&crls));
            match leaf.verify_for_usage(self.algorithms, set, intermediates, now, usage, revoked, None) {
                Ok(path) => {
                    judged.trusted.push(id);
                    judged.constrained |= path.anchor().name_constraints.is_some();
                }
                Err(webpki::Error::UnknownIssuer) => {
                    judged.reason = judged.reason.or(Some(webpki::Error::UnknownIssuer));
                }
                Err(error) => judged.reason = Some(error),
            }
        }
        if !judged.trusted.is_empty() {
            judged.reason = None;
        }
        judged
    }
}

impl std::fmt::Debug for TrustTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sets.iter().map(Vec::len)).finish()
    }
}

fn revocation<'a>(crls: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    // Without lists there is nothing to ask, and webpki says so with an error.
    let builder = RevocationOptionsBuilder::new(crls).ok()?;
    Some(builder.with_status_policy(UnknownStatusPolicy::Allow).build())
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
