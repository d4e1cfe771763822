//! Presence at the pool: it is watched, and its users watch (RFC 3856, RFC 6665). Invariant: a watcher is told at once what a user shows;
//! a user who lives here has one subscription to his partner's user, and asks again only when that has ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_sip::parse::{HeaderName, Message};
use turnout_sip::write::Builder;

use super::{Dialog, POOL, Pool, answer};
use crate::demo::clients::presence::{number, pair};
use crate::demo::presence::{CARD, Mood};
use crate::demo::score::Track;

/// A subscription that was refused or has ended is asked for again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a subscription of either side lasts; the demo does not outlive it.
const EXPIRES_SECONDS: u32 = 3600;

/// Somebody outside who watches a user.
struct Watch {
    user: usize,
    dialog: Dialog,
    link: LinkId,
}

/// A user of the pool who watches somebody outside.
struct Look {
    user: usize,
    /// It has been left; its end is awaited.
    left: bool,
}

/// What the pool knows of presence.
#[derive(Default)]
pub(super) struct Presences {
    /// By Call-ID.
    watches: BTreeMap<String, Watch>,
    /// By Call-ID.
    looks: BTreeMap<String, Look>,
    /// When a user may ask again.
    again: BTreeMap<usize, Instant>,
    change: u64,
}

impl Pool {
    /// Somebody wants to see a user, goes on wanting it, or does not want it any more.
    pub(super) fn subscribe(&mut self, link: LinkId, request: &Message, out: &mut Outbox) -> Option<()> {
        let call_id = request.call_id().ok()?.to_owned();
        let wants = request.header(HeaderName::Expires).is_none_or(|seconds| seconds != b"0");
        if request.to().ok()?.params.get("tag").is_some() && !self.presences.watches.contains_key(&call_id) {
            return answer(link, request, 481, None, out);
        }
        let tag = self.token();
        let response = Builder::answer(request, 200, "OK", Some(&tag)).ok()?;
        let seconds = if wants { EXPIRES_SECONDS } else { 0 };
        let response = response.header(HeaderName::Expires, &seconds.to_string()).ok()?;
        let response = response.header(HeaderName::Contact, &format!("<sip:{POOL};transport=tls>")).ok()?;
        out.transmit(link, response.finish());
        if !self.presences.watches.contains_key(&call_id) {
            let user = user_of(request.to().ok()?.uri_text)?;
            if wants && !self.score.stage.may_be_seen(user) {
                self.score.stage.asked();
            }
            let dialog = Dialog::answered(request, &tag)?;
            self.presences.watches.insert(call_id.clone(), Watch { user, dialog, link });
        }
        self.presences.watches.get_mut(&call_id)?.link = link;
        self.notify(&call_id, wants, out)?;
        if !wants {
            self.presences.watches.remove(&call_id);
        }
        Some(())
    }

    /// A watcher is told what a user shows.
    fn notify(&mut self, call_id: &str, goes_on: bool, out: &mut Outbox) -> Option<()> {
        let branch = self.token();
        let watch = self.presences.watches.get_mut(call_id)?;
        let state = if goes_on {
            format!("active;expires={EXPIRES_SECONDS}")
        } else {
            "terminated;reason=timeout".to_owned()
        };
        let body = document(watch.user, self.score.stage.mood(watch.user));
        let request = watch.dialog.request("NOTIFY", call_id, &branch)?;
        let request = request.header(HeaderName::Contact, &format!("<sip:{POOL};transport=tls>")).ok()?;
        let request = request.header(HeaderName::Event, "presence").ok()?;
        let request = request.header(HeaderName::SubscriptionState, &state).ok()?;
        out.transmit(watch.link, request.finish_with("application/pidf+xml", body.as_bytes()).ok()?);
        Some(())
    }

    /// A user of the pool is told what somebody outside shows.
    pub(super) fn notified(
        &mut self,
        now: Instant,
        link: LinkId,
        request: &Message,
        out: &mut Outbox,
    ) -> Option<()> {
        let call_id = request.call_id().ok()?;
        let Some(look) = self.presences.looks.get(call_id) else {
            return answer(link, request, 481, None, out);
        };
        let (user, left) = (look.user, look.left);
        answer(link, request, 200, None, out)?;
        let state = request.header(HeaderName::SubscriptionState)?;
        if state.starts_with(b"terminated") {
            self.presences.looks.remove(call_id);
            self.presences.again.insert(user, now + AGAIN);
        } else if state.starts_with(b"active") && !left {
            self.score.stage.allow_local(user, true);
            let body = request.body();
            let text = std::str::from_utf8(&body).ok()?;
            if !text.is_empty() {
                self.score.stage.local_sees(user, Track::Sip, CARD, shown(text));
            }
        }
        Some(())
    }

