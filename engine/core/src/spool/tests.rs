use bytes::Bytes;

use super::*;
use crate::io::{LinkId, Side};
use crate::jid::Jid;
use crate::stanza::{Kind, Origin, Payload};

fn stanza(start: Instant, number: u64, attempts: u8) -> Stanza {
    Stanza {
        kind: Kind::message(None),
        from: Jid::parse("a@p.example").unwrap(),
        to: Jid::parse("b@contoso.com").unwrap(),
        bytes: Bytes::from(format!("{number}")),
        insert_at: 0,
        insert: None,
        from_span: 0..0,
        to_span: 0..0,
        id_span: 0..0,
        payload: Payload::None,
        origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
        arrived: start + Duration::from_secs(number),
        made: false,
        attempts,
        disk: Default::default(),
    }
}

fn drained(spool: &mut Spool) -> String {
    std::iter::from_fn(|| spool.pop())
        .flat_map(Load::into_stanzas)
        .map(|stanza| String::from_utf8(stanza.bytes.to_vec()).unwrap())
        .collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn what_comes_back_goes_first_and_in_order() {
    let start = Instant::now();
    let mut spool = Spool::default();
    for number in 5..8 {
        spool.push(stanza(start, number, 0)).unwrap();
    }
    for number in [2, 3, 1, 4] {
        spool.restore(stanza(start, number, 1));
    }
    assert!(spool.holds_pair_of(&stanza(start, 9, 0)));
    let first = spool.pop().unwrap();
    spool.put_back(first.into_stanzas().into_iter());
    assert_eq!(spool.len(), 7);
    assert_eq!(drained(&mut spool), "1234567");
    assert_eq!((spool.len(), spool.bytes(), spool.next_expiry()), (0, 0, None));
    assert!(!spool.holds_pair_of(&stanza(start, 9, 0)));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn what_expires_leaves_the_rest_as_it_was() {
    let start = Instant::now();
    let mut spool = Spool::default();
    spool.push(stanza(start, 3, 0)).unwrap();
    spool.push(stanza(start, 9, 0)).unwrap();
    spool.restore(stanza(start, 2, 1));
    spool.restore(stanza(start, 8, 1));
    let expired = spool.expired(start + Duration::from_secs(SPOOL_AGE_SECONDS + 3));
    assert_eq!(expired.len(), 2);
    assert_eq!(drained(&mut spool), "89");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn a_long_queue_is_not_looked_through_for_each_of_its_stanzas() {
    let start = Instant::now();
    let mut spool = Spool::default();
    for number in 0..1000 {
        let mut stanza = stanza(start, 0, 0);
        stanza.arrived = start + Duration::from_millis(number);
        spool.push(stanza).unwrap();
    }
    let (mut looks, mut gone) = (0, 0);
    while let Some(at) = spool.next_expiry() {
        looks += 1;
        gone += spool.expired(at).len();
    }
    assert_eq!(gone, 1000);
    assert!(looks <= 6, "{looks} looks for a second's worth of stanzas");
}
