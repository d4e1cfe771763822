//! Stanzas that came in one piece, one behind the other, between the same two domains. Invariant: `bytes` are the accepted
//! bytes, in full and unchanged, and `heads` says of each stanza where it lies in them; a run costs one count of references
//! however many stanzas it holds, which is what makes passing them on cheap.

use std::ops::Range;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::durable::OnDisk;
use crate::io::{LinkId, Side};
use crate::jid::{Domain, Jid};
use crate::stanza::{Kind, Origin, Payload, Stanza};

/// Where an address lies in a run, in octets from the start of the run: `local@domain/resource`.
///
/// Its text is plain: ASCII, written without references, and preparing it changes nothing provided that its domain is a prepared
/// one. That the domain is one of those proven on the stream is for whoever makes the run to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// First octet of the local part.
    pub start: u32,
    /// The `@`.
    pub at: u32,
    /// The `/`, or the end where there is no resource.
    pub slash: u32,
    /// One past the last octet.
    pub end: u32,
}

impl Address {
    /// The local part.
    pub fn local(self) -> Range<usize> {
        self.start as usize..self.at as usize
    }

    /// The domain.
    pub fn domain(self) -> Range<usize> {
        self.at as usize + 1..self.slash as usize
    }

    /// `local@domain`.
    pub fn bare(self) -> Range<usize> {
        self.start as usize..self.slash as usize
    }

    /// All of it.
    pub fn whole(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One stanza of a run: what routing needs of it, in octets from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// First octet, the `<`.
    pub start: u32,
    /// One past the last octet.
    pub end: u32,
    /// Right behind the element's name, where attributes may be inserted.
    pub insert_at: u32,
    /// First octet of the raw value of `id`; equal to `id_end` where there is none.
    pub id_start: u32,
    /// One past its last octet.
    pub id_end: u32,
    /// Sender, with a local part.
    pub from: Address,
    /// Recipient, with a local part.
    pub to: Address,
    /// Element and type.
    pub kind: Kind,
    /// What an iq asks.
    pub payload: Payload,
    /// The stanza has an `xml:lang` of its own.
    pub has_lang: bool,
}

impl Head {
    /// The stanza within the run.
    pub fn whole(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Moves everything so many octets to the front.
    pub fn shift(&mut self, back: u32) {
        for offset in [
            &mut self.start,
            &mut self.end,
            &mut self.insert_at,
            &mut self.id_start,
            &mut self.id_end,
            &mut self.from.start,
            &mut self.from.at,
            &mut self.from.slash,
            &mut self.from.end,
            &mut self.to.start,
            &mut self.to.at,
            &mut self.to.slash,
            &mut self.to.end,
        ] {
            *offset = offset.saturating_sub(back);
        }
    }
}

/// From this size on a waiting run keeps the read it came in: at most four times as much memory.
const KEEP_BYTES_MIN: usize = 16 * 1024;

/// What travels in one piece.
#[derive(Clone, Debug)]
pub enum Load {
    /// One stanza.
    One(Stanza),
    /// Several.
    Run(Run),
}

impl Load {
    /// How many stanzas it is.
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Run(run) => run.len(),
        }
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets it takes on a stream.
    pub fn bytes(&self) -> usize {
        match self {
            Self::One(stanza) => stanza.len(),
            Self::Run(run) => run.bytes_left(),
        }
    }

    /// Its stanzas, each alone.
    pub fn into_stanzas(self) -> Vec<Stanza> {
        match self {
            Self::One(stanza) => vec![stanza],
            Self::Run(run) => run.stanzas().collect(),
        }
    }

    /// Whether any of its stanzas is between users for whom `is` says yes: asked with their bare addresses, the recipient's
    /// and the sender's.
    pub fn any_between(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        match self {
            Self::One(stanza) => is(stanza.to.bare_str(), stanza.from.bare_str()),
            Self::Run(run) => run.left().iter().any(|head| {
                let text = |range| std::str::from_utf8(run.text(range)).unwrap_or_default();
                is(text(head.to.bare()), text(head.from.bare()))
            }),
        }
    }
}

/// Stanzas of one read, all from one domain to one other, none made by the router, none that waits for a verdict.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the heads point into. Bytes between two stanzas, if any, belong to stanzas that go another way.
    pub bytes: Bytes,
    /// The stanzas, in the order they came.
    pub heads: Vec<Head>,
    /// Stanzas at the front of `heads` that have gone their way already.
    pub gone: usize,
    /// The domain of every sender.
    pub from: Domain,
    /// The domain of every recipient.
    pub to: Domain,
    /// The side it arrived on.
    pub side: Side,
    /// The link it arrived on.
    pub link: LinkId,
    /// When it arrived.
    pub arrived: Instant,
    /// Its first octet came as so many, among all that came to the shard that read it; see [`OnDisk::order`].
    pub order: u64,
    /// Written, at `insert_at`, into every stanza that has no `xml:lang` of its own: what it inherits from its stream.
    pub lang: Option<Bytes>,
}

