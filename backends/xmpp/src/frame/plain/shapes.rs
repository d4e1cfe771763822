//! Stanzas written like others before them. What repeats – names, quotes, types, namespaces, end tags – is compared as a whole with what was
//! seen before, and only what differs is looked at: the values of attributes and the text.
//!
//! Invariant: what fits a shape the walk would take as well, with the same head, so what shapes are known changes no answer. A shape is made
//! only of a stanza the walk has taken; a literal's octets are compared, so names, nesting, namespaces and types are those of
//! that stanza; a hole holds nothing at which the walk would do more than pass on, or the same is asked of it here. What fits no
//! shape is no worse for it: the walk looks. Memory is bounded, and so is what is spent in vain: who writes every stanza
//! another way is not compared any more.
//!
//! The literals of all shapes are a tree: what begins alike is compared once.

use super::super::wide::{BLOCK, Wide};
use super::{Rules, Walk};
use turnout_core::run::{Address, Head};
use turnout_core::stanza::{Kind, Payload};

/// Literals, their octets, and shapes that are remembered.
const NODES_MAX: usize = 160;
const OCTETS_MAX: usize = 6 * 1024;
const ENDINGS_MAX: usize = 48;

/// Most elements inside each other, most attributes of a tag and most declarations of a stanza that has a shape. Streams that are
/// allowed less do without shapes.
const DEPTH_MAX: usize = 8;
const ATTRIBUTES_MAX: usize = 8;
const NAMESPACES_MAX: usize = 8;

/// Longest stanza of which a shape is made.
const LEARNED_BYTES_MAX: usize = 2048;

/// What learning a shape costs, where a stanza the walk takes pays one: so much more than the walk it is. And what there is at most.
const LEARNING_COSTS: u32 = 48;
const CREDIT_MAX: u32 = 32 * LEARNING_COSTS;

/// Stanzas after which is looked whether more fitted than did not, and for how many it is left at that if not.
const WINDOW_STANZAS: u32 = 1024;
const REST_STANZAS: u32 = 16 * 1024;

/// No node.
const NIL: u16 = u16::MAX;

/// What stands behind a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    /// The value of `from`.
    From,
    /// The value of `to`.
    To,
    /// The value of `id`.
    Id,
    /// A value that means nothing here.
    Value,
    /// Text between tags.
    Text,
    /// Nothing: the stanza is over.
    End,
}

/// A literal, what stands behind it, and what may come then.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where its octets are.
    at: u16,
    len: u16,
    /// Stops in it, without the one at its front that ends the hole before it.
    stops: u16,
    /// The first literal behind the hole; of an end, the number of its ending.
    child: u16,
    /// Another literal that may stand here instead.
    sibling: u16,
    hole: Hole,
}

/// What a stanza is, by its literals.
#[derive(Clone, Copy, Debug)]
struct Ending {
    /// Behind the name, from the start of the stanza.
    insert: u32,
    kind: Kind,
    payload: Payload,
    has_lang: bool,
}

/// The shapes of the stanzas that streams carried, for any number of streams.
#[derive(Debug)]
pub struct Shapes {
    nodes: Vec<Node>,
    octets: Vec<u8>,
    endings: Vec<Ending>,
    /// The first literal a stanza may begin with.
    first: u16,
    credit: u32,
    hits: u32,
    misses: u32,
    /// Stanzas for which none is tried.
    rest: u32,
    /// All that ever fitted.
    #[cfg(test)]
    pub(in super::super) all_hits: u64,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            octets: Vec::new(),
            endings: Vec::new(),
            first: NIL,
            credit: CREDIT_MAX,
            hits: 0,
            misses: 0,
            rest: 0,
            #[cfg(test)]
            all_hits: 0,
        }
    }
}

impl Shapes {
    /// Whether a stream with these rules may use them.
    pub(super) fn suit(rules: &Rules) -> bool {
        rules.depth_max >= DEPTH_MAX
            && rules.attributes_max >= ATTRIBUTES_MAX
            && rules.namespaces_max >= NAMESPACES_MAX
            && rules.name_bytes_max >= 31
    }

