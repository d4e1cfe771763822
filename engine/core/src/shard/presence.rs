//! Presence on its way through a shard. Invariant: what is told to others about a subscription is on disk first, where there is a
//! store; presence of one pair of users keeps its order while something of it waits; what a home shows of its users ends when
//! they leave it, and whoever may see them is served from the new home without being asked again.
//!
//! The shard that owns a local user keeps his contacts. Presence between a SIP home and a partner is ruled there, on its way; of
//! presence between the legacy gateway and a partner the owner is told (`Handoff::Fact`), as that goes on at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::pace::{self, Pacer};
use super::{Shard, Timer};
use crate::backend::Composed;
use crate::contact::{Pair, Record};
use crate::contacts::{Changed, Contacts, Passing, Ruling, Toward};
use crate::home::{BackendKind, HomeId, Residence};
use crate::io::{Fact, Handoff, Outbox, Output, Side};
use crate::jid::{Domain, Jid};
use crate::limits::PRESENCE_WAITING_MAX;
use crate::placement::owner_of_user;
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::route::Route;
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::tally::DropRule;

/// After so long a home that could not be asked for a user's presence is asked again.
const AGAIN: Duration = Duration::from_secs(30);

/// The presence side of a shard.
#[derive(Debug, Default)]
pub(super) struct Presences {
    pub(super) contacts: Contacts,
    /// Number of the last record given to the store.
    stored: u64,
    /// Stanzas that go on when the store has this number, in its order.
    waiting: VecDeque<(u64, Step)>,
    /// How many of them there are for a pair.
    waiting_for: HashMap<Pair, usize>,
    pacer: Pacer<Due>,
    /// The pacer's timer is set.
    pacing: bool,
    /// Wishes that wait or are on their way, so that none is there twice.
    wishes: HashSet<Wish>,
    /// Wishes whose home could not be reached, and when to try again; in the order of time.
    again: VecDeque<(Instant, Wish)>,
}

/// A stanza with the rest of its way.
#[derive(Debug)]
enum Step {
    /// To a user of this SIP home.
    Home(HomeId, Stanza),
    /// On this route.
    Route(Route, Stanza),
}

impl Step {
    fn stanza(&self) -> &Stanza {
        let (Self::Home(_, stanza) | Self::Route(_, stanza)) = self;
        stanza
    }

    fn pair(&self) -> Pair {
        match self {
            Self::Home(_, stanza) => pair(stanza.to.bare_str(), stanza.from.bare_str()),
            Self::Route(_, stanza) => pair(stanza.from.bare_str(), stanza.to.bare_str()),
        }
    }

    fn into_stanza(self) -> Stanza {
        let (Self::Home(_, stanza) | Self::Route(_, stanza)) = self;
        stanza
    }
}

/// What waits for its turn.
#[derive(Debug)]
enum Due {
    Wish(Wish),
    Step(Route, Stanza),
}

/// Something the router asks for a pair by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wish {
    pair: Pair,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    /// The partner's user is to see the local user: the home is asked.
    Watch,
    /// The partner's user has asked and has no answer: the home is asked again.
    Ask,
    /// The local user is to see the partner's user: the partner is asked.
    Look,
}

impl Presences {
    /// Stanzas that wait here.
    pub(super) fn stanzas(&self) -> usize {
        let steps = self.pacer.iter().filter(|due| matches!(due, Due::Step(..))).count();
        self.waiting.len() + steps
    }

    /// Whether a stanza between such users waits here; both are given bare, recipient first.
    pub(super) fn any_between(&self, mut is_meant: impl FnMut(&str, &str) -> bool) -> bool {
        let waiting = self.waiting.iter().map(|(_, step)| step.stanza());
        let paced = self.pacer.iter().filter_map(|due| match due {
            Due::Step(_, stanza) => Some(stanza),
            Due::Wish(_) => None,
        });
        waiting.chain(paced).any(|stanza| is_meant(stanza.to.bare_str(), stanza.from.bare_str()))
    }

    /// Takes all that waits.
    pub(super) fn take(&mut self) -> Vec<Stanza> {
        let waiting: Vec<Stanza> = self.waiting.drain(..).map(|(_, step)| step.into_stanza()).collect();
        self.waiting_for.clear();
        self.wishes.clear();
        let paced = self.pacer.take().into_iter().filter_map(|due| match due {
            Due::Step(_, stanza) => Some(stanza),
            Due::Wish(_) => None,
        });
        waiting.into_iter().chain(paced).collect()
    }

