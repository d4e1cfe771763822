//! Stanzas as they nearly always are, checked at one go: whole in a read, in the stream's own namespace without prefixes,
//! with two plain addresses.
//!
//! Invariant: what is taken here the scanner would take as well, with the same places, and `arrival` would make the same stanza of
//! it; everything else is left to them. Nothing is refused here, so nothing has to be told of it: [`End::Odd`] says only
//! that somebody else must look.
//!
//! The walk goes from stop to stop ([`super::stops`]). What lies between two stops holds neither markup nor a character that is not
//! allowed; whether it is UTF-8 is asked once a stanza, where octets beyond ASCII were seen at all.

mod kinds;
mod shapes;
mod tokens;
mod words;

use super::characters::is_ascii_name_start;
use super::namespaces::Namespace;
use super::stops::Stops;
use super::wide::{Instructions, Task, Wide};
use kinds::well_shaped;
pub use shapes::Shapes;
use tokens::is_utf8;
use turnout_core::run::{Address, Head};
use turnout_core::stanza::Payload;
use words::{FROM, ID, TO, TYPE, XMLNS_NAME, key, short};

/// Most stanzas of one run.
pub(super) const HEADS_MAX: usize = 512;

/// Most octets looked at as one piece: places are counted in 32 bits.
const PIECE_BYTES_MAX: usize = 1 << 30;

/// Most elements inside each other, and most attributes of a tag, that are plain.
const DEPTH_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 16;

/// Longest name the walk compares without asking for its length.
const KNOWN_NAME_BYTES: usize = 8;

/// What the stream allows a plain stanza.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) stanza_bytes_max: usize,
    pub(super) depth_max: usize,
    pub(super) attributes_max: usize,
    pub(super) name_bytes_max: usize,
    pub(super) tag_bytes_max: usize,
    /// Declarations a stanza may have in scope at one point.
    pub(super) namespaces_max: usize,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// There are no more octets.
    Empty,
    /// As many stanzas as were asked for.
    Full,
    /// The next stanza goes on behind these octets, as far as one can see.
    Cut,
    /// What comes next is not plain.
    Odd,
}

/// How far a walk came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walked {
    /// Octets of the stanzas taken.
    pub(super) len: usize,
    pub(super) end: End,
    /// Octets that were looked at.
    #[cfg(test)]
    pub(super) work: usize,
}

/// Takes the plain stanzas at the front of `buf`, at most `most`.
pub(super) fn walk(
    instructions: Instructions,
    buf: &[u8],
    rules: &Rules,
    most: usize,
    shapes: &mut Shapes,
    heads: &mut Vec<Head>,
) -> Walked {
    let buf = buf.get(..PIECE_BYTES_MAX).unwrap_or(buf);
    if !begins_plain(buf) || rules.name_bytes_max < KNOWN_NAME_BYTES || rules.depth_max == 0 {
        let end = if buf.is_empty() { End::Empty } else { End::Odd };
        return Walked {
            len: 0,
            end,
            #[cfg(test)]
            work: 1,
        };
    }
    instructions.run(Stanzas { buf, rules, most, shapes, heads })
}

/// A first look, for which nothing has to be set up.
fn begins_plain(buf: &[u8]) -> bool {
    matches!(buf, [b'<', b'm' | b'p' | b'i', ..] | [b'<'])
}

struct Stanzas<'a> {
    buf: &'a [u8],
    rules: &'a Rules,
    most: usize,
    shapes: &'a mut Shapes,
    heads: &'a mut Vec<Head>,
}

impl Task for Stanzas<'_> {
    type Output = Walked;

    #[inline(always)]
    fn run<W: Wide>(self, wide: W) -> Walked {
        let mut stops = Stops::new();
        let suited = Shapes::suit(self.rules);
        let mut walk = Walk {
            wide,
            buf: self.buf,
            rules: self.rules,
            stops: &mut stops,
            next: 0,
            names: &mut [Name::default(); ATTRIBUTES_MAX],
            named: 0,
            open: &mut [Open::default(); DEPTH_MAX],
            depth: 0,
            declared: 0,
            #[cfg(test)]
            compared: 0,
        };
        let mut len = 0;
        let mut end = End::Full;
        for _ in 0..self.most {
            if suited && let Some(head) = walk.familiar(self.shapes, len) {
                self.heads.push(head);
                len = head.end as usize;
                continue;
            }
            match walk.stanza(len) {
                Ok(head) => {
                    if suited {
                        self.shapes.walked(self.buf, &head);
                    }
                    self.heads.push(head);
                    len = head.end as usize;
                }
                Err(why) => {
                    end = if len == self.buf.len() { End::Empty } else { why };
                    break;
                }
            }
        }
        Walked {
            len,
            end,
            #[cfg(test)]
            work: walk.stops.work() + walk.compared,
        }
    }
}

