//! The watch over the legacy gateways. A gateway is the presence server of its users, and one that dies takes nothing back.
//! Invariant: what it showed of its users ends when it has been out of reach for the stated time; when it is there again, or the
//! router has begun anew, it is asked how each of them is, so that what is shown is what is, and nobody is asked for leave.
//!
//! A gateway is there when it says how a user is, opens a stream to us or takes what the router asks it. One that has said nothing for
//! long, or whose connection ended, is asked how one of its users is, on behalf of somebody who sees him: that takes a stream. It is out of
//! reach from the first stream that could not be opened to the next sign of it. One that was away may have begun anew without a user who was
//! there before, and so may one whose absence nobody noticed: it is asked for all of them then, and once in the time after which
//! subscriptions are refreshed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::presence::pair;
use super::wishes::{AGAIN, What, Wish};
use super::{Shard, Timer};
use crate::contact::{Contact, Pair};
use crate::home::HomeId;
use crate::io::{Fact, Handoff, LinkId, Outbox, Output, Side};
use crate::notice::Notice;
use crate::stanza::PresenceType;
use crate::timers::TimerId;

/// After a connection of a gateway ended it is asked so soon: it may have been the last of several, or of a process that ends.
const DOUBT: Duration = Duration::from_secs(1);

/// What is known of one gateway.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// When it was known to be there last: it spoke, or took something from us.
    heard: Option<Instant>,
    /// When it was asked last.
    asked: Option<Instant>,
    /// A connection has ended since it was asked.
    doubted: bool,
    /// When the other shards were told of a connection that ended.
    told: Option<Instant>,
    /// When the first of the streams could not be opened that were tried since it was heard.
    away: Option<Instant>,
    /// It was away for too long: what it showed has ended.
    lost: bool,
    /// When it was asked how all its users are whom somebody may see.
    swept: Option<Instant>,
    /// It has told how a user is when it was asked.
    answers: bool,
    /// A pair that sees one of its users, as far as is known: on whose behalf it is asked.
    witness: Option<Pair>,
    timer: Option<(Instant, TimerId)>,
}

/// The vigils of a shard.
#[derive(Debug, Default)]
pub(super) struct Vigils {
    by_home: HashMap<HomeId, Vigil>,
    /// What partners' users were shown, of which the gateway was asked and has not yet said whether it still is so.
    unconfirmed: HashMap<Pair, Vec<Arc<str>>>,
}

impl Shard {
    /// The home, if a side is that of a gateway whose users are looked after.
    fn gateway(&self, side: Side) -> Option<HomeId> {
        match side {
            Side::Home(home) if self.keeps_contacts && !self.is_pool(home) && !self.is_retired(side) => {
                Some(home)
            }
            _ => None,
        }
    }

    fn vigil(&mut self, home: HomeId) -> &mut Vigil {
        self.vigils.by_home.entry(home).or_default()
    }

    /// This side has spoken, or took something from us.
    pub(super) fn heard_of(&mut self, now: Instant, side: Side, out: &mut Outbox) {
        let Some(home) = self.gateway(side) else { return };
        let vigil = self.vigil(home);
        (vigil.heard, vigil.doubted) = (Some(now), false);
        if vigil.away.take().is_some() {
            vigil.lost = false;
            let text = "the gateway is there again: it is asked how its users are, for all who may see them";
            out.note(Notice::GatewayBack, side, LinkId::NONE, self.world.side_name(side), text);
            self.sweep(now, home, out);
        }
    }

    /// Asks the gateway how all its users are whom somebody may see.
    fn sweep(&mut self, now: Instant, home: HomeId, out: &mut Outbox) {
        self.vigil(home).swept = Some(now);
        for pair in self.pairs_of(home, |contact| contact.from) {
            self.ask_anew(now, home, pair, out);
        }
    }

    /// A stream to this side could not be opened. It may be this one alone that cannot, so the gateway is asked.
    pub(super) fn not_reached(&mut self, now: Instant, side: Side) {
        let Some(home) = self.gateway(side) else { return };
        self.vigil(home).away.get_or_insert(now);
        self.keep_vigil(home, now + DOUBT);
    }

