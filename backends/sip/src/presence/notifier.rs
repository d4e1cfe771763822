//! The pool subscribes to partners' users (RFC 6665 §4.2, RFC 3856 §6, RFC 8048 §6). Invariant: a SUBSCRIBE that is let in is
//! answered 200 at once, never 202, and a NOTIFY follows in the same breath; whether it is allowed the router says, later.

use std::time::{Duration, Instant};

use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::stanza::{PresenceType, Stanza};

use super::pidf::PIDF;
use super::subscription::{PER_PAIR_MAX, RESOURCES_MAX, Reason, Subscription, Told, lean};
use super::usage::Usage;
use crate::backend::{SipBackend, Timer};
use crate::dialect::{contact, uri};
use crate::parse::{HeaderName, Message, Vitals, Word, accepts};
use crate::receive::Users;
use crate::slab::Key;
use crate::transaction::Tag;

/// Shortest life a subscription may ask for, in seconds.
const EXPIRES_MIN: u32 = 60;
/// Life of one that asks for none (RFC 3856 §6.4).
const EXPIRES_USUAL: u32 = 3600;
/// Longest value of Event that is kept, in bytes.
const EVENT_BYTES_MAX: usize = 256;
/// Marks the tickets of requests to partners' users: those of server transactions never have this bit.
pub(crate) const TICKET: u64 = 1 << 63;

/// How long a SUBSCRIBE wants to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// It does not: it fetches, or ends.
    Now,
    /// So many seconds.
    For(u32),
}

