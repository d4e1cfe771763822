//! Who of the demo's users lives where, what he shows, and what the other side of his pair sees. Invariant: what is true is said here by
//! the users' homes alone, what is seen by whoever received it alone; the two are compared and never mixed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::score::Track;

/// After so long, what is seen must be what is so.
pub const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// A pool is told of one contact no more often than this (RFC 3856 §6.10), so there it may take that much longer.
const POOL_RATE: Duration = Duration::from_secs(5);

/// The resource of local users at the legacy gateway; a pool's have another.
pub const DESK: &str = "desk";

/// The resource of the partner's users.
pub const PHONE: &str = "phone";

/// The resource under which a pool shows a contact: it knows only one.
pub const CARD: &str = "card";

/// How long a local user shows the same.
const LOCAL_EVERY: Duration = Duration::from_secs(5);

/// How long a partner's user shows the same: longer than a pool may take to hear of it.
const PARTNER_EVERY: Duration = Duration::from_secs(10);

/// What a user shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Available.
    #[default]
    Free,
    /// Away.
    Away,
    /// Busy.
    Busy,
}

impl Mood {
    /// The text of `<show/>`; none is plainly available.
    pub fn show(self) -> Option<&'static str> {
        match self {
            Self::Free => None,
            Self::Away => Some("away"),
            Self::Busy => Some("dnd"),
        }
    }

    /// The activity a pool writes.
    pub fn activity(self) -> Option<&'static str> {
        match self {
            Self::Free => None,
            Self::Away => Some("away"),
            Self::Busy => Some("busy"),
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Free => Self::Away,
            Self::Away => Self::Busy,
            Self::Busy => Self::Free,
        }
    }
}

/// One direction of a pair.
#[derive(Debug, Default)]
struct View {
    /// What is so.
    mood: Mood,
    /// Since when, or since when the local user lives where he lives; none before the start.
    since: Option<Instant>,
    /// What is seen, by resource.
    seen: BTreeMap<String, Mood>,
    /// It may be seen.
    granted: bool,
    /// It has been found wrong since then, and counted.
    judged: bool,
}

impl View {
    fn begin(&mut self, now: Instant) {
        self.since = Some(now);
        self.judged = false;
    }

    fn see(&mut self, resource: &str, mood: Option<Mood>) {
        match mood {
            Some(mood) => {
                self.seen.insert(resource.to_owned(), mood);
            }
            None if resource.is_empty() => self.seen.clear(),
            None => {
                self.seen.remove(resource);
            }
        }
    }

    /// Whether exactly one resource is seen, the right one, with what is so.
    fn is_right(&self, resource: impl FnOnce(&str) -> bool) -> bool {
        let mut seen = self.seen.iter();
        let (first, more) = (seen.next(), seen.next());
        first.is_some_and(|(name, mood)| *mood == self.mood && resource(name)) && more.is_none()
    }
}

/// A local user and the partner's user he talks to.
#[derive(Debug)]
struct Pair {
    home: Track,
    /// He is being moved: nothing is judged.
    moving: bool,
    /// What the partner's user sees of the local user.
    outward: View,
    /// What the local user sees of the partner's user.
    inward: View,
}

impl Pair {
    fn is_right(&self) -> (bool, bool) {
        let at_desk = self.home == Track::Legacy;
        let outward = self.outward.is_right(|resource| (resource == DESK) == at_desk);
        (outward, self.inward.is_right(|resource| resource == if at_desk { PHONE } else { CARD }))
    }
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times a user showed something else, towards one other user.
    pub told: u64,
    /// Times somebody received presence.
    pub seen: u64,
    /// Times what was seen was not what was so, although it had had the time.
    pub wrong: u64,
    /// Times a user was asked whether somebody may see him, after all had been answered.
    pub prompts: u64,
}

/// Where the demo stands.
const BEFORE: u8 = 0;
const MEETING: u8 = 1;
const RUNNING: u8 = 2;
const OVER: u8 = 3;

/// The users.
#[derive(Debug)]
pub struct Stage {
    start: Instant,
    pairs: Box<[Mutex<Pair>]>,
    partners: Box<[Mutex<Mood>]>,
    phase: AtomicU8,
    told: AtomicU64,
    seen: AtomicU64,
    wrong: AtomicU64,
    prompts: AtomicU64,
}

