//! A backend under observation: the ledger hears what arrived and what was refused, from the edge of the backend itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, SentRun, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Closed, Door, Ended, Event, Found, LinkId, Outbox, Secured};
use turnout_core::refusal::Refusal;
use turnout_core::run::Run;
use turnout_core::stanza::{Origin, Stanza};
use turnout_core::world::World;

use super::number;
use crate::support::ledger::Ledger;

/// A watched backend.
pub struct Watch<B> {
    backend: B,
    ledger: Ledger,
    tickets: BTreeMap<u64, usize>,
    /// Stanzas written to each link and not acknowledged, as far as its peer acknowledges; none for one the router made.
    sent: BTreeMap<LinkId, VecDeque<Option<usize>>>,
    /// Where each link was dialed to.
    dialed: BTreeMap<LinkId, Destination>,
    /// The same of the last link to a destination that broke and may be resumed.
    broken: HashMap<Destination, VecDeque<Option<usize>>>,
    /// Stanzas kept, counted from what went in and came out.
    kept: usize,
}

impl<B: Backend> Watch<B> {
    /// Watches.
    pub fn new(backend: B, ledger: Ledger) -> Self {
        Self {
            backend,
            ledger,
            tickets: BTreeMap::new(),
            sent: BTreeMap::new(),
            dialed: BTreeMap::new(),
            broken: HashMap::new(),
            kept: 0,
        }
    }

    /// Calls the backend and looks at what it put in the outbox.
    fn with<T>(&mut self, out: &mut Outbox, call: impl FnOnce(&mut B, &mut Outbox) -> T) -> T {
        let (arrivals, events) = (out.arrivals.len(), out.events.len());
        let result = call(&mut self.backend, out);
        for stanza in out.arrivals.iter().skip(arrivals).filter(|stanza| !stanza.made) {
            let number = number_of(&stanza);
            self.ledger.arrived(number);
            if stanza.origin.ticket != 0 {
                self.tickets.insert(stanza.origin.ticket, number);
            }
        }
        for event in out.events.iter().skip(events) {
            if let Event::Acknowledged(link, count) = event {
                let sent = self.sent.get_mut(link).expect("something was sent");
                assert!(sent.len() >= *count as usize, "no more is acknowledged than was sent");
                for number in sent.drain(..*count as usize).flatten() {
                    self.ledger.done(number);
                }
            }
            if let Event::Resumed(link, count) = event {
                let broken = self.broken.get_mut(&self.dialed[link]).expect("it broke before");
                assert!(broken.len() >= *count as usize, "no more has arrived than was sent");
                for number in broken.drain(..*count as usize).flatten() {
                    self.ledger.done(number);
                }
            }
            if let Event::Done(stanza, end) = event {
                self.kept = self.kept.checked_sub(1).expect("what is done was kept");
                match end {
                    Ok(()) => self.ledger.done(number_of(stanza)),
                    Err(_) => self.ledger.log(|| format!("given back {}", number_of(stanza))),
                }
            }
        }
        result
    }
}

fn number_of(stanza: &Stanza) -> usize {
    std::str::from_utf8(&stanza.bytes).ok().and_then(number).expect("every stanza has a number")
}

impl<B: Backend> Backend for Watch<B> {
    fn accepted(&mut self, now: Instant, link: LinkId, door: Door, peer: &Arc<str>, out: &mut Outbox) {
        self.with(out, |backend, out| backend.accepted(now, link, door, peer, out));
    }

    fn dial(
        &mut self,
        now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        self.dialed.insert(link, destination.clone());
        self.with(out, |backend, out| backend.dial(now, link, destination, node, out));
    }

    fn connected(&mut self, now: Instant, link: LinkId, direct_tls: bool, out: &mut Outbox) {
        self.with(out, |backend, out| backend.connected(now, link, direct_tls, out));
    }

