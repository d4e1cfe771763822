//! Presence on its way through a shard. Invariant: what is told to others about a subscription is on disk first, where there is a
//! store; presence of one pair of users keeps its order while something of it waits; what a home shows of its users ends when
//! they leave it, and whoever may see them is served from the new home without being asked again.
//!
//! The shard that owns a local user keeps his contacts. Presence between a SIP home and a partner is ruled there, on its way; of
//! presence between the legacy gateway and a partner the owner is told (`Handoff::Fact`), as that goes on at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};

use super::Shard;
use super::pace::{self, Pacer};
use super::wishes::{What, Wish};
use crate::contact::{Contact, Pair, Record};
use crate::contacts::{Changed, Contacts, Passing, Ruling, Toward};
use crate::home::{BackendKind, HomeId, Residence};
use crate::io::{Fact, Handoff, Outbox, Output, Side, Told};
use crate::jid::Jid;
use crate::limits::{PRESENCE_WAITING_MAX, TOLD_CONTACTS_MAX};
use crate::placement::owner_of_user;
use crate::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use crate::route::Route;
use crate::stanza::{Kind, PresenceType, Stanza};
use crate::tally::DropRule;
use crate::trace;

/// A partner's user who was asked is not asked again sooner.
const ASKED: Duration = Duration::from_secs(600);
/// So many are remembered.
const ASKED_MAX: usize = 65_536;

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
    /// When a partner's user was asked for a local user last, where that is not long ago.
    asked: HashMap<Pair, Instant>,
    pub(super) pacer: Pacer<Due>,
    /// The pacer's timer is set.
    pub(super) pacing: bool,
    /// Wishes that wait or are on their way, so that none is there twice.
    pub(super) wishes: HashSet<Wish>,
    /// Wishes that led nowhere, and when to try again.
    pub(super) again: BTreeMap<(Instant, u64), Wish>,
    pub(super) again_count: u64,
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
#[expect(
    clippy::large_enum_variant,
    reason = "in a wait for its turn a stanza costs what it costs elsewhere"
)]
pub(super) enum Due {
    Wish(Wish),
    Step(Route, Stanza),
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

