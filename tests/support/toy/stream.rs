//! A toy of the XMPP kind. A stream begins with `hello OURS THEIRS`, answered by `ok` or `no`; then stanzas, one a line, in one
//! direction; `bye` ends it in order. A stanza is delivered when it is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{
    ClientTls, Close, Closed, Connect, Door, Event, Identity, LinkId, Outbox, Secured, Side, Target, TrustId,
};
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Origin, Stanza};
use turnout_core::world::World;

use super::{line, lines, number_of, stanza};
use crate::support::ledger::Ledger;

#[derive(Debug)]
enum State {
    /// Dialed; hello is said when the connection is there.
    Dialed(String),
    /// The peer speaks; from which domain, once it has said hello.
    Accepted(Option<String>),
    /// Ended: what still comes is not read.
    Over,
}

#[derive(Debug)]
struct Toy {
    state: State,
    buffer: Vec<u8>,
}

/// The backend.
#[derive(Debug)]
pub struct Stream {
    side: Side,
    links: BTreeMap<LinkId, Toy>,
    ledger: Ledger,
}

impl Stream {
    /// For a side.
    pub fn new(side: Side, ledger: Ledger) -> Self {
        Self { side, links: BTreeMap::new(), ledger }
    }

    fn line(&mut self, now: Instant, link: LinkId, text: &str, out: &mut Outbox) -> Result<(), &'static str> {
        let Some(toy) = self.links.get_mut(&link) else { return Ok(()) };
        match &mut toy.state {
            State::Over => {}
            State::Dialed(_) => match text {
                "ok" => out.events.push_back(Event::Ready(link)),
                "no" => {
                    out.events.push_back(Event::Unready(link, Some(turned_away())));
                    toy.state = State::Over;
                    out.close(link, Close::Flush);
                }
                "bye" => {
                    out.events.push_back(Event::Unready(link, None));
                    toy.state = State::Over;
                    out.close(link, Close::Flush);
                }
                _ => return Err("answer"),
            },
            State::Accepted(domain @ None) => {
                *domain = Some(text.strip_prefix("hello ").ok_or("hello")?.to_owned());
            }
            State::Accepted(Some(domain)) => {
                let origin = Origin { side: self.side, link, ticket: 0 };
                let stanza = stanza(now, text, origin, false).ok_or("stanza")?;
                if stanza.from.domain() != domain {
                    return Err("from");
                }
                self.ledger.arrived(number_of(&stanza));
                out.arrivals.push_back(stanza);
            }
        }
        Ok(())
    }

    fn make(&self, now: Instant, kind: char, about: &Stanza, out: &mut Outbox) {
        let text = line(kind, about.to.bare_str(), about.from.bare_str(), number_of(about));
        let origin = Origin { side: self.side, link: LinkId::NONE, ticket: 0 };
        out.arrivals.extend(stanza(now, &text, origin, true));
    }
}

fn turned_away() -> Refusal {
    Refusal::new(Condition::RemoteServerTimeout, Blame::NextHop, Retry::Later, Bounce::Yes, "turned away")
}

/// A wish to connect as both toys have it.
pub fn connect(link: LinkId, destination: &Destination, node: Option<&HostPort>) -> Connect {
    let target = match (destination, node) {
        (Destination::Pair { theirs, side: Side::Partners, .. }, _) => Target::XmppService(theirs.clone()),
        (_, node) => Target::Hosts(node.into_iter().cloned().collect()),
    };
    let tls = ClientTls {
        server_name: "toy".into(),
        trust: TrustId::FEDERATION,
        identity: Identity::Anonymous,
        alpn_xmpp: false,
    };
    Connect { link, target, tls, direct: false }
}

impl Backend for Stream {
    fn accepted(&mut self, _now: Instant, link: LinkId, _door: Door, _peer: &Arc<str>, _out: &mut Outbox) {
        self.links.insert(link, Toy { state: State::Accepted(None), buffer: Vec::new() });
    }

