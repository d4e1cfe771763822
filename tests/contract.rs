//! What `turnout_core::backend::Backend` promises, held against each backend and each way of authenticating by one suite.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::bench::{Bench, Cut};
use support::estate::{self, LEGACY, Options, POOL};
use support::peer::{Peer, Words};
use support::real::pool::PoolPeer;
use support::real::xmpp::{Manner, XmppPeer};
use turnout_core::backend::{Backend, Destination, Sent};
use turnout_core::home::HostPort;
use turnout_core::io::{LinkId, Side, TrustId};
use turnout_core::jid::{Domain, Jid};
use turnout_core::stanza::{Kind, Origin, Payload, Stanza};
use turnout_sip::SipBackend;
use turnout_xmpp::XmppBackend;

/// A backend with the server it is for.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Partners(Manner),
    Gateway,
    Pool,
}

const SUBJECTS: [Subject; 5] = [
    Subject::Partners(Manner::Plain),
    Subject::Partners(Manner::TlsDialback),
    Subject::Partners(Manner::External),
    Subject::Gateway,
    Subject::Pool,
];

impl Subject {
    fn side(self) -> Side {
        match self {
            Self::Partners(_) => Side::Partners,
            Self::Gateway => Side::Home(LEGACY),
            Self::Pool => Side::Home(POOL),
        }
    }

    fn bench(self, cut: Cut) -> Bench {
        let world = estate::world(&Options::default());
        let side = self.side();
        let backend: Box<dyn Backend> = match self {
            Self::Partners(_) | Self::Gateway => Box::new(XmppBackend::new(side, world, [7; 32])),
            Self::Pool => Box::new(SipBackend::new(side, world, [7; 32])),
        };
        let peer: Box<dyn Peer> = match self {
            Self::Partners(manner) => Box::new(XmppPeer::new(manner, &["p0.example"], TrustId::FEDERATION)),
            Self::Gateway => Box::new(XmppPeer::new(Manner::Plain, &[], TrustId(1))),
            Self::Pool => Box::new(PoolPeer::new("pool0.contoso.com", TrustId(2))),
        };
        Bench::new(side, backend, peer, cut)
    }

    /// Who writes from the server's side, and to whom.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Partners(_) => ("juliet@p0.example", "romeo@contoso.com"),
            Self::Gateway | Self::Pool => ("romeo@contoso.com", "juliet@p0.example"),
        }
    }

    /// The server's user writes.
    fn speak(self, bench: &mut Bench, text: &str) {
        let (from, to) = self.names();
        let text = match self {
            Self::Pool => text.to_owned(),
            Self::Partners(_) | Self::Gateway => {
                format!("<message from='{from}' to='{to}' type='chat'><body>{text}</body></message>")
            }
        };
        bench.speak(Words { from: from.to_owned(), to: to.to_owned(), text });
    }

    /// A link that is ready to carry stanzas to the server.
    fn dial(self, bench: &mut Bench) -> LinkId {
        let domain = |jid: &str| Domain::parse(jid.split_once('@').unwrap().1).unwrap();
        let (theirs, ours) = self.names();
        let side = self.side();
        let (destination, host) = match self {
            Self::Partners(_) => {
                (Destination::Pair { side, ours: domain(ours), theirs: domain(theirs) }, None)
            }
            Self::Gateway => (
                Destination::Pair { side, ours: domain(ours), theirs: domain(theirs) },
                Some("edge0.contoso.com:5269"),
            ),
            Self::Pool => (Destination::Node { side, node: 0 }, Some("pool0.contoso.com:5061")),
        };
        let host = host.map(|host| HostPort::parse(host, None).unwrap());
        let link = bench.dial(&destination, host.as_ref());
        assert!(bench.ready.contains(&link), "{self:?}: no link is ready");
        link
    }

    /// A stanza for the server's user.
    fn stanza(self, bench: &Bench, text: &str) -> Stanza {
        let (to, from) = self.names();
        let head = format!("<message from='{from}' to='{to}' type='chat' id='m1'>");
        let span = |what: &str| {
            let start = u32::try_from(head.find(what).unwrap()).unwrap();
            start..start + u32::try_from(what.len()).unwrap()
        };
        Stanza {
            kind: Kind::message(Some("chat")),
            from: Jid::parse(from).unwrap(),
            to: Jid::parse(to).unwrap(),
            from_span: span(from),
            to_span: span(to),
            id_span: span("m1"),
            bytes: Bytes::from(format!("{head}<body>{text}</body></message>")),
            insert_at: 8,
            insert: None,
            payload: Payload::None,
            origin: Origin { side: Side::Partners, link: LinkId::NONE, ticket: 0 },
            arrived: bench.now,
            made: false,
            attempts: 0,
            disk: Default::default(),
        }
    }

    /// Bytes that no peer in its right mind sends.
    fn nonsense(self) -> &'static [u8] {
        match self {
            Self::Partners(_) | Self::Gateway => b"<oops <oops",
            Self::Pool => b"MESSAGE sip:x SIP/2.0\r\nContent-Length: what\r\n\r\n",
        }
    }
}

