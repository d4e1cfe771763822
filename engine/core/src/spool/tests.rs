use bytes::Bytes;

use super::*;
use crate::io::{LinkId, Side};
use crate::jid::Jid;
use crate::limits::{SPOOL_BYTES_MAX, SPOOL_STANZAS_MAX};
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
        spool.push(stanza(start, number, 0), &Room::default()).unwrap();
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
    spool.push(stanza(start, 3, 0), &Room::default()).unwrap();
    spool.push(stanza(start, 9, 0), &Room::default()).unwrap();
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
        spool.push(stanza, &Room::default()).unwrap();
    }
    let (mut looks, mut gone) = (0, 0);
    while let Some(at) = spool.next_expiry() {
        looks += 1;
        gone += spool.expired(at).len();
    }
    assert_eq!(gone, 1000);
    assert!(looks <= 6, "{looks} looks for a second's worth of stanzas");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn what_came_in_one_read_comes_back_in_order() {
    let start = Instant::now();
    let mut spool = Spool::default();
    // All of one read: 4 and 5 were given back before and wait here, then the backend gives back 1, 2 and 3, which it still had.
    let alike = |number| Stanza { arrived: start, ..stanza(start, number, 1) };
    for number in [4, 5] {
        spool.restore(alike(number));
    }
    assert!(spool.pop().is_some_and(|load| load.len() == 1));
    spool.put_back([alike(4)].into_iter());
    for number in [1, 2, 3] {
        spool.restore(alike(number));
    }
    spool.restore(stanza(start, 9, 1));
    spool.restore_behind(alike(6));
    assert_eq!(drained(&mut spool), "1234569");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn shares_are_what_each_link_brought() {
    let start = Instant::now();
    let mut spool = Spool::default();
    let (one, other) = (LinkId::accepted(0, 1), LinkId::accepted(1, 1));
    let of = |link, number, made| {
        let mut stanza = stanza(start, number, 0);
        stanza.origin.link = link;
        Stanza { made, ..stanza }
    };
    for (link, number, made) in [(one, 10, false), (other, 11, false), (one, 12, false), (one, 13, true)] {
        spool.push(of(link, number, made), &Room::default()).unwrap();
    }
    assert_eq!((spool.share(one), spool.share(other), spool.largest_share()), (4, 2, 4));
    drop(spool.pop());
    assert_eq!((spool.share(one), spool.share(other)), (2, 2));
    spool.put_back([of(one, 10, false)].into_iter());
    assert_eq!(spool.share(one), 4);
    let gone = spool.expired(start + Duration::from_secs(SPOOL_AGE_SECONDS + 11));
    assert_eq!((gone.len(), spool.share(one), spool.share(other)), (2, 2, 0));
    drop(spool.take());
    assert_eq!((spool.largest_share(), spool.shares.0.len()), (0, 0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn one_too_many_is_given_back_and_changes_nothing() {
    let start = Instant::now();
    let mut spool = Spool::default();
    for _ in 0..SPOOL_STANZAS_MAX {
        spool.push(stanza(start, 1, 0), &Room::default()).unwrap();
    }
    assert!(spool.push(stanza(start, 2, 0), &Room::default()).is_err());
    assert_eq!((spool.len(), spool.bytes()), (SPOOL_STANZAS_MAX, SPOOL_STANZAS_MAX));
    let mut spool = Spool::default();
    let large = Bytes::from(vec![b'x'; 256 * 1024]);
    for _ in 0..SPOOL_BYTES_MAX / large.len() {
        spool.push(Stanza { bytes: large.clone(), ..stanza(start, 1, 0) }, &Room::default()).unwrap();
    }
    assert!(spool.push(stanza(start, 2, 0), &Room::default()).is_err());
    assert_eq!(spool.bytes(), SPOOL_BYTES_MAX);
    drop(spool.pop());
    assert!(spool.push(stanza(start, 2, 0), &Room::default()).is_ok());
}
