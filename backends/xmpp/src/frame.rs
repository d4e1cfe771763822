//! Framing and strict checking of a stream, in one pass: bytes in, checked stream headers and first-level elements
//! out, the bytes themselves untouched.
//!
//! Invariants:
//! - What comes out has been checked in full against XML 1.0, Namespaces in XML and the restrictions of RFC 6120 §11.
//!   What is refused never comes out, not even in part.
//! - The answer depends on the bytes alone. Where reads cut them changes nothing, down to the offset in an error; only
//!   white space between stanzas may be reported in more pieces.
//! - Work is linear in the bytes, memory is bounded by [`FrameLimits`] plus what was fed and not yet taken, and no
//!   stanza that lies whole in one read is copied.
//! - There are two ways in, [`Framer::next_run`] for what streams carry nearly always and [`Framer::next`] for anything; what
//!   the first one takes the second one would have given, byte for byte.
//!
//! Choices where the standards leave one:
//! - Bytes that are not UTF-8 are `unsupported-encoding`, also in the middle of a stream: RFC 6120 §4.9.3.22 names
//!   that case.
//! - A byte order mark is no white space (§11.6), so it is `not-well-formed`; those of UTF-16 are
//!   `unsupported-encoding`.
//! - A namespace declaration whose value holds a reference, a tab or a line end is `policy-violation`. It may be
//!   well-formed, but two readers that differ in when they unescape it would see two namespaces.
//! - Text other than white space between stanzas is `bad-format`: the stream is well-formed, but it is no XMPP.
//! - A reference longer than any that is needed (`&#0000000000000000065;`) is `policy-violation`.
//! - A carriage return is accepted and stays as it is.
//! - A first-level element whose prefix is bound to `jabber:server` is `bad-namespace-prefix` (§4.8.5).
//! - An XML declaration for another version than 1.0 is `restricted-xml` (§11.8); `standalone` is ignored (§11.5).

mod characters;
mod declaration;
mod editions;
mod element;
mod header;
mod namespaces;
mod plain;
mod scanner;
mod stops;
mod tag;
mod value;
mod wide;

pub use element::{Attributes, Element, Name, Span};
pub use header::{StreamHeader, Version};
pub use namespaces::Namespace;
pub use plain::Shapes;
pub use value::{attribute_value, cdata_value, text_value};
pub use wide::Instructions;

use crate::error::FrameError;
use bytes::{Buf, Bytes, BytesMut};
use plain::{End, HEADS_MAX, Rules};
use scanner::{Scanner, Step};
use std::collections::VecDeque;
use turnout_core::limits;
use turnout_core::run::Head;

/// What one stream may ask of us. Exceeding any is `policy-violation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one first-level element. Never taken as under 10,000 (RFC 6120 §13.12).
    pub stanza_bytes_max: usize,
    /// Bytes of the stream header, and of the XML declaration before it.
    pub header_bytes_max: usize,
    /// Elements inside each other, the first-level element counting one.
    pub depth_max: usize,
    /// Attributes of one tag, namespace declarations included. Looking for duplicates costs up to its square per tag.
    pub attributes_max: usize,
    /// Namespace declarations in scope at one point, those of the stream header included. Resolving a prefix costs up
    /// to this many comparisons.
    pub namespaces_max: usize,
    /// Bytes of an element or attribute name, prefix included.
    pub name_bytes_max: usize,
    /// Bytes of one tag.
    pub tag_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            stanza_bytes_max: limits::STANZA_BYTES_MAX,
            header_bytes_max: limits::STREAM_HEADER_BYTES_MAX,
            depth_max: limits::STANZA_DEPTH_MAX,
            attributes_max: limits::TAG_ATTRIBUTES_MAX,
            namespaces_max: limits::NAMESPACES_MAX,
            name_bytes_max: limits::NAME_BYTES_MAX,
            tag_bytes_max: limits::TAG_BYTES_MAX,
        }
    }
}

/// What a stream brought.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a boxed element would be an allocation for every stanza")]
pub enum Frame {
    /// The stream header: the stream is open.
    Open(Box<StreamHeader>),
    /// A complete first-level element.
    Element(Element),
    /// The end tag of the stream (RFC 6120 §4.4).
    Close,
    /// White space between first-level elements (RFC 6120 §4.6.1, §11.7). One run may be reported in pieces.
    KeepAlive,
}

