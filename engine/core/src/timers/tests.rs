use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
fn epoch() -> Instant {
    Instant::now() + Duration::from_secs(7200)
}

#[test]
fn fires_in_order_and_once() {
    let start = epoch();
    let mut timers = Timers::default();
    let second = timers.set(start + Duration::from_secs(2), "second");
    timers.set(start + Duration::from_secs(1), "first");
    timers.set(start + Duration::from_secs(2), "third");
    assert_eq!(timers.deadline(), Some(start + Duration::from_secs(1)));
    assert_eq!(timers.pop(start), None);
    assert_eq!(timers.pop(start + Duration::from_secs(5)), Some("first"));
    assert_eq!(timers.cancel(second), Some("second"));
    assert_eq!(timers.cancel(second), None);
    assert_eq!(timers.pop(start + Duration::from_secs(5)), Some("third"));
    assert_eq!(timers.pop(start + Duration::from_secs(5)), None);
    assert!(timers.is_empty());
}

#[test]
fn a_name_is_good_for_its_own_timer_only() {
    let start = epoch();
    let mut timers = Timers::default();
    let old = timers.set(start, 1);
    assert_eq!(timers.cancel(old), Some(1));
    let new = timers.set(start, 2);
    assert_eq!(timers.cancel(old), None);
    assert_eq!(timers.cancel(new), Some(2));
}

/// However many timers lie together, whoever sleeps until the deadline wakes a few times and not for nothing for ever.
#[test]
fn sleeping_until_the_deadline_ends() {
    let start = epoch();
    let mut timers = Timers::default();
    for n in 0..5000_u64 {
        timers.set(start + Duration::from_nanos(32_000_000_000 + n * 200), n);
    }
    let (mut now, mut turns, mut expected) = (start, 0, 0);
    while let Some(deadline) = timers.deadline() {
        now = now.max(deadline);
        turns += 1;
        while let Some(n) = timers.pop(now) {
            assert_eq!(n, expected);
            expected += 1;
        }
    }
    assert_eq!(expected, 5000);
    assert!(turns <= 5000 + LEVELS * 2, "{turns} turns");
}

#[derive(Clone, Debug)]
enum Act {
    Set(i64),
    Cancel(usize),
    Pass(u64),
    Pop,
}

/// Times of every magnitude, and many that are equal or nearly so.
fn span() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        0_u64..3_000_000,
        (0_u64..100).prop_map(|n| n << 20),
        0_u64..100_000_000_000,
        (0_u32..62, 0_u64..3).prop_map(|(bits, more)| (1 << bits) + more),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (span(), prop::bool::weighted(0.1)).prop_map(|(span, past)| {
            let span = i64::try_from(span).unwrap();
            Act::Set(if past { -(span % 7_000_000_000_000) } else { span })
        }),
        2 => any::<usize>().prop_map(Act::Cancel),
        2 => span().prop_map(|span| Act::Pass(span >> 10)),
        1 => span().prop_map(|span| Act::Pass(span.min(50_000_000_000))),
        3 => Just(Act::Pop),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    #[test]
    fn the_wheel_does_as_a_sorted_map_does(acts in acts()) {
        let mut now = epoch();
        let mut timers = Timers::default();
        let mut model: BTreeMap<(Instant, usize), usize> = BTreeMap::new();
        let mut ids = Vec::new();
        for act in acts {
            match act {
                Act::Set(nanos) => {
                    let span = Duration::from_nanos(nanos.unsigned_abs());
                    let at = if nanos < 0 { now.checked_sub(span).unwrap_or(now) } else { now + span };
                    let number = ids.len();
                    ids.push((at, timers.set(at, number)));
                    model.insert((at, number), number);
                }
                Act::Cancel(which) if !ids.is_empty() => {
                    let number = which % ids.len();
                    let (at, id) = ids[number];
                    prop_assert_eq!(timers.cancel(id), model.remove(&(at, number)));
                }
                Act::Cancel(_) => {}
                Act::Pass(nanos) => now += Duration::from_nanos(nanos),
                Act::Pop => {
                    let due = model.first_key_value().map(|(key, _)| *key).filter(|key| key.0 <= now);
                    prop_assert_eq!(timers.pop(now), due.and_then(|key| model.remove(&key)));
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            let true_deadline = model.first_key_value().map(|((at, _), _)| *at);
            let deadline = timers.deadline();
            prop_assert_eq!(deadline.is_some(), true_deadline.is_some());
            prop_assert!(deadline <= true_deadline);
            if model.len() <= LOOKED_AT_MAX {
                prop_assert_eq!(deadline, true_deadline);
            }
        }
        // Backwards calls of `pop` with an earlier time, too, give nothing early.
        let end = now + Duration::from_secs(1 << 34);
        while let Some(key) = model.first_key_value().map(|(key, _)| *key) {
            prop_assert_eq!(timers.pop(key.0), model.remove(&key));
        }
        prop_assert_eq!(timers.pop(end), None);
    }
}
