//! The contacts of the local users one shard owns, and the rules by which they change (RFC 6121 §3 and appendix A). Invariant: a
//! partner's user sees a 2019 user only after that user's side said so, and a grant nobody asked for changes nothing. For a user
//! of the legacy gateway, which is the presence server of its users, the rules only look on: what passes is remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::contact::{Contact, Pair, Record, SHOWN_MAX};
use crate::flow::Room;
use crate::limits::{ASKING_PER_DOMAIN_MAX, ASKING_PER_USER_MAX};
use crate::stanza::PresenceType;

/// Which way a stanza of a pair goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toward {
    /// To the local user.
    Local,
    /// To the partner's user.
    Partner,
}

/// Presence of a pair that passes, as far as the rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The local user, bare.
    pub local: &'a str,
    /// The partner's user, bare.
    pub partner: &'a str,
    /// The resource of the local user where he is the sender; empty for the bare address.
    pub resource: &'a str,
    /// Which way.
    pub toward: Toward,
    /// Its type.
    pub kind: PresenceType,
}

/// What the rules say of a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on.
    On,
    /// Nobody asked for it, or nobody may see it: it is dropped.
    Unasked,
    /// The partner's user has granted this before: `subscribed` is answered in his place.
    Granted,
    /// The partner's user has refused before: `unsubscribed` is answered in his place.
    Vetoed,
    /// There is no room for another contact.
    Full,
}

/// What an administrator takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forget {
    /// All that holds between the two.
    Contact,
    /// That the partner's user is not to be asked again.
    Veto,
}

/// What a stanza changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    Nothing,
    /// Something that may be stored after the stanza went on.
    Lately,
    /// Something that must be stored before anybody is told.
    First,
}

/// The contacts of local users.
#[derive(Debug, Default)]
pub struct Contacts {
    /// In the order of the partner's users, so that whoever goes through them does so in one order.
    users: HashMap<Arc<str>, BTreeMap<Arc<str>, Contact>>,
    count: usize,
    counts: ContactCounts,
    questions: Questions,
    /// How many there may be.
    room: Room,
}

/// Contacts that are nothing but a question of the partner's user that nobody has answered: what strangers can make without end.
/// Invariant: each such contact counts once for its local user and once for its domain, and nobody is remembered who has none.
#[derive(Debug, Default)]
struct Questions {
    of_domains: HashMap<String, usize>,
    of_users: HashMap<String, usize>,
}

impl Questions {
    fn is_one(contact: &Contact) -> bool {
        contact.asking && *contact == Contact { asking: true, ..Contact::default() }
    }

    /// Whether there is room for another one.
    fn has_room(&self, local: &str, partner: &str) -> bool {
        let of_domain = self.of_domains.get(domain_of(partner)).copied().unwrap_or(0);
        let of_user = self.of_users.get(local).copied().unwrap_or(0);
        of_domain < ASKING_PER_DOMAIN_MAX && of_user < ASKING_PER_USER_MAX
    }

    /// A contact has become another one.
    fn turn(&mut self, local: &str, partner: &str, before: &Contact, after: &Contact) {
        match (Self::is_one(before), Self::is_one(after)) {
            (false, true) => {
                *self.of_domains.entry_ref(domain_of(partner)).or_insert(0) += 1;
                *self.of_users.entry_ref(local).or_insert(0) += 1;
            }
            (true, false) => {
                less(&mut self.of_domains, domain_of(partner));
                less(&mut self.of_users, local);
            }
            _ => {}
        }
    }
}

fn less(counts: &mut HashMap<String, usize>, key: &str) {
    let Some(count) = counts.get_mut(key) else { return };
    *count = count.saturating_sub(1);
    if *count == 0 {
        counts.remove(key);
    }
}

/// The domain of a bare address.
fn domain_of(bare: &str) -> &str {
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// How many contacts there are in each state. The first four exclude each other and make up the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContactCounts {
    /// Neither may see the other.
    pub none: u64,
    /// The local user may see the partner's user.
    pub to: u64,
    /// The partner's user may see the local user.
    pub from: u64,
    /// Both.
    pub both: u64,
    /// The local user has asked and has no answer.
    pub asked: u64,
    /// The partner's user has asked and has no answer.
    pub asking: u64,
    /// The partner's user is not to be asked again.
    pub vetoed: u64,
}

