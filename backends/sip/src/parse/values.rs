//! Values of header fields that turnout reads piece by piece.

use std::borrow::Cow;

use memchr::memchr;

use super::lexer::{Malformed, Params, is_token, quoted_len, unquote};
use super::uri::{Uri, host_port};

/// The value of From, To, Contact, Route and their like (RFC 3261 §20.10): display name, address, parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    display: &'a str,
    /// The address.
    pub uri: Uri<'a>,
    /// The address as it was written, byte for byte.
    pub uri_text: &'a str,
    /// The parameters of the header (`tag`, `epid`, ...), not those inside the address.
    pub params: Params<'a>,
    /// The `tag` parameter as it was written.
    tag: Option<&'a str>,
}

impl<'a> NameAddr<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// An open quote or bracket, a display name that needs quotes and has none, a malformed address or parameter; also
    /// an address with a comma or question mark outside brackets, where nobody can say what the mark belongs to (RFC
    /// 3261 §20).
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let text = utf8(value)?;
        let (display, rest) = if text.starts_with('"') {
            let (display, rest) = text.split_at(quoted_len(text)?);
            (display, rest.trim_ascii_start())
        } else {
            let end = memchr::memchr3(b'<', b'"', b';', text.as_bytes()).unwrap_or(text.len());
            if !text[end..].starts_with('<') {
                return Self::without_brackets(text);
            }
            let (display, rest) = text.split_at(end);
            if end > 0 && !display.split_ascii_whitespace().all(|word| is_token(word.as_bytes())) {
                return Err(Malformed("a display name with marks in it is not quoted"));
            }
            (display.trim_ascii(), rest)
        };
        let rest = rest.strip_prefix('<').ok_or(Malformed("no address in angle brackets follows a name"))?;
        let end = memchr(b'>', rest.as_bytes()).ok_or(Malformed("an angle bracket is not closed"))?;
        let (uri_text, rest) = (&rest[..end], &rest[end + 1..]);
        let uri = Uri::parse(uri_text)?;
        let (params, tag) = Params::parse_noting(rest, "tag")?;
        Ok(Self { display, uri, uri_text, params, tag })
    }

    /// The display name with quotes and escapes undone; empty if there is none. It says what somebody called himself and
    /// is no proof of anything.
    pub fn display(&self) -> Cow<'a, str> {
        unquote(self.display)
    }

    /// The `tag` parameter, half of what names a dialog.
    pub fn tag(&self) -> Option<Cow<'a, str>> {
        self.tag.map(unquote)
    }

    /// Where the tag lies in the value this was read from; `None` if there is none, or one in quotes.
    pub(crate) fn tag_span(&self, value: &[u8]) -> Option<std::ops::Range<usize>> {
        let tag = self.tag.filter(|tag| !tag.starts_with('"'))?;
        let start = (tag.as_ptr() as usize).checked_sub(value.as_ptr() as usize)?;
        let span = start..start + tag.len();
        (value.get(span.clone()) == Some(tag.as_bytes())).then_some(span)
    }

    fn without_brackets(text: &'a str) -> Result<Self, Malformed> {
        let (uri_text, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let uri_text = uri_text.trim_ascii_end();
        if uri_text.contains([',', '?']) {
            return Err(Malformed("an address with a comma or question mark needs angle brackets"));
        }
        let uri = Uri::parse(uri_text)?;
        let (params, tag) = Params::parse_noting(params, "tag")?;
        Ok(Self { display: "", uri, uri_text, params, tag })
    }
}

