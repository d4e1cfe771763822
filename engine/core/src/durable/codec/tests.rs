use super::*;

fn entry(kind: Kind, payload: Payload) -> Entry {
    Entry {
        key: EntryKey::new(3, 2, 71),
        order: 12,
        replaces: Some(EntryKey::new(2, 1, 70)),
        unix_millis: 1_767_323_045_123,
        home: Some("sfb2019".into()),
        made: false,
        kind,
        payload,
        from: Jid::parse("anna@contoso.com/desk").unwrap(),
        to: Jid::parse("bob@partner.example").unwrap(),
        bytes: Bytes::from_static(b"<message from='anna@contoso.com/desk' to='bob@partner.example' id='7'/>"),
        insert_at: 8,
        insert: Some(Bytes::from_static(b" xml:lang='de'")),
        spans: [15..35, 41..60, 66..67],
    }
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut octets = Vec::new();
    entry.encode(&mut octets);
    octets
}

#[test]
fn what_is_written_is_read() {
    for kind in KINDS {
        for payload in PAYLOADS {
            let mut whole = entry(kind, payload);
            assert_eq!(Entry::decode(&encoded(&whole)), Some(whole.clone()));
            (whole.home, whole.insert, whole.made, whole.replaces) = (None, None, true, None);
            assert_eq!(Entry::decode(&encoded(&whole)), Some(whole));
        }
    }
}

#[test]
fn every_kind_has_its_number() {
    let message = [None, Some("chat"), Some("headline"), Some("groupchat"), Some("error")].map(Kind::message);
    let presence = [
        None,
        Some("unavailable"),
        Some("subscribe"),
        Some("subscribed"),
        Some("unsubscribe"),
        Some("unsubscribed"),
        Some("probe"),
        Some("error"),
    ]
    .map(|value| Kind::presence(value).unwrap());
    for kind in message.into_iter().chain(presence) {
        assert!(KINDS.contains(&kind), "{kind:?}");
    }
}

#[test]
fn anything_else_is_refused_and_nothing_panics() {
    let octets = encoded(&entry(KINDS[1], Payload::None));
    for end in 0..octets.len() {
        assert_eq!(Entry::decode(&octets[..end]), None, "cut at {end}");
    }
    let mut longer = octets.clone();
    longer.push(0);
    assert_eq!(Entry::decode(&longer), None);
    for at in 24..octets.len() {
        for bit in 0..8 {
            let mut other = octets.clone();
            other[at] ^= 1 << bit;
            // It may be another entry; it must not be one that points outside of its bytes.
            if let Some(entry) = Entry::decode(&other) {
                assert!(entry.spans.iter().all(|span| span.end as usize <= entry.bytes.len()));
            }
        }
    }
    let mut entry = entry(KINDS[1], Payload::None);
    entry.spans[2] = 66..900;
    assert_eq!(Entry::decode(&encoded(&entry)), None);
}

#[test]
fn keys_grow_by_start_and_by_number() {
    let key = EntryKey::new(9, 250, 77);
    assert_eq!((key.epoch(), key.shard()), (9, 250));
    assert_eq!(EntryKey::from_raw(key.get()), key);
    assert!(EntryKey::new(9, 250, 78) > key && EntryKey::new(10, 0, 1) > key);
    assert_eq!(EntryKey::new(EntryKey::EPOCH_MAX, 1, 1).epoch(), EntryKey::EPOCH_MAX);
}
