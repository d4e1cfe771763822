//! The dialog of one subscription (RFC 6665 §4.4.1). Invariant: as with every dialog, what came in From, To, Contact and
//! Record-Route goes back byte for byte, and none of it decides where we connect.

use turnout_core::io::LinkId;

use crate::dialog::{Heading, with_tag};
use crate::parse::{HeaderName, Message, Scheme, Vitals};
use crate::random::Token;
use crate::write::{Builder, WriteError, name_addr};

/// Longest addresses and routes of one dialog, in bytes: they are kept for hours.
const USAGE_BYTES_MAX: usize = 8192;

/// A dialog without a session: smaller than [`crate::dialog::Dialog`], as there may be very many.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Call-ID.
    pub(crate) call_id: Box<str>,
    /// Our tag.
    pub(crate) local_tag: Token,
    /// The link of the last message.
    pub(crate) link: LinkId,
    /// The peer's tag, once he has answered.
    remote_tag: Option<Box<str>>,
    /// Our address as From has it, with our tag.
    local: Box<[u8]>,
    /// The peer's as To has it.
    remote: Box<[u8]>,
    /// Where requests go: the peer's Contact.
    target: Box<str>,
    routes: Vec<Vec<u8>>,
    sent: u32,
    received: Option<u32>,
}

impl Usage {
    /// One that our first request begins.
    ///
    /// # Errors
    /// An address is malformed.
    pub(crate) fn begin(from: &str, to: &str, tag: Token, call_id: Token) -> Result<Self, WriteError> {
        let local = with_tag(name_addr(None, from)?.as_bytes(), tag);
        Ok(Self {
            call_id: (*call_id.hex()).into(),
            local_tag: tag,
            link: LinkId::NONE,
            remote_tag: None,
            local: local.into(),
            remote: name_addr(None, to)?.into_bytes().into(),
            target: to.into(),
            routes: Vec::new(),
            sent: 0,
            received: None,
        })
    }

    /// One that the peer's SUBSCRIBE begins and our 2xx with this tag. `None`: it has no Contact that can be answered to, or more than is kept.
    pub(crate) fn accepted(request: &Message, vitals: &Vitals<'_>, tag: Token, link: LinkId) -> Option<Self> {
        let routes = routes_of(request)?;
        Some(Self {
            call_id: vitals.call_id.into(),
            local_tag: tag,
            link,
            remote_tag: Some(vitals.from_tag.as_ref().into()),
            local: with_tag(request.lines(HeaderName::To).next()?, tag).into(),
            remote: request.lines(HeaderName::From).next()?.into(),
            target: usable_contact(request)?.into(),
            routes,
            sent: 0,
            received: Some(vitals.cseq.number),
        })
    }

    /// Takes what a 2xx to our first request says (RFC 3261 §12.1.2). `false`: it has no usable Contact.
    pub(crate) fn answered(&mut self, response: &Message) -> bool {
        let (Some(contact), Some(remote), Some(routes)) =
            (usable_contact(response), response.lines(HeaderName::To).next(), routes_of(response))
        else {
            return false;
        };
        let tag = response.to().ok().and_then(|to| to.tag().map(|tag| tag.as_ref().into()));
        self.remote_tag = Some(tag.unwrap_or_default());
        self.remote = remote.into();
        self.target = contact.into();
        self.routes = routes;
        self.routes.reverse();
        true
    }

    /// Takes what the first NOTIFY says, which is what makes the dialog (RFC 6665 §4.4.1). `false`: it has no usable Contact.
    pub(crate) fn confirmed(&mut self, notify: &Message, vitals: &Vitals<'_>) -> bool {
        let (Some(contact), Some(remote), Some(routes)) =
            (usable_contact(notify), notify.lines(HeaderName::From).next(), routes_of(notify))
        else {
            return false;
        };
        self.remote_tag = Some(vitals.from_tag.as_ref().into());
        self.remote = remote.into();
        self.target = contact.into();
        // A pool that records its routes in the 200 alone means them all the same.
        if !routes.is_empty() {
            self.routes = routes;
        }
        true
    }

    /// Whether the peer has answered, so that requests within the dialog can be sent.
    pub(crate) fn is_established(&self) -> bool {
        self.remote_tag.is_some()
    }

    /// Whether a request of the peer belongs to it, as far as Call-ID says; our tag is what it was found by.
    pub(crate) fn has_call_id_of(&self, request: &Vitals<'_>) -> bool {
        request.call_id == &*self.call_id
    }

    /// Whether a request of the peer belongs to it.
    pub(crate) fn is_of(&self, request: &Vitals<'_>) -> bool {
        self.has_call_id_of(request) && self.remote_tag.as_deref() == Some(&*request.from_tag)
    }

    /// Takes the number of a request of the peer. `false`: it is not higher than the last (RFC 3261 §12.2.2: 500).
    pub(crate) fn take_number(&mut self, number: u32) -> bool {
        let is_next = self.received.is_none_or(|last| number > last);
        if is_next {
            self.received = Some(number);
        }
        is_next
    }

    /// Takes a new Contact (RFC 6665 §4.4.1: SUBSCRIBE and NOTIFY are target refresh requests).
    pub(crate) fn refresh_target(&mut self, request: &Message) {
        if let Some(contact) = usable_contact(request)
            && contact != &*self.target
        {
            self.target = contact.into();
        }
    }

    /// Begins a request within the dialog, or the one that begins it.
    ///
    /// # Errors
    /// The peer's Contact or first route is no address a request can go to.
    pub(crate) fn request(&mut self, method: &str, via: &str) -> Result<Builder, WriteError> {
        self.sent = self.sent.wrapping_add(1) & 0x7fff_ffff;
        let heading = Heading {
            target: &self.target,
            routes: &self.routes,
            local: &self.local,
            remote: &self.remote,
            call_id: &self.call_id,
        };
        heading.open(method, via)?.header(HeaderName::CSeq, &format!("{} {method}", self.sent))
    }
}

/// The Record-Route values of a message; `None` if it holds more than is kept of one.
fn routes_of(message: &Message) -> Option<Vec<Vec<u8>>> {
    let kept =
        [HeaderName::From, HeaderName::To, HeaderName::Contact, HeaderName::RecordRoute, HeaderName::CallId];
    let bytes: usize = kept.into_iter().flat_map(|name| message.lines(name)).map(<[u8]>::len).sum();
    let routes = message.headers(HeaderName::RecordRoute).map(<[u8]>::to_vec);
    (bytes <= USAGE_BYTES_MAX).then(|| routes.collect())
}

/// The address in Contact, if requests can go there.
fn usable_contact(message: &Message) -> Option<&str> {
    let contact = message.contact().ok()??;
    (contact.uri.scheme != Scheme::Other && contact.uri.headers.is_none()).then_some(contact.uri_text)
}