impl ContactCounts {
    /// The words for the states, with their counts.
    pub fn by_state(&self) -> [(&'static str, u64); 7] {
        [
            ("none", self.none),
            ("to", self.to),
            ("from", self.from),
            ("both", self.both),
            ("asked", self.asked),
            ("asking", self.asking),
            ("vetoed", self.vetoed),
        ]
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.each(|mine, theirs| *mine = mine.wrapping_add(theirs), other);
    }

    /// A contact has become another one. What is empty is none at all.
    fn turn(&mut self, before: &Contact, after: &Contact) {
        self.each(|mine, gone| *mine = mine.wrapping_sub(gone), &Self::of(before));
        self.add(&Self::of(after));
    }

    fn of(contact: &Contact) -> Self {
        if contact.is_empty() {
            return Self::default();
        }
        Self {
            none: u64::from(!contact.to && !contact.from),
            to: u64::from(contact.to && !contact.from),
            from: u64::from(contact.from && !contact.to),
            both: u64::from(contact.to && contact.from),
            asked: contact.asked.into(),
            asking: contact.asking.into(),
            vetoed: contact.vetoed.into(),
        }
    }

    fn each(&mut self, change: impl Fn(&mut u64, u64), other: &Self) {
        change(&mut self.none, other.none);
        change(&mut self.to, other.to);
        change(&mut self.from, other.from);
        change(&mut self.both, other.both);
        change(&mut self.asked, other.asked);
        change(&mut self.asking, other.asking);
        change(&mut self.vetoed, other.vetoed);
    }
}

impl Contacts {
    /// There is so much room from now on. Who has more keeps it.
    pub fn make_room(&mut self, room: Room) {
        self.room = room;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are in each state.
    pub fn counts(&self) -> ContactCounts {
        self.counts
    }

    /// What holds between two users, bare.
    pub fn get(&self, local: &str, partner: &str) -> Option<&Contact> {
        self.users.get(local)?.get(partner)
    }

    /// All contacts of a local user, by the name of the partner's user.
    pub fn of(&self, local: &str) -> impl Iterator<Item = (&Arc<str>, &Contact)> {
        self.users.get(local).into_iter().flatten()
    }

    /// Puts in what the store knows.
    pub fn put(&mut self, record: Record) {
        let Record { pair, contact } = record;
        if contact.is_empty() {
            return;
        }
        let after = contact.clone();
        let Pair { local, partner } = pair;
        let contacts = self.users.entry(Arc::clone(&local)).or_default();
        let before = contacts.insert(Arc::clone(&partner), contact);
        self.count += usize::from(before.is_none());
        let before = before.unwrap_or_default();
        self.counts.turn(&before, &after);
        self.questions.turn(&local, &partner, &before, &after);
    }

    /// The contact of a pair as a record for the store.
    pub fn record(&self, local: &str, partner: &str) -> Record {
        let contact = self.get(local, partner).cloned().unwrap_or_default();
        Record { pair: Pair { local: local.into(), partner: partner.into() }, contact }
    }

    /// Notes that the local user has written to the partner's user. Whether that is news.
    pub fn introduce(&mut self, local: &str, partner: &str) -> bool {
        if self.get(local, partner).is_some_and(|contact| contact.introduced) {
            return false;
        }
        self.change(local, partner, |contact| contact.introduced = true).unwrap_or(false)
    }

    /// All of them, in no order: local user, partner's user, contact.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Contact)> {
        self.users.iter().flat_map(|(local, contacts)| {
            contacts.iter().map(move |(partner, contact)| (local, partner, contact))
        })
    }

    /// Forgets which of such resources of a local user a partner's user was shown, and says which they were.
    pub fn take_shown(
        &mut self,
        local: &str,
        partner: &str,
        ends: impl FnMut(&Arc<str>) -> bool,
    ) -> Vec<Arc<str>> {
        let mut shown = Vec::new();
        if self.get(local, partner).is_some() {
            self.change(local, partner, |contact| {
                (shown, contact.shown) = std::mem::take(&mut contact.shown).into_iter().partition(ends);
            });
        }
        shown
    }

    /// Takes back what an administrator says, and gives the contact as it was if that changes anything.
    pub fn forget(&mut self, local: &str, partner: &str, what: Forget) -> Option<Contact> {
        let before = self.get(local, partner)?.clone();
        let changed = self.change(local, partner, |contact| match what {
            Forget::Contact => *contact = Contact::default(),
            Forget::Veto => contact.vetoed = false,
        });
        changed.unwrap_or(false).then_some(before)
    }

    /// Presence between a user of a SIP home and a partner's user: the router is his presence server.
    pub fn rule(&mut self, passing: &Passing<'_>) -> (Ruling, Changed) {
        let before = self.get(passing.local, passing.partner).cloned().unwrap_or_default();
        let ruling = match (passing.toward, passing.kind) {
            // Subscriptions are granted to who has asked, and ended by who has granted (RFC 6121 §3.1.5, §3.2.3).
            (Toward::Local, PresenceType::Subscribed) if !before.asked => Ruling::Unasked,
            (Toward::Local, PresenceType::Unsubscribed) if !before.asked && !before.to => Ruling::Unasked,
            (Toward::Partner, PresenceType::Subscribe) if before.vetoed => Ruling::Vetoed,
            (Toward::Partner, PresenceType::Subscribe) if before.to => Ruling::Granted,
            (Toward::Partner, PresenceType::Available) if !before.from => Ruling::Unasked,
            (Toward::Partner, PresenceType::Unavailable)
                if !before.from && !before.shown.iter().any(|shown| **shown == *passing.resource) =>
            {
                Ruling::Unasked
            }
            _ => Ruling::On,
        };
        if ruling != Ruling::On {
            return (ruling, Changed::Nothing);
        }
        match self.change(passing.local, passing.partner, |contact| apply(contact, passing)) {
            None => (Ruling::Full, Changed::Nothing),
            Some(false) => (Ruling::On, Changed::Nothing),
            Some(true) => {
                let after = self.get(passing.local, passing.partner);
                let of = |contact: &Contact| {
                    (contact.to, contact.from, contact.asked, contact.asking, contact.vetoed)
                };
                let same = after.map_or_else(|| of(&Contact::default()), of) == of(&before);
                (Ruling::On, if same { Changed::Lately } else { Changed::First })
            }
        }
    }

