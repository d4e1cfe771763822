//! How the opener of an inbound stream proves who it is: SASL EXTERNAL (XEP-0178) and dialback (XEP-0220), of which two of the
//! three roles are here. Invariant: a pair becomes proven in [`Inbound::authorize`] and [`Inbound::verdict`] and nowhere else.

use std::borrow::Cow;
use turnout_core::limits::DIALBACK_FAILURES_MAX;
use turnout_core::limits::DIALBACK_KEY_BYTES_MAX as KEY_BYTES_MAX;
use turnout_core::limits::SASL_FAILURES_MAX;

use turnout_core::backend::Fault;
use turnout_core::io::{Event, Side};
use turnout_core::notice::Notice;

use turnout_core::jid::Domain;
use turnout_core::refusal::Condition;

use super::{Inbound, Phase};
use crate::dialback::{self, Answer, Ask, Outcome};
use crate::error::StreamCondition;
use crate::frame::Element;
use crate::negotiate::{self, Initial};
use crate::pairs::Standing;
use crate::terms::{self, Terms};
use crate::turn::{Flow, Step, Turn};
use crate::write::{self, Dialback};

impl Inbound {
    /// What an authoritative server said of a key given on this stream.
    pub(crate) fn verdict(&mut self, answer: &Answer, turn: &mut Turn<'_>) -> Step {
        let Ask { stream_id, ours, theirs, .. } = &answer.ask;
        let valid = answer.outcome == Outcome::Valid;
        if *stream_id != self.id || !self.pairs.settle(ours, theirs, valid) {
            return Ok(Flow::On);
        }
        if valid && let Err(refused) = self.count(theirs, turn) {
            return self.fail_with(turn, refused);
        }
        turn.send(dialback::element(Dialback::Result, ours, theirs, answer.outcome.says()));
        match answer.outcome {
            Outcome::Valid => {
                self.open_back(turn);
                self.show(theirs, turn);
                let over = self.secured.as_ref().map_or("without TLS", |secured| secured.version);
                turn.note(
                    Notice::StreamProved,
                    theirs,
                    format!("proved by dialback that it is {theirs} towards {ours} ({over})"),
                );
            }
            Outcome::Invalid => {
                turn.note(
                    Notice::DialbackDenied,
                    theirs,
                    format!(
                        "{} claims to be {theirs} and the server of {theirs} denies it: a forgery, or a second server of {theirs} with another dialback secret",
                        self.peer
                    ),
                );
                return self.dialback_failed(turn);
            }
            Outcome::Error(condition) => {
                turn.note(
                    Notice::DialbackUnverified,
                    theirs,
                    format!("the dialback key of {theirs} could not be verified ({}); see the notes on its verify stream", condition.as_str()),
                );
                return self.dialback_failed(turn);
            }
        }
        Ok(Flow::On)
    }

    /// It is proven that this partner is there.
    fn show(&self, theirs: &Domain, turn: &mut Turn<'_>) {
        if turn.side == Side::Partners {
            turn.out.events.push_back(Event::Seen(theirs.clone()));
        }
    }

    pub(super) fn auth(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        if self.authenticated {
            let text = "the stream is authenticated already".to_owned();
            return self.fail_with(turn, (StreamCondition::PolicyViolation, text));
        }
        let Some(header) = &self.header else { return Ok(Flow::On) };
        let mechanism = negotiate::mechanism(element, header);
        let text = negotiate::text(element, header);
        if mechanism.as_deref() != Some("EXTERNAL") || !self.external_fits() {
            return self.sasl_failed("invalid-mechanism", turn);
        }
        match negotiate::initial(&text) {
            Ok(Initial::Absent) => {
                turn.send(&b"<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"[..]);
                self.phase = Phase::Challenged;
                Ok(Flow::On)
            }
            initial => self.authorize(initial, turn),
        }
    }

    pub(super) fn response(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        if self.phase != Phase::Challenged {
            let text = "there was no challenge to respond to".to_owned();
            return self.fail_with(turn, (StreamCondition::NotAuthorized, text));
        }
        self.phase = Phase::Open;
        let Some(header) = &self.header else { return Ok(Flow::On) };
        let initial = negotiate::initial(&negotiate::text(element, header));
        self.authorize(initial, turn)
    }

    /// The certificate was found fit for `from` when EXTERNAL was offered; the identity asked for has to be the same (XE-02).
    fn authorize(&mut self, initial: Result<Initial, &'static str>, turn: &mut Turn<'_>) -> Step {
        let (Some(ours), Some(theirs)) = (self.ours.clone(), self.theirs.clone()) else {
            return self.sasl_failed("not-authorized", turn);
        };
        match initial {
            Err(condition) => return self.sasl_failed(condition, turn),
            Ok(Initial::Identity(identity))
                if !Domain::parse(&identity).is_ok_and(|asked| asked == theirs) =>
            {
                return self.sasl_failed("invalid-authzid", turn);
            }
            Ok(_) => {}
        }
        if let Err(refused) = self.count(&theirs, turn) {
            return self.fail_with(turn, refused);
        }
        turn.send(negotiate::bytes(write::sasl_success));
        let version = self.secured.as_ref().map_or("", |secured| secured.version);
        turn.note(
            Notice::StreamProved,
            &theirs,
            format!("proved by its certificate that it is {theirs} towards {ours} ({version})"),
        );
        turn.vouched(&theirs, self.secured.as_ref());
        // Where stanzas go back on it, the way back comes in a moment, and is the better one.
        if !self.wants_back() {
            self.show(&theirs, turn);
        }
        self.pairs.only(ours, theirs);
        self.authenticated = true;
        self.framer.restart();
        self.phase = Phase::Header;
        Ok(Flow::On)
    }

