//! What the pool says of a user who is watched: NOTIFY and BENOTIFY, and what the watcher is told of it (RFC 6665 §4.1.3, RFC 8048
//! §5.2). Invariant: a NOTIFY is of a dialog that stands or makes one, never of a second one beside it; the watcher is told what
//! changed and nothing twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use turnout_core::contact::Contact;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::jid::Jid;
use turnout_core::notice::Notice;
use turnout_core::stanza::PresenceType;

use super::disco;
use super::pidf::{self, Document, Flaw};
use super::shown::Presence;
use super::stanza::{Extras, write_available};
use super::subscription::lean;
use super::watch::Goal;
use crate::backend::SipBackend;
use crate::parse::{HeaderName, Message, Vitals, Word};
use crate::slab::Key;
use crate::transaction::Tag;

/// Resources of a local user that a watcher is shown.
const RESOURCES_MAX: usize = turnout_core::contact::SHOWN_MAX;
/// Wait before a subscription that a pool has given up on is begun anew, unless it says how long.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// The same for one whose user will not change any more.
const INVARIANT: Duration = Duration::from_secs(3600);

/// What Subscription-State says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    /// Also a state nobody has heard of: it is neither the one nor the other.
    Pending,
    Over(Reason),
}

/// Why a subscription is over, by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// `deactivated`, `timeout`: anew at once.
    Again,
    /// `probation`, `giveup` and what nobody has heard of: anew later.
    Later(Duration),
    /// `rejected`, `noresource`: not again.
    Denied,
}

impl State {
    /// The state, and how many seconds it says are left.
    fn read(value: &Word<'_>) -> (Self, Option<u32>) {
        let number =
            |name| value.params.get(name).and_then(|value| crate::parse::number_of(value.as_bytes()));
        let is = |word: &str| value.text.eq_ignore_ascii_case(word);
        if is("active") {
            return (Self::Active, number("expires"));
        }
        if !is("terminated") {
            return (Self::Pending, number("expires"));
        }
        let after = number("retry-after").map(|seconds| Duration::from_secs(seconds.into()));
        let reason = value.params.get("reason").unwrap_or_default().to_ascii_lowercase();
        (
            Self::Over(match &*reason {
                "deactivated" | "timeout" => Reason::Again,
                "rejected" | "noresource" => Reason::Denied,
                "giveup" => Reason::Later(after.unwrap_or(GIVEN_UP)),
                "invariant" => Reason::Later(after.unwrap_or(INVARIANT)),
                _ => Reason::Later(after.unwrap_or(Duration::ZERO)),
            }),
            None,
        )
    }
}

impl SipBackend {
    /// A NOTIFY; `server` is its transaction, which a BENOTIFY has none of, as nobody answers it.
    pub(crate) fn told_by_pool(
        &mut self,
        now: Instant,
        server: Option<Key>,
        tag: Tag,
        link: LinkId,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) {
        let found = tag.token().and_then(|tag| self.events.watches.tagged(tag));
        let read = match found {
            Some(key) => self.notice(key, link, (request, vitals), out).map(|read| (key, read)),
            None => Err(481),
        };
        let (code, read) = match read {
            Ok(read) => (200, Some(read)),
            Err(code) => (code, None),
        };
        if let Some(server) = server {
            let accept = (code == 415).then_some((HeaderName::Accept, pidf::PIDF));
            self.reply(now, server, code, accept.as_slice(), out);
        }
        if let Some((key, (state, expires, document))) = read {
            self.heed(now, key, (state, expires), document, out);
        }
    }

