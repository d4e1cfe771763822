//! The pass over the bytes: a state machine that stops anywhere and goes on there.
//!
//! Invariant: `pos` never moves back over more than one unfinished character or reference, both of bounded length.
//! A unit (white space, declaration, header, element, end of stream) begins at index 0 of what [`Scanner::scan`] is
//! given, and every span points into that unit.

use super::characters::{
    Decoded, Reference, decode, is_char, is_space, reference, skip_cdata, skip_scripts, skip_space,
    skip_text, skip_value,
};
use super::element::{Attributes, Element, ExpandedName, Span};
use super::header::{StreamHeader, Version};
use super::namespaces::{Bindings, NameBytes, Namespace};
use super::plain::Rules;
use super::{FrameLimits, declaration};
use crate::error::{FrameError, StreamCondition};
use bytes::Bytes;
use std::borrow::Cow;

/// What a scan found. Lengths count from the start of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Skip(usize),
    KeepAlive(usize),
    Header(usize),
    Element(usize),
    Close(usize),
}

/// How one state ended.
pub(super) enum Flow {
    Next,
    Cut,
    Done(Step),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of the stream has been read.
    Start,
    /// Before the stream header, but no longer at the first byte.
    Prolog,
    /// Behind `<?`.
    Declaration,
    /// Between first-level elements.
    Between,
    /// In an element, outside markup.
    Text,
    /// Behind `<`.
    Markup,
    /// Behind `<!`.
    Bang,
    Cdata,
    /// In the name of a start tag.
    Name,
    /// In a start tag, where white space, `/` or `>` must come.
    Tag,
    /// In a start tag, where an attribute may come as well.
    Gap,
    AttributeName,
    /// Behind an attribute name, where `=` must come.
    Equals,
    /// Behind `=`, where a quote must come.
    Quote,
    Value,
    /// Behind the `/` of an empty element.
    Slash,
    /// In the name of an end tag.
    EndName,
    /// Behind the name of an end tag.
    EndTail,
    /// The header was an empty element: the stream is over.
    Emptied,
    /// Behind the end tag of the stream.
    Ended,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attribute {
    pub(super) name: Span,
    /// Length of the prefix, 0 for none.
    pub(super) colon: usize,
    pub(super) value: Span,
    pub(super) quote: u8,
    /// The binding of the prefix, once resolved.
    pub(super) binding: Option<usize>,
}

/// An element that is not closed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) name: Span,
    /// How many bindings were in scope outside it.
    pub(super) outer_bindings: usize,
}

/// What is remembered of the header or first-level element being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    pub(super) name: Option<ExpandedName>,
    pub(super) attributes: Attributes,
    pub(super) child: Option<ExpandedName>,
    pub(super) children: u32,
    pub(super) insert_at: u32,
    pub(super) prefixed_content: bool,
    /// A name holds a character that names have had since the fifth edition of XML 1.0 only.
    pub(super) newer_names: bool,
    pub(super) prefix: Span,
    pub(super) version: Option<Version>,
}

#[derive(Debug)]
pub(super) struct Scanner {
    pub(super) limits: FrameLimits,
    pub(super) state: State,
    pub(super) pos: usize,
    /// Where the tag or token being read begins.
    pub(super) tag_start: usize,
    /// Bytes of the stream before this unit.
    base: u64,
    /// The header, once it has been read; its name is in the bytes the bindings keep.
    pub(super) opened: Option<Open>,
    pub(super) stack: Vec<Open>,
    pub(super) bindings: Bindings,
    pub(super) attributes: Vec<Attribute>,
    pub(super) attribute: Attribute,
    pub(super) element_name: Span,
    pub(super) capture: Capture,
    #[cfg(test)]
    pub(super) work: u64,
}