    fn secured(&mut self, now: Instant, link: LinkId, secured: Secured, out: &mut Outbox) {
        self.with(out, |backend, out| backend.secured(now, link, secured, out));
    }

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        self.with(out, |backend, out| backend.receive(now, link, bytes, out))
    }

    fn send(&mut self, now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        // A stanza may be kept and done within this call, so it counts before.
        self.kept += 1;
        let sent = self.with(out, |backend, out| backend.send(now, link, stanza, out));
        self.kept -= usize::from(!matches!(sent, Sent::Kept));
        if let Sent::OnWrite(stanza) = &sent {
            let number = (!stanza.made).then(|| number_of(stanza));
            self.sent.entry(link).or_default().push_back(number);
        }
        sent
    }

    fn send_run(&mut self, now: Instant, link: LinkId, run: Run, out: &mut Outbox) -> SentRun {
        let sent = self.with(out, |backend, out| backend.send_run(now, link, run, out));
        if let SentRun::OnWrite(run) = &sent {
            let numbers = run.stanzas().map(|stanza| Some(number_of(&stanza)));
            self.sent.entry(link).or_default().extend(numbers);
        }
        sent
    }

    fn outlives(&self, link: LinkId) -> bool {
        self.backend.outlives(link)
    }

    fn closed(&mut self, now: Instant, link: LinkId, why: &Closed, out: &mut Outbox) {
        let outlives = self.backend.outlives(link);
        self.with(out, |backend, out| backend.closed(now, link, why, out));
        let sent = self.sent.remove(&link).unwrap_or_default();
        if let Some(destination) = self.dialed.remove(&link).filter(|_| outlives) {
            self.broken.insert(destination, sent);
        }
    }

    fn settle(&mut self, now: Instant, origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox) {
        let number = match (origin.ticket, &verdict) {
            (0, Verdict::Refused(stanza, _)) => Some(number_of(stanza.expect("given back without a ticket"))),
            (0, Verdict::Delivered) => panic!("nobody asked to hear of a delivery"),
            (ticket, _) => Some(self.tickets.remove(&ticket).expect("one verdict for each ticket")),
        };
        if let (Some(number), Verdict::Refused(..)) = (number, &verdict) {
            self.ledger.bounced(number);
        }
        self.with(out, |backend, out| backend.settle(now, origin, verdict, out));
    }

    fn ended(&mut self, now: Instant, ended: &Ended, out: &mut Outbox) {
        self.with(out, |backend, out| backend.ended(now, ended, out));
    }

    fn answer(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) -> Result<(), Refusal> {
        self.with(out, |backend, out| backend.answer(now, stanza, out))
    }

    fn adopt(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) {
        self.with(out, |backend, out| backend.adopt(now, link, bytes, out));
    }

    fn adopt_read(&mut self, now: Instant, link: LinkId, bytes: Bytes, found: Found, out: &mut Outbox) {
        self.with(out, |backend, out| backend.adopt_read(now, link, bytes, found, out));
    }

    fn kept_for(&self, bare: &str) -> usize {
        self.backend.kept_for(bare)
    }

    fn kept(&self) -> usize {
        assert_eq!(self.kept, self.backend.kept(), "what a backend keeps went in and did not come out");
        self.kept
    }

    fn configure(&mut self, now: Instant, world: &Arc<World>, out: &mut Outbox) {
        self.with(out, |backend, out| backend.configure(now, world, out));
    }

    fn drain(&mut self, now: Instant, out: &mut Outbox) {
        self.with(out, |backend, out| backend.drain(now, out));
    }

    fn is_listening(&self) -> bool {
        self.backend.is_listening()
    }

    fn leave(&mut self, now: Instant, out: &mut Outbox) {
        self.with(out, |backend, out| backend.leave(now, out));
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.with(out, |backend, out| backend.wake(now, out));
    }

    fn deadline(&self) -> Option<Instant> {
        self.backend.deadline()
    }
}
