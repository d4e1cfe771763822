//! Presence and iq for users of the pool, and of its users. Invariant: which user may see which is the router's to know; here are
//! only the dialogs by which the pool is asked ([`watching`], [`noticing`]) and told ([`notifier`], [`notifying`]), and what they
//! say becomes presence stanzas and comes of them.

mod categories;
pub(crate) mod disco;
mod noticing;
mod notifier;
mod notifying;
mod pairs;
pub(crate) mod pidf;
mod recovery;
pub(crate) mod shown;
mod stamp;
pub(crate) mod stanza;
mod subscription;
mod tree;
mod turns;
mod usage;
mod watch;
mod watches;
mod watching;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::backend::Sent;
use turnout_core::contact::Contact;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{IqType, Kind, Origin, PresenceType, Stanza};

use crate::backend::SipBackend;
use crate::slab::Key;
use crate::translate::Envelope;
use disco::{About, Features};
use stanza::write_plain;
use subscription::Reason;
use watch::{Goal, Watch};
use watching::NoWatch;

pub(crate) use notifier::TICKET;
pub(crate) use recovery::Events;
pub(crate) use watching::{EVENT, Refusal as WatchRefusal};

impl SipBackend {
    /// Presence from a partner's user. `contact` is what holds between the two with this stanza.
    pub(crate) fn presence_for(
        &mut self,
        now: Instant,
        link: LinkId,
        stanza: Stanza,
        contact: &Contact,
        out: &mut Outbox,
    ) -> Sent {
        let Kind::Presence(kind) = stanza.kind else { return Sent::Answered(stanza) };
        self.pool_found_by(now, link, out);
        if !stanza.made {
            self.watcher_heard(now, &stanza.to, &stanza.from, Some(kind));
        }
        let (local, partner) = (stanza.to.bare(), stanza.from.bare());
        let begun = match kind {
            PresenceType::Subscribe => self.asked_to_watch(now, link, (&local, &partner), contact, out),
            PresenceType::Probe => self.probed(now, link, (&local, &partner), (contact, stanza.made), out),
            PresenceType::Unsubscribe => {
                self.asked_to_leave(now, (&local, &partner), contact, out);
                Ok(())
            }
            PresenceType::Subscribed => {
                self.allowed(now, (&local, &partner), out);
                Ok(())
            }
            PresenceType::Unsubscribed => {
                self.disallowed(now, (&local, &partner), out);
                Ok(())
            }
            PresenceType::Available | PresenceType::Unavailable => {
                self.sighted(now, &stanza, kind, out);
                Ok(())
            }
            PresenceType::Error => {
                if let Some(key) = self.events.audiences.find(&local, &partner) {
                    self.lose_sight(now, key, out);
                }
                Ok(())
            }
        };
        match begun {
            Ok(()) => Sent::Answered(stanza),
            Err(NoWatch::Address) => {
                let why = "an address of the request has no counterpart in SIP";
                let refusal =
                    Refusal::new(Condition::JidMalformed, Blame::Sender, Retry::Never, Bounce::Yes, why);
                Sent::Refused(stanza, refusal)
            }
            Err(NoWatch::Full) => {
                let why = "too many subscriptions";
                let refusal = Refusal::new(
                    Condition::ResourceConstraint,
                    Blame::Router,
                    Retry::Never,
                    Bounce::Yes,
                    why,
                );
                Sent::Refused(stanza, refusal)
            }
        }
    }

    /// The partner's user wants to see the local user.
    fn asked_to_watch(
        &mut self,
        now: Instant,
        link: LinkId,
        users: (&Jid, &Jid),
        contact: &Contact,
        out: &mut Outbox,
    ) -> Result<(), NoWatch> {
        let found = self.watch_of(users);
        let may_see = contact.from || matches!(found, Some((_, Goal::Keep)));
        if may_see {
            self.emit(now, PresenceType::Subscribed, users, out);
            return self.probed(now, link, users, (contact, false), out);
        }
        match found {
            Some((key, Goal::Ask)) => {
                if let Some(watch) = self.events.watches.get_mut(key) {
                    watch.link = link;
                }
                return Ok(());
            }
            Some((key, _)) => self.forget_watch(key),
            None => {}
        }
        self.begin_watch(now, link, Goal::Ask, users, out).map(|_| ())
    }