/// An element that is not closed yet.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// The first eight octets of the name, those it does not have being 0.
    key: u64,
    name: u32,
    len: u32,
    /// It has declared a namespace.
    declared: u32,
}

/// A name of an attribute.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    key: u64,
    start: usize,
    len: usize,
}

/// What the attributes of a stanza say.
#[derive(Default)]
struct Own {
    /// Ends at 0 where there is none.
    from: Address,
    to: Address,
    id: Option<(usize, usize)>,
    kind: Option<(usize, usize)>,
    has_lang: bool,
}

/// How a start tag ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Open(usize),
    Empty(usize),
}

#[derive(Clone, Copy)]
enum ElementName {
    Message,
    Presence,
    Iq,
}

/// Which attribute of a stanza it is.
#[derive(Clone, Copy)]
enum Which {
    From,
    To,
    Kind,
    Id,
    Lang,
    Namespace,
    Other(Name),
}

/// The walk itself. Tables are referred to, so that everything else can be kept in registers.
struct Walk<'a, W> {
    wide: W,
    buf: &'a [u8],
    rules: &'a Rules,
    stops: &'a mut Stops,
    /// Which of the stops comes next.
    next: usize,
    /// The names of a tag so far that mean nothing, to find one that comes twice.
    names: &'a mut [Name; ATTRIBUTES_MAX],
    named: usize,
    open: &'a mut [Open; DEPTH_MAX],
    depth: usize,
    /// Declarations of this stanza that are in scope.
    declared: usize,
    /// Names that were compared with others.
    #[cfg(test)]
    compared: usize,
}

