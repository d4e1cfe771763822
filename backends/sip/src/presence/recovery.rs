//! When the pool is lost, and when it is back. Invariant: while no link leads to it, one pair of users at a time asks for one; what
//! was shown ends when the loss has lasted too long, and when a link is there every subscription is looked after anew, in turns.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::stanza::PresenceType;
use turnout_core::timers::TimerId;

use super::stanza::write_plain;
use super::subscription::Audiences;
use super::turns::Turns;
use super::watch::{Goal, Watch};
use super::watches::Watches;
use crate::backend::{SipBackend, Timer};
use crate::link::Standing;
use crate::slab::Key;

/// Longest wait between two attempts to get a link.
const KNOCK_MAX: Duration = Duration::from_secs(30);
/// Watches whose showing ends at once, and how long it is until the next.
const FADING: (usize, Duration) = (500, Duration::from_millis(50));

/// Everything of event subscriptions on one instance.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Partners' users who watch local users.
    pub(crate) watches: Watches,
    /// Local users who watch partners' users.
    pub(crate) audiences: Audiences,
    /// SUBSCRIBEs that wait for their turn.
    pub(crate) turns: Turns,
    loss: Option<Loss>,
    fading: VecDeque<Key>,
}

/// No link leads to the pool.
#[derive(Debug)]
struct Loss {
    knocks: u32,
    /// Whose request was last used to get a link.
    last: Option<Pair>,
    knock: TimerId,
    stale: Option<TimerId>,
}

/// Local user and partner's user.
type Pair = (Jid, Jid);

impl SipBackend {
    /// SUBSCRIBEs this instance may send in a second.
    pub(crate) fn turns_per_second(&self) -> u32 {
        (self.world.presence.per_second / u32::from(self.world.shards.max(1))).max(1)
    }

    /// Wakes who waits for a turn, not before `after`.
    pub(crate) fn set_turns(&mut self, now: Instant, after: Duration) {
        if self.events.turns.timer.is_none()
            && let Some(at) = self.events.turns.due(now)
        {
            self.events.turns.timer = Some(self.timers.set(at.max(now + after), Timer::Turns));
        }
    }

    /// It may be somebody's turn.
    pub(crate) fn turns_due(&mut self, now: Instant, out: &mut Outbox) {
        self.events.turns.timer = None;
        let rate = self.turns_per_second();
        loop {
            let Events { watches, turns, .. } = &mut self.events;
            let Some(key) = turns.next(now, rate, |key| watches.get(key).is_some_and(|watch| watch.queued))
            else {
                break;
            };
            self.ask_pool(now, key, out);
        }
        self.set_turns(now, Duration::ZERO);
    }

    /// A link is gone. If it was the last that led to the pool, the pool is lost.
    pub(crate) fn events_without(&mut self, now: Instant) {
        let any = self.links.values().any(|link| link.standing == Standing::Trusted);
        if !any && (self.events.watches.len() > 0 || self.events.audiences.len() > 0) {
            self.pool_lost(now);
        }
    }

    /// Nothing leads to the pool.
    pub(crate) fn pool_lost(&mut self, now: Instant) {
        if self.events.loss.is_some() || self.draining {
            return;
        }
        let knock = self.after_a_while(now, Duration::from_secs(1), Timer::Knock);
        let stale = self.timers.set(now + self.world.presence.stale, Timer::Stale);
        self.events.loss = Some(Loss { knocks: 0, last: None, knock, stale: Some(stale) });
    }

    /// A link leads to the pool: what was not known meanwhile is asked for, what was not told is told.
    pub(crate) fn pool_found(&mut self, now: Instant, out: &mut Outbox) {
        let Some(loss) = self.events.loss.take() else { return };
        self.timers.cancel(loss.knock);
        if let Some(stale) = loss.stale {
            self.timers.cancel(stale);
        }
        self.events.fading.clear();
        let absent = self.world.presence.subscription;
        let is_due = |watch: &Watch| {
            watch.goal != Goal::Leave
                && watch.flight.is_none()
                && !watch.queued
                && !watch.is_absent(now, absent)
        };
        let due: Vec<Key> =
            self.events.watches.iter().filter(|(_, watch)| is_due(watch)).map(|(key, _)| key).collect();
        for key in due {
            if self.events.turns.wait(key, self.world.flow.room.sip_watches)
                && let Some(watch) = self.events.watches.get_mut(key)
            {
                watch.queued = true;
            }
        }
        let jitter = self.jitter(Duration::from_secs(1));
        self.set_turns(now, jitter);
        let untold: Vec<Key> = self
            .events
            .audiences
            .iter()
            .filter(|(_, subscription)| subscription.changed)
            .map(|(key, _)| key)
            .collect();
        for key in untold {
            self.tell(now, key, true, out);
        }
    }

