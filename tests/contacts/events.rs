//! What happens to an estate: people come, go, ask, answer and are moved; servers die.

use std::collections::BTreeMap;
use std::time::Duration;

use turnout_core::contact::Record;
use turnout_core::io::{Closed, Handoff, Input};
use turnout_core::placement::owner_of_user;
use turnout_core::stanza::PresenceType;

use super::desk::Word;
use super::estate::{Estate, GATE, USERS, bare, domain, start};
use crate::support::estate::{LEGACY, LOCAL, PARTNERS, POOL, local};

impl Estate {
    /// Something happens.
    pub(super) fn event(&mut self) {
        let name = local(self.random.below(USERS as u64) as usize);
        let friend = format!("u@{}", PARTNERS[self.random.below(PARTNERS.len() as u64) as usize]);
        let show = [None, Some(""), Some("away"), Some("dnd")][self.random.below(4) as usize];
        let show = show.map(str::to_owned);
        let what = self.random.below(100);
        let mut out = Vec::new();
        match what {
            0..15 => self.friends.get_mut(&friend).unwrap().becomes(&friend, show, &mut out),
            15..25 => {
                self.friends.get_mut(&friend).unwrap().asks(&friend, &name, &mut out);
                // Who asks himself may be asked once more, whatever he said before.
                if let Some(asked) = self.asked.get_mut(&(name.clone(), friend.clone())) {
                    *asked += 1;
                }
            }
            25..29 => self.friends.get_mut(&friend).unwrap().leaves(&friend, &name, &mut out),
            29..43 => {
                let yes = self.random.below(4) > 0;
                self.friends.get_mut(&friend).unwrap().answers(&friend, &name, yes, &mut out);
            }
            43..58 => self.person_becomes(&name, show, &mut out),
            58..68 => self.person_asks(&name, &friend, &mut out),
            68..71 => {
                self.people.get_mut(&name).unwrap().contacts.remove(&friend);
            }
            71..82 => self.person_answers(&name, &friend, &mut out),
            82..88 => self.moves(&name),
            88..90 => self.crash(),
            90..92 => {
                self.note(|| format!("{friend}'s server starts anew"));
                self.friends.get_mut(&friend).unwrap().restarts();
            }
            92..94 => self.partner_fails(&friend),
            94..96 => self.pool_fails(),
            96..98 => self.gateway_fails(),
            _ => {
                let seconds = self.random.below(90);
                for _ in 0..4 {
                    self.pass(Duration::from_secs(seconds / 4));
                }
            }
        }
        self.write(out);
        self.write_wires();
    }

    fn person_becomes(&mut self, name: &str, show: Option<String>, out: &mut Vec<Word>) {
        self.note(|| format!("{name} becomes {show:?}"));
        self.people.get_mut(name).unwrap().online = show;
        if self.home(name) == LEGACY {
            if !self.gateway_is_down() {
                self.people[name].show(name, out);
            }
        } else {
            self.pool.shows(self.seconds(), name, &self.people);
        }
    }

    fn person_asks(&mut self, name: &str, friend: &str, out: &mut Vec<Word>) {
        let legacy = self.home(name) == LEGACY;
        if legacy && self.gateway_is_down() {
            return;
        }
        let person = self.people.get_mut(name).unwrap();
        if person.refused_by.contains(friend) || !person.contacts.insert(friend.to_owned()) {
            return;
        }
        *self.asked.entry((name.to_owned(), friend.to_owned())).or_default() += 1;
        self.note(|| format!("{name} adds {friend}"));
        if legacy {
            out.push(Word::new(PresenceType::Subscribe, name, friend));
        }
    }

    fn person_answers(&mut self, name: &str, friend: &str, out: &mut Vec<Word>) {
        if self.home(name) == LEGACY && self.gateway_is_down() {
            return;
        }
        let yes = self.random.below(4) > 0;
        let person = self.people.get_mut(name).unwrap();
        let known = person.watchers.get(friend) == Some(&true);
        if !person.prompts.contains(friend) && (yes || !known) {
            return;
        }
        self.note(|| format!("{name} answers {friend}: {yes}"));
        if self.home(name) == LEGACY {
            self.people.get_mut(name).unwrap().answers(name, friend, yes, out);
        } else {
            self.pool.answers(self.seconds(), name, friend, yes, &mut self.people);
        }
    }

    fn moves(&mut self, name: &str) {
        let busy = self.router.moving.values().any(|(moving, _)| moving == name);
        if busy {
            return;
        }
        let home = if self.home(name) == LEGACY { POOL } else { LEGACY };
        let (id, act) = self.router.mover.begin(self.now, vec![name.into()]);
        self.router.moving.insert(id, (name.to_owned(), home));
        self.act(act);
    }

