//! Tags: reading start and end tags, and what a start tag means once it is complete.

use super::characters::{
    Decoded, colon, decode, is_ascii_name_start, is_name_char, is_name_start, skip_name, skip_space,
};
use super::element::{Attributes, ExpandedName, Span};
use super::header::Version;
use super::namespaces::{Binding, XML, XMLNS};
use super::scanner::{Attribute, Flow, Open, Scanner, State, Step};
use super::value::attribute_value;
use super::{Namespace, editions};
use crate::error::{FrameError, StreamCondition, quoted};

impl Scanner {
    /// Reads the name that begins at `start`; the position behind it once that is known.
    pub(super) fn read_name(&mut self, buf: &[u8], start: usize) -> Result<Option<usize>, FrameError> {
        loop {
            if self.pos == start && buf.get(start).is_some_and(|&b| b < 0x80 && !is_ascii_name_start(b)) {
                return Err(self.malformed("a name was expected", start));
            }
            self.pos = skip_name(buf, self.pos);
            if self.pos - start > self.limits.name_bytes_max {
                return Err(self.over_limit("name too long", start + self.limits.name_bytes_max));
            }
            match buf.get(self.pos) {
                None => return Ok(None),
                Some(0x80..) => {}
                Some(_) => return Ok(Some(self.pos)),
            }
            match decode(buf, self.pos) {
                Decoded::Cut => return Ok(None),
                Decoded::Bad => return Err(self.bad_encoding(self.pos)),
                Decoded::Char(code, _) if self.pos == start && !is_name_start(code) => {
                    return Err(self.malformed("a name was expected", start));
                }
                Decoded::Char(code, _) if !is_name_char(code) => {
                    return Err(self.malformed("a character that no name may hold", self.pos));
                }
                Decoded::Char(code, len) => {
                    let first = self.pos == start || buf.get(self.pos - 1) == Some(&b':');
                    self.capture.newer_names |= !editions::is_old(code, first);
                    self.pos += len;
                }
            }
        }
    }

    /// The length of the prefix of a name, 0 for none.
    pub(super) fn prefix_len(&self, name: &[u8], at: usize) -> Result<usize, FrameError> {
        colon(name).map_err(|()| self.malformed("a name whose colons make no prefix", at))
    }

    pub(super) fn name(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let start = self.tag_start + 1;
        let Some(end) = self.read_name(buf, start)? else { return Ok(Flow::Cut) };
        self.element_name = Span::new(start, end);
        self.attributes.clear();
        self.state = State::Tag;
        Ok(Flow::Next)
    }

    /// In a start tag, outside names and values.
    pub(super) fn tag(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let pos = skip_space(buf, self.pos);
        if pos > self.pos {
            self.pos = pos;
            self.state = State::Gap;
        }
        match buf.get(pos) {
            None => Ok(Flow::Cut),
            Some(b'>') => {
                self.pos += 1;
                self.start_tag(buf, false)
            }
            Some(b'/') => {
                self.pos += 1;
                self.state = State::Slash;
                Ok(Flow::Next)
            }
            Some(_) if self.state == State::Tag => {
                Err(self.malformed("white space was expected in a tag", pos))
            }
            Some(_) if self.attributes.len() >= self.limits.attributes_max => {
                Err(self.over_limit("too many attributes in one tag", pos))
            }
            Some(_) => {
                self.attribute = Attribute { name: Span::new(pos, pos), ..Attribute::default() };
                self.state = State::AttributeName;
                Ok(Flow::Next)
            }
        }
    }

    pub(super) fn attribute_name(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let start = self.attribute.name.start as usize;
        let Some(end) = self.read_name(buf, start)? else { return Ok(Flow::Cut) };
        self.attribute.name = Span::new(start, end);
        self.attribute.colon = self.prefix_len(self.attribute.name.of(buf), start)?;
        self.state = State::Equals;
        Ok(Flow::Next)
    }