impl Stage {
    /// So many local users, every second one on each track, and so many partner's users, who share them.
    pub fn new(start: Instant, locals: usize, partners: usize) -> Self {
        let pair = |n: usize| Pair {
            home: if n.is_multiple_of(2) { Track::Legacy } else { Track::Sip },
            moving: false,
            outward: View::default(),
            inward: View::default(),
        };
        Self {
            start,
            pairs: (0..locals).map(|n| Mutex::new(pair(n))).collect(),
            partners: (0..partners).map(|_| Mutex::default()).collect(),
            phase: AtomicU8::new(BEFORE),
            told: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            prompts: AtomicU64::new(0),
        }
    }

    /// Everybody is there: users ask each other.
    pub fn meet(&self) {
        self.phase.store(MEETING, Ordering::Relaxed);
    }

    /// Everybody has been asked and has answered: from now on nobody may be asked again, and users change what they show.
    pub fn run(&self) {
        self.phase.store(RUNNING, Ordering::Relaxed);
    }

    /// Nobody changes any more.
    pub fn end(&self) {
        self.phase.store(OVER, Ordering::Relaxed);
    }

    /// Whether users may ask each other.
    pub fn has_met(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != BEFORE
    }

    /// Whether the demo has begun; it stays so.
    pub fn has_begun(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= RUNNING
    }

    /// Pairs in which both may see each other and do.
    pub fn ready(&self) -> usize {
        let ready = |pair: &&Mutex<Pair>| {
            let pair = lock(pair);
            pair.outward.granted && pair.inward.granted && pair.is_right() == (true, true)
        };
        self.pairs.iter().filter(ready).count()
    }

    /// The local users that live there.
    pub fn living_on(&self, home: Track) -> impl Iterator<Item = usize> {
        (0..self.pairs.len()).filter(move |user| self.lives_on(*user) == Some(home))
    }

    /// Where a local user lives.
    pub fn lives_on(&self, user: usize) -> Option<Track> {
        Some(lock(self.pairs.get(user)?).home)
    }

    /// Whether the local user may see the partner's.
    pub fn may_look(&self, user: usize) -> bool {
        self.pairs.get(user).is_some_and(|pair| lock(pair).inward.granted)
    }

    /// Whether the partner's user may see the local user.
    pub fn may_be_seen(&self, user: usize) -> bool {
        self.pairs.get(user).is_some_and(|pair| lock(pair).outward.granted)
    }

    /// What a local user shows.
    pub fn mood(&self, user: usize) -> Mood {
        self.pairs.get(user).map_or(Mood::Free, |pair| lock(pair).outward.mood)
    }

    /// What a partner's user shows.
    pub fn partner_mood(&self, partner: usize) -> Mood {
        self.partners.get(partner).map_or(Mood::Free, |mood| *lock(mood))
    }

    /// The local users a partner's user talks to.
    pub fn friends(&self, partner: usize) -> impl Iterator<Item = usize> {
        (partner..self.pairs.len()).step_by(self.partners.len().max(1))
    }

    /// The partner's user a local user talks to.
    pub fn friend(&self, user: usize) -> usize {
        user % self.partners.len().max(1)
    }

    /// The local users whose turn it is to change until now, beyond `turn`; called by their homes with a count of their own.
    pub fn locals_due(&self, now: Instant, turn: &mut u64) -> Vec<usize> {
        self.due(now, turn, self.pairs.len(), LOCAL_EVERY)
    }

    /// The same of the partner's users.
    pub fn partners_due(&self, now: Instant, turn: &mut u64) -> Vec<usize> {
        self.due(now, turn, self.partners.len(), PARTNER_EVERY)
    }

    fn due(&self, now: Instant, turn: &mut u64, users: usize, every: Duration) -> Vec<usize> {
        let step_us = (every.as_micros() / users.max(1) as u128).max(1);
        let elapsed_us = now.saturating_duration_since(self.start).as_micros();
        let until = u64::try_from(elapsed_us / step_us).unwrap_or(u64::MAX);
        let from = std::mem::replace(turn, until).max(until.saturating_sub(users as u64));
        if self.phase.load(Ordering::Relaxed) != RUNNING {
            return Vec::new();
        }
        (from..until).map(|turn| usize::try_from(turn).unwrap_or(0) % users.max(1)).collect()
    }

