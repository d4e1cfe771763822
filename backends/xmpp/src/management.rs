//! The elements of stream management (XEP-0198), read and written. Invariant: counters are compared modulo 2^32 (§4), and no more
//! than the stanzas that are on their way is ever taken as acknowledged.
//!
//! `location` of `<enabled/>` is neither given nor read: where a peer is found is for its SRV records or our configuration to say, not for
//! the peer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::error::StreamCondition;
use crate::frame::{Element, Namespace, StreamHeader};
use crate::negotiate;
use crate::parse::Tree;
use crate::write;

/// `<r/>`, the request for an answer (§4).
pub(crate) const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// `<enable/>` without resumption (§3).
pub(crate) const ENABLE: &[u8] = b"<enable xmlns='urn:xmpp:sm:3'/>";

/// `<enable/>` with resumption (§5).
pub(crate) const ENABLE_RESUME: &[u8] = b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

/// `<enabled/>` without resumption (§3).
pub(crate) const ENABLED: &[u8] = b"<enabled xmlns='urn:xmpp:sm:3'/>";

/// `<a/>`: so many stanzas are handled (§4).
pub(crate) fn answer(handled: u32) -> Bytes {
    negotiate::bytes(|out| {
        out.extend_from_slice(b"<a xmlns='urn:xmpp:sm:3'");
        write::attribute(out, "h", &handled.to_string());
        out.extend_from_slice(b"/>");
    })
}

/// `<enabled/>` with resumption: the id, and for how long (§5).
pub(crate) fn enabled(id: &str, seconds: u32) -> Bytes {
    negotiate::bytes(|out| {
        out.extend_from_slice(b"<enabled xmlns='urn:xmpp:sm:3'");
        write::attribute(out, "id", id);
        write::attribute(out, "resume", "true");
        write::attribute(out, "max", &seconds.to_string());
        out.extend_from_slice(b"/>");
    })
}

/// `<resume/>` or `<resumed/>`: the id, and so many stanzas are handled (§5).
pub(crate) fn resumption(name: &str, id: &str, handled: u32) -> Bytes {
    negotiate::bytes(|out| {
        out.extend_from_slice(b"<");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" xmlns='urn:xmpp:sm:3'");
        write::attribute(out, "previd", id);
        write::attribute(out, "h", &handled.to_string());
        out.extend_from_slice(b"/>");
    })
}

/// Longest id of a peer's that is remembered, in bytes.
const ID_BYTES_MAX: usize = 512;

/// Longest time a peer's word on how long it remembers is believed.
const REMEMBERED_MAX: Duration = Duration::from_secs(600);

/// How long a peer is thought to remember that does not say.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What an `<enabled/>` says of resumption: the id and how long it is good for; `None` where there is none.
pub(crate) fn resumable(element: &Element, header: &StreamHeader) -> Option<(String, Duration)> {
    let tree = Tree::of(element, header).ok()?;
    let root = tree.root();
    if !is_true(root.attribute("resume")?) {
        return None;
    }
    let id = root.attribute("id").filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)?;
    let said = root.attribute("max").and_then(|max| max.trim().parse().ok()).map(Duration::from_secs);
    Some((id.to_owned(), said.unwrap_or(REMEMBERED).min(REMEMBERED_MAX)))
}

/// Whether an `<enable/>` asks for resumption.
pub(crate) fn wants_resumption(element: &Element, header: &StreamHeader) -> bool {
    Tree::of(element, header).is_ok_and(|tree| tree.root().attribute("resume").is_some_and(is_true))
}

/// The id in a `<resume/>` or `<resumed/>`.
pub(crate) fn previd(element: &Element, header: &StreamHeader) -> Option<String> {
    Tree::of(element, header).ok()?.root().attribute("previd").map(str::to_owned)
}

fn is_true(value: &str) -> bool {
    matches!(value.trim(), "true" | "1")
}

/// `<failed/>` with a stanza error condition (§3).
pub(crate) fn failed(condition: &str) -> Bytes {
    let stanzas = Namespace::StanzaErrors.name();
    Bytes::from(format!("<failed xmlns='urn:xmpp:sm:3'><{condition} xmlns='{stanzas}'/></failed>"))
}

/// The counter in an `<a/>`; `None` where there is none that can be read.
pub(crate) fn handled(element: &Element, header: &StreamHeader) -> Option<u32> {
    Tree::of(element, header).ok()?.root().attribute("h")?.trim().parse().ok()
}

/// How many stanzas an `<a/>` acknowledges beyond those `acknowledged` before, of those `sent`; `None` where it claims more than
/// were sent (§4: the stream ends).
pub(crate) fn newly(handled: u32, acknowledged: u64, sent: u64) -> Option<u32> {
    // The counter on the wire is the lower half of ours.
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is what the standard asks for")]
    let new = handled.wrapping_sub(acknowledged as u32);
    (u64::from(new) <= sent.saturating_sub(acknowledged)).then_some(new)
}

/// The lower half of a counter, as it goes over the wire.
pub(crate) fn on_the_wire(count: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is what the standard asks for")]
    let low = count as u32;
    low
}

/// The stream error for a peer that claims to have handled more than it was sent, and the end of the stream.
pub(crate) fn too_high(handled: u32, sent: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.extend_from_slice(b"<stream:error><");
    out.extend_from_slice(StreamCondition::UndefinedCondition.name().as_bytes());
    write::attribute(&mut out, "xmlns", Namespace::StreamErrors.name());
    out.extend_from_slice(b"/><handled-count-too-high xmlns='urn:xmpp:sm:3'");
    write::attribute(&mut out, "h", &handled.to_string());
    write::attribute(&mut out, "send-count", &on_the_wire(sent).to_string());
    out.extend_from_slice(b"/></stream:error>");
    write::stream_end(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_round() {
        let check = |handled, acknowledged: u64, sent: u64, expected| {
            assert_eq!(newly(handled, acknowledged, sent), expected, "{handled} {acknowledged} {sent}")
        };
        check(0, 0, 0, Some(0));
        check(1, 0, 0, None);
        check(3, 1, 3, Some(2));
        check(4, 1, 3, None);
        check(0, 1, 3, None);
        let around = u64::from(u32::MAX);
        check(u32::MAX, around - 1, around + 5, Some(1));
        check(0, around, around + 5, Some(1));
        check(4, around, around + 5, Some(5));
        check(5, around, around + 5, None);
        check(u32::MAX, around + 1, around + 5, None);
        assert_eq!((on_the_wire(around), on_the_wire(around + 1), on_the_wire(around + 3)), (u32::MAX, 0, 2));
    }
}