    /// Whether presence of these two waits for the store.
    fn waits(&self, local: &str, partner: &str) -> bool {
        !self.waiting.is_empty() && self.waiting_for.contains_key(&pair(local, partner))
    }

    fn push(&mut self, number: Option<u64>, step: Step) {
        let last = self.waiting.back().map_or(0, |(number, _)| *number);
        *self.waiting_for.entry(step.pair()).or_default() += 1;
        self.waiting.push_back((number.unwrap_or(last).max(last), step));
    }

    /// Takes the next that waits for no higher number.
    fn pop(&mut self, number: u64) -> Option<Step> {
        if self.waiting.front().is_none_or(|(wanted, _)| *wanted > number) {
            return None;
        }
        let (_, step) = self.waiting.pop_front()?;
        if let Some(count) = self.waiting_for.get_mut(&step.pair()) {
            *count -= 1;
            if *count == 0 {
                self.waiting_for.remove(&step.pair());
            }
        }
        Some(step)
    }
}

impl Shard {
    /// A routed presence stanza: what it says is heeded. `None`: it goes no further, or later.
    pub(super) fn heed(
        &mut self,
        now: Instant,
        stanza: Stanza,
        route: Route,
        out: &mut Outbox,
    ) -> Option<(Stanza, Route)> {
        let Kind::Presence(kind) = stanza.kind else { return Some((stanza, route)) };
        if !self.keeps_contacts || stanza.made || stanza.attempts > 0 {
            return Some((stanza, route));
        }
        match (stanza.origin.side, &route) {
            (Side::Partners, Route::Home(home)) if !self.is_pool(*home) => {
                self.notice(&stanza, Toward::Local, kind, out);
                Some((stanza, route))
            }
            // Ruled where the user is owned, see `admit`.
            (Side::Home(home), Route::Partner { .. }) => {
                if self.is_left_behind(home, &stanza, kind) {
                    self.end(now, stanza, DropRule::HomeLeft, out);
                    return None;
                }
                if self.is_pool(home) {
                    return self.rule_outward(now, stanza, route, kind, out);
                }
                self.notice(&stanza, Toward::Partner, kind, out);
                Some((stanza, route))
            }
            _ => Some((stanza, route)),
        }
    }

    /// Presence that tells what a home shows of a user who has left it.
    fn is_left_behind(&self, home: HomeId, stanza: &Stanza, kind: PresenceType) -> bool {
        matches!(kind, PresenceType::Available | PresenceType::Unavailable)
            && self.lives_on(stanza.from.bare_str()) != Some(home)
    }

    fn lives_on(&self, bare: &str) -> Option<HomeId> {
        match self.directory.look_up(bare).map(|user| user.residence) {
            Some(Residence::Home(home)) => Some(home),
            _ => None,
        }
    }

    pub(super) fn is_pool(&self, home: HomeId) -> bool {
        self.world.homes.get(home).is_some_and(|home| home.backend == BackendKind::Sip)
    }

    /// Presence between the gateway and a partner is remembered by the owner of the local user.
    fn notice(&mut self, stanza: &Stanza, toward: Toward, kind: PresenceType, out: &mut Outbox) {
        let (local, partner) = match toward {
            Toward::Local => (&stanza.to, &stanza.from),
            Toward::Partner => (&stanza.from, &stanza.to),
        };
        let fact = Fact { local: local.clone(), partner: partner.clone(), toward, kind };
        let owner = owner_of_user(local.bare_str(), self.world.shards);
        if owner == self.index {
            self.learn(&fact, out);
        } else {
            out.outputs.push(Output::Handoff(owner, Handoff::Fact(Box::new(fact))));
        }
    }

    /// Takes note of what passed between the gateway and a partner.
    pub(super) fn learn(&mut self, fact: &Fact, out: &mut Outbox) {
        let (local, partner) = (fact.local.bare_str(), fact.partner.bare_str());
        // On its way here it may have been overtaken by a move.
        if self.lives_on(local).is_none_or(|home| self.is_pool(home)) {
            return;
        }
        let resource = fact.local.resource().unwrap_or_default();
        let passing = Passing { local, partner, resource, toward: fact.toward, kind: fact.kind };
        if self.presences.contacts.observe(&passing) {
            self.store(local, partner, out);
        }
    }

