use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::home::HomeId;
use crate::jid::{Jid, prepare};

mod packed;

const LEGACY: Residence = Residence::Home(HomeId(0));
const SFB2019: Residence = Residence::Home(HomeId(1));

fn snapshot<'a>(users: impl IntoIterator<Item = (&'a str, User)>) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    for (bare, user) in users {
        builder.add(Jid::parse(bare).unwrap().view(), user).unwrap();
    }
    builder.finish()
}

fn people(count: usize, residence: Residence) -> Vec<(String, User)> {
    (0..count).map(|n| (format!("user{n}@contoso.com"), User::at(residence))).collect()
}

fn of(users: &[(String, User)]) -> Snapshot {
    snapshot(users.iter().map(|(bare, user)| (bare.as_str(), *user)))
}

#[test]
fn a_snapshot_gives_back_what_was_added() {
    let mut builder = SnapshotBuilder::new();
    let pool = builder.pool_id("Old.contoso.com");
    assert_eq!(builder.pool_id("OLD.contoso.com."), pool);
    let mut expected = Vec::new();
    let residences = [
        LEGACY,
        SFB2019,
        Residence::Cloud,
        Residence::Unassigned,
        Residence::Branch,
        Residence::UnknownPool(pool),
    ];
    for (n, residence) in residences.into_iter().enumerate() {
        for flags in 0..16 {
            let user = User {
                residence,
                federation_enabled: flags & 1 != 0,
                xmpp_enabled: flags & 2 != 0,
                enabled: flags & 4 != 0,
                moving: flags & 8 != 0,
            };
            assert_eq!(user.may_federate(), flags & 7 == 7);
            let bare = format!("user{n}.{flags}@{}", ["contoso.com", "fabrikam.example"][flags % 2]);
            builder.add(Jid::parse(&bare).unwrap().view(), user).unwrap();
            expected.push((bare, user));
        }
    }
    let snapshot = builder.finish();
    assert_eq!(snapshot.len(), expected.len());
    for (bare, user) in &expected {
        assert_eq!(snapshot.look_up(bare), Some(*user), "{bare}");
    }
    for bare in ["", "@", "user0.0", "user0.0@", "@contoso.com", "contoso.com", "user0.0@fabrikam.example"] {
        assert_eq!(snapshot.look_up(bare), None, "{bare}");
    }
    assert_eq!(snapshot.pool_name(pool), Some("old.contoso.com"));
    let listed: Vec<_> =
        snapshot.iter().map(|(local, domain, user)| (format!("{local}@{domain}"), user)).collect();
    assert_eq!(listed, expected);
}

#[test]
fn a_snapshot_takes_each_user_once_and_users_only() {
    let mut builder = SnapshotBuilder::new();
    for (raw, residence, expected) in [
        ("ann@contoso.com", LEGACY, Ok(())),
        ("ANN@contoso.com", SFB2019, Err(AddError::Duplicate)),
        ("contoso.com", LEGACY, Err(AddError::NotAUser)),
        ("bob@contoso.com/desk", LEGACY, Err(AddError::NotAUser)),
    ] {
        assert_eq!(builder.add(Jid::parse(raw).unwrap().view(), User::at(residence)), expected, "{raw}");
    }
    let snapshot = builder.finish();
    assert_eq!(snapshot.len(), 1);
    assert_eq!(snapshot.look_up("ann@contoso.com"), Some(User::at(LEGACY)));
}

#[test]
fn unknown_pools_are_bounded() {
    let mut builder = SnapshotBuilder::new();
    let ids: Vec<_> = (0..5000).map(|n| builder.pool_id(&format!("pool{n}.example"))).collect();
    assert_eq!(builder.pool_name(ids[4095]), Some("pool4095.example"));
    assert_eq!(ids[4096], ids[4999]);
    assert_eq!(builder.pool_name(ids[4999]), Some("(further unknown pools)"));
    assert_eq!(builder.pool_id("pool0.example"), ids[0]);
}

