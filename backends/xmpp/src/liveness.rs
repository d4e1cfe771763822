//! Whether a partner still lives, asked with XEP-0199 pings where nothing else tells (XI-02). Invariant: a stream is cut for
//! silence only after this partner has shown that it answers pings at all, and an answer counts only for the ping of that very
//! id that was put to the domain it comes from, once (XR-08).
//!
//! The ping goes out on our stream, the answer comes in on the partner's own, which another shard may have: the id names the
//! link that asked, so that whoever reads the answer can carry it there.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use turnout_core::io::LinkId;
use turnout_core::jid::Domain;
use turnout_core::stanza::{IqType, Kind, Stanza};

use crate::write;

/// How long an answer may take: the partner may have to open a stream to us for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Partners remembered. Those beyond get white space only.
const PARTNERS_MAX: usize = 4096;

/// What begins the id of a ping.
const PREFIX: &str = "ping-";

/// What cannot be guessed in it: 128 bit in hexadecimal.
const SECRET_CHARACTERS: usize = 32;

/// Bits of a [`LinkId`] below its shard.
const SHARD_SHIFT: u32 = 48;

/// What is known of one partner domain on this shard.
#[derive(Debug, Default)]
struct Life {
    /// Streams out to it.
    streams: u32,
    /// When anything came from it last, on any stream that proved to be its own.
    heard: Option<Instant>,
    /// It has answered a ping, and was not cut off for silence since.
    answers: bool,
}

/// What is known of the partners that streams go out to.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    known: HashMap<Domain, Life>,
}

impl Lives {
    /// A stream out is opened.
    pub(crate) fn open(&mut self, theirs: &Domain) {
        if self.known.len() >= PARTNERS_MAX && !self.known.contains_key(theirs) {
            self.known.retain(|_, life| life.streams > 0);
            if self.known.len() >= PARTNERS_MAX {
                return;
            }
        }
        let life = self.known.entry(theirs.clone()).or_default();
        life.streams = life.streams.saturating_add(1);
    }

    /// A stream out is gone. That the partner answers pings is remembered for the next one.
    pub(crate) fn close(&mut self, theirs: &Domain) {
        if let Some(life) = self.known.get_mut(theirs) {
            life.streams = life.streams.saturating_sub(1);
        }
    }

    /// Something came from the partner itself.
    pub(crate) fn heard(&mut self, theirs: &Domain, now: Instant) {
        if let Some(life) = self.known.get_mut(theirs) {
            life.heard = Some(now);
        }
    }

    /// A ping of ours was answered.
    pub(crate) fn answered(&mut self, theirs: &Domain, now: Instant) {
        if let Some(life) = self.known.get_mut(theirs) {
            life.heard = Some(now);
            life.answers = true;
        }
    }
}

/// A ping that waits for its answer.
#[derive(Debug)]
struct Asked {
    id: String,
    at: Instant,
}

/// What is to be done about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing.
    Fine,
    /// Ask.
    Ask,
    /// A ping was not answered, and this partner never answered any: it is asked no more on this stream.
    Deaf,
    /// A ping was not answered, and this partner used to answer.
    Dead,
}

/// What one stream out knows of its peer's life.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard: Instant,
    asked: Option<Asked>,
    deaf: bool,
}