impl Scanner {
    pub(super) fn new(mut limits: FrameLimits) -> Self {
        const FLOOR_BYTES: usize = 10_000;
        const CEILING_BYTES: usize = 1 << 30;
        limits.stanza_bytes_max = limits.stanza_bytes_max.clamp(FLOOR_BYTES, CEILING_BYTES);
        limits.header_bytes_max = limits.header_bytes_max.min(CEILING_BYTES);
        Self {
            limits,
            state: State::Start,
            pos: 0,
            tag_start: 0,
            base: 0,
            opened: None,
            stack: Vec::new(),
            bindings: Bindings::default(),
            attributes: Vec::new(),
            attribute: Attribute::default(),
            element_name: Span::default(),
            capture: Capture::default(),
            #[cfg(test)]
            work: 0,
        }
    }

    /// Forgets everything but the limits and the room its tables have.
    pub(super) fn restart(&mut self) {
        self.state = State::Start;
        (self.pos, self.tag_start, self.base) = (0, 0, 0);
        self.opened = None;
        self.stack.clear();
        self.bindings.clear();
        self.attributes.clear();
        self.capture = Capture::default();
    }

    /// Goes on with the unit that begins at `input[0]`, where the last scan of it stopped.
    pub(super) fn scan(&mut self, input: &[u8]) -> Result<Step, FrameError> {
        let unit_max =
            if self.opened.is_some() { self.limits.stanza_bytes_max } else { self.limits.header_bytes_max };
        let unit = input.get(..unit_max).unwrap_or(input);
        loop {
            let tag_end = if self.in_tag() { self.tag_start + self.tag_bytes_max() } else { usize::MAX };
            let window = unit.get(..tag_end).unwrap_or(unit);
            #[cfg(test)]
            let before = self.pos;
            let flow = self.step(window)?;
            #[cfg(test)]
            {
                self.work += self.pos.abs_diff(before) as u64 + 1;
            }
            match flow {
                Flow::Next => {}
                Flow::Done(step) => return Ok(self.finish(step)),
                Flow::Cut if window.len() < unit.len() => return Err(self.too_big("tag too long", tag_end)),
                Flow::Cut if unit.len() < input.len() => {
                    let what =
                        if self.opened.is_some() { "stanza too long" } else { "stream header too long" };
                    return Err(self.too_big(what, unit_max));
                }
                Flow::Cut => return Ok(Step::More),
            }
        }
    }

    /// Scans a whole unit that is no longer part of the stream, between two that are.
    pub(super) fn scan_apart(&mut self, input: &[u8]) -> Result<Step, FrameError> {
        let base = self.base;
        let step = self.scan(input);
        self.base = base;
        step
    }

    /// What a plain stanza must keep to if one may come next: the stream is open for stanzas of `jabber:server`, and nothing of
    /// the next unit has been read.
    pub(super) fn plain_rules(&self) -> Option<Rules> {
        if self.state != State::Between || self.pos > 0 || !self.bindings.is_server_default() {
            return None;
        }
        Some(Rules {
            stanza_bytes_max: self.limits.stanza_bytes_max,
            depth_max: self.limits.depth_max,
            attributes_max: self.limits.attributes_max,
            name_bytes_max: self.limits.name_bytes_max,
            tag_bytes_max: self.limits.tag_bytes_max,
            namespaces_max: self.limits.namespaces_max.saturating_sub(self.bindings.len()),
        })
    }

    /// Stanzas of `len` bytes were read by another, from the start of this unit.
    pub(super) fn skip(&mut self, len: usize) {
        self.base += len as u64;
    }

    /// The header just found, whose bytes are `bytes`.
    pub(super) fn header(&mut self, bytes: Bytes) -> StreamHeader {
        let capture = std::mem::take(&mut self.capture);
        self.bindings.settle(bytes.clone());
        StreamHeader {
            bytes,
            prefix: capture.prefix,
            attributes: capture.attributes,
            version: capture.version.unwrap_or(Version::MISSING),
            bindings: self.bindings.of_stream().to_vec(),
        }
    }

