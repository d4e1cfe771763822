//! The people, and the two XMPP servers among them: a partner's, which keeps rosters as RFC 6121 wants it, and the legacy gateway,
//! which shows partners what its registrar knows.

use std::collections::{BTreeMap, BTreeSet};

use turnout_core::stanza::PresenceType;

use super::desk::Word;

/// What one user is seen as: resource to show.
pub type Seen = BTreeMap<String, String>;

/// A user of a partner, with the part of his server that is his.
#[derive(Debug, Default)]
pub struct Friend {
    /// His show, while he is online.
    pub online: Option<String>,
    /// Local users he sees.
    pub to: BTreeSet<String>,
    /// Local users he has asked to see.
    pub asked: BTreeSet<String>,
    /// Local users who see him.
    pub from: BTreeSet<String>,
    /// Local users whose request waits for his answer.
    pub prompts: BTreeSet<String>,
    /// Requests he was shown, in all.
    pub prompted: BTreeMap<String, usize>,
    /// What he sees.
    pub seen: BTreeMap<String, Seen>,
}

fn split(jid: &str) -> (String, String) {
    let (bare, resource) = jid.split_once('/').unwrap_or((jid, ""));
    (bare.to_owned(), resource.to_owned())
}

impl Friend {
    /// His server reads a stanza for him.
    pub fn hears(&mut self, me: &str, word: &Word, out: &mut Vec<Word>) {
        let (local, resource) = split(&word.from);
        match word.kind {
            PresenceType::Subscribe if self.from.contains(&local) => {
                out.push(Word::new(PresenceType::Subscribed, me, &local));
                self.tell(me, &local, out);
            }
            PresenceType::Subscribe => {
                if self.prompts.insert(local.clone()) {
                    *self.prompted.entry(local).or_default() += 1;
                }
            }
            PresenceType::Subscribed if self.asked.remove(&local) => {
                self.to.insert(local);
            }
            PresenceType::Unsubscribed => {
                self.asked.remove(&local);
                self.to.remove(&local);
                self.seen.remove(&local);
            }
            PresenceType::Error => {
                self.asked.remove(&local);
            }
            PresenceType::Unsubscribe => {
                self.prompts.remove(&local);
                self.from.remove(&local);
            }
            PresenceType::Probe if self.from.contains(&local) => self.tell(me, &local, out),
            PresenceType::Probe => out.push(Word::new(PresenceType::Unsubscribed, me, &local)),
            PresenceType::Available if self.to.contains(&local) && self.online.is_some() => {
                self.seen.entry(local).or_default().insert(resource, word.show.clone());
            }
            PresenceType::Unavailable => {
                let seen = self.seen.entry(local).or_default();
                if resource.is_empty() {
                    seen.clear();
                } else {
                    seen.remove(&resource);
                }
            }
            PresenceType::Available | PresenceType::Subscribed => {}
        }
    }

    fn tell(&self, me: &str, local: &str, out: &mut Vec<Word>) {
        out.push(match &self.online {
            Some(show) => {
                let from = format!("{me}/phone");
                Word { show: show.clone(), ..Word::new(PresenceType::Available, &from, local) }
            }
            None => Word::new(PresenceType::Unavailable, me, local),
        });
    }

    /// He comes, changes or goes.
    pub fn becomes(&mut self, me: &str, online: Option<String>, out: &mut Vec<Word>) {
        let came = self.online.is_none() && online.is_some();
        let gone = self.online.is_some() && online.is_none();
        self.online = online;
        for local in self.from.clone() {
            if gone {
                out.push(Word::new(PresenceType::Unavailable, &format!("{me}/phone"), &local));
            } else {
                self.tell(me, &local, out);
            }
        }
        if came {
            out.extend(self.to.iter().map(|local| Word::new(PresenceType::Probe, me, local)));
        }
        if gone {
            self.seen.clear();
        }
    }

    /// His server has started anew: rosters stay, presence does not.
    pub fn restarts(&mut self) {
        self.online = None;
        self.seen.clear();
    }

    /// He asks to see a local user.
    pub fn asks(&mut self, me: &str, local: &str, out: &mut Vec<Word>) {
        if !self.to.contains(local) && self.asked.insert(local.to_owned()) {
            out.push(Word::new(PresenceType::Subscribe, me, local));
        }
    }

