//! What must hold of an estate at rest.

use super::estate::Estate;
use crate::support::estate::POOL;

impl Estate {
    /// What everybody sees is what is.
    pub(super) fn check(&self) {
        for (name, person) in &self.people {
            for (friend_name, friend) in &self.friends {
                let pair = (name.clone(), friend_name.clone());
                let about = format!("{name} and {friend_name}");
                if self.blurred.contains(&pair) {
                    continue;
                }
                let prompted = friend.prompted.get(name).copied().unwrap_or(0);
                let asked = self.asked.get(&pair).copied().unwrap_or(0);
                // A router that died may ask again while the answer is on its way.
                let asked = asked + self.starts as usize;
                assert!(prompted <= asked, "{about}: prompted {prompted} times, asked {asked} times");
                // The gateway is the presence server of its users, and what it does not say again is not ours to know.
                if self.home(name) != POOL {
                    continue;
                }
                let allows = person.watchers.get(friend_name) == Some(&true);
                if friend.to.contains(name) {
                    assert!(allows, "{about}: the partner believes he may see her, and may not");
                }
                assert!(
                    !(friend.asked.contains(name) && person.watchers.contains_key(friend_name)),
                    "{about}: she has answered, and he was not told"
                );
                if friend.online.is_some() && friend.to.contains(name) {
                    let seen: Vec<&String> =
                        friend.seen.get(name).into_iter().flatten().map(|(_, s)| s).collect();
                    let truth: Vec<&String> = person.online.iter().collect();
                    assert_eq!(seen, truth, "{about}: what he sees of her");
                }
                if person.contacts.contains(friend_name) && !person.refused_by.contains(friend_name) {
                    let seen: Vec<&String> =
                        person.seen.get(friend_name).into_iter().flatten().map(|(_, s)| s).collect();
                    let truth: Vec<&String> =
                        friend.online.iter().filter(|_| friend.from.contains(name)).collect();
                    assert_eq!(seen, truth, "{about}: what she sees of him");
                }
            }
        }
    }

    /// People with something to see, so that a test can tell whether anything happened.
    pub fn sights(&self) -> usize {
        let friends = self.friends.values().flat_map(|friend| friend.seen.values());
        let people = self.people.values().flat_map(|person| person.seen.values());
        friends.chain(people).filter(|seen| !seen.is_empty()).count()
    }
}
