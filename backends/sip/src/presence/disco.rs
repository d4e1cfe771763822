//! What a user of a pool answers when asked what he is: disco, ping and vCard. Invariant: only what is true is listed, and the hash in
//! his presence (XEP-0115) is that of the answer given for it.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::NsReader;
use quick_xml::events::Event;
use quick_xml::name::ResolveResult;
use sha1::{Digest, Sha1};
use turnout_core::backend::Sent;
use turnout_core::io::Outbox;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{IqType, Origin, Stanza};

use super::shown::bounded;
use super::unavailable;
use crate::translate::{attribute, escaped, whole, write_result};

/// XEP-0030.
const INFO: &str = "http://jabber.org/protocol/disco#info";

/// XEP-0115.
const CAPS: &str = "http://jabber.org/protocol/caps";

/// XEP-0199.
const PING: &str = "urn:xmpp:ping";

/// XEP-0054.
const VCARD: &str = "vcard-temp";

/// XEP-0085.
const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";

/// XEP-0184.
const RECEIPTS: &str = "urn:xmpp:receipts";

/// What speaks for the users of a pool, as XEP-0115 §4 wants it named.
const NODE: &str = "urn:x-turnout:sip";

/// What is built of what a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// Typing is told both ways (XEP-0085).
    pub(crate) chat_states: bool,
    /// Receipts are given (XEP-0184).
    pub(crate) receipts: bool,
}

/// What is known of the user who is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// What he can do.
    pub(crate) features: Features,
    /// Whether the asker is shown the resource he asks about. One who is not gets no answer that tells it is there (RFC 6120
    /// §13.10.2).
    pub(crate) is_shown: bool,
    /// What he is called; the local part of his address if nobody said.
    pub(crate) name: Option<&'a str>,
}

/// An iq for a user of the pool: disco#info, ping and his vCard are answered for his bare address (XI-01, XI-02, XI-06), disco#info and
/// ping for a resource that is shown; nothing else is served (RFC 6120 §8.4).
pub(crate) fn answer(
    now: Instant,
    kind: IqType,
    stanza: Stanza,
    origin: Origin,
    about: &About<'_>,
    out: &mut Outbox,
) -> Sent {
    if matches!(kind, IqType::Result | IqType::Error) {
        return Sent::Answered(stanza);
    }
    let is_bare = stanza.to.resource().is_none();
    let Some(question) = question(kind, &stanza).filter(|_| is_bare || about.is_shown) else {
        return Sent::Refused(stanza, unavailable("this user answers no such request"));
    };
    let inside = match question {
        Question::Ping => String::new(),
        Question::Info(None) if is_bare => query(None, &of_account()),
        Question::Info(None) => query(None, &of_resource(about.features)),
        Question::Info(Some(node)) if !is_bare && node == node_of(about.features) => {
            query(Some(&node), &of_resource(about.features))
        }
        Question::Info(Some(_)) => {
            let text = "this user has no such node";
            let refusal =
                Refusal::new(Condition::ItemNotFound, Blame::Sender, Retry::Never, Bounce::Yes, text);
            return Sent::Refused(stanza, refusal);
        }
        Question::Card if is_bare => {
            let name = about.name.or_else(|| stanza.to.local()).unwrap_or_default();
            format!("<vCard xmlns='{VCARD}'><FN>{}</FN></vCard>", escaped(bounded(name)))
        }
        Question::Card => return Sent::Refused(stanza, unavailable("the vCard is that of the bare address")),
    };
    out.arrivals.push_back(write_result(&stanza, &inside, origin, now));
    Sent::Answered(stanza)
}

/// `<c/>` for the presence of a resource (XEP-0115 §4).
pub(crate) fn caps(features: Features) -> String {
    format!("<c xmlns='{CAPS}' hash='sha-1' node='{NODE}' ver='{}'/>", hash(&of_resource(features)))
}

/// Identity (category and type) and features, sorted.
type Info = ((&'static str, &'static str), Vec<&'static str>);

/// The account (XEP-0030 §3, registry of identities).
fn of_account() -> Info {
    (("account", "registered"), sorted(vec![INFO, PING, VCARD]))
}

/// A resource. What kind of device it is, a pool does not tell; a client for people it is.
fn of_resource(features: Features) -> Info {
    let mut all = vec![CAPS, INFO, PING];
    if features.chat_states {
        all.push(CHAT_STATES);
    }
    if features.receipts {
        all.push(RECEIPTS);
    }
    (("client", "pc"), sorted(all))
}

fn sorted(mut features: Vec<&'static str>) -> Vec<&'static str> {
    features.sort_unstable();
    features
}

/// The node by which a client asks for what a hash stands for.
fn node_of(features: Features) -> String {
    format!("{NODE}#{}", hash(&of_resource(features)))
}

/// XEP-0115 §5.1: SHA-1 is what the standard names; it guards nothing here.
fn hash(((category, kind), features): &Info) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("{category}/{kind}//<"));
    for feature in features {
        hasher.update(feature);
        hasher.update("<");
    }
    STANDARD.encode(hasher.finalize())
}

fn query(node: Option<&str>, ((category, kind), features): &Info) -> String {
    let node = node.map(|node| format!(" node='{}'", escaped(node))).unwrap_or_default();
    let features: String = features.iter().map(|feature| format!("<feature var='{feature}'/>")).collect();
    format!("<query xmlns='{INFO}'{node}><identity category='{category}' type='{kind}'/>{features}</query>")
}

#[derive(Debug)]
enum Question {
    Ping,
    /// With the node asked about.
    Info(Option<String>),
    Card,
}

/// What a request asks, by its first child; `None` for all that nobody here can answer.
fn question(kind: IqType, stanza: &Stanza) -> Option<Question> {
    if kind != IqType::Get {
        return None;
    }
    let whole = whole(stanza);
    let mut reader = NsReader::from_str(std::str::from_utf8(&whole).ok()?);
    let mut is_inside = false;
    loop {
        let (namespace, event) = reader.read_resolved_event().ok()?;
        let start = match event {
            Event::Start(_) if !is_inside => {
                is_inside = true;
                continue;
            }
            Event::Start(start) | Event::Empty(start) => start,
            Event::End(_) | Event::Eof => return None,
            _ => continue,
        };
        let ResolveResult::Bound(space) = namespace else { return None };
        let name = start.local_name();
        let name: &str = name.as_ref();
        return match (space.0, name) {
            (PING, "ping") => Some(Question::Ping),
            (INFO, "query") => Some(Question::Info(attribute(&start, "node"))),
            (VCARD, "vCard") => Some(Question::Card),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests;
