//! What the benches share: streams of chat messages as partners send them.

use bytes::Bytes;

/// Stanzas in a stream.
pub(crate) const STANZAS: usize = 1024;

/// A stream header as Prosody sends it.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    xmlns='jabber:server' from='partner.example' to='contoso.com' version='1.0' xml:lang='en'>";

/// A stream of chat messages of about so many bytes each, all different.
pub(crate) fn chat_stream(stanza_bytes: usize) -> Bytes {
    let mut stream = String::from(HEADER);
    for n in 0..STANZAS {
        let head = format!(
            "<message type='chat' id='m{n}' from='juliet@partner.example/balcony' to='user{n}@contoso.com'><body>"
        );
        let tail = "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
        stream.push_str(&head);
        let text = stanza_bytes.saturating_sub(head.len() + tail.len());
        stream.extend("O Romeo, Romeo! wherefore art thou Romeo? ".chars().cycle().take(text));
        stream.push_str(tail);
    }
    Bytes::from(stream)
}