impl Pulse {
    /// A new stream's.
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: now, asked: None, deaf: false }
    }

    /// The peer said something on the stream itself.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// When [`Self::look`] is wanted; `None` while nothing is asked on this stream.
    pub(crate) fn due(&self, keep_alive: Duration) -> Option<Instant> {
        match &self.asked {
            Some(asked) => Some(asked.at + PATIENCE),
            None if self.deaf => None,
            None => Some(self.heard + keep_alive),
        }
    }

    /// Judges the silence, if there is one.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        keep_alive: Duration,
        theirs: &Domain,
        lives: &mut Lives,
    ) -> Look {
        // Who is not remembered is not asked: an answer of his would not be either.
        let Some(life) = lives.known.get_mut(theirs) else {
            self.deaf = true;
            return Look::Fine;
        };
        if let Some(at) = life.heard {
            self.heard = self.heard.max(at);
        }
        // A sign of life after the question is as good as its answer.
        if self.asked.as_ref().is_some_and(|asked| self.heard > asked.at) {
            self.asked = None;
        }
        if self.due(keep_alive).is_none_or(|due| now < due) {
            return Look::Fine;
        }
        if self.asked.take().is_none() {
            return Look::Ask;
        }
        if life.answers {
            // It has to answer again before it is cut again: a partner that gave up answering is cut once.
            life.answers = false;
            return Look::Dead;
        }
        self.deaf = true;
        Look::Deaf
    }

    /// Notes a question that was put.
    pub(crate) fn asked(&mut self, id: String, at: Instant) {
        self.asked = Some(Asked { id, at });
    }

    /// Whether this id is that of the ping that waits; if so, it waits no more.
    pub(crate) fn is_answered_by(&mut self, id: &str, now: Instant) -> bool {
        let fits = self.asked.as_ref().is_some_and(|asked| asked.id == id);
        if fits {
            self.asked = None;
            self.heard = now;
        }
        fits
    }
}

/// The id of a ping: who asks, and what nobody can guess.
pub(crate) fn id(link: LinkId, secret: &str) -> String {
    format!("{PREFIX}{:016x}-{secret}", link.get())
}

/// A ping between two domains.
pub(crate) fn ping(ours: &Domain, theirs: &Domain, id: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(160 + ours.len() + theirs.len());
    out.extend_from_slice(b"<iq");
    for (name, value) in [("type", "get"), ("id", id), ("from", ours), ("to", theirs)] {
        write::attribute(&mut out, name, value);
    }
    out.extend_from_slice(b"><ping xmlns='urn:xmpp:ping'/></iq>");
    out.freeze()
}

/// What may be the answer to a ping, on its way to the stream that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pong {
    /// The id it answers.
    pub(crate) id: String,
    /// Our domain.
    pub(crate) ours: Domain,
    /// The domain that answers.
    pub(crate) theirs: Domain,
}

impl Pong {
    /// Reads a stanza addressed to one of our domains: a result or an error between two bare domains with an id of our making.
    /// Any answer tells that the partner lives, also that it knows no pings.
    pub(crate) fn of(stanza: &Stanza) -> Option<Self> {
        let bare = |jid: &turnout_core::jid::Jid| jid.local().is_none() && jid.resource().is_none();
        if !matches!(stanza.kind, Kind::Iq(IqType::Result | IqType::Error))
            || !bare(&stanza.from)
            || !bare(&stanza.to)
        {
            return None;
        }
        let id = std::str::from_utf8(stanza.raw(&stanza.id_span)).ok()?;
        let pong =
            Self { id: id.to_owned(), ours: Domain::from(&stanza.to), theirs: Domain::from(&stanza.from) };
        pong.link().map(|_| pong)
    }

    /// The link the id names.
    pub(crate) fn link(&self) -> Option<LinkId> {
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let (link, secret) = self.id.strip_prefix(PREFIX)?.split_once('-')?;
        if !hex(link, 16) || !hex(secret, SECRET_CHARACTERS) {
            return None;
        }
        let number = u64::from_str_radix(link, 16).ok()?;
        let shard = u16::try_from(number >> SHARD_SHIFT).ok()?;
        let link = LinkId::dialed(shard, number);
        (link.get() == number).then_some(link)
    }

    /// As one shard tells it to another. A space is in no domain and in no id of ours.
    pub(crate) fn to_bytes(&self) -> Bytes {
        format!("{} {} {}", self.ours.as_str(), self.theirs.as_str(), self.id).into()
    }