    /// Users sign in and out, ask, and change what they show.
    pub(super) fn show(&mut self, now: Instant, out: &mut Outbox) {
        let stage = std::sync::Arc::clone(&self.score);
        let stage = &stage.stage;
        for user in stage.locals_due(now, &mut self.presences.change) {
            if stage.change(now, user, Track::Sip).is_some() {
                let watched = self.presences.watches.iter().filter(|(_, watch)| watch.user == user);
                let calls: Vec<String> = watched.map(|(call_id, _)| call_id.clone()).collect();
                for call_id in calls {
                    // What cannot be written is shown as wrong.
                    self.notify(&call_id, true, out).unwrap_or_default();
                }
            }
        }
        for look in self.presences.looks.values_mut() {
            look.left |= stage.lives_on(look.user) != Some(Track::Sip);
        }
        let Some(link) = self.framers.keys().min().copied().filter(|_| stage.has_met()) else { return };
        let looking =
            |user: &usize| self.presences.looks.values().any(|look| look.user == *user && !look.left);
        let asking: Vec<usize> = stage
            .living_on(Track::Sip)
            .filter(|user| !stage.is_moving(*user) && !looking(user))
            .filter(|user| self.presences.again.get(user).is_none_or(|at| *at <= now))
            .collect();
        for user in asking {
            self.presences.again.insert(user, now + AGAIN);
            self.look(link, user, out).unwrap_or_default();
        }
    }

    /// A user asks to see his partner's user.
    fn look(&mut self, link: LinkId, user: usize, out: &mut Outbox) -> Option<()> {
        let (local, partner) = pair(&self.score.stage, user)?;
        let (tag, call_id, branch) = (self.token(), self.token(), self.token());
        let mut dialog = Dialog {
            ours: format!("<sip:{local}>;tag={tag}").into_bytes(),
            theirs: format!("<sip:{partner}>").into_bytes(),
            target: format!("sip:{partner}"),
            cseq: 0,
        };
        let request = dialog.request("SUBSCRIBE", &call_id, &branch)?;
        let request = request.header(HeaderName::Contact, &format!("<sip:{POOL};transport=tls>")).ok()?;
        let request = request.header(HeaderName::Event, "presence").ok()?;
        let request = request.header(HeaderName::Accept, "application/pidf+xml").ok()?;
        let request = request.header(HeaderName::Expires, &EXPIRES_SECONDS.to_string()).ok()?;
        out.transmit(link, request.finish());
        self.presences.looks.insert(call_id, Look { user, left: false });
        Some(())
    }

    /// A subscription or what was told of one was refused.
    pub(super) fn refused(&mut self, call_id: &str) {
        self.presences.looks.remove(call_id);
        self.presences.watches.remove(call_id);
    }

    fn token(&mut self) -> String {
        self.branches += 1;
        format!("pool{}", self.branches)
    }
}

/// The number of the user an address is of.
fn user_of(uri: &str) -> Option<usize> {
    number(&Jid::parse(uri.strip_prefix("sip:")?).ok()?, 'u')
}

/// What a pool writes of a user toward other clouds.
fn document(user: usize, mood: Mood) -> String {
    let activity = |word| format!("<ep:activities><ep:activity>{word}</ep:activity></ep:activities>");
    let activities = mood.activity().map(activity).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" entity=\"sip:u{user}@contoso.com\"><tuple id=\"0\">\
         <status><basic>open</basic>{activities}</status></tuple></presence>"
    )
}

/// What a document shows. Those of the router have these words in these elements only, so looking for them is enough.
fn shown(document: &str) -> Option<Mood> {
    if !document.contains("<basic>open</basic>") {
        None
    } else if document.contains("activity>away<") {
        Some(Mood::Away)
    } else if document.contains("activity>busy<") {
        Some(Mood::Busy)
    } else {
        Some(Mood::Free)
    }
}