    /// The router dies and starts anew from what its store has.
    fn crash(&mut self) {
        self.note(|| "the router dies".to_owned());
        let words = self.outside.lock().unwrap().heard.drain(..).collect::<Vec<_>>();
        let inside = self.inside.lock().unwrap().heard.drain(..).collect::<Vec<_>>();
        for word in words.into_iter().chain(inside) {
            self.blur(&word);
        }
        for mail in std::mem::take(&mut self.router.mail).into_iter().flatten() {
            let (from, to) = match &mail {
                Input::Handoff(Handoff::Stanza(stanza, _)) => (stanza.from.as_str(), stanza.to.as_str()),
                Input::Handoff(Handoff::Fact(fact)) => (fact.local.as_str(), fact.partner.as_str()),
                _ => continue,
            };
            self.blur(&Word::new(PresenceType::Subscribe, from, to));
        }
        // What waited for the store, or for its turn, was not told to anybody; but the sender believes it arrived.
        for (_, record) in std::mem::take(&mut self.router.unconfirmed).into_iter().flatten() {
            self.blurred.insert((record.pair.local.to_string(), record.pair.partner.to_string()));
        }
        // What waited in memory for a partner that cannot be reached, or is not tried again yet, or for the end of a move.
        let moving: Vec<String> = self.router.moving.values().map(|(name, _)| name.clone()).collect();
        let down = self.were_down.clone();
        for (name, friend) in self.people.keys().flat_map(|name| self.friends.keys().map(move |f| (name, f)))
        {
            if down.contains(&domain(friend)) || moving.contains(name) {
                self.blurred.insert((name.clone(), friend.clone()));
            }
        }
        for number in std::mem::take(&mut self.wires).into_keys() {
            self.pool.loses(self.seconds(), number);
        }
        self.pool.out.clear();
        self.entrances.clear();
        for desk in [&self.outside, &self.inside] {
            let mut desk = desk.lock().unwrap();
            (desk.links, desk.said) = (BTreeMap::new(), BTreeMap::new());
        }
        self.starts += 1;
        self.router = start(&self.world, &self.directory, &self.outside, &self.inside, self.starts);
        let shards = self.world.shards;
        for index in 0..shards {
            let own = self.store.iter().filter(|(pair, _)| owner_of_user(&pair.local, shards) == index);
            let own = own.map(|(pair, contact)| Record { pair: pair.clone(), contact: contact.clone() });
            let own = own.collect();
            self.handle(usize::from(index), Input::Contacts(own));
        }
    }

    pub(super) fn blur(&mut self, word: &Word) {
        let (from, to) = (bare(&word.from), bare(&word.to));
        if !matches!(
            word.kind,
            PresenceType::Available | PresenceType::Unavailable | PresenceType::Probe | PresenceType::Error
        ) {
            self.blurred.insert(if domain(&from) == LOCAL { (from, to) } else { (to, from) });
        }
    }

    /// A partner's server cannot be reached, or can again.
    fn partner_fails(&mut self, friend: &str) {
        let name = domain(friend);
        let mut links = Vec::new();
        {
            let mut desk = self.outside.lock().unwrap();
            if !desk.down.remove(&name) {
                desk.down.insert(name.clone());
                self.were_down.insert(name.clone());
                links.extend(desk.links.iter().filter(|(_, at)| **at == name).map(|(link, _)| *link));
            }
        }
        self.note(|| format!("{name} goes down or comes up"));
        for link in links {
            self.handle(usize::from(link.shard()), Input::Closed(link, Closed::Broken("reset".into())));
        }
    }

    pub(super) fn gateway_is_down(&self) -> bool {
        self.inside.lock().unwrap().down.contains(LOCAL)
    }

    /// The gateway cannot be reached, or can again. It says nothing of itself when it is back: it knows who may see its users,
    /// and does not know that somebody sees nobody.
    fn gateway_fails(&mut self) {
        let mut links: Vec<_> = self.entrances.remove(GATE).into_iter().collect();
        let mut lost = self.written.remove(GATE).unwrap_or_default();
        let down = {
            let mut desk = self.inside.lock().unwrap();
            let down = !desk.down.remove(LOCAL);
            if down {
                desk.down.insert(LOCAL.to_owned());
                links.extend(desk.links.keys());
                lost.extend(desk.heard.drain(..));
            }
            down
        };
        self.note(|| format!("the gateway is down: {down}"));
        for word in lost {
            self.blur(&word);
        }
        if down {
            let legacy: Vec<String> =
                self.people.keys().filter(|name| self.home(name) == LEGACY).cloned().collect();
            for name in legacy {
                self.people.get_mut(&name).unwrap().seen.clear();
            }
        }
        for link in links {
            self.handle(usize::from(link.shard()), Input::Closed(link, Closed::Eof));
        }
    }

    /// The pool cannot be reached, or can again, and has forgotten its dialogs.
    fn pool_fails(&mut self) {
        self.pool_is_down = !self.pool_is_down;
        let down = self.pool_is_down;
        self.note(|| format!("the pool is down: {down}"));
        if down {
            self.pool.forgets(|_| true);
            self.pool.out.clear();
            for person in self.people.values_mut() {
                person.seen.clear();
            }
            for (_, wire) in std::mem::take(&mut self.wires) {
                let closed = Input::Closed(wire.link, Closed::Broken("reset".into()));
                self.handle(usize::from(wire.link.shard()), closed);
            }
        }
    }
}