    /// The element just found, whose bytes are `bytes`.
    pub(super) fn element(&mut self, bytes: Bytes) -> Element {
        let capture = std::mem::take(&mut self.capture);
        let declare = self.bindings.borrowed();
        self.bindings.forget_uses();
        let nameless =
            ExpandedName { namespace: Namespace::None, name: NameBytes::Known, local: Span::default() };
        Element {
            bytes,
            name: capture.name.unwrap_or(nameless),
            attributes: capture.attributes,
            child: capture.child,
            children: capture.children,
            insert_at: capture.insert_at,
            declare,
            prefixed_content: capture.prefixed_content,
            newer_names: capture.newer_names,
        }
    }

    pub(super) fn fail(
        &self,
        condition: StreamCondition,
        text: impl Into<Cow<'static, str>>,
        at: usize,
    ) -> FrameError {
        FrameError { condition, text: text.into(), offset: self.base + at as u64, too_big: false }
    }

    pub(super) fn malformed(&self, text: impl Into<Cow<'static, str>>, at: usize) -> FrameError {
        self.fail(StreamCondition::NotWellFormed, text, at)
    }

    pub(super) fn over_limit(&self, text: &'static str, at: usize) -> FrameError {
        self.fail(StreamCondition::PolicyViolation, text, at)
    }

    fn too_big(&self, text: &'static str, at: usize) -> FrameError {
        FrameError { too_big: true, ..self.over_limit(text, at) }
    }

    fn tag_bytes_max(&self) -> usize {
        if self.opened.is_some() { self.limits.tag_bytes_max } else { self.limits.header_bytes_max }
    }

    fn in_tag(&self) -> bool {
        use State::*;
        matches!(
            self.state,
            Name | Tag | Gap | AttributeName | Equals | Quote | Value | Slash | EndName | EndTail
        )
    }

    /// A unit is complete: the next one begins behind it.
    fn finish(&mut self, step: Step) -> Step {
        let (len, state) = match step {
            Step::More => return step,
            Step::Skip(len) => (len, State::Prolog),
            Step::KeepAlive(len) => (len, self.state),
            Step::Header(len) if self.state == State::Emptied => (len, State::Emptied),
            Step::Header(len) | Step::Element(len) => (len, State::Between),
            Step::Close(len) => (len, State::Ended),
        };
        self.state = state;
        self.base += len as u64;
        (self.pos, self.tag_start) = (0, 0);
        step
    }

    fn step(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        match self.state {
            State::Start | State::Prolog | State::Between | State::Ended => self.outside(buf),
            State::Declaration => self.declaration(buf),
            State::Text => self.text(buf),
            State::Markup => self.markup(buf),
            State::Bang => self.bang(buf),
            State::Cdata => self.cdata(buf),
            State::Name => self.name(buf),
            State::Tag | State::Gap => self.tag(buf),
            State::AttributeName => self.attribute_name(buf),
            State::Equals => self.equals(buf),
            State::Quote => self.quote(buf),
            State::Value => self.value(buf),
            State::Slash => self.slash(buf),
            State::EndName => self.end_name(buf),
            State::EndTail => self.end_tail(buf),
            State::Emptied => Ok(Flow::Done(Step::Close(0))),
        }
    }

