//! A scripted node of a 2019 pool: IM sessions by bytes, in both directions.

use std::collections::{BTreeMap, VecDeque};

use turnout_core::io::{PeerCertificate, TrustId};

use super::events::Events;
use super::number;
use crate::support::peer::{Deed, Peer, PeerAct, PeerOut, Reply, Words};

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 10.0.1.9\r\ns=session\r\nc=IN IP4 10.0.1.9\r\nt=0 0\r\n\
    m=message 5060 sip null\r\na=accept-types:text/plain text/html multipart/alternative\r\n";

/// A session between a local user and a partner's user.
#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) conn: u64,
    local: String,
    remote: String,
    target: String,
    pub(super) cseq: u32,
    /// Bare addresses: local user, partner's user.
    pub(super) pair: (String, String),
    /// The 200 to our INVITE has come, or the router invited us.
    up: bool,
    /// A MESSAGE of ours waits for its answer.
    asked: bool,
    queue: VecDeque<Text>,
}

/// What a user of the pool says: a numbered text, or one of a play.
#[derive(Clone, Debug)]
pub(super) enum Text {
    Number(usize),
    Words(Words),
}

/// The node.
#[derive(Debug)]
pub struct PoolPeer {
    pub(super) name: &'static str,
    trust: TrustId,
    /// It has IM sessions; else every text is a MESSAGE of its own.
    pub(super) sessions: bool,
    pub(super) conns: BTreeMap<u64, Vec<u8>>,
    pub(super) outbound: Option<u64>,
    pub(super) dialogs: BTreeMap<String, Dialog>,
    pub(super) events: Events,
    again: VecDeque<Text>,
    later: VecDeque<(u64, String)>,
    count: u64,
    heard: Vec<String>,
    prepared: VecDeque<Reply>,
}

impl PoolPeer {
    /// A node with this name in its certificate.
    pub fn new(name: &'static str, trust: TrustId) -> Self {
        Self {
            name,
            trust,
            sessions: true,
            conns: BTreeMap::new(),
            outbound: None,
            dialogs: BTreeMap::new(),
            events: Events::default(),
            again: VecDeque::new(),
            later: VecDeque::new(),
            count: 0,
            heard: Vec::new(),
            prepared: VecDeque::new(),
        }
    }

