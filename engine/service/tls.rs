//! TLS for every side, over rustls with aws-lc-rs.
//!
//! Invariant: a handshake never decides who a peer is. The peer's signature over the handshake is always verified for real (it has
//! the key), its chain is recorded and judged afterwards against the trust sets, on every connection: resumption is off, because a
//! resumed session would skip that. TLS 1.2 and 1.3 only, no renegotiation, no compression (RFC 6120 §13.7.1, RFC 7590).
//!
//! A reload builds a new [`TlsContext`] and swaps the `Arc`: sessions keep what they began with, new handshakes get the new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use turnout_core::home::HomeId;
use turnout_core::io::{ClientTls, Identity, Side};
use turnout_core::jid::Domain;

use crate::config::{Config, ConfigErrors, KeyPair, Mistake};

pub mod admin;
pub mod facts;
pub mod identity;
mod session;
pub mod shown;
mod trust;
mod verify;

#[cfg(test)]
mod tests;

pub use session::{TlsError, TlsSession};
pub use trust::TrustTable;

/// ALPN of server-to-server XMPP (XEP-0368 §5).
const ALPN_XMPP: &[u8] = b"xmpp-server";

/// The one crypto provider, used everywhere by name so that no other can slip in.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All TLS settings of one configuration. Shared by every connection; replaced as a whole.
pub struct TlsContext {
    partners: Option<Arc<ServerConfig>>,
    homes: HashMap<HomeId, Arc<ServerConfig>>,
    clients: HashMap<(Identity, bool), Arc<ClientConfig>>,
    trusts: Arc<TrustTable>,
}

impl TlsContext {
    /// Reads certificates, keys and roots.
    ///
    /// # Errors
    /// Every file that cannot be read or used, and every key that does not belong to its certificate.
    pub fn load(config: &Config) -> Result<Self, ConfigErrors> {
        let mut builder =
            Builder { config, provider: provider(), mistakes: Vec::new(), loaded: HashMap::new() };
        let domains = builder.domains();
        let default = builder.pair("federation.certificate", config.federation.default_identity.as_ref());
        let homes: Vec<(HomeId, Option<Arc<CertifiedKey>>)> = config
            .homes_with_ids()
            .map(|(id, home)| {
                (id, builder.pair(&format!("home.{}.certificate", home.name), home.identity.as_ref()))
            })
            .collect();
        let trusts = TrustTable::load(config.trusts());
        if let Err(errors) = &trusts {
            let more: Vec<Mistake> =
                errors.iter().map(|(name, what)| builder.mistake(name, what.clone())).collect();
            builder.mistakes.extend(more);
        }
        let crls = builder.crls();
        let Builder { provider, mistakes, .. } = builder;
        let (true, Ok(trusts)) = (mistakes.is_empty(), trusts) else { return Err(ConfigErrors(mistakes)) };
        Self::build(&provider, &domains, default, &homes, trusts.with_crls(crls)).map_err(|error| {
            ConfigErrors::file(&config.file, format!("TLS cannot be set up: {error}"), "report this as a bug")
        })
    }

    fn build(
        provider: &Arc<CryptoProvider>,
        domains: &[(Domain, Arc<CertifiedKey>)],
        default: Option<Arc<CertifiedKey>>,
        homes: &[(HomeId, Option<Arc<CertifiedKey>>)],
        trusts: TrustTable,
    ) -> Result<Self, rustls::Error> {
        // Without a default pair the first domain's certificate answers unknown names (XT-07).
        let fallback = default.or_else(|| domains.first().map(|(_, key)| Arc::clone(key)));
        let mut clients = HashMap::new();
        for alpn in [false, true] {
            clients.insert((Identity::Anonymous, alpn), client_config(provider, None, alpn)?);
            for (domain, key) in domains {
                let config = client_config(provider, Some(key), alpn)?;
                clients.insert((Identity::Domain(domain.clone()), alpn), config);
            }
            for (id, key) in homes {
                let config = client_config(provider, key.as_ref().or(fallback.as_ref()), alpn)?;
                clients.insert((Identity::Home(*id), alpn), config);
            }
        }
        let mut servers = HashMap::new();
        for (id, key) in homes {
            if let Some(key) = key.as_ref().or(fallback.as_ref()) {
                let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
                servers.insert(*id, server_config(provider, resolver, false)?);
            }
        }
        let partners = match fallback {
            Some(fallback) => {
                let resolver = Arc::new(identity::ByServerName::new(domains, fallback));
                Some(server_config(provider, resolver, true)?)
            }
            None => None,
        };
        Ok(Self { partners, homes: servers, clients, trusts: Arc::new(trusts) })
    }

