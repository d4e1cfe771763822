//! Search filters: their text (RFC 4515) and what goes over the wire (RFC 4511 §4.5.1.7). Invariant: a [`Filter`] is a whole encoded
//! filter; values put into one are values, whatever octets they hold.

use std::fmt;
use std::str::FromStr;

use super::ber::{put, put_octets};

const AND: u8 = 0xA0;
const OR: u8 = 0xA1;
const NOT: u8 = 0xA2;
const EQUAL: u8 = 0xA3;
const SUBSTRINGS: u8 = 0xA4;
const AT_LEAST: u8 = 0xA5;
const AT_MOST: u8 = 0xA6;
const PRESENT: u8 = 0x87;
const APPROXIMATELY: u8 = 0xA8;
const EXTENSIBLE: u8 = 0xA9;

/// How deep filters may lie within each other.
const DEPTH_MAX: usize = 20;

/// Longest text of a filter, in octets.
const TEXT_BYTES_MAX: usize = 8192;

/// An encoded filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    encoded: Vec<u8>,
}

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    at: usize,
    what: &'static str,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "is no search filter: {} at octet {}; write it as RFC 4515 has it: (&(objectClass=user)(mail=*))",
            self.what, self.at
        )
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    pub(in crate::directory) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// `(attribute=value)`.
    pub(super) fn equal(attribute: &str, value: &[u8]) -> Self {
        Self::compared(EQUAL, attribute, value)
    }

    /// `(attribute>=number)`.
    pub(super) fn at_least(attribute: &str, number: u64) -> Self {
        Self::compared(AT_LEAST, attribute, number.to_string().as_bytes())
    }

    /// `(attribute=*)`.
    pub fn present(attribute: &str) -> Self {
        let mut encoded = Vec::new();
        put_octets(&mut encoded, PRESENT, attribute.as_bytes());
        Self { encoded }
    }

    /// All of them hold.
    pub(super) fn all(of: &[&Self]) -> Self {
        Self::joined(AND, of)
    }

    /// One of them holds.
    pub(super) fn any(of: &[&Self]) -> Self {
        Self::joined(OR, of)
    }

    fn joined(tag: u8, of: &[&Self]) -> Self {
        let mut encoded = Vec::new();
        put(&mut encoded, tag, |out| of.iter().for_each(|one| out.extend_from_slice(&one.encoded)));
        Self { encoded }
    }

    fn compared(tag: u8, attribute: &str, value: &[u8]) -> Self {
        let mut encoded = Vec::new();
        put_comparison(&mut encoded, tag, attribute.as_bytes(), value);
        Self { encoded }
    }
}

fn put_comparison(out: &mut Vec<u8>, tag: u8, attribute: &[u8], value: &[u8]) {
    put(out, tag, |out| {
        put_octets(out, super::ber::OCTETS, attribute);
        put_octets(out, super::ber::OCTETS, value);
    });
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut read = Read { text: text.as_bytes(), at: 0 };
        if text.len() > TEXT_BYTES_MAX {
            return Err(read.wrong("it is too long, beginning"));
        }
        let mut encoded = Vec::new();
        read.filter(&mut encoded, 0)?;
        if read.at < text.len() {
            return Err(read.wrong("there is more after its end"));
        }
        Ok(Self { encoded })
    }
}

struct Read<'a> {
    text: &'a [u8],
    at: usize,
}

