//! Stanzas like those before them: whatever is changed in one of them, the fast way says of it what the scanner says.

use super::super::{FrameLimits, Framer, Instructions, Shapes};
use super::runs::check;
use super::{HEADER, traffic};
use bytes::Bytes;
use proptest::prelude::*;

const KINDS: [&str; 4] = [
    "<message type='chat' id='m1' from='juliet@a.b/c' to='user1@c.d'><body>O it's &lt;3 you</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "<presence from=\"a@b/c\" to=\"d@e\" xml:lang=\"de\"><show>away</show> <x xmlns='v:x'><photo></photo></x></presence>",
    "<iq to='d@e/f' type='get' id='4' from='a@b/c'><query xmlns='jabber:iq:roster' node='gr\u{fc}n'><item jid='x@y' name='z'/></query></iq >",
    "<message from='a@b' to='c@d' xmlns='jabber:server' />",
];

/// How many stanzas of these octets fitted a shape.
fn familiar(input: &[u8], instructions: Instructions) -> u64 {
    let mut framer = Framer::with(FrameLimits::default(), instructions);
    framer.feed(Bytes::copy_from_slice(input));
    let (mut heads, mut shapes) = (Vec::new(), Shapes::default());
    while framer.next_run(&mut shapes, &mut heads).is_some()
        || framer.next().is_ok_and(|frame| frame.is_some())
    {}
    shapes.all_hits
}

#[test]
fn what_is_alike_is_found_so() {
    for &instructions in Instructions::all() {
        for stanza in KINDS {
            let input = format!("{HEADER}{}", stanza.repeat(40));
            // The first one is learned of, and a literal that ends close to the end of the read is left to the walk.
            assert!(familiar(input.as_bytes(), instructions) >= 36, "{instructions:?}: {stanza}");
            assert_eq!(check(FrameLimits::default(), input.as_bytes(), std::iter::empty()), 40);
        }
        // Several kinds in turn. Each is learned of at another miss.
        let input = format!("{HEADER}{}", KINDS.concat().repeat(100));
        assert!(familiar(input.as_bytes(), instructions) > 350, "{instructions:?}");
    }
}

#[test]
fn values_and_texts_of_any_length_are_alike() {
    for (value, text) in
        [("", ""), ("v", "t"), (&"v".repeat(700), &"it's \"so\" &amp; gr\u{fc}n ".repeat(60))]
    {
        let first = "<message from='a@b/c' id='i' to='d@e'><body>x</body></message>";
        let other = format!("<message from='f@g' id='{value}' to='h@i/j'><body>{text}</body></message>");
        let input = format!("{HEADER}{first}{other}{}", first.repeat(30));
        assert_eq!(check(FrameLimits::default(), input.as_bytes(), std::iter::empty()), 32);
        assert!(familiar(input.as_bytes(), Instructions::best()) >= 28);
    }
}

#[test]
fn an_octet_that_differs_is_seen_wherever_it_is() {
    const OCTETS: &[u8] = b"<>&'\"/= \t\x01:@x\xc3\xbe";
    for stanza in KINDS {
        let copies = 2400 / stanza.len();
        let whole = format!("{HEADER}{}", stanza.repeat(copies)).into_bytes();
        let third = HEADER.len() + 2 * stanza.len();
        for at in third..third + stanza.len() {
            for &octet in OCTETS {
                let mut input = whole.clone();
                input[at] = octet;
                check(FrameLimits::default(), &input, std::iter::empty());
            }
        }
    }
}

#[test]
fn limits_hold_for_what_is_alike() {
    let limits = FrameLimits { stanza_bytes_max: 10_000, tag_bytes_max: 400, ..FrameLimits::default() };
    let stanza = |value: usize, text: usize| {
        format!("<message from='a@b' to='c@d' id='{}'>{}</message>", "v".repeat(value), "t".repeat(text))
    };
    let room = stanza(0, 0).len();
    let tag = stanza(0, 0).find('>').unwrap() + 1;
    for (good, bad) in [
        (stanza(400 - tag, 0), stanza(401 - tag, 0)),
        (stanza(0, 10_000 - room), stanza(0, 10_001 - room)),
        // Neither the tag nor the stanza is too long.
        (stanza(300, 300), stanza(401 - tag, 300)),
    ] {
        for (one, refused) in [(good, false), (bad, true)] {
            let input = format!("{HEADER}{}{one}{}", stanza(1, 1).repeat(9), stanza(1, 1).repeat(30));
            let taken = check(limits, input.as_bytes(), std::iter::empty());
            assert_eq!(taken, if refused { 9 } else { 40 });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_of_what_repeats(
        stanzas in prop::collection::vec(traffic::stanza(), 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 8..40),
        damages in prop::collection::vec(traffic::damage(), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let kinds: String = order.iter().map(|index| index.get(&stanzas).as_str()).collect();
        let inside = traffic::damaged(kinds.into_bytes(), damages);
        let input = [HEADER.as_bytes(), &inside].concat();
        check(FrameLimits::default(), &input, cuts.iter().map(|cut| cut.index(input.len())));
    }
}