    fn dial(
        &mut self,
        _now: Instant,
        link: LinkId,
        destination: &Destination,
        node: Option<&HostPort>,
        out: &mut Outbox,
    ) {
        let Destination::Pair { ours, theirs, .. } = destination else { panic!("a pair is dialed here") };
        let state = State::Dialed(format!("hello {ours} {theirs}\n"));
        self.links.insert(link, Toy { state, buffer: Vec::new() });
        out.connect(connect(link, destination, node));
    }

    fn connected(&mut self, _now: Instant, link: LinkId, _direct_tls: bool, out: &mut Outbox) {
        if let Some(Toy { state: State::Dialed(hello), .. }) = self.links.get(&link) {
            out.transmit(link, Bytes::from(hello.clone()));
        }
    }

    fn secured(&mut self, _now: Instant, _link: LinkId, _secured: Secured, _out: &mut Outbox) {}

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let Some(toy) = self.links.get_mut(&link) else { return Ok(()) };
        toy.buffer.extend_from_slice(&bytes);
        for text in lines(&mut toy.buffer) {
            if let Err(condition) = self.line(now, link, &text, out) {
                out.transmit(link, Bytes::from_static(b"err\n"));
                out.close(link, Close::Flush);
                if let Some(toy) = self.links.get_mut(&link) {
                    if matches!(toy.state, State::Dialed(_)) {
                        out.events.push_back(Event::Unready(link, Some(turned_away())));
                    }
                    toy.state = State::Over;
                }
                return Err(Fault { condition, text });
            }
        }
        Ok(())
    }

    fn send(&mut self, _now: Instant, link: LinkId, stanza: Stanza, out: &mut Outbox) -> Sent {
        match self.links.get(&link) {
            Some(Toy { state: State::Dialed(_), .. }) => {
                out.transmit(link, stanza.bytes.clone());
                out.transmit(link, Bytes::from_static(b"\n"));
                Sent::OnWrite(stanza)
            }
            _ => Sent::NotNow(stanza),
        }
    }

    fn closed(&mut self, _now: Instant, link: LinkId, _why: &Closed, _out: &mut Outbox) {
        self.links.remove(&link);
    }

    fn settle(&mut self, now: Instant, origin: &Origin, verdict: Verdict<'_>, out: &mut Outbox) {
        assert_eq!(origin.ticket, 0, "no ticket is given here");
        match verdict {
            Verdict::Delivered => panic!("nobody asked to hear of a delivery"),
            Verdict::Refused(stanza, _) => {
                let stanza = stanza.expect("a stanza without a ticket is given back");
                self.ledger.bounced(number_of(stanza));
                self.make(now, 'e', stanza, out);
            }
        }
    }

    fn answer(&mut self, now: Instant, stanza: &Stanza, out: &mut Outbox) -> Result<(), Refusal> {
        if stanza.bytes.starts_with(b"q") {
            self.make(now, 'r', stanza, out);
            return Ok(());
        }
        let text = "no such service";
        Err(Refusal::new(Condition::ServiceUnavailable, Blame::Sender, Retry::Never, Bounce::Yes, text))
    }

    fn adopt(&mut self, _now: Instant, _link: LinkId, _bytes: Bytes, _out: &mut Outbox) {
        panic!("nothing is given away here");
    }

    fn kept_for(&self, _bare: &str) -> usize {
        0
    }

    fn kept(&self) -> usize {
        0
    }

    fn configure(&mut self, _now: Instant, _world: &Arc<World>, _out: &mut Outbox) {}

    fn drain(&mut self, _now: Instant, out: &mut Outbox) {
        for (link, toy) in &mut self.links {
            if matches!(toy.state, State::Accepted(_)) {
                toy.state = State::Over;
                out.transmit(*link, Bytes::from_static(b"bye\n"));
            }
        }
    }

    fn wake(&mut self, _now: Instant, _out: &mut Outbox) {}

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
