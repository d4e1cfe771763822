//! From a checked element to a stanza. Invariant: what comes out has two prepared addresses, of domains that were proven and are
//! served on that stream, and a kind the standard knows; everything else is refused in the way that harms least (D-4).

use bytes::{Bytes, BytesMut};
use turnout_core::jid::{Domain, Jid};
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{IqType, Kind, Origin, Payload, Stanza};

use crate::addresses::Addresses;
use crate::error::StreamCondition;
use crate::frame::{Element, Namespace, Span};
use crate::made::{self, Address, Parts};
use crate::turn::Turn;

/// What an element turned out to be.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A stanza to be routed.
    Stanza(Stanza),
    /// A stanza that may not pass; its sender is told, where he may be.
    Refused(Option<Stanza>),
    /// The stream cannot go on.
    Fatal(StreamCondition, String),
}

/// An address of a stanza, as far as it can be read.
enum Read {
    /// In full.
    Whole(Jid),
    /// The domain is an address, the rest is not.
    DomainOnly(Domain, String),
}

impl Read {
    fn domain(&self) -> &str {
        match self {
            Self::Whole(jid) => jid.domain(),
            Self::DomainOnly(domain, _) => domain,
        }
    }
}

/// Reads a first-level element of the server namespace that is called `message`, `presence` or `iq`. `lang` is the ` xml:lang`
/// attribute of the stream header, which a stanza without one inherits (RFC 6120 §4.7.4). `allowed` says whether the stream may
/// carry stanzas between two domains, given as (to, from).
///
/// A malformed `from` is fatal, as is a `to` whose domain cannot be read (XR-01, RFC 6120 §4.9.3.7). For any other `to` that is
/// no address only the stanza is refused: its user mistyped it, and one odd address must not take down the stream of a whole
/// partner. A `from` is written by the peer's server, which checked the address when it gave it out (RFC 6120 §8.1.2.1): no
/// honest one sends another, and nobody could be told of a stanza refused for it.
pub(crate) fn read(
    element: Element,
    lang: Option<&Bytes>,
    turn: &mut Turn<'_>,
    allowed: impl FnOnce(&str, &str) -> Result<(), (StreamCondition, String)>,
) -> Arrival {
    let attributes = *element.attributes();
    let (Some(from), Some(to)) = (
        address(element.from().as_deref(), turn.addresses),
        address(element.to().as_deref(), turn.addresses),
    ) else {
        return Arrival::Fatal(
            StreamCondition::ImproperAddressing,
            "a stanza between servers needs 'from' and 'to', each a valid address".to_owned(),
        );
    };
    if let Err((condition, text)) = allowed(to.domain(), from.domain()) {
        return Arrival::Fatal(condition, text);
    }
    let from = match from {
        Read::Whole(from) => from,
        Read::DomainOnly(_, why) => {
            return Arrival::Fatal(StreamCondition::ImproperAddressing, format!("'from' of a stanza: {why}"));
        }
    };
    if element.has_prefixed_content() {
        let text = "elements of jabber:server inside a stanza may have no prefix";
        return Arrival::Fatal(StreamCondition::BadNamespacePrefix, text.to_owned());
    }
    let kind = kind_of(&element);
    let to = match to {
        Read::Whole(to) => to,
        Read::DomainOnly(domain, why) => return malformed(&element, kind, &from, &domain, &why, turn),
    };
    let Some(kind) = kind.filter(|&kind| well_shaped(&element, kind)) else {
        let refusal = refuse(
            Condition::BadRequest,
            "the stanza breaks a rule of RFC 6120 §8: type, id or number of children",
        );
        return Arrival::Refused(refused(&element, kind, &from, &to, &refusal, turn));
    };
    // The next hop may read the fourth edition, and would close a stream that others need (B-11).
    if element.has_newer_names() {
        let text =
            "a name in the stanza holds a character that readers of XML 1.0 before its fifth edition refuse";
        let refusal = refuse(Condition::BadRequest, text);
        return Arrival::Refused(refused(&element, Some(kind), &from, &to, &refusal, turn));
    }
    let payload = payload_of(&element, kind);
    let insert = insertion(&element, lang);
    let insert_at = element.insert_at();
    Arrival::Stanza(Stanza {
        kind,
        from,
        to,
        bytes: element.into_bytes(),
        insert_at,
        insert,
        from_span: range(attributes.from),
        to_span: range(attributes.to),
        id_span: range(attributes.id),
        payload,
        origin: Origin { side: turn.side, link: turn.link, ticket: 0 },
        arrived: turn.now,
        attempts: 0,
        disk: Default::default(),
        made: false,
    })
}