    pub(super) fn sasl_failed(&mut self, condition: &'static str, turn: &mut Turn<'_>) -> Step {
        turn.send(negotiate::bytes(|out| write::sasl_failure(out, condition)));
        turn.note(
            Notice::ExternalFailed,
            self.about(),
            format!("SASL EXTERNAL of {} failed: {condition}", self.peer),
        );
        self.phase = Phase::Open;
        self.sasl_failures += 1;
        if self.sasl_failures >= SASL_FAILURES_MAX {
            let text = "too many attempts to authenticate".to_owned();
            return self.fail_with(turn, (StreamCondition::PolicyViolation, text));
        }
        Ok(Flow::On)
    }

    /// The two domains of a dialback element, as (from, to).
    fn dialback_names(&mut self, element: &Element, turn: &mut Turn<'_>) -> Result<(Domain, Domain), Fault> {
        let domain = |value: Option<Cow<'_, str>>| value.and_then(|value| Domain::parse(&value).ok());
        match (domain(element.from()), domain(element.to())) {
            (Some(from), Some(to)) => Ok((from, to)),
            _ => {
                let text = "a dialback element needs 'from' and 'to', each a domain".to_owned();
                self.fail_with(turn, (StreamCondition::ImproperAddressing, text))
            }
        }
    }

    /// Role of the receiving server (XEP-0220 §2.2): somebody gives us a key to have it verified.
    pub(super) fn dialback_result(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let (theirs, ours) = self.dialback_names(element, turn)?;
        if element.stanza_type().is_some() {
            return self.unsolicited("result", &theirs, turn);
        }
        let refuse = |turn: &mut Turn<'_>, condition| {
            turn.send(dialback::element(Dialback::Result, &ours, &theirs, Outcome::Error(condition).says()));
        };
        if !terms::is_ours(turn.world, turn.side, &ours) {
            refuse(turn, Condition::ItemNotFound);
            return self.dialback_failed(turn);
        }
        let terms = Terms::of(turn.world, turn.side, &theirs);
        if !terms.is_some_and(|terms| terms.dialback_allowed(self.secured.as_ref(), &theirs)) {
            refuse(turn, Condition::PolicyViolation);
            turn.note(
                Notice::DialbackForbidden,
                &theirs,
                format!("{} offers dialback for {theirs}, which policy does not allow here", self.peer),
            );
            return self.dialback_failed(turn);
        }
        let key = self.header.as_ref().map(|header| negotiate::text(element, header)).unwrap_or_default();
        if key.len() > KEY_BYTES_MAX {
            refuse(turn, Condition::BadRequest);
            return self.dialback_failed(turn);
        }
        match self.pairs.offered(&ours, &theirs) {
            Standing::New => {
                let stream_id = self.id.clone();
                turn.asks.push(Ask { inbound: turn.link, stream_id, ours, theirs, key });
            }
            Standing::Pending => {}
            Standing::Proven => {
                turn.send(dialback::element(Dialback::Result, &ours, &theirs, Outcome::Valid.says()));
            }
            Standing::Full => {
                refuse(turn, Condition::ResourceConstraint);
                return self.dialback_failed(turn);
            }
        }
        Ok(Flow::On)
    }

    /// Role of the authoritative server (XEP-0220 §2.3): was this key made by us? Answered to everybody we would talk to,
    /// without any authentication and without state (XD-02).
    pub(super) fn dialback_verify(&mut self, element: &Element, turn: &mut Turn<'_>) -> Step {
        let (theirs, ours) = self.dialback_names(element, turn)?;
        if element.stanza_type().is_some() {
            return self.unsolicited("verify", &theirs, turn);
        }
        let Some(id) = element.id() else {
            let text = "db:verify needs the id of the stream in question".to_owned();
            return self.fail_with(turn, (StreamCondition::ImproperAddressing, text));
        };
        let outcome = if !terms::is_ours(turn.world, turn.side, &ours) {
            Outcome::Error(Condition::ItemNotFound)
        } else if Terms::of(turn.world, turn.side, &theirs).is_none() {
            Outcome::Error(Condition::PolicyViolation)
        } else {
            let key = self.header.as_ref().map(|header| negotiate::text(element, header)).unwrap_or_default();
            match dialback::is_key(&key, &turn.world.dialback_secret, &theirs, &ours, &id) {
                true => Outcome::Valid,
                false => Outcome::Invalid,
            }
        };
        turn.send(dialback::element(Dialback::Verify { id: &id }, &ours, &theirs, outcome.says()));
        Ok(Flow::On)
    }

    /// An answer to a question that was never put on this stream (XD-03, B-20).
    fn unsolicited(&mut self, what: &str, about: &Domain, turn: &mut Turn<'_>) -> Step {
        let text = format!("{} sent a db:{what} answer nobody asked for; ignored", self.peer);
        turn.note(Notice::DialbackUnasked, about, text);
        self.dialback_failed(turn)
    }

    fn dialback_failed(&mut self, turn: &mut Turn<'_>) -> Step {
        self.dialback_failures += 1;
        if self.dialback_failures >= DIALBACK_FAILURES_MAX {
            let text = "too many dialback elements that led nowhere".to_owned();
            return self.fail_with(turn, (StreamCondition::PolicyViolation, text));
        }
        Ok(Flow::On)
    }
}
