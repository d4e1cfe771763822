//! The real backends in the shards, and scripted servers that speak their protocols by bytes.

mod deeds;
mod events;
pub mod pool;
pub mod watch;
pub mod xmpp;

/// The number of a stanza, wherever it stands: `[12]` in a text, else `id='m12'`.
pub fn number(text: &str) -> Option<usize> {
    super::toy::number(text).or_else(|| {
        let (_, rest) = text.split_once("id='m")?;
        rest.split_once('\'')?.0.parse().ok()
    })
}

/// A stanza as a server writes it.
pub fn stanza(kind: char, from: &str, to: &str, number: usize) -> String {
    let head = format!("from='{from}/r1' to='{to}' id='m{number}'");
    match kind {
        'h' => format!("<message {head} type='headline'><body>[{number}]</body></message>"),
        'p' => format!("<presence {head} type='probe'><status>[{number}]</status></presence>"),
        'q' => format!("<iq {head} type='get'><ping xmlns='urn:xmpp:ping'/></iq>"),
        _ => format!("<message {head} type='chat'><body>text [{number}] &amp; more</body></message>"),
    }
}
