//! The small pieces of the SIP grammar (RFC 3261 §25.1) that every header value is made of. Each function reads its input
//! once, from left to right.

use std::borrow::Cow;

/// A value that does not follow the grammar; the text says what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Whether a byte may stand in a `token`.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
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
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
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
        Self { rest: Some(value), whole: !is_list }
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
    let (mut quoted, mut bracketed, mut escaped) = (false, false, false);
    bytes.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if !bracketed => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            b',' => return !quoted && !bracketed,
            _ => {}
        }
        false
    })
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
        let text = text.trim_ascii();
        let mut rest = text;
        while !rest.is_empty() {
            rest = param(rest)?.2;
        }
        Ok(Self(text))
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

    /// The parameters as they were written, each with its semicolon.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

type Param<'a> = (&'a str, Option<&'a str>, &'a str);

fn param(text: &str) -> Result<Param<'_>, Malformed> {
    let rest = text.strip_prefix(';').ok_or(Malformed("parameters must start with a semicolon"))?;
    let rest = rest.trim_ascii_start();
    let end = rest.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        return Err(Malformed("a parameter has no name"));
    }
    let rest = rest.trim_ascii_start();
    let Some(rest) = rest.strip_prefix('=') else { return Ok((name, None, rest)) };
    let rest = rest.trim_ascii_start();
    let end = if rest.starts_with('"') {
        quoted_len(rest)?
    } else {
        rest.bytes().position(|byte| byte <= b' ' || b";,\"<>\x7f".contains(&byte)).unwrap_or(rest.len())
    };
    let (value, rest) = rest.split_at(end);
    if value.is_empty() {
        return Err(Malformed("a parameter has an equals sign and no value"));
    }
    Ok((name, Some(value), rest.trim_ascii_start()))
}