    /// He does not want to see a local user any more.
    pub fn leaves(&mut self, me: &str, local: &str, out: &mut Vec<Word>) {
        if self.to.remove(local) | self.asked.remove(local) {
            self.seen.remove(local);
            out.push(Word::new(PresenceType::Unsubscribe, me, local));
        }
    }

    /// He answers a request, or takes a grant back.
    pub fn answers(&mut self, me: &str, local: &str, yes: bool, out: &mut Vec<Word>) {
        if self.prompts.remove(local) {
            if yes {
                self.from.insert(local.to_owned());
                out.push(Word::new(PresenceType::Subscribed, me, local));
                self.tell(me, local, out);
            } else {
                out.push(Word::new(PresenceType::Unsubscribed, me, local));
            }
        } else if !yes && self.from.remove(local) {
            out.push(Word::new(PresenceType::Unsubscribed, me, local));
        }
    }
}

/// A local user, with what his registrar keeps: it moves with him.
#[derive(Debug, Default)]
pub struct Person {
    /// His show, while he is online.
    pub online: Option<String>,
    /// Partners' users who may see him (`true`) or may not; nobody else has asked.
    pub watchers: BTreeMap<String, bool>,
    /// Requests of watchers he has not answered.
    pub prompts: BTreeSet<String>,
    /// His contacts among partners' users.
    pub contacts: BTreeSet<String>,
    /// Contacts who have refused him.
    pub refused_by: BTreeSet<String>,
    /// What he sees of his contacts.
    pub seen: BTreeMap<String, Seen>,
}

/// The resource of users behind the gateway.
pub const OLD: &str = "old";

impl Person {
    fn tell(&self, me: &str, friend: &str, out: &mut Vec<Word>) {
        let from = format!("{me}/{OLD}");
        out.push(match &self.online {
            Some(show) => Word { show: show.clone(), ..Word::new(PresenceType::Available, &from, friend) },
            None => Word::new(PresenceType::Unavailable, &from, friend),
        });
    }

    /// The gateway reads a stanza for him.
    pub fn hears(&mut self, me: &str, word: &Word, out: &mut Vec<Word>) {
        let (friend, resource) = split(&word.from);
        match word.kind {
            PresenceType::Subscribe => match self.watchers.get(&friend) {
                Some(true) => {
                    out.push(Word::new(PresenceType::Subscribed, me, &friend));
                    self.tell(me, &friend, out);
                }
                Some(false) => out.push(Word::new(PresenceType::Unsubscribed, me, &friend)),
                None => {
                    self.prompts.insert(friend);
                }
            },
            PresenceType::Probe if self.watchers.get(&friend) == Some(&true) => self.tell(me, &friend, out),
            PresenceType::Unsubscribe => {
                self.prompts.remove(&friend);
                self.watchers.remove(&friend);
            }
            PresenceType::Unsubscribed => {
                self.refused_by.insert(friend.clone());
                self.seen.remove(&friend);
            }
            PresenceType::Available if self.contacts.contains(&friend) => {
                self.seen.entry(friend).or_default().insert(resource, word.show.clone());
            }
            PresenceType::Unavailable => {
                let seen = self.seen.entry(friend).or_default();
                if resource.is_empty() {
                    seen.clear();
                } else {
                    seen.remove(&resource);
                }
            }
            PresenceType::Probe
            | PresenceType::Subscribed
            | PresenceType::Available
            | PresenceType::Error => {}
        }
    }

    /// The gateway tells all who may see him.
    pub fn show(&self, me: &str, out: &mut Vec<Word>) {
        for friend in self.watchers.iter().filter(|(_, allowed)| **allowed).map(|(friend, _)| friend) {
            self.tell(me, friend, out);
        }
    }

    /// He answers a request at the gateway.
    pub fn answers(&mut self, me: &str, friend: &str, yes: bool, out: &mut Vec<Word>) {
        self.prompts.remove(friend);
        self.watchers.insert(friend.to_owned(), yes);
        if yes {
            out.push(Word::new(PresenceType::Subscribed, me, friend));
            self.tell(me, friend, out);
        } else {
            out.push(Word::new(PresenceType::Unsubscribed, me, friend));
        }
    }
}
