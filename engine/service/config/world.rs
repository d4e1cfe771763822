//! From a configuration to what the shards see of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use turnout_core::home::{BackendKind, HomeId};
use turnout_core::io::TrustId;
use turnout_core::jid::Domain;
use turnout_core::policy::Negotiation;
use turnout_core::world::{Calendar, InsideHome, SipHome, World};

use super::{Config, ConfigErrors, HomeConfig, KeyPair, Mistake};
use crate::clock;

/// Different sets of trust anchors one configuration may have.
pub(super) const TRUSTS_MAX: usize = 4096;

/// Where the anchors of one trust set come from. The position in [`Config::trusts`] is the [`TrustId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSource {
    /// Whose it is, for messages: `federation`, `partner a.example`, `home sfb2019`.
    pub name: String,
    /// Take the system's roots.
    pub system: bool,
    /// Take the certificates of these PEM files.
    pub files: Vec<PathBuf>,
}

impl TrustSource {
    /// The set partners and homes without one of their own use: the system's roots and `federation.ca_file`, added later.
    pub(super) fn federation() -> Self {
        Self { name: "federation".to_owned(), system: true, files: Vec::new() }
    }
}

/// Adds the trust sets of homes, and tells each home its own.
pub(super) fn home_trusts(mut trusts: Vec<TrustSource>, homes: &mut [HomeConfig]) -> Vec<TrustSource> {
    for home in homes {
        home.trust = TrustId::FEDERATION;
        let Some(file) = &home.ca_file else { continue };
        if let Ok(id) = u16::try_from(trusts.len()) {
            home.trust = TrustId(id);
            let name = format!("home {}", home.name);
            trusts.push(TrustSource { name, system: false, files: vec![file.clone()] });
        }
    }
    trusts
}

impl Config {
    /// The sources of all trust sets; the index is the [`TrustId`].
    pub fn trusts(&self) -> &[TrustSource] {
        &self.trusts
    }

    /// The certificate of a local domain.
    pub fn identity_of(&self, domain: &Domain) -> Option<&KeyPair> {
        let own = self.federation.identities.iter().find(|(of, _)| of == domain).map(|(_, pair)| pair);
        own.or(self.federation.default_identity.as_ref())
    }

    /// The homes with their ids, those included that are configured no more and are served still.
    pub fn homes_with_ids(&self) -> impl Iterator<Item = (HomeId, &HomeConfig)> {
        self.home_configs.iter().map(|home| (home.id, home))
    }

    /// Makes it the successor of another configuration: homes that stay keep their numbers, and those that are gone are served until
    /// [`Config::part`], by what the other says of them. Gives the homes that are gone.
    ///
    /// # Errors
    /// More homes have come and gone than there are numbers.
    pub fn follow(&mut self, before: &Self) -> Result<Vec<HomeId>, String> {
        let (homes, ids) = std::mem::take(&mut self.homes).follow(&before.homes).map_err(|error| {
            format!("{error}, those counted that have come and gone since the router began; restart it")
        })?;
        for (home, id) in self.home_configs.iter_mut().zip(ids) {
            home.id = id;
        }
        let mut gone: Vec<HomeConfig> =
            before.home_configs.iter().filter(|home| homes.is_gone(home.id)).cloned().collect();
        for home in &mut gone {
            home.leaving = true;
        }
        self.trusts = home_trusts(std::mem::take(&mut self.trusts), &mut gone);
        let ids = gone.iter().map(|home| home.id).collect();
        self.home_configs.append(&mut gone);
        self.homes = homes;
        Ok(ids)
    }

    /// What is configured no more is served no more.
    pub fn part(&mut self) {
        self.home_configs.retain(|home| !home.leaving);
    }

    /// What the shards see. `dialback_secret` comes from [`Config::dialback_secret`] and is the same for all shards.
    ///
    /// # Errors
    /// When the name of a SIP home has to be read from its certificate and cannot.
    pub fn world(&self, generation: u64, dialback_secret: Arc<[u8]>) -> Result<World, ConfigErrors> {
        let (mut sip, mut inside) = (HashMap::new(), HashMap::new());
        let mut mistakes = Vec::new();
        for (id, home) in self.homes_with_ids() {
            match home.backend {
                BackendKind::Xmpp => {
                    inside.insert(id, InsideHome { tls: home.tls, trust: home.trust });
                }
                BackendKind::Sip => match self.sip_home(home) {
                    Ok(made) => {
                        sip.insert(id, made);
                    }
                    Err(mistake) => mistakes.push(*mistake),
                },
            }
        }
        if !mistakes.is_empty() {
            return Err(ConfigErrors(mistakes));
        }
        Ok(World {
            generation,
            domains: self.domains.clone(),
            policy: self.policy.clone(),
            homes: self.homes.clone(),
            sip,
            inside,
            dialback_secret,
            stanza_bytes_max: self.federation.stanza_bytes_max,
            enforce_introductions: self.federation.enforce_introductions,
            presence: self.presence.clone(),
            flow: self.flow,
            shards: self.shards(),
        })
    }

