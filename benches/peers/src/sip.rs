//! SIP over TCP or TLS as far as a pool needs it: requests are counted and answered, sessions are opened, responses are counted. Invariant:
//! an answer repeats the request's own Via, From, To, Call-ID and CSeq; a refusal of anything ends the run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use memchr::{memchr, memmem};
use rustls::ServerConfig;

use crate::Outcome;
use crate::ledger::{Ledger, Shared};
use crate::sheet::{Plan, SEQUENCE, Sheet, count, words};
use crate::wire::{ROOM, Wire};

/// An answer of Skype for Business' kind to an offer of IM, and the offer itself.
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 5060 sip null\r\n\
    a=accept-types:text/plain multipart/alternative text/html\r\n";
/// Longest head that is looked through.
const HEAD_MAX: usize = 16 * 1024;

/// The stand-in for a pool, one a connection.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// What it secures connections with, when they are not TCP.
    pub tls: Option<Arc<ServerConfig>>,
    sessions: u64,
    out: Vec<u8>,
}

/// One message in a buffer.
struct Message<'a> {
    head: &'a [u8],
    body: &'a [u8],
    length: usize,
}

/// The value of a header's first line; `name` ends with its colon.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    lines(head).find_map(|line| is(line, name).then(|| line[name.len()..].trim_ascii()))
}

fn is(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name)
}

/// The lines of a head without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

fn message(bytes: &[u8]) -> Outcome<Option<Message<'_>>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_MAX { Err("a SIP head without an end".to_owned()) } else { Ok(None) };
    };
    let head = &bytes[..end + 2];
    let length = header(head, b"Content-Length:").or_else(|| header(head, b"l:")).unwrap_or(b"0");
    let length = length.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit & 15));
    let whole = end + 4 + length;
    Ok(bytes.get(end + 4..whole).map(|body| Message { head, body, length: whole }))
}

impl Pool {
    /// One that secures connections, or takes them as they are.
    #[must_use]
    pub fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self { tls, sessions: 0, out: Vec::new() }
    }

    /// Takes whole messages, counts the texts, answers.
    ///
    /// # Errors
    /// When the other side refuses something, or a text is not the next one.
    pub fn take(
        &mut self,
        bytes: &[u8],
        wire: &mut Wire,
        now: u64,
        ledger: &mut Ledger,
        shared: &Shared,
    ) -> Outcome<usize> {
        let (mut at, mut texts) = (0, 0);
        loop {
            if bytes[at..].starts_with(b"\r\n") {
                // A ping is two of these, its answer one.
                if bytes[at..].starts_with(b"\r\n\r\n") {
                    self.out.extend_from_slice(b"\r\n");
                    at += 2;
                }
                at += 2;
                continue;
            }
            let Some(message) = message(&bytes[at..])? else { break };
            if message.head.starts_with(b"MESSAGE ") {
                let token = message.body.len().checked_sub(16).map(|start| &message.body[start..]);
                ledger.token(token.unwrap_or_default(), now, shared)?;
                texts += 1;
                self.answer(message.head, None);
            } else if message.head.starts_with(b"SIP/2.0 ") {
                response(&message, shared)?;
            } else if message.head.starts_with(b"INVITE ") {
                self.sessions += 1;
                let tag = format!(";tag=p{}", self.sessions);
                self.answer(message.head, Some(&tag));
            } else if !message.head.starts_with(b"ACK ") {
                self.answer(message.head, None);
            }
            at += message.length;
        }
        if !self.out.is_empty() {
            wire.queue(&self.out)
                .and_then(|()| wire.flush())
                .map_err(|error| format!("answering: {error}"))?;
            self.out.clear();
        }
        if texts > 0 {
            shared.arrived(texts, at as u64);
        }
        Ok(at)
    }

    /// 200, with a session's description where there is a tag to begin one.
    fn answer(&mut self, head: &[u8], session: Option<&str>) {
        self.out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
        for line in lines(head).skip(1) {
            let first = line.first().map_or(0, u8::to_ascii_lowercase);
            let copied = match first {
                b'v' => is(line, b"Via:"),
                b'f' => is(line, b"From:"),
                b't' => is(line, b"To:"),
                b'c' => is(line, b"Call-ID:") || is(line, b"CSeq:"),
                b'r' => is(line, b"Record-Route:"),
                _ => false,
            };
            if copied {
                self.out.extend_from_slice(line);
                if first == b't'
                    && let Some(tag) = session
                    && memmem::find(line, b";tag=").is_none()
                {
                    self.out.extend_from_slice(tag.as_bytes());
                }
                self.out.extend_from_slice(b"\r\n");
            }
        }
        if session.is_none() {
            self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            return;
        }
        let more = format!(
            "Contact: <sip:pool2019.contoso.com:15061;transport=tcp>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        self.out.extend_from_slice(more.as_bytes());
    }
}

