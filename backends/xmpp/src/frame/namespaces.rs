//! Namespaces: the ones a stream knows by name, and which prefix means what at this point of the stream
//! (Namespaces in XML 1.0, third edition).
//!
//! Invariant: names are compared as pairs of namespace name and local name, never as prefixed text. A namespace name
//! is compared byte by byte; the framer has refused every declaration whose raw bytes are not its value (references,
//! tabs, line ends), so raw bytes and value are the same thing here.

use super::Span;
use bytes::Bytes;

/// A namespace the XMPP backend tells apart by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Namespace {
    /// No namespace.
    None,
    /// `jabber:server`: stanzas between servers (RFC 6120 §4.8.3).
    Server,
    /// `jabber:client`: stanzas between client and server (RFC 6120 §4.8.3).
    Client,
    /// The namespace of `<stream/>`, `<features/>` and stream-level `<error/>` (RFC 6120 §4.8.1).
    Streams,
    /// `jabber:server:dialback` (XEP-0220).
    Dialback,
    /// STARTTLS (RFC 6120 §5).
    Tls,
    /// SASL (RFC 6120 §6).
    Sasl,
    /// Stream error conditions (RFC 6120 §4.9.3).
    StreamErrors,
    /// Stanza error conditions (RFC 6120 §8.3.3).
    StanzaErrors,
    /// The dialback stream feature (XEP-0220 §2.5.1).
    DialbackFeature,
    /// Stream management, version 3 (XEP-0198).
    StreamManagement,
    /// Bidirectional streams: `urn:xmpp:bidi` (XEP-0288).
    Bidi,
    /// The stream feature of XEP-0288.
    BidiFeature,
    /// `urn:xmpp:ping` (XEP-0199).
    Ping,
    /// `http://jabber.org/protocol/disco#info` (XEP-0030).
    DiscoInfo,
    /// `http://jabber.org/protocol/disco#items` (XEP-0030).
    DiscoItems,
    /// `jabber:iq:version` (XEP-0092).
    SoftwareVersion,
    /// The namespace of `xml:lang`.
    Xml,
    /// Any other; its name is kept beside it.
    Other,
}

/// The name the prefix `xml` always stands for (Namespaces in XML §3).
pub(crate) const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The name the prefix `xmlns` always stands for (Namespaces in XML §3).
pub(super) const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

const KNOWN: [(Namespace, &str); 17] = [
    (Namespace::Server, "jabber:server"),
    (Namespace::Client, "jabber:client"),
    (Namespace::Streams, "http://etherx.jabber.org/streams"),
    (Namespace::Dialback, "jabber:server:dialback"),
    (Namespace::Tls, "urn:ietf:params:xml:ns:xmpp-tls"),
    (Namespace::Sasl, "urn:ietf:params:xml:ns:xmpp-sasl"),
    (Namespace::StreamErrors, "urn:ietf:params:xml:ns:xmpp-streams"),
    (Namespace::StanzaErrors, "urn:ietf:params:xml:ns:xmpp-stanzas"),
    (Namespace::DialbackFeature, "urn:xmpp:features:dialback"),
    (Namespace::StreamManagement, "urn:xmpp:sm:3"),
    (Namespace::Bidi, "urn:xmpp:bidi"),
    (Namespace::BidiFeature, "urn:xmpp:features:bidi"),
    (Namespace::Ping, "urn:xmpp:ping"),
    (Namespace::DiscoInfo, "http://jabber.org/protocol/disco#info"),
    (Namespace::DiscoItems, "http://jabber.org/protocol/disco#items"),
    (Namespace::SoftwareVersion, "jabber:iq:version"),
    (Namespace::Xml, XML),
];

impl Namespace {
    /// The namespace of this name; `None` for the empty name, `Other` for one not in the list.
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() {
            return Self::None;
        }
        KNOWN
            .iter()
            .find(|(_, known)| known.as_bytes() == name)
            .map_or(Self::Other, |(namespace, _)| *namespace)
    }

    /// The name, where the variant says it all: empty for `None` and `Other`.
    pub fn name(self) -> &'static str {
        KNOWN.iter().find(|(namespace, _)| *namespace == self).map_or("", |(_, name)| name)
    }
}

/// Where the bytes of a namespace name are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameBytes {
    /// The namespace is one of the known ones, or none.
    Known,
    /// In the element's own bytes.
    Element(Span),
    /// Declared on the stream header.
    Header(Bytes),
}

/// One declaration: `xmlns:prefix='name'`, or with an empty prefix `xmlns='name'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) prefix: Span,
    pub(super) name: Span,
    /// The quote the name stood in, so that it can be written again unchanged.
    pub(super) quote: u8,
}

