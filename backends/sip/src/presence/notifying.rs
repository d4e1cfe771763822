//! Telling the pool's watchers: NOTIFY and its answers (RFC 6665 §4.2.2). Invariant: a subscription has one NOTIFY under way at
//! the most, and the one after it tells the last state, however many there were between; presence alone goes out no more often
//! than RFC 3856 allows, where a subscription stands is told at once.

use std::time::Instant;

use turnout_core::home::Dialect;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;

use super::pidf::{self, Layout, PIDF};
use super::shown::Presence;
use super::subscription::{RATE, RETRY, Reason, Told};
use super::usage::Usage;
use crate::asking::Failure;
use crate::backend::{SipBackend, Timer};
use crate::dialect::{Stuck, contact, uri};
use crate::parse::HeaderName;
use crate::slab::Key;
use crate::transaction::{Purpose, Verb};
use crate::write::{Builder, USER_AGENT, WriteError};

impl SipBackend {
    /// Tells every watcher of an audience.
    pub(crate) fn tell_all(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        for member in self.events.audiences.members(key) {
            self.tell(now, member, false, out);
        }
    }

    /// Tells a watcher how things stand, or notes that he is to be told. `at_once`: he has asked, so no time has to pass.
    pub(crate) fn tell(&mut self, now: Instant, member: Key, at_once: bool, out: &mut Outbox) {
        let Some(subscription) = self.events.audiences.member(member) else { return };
        let key = subscription.audience;
        let granted = self.events.audiences.get(key).is_some_and(|audience| audience.granted);
        let state = if granted { Told::Active } else { Told::Pending };
        let Some(subscription) = self.events.audiences.member_mut(member) else { return };
        let nothing_new = state == Told::Pending && subscription.told == state;
        subscription.changed |= !nothing_new;
        let wanted = subscription.changed && (at_once || subscription.may_tell(now, state));
        if wanted && subscription.flight.is_none() {
            match self.send_notify(now, member, state, out) {
                Ok(()) => {}
                Err(Stuck::NoWay) => {
                    self.put_off(now, member);
                    self.pool_lost(now);
                }
                // The pool's Contact is nothing a request can go to.
                Err(Stuck::Unwritable(_)) => return self.forget_subscription(member),
            }
        }
        self.set_member(member);
    }

    fn send_notify(&mut self, now: Instant, member: Key, state: Told, out: &mut Outbox) -> Result<(), Stuck> {
        let Some(subscription) = self.events.audiences.member(member) else { return Ok(()) };
        let key = subscription.audience;
        let link = self.way(subscription.usage.link, LinkId::NONE, out).ok_or(Stuck::NoWay)?;
        if !self.may_ask() {
            self.put_off(now, member);
            return Ok(());
        }
        let body = if state == Told::Active { self.document(key) } else { None };
        let (token, via) = self.via(out);
        let Some(partner) = self.events.audiences.get(key).map(|audience| audience.partner.clone()) else {
            return Ok(());
        };
        let contact = contact(&self.settings, &partner)?;
        let Some(subscription) = self.events.audiences.member_mut(member) else { return Ok(()) };
        let left = subscription.ends.saturating_duration_since(now).as_secs();
        let word = if state == Told::Active { "active" } else { "pending" };
        let standing = format!("{word};expires={left}");
        let start = subscription.usage.request("NOTIFY", &via)?;
        let bytes = notify(start, &contact, &subscription.event, &standing, body.as_deref())?;
        subscription.usage.link = link;
        subscription.told = state;
        subscription.changed = false;
        subscription.not_before = body.map(|_| now + RATE);
        let flight = self.ask(now, link, (token, Verb::Notify), bytes, Purpose::Notify(member), out);
        if let Some(subscription) = self.events.audiences.member_mut(member) {
            subscription.flight = Some(flight);
        }
        Ok(())
    }

    /// What is known of a partner's user, for a watcher who may see it; `None` where nothing is (RFC 8048 §6.2: an empty body).
    pub(crate) fn document(&mut self, key: Key) -> Option<String> {
        let audience =
            self.events.audiences.get(key).filter(|audience| audience.granted && audience.known)?;
        let open: Vec<Presence> = audience.open.values().cloned().collect();
        let partner = audience.partner.clone();
        self.written(&partner, &open)
    }

    fn written(&mut self, partner: &Jid, open: &[Presence]) -> Option<String> {
        let entity = uri(&mut self.uris, partner).ok()?;
        let layout = match self.dialect {
            Dialect::Skype => Layout::Single,
            Dialect::Simple => Layout::Tuples,
        };
        Some(pidf::write(&entity, open, layout, true))
    }