/// Counts a final response.
fn response(message: &Message<'_>, shared: &Shared) -> Outcome<()> {
    match message.head.get(8) {
        Some(b'1') => Ok(()),
        Some(b'2') => {
            shared.answered.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        _ => Err(format!("the peer answers {}", String::from_utf8_lossy(message.head))),
    }
}

/// What SIP requests say of where they come from.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `TCP` or `TLS`.
    pub transport: &'static str,
    /// Whether texts go within sessions.
    pub sessions: bool,
}

/// A dialog, as far as requests in it repeat it.
struct Dialog {
    target: String,
    from: String,
    to: String,
    call_id: String,
}

impl Caller {
    fn via(&self, branch: &str) -> String {
        format!(
            "Via: SIP/2.0/{} pool2019.contoso.com:15061;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n",
            self.transport
        )
    }

    fn addresses(plan: &Plan, pair: usize) -> (String, String) {
        (format!("{}@{}", plan.recipient(pair), plan.domain), format!("u{pair:04}@{}", plan.partner))
    }

    /// A session for each pair where they are wanted, and the texts of all.
    ///
    /// # Errors
    /// When the other side does not take a session.
    pub fn open(&self, plan: &Plan, wire: &mut Wire) -> Outcome<Sheet> {
        let mut texts = Vec::new();
        let mut buffer = Vec::new();
        for pair in 0..count(plan.size) {
            let dialog = if self.sessions {
                self.session(plan, pair, wire, &mut buffer)?
            } else {
                let (local, partner) = Self::addresses(plan, pair);
                Dialog {
                    target: format!("sip:{partner}"),
                    from: format!("<sip:{local}>;tag=f{pair}"),
                    to: format!("<sip:{partner}>"),
                    call_id: format!("page{pair:04}x{SEQUENCE}"),
                }
            };
            texts.push(self.text(plan, pair, &dialog)?);
        }
        Ok(Sheet::new(&texts, 1, 1))
    }

    fn text(&self, plan: &Plan, pair: usize, dialog: &Dialog) -> Outcome<Vec<u8>> {
        // As long as the body of a stanza of this size.
        let body = plan.size.checked_sub(125).ok_or("too small for a SIP text")?;
        let Dialog { target, from, to, call_id } = dialog;
        let text = format!("{}{}", words(pair, body - 16), plan.token(pair));
        Ok(format!(
            "MESSAGE {target} SIP/2.0\r\n{}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {SEQUENCE} MESSAGE\r\n\
             Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {body}\r\n\r\n{text}",
            self.via(&format!("m{pair:04}x{SEQUENCE}"))
        )
        .into_bytes())
    }

    fn session(&self, plan: &Plan, pair: usize, wire: &mut Wire, buffer: &mut Vec<u8>) -> Outcome<Dialog> {
        let (local, partner) = Self::addresses(plan, pair);
        let from = format!("<sip:{local}>;tag=f{pair};epid=b84a59c035");
        let call_id = format!("call{pair}");
        let invite = format!(
            "INVITE sip:{partner} SIP/2.0\r\n{}From: {from}\r\nTo: <sip:{partner}>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:{local};opaque=user:epid:hYnsAA;gruu>\r\nSupported: ms-dialog-route-set-update\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            self.via(&format!("i{pair}")),
            SDP.len()
        );
        wire.send(invite.as_bytes()).map_err(|error| error.to_string())?;
        let ok = final_response(wire, buffer)?;
        let text = |name: &[u8]| header(&ok, name).map(|value| String::from_utf8_lossy(value).into_owned());
        let missing = || format!("no session: {}", String::from_utf8_lossy(&ok));
        if !ok.starts_with(b"SIP/2.0 2") {
            return Err(missing());
        }
        let contact = text(b"Contact:").ok_or_else(missing)?;
        let target = contact.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned();
        let to = text(b"To:").ok_or_else(missing)?;
        let ack = format!(
            "ACK {target} SIP/2.0\r\n{}From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            self.via(&format!("a{pair}"))
        );
        wire.send(ack.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Dialog { target, from, to, call_id })
    }
}

/// The head of the next final response; what else comes is left out.
fn final_response(wire: &mut Wire, buffer: &mut Vec<u8>) -> Outcome<Vec<u8>> {
    let mut room = vec![0; ROOM];
    loop {
        while buffer.starts_with(b"\r\n") {
            buffer.drain(..2);
        }
        if let Some(message) = message(buffer)? {
            let (head, length) = (message.head.to_vec(), message.length);
            buffer.drain(..length);
            if head.starts_with(b"SIP/2.0 ") && head.get(8) != Some(&b'1') {
                return Ok(head);
            }
            continue;
        }
        let got = wire.receive(&mut room).map_err(|error| error.to_string())?;
        buffer.extend_from_slice(&room[..got.bytes]);
        if got.end && got.bytes == 0 {
            return Err("the connection ended before a session was open".to_owned());
        }
        if got.bytes == 0 {
            wire.until_readable().map_err(|error| error.to_string())?;
        }
    }
}