    /// The same with texts in single messages (dialect `simple`).
    pub fn without_sessions(self) -> Self {
        Self { sessions: false, ..self }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn message(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        let method = text.split(' ').next().unwrap_or_default().to_owned();
        if method != "ACK" {
            self.heard.push(text.to_owned());
        }
        if let Some(at) = self.prepared.iter().position(|reply| reply.method == method)
            && let Some(reply) = self.prepared.remove(at)
        {
            let (code, reason) = reply.status.split_once(' ').expect("a code and a reason");
            out.send(conn, answer(text, code.parse().unwrap(), reason, &reply.headers, ""));
            return;
        }
        match method.as_str() {
            "SIP/2.0" => self.response(text, out),
            "ACK" => {}
            "INVITE" => self.invited(conn, text, out),
            "MESSAGE" if self.sessions => self.text(conn, text, out),
            "MESSAGE" => self.paged(conn, text, out),
            "SUBSCRIBE" => self.watched(conn, text, out),
            "BYE" => {
                if let Some(dialog) = self.dialogs.remove(&header(text, "Call-ID")) {
                    self.again.extend(dialog.queue);
                }
                out.send(conn, answer(text, 200, "OK", "", ""));
            }
            _ => out.send(conn, answer(text, 200, "OK", "", "")),
        }
    }

    fn invited(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        if out.rarely(12) {
            let (code, reason) =
                [(480, "Temporarily Unavailable"), (404, "Not Found"), (503, "Service Unavailable")]
                    [usize::try_from(out.random.below(3)).unwrap()];
            out.send(conn, answer(text, code, reason, "", ""));
            return;
        }
        let tag = format!("p{}", self.next());
        let contact = format!("Contact: <sip:{}:5061;transport=tls>\r\n", self.name);
        let ok = answer_tagged(text, &tag, &format!("{contact}Content-Type: application/sdp\r\n"), SDP);
        let local = header(&ok, "To");
        let dialog = Dialog {
            conn,
            pair: (address(&local), address(&header(text, "From"))),
            local,
            remote: header(text, "From"),
            target: between(&header(text, "Contact"), '<', '>'),
            cseq: 1,
            up: true,
            asked: false,
            queue: VecDeque::new(),
        };
        self.dialogs.insert(header(text, "Call-ID"), dialog);
        if out.rarely(4) {
            self.later.push_back((conn, ok));
        } else {
            out.send(conn, ok);
        }
    }

    fn text(&mut self, conn: u64, text: &str, out: &mut PeerOut<'_>) {
        if !self.dialogs.contains_key(&header(text, "Call-ID")) {
            out.send(conn, answer(text, 481, "Call Leg/Transaction Does Not Exist", "", ""));
            return;
        }
        if out.rarely(20) {
            let (code, reason) = [(408, "Request Timeout"), (481, "No Such Call"), (486, "Busy Here")]
                [usize::try_from(out.random.below(3)).unwrap()];
            out.send(conn, answer(text, code, reason, "", ""));
            return;
        }
        if let Some(number) = number(text) {
            out.acts.push(PeerAct::Read(conn, number));
        }
        let ok = answer(text, 200, "OK", "", "");
        if out.rarely(4) {
            self.later.push_back((conn, ok));
        } else {
            out.send(conn, ok);
        }
    }

    fn response(&mut self, text: &str, out: &mut PeerOut<'_>) {
        let code: u16 = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        if header(text, "CSeq").ends_with("SUBSCRIBE") {
            return self.events.answered(text);
        }
        let call = header(text, "Call-ID");
        let Some(dialog) = self.dialogs.get_mut(&call).filter(|_| code >= 200) else { return };
        if header(text, "CSeq").ends_with("INVITE") {
            if code == 200 {
                dialog.remote = header(text, "To");
                dialog.target = between(&header(text, "Contact"), '<', '>');
                dialog.up = true;
                let ack = request("ACK", &call, dialog, self.name, 1, 0, "", "");
                out.send(dialog.conn, ack);
            } else {
                // A play hears of it; it does not try again.
                let queue = self.dialogs.remove(&call).map(|dialog| dialog.queue).unwrap_or_default();
                self.again.extend(queue.into_iter().filter(|text| matches!(text, Text::Number(_))));
                return;
            }
        } else {
            dialog.asked = false;
            if code == 481 || code == 408 {
                let dialog = self.dialogs.remove(&call);
                self.again.extend(dialog.map(|dialog| dialog.queue).unwrap_or_default());
                return;
            }
        }
        self.next_text(&call, out);
    }

    /// Sends the next text of a dialog, if it is its turn.
    fn next_text(&mut self, call: &str, out: &mut PeerOut<'_>) {
        let branch = self.next();
        let name = self.name;
        let Some(dialog) = self.dialogs.get_mut(call).filter(|dialog| dialog.up && !dialog.asked) else {
            return;
        };
        let Some(text) = dialog.queue.pop_front() else { return };
        dialog.asked = true;
        dialog.cseq += 1;
        let body = match text {
            Text::Number(number) => {
                out.ledger.said_on(number, dialog.conn);
                format!("text [{number}]")
            }
            Text::Words(words) => words.text,
        };
        let kind = "Content-Type: text/plain; charset=UTF-8\r\n";
        let text = request("MESSAGE", call, dialog, name, dialog.cseq, branch, kind, &body);
        out.send(dialog.conn, text);
    }

    /// Says it in the session of a pair, opening one where there is none.
    fn say_in(&mut self, pair: (String, String), text: Text, out: &mut PeerOut<'_>) {
        let open = self.dialogs.iter_mut().find(|(_, dialog)| dialog.pair == pair);
        match open {
            Some((call, dialog)) => {
                dialog.queue.push_back(text);
                let call = call.clone();
                self.next_text(&call, out);
            }
            None => self.invite(pair, text, out),
        }
    }

    fn invite(&mut self, pair: (String, String), text: Text, out: &mut PeerOut<'_>) {
        let conn = self.way(None, out);
        let (call, branch) = (format!("c{}@{}", self.next(), self.name), self.next());
        let dialog = Dialog { queue: VecDeque::from([text]), ..Dialog::new(conn, branch, pair) };
        let extra = format!(
            "Contact: <sip:{};opaque=user:epid:a;gruu>\r\nMs-Conversation-ID: Adk{branch}\r\nContent-Type: application/sdp\r\n",
            dialog.pair.0
        );
        out.send(conn, request("INVITE", &call, &dialog, self.name, 1, branch, &extra, SDP));
        self.dialogs.insert(call, dialog);
    }
}

impl Dialog {
    /// One that we begin.
    pub(super) fn new(conn: u64, branch: u64, pair: (String, String)) -> Self {
        Self {
            conn,
            local: format!("<sip:{}>;tag=l{branch};epid=01", pair.0),
            remote: format!("<sip:{}>", pair.1),
            target: format!("sip:{}", pair.1),
            cseq: 1,
            pair,
            up: false,
            asked: false,
            queue: VecDeque::new(),
        }
    }
}

impl Peer for PoolPeer {
    fn direct_tls(&self) -> bool {
        true
    }

