//! The packed snapshot against a map: collisions, several domains, long and foreign local parts, batches.

use super::*;
use crate::directory::arena::Arena;
use crate::directory::table::Table;

const DOMAINS: [&str; 4] = ["contoso.com", "fabrikam.example", "bücher.example", "x"];

/// Hashes as they are, hashes with few values, hashes that choose one segment, and no hash at all.
const HASH_BITS: [u32; 5] = [u32::MAX, 0xF000_0001, 0x0000_0003, 0x03FF_FFFF, 0];

fn local() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-d]{1,2}",
        4 => "[a-z0-9._]{1,40}",
        2 => "[a-zäöüßéñ日本語]{1,12}",
        1 => "[a-z]{50,70}",
        1 => "[a-z]{900,1023}",
    ]
}

fn user() -> impl Strategy<Value = User> {
    let residence = prop_oneof![
        (0..3_u16).prop_map(|home| Residence::Home(HomeId(home))),
        Just(Residence::Cloud),
        Just(Residence::Unassigned),
        Just(Residence::Branch),
        (0..3_u16).prop_map(|pool| Residence::UnknownPool(PoolId(pool))),
    ];
    (residence, any::<[bool; 4]>()).prop_map(
        |(residence, [federation_enabled, xmpp_enabled, enabled, moving])| User {
            residence,
            federation_enabled,
            xmpp_enabled,
            enabled,
            moving,
        },
    )
}

fn addressed() -> impl Strategy<Value = (String, usize, User)> {
    (local(), 0..DOMAINS.len(), user())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the hash is worth, a snapshot is the map of what was added first, in the order it was added, and many
    /// look-ups together are as many look-ups.
    #[test]
    fn a_snapshot_is_a_map(
        users in prop::collection::vec(addressed(), 0..200),
        asked in prop::collection::vec((local(), 0..DOMAINS.len()), 0..80),
        changed in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
        bits in prop::sample::select(HASH_BITS.as_slice()),
    ) {
        let mut builder = SnapshotBuilder::with_hash_bits(bits);
        let (mut map, mut order, mut scratch) = (BTreeMap::new(), Vec::new(), String::new());
        for (local, domain, user) in &users {
            let raw = format!("{local}@{}", DOMAINS[*domain]);
            let Ok(jid) = prepare(&raw, &mut scratch) else { continue };
            let added = builder.add(jid, *user);
            if map.contains_key(jid.bare()) {
                prop_assert_eq!(added, Err(AddError::Duplicate));
            } else {
                prop_assert_eq!(added, Ok(()));
                map.insert(jid.bare().to_owned(), *user);
                order.push(jid.bare().to_owned());
            }
        }
        let snapshot = builder.finish();
        prop_assert_eq!(snapshot.len(), map.len());
        let listed: Vec<_> = snapshot.iter().map(|(local, domain, user)| (format!("{local}@{domain}"), user)).collect();
        prop_assert_eq!(listed, order.iter().map(|bare| (bare.clone(), map[bare])).collect::<Vec<_>>());

        // Some users of the snapshot and some new ones are changed by hand, and some of these changed back.
        let directory = Directory::new(Arc::new(snapshot), Arc::new(Overlay::new(1000)));
        let mut asked: Vec<String> = asked.iter().map(|(local, domain)| format!("{local}@{}", DOMAINS[*domain])).collect();
        asked.extend(order);
        asked.retain_mut(|raw| prepare(&raw.clone(), &mut scratch).is_ok_and(|jid| { *raw = jid.bare().to_owned(); true }));
        if !asked.is_empty() {
            for (which, stays) in changed {
                let bare = which.get(&asked);
                directory.overlay().set(prepare(bare, &mut scratch).unwrap(), User::at(SFB2019)).unwrap();
                match stays {
                    true => drop(map.insert(bare.clone(), User::at(SFB2019))),
                    false => drop(directory.overlay().remove(bare)),
                }
                if !stays {
                    let known = directory.snapshot().look_up(bare);
                    match known {
                        Some(user) => drop(map.insert(bare.clone(), user)),
                        None => drop(map.remove(bare)),
                    }
                }
            }
        }
        let mut found = vec![None; 7];
        for domain in DOMAINS {
            let of_domain: Vec<&str> = asked
                .iter()
                .map(String::as_str)
                .filter(|bare| bare.split_once('@').is_some_and(|(_, of)| of == domain))
                .collect();
            directory.look_up_all(domain, of_domain.iter().map(|bare| bare.as_bytes()), &mut found);
            let expected: Vec<_> = of_domain.iter().map(|bare| map.get(*bare).copied()).collect();
            prop_assert_eq!(&found, &expected);
            let one_by_one: Vec<_> = of_domain.iter().map(|bare| directory.look_up(bare)).collect();
            prop_assert_eq!(&found, &one_by_one);
        }
    }

    /// The table alone, with hashes as they come: each offset is found under its hash, and none else.
    #[test]
    fn a_table_gives_all_of_a_hash(hashes in prop::collection::vec(prop_oneof![any::<u32>(), 0..4_u32, u32::MAX - 3..=u32::MAX], 0..600), shrunk: bool) {
        let (mut table, mut map) = (Table::default(), BTreeMap::<u32, Vec<u32>>::new());
        for (offset, hash) in (1_u32..).zip(&hashes) {
            table.insert(*hash, offset);
            map.entry(*hash).or_default().push(offset);
        }
        if shrunk {
            table.shrink();
        }
        for hash in hashes.iter().flat_map(|hash| [*hash, hash.wrapping_add(1), hash.wrapping_sub(1)]) {
            let mut place = table.begin(hash);
            let mut found: Vec<u32> = std::iter::from_fn(|| table.next(&mut place)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, map.get(&hash).cloned().unwrap_or_default());
        }
    }
}

