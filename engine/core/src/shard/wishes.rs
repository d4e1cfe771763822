//! What the router asks for pairs of users by itself: that a watcher be served from the home his contact lives on now, that a request
//! without an answer be put again, that a partner say who is there. Invariant: a wish is there once; it leaves with its turn in its
//! lane (requirement 29), and comes back when its home could not be reached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::presence::{Due, pair};
use super::{Shard, Timer, pace};
use crate::backend::Composed;
use crate::contact::{Contact, Pair, Record};
use crate::contacts::{Forget, Toward};
use crate::home::HomeId;
use crate::io::{Fact, Handoff, Outbox, Output, Side, Told};
use crate::jid::{Domain, Jid};
use crate::placement::owner_of_user;
use crate::stanza::{Kind, PresenceType, Stanza};

/// After so long a home that could not be asked for a user's presence is asked again.
pub(super) const AGAIN: Duration = Duration::from_secs(30);

/// Something the router asks for a pair by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wish {
    pub(super) pair: Pair,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// The partner's user is to see the local user: the home is asked.
    Watch,
    /// The partner's user has asked and has no answer: the home is asked again.
    Ask,
    /// The local user is to see the partner's user: the partner is asked.
    Look,
    /// What the partner's user was told of the local user did not arrive: that he may see him, and how he is.
    Tell,
    /// What the partner's user was shown, and the gateway did not say again when it was asked, ends.
    Confirm,
}

