//! Dialogs (RFC 3261 §12). Invariant: what came in From, To, Contact and Record-Route goes back byte for byte, `ms-route-sig`,
//! `opaque` and `epid` included (requirement 22); and none of it ever decides where we connect (B-58).

use std::time::Instant;

use turnout_core::io::LinkId;
use turnout_core::timers::TimerId;

use crate::parse::{HeaderName, Message, NameAddr};
use crate::write::{Builder, WriteError};

/// A dialog.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    /// The session it belongs to.
    pub(crate) session: u64,
    /// Call-ID.
    pub(crate) call_id: String,
    /// Our tag.
    pub(crate) local_tag: String,
    /// The peer's tag; empty for peers of RFC 2543.
    pub(crate) remote_tag: String,
    /// Our From value, with our tag.
    local: Vec<u8>,
    /// The To value: what the peer called himself, with his tag.
    remote: Vec<u8>,
    /// The peer's Contact address.
    target: String,
    /// Values for Route, in the order to write them.
    routes: Vec<Vec<u8>>,
    /// Number of our last request.
    pub(crate) sent: u32,
    /// Number of the peer's last request, once there was one.
    pub(crate) received: Option<u32>,
    /// The link of the last message.
    pub(crate) link: LinkId,
    /// When the last message went or came.
    pub(crate) used: Instant,
    /// The text an INVITE brought, until the first MESSAGE has been compared with it.
    pub(crate) first_text: Option<String>,
    /// The key of the INVITE that made it, while its ACK is awaited.
    pub(crate) unconfirmed: Option<String>,
    /// Looks whether it is idle.
    pub(crate) idle: Option<TimerId>,
}

impl Dialog {
    /// The dialog our 2xx to an INVITE makes (RFC 3261 §12.1.1). `None`: no Contact to answer to.
    pub(crate) fn accepted(
        session: u64,
        invite: &Message,
        tag: &str,
        link: LinkId,
        now: Instant,
    ) -> Option<Self> {
        let contact = invite.contact().ok()??;
        let from = invite.from().ok()?;
        Some(Self {
            session,
            call_id: invite.call_id().ok()?.to_owned(),
            local_tag: tag.to_owned(),
            remote_tag: from.tag().unwrap_or_default().into_owned(),
            local: with_tag(invite.lines(HeaderName::To).next()?, tag),
            remote: invite.lines(HeaderName::From).next()?.to_vec(),
            target: contact.uri_text.to_owned(),
            routes: invite.headers(HeaderName::RecordRoute).map(<[u8]>::to_vec).collect(),
            sent: 0,
            received: Some(invite.cseq().ok()?.number),
            link,
            used: now,
            first_text: None,
            unconfirmed: None,
            idle: None,
        })
    }

    /// The dialog a 2xx to our INVITE makes (RFC 3261 §12.1.2): the route set is that of the response, last first.
    pub(crate) fn established(session: u64, response: &Message, link: LinkId, now: Instant) -> Option<Self> {
        let contact = response.contact().ok()??;
        let (from, to) = (response.from().ok()?, response.to().ok()?);
        let mut routes: Vec<Vec<u8>> =
            response.headers(HeaderName::RecordRoute).map(<[u8]>::to_vec).collect();
        routes.reverse();
        Some(Self {
            session,
            call_id: response.call_id().ok()?.to_owned(),
            local_tag: from.tag()?.into_owned(),
            remote_tag: to.tag().unwrap_or_default().into_owned(),
            local: response.lines(HeaderName::From).next()?.to_vec(),
            remote: response.lines(HeaderName::To).next()?.to_vec(),
            target: contact.uri_text.to_owned(),
            routes,
            sent: response.cseq().ok()?.number,
            received: None,
            link,
            used: now,
            first_text: None,
            unconfirmed: None,
            idle: None,
        })
    }

    /// Whether a request of the peer belongs to it.
    pub(crate) fn is_of(&self, request: &Message) -> bool {
        let tag = request.from().ok().and_then(|from| from.tag());
        request.call_id().is_ok_and(|call_id| call_id == self.call_id)
            && tag.unwrap_or_default() == self.remote_tag
    }

