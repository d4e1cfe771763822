//! The small pieces of the SIP grammar (RFC 3261 §25.1) that every header value is made of. Each function reads its input
//! once, from left to right.

use std::borrow::Cow;

use memchr::memchr;

/// A value that does not follow the grammar; the text says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Classes of bytes, a bit for each, so that one look tells.
pub(super) const TOKEN: u8 = 1;
/// What a parameter's value that is not quoted may hold.
pub(super) const VALUE: u8 = 2;
/// What matters when a list is taken apart.
pub(super) const MARK: u8 = 4;
/// `unreserved` of RFC 3261 §25.1: what may stand in any part of an address as it is.
pub(super) const UNRESERVED: u8 = 8;
/// What a host name may hold.
pub(super) const HOST: u8 = 16;
/// What a Call-ID may hold, `@` included.
pub(super) const CALL_ID: u8 = 32;
/// What an address may hold at all: graphic ASCII without quotes and angle brackets.
pub(super) const ADDRESS: u8 = 64;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut at = 0_u8;
    loop {
        let alphanumeric = at.is_ascii_alphanumeric();
        let is_token = alphanumeric || is_one_of(at, b"-.!%*_+`'~");
        let mut class = 0;
        if is_token {
            class |= TOKEN;
        }
        if at > b' ' && !is_one_of(at, b";,\"<>\x7f") {
            class |= VALUE;
        }
        if is_one_of(at, b",\"<>\\") {
            class |= MARK;
        }
        if alphanumeric || is_one_of(at, b"-_.!~*'()") {
            class |= UNRESERVED;
        }
        if alphanumeric || is_one_of(at, b"-._") {
            class |= HOST;
        }
        if is_token || is_one_of(at, b"()<>:\\\"/[]?{}@") {
            class |= CALL_ID;
        }
        if at.is_ascii_graphic() && !is_one_of(at, b"<>\"") {
            class |= ADDRESS;
        }
        classes[at as usize] = class;
        if at == u8::MAX {
            return classes;
        }
        at += 1;
    }
}

const fn is_one_of(byte: u8, of: &[u8]) -> bool {
    let mut at = 0;
    while at < of.len() {
        if of[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a byte is of one of these classes.
pub(super) fn is_of(byte: u8, classes: u8) -> bool {
    CLASSES[usize::from(byte)] & classes != 0
}

/// How many bytes from the start are of one of these classes.
pub(super) fn run(bytes: &[u8], classes: u8) -> usize {
    bytes.iter().position(|byte| !is_of(*byte, classes)).unwrap_or(bytes.len())
}

/// Without spaces, tabs and the line ends of a fold on either side. Narrower than `trim_ascii`, which would hide a form feed.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether these bytes are a `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && run(bytes, TOKEN) == bytes.len()
}

/// Whether a control byte stands here that no quoted-pair excuses. A tab is white space, not control.
pub(crate) fn has_naked_control(value: &[u8]) -> bool {
    let mut escaped = false;
    value.iter().any(|byte| {
        let naked = (*byte < b' ' && *byte != b'\t' || *byte == 0x7f) && !escaped;
        escaped = *byte == b'\\' && !escaped;
        naked
    })
}

/// How many control bytes there are; a tab is none.
pub(super) fn controls(bytes: &[u8]) -> usize {
    let is_control = |byte: &u8| u8::from((*byte < b' ') & (*byte != b'\t') | (*byte == 0x7f));
    // Sums of so few fit a byte, which lets the compiler count many bytes at once.
    bytes.chunks(128).map(|part| usize::from(part.iter().map(is_control).sum::<u8>())).sum()
}

/// Values of a comma list, trimmed. Commas in quoted strings and angle brackets do not part values; an open quote or
/// bracket reaches to the end.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a> {
    rest: Option<&'a [u8]>,
    whole: bool,
}

impl<'a> Items<'a> {
    /// The values in `value`; just `value` itself where commas mean nothing.
    pub(crate) fn new(value: &'a [u8], is_list: bool) -> Self {
        Self { rest: Some(value), whole: !is_list || memchr(b',', value).is_none() }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        if self.whole {
            return Some(trim(rest));
        }
        let end = comma(rest);
        self.rest = end.and_then(|at| rest.get(at + 1..));
        Some(trim(&rest[..end.unwrap_or(rest.len())]))
    }
}

fn comma(bytes: &[u8]) -> Option<usize> {
    let (mut quoted, mut bracketed) = (false, false);
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| is_of(*byte, MARK))) {
        at += found;
        match bytes[at] {
            // The next byte is escaped.
            b'\\' if quoted => at += 1,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' if !quoted && !bracketed => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Length of the quoted string that `text` starts with, both quotes included.
pub(crate) fn quoted_len(text: &str) -> Result<usize, Malformed> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(Malformed("a quoted string is not closed"))
}

/// The text of a quoted string with quotes and escapes undone; any other text as it is.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    if text.as_bytes().first() != Some(&b'"') {
        return Cow::Borrowed(text);
    }
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for char in inner.chars() {
        if char == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(char);
            escaped = false;
        }
    }
    Cow::Owned(plain)
}

