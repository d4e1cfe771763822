//! What a peer sends back on a stream we opened (XEP-0288). Invariant: we have asked for it, of a peer whose certificate names it or which
//! policy lets be found by the DNS alone, as dialback does; a stanza is taken only from the domain the stream was opened to and only to the
//! domain it was opened for (XB-02, B-29).

use bytes::Bytes;
use turnout_core::io::Ended;
use turnout_core::notice::Notice;

use super::{Outbound, Phase, Purpose};
use crate::arrival::{self, Arrival};
use crate::error::StreamCondition;
use crate::frame::{Element, Namespace, StreamHeader};
use crate::inbound::acks::{self, Acks};
use crate::negotiate::{self, Offered};
use crate::turn::{Flow, Step, Turn};
use crate::{management, write};

/// What comes back on one stream.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// The peer has taken us for who we are: from now on it may.
    is_open: bool,
    /// What stanzas inherit from the peer's header.
    lang: Option<Bytes>,
    /// What we acknowledge of it.
    acks: Option<Acks>,
}

impl Outbound {
    /// Never asks: no more is to come in.
    pub(crate) fn without_back(&mut self) {
        self.terms.bidi = false;
    }

    /// Asks the peer to send its stanzas on this stream, before we show who we are.
    pub(super) fn ask_back(&mut self, offered: Offered, turn: &mut Turn<'_>) {
        let known = self.vouched() || self.terms.dialback_allowed(self.secured.as_ref(), &self.theirs);
        if offered.bidi && self.terms.bidi && known && self.purpose == Purpose::Deliver && self.back.is_none()
        {
            turn.send(negotiate::BIDI);
            self.back = Some(Back::default());
        }
    }

    /// Whether stanzas may come back now.
    pub(super) fn comes_back(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.is_open)
    }

    /// The peer has taken us for who we are.
    pub(super) fn open_back(&mut self, header: &StreamHeader) {
        if let Some(back) = &mut self.back {
            back.is_open = true;
            back.lang =
                header.lang().map(|lang| negotiate::bytes(|out| write::attribute(out, "xml:lang", &lang)));
        }
    }

    /// Both sides count from now on.
    pub(super) fn count_back(&mut self, turn: &mut Turn<'_>) {
        if let Some(back) = &mut self.back {
            back.acks = Some(Acks::new(turn.now));
            turn.out.chained.push(turn.link);
        }
    }

    /// Whether an element is a stanza that may come.
    pub(super) fn takes(&self, element: &Element) -> bool {
        let name = element.name();
        self.is_heard_back()
            && name.namespace == Namespace::Server
            && matches!(name.local, "message" | "presence" | "iq")
    }

    /// Whether a stanza on this stream would be taken: also after our end of it, until the peer's is in (RFC 6120 §4.4).
    pub(crate) fn is_heard_back(&self) -> bool {
        self.back.as_ref().is_some_and(|back| back.is_open)
    }

    /// A stanza of the peer's.
    pub(super) fn stanza(&mut self, element: Element, turn: &mut Turn<'_>) -> Step {
        let Some(back) = &mut self.back else { return Ok(Flow::On) };
        self.used = turn.now;
        let (ours, theirs) = (&self.ours, &self.theirs);
        let arrival = arrival::read(element, back.lang.as_ref(), turn, |to, from| {
            if *to == **ours && *from == **theirs {
                return Ok(());
            }
            let text = "on this stream stanzas are taken from and to the domains it was opened for alone";
            Err((StreamCondition::InvalidFrom, text.to_owned()))
        });
        match arrival {
            Arrival::Stanza(mut stanza) => {
                stanza.arrived = acks::stamp(&mut back.acks, 1, turn.now);
                turn.out.arrivals.push_back(stanza);
            }
            Arrival::Refused(answer) => {
                let at = acks::stamp(&mut back.acks, 1, turn.now);
                if let Some(answer) = answer {
                    turn.out.arrivals.push_back(answer);
                } else {
                    let text = "dropped a malformed stanza that nothing may answer: an error or a result";
                    turn.note(Notice::StanzaDropped, &self.theirs, text);
                }
                let ended = Ended { side: turn.side, link: turn.link, arrived: at, count: 1 };
                self.end_of(&ended, turn);
            }
            Arrival::Fatal(condition, text) => return self.fail(turn, condition, &text, false),
        }
        Ok(Flow::On)
    }

    /// Stanzas that came back found their end.
    pub(crate) fn end_of(&mut self, ended: &Ended, turn: &mut Turn<'_>) {
        let says = !matches!(self.phase, Phase::Closing(_));
        let Some(acks) = self.back.as_mut().and_then(|back| back.acks.as_mut()) else { return };
        acks.end(ended.arrived, u64::from(ended.count));
        if acks.is_due() && says {
            turn.send(acks.tell());
        }
    }

    /// The peer asks what we have.
    pub(super) fn tell_handled(&mut self, turn: &mut Turn<'_>) {
        match self.back.as_mut().and_then(|back| back.acks.as_mut()) {
            Some(acks) => {
                acks.ask();
                turn.send(acks.tell());
            }
            // Nothing comes in on such a stream, so nothing is handled.
            None => turn.send(management::answer(0)),
        }
    }

    /// The last word before our end of the stream: what was not told yet.
    pub(super) fn tell_last(&mut self, turn: &mut Turn<'_>) {
        let acks = self.back.as_mut().and_then(|back| back.acks.as_mut());
        if let Some(acks) = acks.filter(|acks| acks.is_untold()) {
            turn.send(acks.tell());
        }
    }
}
