//! Looking at a peer without becoming a stream: header, features, STARTTLS, EXTERNAL, and what the peer says on the way. For an
//! operator who wants to know why a partner does not work.
//!
//! Invariant: it judges by the same rules as the streams that carry stanzas ([`vouch`] is what those use), sends nothing a stream would not
//! send, and never takes a stanza: on a stream without XEP-0288 none can come.

use std::collections::VecDeque;

use bytes::Bytes;
use turnout_core::io::{PeerCertificate, TrustId};
use turnout_core::jid::Domain;

use crate::error::quoted;
use crate::frame::{Element, Frame, FrameLimits, Framer, Namespace, StreamHeader};
use crate::identity;
use crate::negotiate;
use crate::parse::Tree;
use crate::write::{self, Header};

/// Mechanisms that are listed.
const MECHANISMS_MAX: usize = 16;

/// What a peer offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// STARTTLS (RFC 6120 §5).
    pub starttls: bool,
    /// The peer goes on only with it.
    pub starttls_required: bool,
    /// SASL EXTERNAL (XEP-0178).
    pub external: bool,
    /// All SASL mechanisms, made fit for a log line.
    pub mechanisms: Vec<String>,
    /// The dialback feature (XEP-0220 §2.5.1).
    pub dialback: bool,
    /// Bidirectional streams (XEP-0288).
    pub bidi: bool,
}

/// Something the peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Its stream header.
    Header {
        /// XMPP 1.0 or later: features follow (RFC 6120 §4.7.5).
        has_features: bool,
        /// It declares the dialback namespace (XEP-0220 §2.1.1).
        dialback: bool,
        /// It gave the stream an id, without which there is no dialback key.
        has_id: bool,
    },
    /// Its features.
    Features(Features),
    /// TLS may begin.
    Proceed,
    /// TLS may not begin after all.
    TlsRefused,
    /// EXTERNAL worked: it took us for who we are.
    Accepted,
    /// EXTERNAL failed, with this condition.
    Refused(String),
    /// A stream error: condition and text, made fit for a log line.
    Error {
        /// The condition (RFC 6120 §4.9.3).
        condition: String,
        /// Its text.
        text: String,
    },
    /// The end of the stream.
    Closed,
}

/// Why a certificate fits a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The rule: `dNSName`, `wildcard dNSName`, `SRVName`, `xmppAddr` or `pinned key`.
    pub rule: &'static str,
    /// The name in the certificate; empty for a key.
    pub name: String,
}

/// Judges a certificate as the streams to partners do.
///
/// # Errors
/// Which rule it breaks, and the cure.
pub fn vouch(
    certificate: Option<&PeerCertificate>,
    domain: &Domain,
    trust: TrustId,
    pins: &[[u8; 32]],
) -> Result<Fit, String> {
    match identity::judge(certificate, domain, trust, pins)? {
        identity::Vouched::Pinned => Ok(Fit { rule: "pinned key", name: String::new() }),
        identity::Vouched::Trusted => {
            let found = certificate.and_then(|certificate| identity::matched(certificate, domain));
            Ok(found.map_or(Fit { rule: "dNSName", name: String::new() }, |(rule, name)| Fit { rule, name }))
        }
    }
}

/// Whether a certificate names a domain, whoever vouches for it; and as what.
pub fn named(certificate: &PeerCertificate, domain: &Domain) -> Option<Fit> {
    identity::matched(certificate, domain).map(|(rule, name)| Fit { rule, name })
}

/// One connection to a peer.
#[derive(Debug)]
pub struct Probe {
    ours: Domain,
    theirs: Domain,
    framer: Framer,
    header: Option<Box<StreamHeader>>,
    /// What it said and nobody asked for yet; bounded by what one read brings.
    said: VecDeque<Seen>,
    /// What comes now came before the layer that was agreed on, and does not count.
    deaf: bool,
}

impl Probe {
    /// From one of our domains to a peer's.
    pub fn new(ours: Domain, theirs: Domain) -> Self {
        Self {
            ours,
            theirs,
            framer: Framer::new(FrameLimits::default()),
            header: None,
            said: VecDeque::new(),
            deaf: false,
        }
    }