/// One hop of the way a request came (RFC 3261 §20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// The version of the protocol, `2.0`.
    pub version: &'a str,
    /// `TLS`, `TCP`, `UDP` or another token, as it was written.
    pub transport: &'a str,
    /// Host of the sender.
    pub host: &'a str,
    /// Port of the sender, if written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// The `branch` parameter as it was written.
    branch: Option<&'a str>,
}

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// Another protocol than SIP, a missing piece, a malformed host, port or parameter.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let text = utf8(value)?;
        let wrong = Malformed("a Via does not start with SIP/version/transport");
        let (version, rest) = match text.strip_prefix("SIP/2.0/") {
            // As nearly everybody writes it.
            Some(rest) => ("2.0", rest),
            None => {
                let (protocol, rest) = text.split_once('/').ok_or(wrong)?;
                let (version, rest) = rest.split_once('/').ok_or(wrong)?;
                let version = version.trim_ascii();
                if !protocol.trim_ascii().eq_ignore_ascii_case("SIP") || !is_token(version.as_bytes()) {
                    return Err(wrong);
                }
                (version, rest)
            }
        };
        let rest = rest.trim_ascii_start();
        let end = rest.bytes().position(|byte| byte.is_ascii_whitespace());
        let (transport, rest) = rest.split_at(end.ok_or(Malformed("a Via has no sender"))?);
        if !is_token(transport.as_bytes()) {
            return Err(wrong);
        }
        let rest = rest.trim_ascii();
        let (sent_by, params) = rest.split_at(memchr(b';', rest.as_bytes()).unwrap_or(rest.len()));
        let (host, port) = host_port(sent_by.trim_ascii())?;
        let (params, branch) = Params::parse_noting(params, "branch")?;
        Ok(Self { version, transport, host, port, params, branch })
    }

    /// A Via of which everything was found before: version and transport, host and port, parameters and branch.
    pub(super) fn of_parts(
        (version, transport): (&'a str, &'a str),
        (host, port): (&'a str, Option<u16>),
        (params, branch): (&'a str, &'a str),
    ) -> Self {
        Self { version, transport, host, port, params: Params::known(params), branch: Some(branch) }
    }

    /// The branch as it was written.
    pub(super) fn raw_branch(&self) -> Option<&'a str> {
        self.branch
    }

    /// The branch, which names the transaction when it starts with the magic cookie `z9hG4bK`. Hops behind a pool may have none.
    pub fn branch(&self) -> Option<Cow<'a, str>> {
        self.branch.map(unquote)
    }
}

/// Number and method of a request (RFC 3261 §20.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Place of the request among those of its dialog.
    pub number: u32,
    /// Method, case kept: methods differ by case.
    pub method: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// No number below 2^32, or no method.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let value = value.trim_ascii();
        let end = value.iter().position(u8::is_ascii_whitespace).ok_or(Malformed("CSeq has no method"))?;
        let (number, method) = value.split_at(end);
        let method = method.trim_ascii();
        if !is_token(method) {
            return Err(Malformed("the method of CSeq is not a token"));
        }
        let number = number_of(number).ok_or(Malformed("the number of CSeq is not below 2^32"))?;
        Ok(Self { number, method })
    }
}

/// A media type with parameters (RFC 3261 §20.15); the value of `ms-text-format` has the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// The type, as in `text`.
    pub kind: &'a str,
    /// The subtype, as in `plain`.
    pub subtype: &'a str,
    /// The parameters, `charset` and `boundary` among them.
    pub params: Params<'a>,
}

impl<'a> MediaType<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// No slash between two tokens, or a malformed parameter.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let text = utf8(value)?;
        let (essence, params) = text.split_at(memchr(b';', text.as_bytes()).unwrap_or(text.len()));
        let (kind, subtype) = essence.split_once('/').ok_or(Malformed("a media type has no slash"))?;
        let (kind, subtype) = (kind.trim_ascii(), subtype.trim_ascii());
        if !is_token(kind.as_bytes()) || !is_token(subtype.as_bytes()) {
            return Err(Malformed("a media type is not two tokens"));
        }
        Ok(Self { kind, subtype, params: Params::parse(params)? })
    }

    /// Whether this is the given type, case aside; `essence` is written as `text/plain`.
    pub fn is(&self, essence: &str) -> bool {
        essence.split_once('/').is_some_and(|(kind, subtype)| {
            self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
        })
    }
}

/// A word with parameters: the shape of Event, Subscription-State, Session-Expires, Expires-like values and ms-diagnostics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a> {
    /// What stands before the first semicolon.
    pub text: &'a str,
    /// The parameters.
    pub params: Params<'a>,
}

impl<'a> Word<'a> {
    /// Reads the value.
    ///
    /// # Errors
    /// No token before the first semicolon, or a malformed parameter.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let text = utf8(value)?;
        let (word, params) = text.split_at(text.find(';').unwrap_or(text.len()));
        let word = word.trim_ascii();
        if !is_token(word.as_bytes()) {
            return Err(Malformed("a value does not start with a token"));
        }
        Ok(Self { text: word, params: Params::parse(params)? })
    }

    /// The word as a number below 2^32: seconds, or the code of ms-diagnostics.
    pub fn number(&self) -> Option<u32> {
        number_of(self.text.as_bytes())
    }
}

/// Digits only, below 2^32.
pub(crate) fn number_of(value: &[u8]) -> Option<u32> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: Option<u32>, digit: &u8| sum?.checked_mul(10)?.checked_add(u32::from(digit - b'0'));
    value.iter().fold(Some(0), digit)
}

fn utf8(value: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(value).map_err(|_| Malformed("a header value is not UTF-8"))?;
    Ok(text.trim_ascii())
}