fn address(raw: Option<&str>, addresses: &mut Addresses) -> Option<Read> {
    let raw = raw?;
    let error = match addresses.read(raw) {
        Ok(jid) => return Some(Read::Whole(jid)),
        Err(error) => error,
    };
    let bare = raw.split_once('/').map_or(raw, |(bare, _)| bare);
    let domain = bare.split_once('@').map_or(bare, |(_, domain)| domain);
    Domain::parse(domain).ok().map(|domain| Read::DomainOnly(domain, error.to_string()))
}

/// A stanza whose recipient is an address in its domain only: the sender is told, in the name of that domain.
fn malformed(
    element: &Element,
    kind: Option<Kind>,
    from: &Jid,
    to: &Domain,
    why: &str,
    turn: &Turn<'_>,
) -> Arrival {
    let refusal = refuse(Condition::JidMalformed, format!("to: {why}"));
    Arrival::Refused(Jid::parse(to).ok().and_then(|to| refused(element, kind, from, &to, &refusal, turn)))
}

fn refused(
    element: &Element,
    kind: Option<Kind>,
    from: &Jid,
    to: &Jid,
    refusal: &Refusal,
    turn: &Turn<'_>,
) -> Option<Stanza> {
    let kind = match kind {
        Some(kind) => made::error_kind(kind)?,
        // A type the standard does not know asks for something, so it is answered.
        None if element.name().local == "presence" => Kind::presence(Some("error"))?,
        None => Kind::Iq(IqType::Error),
    };
    let attributes = element.attributes();
    let raw = |span: Option<Span>| span.map(|span| span.of(element.bytes()));
    let (raw_to, raw_from) = (made::escaped(to.as_str()), raw(attributes.from).unwrap_or_default());
    let parts = Parts {
        kind,
        from: Address { jid: to, raw: &raw_to },
        to: Address { jid: from, raw: raw_from },
        id: raw(attributes.id),
        side: turn.side,
        now: turn.now,
    };
    Some(made::error(&parts, refusal))
}

/// Element and type; `None` for a type the standard does not define where it may not be ignored.
fn kind_of(element: &Element) -> Option<Kind> {
    let stanza_type = element.stanza_type();
    match element.name().local {
        "message" => Some(Kind::message(stanza_type.as_deref())),
        "presence" => Kind::presence(stanza_type.as_deref()),
        _ => Kind::iq(stanza_type.as_deref()),
    }
}

/// The rules of RFC 6120 §8.1.3 and §8.2.3 on iq stanzas.
fn well_shaped(element: &Element, kind: Kind) -> bool {
    let has_id = element.attributes().id.is_some();
    match kind {
        Kind::Iq(IqType::Get | IqType::Set) => has_id && element.children() == 1,
        Kind::Iq(IqType::Result) => has_id && element.children() <= 1,
        Kind::Iq(IqType::Error) => has_id,
        Kind::Message(_) | Kind::Presence(_) => true,
    }
}

fn payload_of(element: &Element, kind: Kind) -> Payload {
    if !matches!(kind, Kind::Iq(_)) {
        return Payload::None;
    }
    let Some(child) = element.child() else { return Payload::None };
    match (child.namespace, child.local) {
        (Namespace::DiscoInfo, "query") => Payload::DiscoInfo,
        (Namespace::DiscoItems, "query") => Payload::DiscoItems,
        (Namespace::Ping, "ping") => Payload::Ping,
        _ => Payload::Other,
    }
}

/// What has to be declared so that the stanza reads alike on another stream.
fn insertion(element: &Element, lang: Option<&Bytes>) -> Option<Bytes> {
    let lang = lang.filter(|_| element.attributes().lang.is_none());
    match (element.declare(), lang) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (Some(declare), Some(lang)) => {
            let mut both = BytesMut::with_capacity(declare.len() + lang.len());
            both.extend_from_slice(declare);
            both.extend_from_slice(lang);
            Some(both.freeze())
        }
    }
}

fn refuse(condition: Condition, text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(condition, Blame::Sender, Retry::Never, Bounce::Yes, text)
}

fn range(span: Option<Span>) -> std::ops::Range<u32> {
    span.map_or(0..0, |span| span.start..span.end)
}
