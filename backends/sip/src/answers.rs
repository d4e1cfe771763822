//! The answering half of the transaction layer (RFC 3261 §17.2, RFC 6026 §7.1), and what the verdict on a stanza becomes.

use std::time::Instant;

use turnout_core::io::{LinkId, Outbox};
use turnout_core::refusal::Refusal;

use crate::backend::{SipBackend, Timer};
use crate::error::{Refused, StatusPolicy, status_of};
use crate::parse::{HeaderName, Message};
use crate::transaction::{Answered, T1_MILLIS, T2_MILLIS, TIMEOUT_MILLIS, server_key};
use crate::write::{Builder, usual_reason};

impl SipBackend {
    /// The final answer to the request of this key, without a body.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        key: &str,
        code: u16,
        headers: &[(HeaderName, &str)],
        out: &mut Outbox,
    ) {
        self.reply_in_words(now, key, code, usual_reason(code), headers, out);
    }

    /// As `reply`, with a reason phrase of its own.
    pub(crate) fn reply_in_words(
        &mut self,
        now: Instant,
        key: &str,
        code: u16,
        reason: &str,
        headers: &[(HeaderName, &str)],
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        let mut answer = Builder::answer(&server.request, code, reason, Some(&server.tag));
        for (name, value) in headers {
            answer = answer.and_then(|answer| answer.header(*name, value));
        }
        let Ok(answer) = answer else { return };
        let bytes = answer.finish();
        let (link, is_invite) = (server.link, server.request.method() == Some(b"INVITE"));
        out.transmit(link, bytes.clone());
        if is_invite {
            server.answered = Answered::Refused(bytes);
            self.restart(now, key);
        } else {
            self.finish(key);
        }
    }

    /// The 2xx to an INVITE; it is repeated until the ACK comes (RFC 3261 §13.3.1.4).
    pub(crate) fn accept_invite(&mut self, now: Instant, key: &str, bytes: bytes::Bytes, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        out.transmit(server.link, bytes.clone());
        server.answered = Answered::Accepted(Some(bytes));
        self.restart(now, key);
        self.after(now, T1_MILLIS, Timer::Repeat(key.to_owned(), T1_MILLIS));
    }

    /// The stanza made of a request has found its end.
    pub(crate) fn verdict(
        &mut self,
        now: Instant,
        key: &str,
        verdict: Result<(), &Refusal>,
        out: &mut Outbox,
    ) {
        let Some(server) = self.servers.get(key) else { return };
        // A request that was cancelled meanwhile has its final answer.
        if !matches!(server.answered, Answered::Not { .. }) {
            return;
        }
        let is_invite = server.request.method() == Some(b"INVITE");
        match verdict {
            Ok(()) if is_invite => self.first_text_delivered(now, key, out),
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
        let Some(key) = server_key(cancel, "INVITE").filter(|key| self.servers.get(key).is_some()) else {
            return self.refuse(cancel, link, 481, None, out);
        };
        let Some(server) = self.servers.get(&key) else { return };
        let waits = matches!(server.answered, Answered::Not { .. });
        let tag = server.tag.clone();
        if let Ok(answer) = Builder::answer(cancel, 200, "OK", Some(&tag)) {
            out.transmit(link, answer.finish());
        }
        if waits {
            self.reply(now, &key, 487, &[], out);
        }
    }

    /// ACK: of a refusal, which ends the transaction, or of a 2xx, which makes the dialog sure.
    pub(crate) fn confirmed(&mut self, now: Instant, link: LinkId, ack: &Message, out: &mut Outbox) {
        if let Some(key) = server_key(ack, "INVITE")
            && self.servers.get(&key).is_some_and(|server| matches!(server.answered, Answered::Refused(_)))
        {
            return self.finish(&key);
        }
        let Some(server) = self.servers.confirm(ack) else { return };
        let Answered::Accepted(unconfirmed) = &mut server.answered else { return };
        *unconfirmed = None;
        let tag = server.tag.clone();
        self.dialog_confirmed(now, link, &tag, out);
    }

    /// Timer L and H, and the longest a verdict may take.
    pub(crate) fn server_due(&mut self, now: Instant, key: &str, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        server.timer = None;
        match &server.answered {
            Answered::Not { .. } => {
                self.reply(now, key, 504, &[], out);
            }
            Answered::Accepted(Some(_)) => {
                let tag = server.tag.clone();
                self.finish(key);
                // RFC 3261 §13.3.1.4: without an ACK the session is not there.
                self.end_dialog(now, &tag, true, out);
            }
            Answered::Accepted(None) | Answered::Refused(_) => self.finish(key),
        }
    }

    /// The INVITE of this key has waited long enough for a sign.
    pub(crate) fn trying(&mut self, key: &str, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        let Answered::Not { provisional } = &mut server.answered else { return };
        if let Ok(answer) = Builder::answer(&server.request, 100, "Trying", None) {
            let bytes = answer.finish();
            *provisional = Some(bytes.clone());
            out.transmit(server.link, bytes);
        }
    }

    /// Sends a 2xx again.
    pub(crate) fn repeat(&mut self, now: Instant, key: &str, millis: u64, out: &mut Outbox) {
        let Some(server) = self.servers.get(key) else { return };
        let Answered::Accepted(Some(bytes)) = &server.answered else { return };
        out.transmit(server.link, bytes.clone());
        let next = (millis * 2).min(T2_MILLIS);
        self.after(now, next, Timer::Repeat(key.to_owned(), next));
    }

    /// Ends a server transaction.
    fn finish(&mut self, key: &str) {
        if let Some(timer) = self.servers.end(key).and_then(|server| server.timer) {
            self.timers.cancel(timer);
        }
    }

    /// Sets the timer of a server transaction anew.
    fn restart(&mut self, now: Instant, key: &str) {
        let timer = self.after(now, TIMEOUT_MILLIS, Timer::Server(key.to_owned()));
        let old = self.servers.get(key).and_then(|server| server.timer.replace(timer));
        if let Some(old) = old {
            self.timers.cancel(old);
        }
    }

    /// Ends the requests that came on a lost link and are not answered: nobody is there to hear.
    pub(crate) fn forget_requests(&mut self, link: LinkId) {
        for key in self.servers.unanswered_on(link) {
            self.finish(&key);
        }
    }
}
