//! The messages of LDAP that are needed to read a directory (RFC 4511). Invariant: what is decoded was well-formed in full; a
//! message that is not, or that nobody asked for, is [`Malformed`] and ends the session.

use super::ber::{self, Malformed, Reader, put, put_number, put_octets};
use super::filter::Filter;

const BIND: u8 = 0x60;
const BOUND: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_DONE: u8 = 0x78;
const CONTROLS: u8 = 0xA0;

/// Controls, attributes and values that one message may have.
const PARTS_MAX: usize = 10_000;

/// How far a search reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The base alone.
    Base = 0,
    /// Everything below.
    Subtree = 2,
}

/// What is asked of a server beside the search itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) oid: &'static str,
    pub(super) critical: bool,
    pub(super) value: Option<Vec<u8>>,
}

/// A search.
#[derive(Debug, Clone)]
pub(super) struct Search<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a Filter,
    pub(super) attributes: &'a [&'a str],
    /// The server gives up after so many seconds.
    pub(super) seconds: u64,
    pub(super) controls: &'a [Control],
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// `resultCode` (RFC 4511 appendix A).
    pub(super) code: i64,
    /// The server's own words.
    pub(super) text: String,
}

/// An entry of a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) dn: &'a str,
    attributes: Reader<'a>,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    Bound(Outcome),
    Entry(Entry<'a>),
    /// Somewhere else there may be more; we do not go there.
    Reference,
    Done(Outcome, Reader<'a>),
    Extended(Outcome),
}

fn message(id: i64, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, ber::SEQUENCE, |out| {
        put_number(out, ber::INTEGER, id);
        fill(out);
    });
    out
}

/// A simple bind.
pub(super) fn bind(id: i64, dn: &str, password: &[u8]) -> Vec<u8> {
    message(id, |out| {
        put(out, BIND, |out| {
            put_number(out, ber::INTEGER, 3);
            put_octets(out, ber::OCTETS, dn.as_bytes());
            put_octets(out, 0x80, password);
        });
    })
}

/// The end of a session.
pub(super) fn unbind(id: i64) -> Vec<u8> {
    message(id, |out| put_octets(out, UNBIND, &[]))
}

/// StartTLS (RFC 4511 §4.14).
pub(super) fn start_tls(id: i64) -> Vec<u8> {
    message(id, |out| put(out, EXTENDED, |out| put_octets(out, 0x80, b"1.3.6.1.4.1.1466.20037")))
}

/// A search.
pub(super) fn search(id: i64, search: &Search<'_>) -> Vec<u8> {
    message(id, |out| {
        put(out, SEARCH, |out| {
            put_octets(out, ber::OCTETS, search.base.as_bytes());
            put_number(out, ber::ENUMERATED, search.scope as i64);
            put_number(out, ber::ENUMERATED, 0); // aliases are not followed
            put_number(out, ber::INTEGER, 0); // as many entries as the page says
            put_number(out, ber::INTEGER, i64::try_from(search.seconds).unwrap_or(i64::MAX));
            put_octets(out, ber::BOOLEAN, &[0]);
            out.extend_from_slice(search.filter.encoded());
            put(out, ber::SEQUENCE, |out| {
                for name in search.attributes {
                    put_octets(out, ber::OCTETS, name.as_bytes());
                }
            });
        });
        if search.controls.is_empty() {
            return;
        }
        put(out, CONTROLS, |out| {
            for control in search.controls {
                put(out, ber::SEQUENCE, |out| {
                    put_octets(out, ber::OCTETS, control.oid.as_bytes());
                    if control.critical {
                        put_octets(out, ber::BOOLEAN, &[0xFF]);
                    }
                    if let Some(value) = &control.value {
                        put_octets(out, ber::OCTETS, value);
                    }
                });
            }
        });
    })
}

/// Reads a whole message: its number and what it says.
pub(super) fn answer(bytes: &[u8]) -> Result<(i64, Answer<'_>), Malformed> {
    let mut outer = Reader::new(bytes);
    let mut message = outer.enter(ber::SEQUENCE)?;
    let id = message.number(ber::INTEGER)?;
    let (tag, content) = message.next()?;
    let mut content = Reader::new(content);
    let controls = match message.peek() {
        Some(CONTROLS) => message.enter(CONTROLS)?,
        // Active Directory puts the name of a notice of disconnection behind it.
        Some(0x8A) => {
            message.next()?;
            Reader::new(&[])
        }
        _ => Reader::new(&[]),
    };
    if !message.is_empty() || !outer.is_empty() {
        return Err(Malformed);
    }
    let answer = match tag {
        BOUND => Answer::Bound(outcome(&mut content)?),
        EXTENDED_DONE => Answer::Extended(outcome(&mut content)?),
        DONE => Answer::Done(outcome(&mut content)?, controls),
        REFERENCE => Answer::Reference,
        ENTRY => {
            let dn = content.text(ber::OCTETS)?;
            let entry = Entry { dn, attributes: content.enter(ber::SEQUENCE)? };
            entry.check()?;
            Answer::Entry(entry)
        }
        _ => return Err(Malformed),
    };
    Ok((id, answer))
}

fn outcome(content: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    let code = content.number(ber::ENUMERATED)?;
    content.take(ber::OCTETS)?;
    // Some servers end their words with a zero.
    let text = String::from_utf8_lossy(content.take(ber::OCTETS)?).trim_end_matches('\0').trim().to_owned();
    Ok(Outcome { code, text })
}

