//! What must hold of an estate at rest.

use super::estate::{Estate, domain};
use super::people::Seen;
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
                let allows = person.watchers.get(friend_name) == Some(&true);
                if self.home(name) != POOL {
                    // The gateway is the presence server of its users: what they see it has to ask for by itself, and what a
                    // partner that was down did not hear it does not say again.
                    let sees = allows && friend.to.contains(name) && friend.online.is_some();
                    if sees && !self.were_down.contains(&domain(friend_name)) {
                        self.same(&about, friend.seen.get(name), &person.online);
                    }
                    continue;
                }
                if friend.to.contains(name) {
                    assert!(allows, "{about}: the partner believes he may see her, and may not");
                }
                assert!(
                    !(friend.asked.contains(name) && person.watchers.contains_key(friend_name)),
                    "{about}: she has answered, and he was not told"
                );
                if friend.online.is_some() && friend.to.contains(name) {
                    self.same(&about, friend.seen.get(name), &person.online);
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

    /// What he sees of her is how she is.
    fn same(&self, about: &str, seen: Option<&Seen>, is: &Option<String>) {
        let seen: Vec<&String> = seen.into_iter().flatten().map(|(_, show)| show).collect();
        let truth: Vec<&String> = is.iter().collect();
        assert_eq!(seen, truth, "{about}: what he sees of her");
    }

    /// People with something to see, so that a test can tell whether anything happened.
    pub fn sights(&self) -> usize {
        let friends = self.friends.values().flat_map(|friend| friend.seen.values());
        let people = self.people.values().flat_map(|person| person.seen.values());
        friends.chain(people).filter(|seen| !seen.is_empty()).count()
    }
}