    /// Takes the number of a request of the peer. `false`: it is not higher than the last (RFC 3261 §12.2.2: 500).
    pub(crate) fn take_number(&mut self, number: u32) -> bool {
        let is_next = self.received.is_none_or(|last| number > last);
        if is_next {
            self.received = Some(number);
        }
        is_next
    }

    /// Takes a new Contact from a re-INVITE (RFC 3261 §12.2).
    pub(crate) fn refresh_target(&mut self, request: &Message) {
        if let Ok(Some(contact)) = request.contact() {
            self.target = contact.uri_text.to_owned();
        }
    }

    /// Begins a request within the dialog (RFC 3261 §12.2.1.1); an ACK repeats the number of its INVITE. A first route without
    /// `lr` is a strict router: it becomes the Request-URI, and the target the last route.
    ///
    /// # Errors
    /// The peer's Contact or first route is no address a request can go to.
    pub(crate) fn request(&mut self, method: &str, via: &str) -> Result<Builder, WriteError> {
        if method != "ACK" {
            self.sent = self.sent.wrapping_add(1) & 0x7fff_ffff;
        }
        let strict = self.routes.first().and_then(|first| {
            let first = NameAddr::parse(first).ok()?;
            first.uri.param("lr").is_none().then(|| first.uri_text.to_owned())
        });
        let target = strict.as_deref().unwrap_or(&self.target);
        let mut builder = Builder::request(method, target)?
            .header(HeaderName::Via, via)?
            .header(HeaderName::MaxForwards, "70")?
            .raw(HeaderName::Route, &self.routes[usize::from(strict.is_some())..])?;
        if strict.is_some() {
            builder = builder.header(HeaderName::Route, &format!("<{}>", self.target))?;
        }
        builder
            .raw(HeaderName::From, &[&self.local])?
            .raw(HeaderName::To, &[&self.remote])?
            .header(HeaderName::CallId, &self.call_id)?
            .header(HeaderName::CSeq, &format!("{} {method}", self.sent))
    }
}

/// A To value with our tag behind it: its parameters are those of the header, also where it has no brackets (RFC 3261 §20).
fn with_tag(value: &[u8], tag: &str) -> Vec<u8> {
    [value, b";tag=", tag.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant")]
    fn dialog(route: &str) -> Dialog {
        let invite = format!(
            "INVITE sip:bob@partner.example SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bKa\r\n{route}From: <sip:a@contoso.com>;tag=r\r\n\
             To: sip:bob@partner.example\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:a@10.0.0.1;opaque=x>\r\nContent-Length: 0\r\n\r\n"
        );
        let invite = Message::parse(Bytes::from(invite)).unwrap();
        Dialog::accepted(1, &invite, "l", LinkId::NONE, Instant::now()).unwrap()
    }

    #[test]
    fn routes_strict_and_loose() {
        let check = |routes: &str, expected: &str| {
            let request = dialog(routes).request("BYE", "SIP/2.0/TLS t;branch=z9hG4bKb").unwrap().finish();
            assert_eq!(std::str::from_utf8(&request).unwrap(), expected);
        };
        let rest = "From: sip:bob@partner.example;tag=l\r\nTo: <sip:a@contoso.com>;tag=r\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\
                    Content-Length: 0\r\n\r\n";
        let via = "SIP/2.0\r\nVia: SIP/2.0/TLS t;branch=z9hG4bKb\r\nMax-Forwards: 70\r\n";
        check("", &format!("BYE sip:a@10.0.0.1;opaque=x {via}{rest}"));
        check(
            "Record-Route: <sip:p1;lr>, <sip:p2>;tag=1\r\n",
            &format!(
                "BYE sip:a@10.0.0.1;opaque=x {via}Route: <sip:p1;lr>\r\nRoute: <sip:p2>;tag=1\r\n{rest}"
            ),
        );
        check(
            "Record-Route: <sip:p1>\r\nRecord-Route: <sip:p2;lr>\r\n",
            &format!("BYE sip:p1 {via}Route: <sip:p2;lr>\r\nRoute: <sip:a@10.0.0.1;opaque=x>\r\n{rest}"),
        );
    }

    #[test]
    fn numbers_of_the_peer_only_grow() {
        let mut dialog = dialog("");
        assert!(!dialog.take_number(7));
        assert!(dialog.take_number(8));
        assert!(!dialog.take_number(8));
        assert!(dialog.take_number(u32::MAX));
    }
}