#[test]
fn the_overlay_speaks_first_and_is_bounded() {
    let overlay = Overlay::new(2);
    let base = snapshot([("ann@contoso.com", User::at(LEGACY)), ("bob@contoso.com", User::at(LEGACY))]);
    let directory = Directory::new(Arc::new(base), Arc::new(overlay));
    let overlay = directory.overlay();
    let set = |raw: &str, user| overlay.set(Jid::parse(raw).unwrap().view(), user);

    assert_eq!(set("ann@contoso.com", User::at(SFB2019)), Ok(None));
    assert_eq!(directory.look_up("ann@contoso.com"), Some(User::at(SFB2019)));
    assert_eq!(directory.look_up("bob@contoso.com"), Some(User::at(LEGACY)));
    assert_eq!(set("new@contoso.com", User::at(SFB2019)), Ok(None));
    assert_eq!(directory.look_up("new@contoso.com"), Some(User::at(SFB2019)));

    assert_eq!(set("bob@contoso.com", User::at(SFB2019)), Err(OverlayError::Full { entries_max: 2 }));
    assert_eq!(directory.look_up("bob@contoso.com"), Some(User::at(LEGACY)));
    assert_eq!(set("ann@contoso.com", User::at(LEGACY)), Ok(Some(User::at(SFB2019))));
    assert_eq!(set("contoso.com", User::at(LEGACY)), Err(OverlayError::NotAUser));
    assert_eq!(set("ann@contoso.com/x", User::at(LEGACY)), Err(OverlayError::NotAUser));
    let nowhere = User::at(Residence::UnknownPool(PoolId(0)));
    assert_eq!(set("ann@contoso.com", nowhere), Err(OverlayError::UnknownPool));

    assert_eq!(overlay.remove("new@contoso.com"), Some(User::at(SFB2019)));
    assert_eq!(overlay.remove("new@contoso.com"), None);
    assert_eq!(directory.look_up("new@contoso.com"), None);
    assert_eq!(set("bob@contoso.com", User::at(SFB2019)), Ok(None));
    assert_eq!(overlay.len(), 2);
}

#[test]
fn the_overlay_gives_way_to_a_snapshot_that_has_caught_up() {
    let overlay = Overlay::new(10);
    for raw in ["ann@contoso.com", "bob@contoso.com", "carl@contoso.com", "dora@contoso.com"] {
        overlay.set(Jid::parse(raw).unwrap().view(), User::at(SFB2019)).unwrap();
    }
    let closed = User { xmpp_enabled: false, ..User::at(SFB2019) };
    let older = snapshot(["ann@contoso.com", "carl@contoso.com"].map(|bare| (bare, User::at(LEGACY))));
    let disabled = User { enabled: false, ..User::at(LEGACY) };
    let newer = snapshot([("ann@contoso.com", closed), ("bob@contoso.com", disabled)]);
    let mut gone = Vec::new();
    assert_eq!(overlay.settle(&older, &newer, |bare| gone.push(bare.to_owned())), 2);
    gone.sort();
    assert_eq!(gone, ["ann@contoso.com", "carl@contoso.com"], "one lives there by now, one was deleted");
    let directory = Directory::new(Arc::new(newer), Arc::new(overlay));
    assert_eq!(directory.look_up("ann@contoso.com"), Some(closed));
    // He stays where he was moved to, but what he may do is the source's to say.
    assert_eq!(directory.look_up("bob@contoso.com"), Some(User { residence: SFB2019, ..disabled }));
    assert_eq!(directory.look_up("carl@contoso.com"), None);
    assert_eq!(directory.look_up("dora@contoso.com"), Some(User::at(SFB2019)), "a source may lag behind");
    assert_eq!(directory.overlay().len(), 2);
}

#[test]
fn pages_follow_each_other_in_order() {
    let directory = Directory::new(Arc::new(of(&people(25, LEGACY))), Arc::new(Overlay::new(10)));
    directory.overlay().set(Jid::parse("user7@contoso.com").unwrap().view(), User::at(SFB2019)).unwrap();
    directory.overlay().set(Jid::parse("user@contoso.com").unwrap().view(), User::at(SFB2019)).unwrap();
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = directory.list("USER", after.as_deref(), 7);
        assert!(page.users.len() == 7 || !page.more);
        all.extend(page.users);
        after = all.last().map(|(bare, _)| bare.clone());
        if !page.more {
            break;
        }
    }
    let mut expected: BTreeMap<String, User> = people(25, LEGACY).into_iter().collect();
    expected.insert("user7@contoso.com".into(), User::at(SFB2019));
    expected.insert("user@contoso.com".into(), User::at(SFB2019));
    assert_eq!(all, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(directory.list("user1@", None, 7).users.len(), 1);
    assert_eq!(directory.list("nobody", None, 7), Page::default());
    assert!(directory.list("", None, 0).more);
}