    /// Whether this user was asked a moment ago and has not answered: his answer may be on its way, and he is not to be asked
    /// twice. Notes that he is asked now, if not.
    fn has_asked(&mut self, now: Instant, local: &str, partner: &str) -> bool {
        let pair = pair(local, partner);
        let waits = self.contacts.get(local, partner).is_some_and(|contact| contact.asked);
        if waits && self.asked.get(&pair).is_some_and(|at| now < *at + ASKED) {
            return true;
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.retain(|_, at| now < *at + ASKED);
        }
        if self.asked.len() < ASKED_MAX {
            self.asked.insert(pair, now);
        }
        false
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
                self.notice(now, &stanza, Toward::Local, kind, out);
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
                self.notice(now, &stanza, Toward::Partner, kind, out);
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

    pub(super) fn lives_on(&self, bare: &str) -> Option<HomeId> {
        match self.directory.look_up(bare).map(|user| user.residence) {
            Some(Residence::Home(home)) => Some(home),
            _ => None,
        }
    }

    pub(super) fn is_pool(&self, home: HomeId) -> bool {
        self.world.homes.get(home).is_some_and(|home| home.backend == BackendKind::Sip)
    }

    /// Presence between the gateway and a partner is remembered by the owner of the local user.
    fn notice(
        &mut self,
        now: Instant,
        stanza: &Stanza,
        toward: Toward,
        kind: PresenceType,
        out: &mut Outbox,
    ) {
        let (local, partner) = match toward {
            Toward::Local => (&stanza.to, &stanza.from),
            Toward::Partner => (&stanza.from, &stanza.to),
        };
        let fact = Fact { local: local.clone(), partner: partner.clone(), toward, kind };
        let owner = owner_of_user(local.bare_str(), self.world.shards);
        if owner == self.index {
            self.learn(now, &fact, out);
        } else {
            out.outputs.push(Output::Handoff(owner, Handoff::Fact(Box::new(fact))));
        }
    }

    /// Takes note of what passed between the gateway and a partner.
    pub(super) fn learn(&mut self, now: Instant, fact: &Fact, out: &mut Outbox) {
        let (local, partner) = (fact.local.bare_str(), fact.partner.bare_str());
        // On its way here it may have been overtaken by a move.
        if self.lives_on(local).is_none_or(|home| self.is_pool(home)) {
            return;
        }
        let resource = fact.local.resource().unwrap_or_default();
        let passing = Passing { local, partner, resource, toward: fact.toward, kind: fact.kind };
        if (fact.toward, fact.kind) == (Toward::Partner, PresenceType::Subscribe) {
            self.presences.has_asked(now, local, partner);
        }
        if self.presences.contacts.observe(&passing) {
            self.store(local, partner, out);
        }
        if fact.toward == Toward::Partner
            && let Some(home) = self.lives_on(local)
        {
            self.heard_of(now, Side::Home(home), out);
            self.confirmed(now, home, fact);
        }
    }

    /// Gives the state of a pair to the store; the number to wait for.
    pub(super) fn store(&mut self, local: &str, partner: &str, out: &mut Outbox) -> u64 {
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

    /// What the rules say of a stanza; the number under which the store was given what it changed; and whether it waits for the store.
    fn judge(&mut self, passing: &Passing<'_>, out: &mut Outbox) -> (Ruling, Option<u64>, bool) {
        let after_others = self.presences.waits(passing.local, passing.partner);
        if self.presences.waiting.len() >= PRESENCE_WAITING_MAX
            && self.world.presence.durable
            && (after_others || changes_a_subscription(passing.kind))
        {
            // Before it changes anything: a change that is refused has not happened.
            return (Ruling::Full, None, false);
        }
        let (ruling, changed) = self.presences.contacts.rule(passing);
        let number = match changed {
            Changed::Nothing => None,
            Changed::Lately | Changed::First => Some(self.store(passing.local, passing.partner, out)),
        };
        let must_wait = self.world.presence.durable && (changed == Changed::First || after_others);
        (ruling, number, must_wait)
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
        if kind == PresenceType::Subscribe && self.presences.has_asked(now, local, partner) {
            self.end(now, stanza, DropRule::ContactKnown, out);
            return None;
        }
        let (ruling, number, must_wait) = self.judge(&passing, out);
        match ruling {
            Ruling::On if must_wait => {
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
        let (ruling, number, must_wait) = self.judge(&passing, out);
        match ruling {
            Ruling::On if must_wait => {
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

    /// What is known of a user, if this shard owns him.
    pub(super) fn describe(&self, now: Instant, user: &Arc<str>) -> Told {
        if owner_of_user(user, self.world.shards) != self.index {
            return Told::default();
        }
        let record = |(partner, contact): (&Arc<str>, &Contact)| Record {
            pair: Pair { local: Arc::clone(user), partner: Arc::clone(partner) },
            contact: contact.clone(),
        };
        let contacts = &self.presences.contacts;
        let homes = (0_u16..).map(HomeId).zip(&self.backends[1..]);
        let open = homes.map(|(home, backend)| (home, backend.describe(now, user)));
        Told {
            contacts: contacts.of(user).take(TOLD_CONTACTS_MAX).map(record).collect(),
            contacts_total: contacts.of(user).count(),
            held: self.holds.waiting_for(user),
            open: open.filter(|(_, lines)| !lines.is_empty()).collect(),
            tried: None,
        }
    }

    /// A stanza ends here by a rule, which is no refusal: nobody waits for anything.
    fn end(&mut self, now: Instant, stanza: Stanza, rule: DropRule, out: &mut Outbox) {
        self.flow(stanza.made).dropped[rule as usize] += 1;
        self.trace.failed(now, &stanza, trace::Step::Dropped(rule), &|| rule.as_str().to_owned());
        self.ended(now, &stanza, out);
        if stanza.origin.ticket != 0 {
            self.tell(now, stanza.origin, Ok(()), out);
        }
    }
}

fn changes_a_subscription(kind: PresenceType) -> bool {
    matches!(
        kind,
        PresenceType::Subscribe
            | PresenceType::Subscribed
            | PresenceType::Unsubscribe
            | PresenceType::Unsubscribed
    )
}

pub(super) fn pair(local: &str, partner: &str) -> Pair {
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