/// Cuts one direction of one stream into [`Frame`]s and checks every byte on the way. See the module's documentation.
#[derive(Debug)]
pub struct Framer {
    scanner: Scanner,
    /// The start of an element that a read cut off.
    carry: BytesMut,
    /// What is being read, behind `carry`.
    current: Bytes,
    /// What was fed after `current`.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    refused: Option<FrameError>,
    /// What is known of the unit at the front.
    ahead: Ahead,
    instructions: Instructions,
    /// Octets looked at by the fast way.
    #[cfg(test)]
    work: u64,
}

/// What is known of the unit at the front. It is there so that no octet is looked at again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// Nothing.
    New,
    /// It is not plain, or it was cut twice: the scanner has to read it.
    Odd,
    /// It looked plain as far as it goes, and the scanner has not seen it.
    Cut,
    /// That, and the rest was not there yet when [`Framer::next`] was asked for it.
    Late,
}

/// How much is moved behind a cut-off element at a time while its end is looked for.
const CARRY_STEP_BYTES: usize = 2048;

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(limits: FrameLimits) -> Self {
        Self::with(limits, Instructions::best())
    }

    /// A framer that uses these instructions, to test and to measure them; where the processor lacks them, portable ones.
    pub fn with(limits: FrameLimits, instructions: Instructions) -> Self {
        Self {
            scanner: Scanner::new(limits),
            carry: BytesMut::new(),
            current: Bytes::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            refused: None,
            ahead: Ahead::New,
            instructions,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Takes the bytes of one read. Call [`next`](Self::next) until it has no more; feeding on without doing so keeps
    /// every chunk alive.
    pub fn feed(&mut self, chunk: Bytes) {
        if chunk.is_empty() || self.refused.is_some() {
            return;
        }
        if self.current.is_empty() {
            self.current = chunk;
        } else {
            self.waiting_bytes += chunk.len();
            self.waiting.push_back(chunk);
        }
    }

    /// Takes the plain stanzas that lie whole at the front of what was fed, up to 512: their bytes, nothing between them, and a
    /// head for each appended to `heads`, counted from the start of these bytes. This is the fast way, for nearly all
    /// that streams carry; the checks are the same as those of [`next`](Self::next). See the plain module for what is plain. `shapes` is
    /// what streams carried before; it makes no difference but to how fast this is.
    ///
    /// `None` where something else comes next, or nothing: then call [`next`](Self::next), which reads anything, and this again
    /// after it.
    ///
    /// A stanza that looks plain as far as it goes is not looked at again until the rest of it is there: `next` says that more
    /// bytes are needed, and a fault in it may be told only with those. Asked once more without them, `next` looks.
    pub fn next_run(&mut self, shapes: &mut Shapes, heads: &mut Vec<Head>) -> Option<Bytes> {
        if self.ahead == Ahead::Cut && !self.waiting.is_empty() {
            self.gather();
            self.ahead = Ahead::Late;
        }
        if self.carry.is_empty() && self.current.is_empty() {
            self.gather();
        }
        if self.refused.is_some() || !matches!(self.ahead, Ahead::New | Ahead::Late) {
            return None;
        }
        let rules = self.scanner.plain_rules()?;
        if self.carry.is_empty() {
            return self.run_of_current(&rules, shapes, heads);
        }
        if self.ahead == Ahead::Late && !self.current.is_empty() {
            self.run_of_carried(&rules, shapes, heads)
        } else {
            None
        }
    }

    /// The next frame; `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// The bytes break a rule or a limit. The stream is lost: every later call gives the same error.
    #[expect(clippy::should_implement_trait, reason = "a framer is fed between calls; it is no iterator")]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.ahead == Ahead::Cut && self.waiting.is_empty() {
            self.ahead = Ahead::Late;
            self.gather();
            return Ok(None);
        }
        let result = self.advance();
        if let Err(error) = &result {
            self.refused = Some(error.clone());
            self.drop_buffers();
        }
        result
    }

    /// Reads once more, alone, a stanza that [`next_run`](Self::next_run) gave as part of a run. Call it before anything more is taken.
    /// `None` if it is not just one element, which cannot be.
    pub fn reread(&mut self, bytes: Bytes) -> Option<Element> {
        match self.scanner.scan_apart(&bytes) {
            Ok(Step::Element(len)) if len == bytes.len() => Some(self.scanner.element(bytes)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Forgets the stream: a new one begins on the same connection, after TLS or SASL (RFC 6120 §4.3.3). What was fed
    /// and not yet taken is dropped as well, because it was sent before the security layer was there and may not be
    /// read as if it came after (RFC 6120 §5.4.3.3). Returns how many bytes those were.
    pub fn restart(&mut self) -> usize {
        let discarded = self.buffered_bytes();
        self.scanner.restart();
        self.drop_buffers();
        self.refused = None;
        self.ahead = Ahead::New;
        discarded
    }

    /// Bytes fed and not yet part of a frame.
    pub fn buffered_bytes(&self) -> usize {
        self.carry.len() + self.current.len() + self.waiting_bytes
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let step =
                if self.carry.is_empty() { self.scanner.scan(&self.current)? } else { self.scan_carried()? };
            let begun = step == Step::More && self.carry.len() + self.current.len() > 0;
            self.ahead = if begun { Ahead::Odd } else { Ahead::New };
            match step {
                Step::More => {
                    if !self.gather() {
                        return Ok(None);
                    }
                }
                Step::Skip(len) => drop(self.take(len)),
                Step::KeepAlive(len) => {
                    drop(self.take(len));
                    return Ok(Some(Frame::KeepAlive));
                }
                Step::Close(len) => {
                    drop(self.take(len));
                    return Ok(Some(Frame::Close));
                }
                Step::Header(len) => {
                    // Copied, because the header lives as long as the stream and must not keep a read buffer alive.
                    let bytes = Bytes::copy_from_slice(&self.take(len));
                    return Ok(Some(Frame::Open(Box::new(self.scanner.header(bytes)))));
                }
                Step::Element(len) => {
                    let bytes = self.take(len);
                    return Ok(Some(Frame::Element(self.scanner.element(bytes))));
                }
            }
        }
    }

    fn run_of_current(&mut self, rules: &Rules, shapes: &mut Shapes, heads: &mut Vec<Head>) -> Option<Bytes> {
        let walked = plain::walk(self.instructions, &self.current, rules, HEADS_MAX, shapes, heads);
        #[cfg(test)]
        {
            self.work += walked.work as u64;
        }
        let rest = self.current.len() - walked.len;
        self.ahead = match walked.end {
            End::Empty | End::Full => Ahead::New,
            End::Cut if rest < rules.stanza_bytes_max => Ahead::Cut,
            End::Cut | End::Odd => Ahead::Odd,
        };
        self.scanner.skip(walked.len);
        (walked.len > 0).then(|| self.take(walked.len))
    }

    /// A stanza that a read cut off and whose rest may be there now.
    fn run_of_carried(&mut self, rules: &Rules, shapes: &mut Shapes, heads: &mut Vec<Head>) -> Option<Bytes> {
        let before = self.carry.len();
        let moved = self.current.len().min(CARRY_STEP_BYTES.max(before));
        self.carry.extend_from_slice(self.current.get(..moved).unwrap_or_default());
        let walked = plain::walk(self.instructions, &self.carry, rules, 1, shapes, heads);
        #[cfg(test)]
        {
            self.work += walked.work as u64;
        }
        self.ahead = if walked.len > 0 { Ahead::New } else { Ahead::Odd };
        self.carry.truncate(walked.len.max(before));
        self.current.advance(self.carry.len() - before);
        self.scanner.skip(walked.len);
        (walked.len > 0).then(|| self.take(walked.len))
    }

    /// Scans a cut-off element with a little more of what follows it behind it, and gives back what was too much.
    fn scan_carried(&mut self) -> Result<Step, FrameError> {
        let moved = self.current.len().min(CARRY_STEP_BYTES);
        self.carry.extend_from_slice(self.current.get(..moved).unwrap_or_default());
        let step = self.scanner.scan(&self.carry)?;
        let surplus = match step {
            Step::More => 0,
            Step::Skip(len)
            | Step::KeepAlive(len)
            | Step::Close(len)
            | Step::Header(len)
            | Step::Element(len) => {
                let surplus = self.carry.len().saturating_sub(len);
                self.carry.truncate(len);
                surplus
            }
        };
        self.current.advance(moved.saturating_sub(surplus));
        Ok(step)
    }

    /// More bytes are needed: keeps what `current` holds and moves on to the next chunk. False where there is none.
    fn gather(&mut self) -> bool {
        if !self.carry.is_empty() && !self.current.is_empty() {
            return true;
        }
        self.carry.extend_from_slice(&self.current);
        match self.waiting.pop_front() {
            Some(chunk) => {
                self.waiting_bytes -= chunk.len();
                self.current = chunk;
                true
            }
            None => {
                self.current = Bytes::new();
                false
            }
        }
    }

    /// Takes the unit the scanner has finished.
    fn take(&mut self, len: usize) -> Bytes {
        if self.carry.is_empty() {
            return self.current.split_to(len.min(self.current.len()));
        }
        self.carry.split_to(len.min(self.carry.len())).freeze()
    }

    fn drop_buffers(&mut self) {
        self.carry = BytesMut::new();
        self.current = Bytes::new();
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