impl SipBackend {
    /// A SUBSCRIBE outside of any dialog.
    pub(crate) fn subscribed_to(
        &mut self,
        now: Instant,
        server: Key,
        (request, vitals): (&Message, &Vitals<'_>),
        users: &Users,
        out: &mut Outbox,
    ) {
        if self.draining {
            return self.reply(now, server, 480, &[], out);
        }
        if !accepts(request, PIDF) {
            return self.reply(now, server, 406, &[(HeaderName::Accept, PIDF)], out);
        }
        let Some(wish) = self.wish_of(now, server, request, out) else { return };
        let Some((tag, link)) =
            self.servers.get(server).and_then(|server| Some((server.tag.token()?, server.link)))
        else {
            return;
        };
        let event = request.header(HeaderName::Event).and_then(|value| std::str::from_utf8(value).ok());
        let event = event.filter(|event| event.len() <= EVENT_BYTES_MAX);
        let usage = Usage::accepted(request, vitals, tag, link);
        let is_addressable =
            uri(&mut self.uris, &users.local).is_ok() && uri(&mut self.uris, &users.partner).is_ok();
        let (Some(event), Some(usage), true) = (event, usage, is_addressable) else {
            return self.reply_in_words(now, server, 400, "Contact or Event is not usable", &[], out);
        };
        let Wish::For(seconds) = wish else {
            return self.fetched(now, server, users, (usage, event), out);
        };
        let Some(audience) = self.events.audiences.open(&users.local, &users.partner) else {
            return self.reply(now, server, 480, &[(HeaderName::RetryAfter, "600")], out);
        };
        self.accept_subscription(now, server, seconds, &users.partner, out);
        let member = self.events.audiences.join(Subscription {
            audience,
            usage,
            event: event.into(),
            ends: now + Duration::from_secs(seconds.into()),
            told: Told::Nothing,
            changed: true,
            not_before: None,
            flight: None,
            timer: None,
        });
        self.tell(now, member, true, out);
        let oldest = self.events.audiences.get(audience).and_then(|audience| {
            audience.members.first().copied().filter(|_| audience.members.len() > PER_PAIR_MAX)
        });
        if let Some(oldest) = oldest {
            self.end_subscription(now, oldest, Reason::Probation(600), out);
        }
        self.ask_partner(now, audience, PresenceType::Subscribe, out);
    }

    /// A SUBSCRIBE within a dialog: it lasts longer, or ends.
    pub(crate) fn subscribed_again(
        &mut self,
        now: Instant,
        server: Key,
        tag: Tag,
        link: LinkId,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) {
        let member = tag.token().and_then(|tag| self.events.audiences.tagged(tag));
        let event = request.header(HeaderName::Event).unwrap_or_default();
        let found = member.and_then(|member| {
            let subscription = self.events.audiences.member_mut(member)?;
            let same = subscription.usage.is_of(vitals) && subscription.event.as_bytes() == event;
            same.then_some((member, subscription))
        });
        let Some((member, subscription)) = found else { return self.reply(now, server, 481, &[], out) };
        if !subscription.usage.take_number(vitals.cseq.number) {
            return self.reply(now, server, 500, &[], out);
        }
        subscription.usage.refresh_target(request);
        subscription.usage.link = link;
        let audience = subscription.audience;
        let Some(wish) = self.wish_of(now, server, request, out) else { return };
        let Some(partner) = self.events.audiences.get(audience).map(|audience| audience.partner.clone())
        else {
            return;
        };
        let Wish::For(seconds) = wish else {
            self.accept_subscription(now, server, 0, &partner, out);
            return self.end_subscription(now, member, Reason::Timeout, out);
        };
        self.accept_subscription(now, server, seconds, &partner, out);
        if let Some(subscription) = self.events.audiences.member_mut(member) {
            subscription.ends = now + Duration::from_secs(seconds.into());
            subscription.changed = true;
        }
        self.tell(now, member, true, out);
        let again = self
            .events
            .audiences
            .get_mut(audience)
            .is_some_and(|audience| std::mem::take(&mut audience.in_vain));
        if again {
            self.ask_partner(now, audience, PresenceType::Subscribe, out);
        }
    }

    /// What a SUBSCRIBE says about its life; `None`: it was answered.
    fn wish_of(&mut self, now: Instant, server: Key, request: &Message, out: &mut Outbox) -> Option<Wish> {
        // A notifier may shorten what is asked for (RFC 6665 §4.2.1.1).
        let lease = u32::try_from(self.world.presence.lease.as_secs()).unwrap_or(u32::MAX);
        let max = self.subscription_seconds().min(lease.max(EXPIRES_MIN));
        let Some(value) = request.header(HeaderName::Expires) else {
            return Some(Wish::For(EXPIRES_USUAL.min(max)));
        };
        match Word::parse(value).ok().and_then(|word| word.number()) {
            None => {
                self.reply(now, server, 400, &[], out);
                None
            }
            Some(0) => Some(Wish::Now),
            Some(seconds) if seconds < EXPIRES_MIN => {
                self.reply(now, server, 423, &[(HeaderName::MinExpires, "60")], out);
                None
            }
            Some(seconds) => Some(Wish::For(seconds.min(max))),
        }
    }

    fn accept_subscription(
        &mut self,
        now: Instant,
        server: Key,
        seconds: u32,
        partner: &Jid,
        out: &mut Outbox,
    ) {
        let Ok(contact) = contact(&self.settings, partner) else {
            return self.reply(now, server, 500, &[], out);
        };
        let seconds = seconds.to_string();
        let headers = [(HeaderName::Expires, &*seconds), (HeaderName::Contact, &*contact)];
        self.reply(now, server, 200, &headers, out);
    }

    /// A fetch (RFC 6665 §4.4.3): one NOTIFY with what is known, and nothing stays.
    fn fetched(
        &mut self,
        now: Instant,
        server: Key,
        users: &Users,
        (usage, event): (Usage, &str),
        out: &mut Outbox,
    ) {
        self.accept_subscription(now, server, 0, &users.partner, out);
        let audience = self.events.audiences.find(&users.local, &users.partner);
        let known = audience
            .and_then(|audience| self.events.audiences.get(audience))
            .is_some_and(|audience| audience.granted && audience.known);
        let body = audience.filter(|_| known).and_then(|audience| self.document(audience));
        self.last_notify(now, usage, event, &users.partner, (Reason::Timeout, body), out);
        if !known {
            self.emit(now, PresenceType::Probe, (&users.local, &users.partner), out);
        }
    }

    /// Asks a partner's user to be seen, or for his presence; hears of it if that does not arrive.
    pub(crate) fn ask_partner(&mut self, now: Instant, key: Key, kind: PresenceType, out: &mut Outbox) {
        let Some(audience) = self.events.audiences.get(key) else { return };
        let (local, partner) = (audience.local.clone(), audience.partner.clone());
        let envelope = self.envelope(now, local, partner, TICKET | key.number(), out);
        out.arrivals.push_back(super::stanza::write_plain(envelope, kind, None));
    }

    /// A request to a partner's user did not arrive: nothing is known of him.
    pub(crate) fn asked_in_vain(&mut self, now: Instant, ticket: u64, out: &mut Outbox) {
        let key = Key::of_number(ticket & !TICKET);
        if let Some(audience) = self.events.audiences.get_mut(key) {
            audience.in_vain = !audience.granted;
            audience.lost = true;
            self.lose_sight(now, key, out);
        }
    }

    /// Nothing is known of a partner's user any more; those who were told otherwise are told that he is not there.
    pub(crate) fn lose_sight(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(audience) = self.events.audiences.get_mut(key) else { return };
        let was_shown = !audience.open.is_empty() || !audience.known;
        audience.open.clear();
        audience.known = true;
        self.set_check(now, key);
        if was_shown {
            self.tell_all(now, key, out);
        }
    }

    /// The partner's user has allowed it.
    pub(crate) fn allowed(&mut self, now: Instant, (local, partner): (&Jid, &Jid), out: &mut Outbox) {
        let Some(key) = self.events.audiences.find(local, partner) else { return };
        if let Some(audience) = self.events.audiences.get_mut(key) {
            (audience.granted, audience.in_vain) = (true, false);
        }
        for member in self.events.audiences.members(key) {
            if self.events.audiences.member(member).is_some_and(|member| member.told != Told::Active) {
                self.tell(now, member, true, out);
            }
        }
        self.set_check(now, key);
    }

    /// The partner's user does not allow it, or no longer.
    pub(crate) fn disallowed(&mut self, now: Instant, (local, partner): (&Jid, &Jid), out: &mut Outbox) {
        if let Some(key) = self.events.audiences.find(local, partner) {
            self.end_audience(now, key, Reason::Rejected, out);
        }
    }

    /// Ends all subscriptions of an audience.
    pub(crate) fn end_audience(&mut self, now: Instant, key: Key, reason: Reason, out: &mut Outbox) {
        for member in self.events.audiences.members(key) {
            self.end_subscription(now, member, reason, out);
        }
    }

    /// The presence of a partner's user came.
    pub(crate) fn sighted(&mut self, now: Instant, stanza: &Stanza, kind: PresenceType, out: &mut Outbox) {
        let Some(key) = self.events.audiences.find(&stanza.to, &stanza.from) else { return };
        let Some(audience) = self.events.audiences.get_mut(key) else { return };
        let resource = stanza.from.resource();
        let changed = match (kind, resource) {
            (PresenceType::Unavailable, None) => !std::mem::take(&mut audience.open).is_empty(),
            (PresenceType::Unavailable, Some(resource)) => audience.open.remove(resource).is_some(),
            _ => {
                let presence = lean(super::stanza::read(stanza));
                let fits =
                    audience.open.len() < RESOURCES_MAX || audience.open.contains_key(&presence.resource);
                if !fits {
                    return;
                }
                let before = audience.open.insert(presence.resource.clone(), presence.clone());
                before.as_ref() != Some(&presence)
            }
        };
        let is_news = !std::mem::replace(&mut audience.known, true);
        let was_lost = std::mem::take(&mut audience.lost);
        if changed || is_news || was_lost {
            self.set_check(now, key);
        }
        if changed || is_news {
            self.tell_all(now, key, out);
        }
    }

    /// A partner's user who is shown as available, or could not be asked, is asked again after a while.
    fn set_check(&mut self, now: Instant, key: Key) {
        let spread = self.world.presence.check / 8;
        let at = now + self.world.presence.check + self.jitter(spread);
        let Some(audience) = self.events.audiences.get_mut(key) else { return };
        let wanted = audience.granted && (audience.lost || !audience.open.is_empty());
        if wanted == audience.check.is_some() {
            return;
        }
        let timer = wanted.then(|| self.timers.set(at, Timer::Check(key)));
        if let Some(old) = std::mem::replace(&mut audience.check, timer) {
            self.timers.cancel(old);
        }
    }

    /// It is time to ask him again.
    pub(crate) fn check_due(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(audience) = self.events.audiences.get_mut(key) else { return };
        audience.check = None;
        self.ask_partner(now, key, PresenceType::Probe, out);
        self.set_check(now, key);
    }
}
