use super::*;
use crate::limits::CONTACTS_PER_USER_MAX;
use PresenceType::{Available, Subscribe, Subscribed, Unavailable, Unsubscribe, Unsubscribed};

const LOCAL: &str = "anna@contoso.com";
const PARTNER: &str = "bob@partner.example";

fn passing(toward: Toward, kind: PresenceType) -> Passing<'static> {
    Passing { local: LOCAL, partner: PARTNER, resource: "", toward, kind }
}

fn rule(contacts: &mut Contacts, toward: Toward, kind: PresenceType) -> (Ruling, Changed) {
    contacts.rule(&passing(toward, kind))
}

/// The state as RFC 6121 names it, with what is pending and vetoed.
fn state(contacts: &Contacts) -> String {
    let contact = contacts.get(LOCAL, PARTNER).cloned().unwrap_or_default();
    let mut text = contact.subscription().to_owned();
    for (on, word) in [(contact.asked, "out"), (contact.asking, "in"), (contact.vetoed, "veto")] {
        if on {
            text = format!("{text}+{word}");
        }
    }
    text
}

#[test]
fn a_partner_asks_is_granted_and_leaves() {
    let mut contacts = Contacts::default();
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribe), (Ruling::On, Changed::First));
    assert_eq!(state(&contacts), "none+in");
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribe), (Ruling::On, Changed::Nothing), "asked again");
    assert_eq!(
        rule(&mut contacts, Toward::Partner, Available).0,
        Ruling::Unasked,
        "not before it is granted"
    );
    assert_eq!(rule(&mut contacts, Toward::Partner, Subscribed), (Ruling::On, Changed::First));
    assert_eq!(state(&contacts), "from");
    let desk = Passing { resource: "sfb", ..passing(Toward::Partner, Available) };
    assert_eq!(contacts.rule(&desk), (Ruling::On, Changed::Lately));
    assert_eq!(contacts.rule(&desk), (Ruling::On, Changed::Nothing));
    assert_eq!(rule(&mut contacts, Toward::Local, Unsubscribe), (Ruling::On, Changed::First));
    assert_eq!(rule(&mut contacts, Toward::Partner, Available).0, Ruling::Unasked);
    let gone = Passing { kind: Unavailable, ..desk };
    assert_eq!(contacts.rule(&gone), (Ruling::On, Changed::Lately), "what was shown may end");
    assert_eq!(contacts.rule(&gone).0, Ruling::Unasked, "once");
    assert!(contacts.is_empty(), "nothing is left of a contact that ended");
}

#[test]
fn a_local_user_asks_is_granted_and_loses_it() {
    let mut contacts = Contacts::default();
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribed).0, Ruling::Unasked, "nobody asked");
    assert_eq!(rule(&mut contacts, Toward::Partner, Subscribe), (Ruling::On, Changed::First));
    assert_eq!(state(&contacts), "none+out");
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribed), (Ruling::On, Changed::First));
    assert_eq!(state(&contacts), "to");
    assert_eq!(rule(&mut contacts, Toward::Partner, Subscribe).0, Ruling::Granted, "nobody is asked again");
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribed).0, Ruling::Unasked, "a second grant");
    assert_eq!(rule(&mut contacts, Toward::Local, Unsubscribed), (Ruling::On, Changed::First));
    assert_eq!(state(&contacts), "none+veto");
    assert_eq!(rule(&mut contacts, Toward::Partner, Subscribe).0, Ruling::Vetoed);
    assert_eq!(rule(&mut contacts, Toward::Local, Unsubscribed).0, Ruling::Unasked);
    assert_eq!(rule(&mut contacts, Toward::Local, Subscribe).0, Ruling::On);
    assert_eq!(state(&contacts), "none+in", "who asks himself has changed his mind");
    assert_eq!(rule(&mut contacts, Toward::Partner, Subscribe).0, Ruling::On);
}

