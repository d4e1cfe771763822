//! A position in checked bytes, and the tokens read from there.

use super::ParseError;
use crate::frame::{attribute_value, cdata_value, text_value};
use memchr::{memchr, memmem};
use std::borrow::Cow;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The character data up to the next markup.
    pub(super) fn text(&mut self) -> Cow<'a, str> {
        let rest = self.rest();
        let len = memchr(b'<', rest).unwrap_or(rest.len());
        self.pos += len;
        text_value(rest.get(..len).unwrap_or_default())
    }

    /// The CDATA section that begins here.
    pub(super) fn cdata(&mut self) -> Result<Option<Cow<'a, str>>, ParseError> {
        if !self.skip(b"<![CDATA[") {
            return Ok(None);
        }
        let rest = self.rest();
        let len = memmem::find(rest, b"]]>").ok_or(ParseError::Unchecked(self.pos))?;
        self.pos += len + 3;
        Ok(Some(cdata_value(rest.get(..len).unwrap_or_default())))
    }

    /// Passes the end tag that begins here; false where another token does.
    pub(super) fn end_tag(&mut self) -> Result<bool, ParseError> {
        if !self.skip(b"</") {
            return Ok(false);
        }
        self.pos += memchr(b'>', self.rest()).ok_or(ParseError::Unchecked(self.pos))? + 1;
        Ok(true)
    }

    /// The name of the start tag that begins here.
    pub(super) fn start_tag(&mut self) -> Result<&'a str, ParseError> {
        if !self.skip(b"<") {
            return Err(ParseError::Unchecked(self.pos));
        }
        self.name()
    }

    /// The next attribute of a start tag; `None` where the tag ends.
    pub(super) fn attribute(&mut self) -> Result<Option<(&'a str, Cow<'a, str>)>, ParseError> {
        self.skip_space();
        if matches!(self.rest().first(), None | Some(b'>' | b'/')) {
            return Ok(None);
        }
        let name = self.name()?;
        self.skip_space();
        if !self.skip(b"=") {
            return Err(ParseError::Unchecked(self.pos));
        }
        self.skip_space();
        let (&quote, body) = self.rest().split_first().ok_or(ParseError::Unchecked(self.pos))?;
        let len = memchr(quote, body).filter(|_| matches!(quote, b'\'' | b'"'));
        let len = len.ok_or(ParseError::Unchecked(self.pos))?;
        self.pos += len + 2;
        Ok(Some((name, attribute_value(body.get(..len).unwrap_or_default()))))
    }

    /// Passes the end of a start tag; true where the element is empty.
    pub(super) fn tag_end(&mut self) -> Result<bool, ParseError> {
        if self.skip(b"/>") {
            return Ok(true);
        }
        if self.skip(b">") { Ok(false) } else { Err(ParseError::Unchecked(self.pos)) }
    }

    /// Nothing follows.
    pub(super) fn finished(&self) -> Result<(), ParseError> {
        if self.rest().is_empty() { Ok(()) } else { Err(ParseError::Unchecked(self.pos)) }
    }

    fn name(&mut self) -> Result<&'a str, ParseError> {
        let rest = self.rest();
        let ends = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | b'>' | b'/' | b'=');
        let len = rest.iter().position(ends).unwrap_or(rest.len());
        let name = rest.get(..len).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.filter(|name| !name.is_empty()).ok_or(ParseError::Unchecked(self.pos))?;
        self.pos += len;
        Ok(name)
    }

    fn skip(&mut self, token: &[u8]) -> bool {
        let here = self.rest().starts_with(token);
        if here {
            self.pos += token.len();
        }
        here
    }

    fn skip_space(&mut self) {
        self.pos += self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.pos..).unwrap_or_default()
    }
}