impl<W: Wide> Walk<'_, W> {
    /// The stanza that begins at `start`, where the last one ended.
    #[inline(always)]
    fn stanza(&mut self, start: usize) -> Result<Head, End> {
        let word = self.word(start);
        if word as u8 != b'<' || self.stop()? != start {
            return Err(End::Odd);
        }
        let stop = self.stop()?;
        let (element, name, len) = if word == key(b"<message") {
            (ElementName::Message, short(b"message"), 7)
        } else if word == key(b"<presenc") && self.octet(start + 8) == b'e' {
            (ElementName::Presence, short(b"presence"), 8)
        } else if word & 0xFF_FFFF == key(b"<iq") {
            (ElementName::Iq, short(b"iq"), 2)
        } else {
            return Err(End::Odd);
        };
        let insert_at = start + 1 + len;
        (self.depth, self.declared) = (0, 0);
        let (own, tail) = self.own_tag(start, insert_at, stop)?;
        let kind = self.kind(element, own.kind).ok_or(End::Odd)?;
        if own.from.end == 0 || own.to.end == 0 {
            return Err(End::Odd);
        }
        let (end, children, payload) = match tail {
            Tail::Empty(end) => (end, 0, Payload::None),
            Tail::Open(_) => {
                self.push(Open { key: name, name: start as u32 + 1, len: len as u32, declared: 0 })?;
                self.content()?
            }
        };
        let payload = if matches!(element, ElementName::Iq) { payload } else { Payload::None };
        let fits =
            well_shaped(kind, own.id.is_some(), children) && end - start <= self.rules.stanza_bytes_max;
        if !fits || (self.stops.may_be_rare(start) && !is_utf8(self.buf, start, end)) {
            return Err(End::Odd);
        }
        let (id_start, id_end) = own.id.unwrap_or((start, start));
        Ok(Head {
            start: start as u32,
            end: end as u32,
            insert_at: insert_at as u32,
            id_start: id_start as u32,
            id_end: id_end as u32,
            from: own.from,
            to: own.to,
            kind,
            payload,
            has_lang: own.has_lang,
        })
    }

    /// The attributes of a stanza, from behind its name; `stop` is the next stop.
    #[inline(always)]
    fn own_tag(&mut self, start: usize, behind_name: usize, mut stop: usize) -> Result<(Own, Tail), End> {
        let mut own = Own::default();
        let (mut at, mut left) = (behind_name, self.rules.attributes_max);
        self.named = 0;
        loop {
            let quote = self.octet(stop);
            if quote == b'>' {
                return Ok((own, self.tail(start, at, stop)?));
            }
            if quote != b'\'' && quote != b'"' || left == 0 {
                return Err(End::Odd);
            }
            left -= 1;
            let which = self.which(at, stop)?;
            let value = stop + 1;
            let end;
            match which {
                Which::From if own.from.end == 0 => {
                    end = self.short_value(quote)?;
                    own.from = self.address(value, end)?;
                }
                Which::To if own.to.end == 0 => {
                    end = self.short_value(quote)?;
                    own.to = self.address(value, end)?;
                }
                Which::Kind if own.kind.is_none() => {
                    end = self.short_value(quote)?;
                    own.kind = Some((value, end));
                }
                Which::Id if own.id.is_none() => {
                    end = self.value(quote)?;
                    own.id = Some((value, end));
                }
                Which::Lang if !own.has_lang => {
                    end = self.value(quote)?;
                    own.has_lang = true;
                }
                Which::Namespace if self.declared == 0 && self.rules.namespaces_max > 0 => {
                    end = self.short_value(quote)?;
                    self.declared = 1;
                    if self.buf.get(value..end) != Some(Namespace::Server.name().as_bytes()) {
                        return Err(End::Odd);
                    }
                }
                Which::Other(name) => {
                    end = self.value(quote)?;
                    self.other_name(name)?;
                }
                _ => return Err(End::Odd),
            }
            at = end + 1;
            stop = self.stop()?;
        }
    }

    /// Which attribute has its name between `at` and the quote at `stop`.
    #[inline(always)]
    fn which(&self, at: usize, stop: usize) -> Result<Which, End> {
        let between = self.short(at, stop - at);
        Ok(if between == short(b" from=") {
            Which::From
        } else if between == short(b" to=") {
            Which::To
        } else if between == short(b" type=") {
            Which::Kind
        } else if between == short(b" id=") {
            Which::Id
        } else {
            let name = self.attribute_name(at, stop)?;
            let lang = short(b"xml:lang");
            match name.key {
                FROM => Which::From,
                TO => Which::To,
                TYPE => Which::Kind,
                ID => Which::Id,
                XMLNS_NAME => Which::Namespace,
                key if key == lang && name.len == 8 => Which::Lang,
                _ => Which::Other(name),
            }
        })
    }

    /// What is inside a stanza, up to its end: where that is, how many children it has and what the first one asks.
    #[inline(always)]
    fn content(&mut self) -> Result<(usize, usize, Payload), End> {
        let (mut children, mut payload) = (0, Payload::None);
        loop {
            let at = self.stop()?;
            let octet = self.octet(at);
            if octet == b'<' {
                let next = self.octet(at + 1);
                if next == b'/' {
                    let end = self.end_tag(at)?;
                    if self.depth == 0 {
                        return Ok((end, children, payload));
                    }
                    continue;
                }
                let first_level = self.depth == 1;
                let asked = self.child(at, next, first_level && children == 0)?;
                if first_level {
                    if children == 0 {
                        payload = asked;
                    }
                    children += 1;
                }
            } else if octet == b'&' {
                self.reference(at)?;
            } else if octet == b'>' {
                if self.buf.get(..at).is_some_and(|before| before.ends_with(b"]]")) {
                    return Err(End::Odd);
                }
            } else if octet != b'\'' && octet != b'"' {
                return Err(End::Odd);
            }
        }
    }

    /// A start tag inside a stanza, and what it asks if that matters.
    #[inline(always)]
    fn child(&mut self, start: usize, first: u8, ask: bool) -> Result<Payload, End> {
        let mut stop = self.stop()?;
        let len = self.wide.name_len(self.buf, start + 1);
        if !is_ascii_name_start(first) || first == b':' || len > self.rules.name_bytes_max.min(31) {
            return Err(End::Odd);
        }
        let name =
            Open { key: self.short(start + 1, len), name: start as u32 + 1, len: len as u32, declared: 0 };
        let mut at = start + 1 + len;
        let mut namespace = None;
        self.named = 0;
        let mut left = self.rules.attributes_max;
        loop {
            let quote = self.octet(stop);
            if quote == b'>' {
                break;
            }
            if quote != b'\'' && quote != b'"' || left == 0 {
                return Err(End::Odd);
            }
            left -= 1;
            let value = stop + 1;
            let end;
            let plainly = self.short(at, stop - at) == short(b" xmlns=");
            let name = if plainly {
                Name { key: XMLNS_NAME, ..Name::default() }
            } else {
                self.attribute_name(at, stop)?
            };
            if name.key == XMLNS_NAME {
                end = self.short_value(quote)?;
                if namespace.is_some() || !self.may_be_declared(value, end) {
                    return Err(End::Odd);
                }
                namespace = Some((value, end));
            } else {
                end = self.value(quote)?;
                self.other_name(name)?;
            }
            at = end + 1;
            stop = self.stop()?;
        }
        let tail = self.tail(start, at, stop)?;
        let declared = u32::from(namespace.is_some());
        if self.declared + declared as usize > self.rules.namespaces_max || self.depth >= self.rules.depth_max
        {
            return Err(End::Odd);
        }
        if let Tail::Open(_) = tail {
            self.declared += declared as usize;
            self.push(Open { declared, ..name })?;
        }
        let asked = if ask { self.payload(name, namespace) } else { Payload::None };
        Ok(asked)
    }
}
