//! What the users of a home ask, grant and show. Invariant: whoever is asked grants, as the demo is about users who know each other;
//! that he was asked is counted.

use std::time::{Duration, Instant};

use turnout_core::io::Outbox;
use turnout_core::jid::Jid;
use turnout_core::stanza::{Kind, PresenceType, Stanza};

use super::{Clients, Habit, stanza};
use crate::demo::presence::{DESK, Mood, PHONE, Stage};
use crate::demo::score::Track;
use crate::demo::{local_user, partner_user};

/// A request without an answer is put again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What a home of clients remembers of presence.
#[derive(Debug, Default)]
pub(super) struct Turns {
    asked: Option<Instant>,
    change: u64,
}

impl Clients {
    /// Presence for a user of this home.
    pub(super) fn heed(&mut self, now: Instant, kind: PresenceType, stanza: &Stanza, out: &mut Outbox) {
        match self.habit {
            Habit::Write { .. } => self.partner_heeds(now, kind, stanza, out),
            Habit::Answer => self.local_heeds(now, kind, stanza, out),
        }
    }

    /// Users ask, answer and change what they show.
    pub(super) fn show(&mut self, now: Instant, out: &mut Outbox) {
        let is_due = self.turns.asked.is_none_or(|at| now.saturating_duration_since(at) >= AGAIN);
        if self.score.stage.has_met() && !self.score.stage.has_begun() && is_due {
            self.turns.asked = Some(now);
            self.ask(now, out);
        }
        match self.habit {
            Habit::Write { .. } => {
                for partner in self.score.stage.partners_due(now, &mut self.turns.change) {
                    self.score.stage.change_partner(now, partner);
                    let friends: Vec<usize> = self.score.stage.friends(partner).collect();
                    friends.into_iter().for_each(|user| self.partner_shows(now, user, out));
                }
            }
            Habit::Answer => {
                for user in self.score.stage.locals_due(now, &mut self.turns.change) {
                    if self.score.stage.change(now, user, Track::Legacy).is_some() {
                        self.local_shows(now, user, out);
                    }
                }
            }
        }
    }

