//! Asking the pool for a user's presence: SUBSCRIBE, its answers, its refreshing and its end (RFC 6665 §4.1, RFC 8048 §5.2).
//! Invariant: a watch has one SUBSCRIBE under way at the most; what is not told apart here from a lost pool is tried again, and
//! only the pool's own no takes a grant away.

use std::time::{Duration, Instant};

use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::stanza::PresenceType;

use super::pidf::{CATEGORIES, PIDF};
use super::usage::Usage;
use super::watch::{Goal, Watch};
use crate::asking::Failure;
use crate::backend::{SipBackend, Timer};
use crate::dialect::{Stuck, contact, uri};
use crate::parse::{HeaderName, Message, Word};
use crate::slab::Key;
use crate::transaction::{Purpose, TIMEOUT_MILLIS, Verb};
use crate::write::USER_AGENT;

/// The event package.
pub(crate) const EVENT: &str = "presence";
/// Wait after the first attempt that came to nothing; doubled each time.
const WAIT: Duration = Duration::from_secs(5);
/// Longest wait that doubling leads to.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Longest wait a pool may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Longest life a pool may make us ask for, in seconds.
const MIN_EXPIRES_MAX: u32 = 604_800;
/// So often a pool may say that it does not know a user before who asks to see him is told.
const UNKNOWN_MAX: u32 = 3;
/// The same for one who is not in this pool: some five minutes, as waits double.
const ASTRAY_MAX: u32 = 7;
/// The diagnostic code for that.
const NOT_IN_THIS_POOL: u32 = 4006;

/// What an answer that is no 2xx says beside its code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    code: u16,
    retry_after: Option<u32>,
    min_expires: Option<u32>,
    /// The pool says that the user is not in this pool (4006), not that there is none.
    is_astray: bool,
}

impl Refusal {
    /// Of a response.
    pub(crate) fn of(response: &Message) -> Self {
        let number = |name| response.header(name).and_then(|value| Word::parse(value).ok()?.number());
        Self {
            code: response.status().unwrap_or(500),
            // The number may be followed by a comment (RFC 3261 §20.33).
            retry_after: response.header(HeaderName::RetryAfter).and_then(leading_number),
            min_expires: number(HeaderName::MinExpires),
            is_astray: response.diagnostics() == Some(NOT_IN_THIS_POOL),
        }
    }

    /// Of nothing but a code.
    pub(crate) fn bare(code: u16) -> Self {
        Self { code, retry_after: None, min_expires: None, is_astray: false }
    }

    /// Whether it takes the dialog with it (RFC 6665 §4.1.2.2).
    fn ends_dialog(self) -> bool {
        matches!(self.code, 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::bare(failure.code)
    }
}

impl SipBackend {
    /// Begins to watch.
    ///
    /// # Errors
    /// An address has no counterpart in SIP, or there are too many watches: nothing was begun.
    pub(crate) fn begin_watch(
        &mut self,
        now: Instant,
        link: LinkId,
        goal: Goal,
        (local, partner): (&Jid, &Jid),
        out: &mut Outbox,
    ) -> Result<Key, NoWatch> {
        if uri(&mut self.uris, local).is_err() || uri(&mut self.uris, partner).is_err() {
            return Err(NoWatch::Address);
        }
        let seconds = self.subscription_seconds();
        let mut watch = Watch::new(now, local.bare(), partner.bare(), goal, seconds);
        watch.link = link;
        let key = self.events.watches.insert(watch).ok_or(NoWatch::Full)?;
        self.want(now, key, out);
        Ok(key)
    }

    /// The longest life of a subscription.
    pub(crate) fn subscription_seconds(&self) -> u32 {
        u32::try_from(self.world.presence.subscription.as_secs()).unwrap_or(u32::MAX).max(60)
    }

    /// A SUBSCRIBE is due: it goes when it has its turn.
    pub(crate) fn want(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        if watch.queued || watch.flight.is_some() {
            return;
        }
        watch.due = None;
        let rate = self.turns_per_second();
        if self.events.turns.take(now, rate) {
            return self.ask_pool(now, key, out);
        }
        if !self.events.turns.wait(key, self.world.flow.room.sip_watches) {
            return self.rest(now, key, WAIT);
        }
        if let Some(watch) = self.events.watches.get_mut(key) {
            watch.queued = true;
        }
        self.set_turns(now, Duration::ZERO);
    }