    pub(super) fn equals(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        self.pos = skip_space(buf, self.pos);
        match buf.get(self.pos) {
            None => Ok(Flow::Cut),
            Some(b'=') => {
                self.pos += 1;
                self.state = State::Quote;
                Ok(Flow::Next)
            }
            Some(_) => Err(self.malformed("'=' was expected behind an attribute name", self.pos)),
        }
    }

    pub(super) fn quote(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        self.pos = skip_space(buf, self.pos);
        match buf.get(self.pos) {
            None => Ok(Flow::Cut),
            Some(&quote @ (b'\'' | b'"')) => {
                self.pos += 1;
                self.attribute.quote = quote;
                self.attribute.value = Span::new(self.pos, self.pos);
                self.state = State::Value;
                Ok(Flow::Next)
            }
            Some(_) => Err(self.malformed("an attribute value was expected in quotes", self.pos)),
        }
    }

    pub(super) fn slash(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        match buf.get(self.pos) {
            None => Ok(Flow::Cut),
            Some(b'>') => {
                self.pos += 1;
                self.start_tag(buf, true)
            }
            Some(_) => Err(self.malformed("'/' in a tag without '>' behind it", self.pos)),
        }
    }

    pub(super) fn end_name(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        let start = self.tag_start + 2;
        let Some(end) = self.read_name(buf, start)? else { return Ok(Flow::Cut) };
        let expected = match self.stack.last() {
            Some(open) => open.name.of(buf),
            None => self.opened.map_or(b"".as_slice(), |open| open.name.of(self.bindings.header())),
        };
        let name = buf.get(start..end).unwrap_or_default();
        if name != expected {
            let text = format!("end tag {} where {} is open", quoted(name), quoted(expected));
            return Err(self.malformed(text, start));
        }
        self.state = State::EndTail;
        Ok(Flow::Next)
    }

    pub(super) fn end_tail(&mut self, buf: &[u8]) -> Result<Flow, FrameError> {
        self.pos = skip_space(buf, self.pos);
        match buf.get(self.pos) {
            None => return Ok(Flow::Cut),
            Some(b'>') => self.pos += 1,
            Some(_) => return Err(self.malformed("'>' was expected at the end of an end tag", self.pos)),
        }
        let Some(closed) = self.stack.pop() else { return Ok(Flow::Done(Step::Close(self.pos))) };
        self.bindings.truncate(closed.outer_bindings);
        Ok(self.behind_element())
    }

    /// An element has ended: either more of its parent follows, or it was first-level and is complete.
    fn behind_element(&mut self) -> Flow {
        if self.stack.is_empty() {
            return Flow::Done(Step::Element(self.pos));
        }
        self.state = State::Text;
        Flow::Next
    }

    /// A start tag is complete, up to `pos`.
    fn start_tag(&mut self, buf: &[u8], empty: bool) -> Result<Flow, FrameError> {
        let outer_bindings = self.bindings.len();
        if self.stack.len() >= self.limits.depth_max {
            return Err(self.over_limit("elements nested too deep", self.tag_start));
        }
        self.check_repeated(buf)?;
        self.declare(buf)?;
        let name = self.element_name;
        let (colon, binding) = self.resolve_element(buf)?;
        self.resolve_attributes(buf)?;
        let open = Open { name, outer_bindings };
        let local_start = if colon == 0 { name.start as usize } else { name.start as usize + colon + 1 };
        let local = Span::new(local_start, name.end as usize);
        if self.opened.is_none() {
            return self.open_stream(buf, open, (colon, binding, local), empty);
        }
        self.note_element(buf, colon, binding, local)?;
        if empty {
            self.bindings.truncate(outer_bindings);
            return Ok(self.behind_element());
        }
        self.stack.push(open);
        self.state = State::Text;
        Ok(Flow::Next)
    }

    /// No attribute name twice (XML 1.0 §3.1, "Unique Att Spec").
    fn check_repeated(&mut self, buf: &[u8]) -> Result<(), FrameError> {
        for (at, attribute) in self.attributes.iter().enumerate() {
            let name = attribute.name.of(buf);
            let earlier = self.attributes.get(..at).unwrap_or_default();
            #[cfg(test)]
            {
                self.work += at as u64;
            }
            if earlier.iter().any(|other| other.name.of(buf) == name) {
                let text = format!("attribute {} twice", quoted(name));
                return Err(self.malformed(text, attribute.name.start as usize));
            }
        }
        Ok(())
    }

