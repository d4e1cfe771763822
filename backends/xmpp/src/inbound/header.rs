//! The answer to a peer's header: ours, and what is offered to him. Invariant: every header is answered, before anything is said of
//! it, and nothing is offered that would not be accepted.

use std::time::Duration;

use bytes::BytesMut;
use turnout_core::io::Side;
use turnout_core::jid::Domain;
use turnout_core::policy::Negotiation;
use turnout_core::world::World;

use super::{Inbound, Phase};
use crate::bounds::Bounds;
use crate::frame::StreamHeader;
use crate::negotiate;
use crate::terms::Terms;
use crate::turn::{Flow, Step, Turn};
use crate::write::{self, Features, Header};

impl Inbound {
    /// Our header in answer to one of the peer's, or to none.
    pub(super) fn answer_header(&mut self, header: Option<&StreamHeader>, turn: &mut Turn<'_>) -> BytesMut {
        self.id = turn.random.stream_id();
        let first = match turn.side {
            Side::Partners => turn.world.domains.first(),
            Side::Home(_) => None,
        };
        let to = header.and_then(StreamHeader::from);
        let said = Header {
            to: to.as_deref(),
            from: self.ours.as_ref().or(first).map(Domain::as_str),
            id: Some(&self.id),
            lang: None,
            dialback: true,
        };
        negotiate::header(&said, header.is_none_or(|header| header.version().has_features()))
    }

    /// The peer's header: it is answered in every case, then judged.
    pub(super) fn open(&mut self, header: Box<StreamHeader>, turn: &mut Turn<'_>) -> Step {
        let judged = self.judge(&header, turn);
        let mut answer = self.answer_header(Some(&header), turn);
        self.phase = Phase::Open;
        if let Err((condition, text)) = judged {
            turn.send(negotiate::last_words(answer, condition, &text, false));
            self.phase = Phase::Closing(turn.now);
            return self.fail(turn, condition, &text, false);
        }
        if header.version().has_features() {
            write::features(&mut answer, &self.features(turn));
        }
        turn.send(answer);
        self.lang =
            header.lang().map(|lang| negotiate::bytes(|out| write::attribute(out, "xml:lang", &lang)));
        self.header = Some(header);
        self.wait_for_enable(turn);
        Ok(Flow::On)
    }

    /// What is offered now: nothing but TLS where TLS is required (XT-01), EXTERNAL only for a certificate that would be
    /// accepted (XE-01).
    fn features(&self, turn: &Turn<'_>) -> Features {
        let (world, side) = (turn.world, turn.side);
        let bidi = self.offers_back(turn);
        let idle = Duration::from_secs(world.policy.limits().idle_seconds.into());
        let bounds = Bounds { bytes_max: Some(world.stanza_bytes_max), idle: Some(idle) };
        let Some(secured) = &self.secured else {
            let required = self.tls_required();
            let dialback = !required && self.terms.as_ref().is_none_or(Terms::plain_allowed);
            return Features {
                starttls: self.tls(world, side) != Negotiation::NotSupported,
                starttls_required: required,
                sasl_external: false,
                dialback,
                acks: false,
                bidi,
                bounds: (!required).then_some(bounds),
            };
        };
        let dialback = match (&self.terms, &self.theirs) {
            (Some(terms), Some(theirs)) => terms.dialback_allowed(Some(secured), theirs),
            _ => true,
        };
        Features {
            starttls: false,
            starttls_required: false,
            sasl_external: !self.authenticated && self.external_fits(),
            dialback,
            bidi,
            acks: self.pairs.any_proven() && world.policy.limits().stream_management,
            bounds: Some(bounds),
        }
    }

    pub(super) fn tls(&self, world: &World, side: Side) -> Negotiation {
        match (&self.terms, side) {
            (Some(terms), _) => terms.tls,
            (None, Side::Partners) => Negotiation::Optional,
            (None, Side::Home(id)) => {
                world.inside.get(&id).map_or(Negotiation::NotSupported, |inside| inside.tls)
            }
        }
    }

    /// Whether nothing but the wish for TLS is heard now (XT-02).
    pub(super) fn tls_required(&self) -> bool {
        self.secured.is_none() && self.terms.as_ref().is_some_and(|terms| !terms.plain_allowed())
    }

    pub(super) fn external_fits(&self) -> bool {
        match (&self.terms, &self.secured, &self.theirs) {
            (Some(terms), Some(secured), Some(theirs)) => {
                terms.methods.sasl_over_tls && terms.vouches(secured, theirs).is_ok()
            }
            _ => false,
        }
    }
}