/// A conversation in both directions; what the backend wrote and let in.
fn converse(subject: Subject, cut: Cut) -> (Vec<u8>, Vec<String>, usize) {
    let mut bench = subject.bench(cut);
    subject.speak(&mut bench, "one");
    subject.speak(&mut bench, "two é €");
    let link = subject.dial(&mut bench);
    let stanza = subject.stanza(&bench, "three");
    assert!(matches!(bench.send(link, stanza), Sent::OnWrite(_) | Sent::Kept));
    subject.speak(&mut bench, "four");
    assert_eq!(bench.faults, 0, "{subject:?}, {cut:?}");
    (bench.written, bench.arrived, bench.received)
}

#[test]
fn where_bytes_are_cut_makes_no_difference() {
    for subject in SUBJECTS {
        let (written, arrived, received) = converse(subject, Cut::Never);
        assert!(arrived.iter().any(|text| text.contains("two é €")), "{subject:?}: {arrived:?}");
        for cut in (1..received).map(Cut::After).chain([Cut::Always]) {
            let cut_up = converse(subject, cut);
            assert_eq!(cut_up.1, arrived, "{subject:?}: other stanzas arrive with {cut:?}");
            assert_eq!(
                String::from_utf8_lossy(&cut_up.0),
                String::from_utf8_lossy(&written),
                "{subject:?}: other bytes are written with {cut:?}"
            );
        }
    }
}

#[test]
fn a_fault_ends_its_own_link_and_no_other() {
    for subject in SUBJECTS {
        let mut bench = subject.bench(Cut::Never);
        let outbound = subject.dial(&mut bench);
        subject.speak(&mut bench, "one");
        let bad = bench.links().into_iter().find(|link| link.is_accepted()).unwrap();
        bench.feed(bad, subject.nonsense());
        bench.pass(Duration::from_secs(5));
        assert!(bench.faults > 0 && bench.closed.contains(&bad), "{subject:?} bears nonsense");
        assert!(!bench.closed.contains(&outbound), "{subject:?}: {:?}", bench.closed);
        let stanza = subject.stanza(&bench, "still here");
        assert!(!matches!(bench.send(outbound, stanza), Sent::Refused(..) | Sent::NotNow(_)), "{subject:?}");
        let before = bench.arrived.len();
        subject.speak(&mut bench, "anew");
        assert!(bench.arrived.len() > before, "{subject:?} lets nobody in after a fault");
    }
}

/// Sends twenty stanzas, with trouble after so many; each must come back once.
fn comes_back_once(subject: Subject, trouble_after: usize, silent: bool) {
    let mut bench = subject.bench(Cut::Never);
    let link = subject.dial(&mut bench);
    bench.mute = silent;
    let (mut returned, mut kept) = (0, 0);
    for number in 0..20 {
        if number == trouble_after {
            bench.lose(link);
        }
        let stanza = subject.stanza(&bench, &format!("number {number}"));
        match bench.send(link, stanza) {
            Sent::Kept => kept += 1,
            Sent::OnWrite(_) | Sent::Answered(_) | Sent::NotNow(_) | Sent::Refused(..) => returned += 1,
        }
        assert_eq!(bench.backend.kept(), kept - bench.done.len(), "{subject:?} after {number}");
    }
    for link in bench.links() {
        bench.lose(link);
    }
    bench.pass(Duration::from_secs(120));
    assert_eq!(
        returned + bench.done.len(),
        20,
        "{subject:?}, trouble after {trouble_after}, silent {silent}"
    );
    assert_eq!(bench.backend.kept(), 0, "{subject:?}: a closed link leaves nothing kept");
    assert_eq!(bench.backend.kept_for(subject.names().0), 0);
    let texts: Vec<&Bytes> = bench.done.iter().map(|(stanza, _)| &stanza.bytes).collect();
    let in_order = texts.windows(2).all(|two| number(two[0]) < number(two[1]));
    assert!(in_order, "{subject:?}: what is kept ends in its order: {texts:?}");
}

fn number(bytes: &Bytes) -> u32 {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_once("number ").and_then(|(_, rest)| rest.split('<').next()?.parse().ok()).unwrap()
}

#[test]
fn every_stanza_given_comes_back_once() {
    for subject in SUBJECTS {
        for trouble_after in [0, 1, 7, 19, 20] {
            for silent in [false, true] {
                comes_back_once(subject, trouble_after, silent);
            }
        }
    }
}

#[test]
fn timers_come_to_rest() {
    for subject in SUBJECTS {
        let mut bench = subject.bench(Cut::Never);
        let link = subject.dial(&mut bench);
        subject.speak(&mut bench, "one");
        let stanza = subject.stanza(&bench, "two");
        assert!(!matches!(bench.send(link, stanza), Sent::Refused(..)));
        // Each timer moves on when it fires; see `Bench::pass`.
        bench.pass(Duration::from_secs(3600));
        for link in bench.links() {
            bench.lose(link);
        }
        bench.pass(Duration::from_secs(3600));
        assert!(bench.backend.deadline().is_none(), "{subject:?} waits for something without a link");
    }
}

#[test]
fn a_reload_and_a_drain_disturb_nothing() {
    for subject in SUBJECTS {
        let mut bench = subject.bench(Cut::Never);
        let link = subject.dial(&mut bench);
        let world = estate::world(&Options::default());
        bench.configure(&Arc::clone(&world));
        let stanza = subject.stanza(&bench, "one");
        assert!(matches!(bench.send(link, stanza), Sent::OnWrite(_) | Sent::Kept), "{subject:?}");
        bench.drain();
        bench.pass(Duration::from_secs(60));
        assert_eq!(bench.backend.kept(), 0, "{subject:?} keeps something after a drain");
    }
}