    /// A connection with this side has ended, and not because we wished so. Whoever looks whether our port is open causes that
    /// too: once in a while is often enough.
    pub(super) fn doubt(&mut self, now: Instant, side: Side, out: &mut Outbox) {
        let Some(home) = self.gateway(side).filter(|_| self.draining.is_none()) else { return };
        let vigil = self.vigil(home);
        if !vigil.doubted && vigil.told.is_none_or(|told| told + AGAIN <= now) {
            vigil.told = Some(now);
            // The connection was for a pair of domains, and others own the users who were shown.
            let others = (0..self.world.shards).filter(|shard| *shard != self.index);
            out.outputs.extend(others.map(|shard| Output::Handoff(shard, Handoff::Doubt(home))));
            self.doubted(now, home);
        }
    }

    /// The gateway is doubted, here or on another shard.
    pub(super) fn doubted(&mut self, now: Instant, home: HomeId) {
        let vigil = self.vigil(home);
        if vigil.asked.is_none_or(|asked| asked + AGAIN <= now) {
            vigil.doubted = true;
            self.keep_vigil(home, now + DOUBT);
        }
    }

    /// Looks at a gateway at this time, or earlier if that was the plan.
    fn keep_vigil(&mut self, home: HomeId, at: Instant) {
        if let Some((planned, timer)) = self.vigil(home).timer {
            if planned <= at {
                return;
            }
            self.timers.cancel(timer);
        }
        let timer = self.timers.set(at, Timer::Vigil(home));
        self.vigil(home).timer = Some((at, timer));
    }

    /// It is time to look at a gateway.
    pub(super) fn vigil_due(&mut self, now: Instant, home: HomeId, out: &mut Outbox) {
        let (check, stale) = (self.world.presence.check, self.world.presence.stale);
        let vigil = self.vigil(home);
        vigil.timer = None;
        let (away, lost) = (vigil.away, vigil.lost);
        let next = match (away, vigil.heard) {
            (None, Some(heard)) if !vigil.doubted && now < heard + check => {
                return self.keep_vigil(home, heard + check);
            }
            (None, _) => now + check,
            (Some(since), _) if !lost => (since + stale).min(now + AGAIN),
            (Some(_), _) => now + AGAIN,
        };
        if self.draining.is_some() {
            return;
        }
        if !lost && away.is_some_and(|since| since + stale <= now) {
            self.lose(now, home, out);
            return self.keep_vigil(home, now + AGAIN);
        }
        // With nothing shown there is nothing that could become wrong; with nobody who looks, nobody to come back for.
        let Some(pair) = self.witness(home, lost) else { return };
        let refresh = self.world.presence.subscription;
        let vigil = self.vigil(home);
        vigil.doubted = false;
        let swept = *vigil.swept.get_or_insert(now);
        if away.is_none() && swept + refresh <= now {
            self.sweep(now, home, out);
        }
        let vigil = self.vigil(home);
        // What it was asked may still wait for a stream.
        if vigil.asked.is_none_or(|asked| asked + AGAIN <= now) {
            vigil.asked = Some(now);
            self.wish(now, Wish { pair, what: What::Watch }, out);
        }
        self.keep_vigil(home, next);
    }

    /// Somebody who is shown one of the gateway's users or, once it is `lost`, was to see one.
    fn witness(&mut self, home: HomeId, lost: bool) -> Option<Pair> {
        let sees = |contact: &Contact| contact.from && (lost || !contact.shown.is_empty());
        let witness = self.vigil(home).witness.take().filter(|pair| {
            let contact = self.presences.contacts.get(&pair.local, &pair.partner);
            contact.is_some_and(sees) && self.lives_on(&pair.local) == Some(home)
        });
        let witness = witness.or_else(|| self.pairs_of(home, sees).into_iter().next());
        self.vigil(home).witness.clone_from(&witness);
        witness
    }