    /// Outside every first-level element.
    fn outside(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let spaces = skip_space(buf, 0);
        if spaces > 0 {
            let opened = self.opened.is_some();
            let step = if opened { Step::KeepAlive(spaces) } else { Step::Skip(spaces) };
            return Ok(Flow::Done(step));
        }
        match buf.first() {
            None => Ok(Flow::Cut),
            Some(b'<') if self.state != State::Ended => {
                self.pos = 1;
                // A declaration is only known to be allowed here, so its first bytes are looked at here.
                self.state = match (self.state, buf.get(1)) {
                    (State::Start, None) => {
                        self.pos = 0;
                        return Ok(Flow::Cut);
                    }
                    (State::Start, Some(b'?')) => State::Declaration,
                    (State::Start, Some(0)) => {
                        return Err(self.fail(StreamCondition::UnsupportedEncoding, "not UTF-8: UTF-16", 0));
                    }
                    _ => State::Markup,
                };
                Ok(Flow::Next)
            }
            Some(0x00 | 0xFE | 0xFF) if self.state == State::Start => {
                Err(self.fail(StreamCondition::UnsupportedEncoding, "not UTF-8: UTF-16 or UTF-32", 0))
            }
            Some(_) => match decode(buf, 0) {
                Decoded::Cut => Ok(Flow::Cut),
                Decoded::Bad => Err(self.bad_encoding(0)),
                Decoded::Char(..) if self.state == State::Between => {
                    Err(self.fail(StreamCondition::BadFormat, "text between stanzas", 0))
                }
                Decoded::Char(..) if self.state == State::Ended => {
                    Err(self.malformed("data behind the end of the stream", 0))
                }
                Decoded::Char(..) => Err(self.malformed("text before the stream header", 0)),
            },
        }
    }

    fn declaration(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        const OPENING: &[u8] = b"<?xml";
        let head = buf.get(..OPENING.len()).unwrap_or(buf);
        let other = !OPENING.starts_with(head) || buf.get(OPENING.len()).is_some_and(|&b| !is_space(b));
        if other {
            return Err(self.fail(StreamCondition::RestrictedXml, "processing instruction", 0));
        }
        self.pos = self.pos.max(OPENING.len());
        while let Some(found) = buf.get(self.pos..).and_then(|rest| memchr::memchr(b'>', rest)) {
            let end = self.pos + found;
            if buf.get(end - 1) == Some(&b'?') {
                let inside = buf.get(OPENING.len()..end - 1).unwrap_or_default();
                declaration::check(inside).map_err(|(condition, text)| self.fail(condition, text, 0))?;
                return Ok(Flow::Done(Step::Skip(end + 1)));
            }
            self.pos = end + 1;
        }
        self.pos = self.pos.max(buf.len());
        Ok(Flow::Cut)
    }

    fn markup(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let Some(&b) = buf.get(self.pos) else { return Ok(Flow::Cut) };
        match b {
            b'/' if self.opened.is_some() => {
                self.pos += 1;
                self.state = State::EndName;
            }
            b'!' => {
                self.pos += 1;
                self.state = State::Bang;
            }
            b'?' => {
                return Err(self.fail(
                    StreamCondition::RestrictedXml,
                    "processing instruction",
                    self.tag_start,
                ));
            }
            _ => self.state = State::Name,
        }
        Ok(Flow::Next)
    }

    fn bang(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        const OPENING: &[u8] = b"[CDATA[";
        let rest = buf.get(self.pos..).unwrap_or_default();
        match rest.first() {
            None => return Ok(Flow::Cut),
            Some(b'-') => return Err(self.fail(StreamCondition::RestrictedXml, "comment", self.tag_start)),
            Some(b'D') => return Err(self.fail(StreamCondition::RestrictedXml, "DOCTYPE", self.tag_start)),
            Some(b'[') if self.stack.is_empty() && self.opened.is_some() => {
                return Err(self.fail(StreamCondition::BadFormat, "text between stanzas", self.tag_start));
            }
            Some(_) => {}
        }
        let head = rest.get(..OPENING.len()).unwrap_or(rest);
        if self.stack.is_empty() || !OPENING.starts_with(head) {
            return Err(self.malformed("'<!' that begins nothing", self.tag_start));
        }
        if head.len() < OPENING.len() {
            return Ok(Flow::Cut);
        }
        self.pos += OPENING.len();
        self.state = State::Cdata;
        Ok(Flow::Next)
    }