#[test]
fn a_batch_finds_only_whole_addresses_of_its_domain() {
    let directory = Directory::new(
        Arc::new(snapshot([
            ("ann@contoso.com", User::at(LEGACY)),
            ("bob@fabrikam.example", User::at(LEGACY)),
        ])),
        Arc::new(Overlay::new(10)),
    );
    directory.overlay().set(Jid::parse("carl@fabrikam.example").unwrap().view(), User::at(SFB2019)).unwrap();
    directory.overlay().set(Jid::parse("dora@contoso.com").unwrap().view(), User::at(SFB2019)).unwrap();
    let asked: [&[u8]; 10] = [
        b"ann@contoso.com",
        b"bob@fabrikam.example",
        b"carl@fabrikam.example",
        b"dora@contoso.com",
        b"contoso.com",
        b"@contoso.com",
        b"",
        b"ann",
        b"an\xff@contoso.com",
        b"xann@contoso.com",
    ];
    let mut found = Vec::new();
    directory.look_up_all("contoso.com", asked.into_iter(), &mut found);
    let mut expected = [None; 10];
    expected[0] = Some(User::at(LEGACY));
    expected[3] = Some(User::at(SFB2019));
    assert_eq!(found, expected);
    directory.look_up_all("nowhere.example", [b"ann@nowhere.example".as_slice()].into_iter(), &mut found);
    assert_eq!(found, [None]);
    directory.look_up_all("contoso.com", std::iter::empty(), &mut found);
    assert_eq!(found, []);
}

/// Enough users for many segments to grow many times and for more than one chunk, in batches of every length.
#[test]
fn many_users_are_found_and_are_small() {
    const USERS: usize = 200_000;
    let mut builder = SnapshotBuilder::new();
    let mut scratch = String::new();
    let bare = |n: usize| format!("first.{}last{n}@contoso.com", "x".repeat(n % 5));
    for n in 0..USERS {
        builder
            .add(prepare(&bare(n), &mut scratch).unwrap(), User::at(Residence::Home(HomeId(n as u16 % 7))))
            .unwrap();
    }
    let snapshot = builder.finish();
    assert!(snapshot.memory_bytes() < USERS * 45, "{} octets a user", snapshot.memory_bytes() / USERS);
    assert!(
        snapshot.iter().enumerate().all(|(n, (local, domain, _))| format!("{local}@{domain}") == bare(n))
    );
    let directory = Directory::new(Arc::new(snapshot), Arc::new(Overlay::new(0)));
    let (mut next, mut found) = (0, Vec::new());
    for length in (0..200).cycle() {
        let asked: Vec<String> = (next..next + length).map(bare).collect();
        directory.look_up_all("contoso.com", asked.iter().map(|bare| bare.as_bytes()), &mut found);
        for (n, user) in (next..).zip(&found) {
            let expected = (n < USERS).then(|| User::at(Residence::Home(HomeId(n as u16 % 7))));
            assert_eq!(*user, expected, "{n}");
        }
        assert_eq!(found.len(), length);
        next += length;
        if next > USERS {
            break;
        }
    }
}

#[test]
fn a_full_snapshot_says_so_and_stays_whole() {
    let mut builder = SnapshotBuilder::new();
    builder.limit(1);
    let (mut scratch, mut taken) = (String::new(), 0);
    let bare = |n: usize| format!("{}{n}@contoso.com", "x".repeat(1000));
    let fault = loop {
        match builder.add(prepare(&bare(taken), &mut scratch).unwrap(), User::at(LEGACY)) {
            Ok(()) => taken += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault, AddError::Full);
    assert!(taken > 3500, "{taken} entries of a kibibyte in 4 MiB");
    let snapshot = builder.finish();
    assert_eq!((snapshot.len(), snapshot.iter().count()), (taken, taken));
    assert_eq!(snapshot.look_up(&bare(taken - 1)), Some(User::at(LEGACY)));
    assert_eq!(snapshot.look_up(&bare(taken)), None);
}

/// An entry that fits in a line of memory lies in one line.
#[test]
fn an_entry_crosses_no_line_it_need_not() {
    let mut arena = Arena::default();
    let local = [b'x'; 1023];
    let mut offsets = Vec::new();
    for length in (1..200).chain(1020..1024).cycle().take(20_000) {
        offsets.push((arena.push(length % 11, &local[..length]).unwrap(), length));
    }
    let first = offsets[0].0;
    for (offset, length) in offsets.iter().take_while(|(offset, _)| *offset < 1 << 22) {
        let (begin, end) = ((offset - first) / 64, (offset - first + 3 + *length as u32) / 64);
        assert!(begin == end || (offset - first) % 64 == 0 && *length > 60, "{offset} {length}");
    }
    let listed = arena.iter().map(|entry| (entry.kind, entry.local.len()));
    assert!(listed.eq(offsets.iter().map(|(_, length)| (length % 11, *length))));
    assert!(
        arena.push(1, b"").is_err()
            && arena.push(1, &[b'x'; 1024]).is_err()
            && arena.push(1 << 22, b"x").is_err()
    );
}