    /// Reads what another shard told.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.splitn(3, ' ');
        let (ours, theirs) = (Domain::parse(parts.next()?).ok()?, Domain::parse(parts.next()?).ok()?);
        Some(Self { id: parts.next()?.to_owned(), ours, theirs })
    }
}

/// That a partner lives though he cannot be heard, as one shard tells it to another.
pub(crate) struct Alive;

impl Alive {
    const WORD: &[u8] = b"alive ";

    /// What is told.
    pub(crate) fn to_bytes(theirs: &Domain) -> Bytes {
        [Self::WORD, theirs.as_bytes()].concat().into()
    }

    /// Reads what another shard told.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Domain> {
        Domain::parse(std::str::from_utf8(bytes.strip_prefix(Self::WORD)?).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn an_id_names_its_link_and_nothing_else_is_one() {
        let check = |id: &str, expected: Option<LinkId>| {
            let pong = Pong { id: id.to_owned(), ours: domain("a.test"), theirs: domain("b.test") };
            assert_eq!(pong.link(), expected, "{id}");
        };
        let secret = "0123456789abcdef".repeat(2);
        for link in [LinkId::dialed(0, 1), LinkId::dialed(u16::MAX, 77)] {
            check(&id(link, &secret), Some(link));
        }
        check(&id(LinkId::accepted(3, 1), &secret), None);
        check(&id(LinkId::dialed(3, 1), ""), None);
        check(&id(LinkId::dialed(3, 1), &format!("{secret}0")), None);
        check(&id(LinkId::dialed(3, 1), &secret.to_uppercase()), None);
        check(&format!("ping-+000000000000001-{secret}"), None);
        check(&format!("ping-000000000000001-{secret}"), None);
        check(&format!("pong-0000000000000001-{secret}"), None);
        check("", None);
    }

    #[test]
    fn what_one_shard_tells_another_is_read_back() {
        let pong = Pong {
            id: id(LinkId::dialed(2, 9), &"f".repeat(32)),
            ours: domain("contoso.com"),
            theirs: domain("m\u{fc}nchen.example"),
        };
        assert_eq!(Pong::from_bytes(&pong.to_bytes()), Some(pong));
        for bad in [&b""[..], b"contoso.com", b"contoso.com partner.example", b"\xff b c", b"a@b c d"] {
            assert_eq!(Pong::from_bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn who_cannot_be_heard_is_told_apart_from_an_answer() {
        let theirs = domain("m\u{fc}nchen.example");
        let told = Alive::to_bytes(&theirs);
        assert_eq!(Alive::from_bytes(&told), Some(theirs));
        assert_eq!(Pong::from_bytes(&told), None);
        let pong =
            Pong { id: id(LinkId::dialed(2, 9), "f"), ours: domain("alive"), theirs: domain("b.test") };
        assert_eq!(Alive::from_bytes(&pong.to_bytes()), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs one instant to count from")]
    fn partners_without_a_stream_are_forgotten_when_there_are_too_many() {
        let mut lives = Lives::default();
        let kept = domain("kept.test");
        lives.open(&kept);
        for n in 1..PARTNERS_MAX {
            let one = domain(&format!("p{n}.test"));
            lives.open(&one);
            lives.close(&one);
        }
        assert_eq!(lives.known.len(), PARTNERS_MAX);
        lives.open(&domain("more.test"));
        assert_eq!(lives.known.len(), 2);
        assert!(lives.known.contains_key(&kept));
        for n in 2..PARTNERS_MAX {
            lives.open(&domain(&format!("q{n}.test")));
        }
        let late = domain("late.test");
        lives.open(&late);
        assert_eq!(lives.known.len(), PARTNERS_MAX);
        // It is not asked, as nobody could remember the answer.
        let start = Instant::now();
        let mut pulse = Pulse::new(start);
        let later = start + Duration::from_secs(1000);
        assert_eq!(pulse.look(later, Duration::from_secs(300), &late, &mut lives), Look::Fine);
        assert_eq!(pulse.due(Duration::from_secs(300)), None);
    }
}
