use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::io::{Close, Output};
use crate::link::{Link, Written};

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn start() -> Instant {
    Instant::now()
}

/// A run of stanzas between one pair of domains, with something that is not theirs behind each of the numbers in `holes`, the second
/// of which has a language of its own.
fn run(count: usize, holes: &[usize], lang: Option<&'static str>) -> Run {
    let (mut text, mut heads) = (String::new(), Vec::new());
    for n in 0..count {
        let at = |text: &str| text.len() as u32;
        let start = at(&text);
        text.push_str("<message");
        let insert_at = at(&text);
        let own = if n == 1 { " xml:lang='de'" } else { "" };
        text.push_str(own);
        text.push_str(" from='");
        let from = address(&mut text, "a", "p.example", Some("r"));
        text.push_str("' to='");
        let to = address(&mut text, &format!("user{n}"), "contoso.com", None);
        text.push_str("' id='");
        let id_start = at(&text);
        text.push_str(&n.to_string());
        let id_end = at(&text);
        text.push_str(&format!("'><body>{}</body></message>", "x".repeat(n % 7)));
        let end = at(&text);
        let (kind, payload, has_lang) = (Kind::message(None), Payload::None, n == 1);
        heads.push(Head { start, end, insert_at, id_start, id_end, from, to, kind, payload, has_lang });
        if holes.contains(&n) {
            text.push_str("<iq/>");
        }
    }
    Run {
        bytes: Bytes::from(text),
        heads,
        gone: 0,
        from: Domain::parse("p.example").unwrap(),
        to: Domain::parse("contoso.com").unwrap(),
        side: Side::Partners,
        link: LinkId::accepted(0, 1),
        arrived: start(),
        order: 0,
        lang: lang.map(|lang| Bytes::from_static(lang.as_bytes())),
    }
}

fn address(text: &mut String, local: &str, domain: &str, resource: Option<&str>) -> Address {
    let start = text.len() as u32;
    text.push_str(local);
    let at = text.len() as u32;
    text.push('@');
    text.push_str(domain);
    let slash = text.len() as u32;
    if let Some(resource) = resource {
        text.push('/');
        text.push_str(resource);
    }
    Address { start, at, slash, end: text.len() as u32 }
}

/// What a stanza looks like on a stream.
fn written(stanza: &Stanza) -> Vec<u8> {
    stanza.slices().concat()
}

#[test]
fn a_stanza_of_a_run_is_what_it_would_be_alone() {
    let run = run(3, &[], Some(" xml:lang='en'"));
    let all: Vec<Stanza> = run.stanzas().collect();
    assert_eq!(all.len(), 3);
    for (n, stanza) in all.iter().enumerate() {
        assert_eq!(stanza.from, Jid::parse("a@p.example/r").unwrap());
        assert_eq!(stanza.to, Jid::parse(&format!("user{n}@contoso.com")).unwrap());
        assert_eq!((stanza.from.resource(), stanza.to.local()), (Some("r"), Some(&*format!("user{n}"))));
        assert_eq!(stanza.raw(&stanza.id_span), n.to_string().as_bytes());
        assert_eq!(stanza.raw(&stanza.from_span), b"a@p.example/r");
        assert_eq!(stanza.raw(&stanza.to_span), format!("user{n}@contoso.com").as_bytes());
        let text = String::from_utf8(written(stanza)).unwrap();
        let lang = if n == 1 { "de" } else { "en" };
        assert!(text.starts_with(&format!("<message xml:lang='{lang}' from=")), "{text}");
        assert_eq!(text.len(), run.written_len(&run.heads[n]));
    }
}

#[test]
fn neighbours_are_one_slice() {
    let pieces = |holes: &[usize]| run(4, holes, None).pieces().count();
    assert_eq!(pieces(&[]), 1);
    assert_eq!(pieces(&[1]), 2);
    assert_eq!(pieces(&[0, 1, 2]), 4);
    assert_eq!(run(0, &[], None).pieces().count(), 0);
}