    /// The walk has taken a stanza that fitted none.
    #[inline(always)]
    pub(super) fn walked(&mut self, buf: &[u8], head: &Head) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.misses += 1;
        self.credit = (self.credit + 1).min(CREDIT_MAX);
        if self.credit >= LEARNING_COSTS {
            self.learn(buf, head);
        }
        self.judge();
    }

    #[inline(always)]
    fn fitted(&mut self) {
        self.hits += 1;
        #[cfg(test)]
        {
            self.all_hits += 1;
        }
        self.judge();
    }

    #[inline(always)]
    fn judge(&mut self) {
        if self.hits + self.misses >= WINDOW_STANZAS {
            if self.hits < self.misses {
                self.forget();
            }
            (self.hits, self.misses) = (0, 0);
        }
    }

    #[cold]
    fn forget(&mut self) {
        self.nodes.clear();
        self.octets.clear();
        self.endings.clear();
        (self.first, self.rest, self.credit) = (NIL, REST_STANZAS, CREDIT_MAX);
    }

    /// Remembers the shape of a stanza.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, buf: &[u8], head: &Head) {
        self.credit -= LEARNING_COSTS;
        let stanza = buf.get(head.whole()).unwrap_or_default();
        if stanza.len() <= LEARNED_BYTES_MAX && parts(stanza, head, &mut |_, _| ()).is_some() {
            let mut place = Place::First;
            // Where there is no more room, what is there so far leads nowhere, which is no harm.
            let mut room = true;
            parts(stanza, head, &mut |literal, hole| {
                room = room && self.put(&mut place, literal, hole, head).is_some();
            });
        }
    }

    /// Puts a literal behind `place`, unless it is there.
    fn put(&mut self, place: &mut Place, literal: &[u8], hole: Hole, head: &Head) -> Option<()> {
        let mut next = match *place {
            Place::First => self.first,
            Place::Behind(node) => self.nodes.get(node)?.child,
        };
        let mut last = None;
        while let Some(node) = self.nodes.get(usize::from(next)) {
            let (at, len) = (usize::from(node.at), usize::from(node.len));
            if node.hole == hole && self.octets.get(at..at + len) == Some(literal) {
                *place = Place::Behind(usize::from(next));
                return Some(());
            }
            last = Some(usize::from(next));
            next = node.sibling;
        }
        let used = self.octets.len().saturating_sub(BLOCK);
        if self.nodes.len() >= NODES_MAX
            || used + literal.len() > OCTETS_MAX
            || self.endings.len() >= ENDINGS_MAX
        {
            return None;
        }
        let stops = literal.iter().filter(|&&octet| is_stop(octet)).count();
        let taken = usize::from(!matches!(place, Place::First));
        self.octets.truncate(used);
        self.octets.extend_from_slice(literal);
        // A block can be read of any literal.
        self.octets.resize(used + literal.len() + BLOCK, 0);
        let child = if hole == Hole::End { self.endings.len() as u16 } else { NIL };
        if hole == Hole::End {
            self.endings.push(Ending {
                insert: head.insert_at - head.start,
                kind: head.kind,
                payload: head.payload,
                has_lang: head.has_lang,
            });
        }
        let number = self.nodes.len();
        self.nodes.push(Node {
            at: used as u16,
            len: literal.len() as u16,
            stops: (stops - taken) as u16,
            child,
            sibling: NIL,
            hole,
        });
        let link = match (last, &*place) {
            (Some(last), _) => &mut self.nodes.get_mut(last)?.sibling,
            (None, Place::First) => &mut self.first,
            (None, Place::Behind(node)) => &mut self.nodes.get_mut(*node)?.child,
        };
        *link = number as u16;
        *place = Place::Behind(number);
        Some(())
    }
}

/// Where in the tree.
enum Place {
    First,
    Behind(usize),
}

