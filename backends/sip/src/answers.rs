//! The answering half of the transaction layer (RFC 3261 §17.2, RFC 6026 §7.1), and what the verdict on a stanza becomes.

use std::time::Instant;

use bytes::Bytes;
use turnout_core::io::{LinkId, Outbox};
use turnout_core::refusal::Refusal;

use crate::backend::{SipBackend, Timer};
use crate::error::{Refused, StatusPolicy, status_of};
use crate::parse::{HeaderName, Message};
use crate::slab::Key;
use crate::transaction::{Answered, Identity, T1_MILLIS, T2_MILLIS, TIMEOUT_MILLIS, Tag};
use crate::write::{Builder, push_answer, usual_reason};

impl SipBackend {
    /// The final answer to the request of this key, without a body.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        key: Key,
        code: u16,
        headers: &[(HeaderName, &str)],
        out: &mut Outbox,
    ) {
        if !headers.is_empty() {
            return self.reply_in_words(now, key, code, usual_reason(code), headers, out);
        }
        let Some(server) = self.servers.get(key) else { return };
        // The usual case, put together from pieces: a request of a transaction was checked and has no flaw.
        let tag = match server.tag {
            Tag::New(token) => Some(token.hex()),
            Tag::Own(_) | Tag::Foreign => None,
        };
        push_answer(&server.request, code, usual_reason(code), tag.as_deref(), &mut self.paper);
        let bytes = self.paper.split().freeze();
        self.answer(now, key, bytes, out);
    }

    /// As `reply`, with a reason phrase of its own.
    pub(crate) fn reply_in_words(
        &mut self,
        now: Instant,
        key: Key,
        code: u16,
        reason: &str,
        headers: &[(HeaderName, &str)],
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        let mut answer = Builder::answer(&server.request, code, reason, Some(&server.tag_text()));
        for (name, value) in headers {
            answer = answer.and_then(|answer| answer.header(*name, value));
        }
        let Ok(answer) = answer else { return };
        self.answer(now, key, answer.finish(), out);
    }

    /// Sends a final answer that is no 2xx to an INVITE.
    fn answer(&mut self, now: Instant, key: Key, bytes: Bytes, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        if server.is_invite() {
            out.transmit(server.link, bytes.clone());
            // It may be kept for long, the buffer it was written in need not be.
            server.answered = Answered::Refused(Bytes::copy_from_slice(&bytes));
            self.restart(now, key);
        } else {
            out.transmit(server.link, bytes);
            self.finish(key);
        }
    }

    /// The 2xx to an INVITE; it is repeated until the ACK comes (RFC 3261 §13.3.1.4).
    pub(crate) fn accept_invite(&mut self, now: Instant, key: Key, bytes: Bytes, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        out.transmit(server.link, bytes.clone());
        server.answered = Answered::Accepted(Some(bytes));
        self.restart(now, key);
        self.after(now, T1_MILLIS, Timer::Repeat(key, T1_MILLIS));
    }

    /// The stanza made of a request has found its end.
    pub(crate) fn verdict(
        &mut self,
        now: Instant,
        key: Key,
        verdict: Result<(), &Refusal>,
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        // A request that was cancelled meanwhile has its final answer.
        if !matches!(server.answered, Answered::Not { .. }) {
            return;
        }
        match verdict {
            Ok(()) if server.is_invite() => self.first_text_delivered(now, key, out),
            Ok(()) => self.reply(now, key, 200, &[], out),
            Err(refusal) => {
                let status = status_of(refusal.condition, Refused::default(), StatusPolicy::default());
                let reason = if refusal.text.is_empty() { status.reason } else { &refusal.text };
                self.reply_in_words(now, key, status.code, reason, &[], out);
            }
        }
    }

    /// CANCEL (RFC 3261 §9.2): answered 200 where it has something to cancel, and that is answered 487 if it still waits.
    pub(crate) fn cancelled(&mut self, now: Instant, link: LinkId, cancel: &Message, out: &mut Outbox) {
        let key = Identity::of(cancel).ok().and_then(|identity| self.servers.find(&identity, b"INVITE"));
        let Some((key, server)) = key.and_then(|key| self.servers.get(key).map(|server| (key, server)))
        else {
            return self.refuse(cancel, link, 481, None, out);
        };
        let waits = matches!(server.answered, Answered::Not { .. });
        let tag = server.tag_text().into_owned();
        if let Ok(answer) = Builder::answer(cancel, 200, "OK", Some(&tag)) {
            out.transmit(link, answer.finish());
        }
        if waits {
            self.reply(now, key, 487, &[], out);
        }
    }

    /// ACK: of a refusal, which ends the transaction, or of a 2xx, which makes the dialog sure.
    pub(crate) fn confirmed(&mut self, now: Instant, link: LinkId, ack: &Message, out: &mut Outbox) {
        let Ok(identity) = Identity::of(ack) else { return };
        if let Some(key) = self.servers.find(&identity, b"INVITE")
            && self.servers.get(key).is_some_and(|server| matches!(server.answered, Answered::Refused(_)))
        {
            return self.finish(key);
        }
        let Some(server) = self.servers.confirm(&identity) else { return };
        let Answered::Accepted(unconfirmed) = &mut server.answered else { return };
        *unconfirmed = None;
        if let Some(dialog) = server.tag.token().and_then(|tag| self.dialogs.find(tag)) {
            self.dialog_confirmed(now, link, dialog, out);
        }
    }

    /// Timer L and H, and the longest a verdict may take.
    pub(crate) fn server_due(&mut self, now: Instant, key: Key, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        server.timer = None;
        match &server.answered {
            Answered::Not { .. } => {
                self.reply(now, key, 504, &[], out);
            }
            Answered::Accepted(Some(_)) => {
                let tag = server.tag.token();
                self.finish(key);
                // RFC 3261 §13.3.1.4: without an ACK the session is not there.
                if let Some(dialog) = tag.and_then(|tag| self.dialogs.find(tag)) {
                    self.end_dialog(now, dialog, true, out);
                }
            }
            Answered::Accepted(None) | Answered::Refused(_) => self.finish(key),
        }
    }

    /// The INVITE of this key has waited long enough for a sign.
    pub(crate) fn trying(&mut self, key: Key, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        let Answered::Not { provisional } = &mut server.answered else { return };
        if let Ok(answer) = Builder::answer(&server.request, 100, "Trying", None) {
            let bytes = answer.finish();
            *provisional = Some(bytes.clone());
            out.transmit(server.link, bytes);
        }
    }

    /// Sends a 2xx again.
    pub(crate) fn repeat(&mut self, now: Instant, key: Key, millis: u64, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        let Answered::Accepted(Some(bytes)) = &server.answered else { return };
        out.transmit(server.link, bytes.clone());
        let next = (millis * 2).min(T2_MILLIS);
        self.after(now, next, Timer::Repeat(key, next));
    }

    /// Ends a server transaction.
    fn finish(&mut self, key: Key) {
        let Some(server) = self.servers.end(key) else { return };
        if let Some(timer) = server.timer {
            self.timers.cancel(timer);
        }
        self.recycle(server.request);
    }

    /// Sets the timer of a server transaction anew.
    pub(crate) fn restart(&mut self, now: Instant, key: Key) {
        let timer = self.after(now, TIMEOUT_MILLIS, Timer::Server(key));
        let old = self.servers.get(key).and_then(|server| server.timer.replace(timer));
        if let Some(old) = old {
            self.timers.cancel(old);
        }
    }

    /// Ends the requests that came on a lost link and are not answered: nobody is there to hear.
    pub(crate) fn forget_requests(&mut self, link: LinkId) {
        for key in self.servers.unanswered_on(link) {
            self.finish(key);
        }
    }
}