#[test]
fn the_legacy_gateway_is_believed_and_remembered() {
    let mut contacts = Contacts::default();
    let shown = |resource| Passing { resource, ..passing(Toward::Partner, Available) };
    assert!(contacts.observe(&shown("a")), "a watcher from before the router came");
    assert!(contacts.observe(&shown("b")));
    assert!(!contacts.observe(&shown("b")));
    assert_eq!(state(&contacts), "from");
    assert!(!contacts.observe(&passing(Toward::Local, Available)), "a partner's presence grants nothing");
    assert_eq!(contacts.take_shown(LOCAL, PARTNER, |_| true), ["a".into(), "b".into()]);
    assert_eq!(contacts.take_shown(LOCAL, PARTNER, |_| true), []);
    assert!(contacts.observe(&passing(Toward::Partner, Subscribe)));
    assert!(contacts.observe(&passing(Toward::Local, Subscribed)));
    assert_eq!(state(&contacts), "both");
    assert!(contacts.observe(&passing(Toward::Partner, Unsubscribe)));
    assert!(contacts.observe(&passing(Toward::Partner, Unsubscribed)));
    assert_eq!(state(&contacts), "none");
    assert_eq!(contacts.len(), 1, "he has written first, and that stays");
}

#[test]
fn a_user_has_so_many_contacts_and_no_more() {
    let mut contacts = Contacts::default();
    for n in 0..=CONTACTS_PER_USER_MAX {
        let partner = format!("u{n}@partner.example");
        let asking = Passing { partner: &partner, ..passing(Toward::Local, Subscribe) };
        let expected = if n < CONTACTS_PER_USER_MAX { Ruling::On } else { Ruling::Full };
        assert_eq!(contacts.rule(&asking).0, expected, "{n}");
        contacts.rule(&Passing { toward: Toward::Partner, kind: Subscribed, ..asking });
    }
    assert_eq!(contacts.len(), CONTACTS_PER_USER_MAX);
    assert_eq!(contacts.of(LOCAL).count(), CONTACTS_PER_USER_MAX);
}

#[test]
fn questions_of_one_domain_leave_room_for_others() {
    // B-36: 100,000 users of one domain ask to see as many of ours as there are.
    let mut contacts = Contacts::default();
    let mut taken = 0;
    for n in 0..100_000 {
        let (partner, local) = (format!("u{n}@partner.example"), format!("l{}@contoso.com", n % 1000));
        let asking = Passing { partner: &partner, local: &local, ..passing(Toward::Local, Subscribe) };
        taken += usize::from(contacts.rule(&asking).0 == Ruling::On);
    }
    assert_eq!((taken, contacts.len()), (ASKING_PER_DOMAIN_MAX, ASKING_PER_DOMAIN_MAX));
    // Another domain is heard, and so is this one once it has answers, or takes its questions back.
    let other = Passing { partner: "x@other.example", ..passing(Toward::Local, Subscribe) };
    assert_eq!(contacts.rule(&other).0, Ruling::On);
    let first = Passing {
        partner: "u0@partner.example",
        local: "l0@contoso.com",
        ..passing(Toward::Partner, Subscribed)
    };
    let more = |contacts: &mut Contacts, n: usize| {
        let partner = format!("more{n}@partner.example");
        contacts.rule(&Passing { partner: &partner, ..passing(Toward::Local, Subscribe) }).0
    };
    assert_eq!(more(&mut contacts, 0), Ruling::Full);
    contacts.rule(&first);
    assert_eq!((more(&mut contacts, 1), more(&mut contacts, 2)), (Ruling::On, Ruling::Full));
    let back = Passing { kind: Unsubscribe, toward: Toward::Local, partner: "u1@partner.example", ..first };
    contacts.rule(&Passing { local: "l1@contoso.com", ..back });
    assert_eq!((more(&mut contacts, 3), more(&mut contacts, 4)), (Ruling::On, Ruling::Full));
    // What was remembered over a restart counts as well.
    let mut again = Contacts::default();
    for n in 0..ASKING_PER_DOMAIN_MAX {
        let pair = Pair { local: format!("l{n}@contoso.com").into(), partner: "u@partner.example".into() };
        again.put(Record { pair, contact: Contact { asking: true, ..Contact::default() } });
    }
    assert_eq!(more(&mut again, 0), Ruling::Full);
}