#[test]
fn differences_are_found() {
    let mut old = SnapshotBuilder::new();
    let (_, same) = (old.pool_id("x.example"), old.pool_id("same.example"));
    let mut new = SnapshotBuilder::new();
    let (again, other) = (new.pool_id("same.example"), new.pool_id("other.example"));
    let unknown = Residence::UnknownPool;
    for (raw, before, after) in [
        ("stays@contoso.com", Some(LEGACY), Some(LEGACY)),
        ("moves@contoso.com", Some(LEGACY), Some(SFB2019)),
        ("leaves@contoso.com", Some(LEGACY), None),
        ("comes@contoso.com", None, Some(SFB2019)),
        ("lost@contoso.com", Some(unknown(same)), Some(unknown(again))),
        ("astray@contoso.com", Some(unknown(same)), Some(unknown(other))),
    ] {
        let jid = Jid::parse(raw).unwrap();
        for (builder, residence) in [(&mut old, before), (&mut new, after)] {
            if let Some(residence) = residence {
                builder.add(jid.view(), User::at(residence)).unwrap();
            }
        }
    }
    let mut found = Vec::new();
    diff(&old.finish(), &new.finish(), |change| {
        found.push((change.bare.to_owned(), change.before, change.after))
    });
    let expected = [
        ("moves@contoso.com", Some(LEGACY), Some(SFB2019)),
        ("leaves@contoso.com", Some(LEGACY), None),
        ("astray@contoso.com", Some(unknown(same)), Some(unknown(other))),
        ("comes@contoso.com", None, Some(SFB2019)),
    ];
    assert_eq!(found, expected.map(|(bare, before, after)| (bare.to_owned(), before, after)));
}

#[test]
fn a_source_that_changes_too_much_is_refused() {
    let old = of(&people(100, LEGACY));
    let change = |vanished: usize, shifted: usize, after: User| {
        let mut users = people(100, LEGACY);
        users[..shifted].iter_mut().for_each(|(_, user)| *user = after);
        users.truncate(100 - vanished);
        users.extend([("newcomer@contoso.com".to_owned(), User::at(SFB2019))]);
        of(&users)
    };
    let moved = User::at(SFB2019);
    let closed = User { xmpp_enabled: false, ..User::at(LEGACY) };
    for (vanished, shifted, after, percent_max, fits) in [
        (0, 0, moved, 0, true),
        (10, 10, moved, 10, true),
        (11, 0, moved, 10, false),
        (0, 11, moved, 10, false),
        (0, 11, closed, 10, false),
        (0, 1, closed, 0, false),
        (100, 0, moved, 100, true),
        (0, 100, moved, 100, true),
    ] {
        let verdict = guard(&old, &change(vanished, shifted, after), percent_max);
        let expected =
            if fits { Ok(()) } else { Err(GuardRefusal { users: 100, vanished, shifted, percent_max }) };
        assert_eq!(verdict, expected);
    }
    assert_eq!(guard(&Snapshot::default(), &old, 0), Ok(()));
    // A permission given, to people who were there before and are there now, is no reason.
    assert_eq!(
        guard(
            &of(&people(100, LEGACY).into_iter().map(|(bare, _)| (bare, closed)).collect::<Vec<_>>()),
            &old,
            0
        ),
        Ok(())
    );
    let error = guard(&old, &Snapshot::default(), 10).unwrap_err().to_string();
    assert!(error.contains("of 100 users 100 are gone"), "{error}");
}

