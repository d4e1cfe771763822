//! The certificates we show, for whoever has to renew them. Invariant: a list is made when a configuration is loaded, from the files that
//! configuration uses; a file that was replaced since shows only after a reload, as the router uses the old one until then.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::facts::names;
use super::identity::read_chain;
use crate::config::{Config, KeyPair};

/// A certificate of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The file.
    pub file: PathBuf,
    /// The keys of the configuration that name it.
    pub used_by: Vec<String>,
    /// The names in it.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub not_after_unix: i64,
    /// SHA-256 of its public key.
    pub spki_sha256: [u8; 32],
}

/// The certificates a configuration names. Blocks. What cannot be read is left out: loading the configuration says so.
pub fn shown(config: &Config) -> Vec<Shown> {
    let federation = &config.federation;
    let default = federation.default_identity.iter().map(|pair| ("federation.certificate".to_owned(), pair));
    let domains = federation
        .identities
        .iter()
        .map(|(domain, pair)| (format!("federation.identity[{}].certificate", domain.as_str()), pair));
    let homes = config.home_configs.iter().filter(|home| !home.leaving).filter_map(|home| {
        home.identity.as_ref().map(|pair| (format!("home.{}.certificate", home.name), pair))
    });
    let admin = config.admin.identity.iter().map(|pair| ("admin.certificate".to_owned(), pair));
    let mut by_file: BTreeMap<&PathBuf, Vec<String>> = BTreeMap::new();
    for (key, KeyPair { certificate, .. }) in default.chain(domains).chain(homes).chain(admin) {
        by_file.entry(certificate).or_default().push(key);
    }
    let read = |(file, used_by): (&PathBuf, Vec<String>)| {
        let chain = read_chain(file).ok()?;
        let leaf = names(chain.first()?).ok()?;
        let mut all = leaf.dns;
        all.extend(leaf.xmpp_addresses);
        all.extend(
            leaf.common_name.filter(|name| !all.contains(name)).into_iter().take(usize::from(all.is_empty())),
        );
        Some(Shown {
            file: file.clone(),
            used_by,
            names: all,
            issuer: leaf.issuer,
            not_after_unix: leaf.validity.1,
            spki_sha256: leaf.spki_sha256,
        })
    };
    by_file.into_iter().filter_map(read).collect()
}