    /// Everybody who has no grant asks for it.
    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        let stage = &self.score.stage;
        let is_partner = matches!(self.habit, Habit::Write { .. });
        let mut asking: Vec<usize> = stage.living_on(Track::Legacy).collect();
        if is_partner {
            asking.extend(stage.living_on(Track::Sip));
        }
        asking.retain(|user| if is_partner { !stage.may_be_seen(*user) } else { !stage.may_look(*user) });
        for user in asking {
            let Some((local, partner)) = self.pair(user) else { continue };
            let (from, to) = if is_partner { (partner, local) } else { (local, partner) };
            self.say(now, PresenceType::Subscribe, &from, &to, None, out);
        }
    }

    fn partner_heeds(&mut self, now: Instant, kind: PresenceType, stanza: &Stanza, out: &mut Outbox) {
        let Some(user) = number(&stanza.from, 'u') else { return };
        let stage = &self.score.stage;
        let resource = stanza.from.resource().unwrap_or_default();
        match kind {
            PresenceType::Subscribe => {
                stage.asked();
                self.grant(now, user, out);
                self.partner_shows(now, user, out);
            }
            PresenceType::Subscribed => stage.allow_partner(user, true),
            PresenceType::Unsubscribed => stage.allow_partner(user, false),
            PresenceType::Unsubscribe => stage.allow_local(user, false),
            PresenceType::Probe => self.partner_shows(now, user, out),
            PresenceType::Available => stage.partner_sees(user, resource, Some(mood(stanza))),
            PresenceType::Unavailable => stage.partner_sees(user, resource, None),
            PresenceType::Error => {}
        }
    }

    fn local_heeds(&mut self, now: Instant, kind: PresenceType, stanza: &Stanza, out: &mut Outbox) {
        let Some(user) = number(&stanza.to, 'u') else { return };
        let stage = &self.score.stage;
        let resource = stanza.from.resource().unwrap_or_default();
        let lives_here = stage.lives_on(user) == Some(Track::Legacy);
        match kind {
            PresenceType::Subscribe => {
                stage.asked();
                self.grant(now, user, out);
                self.local_shows(now, user, out);
            }
            PresenceType::Subscribed => stage.allow_local(user, true),
            PresenceType::Unsubscribed => stage.allow_local(user, false),
            PresenceType::Unsubscribe => stage.allow_partner(user, false),
            PresenceType::Probe if lives_here => self.local_shows(now, user, out),
            PresenceType::Available => stage.local_sees(user, Track::Legacy, resource, Some(mood(stanza))),
            PresenceType::Unavailable => stage.local_sees(user, Track::Legacy, resource, None),
            PresenceType::Probe | PresenceType::Error => {}
        }
    }

    /// The user of this home lets the other see him.
    fn grant(&mut self, now: Instant, user: usize, out: &mut Outbox) {
        let Some((local, partner)) = self.pair(user) else { return };
        let is_partner = matches!(self.habit, Habit::Write { .. });
        let (from, to) = if is_partner { (partner, local) } else { (local, partner) };
        self.say(now, PresenceType::Subscribed, &from, &to, None, out);
    }

    fn partner_shows(&mut self, now: Instant, user: usize, out: &mut Outbox) {
        let mood = self.score.stage.partner_mood(self.score.stage.friend(user));
        let Some((local, partner)) = self.pair(user) else { return };
        if let Ok(from) = Jid::parse(&format!("{partner}/{PHONE}")) {
            self.say(now, PresenceType::Available, &from, &local, Some(mood), out);
        }
    }

    fn local_shows(&mut self, now: Instant, user: usize, out: &mut Outbox) {
        let mood = self.score.stage.mood(user);
        let Some((local, partner)) = self.pair(user) else { return };
        if let Ok(from) = Jid::parse(&format!("{local}/{DESK}")) {
            self.say(now, PresenceType::Available, &from, &partner, Some(mood), out);
        }
    }

    /// The bare addresses of a local user and of the partner's user he talks to.
    fn pair(&self, user: usize) -> Option<(Jid, Jid)> {
        pair(&self.score.stage, user)
    }

    fn say(
        &self,
        now: Instant,
        kind: PresenceType,
        from: &Jid,
        to: &Jid,
        mood: Option<Mood>,
        out: &mut Outbox,
    ) {
        let word = match kind {
            PresenceType::Subscribe => " type='subscribe'",
            PresenceType::Subscribed => " type='subscribed'",
            _ => "",
        };
        let show = mood.and_then(Mood::show).map(|show| format!("<show>{show}</show>")).unwrap_or_default();
        let content = format!("{word}>{show}</presence>");
        let made = stanza(now, self.side, Kind::Presence(kind), ("presence", ""), (from, to), &content);
        if let Some(made) = made {
            out.arrivals.push_back(made);
        }
    }
}

/// The bare addresses of a local user and of the partner's user he talks to.
pub(in crate::demo) fn pair(stage: &Stage, user: usize) -> Option<(Jid, Jid)> {
    Some((local_user(user).ok()?, partner_user(stage.friend(user)).ok()?))
}

/// The number in the name of a user, behind this letter.
pub(in crate::demo) fn number(jid: &Jid, letter: char) -> Option<usize> {
    jid.local()?.strip_prefix(letter)?.parse().ok()
}

/// What a presence stanza shows. The demo's stanzas hold no other element of this name, so looking for it is enough.
fn mood(stanza: &Stanza) -> Mood {
    let text = std::str::from_utf8(&stanza.bytes).unwrap_or_default();
    if text.contains("<show>away<") {
        Mood::Away
    } else if text.contains("<show>dnd<") {
        Mood::Busy
    } else {
        Mood::Free
    }
}