    /// The last NOTIFY of a subscription, or the only one of a fetch. What is answered to it changes nothing.
    pub(crate) fn last_notify(
        &mut self,
        now: Instant,
        mut usage: Usage,
        event: &str,
        partner: &Jid,
        (reason, body): (Reason, Option<String>),
        out: &mut Outbox,
    ) {
        let Some(link) = self.way(usage.link, LinkId::NONE, out) else { return };
        let (token, via) = self.via(out);
        let bytes = contact(&self.settings, partner).and_then(|contact| {
            let standing = format!("terminated;reason={reason}");
            notify(usage.request("NOTIFY", &via)?, &contact, event, &standing, body.as_deref())
        });
        if let Ok(bytes) = bytes
            && self.may_ask()
        {
            self.ask(now, link, (token, Verb::Notify), bytes, Purpose::Farewell, out);
        }
    }

    /// A NOTIFY was answered, or not.
    pub(crate) fn notify_ended(
        &mut self,
        now: Instant,
        (member, flight): (Key, Key),
        outcome: Result<(), Failure>,
        out: &mut Outbox,
    ) {
        let Some(subscription) = self.events.audiences.member_mut(member) else { return };
        if subscription.flight != Some(flight) {
            return;
        }
        subscription.flight = None;
        match outcome {
            Ok(()) if subscription.changed => self.tell(now, member, false, out),
            Ok(()) => self.set_member(member),
            Err(failure) if ends_subscription(failure.code) => self.forget_subscription(member),
            Err(_) => {
                self.put_off(now, member);
                self.set_member(member);
            }
        }
    }

    /// The link under a NOTIFY is gone: it goes again on another.
    pub(crate) fn notify_lost(&mut self, now: Instant, (member, flight): (Key, Key), out: &mut Outbox) {
        let Some(subscription) = self.events.audiences.member_mut(member) else { return };
        if subscription.flight == Some(flight) {
            subscription.flight = None;
            subscription.changed = true;
            self.tell(now, member, true, out);
        }
    }

    /// A watcher could not be told: again after a while.
    fn put_off(&mut self, now: Instant, member: Key) {
        if let Some(subscription) = self.events.audiences.member_mut(member) {
            subscription.changed = true;
            subscription.not_before = Some(now + RETRY);
            subscription.told = subscription.told.max(Told::Pending);
        }
    }

    /// Ends a subscription with a last NOTIFY.
    pub(crate) fn end_subscription(&mut self, now: Instant, member: Key, reason: Reason, out: &mut Outbox) {
        let Some(subscription) = self.events.audiences.member(member) else { return };
        let Some(audience) = self.events.audiences.get(subscription.audience) else { return };
        let partner = audience.partner.clone();
        // RFC 8048 §6.2: whoever no longer looks sees nobody.
        let shows_closed = audience.granted && reason == Reason::Timeout;
        let body = if shows_closed { self.written(&partner, &[]) } else { None };
        if let Some((usage, event)) = self.take_subscription(member) {
            self.last_notify(now, usage, &event, &partner, (reason, body), out);
        }
    }

    /// Forgets a subscription.
    fn forget_subscription(&mut self, member: Key) {
        self.take_subscription(member);
    }

    fn take_subscription(&mut self, member: Key) -> Option<(Usage, Box<str>)> {
        let (subscription, check) = self.events.audiences.part(member);
        let subscription = subscription?;
        for timer in [check, subscription.timer].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        Some((subscription.usage, subscription.event))
    }

    fn set_member(&mut self, member: Key) {
        let Some(subscription) = self.events.audiences.member_mut(member) else { return };
        let timer = subscription.next().map(|at| self.timers.set(at, Timer::Subscription(member)));
        if let Some(old) = std::mem::replace(&mut subscription.timer, timer) {
            self.timers.cancel(old);
        }
    }

    /// The timer of a subscription.
    pub(crate) fn subscription_due(&mut self, now: Instant, member: Key, out: &mut Outbox) {
        let Some(subscription) = self.events.audiences.member_mut(member) else { return };
        subscription.timer = None;
        if subscription.ends <= now {
            self.end_subscription(now, member, Reason::Timeout, out);
        } else {
            self.tell(now, member, false, out);
        }
    }
}

/// Whether the answer to a NOTIFY says that nobody is there to be told (SE-04, RFC 6665 §4.2.2); silence is 408.
fn ends_subscription(code: u16) -> bool {
    matches!(code, 404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604)
}

fn notify(
    start: Builder,
    contact: &str,
    event: &str,
    standing: &str,
    body: Option<&str>,
) -> Result<bytes::Bytes, WriteError> {
    let builder = start
        .header(HeaderName::Contact, contact)?
        .header(HeaderName::UserAgent, USER_AGENT)?
        .header(HeaderName::Event, event)?
        .header(HeaderName::SubscriptionState, standing)?;
    match body {
        Some(body) => builder.finish_with(PIDF, body.as_bytes()),
        None => Ok(builder.finish()),
    }
}