impl Shard {
    /// Something is to be asked, now or when it has its turn.
    pub(super) fn wish(&mut self, now: Instant, wish: Wish, out: &mut Outbox) {
        if !self.presences.wishes.insert(wish.clone()) {
            return;
        }
        let lane = match wish.what {
            What::Watch | What::Ask => self.lives_on(&wish.pair.local).map(pace::Toward::Home),
            What::Look | What::Tell | What::Confirm => {
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

    pub(super) fn set_pace(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.presences.pacing, true) {
            self.timers.set(now + pace::SLICE, Timer::Presence);
        }
    }

    /// A tenth of a second is over.
    pub(super) fn presence_due(&mut self, now: Instant, out: &mut Outbox) {
        self.presences.pacing = false;
        while let Some(first) = self.presences.again.first_entry().filter(|first| first.key().0 <= now) {
            let wish = first.remove();
            self.presences.wishes.remove(&wish);
            self.wish(now, wish, out);
        }
        for due in self.presences.pacer.due(now, self.world.presence.per_second) {
            self.turn_of(now, due, out);
        }
        if self.presences.pacer.len() > 0 {
            self.set_pace(now);
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
        if wish.what == What::Confirm {
            return self.confirm(now, &wish.pair, out);
        }
        if wish.what == What::Watch {
            let watches = self
                .presences
                .contacts
                .get(&wish.pair.local, &wish.pair.partner)
                .is_some_and(|contact| contact.from);
            self.await_answer(now, &wish.pair, watches);
        }
        let Pair { local, partner } = &wish.pair;
        let Some(contact) = self.presences.contacts.get(local, partner) else { return };
        let (Ok(local), Ok(partner)) = (Jid::parse(local), Jid::parse(partner)) else { return };
        match wish.what {
            What::Watch if contact.from => self.compose(now, PresenceType::Probe, partner, local, out),
            What::Ask if contact.asking => self.compose(now, PresenceType::Subscribe, partner, local, out),
            What::Look if contact.to => self.compose(now, PresenceType::Probe, local, partner, out),
            What::Tell if contact.from => {
                self.compose(now, PresenceType::Subscribed, local.clone(), partner.clone(), out);
                self.compose(now, PresenceType::Probe, partner, local, out);
            }
            What::Watch | What::Ask | What::Look | What::Tell | What::Confirm => {}
        }
    }

    /// Presence did not arrive: what the router made is wished for again, and what a pool's user had to say to a partner's is
    /// said again when there is somebody to hear it.
    pub(super) fn presence_in_vain(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) {
        let Kind::Presence(kind) = stanza.kind else { return };
        if !self.keeps_contacts || self.draining.is_some() {
            return;
        }
        let inward = self.world.domains.iter().any(|domain| domain.as_str() == stanza.to.domain());
        let is_ours = match kind {
            PresenceType::Probe | PresenceType::Subscribe => stanza.made,
            PresenceType::Available | PresenceType::Unavailable | PresenceType::Subscribed => {
                let from_pool = matches!(stanza.origin.side, Side::Home(home) if self.is_pool(home));
                !inward && (stanza.made || from_pool)
            }
            PresenceType::Unsubscribe | PresenceType::Unsubscribed | PresenceType::Error => false,
        };
        if !is_ours {
            return;
        }
        let (local, partner, toward) = match inward {
            true => (&stanza.to, &stanza.from, Toward::Local),
            false => (&stanza.from, &stanza.to, Toward::Partner),
        };
        let owner = owner_of_user(local.bare_str(), self.world.shards);
        let fact = Fact { local: local.clone(), partner: partner.clone(), toward, kind };
        if owner == self.index {
            self.wish_again(now, &fact, out);
        } else {
            out.outputs.push(Output::Handoff(owner, Handoff::InVain(Box::new(fact))));
        }
    }

    /// A wish led nowhere. A home that could not be asked is asked again soon, and until then shows nobody; a partner as often as
    /// it is looked whether his users are still there.
    pub(super) fn wish_again(&mut self, now: Instant, fact: &Fact, out: &mut Outbox) {
        let pair = pair(fact.local.bare_str(), fact.partner.bare_str());
        let Some(contact) = self.presences.contacts.get(&pair.local, &pair.partner) else { return };
        let (what, wanted, after) = match (fact.toward, fact.kind) {
            (Toward::Partner, PresenceType::Probe) => (What::Look, contact.to, self.world.presence.check),
            (Toward::Partner, _) => (What::Tell, contact.from, self.world.presence.check),
            (Toward::Local, PresenceType::Subscribe) => (What::Ask, contact.asking, AGAIN),
            (Toward::Local, _) => (What::Watch, contact.from, AGAIN),
        };
        if !wanted {
            return;
        }
        if fact.toward == Toward::Local {
            self.show_gone(now, &pair, out);
        }
        self.wish_later(now + after, Wish { pair, what });
    }

    /// Something is to be asked at this time.
    pub(super) fn wish_later(&mut self, at: Instant, wish: Wish) {
        if self.presences.wishes.insert(wish.clone()) {
            self.presences.again_count += 1;
            self.presences.again.insert((at, self.presences.again_count), wish);
            self.timers.set(at, Timer::Presence);
        }
    }

    /// Whatever a partner's user was shown of a local user ends.
    pub(super) fn show_gone(&mut self, now: Instant, pair: &Pair, out: &mut Outbox) {
        self.show_some_gone(now, pair, |_| true, out);
    }

    /// Of what a partner's user was shown of a local user, these resources end.
    pub(super) fn show_some_gone(
        &mut self,
        now: Instant,
        pair: &Pair,
        ends: impl FnMut(&Arc<str>) -> bool,
        out: &mut Outbox,
    ) {
        let shown = self.presences.contacts.take_shown(&pair.local, &pair.partner, ends);
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

    /// An administrator takes back what holds between two users. With a whole contact both sides are told that it is over, as when
    /// a user takes the other out of his list (RFC 6121 §2.5.2), so that nobody goes on believing in it.
    pub(super) fn forget(&mut self, now: Instant, pair: &Pair, what: Forget, out: &mut Outbox) -> Told {
        if !self.keeps_contacts || owner_of_user(&pair.local, self.world.shards) != self.index {
            return Told::default();
        }
        if what == Forget::Contact {
            self.show_gone(now, pair, out);
        }
        let Some(before) = self.presences.contacts.forget(&pair.local, &pair.partner, what) else {
            return Told::default();
        };
        self.store(&pair.local, &pair.partner, out);
        if what == Forget::Contact {
            self.say_it_is_over(now, pair, &before, out);
        }
        Told {
            contacts: vec![Record { pair: pair.clone(), contact: before }],
            contacts_total: self.presences.contacts.of(&pair.local).count(),
            ..Told::default()
        }
    }

    /// Tells both sides that they see each other no more.
    fn say_it_is_over(&mut self, now: Instant, pair: &Pair, before: &Contact, out: &mut Outbox) {
        let (Ok(local), Ok(partner)) = (Jid::parse(&pair.local), Jid::parse(&pair.partner)) else { return };
        let mut say = |kind, from: &Jid, to: &Jid| self.compose(now, kind, from.clone(), to.clone(), out);
        if before.from || before.asking {
            say(PresenceType::Unsubscribe, &partner, &local);
            say(PresenceType::Unsubscribed, &local, &partner);
        }
        if before.to || before.asked {
            say(PresenceType::Unsubscribed, &partner, &local);
            say(PresenceType::Unsubscribe, &local, &partner);
        }
    }

    /// What the store knows of users this shard owns; comes before any stanza.
    pub(super) fn remember(&mut self, now: Instant, records: Vec<Record>, out: &mut Outbox) {
        for record in records {
            let pair = record.pair.clone();
            self.presences.contacts.put(record);
            if !self.keeps_contacts {
                // The first pool may come with a reload.
                continue;
            }
            match self.lives_on(&pair.local) {
                Some(home) if self.is_pool(home) => self.serve(now, pair, out),
                Some(home) => self.ask_anew(now, home, pair, out),
                None => {}
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

    /// Makes a presence stanza between two users.
    pub(super) fn compose(&mut self, now: Instant, kind: PresenceType, from: Jid, to: Jid, out: &mut Outbox) {
        let composed = Composed { kind, from, to };
        self.backend(Side::Partners).compose(now, &composed, out);
    }
}