    /// Sends the SUBSCRIBE of a watch, or sees to it that there will be a link for it.
    pub(crate) fn ask_pool(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.queued = false;
        if watch.flight.is_some() || watch.goal == Goal::Leave {
            return;
        }
        if self.world.policy.find(watch.partner.domain()).is_none() {
            return self.forget_watch(key);
        }
        let seconds = if watch.goal == Goal::Look { 0 } else { watch.seconds };
        match self.subscribe(now, key, seconds, out) {
            Ok(()) => {}
            Err(Stuck::NoWay) => {
                if let Some(watch) = self.events.watches.get_mut(key) {
                    watch.trouble.get_or_insert(now);
                }
                self.pool_lost(now);
            }
            // The pool's Contact is nothing a request can go to, or our own name is not: no use in asking again soon.
            Err(Stuck::Unwritable(_)) => {
                self.events.watches.drop_dialog(key);
                self.rest(now, key, WAIT_MAX);
            }
        }
        self.set_watch(key);
    }

    fn subscribe(&mut self, now: Instant, key: Key, seconds: u32, out: &mut Outbox) -> Result<(), Stuck> {
        let Some(watch) = self.events.watches.get(key) else { return Ok(()) };
        let last = watch.usage.as_ref().map_or(LinkId::NONE, |usage| usage.link);
        let link = self.way(last, watch.link, out).ok_or(Stuck::NoWay)?;
        if !self.may_ask() {
            self.rest(now, key, WAIT);
            return Ok(());
        }
        if watch.usage.is_none() {
            let (local, partner) = (watch.local.clone(), watch.partner.clone());
            let (tag, call_id) = (self.random.token(), self.random.token());
            let (to, from) = (uri(&mut self.uris, &local)?, uri(&mut self.uris, &partner)?);
            self.events.watches.use_dialog(key, Usage::begin(&from, &to, tag, call_id)?);
        }
        let (token, via) = self.via(out);
        let accept = if self.world.presence.rich && self.has_sessions() {
            format!("{CATEGORIES}, {PIDF}")
        } else {
            PIDF.to_owned()
        };
        let Some(watch) = self.events.watches.get_mut(key) else { return Ok(()) };
        let contact = contact(&self.settings, &watch.partner)?;
        let Some(usage) = &mut watch.usage else { return Ok(()) };
        if !usage.is_established() {
            watch.begun = now;
        }
        usage.link = link;
        let bytes = usage
            .request("SUBSCRIBE", &via)?
            .header(HeaderName::Contact, &contact)?
            .header(HeaderName::UserAgent, USER_AGENT)?
            .header(HeaderName::Event, EVENT)?
            .header(HeaderName::Expires, &seconds.to_string())?
            .header(HeaderName::Accept, &accept)?
            .finish();
        let flight = self.ask(now, link, (token, Verb::Subscribe), bytes, Purpose::Watch(key), out);
        if let Some(watch) = self.events.watches.get_mut(key) {
            watch.asked(flight);
        }
        Ok(())
    }

    /// A 2xx to the SUBSCRIBE of a watch. 202 is like 200 (RFC 6665 §8.3.1).
    pub(crate) fn watch_answered(
        &mut self,
        now: Instant,
        (key, flight): (Key, Key),
        link: LinkId,
        response: &Message,
        out: &mut Outbox,
    ) {
        let jitter = self.random.token().bytes()[0];
        let Some(watch) = self.events.watches.get_mut(key).filter(|watch| watch.flight == Some(flight))
        else {
            return;
        };
        watch.flight = None;
        let Some(usage) = &mut watch.usage else { return };
        usage.link = link;
        let is_new = !usage.is_established();
        if !watch.confirmed && !usage.answered(response) && is_new {
            return self.watch_failed(now, key, Refusal::bare(502), out);
        }
        let granted = response.header(HeaderName::Expires).and_then(leading_number);
        match watch.goal {
            // It was left while the request was under way.
            Goal::Leave if watch.seconds > 0 => self.say_over(now, key, out),
            Goal::Leave => {}
            Goal::Look => watch.notify_by = Some(now + Duration::from_millis(TIMEOUT_MILLIS)),
            Goal::Ask | Goal::Keep => {
                watch.granted(now, granted.unwrap_or(watch.seconds), jitter);
                if watch.confirmed {
                    (watch.trouble, watch.failures) = (None, 0);
                } else {
                    watch.notify_by = Some(now + Duration::from_millis(TIMEOUT_MILLIS));
                }
            }
        }
        self.set_watch(key);
    }