    /// Gives the state of a pair to the store; the number to wait for.
    fn store(&mut self, local: &str, partner: &str, out: &mut Outbox) -> u64 {
        if self.world.presence.durable {
            self.presences.stored += 1;
            let record = Box::new(self.presences.contacts.record(local, partner));
            out.outputs.push(Output::Persist(self.presences.stored, record));
        }
        self.presences.stored
    }

    /// A local user wrote to a partner's user first.
    pub(super) fn introduce(&mut self, local: &Jid, partner: &Jid, out: &mut Outbox) {
        if self.presences.contacts.introduce(local.bare_str(), partner.bare_str()) {
            self.store(local.bare_str(), partner.bare_str(), out);
        }
    }

    /// From a SIP home to a partner.
    fn rule_outward(
        &mut self,
        now: Instant,
        stanza: Stanza,
        route: Route,
        kind: PresenceType,
        out: &mut Outbox,
    ) -> Option<(Stanza, Route)> {
        let resource = stanza.from.resource().unwrap_or_default();
        let (local, partner) = (stanza.from.bare_str(), stanza.to.bare_str());
        let passing = Passing { local, partner, resource, toward: Toward::Partner, kind };
        let (ruling, changed) = self.presences.contacts.rule(&passing);
        let number = match changed {
            Changed::Nothing => None,
            Changed::Lately | Changed::First => Some(self.store(local, partner, out)),
        };
        let must_wait = changed == Changed::First || self.presences.waits(local, partner);
        match ruling {
            Ruling::On if must_wait && self.world.presence.durable => {
                self.wait(now, number, Step::Route(route, stanza), out);
                None
            }
            Ruling::On => self.shape(now, stanza, route, kind, out),
            Ruling::Granted | Ruling::Vetoed => {
                let answer = if ruling == Ruling::Granted {
                    let pair = pair(local, partner);
                    self.wish(now, Wish { pair, what: What::Look }, out);
                    PresenceType::Subscribed
                } else {
                    PresenceType::Unsubscribed
                };
                let (from, to) = (stanza.to.bare(), stanza.from.bare());
                self.end(now, stanza, DropRule::ContactKnown, out);
                self.compose(now, answer, from, to, out);
                None
            }
            Ruling::Unasked => {
                self.end(now, stanza, DropRule::ContactUnasked, out);
                None
            }
            Ruling::Full => {
                self.refuse(now, stanza, no_room(), out);
                None
            }
        }
    }

    /// From a partner to a user of a SIP home, on the shard that owns him.
    pub(super) fn admit(&mut self, now: Instant, home: HomeId, stanza: Stanza, out: &mut Outbox) {
        let Kind::Presence(kind) = stanza.kind else { return self.give_to_pool(now, home, stanza, out) };
        if stanza.made || stanza.attempts > 0 || !self.may_write(&stanza) {
            return self.give_to_pool(now, home, stanza, out);
        }
        let (local, partner) = (stanza.to.bare_str(), stanza.from.bare_str());
        let passing = Passing { local, partner, resource: "", toward: Toward::Local, kind };
        let (ruling, changed) = self.presences.contacts.rule(&passing);
        let number = match changed {
            Changed::Nothing => None,
            Changed::Lately | Changed::First => Some(self.store(local, partner, out)),
        };
        let must_wait = changed == Changed::First || self.presences.waits(local, partner);
        match ruling {
            Ruling::On if must_wait && self.world.presence.durable => {
                self.wait(now, number, Step::Home(home, stanza), out);
            }
            Ruling::On => self.give_to_pool(now, home, stanza, out),
            // Toward a local user nothing is answered from what is known.
            Ruling::Unasked | Ruling::Granted | Ruling::Vetoed => {
                self.end(now, stanza, DropRule::ContactUnasked, out);
            }
            Ruling::Full => self.refuse(now, stanza, no_room(), out),
        }
    }

    /// A stanza waits for the store.
    fn wait(&mut self, now: Instant, number: Option<u64>, step: Step, out: &mut Outbox) {
        if self.presences.waiting.len() >= PRESENCE_WAITING_MAX {
            return self.refuse(now, step.into_stanza(), no_room(), out);
        }
        self.presences.push(number, step);
    }

    /// The store has everything up to this number.
    pub(super) fn persisted(&mut self, now: Instant, number: u64, out: &mut Outbox) {
        while let Some(step) = self.presences.pop(number) {
            match step {
                Step::Home(home, stanza) => self.give_to_pool(now, home, stanza, out),
                Step::Route(route, stanza) => {
                    let Kind::Presence(kind) = stanza.kind else { continue };
                    if let Some((stanza, route)) = self.shape(now, stanza, route, kind, out) {
                        self.forward(now, stanza, route, out);
                    }
                }
            }
        }
    }

