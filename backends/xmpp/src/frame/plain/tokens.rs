//! The parts of a tag and of what is between tags. Invariant: each of them asks all that the scanner asks of that part, and nothing is
//! behind a stop that has not been taken.

use super::super::characters::{Reference, is_ascii_name_start, is_space, reference};
use super::super::namespaces::{Namespace, XML, XMLNS};
use super::super::wide::{Wide, word};
use super::kinds::{iq, message, presence};
use super::words::{AMP_APOS, AMP_GT, AMP_LT, AMP_QUOT, last_word, short};
use super::{DEPTH_MAX, ElementName, End, Name, Open, Tail, Walk};
use turnout_core::run::Address;
use turnout_core::stanza::{Kind, MessageType, Payload, PresenceType};

impl<W: Wide> Walk<'_, W> {
    /// The end tag at `start`; where it ends.
    #[inline(always)]
    pub(super) fn end_tag(&mut self, start: usize) -> Result<usize, End> {
        let stop = self.stop()?;
        if self.octet(stop) != b'>' || stop + 1 - start > self.rules.tag_bytes_max || self.depth == 0 {
            return Err(End::Odd);
        }
        let open = self.open[(self.depth - 1) % DEPTH_MAX];
        let (name, len) = (start + 2, open.len as usize);
        let behind = name + len;
        if behind > stop || self.short(name, len) != open.key {
            return Err(End::Odd);
        }
        if len > 8 {
            let tail = |from: usize| self.buf.get(from + 8..from + len);
            if tail(name) != tail(open.name as usize) {
                return Err(End::Odd);
            }
        }
        if behind != stop && !self.is_space(behind, stop) {
            return Err(End::Odd);
        }
        self.depth -= 1;
        self.declared -= open.declared as usize;
        Ok(stop + 1)
    }

    /// The end of a start tag, from behind its last attribute to the `>` at `stop`.
    #[inline(always)]
    pub(super) fn tail(&self, start: usize, at: usize, stop: usize) -> Result<Tail, End> {
        let end = stop + 1;
        if end - start > self.rules.tag_bytes_max {
            return Err(End::Odd);
        }
        if at == stop {
            return Ok(Tail::Open(end));
        }
        let empty = self.octet(stop - 1) == b'/';
        let spaces_end = stop - usize::from(empty);
        if at != spaces_end && !self.is_space(at, spaces_end) {
            return Err(End::Odd);
        }
        Ok(if empty { Tail::Empty(end) } else { Tail::Open(end) })
    }

    /// The name between `at` and the quote at `stop`: white space, name, `=`. Whether it is one is not asked.
    #[inline(always)]
    pub(super) fn attribute_name(&self, at: usize, stop: usize) -> Result<Name, End> {
        let (mut start, mut end) = (at + 1, stop.wrapping_sub(1));
        if stop < at + 3 {
            return Err(End::Odd);
        }
        if !(self.octet(at) == b' ' && self.octet(end) == b'=')
            || self.octet(start) <= b' '
            || self.octet(end - 1) <= b' '
        {
            (start, end) = spaced_name(self.buf, at, stop).ok_or(End::Odd)?;
        }
        let len = end - start;
        Ok(Name { key: self.short(start, len), start, len })
    }

    /// An attribute that means nothing here: its name must be one, and must not come twice.
    #[inline(always)]
    pub(super) fn other_name(&mut self, name: Name) -> Result<(), End> {
        let first = self.octet(name.start);
        let lang = name.key == short(b"xml:lang") && name.len == 8;
        let is_name = self.wide.name_len(self.buf, name.start) == name.len
            && is_ascii_name_start(first)
            && name.len <= self.rules.name_bytes_max.min(31);
        if !is_name && !lang {
            return Err(End::Odd);
        }
        let seen = self.names.get(..self.named).unwrap_or_default();
        #[cfg(test)]
        {
            self.compared += seen.len();
        }
        if seen.iter().any(|other| self.is_same(name, *other)) {
            return Err(End::Odd);
        }
        *self.names.get_mut(self.named).ok_or(End::Odd)? = name;
        self.named += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn is_same(&self, one: Name, other: Name) -> bool {
        let all = |name: Name| self.buf.get(name.start..name.start + name.len);
        one.key == other.key && one.len == other.len && (one.len <= 8 || all(one) == all(other))
    }

    /// The end of a value in which there is no reason to stop.
    #[inline(always)]
    pub(super) fn short_value(&mut self, quote: u8) -> Result<usize, End> {
        let at = self.stop()?;
        if self.octet(at) == quote { Ok(at) } else { Err(End::Odd) }
    }

    /// The end of any value.
    #[inline(always)]
    pub(super) fn value(&mut self, quote: u8) -> Result<usize, End> {
        loop {
            let at = self.stop()?;
            match self.octet(at) {
                octet if octet == quote => return Ok(at),
                b'&' => self.reference(at)?,
                b'\'' | b'"' | b'>' => {}
                _ => return Err(End::Odd),
            }
        }
    }

    #[inline(always)]
    pub(super) fn reference(&self, at: usize) -> Result<(), End> {
        let word = self.word(at);
        let known = matches!(word << 32, AMP_LT | AMP_GT)
            || word << 24 == short(b"&amp;")
            || matches!(word << 16, AMP_QUOT | AMP_APOS);
        if known { Ok(()) } else { numeric(self.buf, at) }
    }

    /// Whether the value of a declaration of the default namespace is none of those that are refused.
    #[inline(always)]
    pub(super) fn may_be_declared(&self, start: usize, end: usize) -> bool {
        let name = self.buf.get(start..end).unwrap_or_default();
        let reserved = (name.len() == XML.len() && name == XML.as_bytes())
            || (name.len() == XMLNS.len() && name == XMLNS.as_bytes());
        let breaks = |name: &[u8]| name.iter().any(|b| matches!(b, b'\t' | b'\n' | b'\r'));
        !(reserved || self.stops.may_be_rare(start) && breaks(name))
    }

    #[inline(always)]
    pub(super) fn address(&self, start: usize, end: usize) -> Result<Address, End> {
        let (at, slash) = self.wide.address(self.buf, start, end).ok_or(End::Odd)?;
        Ok(Address { start: start as u32, at: at as u32, slash: slash as u32, end: end as u32 })
    }

    /// What the first child of an iq asks.
    #[inline(always)]
    pub(super) fn payload(&self, name: Open, namespace: Option<(usize, usize)>) -> Payload {
        let Some(namespace) = namespace.and_then(|(start, end)| self.buf.get(start..end)) else {
            return Payload::Other;
        };
        let is = |known: Namespace| namespace == known.name().as_bytes();
        if name.key == short(b"query") && is(Namespace::DiscoInfo) {
            Payload::DiscoInfo
        } else if name.key == short(b"query") && is(Namespace::DiscoItems) {
            Payload::DiscoItems
        } else if name.key == short(b"ping") && is(Namespace::Ping) {
            Payload::Ping
        } else {
            Payload::Other
        }
    }

    /// Element and type; only the types that the standard has.
    #[inline(always)]
    pub(super) fn kind(&self, element: ElementName, value: Option<(usize, usize)>) -> Option<Kind> {
        let Some((start, end)) = value else {
            return match element {
                ElementName::Message => Some(Kind::Message(MessageType::Normal)),
                ElementName::Presence => Some(Kind::Presence(PresenceType::Available)),
                ElementName::Iq => None,
            };
        };
        if self.short(start, end - start) == short(b"chat") && matches!(element, ElementName::Message) {
            return Some(Kind::Message(MessageType::Chat));
        }
        let value = self.buf.get(start..end)?;
        match element {
            ElementName::Message => message(value).map(Kind::Message),
            ElementName::Presence => presence(value).map(Kind::Presence),
            ElementName::Iq => iq(value).map(Kind::Iq),
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, open: Open) -> Result<(), End> {
        *self.open.get_mut(self.depth).ok_or(End::Odd)? = open;
        self.depth += 1;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn is_space(&self, start: usize, end: usize) -> bool {
        self.buf.get(start..end).is_some_and(|gap| gap.iter().all(|&b| is_space(b)))
    }

    #[inline(always)]
    pub(super) fn stop(&mut self) -> Result<usize, End> {
        self.stops.take(self.wide, self.buf, &mut self.next).ok_or(End::Cut)
    }

    /// The octet at `at`; 0, which is nowhere, behind the end.
    #[inline(always)]
    pub(super) fn octet(&self, at: usize) -> u8 {
        self.buf.get(at).copied().unwrap_or(0)
    }

    /// Eight octets from `at`, the first one lowest; 0 for those behind the end.
    #[inline(always)]
    pub(super) fn word(&self, at: usize) -> u64 {
        word(self.buf, at).unwrap_or_else(|| last_word(self.buf, at))
    }

    /// As many octets from `at`, but at most eight, at the upper end of a word. Names have neither NUL nor none, so they are equal
    /// if these are, up to eight octets.
    #[inline(always)]
    pub(super) fn short(&self, at: usize, len: usize) -> u64 {
        self.word(at) << (64_usize.saturating_sub(8 * len) & 63)
    }
}

/// Whether a stanza with octets from 0x80 in it is UTF-8.
#[inline(never)]
pub(super) fn is_utf8(buf: &[u8], start: usize, end: usize) -> bool {
    buf.get(start..end).is_some_and(|stanza| simdutf8::basic::from_utf8(stanza).is_ok())
}

/// The references that are not looked up by the word: those with a number.
#[cold]
#[inline(never)]
fn numeric(buf: &[u8], at: usize) -> Result<(), End> {
    match reference(buf, at) {
        Reference::Char(..) => Ok(()),
        Reference::Cut => Err(End::Cut),
        Reference::Bad(..) => Err(End::Odd),
    }
}

/// White space, a name, `=`, with white space around it: where the name is. For tags written in an unusual way.
#[cold]
#[inline(never)]
fn spaced_name(buf: &[u8], at: usize, stop: usize) -> Option<(usize, usize)> {
    let between = buf.get(at..stop)?;
    let start = between.iter().position(|&b| !is_space(b))?;
    let (name, behind) = between.split_at_checked(memchr::memchr(b'=', between)?)?;
    let end = name.iter().rposition(|&b| !is_space(b))? + 1;
    let spaced = behind.get(1..)?.iter().all(|&b| is_space(b));
    (spaced && 0 < start && start < end).then_some((at + start, at + end))
}
