//! The fast way beside the scanner: on the same octets, however they are cut and with whatever instructions, both give the same
//! stanzas with the same places and the same error, and what the fast way makes of a stanza is what `arrival` would.

use super::super::{Element, Frame, FrameLimits, Framer, Instructions, Namespace, Shapes, Span};
use super::{HEADER, traffic};
use crate::error::FrameError;
use bytes::Bytes;
use proptest::prelude::*;
use turnout_core::jid;
use turnout_core::run::{Address, Head};
use turnout_core::stanza::{IqType, Kind, Payload};

/// What came out of a stream: elements, with a head where the fast way took them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) elements: Vec<(Bytes, Option<Head>)>,
    pub(super) others: Vec<Frame>,
    pub(super) error: Option<FrameError>,
}

/// Reads as the backend does.
fn drain(framer: &mut Framer, outcome: &mut Outcome) {
    // What other tests of this thread have brought is known, and makes no difference.
    SHAPES.with_borrow_mut(|shapes| drain_with(framer, shapes, outcome));
}

thread_local! {
    static SHAPES: std::cell::RefCell<Shapes> = std::cell::RefCell::default();
}

fn drain_with(framer: &mut Framer, shapes: &mut Shapes, outcome: &mut Outcome) {
    let mut heads = Vec::new();
    while outcome.error.is_none() {
        heads.clear();
        if let Some(run) = framer.next_run(shapes, &mut heads) {
            let mut behind = 0;
            for head in &heads {
                assert_eq!(head.start, behind, "something between the stanzas of a run");
                behind = head.end;
                outcome.elements.push((run.slice(head.whole()), Some(*head)));
            }
            assert_eq!(behind as usize, run.len(), "something behind the stanzas of a run");
            assert!(!heads.is_empty() && heads.len() <= 512);
            continue;
        }
        assert!(heads.is_empty(), "heads of nothing");
        match framer.next() {
            Ok(None) => return,
            Ok(Some(Frame::Element(element))) => outcome.elements.push((element.into_bytes(), None)),
            Ok(Some(Frame::KeepAlive)) if outcome.others.last() == Some(&Frame::KeepAlive) => {}
            Ok(Some(frame)) => outcome.others.push(frame),
            Err(error) => outcome.error = Some(error),
        }
    }
}

pub(super) fn feed<'a>(
    limits: FrameLimits,
    instructions: Instructions,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut framer = Framer::with(limits, instructions);
    let mut outcome = Outcome::default();
    for chunk in chunks {
        framer.feed(Bytes::copy_from_slice(chunk));
        drain(&mut framer, &mut outcome);
    }
    // Asked once more, it has looked at what was cut off.
    drain(&mut framer, &mut outcome);
    outcome
}

/// The places in a head, counted from the start of its stanza.
fn moved(head: &Head) -> Head {
    let by = |at: u32| at - head.start;
    let address =
        |a: Address| Address { start: by(a.start), at: by(a.at), slash: by(a.slash), end: by(a.end) };
    Head {
        start: 0,
        end: by(head.end),
        insert_at: by(head.insert_at),
        id_start: by(head.id_start),
        id_end: by(head.id_end),
        from: address(head.from),
        to: address(head.to),
        ..*head
    }
}

/// What `arrival` makes of an element, if it is a stanza between two addresses.
fn head_of(element: &Element) -> Option<Head> {
    let attributes = element.attributes();
    let name = element.name();
    assert_eq!(
        (name.namespace, element.declare(), element.has_prefixed_content()),
        (Namespace::Server, None, false)
    );
    let value = element.stanza_type();
    let kind = match name.local {
        "message" => Kind::message(value.as_deref()),
        "presence" => Kind::presence(value.as_deref())?,
        _ => Kind::iq(value.as_deref())?,
    };
    let (has_id, children) = (attributes.id.is_some(), element.children());
    let well_shaped = match kind {
        Kind::Iq(IqType::Get | IqType::Set) => has_id && children == 1,
        Kind::Iq(IqType::Result) => has_id && children <= 1,
        Kind::Iq(IqType::Error) => has_id,
        Kind::Message(_) | Kind::Presence(_) => true,
    };
    let payload = match (kind, element.child().map(|child| (child.namespace, child.local))) {
        (Kind::Message(_) | Kind::Presence(_), _) | (_, None) => Payload::None,
        (_, Some((Namespace::DiscoInfo, "query"))) => Payload::DiscoInfo,
        (_, Some((Namespace::DiscoItems, "query"))) => Payload::DiscoItems,
        (_, Some((Namespace::Ping, "ping"))) => Payload::Ping,
        _ => Payload::Other,
    };
    let id = attributes.id.unwrap_or_default();
    let head = Head {
        start: 0,
        end: element.bytes().len() as u32,
        insert_at: element.insert_at(),
        id_start: id.start,
        id_end: id.end,
        from: address_of(element, attributes.from?)?,
        to: address_of(element, attributes.to?)?,
        kind,
        payload,
        has_lang: attributes.lang.is_some(),
    };
    well_shaped.then_some(head)
}

