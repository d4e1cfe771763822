//! A partner that says anything, on a stream without TLS, on one with a certificate of his, and on one that we opened to him: no stanza
//! comes of it between domains that were not proven. The octet in front of each piece says which stream it is for, a NUL ends it.

use turnout_core::io::Side;
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt};

use crate::net::{certificate, partner, world};
use crate::raw::{Raw, header};

pub fn stream(bytes: &[u8]) {
    let partners =
        vec![partner("partner.example", Opt, Opt, true), partner("second.example", Opt, Opt, true)];
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let plain = raw.accept();
    raw.tell(plain, &header("partner.example", "contoso.com"));
    let secured = raw.accept_by(true);
    raw.secure(secured, Some(certificate(&["partner.example"])));
    raw.tell(secured, &header("partner.example", "contoso.com"));
    let ours = raw.dial("contoso.com", "partner.example");
    for piece in bytes.split(|byte| *byte == 0) {
        let Some((which, text)) = piece.split_first() else { continue };
        let Ok(text) = std::str::from_utf8(text) else { continue };
        let link = match which % 4 {
            0 => plain,
            1 => secured,
            2 => ours,
            _ => raw.connects.last().map_or(ours, |connect| connect.link),
        };
        raw.tell(link, text);
        for stanza in raw.arrivals() {
            if stanza.made {
                continue;
            }
            assert_eq!((stanza.from.domain(), stanza.to.domain()), ("partner.example", "contoso.com"));
        }
    }
    raw.advance(300);
}