    /// As [`SipBackend::pool_found`], if this link leads there.
    pub(crate) fn pool_found_by(&mut self, now: Instant, link: LinkId, out: &mut Outbox) {
        if self.events.loss.is_some()
            && !link.is_accepted()
            && self.links.get(&link).is_some_and(|link| link.standing == Standing::Trusted)
        {
            self.pool_found(now, out);
        }
    }

    /// Asks for a link: a probe from a watcher to the one he watches is routed to the pool like any other stanza, and whatever it
    /// takes to get there is done. Another pair each time, as this one's user may have left the pool.
    pub(crate) fn knock_due(&mut self, now: Instant, out: &mut Outbox) {
        let Some(knocks) = self.events.loss.as_ref().map(|loss| loss.knocks) else { return };
        let wait = Duration::from_secs(2).saturating_mul(1 << knocks.min(4)).min(KNOCK_MAX);
        let knock = self.after_a_while(now, wait, Timer::Knock);
        let pair = self.next_pair();
        if let Some((local, partner)) = &pair {
            let envelope = self.envelope(now, partner.clone(), local.clone(), 0, out);
            let mut probe = write_plain(envelope, PresenceType::Probe, None);
            probe.made = true;
            out.arrivals.push_back(probe);
        }
        let nobody = pair.is_none();
        if let Some(loss) = &mut self.events.loss {
            (loss.knocks, loss.knock, loss.last) = (knocks + 1, knock, pair);
        }
        if nobody {
            self.timers.cancel(knock);
            if let Some(stale) = self.events.loss.take().and_then(|loss| loss.stale) {
                self.timers.cancel(stale);
            }
        }
    }

    /// The pair of users behind the one whose turn it was last.
    fn next_pair(&self) -> Option<Pair> {
        let last = self.events.loss.as_ref().and_then(|loss| loss.last.as_ref());
        let watches = self
            .events
            .watches
            .iter()
            .filter(|(_, watch)| watch.goal != Goal::Leave)
            .map(|(_, watch)| (&watch.local, &watch.partner));
        let audiences = self.events.audiences.iter().filter_map(|(_, subscription)| {
            let audience = self.events.audiences.get(subscription.audience)?;
            Some((&audience.local, &audience.partner))
        });
        let mut pairs = watches.chain(audiences);
        let first = pairs.next()?;
        let is_last =
            |(local, partner): (&Jid, &Jid)| last.is_some_and(|last| (&last.0, &last.1) == (local, partner));
        let next =
            if is_last(first) { pairs.next() } else { pairs.skip_while(|pair| !is_last(*pair)).nth(1) };
        let (local, partner) = next.unwrap_or(first);
        Some((local.clone(), partner.clone()))
    }

    /// The loss has lasted too long for what is shown.
    pub(crate) fn stale_due(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(loss) = &mut self.events.loss {
            loss.stale = None;
        }
        let shown = self.events.watches.iter().filter(|(_, watch)| !watch.shown.is_empty());
        self.events.fading = shown.map(|(key, _)| key).collect();
        self.fade_due(now, out);
    }

    /// The next of those whose showing ends.
    pub(crate) fn fade_due(&mut self, now: Instant, out: &mut Outbox) {
        for _ in 0..FADING.0 {
            let Some(key) = self.events.fading.pop_front() else { return };
            self.show_nothing(now, key, out);
            self.set_watch(key);
        }
        if !self.events.fading.is_empty() {
            self.timers.set(now + FADING.1, Timer::Fade);
        }
    }

    /// Sets a timer at some moment between half of this and all of it.
    fn after_a_while(&mut self, now: Instant, wait: Duration, timer: Timer) -> TimerId {
        let jitter = self.jitter(wait / 2);
        self.timers.set(now + wait / 2 + jitter, timer)
    }

    /// Some part of a time.
    pub(crate) fn jitter(&mut self, of: Duration) -> Duration {
        of * u32::from(self.random.token().bytes()[0]) / 256
    }
}