/// Splits by XJ-01 and prepares what is left with a domain that is prepared.
fn address_of(element: &Element, span: Span) -> Option<Address> {
    let raw = std::str::from_utf8(span.of(element.bytes())).ok()?;
    let slash = raw.find('/').unwrap_or(raw.len());
    let at = raw[..slash].find('@')?;
    let known = format!("{}@contoso.com{}", &raw[..at], &raw[slash..]);
    let mut scratch = String::new();
    let prepared = jid::prepare(&known, &mut scratch).ok()?;
    let plain = raw.is_ascii() && prepared.as_str() == known && element.value(Some(span))? == raw;
    let places = [0, at, slash].map(|place| span.start + place as u32);
    plain.then_some(Address { start: places[0], at: places[1], slash: places[2], end: span.end })
}

/// Both ways agree on the input, whole and in pieces; how many stanzas the fast way took.
pub(super) fn check(limits: FrameLimits, input: &[u8], cuts: impl Iterator<Item = usize>) -> usize {
    let general = super::feed(limits, [input]);
    let shown = input.escape_ascii().to_string();
    let mut taken = 0;
    let agree = |outcome: &Outcome, how: &str| {
        assert_eq!(outcome.error, general.error, "{how}: {shown}");
        let elements = general.elements();
        assert_eq!(outcome.elements.len(), elements.len(), "{how}: {shown}");
        for ((bytes, head), element) in outcome.elements.iter().zip(elements) {
            assert_eq!(bytes, element.bytes(), "{how}: {shown}");
            if let Some(head) = head {
                let mut expected = head_of(element);
                if let Some(expected) = &mut expected
                    && element.attributes().id.is_none()
                {
                    (expected.id_start, expected.id_end) = (0, 0);
                }
                assert_eq!(Some(moved(head)), expected, "{how}: {shown}");
            }
        }
        let others =
            general.frames.iter().filter(|frame| !matches!(frame, Frame::Element(_) | Frame::KeepAlive));
        let found = outcome.others.iter().filter(|frame| !matches!(frame, Frame::KeepAlive));
        assert!(found.eq(others), "{how}: {shown}");
    };
    for &instructions in Instructions::all() {
        let whole = feed(limits, instructions, [input]);
        agree(&whole, &format!("{instructions:?}, whole"));
        taken = whole.elements.iter().filter(|(_, head)| head.is_some()).count();
    }
    for (at, cut) in cuts.enumerate() {
        let (left, right) = input.split_at(cut.min(input.len()));
        let instructions = Instructions::all()[at % Instructions::all().len()];
        agree(&feed(limits, instructions, [left, right]), &format!("{instructions:?}, cut at {cut}"));
    }
    taken
}

/// All of it is taken the fast way, whatever the cuts and instructions.
fn check_plain(stanzas: &[&str]) {
    let inside = stanzas.concat();
    let input = format!("{HEADER}{inside}");
    let taken = check(FrameLimits::default(), input.as_bytes(), 0..input.len());
    assert_eq!(taken, stanzas.len(), "not all plain: {inside}");
    for &instructions in Instructions::all() {
        for size in [1, 3, 64, 100] {
            let outcome = feed(FrameLimits::default(), instructions, input.as_bytes().chunks(size));
            assert_eq!((outcome.elements.len(), outcome.error), (stanzas.len(), None));
        }
        // Cut once, a stanza is still taken the fast way.
        let cut = HEADER.len() + stanzas[0].len() / 2;
        let outcome =
            feed(FrameLimits::default(), instructions, [&input.as_bytes()[..cut], &input.as_bytes()[cut..]]);
        assert!(outcome.elements.iter().all(|(_, head)| head.is_some()), "{inside}");
    }
}