/// The parameters behind a value: `;name=value;name;name="quoted"` (RFC 3261 §25.1 generic-param). Names are matched
/// without regard to case. A value that is not quoted may hold more than a token, because the pool writes base64 there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Checks that `text` is nothing but parameters.
    ///
    /// # Errors
    /// An empty parameter, a name that is no token, an open quote, or anything that is no parameter.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        Self::parse_noting(text, "").map(|(params, _)| params)
    }

    /// Parameters that were checked before.
    pub(super) fn known(text: &'a str) -> Self {
        Self(text)
    }

    /// As [`Params::parse`], and gives the raw value of the parameter of this name, empty if it has none.
    ///
    /// # Errors
    /// As [`Params::parse`]; also where the parameter of this name stands twice (RFC 3261 §7.3.1).
    pub(super) fn parse_noting(text: &'a str, name: &str) -> Result<(Self, Option<&'a str>), Malformed> {
        let text = text.trim_ascii();
        let (mut rest, mut noted) = (text, None);
        while !rest.is_empty() {
            let (found, value, after) = param(rest)?;
            if found.eq_ignore_ascii_case(name) && noted.replace(value.unwrap_or_default()).is_some() {
                return Err(Malformed("a parameter that may stand once stands twice"));
            }
            rest = after;
        }
        Ok((Self(text), noted))
    }

    /// Name and value of each parameter, quotes kept.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = param(rest).ok()?;
            rest = after;
            Some((name, value))
        })
    }

    /// The value of the first parameter of this name, quotes undone; empty if the parameter has none.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, value) = self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(value.map_or(Cow::Borrowed(""), unquote))
    }

    /// Whether a parameter of this name stands more than once, which none may (RFC 3261 §7.3.1).
    pub fn is_repeated(&self, name: &str) -> bool {
        self.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).count() > 1
    }

    /// The parameters as they were written, each with its semicolon.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

type Param<'a> = (&'a str, Option<&'a str>, &'a str);

fn param(text: &str) -> Result<Param<'_>, Malformed> {
    let rest = text.strip_prefix(';').ok_or(Malformed("parameters must start with a semicolon"))?;
    let rest = trim_start(rest);
    let end = run(rest.as_bytes(), TOKEN);
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        return Err(Malformed("a parameter has no name"));
    }
    let rest = trim_start(rest);
    let Some(rest) = rest.strip_prefix('=') else { return Ok((name, None, rest)) };
    let rest = trim_start(rest);
    let end = if rest.starts_with('"') { quoted_len(rest)? } else { run(rest.as_bytes(), VALUE) };
    let (value, rest) = rest.split_at(end);
    if value.is_empty() {
        return Err(Malformed("a parameter has an equals sign and no value"));
    }
    Ok((name, Some(value), trim_start(rest)))
}

/// As `trim_ascii_start`, for text that nearly never begins with a space.
fn trim_start(text: &str) -> &str {
    if text.as_bytes().first().is_some_and(u8::is_ascii_whitespace) { text.trim_ascii_start() } else { text }
}