impl Read<'_> {
    fn wrong(&self, what: &'static str) -> FilterError {
        FilterError { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, wanted: u8, what: &'static str) -> Result<(), FilterError> {
        if self.peek() != Some(wanted) {
            return Err(self.wrong(what));
        }
        self.at += 1;
        Ok(())
    }

    fn filter(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), FilterError> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("it is nested too deeply"));
        }
        self.eat(b'(', "a ( is missing")?;
        let tag = match self.peek() {
            Some(b'&') => Some(AND),
            Some(b'|') => Some(OR),
            Some(b'!') => Some(NOT),
            _ => None,
        };
        match tag {
            Some(tag) => {
                self.at += 1;
                let mut inner = Vec::new();
                let mut count = 0;
                while self.peek() == Some(b'(') {
                    self.filter(&mut inner, depth + 1)?;
                    count += 1;
                }
                if count == 0 || tag == NOT && count > 1 {
                    return Err(self.wrong("there are too few or too many filters within"));
                }
                put_octets(out, tag, &inner);
            }
            None => self.item(out)?,
        }
        self.eat(b')', "a ) is missing")
    }

    fn item(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-.;".contains(&byte)) {
            self.at += 1;
        }
        let attribute = self.text[begin..self.at].to_vec();
        if self.peek() == Some(b':') {
            return self.extensible(&attribute, out);
        }
        if attribute.is_empty() {
            return Err(self.wrong("the name of an attribute is missing"));
        }
        let tag = match self.peek() {
            Some(b'=') => EQUAL,
            Some(b'>') => AT_LEAST,
            Some(b'<') => AT_MOST,
            Some(b'~') => APPROXIMATELY,
            _ => return Err(self.wrong("a = is missing")),
        };
        if tag != EQUAL {
            self.at += 1;
        }
        self.eat(b'=', "a = is missing")?;
        let parts = self.parts()?;
        match (tag, parts.as_slice()) {
            (EQUAL, [before, after]) if before.is_empty() && after.is_empty() => {
                put_octets(out, PRESENT, &attribute)
            }
            (tag, [value]) => put_comparison(out, tag, &attribute, value),
            (EQUAL, parts) => put(out, SUBSTRINGS, |out| {
                put_octets(out, super::ber::OCTETS, &attribute);
                put(out, super::ber::SEQUENCE, |out| {
                    for (at, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
                        let place = if at == 0 {
                            0x80
                        } else if at + 1 == parts.len() {
                            0x82
                        } else {
                            0x81
                        };
                        put_octets(out, place, part);
                    }
                });
            }),
            _ => return Err(self.wrong("a * stands where none may")),
        }
        Ok(())
    }

    /// `attribute:dn:rule:=value`, such as the bit masks of Active Directory.
    fn extensible(&mut self, attribute: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut of_dn = false;
        let mut rule = Vec::new();
        loop {
            self.eat(b':', "a : is missing")?;
            if self.peek() == Some(b'=') {
                self.at += 1;
                break;
            }
            let begin = self.at;
            while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) {
                self.at += 1;
            }
            match &self.text[begin..self.at] {
                b"dn" if !of_dn && rule.is_empty() => of_dn = true,
                name if !name.is_empty() && rule.is_empty() => rule = name.to_vec(),
                _ => return Err(self.wrong("a matching rule is missing")),
            }
        }
        let [value] = self.parts()?.try_into().map_err(|_| self.wrong("a * stands where none may"))?;
        if attribute.is_empty() && rule.is_empty() {
            return Err(self.wrong("neither attribute nor matching rule is named"));
        }
        put(out, EXTENSIBLE, |out| {
            if !rule.is_empty() {
                put_octets(out, 0x81, &rule);
            }
            if !attribute.is_empty() {
                put_octets(out, 0x82, attribute);
            }
            put_octets(out, 0x83, &value);
            if of_dn {
                put_octets(out, 0x84, &[0xFF]);
            }
        });
        Ok(())
    }

    /// A value, in pieces between stars.
    fn parts(&mut self) -> Result<Vec<Vec<u8>>, FilterError> {
        let mut parts = vec![Vec::new()];
        loop {
            let Some(byte) = self.peek().filter(|&byte| byte != b')') else { return Ok(parts) };
            self.at += 1;
            let octet = match byte {
                b'*' => {
                    parts.push(Vec::new());
                    continue;
                }
                b'\\' => {
                    let digits = self.text.get(self.at..self.at + 2);
                    let octet = digits
                        .and_then(|digits| std::str::from_utf8(digits).ok())
                        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    self.at += 2;
                    octet.ok_or_else(|| FilterError {
                        at: self.at - 3,
                        what: "two hexadecimal digits do not follow a \\",
                    })?
                }
                b'(' | 0 => {
                    return Err(FilterError { at: self.at - 1, what: "a ( has to be written as \\28" });
                }
                byte => byte,
            };
            if let Some(part) = parts.last_mut() {
                part.push(octet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        let filter: Filter = text.parse().unwrap();
        filter.encoded.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn filters_are_encoded() {
        assert_eq!(hex("(a=b)"), "a306040161040162");
        assert_eq!(hex("(a=*)"), "870161");
        assert_eq!(hex("(a>=1)"), "a506040161040131");
        assert_eq!(hex("(a<=1)"), "a606040161040131");
        assert_eq!(hex("(a~=1)"), "a806040161040131");
        assert_eq!(hex("(!(a=*))"), "a203870161");
        assert_eq!(hex("(&(a=*)(|(b=*)(c=*)))"), "a00b870161a106870162870163");
        assert_eq!(hex("(a=x*y*z)"), "a40e040161300980017881017982017a");
        assert_eq!(hex("(a=\\2a\\00)"), "a30704016104022a00");
        assert_eq!(hex("(a:1.2:=2)"), "a90b8103312e32820161830132");
        assert_eq!(Filter::equal("a", b"b"), "(a=b)".parse().unwrap());
        assert_eq!(Filter::at_least("a", 1), "(a>=1)".parse().unwrap());
        let (a, b) = (Filter::present("a"), Filter::present("b"));
        assert_eq!(Filter::all(&[&a, &b]), "(&(a=*)(b=*))".parse().unwrap());
        assert_eq!(Filter::any(&[&a, &b]), "(|(a=*)(b=*))".parse().unwrap());
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("a=b", 0),
            ("(a=b", 4),
            ("(a=b))", 5),
            ("(=b)", 1),
            ("(a b=c)", 2),
            ("(&)", 2),
            ("(!(a=*)(b=*))", 12),
            ("(a>=*)", 5),
            ("(a=\\2)", 3),
            ("(a=\\+1)", 3),
            ("(a=(b)", 3),
            ("(a:=*)", 5),
            ("(:=b)", 4),
        ] {
            assert_eq!(text.parse::<Filter>().unwrap_err().at, at, "{text}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(30), ")".repeat(30));
        assert!(deep.parse::<Filter>().is_err());
    }
}
