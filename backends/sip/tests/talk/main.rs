//! What passes inside a conversation beside texts: a test for each row of the mapping, in both directions.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    unreachable_pub,
    unnameable_types,
    missing_docs,
    dead_code,
    reason = "support is shared between test files"
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod receipts;
mod typing;

use support::*;
use turnout_core::backend::Sent;
use turnout_core::io::LinkId;
use turnout_core::stanza::Stanza;
use turnout_sip::parse::Message;

pub const BOB: &str = "bob@partner.example/phone";
pub const ALICE: &str = "alice@contoso.com";
pub const STATES: &str = "http://jabber.org/protocol/chatstates";

/// A message without a body; it is taken and ends there.
pub fn hint(rig: &mut Rig, link: LinkId, from: &str, inside: &str) {
    let stanza = rig.stanza(&format!("<message type='chat' from='{from}' to='{ALICE}'>{inside}</message>"));
    let sent = rig.send(link, stanza);
    assert!(matches!(sent, Sent::Answered(_)), "{sent:?}");
}

/// A chat state of Bob's.
pub fn state(rig: &mut Rig, link: LinkId, state: &str) {
    hint(rig, link, BOB, &format!("<{state} xmlns='{STATES}'/>"));
}

/// A text of Bob's with more than a body.
pub fn text(rig: &mut Rig, link: LinkId, body: &str, beside: &str) {
    let stanza = rig.stanza(&format!(
        "<message type='chat' id='m-{body}' from='{BOB}' to='{ALICE}'><body>{body}</body>{beside}</message>"
    ));
    let sent = rig.send(link, stanza);
    assert!(matches!(sent, Sent::Kept), "{sent:?}");
}

/// A session that stands, opened by a text of Bob's with this beside it. Gives a 200 that stands for its dialog.
pub fn opened(rig: &mut Rig, link: LinkId, beside: &str) -> Message {
    text(rig, link, "first", beside);
    let invite = rig.next(link);
    let ok = answer(&invite, 200, "OK", &format!("{ROUTES}Supported: ms-text-format\r\n"), SDP);
    rig.says(link, &ok);
    assert_eq!(rig.next(link).method(), Some(b"ACK".as_slice()));
    assert_eq!(rig.ended(), ("first".to_owned(), Ok(())));
    assert!(rig.is_quiet(link));
    // Seen from the pool, From and To are the other way round.
    let turned =
        ok.replace("\r\nFrom: ", "\r\nX: ").replace("\r\nTo: ", "\r\nFrom: ").replace("\r\nX: ", "\r\nTo: ");
    Message::parse(turned.into()).unwrap()
}

pub fn active() -> String {
    format!("<active xmlns='{STATES}'/>")
}

/// The next stanza is this chat state, to Bob's client.
pub fn shown(rig: &mut Rig, state: &str) -> Stanza {
    let (stanza, text) = rig.arrived();
    assert_eq!(stanza.to.as_str(), BOB, "{text}");
    assert!(text.contains(" type='chat'>") && !text.contains("<body>"), "{text}");
    assert!(text.contains(&format!("<{state} xmlns='{STATES}'/></message>")), "{state}: {text}");
    assert_eq!(stanza.origin.ticket, 0, "nobody waits for its verdict");
    stanza
}
