//! A scripted XMPP server: a partner, or a node of the legacy gateway. It knows just enough of XML to see where an element ends.

use std::collections::{BTreeMap, VecDeque};

use turnout_core::io::{PeerCertificate, TrustId};

use super::{number, stanza};
use crate::support::peer::{Peer, PeerAct, PeerOut, Words};

/// How a server authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Dialback over plain TCP.
    Plain,
    /// Dialback inside TLS.
    TlsDialback,
    /// SASL EXTERNAL.
    External,
}

/// What waits until a stream is ready: a numbered stanza, or one of a play.
#[derive(Clone, Debug)]
enum Text {
    Number(usize),
    Words(Words),
}

#[derive(Debug, Default)]
struct Stream {
    buffer: Vec<u8>,
    tls: bool,
    authenticated: bool,
    /// We opened it: the domain we speak for, and what waits until it is ready.
    ours: Option<(String, VecDeque<Text>)>,
    ready: bool,
    domain: String,
    /// Stream management is on: stanzas read on it.
    handled: Option<u32>,
    /// Stanzas said on it since it is on, and not acknowledged.
    unacknowledged: VecDeque<Option<usize>>,
    acknowledged: u32,
    /// The name by which it may go on when its connection is gone.
    id: Option<String>,
}

/// A stream we opened that broke: its name, how many were acknowledged, and what was not.
#[derive(Debug)]
struct Broken {
    id: String,
    acknowledged: u32,
    unacknowledged: VecDeque<Option<usize>>,
}

/// The server.
#[derive(Debug)]
pub struct XmppPeer {
    manner: Manner,
    /// It speaks XEP-0198, both ways.
    acknowledges: bool,
    /// Local part of what its certificate names, and who trusts it.
    certificate: PeerCertificate,
    streams: BTreeMap<u64, Stream>,
    outbound: BTreeMap<(String, String), u64>,
    /// Streams of the router that broke, by name, with the stanzas read on each.
    remembered: BTreeMap<String, u32>,
    /// Streams to the router that broke, by their domains.
    broken: BTreeMap<(String, String), Broken>,
    /// Not said yet: their streams ended before they were ready.
    again: VecDeque<Text>,
    ids: u64,
    heard: Vec<String>,
}

impl XmppPeer {
    /// A server whose certificate has these names.
    pub fn new(manner: Manner, names: &[&str], trust: TrustId) -> Self {
        let certificate = PeerCertificate {
            trusted: vec![trust],
            dns: names.iter().map(|&name| name.into()).collect(),
            ..PeerCertificate::default()
        };
        let (streams, outbound) = (BTreeMap::new(), BTreeMap::new());
        Self {
            manner,
            acknowledges: false,
            certificate,
            streams,
            outbound,
            remembered: BTreeMap::new(),
            broken: BTreeMap::new(),
            again: VecDeque::new(),
            ids: 0,
            heard: Vec::new(),
        }
    }

    /// One that acknowledges and wants acknowledgements.
    pub fn acknowledging(self) -> Self {
        Self { acknowledges: true, ..self }
    }