    fn text(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        loop {
            self.pos = skip_text(buf, self.pos);
            let Some(&b) = buf.get(self.pos) else { return Ok(Flow::Cut) };
            match b {
                b'<' => {
                    self.tag_start = self.pos;
                    self.pos += 1;
                    self.state = State::Markup;
                    return Ok(Flow::Next);
                }
                b'&' => {
                    if !self.reference(buf)? {
                        return Ok(Flow::Cut);
                    }
                }
                b'>' => {
                    if self.behind_brackets(buf) {
                        return Err(self.malformed("']]>' in text", self.pos));
                    }
                    self.pos += 1;
                }
                _ => {
                    if !self.wide(buf)? {
                        return Ok(Flow::Cut);
                    }
                }
            }
        }
    }

    fn cdata(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        loop {
            self.pos = skip_cdata(buf, self.pos);
            match buf.get(self.pos) {
                None => return Ok(Flow::Cut),
                Some(b'>') => {
                    let end = self.behind_brackets(buf);
                    self.pos += 1;
                    if end {
                        self.state = State::Text;
                        return Ok(Flow::Next);
                    }
                }
                Some(_) => {
                    if !self.wide(buf)? {
                        return Ok(Flow::Cut);
                    }
                }
            }
        }
    }

    /// Whether `]]` stands right before `pos`. What precedes text is `>` and what precedes the inside of a CDATA
    /// section is `[`, so both brackets are in it.
    fn behind_brackets(&self, buf: &[u8]) -> bool {
        buf.get(..self.pos).unwrap_or_default().ends_with(b"]]")
    }

    pub(super) fn value(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        loop {
            self.pos = skip_value(buf, self.pos);
            let Some(&b) = buf.get(self.pos) else { return Ok(Flow::Cut) };
            match b {
                _ if b == self.attribute.quote => {
                    self.attribute.value = Span::new(self.attribute.value.start as usize, self.pos);
                    self.attributes.push(self.attribute);
                    self.pos += 1;
                    self.state = State::Tag;
                    return Ok(Flow::Next);
                }
                b'\'' | b'"' => self.pos += 1,
                b'<' => return Err(self.malformed("'<' in an attribute value", self.pos)),
                b'&' => {
                    if !self.reference(buf)? {
                        return Ok(Flow::Cut);
                    }
                }
                _ => {
                    if !self.wide(buf)? {
                        return Ok(Flow::Cut);
                    }
                }
            }
        }
    }

    /// Passes the reference at `pos`; false where it is cut.
    fn reference(&mut self, buf: &[u8]) -> Result<bool, FrameError> {
        match reference(buf, self.pos) {
            Reference::Char(_, len) => {
                self.pos += len;
                Ok(true)
            }
            Reference::Cut => Ok(false),
            Reference::Bad(condition, text, at) => Err(self.fail(condition, text, self.pos + at)),
        }
    }

    /// Passes the control or the characters beyond ASCII at `pos`; false where one is cut.
    fn wide(&mut self, buf: &[u8]) -> Result<bool, FrameError> {
        loop {
            let passed = skip_scripts(buf, self.pos);
            if passed > self.pos && buf.get(passed).is_some_and(|&b| b < 0x80) {
                self.pos = passed;
                return Ok(true);
            }
            self.pos = passed;
            match decode(buf, self.pos) {
                Decoded::Char(code, len) if is_char(code) => self.pos += len,
                Decoded::Char(..) => {
                    return Err(self.malformed("a character that XML does not allow", self.pos));
                }
                Decoded::Cut => return Ok(false),
                Decoded::Bad => return Err(self.bad_encoding(self.pos)),
            }
            if buf.get(self.pos).is_none_or(|&b| b < 0x80) {
                return Ok(true);
            }
        }
    }

    pub(super) fn bad_encoding(&self, at: usize) -> FrameError {
        self.fail(StreamCondition::UnsupportedEncoding, "not UTF-8", at)
    }
}
