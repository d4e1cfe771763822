//! A watch: a partner's user sees a local user, by one SIP subscription of ours (RFC 6665 §4.1). Invariant: the subscription
//! lasts no longer than the shortest time anybody named for it since it was last refreshed, and it is refreshed only for a
//! watcher who is not known to be gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::io::{LinkId, earlier};
use turnout_core::jid::Jid;
use turnout_core::timers::TimerId;

use super::pidf::Document;
use super::shown::Presence;
use super::usage::Usage;
use crate::slab::Key;

/// A dialog that ends by itself sooner than this is not begun anew at once.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// However little a pool grants, no SUBSCRIBE follows another sooner than this.
const REFRESH_MIN: Duration = Duration::from_secs(5);

/// Longest silence of a watcher for whom the pool is kept asking.
const SILENCE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The partner's user has asked to see the local user and has no answer.
    Ask,
    /// He may see him.
    Keep,
    /// He probed without being known to be allowed: the pool is asked once, and by that whether he may.
    Look,
    /// It is over; only the pool's last NOTIFY is awaited.
    Leave,
}

/// One watch.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The local user, bare: who is watched.
    pub(crate) local: Jid,
    /// The partner's user, bare: the watcher.
    pub(crate) partner: Jid,
    /// What it is for.
    pub(crate) goal: Goal,
    /// Its dialog; without one the next SUBSCRIBE begins a new one.
    pub(crate) usage: Option<Usage>,
    /// When the dialog was begun.
    pub(crate) begun: Instant,
    /// A NOTIFY came in this dialog.
    pub(crate) confirmed: bool,
    /// The transaction of the SUBSCRIBE under way.
    pub(crate) flight: Option<Key>,
    /// It waits for its turn to send one.
    pub(crate) queued: bool,
    /// The link the shard named last.
    pub(crate) link: LinkId,
    /// When the watcher was last heard of.
    pub(crate) heard: Instant,
    /// What was heard last is that he has gone, or is nobody.
    pub(crate) gone: bool,
    /// What the watcher was shown: resources, and what was said of them where that is known.
    pub(crate) shown: BTreeMap<Arc<str>, Option<Presence>>,
    /// He may see the user, and may not have been told so.
    pub(crate) grant_unsaid: bool,
    /// `shown` is what the pool said last, and no guess of the time before a restart.
    pub(crate) known: bool,
    /// The document that came last in this dialog, if the next may tell no more than what has changed since.
    pub(crate) before: Option<Box<Document>>,
    /// When the subscription ends unless it is refreshed.
    pub(crate) ends: Option<Instant>,
    /// The end that a NOTIFY named since the SUBSCRIBE that went last.
    pub(crate) stated: Option<Instant>,
    /// When the next SUBSCRIBE is due.
    pub(crate) due: Option<Instant>,
    /// Until when the first NOTIFY has to be here (Timer N).
    pub(crate) notify_by: Option<Instant>,
    /// Since when nobody knows whether what is shown is so.
    pub(crate) trouble: Option<Instant>,
    /// The life to ask for, in seconds.
    pub(crate) seconds: u32,
    /// Attempts that came to nothing, one after another.
    pub(crate) failures: u32,
    /// How often the pool did not know the local user.
    pub(crate) unknown: u32,
    /// Its timer.
    pub(crate) timer: Option<TimerId>,
}

impl Watch {
    /// A new one, of nobody known to have been shown anything.
    pub(crate) fn new(now: Instant, local: Jid, partner: Jid, goal: Goal, seconds: u32) -> Self {
        Self {
            local,
            partner,
            goal,
            usage: None,
            begun: now,
            confirmed: false,
            flight: None,
            queued: false,
            link: LinkId::NONE,
            heard: now,
            gone: false,
            shown: BTreeMap::new(),
            grant_unsaid: false,
            known: false,
            before: None,
            ends: None,
            stated: None,
            due: None,
            notify_by: None,
            trouble: None,
            seconds,
            failures: 0,
            unknown: 0,
            timer: None,
        }
    }

    /// A SUBSCRIBE goes out: what was said about the end before it no longer counts against the answer.
    pub(crate) fn asked(&mut self, flight: Key) {
        self.flight = Some(flight);
        self.due = None;
        self.stated = None;
    }

    /// A 2xx granted so many seconds. Of that and what a NOTIFY has said since the request the smaller counts (RFC 6665 §4.1.2.1).
    pub(crate) fn granted(&mut self, now: Instant, seconds: u32, jitter: u8) {
        let end = now + Duration::from_secs(seconds.into());
        self.ends = Some(self.stated.map_or(end, |stated| stated.min(end)));
        self.plan_refresh(now, jitter);
    }