    fn keeps(&self) -> bool {
        true
    }

    fn certificate(&self) -> Option<PeerCertificate> {
        Some(PeerCertificate {
            trusted: vec![self.trust],
            dns: vec![self.name.into()],
            ..PeerCertificate::default()
        })
    }

    fn opened(&mut self, conn: u64, _ours: bool, _out: &mut PeerOut<'_>) {
        self.conns.insert(conn, Vec::new());
    }

    fn receive(&mut self, conn: u64, bytes: &[u8], out: &mut PeerOut<'_>) {
        let Some(buffer) = self.conns.get_mut(&conn) else { return };
        buffer.extend_from_slice(bytes);
        while let Some(buffer) = self.conns.get_mut(&conn)
            && let Some(text) = next_message(buffer)
        {
            self.message(conn, &text, out);
        }
    }

    fn closed(&mut self, conn: u64, _out: &mut PeerOut<'_>) {
        self.conns.remove(&conn);
        self.later.retain(|(on, _)| *on != conn);
        if self.outbound == Some(conn) {
            self.outbound = None;
        }
        for (_, dialog) in self.dialogs.extract_if(.., |_, dialog| dialog.conn == conn) {
            self.again.extend(dialog.queue);
        }
    }

    fn say(&mut self, number: usize, out: &mut PeerOut<'_>) {
        let Some(said) = out.ledger.get(number) else { return };
        self.say_in((said.from, said.to), Text::Number(number), out);
    }

    fn speak(&mut self, words: Words, out: &mut PeerOut<'_>) {
        if !self.sessions {
            let conn = self.way(None, out);
            let kind = "Content-Type: text/plain; charset=UTF-8\r\n";
            let text = self.alone(conn, (words.from, words.to), "MESSAGE", (kind, &words.text));
            return out.send(conn, text);
        }
        self.say_in((words.from.clone(), words.to.clone()), Text::Words(words), out);
    }

    fn act(&mut self, deed: &Deed, out: &mut PeerOut<'_>) -> bool {
        self.do_it(deed, out)
    }

    fn prepare(&mut self, reply: Reply) {
        self.prepared.push_back(reply);
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
        for (conn, answer) in std::mem::take(&mut self.later) {
            out.send(conn, answer);
        }
    }

    fn waiting(&self) -> usize {
        self.again.len() + self.later.len()
    }
}

/// A request in a dialog.
pub(super) fn request(
    method: &str,
    call: &str,
    dialog: &Dialog,
    name: &str,
    cseq: u32,
    branch: u64,
    extra: &str,
    body: &str,
) -> String {
    format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/TLS {name}:5061;branch=z9hG4bK{branch}x{cseq}\r\nMax-Forwards: 70\r\n\
         From: {}\r\nTo: {}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        dialog.target,
        dialog.local,
        dialog.remote,
        body.len()
    )
}

/// The lines of a header, folded into one value; empty where there is none.
pub fn header(text: &str, name: &str) -> String {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let line = head
        .lines()
        .find(|line| line.split_once(':').is_some_and(|(found, _)| found.trim().eq_ignore_ascii_case(name)));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// What stands between two characters.
pub fn between(text: &str, from: char, to: char) -> String {
    let inner = text.split_once(from).map_or(text, |(_, rest)| rest);
    inner.split(to).next().unwrap_or_default().to_owned()
}

/// The bare address in a From or To.
pub fn address(value: &str) -> String {
    between(&between(value, '<', '>'), ':', ';')
}

/// An answer to a request.
pub fn answer(request: &str, code: u16, reason: &str, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {code} {reason}\r\n");
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let mut value = header(request, name);
        if name == "To" && !value.contains(";tag=") {
            value.push_str(";tag=refused");
        }
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}{extra}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn answer_tagged(request: &str, tag: &str, extra: &str, body: &str) -> String {
    answer(request, 200, "OK", extra, body).replacen(";tag=refused", &format!(";tag={tag};epid=02"), 1)
}

/// Cuts a whole message off the front of what came; keep-alives are dropped.
pub fn next_message(buffer: &mut Vec<u8>) -> Option<String> {
    let blank = buffer.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
    buffer.drain(..blank);
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length: usize =
        header(&String::from_utf8_lossy(&buffer[..head]), "Content-Length").parse().unwrap_or(0);
    if buffer.len() < head + length {
        return None;
    }
    let rest = buffer.split_off(head + length);
    Some(String::from_utf8_lossy(&std::mem::replace(buffer, rest)).into_owned())
}