    /// What the words for users in the log are made with; `None` where users are called by their names.
    ///
    /// # Errors
    /// When `engine.log_users_key_file` cannot be read or holds fewer than 16 bytes.
    pub fn log_key(&self, random: [u8; 32]) -> Result<Option<[u8; 32]>, ConfigErrors> {
        if !self.log.redacted {
            return Ok(None);
        }
        let Some(path) = &self.log.key_file else { return Ok(Some(random)) };
        let secret = self.secret_of("engine.log_users_key_file", path)?;
        Ok(Some(Sha256::digest(&secret).into()))
    }

    /// The secret of dialback keys: the content of `federation.dialback_secret_file`, or `random`.
    ///
    /// # Errors
    /// When the file cannot be read or holds fewer than 16 bytes (128 bits).
    pub fn dialback_secret(&self, random: [u8; 32]) -> Result<Arc<[u8]>, ConfigErrors> {
        let Some(path) = &self.federation.dialback_secret_file else {
            return Ok(Arc::from(random.as_slice()));
        };
        self.secret_of("federation.dialback_secret_file", path).map(Arc::from)
    }

    /// The content of a file with a secret; what is wrong with it never says what is in it.
    fn secret_of(&self, key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigErrors> {
        let secret = std::fs::read(path).map_err(|error| {
            ConfigErrors(vec![self.mistake(
                key,
                format!("cannot read {}: {error}", path.display()),
                "correct the path or the file's permissions",
            )])
        })?;
        let secret = secret.trim_ascii();
        if secret.len() < 16 {
            return Err(ConfigErrors(vec![self.mistake(
                key,
                format!("{} holds {} bytes, fewer than 16", path.display(), secret.len()),
                "write a longer secret: openssl rand -hex 32",
            )]));
        }
        Ok(secret.to_vec())
    }

    fn sip_home(&self, home: &HomeConfig) -> Result<SipHome, Box<Mistake>> {
        let our_name = match &home.our_name {
            Some(name) => name.clone(),
            None => self.certificate_name(home)?,
        };
        Ok(SipHome {
            our_name: our_name.into(),
            our_port: home.listen.port(),
            tls: home.tls != Negotiation::NotSupported,
            trusted_names: home.trusted_names.iter().map(|name| Arc::from(name.as_str())).collect(),
            trust: home.trust,
            idle: Duration::from_secs(home.idle_seconds),
            message_bytes_max: home.message_bytes_max,
            first_message_in_invite: home.first_message_in_invite,
            xhtml_im: home.xhtml_im,
            calendar: Some(Calendar { at: clock::now(), unix_seconds: clock::unix_seconds() }),
        })
    }

    /// The name in a home's certificate.
    fn certificate_name(&self, home: &HomeConfig) -> Result<String, Box<Mistake>> {
        let key = format!("home.{}.certificate", home.name);
        let cure = "give a readable certificate with the trusted application's FQDN in it, or set `name`";
        let fail = |what: String| Box::new(self.mistake(&key, what, cure));
        let pair = home.identity.as_ref().ok_or_else(|| fail("missing".to_owned()))?;
        let chain = crate::tls::identity::read_chain(&pair.certificate).map_err(fail)?;
        let leaf = chain.first().ok_or_else(|| fail("holds no certificate".to_owned()))?;
        let names = crate::tls::facts::names(leaf).map_err(|error| fail(error.to_string()))?;
        let found = names.dns.iter().find(|name| !name.contains('*')).or(names.common_name.as_ref());
        let name = found.ok_or_else(|| fail(format!("{} names no host", pair.certificate.display())))?;
        Ok(name.to_ascii_lowercase())
    }

    fn mistake(&self, key: &str, what: impl Into<String>, cure: impl Into<String>) -> Mistake {
        Mistake {
            file: self.file.clone(),
            line: None,
            key: key.to_owned(),
            what: what.into(),
            cure: cure.into(),
        }
    }
}
