//! `<delay/>` on what waited on disk (XEP-0203). Invariant: only towards partners, only on messages and presence that waited for seconds or
//! while the process was not running, and never so that a stanza grows beyond what every server takes (RFC 6120 §13.12); all else, and
//! all that goes to the legacy gateway, leaves as the bytes that came.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use turnout_core::durable::utc;
use turnout_core::io::Side;
use turnout_core::limits::STANZA_BYTES_FLOOR;
use turnout_core::stanza::{Kind, PresenceType, Stanza};

use crate::write;

/// A stanza that waited for less is not late.
const LATE: Duration = Duration::from_secs(5);

/// The slices to write for a stanza, in order.
pub(crate) fn slices(side: Side, stanza: &Stanza, now: Instant) -> [Bytes; 3] {
    match late_since(side, stanza, now).and_then(|since| stamped(stanza, since)) {
        Some(bytes) => [bytes, Bytes::new(), Bytes::new()],
        None => stanza.slices(),
    }
}

/// When a stanza that is late was accepted, in milliseconds since 1970.
fn late_since(side: Side, stanza: &Stanza, now: Instant) -> Option<u64> {
    let kept = stanza.disk.kept.as_ref().filter(|_| side == Side::Partners && !stanza.made)?;
    let tells_a_state = match stanza.kind {
        Kind::Message(_) => !stanza.kind.is_error(),
        Kind::Presence(kind) => matches!(kind, PresenceType::Available | PresenceType::Unavailable),
        Kind::Iq(_) => false,
    };
    let late = kept.recovered || now.saturating_duration_since(stanza.arrived) >= LATE;
    (tells_a_state && late).then_some(kept.unix_millis)
}

/// With the stamp as its last child; `None` where there is no room for one.
fn stamped(stanza: &Stanza, since: u64) -> Option<Bytes> {
    // The last end tag is that of the stanza itself; one without content has none.
    let end = stanza.bytes.windows(2).rposition(|pair| pair == b"</")?;
    let at = (stanza.insert_at as usize).min(end);
    let mut out = BytesMut::with_capacity(stanza.len() + 160);
    out.extend_from_slice(stanza.bytes.get(..at)?);
    out.extend_from_slice(stanza.insert.as_deref().unwrap_or_default());
    out.extend_from_slice(stanza.bytes.get(at..end)?);
    out.extend_from_slice(b"<delay xmlns='urn:xmpp:delay'");
    write::attribute(&mut out, "from", stanza.from.domain());
    write::attribute(&mut out, "stamp", &utc(since));
    out.extend_from_slice(b"/>");
    out.extend_from_slice(stanza.bytes.get(end..)?);
    (out.len() <= STANZA_BYTES_FLOOR).then(|| out.freeze())
}

#[cfg(test)]
mod tests {
    use turnout_core::durable::{Kept, OnDisk};
    use turnout_core::home::HomeId;
    use turnout_core::io::LinkId;
    use turnout_core::jid::Jid;
    use turnout_core::stanza::{Origin, Payload};

    use super::*;

    const BODY: &str =
        "<a:message xmlns:a='jabber:server' to='bob@partner.example'><a:body>1 &lt; 2</a:body></a:message >";

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn written(text: &str, kind: Kind, side: Side, recovered: bool, waited: u64) -> String {
        let arrived = Instant::now();
        let kept = Kept {
            key: None,
            replaces: None,
            owed: None,
            expires: arrived,
            unix_millis: 1_767_323_045_999,
            recovered,
        };
        let stanza = Stanza {
            kind,
            from: Jid::parse("anna@contoso.com").unwrap(),
            to: Jid::parse("bob@partner.example").unwrap(),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
            insert_at: 10,
            insert: Some(Bytes::from_static(b" xml:lang='de'")),
            from_span: 0..0,
            to_span: 0..0,
            id_span: 0..0,
            payload: Payload::None,
            origin: Origin { side: Side::Home(HomeId(0)), link: LinkId::NONE, ticket: 0 },
            arrived,
            made: false,
            attempts: 0,
            disk: OnDisk { order: 0, kept: Some(Box::new(kept)) },
        };
        let slices = slices(side, &stanza, arrived + Duration::from_secs(waited));
        String::from_utf8(slices.concat()).unwrap()
    }

    #[test]
    fn what_waited_says_since_when() {
        let chat = Kind::message(Some("chat"));
        let plain = "<a:message xml:lang='de' xmlns:a='jabber:server' to='bob@partner.example'><a:body>1 &lt; 2</a:body></a:message >";
        let late = "<a:message xml:lang='de' xmlns:a='jabber:server' to='bob@partner.example'><a:body>1 &lt; 2</a:body>\
                    <delay xmlns='urn:xmpp:delay' from='contoso.com' stamp='2026-01-02T03:04:05.999Z'/></a:message >";
        assert_eq!(written(BODY, chat, Side::Partners, true, 0), late);
        assert_eq!(written(BODY, chat, Side::Partners, false, 5), late);
        assert_eq!(written(BODY, chat, Side::Partners, false, 4), plain);
        assert_eq!(
            written(BODY, chat, Side::Home(HomeId(0)), true, 100),
            plain,
            "the gateway gets what came"
        );
        assert_eq!(written(BODY, Kind::message(Some("error")), Side::Partners, true, 0), plain);
    }

    #[test]
    fn what_has_no_room_goes_as_it_came() {
        let empty = "<a:message xmlns:a='jabber:server'/>";
        let chat = Kind::message(Some("chat"));
        assert!(!written(empty, chat, Side::Partners, true, 0).contains("delay"));
        let long = format!("<a:message><a:body>{}</a:body></a:message>", "x".repeat(STANZA_BYTES_FLOOR - 60));
        assert!(!written(&long, chat, Side::Partners, true, 0).contains("delay"));
    }
}
