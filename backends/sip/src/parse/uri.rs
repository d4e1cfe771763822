//! Addresses as SIP writes them (RFC 3261 §19.1). Nothing is decoded here: what an escape means is for
//! [`crate::address`] to say, once.

use memchr::memchr;

use super::lexer::{ADDRESS, HOST, Malformed, UNRESERVED, run};

/// What an address starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`, which must never be carried over a hop without TLS (RFC 3261 §26.2.2).
    Sips,
    /// Any other scheme; the rest of the address is in [`Uri::opaque`].
    Other,
}

/// An address, in the pieces it was written in, escapes kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The scheme as a value to match on.
    pub scheme: Scheme,
    /// The scheme as it was written, without its colon.
    pub scheme_text: &'a str,
    /// Everything behind the colon of the scheme.
    pub opaque: &'a str,
    /// The user part, parameters in it included; `None` for a bare host.
    pub user: Option<&'a str>,
    /// What follows a colon in the user part. RFC 3261 §19.1.1 advises against it; turnout never writes it.
    pub password: Option<&'a str>,
    /// Host name, IPv4 address or bracketed IPv6 address; empty for other schemes.
    pub host: &'a str,
    /// Port, if written.
    pub port: Option<u16>,
    /// `;name=value` parameters, the first semicolon included; empty if there are none.
    pub params: &'a str,
    /// The `?name=value&...` headers, without the question mark.
    pub headers: Option<&'a str>,
}

impl<'a> Uri<'a> {
    /// Reads an address that fills `text` exactly.
    ///
    /// # Errors
    /// No scheme, a character that must be escaped, a broken escape, no host, a port out of range.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let colon = memchr(b':', text.as_bytes()).ok_or(Malformed("an address has no scheme"))?;
        let (scheme_text, opaque) = (&text[..colon], &text[colon + 1..]);
        if !is_scheme(scheme_text) {
            return Err(Malformed("the scheme of an address is malformed"));
        }
        if let Some(byte) = opaque.as_bytes().get(run(opaque.as_bytes(), ADDRESS)) {
            return Err(if byte.is_ascii() {
                Malformed("an address holds a space, a control character, a quote or an angle bracket")
            } else {
                Malformed("an address holds a byte outside ASCII that is not escaped")
            });
        }
        let scheme = match scheme_text {
            "sip" => Scheme::Sip,
            text if text.eq_ignore_ascii_case("sip") => Scheme::Sip,
            text if text.eq_ignore_ascii_case("sips") => Scheme::Sips,
            _ => Scheme::Other,
        };
        let bare = Self {
            scheme,
            scheme_text,
            opaque,
            user: None,
            password: None,
            host: "",
            port: None,
            params: "",
            headers: None,
        };
        if scheme == Scheme::Other {
            return if opaque.is_empty() { Err(Malformed("an address is empty")) } else { Ok(bare) };
        }
        bare.sip()
    }

    /// The value of the first parameter of this name: empty if it has none, escapes kept.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// Name and value of each parameter, escapes kept.
    pub fn params(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.params.split(';').skip(1).map(|param| match param.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (param, None),
        })
    }

    fn sip(mut self) -> Result<Self, Malformed> {
        let rest = match split(self.opaque, b'@') {
            Some((userinfo, rest)) => {
                let (user, password) = match split(userinfo, b':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                check_chars(
                    user,
                    b"&=+$,;?/",
                    "the user part of an address holds a character to be escaped",
                )?;
                check_chars(
                    password.unwrap_or_default(),
                    b"&=+$,",
                    "the password of an address is malformed",
                )?;
                if user.is_empty() {
                    return Err(Malformed("the user part of an address is empty"));
                }
                (self.user, self.password) = (Some(user), password);
                rest
            }
            None => self.opaque,
        };
        let (rest, headers) = match split(rest, b'?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        check_chars(headers.unwrap_or_default(), b"[]/?:+$&=", "the headers of an address are malformed")?;
        let (hostport, params) = rest.split_at(memchr(b';', rest.as_bytes()).unwrap_or(rest.len()));
        check_chars(params, b"[]/:&+$;=", "the parameters of an address are malformed")?;
        let nameless = |pair: &[u8]| pair[0] == b';' && matches!(pair[1], b';' | b'=');
        if params.ends_with(';') || params.as_bytes().windows(2).any(nameless) {
            return Err(Malformed("a parameter of an address has no name"));
        }
        (self.host, self.port) = host_port(hostport)?;
        (self.params, self.headers) = (params, headers);
        Ok(self)
    }
}

/// Splits `host[:port]`; white space around the colon is allowed, as in Via.
pub(crate) fn host_port(text: &str) -> Result<(&str, Option<u16>), Malformed> {
    let wrong = Malformed("a host is malformed");
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(wrong)?;
        let (host, rest) = text.split_at(end + 1);
        let inner = &host[1..end];
        if !is_ipv6(inner) {
            return Err(Malformed("a bracketed host is no IPv6 address"));
        }
        match rest.trim_ascii().strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.trim_ascii().is_empty() => (host, None),
            None => return Err(wrong),
        }
    } else {
        match split(text, b':') {
            Some((host, port)) => (host.trim_ascii_end(), Some(port)),
            None => (text.trim_ascii_end(), None),
        }
    };
    if host.is_empty() || !host.starts_with('[') && run(host.as_bytes(), HOST) < host.len() {
        return Err(wrong);
    }
    let Some(port) = port.map(str::trim_ascii) else { return Ok((host, None)) };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed("a port is not a number"));
    }
    let port = port.parse().map_err(|_| Malformed("a port is out of range"))?;
    Ok((host, Some(port)))
}

/// Whether this is an IPv6 address; also with one colon too many in front of an IPv4 address within, as the grammar of RFC 3261 has it
/// and RFC 5118 §4.10 wants it to be borne with. Nothing is ever reached at what is written here.
fn is_ipv6(text: &str) -> bool {
    let (rest, last) = match text.split_once(":::") {
        Some((rest, last)) if last.parse::<std::net::Ipv4Addr>().is_ok() => (rest, last),
        _ => return text.parse::<std::net::Ipv6Addr>().is_ok(),
    };
    format!("{rest}::{last}").parse::<std::net::Ipv6Addr>().is_ok()
}

/// As `split_once`, of a byte of ASCII.
fn split(text: &str, at: u8) -> Option<(&str, &str)> {
    let at = memchr(at, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether every byte is unreserved, one of `also`, or part of a whole escape.
fn check_chars(text: &str, also: &[u8], wrong: &'static str) -> Result<(), Malformed> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += run(&bytes[at..], UNRESERVED);
        let Some(byte) = bytes.get(at) else { return Ok(()) };
        if *byte == b'%' {
            if !bytes.get(at + 1..at + 3).is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit)) {
                return Err(Malformed("a percent escape in an address is not followed by two hex digits"));
            }
            at += 3;
            continue;
        }
        if !also.contains(byte) {
            return Err(Malformed(wrong));
        }
        at += 1;
    }
}
