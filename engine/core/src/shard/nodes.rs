//! The nodes of a home. Invariant: what waits for a node that failed goes on to another one in its order, and a stanza never
//! overtakes an earlier one of the same two users that waits for another node.

use std::time::Instant;

use super::Shard;
use crate::backend::Destination;
use crate::home::{BackendKind, HomeId};
use crate::io::{Level, Outbox, Side};
use crate::limits::ATTEMPTS_MAX;
use crate::refusal::{Refusal, Retry};
use crate::route::{Route, unknown_user};
use crate::stanza::{Kind, MessageType, PresenceType, Stanza};

impl Shard {
    /// To a SIP home: the gate of requirement 11, then the node of this pair of users.
    pub(super) fn give_to_pool(&mut self, now: Instant, home: HomeId, stanza: Stanza, out: &mut Outbox) {
        if !self.may_write(&stanza) {
            let detail = format!(
                "{} is of type public-unverified and {} has not written to {} first",
                stanza.from.domain(),
                stanza.to.bare_str(),
                stanza.from.bare_str()
            );
            self.refuse(now, stanza, unknown_user(detail), out);
            return;
        }
        let key = format!("{} {}", stanza.to.bare_str(), stanza.from.bare_str());
        let picked = match self.pools.get(usize::from(home.0)) {
            Some(pool) => pool.pick(&key, now),
            None => Err(None),
        };
        // With every node resting the stanza waits at the first one's spool: that node is tried again when its time comes.
        let node = self.busy_node(home, &stanza).unwrap_or_else(|| picked.unwrap_or(0));
        self.deliver(now, Destination::Node { side: Side::Home(home), node }, stanza, out);
    }

    /// The node for which stanzas of the same two users wait, so that this one does not overtake them.
    fn busy_node(&self, home: HomeId, stanza: &Stanza) -> Option<u16> {
        let nodes = self.pools.get(usize::from(home.0))?.nodes().len();
        if nodes < 2 {
            return None;
        }
        (0..u16::try_from(nodes).unwrap_or(u16::MAX)).find(|&node| {
            let destination = Destination::Node { side: Side::Home(home), node };
            self.destinations.get(&destination).is_some_and(|waiting| waiting.spool.holds_pair_of(stanza))
        })
    }

    /// Requirement 11: users of unverified partners may not start with a 2019 user.
    pub(super) fn may_write(&self, stanza: &Stanza) -> bool {
        let starts = matches!(
            stanza.kind,
            Kind::Message(
                MessageType::Normal | MessageType::Chat | MessageType::Headline | MessageType::Groupchat
            ) | Kind::Presence(PresenceType::Subscribe)
        );
        if !starts || !self.world.enforce_introductions || stanza.made || stanza.origin.side != Side::Partners
        {
            return true;
        }
        match self.world.policy.find(stanza.from.domain()) {
            Some(partner) if partner.kind.may_start() => true,
            _ => {
                let contact = self.presences.contacts.get(stanza.to.bare_str(), stanza.from.bare_str());
                contact.is_some_and(|contact| contact.introduced || contact.to || contact.asked)
            }
        }
    }

    /// A backend gave a stanza back: again on the way it would go now, or refused when that cannot help.
    pub(super) fn given_back(
        &mut self,
        now: Instant,
        mut stanza: Stanza,
        refusal: Refusal,
        out: &mut Outbox,
    ) {
        stanza.attempts = stanza.attempts.saturating_add(1);
        self.returning = true;
        if refusal.retry == Retry::Never
            || stanza.attempts >= ATTEMPTS_MAX
            || crate::spool::expiry(&stanza) <= now
        {
            self.refuse(now, stanza, refusal, out);
        } else if refusal.retry == Retry::Elsewhere {
            self.try_other_side(now, stanza, refusal, out);
        } else {
            self.follow(now, stanza, out);
        }
        self.returning = false;
    }

    /// The pool does not know the user the directory says it has (requirement 5): the directory lags behind a move. The stanza
    /// goes to the other side, this once: whatever comes of that, no home gives it back a second time.
    fn try_other_side(&mut self, now: Instant, mut stanza: Stanza, refusal: Refusal, out: &mut Outbox) {
        stanza.attempts = ATTEMPTS_MAX - 1;
        self.tally.strays += 1;
        let Some(home) = self.lives_on(stanza.to.bare_str()) else {
            return self.refuse(now, stanza, refusal, out);
        };
        let other = self.world.homes.iter().find(|(_, home)| home.backend == BackendKind::Xmpp);
        let Some((other, _)) = other.filter(|_| self.is_pool(home)) else {
            // The directory has changed meanwhile, or there is no other side.
            return if self.is_pool(home) {
                self.refuse(now, stanza, refusal, out);
            } else {
                self.follow(now, stanza, out);
            };
        };
        let text = format!(
            "the pool does not know this user; tried on home {} instead: if he was moved, read the directory again",
            self.world.side_name(Side::Home(other))
        );
        out.note(Level::Warn, Side::Home(home), stanza.origin.link, stanza.to.bare_str(), text);
        self.forward(now, stanza, Route::Home(other), out);
    }

    /// What waited for a node of a SIP home that failed goes to the nodes that work; a gateway pair is dialed anew at once when
    /// another node is there.
    pub(super) fn move_to_other_nodes(
        &mut self,
        now: Instant,
        destination: &Destination,
        home: HomeId,
        out: &mut Outbox,
    ) {
        let Some(pool) = self.pools.get(usize::from(home.0)) else { return };
        if pool.pick("", now).is_err() {
            return;
        }
        match destination {
            Destination::Pair { .. } => self.redial(now, destination, out),
            Destination::Node { .. } => {
                let Some(waiting) = self.destinations.get_mut(destination) else { return };
                for stanza in waiting.spool.take() {
                    self.give_to_pool(now, home, stanza, out);
                }
                self.relieve(now, destination, out);
            }
        }
    }
}