    /// For tests of what does not speak TLS: every handshake of ours as a server fails.
    #[cfg(test)]
    pub(crate) fn without_certificates() -> Self {
        Self::build(&provider(), &[], None, &[], TrustTable::new(Vec::new())).unwrap()
    }

    /// A session in which we answer the handshake.
    ///
    /// # Errors
    /// [`TlsError`] when that side has no certificate of ours.
    pub fn accept(&self, side: Side) -> Result<TlsSession, TlsError> {
        let config = match side {
            Side::Partners => self.partners.as_ref(),
            Side::Home(id) => self.homes.get(&id),
        };
        let config =
            config.ok_or_else(|| TlsError::new("no certificate of ours is configured for this side"))?;
        let connection = ServerConnection::new(Arc::clone(config))?;
        Ok(TlsSession::new(connection.into(), Arc::clone(&self.trusts)))
    }

    /// A session in which we begin the handshake.
    ///
    /// # Errors
    /// [`TlsError`] when the server name is none.
    pub fn connect(&self, tls: &ClientTls) -> Result<TlsSession, TlsError> {
        let chosen = (tls.identity.clone(), tls.alpn_xmpp);
        let config =
            self.clients.get(&chosen).or_else(|| self.clients.get(&(Identity::Anonymous, tls.alpn_xmpp)));
        let config = config.ok_or_else(|| TlsError::new("no TLS settings for this identity"))?;
        let connection = ClientConnection::new(Arc::clone(config), server_name(&tls.server_name)?)?;
        Ok(TlsSession::new(connection.into(), Arc::clone(&self.trusts)))
    }

    /// The trust sets.
    pub fn trusts(&self) -> &Arc<TrustTable> {
        &self.trusts
    }
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").field("homes", &self.homes.len()).finish_non_exhaustive()
    }
}

/// The name to send: A-labels, no trailing dot; an address literal sends none.
fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let ascii = if name.is_ascii() {
        Some(name.to_ascii_lowercase())
    } else {
        Domain::parse(name).ok().and_then(|domain| domain.to_ascii())
    };
    ascii
        .and_then(|ascii| ServerName::try_from(ascii.strip_suffix('.').unwrap_or(&ascii).to_owned()).ok())
        .ok_or_else(|| TlsError::new(format!("{name:?} cannot be sent as server name")))
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    key: Option<&Arc<CertifiedKey>>,
    alpn: bool,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verify::RecordOnly::new(provider)));
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key)))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    if alpn {
        config.alpn_protocols = vec![ALPN_XMPP.to_vec()];
    }
    Ok(Arc::new(config))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: bool,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(verify::RecordOnly::new(provider)))
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    if alpn {
        config.alpn_protocols = vec![ALPN_XMPP.to_vec()];
    }
    Ok(Arc::new(config))
}

/// Reads key pairs, each file once, and gathers what is wrong with them.
struct Builder<'a> {
    config: &'a Config,
    provider: Arc<CryptoProvider>,
    mistakes: Vec<Mistake>,
    loaded: HashMap<KeyPair, Option<Arc<CertifiedKey>>>,
}

impl Builder<'_> {
    fn domains(&mut self) -> Vec<(Domain, Arc<CertifiedKey>)> {
        let mut made = Vec::new();
        for domain in &self.config.domains {
            let pair = self.config.identity_of(domain);
            if let Some(key) = self.pair(&format!("certificate of {domain}"), pair) {
                made.push((domain.clone(), key));
            }
        }
        made
    }

    fn pair(&mut self, key: &str, pair: Option<&KeyPair>) -> Option<Arc<CertifiedKey>> {
        let pair = pair?;
        if let Some(loaded) = self.loaded.get(pair) {
            return loaded.clone();
        }
        let made = match identity::read_pair(pair, &self.provider) {
            Ok(made) => Some(Arc::new(made)),
            Err(what) => {
                let mistake = self.mistake(key, what);
                self.mistakes.push(mistake);
                None
            }
        };
        self.loaded.insert(pair.clone(), made.clone());
        made
    }

    fn crls(&mut self) -> Vec<webpki::OwnedCertRevocationList> {
        let Some(file) = &self.config.federation.crl_file else { return Vec::new() };
        identity::read_crls(file).unwrap_or_else(|what| {
            let cure = "give a PEM file of certificate revocation lists (openssl crl -in LIST -inform der)"
                .to_owned();
            let key = "federation.crl_file".to_owned();
            self.mistakes.push(Mistake { file: self.config.file.clone(), line: None, key, what, cure });
            Vec::new()
        })
    }

    fn mistake(&self, key: &str, what: String) -> Mistake {
        let cure =
            "give PEM files: the certificate chain, leaf first, and its unencrypted private key".to_owned();
        Mistake { file: self.config.file.clone(), line: None, key: key.to_owned(), what, cure }
    }
}