    /// A local user shows something else, at this home; what, if he lives there.
    pub fn change(&self, now: Instant, user: usize, home: Track) -> Option<Mood> {
        let mut pair = lock(self.pairs.get(user)?);
        if pair.home != home {
            return None;
        }
        pair.outward.mood = pair.outward.mood.next();
        pair.outward.begin(now);
        self.told.fetch_add(1, Ordering::Relaxed);
        Some(pair.outward.mood)
    }

    /// A partner's user shows something else to all his friends.
    pub fn change_partner(&self, now: Instant, partner: usize) -> Mood {
        let Some(mood) = self.partners.get(partner) else { return Mood::Free };
        let mut mood = lock(mood);
        *mood = mood.next();
        for pair in self.friends(partner).filter_map(|user| self.pairs.get(user)) {
            let mut pair = lock(pair);
            pair.inward.mood = *mood;
            pair.inward.begin(now);
            self.told.fetch_add(1, Ordering::Relaxed);
        }
        *mood
    }

    /// A user signs in on the other side: there he has seen nothing yet.
    pub fn leave(&self, user: usize, home: Track) {
        if let Some(pair) = self.pairs.get(user) {
            let mut pair = lock(pair);
            (pair.home, pair.moving) = (home, true);
            pair.inward.seen.clear();
        }
    }

    /// The move of a user is done.
    pub fn arrive(&self, now: Instant, user: usize) {
        if let Some(pair) = self.pairs.get(user) {
            let mut pair = lock(pair);
            pair.moving = false;
            pair.outward.begin(now);
            pair.inward.begin(now);
        }
    }

    /// Whether a user is between two homes.
    pub fn is_moving(&self, user: usize) -> bool {
        self.pairs.get(user).is_some_and(|pair| lock(pair).moving)
    }