impl Run {
    /// The same without stanzas.
    pub fn without_heads(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            heads: Vec::new(),
            gone: 0,
            from: self.from.clone(),
            to: self.to.clone(),
            side: self.side,
            link: self.link,
            arrived: self.arrived,
            order: self.order,
            lang: self.lang.clone(),
        }
    }

    /// Lets go of the read it came in, of which other parts may long be gone: for a run that has to wait. A run that is large keeps
    /// it, as copying saves little then.
    pub fn settle_down(&mut self) {
        let octets: usize = self.left().iter().map(|head| head.whole().len()).sum();
        if octets >= KEEP_BYTES_MIN || self.bytes.is_unique() {
            return;
        }
        let mut own = BytesMut::with_capacity(octets);
        let (bytes, gone) = (self.bytes.clone(), self.gone);
        for head in self.heads.iter_mut().skip(gone) {
            let back = head.start.saturating_sub(own.len() as u32);
            own.extend_from_slice(bytes.get(head.whole()).unwrap_or_default());
            head.shift(back);
        }
        self.heads.drain(..gone);
        self.gone = 0;
        self.bytes = own.freeze();
    }

    /// Stanzas that have not gone their way.
    pub fn len(&self) -> usize {
        self.heads.len().saturating_sub(self.gone)
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The heads of what is left.
    pub fn left(&self) -> &[Head] {
        self.heads.get(self.gone..).unwrap_or_default()
    }

    /// Octets one of its stanzas takes on a stream.
    pub fn written_len(&self, head: &Head) -> usize {
        let insert = match &self.lang {
            Some(lang) if !head.has_lang => lang.len(),
            _ => 0,
        };
        head.whole().len() + insert
    }

    /// Octets that what is left takes on a stream.
    pub fn bytes_left(&self) -> usize {
        self.left().iter().map(|head| self.written_len(head)).sum()
    }

    /// The octets of a range; empty where it does not lie within the run.
    pub fn text(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// One of its stanzas, to travel alone.
    pub fn stanza(&self, head: &Head) -> Stanza {
        let start = head.start;
        let relative = |from: u32, to: u32| from.saturating_sub(start)..to.saturating_sub(start);
        let jid = |address: Address| {
            let text = std::str::from_utf8(self.text(address.whole())).unwrap_or_default();
            let (local, bare) = (address.local().len(), address.bare().len());
            Jid::of_prepared(text, local, bare)
        };
        let whole = if head.whole().end <= self.bytes.len() { head.whole() } else { 0..0 };
        Stanza {
            kind: head.kind,
            from: jid(head.from),
            to: jid(head.to),
            bytes: self.bytes.slice(whole),
            insert_at: head.insert_at.saturating_sub(start),
            insert: self.lang.clone().filter(|_| !head.has_lang),
            from_span: relative(head.from.start, head.from.end),
            to_span: relative(head.to.start, head.to.end),
            id_span: relative(head.id_start, head.id_end),
            payload: head.payload,
            origin: Origin { side: self.side, link: self.link, ticket: 0 },
            arrived: self.arrived,
            made: false,
            attempts: 0,
            disk: OnDisk::came(self.order + u64::from(start)),
        }
    }

    /// What is left, each to travel alone.
    pub fn stanzas(&self) -> impl DoubleEndedIterator<Item = Stanza> {
        self.left().iter().map(|head| self.stanza(head))
    }

    /// Counts those as gone whose last octet is among the first `octets` of what was left, and says how many those are and how
    /// many octets they took.
    pub fn go(&mut self, octets: u64) -> (usize, u64) {
        let (count, taken) = self.count_within(octets);
        self.gone += count;
        (count, taken)
    }

    /// How many of those left end among the first `octets` of what is left, and how many octets they take.
    pub fn count_within(&self, octets: u64) -> (usize, u64) {
        let (mut count, mut taken) = (0, 0);
        for head in self.left() {
            let next = taken + self.written_len(head) as u64;
            if next > octets {
                break;
            }
            taken = next;
            count += 1;
        }
        (count, taken)
    }

    /// The slices to write for what is left, in order: neighbouring stanzas are one.
    pub fn pieces(&self) -> impl Iterator<Item = Range<usize>> {
        let mut left = self.left();
        std::iter::from_fn(move || {
            let (first, mut rest) = left.split_first()?;
            let mut piece = first.whole();
            while let Some((next, more)) = rest.split_first()
                && next.start as usize == piece.end
            {
                piece.end = next.end as usize;
                rest = more;
            }
            left = rest;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests;