    /// The SUBSCRIBE of a watch was refused, or not answered.
    pub(crate) fn watch_refused(
        &mut self,
        now: Instant,
        (key, flight): (Key, Key),
        refusal: Refusal,
        out: &mut Outbox,
    ) {
        let Some(watch) = self.events.watches.get_mut(key).filter(|watch| watch.flight == Some(flight))
        else {
            return;
        };
        watch.flight = None;
        if refusal.code == 408
            && let Some(usage) = &mut watch.usage
        {
            // Another link may do better.
            usage.link = LinkId::NONE;
        }
        self.watch_failed(now, key, refusal, out);
    }

    /// An attempt came to nothing (SE-03, A.3.5).
    pub(crate) fn watch_failed(&mut self, now: Instant, key: Key, refusal: Refusal, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let is_no = matches!(refusal.code, 403 | 489 | 603);
        let is_unknown = matches!(refusal.code, 404 | 410 | 604) || refusal.is_astray;
        match watch.goal {
            Goal::Leave => return self.forget_watch(key),
            Goal::Look => {
                if is_no || is_unknown {
                    self.tell_watcher(now, key, PresenceType::Unsubscribed, out);
                }
                return self.forget_watch(key);
            }
            Goal::Ask | Goal::Keep => {}
        }
        if is_no {
            return self.watch_denied(now, key, out);
        }
        if is_unknown && watch.goal == Goal::Ask {
            watch.unknown += 1;
            // One who has moved away is asked for where he lives as soon as the directory knows it: that takes a while, so this does.
            if watch.unknown >= if refusal.is_astray { ASTRAY_MAX } else { UNKNOWN_MAX } {
                return self.watch_denied(now, key, out);
            }
        }
        if let (423, Some(min)) = (refusal.code, refusal.min_expires)
            && min > watch.seconds
            && min <= MIN_EXPIRES_MAX
        {
            watch.seconds = min;
            self.want(now, key, out);
            return self.set_watch(key);
        }
        let lived = watch.has_lived(now);
        let established = watch.usage.as_ref().is_some_and(Usage::is_established);
        // Also when it fails twice: what leads to the other end may be what is broken (SD-03).
        if !established || refusal.ends_dialog() || refusal.code == 408 || watch.failures > 0 {
            self.events.watches.drop_dialog(key);
        }
        if refusal.code == 481 && established && lived {
            return self.watch_anew(now, key, out);
        }
        let asked = refusal.retry_after.map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds.into()));
        self.rest(now, key, asked);
        self.set_watch(key);
    }

    /// The dialog is gone and the grant is not: a new dialog, at once.
    fn watch_anew(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        if let Some(watch) = self.events.watches.get_mut(key) {
            watch.trouble.get_or_insert(now);
        }
        self.want(now, key, out);
        self.set_watch(key);
    }

    /// The pool has ended the subscription: it goes on, at once or after a while, unless the watcher is not there.
    pub(crate) fn watch_ended(
        &mut self,
        now: Instant,
        key: Key,
        at_once: bool,
        after: Duration,
        out: &mut Outbox,
    ) {
        self.events.watches.drop_dialog(key);
        let absent = self.world.presence.subscription;
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.flight = None;
        if watch.is_absent(now, absent) {
            return self.lapse(now, key, out);
        }
        watch.trouble.get_or_insert(now);
        let lived = watch.has_lived(now);
        if at_once && lived {
            return self.watch_anew(now, key, out);
        }
        self.rest(now, key, after);
        self.set_watch(key);
    }

    /// The next attempt waits: longer each time, not at the same time as others, and as long as the pool has asked for.
    fn rest(&mut self, now: Instant, key: Key, asked: Duration) {
        let jitter = u32::from(self.random.token().bytes()[0]);
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let wait = WAIT.saturating_mul(1 << watch.failures.min(8)).min(WAIT_MAX);
        watch.failures = watch.failures.saturating_add(1);
        watch.trouble.get_or_insert(now);
        let wait = (wait + wait * jitter / 1024).max(asked.min(RETRY_AFTER_MAX));
        watch.due = Some(now + wait);
    }

    /// The watch of one who has gone is not refreshed: it is over, and he asks when he is back (RFC 8048 §8.1). One who was only
    /// silent, or was shown what is in doubt, is told.
    fn lapse(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        if self.events.watches.get(key).is_some_and(|watch| watch.trouble.is_some() || !watch.gone) {
            self.show_nothing(now, key, out);
        }
        self.forget_watch(key);
    }

    /// The watcher may not see the user, says the pool.
    pub(crate) fn watch_denied(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        self.show_nothing(now, key, out);
        self.tell_watcher(now, key, PresenceType::Unsubscribed, out);
        self.forget_watch(key);
    }

    /// Ends a watch without a word to the watcher: the pool is told, and its last NOTIFY awaited.
    pub(crate) fn leave_watch(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        self.events.watches.retire(key);
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        if watch.flight.is_some() {
            // Its answer is awaited, then the rest is said.
            watch.notify_by = Some(now + 2 * Duration::from_millis(TIMEOUT_MILLIS));
            return self.set_watch(key);
        }
        if watch.usage.as_ref().is_some_and(Usage::is_established) {
            self.say_over(now, key, out);
        } else {
            self.forget_watch(key);
        }
    }

    fn say_over(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.forget_terms();
        watch.confirmed = true;
        watch.seconds = 0;
        watch.notify_by = Some(now + 2 * Duration::from_millis(TIMEOUT_MILLIS));
        let sent = self.subscribe(now, key, 0, out).is_ok();
        if sent && self.events.watches.get(key).is_some_and(|watch| watch.flight.is_some()) {
            self.set_watch(key);
        } else {
            self.forget_watch(key);
        }
    }

    /// Forgets a watch.
    pub(crate) fn forget_watch(&mut self, key: Key) {
        if let Some(timer) = self.events.watches.remove(key).and_then(|watch| watch.timer) {
            self.timers.cancel(timer);
        }
    }

    /// The subscription was not refreshed in time, or was granted for no time.
    fn ended_by_time(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.trouble.get_or_insert(now);
        if watch.has_lived(now) {
            self.want(now, key, out);
        } else {
            self.rest(now, key, Duration::ZERO);
        }
    }

    /// Sets the timer of a watch to the next thing it waits for.
    pub(crate) fn set_watch(&mut self, key: Key) {
        let stale = self.world.presence.stale;
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let timer = watch.next(stale).map(|at| self.timers.set(at, Timer::Watch(key)));
        if let Some(old) = std::mem::replace(&mut watch.timer, timer) {
            self.timers.cancel(old);
        }
    }

    /// The timer of a watch.
    pub(crate) fn watch_due(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let (stale, absent) = (self.world.presence.stale, self.world.presence.subscription);
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.timer = None;
        if watch.is_stale(now, stale) {
            self.show_nothing(now, key, out);
        }
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(watch.notify_by) {
            watch.notify_by = None;
            // Timer N: a subscription without a NOTIFY is none (RFC 6665 §4.1.2.4).
            match watch.goal {
                Goal::Leave | Goal::Look => return self.forget_watch(key),
                Goal::Ask | Goal::Keep => {
                    watch.flight = None;
                    self.events.watches.drop_dialog(key);
                    self.rest(now, key, Duration::ZERO);
                }
            }
        } else if watch.flight.is_none() && !watch.queued {
            let is_absent = watch.is_absent(now, absent);
            let has_ended = is_due(watch.ends);
            if has_ended {
                self.events.watches.drop_dialog(key);
            }
            let Some(watch) = self.events.watches.get_mut(key) else { return };
            if has_ended || is_due(watch.due) {
                watch.due = None;
                // What still lasts may last; then nobody misses it.
                match is_absent {
                    true if watch.ends.is_none() => return self.lapse(now, key, out),
                    true => {}
                    false if has_ended => self.ended_by_time(now, key, out),
                    false => self.want(now, key, out),
                }
            }
        }
        self.set_watch(key);
    }
}

/// Why there is no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWatch {
    /// An address has no counterpart in SIP.
    Address,
    /// There are too many.
    Full,
}

/// The number a value begins with.
fn leading_number(value: &[u8]) -> Option<u32> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    crate::parse::number_of(value.get(..digits)?)
}
