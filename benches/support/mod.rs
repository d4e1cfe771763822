//! What the benches share: streams of chat messages as partners send them.

use bytes::Bytes;

/// Stanzas in a stream.
pub(crate) const STANZAS: usize = 1024;

/// A stream header as Prosody sends it.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' \
    xmlns='jabber:server' from='partner.example' to='contoso.com' version='1.0' xml:lang='en'>";

/// What the messages say: plain, with markup and quotes in it, in Cyrillic, in Japanese.
pub(crate) const TEXTS: [(&str, &str); 4] = [
    ("", "O Romeo, Romeo! wherefore art thou Romeo? "),
    (", entities", "it's &lt;b&gt; &amp; &quot;x&quot; "),
    (
        ", Cyrillic",
        "\u{41e}, \u{440}\u{43e}\u{43c}\u{435}\u{43e}, \u{437}\u{430}\u{447}\u{435}\u{43c} \u{436}\u{435} \u{442}\u{44b} \u{440}\u{43e}\u{43c}\u{435}\u{43e}? ",
    ),
    (
        ", Japanese",
        "\u{30ed}\u{30df}\u{30aa}\u{ff01} \u{3042}\u{306a}\u{305f}\u{306f} \u{30ed}\u{30df}\u{30aa} ",
    ),
];

/// A stream of chat messages of about so many bytes each, all different.
pub(crate) fn chat_stream(stanza_bytes: usize, text: &str) -> Bytes {
    let mut stream = String::from(HEADER);
    for n in 0..STANZAS {
        let head = format!(
            "<message type='chat' id='m{n}' from='juliet@partner.example/balcony' to='user{n}@contoso.com'><body>"
        );
        let tail = "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>";
        stream.push_str(&head);
        let mut room = stanza_bytes.saturating_sub(head.len() + tail.len());
        for word in text.split_inclusive(' ').cycle() {
            let Some(left) = room.checked_sub(word.len()) else { break };
            stream.push_str(word);
            room = left;
        }
        stream.push_str(tail);
    }
    Bytes::from(stream)
}