impl<W: Wide> Walk<'_, W> {
    /// The stanza at `start`, if it is like one before.
    #[inline(always)]
    pub(super) fn familiar(&mut self, shapes: &mut Shapes, start: usize) -> Option<Head> {
        if shapes.first == NIL {
            return None;
        }
        let (next, windows) = (self.next, self.stops.windows());
        let head = self.fitting(shapes, start);
        if head.is_some() {
            shapes.fitted();
        } else if self.stops.windows() == windows {
            self.next = next;
        } else {
            // The stops at `start` are gone, and the walk needs them again.
            self.next = 0;
            self.stops.rewind(start);
        }
        head
    }

    #[inline(always)]
    fn fitting(&mut self, shapes: &Shapes, start: usize) -> Option<Head> {
        let (mut from, mut to, mut id) = (Address::default(), Address::default(), (start, start));
        let (mut number, mut at) = (shapes.first, start);
        let (ending, end) = loop {
            let node = loop {
                let node = shapes.nodes.get(usize::from(number))?;
                if self.is_alike(&shapes.octets, usize::from(node.at), at, usize::from(node.len)) {
                    break node;
                }
                number = node.sibling;
            };
            self.pass(usize::from(node.stops))?;
            let behind = at + usize::from(node.len);
            // That a value ends where a stop is, the literal behind it says, which begins with the quote.
            match node.hole {
                Hole::From => {
                    at = self.stop().ok()?;
                    from = self.address(behind, at).ok()?;
                }
                Hole::To => {
                    at = self.stop().ok()?;
                    to = self.address(behind, at).ok()?;
                }
                Hole::Id => {
                    at = self.stop().ok()?;
                    id = (behind, at);
                }
                Hole::Value => at = self.stop().ok()?,
                Hole::Text => at = self.text_end()?,
                Hole::End => break (shapes.endings.get(usize::from(node.child))?, behind),
            }
            number = node.child;
        };
        // What is longer than one tag may be is left to the walk, which looks at each tag.
        if end - start > self.rules.tag_bytes_max.min(self.rules.stanza_bytes_max)
            || (self.stops.may_be_rare(start) && !super::is_utf8(self.buf, start, end))
        {
            return None;
        }
        Some(Head {
            start: start as u32,
            end: end as u32,
            insert_at: start as u32 + ending.insert,
            id_start: id.0 as u32,
            id_end: id.1 as u32,
            from,
            to,
            kind: ending.kind,
            payload: ending.payload,
            has_lang: ending.has_lang,
        })
    }

    /// Whether the octets at `at` are those of a literal.
    #[inline(always)]
    fn is_alike(&mut self, octets: &[u8], mut literal: usize, mut at: usize, mut len: usize) -> bool {
        #[cfg(test)]
        {
            self.compared += len;
        }
        let buf = self.buf;
        loop {
            let these = octets.get(literal..).and_then(|rest| rest.first_chunk::<BLOCK>());
            let those = buf.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>());
            let (Some(these), Some(those)) = (these, those) else {
                return ends_alike(octets, literal, buf, at, len);
            };
            let differing = self.wide.differing(these, those);
            if len <= BLOCK {
                return differing << (BLOCK - len) == 0;
            }
            if differing != 0 {
                return false;
            }
            (literal, at, len) = (literal + BLOCK, at + BLOCK, len - BLOCK);
        }
    }

    /// Passes the stops of a literal.
    #[inline(always)]
    fn pass(&mut self, stops: usize) -> Option<()> {
        if self.stops.has(self.next, stops) {
            self.next += stops;
            return Some(());
        }
        for _ in 0..stops {
            self.stop().ok()?;
        }
        Some(())
    }

    /// Where the markup behind a text is.
    #[inline(always)]
    fn text_end(&mut self) -> Option<usize> {
        loop {
            let at = self.stop().ok()?;
            match self.octet(at) {
                b'<' => return Some(at),
                b'\'' | b'"' => {}
                b'&' => self.reference(at).ok()?,
                _ => return None,
            }
        }
    }
}

/// The same close to the end of a read.
#[cold]
#[inline(never)]
fn ends_alike(octets: &[u8], literal: usize, buf: &[u8], at: usize, len: usize) -> bool {
    let these = octets.get(literal..literal + len);
    these.is_some() && these == buf.get(at..at + len)
}