    /// The gateway was out of reach for too long: its users are not there, as far as anybody can tell.
    fn lose(&mut self, now: Instant, home: HomeId, out: &mut Outbox) {
        self.vigil(home).lost = true;
        let shown = self.pairs_of(home, |contact| !contact.shown.is_empty());
        if !shown.is_empty() {
            let text = format!(
                "the gateway was out of reach for {} s: for {} pairs of users what it showed ends until it is there again",
                self.world.presence.stale.as_secs(),
                shown.len()
            );
            let side = Side::Home(home);
            out.note(Notice::GatewayLost, side, LinkId::NONE, self.world.side_name(side), text);
        }
        for pair in &shown {
            self.show_gone(now, pair, out);
        }
    }

    /// Pairs with a local user of this home and such a contact, in the order of their names, which does not hang on how tables lie
    /// in memory.
    fn pairs_of(&self, home: HomeId, is_meant: impl Fn(&Contact) -> bool) -> Vec<Pair> {
        let contacts = self.presences.contacts.all().filter(|(_, _, contact)| is_meant(contact));
        let mut pairs: Vec<Pair> = contacts
            .filter(|(local, ..)| self.lives_on(local) == Some(home))
            .map(|(local, partner, _)| Pair { local: Arc::clone(local), partner: Arc::clone(partner) })
            .collect();
        pairs.sort_unstable();
        pairs
    }

    /// What became of a gateway's user since the gateway was heard last, or before the router began, only the gateway can say.
    pub(super) fn ask_anew(&mut self, now: Instant, home: HomeId, pair: Pair, out: &mut Outbox) {
        let Some(contact) = self.presences.contacts.get(&pair.local, &pair.partner) else { return };
        if !contact.from {
            return;
        }
        let shown = contact.shown.clone();
        if !shown.is_empty() {
            self.vigils.unconfirmed.insert(pair.clone(), shown);
            self.keep_vigil(home, now + self.world.presence.check);
        }
        self.wish(now, Wish { pair, what: What::Watch }, out);
    }

    /// The gateway has said of a user how he is, to a partner's user.
    pub(super) fn confirmed(&mut self, now: Instant, home: HomeId, fact: &Fact) {
        if !matches!(fact.kind, PresenceType::Available | PresenceType::Unavailable) {
            return;
        }
        let pair = pair(fact.local.bare_str(), fact.partner.bare_str());
        if let Some(shown) = self.vigils.unconfirmed.get_mut(&pair) {
            let resource = fact.local.resource().unwrap_or_default();
            shown.retain(|shown| **shown != *resource);
            self.vigil(home).answers = true;
        }
        if fact.kind == PresenceType::Available {
            let at = now + self.world.presence.check;
            let vigil = self.vigil(home);
            vigil.witness = Some(pair);
            if vigil.timer.is_none() {
                self.keep_vigil(home, at);
            }
        }
    }

    /// The gateway was asked how a user is whom a partner's user was shown: its answer is waited for, if it was `asked` at all.
    pub(super) fn await_answer(&mut self, now: Instant, pair: &Pair, asked: bool) {
        if !asked {
            self.vigils.unconfirmed.remove(pair);
        } else if self.vigils.unconfirmed.contains_key(pair) {
            let wish = Wish { pair: pair.clone(), what: What::Confirm };
            self.wish_later(now + self.world.presence.stale, wish);
        }
    }

    /// Time for an answer is over. What the gateway has not said again has ended; but one that has never answered such a
    /// question is not taken at its silence.
    pub(super) fn confirm(&mut self, now: Instant, pair: &Pair, out: &mut Outbox) {
        let Some(shown) = self.vigils.unconfirmed.remove(pair) else { return };
        let answers = self
            .lives_on(&pair.local)
            .and_then(|home| self.vigils.by_home.get(&home))
            .is_some_and(|vigil| vigil.answers && vigil.away.is_none());
        if !answers {
            return;
        }
        self.show_some_gone(now, pair, |resource| shown.contains(resource), out);
    }
}