/// The declarations in scope, outermost first. Those of the stream header point into `header`, the others into the
/// bytes of the stanza being read.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    header: Bytes,
    list: Vec<Binding>,
    stream_len: usize,
    /// The header makes `jabber:server` the default.
    server_default: bool,
    /// For each binding of the header: has the stanza being read relied on it?
    used: Vec<bool>,
    /// An unprefixed element stood where nothing is the default.
    bare: bool,
    touched: bool,
    #[cfg(test)]
    pub(super) work: u64,
}

impl Bindings {
    pub(super) fn clear(&mut self) {
        self.header = Bytes::new();
        self.list.clear();
        self.used.clear();
        self.stream_len = 0;
        self.server_default = false;
        self.forget_uses();
    }

    /// Turns the declarations made so far into those of the stream header, whose bytes are `header`.
    pub(super) fn settle(&mut self, header: Bytes) {
        self.header = header;
        self.stream_len = self.list.len();
        self.used.clear();
        self.used.resize(self.stream_len, false);
        self.forget_uses();
        let default = self.list.iter().find(|binding| binding.prefix.of(&self.header).is_empty());
        self.server_default = default
            .is_some_and(|binding| binding.name.of(&self.header) == Namespace::Server.name().as_bytes());
    }

    /// Whether an unprefixed name on a stanza is one of `jabber:server`.
    pub(super) fn is_server_default(&self) -> bool {
        self.server_default
    }

    pub(super) fn header(&self) -> &Bytes {
        &self.header
    }

    pub(super) fn of_stream(&self) -> &[Binding] {
        self.list.get(..self.stream_len).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn push(&mut self, binding: Binding) {
        self.list.push(binding);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.list.truncate(len.max(self.stream_len));
    }

    /// A new stanza begins: nothing of the header has been relied on.
    pub(super) fn forget_uses(&mut self) {
        if self.touched {
            self.used.fill(false);
            self.bare = false;
            self.touched = false;
        }
    }

    /// The innermost binding of `prefix` (empty: the default namespace), noting when it is one of the header.
    pub(super) fn resolve(&mut self, prefix: &[u8], buf: &[u8]) -> Option<usize> {
        let (header, stream_len) = (&self.header, self.stream_len);
        let at = self.list.iter().enumerate().rposition(|(at, binding)| {
            let source: &[u8] = if at < stream_len { header } else { buf };
            binding.prefix.of(source) == prefix
        });
        #[cfg(test)]
        {
            self.work += (self.list.len() - at.unwrap_or(0)) as u64;
        }
        match at {
            Some(at) => {
                if let Some(used) = self.used.get_mut(at) {
                    *used = true;
                    self.touched = true;
                }
            }
            None if prefix.is_empty() => {
                self.bare = true;
                self.touched = true;
            }
            None => {}
        }
        at
    }

    /// The namespace name of a binding.
    pub(super) fn name<'a>(&'a self, at: usize, buf: &'a [u8]) -> &'a [u8] {
        let source = if at < self.stream_len { self.header.as_ref() } else { buf };
        self.list.get(at).map_or(b"".as_slice(), |binding| binding.name.of(source))
    }

    /// The namespace a resolved binding stands for, and where its name is.
    pub(super) fn namespace(&self, at: Option<usize>, buf: &[u8]) -> (Namespace, NameBytes) {
        let Some(at) = at else { return (Namespace::None, NameBytes::Known) };
        let namespace = Namespace::of(self.name(at, buf));
        let bytes = match self.list.get(at) {
            Some(binding) if namespace == Namespace::Other && at < self.stream_len => {
                NameBytes::Header(self.header.slice(binding.name.range()))
            }
            Some(binding) if namespace == Namespace::Other => NameBytes::Element(binding.name),
            _ => NameBytes::Known,
        };
        (namespace, bytes)
    }

    /// The declarations the stanza just read borrowed from the header of its stream and would miss under a header that
    /// binds only the default namespace, to `jabber:server`, and `stream` (RFC 6120 §4.8.5, last paragraph). Each
    /// begins with a space.
    pub(super) fn borrowed(&self) -> Option<Bytes> {
        if !self.touched {
            return None;
        }
        let mut out = Vec::new();
        if self.bare {
            out.extend_from_slice(b" xmlns=''");
        }
        for (binding, _) in self.of_stream().iter().zip(&self.used).filter(|(_, used)| **used) {
            let (prefix, name) = (binding.prefix.of(&self.header), binding.name.of(&self.header));
            let given = match prefix {
                b"" => name == Namespace::Server.name().as_bytes(),
                b"stream" => name == Namespace::Streams.name().as_bytes(),
                _ => false,
            };
            if !given {
                out.extend_from_slice(if prefix.is_empty() { b" xmlns" } else { b" xmlns:" });
                out.extend_from_slice(prefix);
                out.extend_from_slice(&[b'=', binding.quote]);
                out.extend_from_slice(name);
                out.push(binding.quote);
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}