    /// Reads a NOTIFY for a watch, and takes it into the dialog.
    ///
    /// # Errors
    /// The code to answer with.
    fn notice(
        &mut self,
        key: Key,
        link: LinkId,
        (request, vitals): (&Message, &Vitals<'_>),
        out: &mut Outbox,
    ) -> Result<(State, Option<u32>, Document), u16> {
        let watch = self.events.watches.get_mut(key).ok_or(481_u16)?;
        let (confirmed, leaving) = (watch.confirmed, watch.goal == Goal::Leave);
        let usage = watch.usage.as_mut().ok_or(481_u16)?;
        let event = request.header(HeaderName::Event).and_then(|value| Word::parse(value).ok());
        // We gave no id, so what has one is of another subscription (RFC 6665 §4.5.2).
        let is_ours = event.is_some_and(|event| event.params.get("id").is_none());
        if !usage.has_call_id_of(vitals) || confirmed && !usage.is_of(vitals) || !is_ours {
            return Err(481);
        }
        let state = request.header(HeaderName::SubscriptionState).and_then(|value| Word::parse(value).ok());
        let (state, expires) = state.as_ref().map(State::read).ok_or(400_u16)?;
        if !confirmed {
            // What is left before it began is not begun: the pool forgets it by this.
            if leaving && !matches!(state, State::Over(_)) {
                return Err(481);
            }
            if !usage.confirmed(request, vitals) {
                return Err(400);
            }
            watch.confirmed = true;
            watch.notify_by = watch.notify_by.filter(|_| leaving);
        }
        if !usage.take_number(vitals.cseq.number) {
            return Err(500);
        }
        usage.refresh_target(request);
        usage.link = link;
        if state == State::Pending || leaving {
            return Ok((state, expires, Document::default()));
        }
        let rules = &self.world.presence;
        match pidf::read(vitals.content_type.as_ref(), request.body_bytes(), rules, self.dialect) {
            Ok(document) => Ok((state, expires, document)),
            Err(flaw) => {
                let why = match flaw {
                    Flaw::Unsupported => "a NOTIFY of a type that was not asked for",
                    Flaw::Broken(why) => why,
                };
                self.note(
                    Notice::PoolRefused,
                    link,
                    "presence",
                    format!("answered {}: {why}", flaw.code()),
                    out,
                );
                Err(flaw.code())
            }
        }
    }

    /// Does what a NOTIFY says.
    fn heed(
        &mut self,
        now: Instant,
        key: Key,
        (state, expires): (State, Option<u32>),
        document: Document,
        out: &mut Outbox,
    ) {
        let jitter = self.random.token().bytes()[0];
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let document = match watch.before.take() {
            // Where changes are told, nothing told is nothing changed.
            Some(before) if document == Document::default() => *before,
            Some(before) => document.after(&before, self.dialect),
            None => document,
        };
        if document.categories.is_some() {
            watch.before = Some(Box::new(document.clone()));
        }
        match (watch.goal, state) {
            (Goal::Leave, State::Over(_)) => return self.forget_watch(key),
            (Goal::Leave, _) => return,
            (Goal::Look, _) => return self.looked(now, key, state, document, out),
            (Goal::Ask | Goal::Keep, State::Over(Reason::Denied)) => return self.watch_denied(now, key, out),
            (Goal::Ask | Goal::Keep, State::Over(Reason::Again)) => {
                return self.watch_ended(now, key, true, Duration::ZERO, out);
            }
            (Goal::Ask | Goal::Keep, State::Over(Reason::Later(after))) => {
                return self.watch_ended(now, key, false, after, out);
            }
            (Goal::Ask | Goal::Keep, State::Active | State::Pending) => {}
        }
        if let Some(seconds) = expires {
            watch.stated(now, seconds, jitter);
        }
        (watch.trouble, watch.failures, watch.unknown) = (None, 0, 0);
        match (watch.goal, state) {
            (goal, State::Active) => {
                watch.goal = Goal::Keep;
                if std::mem::take(&mut watch.grant_unsaid) || goal == Goal::Ask {
                    self.tell_watcher(now, key, PresenceType::Subscribed, out);
                }
                self.show_document(now, key, document, out);
            }
            // What was granted is looked at anew: nothing is shown meanwhile.
            _ => self.show_nothing(now, key, out),
        }
        self.set_watch(key);
    }

    /// The answer to a fetch. A document says that the watcher may see the user, whatever was remembered.
    fn looked(&mut self, now: Instant, key: Key, state: State, document: Document, out: &mut Outbox) {
        let denied = matches!(state, State::Pending | State::Over(Reason::Denied));
        if denied || !document.has_basic {
            self.tell_watcher(now, key, PresenceType::Unsubscribed, out);
            return self.forget_watch(key);
        }
        self.events.watches.drop_dialog(key);
        if let Some(watch) = self.events.watches.get_mut(key) {
            watch.goal = Goal::Keep;
            watch.flight = None;
        }
        self.tell_watcher(now, key, PresenceType::Subscribed, out);
        self.show_document(now, key, document, out);
        self.want(now, key, out);
        self.set_watch(key);
    }

    /// Shows the watcher what the pool says, as far as it is new.
    fn show_document(&mut self, now: Instant, key: Key, document: Document, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        let (local, partner) = (watch.local.clone(), watch.partner.clone());
        let sees_texts =
            self.world.policy.find(partner.domain()).is_some_and(|partner| partner.kind.sees_status_text());
        let is_first = !std::mem::replace(&mut watch.known, true);
        let before = std::mem::take(&mut watch.shown);
        let mut open = document.open;
        open.truncate(RESOURCES_MAX);
        for presence in open {
            let presence = if sees_texts { presence } else { Presence { statuses: Vec::new(), ..presence } };
            watch.shown.insert(Arc::clone(&presence.resource), Some(lean(presence)));
        }
        let after: Vec<Presence> = watch.shown.values().flatten().cloned().collect();
        for resource in before.keys().filter(|gone| after.iter().all(|other| other.resource != **gone)) {
            self.emit_unavailable(now, (&local, &partner), resource, out);
        }
        for presence in &after {
            if before.get(&presence.resource).is_none_or(|known| known.as_ref() != Some(presence)) {
                self.emit_available(now, (&local, &partner), (presence, false), out);
            }
        }
        if is_first && before.is_empty() && after.is_empty() {
            self.emit_unavailable(now, (&local, &partner), "", out);
        }
    }

    /// Takes back what the watcher was shown: nobody knows whether it is so.
    pub(crate) fn show_nothing(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        watch.known = false;
        let shown = std::mem::take(&mut watch.shown);
        let (local, partner) = (watch.local.clone(), watch.partner.clone());
        for resource in shown.keys() {
            self.emit_unavailable(now, (&local, &partner), resource, out);
        }
    }

    /// Tells the watcher what he was shown, as to one who has just come (RFC 6121 §4.3.2). Nothing where nothing is known yet.
    pub(crate) fn show_again(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get(key).filter(|watch| watch.known) else { return };
        let (local, partner) = (watch.local.clone(), watch.partner.clone());
        let shown: Vec<Presence> = watch.shown.values().flatten().cloned().collect();
        for presence in &shown {
            self.emit_available(now, (&local, &partner), (presence, true), out);
        }
        if shown.is_empty() {
            self.emit_unavailable(now, (&local, &partner), "", out);
        }
    }

    /// What the watcher is known to have been shown before this watch began.
    pub(crate) fn expect_shown(&mut self, now: Instant, key: Key, contact: &Contact) {
        let Some(watch) = self.events.watches.get_mut(key) else { return };
        for resource in contact.shown.iter().take(RESOURCES_MAX) {
            watch.shown.entry(Arc::clone(resource)).or_insert(None);
        }
        watch.trouble.get_or_insert(now);
    }

    /// Tells the watcher where his request stands.
    pub(crate) fn tell_watcher(&mut self, now: Instant, key: Key, kind: PresenceType, out: &mut Outbox) {
        let Some(watch) = self.events.watches.get(key) else { return };
        let (local, partner) = (watch.local.clone(), watch.partner.clone());
        self.emit(now, kind, (&local, &partner), out);
    }

    fn emit_available(
        &mut self,
        now: Instant,
        (local, partner): (&Jid, &Jid),
        (presence, is_old): (&Presence, bool),
        out: &mut Outbox,
    ) {
        let Some(from) = with_resource(local, &presence.resource) else { return };
        let envelope = self.envelope(now, from, partner.clone(), 0, out);
        let caps = disco::caps(self.features());
        let extras = Extras { caps: Some(&caps), nick: true, delay: is_old };
        out.arrivals.push_back(write_available(envelope, presence, extras));
    }

    /// Says that a resource is gone; no name stands for all of them.
    pub(crate) fn emit_unavailable(
        &mut self,
        now: Instant,
        (local, partner): (&Jid, &Jid),
        resource: &str,
        out: &mut Outbox,
    ) {
        let Some(from) = with_resource(local, resource) else { return };
        self.emit(now, PresenceType::Unavailable, (&from, partner), out);
    }
}

/// The full address of a resource; `None` where the pool calls it by what is no resource of XMPP.
fn with_resource(local: &Jid, resource: &str) -> Option<Jid> {
    if resource.is_empty() {
        return Some(local.clone());
    }
    Jid::parse(&format!("{}/{resource}", local.bare_str())).ok()
}