    /// The partner's user wants to know how the local user is (RFC 6121 §4.3); or the router wants him to be watched, as it has
    /// started anew or the local user has moved here. Then nobody knows whether the word of the grant ever arrived, so it is said
    /// again, which changes nothing for one who has heard it (RFC 6121 §3.1.6).
    fn probed(
        &mut self,
        now: Instant,
        link: LinkId,
        users: (&Jid, &Jid),
        (contact, by_router): (&Contact, bool),
        out: &mut Outbox,
    ) -> Result<(), NoWatch> {
        match self.watch_of(users) {
            Some((key, Goal::Keep)) => {
                if let Some(watch) = self.events.watches.get_mut(key) {
                    watch.link = link;
                }
                self.show_again(now, key, out);
                return Ok(());
            }
            // The router knows better: what is asked for is granted.
            Some((key, Goal::Ask)) if contact.from => {
                if let Some(watch) = self.events.watches.get_mut(key) {
                    watch.goal = Goal::Keep;
                }
                self.expect_shown(now, key, contact);
                self.set_watch(key);
                return Ok(());
            }
            Some((key, Goal::Look)) if contact.from => self.forget_watch(key),
            Some(_) => return Ok(()),
            None => {}
        }
        let goal = match (contact.from, contact.asking) {
            (true, _) => Goal::Keep,
            (false, true) => Goal::Ask,
            (false, false) => Goal::Look,
        };
        let key = self.begin_watch(now, link, goal, users, out)?;
        if goal == Goal::Keep {
            self.expect_shown(now, key, contact);
            if let Some(watch) = self.events.watches.get_mut(key) {
                watch.grant_unsaid = by_router;
            }
            self.set_watch(key);
        }
        Ok(())
    }

    /// The partner's user wants to see the local user no more. The pool hears of it; he does not wait for that.
    fn asked_to_leave(&mut self, now: Instant, users: (&Jid, &Jid), contact: &Contact, out: &mut Outbox) {
        let mut shown: BTreeSet<Arc<str>> = contact.shown.iter().cloned().collect();
        if let Some((key, _)) = self.watch_of(users) {
            if let Some(watch) = self.events.watches.get(key) {
                shown.extend(watch.shown.keys().cloned());
            }
            self.leave_watch(now, key, out);
        }
        for resource in shown {
            self.emit_unavailable(now, users, &resource, out);
        }
        self.emit(now, PresenceType::Unsubscribed, users, out);
    }

    fn watch_of(&self, (local, partner): (&Jid, &Jid)) -> Option<(Key, Goal)> {
        let key = self.events.watches.find(local, partner)?;
        Some((key, self.events.watches.get(key)?.goal))
    }

    /// The watcher gave a sign of life, or of its end: the last resource we know of has gone, or there never was such a user.
    pub(crate) fn watcher_heard(
        &mut self,
        now: Instant,
        local: &Jid,
        partner: &Jid,
        kind: Option<PresenceType>,
    ) {
        let Some(key) = self.events.watches.find(local, partner) else { return };
        let gone = match kind {
            Some(PresenceType::Unavailable) => {
                let audience = self.events.audiences.find(local, partner);
                let open = audience.and_then(|key| Some(&self.events.audiences.get(key)?.open));
                let others = open
                    .is_some_and(|open| open.keys().any(|resource| Some(&**resource) != partner.resource()));
                partner.resource().is_none() || !others
            }
            Some(PresenceType::Error) => true,
            _ => false,
        };
        if let Some(watch) = self.events.watches.get_mut(key) {
            (watch.heard, watch.gone) = (now, gone);
        }
    }

    /// The user has left this home: what is open for him ends, and no partner hears of it from here.
    pub(crate) fn part_with_events(&mut self, now: Instant, bare: &str, out: &mut Outbox) {
        for key in self.events.watches.of(bare) {
            self.leave_watch(now, key, out);
        }
        for key in self.events.audiences.of(bare) {
            self.end_audience(now, key, Reason::Deactivated, out);
        }
    }