#[test]
fn access_policies_are_closed_unless_said_otherwise() {
    let mut policies = AccessPolicies::default();
    policies.set("AllowXmpp", true);
    policies.set("Tag:NoXmpp", false);
    for (name, expected) in [
        ("", false),
        ("Global", false),
        ("allowxmpp", true),
        ("Tag:AllowXmpp", true),
        ("NoXmpp", false),
        ("?", false),
    ] {
        assert_eq!(policies.xmpp_enabled(name), expected, "{name}");
    }
    assert_eq!(policies.set("global", true), Some(false));
    assert!(policies.xmpp_enabled("") && policies.xmpp_enabled("GLOBAL") && !policies.xmpp_enabled("?"));
}

/// One thing done to a directory.
#[derive(Debug, Clone)]
enum Step {
    Move(u8, bool),
    TakeBack(u8),
    Load(Vec<(u8, bool)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..40_u8, any::<bool>()).prop_map(|(n, new)| Step::Move(n, new)),
        1 => (0..40_u8).prop_map(Step::TakeBack),
        1 => prop::collection::vec((0..40_u8, any::<bool>()), 0..40).prop_map(Step::Load),
    ]
}

fn name(n: u8) -> String {
    format!("u{n}@{}", ["contoso.com", "fabrikam.example", "bücher.example"][usize::from(n % 3)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Two maps, asked one after the other, are what the directory has to be.
    #[test]
    fn the_directory_is_two_maps(steps in prop::collection::vec(step(), 1..40), prefix in "u[0-9]?", limit in 0..50_usize) {
        const CHANGES_MAX: usize = 12;
        let residence = |new: bool| if new { SFB2019 } else { LEGACY };
        let mut directory = Directory::new(Arc::default(), Arc::new(Overlay::new(CHANGES_MAX)));
        let (mut lower, mut upper) = (BTreeMap::new(), BTreeMap::new());
        let mut scratch = String::new();
        for step in steps {
            match step {
                Step::Move(n, new) => {
                    let (bare, user) = (name(n), User::at(residence(new)));
                    let done = directory.overlay().set(prepare(&bare, &mut scratch).unwrap(), user);
                    if upper.len() < CHANGES_MAX || upper.contains_key(&bare) {
                        prop_assert_eq!(done, Ok(upper.insert(bare, user)));
                    } else {
                        prop_assert!(done.is_err());
                    }
                }
                Step::TakeBack(n) => prop_assert_eq!(directory.overlay().remove(&name(n)), upper.remove(&name(n))),
                Step::Load(users) => {
                    let mut builder = SnapshotBuilder::new();
                    let old = std::mem::take(&mut lower);
                    for (n, new) in users {
                        let (bare, user) = (name(n), User::at(residence(new)));
                        let added = builder.add(prepare(&bare, &mut scratch).unwrap(), user);
                        prop_assert_eq!(added.is_err(), lower.contains_key(&bare));
                        lower.entry(bare).or_insert(user);
                    }
                    let new = Arc::new(builder.finish());
                    let mut changed = Vec::new();
                    diff(directory.snapshot(), &new, |change| changed.push(change.bare.to_owned()));
                    changed.sort();
                    let expected: Vec<_> = (0..40).map(name).filter(|bare| old.get(bare) != lower.get(bare)).collect();
                    prop_assert_eq!(changed, { let mut expected = expected; expected.sort(); expected });
                    let older = Arc::clone(directory.snapshot());
                    directory = directory.with_snapshot(Arc::clone(&new));
                    let before = upper.len();
                    upper.retain(|bare, user| match lower.get(bare) {
                        Some(known) => known != user,
                        None => !old.contains_key(bare),
                    });
                    prop_assert_eq!(directory.overlay().settle(&older, &new, |_| ()), before - upper.len());
                }
            }
            for bare in (0..41).map(name) {
                prop_assert_eq!(directory.look_up(&bare), upper.get(&bare).or_else(|| lower.get(&bare)).copied());
            }
            prop_assert_eq!(directory.overlay().len(), upper.len());
        }
        let mut both = lower;
        both.extend(upper);
        both.retain(|bare, _| bare.starts_with(&prefix));
        let page = directory.list(&prefix, None, limit);
        prop_assert_eq!(page.more, both.len() > limit);
        prop_assert_eq!(page.users, both.into_iter().take(limit).collect::<Vec<_>>());
    }
}