#[test]
fn what_streams_usually_carry_is_plain() {
    check_plain(&[
        "<message type='chat' id='m1' from='juliet@partner.example/balcony' to='user1@contoso.com'><body>O Romeo, Romeo! wherefore art thou \
         Romeo?</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message from=\"a@b.c\" to=\"d@e\" xml:lang=\"de\"><body>it's &lt;b&gt; &amp; &quot;x&quot; &#65;&#x1F600; ]] > gr\u{fc}\u{df} \u{4f60} \u{ffe5}\u{fffd}</body></message>",
        "<message from='a@b' to='d@e/f' type='groupchat' id='x'>\n <subject/> \t<body xml:lang='en'>a</body><html xmlns='http://jabber.org/protocol/xhtml-im'>\
         <body xmlns='http://www.w3.org/1999/xhtml'><p style='a:b'><em>c</em></p></body></html><request xmlns='urn:xmpp:receipts'/>\
         <delay xmlns='urn:xmpp:delay' from='x@y' stamp='2002-09-10T23:08:25Z'>late</delay></message>",
        "<presence from='a@b/c' to='d@e'><show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://x/' ver='q+/='/>\
         <x xmlns='vcard-temp:x:update'><photo></photo></x></presence>",
        "<presence from='a@b/c' to='d@e' type='unavailable' />",
        "<presence\n\tto = 'd@e'\r\n from\t=\n\"a@b\" type='unsubscribed' id='a>&apos;b\"'></presence >",
        "<iq type='get' id='1' from='a@b/c' to='d@e/f'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq from='a@b/c' to='d@e/f' type='get' id='2'><query xmlns='http://jabber.org/protocol/disco#info' node='n'/></iq>",
        "<iq from='a@b/c' to='d@e/f' type='get' id='2'><query xmlns='http://jabber.org/protocol/disco#items'></query></iq>",
        "<iq from='a@b/c' to='d@e/f' type='result' id='3'/>",
        "<iq from='a@b/c' to='d@e/f' type='error' id='3'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
        "<iq from='a@b/c' to='d@e/f' type='set' id='4'><query xmlns='jabber:iq:roster'><item jid='x@y' name='z'/></query></iq>",
        "<message xmlns='jabber:server' from='a@b' to='c@d'><x xmlns=''/></message>",
    ]);
}

#[test]
fn limits_are_reached_and_not_passed() {
    let limits = FrameLimits {
        stanza_bytes_max: 10_000,
        header_bytes_max: 400,
        depth_max: 5,
        attributes_max: 6,
        namespaces_max: 6,
        name_bytes_max: 20,
        tag_bytes_max: 200,
    };
    let inside = |inside: &str| format!("<message from='a@b' to='c@d'>{inside}</message>");
    let room = inside("").len();
    let (name, long) = ("n".repeat(20), "n".repeat(21));
    let pairs = [
        (inside(&"x".repeat(10_000 - room)), inside(&"x".repeat(10_001 - room))),
        (
            inside(&format!("{}{}", "<a>".repeat(4), "</a>".repeat(4))),
            inside(&format!("{}{}", "<a>".repeat(5), "</a>".repeat(5))),
        ),
        (inside("<a><a><a><a/></a></a></a>"), inside("<a><a><a><a><a/></a></a></a></a>")),
        (inside("<a a='' b='' c='' d='' e='' f=''/>"), inside("<a a='' b='' c='' d='' e='' f='' g=''/>")),
        (
            inside("<a xmlns='a'><a xmlns='b'><a xmlns='c'/><a xmlns='c'></a></a></a>"),
            inside("<a xmlns='a'><a xmlns='b'><a xmlns='c'><a xmlns='d'/></a></a></a>"),
        ),
        (inside(&format!("<{name} {name}=''></{name}>")), inside(&format!("<{long}/>"))),
        (inside("<a/>"), inside(&format!("<a {long}=''/>"))),
        (inside(&format!("<a b='{}'/>", "x".repeat(191))), inside(&format!("<a b='{}'/>", "x".repeat(192)))),
        (inside(&format!("<a></a{}>", " ".repeat(196))), inside(&format!("<a></a{}>", " ".repeat(197)))),
    ];
    for (at, beyond) in pairs {
        for (stanza, plain) in [(at, true), (beyond, false)] {
            let input = format!("{HEADER}{stanza}<iq/>");
            let cuts = (HEADER.len()..input.len()).step_by(if input.len() > 2_000 { 307 } else { 1 });
            let taken = check(limits, input.as_bytes(), cuts);
            assert_eq!(taken, usize::from(plain), "{:.200}", stanza);
            let refused = super::feed(limits, [input.as_bytes()]).error.is_some();
            assert_eq!(refused, !plain, "{:.200}", stanza);
        }
    }
}

#[test]
fn another_default_namespace_leaves_nothing_plain() {
    let stanza = "<message from='a@b' to='c@d'/>";
    for header in [
        "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'>",
        "<s:stream xmlns:s='http://etherx.jabber.org/streams'>",
        "<stream xmlns='http://etherx.jabber.org/streams'>",
    ] {
        let outcome =
            feed(FrameLimits::default(), Instructions::best(), [format!("{header}{stanza}").as_bytes()]);
        assert_eq!((outcome.elements.len(), outcome.error), (1, None));
        assert!(outcome.elements.iter().all(|(_, head)| head.is_none()), "{header}");
    }
}