    /// Brings the declarations of the tag into scope.
    fn declare(&mut self, buf: &[u8]) -> Result<(), FrameError> {
        for at in 0..self.attributes.len() {
            let Some(&attribute) = self.attributes.get(at) else { break };
            let name = attribute.name.of(buf);
            let prefix = if name == b"xmlns" {
                Span::new(attribute.name.start as usize, attribute.name.start as usize)
            } else if name.get(..attribute.colon) == Some(b"xmlns") {
                Span::new(attribute.name.start as usize + attribute.colon + 1, attribute.name.end as usize)
            } else {
                continue;
            };
            if self.bindings.len() >= self.limits.namespaces_max {
                let text = "too many namespace declarations in scope";
                return Err(self.over_limit(text, attribute.name.start as usize));
            }
            if self.check_declaration(prefix.of(buf), &attribute, buf)? {
                self.bindings.push(Binding { prefix, name: attribute.value, quote: attribute.quote });
            }
        }
        Ok(())
    }

    /// The rules of Namespaces in XML §3 and §5 for one declaration, and ours for its value. False where it declares
    /// what always holds.
    fn check_declaration(
        &self,
        prefix: &[u8],
        attribute: &Attribute,
        buf: &[u8],
    ) -> Result<bool, FrameError> {
        let value = attribute.value.of(buf);
        let at = attribute.value.start as usize;
        if value.iter().any(|b| matches!(b, b'&' | b'\t' | b'\n' | b'\r')) {
            let text = "reference, tab or line end in a namespace name";
            return Err(self.fail(StreamCondition::PolicyViolation, text, at));
        }
        let text = match prefix {
            b"xml" if value == XML.as_bytes() => return Ok(false),
            b"xml" => "prefix xml bound to another namespace",
            b"xmlns" => "prefix xmlns declared",
            _ if value == XML.as_bytes() => "the namespace of xml bound to another prefix",
            _ if value == XMLNS.as_bytes() => "the namespace of xmlns declared",
            [_, ..] if value.is_empty() => "a prefix bound to no namespace",
            _ => return Ok(true),
        };
        Err(self.malformed(text, at))
    }

    /// The length of the element's prefix, and the binding it stands for.
    fn resolve_element(&mut self, buf: &[u8]) -> Result<(usize, Option<usize>), FrameError> {
        let name = self.element_name.of(buf);
        let start = self.element_name.start as usize;
        let colon = self.prefix_len(name, start)?;
        let prefix = name.get(..colon).unwrap_or_default();
        if prefix == b"xmlns" {
            return Err(self.malformed("an element with the prefix xmlns", start));
        }
        let binding = self.bindings.resolve(prefix, buf);
        if colon > 0 && binding.is_none() && prefix != b"xml" {
            return Err(self.malformed(format!("undeclared prefix {}", quoted(prefix)), start));
        }
        Ok((colon, binding))
    }

    /// Every prefix of an attribute is declared, and no two attributes have one expanded name (Namespaces in XML §5,
    /// §6.3).
    fn resolve_attributes(&mut self, buf: &[u8]) -> Result<(), FrameError> {
        for at in 0..self.attributes.len() {
            let Some(&attribute) = self.attributes.get(at) else { break };
            let name = attribute.name.of(buf);
            let prefix = name.get(..attribute.colon).unwrap_or_default();
            if prefix.is_empty() || matches!(prefix, b"xml" | b"xmlns") {
                continue;
            }
            let start = attribute.name.start as usize;
            let Some(binding) = self.bindings.resolve(prefix, buf) else {
                return Err(self.malformed(format!("undeclared prefix {}", quoted(prefix)), start));
            };
            let local = name.get(attribute.colon..).unwrap_or_default();
            let namespace = self.bindings.name(binding, buf);
            let earlier = self.attributes.get(..at).unwrap_or_default();
            let same = |other: &&Attribute| other.name.of(buf).get(other.colon..) == Some(local);
            let mut namesakes = earlier.iter().filter(same).filter_map(|other| other.binding);
            if namesakes.any(|other| self.bindings.name(other, buf) == namespace) {
                return Err(
                    self.malformed(format!("attribute {} twice, under two prefixes", quoted(name)), start)
                );
            }
            if let Some(attribute) = self.attributes.get_mut(at) {
                attribute.binding = Some(binding);
            }
        }
        Ok(())
    }