    /// Requests to partners go out evenly: a pool asks for all contacts of a user at once, and of all users after a move
    /// (requirement 29).
    fn shape(
        &mut self,
        now: Instant,
        stanza: Stanza,
        route: Route,
        kind: PresenceType,
        out: &mut Outbox,
    ) -> Option<(Stanza, Route)> {
        if !matches!(kind, PresenceType::Subscribe | PresenceType::Probe) {
            return Some((stanza, route));
        }
        let Route::Partner { theirs, .. } = &route else { return Some((stanza, route)) };
        if self.presences.pacer.len() >= PRESENCE_WAITING_MAX {
            self.refuse(now, stanza, no_room(), out);
            return None;
        }
        let lane = pace::Toward::Partner(theirs.clone());
        let per_second = self.world.presence.per_second;
        match self.presences.pacer.offer(now, lane, per_second, Due::Step(route, stanza)) {
            Some(Due::Step(route, stanza)) => Some((stanza, route)),
            Some(Due::Wish(_)) | None => {
                self.set_pace(now);
                None
            }
        }
    }

    /// Something is to be asked, now or when it has its turn.
    fn wish(&mut self, now: Instant, wish: Wish, out: &mut Outbox) {
        if !self.presences.wishes.insert(wish.clone()) {
            return;
        }
        let lane = match wish.what {
            What::Watch | What::Ask => self.lives_on(&wish.pair.local).map(pace::Toward::Home),
            What::Look => {
                Jid::parse(&wish.pair.partner).ok().map(|jid| pace::Toward::Partner(Domain::from(&jid)))
            }
        };
        let Some(lane) = lane else {
            self.presences.wishes.remove(&wish);
            return;
        };
        let per_second = self.world.presence.per_second;
        match self.presences.pacer.offer(now, lane, per_second, Due::Wish(wish)) {
            Some(due) => self.turn_of(now, due, out),
            None => self.set_pace(now),
        }
    }