    /// The partner's user was told what a local user shows; nothing is gone, and of no resource: of all.
    pub fn partner_sees(&self, user: usize, resource: &str, mood: Option<Mood>) {
        if let Some(pair) = self.pairs.get(user) {
            lock(pair).outward.see(resource, mood);
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A local user was told, at this home, what his partner's user shows.
    pub fn local_sees(&self, user: usize, home: Track, resource: &str, mood: Option<Mood>) {
        if let Some(pair) = self.pairs.get(user) {
            let mut pair = lock(pair);
            if pair.home == home {
                pair.inward.see(resource, mood);
                self.seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The partner's user may see a local user, or may not any more.
    pub fn allow_partner(&self, user: usize, granted: bool) {
        if let Some(pair) = self.pairs.get(user) {
            lock(pair).outward.granted = granted;
        }
    }

    /// A local user may see his partner's user, or may not any more.
    pub fn allow_local(&self, user: usize, granted: bool) {
        if let Some(pair) = self.pairs.get(user) {
            lock(pair).inward.granted = granted;
        }
    }

    /// A user is asked whether somebody may see him.
    pub fn asked(&self) {
        if self.has_begun() {
            self.prompts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Compares what is so with what is seen; counts once what is wrong and has had its time. How many are wrong now, in time or not.
    pub fn judge(&self, now: Instant) -> usize {
        let mut wrong = 0;
        for pair in &self.pairs {
            let pair = &mut *lock(pair);
            if pair.moving {
                continue;
            }
            let (outward, inward) = pair.is_right();
            let patience = if pair.home == Track::Sip { SEEN_WITHIN + POOL_RATE } else { SEEN_WITHIN };
            let views = [(outward, &mut pair.outward, SEEN_WITHIN), (inward, &mut pair.inward, patience)];
            for (right, view, patience) in views {
                if right {
                    continue;
                }
                wrong += 1;
                let late = view.since.is_some_and(|since| now.saturating_duration_since(since) >= patience);
                if late && !std::mem::replace(&mut view.judged, true) {
                    self.wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        wrong
    }

    /// The numbers now.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            told: load(&self.told),
            seen: load(&self.seen),
            wrong: load(&self.wrong),
            prompts: load(&self.prompts),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// User 0 on the legacy pool, user 1 on the 2019 pool, one partner's user; all is right.
    fn stage(now: Instant) -> Stage {
        let stage = Stage::new(now, 2, 1);
        assert!(!stage.has_met());
        stage.meet();
        assert_eq!(stage.ready(), 0);
        for (user, resource) in [(0, DESK), (1, "sfb")] {
            stage.allow_partner(user, true);
            stage.allow_local(user, true);
            stage.partner_sees(user, resource, Some(Mood::Free));
        }
        stage.local_sees(0, Track::Legacy, PHONE, Some(Mood::Free));
        stage.local_sees(1, Track::Sip, CARD, Some(Mood::Free));
        assert_eq!(stage.ready(), 2);
        stage.asked();
        stage.run();
        assert_eq!((stage.judge(now), stage.counts().prompts), (0, 0));
        stage
    }

    #[test]
    fn what_is_seen_too_late_is_wrong_once() {
        let now = crate::clock::now();
        let stage = stage(now);
        assert_eq!(stage.change(now, 1, Track::Legacy), None, "he does not live there");
        assert_eq!(stage.change(now, 0, Track::Legacy), Some(Mood::Away));
        assert_eq!((stage.judge(now + SECOND), stage.counts().wrong), (1, 0), "there is time");
        for seconds in 2..4 {
            assert_eq!((stage.judge(now + seconds * SECOND), stage.counts().wrong), (1, 1));
        }
        stage.partner_sees(0, DESK, Some(Mood::Away));
        assert_eq!(stage.judge(now + 4 * SECOND), 0);
        // A second resource that nobody has.
        stage.partner_sees(0, "ghost", Some(Mood::Away));
        assert_eq!(stage.change(now + 4 * SECOND, 0, Track::Legacy), Some(Mood::Busy));
        stage.partner_sees(0, DESK, Some(Mood::Busy));
        stage.judge(now + 6 * SECOND);
        assert_eq!((stage.counts().told, stage.counts().wrong), (2, 2));
        stage.partner_sees(0, "", None);
        assert_eq!(stage.judge(now + 6 * SECOND), 1, "now he is gone");
    }

    #[test]
    fn a_pool_may_take_longer_to_hear_of_a_contact() {
        let now = crate::clock::now();
        let stage = stage(now);
        assert_eq!(stage.change_partner(now, 0), Mood::Away);
        assert_eq!(stage.judge(now + 2 * SECOND), 2);
        assert_eq!(stage.counts().wrong, 1, "the legacy user is late");
        stage.judge(now + 7 * SECOND);
        assert_eq!((stage.counts().told, stage.counts().wrong), (2, 2));
    }

    #[test]
    fn after_a_move_the_old_resource_is_wrong_and_nothing_is_known() {
        let now = crate::clock::now();
        let stage = stage(now);
        stage.leave(0, Track::Sip);
        assert!(stage.is_moving(0));
        assert_eq!(stage.judge(now + 60 * SECOND), 0, "not while he moves");
        stage.arrive(now, 0);
        stage.local_sees(0, Track::Legacy, PHONE, Some(Mood::Free));
        assert_eq!(stage.judge(now + 2 * SECOND), 2);
        assert_eq!(stage.counts().wrong, 1, "still seen at his desk");
        stage.partner_sees(0, DESK, None);
        stage.partner_sees(0, "sfb", Some(Mood::Free));
        stage.local_sees(0, Track::Sip, CARD, Some(Mood::Free));
        assert_eq!(stage.judge(now + 2 * SECOND), 0);
        stage.asked();
        assert_eq!(stage.counts().prompts, 1);
    }

    #[test]
    fn everybody_has_his_turn() {
        let now = crate::clock::now();
        let stage = stage(now);
        let mut turn = 0;
        assert_eq!(stage.locals_due(now + LOCAL_EVERY, &mut turn), [0, 1]);
        assert!(stage.locals_due(now + LOCAL_EVERY, &mut turn).is_empty());
        assert_eq!(stage.locals_due(now + 100 * LOCAL_EVERY, &mut turn), [0, 1], "not made up later");
        stage.end();
        assert!(stage.locals_due(now + 200 * LOCAL_EVERY, &mut turn).is_empty());
    }
}