proptest! {
    #[test]
    fn waiting_changes_nothing(count in 0usize..20, holes in proptest::collection::vec(0usize..20, 0..6), gone in 0usize..20) {
        let mut run = run(count, &holes, Some(" xml:lang='en'"));
        run.gone = gone.min(count);
        let keep = run.bytes.clone();
        let before: Vec<Vec<u8>> = run.stanzas().map(|stanza| written(&stanza)).collect();
        let (len, bytes) = (run.len(), run.bytes_left());
        run.settle_down();
        prop_assert!(count == 0 || run.bytes.as_ptr() != keep.as_ptr());
        prop_assert_eq!((run.len(), run.bytes_left()), (len, bytes));
        let after: Vec<Vec<u8>> = run.stanzas().map(|stanza| written(&stanza)).collect();
        prop_assert_eq!(after, before);
        let pieces: Vec<u8> = run.pieces().flat_map(|piece| run.text(piece).to_vec()).collect();
        let whole: Vec<u8> = run.stanzas().flat_map(|stanza| stanza.bytes.to_vec()).collect();
        prop_assert_eq!(pieces, whole);
    }

    /// However the kernel takes the bytes of a run: a stanza is delivered when its last byte is written, not before and only once, and
    /// what is given back when the link dies is the rest.
    #[test]
    fn a_link_delivers_what_is_written(
        count in 1usize..20,
        steps in proptest::collection::vec(0u64..400, 0..20),
        ahead in 0usize..50,
    ) {
        let run = run(count, &[2, 5], Some(" xml:lang='en'"));
        let ends: Vec<u64> = run.heads.iter().scan(ahead as u64, |end, head| {
            *end += run.written_len(head) as u64;
            Some(*end)
        }).collect();
        let all: Vec<Stanza> = run.stanzas().collect();
        let mut link = Link::new(Side::Partners, None);
        link.queue(ahead);
        link.queue(run.bytes_left());
        link.push_run(run);
        prop_assert_eq!(link.unwritten_len(), count);
        let (mut total, mut delivered) = (0, 0);
        for step in steps {
            total += step;
            link.set_written(total);
            while let Some(written) = link.pop_written() {
                delivered += match written {
                    Written::One(_) => 1,
                    Written::All(run) => run.len(),
                    Written::Some { count, .. } => count,
                };
            }
            prop_assert_eq!(delivered, ends.iter().filter(|end| **end <= total).count());
            prop_assert_eq!(link.unwritten_len(), count - delivered);
        }
        let back: Vec<Vec<u8>> = link.take_unwritten().map(|stanza| written(&stanza)).collect();
        let rest: Vec<Vec<u8>> = all[delivered..].iter().map(written).collect();
        prop_assert_eq!(back, rest);
    }

    /// However a peer acknowledges, and whatever the kernel has taken: delivered is what was acknowledged, and the rest is given back.
    #[test]
    fn a_link_that_acknowledges_delivers_what_is_acknowledged(
        counts in proptest::collection::vec(1usize..8, 1..6),
        steps in proptest::collection::vec((0u32..6, 0u64..400), 0..20),
    ) {
        let mut link = Link::new(Side::Partners, None);
        link.queue(30);
        link.set_acknowledging();
        let (mut all, mut ends, mut end) = (Vec::new(), Vec::new(), 30);
        for count in &counts {
            let run = run(*count, &[1], None);
            all.extend(run.stanzas());
            ends.extend(run.heads.iter().map(|head| {
                end += run.written_len(head) as u64;
                end
            }));
            link.queue(run.bytes_left());
            link.push_run(run);
        }
        let (mut total, mut acknowledged, mut delivered) = (0, 0, 0);
        for (count, step) in steps {
            total += step;
            link.set_written(total);
            acknowledged = (acknowledged + count as usize).min(all.len());
            link.acknowledge(count);
            while let Some(written) = link.pop_written() {
                delivered += match written {
                    Written::One(_) => 1,
                    Written::All(run) => run.len(),
                    Written::Some { count, .. } => count,
                };
            }
            prop_assert_eq!(delivered, acknowledged);
            prop_assert_eq!(link.unwritten_len(), all.len() - delivered);
            prop_assert_eq!(link.doubtful(), ends[delivered..].iter().filter(|end| **end <= total).count());
        }
        let back: Vec<Vec<u8>> = link.take_unwritten().map(|stanza| written(&stanza)).collect();
        let rest: Vec<Vec<u8>> = all[delivered..].iter().map(written).collect();
        prop_assert_eq!(back, rest);
    }
}

