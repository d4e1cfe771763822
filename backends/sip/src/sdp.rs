//! The session descriptions of instant messages. Invariant: an offer is taken only when message is the one medium it really
//! offers; anything that would need a voice, a picture or a screen is refused as a whole (requirement 17).
//!
//! The Skype for Business media line is `m=message <port> sip null` in offers and `m=message <port> sip sip:<user>` in answers;
//! peers of 2005 wrote `x-ms-message`. Port and addresses mean nothing: text goes as MESSAGE within the dialog.

/// What we accept in a MESSAGE, as `Accept` and `accept-types` list it.
pub(crate) const ACCEPT_TYPES: [&str; 4] =
    ["text/plain", "multipart/alternative", "text/html", "application/im-iscomposing+xml"];

/// Lines looked at; a message offer has ten.
const LINES_MAX: usize = 256;

/// The name of the message medium an offer uses, or `None` when it is not an offer of text alone.
pub(crate) fn message_medium(offer: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(offer).ok()?;
    let mut lines = text.lines();
    if lines.next()?.trim_end() != "v=0" {
        return None;
    }
    let mut found = None;
    for (count, line) in lines.enumerate() {
        if count >= LINES_MAX {
            return None;
        }
        let Some(media) = line.strip_prefix("m=") else { continue };
        let mut words = media.split_ascii_whitespace();
        let (name, port, transport) = (words.next()?, words.next()?, words.next()?);
        let medium = match name {
            "message" => "message",
            "x-ms-message" => "x-ms-message",
            _ if port == "0" => continue,
            _ => return None,
        };
        if !transport.eq_ignore_ascii_case("sip") || found.is_some() {
            return None;
        }
        found = Some(medium);
    }
    found
}

/// Our offer. `our_name` is the name in our certificate, never an address.
pub(crate) fn offer(our_name: &str) -> String {
    describe(our_name, "message", "null")
}

/// Our answer, in the words of the offer; `user` is the `sip:` address that answers.
pub(crate) fn answer(our_name: &str, medium: &str, user: &str) -> String {
    describe(our_name, medium, user)
}

fn describe(our_name: &str, medium: &str, user: &str) -> String {
    format!(
        "v=0\r\no=- 0 0 IN IP4 {our_name}\r\ns=session\r\nc=IN IP4 {our_name}\r\nt=0 0\r\nm={medium} 5060 sip {user}\r\n\
         a=accept-types:{}\r\n",
        ACCEPT_TYPES.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_text_alone() {
        let check = |media: &str, expected| {
            let offer = format!("v=0\r\no=- 0 0 IN IP4 10.0.0.1\r\ns=session\r\nt=0 0\r\n{media}");
            assert_eq!(message_medium(offer.as_bytes()), expected, "{media}");
        };
        check("m=message 5060 sip null\r\n", Some("message"));
        check("m=message 5060 sip sip:bob@partner.example\r\n", Some("message"));
        check("m=x-ms-message 5060 sip null\r\n", Some("x-ms-message"));
        check("m=audio 0 RTP/AVP 0\r\nm=message 5060 sip null\r\n", Some("message"));
        check("m=audio 4000 RTP/AVP 0\r\nm=message 5060 sip null\r\n", None);
        check("m=audio 4000 RTP/AVP 0\r\n", None);
        check("m=applicationsharing 4000 TCP/RTP/SAVP 127\r\n", None);
        check("m=message 5060 TCP/MSRP *\r\n", None);
        check("m=message\r\n", None);
        check("", None);
        assert_eq!(message_medium(b"\xff\xfe"), None);
        assert_eq!(message_medium(b""), None);
        assert_eq!(message_medium(offer("turnout.contoso.com").as_bytes()), Some("message"));
    }
}