    fn set_pace(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.presences.pacing, true) {
            self.timers.set(now + pace::SLICE, Timer::Presence);
        }
    }

    /// A tenth of a second is over.
    pub(super) fn presence_due(&mut self, now: Instant, out: &mut Outbox) {
        self.presences.pacing = false;
        while self.presences.again.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, wish)) = self.presences.again.pop_front() {
                self.presences.wishes.remove(&wish);
                self.wish(now, wish, out);
            }
        }
        for due in self.presences.pacer.due(now, self.world.presence.per_second) {
            self.turn_of(now, due, out);
        }
        if self.presences.pacer.len() > 0 {
            self.set_pace(now);
        } else if let Some((at, _)) = self.presences.again.front() {
            let at = *at;
            if !std::mem::replace(&mut self.presences.pacing, true) {
                self.timers.set(at, Timer::Presence);
            }
        }
    }

    fn turn_of(&mut self, now: Instant, due: Due, out: &mut Outbox) {
        match due {
            Due::Step(route, stanza) => self.forward(now, stanza, route, out),
            Due::Wish(wish) => {
                self.presences.wishes.remove(&wish);
                self.grant(now, &wish, out);
            }
        }
    }

    /// Asks what was wished for, if it is still to be asked.
    fn grant(&mut self, now: Instant, wish: &Wish, out: &mut Outbox) {
        let Pair { local, partner } = &wish.pair;
        let Some(contact) = self.presences.contacts.get(local, partner) else { return };
        let (Ok(local), Ok(partner)) = (Jid::parse(local), Jid::parse(partner)) else { return };
        match wish.what {
            What::Watch if contact.from => self.compose(now, PresenceType::Probe, partner, local, out),
            What::Ask if contact.asking => self.compose(now, PresenceType::Subscribe, partner, local, out),
            What::Look if contact.to => self.compose(now, PresenceType::Probe, local, partner, out),
            What::Watch | What::Ask | What::Look => {}
        }
    }

    /// A stanza the router made did not arrive. A home that could not be asked is asked again later, and until then shows nobody.
    pub(super) fn asked_in_vain(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) {
        let what = match stanza.kind {
            Kind::Presence(PresenceType::Probe) => What::Watch,
            Kind::Presence(PresenceType::Subscribe) => What::Ask,
            _ => return,
        };
        let (local, partner) = (stanza.to.bare_str(), stanza.from.bare_str());
        let owner = owner_of_user(local, self.world.shards);
        if !self.keeps_contacts || owner != self.index || self.draining.is_some() {
            return;
        }
        if self.presences.contacts.get(local, partner).is_none_or(|contact| !contact.from && !contact.asking)
        {
            return;
        }
        let wish = Wish { pair: pair(local, partner), what };
        self.show_gone(now, &wish.pair, out);
        if self.presences.wishes.insert(wish.clone()) {
            self.presences.again.push_back((now + AGAIN, wish));
            if !std::mem::replace(&mut self.presences.pacing, true) {
                self.timers.set(now + AGAIN, Timer::Presence);
            }
        }
    }

    /// Whatever a partner's user was shown of a local user ends.
    fn show_gone(&mut self, now: Instant, pair: &Pair, out: &mut Outbox) {
        let shown = self.presences.contacts.take_shown(&pair.local, &pair.partner);
        if shown.is_empty() {
            return;
        }
        self.store(&pair.local, &pair.partner, out);
        let Ok(partner) = Jid::parse(&pair.partner) else { return };
        for resource in shown {
            let from = if resource.is_empty() {
                Jid::parse(&pair.local)
            } else {
                Jid::parse(&format!("{}/{resource}", pair.local))
            };
            if let Ok(from) = from {
                self.compose(now, PresenceType::Unavailable, from, partner.clone(), out);
            }
        }
    }

    /// What the store knows of users this shard owns; comes before any stanza.
    pub(super) fn remember(&mut self, now: Instant, records: Vec<Record>, out: &mut Outbox) {
        if !self.keeps_contacts {
            return;
        }
        for record in records {
            let pair = record.pair.clone();
            self.presences.contacts.put(record);
            if self.lives_on(&pair.local).is_some_and(|home| self.is_pool(home)) {
                self.serve(now, pair, out);
            }
        }
    }

    /// Whoever may see this user, or has asked to, is served from his home.
    fn serve(&mut self, now: Instant, pair: Pair, out: &mut Outbox) {
        let Some(contact) = self.presences.contacts.get(&pair.local, &pair.partner) else { return };
        let (from, asking) = (contact.from, contact.asking);
        if from {
            self.wish(now, Wish { pair: pair.clone(), what: What::Watch }, out);
        }
        if asking {
            self.wish(now, Wish { pair, what: What::Ask }, out);
        }
    }

    /// A user this shard owns has another home than before.
    pub(super) fn resettle(&mut self, now: Instant, user: &Arc<str>, old: Option<HomeId>, out: &mut Outbox) {
        let new = self.lives_on(user);
        if !self.keeps_contacts || old == new || owner_of_user(user, self.world.shards) != self.index {
            return;
        }
        if let Some(old) = old.filter(|old| self.is_pool(*old)) {
            self.backend(Side::Home(old)).part_with(now, user, out);
        }
        let pairs: Vec<(Pair, bool)> = self
            .presences
            .contacts
            .of(user)
            .map(|(partner, contact)| {
                (Pair { local: Arc::clone(user), partner: Arc::clone(partner) }, contact.to)
            })
            .collect();
        let to_gateway = new.is_some_and(|new| !self.is_pool(new));
        for (pair, to) in pairs {
            self.show_gone(now, &pair, out);
            if new.is_some() {
                self.serve(now, pair.clone(), out);
            }
            // A pool asks by itself, the gateway is told.
            if to && to_gateway {
                self.wish(now, Wish { pair, what: What::Look }, out);
            }
        }
    }

    /// A stanza ends here by a rule, which is no refusal: nobody waits for anything.
    fn end(&mut self, now: Instant, stanza: Stanza, rule: DropRule, out: &mut Outbox) {
        self.flow(stanza.made).dropped[rule as usize] += 1;
        if stanza.origin.ticket != 0 {
            self.tell(now, stanza.origin, Ok(()), out);
        }
    }

    /// Makes a presence stanza between two users.
    fn compose(&mut self, now: Instant, kind: PresenceType, from: Jid, to: Jid, out: &mut Outbox) {
        let composed = Composed { kind, from, to };
        self.backend(Side::Partners).compose(now, &composed, out);
    }
}

fn pair(local: &str, partner: &str) -> Pair {
    Pair { local: local.into(), partner: partner.into() }
}

/// A limit of the router.
fn no_room() -> Refusal {
    Refusal::new(
        Condition::ResourceConstraint,
        Blame::Router,
        Retry::Never,
        Bounce::Yes,
        "too many contacts, or too much presence at once",
    )
}
