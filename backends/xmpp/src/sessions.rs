//! Streams of peers whose connections broke and that may be resumed (XEP-0198 §5). Invariant: a session is given up to a claim that shows its
//! secret on a stream which has proven, by itself, the same two domains; once, and with nothing but a count in it: who may speak for whom
//! is never handed on. There are never more than [`SESSIONS_MAX`] of them on one side of a shard, none for longer than the configuration says.
//!
//! Whoever claims may have come to another shard than the one that keeps the session: the id names the link that is kept, so that the
//! claim can be carried there and the answer back. Where stanzas of the broken stream have not ended yet, the answer waits for their
//! end, so that nothing is sent again which is still on its way; for [`PATIENCE`] at most.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hashbrown::HashMap;
use subtle::ConstantTimeEq;
use turnout_core::io::{Ended, LinkId};
use turnout_core::jid::Domain;

use crate::inbound::acks::Acks;

/// Sessions kept.
pub(crate) const SESSIONS_MAX: usize = 1024;

/// Reads remembered in all of them, some forty bytes each.
const READS_MAX: usize = 65_536;

/// How long a claim waits for the end of what the broken stream brought.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Bits of a [`LinkId`] below its shard.
const SHARD_SHIFT: u32 = 48;

const CLAIM: &str = "claim ";
const CLAIMED: &str = "claimed ";

/// The id of a stream that may be resumed: where it is kept, and what cannot be guessed.
pub(crate) fn id(link: LinkId, secret: &str) -> String {
    format!("{:016x}-{secret}", link.get())
}

/// The wish to resume a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The link of the stream.
    pub(crate) link: LinkId,
    secret: String,
    /// The link of the stream that wants to.
    pub(crate) by: LinkId,
    /// Its domains, which it has proven.
    pub(crate) ours: Domain,
    /// As [`Self::ours`].
    pub(crate) theirs: Domain,
}

impl Claim {
    /// `None` for an id that is none of ours.
    pub(crate) fn new(id: &str, by: LinkId, ours: Domain, theirs: Domain) -> Option<Self> {
        let (number, secret) = id.split_once('-')?;
        if number.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = u64::from_str_radix(number, 16).ok()?;
        let link = LinkId::accepted((number >> SHARD_SHIFT) as u16, number);
        (link.get() == number).then(|| Self { link, secret: secret.to_owned(), by, ours, theirs })
    }

    /// Whether it shows this secret; in the same time wherever they differ.
    pub(crate) fn opens(&self, secret: Option<&str>) -> bool {
        secret.is_some_and(|secret| bool::from(secret.as_bytes().ct_eq(self.secret.as_bytes())))
    }

    /// For another shard.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let Self { link, secret, by: _, ours, theirs } = self;
        format!("{CLAIM}{} {ours} {theirs}", id(*link, secret)).into()
    }

    /// As another shard wrote it for the stream on this link.
    pub(crate) fn from_bytes(bytes: &[u8], by: LinkId) -> Option<Self> {
        // The secret is a peer's to write: domains hold no spaces, so they are read from the end.
        let mut words = std::str::from_utf8(bytes).ok()?.strip_prefix(CLAIM)?.rsplitn(3, ' ');
        let (theirs, ours) = (words.next()?, words.next()?);
        Self::new(words.next()?, by, Domain::parse(ours).ok()?, Domain::parse(theirs).ok()?)
    }
}

/// The answer to a claim: how many stanzas were handled; `None` where there is nothing to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The link of the stream that claimed.
    pub(crate) by: LinkId,
    /// The count.
    pub(crate) handled: Option<u64>,
}

impl Claimed {
    /// For another shard.
    pub(crate) fn to_bytes(self) -> Bytes {
        match self.handled {
            Some(handled) => format!("{CLAIMED}{handled}").into(),
            None => Bytes::from_static(CLAIMED.as_bytes()),
        }
    }

    /// As another shard wrote it.
    pub(crate) fn from_bytes(bytes: &[u8], by: LinkId) -> Option<Self> {
        let said = std::str::from_utf8(bytes).ok()?.strip_prefix(CLAIMED)?;
        Some(Self { by, handled: said.parse().ok() })
    }
}

/// What is remembered of a stream.
#[derive(Debug)]
pub(crate) struct Session {
    acks: Acks,
    ours: Domain,
    theirs: Domain,
    until: Instant,
    claimed: Option<LinkId>,
}

impl Session {
    pub(crate) fn new(acks: Acks, ours: Domain, theirs: Domain, until: Instant) -> Self {
        Self { acks, ours, theirs, until, claimed: None }
    }
}

/// The sessions of one side of one shard.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    kept: HashMap<LinkId, Session>,
    reads: usize,
}

