//! A stand-in for a Skype for Business Server 2019 pool: answers IM sessions, reads their messages and writes back in the same
//! dialog; is watched, and lets its users watch. Invariant: it follows the shapes of real clients as far as the demo needs them and proves nothing about the real
//! product; `tests/interop` has the stricter stand-in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use turnout_core::backend::{Backend, Destination, Fault, Sent, Verdict};
use turnout_core::home::HostPort;
use turnout_core::io::{Close, Closed, Door, LinkId, Outbox, Secured};
use turnout_core::refusal::{Blame, Bounce, Condition, Refusal, Retry};
use turnout_core::stanza::{Origin, Stanza};
use turnout_core::world::World;
use turnout_sip::frame::{Frame, Framer, Limits};
use turnout_sip::parse::{HeaderName, Message};
use turnout_sip::write::Builder;

use super::score::{Numbered, Score, Track};
use presence::Presences;

mod presence;

/// The name in the pool's certificate.
const POOL: &str = "pool2019.contoso.com";

/// How often it is looked whether somebody changes what he shows.
const PRESENCE_TICK: Duration = Duration::from_millis(25);

/// One side of a dialog.
struct Dialog {
    /// The local user with the pool's tag, as From of what he writes.
    ours: Vec<u8>,
    /// The partner's user with turnout's tag.
    theirs: Vec<u8>,
    /// Where requests in the dialog go.
    target: String,
    cseq: u32,
}

/// The backend.
pub struct Pool {
    score: Arc<Score>,
    framers: HashMap<LinkId, Framer>,
    dialogs: HashMap<String, Dialog>,
    branches: u64,
    presences: Presences,
    deadline: Option<Instant>,
}

impl Pool {
    /// A pool whose users count for this score.
    pub fn new(score: Arc<Score>, start: Instant) -> Self {
        Self {
            score,
            framers: HashMap::new(),
            dialogs: HashMap::new(),
            branches: 0,
            presences: Presences::default(),
            deadline: Some(start),
        }
    }

    fn message(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Option<()> {
        let message = Message::parse(bytes).ok()?;
        let Some(method) = message.method() else { return self.response(&message) };
        match method {
            b"INVITE" => self.invite(link, &message, out),
            b"MESSAGE" => self.text(now, link, &message, out),
            b"ACK" => Some(()),
            b"SUBSCRIBE" => self.subscribe(link, &message, out),
            b"NOTIFY" => self.notified(now, link, &message, out),
            b"BYE" => {
                self.dialogs.remove(message.call_id().ok()?);
                answer(link, &message, 200, None, out)
            }
            _ => answer(link, &message, 200, None, out),
        }
    }

    fn invite(&mut self, link: LinkId, request: &Message, out: &mut Outbox) -> Option<()> {
        let call_id = request.call_id().ok()?.to_owned();
        let user = request.to().ok()?.uri_text.to_owned();
        let tag = format!("p{}", self.dialogs.len());
        self.dialogs.insert(call_id, Dialog::answered(request, &tag)?);
        let sdp = format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=session\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 5060 sip {user}\r\n\
             a=accept-types:text/plain text/html multipart/alternative\r\n"
        );
        let response = Builder::answer(request, 200, "OK", Some(&tag)).ok()?;
        let response = response.header(HeaderName::Contact, &format!("<sip:{POOL};transport=tls>")).ok()?;
        out.transmit(link, response.finish_with("application/sdp", sdp.as_bytes()).ok()?);
        Some(())
    }

    fn text(&mut self, now: Instant, link: LinkId, request: &Message, out: &mut Outbox) -> Option<()> {
        let call_id = request.call_id().ok()?.to_owned();
        if !self.dialogs.contains_key(&call_id) {
            return answer(link, request, 481, None, out);
        }
        answer(link, request, 200, None, out)?;
        let body = request.body();
        let message = Numbered::parse(std::str::from_utf8(&body).ok()?)?;
        self.score.read(Track::Sip, message, now);
        self.score.replies_sent.fetch_add(1, Ordering::Relaxed);
        self.reply(link, &call_id, &message.text("got it"), out)
    }

    /// The local user writes back.
    fn reply(&mut self, link: LinkId, call_id: &str, text: &str, out: &mut Outbox) -> Option<()> {
        self.branches += 1;
        let branch = format!("pool{}", self.branches);
        let request = self.dialogs.get_mut(call_id)?.request("MESSAGE", call_id, &branch)?;
        out.transmit(link, request.finish_with("text/plain; charset=UTF-8", text.as_bytes()).ok()?);
        Some(())
    }