    /// A NOTIFY says that so many seconds are left. It can shorten what was granted and never prolong it.
    pub(crate) fn stated(&mut self, now: Instant, seconds: u32, jitter: u8) {
        let end = now + Duration::from_secs(seconds.into());
        self.stated = Some(end);
        if self.ends.is_none_or(|ends| end < ends) {
            self.ends = Some(end);
            if self.flight.is_none() {
                self.plan_refresh(now, jitter);
            }
        }
    }

    /// The refresh is due when between three quarters and seven eighths of what is left are over: not all at once.
    fn plan_refresh(&mut self, now: Instant, jitter: u8) {
        let left = self.ends.map_or(Duration::ZERO, |ends| ends.saturating_duration_since(now));
        self.due = Some(now + (left * (192 + u32::from(jitter / 8)) / 256).max(REFRESH_MIN));
    }

    /// The dialog is over.
    pub(crate) fn forget_terms(&mut self) {
        (self.ends, self.stated, self.due, self.notify_by) = (None, None, None, None);
        self.confirmed = false;
        self.before = None;
    }

    /// Whether the watcher has gone and was not heard of for so long. One whose presence we do not get says nothing while he
    /// watches, so silence alone counts only when it is very long: his server probes when he comes back (RFC 6121 §4.3).
    pub(crate) fn is_absent(&self, now: Instant, after: Duration) -> bool {
        let silent = now.saturating_duration_since(self.heard);
        silent > if self.gone { after } else { SILENCE_MAX.max(after) }
    }

    /// Whether what is shown can no longer be answered for.
    pub(crate) fn is_stale(&self, now: Instant, after: Duration) -> bool {
        !self.shown.is_empty() && self.trouble.is_some_and(|since| now >= since + after)
    }

    /// Whether its dialog stood for a while; one that did not is not begun anew at once.
    pub(crate) fn has_lived(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= SHORT_LIFE
    }

    /// When something is to be done by itself.
    pub(crate) fn next(&self, stale: Duration) -> Option<Instant> {
        let idle = self.flight.is_none() && !self.queued;
        let own = if idle { earlier(self.due, self.ends) } else { None };
        let fade = self.trouble.filter(|_| !self.shown.is_empty()).map(|since| since + stale);
        earlier(earlier(own, self.notify_by), fade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn watch() -> (Instant, Watch) {
        let now = Instant::now();
        let jid = |text: &str| Jid::parse(text).unwrap();
        let watch = Watch::new(now, jid("a@contoso.com"), jid("b@partner.example"), Goal::Keep, 3600);
        (now, watch)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_smaller_end_counts_and_a_notify_never_prolongs() {
        let (now, mut watch) = watch();
        watch.asked(Key::of_number(1));
        watch.stated(now, 600, 0);
        assert_eq!((watch.ends, watch.due), (Some(now + 600 * SECOND), None), "the answer is awaited");
        watch.flight = None;
        watch.granted(now, 3600, 0);
        assert_eq!((watch.ends, watch.due), (Some(now + 600 * SECOND), Some(now + 450 * SECOND)));
        let later = now + 100 * SECOND;
        watch.stated(later, 900, 0);
        assert_eq!((watch.ends, watch.due), (Some(now + 600 * SECOND), Some(now + 450 * SECOND)));
        watch.stated(later, 80, 255);
        assert_eq!(watch.ends, Some(later + 80 * SECOND));
        assert!(watch.due.unwrap() > later + 60 * SECOND && watch.due.unwrap() < later + 70 * SECOND);
        watch.asked(Key::of_number(1));
        watch.flight = None;
        watch.granted(later, 3600, 0);
        assert_eq!(watch.ends, Some(later + 3600 * SECOND), "a refresh starts the clock anew");
    }

    #[test]
    fn one_who_watches_in_silence_is_kept_for_a_week() {
        let (now, mut watch) = watch();
        let day = 86_400 * SECOND;
        assert!(!watch.is_absent(now + 6 * day, 8 * 3600 * SECOND));
        assert!(watch.is_absent(now + 8 * day, 8 * 3600 * SECOND));
        watch.gone = true;
        assert!(!watch.is_absent(now + 8 * 3600 * SECOND, 8 * 3600 * SECOND));
        assert!(watch.is_absent(now + day, 8 * 3600 * SECOND));
    }
}