    /// The start tag was the stream header (RFC 6120 §4.8.1, §4.7.5).
    fn open_stream(
        &mut self,
        buf: &[u8],
        open: Open,
        (colon, binding, local): (usize, Option<usize>, Span),
        empty: bool,
    ) -> Result<Flow, FrameError> {
        let (namespace, _) = self.bindings.namespace(binding, buf);
        if namespace != Namespace::Streams {
            let text = "the stream header is not in the stream namespace";
            return Err(self.fail(StreamCondition::InvalidNamespace, text, self.tag_start));
        }
        if local.of(buf) != b"stream" {
            let text = format!("a stream header named {}", quoted(local.of(buf)));
            return Err(self.fail(StreamCondition::BadFormat, text, self.tag_start));
        }
        let attributes = self.common_attributes(buf);
        let version = match attributes.version {
            None => Version::MISSING,
            Some(span) => Version::parse(&attribute_value(span.of(buf))).ok_or_else(|| {
                let text = format!("version {} is no version", quoted(span.of(buf)));
                self.fail(StreamCondition::UnsupportedVersion, text, span.start as usize)
            })?,
        };
        self.capture.attributes = attributes;
        self.capture.version = Some(version);
        self.capture.prefix = Span::new(open.name.start as usize, open.name.start as usize + colon);
        self.opened = Some(open);
        self.state = if empty { State::Emptied } else { State::Between };
        Ok(Flow::Done(Step::Header(self.pos)))
    }

    /// Remembers of an element what the stanza will be asked for.
    fn note_element(
        &mut self,
        buf: &[u8],
        colon: usize,
        binding: Option<usize>,
        local: Span,
    ) -> Result<(), FrameError> {
        let prefixed = colon > 0
            && binding.is_some_and(|at| self.bindings.name(at, buf) == Namespace::Server.name().as_bytes());
        match self.stack.len() {
            0 if prefixed => {
                let text = "a prefix on an element of the content namespace";
                return Err(self.fail(StreamCondition::BadNamespacePrefix, text, self.tag_start));
            }
            0 => {
                self.capture.name = Some(self.expanded(buf, colon, binding, local));
                self.capture.attributes = self.common_attributes(buf);
                self.capture.insert_at = local.end;
            }
            1 => {
                self.capture.children = self.capture.children.saturating_add(1);
                if self.capture.child.is_none() {
                    self.capture.child = Some(self.expanded(buf, colon, binding, local));
                }
            }
            _ => {}
        }
        self.capture.prefixed_content |= prefixed;
        Ok(())
    }

    fn expanded(&self, buf: &[u8], colon: usize, binding: Option<usize>, local: Span) -> ExpandedName {
        let (namespace, name) = self.bindings.namespace(binding, buf);
        let namespace = if colon > 0 && binding.is_none() { Namespace::Xml } else { namespace };
        ExpandedName { namespace, name, local }
    }

    /// The attributes every element may have that routing or negotiation reads.
    fn common_attributes(&self, buf: &[u8]) -> Attributes {
        let mut common = Attributes::default();
        for attribute in &self.attributes {
            let place = match attribute.name.of(buf) {
                b"from" => &mut common.from,
                b"to" => &mut common.to,
                b"id" => &mut common.id,
                b"type" => &mut common.stanza_type,
                b"version" => &mut common.version,
                b"xml:lang" => &mut common.lang,
                _ => continue,
            };
            *place = Some(attribute.value);
        }
        common
    }
}
