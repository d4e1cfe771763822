//! How we prove to a peer who we are: SASL EXTERNAL first, dialback where it fails or is not offered (XE-04); and what the
//! authoritative server answers on a verify stream. Invariant: an answer counts once, for what was asked on this very stream.

use std::borrow::Cow;

use turnout_core::jid::Domain;
use turnout_core::notice::Notice;
use turnout_core::refusal::Retry;

use super::{Outbound, Phase, Purpose};
use crate::dialback::{self, Answer, Outcome};
use crate::error::StreamCondition;
use crate::frame::{Element, StreamHeader};
use crate::negotiate::{self, Offered};
use crate::turn::{Flow, Turn};
use crate::write::{self, Dialback, DialbackSays};

impl Outbound {
    /// Shows the peer who we are in the best way that both allow; a verify stream needs no proof.
    pub(super) fn prove(&mut self, offered: Offered, turn: &mut Turn<'_>) -> Flow {
        let dialback = self.terms.dialback_allowed(self.secured.as_ref(), &self.theirs);
        let external = self.terms.methods.sasl_over_tls
            && self.secured.is_some()
            && offered.external
            && !self.external_failed
            && self.purpose == Purpose::Deliver;
        let Phase::Features(header) = std::mem::replace(&mut self.phase, Phase::Header) else {
            return Flow::On;
        };
        if self.authenticated || (self.purpose == Purpose::Verify && dialback) {
            return self.ready(header, turn);
        }
        self.ask_back(offered, turn);
        if external {
            turn.send(negotiate::bytes(|out| write::sasl_auth_external(out, Some(&self.ours))));
            self.phase = Phase::SaslAsked(header);
            return Flow::On;
        }
        if dialback {
            return self.offer_key(header, turn);
        }
        self.phase = Phase::Features(header);
        let detail = format!(
            "{} offers no way to authenticate that policy allows (sasl = {}, dialback over {} = false); its server must trust our certificate, or allow dialback",
            self.theirs,
            self.terms.methods.sasl_over_tls,
            if self.secured.is_some() { "TLS" } else { "plain TCP" }
        );
        let failure = self.refused(detail);
        self.give_up(failure, None, turn)
    }

    /// Role of the initiating server (XEP-0220 §2.1).
    fn offer_key(&mut self, header: Box<StreamHeader>, turn: &mut Turn<'_>) -> Flow {
        let Some(id) = header.id().filter(|id| !id.is_empty()).map(|id| id.into_owned()) else {
            self.phase = Phase::Features(header);
            let failure = self
                .refused(format!("{} gave its stream no id, so no dialback key can be made", self.theirs));
            return self.give_up(failure, Some(StreamCondition::InvalidXml), turn);
        };
        let key = dialback::key(&turn.world.dialback_secret, &self.theirs, &self.ours, &id);
        turn.send(dialback::element(Dialback::Result, &self.ours, &self.theirs, DialbackSays::Key(&key)));
        self.phase = Phase::DialbackAsked(header);
        Flow::On
    }

    pub(super) fn external_refused(&mut self, element: &Element, turn: &mut Turn<'_>) -> Flow {
        self.external_failed = true;
        let condition = negotiate::sasl_condition(element);
        let allowed = self.terms.dialback_allowed(self.secured.as_ref(), &self.theirs);
        let text = format!("{} refused our certificate for {} ({condition})", self.theirs, self.ours);
        if let (true, Phase::SaslAsked(_)) = (allowed, &self.phase)
            && let Phase::SaslAsked(header) = std::mem::replace(&mut self.phase, Phase::Header)
        {
            turn.note(Notice::ExternalRefused, &self.theirs, format!("{text}; trying dialback"));
            return self.offer_key(header, turn);
        }
        let failure = self.refused(format!(
            "{text}, and policy allows no dialback; its server must trust the issuer of our certificate"
        ));
        self.give_up(failure, None, turn)
    }

    /// The peer's word on our key: it counts only for our pair and while we wait for it (XD-04).
    pub(super) fn result(&mut self, element: &Element, answer: Option<Outcome>, turn: &mut Turn<'_>) -> Flow {
        let fits = is_domain(element.from(), &self.theirs) && is_domain(element.to(), &self.ours);
        let waiting = matches!(self.phase, Phase::DialbackAsked(_));
        let (true, true, Some(outcome)) = (fits, waiting, answer) else {
            return self.unsolicited("result", turn);
        };
        let Phase::DialbackAsked(header) = std::mem::replace(&mut self.phase, Phase::Header) else {
            return Flow::On;
        };
        if outcome == Outcome::Valid {
            return self.ready(header, turn);
        }
        self.phase = Phase::DialbackAsked(header);
        let detail = match outcome {
            Outcome::Invalid => format!(
                "{} says our dialback key for {} is invalid: does the SRV record of {} lead here, and do all instances share one dialback secret?",
                self.theirs, self.ours, self.ours
            ),
            _ => format!(
                "{} could not verify our dialback key: it has to reach us at the SRV record of {}",
                self.theirs, self.ours
            ),
        };
        let mut failure = self.refused(detail);
        if matches!(outcome, Outcome::Error(_)) {
            // It could not ask us just now.
            failure.retry = Retry::Later;
        }
        self.give_up(failure, None, turn)
    }

    /// The authoritative server's word on a key: it counts once, for a question put on this very stream (XD-03).
    pub(super) fn verified(
        &mut self,
        element: &Element,
        answer: Option<Outcome>,
        turn: &mut Turn<'_>,
    ) -> Flow {
        let fits = is_domain(element.from(), &self.theirs) && is_domain(element.to(), &self.ours);
        let id = element.id();
        let at =
            self.asks.iter().position(|(ask, put)| *put && fits && id.as_deref() == Some(&*ask.stream_id));
        let (Some(at), Some(outcome)) = (at, answer) else {
            return self.unsolicited("verify", turn);
        };
        let (ask, _) = self.asks.swap_remove(at);
        turn.answers.push(Answer { ask, outcome });
        Flow::On
    }

    fn unsolicited(&mut self, what: &str, turn: &mut Turn<'_>) -> Flow {
        let text = format!("{} sent a db:{what} answer nobody asked for; ignored", self.theirs);
        turn.note(Notice::DialbackUnasked, &self.theirs, text);
        Flow::On
    }

    pub(super) fn put_questions(&mut self, turn: &mut Turn<'_>) {
        for (ask, put) in self.asks.iter_mut().filter(|(_, put)| !put) {
            let which = Dialback::Verify { id: &ask.stream_id };
            turn.send(dialback::element(which, &ask.ours, &ask.theirs, DialbackSays::Key(ask.key.trim())));
            *put = true;
        }
        self.sent = turn.now;
        self.used = turn.now;
    }
}

fn is_domain(value: Option<Cow<'_, str>>, domain: &Domain) -> bool {
    value.is_some_and(|value| Domain::parse(&value).is_ok_and(|value| value == *domain))
}