impl Sessions {
    /// Whether there is room for what is to be remembered of a stream.
    pub(crate) fn has_room(&self) -> bool {
        self.kept.len() < SESSIONS_MAX && self.reads < READS_MAX
    }

    /// Whether this link's is kept.
    pub(crate) fn keep(&self, link: LinkId) -> bool {
        self.kept.contains_key(&link)
    }

    /// Keeps a session.
    pub(crate) fn insert(&mut self, link: LinkId, session: Session) {
        self.reads += session.acks.reads();
        self.kept.insert(link, session);
    }

    /// A claim; answered now, or by [`Self::answer`] later.
    pub(crate) fn claim(&mut self, now: Instant, link: LinkId, claim: &Claim) -> bool {
        let Some(session) = self.kept.get_mut(&link) else { return false };
        let fits = claim.opens(session.acks.secret())
            && (&session.ours, &session.theirs) == (&claim.ours, &claim.theirs)
            && session.claimed.is_none()
            && now < session.until;
        if fits {
            session.claimed = Some(claim.by);
            session.until = now + PATIENCE;
        }
        fits
    }

    /// Stanzas of a stream that is gone found their end.
    pub(crate) fn ended(&mut self, ended: &Ended) {
        if let Some(session) = self.kept.get_mut(&ended.link) {
            let before = session.acks.reads();
            session.acks.end(ended.arrived, u64::from(ended.count));
            self.reads = self.reads.saturating_sub(before.saturating_sub(session.acks.reads()));
        }
    }

    /// The answer to the claim for this link's session, if it can be given now; the session is no more then.
    pub(crate) fn answer(&mut self, now: Instant, link: LinkId) -> Option<Claimed> {
        let session = self.kept.get(&link)?;
        let by = session.claimed?;
        if session.acks.owes() && now < session.until {
            return None;
        }
        let session = self.remove(link)?;
        Some(Claimed { by, handled: Some(session.acks.handled()) })
    }

    /// Whether this link's session has been kept for long enough.
    pub(crate) fn is_over(&self, now: Instant, link: LinkId) -> bool {
        self.kept.get(&link).is_some_and(|session| session.until <= now)
    }

    /// When something is to be done about this link's session.
    pub(crate) fn due(&self, link: LinkId) -> Option<Instant> {
        self.kept.get(&link).map(|session| session.until)
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, link: LinkId) -> Option<Session> {
        let session = self.kept.remove(&link)?;
        self.reads = self.reads.saturating_sub(session.acks.reads());
        Some(session)
    }

    /// Forgets all; gives their links.
    pub(crate) fn clear(&mut self) -> Vec<LinkId> {
        self.reads = 0;
        self.kept.drain().map(|(link, _)| link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn what_one_shard_tells_another_is_read_back() {
        let (old, new) = (LinkId::accepted(3, 7), LinkId::accepted(1, 9));
        let id = id(old, "0123");
        let claim = Claim::new(&id, new, domain("contoso.com"), domain("partner.example")).unwrap();
        assert_eq!(claim.link, old);
        assert_eq!(Claim::from_bytes(&claim.to_bytes(), new), Some(claim.clone()));
        assert!(Claimed::from_bytes(&claim.to_bytes(), new).is_none());
        for handled in [None, Some(0), Some(u64::MAX)] {
            let claimed = Claimed { by: new, handled };
            assert_eq!(Claimed::from_bytes(&claimed.to_bytes(), new), Some(claimed));
            assert!(Claim::from_bytes(&claimed.to_bytes(), new).is_none());
        }
        // What a peer may write in the place of the secret says nothing of domains.
        let forged =
            Claim::new("0003800000000007-x evil.example evil.example", new, domain("a.b"), domain("c.d"));
        let read = Claim::from_bytes(&forged.as_ref().unwrap().to_bytes(), new);
        assert_eq!(read, forged);
    }

    #[test]
    fn what_is_no_id_of_ours_claims_nothing() {
        let by = LinkId::accepted(0, 1);
        let dialed = "0003000000000007-0123";
        for id in [
            "",
            "-",
            "x",
            "0003800000000007",
            "3-0123",
            "000380000000000g-0123",
            "+003800000000007-0123",
            dialed,
        ] {
            assert_eq!(Claim::new(id, by, domain("a.b"), domain("c.d")), None, "{id}");
        }
        let claim = Claim::new("0003800000000007-0123", by, domain("a.b"), domain("c.d")).unwrap();
        assert!(claim.opens(Some("0123")));
        assert!(!claim.opens(Some("0124")) && !claim.opens(Some("012")) && !claim.opens(None));
    }
}