/// Gives each literal of a stanza that the walk has taken, and what is behind it. `None`: it is deeper or has more of something
/// than a shape may have.
fn parts(stanza: &[u8], head: &Head, give: &mut impl FnMut(&[u8], Hole)) -> Option<()> {
    let place = |at: u32| (at - head.start) as usize;
    let mut tags = Tags { stanza, at: 0, depth: 0, attributes: 0, declared: 0 };
    let mut begin = 0;
    while let Some((start, end, hole)) = tags.next_hole()? {
        let hole = match hole {
            Hole::Value if start == place(head.from.start) => Hole::From,
            Hole::Value if start == place(head.to.start) => Hole::To,
            Hole::Value if head.id_start != head.start && start == place(head.id_start) => Hole::Id,
            other => other,
        };
        give(stanza.get(begin..start)?, hole);
        begin = end;
    }
    give(stanza.get(begin..)?, Hole::End);
    Some(())
}

/// The stops a literal of a stanza the walk has taken can hold.
const fn is_stop(octet: u8) -> bool {
    matches!(octet, b'<' | b'>' | b'&' | b'\'' | b'"')
}

/// Reads a stanza that is known to be well-formed.
struct Tags<'a> {
    stanza: &'a [u8],
    at: usize,
    depth: usize,
    /// Of this tag.
    attributes: usize,
    declared: usize,
}

impl Tags<'_> {
    /// The next place of which the octets may differ: where it begins and ends. `Some(None)`: there are no more.
    fn next_hole(&mut self) -> Option<Option<(usize, usize, Hole)>> {
        loop {
            // Within a tag: a value, or its end.
            let found = self.find(|octet| matches!(octet, b'\'' | b'"' | b'>'))?;
            let octet = *self.stanza.get(found)?;
            if octet != b'>' {
                if let Some((start, end)) = self.value(found, octet)? {
                    return Some(Some((start, end, Hole::Value)));
                }
                continue;
            }
            // An end tag has no quotes, so what was read of it begins with its `<`.
            let is_end = self.stanza.get(self.at..found)?.starts_with(b"</");
            let is_start = !is_end && !self.stanza.get(..found)?.ends_with(b"/");
            self.depth += usize::from(is_start);
            self.depth = self.depth.saturating_sub(usize::from(is_end));
            (self.at, self.attributes) = (found + 1, 0);
            if self.depth > DEPTH_MAX - 1 {
                return None;
            }
            if self.at == self.stanza.len() {
                return Some(None);
            }
            let next = self.find(|octet| octet == b'<')?;
            let from = std::mem::replace(&mut self.at, next);
            let is_leaf = is_start && self.stanza.get(next + 1) == Some(&b'/');
            if next > from || is_leaf {
                return Some(Some((from, next, Hole::Text)));
            }
        }
    }

    /// The value that begins with the quote at `start`: where it is, unless it says what the stanza is, as types and namespaces do.
    fn value(&mut self, start: usize, quote: u8) -> Option<Option<(usize, usize)>> {
        let name = name_before(self.stanza.get(self.at..start)?);
        self.at = start + 1;
        let end = self.find(|octet| octet == quote)?;
        self.at = end + 1;
        self.attributes += 1;
        let declares = name.starts_with(b"xmlns");
        self.declared += usize::from(declares);
        if self.attributes > ATTRIBUTES_MAX || self.declared > NAMESPACES_MAX {
            return None;
        }
        Some((!declares && name != b"type").then_some((start + 1, end)))
    }

    fn find(&self, is: impl Fn(u8) -> bool) -> Option<usize> {
        let rest = self.stanza.get(self.at..)?;
        rest.iter().position(|&octet| is(octet)).map(|place| self.at + place)
    }
}

/// The name in front of a value.
fn name_before(before: &[u8]) -> &[u8] {
    let before = before.trim_ascii_end();
    let before = before.strip_suffix(b"=").unwrap_or(before).trim_ascii_end();
    before.rsplit(|octet| octet.is_ascii_whitespace()).next().unwrap_or_default()
}