#[test]
fn questions_to_one_user_leave_room_for_his_contacts() {
    let mut contacts = Contacts::default();
    let asks = |contacts: &mut Contacts, partner: &str, kind| {
        contacts.rule(&Passing { partner, ..passing(Toward::Local, kind) }).0
    };
    for n in 0..ASKING_PER_USER_MAX {
        assert_eq!(asks(&mut contacts, &format!("u@d{n}.example"), Subscribe), Ruling::On);
    }
    assert_eq!(asks(&mut contacts, "u@more.example", Subscribe), Ruling::Full);
    // He may still ask, and who asks him again is no other.
    let own = Passing { partner: "friend@more.example", ..passing(Toward::Partner, Subscribe) };
    assert_eq!(contacts.rule(&own).0, Ruling::On);
    assert_eq!(asks(&mut contacts, "u@d0.example", Subscribe), Ruling::On);
    assert!(contacts.forget(LOCAL, "u@d0.example", Forget::Contact).is_some());
    assert_eq!(asks(&mut contacts, "u@more.example", Subscribe), Ruling::On);
}

/// The counts, made anew by looking at what is there.
fn counted(contacts: &Contacts) -> ContactCounts {
    let mut counts = ContactCounts::default();
    for (_, contact) in contacts.of(LOCAL) {
        match contact.subscription() {
            "none" => counts.none += 1,
            "to" => counts.to += 1,
            "from" => counts.from += 1,
            _ => counts.both += 1,
        }
        counts.asked += u64::from(contact.asked);
        counts.asking += u64::from(contact.asking);
        counts.vetoed += u64::from(contact.vetoed);
    }
    counts
}

#[test]
fn what_the_store_says_twice_counts_once() {
    let mut contacts = Contacts::default();
    let record = |to, vetoed| Record {
        pair: Pair { local: LOCAL.into(), partner: PARTNER.into() },
        contact: Contact { to, vetoed, ..Contact::default() },
    };
    contacts.put(record(true, false));
    contacts.put(record(false, true));
    assert_eq!(contacts.counts(), ContactCounts { none: 1, vetoed: 1, ..ContactCounts::default() });
    assert_eq!(contacts.counts(), counted(&contacts));
    assert!(contacts.forget(LOCAL, PARTNER, Forget::Veto).is_some());
    assert_eq!((contacts.counts(), contacts.len()), (ContactCounts::default(), 0));
}

/// Whatever passes in whatever order: a partner's user sees nothing without a grant, and what is shown is bounded.
#[test]
fn no_order_of_stanzas_shows_what_was_not_granted() {
    let kinds = [
        Available,
        Unavailable,
        Subscribe,
        Subscribed,
        Unsubscribe,
        Unsubscribed,
        PresenceType::Probe,
        PresenceType::Error,
    ];
    let mut random = crate::random::Random::new(7);
    for _ in 0..2_000 {
        let mut contacts = Contacts::default();
        let mut granted = false;
        for _ in 0..40 {
            let kind = kinds[random.below(8) as usize];
            let toward = if random.below(2) == 0 { Toward::Local } else { Toward::Partner };
            let resource = ["", "a", "b"][random.below(3) as usize];
            let (ruling, _) = contacts.rule(&Passing { resource, ..passing(toward, kind) });
            match (toward, kind) {
                (Toward::Partner, Subscribed) => granted = true,
                (Toward::Partner, Unsubscribed) | (Toward::Local, Unsubscribe) => granted = false,
                (Toward::Partner, Available) => assert_eq!(ruling == Ruling::On, granted),
                _ => {}
            }
            let contact = contacts.get(LOCAL, PARTNER).cloned().unwrap_or_default();
            assert_eq!(contact.from, granted);
            assert!(contact.shown.len() <= 3);
            assert_eq!(contacts.counts(), counted(&contacts), "{contact:?}");
            assert_eq!(Contact::decode(&contact.encode()), Some(contact));
        }
    }
}