    /// An answer that was refused is a bounce; presence that was refused is asked for again.
    fn response(&mut self, response: &Message) -> Option<()> {
        if response.status()? < 300 {
            return Some(());
        }
        if response.cseq().ok()?.method == b"MESSAGE" {
            self.score.bounced.fetch_add(1, Ordering::Relaxed);
        } else {
            let call_id = response.call_id().ok()?.to_owned();
            self.refused(&call_id);
        }
        Some(())
    }
}

impl Dialog {
    /// The one that begins with this request, answered with this tag.
    fn answered(request: &Message, tag: &str) -> Option<Self> {
        let mut ours = request.header(HeaderName::To)?.to_vec();
        ours.extend_from_slice(format!(";tag={tag}").as_bytes());
        let theirs = request.header(HeaderName::From)?.to_vec();
        let target = request.contact().ok()??.uri_text.to_owned();
        Some(Self { ours, theirs, target, cseq: 1 })
    }

    /// The next request in it.
    fn request(&mut self, method: &str, call_id: &str, branch: &str) -> Option<Builder> {
        self.cseq += 1;
        let request = Builder::request(method, &self.target).ok()?;
        let request =
            request.header(HeaderName::Via, &format!("SIP/2.0/TLS {POOL};branch=z9hG4bK{branch}")).ok()?;
        let request = request.header(HeaderName::MaxForwards, "70").ok()?;
        let request = request.raw(HeaderName::From, &[&self.ours]).ok()?;
        let request = request.raw(HeaderName::To, &[&self.theirs]).ok()?;
        let request = request.header(HeaderName::CallId, call_id).ok()?;
        request.header(HeaderName::CSeq, &format!("{} {method}", self.cseq)).ok()
    }
}

fn answer(link: LinkId, request: &Message, code: u16, tag: Option<&str>, out: &mut Outbox) -> Option<()> {
    let reason = if code == 200 { "OK" } else { "Call Does Not Exist" };
    out.transmit(link, Builder::answer(request, code, reason, tag).ok()?.finish());
    Some(())
}

impl Backend for Pool {
    fn accepted(&mut self, _: Instant, link: LinkId, _: Door, _: &Arc<str>, _: &mut Outbox) {
        self.framers.insert(link, Framer::new(Limits::default()));
    }

    fn dial(&mut self, _: Instant, _: LinkId, _: &Destination, _: Option<&HostPort>, _: &mut Outbox) {}

    fn connected(&mut self, _: Instant, _: LinkId, _: bool, _: &mut Outbox) {}

    fn secured(&mut self, _: Instant, _: LinkId, _: Secured, _: &mut Outbox) {}

    fn receive(&mut self, now: Instant, link: LinkId, bytes: Bytes, out: &mut Outbox) -> Result<(), Fault> {
        let Some(framer) = self.framers.get_mut(&link) else { return Ok(()) };
        framer.feed(bytes);
        loop {
            let Some(framer) = self.framers.get_mut(&link) else { return Ok(()) };
            match framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    if self.message(now, link, bytes, out).is_none() {
                        out.close(link, Close::Flush);
                        return Err(fault("a message the demo's pool does not understand"));
                    }
                }
                Ok(Some(Frame::Ping)) => out.transmit(link, Bytes::from_static(b"\r\n")),
                Ok(Some(Frame::Blank)) => (),
                Ok(None) => return Ok(()),
                Err(_) => {
                    out.close(link, Close::Flush);
                    return Err(fault("not SIP"));
                }
            }
        }
    }

    fn send(&mut self, _: Instant, _: LinkId, stanza: Stanza, _: &mut Outbox) -> Sent {
        Sent::Answered(stanza)
    }

    fn closed(&mut self, _: Instant, link: LinkId, _: &Closed, _: &mut Outbox) {
        self.framers.remove(&link);
    }

    fn settle(&mut self, _: Instant, _: &Origin, _: Verdict<'_>, _: &mut Outbox) {}

    fn answer(&mut self, _: Instant, _: &Stanza, _: &mut Outbox) -> Result<(), Refusal> {
        Err(Refusal::new(
            Condition::ServiceUnavailable,
            Blame::Sender,
            Retry::Never,
            Bounce::No,
            "a pool speaks SIP",
        ))
    }

    fn adopt(&mut self, _: Instant, _: LinkId, _: Bytes, _: &mut Outbox) {}

    fn kept_for(&self, _: &str) -> usize {
        0
    }

    fn kept(&self) -> usize {
        0
    }

    fn configure(&mut self, _: Instant, _: &Arc<World>, _: &mut Outbox) {}

    fn drain(&mut self, _: Instant, _: &mut Outbox) {
        self.deadline = None;
    }

    fn wake(&mut self, now: Instant, out: &mut Outbox) {
        self.show(now, out);
        self.deadline = Some(now + PRESENCE_TICK);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

fn fault(text: &str) -> Fault {
    Fault { condition: "demo", text: text.to_owned() }
}
