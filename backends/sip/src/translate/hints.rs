//! What a message says beside its text: chat states (XEP-0085), receipts (XEP-0184), invitations to rooms (XEP-0045 §7.8, XEP-0249).
//! Invariant: an element counts only as a child of the message and in its own namespace; of several, the first one does.

use quick_xml::events::BytesStart;
use quick_xml::name::ResolveResult;

use super::{attribute, is};

/// The namespace of XEP-0085.
pub(crate) const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// The namespace of XEP-0184.
pub(crate) const RECEIPTS: &str = "urn:xmpp:receipts";

/// Longest stanza id a receipt may name; our own are far shorter.
const RECEIPT_ID_BYTES_MAX: usize = 256;

/// A chat state (XEP-0085 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChatState {
    /// Paying attention.
    Active,
    /// Writing.
    Composing,
    /// Was writing and has stopped.
    Paused,
    /// Not paying attention.
    Inactive,
    /// Has left the conversation.
    Gone,
}

impl ChatState {
    /// The state of this element name.
    pub(super) fn read(name: &[u8]) -> Option<Self> {
        match name {
            b"active" => Some(Self::Active),
            b"composing" => Some(Self::Composing),
            b"paused" => Some(Self::Paused),
            b"inactive" => Some(Self::Inactive),
            b"gone" => Some(Self::Gone),
            _ => None,
        }
    }

    /// The element.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Active => ACTIVE,
            Self::Composing => "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
            Self::Paused => "<paused xmlns='http://jabber.org/protocol/chatstates'/>",
            Self::Inactive => "<inactive xmlns='http://jabber.org/protocol/chatstates'/>",
            Self::Gone => "<gone xmlns='http://jabber.org/protocol/chatstates'/>",
        }
    }
}

/// What a text carries where chat states may be spoken of (XEP-0085 §5.1).
pub(crate) const ACTIVE: &str = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
/// Asks for a receipt.
pub(crate) const REQUEST: &str = "<request xmlns='urn:xmpp:receipts'/>";

/// Who invites to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invited {
    /// Somebody himself (XEP-0249).
    Directly,
    /// The room, for somebody (XEP-0045 §7.8.2).
    ByRoom,
}

/// What stands beside the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hints {
    /// A chat state.
    pub(crate) state: Option<ChatState>,
    /// A receipt is asked for.
    pub(crate) wants_receipt: bool,
    /// The message of this id was received.
    pub(crate) received: Option<Box<str>>,
    /// The recipient is asked into a room.
    pub(crate) invited: Option<Invited>,
}

impl Hints {
    /// Looks at a child of the message.
    pub(super) fn look(&mut self, namespace: &ResolveResult<'_>, start: &BytesStart<'_>) {
        let name = start.local_name();
        let name: &str = name.as_ref();
        if is(namespace, CHAT_STATES) {
            self.state = self.state.or_else(|| ChatState::read(name.as_bytes()));
        } else if is(namespace, RECEIPTS) {
            match name {
                "request" => self.wants_receipt = true,
                "received" if self.received.is_none() => {
                    let id = attribute(start, "id");
                    self.received =
                        id.filter(|id| !id.is_empty() && id.len() <= RECEIPT_ID_BYTES_MAX).map(Into::into);
                }
                _ => {}
            }
        } else if name == "x" && is(namespace, "jabber:x:conference") {
            self.invited = self.invited.or(Some(Invited::Directly));
        }
    }

    /// Whether an element of this name may say something that [`Hints::look_at_tag`] can read.
    pub(super) fn is_known(name: &[u8]) -> bool {
        name == b"request" || ChatState::read(name).is_some()
    }

    /// Looks at a child of the message from its tag alone. `None`: it takes a reader of XML to say what it is.
    pub(super) fn look_at_tag(&mut self, name: &[u8], tag: &[u8]) -> Option<()> {
        let state = ChatState::read(name);
        let namespace = own_namespace(tag)?;
        if namespace == CHAT_STATES.as_bytes() {
            self.state = self.state.or(state);
        } else if namespace == RECEIPTS.as_bytes() {
            self.wants_receipt |= name == b"request";
        } else if memchr::memchr(b'&', namespace).is_some() {
            return None;
        }
        Some(())
    }
}

/// The default namespace a tag with one kind of quotes declares for itself.
fn own_namespace(tag: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(tag, b"xmlns=")?;
    if !tag.get(at.checked_sub(1)?)?.is_ascii_whitespace() {
        return None;
    }
    let (quote, value) = tag.get(at + b"xmlns=".len()..)?.split_first()?;
    if !matches!(quote, b'\'' | b'"') {
        return None;
    }
    value.get(..memchr::memchr(*quote, value)?)
}