    /// Presence between a user of the legacy gateway and a partner's user. Whether it changed something.
    pub fn observe(&mut self, passing: &Passing<'_>) -> bool {
        let says_nothing = matches!(
            (passing.toward, passing.kind),
            (
                Toward::Local,
                PresenceType::Available
                    | PresenceType::Unavailable
                    | PresenceType::Probe
                    | PresenceType::Error
            ) | (Toward::Partner, PresenceType::Probe | PresenceType::Error)
        );
        if says_nothing {
            return false;
        }
        self.change(passing.local, passing.partner, |contact| {
            // The gateway tells who is there to those alone who may see it: whoever was its watcher before the router came is so
            // found out.
            contact.from |= (passing.toward, passing.kind) == (Toward::Partner, PresenceType::Available);
            apply(contact, passing);
        })
        .unwrap_or(false)
    }

    /// Changes a contact; whether it is another one afterwards. `None`: there is no room for a new one.
    fn change(&mut self, local: &str, partner: &str, change: impl FnOnce(&mut Contact)) -> Option<bool> {
        if let Some(contacts) = self.users.get_mut(local)
            && let Some(contact) = contacts.get_mut(partner)
        {
            let before = contact.clone();
            change(contact);
            let changed = *contact != before;
            self.counts.turn(&before, contact);
            self.questions.turn(local, partner, &before, contact);
            if contact.is_empty() {
                contacts.remove(partner);
                self.count -= 1;
                if contacts.is_empty() {
                    self.users.remove(local);
                }
            }
            return Some(changed);
        }
        let mut contact = Contact::default();
        change(&mut contact);
        if contact.is_empty() {
            return Some(false);
        }
        let own = self.users.get(local).map_or(0, BTreeMap::len);
        if self.count >= self.room.contacts || own >= self.room.contacts_per_user {
            return None;
        }
        if Questions::is_one(&contact) && !self.questions.has_room(local, partner) {
            return None;
        }
        self.count += 1;
        self.counts.turn(&Contact::default(), &contact);
        self.questions.turn(local, partner, &Contact::default(), &contact);
        self.users.entry(local.into()).or_default().insert(partner.into(), contact);
        Some(true)
    }
}

/// The transitions themselves.
fn apply(contact: &mut Contact, passing: &Passing<'_>) {
    let place = contact.shown.iter().position(|shown| **shown == *passing.resource);
    match (passing.toward, passing.kind) {
        (Toward::Local, PresenceType::Subscribe) => {
            contact.asking = !contact.from;
            contact.vetoed = false;
        }
        (Toward::Local, PresenceType::Subscribed) => {
            contact.to |= contact.asked;
            contact.asked = false;
            contact.vetoed = false;
        }
        (Toward::Local, PresenceType::Unsubscribe) | (Toward::Partner, PresenceType::Unsubscribed) => {
            contact.from = false;
            contact.asking = false;
        }
        (Toward::Local, PresenceType::Unsubscribed) => {
            contact.vetoed |= contact.to || contact.asked;
            contact.to = false;
            contact.asked = false;
        }
        (Toward::Partner, PresenceType::Subscribe) => {
            contact.asked = !contact.to;
            contact.introduced = true;
        }
        (Toward::Partner, PresenceType::Subscribed) => {
            contact.from = true;
            contact.asking = false;
        }
        (Toward::Partner, PresenceType::Unsubscribe) => {
            contact.to = false;
            contact.asked = false;
        }
        (Toward::Partner, PresenceType::Available) => {
            if place.is_none() && contact.shown.len() < SHOWN_MAX {
                contact.shown.push(passing.resource.into());
            }
        }
        (Toward::Partner, PresenceType::Unavailable) => match (place, passing.resource) {
            // RFC 6121 §4.5: from the bare address it speaks for all resources.
            (_, "") => contact.shown.clear(),
            (Some(place), _) => {
                contact.shown.remove(place);
            }
            (None, _) => {}
        },
        (_, PresenceType::Probe | PresenceType::Error)
        | (Toward::Local, PresenceType::Available | PresenceType::Unavailable) => {}
    }
}

#[cfg(test)]
mod tests;