#[test]
fn a_run_is_bounded_and_not_copied() {
    let stanza = "<presence from='a@b' to='c@d'/>";
    let chunk = Bytes::from(format!("{HEADER}{}", stanza.repeat(600)));
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(chunk.clone());
    let (mut heads, mut shapes) = (Vec::new(), Shapes::default());
    assert_eq!(framer.next_run(&mut shapes, &mut heads), None);
    assert!(matches!(framer.next(), Ok(Some(Frame::Open(_)))));
    let first = framer.next_run(&mut shapes, &mut heads).unwrap();
    assert_eq!((heads.len(), first.len()), (512, 512 * stanza.len()));
    assert!(chunk.as_ptr_range().contains(&first.as_ptr()));
    let second = framer.next_run(&mut shapes, &mut heads).unwrap();
    assert_eq!((heads.len(), second.len()), (600, 88 * stanza.len()));
    assert_eq!(
        (framer.next_run(&mut shapes, &mut heads), framer.next(), framer.buffered_bytes()),
        (None, Ok(None), 0)
    );
}

#[test]
fn a_stanza_cut_off_is_told_when_it_is_whole() {
    let (left, right) = ("<message from='a@b' to='c@d'><bo", "dy/></message><iq");
    let mut framer = Framer::new(FrameLimits::default());
    framer.feed(Bytes::from(format!("{HEADER}{left}")));
    let (mut heads, mut shapes) = (Vec::new(), Shapes::default());
    assert!(
        framer.next_run(&mut shapes, &mut heads).is_none()
            && matches!(framer.next(), Ok(Some(Frame::Open(_))))
    );
    assert_eq!(
        (framer.next_run(&mut shapes, &mut heads), framer.next(), framer.next_run(&mut shapes, &mut heads)),
        (None, Ok(None), None)
    );
    framer.feed(Bytes::from(right));
    assert_eq!(framer.next_run(&mut shapes, &mut heads).unwrap(), format!("{left}dy/></message>"));
    assert_eq!((heads.len(), framer.buffered_bytes()), (1, 3));
    // The fault in what is cut is told at its place, with the octets behind it or when asked once more.
    assert_eq!((framer.next_run(&mut shapes, &mut heads), framer.next()), (None, Ok(None)));
    framer.feed(Bytes::from(" a=b"));
    assert_eq!(framer.next_run(&mut shapes, &mut heads), None);
    assert_eq!(framer.next().unwrap_err().offset, (HEADER.len() + left.len() + 14 + 6) as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_streams(inside in traffic::stanzas(), from in 0usize..23) {
        let input = format!("{HEADER}{inside}");
        check(FrameLimits::default(), input.as_bytes(), (HEADER.len() + from..input.len()).step_by(23));
    }

    #[test]
    fn damaged_streams(inside in traffic::stanzas(), damages in prop::collection::vec(traffic::damage(), 1..3), from in 0usize..29) {
        let inside = traffic::damaged(inside.into_bytes(), damages);
        let input = [HEADER.as_bytes(), &inside].concat();
        check(FrameLimits::default(), &input, (HEADER.len() + from..input.len()).step_by(29));
    }

    #[test]
    fn streams_in_many_pieces(inside in traffic::stanzas(), size in 1usize..300) {
        let input = format!("{HEADER}{inside}");
        let general = super::feed(FrameLimits::default(), [input.as_bytes()]);
        for &instructions in Instructions::all() {
            let outcome = feed(FrameLimits::default(), instructions, input.as_bytes().chunks(size));
            prop_assert_eq!(&outcome.error, &general.error);
            prop_assert!(outcome.elements.iter().map(|(bytes, _)| bytes).eq(general.elements().iter().map(|element| element.bytes())));
        }
    }
}

#[test]
fn the_generator_makes_both_kinds() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (stanzas, mut plain, mut refused) = (traffic::stanza(), 0, 0);
    for _ in 0..1_000 {
        let input = format!("{HEADER}{}", stanzas.new_tree(&mut runner).unwrap().current());
        let outcome = feed(FrameLimits::default(), Instructions::best(), [input.as_bytes()]);
        refused += usize::from(outcome.error.is_some());
        plain += outcome.elements.iter().filter(|(_, head)| head.is_some()).count();
    }
    assert!(
        (250..900).contains(&plain) && (50..500).contains(&refused),
        "{plain} plain, {refused} refused of 1000"
    );
}