    /// The header to send: at the start, after TLS and after EXTERNAL.
    pub fn open(&mut self) -> Bytes {
        self.framer.restart();
        (self.header, self.deaf) = (None, false);
        self.said.clear();
        let (to, from) = (Some(self.theirs.as_str()), Some(self.ours.as_str()));
        let header = Header { to, from, id: None, lang: None, dialback: true };
        negotiate::bytes(|out| write::stream_header(out, &header))
    }

    /// The request for TLS.
    pub fn starttls(&self) -> Bytes {
        negotiate::bytes(write::starttls)
    }

    /// EXTERNAL in our domain's name (XEP-0178 §3).
    pub fn external(&self) -> Bytes {
        negotiate::bytes(|out| write::sasl_auth_external(out, Some(self.ours.as_str())))
    }

    /// The end of the stream.
    pub fn close(&self) -> Bytes {
        negotiate::bytes(write::stream_end)
    }

    /// The next thing the peer said, of what was [received](Self::receive).
    #[expect(clippy::should_implement_trait, reason = "a probe is fed between calls; it is no iterator")]
    pub fn next(&mut self) -> Option<Seen> {
        self.said.pop_front()
    }

    /// Takes what the peer sent, to be asked for with [`next`](Self::next).
    ///
    /// # Errors
    /// It is no XMPP, and why.
    pub fn receive(&mut self, bytes: Bytes) -> Result<(), String> {
        if self.deaf {
            return Ok(());
        }
        self.framer.feed(bytes);
        while let Some(frame) =
            self.framer.next().map_err(|error| format!("{}: {}", error.condition, error.text))?
        {
            let said = match frame {
                Frame::KeepAlive => None,
                Frame::Close => Some(Seen::Closed),
                Frame::Open(header) => {
                    let said = Seen::Header {
                        has_features: header.version().has_features(),
                        dialback: header.dialback_prefix().is_some(),
                        has_id: header.id().is_some_and(|id| !id.is_empty()),
                    };
                    self.header = Some(header);
                    Some(said)
                }
                Frame::Element(element) => self.element(&element),
            };
            self.deaf = matches!(said, Some(Seen::Proceed | Seen::Accepted | Seen::Closed));
            self.said.extend(said);
            if self.deaf {
                break;
            }
        }
        Ok(())
    }

    fn element(&self, element: &Element) -> Option<Seen> {
        let header = self.header.as_deref()?;
        let name = element.name();
        match (name.namespace, name.local) {
            (Namespace::Streams, "features") => Some(Seen::Features(features(element, header))),
            (Namespace::Streams, "error") => {
                let (condition, text) = negotiate::stream_error(element, header);
                Some(Seen::Error { condition: condition.to_string(), text })
            }
            (Namespace::Tls, "proceed") => Some(Seen::Proceed),
            (Namespace::Tls, "failure") => Some(Seen::TlsRefused),
            (Namespace::Sasl, "success") => Some(Seen::Accepted),
            (Namespace::Sasl, "failure") => Some(Seen::Refused(negotiate::sasl_condition(element))),
            _ => None,
        }
    }
}

fn features(element: &Element, header: &StreamHeader) -> Features {
    let offered = negotiate::offered(element, header);
    let Ok(tree) = Tree::of(element, header) else { return Features::default() };
    let root = tree.root();
    let mechanisms = root.child(Namespace::Sasl, "mechanisms");
    let mechanisms = mechanisms.into_iter().flat_map(crate::parse::Node::children);
    let mechanisms = mechanisms.map(|mechanism| quoted(mechanism.text().trim().as_bytes()));
    Features {
        starttls: offered.starttls,
        starttls_required: offered.starttls_required,
        external: offered.external,
        mechanisms: mechanisms.take(MECHANISMS_MAX).collect(),
        dialback: root.child(Namespace::DialbackFeature, "dialback").is_some(),
        bidi: root.child(Namespace::BidiFeature, "bidi").is_some(),
    }
}

#[cfg(test)]
mod tests;