    /// The process is going to end: the pool's watchers are asked to come back after a while, not all at once, as they would
    /// otherwise believe what they were told last until their subscriptions run out.
    pub(crate) fn drain_events(&mut self, now: Instant, out: &mut Outbox) {
        let members: Vec<Key> = self.events.audiences.iter().map(|(key, _)| key).collect();
        for member in members {
            let after = 10 + u32::try_from(self.jitter(Duration::from_secs(60)).as_secs()).unwrap_or(0);
            self.end_subscription(now, member, Reason::Probation(after), out);
        }
    }

    /// What is open for a user, for the administrator.
    pub(crate) fn describe_events(&self, now: Instant, bare: &str) -> Vec<String> {
        let left = |end: Option<Instant>| end.map_or(0, |end| end.saturating_duration_since(now).as_secs());
        let watches = self.events.watches.of(bare).into_iter().filter_map(|key| {
            let watch = self.events.watches.get(key)?;
            let state = state_of(watch);
            let shown: Vec<&str> = watch.shown.keys().map(|resource| &**resource).collect();
            let shown = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
            Some(format!(
                "watched by {}: {state}, {} s left, shown: {shown}",
                watch.partner.as_str(),
                left(watch.ends)
            ))
        });
        let audiences = self.events.audiences.of(bare).into_iter().flat_map(|key| {
            self.events.audiences.members(key).into_iter().filter_map(move |member| {
                let audience = self.events.audiences.get(key)?;
                let subscription = self.events.audiences.member(member)?;
                let state = if audience.granted { "active" } else { "pending" };
                Some(format!(
                    "subscribed to {}: {state}, {} s left, resources: {}",
                    audience.partner.as_str(),
                    left(Some(subscription.ends)),
                    audience.open.len()
                ))
            })
        });
        watches.chain(audiences).collect()
    }

    /// An iq for a user of the pool.
    pub(crate) fn iq_for(
        &mut self,
        now: Instant,
        link: LinkId,
        stanza: Stanza,
        kind: IqType,
        out: &mut Outbox,
    ) -> Sent {
        let origin = self.origin(link, 0, out);
        let key = self.events.watches.find(&stanza.to, &stanza.from);
        let watch = key.and_then(|key| self.events.watches.get(key));
        let shown = |watch: &Watch| stanza.to.resource().is_some_and(|name| watch.shown.contains_key(name));
        let name =
            watch.and_then(|watch| watch.shown.values().flatten().find_map(|shown| shown.nick.clone()));
        let about =
            About { features: self.features(), is_shown: watch.is_some_and(shown), name: name.as_deref() };
        disco::answer(now, kind, stanza, origin, &about, out)
    }

    /// What the users of this pool can do, whatever client they use: where there are sessions, typing is told both ways. Receipts
    /// hang on the client, so nobody is promised any.
    pub(crate) fn features(&self) -> Features {
        Features { chat_states: self.has_sessions(), receipts: false }
    }

    /// Says a presence stanza without content.
    pub(crate) fn emit(
        &mut self,
        now: Instant,
        kind: PresenceType,
        (from, to): (&Jid, &Jid),
        out: &mut Outbox,
    ) {
        let envelope = self.envelope(now, from.clone(), to.clone(), 0, out);
        out.arrivals.push_back(write_plain(envelope, kind, None));
    }

    /// Who says something to whom, on this shard.
    pub(crate) fn envelope(&self, now: Instant, from: Jid, to: Jid, ticket: u64, out: &Outbox) -> Envelope {
        let origin = Origin { side: self.side, link: LinkId::accepted(out.shard(), 0), ticket };
        Envelope { from, to, origin, arrived: now }
    }
}

/// Not served here.
pub(crate) fn unavailable(text: &'static str) -> Refusal {
    Refusal::new(Condition::ServiceUnavailable, Blame::Recipient, Retry::Never, Bounce::Yes, text)
}

/// How a watch stands, in words.
pub(crate) fn state_of(watch: &Watch) -> &'static str {
    match (watch.goal, watch.confirmed, watch.trouble) {
        (Goal::Keep, true, None) => "active",
        (Goal::Ask, true, None) => "pending",
        (Goal::Look, ..) => "fetching",
        _ => "being established",
    }
}
