//! What one input lets a stream do. Invariant: a stream touches the world through its turn alone, so two streams never meet
//! except by the questions and answers that the backend carries from one to the other.

use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use turnout_core::io::{LinkId, Outbox, Secured, Side};
use turnout_core::jid::Domain;
use turnout_core::notice::Notice;
use turnout_core::world::World;

use crate::addresses::Addresses;
use crate::dialback::{Answer, Ask};
use crate::error::StreamCondition;
use crate::frame::Shapes;
use crate::issuers::Issuers;
use crate::liveness::Lives;
use crate::random::Random;
use crate::sessions::Claim;
use turnout_core::backend::Fault;

/// One input's worth of work on one link.
pub(crate) struct Turn<'a> {
    /// The time of the batch.
    pub(crate) now: Instant,
    /// The side of the backend.
    pub(crate) side: Side,
    /// The link the input is about.
    pub(crate) link: LinkId,
    /// The configuration.
    pub(crate) world: &'a World,
    /// Names for streams.
    pub(crate) random: &'a mut Random,
    /// Where outputs go.
    pub(crate) out: &'a mut Outbox,
    /// Keys to be shown to the servers they claim to come from.
    pub(crate) asks: &'a mut Vec<Ask>,
    /// What those servers said.
    pub(crate) answers: &'a mut Vec<Answer>,
    /// Streams of before that peers want to resume.
    pub(crate) claims: &'a mut Vec<Claim>,
    /// Addresses read lately.
    pub(crate) addresses: &'a mut Addresses,
    /// How stanzas were written lately.
    pub(crate) shapes: &'a mut Shapes,
    /// Streams in, by the partner they count for.
    pub(crate) accounts: &'a mut HashMap<Domain, u32>,
    /// What is known of the partners streams go out to.
    pub(crate) lives: &'a mut Lives,
    /// Who vouched for partners.
    pub(crate) issuers: &'a mut Issuers,
}

/// Whether a stream lives on after an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flow {
    /// It does.
    On,
    /// It is over; the connection is closed in the outbox.
    Over,
}

/// A stream's answer to an input: an `Err` is a fault of the peer that ended it, everything is written and closed.
pub(crate) type Step = Result<Flow, Fault>;

impl Turn<'_> {
    /// Writes on the link.
    pub(crate) fn send(&mut self, bytes: impl Into<Bytes>) {
        self.out.transmit(self.link, bytes.into());
    }

    /// A line for the operator.
    pub(crate) fn note(&mut self, notice: Notice, about: &str, text: impl Into<String>) {
        self.out.note(notice, self.side, self.link, about, text);
    }

    /// A partner's certificate was found good: says so where another authority vouches for it than before (B-32).
    pub(crate) fn vouched(&mut self, theirs: &Domain, secured: Option<&Secured>) {
        let Some(certificate) = secured.and_then(|secured| secured.certificate.as_ref()) else { return };
        if self.side != Side::Partners {
            return;
        }
        if let Some(before) = self.issuers.seen(theirs, &certificate.issuer) {
            let text = format!(
                "the certificate of {theirs} has another issuer than before ({before:?}, now {:?}); ask the partner whether that is right, and set pins or ca_file for it",
                certificate.issuer
            );
            self.note(Notice::CertificateIssuerChanged, theirs, text);
        }
    }
}

/// A fault for the counters.
pub(crate) fn fault(condition: StreamCondition, text: impl Into<String>) -> Fault {
    Fault { condition: condition.name(), text: text.into() }
}