#[test]
fn what_may_be_unacknowledged_is_bounded() {
    use crate::limits::{LINK_CREDIT_STANZAS, LINK_UNACKNOWLEDGED_BYTES};
    let flow = crate::flow::FlowLimits::default();
    let mut link = Link::new(Side::Partners, None);
    link.set_acknowledging();
    let stanza = run(1, &[], None).stanzas().next().unwrap();
    let octets = (LINK_UNACKNOWLEDGED_BYTES / 4) as usize;
    for n in 0..4 {
        assert!(link.has_credit(&flow), "{n}");
        link.queue(octets);
        link.push(stanza.clone());
        link.set_written(u64::MAX);
    }
    assert!(!link.has_credit(&flow), "written or not");
    link.acknowledge(1);
    assert!(matches!(link.pop_written(), Some(Written::One(_))) && link.pop_written().is_none());
    assert!(link.has_credit(&flow));
    for _ in 0..LINK_CREDIT_STANZAS {
        link.push(stanza.clone());
    }
    assert!(!link.has_credit(&flow));
}

#[test]
fn a_spool_keeps_runs_and_stanzas_in_order() {
    use crate::spool::{EXPIRY_STEP, Spool};
    let whole = run(5, &[], None);
    let alone: Vec<Stanza> = run(7, &[], None).stanzas().skip(5).collect();
    let (mut spool, room) = (Spool::default(), crate::flow::Room::default());
    let bytes = whole.bytes_left() + alone.iter().map(Stanza::len).sum::<usize>();
    let arrived = whole.arrived;
    spool.push(alone[0].clone(), &room).unwrap();
    spool.push_run(whole, &room).unwrap();
    spool.push(alone[1].clone(), &room).unwrap();
    assert_eq!((spool.len(), spool.bytes()), (7, bytes));
    assert!(
        spool.any_between(|to, _| to == "user3@contoso.com")
            && !spool.any_between(|to, _| to == "user9@contoso.com")
    );
    assert_eq!(spool.pop().map(|load| load.len()), Some(1));
    let Some(Load::Run(taken)) = spool.pop() else { panic!("the run is next") };
    assert_eq!(spool.len(), 1);
    spool.put_back_run(taken);
    assert_eq!(spool.len(), 6);
    let later = arrived + Duration::from_secs(3600) + EXPIRY_STEP;
    let expired: Vec<String> =
        spool.expired(later).iter().map(|stanza| stanza.to.as_str().to_owned()).collect();
    assert_eq!(expired.len(), 6);
    assert_eq!(
        (&*expired[0], &*expired[4], &*expired[5]),
        ("user0@contoso.com", "user4@contoso.com", "user6@contoso.com")
    );
    assert!(spool.is_empty() && spool.bytes() == 0 && spool.next_expiry().is_none());
}

#[test]
fn the_outbox_gives_room_again() {
    let mut out = crate::io::Outbox::new(0);
    let mut heads = out.heads();
    heads.extend(run(3, &[], None).heads);
    let place = heads.as_ptr();
    out.give_back(heads);
    let again = out.heads();
    assert!(again.is_empty() && again.as_ptr() == place);
    out.close(LinkId::NONE, Close::Abort);
    assert!(matches!(out.outputs.as_slice(), [Output::Close(..)]));
}