    fn header(&mut self, from: &str, to: &str) -> String {
        self.ids += 1;
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
             xmlns:stream='http://etherx.jabber.org/streams' from='{from}' to='{to}' id='s{}' version='1.0'>",
            self.ids
        )
    }

    fn unit(&mut self, conn: u64, unit: &str, out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get(&conn) else { return };
        if unit == "</stream:stream>" {
            out.send(conn, "</stream:stream>");
            out.acts.push(PeerAct::Close(conn));
        } else if stream.ours.is_some() {
            self.outgoing(conn, unit, out);
        } else {
            self.incoming(conn, unit, out);
        }
    }

    /// On a stream the router opened.
    fn incoming(&mut self, conn: u64, unit: &str, out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        let (from, to) = (attribute(unit, "from"), attribute(unit, "to"));
        if unit.starts_with("<stream:stream") {
            let features = match (self.manner, stream.tls, stream.authenticated) {
                (Manner::TlsDialback | Manner::External, false, _) => {
                    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
                }
                (Manner::External, true, false) => {
                    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
                }
                (_, _, true) => "",
                (Manner::Plain | Manner::TlsDialback, _, false) => {
                    "<dialback xmlns='urn:xmpp:features:dialback'/>"
                }
            };
            let acks = if self.acknowledges { "<sm xmlns='urn:xmpp:sm:3'/>" } else { "" };
            let header = self.header(&to, &from);
            out.send(conn, format!("{header}<stream:features>{features}{acks}</stream:features>"));
        } else if unit.starts_with("<starttls") {
            out.send(conn, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        } else if unit.starts_with("<auth") {
            stream.authenticated = true;
            out.send(conn, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        } else if unit.starts_with("<db:result") {
            let valid = if out.rarely(20) { "invalid" } else { "valid" };
            out.send(conn, format!("<db:result from='{to}' to='{from}' type='{valid}'/>"));
        } else if unit.starts_with("<db:verify") {
            let id = attribute(unit, "id");
            out.send(conn, format!("<db:verify from='{to}' to='{from}' id='{id}' type='valid'/>"));
        } else if unit.starts_with("<enable") {
            stream.handled = Some(0);
            if unit.contains("resume='true'") && !out.rarely(4) {
                let id = format!("r{conn}");
                out.send(conn, format!("<enabled xmlns='urn:xmpp:sm:3' id='{id}' resume='true' max='30'/>"));
                stream.id = Some(id);
            } else {
                out.send(conn, "<enabled xmlns='urn:xmpp:sm:3'/>");
            }
        } else if unit.starts_with("<resume") {
            let id = attribute(unit, "previd");
            match self.remembered.remove(&id) {
                // Sometimes it has forgotten, and sometimes it knows all the same how far the stream had come.
                None => out.send(conn, failed("")),
                Some(_) if out.rarely(8) => out.send(conn, failed("")),
                Some(handled) if out.rarely(8) => out.send(conn, failed(&format!(" h='{handled}'"))),
                Some(handled) => {
                    (stream.handled, stream.acknowledged) = (Some(handled), handled);
                    out.send(conn, format!("<resumed xmlns='urn:xmpp:sm:3' previd='{id}' h='{handled}'/>"));
                    stream.id = Some(id);
                }
            }
        } else if unit.starts_with("<r ") {
            // Sometimes it has died without anybody noticing, and sometimes it keeps an acknowledgement back.
            let handled = stream.handled.expect("only who was asked to count is asked");
            if !out.rarely(30) {
                let back = u32::from(handled > stream.acknowledged && out.rarely(8));
                stream.acknowledged = handled - back;
                out.send(conn, format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", handled - back));
            }
        } else {
            if let Some(handled) = &mut stream.handled {
                *handled += u32::from(!unit.starts_with("<stream:") && !unit.starts_with("<db:"));
            }
            self.heard.push(unit.to_owned());
            self.read(conn, unit, out);
        }
    }

    fn read(&self, conn: u64, unit: &str, out: &mut PeerOut<'_>) {
        let Some(number) = number(unit) else { return };
        if unit.contains("type='error'") {
            out.acts.push(PeerAct::Told(number));
        } else if !unit.contains("type='result'") {
            out.acts.push(PeerAct::Read(conn, number));
        }
    }

    /// On a stream this server opened.
    fn outgoing(&mut self, conn: u64, unit: &str, out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        let Some((ours, _)) = &stream.ours else { return };
        let (ours, theirs) = (ours.clone(), stream.domain.clone());
        if unit.starts_with("<stream:error") {
            // What was to be said is not said again on a stream that will not be had.
            stream.ours = Some((ours, VecDeque::new()));
            self.heard.push(unit.to_owned());
        } else if unit.starts_with("<stream:features") {
            if unit.contains("<starttls") && self.manner != Manner::Plain && !stream.tls {
                out.send(conn, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            } else if unit.contains("EXTERNAL") && self.manner == Manner::External && !stream.authenticated {
                let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>";
                out.send(conn, auth);
            } else if stream.authenticated {
                self.agree(conn, unit, out);
            } else {
                out.send(conn, format!("<db:result from='{ours}' to='{theirs}'>key</db:result>"));
            }
        } else if unit.starts_with("<success") {
            stream.authenticated = true;
            let header = self.header(&ours, &theirs);
            out.send(conn, header);
        } else if unit.starts_with("<enabled") {
            stream.handled = Some(0);
            stream.id = Some(attribute(unit, "id"));
            self.say_all(conn, out);
        } else if unit.starts_with("<resumed") {
            // What is not acknowledged now is lost: this server says nothing twice.
            let handled: u32 = attribute(unit, "h").parse().expect("a number");
            let new = handled - stream.acknowledged;
            assert!(new as usize <= stream.unacknowledged.len(), "no more is handled than was said");
            for number in stream.unacknowledged.drain(..).take(new as usize).flatten() {
                out.ledger.acknowledged(number);
            }
            (stream.handled, stream.acknowledged) = (Some(0), handled);
            self.say_all(conn, out);
        } else if unit.starts_with("<failed") {
            (stream.acknowledged, stream.unacknowledged) = (0, VecDeque::new());
            out.send(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        } else if unit.starts_with("<a ") {
            let handled: u32 = attribute(unit, "h").parse().expect("a number");
            let new = handled - stream.acknowledged;
            stream.acknowledged = handled;
            for number in stream.unacknowledged.drain(..new as usize).flatten() {
                out.ledger.acknowledged(number);
            }
        } else if unit.starts_with("<db:result") && unit.contains("type='valid'") {
            self.agree(conn, unit, out);
        } else if unit.starts_with("<db:result") || unit.starts_with("<failure") {
            out.acts.push(PeerAct::Close(conn));
        }
    }

    /// The router knows who we are: stream management is asked for where it is spoken, in the seeds that offer none too.
    fn agree(&mut self, conn: u64, unit: &str, out: &mut PeerOut<'_>) {
        if unit.starts_with("<stream:features") {
            assert!(
                unit.contains("<sm xmlns='urn:xmpp:sm:3'"),
                "it is offered to whom the router knows: {unit}"
            );
        }
        if !self.acknowledges {
            return self.say_all(conn, out);
        }
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        let pair = stream.ours.as_ref().map(|(ours, _)| (ours.clone(), stream.domain.clone()));
        match pair.and_then(|pair| self.broken.remove(&pair)) {
            Some(Broken { id, acknowledged, unacknowledged }) => {
                (stream.acknowledged, stream.unacknowledged) = (acknowledged, unacknowledged);
                out.send(conn, format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='0'/>"));
            }
            None => out.send(conn, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"),
        }
    }

    fn say_all(&mut self, conn: u64, out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        stream.ready = true;
        let waiting = stream.ours.as_mut().map(|(_, waiting)| std::mem::take(waiting)).unwrap_or_default();
        for text in waiting {
            say_now(conn, stream, text, out);
        }
    }

    /// Says it on the stream of two domains, opening that where needed.
    fn say_on(&mut self, ours: String, theirs: String, text: Text, out: &mut PeerOut<'_>) {
        let conn = self.outbound.get(&(ours.clone(), theirs.clone())).copied().unwrap_or_else(|| {
            let conn = out.open();
            let stream = Stream {
                ours: Some((ours.clone(), VecDeque::new())),
                domain: theirs.clone(),
                ..Stream::default()
            };
            self.streams.insert(conn, stream);
            self.outbound.insert((ours.clone(), theirs.clone()), conn);
            let header = self.header(&ours, &theirs);
            out.send(conn, header);
            conn
        });
        match self.streams.get_mut(&conn) {
            Some(Stream { ready: false, ours: Some((_, waiting)), .. }) => waiting.push_back(text),
            Some(stream) => say_now(conn, stream, text, out),
            None => {}
        }
    }
}

fn say_now(conn: u64, stream: &mut Stream, text: Text, out: &mut PeerOut<'_>) {
    if stream.handled.is_some() {
        stream.unacknowledged.push_back(match text {
            Text::Number(number) => Some(number),
            Text::Words(_) => None,
        });
    }
    say_words(conn, text, out);
    if stream.handled.is_some() && (out.calm || out.random.below(2) == 0) {
        out.send(conn, "<r xmlns='urn:xmpp:sm:3'/>");
    }
}

fn say_words(conn: u64, text: Text, out: &mut PeerOut<'_>) {
    let number = match text {
        Text::Number(number) => number,
        Text::Words(words) => return out.send(conn, words.text),
    };
    let Some(said) = out.ledger.get(number) else { return };
    out.ledger.said_on(number, conn);
    out.send(conn, stanza(said.kind, &said.from, &said.to, number));
}

impl Peer for XmppPeer {
    fn opened(&mut self, conn: u64, ours: bool, _out: &mut PeerOut<'_>) {
        if !ours {
            self.streams.insert(conn, Stream::default());
        }
    }

    fn receive(&mut self, conn: u64, bytes: &[u8], out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        stream.buffer.extend_from_slice(bytes);
        while let Some(stream) = self.streams.get_mut(&conn)
            && let Some(unit) = next_unit(&mut stream.buffer)
        {
            self.unit(conn, &unit, out);
        }
    }

    fn secured(&mut self, conn: u64, out: &mut PeerOut<'_>) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        stream.tls = true;
        stream.buffer.clear();
        let pair = stream.ours.as_ref().map(|(ours, _)| (ours.clone(), stream.domain.clone()));
        if let Some((ours, theirs)) = pair {
            let header = self.header(&ours, &theirs);
            out.send(conn, header);
        }
    }

    fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    fn certificate(&self) -> Option<PeerCertificate> {
        Some(self.certificate.clone())
    }

    fn closed(&mut self, conn: u64, _out: &mut PeerOut<'_>) {
        self.outbound.retain(|_, other| *other != conn);
        let Some(stream) = self.streams.remove(&conn) else { return };
        let id = stream.id.filter(|id| !id.is_empty());
        match (stream.ours, stream.handled, id) {
            (Some((ours, waiting)), handled, id) => {
                self.again.extend(waiting);
                if let (Some(id), Some(_)) = (id, handled) {
                    let (acknowledged, unacknowledged) = (stream.acknowledged, stream.unacknowledged);
                    self.broken.insert((ours, stream.domain), Broken { id, acknowledged, unacknowledged });
                }
            }
            (None, Some(handled), Some(id)) => drop(self.remembered.insert(id, handled)),
            (None, ..) => {}
        }
    }

    fn say(&mut self, number: usize, out: &mut PeerOut<'_>) {
        let Some(said) = out.ledger.get(number) else { return };
        self.say_on(domain(&said.from), domain(&said.to), Text::Number(number), out);
    }

    fn speak(&mut self, words: Words, out: &mut PeerOut<'_>) {
        self.say_on(domain(&words.from), domain(&words.to), Text::Words(words), out);
    }

    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }

    fn whim(&mut self, out: &mut PeerOut<'_>) {
        for text in std::mem::take(&mut self.again) {
            match text {
                _ if out.over => {}
                Text::Number(number) => self.say(number, out),
                Text::Words(words) => self.speak(words, out),
            }
        }
        if out.rarely(25)
            && let Some(conn) = self.streams.keys().next_back().copied()
        {
            // A closing tag is a goodbye on streams of either direction; after it nothing is said.
            self.outbound.retain(|_, other| *other != conn);
            match out.random.below(3) {
                0 => out.send(conn, "<message from='x@elsewhere.example' to='user0@contoso.com'/>"),
                1 => out.send(conn, "</stream:stream>"),
                _ => out.send(conn, "<oops"),
            }
        }
    }

    fn waiting(&self) -> usize {
        self.again.len()
    }
}

fn failed(attributes: &str) -> String {
    format!(
        "<failed xmlns='urn:xmpp:sm:3'{attributes}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
    )
}

/// The domain of a bare address.
fn domain(jid: &str) -> String {
    jid.split_once('@').map_or(jid, |(_, domain)| domain).to_owned()
}

/// The raw value of an attribute of the first tag.
pub fn attribute(unit: &str, name: &str) -> String {
    let tag = unit.split_once('>').map_or(unit, |(tag, _)| tag);
    let marks = [format!(" {name}='"), format!(" {name}=\"")];
    marks
        .iter()
        .find_map(|mark| tag.split_once(mark.as_str())?.1.split(['\'', '"']).next())
        .unwrap_or_default()
        .to_owned()
}

/// Cuts a stream header, a closing tag or a whole element off the front of what came.
pub fn next_unit(buffer: &mut Vec<u8>) -> Option<String> {
    let mut depth = 0_usize;
    let mut start = None;
    let mut at = 0;
    loop {
        let open = at + buffer.get(at..)?.iter().position(|&b| b == b'<')?;
        let close = open + buffer[open..].iter().position(|&b| b == b'>')?;
        let tag = &buffer[open..=close];
        at = close + 1;
        if tag.starts_with(b"<?") {
            continue;
        }
        start = start.or(Some(open));
        let whole = tag.starts_with(b"<stream:stream") || tag.starts_with(b"</stream:stream");
        match tag {
            [b'<', b'/', ..] => depth = depth.saturating_sub(1),
            [.., b'/', b'>'] => {}
            _ => depth += 1,
        }
        if whole || depth == 0 {
            let unit = String::from_utf8_lossy(&buffer[start?..at]).into_owned();
            buffer.drain(..at);
            return Some(unit);
        }
    }
}
