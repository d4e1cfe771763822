//! Where reads cut the bytes changes nothing, and no bytes at all end in a panic.

use proptest::prelude::*;
use turnout_core::backend::Backend;
use turnout_core::io::Side;
use turnout_core::policy::Negotiation::{NotSupported as No, Optional as Opt};

use crate::net::{certificate, partner, world};
use crate::raw::{Raw, answering, header};

/// What two servers say, in good order and in bad.
fn vocabulary() -> Vec<String> {
    let mut words: Vec<String> = [
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>!</auth>",
        "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
        "<db:result from='partner.example' to='contoso.com'>k</db:result>",
        "<db:result from='partner.example' to='contoso.com' type='valid'/>",
        "<db:verify from='partner.example' to='contoso.com' id='1'>k</db:verify>",
        "<db:verify from='partner.example' to='contoso.com' id='1' type='valid'/>",
        "<db:result/>",
        "<stream:features/>",
        "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>",
        "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
        "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
        "<message from='a@partner.example' to='b@contoso.com'><body>\u{20AC}</body></message>",
        "<iq from='a@partner.example' to='contoso.com' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "</stream:stream>",
        " \n",
        "<",
        "\u{0}",
    ]
    .map(str::to_owned)
    .to_vec();
    words.push(header("partner.example", "contoso.com"));
    words.push(answering("partner.example", "contoso.com", "id"));
    words
}

/// Plays words to a backend in reads of these lengths; everything it did comes back as text.
fn play(words: &[String], cuts: &[usize], outbound: bool) -> String {
    let partners = vec![partner("partner.example", Opt, Opt, true)];
    let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
    let link = if outbound { raw.dial("contoso.com", "partner.example") } else { raw.accept() };
    let mut told = raw.said(link);
    for word in words {
        let mut rest = word.as_bytes();
        let mut cut = cuts.iter().cycle();
        while !rest.is_empty() {
            let (read, after) = rest.split_at((*cut.next().unwrap()).clamp(1, rest.len()));
            rest = after;
            let read = bytes::Bytes::copy_from_slice(read);
            let fault = raw.backend.receive(raw.now, link, read, &mut raw.out).err();
            raw.collect();
            told += &raw.said(link);
            if let Some(fault) = fault {
                told += &format!("[{}]", fault.condition);
            }
        }
        if let Some((link, _)) = raw.tls.pop() {
            raw.secure(link, Some(certificate(&["partner.example"])));
            told += &raw.said(link);
        }
    }
    let arrived = raw.arrivals().len();
    format!("{told} {arrived} {:?} {:?} {:?} {}", raw.closed, raw.ready, raw.unready, raw.backend.streams())
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        picks in proptest::collection::vec(0_usize..23, 0..12),
        cuts in proptest::collection::vec(1_usize..40, 1..5),
        outbound in any::<bool>(),
    ) {
        let words = vocabulary();
        // Begin well more often than not, or little beyond the first word would be seen.
        let opening = words[if outbound { 22 } else { 21 }].clone();
        let said: Vec<String> = std::iter::once(opening).chain(picks.iter().map(|&at| words[at].clone())).collect();
        let whole = play(&said, &[usize::MAX], outbound);
        prop_assert_eq!(&whole, &play(&said, &cuts, outbound));
        prop_assert_eq!(&whole, &play(&said, &[1], outbound));
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), outbound in any::<bool>()) {
        let partners = vec![partner("partner.example", Opt, Opt, true)];
        let mut raw = Raw::new(Side::Partners, world(&["contoso.com"], partners, No));
        let link = if outbound { raw.dial("contoso.com", "partner.example") } else { raw.accept() };
        let first = if outbound { answering("partner.example", "contoso.com", "i") } else { header("partner.example", "contoso.com") };
        raw.tell(link, &first);
        let fault = raw.backend.receive(raw.now, link, bytes.into(), &mut raw.out).err();
        raw.collect();
        prop_assert_eq!(fault.is_some(), raw.backend.streams() == 0);
    }
}