/// The value of a control in an answer.
pub(super) fn control<'a>(mut controls: Reader<'a>, oid: &str) -> Result<Option<&'a [u8]>, Malformed> {
    for _ in 0..PARTS_MAX {
        if controls.is_empty() {
            return Ok(None);
        }
        let mut control = controls.enter(ber::SEQUENCE)?;
        let found = control.take(ber::OCTETS)?;
        if control.peek() == Some(ber::BOOLEAN) {
            control.next()?;
        }
        if found == oid.as_bytes() {
            return if control.is_empty() { Ok(None) } else { control.take(ber::OCTETS).map(Some) };
        }
    }
    Err(Malformed)
}

impl<'a> Entry<'a> {
    fn check(&self) -> Result<(), Malformed> {
        let mut parts = 0;
        let mut attributes = self.attributes;
        while !attributes.is_empty() {
            let mut attribute = attributes.enter(ber::SEQUENCE)?;
            attribute.text(ber::OCTETS)?;
            let mut values = attribute.enter(ber::SET)?;
            while !values.is_empty() {
                values.take(ber::OCTETS)?;
                parts += 1;
            }
            parts += 1;
            if !attribute.is_empty() || parts > PARTS_MAX {
                return Err(Malformed);
            }
        }
        Ok(())
    }

    /// The values of an attribute, its name compared without regard to case.
    pub(super) fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let mut attributes = self.attributes;
        while let Ok(mut attribute) = attributes.enter(ber::SEQUENCE) {
            let (Ok(found), Ok(mut values)) = (attribute.text(ber::OCTETS), attribute.enter(ber::SET)) else {
                break;
            };
            if found.eq_ignore_ascii_case(name) {
                return std::iter::from_fn(|| values.take(ber::OCTETS).ok()).collect();
            }
        }
        Vec::new()
    }

    /// The first value of an attribute.
    pub(super) fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).first().copied()
    }

    /// The first value of an attribute, if it is text.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An entry as a server sends it.
    pub(crate) fn entry(id: i64, dn: &str, attributes: &[(&str, &[&[u8]])]) -> Vec<u8> {
        message(id, |out| {
            put(out, ENTRY, |out| {
                put_octets(out, ber::OCTETS, dn.as_bytes());
                put(out, ber::SEQUENCE, |out| {
                    for (name, values) in attributes {
                        put(out, ber::SEQUENCE, |out| {
                            put_octets(out, ber::OCTETS, name.as_bytes());
                            put(out, ber::SET, |out| {
                                values.iter().for_each(|value| put_octets(out, ber::OCTETS, value))
                            });
                        });
                    }
                });
            });
        })
    }

    /// The end of an operation as a server sends it.
    pub(crate) fn result(id: i64, tag: u8, code: i64, text: &str, controls: &[(&str, &[u8])]) -> Vec<u8> {
        message(id, |out| {
            put(out, tag, |out| {
                put_number(out, ber::ENUMERATED, code);
                put_octets(out, ber::OCTETS, b"");
                put_octets(out, ber::OCTETS, text.as_bytes());
            });
            if !controls.is_empty() {
                put(out, CONTROLS, |out| {
                    for (oid, value) in controls {
                        put(out, ber::SEQUENCE, |out| {
                            put_octets(out, ber::OCTETS, oid.as_bytes());
                            put_octets(out, ber::OCTETS, value);
                        });
                    }
                });
            }
        })
    }

    #[test]
    fn answers_are_read() {
        let bytes = entry(7, "CN=Ann", &[("MAIL", &[b"a@b", b"c@d"]), ("none", &[])]);
        let (id, Answer::Entry(entry)) = answer(&bytes).unwrap() else { panic!("no entry") };
        assert_eq!((id, entry.dn, entry.text("mail")), (7, "CN=Ann", Some("a@b")));
        assert_eq!(entry.values("mail"), [b"a@b", b"c@d"]);
        assert!(entry.first("none").is_none() && entry.first("other").is_none());
        let bytes = result(8, DONE, 32, "no such object\0", &[("1.2", b"x"), ("1.3", b"y")]);
        let (8, Answer::Done(outcome, controls)) = answer(&bytes).unwrap() else { panic!("no end") };
        assert_eq!((outcome.code, outcome.text.as_str()), (32, "no such object"));
        assert_eq!(control(controls, "1.3"), Ok(Some(&b"y"[..])));
        assert_eq!(control(controls, "1.4"), Ok(None));
    }

    proptest! {
        /// Whatever a server sends is read or refused.
        #[test]
        fn nothing_a_server_sends_is_a_surprise(
            cut in 0..200_usize, change in any::<(usize, u8)>(), noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = entry(1, "CN=x", &[("a", &[b"1", b"22"]), ("b", &[&[0; 130]])]);
            let end = result(1, DONE, 0, "", &[("1.2.840.113556.1.4.319", b"0\x05\x02\x01\0\x04\0")]);
            for bytes in [&mut bytes, &mut end.clone()] {
                prop_assert!(answer(bytes).is_ok());
                let at = change.0 % bytes.len();
                bytes[at] = change.1;
                if let Ok((_, Answer::Done(_, controls))) = answer(bytes) {
                    let _read = control(controls, "1.2.840.113556.1.4.319");
                }
                bytes.truncate(cut);
                let _read = answer(bytes);
            }
            let _read = answer(&noise);
        }

        /// Deep nesting is neither followed nor does it take the stack.
        #[test]
        fn depth_is_no_danger(depth in 1..100_000_usize) {
            let mut bytes = Vec::new();
            for _ in 0..depth {
                bytes.extend([0x30, 0x84, 0, 1, 0, 0]);
            }
            prop_assert!(answer(&bytes).is_err());
        }
    }
}
